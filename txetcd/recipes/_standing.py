"""
What keys of one's own stand on, and how to wait with them through an outage.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Optional, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as DeferTimeout
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from .._backoff import ASK_AGAIN
from .._check import check_int, check_key, what_came
from ..errors import (
    Closed,
    DeadlineExceeded,
    Error,
    Expired,
    OutcomeUnknown,
    RequestCanceled,
    ResourceError,
    RevisionError,
    SessionExpired,
    Timeout,
    Unavailable,
)
from ..lease import MAX_TIME_TO_LIVE, is_left
from ..ops import Transaction
from ..values import Outcome
from ._etcd import Etcd
from .session import Session

PASSING = (Unavailable, Timeout, DeadlineExceeded, RequestCanceled, OutcomeUnknown, ResourceError)
"""What a call fails with that may succeed when it is asked again; a write may have been carried out all the same."""

CLEANUP_TIMEOUT = 5.0
"""Seconds for taking back what an attempt has left, until it fails nevertheless; that goes on behind one's back."""

T = TypeVar("T")


def check_name(argument: str, value: object) -> bytes:
    """
    *value*, if keys may lie below it: ``bytes`` that are not empty, and do not end in ``/``.

    :raises TypeError: for anything but ``bytes``.
    :raises ValueError: for empty ``bytes``, and for a slash at the end.
    """
    name = check_key(argument, value)
    if name.endswith(b"/"):
        raise ValueError(f"{argument} must not end in '/', as {name!r} does: that is put behind it")
    return name


def check_session(session: object) -> Optional[Session]:
    """
    *session*, if it is a session that has begun, or ``None``.

    :raises TypeError: for anything else.
    :raises RuntimeError: if it has not begun.
    """
    if session is None:
        return None
    if not isinstance(session, Session):
        raise TypeError(f"session must be a Session or None, not {what_came(session)}")
    # asked for that it raises what it has to say
    session.lease  # noqa: B018
    return session


def check_time_to_live(value: object) -> int:
    """*value*, if a lease may last so many seconds; see :func:`check_int` for what is raised."""
    return check_int("time_to_live", value, minimum=1, maximum=MAX_TIME_TO_LIVE)


def shielded(work: Deferred[T]) -> Deferred[T]:
    """
    Fires as *work*, which goes on when this is cancelled: for a write that must not be overtaken by what takes it back.
    """
    result: Deferred[T] = Deferred(lambda cancelled: cancelled.errback(CancelledError()))

    def done(outcome: Any) -> None:
        if not result.called:
            result.callback(outcome)

    work.addBoth(done)
    return result


class Standing:
    """
    A session that keys of one's own stand on, and how they are given up: with the session if that is one's own too, so
    that even what reaches the server later leaves nothing behind; one by one if it is somebody else's.

    :param etcd: the client.
    :param session: the session, which has begun.
    :param is_own: whether it was begun for them.

    :ivar session: as given.
    """

    def __init__(self, etcd: Etcd, session: Session, is_own: bool) -> None:
        self._etcd = etcd
        self.session = session
        self._is_own = is_own
        self._writing: Deferred[None] = succeed(None)

    def write(self, txn: Transaction) -> Deferred[Outcome]:
        """Carries out what writes a key; that goes on if this is cancelled, and giving up waits for it."""
        written = self._etcd.transact(txn)
        self._writing = Deferred()
        return shielded(written.addBoth(self._wrote, self._writing))

    def _wrote(self, result: Any, writing: Deferred[None]) -> Any:
        writing.callback(None)
        return result

    async def lasting(self, work: Coroutine[Any, Any, T], what: str) -> T:
        """
        *work*, as long as the session lasts.

        :param what: what was lost otherwise, in words (``str``).
        :raises SessionExpired: if it was lost.
        :raises Closed: if the client was closed.
        """
        try:
            return await self.session.protect(work)
        except (SessionExpired, Expired) as error:
            if is_left(self.session.lease):
                # as every call fails that was under way; between two of them it is only the lease that ends
                raise Closed() from error
            raise SessionExpired(None, f"{what} was lost with its session") from error

    async def give_up(self, deletion: Optional[Transaction]) -> None:
        """
        Gives it up. What fails is tried again behind one's back.

        :param deletion: what deletes the key, if it is there, and nothing that is somebody else's; ``None`` if nothing
            was written.
        """
        if self._is_own:
            await self.session.close().addErrback(_lost_already)
        elif deletion is not None:
            try:
                await self._delete(deletion)
            except (CancelledError, *PASSING):
                deleting = self.session.protect(self._delete_at_last(deletion))
                # whoever has asked for it was told already
                deleting.addErrback(lambda failure: failure.trap(CancelledError, Error) and None)
                raise

    async def take_back(self, deletion: Optional[Transaction]) -> bool:
        """As :meth:`give_up`, after what has failed otherwise; not for too long. Whether it is certainly done."""
        giving_up = shielded(Deferred.fromCoroutine(self.give_up(deletion)))
        try:
            await giving_up.addTimeout(CLEANUP_TIMEOUT, self._etcd.reactor)
        except (Error, DeferTimeout):
            # what the attempt has failed with says more; the session takes it away when it ends
            return False
        return True

    async def _delete(self, deletion: Transaction) -> None:
        # so that it is not written after it was deleted
        await shielded(self._writing)
        if self.session.is_alive:
            await self._etcd.transact(deletion, idempotent=True)

    async def _delete_at_last(self, deletion: Transaction) -> None:
        while True:
            await again_after(self._etcd)
            try:
                return await self._delete(deletion)
            except PASSING:
                pass


def _lost_already(failure: Failure) -> None:
    # and the keys with it
    failure.trap(SessionExpired)


async def stand(etcd: Etcd, session: Optional[Session], time_to_live: int, what: str) -> Standing:
    """
    What keys shall stand on.

    :param session: the session of the user, or ``None`` for one of one's own.
    :param what: the keys, in words (``str``).
    :raises SessionExpired: if the session of the user was lost, or closed.
    """
    if session is None:
        return Standing(etcd, await Session(etcd, time_to_live).start(), True)
    return Standing(etcd, check_alive(session, what), False)


def check_alive(session: Session, what: str) -> Session:
    """
    *session*, if it is alive.

    :param what: what it is for, in words (``str``).
    :raises SessionExpired: if it was lost, or closed.
    """
    if session.is_alive:
        return session
    raise SessionExpired(None, f"{what} cannot be had with {session!r}")


async def again_after(etcd: Etcd) -> None:
    """Waits until what has failed may be asked again."""
    await deferLater(etcd.reactor, ASK_AGAIN)


async def until_gone(etcd: Etcd, key: bytes, created: Optional[int] = None) -> None:
    """
    Waits until a key is not there any more; one that is written anew is another one. Nothing can be missed, whatever is
    cut off or compacted meanwhile, because what is there then says it all.

    :param created: the revision that has created the key that is meant; by default, the one that is there now.
    """
    while True:
        try:
            found = await etcd.get(key, keys_only=True)
            if not found.kvs or found.kvs[0].create_revision != (created or found.kvs[0].create_revision):
                return
            created = found.kvs[0].create_revision
            if await _is_deleted(etcd, key, found.header.revision + 1):
                return
        except (*PASSING, RevisionError):
            await again_after(etcd)


async def _is_deleted(etcd: Etcd, key: bytes, revision: int) -> bool:
    """Waits for that; ``False`` if the watch has ended without, because the client was closed."""
    watch = etcd.watcher(key, start_revision=revision)
    try:
        async for event in watch:
            if event.is_delete:
                return True
    finally:
        watch.stop()
    return False
