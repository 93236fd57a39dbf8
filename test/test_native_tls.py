"""
The native transport over TLS: real handshakes, with certificates made for the test, over connections in memory.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from OpenSSL import SSL
from twisted.internet.defer import Deferred

from test.certificates import DAY, Certificate
from test.fakes_http2 import FOUND, RANGE, WRITTEN, GrpcServer, NativeCase
from test.test_tls import CLIENTS, OTHER, ROOT, SELF_SIGNED, SERVER, TlsFiles, TlsServer
from txetcd import _frames as f
from txetcd._clues import OTHER_NAME
from txetcd._tls import TLS, Peer
from txetcd.errors import Error, OutcomeUnknown, ProtocolViolation, Timeout, TLSFailed, Unavailable, WrongProtocol

URL = "grpcs://etcd.example:2379"
NO_ALPN = "the server did not agree on 'h2' (ALPN): it does not speak gRPC there"


class Secured:
    """
    What goes over TLS, as if it were a connection.

    :param tls: the server's side of it.
    """

    def __init__(self, tls: TlsServer) -> None:
        self._tls = tls

    def value(self) -> bytes:
        self._tls.step()
        return self._tls.heard

    def send(self, data: bytes) -> None:
        if data:
            self._tls.send(data)


class TlsCase(TlsFiles, NativeCase):
    """Calls over TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.secure()

    def secure(self, url: str = URL, **tls: Any) -> None:
        """Goes on with this URL, and the authority of these tests."""
        tls.setdefault("ca_file", self.ca_file)
        self.at(url, tls=TLS(**tls))

    def begins(self) -> tuple[Callable[[], Deferred[Any]], ...]:
        return (self.put, self.get, lambda: self.stream().ended)

    def speaking(self, certificate: Certificate, protocol: Optional[bytes] = b"h2", **server: Any) -> SSL.Context:
        """How a server speaks TLS, and what over it; ``None`` where it does not say."""
        context = self.context(certificate, **server)
        if protocol is not None:

            def select(_: Any, offered: list[bytes]) -> Any:
                return protocol if protocol in offered else SSL.NO_OVERLAPPING_PROTOCOLS

            context.set_alpn_select_callback(select)
        return context

    def talk(self, server: TlsServer) -> TlsServer:
        """Goes on until nobody has more to say."""
        while server.step():
            self.clock.advance(0)
        self.clock.advance(0)
        return server

    def secured(self, context: SSL.Context) -> tuple[TlsServer, GrpcServer]:
        """A server that both sides have agreed with, in all that is before the first request."""
        tls = self.talk(TlsServer(self.network.accept(), context))
        server = GrpcServer(Secured(tls))  # type: ignore[arg-type]  # as much of a connection as it needs
        self.go_on(tls, server)
        return tls, server

    def go_on(self, tls: TlsServer, server: GrpcServer) -> None:
        """Until nobody has more to say."""
        while server.step() or tls.step():
            self.clock.advance(0)

    def assert_trusted(self, context: SSL.Context) -> TlsServer:
        """A call gets its answer."""
        waiting = self.get()
        tls, server = self.secured(context)
        self.assertEqual(tls.connection.get_alpn_proto_negotiated(), b"h2")
        (asked,) = server.asked
        self.assertEqual((asked.headers[":scheme"], asked.headers[":path"]), ("https", "/etcdserverpb.KV/Range"))
        server.answer(asked, FOUND)
        self.assertEqual(self.successResultOf(waiting), RANGE)
        self.hang_up()
        return tls

    def assert_told(self, told: str, context: SSL.Context, cls: type[Error] = TLSFailed) -> None:
        """A write, a read and a stream fail so, nothing was sent, and nothing is left behind."""
        for begin in self.begins():
            waiting = begin()
            tls = self.talk(TlsServer(self.network.accept(), context))
            self.assert_fails(waiting, cls, False, f"not sent: {told}")
            self.assertNotIn(b"etcdserverpb", tls.heard)
            self.assertEqual((self.network.open, self.native.connections), ([], 0))


