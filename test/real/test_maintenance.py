"""
The upkeep of real servers: their health, the room they take, who leads them, and snapshots that are whole or are not.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from shutil import which
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred
from twisted.internet.utils import getProcessOutputAndValue, getProcessValue
from twisted.trial.unittest import SkipTest

from test.ports import free_ports
from test.real.base import (
    NATIVE,
    QUICK,
    RealCase,
    on_every_server,
    on_every_server_at_length,
    sockets_to,
)
from test.real.test_cluster import ClusterCase
from test.servers import ETCDCTL, Server
from txetcd import (
    Alarm,
    Backoff,
    Client,
    Compacted,
    Error,
    KeySet,
    Member,
    Snapshot,
    Status,
    Timeout,
    Unavailable,
    Watch,
)
from txetcd.errors import BadLeaderTransferee, Corrupt, FutureRevision, NoLeader, NoSpace, NotLeader, Unimplemented
from txetcd.testing import EtcdProcess
from txetcd.testing._child import Child, Log
from txetcd.testing._identity import Bootstrap, Peer, new_token

MEGABYTE = 1024 * 1024
ROOT = Path(__file__).resolve().parents[2]


DEFRAGMENTED = "etcd_disk_backend_defrag_duration_seconds_count"
"""The figure that says how often a member was."""


def knows_hash_kv(server: Server, scheme: str) -> bool:
    """Whether it has the call: its gateway had not at first."""
    return scheme == NATIVE or server.version >= (3, 5, 10)


async def fill(etcd: Client, megabytes: int) -> None:
    """Writes so much."""
    for number in range(megabytes):
        await etcd.set(b"filling/%d" % number, os.urandom(MEGABYTE))


@on_every_server_at_length()
class Health(ClusterCase):
    """CurlV3Maintenance: how members are, and whether they agree."""

    async def test_maintenance_status(self: Any) -> None:
        """MaintenanceStatus, EndpointStatus: of every endpoint; of one where nothing is, the error."""
        nowhere = self.spoken(f"http://127.0.0.1:{free_ports(1)[0]}")
        etcd = self.client([*self.urls_of(self.cluster), nowhere])
        found = await etcd.maintenance.status()
        self.assertEqual(set(found), {*self.urls_of(self.cluster), nowhere})
        error = found.pop(nowhere)
        self.assertIsInstance(error, Unavailable)
        self.assertIn(f"Maintenance.Status at {nowhere}: not sent", str(error))
        self.assertEqual({type(status) for status in found.values()}, {Status})
        self.assertEqual({status.version for status in found.values()}, {self.server.label})
        self.assertEqual(len({status.header.member_id for status in found.values()}), 3)
        self.assertEqual(len({status.leader for status in found.values()}), 1)

    async def test_one_is_silent(self: Any) -> None:
        """It does not keep the others from being heard."""
        cluster = await self.own_cluster()
        etcd = self.cluster_client(cluster)
        cluster.members[1].pause()
        found = await etcd.maintenance.status(timeout=4)
        self.assertEqual(list(map(type, map(found.get, self.urls_of(cluster)))), [Status, Timeout, Status])

    async def test_maintenance_hash_kv(self: Any) -> None:
        """
        MaintenanceHashKV, V3HashKV, EndpointHashKV, CompactionHash, VerifyHashKVAfterCompact: the members have the same
        keys, before and after a compaction.
        """
        if not knows_hash_kv(self.server, self.scheme):
            with self.assertRaises(Unimplemented) as caught:
                await self.etcd.maintenance.hash_kv()
            self.assertIn("needs etcd 3.5.10 or later", str(caught.exception))
            return
        for number in range(10):
            revision = (await self.etcd.set(self.key(b"%d" % number), b"value")).header.revision
        self.assertEqual(await self.same_hash(revision), await self.same_hash(revision))
        with self.assertRaises(FutureRevision):
            await self.etcd.maintenance.hash_kv(revision + 1000)
        await self.etcd.compact(revision - 2, physical=True)
        await self.same_hash(revision)
        with self.assertRaises(Compacted):
            await self.etcd.maintenance.hash_kv(revision - 5)

    async def same_hash(self: Any, revision: int) -> int:
        """The hash up to a revision, which must be the same everywhere; and all is not the same as that."""
        found = []
        for url in self.urls_of(self.cluster):
            # linearizable: then it has all that the others have
            await self.client(url).get(self.key(b"0"))
            found.append(await self.etcd.maintenance.hash_kv(revision, url))
        self.assertEqual(len({one.header.member_id for one in found}), 3)
        self.assertEqual(len({(one.hash, one.compact_revision) for one in found}), 1)
        self.assertEqual({one.hash_revision for one in found}, {revision if self.server.version >= (3, 6) else 0})
        return int(found[0].hash)

    async def test_maintenance_hash(self: Any) -> None:
        """V3Hash: of one member or another."""
        await self.etcd.set(self.key(b"key"), b"value")
        urls = self.urls_of(self.cluster)
        for url in urls:
            # linearizable: then it has all that the others have
            await self.client(url).get(self.key(b"key"))
        found = [await self.etcd.maintenance.hash(url) for url in urls]
        self.assertEqual(len({one.header.member_id for one in found}), 3)
        self.assertTrue(all(one.hash for one in found))
        self.assertEqual(found[0].hash, (await self.etcd.maintenance.hash(urls[0])).hash)


@on_every_server_at_length()
class Leadership(ClusterCase):
    """The leadership is handed over."""

    async def test_maintenance_move_leader(self: Any) -> None:
        """MaintenanceMoveLeader, MoveLeaderService: to each member in turn, the present leader included."""
        members = await self.etcd.cluster.members()
        for member in [*members, members[-1]]:
            self.assertIsNone(await self.etcd.maintenance.move_leader(member.member_id))
            await self.until(lambda member=member: self.leads(member))

    async def test_move_leader_error(self: Any) -> None:
        """MoveLeaderError: to nobody; by one who does not lead."""
        with self.assertRaises(BadLeaderTransferee):
            await self.etcd.maintenance.move_leader(404)
        leader = await self.etcd.cluster.leader()
        (other, *_) = others = [m for m in await self.etcd.cluster.members() if m != leader]
        followers = self.client([self.spoken(m.client_urls[0]) for m in others])
        with self.assertRaises(NotLeader) as caught:
            await followers.maintenance.move_leader(other.member_id)
        self.assertIn(f"member {leader.member_id:x} leads, and none of the endpoints", str(caught.exception))
        self.assertIn(", ".join(followers.endpoints), str(caught.exception))
        self.assertEqual(await self.etcd.cluster.leader(), leader)

    async def test_move_leader_to_learner_error(self: Any) -> None:
        """MoveLeaderToLearnerError, TransferLeadershipWithLearner: never to a learner."""
        before = await self.etcd.cluster.members()
        learner = await self.etcd.cluster.add_learner(f"http://127.0.0.1:{free_ports(1)[0]}")
        self.addCleanup(lambda: Deferred.fromCoroutine(self.remove_learner(learner)))
        with self.assertRaises(BadLeaderTransferee):
            await self.etcd.maintenance.move_leader(learner.member_id)
        await self.etcd.maintenance.move_leader(before[0].member_id)
        await self.until(lambda: self.leads(before[0]))

    async def leads(self: Any, member: Member) -> bool:
        """Whether that is known; another one may not have heard of it yet, or only that the old one leads no more."""
        try:
            return bool(await self.etcd.cluster.leader() == member)
        except NoLeader:
            return False

    async def remove_learner(self: Any, learner: Member) -> None:
        # 3.5.1 needs a write between two changes of the members
        await self.cluster_client(self.cluster).set(self.key(b"settled"), b"")
        await self.cluster_client(self.cluster).cluster.remove(learner.member_id)

    async def test_one_is_silent(self: Any) -> None:
        """Whichever it is, if it is not the leader."""
        cluster = await self.own_cluster()
        etcd = self.cluster_client(cluster)
        leader = await cluster.leader()
        (silent, other) = [process for process in cluster.members if process is not leader]
        other_id = (await self.client(other.url).status()).header.member_id
        silent.pause()
        await etcd.maintenance.move_leader(other_id, timeout=10)
        self.assertEqual((await self.client(other.url).status()).leader, other_id)


@on_every_server()
class Room(RealCase):
    """Room that is wanting, and room that is given back."""

    async def test_v3_storage_quota(self: Any) -> None:
        """V3StorageQuotaApply, V3AlarmDeactivate, AlarmNoSpace: from the alarm back to where it can be written."""
        process = await self.own_server(
            [*QUICK, f"--quota-backend-bytes={8 * MEGABYTE}", "--backend-batch-interval=100ms"]
        )
        etcd = self.client(process.url)
        self.assertEqual(await etcd.maintenance.alarms(), [])
        self.assertEqual(await etcd.maintenance.disarm(), [])
        with self.assertRaises(NoSpace):
            # it looks at its file, which grows now and then only
            await fill(etcd, 200)
        member_id = (await etcd.status()).header.member_id
        alarm = Alarm(member_id, "NOSPACE")
        self.assertEqual(await self.until(etcd.maintenance.alarms), [alarm])
        with self.assertRaises(NoSpace):
            await etcd.set(b"small", b"")
        deleted = await etcd.delete(KeySet(b"filling/", prefix=True))
        await etcd.maintenance.compact_and_defragment(deleted.header.revision)
        self.assertLess((await etcd.status()).db_size, MEGABYTE)
        self.assertEqual(await etcd.maintenance.disarm(), [alarm])
        self.assertEqual(await etcd.maintenance.disarm(alarm), [])
        self.assertEqual(await etcd.maintenance.alarms(), [])
        await etcd.set(b"small", b"")
        with self.assertRaises(Compacted):
            await etcd.maintenance.compact_and_defragment(deleted.header.revision)

    async def test_v3_corrupt_alarm(self: Any) -> None:
        """V3CorruptAlarm: one of several is ended."""
        process = await self.own_server()
        etcd = self.client(process.url)
        member_id = (await etcd.status()).header.member_id
        for kind in ("NOSPACE", "CORRUPT"):
            request = {"action": "ACTIVATE", "memberID": str(member_id), "alarm": kind}
            await self.post("/v3/maintenance/alarm", request, process.url)
        no_space, corrupt = Alarm(member_id, "NOSPACE"), Alarm(member_id, "CORRUPT")
        self.assertEqual(set(await etcd.maintenance.alarms()), {no_space, corrupt})
        with self.assertRaises(Corrupt):
            await etcd.set(b"key", b"")
        self.assertEqual(await etcd.maintenance.disarm(corrupt), [corrupt])
        self.assertEqual(await etcd.maintenance.alarms(), [no_space])
        self.assertEqual(await etcd.maintenance.disarm(), [no_space])
        await etcd.set(b"key", b"")

    async def test_v3_hash_restart(self: Any) -> None:
        """V3HashRestart: a server that was started again has the same keys."""
        process = await self.own_server()
        etcd = self.client(process.url, retry=Backoff())
        revision = (await etcd.set(b"key", b"value")).header.revision
        before = await self.hash_of(etcd, revision)
        await process.restart()
        self.assertEqual(await self.hash_of(etcd, revision), before)
        await etcd.set(b"key", b"value")
        self.assertNotEqual(await self.hash_of(etcd, revision + 1), before)

    async def hash_of(self: Any, etcd: Client, revision: int) -> int:
        known = knows_hash_kv(self.server, self.scheme)
        return int((await (etcd.maintenance.hash_kv(revision) if known else etcd.maintenance.hash())).hash)

    async def test_defragment(self: Any) -> None:
        """DefragOnline: what was compacted away takes room until then."""
        process = await self.own_server()
        etcd = self.client(process.url)
        await fill(etcd, 10)
        deleted = await etcd.delete(KeySet(b"filling/", prefix=True))
        await etcd.compact(deleted.header.revision, physical=True)
        before = (await etcd.status()).db_size
        await etcd.maintenance.defragment(self.url_of(process))
        after = (await etcd.status()).db_size
        self.assertGreater(before, 10 * MEGABYTE)
        self.assertLess(after, MEGABYTE)
        self.assertEqual((await etcd.get(KeySet(b"filling/", prefix=True))).count, 0)


@on_every_server(lambda server: server.version != (3, 5, 1))
class FewStreams(RealCase):
    """
    A server that was told to serve few streams: all that comes through its gateway shares one connection to it. 3.5.1
    cannot be told that.
    """

    LIMIT = 4

    async def start(self: Any) -> None:
        process = await self.own_server([*QUICK, f"--max-concurrent-streams={self.LIMIT}"])
        self.etcd = self.client(process.url)

    async def test_curl_v3_max_streams_below_limit(self: Any) -> None:
        """CurlV3_MaxStreams_BelowLimit: as long as there is one left, calls are answered."""
        watches = await self.started(self.LIMIT - 1)
        await self.etcd.set(b"key", b"1")
        for watch in watches:
            self.assertEqual((await watch.__anext__()).value, b"1")

    async def test_curl_v3_max_streams_reach_limit(self: Any) -> None:
        """
        CurlV3_MaxStreams_ReachLimit: nobody is served any more, which a timeout says; until a watch ends. Natively they
        share a stream, so that there is room for calls.
        """
        watches = await self.started(self.LIMIT)
        if self.scheme == NATIVE:
            await self.etcd.get(b"key", timeout=60)
            return
        with self.assertRaises(Timeout):
            await self.etcd.get(b"key", timeout=0.5)
        watches[0].stop()
        await self.etcd.set(b"key", b"1")
        for watch in watches[1:]:
            self.assertEqual((await watch.__anext__()).value, b"1")

    async def started(self: Any, number: int) -> list[Watch]:
        watches = [self.etcd.watcher(b"key") for _ in range(number)]
        for watch in watches:
            self.addCleanup(watch.stop)
            await watch.when_started()
        return watches


@on_every_server_at_length()
class Defragmenting(ClusterCase):
    """Several members are one after the other."""

    async def test_defragment_all(self: Any) -> None:
        """Each has been; those that were behind with the compaction, the next time."""
        cluster = await self.own_cluster()
        etcd = self.cluster_client(cluster)
        await fill(etcd, 5)
        deleted = await etcd.delete(KeySet(b"filling/", prefix=True))
        done = [await self.metric(DEFRAGMENTED, url) for url in cluster.urls]
        await etcd.maintenance.compact_and_defragment(deleted.header.revision)
        self.assertEqual([await self.metric(DEFRAGMENTED, url) for url in cluster.urls], [one + 1 for one in done])
        await self.until(lambda: self.are_small(etcd))

    async def are_small(self: Any, etcd: Client) -> bool:
        statuses = await etcd.maintenance.status()
        large = [url for url, status in statuses.items() if status.db_size > MEGABYTE]
        for url in large:
            await etcd.maintenance.defragment(url)
        return not large

    async def test_first_error(self: Any) -> None:
        """One that does not answer may be at it: the others are left alone."""
        cluster = await self.own_cluster()
        etcd = self.cluster_client(cluster)
        second, third = [self.member_at(cluster, url) for url in etcd.endpoints[1:]]
        before = await self.metric(DEFRAGMENTED, third.url)
        # natively nothing is sent to whom nothing was heard of
        await etcd.maintenance.status()
        second.pause()
        with self.assertRaises(Timeout) as caught:
            await etcd.maintenance.defragment(timeout=4)
        self.assertEqual((caught.exception.endpoint, caught.exception.maybe_applied), (self.url_of(second), True))
        self.assertEqual(before, await self.metric(DEFRAGMENTED, third.url))
        second.resume()


# --- snapshots

TAKEN = (
    'grpc_server_started_total{grpc_method="Snapshot",'
    'grpc_service="etcdserverpb.Maintenance",grpc_type="server_stream"}'
)
"""The figure that says how many were asked for."""

SAVING = """
import resource, sys
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from txetcd import Client
async def run(reactor):
    if len(sys.argv) > 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    async with Client(reactor) as etcd:
        try:
            await etcd.maintenance.snapshot(sys.argv[1])
        except OSError as error:
            print(error)
