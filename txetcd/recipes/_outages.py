"""
What passes by itself, and how long is waited for it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Callable, TypeVar

from twisted.internet.task import deferLater

from .._backoff import ASK_AGAIN
from ..errors import (
    DeadlineExceeded,
    Error,
    OutcomeUnknown,
    RequestCanceled,
    ResourceError,
    Timeout,
    TooManyRequests,
    Unavailable,
)
from ._etcd import Etcd

T = TypeVar("T")

OUTAGES = (Unavailable, Timeout, OutcomeUnknown, DeadlineExceeded, RequestCanceled, TooManyRequests)
"""What a call fails with that may succeed when it is asked again; a write may have been carried out all the same."""

PASSING = (*OUTAGES, ResourceError)
"""
The same for what is kept up, or waited for, as long as its owner lives: also that the database is full passes some day.
Others are told that, and may make room.
"""

CLEANUP_TIMEOUT = 5.0
"""
Seconds for taking back what was begun, until whoever waits for that is told that it is not certain: it goes on behind
his back, and a lease ends by itself.
"""


async def again_after(etcd: Etcd) -> None:
    """Waits until what has failed may be asked again."""
    await deferLater(etcd.reactor, ASK_AGAIN)


async def in_the_end(
    etcd: Etcd, ask: Callable[[], Awaitable[T]], passing: tuple[type[Error], ...] = OUTAGES
) -> T:
    """
    What comes of it, as soon as can be.

    :param ask: asks, as often as need be.
    :param passing: the errors after which it is asked again.
    """
    while True:
        try:
            return await ask()
        except passing:
            await again_after(etcd)
