"""
Watches that share streams, where more can be asked on one.
"""

from __future__ import annotations

from typing import Any, Optional
from unittest.mock import patch

from test.fakes import FakeStream, fake_way
from test.test_watch import WatchCase, put
from txetcd import KeySet, _watchstreams
from txetcd import watch as watch_module
from txetcd._calls import Calls
from txetcd._credentials import authenticator
from txetcd._messages import (
    AuthenticateResponse,
    WatchCancelRequest,
    WatchCreateRequest,
    WatchProgressRequest,
    WatchResponse,
)
from txetcd._schema import AUTHENTICATE, RANGE, STATUS
from txetcd._tokens import Tokens
from txetcd._watchpart import WatchOptions
from txetcd.errors import Closed, PermissionDenied, Timeout, Unavailable, Unimplemented, WatchRangeEmpty
from txetcd.values import Header, Range, Status
from txetcd.watch import Watch, key_sets


def created(watch_id: int, revision: int = 10) -> WatchResponse:
    return WatchResponse(Header(revision=revision), watch_id, created=True)


def refused(reason: str, watch_id: int = -1) -> WatchResponse:
    return WatchResponse(Header(revision=10), watch_id, created=True, canceled=True, cancel_reason=reason)


def canceled(watch_id: int, compact_revision: int = 0) -> WatchResponse:
    return WatchResponse(Header(revision=10), watch_id, canceled=True, compact_revision=compact_revision)


def events(watch_id: int, *revisions: int, value: bytes = b"value") -> WatchResponse:
    told = [put(revision, value) for revision in revisions]
    return WatchResponse(Header(revision=max(revisions)), watch_id, events=told)


class SharedCase(WatchCase):
    """Watches of one client."""

    def setUp(self) -> None:
        super().setUp()
        self.transport.is_duplex = True
        self.way = self.watch_way()
        self.watches: list[Watch] = []

    def tearDown(self) -> None:
        for watch in self.watches:
            watch.stop()
        self.watches.clear()
        super().tearDown()

    def watching(self, *keys: Any, **options: Any) -> Watch:
        watch = Watch(self.way, key_sets("keys", list(keys) or b"key"), WatchOptions(**options))
        self.watches.append(watch)
        return watch

    def several(self, count: int) -> FakeStream:
        """So many watches that are live, on one stream; their numbers count from 0."""
        for _ in range(count):
            self.watching()
        (stream,) = self.transport.live
        stream.say(*map(created, range(count)))
        return stream

    def taken_of(self, watch: Watch) -> list[int]:
        self.watch = watch
        return self.taken()

    def asked(self, stream: Optional[FakeStream] = None) -> list[Any]:
        """What was asked on a stream."""
        stream = stream or self.transport.streams[0]
        return [stream.request, *stream.sent]


