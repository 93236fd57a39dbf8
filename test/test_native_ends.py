"""
Calls and streams over the native transport that end before their time, in every moment of their lives: what is told of
them is what the server has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable, Optional

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.python.failure import Failure

from test.fakes import Names
from test.fakes_http2 import FOUND, REVISION, URL, WRITTEN, GrpcServer, NativeCase, framed, goodbye
from txetcd import _frames as f
from txetcd import _schema as schema
from txetcd._transport import CallCancelled, Metadata
from txetcd.errors import Closed, Error, OutcomeUnknown, Timeout, Unavailable
from txetcd.ops import OpGet, OpSet, Transaction

LARGE = b"x" * 200_000

NO_CONNECTION = "there is no connection yet"
NO_MORE = "the server takes no more at a time"


class MomentCase(NativeCase):
    """
    The moments of a call.

    :ivar server: the server, if it came so far.
    """

    server: Optional[GrpcServer]

    def moments(self) -> list[tuple[str, Callable[[], None], bool, str]]:
        """The name of each, what brings a call there, whether it was sent by then, and what it waits for if not."""
        return [
            ("connecting", lambda: None, False, NO_CONNECTION),
            ("connected", self.connected, False, NO_CONNECTION),
            ("half shaken", lambda: self.connected().raw(f.pack(f.SETTINGS, 0, 0)), False, NO_CONNECTION),
            ("waiting for the limit", lambda: None, False, NO_MORE),
            ("held", lambda: None, False, NO_MORE),
            ("partly sent", self.stalled, False, NO_MORE),
            ("sent", self.served, True, ""),
            ("in the headers", lambda: self.served().raw(f.pack(f.HEADERS, 0, 1, b"\x88")), True, ""),
            ("behind the headers", self.answering, True, ""),
            ("in a message", lambda: self.answering(framed(WRITTEN)[:-1]), True, ""),
            ("behind a message", lambda: self.answering(framed(WRITTEN)), True, ""),
        ]

    def connected(self) -> GrpcServer:
        self.server = self.accept()
        return self.server

    def served(self) -> GrpcServer:
        self.server = self.serve()
        return self.server

    def stalled(self) -> None:
        self.server = self.accept()
        self.server.is_taking = False
        self.server.talk()

    def answering(self, said: bytes = b"") -> None:
        server = self.served()
        server.begin(server.asked[0])
        if said:
            server.say(server.asked[0], said)

    def begin(self, kind: str, moment: str = "", timeout: float = 3.0) -> Deferred[Any]:
        """Begins a call or stream at the transport itself; it is large where it shall not be sent as a whole."""
        key = LARGE if moment == "partly sent" else b"key"
        if kind == "put":
            return self.native.call(URL, schema.PUT, OpSet(key, b"v"), timeout, Metadata())
        if kind == "get":
            return self.native.call(URL, schema.RANGE, OpGet(key), timeout, Metadata())
        stream = self.native.stream(URL, schema.RANGE_STREAM, OpGet(key), lambda _: None, Metadata())
        return stream.ended

    def each(self, *kinds: str) -> Iterator[tuple[str, str, Deferred[Any], bool, str]]:
        """The name of a moment, the kind of a call, the call in that moment, whether it was sent, and its obstacle."""
        for moment, reach, is_sent, obstacle in self.moments():
            for kind in kinds or ("put", "get", "stream"):
                self.server = None
                others: list[Deferred[Any]] = []
                if moment in ("waiting for the limit", "held"):
                    others.append(self.begin("stream"))
                    self.server = self.serve(streams=1 if moment != "held" else 9)
                    if moment == "held":
                        self.server.wire.producer.pauseProducing()
                waiting = self.begin(kind, moment)
                reach()
                yield moment, kind, waiting, is_sent, obstacle
                self.clock.advance(0)
                self.assertTrue(waiting.called, (moment, kind))
                self.assert_seen(moment, is_sent)
                for other in others:
                    other.addErrback(lambda _: None)
                    other.cancel()
                self.hang_up()
                self.at(URL)

    def assert_seen(self, moment: str, is_sent: bool) -> None:
        """The server has seen as much as was said."""
        if self.server is not None and moment != "held" and not self.server.wire.is_lost:
            whole = [
                asked for asked in self.sent(self.server) if asked.headers[":path"] != "/etcdserverpb.KV/RangeStream"
            ]
            self.assertEqual(any(asked.is_whole for asked in whole), is_sent and bool(whole), moment)

    def fails(self, waiting: Deferred[Any], cls: type[Error], maybe_applied: bool, told: str = "") -> None:
        error = self.failureResultOf(waiting).value
        self.assertEqual((cls, maybe_applied), (type(error), error.maybe_applied), error)
        self.assertIn(told, str(error))


class DeadlineTests(MomentCase):
    """The deadline is one of the whole call, whatever it waits for."""

    def test_deadline(self) -> None:
        for moment, kind, waiting, is_sent, obstacle in self.each("put", "get"):
            self.clock.advance(2.99)
            self.assertNoResult(waiting)
            self.clock.advance(0.03)
            sent = "sent, but no answer within 3 seconds"
            told = sent if is_sent else f"could not be sent within 3 seconds: {obstacle}"
            self.fails(waiting, Timeout, is_sent and kind == "put", told)
            if self.server is not None and (is_sent or moment == "partly sent"):
                self.assertEqual([asked.reset for asked in self.sent(self.server)], [f.CANCEL], moment)

    def test_progress_does_not_count(self) -> None:
        waiting = self.put()
        server = self.serve()
        server.begin(server.asked[0])
        for at in range(9):
            self.clock.advance(1)
            server.say(server.asked[0], framed(WRITTEN)[at : at + 1])
        self.assertNoResult(waiting)
        self.clock.advance(1.1)
        self.assert_fails(waiting, Timeout, True)

    def test_of_many(self) -> None:
        """Each has its own, and one that expires does not delay those that were there before."""
        order: list[int] = []

        def again(failure: Failure, number: int) -> None:
            failure.trap(Timeout)
            order.append(number)
            self.get(100.0).addErrback(lambda _: None)

        for number in (3, 1, 4, 2):
            self.get(number).addErrback(again, number)
        self.serve()
        for seconds in (1, 2, 3, 4):
            self.clock.advance(0.97)
            self.assertEqual(len(order), seconds - 1)
            self.clock.advance(0.05)
            self.assertEqual(len(order), seconds)
            self.clock.advance(-0.02)
        self.assertEqual(order, [1, 2, 3, 4])

    def test_next_goes_on(self) -> None:
        """The place of a call whose time is over is another one's."""
        first, second = self.put(1.0, b"1"), self.put(5.0, b"2")
        server = self.serve(streams=1)
        self.clock.advance(1.1)
        self.assert_fails(first, Timeout, True)
        self.assertEqual(self.sent(server)[1].message[-1:], b"2")
        server.answer(server.asked[1], WRITTEN)
        self.assertEqual(self.successResultOf(second), REVISION)