react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
"""

ON_SMALL_DISK = 'mount -t tmpfs -o size=1m tmpfs "$1" && "$2" -c "$3" "$1/snapshot.db" && ls "$1" >&2'
"""For a shell that may mount: saves to a disk of a megabyte, and lists what is left there."""

NAMESPACES = (("--mount",), ("--user", "--map-root-user", "--mount"))
"""For ``unshare``: lets root mount, for himself; and anybody."""


class _SnapshotCase(RealCase):
    """
    :ivar path: where a snapshot shall be.
    """

    async def start(self: Any) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        self.path = os.path.join(self.directory, "snapshot.db")

    async def large_server(self: Any) -> tuple[EtcdProcess, Client]:
        """A server whose database takes its time."""
        process = await self.own_server()
        etcd = self.client(process.url)
        await fill(etcd, 16)
        return process, etcd

    def assert_whole(self: Any, snapshot: Snapshot) -> None:
        """The file is what it should be, and there is nothing besides it."""
        self.assertEqual(os.listdir(self.directory), ["snapshot.db"])
        content = Path(self.path).read_bytes()
        self.assertEqual(len(content), snapshot.size)
        self.assertEqual(hashlib.sha256(content[:-32]).hexdigest(), snapshot.sha256)
        self.assertEqual(content[-32:].hex(), snapshot.sha256)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def assert_nothing_left(self: Any) -> None:
        self.assertEqual(os.listdir(self.directory), [])

    async def etcdctl(self: Any, *arguments: str) -> str:
        environment = {**os.environ, "ETCDCTL_API": "3"}
        output, errors, status = await getProcessOutputAndValue(ETCDCTL, arguments, environment)
        self.assertEqual(status, 0, errors)
        return str(output.decode())


@on_every_server()
class Snapshots(_SnapshotCase):
    """Snapshots of real databases."""

    async def test_maintenance_snapshot(self: Any) -> None:
        """MaintenanceSnapshotContentDigest, SaveSnapshotFilePermissions: whole; etcdctl finds in it what there is."""
        process, etcd = await self.large_server()
        told: list[tuple[int, int]] = []
        snapshot = await etcd.maintenance.snapshot(self.path, lambda *numbers: told.append(numbers))
        self.assert_whole(snapshot)
        self.assertGreater(snapshot.size, 16 * MEGABYTE)
        self.assertIn(snapshot.version, ("", f"{self.server.version[0]}.{self.server.version[1]}.0"))
        self.assertEqual(told, sorted(told))
        self.assertEqual({in_all for _, in_all in told}, {snapshot.size})
        self.assertEqual(told[-1], (snapshot.size, snapshot.size))
        if ETCDCTL:
            status = json.loads(await self.etcdctl("snapshot", "status", self.path, "--write-out=json"))
            self.assertEqual(status["revision"], (await etcd.get(b"filling/0")).header.revision)
            self.assertGreaterEqual(status["totalKey"], 16)

    async def test_save_snapshot_version(self: Any) -> None:
        """
        SaveSnapshotVersion, MaintenanceSnapshotWithVersionVersion: that of the storage, once a server has found out,
        and since 3.6.
        """
        if self.server.version >= (3, 6):
            await self.until(self.storage_version)
        snapshot = await self.etcd.maintenance.snapshot(self.path)
        self.assertEqual(snapshot.version, await self.storage_version())

    async def storage_version(self: Any) -> str:
        return str((await self.etcd.status()).storage_version)

    async def test_maintenance_snapshot_cancel(self: Any) -> None:
        """MaintenanceSnapshotCancel: nothing is left, and the server does not go on."""
        process, etcd = await self.large_server()
        await self.stopped(etcd, lambda saving: saving.cancel(), CancelledError)
        await self.until(lambda: sockets_to(process.url) <= 1)

    async def test_maintenance_snapshot_timeout(self: Any) -> None:
        """MaintenanceSnapshotTimeout, MaintenanceSnapshotWithVersionTimeout: the server falls silent."""
        process, etcd = await self.large_server()
        error = await self.stopped(etcd, lambda _: process.pause(), Timeout, timeout=5)
        said = rf"^Maintenance.Snapshot at {self.url_of(process)}: nothing came for 5 seconds; \d+ of \d+ bytes had"
        self.assertRegex(str(error), said)
        process.resume()

    async def test_maintenance_snapshot_error_inflight(self: Any) -> None:
        """MaintenanceSnapshotErrorInflight, MaintenanceSnapshotWithVersionErrorInflight: the server dies."""
        process, etcd = await self.large_server()
        error = await self.stopped(etcd, lambda _: process.kill(), Unavailable)
        self.assertIn(f"Maintenance.Snapshot at {self.url_of(process)}: the connection was lost", str(error))

    async def test_close_inflight(self: Any) -> None:
        """The client is closed."""
        process, etcd = await self.large_server()
        await self.stopped(etcd, lambda _: etcd.close(), Error)

    async def test_progress_raises(self: Any) -> None:
        """What it raises ends the snapshot."""
        process, etcd = await self.large_server()

        def progress(written: int, in_all: int) -> None:
            if written > MEGABYTE:
                raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            await etcd.maintenance.snapshot(self.path, progress)
        self.assert_nothing_left()

    async def stopped(
        self: Any, etcd: Client, stop: Callable[[Deferred[Snapshot]], Any], error: type[Exception], **options: Any
    ) -> Any:
        """A snapshot that is stopped in the middle; the error that it fails with, and nothing is left."""
        stopping: list[Any] = []

        def progress(written: int, in_all: int) -> None:
            if written > MEGABYTE and not stopping:
                self.assertEqual(os.listdir(self.directory), ["snapshot.db.part"])
                stopping.append(maybeDeferred(stop, saving))

        saving = etcd.maintenance.snapshot(self.path, progress, **options)
        with self.assertRaises(error) as caught:
            await self.soon(saving)
        self.assert_nothing_left()
        # this may go on from within what stops it
        await self.until(lambda: stopping)
        await self.soon(stopping[0])
        return caught.exception

    async def test_cannot_be_written(self: Any) -> None:
        """A clear error, and no half file."""
        for path, kind in ((f"{self.directory}/none/a", FileNotFoundError), (self.directory, IsADirectoryError)):
            with self.assertRaises(kind) as caught:
                await self.etcd.maintenance.snapshot(path)
            self.assertIn(path, str(caught.exception))
        self.assert_nothing_left()
        first = self.etcd.maintenance.snapshot(self.path)
        with self.assertRaises(FileExistsError):
            await self.etcd.maintenance.snapshot(self.path)
        self.assert_whole(await first)

    async def program(self: Any, *command: str) -> tuple[str, str]:
        """What a program, and those that it starts, print; a large server is where they look for one."""
        process, _ = await self.large_server()
        environment = {**os.environ, "ETCD_URL": self.url_of(process), "PYTHONPATH": str(ROOT)}
        output, errors, status = await getProcessOutputAndValue(command[0], command[1:], environment)
        self.assertEqual(status, 0, errors)
        return output.decode(), errors.decode()

    async def test_file_too_large(self: Any) -> None:
        """A file cannot grow any more: a clear error, and no half file."""
        output, errors = await self.program(sys.executable, "-c", SAVING, self.path, "1000000")
        self.assertEqual((output, errors), (f"[Errno 27] File too large: '{self.path}.part'\n", ""))
        self.assert_nothing_left()

    async def may_mount(self: Any) -> list[str]:
        """The beginning of a command that may, in a place of its own."""
        unshare = which("unshare") or "unshare"
        for namespaces in NAMESPACES:
            mount = [*namespaces, "mount", "-t", "tmpfs", "tmpfs", self.directory]
            if which(unshare) and await getProcessValue(unshare, mount, os.environ) == 0:
                return [unshare, *namespaces]
        raise SkipTest("a disk that is full is one of a megabyte, which may not be mounted here")

    async def test_disk_full(self: Any) -> None:
        """Nor can the disk, which is empty then, as before."""
        shell = [*await self.may_mount(), "sh", "-c", ON_SMALL_DISK, "sh", self.directory, sys.executable, SAVING]
        output, errors = await self.program(*shell)
        self.assertEqual((output, errors), (f"[Errno 28] No space left on device: '{self.path}.part'\n", ""))

    async def test_several_at_a_time(self: Any) -> None:
        """Each in its place; calls go on meanwhile."""
        process, etcd = await self.large_server()
        paths = [f"{self.path}{number}" for number in range(3)]
        saving = gatherResults([etcd.maintenance.snapshot(path) for path in paths], consumeErrors=True)
        answered = 0
        while not saving.called:
            await etcd.get(b"filling/0", keys_only=True)
            answered += 1
        self.assertEqual(len({snapshot.size for snapshot in await saving}), 1)
        self.assertEqual(sorted(os.listdir(self.directory)), [os.path.basename(path) for path in paths])
        self.assertGreater(answered, 1)


@on_every_server(lambda server: server.version < (3, 6))
class Restored(_SnapshotCase):
    """A snapshot is worth what can be restored from it; ``etcdctl`` can do that up to 3.5."""

    skip = None if ETCDCTL else "there is no etcdctl"

    async def test_restore(self: Any) -> None:
        """A new server has the keys."""
        process = await self.own_server()
        etcd = self.client(process.url)
        for number in range(100):
            await etcd.set(b"%d" % number, b"value %d" % number)
        await etcd.maintenance.snapshot(self.path)
        await process.stop()
        me, data = Peer("restored", free_ports(1)[0]), os.path.join(self.directory, "data")
        bootstrap = Bootstrap(new_token(), free_ports(1)[0], me, (me,))
        await self.etcdctl(
            "snapshot", "restore", self.path, f"--data-dir={data}", "--name=restored",
            f"--initial-cluster=restored={me.url}", f"--initial-cluster-token={bootstrap.token}",
            f"--initial-advertise-peer-urls={me.url}",
        )  # fmt: skip
        child = Child([self.server.path, *bootstrap.arguments(self.server.label, data)], Log())
        self.addCleanup(lambda: Deferred.fromCoroutine(self.until(lambda: not child.is_running)))
        self.addCleanup(child.signal, signal.SIGKILL)
        restored = self.client(bootstrap.client_url)
        await self.until(lambda: self.serves(restored))
        found = await restored.get(KeySet.all())
        self.assertEqual(
            {kv.key: kv.value for kv in found.kvs}, {b"%d" % n: b"value %d" % n for n in range(100)}
        )

    async def serves(self: Any, etcd: Client) -> bool:
        try:
            return bool((await etcd.status()).leader)
        except (Unavailable, Timeout):
            return False


@on_every_server_at_length()
class SnapshotsOfMembers(ClusterCase):
    """Of one of several."""

    async def test_snapshot_from_server_client(self: Any) -> None:
        """MaintenanceSnapshotFromServerClient: of a chosen one; of any, though some are down."""
        cluster = await self.own_cluster()
        etcd = self.cluster_client(cluster)
        path = os.path.abspath(self.mktemp())
        for number, url in enumerate(self.urls_of(cluster), 1):
            snapshot = await etcd.maintenance.snapshot(path, endpoint=url)
            self.assertEqual(snapshot.size, os.path.getsize(path))
            taken = [await self.metric(TAKEN, one) for one in cluster.urls]
            self.assertEqual(taken, [1] * number + [0] * (3 - number))
        await self.member_at(cluster, etcd.endpoints[0]).kill()
        snapshot = await etcd.maintenance.snapshot(path)
        self.assertEqual(snapshot.size, os.path.getsize(path))
