"""
What stands in for etcd where gRPC is spoken, in memory: the server's side is played by ``h2``, which nobody here wrote.
"""

from __future__ import annotations

from struct import pack
from typing import Any, Callable, Optional

import attrs
import h2.events as happened
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from twisted.internet.defer import Deferred

from test.fakes import Case, Network, Reactor, Wire, fake_way
from txetcd import _frames as f
from txetcd import _schema as schema
from txetcd._calls import Calls
from txetcd._messages import Empty
from txetcd._native import Native
from txetcd.errors import Error
from txetcd.ops import OpGet, OpSet
from txetcd.values import Header, KeyValue, Range, Revision

URL = "grpc://etcd.example:2379"

PUT = OpSet(b"key", b"value")
PUT_BYTES = b"\x0a\x03key\x12\x05value"
GET = OpGet(b"key")
GET_BYTES = b"\x0a\x03key"
WRITTEN = b"\x0a\x02\x18\x07"
REVISION = Revision(Header(revision=7))
FOUND = WRITTEN + b"\x12\x12\x0a\x03key\x10\x02\x18\x07\x20\x03\x2a\x05value\x20\x01"
RANGE = Range([KeyValue(b"key", b"value", 3, 2, 7)], Header(revision=7), 1)

GRPC = (("content-type", "application/grpc"),)

SHAKEN = f.pack(f.SETTINGS, 0, 0) + f.pack(f.SETTINGS, f.ACK, 0)
"""All that a server must have said before it is asked."""

FRAME_SIZE = 16_384
"""Bytes of a frame at the most."""


def framed(message: bytes) -> bytes:
    """A message of gRPC as it is sent."""
    return pack(">BI", 0, len(message)) + message


def blob(content: bytes) -> bytes:
    """A piece of a snapshot."""
    return b"\x1a" + bytes([len(content)]) + content


def goodbye(last: int, code: int = f.NO_ERROR, said: bytes = b"") -> bytes:
    """A GOAWAY."""
    return f.pack(f.GOAWAY, 0, 0, f.pack_word(last) + f.pack_word(code) + said)


@attrs.define(eq=False)
class Asked:
    """A request as it came, so far."""

    stream_id: int
    headers: dict[str, str]
    data: bytes = b""
    is_whole: bool = False
    reset: Optional[int] = None

    @property
    def message(self) -> bytes:
        """The one message in it, which must be whole."""
        assert self.is_whole, f"{len(self.data)} bytes, and no end"
        assert self.data == framed(self.data[5:]), self.data[:20]
        return self.data[5:]


class GrpcServer:
    """
    A server of gRPC at the other end of a connection.

    :param wire: the connection.
    :param cut: how many bytes it says at a time; 0 for all at once.
    :param streams: how many streams it allows at a time.
    :param window: how many bytes it takes of each.

    :ivar asked: the requests, in their order.
    :ivar pings: how many pings have come.
    :ivar gone: what the client has said at the end: an error code and words.
    :ivar is_taking: whether it asks for more when it has taken something.
    """

    def __init__(self, wire: Wire, cut: int = 0, streams: int = 1000, window: int = 65_535) -> None:
        self.wire = wire
        self.asked: list[Asked] = []
        self.pings = 0
        self.gone: Optional[tuple[int, bytes]] = None
        self.is_taking = True
        self._cut = cut
        self._read = 0
        self._by_id: dict[int, Asked] = {}
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        limits = {SettingCodes.MAX_CONCURRENT_STREAMS: streams, SettingCodes.INITIAL_WINDOW_SIZE: window}
        self.h2.local_settings = Settings(client=False, initial_values=limits)
        self.h2.initiate_connection()

    # --- what comes

    def step(self) -> bool:
        """Takes what has come, and says what is to be said; whether there was anything."""
        came = self.wire.value()[self._read :]
        self._read += len(came)
        for event in self.h2.receive_data(came) if came else ():
            _HEARD.get(type(event), lambda *_: None)(self, event)
        said = self.h2.data_to_send()
        self.raw(said)
        return bool(came or said)

    def talk(self) -> GrpcServer:
        """Goes on until nobody has more to say."""
        while self.step():
            pass
        return self

    def _asked(self, event: Any) -> None:
        asked = self._by_id[event.stream_id] = Asked(event.stream_id, dict(event.headers))
        assert len(asked.headers) == len(event.headers), event.headers
        self.asked.append(asked)

    def _came(self, event: Any) -> None:
        self._by_id[event.stream_id].data += event.data
        if self.is_taking:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _whole(self, event: Any) -> None:
        self._by_id[event.stream_id].is_whole = True

    def _reset(self, event: Any) -> None:
        self._by_id[event.stream_id].reset = event.error_code

    def _pinged(self, _: Any) -> None:
        self.pings += 1

    def _gone(self, event: Any) -> None:
        self.gone = (event.error_code, event.additional_data)

    # --- what it says

    def raw(self, data: bytes) -> None:
        """Says just that."""
        size = self._cut or len(data) or 1
        for at in range(0, len(data), size):
            self.wire.send(data[at : at + size])

    def flush(self) -> None:
        """Says what is to be said."""
        self.raw(self.h2.data_to_send())

    def begin(self, asked: Asked, status: int = 200, headers: Any = GRPC, is_all: bool = False) -> None:
        """Begins an answer."""
        self.h2.send_headers(asked.stream_id, [(":status", str(status)), *headers], end_stream=is_all)
        self.flush()

    def say(self, asked: Asked, data: bytes, is_all: bool = False) -> None:
        """Says some of an answer, as it is."""
        for at in range(0, len(data) or 1, FRAME_SIZE):
            piece = data[at : at + FRAME_SIZE]
            self.h2.send_data(asked.stream_id, piece, end_stream=is_all and at + FRAME_SIZE >= len(data))
        self.flush()

    def end(self, asked: Asked, status: Any = 0, said: str = "") -> None:
        """Ends an answer with trailers."""
        trailers = [("grpc-status", str(status)), *([("grpc-message", said)] if said else [])]
        self.h2.send_headers(asked.stream_id, trailers, end_stream=True)
        self.flush()

    def answer(self, asked: Asked, *messages: bytes) -> None:
        """Answers completely, and all is well."""
        self.begin(asked)
        self.say(asked, b"".join(map(framed, messages)))
        self.end(asked)

    def refuse(self, asked: Asked, status: Any, said: str = "") -> None:
        """Answers with nothing but a refusal."""
        self.begin(asked, 200, [*GRPC, ("grpc-status", str(status)), ("grpc-message", said)], True)

    def page(self, asked: Asked, status: int, kind: str, body: bytes) -> None:
        """Answers as a web server does."""
        self.begin(asked, status, [("content-type", kind)] if kind else [])
        self.say(asked, body, True)

    def reset(self, asked: Asked, code: int) -> None:
        """Resets a stream."""
        self.h2.reset_stream(asked.stream_id, code)
        self.flush()


