"""
What is said of a lock that keeps its promises, and of those that break one.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import attrs
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from txetcd import Event, KeySet, KeyValue
from txetcd.testing import History, LockRecord
from txetcd.testing.lockcheck import Contender, Hold, contenders

QUEUE = KeySet(b"lock/", prefix=True)


def put(revision: int, key: bytes, create: int = 0) -> Event:
    return Event("put", KeyValue(key, b"", 2 if create else 1, create or revision, revision))


def delete(revision: int, key: bytes) -> Event:
    return Event("delete", KeyValue(key, mod_revision=revision))


@attrs.define
class Past:
    """
    What has happened to a lock that keeps its promises.

    :ivar proofs: who is known to have held it, with which token, at which revision.
    :ivar accepted: whom the resource has let in.
    """

    limit: int
    events: list[Event] = attrs.Factory(list)
    proofs: list[tuple[str, int, int]] = attrs.Factory(list)
    accepted: list[tuple[str, int]] = attrs.Factory(list)

    @property
    def contenders(self) -> list[Contender]:
        return contenders(History(self.events), QUEUE)

    def record(self) -> LockRecord:
        record = LockRecord(self.limit)
        for proof in self.proofs:
            record.held(*proof)
        for one in self.accepted:
            record.accepted(*one)
        return record

    def broken(self, *, with_queue: bool = True) -> set[str]:
        return {found.guarantee for found in self.record().violations(self.contenders if with_queue else None)}


KINDS = st.sampled_from(["come", "come", "prove", "prove", "leave", "other"])
STEPS = st.lists(st.tuples(KINDS, st.integers(0, 9)), max_size=60)


FOUR_IN_TURN = [("come", 0)] * 4 + [("prove", 0), ("leave", 0)] * 4
"""Enough to break any promise."""


@st.composite
def pasts(draw: Any, end: list[tuple[str, int]] = FOUR_IN_TURN) -> Past:
    """They come, in order; the first of them hold it; and anybody leaves, whether he has held it or not."""
    past, queue, revision = Past(draw(st.integers(1, 3))), [], 1
    for step, number in draw(STEPS) + end:
        if step == "prove":
            if queue:
                holders = queue[: past.limit]
                token = holders[number % len(holders)]
                # a guard changes nothing, so nothing but it may have happened since
                past.proofs.append((f"w{token}", token, revision))
                if token >= max((token for _, token in past.accepted), default=0):
                    past.accepted.append((f"w{token}", token))
            continue
        revision += 1
        if step == "come":
            queue.append(revision)
            past.events.append(put(revision, b"lock/%d" % revision))
        elif step == "leave" and queue:
            past.events.append(delete(revision, b"lock/%d" % queue.pop(number % len(queue))))
        else:
            past.events.append(put(revision, b"other"))
    return past


class GoodTests(SynchronousTestCase):
    """Nothing is said of a lock that keeps its promises."""

    @PROPERTY
    @given(pasts([]) | pasts())
    def test_good(self, past: Past) -> None:
        self.assertEqual((past.broken(), past.broken(with_queue=False)), (set(), set()))
        past.record().check()
        past.record().check(past.contenders)

    def test_nothing(self) -> None:
        self.assertEqual(LockRecord().violations([]), [])


class BrokenTests(SynchronousTestCase):
    """Each way to break one promise is found, whatever happened besides."""

    def assert_broken(self, guarantee: str, past: Past, *, with_queue: bool = True) -> None:
        self.assertIn(guarantee, past.broken(with_queue=with_queue))
        found = past.contenders if with_queue else None
        error = self.assertRaises(AssertionError, past.record().check, found)
        self.assertTrue(str(error).startswith("the lock"), error)

    @PROPERTY
    @given(pasts(), st.data())
    def test_two_have_one_token(self, past: Past, data: Any) -> None:
        hold = data.draw(st.sampled_from(past.record().holds))
        past.proofs.append(("somebody else", hold.token, hold.until))
        self.assert_broken("unique", past, with_queue=False)

    @PROPERTY
    @given(pasts(), st.data())
    def test_too_many_at_once(self, past: Past, data: Any) -> None:
        """One holds it at a time at which others still did, for all that the store has seen."""
        holds = past.record().holds
        late, *others = data.draw(st.permutations(holds))[: past.limit + 1]
        past.proofs += [(other.who, other.token, late.since) for other in others]
        self.assert_broken("limit", past, with_queue=False)

    @PROPERTY
    @given(pasts(), st.data())
    def test_an_earlier_one_comes_later(self, past: Past, data: Any) -> None:
        holds = past.record().holds
        *earlier, _ = sorted(data.draw(st.permutations(holds))[: past.limit + 1], key=lambda hold: hold.token)
        after = max(hold.until for hold in holds) + 1
        past.proofs += [(hold.who, hold.token, after) for hold in earlier]
        self.assert_broken("ordered", past, with_queue=False)

    @PROPERTY
    @given(pasts(), st.data())
    def test_key_is_gone(self, past: Past, data: Any) -> None:
        gone = [one for one in past.contenders if one.gone is not None]
        one = data.draw(st.sampled_from(gone))
        past.proofs.append((f"w{one.token}", one.token, one.gone or 0))
        self.assert_broken("present", past)

    @PROPERTY
    @given(pasts(), st.integers(1, 100))
    def test_no_such_key(self, past: Past, token: int) -> None:
        assume(token not in {one.token for one in past.contenders})
        past.proofs.append(("somebody", token, token + 1))
        self.assert_broken("present", past)

    @PROPERTY
    @given(pasts(), st.data())
    def test_before_the_token(self, past: Past, data: Any) -> None:
        hold = data.draw(st.sampled_from(past.record().holds))
        past.proofs.append((hold.who, hold.token, hold.token - 1))
        self.assert_broken("present", past, with_queue=False)

    @PROPERTY
    @given(pasts(), st.data())
    def test_a_waiter_is_let_in(self, past: Past, data: Any) -> None:
        """Nobody else need be seen to hold it meanwhile."""
        queue = past.contenders
        early = [
            (one, revision)
            for one in queue
            for revision in range(one.token, min(one.gone or 99, 99))
            if sum(other.token < one.token and other.until >= revision for other in queue) >= past.limit
        ]
        one, revision = data.draw(st.sampled_from(early))
        past.proofs = [(f"w{one.token}", one.token, revision)]
        self.assert_broken("fair", past)

    @PROPERTY
    @given(pasts(), st.data())
    def test_a_stale_token_is_accepted(self, past: Past, data: Any) -> None:
        stale = data.draw(st.integers(1, max(token for _, token in past.accepted) - 1))
        first = next(place for place, (_, token) in enumerate(past.accepted, 1) if token > stale)
        past.accepted.insert(data.draw(st.integers(first, len(past.accepted))), ("somebody", stale))
        self.assert_broken("stale", past, with_queue=False)


Held = tuple[str, int, int, int, bool]

A_READS, B_READS = ("anna", 2, 4, 8, True), ("berta", 3, 5, 6, True)

READERS: list[tuple[list[Held], Optional[str]]] = [
    ([A_READS, B_READS], None),
    ([A_READS, B_READS, ("clara", 7, 9, 10, False), ("dora", 8, 11, 12, True)], None),
    ([A_READS, ("clara", 7, 8, 8, False)], "limit"),
    ([("clara", 2, 3, 6, False), ("anna", 3, 6, 6, True)], "limit"),
    # a writer was there first
    ([A_READS, ("dora", 8, 8, 8, True), ("clara", 7, 9, 10, False)], "ordered"),
    ([("clara", 7, 8, 8, False), ("anna", 2, 9, 10, True)], "ordered"),
]
"""Who held a lock of readers and writers, and the promise that this breaks, if it does."""


class ReaderTests(SynchronousTestCase):
    """Readers hold it together, writers alone."""

    def violations(self, held: list[Held], queue: Optional[list[Contender]] = None) -> set[str]:
        record = LockRecord()
        for who, token, since, until, is_shared in held:
            record.held(who, token, since, is_shared=is_shared)
            record.held(who, token, until, is_shared=is_shared)
        return {found.guarantee for found in record.violations(queue)}

    def test_readers(self) -> None:
        for held, broken in READERS:
            found = self.violations(held)
            self.assertTrue(found == set() if broken is None else broken in found, (held, found))

    def test_queue(self) -> None:
        """A reader goes before readers, and not before a writer, who goes before nobody."""
        writer, reader = Contender(b"w", 2), Contender(b"r", 3, is_shared=True)
        late = [Contender(b"r2", 4, is_shared=True), Contender(b"w2", 4)]
        queues: list[tuple[list[Contender], bool, set[str]]] = [
            ([reader, late[0]], True, set()), ([writer, late[0]], True, {"fair"}),
            ([reader, late[1]], False, {"fair"}), ([writer, late[1]], False, {"fair"}),
        ]  # fmt: skip
        for queue, is_shared, broken in queues:
            self.assertEqual(self.violations([("dora", 4, 5, 6, is_shared)], queue), broken, queue)


class ElectionTests(SynchronousTestCase):
    """Whoever sees a leader notes that."""

    def seen(self, *seen: tuple[str, str, int]) -> list[str]:
        record = LockRecord()
        record.held("anna", 2, 5)
        for one in seen:
            record.saw(*one)
        return [str(found) for found in record.violations()]

    def test_leaders(self) -> None:
        """Not everybody sees everything, nor at once."""
        seen = [("o", "anna", 2), ("o", "anna", 2), ("p", "clara", 9), ("o", "berta", 4), ("o", "clara", 9)]
        self.assertEqual(self.seen(*seen), [])

    def test_two_leaders(self) -> None:
        """Of one token: by what several have seen, or what the leader knows."""
        said = "unique: the token 4 was that of berta and of clara"
        self.assertEqual(self.seen(("o", "berta", 4), ("p", "clara", 4)), [said])
        said = "unique: the token 2 was that of anna and of berta"
        self.assertEqual(self.seen(("o", "berta", 2), ("p", "berta", 2)), [said])

    def test_back_in_time(self) -> None:
        seen = [("o", "berta", 4), ("o", "anna", 2), ("o", "clara", 3)]
        said = "ordered: o saw {} after one with the token 4"
        self.assertEqual(self.seen(*seen), [said.format("anna (token 2)"), said.format("clara (token 3)")])


class WordsTests(SynchronousTestCase):
    """What is said."""

    def test_every_guarantee(self) -> None:
        record = LockRecord()
        for proof in (("anna", 5, 6), ("anna", 5, 9), ("berta", 7, 8), ("clara", 3, 10), ("dora", 7, 2)):
            record.held(*proof)
        record.accepted("berta", 7)
        record.accepted("anna", 5)
        queue = [Contender(b"a", 3, 8), Contender(b"b", 5)]
        self.assertEqual(
            [str(found) for found in record.violations(queue)],
            [
                "unique: the token 7 was that of berta and of dora",
                "present: dora (token 7) from 2 to 2: that was before there was this token",
                "limit: berta (token 7) from 8 to 8, while others held it: anna (token 5) from 6 to 9",
                "ordered: anna (token 5) from 6 to 9, before those who were there earlier: "
                "clara (token 3) from 10 to 10",
                "ordered: berta (token 7) from 8 to 8, before those who were there earlier: "
                "clara (token 3) from 10 to 10, anna (token 5) from 6 to 9",
                "ordered: dora (token 7) from 2 to 2, before those who were there earlier: "
                "clara (token 3) from 10 to 10, anna (token 5) from 6 to 9",
                "stale: anna (token 5) was let in after berta (token 7)",
                "present: clara (token 3) from 10 to 10: the key was there only b'a' (token 3) until 8",
                "present: berta (token 7) from 8 to 8: there was no key of this token",
                "present: dora (token 7) from 2 to 2: there was no key of this token",
                "fair: anna (token 5) from 6 to 9, while these were before: b'a' (token 3) until 8",
                "fair: berta (token 7) from 8 to 8, while these were before: b'b' (token 5) on",
                "fair: dora (token 7) from 2 to 2, while these were before: b'b' (token 5) on, b'a' (token 3) until 8",
            ],
        )

    def test_shared(self) -> None:
        self.assertEqual(str(Hold("anna", 2, 3, 4, True)), "anna (token 2, shared) from 3 to 4")

    def test_many(self) -> None:
        """Not all of them are told."""
        record = LockRecord(2)
        for number in range(20):
            record.held(f"w{number}", 2 + number, 40)
        error = self.assertRaises(AssertionError, record.check)
        self.assertRegex(str(error), r"^the lock of 2: limit: .*, and \d+ more$")

    def test_bad_limit(self) -> None:
        wrong: list[tuple[Any, type[Exception]]] = [(0, ValueError), (-1, ValueError), ("1", TypeError)]
        for limit, error in wrong:
            self.assertIn("limit must be", str(self.assertRaises(error, LockRecord, limit)))


class ContenderTests(SynchronousTestCase):
    """What a history tells of them."""

    def test_contenders(self) -> None:
        history = History([
            put(2, b"lock/a"), put(3, b"lock/b"), put(4, b"lock/a", 2), put(5, b"lockless"), delete(6, b"lock/a"),
            put(7, b"lock/a"),
        ])  # fmt: skip
        wanted = [Contender(b"lock/a", 2, 6), Contender(b"lock/b", 3), Contender(b"lock/a", 7)]
        self.assertEqual(contenders(history, QUEUE), wanted)
        readers = contenders(history, b"lock/b", is_shared=True)
        self.assertEqual(readers, [Contender(b"lock/b", 3, None, True)])

    def test_key_from_before(self) -> None:
        """One that was there before the history begins was written since, or was not seen."""
        history = History([put(8, b"lock/a", 2), delete(9, b"lock/b"), delete(10, b"lock/a")])
        self.assertEqual(contenders(history, QUEUE), [Contender(b"lock/a", 2, 10)])

    def test_bad_keys(self) -> None:
        bad: Callable[..., Any] = contenders
        self.assertRaises(TypeError, bad, History([]), "lock/")
