"""
TLS: real handshakes, with certificates made for the test, over connections in memory.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.protocols import tls as twisted_tls
from twisted.trial.unittest import SynchronousTestCase

from test.certificates import CLIENT, DAY, Authority, Certificate, SelfSigned, write
from test.fakes import Case, Reactor, Wire, fake_way, requests_in, response
from test.test_gateway import GatewayCase
from txetcd import _schema as schema
from txetcd._calls import Calls
from txetcd._clues import OTHER_NAME
from txetcd._gateway import Gateway
from txetcd._messages import Empty
from txetcd._tls import TLS, Peer
from txetcd.errors import Error, OutcomeUnknown, Timeout, TLSFailed, Unavailable

URL = "https://etcd.example:2379"
SIZE = 1 << 16

ROOT = Authority("root")
OTHER = Authority("other")
BETWEEN = Authority("between", ROOT)
EXPIRED = Authority("expired", ROOT, end=-DAY)
SELF_SIGNED = SelfSigned("etcd.example").own
SERVER = ROOT.issue("etcd.example")
CLIENTS = ROOT.issue(name="client", usages=(CLIENT,))


def chain(certificate: Certificate, *authorities: Authority) -> Certificate:
    """A certificate that comes with those of authorities."""
    whole = b"".join([certificate.certificate, *(one.pem for one in authorities)])
    return attrs.evolve(certificate, certificate=whole)


def signed(names: Any) -> Certificate:
    """A certificate with these in the place of its subjectAltName."""
    return ROOT.sign(load_pem_private_key(SERVER.key, None), x509.Name([]), [names], -DAY, DAY)


class TlsServer:
    """
    What is at the other end of a connection in memory, and speaks TLS.

    :param wire: the connection.
    :param context: how it speaks.

    :ivar heard: what the client has sent (``bytes``).
    :ivar error: why it failed.
    """

    def __init__(self, wire: Wire, context: SSL.Context) -> None:
        self._wire = wire
        self._read = 0
        self.heard = b""
        self.error: Optional[SSL.Error] = None
        self.connection = SSL.Connection(context, None)
        self.connection.set_accept_state()

    def step(self) -> bool:
        """Takes what has come, and says what is to be said; whether there was anything."""
        came = self._wire.value()[self._read :]
        self._read += len(came)
        if came:
            self.connection.bio_write(came)
        self._work()
        said = self._said()
        if said:
            self._wire.send(said)
        return bool(came or said)

    def _work(self) -> None:
        if self.error is None:
            try:
                self.connection.do_handshake()
                self.heard += self.connection.recv(SIZE)
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                self.error = error

    def _said(self) -> bytes:
        try:
            return self.connection.bio_read(SIZE)
        except SSL.WantReadError:
            return b""

    def send(self, data: bytes) -> None:
        """Says that."""
        self.connection.sendall(data)
        self._wire.send(self._said())


class TlsFiles(Case):
    """
    What both sides speak TLS by.

    :ivar directory: for the files of this test.
    """

    clock: Reactor

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.ca_file = self.file("ca.pem", ROOT.pem)
        # newer releases write a little later, by the global reactor's clock
        if hasattr(twisted_tls, "_get_default_clock"):
            self.patch(twisted_tls, "_get_default_clock", lambda: self.clock)

    def file(self, name: str, *content: bytes) -> str:
        return write(self.directory / name, *content)

    def context(self, certificate: Certificate, clients: Optional[Authority] = None, newest: int = 0) -> SSL.Context:
        """
        How a server speaks TLS.

        :param clients: the authority of the certificates that it wants to see.
        :param newest: the newest version of TLS that it knows.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_chain_file(self.file("server.pem", certificate.certificate))
        context.use_privatekey_file(self.file("server.key", certificate.key))
        if newest:
            context.set_max_proto_version(newest)
        if clients is not None:
            context.load_verify_locations(self.file("clients.pem", clients.pem))
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *found: bool(found[-1]))
        return context


