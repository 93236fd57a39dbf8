"""
The scenarios of etcd's own tests of its client, as far as they are about watches, by their names (``tests/integration``
in etcd's source); those about members that go down are in ``test_failover`` and ``test_partition``.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import gatherResults

from test.real.base import NATIVE, QUICK, RealCase, on_every_server
from test.real.test_faults import FaultCase
from txetcd import Backoff, Compacted, Event, KeySet, Watch
from txetcd._progress import is_exact
from txetcd.errors import PermissionDenied, Unimplemented
from txetcd.testing import WatchRecord

CANCELLED = int(os.environ.get("TXETCD_TEST_WATCHES", "50"))
"""How many watches are cancelled, one after the other."""

MANY = 300
"""Watches of one client: several streams' worth."""


class ScenarioCase(FaultCase):
    """A client that reaches the server through a proxy, and tries again."""

    async def start(self: Any) -> None:
        await super().start()
        self.away = self.client(self.proxy.url, retry=Backoff())

    async def watcher(self: Any, keys: Any = None, **options: Any) -> Watch:
        watch = self.away.watcher(self.keys() if keys is None else keys, **options)
        self.addCleanup(watch.stop)
        return await self.soon(watch.when_started())

    async def write(self: Any, count: int) -> list[int]:
        writes = [await self.etcd.set(self.key(b"%03d" % number), b"") for number in range(count)]
        return [write.header.revision for write in writes]

    async def take(self: Any, watch: Watch, count: int) -> list[int]:
        """The revisions of the next events."""
        return [(await self.soon(watch.__anext__())).mod_revision for _ in range(count)]

    def break_streams(self: Any) -> None:
        self.proxy.drop("reset")


@on_every_server()
class Reconnecting(ScenarioCase):
    """The connection is lost."""

    async def test_watch_reconn_request(self: Any) -> None:
        """WatchReconnRequest: while the watch is just asked for."""
        for after in (0, 20, 60):
            self.proxy.cut_request(after, count=2)
            watch = await self.watcher()
            self.behave()
            revisions = await self.write(3)
            self.assertEqual(await self.take(watch, 3), revisions)
            watch.stop()
            self.break_streams()

    async def test_watch_reconn_init(self: Any) -> None:
        """WatchReconnInit: before any event."""
        watch = await self.watcher()
        self.break_streams()
        revisions = await self.write(3)
        self.assertEqual(await self.take(watch, 3), revisions)

    async def test_watch_reconn_running(self: Any) -> None:
        """WatchReconnRunning: after some, again and again."""
        watch = await self.watcher()
        for number in range(5):
            revisions = await self.write(3)
            self.assertEqual(await self.take(watch, 3), revisions)
            self.break_streams()
            await self.until(lambda number=number: watch.losses > number)

    async def test_watch_with_created_notification_drop_conn(self: Any) -> None:
        """WatchWithCreatedNotificationDropConn: that it was set up again is nobody's business."""
        watch = self.away.watcher(self.keys())
        self.addCleanup(watch.stop)
        told: list[Any] = []
        started = watch.when_started().addCallback(told.append)
        await self.soon(started)
        self.break_streams()
        await self.until(lambda: watch.losses and watch.state == "live")
        revisions = await self.write(1)
        self.assertEqual((await self.take(watch, 1), told), (revisions, [watch]))

    async def test_watch_overlap_context_cancel(self: Any) -> None:
        """WatchOverlapContextCancel: watches that begin while others end, on the streams that these had."""
        key = self.key(b"000")
        for number in range(30):
            old = self.away.watcher(key)
            if number % 3:
                await self.soon(old.when_started())
            new = self.away.watcher(key, start_revision=(await self.write(1))[0])
            old.stop()
            self.assertEqual(len(await self.take(new, 1)), 1)
            new.stop()

    async def test_watch_overlap_drop_conn_context_cancel(self: Any) -> None:
        """WatchOverlapDropConnContextCancel: and while the connection is lost."""
        key = self.key(b"000")
        for _ in range(15):
            old = await self.watcher(key)
            self.break_streams()
            new = self.away.watcher(key, start_revision=(await self.write(1))[0])
            old.stop()
            self.assertEqual(len(await self.take(new, 1)), 1)
            new.stop()

    async def test_many(self: Any) -> None:
        """All watches of a client, of which one more event is due on each."""
        names = [self.key(b"%03d" % number) for number in range(MANY)]
        watches = [self.away.watcher(name) for name in names]
        await self.soon(gatherResults([watch.when_started() for watch in watches]))
        for broken in (False, True):
            if broken:
                self.break_streams()
            revisions = await self.write(MANY)
            self.assertEqual([(await self.take(watch, 1))[0] for watch in watches], revisions)
        for watch in watches:
            watch.stop()


