"""
When something is tried again.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, Callable, Optional

import attrs

from ._check import what_came

Policy = Callable[[int], Optional[float]]
"""
How long to wait before trying again: called with the number of rounds that have failed (from 1 on), tells the seconds,
or ``None`` to give up. A round has failed when as many endpoints as make a majority have.
"""


ASK_AGAIN = 0.5
"""Seconds before what has failed is asked again (``retryConnWait`` of etcd's Go client), where no policy says more."""


@attrs.frozen
class Backoff:
    """
    Waits longer each time, up to a limit; as long as a call has time left, it is tried again.

    :param first: seconds after the first round.
    :param most: seconds at the most.
    """

    first: float = 0.025
    most: float = 1.0

    def __call__(self, rounds: int) -> Optional[float]:
        """See :data:`Policy`."""
        # a power that is no larger than it need be: failures can go on for days
        return float(min(self.most, self.first * 2 ** min(rounds - 1, 30)))


def never(rounds: int) -> Optional[float]:
    """The policy of trying everything once: see :data:`Policy`."""
    return None


def check_pause(seconds: Any) -> Optional[float]:
    """
    *seconds*, if a policy may have made it: a number that is not negative, or ``None``.

    :raises TypeError: for anything that is not a number.
    :raises ValueError: for a negative number, or not-a-number.
    """
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, Real):
        raise TypeError(f"retry must make a number of seconds or None, not {what_came(seconds)}")
    number = float(seconds)
    if not number >= 0:
        raise ValueError(f"retry must make a number of seconds that is not negative, not {seconds}")
    return number


def quorum(endpoints: int) -> int:
    """How many of so many members are a majority (``defaultWaitForReady`` of Go's client waits after as many)."""
    return endpoints // 2 + 1


def jittered(seconds: float, chance: float) -> float:
    """
    *seconds*, more or less: up to a fifth of it, so that those who have failed together do not come back together.

    :param chance: from 0 to 1, by chance.
    """
    return seconds * (0.8 + 0.4 * chance)


_SERVER_IS_LATER = 0.1
"""Seconds that the server has more than we have: our own deadline says more of what has happened than the server's."""


def left_for_server(timeout: float, waited: float) -> float:
    """
    The seconds that are left for the server of *timeout*, of which a request has *waited* some; in whole steps, so that
    those who have waited differently have the same.
    """
    return timeout - int(min(max(0.0, waited), timeout) / _SERVER_IS_LATER) * _SERVER_IS_LATER


def told_milliseconds(seconds: Optional[float]) -> Optional[int]:
    """When the server is told to stop, if so many seconds are left for it; ``None`` for never."""
    return None if seconds is None else int((seconds + _SERVER_IS_LATER) * 1000)


def in_seconds(seconds: float) -> str:
    """*seconds* in words, as in "within 1 second"."""
    number = f"{seconds:.3g}"
    return f"{number} second" if number == "1" else f"{number} seconds"
