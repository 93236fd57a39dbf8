"""
Faults on the way: what is lost, cut, delayed and split between the client and a server, on every server.

What a call says of its fate is compared with what the server knows.
"""

from __future__ import annotations

import base64
from typing import Any, Callable, Optional

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from test.real.base import RealCase, on_every_server
from txetcd import (
    CompCreated,
    Event,
    KeySet,
    KeyValue,
    OpSet,
    OutcomeUnknown,
    ProtocolViolation,
    Timeout,
    Transaction,
    Unavailable,
    Watch,
)
from txetcd._clock import monotonic


class Outgoing(Protocol):
    """The side of a link that is connected to the server."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def connectionMade(self) -> None:
        self._link.relay.servers.append(self)
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self._link.relay.downstream(self._link, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._link.relay.servers.remove(self)
        self._link.transport.loseConnection()


class Link(Protocol):
    """
    A connection of a client, and the one to the server that belongs to it.

    :ivar relay: what it belongs to.
    :ivar path: of the last request.
    :ivar answered: how many bytes were passed on to the client.
    """

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.path = b""
        self.answered = 0
        self._server: Optional[Any] = None
        self._early: list[bytes] = []

    def connectionMade(self) -> None:
        self.relay.links.append(self)
        self.transport.setTcpNoDelay(True)
        connecting = connectProtocol(self.relay.target, Outgoing(self))
        connecting.addCallbacks(self._connected, lambda _: self.cut())

    def _connected(self, outgoing: Outgoing) -> None:
        self._server = outgoing.transport
        early, self._early = self._early, []
        for data in early:
            self.ask(data)
        if self not in self.relay.links:
            self._server.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if data.startswith(b"POST "):
            self.path = data.split(b" ", 2)[1]
        self.relay.upstream(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.relay.links.remove(self)
        if self._server is not None:
            self._server.loseConnection()

    def ask(self, data: bytes) -> None:
        """Passes on to the server."""
        if self._server is None:
            self._early.append(data)
        else:
            self._server.write(data)

    @property
    def is_watch(self) -> bool:
        """Whether it carries a watch that has started, or is about to."""
        return self.path == b"/v3/watch" and self.answered > 0

    def answer(self, data: bytes) -> None:
        """Passes on to the client."""
        self.answered += len(data)
        self.transport.write(data)

    def cut(self) -> None:
        """Ends both sides; what was passed on still arrives."""
        self.transport.loseConnection()
        if self._server is not None:
            self._server.loseConnection()

    def reset(self) -> None:
        """Ends both sides as a crash does."""
        self.transport.abortConnection()
        if self._server is not None:
            self._server.abortConnection()


class Relay(Factory):
    """
    Passes bytes between clients and a server, faithfully unless told otherwise.

    :ivar links: the connections of clients that there are.
    :ivar servers: the connections to the server that there are.
    :ivar upstream: called with a link and what its client sent.
    :ivar downstream: called with a link and what the server answered on it.
    """

    noisy = False

    def __init__(self, reactor: Any, target_url: str) -> None:
        host, _, port = target_url.rpartition("//")[2].partition(":")
        self.target = TCP4ClientEndpoint(reactor, host, int(port))
        self.links: list[Link] = []
        self.servers: list[Outgoing] = []
        self.behave()
        self._reactor = reactor
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self._number = self._port.getHost().port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._number}"

    def buildProtocol(self, addr: Any) -> Link:
        return Link(self)

    def behave(self) -> None:
        """Passes everything on from now on."""
        self.upstream: Callable[[Link, bytes], None] = Link.ask
        self.downstream: Callable[[Link, bytes], None] = Link.answer

    def refuse(self) -> Any:
        """Accepts no connection any more, and ends those that there are."""
        self.reset_all()
        return self._port.stopListening()

    def accept(self) -> None:
        """Accepts connections again."""
        self._port = self._reactor.listenTCP(self._number, self, interface="127.0.0.1")

    def reset_all(self) -> None:
        for link in list(self.links):
            link.reset()


def swallow(link: Link, data: bytes) -> None:
    """Neither passes on nor ends: the line is dead, and nobody knows."""


def cut_after(count: int, ending: Callable[[Link], None] = Link.cut) -> Callable[[Link, bytes], None]:
    """Passes *count* bytes of each link's answers on, and then ends it."""

    def downstream(link: Link, data: bytes) -> None:
        passing = data[: count - link.answered]
        if passing:
            link.answer(passing)
        if link.answered >= count:
            ending(link)

    return downstream


