"""
Faults on the way: what is lost, cut, delayed and split between the client and a server, on every server.

What a call says of its fate is compared with what the server knows.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from typing import Any, Callable, Optional

from twisted.internet.defer import Deferred, gatherResults

from test.real.base import GATEWAY, NATIVE, PATIENCE, RealCase, on_every_server
from test.real.wire import Wire
from txetcd import (
    Backoff,
    Compacted,
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
from txetcd import _frames as f
from txetcd._clock import monotonic
from txetcd._fields import encode
from txetcd._schema import LEASE_KEEP_ALIVE, PUT, TXN, WATCH, Rpc
from txetcd.errors import WrongProtocol
from txetcd.testing import FaultyProxy, ProxyConnection


def methods_of(rpcs: Iterable[Rpc]) -> list[bytes]:
    """Their paths."""
    return [rpc.method.encode() for rpc in rpcs]


class FaultCase(RealCase):
    """
    A client behind a proxy, and another one that is not.

    :ivar etcd: sees what the server knows.
    :ivar proxy: the proxy.
    :ivar wire: hears what goes through proxies.
    :ivar away: the client that reaches the server through it.
    """

    def setUp(self: Any) -> Deferred[None]:
        self.wire = Wire()
        return super().setUp()

    async def start(self: Any) -> None:
        self.proxy = await self.proxy_to(self.web)
        self.away = self.client(self.proxy.url)

    async def proxy_to(self: Any, url: str) -> FaultyProxy:
        proxy = FaultyProxy(self.reactor, url, seed=1)
        self.addCleanup(proxy.stop)
        self.wire.listen(proxy)
        await proxy.start()
        self.stands_before(proxy.url, url)
        return proxy

    def behave(self: Any) -> None:
        """Ends all faults."""
        self.proxy.behave()
        self.wire.listen(self.proxy)

    def answers_to(self: Any, *rpcs: Rpc) -> Callable[[ProxyConnection], bool]:
        """Of connections on which the server is just answering one of these, or, if there are none, anything."""
        if self.scheme == NATIVE:
            return lambda connection: self.wire.is_answering(connection, methods_of(rpcs))
        asks = self.asks(*rpcs)
        return lambda connection: connection.answer != b"" and (not rpcs or asks(connection))

    def answers(self: Any, *rpcs: Rpc) -> list[bytes]:
        """What the server has answered to these last, on each connection, whether or not it was passed on."""
        if self.scheme == NATIVE:
            answers = (self.wire.answers(connection, methods_of(rpcs)) for connection in self.proxy.connections)
            return [answer for one in answers for answer in one.values()]
        return [connection.answer for connection in filter(self.answers_to(*rpcs), self.proxy.connections)]

    async def found(self: Any, name: bytes) -> Optional[KeyValue]:
        """What the server knows of a key."""
        kvs = (await self.etcd.get(self.key(name))).kvs
        return kvs[0] if kvs else None

    async def warm_up(self: Any) -> None:
        """Makes a connection that stays."""
        await self.away.get(self.key(b"warm"))

    def stream_but(self: Any, known: list[ProxyConnection]) -> Optional[ProxyConnection]:
        """A connection on which a watch has started."""
        others = (connection for connection in self.proxy.connections if connection not in known)
        return next(filter(self.has_watch, others), None)

    def has_watch(self: Any, connection: ProxyConnection) -> bool:
        """Whether it carries a watch that has started, or is about to."""
        if self.scheme == NATIVE:
            return bool(self.wire.answers(connection, methods_of([WATCH])))
        return self.asks(WATCH)(connection) and connection.answer != b""

    async def answer_to_a_set(self: Any) -> bytes:
        """What the server answers another client, to know where to cut."""
        async with self.client(self.proxy.url) as etcd:
            await etcd.set(self.key(b"sample"), b"")
            return bytes(self.answers(PUT)[0])

    async def noticed(self: Any) -> None:
        """Waits until the client has noticed that what has lost bytes is reset; with a call that timed out, it has."""
        if self.scheme == NATIVE:
            await self.until(self.is_heard)

    async def is_heard(self: Any) -> bool:
        try:
            await self.away.get(self.key(b"warm"))
        except Unavailable:
            return False
        return True

    async def as_good_as_new(self: Any) -> None:
        """The client can be used."""
        self.behave()
        await self.noticed()
        revision = (await self.away.set(self.key(b"after"), b"1")).header.revision
        self.assertEqual((await self.away.get(self.key(b"after"))).kvs[0].mod_revision, revision)


class _Calls(FaultCase):
    async def cut(self: Any, after: int, how: str, name: bytes) -> None:
        """
        A set whose answer is cut so is in doubt, and was applied once. Natively an answer that comes in two parts, with
        something of ours in between, passes: both of them are shorter than what was to pass.
        """
        for number in range(1, 50):
            self.behave()
            self.proxy.cut_answer(after, how, where=self.answers_to())
            cuts = self.proxy.faults.get("cut_answer", 0)
            setting = self.soon(self.away.set(self.key(name), b""))
            try:
                await setting
            except OutcomeUnknown as error:
                self.assertTrue(error.maybe_applied)
                self.assertEqual((await self.found(name)).version, number, after)
                return
            self.assertEqual(self.proxy.faults.get("cut_answer", 0), cuts, after)
        self.fail(f"none was cut after {after} bytes")

    async def lost(self: Any, after: int, how: str) -> None:
        """A set whose answer is cut so was applied once, and a get can be repeated."""
        self.proxy.cut_answer(after, how, where=self.answers_to())
        error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1")), OutcomeUnknown)
        self.assertTrue(error.maybe_applied)
        self.assertEqual((error.call, error.endpoint), ("KV.Put", self.spoken(self.proxy.url)))
        kv = await self.found(b"a")
        self.assertEqual((kv.value, kv.version), (b"1", 1))
        error = await self.assertFailure(self.soon(self.away.get(self.key(b"a"))), Unavailable)
        self.assertFalse(error.maybe_applied)
        await self.as_good_as_new()


@on_every_server(schemes=[GATEWAY])
class CutOfHTTP1(_Calls):
    """Where an answer of HTTP/1.1 can be cut."""

    async def test_cut_in_the_status_line(self: Any) -> None:
        await self.lost(10, "close")

    async def test_cut_in_the_headers(self: Any) -> None:
        await self.lost(60, "close")

    async def test_cut_in_the_body(self: Any) -> None:
        answer = await self.answer_to_a_set()
        await self.lost(answer.index(b"\r\n\r\n") + 4 + 20, "close")

    async def test_error_page_of_something_in_between(self: Any) -> None:
        self.proxy.replace_answer(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nsorry")
        error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1")), Exception)
        self.assertTrue(error.maybe_applied, error)
        self.assertIn("502", str(error))

    async def test_many_at_once_are_cut(self: Any) -> None:
        """Each of them is there at most once; those that succeeded are; and the client has lost no slot."""
        self.proxy.misbehave(1 / 3, ["cut_answer"])
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
        self.behave()
        await self.soon(gatherResults([self.away.set(self.key(name), b"") for name in names], consumeErrors=True))


@on_every_server(schemes=[NATIVE])
class CutOfHTTP2(_Calls):
    """Where an answer of HTTP/2, and what comes before a request, can be cut; and what is lost with it."""

    async def test_cut_in_the_handshake(self: Any) -> None:
        """Wherever it is cut, on both ways: nothing was sent."""
        # of 24 bytes that we begin with, and of the server's SETTINGS: newer ones have 15, and that is all we wait for
        for cut, places in ((self.proxy.cut_request, (0, 1, 9, 14, 20)), (self.proxy.cut_answer, (0, 1, 9, 14))):
            for after in places:
                for how in ("close", "reset", "half_close"):
                    self.behave()
                    cut(after, how)
                    await self.not_sent(f"{cut.__name__} after {after}, {how}")
        self.assertIsNone(await self.found(b"a"))
        await self.as_good_as_new()

    async def not_sent(self: Any, where: str) -> None:
        etcd = self.client(self.proxy.url, connect_timeout=1)
        error = await self.assertFailure(self.soon(etcd.set(self.key(b"a"), b"1", timeout=5)), Unavailable)
        self.assertFalse(error.maybe_applied, where)
        self.assertIn("not sent", str(error))
        await etcd.close()

    async def test_cut_in_the_request(self: Any) -> None:
        """In its head and in its data, which come together: the server never had all of it, but that nobody knows."""
        # the head has about 140 bytes
        for after in (0, 1, 8, 9, 10, 20, 100, 150, 160, 400, 1000):
            for how in ("close", "reset"):
                await self.warm_up()
                self.proxy.cut_request(after, how)
                setting = self.soon(self.away.set(self.key(b"a"), b"1" * 2000))
                error = await self.assertFailure(setting, OutcomeUnknown)
                self.assertTrue(error.maybe_applied)
                self.behave()
        self.assertIsNone(await self.found(b"a"))
        await self.as_good_as_new()

    async def test_request_that_ends_early(self: Any) -> None:
        """The server reads the end in the middle of it, and may say something."""
        for after in (0, 1, 9, 20, 150, 400):
            await self.warm_up()
            self.proxy.cut_request(after, "half_close")
            error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1" * 2000)), OutcomeUnknown)
            self.assertTrue(error.maybe_applied)
            self.behave()
        self.assertIsNone(await self.found(b"a"))
        await self.as_good_as_new()

    async def test_cut_in_a_request_that_waits_for_the_window(self: Any) -> None:
        """It was not sent as a whole, so it cannot have been carried out; beside it, others were."""
        for after, how in ((10_000, "reset"), (60_000, "close"), (10_000, "half_close")):
            await self.warm_up()
            self.proxy.cut_request(after, how)
            large = self.away.set(self.key(b"large"), bytes(1_000_000))
            small = self.away.set(self.key(b"small"), b"")
            error = await self.assertFailure(self.soon(large), Unavailable)
            self.assertFalse(error.maybe_applied)
            await self.assertFailure(self.soon(small), Unavailable, OutcomeUnknown)
            self.behave()
        self.assertIsNone(await self.found(b"large"))
        await self.as_good_as_new()

    async def test_answers_end_early(self: Any) -> None:
        """Half-closed: the server hears on, the client knows that no answer will come."""
        size = len(await self.answer_to_a_set())
        for after in (0, 1, 9, 20, 30, 60, size - 1):
            await self.cut(after, "half_close", b"%d" % after)
        await self.as_good_as_new()

    async def test_half_closed_while_idle(self: Any) -> None:
        """The next call is made over another connection, and is not lost."""
        for direction in ("to_client", "to_server"):
            await self.warm_up()
            self.proxy.half_close(direction)
            await self.until(lambda: self.away.stats().connections == 0)
            await self.away.set(self.key(b"a"), b"1")

    async def test_bytewise_both_ways(self: Any) -> None:
        self.proxy.bytewise()
        everything = bytes(range(256))
        await gatherResults([self.soon(self.away.set(self.key(b"%d" % number), everything)) for number in range(5)])
        found = await self.soon(self.away.get(self.keys()))
        self.assertEqual([kv.value for kv in found.kvs], [everything] * 5)
        self.assertEqual(self.away.stats().connections, 1)

    async def test_another_protocol(self: Any) -> None:
        """Whoever does not speak HTTP/2 was sent nothing."""
        for said in (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nsorry", b"220 mail.example ESMTP\r\n"):
            self.proxy.replace_answer(said)
            error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1")), WrongProtocol)
            self.assertFalse(error.maybe_applied)
            self.behave()
        self.assertIsNone(await self.found(b"a"))
        await self.as_good_as_new()

    async def test_silence_is_noticed(self: Any) -> None:
        """A connection that is silent in one direction is left, whatever the timeout of the calls."""
        for direction in ("to_server", "to_client"):
            await self.warm_up()
            self.proxy.black_hole(direction)
            error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"", timeout=60)), OutcomeUnknown)
            self.assertIn("silent", str(error))
            await self.assertFailure(self.soon(self.away.get(self.key(b"a"), timeout=1)), Timeout)
            await self.as_good_as_new()

    async def test_many_on_a_connection_that_is_reset(self: Any) -> None:
        """Each is done or its outcome is unknown, at most once; what was not sent says so; the client goes on."""
        fates: Counter[str] = Counter()
        for count in range(40):
            await self.warm_up()
            self.proxy.cut_answer(13 * count, ("reset", "close")[count % 2], where=self.answers_to(), count=1)
            names = [b"%d/%d" % (count, number) for number in range(50)]
            setting = [self.soon(self.away.set(self.key(name), b"")) for name in names]
            told = {}
            for name, one in zip(names, setting):
                try:
                    await one
                    told[name] = "done"
                except OutcomeUnknown:
                    told[name] = "unknown"
                except Unavailable as error:
                    self.assertFalse(error.maybe_applied)
                    told[name] = "not sent"
            fates.update(told.values())
            self.behave()
            found = {kv.key: kv.version for kv in (await self.etcd.get(self.keys(b"%d/" % count))).kvs}
            self.assertLessEqual(set(found.values()), {1})
            for name, fate in told.items():
                self.assertIn(self.key(name) in found, {"done": [True], "not sent": [False]}.get(fate, [True, False]))
        self.assertGreater(fates["unknown"], 0)
        self.assertGreater(fates["done"], 0)
        await self.as_good_as_new()


@on_every_server()
class Calls(_Calls):
    """Calls that are cut say truly whether they may have been applied."""

    async def test_connection_ends_before_the_answer(self: Any) -> None:
        await self.lost(0, "close")

    async def test_reset_before_the_answer(self: Any) -> None:
        await self.lost(0, "reset")

    async def test_reset_in_the_answer(self: Any) -> None:
        await self.lost(len(await self.answer_to_a_set()) - 5, "reset")

    async def test_every_byte_of_the_answer(self: Any) -> None:
        """Wherever it is cut, the set was applied once; and only a whole answer is one."""
        answer = await self.answer_to_a_set()
        for count in self.where_to_cut(answer):
            await self.cut(count, "close", b"%d" % count)

    def where_to_cut(self: Any, answer: bytes) -> range:
        """In many places; that of the gateway ends with two bytes that are not needed."""
        return range(len(answer)) if self.scheme == NATIVE else range(1, len(answer) - 2, 7)

    async def test_not_sent(self: Any) -> None:
        """Nobody listens: the key is certainly not there."""
        await self.proxy.refuse()
        self.proxy.drop("reset")
        for asked in (
            self.away.set(self.key(b"a"), b"1"),
            self.away.transact(Transaction([], [OpSet(self.key(b"a"), b"1")])),
            self.away.get(self.key(b"a")),
            self.away.lease(60),
        ):
            error = await self.assertFailure(self.soon(asked), Unavailable)
            self.assertFalse(error.maybe_applied)
        self.assertIsNone(await self.found(b"a"))
        await self.proxy.accept()
        await self.as_good_as_new()

    async def test_request_is_cut(self: Any) -> None:
        """The server never had all of it; that the client cannot know, and says so."""
        self.proxy.cut_request(100, "close")
        error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1" * 1000)), OutcomeUnknown)
        self.assertTrue(error.maybe_applied)
        self.assertIsNone(await self.found(b"a"))
        await self.assertFailure(self.soon(self.away.get(self.key(b"a"))), Unavailable)
        await self.as_good_as_new()

    async def test_request_is_swallowed(self: Any) -> None:
        await self.warm_up()
        self.proxy.black_hole("to_server")
        error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1", timeout=4)), Timeout)
        self.assertTrue(error.maybe_applied)
        error = await self.assertFailure(self.soon(self.away.get(self.key(b"a"), timeout=1)), Timeout)
        self.assertFalse(error.maybe_applied)
        self.assertIsNone(await self.found(b"a"))
        await self.as_good_as_new()

    async def test_answer_is_swallowed(self: Any) -> None:
        await self.warm_up()
        self.proxy.black_hole("to_client")
        error = await self.assertFailure(self.soon(self.away.set(self.key(b"a"), b"1", timeout=4)), Timeout)
        self.assertTrue(error.maybe_applied)
        self.assertEqual((await self.found(b"a")).version, 1)
        await self.as_good_as_new()

    async def test_late_answer_belongs_to_nobody(self: Any) -> None:
        """It comes when its call has timed out; the next call has an answer of its own."""
        await self.warm_up()
        self.proxy.delay(3600, "to_client")
        await self.assertFailure(self.away.get(self.key(b"a"), timeout=1), Timeout)
        await self.etcd.set(self.key(b"b"), b"mine")
        asked = self.away.get(self.key(b"b"))
        self.behave()
        self.assertEqual([kv.value for kv in (await asked).kvs], [b"mine"])

    async def test_delayed_answer(self: Any) -> None:
        self.proxy.delay(0.2, "to_client")
        await self.away.set(self.key(b"a"), b"1")
        self.assertEqual([kv.value for kv in (await self.away.get(self.key(b"a"))).kvs], [b"1"])

    async def test_answers_in_single_bytes(self: Any) -> None:
        self.proxy.bytewise("to_client")
        everything = bytes(range(256))
        await self.away.set(self.key(b"a"), everything)
        found = await self.soon(self.away.get(self.key(b"a")))
        self.assertEqual([kv.value for kv in found.kvs], [everything])

    async def test_no_etcd_at_all(self: Any) -> None:
        for asked, maybe_applied in ((self.away.set, True), (self.away.get, False)):
            await self.warm_up()
            self.proxy.replace_answer(b"220 mail.example ESMTP\r\n")
            call = asked(self.key(b"a"), b"1") if maybe_applied else asked(self.key(b"a"))
            error = await self.assertFailure(self.soon(call), ProtocolViolation)
            if maybe_applied:
                self.assertTrue(error.maybe_applied)
            self.behave()
        await self.as_good_as_new()

    async def test_stale_pooled_connection(self: Any) -> None:
        """It looks alive and ends when it is used: a write on it is not repeated, and says what is known."""
        for name, how in ((b"cut", "close"), (b"reset", "reset")):
            await self.warm_up()
            self.proxy.cut_request(how=how)
            error = await self.assertFailure(self.soon(self.away.set(self.key(name), b"1")), OutcomeUnknown)
            self.assertTrue(error.maybe_applied)
            self.assertIsNone(await self.found(name))
            self.behave()
            await self.warm_up()
            self.proxy.cut_request(how=how)
            await self.assertFailure(self.soon(self.away.get(self.key(name))), Unavailable)
            self.behave()
        await self.as_good_as_new()

    async def test_lost_grant(self: Any) -> None:
        """A grant whose answer is lost says so; one with an id of its own can then be looked for."""
        self.proxy.cut_answer(10, "close", where=self.answers_to())
        await self.assertFailure(self.soon(self.away.lease(60, 4714)), Unavailable, OutcomeUnknown)
        self.assertIn(4714, await self.etcd.leases())
        await self.post("/v3/lease/revoke", {"ID": "4714"})

    async def test_lost_create(self: Any) -> None:
        """A transaction whose answer is lost was carried out once."""
        self.proxy.cut_answer(10, "close", where=self.answers_to())
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
            await self.crash(self.own)
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
        error = await self.assertFailure(self.etcd.set(b"a", b"1", timeout=4), Timeout)
        self.assertTrue(error.maybe_applied)
        error = await self.assertFailure(self.etcd.get(b"a", timeout=4), Timeout)
        self.assertFalse(error.maybe_applied)
        self.own.resume()
        await self.etcd.set(b"b", b"1")
        self.assertIn([kv.version for kv in (await self.etcd.get(b"a")).kvs], [[], [1]])


class _Watches(FaultCase):
    async def watcher(self: Any, **options: Any) -> Watch:
        watch = self.away.watcher(self.keys(), **options)
        self.addCleanup(watch.stop)
        return await self.soon(watch.when_started())

    async def write(self: Any, count: int) -> list[int]:
        writes = [await self.etcd.set(self.key(b"%03d" % number), bytes(range(256))) for number in range(count)]
        return [write.header.revision for write in writes]

    async def take(self: Any, watch: Watch, count: int) -> list[Event]:
        return [await self.soon(watch.__anext__()) for _ in range(count)]

    def waiting(self: Any, watch: Watch) -> int:
        """How many events have arrived and were not asked for."""
        return int(repr(watch).rpartition("waiting=")[2].rstrip(">"))


@on_every_server()
class Watches(_Watches):
    """Watches on a bad line: whole events or an error, and a way to go on."""

    async def test_single_bytes(self: Any) -> None:
        self.proxy.bytewise("to_client")
        watch = await self.watcher(return_previous=True)
        revisions = await self.write(3) + await self.write(3)
        events = await self.take(watch, 6)
        self.assertEqual([event.mod_revision for event in events], revisions)
        self.assertEqual([event.previous for event in events], [None] * 3 + [event.kv for event in events[:3]])
        self.assertEqual({event.value for event in events}, {bytes(range(256))})

    async def cut_somewhere(self: Any, how: str, step: int) -> None:
        """Cut after any number of bytes, once and again: what is told is whole, and all of it, once."""
        start = (await self.etcd.get(self.key(b"a"))).header.revision + 1
        etcd = self.client(self.proxy.url, retry=Backoff())
        revisions = await self.write(4)
        for count in self.where_to_cut(step):
            self.proxy.cut_answer(count, how, where=self.answers_to(WATCH), count=2)
            watch = etcd.watcher(self.keys(), start_revision=start)
            revisions.append((await self.etcd.set(self.key(b"live"), bytes(400))).header.revision)
            events = await self.take(watch, len(revisions))
            self.behave()
            watch.stop()
            self.assertEqual([event.mod_revision for event in events], revisions)
            self.assertEqual(watch.revision, revisions[-1])

    def where_to_cut(self: Any, step: int) -> range:
        """Behind what says that the watch was set up, or also in that, and in some of the events."""
        return range(0, 1500, step // 5) if self.scheme == NATIVE else range(400, 3000, step)

    async def test_cut_somewhere(self: Any) -> None:
        await self.cut_somewhere("close", 397)

    async def test_reset_somewhere(self: Any) -> None:
        await self.cut_somewhere("reset", 593)

    async def test_cut_before_it_has_started(self: Any) -> None:
        for after, how in ((0, "close"), (30, "close"), (60, "reset")):
            self.proxy.cut_answer(after, how, where=self.answers_to(WATCH))
            await self.assertFailure(self.soon(self.away.watcher(self.keys()).when_started()), Unavailable)
            self.behave()
        await self.watcher()

    async def test_swallowed_before_it_has_started(self: Any) -> None:
        self.proxy.black_hole("to_client")
        etcd = self.client(self.proxy.url, timeout=1)
        await self.assertFailure(self.soon(etcd.watcher(self.keys()).when_started()), Timeout)

    async def test_wait_for(self: Any) -> None:
        """Its watch goes on when it is lost."""
        waiting = self.away.wait_for(self.key(b"a"), lambda kv: kv.value == b"wanted", timeout=30)
        known: list[ProxyConnection] = []
        for number in range(2):
            known.append(await self.until(lambda: self.stream_but(known)))
            await self.etcd.set(self.key(b"a"), b"%d" % number)
            known[-1].drop("reset")
        await self.etcd.set(self.key(b"a"), b"wanted")
        self.assertEqual((await self.soon(waiting)).value, b"wanted")


@on_every_server(schemes=[GATEWAY])
class WatchesOfHTTP1(_Watches):
    """Each watch has a connection, and each message is a line."""

    async def test_cut_in_a_line(self: Any) -> None:
        """What was whole is told, what was not is not."""
        watch = await self.watcher()
        revisions = await self.write(2)
        await self.until(lambda: self.waiting(watch) == 2)
        self.proxy.cut_line()
        # one, since the longest of several lines need not be the first
        revisions += await self.write(1)
        await self.until(lambda: watch.losses)
        self.assertEqual(self.waiting(watch), 2)
        self.behave()
        self.assertEqual([event.mod_revision for event in await self.take(watch, 3)], revisions)

    async def test_clean_end_is_no_end(self: Any) -> None:
        """A proxy that ends the answer properly, between two lines, has ended the watch all the same."""
        watch = await self.watcher()
        revisions = await self.write(1)
        await self.until(lambda: self.waiting(watch) == 1)
        self.proxy.replace_answer(b"0\r\n\r\n")
        revisions += await self.write(1)
        await self.until(lambda: watch.losses)
        self.behave()
        self.assertEqual([event.mod_revision for event in await self.take(watch, 2)], revisions)

    async def test_late_start_beside_much(self: Any) -> None:
        """Nobody takes events before all key sets have started; so one that starts late must be heard all the same."""
        etcd = self.client(self.proxy.url, timeout=PATIENCE)
        much, few = KeySet(self.key(b"much")), KeySet(self.key(b"few"))
        begin = (await self.etcd.get(few)).header.revision
        for _ in range(12):
            await self.etcd.set(much.key, bytes(1_000_000))
        named = base64.b64encode(few.key)

        def is_late(connection: ProxyConnection) -> bool:
            return named in connection.request

        self.proxy.delay(3600, "to_client", where=is_late)
        # the head apart from the rest, which it would bring along
        self.proxy.bytewise("to_client", where=is_late)
        watch = etcd.watcher([much, few], start_revision=begin + 1)
        self.addCleanup(watch.stop)
        await self.until(lambda: any(b"created" in late.answer for late in filter(is_late, self.proxy.connections)))
        await self.until(lambda: watch.is_paused)
        self.proxy.delay(0)
        await self.soon(watch.when_started())
        await self.take(watch, 12)

    async def test_others_are_not_hurt(self: Any) -> None:
        """One stream is cut; the watches on others do not notice."""
        first, second = await self.watcher(), await self.watcher()
        self.proxy.connections[-2].drop("reset")
        await self.until(lambda: first.losses)
        revisions = await self.write(1)
        for watch in (first, second):
            self.assertEqual([event.mod_revision for event in await self.take(watch, 1)], revisions)
        self.assertEqual(second.losses, 0)


@on_every_server(schemes=[NATIVE])
class WatchesOfHTTP2(_Watches):
    """All watches share a connection, and each message is some frames."""

    async def test_cut_in_a_message(self: Any) -> None:
        """What was whole is told, what was not is not."""
        for more in (1, 8, 9, 12, 14, 100, 300):
            watch = await self.watcher()
            revisions = await self.write(2)
            await self.until(lambda watch=watch: self.waiting(watch) == 2)
            (connection,) = self.proxy.connections
            self.proxy.cut_answer(len(connection.answer) + more, "close")
            revisions += await self.write(1)
            await self.until(lambda watch=watch: watch.losses)
            self.behave()
            self.assertEqual([event.mod_revision for event in await self.take(watch, 3)], revisions)
            watch.stop()
            await self.until(lambda: self.away.stats().streams == 0)

    async def test_clean_end_is_no_end(self: Any) -> None:
        """A server that ends the stream properly has ended the watch all the same."""
        watch = await self.watcher()
        revisions = await self.write(1)
        await self.until(lambda: self.waiting(watch) == 1)
        (connection,) = self.proxy.connections
        (stream_id,) = self.wire.requests(connection, methods_of([WATCH]))
        end = f.pack(f.HEADERS, f.END_HEADERS | f.END_STREAM, stream_id, encode([(b"grpc-status", b"0")]))
        self.proxy.replace_answer(end)
        revisions += await self.write(1)
        await self.until(lambda: watch.losses)
        self.behave()
        self.assertEqual([event.mod_revision for event in await self.take(watch, 2)], revisions)

    async def test_all_go_on(self: Any) -> None:
        """Every watch, each from where it was."""
        watches = [await self.watcher() for _ in range(20)]
        self.assertEqual((self.away.stats().connections, self.away.stats().streams), (1, 1))
        revisions = await self.write(2)
        for watch in watches[::2]:
            await self.take(watch, 1)
        self.proxy.drop("reset")
        revisions += await self.write(2)
        for number, watch in enumerate(watches):
            due = revisions[1 - number % 2 :]
            self.assertEqual([event.mod_revision for event in await self.take(watch, len(due))], due)
            self.assertEqual(watch.losses, 1)

    async def test_one_that_ends_does_not_hurt_the_others(self: Any) -> None:
        """Neither if the server ends it, nor if we do."""
        revisions = await self.write(3)
        stays, stops = await self.watcher(), await self.watcher()
        await self.etcd.compact(revisions[-1])
        with self.assertRaises(Compacted):
            await self.soon(self.away.watcher(self.keys(), start_revision=revisions[0]).__anext__())
        stops.stop()
        revisions = await self.write(1)
        self.assertEqual([event.mod_revision for event in await self.take(stays, 1)], revisions)
        self.assertEqual((self.proxy.accepted, stays.losses), (1, 0))

    async def test_slow_consumer_holds_up_nobody(self: Any) -> None:
        """The server keeps what one watch does not take, and sends what others and calls do."""
        slow, quick = await self.watcher(), await self.watcher()
        for _ in range(40):
            await self.etcd.set(self.key(b"a"), bytes(1_000_000))
            await self.take(quick, 1)
        self.assertTrue(slow.is_paused)
        self.assertLess(self.waiting(slow), 20)
        self.assertEqual((await self.soon(self.away.get(self.key(b"a")))).count, 1)
        self.assertEqual([event.version for event in await self.take(slow, 40)], list(range(1, 41)))
        self.assertEqual(self.away.stats().connections, 1)

    async def test_late_start_beside_much(self: Any) -> None:
        """Nobody takes events before all key sets have started; so one that starts late must be heard all the same."""
        much, few = KeySet(self.key(b"much")), KeySet(self.key(b"few"))
        begin = (await self.etcd.get(few)).header.revision
        for _ in range(30):
            await self.etcd.set(much.key, bytes(1_000_000))
        watch = self.away.watcher([much, few], start_revision=begin + 1)
        self.addCleanup(watch.stop)
        await self.soon(watch.when_started())
        await self.take(watch, 30)


@on_every_server()
class LeasesAndLocks(FaultCase):
    """What depends on being heard in time."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.etcd = self.client(self.own.url)
        self.proxy = await self.proxy_to(self.own.url)
        self.away = self.client(self.proxy.url)

    async def test_never_believed_in_too_long(self: Any) -> None:
        """The client alone is cut off: when the server takes the keys, it has given the leases up before."""
        leases = [await self.away.lease(5, keep_alive=True) for _ in range(3)]
        async with self.etcd.watcher(KeySet(b"k", prefix=True), filters=["NOPUT"]) as watch:
            for number, lease in enumerate(leases):
                await self.etcd.set(b"k%d" % number, b"", lease)
            self.proxy.black_hole("to_server")
            for _ in leases:
                gone = await self.soon(watch.__anext__())
                self.assertNotEqual(leases[int(gone.key[1:])].state, "alive")
        await gatherResults([self.soon(lease.when_lost()) for lease in leases], consumeErrors=True)

    async def test_never_believed_in_too_long_when_answers_are_lost(self: Any) -> None:
        """The server hears every renewal; the client does not know that, and gives the lease up."""
        lease = await self.away.lease(1, keep_alive=True)
        self.proxy.black_hole("to_client")
        await self.soon(lease.when_lost())
        self.assertEqual(lease.state, "lost")

    async def test_old_answers_do_not_renew(self: Any) -> None:
        """Renewals count from when they were sent: an answer that comes late promises less."""
        lease = await self.away.lease(10)
        self.proxy.delay(3600, "to_client")
        seconds = monotonic(self.reactor)
        refreshing = lease.refresh()
        sent_by = seconds()
        await self.until(lambda: self.answers(LEASE_KEEP_ALIVE) and seconds() > sent_by + 0.5)
        self.behave()
        await self.soon(refreshing)
        self.assertLessEqual(lease.deadline, sent_by + 10)

    async def test_renewed_over_a_bad_line(self: Any) -> None:
        """Each second renewal is cut: the lease lives on."""
        lease = await self.away.lease(10, keep_alive=True)
        for number in range(1, 3):
            self.proxy.cut_request(count=1)
            await self.until(lambda number=number: self.proxy.faults.get("cut_request") == number)
            promised = lease.deadline
            await self.until(lambda promised=promised: lease.deadline > promised)
        self.assertEqual(lease.state, "alive")
        self.behave()
        await lease.revoke()

    async def test_watch_of_a_waiting_lock_is_lost(self: Any) -> None:
        """Not the place in the queue: it looks again."""
        holder = await self.etcd.lock(b"mylock")
        waiting = self.away.lock(b"mylock", time_to_live=10)
        streams: list[ProxyConnection] = []
        for _ in range(2):
            stream = await self.until(lambda: self.stream_but(streams))
            streams.append(stream)
            stream.drop("reset")
        await self.until(lambda: self.stream_but(streams))
        self.assertFalse(waiting.called)
        await holder.release()
        lock = await self.soon(waiting)
        self.assertTrue(lock.is_held)
        await lock.release()

    async def test_waiting_lock_is_cut_off(self: Any) -> None:
        """It fails as soon as its lease may have expired, and is never the owner."""
        holder = await self.etcd.lock(b"mylock")
        waiting = self.away.lock(b"mylock", time_to_live=5)
        await self.until(lambda: self.stream_but([]))
        self.proxy.black_hole()
        await holder.release()
        error = await self.assertFailure(self.soon(waiting), Exception)
        self.assertNotIsInstance(error, AttributeError)
        other = await self.soon(self.etcd.lock(b"mylock"))
        await other.release()

    async def test_owner_is_cut_off(self: Any) -> None:
        """Before another one can hold the lock, the first one knows that it does not."""
        lock = await self.away.lock(b"mylock", time_to_live=5)
        guard = lock.guard()
        self.proxy.black_hole()
        other = await self.soon(self.etcd.lock(b"mylock"))
        self.assertFalse(lock.is_held)
        self.assertFalse((await self.etcd.transact(Transaction([guard]))).succeeded)
        await other.release()

    async def test_lost_answer_to_the_entry(self: Any) -> None:
        """The lock fails, and leaves no key behind."""
        self.proxy.cut_answer(where=self.answers_to(TXN))
        await self.assertFailure(self.soon(self.away.lock(b"mylock")), OutcomeUnknown)
        self.assertEqual((await self.etcd.get(KeySet(b"mylock/", prefix=True))).kvs, [])
        self.assertEqual(await self.etcd.leases(), [])
