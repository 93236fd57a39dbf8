"""
A watch whose streams are lost: it goes on elsewhere, or later, and whoever watches learns nothing of it.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import attrs

from test.fakes import URL, FakeStream
from test.test_watch import GONE, WatchCase, created, events, progress, put
from txetcd import KeySet
from txetcd import watch as watch_module
from txetcd._backoff import never
from txetcd._messages import WatchResponse
from txetcd._schema import RANGE
from txetcd.errors import (
    Compacted,
    Error,
    FutureRevision,
    NoLeader,
    PermissionDenied,
    RevisionLost,
    Timeout,
    Unavailable,
)
from txetcd.values import Event, Header, KeyValue, Range


def cut(message: WatchResponse) -> WatchResponse:
    """The message as a fragment that is not the last one."""
    return attrs.evolve(message, fragment=True)


class OutageCase(WatchCase):
    """A watch that is asked for again."""

    @property
    def stream(self) -> FakeStream:
        """The stream that was opened last."""
        return self.transport.streams[-1]

    def lose(self, error: Any = None) -> None:
        self.stream.end(Unavailable(None, "lost") if error is None else error)

    def asked_from(self, *revisions: int) -> None:
        """With these starts the server was asked, time and again."""
        self.assertEqual([stream.request.start_revision for stream in self.transport.streams], list(revisions))


class LossTests(OutageCase):
    """A stream is lost."""

    def test_at_once(self) -> None:
        """It is asked for again before anything else happens, behind what has come."""
        self.live().say(events(11, 15))
        self.lose()
        self.assertEqual((self.watch.state, self.watch.losses), ("waiting", 1))
        self.clock.advance(0)
        self.assertEqual(self.watch.state, "opening")
        self.asked_from(0, 16)
        self.stream.say(created(30), events(17, 20))
        self.assertEqual(self.watch.state, "live")
        self.assertEqual(self.taken(), [11, 15, 17, 20])

    def test_whatever_it_was(self) -> None:
        """Also a clean end: the server was stopped, say."""
        self.live()
        for error in (Unavailable(None, "lost"), NoLeader(14, "no leader"), Timeout("late"), Error(2, "new")):
            self.lose(error)
            self.clock.advance(5)
            self.stream.say(created())
            self.clock.advance(5)
        self.stream.end()
        self.clock.advance(0)
        self.assertEqual(self.watch.losses, 5)
        self.assertEqual(self.watch.state, "opening")

    def test_readers_wait_on(self) -> None:
        """Whoever waits for an event waits, for as long as it takes."""
        self.live()
        reader, stopped = self.next(), self.watch.when_stopped()
        for _ in range(100):
            self.lose()
            self.clock.advance(2)
        self.assert_pending(reader, stopped)
        self.asked_from(0, *[11] * 100)
        self.stream.say(created(50), events(12))
        self.assertEqual(self.successResultOf(reader).mod_revision, 12)
        self.watch.stop()
        self.successResultOf(stopped)

    def test_pauses(self) -> None:
        """The first time at once, then after longer pauses."""
        self.live()
        began = self.clock.seconds()
        asked = []
        for _ in range(8):
            self.lose()
            count = len(self.transport.streams)
            while len(self.transport.streams) == count:
                self.clock.advance(0.001)
            asked.append(self.clock.seconds() - began)
        pauses = [later - earlier for earlier, later in zip([0.0, *asked], asked)]
        for pause, wanted in zip(pauses, (0.001, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0)):
            self.assertLess(abs(pause - wanted), 0.002)

    def test_before_it_began(self) -> None:
        """What comes later is where it begins then."""
        self.begin()
        started = self.watch.when_started()
        self.lose()
        self.clock.advance(1)
        self.asked_from(0, 0)
        self.assertIsNone(self.watch.revision)
        self.stream.say(created(20))
        self.successResultOf(started)
        self.assertEqual(self.watch.revision, 20)

    def test_in_the_middle_of_a_revision(self) -> None:
        """It comes as a whole."""
        self.live().say(cut(events(11, 12, 12)))
        self.lose()
        self.clock.advance(0)
        self.asked_from(0, 12)
        self.stream.say(created(30), events(12, 12, 12))
        self.assertEqual(self.taken(), [11, 12, 12, 12])

    def test_one_of_several(self) -> None:
        """The others do not notice."""
        first = self.live(b"a", b"b")
        first.end(Unavailable(None, "lost"))
        self.assertEqual(self.watch.state, "waiting")
        self.transport.streams[1].say(events(11))
        self.assertEqual(self.taken(), [11])
        self.clock.advance(0)
        self.assertEqual(len(self.transport.live), 2)
        self.assertEqual(self.stream.request.key, KeySet(b"a"))
        self.stream.say(created(12))
        self.assertEqual(self.watch.state, "live")

    def test_not_started_in_time(self) -> None:
        """Whoever waits is told why; what it was, it is tried on."""
        self.begin()
        started = self.watch.when_started()
        for _ in range(20):
            self.lose(Unavailable(None, "not sent: connection refused"))
            self.clock.advance(0.8)
        error = self.failureResultOf(started, Timeout).value
        self.assertIn("KeySet(b'key') was not set up within 10 seconds; Watch.Watch at", str(error))
        self.assertIn("not sent: connection refused", str(error))
        self.clock.advance(1)
        self.stream.say(created(20), events(21))
        self.assertEqual(self.taken(), [21])

    def start_with(self, policy: Any) -> None:
        """A watch that was not set up yet, of a client that goes by a *policy*."""
        self.watch = watch_module.Watch(self.watch_way(policy), (KeySet(b"key"),), watch_module.WatchOptions())

    def test_policy_gives_up(self) -> None:
        """As for any call, before it was ever set up."""
        rounds: list[int] = []
        self.start_with(lambda number: rounds.append(number) or (1.0 if number < 3 else None))
        started = self.watch.when_started()
        for _ in range(3):
            self.lose(Unavailable(None, "not sent: connection refused"))
            self.clock.advance(1)
        self.assertEqual(rounds, [1, 2, 3])
        self.assertIn("not sent: connection refused", str(self.failureResultOf(started, Unavailable).value))
        self.assert_over(Unavailable)

    def test_policy_later(self) -> None:
        """What was set up goes on, whatever it says."""
        self.start_with(never)
        self.stream.say(created())
        for _ in range(10):
            self.lose()
            self.clock.advance(2)
        self.assertEqual(self.watch.losses, 10)

    def test_policy_and_keys_that_are_added(self) -> None:
        """They are no reason to give up what was set up."""
        self.start_with(never)
        self.stream.say(created())
        added = self.watch.add(b"another")
        for _ in range(3):
            self.lose()
            self.clock.advance(2)
        self.stream.say(created())
        self.assertIs(self.successResultOf(added), self.watch)

    def test_policy_and_several_endpoints(self) -> None:
        """A majority of them is asked, whatever it says."""
        self.calls._way.endpoints.replace(["http://a:1", "http://b:1", "http://c:1"])
        self.start_with(never)
        self.lose()
        self.clock.advance(0)
        self.assertEqual(self.watch.state, "opening")
        self.lose()
        self.failureResultOf(self.watch.when_stopped(), Unavailable)
        self.assertEqual(len({stream.endpoint for stream in self.transport.streams}), 2)

    def test_policy_fails(self) -> None:
        """What it raises is told in the log, and it gives up."""
        self.start_with(lambda rounds: 1 / 0)
        self.lose()
        self.failureResultOf(self.watch.when_stopped(), Unavailable)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stopped_while_it_waits(self) -> None:
        """Nothing is asked any more."""
        for wait in (0.0, 5.0):
            self.live()
            self.lose()
            self.clock.advance(wait)
            self.watch.stop()
            count = len(self.transport.streams)
            self.clock.advance(100)
            self.assertEqual(len(self.transport.streams), count)
            self.assertEqual(self.watch.state, "stopped")
            self.assertEqual(self.transport.live, [])

    def test_stopped_by_what_was_told(self) -> None:
        self.live()
        self.next().addCallback(lambda _: self.watch.stop())
        self.stream.say(events(11, 12))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cannot_even_be_asked(self) -> None:
        """A stream that is lost before it is there."""
        self.live()
        with patch.object(self.transport, "stream", side_effect=self._lost_stream):
            self.lose()
            self.clock.pump([0.1] * 9)
        self.assertGreater(self.watch.losses, 3)
        self.clock.advance(1)
        self.stream.say(created(20), events(12))
        self.assertEqual(self.taken(), [12])

    def test_endpoint_of_another_cluster(self) -> None:
        """It is not asked again and again, as long as there is another one."""
        self.calls._way.endpoints.replace(["http://a:1", "http://b:1"])
        self.begin()
        self.stream.say(WatchResponse(Header(cluster_id=1, revision=10), created=True))
        self.stream.end()
        self.clock.advance(0)
        self.stream.say(WatchResponse(Header(cluster_id=2, revision=10), created=True))
        self.clock.advance(1)
        self.assertEqual([stream.endpoint for stream in self.transport.streams], ["http://a:1"] * 2 + ["http://b:1"])
        self.stream.say(WatchResponse(Header(cluster_id=1, revision=10), created=True), events(11))
        self.assertEqual(self.taken(), [11])

    def _lost_stream(self, *arguments: Any) -> FakeStream:
        stream = FakeStream(*arguments)
        stream.end(Unavailable(None, "refused"))
        return stream

    def test_other_endpoint(self) -> None:
        """One that was silent when it was asked is not asked next."""
        self.live()
        self.lose()
        self.clock.advance(0.1)
        self.clock.advance(10)
        self.assertFalse(self.calls.stats().endpoints[URL])
        self.assertIn("was not set up within 10 seconds", self.calls.stats().reasons[URL])
        self.clock.advance(1)
        self.assertEqual(len(self.transport.live), 1)


class LivenessTests(OutageCase):
    """Whether the server is still there, where nothing tells: the stream is replaced."""

    def test_replaced(self) -> None:
        """As soon as the other one is set up, and not before: nothing is missed, and nothing comes twice."""
        old = self.live()
        self.clock.advance(14)
        old.say(events(11))
        self.clock.advance(14.9)
        self.assertEqual(len(self.transport.streams), 1)
        self.clock.advance(0.1)
        self.asked_from(0, 12)
        self.assertFalse(old.is_aborted)
        self.assertEqual(self.watch.state, "live")
        old.say(events(12))
        self.stream.say(created(12))
        self.assertTrue(old.is_aborted)
        self.stream.say(events(12, 13))
        self.assertEqual(self.taken(), [11, 12, 13])
        self.assertEqual(self.watch.losses, 0)

    def test_progress_is_life(self) -> None:
        self.live()
        for _ in range(10):
            self.clock.advance(14)
            self.stream.say(progress(10))
        self.assertEqual(len(self.transport.streams), 1)

    def test_dead(self) -> None:
        """The other one is not set up, either: both are left."""
        old = self.live()
        self.clock.advance(15)
        self.clock.advance(9.9)
        self.assertEqual(self.watch.state, "live")
        self.clock.advance(0.1)
        self.assertEqual((self.watch.state, self.watch.losses), ("opening", 1))
        self.assertTrue(old.is_aborted)
        self.assertEqual(self.transport.live, [self.stream])
        self.asked_from(0, 11, 11)

    def test_refused(self) -> None:
        """The other one is not permitted any more."""
        self.live()
        self.clock.advance(15)
        self.stream.say(WatchResponse(created=True, canceled=True, cancel_reason="etcdserver: permission denied"))
        self.assert_over(PermissionDenied)

    def test_old_one_is_lost_meanwhile(self) -> None:
        old = self.live()
        self.clock.advance(15)
        old.end(Unavailable(None, "lost"))
        self.assertEqual(self.transport.live, [])
        self.clock.advance(0)
        self.asked_from(0, 11, 11)

    def test_new_one_is_lost(self) -> None:
        """Then the server is not there: whatever the other one seems to be is over as well."""
        self.live()
        self.clock.advance(15)
        self.lose()
        self.assertEqual(self.transport.live, [])
        self.assertEqual(self.watch.state, "waiting")

    def test_new_one_is_lost_at_once(self) -> None:
        self.live()
        with patch.object(self.transport, "stream", side_effect=self._lost_stream):
            self.clock.advance(15)
        self.assertEqual(self.transport.live, [])
        self.clock.advance(1)
        self.assertEqual(len(self.transport.live), 1)

    _lost_stream = LossTests._lost_stream

    def test_in_the_middle_of_fragments(self) -> None:
        """What was kept back of the old one comes again."""
        self.live().say(cut(events(11, 12)))
        self.clock.advance(15)
        self.asked_from(0, 12)
        self.stream.say(created(12), events(12, 12))
        self.assertEqual(self.taken(), [11, 12, 12])

    def test_consumer_is_slow(self) -> None:
        """What is not read is no reason to believe that nothing comes."""
        with patch.object(watch_module, "BUFFER", 2 * 512):
            stream = self.live()
            stream.say(events(11, 12, 13))
            self.assertTrue(stream.is_paused)
            self.clock.advance(100)
            self.assertEqual(len(self.transport.streams), 1)
            self.taken()
            self.assertFalse(stream.is_paused)
            self.clock.advance(15)
            self.assertEqual(len(self.transport.streams), 2)

    def test_stopped_meanwhile(self) -> None:
        self.live()
        self.clock.advance(15)
        self.watch.stop()
        self.assertEqual(self.transport.live, [])


class BehindTests(OutageCase):
    """The next server knows less than the one before."""

    def behind(self, **options: Any) -> None:
        self.live(**options).say(events(20))
        self.lose()
        self.clock.advance(0)
        self.stream.say(created(7))

    def look(self, revision: int) -> None:
        call = self.transport.next(RANGE)
        self.assertFalse(call.request.serializable)
        call.reply(Range([], Header(revision=revision), 0))

    def test_member(self) -> None:
        """It is asked whether the cluster does, too; meanwhile the watch goes on."""
        self.behind()
        self.stream.say(events(21))
        self.look(21)
        self.assertEqual(self.taken(), [20, 21])
        self.assertEqual(self.watch.state, "live")

    def test_cluster(self) -> None:
        self.behind()
        self.look(7)
        self.assertEqual(self.taken(), [20])
        error = self.assert_over(RevisionLost)
        self.assertIn("the cluster is at revision 7, and was at 20 before", str(error))

    def test_nobody_knows(self) -> None:
        """It is asked for again, and then looked again: if the cluster has gone back, nothing would ever be told."""
        self.behind()
        self.transport.next(RANGE).reply(Unavailable(None, "refused"))
        self.assertEqual((self.watch.state, self.watch.losses), ("waiting", 2))
        self.clock.advance(1)
        self.stream.say(created(7))
        self.look(7)
        self.assertEqual(self.taken(), [20])
        self.assert_over(RevisionLost)

    def test_nobody_knows_any_more(self) -> None:
        """What is asked for already is not asked for twice."""
        self.behind()
        self.lose()
        self.transport.next(RANGE).reply(Unavailable(None, "refused"))
        self.assertEqual(self.watch.losses, 2)
        self.clock.advance(1)
        self.assertEqual(len(self.transport.live), 1)

    def test_stopped_meanwhile(self) -> None:
        self.behind()
        self.watch.stop()
        self.assertEqual(self.transport.waiting, [])


class ResumeTests(OutageCase):
    """``on_compacted="resume"``."""

    def test_resume(self) -> None:
        self.begin(start_revision=3, on_compacted="resume").say(created(100), GONE)
        self.clock.advance(0)
        self.asked_from(3, 50)
        self.stream.say(created(100), events(50, 60))
        self.assertEqual(self.taken(), [50, 60])


class ResyncTests(OutageCase):
    """``on_compacted="resync"``."""

    def read(self, revision: int, *kvs: KeyValue, more: bool = False) -> Any:
        """What is asked is answered so."""
        call = self.transport.next(RANGE)
        call.reply(Range(list(kvs), Header(revision=revision), len(kvs), more))
        return call.request

    def kv(self, name: bytes, revision: int, value: bytes = b"") -> KeyValue:
        return KeyValue(name, value, mod_revision=revision)

    def told(self) -> list[tuple[str, bytes, int, bool]]:
        found: list[Event] = []
        while self.watch._buffer:
            found.append(self.successResultOf(self.next()))
        return [(event.type, event.key, event.mod_revision, event.is_synthetic) for event in found]

    def watching(self, *kvs: KeyValue, revision: int = 10, **options: Any) -> None:
        """A watch that is live, of keys that are there."""
        sets = watch_module.key_sets("keys", KeySet(b"k", prefix=True))
        options = {"on_compacted": "resync", **options}
        self.watch = watch_module.Watch(self.watch_way(), sets, watch_module.WatchOptions(**options))
        self.read(revision, *kvs)
        self.stream.say(created(revision))

    def test_from_now(self) -> None:
        """It is read which keys there are, and watched from there on."""
        self.watching(self.kv(b"k1", 5))
        self.asked_from(11)
        self.assertEqual(self.watch.revision, 10)
        self.assertTrue(self.transport.calls[0].request.keys_only)
        self.assertFalse(self.transport.calls[0].request.serializable)

    def test_difference(self) -> None:
        """What has come of what nobody can tell."""
        self.watching(self.kv(b"k1", 5), self.kv(b"k2", 6), self.kv(b"k3", 7))
        self.stream.say(WatchResponse(events=[put(11, key=b"k4"), Event("DELETE", self.kv(b"k3", 12))]))
        self.stream.say(GONE)
        self.assertEqual(self.watch.state, "waiting")
        request = self.read(60, self.kv(b"k1", 5), self.kv(b"k5", 40), self.kv(b"k4", 30))
        self.assertEqual((request.keys_only, request.revision), (False, 0))
        self.assertEqual(
            self.told(),
            [
                ("put", b"k4", 11, False),
                ("delete", b"k3", 12, False),
                ("put", b"k4", 30, True),
                ("put", b"k5", 40, True),
                ("delete", b"k2", 60, True),
            ],
        )
        self.asked_from(11, 61)
        self.stream.say(created(70), events(65))
        self.assertEqual(self.taken(), [65])

    def test_from_a_revision(self) -> None:
        """Which keys there were just before."""
        self.watching(self.kv(b"k1", 5), start_revision=8)
        self.assertEqual(self.transport.calls[0].request.revision, 7)
        self.asked_from(8)

    def test_from_the_first_revision(self) -> None:
        """There were none before: nothing need be read."""
        sets = watch_module.key_sets("keys", b"key")
        options = watch_module.WatchOptions(start_revision=1, on_compacted="resync")
        self.watch = watch_module.Watch(self.watch_way(), sets, options)
        self.asked_from(1)
        self.stream.say(created(), GONE)
        self.read(60, self.kv(b"key", 40))
        self.assertEqual(self.told(), [("put", b"key", 40, True)])

    def test_from_a_revision_that_is_gone(self) -> None:
        """Then whoever watches is told everything that is there."""
        sets = watch_module.key_sets("keys", b"key")
        options = watch_module.WatchOptions(start_revision=8, on_compacted="resync")
        self.watch = watch_module.Watch(self.watch_way(), sets, options)
        self.transport.next(RANGE).reply(Compacted(11, "gone"))
        self.read(60, self.kv(b"key", 40))
        self.assertEqual(self.told(), [("put", b"key", 40, True)])
        self.asked_from(61)

    def test_from_the_future(self) -> None:
        """Which keys there are now."""
        sets = watch_module.key_sets("keys", b"key")
        options = watch_module.WatchOptions(start_revision=100, on_compacted="resync")
        self.watch = watch_module.Watch(self.watch_way(), sets, options)
        self.transport.next(RANGE).reply(FutureRevision(11, "not yet"))
        self.assertEqual(self.read(10, self.kv(b"key", 5)).revision, 0)
        self.asked_from(100)

    def test_filters(self) -> None:
        """All changes are asked for, to know which keys there are; those that are not wanted are not told."""
        self.watching(self.kv(b"k1", 5), filters=("NOPUT",))
        self.assertEqual(self.stream.request.filters, ())
        self.stream.say(WatchResponse(events=[put(11, key=b"k2"), Event("DELETE", self.kv(b"k1", 12))]))
        self.stream.say(GONE)
        self.read(60, self.kv(b"k3", 40))
        self.assertEqual(self.told(), [("delete", b"k1", 12, False), ("delete", b"k2", 60, True)])
        self.assertEqual(self.watch.revision, 60)

    def test_page_by_page(self) -> None:
        """All at one revision."""
        self.watching()
        self.stream.say(GONE)
        self.read(60, self.kv(b"k1", 40), more=True)
        request = self.read(99, self.kv(b"k2", 30))
        self.assertEqual((request.key, request.revision), (KeySet(b"k1\x00", b"l"), 60))
        self.assertEqual([revision for _, _, revision, _ in self.told()], [30, 40])
        self.assertEqual(self.stream.request.start_revision, 61)

    def test_revision(self) -> None:
        """Only with the last of what was read everything is told up to there: what is gone may be so for long."""
        self.watching(self.kv(b"k1", 5), self.kv(b"k2", 6))
        self.stream.say(GONE)
        self.read(60, self.kv(b"k1", 40))
        revisions = [self.watch.revision]
        while self.watch._buffer:
            self.successResultOf(self.next())
            revisions.append(self.watch.revision)
        self.assertEqual(revisions, [10, 10, 60])

    def test_reading_fails(self) -> None:
        """It is tried again."""
        self.watching(self.kv(b"k1", 5))
        self.stream.say(GONE)
        for error in (Unavailable(None, "refused"), FutureRevision(11, "not yet")):
            self.transport.next(RANGE).reply(error)
            self.assertEqual(self.watch.state, "waiting")
            self.clock.advance(1)
        self.read(60)
        self.asked_from(11, 61)
        self.assertEqual(self.told(), [("delete", b"k1", 60, True)])

    def test_compacted_while_it_is_read(self) -> None:
        self.watching()
        self.stream.say(GONE)
        self.read(60, self.kv(b"k1", 40), more=True)
        self.transport.next(RANGE).reply(Compacted(11, "gone"))
        self.read(80, self.kv(b"k1", 40))
        self.assertEqual(self.told(), [("put", b"k1", 40, True)])

    def test_first_reading_fails(self) -> None:
        sets = watch_module.key_sets("keys", b"key")
        self.watch = watch_module.Watch(self.watch_way(), sets, watch_module.WatchOptions(on_compacted="resync"))
        self.transport.next(RANGE).reply(Unavailable(None, "refused"))
        self.assertEqual(self.watch.state, "waiting")
        self.clock.advance(1)
        self.read(10, self.kv(b"key", 5))
        self.asked_from(11)

    def test_not_permitted(self) -> None:
        self.watching()
        self.stream.say(GONE)
        self.transport.next(RANGE).reply(PermissionDenied(7, "etcdserver: permission denied"))
        self.failureResultOf(self.next(), PermissionDenied)

    def test_stopped_while_it_is_read(self) -> None:
        self.watching()
        self.stream.say(GONE)
        self.watch.stop()
        self.assertEqual(self.transport.waiting, [])

    def test_stopped_by_what_was_read(self) -> None:
        self.watching()
        self.next().addCallback(lambda _: self.watch.stop())
        self.stream.say(GONE)
        self.read(60, self.kv(b"k1", 40))
        self.assertEqual(self.transport.live, [])

    def test_cluster_has_gone_back(self) -> None:
        """Where it is by then is read."""
        self.watching()
        self.stream.say(WatchResponse(events=[put(20, key=b"k2")]))
        self.lose()
        self.clock.advance(0)
        self.stream.say(created(7))
        self.transport.next(RANGE).reply(Range([], Header(revision=7), 0))
        self.read(7, self.kv(b"k1", 5))
        self.assertEqual(
            self.told(), [("put", b"k2", 20, False), ("put", b"k1", 5, True), ("delete", b"k2", 7, True)]
        )
        self.assertEqual(self.stream.request.start_revision, 8)

    def go_back(self) -> None:
        """The cluster is at revision 60, and was at 100."""
        self.watching(self.kv(b"k1", 50), revision=50)
        self.stream.say(progress(100))
        self.lose()
        self.clock.advance(0)
        self.stream.say(created(60))
        self.transport.next(RANGE).reply(Range([], Header(revision=60), 0))

    def test_same_revision_of_something_else(self) -> None:
        """In a cluster that has gone back, revisions come again: what they say of a key is not what it was."""
        self.go_back()
        self.read(60, self.kv(b"k1", 50, b"other"))
        self.assertEqual(self.told(), [("put", b"k1", 50, True)])

    def test_cluster_has_gone_back_and_reading_fails(self) -> None:
        """It is read all the same, though the next server may be further than the one before by then."""
        self.go_back()
        self.transport.next(RANGE).reply(Unavailable(None, "refused"))
        self.clock.advance(1)
        self.read(120, self.kv(b"k1", 50, b"other"))
        self.assertEqual(self.told(), [("put", b"k1", 50, True)])
        self.assertEqual(self.stream.request.start_revision, 121)

    def test_cluster_has_gone_back_while_it_is_read(self) -> None:
        """It is read once, and watched by one stream."""
        self.watching()
        self.stream.say(progress(100))
        self.lose()
        self.clock.advance(0)
        self.stream.say(created(60), GONE)
        looking, reading = self.transport.waiting
        looking.reply(Range([], Header(revision=60), 0))
        self.assertTrue(reading.is_cancelled)
        self.read(60)
        self.assertEqual((self.transport.waiting, len(self.transport.live)), ([], 1))
