"""
When to give up: a deadline for each of many calls, at the price of a few timers.
"""

from __future__ import annotations

from typing import Any, Optional, Protocol

from twisted.internet.interfaces import IDelayedCall

_STEPS = 64
"""Of a second: a deadline passes at the end of its step."""


class Expiring(Protocol):
    """Something with a deadline."""

    step: int

    def expire(self) -> None:
        """The deadline has passed."""


class Deadlines:
    """
    Deadlines of calls. Almost all calls are answered long before theirs, so that a timer for each would cost more than
    its whole work: there is one, for the next deadline of all.

    :param clock: the reactor.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._steps: dict[int, dict[Expiring, None]] = {}
        self._timer: Optional[IDelayedCall] = None
        self._next = 0

    def add(self, call: Expiring, seconds: float) -> None:
        """*call* expires in so many seconds, or up to a 64th of one later."""
        call.step = step = int((self._clock.seconds() + seconds) * _STEPS) + 1
        expiring = self._steps.get(step)
        if expiring is None:
            expiring = self._steps[step] = {}
        expiring[call] = None
        if self._timer is None or step < self._next:
            self._set_timer(step)

    def remove(self, call: Expiring) -> None:
        """*call* has ended. The timer stays: most likely there will be another one."""
        expiring = self._steps[call.step]
        del expiring[call]
        if not expiring:
            del self._steps[call.step]

    def stop(self) -> None:
        """There will be no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, step: int) -> None:
        self.stop()
        self._next = step
        self._timer = self._clock.callLater(max(0.0, step / _STEPS - self._clock.seconds()), self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._clock.seconds() * _STEPS
        for step in sorted(step for step in self._steps if step <= now):
            # whoever is told may end others
            while step in self._steps:
                next(iter(self._steps[step])).expire()
        self._look_ahead()

    def _look_ahead(self) -> None:
        # whoever was told may have added another one, and so set a timer, but not for those that were there before
        if self._steps:
            step = min(self._steps)
            if self._timer is None or step < self._next:
                self._set_timer(step)
