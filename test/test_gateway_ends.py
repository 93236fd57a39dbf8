"""
Calls over the gateway transport that end before their time: lost, late, cancelled, closed; and the user's own agent.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionDone, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IHostnameResolver
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent
from zope.interface import implementer

from test.fakes import URL, Names, Network, Wire, chunk, chunked, response
from test.test_gateway import FOUND, GET, PUT, RANGE, WRITTEN, GatewayCase
from txetcd import Client, _gateway
from txetcd import _schema as schema
from txetcd._backoff import never
from txetcd._gateway import MAX_CONCURRENT, Gateway
from txetcd._messages import Empty
from txetcd._transport import Metadata
from txetcd.errors import Closed, LeaseNotFound, OutcomeUnknown, Timeout, Unavailable


@implementer(IHostnameResolver)
class Unheard:
    """A resolver that has no answer."""

    def resolveHostName(self, resolutionReceiver: Any, hostName: str, *rest: Any, **options: Any) -> None:
        """Nothing happens."""


class LostTests(GatewayCase):
    """The connection is refused, or lost on the way."""

    def test_refused(self) -> None:
        """Nothing was sent."""
        for call in (self.put, self.get):
            pending = call()
            self.network.refuse()
            # the endpoint looks for another address first
            self.clock.advance(1)
            self.assert_fails(pending, Unavailable, False, "not sent")
        self.assert_works()

    def test_unknown_host(self) -> None:
        """The name does not resolve."""
        self.clock.installNameResolver(Names())
        for call in (self.put, self.get):
            self.assert_fails(call(), Unavailable, False, "not sent")

    def test_connect_timeout(self) -> None:
        """Connecting has a limit of its own."""
        pending = self.put(60.0)
        self.assertEqual(self.clock.tcpClients[0][3], 5.0)
        self.clock.pump([1.0] * 4)
        self.network.refuse(reason=ConnectTimeout())
        self.clock.advance(1)
        self.assert_fails(pending, Unavailable, False, "not sent")

    def lost_after(self, *sent: bytes, clean: bool = False) -> None:
        """The connection is lost after so much of the answer."""
        for call, wanted, maybe_applied in ((self.put, OutcomeUnknown, True), (self.get, Unavailable, False)):
            pending = call()
            wire = self.network.accept()
            for piece in sent:
                wire.send(piece)
            wire.lose(ConnectionDone() if clean else None)
            self.assert_fails(pending, wanted, maybe_applied, "connection was lost")
        self.assert_works()

    def test_before_the_headers(self) -> None:
        """A write may have been applied."""
        self.lost_after()
        self.lost_after(clean=True)

    def test_in_the_headers(self) -> None:
        """So it may."""
        self.lost_after(b"HTTP/1.1 200 OK\r\nContent-Le")
        self.lost_after(b"HTTP/1.1 20")

    def test_in_the_body(self) -> None:
        """The answer is lost, though it had begun."""
        self.lost_after(response(json.dumps(WRITTEN).encode())[:-1])
        self.lost_after(response(json.dumps(WRITTEN).encode())[:-1], clean=True)

    def test_truncated_chunks(self) -> None:
        """Chunks without the last one are not complete, however the connection ends."""
        self.lost_after(chunked(json.dumps(WRITTEN).encode(), end=False), clean=True)
        self.lost_after(chunked(json.dumps(WRITTEN).encode(), end=False))
        self.lost_after(chunked(json.dumps(WRITTEN).encode()[:7], end=False)[:-4])

    def test_in_the_request(self) -> None:
        """Half of it came to a server that may still answer: nothing was done, and it is not the request's fault."""
        for call in (self.put, self.get):
            pending = call()
            self.network.accept().answer({"code": 3, "message": "unexpected EOF"}, 400)
            self.assert_fails(pending, Unavailable, False, "not sent: the connection ended in the request")
        self.assert_works()

    def test_lease_calls(self) -> None:
        """What may be repeated is not known to have failed, but asking again does no harm."""
        pending = self.calls.call(schema.LEASE_LEASES, Empty())
        self.network.accept().lose()
        self.assert_fails(pending, Unavailable, False)


