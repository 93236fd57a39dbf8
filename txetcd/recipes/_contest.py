"""
A contest: many contend for what only some can have, and the older key goes first.

The algorithm is that of Go's ``concurrency`` (``waitDeletes`` of its ``Mutex`` and ``Election``). Each contender writes
a key of its own under a lease. Whoever finds no older key among its rivals has won; whoever does watches the youngest
of those alone, and looks again when it is gone. So one deletion wakes one contender, however many there are, and the
revision that created the key is a fencing token: it grows from winner to winner.
"""

from __future__ import annotations

from collections.abc import Coroutine
from operator import attrgetter
from typing import Any, Callable, Optional, Union, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredLock

from .._context import tell_what_is_left, within
from ..errors import Error, LeaseNotFound, RevisionError, SessionExpired
from ..keyset import KeySet
from ..lease import check_time_to_live
from ..ops import CompCreated, OpGet, OpSet, Transaction
from ..values import Event, KeyValue, Outcome, Range
from ._etcd import Etcd
from ._outages import CLEANUP_TIMEOUT, OUTAGES, again_after
from ._place import Place, SessionPlace, lease_of_its_own
from ._until import ending_with, until_event
from .session import Session, check_begun, check_session, lease_of

Contending = Callable[[Place], Coroutine[Any, Any, bool]]
"""Enters a place, and tells whether it has won."""


@attrs.frozen
class Ahead:
    """
    What stands in the way of a contender.

    :ivar keys: the key, or the keys, that are to be watched.
    :ivar revision: from which on they are to be watched (``int``).
    :ivar is_changed_by: whether it may be another one after an :class:`~txetcd.Event`; by default, any deletion.
    """

    keys: Union[bytes, KeySet]
    revision: int
    is_changed_by: Callable[[Event], bool] = attrgetter("is_delete")


