"""
What a :class:`txetcd.testing.FaultyProxy` decides: what becomes of the bytes that arrive, and when.
"""

from __future__ import annotations

import gc
from typing import Any, Optional

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from txetcd.testing._faults import (
    DICE,
    DIRECTIONS,
    KEPT,
    TO_CLIENT,
    TO_SERVER,
    BlackHole,
    Bytewise,
    CutAnswer,
    CutLine,
    CutRequest,
    Delay,
    Dialogue,
    Exchange,
    Fault,
    Faults,
    HalfClose,
    ReplaceAnswer,
    Rule,
    Throttle,
    Verdict,
    middle_of_longest_line,
    throw,
)
from txetcd.testing._line import MAX_WAITING, NOTHING, Line, Step


class DialogueTests(SynchronousTestCase):
    """Requests and answers, told apart by who speaks."""

    def test_turns(self) -> None:
        dialogue = Dialogue(7)
        first = dialogue.asked(b"que")
        self.assertIs(dialogue.asked(b"stion"), first)
        self.assertIs(dialogue.answered(b"ans"), first)
        self.assertIs(dialogue.answered(b"wer"), first)
        second = dialogue.asked(b"another")
        self.assertIs(dialogue.current, second)
        self.assertEqual((first.request, first.answer, first.name), (b"question", b"answer", "7.1"))
        self.assertEqual((second.request, second.answer, second.name), (b"another", b"", "7.2"))

    def test_server_begins(self) -> None:
        dialogue = Dialogue(1)
        greeting = dialogue.answered(b"220 welcome")
        self.assertIsNot(dialogue.asked(b"hello"), greeting)

    def test_long_ones_are_not_kept(self) -> None:
        dialogue = Dialogue(1)
        for _ in range(3):
            dialogue.asked(bytes(KEPT - 1))
            dialogue.answered(bytes(KEPT - 1))
        self.assertEqual((len(dialogue.current.request), len(dialogue.current.answer)), (KEPT - 1, KEPT - 1))
        dialogue.answered(bytes(KEPT))
        self.assertEqual(len(dialogue.current.answer), KEPT)


JUDGED: list[tuple[Fault, bytes, int, Optional[Verdict]]] = [
    (Delay(DIRECTIONS, 1.0), b"abc", 0, None),
    (Throttle(DIRECTIONS, 1), b"abc", 0, None),
    (Bytewise(DIRECTIONS), b"abc", 0, None),
    (BlackHole(DIRECTIONS), b"abc", 5, Verdict(b"", "swallow")),
    (BlackHole(DIRECTIONS), b"", 5, Verdict(b"", "swallow")),
    (CutRequest(0, "reset"), b"abc", 0, Verdict(b"", "reset")),
    (CutAnswer(0, "close"), b"abc", 0, Verdict(b"", "close")),
    (CutAnswer(2, "half_close"), b"abc", 0, Verdict(b"ab", "half_close")),
    (HalfClose((TO_SERVER,), 2), b"abc", 0, Verdict(b"ab", "half_close")),
    (CutAnswer(2, "close"), b"a", 0, None),
    (CutAnswer(2, "close"), b"a", 1, Verdict(b"a", "close")),
    (CutAnswer(2, "close"), b"ab", 0, Verdict(b"ab", "close")),
    (CutAnswer(2, "close"), b"abc", 7, Verdict(b"", "close")),
    (CutAnswer(0, "close"), b"", 0, None),
    (CutLine("close"), b"12345678\n", 9, Verdict(b"1234", "close")),
    (CutLine("close"), b"", 9, None),
    (ReplaceAnswer(b"sorry"), b"abc", 0, Verdict(b"sorry", "close")),
    (ReplaceAnswer(b"sorry"), b"", 0, None),
]
"""A fault, the bytes that leave, how many have left before, and what becomes of them."""


