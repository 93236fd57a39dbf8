"""
The line in which those stand who wait until there is something to take.

Only the first one watches what they wait for; each of the others watches the one before. So something that comes wakes
one of them, and not all. Nothing is guaranteed by the line: who takes something makes sure of that himself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Optional, Protocol

from twisted.internet.defer import CancelledError, Deferred, TimeoutError

from ..errors import Closed, Error, Expired, SessionExpired
from ..keyset import KeySet
from ..lease import Lease
from ..ops import CompCreated, Op, OpDel, OpGet, OpSet, Transaction
from ..values import Event, Outcome
from ._etcd import Etcd
from ._leases import Leases
from ._once import new_token, read
from ._outages import OUTAGES, again_after
from ._until import ending_with, until_event

LOOK_AGAIN = 10.0
"""Seconds after which everybody in the line looks for himself: who stands before him may be stopped, or not see it."""


class Wanted(Protocol):
    """What is waited for."""

    @property
    def watched(self) -> list[KeySet]:
        """Where something happens when there may be something to take."""

    def look(self) -> list[Op]:
        """How to look whether there is."""

    def found(self, responses: Sequence[Any], revision: int) -> bool:
        """Whether there is, by the answers at that revision."""

    def matters(self, event: Event) -> bool:
        """Whether it is worth to look after this."""


class PlaceLost(Exception):
    """The place is not there any more."""


class Line:
    """
    A place in it, for one process; taken when there is nothing, and given up when something was taken.

    :param etcd: the client.
    :param prefix: of the keys of those who wait.
    :param leases: what the key hangs on.
    """

    def __init__(self, etcd: Etcd, prefix: bytes, leases: Leases) -> None:
        self._etcd = etcd
        self._all = KeySet(prefix, prefix=True)
        self._leases = leases
        self._lease: Optional[Lease] = None
        self._key: Optional[bytes] = None
        self._revision = 0

    @property
    def is_entered(self) -> bool:
        """Whether there is a place (``bool``)."""
        return self._key is not None

    async def enter(self) -> None:
        """
        Takes a place at the end, if there is none. It is not to be cancelled: the key could be written after that.

        :raises SessionExpired: if the session was lost; and as every call.
        """
        if self._key is not None and self._revision:
            return
        if self._lease is None:
            self._lease = await self._leases.use()
        if self._key is None:
            self._key = self._all.key + f"{self._lease.lease_id:x}-".encode() + new_token()
        key = self._key
        entry = Transaction([CompCreated(key, "==", 0)], [OpSet(key, b"", self._lease)], [OpGet(key)])
        try:
            entered = await self._etcd.transact(entry, idempotent=True)
        except Expired as error:
            await self._give_up()
            raise PlaceLost() if self._leases.is_own else SessionExpired(None, str(error)) from error
        mine: Any = entered.responses[0]
        self._revision = entered.header.revision if entered.succeeded else mine.kvs[0].create_revision

    async def until(self, wanted: Wanted) -> None:
        """
        Waits until there is something to take, and it is one's turn. May be cancelled; the place is kept.

        :raises PlaceLost: if there is none any more.
        """
        is_late = False
        while True:
            looked = await self._look(wanted)
            responses: list[Any] = looked.responses
            own, before, *found = responses
            if not own.kvs:
                await self._give_up()
                raise PlaceLost()
            if wanted.found(found, looked.header.revision) and (is_late or not before.kvs):
                return
            revision = looked.header.revision
            if before.kvs:
                changed = self._changed([KeySet(before.kvs[0].key)], revision, lambda event: event.is_delete)
            else:
                changed = self._changed(wanted.watched, revision, wanted.matters)
            is_late = not await changed

    async def _look(self, wanted: Wanted) -> Outcome:
        assert self._key is not None
        before = OpGet(
            self._all, keys_only=True, limit=1, sort_order="DESCEND", sort_target="CREATE",
            max_create_revision=self._revision - 1,
        )  # fmt: skip
        return await read(self._etcd, [OpGet(self._key, keys_only=True), before, *wanted.look()])

    async def _changed(self, keys: list[KeySet], revision: int, matters: Callable[[Event], bool]) -> bool:
        """Whether something has happened that matters, before it is time to look anyway."""
        assert self._lease is not None
        lease = self._lease
        waiting = ending_with(lease, Deferred.fromCoroutine(until_event(self._etcd, keys, revision + 1, matters)))
        try:
            if not await waiting.addTimeout(LOOK_AGAIN, self._etcd.reactor):
                raise Closed()
        except TimeoutError:
            return False
        except CancelledError:
            if lease.state == "alive":
                raise
        return True

    def leaving(self) -> list[Op]:
        """What a transaction does that takes something: it gives up the place as well."""
        return [] if self._key is None else [OpDel(self._key)]

    def left(self) -> None:
        """That transaction was carried out."""
        self._key, self._revision = None, 0

    async def leave(self) -> None:
        """Gives up the place, as well as that can be done; what is left ends with the lease."""
        if self._key is not None and not self._leases.is_own:
            await self._delete()
        await self._give_up()

    async def _delete(self) -> None:
        # who stands behind it would wait for it as long as the session lasts
        while self._lease is not None and self._lease.state == "alive":
            try:
                await self._etcd.transact(Transaction([], self.leaving()), idempotent=True)
                return
            except OUTAGES:
                await again_after(self._etcd)
            except Error:
                return

    async def _give_up(self) -> None:
        lease, self._lease = self._lease, None
        self.left()
        if lease is not None:
            await self._leases.leave(lease)
