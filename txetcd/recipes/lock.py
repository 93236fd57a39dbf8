"""
A lock that everybody who asks etcd for the same name shares.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import deferLater

from .._backoff import ASK_AGAIN
from .._check import check_int, check_key, check_seconds
from .._context import LeftBehind, within
from ..errors import (
    Closed,
    Error,
    Expired,
    LeaseNotFound,
    LockReleased,
    RevisionError,
    SessionExpired,
    Timeout,
    Unavailable,
)
from ..keyset import KeySet
from ..lease import MAX_TIME_TO_LIVE, Lease, is_left
from ..ops import Comp, CompCreated, OpGet, OpSet, Transaction
from ..values import Outcome, Range
from ._etcd import Etcd

TIME_TO_LIVE = 60
"""Seconds after which the lock of an owner that has died is free: the default of Go's ``concurrency.Session``."""

_CLEANUP_TIMEOUT = 5.0
"""Seconds for taking back what an attempt has left; if that fails, the lease takes it back when it expires."""


class Lock:
    """
    A lock: at most one holds it, and whose key reaches the server first gets it first.

    The algorithm and the keys are those of Go's ``concurrency.Mutex``, so that Go programs and ``etcdctl lock`` contend
    for the same lock: each contender writes the key ``name/<lease id>``; the oldest key holds the lock; each waiter
    watches the key before its own. The key is attached to a lease that is kept alive while the lock is held or waited
    for, so that it disappears with its owner.

    What can still go wrong: an owner that is suspended for longer than *time_to_live* (a stopped process, a laptop
    asleep) loses the lock, and another may hold it before the first one learns that. So does one whose system clock is
    set back by about as much: Twisted's timers stand still so long, and the renewals with them. :attr:`is_held` never
    says ``True`` once the time to live is over, but :meth:`when_lost` may be told late. So end your work when that
    fires, ask :attr:`is_held` in between, and let what must not happen twice be guarded by the store itself: put
    :meth:`guard` among the comparisons of your transaction, or hand :attr:`revision`, which grows from owner to owner,
    to whatever you write to. The same two tell when somebody else has deleted the owner's key: that frees the lock, and
    the owner does not notice.

    Names nest, as they do in Go: any key below ``name/`` counts as a contender, and so does a lock ``name/other``.

    It costs three calls to acquire a free lock, one more and a watch for each time the key before one's own
    disappears, and one call to release it. A watch may be dead in silence, so a waiter also looks anew every ten
    seconds.

    :param etcd: the :class:`txetcd.Client`.
    :param name: the name of the lock (``bytes``).
    :param time_to_live: seconds (``int``) after which the lock of an owner that has died is free.
    """

    def __init__(self, etcd: Etcd, name: bytes, time_to_live: int = TIME_TO_LIVE) -> None:
        self._etcd = etcd
        self.name = check_key("name", name)
        self._prefix = self.name + b"/"
        self._time_to_live = check_int("time_to_live", time_to_live, minimum=1, maximum=MAX_TIME_TO_LIVE)
        self._lease: Optional[Lease] = None
        self._is_acquiring = False
        self._revision = 0

    # --- acquire

    def acquire(self, timeout: Optional[float] = None) -> Deferred[Lock]:
        """
        Waits for the lock.

        :param timeout: seconds, or ``None`` to wait as long as it takes.
        :returns: a Deferred that fires with this lock when it is held. It fails with :class:`~txetcd.Timeout` if it
            was not had in time; :class:`~txetcd.errors.SessionExpired` or :class:`~txetcd.Expired` if the lease was
            lost meanwhile; :class:`~txetcd.Closed` if the client was closed; or as every call. Then nothing is left
            behind: the key is deleted before it fails, unless the server cannot be reached, when it disappears after
            *time_to_live*. ``maybe_applied`` of a ``Timeout`` is ``False`` only if nothing is left, certainly.
            Cancelling it fires it at once; the key is deleted behind its back.
        :raises RuntimeError: if it is held, or waited for, already.
        """
        check_seconds("timeout", timeout)
        if self._is_acquiring or self._lease is not None:
            raise RuntimeError(f"{self!r} cannot be acquired twice")
        self._is_acquiring = True
        work = Deferred.fromCoroutine(self._acquire())
        result = within(work, self._etcd, timeout, f"the lock {self.name!r} was not acquired")
        return result.addBoth(self._attempted)

    def _attempted(self, result: Any) -> Any:
        self._is_acquiring = False
        return result

    async def _acquire(self) -> Lock:
        lease = await self._granted()
        try:
            await self._until_ours(lease)
        except Exception as error:
            is_taken_back = await self._take_back(lease)
            if isinstance(error, Timeout):
                error.maybe_applied = not is_taken_back
            if isinstance(error, CancelledError) and not is_taken_back:
                raise LeftBehind() from error
            raise
        self._lease = lease
        return self

    async def _granted(self) -> Lease:
        try:
            return await self._etcd.lease(self._time_to_live, keep_alive=True)
        except CancelledError:
            # it may still be granted; then it is revoked, but nobody waits for that
            raise LeftBehind() from None

    async def _take_back(self, lease: Lease) -> bool:
        """Whether that is certain."""
        try:
            await lease.revoke(_CLEANUP_TIMEOUT)
        except LeaseNotFound:
            return True
        except Error:
            # what the attempt failed with says more; the lease ends by itself
            return False
        return True

    async def _until_ours(self, lease: Lease) -> None:
        """Waits until the key is the oldest; ends when the lease does."""
        waiting = Deferred.fromCoroutine(self._wait(lease))
        lost = lease.when_lost().addCallbacks(lambda _: waiting.cancel(), lambda _: None)
        try:
            await waiting
        except CancelledError:
            if lease.state == "lost":
                raise self._lost(lease) from None
            raise
        finally:
            lost.cancel()

    def _lost(self, lease: Lease) -> Error:
        if not is_left(lease):
            return Expired(None, f"the lease of the lock {self.name!r} was lost while it was waited for")
        # as every call fails that was under way; between two of them it is only the lease that ends
        error = Closed()
        error.endpoint = ", ".join(self._etcd.endpoints)
        return error

    async def _wait(self, lease: Lease) -> None:
        key = self._key_of(lease)
        entered = await self._etcd.transact(self._entry(key, lease))
        self._revision = self._own_revision(entered)
        if self._oldest(entered) not in (None, self._revision):
            await self._until_oldest(key)

    def _key_of(self, lease: Lease) -> bytes:
        return self._prefix + f"{lease.lease_id:x}".encode()

    def _entry(self, key: bytes, lease: Lease) -> Transaction:
        oldest = OpGet(KeySet(self._prefix, prefix=True), limit=1, sort_order="ASCEND", sort_target="CREATE")
        return Transaction([CompCreated(key, "==", 0)], [OpSet(key, b"", lease), oldest], [OpGet(key), oldest])

    def _own_revision(self, entered: Outcome) -> int:
        mine = entered.responses[0]
        # the key is there already if an attempt on the same lease had lost its answer
        return mine.kvs[0].create_revision if isinstance(mine, Range) else entered.header.revision

    def _oldest(self, entered: Outcome) -> Optional[int]:
        oldest = entered.responses[1]
        return oldest.kvs[0].create_revision if isinstance(oldest, Range) and oldest.kvs else None

    async def _until_oldest(self, key: bytes) -> None:
        while True:
            try:
                before = await self._before()
                if before is None:
                    # a watch says nothing of our own key, which goes with the lease
                    return self._check_there(await self._etcd.get(key))
                await self._until_deleted(*before)
            except (Unavailable, Timeout, RevisionError):
                # an outage; the place in the queue is kept as long as the lease is
                await deferLater(self._etcd.reactor, ASK_AGAIN)

    def _check_there(self, mine: Range) -> None:
        if not mine.kvs:
            raise SessionExpired(None, f"the key of the lock {self.name!r} was deleted while it was waited for")

    async def _before(self) -> Optional[tuple[bytes, int]]:
        """The key before one's own, if there is one, and the revision from which on it is to be watched."""
        found = await self._etcd.get(
            KeySet(self._prefix, prefix=True),
            limit=1, sort_order="DESCEND", sort_target="CREATE", max_create_revision=self._revision - 1,
        )  # fmt: skip
        return (found.kvs[0].key, found.header.revision + 1) if found.kvs else None

    async def _until_deleted(self, key: bytes, revision: int) -> None:
        watch = self._etcd.watcher(key, start_revision=revision)
        try:
            async for event in watch:
                if event.is_delete:
                    return
        finally:
            watch.stop()

    # --- while it is held

    @property
    def is_held(self) -> bool:
        """Whether it is held, as far as can be known here (``bool``): it was acquired, and its lease is alive."""
        return self._lease is not None and self._lease.state == "alive"

    @property
    def key(self) -> bytes:
        """
        The key that holds the lock (``bytes``).

        :raises LockReleased: if it was not acquired, or released since; that it was lost is told by :attr:`is_held`.
        """
        return self._key_of(self._held())

    @property
    def revision(self) -> int:
        """
        The fencing token (``int``): the revision that created the key. Every owner has a greater one than those before.

        :raises LockReleased: if it was not acquired, or released since; that it was lost is told by :attr:`is_held`.
        """
        self._held()
        return self._revision

    def guard(self) -> Comp:
        """
        :returns: a comparison for a transaction of yours, which then does nothing if the lock is no longer held.
        :raises LockReleased: if it was not acquired, or released since; that it was lost is told by :attr:`is_held`.
        """
        return CompCreated(self.key, "==", self.revision)

    def when_lost(self) -> Deferred[None]:
        """
        Waits until the lock is lost: its lease could not be kept alive, or was revoked, also by :meth:`release`. It may
        be told late: when the process was stopped, the machine was asleep, or the system's clock was set back.

        :returns: a Deferred that fires with ``None``. Cancelling it ends the waiting, not the lock.
        :raises LockReleased: if it was not acquired, or released since; that it was lost is told by :attr:`is_held`.
        """
        return self._held().when_lost()

    def release(self) -> Deferred[None]:
        """
        Gives the lock back. It is not held any more, whatever comes of this.

        :returns: a Deferred that fires with ``None``. It fails with :class:`~txetcd.errors.LockReleased` if the lock
            is not held; :class:`~txetcd.Expired` if it had been lost already; or as every call: then it is tried again
            behind your back, and the lock is free after *time_to_live* at the latest. Cancelling it ends the call, and
            is followed by the same.
        """
        lease, self._lease = self._lease, None
        if lease is None:
            return fail(LockReleased(None, f"the lock {self.name!r} is not held"))
        return lease.revoke().addCallback(lambda _: None)

    def _held(self) -> Lease:
        if self._lease is None:
            raise LockReleased(None, f"the lock {self.name!r} is not held")
        return self._lease

    def __repr__(self) -> str:
        state = "HELD" if self.is_held else "LOST" if self._lease else "WAITING" if self._is_acquiring else "FREE"
        return f"<Lock {self.name!r} {state}>"


def is_released(lock: Lock) -> bool:
    """Whether a lock that was acquired has been given back by its owner; one that was lost has not."""
    return lock._lease is None
