"""
What the watches of real tests tell, as it is noted: that what is broken is found, and what is well is not.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.trial.unittest import SynchronousTestCase

from test.heard import Heard
from txetcd import Event, KeySet
from txetcd.testing import History
from txetcd.values import KeyValue, SyntheticEvent

A, B, BOTH = KeySet(b"a"), KeySet(b"b"), KeySet(b"a", b"c")


def put(revision: int, key: bytes, version: int, created: int) -> Event:
    return Event("put", KeyValue(key, b"%d" % revision, version, created, revision))


EVENTS = [
    put(2, b"a", 1, 2),
    put(3, b"b", 1, 3),
    put(4, b"a", 2, 2),
    put(5, b"a", 3, 2),
    put(5, b"b", 2, 3),
    put(6, b"b", 3, 3),
]
"""What has happened."""


class HeardTests(SynchronousTestCase):
    """One watch."""

    def heard(self, steps: list[Any], *keys: KeySet, start: Optional[int] = None) -> Heard:
        heard = Heard(keys or [BOTH], start, ())
        for step in steps:
            heard.event(step) if isinstance(step, Event) else heard.bookmark(step)
        return heard

    def guarantees(self, heard: Heard) -> set[str]:
        return {violation.guarantee for violation in heard.violations(History(EVENTS))}

    def test_good(self) -> None:
        for first in range(7):
            events = [event for event in EVENTS if event.mod_revision >= first]
            for heard in (self.heard([first - 1, *events]), self.heard([first - 1, *events], start=first)):
                self.assertEqual((self.guarantees(heard), heard.end), (set(), 6), first)

    def test_nothing_to_compare(self) -> None:
        """Nobody has to see what has not happened yet, and perhaps never will."""
        for heard in (self.heard([]), self.heard([5, 5, None]), self.heard([99, 99], start=100)):
            self.assertEqual((self.guarantees(heard), heard.end), (set(), 0))

    def test_progress(self) -> None:
        self.assertEqual(self.heard([2, 6]).end, 6)
        self.assertEqual(self.guarantees(self.heard([2, 6])), {"reliable"})
        self.assertEqual(self.guarantees(self.heard([6], start=2)), {"reliable"})

    def test_without_a_beginning(self) -> None:
        """It was not heard where it begins: then what comes first is that."""
        self.assertEqual(self.guarantees(self.heard([*EVENTS[2:], 6])), set())

    def test_broken(self) -> None:
        for steps, guarantee in (
            ([1, *EVENTS[1:]], "resumable"),
            ([1, *EVENTS[:2], *EVENTS[3:]], "reliable"),
            ([1, *EVENTS[:2], *EVENTS[1:]], "unique"),
            ([1, *EVENTS[2:], *EVENTS[:2]], "ordered"),
        ):
            self.assertIn(guarantee, self.guarantees(self.heard(steps)))

    def test_gap(self) -> None:
        """Where that was asked for."""
        heard = self.heard(EVENTS[:2], start=2)
        heard.has_gap()
        for event in EVENTS[5:]:
            heard.event(event)
        self.assertEqual(self.guarantees(heard), set())
        synthetic = SyntheticEvent("put", EVENTS[2].kv)
        self.assertEqual(self.guarantees(self.heard([*EVENTS[:1], synthetic, *EVENTS[5:]], start=2)), set())

    def test_several_sets(self) -> None:
        """In any order among them; and twice what is in two of them."""
        a, b = ([event for event in EVENTS if event.key == key] for key in (b"a", b"b"))
        for steps in ([*a, *b], [*b[1:], *a], [*b, *EVENTS], [EVENTS[0], *b, *EVENTS[1:]]):
            self.assertEqual(self.guarantees(self.heard(steps, A, B, BOTH)), set())
        self.assertEqual(self.guarantees(self.heard([*b, *a[::2]], A, B)), {"reliable"})

    def test_another_set_is_added(self) -> None:
        heard = self.heard([1, EVENTS[0]], A)
        heard.has_several([B])
        for event in EVENTS[1:]:
            heard.event(event)
        self.assertEqual(self.guarantees(heard), set())
        heard.event(EVENTS[2])
        self.assertEqual(self.guarantees(heard), {"unique"})
