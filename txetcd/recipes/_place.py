"""
A place in a queue: a key of one's own, on a lease, and how it is given up.
"""

from __future__ import annotations

import secrets
from itertools import count
from typing import Any, Optional

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from .._backoff import ASK_AGAIN, Backoff
from .._context import LeftBehind
from ..errors import Closed, Error, Expired, SessionExpired
from ..lease import Lease, is_given_back, is_left
from ..ops import Comp, CompCreated, OpDel, Transaction
from ..values import Deleted, Outcome
from ._etcd import Etcd
from ._outages import OUTAGES, in_the_end
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
    :ivar is_in_doubt: whether its entry may be carried out yet, although it was given up (``bool``).
    """

    def __init__(self, etcd: Etcd, what: str, prefix: bytes, lease: Lease) -> None:
        self._etcd = etcd
        self._what = what
        self.key = prefix + f"{lease.lease_id:x}".encode()
        self.lease = lease
        self.revision = 0
        self.is_in_doubt = False

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
        self._is_only_one = is_only_one
        self._entering = Writing()
        self._is_leaving = self._is_left = False
        self._successors: list[Deferred[None]] = []
        self._losers: list[Deferred[None]] = []

    @property
    def is_alive(self) -> bool:
        """See :attr:`Place.is_alive`. A session that is closed may be gone, although that was not answered yet."""
        return super().is_alive and not is_given_back(self.lease)

    def enter(self, entry: Transaction) -> Deferred[Outcome]:
        """As of any other; but it is not cancelled: the key could be written after it was deleted."""
        return self._entering.begin(super().enter(entry).addErrback(self._not_entered))

    def _not_entered(self, failure: Failure) -> Failure:
        self.is_in_doubt = getattr(failure.value, "maybe_applied", False)
        return failure

    def leave(self, timeout: Optional[float] = None) -> Deferred[None]:
        """See :meth:`Place.leave`."""
        if self.lease.state == "lost":
            return fail(SessionExpired(None, f"the session of {self._what} was lost before that was given up"))
        self._is_leaving = True
        leaving = Deferred.fromCoroutine(self._leave(timeout))
        return leaving.addCallbacks(self._over, self._not_left)

    async def _leave(self, timeout: Optional[float] = None) -> None:
        await self._entering.when_over()
        if self._is_only_one and not self.revision:
            # a deletion that is carried out late must not hit the key of the one that comes after this
            found = await self._etcd.get(self.key)
            self.revision = found.kvs[0].create_revision if found.kvs else 0
        if self.revision or not self._is_only_one:
            self.is_in_doubt = not await self._delete(timeout) and self.is_in_doubt
            if self.is_in_doubt and not self._is_only_one:
                # of a key that others have as well, the next one takes over what is carried out late
                warding_off = ending_with(self.lease, Deferred.fromCoroutine(self._ward_off()))
                warding_off.addErrback(lambda failure: failure.trap(CancelledError, Error) and None)
        self._is_left = True
        for lost in list(self._losers):
            lost.cancel()

    async def _delete(self, timeout: Optional[float] = None) -> bool:
        """Whether the key was there, for all that is known."""
        comps = [self.guard()] if self.revision else []
        deletion = Transaction(comps, [OpDel(self.key)])
        outcome = await self._etcd.transact(deletion, timeout, idempotent=True)
        return any(isinstance(answer, Deleted) and answer.deleted for answer in outcome.responses)

    async def _ward_off(self) -> None:
        """
        An entry in doubt may be carried out yet, if a server was suspended: then its key would stand in everybody's way
        as long as the session lasts. So it is looked for, and stands there no longer than if its owner had died.
        """
        pause = Backoff(ASK_AGAIN, self.lease.time_to_live)
        for looks in count(1):
            await deferLater(self._etcd.reactor, pause(looks) or 0.0)
            try:
                if (await self._etcd.get(self.key)).kvs:
                    await self._delete()
                    return
            except OUTAGES:
                pass

    def _not_left(self, failure: Failure) -> Failure:
        if failure.check(CancelledError, *OUTAGES):
            leaving = ending_with(self.lease, Deferred.fromCoroutine(in_the_end(self._etcd, self._leave)))
            # whoever has asked for it was told already
            leaving.addErrback(lambda failure: failure.trap(CancelledError, Error) and None).addCallback(self._over)
        else:
            self._over(None)
        return failure

    def _over(self, _: None) -> None:
        """Nothing more is done to give it up."""
        self._is_leaving = False
        while self._successors:
            self._successors.pop(0).callback(None)

    def when_left(self) -> Deferred[None]:
        """Fires with ``None`` when it is not being given up any more. Cancelling it ends the waiting."""
        if not self._is_leaving:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._successors.remove)
        self._successors.append(waiting)
        return waiting

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
