"""
What etcd's own tests ask of a mutex, by their names; locks on a session; and a thousand contenders.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.defer import CancelledError, DeferredQueue, gatherResults

from test.real.base import NATIVE, on_every_server_at_length, on_newest_server
from test.real.test_cluster import ClusterCase
from test.real.test_lock import LockCase
from txetcd import Client, Lock, OpSet, Session, Timeout, Transaction
from txetcd.errors import LockReleased, SessionExpired

CONTENDERS = 1000
"""How many wait for the same lock."""


class MutexCase(LockCase):
    """Locks of one name."""

    async def lock_one_after_the_other(self: Any, clients: list[Client]) -> None:
        """``testMutexLock``: each of them gets it once, one at a time, and the next one only after it."""
        name = self.key(b"test-mutex")
        won: list[Lock] = []
        waiting = [Lock(etcd, name).acquire().addCallback(won.append) for etcd in clients]
        for _ in clients:
            await self.until(lambda: won)
            self.assertEqual(len(won), 1)
            lock = won.pop()
            self.assertEqual((await lock.contenders())[0].key, lock.key)
            self.assertEqual(won, [])
            await lock.release()
        await gatherResults(waiting)
        self.assertEqual(await self.queue(name), [])

    async def try_all_at_once(self: Any, clients: list[Client]) -> None:
        """``testMutexTryLock``: one of them gets it, and none waits."""
        name = self.key(b"test-mutex")
        leases = await self.etcd.leases()
        locks = [Lock(etcd, name) for etcd in clients]
        has_won = await self.soon(gatherResults([lock.try_acquire() for lock in locks]))
        self.assertEqual(has_won.count(True), 1)
        (winner,) = [lock for lock in locks if lock.is_held]
        self.assertEqual(await self.queue(name), [winner.key])
        await winner.release()
        self.assertEqual(await self.queue(name), [])
        await self.until(lambda: self.has_no_new_lease(leases))


@on_every_server_at_length()
class Mutex(MutexCase):
    """On one member."""

    async def test_mutex_lock_single_node(self: Any) -> None:
        await self.lock_one_after_the_other([self.client() for _ in range(5)])

    async def test_mutex_try_lock_single_node(self: Any) -> None:
        await self.try_all_at_once([self.client() for _ in range(5)])

    async def test_mutex_lock_session_expired(self: Any) -> None:
        """A waiter whose session is closed is told so, and never that it holds the lock."""
        name = self.key(b"test-mutex")
        holder = await Lock(self.etcd, name).acquire()
        session = await Session(self.client(), 60).start()
        waiting = Lock(session._etcd, name, session=session).acquire()
        await self.until_queue_has(name, 2)
        await session.close()
        await holder.release()
        error = await self.assertFailure(self.soon(waiting), SessionExpired)
        self.assertIn("test-mutex", str(error))
        self.assertEqual(await self.queue(name), [])

    async def test_mutex_lock_session_expired_at_the_server(self: Any) -> None:
        """So is one whose lease was revoked by somebody else."""
        name = self.key(b"test-mutex")
        async with self.etcd.lock(name):
            session = await Session(self.client(), 60).start()
            waiting = Lock(session._etcd, name, session=session).acquire()
            await self.until_queue_has(name, 2)
            await self.post("/v3/lease/revoke", {"ID": str(session.lease_id)})
        await self.assertFailure(self.soon(waiting), SessionExpired)

    async def test_mutex_unlock(self: Any) -> None:
        """Of a lock that was not acquired, or released before."""
        lock = Lock(self.etcd, self.key(b"test-mutex"))
        await self.assertFailure(lock.release(), LockReleased)
        await lock.acquire()
        await lock.release()
        await self.assertFailure(lock.release(), LockReleased)
        self.assertRaises(LockReleased, lock.guard)

    async def test_mutex_session_relock(self: Any) -> None:
        """
        Go's mutex is held by the session: another one of it has it, too. Ours is held by the object, so that those who
        share a session exclude one another; and none is stuck for ever.
        """
        name = self.key(b"test-mutex")
        async with Session(self.etcd, 60) as session:
            first, second = Lock(self.etcd, name, session=session), Lock(self.etcd, name, session=session)
            await first.acquire()
            self.assertRaises(RuntimeError, first.acquire)
            self.assertFalse(await second.try_acquire())
            await self.assertFailure(second.acquire(0.2), Timeout)
            waiting = second.acquire()
            await self.until_queue_has(name, 2)
            await first.release()
            await self.soon(waiting)
            self.assertEqual(await self.queue(name), [second.key])
            await second.release()
            self.assertEqual(await self.queue(name), [])

    async def test_mutex_waits_on_current_holder(self: Any) -> None:
        """The one in the middle dies with its session; the next one goes on waiting for the holder."""
        name = self.key(b"test-mutex")
        holder = await Lock(self.etcd, name).acquire()
        session = await Session(self.client(), 60).start()
        middle = Lock(session._etcd, name, session=session).acquire()
        await self.until_queue_has(name, 2)
        last = await self.wait_in_line(name, 3, self.client())
        await session.close()
        await self.assertFailure(middle, SessionExpired)
        await self.until_queue_has(name, 2)
        for _ in range(20):
            await self.etcd.get(name)
        self.assertFalse(last.called)
        await holder.release()
        await (await self.soon(last)).release()

    async def test_mutex_try_lock(self: Any) -> None:
        """The example of Go."""
        name = self.key(b"my-lock")
        first, second = Lock(self.etcd, name), Lock(self.client(), name)
        self.assertTrue(await first.try_acquire())
        self.assertFalse(await second.try_acquire())
        await first.release()
        self.assertTrue(await second.try_acquire())
        await second.release()


@on_every_server_at_length()
class MutexOfCluster(MutexCase, ClusterCase):
    """On three members, each asked by another client."""

    async def test_mutex_lock_multi_node(self: Any) -> None:
        await self.lock_one_after_the_other([self.client(url) for url in self.urls_of(self.cluster)])

    async def test_mutex_try_lock_multi_node(self: Any) -> None:
        await self.try_all_at_once([self.client(url) for url in self.urls_of(self.cluster)])


@on_every_server_at_length()
class OnASession(LockCase):
    """Several locks on one lease."""

    async def test_several(self: Any) -> None:
        """Each is given up alone, or all with the session."""
        names = [self.key(name) for name in (b"a", b"b")]
        async with Session(self.etcd, 60) as session:
            locks = [await Lock(self.etcd, name, session=session).acquire() for name in names]
            self.assertEqual({kv.lease for lock in locks for kv in await lock.contenders()}, {session.lease_id})
            await locks[0].release()
            self.assertEqual([len(await self.queue(name)) for name in names], [0, 1])
            self.assertTrue(locks[1].is_held)
        self.assertFalse(locks[1].is_held)
        self.assertEqual([len(await self.queue(name)) for name in names], [0, 0])
        await self.assertFailure(locks[1].release(), SessionExpired)
        await self.assertFailure(Lock(self.etcd, names[0], session=session).acquire(), SessionExpired)

    async def test_timeout_and_cancel_leave_nothing(self: Any) -> None:
        """However far it has come."""
        name = self.key(b"mylock")
        async with self.etcd.lock(name) as holder, Session(self.etcd, 60) as session:
            for timeout in (0.0001, 0.001, 0.002, 0.004, 0.5):
                error = await self.assertFailure(Lock(self.etcd, name, session=session).acquire(timeout), Timeout)
                if not error.maybe_applied:
                    self.assertEqual(await self.queue(name), [holder.key])
            in_line = Lock(self.etcd, name, session=session).acquire()
            await self.until_queue_has(name, 2)
            for waiting in (Lock(self.etcd, name, session=session).acquire(), in_line):
                waiting.cancel()
                await self.assertFailure(waiting, CancelledError)
            await self.until(lambda: not self.etcd.stats().in_flight)
            self.assertEqual(await self.queue(name), [holder.key])
            self.assertTrue(session.is_alive)

    async def test_guard(self: Any) -> None:
        name = self.key(b"mylock")
        async with Session(self.etcd, 60) as session:
            lock = await Lock(self.etcd, name, session=session).acquire()
            guard = lock.guard()
            self.assertTrue((await self.etcd.transact(Transaction([guard], [OpSet(self.key(b"a"), b"1")]))).succeeded)
            await lock.release()
            self.assertFalse((await self.etcd.transact(Transaction([guard], [OpSet(self.key(b"a"), b"2")]))).succeeded)


@on_newest_server(schemes=[NATIVE])
class ManyContenders(LockCase):
    """The hand-over costs the same number of calls however many wait, and wakes one of them."""

    async def contend(self: Any, name: bytes, count: int) -> DeferredQueue[Lock]:
        """So many contend, each on the session; all but the holder have their watch. Who gets it is put there."""
        started = await self.watchers()
        won: DeferredQueue[Lock] = DeferredQueue()
        for _ in range(count):
            Lock(self.etcd, name, session=self.session).acquire().addCallback(won.put)
        await self.until_queue_has(name, count)

        async def all_watch() -> bool:
            return await self.watchers() == started + count - 1 and not self.etcd.stats().in_flight

        await self.until(all_watch)
        return won

    def calls(self: Any) -> Counter[str]:
        return Counter({rpc: stats.calls for rpc, stats in self.etcd.stats().calls.items()})

    async def hand_over(self: Any, name: bytes, count: int) -> Counter[str]:
        """From one to the other until all of them had it; what that has cost."""
        started = await self.watchers()
        won = await self.contend(name, count)
        lock = await won.get()
        order = [kv.key for kv in await lock.contenders()]
        self.assertEqual((lock.key, len(order)), (order[0], count))
        before = self.calls()
        for key in order[1:]:
            await lock.release()
            lock = await self.soon(won.get())
            self.assertEqual((lock.key, won.pending), (key, []))
        spent = self.calls() - before
        await lock.release()
        self.assertEqual((await self.watchers(), await self.queue(name)), (started, []))
        return spent

    async def test_hand_over(self: Any) -> None:
        """One deletes its key; one is woken, which looks at the key before its own, and at its own."""
        async with Session(self.etcd, 300) as self.session:
            for count in (2, CONTENDERS):
                spent = await self.hand_over(self.key(b"lock-%d" % count), count)
                self.assertEqual(spent, {"KV.Txn": count - 1, "KV.Range": 2 * (count - 1)})
