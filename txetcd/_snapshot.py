"""
A snapshot of the database, from the server to a file.

The file is written and synced by the thread of the reactor, in small pieces as they come: what the disk does not take
the server does not send, and nothing is held in memory. A slow disk slows the reactor down.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Callable, Optional, Union

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from ._backoff import in_seconds
from ._calls import Calls, CallStream
from ._messages import Empty, SnapshotResponse
from ._retry import is_of_endpoint
from ._schema import SNAPSHOT, STATUS
from ._transport import CallCancelled
from .errors import AuthOldRevision, Error, InvalidAuthToken, ProtocolViolation, Timeout, UserEmpty
from .values import Snapshot

Progress = Callable[[int, int], object]

DIGEST_SIZE = hashlib.sha256().digest_size
"""Bytes of the SHA-256 that etcd sends behind the database, and that stays at the end of the file."""

PAGE_SIZE = 512
"""What the size of every database can be divided by: so ``etcdctl`` knows whether a digest follows."""

_SYNC_EVERY = 8 * 1024 * 1024
"""Bytes after which what is written is synced, so that it takes milliseconds each time and not seconds at the end."""

_MODE = 0o600
"""Only the owner may read it: it holds all keys, and the hashes of all passwords."""


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Errors of the system say which file they are about."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


class SnapshotFile:
    """
    A file that is there only when it is whole: it is written beside its place, and moved there at the end.

    :param path: its place; what is there is replaced.
    :raises OSError: if it cannot be written there.

    :ivar size: how many bytes were written (``int``).
    """

    def __init__(self, path: str) -> None:
        if os.path.isdir(path):
            # moving it there would fail, but only at the end
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if os.path.exists(path) and not os.path.isfile(path):
            # /dev/null would be gone, for all who use it
            raise FileExistsError(errno.EEXIST, "there is something that is no file", path)
        self._path = path
        self._part = f"{path}.part"
        self._digest = hashlib.sha256()
        self._tail = b""
        self._file = self._opened()
        self.size = 0

    def _opened(self) -> BinaryIO:
        try:
            return open(self._part, "xb", opener=lambda name, flags: os.open(name, flags, _MODE))
        except FileExistsError:
            busy = "a snapshot is being written there, or was cut off: if so, remove it"
            raise FileExistsError(errno.EEXIST, busy, self._part) from None

    def write(self, data: bytes) -> None:
        """
        Writes a piece.

        :raises OSError: if that cannot be done.
        """
        with _naming(self._part):
            self._file.write(data)
            if self.size // _SYNC_EVERY != (self.size + len(data)) // _SYNC_EVERY:
                self._sync()
        self.size += len(data)
        held = self._tail + data
        self._digest.update(held[:-DIGEST_SIZE])
        self._tail = held[-DIGEST_SIZE:]

    def finish(self) -> str:
        """
        Puts it in its place, if it is what the server meant to send.

        :returns: the SHA-256 of the database, hexadecimal.
        :raises ProtocolViolation: if it is not.
        :raises OSError: if it cannot be written to the disk, or put in its place.
        """
        found, meant = self._digest.hexdigest(), self._tail.hex()
        if self.size % PAGE_SIZE != DIGEST_SIZE:
            raise ProtocolViolation(f"the snapshot ends after {self.size} bytes, and not with its SHA-256")
        if found != meant:
            raise ProtocolViolation(f"the snapshot was damaged on the way: its SHA-256 is {found}, and not {meant}")
        with _naming(self._part):
            self._sync()
            self._file.close()
        os.replace(self._part, self._path)
        _sync_directory_of(self._path)
        return found

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def discard(self) -> None:
        """Leaves nothing behind."""
        with suppress(OSError):
            # what is still to be written may not find room either
            self._file.close()
        with suppress(OSError):
            os.remove(self._part)


def _sync_directory_of(path: str) -> None:
    """Makes the name of a file last, where the system can do that."""
    with suppress(OSError):
        directory = os.open(os.path.dirname(path) or os.curdir, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class Transfer:
    """
    A snapshot on its way to a file.

    The server is asked for its status first: so one that works is found, and of the right cluster, which a snapshot
    does not tell. What goes wrong before the first piece has come is tried once more.

    :param path: where the file shall be.
    :param endpoint: ask only this one; ``""`` for any.
    :param seconds: how long nothing may come.
    :param progress: called with the bytes that were written, and those there will be.

    :ivar done: as :meth:`Maintenance.snapshot <txetcd.Maintenance.snapshot>` promises.
    """

    def __init__(
        self, calls: Calls, clock: Any, path: str, endpoint: str, seconds: float, progress: Optional[Progress]
    ) -> None:
        self._calls = calls
        self._clock = clock
        self._path = path
        self._endpoint = endpoint
        self._seconds = seconds
        self._progress = progress
        self._work: Deferred[Any] = succeed(None)
        self._stream: Optional[CallStream] = None
        self._file: Optional[SnapshotFile] = None
        self._timer: Optional[IDelayedCall] = None
        self._moved_at = 0.0
        self._in_all = 0
        self._version = ""
        self._is_second = self._is_over = False
        self.done: Deferred[Snapshot] = Deferred(self._cancelled)

    def start(self) -> Deferred[Snapshot]:
        """Begins; returns ``done``."""
        try:
            self._file = SnapshotFile(self._path)
        except OSError:
            self._end(Failure())
        else:
            self._begin()
        return self.done

    def _begin(self) -> None:
        seconds = min(self._seconds, self._calls.timeout)
        self._work = self._calls.call(STATUS, Empty(), seconds, endpoint=self._endpoint)
        self._work.addCallback(self._ask).addErrback(self._end)

    def _ask(self, _: object) -> None:
        self._moved_at = self._clock.seconds()
        self._watch()
        # of those that may be asked, the one that has just answered comes first
        self._stream = self._calls.stream(SNAPSHOT, Empty(), self._received, endpoint=self._endpoint)
        self._stream.ended.addCallbacks(self._complete, self._failed)

    # --- what comes

    def _received(self, piece: SnapshotResponse) -> None:
        assert self._file is not None
        self._moved_at = self._clock.seconds()
        self._in_all = self._in_all or len(piece.blob) + piece.remaining_bytes + DIGEST_SIZE
        self._version = piece.version
        try:
            self._file.write(piece.blob)
            if self._progress is not None:
                self._progress(self._file.size, self._in_all)
        except Exception:
            self._end(Failure())

    def _complete(self, _: None) -> None:
        if self._is_over:
            # we have ended it ourselves
            return
        assert self._file is not None
        try:
            digest = self._file.finish()
        except (OSError, Error):
            self._end(Failure())
        else:
            self._end(Snapshot(self._file.size, digest, self._version))

    def _failed(self, failure: Failure) -> None:
        if not self._in_all and not self._is_second and _may_be_mended(failure.value):
            self._is_second = True
            self._stop_watching()
            self._begin()
        else:
            self._end(failure)

    def _watch(self) -> None:
        left = self._moved_at + self._seconds - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._watch)
        else:
            of = f" of {self._in_all}" if self._in_all else ""
            assert self._file is not None and self._stream is not None
            got = f"{self._file.size}{of} bytes had come"
            silence = f"nothing came for {in_seconds(self._seconds)}; {got}"
            self._stream.blame(silence)
            self._end(Failure(Timeout(silence)))

    def _stop_watching(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    # --- the end

    def _cancelled(self, _: Deferred[Snapshot]) -> None:
        self._end(Failure(CallCancelled(False)))

    def _end(self, result: Union[Snapshot, Failure]) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._stop_watching()
        self._work.cancel()
        if self._stream is not None:
            self._stream.abort()
        if isinstance(result, Failure):
            if self._file is not None:
                self._file.discard()
            self._locate(result.value)
        self.done.callback(result)

    def _locate(self, error: object) -> None:
        if isinstance(error, Error) and error.call is None:
            url = "" if self._stream is None else self._stream.url
            error.call, error.endpoint = SNAPSHOT.name, url or self._endpoint or None


def _may_be_mended(error: object) -> bool:
    """Whether another endpoint, or another token, may help."""
    if isinstance(error, (InvalidAuthToken, AuthOldRevision, UserEmpty)):
        return True
    return isinstance(error, Error) and is_of_endpoint(error)