class FaultCase(RealCase):
    """
    A client behind a relay, and another one that is not.

    :ivar etcd: sees what the server knows.
    :ivar relay: the relay.
    :ivar away: the client that is reached through it.
    """

    async def start(self: Any) -> None:
        self.relay = self.relay_to(self.url)
        self.away = self.client(self.relay.url)

    def relay_to(self: Any, url: str) -> Relay:
        relay = Relay(self.reactor, url)
        # older versions of trial do not wait for a coroutine here
        self.addCleanup(lambda: Deferred.fromCoroutine(self.shut(relay)))
        return relay

    async def shut(self: Any, relay: Relay) -> None:
        await relay.refuse()
        await self.until(lambda: not relay.links and not relay.servers)

    async def found(self: Any, name: bytes) -> Optional[KeyValue]:
        """What the server knows of a key."""
        kvs = (await self.etcd.get(self.key(name))).kvs
        return kvs[0] if kvs else None

    async def warm_up(self: Any) -> None:
        """Makes a connection that stays in the pool."""
        await self.away.get(self.key(b"warm"))

    def stream_but(self: Any, known: list[Link]) -> Optional[Link]:
        """A link on which a watch has started."""
        return next((link for link in self.relay.links if link not in known and link.is_watch), None)

    def bytewise(self: Any) -> Callable[[Link, bytes], None]:
        """Passes on one byte in each turn of the reactor."""
        waiting: dict[Link, bytearray] = {}

        def turn(link: Link) -> None:
            link.answer(bytes(waiting[link][:1]))
            del waiting[link][:1]
            if waiting[link]:
                self.reactor.callLater(0, turn, link)

        def downstream(link: Link, data: bytes) -> None:
            is_idle = not waiting.get(link)
            waiting.setdefault(link, bytearray()).extend(data)
            if is_idle:
                turn(link)

        return downstream

    async def as_good_as_new(self: Any) -> None:
        """The client can be used."""
        self.relay.behave()
        revision = (await self.away.set(self.key(b"after"), b"1")).header.revision
        self.assertEqual((await self.away.get(self.key(b"after"))).kvs[0].mod_revision, revision)


