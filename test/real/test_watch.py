"""
Watches, on every server: what is told, in which order, and that nothing is lost in silence.
"""

from __future__ import annotations

import gc
from bisect import bisect
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from test.real.base import RealCase, on_every_server, on_newest_server
from txetcd import (
    Backoff,
    Closed,
    Compacted,
    Event,
    KeySet,
    OpDel,
    OpSet,
    Timeout,
    Transaction,
    Unavailable,
    Watch,
)
from txetcd.errors import WatchRangeEmpty
from txetcd.watch import BUFFER

MEGABYTE = bytes(1_000_000)

PLENTY = 3 * BUFFER // len(MEGABYTE)
"""Megabytes, of which some have to wait."""

def seen(event: Event) -> tuple[str, bytes, bytes]:
    return (event.type, event.key, event.value)


class WatchCase(RealCase):
    """Watches, and what they told."""

    async def watcher(self: Any, keys: Any = None, *, etcd: Any = None, **options: Any) -> Watch:
        """A watch that has started; by default, of all keys of this test."""
        watch = (etcd or self.etcd).watcher(self.keys() if keys is None else keys, **options)
        self.addCleanup(watch.stop)
        return await self.soon(watch.when_started())

    async def take(self: Any, watch: Watch, count: int) -> list[Event]:
        """The next events, in their order."""
        return [await self.soon(watch.__anext__()) for _ in range(count)]

    async def write(self: Any, count: int, value: bytes = b"", etcd: Any = None) -> list[int]:
        """Sets one key after the other; the revisions."""
        writes = [await (etcd or self.etcd).set(self.key(b"%05d" % number), value) for number in range(count)]
        return [write.header.revision for write in writes]

    def waiting(self: Any, watch: Watch) -> int:
        """How many events have arrived and were not asked for."""
        return int(repr(watch).rpartition("waiting=")[2].rstrip(">"))

    async def rest(self: Any, watch: Watch) -> tuple[list[Event], Any]:
        """What a watch that ends still tells, and the error that it ends with."""
        events = []
        try:
            while True:
                events.append(await self.soon(watch.__anext__()))
        except Exception as error:
            return events, error


@on_every_server()
class Told(WatchCase):
    """What is told of a change."""

    async def test_put_modify_delete(self: Any) -> None:
        watch = await self.watcher(self.key(b"a"))
        first = await self.etcd.set(self.key(b"a"), b"1")
        second = await self.etcd.set(self.key(b"a"), b"2")
        third = await self.etcd.delete(self.key(b"a"))
        events = await self.take(watch, 3)
        revisions = [answer.header.revision for answer in (first, second, third)]
        self.assertEqual([event.mod_revision for event in events], revisions)
        self.assertEqual(
            [(event.type, event.is_put, event.is_create, event.is_modify, event.is_delete) for event in events],
            [
                ("put", True, True, False, False),
                ("put", True, False, True, False),
                ("delete", False, False, False, True),
            ],
        )
        self.assertEqual([(event.value, event.version) for event in events], [(b"1", 1), (b"2", 2), (b"", 0)])
        self.assertEqual([event.create_revision for event in events], [first.header.revision] * 2 + [0])
        self.assertEqual([event.previous for event in events], [None] * 3)
        self.assertEqual(watch.revision, third.header.revision)

    async def test_created_again(self: Any) -> None:
        await self.etcd.set(self.key(b"a"), b"1")
        watch = await self.watcher()
        await self.etcd.delete(self.key(b"a"))
        await self.etcd.set(self.key(b"a"), b"1")
        told = [(event.is_delete, event.is_create, event.version) for event in await self.take(watch, 2)]
        self.assertEqual(told, [(True, False, 0), (False, True, 1)])

    async def test_empty_value_is_no_deletion(self: Any) -> None:
        watch = await self.watcher()
        await self.etcd.set(self.key(b"a"), b"")
        await self.etcd.delete(self.key(b"a"))
        self.assertEqual([event.type for event in await self.take(watch, 2)], ["put", "delete"])

    async def test_any_bytes(self: Any) -> None:
        everything = bytes(range(256))
        watch = await self.watcher(return_previous=True)
        await self.etcd.set(self.key(everything), everything)
        await self.etcd.delete(self.key(everything))
        put, delete = await self.take(watch, 2)
        self.assertEqual(seen(put), ("put", self.key(everything), everything))
        self.assertEqual((delete.key, delete.previous.value), (self.key(everything), everything))

    async def test_previous(self: Any) -> None:
        watch = await self.watcher(return_previous=True)
        await self.etcd.set(self.key(b"a"), b"1")
        await self.etcd.set(self.key(b"a"), b"2")
        before = (await self.etcd.get(self.key(b"a"))).kvs[0]
        await self.etcd.delete(self.key(b"a"))
        created, modified, deleted = await self.take(watch, 3)
        self.assertIsNone(created.previous)
        self.assertEqual(modified.previous, created.kv)
        self.assertEqual(deleted.previous, before)

    async def test_lease_of_the_key(self: Any) -> None:
        watch = await self.watcher()
        async with self.etcd.lease(60) as lease:
            await self.etcd.set(self.key(b"a"), b"", lease)
        put, delete = await self.take(watch, 2)
        self.assertEqual((put.lease, delete.is_delete), (lease.lease_id, True))

    async def test_only_deletions(self: Any) -> None:
        watch = await self.watcher(filters=["NOPUT"])
        await self.etcd.set(self.key(b"a"), b"1")
        await self.etcd.delete(self.key(b"a"))
        self.assertEqual([event.type for event in await self.take(watch, 1)], ["delete"])

    async def test_no_deletions(self: Any) -> None:
        watch = await self.watcher(filters=["NODELETE"])
        for value in (b"1", b"2"):
            await self.etcd.set(self.key(b"a"), value)
            await self.etcd.delete(self.key(b"a"))
        self.assertEqual([seen(event)[2] for event in await self.take(watch, 2)], [b"1", b"2"])

    async def test_transaction_comes_together_and_in_order(self: Any) -> None:
        watch = await self.watcher()
        await self.etcd.set(self.key(b"z"), b"old")
        operations = [OpSet(self.key(name), name) for name in (b"c", b"a", b"b")] + [OpDel(self.key(b"z"))]
        done = await self.etcd.transact(Transaction([], operations))
        wanted = [("put", self.key(name), name) for name in (b"c", b"a", b"b")] + [("delete", self.key(b"z"), b"")]
        live = (await self.take(watch, 5))[1:]
        late = await self.take(await self.watcher(start_revision=done.header.revision), 4)
        self.assertEqual([seen(event) for event in live], wanted)
        self.assertEqual(sorted(map(seen, late)), sorted(wanted))
        self.assertEqual({event.mod_revision for event in live + late}, {done.header.revision})

    async def test_deleted_range(self: Any) -> None:
        await self.write(5)
        watch = await self.watcher()
        gone = await self.etcd.delete(self.keys())
        events = await self.take(watch, 5)
        self.assertEqual([event.key for event in events], [self.key(b"%05d" % number) for number in range(5)])
        self.assertEqual({(event.type, event.mod_revision) for event in events}, {("delete", gone.header.revision)})


