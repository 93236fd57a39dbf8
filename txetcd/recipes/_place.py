"""
A place in a queue: a key of one's own, on a lease, and how it is given up.
"""

from __future__ import annotations

import secrets
from typing import Any, Optional

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from .._context import LeftBehind
from ..errors import Closed, Error, Expired, SessionExpired
from ..lease import Lease, is_left
from ..ops import Comp, CompCreated, OpDel, Transaction
from ..values import Outcome
from ._etcd import Etcd
from ._outages import OUTAGES, again_after
from ._shielded import Writing
from ._until import ending_with


class Place:
    """
    A place on a lease of its own: given up by revoking that, so that even what reaches the server later than that
    leaves nothing behind.

    :param etcd: the client.
    :param what: what it is a place for, in words (``str``), as ``the lock b'name'``.
    :param prefix: of the key (``bytes``); the rest is the id of the lease, as in Go's ``concurrency``.
    :param lease: the lease, which is kept alive.

    :ivar key: the key (``bytes``).
    :ivar lease: as given.
    :ivar revision: that which has created the key (``int``): the place in the queue, and the fencing token; 0 until it
        is known.
    """

    def __init__(self, etcd: Etcd, what: str, prefix: bytes, lease: Lease) -> None:
        self._etcd = etcd
        self._what = what
        self.key = prefix + f"{lease.lease_id:x}".encode()
        self.lease = lease
        self.revision = 0

    @property
    def is_alive(self) -> bool:
        """Whether its lease is, as far as can be known here (``bool``)."""
        return self.lease.state == "alive"

    def guard(self) -> Comp:
        """A comparison that holds as long as the key is there, and nobody else's."""
        return CompCreated(self.key, "==", self.revision)

    def enter(self, entry: Transaction) -> Deferred[Outcome]:
        """Carries out the transaction that writes the key first."""
        return self._etcd.transact(entry)

    def leave(self, timeout: Optional[float] = None) -> Deferred[None]:
        """
        Gives it up.

        :returns: a Deferred that fires with ``None``. It fails with :class:`~txetcd.Expired` or
            :class:`~txetcd.errors.SessionExpired` if the lease was gone already; or as every call: then it is tried
            again behind your back, and so it is when this is cancelled.
        """
        return self.lease.revoke(timeout).addCallback(lambda _: None)

    def when_lost(self) -> Deferred[None]:
        """Fires with ``None`` when it is lost with its lease, or was given up. Cancelling it ends the waiting."""
        return self.lease.when_lost()

    def lost(self) -> Error:
        """What to fail with if the lease was lost while something was waited for."""
        if is_left(self.lease):
            # as every call fails that was under way; between two of them it is only the lease that ends
            error = Closed()
            error.endpoint = ", ".join(self._etcd.endpoints)
            return error
        return self._lost()

    def _lost(self) -> Error:
        return Expired(None, f"the lease of {self._what} was lost while it was waited for")


class SessionPlace(Place):
    """
    A place on the lease of a session: given up by deleting the key, until that was answered or the session is over.

    Several of one session are several: so the name of the key has more than the id of the lease.
    """

    def __init__(self, etcd: Etcd, what: str, prefix: bytes, lease: Lease, *, is_only_one: bool = False) -> None:
        super().__init__(etcd, what, prefix, lease)
        if not is_only_one:
            self.key += b"." + secrets.token_hex(4).encode()
        self._entering = Writing()
        self._is_left = False
        self._losers: list[Deferred[None]] = []

    def enter(self, entry: Transaction) -> Deferred[Outcome]:
        """As of any other; but it is not cancelled: the key could be written after it was deleted."""
        return self._entering.begin(super().enter(entry))

    def leave(self, timeout: Optional[float] = None) -> Deferred[None]:
        """See :meth:`Place.leave`."""
        if self.lease.state == "lost":
            return fail(SessionExpired(None, f"the session of {self._what} was lost before that was given up"))
        leaving = Deferred.fromCoroutine(self._leave(timeout))
        return leaving.addErrback(self._not_left)

    async def _leave(self, timeout: Optional[float] = None) -> None:
        await self._entering.when_over()
        comps = [self.guard()] if self.revision else []
        await self._etcd.transact(Transaction(comps, [OpDel(self.key)]), timeout, idempotent=True)
        self._is_left = True
        for lost in list(self._losers):
            lost.cancel()

    def _not_left(self, failure: Failure) -> Failure:
        if failure.check(CancelledError, *OUTAGES):
            leaving = ending_with(self.lease, Deferred.fromCoroutine(self._leave_at_last()))
            # whoever has asked for it was told already
            leaving.addErrback(lambda failure: failure.trap(CancelledError, Error) and None)
        return failure

    async def _leave_at_last(self) -> None:
        while True:
            try:
                return await self._leave()
            except OUTAGES:
                await again_after(self._etcd)

    def when_lost(self) -> Deferred[None]:
        """See :meth:`Place.when_lost`."""
        if self._is_left:
            return succeed(None)
        lost = self.lease.when_lost()
        self._losers.append(lost)
        return lost.addBoth(self._told, lost)

    def _told(self, result: Any, lost: Deferred[None]) -> Any:
        self._losers.remove(lost)
        return None if self._is_left else result

    def _lost(self) -> Error:
        return SessionExpired(None, f"the session of {self._what} was lost while it was waited for")


async def lease_of_its_own(etcd: Etcd, time_to_live: int) -> Lease:
    """A lease that is kept alive; one that is granted although this was cancelled is revoked."""
    try:
        return await etcd.lease(time_to_live, keep_alive=True)
    except CancelledError:
        # it may still be granted; then it is revoked, but nobody waits for that
        raise LeftBehind() from None
