"""
Locks, on every server: one holder at a time, in the order of asking, and nothing left behind.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks

from test.real.base import RealCase, on_every_server
from test.real.test_faults import FaultCase
from txetcd import (
    Closed,
    CompCreated,
    Expired,
    KeySet,
    LeaseNotFound,
    Lock,
    OpSet,
    OutcomeUnknown,
    Session,
    Timeout,
    Transaction,
    Unavailable,
)
from txetcd._schema import LEASE_KEEP_ALIVE, LEASE_REVOKE, RANGE, TXN, WATCH
from txetcd.errors import LockReleased, SessionExpired


class LockCase(RealCase):
    """Locks, and the queue that the server has of them."""

    url: str

    async def queue(self: Any, name: bytes) -> list[bytes]:
        """The keys of the lock, the holder's first."""
        found = await self.etcd.get(KeySet(name + b"/", prefix=True), sort_target="CREATE", sort_order="ASCEND")
        return [kv.key for kv in found.kvs]

    async def until_queue_has(self: Any, name: bytes, count: int) -> list[bytes]:
        """Waits until so many contend; their keys."""

        async def enough() -> Any:
            keys = await self.queue(name)
            return (keys or [True]) if len(keys) == count else []

        found = await self.until(enough)
        return [] if found == [True] else found

    async def wait_in_line(self: Any, name: bytes, place: int, etcd: Any = None) -> Deferred[Lock]:
        """Asks for the lock, and waits until the request has its place in the queue."""
        waiting = (etcd or self.etcd).lock(name, time_to_live=10)
        await self.until_queue_has(name, place)
        return waiting

    async def revoke_lease_of(self: Any, key: bytes, url: Any = None) -> None:
        """Takes the lease of a contender, as if its process had died long ago."""
        lease_id = (await self.etcd.get(key)).kvs[0].lease
        await self.post("/v3/lease/revoke", {"ID": str(lease_id)}, url)