@on_every_server()
class From(WatchCase):
    """Where a watch begins."""

    async def test_past(self: Any) -> None:
        revisions = await self.write(6)
        watch = await self.watcher(start_revision=revisions[2])
        await self.etcd.set(self.key(b"a"), b"live")
        events = await self.take(watch, 5)
        self.assertEqual([event.mod_revision for event in events[:4]], revisions[2:])
        self.assertEqual(events[4].value, b"live")

    async def test_future(self: Any) -> None:
        now = (await self.etcd.get(self.key(b"a"))).header.revision
        watch = await self.watcher(start_revision=now + 3)
        self.assertEqual(watch.revision, now + 2)
        revisions = await self.write(4)
        self.assertEqual([event.mod_revision for event in await self.take(watch, 2)], revisions[2:])

    async def test_now(self: Any) -> None:
        before = await self.etcd.set(self.key(b"a"), b"before")
        watch = self.etcd.watcher(self.keys())
        self.assertIsNone(watch.revision)
        await self.soon(watch.when_started())
        self.assertEqual(watch.revision, before.header.revision)
        await self.etcd.set(self.key(b"a"), b"after")
        self.assertEqual((await self.take(watch, 1))[0].value, b"after")
        watch.stop()

    async def test_compacted(self: Any) -> None:
        revisions = await self.write(4)
        await self.etcd.compact(revisions[3])
        watch = self.etcd.watcher(self.keys(), start_revision=revisions[1])
        events, error = await self.rest(watch)
        self.assertEqual((events, type(error)), ([], Compacted))
        self.assertEqual(error.compact_revision, revisions[3])
        self.assertEqual((error.call, error.endpoint), ("Watch.Watch", self.url))
        await self.assertFailure(watch.when_stopped(), Compacted)
        await self.assertFailure(watch.when_started(), Compacted)

    async def test_compacted_with_a_callback(self: Any) -> None:
        revisions = await self.write(2)
        await self.etcd.compact(revisions[1])
        await self.assertFailure(self.soon(self.etcd.watch(self.keys(), print, start_revision=revisions[0])), Compacted)

    async def test_at_the_compacted_revision(self: Any) -> None:
        """It is the oldest that can be had."""
        revisions = await self.write(3)
        await self.etcd.compact(revisions[1])
        watch = await self.watcher(start_revision=revisions[1])
        self.assertEqual([event.mod_revision for event in await self.take(watch, 2)], revisions[1:])

    async def test_live_watch_survives_compaction(self: Any) -> None:
        watch = await self.watcher()
        first = (await self.write(3))[-1]
        self.assertEqual((await self.take(watch, 3))[-1].mod_revision, first)
        await self.etcd.compact(first)
        revisions = await self.write(1)
        self.assertEqual([event.mod_revision for event in await self.take(watch, 1)], revisions)