@on_every_server()
class Resuming(ScenarioCase):
    """Where it goes on."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.web = self.own.url
        self.etcd = self.client(self.own.url, retry=Backoff())
        await super().start()

    async def test_watch_resume_after_disconnect(self: Any) -> None:
        """WatchResumeAfterDisconnect: exactly the events since the start revision, after the member was restarted."""
        first = (await self.write(3))[1]
        watch = self.away.watcher(self.keys(), start_revision=first)
        self.addCleanup(watch.stop)
        await self.own.restart()
        later = await self.write(2)
        self.assertEqual(await self.take(watch, 4), [first, first + 1, *later])

    async def test_watch_resume_compacted(self: Any) -> None:
        """WatchResumeCompacted: what it has to tell was compacted away while it was cut off: it does as it was told."""
        for on_compacted in ("raise", "resume", "resync"):
            watch = await self.watcher(on_compacted=on_compacted)
            copy: dict[bytes, int] = {}
            await self.proxy.refuse()
            self.break_streams()
            revisions = await self.write(5)
            await self.etcd.delete(self.key(b"001"))
            last = (await self.etcd.set(self.key(b"002"), b"")).header.revision
            await self.etcd.compact(last)
            await self.proxy.accept()
            if on_compacted == "raise":
                with self.assertRaises(Compacted) as caught:
                    await self.soon(watch.__anext__())
                self.assertEqual(caught.exception.compact_revision, last)
                await self.assertFailure(watch.when_stopped(), Compacted)
                continue
            if on_compacted == "resume":
                self.assertEqual(await self.take(watch, 1), [last])
                continue
            while watch.revision is None or watch.revision < last:
                event = await self.soon(watch.__anext__())
                self.assertTrue(event.is_synthetic)
                if event.is_put:
                    copy[event.key] = event.mod_revision
            self.assertEqual(copy, {kv.key: kv.mod_revision for kv in (await self.etcd.get(self.keys())).kvs})
            self.assertNotIn(revisions[1], copy.values())
            watch.stop()

    async def test_watch_compact_revision(self: Any) -> None:
        """WatchCompactRevision: it begins with what was compacted away."""
        revisions = await self.write(5)
        await self.etcd.compact(revisions[3])
        watch = self.away.watcher(self.keys(), start_revision=2)
        with self.assertRaises(Compacted) as caught:
            await self.soon(watch.__anext__())
        self.assertEqual(caught.exception.compact_revision, revisions[3])
        await self.assertFailure(watch.when_stopped(), Compacted)

    async def test_v3_watch_progress_on_member_restart(self: Any) -> None:
        """V3WatchProgressOnMemberRestart: nothing comes twice when progress was told before."""
        name = "watch" if self.server.version >= (3, 6) else "experimental-watch"
        own = await self.own_server([*QUICK, f"--{name}-progress-notify-interval=100ms"])
        etcd = self.client(own.url, retry=Backoff())
        watch = etcd.watcher(b"a", progress_notify=True)
        record = WatchRecord(b"a")
        await self.soon(watch.when_started())
        record.bookmark(watch.revision)
        for _ in range(3):
            await etcd.set(b"a", b"")
            other = (await etcd.set(b"z", b"")).header.revision
            record.event(await self.soon(watch.__anext__()))
            await self.until(lambda other=other: watch.revision >= other)
            record.bookmark(watch.revision)
            await own.restart()
        last = (await etcd.set(b"a", b"")).header.revision
        record.event(await self.soon(watch.__anext__()))
        self.assertEqual([event.mod_revision for event in record.events][-1], last)
        self.assertEqual([one.guarantee for one in record._of_steps()], [])
        watch.stop()


@on_every_server(schemes=[NATIVE])
class Progress(ScenarioCase):
    """How far the server is, on request."""

    async def start(self: Any) -> None:
        # in which nobody else writes
        self.own = await self.own_server()
        self.web = self.own.url
        self.etcd = self.client(self.own.url)
        await super().start()

    async def test_watch_request_progress(self: Any) -> None:
        """WatchRequestProgress: with one watch and with several, each learns the current revision."""
        for count in (1, 2, MANY):
            watches = [self.away.watcher(self.key(b"%d" % number)) for number in range(count)]
            await self.soon(gatherResults([watch.when_started() for watch in watches]))
            last = (await self.etcd.set(self.key(b"other"), b"")).header.revision
            if not is_exact(self.server.label):
                await self.assertFailure(self.soon(watches[0].request_progress(60)), Unimplemented)
                return
            self.assertEqual(await self.soon(watches[0].request_progress(60)), last)
            self.assertEqual(watches[0].revision, last)
            told = await self.soon(gatherResults([watch.request_progress(60) for watch in watches]))
            self.assertEqual(set(told), {last})
            for watch in watches:
                watch.stop()

    async def test_v3_watch_progress_waits_for_sync(self: Any) -> None:
        """V3WatchProgressWaitsForSync: never before what has happened was told."""
        if not is_exact(self.server.label):
            return
        revisions = await self.write(2000)
        for start in (revisions[0], revisions[1000], revisions[-1] + 1):
            watch = await self.watcher(start_revision=start)
            progress = watch.request_progress(60)
            told: list[int] = []
            progress.addCallback(lambda revision, watch=watch: told.append(self.waiting(watch)) or revision)
            self.assertEqual(await self.soon(progress), revisions[-1])
            self.assertEqual(told, [revisions[-1] + 1 - start])
            watch.stop()

    def waiting(self: Any, watch: Watch) -> int:
        """How many events have arrived and were not asked for."""
        return int(repr(watch).rpartition("waiting=")[2].rstrip(">"))


@on_every_server()
class Freed(RealCase):
    """The server forgets what nobody watches."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.own_etcd = self.client(self.own.url, connect_timeout=60)

    async def watched(self: Any, wanted: int) -> None:
        async def are_so_many() -> bool:
            return bool(await self.watchers(self.own.url) == wanted)

        await self.until(are_so_many)

    async def test_watch_cancel_on_server(self: Any) -> None:
        """WatchCancelOnServer: whether it was set up already or not, and with others that stay."""
        stays = await self.soon(self.own_etcd.watcher(b"a").when_started())
        for number in range(CANCELLED):
            watch = self.own_etcd.watcher([b"a", KeySet(b"b", prefix=True)])
            if number % 3:
                await self.soon(watch.when_started())
            watch.stop()
        await self.watched(1)
        last = (await self.own_etcd.set(b"a", b"")).header.revision
        self.assertEqual((await self.soon(stays.__anext__())).mod_revision, last)
        stays.stop()
        await self.watched(0)

    async def test_many(self: Any) -> None:
        watches = [self.own_etcd.watcher(b"%d" % number) for number in range(MANY)]
        await self.soon(gatherResults([watch.when_started() for watch in watches]))
        await self.watched(MANY)
        if self.scheme == NATIVE:
            self.assertEqual(self.own_etcd.stats().connections, 1)
            self.assertLess(self.own_etcd.stats().streams, MANY / 50)
        for watch in watches[::2]:
            watch.stop()
        await self.watched(MANY // 2)
        await self.own_etcd.close()
        await self.watched(0)


@on_every_server()
class Denied(RealCase):
    """A watch that is not permitted."""

    async def test_v3_auth_watch_error_and_watch_id0(self: Any) -> None:
        """V3AuthWatchErrorAndWatchId0: it does not end the one whose number its answer has."""
        own = await self.own_server(credentials=("root", "secret"))
        root = self.client(own.url, credentials=("root", "secret"))
        await root.auth.add_user("root", "secret")
        await root.auth.grant_role("root", "root")
        await root.auth.add_user("anna", "pw")
        await root.auth.add_role("reader")
        await root.auth.grant_permission("reader", b"mine", "READ")
        await root.auth.grant_role("anna", "reader")
        await root.auth.enable()
        try:
            anna = self.client(own.url, credentials=("anna", "pw"))
            mine = await self.soon(anna.watcher(b"mine").when_started())
            for _ in range(5):
                await self.assertFailure(self.soon(anna.watcher(b"yours").when_started()), PermissionDenied)
            last = (await root.set(b"mine", b"")).header.revision
            event: Event = await self.soon(mine.__anext__())
            self.assertEqual(event.mod_revision, last)
            if is_exact(self.server.label):
                # before, it had to be asked for again, as the server has forgotten it
                self.assertEqual(mine.losses, 0)
            mine.stop()
        finally:
            await root.auth.disable()
