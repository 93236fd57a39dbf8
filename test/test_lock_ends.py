"""
The end of a lock: cancelled, late, released, lost; and ``async with``.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import LogLevel, capturedLogs, formatEvent

from test.fakes import URL, fake_client, run
from test.test_lock import (
    GRANT,
    ID,
    KEEP_ALIVE,
    KEY,
    RANGE,
    REVOKE,
    TXN,
    LockCase,
    deleted,
    entered,
    found,
    header,
    key,
)
from txetcd import CompCreated, Lock
from txetcd._messages import Acknowledgement, LeaseGrantResponse, LeaseKeepAliveResponse, WatchResponse
from txetcd.errors import Closed, Expired, LeaseNotFound, LockReleased, OutcomeUnknown, Timeout, Unavailable


class EndingTests(LockCase):
    """Timeouts and cancelling, at every step."""

    STEPS = ("grant", "entry", "look", "starting", "watching", "watch lost", "look again", "own key")

    def reach(self, step: str, locking: Optional[Deferred[Lock]] = None, **options: Any) -> Deferred[Lock]:
        """A lock that has come to this step."""
        locking = locking or self.client.lock(b"name", **options)
        if step == "grant":
            return locking
        self.grant()
        if step == "entry":
            return locking
        self.transport.next(TXN).reply(entered(20, key(b"name/1", 15)))
        if step == "look":
            return locking
        self.transport.next(RANGE).reply(found(key(b"name/2", 17), revision=30))
        if step == "starting":
            return locking
        self.transport.live[0].say(WatchResponse(header(31), created=True))
        if step == "watching":
            return locking
        if step == "watch lost":
            self.transport.live[0].end()
            return locking
        self.transport.live[0].say(deleted(b"name/2", 60))
        if step == "look again":
            return locking
        self.transport.next(RANGE).reply(found())
        return locking

    def took_back(self, step: str) -> None:
        """The lease is taken back, even one that is granted only now."""
        if step == "grant":
            self.transport.next(GRANT).reply(LeaseGrantResponse(header(10), ID, 60))
        self.assertEqual(self.transport.live, [])
        self.revoked()

    def test_cancel(self) -> None:
        """It fires at once; the lease is taken back behind its back."""
        for step in self.STEPS:
            for timeout in (None, 1000.0):
                self.cancelled(self.reach(step, timeout=timeout))
                self.took_back(step)

    def test_timeout(self) -> None:
        """The lease is taken back before it fails."""
        for step in self.STEPS:
            locking = self.reach(step, timeout=3.0)
            self.clock.advance(2.9)
            self.assertNoResult(locking)
            self.clock.advance(0.2)
            if step != "grant":
                self.assertNoResult(locking)
                self.took_back(step)
            error = self.failureResultOf(locking, Timeout).value
            self.assertEqual(str(error), f"at {URL}: the lock b'name' was not acquired within 3 seconds")
            # a lease may still be granted, and that is not waited for
            self.assertIs(error.maybe_applied, step == "grant")
            if step == "grant":
                self.took_back(step)

    def test_timeout_of_a_second(self) -> None:
        """It is told in good English."""
        locking = self.reach("watching", timeout=1.0)
        self.clock.advance(1)
        self.revoked()
        error = self.failureResultOf(locking, Timeout).value
        self.assertEqual(str(error), f"at {URL}: the lock b'name' was not acquired within 1 second")

    def test_timeout_and_not_taken_back(self) -> None:
        """It says whether the key may be there until the lease ends."""
        for answer, is_left in (
            (Unavailable(None, "refused"), True),
            (Timeout("late", True), True),
            (LeaseNotFound(5, "requested lease not found"), False),
        ):
            locking = self.reach("watching", timeout=3.0)
            self.clock.advance(3)
            self.transport.next(REVOKE).reply(answer)
            self.assertIs(self.failureResultOf(locking, Timeout).value.maybe_applied, is_left)
            if is_left:
                self.revoked()
            self.assert_idle()

    def test_timeout_of_a_call(self) -> None:
        """So does one of the call on the way that ends it."""
        for answer, is_left in ((Acknowledgement(), False), (Unavailable(None, "refused"), True)):
            locking = self.reach("entry")
            self.transport.next(TXN).reply(Timeout("sent, but no answer within 10 seconds", True))
            self.transport.next(REVOKE).reply(answer)
            error = self.failureResultOf(locking, Timeout).value
            self.assertIn("no answer", str(error))
            self.assertIs(error.maybe_applied, is_left)
            if is_left:
                self.revoked()
            self.assert_idle()

    def test_cancel_and_timeout(self) -> None:
        """A deadline that passes while it is taken back does not end that; nor does who cancels after the deadline."""
        locking = self.reach("watching", timeout=3.0)
        self.clock.advance(2.9)
        self.cancelled(locking)
        self.clock.advance(1)
        self.revoked()
        locking = self.reach("watching", timeout=3.0)
        self.clock.advance(3)
        self.cancelled(locking)
        self.revoked()

    def test_again_after_cancel(self) -> None:
        """Who has cancelled may try again at once, even if the first attempt is still being taken back."""
        lock = Lock(self.client, b"name")
        self.cancelled(lock.acquire())
        try:
            again: Optional[Deferred[Lock]] = lock.acquire()
        except RuntimeError:
            again = None
        for call in list(self.transport.waiting):
            call.reply(Unavailable(None, "refused"))
        assert again is not None, "it cannot be acquired twice, it said"
        self.failureResultOf(again, Unavailable)

    def test_again_after_cancel_while_taken_back(self) -> None:
        """So he may if there is a key to be taken back."""
        lock = Lock(self.client, b"name")
        locking = lock.acquire()
        self.grant()
        self.cancelled(locking)
        try:
            again: Optional[Deferred[Lock]] = lock.acquire()
        except RuntimeError:
            again = None
        self.transport.next(REVOKE).reply(Acknowledgement())
        assert again is not None, "it cannot be acquired twice, it said"
        self.cancelled(again)
        self.transport.next(GRANT).reply(Unavailable(None, "refused"))

    def test_again_in_the_callback(self) -> None:
        """Or in the very moment in which he learns that he has cancelled, or that the deadline has passed."""
        for step in ("entry", "watching"):
            for is_cancelled in (True, False):
                lock = Lock(self.client, b"name")
                first = self.reach(step, lock.acquire(3.0))
                again: list[Any] = []
                first.addErrback(lambda _, lock=lock, again=again: again.append(lock.acquire()))
                first.cancel() if is_cancelled else self.clock.advance(3)
                (revoking,) = [call for call in self.transport.waiting if call.rpc is REVOKE]
                revoking.reply(Acknowledgement())
                self.successResultOf(first)
                self.grant()
                self.transport.next(TXN).reply(entered(30, None))
                self.assertIs(self.successResultOf(again[0]), lock)
                self.assertEqual(lock.revision, 30)
                self.release(lock)

    def test_close_the_client(self) -> None:
        """
        Closing the client fails it with Closed, also when nothing is asked just then; and leaves no key in the queue,
        however far it has come.
        """
        for step in self.STEPS:
            self.client = fake_client(self.clock, self.transport)
            locking = self.reach(step)
            closed = self.client.close()
            self.assertNoResult(closed)
            self.took_back(step)
            self.successResultOf(closed)
            error = self.failureResultOf(locking, Closed).value
            self.assertIn(f"at {URL}: the client is closed", str(error))

    def test_close_the_client_while_it_is_taken_back(self) -> None:
        """That goes on; if it fails, once more."""
        for answer in (Acknowledgement(), OutcomeUnknown(None, "lost")):
            self.client = fake_client(self.clock, self.transport)
            self.cancelled(self.reach("watching"))
            closed = self.client.close()
            self.transport.next(REVOKE).reply(answer)
            if isinstance(answer, OutcomeUnknown):
                self.assertNoResult(closed)
                self.revoked()
            self.clock.advance(0)
            self.successResultOf(closed)
            self.assert_idle()


class HeldTests(LockCase):
    """While it is held, and after."""

    def test_release(self) -> None:
        """One call; it is not held any more, whatever comes of it. One that fails is tried again behind the back."""
        lock = self.hold()
        lost = lock.when_lost()
        released = lock.release()
        self.assertFalse(lock.is_held)
        self.assertEqual(repr(lock), "<Lock b'name' FREE>")
        self.transport.next(REVOKE).reply(Unavailable(None, "refused"))
        self.failureResultOf(released, Unavailable)
        self.transport.next(REVOKE).reply(Unavailable(None, "refused"))
        self.clock.advance(0.5)
        self.assertNoResult(lost)
        self.revoked()
        self.successResultOf(lost)

    def test_release_and_cancel(self) -> None:
        """So is one that is cancelled."""
        lock = self.hold()
        lost = lock.when_lost()
        released = lock.release()
        self.cancelled(released)
        self.assertNoResult(lost)
        self.revoked()
        self.successResultOf(lost)

    def test_release_fails_for_ever(self) -> None:
        """Whoever waits for the loss learns of it when the time to live is over."""
        lock = self.hold()
        lost = lock.when_lost()
        self.cancelled(lock.release())
        self.clock.pump([0.5] * 119)
        self.assertNoResult(lost)
        self.clock.advance(0.5)
        self.successResultOf(lost)
        closed = self.client.close()
        self.transport.next(REVOKE).reply(Unavailable(None, "refused"))
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assert_idle()

    def test_release_twice(self) -> None:
        """It is not held the second time; nor before it was acquired."""
        lock = self.hold()
        self.release(lock)
        self.failureResultOf(lock.release(), LockReleased)
        self.failureResultOf(Lock(self.client, b"name").release(), LockReleased)

    def test_not_held(self) -> None:
        """What only a held lock has."""
        lock = Lock(self.client, b"name")
        for ask in (lambda: lock.key, lambda: lock.revision, lock.guard, lock.when_lost):
            self.assertRaises(LockReleased, ask)
        self.assertFalse(lock.is_held)

    def test_guard(self) -> None:
        """A comparison that holds only as long as the key is the one of this owner."""
        lock = self.hold()
        self.assertEqual(lock.guard(), CompCreated(KEY, "==", 20))
        self.release(lock)

    def test_acquire_twice(self) -> None:
        """Neither while it is held nor while it is waited for. That says what to do instead."""
        lock = self.hold()
        text = "<Lock b'name' HELD> cannot be acquired twice: make one for each task; .* 'async with .*', without await"
        self.assertRaisesRegex(RuntimeError, text, lock.acquire)
        self.assertRegex(str(self.failureResultOf(run(lock.__aenter__()), RuntimeError).value), text)
        self.release(lock)
        again = lock.acquire()
        self.assertRaises(RuntimeError, lock.acquire)
        error = self.failureResultOf(lock.release(), LockReleased).value
        self.assertEqual(error.message, "the lock b'name' is still waited for: cancel that to give it up")
        self.cancelled(again)
        self.transport.next(GRANT).reply(Unavailable(None, "refused"))
        lock.acquire().addErrback(lambda failure: failure.trap(Unavailable))
        self.transport.next(GRANT).reply(Unavailable(None, "refused"))

    def test_lost(self) -> None:
        """The lease is lost: so is the lock, and whoever waits for that learns it."""
        lock = self.hold()
        lost = lock.when_lost()
        self.assertNoResult(lost)
        self.clock.advance(20)
        self.transport.next(KEEP_ALIVE).reply(LeaseKeepAliveResponse(header(50), ID))
        self.successResultOf(lost)
        self.assertFalse(lock.is_held)
        self.assertEqual(repr(lock), "<Lock b'name' LOST>")
        self.failureResultOf(lock.release(), Expired)
        self.assert_idle()

    def test_suspended(self) -> None:
        """An owner that was suspended for too long knows at once that it may hold it no longer."""
        lock = self.hold()
        self.clock.rightNow += 61
        self.assertFalse(lock.is_held)
        self.clock.advance(0)
        self.assertEqual(repr(lock), "<Lock b'name' LOST>")
        self.failureResultOf(lock.release(), Expired)
        self.revoked()

    def test_released_after_it_was_lost(self) -> None:
        """Its key does not stand in the way of others, though the server may not have noticed yet."""
        lock = self.hold()
        self.clock.rightNow += 61
        self.failureResultOf(lock.release(), Expired)
        self.transport.next(REVOKE).reply(Unavailable(None, "refused"))
        self.clock.advance(0.5)
        self.revoked()

    def test_release_tells_who_waits_for_the_loss(self) -> None:
        """Releasing is losing, too."""
        lock = self.hold()
        lost = lock.when_lost()
        self.release(lock)
        self.successResultOf(lost)

    def test_renewed_while_it_is_held(self) -> None:
        """The lease is renewed until it is released."""
        lock = self.hold()
        for _ in range(10):
            self.clock.advance(20)
            self.transport.next(KEEP_ALIVE).reply(LeaseKeepAliveResponse(header(50), ID, 60))
        self.assertTrue(lock.is_held)
        self.release(lock)

    def test_misuse(self) -> None:
        """Names, times and timeouts that are none: nothing is sent."""
        for call, wanted in (
            (lambda: Lock(self.client, "name"), TypeError),  # type: ignore[arg-type]  # that is the test
            (lambda: Lock(self.client, b""), ValueError),
            (lambda: Lock(self.client, b"name", 0), ValueError),
            (lambda: Lock(self.client, b"name", 1.5), TypeError),  # type: ignore[arg-type]  # that is the test
            (lambda: Lock(self.client, b"name", True), TypeError),
            (lambda: Lock(self.client, b"name").acquire(0), ValueError),
            (lambda: Lock(self.client, b"name").acquire(float("nan")), ValueError),
            (lambda: self.client.lock(b"name", -1), ValueError),
        ):
            self.assertRaises(wanted, call)
        self.assertEqual(self.transport.calls, [])

    def test_too_long(self) -> None:
        """A time to live that no lease can have is refused like any other misuse."""
        try:
            locking = self.client.lock(b"name", time_to_live=9_000_000_001)
        except ValueError:
            return
        self.failureResultOf(locking)
        self.fail("it was not raised at once")


class ContextTests(LockCase):
    """``async with``."""

    async def block(self, body: Deferred[Any], **options: Any) -> Any:
        async with self.client.lock(b"name", **options) as lock:
            self.is_entered = True
            self.assertTrue(lock.is_held)
            return await body

    def enter(self, body: Deferred[Any]) -> Deferred[Any]:
        running = run(self.block(body))
        self.grant()
        self.transport.next(TXN).reply(entered(20, None))
        return running

    def test_block(self) -> None:
        """It is released when the block is left."""
        body: Deferred[str] = Deferred()
        running = self.enter(body)
        self.transport.asked()
        body.callback("done")
        self.assertNoResult(running)
        self.revoked()
        self.assertEqual(self.successResultOf(running), "done")

    def test_failing_block(self) -> None:
        """However it is left; what the block failed with is raised."""
        for error in (ZeroDivisionError(), CancelledError()):
            running = self.enter(fail(error))
            self.revoked()
            self.failureResultOf(running, type(error))

    def test_failing_block_and_release(self) -> None:
        """Even if it cannot be released."""
        running = self.enter(fail(ZeroDivisionError()))
        with capturedLogs() as events:
            self.transport.next(REVOKE).reply(Unavailable(None, "refused"))
        self.failureResultOf(running, ZeroDivisionError)
        self.revoked()
        (event,) = events
        text = formatEvent(event)
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertEqual(
            text,
            "leaving <Lock b'name' FREE> after ZeroDivisionError() failed too: "
            f"<Unavailable: Lease.LeaseRevoke at {URL}: refused>",
        )

    def test_failing_block_and_lost(self) -> None:
        """Or if it was lost."""
        body: Deferred[str] = Deferred()
        running = self.enter(body)
        self.clock.advance(20)
        self.transport.next(KEEP_ALIVE).reply(LeaseKeepAliveResponse(header(50), ID))
        with capturedLogs() as events:
            body.errback(ZeroDivisionError())
        self.failureResultOf(running, ZeroDivisionError)
        (event,) = events
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertIn("lease abc is not known to the server", formatEvent(event))

    def test_cancelled_block(self) -> None:
        """Whoever is in the block may be cancelled."""
        running = self.enter(Deferred())
        running.cancel()
        self.revoked()
        self.failureResultOf(running, CancelledError)

    def test_cancelled_while_the_block_is_left(self) -> None:
        """It is released all the same, behind the back."""
        for body in (succeed("done"), fail(ZeroDivisionError())):
            running = self.enter(body)
            (releasing,) = self.transport.waiting
            with capturedLogs():
                running.cancel()
            self.assertTrue(releasing.is_cancelled)
            self.failureResultOf(running, CancelledError, ZeroDivisionError)
            self.revoked()

    def test_lost_in_the_block(self) -> None:
        """A lock that was lost is told at the end."""
        body: Deferred[str] = Deferred()
        running = self.enter(body)
        self.clock.advance(20)
        self.transport.next(KEEP_ALIVE).reply(LeaseKeepAliveResponse(header(50), ID))
        body.callback("done")
        self.failureResultOf(running, Expired)

    async def release_in_the_block(self, is_awaited: bool) -> None:
        async with self.client.lock(b"name") as lock:
            released = lock.release()
            released.addErrback(lambda failure: failure.trap(Unavailable))
            if is_awaited:
                await released

    def test_released_in_the_block(self) -> None:
        """Nothing is left to do at its end, nor to complain of; whether or not somebody waits for that."""
        for is_awaited in (True, False):
            running = run(self.release_in_the_block(is_awaited))
            self.grant()
            self.transport.next(TXN).reply(entered(20, None))
            self.revoked()
            self.assertIsNone(self.successResultOf(running))

    def test_released_badly_in_the_block(self) -> None:
        """That is told there, and tried again behind the back."""
        running = run(self.release_in_the_block(True))
        self.grant()
        self.transport.next(TXN).reply(entered(20, None))
        self.transport.next(REVOKE).reply(Unavailable(None, "refused"))
        self.revoked()
        self.assertIsNone(self.successResultOf(running))

    def test_not_acquired(self) -> None:
        """The block is not entered without the lock."""
        self.is_entered = False
        running = run(self.block(Deferred(), timeout=3.0))
        self.grant()
        self.transport.next(TXN).reply(entered(20, key(b"name/1", 15)))
        self.clock.advance(3)
        self.revoked()
        self.failureResultOf(running, Timeout)
        self.assertFalse(self.is_entered)

    def locking(self) -> Any:
        """A Deferred that has fired with the lock."""
        locking = self.client.lock(b"name")
        self.grant()
        self.transport.next(TXN).reply(entered(20, None))
        return locking

    async def enter_again(self, locking: Any) -> Any:
        async with locking as lock:
            return lock

    def test_waited_for_before(self) -> None:
        """Whoever has waited for it may still enter, and has the lock; so has who has looked at it in a callback."""
        for look in (self.successResultOf, lambda locking: locking.addCallback(lambda lock: None)):
            locking = self.locking()
            look(locking)
            running = run(self.enter_again(locking))
            self.revoked()
            self.assertIsInstance(self.successResultOf(running), Lock)

    def test_released_before(self) -> None:
        """A block that the lock would not guard is not entered: not a second time, nor after it was released."""
        locking = self.locking()
        running = run(self.enter_again(locking))
        self.revoked()
        self.successResultOf(running)
        error = self.failureResultOf(run(self.enter_again(locking)), RuntimeError).value
        self.assertEqual(str(error), "it can be entered once only: make the call again")
        locking = self.locking()
        self.release(self.successResultOf(locking))
        error = self.failureResultOf(run(self.enter_again(locking)), RuntimeError).value
        self.assertIn("<Lock b'name' FREE> was given back", str(error))
        self.assert_idle()

    def test_acquired_again_before(self) -> None:
        """One that was released and acquired again is held, and so entered."""
        locking = self.locking()
        lock = self.successResultOf(locking)
        self.release(lock)
        again = lock.acquire()
        self.grant()
        self.transport.next(TXN).reply(entered(30, None))
        self.successResultOf(again)
        running = run(self.enter_again(locking))
        self.revoked()
        self.assertIs(self.successResultOf(running), lock)
