"""
How items are taken, whatever that means: the way from nothing to something.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Any, Callable, Coroutine, Generic, Optional, TypeVar, Union

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ..errors import Error, OutcomeUnknown, RevisionError
from ..keyset import KeySet
from ..ops import CompModified, Op, OpDel, OpSet, Transaction
from ..values import Event, KeyValue
from ._consumers import Consumers
from ._etcd import Etcd
from ._leases import Leases
from ._line import Line, PlaceLost
from ._name import beside
from ._once import Fresh, Journal, new_token, read
from ._order import BATCH, Order
from ._outages import OUTAGES, again_after, in_the_end

T = TypeVar("T")

Taken = Union[KeyValue, Failure]


class Taking(ABC, Generic[T]):
    """
    Takes items on behalf of those in this process who wait for one: looks which there are, and stands in the line when
    there are none.

    :param etcd: the client.
    :param name: of the queue.
    :param leases: what a place in the line hangs on.
    """

    def __init__(self, etcd: Etcd, name: bytes, leases: Leases) -> None:
        self._etcd = etcd
        self._line = Line(etcd, beside(name, b"/line/"), leases)
        self._consumers: Consumers[T] = Consumers(etcd, self._take, self._return, self._line.leave)
        self._known = Fresh(etcd)
        self._candidates: list[KeyValue] = []

    def get(self, timeout: Optional[float], what: str) -> Deferred[T]:
        """Waits for an item: see :meth:`Consumers.wait`."""
        return self._consumers.wait(timeout, what)

    # --- as what the line waits for

    @property
    @abstractmethod
    def watched(self) -> list[KeySet]:
        """Where something happens when there may be something to take."""

    @abstractmethod
    def look(self) -> list[Op]:
        """How to look which items are next."""

    @abstractmethod
    def matters(self, event: Event) -> bool:
        """Whether it is worth to look after this."""

    def found(self, responses: Sequence[Any], revision: int) -> bool:
        """Whether there are any; they are noted."""
        self._candidates = self._selected(responses)
        self._known.reach(revision)
        return bool(self._candidates)

    # --- within

    @abstractmethod
    def _selected(self, responses: Sequence[Any]) -> list[KeyValue]:
        """Which items are next, by the answers to :meth:`look`."""

    @abstractmethod
    async def _claim(self) -> Sequence[Union[T, Failure]]:
        """Takes one of the candidates, or several; none, if somebody else was first. It is not cancelled."""

    @abstractmethod
    async def _put_back(self, taken: T) -> None:
        """Puts back what was taken."""

    async def _take(self) -> Sequence[Union[T, Failure]]:
        while True:
            if not self._candidates or not self._known.is_fresh:
                await self._until_there()
            if not self._consumers.count:
                raise CancelledError()
            taken = await self._claim()
            if taken:
                return taken

    async def _until_there(self) -> None:
        if not self._line.is_entered:
            await self._consumers.rest(self._look())
        while not self._candidates:
            try:
                await self._line.enter()
                await self._consumers.rest(self._line.until(self))
            except (PlaceLost, RevisionError, *OUTAGES):
                # an outage; the place in the line is kept, as long as its lease is
                await self._consumers.rest(again_after(self._etcd))

    async def _look(self) -> None:
        looked = await read(self._etcd, self.look())
        self.found(looked.responses, looked.header.revision)

    async def _return(self, taken: T) -> None:
        while True:
            try:
                return await self._put_back(taken)
            except OUTAGES as error:
                if error.maybe_applied:
                    raise
            await again_after(self._etcd)


class TakingOut(Taking[KeyValue]):
    """
    Takes items out of a queue.

    As many as are waited for are taken by one transaction, which tells by the journal that it has done so. If its
    answer was lost, that is found there, and what was taken is read in the past.

    :param etcd: the client.
    :param name: of the queue.
    :param leases: what a place in the line hangs on.
    :param order: in which order.
    :param put_back: puts back an item that nobody wants any more.
    """

    def __init__(
        self,
        etcd: Etcd,
        name: bytes,
        leases: Leases,
        order: Order,
        put_back: Callable[[KeyValue], Coroutine[Any, Any, None]],
    ) -> None:
        super().__init__(etcd, name, leases)
        self._order = order
        self._journal = Journal(etcd, beside(name, b"/journal"))
        self._put_item_back = put_back

    @property
    def watched(self) -> list[KeySet]:
        """The items."""
        return [KeySet(self._order.prefix, prefix=True)]

    def look(self) -> list[Op]:
        """Which of them are next."""
        return self._order.look()

    def matters(self, event: Event) -> bool:
        """Whether one was put."""
        return event.is_put

    def _selected(self, responses: Sequence[Any]) -> list[KeyValue]:
        return self._order.candidates(responses)

    async def _put_back(self, taken: KeyValue) -> None:
        await self._put_item_back(taken)

    async def _claim(self) -> Sequence[Taken]:
        number = min(self._consumers.count, BATCH)
        items, rest, self._candidates = self._candidates[:number], self._candidates[number:], []
        token = new_token()
        txn = Transaction(
            [*(CompModified(kv.key, "==", kv.mod_revision) for kv in items), *self._order.guards(items)],
            [*(OpDel(kv.key, True) for kv in items), self._journal.mark(token), *self._line.leaving()],
            self.look(),
        )
        try:
            done = await self._journal.submit(
                txn, token, self._known.revision, spoiler=touched(items[0]), settle=None
            )
        except Error as error:
            if not error.maybe_applied:
                raise
            return [Failure(copy(error)) for _ in items]
        if not done.is_applied:
            self.found(done.responses, done.revision)
            return []
        self._line.left()
        self._candidates = rest
        self._known.reach(done.revision)
        if not done.responses:
            return [await self._as_it_was(kv, done.revision - 1) for kv in items]
        return [answer.previous[0] for answer in done.responses[: len(items)]]

    async def _as_it_was(self, kv: KeyValue, revision: int) -> Taken:
        try:
            return (await in_the_end(self._etcd, lambda: self._etcd.get(kv.key, revision=revision))).kvs[0]
        except Error as error:
            return Failure(OutcomeUnknown(None, f"{kv.key!r} was taken, and its value cannot be read: {error}"))


def touched(kv: KeyValue) -> Transaction:
    """
    Writes an item as it is: whoever would have taken it by what he has read cannot do so any more. That something came
    before it does not last: it is taken, and then a transaction that is carried out late would find all as it was.
    """
    touch = OpSet(kv.key, None, ignore_value=True, ignore_lease=True)
    return Transaction([CompModified(kv.key, "==", kv.mod_revision)], [touch])
