"""
Lines out of bytes that arrive in pieces.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from txetcd._lines import LineFramer
from txetcd.errors import ProtocolViolation

STREAM = b'{"result":1}\n{"result":{"a":"b"}}\n\n{"result":3}\n'
LINES = [b'{"result":1}', b'{"result":{"a":"b"}}', b'{"result":3}']

MANY = 1 << 30


def framed(pieces: Iterable[bytes], max_line: int = MANY) -> list[bytes]:
    framer = LineFramer(max_line)
    return [line for piece in pieces for line in framer.feed(piece)] + framer.finish()


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """*data* in pieces of these sizes, and the rest."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


class CountingBytes(bytes):
    """Counts how often, and over how much, it is searched or copied."""

    searched = 0

    def split(self, *arguments: object) -> list[bytes]:
        type(self).searched += len(self)
        return super().split(*arguments)  # type: ignore[arg-type]  # handed on


class LineFramerTests(SynchronousTestCase):
    def test_whole(self) -> None:
        self.assertEqual(LINES, framed([STREAM]))

    def test_byte_by_byte(self) -> None:
        self.assertEqual(LINES, framed(bytes((byte,)) for byte in STREAM))

    def test_a_line_comes_out_as_soon_as_it_is_complete(self) -> None:
        framer = LineFramer(MANY)
        self.assertEqual([], list(framer.feed(b'{"a"')))
        self.assertEqual([], list(framer.feed(b":1}")))
        self.assertEqual([b'{"a":1}'], list(framer.feed(b"\n")))
        self.assertEqual([], framer.finish())

    def test_with_a_tail(self) -> None:
        framer = LineFramer(MANY)
        self.assertEqual([b"one"], list(framer.feed(b"one\ntw")))
        self.assertEqual([b"two", b"three"], list(framer.feed(b"o\nthree\nfo")))
        self.assertEqual([b"fo"], framer.finish())

    def test_finished_once(self) -> None:
        framer = LineFramer(MANY)
        list(framer.feed(b"tail"))
        self.assertEqual([b"tail"], framer.finish())
        self.assertEqual([], framer.finish())

    def test_nothing(self) -> None:
        self.assertEqual([], framed([]))
        self.assertEqual([], framed([b"", b""]))

    def test_blank_lines(self) -> None:
        self.assertEqual([b"a", b"b"], framed([b"\n\n  \n\r\na\n", b"\n", b" \t\nb\n\r\n"]))

    def test_carriage_returns(self) -> None:
        self.assertEqual([b"a", b"b"], framed([b"a\r\nb\r", b"\n"]))

    def test_end_of_a_line_alone(self) -> None:
        self.assertEqual([b"a", b"b"], framed([b"a", b"\n", b"b", b"\n"]))

    def test_only_newlines_end_a_line(self) -> None:
        r"""JSON may hold what ``str.splitlines`` takes for an end: U+2028, U+0085, ``\v``, ``\f``."""
        line = '"\u2028\u0085\x0b\x0c\x1e"'.encode()
        self.assertEqual([line], framed([line + b"\n"]))

    def test_long_line(self) -> None:
        """Ten megabytes in pieces of 64 KiB; every byte is searched once."""
        line = b"x" * 10_000_000
        stream = line + b"\n" + b"next\n"
        pieces = [CountingBytes(stream[at : at + 65536]) for at in range(0, len(stream), 65536)]
        CountingBytes.searched = 0
        self.assertEqual([line, b"next"], framed(pieces))
        self.assertEqual(len(stream), CountingBytes.searched)

    def test_pieces_are_kept_as_they_came(self) -> None:
        """A line is put together once, and not again for each of its pieces."""
        framer = LineFramer(MANY)
        pieces = [bytes((65 + number % 26,)) * 65536 for number in range(100)]
        for piece in pieces:
            list(framer.feed(piece))
        self.assertEqual(pieces, framer._pieces)
        self.assertEqual([b"".join(pieces)], list(framer.feed(b"\n")))
        self.assertEqual([], framer._pieces)

    def test_max_line(self) -> None:
        self.assertEqual([b"12345", b"12345"], framed([b"12345\n123", b"45"], max_line=5))

    def test_beyond_max_line(self) -> None:
        for pieces in ([b"123456"], [b"123456\n"], [b"12345", b"6"], [b"12345", b"6\n"], [b"1\n2\n123456\n"]):
            error = self.assertRaises(ProtocolViolation, framed, pieces, 5)
            self.assertEqual("a line of more than 5 bytes", str(error))

    def test_max_line_is_of_one_line(self) -> None:
        self.assertEqual([b"12345"] * 1000, framed([b"12345\n" * 1000], max_line=5))

    @PROPERTY
    @given(st.lists(st.integers(0, 12)))
    def test_chunks_of_a_recorded_stream(self, sizes: list[int]) -> None:
        self.assertEqual(LINES, framed(cut(STREAM, sizes)))

    @PROPERTY
    @given(st.lists(st.binary(max_size=12)), st.lists(st.integers(0, 20)))
    def test_chunks(self, lines: list[bytes], sizes: list[int]) -> None:
        stream = b"".join(line + b"\n" for line in lines)
        wanted = [line.strip() for line in stream.split(b"\n") if line.strip()]
        self.assertEqual(wanted, framed(cut(stream, sizes)))
        self.assertEqual(wanted, framed(cut(stream.rstrip(b"\n"), sizes)))
