"""
Up to where everything was handed over: what a watch says of itself, at any moment.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Optional
from unittest.mock import patch

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from test.fakes import FakeStream, run
from test.properties import PROPERTY
from test.test_watch import GONE, WatchCase, created, events, progress, put
from txetcd import KeySet
from txetcd import watch as watch_module
from txetcd._messages import WatchResponse
from txetcd._watchpart import WatchOptions
from txetcd.errors import Closed, Compacted
from txetcd.values import Event, Header
from txetcd.watch import Watch

Step = tuple[Callable[["RevisionTests"], Any], Optional[int]]
"""What happens, and the revision that the watch tells then."""


def say(*messages: WatchResponse, to: int = 0) -> Callable[[RevisionTests], Any]:
    """The server says something on one of the streams."""
    return lambda test: test.transport.streams[to].say(*messages)


def cut(message: WatchResponse) -> WatchResponse:
    """The message as a fragment that is not the last one."""
    return attrs.evolve(message, fragment=True)


def take(*revisions: int) -> Callable[[RevisionTests], Any]:
    """The next events are asked for, and are those."""
    return lambda test: test.take(*revisions)


def lose(to: int = 0) -> Callable[[RevisionTests], Any]:
    """It cannot go on."""
    return say(GONE, to=to)


def stop(test: RevisionTests) -> None:
    """The user stops it."""
    test.watch.stop()


def close(test: RevisionTests) -> None:
    """The user closes the client."""
    test.calls.close()


def remove(*keys: bytes) -> Callable[[RevisionTests], Any]:
    """Watches them no longer."""
    return lambda test: test.watch.remove(list(keys))


def add(*keys: bytes) -> Callable[[RevisionTests], Any]:
    """Watches them as well."""
    return lambda test: test.added.append(test.watch.add(list(keys)))


def nothing(test: RevisionTests) -> None:
    """Nothing has happened yet."""


def over(wanted: type[BaseException]) -> Callable[[RevisionTests], Any]:
    """The iteration ends so."""
    return lambda test: test.failureResultOf(test.next(), wanted)


FROM_NOW: dict[str, list[Step]] = {
    "what happened before": [
        (say(created(10)), 10), (say(events(8)), 10), (say(events(9, 10)), 10), (say(events(10, 11, 12)), 10),
        (take(11, 12), 12), (say(progress(20)), 20), (say(events(21)), 20), (take(21), 21),
    ],
    "what happened before, in fragments": [
        (say(created(10)), 10), (say(cut(events(9, 10))), 10), (say(cut(events(10, 11))), 10), (say(events(11)), 10),
        (take(11), 10), (take(11), 11),
    ],
    "where it begins": [(nothing, None), (say(created(10)), 10), (say(created(20)), 10)],
    "handed over one by one": [
        (say(created(10)), 10), (say(events(11, 12)), 10), (take(11), 11), (take(12), 12), (say(events(20)), 19),
        (take(20), 20),
    ],
    "break in a transaction": [
        (say(created(10), events(11, 11, 11, 12)), 10), (take(11), 10), (take(11), 10), (stop, 10),
        (over(StopAsyncIteration), 10),
    ],
    "break behind a transaction": [
        (say(created(10), events(11, 11, 14, 14)), 10), (take(11, 11), 13), (stop, 13), (over(StopAsyncIteration), 13),
    ],
    "break in the last transaction": [
        (say(created(10), events(11, 12, 12)), 10), (take(11, 12), 11), (lose(), 11), (stop, 11),
        (over(Compacted), 11),
    ],
    "stopped before anything came": [(say(created(10)), 10), (stop, 10), (over(StopAsyncIteration), 10)],
    "stopped before it started": [(stop, None), (over(StopAsyncIteration), None)],
    "lost before it started": [(lose(), None), (over(Compacted), None)],
    "not started in time": [(lambda test: test.clock.advance(11), None), (stop, None)],
    "client closed": [
        (say(created(10), events(11, 12)), 10), (take(11), 11), (close, 11), (over(StopAsyncIteration), 11),
    ],
    "lost": [
        (say(created(10), events(11, 12)), 10), (lose(), 10), (take(11), 11), (take(12), 12), (over(Compacted), 12),
    ],
    "lost in the middle of a revision": [
        (say(created(10), cut(events(11, 12, 12))), 10), (lose(), 10), (take(11), 11), (over(Compacted), 11),
    ],
    "compacted": [
        (say(created(10), events(11)), 10), (say(WatchResponse(canceled=True, compact_revision=50)), 10),
        (take(11), 11), (over(Compacted), 11),
    ],
    "a revision in fragments": [
        (say(created(10), cut(events(11, 12))), 10), (take(11), 11), (say(cut(events(12, 12))), 11),
        (say(events(12, 13)), 11), (take(12, 12, 12), 11), (take(12), 12), (take(13), 13),
    ],
    "fragments cut between two revisions": [
        (say(created(10), cut(events(11))), 10), (say(events(12)), 10), (take(11), 11), (take(12), 12),
    ],
    "progress": [(say(created(10), progress(30)), 30), (say(progress(20)), 30), (say(events(31)), 30), (take(31), 31)],
    "progress while events wait": [
        (say(created(10), events(40)), 39), (say(progress(50)), 39), (stop, 39), (over(StopAsyncIteration), 39),
    ],
    "progress that counts later": [
        (say(created(10), events(40, 40)), 39), (say(progress(50)), 39), (take(40), 39), (take(40), 50),
    ],
    "progress between events that wait": [
        (say(created(10), events(40), progress(50), events(60), progress(70)), 39), (take(40), 59), (take(60), 70),
    ],
    "the header is ahead": [(say(created(10), events(11, header=90)), 10), (take(11), 11), (lose(), 11)],
    "removed with events that wait": [
        (say(created(10), events(11, 12)), 10), (remove(b"key"), 10), (take(11), 11), (take(12), 12), (stop, 12),
    ],
    "removed and stopped with events that wait": [
        (say(created(10), events(11, 12)), 10), (take(11), 11), (remove(b"key"), 11), (stop, 11),
    ],
    "removed and closed with events that wait": [
        (say(created(10), events(11)), 10), (remove(b"key"), 10), (close, 10), (over(StopAsyncIteration), 10),
    ],
    "removed before it started": [(remove(b"key"), None), (stop, None)],
    "another one instead": [
        (say(created(10), events(11)), 10), (remove(b"key"), 10), (add(b"a"), 10), (take(11), 11),
        (say(created(20), to=1), 20), (say(events(25), to=1), 24), (take(25), 25),
    ],
}  # fmt: skip
"""One key set, from now on."""

FROM_A_REVISION: dict[str, list[Step]] = {
    "known from the beginning": [(nothing, 29), (lose(), 29), (over(Compacted), 29)],
    "in the past": [
        (say(created(100)), 29), (say(events(30, 35, header=100)), 29), (take(30), 34), (take(35), 35),
        (say(progress(100)), 100),
    ],
    "in the future": [
        (say(created(10)), 29), (say(progress(20)), 29), (say(progress(40)), 40), (say(events(50)), 49), (take(50), 50),
    ],
    "started once more": [(say(created(100), created(200)), 29)],
    "more keys begin where the first did": [
        (say(created(100), events(30, 40)), 29), (take(30, 40), 40), (add(b"a"), 29), (say(created(100), to=1), 29),
        (say(events(60), to=1), 40), (say(progress(70)), 59), (take(60), 60), (lose(), 60),
    ],
}  # fmt: skip
"""One key set, from revision 30 on."""

SEVERAL: dict[str, list[Step]] = {
    "those that have started count": [
        (nothing, None), (say(created(12), to=1), 12), (say(created(10)), 10), (say(progress(20)), 12),
        (say(progress(30), to=1), 20),
    ],
    "the one that is behind counts": [
        (say(created(10)), 10), (say(created(10), to=1), 10), (say(events(11, 12)), 10), (say(events(13), to=1), 10),
        (take(11, 12), 12), (take(13), 12), (say(progress(20)), 13),
    ],
    "the buffer is one": [
        (say(created(10)), 10), (say(created(10), to=1), 10), (say(events(15)), 10), (say(events(12), to=1), 11),
        (say(progress(20)), 11), (say(progress(20), to=1), 11), (take(15), 11), (stop, 11),
    ],
    "one is lost": [
        (say(created(10)), 10), (say(created(10), to=1), 10), (say(events(15)), 10), (say(events(12), to=1), 11),
        (lose(1), 11), (take(15), 11), (take(12), 12), (over(Compacted), 12),
    ],
    "the one behind is removed": [
        (say(created(10)), 10), (say(created(12), to=1), 10), (say(progress(30), to=1), 10), (remove(b"a"), 30),
        (stop, 30),
    ],
    "the one behind is removed with events that wait": [
        (say(created(10)), 10), (say(created(12), to=1), 10), (say(progress(30), to=1), 10), (say(events(20, 21)), 19),
        (remove(b"a"), 19), (take(20), 20), (take(21), 30), (stop, 30),
    ],
    "the one ahead is removed with events that wait": [
        (say(created(10)), 10), (say(created(12), to=1), 10), (say(events(20)), 12), (remove(b"a"), 12),
        (say(progress(30), to=1), 19), (take(20), 30), (stop, 30),
    ],
    "both are removed": [
        (say(created(10)), 10), (say(created(12), to=1), 10), (remove(b"a", b"b"), 10), (stop, 10),
    ],
    "both are removed, one after the other": [
        (say(created(10), progress(11)), 11), (say(created(12), events(20), to=1), 11), (remove(b"b"), 11),
        (remove(b"a"), 11), (take(20), 11), (stop, 11),
    ],
    "both are removed with events that wait, one after the other": [
        (say(created(10)), 10), (say(created(10), to=1), 10), (say(events(15), to=1), 10), (say(events(12)), 11),
        (remove(b"a"), 11), (remove(b"b"), 11), (take(15), 11), (take(12), 12), (stop, 12),
    ],
    "one that is added does not count before it has started": [
        (say(created(10)), 10), (say(created(10), to=1), 10), (add(b"c"), 10), (say(progress(20)), 10),
        (say(progress(20), to=1), 20), (say(created(18), to=2), 18), (say(progress(22), to=2), 20),
    ],
    "one that is added never starts": [
        (say(created(10)), 10), (say(created(10), to=1), 10), (add(b"c"), 10), (lose(2), 10), (say(progress(20)), 10),
        (say(progress(20), to=1), 20),
    ],
    "removed and added again": [
        (say(created(10)), 10), (say(created(10), events(15), to=1), 10), (remove(b"b"), 10), (add(b"b"), 10),
        (say(progress(30)), 14), (say(created(25), to=2), 14), (take(15), 25), (stop, 25),
    ],
}  # fmt: skip
"""Two key sets, from now on."""


class RevisionTests(WatchCase):
    """
    Step by step.

    :ivar added: what the user waits for.
    """

    def take(self, *revisions: int) -> None:
        """Asks for the next events."""
        taken = [self.successResultOf(self.next()).mod_revision for _ in revisions]
        self.assertEqual(taken, list(revisions))

    def play(self, table: dict[str, list[Step]], *keys: bytes, **options: Any) -> None:
        """Plays what is in a table; after each step the watch tells what it shall."""
        for name, steps in table.items():
            self.setUp()
            self.added: list[Deferred[Any]] = []
            self.begin(*keys, **options)
            for number, (step, wanted) in enumerate(steps):
                step(self)
                self.assertEqual(self.watch.revision, wanted, f"{name}, step {number}")
                self.assertIn(f" revision={wanted} ", repr(self.watch))
            self.watch.stop()
            for added in self.added:
                added.addErrback(lambda failure: failure.trap(Compacted, Closed))
            self.assertEqual(self.clock.getDelayedCalls(), [], name)

    def test_from_now(self) -> None:
        """One key set, from now on."""
        self.play(FROM_NOW)

    def test_from_a_revision(self) -> None:
        """One key set, from the past or the future on."""
        self.play(FROM_A_REVISION, start_revision=30)

    def test_from_the_first_revision(self) -> None:
        """The smallest start there is: that nothing was handed over is known then."""
        self.begin(start_revision=1).say(created(100), events(2, header=100))
        self.assertEqual(self.watch.revision, 1)
        self.take(2)
        self.assertEqual(self.watch.revision, 2)
        self.watch.stop()

    def test_several(self) -> None:
        """Two key sets."""
        self.play(SEVERAL, b"a", b"b")

    def test_closed_client(self) -> None:
        """Nothing is known of a watch that was never asked for."""
        self.calls.close()
        self.watch = Watch(self.watch_way(), (KeySet(b"key"),), WatchOptions())
        self.assertIsNone(self.watch.revision)

    def test_mistake_is_loud(self) -> None:
        """Whoever goes on from a watch that had never started is told so, and does not get the whole past."""
        self.begin().say(GONE)
        self.assertRaises(TypeError, lambda: self.watch.revision + 1)  # type: ignore[operator]  # that is the test
        self.failureResultOf(self.next(), Compacted)

    def test_several_readers(self) -> None:
        """What those who waited were given counts, whoever they are, and what nobody wanted any more does not."""
        stream = self.live()
        readers = [self.next() for _ in range(3)]
        self.cancelled(readers.pop(1))
        stream.say(events(11))
        self.assertEqual(self.watch.revision, 11)
        stream.say(events(12, 12, 13))
        self.assertEqual(self.watch.revision, 11)
        self.assertEqual([self.successResultOf(one).mod_revision for one in readers], [11, 12])
        self.take(12)
        self.assertEqual(self.watch.revision, 12)
        self.watch.stop()
        self.assertEqual(self.watch.revision, 12)

    def test_seen_by_a_reader(self) -> None:
        """Whoever is handed an event finds it counted, and those behind it not."""
        seen: list[tuple[int, Optional[int]]] = []

        async def read() -> None:
            async for event in self.watch:
                seen.append((event.mod_revision, self.watch.revision))

        stream = self.live()
        reading = run(read())
        stream.say(events(11, 12, 12), cut(events(13, 14)), events(14), progress(20))
        self.assertEqual(seen, [(11, 11), (12, 11), (12, 12), (13, 13), (14, 13), (14, 14)])
        self.assertEqual(self.watch.revision, 20)
        self.watch.stop()
        self.successResultOf(reading)

    def test_stopped_by_a_reader(self) -> None:
        """Whoever stops it in the middle of what came at once can go on where he was."""
        for ending in (lambda: self.watch.stop(), lambda: self.watch.remove(b"key"), lambda: self.calls.close()):
            self.setUp()
            stream = self.live()
            first, *others = [self.next() for _ in range(2)]
            found: list[Optional[int]] = []

            def end(event: Event, ending: Any = ending, found: Any = found) -> None:
                ending()
                found.append(self.watch.revision)

            first.addCallback(end)
            stream.say(events(11, 12, 12))
            self.assertEqual(found, [11])
            self.assertEqual(self.watch.revision, 11)
            others[0].addErrback(lambda failure: failure.trap(StopAsyncIteration))
            self.watch.stop()
            self.successResultOf(others[0])


class FullBufferTests(WatchCase):
    """When much waits."""

    COUNT = watch_module.BUFFER // 512
    """Some more than have room."""

    def full(self) -> FakeStream:
        """A watch whose buffer is full."""
        stream = self.live()
        stream.say(events(*range(11, 11 + self.COUNT)))
        self.assertTrue(self.watch.is_paused)
        return stream

    def test_stop(self) -> None:
        """What is dropped does not count."""
        self.full()
        for revision in range(11, 21):
            self.assertEqual(self.successResultOf(self.next()).mod_revision, revision)
        self.watch.stop()
        self.assertEqual(self.watch.revision, 20)

    def test_failure(self) -> None:
        """What has arrived is handed over, and counts as it is."""
        self.full().say(GONE)
        self.assertEqual(self.watch.revision, 10)
        for revision in range(11, 11 + self.COUNT):
            self.successResultOf(self.next())
            self.assertEqual(self.watch.revision, revision)
        self.assert_over(Compacted)
        self.assertEqual(self.watch.revision, 10 + self.COUNT)

    def test_failure_and_stop(self) -> None:
        """Whoever leaves before he has seen all that had arrived goes on where he left."""
        self.full().say(GONE)
        self.successResultOf(self.next())
        self.watch.stop()
        self.assertEqual(self.watch.revision, 11)

    def test_pause_and_resume(self) -> None:
        """Whether the server is made to wait makes no difference."""
        stream = self.live()
        with patch.object(watch_module, "BUFFER", 2 * 512):
            stream.say(cut(events(11, 12, 13, 14, 14)))
            self.assertTrue(stream.is_paused)
            # what was under way
            stream.say(events(14), progress(20))
            self.assertEqual(self.watch.revision, 10)
            for wanted in (11, 12, 13, 13, 13, 20):
                self.successResultOf(self.next())
                self.assertEqual(self.watch.revision, wanted)
            self.assertFalse(stream.is_paused)
        self.watch.stop()

    def test_costs_nothing(self) -> None:
        """The buffer is not looked through."""

        class Unseen(deque[Any]):
            def __iter__(self) -> Any:
                raise AssertionError("looked through")

        stream = self.begin()
        self.watch._buffer = Unseen()
        for part in self.watch._parts.values():
            part._waiting = Unseen()
        stream.say(created(), events(*range(11, 11 + self.COUNT)))
        for revision in range(11, 11 + self.COUNT):
            self.successResultOf(self.next())
            self.assertEqual(self.watch.revision, revision)
        self.watch.stop()


BEGIN = 10
"""The revision at which the watch of a history begins."""

counts = st.integers(0, 3)
histories = st.lists(st.tuples(counts, counts), min_size=1, max_size=6)
actions = st.lists(st.tuples(st.sampled_from(["tell", "tell", "progress", "take", "take", "remove"]), counts, counts))
ends = st.sampled_from(["stop", "lose", "close", "go on"])


class Teller:
    """
    What the server has to tell of one key set, in any messages that etcd may make of it.

    :ivar changes: the revision of each change.
    :ivar told: how many of them were told.
    :ivar is_watched: whether it still tells.
    """

    def __init__(self, key: bytes, stream: FakeStream, history: list[int]) -> None:
        self._key = key
        self._stream = stream
        self._is_cut = False
        self.changes = [BEGIN + 1 + at for at, count in enumerate(history) for _ in range(count)]
        self.told = 0
        self.is_watched = True
        stream.say(created(BEGIN))

    def tell(self, count: int, is_cut: bool) -> None:
        """The next changes, in a message that may be a fragment; it must be, if a revision is not complete."""
        changes = self.changes[self.told : self.told + count]
        if changes:
            self.told += len(changes)
            following = self.changes[self.told : self.told + 1]
            self._is_cut = bool(following) and (is_cut or following[0] == changes[-1])
            message = WatchResponse(Header(revision=99), events=[put(change, key=self._key) for change in changes])
            self._stream.say(cut(message) if self._is_cut else message)

    @property
    def complete(self) -> int:
        """How many changes belong to revisions that were told as a whole, for all that is known by then."""
        return self.changes.index(self.changes[self.told - 1]) if self._is_cut else self.told

    def progress(self, ahead: int) -> None:
        """The revision up to which all was told; not between fragments."""
        if not self._is_cut:
            following = self.changes[self.told : self.told + 1]
            self._stream.say(progress(following[0] - 1 if following else BEGIN + 20 + ahead))


class HistoryTests(WatchCase):
    """Whatever happened, and however it is told: what is said to have been handed over was."""

    @PROPERTY
    @given(histories, actions, ends)
    def test_any(self, history: list[tuple[int, int]], script: list[tuple[str, int, int]], end: str) -> None:
        """Two key sets, read by somebody who stops anywhere."""
        self.setUp()
        self.begin(b"a", b"b")
        self.tellers = {
            key: Teller(key, stream, [counts[at] for counts in history])
            for at, (key, stream) in enumerate(zip((b"a", b"b"), self.transport.streams))
        }
        self.seen: dict[bytes, list[int]] = {b"a": [], b"b": []}
        for what, which, count in script:
            self.act(what, b"ab"[which % 2 :][:1], count)
            self.check()
        self.finish(end)

    def act(self, what: str, key: bytes, count: int) -> None:
        """A step of the script."""
        teller = self.tellers[key]
        if what == "tell":
            teller.tell(count, bool(count % 2))
        elif what == "progress":
            teller.progress(count)
        elif what == "take":
            self.read(count)
        elif what == "remove" and count == 3 and teller.is_watched:
            self.watch.remove(key)
            teller.is_watched = False
            del teller.changes[teller.complete :]

    def read(self, count: int) -> None:
        """Asks for so many events, if there are."""
        while count and self.watch._buffer:
            event = self.successResultOf(self.next())
            self.seen[event.key].append(event.mod_revision)
            self.check()
            count -= 1

    def check(self) -> None:
        """Everything up to the revision was handed over, once and in its order."""
        revision = self.watch.revision
        assert revision is not None
        for key, teller in self.tellers.items():
            self.assertEqual(self.seen[key], teller.changes[: len(self.seen[key])])
            due = [change for change in teller.changes if change <= revision]
            self.assertEqual(due, self.seen[key][: len(due)])

    def finish(self, end: str) -> None:
        """It ends anyhow, and whoever begins again behind the revision misses nothing."""
        if end == "go on":
            for teller in self.tellers.values():
                while teller.is_watched and teller.told < len(teller.changes):
                    teller.tell(3, False)
                teller.progress(0)
            self.read(-1)
            if any(teller.is_watched for teller in self.tellers.values()):
                self.assertGreaterEqual(self.watch.revision or 0, BEGIN + 20)
        elif end == "lose" and self.transport.live:
            self.transport.live[0].say(GONE)
            self.read(-1)
            self.failureResultOf(self.next(), Compacted)
        elif end == "close":
            self.calls.close()
        self.watch.stop()
        self.check()