class AgreementTests(TlsCase):
    """What is spoken is agreed on before anything is asked."""

    def test_agreed(self) -> None:
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            tls = self.assert_trusted(self.speaking(SERVER, newest=newest))
            self.assertEqual(tls.connection.get_servername(), b"etcd.example")

    def test_no_alpn(self) -> None:
        """A server that says nothing of it, or knows something else."""
        for protocol in (None, b"http/1.1"):
            self.assert_told(NO_ALPN, self.speaking(SERVER, protocol), WrongProtocol)

    def test_refuses(self) -> None:
        """One that knows something else, and ends it there, as servers in Go do."""
        for begin in self.begins():
            waiting = begin()
            self.network.accept().send(b"\x15\x03\x01\x00\x02\x02\x78")
            self.clock.advance(0)
            error = self.assert_fails(waiting, TLSFailed, False, f"not sent: {NO_ALPN} (")
            self.assertIn("no application protocol", error.message)

    def test_agreed_and_silent(self) -> None:
        """The handshakes of TLS and HTTP/2 have their seconds together."""
        for begin in self.begins():
            waiting = begin()
            wire = self.network.accept()
            self.clock.advance(2)
            self.talk(TlsServer(wire, self.speaking(SERVER)))
            self.clock.advance(2.9)
            self.assertNoResult(waiting)
            self.clock.advance(0.2)
            told = "not sent: port 2379 did not begin to speak HTTP/2 within 5 seconds"
            self.assert_fails(waiting, Unavailable, False, told)
            self.clock.advance(0)
            self.assertEqual(self.network.open, [])

    def test_never_completed(self) -> None:
        for begin in self.begins():
            waiting = begin()
            wire = self.network.accept()
            self.clock.advance(5.1)
            told = "not sent: the TLS handshake was not completed at port 2379 within 5 seconds"
            self.assert_fails(waiting, Unavailable, False, told)
            self.clock.advance(0)
            self.assertTrue(wire.is_lost)

    def test_ends_before(self) -> None:
        """A call that ends before there is a connection was not sent."""
        late, cancelled = self.put(1.0), self.put()
        self.network.accept()
        self.cancelled(cancelled)
        self.clock.advance(1.1)
        self.assert_fails(late, Timeout, False, "could not be sent within 1 second: there is no connection yet")
        closed = self.native.close()
        self.clock.advance(0)
        self.successResultOf(closed)

    def test_speaks_something_else(self) -> None:
        """Over TLS, too."""
        for said, cls, told in (
            (
                b"HTTP/1.1 400 Bad Request\r\n\r\n",
                WrongProtocol,
                "the server does not speak HTTP/2 there, but HTTP/1: ",
            ),
            (b"\xff" * 100, WrongProtocol, "the server does not speak HTTP/2 there: "),
            (f.pack(f.SETTINGS, 0, 0) + b"\xff" * 100, WrongProtocol, "the server violates HTTP/2: a frame of"),
        ):
            for begin in self.begins():
                waiting = begin()
                tls = self.talk(TlsServer(self.network.accept(), self.speaking(SERVER)))
                tls.send(said)
                self.assert_fails(waiting, cls, False, f"not sent: {told}")
                self.clock.advance(1.1)
                self.assertEqual(self.network.open, [])

    def test_not_verified(self) -> None:
        """If ever a library agrees on TLS without having asked us, that is noticed."""
        self.patch(Peer, "check", lambda *_: True)
        self.assert_told("the server's certificate was not verified", self.speaking(SERVER))


