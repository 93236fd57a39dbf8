"""
Software transactional memory: a function that reads and writes keys, and takes effect as a whole or not at all.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Coroutine, Sequence
from typing import Any, Callable, Optional, TypeVar, Union

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed
from twisted.internet.task import deferLater

from .._backoff import ASK_AGAIN, Backoff
from .._check import check_choice, check_int, check_key, check_returned, check_seconds, is_series, what_came
from .._context import LeftBehind, within
from ..errors import Closed, Compacted, Error, Failed, FutureRevision, OutcomeUnknown
from ..ops import OpDel, OpSet, Transaction
from ..values import Header, KeyValue, Outcome
from ._awaited import Awaited
from ._etcd import Etcd
from ._once import read_if
from ._stm import LEVELS, Level, committing, is_conflict, is_guarded, marked, read, reading

ATTEMPTS = 50
"""How often a function is called at the most, unless told otherwise; with the pauses between, for half a minute."""

ISOLATION = "SerializableSnapshot"
"""The level of isolation, unless told otherwise: the default of Go's ``concurrency.NewSTM``."""

_SETTLE_TRIES = 3
"""How often the store is asked what has come of a commit whose answer was lost; each may take a call's whole time."""

T = TypeVar("T")

_backoff = Backoff(0.005, 1.0)


