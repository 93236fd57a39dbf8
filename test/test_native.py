"""
Calls over the native transport on connections in memory: what is sent, and what comes back.
"""

from __future__ import annotations

import gc
import platform
from math import inf
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from test.fakes_http2 import (
    FOUND,
    GET,
    GET_BYTES,
    PUT,
    PUT_BYTES,
    RANGE,
    REVISION,
    URL,
    WRITTEN,
    NativeCase,
    framed,
)
from txetcd import KeySet
from txetcd import _frames as f
from txetcd import _native as native
from txetcd import _schema as schema
from txetcd._channel import MOST_LIVENESS, Channel
from txetcd._messages import Empty, LeaseKeepAliveRequest, LeaseRevokeRequest, WatchCreateRequest
from txetcd._transport import Metadata
from txetcd.errors import (
    CommonNameIgnored,
    DeadlineExceeded,
    Error,
    LeaseNotFound,
    NoLeader,
    OutcomeUnknown,
    PermissionDenied,
    ProtocolViolation,
    RequestTooLarge,
    Stopped,
    Timeout,
    TooManyRequests,
    Unavailable,
    Unimplemented,
)
from txetcd.values import Header

LARGE = b"x" * 200_000


class RequestTests(NativeCase):
    """What is sent."""

    def call(self, url: str = URL, timeout: float = 10.0, metadata: Metadata = Metadata()) -> Deferred[Any]:
        """Begins a write, at the transport itself."""
        return self.native.call(url, schema.PUT, PUT, timeout, metadata)

    def headers_of(self, url: str, timeout: float = 10.0, metadata: Metadata = Metadata()) -> dict[str, str]:
        """What a request begins with."""
        waiting = self.call(url, timeout, metadata)
        (asked,) = self.sent(self.serve())
        self.cancelled(waiting)
        self.hang_up()
        return asked.headers

    def test_request(self) -> None:
        """All of it, and nothing else; to the host and port of the URL."""
        written = self.put()
        self.assertEqual(self.clock.tcpClients[0][:2], ("127.0.0.1", 2379))
        server = self.serve()
        (asked,) = server.asked
        wanted = {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/etcdserverpb.KV/Put",
            ":authority": "etcd.example:2379",
            "content-type": "application/grpc",
            "te": "trailers",
            "grpc-timeout": "10100m",
            "hasleader": "true",
        }
        self.assertEqual(asked.headers, wanted)
        self.assertEqual(asked.message, PUT_BYTES)
        server.answer(asked, WRITTEN)
        self.assertEqual(self.successResultOf(written), REVISION)

    def test_read(self) -> None:
        found = self.get()
        server = self.serve()
        self.assertEqual(
            (server.asked[0].headers[":path"], server.asked[0].message), ("/etcdserverpb.KV/Range", GET_BYTES)
        )
        server.answer(server.asked[0], FOUND)
        self.assertEqual(self.successResultOf(found), RANGE)

    def test_empty(self) -> None:
        """A request without a field is a message without a byte."""
        answered = self.calls.call(schema.LEASE_LEASES, Empty())
        server = self.serve()
        self.assertEqual(server.asked[0].data, bytes(5))
        server.answer(server.asked[0], WRITTEN)
        self.assertEqual(self.successResultOf(answered).leases, [])

    def test_authority(self) -> None:
        for url, where, wanted in (
            ("grpc://etcd.example", ("127.0.0.1", 2379), "etcd.example:2379"),
            ("grpc://etcd.example:1", ("127.0.0.1", 1), "etcd.example:1"),
            ("grpc://10.0.0.1", ("10.0.0.1", 2379), "10.0.0.1:2379"),
            ("grpc://[::1]", ("::1", 2379), "[::1]:2379"),
            ("grpc://[::1]:2380", ("::1", 2380), "[::1]:2380"),
            ("grpc://etcd_1:2379", ("etcd_1", 2379), "etcd_1:2379"),
            ("grpc://b\u00fccher.example:2379", ("127.0.0.1", 2379), "xn--bcher-kva.example:2379"),
            ("grpc://b\u00fccher:2379", ("127.0.0.1", 2379), "xn--bcher-kva:2379"),
            ("grpc://b\u00fccher", ("127.0.0.1", 2379), "xn--bcher-kva:2379"),
        ):
            self.assertEqual(self.headers_of(url)[":authority"], wanted)
            self.assertEqual(self.clock.tcpClients[-1][:2], where)

    def test_metadata(self) -> None:
        """The server is told who asks, whether a leader is required, and for how long somebody waits."""
        for metadata, timeout, wanted in (
            (Metadata(), 10.0, (None, None, "10100m")),
            (Metadata("token"), 0.25, ("token", None, "350m")),
            (Metadata("", True), 3600.0, (None, "true", "3600100m")),
            (Metadata(), 99_999.8, (None, None, "99999900m")),
            (Metadata(), 100_000.0, (None, None, "100001S")),
            (Metadata(), 1e12, (None, None, "99999999S")),
            (Metadata("other", True), 10.0, ("other", "true", "10100m")),
        ):
            headers = self.headers_of(URL, timeout, metadata)
            self.assertEqual(tuple(headers.get(name) for name in ("token", "hasleader", "grpc-timeout")), wanted)

    def test_metadata_of_a_stream(self) -> None:
        """A stream lasts as long as it likes."""
        stream = self.native.stream(URL, schema.SNAPSHOT, Empty(), print, Metadata("token", True))
        (asked,) = self.serve().asked
        self.assertEqual((asked.headers["token"], asked.headers["hasleader"]), ("token", "true"))
        self.assertNotIn("grpc-timeout", asked.headers)
        stream.abort()

    def test_server_is_told_what_is_left(self) -> None:
        """Of a call that has waited, that is less."""
        waiting = self.call()
        self.clock.advance(4)
        (asked,) = self.serve().asked
        self.assertEqual(asked.headers["grpc-timeout"], "6100m")
        self.cancelled(waiting)

    def test_server_is_told_what_is_left_behind_others(self) -> None:
        """... also of one that has waited until the server takes more."""
        first = self.call()
        server = self.serve(streams=1)
        waiting = self.call()
        self.clock.advance(4)
        self.assertEqual(len(server.asked), 1)
        self.cancelled(first)
        self.clock.advance(0)
        server.talk()
        self.assertEqual([asked.headers["grpc-timeout"] for asked in server.asked], ["10100m", "6100m"])
        self.cancelled(waiting)

    def test_clock_that_is_set_back(self) -> None:
        """Nobody has more time than was given."""
        waiting = self.call()
        self.clock.rightNow -= 100
        (asked,) = self.serve().asked
        self.assertEqual(asked.headers["grpc-timeout"], "10100m")
        self.cancelled(waiting)

    def test_many_deadlines(self) -> None:
        """The blocks that are kept for the next call do not grow without bound."""
        waiting = [self.call(timeout=1 + number / 10) for number in range(1200)]
        server = self.serve(streams=5000)
        (peer,) = self.native._peers.values()
        self.assertLessEqual(len(peer._blocks), 1000)
        found = [asked.headers["grpc-timeout"] for asked in server.asked]
        self.assertEqual(found[::600], ["1100m", "61100m"])
        for one in waiting:
            self.cancelled(one)

    def test_large(self) -> None:
        """A large request goes out as the server takes it."""
        written = self.put(value=LARGE)
        server = self.serve()
        self.assertEqual(len(server.asked[0].message), 200_000 + len(b"\x0a\x03key\x12\xc0\x9a\x0c"))
        server.answer(server.asked[0], WRITTEN)
        self.assertEqual(self.successResultOf(written), REVISION)

    def test_nothing_is_sent_before(self) -> None:
        """A server is asked when it has told its settings and acknowledged ours, and not before."""
        waiting = self.put()
        server = self.accept()
        self.clock.advance(1)
        self.assertNotIn(b"/etcdserverpb", server.wire.value())
        server.raw(f.pack(f.SETTINGS, 0, 0))
        self.assertNotIn(b"/etcdserverpb", server.wire.value())
        server.raw(f.pack(f.SETTINGS, f.ACK, 0))
        self.assertIn(b"/etcdserverpb.KV/Put", server.wire.value())
        self.cancelled(waiting)

    def test_tls(self) -> None:
        """grpcs speaks TLS: the first bytes are a handshake, and the request is not among them."""
        waiting = self.call("grpcs://etcd.example:2379")
        wire = self.network.accept()
        self.assertEqual(wire.value()[:2], b"\x16\x03")
        self.assertNotIn(b"/etcdserverpb", wire.value())
        self.cancelled(waiting)

    def test_urgent(self) -> None:
        """What is urgent, and leases, do not wait behind others; the others keep their order."""
        others = [self.put(value=b"%d" % number) for number in range(4)]
        server = self.serve(streams=1)
        urgent = [
            self.native.call(URL, schema.LEASE_REVOKE, LeaseRevokeRequest(1), 10.0, Metadata()),
            self.native.call(URL, schema.LEASE_KEEP_ALIVE, LeaseKeepAliveRequest(1), 10.0, Metadata()),
            self.native.call(URL, schema.RANGE, GET, 10.0, Metadata(is_urgent=True)),
        ]
        for answer in (WRITTEN, WRITTEN, WRITTEN + b"\x10\x01\x18\x05", FOUND, WRITTEN, WRITTEN, WRITTEN):
            server.answer(self.sent(server)[-1], answer)
        paths = [asked.headers[":path"].rpartition("/")[2] for asked in server.asked]
        self.assertEqual(paths, ["Put", "LeaseRevoke", "LeaseKeepAlive", "Range", "Put", "Put", "Put"])
        self.assertEqual(
            [asked.message[-1:] for asked in server.asked if "Put" in asked.headers[":path"]], [b"0", b"1", b"2", b"3"]
        )
        for one in (*others, *urgent):
            self.successResultOf(one)


