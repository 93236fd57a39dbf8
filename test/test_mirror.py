"""
A mirror: what it shows, and when.
"""

from __future__ import annotations

from typing import Any, Optional

import attrs
from twisted.internet.defer import Deferred

from test.fakes import Case, FakeStream, fake_client, run
from txetcd import Client, KeySet, Mirror
from txetcd._backoff import never
from txetcd._messages import WatchResponse
from txetcd._schema import RANGE
from txetcd.errors import Closed, Compacted, DeadlineExceeded, PermissionDenied, RequestCanceled, Timeout, Unavailable
from txetcd.ops import OpGet
from txetcd.values import Event, Header, KeyValue, Range

KEYS = KeySet(b"k", prefix=True)
GONE = WatchResponse(canceled=True, compact_revision=50)


def kv(name: bytes, revision: int, value: bytes = b"") -> KeyValue:
    return KeyValue(name, value, 1, revision, revision)


def put(name: bytes, revision: int, value: bytes = b"") -> Event:
    return Event("put", kv(name, revision, value))


def delete(name: bytes, revision: int) -> Event:
    return Event("delete", KeyValue(name, mod_revision=revision))


def told(*events: Event, fragment: bool = False) -> WatchResponse:
    return WatchResponse(Header(revision=events[-1].mod_revision), events=list(events), fragment=fragment)


class MirrorCase(Case):
    """A client on a fake."""

    client: Client

    def setUp(self) -> None:
        super().setUp()
        self.transport.is_duplex = True
        self.client = fake_client(self.clock, self.transport)
        self.calls = self.client._calls
        self.changes: list[list[tuple[str, bytes, bool]]] = []
        self.mirrors: list[Mirror] = []

    def tearDown(self) -> None:
        for mirror in self.mirrors:
            mirror.close()
        self.mirrors.clear()
        super().tearDown()

    def note(self, events: Any) -> None:
        self.changes.append([(event.type, event.key, event.is_synthetic) for event in events])

    def mirror(self, **options: Any) -> Mirror:
        mirror = Mirror(self.client, KEYS, **{"on_change": self.note, **options})
        self.mirrors.append(mirror)
        return mirror

    @property
    def stream(self) -> FakeStream:
        return self.transport.live[-1]

    def read(self, revision: int, *kvs: KeyValue, more: bool = False, count: Optional[int] = None) -> OpGet:
        call = self.transport.next(RANGE)
        call.reply(Range(list(kvs), Header(revision=revision), len(kvs) if count is None else count, more))
        return call.request

    def synced(self, *kvs: KeyValue, revision: int = 10) -> Mirror:
        """One that follows."""
        mirror = self.mirror()
        starting = mirror.start()
        self.read(revision, *kvs)
        self.assertIs(self.successResultOf(starting), mirror)
        self.stream.say(WatchResponse(Header(revision=revision), created=True))
        self.changes.clear()
        return mirror

    def state(self, mirror: Mirror) -> dict[bytes, int]:
        self.assertEqual(list(mirror), sorted(mirror._kvs))
        return {key: mirror[key].mod_revision for key in mirror}


