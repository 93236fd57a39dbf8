"""
Watching with a callback: what the Deferred of ``Client.watch`` does.
"""

from __future__ import annotations

from asyncio import CancelledError as AsyncCancelled
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from test.fakes import FakeStream, run
from test.test_watch import GONE, WatchCase, created, events
from txetcd import KeySet
from txetcd._messages import WatchResponse
from txetcd.errors import Closed, Compacted, Unavailable
from txetcd.values import Event
from txetcd.watch import Watch, WatchDeferred, WatchOptions


class CallbackCase(WatchCase):
    """
    A watch with a callback.

    :ivar seen: the revisions it was called with.
    """

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[int] = []

    def see(self, event: Event) -> None:
        self.seen.append(event.mod_revision)

    def watching(self, callback: Callable[[Event], Any]) -> tuple[WatchDeferred, FakeStream]:
        """The Deferred of a watch that has started."""
        stream = self.live()
        return WatchDeferred(self.watch, callback), stream


class CallbackTests(CallbackCase):
    """The callback, and what it does."""

    def test_called(self) -> None:
        """With each event, in their order."""
        watching, stream = self.watching(self.see)
        stream.say(events(11, 12), events(13))
        self.assertEqual(self.seen, [11, 12, 13])
        self.assertNoResult(watching)
        watching.cancel()
        self.assertIsNone(self.successResultOf(watching))
        self.assertTrue(stream.is_aborted)
        stream.say(events(14))
        self.assertEqual(self.seen, [11, 12, 13])

    def test_raises(self) -> None:
        """What it raises is logged, and the watch goes on."""

        def callback(event: Event) -> None:
            self.see(event)
            raise ZeroDivisionError(event.mod_revision)

        watching, stream = self.watching(callback)
        stream.say(events(11, 12))
        self.assertEqual(self.seen, [11, 12])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertNoResult(watching)
        watching.cancel()

    def test_generator(self) -> None:
        """A callback that lacks @inlineCallbacks would do nothing, and say nothing."""

        def callback(event: Event) -> Any:
            self.see(event)
            yield

        watching, stream = self.watching(callback)
        stream.say(events(11))
        (failure,) = self.flushLoggedErrors(TypeError)
        self.assertIn("it lacks @inlineCallbacks", str(failure.value))
        self.assertEqual(self.seen, [])
        watching.cancel()

    def test_asynchronous_generator(self) -> None:
        """No more than a generator."""

        async def callback(event: Event) -> Any:
            self.see(event)
            yield

        watching, stream = self.watching(callback)
        stream.say(events(11))
        (failure,) = self.flushLoggedErrors(TypeError)
        self.assertIn("an asynchronous generator, which does nothing", str(failure.value))
        self.assertEqual(self.seen, [])
        watching.cancel()

    def test_on_error_that_nobody_runs(self) -> None:
        async def on_error(event: Event, error: Exception) -> None:
            """It would never have happened."""

        stream = self.live()
        watching = WatchDeferred(self.watch, lambda event: 1 / 0, on_error)
        stream.say(events(11))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        (failure,) = self.flushLoggedErrors(TypeError)
        self.assertIn("a coroutine, which nobody runs", str(failure.value))
        watching.cancel()

    def test_its_watch(self) -> None:
        """What the watch is up to can be asked without async with."""
        watching, stream = self.watching(self.see)
        stream.say(events(11, 12))
        self.assertIs(watching.watch, self.watch)
        self.assertEqual(watching.watch.revision, 12)
        stream.say(GONE)
        self.failureResultOf(watching, Compacted)
        self.assertEqual(watching.watch.revision, 12)

    def test_raises_no_exception(self) -> None:
        """Who ends the program, or the coroutine, ends the watch as well: nobody would take what comes then."""
        for error in (SystemExit(), KeyboardInterrupt(), GeneratorExit(), AsyncCancelled()):

            def callback(event: Event, error: BaseException = error) -> None:
                raise error

            watching, stream = self.watching(callback)
            stream.say(events(11))
            self.assertIs(self.failureResultOf(watching).value, error)
            self.assertTrue(stream.is_aborted)

    def test_on_error(self) -> None:
        """It is told what was raised, on which event; and what it raises itself is no reason to end, either."""
        told: list[Any] = []

        def callback(event: Event) -> None:
            raise ZeroDivisionError(event.mod_revision)

        def on_error(event: Event, error: Exception) -> None:
            told.append((event.mod_revision, type(error)))
            if event.mod_revision == 12:
                raise KeyError

        stream = self.live()
        watching = WatchDeferred(self.watch, callback, on_error)
        stream.say(events(11, 12, 13))
        self.assertEqual(told, [(at, ZeroDivisionError) for at in (11, 12, 13)])
        failures = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(len(failures), 3)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertNoResult(watching)
        watching.cancel()

    def test_raises_what_the_iteration_understands(self) -> None:
        """Whatever it raises."""
        for error in (StopAsyncIteration(), StopIteration(), CancelledError(), Unavailable(None, "mine")):

            def callback(event: Event, error: Exception = error) -> None:
                raise error

            watching, stream = self.watching(callback)
            stream.say(events(11))
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)
            self.assertNoResult(watching)
            watching.cancel()

    def test_returns_a_deferred(self) -> None:
        """The next event waits for it."""
        results: list[Deferred[None]] = []

        def callback(event: Event) -> Deferred[None]:
            self.see(event)
            results.append(Deferred())
            return results[-1]

        watching, stream = self.watching(callback)
        stream.say(events(11, 12, 13))
        self.assertEqual(self.seen, [11])
        results[0].callback(None)
        self.assertEqual(self.seen, [11, 12])
        results[1].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.seen, [11, 12, 13])
        watching.cancel()
        self.successResultOf(watching)
        results[2].callback(None)

    def test_is_a_coroutine_function(self) -> None:
        """So it does for a coroutine, and for whatever is not awaitable it does not."""
        gate: Deferred[None] = Deferred()

        async def callback(event: Event) -> None:
            self.see(event)
            await gate

        watching, stream = self.watching(callback)
        stream.say(events(11, 12))
        self.assertEqual(self.seen, [11])
        gate.callback(None)
        self.assertEqual(self.seen, [11, 12])
        watching.cancel()

    def test_many_at_once(self) -> None:
        """However many events have piled up, they do not pile up on the stack."""
        gate: Deferred[None] = Deferred()
        watching, stream = self.watching(lambda event: self.see(event) or (gate if event.mod_revision == 11 else None))
        stream.say(events(*range(11, 10_011)))
        gate.callback(None)
        self.assertEqual(len(self.seen), 10_000)
        watching.cancel()

    def test_cancels(self) -> None:
        """It may cancel the watch: no event comes any more."""
        watchings: list[WatchDeferred] = []

        def callback(event: Event) -> None:
            self.see(event)
            watchings[0].cancel()

        watching, stream = self.watching(callback)
        watchings.append(watching)
        stream.say(events(11, 12), events(13))
        self.assertEqual(self.seen, [11])
        self.successResultOf(watching)
        self.assertTrue(stream.is_aborted)

    def test_cancels_and_waits(self) -> None:
        """It may do so and be at work for a while; what comes of that is not lost."""
        for outcome in (None, Failure(ZeroDivisionError())):
            gate: Deferred[Any] = Deferred()
            watchings: list[WatchDeferred] = []

            def callback(event: Event, gate: Any = gate, watchings: Any = watchings) -> Any:
                watchings[0].cancel()
                return gate

            watching, stream = self.watching(callback)
            watchings.append(watching)
            stream.say(events(11))
            self.successResultOf(watching)
            gate.callback(outcome)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 0 if outcome is None else 1)

    def test_closes_the_client(self) -> None:
        """It may close the client: no event comes any more, whether it came in the same message or waited already."""
        watching, stream = self.watching(lambda event: self.see(event) or self.calls.close())
        stream.say(events(11, 12))
        self.assertEqual(self.seen, [11])
        self.successResultOf(watching)
        self.assertEqual(self.watch.revision, 11)

    def test_closed_while_it_is_at_work(self) -> None:
        """The client is closed while it is at work, and events wait."""
        gate: Deferred[None] = Deferred()
        watching, stream = self.watching(lambda event: self.see(event) or gate)
        stream.say(events(11), events(12, 13))
        self.calls.close()
        self.assertNoResult(watching)
        gate.callback(None)
        self.successResultOf(watching)
        self.assertEqual((self.seen, self.watch.revision), ([11], 11))

    def test_revision(self) -> None:
        """Counts the event that it is at work on, and no other."""
        for ending in (WatchDeferred.cancel, lambda _: stream.say(GONE)):
            gate: Deferred[None] = Deferred()
            watching, stream = self.watching(lambda event, gate=gate: gate if event.mod_revision == 12 else None)
            stream.say(events(11, 12, 13))
            self.assertEqual(self.watch.revision, 12)
            ending(watching)
            self.assertEqual(self.watch.revision, 12)
            gate.callback(None)
            watching.addErrback(lambda failure: failure.trap(Compacted))
            self.successResultOf(watching)
        self.assertEqual(self.watch.revision, 13)


