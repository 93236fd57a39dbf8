"""
gRPC on HTTP/2: what a request begins with, how messages are cut out of what arrives, and what an answer ends with.
"""

from __future__ import annotations

from typing import Optional

from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from txetcd import _grpc, errors
from txetcd._fields import FieldReader, Fields, encode
from txetcd._grpc import PREFIX_SIZE, AnswerReader, framed, request_block, timeout_text
from txetcd.errors import (
    AuthError,
    Compacted,
    DeadlineExceeded,
    Error,
    PermissionDenied,
    ProtocolViolation,
    RequestCanceled,
    RequestError,
    ResourceError,
    Unavailable,
    Unimplemented,
)

GRPC = Fields({"content-type": "application/grpc"}, 200, None)
WELL = Fields({"grpc-status": "0"}, 0, None)
LIMIT = 1000

REQUESTS: list[tuple[bool, str, Optional[int], str, bool, dict[str, str]]] = [
    (False, "etcd:2379", None, "", False, {":scheme": "http", ":authority": "etcd:2379"}),
    (True, "[::1]:2379", 5000, "", False, {":scheme": "https", ":authority": "[::1]:2379", "grpc-timeout": "5000m"}),
    (False, "a:1", None, "simple.1", False, {":scheme": "http", ":authority": "a:1", "token": "simple.1"}),
    (False, "a:1", 1, "", True, {":scheme": "http", ":authority": "a:1", "grpc-timeout": "1m", "hasleader": "true"}),
    (True, "b\xfccher.example:2379", None, "", False, {":scheme": "https", ":authority": "xn--bcher-kva.example:2379"}),
]

CODES: list[tuple[int, type[Error]]] = [
    (1, RequestCanceled),
    (2, Error),
    (3, RequestError),
    (4, DeadlineExceeded),
    (5, Error),
    (6, Error),
    (7, PermissionDenied),
    (8, ResourceError),
    (9, Error),
    (10, Error),
    (11, Error),
    (12, Unimplemented),
    (13, Error),
    (14, Unavailable),
    (15, Error),
    (16, AuthError),
]

MESSAGES: list[tuple[bytes, str]] = [
    (b"", ""),
    (b"in plain words", "in plain words"),
    (b"100%25 of it", "100% of it"),
    (b"%C3%A4%E2%82%AC%F0%9F%98%80", "\xe4\u20ac\U0001f600"),
    (b"two%0Alines", "two\nlines"),
    ("not escaped: \xe4\u20ac".encode(), "not escaped: \xe4\u20ac"),
    # what is no UTF-8, and no escape
    (b"%FF and \xff", "\ufffd and \ufffd"),
    (b"50% of it, %zz, %", "50% of it, %zz, %"),
]

FOREIGN: list[tuple[int, Optional[str], bytes, str]] = [
    (200, "text/html", b"<html>Hello</html>", "of the type 'text/html': '<html>Hello</html>'"),
    (200, None, b"", "of the type '': ''"),
    (200, "application/grpc-web", b"\0\0\0\0\0", "of the type 'application/grpc-web'"),
    (200, "application/json", b"x" * 1000, "of the type 'application/json'"),
    (404, "text/plain", b"404 page not found\n", "404 page not found"),
    (502, "text/html", b"<html>Bad Gateway</html>", "HTTP 502: '<html>Bad Gateway</html>'"),
    (301, "application/grpc", b"", "a redirect"),
    (415, "application/grpc", b"", "HTTP 415"),
]


class RequestTests(SynchronousTestCase):
    def test_blocks(self) -> None:
        for is_secure, authority, milliseconds, token, requires_leader, wanted in REQUESTS:
            block = request_block(is_secure, authority, "/etcdserverpb.KV/Put", milliseconds, token, requires_leader)
            fields = [(str(name), str(value)) for name, value in Decoder().decode(block)]
            self.assertEqual(len(fields), len(dict(fields)))
            common = {":method": "POST", ":path": "/etcdserverpb.KV/Put", "content-type": "application/grpc"}
            self.assertEqual({**common, "te": "trailers", **wanted}, dict(fields))
            # section 8.3: the pseudo-fields come first
            self.assertEqual(4, sum(name.startswith(":") for name, _ in fields[:4]))

    def test_timeouts(self) -> None:
        for milliseconds, text in (
            (1, b"1m"),
            (5100, b"5100m"),
            (99_999_999, b"99999999m"),
            # never less than what was asked for
            (100_000_000, b"100001S"),
            (100_000_001, b"100001S"),
            (100_001_000, b"100002S"),
            (99_999_997_999, b"99999998S"),
            (99_999_999_000, b"99999999S"),
            (10**15, b"99999999S"),
        ):
            self.assertEqual(text, timeout_text(milliseconds))

    def test_framed(self) -> None:
        self.assertEqual(b"\0\0\0\0\0", framed(b""))
        self.assertEqual(b"\0\0\0\1\1" + bytes(257), framed(bytes(257)))


