"""
What contests have in common beyond the lock on a lease of its own: sessions, trying, and ``async with``.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from test.fakes import run
from test.test_lock import GRANT, ID, KEY, RANGE, REVOKE, TXN, WatchResponse, deleted, entered, found, header, key
from test.test_session import SessionCase
from txetcd import CompCreated, Lock, OpDel, Session, Transaction
from txetcd._backoff import ASK_AGAIN
from txetcd.errors import (
    Closed,
    Expired,
    LeaseNotFound,
    LockReleased,
    OutcomeUnknown,
    PermissionDenied,
    SessionExpired,
    Timeout,
    TooManyRequests,
    Unavailable,
)
from txetcd.ops import OpGet
from txetcd.recipes import _place
from txetcd.values import Deleted, KeyValue, Outcome

MINE = KEY + b".c0ffee00"
"""The key of a lock with a session."""


class ContestCase(SessionCase):
    """Locks on a session of a client on a fake."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(_place.secrets, "token_hex", lambda size: "c0ffee00")

    def lock(self) -> Lock:
        self.session = self.begin()
        return Lock(self.client, b"name", session=self.session)

    def held(self) -> Lock:
        lock = self.lock()
        acquiring = lock.acquire()
        self.transport.next(TXN).reply(entered(20, key(MINE, 20)))
        self.assertIs(self.successResultOf(acquiring), lock)
        return lock

    def waiting(self, timeout: Optional[float] = None) -> tuple[Lock, Deferred[Lock]]:
        """One that watches the key before its own."""
        lock = self.lock()
        acquiring = lock.acquire(timeout)
        self.transport.next(TXN).reply(entered(20, key(b"name/1", 15)))
        self.transport.next(RANGE).reply(found(key(b"name/2", 17), revision=30))
        self.transport.live[0].say(WatchResponse(header(31), created=True))
        return lock, acquiring

    def deleting(self, revision: int = 20) -> None:
        """The key is being deleted, and nothing else asked; it succeeds."""
        self.transport.asked("Txn")
        comps = [CompCreated(MINE, "==", revision)] if revision else []
        self.assertEqual(self.transport.next(TXN).request, Transaction(comps, [OpDel(MINE)]))
        self.transport.next(TXN).reply(Outcome(True, header(60), [Deleted(1, header(60))]))
        self.transport.asked()
        self.assertEqual(self.transport.live, [])


