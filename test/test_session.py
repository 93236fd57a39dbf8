"""
A session: what stands on it, and what becomes of that when it is lost.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import globalLogPublisher

from test.fakes import run
from test.test_lock import GRANT, ID, KEEP_ALIVE, REVOKE, LockCase, header
from txetcd import Session
from txetcd._messages import LeaseGrantResponse, LeaseKeepAliveResponse
from txetcd.errors import OutcomeUnknown, SessionExpired, Unavailable


class SessionCase(LockCase):
    """A session of a client on a fake."""

    def begin(self, time_to_live: int = 60) -> Session:
        """One that has begun."""
        session = Session(self.client, time_to_live)
        starting = session.start()
        self.grant(time_to_live)
        self.assertIs(self.successResultOf(starting), session)
        return session

    def lose(self) -> None:
        """The server does not know it any more."""
        self.clock.advance(20)
        self.transport.next(KEEP_ALIVE).reply(LeaseKeepAliveResponse(header(10), ID, 0))

    def close(self, session: Session) -> None:
        closed = session.close()
        self.revoked()
        self.assertIsNone(self.successResultOf(closed))


class LifeTests(SessionCase):
    """Its beginning and its end."""

    def test_life(self) -> None:
        session = Session(self.client)
        self.assertEqual((repr(session), session.is_alive), ("<Session NEW>", False))
        starting = session.start()
        self.assertEqual(repr(session), "<Session BEGINNING>")
        self.assertEqual(self.transport.next(GRANT).request.time_to_live, 60)
        self.grant()
        self.successResultOf(starting)
        self.assertEqual((session.lease_id, session.lease.lease_id, session.is_alive), (ID, ID, True))
        self.assertEqual(repr(session), f"<Session {ID:x} ALIVE>")
        lost = session.when_lost()
        self.assertNoResult(lost)
        self.close(session)
        self.successResultOf(lost)
        self.assertEqual((repr(session), session.is_alive), (f"<Session {ID:x} CLOSED>", False))
        self.successResultOf(session.when_lost())
        self.successResultOf(session.close())

    def test_it_is_renewed(self) -> None:
        session = self.begin()
        for _ in range(10):
            self.clock.advance(20)
            self.transport.next(KEEP_ALIVE).reply(LeaseKeepAliveResponse(header(10), ID, 60))
        self.assertTrue(session.is_alive)
        self.close(session)

    def test_lost(self) -> None:
        session = self.begin()
        lost = session.when_lost()
        self.lose()
        self.successResultOf(lost)
        self.assertEqual((repr(session), session.is_alive), (f"<Session {ID:x} LOST>", False))
        self.failureResultOf(session.close(), SessionExpired)

    def test_closing_fails(self) -> None:
        """It is not renewed any more, and tried again behind the back."""
        session = self.begin()
        closed = session.close()
        self.transport.next(REVOKE).reply(OutcomeUnknown(None, "lost"))
        self.failureResultOf(closed, OutcomeUnknown)
        self.assertFalse(session.is_alive)
        self.revoked()

    def test_cannot_begin(self) -> None:
        """It can be started again."""
        session = Session(self.client)
        starting = session.start()
        self.transport.next(GRANT).reply(Unavailable(None, "refused"))
        self.failureResultOf(starting, Unavailable)
        starting = session.start()
        self.grant()
        self.successResultOf(starting)
        self.close(session)

    def test_cancelled_while_it_begins(self) -> None:
        """What is granted all the same is revoked."""
        session = Session(self.client)
        self.cancelled(session.start())
        self.transport.next(GRANT).reply(LeaseGrantResponse(header(10), ID, 60))
        self.revoked()

    def test_closed_while_it_begins(self) -> None:
        """As if it was cancelled: nobody renews a lease whose owner has closed it."""
        session = Session(self.client)
        starting = session.start()
        self.assertIsNone(self.successResultOf(session.close()))
        self.failureResultOf(starting, CancelledError)
        self.transport.next(GRANT).reply(LeaseGrantResponse(header(10), ID, 60))
        self.revoked()
        self.assertEqual((repr(session), session.is_alive), ("<Session NEW>", False))

    def test_misuse(self) -> None:
        session = Session(self.client)
        for ask in (lambda: session.lease, lambda: session.lease_id, session.when_lost):
            self.assertRaises(RuntimeError, ask)
        self.successResultOf(session.close())
        session = self.begin()
        error = self.assertRaises(RuntimeError, session.start)
        self.assertIn("was started before", str(error))
        self.close(session)
        self.assertRaises(RuntimeError, session.start)
        for time_to_live, wanted in ((0, ValueError), (-1, ValueError), (9_000_000_001, ValueError), ("60", TypeError)):
            error = self.assertRaises(wanted, Session, self.client, time_to_live)
            self.assertIn("time_to_live", str(error))

    def test_client_closed(self) -> None:
        session = self.begin()
        lost = session.when_lost()
        self.successResultOf(self.client.close())
        self.successResultOf(lost)
        self.assertFalse(session.is_alive)


class ProtectTests(SessionCase):
    """What is done as long as it lasts, and no longer."""

    def test_done(self) -> None:
        session = self.begin()
        self.assertEqual(self.successResultOf(session.protect(succeed(7))), 7)
        self.failureResultOf(session.protect(fail(ZeroDivisionError())), ZeroDivisionError)
        work: Deferred[int] = Deferred()
        protected = session.protect(work)
        self.assertNoResult(protected)
        work.callback(8)
        self.assertEqual(self.successResultOf(protected), 8)
        self.close(session)

    def test_coroutine(self) -> None:
        session = self.begin()

        async def work() -> int:
            return 7

        self.assertEqual(self.successResultOf(session.protect(work())), 7)
        self.close(session)

    def test_lost(self) -> None:
        """It is cancelled, and whoever waits is told why."""
        session = self.begin()
        cancelled: list[Any] = []
        work: Deferred[None] = Deferred(cancelled.append)
        protected = session.protect(work)
        self.lose()
        self.assertEqual(cancelled, [work])
        error = self.failureResultOf(protected, SessionExpired).value
        self.assertEqual(str(error), f"<Session {ID:x} LOST> was lost while it was needed")

    def test_closed_meanwhile(self) -> None:
        """By its owner: that is not called a loss."""
        session = self.begin()
        protected = session.protect(Deferred())
        self.close(session)
        error = self.failureResultOf(protected, SessionExpired).value
        self.assertEqual(str(error), f"<Session {ID:x} CLOSED> was closed while it was needed")

    def test_lost_before(self) -> None:
        session = self.begin()
        self.lose()
        cancelled: list[Any] = []
        self.failureResultOf(session.protect(Deferred(cancelled.append)), SessionExpired)
        self.assertEqual(len(cancelled), 1)

    def test_done_too_late(self) -> None:
        """The process was stopped: that the session was lost is noticed by what is done then."""
        session = self.begin(10)
        work: Deferred[int] = Deferred()
        protected = session.protect(work)
        # no timer has come to it yet
        self.clock.rightNow += 20
        work.callback(7)
        self.failureResultOf(protected, SessionExpired)
        self.clock.advance(0)
        self.revoked()

    def test_closed(self) -> None:
        """The session is closed while something needs it."""
        session = self.begin()
        protected = session.protect(Deferred())
        closed = session.close()
        self.revoked()
        self.successResultOf(closed)
        self.failureResultOf(protected, SessionExpired)

    def test_fault_of_its_own(self) -> None:
        """What goes wrong when it is cancelled is not hidden."""
        session = self.begin()

        def fault(work: Deferred[None]) -> None:
            work.errback(ZeroDivisionError())

        protected = session.protect(Deferred(fault))
        self.lose()
        self.failureResultOf(protected, ZeroDivisionError)

    def test_cancelled(self) -> None:
        """By whoever waits."""
        session = self.begin()
        cancelled: list[Any] = []
        protected = session.protect(Deferred(cancelled.append))
        self.cancelled(protected)
        self.assertEqual(len(cancelled), 1)
        self.assertTrue(session.is_alive)
        self.close(session)

    def test_not_begun(self) -> None:
        session = Session(self.client)
        cancelled: list[Any] = []
        self.assertRaises(RuntimeError, session.protect, Deferred(cancelled.append))
        self.assertEqual(len(cancelled), 1)


class MisuseTests(SessionCase):
    def test_protect_what_is_no_work(self) -> None:
        """As a function that was not called. Nothing is left behind."""
        session = self.begin()
        for work in (None, lambda: 1, 7, succeed):
            with self.assertRaises(TypeError) as caught:
                session.protect(work)  # type: ignore[arg-type]  # that is the test
            self.assertIn("work must be a Deferred or a coroutine, not ", str(caught.exception))
        self.close(session)


class BlockTests(SessionCase):
    """``async with``."""

    async def block(self, work: Any = None) -> Any:
        async with Session(self.client) as session:
            self.assertTrue(session.is_alive)
            if work is not None:
                await work

    def test_block(self) -> None:
        running = run(self.block())
        self.transport.next(GRANT).reply(LeaseGrantResponse(header(10), ID, 60))
        self.revoked()
        self.successResultOf(running)

    def test_failing_block(self) -> None:
        running = run(self.block(fail(ZeroDivisionError())))
        self.transport.next(GRANT).reply(LeaseGrantResponse(header(10), ID, 60))
        self.revoked()
        self.failureResultOf(running, ZeroDivisionError)

    def test_lost(self) -> None:
        work: Deferred[None] = Deferred()
        running = run(self.block(work))
        self.grant()
        self.lose()
        work.callback(None)
        self.failureResultOf(running, SessionExpired)

    def test_lost_and_told(self) -> None:
        """Once is enough: it is no news at the end of the block, and not worth a warning."""
        logged: list[Any] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)

        async def block() -> None:
            async with Session(self.client) as session:
                await session.protect(Deferred())

        running = run(block())
        self.grant()
        self.lose()
        self.failureResultOf(running, SessionExpired)
        self.assertEqual([event for event in logged if event.get("log_namespace", "").startswith("txetcd")], [])

    def test_failing_block_and_lost(self) -> None:
        """What the block has raised is raised."""
        work: Deferred[None] = Deferred()
        running = run(self.block(work))
        self.grant()
        self.lose()
        work.errback(ZeroDivisionError())
        self.failureResultOf(running, ZeroDivisionError)