@on_every_server()
class Held(LockCase):
    """Who holds it, and what that means."""

    async def test_both_spellings(self: Any) -> None:
        name = self.key(b"mylock")
        etcd = self.etcd

        @inlineCallbacks
        def with_yield() -> Any:
            try:
                lock = yield etcd.lock(name, timeout=10)
            except Timeout:
                return "timeout"
            try:
                yield etcd.lock(name, timeout=0.1)
            except Timeout:
                yield lock.release()
                return "second timed out"
            return "two holders"

        self.assertEqual((yield_result := await with_yield()), "second timed out", yield_result)
        async with etcd.lock(name) as lock:
            self.assertTrue(lock.is_held)
            self.assertEqual(await self.queue(name), [lock.key])
        self.assertFalse(lock.is_held)
        self.assertEqual(await self.queue(name), [])

    async def test_one_at_a_time_in_order(self: Any) -> None:
        """Twenty contenders of four clients."""
        name = self.key(b"mylock")
        clients = [self.client() for _ in range(4)]
        history: list[tuple[str, int]] = []

        async def contend(number: int) -> None:
            async with clients[number % 4].lock(name, time_to_live=20) as lock:
                history.append(("in", lock.revision))
                await clients[number % 4].set(self.key(b"shared"), b"%d" % number)
                holder = (await self.queue(name))[0]
                self.assertEqual((holder, lock.is_held), (lock.key, True))
                history.append(("out", lock.revision))

        await gatherResults([Deferred.fromCoroutine(contend(number)) for number in range(20)], consumeErrors=True)
        revisions = [revision for step, revision in history if step == "in"]
        self.assertEqual(history, [(step, revision) for revision in revisions for step in ("in", "out")])
        self.assertEqual((len(revisions), revisions), (20, sorted(set(revisions))))
        self.assertEqual(await self.queue(name), [])

    async def test_key_and_fencing_token(self: Any) -> None:
        name = self.key(b"mylock")
        revisions = []
        for _ in range(3):
            async with self.etcd.lock(name) as lock:
                kv = (await self.etcd.get(lock.key)).kvs[0]
                self.assertEqual((kv.create_revision, kv.value), (lock.revision, b""))
                self.assertEqual(kv.key, name + b"/" + f"{kv.lease:x}".encode())
                revisions.append(lock.revision)
        self.assertEqual(revisions, sorted(set(revisions)))

    async def test_guard(self: Any) -> None:
        name, target = self.key(b"mylock"), self.key(b"target")
        lock = await self.etcd.lock(name)
        guard = lock.guard()
        self.assertEqual(guard, CompCreated(lock.key, "==", lock.revision))
        self.assertTrue((await self.etcd.transact(Transaction([guard], [OpSet(target, b"mine")]))).succeeded)
        await self.revoke_lease_of(lock.key)
        async with self.etcd.lock(name):
            self.assertFalse((await self.etcd.transact(Transaction([guard], [OpSet(target, b"stale")]))).succeeded)
        self.assertEqual((await self.etcd.get(target)).kvs[0].value, b"mine")
        await self.assertFailure(lock.release(), Expired)

    async def test_released_twice(self: Any) -> None:
        lock = await self.etcd.lock(self.key(b"mylock"))
        await lock.release()
        await self.assertFailure(lock.release(), LockReleased)
        self.assertRaises(LockReleased, lock.guard)

    async def test_acquired_again(self: Any) -> None:
        lock = Lock(self.etcd, self.key(b"mylock"))
        revisions = []
        for _ in range(2):
            await lock.acquire()
            self.assertRaises(RuntimeError, lock.acquire)
            revisions.append(lock.revision)
            await lock.release()
        self.assertLess(*revisions)

    async def test_released_in_the_block(self: Any) -> None:
        """Whoever does that is told what came of it, and not once more at the end."""
        async with self.etcd.lock(self.key(b"mylock")) as lock:
            await lock.release()
        async with self.etcd.lock(self.key(b"mylock")) as lock:
            await self.revoke_lease_of(lock.key)
            error = await self.assertFailure(lock.release(), LeaseNotFound)
        self.assertIn("requested lease not found", str(error))

    async def test_lost_in_the_block(self: Any) -> None:
        with self.assertRaises(Expired):
            async with self.etcd.lock(self.key(b"mylock"), time_to_live=6) as lock:
                await self.revoke_lease_of(lock.key)
                await self.soon(lock.when_lost())

    async def test_entered_twice(self: Any) -> None:
        """Nobody gets into a block that the lock does not guard."""
        name = self.key(b"mylock")
        locking = self.etcd.lock(name)
        async with locking:
            pass
        async with self.client().lock(name) as other:
            with self.assertRaises(RuntimeError):
                async with locking:
                    self.fail("two holders")
            self.assertEqual(await self.queue(name), [other.key])
        self.assertEqual(await self.queue(name), [])

    async def test_entered_after_a_callback(self: Any) -> None:
        """One that returns nothing leaves no lock behind that is held for ever."""
        name = self.key(b"mylock")
        seen: list[Lock] = []
        async with self.etcd.lock(name).addCallback(seen.append) as lock:
            self.assertEqual(seen, [lock])
            self.assertEqual(await self.queue(name), [lock.key])
        self.assertEqual(await self.queue(name), [])

    async def test_names_that_begin_alike(self: Any) -> None:
        """They do not wait for one another, as one of the same name does meanwhile."""
        async with self.etcd.lock(self.key(b"a")):
            same = await self.wait_in_line(self.key(b"a"), 2)
            for name in (b"a1", b"a-"):
                async with self.etcd.lock(self.key(name), timeout=10) as other:
                    self.assertEqual(await self.queue(self.key(name)), [other.key])
                    self.assertFalse(same.called)
        await (await self.soon(same)).release()