class ConnectionTests(NativeCase):
    """One connection for each endpoint, connected to lazily and kept."""

    def test_thousand_calls(self) -> None:
        """They share it, as many at a time as the server allows; first come, first served."""
        self.assertEqual((self.network.attempts, self.native.connections), (0, 0))
        order: list[int] = []
        for number in range(1000):
            self.put(value=b"%d" % number).addCallback(lambda _, number=number: order.append(number))
        server = self.serve(streams=100)
        answered = 0
        while answered < 1000:
            self.assertEqual(len(self.sent(server)), min(1000, answered + 100))
            for asked in server.asked[answered:]:
                server.answer(asked, WRITTEN)
                answered += 1
        self.assertEqual(order, list(range(1000)))
        self.assertEqual((self.network.attempts, self.native.connections), (1, 1))

    def test_joined(self) -> None:
        """What is asked in one turn goes out together; what is asked of an idle connection goes out at once."""
        self.assert_works()
        wire = self.network.wires[0]
        server_read = len(wire.value())
        first = self.put()
        at_once = wire.value()[server_read:]
        self.assertIn(PUT_BYTES, at_once)
        others = [self.put() for _ in range(10)]
        self.assertEqual(wire.value()[server_read:], at_once)
        self.clock.advance(0)
        self.assertEqual(wire.value()[server_read:].count(PUT_BYTES), 11)
        for one in (first, *others):
            self.cancelled(one)

    def test_two_endpoints(self) -> None:
        other = "grpc://other.example:2379"
        calls = [self.native.call(url, schema.PUT, PUT, 10.0, Metadata()) for url in (URL, other, URL, other)]
        self.assertEqual(self.network.attempts, 2)
        for at in range(2):
            server = self.serve(at)
            self.assertEqual(len(server.asked), 2)
            for asked in server.asked:
                server.answer(asked, WRITTEN)
        self.assertEqual([self.successResultOf(call) for call in calls], [REVISION] * 4)
        self.assertEqual(self.native.connections, 2)

    def test_reconnection(self) -> None:
        """The next call after a loss connects again, whenever that was."""
        for lose in (lambda wire: wire.lose(), lambda wire: wire.close()):
            self.assert_works()
            lose(self.network.wires[-1])
            self.assertEqual(self.native.connections, 0)
            before = self.network.attempts
            self.assert_works()
            self.assertEqual(self.network.attempts, before + 1)
            self.hang_up()

    def test_goodbye(self) -> None:
        """Those that are processed go on to their end; the others were not sent, and what comes now goes elsewhere."""
        lost: list[str] = []
        self.native.on_loss = lost.append
        first, *others = (self.put(value=b"%d" % number) for number in range(4))
        old = self.serve(streams=2)
        old.raw(f.pack(f.GOAWAY, 0, 0, f.pack_word(1) + f.pack_word(0)))
        for other in others:
            self.assert_fails(other, Unavailable, False, "not sent: the server says goodbye (NO_ERROR)")
        self.assertEqual((lost, self.network.attempts), ([URL], 1))
        late = self.put()
        new = self.serve()
        for server in (new, old):
            server.answer(server.asked[0], WRITTEN)
        self.assertEqual([self.successResultOf(one) for one in (first, late)], [REVISION] * 2)
        self.clock.advance(0)
        self.assertEqual(self.native.connections, 1)

    def test_international_name(self) -> None:
        """It is looked up, and verified, as it is known to others."""
        asked: list[Any] = []

        def endpoint(*of_what: Any) -> Any:
            asked.append(of_what)
            raise ConnectionRefusedError

        self.patch(self.native._connector, "endpoint", endpoint)
        waiting = self.native.call("grpcs://b\xfccher.test:2379", schema.PUT, PUT, 10.0, Metadata())
        self.failureResultOf(waiting, Unavailable)
        self.assertEqual(asked, [("xn--bcher-kva.test", 2379, True)])

    def test_not_used_any_more(self) -> None:
        """The connection to an endpoint that was replaced ends: at once, or when what is under way there has."""
        other = "grpc://other.example:2379"
        for is_busy in (False, True):
            waiting = self.put()
            server = self.serve()
            if not is_busy:
                server.answer(server.asked[0], WRITTEN)
            self.native.keep_only([other])
            self.clock.advance(0)
            self.assertEqual(self.native.connections, int(is_busy))
            if is_busy:
                server.answer(server.asked[0], WRITTEN)
                self.clock.advance(0)
            self.successResultOf(waiting)
            self.assertEqual(self.native.connections, 0)
        waiting = self.put()
        self.native.keep_only([other])
        server = self.serve()
        server.answer(server.asked[0], WRITTEN)
        self.successResultOf(waiting)
        self.clock.advance(0)
        self.assertEqual(self.native.connections, 0)
        waiting = self.put()
        self.serve()
        self.native.keep_only([URL])
        self.clock.advance(0)
        self.assertEqual(self.native.connections, 1)
        self.cancelled(waiting)

    def test_not_connected_to_any_more(self) -> None:
        """An attempt to connect to an endpoint that was replaced ends when nobody waits for it, at once or later."""
        for is_left_first in (False, True):
            waiting = self.put()
            if is_left_first:
                self.cancelled(waiting)
            self.assertFalse(self.clock.connectors[-1].stoppedConnecting)
            self.native.keep_only([])
            if not is_left_first:
                self.assertFalse(self.clock.connectors[-1].stoppedConnecting)
                self.cancelled(waiting)
            self.assertTrue(self.clock.connectors[-1].stoppedConnecting)

    def test_goodbye_at_once(self) -> None:
        """A server that wants nobody."""
        for begin in (self.put, self.get, lambda: self.stream().ended):
            waiting = begin()
            server = self.accept()
            server.raw(f.pack(f.SETTINGS, 0, 0) + f.pack(f.SETTINGS, f.ACK, 0) + f.pack(f.GOAWAY, 0, 0, bytes(8)))
            self.assert_fails(waiting, Unavailable, False, "not sent: the server says goodbye (NO_ERROR)")
            self.clock.advance(0)
            self.assertEqual(self.network.open, [])
        self.assertEqual(self.network.attempts, 3)

    def test_loss_is_told(self) -> None:
        """Whoever wants to know is told before those whose calls fail."""
        heard: list[Any] = []
        self.native.on_loss = heard.append
        for _ in range(2):
            self.put().addErrback(lambda failure: heard.append(failure.type))
            self.serve().wire.lose()
        self.assertEqual(heard, [URL, OutcomeUnknown] * 2)

    def test_refused_stream(self) -> None:
        """It was not processed."""
        for begin in (self.put, self.get, lambda: self.stream().ended):
            waiting = begin()
            server = self.serve()
            server.reset(server.asked[0], f.REFUSED_STREAM)
            self.assert_fails(waiting, Unavailable, False, "not sent: the server refuses it")
            self.hang_up()

    def test_reset_stream(self) -> None:
        """Nobody knows."""
        for begin, wanted, doubt in (
            (self.put, OutcomeUnknown, True),
            (self.get, Unavailable, False),
            (lambda: self.stream().ended, Unavailable, False),
        ):
            waiting = begin()
            server = self.serve()
            server.reset(server.asked[0], f.CANCEL)
            self.assert_fails(waiting, wanted, doubt, "the server has reset the stream (CANCEL)")
            self.assert_works(server)
            self.hang_up()

    def test_silent(self) -> None:
        """A connection whose peer is gone is dropped in time, and the next call takes another one."""
        waiting, reading = self.put(60.0), self.get(60.0)
        self.serve()
        self.clock.pump([1] * 16)
        told = "the connection was lost before the answer was complete: it was silent, and did not answer a ping"
        self.assert_fails(waiting, OutcomeUnknown, True, told)
        self.assert_fails(reading, Unavailable, False, told)
        self.assert_works()


