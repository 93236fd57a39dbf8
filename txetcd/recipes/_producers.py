"""
How items are put: once each, whatever becomes of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import attrs
from twisted.internet.defer import DeferredLock

from ..keyset import KeySet
from ..ops import CompCreated, CompModified, CompVersion, OpGet, OpSet, Transaction
from ..values import KeyValue, Range
from ._etcd import Etcd
from ._name import beside
from ._once import SETTLE, Done, Fresh, Journal, new_token, read
from ._order import ByPriority, InOrder

FIRST = 10**15
"""The number of the first item of a priority: so there is room for those that come back before it."""


class Putting:
    """
    Puts items behind one another, under keys that nobody else has.

    Nobody contends: the transaction compares a key that is never written, the fence, unless an answer was lost. Whoever
    has lost it writes the fence, so that what was not carried out by then never will be; others who are putting just
    then do so once more.

    :param etcd: the client.
    :param name: of the queue.
    """

    def __init__(self, etcd: Etcd, name: bytes) -> None:
        self._etcd = etcd
        self._prefix = InOrder(name).prefix
        self._fence = beside(name, b"/fence")
        self._journal = Journal(etcd, beside(name, b"/journal"))
        self._known = Fresh(etcd)
        self._fenced_at = 0

    async def put(self, values: Sequence[bytes]) -> None:
        """All of them at once, in their order; if there are none, nothing is asked."""
        stem = self._prefix + new_token()
        if values:
            await self.put_at([(stem + b"-%03d" % number, value) for number, value in enumerate(values)], SETTLE)

    async def put_at(self, items: Sequence[tuple[bytes, bytes]], settle: Optional[float]) -> None:
        """Under these keys, which nobody else writes."""
        while True:
            if not self._known.is_fresh:
                await self._learn()
            done = await self._try(items, settle)
            if done.is_applied:
                self._known.reach(done.revision)
                return
            await self._learn()

    async def _learn(self) -> None:
        found = await self._etcd.get(self._fence)
        self._fenced_at = found.kvs[0].mod_revision if found.kvs else 0
        self._known.reach(found.header.revision)

    async def _try(self, items: Sequence[tuple[bytes, bytes]], settle: Optional[float]) -> Done:
        token = new_token()
        txn = Transaction(
            [CompModified(self._fence, "==", self._fenced_at)],
            [*(OpSet(key, value) for key, value in items), self._journal.mark(token)],
        )
        # whoever has taken the item may have deleted it since
        fence = Transaction([CompCreated(items[0][0], "==", 0)], [OpSet(self._fence, token)])
        return await self._journal.submit(txn, token, self._known.revision, fence=fence, settle=settle)


@attrs.define
class _Priority:
    """What is known of one: a revision, and the number that comes next then."""

    known: Fresh
    next: int = FIRST


class NumberedPutting:
    """
    Puts items behind those of their priority, as Go's ``recipe.PriorityQueue`` does: the number behind the last one, if
    nobody else has put one since it was read. That is told by a key of the priority, which is the journal as well.

    :param etcd: the client.
    :param name: of the queue.
    """

    def __init__(self, etcd: Etcd, name: bytes) -> None:
        self._etcd = etcd
        self._order = ByPriority(name)
        # one after the other, as they would contend
        self._turn = DeferredLock()
        self._priorities: dict[int, _Priority] = {}

    async def put(self, priority: int, values: Sequence[bytes]) -> None:
        """All of them at once, in their order; if there are none, nothing is asked."""
        async with self._turn:
            if values:
                await self._put(priority, values)

    async def _put(self, priority: int, values: Sequence[bytes]) -> None:
        head = self._order.of(priority)
        last = OpGet(KeySet(head + b"/", prefix=True), keys_only=True, limit=1, sort_order="DESCEND", sort_target="KEY")
        known = self._priorities.setdefault(priority, _Priority(Fresh(self._etcd)))
        if not known.known.is_fresh:
            looked = await read(self._etcd, [last])
            found: Any = looked.responses[0]
            _saw(known, found, looked.header.revision)
        while True:
            items = [(head + b"/%016d" % (known.next + at), value) for at, value in enumerate(values)]
            done = await self._try(items, known.known.revision, [], last, SETTLE)
            if done.is_applied:
                known.next += len(values)
                known.known.reach(done.revision)
                return
            _saw(known, done.responses[0], done.revision)

    async def put_back(self, kv: KeyValue) -> None:
        """One that was the first of its priority when it was taken."""
        head, _, number = kv.key.rpartition(b"/")
        first = OpGet(KeySet(head + b"/", prefix=True), keys_only=True, limit=1)
        async with self._turn:
            while True:
                looked = await read(self._etcd, [first])
                found: Any = looked.responses[0]
                key = _before(kv.key, found)
                guard = CompVersion(KeySet(head + b"/", key + b"\x00"), "==", 0)
                done = await self._try([(key, kv.value)], looked.header.revision, [guard], first, None)
                if done.is_applied:
                    return

    async def _try(
        self, items: Sequence[tuple[bytes, bytes]], revision: int, guards: Sequence[Any], look: OpGet, settle: Any
    ) -> Done:
        token = new_token()
        # as Go's newSequentialKV
        journal = Journal(self._etcd, b"__" + items[0][0].rpartition(b"/")[0])
        txn = Transaction(
            [CompModified(journal.key, "<", revision + 1), *guards],
            [journal.mark(token), *(OpSet(key, value) for key, value in items)],
            [look],
        )
        return await journal.submit(txn, token, revision, settle=settle)


def _saw(priority: _Priority, last: Range, revision: int) -> None:
    number = _number(last.kvs[0].key) if last.kvs else None
    priority.next = FIRST if number is None else number + 1
    priority.known.reach(revision)


def _number(key: bytes) -> Optional[int]:
    number = key.rpartition(b"/")[2]
    return int(number) if number.isdigit() else None


def _before(key: bytes, first: Range) -> bytes:
    """Where an item stands before the first one of its priority: at its own key, if there is room."""
    other = first.kvs[0].key if first.kvs else None
    if other is None or key < other:
        return key
    number = _number(other)
    if number is not None:
        return key.rpartition(b"/")[0] + b"/%016d" % (number - 1)
    # below 0, as those of Go begin with that; or somebody has chosen the key. A slash is not for the end
    return other[:-1] + (b"." if other.endswith(b"0") else bytes([max(other[-1] - 1, 0)]))