class SharedTests(SharedCase):
    """One stream for all."""

    def test_one_stream(self) -> None:
        """Each is asked for at once, without waiting for the answers to the others."""
        self.watching(b"a", b"b")
        self.watching(b"c", start_revision=7)
        self.assertEqual(len(self.transport.streams), 1)
        self.assertEqual(
            self.asked(),
            [
                WatchCreateRequest(KeySet(b"a"), fragment=True),
                WatchCreateRequest(KeySet(b"b"), fragment=True),
                WatchCreateRequest(KeySet(b"c"), 7, fragment=True),
            ],
        )

    def test_each_its_own(self) -> None:
        """Whatever numbers the server gives."""
        first, second = self.watching(), self.watching()
        (stream,) = self.transport.live
        stream.say(created(17), created(0), events(0, 11), events(17, 12), events(0, 13))
        self.assertEqual((self.taken_of(first), self.taken_of(second)), ([12], [11, 13]))

    def test_progress_of_one(self) -> None:
        self.several(2).say(WatchResponse(Header(revision=20), 1))
        self.assertEqual([watch.revision for watch in self.watches], [10, 20])

    def test_progress_of_all(self) -> None:
        self.several(2).say(WatchResponse(Header(revision=20), -1))
        self.assertEqual([watch.revision for watch in self.watches], [20, 20])

    def test_failed_start_is_not_that_of_another(self) -> None:
        first, second, third = (self.watching() for _ in range(3))
        (stream,) = self.transport.live
        stream.say(created(0), refused("mvcc: watcher range is empty"), created(1), events(0, 11))
        self.failureResultOf(second.when_stopped(), WatchRangeEmpty)
        self.assertEqual((first.state, third.state), ("live", "live"))
        self.assertEqual(self.taken_of(first), [11])

    def test_failed_start_with_the_number_of_another(self) -> None:
        """
        Up to 3.4.21 and 3.5.5 the server tells nothing of that one from then on: it is asked for again, from where it
        is.
        """
        first, second, third = (self.watching() for _ in range(3))
        (stream,) = self.transport.live
        stream.say(created(0), events(0, 15), refused("mvcc: watcher range is empty", 0), created(1), events(1, 16))
        self.failureResultOf(second.when_stopped(), WatchRangeEmpty)
        self.assertEqual((first.state, first.losses, third.state), ("waiting", 1, "live"))
        self.assertIn(WatchCancelRequest(0), stream.sent)
        self.clock.advance(0)
        self.assertEqual(stream.sent[-1], WatchCreateRequest(KeySet(b"key"), 16, fragment=True))
        stream.say(created(2, 16), events(2, 17))
        self.assertEqual((self.taken_of(first), self.taken_of(third)), ([15, 17], [16]))

    def test_compacted(self) -> None:
        """The others go on."""
        stream = self.several(2)
        stream.say(canceled(0, 7), events(1, 11))
        self.assertEqual(self.watches[0].state, "stopped")
        self.assertEqual(self.taken_of(self.watches[1]), [11])
        self.assertEqual(stream.sent, [WatchCreateRequest(KeySet(b"key"), fragment=True)])

    def test_lost(self) -> None:
        """All are asked for again, on one stream, each from where it is."""
        stream = self.several(3)
        stream.say(events(1, 15))
        stream.end(Unavailable(None, "lost"))
        self.clock.advance(0)
        (again,) = self.transport.live
        self.assertEqual([request.start_revision for request in self.asked(again)], [11, 16, 11])

    def test_lost_before_the_answer(self) -> None:
        self.watching()
        self.watching()
        self.transport.live[0].end()
        self.clock.advance(0.1)
        (again,) = self.transport.live
        self.assertEqual(len(self.asked(again)), 2)

    def test_sharded(self) -> None:
        """So many share a stream, and no more."""
        with patch.object(_watchstreams, "SHARE", 3):
            for _ in range(7):
                self.watching()
            self.assertEqual([len(self.asked(stream)) for stream in self.transport.live], [3, 3, 1])
            # what becomes free is taken
            self.transport.live[0].say(created(0), created(1), created(2))
            self.watches[0].stop()
            self.watching()
            self.assertEqual([len(self.asked(stream)) for stream in self.transport.live], [5, 3, 1])

    def test_endpoint_that_is_none_any_more(self) -> None:
        """It keeps what it has, and gets nothing new."""
        self.several(1)
        self.calls._way.endpoints.replace(["http://another.example:2379"])
        self.watching()
        first, second = self.transport.live
        self.assertEqual(second.endpoint, "http://another.example:2379")