class CancelTests(MomentCase):
    """Cancelling fires at once, and resets the stream."""

    def test_call(self) -> None:
        for moment, kind, waiting, is_sent, _ in self.each("put", "get"):
            waiting.cancel()
            error: Any = self.failureResultOf(waiting, CancelledError).value
            self.assertIs(type(error), CallCancelled)
            self.assertIs(error.maybe_applied, is_sent and kind == "put", moment)
            if self.server is not None and (is_sent or moment == "partly sent"):
                self.assertEqual([asked.reset for asked in self.sent(self.server)], [f.CANCEL], moment)

    def test_stream(self) -> None:
        for moment, _, waiting, is_sent, _ in self.each("stream"):
            waiting.cancel()
            self.assertIsNone(self.successResultOf(waiting))
            if self.server is not None and (is_sent or moment == "partly sent"):
                self.assertEqual([asked.reset for asked in self.sent(self.server)], [f.CANCEL], moment)

    def test_connection_is_kept(self) -> None:
        """It does no harm to the others."""
        others = [self.get() for _ in range(3)]
        waiting = self.put()
        server = self.serve()
        self.cancelled(waiting)
        self.sent(server)
        for asked in server.asked[:3]:
            server.answer(asked, FOUND)
        for other in others:
            self.successResultOf(other)
        self.assert_works(server)
        self.assertEqual(self.network.attempts, 1)

    def test_before_there_is_a_connection(self) -> None:
        """It is made all the same, and the next call takes it."""
        self.cancelled(self.put())
        self.assertEqual(self.serve().asked, [])
        self.assertEqual(self.native.connections, 1)