@on_every_server()
class HandedOver(WatchCase):
    """What a watch says was handed over: whoever stops anywhere and begins behind it misses nothing."""

    async def writing(self: Any, watching: Callable[[], Any], writers: int = 8) -> list[int]:
        """Writes as fast as it can until *watching* is done; the revisions of the writes, in their order."""
        written: list[int] = []
        is_over = False

        async def write(number: int) -> None:
            while not is_over:
                key = self.key(b"%d/%d" % (number % 2, number))
                written.append((await self.etcd.set(key, b"")).header.revision)

        working = gatherResults([Deferred.fromCoroutine(write(number)) for number in range(writers)])
        try:
            await watching()
        finally:
            is_over = True
            await self.soon(working)
        return sorted(written)

    async def test_from_now_amid_writes(self: Any) -> None:
        """A watch from now on begins behind the revision that it tells first: not one change more, not one less."""
        found: list[tuple[int, list[int]]] = []

        async def watching() -> None:
            for number in range(8):
                watches = [self.etcd.watcher(self.keys()) for _ in range(5)]
                # at once, before anything else has arrived
                begins = [watch.when_started().addCallback(lambda watch: watch.revision) for watch in watches]
                for at, (watch, begin) in enumerate(zip(watches, begins)):
                    first = await self.soon(begin)
                    events = await self.take(watch, at * number)
                    watch.stop()
                    again = await self.watcher(start_revision=watch.revision + 1)
                    events += await self.take(again, 10)
                    again.stop()
                    found.append((first, [event.mod_revision for event in events]))

        written = await self.writing(watching)
        self.assertEqual(len(found), 40)
        for begin, revisions in found:
            first = bisect(written, begin)
            self.assertEqual(revisions, written[first : first + len(revisions)], f"from {begin} on")

    async def test_two_key_sets_amid_writes(self: Any) -> None:
        """Nothing is missed; what comes twice is of the set that was ahead."""
        sets = [self.keys(b"0/"), self.keys(b"1/")]
        begin = (await self.etcd.get(self.key(b"a"))).header.revision
        events: list[Event] = []
        stops: list[int] = []

        async def watching() -> None:
            revision = begin
            for number in range(30):
                watch = await self.watcher(sets, start_revision=revision + 1)
                events.extend(await self.take(watch, 1 + number % 7))
                watch.stop()
                revision = watch.revision
                stops.append(revision)

        written = await self.writing(watching)
        self.assertEqual(stops, sorted(stops))
        end = bisect(written, stops[-1])
        told = {event.mod_revision for event in events}
        self.assertEqual(sorted(revision for revision in told if revision <= stops[-1]), written[:end])

    async def test_in_the_middle_of_a_transaction(self: Any) -> None:
        """Also of one that is so large that it comes in fragments: with the previous values, 2.8 megabytes."""
        names = [self.key(b"%02d" % number) for number in range(14)]
        for value in (bytes(100_000), bytes(100_000)):
            done = await self.etcd.transact(Transaction([], [OpSet(name, value) for name in names]))
        end = await self.etcd.set(self.key(b"end"), b"")
        last = done.header.revision
        wanted = [(last - 1, name) for name in names] + [(last, name) for name in names]
        wanted.append((end.header.revision, self.key(b"end")))
        options = {"start_revision": last - 1, "return_previous": True}
        watch = await self.watcher(**options)
        # as they arrive: between two fragments, too, nothing is known of the revision that is cut
        for done in (*[last - 2] * 13, *[last - 1] * 14, last):
            await self.take(watch, 1)
            self.assertEqual(watch.revision, done)
        watch.stop()
        for count, revision in ((0, last - 2), (1, last - 2), (13, last - 2), (14, last - 1), (15, last - 1),
                                (27, last - 1), (28, last), (29, last + 1)):  # fmt: skip
            watch = await self.watcher(**options)
            events = await self.take(watch, count)
            await self.until(lambda: self.waiting(watch) == 29 - count)
            self.assertEqual(watch.revision, revision)
            watch.stop()
            self.assertEqual(watch.revision, revision)
            again = await self.watcher(**{**options, "start_revision": revision + 1})
            twice = sum(event.mod_revision > revision for event in events)
            events = events[: count - twice] + await self.take(again, 29 - count + twice)
            again.stop()
            self.assertEqual(sorted((event.mod_revision, event.key) for event in events), wanted)

    async def test_removed_with_events_that_wait(self: Any) -> None:
        watch = await self.watcher([self.key(b"a"), self.key(b"b")])
        first, second = [(await self.etcd.set(self.key(b"a"), b"")).header.revision for _ in range(2)]
        third = (await self.etcd.set(self.key(b"b"), b"")).header.revision
        await self.until(lambda: self.waiting(watch) == 3)
        watch.remove(self.key(b"a"))
        self.assertEqual(watch.revision, first - 1)
        told = {event.mod_revision for event in await self.take(watch, 3)}
        self.assertEqual((told, watch.revision), ({first, second, third}, third))


