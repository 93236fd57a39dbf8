"""
Queues: each item once and in order, whatever becomes of the answers; nothing left behind; who is woken by what.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from test.properties import PROPERTY
from test.store import ANSWER, DELAY, DROP, LOSE, Store, StoreCase
from txetcd import Error, OutcomeUnknown, PermissionDenied, PriorityQueue, Queue, Timeout
from txetcd.errors import SessionExpired
from txetcd.recipes._order import ByPriority, InOrder, gaps
from txetcd.values import Header, KeyValue, Range


class QueueCase(StoreCase):
    """Clients of queues."""

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[str] = []

    def tearDown(self) -> None:
        self.assertEqual(self.clients.live, [])
        self.assertEqual(self.clients.waiting, [])
        super().tearDown()

    def queue(self, cls: Any = Queue, **options: Any) -> Any:
        return cls(self.peer().client, b"q", **options)

    def asked(self) -> list[str]:
        """What was carried out since it was asked last."""
        done, self.seen = self.clients.done[len(self.seen) :], list(self.clients.done)
        return [name.partition(".")[2] for name in done]

    def assert_nothing_left(self) -> None:
        """But for the items, the journal, and the fence."""
        self.assertEqual(self.store.below(b"__q/line/"), [])
        self.assertEqual(self.store.leases, {})


class OrderTests(QueueCase):
    """What comes when."""

    def test_first_come_first_served(self) -> None:
        queue = self.queue()
        for number in range(5):
            self.done(queue.put(b"%d" % number))
        self.done(queue.put_all([b"a", b"b", b"c"]))
        self.assertEqual(self.done(queue.size()), 8)
        self.assertEqual(b"".join(self.done(queue.get()) for _ in range(8)), b"01234abc")
        self.assertEqual(self.done(queue.size()), 0)

    def test_many_at_once(self) -> None:
        """Those of one revision are not mixed up where a page ends."""
        queue = self.queue()
        expected = []
        for number in range(4):
            values = [b"%d-%d" % (number, at) for at in range(100)]
            self.done(queue.put_all(values))
            expected += values
        self.assertEqual([self.done(queue.get()) for _ in range(400)], expected)

    def test_none_at_once(self) -> None:
        """Nothing is asked for, then."""
        self.done(self.queue().put_all([]))
        self.done(self.queue(PriorityQueue).put_all([], 0))
        self.assertEqual(self.store.history, [])

    def test_most_urgent_first(self) -> None:
        queue = self.queue(PriorityQueue)
        for priority, value in ((7, b"d"), (0, b"a"), (65535, b"f"), (7, b"e")):
            self.done(queue.put(value, priority))
        self.done(queue.put_all([b"b", b"c"], 0))
        self.assertEqual(b"".join(self.done(queue.get()) for _ in range(6)), b"abcdef")

    def test_more_urgent_meanwhile(self) -> None:
        """What was read is not what is taken if something has come before it."""
        queue, other = self.queue(PriorityQueue), self.queue(PriorityQueue)
        self.done(other.put_all([b"b", b"c"], 5))
        self.assertEqual(self.done(queue.get()), b"b")
        self.done(other.put(b"a", 3))
        self.assertEqual(self.done(queue.get()), b"a")
        self.assertEqual(self.done(queue.get()), b"c")

    def test_keys_of_go(self) -> None:
        """``recipe.PriorityQueue``: it must be able to tell which number comes next."""
        queue = self.queue(PriorityQueue)
        self.done(queue.put(b"", 7))
        self.assertEqual(self.store.below(b"q"), [b"q/00007/1000000000000000"])
        self.assertEqual(self.store.below(b"__q"), [b"__q/00007"])

    def test_several_who_wait_in_one_process(self) -> None:
        """They are served in the order of asking, by one call."""
        queue, producer = self.queue(), self.queue()
        self.done(producer.put_all([b"%d" % number for number in range(5)]))
        getting = [queue.get() for _ in range(5)]
        self.asked()
        self.settle()
        self.assertEqual([self.successResultOf(one) for one in getting], [b"0", b"1", b"2", b"3", b"4"])
        self.assertEqual(self.asked(), ["Txn", "Txn"])

    def test_cost(self) -> None:
        queue = self.queue()
        self.done(queue.put(b"a"))
        self.assertEqual(self.asked(), ["Range", "Txn"])
        self.done(queue.put(b"b"))
        self.assertEqual(self.asked(), ["Txn"])
        self.clock.advance(10)
        self.done(queue.put(b"c"))
        self.assertEqual(self.asked(), ["Range", "Txn"])
        self.done(queue.get())
        self.assertEqual(self.asked(), ["Txn", "Txn"])
        self.done(queue.get())
        self.assertEqual(self.asked(), ["Txn"])
        self.clock.advance(10)
        self.done(queue.get())
        self.assertEqual(self.asked(), ["Txn", "Txn"])

    def test_gaps(self) -> None:
        keys = [b"p", b"p1", b"p\xff", b"q"]
        for taken, is_whole, holds in (
            ([b"p"], False, [b"p", b"p1"]),
            ([b"p1"], False, [b"p1", b"p2"]),
            ([b"p", b"p2"], False, [b"p", b"p2", b"p3"]),
            ([b"p", b"p1"], True, [b"p", b"p1", b"q", b"o"]),
        ):
            comps = gaps(b"p", taken, is_whole=is_whole)
            self.assertFalse(any(key in comp.key for comp in comps for key in holds), comps)
        self.assertTrue(any(key in gaps(b"p", [b"p"], is_whole=True)[-1].key for key in keys[1:3]))

    def test_a_page_that_ends_within_a_revision(self) -> None:
        names = ((3, 5), (2, 5), (9, 6), (8, 7))
        kvs = [KeyValue(b"q/%d" % key, b"", 1, revision, revision) for key, revision in names]
        none = Range([])
        for more, wanted in ((False, [2, 3, 9, 8]), (True, [2, 3, 9])):
            found = InOrder(b"q").candidates([none, Range(kvs, Header(), 9, more)])
            self.assertEqual([kv.key for kv in found], [b"q/%d" % key for key in wanted])
        found = InOrder(b"q").candidates([none, Range(kvs[:2], Header(), 9, True)])
        self.assertEqual([kv.key for kv in found], [b"q/2", b"q/3"])
        self.assertEqual(InOrder(b"q").candidates([Range(kvs[:1], more=True), Range(kvs)]), kvs[:1])
        self.assertEqual(ByPriority(b"q").candidates([Range(kvs)]), kvs)


class WaitingTests(QueueCase):
    """When there is nothing."""

    def test_until_something_is_put(self) -> None:
        queue, producer = self.queue(), self.queue()
        getting = queue.get()
        self.settle(30)
        self.assertNoResult(getting)
        self.done(producer.put(b"a"))
        self.assertEqual(self.done(getting), b"a")
        self.settle()
        self.assert_nothing_left()

    def in_line(self) -> list[Deferred[bytes]]:
        """Twenty consumers, each of which stands behind the one before."""
        getting = []
        for _ in range(20):
            getting.append(self.queue().get())
            self.settle()
        return getting

    def test_one_is_woken(self) -> None:
        """However many wait: a constant number of calls for each item, and they are served in their order."""
        producer, getting = self.queue(), self.in_line()
        for number in range(20):
            self.done(producer.put(b"%d" % number))
            self.asked()
            self.assertEqual(self.done(getting[number]), b"%d" % number)
            self.assert_pending(*getting[number + 1 :])
            self.settle()
        self.assert_nothing_left()

    def test_calls_of_a_wake(self) -> None:
        producer, getting = self.queue(), self.in_line()
        self.asked()
        putting = producer.put(b"a")
        self.settle()
        self.successResultOf(putting)
        # of putting two; looking and taking, revoking the lease; and the next one looks
        self.assertEqual(sorted(self.asked()), ["LeaseRevoke", "Range", "Txn", "Txn", "Txn", "Txn"])
        for one in getting[1:]:
            one.cancel()
            self.failureResultOf(one, CancelledError)
        self.successResultOf(getting[0])
        self.settle()
        self.assert_nothing_left()

    def test_the_first_one_is_stopped(self) -> None:
        """The others do not wait for it for ever."""
        stopped, other, producer = (self.queue() for _ in range(3))
        first = stopped.get()
        self.settle()
        second = other.get()
        self.settle()
        with self.clients.away(1):
            self.done(producer.put(b"a"))
            self.assertNoResult(second)
            self.settle(11)
            self.assertEqual(self.successResultOf(second), b"a")
        self.settle(1)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.settle(1)

    def test_timeout(self) -> None:
        """Nothing is left when it is told."""
        queue = self.queue()
        getting = queue.get(timeout=5)
        self.settle()
        self.clock.advance(5)
        self.assertNoResult(getting)
        error = self.failed(getting, Timeout)
        self.assertIn("nothing was got from the queue b'q' within 5 seconds", str(error))
        self.assertFalse(error.maybe_applied)
        self.assert_nothing_left()

    def test_cancelled(self) -> None:
        for session in (None, True):
            client = self.peer().client
            holder = self.begin(client) if session else None
            queue = Queue(client, b"q", session=holder)
            for calls in range(8):
                getting = queue.get()
                for _ in range(calls):
                    self.clients.step()
                    self.clients.feed()
                self.cancelled(getting)
                self.settle(1)
                self.assertEqual(self.store.below(b"__q/line/"), [])
            if holder is not None:
                self.done(holder.close())
            self.assert_nothing_left()

    def test_cancelled_when_it_is_taken(self) -> None:
        """It is put back where it was, and got by the next one."""
        for cls, options in ((Queue, {}), (PriorityQueue, {"priority": 1})):
            queue = self.queue(cls)
            self.done(queue.put_all([b"a", b"b", b"c"], **options))
            getting = queue.get()
            self.clients.step()
            self.clients.step(LOSE)
            self.cancelled(getting)
            self.settle(2)
            for wanted in (b"a", b"b", b"c"):
                self.assertEqual(self.done(queue.get()), wanted)

    def test_put_back_twice(self) -> None:
        for cls, options in ((Queue, {}), (PriorityQueue, {"priority": 1})):
            queue, other = self.queue(cls), self.queue(cls)
            self.done(queue.put_all([b"a", b"b", b"c"], **options))
            for _ in range(3):
                getting = queue.get()
                self.clients.step()
                self.cancelled(getting)
                self.settle(2)
                getting = other.get()
                self.clients.step()
                self.cancelled(getting)
                self.settle(2)
            self.done(other.put(b"d", **options))
            for wanted in (b"a", b"b", b"c", b"d"):
                self.assertEqual(self.done(queue.get()), wanted)

    def test_put_back_before_what_others_have_put(self) -> None:
        """Before whatever is there, as an item of Go that was put back before the number 0."""
        client = self.peer().client
        for first in (b"0000000000000000", b"-000000000000001", b"-000000000000010", b"!"):
            queue = self.queue(PriorityQueue)
            self.done(client.set(b"q/00001/0000000000000000", b"a"))
            getting = queue.get()
            self.clients.step()
            self.cancelled(getting)
            self.clients.step()
            with self.clients.away(-1):
                self.done(client.set(b"q/00001/" + first, b"b"))
            self.settle()
            self.assertEqual([self.done(queue.get()) for _ in range(2)], [b"a", b"b"])
            self.assertEqual(self.done(queue.size()), 0)

    def test_taken_for_somebody_else_who_waits_here(self) -> None:
        queue = self.queue()
        self.done(queue.put(b"a"))
        first, second = queue.get(), queue.get()
        self.clients.step()
        self.cancelled(first)
        self.assertEqual(self.done(second), b"a")

    def test_session_is_lost(self) -> None:
        client = self.peer().client
        session = self.begin(client)
        queue = Queue(client, b"q", session=session)
        getting = queue.get()
        self.settle()
        self.store.expire(session.lease_id)
        self.settle(30)
        self.failureResultOf(getting, SessionExpired)
        self.assertEqual(self.store.below(b"__q/line/"), [])
        self.clients.step()

    def test_own_lease_is_lost(self) -> None:
        """It goes on with another one."""
        queue = self.queue()
        getting = queue.get()
        self.settle()
        (lease,) = self.store.leases
        self.store.expire(lease)
        self.settle(30)
        self.assertEqual(len(self.store.below(b"__q/line/")), 1)
        self.done(self.queue().put(b"a"))
        self.assertEqual(self.done(getting), b"a")
        self.settle()
        self.assert_nothing_left()


class LostAnswerTests(QueueCase):
    """What has come of a call is found out."""

    def test_put(self) -> None:
        for fate in (LOSE, DROP, DELAY):
            queue = self.queue()
            self.done(queue.put(b"before"))
            putting = queue.put(b"a")
            self.clients.step(fate)
            self.settle(1)
            self.assertIsNone(self.successResultOf(putting))
            self.clients.catch_up()
            for wanted in (b"before", b"a"):
                self.assertEqual(self.done(queue.get()), wanted)
            self.assertEqual(self.done(queue.size()), 0, fate)

    def test_put_that_was_taken_meanwhile(self) -> None:
        for cls, options in ((Queue, {}), (PriorityQueue, {"priority": 1})):
            for others in (0, 3):
                queue, consumer = self.queue(cls), self.queue(cls)
                self.done(queue.put(b"before", **options))
                putting = queue.put(b"a", **options)
                self.clients.step(LOSE)
                with self.clients.away(-2):
                    self.assertEqual([self.done(consumer.get()) for _ in range(2)], [b"before", b"a"])
                    for _ in range(others):
                        self.done(consumer.put(b"", **options))
                        self.done(consumer.get())
                self.settle(1)
                self.assertIsNone(self.successResultOf(putting))
                self.assertEqual(self.done(queue.size()), 0)

    def test_put_of_others_meanwhile(self) -> None:
        """The fence concerns them as well, and they do it again."""
        queue, other = self.queue(), self.queue()
        self.done(other.put(b"1"))
        self.done(queue.put(b"2"))
        putting = queue.put(b"3")
        self.clients.step(DELAY)
        self.settle(1)
        self.successResultOf(putting)
        self.done(other.put(b"4"))
        self.clients.catch_up()
        self.assertEqual([self.done(queue.get()) for _ in range(4)], [b"1", b"2", b"3", b"4"])
        self.assertEqual(self.done(queue.size()), 0)

    def test_put_that_is_carried_out_late(self) -> None:
        """When it was put once more, and taken: it is not there again."""
        for cls, options in ((Queue, {}), (PriorityQueue, {"priority": 1})):
            queue = self.queue(cls)
            self.done(queue.put(b"before", **options))
            putting = queue.put(b"a", **options)
            self.clients.step(DELAY)
            self.settle(1)
            self.successResultOf(putting)
            self.assertEqual([self.done(queue.get()) for _ in range(2)], [b"before", b"a"])
            self.clients.catch_up()
            self.assertEqual(self.done(queue.size()), 0)

    def test_get_among_what_others_do(self) -> None:
        """Before it, and after it."""
        queue, other = self.queue(), self.queue()
        self.done(queue.put_all([b"a", b"b"]))
        getting = queue.get()
        self.clients.step()
        with self.clients.away(1):
            self.done(other.put(b"c"))
        self.clients.step(LOSE)
        with self.clients.away(1):
            self.assertEqual(self.done(other.get()), b"b")
        self.settle(1)
        self.assertEqual(self.successResultOf(getting), b"a")
        self.assertEqual(self.done(queue.get()), b"c")

    def test_get(self) -> None:
        for cls, options in ((Queue, {}), (PriorityQueue, {"priority": 1})):
            for fate in (LOSE, DROP, DELAY):
                queue = self.queue(cls)
                self.done(queue.put_all([b"a", b"b"], **options))
                getting = queue.get()
                self.clients.step()
                self.clients.step(fate)
                self.settle(1)
                self.assertEqual(self.successResultOf(getting), b"a")
                self.clients.catch_up()
                self.assertEqual(self.done(queue.get()), b"b")
                self.assertEqual(self.done(queue.size()), 0)

    def test_get_that_is_carried_out_late(self) -> None:
        """When something came before it, which is gone by then: what it would take is there, and stays."""
        queue, other = self.queue(PriorityQueue), self.queue(PriorityQueue)
        self.done(queue.put(b"a", 5))
        getting = queue.get()
        self.clients.step()
        self.clients.step(DELAY)
        with self.clients.away(1):
            self.done(other.put(b"urgent", 0))
        self.settle(1)
        self.assertEqual(self.successResultOf(getting), b"urgent")
        self.clients.catch_up()
        self.assertEqual((self.done(other.size()), self.done(other.get())), (1, b"a"))

    def test_get_of_what_was_put_back_before(self) -> None:
        """The same, of a queue."""
        queue, other = self.queue(), self.queue()
        self.done(queue.put_all([b"a", b"b"]))
        taking = other.get()
        self.clients.step()
        self.cancelled(taking)
        # it was taken, and is not put back yet
        self.clients.step()
        with self.clients.away(2):
            getting = queue.get()
            self.clients.step()
            self.clients.step(DELAY)
        with self.clients.away(1):
            self.settle()
        self.settle(1)
        self.assertEqual(self.successResultOf(getting), b"a")
        self.clients.catch_up()
        self.assertEqual((self.done(other.size()), self.done(other.get())), (1, b"b"))

    def test_get_that_somebody_else_has_got(self) -> None:
        for fate in (DROP, DELAY):
            queue, other = self.queue(), self.queue()
            self.done(queue.put_all([b"a", b"b"]))
            getting = queue.get()
            self.clients.step()
            self.clients.step(fate)
            with self.clients.away(-2):
                self.assertEqual(self.done(other.get()), b"a")
            self.settle(1)
            self.assertEqual(self.successResultOf(getting), b"b")
            self.clients.catch_up()
            self.assertEqual(self.done(queue.size()), 0)

    def test_compacted_meanwhile(self) -> None:
        """What cannot be known is said so."""
        queue, other = self.queue(), self.queue()
        self.done(queue.put_all([b"a", b"b", b"c"]))
        getting = queue.get()
        self.clients.step()
        self.clients.step(LOSE)
        with self.clients.away(1):
            self.assertEqual(self.done(other.get()), b"b")
        self.store.compact()
        self.settle(1)
        error = self.failureResultOf(getting, OutcomeUnknown).value
        self.assertTrue(error.maybe_applied)
        self.assertEqual(self.done(queue.get()), b"c")

    def test_put_while_nobody_answers(self) -> None:
        """It ends, after half a minute, and says what it knows."""
        queue = self.queue()
        self.done(queue.put(b"before"))
        putting = queue.put(b"a")
        self.clients.step(DROP)
        while not putting.called:
            self.clock.advance(0.5)
            self.clients.step(DROP)
        self.failureResultOf(putting, OutcomeUnknown)

    def test_timeout_while_nobody_answers(self) -> None:
        """It is told that something may have been taken; when that is known at last, it is put back."""
        queue = self.queue()
        self.done(queue.put(b"a"))
        getting = queue.get(timeout=1)
        self.clients.step()
        self.clients.step(LOSE)
        for _ in range(20):
            self.clock.advance(0.5)
            self.clients.step(DROP)
        self.assertTrue(self.failureResultOf(getting, Timeout).value.maybe_applied)
        self.settle(1)
        self.assertEqual(self.done(queue.get()), b"a")


    def test_timeout_and_what_was_taken_cannot_be_put_back(self) -> None:
        """It is told that it is gone, perhaps."""
        queue, other = self.queue(), self.queue()
        self.done(other.put(b"a"))
        getting = queue.get(timeout=1)
        self.clients.step()
        self.clock.advance(1)
        self.clients.step()
        self.clients.waiting[0].reply(PermissionDenied(7, "etcdserver: permission denied"))
        self.settle()
        self.assertTrue(self.failureResultOf(getting, Timeout).value.maybe_applied)
        self.assertEqual(self.done(queue.size()), 0)


class MisuseTests(QueueCase):
    """What cannot be meant."""

    def test_names_and_items(self) -> None:
        queue, urgent = self.queue(), self.queue(PriorityQueue)
        client = self.peer().client
        for wrong, ask, text in (
            (TypeError, lambda: Queue(client, "q"), "name must be bytes, not str; encode it: 'q'.encode()"),
            (ValueError, lambda: Queue(client, b""), "name must not be empty"),
            (ValueError, lambda: PriorityQueue(client, b"q/"), "name must not end in '/', but is b'q/'"),
            (TypeError, lambda: Queue(client, b"q", session=client), "session must be a Session or None, not Client"),
            (ValueError, lambda: Queue(client, b"q", time_to_live=0), "time_to_live must be between 1 and"),
            (TypeError, lambda: queue.put("a"), "value must be bytes, not str; encode it: 'a'.encode()"),
            (TypeError, lambda: queue.put(1), "value must be bytes, not int"),
            (TypeError, lambda: queue.put_all(b"a"), "values must be a list of bytes, not bytes"),
            (TypeError, lambda: queue.put_all([b"a", "b"]), "values must be a list of bytes, but one item is str"),
            (ValueError, lambda: queue.put_all([b""] * 101), "values must be at most 100, not 101"),
            (ValueError, lambda: queue.get(timeout=0), "timeout must be a positive number of seconds, not 0"),
            (ValueError, lambda: urgent.put(b"a", 65536), "priority must be between 0 and 65535, not 65536"),
            (ValueError, lambda: urgent.put(b"a", -1), "priority must be between 0 and 65535, not -1"),
            (TypeError, lambda: urgent.put(b"a", "1"), "priority must be int, not str"),
            (TypeError, lambda: urgent.put(b"a", 1.5), "priority must be int, not float"),
        ):
            with self.assertRaises(wrong) as raised:
                ask()  # type: ignore[no-untyped-call]
            self.assertIn(text, str(raised.exception))
        self.assertEqual(self.clients.waiting, [])

    def test_nothing_to_put(self) -> None:
        for queue, rest in ((self.queue(), ()), (self.queue(PriorityQueue), (1,))):
            self.assertIsNone(self.successResultOf(queue.put_all([], *rest)))
        self.assertEqual(self.clients.waiting, [])

    def test_repr(self) -> None:
        self.assertEqual(repr(self.queue()), "<Queue b'q'>")
        self.assertEqual(repr(self.queue(PriorityQueue)), "<PriorityQueue b'q'>")


FATES = st.sampled_from([ANSWER, ANSWER, ANSWER, ANSWER, LOSE, DROP, DELAY, "put", "get", "cancel", "tick", "late"])


class Play:
    """
    What can happen, in any order.

    :param case: the test.
    :param actors: those who do something, in turn.
    """

    def __init__(self, case: QueueCase, actors: list[Any]) -> None:
        self.case = case
        self.clients = case.clients
        self.actors = actors
        self.putting: list[tuple[bytes, Deferred[Any]]] = []
        self.getting: list[Deferred[Any]] = []
        self.got: list[Any] = []

    def run(self, steps: list[tuple[str, int]]) -> None:
        for what, number in steps:
            if what in (ANSWER, LOSE, DROP, DELAY):
                self.clients.step(what, number)
            else:
                getattr(self, what)(number)
        self.clients.settle(12)
        self.clients.catch_up()
        for one in self.getting:
            one.addErrback(lambda failure: failure.trap(CancelledError, Error) and None)
            one.cancel()
        self.clients.settle(12)

    def actor(self, number: int) -> Any:
        return self.actors[number % len(self.actors)]

    def put(self, number: int) -> None:
        value = b"%d" % len(self.putting)
        rest = (number % 2,) if isinstance(self.actors[0], PriorityQueue) else ()
        self.putting.append((value, self.actor(number).put(value, *rest)))

    def get(self, number: int) -> None:
        actor = self.actor(number)
        getting = actor.get() if hasattr(actor, "get") else actor.take()
        self.getting.append(getting.addCallback(self.got.append))

    def cancel(self, number: int) -> None:
        if self.getting:
            self.getting[number % len(self.getting)].cancel()

    def tick(self, number: int) -> None:
        self.case.clock.advance(0.5)
        self.clients.feed()

    def late(self, number: int) -> None:
        self.clients.catch_up()

    def assert_put(self, there: Any, *, is_exact: bool) -> None:
        """What was put is there; and what was certainly not put is not, if that is asked."""
        for value, one in self.putting:
            result: list[Any] = []
            one.addBoth(result.append)
            if not isinstance(result[0], Failure):
                self.case.assertIn(value, there)
            elif is_exact and not result[0].value.maybe_applied:
                self.case.assertNotIn(value, there)


def taken_in_order(store: Store) -> bool:
    """Whether the items of a queue went in the order in which they had come."""
    created = {event.key: (event.kv.create_revision, event.key) for event in store.history if event.is_put}
    gone = [created[event.key] for event in store.history if event.is_delete and event.key.startswith(b"q/")]
    return gone == sorted(gone)


class Everything(QueueCase):
    """Producers and consumers, and whatever can happen to their calls."""

    def run_all(self, cls: Any, steps: list[tuple[str, int]]) -> None:
        self.begin_anew()
        queues = [self.queue(cls) for _ in range(3)]
        play = Play(self, queues)
        play.run(steps)
        everything = list(play.got)
        while self.done(queues[0].size()):
            everything.append(self.done(queues[0].get()))
        self.assertEqual(len(everything), len(set(everything)), everything)
        play.assert_put(everything, is_exact=True)
        self.settle(1)
        self.assert_nothing_left()
        if cls is Queue and "cancel" not in dict(steps):
            self.assertTrue(taken_in_order(self.store))

    @PROPERTY
    @given(st.lists(st.tuples(FATES, st.integers(0, 30)), max_size=60))
    def test_queue(self, steps: list[tuple[str, int]]) -> None:
        self.run_all(Queue, steps)

    @PROPERTY
    @given(st.lists(st.tuples(FATES, st.integers(0, 30)), max_size=60))
    def test_priority_queue(self, steps: list[tuple[str, int]]) -> None:
        self.run_all(PriorityQueue, steps)