def held(reader: AnswerReader) -> int:
    """How many bytes it keeps."""
    return sum(map(len, [reader._rest, *reader._parts, reader._small]))


def fed(case: SynchronousTestCase, pieces: list[bytes]) -> list[bytes]:
    """The messages that come of it, and no others."""
    reader = AnswerReader(LIMIT)
    messages = [message for piece in pieces for message in reader.feed(GRPC, piece)]
    case.assertIsNone(reader.finish(GRPC, WELL))
    case.assertEqual(0, held(reader))
    case.assertTrue(all(type(message) is bytes for message in messages))
    return messages


class MessageTests(SynchronousTestCase):
    small = 4096

    def setUp(self) -> None:
        self.patch(_grpc, "_SMALL", self.small)

    def fed(self, pieces: list[bytes]) -> list[bytes]:
        return fed(self, pieces)

    def test_one_at_a_time(self) -> None:
        self.assertEqual([b"one", b"two", b""], self.fed([framed(b"one"), framed(b"two"), framed(b"")]))

    def test_many_at_a_time(self) -> None:
        messages = [b"%d" % number for number in range(100)]
        self.assertEqual(messages, self.fed([b"".join(map(framed, messages))]))

    def test_in_pieces(self) -> None:
        arrived = framed(b"one") + framed(b"") + framed(b"three" * 100)
        for size in range(1, len(arrived)):
            pieces = [arrived[at : at + size] for at in range(0, len(arrived), size)]
            self.assertEqual([b"one", b"", b"three" * 100], self.fed(pieces), size)

    def test_as_soon_as_it_is_there(self) -> None:
        reader = AnswerReader(LIMIT)
        self.assertEqual([], reader.feed(GRPC, framed(b"one")[:7]))
        self.assertEqual([b"one"], reader.feed(GRPC, b"e" + framed(b"two")[:6]))
        self.assertEqual([b"two", b"three"], reader.feed(GRPC, b"wo" + framed(b"three")))
        self.assertEqual([b"four"], reader.feed(GRPC, framed(b"four")))

    def test_of_the_limit(self) -> None:
        self.assertEqual([bytes(LIMIT)] * 2, self.fed([framed(bytes(LIMIT)) * 2]))

    def test_put_together_once(self) -> None:
        """What is large is not looked at for each of its pieces."""
        reader = AnswerReader(10**6)
        joined: list[bytes] = []
        join = AnswerReader._joined
        self.patch(AnswerReader, "_joined", lambda self, last: joined.append(last) or join(self, last))
        arrived = framed(bytes(10**6))
        pieces = [arrived[at : at + 100] for at in range(0, len(arrived), 100)]
        self.assertEqual([bytes(10**6)], [message for piece in pieces for message in reader.feed(GRPC, piece)])
        self.assertEqual([pieces[-1]], joined)

    def test_refused(self) -> None:
        """At once, with its prefix, and nothing of it is kept for long: a claim costs nothing."""
        for prefix, says in (
            (b"\x01\0\0\0\x03", "a message that is compressed, which nobody has asked for"),
            (b"\0\0\0\x03\xe9", "a message of 1001 bytes, and more than 1000 are not taken"),
            (b"\0\xff\xff\xff\xff", "a message of 4294967295 bytes, and more than 1000 are not taken"),
        ):
            for before in (b"", framed(b"before")):
                for pieces in ([before + prefix], [before, prefix[:2], prefix[2:]], [before + prefix + b"and more"]):
                    reader = AnswerReader(LIMIT)
                    error = self.assertRaises(ProtocolViolation, lambda: [reader.feed(GRPC, piece) for piece in pieces])
                    self.assertEqual(says, str(error))
                    self.assertLess(held(reader), 30)

    def test_claims_that_are_not_kept(self) -> None:
        """A message may be as large as the limit; what is held is what has arrived."""
        reader = AnswerReader(2**32)
        self.assertEqual([], reader.feed(GRPC, b"\0\xff\xff\xff\xff"))
        self.assertEqual(0, held(reader))
        self.assertEqual([], reader.feed(GRPC, b"some"))
        self.assertEqual(4, held(reader))


class ChunksTests(SynchronousTestCase):
    """However it is cut."""

    @PROPERTY
    @given(st.lists(st.binary(max_size=30)), st.lists(st.integers(0, 40)), st.integers(1, 30))
    def test_chunks(self, messages: list[bytes], sizes: list[int], small: int) -> None:
        self.patch(_grpc, "_SMALL", small)
        arrived, pieces = b"".join(map(framed, messages)), []
        for size in sizes:
            pieces.append(arrived[:size])
            arrived = arrived[size:]
        self.assertEqual(messages, fed(self, [*pieces, arrived]))

    @PROPERTY
    @given(st.lists(st.binary(max_size=20)))
    def test_anything(self, pieces: list[bytes]) -> None:
        reader = AnswerReader(LIMIT)
        try:
            for piece in pieces:
                reader.feed(GRPC, piece)
        except ProtocolViolation:
            return
        self.assertLessEqual(held(reader), LIMIT + PREFIX_SIZE)