@on_every_server()
class Calls(FaultCase):
    """Calls that are cut say truly whether they may have been applied."""

    async def lost(self: Any, downstream: Callable[[Link, bytes], None]) -> None:
        """A set whose answer is treated so was applied once, and a get can be repeated."""
        self.relay.downstream = downstream
        error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1")), OutcomeUnknown)
        self.assertTrue(error.maybe_applied)
        self.assertEqual((error.call, error.endpoint), ("KV.Put", self.relay.url))
        kv = await self.found(b"a")
        self.assertEqual((kv.value, kv.version), (b"1", 1))
        error = await self.assertFailure(self.soon(self.away.get(self.key(b"a"))), Unavailable)
        self.assertFalse(error.maybe_applied)
        await self.as_good_as_new()

    async def test_connection_ends_before_the_answer(self: Any) -> None:
        await self.lost(lambda link, data: link.cut())

    async def test_reset_before_the_answer(self: Any) -> None:
        await self.lost(lambda link, data: link.reset())

    async def test_cut_in_the_status_line(self: Any) -> None:
        await self.lost(cut_after(10))

    async def test_cut_in_the_headers(self: Any) -> None:
        await self.lost(cut_after(60))

    async def test_cut_in_the_body(self: Any) -> None:
        def downstream(link: Link, data: bytes) -> None:
            head, end, body = data.partition(b"\r\n\r\n")
            link.answer(head + end + body[:20])
            link.cut()

        await self.lost(downstream)

    async def test_reset_in_the_body(self: Any) -> None:
        def downstream(link: Link, data: bytes) -> None:
            link.answer(data[:-5])
            # what was written is still to leave before the reset
            self.reactor.callLater(0.05, link.reset)

        await self.lost(downstream)

    async def test_every_byte_of_the_answer(self: Any) -> None:
        """Wherever it is cut, the set was applied once; and only a whole answer is one."""
        answer = b""

        def record(link: Link, data: bytes) -> None:
            nonlocal answer
            answer += data
            link.answer(data)

        etcd = self.client(self.relay.url)
        self.relay.downstream = record
        await etcd.set(self.key(b"0"), b"")
        await self.relay.refuse()
        self.relay.accept()
        for count in range(1, len(answer) - 2, 7):
            self.relay.downstream = cut_after(count)
            error = await self.assertFailure(self.soon(self.away.set(self.key(b"%d" % count), b"")), OutcomeUnknown)
            self.assertTrue(error.maybe_applied)
            self.assertEqual((await self.found(b"%d" % count)).version, 1, count)

    async def test_not_sent(self: Any) -> None:
        """Nobody listens: the key is certainly not there."""
        await self.relay.refuse()
        for asked in (
            self.away.set(self.key(b"a"), b"1"),
            self.away.transact(Transaction([], [OpSet(self.key(b"a"), b"1")])),
            self.away.get(self.key(b"a")),
            self.away.lease(60),
        ):
            error = await self.assertFailure(self.soon(asked), Unavailable)
            self.assertFalse(error.maybe_applied)
        self.assertIsNone(await self.found(b"a"))
        self.relay.accept()
        await self.as_good_as_new()

    async def test_request_is_cut(self: Any) -> None:
        """The server never had all of it; that the client cannot know, and says so."""

        def upstream(link: Link, data: bytes) -> None:
            link.ask(data[:100])
            link.cut()

        self.relay.upstream = upstream
        error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1" * 1000)), OutcomeUnknown)
        self.assertTrue(error.maybe_applied)
        self.assertIsNone(await self.found(b"a"))
        await self.assertFailure(self.soon(self.away.get(self.key(b"a"))), Unavailable)
        await self.as_good_as_new()

    async def test_request_is_swallowed(self: Any) -> None:
        self.relay.upstream = swallow
        error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1", timeout=0.2)), Timeout)
        self.assertTrue(error.maybe_applied)
        error = await self.assertFailure(self.soon(self.away.get(self.key(b"a"), timeout=0.2)), Timeout)
        self.assertFalse(error.maybe_applied)
        self.assertIsNone(await self.found(b"a"))
        await self.as_good_as_new()

    async def test_answer_is_swallowed(self: Any) -> None:
        self.relay.downstream = swallow
        error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1", timeout=0.2)), Timeout)
        self.assertTrue(error.maybe_applied)
        self.assertEqual((await self.found(b"a")).version, 1)
        await self.as_good_as_new()

    async def test_late_answer_belongs_to_nobody(self: Any) -> None:
        """It comes when its call has timed out; the next call has an answer of its own."""
        held: list[tuple[Link, bytes]] = []
        self.relay.downstream = lambda link, data: held.append((link, data))
        await self.assertFailure(self.away.get(self.key(b"a"), timeout=0.2), Timeout)
        await self.etcd.set(self.key(b"b"), b"mine")
        self.relay.behave()
        asked = self.away.get(self.key(b"b"))
        for link, data in held:
            link.answer(data)
        self.assertEqual([kv.value for kv in (await asked).kvs], [b"mine"])

    async def test_delayed_answer(self: Any) -> None:
        self.relay.downstream = lambda link, data: self.reactor.callLater(0.2, link.answer, data)
        await self.away.set(self.key(b"a"), b"1")
        self.assertEqual([kv.value for kv in (await self.away.get(self.key(b"a"))).kvs], [b"1"])

    async def test_answers_in_single_bytes(self: Any) -> None:
        self.relay.downstream = self.bytewise()
        everything = bytes(range(256))
        await self.away.set(self.key(b"a"), everything)
        found = await self.soon(self.away.get(self.key(b"a")))
        self.assertEqual([kv.value for kv in found.kvs], [everything])

    async def test_no_etcd_at_all(self: Any) -> None:
        self.relay.downstream = lambda link, data: link.answer(b"220 mail.example ESMTP\r\n")
        error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1")), ProtocolViolation)
        self.assertTrue(error.maybe_applied)
        await self.assertFailure(self.soon(self.away.get(self.key(b"a"))), ProtocolViolation)
        await self.as_good_as_new()

    async def test_error_page_of_something_in_between(self: Any) -> None:
        page = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nsorry"
        self.relay.downstream = lambda link, data: link.answer(page)
        error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1")), Exception)
        self.assertTrue(error.maybe_applied, error)
        self.assertIn("502", str(error))

    async def test_stale_pooled_connection(self: Any) -> None:
        """It looks alive and ends when it is used: a write on it is not repeated, and says what is known."""
        for name, ending in ((b"cut", Link.cut), (b"reset", Link.reset)):
            await self.warm_up()
            self.relay.upstream = lambda link, data, ending=ending: ending(link)
            error = await self.assertFailure(self.soon(self.away.set(self.key(name), b"1")), OutcomeUnknown)
            self.assertTrue(error.maybe_applied)
            self.assertIsNone(await self.found(name))
            self.relay.behave()
            await self.warm_up()
            self.relay.upstream = lambda link, data, ending=ending: ending(link)
            await self.assertFailure(self.soon(self.away.get(self.key(name))), Unavailable)
            self.relay.behave()
        await self.as_good_as_new()

    async def test_many_at_once_are_cut(self: Any) -> None:
        """Each of them is there at most once; those that succeeded are; and the client has lost no slot."""
        answered = 0

        def downstream(link: Link, data: bytes) -> None:
            nonlocal answered
            answered += 1
            if answered % 3:
                link.answer(data)
            else:
                link.reset()

        self.relay.downstream = downstream
        names = [b"%d" % number for number in range(100)]
        setting = [self.away.set(self.key(name), b"") for name in names]
        succeeded = []
        for name, one in zip(names, setting):
            try:
                await self.soon(one)
            except OutcomeUnknown:
                continue
            succeeded.append(name)
        self.assertTrue(0 < len(succeeded) < len(names))
        found = {kv.key: kv.version for kv in (await self.etcd.get(self.keys())).kvs}
        self.assertEqual(set(found.values()), {1})
        self.assertLessEqual({self.key(name) for name in succeeded}, set(found))
        self.relay.behave()
        await self.soon(gatherResults([self.away.set(self.key(name), b"") for name in names], consumeErrors=True))

    async def test_lost_grant(self: Any) -> None:
        """A grant whose answer is lost says so; one with an id of its own can then be looked for."""
        self.relay.downstream = cut_after(10)
        await self.assertFailure(self.soon(self.away.lease(60, 4714)), Unavailable, OutcomeUnknown)
        self.assertIn(4714, await self.etcd.leases())
        await self.post("/v3/lease/revoke", {"ID": "4714"})

    async def test_lost_create(self: Any) -> None:
        """A transaction whose answer is lost was carried out once."""
        self.relay.downstream = cut_after(10)
        comp, put = CompCreated(self.key(b"a"), "==", 0), OpSet(self.key(b"a"), b"1")
        await self.assertFailure(self.soon(self.away.submit(Transaction([comp], [put]))), OutcomeUnknown)
        await self.assertFailure(self.soon(self.away.create(self.key(b"b"), b"1")), OutcomeUnknown)
        self.assertEqual([(await self.found(name)).version for name in (b"a", b"b")], [1, 1])


