"""
What is said of things that were done once, and of others.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.trial.unittest import SynchronousTestCase

from test.history import Fate
from test.once import Queued, complaints, fates, increments, transfers
from txetcd import Event, KeySet, KeyValue
from txetcd.testing import History

ITEMS = KeySet(b"q/", prefix=True)


def history(*changes: tuple[int, bytes, Optional[bytes]]) -> History:
    """Of changes: the revision, the key, and its value, or ``None`` if it was deleted."""
    return History([
        Event("delete", KeyValue(key, mod_revision=revision))
        if value is None
        else Event("put", KeyValue(key, value, 1, revision, revision))
        for revision, key, value in changes
    ])


class OnceTests(SynchronousTestCase):
    """What was reported, compared with what has happened."""

    def test_fates(self) -> None:
        reports: list[dict[str, Any]] = [
            {"what": "begun", "what_for": [1, 2, 3]}, {"what": "ended", "what_for": [1, 2, 3]},
            {"what": "begun", "what_for": [4]}, {"what": "not done", "what_for": [4], "maybe_applied": True},
            {"what": "begun", "what_for": [5]}, {"what": "not done", "what_for": [5], "maybe_applied": False},
            {"what": "begun", "what_for": [6]}, {"what": "done"},
        ]  # fmt: skip
        done = dict.fromkeys([1, 2, 3], Fate.DONE)
        self.assertEqual(fates(reports), {**done, 4: Fate.UNKNOWN, 5: Fate.REFUSED, 6: Fate.UNKNOWN})

    def test_complaints(self) -> None:
        known = {1: Fate.DONE, 2: Fate.UNKNOWN, 3: Fate.UNKNOWN, 4: Fate.REFUSED}
        self.assertEqual(complaints([1], known), [])
        self.assertEqual(complaints([3, 1, 2], known), [])
        self.assertEqual(complaints([1, 2, 2], known), ["2 has happened 2 times"])
        self.assertEqual(complaints([1, 9], known), ["nobody has asked for 9"])
        self.assertEqual(complaints([2], known), ["1 was lost"])
        self.assertEqual(complaints([1, 4], known), ["4 has happened, and that was denied"])

    def test_increments(self) -> None:
        past = history((2, b"n", b"5"), (3, b"other", b"1"), (4, b"n", b"12"), (5, b"n", b"10"))
        self.assertEqual(list(increments(past, b"n")), [5, 7, -2])


class TransferTests(SynchronousTestCase):
    """What has happened to accounts."""

    def test_transfers(self) -> None:
        opened = [(2, b"q/a", b"10"), (2, b"q/b", b"10"), (2, b"q/c", b"0")]
        past = history(*opened, (3, b"q/a", b"3"), (3, b"q/b", b"17"), (4, b"q/b", b"-1"), (4, b"q/c", b"18"))
        self.assertEqual(list(transfers(past, ITEMS)), [7, 18])
        past.add(Event("put", KeyValue(b"q/a", b"4", 2, 2, 5)))
        error = self.assertRaises(ValueError, list, transfers(past, ITEMS))
        self.assertEqual(str(error), "at 5 the total has changed by 1")


class QueuedTests(SynchronousTestCase):
    """What has happened to the items of a queue."""

    def queued(self, *changes: tuple[int, bytes, Optional[bytes]]) -> Queued:
        return Queued.of(history((2, b"q/b", b"1"), (2, b"q/c", b"2"), (3, b"q/a", b"3"), *changes), ITEMS)

    def test_in_order(self) -> None:
        queued = self.queued((4, b"q/b", None), (5, b"other", b""), (6, b"q/a", None), (6, b"q/c", None))
        self.assertEqual((queued.put, queued.complaints), ([1, 2, 3], []))
        self.assertEqual((set(queued.gone), queued.there), ({1, 2, 3}, {}))

    def test_out_of_order(self) -> None:
        for key, item, earlier in ((b"q/c", 2, "[1]"), (b"q/a", 3, "[1, 2]")):
            queued = self.queued((4, key, None))
            self.assertEqual(queued.complaints, [f"{item} was taken before {earlier}"])

    def test_put_twice(self) -> None:
        queued = self.queued((4, b"q/d", b"2"))
        self.assertEqual((queued.put, queued.complaints), ([1, 2, 3], ["2 was put twice"]))

    def test_put_back(self) -> None:
        """At the place where it was."""
        taken = [(4, b"q/b", None), (5, b"q/c", None), (6, b"q/!b", b"1")]
        queued = self.queued(*taken)
        self.assertEqual((set(queued.gone), list(queued.there)), ({2}, [3, 1]))
        self.assertEqual(self.queued(*taken, (7, b"q/!b", None)).complaints, [])
        self.assertEqual(self.queued(*taken, (7, b"q/a", None)).complaints, ["3 was taken before [1]"])
