"""
Callers that read and write, each one thing after the other, and note what they are told.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable
from random import Random
from typing import Any, Callable

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from test.history import Fate, History
from txetcd import Client, KeySet, OpDel, OpSet, Transaction

PAUSE = 0.01
"""Seconds between two calls of a caller: so the servers are busy, and the machine is not."""

BATCH = 20
"""Keys that are read together."""

COUNTERS = 4
"""So few, that callers get in each other's way."""


class Load:
    """
    A mixed load on one client, whose keys nobody else writes.

    :param reactor: the reactor.
    :param callers: how many there are.
    :param seed: for what each of them does.
    :ivar history: what they asked for, and what they were told.
    :ivar done: how often each kind of call was answered.
    """

    def __init__(self, reactor: Any, etcd: Client, callers: int, seed: int = 1) -> None:
        self.history = History()
        self.done: Counter[str] = Counter()
        self._reactor = reactor
        self._is_over = False
        self._recent: deque[bytes] = deque([b"-"], maxlen=100)
        self._callers = [_Caller(self, etcd, number, seed * 1000 + number) for number in range(callers)]
        self._work: list[Deferred[None]] = []

    def start(self) -> None:
        """Begins."""
        self._work = [Deferred.fromCoroutine(self._run(caller)) for caller in self._callers]

    def stop(self) -> Deferred[Any]:
        """Waits until all calls that are under way have ended; fails with what should not have been raised."""
        self._is_over = True
        work, self._work = self._work, []
        return gatherResults(work, consumeErrors=True)

    async def _run(self, caller: _Caller) -> None:
        while not self._is_over:
            await caller.step()
            await deferLater(self._reactor, PAUSE)

    def written(self, key: bytes) -> None:
        """It is there from now on, for others to read."""
        self._recent.append(key)

    def any_key(self, random: Random) -> bytes:
        """A key that was written lately."""
        return random.choice(self._recent)


class _Caller:
    """
    :ivar mine: its keys that are there.
    """

    def __init__(self, load: Load, etcd: Client, number: int, seed: int) -> None:
        self._load = load
        self._history = load.history
        self._etcd = etcd
        self._number = number
        self._random = Random(seed)
        self._count = 0
        self._mine: list[bytes] = []
        self._kinds: dict[str, Callable[[], Awaitable[bool]]] = {
            "set": self.set,
            "compare and swap": self.increment,
            "delete": self.delete,
            "transaction": self.transact,
            "get": self.get,
            "serializable get": self.get_serializable,
            "range": self.get_range,
        }

    async def step(self) -> None:
        """One call, or two that belong together."""
        kind = self._random.choice(list(self._kinds))
        if await self._kinds[kind]():
            self._load.done[kind] += 1

    def _new_key(self) -> bytes:
        self._count += 1
        return b"%d/%d/%d" % (self._number, self._count // BATCH, self._count)

    def _written(self, key: bytes) -> None:
        self._mine.append(key)
        self._load.written(key)

    async def set(self) -> bool:
        """A key of its own."""
        key = self._new_key()
        write = await self._history.write({key: b"of " + key}, lambda: self._etcd.set(key, b"of " + key))
        if write.fate is not Fate.DONE:
            return False
        self._written(key)
        return True

    async def increment(self) -> bool:
        """A counter that others increment as well."""
        counter = b"counter/%d" % self._random.randrange(COUNTERS)
        kvs = await self._history.read(KeySet(counter), lambda: self._etcd.get(counter))
        if kvs is None:
            return False
        value = b"%d by %s" % (kvs[0].version if kvs else 0, self._new_key())
        if not kvs:
            write = await self._history.write({counter: value}, lambda: self._etcd.create(counter, value))
        else:
            write = await self._history.write({counter: value}, lambda: self._etcd.replace(kvs[0], value))
        return write.fate is Fate.DONE

    async def delete(self) -> bool:
        """A key that it has written."""
        if not self._mine:
            return False
        key = self._take()
        write = await self._history.write({key: None}, lambda: self._etcd.delete(key))
        return write.fate is Fate.DONE

    async def transact(self) -> bool:
        """Two new keys, in place of an old one."""
        if not self._mine:
            return False
        keys, old = [self._new_key(), self._new_key()], self._take()
        txn = Transaction([], [*(OpSet(key, b"of " + key) for key in keys), OpDel(old)])
        changes = {**{key: b"of " + key for key in keys}, old: None}
        write = await self._history.write(changes, lambda: self._etcd.transact(txn))
        if write.fate is not Fate.DONE:
            return False
        for key in keys:
            self._written(key)
        return True

    def _take(self) -> bytes:
        """A key that is there, and that it will not touch again."""
        return self._mine.pop(self._random.randrange(len(self._mine)))

    async def get(self) -> bool:
        """What somebody has written lately."""
        return await self._read(KeySet(self._load.any_key(self._random)))

    async def get_serializable(self) -> bool:
        """The same, perhaps stale."""
        return await self._read(KeySet(self._load.any_key(self._random)), serializable=True)

    async def get_range(self) -> bool:
        """Keys that were written one after the other."""
        batch = self._load.any_key(self._random).rpartition(b"/")[0] + b"/"
        return await self._read(KeySet(batch, prefix=True))

    async def _read(self, keys: KeySet, serializable: bool = False) -> bool:
        kvs = await self._history.read(
            keys, lambda: self._etcd.get(keys, serializable=serializable), may_be_stale=serializable
        )
        return kvs is not None