class ShownTests(MirrorCase):
    """What it shows."""

    def test_begins(self) -> None:
        mirror = self.mirror()
        starting = mirror.start()
        self.assertEqual((mirror.revision, mirror.is_current, len(mirror)), (None, False, 0))
        request = self.read(10, kv(b"k2", 5), kv(b"k1", 7))
        self.assertEqual((request.key, request.revision, request.serializable), (KEYS, 0, False))
        self.successResultOf(starting)
        self.assertEqual((self.state(mirror), mirror.revision), ({b"k1": 7, b"k2": 5}, 10))
        self.assertEqual(self.changes, [[("put", b"k2", True), ("put", b"k1", True)]])
        self.assertEqual(self.stream.request.start_revision, 11)
        self.assertFalse(mirror.is_current)
        self.stream.say(WatchResponse(Header(revision=10), created=True))
        self.assertTrue(mirror.is_current)
        self.assertIn("CURRENT", repr(mirror))

    def test_page_by_page(self) -> None:
        mirror = self.mirror()
        mirror.start()
        self.read(10, kv(b"k1", 5), more=True)
        request = self.read(12, kv(b"k2", 6))
        self.assertEqual((request.key, request.revision), (KeySet(b"k1\x00", b"l"), 10))
        self.assertEqual((self.state(mirror), mirror.revision), ({b"k1": 5, b"k2": 6}, 10))

    def test_follows(self) -> None:
        mirror = self.synced(kv(b"k1", 5))
        self.stream.say(told(put(b"k2", 11), put(b"k1", 12)), told(delete(b"k1", 15)))
        self.assertEqual((self.state(mirror), mirror.revision), ({b"k2": 11}, 15))
        self.assertEqual(len(self.changes), 3)
        self.assertIsNone(mirror.get(b"k1"))
        self.assertNotIn(b"k1", mirror)
        self.assertRaises(KeyError, lambda: mirror[b"k1"])

    def test_whole_revisions(self) -> None:
        """All changes of a revision are made at once, in however many pieces they come."""
        mirror = self.synced()
        self.stream.say(told(put(b"k1", 11), put(b"k2", 12), put(b"k3", 12), fragment=True))
        self.assertEqual((self.state(mirror), mirror.revision), ({b"k1": 11}, 11))
        self.stream.say(told(put(b"k4", 12), put(b"k5", 13)))
        self.assertEqual(mirror.revision, 13)
        self.assertEqual([[key for _, key, _ in change] for change in self.changes], [
            [b"k1"], [b"k2", b"k3", b"k4"], [b"k5"],
        ])  # fmt: skip

    def test_ranges(self) -> None:
        mirror = self.synced(*(kv(b"k%d" % number, number + 1) for number in (3, 1, 2, 5)))
        for keys, wanted in (
            (KeySet(b"k1"), [b"k1"]),
            (b"k4", []),
            (KeySet(b"k2", b"k5"), [b"k2", b"k3"]),
            (KeySet(b"k", prefix=True), [b"k1", b"k2", b"k3", b"k5"]),
            (KeySet(b"k3", b"\x00"), [b"k3", b"k5"]),
            (KeySet(b"z", prefix=True), []),
        ):
            self.assertEqual([kv.key for kv in mirror.range(keys)], wanted)

    def test_as_a_dictionary(self) -> None:
        mirror = self.mirror()
        mirror.start()
        self.read(10, kv(b"k2", 5), kv(b"k1", 6))
        self.assertEqual(mirror.keys(), [b"k1", b"k2"])
        self.assertEqual([one.mod_revision for one in mirror.values()], [6, 5])
        self.assertEqual(mirror.items(), [(key, mirror[key]) for key in mirror])
        self.assertEqual(dict(mirror), {b"k1": mirror[b"k1"], b"k2": mirror[b"k2"]})
        self.assertEqual((mirror.get(b"k3"), mirror.get(b"k3", 7)), (None, 7))

    def test_not_begun(self) -> None:
        """Then nothing is known, and nothing is said; nothing was asked, either."""
        mirror = self.mirror()
        for ask in (
            lambda: mirror[b"k1"], lambda: mirror.get(b"k1"), lambda: b"k1" in mirror, lambda: mirror.range(b"k1"),
            lambda: len(mirror), lambda: list(mirror), mirror.keys, mirror.values, mirror.items,
            mirror.fresh, mirror.when_synced, lambda: mirror.wait_for(1),
        ):  # fmt: skip
            self.assertRaisesRegex(RuntimeError, "<Mirror NEW KeySet.*> has not begun", ask)
        self.assertEqual((mirror.revision, mirror.is_current, self.transport.calls), (None, False, []))
        mirror.close()
        self.assertRaisesRegex(RuntimeError, "was closed before", mirror.start)

    def test_text_is_no_key(self) -> None:
        mirror = self.synced()
        for ask in (lambda: "k" in mirror, lambda: mirror["k"], lambda: mirror.get("k"), lambda: mirror.range("k")):
            self.assertRaises(TypeError, ask)

    def test_nothing_there(self) -> None:
        """That nothing is there is told as well, once."""
        self.mirror().start()
        self.read(10)
        self.assertEqual(self.changes, [[]])

    def test_callback_raises(self) -> None:
        def on_change(events: Any) -> None:
            raise ZeroDivisionError

        mirror = self.mirror(on_change=on_change)
        mirror.start()
        self.read(10, kv(b"k1", 5))
        self.stream.say(WatchResponse(Header(revision=10), created=True), told(put(b"k2", 11)))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(mirror.revision, 11)

    def test_callback_that_nobody_runs(self) -> None:
        async def on_change(events: Any) -> None:
            """It would never have happened."""

        self.mirror(on_change=on_change).start()
        self.read(10, kv(b"k1", 5))
        (failure,) = self.flushLoggedErrors(TypeError)
        self.assertIn("a coroutine, which nobody runs", str(failure.value))

    def test_closed_in_the_callback(self) -> None:
        mirror = self.mirror(on_change=lambda events: mirror.close())
        starting = mirror.start()
        self.read(10, kv(b"k1", 5))
        self.failureResultOf(starting, Closed)
        self.assertEqual(self.transport.live, [])