_HEARD: dict[type, Callable[[GrpcServer, Any], None]] = {
    happened.RequestReceived: GrpcServer._asked,
    happened.DataReceived: GrpcServer._came,
    happened.StreamEnded: GrpcServer._whole,
    happened.StreamReset: GrpcServer._reset,
    happened.PingReceived: GrpcServer._pinged,
    happened.ConnectionTerminated: GrpcServer._gone,
}


class NativeCase(Case):
    """
    The native transport on a network in memory.

    :cvar cut: how many bytes a server says at a time; 0 for all at once.
    :ivar network: its connections.
    """

    clock: Reactor
    cut = 0

    def setUp(self) -> None:
        self.clock = Reactor()
        self.network = Network(self.clock)
        self.at(URL)

    def at(self, url: str, **options: Any) -> None:
        """Goes on with this URL."""
        self.use(Native(self.clock, 5.0, **options), url)

    def use(self, native: Native, url: str = URL) -> None:
        """Goes on with this one."""
        self.native = native
        self.calls = Calls(fake_way(self.clock, native, url))

    def tearDown(self) -> None:
        closed = self.native.close()
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assertEqual(self.network.open, [])
        self.__dict__.pop("native")
        super().tearDown()

    def put(self, timeout: float = 10.0, value: bytes = b"value") -> Deferred[Any]:
        """Begins a write."""
        return self.calls.call(schema.PUT, OpSet(b"key", value), timeout)

    def get(self, timeout: float = 10.0) -> Deferred[Any]:
        """Begins a read."""
        return self.calls.call(schema.RANGE, GET, timeout)

    def stream(self, on_message: Callable[[Any], None] = print) -> Any:
        """Begins a stream."""
        return self.calls.stream(schema.SNAPSHOT, Empty(), on_message)

    def accept(self, at: int = -1, **limits: int) -> GrpcServer:
        """Lets an attempt to connect, by default the last, succeed; nothing is said yet."""
        return GrpcServer(self.network.accept(at), self.cut, **limits)

    def serve(self, at: int = -1, **limits: int) -> GrpcServer:
        """Lets an attempt to connect, by default the last, succeed, and talks until nobody has more to say."""
        server = self.accept(at, **limits).talk()
        self.clock.advance(0)
        return server.talk()

    def sent(self, server: GrpcServer) -> list[Asked]:
        """What has come to a server by the end of this turn of the reactor."""
        self.clock.advance(0)
        return server.talk().asked

    def assert_works(self, server: Optional[GrpcServer] = None) -> None:
        """A call gets through: to this server, or to one that is connected to first."""
        waiting = self.get()
        server = server or self.serve()
        asked = self.sent(server)[-1]
        server.answer(asked, FOUND)
        self.assertEqual(self.successResultOf(waiting), RANGE)

    def hang_up(self) -> None:
        """Leaves no connection open; the transport goes on."""
        self.native.close()
        self.clock.advance(0)
        self.assertEqual(self.network.open, [])

    def assert_fails(self, waiting: Deferred[Any], wanted: type[Error], maybe_applied: bool, text: str = "") -> Error:
        """It failed with this, and nothing of Twisted shows."""
        error = self.failureResultOf(waiting).value
        self.assertIs(type(error), wanted, error)
        self.assertIs(error.maybe_applied, maybe_applied, error)
        self.assertIn(text, str(error))
        self.assertIn(self.calls.endpoint, str(error))
        self.assertNotIn("twisted", repr(error))
        return error
