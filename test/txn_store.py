"""
A store that answers transactions as etcd does, as far as recipes ask: for tests of what recipes make of the answers.
"""

from __future__ import annotations

from typing import Any, Optional, Union

import attrs

from txetcd.errors import Compacted, Error, FutureRevision
from txetcd.ops import Comp, CompCreated, CompModified, CompValue, Op, OpDel, OpGet, OpSet, OpTxn, Transaction
from txetcd.values import Deleted, Header, KeyValue, Outcome, Range, Revision


class Store:
    """
    All that the keys ever were.

    :ivar revision: the last one.
    :ivar compacted: the oldest one that can be read.
    """

    def __init__(self, **kvs: bytes) -> None:
        self.revision = 1
        self.compacted = 0
        # of what is being written
        self._at = 0
        self._history: dict[bytes, list[tuple[int, Optional[KeyValue]]]] = {}
        for name, value in kvs.items():
            self.write(OpSet(name.encode(), value))

    def kv(self, key: bytes, revision: int = 0) -> Optional[KeyValue]:
        """What a key is, or was."""
        past = [kv for at, kv in self._history.get(key, []) if not revision or at <= revision]
        return past[-1] if past else None

    def value(self, key: bytes) -> Optional[bytes]:
        """What it has."""
        kv = self.kv(key)
        return None if kv is None else kv.value

    def write(self, *ops: Union[OpSet, OpDel]) -> int:
        """Writes all of it at one revision, and tells which."""
        return self.transact(Transaction([], ops)).header.revision

    def transact(self, txn: Transaction) -> Outcome:
        """Carries it out."""
        self._check(txn)
        before = self.revision
        outcome = self._carried_out(txn)
        return attrs.evolve(outcome, header=Header(revision=self.revision)) if self.revision > before else outcome

    def answer(self, txn: Transaction) -> Union[Outcome, Error]:
        """Carries it out, or tells why not."""
        try:
            return self.transact(txn)
        except Error as error:
            return error

    def range(self, op: OpGet) -> Range:
        """What a read finds."""
        revision = op.revision or self._at or self.revision
        past = ((key, self.kv(key, revision)) for key in sorted(self._history) if key in op.key)
        kvs = [kv for _, kv in past if kv is not None]
        shown = kvs[: op.limit] if op.limit else kvs
        return Range(shown, Header(revision=self.revision), len(kvs), len(shown) < len(kvs))

    def _check(self, txn: Transaction) -> None:
        for op in txn.success + txn.failure:
            if isinstance(op, OpGet) and op.revision and op.revision < self.compacted:
                raise Compacted(11, Compacted.text or "")
            if isinstance(op, OpGet) and op.revision > self.revision:
                raise FutureRevision(11, FutureRevision.text or "")

    def _carried_out(self, txn: Transaction) -> Outcome:
        """All of it at one revision, the next one, if it writes anything."""
        before, self._at = self._at, self._at or self.revision + 1
        succeeded = all(map(self._holds, txn.compare))
        answers = [self._answer(op) for op in (txn.success if succeeded else txn.failure)]
        if not before:
            if any(history[-1][0] == self._at for history in self._history.values()):
                self.revision = self._at
            self._at = 0
        return Outcome(succeeded, Header(revision=self.revision), answers)

    def _holds(self, comp: Comp) -> bool:
        kvs = [self.kv(key) for key in self._history if key in comp.key]
        found = [kv for kv in kvs if kv is not None]
        if isinstance(comp, CompValue):
            return bool(found) and all(_compared(kv.value, comp.compare, comp.value) for kv in found)
        if isinstance(comp, CompCreated):
            created = [kv.create_revision for kv in found] or [0]
            return all(_compared(revision, comp.compare, comp.create_revision) for revision in created)
        assert isinstance(comp, CompModified), comp
        modified = [kv.mod_revision for kv in found] or [0]
        return all(_compared(revision, comp.compare, comp.mod_revision) for revision in modified)

    def _answer(self, op: Op) -> Any:
        if isinstance(op, OpGet):
            return self.range(op)
        if isinstance(op, OpSet):
            return Revision(Header(revision=self.revision), self._put(op))
        if isinstance(op, OpTxn):
            return self._carried_out(op.transaction)
        assert isinstance(op, OpDel), op
        kvs = [kv for kv in map(self.kv, sorted(self._history)) if kv is not None and kv.key in op.key]
        for kv in kvs:
            self._history[kv.key].append((self._at, None))
        return Deleted(len(kvs), Header(revision=self.revision), kvs if op.return_previous else [])

    def _put(self, op: OpSet) -> Optional[KeyValue]:
        """What was there before, if that is asked for."""
        was = self.kv(op.key)
        version, created = (1, self._at) if was is None else (was.version + 1, was.create_revision)
        kv = KeyValue(op.key, op.value or b"", version, created, self._at, op.lease)
        self._history.setdefault(op.key, []).append((self._at, kv))
        return was if op.return_previous else None


def _compared(left: Any, operator: str, right: Any) -> bool:
    return bool({"==": left == right, "!=": left != right, "<": left < right, ">": left > right}[operator])
