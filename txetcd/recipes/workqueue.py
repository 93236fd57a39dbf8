"""
Work that is done at least once, whoever dies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Callable, Optional, Union

from twisted.internet.defer import Deferred, TimeoutError, fail
from twisted.python.failure import Failure

from .._check import check_bytes
from .._context import ContextDeferred, context, leave_after
from ..errors import Error, Expired, LockReleased, OutcomeUnknown, SessionExpired
from ..keyset import KeySet
from ..lease import Lease
from ..ops import Comp, CompCreated, CompModified, Op, OpDel, OpGet, OpSet, Transaction
from ..values import Event, KeyValue, Outcome
from ._etcd import Etcd
from ._leases import Leases
from ._name import beside, check_name
from ._once import SETTLE, new_token
from ._order import PAGE, InOrder
from ._outages import OUTAGES, again_after
from ._producers import Putting
from ._taking import Taking, touched
from .queue import TIME_TO_LIVE, check_items, count
from .session import Session


class HeldItem:
    """
    An item of a :class:`~txetcd.WorkQueue`, held by a worker until it is done, or given back.

    ``async with queue.take() as item:`` says that it is done at the end of the block, or gives it back if the block
    fails; so does ``async with item:`` of one that was waited for.

    :ivar key: the key of the item (``bytes``), the same whoever holds it.
    :ivar value: what was put (``bytes``).
    :ivar revision: the fencing token (``int``): every holder of an item has a greater one than those before.
    """

    def __init__(
        self, etcd: Etcd, item: KeyValue, hold: bytes, revision: int, lease: Lease, left: Callable[[HeldItem], None]
    ) -> None:
        self._etcd = etcd
        self.key = item.key
        self.value = item.value
        self.revision = revision
        self._create_revision = item.create_revision
        self._hold = hold
        self._lease = lease
        self._left = left
        self._ending: Optional[str] = None
        self._is_over = self._is_in_doubt = False

    @property
    def is_held(self) -> bool:
        """
        Whether it is held, as far as can be known here (``bool``): neither done nor given back, and the lease is alive.
        """
        return not self._is_over and self._lease.state == "alive"

    def guard(self) -> Comp:
        """
        :returns: a comparison for a transaction of yours, which then does nothing if the item is no longer held.
        :raises LockReleased: if it was done or given back already, or is just about to be.
        """
        if self._ending is not None:
            raise self._not_held()
        return CompCreated(self._hold, "==", self.revision)

    def _not_held(self) -> LockReleased:
        return LockReleased(None, f"the item {self.key!r} is not held: it was {self._ending}, or is just about to be")

    def when_lost(self) -> Deferred[None]:
        """
        Waits until the lease that it is held by ends: it could not be kept alive, or the session was closed. It may be
        told late, when the process was stopped or the machine was asleep.

        :returns: a Deferred that fires with ``None``. Cancelling it ends the waiting.
        """
        return self._lease.when_lost()

    def done(self) -> Deferred[None]:
        """
        The work is done: the item is deleted.

        :returns: a Deferred that fires with ``None``. It fails with :class:`~txetcd.errors.SessionExpired` if the item
            had been lost before, so that another worker does it once more, or has done so; or as every call, and then
            it is held as before and this can be asked again. If an answer is lost, what has come of it is found out;
            it fails with :class:`~txetcd.OutcomeUnknown` if that takes longer than half a minute; and with
            :class:`~txetcd.errors.LockReleased` if it was done or given back already, or is just about to be.
            Cancelling it ends the call; it may be done all the same, and can be asked again.
        """
        return self._end("done", [OpDel(self.key), OpDel(self._hold)])

    def give_back(self) -> Deferred[None]:
        """
        The work is not done: the item can be taken by another worker, at the place in the queue that it had.

        :returns: a Deferred as of :meth:`done`: it fires with ``None``.
        """
        return self._end("given back", [OpDel(self._hold)])

    def _end(self, how: str, ops: Sequence[Op]) -> Deferred[None]:
        if self._ending is not None:
            return fail(self._not_held())
        txn = Transaction([self.guard()], ops, [OpGet(self.key, keys_only=True)])
        self._ending = how
        ending = Deferred.fromCoroutine(self._until_told(txn)).addTimeout(SETTLE, self._etcd.reactor)
        return ending.addCallbacks(self._told, self._not_told)

    async def _until_told(self, txn: Transaction) -> Outcome:
        while True:
            try:
                return await self._etcd.transact(txn)
            except OUTAGES as error:
                self._is_in_doubt |= error.maybe_applied
                if not self._is_in_doubt:
                    raise
            await again_after(self._etcd)

    def _told(self, outcome: Outcome) -> None:
        self._is_over = True
        self._left(self)
        there: Any = outcome.responses[0]
        if outcome.succeeded or (self._is_in_doubt and self._has_come_true(there.kvs)):
            return
        how, self._ending = self._ending, "lost"
        raise SessionExpired(None, f"the item {self.key!r} was lost before it was {how}")

    def _has_come_true(self, kvs: Sequence[KeyValue]) -> bool:
        # it is not held by this worker any more; and there is no other way for an item to go than to be done
        is_there = bool(kvs) and kvs[0].create_revision == self._create_revision
        return self._ending == "given back" or not is_there

    def _not_told(self, failure: Failure) -> Any:
        how, self._ending = self._ending, None
        # what was not answered may be carried out late
        self._is_in_doubt |= not isinstance(failure.value, Error) or failure.value.maybe_applied
        if isinstance(failure.value, Error):
            failure.value.maybe_applied = self._is_in_doubt
        if failure.check(TimeoutError):
            raise OutcomeUnknown(None, f"it is not known whether the item {self.key!r} was {how}") from failure.value
        return failure

    async def __aenter__(self) -> HeldItem:
        """The item itself."""
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Says that it is done, or gives it back if the block has failed; unless that was said in the block."""
        if self._ending is None:
            await leave_after(error, self.done if error is None else self.give_back, self)

    def __repr__(self) -> str:
        state = "HELD" if self.is_held else (self._ending or "lost").upper()
        return f"<HeldItem {self.key!r} {state}>"


