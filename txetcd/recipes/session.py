"""
A session: a lease that lasts as long as its owner.
"""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Optional, TypeVar, Union

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._check import what_came
from ..errors import Error, Expired, SessionExpired
from ..lease import Lease, check_time_to_live
from ._etcd import Etcd

TIME_TO_LIVE = 60
"""Seconds that a session outlives an owner that has died: the default of Go's ``concurrency.Session``."""

T = TypeVar("T")

_log = Logger()


class Session:
    """
    A lease that lasts as long as its owner: it is renewed until the session is closed, and revoked then. What stands on
    it, as keys that are set with ``lease=session.lease``, goes with it.

    * Nobody believes in it longer than the server does: :attr:`is_alive` is counted from the *sending* of the last
      renewal that was answered, by a clock that cannot be set. So it may be lost here a little earlier than there.
    * A process that is stopped for longer than *time_to_live* (a debugger, a laptop that is closed) does not notice
      meanwhile, and others act on the end of the session: what must not be done after that is to be made to depend on a
      key of the session, in a transaction: ``etcd.when(CompLease(key, "==", session.lease_id)).then(...)``.
    * It costs a call to begin, a renewal three times in each *time_to_live*, and a call to end.

    ``async with Session(etcd) as session:`` begins and closes it.

    :param etcd: a :class:`~txetcd.Client`.
    :param time_to_live: seconds (``int``) that it outlives an owner that has died, or was cut off; some tenths of one
        longer, since etcd looks twice in each; and if another member becomes the leader meanwhile, or the only one is
        started again, it counts the whole time once more.
    """

    def __init__(self, etcd: Etcd, time_to_live: int = TIME_TO_LIVE) -> None:
        self._etcd = etcd
        self._time_to_live = check_time_to_live("time_to_live", time_to_live)
        self._lease: Optional[Lease] = None
        # what it waits for while it begins
        self._granting: Optional[Deferred[Lease]] = None
        self._has_begun = self._is_closed = False

    def start(self) -> Deferred[Session]:
        """
        Begins it (``LeaseGrant``); once.

        :returns: a Deferred that fires with this session. It fails as :meth:`Client.lease <txetcd.Client.lease>` does,
            which also tells what cancelling does; it can be started again then.
        :raises RuntimeError: if it was started before.
        """
        if self._has_begun:
            raise RuntimeError(f"{self!r} was started before")
        self._has_begun = True
        self._granting = granting = self._etcd.lease(self._time_to_live, keep_alive=True)
        return granting.addCallbacks(self._began, self._not_begun)

    def _began(self, lease: Lease) -> Session:
        self._lease, self._granting = lease, None
        return self

    def _not_begun(self, failure: Failure) -> Failure:
        self._has_begun, self._granting = False, None
        return failure

    @property
    def lease(self) -> Lease:
        """
        The :class:`~txetcd.Lease`, to attach keys to.

        :raises RuntimeError: if it has not begun.
        """
        if self._lease is None:
            raise RuntimeError(f"{self!r} has not begun")
        return self._lease

    @property
    def lease_id(self) -> int:
        """
        The id of the lease (``int``).

        :raises RuntimeError: if it has not begun.
        """
        return self.lease.lease_id

    @property
    def is_alive(self) -> bool:
        """Whether it has begun, and is neither lost nor closed, as far as can be known here (``bool``)."""
        return self._lease is not None and not self._is_closed and self._lease.state == "alive"

    def when_lost(self) -> Deferred[None]:
        """
        Waits for its end: it could not be renewed in time, somebody has revoked it, or it was closed, as by closing the
        client.

        :returns: a Deferred that fires with ``None``. Cancelling it ends the waiting, not the session.
        :raises RuntimeError: if it has not begun.
        """
        return succeed(None) if self._is_closed else self.lease.when_lost()

    def protect(self, work: Union[Deferred[T], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """
        Lets something be done as long as the session lasts, and no longer.

        :param work: a Deferred, or a coroutine. It is cancelled when the session is lost.
        :returns: a Deferred that fires as *work* does. It fails with :class:`~txetcd.errors.SessionExpired` if the
            session was lost before that, whatever has come of *work*; and also if that was noticed only now, because
            the process was stopped. Cancelling it cancels *work*.
            *work* that goes on nevertheless is waited for.
        :raises RuntimeError: if it has not begun; *work* is cancelled then.
        :raises TypeError: if *work* is neither of them.
        """
        if not isinstance(work, (Deferred, Coroutine)):
            raise TypeError(f"work must be a Deferred or a coroutine, not {what_came(work)}")
        working = Deferred.fromCoroutine(work) if isinstance(work, Coroutine) else work
        try:
            lost = self.when_lost()
        except RuntimeError:
            working.addErrback(lambda failure: failure.trap(CancelledError))
            working.cancel()
            raise
        watching = lost.addCallbacks(lambda _: working.cancel(), lambda _: None)
        return working.addBoth(self._protected, watching)

    def _protected(self, result: Any, watching: Deferred[None]) -> Any:
        watching.cancel()
        if self.is_alive:
            return result
        if isinstance(result, Failure) and not result.check(CancelledError, Error):
            # a fault of its own says more
            return result
        return Failure(SessionExpired(None, f"{self!r} was lost while it was needed"))

    def close(self) -> Deferred[None]:
        """
        Ends it (``LeaseRevoke``): the keys that are attached to it are deleted. It is not renewed any more, whatever
        comes of this.

        :returns: a Deferred that fires with ``None``, at once if it was closed before, or has not begun; while it
            begins, that is cancelled. It fails with :class:`~txetcd.errors.SessionExpired` if it had been lost already,
            or as every call; then it is tried again behind your back, see :meth:`Lease.revoke <txetcd.Lease.revoke>`.
            Cancelling it ends the call.
        """
        if self._granting is not None:
            # or it would be renewed as long as the client lives, of an owner who has closed it
            self._granting.cancel()
        if self._is_closed or self._lease is None:
            return succeed(None)
        self._is_closed = True
        return self._lease.revoke().addCallbacks(lambda _: None, self._lost_before)

    def _lost_before(self, failure: Failure) -> None:
        failure.trap(Expired)
        raise SessionExpired(None, f"session {self.lease_id:x} had been lost before it was closed") from failure.value

    async def __aenter__(self) -> Session:
        """Begins it."""
        return await self.start()

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """
        Closes it; raises what that fails with, unless the block has raised something itself. So a block that was left
        after its session had been lost has :class:`~txetcd.errors.SessionExpired`, one way or the other.
        """
        try:
            await self.close()
        except Error as reason:
            if error is None:
                raise
            if isinstance(reason, SessionExpired) and isinstance(error, SessionExpired):
                # it was told already
                return
            _log.warn(
                "closing {session} after {error!r} failed too: {reason!r}", session=self, error=error, reason=reason
            )

    def __repr__(self) -> str:
        if self._lease is None:
            return f"<Session {'BEGINNING' if self._has_begun else 'NEW'}>"
        state = "CLOSED" if self._is_closed else "ALIVE" if self.is_alive else "LOST"
        return f"<Session {self._lease.lease_id:x} {state}>"


def check_session(session: object) -> Optional[Session]:
    """
    *session*, if it is a session, or ``None``.

    :raises TypeError: for anything else.
    """
    if session is None or isinstance(session, Session):
        return session
    raise TypeError(f"session must be a Session or None, not {what_came(session)}")


def check_begun(session: object) -> Optional[Session]:
    """
    As :func:`check_session`, but it must have begun.

    :raises RuntimeError: if it has not.
    """
    checked = check_session(session)
    if checked is not None:
        # asked for that it raises what it has to say
        checked.lease  # noqa: B018
    return checked


def lease_of(session: Session, what: str) -> Lease:
    """
    The lease of a session that is alive.

    :param what: what it is for, in words (``str``).
    :raises SessionExpired: if it was lost, or closed.
    :raises RuntimeError: if it has not begun.
    """
    lease = session.lease
    if not session.is_alive:
        raise SessionExpired(None, f"{what} cannot be had with {session!r}")
    return lease
