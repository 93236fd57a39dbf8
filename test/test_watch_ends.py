"""
How a watch ends, who learns it, and what it does about a consumer that is slow.
"""

from __future__ import annotations

import gc
from typing import Any, Optional
from unittest.mock import patch

from twisted.internet.defer import CancelledError

from test.fakes import FakeStream, run
from test.test_watch import GONE, WatchCase, created, events
from txetcd import watch as watch_module
from txetcd._messages import WatchResponse
from txetcd.errors import Closed, Compacted, PermissionDenied
from txetcd.values import Event, KeyValue
from txetcd.watch import Watch


class EndTests(WatchCase):
    """How it ends."""

    def test_stop(self) -> None:
        """What has not been handed over is dropped; whoever waits goes on."""
        stream = self.live()
        reader, stopped = self.next(), self.watch.when_stopped()
        stream.say(events(11, 12, 13))
        self.successResultOf(reader)
        self.successResultOf(self.watch.stop())
        self.successResultOf(stopped)
        self.assertTrue(stream.is_aborted)
        self.failureResultOf(self.next(), StopAsyncIteration)
        self.assertIn("STOPPED", repr(self.watch))
        self.successResultOf(self.watch.stop())

    def test_stop_ends_readers(self) -> None:
        """Whoever waits for an event learns that there will be none."""
        self.live()
        readers = [self.next(), self.next()]
        self.watch.stop()
        for reader in readers:
            self.failureResultOf(reader, StopAsyncIteration)

    def test_it_cannot_go_on(self) -> None:
        """What arrived before is still handed over, then comes the reason."""
        stream = self.live()
        stopped = self.watch.when_stopped()
        stream.say(events(11, 12), GONE)
        self.failureResultOf(stopped, Compacted)
        self.assertEqual(self.taken(), [11, 12])
        self.assert_over(Compacted)

    def test_one_of_several_cannot_go_on(self) -> None:
        """Then all of them end."""
        self.live(b"a", b"b").say(GONE)
        self.assert_over(Compacted)

    def test_compacted(self) -> None:
        """It says from where it can go on."""
        stream = self.begin(start_revision=3)
        stream.say(created(100), WatchResponse(canceled=True, compact_revision=50))
        error = self.assert_over(Compacted)
        assert isinstance(error, Compacted)
        self.assertEqual(error.compact_revision, 50)
        self.assertIn("KeySet(b'key') up to 50", str(error))
        self.assertTrue(stream.is_aborted)

    def test_canceled(self) -> None:
        """The server ends it for a reason of its own."""
        stream = self.live()
        stream.say(WatchResponse(canceled=True, cancel_reason="etcdserver: mvcc: required revision has been compacted"))
        self.assert_over(Compacted)

    def test_client_closed(self) -> None:
        """It ends as if it was stopped."""
        stream = self.live()
        stopped = self.watch.when_stopped()
        stream.say(events(11, 12))
        self.successResultOf(self.next())
        self.successResultOf(self.calls.close())
        self.successResultOf(stopped)
        self.failureResultOf(self.next(), StopAsyncIteration)
        self.assertEqual(self.watch.revision, 11)

    def test_cancel_waiting(self) -> None:
        """Cancelling ends the waiting, not the watch."""
        self.live()
        first, second = self.watch.when_stopped(), self.watch.when_stopped()
        self.cancelled(first)
        self.assertNoResult(second)
        self.watch.stop()
        self.successResultOf(second)

    def cancel_others(self, wait: Any, end: Any) -> list[BaseException]:
        """Three wait; the first one to learn cancels the others, and stops the watch. What was raised by that."""
        stream = self.begin()
        first, *others = [wait(self.watch) for _ in range(3)]
        raised: list[BaseException] = []

        def cancel(_: Any) -> None:
            for other in others:
                try:
                    other.cancel()
                except Exception as error:
                    raised.append(error)
            self.watch.stop()

        first.addBoth(cancel)
        try:
            end(stream)
        except Exception as error:
            raised.append(error)
        self.watch.stop()
        gc.collect()
        raised.extend(failure.value for failure in self.flushLoggedErrors())
        for one in others:
            if not one.called:
                raised.append(AssertionError("was forgotten"))
            one.addErrback(lambda failure: failure.trap(CancelledError, Compacted, Closed, StopAsyncIteration))
        return raised

    def test_cancel_in_a_callback(self) -> None:
        """Whoever is told first may cancel the others that wait, whatever they wait for, and stop the watch."""
        waits: dict[str, Any] = {
            "when_started": Watch.when_started,
            "when_stopped": Watch.when_stopped,
            "next": lambda watch: run(watch.__anext__()),
        }
        ends: dict[str, Any] = {
            "created": lambda stream: stream.say(created(), events(11)),
            "gone": lambda stream: stream.say(created(), GONE),
            "stopped": lambda stream: self.watch.stop(),
        }
        found = {
            (waiting, ending): raised
            for waiting, wait in waits.items()
            for ending, end in ends.items()
            if (raised := self.cancel_others(wait, end))
        }
        self.assertEqual(found, {})

    def test_errors_are_not_shared(self) -> None:
        """Each who asks gets an error of his own: an exception remembers where it was raised."""
        stream = self.live()
        readers = [self.next() for _ in range(2)]
        stream.say(GONE)
        found = [self.failureResultOf(one, Compacted).value for one in (*readers, self.next())]
        self.assertEqual(len({id(error) for error in found}), 3)

    def test_context(self) -> None:
        """``async with`` waits for the start, and stops at the end, however it comes."""

        async def block(error: Optional[Exception]) -> Any:
            async with self.watch as entered:
                self.assertIs(entered, self.watch)
                if error is not None:
                    raise error

        for error in (None, ZeroDivisionError()):
            stream = self.begin()
            running = run(block(error))
            self.assertNoResult(running)
            stream.say(created())
            self.failureResultOf(running, ZeroDivisionError) if error else self.successResultOf(running)
            self.assertTrue(stream.is_aborted)

    def test_context_that_is_not_entered(self) -> None:
        """A watch that cannot be set up, or that is not waited for any more."""

        async def block() -> Any:
            async with self.watch:
                self.fail("not reached")

        stream = self.begin()
        running = run(block())
        stream.say(WatchResponse(created=True, canceled=True, cancel_reason="etcdserver: permission denied"))
        self.failureResultOf(running, PermissionDenied)

        stream = self.begin()
        running = run(block())
        self.cancelled(running)
        self.assertTrue(stream.is_aborted)


