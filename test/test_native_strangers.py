"""
Calls over the native transport to what is no etcd, or is one that is asked in the wrong way, or one that means harm:
the one line of the error says what to look at, in plain words, and nothing of it is left.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from twisted.internet import error as network
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from test.fakes import Names, Wire, response
from test.fakes_http2 import SHAKEN, URL, WRITTEN, GrpcServer, NativeCase, framed
from test.test_grpc import held
from txetcd import _frames as f
from txetcd._http2 import MAX_NOISE, MAX_OWED
from txetcd.errors import Error, OutcomeUnknown, ProtocolViolation, Timeout, TLSFailed, Unavailable, WrongProtocol

GRPCS = "grpcs://etcd.example:2379"

TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
GO_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"

SPEAKS_TLS = "the server speaks TLS there: use grpcs://"
HTTP_1 = "the server does not speak HTTP/2 there, but HTTP/1: use http:// or https:// "
OTHER = "the server does not speak HTTP/2 there: "
VIOLATES = "the server violates HTTP/2: "
CLOSED = "the server closed it"
UNHEARD = CLOSED + " without a word; if it speaks TLS, use grpcs://"
SLOW = "port 2379 did not begin to speak HTTP/2 within 5 seconds"
NO_TLS = "the server closed the connection instead of agreeing on TLS; if it does not speak TLS, use grpc://"
NOT_TLS = "the server does not speak TLS there: use grpc://"
NO_ETCD = "no etcd there? not an answer of gRPC, but of the type "


def stay(wire: Wire) -> None:
    """The server goes on to wait."""


End = Callable[[Wire], None]

SETTINGS = f.pack(f.SETTINGS, 0, 0)

BEFORE: list[tuple[bytes, End, type[Error], str]] = [
    # other protocols, whether they wait or close
    (b"SSH-2.0-OpenSSH_9.2p1\r\n", stay, WrongProtocol, OTHER + "'SSH-2.0-OpenSSH_9.2p1'"),
    (b"220 mail.example ESMTP\r\n", Wire.close, WrongProtocol, OTHER + "'220 mail.example ESMTP'"),
    (b"-ERR unknown command 'PRI'\r\n", stay, WrongProtocol, OTHER + "\"-ERR unknown command 'PRI'\""),
    (b"\xff" * 100_000, stay, WrongProtocol, OTHER),
    (response(b"{}"), stay, WrongProtocol, HTTP_1 + "('HTTP/1.1 200 Some Reason Content-Type: application/json"),
    (b"HTTP/1.1 400 Bad Request\r\n", Wire.close, WrongProtocol, HTTP_1 + "('HTTP/1.1 400 Bad Request"),
    (b"HTTP/1.1 505 HTTP Version Not Supported\r\n", stay, WrongProtocol, HTTP_1 + "('HTTP/1.1 505 HTTP Version"),
    # TLS
    (TLS_ALERT, stay, TLSFailed, SPEAKS_TLS),
    (TLS_ALERT, Wire.close, TLSFailed, SPEAKS_TLS),
    (GO_TLS, Wire.close, WrongProtocol, HTTP_1 + "('HTTP/1.0 400 Bad Request"),
    # nothing, or too little
    (b"", Wire.close, Unavailable, UNHEARD),
    (b"", Wire.lose, Unavailable, "it broke off"),
    (b"", stay, Unavailable, SLOW),
    (b"\x00", stay, Unavailable, SLOW),
    (b"\x00", Wire.close, Unavailable, CLOSED),
    (b"\x15", stay, Unavailable, SLOW),
    (b"HT", Wire.close, Unavailable, CLOSED),
    # HTTP/2 that is not acknowledged, or ends too soon, or is none
    (SETTINGS, stay, Unavailable, SLOW),
    (SETTINGS, Wire.close, Unavailable, CLOSED),
    (SETTINGS + f.pack(f.PING, 0, 0, bytes(8)), stay, Unavailable, SLOW),
    (f.pack(f.SETTINGS, f.ACK, 0), stay, WrongProtocol, OTHER),
    (f.pack(f.SETTINGS, 0, 0, b"short"), stay, WrongProtocol, VIOLATES + "SETTINGS of a wrong size (FRAME_SIZE_ERROR)"),
    (SETTINGS + f.pack(f.DATA, 0, 1, b"x"), stay, WrongProtocol, VIOLATES + "DATA on a stream that was not begun"),
    (SETTINGS + f.pack(f.PUSH_PROMISE, 0, 1, b"x"), stay, WrongProtocol, VIOLATES + "PUSH_PROMISE, which"),
    (SETTINGS + b"\xff" * 9, stay, WrongProtocol, VIOLATES + "a frame of 16777215 bytes, which are more than it may"),
    (SETTINGS * (MAX_NOISE + 1), stay, WrongProtocol, VIOLATES + f"more than {MAX_NOISE} frames in a row that say"),
    (f.pack(f.SETTINGS, 0, 0, f.pack_settings((f.ENABLE_PUSH, 1))), stay, WrongProtocol, VIOLATES + "ENABLE_PUSH of 1"),
]
"""What a server says before it was asked, how it goes on, and what becomes of that: nothing was sent."""

OVER_TLS: list[tuple[bytes, End, type[Error], str]] = [
    (b"", Wire.close, Unavailable, NO_TLS),
    (b"", Wire.lose, Unavailable, NO_TLS),
    (b"", stay, Unavailable, "the TLS handshake was not completed at port 2379 within 5 seconds"),
    (b"SSH-2.0-OpenSSH_9.2p1\r\n", Wire.close, TLSFailed, NOT_TLS),
    (b"HTTP/1.1 400 Bad Request\r\n", Wire.close, TLSFailed, NOT_TLS),
    (SHAKEN, Wire.close, TLSFailed, NOT_TLS),
]

HEAD = f.pack(f.HEADERS, f.END_HEADERS, 1, b"\x88\x00\x0ccontent-type\x10application/grpc")
TAIL = f.pack(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1, b"\x00\x0bgrpc-status\x010")
NOISE = MAX_NOISE + 10
NO_SENSE = f"more than {MAX_NOISE} frames in a row that say nothing (ENHANCE_YOUR_CALM)"

FLOODS: list[tuple[str, bytes, str]] = [
    ("PING", f.pack(f.PING, 0, 0, bytes(8)) * NOISE, NO_SENSE),
    ("PONG", f.pack(f.PING, f.ACK, 0, bytes(8)) * NOISE, NO_SENSE),
    ("SETTINGS", SETTINGS * NOISE, NO_SENSE),
    ("RST_STREAM", f.pack(f.RST_STREAM, 0, 1, bytes(4)) * NOISE, NO_SENSE),
    ("PRIORITY", f.pack(f.PRIORITY, 0, 1, bytes(5)) * NOISE, NO_SENSE),
    ("WINDOW_UPDATE", f.pack(f.WINDOW_UPDATE, 0, 0, f.pack_word(1)) * NOISE, NO_SENSE),
    ("DATA", HEAD + f.pack(f.DATA, 0, 1) * NOISE, NO_SENSE),
    ("unknown", f.pack(99, 0, 0, b"x") * NOISE, NO_SENSE),
    ("informational", f.pack(f.HEADERS, f.END_HEADERS, 1, b"\x08\x03100") * NOISE, NO_SENSE),
    ("CONTINUATION", f.pack(f.HEADERS, 0, 1, b"\x88") + f.pack(f.CONTINUATION, 0, 1, b"") * NOISE, "a header block of"),
    (
        "large CONTINUATION",
        f.pack(f.HEADERS, 0, 1, b"\x88") + f.pack(f.CONTINUATION, 0, 1, bytes(16_384)) * 10,
        "a header block of more than 65536 bytes or 64 parts",
    ),
]
"""What a server says again and again, and what of it is too much."""

PAGES: list[tuple[int, str, bytes, str]] = [
    (404, "text/html", b"<html>404 Not Found</html>", "HTTP 404: '<html>404 Not Found</html>'"),
    (502, "text/html", b"<html>Bad Gateway</html>", "HTTP 502: '<html>Bad Gateway</html>'"),
    (503, "text/plain", b"no healthy upstream", "HTTP 503: 'no healthy upstream'"),
    (301, "text/html", b"moved", "a redirect, which is not followed: HTTP 301: 'moved'"),
    (200, "application/json", b'{"header":{}}', NO_ETCD + "'application/json': '{\"header\":{}}'"),
    (200, "text/html", b"<html>", NO_ETCD + "'text/html': '<html>'"),
    (200, "", b"", NO_ETCD + "'': ''"),
]
"""What an HTTP/2 server answers that knows no gRPC: status, type, body; and what is told."""


class StrangerCase(NativeCase):
    """Calls, and what they fail with."""

    def begins(self) -> tuple[Callable[[], Deferred[Any]], ...]:
        return (self.put, self.get, lambda: self.stream().ended)

    def assert_told(
        self,
        begin: Callable[[], Deferred[Any]],
        end: Callable[[], Optional[GrpcServer]],
        cls: type[Error],
        told: str,
        is_sent: bool = False,
    ) -> None:
        """A call that ends so fails so, and leaves nothing behind."""
        waiting, before = begin(), len(self.network.wires)
        server = end()
        self.clock.advance(0)
        if not waiting.called:
            self.clock.advance(5.1)
        maybe_applied = is_sent and begin == self.put
        self.assert_fails(waiting, cls, maybe_applied, told if is_sent else f"not sent: {told}")
        self.clock.advance(1.1)
        if not is_sent:
            self.assertEqual((self.network.open, self.native.connections), ([], 0))
            for wire in self.network.wires[before:]:
                self.assertNotIn(b"/etcdserverpb", wire.value())
        if server is None or server.wire.is_lost:
            self.assert_works()
        else:
            self.assert_works(server)
        self.hang_up()
        self.at(self.calls.endpoint)


class BeforeTests(StrangerCase):
    """What does not speak HTTP/2, or not well, is never asked: nothing was sent."""

    def says(self, said: bytes, end: End) -> Callable[[], None]:
        def answer() -> None:
            wire = self.network.accept()
            size = self.cut or len(said) or 1
            # slowly, only as much as matters
            for at in range(0, min(len(said), 20_000) if self.cut else len(said), size):
                wire.send(said[at : at + size])
            end(wire)

        return answer

    def test_table(self) -> None:
        for said, end, cls, told in BEFORE:
            if self.cut and len(said) > 20_000:
                continue
            if self.cut and told.startswith((HTTP_1, OTHER)):
                # an excerpt is shorter, because nothing more is waited for
                told = told.partition("(")[0].partition("'")[0].partition('"')[0]
            for begin in self.begins():
                self.assert_told(begin, self.says(said, end), cls, told)


class SlowBeforeTests(BeforeTests):
    """The same, byte by byte."""

    cut = 1


class LateTests(StrangerCase):
    def test_too_late(self) -> None:
        """What still comes from a server that was given up goes nowhere."""
        waiting = self.get()
        wire = self.network.accept()
        wire.send(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        self.failureResultOf(waiting, WrongProtocol)
        self.assertTrue(wire.is_aborted)
        wire.send(SHAKEN)
        wire.send(b"\xff" * 100)
        self.clock.advance(0)
        self.assertEqual(self.native.connections, 0)

    def test_idle(self) -> None:
        """A connection that is lost or broken while nobody uses it is nobody's error."""
        for end in (Wire.close, Wire.lose, lambda wire: wire.send(b"\xff" * 9)):
            self.assert_works()
            end(self.network.wires[-1])
            self.clock.advance(1.1)
            self.assertEqual(self.network.open, [])

    def test_many_wait(self) -> None:
        """All of them are told."""
        waiting = [begin() for begin in self.begins() * 10]
        self.network.accept().send(TLS_ALERT)
        errors = [self.assert_fails(one, TLSFailed, False, SPEAKS_TLS) for one in waiting]
        self.assertEqual(len(set(map(id, errors))), 30)
        self.clock.advance(0)


