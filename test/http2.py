"""
The other end of an HTTP/2 connection: frames written by hand, and the server side of ``h2``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Optional

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived
from h2.settings import Settings

from txetcd import _frames as f
from txetcd._fields import encode
from txetcd._grpc import request_block
from txetcd._http2 import Connection, Stream

REQUEST = request_block(False, "etcd:2379", "/etcdserverpb.KV/Range", 5000, "", True)
ANSWER = [(b":status", b"200"), (b"content-type", b"application/grpc")]
TRAILERS = [(b"grpc-status", b"0")]

Told = tuple[int, Any, Any]
"""An event with the owner of its stream."""


class Frame(NamedTuple):
    """A frame that was sent."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def word(self) -> int:
        """The number that its payload is, or begins with."""
        return int.from_bytes(self.payload[:4], "big")


def frames(data: bytes) -> Iterator[Frame]:
    """Those that *data* consists of."""
    while data:
        word, flags, stream_id = f.unpack_head(data)
        end = f.HEAD_SIZE + (word >> 8)
        assert end <= len(data), "a frame that is cut"
        yield Frame(word & 0xFF, flags, stream_id, data[f.HEAD_SIZE : end])
        data = data[end:]


def settings(*pairs: tuple[int, int]) -> bytes:
    return f.pack(f.SETTINGS, 0, 0, f.pack_settings(*pairs))


SETTINGS_ACK = f.pack(f.SETTINGS, f.ACK, 0)


def headers(stream_id: int, fields: Iterable[tuple[bytes, bytes]], flags: int = 0) -> bytes:
    return f.pack(f.HEADERS, f.END_HEADERS | flags, stream_id, encode(fields))


def last(stream_id: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return headers(stream_id, fields, f.END_STREAM)


def data(stream_id: int, payload: bytes, flags: int = 0) -> bytes:
    return f.pack(f.DATA, flags, stream_id, payload)


def word(kind: int, stream_id: int, value: int) -> bytes:
    return f.pack(kind, 0, stream_id, f.pack_word(value))


def answer(stream_id: int, payload: bytes = b"") -> bytes:
    """A whole one."""
    return headers(stream_id, ANSWER) + data(stream_id, payload) + last(stream_id, TRAILERS)


def opened(*pairs: tuple[int, int]) -> Connection:
    """A connection to a peer with these settings, which has nothing to send."""
    connection = Connection()
    connection.receive(settings(*pairs) + SETTINGS_ACK)
    assert connection.is_open
    connection.take()
    connection._noise = 0
    return connection


def told(events: Iterable[tuple[int, Optional[Stream], Any]]) -> list[Told]:
    return [(event, None if stream is None else stream.owner, value) for event, stream, value in events]


def held(connection: Connection) -> int:
    """About how many bytes there are in it, what the client itself has put there not counted."""
    block = connection._block
    return (
        sum(map(len, connection._out))
        + 50 * len(connection._out)
        + len(connection._rest)
        + (sum(len(part) + 50 for part in block[2]) if block else 0)
        + 100 * len(connection._reset)
        + sum(len(kept) + 500 for kept in connection._reader._kept)
    )


# --- how what arrives is cut


def whole(kept: bytes, arrived: bytes) -> tuple[list[bytes], bytes]:
    """As it comes."""
    return [arrived], b""


def bytewise(kept: bytes, arrived: bytes) -> tuple[list[bytes], bytes]:
    """Byte by byte."""
    return [arrived[at : at + 1] for at in range(len(arrived))], b""


def with_tail(kept: bytes, arrived: bytes) -> tuple[list[bytes], bytes]:
    """The last bytes come along with what follows."""
    pieces = kept + arrived
    return [pieces[:-5]], pieces[-5:]


class Dialogue:
    """
    A connection of ours, and the one of ``h2`` that serves it.

    :param cut: how what arrives here is cut.
    :param values: the server's settings.

    :ivar told: the events of ours, with the owners of the streams.
    :ivar heard: the events of the server.
    :ivar sent: the frames of ours.
    :ivar taken: what the server has taken of requests, by their streams.
    """

    def __init__(self, cut: Any = whole, values: Optional[dict[int, int]] = None) -> None:
        self.client = Connection()
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.server.local_settings = Settings(client=False, initial_values=values)
        self.server.max_inbound_frame_size = self.server.local_settings.max_frame_size
        self.told: list[Told] = []
        self.heard: list[Any] = []
        self.sent: list[Frame] = []
        self.taken: dict[int, bytes] = {}
        self._cut = cut
        self._kept = b""
        self.server.initiate_connection()

    def feed(self, arrived: bytes) -> None:
        """Something arrives at ours."""
        pieces, self._kept = self._cut(self._kept, arrived)
        for piece in pieces:
            self.told += told(self.client.receive(piece))

    def pump(self) -> None:
        """Goes on until nobody has anything to say."""
        while True:
            sent, arrived = self.client.take(), self.server.data_to_send()
            self.sent += frames(sent[len(f.PREFACE) :] if sent.startswith(f.PREFACE) else sent)
            self.heard += self.server.receive_data(sent)
            if arrived:
                self.feed(arrived)
            elif self._kept:
                kept, self._kept = self._kept, b""
                self.told += told(self.client.receive(kept))
            elif not sent:
                return

    def new(self) -> list[Told]:
        """What ours has told since this was asked."""
        self.pump()
        told, self.told = self.told, []
        return told

    def open(self, owner: Any, request: bytes = b"request", is_urgent: bool = False) -> Stream:
        stream = self.client.open(owner, REQUEST, request, is_urgent)
        self.pump()
        return stream

    def begun(self) -> list[int]:
        """The streams that the server knows, in their order."""
        self.pump()
        return [event.stream_id for event in self.heard if isinstance(event, RequestReceived)]

    def received(self, stream_id: int) -> bytes:
        """What the server has got of a request."""
        self.pump()
        return b"".join(e.data for e in self.heard if isinstance(e, DataReceived) and e.stream_id == stream_id)

    def take_requests(self) -> None:
        """The server takes all that is sent to it, and asks for more."""
        self.pump()
        while taken := [event for event in self.heard if isinstance(event, DataReceived)]:
            self.heard = [event for event in self.heard if not isinstance(event, DataReceived)]
            for event in taken:
                self.taken[event.stream_id] = self.taken.get(event.stream_id, b"") + event.data
                self.server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.pump()

    def answer(self, stream_id: int, payload: bytes = b"answer") -> None:
        """A whole answer."""
        self.server.send_headers(stream_id, ANSWER)
        self.server.send_data(stream_id, payload)
        self.server.send_headers(stream_id, TRAILERS, end_stream=True)
        self.pump()

    def send_much(self, stream_id: int, payload: bytes) -> bytes:
        """As much as ours asks for; what is left comes back."""
        while size := min(
            len(payload), self.server.local_flow_control_window(stream_id), self.server.max_outbound_frame_size
        ):
            self.server.send_data(stream_id, payload[:size])
            payload = payload[size:]
            self.pump()
        return payload