class HeldTests(TlsCase):
    """The peer takes no more, which is told in the midst of a write of what was gathered."""

    def test_nothing_is_lost_or_sent_twice(self) -> None:
        for size in (10, 70_000):
            waiting = [self.put()]
            tls, server = self.secured(self.speaking(SERVER))
            wire = self.network.wires[-1]
            write, producer = wire.write, wire.producer
            self.assertIsNotNone(producer)

            def full(data: bytes) -> None:
                write(data)
                wire.write = write
                producer.pauseProducing()

            wire.write = full
            waiting.append(self.put(value=bytes(30_000)))
            # when the first is gathered, and not yet written
            self.clock.callLater(0, lambda size=size: waiting.append(self.put(value=bytes(size))))
            self.clock.advance(0)
            self.assertEqual((wire.write, len(waiting)), (write, 3))
            producer.resumeProducing()
            self.go_on(tls, server)
            self.assertEqual([asked.is_whole for asked in server.asked], [True] * 3)
            self.assertEqual([len(asked.data) // 1000 for asked in server.asked], [0, 30, size // 1000])
            for asked in server.asked:
                server.answer(asked, WRITTEN)
            self.go_on(tls, server)
            for answer in waiting:
                self.successResultOf(answer)
            self.hang_up()


class EndTests(TlsCase):
    """A connection that was secured ends."""

    def test_lost(self) -> None:
        """From then on a request may have been read."""
        for is_polite, told in ((True, "the server closed it"), (False, "it broke off")):
            waiting, reading = self.put(), self.get()
            tls, server = self.secured(self.speaking(SERVER))
            self.assertEqual(len(server.asked), 2)
            if is_polite:
                tls.connection.shutdown()
                tls.step()
            self.network.wires[-1].close()
            told = f"the connection was lost before the answer was complete: {told}"
            self.assert_fails(waiting, OutcomeUnknown, True, told)
            self.assert_fails(reading, Unavailable, False, told)

    def test_violation(self) -> None:
        """A server that violates the protocol hears why before the connection ends, and at once."""
        waiting = self.get()
        tls, server = self.secured(self.speaking(SERVER))
        server.raw(f.pack(f.PING, 0, 0, b"short"))
        self.assert_fails(waiting, ProtocolViolation, False, "PING of a wrong size")
        self.go_on(tls, server)
        self.assertEqual(server.gone, (f.FRAME_SIZE_ERROR, b"PING of a wrong size"))
        tls.connection.shutdown()
        tls.step()
        self.clock.advance(0.1)
        self.assertEqual(self.network.open, [])

    def test_kept(self) -> None:
        """One call after the other goes over one connection, a large one as well."""
        waiting = self.get()
        tls, server = self.secured(self.speaking(SERVER))
        for _ in range(3):
            server.answer(server.asked[-1], FOUND)
            self.assertEqual(self.successResultOf(waiting), RANGE)
            waiting = self.get()
            self.clock.advance(0)
            self.go_on(tls, server)
        large = self.put(value=bytes(500_000))
        self.clock.advance(0)
        self.go_on(tls, server)
        self.assertEqual((self.network.attempts, len(server.asked)), (1, 5))
        self.assertGreater(len(server.asked[-1].message), 500_000)
        self.cancelled(waiting)
        self.cancelled(large)


class CertificateTests(TlsCase):
    """Who the server is, and who we are."""

    def test_unknown_authority(self) -> None:
        told = f"the server's certificate is from an authority that is not in {self.ca_file!r}: 'CN=other'"
        self.assert_told(told, self.speaking(OTHER.issue("etcd.example")))

    def test_self_signed(self) -> None:
        told = f"the server's certificate is signed by nobody but itself, and it is not in {self.ca_file!r}"
        self.assert_told(told, self.speaking(SELF_SIGNED))

    def test_wrong_host(self) -> None:
        told = f"the server's certificate is not for etcd.example, but for DNS:other.example {OTHER_NAME}"
        self.assert_told(told, self.speaking(ROOT.issue("other.example")))

    def test_server_name(self) -> None:
        """What the user says comes before the URL; the server is told, by TLS."""
        self.secure("grpcs://10.0.0.1:2379", server_name="etcd.example")
        tls = self.assert_trusted(self.speaking(SERVER))
        self.assertEqual(tls.connection.get_servername(), b"etcd.example")

    def test_addresses(self) -> None:
        for url, name in (("grpcs://127.0.0.1:2379", "127.0.0.1"), ("grpcs://[::1]:2379", "::1")):
            self.secure(url)
            tls = self.assert_trusted(self.speaking(ROOT.issue(name)))
            self.assertIsNone(tls.connection.get_servername())

    def test_expired(self) -> None:
        expired = ROOT.issue("etcd.example", begin=-3 * DAY, end=-DAY)
        when = expired.end.strftime("%Y-%m-%d %H:%M:%S")
        told = f"the server's certificate has expired: it was valid until {when} UTC"
        self.assert_told(told, self.speaking(expired))

    def test_client_certificate(self) -> None:
        """It is shown, if one is named."""
        self.secure(cert_file=self.file("client.pem", CLIENTS.certificate, CLIENTS.key))
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            tls = self.assert_trusted(self.speaking(SERVER, clients=ROOT, newest=newest))
            shown: Any = tls.connection.get_peer_certificate()
            self.assertIn("client", str(shown.get_subject()))

    def test_no_client_certificate(self) -> None:
        """With TLS 1.3 the server says so only when all seemed well, but before it has read a request."""
        for newest, wanted in (
            (SSL.TLS1_2_VERSION, "not sent: the server .*wants a client certificate"),
            (
                SSL.TLS1_3_VERSION,
                r"not sent: the server wants a client certificate: name one with TLS\(cert_file=\.\.\.\)",
            ),
        ):
            self.assert_refused(wanted, newest)

    def test_refused_client_certificate(self) -> None:
        own = OTHER.issue(name="client")
        path = self.file("client.pem", own.certificate, own.key)
        self.secure(cert_file=path)
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            wanted = rf"not sent: the server does not accept the client certificate in '{path}' \("
            self.assert_refused(wanted, newest)

    def assert_refused(self, wanted: str, newest: int) -> None:
        """What a call fails with when the server has said no, and closed the connection."""
        for begin in self.begins():
            waiting = begin()
            tls = self.talk(TlsServer(self.network.accept(), self.speaking(SERVER, clients=ROOT, newest=newest)))
            self.network.wires[-1].close()
            error = self.assert_fails(waiting, TLSFailed, False)
            self.assertRegex(error.message, wanted)
            self.assertNotIn(b"etcdserverpb", tls.heard)