class CloseTests(MomentCase):
    """Closing ends everything."""

    def test_close(self) -> None:
        for _, kind, waiting, is_sent, _ in self.each():
            closed = self.native.close()
            self.fails(waiting, Closed, is_sent and kind == "put", "the client is closed")
            self.clock.advance(0)
            self.assertIsNone(self.successResultOf(closed))
            self.assertEqual((self.network.open, self.native.connections), ([], 0))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_connection_is_left(self) -> None:
        """It has closed when that is so, and not before; with none, at once."""
        self.successResultOf(self.native.close())
        self.assert_works()
        closed = self.native.close()
        self.assertNoResult(closed)
        again = self.native.close()
        self.clock.advance(0)
        self.assertEqual([self.successResultOf(closed), self.successResultOf(again)], [None, None])

    def test_nothing_is_left_when_it_is_told(self) -> None:
        """Not even a timer that is to be ended next."""
        pending = [self.get() for _ in range(2)]
        self.serve(streams=1)
        left: list[Any] = []
        self.native.close().addCallback(lambda _: left.append([*self.clock.getDelayedCalls()]))
        self.clock.advance(0)
        self.assertEqual(left, [[]])
        for one in pending:
            self.failureResultOf(one, Closed)

    def test_nothing_is_sent_any_more(self) -> None:
        """What waits does not get its turn because those before it are closed."""
        pending = [self.put(value=b"%d" % number) for number in range(20)]
        server = self.serve(streams=3)
        self.native.close()
        for number, one in enumerate(pending):
            self.assertIs(self.failureResultOf(one, Closed).value.maybe_applied, number < 3)
        self.assertEqual(len(server.talk().asked), 3)

    def test_attempts_end(self) -> None:
        """Nothing is connected to any more."""
        waiting = self.get()
        self.native.close()
        self.failureResultOf(waiting, Closed)
        for connector in self.clock.connectors:
            self.assertTrue(connector.stoppedConnecting)


