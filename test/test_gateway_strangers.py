"""
Calls over the gateway transport to what is no etcd, or is one that is asked in the wrong way: the one line of the error
says what to look at, in plain words.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Optional

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error as network
from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed
from twisted.web.iweb import IAgent
from zope.interface import implementer

from test.fakes import URL, Names, Wire, chunked, fake_way, response
from test.test_gateway import FOUND, RANGE, GatewayCase
from txetcd import _schema as schema
from txetcd._calls import Calls
from txetcd._gateway import Gateway
from txetcd._messages import Empty
from txetcd.errors import Error, OutcomeUnknown, ProtocolViolation, TLSFailed, Unavailable, WrongProtocol

HTTPS = "https://etcd.example:2379"
OK = b"HTTP/1.1 200 OK\r\n"

TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
HTTP2 = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"
GO_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"

SPEAKS_TLS = "the server speaks TLS there: use https://"
OTHER = "no etcd gateway there? not an answer of HTTP: "
BROKEN_HEADERS = "no etcd gateway there? an answer of HTTP with broken headers"
LOST = "the connection was lost before the answer was complete: "
CLOSED = LOST + "the server closed it"
UNHEARD = CLOSED + " without a word; if it speaks TLS, use https://"
NO_TLS = "not sent: the server closed the connection instead of agreeing on TLS; if it does not speak TLS, use http://"
NOT_TLS = "not sent: the server does not speak TLS there: use http://"
UNTRUSTED = (
    "not sent: certificate verify failed: the server's certificate must be valid now, and its authority one that is "
    "trusted"
)


def stay(wire: Wire) -> None:
    """The server goes on to wait."""


End = Callable[[Wire], None]

NO_TLS_HERE = (TLSFailed, False)
"""... and nobody can use what was meant ..."""

WRONG_PROTOCOL = (WrongProtocol, False)
"""... nor here ..."""

CERTAIN = (Unavailable, False)
"""What a write fails with when it was certainly not carried out ..."""

LOST_WRITE = (OutcomeUnknown, True)
"""... when nobody knows ..."""

NO_ETCD = (ProtocolViolation, True)
"""... and when what came is no answer of etcd's."""

