"""
The semaphore: who holds it, whom the others wait for, and that all agree about the limit.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from test.test_lock import ID, KEY, RANGE, TXN, LockCase, WatchResponse, deleted, found, header
from txetcd import CompCreated, CompValue, CompVersion, KeySet, OpSet, OpTxn, Semaphore, Transaction
from txetcd._backoff import ASK_AGAIN
from txetcd.errors import LockReleased, OutcomeUnknown, SessionExpired, Unavailable
from txetcd.ops import OpGet
from txetcd.values import Event, KeyValue, Outcome, Range, Revision

ALL = KeySet(b"name/", prefix=True)


def permit(name: bytes, revision: int, value: bytes = b"2") -> KeyValue:
    return KeyValue(name, value, 1, revision, revision, 7)


def others(*revisions: int) -> list[KeyValue]:
    return [permit(b"name/%d" % revision, revision) for revision in revisions]


def entered(mine: int, *oldest: KeyValue, is_first: bool = False) -> Outcome:
    """The answer to the entry of one with a limit of two."""
    before = header(mine - 1)
    written = [Revision(before), Range(list(oldest), before)]
    if is_first:
        return Outcome(False, header(mine), [Outcome(True, before, written)])
    return Outcome(True, header(mine), written)


class SemaphoreCase(LockCase):
    """A semaphore of two, of a client on a fake."""

    def setUp(self) -> None:
        super().setUp()
        self.semaphore = Semaphore(self.client, b"name", 2)

    def acquiring(self, answer: Outcome, **options: Any) -> Deferred[Semaphore]:
        acquiring = self.semaphore.acquire(**options)
        self.grant()
        self.transport.next(TXN).reply(answer)
        return acquiring

    def waiting(self, *revisions: int) -> Deferred[Semaphore]:
        """One that comes when 15 and 16 hold it, and these are what it finds before it."""
        acquiring = self.acquiring(entered(20, *others(15, 16)))
        self.look(*revisions)
        self.transport.live[0].say(WatchResponse(header(50), created=True))
        self.assertNoResult(acquiring)
        return acquiring

    def look(self, *revisions: int) -> None:
        """It looks for those before it."""
        self.transport.asked("Range")
        before = OpGet(
            ALL, keys_only=True, limit=3, sort_order="DESCEND", sort_target="CREATE", max_create_revision=19
        )
        self.assertEqual(self.transport.next(RANGE).request, before)
        self.transport.next(RANGE).reply(found(*reversed(others(*revisions)), revision=50))

    def arrive(self, acquiring: Deferred[Semaphore]) -> None:
        """It says that it holds the semaphore."""
        self.transport.asked("Txn")
        wanted = Transaction([CompCreated(KEY, "==", 20)], [OpSet(KEY, b"2", ID)])
        self.assertEqual(self.transport.next(TXN).request, wanted)
        self.transport.next(TXN).reply(Outcome(True, header(70), []))
        self.assertIs(self.successResultOf(acquiring), self.semaphore)

    def release_it(self) -> None:
        released = self.semaphore.release()
        self.revoked()
        self.successResultOf(released)


class AcquireTests(SemaphoreCase):
    """The two oldest hold it."""

    def test_nobody_there(self) -> None:
        acquiring = self.semaphore.acquire()
        self.grant()
        oldest = OpGet(ALL, limit=2, sort_order="ASCEND", sort_target="CREATE")
        write = [OpSet(KEY, b"2", ID), oldest]
        alone = OpTxn(Transaction([CompVersion(ALL, "==", 0)], write, [oldest]))
        self.assertEqual(self.transport.next(TXN).request, Transaction([CompValue(ALL, "==", b"2")], write, [alone]))
        self.transport.next(TXN).reply(entered(20, permit(KEY, 20), is_first=True))
        self.assertIs(self.successResultOf(acquiring), self.semaphore)
        self.assertEqual((self.semaphore.revision, self.semaphore.limit), (20, 2))
        self.assertEqual(repr(self.semaphore), "<Semaphore b'name' HELD>")
        self.release_it()
        self.failureResultOf(self.semaphore.release(), LockReleased)

    def test_one_there(self) -> None:
        self.successResultOf(self.acquiring(entered(20, *others(15), permit(KEY, 20))))
        self.release_it()

    def test_first_in_the_queue(self) -> None:
        """It watches all, and looks again when one of the holders is gone."""
        acquiring = self.waiting(15, 16)
        (stream,) = self.transport.live
        self.assertEqual((stream.request.key, stream.request.start_revision), (ALL, 51))
        newcomer = Event("PUT", permit(b"name/60", 60))
        stream.say(WatchResponse(header(60), events=[newcomer]), deleted(b"name/60", 61))
        self.transport.asked()
        stream.say(deleted(b"name/16", 62))
        self.look(15)
        self.arrive(acquiring)
        self.release_it()

    def test_further_behind(self) -> None:
        """It watches the one before it, until that has got it, or is gone."""
        for is_gone in (False, True):
            acquiring = self.waiting(15, 16, 17)
            (stream,) = self.transport.live
            self.assertEqual(stream.request.key, KeySet(b"name/17"))
            if is_gone:
                stream.say(deleted(b"name/17", 60))
            else:
                written = KeyValue(b"name/17", b"2", 2, 17, 60, 7)
                stream.say(WatchResponse(header(60), events=[Event("PUT", written)]))
            self.look(16, 17)
            (stream,) = self.transport.live
            self.assertEqual(stream.request.key, ALL)
            stream.say(WatchResponse(header(50), created=True), deleted(b"name/16", 63))
            self.look(17)
            self.arrive(acquiring)
            self.release_it()

    def test_far_behind(self) -> None:
        """It reads no more than it needs."""
        acquiring = self.waiting(16, 17, 18)
        self.assertEqual(self.transport.live[0].request.key, KeySet(b"name/18"))
        self.cancelled(acquiring)
        self.revoked()
        self.assert_idle()

    def test_outage_when_it_arrives(self) -> None:
        """That may be said twice."""
        acquiring = self.waiting(15, 16)
        self.transport.live[0].say(deleted(b"name/16", 62))
        self.look(15)
        for error in (OutcomeUnknown(None, "lost"), Unavailable(None, "refused")):
            self.transport.next(TXN).reply(error)
            self.assertNoResult(acquiring)
            self.clock.advance(ASK_AGAIN)
            self.look(15)
        self.arrive(acquiring)
        self.release_it()

    def test_own_key_gone(self) -> None:
        acquiring = self.waiting(15, 16)
        self.transport.live[0].say(deleted(b"name/16", 62))
        self.look(15)
        self.transport.next(TXN).reply(Outcome(False, header(70), []))
        self.revoked()
        self.failureResultOf(acquiring, SessionExpired)


class LimitTests(SemaphoreCase):
    """All agree about the limit."""

    def test_another_limit(self) -> None:
        """Nothing was written; and nothing is left."""
        for kvs, said in (
            ([permit(b"name/1", 15, b"3")], "3"),
            ([permit(b"name/1", 15, b"3"), permit(b"name/2", 16)], "3"),
            (others(15, 16), "another"),
        ):
            refused = Outcome(False, header(20), [Range(kvs, header(19))])
            acquiring = self.acquiring(Outcome(False, header(20), [refused]))
            self.revoked()
            error = self.failureResultOf(acquiring, ValueError).value
            self.assertEqual(
                str(error),
                f"limit of the semaphore b'name' must be {said}, as of all who contend for it now, not 2",
            )

    def test_no_semaphore(self) -> None:
        """Keys of a lock, as that takes the same name."""
        for value in (b"", b"\xff"):
            refused = Outcome(False, header(20), [Range([*others(15), permit(b"name/1", 16, value)], header(19))])
            acquiring = self.acquiring(Outcome(False, header(20), [refused]))
            self.revoked()
            error = self.failureResultOf(acquiring, ValueError).value
            wanted = "name of the semaphore b'name' is used for something else: b'name/1' has no limit for a value"
            self.assertEqual(str(error), wanted)

    def test_misuse(self) -> None:
        limits: list[Any] = [(0, ValueError), (-1, ValueError), (10_001, ValueError), ("2", TypeError), (1., TypeError)]
        for limit, wanted in limits:
            error = self.assertRaises(wanted, Semaphore, self.client, b"name", limit)
            self.assertIn("limit", str(error))
        self.assertRaises(ValueError, Semaphore, self.client, b"name/", 2)
        self.assertEqual(self.transport.calls, [])


class AskTests(SemaphoreCase):
    """Who holds it, and whether one more may."""

    def test_holders(self) -> None:
        asked = self.semaphore.holders()
        self.assertEqual(self.transport.next(RANGE).request.limit, 2)
        self.transport.next(RANGE).reply(found(*others(15, 16)))
        self.assertEqual(self.successResultOf(asked), others(15, 16))

    def test_try(self) -> None:
        trying = self.semaphore.try_acquire()
        self.transport.next(RANGE).reply(found(*others(15, 16)))
        self.assertIs(self.successResultOf(trying), False)
        self.assert_idle()
        trying = self.semaphore.try_acquire()
        self.transport.next(RANGE).reply(found(*others(15)))
        self.grant()
        self.transport.next(TXN).reply(entered(20, *others(15), permit(KEY, 20)))
        self.assertIs(self.successResultOf(trying), True)
        self.release_it()
