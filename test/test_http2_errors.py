"""
What a server can do wrong by RFC 9113, by its sections, and what it costs to be flooded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Callable, Optional

from twisted.trial.unittest import SynchronousTestCase

from test.http2 import (
    ANSWER,
    REQUEST,
    SETTINGS_ACK,
    TRAILERS,
    answer,
    data,
    frames,
    headers,
    held,
    last,
    opened,
    settings,
    told,
    word,
)
from txetcd import _frames as f
from txetcd._fields import encode
from txetcd._http2 import (
    BROKEN,
    DATA,
    ENDED,
    FLAWED,
    LEAVING,
    MAX_NOISE,
    MAX_OWED,
    READY,
    RESET,
    STREAM_WINDOW,
    Connection,
)

BLOCK = encode(ANSWER)
GOODBYE = f.pack_word(2**31 - 1) + f.pack_word(0)
STATUS = (b":status", b"200")

Row = tuple[str, str, bytes, int]
"""A section, what is wrong, what arrives, and the error that it is."""

FIRST: list[Row] = [
    # --- of a connection that has not begun
    ("3.4", "an answer of HTTP/1", b"HTTP/1.1 400 Bad Request\r\n\r\n", f.PROTOCOL_ERROR),
    ("3.4", "an alert of TLS, long enough for a head", b"\x15\x03\x01\0\x02\x02\x0a\0\0", f.PROTOCOL_ERROR),
    ("3.4", "an acknowledgement first", SETTINGS_ACK, f.PROTOCOL_ERROR),
    ("3.4", "PING first", f.pack(f.PING, 0, 0, bytes(8)), f.PROTOCOL_ERROR),
    ("3.4", "GOAWAY first", f.pack(f.GOAWAY, 0, 0, GOODBYE), f.PROTOCOL_ERROR),
    ("3.4", "WINDOW_UPDATE first", word(f.WINDOW_UPDATE, 0, 1), f.PROTOCOL_ERROR),
    ("3.4", "an unknown frame first", f.pack(0x20, 0, 0), f.PROTOCOL_ERROR),
    ("3.4", "SETTINGS that are too large", f.pack_head(f.SETTINGS, 0, 0, 16_386), f.FRAME_SIZE_ERROR),
    ("5.1", "an answer to nothing", settings() + last(1, ANSWER), f.PROTOCOL_ERROR),
]

CONNECTION: list[Row] = [
    # --- frames
    ("4.2", "a frame larger than it may be, known by its head", f.pack_head(f.DATA, 0, 1, 16_385), f.FRAME_SIZE_ERROR),
    ("4.2", "an unknown one, too", f.pack_head(0x20, 0, 0, 2**24 - 1), f.FRAME_SIZE_ERROR),
    ("4.3", "a block that is cut", f.pack(f.HEADERS, 4, 1, BLOCK[:-1]), f.COMPRESSION_ERROR),
    ("4.3", "a block that names what is not there", f.pack(f.HEADERS, 4, 1, b"\xbe"), f.COMPRESSION_ERROR),
    ("4.3", "... in trailers", headers(1, ANSWER) + f.pack(f.HEADERS, 5, 1, b"\x80"), f.COMPRESSION_ERROR),
    ("4.3", "a block for another stream within", f.pack(f.HEADERS, 0, 1, BLOCK) + headers(3, ANSWER), f.PROTOCOL_ERROR),
    ("4.3", "DATA within a block", f.pack(f.HEADERS, 0, 1, BLOCK) + data(1, b"x"), f.PROTOCOL_ERROR),
    ("4.3", "PING within a block", f.pack(f.HEADERS, 0, 1) + f.pack(f.PING, 0, 0, bytes(8)), f.PROTOCOL_ERROR),
    ("4.3.1", "a larger table than there may be", f.pack(f.HEADERS, 4, 1, b"\x21" + BLOCK), f.COMPRESSION_ERROR),
    ("4.3.1", "a new size after a field", f.pack(f.HEADERS, 4, 1, BLOCK + b"\x20"), f.COMPRESSION_ERROR),
    # --- streams
    ("5.1", "DATA on an idle stream", data(5, b"x"), f.PROTOCOL_ERROR),
    ("5.1", "HEADERS on an idle stream", headers(5, ANSWER), f.PROTOCOL_ERROR),
    ("5.1", "RST_STREAM on an idle stream", word(f.RST_STREAM, 5, 8), f.PROTOCOL_ERROR),
    ("5.1", "WINDOW_UPDATE on an idle stream", word(f.WINDOW_UPDATE, 5, 1), f.PROTOCOL_ERROR),
    ("5.1", "DATA after the end", answer(1) + data(1, b"x"), f.STREAM_CLOSED),
    ("5.1", "HEADERS after the end", answer(1) + headers(1, ANSWER), f.STREAM_CLOSED),
    ("5.1", "trailers after the end", answer(1) + last(1, TRAILERS), f.STREAM_CLOSED),
    ("5.1", "DATA after RST_STREAM", word(f.RST_STREAM, 1, 8) + data(1, b"x"), f.STREAM_CLOSED),
    ("5.1", "HEADERS after RST_STREAM", word(f.RST_STREAM, 1, 8) + headers(1, ANSWER), f.STREAM_CLOSED),
    ("5.1.1", "DATA on a stream of the server", data(2, b"x"), f.PROTOCOL_ERROR),
    ("5.1.1", "HEADERS on a stream of the server", headers(2, ANSWER), f.PROTOCOL_ERROR),
    ("5.1.1", "RST_STREAM of a stream of the server", word(f.RST_STREAM, 2, 8), f.PROTOCOL_ERROR),
    ("5.1.1", "WINDOW_UPDATE on a stream of the server", word(f.WINDOW_UPDATE, 2, 1), f.PROTOCOL_ERROR),
    ("5.5", "an unknown frame within a block", f.pack(f.HEADERS, 0, 1) + f.pack(0x20, 0, 1), f.PROTOCOL_ERROR),
    # --- each kind of frame
    ("6.1", "DATA for no stream", data(0, b"x"), f.PROTOCOL_ERROR),
    ("6.1", "DATA with as much padding as it has bytes", data(1, b"\x04xyz", f.PADDED), f.PROTOCOL_ERROR),
    ("6.1", "DATA with more padding", data(1, b"\xffxyz", f.PADDED), f.PROTOCOL_ERROR),
    ("6.1", "DATA without the size of the padding", data(1, b"", f.PADDED), f.FRAME_SIZE_ERROR),
    ("6.2", "HEADERS for no stream", headers(0, ANSWER), f.PROTOCOL_ERROR),
    ("6.2", "... not even when they go on", f.pack(f.HEADERS, 0, 0, BLOCK), f.PROTOCOL_ERROR),
    ("6.2", "HEADERS with too much padding", f.pack(f.HEADERS, 12, 1, b"\x04xyz"), f.PROTOCOL_ERROR),
    ("6.2", "... by their priority", f.pack(f.HEADERS, 44, 1, b"\x03" + bytes(7)), f.PROTOCOL_ERROR),
    ("6.2", "HEADERS without the size of the padding", f.pack(f.HEADERS, 12, 1), f.FRAME_SIZE_ERROR),
    ("6.2", "HEADERS with half a priority", f.pack(f.HEADERS, 36, 1, bytes(4)), f.FRAME_SIZE_ERROR),
    ("6.2", "... and padding", f.pack(f.HEADERS, 44, 1, bytes(5)), f.FRAME_SIZE_ERROR),
    ("6.3", "PRIORITY for no stream", f.pack(f.PRIORITY, 0, 0, bytes(5)), f.PROTOCOL_ERROR),
    ("6.3", "PRIORITY of a wrong size, for none", f.pack(f.PRIORITY, 0, 5, bytes(4)), f.FRAME_SIZE_ERROR),
    ("6.4", "RST_STREAM for no stream", word(f.RST_STREAM, 0, 8), f.PROTOCOL_ERROR),
    ("6.4", "RST_STREAM that is too short", f.pack(f.RST_STREAM, 0, 1, bytes(3)), f.FRAME_SIZE_ERROR),
    ("6.4", "RST_STREAM that is too long", f.pack(f.RST_STREAM, 0, 1, bytes(5)), f.FRAME_SIZE_ERROR),
    ("6.5", "SETTINGS for a stream", f.pack(f.SETTINGS, 0, 1), f.PROTOCOL_ERROR),
    ("6.5", "an acknowledgement for a stream", f.pack(f.SETTINGS, f.ACK, 1), f.PROTOCOL_ERROR),
    ("6.5", "SETTINGS of a wrong size", f.pack(f.SETTINGS, 0, 0, bytes(7)), f.FRAME_SIZE_ERROR),
    ("6.5", "an acknowledgement with settings", f.pack(f.SETTINGS, f.ACK, 0, bytes(6)), f.FRAME_SIZE_ERROR),
    ("6.5.2", "a server that would take pushes", settings((f.ENABLE_PUSH, 1)), f.PROTOCOL_ERROR),
    ("6.5.2", "ENABLE_PUSH that is neither", settings((f.ENABLE_PUSH, 2)), f.PROTOCOL_ERROR),
    ("6.5.2", "too large a window", settings((f.INITIAL_WINDOW_SIZE, 2**31)), f.FLOW_CONTROL_ERROR),
    ("6.5.2", "too small frames", settings((f.MAX_FRAME_SIZE, 16_383)), f.PROTOCOL_ERROR),
    ("6.5.2", "too large frames", settings((f.MAX_FRAME_SIZE, 2**24)), f.PROTOCOL_ERROR),
    ("6.5.3", "what a later one mends", settings((f.MAX_FRAME_SIZE, 1), (f.MAX_FRAME_SIZE, 16_384)), f.PROTOCOL_ERROR),
    ("6.6", "PUSH_PROMISE", f.pack(f.PUSH_PROMISE, f.END_HEADERS, 1, f.pack_word(2) + BLOCK), f.PROTOCOL_ERROR),
    ("6.7", "PING for a stream", f.pack(f.PING, 0, 1, bytes(8)), f.PROTOCOL_ERROR),
    ("6.7", "PING that is too short", f.pack(f.PING, 0, 0, bytes(7)), f.FRAME_SIZE_ERROR),
    ("6.7", "an answer to PING that is too long", f.pack(f.PING, f.ACK, 0, bytes(9)), f.FRAME_SIZE_ERROR),
    ("6.8", "GOAWAY for a stream", f.pack(f.GOAWAY, 0, 1, GOODBYE), f.PROTOCOL_ERROR),
    ("6.8", "GOAWAY that is too short", f.pack(f.GOAWAY, 0, 0, GOODBYE[:-1]), f.FRAME_SIZE_ERROR),
    ("6.9", "WINDOW_UPDATE of nothing", word(f.WINDOW_UPDATE, 0, 0), f.PROTOCOL_ERROR),
    ("6.9", "... the reserved bit does not count", word(f.WINDOW_UPDATE, 0, 2**31), f.PROTOCOL_ERROR),
    ("6.9", "WINDOW_UPDATE that is too short", f.pack(f.WINDOW_UPDATE, 0, 0, bytes(3)), f.FRAME_SIZE_ERROR),
    ("6.9", "... for a stream", f.pack(f.WINDOW_UPDATE, 0, 1, bytes(5)), f.FRAME_SIZE_ERROR),
    ("6.9.1", "too large a window", word(f.WINDOW_UPDATE, 0, 2**31 - 1), f.FLOW_CONTROL_ERROR),
    (
        "6.9.2",
        "settings that make the window of a stream too large",
        word(f.WINDOW_UPDATE, 1, 2**31 - 1 - 65_535) + settings((f.INITIAL_WINDOW_SIZE, 65_543)),
        f.FLOW_CONTROL_ERROR,
    ),
    ("6.10", "CONTINUATION of nothing", f.pack(f.CONTINUATION, 4, 1, BLOCK), f.PROTOCOL_ERROR),
    ("6.10", "CONTINUATION for no stream", f.pack(f.CONTINUATION, 4, 0, BLOCK), f.PROTOCOL_ERROR),
    ("6.10", "CONTINUATION of what had ended", headers(1, ANSWER) + f.pack(f.CONTINUATION, 4, 1), f.PROTOCOL_ERROR),
    (
        "6.10",
        "CONTINUATION of what ended in one",
        f.pack(f.HEADERS, 0, 1, BLOCK) + f.pack(f.CONTINUATION, 4, 1) * 2,
        f.PROTOCOL_ERROR,
    ),
    ("6.10", "CONTINUATION of another", f.pack(f.HEADERS, 0, 1) + f.pack(f.CONTINUATION, 4, 3), f.PROTOCOL_ERROR),
]

FULL = (data(1, bytes(16_384)) * (STREAM_WINDOW // 16_384 + 1))[: -1 - f.HEAD_SIZE - 16_383]
"""As much data as a stream may bring; none of it is asked for again if that is paused."""


def begun_with(*fields: tuple[bytes, bytes]) -> bytes:
    return headers(1, fields)


STREAM: list[Row] = [
    ("6.3", "PRIORITY of a wrong size", f.pack(f.PRIORITY, 0, 1, bytes(4)), f.FRAME_SIZE_ERROR),
    ("6.9", "WINDOW_UPDATE of nothing", word(f.WINDOW_UPDATE, 1, 0), f.PROTOCOL_ERROR),
    ("6.9.1", "too large a window", word(f.WINDOW_UPDATE, 1, 2**31 - 1), f.FLOW_CONTROL_ERROR),
    ("6.9.1", "more data than it may bring", headers(1, ANSWER) + FULL + data(1, b"x"), f.FLOW_CONTROL_ERROR),
    ("6.9.1", "... or padding", headers(1, ANSWER) + FULL + data(1, b"\0", f.PADDED), f.FLOW_CONTROL_ERROR),
    ("8.1", "data before the headers", data(1, b"x"), f.PROTOCOL_ERROR),
    ("8.1", "an end before the headers", data(1, b"", f.END_STREAM), f.PROTOCOL_ERROR),
    ("8.1", "data after informational headers", begun_with((b":status", b"100")) + data(1, b"x"), f.PROTOCOL_ERROR),
    ("8.1", "informational headers that end it", last(1, [(b":status", b"103")]), f.PROTOCOL_ERROR),
    ("8.1", "informational headers later", headers(1, ANSWER) + begun_with((b":status", b"103")), f.PROTOCOL_ERROR),
    ("8.1", "trailers that do not end it", headers(1, ANSWER) + headers(1, TRAILERS), f.PROTOCOL_ERROR),
    ("8.1.1", "more than announced", begun_with(STATUS, (b"content-length", b"1")) + data(1, b"xy"), f.PROTOCOL_ERROR),
    (
        "8.1.1",
        "fewer bytes than announced",
        begun_with(STATUS, (b"content-length", b"3")) + data(1, b"xy", f.END_STREAM),
        f.PROTOCOL_ERROR,
    ),
    (
        "8.1.1",
        "... before trailers",
        begun_with(STATUS, (b"content-length", b"3")) + data(1, b"xy") + last(1, TRAILERS),
        f.PROTOCOL_ERROR,
    ),
    ("8.1.1", "no bytes, though announced", last(1, [STATUS, (b"content-length", b"3")]), f.PROTOCOL_ERROR),
    *(
        ("8.1.1", f"a length of {length!r}", begun_with(STATUS, (b"content-length", length)), f.PROTOCOL_ERROR)
        for length in (b"", b"-1", b"+1", b"1 2", b"1,1", b"x", b"1" * 20, b"\xb2")
    ),
    ("8.2.1", "capital letters", begun_with(STATUS, (b"Grpc-Status", b"0")), f.PROTOCOL_ERROR),
    ("8.2.1", "a space in a name", begun_with(STATUS, (b"a b", b"")), f.PROTOCOL_ERROR),
    ("8.2.1", "a zero in a value", begun_with(STATUS, (b"a", b"\0")), f.PROTOCOL_ERROR),
    ("8.2.1", "... in trailers", headers(1, ANSWER) + last(1, [(b"a", b"b\r\n")]), f.PROTOCOL_ERROR),
    *(
        ("8.2.2", f"{name.decode()} in an answer", begun_with(STATUS, (name, b"x")), f.PROTOCOL_ERROR)
        for name in (b"connection", b"proxy-connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade")
    ),
    ("8.3", "a pseudo-field that is not known", begun_with(STATUS, (b":x", b"y")), f.PROTOCOL_ERROR),
    ("8.3", "a pseudo-field of requests", begun_with(STATUS, (b":path", b"/")), f.PROTOCOL_ERROR),
    ("8.3", "a pseudo-field after others", begun_with((b"a", b"b"), STATUS), f.PROTOCOL_ERROR),
    ("8.3", "a pseudo-field in trailers", headers(1, ANSWER) + last(1, [*ANSWER]), f.PROTOCOL_ERROR),
    ("8.3.2", "no status", begun_with((b"content-type", b"application/grpc")), f.PROTOCOL_ERROR),
    ("8.3.2", "no field at all", begun_with(), f.PROTOCOL_ERROR),
    ("8.3.2", "two of them", begun_with(STATUS, STATUS), f.PROTOCOL_ERROR),
    *(
        ("8.3.2", f"a status of {status!r}", begun_with((b":status", status)), f.PROTOCOL_ERROR)
        for status in (b"", b"20", b"2000", b"099", b"OK", b" 200", b"2\xb20")
    ),
    ("8.6", "other protocols", begun_with((b":status", b"101"), (b"x", b"websocket")), f.PROTOCOL_ERROR),
]

FINE: list[tuple[str, str, bytes, list[int]]] = [
    # --- what is no error, and the events that it is
    ("4.1", "flags that mean nothing, and the reserved bit", f.pack(f.PING, 0xFE, 2**31, bytes(8)), []),
    ("4.1", "... of a stream", f.pack(f.HEADERS, 0xD7 & ~0x28, 2**31 + 1, BLOCK), [ENDED]),
    ("5.1", "WINDOW_UPDATE after the end", answer(1) + word(f.WINDOW_UPDATE, 1, 1), [ENDED]),
    ("5.1", "... of nothing, or too large", answer(1) + word(f.WINDOW_UPDATE, 1, 0) * 2, [ENDED]),
    ("5.1", "RST_STREAM after the end", answer(1) + word(f.RST_STREAM, 1, 0), [ENDED]),
    ("5.1", "PRIORITY after the end", answer(1) + f.pack(f.PRIORITY, 0, 1, bytes(5)), [ENDED]),
    ("5.1", "PRIORITY of an idle stream", f.pack(f.PRIORITY, 0, 77, bytes(5)), []),
    ("5.1", "RST_STREAM twice", word(f.RST_STREAM, 1, 8) * 2, [RESET]),
    ("5.5", "unknown frames", f.pack(0x20, 0xFF, 0, b"x") + f.pack(0xFF, 0, 1), []),
    ("6.1", "DATA of nothing but padding", headers(1, ANSWER) + data(1, b"\2\0\0", f.PADDED | f.END_STREAM), [ENDED]),
    ("6.3", "PRIORITY", f.pack(f.PRIORITY, 0, 1, bytes(5)), []),
    ("6.5", "a second acknowledgement", SETTINGS_ACK, []),
    ("6.5.2", "unknown settings", settings((0x99, 1), (0, 2**32 - 1)), []),
    ("6.5.2", "the largest there are", settings((f.MAX_FRAME_SIZE, 2**24 - 1), (f.INITIAL_WINDOW_SIZE, 2**31 - 1)), []),
    ("6.8", "GOAWAY twice", f.pack(f.GOAWAY, 0, 0, GOODBYE) * 2, [LEAVING]),
    ("6.9.1", "the largest window", word(f.WINDOW_UPDATE, 0, 2**31 - 1 - 65_535), []),
    ("6.9.1", "... of a stream", word(f.WINDOW_UPDATE, 1, 2**31 - 1 - 65_535), []),
    ("6.9.1", "as much data as it may bring", headers(1, ANSWER) + FULL, [DATA] * (STREAM_WINDOW // 16_384)),
    ("6.10", "empty parts of a block", f.pack(f.HEADERS, 1, 1) + f.pack(9, 0, 1, BLOCK) + f.pack(9, 4, 1), [ENDED]),
    ("8.1.1", "as many bytes as announced", last(1, [STATUS, (b"content-length", b"0")]), [ENDED]),
    ("8.2.1", "odd values", begun_with(STATUS, (b"a", b"\x01\x7f\xff \tb"), (b"!#$%&'*+-.^_`|~09", b"")), []),
    ("8.3.2", "an odd status", last(1, [(b":status", b"999")]), [ENDED]),
]


def two_begun() -> Connection:
    connection = opened()
    for owner in "ab":
        stream = connection.open(owner, REQUEST, b"request")
    connection.take()
    connection.pause(stream)
    connection.pause(connection._streams[1])
    return connection


def bytewise(pieces: bytes) -> Iterable[bytes]:
    # what is long is so in ways that are told elsewhere
    size = 1 if len(pieces) < 1000 else 4099
    return (pieces[at : at + size] for at in range(0, len(pieces), size))


class RuleTests(SynchronousTestCase):
    def check_broken(self, make: Callable[[], Connection], rows: list[Row]) -> None:
        for section, what, arrived, code in rows:
            for pieces in ([arrived], bytewise(arrived), [arrived + bytes(9)]):
                label, connection = f"{section}: {what}", make()
                events = [event for piece in pieces for event in connection.receive(piece)]
                event, stream, words = events[-1]
                self.assertEqual((BROKEN, None), (event, stream), label)
                self.assertTrue(words.endswith(f" ({f.error_name(code)})"), f"{label}: {words}")
                self.assertEqual((True, False), (connection.is_broken, connection.is_open), label)
                (goodbye,) = frames(connection.take())
                self.assertEqual((f.GOAWAY, 0, 0), goodbye[:3], label)
                said = f.pack_word(0) + f.pack_word(code) + words.rpartition(" (")[0].encode()
                self.assertEqual(said, goodbye.payload, label)
                # section 5.4.1: nothing that follows is looked at
                self.assertEqual([], connection.receive(answer(3)), label)

    def test_beginnings(self) -> None:
        def fresh() -> Connection:
            connection = Connection()
            connection.take()
            return connection

        self.check_broken(fresh, FIRST)

    def test_errors_of_the_connection(self) -> None:
        """Each ends the connection, with a GOAWAY that says why (section 5.4.1)."""
        self.check_broken(two_begun, CONNECTION)

    def test_errors_of_a_stream(self) -> None:
        """Each ends the stream, with a RST_STREAM, and no other one (section 5.4.2)."""
        for section, what, arrived, code in STREAM:
            for pieces in ([arrived], bytewise(arrived), [arrived + data(1, b"late") + last(1, TRAILERS)]):
                label, connection = f"{section}: {what}", two_begun()
                events = told(event for piece in pieces for event in connection.receive(piece))
                event, owner, words = events[-1]
                self.assertEqual((FLAWED, "a"), (event, owner), label)
                self.assertTrue(words.endswith(f" ({f.error_name(code)})"), f"{label}: {words}")
                sent = [frame for frame in frames(connection.take()) if frame.kind != f.WINDOW_UPDATE]
                self.assertEqual([(f.RST_STREAM, 0, 1, f.pack_word(code))], sent, label)
                self.assertEqual(1, len(connection), label)
                # the other one goes on
                rest = told(connection.receive(answer(3, b"x")))
                self.assertEqual([(DATA, "b", b"x"), (ENDED, "b", None)], rest, label)

    def test_no_errors(self) -> None:
        for section, what, arrived, events in FINE:
            for pieces in ([arrived], bytewise(arrived)):
                label, connection = f"{section}: {what}", two_begun()
                came = [event for piece in pieces for event, _, _ in connection.receive(piece)]
                self.assertEqual(events, came, label)
                self.assertEqual([], [frame for frame in frames(connection.take()) if frame.kind == f.RST_STREAM])
                self.assertEqual([(ENDED, "b", None)], told(connection.receive(answer(3))), label)

    def test_no_answer_to_rst_stream(self) -> None:
        """Section 5.4.2: or it would go on for ever."""
        connection = two_begun()
        connection.receive(word(f.RST_STREAM, 1, 8) * 2 + word(f.RST_STREAM, 3, 8))
        self.assertEqual(connection.unsent, 0)

    def test_an_error_makes_place(self) -> None:
        connection = opened((f.MAX_CONCURRENT_STREAMS, 1))
        connection.open("a", REQUEST, b"")
        connection.open("b", REQUEST, b"")
        connection.receive(data(1, b"early"))
        self.assertEqual([(ENDED, "b", None)], told(connection.receive(answer(3))))

    def test_an_error_of_one_that_is_blocked(self) -> None:
        """Nothing more of it is sent."""
        connection = opened((f.INITIAL_WINDOW_SIZE, 10))
        connection.open("a", REQUEST, bytes(100))
        connection.take()
        connection.receive(word(f.WINDOW_UPDATE, 1, 0) + settings((f.INITIAL_WINDOW_SIZE, 1000)))
        self.assertEqual([f.RST_STREAM, f.SETTINGS], [frame.kind for frame in frames(connection.take())])

    def test_names_are_told_in_part(self) -> None:
        """Of what is as long as a header block."""
        for flaw in ((b"A" * 9000, b""), (b"a" * 9000, b"\0")):
            connection = two_begun()
            ((event, _, words),) = connection.receive(begun_with(STATUS, flaw))
            self.assertEqual(FLAWED, event)
            self.assertLess(len(words), 200)

    def test_goodbyes_are_short(self) -> None:
        """What cannot be read may be a number of thousands of digits."""
        connection = two_begun()
        block = b"\xff" * 9000 + b"\x01"
        ((event, _, words),) = connection.receive(f.pack(f.HEADERS, f.END_HEADERS, 1, block))
        self.assertEqual(BROKEN, event)
        self.assertLess(len(words), 200)
        self.assertLess(len(connection.take()), 200)


class FloodTests(SynchronousTestCase):
    """
    A peer that sends for ever what means nothing, in pieces of some frames, while what is owed to it is taken.
    """

    def flood(self, connection: Connection, flood: bytes, most: int = MAX_NOISE, is_taken: bool = True) -> str:
        """How it ends, which it has to in time."""
        peak = before = held(connection)
        for _ in range(most // 10 + 10):
            events = connection.receive(flood * 10)
            peak = max(peak, held(connection))
            if connection.is_broken:
                self.assertLess(peak - before, 1_000_000)
                event, _, words = events[-1]
                self.assertEqual(BROKEN, event)
                return str(words)
            if is_taken:
                connection.take()
        raise AssertionError("it goes on")

    def check(self, flood: bytes, connection: Optional[Connection] = None, says: str = "frames in a row") -> None:
        words = self.flood(connection or two_begun(), flood)
        self.assertIn(says, words)
        self.assertIn("ENHANCE_YOUR_CALM", words)

    def test_ping(self) -> None:
        self.check(f.pack(f.PING, 0, 0, bytes(8)))

    def test_answers_to_ping(self) -> None:
        self.check(f.pack(f.PING, f.ACK, 0, bytes(8)))

    def test_settings(self) -> None:
        self.check(settings((f.MAX_FRAME_SIZE, 16_384)))
        self.check(settings())
        self.check(SETTINGS_ACK)

    def test_many_settings_at_a_time(self) -> None:
        """Each of them may concern all streams."""
        connection = two_begun()
        many = settings(*[(f.INITIAL_WINDOW_SIZE, 65_535)] * 2700)
        self.assertIn("frames in a row", self.flood(connection, many, 40))

    def test_settings_before_the_beginning(self) -> None:
        connection = Connection()
        connection.receive(settings())
        self.check(settings(), connection)

    def test_rst_stream(self) -> None:
        self.check(word(f.RST_STREAM, 1, 8))

    def test_priority(self) -> None:
        self.check(f.pack(f.PRIORITY, 0, 1, bytes(5)))
        self.check(f.pack(f.PRIORITY, 0, 2**31 - 1, bytes(5)))

    def test_unknown_frames(self) -> None:
        self.check(f.pack(0x20, 0, 0, bytes(100)))

    def test_goaway(self) -> None:
        self.check(f.pack(f.GOAWAY, 0, 0, GOODBYE + b"bye"))

    def test_empty_data(self) -> None:
        connection = two_begun()
        connection.receive(headers(1, ANSWER))
        self.check(data(1, b""), connection)

    def test_padding(self) -> None:
        connection = two_begun()
        connection.receive(headers(1, ANSWER))
        connection.resume(connection._streams[1])
        self.check(data(1, b"\xff" + bytes(255), f.PADDED), connection)

    def test_informational_headers(self) -> None:
        self.check(begun_with((b":status", b"103"), (b"link", b"x" * 50)))

    def test_window_update(self) -> None:
        self.check(word(f.WINDOW_UPDATE, 0, 1))
        self.check(word(f.WINDOW_UPDATE, 1, 1))

    def test_window_update_while_a_request_is_blocked(self) -> None:
        """For others than the one that would need it."""
        for flood in (word(f.WINDOW_UPDATE, 0, 1), word(f.WINDOW_UPDATE, 1, 1)):
            connection = opened((f.INITIAL_WINDOW_SIZE, 0))
            connection.open("sent", REQUEST, b"")
            connection.open("blocked", REQUEST, bytes(100))
            connection.take()
            self.check(flood, connection)

    def test_window_update_that_helps(self) -> None:
        """Byte by byte, if it must be."""
        connection = opened((f.INITIAL_WINDOW_SIZE, 0))
        stream = connection.open("a", REQUEST, bytes(2 * MAX_NOISE))
        connection.receive(word(f.WINDOW_UPDATE, 1, 1) * (2 * MAX_NOISE))
        self.assertTrue(stream.is_sent)

    def test_stalled_for_ever(self) -> None:
        """It costs what the client has asked for, and nothing else; signs of life do not change that."""
        connection = opened((f.INITIAL_WINDOW_SIZE, 0))
        streams = [connection.open(number, REQUEST, bytes(1000)) for number in range(100)]
        connection.take()
        before = held(connection)
        for _ in range(100):
            connection.forgive()
            connection.receive(f.pack(f.PING, f.ACK, 0, bytes(8)) + f.pack(f.PRIORITY, 0, 1, bytes(5)) * 1000)
            connection.take()
        self.assertEqual((before, False), (held(connection), connection.is_broken))
        self.assertFalse(any(stream.is_sent for stream in streams))
        self.assertEqual(streams, connection.abandon())

    def test_continuation(self) -> None:
        """Large ones, small ones, empty ones."""
        for part in (bytes(16_384), b"x", b""):
            connection = two_begun()
            connection.receive(f.pack(f.HEADERS, 0, 1, b""))
            self.check(f.pack(f.CONTINUATION, 0, 1, part), connection, "a header block of more than")

    def test_header_blocks_of_other_fields(self) -> None:
        """Those that are kept are few."""
        connection = opened()
        peak = 0
        for number in range(2000):
            connection.open(number, REQUEST, b"")
            connection.take()
            stream_id = 2 * number + 1
            events = connection.receive(last(stream_id, [*ANSWER, (b"x", b"%090d" % number)]))
            self.assertEqual(ENDED, events[0][0])
            peak = max(peak, held(connection))
        self.assertLess(peak, 256 * 1000)

    def test_answers_that_are_not_taken(self) -> None:
        """Amid useful frames, so that it is no noise."""
        for flood in (f.pack(f.PING, 0, 0, bytes(8)), settings()):
            connection = two_begun()
            connection.receive(headers(1, ANSWER))
            connection.pause(connection._streams[1])
            words = self.flood(connection, flood + data(1, b"x"), MAX_OWED, is_taken=False)
            self.assertIn(f"more than {MAX_OWED} answers are owed to it", words)
            self.assertIn("ENHANCE_YOUR_CALM", words)

    def test_what_is_useful_is_no_flood(self) -> None:
        connection = two_begun()
        connection.receive(headers(1, ANSWER))
        connection.resume(connection._streams[1])
        for _ in range(300):
            events = connection.receive((f.pack(f.PING, 0, 0, bytes(8)) + data(1, b"x")) * 100)
            self.assertEqual(100, len(events))
            connection.take()
        self.assertLess(held(connection), 1000)

    def test_forgiven(self) -> None:
        connection = two_begun()
        for _ in range(3):
            connection.receive(f.pack(0x20, 0, 0) * (MAX_NOISE - 10))
            connection.forgive()
        self.assertFalse(connection.is_broken)

    def test_never_acknowledged(self) -> None:
        """Nothing is begun then; how long that may last is for others to say."""
        connection = Connection()
        stream = connection.open("a", REQUEST, b"")
        self.assertEqual([], connection.receive(settings()))
        self.assertEqual((False, 0), (connection.is_open, stream.id))
        self.assertEqual([READY], [event for event, _, _ in connection.receive(SETTINGS_ACK)])
        self.assertEqual(1, stream.id)
