"""
The header fields of HTTP/2, with ``hpack`` as the other side.
"""

from __future__ import annotations

from typing import Optional
from unittest.mock import Mock

from hpack import Decoder, Encoder
from hpack.struct import NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from txetcd import _fields
from txetcd._fields import MAX_BLOCK, NO_FIELDS, FieldReader, Fields, encode

STATUS = (b":status", b"200")
TYPE = (b"content-type", b"application/grpc")

Field = tuple[bytes, bytes]

SIZES = (0, 1, 126, 127, 128, 254, 255, 256, 16_383, 16_384, 16_510, 16_511, 16_512, 2**21 + 127)
"""Around those where the size of a string takes one byte more."""

READ: list[tuple[list[Field], dict[str, str], int]] = [
    ([STATUS], {}, 200),
    ([STATUS, TYPE], {"content-type": "application/grpc"}, 200),
    ([(b"grpc-status", b"0"), (b"grpc-message", b"")], {"grpc-status": "0", "grpc-message": ""}, 0),
    ([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")], {"a": "1,3", "b": "2"}, 0),
    ([(b"a", b"\xc3\xa4\xff")], {"a": "\xc3\xa4\xff"}, 0),
    ([(b":status", b"100"), (b"a", b"")], {"a": ""}, 100),
    ([], {}, 0),
]

NAMED = "has a header field with the name "
UNKNOWN = "has the header field {!r}, which HTTP/2 does not know"
VALUED = "has a header field {!r} with a bad value"

FLAWED: list[tuple[list[Field], str]] = [
    ([STATUS, (b"Grpc-Status", b"0")], NAMED + "b'Grpc-Status'"),
    ([STATUS, (b"", b"x")], NAMED + "b''"),
    ([STATUS, (b"a b", b"x")], NAMED + "b'a b'"),
    ([STATUS, (b"a\xff", b"x")], NAMED + "b'a\\xff'"),
    ([STATUS, (b"a\0", b"x")], NAMED + "b'a\\x00'"),
    ([STATUS, (b"a:b", b"x")], NAMED + "b'a:b'"),
    ([STATUS, (b"a\n", b"x")], NAMED + "b'a\\n'"),
    ([STATUS, (b"A" * 1000, b"x")], NAMED + repr(b"A" * 60)),
    ([STATUS, (b"connection", b"close")], UNKNOWN.format("connection")),
    ([STATUS, (b"proxy-connection", b"close")], UNKNOWN.format("proxy-connection")),
    ([STATUS, (b"keep-alive", b"1")], UNKNOWN.format("keep-alive")),
    ([STATUS, (b"transfer-encoding", b"chunked")], UNKNOWN.format("transfer-encoding")),
    ([STATUS, (b"upgrade", b"h2c")], UNKNOWN.format("upgrade")),
    ([STATUS, (b"te", b"trailers")], UNKNOWN.format("te")),
    ([STATUS, (b"a", b"\0")], VALUED.format("a")),
    ([STATUS, (b"a", b"x\ry")], VALUED.format("a")),
    ([STATUS, (b"a", b"x\n")], VALUED.format("a")),
    ([STATUS, (b"a", b" x")], VALUED.format("a")),
    ([STATUS, (b"a", b"\tx")], VALUED.format("a")),
    ([STATUS, (b"a", b"x ")], VALUED.format("a")),
    ([STATUS, (b"a", b"x\t")], VALUED.format("a")),
    ([STATUS, (b"a" * 1000, b"x\t")], VALUED.format("a" * 60)),
    ([STATUS, (b":path", b"/")], NAMED + "b':path'"),
    ([(b":Status", b"200")], NAMED + "b':Status'"),
    ([TYPE, STATUS], NAMED + "b':status'"),
    ([STATUS, STATUS], NAMED + "b':status'"),
    *(
        ([(b":status", status)], NAMED + "b':status'")
        for status in (b"", b"0", b"20", b"2000", b"099", b" 200", b"200\n", b"abc", b"\xb2\xb2\xb2")
    ),
    # the first of several is told
    ([STATUS, (b"a", b"\0"), (b"B", b"")], VALUED.format("a")),
]

BLOCKS: list[tuple[bytes, str]] = [
    # literals that are cut, in their names and values and before them
    (b"\x00", ""),
    (b"\x10\x01", "Truncated"),
    (b"\x00\x01a", ""),
    (b"\x00\x01a\x02b", "Truncated"),
    (b"\x00\x7f\xff", ""),
    (b"\x40\x01a", ""),
    # entries of a table that is empty, and of none
    (b"\x80", "table index"),
    (b"\xbe", "table index"),
    (b"\x7e\x01a", "table index"),
    (b"\x0f\x2f\x01a", "table index"),
    # what was put into it does not stay there
    (b"\x40\x01a\x01b\xbe", "table index"),
    # a larger table; any after a field
    (b"\x21", "table size"),
    (b"\x3f\xe1\x1f", "table size"),
    (b"\x88\x20", ""),
    # Huffman's code: one that ends in no character, one of the end
    (b"\x00\x81\x00\x00", ""),
    (b"\x00\x84\xff\xff\xff\xff\x00", ""),
    # numbers without an end
    (b"\xff" * 30, ""),
    (b"\x00\x7f" + b"\xff" * 5000 + b"\x01", ""),
]


class EncodeTests(SynchronousTestCase):
    def check(self, fields: list[Field]) -> None:
        decoder = Decoder(2**22)
        decoder.header_table_size = decoder.max_allowed_table_size = 0
        self.assertEqual(fields, [tuple(field) for field in decoder.decode(encode(fields), raw=True)])

    def test_sizes(self) -> None:
        for size in SIZES:
            self.check([(b"name", b"v" * size)])
            self.check([(b"n" * size, b"value")])

    def test_static_fields(self) -> None:
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":scheme", b"https"), (b":scheme", b"other")]
        self.check(fields)
        self.assertEqual(b"\x83\x86\x87", encode(fields[:3]))

    def test_nothing(self) -> None:
        self.assertEqual(b"", encode([]))

    def test_never_indexed(self) -> None:
        """By nobody on the way either: a token must not be guessed by the size of what is sent with others."""
        fields = Decoder().decode(encode([(b"token", b"secret"), (b"te", b"trailers")]))
        self.assertTrue(all(isinstance(field, NeverIndexedHeaderTuple) for field in fields))

    @PROPERTY
    @given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=5))
    def test_any(self, fields: list[Field]) -> None:
        self.check(fields)


