"""
Work queues, on every server: each item is done at least once, whoever dies.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from test.real.base import RealCase, on_every_server_at_length
from test.real.test_faults import FaultCase
from txetcd import Backoff, Error, HeldItem, KeySet, OpSet, Session, Timeout, Transaction, WorkQueue
from txetcd._schema import TXN
from txetcd.errors import LockReleased, SessionExpired


class WorkCase(RealCase):
    """Work, and who holds it."""

    async def start(self: Any) -> None:
        await super().start()
        self.name = self.key(b"work")
        self.addCleanup(self.etcd.delete, KeySet(b"__" + self.name, prefix=True))

    def work(self: Any, etcd: Any = None, **options: Any) -> WorkQueue:
        return WorkQueue(etcd or self.etcd, self.name, **options)

    async def holds(self: Any) -> int:
        found = await self.etcd.get(KeySet(b"__" + self.name + b"/held/", prefix=True), count_only=True)
        return int(found.count)

    async def assert_nothing_left(self: Any) -> None:
        self.assertEqual((await self.work().size(), await self.holds()), (0, 0))

        async def is_left() -> bool:
            return not (await self.etcd.get(KeySet(b"__" + self.name + b"/line/", prefix=True))).kvs

        await self.until(is_left)

    async def work_off(self: Any, queue: WorkQueue, done: list[bytes], total: int, tries: int = 1) -> None:
        """Until all is done by all of them; what fails is tried again."""
        while len(set(done)) < total:
            try:
                item = await queue.take(timeout=1)
                try:
                    await item.done()
                except SessionExpired:
                    continue
                done.append(item.value)
            except Timeout:
                continue
            except Error:
                if tries == 1:
                    raise


@on_every_server_at_length()
class Working(WorkCase):
    """One worker, and many."""

    async def test_done_and_given_back(self: Any) -> None:
        queue = self.work()
        await queue.put_all([b"a", b"b"])
        first = await queue.take()
        self.assertEqual((first.value, first.is_held, await self.holds()), (b"a", True, 1))
        second = await self.work(self.client()).take()
        self.assertEqual(second.value, b"b")
        await first.give_back()
        again = await self.work(self.client()).take()
        self.assertEqual((again.key, again.value), (first.key, b"a"))
        self.assertGreater(again.revision, first.revision)
        await again.done()
        await second.done()
        await self.assert_nothing_left()

    async def test_guard(self: Any) -> None:
        queue, target = self.work(), self.key(b"target")
        await queue.put(b"a")
        item = await queue.take()
        guard = item.guard()
        self.assertTrue((await self.etcd.transact(Transaction([guard], [OpSet(target, b"1")]))).succeeded)
        await item.give_back()
        self.assertRaises(LockReleased, item.guard)
        self.assertFalse((await self.etcd.transact(Transaction([guard], [OpSet(target, b"2")]))).succeeded)
        async with await queue.take() as again:
            self.assertTrue((await self.etcd.transact(Transaction([again.guard()]))).succeeded)
        await self.assert_nothing_left()

    async def test_many_workers(self: Any) -> None:
        """All of it is done, and nothing twice as long as nobody dies."""
        producers = [self.work(self.client()) for _ in range(4)]
        done: list[bytes] = []

        async def produce(number: int) -> None:
            for at in range(15):
                await producers[number].put(b"%d/%d" % (number, at))

        running = [produce(number) for number in range(4)]
        running += [self.work_off(self.work(self.client()), done, 60) for _ in range(6)]
        await self.soon(gatherResults(list(map(Deferred.fromCoroutine, running)), consumeErrors=True))
        self.assertEqual(sorted(done), sorted(b"%d/%d" % (number, at) for number in range(4) for at in range(15)))
        await self.assert_nothing_left()

    async def test_worker_dies(self: Any) -> None:
        """What it held is done by another, which waits for it."""
        own = await self.own_server()
        self.etcd = self.client(own.url)
        await self.work().put_all([b"a", b"b", b"c"])
        dying = self.client(own.url)
        held = [await self.work(dying, time_to_live=2).take() for _ in range(2)]
        await dying.close()
        done: list[bytes] = []
        await self.soon(self.work_off(self.work(), done, 3))
        self.assertEqual(sorted(done), [b"a", b"b", b"c"])
        self.assertEqual([item.is_held for item in held], [False, False])
        await self.assert_nothing_left()

    async def test_lease_is_lost(self: Any) -> None:
        queue = self.work()
        await queue.put(b"a")
        session = await Session(self.etcd, 6).start()
        item = await self.work(session=session).take()
        losing = item.when_lost()
        taking = queue.take()
        await self.post("/v3/lease/revoke", {"ID": str(session.lease_id)})
        again = await self.soon(taking)
        self.assertEqual((again.key, again.value), (item.key, b"a"))
        await self.assertFailure(item.done(), SessionExpired)
        await self.soon(losing)
        await again.done()
        await self.assertFailure(session.close(), SessionExpired)
        await self.assert_nothing_left()

    async def test_one_is_woken(self: Any) -> None:
        """By what is put, and by what is given back."""
        async with Session(self.etcd) as session:
            taking = []
            for number in range(10):
                taking.append(self.work(session=session).take())
                await self.until(lambda number=number: self.in_line(number + 1))
            await self.work().put(b"a")
            for number in range(5):
                item: HeldItem = await self.soon(taking[number])
                self.assertFalse(any(one.called for one in taking[number + 1 :]))
                await item.give_back()
            await (await self.soon(taking[5])).done()
            for one in taking[6:]:
                one.cancel()
                one.addErrback(lambda failure: None)
            await self.assert_nothing_left()

    async def in_line(self: Any, count: int) -> bool:
        found = await self.etcd.get(KeySet(b"__" + self.name + b"/line/", prefix=True), count_only=True)
        return bool(found.count == count)

    async def test_own_lease_is_revoked(self: Any) -> None:
        leases = await self.etcd.leases()
        queue = self.work()
        await queue.put_all([b"a", b"b"])
        items = [await queue.take(), await queue.take()]
        self.assertEqual(len(set(await self.etcd.leases()) - set(leases)), 1)
        for item in items:
            await item.done()
        await self.until(lambda: self.has_no_new_lease(leases))


@on_every_server_at_length()
class Cut(WorkCase, FaultCase):
    """Answers are lost."""

    async def test_take(self: Any) -> None:
        queue = self.work(self.away)
        for number in range(5):
            await self.work().put(b"%d" % number)
            async with Session(self.away) as session:
                queue = self.work(self.away, session=session)
                self.proxy.cut_answer(where=self.answers_to(TXN), count=1)
                # the first answer is of looking
                try:
                    item = await self.soon(queue.take())
                except Error as error:
                    self.assertFalse(error.maybe_applied)
                    self.behave()
                    item = await self.soon(queue.take())
                self.behave()
                self.assertEqual((item.value, await self.holds()), (b"%d" % number, 1))
                await item.done()
        await self.assert_nothing_left()

    async def test_end(self: Any) -> None:
        queue = self.work(self.away)
        for end, left in ((HeldItem.give_back, 1), (HeldItem.done, 0)):
            if left:
                await queue.put(b"a")
            for _ in range(3):
                item = await queue.take()
                self.proxy.cut_answer(where=self.answers_to(TXN), count=1)
                await self.soon(end(item))
                self.behave()
                self.assertEqual((await self.holds(), await self.work().size()), (0, left))
                if not left:
                    await queue.put(b"a")
        await (await queue.take()).done()
        await self.assert_nothing_left()

    async def test_everything_is_cut(self: Any) -> None:
        """Again and again: all of it is done at least once."""
        self.proxy.misbehave(0.1, ["cut_answer", "cut_request"])
        done: list[bytes] = []
        clients = [self.client(self.proxy.url, retry=Backoff()) for _ in range(6)]

        async def produce(number: int) -> None:
            queue = self.work(clients[number])
            for at in range(10):
                await queue.put(b"%d/%d" % (number, at))

        running = [produce(number) for number in range(3)]
        queues = [self.work(client, time_to_live=5) for client in clients[3:]]
        running += [self.work_off(queue, done, 30, tries=0) for queue in queues]
        await self.soon(gatherResults(list(map(Deferred.fromCoroutine, running)), consumeErrors=True))
        self.behave()
        # what is left is taken back behind the back of those who were told at once
        await self.until(lambda: not any(queue._holding._consumers._is_serving for queue in queues))
        self.assertEqual(set(done), {b"%d/%d" % (number, at) for number in range(3) for at in range(10)})

        async def is_all() -> bool:
            return bool(await self.work().size() == 0 and await self.holds() == 0)

        await self.until(is_all)
