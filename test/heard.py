"""
What a watch has told, to be compared with what has happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Optional

from txetcd import Event, KeySet
from txetcd.testing import History, Violation, WatchRecord


class Heard:
    """
    What one watch has told.

    Of one key set everything is compared. Of several it is not said which of them an event was told for, nor where each
    of them begins: so that is compared key by key, as often as each event came, from the first one on.

    :param keys: the key sets that are watched.
    :param start_revision: as the watch was told; ``None`` for one from now on.
    :param filters: as the watch was told.
    :ivar end: the revision up to which it is to be compared; 0 if there is nothing.
    """

    def __init__(self, keys: Sequence[KeySet], start_revision: Optional[int], filters: Sequence[str]) -> None:
        self._keys = tuple(keys)
        self._start = start_revision
        self._filters = filters
        self._is_single = len(self._keys) == 1
        self._records: list[WatchRecord] = []
        self._current: Optional[WatchRecord] = None
        self._by_key: dict[tuple[bytes, int], WatchRecord] = {}
        self._times: Counter[tuple[int, bytes]] = Counter()
        self._bookmark: Optional[int] = None
        self.end = 0
        if self._is_single and start_revision is not None:
            self._current = self._new_record(self._keys[0], start_revision)

    def __repr__(self) -> str:
        return f"the watch of {', '.join(map(repr, self._keys))} from {self._start or 'now'} on"

    def _new_record(self, keys: KeySet, start_revision: Optional[int]) -> WatchRecord:
        record = WatchRecord(keys, start_revision, self._filters)
        self._records.append(record)
        return record

    @property
    def is_to_begin(self) -> bool:
        """Whether it is still to tell where it begins."""
        return self._is_single and not self._records

    def event(self, event: Event) -> None:
        """It has told this."""
        if event.is_synthetic:
            self.has_gap()
            return
        self.end = max(self.end, event.mod_revision)
        (self._record_of_all(event) if self._is_single else self._record_of_key(event)).event(event)

    def _record_of_all(self, event: Event) -> WatchRecord:
        if self._current is None:
            self._current = self._new_record(self._keys[0], event.mod_revision)
        return self._current

    def _record_of_key(self, event: Event) -> WatchRecord:
        what = (event.mod_revision, event.key)
        self._times[what] += 1
        place = (event.key, self._times[what])
        if place not in self._by_key:
            self._by_key[place] = self._new_record(KeySet(event.key), event.mod_revision)
        return self._by_key[place]

    def bookmark(self, revision: Optional[int]) -> None:
        """It says that everything up to this one was told."""
        # that nothing was due before the start goes without saying; and perhaps nobody gets as far as that
        if revision is None or revision == self._bookmark or revision < (self._start or 0):
            return
        if self.is_to_begin:
            self._current = self._new_record(self._keys[0], None)
        elif self._current is not None:
            self.end = max(self.end, revision)
        if self._current is not None:
            self._bookmark = revision
            self._current.bookmark(revision)

    def has_gap(self) -> None:
        """What comes next need not be what follows, as changes were compacted away, and it was told not to mind."""
        self._current = None

    def has_several(self, added: Sequence[KeySet]) -> None:
        """Its key sets are changed, perhaps with more of them from now on."""
        self._keys += tuple(added)
        self._is_single = False
        self._current = None

    def violations(self, history: History) -> Iterator[Violation]:
        """The promises that were broken."""
        for record in self._records:
            yield from record.violations(history)
        for (revision, key), times in self._times.items():
            if times > sum(key in keys for keys in self._keys):
                yield Violation("unique", f"{key!r} at {revision} came {times} times")