class FieldsTests(SynchronousTestCase):
    def test_is_grpc(self) -> None:
        for status, kind, is_grpc in (
            (200, "application/grpc", True),
            (200, "application/grpc+proto", True),
            (200, "application/grpc;charset=utf-8", True),
            (200, "application/grpc-web", False),
            (200, "application/grpc-web+proto", False),
            (200, "application/grpcx", False),
            (200, "text/html", False),
            (200, "", False),
            (200, None, False),
            (404, "application/grpc", False),
            (0, "application/grpc", False),
        ):
            values = {} if kind is None else {"content-type": kind}
            self.assertIs(is_grpc, Fields(values, status, None).is_grpc, kind)

    def test_grpc_status(self) -> None:
        said: list[tuple[Optional[str], int]] = [
            ("0", 0), ("16", 16), ("99", 99), ("00", 0),
            (None, -1), ("", -1), ("100", -1), ("-1", -1), ("+1", -1), ("0,0", -1), ("x", -1), ("1\n", -1),
            ("\xb2", -1),
        ]  # fmt: skip
        for text, status in said:
            values = {} if text is None else {"grpc-status": text}
            self.assertEqual(status, Fields(values, 0, None).grpc_status, text)


class FieldReaderTests(SynchronousTestCase):
    def test_read(self) -> None:
        for fields, values, status in READ:
            encoder = Encoder()
            encoder.header_table_size = 0
            for block in (encode(fields), encoder.encode(fields), b"\x20" + encode(fields)):
                read = FieldReader().read(block)
                self.assertEqual((values, status, None), (read.values, read.status, read.flaw), fields)

    def test_flaws(self) -> None:
        for fields, flaw in FLAWED:
            self.assertEqual(flaw, FieldReader().read(encode(fields)).flaw, fields)

    def test_blocks_that_cannot_be_read(self) -> None:
        for block, says in BLOCKS:
            reader = FieldReader()
            error = self.assertRaises(ValueError, reader.read, block)
            self.assertTrue(str(error).startswith("a header block that cannot be read: "), error)
            self.assertIn(says, str(error))
            self.assertLess(len(str(error)), 120)
            self.assertEqual({}, reader._kept)

    def test_cut_anywhere(self) -> None:
        """Nothing else comes of it than what was there, or an error."""
        fields = [STATUS, TYPE, (b"x", b"y" * 200)]
        for block in (encode(fields), Encoder().encode(fields)):
            for at in range(len(block)):
                try:
                    read = FieldReader().read(block[:at])
                except ValueError:
                    continue
                self.assertLess(len(read.values), 2)

    def test_table_of_size_0(self) -> None:
        """The server is told to use none, and may say that it does: nothing is remembered between blocks."""
        reader, encoder = FieldReader(), Encoder()
        encoder.header_table_size = 0
        for _ in range(3):
            read = reader.read(encoder.encode([STATUS, TYPE, (b"x", b"y")]))
            self.assertEqual((200, "y"), (read.status, read.values["x"]))
        # one that fills a table nevertheless, and does not use it
        self.assertEqual({"a": "b"}, reader.read(b"\x40\x01a\x01b").values)
        self.assertRaises(ValueError, reader.read, b"\xbe")
        self.assertEqual(200, reader.read(b"\x20\x20\x88").status)

    def test_too_much(self) -> None:
        """Decompressed; each field counts 32 bytes more."""
        reader = FieldReader()
        # accept-encoding: gzip, deflate
        most = MAX_BLOCK // (15 + 13 + 32)
        self.assertEqual(most, reader.read(b"\x90" * most).values["accept-encoding"].count("gzip"))
        for block in (b"\x90" * (most + 1), encode([(b"a", b"b" * MAX_BLOCK)])):
            error = self.assertRaises(ValueError, reader.read, block)
            self.assertIn("A header list larger than 65536", str(error))
        self.assertEqual({"a": "b" * (MAX_BLOCK - 33)}, reader.read(encode([(b"a", b"b" * (MAX_BLOCK - 33))])).values)

    def test_huge_number(self) -> None:
        """The interpreter does not write it: that is the block's fault, too."""
        reader = FieldReader()
        reader._decoder = Mock(decode=Mock(side_effect=ValueError("Exceeds the limit (4300 digits)" + "x" * 100)))
        error = self.assertRaises(ValueError, reader.read, b"\xff")
        self.assertEqual("a header block that cannot be read: Exceeds the limit (4300 digits)" + "x" * 29, str(error))

    def test_kept(self) -> None:
        """The same block is the same object; a large one is read again; there are not many."""
        reader = FieldReader()
        block, large = encode([STATUS, TYPE]), encode([STATUS, (b"x", b"y" * 260)])
        self.assertIs(reader.read(block), reader.read(bytes(bytearray(block))))
        self.assertIsNot(reader.read(large), reader.read(large))
        self.assertEqual([block], list(reader._kept))
        for number in range(3 * _fields._MAX_KEPT):
            reader.read(encode([(b"x", b"%d" % number)]))
            self.assertLessEqual(len(reader._kept), _fields._MAX_KEPT)
        self.assertEqual(200, reader.read(block).status)

    def test_flawed_ones_are_kept_as_such(self) -> None:
        reader, block = FieldReader(), encode([(b"A", b"")])
        self.assertIsNotNone(reader.read(block).flaw)
        self.assertIs(reader.read(block), reader.read(block))

    def test_nothing_is_not_what_has_not_come(self) -> None:
        self.assertIsNot(NO_FIELDS, FieldReader().read(b""))

    @PROPERTY
    @given(st.lists(st.binary(max_size=100), max_size=5))
    def test_any_bytes(self, blocks: list[bytes]) -> None:
        """ValueError, and nothing else; and what was read before does not matter."""
        reader = FieldReader()
        for block in blocks:
            self.assertEqual(_outcome(FieldReader(), block), _outcome(reader, block))

    @PROPERTY
    @given(st.binary(max_size=30), st.data())
    def test_spoilt_blocks(self, spoilt: bytes, drawn: st.DataObject) -> None:
        block = encode([STATUS, TYPE, (b"grpc-message", b"some%20words")]) + Encoder().encode([STATUS, TYPE])
        at = drawn.draw(st.integers(0, len(block)))
        _outcome(FieldReader(), block[:at] + spoilt + block[at + len(spoilt) :])


def _outcome(reader: FieldReader, block: bytes) -> object:
    try:
        read = reader.read(block)
    except ValueError as error:
        return str(error)
    return read.values, read.status, read.flaw
