"""
A key of one's own that is there as long as its owner: what registering and joining give.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Callable, Optional

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._check import check_returned, check_seconds, what_came
from .._context import ContextDeferred, LeftBehind, context, within
from ..errors import Closed, Error, Replaced, RevisionError, SessionExpired
from ..ops import CompLease, CompModified, OpDel, OpGet, OpSet, Transaction
from ..values import KeyValue, Outcome, Range
from ._etcd import Etcd
from ._outages import PASSING, again_after, in_the_end
from ._standing import Standing, stand
from .session import Session

OnStatus = Callable[[bool], Any]

_log = Logger()


class Registration:
    """
    A key that is there as long as its owner wants it, and lives: it hangs on a session.

    * When its session is lost, as it is when etcd could not be reached for longer than *time_to_live*, the others see
      the key go. It comes back by itself as soon as etcd can be reached, under a new session. So it does when somebody
      has deleted it, or revoked the lease.
    * One that hangs on a session *of yours* ends with that: whoever gives a session says that several things stand and
      fall together.
    * Whoever registers under a name has it, also if the key is there already: it is most likely one's own, of before a
      restart. Whoever had it before gives way, and does not take it back: that ends with
      :class:`~txetcd.errors.Replaced`. So two that are configured alike by mistake do not fight, and one that was
      suspended, and replaced meanwhile, does not come back.
    * The user is told by *on_status*, and in the log.

    What it cannot do: a process that hangs, or is suspended, is there until *time_to_live* has passed, and so is one
    that is cut off. So what others see is who was there lately; they must bear that nobody answers.

    Made by :meth:`Registry.register <txetcd.Registry.register>` and :meth:`Party.join <txetcd.Party.join>`.

    :ivar key: the key (``bytes``).
    """

    def __init__(
        self,
        etcd: Etcd,
        key: bytes,
        value: bytes,
        session: Optional[Session],
        time_to_live: int,
        on_status: Optional[OnStatus],
    ) -> None:
        if on_status is not None and not callable(on_status):
            raise TypeError(f"on_status must be callable, not {what_came(on_status)}")
        self.key = key
        self._etcd = etcd
        self._value = value
        self._session = session
        self._time_to_live = time_to_live
        self._on_status = on_status
        # what it stands on now
        self._standing: Optional[Standing] = None
        # that has written it last, or None before it was written
        self._revision: Optional[int] = None
        # those that it has stood on: what is found on one of them was written here, late, or without an answer
        self._leases: set[int] = set()
        self._is_written = self._is_over = self._is_left = False
        self._first: Deferred[None] = Deferred()
        self._news: list[bool] = []
        self._telling: Optional[IDelayedCall] = None
        self._stopping: list[Deferred[None]] = []
        self._reason: Optional[Error] = None
        self._work: Deferred[Any] = succeed(None)

    # --- its life

    def _begin(self, timeout: Optional[float]) -> Deferred[Registration]:
        work = Deferred.fromCoroutine(self._until_first())
        return within(work, self._etcd, timeout, f"{self.key!r} was not registered")

    async def _until_first(self) -> Registration:
        self._work = Deferred.fromCoroutine(self._run())
        self._work.addBoth(self._ended)
        try:
            await self._first
        except CancelledError:
            self._end(None)
            if not await self._take_back():
                raise LeftBehind() from None
            raise
        return self

    def leave(self) -> Deferred[None]:
        """
        Gives it up: the key is deleted.

        :returns: a Deferred that fires with ``None`` when the key is gone; at once if it was given up before. It fails
            with the reason if it was over already, see :meth:`when_stopped`; or as every call: then it is tried again
            behind your back, and the key is gone after *time_to_live* at the latest. Cancelling it ends the call, and
            is followed by the same.
        """
        if self._is_left:
            return succeed(None)
        self._is_left = True
        if self._reason is not None:
            return fail(copy(self._reason))
        self._end(None)
        return Deferred.fromCoroutine(self._give_up())

    def when_stopped(self) -> Deferred[None]:
        """
        Waits until it is over: it does not come back then.

        :returns: a Deferred that fires with ``None`` when it was given up, or the client was closed. It fails with the
            reason if it cannot be kept: :class:`~txetcd.errors.Replaced`; :class:`~txetcd.errors.SessionExpired` if it
            hung on a session of yours that was lost, or closed; or what the server refuses it with, as
            :class:`~txetcd.PermissionDenied`. Cancelling it ends the waiting.
        """
        if self._is_over:
            return succeed(None) if self._reason is None else fail(copy(self._reason))
        waiting: Deferred[None] = Deferred(self._stopping.remove)
        self._stopping.append(waiting)
        return waiting

    @property
    def is_over(self) -> bool:
        """Whether it was given up, or has ended by itself (``bool``): it does not come back then."""
        return self._is_over

    @property
    def is_there(self) -> bool:
        """Whether the key is there, as far as can be known here (``bool``)."""
        return self._is_written and self._standing is not None and self._standing.session.is_alive

    def __repr__(self) -> str:
        if self._is_over:
            state = "LEFT" if self._reason is None else "FAILED"
        elif self.is_there:
            state = "THERE"
        else:
            state = "LOST" if self._revision else "BEGINNING"
        return f"<Registration {self.key!r} {state}>"

    # --- keeping it

    async def _run(self) -> None:
        try:
            while True:
                self._standing = await self._stand()
                await self._on(self._standing)
                self._becomes(False)
        except Error:
            await self._take_back()
            raise

    async def _stand(self) -> Standing:
        return await in_the_end(
            self._etcd, lambda: stand(self._etcd, self._session, self._time_to_live, repr(self.key)), PASSING
        )

    async def _on(self, standing: Standing) -> None:
        """Keeps it as long as the session lasts."""
        try:
            await standing.lasting(self._keep(standing), repr(self.key))
        except SessionExpired:
            if self._session is not None:
                raise
            # of which only the server may know yet that it is lost
            Deferred.fromCoroutine(standing.give_up(None)).addErrback(lambda failure: failure.trap(Error) and None)

    async def _keep(self, standing: Standing) -> None:
        while True:
            self._revision = await self._write(standing)
            self._becomes(True)
            try:
                await self._until_gone(standing.session, self._revision)
                self._becomes(False)
            except (*PASSING, RevisionError):
                # whether it is there is not known; to write it again does no harm
                await again_after(self._etcd)

    async def _write(self, standing: Standing) -> int:
        """The revision that has written it."""
        self._leases.add(standing.session.lease_id)
        while True:
            outcome = await in_the_end(
                self._etcd, lambda: standing.write(self._entry(standing.session)), PASSING
            )
            if outcome.succeeded:
                return outcome.header.revision
            # by an attempt whose answer was lost
            found = self._found(outcome)
            if found.lease == standing.session.lease_id:
                return found.mod_revision
            # on a lease that is lost: it would go with that
            self._revision = found.mod_revision

    def _entry(self, session: Session) -> Transaction:
        # afterwards only if nobody else has written it since; of a key that is not there the revision is 0
        comps = [] if self._revision is None else [CompModified(self.key, "<", self._revision + 1)]
        return Transaction(comps, [OpSet(self.key, self._value, session.lease)], [OpGet(self.key)])

    def _found(self, outcome: Outcome) -> KeyValue:
        """What is there, if it was written here."""
        found = outcome.responses[0]
        if isinstance(found, Range) and found.kvs and found.kvs[0].lease in self._leases:
            return found.kvs[0]
        raise self._replaced()

    async def _until_gone(self, session: Session, revision: int) -> None:
        watch = self._etcd.watcher(self.key, start_revision=revision + 1)
        try:
            async for event in watch:
                if event.is_delete:
                    return
                if event.lease not in self._leases:
                    raise self._replaced()
                if event.lease != session.lease_id:
                    # it goes with a lease that is lost
                    return
                self._revision = event.mod_revision
        finally:
            watch.stop()
        raise Closed()

    def _replaced(self) -> Replaced:
        return Replaced(None, f"somebody else has registered {self.key!r}")

    # --- giving it up

    async def _give_up(self) -> None:
        if self._standing is not None:
            await self._standing.give_up(self._deletion(self._standing))

    async def _take_back(self) -> bool:
        """Whether that is certain."""
        return self._standing is None or await self._standing.take_back(self._deletion(self._standing))

    def _deletion(self, standing: Standing) -> Transaction:
        return Transaction([CompLease(self.key, "==", standing.session.lease_id)], [OpDel(self.key)])

    # --- telling

    def _becomes(self, is_there: bool) -> None:
        if is_there == self._is_written:
            return
        self._is_written = is_there
        self._news.append(is_there)
        if self._telling is None:
            # not at once: whoever is told may end what just runs here
            self._telling = self._etcd.reactor.callLater(0, self._tell)

    def _tell(self) -> None:
        self._telling = None
        while self._news:
            is_there = self._news.pop(0)
            if not self._first.called:
                self._first.callback(None)
                if self._is_over:
                    # by whoever waited for it
                    return
            elif is_there:
                _log.info("{registration} is back", registration=self)
            else:
                _log.warn("{registration} was lost, and will come back", registration=self)
            self._call_back(is_there)

    def _call_back(self, is_there: bool) -> None:
        if self._on_status is None:
            return
        try:
            check_returned(self._on_status(is_there))
        except Exception:
            _log.failure("{on_status} failed; it goes on: {me}", on_status=self._on_status, me=self)

    def _ended(self, result: Any) -> None:
        error = result.value if isinstance(result, Failure) else None
        if isinstance(error, (CancelledError, Closed)):
            error = None
        if isinstance(error, Error) or error is None:
            self._end(error)
        else:
            _log.failure("the registration failed: {registration}", result, registration=self)
            self._end(Closed("the registration failed"))

    def _end(self, reason: Optional[Error]) -> None:
        if self._is_over:
            return
        self._is_over, self._reason = True, reason
        self._work.cancel()
        if self._telling is not None:
            self._telling.cancel()
        if not self._first.called:
            self._first.errback(Closed() if reason is None else copy(reason))
        elif reason is not None:
            _log.warn("{registration} is over: {reason!r}", registration=self, reason=reason)
            self._call_back(False)
        while self._stopping:
            waiting = self._stopping.pop(0)
            waiting.callback(None) if reason is None else waiting.errback(copy(reason))


def begin(registration: Registration, timeout: Optional[float]) -> ContextDeferred[Registration]:
    """
    Registers.

    :param timeout: seconds, or ``None`` to wait as long as it takes: an outage is waited out.
    """
    check_seconds("timeout", timeout)
    return context(registration._begin(timeout), Registration.leave, lambda one: one._is_left)
