"""
What a watch makes of what its streams tell: starting, events, key sets that come and go.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.defer import CancelledError, Deferred, succeed

from test.fakes import Case, FakeStream, run
from txetcd import KeySet
from txetcd._messages import WatchCreateRequest, WatchResponse
from txetcd._watchpart import WatchOptions
from txetcd.errors import Closed, Compacted, Error, PermissionDenied, Timeout, WatchCanceled, WatchRangeEmpty
from txetcd.values import Event, Header, KeyValue
from txetcd.watch import Watch, key_sets


def created(revision: int = 10) -> WatchResponse:
    return WatchResponse(Header(revision=revision), created=True)


def put(revision: int, value: bytes = b"value", key: bytes = b"key") -> Event:
    return Event("PUT", KeyValue(key, value, mod_revision=revision))


def events(*revisions: int, header: Optional[int] = None, value: bytes = b"value") -> WatchResponse:
    """An answer with an event of each revision."""
    return WatchResponse(
        Header(revision=header or max(revisions)), events=[put(revision, value) for revision in revisions]
    )


GONE = WatchResponse(canceled=True, compact_revision=50)
"""What ends a watch for good."""


def progress(revision: int) -> WatchResponse:
    return WatchResponse(Header(revision=revision))


REFUSED = WatchResponse(Header(), created=True, canceled=True, cancel_reason="mvcc: watcher range is empty")
"""The keys are none."""


class WatchCase(Case):
    """
    A watch on fake streams.

    :ivar watch: the watch.
    """

    watch: Watch

    def begin(self, *keys: Any, **options: Any) -> FakeStream:
        """A watch; gives the first of its streams."""
        sets = key_sets("keys", list(keys) or b"key")
        self.watch = Watch(self.watch_way(), sets, WatchOptions(**options))
        return self.transport.streams[-len(sets)]

    def live(self, *keys: Any, **options: Any) -> FakeStream:
        """A watch that has started."""
        self.begin(*keys, **options)
        for stream in self.transport.live:
            stream.say(created())
        return self.transport.live[0]

    def next(self) -> Deferred[Event]:
        """Asks for the next event."""
        return run(self.watch.__anext__())

    def taken(self) -> list[int]:
        """The revisions of what can be had at once."""
        found = []
        while self.watch._buffer:
            found.append(self.successResultOf(self.next()).mod_revision)
        return found

    def assert_over(self, wanted: type[Error]) -> Error:
        """It has failed so: whoever asks, and whoever asked, learns it; no stream is left."""
        error = self.failureResultOf(self.next(), wanted).value
        self.failureResultOf(self.watch.when_stopped(), wanted)
        self.failureResultOf(self.watch.when_started(), wanted)
        self.failureResultOf(self.watch.add(b"another"), wanted)
        self.assertEqual(self.transport.live, [])
        self.assertEqual((error.call, error.endpoint), ("Watch.Watch", self.calls.endpoint))
        self.assertIn("FAILED", repr(self.watch))
        return error


FORGOTTEN = "a Deferred: yield or await it first"

BAD_KEYS: list[tuple[Any, type[Exception], str]] = [
    ("k", TypeError, "keys must be bytes, a KeySet, or a list of them, not str; encode it: 'k'.encode()"),
    (None, TypeError, "keys must be bytes, a KeySet, or a list of them, not NoneType"),
    (7, TypeError, "keys must be bytes, a KeySet, or a list of them, not int"),
    (bytearray(b"k"), TypeError, "keys must be bytes, a KeySet, or a list of them, not bytearray"),
    # a Deferred can be iterated: for ever if it has not fired, and as if it was empty if it has
    (Deferred(), TypeError, f"keys must be bytes, a KeySet, or a list of them, not {FORGOTTEN}"),
    (succeed([b"k"]), TypeError, f"keys must be bytes, a KeySet, or a list of them, not {FORGOTTEN}"),
    ([b"k", "l"], TypeError, "each of keys must be bytes or a KeySet, not str; encode it: 'l'.encode()"),
    ([None], TypeError, "each of keys must be bytes or a KeySet, not NoneType"),
    ([[b"k"]], TypeError, "each of keys must be bytes or a KeySet, not list"),
    ([Deferred()], TypeError, f"each of keys must be bytes or a KeySet, not {FORGOTTEN}"),
    (b"", ValueError, "keys must not be empty; all keys are KeySet.all()"),
    ([b""], ValueError, "each of keys must not be empty; all keys are KeySet.all()"),
    ([], ValueError, "keys must not be empty"),
    ([b"k", KeySet(b"k")], ValueError, "keys has KeySet(b'k') twice"),
]

BAD_FILTERS: list[tuple[Any, type[Exception], str]] = [
    ("NOPUT", TypeError, "filters must be a list of NOPUT, NODELETE, not str"),
    (7, TypeError, "filters must be a list of NOPUT, NODELETE, not int"),
    (Deferred(), TypeError, f"filters must be a list of NOPUT, NODELETE, not {FORGOTTEN}"),
    # taken for an empty list, this would filter nothing
    (succeed(["NOPUT"]), TypeError, f"filters must be a list of NOPUT, NODELETE, not {FORGOTTEN}"),
    (["NOPUT", "NODELETE"], ValueError, "filters: NOPUT and NODELETE leave nothing to be told"),
    (["NOGET"], ValueError, "filters must be one of NOPUT, NODELETE, not 'NOGET'"),
]


class ArgumentTests(WatchCase):
    """What is watched, as the user says it."""

    def test_keys(self) -> None:
        """One key, one set, or any series of them."""
        key, prefix = KeySet(b"k"), KeySet(b"p/", prefix=True)
        good: list[tuple[Any, tuple[KeySet, ...]]] = [
            (b"k", (key,)),
            (prefix, (prefix,)),
            ([b"k", prefix], (key, prefix)),
            ((prefix, b"k"), (prefix, key)),
            (iter([b"k"]), (key,)),
            ({b"k"}, (key,)),
        ]
        for keys, sets in good:
            self.assertEqual(key_sets("keys", keys), sets)

    def test_bad_keys(self) -> None:
        """The message names the argument, and says what is wanted."""
        for keys, wanted, message in BAD_KEYS:
            error = self.assertRaises(wanted, key_sets, "keys", keys)
            self.assertEqual((type(error), str(error)), (wanted, message))

    def test_bad_filters(self) -> None:
        """The message names the argument, and says what is wanted."""
        for filters, wanted, message in BAD_FILTERS:
            error = self.assertRaises(wanted, WatchOptions.checked, filters, None, None, None)
            self.assertEqual((type(error), str(error)), (wanted, message))

    def test_default(self) -> None:
        """``None`` is what it is without the argument, as everywhere; and not that changes are lost in silence."""
        self.assertEqual(WatchOptions.checked(None, None, None, None, None), WatchOptions())

    def test_public_names(self) -> None:
        """A user finds in a watch what is for users, and nothing else."""
        public = {name for name in dir(Watch) if not name.startswith("_")}
        wanted = {"add", "is_paused", "keys", "losses", "remove", "request_progress", "revision", "state", "stop"}
        self.assertEqual(public, wanted | {"when_started", "when_stopped"})
        self.begin()
        self.assertEqual({name for name in vars(self.watch) if not name.startswith("_")}, set())
        self.watch.stop()


class StartTests(WatchCase):
    """Until the server has set it up."""

    def test_request(self) -> None:
        """What the server is asked."""
        stream = self.begin(
            KeySet(b"a/", prefix=True),
            filters=("NODELETE",), start_revision=5, return_previous=True, progress_notify=True,
        )  # fmt: skip
        self.assertEqual(
            stream.request, WatchCreateRequest(KeySet(b"a/", prefix=True), 5, True, ("NODELETE",), True, fragment=True)
        )
        self.watch.stop()

    def test_started(self) -> None:
        """It has started when the server says so, not before."""
        stream = self.begin()
        early = self.watch.when_started()
        self.assertNoResult(early)
        stream.say(created())
        self.assertIs(self.successResultOf(early), self.watch)
        self.assertIs(self.successResultOf(self.watch.when_started()), self.watch)
        self.assertEqual(repr(self.watch), "<Watch LIVE [KeySet(b'key')] revision=10 waiting=0>")
        self.watch.stop()

    def test_several(self) -> None:
        """It has started when all of its key sets are watched."""
        self.begin(b"a", b"b")
        started = self.watch.when_started()
        self.transport.streams[0].say(created())
        self.assertNoResult(started)
        self.transport.streams[1].say(created())
        self.successResultOf(started)
        self.assertEqual(self.watch.keys, (KeySet(b"a"), KeySet(b"b")))
        self.watch.stop()

    def test_created_twice(self) -> None:
        """Once is enough."""
        self.live().say(created(), created())
        self.watch.stop()

    def test_timeout(self) -> None:
        """A server that says nothing."""
        stream = self.begin(b"a", b"b")
        started = self.watch.when_started()
        stream.say(created())
        self.clock.advance(9.9)
        self.assertNoResult(started)
        self.clock.advance(0.2)
        error = self.failureResultOf(started, Timeout).value
        self.assertIn("the watch of KeySet(b'b') was not set up within 10 seconds", str(error))
        self.assertIs(error.maybe_applied, False)
        # nor is that endpoint asked next, if there is another one
        self.assertEqual(list(self.calls.stats().endpoints.values()), [False])
        # but it goes on trying
        self.assertTrue(self.transport.streams[1].is_aborted)
        self.assertEqual(self.watch.state, "opening")
        self.transport.streams[2].say(created())
        self.successResultOf(self.watch.when_started())
        self.assertEqual(self.watch.state, "live")

    def test_cancel_waiting(self) -> None:
        """Cancelling ends the waiting, not the watch."""
        stream = self.begin()
        first, second = self.watch.when_started(), self.watch.when_started()
        self.cancelled(first)
        stream.say(created())
        self.successResultOf(second)
        self.watch.stop()

    def test_stopped_before(self) -> None:
        """Whoever waits for the start of a watch that is stopped learns that it was."""
        self.begin()
        started = self.watch.when_started()
        self.watch.stop()
        self.failureResultOf(started, Closed)
        self.failureResultOf(self.watch.when_started(), Closed)
        self.failureResultOf(self.watch.add(b"another"), Closed)

    def test_refused(self) -> None:
        """``created`` and ``canceled`` in one answer: there is no watch."""
        for reason, wanted in (
            ("rpc error: code = PermissionDenied desc = etcdserver: permission denied", PermissionDenied),
            ("mvcc: watcher range is empty", WatchRangeEmpty),
            ("something new", WatchCanceled),
            ("", WatchCanceled),
        ):
            stream = self.begin()
            started = self.watch.when_started()
            stream.say(WatchResponse(Header(revision=9), created=True, canceled=True, cancel_reason=reason))
            error = self.failureResultOf(started, wanted).value
            self.assertIn(reason or "without a reason", str(error))
            self.assert_over(wanted)
            self.assertTrue(stream.is_aborted, "etcd leaves the stream open")

    def test_one_of_several_is_refused(self) -> None:
        """Then none is watched."""
        self.begin(b"a", b"b")
        self.transport.streams[0].say(created())
        self.transport.streams[1].say(WatchResponse(created=True, canceled=True, cancel_reason="odd"))
        self.assert_over(WatchCanceled)

    def test_closed_client(self) -> None:
        """Of a client that is closed: it has ended before it began, whatever it watches."""
        self.calls.close()
        for keys in ((b"a",), (b"a", b"b")):
            self.watch = Watch(self.watch_way(), key_sets("keys", list(keys)), WatchOptions())
            self.failureResultOf(self.watch.when_started(), Closed)
            self.failureResultOf(self.next(), Closed)
            self.failureResultOf(self.watch.when_stopped(), Closed)


class EventTests(WatchCase):
    """What is handed over."""

    def test_buffered(self) -> None:
        """What comes before it is asked for, in its order."""
        stream = self.live()
        stream.say(events(11, 12), events(13))
        self.assertEqual(self.taken(), [11, 12, 13])
        self.watch.stop()

    def test_awaited(self) -> None:
        """What is asked for before it comes, in the order of asking."""
        stream = self.live()
        asked = [self.next() for _ in range(3)]
        stream.say(events(11, 12))
        self.assertEqual([self.successResultOf(one).mod_revision for one in asked[:2]], [11, 12])
        self.assertNoResult(asked[2])
        stream.say(events(13, 14))
        self.assertEqual(self.successResultOf(asked[2]).mod_revision, 13)
        self.assertEqual(self.taken(), [14])
        self.watch.stop()

    def test_cancelled_reader(self) -> None:
        """An event is not lost to somebody who has ceased to wait."""
        stream = self.live()
        self.cancelled(self.next())
        second = self.next()
        stream.say(events(11, 12))
        self.assertEqual(self.successResultOf(second).mod_revision, 11)
        self.assertEqual(self.taken(), [12])
        self.watch.stop()

    def test_for(self) -> None:
        """``async for``, until it is stopped."""
        seen = []

        async def read() -> None:
            async for event in self.watch:
                seen.append(event.mod_revision)

        stream = self.live()
        stream.say(events(11))
        reading = run(read())
        stream.say(events(12, 13))
        self.assertEqual(seen, [11, 12, 13])
        self.assertNoResult(reading)
        self.watch.stop()
        self.successResultOf(reading)

    def test_stop_in_the_loop(self) -> None:
        """Whoever stops it while he handles an event gets no other one."""
        seen = []

        async def read() -> None:
            async for event in self.watch:
                seen.append(event.mod_revision)
                self.watch.stop()

        stream = self.live()
        reading = run(read())
        stream.say(events(11, 12, 13))
        self.assertEqual(seen, [11])
        self.successResultOf(reading)

    def test_several_loops(self) -> None:
        """Whoever asks again has to wait behind those who asked before."""
        seen: list[tuple[str, int]] = []

        async def read(name: str) -> None:
            async for event in self.watch:
                seen.append((name, event.mod_revision))

        stream = self.live()
        reading = [run(read(name)) for name in "ab"]
        stream.say(events(11, 12, 13), events(14))
        self.assertEqual(seen, [("a", 11), ("b", 12), ("a", 13), ("b", 14)])
        self.watch.stop()
        for one in reading:
            self.successResultOf(one)

    def test_failure_in_the_loop(self) -> None:
        """Whoever makes it fail while he handles an event gets the others that came with it, as do those who wait."""
        seen: list[int] = []

        async def read() -> None:
            try:
                async for event in self.watch:
                    seen.append(event.mod_revision)
                    stream.say(GONE)
            finally:
                self.assertEqual(len(seen), 5, "raised while some still wait")

        stream = self.live()
        reading = [run(read()) for _ in range(3)]
        stream.say(events(11, 12, 13, 14, 15))
        self.assertEqual(sorted(seen), [11, 12, 13, 14, 15])
        for one in reading:
            self.failureResultOf(one, Compacted)
        self.assertEqual(self.watch.revision, 15)

    def test_many_at_once(self) -> None:
        """However many come at once, they do not pile up on the stack of those who wait."""
        count = 0

        async def read() -> None:
            nonlocal count
            async for _ in self.watch:
                count += 1

        stream = self.live()
        reading = [run(read()) for _ in range(3)]
        stream.say(events(*range(11, 10_011)))
        self.assertEqual(count, 10_000)
        self.watch.stop()
        for one in reading:
            self.successResultOf(one)

    def test_key_in_several_sets(self) -> None:
        """A change comes once for each set that the key is in."""
        self.live(b"key", KeySet(b"k", prefix=True))
        for stream in self.transport.live:
            stream.say(events(11))
        self.assertEqual(self.taken(), [11, 11])
        self.watch.stop()


class KeysTests(WatchCase):
    """Key sets that come and go."""

    def test_removed_and_added_again(self) -> None:
        """Whoever waits for the first watch of a key set does not wait for the second one."""
        self.begin(b"a", b"b")
        waiting = self.watch.when_started()
        self.watch.remove(b"a")
        again = self.watch.add(b"a")
        self.transport.streams[1].say(created())
        self.assertIs(self.successResultOf(waiting), self.watch)
        self.assertNoResult(again)
        self.transport.streams[2].say(created())
        self.successResultOf(again)
        self.watch.stop()

    def test_add(self) -> None:
        """More keys, with the options of the others."""
        self.live(b"a", start_revision=5, filters=("NOPUT",))
        added = self.watch.add([b"b", KeySet(b"c/", prefix=True)])
        self.assertNoResult(added)
        first, second = self.transport.streams[1:]
        wanted = WatchCreateRequest(KeySet(b"c/", prefix=True), 5, False, ("NOPUT",), fragment=True)
        self.assertEqual(second.request, wanted)
        first.say(created())
        self.assertNoResult(added)
        second.say(created(), events(17))
        self.assertIs(self.successResultOf(added), self.watch)
        self.assertEqual(self.taken(), [17])
        self.assertEqual(len(self.watch.keys), 3)
        self.watch.stop()

    def test_add_what_cannot_be(self) -> None:
        """What the server refuses is not watched, nor what was to come with it; the others go on."""
        stream = self.live(b"a")
        for answers in ([0, 1], [1, 0], [1]):
            added = self.watch.add([b"b", b"c"])
            meanwhile = self.watch.when_started()
            streams = self.transport.streams[-2:]
            for number in answers:
                streams[number].say(created() if number == 0 else REFUSED)
            self.failureResultOf(added, WatchRangeEmpty)
            self.assertIs(self.successResultOf(meanwhile), self.watch)
            self.assertEqual(self.watch.keys, (KeySet(b"a"),))
            self.assertEqual(self.transport.live, [stream])
        stream.say(events(11))
        self.assertEqual(self.taken(), [11])
        self.watch.stop()

    def test_add_what_is_refused_too_late(self) -> None:
        """When nobody waits for its start any more, the watch ends: or its keys would be forgotten in silence."""
        for leave in (lambda added: added.cancel(), lambda added: self.clock.advance(11)):
            self.live(b"a")
            added = self.watch.add(b"b")
            leave(added)
            self.failureResultOf(added, CancelledError, Timeout)
            self.transport.streams[-1].say(REFUSED)
            self.failureResultOf(self.next(), WatchRangeEmpty)
            self.assertEqual(self.transport.live, [])

    def test_remove(self) -> None:
        """No longer watched; what has arrived is still handed over."""
        stream = self.live(b"a", b"b")
        stream.say(events(11))
        self.watch.remove(b"a")
        self.assertTrue(stream.is_aborted)
        self.assertEqual(self.watch.keys, (KeySet(b"b"),))
        self.assertEqual(self.taken(), [11])
        self.watch.stop()

    def test_remove_what_has_not_started(self) -> None:
        """Nobody waits for it any more."""
        stream = self.begin(b"a", b"b")
        started = self.watch.when_started()
        stream.say(created())
        self.watch.remove(b"b")
        self.successResultOf(started)
        self.watch.stop()

    def test_remove_all(self) -> None:
        """A watch of nothing goes on, and can be added to."""
        self.live(b"a")
        self.watch.remove(b"a")
        reader = self.next()
        self.assertNoResult(reader)
        self.successResultOf(self.watch.when_started())
        self.watch.add(b"a")
        self.transport.live[0].say(created(), events(12))
        self.assertEqual(self.successResultOf(reader).mod_revision, 12)
        self.watch.stop()

    def test_misuse(self) -> None:
        """Keys that are watched already, or not at all; and what are no keys. Nothing changes then."""
        self.live(b"a", b"b")
        for call, wanted in (
            (lambda: self.watch.add(b"a"), ValueError),
            (lambda: self.watch.add([b"c", b"a"]), ValueError),
            (lambda: self.watch.add([b"c", b"c"]), ValueError),
            (lambda: self.watch.add([]), ValueError),
            (lambda: self.watch.add(b""), ValueError),
            (lambda: self.watch.add("c"), TypeError),  # type: ignore[arg-type]  # that is the test
            (lambda: self.watch.add(["c"]), TypeError),  # type: ignore[list-item]  # that is the test
            (lambda: self.watch.add(7), TypeError),  # type: ignore[arg-type]  # that is the test
            (lambda: self.watch.remove(b"c"), ValueError),
            (lambda: self.watch.remove([b"a", b"c"]), ValueError),
        ):
            self.assertRaises(wanted, call)
        self.assertEqual(len(self.transport.live), 2)
        self.watch.stop()

    def test_in_a_callback(self) -> None:
        """Keys may be added and removed while an event is handled."""
        stream = self.live(b"a", b"b")
        reader = self.next()
        reader.addCallback(lambda _: (self.watch.remove(b"a"), self.watch.add(b"c")))
        stream.say(events(11, 12))
        _, added = self.successResultOf(reader)
        self.assertEqual(self.watch.keys, (KeySet(b"b"), KeySet(b"c")))
        self.watch.stop()
        self.failureResultOf(added, Closed)

    def test_after_the_end(self) -> None:
        """What was watched can still be seen, and be watched again."""
        for end in (lambda stream: self.watch.stop(), lambda stream: stream.say(GONE)):
            end(self.live(b"a", b"b"))
            self.assertEqual(self.watch.keys, (KeySet(b"a"), KeySet(b"b")))
            self.watch.remove(b"a")
            self.assertEqual(self.watch.keys, (KeySet(b"b"),))

    def test_add_after_failure(self) -> None:
        """Adding to a watch that has failed fails in the same way, and opens nothing."""
        self.live().say(GONE)
        self.failureResultOf(self.watch.add(b"b"), Compacted)
        self.assertEqual(len(self.transport.streams), 1)
