"""
What is behind a wrong URL: from the first bytes, and from the words of OpenSSL.
"""

from __future__ import annotations

from typing import Optional

from twisted.trial.unittest import SynchronousTestCase

from txetcd._clues import (
    OTHER_NAME,
    WRONG_NAME,
    Certificate,
    client_certificate,
    distrust,
    is_http,
    is_of_certificate,
    is_of_client_certificate,
    is_undecided,
    not_http,
    tls_failure,
    wrong_host,
)
from txetcd.errors import Error, ProtocolViolation, TLSFailed

TLS = "the server speaks TLS there: use https://"
HTTP2 = "no etcd gateway there? the server speaks HTTP/2 and nothing else, as those of gRPC do"
OTHER = "no etcd gateway there? not an answer of HTTP: "

FIRST: list[tuple[bytes, type[Error], str]] = [
    # TLS: a fatal alert, of an unexpected message, and of a version that is not known
    (b"\x15\x03\x01\x00\x02\x02\x0a", TLSFailed, TLS),
    (b"\x15\x03\x03\x00\x02\x02\x46", TLSFailed, TLS),
    # HTTP/2: the settings, with and without some; and the end of the connection behind them
    (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", ProtocolViolation, HTTP2),
    (b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00", ProtocolViolation, HTTP2),
    (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07" + b"\x00" * 12, ProtocolViolation, HTTP2),
    # others
    (b"SSH-2.0-OpenSSH_9.2p1\r\n", ProtocolViolation, OTHER + "'SSH-2.0-OpenSSH_9.2p1'"),
    (b"220 mail.example ESMTP\r\n", ProtocolViolation, OTHER + "'220 mail.example ESMTP'"),
    (b"-ERR unknown command 'POST'\r\n", ProtocolViolation, OTHER + "\"-ERR unknown command 'POST'\""),
    (b"<html>\n<p>Hi\n", ProtocolViolation, OTHER + "'<html> <p>Hi'"),
    (b"J\x00\x00\x00\n8.0.35\x00", ProtocolViolation, OTHER + "'J\\x00\\x00\\x00 8.0.35\\x00'"),
    (b"\x00 is no frame", ProtocolViolation, OTHER + "'\\x00 is no frame'"),
    (b"\x15 is no alert", ProtocolViolation, OTHER + "'\\x15 is no alert'"),
    (b"HTTPS/1.1", ProtocolViolation, OTHER + "'HTTPS/1.1'"),
    (b"x" * 1000, ProtocolViolation, OTHER + repr("x" * 120 + "...")),
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


class FirstBytesTests(SynchronousTestCase):
    def test_not_http(self) -> None:
        for first, cls, message in FIRST:
            self.assertFalse(is_http(first) or is_undecided(first), first)
            error = not_http(first)
            self.assertEqual((cls, message, None), (type(error), error.message, error.code), first)

    def test_cut_anywhere(self) -> None:
        """What is told apart is not told before it can be, however it comes."""
        for first, cls, message in FIRST:
            decided = next(at for at in range(1, len(first) + 1) if not is_undecided(first[:at]))
            if not message.startswith(OTHER):
                error = not_http(first[:decided])
                self.assertEqual((cls, message), (type(error), error.message), first)

    def test_http(self) -> None:
        whole = b"HTTP/1.1 200 OK\r\n"
        for at in range(len(whole)):
            self.assertEqual((at < 5, at >= 5), (is_undecided(whole[:at]), is_http(whole[:at])), at)

    def test_waiting_has_an_end(self) -> None:
        """Nothing leaves it undecided for more than nine bytes."""
        for byte in range(256):
            for first in (bytes([byte]) * 9, b"\x00" * 8 + bytes([byte]), b"HTTP" + bytes([byte]) * 5):
                self.assertFalse(is_undecided(first), first)


class TlsTests(SynchronousTestCase):
    def test_table(self) -> None:
        for said, is_certain, words in SAID:
            self.assertEqual(is_certain, is_of_certificate(said), said)
            if words is not None:
                self.assertIn(words, tls_failure(said))
                self.assertIn(said, tls_failure(said))

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