class WorkQueue:
    """
    A queue of work: each item is done at least once, even if workers die.

    * :meth:`take` gives an item to one worker, which holds it until it says that it is :meth:`~HeldItem.done`, or gives
      it back. The hold is a key on the lease of the worker: when that dies, the item can be taken by another.
    * Items that can be taken are taken in the order in which they were put; one that comes back does so at its place.
    * Workers who wait stand in a line, as with :class:`~txetcd.Queue`: what is put, or comes back, wakes one of them.
    * What is promised of :meth:`put` is as of :class:`~txetcd.Queue`: an item is put once.

    What can still go wrong: a worker that is suspended for longer than the time to live loses the item without
    noticing, and another does the same work. So end the work when :meth:`HeldItem.when_lost` fires, put
    :meth:`HeldItem.guard` among the comparisons of your transactions, or hand :attr:`HeldItem.revision` to whatever you
    write to. An item that a worker has forgotten is held as long as its process lives, or its session. One that is
    given back is the next one to be taken: so one that fails again and again keeps those behind it waiting, unless it
    is moved away.

    It costs a call to put, as with :class:`~txetcd.Queue`; two to take, and a third one for each time that somebody
    else was first; one for the end; and without a *session*, one for a lease and one to revoke it, which all items
    share that this object holds at the same time. The server looks at all items and all holds: keep queues short.

    The items are the keys below ``name/``, as of a :class:`~txetcd.Queue`, whose producers, and those with Go's
    ``recipe.Queue``, can put items for workers. But consumers of either do not care who holds an item: let them be. The
    holds are the keys ``__name/held/...``.

    :param etcd: a :class:`~txetcd.Client`.
    :param name: the name (``bytes``), which does not end in ``/``.
    :param session: a :class:`~txetcd.Session` that has begun, for all that is held; without one, a lease is granted
        when there is something to hold, and revoked when there is nothing any more.
    :param time_to_live: seconds (``int``) of that lease: after so many the items of a worker that has died come back.
    """

    def __init__(
        self, etcd: Etcd, name: bytes, *, session: Optional[Session] = None, time_to_live: int = TIME_TO_LIVE
    ) -> None:
        self.name = check_name("name", name)
        self._etcd = etcd
        self._order = InOrder(self.name)
        self._putting = Putting(etcd, self.name)
        leases = Leases(etcd, f"the work queue {self.name!r}", session, time_to_live)
        self._holding = _Holding(etcd, self.name, leases, self._order)

    def put(self, value: bytes) -> Deferred[None]:
        """
        Puts an item at the end.

        :param value: the item (``bytes``).
        :returns: a Deferred as of :meth:`Queue.put <txetcd.Queue.put>`: it fires with ``None``.
        """
        return self.put_all([check_bytes("value", value)])

    def put_all(self, values: Iterable[bytes]) -> Deferred[None]:
        """
        Puts several items at the end, next to one another: all of them or none.

        :param values: the items, up to 100 (a list of ``bytes``).
        :returns: a Deferred as of :meth:`Queue.put <txetcd.Queue.put>`: it fires with ``None``.
        """
        return Deferred.fromCoroutine(self._putting.put(check_items(values)))

    def take(self, timeout: Optional[float] = None) -> ContextDeferred[HeldItem]:
        """
        Takes the next item that nobody holds, and waits until there is one.

        :param timeout: seconds, or ``None`` to wait as long as it takes.
        :returns: a Deferred that fires with a :class:`HeldItem`. It fails with :class:`~txetcd.Timeout` if there was
            none in time, :class:`~txetcd.errors.SessionExpired` if the session was lost, or as every call; an outage
            while it waits is waited out. Then nothing is held: what was taken all the same is given back, or comes back
            with the lease; ``maybe_applied`` of a ``Timeout`` is ``False`` only if that was done, certainly. Cancelling
            it fires it at once; what was being taken goes to the next one who waits here, or is given back. As ``async
            with queue.take() as item:`` it is done at the end of the block, or given back if that fails, unless that
            was said in the block; that raises what :meth:`HeldItem.done` fails with.
        """
        taking = self._holding.get(timeout, f"nothing was taken from the work queue {self.name!r}")
        return context(taking, HeldItem.done, lambda item: item._ending is not None, HeldItem.give_back)

    def size(self) -> Deferred[int]:
        """
        Counts the items, those that are held among them.

        :returns: a Deferred that fires with how many there are (``int``). It fails as every call.
        """
        return count(self._etcd, self._order.prefix)

    def __repr__(self) -> str:
        return f"<WorkQueue {self.name!r}>"


