"""
Snapshots: what becomes of the pieces, and that nothing is left of what is not whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from test.fakes import FakeStream
from test.test_maintenance import ONE, TWO, MaintenanceCase, status
from txetcd import Closed, PermissionDenied, ProtocolViolation, Snapshot, Timeout, Unavailable, _snapshot
from txetcd import _schema as schema
from txetcd._calls import DEFAULT_TIMEOUT, LONG_TIMEOUT
from txetcd._messages import Empty, SnapshotResponse
from txetcd._snapshot import SnapshotFile
from txetcd.errors import PERMISSION_DENIED, UNAUTHENTICATED, AuthOldRevision, Error, InvalidAuthToken, WrongCluster
from txetcd.values import Header

PAGES = bytes(range(256)) * 16
DIGEST = hashlib.sha256(PAGES).digest()
WHOLE = PAGES + DIGEST
SHA256 = DIGEST.hex()


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def answers(data: bytes = PAGES, digest: bytes = DIGEST, version: str = "", size: int = 1024) -> list[SnapshotResponse]:
    """What the server says: the database in pieces, then its digest."""
    said, left = [], len(data)
    for piece in pieces(data, size):
        left -= len(piece)
        said.append(SnapshotResponse(Header(), left, piece, version))
    return [*said, SnapshotResponse(Header(), 0, digest, version)]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Files of this process cannot be larger than *size* bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class _Directory:
    """
    A test with a directory of its own.

    :ivar path: the place of a snapshot in it (``str``).
    """

    def setUp(self: Any) -> None:
        super().setUp()  # type: ignore[misc]
        self.directory = self.mktemp()
        os.makedirs(self.directory)
        self.path = os.path.join(self.directory, "snapshot.db")

    def assert_only(self: Any, **contents: bytes) -> None:
        """In the directory is this, and nothing else."""
        found = {path.stem: path.read_bytes() for path in Path(self.directory).iterdir()}
        self.assertEqual(found, contents)


class FileTests(_Directory, SynchronousTestCase):
    """The file."""

    def written(self, *data: bytes) -> SnapshotFile:
        file = SnapshotFile(self.path)
        self.addCleanup(file.discard)
        for piece in data:
            file.write(piece)
        return file

    def test_maintenance_snapshot_content_digest(self) -> None:
        """MaintenanceSnapshotContentDigest: however it comes, whole or byte by byte, with the digest cut anywhere."""
        for size in (1, 31, 32, 33, 512, len(PAGES) - 1, len(PAGES), len(PAGES) + 1, len(WHOLE)):
            file = self.written(*pieces(WHOLE, size))
            self.assertEqual((file.finish(), file.size), (SHA256, len(WHOLE)))
            self.assert_only(snapshot=WHOLE)

    def test_save_snapshot_file_permissions(self) -> None:
        """SaveSnapshotFilePermissions: only the owner may read it, at any time."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        file = self.written(WHOLE)
        self.assertEqual(stat.S_IMODE(os.stat(f"{self.path}.part").st_mode), 0o600)
        file.finish()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_beside(self) -> None:
        """What is there stays until the new one is whole."""
        Path(self.path).write_bytes(b"old")
        file = self.written(PAGES)
        self.assertEqual(Path(self.path).read_bytes(), b"old")
        file.write(DIGEST)
        file.finish()
        self.assert_only(snapshot=WHOLE)

    def test_not_whole(self) -> None:
        """Another digest, none, or an end too early."""
        wrong = PAGES[:-1] + b"?"
        for data, text in (
            (wrong + DIGEST, f"its SHA-256 is {hashlib.sha256(wrong).hexdigest()}, and not {SHA256}"),
            (PAGES + bytes(32), f"its SHA-256 is {SHA256}, and not {bytes(32).hex()}"),
            (DIGEST, "the snapshot was damaged on the way: its SHA-256 is e3b0c442"),
            (PAGES, "the snapshot ends after 4096 bytes, and not with its SHA-256"),
            (WHOLE[:-1], "the snapshot ends after 4127 bytes, and not with its SHA-256"),
            (b"", "the snapshot ends after 0 bytes"),
        ):
            Path(self.path).write_bytes(b"old")
            file = self.written(data)
            self.assertIn(text, str(self.assertRaises(ProtocolViolation, file.finish)))
            file.discard()
            self.assert_only(snapshot=b"old")

    def test_cannot_be_written(self) -> None:
        """It says which file, and why; nothing is made or changed."""
        Path(self.directory, "file").write_bytes(b"")
        os.mkdir(self.path)
        for path, kind, named in (
            (self.path, IsADirectoryError, self.path),
            (f"{self.directory}/none/a.db", FileNotFoundError, f"{self.directory}/none/a.db.part"),
            (f"{self.directory}/file/a.db", NotADirectoryError, f"{self.directory}/file/a.db.part"),
            (f"{self.directory}/{'a' * 300}", OSError, f"{self.directory}/{'a' * 300}.part"),
        ):
            error = self.assertRaises(kind, SnapshotFile, path)
            self.assertEqual(error.filename, named)
            self.assertIn(repr(named), str(error))
        self.assertEqual(sorted(os.listdir(self.directory)), ["file", "snapshot.db"])

    def test_no_file(self) -> None:
        """What is there and is no file stays: it may be ``/dev/null``."""
        os.mkfifo(self.path)
        error = self.assertRaises(FileExistsError, SnapshotFile, self.path)
        self.assertEqual(
            str(error), f"[Errno {errno.EEXIST}] there is something that is no file: '{self.path}'"
        )
        self.assertTrue(stat.S_ISFIFO(os.stat(self.path).st_mode))
        self.assertEqual(os.listdir(self.directory), ["snapshot.db"])

    def test_one_at_a_time(self) -> None:
        """Another one is not written over, nor taken away."""
        other = self.written(PAGES)
        error = self.assertRaises(FileExistsError, SnapshotFile, self.path)
        self.assertEqual(
            str(error),
            f"[Errno {errno.EEXIST}] a snapshot is being written there, or was cut off: if so, remove it: "
            f"'{self.path}.part'",
        )
        other.write(DIGEST)
        other.finish()
        self.assert_only(snapshot=WHOLE)

    def test_no_room(self) -> None:
        """While it is written, and at the end when it must be on the disk."""
        file = self.written(PAGES)
        with room_for(2 * len(PAGES)):
            error = self.assertRaises(OSError, file.write, 10 * PAGES)
        self.assertEqual((error.errno, error.filename), (errno.EFBIG, f"{self.path}.part"))
        file.discard()
        self.assert_only()
        file = self.written(PAGES[:512], hashlib.sha256(PAGES[:512]).digest())
        with room_for(100):
            # it was held in a buffer so far
            error = self.assertRaises(OSError, file.finish)
            self.assertEqual((error.errno, error.filename), (errno.EFBIG, f"{self.path}.part"))
            file.discard()
        self.assert_only()

    def test_on_the_disk_first(self) -> None:
        """It is synced, then moved, then its name is."""
        done: list[str] = []

        def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                done.append(name)
                return real(*args)

            return call

        self.patch(_snapshot.os, "fsync", noted("fsync", os.fsync))
        self.patch(_snapshot.os, "replace", noted("replace", os.replace))
        self.written(WHOLE).finish()
        self.assertEqual(done, ["fsync", "replace", "fsync"])

    def test_synced_meanwhile(self) -> None:
        """Not everything at the end, which would take long."""
        synced: list[int] = []
        self.patch(_snapshot, "_SYNC_EVERY", 1000)
        self.patch(_snapshot.os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
        self.written(*pieces(PAGES, 400))
        self.assertEqual(synced, [1200, 2000, 3200, 4000])

    def test_a_system_that_cannot_sync_names(self) -> None:
        """The snapshot is there all the same."""

        def refuse(path: str, flags: int) -> int:
            raise PermissionError(errno.EACCES, "not here", path)

        file = self.written(WHOLE)
        self.patch(_snapshot.os, "open", refuse)
        file.finish()
        self.assert_only(snapshot=WHOLE)

    def test_in_the_current_directory(self) -> None:
        """A name without a directory."""
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        file = SnapshotFile("snapshot.db")
        file.write(WHOLE)
        file.finish()
        self.directory = "."
        self.assert_only(snapshot=WHOLE)


class TransferTests(_Directory, MaintenanceCase):
    """The stream, and its end."""

    def begin(self, **options: Any) -> Deferred[Snapshot]:
        """A snapshot, whose server has been found."""
        saving = self.maintenance.snapshot(self.path, **options)
        self.transport.next(schema.STATUS).reply(status(1, 1))
        self.assertEqual(self.stream.request, Empty())
        return saving

    @property
    def stream(self) -> FakeStream:
        """The stream there is."""
        (stream,) = self.transport.live
        self.assertIs(stream.rpc, schema.SNAPSHOT)
        return stream

    def assert_over(self, saving: Deferred[Snapshot], *wanted: type[BaseException]) -> Any:
        """It has failed so; nothing is left of it, here or at the server."""
        error = self.failureResultOf(saving, *wanted).value
        self.assert_only()
        self.assertEqual((self.transport.live, self.transport.waiting), ([], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return error

    def test_snapshot(self) -> None:
        """It is saved, and says what it is; whoever wants to know is told how far it is."""
        told: list[tuple[int, int]] = []
        saving = self.begin(progress=lambda *numbers: told.append(numbers))
        self.stream.say(*answers())
        self.assert_pending(saving)
        self.assertEqual(os.listdir(self.directory), ["snapshot.db.part"])
        self.stream.end()
        self.assertEqual(self.successResultOf(saving), Snapshot(len(WHOLE), SHA256))
        self.assert_only(snapshot=WHOLE)
        self.assertEqual(told, [(size, 4128) for size in (1024, 2048, 3072, 4096, 4128)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_path(self) -> None:
        """It may be a path."""
        self.path, name = Path(self.path), self.path  # type: ignore[assignment]
        saving = self.begin()
        self.stream.say(*answers())
        self.stream.end()
        self.successResultOf(saving)
        self.assertTrue(os.path.exists(name))

    def test_save_snapshot_version(self) -> None:
        """SaveSnapshotVersion, MaintenanceSnapshotWithVersionVersion: the version of the storage."""
        saving = self.begin()
        self.stream.say(*answers(version="3.6.0"))
        self.stream.end()
        self.assertEqual(self.successResultOf(saving).version, "3.6.0")

    def test_endpoint(self) -> None:
        """Of any member, which is that of the first call; or of this one."""
        for endpoint, wanted in ((None, ONE), (TWO, TWO), ("http://elsewhere:2379", "http://elsewhere:2379")):
            saving = self.maintenance.snapshot(self.path, endpoint=endpoint)
            self.at(wanted, schema.STATUS).reply(status(1, 1))
            self.assertEqual(self.stream.endpoint, wanted)
            self.cancelled(saving)

    def test_the_one_that_answers(self) -> None:
        """Not one that would be asked before it, and was found dead."""
        self.client.set_endpoints([ONE, TWO])
        for url in (ONE, ONE, ONE, TWO):
            self.clock.advance(1)
            self.client._way.endpoints.failed(url, self.clock.seconds(), self.clock.seconds())
        self.clock.advance(0.5)
        self.assertEqual(self.client.endpoints, (ONE, TWO))
        saving = self.maintenance.snapshot(self.path)
        self.at(TWO, schema.STATUS).reply(status(2, 2))
        self.assertEqual(self.stream.endpoint, TWO)
        self.cancelled(saving)

    def test_silence_is_remembered(self) -> None:
        """One that has fallen silent is not asked first any more."""
        saving = self.begin(timeout=5)
        self.clock.advance(5)
        self.assertEqual(self.assert_over(saving, Timeout).endpoint, ONE)
        saving = self.maintenance.snapshot(self.path)
        self.at(TWO, schema.STATUS)
        self.cancelled(saving)

    def test_cannot_be_written(self) -> None:
        """Then nobody is asked."""
        os.mkdir(self.path)
        self.failureResultOf(self.maintenance.snapshot(self.path), IsADirectoryError)
        os.rmdir(self.path)
        Path(f"{self.path}.part").write_bytes(b"another")
        self.failureResultOf(self.maintenance.snapshot(self.path), FileExistsError)
        self.assertEqual(os.listdir(self.directory), ["snapshot.db.part"])
        self.transport.asked()

    def test_disk_full(self) -> None:
        """In the middle; the error names the file."""
        saving = self.begin()
        first, *rest = answers(size=16 * 1024, data=PAGES * 10)
        self.stream.say(first)
        stream = self.stream
        with room_for(20_000):
            stream.say(*rest)
        self.assertEqual(self.assert_over(saving, OSError).filename, f"{self.path}.part")
        self.assertTrue(stream.is_aborted)

    def test_disk_full_at_the_end(self) -> None:
        """When it must be on the disk."""
        saving = self.begin()
        self.stream.say(*answers(size=100))
        with room_for(2000):
            self.stream.end()
        self.assertEqual(self.assert_over(saving, OSError).errno, errno.EFBIG)

    def test_cannot_be_moved(self) -> None:
        """Somebody has put a directory there meanwhile."""
        saving = self.begin()
        self.stream.say(*answers())
        os.mkdir(self.path)
        self.stream.end()
        self.failureResultOf(saving, IsADirectoryError)
        self.assertEqual(os.listdir(self.directory), ["snapshot.db"])

    def test_wrong_digest(self) -> None:
        """It was damaged; the error says where."""
        saving = self.begin(endpoint=TWO)
        self.stream.say(*answers(digest=bytes(32)))
        self.stream.end()
        error = self.assert_over(saving, ProtocolViolation)
        self.assertTrue(str(error).startswith(f"Maintenance.Snapshot at {TWO}: the snapshot was damaged on the way"))

    def test_ends_early(self) -> None:
        """Without an error, but too early."""
        saving = self.begin()
        self.stream.say(*answers()[:-1])
        self.stream.end()
        self.assertIn("ends after 4096 bytes", str(self.assert_over(saving, ProtocolViolation)))

    def test_maintenance_snapshot_cancel(self) -> None:
        """MaintenanceSnapshotCancel: at any moment."""
        for steps in range(4):
            saving = self.maintenance.snapshot(self.path)
            if steps:
                self.transport.next(schema.STATUS).reply(status(1, 1))
                self.stream.say(*answers()[: steps - 1])
            saving.cancel()
            self.assert_over(saving, CancelledError)

    def test_maintenance_snapshot_timeout(self) -> None:
        """MaintenanceSnapshotTimeout: it takes as long as it likes, but must go on."""
        for timeout, used in ((None, LONG_TIMEOUT), (5, 5)):
            self.renew()
            saving = self.begin(timeout=timeout)
            for piece in answers(size=64):
                self.clock.advance(used - 0.5)
                self.stream.say(piece)
            self.assert_pending(saving)
            self.clock.advance(used - 0.5)
            self.assert_pending(saving)
            self.clock.advance(0.5)
            error = self.assert_over(saving, Timeout)
            self.assertEqual(
                str(error),
                f"Maintenance.Snapshot at {ONE}: nothing came for {used:.3g} seconds; 4128 of 4128 bytes had come",
            )
            self.assertFalse(error.maybe_applied)

    def test_nothing_comes(self) -> None:
        """Not even a first piece; or no answer of any server, which is known as soon as for any call."""
        saving = self.begin(timeout=5)
        self.clock.advance(5)
        self.assertIn("nothing came for 5 seconds; 0 bytes had come", str(self.assert_over(saving, Timeout)))
        saving = self.maintenance.snapshot(self.path, endpoint=ONE)
        self.assertEqual(self.transport.next(schema.STATUS).timeout, DEFAULT_TIMEOUT)
        self.clock.advance(DEFAULT_TIMEOUT)
        self.assertIn("Maintenance.Status", str(self.assert_over(saving, Timeout)))
        saving = self.maintenance.snapshot(self.path, endpoint=ONE, timeout=3)
        self.clock.advance(3)
        self.assert_over(saving, Timeout)

    def test_maintenance_snapshot_error_inflight(self) -> None:
        """MaintenanceSnapshotErrorInflight: nothing is tried again once something has come."""
        for error in (Unavailable(None, "the connection was lost"), PermissionDenied(PERMISSION_DENIED, "no")):
            saving = self.begin()
            self.stream.say(*answers()[:2])
            self.stream.end(error)
            self.assertEqual(self.assert_over(saving, type(error)).call, "Maintenance.Snapshot")

    def test_permission_denied(self) -> None:
        """What trying again cannot mend is not tried again."""
        saving = self.begin()
        self.stream.end(PermissionDenied(PERMISSION_DENIED, "etcdserver: permission denied"))
        error = self.assert_over(saving, PermissionDenied)
        self.assertEqual(str(error), f"Maintenance.Snapshot at {ONE}: etcdserver: permission denied")

    def test_once_more(self) -> None:
        """Before the first piece, another token or another endpoint may help; but not for ever."""
        mendable: tuple[Callable[[], Error], ...] = (
            lambda: InvalidAuthToken(UNAUTHENTICATED, "etcdserver: invalid auth token"),
            lambda: AuthOldRevision(UNAUTHENTICATED, "etcdserver: revision of auth store is old"),
            lambda: Unavailable(None, "the connection was lost"),
        )
        for make in mendable:
            saving = self.begin()
            self.stream.end(make())
            self.assert_pending(saving)
            self.transport.next(schema.STATUS).reply(status(1, 1))
            self.stream.say(*answers())
            self.stream.end()
            self.successResultOf(saving)
            os.remove(self.path)
            saving = self.begin()
            self.stream.end(make())
            self.transport.next(schema.STATUS).reply(status(1, 1))
            self.stream.end(make())
            self.assert_over(saving, type(make()))

    def test_elsewhere(self) -> None:
        """The second time another endpoint is asked, unless only one may be."""
        for endpoint, wanted in ((None, TWO), (ONE, ONE)):
            self.client.set_endpoints([ONE])
            self.client.set_endpoints([ONE, TWO])
            saving = self.begin(endpoint=endpoint)
            self.assertEqual(self.stream.endpoint, ONE)
            self.stream.end(Unavailable(None, "the connection was lost"))
            self.at(wanted, schema.STATUS).reply(status(1, 1))
            self.assertEqual(self.stream.endpoint, wanted)
            self.cancelled(saving)

    def test_wrong_cluster(self) -> None:
        """The pieces do not tell of which cluster they are; the status does."""
        self.client._way.identity.cluster_id = 7
        saving = self.maintenance.snapshot(self.path, endpoint=ONE)
        self.transport.next(schema.STATUS).reply(attrs.evolve(status(1, 1), header=Header(cluster_id=8)))
        self.assert_over(saving, WrongCluster)

    def test_progress_raises(self) -> None:
        """What it raises ends it."""
        mistake = ZeroDivisionError("mine")

        def fail(written: int, in_all: int) -> None:
            raise mistake

        saving = self.begin(progress=fail)
        self.stream.say(*answers())
        self.assertIs(self.assert_over(saving, ZeroDivisionError), mistake)

    def test_progress_cancels(self) -> None:
        """It may do that."""
        saving: Optional[Deferred[Snapshot]] = None

        def cancel(written: int, in_all: int) -> None:
            assert saving is not None
            saving.cancel()

        saving = self.begin(progress=cancel)
        self.stream.say(*answers())
        self.assert_over(saving, CancelledError)

    def test_closed(self) -> None:
        """The client is closed: before, while a server is looked for, in the middle."""
        for steps in range(3):
            self.renew()
            saving = self.begin() if steps else self.maintenance.snapshot(self.path)
            if steps > 1:
                self.stream.say(*answers()[:2])
            self.client.close()
            self.assert_over(saving, Closed)
            self.assert_over(self.maintenance.snapshot(self.path), Closed)