class LeavingTests(SharedCase):
    """Watches that are not wanted any more."""

    def test_stopped(self) -> None:
        """The server is told; what still comes of it is not."""
        stream = self.several(2)
        self.watches[0].stop()
        self.assertEqual(stream.sent[-1], WatchCancelRequest(0))
        stream.say(events(0, 11), canceled(0), events(1, 11))
        self.assertEqual(self.taken_of(self.watches[1]), [11])
        self.assertFalse(stream.is_aborted)

    def test_last_one(self) -> None:
        """The stream ends with it, and the next watch gets another."""
        stream = self.several(2)
        self.watches[0].stop()
        self.watches[1].stop()
        self.assertTrue(stream.is_aborted)
        self.watching()
        self.assertEqual(len(self.transport.live), 1)

    def test_before_the_answer(self) -> None:
        """The server is told as soon as it has said what the number is."""
        first, second = self.watching(), self.watching()
        (stream,) = self.transport.live
        first.stop()
        self.assertEqual(stream.sent[1:], [])
        stream.say(created(0))
        self.assertEqual(stream.sent[1:], [WatchCancelRequest(0)])
        stream.say(created(1), events(0, 11), events(1, 12), canceled(0))
        self.assertEqual(self.taken_of(second), [12])

    def test_all_before_the_answer(self) -> None:
        first, second = self.watching(), self.watching()
        (stream,) = self.transport.live
        first.stop()
        self.assertFalse(stream.is_aborted)
        second.stop()
        self.assertTrue(stream.is_aborted)

    def test_refused_when_nobody_wants_it(self) -> None:
        first, second = self.watching(), self.watching()
        (stream,) = self.transport.live
        first.stop()
        stream.say(refused("mvcc: watcher range is empty"), created(0), events(0, 11))
        self.assertEqual(self.taken_of(second), [11])

    def test_refused_last_one(self) -> None:
        self.watching()
        (stream,) = self.transport.live
        stream.say(refused("mvcc: watcher range is empty"))
        self.assertTrue(stream.is_aborted)

    def test_all_ended_by_the_server(self) -> None:
        stream = self.several(1)
        stream.say(canceled(0, 7))
        self.assertTrue(stream.is_aborted)

    def test_removed(self) -> None:
        """Of a watch of several key sets."""
        watch = self.watching(b"a", b"b")
        (stream,) = self.transport.live
        stream.say(created(0), created(1))
        watch.remove(b"a")
        self.assertEqual(stream.sent[-1], WatchCancelRequest(0))
        watch.add(b"c").addErrback(lambda failure: failure.trap(Closed))
        self.assertEqual(stream.sent[-1], WatchCreateRequest(KeySet(b"c"), fragment=True))
        self.assertEqual(len(self.transport.streams), 1)

    def test_stopped_by_what_is_told(self) -> None:
        """One that is told of progress, or of the loss, stops the others."""
        for happens in (lambda stream: stream.end(Unavailable(None, "lost")), lambda stream: stream.say(events(0, 11))):
            stream = self.several(3)
            first, *others = self.watches
            stopping = [watch.stop for watch in others]
            self.watch = first
            self.next().addBoth(lambda _, stopping=stopping: [stop() for stop in stopping])
            happens(stream)
            for watch in self.watches:
                watch.stop()
            self.assertEqual(self.transport.live, [])
            self.clock.advance(1)
            self.assertEqual(self.transport.live, [])
            self.watches.clear()


class MisbehaviourTests(SharedCase):
    """A server that says what no etcd says: it is left, and the watches go on elsewhere."""

    def assert_left(self, what: str) -> None:
        self.assertEqual(list(self.calls.stats().endpoints.values()), [False])
        self.assertIn(what, str(self.calls.stats().reasons))
        self.assertTrue(self.transport.streams[0].is_aborted)
        self.clock.advance(0.1)
        self.assertEqual(len(self.transport.live), 1)

    def test_unasked(self) -> None:
        self.several(1).say(created(1))
        self.assert_left("a watch was set up that nobody has asked for")

    def test_number_of_another(self) -> None:
        self.watching()
        self.watching()
        self.transport.live[0].say(created(0), created(0))
        self.assert_left("two watches have the number 0")
        self.assertEqual(len(self.asked(self.transport.live[0])), 2)

    def test_silent(self) -> None:
        """Those that it has set up stay; the others are asked for elsewhere."""
        self.several(1)
        self.watching()
        first = self.transport.streams[0]
        self.clock.advance(10)
        self.assertEqual(list(self.calls.stats().endpoints.values()), [False])
        self.assertFalse(first.is_aborted)
        self.clock.advance(1)
        self.assertEqual([len(self.asked(stream)) for stream in self.transport.live], [2, 1])
        # it was answered too late: nobody wants that any more
        first.say(created(1))
        self.assertEqual(first.sent[-1], WatchCancelRequest(1))