class BackpressureTests(WatchCase):
    """A consumer that is slower than the changes."""

    SIZE = 512 + 3 + 1000

    def setUp(self) -> None:
        super().setUp()
        patched = patch.object(watch_module, "BUFFER", 10 * self.SIZE)
        patched.start()
        self.addCleanup(patched.stop)

    def fill(self, stream: FakeStream, count: int, first: int = 11) -> None:
        for revision in range(first, first + count):
            stream.say(events(revision, value=b"x" * 1000))

    def test_pause_and_resume(self) -> None:
        """Above the limit the sockets are read no further, below half of it again."""
        stream = self.live(b"a", b"b")
        other = self.transport.streams[1]
        self.fill(stream, 10)
        self.assertFalse(stream.is_paused)
        self.assertFalse(self.watch.is_paused)
        self.fill(stream, 1, 21)
        self.assertTrue(stream.is_paused and self.watch.is_paused)
        # one that brings nothing is no reason to wait for it
        self.assertFalse(other.is_paused)
        self.fill(other, 1)
        self.assertTrue(other.is_paused)
        self.successResultOf(self.next())
        for _ in range(5):
            self.successResultOf(self.next())
        self.assertTrue(stream.is_paused)
        self.successResultOf(self.next())
        self.assertFalse(stream.is_paused or other.is_paused or self.watch.is_paused)
        self.fill(stream, 6, 22)
        self.assertTrue(stream.is_paused)
        self.watch.stop()

    def test_previous_counts(self) -> None:
        """The values before the change take room as well."""
        stream = self.live()
        before = KeyValue(b"key", b"x" * 10 * self.SIZE)
        stream.say(WatchResponse(events=[Event("PUT", KeyValue(b"key", b"y", mod_revision=11), before)]))
        self.assertTrue(stream.is_paused)
        self.successResultOf(self.next())
        self.assertFalse(stream.is_paused)
        self.watch.stop()

    def test_awaited_events_take_no_room(self) -> None:
        """What is handed over at once is not kept."""
        stream = self.live()
        readers = [self.next() for _ in range(20)]
        self.fill(stream, 20)
        self.assertFalse(stream.is_paused)
        for reader in readers:
            self.successResultOf(reader)
        self.watch.stop()

    def test_add_while_paused(self) -> None:
        """What is added while the consumer is behind has to wait as well, as soon as it has something to tell."""
        stream = self.live()
        self.fill(stream, 11)
        self.watch.add(b"another")
        added = self.transport.streams[1]
        added.say(created())
        self.assertFalse(added.is_paused)
        self.fill(added, 1)
        self.assertTrue(added.is_paused)
        self.taken()
        self.assertFalse(added.is_paused or stream.is_paused)
        self.watch.stop()

    def test_not_started_while_paused(self) -> None:
        """A slow consumer of one key set is no reason to give another up, whose answer is just not read."""
        first = self.begin(b"a", b"b")
        first.say(created())
        self.fill(first, 11)
        second = self.transport.streams[1]
        if not second.is_paused:
            second.say(created())
        self.clock.advance(60)
        self.assertEqual(len(self.taken()), 11)
        reader = self.next()
        self.assertNoResult(reader)
        self.watch.stop()
        self.failureResultOf(reader, StopAsyncIteration)

    def test_remove_while_paused(self) -> None:
        """The others are resumed."""
        stream = self.live(b"a", b"b")
        self.fill(stream, 11)
        self.watch.remove(b"a")
        self.assertEqual(len(self.taken()), 11)
        self.assertFalse(self.transport.streams[1].is_paused)
        self.watch.stop()

    def test_failure_while_paused(self) -> None:
        """What has arrived is still handed over."""
        stream = self.live()
        self.fill(stream, 11)
        self.assertTrue(self.watch.is_paused)
        stream.say(GONE)
        self.assertFalse(self.watch.is_paused)
        self.assertEqual(len(self.taken()), 11)
        self.assert_over(Compacted)

    def test_failure_before_it_is_paused(self) -> None:
        """Whoever makes it fail while he is handed the first of too many: there is no server to wait."""
        stream = self.live()
        self.next().addCallback(lambda _: stream.say(GONE))
        stream.say(events(*range(11, 31), value=b"x" * 1000))
        self.assertFalse(self.watch.is_paused)
        self.assertEqual(self.taken(), list(range(12, 31)))
        self.assert_over(Compacted)

    def test_stop_while_paused(self) -> None:
        """Nothing is left to be read."""
        stream = self.live()
        self.fill(stream, 11)
        self.watch.stop()
        self.assertTrue(stream.is_aborted)
        self.failureResultOf(self.next(), StopAsyncIteration)