PLAIN: list[tuple[bytes, End, tuple[type[Error], bool], str]] = [
    # other protocols, whether they wait, close, or need no line
    (b"SSH-2.0-OpenSSH_9.2p1\r\n", stay, NO_ETCD, OTHER + "'SSH-2.0-OpenSSH_9.2p1'"),
    (b"220 mail.example ESMTP\r\n", Wire.close, NO_ETCD, OTHER + "'220 mail.example ESMTP'"),
    (b"-ERR unknown command 'POST'\r\n", stay, NO_ETCD, OTHER + "\"-ERR unknown command 'POST'\""),
    (b"J\x00\x00\x00\x0a8.0.35\x00", stay, NO_ETCD, OTHER + "'J\\x00\\x00\\x00 8.0.35\\x00'"),
    (b"<html>\n", stay, NO_ETCD, OTHER + "'<html>'"),
    (b"x" * 100_000, stay, NO_ETCD, OTHER + repr("x" * 120 + "...")),
    (HTTP2, stay, WRONG_PROTOCOL, "no etcd gateway there? the server speaks HTTP/2 and nothing else, as those of gRPC "
     "do: use grpc:// or grpcs://"),
    # TLS
    (TLS_ALERT, stay, NO_TLS_HERE, SPEAKS_TLS),
    (TLS_ALERT, Wire.close, NO_TLS_HERE, SPEAKS_TLS),
    (GO_TLS, Wire.close, NO_TLS_HERE, SPEAKS_TLS + " (HTTP 400: 'Client sent an HTTP request to an HTTPS server.')"),
    # nothing at all: what etcd does where it wants TLS
    (b"", Wire.close, LOST_WRITE, UNHEARD),
    (b"", Wire.lose, LOST_WRITE, LOST + "it broke off"),
    # too little to tell
    (b"\x15", Wire.close, LOST_WRITE, CLOSED),
    (b"HT", Wire.close, LOST_WRITE, CLOSED),
    # HTTP that ends too soon
    (OK, Wire.close, LOST_WRITE, CLOSED),
    (OK, Wire.lose, LOST_WRITE, LOST + "it broke off"),
    (response(b"{}")[:-1], Wire.close, LOST_WRITE, CLOSED),
    (chunked(b"{}", end=False), Wire.close, LOST_WRITE, CLOSED),
    (chunked(b"{}", end=False)[:-3], Wire.lose, LOST_WRITE, LOST + "it broke off"),
    # HTTP that is none
    (b"HTTP/1.1 many\r\n\r\n", stay, NO_ETCD, OTHER + "'HTTP/1.1 many'"),
    (b"HTTP/x.y 200 OK\r\n\r\n", stay, NO_ETCD, OTHER + "'HTTP/x.y'"),
    (OK + b"no colon\r\n\r\n", stay, NO_ETCD, BROKEN_HEADERS),
    (OK + b"Content-Length: many\r\n\r\n", stay, NO_ETCD, BROKEN_HEADERS),
    (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", stay, NO_ETCD, BROKEN_HEADERS),
    (OK + b"Transfer-Encoding: odd\r\n\r\n", stay, NO_ETCD, BROKEN_HEADERS),
    (OK + b"A: " + b"x" * 100_000, stay, NO_ETCD, BROKEN_HEADERS),
    (chunked(end=False) + b"not a number\r\n", stay, NO_ETCD, "HTTP 200 with a broken body"),
    (chunked(b"{", end=False, status=500) + b"1\r\n}}\r\n", stay, NO_ETCD, "HTTP 500 with a broken body"),
]

OVER_TLS: list[tuple[bytes, End, str]] = [
    # what etcd does where it does not speak TLS
    (b"", Wire.close, NO_TLS),
    (b"", Wire.lose, NO_TLS),
    (b"SSH-2.0-OpenSSH_9.2p1\r\n", Wire.close, NOT_TLS),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", Wire.close, NOT_TLS),
    (HTTP2, Wire.close, NOT_TLS),
]

REFUSED_CERTIFICATES: list[tuple[list[str], str]] = [
    (["certificate verify failed"], UNTRUSTED),
    (
        ["tlsv13 alert certificate required"],
        "not sent: the server wants a client certificate that it trusts (tlsv13 alert certificate required)",
    ),
]

OF_AN_AGENT: list[tuple[Exception, tuple[type[Error], bool], str]] = [
    *((SSL.Error([("SSL routines", "", said) for said in sayings]), NO_TLS_HERE, told)
      for sayings, told in REFUSED_CERTIFICATES),
    (VerificationError([]), NO_TLS_HERE, "not sent: the server's certificate is not for this host name"),
    # it may be said of a record that comes later as well
    (
        SSL.Error([("SSL routines", "", "wrong version number")]),
        LOST_WRITE,
        LOST + "the server does not speak TLS there: use http:// (wrong version number)",
    ),
    (SSL.Error([("", "", "one"), ("", "", "two"), ("", "", "one")]), LOST_WRITE, LOST + "TLS failed (one; two)"),
    (SSL.SysCallError(-1, "odd"), LOST_WRITE, LOST + "TLS failed (odd)"),
    (SSL.ZeroReturnError(), LOST_WRITE, LOST + "TLS failed (no reason given)"),
    (network.ConnectionDone(), LOST_WRITE, CLOSED),
    (OSError(9, "out of order"), LOST_WRITE, LOST + "[Errno 9] out of order"),
    (ValueError("the proxy\nsays no"), NO_ETCD, "not an answer of HTTP: the proxy says no"),
    (ValueError(), NO_ETCD, "not an answer of HTTP: ValueError"),
    (ResponseFailed([]), NO_ETCD, BROKEN_HEADERS),
]  # fmt: skip

REFUSED = network.ConnectionRefusedError()

UNREACHABLE: list[tuple[str, Exception, str]] = [
    (URL, REFUSED, "not sent: port 2379 refuses connections: is etcd running there?"),
    ("http://etcd.example", REFUSED, "not sent: port 80 refuses connections: is etcd running there?"),
    ("https://etcd.example", REFUSED, "not sent: port 443 refuses connections: is etcd running there?"),
    ("http://[::1]:2379", REFUSED, "not sent: port 2379 refuses connections: is etcd running there?"),
    (URL, network.TimeoutError(), "not sent: no connection to port 2379 within 5 seconds"),
    ("http://etcd_1:2379", network.DNSLookupError("odd"), "not sent: there is no host 'etcd_1' (DNS lookup failed)"),
    (URL, network.NoRouteError("odd"), "not sent: No route to host: odd."),
    (URL, network.ConnectError(Failure(network.ConnectionLost())), "not sent: it broke off"),
]


@implementer(IAgent)
class SendingAgent:
    """An agent that sends the request, and then fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:
        bodyProducer.startProducing(StringTransport())
        return fail(self._error)


class StrangerCase(GatewayCase):
    """Calls, and what they fail with."""

    def at(self, url: str, agent: Optional[IAgent] = None) -> None:
        """Goes on with this URL."""
        self.use(Gateway(self.clock, 5.0, agent=agent))
        self.calls = Calls(fake_way(self.clock, self.gateway, url))

    def stream(self) -> Deferred[None]:
        """Begins a stream."""
        return self.calls.stream(schema.SNAPSHOT, Empty(), print).ended

    def told(self, begin: Callable[[], Deferred[Any]], end: Callable[[], None]) -> tuple[type[Error], bool, str]:
        """What a call fails with, if it ends so: the class, whether it was perhaps applied, and what it says."""
        waiting = begin()
        end()
        self.clock.advance(0)
        error = self.failureResultOf(waiting).value
        where, told = str(error)[: len(error.call) + 4], str(error)[len(error.call) + 4 :]
        self.assertEqual(f"{error.call} at ", where)
        self.assertTrue(told.startswith(f"{self.calls.endpoint}: "), told)
        self.hang_up()
        return type(error), error.maybe_applied, told[len(self.calls.endpoint) + 2 :]

    def assert_told(
        self,
        end: Callable[[], None],
        write: tuple[type[Error], bool],
        told: str,
        essence: Callable[[str], str] = str,
    ) -> None:
        """A write, a read and a stream that end so fail so, in essence; none leaves anything behind."""
        read = (write[0] if write in (NO_ETCD, NO_TLS_HERE, WRONG_PROTOCOL) else Unavailable, False)
        for begin, wanted in ((self.put, write), (self.get, read), (self.stream, read)):
            kind, maybe_applied, text = self.told(begin, end)
            self.assertEqual((*wanted, told), (kind, maybe_applied, essence(text)), begin)
            self.assertEqual([], self.network.open)


class PlainTests(StrangerCase):
    """Without TLS."""

    def says(self, pieces: list[bytes], end: End) -> Callable[[], None]:
        """The server says this, and ends so."""

        def answer() -> None:
            wire = self.network.accept()
            for piece in pieces:
                wire.send(piece)
            end(wire)

        return answer

    def test_whole(self) -> None:
        """What comes, comes at once."""
        for said, end, write, told in PLAIN:
            self.assert_told(self.says([said], end), write, told)

    def test_byte_by_byte(self) -> None:
        """It comes slowly; only an excerpt is shorter then, because nothing more is waited for."""
        for said, end, write, told in PLAIN:
            pieces = [said[at : at + 1] for at in range(min(len(said), 20_000))]
            if told.startswith(OTHER) and not said.startswith(b"HTTP/"):
                told = OTHER + repr(said[:1].decode())
            self.assert_told(self.says(pieces, end), write, told)

    def test_too_late(self) -> None:
        """What still comes from a server that was given up goes nowhere."""
        pending = self.get()
        wire = self.network.accept()
        wire.send(b"SSH-2.0\r\n")
        self.failureResultOf(pending, ProtocolViolation)
        self.assertTrue(wire.is_aborted)
        wire.send(response(b"{}"))
        wire.send(HTTP2)
        self.clock.advance(0)
        self.assertEqual(0, self.gateway.connections)

    def test_http_in_pieces(self) -> None:
        """However the first bytes of an answer are cut, they are all there."""
        whole = response(json.dumps(FOUND).encode())
        for at in range(1, 12):
            pending = self.get()
            wire = self.network.accept()
            wire.send(whole[:at])
            wire.send(whole[at:])
            self.assertEqual(RANGE, self.successResultOf(pending))
            self.hang_up()

    def test_connection_that_was_used(self) -> None:
        """A server that has spoken HTTP before does not want TLS: it is just gone."""
        pending = self.get()
        self.network.accept().answer(FOUND)
        self.successResultOf(pending)
        wanted = (OutcomeUnknown, True, CLOSED)
        self.assertEqual(wanted, self.told(self.put, self.network.wires[0].close))

    def test_idle_connection(self) -> None:
        """One that is closed while nobody uses it is nobody's error."""
        pending = self.get()
        wire = self.network.accept()
        wire.answer(FOUND)
        self.successResultOf(pending)
        wire.close()
        self.assert_works()


class TlsTests(StrangerCase):
    """With TLS: the request certainly did not leave before both sides agreed."""

    def told(self, begin: Callable[[], Deferred[Any]], end: Callable[[], None]) -> tuple[type[Error], bool, str]:
        """As ever, but for what OpenSSL calls it, which depends on its version."""
        cls, maybe_applied, told = super().told(begin, end)
        return cls, maybe_applied, told.partition(" (")[0]

    def test_table(self) -> None:
        for said, end, told in OVER_TLS:

            def answer(said: bytes = said, end: End = end) -> None:
                wire = self.network.accept()
                if said:
                    wire.send(said)
                end(wire)

            self.at(HTTPS)
            # what OpenSSL calls it, in brackets, depends on its version
            wanted = CERTAIN if told == NO_TLS else NO_TLS_HERE
            self.assert_told(answer, wanted, told, lambda text: text.partition(" (")[0])


class AgentTests(StrangerCase):
    """An agent of the user's, of whose connections nothing is known but what it says."""

    def test_sent(self) -> None:
        for error, write, told in OF_AN_AGENT:
            self.at(URL, SendingAgent(error))
            self.assert_told(lambda: None, write, told)


class UnreachableTests(StrangerCase):
    """There is no connection: the port is named, because a URL may have none."""

    def test_table(self) -> None:
        for url, reason, told in UNREACHABLE:

            def refuse(reason: Exception = reason) -> None:
                self.network.refuse(reason=reason)
                # the endpoint looks for another address first
                self.clock.advance(1)

            self.at(url)
            self.assert_told(refuse, CERTAIN, told)

    def test_unknown_host(self) -> None:
        self.clock.installNameResolver(Names())
        self.assert_told(lambda: None, CERTAIN, "not sent: there is no host 'etcd.example' (DNS lookup failed)")