class LargePieceTests(MessageTests):
    """The same, where all pieces are large, and kept as they are."""

    small = 1


class SmallPieceTests(SynchronousTestCase):
    def test_small_and_large_pieces(self) -> None:
        """Small ones, one after the other, become a larger one; the order is kept."""
        message = bytes(range(256)) * 100
        reader, arrived, found = AnswerReader(10**6), framed(message), []
        for size in [1] * 50 + [5000, 1, 1, 4096, 4095, 1, 5000]:
            found += reader.feed(GRPC, arrived[:size])
            arrived = arrived[size:]
        self.assertEqual([], found)
        self.assertLess(len(reader._parts), 10)
        self.assertEqual([message], reader.feed(GRPC, arrived))
        self.assertEqual(0, held(reader))


class EndTests(SynchronousTestCase):
    def ended(self, trailers: Fields, pieces: tuple[bytes, ...] = (), headers: Fields = GRPC) -> Error:
        reader = AnswerReader(LIMIT)
        for piece in pieces:
            reader.feed(headers, piece)
        error = reader.finish(headers, trailers)
        assert error is not None
        return error

    def test_well(self) -> None:
        self.assertIsNone(AnswerReader(LIMIT).finish(GRPC, WELL))
        only = Fields({"content-type": "application/grpc", "grpc-status": "0"}, 200, None)
        self.assertIsNone(AnswerReader(LIMIT).finish(only, only))

    def test_cut_in_a_message(self) -> None:
        for at in range(1, 8):
            error = self.ended(WELL, (framed(b"one"), framed(b"two")[:at]))
            self.assertIsInstance(error, ProtocolViolation)
            self.assertEqual("the answer ended in a message", str(error))

    def test_no_status(self) -> None:
        error = self.ended(Fields({}, 0, None), (framed(b"one"),))
        self.assertEqual((ProtocolViolation, "the answer ended with no grpc-status"), (type(error), str(error)))
        self.assertEqual(str(error), str(self.ended(GRPC)))

    def test_bad_status(self) -> None:
        for said in ("17", "99", "100", "-1", "", "OK", "0,0"):
            error = self.ended(Fields({"grpc-status": said}, 0, None))
            self.assertEqual((ProtocolViolation, "the answer ended with a bad grpc-status"), (type(error), str(error)))

    def test_codes(self) -> None:
        """Also where a part of a message came before."""
        self.assertEqual(list(range(1, 17)), [code for code, _ in CODES])
        for code, cls in CODES:
            for pieces in ((), (framed(b"one")[:7],)):
                error = self.ended(Fields({"grpc-status": str(code), "grpc-message": "said"}, 0, None), pieces)
                self.assertEqual((cls, code, "said"), (type(error), error.code, error.message))

    def test_by_its_text(self) -> None:
        text = "etcdserver: mvcc: required revision has been compacted"
        error = self.ended(Fields({"grpc-status": "11", "grpc-message": text}, 0, None))
        self.assertEqual((Compacted, 11, text), (type(error), error.code, error.message))

    def test_messages(self) -> None:
        for said, message in MESSAGES:
            trailers = FieldReader().read(encode([(b"grpc-status", b"2"), (b"grpc-message", said)]))
            self.assertIsNone(trailers.flaw)
            self.assertEqual(message, self.ended(trailers).message)

    def test_no_message(self) -> None:
        error = self.ended(Fields({"grpc-status": "14"}, 0, None))
        self.assertEqual((Unavailable, ""), (type(error), error.message))

    def test_foreign(self) -> None:
        for status, kind, body, says in FOREIGN:
            headers = Fields({} if kind is None else {"content-type": kind}, status, None)
            for pieces in ((body,), tuple(body[at : at + 1] for at in range(len(body)))):
                error = self.ended(headers, pieces, headers)
                self.assertIsInstance(error, Error)
                self.assertIn(says, str(error))
                self.assertLess(len(str(error)), 400)

    def test_refused_in_json(self) -> None:
        """By a gateway: what it says counts."""
        headers = Fields({"content-type": "application/json"}, 503, None)
        said = b'{"error":"etcdserver: no leader","code":14,"message":"etcdserver: no leader"}'
        error = self.ended(headers, (said,), headers)
        self.assertEqual((errors.NoLeader, 14), (type(error), error.code))

    def test_foreign_ones_without_an_end(self) -> None:
        """Of what is no answer of gRPC little is kept, and nothing for each of its pieces."""
        reader = AnswerReader(10**9)
        headers = Fields({"content-type": "text/plain"}, 200, None)
        for _ in range(100):
            self.assertEqual([], reader.feed(headers, b"x" * 1000))
        self.assertEqual(65_536, held(reader))
        self.assertIn("'" + "x" * 100, str(reader.finish(headers, headers)))
