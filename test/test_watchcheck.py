"""
What is said of a watch that keeps its promises, and of those that break one.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Callable

import attrs
from twisted.trial.unittest import SynchronousTestCase

from txetcd import Event, KeySet, KeyValue
from txetcd.testing import History, WatchRecord

KEYS = KeySet(b"k", prefix=True)


def put(revision: int, key: bytes, version: int = 1, create: int = 0, value: bytes = b"") -> Event:
    return Event("put", KeyValue(key, value, version, create or revision, revision))


def delete(revision: int, key: bytes) -> Event:
    return Event("delete", KeyValue(key, mod_revision=revision))


EVENTS = [
    put(2, b"k1"),
    put(3, b"other"),
    put(4, b"k1", 2, 2),
    put(4, b"k2"),
    delete(5, b"k1"),
    put(6, b"k1"),
    put(7, b"k3"),
    put(8, b"k3", 2, 7),
]
"""What has happened."""

TOLD = [event for event in EVENTS if event.key in KEYS]

Steps = list[Any]


def steps_from(first: int) -> Steps:
    """What a good watch tells, with its bookmarks."""
    steps: Steps = [first - 1]
    told = [event for event in TOLD if event.mod_revision >= first]
    for at, event in enumerate(told):
        is_last = at + 1 == len(told) or told[at + 1].mod_revision > event.mod_revision
        steps += [event, event.mod_revision - (not is_last)]
    return steps


def without(at: int) -> Callable[[Steps], Steps]:
    return lambda steps: steps[:at] + steps[at + 1 :]


def insert(at: int, *more: Any) -> Callable[[Steps], Steps]:
    return lambda steps: [*steps[:at], *more, *steps[at:]]


def swap(at: int, other: int) -> Callable[[Steps], Steps]:
    def swapped(steps: Steps) -> Steps:
        steps = list(steps)
        steps[at], steps[other] = steps[other], steps[at]
        return steps

    return swapped


def change(at: int, **changes: Any) -> Callable[[Steps], Steps]:
    return lambda steps: [*steps[:at], attrs.evolve(steps[at], **changes), *steps[at + 1 :]]


# of steps_from(2): 1, k1@2, 2, k1@4, 3, k2@4, 4, -k1@5, 5, k1@6, 6, k3@7, 7, k3@8, 8
BROKEN: list[tuple[str, Callable[[Steps], Steps]]] = [
    ("filter", insert(3, put(3, b"other"), 3)),
    ("ordered", swap(9, 11)),
    ("unique", insert(14, put(8, b"k3", 2, 7))),
    ("atomic", lambda steps: [*steps[:4], 4, *steps[5:]]),
    ("bookmarkable", insert(3, 5)),
    ("bookmarkable", insert(15, 3)),
    ("resumable", lambda steps: [1, *steps[3:]]),
    ("reliable", without(7)),
    ("reliable", without(13)),
    ("reliable", insert(15, put(9, b"k9"), 9)),
    ("reliable", change(9, kv=KeyValue(b"k1", b"another", 1, 6, 6))),
    ("is-create", change(9, kv=KeyValue(b"k1", b"", 1, 5, 6))),
    ("is-create", change(3, kv=KeyValue(b"k1", b"", 1, 4, 4))),
    ("previous", change(7, previous=KeyValue(b"k1", b"", 1, 2, 2))),
    ("previous", change(9, previous=KeyValue(b"k1", b"", 1, 2, 2))),
]
"""What is done to what a good watch tells, and the promise that it breaks, perhaps among others."""


class RecordTests(SynchronousTestCase):
    """What was told, compared with what has happened."""

    def record(self, steps: Steps, **options: Any) -> WatchRecord:
        record = WatchRecord(KEYS, **options)
        for step in steps:
            record.bookmark(step) if step is None or isinstance(step, int) else record.event(step)
        return record

    def violations(self, steps: Steps, **options: Any) -> list[str]:
        return [one.guarantee for one in self.record(steps, **options).violations(History(EVENTS))]

    def test_good(self) -> None:
        for first in range(1, 10):
            for steps in (steps_from(first), [None, *steps_from(first)]):
                self.assertEqual(self.violations(steps), [], first)
                self.assertEqual(self.violations(steps, start_revision=first), [], first)
            self.record(steps_from(first)).check(History(EVENTS))

    def test_interrupted(self) -> None:
        """Whatever comes later is not missed yet."""
        steps = steps_from(2)
        for end in range(len(steps)):
            self.assertEqual(self.violations(steps[:end], start_revision=2), [], end)

    def test_progress(self) -> None:
        self.assertEqual(self.violations([*steps_from(2), 100]), [])

    def test_previous(self) -> None:
        steps = change(7, previous=EVENTS[2].kv)(steps_from(2))
        self.assertEqual(self.violations(steps), [])

    def test_filters(self) -> None:
        steps = [step for step in steps_from(2) if isinstance(step, int) or step.is_put]
        self.assertEqual(self.violations(steps, filters=["NODELETE"]), [])
        self.assertIn("reliable", self.violations(steps))
        self.assertIn("filter", self.violations(steps_from(2), filters=["NODELETE"]))

    def test_broken(self) -> None:
        for guarantee, breaks in BROKEN:
            steps = breaks(steps_from(2))
            self.assertIn(guarantee, self.violations(steps), guarantee)
            error = self.assertRaises(AssertionError, self.record(steps).check, History(EVENTS))
            self.assertIn(f"{guarantee}: ", str(error))

    def test_every_guarantee_is_broken(self) -> None:
        wanted = {"filter", "ordered", "unique", "atomic", "bookmarkable", "resumable", "reliable"}
        self.assertEqual({guarantee for guarantee, _ in BROKEN}, {*wanted, "is-create", "previous"})

    def test_many(self) -> None:
        """Not all of them are told."""
        record = self.record(steps_from(2) * 20)
        error = self.assertRaises(AssertionError, record.check, History(EVENTS))
        self.assertRegex(str(error), r", and \d+ more$")

    def test_events(self) -> None:
        self.assertEqual(self.record(steps_from(2)).events, TOLD)


class HistoryTests(SynchronousTestCase):
    """What has happened."""

    def test_state(self) -> None:
        history = History(EVENTS)
        self.assertEqual((len(history), history.revision), (8, 8))
        self.assertEqual(history.state(KEYS, 1), {})
        self.assertEqual(history.state(KEYS, 4), {b"k1": EVENTS[2].kv, b"k2": EVENTS[3].kv})
        self.assertEqual(set(history.state(KEYS, 5)), {b"k2"})
        self.assertEqual(set(history.state(KEYS, 100)), {b"k1", b"k2", b"k3"})

    def test_matching(self) -> None:
        history = History(EVENTS)
        for first, last in ((0, None), (0, 8), (3, 6), (4, 4), (9, None), (5, 4)):
            wanted = [e for e in TOLD if first <= e.mod_revision <= (100 if last is None else last)]
            self.assertEqual(history.matching(KEYS, first, last=last), wanted, (first, last))

    def test_not_complete(self) -> None:
        for events in ([EVENTS[0], EVENTS[2]], [EVENTS[2], EVENTS[0]]):
            error = self.assertRaises(ValueError, History, events)
            self.assertIn("the history is not complete", str(error))
        self.assertEqual(len(History([])), 0)
        self.assertEqual(History([]).revision, 0)

    def test_of_etcdctl(self) -> None:
        def kv(event: Event) -> dict[str, Any]:
            kv = event.kv
            fields = {
                "key": b64encode(kv.key).decode(), "value": b64encode(kv.value).decode(), "version": kv.version,
                "create_revision": kv.create_revision, "mod_revision": kv.mod_revision,
            }  # fmt: skip
            return {name: value for name, value in fields.items() if value}

        def line(*events: Event) -> str:
            told = [{"kv": kv(event), **({"type": 1} if event.is_delete else {})} for event in events]
            return json.dumps({"Header": {"revision": 9}, "Events": told, "Created": False})

        printed = "\n".join([line(EVENTS[0]), line(*EVENTS[1:4]), "", line(), line(*EVENTS[4:]), line()[:20]])
        for text in (printed, printed.encode()):
            history = History.of_etcdctl(text)
            self.assertEqual(history.matching(KeySet.all()), EVENTS)