class AnswerTests(NativeCase):
    """What comes back."""

    def answered(self, begin: Any, *said: Any) -> Error:
        """What a call fails with, if the server answers so."""
        waiting = begin()
        server = self.serve()
        (asked,) = server.asked
        for name, *arguments in said:
            getattr(server, name)(asked, *arguments)
        error = self.failureResultOf(waiting, Error).value
        self.assert_works(server)
        self.hang_up()
        self.assertNotIn("twisted", repr(error))
        return error

    def test_refusals(self) -> None:
        """Each class by its text, or by its code; as trailers alone, behind headers, and behind a message."""
        for code, said, wanted, doubt in (
            (5, "etcdserver: requested lease not found", LeaseNotFound, False),
            (3, "etcdserver: request is too large", RequestTooLarge, False),
            (8, "etcdserver: too many requests", TooManyRequests, False),
            (14, "etcdserver: no leader", NoLeader, False),
            (12, "unknown method X", Unimplemented, False),
            (7, "etcdserver: permission denied", PermissionDenied, False),
            (4, "context deadline exceeded", DeadlineExceeded, True),
            (14, "etcdserver: server stopped", Stopped, None),
        ):
            for shape in (
                [("refuse", code, said)],
                [("begin",), ("end", code, said)],
                [("begin",), ("say", framed(WRITTEN)), ("end", code, said)],
                [("begin",), ("say", b"\0\0"), ("end", code, said)],
            ):
                for begin in (self.put, self.get):
                    error = self.answered(begin, *shape)
                    found = error.__cause__ if isinstance(error, OutcomeUnknown) else error
                    self.assertIs(type(found), wanted, (shape, error))
                    self.assertEqual((found.code, found.message.rpartition(": ")[2]), (code, said.rpartition(": ")[2]))
                    if doubt is not None:
                        self.assertIs(error.maybe_applied, doubt and begin == self.put)

    def test_message_is_decoded(self) -> None:
        error = self.answered(self.put, ("refuse", 5, "etcdserver%3A b%C3%BCcher%0Anot found %"))
        self.assertEqual(error.message, "etcdserver: b\u00fccher\nnot found %")

    def test_bad_ends(self) -> None:
        """What is no answer of gRPC, though it says so."""
        for said, told in (
            ([("refuse", 0)], "an answer without a message"),
            ([("begin",), ("end",)], "an answer without a message"),
            ([("begin",), ("say", framed(WRITTEN) * 2), ("end",)], "an answer of more than one message"),
            ([("begin",), ("say", framed(WRITTEN)), ("say", framed(b""))], "an answer of more than one message"),
            ([("begin",), ("say", framed(WRITTEN)[:-1]), ("end",)], "the answer ended in a message"),
            ([("begin",), ("say", framed(WRITTEN), True)], "the answer ended with no grpc-status"),
            ([("begin",), ("say", framed(WRITTEN)), ("end", "many")], "the answer ended with a bad grpc-status"),
            ([("begin",), ("say", framed(WRITTEN)), ("end", 17)], "the answer ended with a bad grpc-status"),
            ([("begin",), ("say", framed(WRITTEN)), ("end", "-1")], "the answer ended with a bad grpc-status"),
            (
                [("begin",), ("say", b"\1" + framed(WRITTEN)[1:])],
                "a message that is compressed, which nobody has asked for",
            ),
            (
                [("begin",), ("say", b"\0\xff\xff\xff\xff")],
                "a message of 4294967295 bytes, and more than 536870912 are not taken",
            ),
        ):
            for begin in (self.put, self.get):
                error = self.answered(begin, *said)
                self.assertIs(type(error), ProtocolViolation, error)
                self.assertIn(told, error.message)
                self.assertIs(error.maybe_applied, begin == self.put)

    def test_not_of_etcd(self) -> None:
        """What etcd would not say is not believed."""
        for message, told in (
            (b"", "no answer of etcd: it has no header"),
            (b"\x12\x00", "no answer of etcd: it has no header"),
            (b"\xff", ""),
            (b"\x0a\x7f", ""),
            (b"\x0a\x02\x18", ""),
        ):
            for begin in (self.put, self.get):
                error = self.answered(begin, ("begin",), ("say", framed(message)), ("end",))
                self.assertIs(type(error), ProtocolViolation, error)
                self.assertIn(told, error.message)
                self.assertIs(error.maybe_applied, begin == self.put)

    def test_other_lease(self) -> None:
        waiting = self.native.call(URL, schema.LEASE_KEEP_ALIVE, LeaseKeepAliveRequest(1), 10.0, Metadata())
        server = self.serve()
        server.answer(server.asked[0], WRITTEN + b"\x10\x02\x18\x05")
        error = self.failureResultOf(waiting, ProtocolViolation).value
        self.assertEqual(error.message, "no answer of etcd: it is about lease 2")

    def test_limit_of_a_message(self) -> None:
        """An answer may be so large, and no larger."""
        for url, size, is_taken in ((URL, len(FOUND), True), (URL, len(FOUND) - 1, False)):
            self.at(url, max_message=size)
            waiting = self.get()
            server = self.serve()
            server.begin(server.asked[0])
            server.say(server.asked[0], framed(FOUND))
            if is_taken:
                server.end(server.asked[0])
                self.assertEqual(self.successResultOf(waiting), RANGE)
            else:
                told = f"a message of {len(FOUND)} bytes, and more than {size} are not taken"
                self.assert_fails(waiting, ProtocolViolation, False, told)
                self.assertEqual(self.sent(server)[0].reset, f.CANCEL)
            self.hang_up()

    def test_common_name(self) -> None:
        """What etcd says of a certificate's CommonName through a proxy."""
        error = self.answered(
            self.put,
            (
                "page",
                401,
                "text/plain",
                b"CommonName of client sending a request against gateway will be ignored and not used as expected",
            ),
        )
        self.assertIsInstance(error, CommonNameIgnored)

    def test_large_answer(self) -> None:
        """As large as it likes, in pieces as they come."""
        waiting = self.get()
        server = self.serve()
        value = bytes(6_000_000)
        kv = b"\x0a\x03key\x18\x07\x2a\x80\x9b\xee\x02" + value
        message = WRITTEN + b"\x12\x8c\x9b\xee\x02" + kv
        self.assertEqual(len(kv), 6_000_012)
        server.begin(server.asked[0])
        whole = framed(message)
        for at in range(0, len(whole), 1_000_000):
            server.say(server.asked[0], whole[at : at + 1_000_000])
            self.sent(server)
        server.end(server.asked[0])
        self.assertEqual(self.successResultOf(waiting).kvs[0].value, value)

    def test_answer_before_the_request_is_whole(self) -> None:
        """A server that does not want the rest may say so; then the rest is not sent."""
        waiting = self.put(value=LARGE)
        server = self.accept()
        server.is_taking = False
        server.talk()
        (asked,) = server.asked
        self.assertFalse(asked.is_whole)
        server.refuse(asked, 3, "etcdserver: request is too large")
        self.assert_fails(waiting, RequestTooLarge, False)
        self.assertEqual(self.sent(server)[0].reset, f.CANCEL)
        server.is_taking = True


