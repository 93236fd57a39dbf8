"""
Events: how a writer is kept as fast as the watches that read what it writes, whatever framework they are made for.

The writer is a process of its own (:mod:`benchmarks.workers.writer`), so that what it costs is not counted here. It
writes one transaction for each byte that it is given, and it is given one whenever the watches have read one. So there
is always something to read, but never more than the server keeps for a watch that is slower than the changes. One that
is further behind has to catch up from the server's history: for etcd that is several times the work of telling it at
once, and it rests for a tenth of a second after each part. Then it would be the server that is measured.

Standard library only, since every interpreter that is measured imports it.
"""

from __future__ import annotations

import subprocess
import sys
from threading import Lock
from typing import Any, Union

from . import shared
from .loads import EVENT_SIZE, EVENTS_END, TRANSACTION_PUTS

#: How many transactions are on their way to watches at a time, counted for each of these; etcd keeps 128 for a stream.
IN_FLIGHT = 64

#: After so many seconds a watch has started, where the client does not tell when it has.
SETTLED = 0.5


def start_writer() -> subprocess.Popen[bytes]:
    """
    A writer, when it is ready. The server's URL, and the interpreter that has what the writer needs, are in the command
    line of each worker.

    :raises RuntimeError: if it never will be.
    """
    url, interpreter = sys.argv[1:3]
    command = [interpreter, "-m", "benchmarks.workers.writer", url.replace("http://", "grpc://")]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert writer.stdout is not None
    if not writer.stdout.readline():
        raise RuntimeError(f"the writer ended with {writer.wait()}")
    return writer


class Flow:
    """
    What all watches of one measurement read. They may be in threads.

    :param writer: what :func:`start_writer` returns, or what is like its ``stdin``.

    :ivar figures: what was measured, when all watches have ended.
    """

    def __init__(self, writer: Any, watches: int, seconds: float) -> None:
        self._writer = writer
        self._watches = watches
        self._seconds = seconds
        self._lock = Lock()
        self._starting = watches
        self._in_flight = self._read = 0
        self.figures: dict[str, Any] = {}

    def started(self) -> None:
        """A watch has. When all have, time runs."""
        with self._lock:
            self._starting -= 1
            if not self._starting:
                self._stopwatch = shared.Stopwatch(self._seconds)
                self._in_flight = max(1, IN_FLIGHT // self._watches)
                self._writer.write(b"." * self._in_flight)

    def read(self) -> None:
        """A watch has read a whole transaction."""
        with self._lock:
            self._read += 1
            if self._read % self._watches:
                return
            if not self._stopwatch.is_over:
                self._writer.write(b".")
            else:
                self._in_flight -= 1
                if not self._in_flight:
                    self._finish()

    def _finish(self) -> None:
        """Everything was read: what comes now tells the watches to end, and is not measured."""
        self.figures = self._stopwatch.figures(self._read * TRANSACTION_PUTS)
        self._writer.close()


class Reader:
    """
    What one watch reads.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._left = TRANSACTION_PUTS
        self.started = flow.started

    def seen(self, key: Union[bytes, str], value: Union[bytes, str]) -> bool:
        """
        Looks at an event, as some clients decode it only then. Counting is part of the CPU of all clients; so it is
        little.

        :returns: whether it is the last one.
        :raises ValueError: if nobody has written it.
        """
        if len(key) + len(value) != EVENT_SIZE:
            return _is_end(key)
        self._left -= 1
        if not self._left:
            self._left = TRANSACTION_PUTS
            self._flow.read()
        return False


def _is_end(key: Union[bytes, str]) -> bool:
    if key not in (EVENTS_END, EVENTS_END.decode()):
        raise ValueError(f"nobody has written {key!r} with a value like this")
    return True
