"""
A child process and its log.

The child is a plain :class:`subprocess.Popen` that writes to a file, so that the reactor holds nothing for it.
"""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence

from ._binary import EtcdFailed, environment, how_ended
from ._life import AtExit
from ._ports import PortLost

LOG_BYTES = 256 * 1024
"""How much of the end of its log a server shows; a long test with many restarts writes many megabytes."""

HEAD_LINES, TAIL_LINES = 5, 15
"""
How many lines of a run's output an error shows, of its beginning and of its end. What is wrong mostly comes last; a
wrong flag comes first, before a page of advice.
"""


class Log:
    """
    What a server wrote in all its runs, in a file without a name.

    It is read without moving its position, which the child that writes shares.
    """

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile(buffering=0)
        weakref.finalize(self, self.file.close)

    @property
    def size(self) -> int:
        """How many bytes were written so far."""
        return os.fstat(self.file.fileno()).st_size

    def text(self, start: int = 0) -> str:
        """What was written from byte *start* on, but at most the last ``LOG_BYTES``."""
        end = self.size
        begin = max(start, end - LOG_BYTES)
        return os.pread(self.file.fileno(), end - begin, begin).decode("utf-8", "replace")


def excerpt(output: str) -> str:
    """The beginning and the end of *output*; all of it if it is short."""
    lines = output.splitlines()
    if len(lines) > HEAD_LINES + TAIL_LINES:
        lines = [*lines[:HEAD_LINES], "...", *lines[-TAIL_LINES:]]
    return "\n".join(lines)


def has_stopped(pid: int) -> bool:
    """
    Whether each thread of this process has stopped, where the system says that. ``waitid`` does too, but PyPy has none.
    """
    return all(map(_stopped, glob.glob(f"/proc/{pid}/task/*/stat")))


def _stopped(stat: str) -> bool:
    try:
        with open(stat, encoding="utf-8", errors="replace") as said:
            return said.read().rpartition(")")[2].split()[0] in "TtZX"
    except OSError:  # it has ended meanwhile
        return True


class Child:
    """One run of a server."""

    def __init__(self, command: Sequence[str], log: Log) -> None:
        self._binary = command[0]
        self._log = log
        self._log_start = log.size
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log.file,
            stderr=log.file,
            env=environment(os.environ),
            # Ctrl-C in the terminal is for the tests, which then stop their servers; it must not reach those first.
            start_new_session=True,
        )
        self._at_exit = AtExit(self._kill)

    def _kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Whether it lives. One that ended is reaped by this question."""
        if self._popen.poll() is None:
            return True
        self._at_exit.cancel()
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self.is_running:
            self._popen.send_signal(number)

    def pause(self) -> None:
        """Stop it, if it lives, and wait until it has: its threads may be at work for some milliseconds more."""
        self.signal(signal.SIGSTOP)
        while self.is_running and not has_stopped(self.pid):
            time.sleep(0.001)

    def failure(self, what: str) -> EtcdFailed:
        """The error that says *what* went wrong, and what this run wrote."""
        output = self._log.text(self._log_start)
        lost = not self.is_running and "address already in use" in output
        wrote = f"it wrote:\n{excerpt(output)}" if output.strip() else "it wrote nothing"
        return (PortLost if lost else EtcdFailed)(f"{what}; {wrote}")

    def check_running(self) -> None:
        """
        :raises PortLost: if it ended since its port was taken.
        :raises EtcdFailed: if it ended for another reason.
        """
        if not self.is_running:
            raise self.failure(f"{self._binary} ended {how_ended(self._popen.returncode)} before it served")