class States:
    """
    The states that a call can be in, to be left by a deadline or by cancelling.
    """

    network: Network

    def states(self: Any) -> list[tuple[str, Any, bool]]:
        """The name of each state, what brings a call there, and whether the request has left by then."""
        return [
            ("queued", self.queued, False),
            ("connecting", lambda: None, False),
            ("held", self.hold, False),
            ("sent", self.network.accept, True),
            ("in the headers", lambda: self.network.accept().send(b"HTTP/1.1 200 OK\r\nA: b"), True),
            ("in the body", lambda: self.network.accept().send(response(b"{}" * 50)[:-1]), True),
            ("in the chunks", lambda: self.network.accept().send(chunked(b"{}", end=False)), True),
            ("refused so far", lambda: self.network.accept().send(response(b"{}" * 50, 503)[:-1]), True),
        ]

    def queued(self) -> None:
        """Nothing happens: see :meth:`begin`."""

    def hold(self: Any) -> None:
        """The connection is there and has the request, but the system has not taken it yet."""
        self.clock.addWriter(self.network.accept())

    def begin(self: Any, state: str, call: Any) -> tuple[Deferred[Any], list[Deferred[Any]]]:
        """The call, and those that are before it if it shall wait in the queue."""
        before = [self.get(500.0) for _ in range(MAX_CONCURRENT)] if state == "queued" else []
        return call(), before


class DeadlineTests(States, GatewayCase):
    """The deadline is one of the whole call, whatever it waits for."""

    def test_deadline(self) -> None:
        """In each state, of a write and of a read: the error says whether it was sent, and the next call proceeds."""
        for state, reach, is_sent in self.states():
            for call, is_write in ((self.put, True), (self.get, False)):
                pending, before = self.begin(state, call)
                reach()
                self.clock.advance(9.99)
                self.assert_pending(pending)
                self.clock.advance(0.02)
                error = self.assert_fails(pending, Timeout, is_sent and is_write)
                self.assertIn("sent, but" if is_sent else "could not be sent", str(error), state)
                self.assertIsInstance(error, TimeoutError)
                for one in before:
                    self.cancelled(one)
                self.clock.advance(0)
                self.assert_works()

    def test_in_time(self) -> None:
        """Progress does not move the deadline."""
        pending = self.get()
        wire = self.network.accept()
        wire.send(chunked(end=False))
        for _ in range(9):
            self.clock.advance(1)
            wire.send(chunk(b" "))
        self.assert_pending(pending)
        self.clock.advance(1)
        self.assert_fails(pending, Timeout, False)
        self.clock.advance(0)

    def test_server_is_told_what_is_left(self) -> None:
        """Of a call that has waited for its turn, that is less."""
        active = [self.get() for _ in range(MAX_CONCURRENT)]
        waiting = self.put()
        wire = self.network.accept()
        self.assertEqual(wire.requests[0].headers["grpc-timeout"], "10100m")
        self.clock.advance(4)
        wire.answer(FOUND)
        self.assertEqual(wire.requests[1].headers["grpc-timeout"], "6100m")
        wire.answer(WRITTEN)
        self.successResultOf(waiting)
        for one in active[:-1]:
            self.cancelled(one)
        self.successResultOf(active[-1])
        self.clock.advance(0)

    def test_looking_up(self) -> None:
        """As long as nobody has said that there is no such host, nor does the error."""
        self.clock.installNameResolver(Unheard())
        pending = self.put()
        self.clock.advance(10)
        late = "could not be sent within 10 seconds: the DNS lookup of 'etcd.example' was not answered yet"
        self.assert_fails(pending, Timeout, False, late)

    def test_late_answer(self) -> None:
        """An answer past the deadline falls on closed ears."""
        pending = self.put()
        wire = self.network.accept()
        self.clock.advance(10)
        self.assert_fails(pending, Timeout, True)
        wire.answer(WRITTEN)
        self.clock.advance(0)
        self.assertTrue(wire.is_lost)

    def test_default(self) -> None:
        """Ten seconds, if nothing is said."""
        pending = self.calls.call(schema.RANGE, GET)
        self.clock.advance(9.9)
        self.assert_pending(pending)
        self.clock.advance(0.2)
        self.assert_fails(pending, Timeout, False)