class FaultTests(SynchronousTestCase):
    def test_judge(self) -> None:
        for fault, data, passed, verdict in JUDGED:
            self.assertEqual(fault.judge(data, passed), verdict, (fault, data, passed))

    def test_middle_of_the_longest_line(self) -> None:
        self.assertEqual(middle_of_longest_line(b"x"), 0)
        self.assertEqual(middle_of_longest_line(b"\n"), 0)
        self.assertEqual(middle_of_longest_line(b"12345678"), 4)
        self.assertEqual(middle_of_longest_line(b'9\r\n{"a":"b"}\n\r\n'), 3 + 5)
        self.assertEqual(middle_of_longest_line(b"1234\n1234\n"), 2)

    @PROPERTY
    @given(st.binary(min_size=1, max_size=50))
    def test_middle_is_within(self, data: bytes) -> None:
        self.assertIn(middle_of_longest_line(data), range(len(data)))


class DiceTests(SynchronousTestCase):
    """What comes at random is the same whenever the seed is."""

    EXCHANGES = [f"{connection}.{number}" for connection in range(1, 101) for number in range(1, 21)]

    def thrown(self, seed: int, rate: float, *kinds: str) -> list[Optional[Fault]]:
        return [throw(seed, name, rate, kinds or tuple(DICE)) for name in self.EXCHANGES]

    def test_reproducible(self) -> None:
        self.assertEqual(self.thrown(4711, 0.5), self.thrown(4711, 0.5))
        self.assertNotEqual(self.thrown(4711, 0.5), self.thrown(4712, 0.5))

    def test_rate(self) -> None:
        for rate in (0.0, 0.1, 0.5, 1.0):
            count = sum(fault is not None for fault in self.thrown(1, rate))
            self.assertLess(abs(count / len(self.EXCHANGES) - rate), 0.03)

    def test_kinds(self) -> None:
        """All that are wanted come about equally often, and no others."""
        faults = [fault.kind for fault in self.thrown(1, 1.0) if fault is not None]
        for kind in DICE:
            self.assertGreater(faults.count(kind), len(faults) / len(DICE) / 2, kind)
        for kind in DICE:
            kinds = {fault.kind for fault in self.thrown(1, 1.0, kind) if fault is not None}
            self.assertEqual(kinds, {kind})

    def test_fit(self) -> None:
        """Whatever is drawn can be done."""
        for fault in self.thrown(1, 1.0):
            assert fault is not None
            self.assertLessEqual(set(fault.directions), set(DIRECTIONS))
            fault.judge(b"data", 0)


class RuleTests(SynchronousTestCase):
    """Whom a fault strikes, and how often."""

    def setUp(self) -> None:
        self.faults = Faults(seed=1)
        self.exchanges = [Exchange(f"1.{number}") for number in range(5)]

    def suffering(self, direction: str = TO_CLIENT, connection: Any = None) -> list[int]:
        """Those that an answer strikes."""
        struck = []
        for number, exchange in enumerate(self.exchanges):
            rules = self.faults.rules_for(connection, exchange, direction)
            if self.faults.judge(rules, exchange, b"data", 0):
                struck.append(number)
        return struck

    def test_all(self) -> None:
        self.faults.add(Rule(BlackHole((TO_CLIENT,))))
        self.assertEqual(self.suffering(), [0, 1, 2, 3, 4])
        self.assertEqual(self.suffering(TO_SERVER), [])
        self.assertEqual(self.faults.done, {"black_hole": 5})

    def test_count(self) -> None:
        """Those that were struck suffer to their end, and count once."""
        self.faults.add(Rule(BlackHole((TO_CLIENT,)), None, 2))
        for _ in range(2):
            self.assertEqual(self.suffering(), [0, 1])
        self.assertEqual(self.faults.done, {"black_hole": 2})

    def test_count_is_of_those_that_are_struck(self) -> None:
        """An answer that is too short for its cut does not use it up."""
        cut = Rule(CutAnswer(5, "reset"), None, 1)
        self.faults.add(cut)
        self.assertEqual(self.suffering(), [])
        self.assertEqual(cut.left, 1)

    def test_where(self) -> None:
        self.faults.add(Rule(BlackHole((TO_CLIENT,)), lambda connection: connection == "this"))
        self.assertEqual(self.suffering(connection="that"), [])
        self.assertEqual(self.suffering(connection="this"), [0, 1, 2, 3, 4])

    def test_order(self) -> None:
        """Of what ends it, the first; of delays, the last."""
        exchange = self.exchanges[0]
        for fault in (CutAnswer(0, "reset"), Delay(DIRECTIONS, 1), CutAnswer(0, "close"), Delay(DIRECTIONS, 2)):
            self.faults.add(Rule(fault))
        rules = self.faults.rules_for(None, exchange, TO_CLIENT)
        self.assertEqual(self.faults.judge(rules, exchange, b"data", 0), Verdict(b"", "reset"))
        self.assertEqual(self.faults.last(Delay, rules, exchange), Delay(DIRECTIONS, 2))
        self.assertIsNone(self.faults.last(Throttle, rules, exchange))

    def test_misbehave(self) -> None:
        self.faults.misbehave(0.5, ("black_hole",))
        struck = self.suffering(TO_CLIENT), self.suffering(TO_SERVER)
        self.assertEqual(struck, (self.suffering(TO_CLIENT), self.suffering(TO_SERVER)))
        expected = [throw(1, exchange.name, 0.5, ("black_hole",)) for exchange in self.exchanges]
        self.assertEqual(sorted(struck[0] + struck[1]), [number for number in range(5) if expected[number] is not None])
        self.assertTrue(0 < self.faults.done["black_hole"] < 5)

    def test_behave(self) -> None:
        self.faults.add(Rule(BlackHole(DIRECTIONS)))
        self.faults.misbehave(1, ("black_hole",))
        self.faults.behave()
        self.assertEqual(self.suffering(), [])

    def test_nothing_is_kept(self) -> None:
        """Of an exchange that is over nothing remains."""
        rule = Rule(BlackHole(DIRECTIONS))
        self.faults.add(rule)
        self.faults.misbehave(1, ("black_hole",))
        self.suffering()
        self.exchanges.clear()
        gc.collect()
        self.assertEqual((len(rule._struck), len(self.faults._thrown)), (0, 0))