class STM:
    """
    What the function of :meth:`Client.atomically <txetcd.Client.atomically>` sees of the store, and does to it. Made
    for each call of the function, and of no use after that.

    :ivar token: 32 letters and digits (``bytes``) that nobody else has, the same each time that the function is called.
        Written into a key or a value, they tell afterwards whether it was this transaction that has written it.
    """

    def __init__(self, etcd: Etcd, level: Level, token: bytes) -> None:
        self._etcd = etcd
        self._level = level
        self.token = token
        self._reads: dict[bytes, Optional[KeyValue]] = {}
        self._writes: dict[bytes, Union[OpSet, OpDel]] = {}
        # what the attempt before has brought, at the revision below
        self._carried: dict[bytes, Optional[KeyValue]] = {}
        self._revision = 0
        self._asked: list[Awaited[Any]] = []
        self._reading = DeferredLock()
        self._outdated: Optional[Compacted] = None
        self._is_over = False

    def get(self, key: bytes) -> Deferred[Optional[bytes]]:
        """
        Reads a key: what was written to it in this transaction, or else what it is in the store. Each is asked for
        once, however often it is read.

        :param key: the key (``bytes``).
        :returns: a Deferred that fires with the value (``bytes``), or ``None`` if there is no such key. It fails as
            every call; if the function lets that pass, nothing is written. It must be waited for: it is no value, so
            ``if stm.get(key):`` is a ``TypeError``; and if the function ends without having waited for it, the
            transaction fails with ``RuntimeError``, and nothing is written.
        :raises RuntimeError: when the function is done.
        """
        self._check_running()
        write = self._writes.get(check_key("key", key))
        if write is not None:
            return self._awaited("get", key, succeed(write.value if isinstance(write, OpSet) else None))
        return self._awaited("get", key, self._read(key).addCallback(lambda kv: None if kv is None else kv.value))

    def stored(self, key: bytes) -> Deferred[Optional[KeyValue]]:
        """
        Reads a key as it is in the store, whatever was written to it in this transaction; with all that is known of it,
        as ``mod_revision`` (``STM.Rev`` of Go) and ``lease``. That counts as a read of it, as :meth:`get` does.

        :param key: the key (``bytes``).
        :returns: a Deferred that fires with a :class:`~txetcd.KeyValue`, or ``None`` if there is no such key. It fails
            as :meth:`get`, and must be waited for likewise.
        :raises RuntimeError: when the function is done.
        """
        self._check_running()
        return self._awaited("stored", key, self._read(check_key("key", key)))

    def set(self, key: bytes, value: bytes, lease: Any = None) -> None:
        """
        Writes a key, at the end. There is nothing to wait for.

        :param key: the key (``bytes``).
        :param value: the value (``bytes``).
        :param lease: a :class:`~txetcd.Lease` to attach the key to, or its id. Without one the key is detached from
            the lease that it was attached to.
        :raises RuntimeError: when the function is done.
        """
        self._check_running()
        op = OpSet(key, value, lease)
        self._writes[op.key] = op

    def delete(self, key: bytes) -> None:
        """
        Deletes a key, at the end; it need not be there. There is nothing to wait for.

        :param key: the key (``bytes``).
        :raises RuntimeError: when the function is done.
        """
        self._check_running()
        self._writes[check_key("key", key)] = OpDel(key)

    def __repr__(self) -> str:
        state = "OVER" if self._is_over else "RUNNING"
        return f"<STM {state} reads={len(self._reads)} writes={len(self._writes)}>"

    # --- within

    def _check_running(self) -> None:
        if self._is_over:
            raise RuntimeError(f"{self!r} is of no use after its function is done")

    def _awaited(self, verb: str, key: bytes, reading: Deferred[T]) -> Deferred[T]:
        awaited = Awaited[T](f"stm.{verb}({key!r})", lambda _: reading.cancel())
        reading.chainDeferred(awaited)
        self._asked.append(awaited)
        return awaited

    def _end(self) -> Optional[Awaited[Any]]:
        """The function is done. Ends what was read and not waited for, and tells what that was."""
        self._is_over = True
        forgotten = [awaited for awaited in self._asked if not awaited.is_taken]
        for awaited in forgotten:
            awaited.addErrback(lambda _: None)
            awaited.cancel()
        return next(iter(forgotten), None)

    def _read(self, key: bytes) -> Deferred[Optional[KeyValue]]:
        return self._fetch([key]).addCallback(lambda _: self._reads[key])

    def _fetch(self, keys: Sequence[bytes]) -> Deferred[None]:
        # one after the other: the first one tells at which revision the others are to read
        return self._reading.run(lambda: Deferred.fromCoroutine(self._fetch_now(keys)))

    async def _fetch_now(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            if key in self._carried:
                self._reads[key] = self._carried.pop(key)
        unknown = [key for key in keys if key not in self._reads]
        if unknown:
            outcome = await self._ask(unknown)
            self._reads.update(read(unknown, outcome))
            if self._level.is_pinned and not self._revision:
                self._revision = outcome.header.revision

    async def _ask(self, keys: Sequence[bytes]) -> Outcome:
        # the first read of a snapshot must be the newest there is; at a revision every member has the same
        may_be_stale = bool(self._revision) or not self._level.is_pinned
        try:
            return await read_if(self._etcd, reading(keys, self._revision, may_be_stale))
        except FutureRevision:
            # this member is behind; asked so, it catches up first
            return await read_if(self._etcd, reading(keys, self._revision, False))
        except Compacted as error:
            self._outdated = error
            raise

    def _carry(self, kvs: dict[bytes, Optional[KeyValue]], revision: int) -> None:
        self._carried = kvs
        if kvs and self._level.is_pinned:
            self._revision = revision

    def _committing(self) -> Transaction:
        return committing(self._level, self._reads, self._writes, self._revision if self._reads else 0)

    def _is_guarded(self) -> bool:
        return is_guarded(self._level, self._reads, self._writes)

    def _is_conflict(self, outcome: Outcome) -> bool:
        return is_conflict(self._reads, self._writes, read(self._reads, outcome))


Function = Callable[[STM], Union[T, Deferred[T], Coroutine[Any, Any, T]]]


def committed(
    etcd: Etcd,
    function: Function[T],
    isolation: str = ISOLATION,
    prefetch: Sequence[bytes] = (),
    attempts: int = ATTEMPTS,
    timeout: Optional[float] = None,
) -> Deferred[tuple[T, Header]]:
    """
    See :meth:`Client.atomically <txetcd.Client.atomically>`; fires with what that does, and with the
    :class:`~txetcd.Header` of the answer that tells of the commit.
    """
    if not callable(function):
        raise TypeError(f"function must be callable, not {what_came(function)}")
    level = LEVELS[check_choice("isolation", isolation, tuple(LEVELS)) or ISOLATION]
    if not is_series(prefetch):
        raise TypeError(f"prefetch must be a list of keys, not {what_came(prefetch)}")
    keys = tuple(dict.fromkeys(check_key("prefetch", key) for key in prefetch))
    check_int("attempts", attempts, minimum=1)
    check_seconds("timeout", timeout)
    work = _Work(etcd, function, level, keys, attempts).start()
    return within(work, etcd, timeout, "the transaction was not committed")


class _Work:
    """Calls the function until what it does is committed."""

    def __init__(
        self, etcd: Etcd, function: Function[Any], level: Level, prefetch: Sequence[bytes], attempts: int
    ) -> None:
        self._etcd = etcd
        self._function = function
        self._level = level
        self._prefetch = prefetch
        self._attempts = attempts
        self._token = secrets.token_hex(16).encode()
        self._is_cancelled = False

    def start(self) -> Deferred[Any]:
        running = Deferred.fromCoroutine(self._run())
        result: Deferred[Any] = Deferred(lambda _: self._cancel(running))
        # one that was cancelled has fired already
        running.addBoth(lambda outcome: None if result.called else result.callback(outcome))
        return result

    def _cancel(self, running: Deferred[Any]) -> None:
        # a function may go on nevertheless; what it does must not be committed
        self._is_cancelled = True
        running.cancel()

    async def _run(self) -> tuple[Any, Header]:
        view = STM(self._etcd, self._level, self._token)
        for attempt in range(1, self._attempts + 1):
            result = await self._call(view)
            outcome = await self._commit(view)
            if outcome.succeeded:
                return result, outcome.header
            if attempt < self._attempts:
                view = await self._next(view, outcome, attempt)
        raise view._outdated or self._given_up(outcome)

    def _given_up(self, outcome: Outcome) -> Failed:
        times = "once" if self._attempts == 1 else f"{self._attempts} times, each time"
        return Failed(outcome.header, outcome.responses, f"others have written the same keys meanwhile, {times}")

    async def _next(self, view: STM, outcome: Outcome, failures: int) -> STM:
        following = STM(self._etcd, self._level, self._token)
        if failures > 1:
            # not always the same, so that those who have hindered each other do not come back together
            await deferLater(self._etcd.reactor, (_backoff(failures - 1) or 0.0) * random.random())
        if failures > 1 or view._outdated:
            # what was brought is old by now
            outcome = await read_if(self._etcd, reading(view._reads, 0, False))
        following._carry(read(view._reads, outcome), outcome.header.revision)
        return following

    async def _call(self, view: STM) -> Any:
        """What the function returns; of no use if the view is outdated."""
        try:
            await view._fetch(self._prefetch)
            result = self._function(view)
            if isinstance(result, (Deferred, Coroutine)):
                result = await result
            else:
                check_returned(result)
        except Exception:
            if self._is_cancelled or view._outdated is None:
                raise
            result = None
        finally:
            forgotten = view._end()
        if self._is_cancelled:
            raise CancelledError()
        if forgotten is not None and view._outdated is None:
            # what is written would not depend on it
            lacking = "it lacks 'await', or 'yield'"
            raise RuntimeError(f"the function is done, and has not waited for {forgotten.what}: {lacking}")
        return result

    # --- commit

    async def _commit(self, view: STM) -> Outcome:
        if view._outdated:
            return Outcome(False)
        txn = view._committing()
        if not (txn.compare or txn.success):
            return Outcome(True)
        if not view._writes:
            return await read_if(self._etcd, txn)
        try:
            return await self._commit_writes(view, txn)
        except CancelledError:
            raise LeftBehind() from None

    async def _commit_writes(self, view: STM, txn: Transaction) -> Outcome:
        try:
            return await self._etcd.transact(txn)
        except Error as error:
            if isinstance(error, Closed) or not error.maybe_applied:
                raise
            return await self._settled(view, txn, error)

    async def _settled(self, view: STM, txn: Transaction, reason: Error) -> Outcome:
        """What has come of a commit whose answer was lost."""
        tries = _SETTLE_TRIES if view._is_guarded() or marked(view._writes, self._token) else 0
        for _ in range(tries):
            await deferLater(self._etcd.reactor, ASK_AGAIN)
            try:
                outcome = await self._settle(view, txn)
            except Closed:
                break
            except Error:
                continue
            if outcome is not None:
                return outcome
        unknown = OutcomeUnknown(reason.code, f"whether the transaction was applied cannot be told: {reason.message}")
        unknown.call, unknown.endpoint = reason.call, reason.endpoint
        raise unknown from reason

    async def _settle(self, view: STM, txn: Transaction) -> Optional[Outcome]:
        if view._is_guarded():
            # the very same: if it was applied, it is not again; if it is now, then not again when the first one comes
            outcome = await self._etcd.transact(txn)
            if outcome.succeeded or view._is_conflict(outcome):
                return outcome
        marks = {write.key: write.value for write in marked(view._writes, self._token)}
        if marks:
            outcome = await read_if(self._etcd, reading(marks, 0, False))
            if any(kv is not None and kv.value == marks[kv.key] for kv in read(marks, outcome).values()):
                return outcome
        return None
