"""
Deferreds that can be entered, and work with a deadline.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import LogLevel, capturedLogs, formatEvent

from test.fakes import Case, fake_client, run
from txetcd._context import ContextDeferred, LeftBehind, context, within
from txetcd._endpoints import Endpoints
from txetcd.errors import Timeout, Unavailable

A, B = "http://a", "http://b"


class ContextTests(Case):
    """``async with``, and waiting."""

    def setUp(self) -> None:
        super().setUp()
        self.left: list[Any] = []
        self.work: Deferred[str] = Deferred()

    def leave(self, entered: Any) -> Deferred[None]:
        self.left.append(entered)
        return succeed(None)

    def context(self, work: Deferred[str], leave: Optional[Callable[[Any], Deferred[None]]] = None) -> Any:
        return context(work, leave or self.leave, self.left.__contains__)

    def leave_badly(self, entered: Any) -> Deferred[None]:
        return fail(Unavailable(None, "not given back"))

    async def block(self, entering: ContextDeferred[str], body: Optional[Deferred[Any]] = None) -> Any:
        async with entering as entered:
            self.assertEqual(entered, "entered")
            return await (body or succeed("done"))

    def test_wait(self) -> None:
        """It is a Deferred as any other."""
        result = self.context(self.work)
        self.work.callback("entered")
        self.assertEqual(self.successResultOf(result), "entered")
        self.assertEqual(self.left, [])

    def test_cancel(self) -> None:
        """Cancelling it cancels the work."""
        result = self.context(self.work)
        self.cancelled(result)

    def test_enter_and_leave(self) -> None:
        """It is given back at the end of the block."""
        body: Deferred[str] = Deferred()
        running = run(self.block(self.context(self.work), body))
        self.work.callback("entered")
        self.assertEqual(self.left, [])
        body.callback("done")
        self.assertEqual(self.successResultOf(running), "done")
        self.assertEqual(self.left, ["entered"])

    def test_failing_block(self) -> None:
        """However it is left."""
        for error in (ZeroDivisionError(), CancelledError()):
            self.left.clear()
            running = run(self.block(self.context(succeed("entered")), fail(error)))
            self.failureResultOf(running, type(error))
            self.assertEqual(self.left, ["entered"])

    def test_cancelled_block(self) -> None:
        """By being cancelled, too."""
        running = run(self.block(self.context(succeed("entered")), Deferred()))
        self.cancelled(running)
        self.assertEqual(self.left, ["entered"])

    def test_not_entered(self) -> None:
        """What could not be had is not given back."""
        self.failureResultOf(run(self.block(self.context(fail(Unavailable(None, "no"))))), Unavailable)
        running = run(self.block(self.context(self.work)))
        self.cancelled(running)
        self.assertEqual(self.left, [])

    def test_leaving_fails(self) -> None:
        """If giving it back fails, that is raised; unless the block failed, then that is, and of the other it warns."""
        running = run(self.block(self.context(succeed("entered"), self.leave_badly)))
        self.failureResultOf(running, Unavailable)
        with capturedLogs() as events:
            running = run(self.block(self.context(succeed("entered"), self.leave_badly), fail(ZeroDivisionError())))
        self.failureResultOf(running, ZeroDivisionError)
        (event,) = events
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertEqual(
            formatEvent(event), "leaving entered after ZeroDivisionError() failed too: <Unavailable: not given back>"
        )

    def test_given_back_in_the_block(self) -> None:
        """It is not given back again; whatever became of the block."""
        for error in (None, ZeroDivisionError()):
            self.left.clear()
            body: Deferred[str] = Deferred()
            running = run(self.block(self.context(succeed("entered")), body))
            self.leave("entered")
            body.errback(error) if error else body.callback("done")
            self.failureResultOf(running, ZeroDivisionError) if error else self.successResultOf(running)
            self.assertEqual(self.left, ["entered"])

    def test_given_back_by_a_callback_that_fails(self) -> None:
        """Nor is what was given back before the block could be entered."""
        entering = self.context(succeed("entered")).addCallback(self.leave).addCallback(lambda _: 1 // 0)
        self.failureResultOf(run(self.block(entering)), ZeroDivisionError)
        self.assertEqual(self.left, ["entered"])

    def test_enter_what_was_waited_for(self) -> None:
        """Whoever waits takes the result away; the block has it all the same."""
        entering = self.context(succeed("entered"))
        self.assertEqual(self.successResultOf(entering), "entered")
        self.assertEqual(self.successResultOf(run(self.block(entering))), "done")
        self.assertEqual(self.left, ["entered"])

    def test_enter_with_another_result(self) -> None:
        """So it has if a callback makes something else of it, or nothing; that is waited for."""
        later: Deferred[None] = Deferred()
        entering = self.context(self.work).addCallback(lambda _: later)
        running = run(self.block(entering))
        self.work.callback("entered")
        self.assertNoResult(running)
        later.callback(None)
        self.assertEqual(self.successResultOf(running), "done")
        self.assertEqual(self.left, ["entered"])

    def test_enter_with_a_callback_that_fails(self) -> None:
        """Then the block is not entered, and nobody else could give it back."""
        entering = self.context(succeed("entered")).addCallback(lambda _: fail(ZeroDivisionError()))
        self.failureResultOf(run(self.block(entering)), ZeroDivisionError)
        self.assertEqual(self.left, ["entered"])

    def test_cancelled_while_a_callback_is_waited_for(self) -> None:
        """So it is if the waiting ends by that."""
        entering = self.context(succeed("entered")).addCallback(lambda _: Deferred())
        self.cancelled(run(self.block(entering)))
        self.assertEqual(self.left, ["entered"])

    def assert_not_entered(self, entering: Any, text: str) -> None:
        """It says so in one line, and leaves alone what it was fired with."""
        left = list(self.left)
        error = self.failureResultOf(run(self.block(entering)), RuntimeError).value
        self.assertEqual(str(error), text)
        self.assertEqual(self.left, left)

    def test_enter_twice(self) -> None:
        """Neither after the first block, nor in it, nor while that waits."""
        text = "it can be entered once only: make the call again"
        entering = self.context(self.work)
        body: Deferred[str] = Deferred()
        running = run(self.block(entering, body))
        self.assert_not_entered(entering, text)
        self.work.callback("entered")
        self.assert_not_entered(entering, text)
        body.callback("done")
        self.assertEqual(self.successResultOf(running), "done")
        self.assert_not_entered(entering, text)

    def test_enter_what_was_given_back(self) -> None:
        """It is there no more."""
        entering = self.context(succeed("entered")).addCallback(self.leave)
        self.assert_not_entered(
            entering, "'entered' was given back, and cannot be entered: make the call again"
        )

    def test_block_that_fails_is_left_otherwise(self) -> None:
        """Where that is another thing; a callback that fails is no success, either."""
        failed: list[Any] = []

        def leave_failed(entered: Any) -> Deferred[None]:
            failed.append(entered)
            return succeed(None)

        def entering() -> Any:
            return context(succeed("entered"), self.leave, lambda _: False, leave_failed)

        self.successResultOf(run(self.block(entering())))
        self.assertEqual((self.left, failed), (["entered"], []))
        self.failureResultOf(run(self.block(entering(), fail(ZeroDivisionError()))), ZeroDivisionError)
        self.failureResultOf(run(self.block(entering().addCallback(lambda _: 1 / 0))), ZeroDivisionError)
        self.assertEqual((self.left, failed), (["entered"], ["entered", "entered"]))

    def test_enter_what_has_failed(self) -> None:
        """It was never there, even if somebody has dealt with that."""
        entering = self.context(fail(Unavailable(None, "no")))
        self.failureResultOf(entering, Unavailable)
        self.assert_not_entered(entering, "it has failed, and cannot be entered: make the call again")


class WithinTests(Case):
    """Work with a deadline."""

    def setUp(self) -> None:
        super().setUp()
        self.client = fake_client(self.clock, self.transport, endpoints=Endpoints([A, B], lambda: 0.0))
        self.cancels = 0
        self.cleaning: Deferred[None] = Deferred(self.cancelled_cleaning)
        self.cleaning_cancels = 0

    def cancelled_cleaning(self, _: object) -> None:
        self.cleaning_cancels += 1

    async def work(self, main: Deferred[Any]) -> Any:
        """Work that cleans up behind itself if it is cancelled."""
        try:
            return await main
        except CancelledError:
            self.cancels += 1
            await self.cleaning
            raise

    def begin(self, main: Deferred[Any], timeout: Optional[float] = 5.0) -> Deferred[Any]:
        return within(run(self.work(main)), self.client, timeout, "it was not done")

    def test_done(self) -> None:
        """In time, or at once, well or badly."""
        for outcome in ("done", Unavailable(None, "no")):
            for is_at_once in (True, False):
                for timeout in (5.0, None):
                    main: Deferred[Any] = Deferred()
                    if is_at_once:
                        main.callback(outcome) if outcome == "done" else main.errback(outcome)
                    result = self.begin(main, timeout)
                    if not is_at_once:
                        self.clock.advance(4.9)
                        self.assertNoResult(result)
                        main.callback(outcome) if outcome == "done" else main.errback(outcome)
                    if outcome == "done":
                        self.assertEqual(self.successResultOf(result), "done")
                    else:
                        self.assertIs(self.failureResultOf(result).value, outcome)
                    self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_timeout(self) -> None:
        """Past the deadline the work is cancelled; its cleaning up is waited for."""
        result = self.begin(Deferred())
        self.clock.advance(5)
        self.assertEqual(self.cancels, 1)
        self.assertNoResult(result)
        self.cleaning.callback(None)
        error = self.failureResultOf(result, Timeout).value
        self.assertEqual(str(error), f"at {A}, {B}: it was not done within 5 seconds")
        self.assertIs(error.maybe_applied, False)

    def test_timeout_of_a_second(self) -> None:
        """One second, but half a second and two seconds as well."""
        for timeout, text in ((1, "1 second"), (1.0, "1 second"), (0.5, "0.5 seconds"), (2.0, "2 seconds")):
            result = within(Deferred(), self.client, timeout, "it was not done")
            self.clock.advance(timeout)
            error = self.failureResultOf(result, Timeout).value
            self.assertEqual(str(error), f"at {A}, {B}: it was not done within {text}")

    def test_timeout_of_a_cluster(self) -> None:
        """If no endpoint has answered lately, that is the reason."""
        endpoints = self.client._way.endpoints
        for url, reason, text in ((A, "dead", ""), (B, "dead", "; dead"), (A, "far", "; dead; far")):
            endpoints.worked(url)
            endpoints.failed(url, 0.0, 0.0, reason)
            result = within(Deferred(), self.client, 1, "it was not done")
            self.clock.advance(1)
            error = self.failureResultOf(result, Timeout).value
            self.assertEqual(error.message, f"it was not done within 1 second{text}")

    def test_timeout_and_left_behind(self) -> None:
        """Work that could not clean up says so."""
        result = self.begin(Deferred())
        self.clock.advance(5)
        self.cleaning.errback(LeftBehind())
        error = self.failureResultOf(result, Timeout).value
        self.assertEqual(str(error), f"at {A}, {B}: it was not done within 5 seconds")
        self.assertTrue(error.maybe_applied)

    def test_timeout_and_success(self) -> None:
        """Work that succeeds all the same has succeeded."""
        main: Deferred[str] = Deferred(lambda deferred: deferred.callback("done"))
        result = self.begin(main)
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(result), "done")

    def test_timeout_and_failure(self) -> None:
        """Cleaning up that fails tells why."""
        result = self.begin(Deferred())
        self.clock.advance(5)
        self.cleaning.errback(Unavailable(None, "no"))
        self.failureResultOf(result, Unavailable)

    def test_cancel(self) -> None:
        """Cancelling fires it at once; the cleaning up goes on, for as long as it takes."""
        result = self.begin(Deferred())
        self.clock.advance(4)
        self.cancelled(result)
        self.assertEqual(self.cancels, 1)
        self.clock.advance(100)
        self.assertEqual(self.cleaning_cancels, 0, "the deadline must not end the cleaning up")
        self.cleaning.callback(None)

    def test_cancel_after_the_deadline(self) -> None:
        """Whoever loses his patience with the cleaning up does not end it."""
        result = self.begin(Deferred())
        self.clock.advance(5)
        self.cancelled(result)
        self.assertEqual((self.cancels, self.cleaning_cancels), (1, 0))
        self.cleaning.callback(None)

    def test_cancel_without_deadline(self) -> None:
        """Without a deadline as well; what comes of the work falls on closed ears."""
        result = self.begin(Deferred(), None)
        self.cancelled(result)
        self.cleaning.errback(Unavailable(None, "no"))