class FailedTests(MirrorCase):
    """It cannot follow the keys any more."""

    def fail_at(self, work: Deferred[None]) -> Deferred[None]:
        async def block() -> None:
            async with self.mirror():
                await work

        running = run(block())
        self.read(10)
        denied = WatchResponse(Header(revision=9), 0, canceled=True, cancel_reason="etcdserver: permission denied")
        self.stream.say(WatchResponse(Header(revision=10), created=True), denied)
        return running

    def test_told_at_the_end_of_the_block(self) -> None:
        """Whoever has only read it would take what was old for new."""
        work: Deferred[None] = Deferred()
        running = self.fail_at(work)
        work.callback(None)
        self.failureResultOf(running, PermissionDenied)

    def test_block_raises(self) -> None:
        work: Deferred[None] = Deferred()
        running = self.fail_at(work)
        work.errback(ZeroDivisionError())
        self.failureResultOf(running, ZeroDivisionError)

    def test_client_is_closed(self) -> None:
        self.client.close()
        starting = self.mirror().start()
        self.assertIn("the client was closed", str(self.failureResultOf(starting, Closed).value))

    def test_not_shown_in_time(self) -> None:
        mirror = self.mirror()
        mirror.start()
        self.read(10)
        waiting = mirror.wait_for(11, timeout=3)
        self.clock.advance(3)
        text = str(self.failureResultOf(waiting, Timeout).value)
        self.assertIn("did not show revision 11 within 3 seconds", text)


class OutageTests(MirrorCase):
    """What it has missed."""

    def test_stream_lost(self) -> None:
        mirror = self.synced(kv(b"k1", 5))
        self.stream.end(Unavailable(None, "lost"))
        self.assertFalse(mirror.is_current)
        self.assertIn("AWAY", repr(mirror))
        self.clock.advance(0)
        self.stream.say(WatchResponse(Header(revision=20), created=True), told(put(b"k2", 15)))
        self.assertEqual((self.state(mirror), mirror.revision), ({b"k1": 5, b"k2": 15}, 15))

    def test_compacted(self) -> None:
        """It reads everything again, and tells what is different."""
        mirror = self.synced(kv(b"k1", 5), kv(b"k2", 6), kv(b"k3", 7))
        self.stream.say(told(put(b"k4", 11)), GONE)
        self.changes.clear()
        self.transport.next(RANGE).reply(Unavailable(None, "refused"))
        self.assertEqual(mirror.revision, 11)
        self.clock.advance(0.5)
        self.read(60, kv(b"k1", 5), kv(b"k3", 40), kv(b"k5", 30), kv(b"k4", 11))
        self.assertEqual(self.changes, [[("put", b"k5", True), ("put", b"k3", True), ("delete", b"k2", True)]])
        self.assertEqual((self.state(mirror), mirror.revision), ({b"k1": 5, b"k3": 40, b"k4": 11, b"k5": 30}, 60))
        self.assertEqual(self.stream.request.start_revision, 61)

    def test_compacted_while_it_is_read(self) -> None:
        mirror = self.mirror()
        starting = mirror.start()
        self.read(10, kv(b"k1", 5), more=True)
        self.transport.next(RANGE).reply(Compacted(11, "gone"))
        self.clock.advance(0.5)
        self.assertNoResult(starting)
        self.read(20, kv(b"k1", 5))
        self.successResultOf(starting)

    def test_outage_at_first(self) -> None:
        mirror = self.mirror()
        starting = mirror.start()
        outages = (Unavailable(None, "refused"), Timeout("late"), DeadlineExceeded(4, "late"), RequestCanceled(1, "no"))
        for error in outages:
            self.transport.next(RANGE).reply(error)
            self.clock.advance(0.5)
        self.read(10)
        self.successResultOf(starting)

    def test_watch_is_given_up(self) -> None:
        """As the client's policy may do with one that was never set up: that is an outage as any other."""
        self.client._watches = attrs.evolve(self.client._watches, policy=never)
        mirror = self.mirror()
        mirror.start()
        self.read(10, kv(b"k1", 5))
        self.stream.end(Unavailable(None, "lost"))
        self.clock.advance(0.5)
        self.read(20, kv(b"k1", 15))
        self.assertEqual((self.state(mirror), self.stream.request.start_revision), ({b"k1": 15}, 21))

    def test_cluster_has_gone_back(self) -> None:
        """Whoever waits for what there was before is not waited for in vain."""
        mirror = self.synced(kv(b"k1", 5))
        fresh = mirror.fresh()
        self.read(30, kv(b"k1", 25))
        self.stream.say(told(put(b"k1", 25)), WatchResponse(Header(revision=28)))
        self.transport.next(RANGE).reply(Range([kv(b"k1", 29)], Header(revision=30), 1))
        self.stream.end(Unavailable(None, "lost"))
        self.clock.advance(0)
        self.stream.say(WatchResponse(Header(revision=8), created=True))
        self.read(8)
        self.read(8, kv(b"k1", 5))
        self.read(8, count=1)
        self.successResultOf(fresh)
        self.assertEqual((self.state(mirror), mirror.revision), ({b"k1": 5}, 8))

    def test_cluster_has_gone_back_unseen(self) -> None:
        """To where the watch was not told of, but the mirror by fresh(): what happens from there on is not dropped."""
        mirror = self.synced(kv(b"k1", 5))
        mirror.fresh()
        self.read(100, count=1)
        self.stream.end(Unavailable(None, "lost"))
        self.clock.advance(0)
        self.stream.say(WatchResponse(Header(revision=50), created=True))
        fresh = mirror.fresh()
        self.read(51, count=1)
        self.assertNoResult(fresh)
        self.stream.say(told(put(b"k1", 51)))
        self.read(52, kv(b"k1", 51))
        self.successResultOf(fresh)
        self.assertEqual((self.state(mirror), mirror.revision), ({b"k1": 51}, 52))
        self.assertEqual(self.stream.request.start_revision, 53)


