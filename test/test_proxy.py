"""
:class:`txetcd.testing.FaultyProxy` in memory: what its sockets do, on command, at random and on their own.
"""

from __future__ import annotations

import socket
from typing import Any, Optional

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from test.fakes import Reactor, Wire
from test.ports import free_ports
from txetcd.testing import FaultyProxy, ProxyConnection
from txetcd.testing._door import Door
from txetcd.testing._faults import DICE
from txetcd.testing._line import MAX_WAITING
from txetcd.testing._ports import is_accepting

TARGET = "http://127.0.0.1:2379"

class Listening:
    """A port that listens, and is closed in another turn of the reactor."""

    def __init__(self, reactor: ListeningReactor, port: int) -> None:
        self._reactor = reactor
        self._port = port

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", self._port)

    def stopListening(self) -> Deferred[None]:
        closed: Deferred[None] = Deferred()
        self._reactor.listening.remove(self)
        self._reactor.callLater(0, closed.callback, None)
        return closed


class ListeningReactor(Reactor):
    """
    A reactor that listens on a port that is free in truth.

    :ivar asked_for: the ports that it was asked for; 0 is any.
    :ivar listening: what listens.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked_for: list[int] = []
        self.listening: list[Listening] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        assert interface == "127.0.0.1"
        self.asked_for.append(port)
        self.factory = factory
        self.listening.append(Listening(self, port or free_ports(1)[0]))
        return self.listening[-1]


class Socket(Wire):
    """
    A socket of the proxy, seen from its peer.

    :ivar is_slow: whether the peer does not read.
    :ivar is_half_closed: whether the peer was told that nothing more comes.
    :ivar writes: what was written, piece by piece.
    """

    is_slow = is_half_closed = False

    def __init__(self, clock: Any, protocol: Any) -> None:
        super().__init__(clock, protocol)
        self.writes: list[bytes] = []
        protocol.makeConnection(self)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        producer.resumeProducing()

    def write(self, data: bytes) -> None:
        assert not self.is_half_closed and not self.disconnecting
        super().write(data)
        self.writes.append(data)
        if not self.is_slow:
            self._clock.callLater(0, self.read)

    def read(self) -> None:
        """The peer has read everything."""
        if self.producer is not None and not self.is_lost:
            self.producer.resumeProducing()

    def loseWriteConnection(self) -> None:
        assert self.producer is None, "or it would never be closed"
        self.is_half_closed = True

    def loseConnection(self) -> None:
        assert self.producer is None, "or it would never be closed"
        super().loseConnection()

    def lose(self, reason: Optional[Exception] = None) -> None:
        if not self.is_lost and self.producer is not None:
            self.producer.stopProducing()
        super().lose(reason)

    def finish(self) -> None:
        """The peer will not send any more."""
        self.protocol.readConnectionLost()

    @property
    def end(self) -> Optional[str]:
        """How the proxy has ended it."""
        if self.is_aborted:
            return "reset"
        if self.disconnecting:
            return "close"
        return "half_close" if self.is_half_closed else None


class ProxyCase(SynchronousTestCase):
    """A proxy that was started, and that leaves nothing."""

    def setUp(self) -> None:
        self.reactor = ListeningReactor()
        self.proxy = FaultyProxy(self.reactor, TARGET, seed=1)
        self.assertIs(self.successResultOf(self.proxy.start()), self.proxy)

    def tearDown(self) -> None:
        stopping = self.proxy.stop()
        self.turn()
        self.turn()
        self.successResultOf(stopping)
        self.assertEqual(self.proxy.connections, [])
        self.assertEqual(self.reactor.listening, [])
        self.assertEqual([str(call) for call in self.reactor.getDelayedCalls()], [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def turn(self, seconds: float = 0) -> None:
        """Time passes; by default none, and everything has its turn."""
        self.reactor.advance(seconds)

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.turn()

    def knock(self) -> Socket:
        """A client connects; the proxy has not reached the server yet."""
        return Socket(self.reactor, self.reactor.factory.buildProtocol(None))

    def answer_the_door(self) -> Socket:
        """The server accepts the last connection that was tried."""
        # as an endpoint does, which wraps the protocol
        return Socket(self.reactor, self.reactor.tcpClients[-1][2].buildProtocol(None))

    def refuse_at_the_door(self) -> None:
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    def connect(self) -> tuple[Socket, Socket]:
        """The sockets of a client and of the server."""
        return self.knock(), self.answer_the_door()

    def exchange(self, client: Socket, server: Socket) -> None:
        """A request and its answer, which pass."""
        self.pass_on(client, server, b"question")
        self.pass_on(server, client, b"answer")

    def pass_on(self, sender: Socket, receiver: Socket, data: bytes) -> None:
        receiver.clear()
        sender.send(data)
        self.turn()
        self.assertEqual(receiver.value(), data)


class FaithfulTests(ProxyCase):
    """What passes while nothing was commanded."""

    def test_to_the_target(self) -> None:
        client, server = self.connect()
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("127.0.0.1", 2379))
        for _ in range(2):
            self.exchange(client, server)
        self.assertEqual((self.proxy.bytes_to_server, self.proxy.bytes_to_client), (16, 12))
        self.assertEqual((self.proxy.accepted, len(self.proxy.connections), self.proxy.faults), (1, 1, {}))

    def test_before_the_server_is_reached(self) -> None:
        client = self.knock()
        client.send(b"early")
        server = self.answer_the_door()
        self.assertEqual(server.value(), b"early")

    def test_server_is_not_reached(self) -> None:
        client = self.knock()
        client.send(b"early")
        self.assertIsNone(client.end)
        self.refuse_at_the_door()
        self.assertEqual(client.end, "reset")
        self.turn()
        self.assertEqual(self.proxy.connections, [])

    def test_client_goes_before_the_server_is_reached(self) -> None:
        """What it has sent reaches the server all the same, and then the reset."""
        client = self.knock()
        client.send(b"early")
        client.lose()
        server = self.answer_the_door()
        self.assertEqual((server.value(), server.end), (b"early", None))
        self.turns(2)
        self.assertEqual(server.end, "reset")

    def test_client_goes_and_the_server_is_not_reached(self) -> None:
        client = self.knock()
        client.lose()
        self.refuse_at_the_door()
        self.assertEqual(self.proxy.connections, [])

    def test_one_write_at_a_time(self) -> None:
        """The next when the kernel has the last."""
        client, server = self.connect()
        server.is_slow = True
        for piece in (b"a", b"b", b"c"):
            client.send(piece)
        self.assertEqual(server.writes, [b"a"])
        server.read()
        self.assertEqual(server.writes, [b"a", b"b"])
        server.is_slow = False
        server.read()
        self.turn()
        self.assertEqual(server.value(), b"abc")

    def test_backpressure(self) -> None:
        """Who does not read stops the other side, in both directions; and nothing is lost."""
        for sender, receiver in (self.connect(), self.connect()[::-1]):
            receiver.is_slow = True
            count = 0
            while not sender.is_paused:
                sender.send(bytes(65536))
                count += 1
            # one is in the kernel
            self.assertEqual(count, 1 + MAX_WAITING // 65536)
            receiver.is_slow = False
            receiver.read()
            self.assertFalse(sender.is_paused)
            self.turns(count)
            self.assertEqual(len(receiver.value()), count * 65536)

    def test_half_close(self) -> None:
        """The one direction ends, and the other goes on, until it ends as well."""
        for number in range(2):
            client, server = self.connect()
            first, second = (client, server) if number else (server, client)
            first.send(b"last")
            first.finish()
            self.assertEqual((second.value(), second.end), (b"last", None))
            self.turn()
            self.assertEqual((second.end, first.end), ("half_close", None))
            self.pass_on(second, first, b"more")
            second.finish()
            self.turn()
            self.assertEqual((first.end, second.end), ("close", "close"))
            self.turn()
            self.assertEqual(self.proxy.connections, [])

    def test_reset(self) -> None:
        """It reaches the other side, behind what was sent."""
        for number in range(2):
            client, server = self.connect()
            first, second = (client, server) if number else (server, client)
            first.send(b"last")
            first.lose()
            self.assertEqual((second.value(), second.end), (b"last", None))
            self.turn()
            self.assertEqual(second.end, "reset")
            self.turn()
            self.assertEqual(self.proxy.connections, [])

    def test_reset_after_a_half_close(self) -> None:
        client, server = self.connect()
        client.finish()
        self.turn()
        client.lose()
        self.turn()
        # the server was told that nothing more comes; now it cannot be heard either
        self.assertEqual(server.end, "half_close")
        server.finish()
        self.assertEqual(server.end, "close")
        self.turn()
        self.assertEqual(self.proxy.connections, [])

    def test_connections(self) -> None:
        """What is told of them."""
        client, server = self.connect()
        self.connect()
        first, second = self.proxy.connections
        self.assertIsInstance(first, ProxyConnection)
        self.assertEqual((first.number, repr(second)), (1, "<ProxyConnection 2>"))
        self.assertEqual((first.request, first.answer), (b"", b""))
        self.exchange(client, server)
        self.assertEqual((first.request, first.answer), (b"question", b"answer"))
        client.send(b"next")
        self.assertEqual((first.request, first.answer), (b"next", b""))
        self.assertIs(self.proxy.connections[0], first)
        client.lose()
        self.turns(2)
        self.assertEqual(self.proxy.connections, [second])
        self.assertEqual(self.proxy.accepted, 2)


class FaultyTests(ProxyCase):
    """Faults on command."""

    def assert_ended(self, how: str, *sockets: Socket) -> None:
        self.assertEqual([one.end for one in sockets], [how] * len(sockets))
        self.turn()
        self.assertEqual(self.proxy.connections, [])

    def test_drop(self) -> None:
        for how in ("close", "reset"):
            sockets = [*self.connect(), *self.connect()]
            self.proxy.drop(how)
            self.assert_ended(how, *sockets)
        self.assertEqual(self.proxy.faults, {"drop": 4})

    def test_drop_one(self) -> None:
        sockets = self.connect()
        others = self.connect()
        self.proxy.connections[0].drop("reset")
        self.turn()
        self.assertEqual([one.end for one in sockets], ["reset", "reset"])
        self.exchange(*others)

    def test_drop_twice(self) -> None:
        """A peer that does not read what was passed on does not keep a socket from being reset."""
        sockets = self.connect()
        self.proxy.drop()
        self.proxy.drop("reset")
        self.assert_ended("reset", *sockets)

    def test_drop_while_the_server_is_not_reached(self) -> None:
        client = self.knock()
        self.proxy.drop()
        self.assertTrue(self.reactor.connectors[-1].stoppedConnecting)
        self.assert_ended("close", client)

    def test_delayed_is_lost_with_its_connection(self) -> None:
        client, server = self.connect()
        self.proxy.delay(1)
        client.send(b"late")
        self.proxy.drop()
        self.turn(2)
        self.assertEqual(server.value(), b"")

    def test_half_close(self) -> None:
        client, server = self.connect()
        self.proxy.half_close()
        self.assertEqual((client.end, server.end), ("half_close", None))
        self.pass_on(client, server, b"still")
        server.send(b"nobody hears")
        self.turn()
        self.assertEqual(client.value(), b"")
        self.proxy.connections[0].half_close("to_server")
        self.assertEqual(self.proxy.faults, {"half_close": 2})
        self.assert_ended("close", client, server)

    def test_half_close_behind_what_was_written(self) -> None:
        client, server = self.connect()
        client.send(b"before")
        self.proxy.half_close("to_server")
        self.assertEqual((server.value(), server.end), (b"before", None))
        self.turn()
        self.assertEqual((server.end, client.end), ("half_close", None))

    def test_half_close_before_the_server_is_reached(self) -> None:
        client = self.knock()
        self.proxy.half_close("to_server")
        self.assertEqual(self.answer_the_door().end, "half_close")
        self.assertIsNone(client.end)

    def test_black_hole(self) -> None:
        """Open, and silent; so are new ones; and those that lost bytes never speak again."""
        client, server = self.connect()
        idle = self.connect()
        self.proxy.black_hole()
        for one, other in ((client, server), (server, client), self.connect()):
            one.send(b"lost")
            self.turn()
            self.assertEqual((other.value(), other.end), (b"", None))
        self.proxy.behave()
        self.turn()
        self.assertEqual([client.end, server.end], ["reset", "reset"])
        self.assertEqual(len(self.proxy.connections), 1)
        self.exchange(*idle)

    def test_black_hole_of_requests(self) -> None:
        client, server = self.connect()
        self.proxy.black_hole("to_server")
        self.pass_on(server, client, b"heard")
        client.send(b"lost")
        self.turn()
        self.assertEqual(server.value(), b"")
        self.pass_on(server, client, b"still heard")

    def test_black_hole_of_answers(self) -> None:
        client, server = self.connect()
        self.proxy.black_hole("to_client")
        self.pass_on(client, server, b"heard")
        server.send(b"lost")
        self.turn()
        self.assertEqual(client.value(), b"")

    def test_black_hole_swallows_ends(self) -> None:
        """The server learns neither of a client that closes, nor of one that crashes."""
        self.proxy.black_hole("to_server")
        for leave in (Socket.finish, Socket.lose):
            client, server = self.connect()
            leave(client)
            self.turn()
            self.assertIsNone(server.end)
        # of a socket that nobody is behind any more nothing is kept when the server goes
        server.finish()
        self.assertEqual(server.end, "close")
        self.turn()
        self.assertEqual(len(self.proxy.connections), 1)

    def test_delay(self) -> None:
        client, server = self.connect()
        self.proxy.delay(0.5)
        client.send(b"question")
        self.turn(0.25)
        self.assertEqual(server.value(), b"")
        self.turn(0.25)
        self.assertEqual(server.value(), b"question")
        self.turn()
        server.send(b"answer")
        self.turn(0.5)
        self.assertEqual(client.value(), b"answer")
        self.assertEqual(self.proxy.faults, {"delay": 1})

    def test_delay_one_direction(self) -> None:
        client, server = self.connect()
        self.proxy.delay(0.5, "to_client")
        self.pass_on(client, server, b"question")
        server.send(b"answer")
        self.turn()
        self.assertEqual(client.value(), b"")
        self.turn(0.5)
        self.assertEqual(client.value(), b"answer")

    def test_held_until_told_otherwise(self) -> None:
        client, server = self.connect()
        for release in (lambda: self.proxy.delay(0), self.proxy.behave):
            self.proxy.delay(3600, "to_client")
            client.clear()
            server.send(b"held")
            self.turn(10)
            self.assertEqual(client.value(), b"")
            release()
            self.assertEqual(client.value(), b"held")
            self.turn()

    def test_delay_stops_reading(self) -> None:
        """Memory is not filled by what is late."""
        client, server = self.connect()
        self.proxy.delay(1, "to_client")
        while not server.is_paused:
            server.send(bytes(65536))
        self.turn(1)
        self.turns(10)
        self.assertFalse(server.is_paused)
        self.assertEqual(len(client.value()), MAX_WAITING)

    def test_throttle(self) -> None:
        client, server = self.connect()
        self.proxy.throttle(200, "to_client")
        server.send(bytes(30))
        self.assertEqual(len(client.value()), 10)
        self.turn()
        self.turn(0.025)
        self.assertEqual(len(client.value()), 10)
        self.turn(0.025)
        self.assertEqual(len(client.value()), 20)
        self.turn()
        self.turn(0.06)
        self.assertEqual(len(client.value()), 30)

    def test_bytewise(self) -> None:
        client, server = self.connect()
        self.proxy.bytewise("to_client")
        server.send(b"abc")
        self.assertEqual(client.writes, [b"a"])
        self.turn()
        self.assertEqual(client.writes, [b"a", b"b", b"c"])
        self.pass_on(client, server, b"whole")

    def test_cut_request(self) -> None:
        for how in ("reset", "close"):
            client, server = self.connect()
            self.proxy.cut_request(how=how)
            client.send(b"question")
            self.assertEqual(server.value(), b"")
            self.assert_ended(how, client, server)
            self.proxy.behave()
        self.assertEqual(self.proxy.faults, {"cut_request": 2})

    def test_cut_request_before_the_server_is_reached(self) -> None:
        client = self.knock()
        self.proxy.cut_request()
        client.send(b"question")
        server = self.answer_the_door()
        self.assertEqual(server.value(), b"")
        self.assert_ended("reset", client, server)

    def test_cut_inside_a_request(self) -> None:
        """The reset waits until what comes before has left."""
        client, server = self.connect()
        self.proxy.cut_request(4)
        server.is_slow = True
        client.send(b"question")
        self.turn()
        self.assertEqual((server.value(), server.end, client.end), (b"ques", None, None))
        server.read()
        self.assert_ended("reset", client, server)

    def test_cut_answer(self) -> None:
        for how in ("reset", "close"):
            client, server = self.connect()
            self.proxy.cut_answer(how=how)
            self.pass_on(client, server, b"question")
            self.assertIsNone(client.end)
            server.send(b"answer")
            self.assertEqual(client.value(), b"")
            self.assert_ended(how, client, server)
            self.proxy.behave()

    def test_cut_inside_an_answer(self) -> None:
        client, server = self.connect()
        self.exchange(client, server)
        self.turn()
        self.proxy.cut_answer(7)
        self.pass_on(client, server, b"another")
        client.clear()
        server.send(b"answer")
        self.turn()
        self.assertEqual((client.value(), client.end), (b"answer", None))
        server.send(b"more")
        self.assertEqual((client.value(), client.end), (b"answerm", None))
        self.turn()
        self.assert_ended("reset", client, server)

    def test_half_closed_answer(self) -> None:
        """The client reads the end of half an answer, and may still send."""
        client, server = self.connect()
        self.proxy.cut_answer(3, "half_close")
        self.pass_on(client, server, b"question")
        server.send(b"answer")
        self.turn()
        self.assertEqual((client.value(), client.end, server.end), (b"ans", "half_close", None))
        server.send(b"more")
        self.pass_on(client, server, b"another")
        self.assertEqual(client.value(), b"ans")

    def test_cut_line(self) -> None:
        client, server = self.connect()
        self.exchange(client, server)
        self.turn()
        self.proxy.cut_line()
        client.clear()
        server.send(b"8\r\n1234567890\r\n")
        self.turn()
        self.assertEqual(client.value(), b"8\r\n123456")
        self.assert_ended("close", client, server)

    def test_replace_answer(self) -> None:
        client, server = self.connect()
        self.proxy.replace_answer(b"sorry")
        self.pass_on(client, server, b"question")
        server.send(b"answer")
        self.turn()
        self.assertEqual(client.value(), b"sorry")
        self.assert_ended("close", client, server)

    def test_count(self) -> None:
        """The next one, on whatever connection, and then no more."""
        first, second = self.connect(), self.connect()
        self.proxy.cut_answer(count=1)
        for client, server in (first, second):
            client.send(b"question")
        self.turn()
        for _, server in (first, second):
            server.send(b"answer")
        self.turn()
        self.assertEqual([client.end for client, _ in (first, second)], ["reset", None])
        self.assertEqual(second[0].value(), b"answer")
        self.assertEqual(self.proxy.faults, {"cut_answer": 1})

    def test_count_of_delays(self) -> None:
        """One request with its answer, and not the next on the same connection."""
        client, server = self.connect()
        self.proxy.delay(1, count=1)
        for sender, receiver in ((client, server), (server, client)):
            sender.send(b"late")
            self.assertEqual(receiver.value(), b"")
            self.turn(1)
            self.assertEqual(receiver.value(), b"late")
            self.turn()
        self.exchange(client, server)

    def test_where(self) -> None:
        """By what is asked for."""
        first, second = self.connect(), self.connect()
        self.proxy.cut_answer(where=lambda connection: connection.request.startswith(b"this"))
        for (client, server), request in ((first, b"that one"), (second, b"this one")):
            self.pass_on(client, server, request)
            server.send(b"answer")
            self.turn()
        self.assertEqual([client.end for client, _ in (first, second)], [None, "reset"])

    def test_misbehave(self) -> None:
        """The same again with the same seed, another with another."""

        def fates(seed: int) -> list[Optional[str]]:
            proxy = self.proxy = FaultyProxy(self.reactor, TARGET, seed=seed)
            self.successResultOf(proxy.start())
            proxy.misbehave(0.5, ["cut_request", "cut_answer"])
            found = []
            for _ in range(50):
                client, server = self.connect()
                client.send(b"question")
                server.send(b"answer")
                self.turns(3)
                found.append(client.end)
            self.assertEqual(sum(proxy.faults.values()), len(found) - found.count(None))
            proxy.stop()
            self.turns(3)
            return found

        stopping = self.proxy.stop()
        self.turns(2)
        self.successResultOf(stopping)
        first = fates(7)
        self.assertEqual(first, fates(7))
        self.assertNotEqual(first, fates(8))
        self.assertTrue({None, "close", "reset"} <= set(first))

    def test_behave(self) -> None:
        """No fault any more, and what was not hurt goes on."""
        client, server = self.connect()
        self.proxy.delay(10)
        self.proxy.throttle(1)
        self.proxy.bytewise()
        self.proxy.misbehave(1, ["cut_request"])
        self.proxy.behave()
        self.exchange(client, server)
        self.assertEqual(self.proxy.faults, {})


class LifeTests(ProxyCase):
    """Started, refusing, accepting, stopped."""

    def test_repr(self) -> None:
        self.connect()
        self.assertEqual(repr(self.proxy), f"<FaultyProxy {self.proxy.url} to {TARGET} seed=1 connections=1>")
        unstarted = FaultyProxy(self.reactor, TARGET, seed=2)
        self.assertEqual(repr(unstarted), f"<FaultyProxy to {TARGET} seed=2 connections=0>")

    def test_url(self) -> None:
        """That of the target, at another place."""
        port = self.proxy.url.rpartition(":")[2]
        self.assertEqual(self.proxy.url, f"http://127.0.0.1:{port}")
        proxy = FaultyProxy(self.reactor, "https://etcd.example/behind/")
        self.assertIn("no URL before it was started", str(self.assertRaises(RuntimeError, lambda: proxy.url)))
        self.successResultOf(proxy.start())
        self.assertRegex(proxy.url, "^https://127.0.0.1:[0-9]+/behind$")
        self.knock()
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("etcd.example", 443))
        proxy.stop()
        self.turns(3)

    def test_seed(self) -> None:
        """It is told, so that what it has done can be done again."""
        seeds = {FaultyProxy(self.reactor, TARGET).seed for _ in range(10)}
        self.assertGreater(len(seeds), 5)
        self.assertEqual(FaultyProxy(self.reactor, TARGET, seed=7).seed, 7)

    def test_started_twice(self) -> None:
        error = self.assertRaises(RuntimeError, self.proxy.start)
        self.assertEqual(str(error), f"{self.proxy!r} was started already")

    def test_no_port(self) -> None:
        """It can be tried again."""
        proxy = FaultyProxy(self.reactor, TARGET)

        def listen(*_: Any, **__: Any) -> None:
            raise CannotListenError("127.0.0.1", 0, OSError("none is free"))

        self.patch(self.reactor, "listenTCP", listen)
        for _ in range(2):
            self.failureResultOf(proxy.start(), CannotListenError)

    def test_not_started(self) -> None:
        proxy = FaultyProxy(self.reactor, TARGET, seed=1)
        for call in (proxy.refuse, proxy.accept):
            self.assertEqual(str(self.assertRaises(RuntimeError, call)), f"{proxy!r} is not started")

    def test_stop(self) -> None:
        """At once nothing is passed on; it fires when all is gone; and it can be started again."""
        client, server = self.connect()
        knocking = self.knock()
        self.proxy.delay(1)
        client.send(b"late")
        url = self.proxy.url
        stopping = self.proxy.stop()
        self.proxy.behave()
        self.assertEqual([one.end for one in (client, server, knocking)], ["reset"] * 3)
        self.assertNoResult(stopping)
        self.turns(2)
        self.assertIsNone(self.successResultOf(stopping))
        self.assertEqual(server.value(), b"")
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.successResultOf(self.proxy.start())
        self.assertEqual(self.proxy.url, url)
        self.exchange(*self.connect())

    def test_stopped_twice(self) -> None:
        first, second = self.proxy.stop(), self.proxy.stop()
        self.turns(2)
        self.successResultOf(first)
        self.successResultOf(second)

    def test_never_started(self) -> None:
        self.assertIsNone(self.successResultOf(FaultyProxy(self.reactor, TARGET).stop()))

    def test_connection_that_comes_while_it_is_stopped(self) -> None:
        stopping = self.proxy.stop()
        late = self.knock()
        self.turns(2)
        self.assertEqual(late.end, "reset")
        self.successResultOf(stopping)

    def test_cancelled_stop(self) -> None:
        """The wait is given up, and it is stopped all the same."""
        self.connect()
        stopping = self.proxy.stop()
        stopping.cancel()
        self.failureResultOf(stopping, CancelledError)
        self.turns(2)
        self.assertEqual((self.proxy.connections, self.reactor.listening), ([], []))

    def test_faults_end_with_it(self) -> None:
        self.proxy.cut_request()
        self.proxy.stop()
        self.turns(2)
        self.successResultOf(self.proxy.start())
        self.exchange(*self.connect())

    def test_context(self) -> None:
        async def use() -> str:
            async with FaultyProxy(self.reactor, TARGET) as proxy:
                self.assertEqual(len(self.reactor.listening), 2)
                return proxy.url

        using = Deferred.fromCoroutine(use())
        self.turn()
        self.assertRegex(self.successResultOf(using), "^http://127.0.0.1:[0-9]+$")
        self.assertEqual(len(self.reactor.listening), 1)

    def test_refuse_and_accept(self) -> None:
        """The connections stay, and so does the port; each takes its turn."""
        client, server = self.connect()
        url = self.proxy.url
        refusing, accepting = self.proxy.refuse(), self.proxy.accept()
        self.assertEqual((self.reactor.listening, refusing.called), ([], False))
        self.turn()
        self.successResultOf(refusing)
        self.successResultOf(accepting)
        self.assertEqual((self.proxy.url, self.reactor.asked_for[0]), (url, 0))
        self.assertEqual([f":{port}" for port in self.reactor.asked_for[1:]], [url[url.rindex(":"):]])
        self.exchange(client, server)

    def test_twice(self) -> None:
        for command in (self.proxy.refuse, self.proxy.refuse, self.proxy.accept, self.proxy.accept):
            done = command()
            self.turn()
            self.successResultOf(done)
        self.assertEqual(len(self.reactor.listening), 1)

    def test_stopped_while_refusing(self) -> None:
        self.proxy.refuse()
        stopping = self.proxy.stop()
        self.turns(2)
        self.successResultOf(stopping)


class DoorTests(SynchronousTestCase):
    """The port is kept while it is shut."""

    def test_kept(self) -> None:
        reactor = ListeningReactor()
        door = Door(reactor, Any)
        self.successResultOf(door.open())
        self.addCleanup(door.leave)
        shutting = door.shut()
        reactor.advance(0)
        self.successResultOf(shutting)
        self.assertFalse(is_accepting(door.number))
        with socket.socket() as other:
            self.assertRaises(OSError, other.bind, ("127.0.0.1", door.number))
        self.successResultOf(door.leave())
        with socket.socket() as other:
            other.bind(("127.0.0.1", door.number))


MISUSE: list[tuple[Any, type[Exception], str]] = [
    (lambda proxy: proxy.drop("kick"), ValueError, "how must be one of close, reset, not 'kick'"),
    (lambda proxy: proxy.drop("half_close"), ValueError, "how must be one of close, reset, not 'half_close'"),
    (lambda proxy: proxy.half_close("up"), ValueError, "direction must be one of to_server, to_client, not 'up'"),
    (lambda proxy: proxy.black_hole(1), TypeError, "direction must be one of to_server, to_client (a str), not int"),
    (lambda proxy: proxy.black_hole(count=0), ValueError, "count must be between 1 and 9223372036854775807, not 0"),
    (lambda proxy: proxy.black_hole(where=b"/v3"), TypeError, "where must be callable, not bytes"),
    (lambda proxy: proxy.delay("1"), TypeError, "seconds must be a number, not str"),
    (lambda proxy: proxy.delay(-1), ValueError, "seconds must be between 0 and 1e+09, not -1"),
    (lambda proxy: proxy.delay(float("nan")), ValueError, "seconds must be between 0 and 1e+09, not nan"),
    (lambda proxy: proxy.delay(1, jitter=True), TypeError, "jitter must be a number, not bool"),
    (lambda proxy: proxy.throttle(0), ValueError, "bytes_per_second must be between 1 and 9223372036854775807, not 0"),
    (lambda proxy: proxy.throttle(0.5), TypeError, "bytes_per_second must be int, not float"),
    (lambda proxy: proxy.cut_request(-1), ValueError, "after must be between 0 and 9223372036854775807, not -1"),
    (lambda proxy: proxy.cut_answer(how="x"), ValueError, "how must be one of close, reset, half_close, not 'x'"),
    (lambda proxy: proxy.replace_answer("no"), TypeError, "instead must be bytes, not str; encode it: 'no'.encode()"),
    (lambda proxy: proxy.misbehave(2), ValueError, "rate must be between 0 and 1, not 2"),
    (lambda proxy: proxy.misbehave(None), TypeError, "rate must be a number, not NoneType"),
    (lambda proxy: proxy.misbehave(1, []), ValueError, "kinds must not be empty"),
    (lambda proxy: proxy.misbehave(1, "delay"), TypeError, "kinds must be a list of str, not str: put it in a list"),
    (lambda proxy: proxy.misbehave(1, ["refuse"]), ValueError, f"kinds must be one of {', '.join(DICE)}, not 'refuse'"),
]


class MisuseTests(SynchronousTestCase):
    """It is told at once, in words."""

    def test_commands(self) -> None:
        proxy = FaultyProxy(ListeningReactor(), TARGET)
        for call, kind, words in MISUSE:
            self.assertEqual(str(self.assertRaises(kind, call, proxy)), words)

    def test_arguments(self) -> None:
        reactor = ListeningReactor()
        error = self.assertRaises(TypeError, FaultyProxy, reactor, [TARGET])
        self.assertEqual(str(error), "target_url must be a str, not list")
        error = self.assertRaises(ValueError, FaultyProxy, reactor, "127.0.0.1:2379")
        self.assertIn("target_url must be like http://localhost:2379", str(error))
        self.assertRaises(TypeError, FaultyProxy, reactor, TARGET, seed="1")

    def test_urls_without_a_port(self) -> None:
        """Whatever a client may be given leads somewhere."""
        for url in ("http://localhost", "https://localhost", "grpc://localhost", "grpcs://localhost"):
            self.assertIn(f" to {url} ", repr(FaultyProxy(ListeningReactor(), url)))
