"""
An election: of all who campaign under one name, one leads.
"""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Callable, Optional, TypeVar, Union

from twisted.internet.defer import CancelledError, Deferred

from .._check import check_bytes, check_seconds, what_came
from ..errors import Error, NoElectionLeader, NotElectionLeader, RevisionError
from ..keyset import KeySet
from ..values import KeyValue, Outcome
from ..watch import Watch
from ._contender import Holder
from ._contest import Contest
from ._etcd import Etcd
from ._name import check_name
from ._outages import OUTAGES, again_after
from ._place import Place
from ._until import ending_with, until_gone
from .session import TIME_TO_LIVE, Session

T = TypeVar("T")


class Election(Holder):
    """
    An election: at most one of those who campaign leads; whose key reaches the server first leads first.

    The algorithm and the keys are those of Go's ``concurrency.Election``, so that Go programs and ``etcdctl elect``
    campaign in the same one: each candidate writes its value to the key ``name/<lease id>``; the oldest key leads; each
    of the others watches the key before its own.

    What can still go wrong: a leader that is suspended for longer than *time_to_live* (a stopped process, a laptop
    asleep), or whose system clock is set back by about as much, is deposed, and another leads before the first one
    learns that. :attr:`is_leader` never says ``True`` once the time to live is over. So let what must not be done by
    two be guarded by the store: put :meth:`guard` among the comparisons of your transaction, or hand :attr:`revision`,
    which grows from leader to leader, to whatever you write to.

    It costs three calls to be elected where nobody else is a candidate (with a session, one), one more and a watch for
    each time the key before one's own disappears, then another to see that one's own is still there; one call to
    proclaim, and one to resign. :meth:`run` takes another call and a watch. An observer costs a call and a watch for
    each leader.

    Names nest, as they do in Go: any key below ``name/`` counts as a candidate.

    :param etcd: the :class:`txetcd.Client`.
    :param name: the name of the election (``bytes``); it must not end in ``/``.
    :param session: a :class:`~txetcd.Session` that has begun, on whose lease the key hangs, or ``None``: then there is
        a lease for each candidacy. A session is one candidate, as in Go: who campaigns once more in the same one takes
        its place over, with the new value; and when one of them resigns, or fails, that is withdrawn. So make one of it
        for a session and a name.
    :param time_to_live: seconds (``int``) that a candidate outlives a process that has died; without a session.
    """

    _STATES = ("LEADING", "CAMPAIGNING", "IDLE")

    def __init__(
        self, etcd: Etcd, name: bytes, *, session: Optional[Session] = None, time_to_live: int = TIME_TO_LIVE
    ) -> None:
        what = f"the election {check_name('name', name)!r}"
        super().__init__(name, _Candidacies(etcd, what, name, session=session, time_to_live=time_to_live))
        self._etcd = etcd

    def campaign(self, value: bytes, timeout: Optional[float] = None) -> Deferred[Election]:
        """
        Waits until it is elected. A leader proclaims the new value instead.

        :param value: what the others are told of this candidate (``bytes``).
        :param timeout: seconds, or ``None`` to wait as long as it takes.
        :returns: a Deferred that fires with this election when it leads. It fails with :class:`~txetcd.Timeout` if it
            was not elected in time; :class:`~txetcd.errors.SessionExpired` or :class:`~txetcd.Expired` if the session
            or the lease was lost meanwhile or before; as :meth:`proclaim` of a leader; or as every call. Then its
            candidacy is withdrawn: the key is deleted before it fails, unless the server cannot be reached, when it
            disappears after *time_to_live*, or with the session. Cancelling it fires it at once; the key is deleted
            behind its back.
        :raises RuntimeError: if it campaigns already; or if the session has not begun.
        """
        check_bytes("value", value)
        check_seconds("timeout", timeout)
        if self._is_contending:
            raise RuntimeError(f"{self!r} campaigns already")
        if self._is_alive:
            return self.proclaim(value).addCallback(lambda _: self)
        self._forget()
        return self._contend(self._contest.win(timeout, value)).addCallback(lambda _: self)

    def proclaim(self, value: bytes) -> Deferred[None]:
        """
        Changes the value of the leader, without another election.

        :param value: the new one (``bytes``).
        :returns: a Deferred that fires with ``None``. It fails with :class:`~txetcd.errors.NotElectionLeader` if this
            one does not lead, and does not any more from then on; or as every call. Cancelling it ends the call.
        """
        check_bytes("value", value)
        return Deferred.fromCoroutine(self._proclaim(value))

    async def _proclaim(self, value: bytes) -> None:
        outcome: Outcome = await self._contest.rewrite(self._held(), value)
        if not outcome.succeeded:
            self._forget()
            raise NotElectionLeader(None, f"{self._contest.what} was lost")

    def resign(self) -> Deferred[None]:
        """
        Gives the leadership up. It does not lead any more, whatever comes of this.

        :returns: a Deferred that fires with ``None``. It fails with :class:`~txetcd.errors.NotElectionLeader` if this
            one does not lead; :class:`~txetcd.Expired`, or :class:`~txetcd.errors.SessionExpired` with a session, if
            that had been lost already; or as every call: then it is tried again behind your back, and another one leads
            after *time_to_live* at the latest, or with the end of the session. Cancelling it ends the call, and is
            followed by the same.
        """
        return self._leave()

    @property
    def is_leader(self) -> bool:
        """Whether it leads, as far as can be known here (``bool``): it was elected, and its lease is alive."""
        return self._is_alive

    def leader(self) -> Deferred[KeyValue]:
        """
        Asks who leads.

        :returns: a Deferred that fires with the key of the leader (a :class:`~txetcd.KeyValue`): its ``value``, and in
            ``create_revision`` its fencing token. It fails with :class:`~txetcd.errors.NoElectionLeader`, or as every
            call. Cancelling it ends the call.
        """
        return self._contest.first().addCallback(self._only)

    def _only(self, kvs: list[KeyValue]) -> KeyValue:
        if not kvs:
            raise NoElectionLeader(None, f"nobody leads {self._contest.what}")
        return kvs[0]

    def observe(self) -> Leaders:
        """
        Tells who leads, now and from now on: see :class:`Leaders`.

        :returns: the leaders, to be looped over: ``async for kv in election.observe():``.
        """
        return Leaders(self._etcd, self.name)

    def run(
        self,
        function: Callable[[], Union[Deferred[T], Coroutine[Any, Any, T]]],
        value: bytes = b"",
        timeout: Optional[float] = None,
    ) -> Deferred[T]:
        """
        Campaigns, lets something be done as long as this one leads and no longer, and resigns.

        :param function: called without arguments when this one leads; it returns a Deferred or a coroutine, which is
            cancelled when the leadership is lost: with the lease, because somebody has deleted the key, or because it
            was given up.
        :param value: as of :meth:`campaign`.
        :param timeout: as of :meth:`campaign`.
        :returns: a Deferred that fires as what *function* has returned does. It fails as :meth:`campaign` and
            :meth:`resign`; and with :class:`~txetcd.errors.NotElectionLeader` if the leadership was lost meanwhile,
            whatever has come of the work, and also if that was noticed only now, because the process was stopped.
            Cancelling it cancels the work, and resigns. Work that goes on nevertheless is waited for.
        :raises RuntimeError: if it campaigns or leads already; or if the session has not begun.
        """
        if not callable(function):
            raise TypeError(f"function must be callable, not {what_came(function)}")
        if self._is_alive:
            raise RuntimeError(f"{self!r} leads already")
        return Deferred.fromCoroutine(self._run(self.campaign(value, timeout), function))

    async def _run(self, campaigning: Deferred[Election], function: Callable[[], Any]) -> Any:
        await campaigning
        try:
            result = await self._lead(self._held(), function)
        except NotElectionLeader:
            self._forget()
            raise
        except Exception as error:
            await self._leave_after(error)
            raise
        await self._leave_after(None)
        return result

    async def _lead(self, place: Place, function: Callable[[], Any]) -> Any:
        working = _started(function)
        leading = ending_with(place.lease, Deferred.fromCoroutine(until_gone(self._etcd, place.key, place.revision)))
        # it ends by itself only when the leadership does, or when nobody can tell
        leading.addBoth(lambda _: working.cancel())
        try:
            result = await working
        except (CancelledError, Error):
            # a fault of its own says more
            if self._is_lost(place, leading):
                raise NotElectionLeader(None, f"{self._contest.what} was lost while it was led") from None
            raise
        finally:
            is_lost = self._is_lost(place, leading)
            leading.cancel()
        if is_lost:
            raise NotElectionLeader(None, f"{self._contest.what} was lost while it was led")
        return result

    def _is_lost(self, place: Place, leading: Deferred[None]) -> bool:
        return leading.called or not place.is_alive

    def _forget(self) -> None:
        """What was lost is taken back as well as that can be done."""
        if self._place is not None:
            self._leave().addErrback(lambda failure: failure.trap(Error) and None)

    def _not_held(self) -> Error:
        return NotElectionLeader(None, f"{self._contest.what} is not led by this one")


