"""
One direction of a connection: what arrives waits here, and is judged when it leaves. So whatever is commanded holds for
what is on its way, too.

Pure: time is told, and nothing is done but said.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any, Optional

import attrs

from ._faults import SWALLOW, Bytewise, Delay, Exchange, Faults, Rule, Throttle, Verdict

MAX_WAITING = 256 * 1024
"""How many bytes may wait before no more are read: what a delayed line carries in the time of its delay."""

SLICES_PER_SECOND = 20
"""In how many pieces a throttled line hands over the bytes of a second, so that they trickle."""


@attrs.frozen
class Step:
    """
    What to do for a line.

    :ivar data: what to hand over; then ask again.
    :ivar wait: seconds after which to ask again, if this is not ``None``.
    :ivar ending: how to end the line, which has handed over all that it will.
    """

    data: bytes = b""
    wait: Optional[float] = None
    ending: Optional[str] = None


NOTHING = Step()
"""Nothing to do before something more arrives."""


@attrs.define(eq=False)
class _Item:
    data: bytes
    ending: Optional[str]
    exchange: Exchange
    arrived_at: float
    luck: float
    start: int = 0

    @property
    def size(self) -> int:
        return len(self.data) - self.start


class Line:
    """
    One direction of a connection.

    :param faults: the rules.
    :param connection: what the rules are told of it.
    :param direction: one of :data:`DIRECTIONS`.
    :param name: by which its dice are thrown.
    :ivar size: how many bytes wait.
    :ivar has_swallowed: whether bytes were lost; then nothing may follow, since TCP leaves none out.
    :ivar is_over: whether nothing will be handed over any more.
    """

    def __init__(self, faults: Faults, connection: Any, direction: str, name: str) -> None:
        self._faults = faults
        self._connection = connection
        self._direction = direction
        self._random = Random(f"{faults.seed}/{name}/{direction}")
        self._items: deque[_Item] = deque()
        self._not_before = float("-inf")
        self._ending: Optional[str] = None
        self.size = 0
        self.has_swallowed = self.is_over = False

    @property
    def is_full(self) -> bool:
        """Whether no more should be read for it."""
        return self.size >= MAX_WAITING

    def put(self, data: bytes, exchange: Exchange, now: float) -> None:
        """Something has arrived."""
        self._put(_Item(data, None, exchange, now, self._random.uniform(-1, 1)))

    def end(self, ending: str, exchange: Exchange, now: float) -> None:
        """Nothing more will arrive. That takes its time as well."""
        self._put(_Item(b"", ending, exchange, now, self._random.uniform(-1, 1)))

    def _put(self, item: _Item) -> None:
        if not self.is_over:
            self._items.append(item)
            self.size += item.size

    def close(self) -> None:
        """Forgets what waits; nothing is handed over any more."""
        self._items.clear()
        self.size = 0
        self._ending = None
        self.is_over = True

    def stop(self, then: str) -> None:
        """As :meth:`close`; *then* comes behind what was handed over (see :class:`Verdict`)."""
        self.close()
        if then == SWALLOW:
            self.has_swallowed = True
        else:
            self._ending = then

    def next(self, now: float) -> Step:
        """What to do now, when everything before was done."""
        if self._ending is not None:
            ending, self._ending = self._ending, None
            return Step(ending=ending)
        if not self._items:
            return NOTHING
        item = self._items[0]
        rules = self._faults.rules_for(self._connection, item.exchange, self._direction)
        wait = self._due(item, rules) - now
        return Step(wait=wait) if wait > 0 else self._leave(item, rules, now)

    def _due(self, item: _Item, rules: list[Rule]) -> float:
        delay = self._faults.last(Delay, rules, item.exchange)
        if delay is None:
            return self._not_before
        return max(self._not_before, item.arrived_at + delay.seconds + delay.jitter * item.luck)

    def _leave(self, item: _Item, rules: list[Rule], now: float) -> Step:
        data = self._take(item, rules, now)
        verdict = self._faults.judge(rules, item.exchange, data, item.exchange.passed[self._direction])
        if verdict is None and item.ending is not None:
            verdict = Verdict(b"", item.ending)
        if verdict is not None:
            data = verdict.data
            self.stop(verdict.then)
        for passed in (item.exchange.passed, self._faults.passed):
            passed[self._direction] += len(data)
        return Step(data) if data else self.next(now)

    def _take(self, item: _Item, rules: list[Rule], now: float) -> bytes:
        """The next bytes that leave together."""
        count = item.size
        if self._faults.last(Bytewise, rules, item.exchange):
            count = min(count, 1)
        throttle = self._faults.last(Throttle, rules, item.exchange)
        if throttle is not None:
            count = min(count, max(1, throttle.bytes_per_second // SLICES_PER_SECOND))
            self._not_before = now + count / throttle.bytes_per_second
        data = item.data[item.start : item.start + count]
        item.start += count
        self.size -= count
        if not item.size:
            self._items.popleft()
        return data