class TlsCase(TlsFiles, GatewayCase):
    """Calls over TLS."""

    def at(self, url: str = URL, **tls: Any) -> None:
        """Goes on with this URL, and the authority of these tests."""
        tls.setdefault("ca_file", self.ca_file)
        self.use(Gateway(self.clock, 5.0, tls=TLS(**tls)))
        self.calls = Calls(fake_way(self.clock, self.gateway, url))

    def stream(self) -> Deferred[None]:
        """Begins a stream."""
        return self.calls.stream(schema.SNAPSHOT, Empty(), print).ended

    def serve(self, context: SSL.Context, at: int = -1) -> TlsServer:
        """Lets an attempt to connect, by default the last, succeed, and talks until nobody has more to say."""
        server = TlsServer(self.network.accept(at), context)
        self.talk(server)
        return server

    def talk(self, server: TlsServer) -> None:
        """Goes on until nobody has more to say."""
        while server.step():
            self.clock.advance(0)

    def told(self, begin: Callable[[], Deferred[Any]], context: SSL.Context) -> str:
        """What a call fails with, that was certainly not carried out."""
        waiting = begin()
        server = self.serve(context)
        self.clock.advance(0)
        error = self.failureResultOf(waiting, Error).value
        self.assertEqual((type(error), error.maybe_applied, server.heard), (TLSFailed, False, b""), error)
        self.assertEqual(self.network.open, [])
        prefix = f"{error.call} at {self.calls.endpoint}: not sent: "
        self.assertTrue(str(error).startswith(prefix), error)
        self.assertNotIn("\n", str(error))
        return str(error)[len(prefix) :]

    def assert_told(self, told: str, certificate: Certificate, **server: Any) -> None:
        """A write, a read and a stream fail so, and none leaves anything behind."""
        for begin in (self.put, self.get, self.stream):
            self.assertEqual(told, self.told(begin, self.context(certificate, **server)))

    def assert_trusted(self, certificate: Certificate, **server: Any) -> TlsServer:
        """A call gets its answer."""
        waiting = self.get()
        served = self.serve(self.context(certificate, **server))
        self.talk(served)
        (request,) = requests_in(served.heard)
        self.assertEqual("/v3/kv/range", request.path)
        served.send(response(b'{"header":{"revision":"7"},"kvs":[],"count":"0"}'))
        self.assertEqual(7, self.successResultOf(waiting).header.revision)
        self.hang_up()
        return served


# --- the server's certificate

NO_NAMES = "the server's certificate names no host in a subjectAltName, and a CommonName does not count"