class WaitTests(MirrorCase):
    """Until it shows something."""

    def test_wait_for(self) -> None:
        mirror = self.synced()
        self.assertEqual(self.successResultOf(mirror.wait_for(10)), 10)
        first, second, third = mirror.wait_for(11), mirror.wait_for(13), mirror.wait_for(20)
        self.cancelled(third)
        self.stream.say(told(put(b"k1", 12)))
        self.assertEqual(self.successResultOf(first), 12)
        self.assertNoResult(second)
        self.stream.say(told(put(b"k1", 13)))
        self.assertEqual(self.successResultOf(second), 13)
        self.assertRaises(ValueError, mirror.wait_for, -1)

    def test_fresh(self) -> None:
        """Nothing was written since, and nothing deleted."""
        mirror = self.synced(kv(b"k1", 5))
        fresh = mirror.fresh()
        request = self.read(30, count=1)
        self.assertEqual((request.min_mod_revision, request.limit, request.keys_only), (11, 1, True))
        self.assertFalse(request.serializable)
        self.assertIs(self.successResultOf(fresh), mirror)
        self.assertEqual(mirror.revision, 30)

    def test_fresh_after_a_write(self) -> None:
        mirror = self.synced(kv(b"k1", 5))
        fresh = mirror.fresh()
        self.read(30, kv(b"k2", 25), count=2)
        self.assertNoResult(fresh)
        self.stream.say(told(put(b"k2", 25)))
        self.assertNoResult(fresh)
        # whether that was all is asked
        self.read(33, count=2)
        self.successResultOf(fresh)
        self.assertEqual(mirror.revision, 33)

    def test_fresh_after_a_deletion(self) -> None:
        mirror = self.synced(kv(b"k1", 5), kv(b"k2", 6))
        fresh = mirror.fresh()
        self.read(30, count=1)
        self.stream.say(told(delete(b"k1", 20)))
        self.read(31, count=1)
        self.successResultOf(fresh)
        self.assertEqual(self.state(mirror), {b"k2": 6})

    def test_fresh_amid_writes(self) -> None:
        """It is enough to have passed the revision of the first answer."""
        mirror = self.synced()
        fresh = mirror.fresh()
        self.read(30, kv(b"k1", 29), count=1)
        self.stream.say(told(put(b"k1", 29)))
        self.stream.say(told(put(b"k1", 31)))
        self.transport.next(RANGE).reply(Range([], Header(revision=40), 5))
        self.successResultOf(fresh)
        self.assertEqual(mirror.revision, 31)

    def test_what_came_to_nothing(self) -> None:
        """Written and deleted before it was asked, and told after: it is not shown any more."""
        mirror = self.synced(kv(b"k1", 5))
        mirror.fresh()
        self.read(30, count=1)
        self.assertEqual(mirror.revision, 30)
        self.stream.say(told(put(b"k2", 20)), told(delete(b"k2", 21)))
        self.assertEqual((self.state(mirror), mirror.revision, self.changes), ({b"k1": 5}, 30, []))
        self.stream.say(told(put(b"k2", 31)))
        self.assertEqual((self.state(mirror), mirror.revision), ({b"k1": 5, b"k2": 31}, 31))

    def test_fresh_fails(self) -> None:
        mirror = self.synced()
        fresh = mirror.fresh()
        self.transport.next(RANGE).reply(PermissionDenied(7, "no"))
        self.failureResultOf(fresh, PermissionDenied)
        fresh = mirror.fresh(timeout=5.0)
        self.read(30, count=1)
        self.clock.advance(5)
        self.failureResultOf(fresh, Timeout)
        self.cancelled(mirror.fresh())
        waiting = mirror.fresh()
        self.read(30, count=1)
        mirror.close()
        self.failureResultOf(waiting, Closed)
        self.failureResultOf(mirror.fresh(), Closed)
        self.assertRaises(ValueError, mirror.fresh, -1)

    def test_fresh_of_one_that_is_closed_meanwhile(self) -> None:
        """It is not asked again and again."""
        mirror = self.synced(kv(b"k1", 5))
        fresh = mirror.fresh()
        mirror.close()
        self.read(30, count=1)
        self.failureResultOf(fresh, Closed)
        self.assertEqual((self.transport.waiting, mirror.revision), ([], 10))


