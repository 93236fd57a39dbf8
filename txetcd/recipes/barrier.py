"""
A barrier: those who come wait until it is opened.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.defer import Deferred

from .._check import check_seconds
from .._context import within
from ..errors import AlreadyExists, Error
from ..ops import CompCreated, OpDel, OpGet, OpSet, Transaction
from ..values import Outcome, Range
from ._etcd import Etcd
from ._name import check_name
from ._once import new_token
from ._until import until_gone
from .session import Session, check_begun, lease_of


class Barrier:
    """
    A barrier: as long as it is held, everybody waits who comes to it; when it is released, all go on.

    It is one key, as that of Go's ``recipe.Barrier``, so that Go programs can hold it, and wait at it. Whoever comes
    while it is not held does not wait. Anybody can release it.

    Without a *session* nobody releases it when its holder has died: so that a barrier need not have one. With a session
    it is released with that; then it may be open although the holder is at work, if that was cut off, or suspended, for
    longer than its time to live. What must not happen then is to be made to depend on the key, in a transaction:
    ``CompCreated(name, "==", revision)``, with what :meth:`hold` has fired with.

    It costs a call to hold it, two to release it, a call and a watch to wait at it.

    :param etcd: a :class:`~txetcd.Client`.
    :param name: the name of the barrier (``bytes``): it is the key.
    :param session: a :class:`~txetcd.Session` of yours that has begun, with which a barrier that is held here ends.
    """

    def __init__(self, etcd: Etcd, name: bytes, *, session: Optional[Session] = None) -> None:
        self._etcd = etcd
        self.name = check_name("name", name)
        self._session = check_begun(session)

    def hold(self) -> Deferred[int]:
        """
        Holds it from now on.

        :returns: a Deferred that fires with the revision that it is held from (``int``), a fencing token. It fails with
            :class:`~txetcd.AlreadyExists` if it is held already; with :class:`~txetcd.errors.SessionExpired` or
            :class:`~txetcd.LeaseNotFound` if the session is gone; or as every call. If the answer was lost, it is found
            out whether it is held; if that cannot be found out, either, ``maybe_applied`` of the error is ``True``, and
            whoever wants it open must release it. Cancelling it ends the call; it may be held then.
        """
        return Deferred.fromCoroutine(self._hold())

    async def _hold(self) -> int:
        # whoever holds it is known by that, also to himself
        entry = self._entry(new_token())
        try:
            outcome = await self._etcd.transact(entry)
        except Error as error:
            if not error.maybe_applied:
                raise
            outcome = await self._again(entry, error)
        if outcome.succeeded:
            return outcome.header.revision
        return self._held(outcome, entry)

    def _entry(self, token: bytes) -> Transaction:
        session = self._session
        lease = None if session is None else lease_of(session, f"the barrier {self.name!r}")
        return Transaction([CompCreated(self.name, "==", 0)], [OpSet(self.name, token, lease)], [OpGet(self.name)])

    async def _again(self, entry: Transaction, doubt: Error) -> Outcome:
        """Does it if it was not done; that it was, is told by what is there then."""
        try:
            return await self._etcd.transact(entry)
        except Error:
            raise doubt from None

    def _held(self, outcome: Outcome, entry: Transaction) -> int:
        found = outcome.responses[0]
        current = found.kvs[0] if isinstance(found, Range) and found.kvs else None
        token: Any = entry.success[0]
        if current is not None and current.value == token.value:
            return current.create_revision
        raise AlreadyExists(outcome.header, outcome.responses, f"the barrier {self.name!r} is held", current)

    def release(self) -> Deferred[None]:
        """
        Opens it, whoever holds it. If somebody holds it anew meanwhile, that is left alone.

        :returns: a Deferred that fires with ``None``, also if it is not held. It fails as every call. Cancelling it
            ends the call; it may be open then.
        """
        return Deferred.fromCoroutine(self._release())

    async def _release(self) -> None:
        found = await self._etcd.get(self.name, keys_only=True)
        if found.kvs:
            # done twice, or late, it does not open what was closed since
            comp = CompCreated(self.name, "==", found.kvs[0].create_revision)
            await self._etcd.transact(Transaction([comp], [OpDel(self.name)]), idempotent=True)

    def wait(self, timeout: Optional[float] = None) -> Deferred[None]:
        """
        Waits until it is open. Whoever waits is let through also if it is held anew at once; an outage is waited out.

        :param timeout: seconds, or ``None`` to wait as long as it takes.
        :returns: a Deferred that fires with ``None``; as soon as can be if it is not held. It fails with
            :class:`~txetcd.Timeout`, or with what the server refuses it with. Cancelling it ends the waiting.
        """
        check_seconds("timeout", timeout)
        work = Deferred.fromCoroutine(until_gone(self._etcd, self.name))
        return within(work, self._etcd, timeout, f"the barrier {self.name!r} was not released")

    def __repr__(self) -> str:
        return f"<Barrier {self.name!r}>"
