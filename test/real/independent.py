"""
What somebody else sees: ``etcdctl watch``, a Go program, which tells the history that watches are compared with.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

from test.real.test_interop import ETCDCTL
from txetcd import KeySet
from txetcd.testing import History


class _Printed(ProcessProtocol):
    """
    Adds what an ``etcdctl`` prints to a history.

    :ivar errors: what it complained of so far (``bytes``).
    :ivar ended: fires when it has ended.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._line = bytearray()
        self.errors = b""
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            for event in History.of_etcdctl(bytes(self._line) + whole + newline).matching(KeySet.all()):
                self._history.add(event)
            self._line.clear()
        self._line += rest

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(None)


class Independent:
    """
    An ``etcdctl`` that sees everything, until it is told to stop. It ends by itself when it cannot log in while it sets
    up its watch again, as during an election; then the next one goes on behind what was seen.

    :param urls: where the members of the cluster are.
    :param first: the first revision that it is to see.
    :param options: further ones of ``etcdctl``.
    :ivar history: what has happened so far.
    """

    def __init__(self, reactor: Any, urls: Sequence[str], first: int = 1, options: Sequence[str] = ()) -> None:
        if ETCDCTL is None:
            raise LookupError("there is no etcdctl, which watches are compared with: set TXETCD_TEST_ETCDCTL")
        self._reactor = reactor
        self._first = first
        self._options = [f"--endpoints={','.join(urls)}", *options, "--write-out=json", "watch", "--prefix", ""]
        self._is_over = False
        self.history = History([])
        self._begin()

    def _begin(self) -> None:
        assert ETCDCTL is not None
        first = max(self._first, self.history.revision + 1)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}
        command = [ETCDCTL, *self._options, f"--rev={first}"]
        self._printed = _Printed(self.history)
        self._process = self._reactor.spawnProcess(self._printed, ETCDCTL, command, {**kept, "ETCDCTL_API": "3"})
        self._printed.ended.addCallback(self._ended)

    def _ended(self, _: object) -> None:
        if not self._is_over:
            self._begin()

    @property
    def errors(self) -> str:
        """What it complains of, or has, before it ended the last time."""
        return self._printed.errors.decode(errors="replace")

    def stop(self) -> Deferred[None]:
        """Ends it; fires when it has."""
        self._is_over = True
        if not self._printed.ended.called:
            self._process.signalProcess("KILL")
        return self._printed.ended
