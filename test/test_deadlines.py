"""
Deadlines of many calls with few timers.
"""

from __future__ import annotations

from typing import Callable, Optional

from test.fakes import Case
from txetcd._deadlines import Deadlines


class Call:
    """
    Something with a deadline.

    :param deadlines: where.
    :param seconds: when.
    :param then: what it does when it is told.
    """

    def __init__(self, deadlines: Deadlines, seconds: float, then: Optional[Callable[[], None]] = None) -> None:
        self.step = 0
        self.is_over = False
        self.expired_at: Optional[float] = None
        self._deadlines = deadlines
        self._then = then
        self._clock = deadlines._clock
        deadlines.add(self, seconds)

    def end(self) -> None:
        """It is over."""
        self.is_over = True
        self._deadlines.remove(self)

    def expire(self) -> None:
        assert not self.is_over
        self.end()
        self.expired_at = self._clock.seconds()
        if self._then is not None:
            self._then()


class DeadlineTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.deadlines = Deadlines(self.clock)

    def tearDown(self) -> None:
        self.deadlines.stop()
        self.assertEqual(self.deadlines._steps, {})
        super().tearDown()

    def call(self, seconds: float, then: Optional[Callable[[], None]] = None) -> Call:
        return Call(self.deadlines, seconds, then)

    def pass_time(self, seconds: float) -> None:
        """In such turns as a busy reactor has."""
        self.clock.pump([1 / 1024] * round(seconds * 1024))

    def assert_in_time(self, call: Call, due: float) -> None:
        """Never early, and at the end of its step."""
        assert call.expired_at is not None
        self.assertTrue(due <= call.expired_at <= due + 1 / 64 + 1 / 1024, (due, call.expired_at))

    def test_within_its_step(self) -> None:
        """Never early, and a 64th of a second late at the most."""
        for began in (0.0, 0.3, 0.1234567, 1e9):
            self.clock.advance(began)
            now = self.clock.seconds()
            calls = [(seconds, self.call(seconds)) for seconds in (0.0, 1e-9, 0.01, 1 / 64, 0.5, 0.7, 1.0)]
            self.pass_time(1.1)
            for seconds, call in calls:
                self.assert_in_time(call, now + seconds)

    def test_one_timer(self) -> None:
        """However many there are."""
        calls = [self.call(1 + number / 1000) for number in range(1000)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.pass_time(2.1)
        for number, call in enumerate(calls):
            self.assert_in_time(call, 1 + number / 1000)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_timer_is_set_seldom(self) -> None:
        """Calls that are answered, one after the other, share the timer of the first."""
        timers: list[object] = []
        for _ in range(1000):
            self.call(10.0).end()
            timers += [timer for timer in self.clock.getDelayedCalls() if timer not in timers]
            self.clock.advance(0.02)
        self.assertLessEqual(len(timers), 2)

    def test_earlier_after_later(self) -> None:
        later, earlier = self.call(10.0), self.call(1.0)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.pass_time(1.1)
        self.assert_in_time(earlier, 1.0)
        self.assertIsNone(later.expired_at)
        self.pass_time(9.0)
        self.assert_in_time(later, 10.0)

    def test_removed(self) -> None:
        """It is not told; others of its step are, and the timer finds nothing to do."""
        gone, stays, alone = self.call(1.0), self.call(1.0), self.call(2.0)
        gone.end()
        alone.end()
        self.pass_time(3.0)
        self.assert_in_time(stays, 1.0)
        self.assertEqual([gone.expired_at, alone.expired_at], [None, None])

    def test_late(self) -> None:
        """When the reactor was busy, all that are due are told, in the order of their steps."""
        order: list[float] = []
        for seconds in (3.0, 1.0, 2.0, 1.0, 5.0):
            self.call(seconds, lambda seconds=seconds: order.append(seconds))
        self.clock.advance(4)
        self.assertEqual(order, [1.0, 1.0, 2.0, 3.0])
        self.clock.advance(4)
        self.assertEqual(order[4:], [5.0])

    def test_one_ends_others(self) -> None:
        """Of its own step, of one that is due as well, and of a later one."""
        others: list[Call] = []
        self.call(1.0, lambda: [other.end() for other in others])
        others += [self.call(1.0), self.call(2.0), self.call(9.0)]
        stays = self.call(2.5)
        self.clock.advance(3)
        self.assertEqual([other.expired_at for other in others], [None] * 3)
        self.assertEqual(stays.expired_at, 3)
        self.clock.advance(10)

    def test_one_adds_others(self) -> None:
        """However late they are: what was there before is not forgotten for them."""
        for seconds in (0.0, 0.5, 60.0):
            now = self.clock.seconds()
            added: list[Call] = []
            self.call(1.0, lambda seconds=seconds, added=added: added.append(self.call(seconds)))
            before = self.call(3.0)
            self.pass_time(3.1)
            self.assert_in_time(before, now + 3)
            if seconds == 60:
                self.assertIsNone(added[0].expired_at)
                self.clock.advance(60)
            self.assertIsNotNone(added[0].expired_at)

    def test_stop(self) -> None:
        """Twice, or when none was ever there, is no harm."""
        self.call(1.0).end()
        self.deadlines.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.stop()
        Deadlines(self.clock).stop()

    def test_one_stops_all(self) -> None:
        """As a client does that is closed by whoever is told: nothing is left then."""
        others: list[Call] = []

        def close() -> None:
            for other in others:
                other.end()
            self.deadlines.stop()

        self.call(1.0, close)
        others += [self.call(1.0), self.call(5.0)]
        self.pass_time(1.1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
