"""
Queues, on every server: each item once and in order, whoever puts and gets, and whatever is cut on the way.
"""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred, gatherResults

from test.real.base import RealCase, on_every_server_at_length
from test.real.test_faults import FaultCase
from txetcd import (
    Backoff,
    Client,
    KeySet,
    OutcomeUnknown,
    PriorityQueue,
    Queue,
    Session,
    Timeout,
)
from txetcd._schema import TXN
from txetcd.errors import SessionExpired


class QueueCase(RealCase):
    """Queues, and what is left of them."""

    async def start(self: Any) -> None:
        await super().start()
        self.name = self.key(b"queue")
        # those are not below the prefix of the test
        self.beside = KeySet(b"__" + self.name, prefix=True)
        self.addCleanup(self.etcd.delete, self.beside)

    async def put_all(self: Any, queue: Any, writer: int, count: int) -> None:
        """One after the other."""
        for number in range(count):
            value = b"%d/%d" % (writer, number)
            if isinstance(queue, Queue):
                await queue.put(value)
            else:
                await queue.put(value, writer % 3)

    async def get_all(self: Any, queue: Any, got: _Shared, count: int) -> None:
        """
        Until all of them have got so many. None of them gives up before that: an item that is taken just then goes back
        to its place, behind others that were got meanwhile.
        """
        while len(got) < count:
            getting = queue.get()
            got.waiting.append(getting)
            try:
                got.append(await getting)
            except CancelledError:
                return
        for one in got.waiting:
            one.cancel()

    async def transfer(
        self: Any, cls: Any, writers: int, readers: int, count: int, client: Callable[[], Client]
    ) -> list[list[bytes]]:
        """Many put, and many get; what each of these has got, once it is all."""
        each = [_Shared() for _ in range(readers)]
        total = writers * count
        putting = [self.put_all(cls(client(), self.name), writer, count) for writer in range(writers)]
        queues = [cls(client(), self.name) for _ in each]
        getting = [self.get_all(queue, got, total) for queue, got in zip(queues, each)]
        await self.soon(gatherResults(list(map(Deferred.fromCoroutine, putting + getting)), consumeErrors=True))
        # what is left is taken back behind the back of those who were told at once
        await self.until(lambda: not any(queue._taking._consumers._is_serving for queue in queues))
        everything = [value for got in each for value in got.own]
        self.assertEqual(sorted(everything), sorted(b"%d/%d" % (w, n) for w in range(writers) for n in range(count)))
        return [got.own for got in each]

    def assert_in_order(self: Any, got: list[bytes]) -> None:
        """What comes from one writer comes in the order in which that one has put it."""
        numbers: dict[int, list[int]] = {}
        for value in got:
            writer, number = value.split(b"/")
            numbers.setdefault(int(writer), []).append(int(number))
        for series in numbers.values():
            self.assertEqual(series, sorted(series))

    async def assert_nothing_left(self: Any) -> None:
        """No item, and nobody in the line."""
        self.assertEqual(await Queue(self.etcd, self.name).size(), 0)

        async def is_left() -> bool:
            return not (await self.etcd.get(KeySet(b"__" + self.name + b"/line/", prefix=True))).kvs

        await self.until(is_left)


class _Shared(list):  # type: ignore[type-arg]
    """What a reader has got; its length is what all of the test have."""

    total: list[bytes] = []
    waiting: list[Deferred[bytes]] = []

    def __init__(self) -> None:
        super().__init__()
        self.own: list[bytes] = []
        _Shared.total, _Shared.waiting = [], []

    def __len__(self) -> int:
        return len(_Shared.total)

    def append(self, value: bytes) -> None:
        self.own.append(value)
        _Shared.total.append(value)


