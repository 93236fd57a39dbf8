"""
A cluster to which everything happens that can, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Callable, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from test.real.test_cluster import ClusterCase
from txetcd import Error

T = TypeVar("T")


def each_then_any(random: Random, kinds: list[T], goes_on: Callable[[], bool]) -> Iterator[T]:
    """Each of them once, in any order, and then any as long as it goes on."""
    due = list(kinds)
    while due or goes_on():
        yield due.pop(random.randrange(len(due))) if due else random.choice(kinds)


class AmidFaults(ClusterCase):
    """
    Faults, between which all is well for a moment.

    :ivar random: says which, and when.
    :ivar happened: how often each did (``Counter``), by its name.
    """

    def pass_seconds(self: Any, seconds: float) -> Deferred[None]:
        return deferLater(self.reactor, seconds)

    async def is_well(self: Any) -> bool:
        """A majority answers."""
        try:
            await self.etcd.get(b"-", timeout=5)
        except Error:
            return False
        return True

    async def faults(self: Any, kinds: list[Any], end: float) -> None:
        """All *kinds* of them, until the *end* at least."""
        for fault in each_then_any(self.random, kinds, lambda: self.reactor.seconds() < end):
            await fault()
            self.happened[fault.__name__] += 1
            await self.until(self.is_well)
            await self.pass_seconds(0.5 + self.random.random())
