"""
A double barrier: so many begin together, and end together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, TypeVar, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred

from .._check import check_int, check_seconds
from .._context import LeftBehind, tell_what_is_left, within
from ..errors import RevisionError, SessionExpired, TooManyClients
from ..keyset import KeySet
from ..lease import check_time_to_live
from ..ops import CompCreated, CompModified, CompValue, OpDel, OpGet, OpSet, OpTxn, Transaction
from ..values import KeyValue, Outcome, Range
from ._etcd import Etcd
from ._name import check_name
from ._once import new_token
from ._outages import PASSING, again_after, in_the_end
from ._standing import Standing, stand
from ._until import until_event, until_gone
from .session import TIME_TO_LIVE, Session, check_begun

T = TypeVar("T")


@attrs.frozen
class Seen:
    """
    What a barrier was at one revision.

    :ivar waiters: the keys of those who have entered, the oldest first.
    :ivar ready: the revision at which those of the round that was last have begun; 0 if there was none.
    """

    waiters: Sequence[KeyValue]
    ready: int

    @property
    def is_under_way(self) -> bool:
        """Whether a round has begun, and not all have left."""
        return any(kv.create_revision < self.ready for kv in self.waiters)

    def has_room(self, count: int) -> bool:
        """Whether one more may enter the round that is to begin."""
        return not self.is_under_way and len(self.waiters) < count

    def entered_by(self, token: bytes) -> Optional[KeyValue]:
        """The key that bears this token."""
        return next((kv for kv in self.waiters if kv.value == token), None)

    def is_last(self, created: int, count: int) -> bool:
        """Whether whoever has entered at this revision is the last one that is waited for."""
        return len(self.waiters) == count and created == max(kv.create_revision for kv in self.waiters)

    def round(self, begun: int) -> dict[int, bytes]:
        """The keys of those who have begun at a revision, and not left, by the revisions that have created them."""
        return {kv.create_revision: kv.key for kv in self.waiters if kv.create_revision < begun}

    def seat(self, prefix: bytes, count: int, token: bytes) -> bytes:
        """A key that is free, and hardly the same for all who ask."""
        taken = {kv.key for kv in self.waiters}
        first = int(token, 16)
        seats = (prefix + b"%d" % ((first + number) % count) for number in range(count))
        return next(seat for seat in seats if seat not in taken)


@attrs.define(eq=False)
class _Place:
    """
    The place of somebody who enters, or has entered.

    :ivar token: by which its key is known.
    :ivar standing: what it stands on.
    :ivar key: its key, or the one that it shall have; empty before that was chosen.
    :ivar created: the revision that has created it; 0 before that.
    :ivar begun: the revision at which all have begun; 0 before that.
    """

    token: bytes
    standing: Standing
    key: bytes = b""
    created: int = 0
    begun: int = 0

    @property
    def deletion(self) -> Optional[Transaction]:
        """What gives it up."""
        return Transaction([CompValue(self.key, "==", self.token)], [OpDel(self.key)]) if self.key else None


class DoubleBarrier:
    """
    A double barrier: :meth:`enter` waits until *count* have entered, :meth:`leave` until all of them have left. Then
    the next round may begin.

    The algorithm is that of Go's ``recipe.DoubleBarrier``, and so are the keys, ``name/waiters/...`` and
    ``name/ready``; but rounds are kept apart by their revisions, which Go does not do: there, who enters anew at once
    can make one wait for ever that is still leaving. At most *count* keys are there at any time, and nobody begins with
    somebody who has only come to go: whoever comes when the round has begun, or too many have come, is refused.

    Who has died, or was cut off for longer than *time_to_live*, counts as one that has left; one who waits for *count*
    is not woken by that, but takes whoever comes next. So those who have begun are as many as *count*, but need not all
    live any more; and one that was suspended may be at work when all others have seen it leave. It notices by
    :meth:`when_lost`.

    To enter costs two calls for a lease, three others, and two watches; to leave, three, and one for each round that is
    made to wait: the oldest waits for the youngest, all others for the oldest, so that nobody is woken in vain. When
    all have died, the empty key ``name/ready`` stays.

    :param etcd: a :class:`~txetcd.Client`.
    :param name: the name of the barrier (``bytes``).
    :param count: how many begin together (``int``); the same for all.
    :param session: a :class:`~txetcd.Session` of yours that has begun, to enter on.
    :param time_to_live: seconds (``int``) after which one that has died counts as left; of a session of its own.
    """

    def __init__(
        self,
        etcd: Etcd,
        name: bytes,
        count: int,
        *,
        session: Optional[Session] = None,
        time_to_live: int = TIME_TO_LIVE,
    ) -> None:
        self._etcd = etcd
        self.name = check_name("name", name)
        self._prefix = self.name + b"/waiters/"
        self._ready = self.name + b"/ready"
        self._count = check_int("count", count, minimum=1)
        self._session = check_begun(session)
        self._time_to_live = check_time_to_live("time_to_live", time_to_live)
        self._what = f"the place at {self.name!r}"
        self._place: Optional[_Place] = None
        self._is_busy = False

    # --- enter

    def enter(self, timeout: Optional[float] = None) -> Deferred[DoubleBarrier]:
        """
        Waits until *count* have entered.

        :param timeout: seconds, or ``None`` to wait as long as it takes.
        :returns: a Deferred that fires with this barrier. It fails with :class:`~txetcd.errors.TooManyClients` if
            *count* have entered already; with :class:`~txetcd.Timeout`; with
            :class:`~txetcd.errors.SessionExpired` if the place was lost meanwhile; or as every call. Then nothing is
            left behind, unless the server cannot be reached: then nothing is after *time_to_live*. Cancelling it fires
            it at once, and gives the place up behind its back.
        :raises RuntimeError: if this object has entered already.
        """
        check_seconds("timeout", timeout)
        if self._is_busy or self._place is not None:
            raise RuntimeError(f"{self!r} cannot be entered twice")
        self._is_busy = True
        work = Deferred.fromCoroutine(self._enter())
        return within(work, self._etcd, timeout, f"{self._count} did not enter {self.name!r}").addBoth(self._done)

    async def _enter(self) -> DoubleBarrier:
        seen = await self._look()
        # before a session is begun for nothing
        self._check_room(seen)
        standing = await stand(self._etcd, self._session, self._time_to_live, self._what)
        place = _Place(new_token(), standing)
        try:
            await standing.lasting(self._until_begun(place, seen), self._what)
        except Exception as error:
            tell_what_is_left(error, await standing.take_back(place.deletion))
            raise
        self._place = place
        return self

    def _done(self, result: T) -> T:
        self._is_busy = False
        return result

    def _check_room(self, seen: Seen) -> None:
        if not seen.has_room(self._count):
            why = "a round is under way" if seen.is_under_way else f"{self._count} have entered"
            raise TooManyClients(None, f"{self.name!r} cannot be entered: {why}")

    async def _until_begun(self, place: _Place, seen: Seen) -> None:
        is_last = await self._take_place(place, seen)
        while not place.begun:
            try:
                place.begun = await (self._begin(place) if is_last else self._until_ready(place))
                # if it has not begun all the same, somebody was quicker
                is_last = False
            except (*PASSING, RevisionError):
                await again_after(self._etcd)

    async def _take_place(self, place: _Place, seen: Seen) -> bool:
        """Creates its key; whether it is the last one that was waited for."""
        while True:
            mine = seen.entered_by(place.token)
            if mine is not None:
                place.key, place.created = mine.key, mine.create_revision
                return seen.is_last(place.created, self._count)
            self._check_room(seen)
            place.key = seen.seat(self._prefix, self._count, place.token)
            try:
                seen = self._seen(await place.standing.write(self._entry(place, seen.ready)))
            except PASSING as error:
                if not error.maybe_applied:
                    raise
                seen = await self._look_again()

    def _entry(self, place: _Place, ready: int) -> Transaction:
        # if a round has begun since, it is not entered for a moment, either: somebody might count that
        comps = [CompCreated(place.key, "==", 0), CompModified(self._ready, "==", ready)]
        put = OpSet(place.key, place.token, place.standing.session.lease)
        return Transaction(comps, [put, *self._reads()], self._reads())

    async def _begin(self, place: _Place) -> int:
        """Lets all begin, as the last one who was waited for; the revision at which they have, or 0."""
        comps = [CompCreated(place.key, "==", place.created), CompModified(self._ready, "<", place.created)]
        outcome = await place.standing.write(Transaction(comps, [OpSet(self._ready, b"")]))
        return outcome.header.revision if outcome.succeeded else 0

    async def _until_ready(self, place: _Place) -> int:
        """Waits until all have begun; the revision at which they have."""
        while True:
            reads = [OpGet(self._ready, keys_only=True), OpGet(place.key, keys_only=True)]
            outcome = await self._etcd.transact(Transaction([], reads), idempotent=True)
            ready, mine = (cast(Range, response) for response in outcome.responses)
            if not mine.kvs or mine.kvs[0].create_revision != place.created:
                raise SessionExpired(None, f"{self._what} was deleted while it was waited for")
            if ready.kvs and ready.kvs[0].mod_revision > place.created:
                return ready.kvs[0].mod_revision
            # one whose place was deleted is not waited for any more
            keys = [KeySet(self._ready), KeySet(place.key)]
            await until_event(
                self._etcd, keys, outcome.header.revision + 1, lambda event: event.is_put or event.key == place.key
            )

    # --- looking

    def _reads(self) -> tuple[OpGet, OpGet]:
        waiters = OpGet(KeySet(self._prefix, prefix=True), sort_order="ASCEND", sort_target="CREATE")
        return waiters, OpGet(self._ready, keys_only=True)

    async def _look(self) -> Seen:
        return self._seen(await self._etcd.transact(Transaction([], self._reads()), idempotent=True))

    def _seen(self, outcome: Outcome) -> Seen:
        waiters, ready = (cast(Range, response) for response in outcome.responses[-2:])
        return Seen(waiters.kvs, ready.kvs[0].mod_revision if ready.kvs else 0)

    async def _look_again(self) -> Seen:
        """As soon as can be."""
        return await in_the_end(self._etcd, self._look, PASSING)

    # --- while it is entered

    @property
    def is_entered(self) -> bool:
        """Whether it was entered, and the place is there, as far as can be known here (``bool``)."""
        return self._place is not None and self._place.standing.session.is_alive

    def when_lost(self) -> Deferred[None]:
        """
        Waits until the place is lost with its session, and so counts as left; a session of its own also ends when it
        was left.

        :returns: a Deferred that fires with ``None``. Cancelling it ends the waiting, not the place.
        :raises RuntimeError: if it was not entered.
        """
        return self._entered().standing.session.when_lost()

    def _entered(self) -> _Place:
        if self._place is None:
            raise RuntimeError(f"{self!r} was not entered")
        return self._place

    def __repr__(self) -> str:
        state = "ENTERED" if self.is_entered else "LOST" if self._place else "ENTERING" if self._is_busy else "OUTSIDE"
        return f"<DoubleBarrier {self.name!r} {state}>"

    # --- leave

    def leave(self, timeout: Optional[float] = None) -> Deferred[None]:
        """
        Leaves, and waits until all have left who have begun together. It can be entered anew then.

        :param timeout: seconds, or ``None`` to wait as long as it takes; an outage is waited out.
        :returns: a Deferred that fires with ``None``. It fails with :class:`~txetcd.errors.SessionExpired` if the place
            was lost before it was left; with :class:`~txetcd.Timeout`; or with what the server refuses it with. It has
            left then, too, unless the server cannot be reached: then it has after *time_to_live*. So it is when it is
            cancelled: that fires it at once.
        :raises RuntimeError: if it was not entered.
        """
        check_seconds("timeout", timeout)
        place, self._place = self._entered(), None
        work = Deferred.fromCoroutine(self._leave(place))
        return within(work, self._etcd, timeout, f"not all have left {self.name!r}")

    async def _leave(self, place: _Place) -> None:
        try:
            await self._until_all_left(place)
        except Exception as error:
            has_left = await place.standing.take_back(place.deletion)
            if isinstance(error, CancelledError) and not has_left:
                raise LeftBehind() from error
            raise
        # all have left, whatever comes of this
        await place.standing.take_back(None)

    async def _until_all_left(self, place: _Place) -> None:
        seen = await self._look_again()
        if place.created not in seen.round(place.begun):
            raise SessionExpired(None, f"{self._what} was lost before it was left")
        while True:
            members = seen.round(place.begun)
            if not members:
                break
            oldest, youngest = min(members), max(members)
            if oldest != place.created:
                await self._insist(_deletion(place.key, place.created))
                await until_gone(self._etcd, members[oldest], oldest)
            elif youngest != place.created:
                await place.standing.lasting(until_gone(self._etcd, members[youngest], youngest), self._what)
            else:
                await self._insist(self._end(place))
            seen = await self._look_again()
        if seen.ready == place.begun:
            # the one that would have taken it away has died
            await self._insist(Transaction([], [self._clear(place)]))

    def _end(self, place: _Place) -> Transaction:
        deletion = _deletion(place.key, place.created)
        return Transaction(deletion.compare, [*deletion.success, self._clear(place)])

    def _clear(self, place: _Place) -> OpTxn:
        """Takes away what has let them begin; that of another round is left alone."""
        return OpTxn(Transaction([CompModified(self._ready, "==", place.begun)], [OpDel(self._ready)]))

    async def _insist(self, txn: Transaction) -> None:
        """Does what can be done twice, as soon as can be."""
        await in_the_end(self._etcd, lambda: self._etcd.transact(txn, idempotent=True), PASSING)


def _deletion(key: bytes, created: int) -> Transaction:
    return Transaction([CompCreated(key, "==", created)], [OpDel(key)])
