"""
Which clock leases go by.
"""

from __future__ import annotations

from types import SimpleNamespace

from twisted.internet.base import ReactorBase
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txetcd import _clock


class SystemReactor(Clock, ReactorBase):  # type: ignore[misc]  # the methods of Clock are those that count
    """One of Twisted's own, as far as can be seen; its timers go by a clock that can be set."""

    def __init__(self) -> None:
        Clock.__init__(self)


class MonotonicTests(SynchronousTestCase):
    """One that cannot be set, where the reactor's can."""

    def test_system(self) -> None:
        """The one that goes on while the machine sleeps, of Twisted's own reactors."""
        system = SimpleNamespace(CLOCK_BOOTTIME=7, clock_gettime={7: 5.0}.__getitem__, monotonic=lambda: 3.0)
        self.patch(_clock, "time", system)
        self.assertEqual(_clock.monotonic(SystemReactor())(), 5.0)

    def test_mac(self) -> None:
        """There another one does; it counts only where the former is missing."""
        clocks = {4: 9.0, 7: 5.0}
        system = SimpleNamespace(CLOCK_MONOTONIC_RAW=4, clock_gettime=clocks.__getitem__, monotonic=lambda: 3.0)
        self.patch(_clock, "time", system)
        self.assertEqual(_clock.monotonic(SystemReactor())(), 9.0)
        system.CLOCK_BOOTTIME = 7
        self.assertEqual(_clock.monotonic(SystemReactor())(), 5.0)

    def test_without_boot_time(self) -> None:
        """Where the system does not have it, the one that it has."""
        self.patch(_clock, "time", SimpleNamespace(monotonic=lambda: 3.0))
        self.assertEqual(_clock.monotonic(SystemReactor())(), 3.0)

    def test_real(self) -> None:
        """This system has one or the other."""
        seconds = _clock.monotonic(SystemReactor())
        before = seconds()
        self.assertIsInstance(before, float)
        self.assertGreaterEqual(seconds(), before)

    def test_any_other(self) -> None:
        """Whatever is not Twisted's own has its own."""
        clock = Clock()
        seconds = _clock.monotonic(clock)
        self.assertEqual(seconds(), 0)
        clock.advance(5)
        self.assertEqual(seconds(), 5)