class SessionTests(ContestCase):
    """The key hangs on the lease of a session, and is deleted when it is given up."""

    def test_held_and_released(self) -> None:
        lock = self.held()
        self.assertEqual((lock.key, lock.revision, lock.is_held), (MINE, 20, True))
        self.assertEqual(lock.guard(), CompCreated(MINE, "==", 20))
        lost = lock.when_lost()
        self.assertNoResult(lost)
        released = lock.release()
        self.assertFalse(lock.is_held)
        self.deleting()
        self.assertIsNone(self.successResultOf(released))
        self.assertIsNone(self.successResultOf(lost))
        self.failureResultOf(lock.release(), LockReleased)
        self.assertTrue(self.session.is_alive)
        self.close(self.session)
        self.assert_idle()

    def test_loss_is_not_waited_for_any_more(self) -> None:
        lock = self.held()
        self.cancelled(lock.when_lost())
        lost = lock.when_lost()
        place = lock._place
        assert place is not None
        released = lock.release()
        self.deleting()
        self.successResultOf(released)
        self.successResultOf(lost)
        self.successResultOf(place.when_lost())
        self.close(self.session)

    def test_each_is_a_contender_of_its_own(self) -> None:
        """Also those of one session: or two that share it would be in the lock together."""
        self.held()
        other = Lock(self.client, b"name", session=self.session)
        self.patch(_place.secrets, "token_hex", lambda size: "decaf000")
        waiting = other.acquire()
        self.assertEqual(self.transport.next(TXN).request.success[0].key, KEY + b".decaf000")
        self.transport.next(TXN).reply(entered(21, key(MINE, 20)))
        self.transport.next(RANGE).reply(found(key(MINE, 20)))
        self.cancelled(waiting)
        self.transport.next(TXN).reply(Outcome(True, header(60), []))
        self.close(self.session)

    def test_waiter_wins(self) -> None:
        lock, acquiring = self.waiting()
        self.transport.live[0].say(deleted(b"name/2", 60))
        self.transport.next(RANGE).reply(found())
        self.assertEqual(self.transport.next(RANGE).request, OpGet(MINE))
        self.transport.next(RANGE).reply(found(key(MINE, 20)))
        self.assertIs(self.successResultOf(acquiring), lock)
        self.close(self.session)

    def test_cancelled(self) -> None:
        """The key is deleted behind the back."""
        _, acquiring = self.waiting()
        self.cancelled(acquiring)
        self.deleting()
        self.close(self.session)
        self.assert_idle()

    def test_cancelled_while_it_enters(self) -> None:
        """The entry is waited for: the key must not be written after it was deleted."""
        lock = self.lock()
        self.cancelled(lock.acquire())
        self.transport.asked("Txn")
        entry = self.transport.next(TXN)
        self.assertFalse(entry.is_cancelled)
        entry.reply(entered(20, None))
        self.deleting(revision=0)
        self.close(self.session)

    def test_late(self) -> None:
        _, acquiring = self.waiting(3.0)
        self.clock.advance(3)
        self.assertNoResult(acquiring)
        self.deleting()
        self.assertFalse(self.failureResultOf(acquiring, Timeout).value.maybe_applied)
        self.close(self.session)

    def test_late_and_not_taken_back(self) -> None:
        """It is tried again until that is answered."""
        _, acquiring = self.waiting(3.0)
        self.clock.advance(3)
        self.transport.next(TXN).reply(OutcomeUnknown(None, "lost"))
        self.assertTrue(self.failureResultOf(acquiring, Timeout).value.maybe_applied)
        self.transport.next(TXN).reply(Unavailable(None, "refused"))
        self.clock.advance(ASK_AGAIN)
        self.deleting()
        self.close(self.session)
        self.assert_idle()

    def test_late_while_it_is_taken_back(self) -> None:
        """It is not known then whether anything is left: the failure that came first says so, and not the deadline."""
        lock = self.lock()
        acquiring = lock.acquire(3.0)
        self.transport.next(TXN).reply(OutcomeUnknown(None, "lost"))
        self.clock.advance(3)
        self.assertTrue(self.failureResultOf(acquiring, OutcomeUnknown).value.maybe_applied)
        self.deleting(revision=0)
        self.close(self.session)
        self.assert_idle()

    def test_entry_in_doubt(self) -> None:
        """The key is deleted, as it may be there."""
        lock = self.lock()
        acquiring = lock.acquire()
        self.transport.next(TXN).reply(OutcomeUnknown(None, "lost"))
        self.assertNoResult(acquiring)
        self.deleting(revision=0)
        self.failureResultOf(acquiring, OutcomeUnknown)
        self.close(self.session)

    def late(self) -> None:
        """An entry whose answer was lost, and whose key is not there when it is deleted."""
        acquiring = self.lock().acquire()
        self.transport.next(TXN).reply(OutcomeUnknown(None, "lost"))
        self.transport.next(TXN).reply(Outcome(True, header(60), [Deleted(0, header(60))]))
        self.failureResultOf(acquiring, OutcomeUnknown)
        self.transport.asked()

    def test_entry_carried_out_late(self) -> None:
        """By a server that was suspended: the key is looked for, less and less often, and deleted."""
        self.late()
        self.clock.advance(ASK_AGAIN)
        self.transport.next(RANGE).reply(found())
        self.clock.advance(2 * ASK_AGAIN)
        self.transport.next(RANGE).reply(Unavailable(None, "refused"))
        self.clock.advance(4 * ASK_AGAIN - 0.01)
        self.transport.asked()
        self.clock.advance(0.01)
        self.assertEqual(self.transport.next(RANGE).request, OpGet(MINE))
        self.transport.next(RANGE).reply(found(key(MINE, 70)))
        self.transport.next(TXN).reply(OutcomeUnknown(None, "lost"))
        self.clock.advance(8 * ASK_AGAIN)
        self.transport.next(RANGE).reply(found(key(MINE, 70)))
        self.deleting(revision=0)
        self.close(self.session)
        self.assert_idle()

    def test_session_lost_as_the_entry_tells(self) -> None:
        """By the server, before a renewal does."""
        acquiring = self.lock().acquire()
        self.transport.next(TXN).reply(LeaseNotFound(5, "etcdserver: requested lease not found"))
        self.deleting(revision=0)
        error = self.failureResultOf(acquiring, SessionExpired).value
        self.assertEqual(str(error), "the session of the lock b'name' was lost while it was waited for")
        self.close(self.session)

    def test_late_entry_in_doubt(self) -> None:
        """What is not there may still come: then it is not certain that nothing is left."""
        for was_there in (True, False):
            acquiring = self.lock().acquire(3.0)
            self.clock.advance(3)
            self.transport.next(TXN).reply(OutcomeUnknown(None, "lost"))
            self.transport.next(TXN).reply(Outcome(True, header(60), [Deleted(was_there, header(60))]))
            self.assertEqual(self.failureResultOf(acquiring, Timeout).value.maybe_applied, not was_there)
            self.close(self.session)

    def test_entry_never_carried_out(self) -> None:
        """It is looked for as long as the session lasts, or until that is refused."""
        self.late()
        self.close(self.session)
        self.assert_idle()
        self.late()
        self.clock.advance(ASK_AGAIN)
        self.transport.next(RANGE).reply(PermissionDenied(7, "permission denied"))
        self.close(self.session)
        self.assert_idle()

    def test_release_fails(self) -> None:
        """It is tried again behind the back, unless that cannot help; at most as long as the session lasts."""
        lock = self.held()
        for passing in (Unavailable(None, "refused"), TooManyRequests(14, "too many requests")):
            released = lock.release()
            self.transport.next(TXN).reply(passing)
            self.failureResultOf(released, type(passing))
            self.deleting()
            acquiring = lock.acquire()
            self.transport.next(TXN).reply(entered(20, None))
            self.successResultOf(acquiring)
        released = lock.release()
        self.transport.next(TXN).reply(PermissionDenied(7, "permission denied"))
        self.failureResultOf(released, PermissionDenied)
        self.transport.asked()
        acquiring = lock.acquire()
        self.transport.next(TXN).reply(entered(20, None))
        self.successResultOf(acquiring)
        self.cancelled(lock.release())
        self.transport.next(TXN).reply(Unavailable(None, "refused"))
        self.close(self.session)
        self.assert_idle()

    def test_release_refused_for_now(self) -> None:
        """A server with too much to do is asked again, as one that cannot be reached."""
        lock = self.held()
        released = lock.release()
        self.transport.next(TXN).reply(TooManyRequests(8, "etcdserver: too many requests"))
        self.failureResultOf(released, TooManyRequests)
        self.transport.next(TXN).reply(TooManyRequests(8, "etcdserver: too many requests"))
        self.clock.advance(ASK_AGAIN)
        self.deleting()
        self.close(self.session)
        self.assert_idle()

    def test_session_closed_in_doubt(self) -> None:
        """It may be gone, and so it is not held any more."""
        lock = self.held()
        closed = self.session.close()
        self.assertFalse(lock.is_held)
        self.transport.next(REVOKE).reply(OutcomeUnknown(None, "lost"))
        self.failureResultOf(closed, OutcomeUnknown)
        self.assertEqual((lock.is_held, repr(lock)), (False, "<Lock b'name' LOST>"))
        self.revoked()
        self.assert_idle()

    def test_session_lost_while_it_is_held(self) -> None:
        lock = self.held()
        lost = lock.when_lost()
        self.lose()
        self.successResultOf(lost)
        self.assertEqual((lock.is_held, repr(lock)), (False, "<Lock b'name' LOST>"))
        error = self.failureResultOf(lock.release(), SessionExpired).value
        self.assertIn("the session of the lock b'name' was lost before that was given up", str(error))
        self.assert_idle()

    def test_used_after_the_session_was_lost(self) -> None:
        lock = self.lock()
        self.lose()
        error = self.failureResultOf(lock.acquire(), SessionExpired).value
        self.assertEqual(str(error), f"the lock b'name' cannot be had with <Session {ID:x} LOST>")
        trying = lock.try_acquire()
        self.transport.next(RANGE).reply(found())
        self.failureResultOf(trying, SessionExpired)
        self.assert_idle()

    def test_session_lost_while_it_is_waited_for(self) -> None:
        _, acquiring = self.waiting()
        self.lose()
        error = self.failureResultOf(acquiring, SessionExpired).value
        self.assertIn("the session of the lock b'name' was lost while it was waited for", str(error))
        self.assert_idle()

    def test_session_closed_while_it_is_waited_for(self) -> None:
        _, acquiring = self.waiting()
        self.close(self.session)
        self.failureResultOf(acquiring, SessionExpired)
        self.assert_idle()

    def test_client_closed(self) -> None:
        _, acquiring = self.waiting()
        self.successResultOf(self.client.close())
        self.failureResultOf(acquiring, Closed)
        self.assert_idle()

    def test_client_closed_in_an_outage(self) -> None:
        """Also when nothing is asked just then."""
        _, acquiring = self.waiting()
        self.transport.live[0].say(WatchResponse(canceled=True, compact_revision=99))
        self.transport.asked()
        self.successResultOf(self.client.close())
        self.assertIn("the client is closed", str(self.failureResultOf(acquiring, Closed).value))
        self.assert_idle()

    def test_misuse(self) -> None:
        """What is no session, or none that has begun: nothing is sent."""
        wrong: Any = b"session"
        error = self.assertRaises(TypeError, Lock, self.client, b"name", session=wrong)
        self.assertEqual(str(error), "session must be a Session or None, not bytes")
        lock = Lock(self.client, b"name", session=Session(self.client))
        for ask in (lock.acquire, lock.try_acquire):
            self.assertIn("has not begun", str(self.assertRaises(RuntimeError, ask)))
        self.assertEqual(repr(lock), "<Lock b'name' FREE>")
        self.assertRaises(ValueError, lock.acquire, 0)
        error = self.assertRaises(ValueError, Lock, self.client, b"name/")
        self.assertEqual(str(error), "name must not end in '/', but is b'name/'")
        self.assertEqual(self.transport.calls, [])


