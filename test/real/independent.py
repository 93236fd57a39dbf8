"""
What somebody else sees: ``etcdctl watch``, a Go program, which tells the history that watches are compared with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

from test.servers import ETCDCTL
from txetcd import KeySet
from txetcd.testing import History

_COMPACTED = re.compile(rb'"CompactRevision":([1-9]\d*)')


class _Printed(ProcessProtocol):
    """
    Adds what an ``etcdctl`` prints to a history.

    :ivar compact_revision: the oldest that can be had, if it was told that it asked for more (``int``).
    :ivar errors: what it complained of so far (``bytes``).
    :ivar ended: fires when it has ended.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._line = bytearray()
        self.compact_revision = 0
        self.errors = b""
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            self._add(bytes(self._line) + whole + newline)
            self._line.clear()
        self._line += rest

    def _add(self, lines: bytes) -> None:
        for event in History.of_etcdctl(lines).matching(KeySet.all()):
            self._history.add(event)
        for compacted in _COMPACTED.finditer(lines):
            self.compact_revision = int(compacted[1])

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(None)


class Independent:
    """
    An ``etcdctl`` that sees everything that happens to all keys. It ends by itself when it cannot log in while it sets
    up its watch again, as during an election, or when nobody answers; then the next one goes on behind what was seen.

    :param urls: where the members of the cluster are.
    :param first: the first revision that it is to see; what was compacted away before it was started is left out.
    :param options: further ones of ``etcdctl``.
    :ivar history: what has happened so far.
    """

    def __init__(self, reactor: Any, urls: Sequence[str], first: int = 1, options: Sequence[str] = ()) -> None:
        self._reactor = reactor
        self._urls = ",".join(urls)
        self._first = first
        self._options = list(options)
        self._is_over = False
        self.history = History([])

    def __repr__(self) -> str:
        seen, errors = self.history.revision, self._printed.errors.decode(errors="replace")
        return f"<etcdctl watch of {self._urls} from {self._first} on, {seen} was seen: {errors[-1000:]}>"

    def start(self) -> None:
        """Begins, or goes on behind what was seen."""
        self._is_over = False
        self._begin()

    def _begin(self) -> None:
        if ETCDCTL is None:
            raise LookupError("there is no etcdctl, which every watch is compared with: set TXETCD_TEST_ETCDCTL")
        first = max(self._first, self.history.revision + 1)
        options = [f"--endpoints={self._urls}", *self._options, "--write-out=json"]
        command = [ETCDCTL, *options, "watch", "--prefix", "", f"--rev={first}"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}
        self._printed = _Printed(self.history)
        self._process = self._reactor.spawnProcess(self._printed, ETCDCTL, command, {**kept, "ETCDCTL_API": "3"})
        self._printed.ended.addCallback(self._ended)

    def _ended(self, _: object) -> None:
        self._first = max(self._first, self._printed.compact_revision)
        if not self._is_over:
            self._begin()

    def has_seen(self, revision: int) -> bool:
        """Whether it has seen everything up to this one."""
        return self.history.revision >= revision

    def stop(self) -> Deferred[None]:
        """Ends it; fires when it has."""
        self._is_over = True
        if not self._printed.ended.called:
            self._process.signalProcess("KILL")
        return self._printed.ended