@on_every_server()
class Restarts(FaultCase):
    """The server itself goes and comes back between two calls."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.etcd = self.client(self.own.url)

    async def test_call_after_a_restart(self: Any) -> None:
        """The connections in the pool are dead by then."""
        for number in range(3):
            key = b"%d" % number
            await gatherResults([self.etcd.get(b"warm") for _ in range(5)], consumeErrors=True)
            await self.own.kill()
            await self.own.start()
            try:
                await self.etcd.set(key, b"1")
                wanted = [[1]]
            except OutcomeUnknown:
                wanted = [[], [1]]
            except Unavailable:
                wanted = [[]]
            kvs = (await self.etcd.get(key)).kvs
            self.assertIn([kv.version for kv in kvs], wanted)

    async def test_down_and_up(self: Any) -> None:
        await self.etcd.set(b"a", b"1")
        await self.own.kill()
        # the get finds out that the connection in the pool is dead, if that is not known already
        await self.assertFailure(self.soon(self.etcd.get(b"a")), Unavailable)
        error = await self.assertFailure(self.soon(self.etcd.set(b"a", b"2")), Unavailable)
        self.assertFalse(error.maybe_applied)
        await self.own.start()
        self.assertEqual([(kv.value, kv.version) for kv in (await self.etcd.get(b"a")).kvs], [(b"1", 1)])

    async def test_at_most_once_amid_crashes(self: Any) -> None:
        """Many writers, each of its own keys, while the server crashes twice: what each was told is true."""
        told: dict[bytes, str] = {}
        is_over = False

        async def write(writer: int) -> None:
            number = 0
            while not is_over:
                number += 1
                key = b"%d/%d" % (writer, number)
                try:
                    await self.etcd.set(key, b"")
                    told[key] = "applied"
                except OutcomeUnknown:
                    told[key] = "unknown"
                except Unavailable as error:
                    told[key] = "unknown" if error.maybe_applied else "not applied"

        writing = gatherResults([Deferred.fromCoroutine(write(writer)) for writer in range(8)], consumeErrors=True)
        for _ in range(2):
            count = len(told)
            await self.until(lambda: len(told) > count + 100)
            await self.own.kill()
            await self.own.start()
        is_over = True
        await self.soon(writing)
        found = {kv.key: kv.version for kv in (await self.etcd.get(KeySet.all())).kvs}
        self.assertEqual(set(found.values()), {1})
        self.assertEqual({key for key, fate in told.items() if fate == "applied"} - set(found), set())
        self.assertEqual({key for key, fate in told.items() if fate == "not applied"} & set(found), set())

    async def test_paused(self: Any) -> None:
        """A set that is not answered in time may be applied when the server goes on."""
        await self.etcd.set(b"warm", b"")
        await self.pause(self.own)
        error = await self.assertFailure(self.etcd.set(b"a", b"1", timeout=0.3), Timeout)
        self.assertTrue(error.maybe_applied)
        error = await self.assertFailure(self.etcd.get(b"a", timeout=0.3), Timeout)
        self.assertFalse(error.maybe_applied)
        self.own.resume()
        await self.etcd.set(b"b", b"1")
        self.assertIn([kv.version for kv in (await self.etcd.get(b"a")).kvs], [[], [1]])


@on_every_server()
class Watches(FaultCase):
    """Watches on a bad line: whole events or an error, and a way to go on."""

    async def watcher(self: Any, **options: Any) -> Watch:
        watch = self.away.watcher(self.keys(), **options)
        self.addCleanup(watch.stop)
        return await self.soon(watch.when_started())

    async def write(self: Any, count: int) -> list[int]:
        writes = [await self.etcd.set(self.key(b"%03d" % number), bytes(range(256))) for number in range(count)]
        return [write.header.revision for write in writes]

    async def take(self: Any, watch: Watch, count: int) -> list[Event]:
        return [await self.soon(watch.__anext__()) for _ in range(count)]

    async def rest(self: Any, watch: Watch) -> tuple[list[Event], Any]:
        """What it still tells, and the error that it ends with."""
        events = []
        try:
            while True:
                events += await self.take(watch, 1)
        except Exception as error:
            return events, error

    async def test_single_bytes(self: Any) -> None:
        self.relay.downstream = self.bytewise()
        watch = await self.watcher(return_previous=True)
        revisions = await self.write(3) + await self.write(3)
        events = await self.take(watch, 6)
        self.assertEqual([event.mod_revision for event in events], revisions)
        self.assertEqual([event.previous for event in events], [None] * 3 + [event.kv for event in events[:3]])
        self.assertEqual({event.value for event in events}, {bytes(range(256))})

    async def cut_somewhere(self: Any, ending: Callable[[Link], None], step: int) -> None:
        """Cut after any number of bytes: whole events, then ``Unavailable``; then by hand exactly those missing."""
        start = (await self.etcd.get(self.key(b"a"))).header.revision + 1
        revisions = await self.write(4)
        # the head and the first line, which say that the watch was set up, and some of the events
        for count in range(400, 3000, step):
            self.relay.downstream = cut_after(count, ending)
            watch = self.away.watcher(self.keys(), start_revision=start)
            live = (await self.etcd.set(self.key(b"live"), bytes(400))).header.revision
            events, error = await self.rest(watch)
            self.assertIsInstance(error, Unavailable)
            self.relay.behave()
            expected = [*revisions, live]
            revisions = expected
            again = await self.watcher(start_revision=watch.revision + 1)
            events += await self.take(again, len(expected) - len(events))
            again.stop()
            self.assertEqual([event.mod_revision for event in events], expected)

    async def test_cut_somewhere(self: Any) -> None:
        await self.cut_somewhere(Link.cut, 397)

    async def test_reset_somewhere(self: Any) -> None:
        await self.cut_somewhere(Link.reset, 593)

    async def test_cut_in_a_line(self: Any) -> None:
        """What was whole is told, what was not is not."""
        watch = await self.watcher()
        revisions = await self.write(2)
        await self.until(lambda: repr(watch).endswith("waiting=2>"))

        def downstream(link: Link, data: bytes) -> None:
            link.answer(data[: len(data) // 2])
            link.cut()

        self.relay.downstream = downstream
        # one, since the half of several lines may have whole ones in it
        revisions += await self.write(1)
        events, error = await self.rest(watch)
        self.assertIsInstance(error, Unavailable)
        self.assertEqual([event.mod_revision for event in events], revisions[:2])
        self.relay.behave()
        again = await self.watcher(start_revision=watch.revision + 1)
        self.assertEqual([event.mod_revision for event in await self.take(again, 1)], revisions[2:])

    async def test_clean_end_is_no_end(self: Any) -> None:
        """A proxy that ends the answer properly, between two lines, has ended the watch all the same."""
        watch = await self.watcher()
        revisions = await self.write(1)
        await self.until(lambda: repr(watch).endswith("waiting=1>"))
        for link in list(self.relay.links):
            link.answer(b"0\r\n\r\n")
        events, error = await self.rest(watch)
        self.assertIsInstance(error, Unavailable)
        self.assertEqual([event.mod_revision for event in events], revisions)

    async def test_cut_before_it_has_started(self: Any) -> None:
        for downstream in (lambda link, data: link.cut(), cut_after(30), cut_after(200, Link.reset)):
            self.relay.downstream = downstream
            await self.assertFailure(self.soon(self.away.watcher(self.keys()).when_started()), Unavailable)
        self.relay.behave()
        await self.watcher()

    async def test_swallowed_before_it_has_started(self: Any) -> None:
        self.relay.downstream = swallow
        etcd = self.client(self.relay.url, timeout=0.2)
        await self.assertFailure(self.soon(etcd.watcher(self.keys()).when_started()), Timeout)

    async def test_late_start_beside_much(self: Any) -> None:
        """Nobody takes events before all key sets have started; so one that starts late must be heard all the same."""
        etcd = self.client(self.relay.url, timeout=3)
        much, few = KeySet(self.key(b"much")), KeySet(self.key(b"few"))
        begin = (await self.etcd.get(few)).header.revision
        for _ in range(12):
            await self.etcd.set(much.key, bytes(1_000_000))
        held: list[tuple[Link, bytes]] = []
        named = base64.b64encode(few.key)
        late: list[Link] = []
        is_over = False

        def upstream(link: Link, data: bytes) -> None:
            if named in data:
                late.append(link)
            link.ask(data)

        self.relay.upstream = upstream

        def downstream(link: Link, data: bytes) -> None:
            if link in late and not is_over:
                held.append((link, data))
            else:
                link.answer(data)

        self.relay.downstream = downstream
        watch = etcd.watcher([much, few], start_revision=begin + 1)
        self.addCleanup(watch.stop)
        await self.until(lambda: b"created" in b"".join(data for _, data in held) and watch.is_paused)
        is_over = True
        # apart from the head, which would bring it along
        head, end, body = b"".join(data for _, data in held).partition(b"\r\n\r\n")
        late[0].answer(head + end)
        self.reactor.callLater(0.1, late[0].answer, body)
        await watch.when_started().addTimeout(5, self.reactor)
        await self.take(watch, 12)

    async def test_others_are_not_hurt(self: Any) -> None:
        """One stream is cut; the watches on others go on."""
        first, second = await self.watcher(), await self.watcher()
        self.relay.links[-2].reset()
        _, error = await self.rest(first)
        self.assertIsInstance(error, Unavailable)
        revisions = await self.write(1)
        self.assertEqual([event.mod_revision for event in await self.take(second, 1)], revisions)

    async def test_wait_for(self: Any) -> None:
        """It looks again when its watch is lost."""
        waiting = self.away.wait_for(self.key(b"a"), lambda kv: kv.value == b"wanted", timeout=30)
        known: list[Link] = []
        for number in range(2):
            known.append(await self.until(lambda: self.stream_but(known)))
            await self.etcd.set(self.key(b"a"), b"%d" % number)
            known[-1].reset()
        await self.etcd.set(self.key(b"a"), b"wanted")
        self.assertEqual((await self.soon(waiting)).value, b"wanted")


@on_every_server()
class LeasesAndLocks(FaultCase):
    """What depends on being heard in time."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.etcd = self.client(self.own.url)
        self.relay = self.relay_to(self.own.url)
        self.away = self.client(self.relay.url)

    async def test_never_believed_in_too_long(self: Any) -> None:
        """The client alone is cut off: when the server takes the keys, it has given the leases up before."""
        leases = [await self.away.lease(1, keep_alive=True) for _ in range(3)]
        async with self.etcd.watcher(KeySet(b"k", prefix=True), filters=["NOPUT"]) as watch:
            for number, lease in enumerate(leases):
                await self.etcd.set(b"k%d" % number, b"", lease)
            self.relay.upstream = swallow
            for _ in leases:
                gone = await self.soon(watch.__anext__())
                self.assertNotEqual(leases[int(gone.key[1:])].state, "alive")
        await gatherResults([self.soon(lease.when_lost()) for lease in leases], consumeErrors=True)

    async def test_never_believed_in_too_long_when_answers_are_lost(self: Any) -> None:
        """The server hears every renewal; the client does not know that, and gives the lease up."""
        lease = await self.away.lease(1, keep_alive=True)
        self.relay.downstream = swallow
        await self.soon(lease.when_lost())
        self.assertEqual(lease.state, "lost")

    async def test_old_answers_do_not_renew(self: Any) -> None:
        """Renewals count from when they were sent: an answer that comes late promises less."""
        lease = await self.away.lease(2)
        held: list[tuple[Link, bytes]] = []
        self.relay.downstream = lambda link, data: held.append((link, data))
        seconds = monotonic(self.reactor)
        sent_at = seconds()
        refreshing = lease.refresh()
        await self.until(lambda: held and seconds() > sent_at + 0.5)
        for link, data in held:
            link.answer(data)
        await self.soon(refreshing)
        self.assertLess(lease.deadline, sent_at + 2.5)

    async def test_renewed_over_a_bad_line(self: Any) -> None:
        """Each second renewal is cut: the lease lives on."""
        lease = await self.away.lease(2, keep_alive=True)
        count = 0

        def upstream(link: Link, data: bytes) -> None:
            nonlocal count
            count += data.startswith(b"POST")
            if count % 2:
                link.reset()
            else:
                link.ask(data)

        self.relay.upstream = upstream
        for _ in range(2):
            promised = lease.deadline
            await self.until(lambda promised=promised: lease.deadline > promised)
        self.assertEqual(lease.state, "alive")
        self.relay.behave()
        await lease.revoke()

    async def test_watch_of_a_waiting_lock_is_lost(self: Any) -> None:
        """Not the place in the queue: it looks again."""
        holder = await self.etcd.lock(b"mylock")
        waiting = self.away.lock(b"mylock", time_to_live=10)
        streams: list[Link] = []
        for _ in range(2):
            stream = await self.until(lambda: self.stream_but(streams))
            streams.append(stream)
            stream.reset()
        await self.until(lambda: self.stream_but(streams))
        self.assertFalse(waiting.called)
        await holder.release()
        lock = await self.soon(waiting)
        self.assertTrue(lock.is_held)
        await lock.release()

    async def test_waiting_lock_is_cut_off(self: Any) -> None:
        """It fails as soon as its lease may have expired, and is never the owner."""
        holder = await self.etcd.lock(b"mylock")
        waiting = self.away.lock(b"mylock", time_to_live=1)
        await self.until(lambda: self.stream_but([]))
        self.relay.upstream = self.relay.downstream = swallow
        await holder.release()
        error = await self.assertFailure(self.soon(waiting), Exception)
        self.assertNotIsInstance(error, AttributeError)
        other = await self.soon(self.etcd.lock(b"mylock"))
        await other.release()

    async def test_owner_is_cut_off(self: Any) -> None:
        """Before another one can hold the lock, the first one knows that it does not."""
        lock = await self.away.lock(b"mylock", time_to_live=1)
        guard = lock.guard()
        self.relay.upstream = self.relay.downstream = swallow
        other = await self.soon(self.etcd.lock(b"mylock"))
        self.assertFalse(lock.is_held)
        self.assertFalse((await self.etcd.transact(Transaction([guard]))).succeeded)
        await other.release()

    async def test_lost_answer_to_the_entry(self: Any) -> None:
        """The lock fails, and leaves no key behind."""

        def downstream(link: Link, data: bytes) -> None:
            if link.path == b"/v3/kv/txn":
                link.reset()
            else:
                link.answer(data)

        self.relay.downstream = downstream
        await self.assertFailure(self.soon(self.away.lock(b"mylock")), OutcomeUnknown)
        self.assertEqual((await self.etcd.get(KeySet(b"mylock/", prefix=True))).kvs, [])
        self.assertEqual(await self.etcd.leases(), [])