@on_every_server_at_length()
class Queues(QueueCase):
    """As with etcd's own recipes."""

    async def test_queue_one_reader_one_writer(self: Any) -> None:
        queue, other = Queue(self.etcd, self.name), Queue(self.client(), self.name)
        for number in range(5):
            await queue.put(b"%d" % number)
        await queue.put_all([b"%d" % number for number in range(5, 10)])
        self.assertEqual(await queue.size(), 10)
        self.assertEqual([await other.get() for _ in range(10)], [b"%d" % number for number in range(10)])
        await self.assert_nothing_left()

    async def test_queue_many_reader_one_writer(self: Any) -> None:
        for got in await self.transfer(Queue, 1, 5, 60, self.client):
            self.assert_in_order(got)
        await self.assert_nothing_left()

    async def test_queue_one_reader_many_writer(self: Any) -> None:
        (got,) = await self.transfer(Queue, 5, 1, 20, self.client)
        self.assert_in_order(got)
        await self.assert_nothing_left()

    async def test_queue_many_reader_many_writer(self: Any) -> None:
        for got in await self.transfer(Queue, 6, 6, 20, self.client):
            self.assert_in_order(got)
        await self.assert_nothing_left()

    async def test_pr_queue_one_reader_one_writer(self: Any) -> None:
        queue = PriorityQueue(self.etcd, self.name)
        for number in range(30):
            await queue.put(b"%d" % number, (7 * number) % 5)
        got = [int(await PriorityQueue(self.client(), self.name).get()) for _ in range(3)]
        got += [int(await queue.get()) for _ in range(27)]
        self.assertEqual(got, sorted(range(30), key=lambda number: ((7 * number) % 5, number)))
        await self.assert_nothing_left()

    async def test_pr_queue_many_reader_many_writer(self: Any) -> None:
        for got in await self.transfer(PriorityQueue, 6, 6, 20, self.client):
            self.assert_in_order(got)
        await self.assert_nothing_left()

    async def test_order_of_taking(self: Any) -> None:
        """What several have taken at the same time was taken in the order in which it was put."""
        queue = Queue(self.etcd, self.name)
        for number in range(4):
            await queue.put_all([b"%d/%d" % (number, at) for at in range(25)])
        created = {kv.key: (kv.create_revision, kv.key) for kv in (await self.etcd.get(self.keys(b"queue/"))).kvs}
        begin = (await self.etcd.get(self.key(b"-"))).header.revision + 1
        consumers = [Queue(self.client(), self.name) for _ in range(4)]
        await self.soon(gatherResults([consumers[number % 4].get() for number in range(100)]))
        deleted: list[bytes] = []
        async with self.etcd.watcher(self.keys(b"queue/"), start_revision=begin) as watch:
            while len(deleted) < 100:
                event = await watch.__anext__()
                if event.is_delete:
                    deleted.append(event.key)
        self.assertEqual(deleted, sorted(created, key=lambda key: created[key]))

    async def test_large_and_empty(self: Any) -> None:
        queue = Queue(self.etcd, self.name)
        values = [b"", bytes(1_000_000), bytes(range(256))]
        for value in values:
            await queue.put(value)
        self.assertEqual([await queue.get() for _ in values], values)

    async def test_names_that_begin_alike(self: Any) -> None:
        await Queue(self.etcd, self.name + b"2").put(b"a")
        await self.assertFailure(Queue(self.etcd, self.name).get(timeout=0.2), Timeout)

    async def test_items_of_others(self: Any) -> None:
        """As Go's ``recipe.Queue`` puts them."""
        for number in (1, 2):
            await self.etcd.create(self.name + b"/170000000000000000%d" % (3 - number), b"%d" % number)
        queue = Queue(self.etcd, self.name)
        self.assertEqual([await queue.get(), await queue.get()], [b"1", b"2"])


@on_every_server_at_length()
class Waiting(QueueCase):
    """When there is nothing."""

    async def test_until_something_is_put(self: Any) -> None:
        queue = Queue(self.etcd, self.name)
        getting = queue.get()
        await self.until_in_line(1)
        await Queue(self.client(), self.name).put(b"a")
        self.assertEqual(await self.soon(getting), b"a")
        await self.assert_nothing_left()

    async def until_in_line(self: Any, count: int) -> None:
        line = KeySet(b"__" + self.name + b"/line/", prefix=True)

        async def enough() -> bool:
            return len((await self.etcd.get(line)).kvs) == count

        await self.until(enough)

    async def test_no_herd(self: Any) -> None:
        """A hundred wait for an item: it wakes one of them, and costs no more calls than with a few."""
        async with Session(self.etcd) as session:
            clients = [self.client() for _ in range(4)]
            getting = []
            for number in range(100):
                getting.append(Queue(clients[number % 4], self.name, session=session).get())
                await self.until_in_line(number + 1)

            def calls() -> int:
                return sum(client.stats().calls["KV.Txn"].calls for client in clients)

            producer = Queue(self.etcd, self.name)
            for number in range(10):
                before = calls()
                await producer.put(b"%d" % number)
                self.assertEqual(await self.soon(getting[number]), b"%d" % number)
                await self.until_in_line(99 - number)
                # to look and to take; and the next one looks. Some may have looked because their time has come
                self.assertLess(calls() - before, 30)
            for one in getting[10:]:
                one.cancel()
                await self.assertFailure(one, CancelledError)
            await self.until_in_line(0)

    async def test_cancelled_and_timed_out(self: Any) -> None:
        queue = Queue(self.etcd, self.name)
        leases = await self.etcd.leases()
        error = await self.assertFailure(queue.get(timeout=0.5), Timeout)
        self.assertFalse(error.maybe_applied)
        self.assertEqual((await self.etcd.get(KeySet(b"__" + self.name + b"/line/", prefix=True))).kvs, [])
        getting = queue.get()
        await self.until_in_line(1)
        getting.cancel()
        await self.assertFailure(getting, CancelledError)
        await self.until_in_line(0)
        await self.until(lambda: self.has_no_new_lease(leases))

    async def test_cancelled_again_and_again(self: Any) -> None:
        """Whenever that is, no item is lost."""
        queue = Queue(self.etcd, self.name)
        values = [b"%d" % number for number in range(20)]
        await queue.put_all(values)
        for number in range(40):
            getting = [queue.get() for _ in range(1 + number % 3)]
            await self.etcd.get(self.name, timeout=60) if number % 4 else None
            for one in getting:
                if one.called:
                    values.remove(await one)
                else:
                    one.cancel()
                    await self.assertFailure(one, CancelledError)
        got = []
        while len(got) < len(values):
            got.append(await self.soon(queue.get()))
        self.assertEqual(got, values)
        await self.assert_nothing_left()

    async def test_session_is_lost(self: Any) -> None:
        session = await Session(self.etcd, 10).start()
        getting = Queue(self.etcd, self.name, session=session).get()
        await self.until_in_line(1)
        await self.post("/v3/lease/revoke", {"ID": str(session.lease_id)})
        await self.assertFailure(self.soon(getting), SessionExpired)
        await self.assertFailure(session.close(), SessionExpired)

    async def test_compacted_while_waiting(self: Any) -> None:
        getting = Queue(self.etcd, self.name).get()
        await self.until_in_line(1)
        await self.etcd.compact((await self.etcd.set(self.key(b"a"), b"")).header.revision)
        await Queue(self.etcd, self.name).put(b"a")
        self.assertEqual(await self.soon(getting), b"a")

    async def test_closed_while_waiting(self: Any) -> None:
        etcd = self.client()
        getting = Queue(etcd, self.name, time_to_live=3).get()
        await self.until_in_line(1)
        await etcd.close()
        await self.assertFailure(self.soon(getting), Exception)
        await self.until_in_line(0)

    async def test_restarted_while_waiting(self: Any) -> None:
        own = await self.own_server()
        self.etcd = self.client(own.url, retry=Backoff())
        getting = Queue(self.etcd, self.name).get()
        await self.until_in_line(1)
        await self.crash(own)
        await Queue(self.client(own.url, retry=Backoff()), self.name).put(b"a")
        self.assertEqual(await self.soon(getting), b"a")