@on_every_server()
class Keys(WatchCase):
    """Which keys are watched."""

    async def test_single_range_prefix_all(self: Any) -> None:
        names = [b"a", b"b", b"b/1", b"c", b"d"]
        wanted = {
            KeySet(self.key(b"b")): [b"b"],
            KeySet(self.key(b"b"), self.key(b"d")): [b"b", b"b/1", b"c"],
            KeySet(self.key(b"b"), prefix=True): [b"b", b"b/1"],
            KeySet(self.key(b"c"), b"\x00"): [b"c", b"d"],
            KeySet.all(): names,
        }
        watches = {keys: await self.watcher(keys) for keys in wanted}
        for name in names:
            await self.etcd.set(self.key(name), name)
        # "all" and "from c on" have more in them than this test does; nobody else writes now
        for keys, values in wanted.items():
            self.assertEqual([event.value for event in await self.take(watches[keys], len(values))], values, keys)

    async def test_several_at_once(self: Any) -> None:
        watch = await self.watcher([self.key(b"a"), KeySet(self.key(b"b/"), prefix=True)])
        for name in (b"a", b"b/1", b"c", b"b/2"):
            await self.etcd.set(self.key(name), name)
        self.assertEqual({event.value for event in await self.take(watch, 3)}, {b"a", b"b/1", b"b/2"})

    async def test_overlapping_ones_tell_once_each(self: Any) -> None:
        watch = await self.watcher([self.key(b"a"), self.keys(), KeySet(self.key(b"b"), self.key(b"c"))])
        await self.etcd.set(self.key(b"a"), b"")
        await self.etcd.set(self.key(b"b"), b"")
        events = await self.take(watch, 4)
        last = await self.etcd.set(self.key(b"z"), b"")
        self.assertEqual(sorted(event.key[len(self.prefix) :] for event in events), [b"a", b"a", b"b", b"b"])
        self.assertEqual([event.mod_revision for event in await self.take(watch, 1)], [last.header.revision])

    async def test_many_watches_of_one_key(self: Any) -> None:
        watches = [await self.watcher(self.key(b"a")) for _ in range(20)]
        for number in range(10):
            await self.etcd.set(self.key(b"a"), b"%d" % number)
        for watch in watches:
            values = [event.value for event in await self.take(watch, 10)]
            self.assertEqual(values, [b"%d" % number for number in range(10)])

    async def test_range_of_none(self: Any) -> None:
        for end in (b"a", b"b"):
            watch = self.etcd.watcher(KeySet(self.key(b"b"), self.key(end)))
            await self.assertFailure(self.soon(watch.when_started()), WatchRangeEmpty)
            events, error = await self.rest(watch)
            self.assertEqual((events, type(error)), ([], WatchRangeEmpty))

    async def test_one_bad_set_ends_all(self: Any) -> None:
        watch = self.etcd.watcher([self.key(b"a"), KeySet(self.key(b"b"), self.key(b"a"))])
        await self.assertFailure(self.soon(watch.when_started()), WatchRangeEmpty)

    async def test_add_and_remove(self: Any) -> None:
        watch = await self.watcher(self.key(b"a"))
        await self.soon(watch.add([self.key(b"b"), self.key(b"c")]))
        for name in (b"a", b"b", b"c"):
            await self.etcd.set(self.key(name), name)
        self.assertEqual({event.value for event in await self.take(watch, 3)}, {b"a", b"b", b"c"})
        watch.remove(self.key(b"a"))
        self.assertEqual(watch.keys, (KeySet(self.key(b"b")), KeySet(self.key(b"c"))))
        for name in (b"a", b"b"):
            await self.etcd.set(self.key(name), b"again")
        self.assertEqual([event.key for event in await self.take(watch, 1)], [self.key(b"b")])

    async def test_add_from_the_past(self: Any) -> None:
        revisions = await self.write(3)
        watch = await self.watcher(self.key(b"00001"), start_revision=revisions[0])
        await self.take(watch, 1)
        await self.soon(watch.add(self.key(b"00000")))
        self.assertEqual([event.mod_revision for event in await self.take(watch, 1)], revisions[:1])