class _Candidacies(Contest):
    """What differs from other contests."""

    won = "won"
    is_one_per_session = True


def _started(function: Callable[[], Any]) -> Deferred[Any]:
    work = function()
    if isinstance(work, Coroutine):
        return Deferred.fromCoroutine(work)
    if not isinstance(work, Deferred):
        raise TypeError(f"function must return a Deferred or a coroutine, not {what_came(work)}")
    return work


class Leaders:
    """
    The leaders of an election: ``async for kv in election.observe():`` has the key of the one that leads, as soon as
    there is one, and then each new value and each new leader, as a :class:`~txetcd.KeyValue`.

    Nobody stays unnoticed who leads long enough; of several that come and go in a moment only the last one may be told,
    and so may only the last of several values when changes were lost in an outage. An outage is waited out. The loop
    ends when it is stopped; it raises :class:`~txetcd.Closed` when the client is closed, and what every call fails
    with.

    ``async with election.observe() as leaders:`` stops it when the block is left. A loop that is left holds a watch
    until it is stopped.
    """

    def __init__(self, etcd: Etcd, name: bytes) -> None:
        self._etcd = etcd
        self._keys = KeySet(name + b"/", prefix=True)
        self._last: Optional[KeyValue] = None
        self._watch: Optional[Watch] = None
        self._working: Optional[Deferred[KeyValue]] = None
        self._is_stopped = False

    def stop(self) -> None:
        """Ends it: nothing is watched any more."""
        self._is_stopped = True
        self._unwatch()
        if self._working is not None:
            self._working.cancel()

    def __aiter__(self) -> Leaders:
        return self

    async def __anext__(self) -> KeyValue:
        if self._is_stopped:
            raise StopAsyncIteration
        self._working = Deferred.fromCoroutine(self._next())
        try:
            self._last = await self._working
        except BaseException as error:
            self._unwatch()
            if self._is_stopped and isinstance(error, CancelledError):
                raise StopAsyncIteration from None
            raise
        return self._last

    async def __aenter__(self) -> Leaders:
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Stops it."""
        self.stop()

    async def _next(self) -> KeyValue:
        while True:
            try:
                told = await (self._look() if self._watch is None else self._listen(self._watch))
            except (*OUTAGES, RevisionError):
                self._unwatch()
                await again_after(self._etcd)
            else:
                # after an outage, what was told before it is not told again
                if told is not None and told != self._last:
                    return told

    async def _look(self) -> Optional[KeyValue]:
        """Who leads, and watches that from then on; waits for somebody if nobody does."""
        found = await self._etcd.get(self._keys, limit=1, sort_order="ASCEND", sort_target="CREATE")
        keys: Union[bytes, KeySet] = found.kvs[0].key if found.kvs else self._keys
        self._watch = watch = self._etcd.watcher(keys, start_revision=found.header.revision + 1)
        if found.kvs:
            return found.kvs[0]
        # who is the oldest of those that come is asked again
        return await self._listen(watch, is_told=False)

    async def _listen(self, watch: Watch, is_told: bool = True) -> Optional[KeyValue]:
        """The next value; ``None`` if it must be asked again who leads."""
        async for event in watch:
            if event.is_put and is_told:
                return event.kv
            if event.is_put or is_told:
                break
        self._unwatch()
        return None

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