class CallTests(NativeCase):
    """Small matters."""

    def test_misuse(self) -> None:
        """A request that cannot be written is misuse, and leaves nothing behind."""
        self.assertRaises(Exception, self.native.call, URL, schema.PUT, object(), 10.0, Metadata())
        self.assertEqual((self.clock.getDelayedCalls(), self.native._calls), ([], {}))

    def test_header(self) -> None:
        """What is decoded is what etcd has sent."""
        waiting = self.put()
        server = self.serve()
        server.answer(server.asked[0], b"\x0a\x08\x08\x01\x10\x02\x18\x03\x20\x04")
        self.assertEqual(
            self.successResultOf(waiting).header, Header(raft_term=4, revision=3, cluster_id=1, member_id=2)
        )

    def test_twice(self) -> None:
        """A call that is cancelled twice, or after its end, is no harm."""
        waiting = self.put()
        server = self.serve()
        self.cancelled(waiting)
        waiting.cancel()
        other = self.put()
        server.answer(self.sent(server)[-1], WRITTEN)
        other.cancel()
        self.successResultOf(other)

    def test_late_answer(self) -> None:
        """It falls on closed ears, and the connection is good for others."""
        waiting = self.put(1.0)
        server = self.serve()
        server.begin(server.asked[0])
        self.clock.advance(1.1)
        self.assert_fails(waiting, Timeout, True)
        server.say(server.asked[0], framed(WRITTEN))
        server.end(server.asked[0])
        self.assert_works(server)
        self.assertEqual(self.network.attempts, 1)

    def test_first_answer_is_all(self) -> None:
        """Of a renewal, which others could follow: the server need not wait for them. In one piece, or in two."""
        answer = framed(WRITTEN + b"\x10\x01\x18\x0a")
        for pieces in ([answer], [answer[:7], answer[7:]], [framed(b"\xff")]):
            waiting = self.native.call(URL, schema.LEASE_KEEP_ALIVE, LeaseKeepAliveRequest(1), 10.0, Metadata())
            server = self.serve()
            asked = self.sent(server)[-1]
            self.assertFalse(asked.is_whole)
            server.begin(asked)
            for piece in pieces:
                self.assertNoResult(waiting)
                server.say(asked, piece)
            if answer in pieces or len(pieces) == 2:
                self.assertEqual(self.successResultOf(waiting).time_to_live, 10)
            else:
                self.failureResultOf(waiting, ProtocolViolation)
            self.clock.advance(0)
            server.talk()
            self.assertEqual(asked.reset, f.CANCEL)

    def test_heard_of_a_large_answer(self) -> None:
        """While it arrives, and not before or after."""
        waiting = self.native.call(URL, schema.RANGE, GET, 10.0, Metadata())
        server = self.serve()
        (asked,) = server.asked
        self.assertEqual([self.native.heard_at(url) for url in (URL, "grpc://other")], [-inf, -inf])
        server.begin(asked)
        for _ in range(2):
            self.clock.advance(1)
            server.say(asked, framed(FOUND)[:7] if self.native.heard_at(URL) < 0 else framed(FOUND)[7:9])
            self.assertEqual(self.native.heard_at(URL), self.clock.seconds())
        server.say(asked, framed(FOUND)[9:])
        server.end(asked)
        self.successResultOf(waiting)
        self.assertEqual(self.native.heard_at(URL), -inf)

    def test_one_that_fails_for_reasons_of_ours(self) -> None:
        """It is told so, and those whose answers came along with its own get them."""
        faults = {schema.PUT.name: MemoryError("no room")}

        def decode(rpc: Any, message: bytes) -> Any:
            if rpc.name in faults:
                raise faults[rpc.name]
            return decoder(rpc, message)

        decoder = native._protobuf.decode
        self.patch(native._protobuf, "decode", decode)
        written, found = self.put(), self.get()
        server = self.serve()
        first, second = server.asked
        for asked, message in ((first, WRITTEN), (second, FOUND)):
            server.h2.send_headers(asked.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
            server.h2.send_data(asked.stream_id, framed(message))
            server.h2.send_headers(asked.stream_id, [("grpc-status", "0")], end_stream=True)
        server.flush()
        self.failureResultOf(written, MemoryError)
        self.assertEqual(self.successResultOf(found).kvs[0].value, b"value")

    def test_one_that_cannot_be_written(self) -> None:
        """It is told so, and those that wait for the same connection are sent."""
        bad = self.native.call(URL, schema.PUT, PUT, 10.0, Metadata(token="t\xf6k"))
        good = self.native.call(URL, schema.PUT, PUT, 10.0, Metadata())
        server = self.serve()
        self.failureResultOf(bad, UnicodeEncodeError)
        server.answer(self.sent(server)[-1], WRITTEN)
        self.successResultOf(good)

    def test_asked_too_often(self) -> None:
        """A server that minds to be asked for signs of life is asked half as often by the next connection."""
        peer = self.native._peer(URL)
        for seconds in (5.0, 10.0, 20.0):
            self.assertEqual(peer._liveness, seconds)
            channel = Channel(self.clock, peer._left, peer._liveness)
            channel.is_too_eager = True
            peer._left(channel)
        peer._liveness = MOST_LIVENESS
        peer._left(channel)
        self.assertEqual(peer._liveness, MOST_LIVENESS)

    def test_no_garbage(self) -> None:
        """Nothing of a call or a stream is left when it has ended: a large answer does not wait for the collector."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        written, cancelled = self.put(), self.put()
        watching = self.native.stream(URL, schema.WATCH, WatchCreateRequest(KeySet(b"k")), [].append, Metadata())
        server = self.serve()
        server.answer(server.asked[0], WRITTEN)
        self.successResultOf(written)
        self.cancelled(cancelled)
        watching.abort()
        del watching
        kinds = (native._Call, native._AnswerStream)
        fired: Deferred[None] = Deferred(lambda _: None)
        fired.callback(None)
        # else a Deferred of Twisted keeps what would cancel it (before 23.8), and PyPy counts no references
        if getattr(fired, "_canceller") is None and platform.python_implementation() != "PyPy":
            self.assertEqual([kept for kept in gc.get_objects() if isinstance(kept, kinds)], [])

    def test_cancelled_error(self) -> None:
        """Cancelling says whether a write had been sent."""
        for is_served, maybe_applied in ((False, False), (True, True)):
            waiting = self.native.call(URL, schema.PUT, PUT, 10.0, Metadata())
            if is_served:
                self.serve()
            waiting.cancel()
            error: Any = self.failureResultOf(waiting, CancelledError).value
            self.assertIs(error.maybe_applied, maybe_applied)
