"""
What a server holds from its start until it is stopped, and the promises that it ends.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from typing import Any, Optional, TypeVar

from twisted.internet.defer import Deferred

from ._ports import Claims

T = TypeVar("T")


class AtExit:
    """
    A cleanup at the end of this interpreter, unless it is cancelled; the last one made is the first to run.

    Not in a fork of it: the child processes and files are those of the process that made them.
    """

    def __init__(self, cleanup: Callable[[], object]) -> None:
        self._cleanup = cleanup
        self._process = os.getpid()
        atexit.register(self._run)

    def _run(self) -> None:
        if os.getpid() == self._process:
            self._cleanup()

    def cancel(self) -> None:
        """Do not run it."""
        atexit.unregister(self._run)


class TemporaryDirectory:
    """A directory that is gone after :meth:`remove`, or with the interpreter."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="txetcd-")
        self._at_exit = AtExit(self.remove)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        self._at_exit.cancel()
        shutil.rmtree(self.path, ignore_errors=True)


class AtShutdown:
    """A cleanup before a reactor shuts down, which waits for it; unless it is cancelled."""

    def __init__(self, reactor: Any, cleanup: Callable[[], Deferred[None]]) -> None:
        self._reactor = reactor
        self._cleanup = cleanup
        self._trigger = reactor.addSystemEventTrigger("before", "shutdown", self._run)

    def _run(self) -> Deferred[None]:
        # A trigger that has fired must not be removed.
        self._trigger = None
        return self._cleanup()

    def cancel(self) -> None:
        """Do not run it."""
        if self._trigger is not None:
            self._reactor.removeSystemEventTrigger(self._trigger)
            self._trigger = None


class Life:
    """
    What a server, or a cluster of them, has from its start until it is stopped: the start under way, ports, a temporary
    directory if it wants one, and the promise to be stopped before the reactor shuts down.

    :param reactor: the reactor.
    :param stop: ends what was started.
    :ivar ports: the ports that it has taken.
    """

    def __init__(self, reactor: Any, stop: Callable[[], Deferred[None]]) -> None:
        self._reactor = reactor
        self._stop = stop
        self._starting: Optional[Deferred[Any]] = None
        self._when_started: list[Deferred[None]] = []
        self._at_shutdown: Optional[AtShutdown] = None
        self._directory: Optional[TemporaryDirectory] = None
        self.ports = Claims()

    @property
    def is_starting(self) -> bool:
        """Whether a start is under way; there is one at a time."""
        return self._starting is not None

    def start(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Do *work*, which is the start under way until it has ended."""
        self._starting = starting = Deferred.fromCoroutine(work)
        return starting.addBoth(self._started)

    def _started(self, result: T) -> T:
        self._starting = None
        waiting, self._when_started = self._when_started, []
        for one in waiting:
            # In another turn: whoever has the start itself is told first.
            self._reactor.callLater(0, one.callback, None)
        return result

    async def cancel_start(self) -> None:
        """Cancel the start under way, if there is one, and wait until it has undone what it had begun."""
        if self._starting is not None:
            ended: Deferred[None] = Deferred()
            self._when_started.append(ended)
            self._starting.cancel()
            await ended

    @property
    def has_begun(self) -> bool:
        """Whether something runs, or is kept, that :meth:`end` has not ended yet."""
        return self._at_shutdown is not None

    def begin(self) -> None:
        """From now on the reactor does not shut down without stopping it."""
        if self._at_shutdown is None:
            self._at_shutdown = AtShutdown(self._reactor, self._stop)

    def directory(self) -> str:
        """The path of a directory that is there until the end; the same one every time."""
        if self._directory is None:
            self._directory = TemporaryDirectory()
        return self._directory.path

    def end(self) -> None:
        """Nothing runs any more: give up all that was held."""
        if self._at_shutdown is not None:
            self._at_shutdown.cancel()
            self._at_shutdown = None
        if self._directory is not None:
            self._directory.remove()
            self._directory = None
        self.ports.release()