class HostTests(TlsCase):
    """For whom a certificate is."""

    def test_right(self) -> None:
        for url, names in (
            (URL, ["etcd.example"]),
            (URL, ["127.0.0.1", "other.example", "ETCD.example"]),
            (URL, ["*.example"]),
            ("https://etcd.example.", ["etcd.example"]),
            ("https://etcd_1.example", ["etcd_1.example"]),
            ("https://localhost:2379", ["localhost"]),
            ("https://127.0.0.1:2379", ["localhost", "127.0.0.1"]),
            ("https://[::1]:2379", ["::1"]),
            ("https://[0:0::1]:2379", ["::1"]),
        ):
            self.at(url)
            host = (urlsplit(url).hostname or "").rstrip(".")
            is_name = host[-1].isalpha()
            server = self.assert_trusted(ROOT.issue(*names))
            self.assertEqual(host.encode() if is_name else None, server.connection.get_servername(), url)

    def test_wrong(self) -> None:
        for url, names, told in (
            (URL, ["localhost"], "etcd.example, but for DNS:localhost"),
            (URL, ["a.etcd.example", "example"], "etcd.example, but for DNS:a.etcd.example, DNS:example"),
            (URL, ["127.0.0.1"], "etcd.example, but for IP:127.0.0.1"),
            ("https://a.etcd.example", ["*.example"], "a.etcd.example, but for DNS:*.example"),
            ("https://127.0.0.1:2379", ["localhost"], "127.0.0.1, but for DNS:localhost"),
            ("https://127.0.0.1:2379", ["127.0.0.2", "a"], "127.0.0.1, but for DNS:a, IP:127.0.0.2"),
            ("https://[::1]:2379", ["::2"], "::1, but for IP:::2"),
            (URL, [f"{n}.example" for n in range(10)], "etcd.example, but for DNS:0.example, DNS:1.example, "
             "DNS:2.example, DNS:3.example, DNS:4.example, DNS:5.example, DNS:6.example, DNS:7.example and 2 more"),
        ):  # fmt: skip
            self.at(url)
            self.assert_told(f"the server's certificate is not for {told} {OTHER_NAME}", ROOT.issue(*names))

    def test_no_name(self) -> None:
        """A CommonName counts nowhere any more, and no certificate is for everybody."""
        for url, name in ((URL, "etcd.example"), ("https://127.0.0.1", "127.0.0.1"), ("https://localhost", "")):
            self.at(url)
            self.assert_told(NO_NAMES, ROOT.issue(name=name))

    def test_names_of_others_only(self) -> None:
        """A subjectAltName need not be one of a host."""
        mail = x509.SubjectAlternativeName([x509.RFC822Name("etcd.example@example")])
        self.at()
        self.assert_told(NO_NAMES, signed(mail))

    def test_server_name(self) -> None:
        """What the user says comes before the URL, for both sides."""
        for url, name, is_told in (
            ("https://127.0.0.1:2379", "etcd.example", True),
            ("https://10.0.0.1:2379", "etcd.example.", True),
            ("https://other.example:2379", "etcd.example", True),
            ("https://etcd.example:2379", "10.0.0.1", False),
            ("https://etcd.example:2379", "::1", False),
        ):
            self.at(url, server_name=name)
            name = name.rstrip(".")
            server = self.assert_trusted(ROOT.issue(name))
            self.assertEqual(name.encode() if is_told else None, server.connection.get_servername())

    def test_another_server_name(self) -> None:
        self.at(server_name="other.example")
        told = "the server's certificate is not for other.example, but for DNS:etcd.example"
        self.assert_told(f"{told} {OTHER_NAME}", SERVER)

    def test_name_that_is_none(self) -> None:
        """It is for nobody to be found."""
        self.at(server_name="300.1.1.1")
        for begin in (self.put, self.get):
            self.assertIn("the server's certificate ", self.told(begin, self.context(SERVER)))


