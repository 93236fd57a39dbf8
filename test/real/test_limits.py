"""
Many calls, large answers, and what stays behind, on every server.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults

from test.real.base import GATEWAY, NATIVE, QUICK, RealCase, on_every_server, sockets_to
from test.servers import Server
from txetcd import KeySet, OpGet, OpSet, Timeout, Transaction, _json, _protobuf
from txetcd import _messages as messages
from txetcd import _schema as schema
from txetcd._gateway import MAX_CONCURRENT
from txetcd.errors import RequestTooLarge

MEGABYTE = 1024 * 1024


class _Limits(RealCase):
    def sockets(self: Any) -> int:
        return sockets_to(self.url)

    async def no_more_sockets(self: Any) -> None:
        """There are none, or soon there are none, but those that are kept."""
        await self.until(lambda: self.sockets() == self.sockets_kept)


@on_every_server()
class Sockets(_Limits):
    """Calls share a few connections, and each watch has one of its own; or all share one."""

    async def most_while_setting(self: Any) -> int:
        """How many sockets there were at the most while a thousand calls were under way."""
        most = 0

        def look(result: Any) -> None:
            nonlocal most
            most = max(most, self.sockets())

        keys = [self.key(b"%03d" % number) for number in range(1000)]
        # a slow disk may take longer for all of them than the client's default
        setting = [self.etcd.set(key, b"", timeout=100).addCallback(look) for key in keys]
        await gatherResults(setting, consumeErrors=True)
        self.assertEqual((await self.etcd.get(self.keys(), count_only=True)).count, len(keys))
        return most

    async def test_a_thousand_calls(self: Any) -> None:
        self.assertEqual(self.sockets(), 0)
        self.assertEqual(await self.most_while_setting(), self.sockets_for(1000))
        self.assertLessEqual(self.sockets(), self.sockets_for(1000))

    async def test_watches_do_not_count(self: Any) -> None:
        before = await self.watchers()
        watches = [self.etcd.watcher(self.key(b"watched%d" % number)) for number in range(20)]
        for watch in watches:
            await watch.when_started()
        self.assertEqual(await self.watchers(), before + 20)
        await self.until(lambda: self.sockets() == self.sockets_for(0, 20))
        self.assertEqual(await self.most_while_setting(), self.sockets_for(1000, 20))
        await gatherResults([watch.stop() for watch in watches])
        await self.until(lambda: self.sockets() <= self.sockets_for(1000))
        await self.until(lambda: self.has_watchers(before))

    async def has_watchers(self: Any, count: int) -> bool:
        return bool(await self.watchers() == count)

    async def test_close(self: Any) -> None:
        """Nothing stays: not the connections that calls share, nor watches, nor their counterparts at the server."""
        before = await self.watchers()
        client = self.client()
        await gatherResults([client.get(self.key(b"a")) for _ in range(30)])
        await client.watcher([self.key(b"a"), self.key(b"b")]).when_started()
        watching = client.watch(self.key(b"c"), lambda event: None)
        await self.until(lambda: self.has_watchers(before + 3))
        # the question how many watches there are took one as well
        await self.until(lambda: self.sockets() == self.sockets_for(30, 3))
        await client.close()
        self.assertEqual(self.sockets(), 0)
        self.assertIsNone(await watching)
        await self.until(lambda: self.has_watchers(before))

    async def test_close_with_calls(self: Any) -> None:
        """... nor calls that are under way."""
        client = self.client()
        calls = [client.get(self.key(b"a")).addErrback(lambda failure: None) for _ in range(50)]
        await client.close()
        await gatherResults(calls)
        self.assertEqual(self.sockets(), 0)

    async def test_cancelled_watch(self: Any) -> None:
        """The server forgets it."""
        before = await self.watchers()
        watching = self.etcd.watch([self.key(b"a"), self.keys(b"b")], lambda event: None)
        await self.until(lambda: self.has_watchers(before + 2))
        watching.cancel()
        await watching
        await self.until(lambda: self.has_watchers(before))
        await self.no_more_sockets()


class _Cancel(_Limits):
    async def start(self: Any) -> None:
        # the one that cleans up behind the test has no sockets meanwhile
        self.tested = self.client()

    async def assert_cancelled(self: Any, call: Deferred[Any]) -> None:
        call.cancel()
        with self.assertRaises(CancelledError):
            await call

    async def assert_usable(self: Any) -> None:
        self.assertEqual((await self.tested.get(self.key(b"z"))).count, 0)
        # no place in the queue was lost either
        await gatherResults([self.tested.get(self.key(b"z")) for _ in range(2 * MAX_CONCURRENT)])

    async def waiting_calls(self: Any, count: int) -> list[Deferred[Any]]:
        """Calls that the server cannot answer yet: they wait for a lock that somebody holds."""
        holder = self.client()
        await holder._calls.call(schema.LOCK, messages.LockRequest(self.key(b"lock")))
        request = messages.LockRequest(self.key(b"lock"))
        calls = [self.tested._calls.call(schema.LOCK, request, 100) for _ in range(count)]
        # one key is that of the holder
        await self.until(lambda: self.has_locks(holder, 1 + count))
        await holder.close()
        await self.until(lambda: self.sockets() == self.sockets_for(count))
        return calls

    async def has_locks(self: Any, etcd: Any, count: int) -> bool:
        return bool((await etcd.get(self.keys(b"lock"))).count == count)


@on_every_server()
class Cancel(_Cancel):
    """A call that is cancelled leaves no socket, nor anything at the server; for all else see ``test_cancel``."""

    async def test_sent(self: Any) -> None:
        """The server notices, too."""
        for call in await self.waiting_calls(1):
            await self.assert_cancelled(call)
        await self.no_more_sockets()
        await self.until(lambda: self.has_locks(self.tested, 1))
        await self.assert_usable()

    async def test_answered(self: Any) -> None:
        """Too late: nothing happens."""
        call = self.tested.get(self.key(b"a"))
        found = await call
        call.cancel()
        self.assertEqual(found.count, 0)
        self.assertEqual(self.sockets(), 1)


class _Full(_Cancel):
    async def queued_timeout(self: Any, obstacle: str) -> None:
        """The deadline counts there as well, and says that nothing was sent."""
        calls = await self.waiting_calls(MAX_CONCURRENT)
        with self.assertRaisesRegex(Timeout, f"could not be sent within 0.2 seconds{obstacle}") as caught:
            await self.tested.set(self.key(b"a"), b"", timeout=0.2)
        self.assertFalse(caught.exception.maybe_applied)
        for call in calls:
            await self.assert_cancelled(call)
        self.assertEqual((await self.tested.get(self.key(b"a"))).count, 0)


@on_every_server(schemes=[GATEWAY])
class FullGateway(_Full):
    """As many calls as there are sockets for: the others wait."""

    async def test_queued_timeout(self: Any) -> None:
        await self.queued_timeout("")


def can_limit_streams(server: Server) -> bool:
    """Whether it can be told how many streams a client may have."""
    return server.version >= (3, 5, 7) or (3, 4, 22) <= server.version < (3, 5)


@on_every_server(can_limit_streams, [NATIVE])
class FullNative(_Full):
    """As many streams as the server allows: the others wait, and their order is kept."""

    async def start(self: Any) -> None:
        own = await self.own_server([*QUICK, f"--max-concurrent-streams={MAX_CONCURRENT}"])
        self.url = self.spoken(own.url)
        self.etcd, self.tested = self.client(), self.client()

    async def test_queued_timeout(self: Any) -> None:
        await self.queued_timeout(": the server takes no more at a time")

    async def test_many_more_calls_than_it_allows(self: Any) -> None:
        """All are answered, in their order, and over one connection."""
        answered: list[int] = []

        def set_one(number: int) -> Deferred[Any]:
            setting = self.tested.set(self.key(b"a"), b"%d" % number, timeout=100)
            return setting.addCallback(lambda done: answered.append(done.header.revision))

        await gatherResults([set_one(number) for number in range(1000)], consumeErrors=True)
        self.assertEqual(len(set(answered)), 1000)
        (kv,) = (await self.etcd.get(self.key(b"a"))).kvs
        self.assertEqual((kv.version, kv.mod_revision), (1000, max(answered)))
        self.assertEqual(self.tested.stats().connections, 1)

    async def test_watches_take_one_place(self: Any) -> None:
        """All together; and calls go on."""
        watches = [self.tested.watcher(self.key(b"a")) for _ in range(2 * MAX_CONCURRENT)]
        for watch in watches:
            await watch.when_started()
        for number in range(2 * MAX_CONCURRENT):
            await self.tested.set(self.key(b"a"), b"%d" % number)
        for watch in watches:
            values = [(await watch.__anext__()).value for _ in range(2 * MAX_CONCURRENT)]
            self.assertEqual(values, [b"%d" % number for number in range(2 * MAX_CONCURRENT)])

    async def test_leases_live_on(self: Any) -> None:
        """They are renewed on a stream, which keeps its place whatever waits for one."""
        lease = await self.tested.lease(5, keep_alive=True)
        promised = lease.deadline
        await self.until(lambda: lease.deadline > promised)
        calls = await self.waiting_calls(MAX_CONCURRENT - 1)
        waiting = self.tested.set(self.key(b"a"), b"", timeout=100)
        for _ in range(3):
            promised = lease.deadline
            await self.until(lambda promised=promised: lease.deadline > promised)
        self.assertEqual((lease.state, waiting.called), ("alive", False))
        for call in calls:
            await self.assert_cancelled(call)
        await waiting
        await lease.revoke()
        await self.assert_usable()


@on_every_server()
class Sizes(_Limits):
    """What is large."""

    async def fill(self: Any, count: int) -> int:
        """Sets that many keys of a megabyte each; returns the first revision."""
        first = None
        for number in range(count):
            done = await self.etcd.set(self.key(b"%02d" % number), bytes([number]) * MEGABYTE)
            first = first or done.header.revision
        return int(first or 0)

    async def test_answer(self: Any) -> None:
        """Ten megabytes at once, and in a transaction."""
        await self.fill(10)
        found = await self.etcd.get(self.keys())
        self.assertEqual([kv.value for kv in found.kvs], [bytes([number]) * MEGABYTE for number in range(10)])
        outcome = await self.etcd.transact(Transaction(success=[OpGet(self.keys()), OpGet(self.keys(), limit=1)]))
        self.assertEqual(outcome.responses[0].kvs, found.kvs)

    async def test_many_keys(self: Any) -> None:
        names = [self.key(b"%04d" % number) for number in range(5000)]
        for at in range(0, len(names), 100):
            await self.etcd.submit(Transaction(success=[OpSet(name, b"value") for name in names[at : at + 100]]))
        self.assertEqual([kv.key for kv in (await self.etcd.get(self.keys())).kvs], names)
        self.assertEqual([kv.key async for kv in self.etcd.iterate(self.keys())], names)
        self.assertEqual((await self.etcd.delete(self.keys(), return_previous=True)).previous[-1].key, names[-1])

    def message_sizes(self: Any) -> list[int]:
        """The size of each message that a watch brings from now on, as it comes."""
        sizes: list[int] = []
        codec, name = (_protobuf, "decode") if self.scheme == NATIVE else (_json, "decode_line")
        decode = getattr(codec, name)

        def measure(rpc: Any, message: bytes, *more: Any) -> Any:
            if rpc is schema.WATCH:
                sizes.append(len(message))
            return decode(rpc, message, *more)

        self.patch(codec, name, measure)
        return sizes

    async def test_watch_messages(self: Any) -> None:
        """Twenty megabytes of what happened before come in fragments, of two megabytes before base64."""
        first = await self.fill(20)
        sizes = self.message_sizes()
        values = []
        async with self.etcd.watcher(self.keys(), start_revision=first) as watch:
            async for event in watch:
                values.append((event.value[:1], len(event.value)))
                if len(values) == 20:
                    break
        self.assertEqual(values, [(bytes([number]), MEGABYTE) for number in range(20)])
        self.assertGreater(len(sizes), 10)
        self.assertLess(max(sizes), 4 * MEGABYTE)

    async def test_request_too_large(self: Any) -> None:
        """It is refused, and the next one is not."""
        for size in (MEGABYTE * 3 // 2, 3 * MEGABYTE, 20 * MEGABYTE):
            with self.assertRaises(RequestTooLarge) as caught:
                await self.etcd.set(self.key(b"a"), bytes(size))
            self.assertFalse(caught.exception.maybe_applied)
            self.assertEqual((await self.etcd.get(self.key(b"a"))).count, 0)
        await self.etcd.set(self.key(b"a"), bytes(MEGABYTE))

    async def test_large_key(self: Any) -> None:
        key = self.key(bytes(100_000))
        await self.etcd.set(key, b"")
        self.assertEqual([kv.key for kv in (await self.etcd.get(KeySet(key))).kvs], [key])
        async with self.etcd.watcher(key) as watch:
            await self.etcd.delete(key)
            self.assertEqual((await watch.__anext__()).key, key)
