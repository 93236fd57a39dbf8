"""
Work queues: an item is held by one worker, comes back if that dies, and is done once it is said so.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from test.fakes import run
from test.memory import ANSWER, DELAY, DROP, LOSE, Store
from test.properties import PROPERTY
from test.test_queue import Play, StoreCase
from txetcd import (
    CompCreated,
    Error,
    HeldItem,
    OutcomeUnknown,
    PermissionDenied,
    Queue,
    Timeout,
    Unavailable,
    WorkQueue,
)
from txetcd.errors import SessionExpired
from txetcd.recipes._order import PAGE


class WorkCase(StoreCase):
    """Workers of a store in memory."""

    def work(self, **options: Any) -> WorkQueue:
        return WorkQueue(self.store.client(), b"q", **options)

    def with_items(self, *values: bytes) -> WorkQueue:
        queue = self.work()
        self.now(queue.put_all(values))
        return queue

    def assert_nothing_left(self) -> None:
        self.store.settle(1)
        super().assert_nothing_left()
        self.assertEqual(self.store.below(b"__q/held/"), [])


class HoldingTests(WorkCase):
    """From one worker to the other."""

    def test_done(self) -> None:
        queue = self.with_items(b"a", b"b")
        item = self.now(queue.take())
        self.assertEqual((item.value, item.is_held, self.now(queue.size())), (b"a", True, 2))
        self.assertEqual(self.store.below(b"q/"), sorted([item.key, *self.store.below(b"q/")[1:]]))
        (hold,) = self.store.below(b"__q/held/")
        self.assertEqual(item.guard(), CompCreated(hold, "==", item.revision))
        self.assertEqual(self.store.keys[hold].create_revision, item.revision)
        self.assertIn(self.store.keys[hold].lease, self.store.leases)
        self.assertEqual(repr(item), f"<HeldItem {item.key!r} HELD>")
        self.assertIsNone(self.now(item.done()))
        self.assertEqual((item.is_held, self.now(queue.size())), (False, 1))
        self.assertEqual(repr(item), f"<HeldItem {item.key!r} DONE>")
        self.assert_nothing_left()

    def test_given_back(self) -> None:
        """At its place, to whoever asks next."""
        queue = self.with_items(b"a", b"b")
        first = self.now(queue.take())
        self.assertIsNone(self.now(first.give_back()))
        self.assertEqual(repr(first), f"<HeldItem {first.key!r} GIVEN BACK>")
        again = self.now(self.work().take())
        self.assertEqual((again.value, again.key), (b"a", first.key))
        self.assertGreater(again.revision, first.revision)
        self.now(again.done())
        self.assert_nothing_left()

    def test_one_lease_for_all_that_is_held(self) -> None:
        queue = self.with_items(b"a", b"b", b"c")
        items = [self.now(queue.take()) for _ in range(3)]
        self.assertEqual([item.value for item in items], [b"a", b"b", b"c"])
        for item in items:
            self.assertEqual(len(self.store.leases), 1)
            self.now(item.done())
        self.assert_nothing_left()

    def test_worker_dies(self) -> None:
        queue, other = self.with_items(b"a"), self.work()
        item = self.now(queue.take())
        taking = other.take()
        self.store.settle(12)
        self.assertNoResult(taking)
        losing = item.when_lost()
        self.store.expire(self.store.keys[self.store.below(b"__q/held/")[0]].lease)
        again = self.now(taking)
        self.assertEqual((again.value, again.key), (b"a", item.key))
        self.assertGreater(again.revision, item.revision)
        self.clock.advance(20)
        self.store.settle()
        self.successResultOf(losing)
        self.assertFalse(item.is_held)
        self.assertEqual(repr(item), f"<HeldItem {item.key!r} LOST>")
        error = self.error(item.done(), SessionExpired)
        self.assertIn("was lost before it was done", str(error))
        self.assertRaises(RuntimeError, item.give_back)
        self.now(again.done())
        self.assert_nothing_left()

    def test_lost_and_taken_again_by_the_same(self) -> None:
        """That whoever has lost it says so does not concern who holds it now."""
        queue = self.with_items(b"a")
        lost = self.now(queue.take())
        self.store.expire(self.store.keys[self.store.below(b"__q/held/")[0]].lease)
        self.clock.advance(20)
        self.store.settle()
        again = self.now(queue.take())
        self.error(lost.done(), SessionExpired)
        taking = queue.take()
        self.store.settle(1)
        self.assertNoResult(taking)
        self.cancelled(taking)
        self.now(again.done())
        self.assert_nothing_left()

    def test_session(self) -> None:
        """What is held goes with it, and nothing else."""
        client = self.store.client()
        session = self.begin(client)
        queue = WorkQueue(client, b"q", session=session)
        self.now(queue.put_all([b"a", b"b"]))
        first, second = self.now(queue.take()), self.now(queue.take())
        self.now(first.done())
        self.assertEqual(self.store.leases, {session.lease_id})
        self.now(session.close())
        self.error(queue.take(), SessionExpired)
        self.error(second.done(), SessionExpired)
        again = self.now(self.work().take())
        self.assertEqual(again.value, b"b")
        self.now(again.done())
        self.assert_nothing_left()

    def test_block(self) -> None:
        queue = self.with_items(b"a")

        async def work(fail: bool) -> None:
            async with await queue.take() as item:
                self.assertEqual(item.value, b"a")
                if fail:
                    raise ZeroDivisionError()

        self.error(run(work(True)), ZeroDivisionError)
        self.assertEqual(self.now(queue.size()), 1)
        self.now(run(work(False)))
        self.assertEqual(self.now(queue.size()), 0)
        self.assert_nothing_left()

    def test_said_in_the_block(self) -> None:
        queue = self.with_items(b"a")

        async def work() -> None:
            async with await queue.take() as item:
                await item.give_back()

        self.now(run(work()))
        self.assertEqual(self.now(queue.size()), 1)
        self.assert_nothing_left()

    def test_twice(self) -> None:
        queue = self.with_items(b"a")
        item = self.now(queue.take())
        done = item.done()
        with self.assertRaisesRegex(RuntimeError, "HELD> cannot be given back: it was done before, or is just about"):
            item.give_back()
        self.now(done)
        self.assertRaises(RuntimeError, item.done)
        self.assert_nothing_left()

    def test_nothing_to_put(self) -> None:
        self.assertIsNone(self.successResultOf(self.work().put_all([])))

    def test_many_held(self) -> None:
        """More than are read at a time."""
        queue = self.work()
        for _ in range(2):
            self.now(queue.put_all([b""] * 100))
        items = [self.now(queue.take()) for _ in range(PAGE + 50)]
        other = self.work()
        one = self.now(other.take())
        self.assertNotIn(one.key, {item.key for item in items})
        for item in [*items, one]:
            self.now(item.done())
        self.assert_nothing_left()

    def test_cost(self) -> None:
        client = self.store.client()
        session = self.begin(client)
        queue = WorkQueue(client, b"q", session=session)
        self.now(queue.put_all([b"a", b"b"]))
        self.asked()
        item = self.now(queue.take())
        self.assertEqual(self.asked(), ["Txn", "Txn"])
        self.now(item.done())
        self.assertEqual(self.asked(), ["Txn"])
        self.now(session.close())

    def test_waiting(self) -> None:
        """What comes back wakes one who waits, and what is put does so, too."""
        queue, waiting, producer = self.with_items(b"a"), [self.work() for _ in range(5)], self.work()
        item = self.now(queue.take())
        taking = []
        for one in waiting:
            taking.append(one.take())
            self.store.settle()
        self.now(item.give_back())
        first = self.now(taking[0])
        self.assert_pending(*taking[1:])
        self.now(producer.put(b"b"))
        second = self.now(taking[1])
        self.assertEqual((first.value, second.value), (b"a", b"b"))
        self.assert_pending(*taking[2:])
        for one in taking[2:]:
            self.cancelled(one)
        for held in (first, second):
            self.now(held.done())
        self.assert_nothing_left()

    def test_cancelled(self) -> None:
        """However far it has come, nobody holds it afterwards."""
        for calls in range(8):
            queue = self.with_items(b"a")
            taking = queue.take()
            for _ in range(calls):
                self.store.step()
            if taking.called:
                self.now(self.successResultOf(taking).give_back())
            else:
                self.cancelled(taking)
            self.assert_nothing_left()
            self.now(self.now(queue.take()).done())
            self.assert_nothing_left()

    def test_timeout(self) -> None:
        taking = self.work().take(timeout=1)
        self.store.settle(2)
        error = self.failureResultOf(taking, Timeout).value
        self.assertIn("nothing was taken from the work queue b'q' within 1 second", str(error))
        self.assertFalse(error.maybe_applied)
        self.assert_nothing_left()

    def test_items_of_a_queue(self) -> None:
        """Its producers put items for workers."""
        self.now(Queue(self.store.client(), b"q").put(b"a"))
        item = self.now(self.work().take())
        self.assertEqual(item.value, b"a")
        self.now(item.done())
        self.assert_nothing_left()


class LostAnswerTests(WorkCase):
    """What has come of a call is found out."""

    def test_take(self) -> None:
        for fate in (LOSE, DROP, DELAY):
            queue = self.with_items(b"a")
            taking = queue.take()
            self.store.step()
            self.store.step()
            self.store.step(fate, -1)
            self.store.settle(1)
            item = self.successResultOf(taking)
            self.store.catch_up()
            self.now(item.done())
            self.assertEqual(self.now(queue.size()), 0)
            self.assert_nothing_left()

    def test_take_that_is_carried_out_late(self) -> None:
        """When the one who had it has given it back: nobody holds it without knowing."""
        queue, other = self.with_items(b"a"), self.work()
        taking = queue.take()
        self.store.step()
        while [call.rpc.name for call in self.store.waiting][-1:] != ["KV.Txn"]:
            self.store.step()
        self.store.step(DELAY, -1)
        with self.store.silent(0):
            held = self.now(other.take())
        self.store.settle(1)
        self.assertNoResult(taking)
        self.now(held.give_back())
        self.store.settle(1)
        item = self.successResultOf(taking)
        self.store.catch_up()
        self.now(item.done())
        self.assert_nothing_left()

    def test_take_that_is_carried_out_when_nobody_takes(self) -> None:
        """On a session, which would hold it as long as it lasts."""
        client = self.store.client()
        session = self.begin(client)
        queue, other = WorkQueue(client, b"q", session=session), self.work()
        self.now(queue.put(b"a"))
        taking = queue.take()
        self.store.step()
        self.store.step(DELAY)
        with self.store.silent(0):
            held = self.now(other.take())
        self.store.settle(1)
        self.cancelled(taking)
        self.now(held.give_back())
        self.store.catch_up()
        self.now(self.now(other.take()).done())
        self.now(session.close())
        self.assert_nothing_left()

    def test_end(self) -> None:
        for end, left in ((HeldItem.done, 0), (HeldItem.give_back, 1)):
            for fate in (LOSE, DROP, DELAY):
                self.store = Store(self.clock)
                queue = self.with_items(b"a")
                item = self.now(queue.take())
                ending = end(item)
                self.store.step(fate, -1)
                self.store.settle(1)
                self.assertIsNone(self.successResultOf(ending))
                self.store.catch_up()
                self.assertEqual(self.now(queue.size()), left)
                self.assert_nothing_left()

    def test_nobody_answers_when_it_is_given_back(self) -> None:
        """What was taken for nobody, in an outage for which its lease lasts, and as long as it takes."""
        queue = self.with_items(b"a")
        taking = queue.take()
        self.store.step()
        while [call.rpc.name for call in self.store.waiting][-1:] != ["KV.Txn"]:
            self.store.step()
        self.cancelled(taking)
        self.store.step(ANSWER, -1)
        for _ in range(120):
            self.clock.advance(0.5)
            while self.store.waiting:
                self.store.step(DROP if self.store.waiting[0].rpc.name == "KV.Txn" else ANSWER)
        self.store.settle(2)
        self.assert_nothing_left()
        self.now(self.now(self.work().take()).done())

    def test_lost_when_it_is_given_back(self) -> None:
        queue = self.with_items(b"a")
        taking = queue.take()
        self.store.step()
        while [call.rpc.name for call in self.store.waiting][-1:] != ["KV.Txn"]:
            self.store.step()
        self.cancelled(taking)
        self.store.step(ANSWER, -1)
        for _ in range(140):
            self.clock.advance(0.5)
            while self.store.waiting:
                self.store.step(DROP)
        for lease in list(self.store.leases):
            self.store.expire(lease)
        self.store.settle(2)
        self.assert_nothing_left()
        self.now(self.now(queue.take()).done())

    def test_end_that_was_refused(self) -> None:
        """When it was asked again: it may be done."""
        queue = self.with_items(b"a")
        item = self.now(queue.take())
        ending = item.done()
        self.store.step(LOSE, -1)
        self.clock.advance(0.5)
        self.store.waiting[-1].reply(PermissionDenied(7, "etcdserver: permission denied"))
        self.assertTrue(self.failureResultOf(ending, PermissionDenied).value.maybe_applied)
        self.assertIsNone(self.now(item.done()))
        self.assert_nothing_left()

    def test_end_that_was_not_sent(self) -> None:
        """It is held as before."""
        queue = self.with_items(b"a")
        item = self.now(queue.take())
        ending = item.done()
        self.store.waiting[-1].reply(Unavailable(None, "refused"))
        self.failureResultOf(ending, Unavailable)
        self.assertTrue(item.is_held)
        self.now(item.done())
        self.assert_nothing_left()

    def test_end_while_nobody_answers(self) -> None:
        queue = self.with_items(b"a")
        item = self.now(queue.take())
        ending = item.done()
        self.store.step(LOSE, -1)
        while not ending.called:
            self.clock.advance(0.5)
            while self.store.waiting:
                self.store.step(DROP if self.store.waiting[0].rpc.name == "KV.Txn" else ANSWER)
        self.failureResultOf(ending, OutcomeUnknown)
        self.assertIsNone(self.now(item.done()))
        self.assert_nothing_left()

    def test_cancelled_end(self) -> None:
        """It can be asked again, whatever has come of it."""
        for fate in (ANSWER, LOSE, DROP):
            self.store = Store(self.clock)
            queue = self.with_items(b"a")
            item = self.now(queue.take())
            ending = item.done()
            if fate != ANSWER:
                self.store.step(fate, -1)
            self.cancelled(ending)
            self.assertIsNone(self.now(item.done()))
            self.assertEqual(self.now(queue.size()), 0)
            self.assert_nothing_left()


FATES = st.sampled_from(
    [ANSWER, ANSWER, ANSWER, ANSWER, ANSWER, LOSE, DROP, DELAY, "put", "get", "done", "back", "cancel", "tick", "late"]
)


class Work(Play):
    """What workers do besides."""

    def __init__(self, case: WorkCase, actors: list[Any]) -> None:
        super().__init__(case, actors)
        self.values: set[bytes] = set()

    def done(self, number: int) -> None:
        if self.got:
            item = self.got.pop(number % len(self.got))
            self.values.add(item.value)
            item.done().addErrback(lambda failure: failure.trap(Error) and None)

    def back(self, number: int) -> None:
        if self.got:
            item = self.got.pop(number % len(self.got))
            item.give_back().addErrback(lambda failure: failure.trap(Error) and None)


class Everything(WorkCase):
    """Producers and workers, and whatever can happen to their calls."""

    @PROPERTY
    @given(st.lists(st.tuples(FATES, st.integers(0, 30)), max_size=60))
    def test_none_is_lost(self, steps: list[tuple[str, int]]) -> None:
        self.store = Store(self.clock)
        work = Work(self, [self.work() for _ in range(3)])
        work.run(steps)
        keys = [item.key for item in work.got]
        self.assertEqual(len(keys), len(set(keys)))
        while work.got:
            work.done(0)
        self.store.settle(1)
        worker = self.work()
        while self.now(worker.size()):
            work.got.append(self.now(worker.take()))
            work.done(0)
            self.store.settle()
        work.assert_put(work.values, is_exact=False)
        self.assert_nothing_left()
