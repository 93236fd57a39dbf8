"""
Counters and sequences: whatever happens at the same time, nothing is lost, added twice, or given out twice.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from test.properties import PROPERTY
from test.store import ANSWER, DELAY, DROP, LOSE
from test.test_queue import QueueCase
from txetcd import Counter, Error, OutcomeUnknown, Sequence, Unavailable


class CounterTests(QueueCase):
    def counter(self) -> Counter:
        return Counter(self.peer().client, b"c")

    def test_add(self) -> None:
        counter = self.counter()
        self.assertEqual(self.done(counter.value()), 0)
        self.assertEqual(self.done(counter.add()), 1)
        self.assertEqual(self.done(counter.add(41)), 42)
        self.assertEqual(self.done(counter.add(-50)), -8)
        self.assertEqual(self.done(self.counter().value()), -8)
        self.assertEqual(self.store.keys[b"c"], b"-8")
        self.assertEqual(repr(counter), "<Counter b'c'>")

    def test_contended(self) -> None:
        counters = [self.counter() for _ in range(5)]
        adding = [counters[number % 5].add() for number in range(50)]
        self.settle()
        self.assertEqual(sorted(self.successResultOf(one) for one in adding), list(range(1, 51)))
        self.assertEqual(self.done(counters[0].value()), 50)

    def test_lost_answer(self) -> None:
        for fate in (LOSE, DROP, DELAY):
            for others in (0, 1, 3):
                self.begin_anew()
                counter, other = self.counter(), self.counter()
                self.done(counter.add(10))
                adding = counter.add(1)
                self.clients.step(fate)
                with self.clients.away(1):
                    for _ in range(others):
                        self.done(other.add(100))
                self.settle(1)
                self.successResultOf(adding)
                self.clients.catch_up()
                self.assertEqual(self.done(counter.value()), 11 + 100 * others, fate)
                self.assertEqual(self.done(counter.add()), 12 + 100 * others, fate)

    def test_compacted_meanwhile(self) -> None:
        counter, other = self.counter(), self.counter()
        self.done(counter.add(10))
        adding = counter.add(1)
        self.clients.step(LOSE)
        with self.clients.away(1):
            self.done(other.add(100))
        self.store.compact()
        self.settle(1)
        error = self.failureResultOf(adding, OutcomeUnknown).value
        self.assertIn("compacted away", str(error))
        self.assertEqual(self.done(counter.add(1)), 112)

    def test_not_sent(self) -> None:
        counter = self.counter()
        self.done(counter.add())
        adding = counter.add()
        self.clients.waiting[0].reply(Unavailable(None, "refused"))
        self.failureResultOf(adding, Unavailable)
        self.assertEqual(self.done(counter.add()), 2)

    def test_cancelled(self) -> None:
        """Those who add after that are not kept waiting."""
        counter = self.counter()
        first, second, third = counter.add(), counter.add(), counter.add()
        self.cancelled(second)
        self.cancelled(first)
        self.assertEqual(self.done(third), 1)

    def test_no_number(self) -> None:
        client = self.peer().client
        for value in (b"", b"many", b"1.5", b" 1", b"1_0"):
            self.done(client.set(b"c", value))
            for ask in (Counter(client, b"c").value, Counter(client, b"c").add, Sequence(client, b"c").next):
                error = self.failed(ask(), Error)
                self.assertIn(f"b'c' must hold a number in decimal digits, not {value!r}", str(error))

    def test_misuse(self) -> None:
        self.assertRaises(ValueError, Counter, self.peer().client, b"c/")
        self.assertRaises(TypeError, Counter, self.peer().client, "c")
        self.assertRaises(TypeError, self.counter().add, 1.5)
        self.assertRaises(TypeError, self.counter().add, b"1")
        self.assertRaises(ValueError, self.counter().add, 2**63)
        self.assertEqual(self.clients.waiting, [])

    def test_cost(self) -> None:
        counter = self.counter()
        self.done(counter.add())
        self.assertEqual(self.asked(), ["Range", "Txn"])
        self.done(counter.add())
        self.assertEqual(self.asked(), ["Txn"])
        self.done(self.counter().add())
        self.asked()
        self.done(counter.add())
        self.assertEqual(self.asked(), ["Txn", "Txn"])

    @PROPERTY
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([ANSWER, ANSWER, LOSE, DROP, DELAY, "add", "add", "tick", "late"]), st.integers(0, 30)
            ),
            max_size=60,
        )
    )
    def test_everything(self, steps: list[tuple[str, int]]) -> None:
        self.begin_anew()
        counters = [self.counter() for _ in range(3)]
        adding: list[Deferred[Any]] = []
        for what, number in steps:
            if what == "add":
                # so that the sum tells which of them were added
                adding.append(counters[number % 3].add(10 ** len(adding) if len(adding) < 18 else 0))
            elif what == "tick":
                self.clock.advance(0.5)
                self.clients.feed()
            elif what == "late":
                self.clients.catch_up()
            else:
                self.clients.step(what, number)
        self.settle(1)
        self.clients.catch_up()
        total = self.done(counters[0].value())
        for number, one in enumerate(adding[:18]):
            digit = total // 10**number % 10
            error: list[Any] = []
            one.addErrback(error.append)
            self.assertIn(digit, (0, 1))
            if not error:
                self.assertEqual(digit, 1)
            elif not error[0].value.maybe_applied:
                self.assertEqual(digit, 0)
        for one in adding[18:]:
            one.addErrback(lambda failure: failure.trap(Error) and None)


class SequenceTests(QueueCase):
    def sequence(self, **options: Any) -> Sequence:
        return Sequence(self.peer().client, b"s", **options)

    def test_next(self) -> None:
        first, second = self.sequence(), self.sequence()
        numbers = [self.done(one.next()) for one in (first, second, second, first)]
        self.assertEqual(numbers, [1, 2, 3, 4])
        self.assertEqual((repr(first), self.store.keys[b"s"]), ("<Sequence b's'>", b"4"))

    def test_blocks(self) -> None:
        first, second = self.sequence(block=10), self.sequence(block=3)
        numbers = [self.done(one.next()) for one in (first, second, first, second, second, second)]
        self.assertEqual(numbers, [1, 11, 2, 12, 13, 14])
        self.assertEqual(self.done(first.reserve(100)), range(17, 117))
        self.assertEqual(self.done(first.next()), 3)
        self.asked()
        self.done(first.next())
        self.assertEqual(self.asked(), [])

    def test_contended(self) -> None:
        sequences = [self.sequence(block=block) for block in (1, 2, 3, 4)]
        asking = [sequences[number % 4].next() for number in range(60)]
        self.settle()
        numbers = [self.successResultOf(one) for one in asking]
        self.assertEqual(len(set(numbers)), 60)

    def test_lost_answer(self) -> None:
        """What was reserved then is not given out."""
        for fate in (LOSE, DROP, DELAY):
            self.begin_anew()
            sequence, other = self.sequence(block=2), self.sequence()
            numbers = [self.done(sequence.next()), self.done(sequence.next())]
            asking = sequence.next()
            self.clients.step(fate)
            self.failureResultOf(asking, OutcomeUnknown)
            numbers += [self.done(one.next()) for one in (other, sequence, sequence)]
            self.clients.catch_up()
            numbers += [self.done(one.next()) for one in (other, sequence, sequence)]
            self.assertEqual(len(set(numbers)), 8, (fate, numbers))

    def test_the_last_one(self) -> None:
        client = self.peer().client
        self.done(client.set(b"s", b"%d" % (2**63 - 2)))
        sequence = Sequence(client, b"s")
        self.assertEqual(self.done(sequence.next()), 2**63 - 1)
        self.assertIn("has no 1 numbers left", str(self.failed(sequence.next(), Error)))

    def test_cancelled(self) -> None:
        sequence = self.sequence()
        first, second = sequence.next(), sequence.next()
        self.cancelled(first)
        self.assertEqual(self.done(second), 1)

    def test_misuse(self) -> None:
        self.assertRaises(ValueError, self.sequence, block=0)
        self.assertRaises(TypeError, self.sequence, block="1")
        self.assertRaises(ValueError, self.sequence().reserve, 0)
        self.assertRaises(ValueError, Sequence, self.peer().client, b"s/")
        self.assertEqual(self.clients.waiting, [])
