"""
One piece of work, and the reactor runs until it is done.

``twisted.internet.task.react`` ends the process itself, and leaves work that a signal interrupts where it is; here it
is cancelled and waited for, so that its ``finally`` and ``async with`` can undo what it has begun.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Coroutine
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

# Windows has no SIGHUP, which comes when a terminal is closed.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def leave_when_interrupted() -> None:
    """
    From now on Ctrl-C ends the process at once and in silence, with 128 + its number; :func:`run` has a way of its own.

    For a process that has nothing to undo: Python's own way is a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))


def run(reactor: Any, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """
    Runs *reactor* for *work*, once.

    The first signal of :data:`SIGNALS` cancels the work and waits for its end; another Ctrl-C waits no longer.

    :return: the exit status that *work* returns, or 128 + the number of the signal if that ended it.
    :raises Exception: what *work* raises.
    """
    return _Run(reactor, work).run()


class _Run:
    def __init__(self, reactor: Any, work: Callable[[], Coroutine[Any, Any, int]]) -> None:
        self._reactor = reactor
        self._work = work
        self._outcomes: list[Any] = []
        self._signals: list[int] = []

    def run(self) -> int:
        self._reactor.callWhenRunning(self._start)
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            # Whoever has us ignore one (nohup, a shell that starts us in the background) means it.
            if handler != signal.SIG_IGN:
                signal.signal(number, self._signalled)
        try:
            # Its own handlers would stop it without the work being asked.
            self._reactor.run(installSignalHandlers=False)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._status()

    def _start(self) -> None:
        self._working = Deferred.fromCoroutine(self._work())
        self._working.addBoth(self._done)

    def _signalled(self, number: int, _: object) -> None:
        self._signals.append(number)
        if len(self._signals) == 1:
            self._reactor.callFromThread(lambda: self._working.cancel())
        elif number == signal.SIGINT:
            self._reactor.callFromThread(self._stop)

    def _done(self, outcome: Any) -> None:
        self._outcomes.append(outcome)
        self._stop()

    def _stop(self) -> None:
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()

    def _status(self) -> int:
        outcome = self._outcomes[0] if self._outcomes else Failure(CancelledError())
        if not isinstance(outcome, Failure):
            return int(outcome)
        if self._signals and outcome.check(CancelledError):
            return 128 + self._signals[0]
        outcome.raiseException()
