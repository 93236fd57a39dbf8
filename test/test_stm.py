"""
Software transactional memory: what is asked, what is compared, and what comes of conflicts and of lost answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Optional
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from test.fakes import URL, Case, fake_client
from test.properties import PROPERTY
from test.store import ANSWER, DELAY, DROP, LOSE, Clients, Store
from txetcd import STM, Client, CompModified, KeySet, KeyValue, OpGet, OpSet, Transaction
from txetcd._schema import TXN
from txetcd.errors import (
    Closed,
    Compacted,
    Error,
    Failed,
    FutureRevision,
    OutcomeUnknown,
    PermissionDenied,
    Timeout,
    TooManyOps,
    Unavailable,
)
from txetcd.ops import OpDel
from txetcd.recipes import stm as stm_module
from txetcd.recipes._stm import LEVELS, committing, is_conflict, is_guarded, read

LOST = OutcomeUnknown(None, "the answer was lost")
A, B, C = b"a", b"b", b"c"


async def swap(stm: STM) -> str:
    """Reads and writes two keys."""
    a, b = await stm.get(A), await stm.get(B)
    stm.set(A, b or b"")
    stm.set(B, a or b"")
    return "swapped"


async def increment(stm: STM) -> None:
    stm.set(A, b"%d" % (int(await stm.get(A) or 0) + 1))


class StmCase(Case):
    """A client on a fake, whose transactions a store answers."""

    client: Client

    def setUp(self) -> None:
        super().setUp()
        self.patch(stm_module.random, "random", lambda: 0.5)
        self.patch(stm_module.secrets, "token_hex", lambda size: "token" * 6)
        self.client = fake_client(self.clock, self.transport)
        self.calls = self.client._calls
        self.store = Store(a=b"1", b=b"2")

    @property
    def txn(self) -> Transaction:
        """What is asked now."""
        txn = self.transport.next(TXN).request
        assert isinstance(txn, Transaction)
        return txn

    def answer(self, times: int = 1) -> None:
        """The store answers what is asked now, and what is asked then."""
        for _ in range(times):
            self.transport.next(TXN).reply(self.store.answer(self.txn))

    def lose(self, is_applied: bool, error: Error = LOST) -> Transaction:
        """The answer is lost; or the question was."""
        txn = self.txn
        if is_applied:
            self.store.transact(txn)
        self.transport.next(TXN).reply(type(error)(*error.args))
        return txn

    def settle(self) -> None:
        """The pause before it is looked what has come of it."""
        self.transport.asked()
        self.clock.advance(stm_module.ASK_AGAIN)

    def values(self) -> list[Optional[bytes]]:
        return [self.store.value(key) for key in (A, B)]


def gets(*keys: bytes, **options: Any) -> Transaction:
    return Transaction([], [OpGet(key, **options) for key in keys])


class AlgorithmTests(StmCase):
    """``concurrency/stm.go``, level by level."""

    def test_serializable_snapshot(self) -> None:
        """The first read is linearizable, the others are at its revision; all is compared, what is written as well."""

        async def function(stm: STM) -> None:
            await stm.get(A)
            await stm.get(B)
            stm.set(B, b"b")
            stm.set(C, b"c", 7)
            stm.delete(b"d")

        self.store.leases[7] = 60
        done = self.client.atomically(function)
        self.assertEqual(self.txn, gets(A))
        self.answer()
        self.store.write(OpSet(b"z", b""))
        self.assertEqual(self.txn, gets(B, revision=3, serializable=True))
        self.answer()
        self.assertEqual(
            self.txn,
            Transaction(
                [
                    CompModified(A, "==", 2), CompModified(B, "==", 3),
                    CompModified(C, "<", 4), CompModified(b"d", "<", 4),
                ],
                [OpSet(B, b"b"), OpSet(C, b"c", 7), OpDel(b"d")],
                [OpGet(A), OpGet(B)],
            ),
        )  # fmt: skip
        self.answer()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.values(), [b"1", b"b"])

    def test_serializable(self) -> None:
        """What is only written is not compared."""

        async def function(stm: STM) -> None:
            await stm.get(A)
            await stm.get(B)
            stm.set(C, b"c")

        self.client.atomically(function, "Serializable")
        self.answer()
        self.assertEqual(self.txn, gets(B, revision=3, serializable=True))
        self.answer()
        self.assertEqual(self.txn.compare, (CompModified(A, "==", 2), CompModified(B, "==", 3)))
        self.answer()

    def test_repeatable_reads(self) -> None:
        """Every read may be stale, and of a revision of its own."""
        done = self.client.atomically(swap, isolation="RepeatableReads")
        for key in (A, B):
            self.assertEqual(self.txn, gets(key, serializable=True))
            self.answer()
        self.assertEqual(self.txn.compare, (CompModified(A, "==", 2), CompModified(B, "==", 3)))
        self.answer()
        self.assertEqual((self.successResultOf(done), self.values()), ("swapped", [b"2", b"1"]))

    def test_read_committed(self) -> None:
        """Nothing is compared."""
        done = self.client.atomically(swap, isolation="ReadCommitted")
        self.answer()
        self.store.write(OpSet(A, b"other"))
        self.answer()
        self.assertEqual(self.txn, Transaction([], [OpSet(A, b"2"), OpSet(B, b"1")]))
        self.answer()
        self.assertEqual((self.successResultOf(done), self.values()), ("swapped", [b"2", b"1"]))

    def test_absent_key(self) -> None:
        """It is compared with 0."""

        async def function(stm: STM) -> tuple[Optional[bytes], Optional[KeyValue]]:
            return await stm.get(C), await stm.stored(C)

        done = self.client.atomically(function)
        self.answer()
        self.assertEqual(self.txn, Transaction([CompModified(C, "==", 0)], [], [OpGet(C)]))
        self.answer()
        self.assertEqual(self.successResultOf(done), (None, None))

    def test_only_written(self) -> None:
        """Nothing was read: nothing is compared, as in Go, which compares with more than there can be."""
        done = self.client.atomically(lambda stm: stm.set(A, b"x"))
        self.assertEqual(self.txn, Transaction([], [OpSet(A, b"x")]))
        self.answer()
        self.assertIsNone(self.successResultOf(done))

    def test_nothing_done(self) -> None:
        """It costs nothing."""
        self.assertEqual(self.successResultOf(self.client.atomically(lambda stm: 7)), 7)
        self.transport.asked()

    def test_own_writes(self) -> None:
        """A read sees what was written before; each key is asked for once."""

        async def function(stm: STM) -> list[Any]:
            seen = [await stm.get(A), await stm.get(A)]
            stm.set(A, b"x")
            seen += [await stm.get(A), await stm.stored(A)]
            stm.delete(A)
            return [*seen, await stm.get(A)]

        done = self.client.atomically(function)
        self.answer()
        self.assertEqual(self.txn, Transaction([CompModified(A, "==", 2)], [OpDel(A)], [OpGet(A)]))
        self.answer()
        self.assertEqual(self.successResultOf(done), [b"1", b"1", b"x", self.store.kv(A, 2), None])

    def test_prefetch(self) -> None:
        """One call for all of them."""
        done = self.client.atomically(swap, prefetch=[A, B, A])
        self.assertEqual(self.txn, gets(A, B))
        self.answer(2)
        self.assertEqual((self.successResultOf(done), self.values()), ("swapped", [b"2", b"1"]))

    def test_reads_at_the_same_time(self) -> None:
        """They are asked one after the other, because the first tells the revision of the others."""

        def function(stm: STM) -> Deferred[Any]:
            return gatherResults([stm.get(A), stm.get(B), stm.get(A)])

        done = self.client.atomically(function)
        self.transport.asked("Txn")
        self.answer()
        self.assertEqual(self.txn, gets(B, revision=3, serializable=True))
        self.answer(2)
        self.assertEqual(self.successResultOf(done), [b"1", b"2", b"1"])


class ConflictTests(StmCase):
    """Somebody else was faster."""

    def reach_commit(self, done: Deferred[Any]) -> None:
        while not self.txn.compare:
            self.answer()

    def conflict(self, key: bytes = A) -> None:
        """What is being committed fails."""
        self.store.write(OpSet(key, b"other %d" % self.store.revision))
        self.answer()

    def test_at_once_with_what_was_brought(self) -> None:
        done = self.client.atomically(swap)
        self.reach_commit(done)
        self.conflict()
        self.assertEqual([comp.mod_revision for comp in self.txn.compare], [4, 3])  # type: ignore[attr-defined]
        self.answer()
        self.assertEqual((self.successResultOf(done), self.values()), ("swapped", [b"2", b"other 3"]))

    def test_what_was_not_brought(self) -> None:
        """It is read at the revision of the rest, even if it is asked for first."""
        keys = [A, C]

        async def function(stm: STM) -> list[Any]:
            stm.set(B, b"written")
            found = [await stm.get(key) for key in keys]
            keys.reverse()
            return found

        done = self.client.atomically(function)
        self.answer()
        self.store.write(OpSet(A, b"other"), OpSet(C, b"other"))
        self.answer()
        self.answer()
        # A and C were brought at 4, and are not asked for again
        self.answer()
        self.assertEqual(self.successResultOf(done), [b"other", b"other"])

        keys[:] = [A]
        done = self.client.atomically(function)
        self.answer()
        keys[:] = [C, A]
        self.store.write(OpSet(A, b"newer"), OpSet(C, b"newer"))
        brought_at = self.store.revision
        self.answer()
        self.store.write(OpSet(C, b"newest"))
        self.assertEqual(self.txn, gets(C, revision=brought_at, serializable=True))
        self.answer()
        self.assertEqual(self.txn.compare[2], CompModified(B, "<", brought_at + 1))
        self.cancelled(done)

    def test_write_conflict(self) -> None:
        """A key that is only written must not have been written since the first read; ``Serializable`` lets that be."""

        async def function(stm: STM) -> None:
            await stm.get(A)
            stm.set(B, b"ours")

        for isolation, calls in (("SerializableSnapshot", 2), ("Serializable", 1)):
            done = self.client.atomically(function, isolation)
            self.answer()
            self.store.write(OpSet(B, b"theirs"))
            self.answer(calls)
            self.assertIsNone(self.successResultOf(done), isolation)
            self.assertEqual(self.store.value(B), b"ours")

    def test_pauses(self) -> None:
        """From the second conflict on it waits, and reads anew, all with one call."""
        done = self.client.atomically(swap)
        self.reach_commit(done)
        self.conflict()
        for pause in (0.0025, 0.005, 0.01):
            self.conflict(B)
            self.transport.asked()
            self.clock.advance(pause / 2)
            self.transport.asked()
            self.clock.advance(pause)
            self.assertEqual(self.txn, gets(A, B))
            self.answer()
        self.answer()
        self.assertEqual(self.successResultOf(done), "swapped")

    def test_no_pause_beyond_a_second(self) -> None:
        self.assertEqual(stm_module._backoff(1000), 1.0)

    def test_given_up(self) -> None:
        calls = []

        async def function(stm: STM) -> None:
            calls.append(stm)
            await swap(stm)

        done = self.client.atomically(function, attempts=2)
        self.reach_commit(done)
        self.conflict()
        self.conflict()
        error = self.failureResultOf(done, Failed).value
        self.assertEqual(str(error), "others have written the same keys meanwhile, 2 times, each time")
        self.assertEqual((error.maybe_applied, len(error.responses), len(calls)), (False, 2, 2))
        self.transport.asked()

    def test_given_up_at_once(self) -> None:
        done = self.client.atomically(swap, attempts=1)
        self.reach_commit(done)
        self.conflict()
        error = self.failureResultOf(done, Failed).value
        self.assertEqual(str(error), "others have written the same keys meanwhile, once")

    def test_compacted(self) -> None:
        """What was to be read is not there any more: so it begins anew, with what is there now."""

        async def careless(stm: STM) -> Any:
            try:
                return await swap(stm)
            except Compacted:
                return "never mind"

        for function in (swap, careless):
            done = self.client.atomically(function)
            self.answer()
            self.store.write(OpSet(C, b""))
            self.store.compact()
            self.answer()
            self.assertEqual(self.txn, gets(A))
            self.answer(3)
            self.assertEqual(self.successResultOf(done), "swapped")

    def test_compacted_each_time(self) -> None:
        done = self.client.atomically(swap, attempts=1)
        self.answer()
        self.store.write(OpSet(C, b""))
        self.store.compact()
        self.answer()
        self.failureResultOf(done, Compacted)

    def test_member_is_behind(self) -> None:
        """Asked not to be stale, it catches up."""
        done = self.client.atomically(swap)
        self.answer()
        self.transport.next(TXN).reply(FutureRevision(11, "mvcc: required revision is a future revision"))
        self.assertEqual(self.txn, gets(B, revision=3))
        self.answer(2)
        self.assertEqual(self.successResultOf(done), "swapped")


def by_truth(stm: STM) -> None:
    if stm.get(b"none"):
        stm.set(A, b"x")


def by_absence(stm: STM) -> None:
    if stm.get(A) is None:  # type: ignore[comparison-overlap]
        stm.set(A, b"x")
    stm.set(B, b"x")


async def by_value(stm: STM) -> None:
    stored = stm.stored(A)
    if stored != await stm.get(B):  # type: ignore[comparison-overlap]
        stm.set(A, b"x")


async def of_its_own(stm: STM) -> None:
    stm.set(A, b"x")
    stm.get(A)


def gathering(stm: STM) -> None:
    gatherResults([stm.get(A)], consumeErrors=True).addErrback(lambda _: None)


class FunctionTests(StmCase):
    """What it may be, and what it may do."""

    def test_kinds(self) -> None:
        @inlineCallbacks
        def with_yield(stm: STM) -> Any:
            return (yield stm.get(A))

        async def with_await(stm: STM) -> Any:
            return await stm.get(A)

        functions: list[Callable[[STM], Any]] = [with_yield, with_await, lambda stm: stm.get(A), lambda stm: b"1"]
        for function in functions:
            done = self.client.atomically(function)
            while self.transport.waiting:
                self.answer()
            self.assertEqual(self.successResultOf(done), b"1")

    def test_generator(self) -> None:
        """It would do nothing."""

        def forgotten(stm: STM) -> Any:
            yield stm.get(A)

        error = self.failureResultOf(self.client.atomically(forgotten), TypeError).value
        self.assertEqual(str(error), "it returned a generator, which does nothing: it lacks @inlineCallbacks")

    def test_aborts(self) -> None:
        """What it raises is what comes of it, and nothing is written."""

        async def late(stm: STM) -> None:
            stm.set(A, b"x")
            await stm.get(B)
            raise KeyError("no")

        def early(stm: STM) -> None:
            stm.set(A, b"x")
            raise KeyError("no")

        done = self.client.atomically(late)
        self.answer()
        self.failureResultOf(done, KeyError)
        self.failureResultOf(self.client.atomically(early), KeyError)
        self.transport.asked()

    def test_read_fails(self) -> None:
        done = self.client.atomically(swap)
        self.transport.next(TXN).reply(PermissionDenied(7, "etcdserver: permission denied"))
        self.failureResultOf(done, PermissionDenied)
        self.transport.asked()

    def test_not_waited_for(self) -> None:
        """What is written would not depend on what was read: it is refused, and the read ended."""
        cases: list[tuple[Callable[[STM], Any], type[Exception], str]] = [
            (by_truth, TypeError, "stm.get(b'none') is a Deferred, and not yet what it fires with: it lacks"),
            (by_absence, RuntimeError, "the function is done, and has not waited for stm.get(b'a'): it lacks"),
            (by_value, RuntimeError, "the function is done, and has not waited for stm.stored(b'a'): it lacks"),
            (of_its_own, RuntimeError, "the function is done, and has not waited for stm.get(b'a'): it lacks"),
            (gathering, RuntimeError, "the function is done, and has not waited for stm.get(b'a'): it lacks"),
        ]
        for function, kind, text in cases:
            for prefetch in ([], [A, B, b"none"]):
                if function is gathering and prefetch:
                    # it was waited for; that the sum of it was not, nobody can see
                    continue
                done = self.client.atomically(function, prefetch=prefetch)
                while self.transport.waiting:
                    self.answer()
                error = self.failureResultOf(done, kind).value
                self.assertEqual((str(error)[: len(text)], type(error)), (text, kind))
                self.assertTrue(str(error).endswith(": it lacks 'await', or 'yield'"))
                self.transport.asked()
                self.assertEqual((self.values(), self.store.revision), ([b"1", b"2"], 3))

    def test_not_waited_for_and_failed(self) -> None:
        """What the function raises counts; and a read that it has caught the failure of was waited for."""

        async def caught(stm: STM) -> str:
            try:
                await stm.get(A)
            except PermissionDenied:
                pass
            return "caught"

        done = self.client.atomically(caught)
        self.transport.next(TXN).reply(PermissionDenied(7, "etcdserver: permission denied"))
        self.assertEqual(self.successResultOf(done), "caught")

        def failing(stm: STM) -> None:
            stm.get(A)
            raise KeyError("no")

        self.failureResultOf(self.client.atomically(failing), KeyError)
        self.transport.asked()

    def test_commit_is_refused(self) -> None:
        """Nothing was written, certainly, and nothing is tried again."""
        for error in (TooManyOps(3, "etcdserver: too many operations in txn request"), Unavailable(None, "not sent")):
            done = self.client.atomically(swap)
            self.answer(2)
            self.transport.next(TXN).reply(error)
            self.assertIs(self.failureResultOf(done).value, error)
            self.transport.asked()

    def test_used_too_late(self) -> None:
        kept: list[STM] = []
        self.successResultOf(self.client.atomically(kept.append))
        (stm,) = kept
        self.assertEqual(repr(stm), "<STM OVER reads=0 writes=0>")
        calls: list[Callable[[], Any]] = [
            lambda: stm.get(A), lambda: stm.stored(A), lambda: stm.set(A, b""), lambda: stm.delete(A),
        ]  # fmt: skip
        for call in calls:
            self.assertRaises(RuntimeError, call)

    def test_token(self) -> None:
        """The same each time, and of each call its own."""
        tokens = iter("ab")
        self.patch(stm_module.secrets, "token_hex", lambda size: next(tokens) * size * 2)
        seen = []

        async def function(stm: STM) -> None:
            seen.append(stm.token)
            await increment(stm)

        self.client.atomically(function)
        self.answer()
        self.store.write(OpSet(A, b"5"))
        self.answer(2)
        self.client.atomically(function)
        self.answer(2)
        self.assertEqual(seen, [b"a" * 32, b"a" * 32, b"b" * 32])

    def test_bad_input(self) -> None:
        cases: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({"function": 7}, TypeError, "function must be callable, not int"),
            ({"isolation": 7}, TypeError, "isolation must be one of"),
            ({"isolation": "serializable"}, ValueError, "isolation must be one of SerializableSnapshot, Serializable,"),
            ({"prefetch": b"key"}, TypeError, "prefetch must be a list of keys, not bytes"),
            ({"prefetch": ["key"]}, TypeError, "prefetch must be bytes, not str; encode it"),
            ({"prefetch": [b""]}, ValueError, "prefetch must not be empty"),
            ({"attempts": 0}, ValueError, "attempts must be between 1 and"),
            ({"timeout": 0}, ValueError, "timeout must be a positive number of seconds, not 0"),
        ]
        for options, kind, text in cases:
            error = self.assertRaises(kind, self.client.atomically, **{"function": swap, **options})
            self.assertTrue(str(error).startswith(text), str(error))
        functions: list[tuple[Callable[[STM], Any], type[Exception], str]] = [
            (lambda stm: stm.get("a"), TypeError, "key must be bytes, not str"),  # type: ignore[arg-type]
            (lambda stm: stm.get(b""), ValueError, "key must not be empty"),
            (lambda stm: stm.set(A, 5), TypeError, "value must be bytes, not int"),  # type: ignore[arg-type]
            (lambda stm: stm.set(A, None), TypeError, "value must be bytes"),  # type: ignore[arg-type]
            (lambda stm: stm.set(A, b"", "lease"), TypeError, "lease must be"),
            (lambda stm: stm.delete(KeySet(A)), TypeError, "key must be bytes, not KeySet"),  # type: ignore[arg-type]
        ]
        for function, kind, text in functions:
            reason = self.failureResultOf(self.client.atomically(function), kind).value
            self.assertTrue(str(reason).startswith(text), str(reason))
        self.transport.asked()


class EndTests(StmCase):
    """Cancelled, too late, closed."""

    def test_cancelled_while_it_reads(self) -> None:
        done = self.client.atomically(swap)
        reading = self.transport.next(TXN)
        self.cancelled(done)
        self.assertTrue(reading.is_cancelled)
        self.transport.asked()

    def test_function_that_goes_on(self) -> None:
        """What it does after that is not committed."""
        waiting: Deferred[None] = Deferred()

        async def stubborn(stm: STM) -> None:
            stm.set(A, b"x")
            try:
                await stm.get(B)
            except CancelledError:
                await waiting

        for finish in (lambda: waiting.callback(None), lambda: None):
            done = self.client.atomically(stubborn)
            self.cancelled(done)
            finish()
            self.transport.asked()

    def test_cancelled_in_a_pause(self) -> None:
        done = self.client.atomically(swap)
        self.answer(2)
        for _ in range(2):
            self.store.write(OpSet(A, b"other"))
            self.answer()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.cancelled(done)
        self.transport.asked()

    def test_too_late(self) -> None:
        done = self.client.atomically(swap, timeout=3)
        self.clock.advance(3)
        error = self.failureResultOf(done, Timeout).value
        self.assertIn("the transaction was not committed within 3 seconds", str(error))
        self.assertFalse(error.maybe_applied)
        self.transport.asked()

    def test_too_late_for_the_commit(self) -> None:
        """It may have been applied; unless it has only read."""
        for function, maybe_applied in ((swap, True), (lambda stm: stm.get(A), False)):
            done = self.client.atomically(function, timeout=3, prefetch=[A, B])
            self.answer()
            self.clock.advance(3)
            self.assertEqual(self.failureResultOf(done, Timeout).value.maybe_applied, maybe_applied)
            self.transport.asked()

    def test_reading_for_nobody(self) -> None:
        """What a function has not waited for is not read any more, also in its queue, and nothing is committed."""
        gotten: list[Deferred[Any]] = []

        async def function(stm: STM) -> None:
            stm.set(A, await stm.get(A) or b"")
            gotten.extend([stm.get(B), stm.get(C)])

        done = self.client.atomically(function)
        self.answer()
        self.failureResultOf(done, RuntimeError)
        self.transport.asked()
        self.assertEqual([self.successResultOf(one) for one in gotten], [None, None])

    def test_reading_fails(self) -> None:
        """Nothing can have been applied, whichever read it is, and whatever becomes of it."""
        for reads in (1, 2):
            for error in (OutcomeUnknown(None, "lost"), Timeout("late", True), Closed("closed", True)):
                done = self.client.atomically(lambda stm: stm.get(A))
                self.answer(reads - 1)
                self.transport.next(TXN).reply(error)
                reason = self.failureResultOf(done).value
                wanted = Unavailable if isinstance(error, OutcomeUnknown) else type(error)
                self.assertEqual((type(reason), reason.maybe_applied), (wanted, False))

    def test_reading_again_fails(self) -> None:
        """So it is after a conflict."""
        done = self.client.atomically(swap, prefetch=[A, B])
        for _ in range(2):
            self.answer()
            self.store.write(OpSet(A, b"other"))
        self.answer()
        self.clock.advance(1)
        self.lose(False)
        self.assertFalse(self.failureResultOf(done, Unavailable).value.maybe_applied)

    def test_too_late_to_settle(self) -> None:
        done = self.client.atomically(swap, timeout=3, prefetch=[A, B])
        self.answer()
        self.lose(False)
        self.settle()
        self.clock.advance(3)
        self.assertTrue(self.failureResultOf(done, Timeout).value.maybe_applied)
        self.transport.asked()

    def test_closed(self) -> None:
        done = self.client.atomically(swap)
        self.client.close()
        self.failureResultOf(done, Closed)

    def test_closed_while_it_commits(self) -> None:
        done = self.client.atomically(swap, prefetch=[A, B])
        self.answer()
        self.client.close()
        error = self.failureResultOf(done, Closed).value
        self.assertTrue(error.maybe_applied)

    def test_closed_while_it_settles(self) -> None:
        done = self.client.atomically(swap, prefetch=[A, B])
        self.answer()
        self.lose(True)
        self.client.close()
        self.settle()
        self.failureResultOf(done, OutcomeUnknown)


class LostAnswerTests(StmCase):
    """Nothing is done twice, and nothing is said to have been done that was not."""

    def commit(self, function: Callable[[STM], Any] = swap, isolation: Optional[str] = None) -> Deferred[Any]:
        """One that is being committed."""
        done = self.client.atomically(function, isolation or "SerializableSnapshot", [A, B])
        self.answer()
        return done

    def test_not_applied(self) -> None:
        """The very same is sent again: if the first one comes after all, it finds nothing to hold."""
        done = self.commit()
        late = self.lose(False)
        self.settle()
        self.assertEqual(self.txn, late)
        self.answer()
        self.assertEqual((self.successResultOf(done), self.values()), ("swapped", [b"2", b"1"]))
        self.assertFalse(self.store.transact(late).succeeded)

    def test_applied(self) -> None:
        """It may have been somebody else who has written the very same, and was told so: nobody can tell."""
        done = self.commit()
        self.lose(True)
        for _ in range(3):
            self.settle()
            self.answer()
        error = self.failureResultOf(done, OutcomeUnknown).value
        self.assertTrue(error.maybe_applied)
        self.assertIn(f"KV.Txn at {URL}: whether the transaction was applied cannot be told", str(error))
        self.assertIsInstance(error.__cause__, OutcomeUnknown)
        self.assertEqual(self.values(), [b"2", b"1"])
        self.transport.asked()

    def test_applied_with_a_token(self) -> None:
        """Nobody else can have written that."""

        async def in_the_key(stm: STM) -> str:
            stm.set(b"log/" + stm.token, b"swapped")
            return await swap(stm)

        async def in_the_value(stm: STM) -> str:
            stm.set(b"last", b"by " + stm.token)
            return await swap(stm)

        async def only_that(stm: STM) -> str:
            stm.set(b"new", stm.token)
            return "swapped"

        for function, calls in ((in_the_key, 2), (in_the_value, 2), (only_that, 1)):
            done = self.commit(function)
            self.lose(True)
            self.settle()
            self.answer(calls)
            self.assertEqual(self.successResultOf(done), "swapped")
            self.transport.asked()

    def test_token_is_not_there(self) -> None:
        """As long as nothing guards it, it may still come."""
        done = self.commit(lambda stm: stm.set(C, stm.token), "ReadCommitted")
        self.lose(False)
        for _ in range(3):
            self.settle()
            self.assertEqual(self.txn, gets(C))
            self.answer()
        self.failureResultOf(done, OutcomeUnknown)

    def test_token_comes_late(self) -> None:
        done = self.commit(lambda stm: stm.set(C, stm.token), "ReadCommitted")
        late = self.lose(False)
        self.settle()
        self.answer()
        self.store.transact(late)
        self.settle()
        self.answer()
        self.assertIsNone(self.successResultOf(done))

    def test_conflict(self) -> None:
        """Somebody else has certainly been faster, and so it was not and will not be applied: it is run again."""
        done = self.commit()
        late = self.lose(False)
        self.store.write(OpSet(A, b"other"))
        self.settle()
        self.answer()
        self.assertFalse(self.store.transact(late).succeeded)
        self.answer()
        self.assertEqual((self.successResultOf(done), self.values()), ("swapped", [b"2", b"other"]))

    def test_same_value_of_somebody_else(self) -> None:
        """One of two keys tells."""
        done = self.commit()
        self.lose(False)
        self.store.write(OpSet(A, b"2"))
        self.settle()
        self.answer(2)
        self.assertEqual((self.successResultOf(done), self.values()), ("swapped", [b"2", b"2"]))

    def test_asked_in_vain(self) -> None:
        """Thrice it is tried."""
        done = self.commit()
        self.lose(False)
        for error in (Unavailable(None, "nobody there"), LOST, Timeout("too late", True)):
            self.settle()
            self.lose(False, error) if error is LOST else self.transport.next(TXN).reply(error)
        self.failureResultOf(done, OutcomeUnknown)
        self.transport.asked()

    def test_no_guard(self) -> None:
        """Where sending it again could do it twice, it is not even tried."""

        async def create(stm: STM) -> None:
            await stm.get(C)
            stm.set(C, b"")

        for function, isolation in (
            (lambda stm: stm.set(A, b"x"), None), (create, None), (create, "RepeatableReads"), (swap, "ReadCommitted"),
        ):  # fmt: skip
            done = self.client.atomically(function, isolation or "SerializableSnapshot")
            while not self.txn.success or isinstance(self.txn.success[0], OpGet):
                self.answer()
            self.lose(False)
            self.failureResultOf(done, OutcomeUnknown)
            self.transport.asked()

    def test_only_read(self) -> None:
        """It is marked as what can be asked again."""
        asked: list[bool] = []
        transact = self.client.transact

        def noting(txn: Transaction, timeout: Optional[float] = None, *, idempotent: bool = False) -> Any:
            asked.append(idempotent)
            return transact(txn, timeout, idempotent=idempotent)

        self.patch(self.client, "transact", noting)
        self.client.atomically(lambda stm: stm.get(A))
        self.answer(2)
        self.client.atomically(swap)
        self.answer(3)
        self.assertEqual(asked, [True, True, True, True, False])


# --- at random

KEYS = [A, B, C]
WRITES = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from([None, b"0", b"1"])),
    min_size=1,
    max_size=3,
    unique_by=lambda write: write[0],
)
"""Few values, so that others often write the same."""


def ops(writes: Sequence[tuple[bytes, Optional[bytes]]]) -> dict[bytes, Any]:
    return {key: OpDel(key) if value is None else OpSet(key, value) for key, value in writes}


class DecisionProperties(SynchronousTestCase):
    """What is decided of a lost answer is true, whatever has happened meanwhile."""

    @given(
        st.sampled_from(["SerializableSnapshot", "Serializable", "RepeatableReads"]),
        st.lists(WRITES, max_size=3),
        st.sets(st.sampled_from(KEYS), min_size=1),
        WRITES,
        st.lists(st.one_of(st.just("ours"), WRITES), max_size=5),
        st.lists(st.one_of(st.just("ours"), WRITES), max_size=3),
    )
    @PROPERTY
    def test_conflict(
        self, isolation: str, before: Any, wanted: set[bytes], writes: Any, meanwhile: Any, afterwards: Any
    ) -> None:
        """A copy may arrive at any time, and any number of them."""
        store, level, writing = Store(), LEVELS[isolation], ops(writes)
        for others in before:
            store.write(*ops(others).values())
        reads = {key: store.kv(key) for key in sorted(wanted)}
        txn = committing(level, reads, writing, store.revision)
        applied = 0
        for step in meanwhile:
            applied += store.transact(txn).succeeded if step == "ours" else bool(store.write(*ops(step).values())) * 0
        answer = store.transact(txn)
        if not is_guarded(level, reads, writing):
            return
        self.assertLessEqual(applied + answer.succeeded, 1)
        if answer.succeeded or is_conflict(reads, writing, read(reads, answer)):
            self.assertEqual(applied, 0)
            for step in afterwards:
                if step != "ours":
                    store.write(*ops(step).values())
                self.assertFalse(store.transact(txn).succeeded)


class Faulty:
    """Counts to a number with several clients, over a network that loses questions and answers, or delays them."""

    def __init__(self, is_marked: bool, draw: Callable[[int], int]) -> None:
        self.clients, self.draw = Clients(Clock(), Store(a=b"0")), draw
        self.client = self.clients.add().client
        self.results: list[Any] = []
        self.is_marked = is_marked
        for _ in range(3):
            self.client.atomically(self.count, attempts=4).addBoth(self.results.append)

    async def count(self, stm: STM) -> None:
        await increment(stm)
        if self.is_marked:
            stm.set(b"by " + stm.token, b"")

    def step(self) -> None:
        """Something happens to one of the calls, or a late one arrives, or nothing for a while."""
        if not self.clients.waiting:
            self.clients.clock.advance(1)
            return
        what = [ANSWER, ANSWER, ANSWER, LOSE, DROP, DELAY, "arrive"][self.draw(7)]
        if what != "arrive":
            self.clients.step(what, self.draw(len(self.clients.waiting)))
        elif self.clients.late:
            self.clients.arrive(self.draw(len(self.clients.late)))


class CountProperties(SynchronousTestCase):
    """Every success counts once, no failure does, and what is unknown once at the most."""

    @given(st.booleans(), st.randoms(use_true_random=False))
    @PROPERTY
    def test_count(self, is_marked: bool, chance: Any) -> None:
        with patch.object(stm_module.random, "random", lambda: 0.5):
            network = Faulty(is_marked, chance.randrange)
            while len(network.results) < 3:
                network.step()
        network.clients.catch_up()
        counts = [self.counted(result) for result in network.results]
        counted = int(network.clients.store.value(A) or b"")
        self.assertTrue(sum(low for low, _ in counts) <= counted <= sum(high for _, high in counts), (counted, counts))

    def counted(self, result: Any) -> tuple[int, int]:
        """How often it was counted, at least and at the most."""
        if result is None:
            return 1, 1
        assert isinstance(result, Failure)
        # a read whose answer was lost, as the fake does not ask again
        result.trap(OutcomeUnknown, Failed, Unavailable)
        return (0, 1) if result.check(OutcomeUnknown) else (0, 0)