class Contest:
    """
    Who contends for what, and by which rule: here, whoever has no older rival.

    :param etcd: the client.
    :param what: what is contended for, in words (``str``), as ``the lock b'name'``.
    :param name: its name (``bytes``); the keys of all contenders are below ``name/``.
    :param kind: below it, the prefix of the keys of those who contend in this way (``bytes``).
    :param rivals: among these keys, the older ones go first; by default, among all.
    :param session: on whose lease the keys hang, or ``None`` for a lease of its own for each.
    :param time_to_live: seconds (``int``), of such a lease.

    :ivar what: as given.
    """

    #: What is done with what is contended for.
    won = "acquired"
    #: How many can have it at a time.
    limit = 1
    #: What is written to a key, unless told otherwise.
    value = b""
    #: Whether all of one session are the same contender.
    is_one_per_session = False

    def __init__(
        self,
        etcd: Etcd,
        what: str,
        name: bytes,
        *,
        kind: bytes = b"",
        rivals: Optional[KeySet] = None,
        session: Optional[Session],
        time_to_live: int,
    ) -> None:
        self._etcd = etcd
        self.what = what
        self._prefix = name + b"/" + kind
        self._everyone = KeySet(name + b"/", prefix=True)
        self._rivals = rivals or self._everyone
        self._session = check_session(session)
        self._time_to_live = check_time_to_live("time_to_live", time_to_live)
        # of those that have the same key, and so must not overlap
        self._turns = DeferredLock()
        self._before: Optional[SessionPlace] = None

    def win(self, timeout: Optional[float] = None, value: Optional[bytes] = None) -> Deferred[Place]:
        """
        Contends until it has won. What it leaves behind otherwise: nothing; see :meth:`Lock.acquire`.

        :param timeout: seconds, or ``None``.
        :param value: of the key (``bytes``), or ``None`` for :attr:`value`.
        :raises RuntimeError: if the session has not begun.
        """
        check_begun(self._session)
        written = self.value if value is None else value
        work = Deferred.fromCoroutine(self._compete_in_turn(lambda place: self._wait(place, written)))
        return within(cast("Deferred[Place]", work), self._etcd, timeout, f"{self.what} was not {self.won}")

    def win_at_once(self) -> Deferred[Optional[Place]]:
        """Wins, or fires with ``None`` if that was not possible without waiting; as :meth:`win` otherwise."""
        check_begun(self._session)
        return within(Deferred.fromCoroutine(self._win_at_once()), self._etcd, None, "")

    def contenders(self) -> Deferred[list[KeyValue]]:
        """All keys of it, the oldest first."""
        found = self._etcd.get(self._everyone, sort_order="ASCEND", sort_target="CREATE")
        return found.addCallback(lambda found: list(found.kvs))

    def first(self) -> Deferred[list[KeyValue]]:
        """The keys of those who have won."""
        return self._get(self._first()).addCallback(lambda found: list(found.kvs))

    def rewrite(self, place: Place, value: bytes) -> Deferred[Outcome]:
        """Changes the value of a place, if that is there."""
        write = OpSet(place.key, value, place.lease)
        return self._etcd.transact(Transaction([place.guard()], [write]), idempotent=True)

    # --- a place

    async def _compete_in_turn(self, contend: Contending) -> Optional[Place]:
        """
        Those of one session have the same key: what is left of the one before is taken back first, or its deletion
        would hit the key that the next one has taken over.
        """
        if self._session is None or not self.is_one_per_session:
            return await self._compete(contend)
        await self._turns.acquire()
        try:
            if self._before is not None:
                await self._before.when_left()
            return await self._compete(contend)
        finally:
            self._turns.release()

    async def _compete(self, contend: Contending) -> Optional[Place]:
        """A place that has won; ``None`` for one that has not, and was given up."""
        place = await self._place()
        try:
            has_won = await self._contend(place, contend)
        except Exception as error:
            tell_what_is_left(error, await self._take_back(place))
            raise
        if not has_won:
            await self._take_back(place)
        return place if has_won else None

    async def _place(self) -> Place:
        if self._session is None:
            lease = await lease_of_its_own(self._etcd, self._time_to_live)
            return Place(self._etcd, self.what, self._prefix, lease)
        lease = lease_of(self._session, self.what)
        place = SessionPlace(self._etcd, self.what, self._prefix, lease, is_only_one=self.is_one_per_session)
        self._before = place if self.is_one_per_session else None
        return place

    async def _contend(self, place: Place, contend: Contending) -> bool:
        """As long as the lease lasts."""
        try:
            return await ending_with(place.lease, Deferred.fromCoroutine(contend(place)))
        except CancelledError:
            if place.lease.state == "lost":
                raise place.lost() from None
            raise
        except LeaseNotFound as error:
            # the server knows it earlier
            raise place.lost() from error

    async def _take_back(self, place: Place) -> bool:
        """Whether that is certain."""
        try:
            await place.leave(CLEANUP_TIMEOUT)
        except LeaseNotFound:
            return True
        except (Error, CancelledError):
            # what the attempt failed with says more; it is tried again, or the lease ends by itself
            return False
        return not place.is_in_doubt

    # --- entering, and waiting

    async def _wait(self, place: Place, value: bytes) -> bool:
        if not await self._enter(place, value):
            await self._until_first(place)
        return True

    async def _win_at_once(self) -> Optional[Place]:
        # before a lease is asked for, of which nothing comes
        if not await self._is_free():
            return None
        return await self._compete(lambda place: self._enter(place, self.value))

    async def _is_free(self) -> bool:
        return len(await self.first()) < self.limit

    async def _enter(self, place: Place, value: bytes) -> bool:
        """Whether it has won already."""
        entered = await place.enter(self._entry(place, value))
        mine, first = self._answers(entered)
        # the key is there already if an attempt on the same lease had lost its answer
        place.revision = mine.kvs[0].create_revision if isinstance(mine, Range) else entered.header.revision
        if isinstance(mine, Range) and mine.kvs[0].value != value:
            self._check_there((await self.rewrite(place, value)).succeeded)
        return len(first.kvs) < self.limit or place.revision in (kv.create_revision for kv in first.kvs)

    def _answers(self, entered: Outcome) -> tuple[Any, Range]:
        """What :meth:`_entry` has had for an answer: of the own key, and of the first ones."""
        return entered.responses[0], cast(Range, entered.responses[1])

    def _entry(self, place: Place, value: bytes) -> Transaction:
        write = OpSet(place.key, value, place.lease)
        first = self._first()
        return Transaction([CompCreated(place.key, "==", 0)], [write, first], [OpGet(place.key), first])

    def _first(self) -> OpGet:
        """Reads those who have won, if so many contend."""
        return OpGet(self._rivals, limit=self.limit, sort_order="ASCEND", sort_target="CREATE")

    def _get(self, op: OpGet) -> Deferred[Range]:
        return self._etcd.get(op.key, limit=op.limit, sort_order=op.sort_order, sort_target=op.sort_target)

    async def _until_first(self, place: Place) -> None:
        while True:
            try:
                ahead = await self._ahead(place)
                if ahead is None:
                    # a watch says nothing of our own key, which goes with the lease
                    return await self._arrive(place)
                await until_event(self._etcd, ahead.keys, ahead.revision, ahead.is_changed_by)
            except (*OUTAGES, RevisionError):
                # the place in the queue is kept as long as the lease is
                await again_after(self._etcd)

    async def _ahead(self, place: Place) -> Optional[Ahead]:
        """What stands in its way, if anything does."""
        found = await self._etcd.get(
            self._rivals,
            limit=1, sort_order="DESCEND", sort_target="CREATE", max_create_revision=place.revision - 1,
        )  # fmt: skip
        return Ahead(found.kvs[0].key, found.header.revision + 1) if found.kvs else None

    async def _arrive(self, place: Place) -> None:
        found = await self._etcd.get(place.key)
        # one that was deleted and written again is behind others
        self._check_there(bool(found.kvs) and found.kvs[0].create_revision == place.revision)

    def _check_there(self, is_there: bool) -> None:
        if not is_there:
            raise SessionExpired(None, f"the key of {self.what} was deleted while it was waited for")