@on_every_server()
class Callback(WatchCase):
    """The other idiom."""

    async def started(self: Any, on_watch: Any, **options: Any) -> Deferred[None]:
        """A watch that calls back, from the next change on."""
        now = (await self.etcd.get(self.key(b"a"))).header.revision
        watching = self.etcd.watch([self.keys()], on_watch, start_revision=now + 1, **options)
        self.addCleanup(watching.cancel)
        return watching

    async def test_called_for_each(self: Any) -> None:
        events: list[Event] = []
        watching = await self.started(events.append)
        await self.etcd.set(self.key(b"a"), b"1")
        await self.etcd.set(self.key(b"a"), b"")
        await self.etcd.delete(self.key(b"a"))
        await self.until(lambda: len(events) == 3)
        self.assertEqual([seen(event)[::2] for event in events], [("put", b"1"), ("put", b""), ("delete", b"")])
        watching.cancel()
        self.assertIsNone(await watching)

    async def test_next_event_waits_for_a_deferred(self: Any) -> None:
        events: list[Event] = []
        waiting: list[Deferred[None]] = []

        def on_watch(event: Event) -> Deferred[None]:
            events.append(event)
            waiting.append(Deferred())
            return waiting[-1]

        await self.started(on_watch)
        await self.write(3)
        for count in (1, 2, 3):
            await self.until(lambda: len(events) >= count)
            # time for one that does not wait
            await self.etcd.get(self.key(b"a"))
            self.assertEqual(len(events), count)
            waiting[-1].callback(None)
        self.assertEqual([event.key for event in events], [self.key(b"%05d" % number) for number in range(3)])

    async def test_coroutine(self: Any) -> None:
        values: list[bytes] = []

        async def on_watch(event: Event) -> None:
            values.append((await self.etcd.get(event.key, revision=event.mod_revision)).kvs[0].value)

        await self.started(on_watch)
        for value in (b"1", b"2", b"3"):
            await self.etcd.set(self.key(b"a"), value)
        await self.until(lambda: len(values) == 3)
        self.assertEqual(values, [b"1", b"2", b"3"])

    async def test_raising_is_logged_and_does_not_end_it(self: Any) -> None:
        values: list[bytes] = []

        def on_watch(event: Event) -> None:
            values.append(event.value)
            raise ZeroDivisionError(event.value)

        watching = await self.started(on_watch)
        for value in (b"1", b"2"):
            await self.etcd.set(self.key(b"a"), value)
        await self.until(lambda: len(values) == 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertFalse(watching.called)

    async def test_cancel_in_the_callback(self: Any) -> None:
        values: list[bytes] = []

        def on_watch(event: Event) -> None:
            values.append(event.value)
            watching.cancel()

        watching = await self.started(on_watch)
        other = await self.watcher()
        # all in one line, so that the second has arrived when the first is told
        await self.etcd.transact(Transaction([], [OpSet(self.key(b"a"), b"1"), OpSet(self.key(b"b"), b"2")]))
        self.assertIsNone(await self.soon(watching))
        await self.take(other, 2)
        self.assertEqual(values, [b"1"])

    async def test_as_a_block(self: Any) -> None:
        values: list[bytes] = []
        async with self.etcd.watch([self.keys()], lambda event: values.append(event.value)) as watch:
            await self.etcd.set(self.key(b"a"), b"1")
            await self.until(lambda: values)
        await self.etcd.set(self.key(b"a"), b"2")
        await watch.when_stopped()
        self.assertEqual(values, [b"1"])

    async def test_a_block_that_cannot_begin(self: Any) -> None:
        with self.assertRaises(WatchRangeEmpty):
            async with self.etcd.watch(KeySet(self.key(b"b"), self.key(b"a")), print):
                self.fail("entered")

    async def test_closing_the_client_ends_it(self: Any) -> None:
        etcd = self.client()
        watching = etcd.watch([self.keys()], print)
        await etcd.close()
        self.assertIsNone(await self.soon(watching))
        await self.assertFailure(etcd.watcher(self.keys()).when_started(), Closed)


@on_every_server()
class Much(WatchCase):
    """Large events, and many."""

    async def test_large_event(self: Any) -> None:
        watch = await self.watcher(return_previous=True)
        value = bytes(range(256)) * 4096
        await self.etcd.set(self.key(b"a"), value)
        await self.etcd.set(self.key(b"a"), value[::-1])
        first, second = await self.take(watch, 2)
        self.assertTrue(first.value == value and second.previous.value == value and second.value == value[::-1])

    async def test_line_of_ten_megabytes(self: Any) -> None:
        """What is told of the past comes in one line, up to a thousand revisions."""
        etcd = self.client((await self.own_server()).url)
        revisions = await self.write(10, MEGABYTE, etcd)
        events = await self.take(await self.watcher(start_revision=revisions[0], etcd=etcd), 10)
        self.assertEqual([event.mod_revision for event in events], revisions)
        self.assertTrue(all(event.value == MEGABYTE for event in events))

    async def test_nothing_is_lost_against_concurrent_writers(self: Any) -> None:
        writers, each = 8, 250
        begin = (await self.etcd.get(self.key(b"a"))).header.revision
        early = await self.watcher(start_revision=begin + 1)
        clients = [self.client() for _ in range(2)]

        async def work(writer: int) -> None:
            etcd = clients[writer % 2]
            for number in range(each):
                key = self.key(b"%d/%d" % (writer, number % 7))
                if number % 5 == 4:
                    await etcd.delete(key)
                else:
                    await etcd.set(key, b"%d" % number)

        working = gatherResults([Deferred.fromCoroutine(work(writer)) for writer in range(writers)], consumeErrors=True)
        joining = await self.watcher(KeySet(self.key(b"3/"), prefix=True), start_revision=begin + 1)
        await working
        end = (await self.etcd.set(self.key(b"3/end"), b"")).header.revision
        events = await self.until_revision(early, end)
        await self.compare_with_history(events, begin, end)
        part = [event for event in events if event.key.startswith(self.key(b"3/"))]
        self.assertEqual(await self.until_revision(joining, end), part)

    async def until_revision(self: Any, watch: Watch, end: int) -> list[Event]:
        """What a watch tells, up to a revision."""
        events = await self.take(watch, 1)
        while events[-1].mod_revision < end:
            events += await self.take(watch, 1)
        return events

    async def compare_with_history(self: Any, events: list[Event], begin: int, end: int) -> None:
        """The events make, one after the other, what the store says it was at each revision."""
        revisions = [event.mod_revision for event in events]
        self.assertEqual(revisions, sorted(set(revisions)))
        replayed: dict[bytes, Any] = {}
        at = 0
        for revision in [*range(begin, end, 97), end]:
            while at < len(events) and events[at].mod_revision <= revision:
                replayed.pop(events[at].key, None)
                if events[at].is_put:
                    replayed[events[at].key] = events[at].kv
                at += 1
            found = await self.etcd.get(self.keys(), revision=revision)
            self.assertEqual(found.kvs, [replayed[key] for key in sorted(replayed)], revision)
        self.assertEqual(at, len(events))


@on_newest_server()
class Long(WatchCase):
    """What takes so long that one server has to do."""

    async def test_past_that_is_longer_than_any_line(self: Any) -> None:
        """A past of 150 megabytes is told as well: if its line is too long, no attempt after that could do better."""
        etcd = self.client((await self.own_server()).url)
        revisions = await self.write(100, bytes(1_500_000), etcd)
        watch = await self.watcher(start_revision=revisions[0], etcd=etcd)
        self.assertEqual([event.mod_revision for event in await self.take(watch, 100)], revisions)


@on_every_server()
class Slow(WatchCase):
    """Consumers that are slower than the changes."""

    async def start(self: Any) -> None:
        # much is written; the shared server would keep it
        self.etcd = self.client((await self.own_server()).url)

    async def until_still(self: Any, watch: Watch) -> int:
        """Waits until no more arrives, as far as that can be seen from outside; how many wait then."""
        waiting = [-1]
        while waiting[-1] != self.waiting(watch) or len(waiting) < 10:
            if waiting[-1] != self.waiting(watch):
                waiting = [self.waiting(watch)]
            waiting.append(waiting[-1])
            await deferLater(self.reactor, 0.01)
        return waiting[-1]

    async def test_memory_is_bounded_and_nothing_is_lost(self: Any) -> None:
        watch = await self.watcher()
        revisions = await self.write(PLENTY, MEGABYTE)
        await self.until(lambda: self.waiting(watch))
        # one event more than fits, and what was under way in the sockets
        self.assertLess(await self.until_still(watch), PLENTY * 2 // 3)
        self.assertEqual([event.mod_revision for event in await self.take(watch, PLENTY)], revisions)
        revisions = await self.write(1)
        self.assertEqual([event.mod_revision for event in await self.take(watch, 1)], revisions)

    async def test_keys_added_meanwhile_wait_as_well(self: Any) -> None:
        watch = await self.watcher(self.key(b"a"), start_revision=2)
        count = 0
        while self.waiting(watch) * len(MEGABYTE) <= BUFFER:
            await self.etcd.set(self.key(b"a"), MEGABYTE)
            count += 1
        adding = watch.add(self.keys(b"0"))
        revisions = await self.write(PLENTY, MEGABYTE)
        self.assertLess(await self.until_still(watch), PLENTY)
        events = await self.take(watch, count + PLENTY)
        self.assertIs(await self.soon(adding), watch)
        added = [event.mod_revision for event in events if event.key != self.key(b"a")]
        self.assertEqual((len(events) - len(added), added), (count, revisions))

    async def test_slow_callback(self: Any) -> None:
        versions: list[int] = []

        async def on_watch(event: Event) -> None:
            await deferLater(self.reactor, 0)
            versions.append(event.version)

        async with self.etcd.watch([self.keys()], on_watch) as watch:
            for _ in range(PLENTY):
                await self.write(1, MEGABYTE)
            await self.until(lambda: len(versions) == PLENTY)
        self.assertEqual((versions, self.waiting(watch)), (list(range(1, PLENTY + 1)), 0))

    async def test_compaction_overtakes_it(self: Any) -> None:
        """Either all is told, or all up to somewhere and then ``Compacted``: never a gap."""
        watch = await self.watcher()
        revisions = await self.write(PLENTY, MEGABYTE)
        await self.etcd.compact(revisions[-1])
        events: list[Event] = []
        try:
            while len(events) < len(revisions):
                events += await self.take(watch, 1)
        except Compacted as error:
            self.assertEqual(error.compact_revision, revisions[-1])
        self.assertEqual([event.mod_revision for event in events], revisions[: len(events)])

    async def test_stop_while_it_waits(self: Any) -> None:
        """What is dropped is not missed by whoever goes on behind what he has seen."""
        watch = await self.watcher()
        revisions = await self.write(20, MEGABYTE)
        await self.until(lambda: watch.is_paused)
        await self.take(watch, 3)
        self.assertEqual(watch.revision, revisions[2])
        watch.stop()
        with self.assertRaises(StopAsyncIteration):
            await watch.__anext__()
        again = await self.watcher(start_revision=watch.revision + 1)
        self.assertEqual([event.mod_revision for event in await self.take(again, 17)], revisions[3:])


@on_every_server()
class Freed(WatchCase):
    """Nothing of a watch that is over is left at the server."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.own_etcd = self.client(self.own.url)

    async def watched(self: Any, wanted: int) -> None:
        """Waits until the server has so many watches."""

        async def are_so_many() -> bool:
            return bool(await self.watchers(self.own.url) == wanted)

        await self.until(are_so_many)

    async def test_stop_remove_cancel_close(self: Any) -> None:
        watch = await self.watcher([b"a", b"b", b"c"], etcd=self.own_etcd)
        watching = self.own_etcd.watch(b"d", print)
        other = self.client(self.own.url)
        await self.watcher(b"e", etcd=other)
        await self.watched(5)
        watch.remove([b"a", b"b"])
        await self.watched(3)
        watch.stop()
        await self.watched(2)
        watching.cancel()
        await self.watched(1)
        await other.close()
        await self.watched(0)

    async def test_cancelled_at_once(self: Any) -> None:
        """Whatever has become of them on the way, none stays."""
        for _ in range(10):
            self.own_etcd.watch(b"a", print).cancel()
        await self.watcher(b"b", etcd=self.own_etcd)
        await self.watched(1)

    async def test_what_the_server_ended(self: Any) -> None:
        """It keeps the stream open; we do not."""
        for _ in range(3):
            revision = (await self.own_etcd.set(b"a", b"")).header.revision
        await self.own_etcd.compact(revision)
        live = self.own_etcd.watcher([b"b", b"a"], start_revision=1)
        await self.rest(live)
        bad = self.own_etcd.watcher([b"b", KeySet(b"b", b"a")])
        await self.assertFailure(self.soon(bad.when_started()), WatchRangeEmpty)
        await self.watched(0)

    async def test_leaving_a_block(self: Any) -> None:
        async with self.own_etcd.watcher(b"a") as watch:
            await self.watched(1)
            reading = Deferred.fromCoroutine(watch.__anext__())
            reading.cancel()
            await self.assertFailure(reading, CancelledError)
            await self.own_etcd.set(b"a", b"")
            await self.take(watch, 1)
        await self.watched(0)

    async def test_churn(self: Any) -> None:
        """Watches that come and go while keys are written: those that stay miss nothing."""
        stays = await self.watcher(KeySet(b"a", prefix=True), etcd=self.own_etcd)
        for number in range(30):
            passing = self.own_etcd.watcher(b"a%d" % number)
            if number % 3:
                await self.soon(passing.when_started())
            await self.own_etcd.set(b"a%d" % number, b"")
            if number % 2:
                await self.soon(passing.__anext__()) if number % 3 else None
            passing.stop()
        keys = [event.key for event in await self.take(stays, 30)]
        self.assertEqual(keys, [b"a%d" % number for number in range(30)])
        await self.watched(1)


@on_every_server()
class Idle(WatchCase):
    """When nothing happens to the keys."""

    async def test_progress(self: Any) -> None:
        name = "watch" if self.server.version >= (3, 6) else "experimental-watch"
        own = await self.own_server([f"--{name}-progress-notify-interval=100ms"])
        etcd = self.client(own.url)
        watch = await self.watcher([b"a", b"b"], etcd=etcd, progress_notify=True)
        other = (await etcd.set(b"z", b"")).header.revision
        await self.until(lambda: watch.revision == other)
        await etcd.set(b"a", b"1")
        self.assertEqual([event.value for event in await self.take(watch, 1)], [b"1"])

    async def test_idle_watch_is_there_later(self: Any) -> None:
        watch = await self.watcher(self.key(b"a"))
        for _ in range(100):
            await self.etcd.set(self.key(b"z"), b"")
        await self.etcd.set(self.key(b"a"), b"1")
        self.assertEqual([event.value for event in await self.take(watch, 1)], [b"1"])


@on_every_server()
class Hurt(WatchCase):
    """The server stops, crashes, or is silent: whoever watches learns of it only that it takes longer."""

    is_writing = True

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.own_etcd = self.client(self.own.url)

    async def write_again(self: Any, name: bytes = b"again") -> int:
        """Sets a key as soon as that can be done; the revision."""
        async with self.client(self.own.url, retry=Backoff()) as etcd:
            return (await etcd.set(self.key(name), b"")).header.revision

    async def test_restarted_server(self: Any) -> None:
        """What had arrived, and what happens later."""
        watch = await self.watcher(etcd=self.own_etcd)
        revisions = await self.write(5, etcd=self.own_etcd)
        await self.until(lambda: self.waiting(watch) == 5)
        await self.own.restart()
        self.assertEqual(watch.revision, revisions[0] - 1)
        revisions.append(await self.write_again())
        self.assertEqual([event.mod_revision for event in await self.take(watch, 6)], revisions)
        self.assertGreater(watch.losses, 0)
        self.assertEqual(watch.state, "live")

    async def test_killed_server(self: Any) -> None:
        """SIGKILL, of a watch with two key sets."""
        watch = await self.watcher([self.key(b"00000"), self.keys()], etcd=self.own_etcd)
        revisions = await self.write(5, etcd=self.own_etcd)
        await self.until(lambda: self.waiting(watch) == 6)
        await self.own.kill()
        events = await self.take(watch, 6)
        self.assertEqual(sorted(event.mod_revision for event in events), sorted([revisions[0], *revisions]))
        await self.until(lambda: watch.state != "live")
        adding = watch.add(self.key(b"again"))
        await self.own.start()
        await self.soon(adding)
        last = await self.write_again()
        self.assertEqual([event.mod_revision for event in await self.take(watch, 2)], [last, last])

    async def test_killed_server_and_a_callback(self: Any) -> None:
        events: list[Event] = []
        watching = self.own_etcd.watch(self.keys(), events.append, start_revision=2)
        revisions = await self.write(1, etcd=self.own_etcd)
        await self.until(lambda: events)
        await self.own.kill()
        await self.own.start()
        revisions.append(await self.write_again())
        await self.until(lambda: len(events) == 2)
        self.assertEqual([event.mod_revision for event in events], revisions)
        watching.cancel()
        self.assertIsNone(await watching)

    async def test_killed_server_and_a_slow_consumer(self: Any) -> None:
        watch = await self.watcher(etcd=self.own_etcd)
        revisions = await self.write(PLENTY, MEGABYTE, etcd=self.own_etcd)
        await self.crash(self.own)
        events = await self.take(watch, len(revisions))
        self.assertEqual([event.mod_revision for event in events], revisions)

    async def test_amid_writes(self: Any) -> None:
        """Nothing is missed and nothing repeated; whatever the crash has done to the writes."""
        begin = (await self.own_etcd.set(self.key(b"begin"), b"")).header.revision
        watch = await self.watcher(etcd=self.own_etcd)
        both = await self.watcher([self.keys(b"%d" % number) for number in range(4)], etcd=self.own_etcd)
        writers = [Deferred.fromCoroutine(self.write_on(number)) for number in range(4)]
        events: list[Event] = []
        for hurt in (self.own.restart, lambda: self.crash(self.own), self.own.restart, lambda: self.crash(self.own)):
            events += await self.take(watch, 50)
            await hurt()
        # not cancelled: one that was sent could still be applied, behind the end
        self.is_writing = False
        for writer in writers:
            await writer
        end = await self.write_again(b"end")
        while not events or events[-1].mod_revision < end:
            events += await self.take(watch, 1)
        self.assertEqual([event.mod_revision for event in events], list(range(begin + 1, end + 1)))
        all_of_it = await self.watcher(etcd=self.client(self.own.url), start_revision=begin + 1)
        self.assertEqual(events, await self.take(all_of_it, len(events)))
        told = await self.take(both, len(events) - 1)
        self.assertEqual(sorted(told, key=lambda event: event.mod_revision), events[:-1])
        self.assertGreaterEqual(watch.losses, 4)

    async def write_on(self: Any, number: int) -> None:
        count = 0
        while self.is_writing:
            try:
                await self.own_etcd.set(self.key(b"%d" % number), b"%d" % count)
            except Exception:
                # the server is just down; whether this one was applied is what the watch will say
                await deferLater(self.reactor, 0.01)
            count += 1

    async def test_before_any_event(self: Any) -> None:
        """A watch from now on that was lost before anything came: what came meanwhile is not missed."""
        await self.write(3, etcd=self.own_etcd)
        watch = await self.watcher(etcd=self.own_etcd)
        await self.own.restart()
        # perhaps before the watch is there again
        missed = await self.write_again()
        self.assertEqual([event.mod_revision for event in await self.take(watch, 1)], [missed])

    async def test_never_there(self: Any) -> None:
        """Of a client that tries everything once, a watch fails as a call does; of others it comes later."""
        await self.own.kill()
        watch = self.own_etcd.watcher(self.keys())
        await self.assertFailure(self.soon(watch.when_started()), Unavailable)
        await self.assertFailure(self.soon(self.own_etcd.watch(self.keys(), print)), Unavailable)
        patient = self.client(self.own.url, retry=Backoff()).watcher(self.keys())
        self.addCleanup(patient.stop)
        await self.own.start()
        await self.soon(patient.when_started())
        last = await self.write_again()
        self.assertEqual([event.mod_revision for event in await self.take(patient, 1)], [last])

    async def test_silent_at_first(self: Any) -> None:
        etcd = self.client(self.own.url, timeout=4)
        await self.pause(self.own)
        watch = etcd.watcher([self.key(b"a"), self.key(b"b")])
        error = await self.assertFailure(self.soon(watch.when_started()), Timeout)
        self.assertFalse(error.maybe_applied)
        await self.assertFailure(watch.when_stopped(), Timeout)
        self.own.resume()
        # the client is as good as new
        live = await self.watcher(etcd=etcd)
        await etcd.set(self.key(b"a"), b"", timeout=60)
        await self.take(live, 1)

    async def test_short_silence(self: Any) -> None:
        watch = await self.watcher(etcd=self.own_etcd)
        await self.pause(self.own)
        setting = self.own_etcd.set(self.key(b"a"), b"")
        self.own.resume()
        await setting
        await self.take(watch, 1)

    async def test_long_silence(self: Any) -> None:
        """It is noticed, within seconds that can be chosen, and the server left."""
        etcd = self.client(self.own.url, liveness=3, timeout=3)
        watch = await self.watcher(etcd=etcd)
        await self.pause(self.own)
        await self.until(lambda: watch.state != "live")
        self.own.resume()
        last = await self.write_again()
        self.assertEqual([event.mod_revision for event in await self.take(watch, 1)], [last])
        self.assertGreater(watch.losses, 0)

    async def test_silence_of_the_keys(self: Any) -> None:
        """When nothing happens, nothing is lost by making sure that the server is there."""
        etcd = self.client(self.own.url, liveness=0.2)
        watch = await self.watcher([self.key(b"00000"), self.keys()], etcd=etcd)
        revisions = []
        for _ in range(5):
            await deferLater(self.reactor, 0.5)
            revisions += await self.write(2, etcd=etcd)
        told = [event.mod_revision for event in await self.take(watch, 15)]
        self.assertEqual(sorted(told), sorted([*revisions, *revisions[::2]]))
        self.assertEqual(watch.losses, 0)
        watch.stop()
        await self.until(self.nobody_watches)

    async def nobody_watches(self: Any) -> bool:
        return bool(await self.watchers(self.own.url) == 0)

    async def test_closed_client(self: Any) -> None:
        """Also with more than one key set."""
        await self.own_etcd.close()
        watch = self.own_etcd.watcher([b"a", b"b"])
        await self.assertFailure(self.soon(watch.when_started()), Closed)
        with self.assertRaises(Closed):
            await self.soon(watch.__anext__())
        # what went wrong in silence is told now, and not of another test
        del watch
        gc.collect()