class LineTests(SynchronousTestCase):
    """One direction: what leaves, and when."""

    def setUp(self) -> None:
        self.faults = Faults(seed=1)
        self.line = self.new_line()
        self.exchange = Exchange("1.1")

    def new_line(self) -> Line:
        return Line(self.faults, "connection", TO_CLIENT, "1")

    def suffer(self, *faults: Fault) -> None:
        for fault in faults:
            self.faults.add(Rule(fault))

    def put(self, *pieces: bytes, now: float = 0.0) -> None:
        for piece in pieces:
            self.line.put(piece, self.exchange, now)

    def steps(self, now: float) -> list[Step]:
        """All that is to be done at this moment."""
        found = []
        while not found or found[-1].data:
            found.append(self.line.next(now))
        return found

    def drain(self) -> tuple[bytes, Optional[str], float]:
        """What comes out in the end, how it ends, and when."""
        now, out = 0.0, b""
        while True:
            step = self.line.next(now)
            out += step.data
            now += step.wait or 0.0
            if step is NOTHING or step.ending:
                return out, step.ending, now

    def test_passes(self) -> None:
        self.put(b"ab", b"c")
        self.assertEqual(self.line.size, 3)
        self.assertEqual(self.steps(0), [Step(b"ab"), Step(b"c"), NOTHING])
        self.assertEqual((self.line.size, self.faults.passed[TO_CLIENT], self.exchange.passed[TO_CLIENT]), (0, 3, 3))

    def test_ends(self) -> None:
        self.put(b"ab")
        self.line.end("half_close", self.exchange, 0.0)
        self.assertEqual(self.steps(0), [Step(b"ab"), Step(ending="half_close")])
        self.assertEqual(self.line.next(0), NOTHING)
        self.assertTrue(self.line.is_over)
        self.put(b"too late")
        self.assertEqual((self.line.next(0), self.line.size), (NOTHING, 0))

    def test_delay(self) -> None:
        self.suffer(Delay(DIRECTIONS, 0.5))
        self.put(b"a")
        self.put(b"b", now=0.125)
        self.line.end("reset", self.exchange, 0.25)
        self.assertEqual(self.steps(0.25), [Step(wait=0.25)])
        self.assertEqual(self.steps(0.5), [Step(b"a"), Step(wait=0.125)])
        self.assertEqual(self.steps(0.625), [Step(b"b"), Step(wait=0.125)])
        self.assertEqual(self.steps(0.75), [Step(ending="reset")])
        self.assertEqual(self.faults.done, {"delay": 1})

    def test_delay_is_over(self) -> None:
        """What waits is not late any more: the last command counts, or there is none."""
        self.suffer(Delay(DIRECTIONS, 100))
        self.put(b"a")
        self.assertEqual(self.line.next(1), Step(wait=99))
        self.suffer(Delay(DIRECTIONS, 0))
        self.assertEqual(self.line.next(1), Step(b"a"))
        self.suffer(Delay(DIRECTIONS, 100))
        self.put(b"b", now=1)
        self.faults.behave()
        self.assertEqual(self.line.next(1), Step(b"b"))

    def test_jitter(self) -> None:
        """More or less, never before it came, in its order; the same for the same seed."""
        self.suffer(Delay(DIRECTIONS, 0.5, 0.5))

        def times() -> list[float]:
            self.line, self.exchange = self.new_line(), Exchange("1.1")
            found, now = [], 0.0
            for number in range(50):
                self.put(b"%d" % number, now=now)
                while not (step := self.line.next(now)).data:
                    now += step.wait or 0.0
                self.assertEqual(step.data, b"%d" % number)
                found.append(now)
            return found

        first = times()
        waits = [after - before for before, after in zip([0.0, *first], first)]
        self.assertTrue(all(0 <= wait <= 1 for wait in waits))
        self.assertTrue(min(waits) < 0.25 and max(waits) > 0.75)
        self.assertEqual(first, times())

    def test_more_jitter_than_delay(self) -> None:
        self.suffer(Delay(DIRECTIONS, 0, 1))
        for number in range(20):
            self.put(b"%d" % number)
        out, _, now = self.drain()
        self.assertEqual(out, b"".join(b"%d" % number for number in range(20)))
        self.assertTrue(0 < now <= 1)

    def test_bytewise(self) -> None:
        self.suffer(Bytewise(DIRECTIONS))
        self.put(b"ab", b"c")
        self.line.end("half_close", self.exchange, 0)
        self.assertEqual(self.steps(0), [Step(b"a"), Step(b"b"), Step(b"c"), Step(ending="half_close")])

    def test_throttle(self) -> None:
        self.suffer(Throttle(DIRECTIONS, 200))
        self.put(bytes(25))
        self.assertEqual(self.steps(0), [Step(bytes(10)), Step(wait=0.05)])
        self.assertEqual(self.steps(0.05), [Step(bytes(10)), Step(wait=0.05)])
        self.assertEqual(self.steps(1), [Step(bytes(5)), NOTHING])

    def test_throttle_takes_its_time(self) -> None:
        for rate in (1, 7, 1000, 100_000):
            self.faults.behave()
            self.line = self.new_line()
            self.suffer(Throttle(DIRECTIONS, rate))
            self.put(bytes(rate * 3))
            self.line.end("half_close", self.exchange, 0)
            out, ending, now = self.drain()
            self.assertEqual((len(out), ending), (rate * 3, "half_close"))
            self.assertLess(abs(now - 3.0), 0.1)

    def test_slow_and_bytewise(self) -> None:
        self.suffer(Throttle(DIRECTIONS, 1000), Bytewise(DIRECTIONS), Delay(DIRECTIONS, 1))
        self.put(b"abc")
        self.assertEqual(self.steps(0), [Step(wait=1)])
        self.assertEqual(self.steps(1), [Step(b"a"), Step(wait=1.001 - 1)])

    def test_swallow(self) -> None:
        """Nothing is left out in the middle: what has lost bytes passes none, whatever is commanded then."""
        self.put(b"first")
        self.assertEqual(self.line.next(0), Step(b"first"))
        self.suffer(BlackHole(DIRECTIONS))
        self.put(b"lost", b"lost too")
        self.assertEqual(self.line.next(0), NOTHING)
        self.faults.behave()
        self.put(b"later")
        self.line.end("reset", self.exchange, 0)
        self.assertEqual((self.line.next(0), self.line.size), (NOTHING, 0))
        self.assertTrue(self.line.has_swallowed)

    def test_swallow_ends(self) -> None:
        """An end as well as bytes."""
        for ending in ("half_close", "reset"):
            self.line = self.new_line()
            self.line.end(ending, self.exchange, 0)
            self.suffer(BlackHole(DIRECTIONS))
            self.assertEqual(self.line.next(0), NOTHING)
            self.assertTrue(self.line.has_swallowed)

    def test_other_direction(self) -> None:
        self.suffer(BlackHole((TO_SERVER,)), CutRequest(0, "reset"))
        self.put(b"a")
        self.assertEqual(self.line.next(0), Step(b"a"))

    def test_cut_counts_from_the_beginning_of_the_answer(self) -> None:
        self.put(b"0123456789")
        self.assertEqual(self.line.next(0), Step(b"0123456789"))
        self.exchange = Exchange("1.2")
        self.suffer(CutAnswer(5, "reset"))
        self.put(b"012", b"345")
        self.assertEqual(self.steps(0), [Step(b"012"), Step(b"34"), Step(ending="reset")])

    def test_cut_comes_behind_a_delay(self) -> None:
        self.suffer(Delay(DIRECTIONS, 1), CutAnswer(1, "reset"))
        self.put(b"ab")
        self.assertEqual(self.steps(0), [Step(wait=1)])
        self.assertEqual(self.steps(1), [Step(b"a"), Step(ending="reset")])

    def test_replaced(self) -> None:
        self.suffer(ReplaceAnswer(b"sorry"))
        self.put(b"ab", b"cd")
        self.assertEqual(self.steps(0), [Step(b"sorry"), Step(ending="close")])

    def test_end_is_no_answer(self) -> None:
        """A server that ends without an answer is not cut, nor replaced."""
        self.suffer(CutAnswer(0, "reset"), CutLine("reset"), ReplaceAnswer(b"sorry"))
        self.line.end("half_close", self.exchange, 0)
        self.assertEqual(self.line.next(0), Step(ending="half_close"))

    def test_full(self) -> None:
        self.suffer(Delay(DIRECTIONS, 1))
        self.put(bytes(MAX_WAITING - 1))
        self.assertFalse(self.line.is_full)
        self.put(b"a")
        self.assertTrue(self.line.is_full)
        self.assertEqual(len(self.line.next(1).data), MAX_WAITING - 1)
        self.assertFalse(self.line.is_full)

    PIECES = st.lists(st.binary(min_size=1, max_size=20), max_size=10)
    PACES = st.lists(
        st.one_of(
            st.builds(lambda seconds, jitter: Delay(DIRECTIONS, seconds, jitter), st.floats(0, 9), st.floats(0, 9)),
            st.builds(lambda rate: Throttle(DIRECTIONS, rate), st.integers(1, 1000)),
            st.just(Bytewise(DIRECTIONS)),
        ),
        max_size=3,
    )

    @PROPERTY
    @given(PIECES, PACES)
    def test_faithful(self, pieces: list[bytes], paces: list[Fault]) -> None:
        """However slowly: all bytes, in their order, and then the end."""
        self.faults, self.exchange = Faults(seed=1), Exchange("1.1")
        self.line = self.new_line()
        self.suffer(*paces)
        self.put(*pieces)
        self.line.end("half_close", self.exchange, 0)
        out, ending, _ = self.drain()
        self.assertEqual((out, ending, self.line.size), (b"".join(pieces), "half_close", 0))

    @PROPERTY
    @given(PIECES, PACES, st.integers(0, 100))
    def test_cut_anywhere(self, pieces: list[bytes], paces: list[Fault], after: int) -> None:
        """However it arrives and leaves: exactly so many bytes, if there are as many."""
        self.faults, self.exchange = Faults(seed=1), Exchange("1.1")
        self.line = self.new_line()
        self.suffer(*paces, CutAnswer(after, "reset"))
        self.put(*pieces)
        self.line.end("half_close", self.exchange, 0)
        out, ending, _ = self.drain()
        everything = b"".join(pieces)
        is_cut = len(everything) >= after and everything != b""
        self.assertEqual((out, ending), (everything[:after], "reset" if is_cut else "half_close"))
