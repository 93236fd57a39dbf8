"""
In which order items are taken.

An item is a key below ``name/``. Which of them is the next one is told by what was read, and made sure of by
comparisons when it is taken: nothing may have come before it meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Protocol

from ..keyset import KeySet, prefix_end
from ..ops import Comp, CompVersion, Op, OpGet
from ..values import KeyValue, Range

PAGE = 128
"""Items that are read at a time, without their values; more than are ever put at once."""

BATCH = 16
"""Items that are taken at once at the most, with their values."""


def gaps(prefix: bytes, keys: Iterable[bytes], *, is_whole: bool = False) -> list[Comp]:
    """
    Comparisons that hold if nothing begins with *prefix* and stands before the *keys* or between them.

    :param keys: in their order.
    :param is_whole: if nothing may stand behind them, either.
    """
    start, ranges = prefix, []
    for key in keys:
        ranges.append(KeySet(start, key))
        start = key + b"\x00"
    if is_whole:
        ranges.append(KeySet(start, prefix_end(prefix)))
    # a range without a key in it is compared as a key that does not exist
    return [CompVersion(keys, "==", 0) for keys in ranges]


class Order(Protocol):
    """
    Which items are next.

    :ivar prefix: what their keys begin with.
    """

    prefix: bytes

    def look(self, limit: int = PAGE) -> list[Op]:
        """How to read which items are next."""

    def candidates(self, responses: Sequence[Any]) -> list[KeyValue]:
        """The next items, by the answers; not all of them, perhaps."""

    def guards(self, taken: Sequence[KeyValue]) -> list[Comp]:
        """What must hold, so that these are the next ones still, besides that they are there."""


class InOrder:
    """
    First come, first served: by the revision that created the key, and then by the key. So several that are put at once
    have keys in their order.

    An item that was taken when nobody wanted it any more comes back under a key that begins with ``name/!`` and tells
    which revision had created it: all of these come first, as they had been the next ones.

    :param name: of the queue.
    """

    def __init__(self, name: bytes) -> None:
        self.prefix = name + b"/"
        self._back = self.prefix + b"!"

    def look(self, limit: int = PAGE) -> list[Op]:
        """How to read which items are next."""
        return [
            OpGet(KeySet(self._back, prefix=True), keys_only=True, limit=limit),
            OpGet(
                KeySet(self.prefix, prefix=True), keys_only=True, limit=limit, sort_order="ASCEND", sort_target="CREATE"
            ),
        ]

    def candidates(self, responses: Sequence[Any]) -> list[KeyValue]:
        """The next items, by the answers; not all of them, perhaps."""
        back, rest = responses
        if back.more:
            return list(back.kvs)
        return [*back.kvs, *(kv for kv in _whole_groups(rest) if not kv.key.startswith(self._back))]

    def guards(self, taken: Sequence[KeyValue]) -> list[Comp]:
        """What must hold, so that these are the next ones still, besides that they are there."""
        back = [kv.key for kv in taken if kv.key.startswith(self._back)]
        return gaps(self._back, back, is_whole=len(back) < len(taken))

    def back(self, kv: KeyValue) -> bytes:
        """The key under which an item comes back."""
        if kv.key.startswith(self._back):
            return kv.key
        return self._back + b"%020d-%s" % (kv.create_revision, kv.key[len(self.prefix) :])


def _whole_groups(found: Range) -> list[KeyValue]:
    """
    By revision and key. What was put at once is read as a whole or not at all: the server sorts by the revision alone,
    so nobody knows which of them a limit has left out.
    """
    groups = [sorted(group, key=lambda kv: kv.key) for _, group in groupby(found.kvs, lambda kv: kv.create_revision)]
    if found.more and len(groups) > 1:
        groups.pop()
    return [kv for group in groups for kv in group]


class ByPriority:
    """
    By the key, which begins with the priority, as in Go's ``recipe.PriorityQueue``: ``name/00007/0000000000000042``.

    :param name: of the queue.
    """

    def __init__(self, name: bytes) -> None:
        self.prefix = name + b"/"

    def look(self, limit: int = PAGE) -> list[Op]:
        """How to read which items are next."""
        return [OpGet(KeySet(self.prefix, prefix=True), keys_only=True, limit=limit)]

    def candidates(self, responses: Sequence[Any]) -> list[KeyValue]:
        """The next items, by the answers; not all of them, perhaps."""
        return list(responses[0].kvs)

    def guards(self, taken: Sequence[KeyValue]) -> list[Comp]:
        """What must hold, so that these are the next ones still, besides that they are there."""
        return gaps(self.prefix, [kv.key for kv in taken])

    def of(self, priority: int) -> bytes:
        """What the keys of a priority begin with, and after that ``/``."""
        return self.prefix + b"%05d" % priority
