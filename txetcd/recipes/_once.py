"""
Transactions that are carried out once, whatever becomes of their answers.

Each of them writes a token of its own to a key that all of them share, the journal. Etcd keeps what a key was before:
so when an answer was lost, the journal tells whether the token was written, and at which revision. That cannot be told
as long as the transaction may still be carried out, late; so each of them has a comparison that, once it fails, never
holds again, or somebody makes it fail.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Optional

import attrs
from twisted.internet.defer import Deferred, TimeoutError

from .._clock import monotonic
from ..errors import Closed, Error, OutcomeUnknown, RevisionError, Unavailable
from ..ops import Op, OpSet, Transaction
from ..values import KeyValue, Outcome
from ._etcd import Etcd
from ._outages import in_the_end

SETTLE = 30.0
"""Seconds after which it is no longer tried to find out what has come of a transaction, where somebody waits for it."""

FRESH = 10.0
"""
Seconds for which what was read is good to begin with. It need not be right; but if an answer is lost, all that was done
since has to be looked through, and must not be compacted away.
"""


async def read(etcd: Etcd, ops: Sequence[Op]) -> Outcome:
    """Several reads at one revision. They fail as one does: nothing can have been applied."""
    return await read_if(etcd, Transaction([], ops))


async def read_if(etcd: Etcd, txn: Transaction) -> Outcome:
    """As :func:`read`, for a transaction that compares, and writes nothing."""
    try:
        return await etcd.transact(txn, idempotent=True)
    except OutcomeUnknown as error:
        failed = Unavailable(error.code, error.message)
        failed.call, failed.endpoint, failed.attempts = error.call, error.endpoint, error.attempts
        raise failed from error
    except Error as error:
        error.maybe_applied = False
        raise


def new_token() -> bytes:
    """What nobody else writes."""
    return secrets.token_hex(12).encode()


@attrs.frozen
class Done:
    """
    What has come of a transaction.

    :ivar is_applied: whether its comparisons held, so that it was carried out (``bool``).
    :ivar revision: at which it was; if it was not, one at which that was certain (``int``).
    :ivar responses: the answers to its operations (``list``); none if it was carried out and they were lost, or if a
        fence was needed.
    """

    is_applied: bool
    revision: int
    responses: list[Any] = attrs.field(factory=list)


class Fresh:
    """
    A revision that was known lately.

    :param etcd: the client, whose reactor has the time.
    """

    def __init__(self, etcd: Etcd) -> None:
        self._seconds = monotonic(etcd.reactor)
        self._until = 0.0
        self.revision = 0

    @property
    def is_fresh(self) -> bool:
        """Whether it is good to begin with (``bool``)."""
        return self.revision > 0 and self._seconds() < self._until

    def reach(self, revision: int) -> None:
        """It is known now."""
        self.revision = max(revision, self.revision)
        self._until = self._seconds() + FRESH


class Journal:
    """
    What shows whether a transaction was carried out.

    :param etcd: the client.
    :param key: the key that all of them write.
    """

    def __init__(self, etcd: Etcd, key: bytes) -> None:
        self._etcd = etcd
        self.key = key

    async def submit(
        self,
        txn: Transaction,
        token: bytes,
        after: int,
        *,
        fence: Optional[Transaction] = None,
        spoiler: Optional[Transaction] = None,
        settle: Optional[float] = SETTLE,
    ) -> Done:
        """
        Carries out a transaction once, at the most.

        :param txn: writes *token* to the journal, and has a comparison that never holds again once it failed, and fails
            when it was carried out; or there is a *fence*, or a *spoiler*.
        :param after: a revision that was known before (``int``).
        :param fence: can be repeated, and makes *txn* fail from then on. If its comparison fails, *txn* was carried
            out.
        :param spoiler: can be repeated, and has made *txn* fail from then on, whether or not its comparison held.
        :param settle: seconds for finding out what has come of it, if the answer was lost; ``None`` for as
            long as it takes.
        :raises OutcomeUnknown: if that cannot be found out, and as every call.
        """
        try:
            return _done(await self._etcd.transact(txn))
        except Error as error:
            if not error.maybe_applied or isinstance(error, Closed):
                raise
            doubt = error
        settling = Deferred.fromCoroutine(self._settled(txn, token, after, fence, spoiler))
        if settle is not None:
            settling.addTimeout(settle, self._etcd.reactor)
        try:
            return await settling
        except RevisionError as error:
            raise OutcomeUnknown(None, f"{doubt}; what has come of it was compacted away: {error}") from error
        except TimeoutError as error:
            raise OutcomeUnknown(None, f"{doubt}; what has come of it was not told, either") from error
        except Closed as error:
            error.maybe_applied = True
            raise
        except Error as error:
            # that it is refused now does not say that it was before
            raise OutcomeUnknown(None, f"{doubt}; what has come of it cannot be found out: {error}") from error

    async def _settled(
        self,
        txn: Transaction,
        token: bytes,
        after: int,
        fence: Optional[Transaction],
        spoiler: Optional[Transaction],
    ) -> Done:
        if fence is not None:
            return await in_the_end(self._etcd, lambda: self._fenced(fence, token, after))
        return await in_the_end(self._etcd, lambda: self._again(txn, token, after, spoiler))

    async def _again(self, txn: Transaction, token: bytes, after: int, spoiler: Optional[Transaction]) -> Done:
        outcome = await self._etcd.transact(txn)
        if outcome.succeeded:
            return _done(outcome)
        if spoiler is not None:
            await self._etcd.transact(spoiler, idempotent=True)
        revision = await self._find(token, after)
        return _done(outcome) if revision is None else Done(True, revision)

    async def _fenced(self, fence: Transaction, token: bytes, after: int) -> Done:
        outcome = await self._etcd.transact(fence)
        revision = await self._find(token, after) if outcome.succeeded else outcome.header.revision
        return Done(False, outcome.header.revision) if revision is None else Done(True, revision)

    async def _find(self, token: bytes, after: int) -> Optional[int]:
        """The revision at which the token was written, if it was; it will not be any more."""
        found = await self._etcd.get(self.key)
        last = found.kvs[0] if found.kvs else KeyValue(self.key, b"")
        if last.value == token:
            return last.mod_revision
        return await self._look_back(token, after, last.mod_revision) if last.mod_revision > after else None

    async def _look_back(self, token: bytes, after: int, until: int) -> Optional[int]:
        # it was written last at that revision, so that there is an event which ends this
        watch = self._etcd.watcher(self.key, start_revision=after + 1)
        try:
            async for event in watch:
                if event.is_put and event.value == token:
                    return event.mod_revision
                if event.mod_revision >= until:
                    return None
        finally:
            watch.stop()
        raise Closed("the client is closed", True)

    def mark(self, token: bytes) -> OpSet:
        """What a transaction writes to the journal."""
        return OpSet(self.key, token)


def _done(outcome: Outcome) -> Done:
    return Done(outcome.succeeded, outcome.header.revision, outcome.responses)