class CancelTests(States, GatewayCase):
    """Cancelling fires at once, drops the connection, and frees the place in the queue."""

    def test_cancel(self) -> None:
        """In each state."""
        for state, reach, is_sent in self.states():
            for call, is_write in ((self.put, True), (self.get, False)):
                pending, before = self.begin(state, call)
                reach()
                pending.cancel()
                error = self.failureResultOf(pending, CancelledError).value
                self.assertIs(error.maybe_applied, is_sent and is_write, state)
                for one in before:
                    self.cancelled(one)
                self.clock.advance(0)
                self.assertEqual(self.network.open, [], state)
                self.assert_works()

    def test_queue_goes_on(self) -> None:
        """Whoever waits is served when another is cancelled, and the cancelled ones never."""
        active = [self.get() for _ in range(MAX_CONCURRENT)]
        first, second, third = self.put(value=b"1"), self.put(value=b"2"), self.put(value=b"3")
        self.cancelled(first)
        self.cancelled(active[0])
        self.network.accept()
        self.assertEqual([request.json["value"] for request in self.network.wires[-1].requests], ["Mg=="])
        self.network.wires[-1].answer(WRITTEN)
        self.successResultOf(second)
        self.network.wires[-1].answer(WRITTEN)
        self.successResultOf(third)
        for one in active[1:]:
            self.cancelled(one)
        self.clock.advance(0)

    def test_cancel_in_a_callback(self) -> None:
        """A callback may cancel another call, and itself."""
        other = self.get()
        self.network.accept()
        first = self.get()
        first.addCallback(lambda _: (other.cancel(), first.cancel()))
        self.network.accept().answer(FOUND)
        self.successResultOf(first)
        self.failureResultOf(other, CancelledError)
        self.clock.advance(0)
        self.assert_works()

    def test_twice(self) -> None:
        """Once is enough."""
        pending = self.get()
        self.network.accept()
        self.cancelled(pending)
        pending.cancel()
        self.clock.advance(0)


class RefusedTests(GatewayCase):
    """A refusal that is complete counts, however the connection ends then."""

    REFUSAL = b'{"code":5,"message":"etcdserver: requested lease not found"}'

    def test_of_a_call(self) -> None:
        for end in (lambda wire: wire.lose(), lambda wire: wire.send(b"0\r\nGrpc-Trailer: nonsense")):
            pending = self.put()
            wire = self.network.accept()
            wire.send(chunked(self.REFUSAL, end=False, status=404))
            end(wire)
            wire.lose()
            self.assertIs(self.failureResultOf(pending, LeaseNotFound).value.maybe_applied, False)
            self.clock.advance(0)

    def test_of_a_stream(self) -> None:
        stream = self.gateway.stream(URL, schema.SNAPSHOT, Empty(), print, Metadata())
        wire = self.network.accept()
        wire.send(chunked(self.REFUSAL, end=False, status=404))
        wire.lose()
        self.failureResultOf(stream.ended, LeaseNotFound)

    def test_cut(self) -> None:
        """One that is not complete does not."""
        pending = self.put()
        wire = self.network.accept()
        wire.send(chunked(self.REFUSAL[:-1], end=False, status=404))
        wire.lose()
        self.failureResultOf(pending, OutcomeUnknown)


class CloseTests(GatewayCase):
    """Closing ends everything."""

    def test_close(self) -> None:
        """Calls that wait, connect or fly, and streams, end with Closed."""
        flying = [self.put() for _ in range(3)]
        for at in range(3):
            self.network.accept(at)
        self.network.wires[0].send(chunked(b"{", end=False))
        others = [self.get() for _ in range(50)]
        stream = self.calls.stream(schema.SNAPSHOT, Empty(), print)
        closed = self.gateway.close()
        for one in (*flying, *others, stream.ended):
            self.failureResultOf(one, Closed)
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(all(wire.is_lost for wire in self.network.wires))

    def test_maybe_applied(self) -> None:
        """A write that had been sent may have been applied; one that had not was not, and a read never is."""
        for close in (lambda: self.calls.close(), lambda: self.gateway.close()):
            self.use(Gateway(self.clock, 5.0))
            sent = self.put()
            self.network.accept()
            read = self.get()
            self.network.accept()
            held = self.put()
            self.clock.addWriter(self.network.accept())
            connecting = self.put()
            for waiting, maybe_applied in ((sent, True), (read, False), (held, False), (connecting, False)):
                waiting.addBoth(lambda failure, wanted=maybe_applied: (failure.value, wanted))
            close()
            found = [self.successResultOf(waiting) for waiting in (sent, read, held, connecting)]
            self.clock.advance(0)
            for error, wanted in found:
                self.assertIsInstance(error, Closed)
                self.assertIs(error.maybe_applied, wanted, error)

    def test_nothing_is_sent_any_more(self) -> None:
        """A call that waits in the queue does not get its turn because those before it are closed."""
        pending = [self.put() for _ in range(50)]
        self.gateway.close()
        for one in pending:
            self.failureResultOf(one, Closed)
        self.assertEqual(self.network.attempts, MAX_CONCURRENT)

    def test_no_connection_is_left(self) -> None:
        """It has closed when no connection is left: of idle ones, of calls, and of streams."""
        idle = self.get()
        self.network.accept().answer(FOUND)
        self.successResultOf(idle)
        closed = self.gateway.close()
        self.assert_pending(closed)
        self.clock.advance(0)
        self.successResultOf(closed)

        self.use(Gateway(self.clock, 5.0))
        flying = self.get()
        self.network.accept()
        stream = self.gateway.stream(URL, schema.SNAPSHOT, Empty(), print, Metadata())
        self.network.accept().send(chunked(b'{"result":{}}\n', end=False))
        closed = self.gateway.close()
        self.failureResultOf(flying, Closed)
        self.failureResultOf(stream.ended, Closed)
        still_open = self.network.open
        fired_early = closed.called and bool(still_open)
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assertFalse(fired_early, "it fired while connections were open")

    def test_twice(self) -> None:
        """There is nothing left to close then."""
        self.gateway.close()
        self.successResultOf(self.gateway.close())


