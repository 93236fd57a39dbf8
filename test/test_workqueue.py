"""
Work queues: an item is held by one worker, comes back if that dies, and is done once it is said so.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from test.fakes import run
from test.properties import PROPERTY
from test.store import ANSWER, DELAY, DROP, LOSE
from test.test_queue import Play, QueueCase
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
from txetcd.errors import LockReleased, SessionExpired
from txetcd.recipes._order import PAGE


class WorkCase(QueueCase):
    """Workers of a store in memory."""

    def work(self, **options: Any) -> WorkQueue:
        return WorkQueue(self.peer().client, b"q", **options)

    def with_items(self, *values: bytes) -> WorkQueue:
        queue = self.work()
        self.done(queue.put_all(values))
        return queue

    def hold(self) -> Any:
        """The key of the item that is held, as it is stored."""
        (hold,) = self.store.below(b"__q/held/")
        return self.store.kv(hold)

    def assert_nothing_left(self) -> None:
        self.settle(1)
        super().assert_nothing_left()
        self.assertEqual(self.store.below(b"__q/held/"), [])


class HoldingTests(WorkCase):
    """From one worker to the other."""

    def test_done(self) -> None:
        queue = self.with_items(b"a", b"b")
        item = self.done(queue.take())
        self.assertEqual((item.value, item.is_held, self.done(queue.size())), (b"a", True, 2))
        self.assertEqual(self.store.below(b"q/"), sorted([item.key, *self.store.below(b"q/")[1:]]))
        self.assertEqual(item.guard(), CompCreated(self.hold().key, "==", item.revision))
        self.assertEqual(self.hold().create_revision, item.revision)
        self.assertIn(self.hold().lease, self.store.leases)
        self.assertEqual(repr(item), f"<HeldItem {item.key!r} HELD>")
        self.assertIsNone(self.done(item.done()))
        self.assertEqual((item.is_held, self.done(queue.size())), (False, 1))
        self.assertEqual(repr(item), f"<HeldItem {item.key!r} DONE>")
        self.assert_nothing_left()

    def test_none_at_once(self) -> None:
        self.done(self.work().put_all([]))
        self.assertEqual(self.store.history, [])

    def test_given_back(self) -> None:
        """At its place, to whoever asks next."""
        queue = self.with_items(b"a", b"b")
        first = self.done(queue.take())
        self.assertIsNone(self.done(first.give_back()))
        self.assertEqual(repr(first), f"<HeldItem {first.key!r} GIVEN BACK>")
        again = self.done(self.work().take())
        self.assertEqual((again.value, again.key), (b"a", first.key))
        self.assertGreater(again.revision, first.revision)
        self.done(again.done())
        self.assert_nothing_left()

    def test_one_lease_for_all_that_is_held(self) -> None:
        queue = self.with_items(b"a", b"b", b"c")
        items = [self.done(queue.take()) for _ in range(3)]
        self.assertEqual([item.value for item in items], [b"a", b"b", b"c"])
        for item in items:
            self.assertEqual(len(self.store.leases), 1)
            self.done(item.done())
        self.assert_nothing_left()

    def test_worker_dies(self) -> None:
        queue, other = self.with_items(b"a"), self.work()
        item = self.done(queue.take())
        taking = other.take()
        self.settle(12)
        self.assertNoResult(taking)
        losing = item.when_lost()
        self.store.expire(self.hold().lease)
        again = self.done(taking)
        self.assertEqual((again.value, again.key), (b"a", item.key))
        self.assertGreater(again.revision, item.revision)
        self.clock.advance(20)
        self.settle()
        self.successResultOf(losing)
        self.assertFalse(item.is_held)
        self.assertEqual(repr(item), f"<HeldItem {item.key!r} LOST>")
        error = self.failed(item.done(), SessionExpired)
        self.assertIn("was lost before it was done", str(error))
        self.failed(item.give_back(), LockReleased)
        self.done(again.done())
        self.assert_nothing_left()

    def test_lost_and_taken_again_by_the_same(self) -> None:
        """That whoever has lost it says so does not concern who holds it now."""
        queue = self.with_items(b"a")
        lost = self.done(queue.take())
        self.store.expire(self.hold().lease)
        self.clock.advance(20)
        self.settle()
        again = self.done(queue.take())
        self.failed(lost.done(), SessionExpired)
        taking = queue.take()
        self.settle(1)
        self.assertNoResult(taking)
        self.cancelled(taking)
        self.done(again.done())
        self.assert_nothing_left()

    def test_session(self) -> None:
        """What is held goes with it, and nothing else."""
        client = self.peer().client
        session = self.begin(client)
        queue = WorkQueue(client, b"q", session=session)
        self.done(queue.put_all([b"a", b"b"]))
        first, second = self.done(queue.take()), self.done(queue.take())
        self.done(first.done())
        self.assertEqual(set(self.store.leases), {session.lease_id})
        self.done(session.close())
        self.failed(queue.take(), SessionExpired)
        self.failed(second.done(), SessionExpired)
        again = self.done(self.work().take())
        self.assertEqual(again.value, b"b")
        self.done(again.done())
        self.assert_nothing_left()

    def test_block(self) -> None:
        queue = self.with_items(b"a")

        async def work(taking: Any, fail: bool) -> None:
            async with taking as item:
                self.assertEqual(item.value, b"a")
                if fail:
                    raise ZeroDivisionError()

        self.failed(run(work(queue.take(), True)), ZeroDivisionError)
        self.assertEqual(self.done(queue.size()), 1)
        self.failed(run(work(self.done(queue.take()), True)), ZeroDivisionError)
        self.assertEqual(self.done(queue.size()), 1)
        self.done(run(work(queue.take(), False)))
        self.assertEqual(self.done(queue.size()), 0)
        self.done(queue.put(b"a"))
        self.done(run(work(self.done(queue.take()), False)))
        self.assertEqual(self.done(queue.size()), 0)
        self.assert_nothing_left()

    def test_block_that_waits(self) -> None:
        """Cancelled while it waits it has taken nothing; cancelled in the block it gives the item back."""
        queue = self.work()

        async def work() -> None:
            async with queue.take():
                await Deferred()

        waiting = run(work())
        self.settle(1)
        self.cancelled(waiting)
        self.done(queue.put(b"a"))
        working = run(work())
        self.settle(1)
        self.assertEqual(len(self.store.below(b"__q/held/")), 1)
        working.cancel()
        self.failed(working, CancelledError)
        self.assertEqual(self.done(queue.size()), 1)
        self.assert_nothing_left()

    def test_said_in_the_block(self) -> None:
        queue = self.with_items(b"a")

        async def work() -> None:
            async with queue.take() as item:
                await item.give_back()

        self.done(run(work()))
        self.assertEqual(self.done(queue.size()), 1)
        self.assert_nothing_left()

    def test_twice(self) -> None:
        queue = self.with_items(b"a")
        item = self.done(queue.take())
        done = item.done()
        error = self.failed(item.give_back(), LockReleased)
        self.assertIn(f"the item {item.key!r} is not held: it was done, or is just about to be", str(error))
        self.assertRaises(LockReleased, item.guard)
        self.done(done)
        self.failed(item.done(), LockReleased)
        self.failed(item.give_back(), LockReleased)
        self.assertRaises(LockReleased, item.guard)
        self.assert_nothing_left()

    def test_nothing_to_put(self) -> None:
        self.assertIsNone(self.successResultOf(self.work().put_all([])))

    def test_many_held(self) -> None:
        """More than are read at a time."""
        queue = self.work()
        for _ in range(2):
            self.done(queue.put_all([b""] * 100))
        items = [self.done(queue.take()) for _ in range(PAGE + 50)]
        other = self.work()
        one = self.done(other.take())
        self.assertNotIn(one.key, {item.key for item in items})
        for item in [*items, one]:
            self.done(item.done())
        self.assert_nothing_left()

    def test_cost(self) -> None:
        client = self.peer().client
        session = self.begin(client)
        queue = WorkQueue(client, b"q", session=session)
        self.done(queue.put_all([b"a", b"b"]))
        self.asked()
        item = self.done(queue.take())
        self.assertEqual(self.asked(), ["Txn", "Txn"])
        self.done(item.done())
        self.assertEqual(self.asked(), ["Txn"])
        self.done(session.close())

    def test_waiting(self) -> None:
        """What comes back wakes one who waits, and what is put does so, too."""
        queue, waiting, producer = self.with_items(b"a"), [self.work() for _ in range(5)], self.work()
        item = self.done(queue.take())
        taking = []
        for one in waiting:
            taking.append(one.take())
            self.settle()
        self.done(item.give_back())
        first = self.done(taking[0])
        self.assert_pending(*taking[1:])
        self.done(producer.put(b"b"))
        second = self.done(taking[1])
        self.assertEqual((first.value, second.value), (b"a", b"b"))
        self.assert_pending(*taking[2:])
        for one in taking[2:]:
            self.cancelled(one)
        for held in (first, second):
            self.done(held.done())
        self.assert_nothing_left()

    def test_cancelled(self) -> None:
        """However far it has come, nobody holds it afterwards."""
        for calls in range(8):
            queue = self.with_items(b"a")
            taking = queue.take()
            for _ in range(calls):
                self.clients.step()
            if taking.called:
                self.done(self.successResultOf(taking).give_back())
            else:
                self.cancelled(taking)
            self.assert_nothing_left()
            self.done(self.done(queue.take()).done())
            self.assert_nothing_left()

    def test_timeout(self) -> None:
        taking = self.work().take(timeout=1)
        self.settle(2)
        error = self.failureResultOf(taking, Timeout).value
        self.assertIn("nothing was taken from the work queue b'q' within 1 second", str(error))
        self.assertFalse(error.maybe_applied)
        self.assert_nothing_left()

    def test_items_of_a_queue(self) -> None:
        """Its producers put items for workers."""
        self.done(Queue(self.peer().client, b"q").put(b"a"))
        item = self.done(self.work().take())
        self.assertEqual(item.value, b"a")
        self.done(item.done())
        self.assert_nothing_left()


class LostAnswerTests(WorkCase):
    """What has come of a call is found out."""

    def test_take(self) -> None:
        for fate in (LOSE, DROP, DELAY):
            queue = self.with_items(b"a")
            taking = queue.take()
            self.clients.step()
            self.clients.step()
            self.clients.step(fate, -1)
            self.settle(1)
            item = self.successResultOf(taking)
            self.clients.catch_up()
            self.done(item.done())
            self.assertEqual(self.done(queue.size()), 0)
            self.assert_nothing_left()

    def test_take_that_is_carried_out_late(self) -> None:
        """When the one who had it has given it back: nobody holds it without knowing."""
        queue, other = self.with_items(b"a"), self.work()
        taking = queue.take()
        self.clients.step()
        while [call.rpc.name for call in self.clients.waiting][-1:] != ["KV.Txn"]:
            self.clients.step()
        self.clients.step(DELAY, -1)
        with self.clients.away(1):
            held = self.done(other.take())
        self.settle(1)
        self.assertNoResult(taking)
        self.done(held.give_back())
        self.settle(1)
        item = self.successResultOf(taking)
        self.clients.catch_up()
        self.done(item.done())
        self.assert_nothing_left()

    def test_take_that_is_carried_out_when_nobody_takes(self) -> None:
        """On a session, which would hold it as long as it lasts."""
        client = self.peer().client
        session = self.begin(client)
        queue, other = WorkQueue(client, b"q", session=session), self.work()
        self.done(queue.put(b"a"))
        taking = queue.take()
        self.clients.step()
        self.clients.step(DELAY)
        with self.clients.away(1):
            held = self.done(other.take())
        self.settle(1)
        self.cancelled(taking)
        self.done(held.give_back())
        self.clients.catch_up()
        self.done(self.done(other.take()).done())
        self.done(session.close())
        self.assert_nothing_left()

    def test_end(self) -> None:
        for end, left in ((HeldItem.done, 0), (HeldItem.give_back, 1)):
            for fate in (LOSE, DROP, DELAY):
                self.begin_anew()
                queue = self.with_items(b"a")
                item = self.done(queue.take())
                ending = end(item)
                self.clients.step(fate, -1)
                self.settle(1)
                self.assertIsNone(self.successResultOf(ending))
                self.clients.catch_up()
                self.assertEqual(self.done(queue.size()), left)
                self.assert_nothing_left()

    def taken_for_nobody(self) -> WorkQueue:
        """Whoever wanted the item has gone when the answer comes."""
        queue = self.with_items(b"a")
        taking = queue.take()
        self.clients.step()
        while [call.rpc.name for call in self.clients.waiting][-1:] != ["KV.Txn"]:
            self.clients.step()
        self.cancelled(taking)
        self.clients.step(ANSWER, -1)
        return queue

    def test_nobody_answers_when_it_is_given_back(self) -> None:
        """What was taken for nobody, in an outage for which its lease lasts, and as long as it takes."""
        self.taken_for_nobody()
        for _ in range(120):
            self.clock.advance(0.5)
            while self.clients.waiting:
                self.clients.step(DROP if self.clients.waiting[0].rpc.name == "KV.Txn" else ANSWER)
        self.settle(2)
        self.assert_nothing_left()
        self.done(self.done(self.work().take()).done())

    def test_lost_when_it_is_given_back(self) -> None:
        queue = self.taken_for_nobody()
        for _ in range(140):
            self.clock.advance(0.5)
            while self.clients.waiting:
                self.clients.step(DROP)
        for lease in list(self.store.leases):
            self.store.expire(lease)
        self.settle(2)
        self.assert_nothing_left()
        self.done(self.done(queue.take()).done())

    def test_end_that_was_refused(self) -> None:
        """When it was asked again: it may be done."""
        queue = self.with_items(b"a")
        item = self.done(queue.take())
        ending = item.done()
        self.clients.step(LOSE, -1)
        self.clock.advance(0.5)
        self.clients.waiting[-1].reply(PermissionDenied(7, "etcdserver: permission denied"))
        self.assertTrue(self.failureResultOf(ending, PermissionDenied).value.maybe_applied)
        self.assertIsNone(self.done(item.done()))
        self.assert_nothing_left()

    def test_end_that_was_not_sent(self) -> None:
        """It is held as before."""
        queue = self.with_items(b"a")
        item = self.done(queue.take())
        ending = item.done()
        self.clients.waiting[-1].reply(Unavailable(None, "refused"))
        self.failureResultOf(ending, Unavailable)
        self.assertTrue(item.is_held)
        self.done(item.done())
        self.assert_nothing_left()

    def test_end_while_nobody_answers(self) -> None:
        queue = self.with_items(b"a")
        item = self.done(queue.take())
        ending = item.done()
        self.clients.step(LOSE, -1)
        while not ending.called:
            self.clock.advance(0.5)
            while self.clients.waiting:
                self.clients.step(DROP if self.clients.waiting[0].rpc.name == "KV.Txn" else ANSWER)
        self.failureResultOf(ending, OutcomeUnknown)
        self.assertIsNone(self.done(item.done()))
        self.assert_nothing_left()

    def test_cancelled_end(self) -> None:
        """It can be asked again, whatever has come of it."""
        for fate in (ANSWER, LOSE, DROP):
            self.begin_anew()
            queue = self.with_items(b"a")
            item = self.done(queue.take())
            ending = item.done()
            if fate != ANSWER:
                self.clients.step(fate, -1)
            self.cancelled(ending)
            self.assertIsNone(self.done(item.done()))
            self.assertEqual(self.done(queue.size()), 0)
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
        self.begin_anew()
        work = Work(self, [self.work() for _ in range(3)])
        work.run(steps)
        keys = [item.key for item in work.got]
        self.assertEqual(len(keys), len(set(keys)))
        while work.got:
            work.done(0)
        self.settle(1)
        worker = self.work()
        while self.done(worker.size()):
            work.got.append(self.done(worker.take()))
            work.done(0)
            self.settle()
        work.assert_put(work.values, is_exact=False)
        self.assert_nothing_left()
