"""
What a transaction of :mod:`txetcd.recipes.stm` compares, and what the store tells of one whose answer was lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Optional, Union

import attrs

from ..ops import Comp, CompModified, OpDel, OpGet, OpSet, Transaction
from ..values import KeyValue, Outcome, Range

Reads = Mapping[bytes, Optional[KeyValue]]
"""What was read of each key; ``None`` where there was none."""

Writes = Mapping[bytes, Union[OpSet, OpDel]]
"""What is to be written."""


@attrs.frozen
class Level:
    """
    A level of isolation.

    :ivar is_pinned: all reads show the same revision, that of the first.
    :ivar compares_reads: it is committed only if what was read is as it was.
    :ivar compares_writes: ... and if what is written was not written since the first read.
    """

    is_pinned: bool
    compares_reads: bool
    compares_writes: bool


LEVELS = {
    "SerializableSnapshot": Level(True, True, True),
    "Serializable": Level(True, True, False),
    "RepeatableReads": Level(False, True, False),
    "ReadCommitted": Level(False, False, False),
}
"""Those of ``concurrency.Isolation`` in etcd's Go client, by their names there."""


def reading(keys: Iterable[bytes], revision: int, serializable: bool) -> Transaction:
    """Reads keys as they are at a revision, or now if that is 0."""
    return Transaction([], [OpGet(key, revision=revision, serializable=serializable) for key in keys])


def read(keys: Iterable[bytes], outcome: Outcome) -> dict[bytes, Optional[KeyValue]]:
    """What was read of *keys*, in their order."""
    found = (answer.kvs if isinstance(answer, Range) else [] for answer in outcome.responses)
    return {key: kvs[0] if kvs else None for key, kvs in zip(keys, found)}


def mod_revision(kv: Optional[KeyValue]) -> int:
    """The revision that wrote it last; 0 if there is none, as comparisons have it."""
    return 0 if kv is None else kv.mod_revision


def committing(level: Level, reads: Reads, writes: Writes, revision: int) -> Transaction:
    """
    What commits it: ``conflicts()`` and ``commit()`` of ``concurrency/stm.go``. If the comparisons do not hold, it
    brings what was read as it is now.

    :param revision: that of the first read; 0 if nothing was read.
    """
    compare: list[Comp] = []
    again: list[OpGet] = []
    if level.compares_reads:
        compare.extend(CompModified(key, "==", mod_revision(kv)) for key, kv in reads.items())
        again.extend(map(OpGet, reads))
    if level.compares_writes and revision:
        # what was read is compared already, and more strictly
        compare.extend(CompModified(key, "<", revision + 1) for key in writes if key not in reads)
    return Transaction(compare, list(writes.values()), again)


# --- an answer that was lost


def _guards(reads: Reads, writes: Writes) -> list[tuple[bytes, KeyValue]]:
    return [(key, kv) for key, kv in reads.items() if kv is not None and key in writes]


def is_guarded(level: Level, reads: Reads, writes: Writes) -> bool:
    """
    Whether it can be sent again without being carried out twice: it changes a key that must be as it was read. Of a key
    that was there that never holds again, as no revision comes twice. A key that was *not* there is no guard: it may
    have been deleted again by somebody.
    """
    return level.compares_reads and bool(_guards(reads, writes))


def is_conflict(reads: Reads, writes: Writes, now: Reads) -> bool:
    """
    Whether a guarded transaction was certainly not carried out, and never will be, although a copy of it may still be
    on its way.

    :param now: what was read, as it was when the comparisons did not hold.
    """
    can_never_hold = any(kv is not None and mod_revision(now[key]) != kv.mod_revision for key, kv in reads.items())
    return can_never_hold and not _may_be_applied(reads, writes, now)


def _may_be_applied(reads: Reads, writes: Writes, now: Reads) -> bool:
    """Whether, by all that is known, it may have been what has changed its guards first."""
    changes = set()
    for key, before in _guards(reads, writes):
        after, write = now[key], writes[key]
        if mod_revision(after) == before.mod_revision:
            return False
        if after is None or after.create_revision != before.create_revision:
            # deleted, at least once: what was before that is not told any more
            continue
        if isinstance(write, OpDel):
            return False
        if after.version == before.version + 1:
            # what is there is all that was written since
            if (after.value, after.lease) != (write.value, write.lease):
                return False
            changes.add(after.mod_revision)
    return len(changes) < 2


def marked(writes: Writes, token: bytes) -> list[OpSet]:
    """The writes that nobody else can have made, because they have the *token* in them."""
    sets = (write for write in writes.values() if isinstance(write, OpSet))
    return [write for write in sets if token in write.key or token in (write.value or b"")]
