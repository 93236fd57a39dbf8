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

    On Linux ``time.monotonic()`` stands still while the machine sleeps, but ``CLOCK_BOOTTIME`` goes on.

    :param reactor: the reactor.
    :returns: tells the seconds (``float``); only their differences mean anything.
    """
    if not isinstance(reactor, ReactorBase):
        seconds: Callable[[], float] = reactor.seconds
        return seconds
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boot_time is None else partial(time.clock_gettime, boot_time)