class TrustTests(TlsCase):
    """From whom a certificate is, and when."""

    def from_unknown(self, name: str) -> str:
        return f"the server's certificate is from an authority that is not in {self.ca_file!r}: 'CN={name}'"

    def test_chain(self) -> None:
        self.at()
        self.assert_trusted(chain(BETWEEN.issue("etcd.example"), BETWEEN))
        self.assert_trusted(chain(BETWEEN.issue("etcd.example"), BETWEEN, ROOT))

    def test_what_is_named_is_trusted(self) -> None:
        """It need be no root, as in Go; and of several all are."""
        for trusted, certificate in (
            (BETWEEN.pem, BETWEEN.issue("etcd.example")),
            (SELF_SIGNED.certificate, SELF_SIGNED),
            (SERVER.certificate, SERVER),
            (OTHER.pem + b"\n# and\n" + ROOT.pem, SERVER),
        ):
            self.at(ca_file=self.file("trusted.pem", trusted))
            self.assert_trusted(certificate)

    def test_unknown_authority(self) -> None:
        self.at()
        self.assert_told(self.from_unknown("other"), OTHER.issue("etcd.example"))
        self.assert_told(self.from_unknown("other"), chain(OTHER.issue("etcd.example"), OTHER))
        self.assert_told(self.from_unknown("between"), BETWEEN.issue("etcd.example"))

    def test_system(self) -> None:
        """Without a file the system's trust store counts."""
        self.use(Gateway(self.clock, 5.0))
        self.calls = Calls(fake_way(self.clock, self.gateway, URL))
        among = "among those that the system trusts (others can be named with TLS(ca_file=...))"
        self.assert_told(f"the server's certificate is from an authority that is not {among}: 'CN=root'", SERVER)
        self.assert_told(f"the server's certificate is signed by nobody but itself, and it is not {among}", SELF_SIGNED)

    def test_trusted_by_the_system(self) -> None:
        self.trust(self.ca_file)
        for tls in (None, TLS()):
            self.use(Gateway(self.clock, 5.0, tls=tls))
            self.calls = Calls(fake_way(self.clock, self.gateway, URL))
            self.assert_trusted(SERVER)
        # what is named stands instead
        self.at(ca_file=self.file("other.pem", OTHER.pem))
        told = f"the server's certificate is from an authority that is not in {str(self.directory / 'other.pem')!r}: "
        self.assert_told(told + "'CN=root'", SERVER)

    def trust(self, path: str) -> None:
        """The system trusts those in this file, until the end of the test."""
        self.addCleanup(_set_environment, "SSL_CERT_FILE", os.environ.get("SSL_CERT_FILE"))
        _set_environment("SSL_CERT_FILE", path)

    def test_system_cannot_be_read(self) -> None:
        """That is no fault of the user's arguments, and so of each call."""

        def fail(_: object) -> None:
            raise SSL.Error([("x509 certificate routines", "", "bad object header")])

        self.patch(SSL.Context, "set_default_verify_paths", fail)
        self.use(Gateway(self.clock, 5.0))
        self.calls = Calls(fake_way(self.clock, self.gateway, URL))
        for begin in (self.put, self.get, self.stream):
            error = self.failureResultOf(begin(), Unavailable).value
            told = "not sent: the certificates that the system trusts cannot be read (bad object header)"
            self.assertEqual((False, told), (error.maybe_applied, error.message))

    def test_self_signed(self) -> None:
        self.at()
        told = f"the server's certificate is signed by nobody but itself, and it is not in {self.ca_file!r}"
        self.assert_told(told, SELF_SIGNED)

    def test_expired(self) -> None:
        self.at()
        expired = ROOT.issue("etcd.example", begin=-3 * DAY, end=-DAY)
        when = expired.end.strftime("%Y-%m-%d %H:%M:%S")
        self.assert_told(f"the server's certificate has expired: it was valid until {when} UTC", expired)

    def test_expired_authority(self) -> None:
        self.at()
        when = EXPIRED.own.end.strftime("%Y-%m-%d %H:%M:%S")
        told = f"the certificate of its authority 'CN=expired' has expired: it was valid until {when} UTC"
        self.assert_told(told, chain(EXPIRED.issue("etcd.example"), EXPIRED))

    def test_not_yet_valid(self) -> None:
        self.at()
        early = ROOT.issue("etcd.example", begin=timedelta(hours=1))
        when = early.begin.strftime("%Y-%m-%d %H:%M:%S")
        self.assert_told(f"the server's certificate is not valid before {when} UTC: is the clock right?", early)

    def test_for_clients(self) -> None:
        self.at()
        told = "the server's certificate is not meant for this use (extendedKeyUsage)"
        self.assert_told(told, ROOT.issue("etcd.example", usages=(CLIENT,)))

    def test_signed_by_another_of_that_name(self) -> None:
        """Another reason is told by its number; this one depends on what is known of keys."""
        self.at()
        for begin in (self.put, self.get):
            told = self.told(begin, self.context(Authority("root").issue("etcd.example")))
            self.assertIn("the server's certificate is ", told)

    def test_server_is_told(self) -> None:
        """It sees an alert, and not only that the client has gone."""
        self.at()
        waiting = self.put()
        server = self.serve(self.context(OTHER.issue("etcd.example")))
        self.failureResultOf(waiting, TLSFailed)
        self.assertRegex(str(server.error), "alert (unknown ca|certificate unknown|bad certificate)")


def _set_environment(name: str, value: Optional[str]) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