class EndTests(CallbackCase):
    """How it ends."""

    def test_it_cannot_go_on(self) -> None:
        """It fails, once everything that has arrived was handed over."""
        gate: Deferred[None] = Deferred()
        watching, stream = self.watching(lambda event: self.see(event) or gate)
        stream.say(events(11, 12))
        stream.say(GONE)
        self.assertNoResult(watching)
        gate.callback(None)
        self.assertEqual(self.seen, [11, 12])
        self.failureResultOf(watching, Compacted)

    def test_compacted(self) -> None:
        """It fails."""
        watching, stream = self.watching(self.see)
        stream.say(WatchResponse(canceled=True, compact_revision=7))
        self.failureResultOf(watching, Compacted)

    def test_client_closed(self) -> None:
        """It fires, as after ``cancel()``."""
        watching, stream = self.watching(self.see)
        self.calls.close()
        self.assertIsNone(self.successResultOf(watching))

    def test_cancelled_twice(self) -> None:
        """Once is enough."""
        watching, _ = self.watching(self.see)
        watching.cancel()
        watching.cancel()
        self.successResultOf(watching)

    def test_cancelled_before_it_started(self) -> None:
        """Then nothing was watched."""
        stream = self.begin()
        watching = WatchDeferred(self.watch, self.see)
        watching.cancel()
        self.successResultOf(watching)
        self.assertTrue(stream.is_aborted)

    def test_cancelled_after_it_failed(self) -> None:
        """The failure stays."""
        watching, stream = self.watching(self.see)
        stream.say(GONE)
        watching.cancel()
        self.failureResultOf(watching, Compacted)