@on_every_server()
class Waiting(LockCase):
    """In the queue, and out of it."""

    async def test_timeout_leaves_nothing(self: Any) -> None:
        name = self.key(b"mylock")
        async with self.etcd.lock(name) as lock:
            leases = await self.etcd.leases()
            # long enough for the lease to be known when it is over
            error = await self.assertFailure(self.etcd.lock(name, timeout=2), Timeout)
            self.assertIn(repr(name), str(error))
            self.assertFalse(error.maybe_applied)
            # already when it fails
            self.assertEqual(await self.queue(name), [lock.key])
            await self.assert_no_new_leases(leases)
        self.assertEqual(await self.queue(name), [])

    async def test_timeout_at_once(self: Any) -> None:
        """However far it has come when the time is over."""
        name = self.key(b"mylock")
        etcd = self.client()
        for timeout in (0.0001, 0.001, 0.002, 0.004, 0.008):
            try:
                await (await etcd.lock(name, timeout=timeout)).release()
            except Timeout:
                pass
        # waits for what goes on behind the back
        await etcd.close()
        self.assertEqual(await self.queue(name), [])

    async def test_cancel_leaves_nothing(self: Any) -> None:
        name = self.key(b"mylock")
        async with self.etcd.lock(name) as lock:
            leases = await self.etcd.leases()
            etcd = self.client()
            in_line = await self.wait_in_line(name, 2, etcd)
            just_asked = etcd.lock(name)
            for waiting in (just_asked, in_line):
                waiting.cancel()
                await self.assertFailure(waiting, CancelledError)
            await self.until_queue_has(name, 1)
            await self.until(lambda: not etcd.stats().in_flight)
            await etcd.close()
            self.assertEqual(await self.queue(name), [lock.key])
            await self.assert_no_new_leases(leases)

    async def test_closing_the_client_leaves_nothing(self: Any) -> None:
        """What waits ends; its key goes, at the latest with the lease."""
        own = await self.own_server()
        self.etcd = self.client(own.url)
        async with self.etcd.lock(b"mylock"):
            etcd = self.client(own.url)
            waiting = etcd.lock(b"mylock", time_to_live=10)
            await self.until_queue_has(b"mylock", 2)
            closing = etcd.close()
            error = await self.assertFailure(self.soon(waiting), Exception)
            self.assertNotIsInstance(error, Timeout)
            await closing
            await self.until_queue_has(b"mylock", 1)

    async def test_first_come_first_served(self: Any) -> None:
        name = self.key(b"mylock")
        first = await self.etcd.lock(name)
        waiting = [await self.wait_in_line(name, place) for place in (2, 3, 4)]
        holder = first
        for number, one in enumerate(waiting):
            await self.etcd.get(name)
            self.assertFalse(any(later.called for later in waiting[number:]))
            await holder.release()
            holder = await self.soon(one)
        await holder.release()

    async def test_owner_loses_its_lease(self: Any) -> None:
        name = self.key(b"mylock")
        owner = await self.etcd.lock(name, time_to_live=6)
        losing = owner.when_lost()
        waiting = await self.wait_in_line(name, 2, self.client())
        await self.revoke_lease_of(owner.key)
        second = await self.soon(waiting)
        self.assertGreater(second.revision, owner.revision)
        await self.soon(losing)
        self.assertFalse(owner.is_held)
        await second.release()

    async def test_waiter_in_the_middle_dies(self: Any) -> None:
        """The one behind it goes on waiting for the holder."""
        name = self.key(b"mylock")
        holder = await self.etcd.lock(name)
        middle = await self.wait_in_line(name, 2, self.client())
        last = await self.wait_in_line(name, 3, self.client())
        middle.addErrback(lambda failure: failure.trap(Expired, SessionExpired) and None)
        await self.revoke_lease_of((await self.queue(name))[1])
        await self.until_queue_has(name, 2)
        # time for one that takes that for its turn
        for _ in range(20):
            await self.etcd.get(name)
        self.assertFalse(last.called)
        await holder.release()
        last = await self.soon(last)
        self.assertTrue(last.is_held)
        await last.release()
        self.assertIsNone(await self.soon(middle))

    async def test_waiter_without_a_lease_is_never_the_owner(self: Any) -> None:
        """The server takes its place away; that it does not see until it asks."""
        name = self.key(b"mylock")
        holder = await self.etcd.lock(name)
        waiting = await self.wait_in_line(name, 2)
        await self.revoke_lease_of((await self.queue(name))[1])
        await holder.release()
        error = await self.assertFailure(self.soon(waiting), Expired, SessionExpired)
        self.assertIn("mylock", str(error))
        self.assertEqual(await self.queue(name), [])

    async def test_key_of_the_holder_is_deleted(self: Any) -> None:
        """By force, with its lease alive: the next one holds it, and the guard of the first says so."""
        name = self.key(b"mylock")
        holder = await self.etcd.lock(name)
        waiting = await self.wait_in_line(name, 2)
        await self.etcd.delete(holder.key)
        second = await self.soon(waiting)
        self.assertFalse((await self.etcd.transact(Transaction([holder.guard()]))).succeeded)
        self.assertTrue((await self.etcd.transact(Transaction([second.guard()]))).succeeded)
        await second.release()
        await holder.release()

    async def test_compaction_while_waiting(self: Any) -> None:
        name = self.key(b"mylock")
        holder = await self.etcd.lock(name)
        waiting = await self.wait_in_line(name, 2)
        await self.etcd.compact((await self.etcd.set(self.key(b"a"), b"")).header.revision)
        await holder.release()
        await (await self.soon(waiting)).release()


