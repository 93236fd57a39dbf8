"""
Locks of readers and writers, and semaphores, on every server: never more than may be, nobody passed over, and nothing
left behind.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredQueue, gatherResults
from twisted.internet.task import deferLater

from test.real.base import NATIVE, RealCase, on_every_server_at_length, on_newest_server
from test.real.test_cluster import ClusterCase
from txetcd import Client, OpSet, ReadWriteLock, Semaphore, Session, Timeout, Transaction
from txetcd.errors import LockReleased, SessionExpired


class RWCase(RealCase):
    """Locks of one name."""

    def rwlock(self: Any, etcd: Any = None, **options: Any) -> ReadWriteLock:
        return ReadWriteLock(etcd or self.etcd, self.key(b"rwlock"), **options)

    async def kinds(self: Any) -> list[str]:
        """``r`` or ``w`` for each contender, the oldest first."""
        return [chr(kv.key[len(self.key(b"rwlock/"))]) for kv in await self.rwlock().contenders()]

    async def in_line(self: Any, kind: str, place: int) -> Deferred[Any]:
        """A reader or writer that has its place in the queue."""
        rwlock = self.rwlock()
        waiting = (rwlock.reading() if kind == "r" else rwlock.writing()).acquire()

        async def is_there() -> bool:
            return (await self.kinds())[place - 1 :] == [kind]

        await self.until(is_there)
        return waiting

    async def read_and_write(self: Any, clients: list[Client]) -> None:
        """``testRWMutex``: writers are alone, readers are not with writers; each gets it."""
        inside = {"r": 0, "w": 0}
        most = 0
        tokens = {"r": [], "w": []}

        async def contend(number: int) -> None:
            nonlocal most
            rwlock = self.rwlock(clients[number % len(clients)])
            kind = "w" if number % 3 == 0 else "r"
            async with rwlock.writing() if kind == "w" else rwlock.reading() as held:
                inside[kind] += 1
                self.assertIn((min(inside["r"], 1), inside["w"]), [(0, 1), (1, 0)])
                most = max(most, inside["r"])
                tokens[kind].append(held.revision)
                await rwlock.contenders()
                inside[kind] -= 1

        await self.soon(gatherResults([Deferred.fromCoroutine(contend(number)) for number in range(18)]))
        self.assertEqual((len(tokens["w"]), len(tokens["r"])), (6, 12))
        self.assertEqual(tokens["w"], sorted(tokens["w"]))
        self.assertEqual(await self.kinds(), [])


@on_every_server_at_length()
class ReadersAndWriters(RWCase):
    """On one member."""

    async def test_rwmutex_single_node(self: Any) -> None:
        await self.read_and_write([self.client() for _ in range(5)])

    async def test_readers_are_together(self: Any) -> None:
        readers = [self.rwlock(self.client()).reading() for _ in range(3)]
        for reader in readers:
            await self.soon(reader.acquire())
        await self.assertFailure(self.rwlock().writing().acquire(0.2), Timeout)
        self.assertFalse(await self.rwlock().writing().try_acquire())
        other = self.rwlock().reading()
        self.assertTrue(await other.try_acquire())
        for reader in (*readers, other):
            await reader.release()
        await self.assertFailure(other.release(), LockReleased)

    async def test_nobody_is_passed_over(self: Any) -> None:
        """A reader that comes after a writer waits for it, and a writer for the readers before it."""
        first = await self.soon(await self.in_line("r", 1))
        writer = await self.in_line("w", 2)
        later = [await self.in_line("r", place) for place in (3, 4)]
        last = await self.in_line("w", 5)
        self.assertFalse(await self.rwlock().reading().try_acquire())
        self.assertFalse(any(one.called for one in (writer, *later, last)))
        await first.release()
        held = await self.soon(writer)
        self.assertFalse(any(one.called for one in (*later, last)))
        await held.release()
        readers = [await self.soon(one) for one in later]
        self.assertFalse(last.called)
        # the younger one first: the writer watches that, and then the other one
        await readers.pop().release()
        for _ in range(20):
            await self.etcd.get(self.prefix)
        self.assertFalse(last.called)
        await readers.pop().release()
        await (await self.soon(last)).release()

    async def test_writer_gives_up(self: Any) -> None:
        """The readers behind it go on."""
        first = await self.soon(await self.in_line("r", 1))
        writer = await self.in_line("w", 2)
        reader = await self.in_line("r", 3)
        self.assertFalse(reader.called)
        writer.cancel()
        await self.assertFailure(writer, CancelledError)
        await (await self.soon(reader)).release()
        await first.release()
        self.assertEqual(await self.kinds(), [])

    async def test_on_a_session(self: Any) -> None:
        """Its end is the end of all of them."""
        async with Session(self.etcd, 60) as session:
            rwlock = self.rwlock(session=session)
            reader = await rwlock.reading().acquire()
            writer = rwlock.writing()
            await self.assertFailure(writer.acquire(0.3), Timeout)
            self.assertEqual(await self.kinds(), ["r"])
            guard = reader.guard()
        self.assertFalse(reader.is_held)
        self.assertFalse((await self.etcd.transact(Transaction([guard], [OpSet(self.key(b"a"), b"")]))).succeeded)
        await self.assertFailure(writer.acquire(), SessionExpired)
        self.assertEqual(await self.kinds(), [])


@on_every_server_at_length()
class ReadersAndWritersOfCluster(RWCase, ClusterCase):
    """On three members, each asked by another client."""

    async def test_rwmutex_multi_node(self: Any) -> None:
        await self.read_and_write([self.client(url) for url in self.urls_of(self.cluster)])


@on_every_server_at_length()
class Semaphores(RealCase):
    """So many, and no more."""

    async def start(self: Any) -> None:
        self.name = self.key(b"semaphore")

    def semaphore(self: Any, limit: int = 3, etcd: Any = None, **options: Any) -> Semaphore:
        return Semaphore(etcd or self.etcd, self.name, limit, **options)

    async def until_there_are(self: Any, count: int) -> None:
        async def are_there() -> bool:
            return len(await self.semaphore().contenders()) == count

        await self.until(are_there)

    async def test_never_more_than_the_limit(self: Any) -> None:
        """Twenty contenders of four clients, three at a time, in the order of their tokens."""
        clients = [self.client() for _ in range(4)]
        inside: set[int] = set()
        sizes: set[int] = set()

        async def contend(number: int) -> None:
            async with self.semaphore(3, clients[number % 4], time_to_live=30) as held:
                inside.add(held.revision)
                sizes.add(len(inside))
                holders = {kv.create_revision for kv in await held.holders()}
                self.assertLessEqual(len(holders), 3)
                self.assertIn(held.revision, holders)
                await deferLater(self.reactor, 0.01 * (number % 3))
                inside.remove(held.revision)

        await self.soon(gatherResults([Deferred.fromCoroutine(contend(number)) for number in range(20)]))
        self.assertEqual(max(sizes), 3)
        self.assertEqual(await self.semaphore().contenders(), [])

    async def test_first_come_first_served(self: Any) -> None:
        held = [await self.semaphore(2).acquire() for _ in range(2)]
        waiting = []
        for place in range(3, 7):
            waiting.append(self.semaphore(2).acquire())
            await self.until_there_are(place)
        self.assertFalse(await self.semaphore(2).try_acquire())
        # whichever of them is released
        for which in (1, 0, 1, 0):
            self.assertFalse(any(one.called for one in waiting))
            await held.pop(which).release()
            held.append(await self.soon(waiting.pop(0)))
        for one in held:
            await one.release()
        self.assertEqual(await self.semaphore(2).holders(), [])

    async def test_all_are_released_at_once(self: Any) -> None:
        """Each that may go on does."""
        held = [await self.semaphore(3).acquire() for _ in range(3)]
        waiting = [self.semaphore(3, self.client()).acquire() for _ in range(7)]
        await self.until_there_are(10)
        await gatherResults([one.release() for one in held])
        for _ in range(7):
            await self.until(lambda: any(one.called for one in waiting))
            one = next(one for one in waiting if one.called)
            waiting.remove(one)
            await (await one).release()

    async def test_some_give_up(self: Any) -> None:
        """In the queue, as its first, and one that holds it: by its lease."""
        leases = await self.etcd.leases()
        held = [await self.semaphore(2, time_to_live=6).acquire() for _ in range(2)]
        waiting = []
        for place in range(3, 7):
            waiting.append(self.semaphore(2).acquire())
            await self.until_there_are(place)
        for which in (1, 0):
            giving_up = waiting.pop(which)
            giving_up.cancel()
            await self.assertFailure(giving_up, CancelledError)
        await self.until_there_are(4)
        self.assertFalse(any(one.called for one in waiting))
        lease_id = (await self.etcd.get(held[0].key)).kvs[0].lease
        losing = held[0].when_lost()
        await self.post("/v3/lease/revoke", {"ID": str(lease_id)})
        third = await self.soon(waiting.pop(0))
        self.assertFalse(waiting[0].called)
        await held[1].release()
        fourth = await self.soon(waiting.pop(0))
        for one in (third, fourth):
            await one.release()
        await self.soon(losing)
        self.assertEqual(await self.semaphore().contenders(), [])
        await self.until(lambda: self.has_no_new_lease(leases))

    async def test_another_limit(self: Any) -> None:
        """It is refused as long as somebody contends, and leaves nothing behind."""
        held = await self.semaphore(2).acquire()
        leases = await self.etcd.leases()
        for limit in (1, 3):
            error = await self.assertFailure(self.semaphore(limit).acquire(), ValueError)
            self.assertTrue(str(error).startswith("limit of the semaphore"), str(error))
            self.assertIn(f"must be 2, as of all who contend for it now, not {limit}", str(error))
        async with Session(self.etcd, 60) as session:
            await self.assertFailure(self.semaphore(3, session=session).acquire(), ValueError)
        self.assertEqual([kv.key for kv in await held.contenders()], [held.key])
        await self.assert_no_new_leases(leases)
        await held.release()
        await (await self.semaphore(1).acquire()).release()

    async def test_on_a_session(self: Any) -> None:
        async with Session(self.etcd, 60) as session:
            held = [await self.semaphore(2, session=session).acquire() for _ in range(2)]
            self.assertFalse(await self.semaphore(2, session=session).try_acquire())
            await self.assertFailure(self.semaphore(2, session=session).acquire(0.3), Timeout)
            self.assertEqual([kv.key for kv in await held[0].contenders()], [one.key for one in held])
            await held[0].release()
            self.assertEqual([kv.key for kv in await held[1].holders()], [held[1].key])
        self.assertEqual(await self.semaphore().contenders(), [])
        await self.assertFailure(held[1].release(), SessionExpired)


@on_newest_server(schemes=[NATIVE])
class ManyContenders(RealCase):
    """What is released wakes few, however many wait."""

    async def test_hand_over_of_a_semaphore(self: Any) -> None:
        """One deletes its key; who gets it looks, and says so; who is the first in the queue now looks."""
        async with Session(self.etcd, 300) as session:
            for count in (4, 100):
                name = self.key(b"semaphore-%d" % count)
                held = [await Semaphore(self.etcd, name, 2, session=session).acquire() for _ in range(2)]
                won: DeferredQueue[Semaphore] = DeferredQueue()
                for _ in range(count):
                    Semaphore(self.etcd, name, 2, session=session).acquire().addCallback(won.put)
                await self.until(lambda name=name, count=count: self.all_watch(name, count))
                before = self.calls()
                # all but the last, behind whom nobody is
                for place in range(1, count):
                    await held.pop(0).release()
                    held.append(await self.soon(won.get()))
                    wanted = {rpc: calls + 2 * place for rpc, calls in before.items()}
                    await self.until(lambda wanted=wanted: sum(self.calls().values()) >= sum(wanted.values()))
                    self.assertEqual((self.calls(), won.pending), (wanted, []))
                for one in held:
                    await one.release()
                await (await self.soon(won.get())).release()

    def calls(self: Any) -> dict[str, int]:
        return {rpc: stats.calls for rpc, stats in self.etcd.stats().calls.items() if rpc in ("KV.Txn", "KV.Range")}

    async def all_watch(self: Any, name: bytes, count: int) -> bool:
        contenders = await Semaphore(self.etcd, name, 2).contenders()
        return len(contenders) == count + 2 and await self.watchers() >= count and not self.etcd.stats().in_flight