@on_every_server_at_length()
class Cut(QueueCase, FaultCase):
    """Answers are lost."""

    async def test_put(self: Any) -> None:
        """It is there once, whether or not it was taken meanwhile."""
        for cls, rest in ((Queue, ()), (PriorityQueue, (1,))):
            queue, other = cls(self.away, self.name), cls(self.etcd, self.name)
            for number in range(5):
                await queue.put(b"before", *rest)
                self.assertEqual(await other.get(), b"before")
                waiting = other.get()
                self.proxy.cut_answer(where=self.answers_to(TXN), count=1)
                await self.soon(queue.put(b"%d" % number, *rest))
                self.behave()
                self.assertEqual(await self.soon(waiting), b"%d" % number)
                self.assertEqual(await other.size(), 0)
        await self.assert_nothing_left()

    async def test_get(self: Any) -> None:
        for cls, rest in ((Queue, ()), (PriorityQueue, (1,))):
            queue, other = cls(self.away, self.name), cls(self.etcd, self.name)
            await other.put_all([b"%d" % number for number in range(15)], *rest)
            for number in range(0, 15, 3):
                # knows which ones are next, so that it is the taking whose answer is lost
                self.assertEqual(await queue.get(), b"%d" % number)
                await self.proxy.refuse()
                self.proxy.cut_answer(where=self.answers_to(TXN), count=1)
                getting = self.soon(queue.get())
                await self.until(lambda number=number: self.is_taken(other, 15 - number - 2))
                # so that the journal is not of that one any more
                self.assertEqual(await other.get(), b"%d" % (number + 2))
                await self.proxy.accept()
                self.behave()
                self.assertEqual(await getting, b"%d" % (number + 1))
            self.assertEqual(await other.size(), 0)
        await self.assert_nothing_left()

    async def is_taken(self: Any, queue: Any, size: int) -> bool:
        return bool(await queue.size() <= size)

    async def test_get_and_compaction(self: Any) -> None:
        """What cannot be known any more is told."""
        queue, other = Queue(self.away, self.name), Queue(self.etcd, self.name)
        await other.put_all([b"a", b"b", b"c", b"d"])
        self.assertEqual(await queue.get(), b"a")
        await self.proxy.refuse()
        self.proxy.cut_answer(where=self.answers_to(TXN), count=1)
        getting = self.soon(queue.get())
        await self.until(lambda: self.is_taken(other, 2))
        self.assertEqual(await other.get(), b"c")
        await self.etcd.compact((await self.etcd.set(self.key(b"a"), b"")).header.revision)
        await self.proxy.accept()
        self.behave()
        error = await self.assertFailure(getting, OutcomeUnknown)
        self.assertIn("compacted", str(error))
        self.assertEqual(await self.soon(queue.get()), b"d")

    async def test_everything_is_cut(self: Any) -> None:
        """Again and again, whatever is just asked: each item once, and in order."""
        for cls in (Queue, PriorityQueue):
            self.proxy.misbehave(0.1, ["cut_answer", "cut_request"])
            got = await self.transfer(cls, 3, 3, 15, lambda: self.client(self.proxy.url, retry=Backoff()))
            self.behave()
            self.assertTrue(self.proxy.faults.get("cut_answer"))
            for one in got:
                self.assert_in_order(one)
        await self.assert_nothing_left()
