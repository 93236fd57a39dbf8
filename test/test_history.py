"""
The model that real histories are compared with: it finds each kind of lie.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from test.history import Changes, Fate, History, Write
from txetcd import Event, KeySet, KeyValue, OutcomeUnknown, Range, Revision, Unavailable
from txetcd.values import Header


def put(revision: int, key: bytes, value: bytes) -> Event:
    return Event("put", KeyValue(key, value, mod_revision=revision))


def deleted(revision: int, key: bytes) -> Event:
    return Event("delete", KeyValue(key, mod_revision=revision))


def unknown() -> Any:
    return fail(OutcomeUnknown(None, "lost"))


def refused() -> Any:
    return fail(Unavailable(None, "not sent"))


class HistoryTests(SynchronousTestCase):
    """What callers are told, right and wrong."""

    def setUp(self) -> None:
        self.history = History()

    def write(self, changes: Changes, outcome: Any) -> Write:
        """A write at this revision, or with this failure."""
        answer = succeed(Revision(Header(revision=outcome))) if isinstance(outcome, int) else outcome
        return self.successResultOf(Deferred.fromCoroutine(self.history.write(changes, lambda: answer)))

    def read(self, revision: int, *kvs: KeyValue, keys: Optional[KeySet] = None, **options: Any) -> None:
        answer = succeed(Range(list(kvs), Header(revision=revision)))
        reading = self.history.read(keys or KeySet.all(), lambda: answer, **options)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(reading)), list(kvs))

    def complaint(self, *events: Event) -> str:
        """The only one there is."""
        (complaint,) = self.history.complaints(events)
        return complaint

    def test_as_it_should_be(self) -> None:
        """Writes that were done, may have been, and were not; and what was read in between."""
        self.assertIs(self.write({b"a": b"1"}, 2).fate, Fate.DONE)
        self.read(2, KeyValue(b"a", b"1", 1, 2, 2))
        self.assertIs(self.write({b"b": b"2", b"a": b"3"}, unknown()).fate, Fate.UNKNOWN)
        self.assertIs(self.write({b"c": b"4"}, unknown()).fate, Fate.UNKNOWN)
        self.assertIs(self.write({b"d": b"5"}, refused()).fate, Fate.REFUSED)
        self.read(3, KeyValue(b"a", b"3", 2, 2, 3), keys=KeySet(b"a"))
        self.write({b"a": None}, 4)
        self.read(4, KeyValue(b"b", b"2", 1, 3, 3))
        self.read(2, KeyValue(b"a", b"1", 1, 2, 2), may_be_stale=True)
        events = [put(2, b"a", b"1"), put(3, b"b", b"2"), put(3, b"a", b"3"), deleted(4, b"a")]
        self.assertEqual(self.history.complaints(events), [])
        self.assertEqual(self.history.fates, {Fate.DONE: 2, Fate.UNKNOWN: 2, Fate.REFUSED: 1})
        self.assertEqual(self.history.failed_writes, {"OutcomeUnknown": 2, "Unavailable": 1})

    def test_failed_read(self) -> None:
        reading = self.history.read(KeySet(b"a"), refused)
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(reading)))
        self.assertEqual([str(error) for error in self.history.failed_reads], ["not sent"])

    def test_lost(self) -> None:
        self.write({b"a": b"1"}, 2)
        self.assertRegex(self.complaint(), r"^done, and happened at \[\]: Write")

    def test_lost_deletion(self) -> None:
        self.write({b"a": b"1"}, 2)
        self.write({b"a": None}, 3)
        self.assertRegex(self.complaint(put(2, b"a", b"1")), r"^done, and happened at \[\]: Write")

    def test_doubled(self) -> None:
        """Whatever was said of it."""
        for outcome in (2, unknown(), refused()):
            self.history = History()
            self.write({b"a": b"1"}, outcome)
            complaint = self.complaint(put(2, b"a", b"1"), put(3, b"a", b"1"))
            self.assertRegex(complaint, r"^happened at \[2, 3\]: Write")

    def test_at_another_revision(self) -> None:
        self.write({b"a": b"1"}, 2)
        self.assertRegex(self.complaint(put(3, b"a", b"1")), r"^done, and happened at \[3\]: Write")

    def test_refused_and_done(self) -> None:
        self.write({b"a": b"1"}, refused())
        self.assertRegex(self.complaint(put(2, b"a", b"1")), r"^refused, and happened at \[2\]: Write")

    def test_wrong_value(self) -> None:
        self.write({b"a": b"1"}, unknown())
        self.assertRegex(self.complaint(put(2, b"a", b"2")), "^nobody has asked for what happened at 2: ")

    def test_half_a_transaction(self) -> None:
        self.write({b"a": b"1", b"b": b"1"}, unknown())
        self.assertRegex(self.complaint(put(2, b"a", b"1")), "^nobody has asked for what happened at 2: ")

    def test_back_in_time(self) -> None:
        """A write comes after everything that was known when it began."""
        self.write({b"a": b"1"}, 3)
        self.write({b"a": b"2"}, 2)
        complaint = self.complaint(put(2, b"a", b"2"), put(3, b"a", b"1"))
        self.assertRegex(complaint, "^done before it was asked for: Write")

    def test_stale(self) -> None:
        """A read as well, unless it may be stale."""
        self.write({b"a": b"1"}, 2)
        self.read(1)
        self.read(1, may_be_stale=True)
        self.assertRegex(self.complaint(put(2, b"a", b"1")), "^stale: Read")

    def test_stale_after_a_read(self) -> None:
        """What one caller has seen, no other one may miss."""
        self.write({b"a": b"1"}, unknown())
        self.read(2, KeyValue(b"a", b"1", 1, 2, 2), may_be_stale=True)
        self.read(1)
        self.assertRegex(self.complaint(put(2, b"a", b"1")), "^stale: Read")

    def test_wrong_read(self) -> None:
        """Another value, another version, a key that is missing, and one that should be."""
        right = KeyValue(b"a", b"1", 1, 2, 2)
        of_another = KeyValue(b"b", b"1", 1, 2, 2)
        for kvs in ([KeyValue(b"a", b"2", 1, 2, 2)], [KeyValue(b"a", b"1", 2, 2, 2)], [], [right, of_another]):
            self.history = History()
            self.write({b"a": b"1"}, 2)
            self.read(2, *kvs)
            self.assertRegex(self.complaint(put(2, b"a", b"1")), "^read, but not what was there, which was ")