class _Holding(Taking[HeldItem]):
    """
    Takes items by writing a key beside each, the hold.

    Every hold tells who has written it. So one whose answer was lost is known, and so is one that was written late,
    when nobody expected it any more: it is as good as one that is written now.
    """

    def __init__(self, etcd: Etcd, name: bytes, leases: Leases, order: InOrder) -> None:
        super().__init__(etcd, name, leases)
        self._order = order
        self._leases = leases
        self._holds = KeySet(beside(name, b"/held/"), prefix=True)
        self._me = new_token()
        # with the revision of each: an item that was lost may be held anew, before whoever has lost it says so
        self._held: set[tuple[bytes, int]] = set()
        self._limit = PAGE
        self._is_cut = False

    @property
    def watched(self) -> list[KeySet]:
        """The items, and the holds."""
        return [KeySet(self._order.prefix, prefix=True), self._holds]

    def look(self) -> list[Op]:
        """Who holds what, and which items are next."""
        return [OpGet(self._holds), *self._order.look(self._limit)]

    def matters(self, event: Event) -> bool:
        """Whether an item was put, or one is not held any more."""
        return event.is_delete if event.key in self._holds else event.is_put

    def _hold_of(self, item: bytes) -> bytes:
        return self._holds.key + item[len(self._order.prefix) :]

    def _selected(self, responses: Sequence[Any]) -> list[KeyValue]:
        holds, *items = responses
        taken = {kv.key for kv in holds.kvs if not self._is_unexpected(kv)}
        free = [kv for kv in self._order.candidates(items) if self._hold_of(kv.key) not in taken]
        # so many that one of them is free, if there are more of them
        self._limit = PAGE + len(taken)
        self._is_cut = not free and any(found.more for found in items)
        return free

    def found(self, responses: Sequence[Any], revision: int) -> bool:
        """Whether there are any, or it is to be looked again at once, for more of them."""
        return super().found(responses, revision) or self._is_cut

    def _is_unexpected(self, hold: KeyValue) -> bool:
        return hold.value == self._me and hold.lease == self._leases.lease_id and _id_of(hold) not in self._held

    async def _claim(self) -> Sequence[Union[HeldItem, Failure]]:
        # the next one is looked for anew, since one before may come back at any time
        item, self._candidates = self._candidates[0], []
        lease = await self._leases.use()
        held = None
        try:
            held = await self._hold(item, lease)
        finally:
            if held is None:
                await self._leases.leave(lease)
        return [] if held is None else [held]

    async def _hold(self, item: KeyValue, lease: Lease) -> Optional[HeldItem]:
        hold = self._hold_of(item.key)
        txn = Transaction(
            [CompModified(item.key, "==", item.mod_revision), CompCreated(hold, "==", 0)],
            [OpSet(hold, self._me, lease), OpGet(item.key), *self._line.leaving()],
            [OpGet(hold), OpGet(item.key), *self.look()],
        )
        try:
            outcome = await self._until_told(txn, item)
        except Expired as error:
            if self._leases.is_own:
                await again_after(self._etcd)
                return None
            raise SessionExpired(None, str(error)) from error
        responses: list[Any] = outcome.responses
        if outcome.succeeded:
            self._line.left()
            return self._holder(responses[1].kvs[0], hold, outcome.header.revision, lease)
        held, there, *looked = responses
        if held.kvs and there.kvs and self._is_unexpected(held.kvs[0]):
            return self._holder(there.kvs[0], hold, held.kvs[0].create_revision, lease)
        self.found(looked, outcome.header.revision)
        return None

    def _holder(self, item: KeyValue, hold: bytes, revision: int, lease: Lease) -> HeldItem:
        self._held.add((hold, revision))
        return HeldItem(self._etcd, item, hold, revision, lease, self._left)

    async def _until_told(self, txn: Transaction, item: KeyValue) -> Outcome:
        is_in_doubt = False
        while True:
            try:
                if is_in_doubt:
                    # or it might be carried out when another has given the item back, and nobody expects it here
                    await self._etcd.transact(touched(item), idempotent=True)
                return await self._etcd.transact(txn)
            except OUTAGES as error:
                is_in_doubt |= error.maybe_applied
                if not is_in_doubt:
                    raise
            await again_after(self._etcd)

    def _left(self, held: HeldItem) -> None:
        self._held.discard((held._hold, held.revision))
        Deferred.fromCoroutine(self._leases.leave(held._lease))

    async def _put_back(self, taken: HeldItem) -> None:
        # nobody else would do so, as long as this process lives
        while taken.is_held:
            try:
                return await taken.give_back()
            except OUTAGES:
                await again_after(self._etcd)
            except SessionExpired:
                return
        self._left(taken)


def _id_of(hold: KeyValue) -> tuple[bytes, int]:
    return hold.key, hold.create_revision