@implementer(IAgent)
class ScriptedAgent:
    """An agent that does what it is told."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.uris: list[bytes] = []

    def request(self, method: bytes, uri: bytes, headers: Any = None, body: Any = None) -> Deferred[Any]:
        self.uris.append(uri)
        result = self.result
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, Deferred)
        return result


class AgentTests(GatewayCase):
    """The user's own agent, or pool."""

    def test_agent(self) -> None:
        """An agent is used for calls and for streams."""
        self.use(Gateway(self.clock, 5.0, agent=Agent(self.clock, connectTimeout=77)))
        pending = self.get()
        stream = self.gateway.stream(URL, schema.SNAPSHOT, Empty(), print, Metadata())
        self.assertEqual([client[3] for client in self.clock.tcpClients], [77, 77])
        stream.abort()
        self.network.accept(0).answer(FOUND)
        self.assertEqual(self.successResultOf(pending), RANGE)
        self.clock.advance(0)

    def test_pool(self) -> None:
        """A pool is used for calls only, and not closed, because it is not ours."""
        pool = HTTPConnectionPool(self.clock)
        self.use(Gateway(self.clock, 5.0, pool=pool))
        stream = self.gateway.stream(URL, schema.SNAPSHOT, Empty(), print, Metadata())
        pending = self.get()
        self.network.accept().answer(FOUND)
        self.assertEqual(self.successResultOf(pending), RANGE)
        self.successResultOf(self.gateway.close())
        self.failureResultOf(stream.ended, Closed)
        self.assertFalse(self.network.wires[0].is_lost)
        pool.closeCachedConnections()
        self.clock.advance(0)

    def test_close_within_close(self) -> None:
        """Whoever is told that a call has ended may close again, or end the other calls."""
        for meddle in (lambda calls: self.gateway.close(), lambda calls: [call.cancel() for call in calls]):
            self.use(Gateway(self.clock, 5.0))
            calls = [self.put() for _ in range(3)]
            for call in calls:
                call.addErrback(lambda _, calls=calls, meddle=meddle: meddle(calls) and None)
            closed = self.gateway.close()
            self.clock.advance(0)
            self.successResultOf(closed)
            self.assertEqual([self.successResultOf(call) for call in calls], [None] * 3)

    def test_close_with_a_pool(self) -> None:
        """Streams never belong to the user's pool: their connections are gone when it has closed."""
        pool = HTTPConnectionPool(self.clock)
        self.use(Gateway(self.clock, 5.0, pool=pool))
        stream = self.gateway.stream(URL, schema.SNAPSHOT, Empty(), print, Metadata())
        wire = self.network.accept(is_polite=True)
        wire.send(chunked(b'{"result":{}}\n', end=False))
        closed = self.gateway.close()
        self.failureResultOf(stream.ended, Closed)
        fired_early = closed.called
        self.clock.advance(0)
        is_lost = wire.is_lost
        wire.close()
        self.successResultOf(closed)
        self.assertEqual((fired_early, is_lost), (False, True))

    def test_wrong_types(self) -> None:
        """Neither is anything else."""
        for arguments, wanted in (
            ({"agent": object()}, TypeError),
            ({"agent": Agent}, TypeError),
            ({"pool": object()}, TypeError),
            ({"pool": Agent(self.clock)}, TypeError),
            ({"pool": HTTPConnectionPool(self.clock), "agent": Agent(self.clock)}, ValueError),
        ):
            self.assertRaises(wanted, Gateway, self.clock, 5.0, **arguments)

    def agent(self, result: Any) -> None:
        """Goes on with an agent that does that."""
        self.use(Gateway(self.clock, 5.0, agent=ScriptedAgent(result)))

    def test_agent_fails(self) -> None:
        """An agent that fails before it looked at the body has sent nothing."""
        for error in (ZeroDivisionError("odd"), DNSLookupError("no such name")):
            self.agent(fail(error))
            self.assert_fails(self.put(), Unavailable, False, "not sent")

    def test_agent_raises(self) -> None:
        """An agent that raises is no worse: the place in the queue is given back."""
        self.agent(ZeroDivisionError("odd"))
        for _ in range(2 * MAX_CONCURRENT):
            self.assert_fails(self.put(), Unavailable, False, "not sent")

    def test_name_that_is_not_ascii(self) -> None:
        """The name of a host may have any letters."""
        pending = self.gateway.call("http://b\u00fccher.example:2379", schema.PUT, PUT, 10.0, Metadata())
        wire = self.network.accept()
        self.assertEqual(wire.requests[0].headers["host"], "xn--bcher-kva.example:2379")
        wire.answer(WRITTEN)
        self.successResultOf(pending)

    def test_name_with_an_underscore(self) -> None:
        """Containers have such names."""
        pending = self.gateway.call("http://etcd_1:2379", schema.PUT, PUT, 10.0, Metadata())
        self.network.accept().answer(WRITTEN)
        self.successResultOf(pending)

    def test_name_that_is_none(self) -> None:
        """A host that cannot exist is refused with the URL, or fails each call and stream; nothing is left."""
        for host in ("-", "b\u00fc_cher"):
            try:
                client = Client(self.clock, f"http://{host}:2379", retry=never)
            except ValueError:
                continue
            for _ in range(2 * MAX_CONCURRENT):
                pending = client.get(b"key")
                self.clock.advance(1)
                self.failureResultOf(pending, Unavailable)
            watch = client.watcher(b"key")
            started = watch.when_started()
            self.clock.advance(1)
            self.failureResultOf(started, Unavailable)

    def test_agent_that_is_at_once_there(self) -> None:
        """However many calls wait, an agent that answers at once does not pile them up on the stack."""
        active: list[Deferred[Any]] = []

        def request(*_: Any, **__: Any) -> Deferred[Any]:
            if len(active) == MAX_CONCURRENT:
                return fail(DNSLookupError("no such name"))
            active.append(Deferred())
            return active[-1]

        agent = ScriptedAgent(None)
        agent.request = request  # type: ignore[method-assign]  # another script
        self.use(Gateway(self.clock, 5.0, agent=agent))
        pending = [self.get() for _ in range(2000)]
        for one in active:
            one.errback(DNSLookupError("no such name"))
        failed = [one for one in pending if one.called]
        for one in pending:
            one.addErrback(lambda failure: failure.trap(Unavailable))
            one.cancel()
        self.assertEqual(len(failed), 2000)


class Half:
    """A transport that can only be closed politely."""

    def __init__(self) -> None:
        self.is_closed = False

    def loseConnection(self) -> None:
        self.is_closed = True


class DropTests(GatewayCase):
    """How a response's connection is dropped."""

    def test_drop(self) -> None:
        """Without waiting for the peer, where that can be had."""
        half = Half()
        _gateway._drop(half)
        self.assertTrue(half.is_closed)
        wire = Wire(self.clock, None)
        wire.is_lost = True
        _gateway._drop(wire)
        self.assertTrue(wire.is_aborted)
        self.clock.advance(0)

    def test_peer_that_says_nothing(self) -> None:
        """With TLS a polite end waits for the peer. A call that is over must not: the peer may be gone."""
        for begun in (b"", response(b"{}" * 50)[:-1]):
            pending = self.get()
            wire = self.network.accept(is_polite=True)
            wire.send(begun)
            self.cancelled(pending)
            self.clock.advance(0)
            is_lost = wire.is_lost
            wire.close()
            self.assertTrue(is_lost, f"after {begun!r}")
