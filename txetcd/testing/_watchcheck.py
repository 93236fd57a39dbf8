"""
Whether a watch keeps what it promises: what it has told is compared with all that has happened.

These are the nine guarantees that etcd's own robustness tests check of each watch (``tests/robustness/validate`` in
etcd's source). The history is to be taken by somebody else, as ``etcdctl watch --prefix "" --rev=1 --write-out=json``.
"""

from __future__ import annotations

import json
from base64 import b64decode
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Optional, Union

from .._check import check_all
from ..keyset import KeySet
from ..values import Event, KeyValue
from ._violation import Violation, check_none


class History:
    """
    All that has happened to all keys, from the first revision on.

    :param events: the changes, in the order in which they happened.
    :raises ValueError: if revisions go back, or one is missing in between.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._events: list[Event] = []
        self._revisions: list[int] = []
        # what each key was, by the revisions at which it became that; None for nothing
        self._states: dict[bytes, tuple[list[int], list[Optional[KeyValue]]]] = {}
        for event in check_all("events", events, Event, "Event"):
            self.add(event)

    @classmethod
    def of_etcdctl(cls, printed: Union[str, bytes]) -> History:
        """
        What ``etcdctl watch --prefix "" --rev=1 --write-out=json`` has *printed*; a line that is not complete is left
        out.
        """
        text = printed.decode() if isinstance(printed, bytes) else printed
        lines = text[: text.rfind("\n") + 1].splitlines()
        return cls(event for line in lines if line for event in _events_of(json.loads(line)))

    def add(self, event: Event) -> None:
        """This has happened next."""
        revision = event.mod_revision
        if revision not in (self.revision, self.revision + 1) and self._events:
            raise ValueError(f"revision {revision} follows {self.revision}: the history is not complete")
        self._events.append(event)
        self._revisions.append(revision)
        revisions, states = self._states.setdefault(event.key, ([], []))
        revisions.append(revision)
        states.append(None if event.is_delete else event.kv)

    @property
    def revision(self) -> int:
        """The last one that is known (``int``), 0 if none is."""
        return self._revisions[-1] if self._revisions else 0

    def __len__(self) -> int:
        return len(self._events)

    def matching(
        self, keys: KeySet, first: int = 0, filters: Sequence[str] = (), last: Optional[int] = None
    ) -> list[Event]:
        """What a watch of *keys* from the revision *first* on is to be told; if that is given, up to *last*."""
        left_out = {name[2:].lower() for name in filters}
        end = len(self) if last is None else bisect_right(self._revisions, last)
        events = self._events[bisect_left(self._revisions, first) : end]
        return [event for event in events if event.key in keys and event.type not in left_out]

    def before(self, event: Event) -> Optional[KeyValue]:
        """What the key of *event* was just before it, ``None`` for nothing."""
        revisions, states = self._states.get(event.key, ([], []))
        at = bisect_left(revisions, event.mod_revision)
        return states[at - 1] if at else None

    def state(self, keys: KeySet, revision: int) -> dict[bytes, KeyValue]:
        """What *keys* were at a *revision*."""
        found = {}
        for key, (revisions, states) in self._states.items():
            at = bisect_right(revisions, revision)
            kv = states[at - 1] if at else None
            if kv is not None and key in keys:
                found[key] = kv
        return found


def _events_of(response: dict[str, Any]) -> Iterable[Event]:
    for event in response.get("Events") or ():
        is_delete = event.get("type") in (1, "DELETE")
        yield Event("delete" if is_delete else "put", _kv_of(event["kv"]))


def _kv_of(fields: dict[str, Any]) -> KeyValue:
    return KeyValue(
        b64decode(fields["key"]),
        b64decode(fields.get("value", "")),
        fields.get("version", 0),
        fields.get("create_revision", 0),
        fields.get("mod_revision", 0),
        fields.get("lease", 0),
    )


class WatchRecord:
    """
    What a watch of one key set has told, to be compared with what has happened.

    ::

        record = WatchRecord(keys)
        async with etcd.watcher(keys) as watch:
            record.bookmark(watch.revision)
            async for event in watch:
                record.event(event)
                record.bookmark(watch.revision)
        ...
        record.check(History.of_etcdctl(printed))

    The guarantees are ``"filter"``, ``"ordered"``, ``"unique"``, ``"atomic"``, ``"bookmarkable"``, ``"resumable"``,
    ``"reliable"``, ``"is-create"`` and ``"previous"``.

    :param keys: what is watched (``bytes`` or :class:`~txetcd.KeySet`).
    :param start_revision: as the watch was told; without one it begins behind the first bookmark.
    :param filters: as the watch was told.
    """

    def __init__(
        self, keys: Union[bytes, KeySet], start_revision: Optional[int] = None, filters: Sequence[str] = ()
    ) -> None:
        self._keys = KeySet.of("keys", keys)
        self._start = start_revision
        self._filters = tuple(filters)
        self._steps: list[Union[Event, int]] = []

    def event(self, event: Event) -> None:
        """The watch has told this."""
        self._steps.append(event)

    def bookmark(self, revision: Optional[int]) -> None:
        """The watch says that everything up to this *revision* was told; nothing is noted of ``None``."""
        if revision is not None:
            self._steps.append(revision)

    @property
    def events(self) -> list[Event]:
        """What it has told (``list`` of :class:`~txetcd.values.Event`)."""
        return [step for step in self._steps if isinstance(step, Event)]

    def check(self, history: History) -> None:
        """
        Nothing was skipped, nothing came twice, or out of order.

        :raises AssertionError: if a promise was broken; it tells which ones.
        """
        check_none(f"the watch of {self._keys!r}", self.violations(history))

    def violations(self, history: History) -> list[Violation]:
        """The promises that were broken (``list`` of :class:`Violation`); none, if all is well."""
        return [*self._of_steps(), *self._of_each(history), *self._of_all(history)]

    # --- the guarantees

    def _of_steps(self) -> Iterable[Violation]:
        """Those that need no history."""
        seen: set[tuple[int, bytes]] = set()
        last, bookmark = 0, (self._start or 1) - 1
        for step in self._steps:
            if isinstance(step, int):
                if step < max(bookmark, last - 1):
                    yield Violation("bookmarkable", f"{step} after {max(bookmark, last - 1)}")
                bookmark = max(bookmark, step)
                continue
            revision, name = step.mod_revision, _name(step)
            if revision < last:
                yield Violation("ordered", f"{name} after revision {last}")
            if (revision, step.key) in seen:
                yield Violation("unique", f"{name} came twice")
            if revision <= bookmark:
                is_cut = revision == last
                yield Violation("atomic" if is_cut else "bookmarkable", f"{name} after {bookmark} was complete")
            seen.add((revision, step.key))
            last = max(last, revision)

    def _of_each(self, history: History) -> Iterable[Violation]:
        left_out = {name[2:].lower() for name in self._filters}
        for event in self.events:
            name = _name(event)
            if event.key not in self._keys or event.type in left_out:
                yield Violation("filter", f"{name} was not asked for")
            before = history.before(event)
            if event.is_put and event.is_create != (before is None):
                yield Violation("is-create", f"{name} says {event.is_create}")
            if event.previous is not None and event.previous != before:
                yield Violation("previous", f"{name} says {event.previous!r}, and it was {before!r}")

    def _of_all(self, history: History) -> Iterable[Violation]:
        bookmarks = [step for step in self._steps if isinstance(step, int)]
        start = self._start or (bookmarks[0] + 1 if bookmarks else 0)
        told = self.events
        # many watches are short, and the history is long
        last = max([*bookmarks, *(event.mod_revision for event in told)], default=0)
        due = history.matching(self._keys, start, self._filters, last)
        if told and due and _what(told[0]) != _what(due[0]):
            yield Violation("resumable", f"{_name(told[0])} came first, and not {_name(due[0])}")
        for came, wanted in zip(told, due):
            if _what(came) != _what(wanted):
                yield Violation("reliable", f"{_name(came)} came, and not {_name(wanted)}")
                return
        if len(told) > len(due):
            yield Violation("reliable", f"{_name(told[len(due)])} came, and did not happen")
        missing = due[len(told) :]
        if missing and bookmarks and missing[0].mod_revision <= max(bookmarks):
            yield Violation("reliable", f"{_name(missing[0])} did not come, and {max(bookmarks)} was complete")


def _what(event: Event) -> tuple[str, KeyValue]:
    return event.type, event.kv


def _name(event: Event) -> str:
    return f"{event.type} {event.key!r} at {event.mod_revision}"
