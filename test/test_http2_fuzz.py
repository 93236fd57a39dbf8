"""
HTTP/2 amid everything that could arrive.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from test.http2 import (
    ANSWER,
    REQUEST,
    SETTINGS_ACK,
    TRAILERS,
    Told,
    data,
    frames,
    headers,
    held,
    last,
    settings,
    told,
    word,
)
from test.properties import PROPERTY
from txetcd import _frames as f
from txetcd._fields import encode
from txetcd._http2 import BROKEN, ENDED, LEAVING, PONG, READY, Connection, Stream

IDS = st.sampled_from([0, 1, 2, 3, 5, 7, 9, 2**31 - 1])

BLOCKS = st.sampled_from(
    [encode(ANSWER), encode(TRAILERS), encode([(b":status", b"103")]), encode([(b"A", b"")]), b"", b"\x20\x88", b"\xbe"]
)

WORDS = st.sampled_from([0, 1, 7, 100, 65_535, 2**31 - 1, 2**31, 2**32 - 1]).map(f.pack_word)

PAYLOADS = st.one_of(BLOCKS, WORDS, st.just(bytes(8)), st.binary(max_size=30))

FLAGS = st.sampled_from([0, f.END_STREAM, f.END_HEADERS, f.END_STREAM | f.END_HEADERS, f.PADDED, f.PRIORITIZED, 0xFF])

SETTING = st.tuples(st.integers(0, 7), st.sampled_from([0, 1, 2, 100, 16_384, 65_535, 2**31 - 1, 2**31]))

ANY_FRAME = st.builds(f.pack, st.integers(0, 11), FLAGS, IDS, PAYLOADS)

BEGUN = st.sampled_from([1, 3, 5])

GOOD_FRAME = st.one_of(
    st.builds(headers, BEGUN, st.sampled_from([ANSWER, TRAILERS]), st.sampled_from([0, f.END_STREAM])),
    st.builds(data, BEGUN, st.binary(max_size=30), st.sampled_from([0, 0, f.END_STREAM])),
    st.builds(word, st.just(f.RST_STREAM), BEGUN, st.sampled_from([0, 7, 8])),
    st.builds(word, st.just(f.WINDOW_UPDATE), st.sampled_from([0, 1, 3, 5]), st.integers(1, 50_000)),
    st.builds(lambda pairs: settings(*pairs), st.lists(SETTING, max_size=3)),
    st.sampled_from([f.pack(f.PING, 0, 0, bytes(8)), f.pack(f.PING, f.ACK, 0, bytes(8)), f.pack(0x20, 0, 0, b"x")]),
    st.sampled_from([0, 1, 3, 2**31 - 1]).map(lambda last_id: f.pack(f.GOAWAY, 0, 0, f.pack_word(last_id) + bytes(4))),
)

CONVERSATION = (
    settings((f.MAX_CONCURRENT_STREAMS, 2), (f.INITIAL_WINDOW_SIZE, 100))
    + SETTINGS_ACK
    + headers(1, [(b":status", b"103")])
    + headers(1, ANSWER)
    + word(f.WINDOW_UPDATE, 3, 1000)
    + data(1, b"\x03some data\0\0\0", f.PADDED)
    + f.pack(f.PING, 0, 0, b"12345678")
    + last(1, TRAILERS)
    + settings((f.INITIAL_WINDOW_SIZE, 50_000), (f.MAX_FRAME_SIZE, 20_000))
    + f.pack(f.HEADERS, 0, 3, encode(ANSWER)[:9])
    + f.pack(f.CONTINUATION, f.END_HEADERS, 3, encode(ANSWER)[9:])
    + data(3, b"other data", f.END_STREAM)
    + word(f.RST_STREAM, 5, 7)
    + f.pack(f.GOAWAY, 0, 0, f.pack_word(5) + f.pack_word(0) + b"bye")
)
"""A whole one, for the three streams of :func:`begun`."""

Actions = list[tuple[str, int]]

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["open", "urgent", "reset", "pause", "resume", "hold", "release", "ping", "take", "withdraw"]),
        st.integers(0, 5),
    ),
    max_size=4,
)


def begun() -> tuple[Connection, list[Stream]]:
    connection = Connection()
    sizes = enumerate((10, 5000, 10))
    return connection, [connection.open(number, REQUEST, bytes(size)) for number, size in sizes]


def act(connection: Connection, streams: list[Stream], actions: Actions) -> None:
    for name, number in actions:
        if name in ("open", "urgent"):
            streams.append(connection.open(len(streams), REQUEST, bytes(100 * number), name == "urgent"))
        elif name in ("reset", "pause", "resume"):
            getattr(connection, name)(streams[number % len(streams)])
        else:
            getattr(connection, name)()


def cut(arrived: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(arrived[:size])
        arrived = arrived[size:]
    return [*pieces, arrived]


class FuzzTests(SynchronousTestCase):
    def check(self, connection: Connection, events: list[Told]) -> None:
        """What holds whatever came."""
        kinds = [event for event, _, _ in events]
        self.assertLessEqual(kinds.count(BROKEN), 1)
        self.assertLessEqual(kinds.count(READY), 1)
        self.assertLessEqual(kinds.count(LEAVING), 1)
        self.assertEqual(connection.is_broken, kinds[-1:] == [BROKEN])
        over = [owner for event, owner, _ in events if event >= ENDED and event not in (LEAVING, PONG, BROKEN)]
        self.assertEqual(len(over), len(set(over)))
        sent = connection.take()
        list(frames(sent[len(f.PREFACE) :] if sent.startswith(f.PREFACE) else sent))
        self.assertLess(held(connection), 300_000)
        # those that were blocked are among those that there are
        blocked = [stream for queue in (*connection._blocked, connection._stalled) for stream in queue.values()]
        self.assertEqual([stream for stream in blocked if connection._streams.get(stream.id) is not stream], [])

    def feed(self, arrived: list[bytes]) -> tuple[list[Told], bytes]:
        connection, _ = begun()
        events = [event for piece in arrived for event in told(connection.receive(piece))]
        sent = b"".join(connection._out)
        self.check(connection, events)
        return events, sent

    @PROPERTY
    @given(st.binary(max_size=200))
    def test_garbage_first(self, garbage: bytes) -> None:
        self.feed([garbage])

    @PROPERTY
    @given(st.lists(st.binary(max_size=60), max_size=5))
    def test_garbage_after_the_handshake(self, garbage: list[bytes]) -> None:
        self.feed([settings() + SETTINGS_ACK, *garbage])

    @PROPERTY
    @given(st.lists(ANY_FRAME, max_size=20))
    def test_frames_of_any_kind(self, some: list[bytes]) -> None:
        self.feed([settings() + SETTINGS_ACK, *some])

    @PROPERTY
    @given(st.lists(GOOD_FRAME, max_size=20))
    def test_good_frames_in_any_order(self, some: list[bytes]) -> None:
        self.feed([settings((f.INITIAL_WINDOW_SIZE, 100)) + SETTINGS_ACK, *some])

    @PROPERTY
    @given(st.integers(0, len(CONVERSATION)), st.integers(0, 20), st.binary(max_size=20))
    def test_spoilt_conversations(self, at: int, less: int, more: bytes) -> None:
        self.feed([CONVERSATION[:at] + more + CONVERSATION[at + less :]])

    @PROPERTY
    @given(st.lists(st.integers(0, 40), max_size=40))
    def test_chunks_of_a_conversation(self, sizes: list[int]) -> None:
        """However it is cut, it means the same, and is answered with the same."""
        whole = self.feed([CONVERSATION])
        self.assertEqual([0, 1], [owner for event, owner, _ in whole[0] if event == ENDED])
        self.assertEqual(whole, self.feed(cut(CONVERSATION, sizes)))

    @PROPERTY
    @given(st.lists(st.one_of(ANY_FRAME, GOOD_FRAME), max_size=12), st.lists(st.integers(0, 40), max_size=40))
    def test_chunks_of_anything(self, some: list[bytes], sizes: list[int]) -> None:
        arrived = settings() + SETTINGS_ACK + b"".join(some)
        self.assertEqual(self.feed([arrived]), self.feed(cut(arrived, sizes)))

    @PROPERTY
    @given(st.lists(st.tuples(ACTIONS, st.one_of(GOOD_FRAME, GOOD_FRAME, ANY_FRAME)), max_size=20))
    def test_amid_what_the_client_does(self, steps: list[tuple[Actions, bytes]]) -> None:
        connection, streams = begun()
        connection.receive(settings((f.MAX_CONCURRENT_STREAMS, 2), (f.INITIAL_WINDOW_SIZE, 100)) + SETTINGS_ACK)
        for actions, frame in steps:
            act(connection, streams, actions)
            connection.receive(frame)
        left: list[Any] = connection.abandon()
        self.assertEqual(len(left), len(set(left)))
        self.assertEqual(([], 0), (connection.abandon(), len(connection)))
        act(connection, streams, [("hold", 0), ("release", 0), ("reset", 1), ("resume", 1), ("take", 0)])
        self.assertEqual(connection.unsent, 0)

    @PROPERTY
    @given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 400)), max_size=15))
    def test_windows_are_kept(self, steps: list[tuple[int, int]]) -> None:
        """Never more is sent than the windows allow, and all of it in the end, in its order."""
        connection = Connection()
        connection.receive(settings((f.INITIAL_WINDOW_SIZE, 0)) + SETTINGS_ACK)
        request = bytes(range(256)) * 16
        stream = connection.open("a", REQUEST, request)
        connection.take()
        window, initial, came = 0, 0, b""
        for new, more in steps:
            connection.receive(settings((f.INITIAL_WINDOW_SIZE, new)) + word(f.WINDOW_UPDATE, 1, more))
            window += new - initial + more
            initial = new
            sent = b"".join(frame.payload for frame in frames(connection.take()) if frame.kind == f.DATA)
            self.assertEqual(max(0, min(window, len(request) - len(came))), len(sent))
            window -= len(sent)
            came += sent
        connection.receive(word(f.WINDOW_UPDATE, 1, 10_000))
        came += b"".join(frame.payload for frame in frames(connection.take()) if frame.kind == f.DATA)
        self.assertTrue(stream.is_sent)
        self.assertEqual(request, came)