class PeerTests(SynchronousTestCase):
    """What OpenSSL hears."""

    def test_unreadable(self) -> None:
        """What cannot be read is not trusted, and nothing is raised into OpenSSL."""
        broken = signed(x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03abc"))
        peer = Peer("etcd.example", None, None)
        self.assertFalse(peer.check(crypto.load_certificate(crypto.FILETYPE_PEM, broken.certificate), 0, 0, True))
        self.assertRegex(str(peer.refusal), "^the server's certificate cannot be read: .")
        self.assertFalse(peer.is_verified)

    def test_authorities_are_not_the_server(self) -> None:
        peer = Peer("etcd.example", None, None)
        self.assertTrue(peer.check(None, 0, 1, True))  # type: ignore[arg-type]
        self.assertFalse(peer.is_verified)


# --- the handshake


class HandshakeTests(TlsCase):
    """Nothing is sent before both sides have agreed."""

    def setUp(self) -> None:
        super().setUp()
        self.at()

    def test_nothing_is_sent_before(self) -> None:
        for begin in (self.put, self.stream):
            waiting = begin()
            wire = self.network.accept()
            self.clock.advance(1)
            self.assertEqual(wire.value()[:2], b"\x16\x03")
            self.assertNoResult(waiting)
            server = TlsServer(wire, self.context(SERVER))
            self.talk(server)
            self.assertEqual(1, len(requests_in(server.heard)))
            self.gateway.close()
            self.failureResultOf(waiting)
            self.at()

    def test_never_completed(self) -> None:
        """One attempt to connect has its seconds, and the handshake is part of it."""
        told = "not sent: the TLS handshake was not completed at port 2379 within 5 seconds"
        for begin in (self.put, self.get, self.stream):
            waiting = begin()
            self.clock.advance(2)
            wire = self.network.accept()
            self.clock.advance(2.9)
            self.assertNoResult(waiting)
            self.clock.advance(0.2)
            error = self.failureResultOf(waiting).value
            self.assertEqual((Unavailable, False, told), (type(error), error.maybe_applied, error.message))
            self.clock.advance(0)
            self.assertTrue(wire.is_lost)
            self.assertEqual(0, self.gateway.connections)

    def test_too_late(self) -> None:
        """A call that ends before that says what it has waited for."""
        for begin in (self.put, self.get):
            waiting = begin(4.0)
            wire = self.network.accept()
            self.clock.advance(4)
            error = self.failureResultOf(waiting, Timeout).value
            told = "could not be sent within 4 seconds: the TLS handshake was not completed"
            self.assertEqual((False, told), (error.maybe_applied, error.message))
            self.clock.advance(0)
            self.assertTrue(wire.is_lost)

    def test_cancelled(self) -> None:
        for begin in (self.put, self.get):
            waiting = begin()
            wire = self.network.accept()
            self.cancelled(waiting)
            self.clock.advance(0)
            self.assertTrue(wire.is_lost)

    def test_closed(self) -> None:
        waiting = [begin() for begin in (self.put, self.get, self.stream)]
        for at in range(3):
            self.network.accept(at)
        closed = self.gateway.close()
        self.clock.advance(0)
        self.successResultOf(closed)
        for one in waiting:
            self.failureResultOf(one)
        self.assertEqual([], self.network.open)

    def test_not_verified(self) -> None:
        """If ever a library agrees on TLS without having asked us, that is noticed."""
        self.patch(Peer, "check", lambda *_: True)
        self.assert_told("the server's certificate was not verified", SERVER)

    def test_lost_after_it(self) -> None:
        """From then on a request may have been read."""
        for is_polite, told in ((True, "the server closed it"), (False, "it broke off")):
            waiting, reading = self.put(), self.get()
            servers = [self.serve(self.context(SERVER), at) for at in (-2, -1)]
            for server in servers:
                self.assertEqual(1, len(requests_in(server.heard)))
                if is_polite:
                    server.connection.shutdown()
                    server.step()
            for wire in self.network.open:
                wire.close()
            for failed, cls in ((waiting, OutcomeUnknown), (reading, Unavailable)):
                error = self.failureResultOf(failed).value
                self.assertEqual((cls, cls is OutcomeUnknown), (type(error), error.maybe_applied))
                self.assertEqual(f"the connection was lost before the answer was complete: {told}", error.message)

    def test_old_server(self) -> None:
        self.assert_trusted(SERVER, newest=SSL.TLS1_2_VERSION)

    def test_no_version_in_common(self) -> None:
        waiting = self.put()
        self.network.accept().send(b"\x15\x03\x01\x00\x02\x02\x28")
        self.clock.advance(0)
        error = self.failureResultOf(waiting, TLSFailed).value
        wanted = "not sent: the server refuses this kind of TLS, or wants a client certificate ("
        self.assertTrue(error.message.startswith(wanted), error)

    def test_connection_is_used_again(self) -> None:
        waiting = self.get()
        server = self.serve(self.context(SERVER))
        for _ in range(3):
            server.send(response(b'{"header":{"revision":"7"},"kvs":[],"count":"0"}'))
            self.successResultOf(waiting)
            waiting = self.get()
            self.clock.advance(0)
            self.talk(server)
        self.assertEqual((1, 4), (self.network.attempts, len(requests_in(server.heard))))
        self.gateway.close()
        self.failureResultOf(waiting)


class ClientCertificateTests(TlsCase):
    """A server that wants a certificate of its clients, and with TLS 1.3 says so only when all seemed well."""

    VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)

    def shown(self, *content: bytes) -> str:
        return self.file("client.pem", *content)

    def test_shown(self) -> None:
        for newest in self.VERSIONS:
            for content in ((CLIENTS.certificate, CLIENTS.key), (CLIENTS.key, CLIENTS.certificate), None):
                if content is None:
                    self.at(cert_file=self.shown(CLIENTS.certificate), key_file=self.file("key.pem", CLIENTS.key))
                else:
                    self.at(cert_file=self.shown(*content))
                server = self.assert_trusted(SERVER, clients=ROOT, newest=newest)
                shown: Any = server.connection.get_peer_certificate()
                self.assertIn("client", str(shown.get_subject()))

    def test_chain(self) -> None:
        """With those of the authorities in between."""
        own = chain(BETWEEN.issue(name="client"), BETWEEN)
        self.at(cert_file=self.shown(own.certificate, own.key))
        self.assert_trusted(SERVER, clients=ROOT)

    def test_missing(self) -> None:
        self.at()
        for begin in (self.put, self.get, self.stream):
            told = self.told_by_server(begin, clients=ROOT)
            wanted = r"^the server wants a client certificate: name one with TLS\(cert_file=\.\.\.\) \(.*alert.*\)$"
            self.assertRegex(told, wanted)

    def test_missing_with_older_tls(self) -> None:
        """The alert says less."""
        self.at()
        for begin in (self.put, self.get, self.stream):
            told = self.told_by_server(begin, clients=ROOT, newest=SSL.TLS1_2_VERSION)
            self.assertRegex(told, "^the server .*wants a client certificate")

    def test_refused(self) -> None:
        own = OTHER.issue(name="client")
        path = self.shown(own.certificate, own.key)
        self.at(cert_file=path)
        for newest in self.VERSIONS:
            for begin in (self.put, self.get, self.stream):
                told = self.told_by_server(begin, clients=ROOT, newest=newest)
                self.assertIn(f"the server does not accept the client certificate in {path!r} (", told)

    def test_expired(self) -> None:
        own = ROOT.issue(name="client", begin=-3 * DAY, end=-DAY)
        path = self.shown(own.certificate, own.key)
        self.at(cert_file=path)
        told = self.told_by_server(self.put, clients=ROOT)
        self.assertRegex(told, rf"^the server does not accept the client certificate in '{path}' \(.*expired\)$")

    def told_by_server(self, begin: Callable[[], Deferred[Any]], **server: Any) -> str:
        """What a call fails with when the server has said no, and closed the connection."""
        waiting = begin()
        served = self.serve(self.context(SERVER, **server))
        self.network.wires[-1].close()
        error = self.failureResultOf(waiting, Error).value
        self.assertEqual((type(error), error.maybe_applied, served.heard), (TLSFailed, False, b""), error)
        self.assertTrue(error.message.startswith("not sent: "), error)
        return error.message[len("not sent: ") :]