class TryTests(ContestCase):
    """Acquired at once, or not at all."""

    def test_not_free(self) -> None:
        """It costs a call; nothing is written."""
        lock = Lock(self.client, b"name")
        trying = lock.try_acquire()
        self.assertEqual(repr(lock), "<Lock b'name' WAITING>")
        self.assertRaises(RuntimeError, lock.try_acquire)
        self.transport.next(RANGE).reply(found(key(b"name/1", 15)))
        self.assertIs(self.successResultOf(trying), False)
        self.assertEqual((repr(lock), lock.is_held), ("<Lock b'name' FREE>", False))
        self.assert_idle()

    def test_free(self) -> None:
        lock = Lock(self.client, b"name")
        trying = lock.try_acquire()
        self.transport.next(RANGE).reply(found())
        self.grant()
        self.transport.next(TXN).reply(entered(20, None))
        self.assertIs(self.successResultOf(trying), True)
        self.assertTrue(lock.is_held)
        self.assertRaises(RuntimeError, lock.try_acquire)
        self.release(lock)

    def test_somebody_was_faster(self) -> None:
        """What was written is taken back before the answer is given."""
        lock = Lock(self.client, b"name")
        trying = lock.try_acquire()
        self.transport.next(RANGE).reply(found())
        self.grant()
        self.transport.next(TXN).reply(entered(20, key(b"name/1", 19)))
        self.assertNoResult(trying)
        self.revoked()
        self.assertIs(self.successResultOf(trying), False)
        self.assert_idle()

    def test_failed(self) -> None:
        for error in (Unavailable(None, "refused"), Timeout("late")):
            trying = Lock(self.client, b"name").try_acquire()
            self.transport.next(RANGE).reply(error)
            self.failureResultOf(trying, type(error))
        trying = Lock(self.client, b"name").try_acquire()
        self.transport.next(RANGE).reply(found())
        self.grant()
        self.transport.next(TXN).reply(OutcomeUnknown(None, "lost"))
        self.revoked()
        self.failureResultOf(trying, OutcomeUnknown)
        self.assert_idle()

    def test_cancelled(self) -> None:
        trying = Lock(self.client, b"name").try_acquire()
        self.cancelled(trying)
        self.assert_idle()
        trying = Lock(self.client, b"name").try_acquire()
        self.transport.next(RANGE).reply(found())
        self.grant()
        self.cancelled(trying)
        self.revoked()
        self.assert_idle()