class TokenTests(SharedCase):
    """The token belongs to a stream."""

    def setUp(self) -> None:
        super().setUp()
        login = authenticator(fake_way(self.clock, self.transport), ("anna", "pa55word"), 10.0)
        tokens = Tokens(self.clock, login)
        tokens.fetch(1.0)
        self.transport.next(AUTHENTICATE).reply(AuthenticateResponse(Header(revision=10), "token"))
        self.calls = Calls(fake_way(self.clock, self.transport, tokens=tokens))
        self.way = self.watch_way()

    def test_refused(self) -> None:
        """What was set up stays; what is asked for again is on another stream, with another token."""
        first = self.several(1)
        self.watching()
        first.say(refused("etcdserver: invalid auth token"))
        self.assertEqual(self.transport.next(RANGE).request.limit, 1)
        self.transport.next(RANGE).reply(Range([], Header(revision=10), 0))
        self.assertEqual(len(self.transport.live), 2)
        self.transport.live[1].say(created(0))
        self.assertEqual([watch.state for watch in self.watches], ["live", "live"])
        self.watching()
        self.assertEqual([len(self.asked(stream)) for stream in self.transport.live], [2, 2])

    def test_refused_for_good(self) -> None:
        """Also if it was the token, at first: with another one it is not permitted."""
        self.several(1)
        for reason in ("permission denied", "invalid auth token"):
            watch = self.watching()
            self.transport.live[-1].say(refused(f"etcdserver: {reason}"))
            self.transport.next(RANGE).reply(PermissionDenied(7, "etcdserver: permission denied"))
            error = self.failureResultOf(watch.when_stopped(), PermissionDenied).value
            self.assertEqual((error.call, error.endpoint), ("Watch.Watch", self.calls.endpoint))
        self.assertEqual(self.watches[0].state, "live")


class SlowTests(SharedCase):
    """A consumer that is slow: the others do not wait for it."""

    def setUp(self) -> None:
        super().setUp()
        patched = patch.object(watch_module, "BUFFER", 10 * 1024)
        patched.start()
        self.addCleanup(patched.stop)

    def test_own_stream(self) -> None:
        """It gets one of its own, which can be made to wait; from where it is."""
        shared = self.several(2)
        slow, other = self.watches
        shared.say(events(0, *range(11, 41)))
        self.assertTrue(slow.is_paused)
        self.assertFalse(shared.is_paused)
        self.assertEqual(shared.sent[-1], WatchCancelRequest(0))
        own = self.transport.live[1]
        self.assertEqual(own.request.start_revision, 41)
        # not before the answer to the request is read
        self.assertFalse(own.is_paused)
        own.say(created(0, 50))
        self.assertTrue(own.is_paused)
        shared.say(events(1, 41), events(0, 41))
        self.assertEqual(self.taken_of(other), [41])
        self.assertEqual(slow.losses, 0)
        own.say(events(0, 41))
        self.assertEqual(self.taken_of(slow), [*range(11, 42)])
        self.assertFalse(own.is_paused)

    def test_stays_there(self) -> None:
        """It may be slow again."""
        self.several(2).say(events(0, *range(11, 41)))
        own = self.transport.live[1]
        own.say(created(0, 50))
        own.end(Unavailable(None, "lost"))
        self.clock.advance(0)
        again = self.transport.live[1]
        again.say(created(0, 50))
        self.assertTrue(again.is_paused)
        self.assertEqual(len(self.asked(again)), 1)

    def test_last_of_its_stream(self) -> None:
        """The shared one ends, as nobody is left on it."""
        shared = self.several(1)
        shared.say(events(0, *range(11, 41)))
        self.assertTrue(shared.is_aborted)
        self.assertEqual(len(self.transport.live), 1)
        self.transport.live[0].say(created(0, 50), events(0, 41))
        self.assertEqual(self.taken_of(self.watches[0]), [*range(11, 42)])

    def test_stopped_meanwhile(self) -> None:
        self.several(1).say(events(0, *range(11, 41)))
        self.watches[0].stop()
        self.assertEqual(self.transport.live, [])