class EndTests(MirrorCase):
    """How it ends."""

    def test_closed(self) -> None:
        mirror = self.synced(kv(b"k1", 5))
        stopped, waiting = mirror.when_stopped(), mirror.wait_for(99)
        self.successResultOf(mirror.close())
        self.successResultOf(stopped)
        self.failureResultOf(waiting, Closed)
        self.failureResultOf(mirror.wait_for(1), Closed)
        self.successResultOf(mirror.when_stopped())
        self.assertEqual((self.state(mirror), self.transport.live), ({b"k1": 5}, []))
        self.assertIn("CLOSED", repr(mirror))
        self.successResultOf(mirror.close())
        self.assertRaises(RuntimeError, mirror.start)

    def test_client_closed(self) -> None:
        mirror = self.synced(kv(b"k1", 5))
        stopped = mirror.when_stopped()
        self.client.close()
        self.successResultOf(stopped)

    def test_client_closed_while_it_reads(self) -> None:
        mirror = self.mirror()
        starting = mirror.start()
        self.client.close()
        self.failureResultOf(starting, Closed)

    def test_not_permitted(self) -> None:
        mirror = self.synced()
        stopped = mirror.when_stopped()
        self.stream.say(
            WatchResponse(Header(revision=9), 0, canceled=True, cancel_reason="etcdserver: permission denied")
        )
        self.failureResultOf(stopped, PermissionDenied)
        self.failureResultOf(mirror.when_stopped(), PermissionDenied)
        self.failureResultOf(mirror.when_synced(), PermissionDenied)
        self.assertIn("FAILED", repr(mirror))

    def test_not_permitted_at_first(self) -> None:
        starting = self.mirror().start()
        self.transport.next(RANGE).reply(PermissionDenied(7, "no"))
        self.failureResultOf(starting, PermissionDenied)

    def test_block(self) -> None:
        async def block() -> Any:
            async with self.mirror() as mirror:
                return self.state(mirror)

        running = run(block())
        self.read(10, kv(b"k1", 5))
        self.assertEqual(self.successResultOf(running), {b"k1": 5})
        self.assertEqual(self.transport.live, [])
        running = run(block())
        self.transport.next(RANGE).reply(PermissionDenied(7, "no"))
        self.failureResultOf(running, PermissionDenied)

    def test_misuse(self) -> None:
        mirror = self.mirror()
        mirror.start().addErrback(lambda failure: failure.trap(Closed))
        self.assertRaises(RuntimeError, mirror.start)
        for keys, wanted in (("k", TypeError), (b"", ValueError), (None, TypeError), ([b"k"], TypeError)):
            self.assertRaises(wanted, Mirror, self.client, keys)
        self.assertRaises(TypeError, Mirror, self.client, KEYS, "callback")
