"""
TLS: the files that the user names, and what else he says of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Union

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.web.client import Agent, HTTPConnectionPool

from test.certificates import pem_of
from test.fakes import requests_in, response
from test.test_gateway import GatewayCase
from test.test_tls import BETWEEN, CLIENTS, OTHER, ROOT, SERVER, TlsCase
from txetcd._clues import HTTP_1
from txetcd._gateway import Gateway
from txetcd._tls import TLS, Creators

# --- files

RSA = pem_of(rsa.generate_private_key(65537, 2048))


class FileTests(TlsCase):
    """What is wrong with a file is told when the client is made."""

    def refused(self, **tls: Any) -> str:
        error = self.assertRaises(ValueError, Gateway, self.clock, 5.0, tls=TLS(**tls))
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_missing(self) -> None:
        here = self.file("here.pem", CLIENTS.certificate, CLIENTS.key)
        gone = str(self.directory / "gone.pem")
        for tls in ({"ca_file": gone}, {"cert_file": gone}, {"cert_file": here, "key_file": gone}):
            (argument,) = (name for name, path in tls.items() if path == gone)
            self.assertEqual(f"{argument}: {gone!r} cannot be read: No such file or directory", self.refused(**tls))

    def test_directory(self) -> None:
        path = str(self.directory)
        self.assertEqual(f"ca_file: {path!r} cannot be read: Is a directory", self.refused(ca_file=path))

    def test_not_pem(self) -> None:
        here = self.file("here.pem", CLIENTS.certificate)
        for content in (b"", b"hello\n", CLIENTS.certificate[:200], b"\x30\x82\x01\x02", CLIENTS.key[:80]):
            path = self.file("broken.pem", content)
            for tls, wanted in (
                ({"ca_file": path}, "certificate"),
                ({"cert_file": path}, "certificate"),
                ({"cert_file": here, "key_file": path}, "private key"),
            ):
                argument = list(tls)[-1]
                told = f"{argument}: {path!r} holds no {wanted} in PEM that can be used ("
                self.assertEqual(told, self.refused(**tls)[: len(told)])

    def test_half_a_chain(self) -> None:
        """What is only begun is not left out."""
        path = self.file("half.pem", ROOT.pem, OTHER.pem[:200])
        self.assertIn("holds no certificate in PEM", self.refused(ca_file=path))
        path = self.file("half.pem", CLIENTS.key, CLIENTS.certificate, BETWEEN.pem[:200])
        self.assertIn("holds no certificate in PEM", self.refused(cert_file=path))

    def test_no_key(self) -> None:
        path = self.file("cert.pem", CLIENTS.certificate)
        self.assertIn(f"cert_file: {path!r} holds no private key in PEM", self.refused(cert_file=path))

    def test_another_key(self) -> None:
        """Of the same kind, and of another; in two files, and in one."""
        cert = self.file("cert.pem", CLIENTS.certificate)
        for key in (OTHER.own.key, RSA):
            path = self.file("key.pem", key)
            told = f"key_file: the private key in {path!r} is not that of the certificate in {cert!r}"
            self.assertEqual(told, self.refused(cert_file=cert, key_file=path))
            path = self.file("both.pem", CLIENTS.certificate, key)
            told = f"cert_file: the private key in {path!r} is not that of the certificate in {path!r}"
            self.assertEqual(told, self.refused(cert_file=path))

    def test_encrypted_key(self) -> None:
        """Nobody is asked for a password."""
        key: Any = load_pem_private_key(CLIENTS.key, None)
        cert = self.file("cert.pem", CLIENTS.certificate)
        for content in (
            pem_of(key, b"secret"),
            b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n",
        ):
            path = self.file("key.pem", content)
            told = f"key_file: the private key in {path!r} is encrypted, and nobody is there to be asked how"
            self.assertEqual(told, self.refused(cert_file=cert, key_file=path))

    def test_nothing_is_read_without_need(self) -> None:
        """What the system trusts is much to read."""
        self.patch(SSL.Context, "set_default_verify_paths", lambda *_: self.fail("it was read"))
        for tls in (None, TLS(), TLS(server_name="etcd.example")):
            self.use(Gateway(self.clock, 5.0, tls=tls))


class RotationTests(TlsCase):
    """Files that change while they are in use."""

    def setUp(self) -> None:
        super().setUp()
        self._writes = 0

    def replace(self, name: str, *content: bytes) -> str:
        """Writes a file; that it is another one shows in its time, if nowhere else."""
        path = self.file(name, *content)
        self._writes += 1
        os.utime(path, (self._writes, self._writes))
        return path

    def test_another_authority(self) -> None:
        self.at(ca_file=self.replace("trusted.pem", OTHER.pem))
        self.assertIn("the server's certificate is from", self.told(self.put, self.context(SERVER)))
        self.replace("trusted.pem", ROOT.pem)
        self.assert_trusted(SERVER)
        self.replace("trusted.pem", OTHER.pem)
        self.assertIn("the server's certificate is from", self.told(self.put, self.context(SERVER)))

    def test_another_certificate(self) -> None:
        names = []
        for name in ("one", "two", "three"):
            own = ROOT.issue(name=name)
            cert, key = self.replace("cert.pem", own.certificate), self.replace("key.pem", own.key)
            if not names:
                self.at(cert_file=cert, key_file=key)
            server = self.assert_trusted(SERVER, clients=ROOT)
            shown: Any = server.connection.get_peer_certificate()
            names.append(shown.get_subject().CN)
        self.assertEqual(["one", "two", "three"], names)

    def test_moved_there(self) -> None:
        """As those do who want no file to be half there: with the same time and the same size."""
        self.at(ca_file=self.replace("trusted.pem", OTHER.pem))
        stamp = os.stat(self.directory / "trusted.pem").st_mtime_ns
        path = self.file("new.pem", ROOT.pem.ljust(len(OTHER.pem)))
        os.utime(path, ns=(stamp, stamp))
        os.replace(path, self.directory / "trusted.pem")
        self.assert_trusted(SERVER)

    def test_bad_for_a_while(self) -> None:
        """What was read before is used on, and one warning says why."""
        good = (CLIENTS.certificate, CLIENTS.key)
        path = self.replace("client.pem", *good)
        self.at(cert_file=path)
        for content, told in (
            ((CLIENTS.certificate, CLIENTS.key[:80]), "in PEM that can be used"),
            ((CLIENTS.certificate[:100],), "holds no certificate in PEM that can be used"),
            ((CLIENTS.certificate, OTHER.own.key), "is not that of the certificate in"),
            ((), "holds no certificate in PEM that can be used"),
        ):
            self.replace("client.pem", *content)
            with capturedLogs() as logged:
                for _ in range(3):
                    self.assert_trusted(SERVER, clients=ROOT)
            (event,) = (event for event in logged if event["log_namespace"] == "txetcd._tls")
            self.assertEqual(LogLevel.warn, event["log_level"])
            self.assertTrue(event["problem"].startswith("cert_file: "), event)
            self.assertIn(told, event["problem"])
        with capturedLogs() as logged:
            os.remove(path)
            self.assert_trusted(SERVER, clients=ROOT)
            self.assert_trusted(SERVER, clients=ROOT)
        (event,) = (event for event in logged if event["log_namespace"] == "txetcd._tls")
        self.assertIn("cannot be read: No such file or directory", event["problem"])
        self.replace("client.pem", *good)
        with capturedLogs() as logged:
            self.assert_trusted(SERVER, clients=ROOT)
        self.assertEqual([], [event for event in logged if event["log_namespace"] == "txetcd._tls"])

    def test_good_again(self) -> None:
        path = self.replace("trusted.pem", OTHER.pem)
        self.at(ca_file=path)
        self.replace("trusted.pem", b"half")
        self.assertIn("the server's certificate is from", self.told(self.put, self.context(SERVER)))
        self.replace("trusted.pem", ROOT.pem)
        self.assert_trusted(SERVER)

    def test_unchanged(self) -> None:
        """They are not read for nothing."""
        self.at()
        self.patch(SSL.Context, "load_verify_locations", lambda *_: self.fail("it was read again"))
        server = self.context(SERVER)
        for begin in (self.get, self.stream):
            waiting = begin()
            self.serve(server)
            self.assertEqual(1, self.gateway.connections)
            self.hang_up()
            self.failureResultOf(waiting)

    def test_open_connections_go_on(self) -> None:
        path = self.replace("trusted.pem", ROOT.pem)
        self.at(ca_file=path)
        waiting = self.get()
        server = self.serve(self.context(SERVER))
        self.replace("trusted.pem", OTHER.pem)
        server.send(response(b'{"header":{"revision":"7"},"kvs":[],"count":"0"}'))
        self.successResultOf(waiting)
        waiting = self.get()
        self.clock.advance(0)
        self.talk(server)
        self.assertEqual((1, 2), (self.network.attempts, len(requests_in(server.heard))))
        self.gateway.close()
        self.failureResultOf(waiting)


# --- what the user says


class ValueTests(GatewayCase):
    """The arguments."""

    def test_wrong(self) -> None:
        path = "must be the path of a file (str or os.PathLike), not "
        name = "server_name must be a host name in ASCII or an IP address, not "
        wrong: list[tuple[dict[str, Any], Union[type[TypeError], type[ValueError]], str]] = [
            ({"ca_file": 5}, TypeError, f"ca_file {path}int"),
            ({"cert_file": b"/x"}, TypeError, f"cert_file {path}bytes"),
            ({"cert_file": "x", "key_file": False}, TypeError, f"key_file {path}bool"),
            ({"ca_file": Deferred()}, TypeError, f"ca_file {path}a Deferred: yield or await it first"),
            ({"ca_file": ""}, ValueError, "ca_file must be the path of a file, not ''"),
            ({"ca_file": "a\0b"}, ValueError, "ca_file must be the path of a file, not 'a\\x00b'"),
            ({"key_file": "x"}, ValueError, "key_file is the key of a cert_file, and none is given"),
            ({"server_name": b"x"}, TypeError, "server_name must be a str, not bytes"),
            ({"server_name": ""}, ValueError, f"{name}''"),
            ({"server_name": "b\u00fccher.example"}, ValueError, f"{name}'b\u00fccher.example'"),
            ({"server_name": "a b"}, ValueError, f"{name}'a b'"),
        ]
        for arguments, cls, told in wrong:
            self.assertEqual(told, str(self.assertRaises(cls, TLS, **arguments)))

    def test_paths(self) -> None:
        self.assertEqual(TLS("/a", "/b", "/c"), TLS(Path("/a"), Path("/b"), Path("/c")))
        self.assertEqual(
            "TLS(ca_file='/a', cert_file=None, key_file=None, server_name='x')", repr(TLS("/a", server_name="x"))
        )

    def test_gateway(self) -> None:
        for arguments, cls, told in (
            ({"tls": "/ca.pem"}, TypeError, "tls must be a txetcd.TLS, not str"),
            ({"tls": True}, TypeError, "tls must be a txetcd.TLS, not bool"),
            (
                {"tls": TLS(), "agent": Agent(self.clock)},
                ValueError,
                "tls and agent exclude each other: the agent has a TLS of its own",
            ),
        ):
            self.assertEqual(told, str(self.assertRaises(cls, Gateway, self.clock, 5.0, **arguments)))

    def test_with_a_pool(self) -> None:
        self.use(Gateway(self.clock, 5.0, pool=HTTPConnectionPool(self.clock), tls=TLS()))

    def test_creators(self) -> None:
        """Each host has one of its own."""
        creators = Creators(TLS(), HTTP_1)
        self.assertIsNot(creators.creator("a"), creators.creator("b"))
