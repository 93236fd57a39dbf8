"""
What callers were told, compared with all that has happened in the store.

For a store that nobody else writes. Of each write it must be plain what it has done: by a value that is given once, or
by a key that is deleted once.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from enum import Enum, auto
from itertools import islice
from typing import Any, Callable, Optional

import attrs

from txetcd import Error, Event, KeySet, KeyValue

Changes = Mapping[bytes, Optional[bytes]]
"""The new values of keys; ``None`` for one that is deleted."""

Found = tuple[bytes, int, int]
"""What is known of a key: its value, its version, and the revision of its last change."""


class Fate(Enum):
    """
    What a caller knows of a write.

    :cvar DONE: it happened, once.
    :cvar UNKNOWN: it happened once, or never.
    :cvar REFUSED: it never happened.
    """

    DONE = auto()
    UNKNOWN = auto()
    REFUSED = auto()


@attrs.define(eq=False)
class Write:
    """
    :ivar floor: the latest revision that anybody had been told of when it began.
    :ivar revision: its own, if it was done.
    """

    changes: Changes
    floor: int
    fate: Fate = Fate.UNKNOWN
    revision: int = 0


@attrs.frozen
class Read:
    """
    :ivar revision: what was read is told to be of this one.
    :ivar floor: as of a write; 0 if it may be stale.
    """

    keys: KeySet
    found: dict[bytes, Found]
    revision: int
    floor: int


class _Store:
    """What the keys are, at one revision after another."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._found: dict[bytes, Found] = {}

    def apply(self, revision: int, changes: Changes) -> None:
        for key, value in changes.items():
            if value is None:
                del self._found[key]
                del self._keys[bisect_left(self._keys, key)]
                continue
            if key not in self._found:
                insort(self._keys, key)
            _, version, _ = self._found.get(key, (b"", 0, 0))
            self._found[key] = (value, version + 1, revision)

    def find(self, keys: KeySet) -> dict[bytes, Found]:
        found = {}
        for key in islice(self._keys, bisect_left(self._keys, keys.start), None):
            if key not in keys:
                break
            found[key] = self._found[key]
        return found


class History:
    """
    Notes what is asked and what is answered.

    :ivar writes: all of them (``list`` of :class:`Write`).
    :ivar fates: how many have ended how (``Counter`` of :class:`Fate`).
    :ivar reads: those that were answered (``list`` of :class:`Read`).
    :ivar failed_reads: why the others were not (``list`` of :class:`txetcd.Error`).
    :ivar failed_writes: why writes failed, by the class of the error (``Counter``).
    """

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.fates: Counter[Fate] = Counter()
        self.reads: list[Read] = []
        self.failed_reads: list[Error] = []
        self.failed_writes: Counter[str] = Counter()
        self._latest = 0

    async def write(self, changes: Changes, ask: Callable[[], Awaitable[Any]]) -> Write:
        """Asks for a write; it does not fail if that does."""
        write = Write(changes, self._latest)
        self.writes.append(write)
        try:
            answer = await ask()
        except Error as error:
            write.fate = Fate.UNKNOWN if error.maybe_applied else Fate.REFUSED
            self.failed_writes[type(error).__name__] += 1
        else:
            write.fate, write.revision = Fate.DONE, answer.header.revision
            self._latest = max(self._latest, write.revision)
        self.fates[write.fate] += 1
        return write

    async def read(
        self, keys: KeySet, ask: Callable[[], Awaitable[Any]], *, may_be_stale: bool = False
    ) -> Optional[list[KeyValue]]:
        """Asks for a read; what was found, or ``None`` if it fails."""
        floor = 0 if may_be_stale else self._latest
        try:
            answer = await ask()
        except Error as error:
            self.failed_reads.append(error)
            return None
        found = {kv.key: (kv.value, kv.version, kv.mod_revision) for kv in answer.kvs}
        self.reads.append(Read(keys, found, answer.header.revision, floor))
        self._latest = max(self._latest, answer.header.revision)
        kvs: list[KeyValue] = answer.kvs
        return kvs

    def complaints(self, events: Iterable[Event]) -> list[str]:
        """
        What is not as it should be.

        :param events: everything that has happened in the store since it was made.
        """
        happened: dict[int, dict[bytes, Optional[bytes]]] = {}
        for event in events:
            happened.setdefault(event.mod_revision, {})[event.key] = event.value if event.is_put else None
        return [*self._about_writes(happened), *self._about_reads(happened)]

    def _about_writes(self, happened: Mapping[int, Changes]) -> list[str]:
        revisions: dict[Any, list[int]] = {frozenset(write.changes.items()): [] for write in self.writes}
        found = []
        for revision, changes in happened.items():
            its_write = frozenset(changes.items())
            if its_write in revisions:
                revisions[its_write].append(revision)
            else:
                found.append(f"nobody has asked for what happened at {revision}: {changes}")
        for write in self.writes:
            flaw = _flaw(write, revisions[frozenset(write.changes.items())])
            if flaw:
                found.append(f"{flaw}: {write}")
        return found

    def _about_reads(self, happened: Mapping[int, Changes]) -> list[str]:
        store, found = _Store(), []
        changes = sorted(happened.items(), reverse=True)
        for read in sorted(self.reads, key=lambda read: read.revision):
            while changes and changes[-1][0] <= read.revision:
                store.apply(*changes.pop())
            wanted = store.find(read.keys)
            if read.found != wanted:
                found.append(f"read, but not what was there, which was {wanted}: {read}")
            if read.revision < read.floor:
                found.append(f"stale: {read}")
        return found


def _flaw(write: Write, revisions: list[int]) -> str:
    """What is wrong with a write that happened at these revisions; nothing, as a rule."""
    if len(revisions) > 1:
        return f"happened at {revisions}"
    if write.fate is Fate.DONE and revisions != [write.revision]:
        return f"done, and happened at {revisions}"
    if write.fate is Fate.DONE and write.revision <= write.floor:
        return "done before it was asked for"
    if write.fate is Fate.REFUSED and revisions:
        return f"refused, and happened at {revisions}"
    return ""