class ContextTests(CallbackCase):
    """``async with``."""

    async def block(self, watching: WatchDeferred, gate: Any = None) -> Any:
        async with watching as watch:
            self.assertIs(watch, self.watch)
            if gate is not None:
                await gate

    def test_block(self) -> None:
        """Entered when the watch has started, stopped when it is left."""
        stream = self.begin()
        gate: Deferred[None] = Deferred()
        running = run(self.block(WatchDeferred(self.watch, self.see), gate))
        stream.say(created(), events(11))
        self.assertEqual(self.seen, [11])
        self.assertNoResult(running)
        gate.callback(None)
        self.successResultOf(running)
        self.assertTrue(stream.is_aborted)

    def test_failing_block(self) -> None:
        """What the block raises is raised."""
        stream = self.live()
        running = run(self.block(WatchDeferred(self.watch, self.see), fail(ZeroDivisionError())))
        self.failureResultOf(running, ZeroDivisionError)
        self.assertTrue(stream.is_aborted)

    def test_watch_that_failed(self) -> None:
        """A watch that could not go on is told at the end of the block; at once to those who ask for it."""
        stream = self.live()
        gate: Deferred[None] = Deferred()
        running = run(self.block(WatchDeferred(self.watch, self.see), gate))
        stopped = self.watch.when_stopped()
        stream.say(GONE)
        self.failureResultOf(stopped, Compacted)
        self.assertNoResult(running)
        gate.callback(None)
        self.failureResultOf(running, Compacted)

    def test_block_and_watch_failed(self) -> None:
        """If the block failed as well, that is what is raised."""
        stream = self.live()
        gate: Deferred[None] = Deferred()
        running = run(self.block(WatchDeferred(self.watch, self.see), gate))
        stream.say(GONE)
        gate.errback(ZeroDivisionError())
        self.failureResultOf(running, ZeroDivisionError)

    def test_not_started(self) -> None:
        """A watch that cannot be set up."""
        stream = self.begin()
        running = run(self.block(WatchDeferred(self.watch, self.see)))
        stream.say(GONE)
        self.failureResultOf(running, Compacted)

    def test_cancelled_while_starting(self) -> None:
        """Whoever waits for it may give up."""
        stream = self.begin()
        running = run(self.block(WatchDeferred(self.watch, self.see)))
        self.cancelled(running)
        self.assertTrue(stream.is_aborted)

    def test_cancelled_block(self) -> None:
        """Whoever is in the block may give up."""
        stream = self.live()
        running = run(self.block(WatchDeferred(self.watch, self.see), Deferred()))
        self.cancelled(running)
        self.assertTrue(stream.is_aborted)

    def test_closed_client(self) -> None:
        """There is nothing to enter."""
        self.calls.close()
        self.watch = Watch(self.watch_way(), (KeySet(b"key"),), WatchOptions())
        self.failureResultOf(run(self.block(WatchDeferred(self.watch, self.see))), Closed)