class LossTests(MomentCase):
    """The connection is lost: a write that was not sent as a whole is never in doubt, one that was sent always is."""

    def test_lost(self) -> None:
        for reason, said in ((None, "it broke off"), (ConnectionDone(), "the server closed it")):
            for moment, kind, waiting, is_sent, _ in self.each():
                if self.server is None:
                    self.network.refuse()
                    # the endpoint looks for another address first
                    self.clock.advance(1)
                else:
                    self.server.wire.lose(reason)
                if not is_sent:
                    self.fails(waiting, Unavailable, False, "not sent: ")
                else:
                    cls = OutcomeUnknown if kind == "put" else Unavailable
                    told = f"the connection was lost before the answer was complete: {said}"
                    self.fails(waiting, cls, kind == "put", told)
                if moment not in ("connecting", "connected"):
                    self.assertEqual(self.native.connections, 0)

    def test_violation(self) -> None:
        """So it is when the server violates the protocol, however much was sent."""
        for _, _, waiting, is_sent, _ in self.each("put", "get"):
            if self.server is None:
                self.server = self.accept()
            # the first byte of garbage may complete what is there
            self.server.raw(b"\xff" * 100)
            error = self.failureResultOf(waiting, Error).value
            if not is_sent:
                self.assertIn("not sent: ", str(error))
                self.assertIsInstance(error, Unavailable)
            else:
                self.assertIn("the server violates HTTP/2: ", str(error))

    def test_refused(self) -> None:
        """All who wait are told, and the next one tries again."""
        waiting = [self.put(), self.get(), self.stream().ended]
        self.network.refuse()
        self.clock.advance(1)
        for one in waiting:
            self.assert_fails(
                one, Unavailable, False, "not sent: port 2379 refuses connections: is etcd running there?"
            )
        self.assert_works()

    def test_unknown_host(self) -> None:
        self.clock.installNameResolver(Names())
        for begin in (self.put, self.get, lambda: self.stream().ended):
            told = "not sent: there is no host 'etcd.example' (DNS lookup failed)"
            self.assert_fails(begin(), Unavailable, False, told)

    def test_host_that_is_none(self) -> None:
        """Whatever cannot be a host, fails each call; nothing is left."""
        for host in ("-", "b\u00fc_cher", "b\u00fccher" * 20 + ".example", "b\u00fccher..example"):
            url = f"grpc://{host}:2379"
            self.at(url)
            for begin in (self.put, self.get, lambda: self.stream().ended):
                before = self.network.attempts
                waiting = begin()
                for at in range(before, self.network.attempts):
                    self.network.refuse(at, DNSLookupError())
                self.clock.advance(1)
                self.assert_fails(waiting, Unavailable, False, "not sent: ")
            self.hang_up()

    def test_connect_timeout(self) -> None:
        """An attempt has its seconds, whatever those of the call; the handshake is part of it."""
        waiting = self.put(60.0)
        self.assertEqual(self.clock.tcpClients[0][3], 5.0)
        self.network.refuse(reason=ConnectTimeout())
        self.clock.advance(1)
        self.assert_fails(waiting, Unavailable, False, "not sent: no connection to port 2379 within 5 seconds")
        waiting = self.put(60.0)
        self.clock.advance(2)
        server = self.accept()
        server.raw(f.pack(f.SETTINGS, 0, 0))
        self.clock.advance(2.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        told = "not sent: port 2379 did not begin to speak HTTP/2 within 5 seconds"
        self.assert_fails(waiting, Unavailable, False, told)
        self.clock.advance(0)
        self.assertTrue(server.wire.is_aborted and server.wire.is_lost)
        self.assert_works()


class LeaveTests(MomentCase):
    """What was not sent yet is not sent there any more; all else goes on."""

    def test_leave(self) -> None:
        for _, kind, waiting, is_sent, _ in self.each():
            self.native.leave("grpc://unknown.example")
            self.native.leave(URL)
            if is_sent or kind == "stream":
                self.assertNoResult(waiting)
                waiting.addErrback(lambda _: None)
                waiting.cancel()
            else:
                told = "not sent: the endpoint answers nobody, while another one does"
                self.fails(waiting, Unavailable, False, told)

    def test_order(self) -> None:
        """None of those that wait is sent because another one has left."""
        pending = [self.put(value=LARGE), *(self.put(value=b"%d" % number) for number in range(5))]
        server = self.accept(streams=1)
        server.is_taking = False
        server.talk()
        self.native.leave(URL)
        for one in pending:
            self.assert_fails(one, Unavailable, False, "not sent: ")
        self.assertEqual(len(self.sent(server)), 1)

    def test_sent_meanwhile(self) -> None:
        """One that is sent because another one makes room is not said to be unsent."""
        blocker = self.begin("get")
        server = self.accept(streams=1)
        server.is_taking = False
        server.talk()
        early = self.begin("put")
        urgent = self.native.call(URL, schema.TXN, self.large_transaction(), 10.0, Metadata(is_urgent=True))
        server.answer(server.asked[0], FOUND)
        self.successResultOf(blocker)
        self.sent(server)
        # the urgent one came last, and is partly sent
        self.assertEqual([asked.headers[":path"] for asked in server.asked[1:]], ["/etcdserverpb.KV/Txn"])
        self.native.leave(URL)
        self.fails(urgent, Unavailable, False)
        self.assert_truth(early, server, b"v")

    def large_transaction(self) -> Any:
        return Transaction(success=[OpSet(b"key", LARGE)])

    def test_room_made_by_whoever_is_told(self) -> None:
        first, second, third = (
            self.native.call(URL, schema.PUT, OpSet(b"k", v), 9.0, Metadata()) for v in (b"1", b"2", b"3")
        )
        server = self.serve(streams=1)
        third.addErrback(lambda _: first.cancel())
        self.native.leave(URL)
        first.addErrback(lambda _: None)
        self.assert_truth(second, server, b"2")

    def assert_truth(self, waiting: Deferred[Any], server: GrpcServer, end: bytes) -> None:
        """A write is said to be unsent only if it is so."""
        was_sent = any(asked.is_whole and asked.data.endswith(end) for asked in self.sent(server))
        if was_sent:
            self.assertNoResult(waiting)
            waiting.addErrback(lambda _: None)
            waiting.cancel()
        else:
            self.fails(waiting, Unavailable, False)


# --- whoever is told does something at once


class ReentrancyTests(MomentCase):
    """Whoever is told of the end of a call may do anything."""

    def meddlers(self) -> list[Callable[[list[Deferred[Any]]], Any]]:
        return [
            lambda calls: [call.cancel() for call in calls],
            lambda calls: [call.cancel() for call in reversed(calls)],
            lambda calls: [self.begin("put").addErrback(lambda _: None) for _ in range(3)],
            lambda calls: self.native.close(),
            lambda calls: self.native.leave(URL),
            lambda calls: self.native.call(
                "grpc://new.example", schema.PUT, OpSet(b"k", b"v"), 9.0, Metadata()
            ).addErrback(lambda _: None),
        ]

    def ends(self) -> list[Callable[[GrpcServer], Any]]:
        def answer(server: GrpcServer) -> None:
            said = [self.block(asked.stream_id) for asked in server.asked]
            server.raw(b"".join(said))

        return [
            answer,
            lambda server: server.wire.lose(),
            lambda server: server.raw(goodbye(0)),
            lambda server: server.raw(goodbye(3)),
            lambda server: server.raw(b"\xff" * 100),
            lambda server: server.raw(
                b"".join(f.pack(f.RST_STREAM, 0, asked.stream_id, f.pack_word(7)) for asked in server.asked)
            ),
            lambda server: server.raw(
                b"".join(f.pack(f.RST_STREAM, 0, asked.stream_id, f.pack_word(2)) for asked in server.asked)
            ),
            lambda server: self.clock.advance(3.1),
            lambda server: self.native.leave(URL),
            lambda server: self.native.close(),
        ]

    def block(self, stream_id: int) -> bytes:
        """A whole answer, without any help."""
        kind, status = (b"\x00\x0ccontent-type\x10application/grpc", b"\x00\x0bgrpc-status\x010")
        head = f.pack(f.HEADERS, f.END_HEADERS, stream_id, b"\x88" + kind)
        tail = f.pack(f.HEADERS, f.END_HEADERS | f.END_STREAM, stream_id, status)
        return head + f.pack(f.DATA, 0, stream_id, framed(WRITTEN)) + tail

    def test_all(self) -> None:
        for meddle in self.meddlers():
            for end in self.ends():
                for limit in (2, 100):
                    self.meddle(meddle, end, limit)

    def meddle(
        self, meddle: Callable[[list[Deferred[Any]]], Any], end: Callable[[GrpcServer], Any], limit: int
    ) -> None:
        calls: list[Deferred[Any]] = []
        results: dict[int, Any] = {}
        is_met: list[int] = []

        def done(result: Any, number: int) -> None:
            self.assertNotIn(number, results)
            results[number] = result
            if len(is_met) < 4:
                is_met.append(number)
                meddle(calls)

        for number in range(8):
            kind = ("put", "stream", "get", "put")[number % 4]
            calls.append(self.begin(kind))
        for number, call in enumerate(calls):
            call.addBoth(done, number)
        end(self.serve(streams=limit))
        for at in range(1, self.network.attempts):
            if not self.clock.connectors[at].stoppedConnecting:
                self.network.accept(at)
        self.native.close()
        self.clock.advance(0)
        self.native.close()
        self.clock.advance(0)
        self.assertEqual(sorted(results), list(range(8)))
        self.assertEqual(self.network.open, [])
        self.assertEqual((self.native._calls, self.native._streams), ({}, {}))
        self.clock.advance(10)
        self.assertEqual([str(call) for call in self.clock.getDelayedCalls()], [])
        self.setUp()