class ContendersTests(ContestCase):
    """Who contends."""

    def test_contenders(self) -> None:
        asked = Lock(self.client, b"name").contenders()
        request = self.transport.next(RANGE).request
        self.assertEqual((request.key.key, request.sort_order, request.sort_target), (b"name/", "ASCEND", "CREATE"))
        kvs = [key(b"name/2", 15), key(b"name/1", 16)]
        self.transport.next(RANGE).reply(found(*kvs))
        self.assertEqual(self.successResultOf(asked), kvs)
        self.assertIsInstance(kvs[0], KeyValue)


class BlockTests(ContestCase):
    """``async with lock:``."""

    async def block(self, lock: Lock, body: Any) -> Any:
        async with lock as entered:
            self.assertIs(entered, lock)
            return await body

    def enter(self, body: Any) -> Deferred[Any]:
        running = run(self.block(Lock(self.client, b"name"), body))
        self.grant()
        self.transport.next(TXN).reply(entered(20, None))
        return running

    def test_block(self) -> None:
        body: Deferred[int] = Deferred()
        running = self.enter(body)
        self.transport.asked()
        body.callback(7)
        self.revoked()
        self.assertEqual(self.successResultOf(running), 7)

    def test_not_acquired(self) -> None:
        """The block is not entered."""
        body: Deferred[int] = Deferred()
        running = run(self.block(Lock(self.client, b"name"), body))
        self.transport.next(GRANT).reply(Unavailable(None, "refused"))
        self.failureResultOf(running, Unavailable)

    def test_lost_in_the_block(self) -> None:
        body: Deferred[int] = Deferred()
        running = self.enter(body)
        self.lose()
        body.callback(7)
        self.failureResultOf(running, Expired)

    def test_released_in_the_block(self) -> None:
        async def release(lock: Lock) -> None:
            async with lock:
                await lock.release()

        running = run(release(Lock(self.client, b"name")))
        self.grant()
        self.transport.next(TXN).reply(entered(20, None))
        self.revoked()
        self.successResultOf(running)

    def test_failed_in_the_block(self) -> None:
        """What it failed with is raised; that it was lost as well is told in the log."""
        body: Deferred[int] = Deferred()
        running = self.enter(body)
        self.lose()
        with capturedLogs() as events:
            body.errback(ZeroDivisionError())
        self.failureResultOf(running, ZeroDivisionError)
        self.assertIn("leaving <Lock b'name' FREE> after ZeroDivisionError() failed too", formatEvent(events[0]))