@on_every_server()
class Restarted(LockCase):
    """The server goes, and comes back."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.etcd = self.client(self.own.url)

    async def test_while_it_is_held(self: Any) -> None:
        lock = await self.etcd.lock(b"mylock", time_to_live=10)
        await self.own.kill()
        self.assertTrue(lock.is_held)
        await self.own.start()
        self.assertTrue((await self.etcd.transact(Transaction([lock.guard()], [OpSet(b"a", b"")]))).succeeded)
        self.assertTrue(lock.is_held)
        self.assertEqual(await self.queue(b"mylock"), [lock.key])
        await self.assertFailure(self.etcd.lock(b"mylock", timeout=0.2), Timeout)
        await lock.release()
        await (await self.etcd.lock(b"mylock", timeout=10)).release()

    async def test_for_longer_than_the_time_to_live(self: Any) -> None:
        lock = await self.etcd.lock(b"mylock", time_to_live=3)
        losing = lock.when_lost()
        await self.own.kill()
        await self.soon(losing)
        self.assertFalse(lock.is_held)
        await self.own.start()
        # the server counts from its start anew
        other = await self.soon(self.etcd.lock(b"mylock"))
        self.assertGreater(other.revision, 0)
        await self.assertFailure(lock.release(), Expired)
        await other.release()

    async def test_paused_for_longer_than_the_time_to_live(self: Any) -> None:
        lock = await self.etcd.lock(b"mylock", time_to_live=3)
        guard = lock.guard()
        losing = lock.when_lost()
        await self.pause(self.own)
        await self.soon(losing)
        self.assertFalse(lock.is_held)
        self.own.resume()
        other = await self.soon(self.etcd.lock(b"mylock"))
        self.assertFalse((await self.etcd.transact(Transaction([guard]))).succeeded)
        await other.release()

    async def test_while_it_is_waited_for(self: Any) -> None:
        """A wait that outlives the watch, or fails loudly; no place in the queue is given twice."""
        holder = await self.etcd.lock(b"mylock", time_to_live=10)
        waiting = self.client(self.own.url).lock(b"mylock", time_to_live=10)
        await self.until_queue_has(b"mylock", 2)
        await self.own.kill()
        await self.own.start()
        self.assertTrue(holder.is_held)
        self.assertFalse(waiting.called and isinstance(waiting.result, Lock))
        await holder.release()
        try:
            await (await self.soon(waiting)).release()
        except (Unavailable, OutcomeUnknown):
            await self.until_queue_has(b"mylock", 0)
        await (await self.soon(self.etcd.lock(b"mylock"))).release()

    async def test_down(self: Any) -> None:
        await self.own.kill()
        await self.assertFailure(self.soon(self.etcd.lock(b"mylock", timeout=10)), Unavailable)


@on_every_server()
class CutOff(FaultCase, LockCase):
    """The way to the server is bad, in one direction or for a while."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.etcd = self.client(self.own.url)
        self.proxy = await self.proxy_to(self.own.url)
        self.away = self.client(self.proxy.url)

    async def test_owner_is_heard_but_hears_nothing(self: Any) -> None:
        """It gives the lock up, and its key as well, though the server renews the lease all the time."""
        lock = await self.away.lock(b"mylock", time_to_live=5)
        lease_id = lock.key.rpartition(b"/")[2]
        waiting = await self.wait_in_line(b"mylock", 2)
        self.proxy.black_hole("to_client")

        async def renewed_elsewhere() -> bool:
            await self.post("/v3/lease/keepalive", {"ID": str(int(lease_id, 16))}, self.own.url)
            return bool(waiting.called)

        await self.until(renewed_elsewhere)
        self.assertFalse(lock.is_held)
        await self.assertFailure(lock.release(), Expired)
        other = await waiting
        self.assertEqual(await self.queue(b"mylock"), [other.key])
        await other.release()

    async def test_timeout_says_whether_anything_is_left(self: Any) -> None:
        """Nothing but the holder's key, or, if the server could not be told, that of the waiter as well."""
        holder = await self.etcd.lock(b"mylock")
        error = await self.assertFailure(self.away.lock(b"mylock", timeout=3), Timeout)
        self.assertFalse(error.maybe_applied)
        self.assertEqual(await self.queue(b"mylock"), [holder.key])
        self.proxy.cut_request(where=self.asks(LEASE_REVOKE))
        error = await self.assertFailure(self.away.lock(b"mylock", timeout=3), Timeout)
        text = "the lock b'mylock' was not acquired within 3 seconds; the connection was lost"
        self.assertTrue(str(error).startswith(f"at {self.spoken(self.proxy.url)}: {text}"), str(error))
        self.assertTrue(error.maybe_applied)
        self.assertEqual(len(await self.queue(b"mylock")), 2)
        await holder.release()

    async def test_closing_the_client_takes_the_key_back(self: Any) -> None:
        """However far the waiter has come: nobody comes to wait behind a key that nobody will release."""
        holder = await self.etcd.lock(b"mylock")
        leases = await self.etcd.leases()
        for step in (LEASE_KEEP_ALIVE, TXN, RANGE, WATCH):
            self.behave()
            stuck = self.proxy.faults.get("black_hole", 0)
            self.proxy.black_hole("to_client", where=self.asks(step))
            etcd = self.client(self.proxy.url)
            waiting = etcd.lock(b"mylock", time_to_live=600)
            await self.until_queue_has(b"mylock", 2)
            await self.until(lambda stuck=stuck: self.proxy.faults.get("black_hole", 0) > stuck)
            closing = etcd.close()
            await self.assertFailure(waiting, Closed)
            await closing
            # it has not waited longer than its grace, if the server is slow
            await self.until_queue_has(b"mylock", 1)
            self.assertEqual(await self.queue(b"mylock"), [holder.key])
            await self.until(lambda: self.has_no_new_lease(leases))
        await holder.release()

    async def test_closing_the_client_that_has_lost_its_watch(self: Any) -> None:
        """As at any other time, though nothing is asked just then."""
        holder = await self.etcd.lock(b"mylock")
        etcd = self.client(self.proxy.url)
        waiting = etcd.lock(b"mylock", time_to_live=600)
        # natively one more keeps its lease
        await self.until(lambda: etcd.stats().streams == self.by_transport(1, 2))
        await self.proxy.refuse()
        self.proxy.drop()
        await self.until(lambda: not etcd.stats().streams)
        await self.proxy.accept()
        closing = etcd.close()
        await self.assertFailure(waiting, Closed)
        await closing
        await self.until_queue_has(b"mylock", 1)
        self.assertEqual(await self.queue(b"mylock"), [holder.key])
        await holder.release()

    async def test_cancelled_while_it_is_released(self: Any) -> None:
        """The call is stuck on its way; the lock is free all the same."""

        async def block() -> None:
            async with self.away.lock(b"mylock", time_to_live=600):
                pass

        self.proxy.black_hole("to_server", where=self.asks(LEASE_REVOKE))
        running = Deferred.fromCoroutine(block())
        await self.until(lambda: self.proxy.faults.get("black_hole"))
        waiting = await self.wait_in_line(b"mylock", 2)
        self.behave()
        running.cancel()
        await self.assertFailure(running, CancelledError)
        await (await self.soon(waiting)).release()
        self.assertEqual(await self.etcd.leases(), [])

    async def test_entry_carried_out_late(self: Any) -> None:
        """
        With a session, by a server that was suspended until the key was deleted already: it is deleted once more, long
        before the session ends.
        """
        name = self.key(b"mylock")
        asked: list[Transaction] = []
        transact = self.away.transact

        def recorded(txn: Transaction, *rest: Any, **options: Any) -> Any:
            asked.append(txn)
            return transact(txn, *rest, **options)

        self.patch(self.away, "transact", recorded)
        async with Session(self.away, 600) as session:
            self.proxy.cut_request(1, count=1, where=self.asks(TXN))
            await self.assertFailure(Lock(self.away, name, session=session).acquire(), OutcomeUnknown)
            self.assertEqual(await self.queue(name), [])
            self.assertTrue((await self.etcd.transact(asked[0])).succeeded)
            async with self.etcd.lock(name):
                pass
