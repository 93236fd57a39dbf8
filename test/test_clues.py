"""
What is behind a wrong URL: from the first bytes, and from the words of OpenSSL.
"""

from __future__ import annotations

from typing import Optional

from twisted.trial.unittest import SynchronousTestCase

from txetcd._clues import (
    HTTP_1,
    HTTP_2,
    OTHER_NAME,
    WRONG_NAME,
    Certificate,
    Dialect,
    NoHttp,
    client_certificate,
    distrust,
    is_of_certificate,
    is_of_client_certificate,
    no_alpn,
    no_tls,
    not_http,
    tls_failure,
    wrong_host,
)
from txetcd._quotes import Quotes
from txetcd.errors import Error, ProtocolViolation, TLSFailed, WrongProtocol

TLS = "the server speaks TLS there: use https://"
HTTP2 = "no etcd gateway there? the server speaks HTTP/2 and nothing else, as those of gRPC do: use grpc:// or grpcs://"
OTHER = "no etcd gateway there? not an answer of HTTP"

FIRST: list[tuple[bytes, type[Error], str]] = [
    # TLS: a fatal alert, of an unexpected message, and of a version that is not known
    (b"\x15\x03\x01\x00\x02\x02\x0a", TLSFailed, TLS),
    (b"\x15\x03\x03\x00\x02\x02\x46", TLSFailed, TLS),
    # HTTP/2: the settings, with and without some; and the end of the connection behind them
    (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", WrongProtocol, HTTP2),
    (b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00", WrongProtocol, HTTP2),
    (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07" + b"\x00" * 12, WrongProtocol, HTTP2),
    # others
    (b"SSH-2.0-OpenSSH_9.2p1\r\n", NoHttp, OTHER),
    (b"220 mail.example ESMTP\r\n", NoHttp, OTHER),
    (b"-ERR unknown command 'POST'\r\n", NoHttp, OTHER),
    (b"<html>\n<p>Hi\n", NoHttp, OTHER),
    (b"J\x00\x00\x00\n8.0.35\x00", NoHttp, OTHER),
    (b"\x00 is no frame", NoHttp, OTHER),
    (b"\x15 is no alert", NoHttp, OTHER),
    (b"HTTPS/1.1", NoHttp, OTHER),
    (b"x" * 1000, NoHttp, OTHER),
]

SAID: list[tuple[str, bool, Optional[str]]] = [
    (
        "certificate verify failed",
        True,
        "certificate verify failed: the server's certificate must be valid now, and its authority one that is trusted",
    ),
    ("tlsv13 alert certificate required", True, "client certificate"),
    ("sslv3 alert bad certificate", True, "client certificate"),
    ("ssl/tls alert bad certificate", True, "client certificate"),
    ("tlsv1 alert unknown ca", True, "client certificate"),
    ("sslv3 alert certificate expired", True, "client certificate"),
    # a record that was spoilt on its way later may be called the same
    ("wrong version number", False, "the server does not speak TLS there: use http:// (wrong version number)"),
    ("packet length too long", False, "does not speak TLS"),
    ("record layer failure", False, "does not speak TLS"),
    ("unknown protocol", False, "does not speak TLS"),
    ("ssl/tls alert handshake failure", False, "the server refuses this kind of TLS, or wants a client certificate ("),
    ("tlsv1 alert protocol version", False, "TLS failed (tlsv1 alert protocol version)"),
    ("no reason given", False, "TLS failed (no reason given)"),
    (WRONG_NAME, True, None),
]


FRAME = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"
TLS_2 = "not sent: the server speaks TLS there: use grpcs://"
HTTP1 = "not sent: the server does not speak HTTP/2 there, but HTTP/1: use http:// or https:// "
OTHER_2 = "not sent: the server does not speak HTTP/2 there: "

FIRST_2: list[tuple[bytes, type[Error], str]] = [
    (b"\x15\x03\x01\x00\x02\x02\x0a", TLSFailed, TLS_2),
    (b"\x15\x03\x03\x00\x02\x02\x46", TLSFailed, TLS_2),
    (b"HTTP/1.1 400 Bad Request\r\n", WrongProtocol, HTTP1 + "('HTTP/1.1 400 Bad Request')"),
    (b"HTTP/1.0 400 Bad Request\r\n", WrongProtocol, HTTP1 + "('HTTP/1.0 400 Bad Request')"),
    # HTTP/2 begins with SETTINGS, on stream 0, that are no acknowledgement
    (b"\x00\x00\x00\x04\x01\x00\x00\x00\x00", WrongProtocol, OTHER_2),
    (b"\x00\x00\x00\x04\x00\x00\x00\x00\x01", WrongProtocol, OTHER_2),
    (b"\x00\x00\x00\x06\x00\x00\x00\x00\x00", WrongProtocol, OTHER_2),
    (b"SSH-2.0-OpenSSH_9.2p1\r\n", WrongProtocol, OTHER_2 + "'SSH-2.0-OpenSSH_9.2p1'"),
    (b"-ERR unknown command 'PRI'\r\n", WrongProtocol, OTHER_2 + "\"-ERR unknown command 'PRI'\""),
    (b"\x15 is no alert", WrongProtocol, OTHER_2),
    (b"x" * 1000, WrongProtocol, OTHER_2 + repr("x" * 120 + "...")),
]


class FirstBytesTests(SynchronousTestCase):
    def assert_foreign(self, dialect: Dialect, first: bytes, cls: type[Error], message: str) -> None:
        self.assertFalse(dialect.is_undecided(first), first)
        error = dialect.foreign(first)
        assert error is not None, first
        self.assertEqual((cls, None), (type(error), error.code), first)
        self.assertTrue(error.message.startswith(message), error.message)

    def test_foreign(self) -> None:
        for first, cls, message in FIRST:
            self.assert_foreign(HTTP_1, first, cls, message)
        for first, cls, message in FIRST_2:
            self.assert_foreign(HTTP_2, first, cls, message)

    def test_no_http(self) -> None:
        """What came is not in the error, which knows no secrets: it is quoted by who does."""
        error = HTTP_1.foreign(b"an echo of SECRET")
        assert isinstance(error, NoHttp)
        self.assertEqual((OTHER, b"an echo of SECRET"), (error.message, error.first))
        told = not_http(error.first, Quotes("SECRET"))
        self.assertEqual((ProtocolViolation, OTHER + ": 'an echo of ***'"), (type(told), told.message))

    def test_cut_anywhere(self) -> None:
        """What is told apart is not told before it can be, however it comes."""
        for dialect, table, other in ((HTTP_1, FIRST, OTHER), (HTTP_2, FIRST_2, OTHER_2)):
            for first, cls, message in table:
                decided = next(at for at in range(1, len(first) + 1) if not dialect.is_undecided(first[:at]))
                if not message.startswith(other):
                    self.assert_foreign(dialect, first[:decided], cls, message.partition(" (")[0])

    def test_nothing(self) -> None:
        """etcd closes the connection without a word, and there is more than one reason for that."""
        closed = "the server closed it without a word; if it speaks TLS, use "
        self.assertEqual(HTTP_1.closed_unheard, f"{closed}https://")
        self.assertEqual(HTTP_2.closed_unheard, f"{closed}grpcs://; if it speaks HTTP/1 only, use http://")

    def test_at_home(self) -> None:
        for dialect, whole, known in ((HTTP_1, b"HTTP/1.1 200 OK\r\n", 5), (HTTP_2, FRAME, 9)):
            for at in range(len(whole)):
                self.assertEqual(at < known, dialect.is_undecided(whole[:at]), at)
            for at in range(known, len(whole)):
                self.assertIsNone(dialect.foreign(whole[:at]), at)

    def test_waiting_has_an_end(self) -> None:
        """Nothing leaves it undecided for more than nine bytes."""
        for dialect in (HTTP_1, HTTP_2):
            for byte in range(256):
                for first in (bytes([byte]) * 9, b"\x00" * 8 + bytes([byte]), b"HTTP" + bytes([byte]) * 5):
                    self.assertFalse(dialect.is_undecided(first), first)


class TlsTests(SynchronousTestCase):
    def test_table(self) -> None:
        for said, is_certain, words in SAID:
            self.assertEqual(is_certain, is_of_certificate(said), said)
            if words is not None:
                self.assertIn(words, tls_failure(HTTP_1, said))
                self.assertIn(said, tls_failure(HTTP_1, said))

    def test_schemes(self) -> None:
        """What to use instead, by what should be spoken."""
        self.assertIn("use http://", tls_failure(HTTP_1, "wrong version number"))
        self.assertIn("use grpc://", tls_failure(HTTP_2, "wrong version number"))
        self.assertIn("TLS failed", tls_failure(HTTP_1, "tlsv1 alert no application protocol"))
        self.assertIn("use http://", no_tls(HTTP_1))
        self.assertIn("use grpc://", no_tls(HTTP_2))
        told = "the server did not agree on 'h2' (ALPN): it does not speak gRPC there"
        self.assertEqual(told, no_alpn(HTTP_2))
        said = "tlsv1 alert no application protocol"
        self.assertEqual(f"{told} ({said})", tls_failure(HTTP_2, said))

    def test_client_certificate(self) -> None:
        for said, _, words in SAID:
            self.assertIs(words == "client certificate", is_of_client_certificate(said), said)
        said = "tlsv13 alert certificate required"
        self.assertEqual(
            f"the server wants a client certificate: name one with TLS(cert_file=...) ({said})",
            client_certificate(said, None),
        )
        told = f"the server does not accept the client certificate in '/c.pem' ({said})"
        self.assertEqual(told, client_certificate(said, "/c.pem"))


CERTIFICATE = Certificate("CN=etcd", "CN=ca", "then", "now")
OWN = "the server's certificate "
AUTHORITYS = "the certificate of its authority 'CN=etcd' "
UNKNOWN = OWN + "is from an authority that is not "
AMONG = "among those that the system trusts (others can be named with TLS(ca_file=...))"

DISTRUSTED: list[tuple[int, int, Optional[str], str]] = [
    (9, 0, None, OWN + "is not valid before then: is the clock right?"),
    (9, 2, None, AUTHORITYS + "is not valid before then: is the clock right?"),
    (10, 0, None, OWN + "has expired: it was valid until now"),
    (10, 1, "/ca.pem", AUTHORITYS + "has expired: it was valid until now"),
    (26, 0, None, OWN + "is not meant for this use (extendedKeyUsage)"),
    (18, 0, None, OWN + "is signed by nobody but itself, and it is not " + AMONG),
    (18, 0, "/ca.pem", OWN + "is signed by nobody but itself, and it is not in '/ca.pem'"),
    (19, 1, None, UNKNOWN + AMONG + ": 'CN=etcd'"),
    (20, 0, "/ca.pem", UNKNOWN + "in '/ca.pem': 'CN=ca'"),
    (2, 1, "/ca.pem", UNKNOWN + "in '/ca.pem': 'CN=ca'"),
    (21, 0, None, UNKNOWN + AMONG + ": 'CN=ca'"),
    (7, 0, None, OWN + "is not trusted (OpenSSL's verify error 7)"),
    (66, 1, None, AUTHORITYS + "is not trusted (OpenSSL's verify error 66)"),
]


class CertificateTests(SynchronousTestCase):
    def test_distrust(self) -> None:
        for code, depth, ca_file, told in DISTRUSTED:
            self.assertEqual(told, distrust(code, depth, CERTIFICATE, ca_file))

    def test_wrong_host(self) -> None:
        for names, told in (
            (["DNS:a"], "DNS:a"),
            (["DNS:a"] * 8, ", ".join(["DNS:a"] * 8)),
            (["DNS:a"] * 9, ", ".join(["DNS:a"] * 8) + " and 1 more"),
            (["DNS:a\nb\x1b"], "DNS:a\\nb\\x1b"),
        ):
            wanted = f"the server's certificate is not for etcd, but for {told} {OTHER_NAME}"
            self.assertEqual(wanted, wrong_host("etcd", names))