class TlsTests(StrangerCase):
    """With TLS: the request certainly did not leave before both sides agreed."""

    def test_table(self) -> None:
        for said, end, cls, told in OVER_TLS:
            self.at(GRPCS)
            for begin in self.begins():
                waiting = begin()
                wire = self.network.accept()
                if said:
                    wire.send(said)
                end(wire)
                self.clock.advance(0)
                if not waiting.called:
                    self.clock.advance(5.1)
                self.assert_fails(waiting, cls, False, f"not sent: {told}")
                self.clock.advance(0)
                self.assertEqual(self.network.open, [])
            self.hang_up()


class HarmTests(StrangerCase):
    """A server that speaks HTTP/2, is asked, and means harm."""

    def asked(self) -> GrpcServer:
        server = self.serve()
        self.assertEqual(len(server.asked), 1)
        return server

    def test_floods(self) -> None:
        """Each has an end, and the server hears why."""
        for kind, said, told in FLOODS:
            for begin in self.begins():
                if kind == "RST_STREAM":
                    # the first of them ends the call
                    waiting = begin()
                    server = self.asked()
                    server.raw(said)
                    self.failureResultOf(waiting, Unavailable if begin != self.put else OutcomeUnknown)
                    self.assertEqual(server.talk().gone, (f.ENHANCE_YOUR_CALM, NO_SENSE.partition(" (")[0].encode()))
                    self.clock.advance(1.1)
                    self.assertTrue(server.wire.is_lost)
                    self.hang_up()
                    continue

                def flood(said: bytes = said) -> None:
                    server = self.asked()
                    server.raw(said)
                    self.assertLess(len(server.wire.value()), 300_000)

                self.assert_told(begin, flood, ProtocolViolation, VIOLATES + told, True)

    def test_flood_that_takes_no_answers(self) -> None:
        """What it is owed has a limit, even if it says something in between."""
        waiting = self.get()
        server = self.asked()
        server.begin(server.asked[0])
        server.say(server.asked[0], framed(bytes(100))[:-100])
        server.wire.producer.pauseProducing()
        for _ in range(MAX_OWED // 1000 + 1):
            server.raw(f.pack(f.PING, 0, 0, bytes(8)) * 1000 + f.pack(f.DATA, 0, 1, b"\0"))
        told = f"{VIOLATES}more than {MAX_OWED} answers are owed to it, which it does not take (ENHANCE_YOUR_CALM)"
        self.assert_fails(waiting, ProtocolViolation, False, told)
        self.clock.advance(1.1)
        self.assertEqual(self.network.open, [])

    def test_stalled_window(self) -> None:
        """A large request that it takes no more of ends with its deadline, and was not sent; others get through."""
        waiting = self.put(3.0, b"x" * 1_000_000)
        server = self.accept()
        server.is_taking = False
        server.talk()
        self.clock.advance(3.1)
        told = "could not be sent within 3 seconds: the server takes no more at a time"
        self.assert_fails(waiting, Timeout, False, told)
        self.assertEqual((self.sent(server)[0].reset, server.asked[0].is_whole), (f.CANCEL, False))
        self.assertLess(len(server.wire.value()), 70_000)

    def test_claims(self) -> None:
        """A message of four gigabytes is not waited for, nor one that is compressed."""
        for said, told in (
            (b"\0\xff\xff\xff\xff", "a message of 4294967295 bytes, and more than 536870912 are not taken"),
            (b"\1\0\0\0\1x", "a message that is compressed, which nobody has asked for"),
        ):
            for cut in (0, 1):
                self.cut = cut
                for begin in self.begins():

                    def answer(said: bytes = said) -> GrpcServer:
                        server = self.asked()
                        server.begin(server.asked[0])
                        server.say(server.asked[0], said)
                        self.assertEqual(self.sent(server)[0].reset, f.CANCEL)
                        return server

                    self.assert_told(begin, answer, ProtocolViolation, told, True)

    def test_foreign_body_without_end(self) -> None:
        """Of what is no answer only so much is kept as is told."""
        waiting = self.get()
        server = self.asked()
        server.begin(server.asked[0], 200, [("content-type", "text/html")])
        for _ in range(200):
            server.say(server.asked[0], b"x" * 16_384)
            server.talk()
        ((call, _),) = self.native._calls.items()
        self.assertLess(held(call._reader), 100_000)
        server.say(server.asked[0], b"", True)
        self.assert_fails(waiting, ProtocolViolation, False, NO_ETCD + "'text/html'")

    def test_pages(self) -> None:
        """HTTP/2 that is no gRPC."""
        for status, kind, body, told in PAGES:
            for cut in (0, 1):
                self.cut = cut
                for begin in self.begins():

                    def answer(status: int = status, kind: str = kind, body: bytes = body) -> GrpcServer:
                        server = self.asked()
                        server.page(server.asked[0], status, kind, body)
                        return server

                    waiting = begin()
                    server = answer()
                    error = self.failureResultOf(waiting, Error).value
                    self.assertIn(told, str(error))
                    self.assertEqual(
                        error.maybe_applied, begin == self.put and not isinstance(error, Unavailable), error
                    )
                    self.assert_works(server)
                    self.hang_up()

    def test_answers_that_are_none(self) -> None:
        """Of one stream; the others go on."""
        for said, told in (
            (f.pack(f.DATA, 0, 1, b"x"), "data before the headers of the answer (PROTOCOL_ERROR)"),
            (f.pack(f.HEADERS, f.END_HEADERS, 1, b"\x00\x01a\x01b"), "the answer has no status (PROTOCOL_ERROR)"),
            (f.pack(f.HEADERS, f.END_HEADERS, 1, b"\x88\x00\x01A\x01b"), "the answer has a header field with the name"),
            (HEAD + HEAD, "the answer has a second status"),
        ):
            for begin in self.begins():

                def answer(said: bytes = said) -> None:
                    self.asked().raw(said)

                self.assert_told(begin, answer, ProtocolViolation, told, True)

    def test_never_answers(self) -> None:
        """It is alive, and says nothing: that is for the deadline."""
        waiting = self.put(20.0)
        server = self.asked()
        for _ in range(19):
            self.clock.advance(1)
            server.talk()
        self.assertNoResult(waiting)
        self.clock.advance(1.1)
        self.assert_fails(waiting, Timeout, True, "sent, but no answer within 20 seconds")
        self.assertGreater(server.pings, 0)

    def test_whole_answer_byte_by_byte(self) -> None:
        self.cut = 1
        waiting = self.put()
        server = self.asked()
        server.raw(HEAD + f.pack(f.DATA, 0, 1, framed(WRITTEN)) + TAIL)
        self.assertEqual(self.successResultOf(waiting).header.revision, 7)


REFUSED = network.ConnectionRefusedError()

UNREACHABLE: list[tuple[str, Exception, str]] = [
    (URL, REFUSED, "not sent: port 2379 refuses connections: is etcd running there?"),
    ("grpc://etcd.example:1", REFUSED, "not sent: port 1 refuses connections: is etcd running there?"),
    ("grpc://etcd.example", REFUSED, "not sent: port 2379 refuses connections: is etcd running there?"),
    ("grpcs://etcd.example", REFUSED, "not sent: port 2379 refuses connections: is etcd running there?"),
    ("grpc://[::1]:2379", REFUSED, "not sent: port 2379 refuses connections: is etcd running there?"),
    (URL, network.TimeoutError(), "not sent: no connection to port 2379 within 5 seconds"),
    ("grpc://etcd_1:2379", network.DNSLookupError("odd"), "not sent: there is no host 'etcd_1' (DNS lookup failed)"),
    (URL, network.NoRouteError("odd"), "not sent: No route to host: odd."),
    (URL, network.ConnectError(Failure(network.ConnectionLost())), "not sent: it broke off"),
]


class UnreachableTests(StrangerCase):
    """There is no connection: the port is named, because a URL may have none."""

    def test_table(self) -> None:
        for url, reason, told in UNREACHABLE:
            self.at(url)
            for begin in self.begins():
                waiting = begin()
                self.network.refuse(reason=reason)
                # the endpoint looks for another address first
                self.clock.advance(1)
                self.assert_fails(waiting, Unavailable, False, told)
            self.hang_up()

    def test_unknown_host(self) -> None:
        self.clock.installNameResolver(Names())
        for begin in self.begins():
            told = "not sent: there is no host 'etcd.example' (DNS lookup failed)"
            self.assert_fails(begin(), Unavailable, False, told)