class ProgressTests(SharedCase):
    """How far a watch is, on request."""

    def request(self, watch: Watch, version: str = "3.7.3", timeout: Any = None, now: int = 20) -> Any:
        """Asks, of a server of this version, in a cluster at that revision."""
        asked = watch.request_progress(timeout)
        call = self.transport.next(RANGE)
        self.assertFalse(call.request.serializable)
        call.reply(Range([], Header(revision=now), 0))
        if now > 10:
            self.transport.next(STATUS).reply(Status(version, 0, 1, Header(revision=10), 1, 1))
        return asked

    def progress(self, revision: int) -> WatchResponse:
        return WatchResponse(Header(revision=revision), -1)

    def test_told(self) -> None:
        stream = self.several(2)
        first, second = self.watches
        asked = self.request(first)
        self.assertEqual(stream.sent[-1], WatchProgressRequest())
        stream.say(self.progress(21))
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(asked), 21)
        # it is told of all that share the stream
        self.assertEqual((first.revision, second.revision), (21, 21))

    def test_nothing_has_happened(self) -> None:
        """As is known without asking the server of the watch."""
        stream = self.several(1)
        self.assertEqual(self.successResultOf(self.request(self.watches[0], now=10)), 10)
        self.assertEqual(stream.sent, [])

    def test_events_count(self) -> None:
        stream = self.several(1)
        asked = self.request(self.watches[0])
        stream.say(events(0, 19), events(0, 20))
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(asked), 20)
        self.assertEqual(self.watches[0].revision, 18)

    def test_member_is_behind(self) -> None:
        """What it tells is not enough."""
        stream = self.several(1)
        asked = self.request(self.watches[0])
        stream.say(self.progress(15))
        self.clock.advance(0.1)
        self.assertNoResult(asked)
        stream.say(self.progress(20))
        self.clock.advance(0.1)
        self.successResultOf(asked)

    def test_several_key_sets(self) -> None:
        """Each is told."""
        with patch.object(_watchstreams, "SHARE", 1):
            watch = self.watching(b"a", b"b")
        for stream in self.transport.live:
            stream.say(created(0))
        asked = self.request(watch)
        first, second = self.transport.live
        first.say(self.progress(20))
        self.clock.advance(0.1)
        self.assertNoResult(asked)
        second.say(self.progress(30))
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(asked), 20)

    def test_again(self) -> None:
        """A server does not answer as long as a watch has not been told everything; nor one that is just away."""
        stream = self.several(1)
        asked = self.request(self.watches[0])
        self.clock.pump([0.1] * 3)
        self.assertEqual(stream.sent, [WatchProgressRequest()] * 4)
        stream.end(Unavailable(None, "lost"))
        self.clock.pump([0.1] * 3)
        (again,) = self.transport.live
        again.say(created(0))
        self.clock.advance(0.1)
        again.say(self.progress(20))
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(asked), 20)

    def test_in_vain(self) -> None:
        self.several(1)
        asked = self.request(self.watches[0], timeout=1.0)
        self.clock.pump([0.1] * 12)
        error = self.failureResultOf(asked, Timeout).value
        self.assertIn("was not told within 1 second how far KeySet(b'key') is", str(error))

    def test_removed_meanwhile(self) -> None:
        watch = self.watching(b"a", b"b")
        self.transport.live[0].say(created(0), created(1))
        asked = self.request(watch)
        watch.remove(b"b")
        self.transport.live[0].say(WatchResponse(Header(revision=20), 0))
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(asked), 10)

    def test_stopped_meanwhile(self) -> None:
        self.several(1)
        asked = self.request(self.watches[0])
        self.watches[0].stop()
        self.failureResultOf(asked, Closed)
        self.failureResultOf(self.watches[0].request_progress(), Closed)

    def test_cancelled(self) -> None:
        self.several(1)
        self.cancelled(self.request(self.watches[0]))
        self.assertEqual(self.watches[0].state, "live")

    def test_old_servers(self) -> None:
        """They may tell of more than they have told."""
        self.several(1)
        for version, is_good in (
            ("3.4.24", False), ("3.4.25", True), ("3.5.0", False), ("3.5.7", False), ("3.5.8", True), ("3.5.35", True),
            ("3.6.0-rc.1", True), ("3.7.3", True), ("3.3.27", False), ("4.0.0", True),
        ):  # fmt: skip
            asked = self.request(self.watches[0], version)
            if is_good:
                self.cancelled(asked)
            else:
                error = self.failureResultOf(asked, Unimplemented).value
                self.assertIn(f"needs etcd 3.4.25, or 3.5.8 or later: {version} may tell", str(error))

    def test_cannot_be_asked(self) -> None:
        self.several(1)
        asked = self.watches[0].request_progress()
        self.transport.next(RANGE).reply(Unavailable(None, "refused"))
        self.failureResultOf(asked, Unavailable)

    def test_gateway(self) -> None:
        """It cannot be asked."""
        self.transport.is_duplex = False
        watch = self.watching()
        error = self.failureResultOf(watch.request_progress(), Unimplemented).value
        self.assertIn("needs a grpc:// URL", str(error))

    def test_nothing_is_watched(self) -> None:
        self.several(1)
        self.watches[0].remove(b"key")
        self.assertRaises(RuntimeError, self.watches[0].request_progress)
        self.assertRaises(ValueError, self.watching().request_progress, -1)
