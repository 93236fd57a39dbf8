"""
What keys of one's own stand on.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Optional, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferTimeout
from twisted.python.failure import Failure

from ..errors import Closed, Error, Expired, SessionExpired
from ..lease import is_left
from ..ops import Transaction
from ..values import Outcome
from ._etcd import Etcd
from ._outages import CLEANUP_TIMEOUT, PASSING, again_after, in_the_end
from ._shielded import Writing, shielded
from .session import Session, lease_of

T = TypeVar("T")


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
        self._writing = Writing()

    def write(self, txn: Transaction) -> Deferred[Outcome]:
        """Carries out what writes a key; that goes on if this is cancelled, and giving up waits for it."""
        return self._writing.begin(self._etcd.transact(txn))

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
        await self._writing.when_over()
        if self.session.is_alive:
            await self._etcd.transact(deletion, idempotent=True)

    async def _delete_at_last(self, deletion: Transaction) -> None:
        await again_after(self._etcd)
        await in_the_end(self._etcd, lambda: self._delete(deletion), PASSING)


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
    lease_of(session, what)
    return Standing(etcd, session, False)
