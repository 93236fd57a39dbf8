"""
The time that leases go by.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Callable

from twisted.internet.base import ReactorBase


def monotonic(reactor: Any) -> Callable[[], float]:
    """
    A clock that nobody can set, for what must not be believed in for too long: ``reactor.seconds()`` of Twisted's own
    reactors is the system's clock. Of anything else, as a ``Clock`` in a test, it is the clock.

    Nor may it stand still while the machine sleeps, as ``time.monotonic()`` does on Linux and on macOS. The former has
    ``CLOCK_BOOTTIME`` for that. On the latter it is ``CLOCK_MONOTONIC_RAW``, which has another meaning on Linux.

    :param reactor: the reactor.
    :returns: tells the seconds (``float``); only their differences mean anything.
    """
    if not isinstance(reactor, ReactorBase):
        seconds: Callable[[], float] = reactor.seconds
        return seconds
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC_RAW"):
        if hasattr(time, name):
            return partial(time.clock_gettime, getattr(time, name))
    return time.monotonic
