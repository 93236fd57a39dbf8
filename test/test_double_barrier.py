"""
A double barrier: all begin together, all end together, and no round is taken for another.
"""

from __future__ import annotations

from typing import Any, Optional

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from test.store import Peer, StoreCase
from txetcd import Closed, DoubleBarrier, PermissionDenied, Session, Timeout
from txetcd._schema import LEASE_GRANT, LEASE_KEEP_ALIVE, TXN
from txetcd.errors import SessionExpired, TooManyClients, Unavailable
from txetcd.recipes.double_barrier import Seen
from txetcd.values import KeyValue


def kv(number: int, created: int, value: bytes = b"") -> KeyValue:
    return KeyValue(b"w/%d" % number, value, 1, created, created)


class SeenTests(SynchronousTestCase):
    """What is made of what was read."""

    def test_room(self) -> None:
        for waiters, ready, has_room in (
            ([], 0, True),
            ([5], 0, True),
            ([5, 6], 0, False),
            # what was left of a round of which all have died
            ([], 9, True),
            ([10], 9, True),
            # that round is under way
            ([5], 9, False),
            ([5, 10], 9, False),
        ):
            seen = Seen([kv(number, created) for number, created in enumerate(waiters)], ready)
            self.assertEqual(seen.has_room(2), has_room, (waiters, ready))

    def test_last(self) -> None:
        seen = Seen([kv(0, 5), kv(1, 7)], 0)
        self.assertEqual([seen.is_last(created, 2) for created in (5, 7)], [False, True])
        self.assertEqual([seen.is_last(7, 3), Seen([], 0).is_last(7, 3)], [False, False])

    def test_seats(self) -> None:
        seen = Seen([kv(0, 5), kv(2, 6)], 0)
        seats = [seen.seat(b"w/", 4, b"%x" % token) for token in range(4)]
        self.assertEqual(seats, [b"w/1", b"w/1", b"w/3", b"w/3"])

    def test_round(self) -> None:
        self.assertEqual(Seen([kv(0, 5), kv(1, 12)], 10).round(10), {5: b"w/0"})


class BarrierCase(StoreCase):
    """Several who meet."""

    def barriers(self, count: int, of: Optional[int] = None) -> list[DoubleBarrier]:
        peers = [self.peer() for _ in range(count)]
        return [DoubleBarrier(peer.client, b"work", of or count) for peer in peers]

    def entered(self, count: int) -> list[DoubleBarrier]:
        """So many who have begun."""
        barriers = self.barriers(count)
        entering = [barrier.enter() for barrier in barriers]
        self.settle(1)
        self.assertEqual([self.successResultOf(one) for one in entering], barriers)
        return barriers

    def assert_nothing_left(self) -> None:
        self.settle(1)
        self.assertEqual((self.store.keys, self.store.leases), ({}, {}))


class MeetingTests(BarrierCase):
    def test_begin_and_end(self) -> None:
        *barriers, late = self.barriers(4)
        entering = [barrier.enter() for barrier in barriers]
        self.settle(1)
        self.assert_pending(*entering)
        self.assertIn("ENTERING", repr(barriers[0]))
        entering.append(late.enter())
        self.settle(1)
        self.assertEqual([self.successResultOf(one) for one in entering], [*barriers, late])
        self.assertEqual((late.is_entered, repr(late)), (True, "<DoubleBarrier b'work' ENTERED>"))
        lost = late.when_lost()
        leaving = [barrier.leave() for barrier in barriers]
        self.settle(1)
        self.assert_pending(*leaving, lost)
        leaving.append(late.leave())
        self.settle(1)
        self.assertEqual([self.successResultOf(one) for one in [*leaving, lost]], [None] * 5)
        self.assertEqual((late.is_entered, repr(late)), (False, "<DoubleBarrier b'work' OUTSIDE>"))
        self.assert_nothing_left()

    def test_alone(self) -> None:
        (barrier,) = self.entered(1)
        self.assertIsNone(self.done(barrier.leave()))
        self.assert_nothing_left()

    def test_in_any_order(self) -> None:
        for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)):
            barriers = self.entered(3)
            leaving = []
            for place in order:
                self.assert_pending(*leaving)
                leaving.append(barriers[place].leave())
                self.settle(1)
            self.assertEqual([self.successResultOf(one) for one in leaving], [None] * 3)
            self.assert_nothing_left()

    def test_round_after_round(self) -> None:
        """Who enters anew at once makes nobody wait who is still leaving."""
        fast, slow = self.entered(2)
        slow_peer = self.peers[-1]
        leaving = [slow.leave(), fast.leave()]
        # the slow one does not hear yet that all have left, and the fast one enters anew
        while not leaving[1].called:
            self.peers[-2].turn()
            if not leaving[1].called and len(self.store.keys) > 2:
                slow_peer.turn()
        entering = fast.enter()
        for _ in range(9):
            self.peers[-2].turn()
        self.assertEqual(len(self.store.keys), 1)
        self.settle(1)
        self.assertIsNone(self.successResultOf(leaving[0]))
        self.assertNoResult(entering)
        again = slow.enter()
        self.settle(1)
        self.assertEqual([self.successResultOf(entering), self.successResultOf(again)], [fast, slow])

    def test_too_many(self) -> None:
        self.entered(2)
        (other,) = self.barriers(1, 2)
        leases = set(self.store.leases)
        error = self.failed(other.enter(), TooManyClients)
        self.assertEqual(str(error), "b'work' cannot be entered: a round is under way")
        self.assertEqual((len(self.store.keys), set(self.store.leases)), (3, leases))

    def test_too_many_at_once(self) -> None:
        entering = [barrier.enter() for barrier in self.barriers(5, 3)]
        self.settle(1)
        results = [self.failureResultOf(one) if isinstance(one.result, Exception) else one.result for one in entering]
        refused = [one for one in entering if not isinstance(one.result, DoubleBarrier)]
        self.assertEqual((len(results), len(refused)), (5, 2))
        for one in refused:
            self.failureResultOf(one, TooManyClients)
        self.assertEqual(len([key for key in self.store.keys if b"waiters" in key]), 3)

    def test_what_was_left_of_a_round(self) -> None:
        """All of it have died."""
        self.entered(2)
        for peer in self.peers:
            peer.is_away = True
        for lease in list(self.store.leases):
            self.store.expire(lease)
        self.assertEqual(list(self.store.keys), [b"work/ready"])
        barriers = self.entered(2)
        for barrier in barriers:
            barrier.leave()
        self.settle(1)
        self.assertEqual(self.store.keys, {})

    def test_on_a_session(self) -> None:
        session = self.done(Session(self.client).start())
        barriers = [DoubleBarrier(self.client, b"work", 2, session=session) for _ in range(2)]
        entering = [barrier.enter() for barrier in barriers]
        self.settle(1)
        self.assertEqual([self.successResultOf(one) for one in entering], barriers)
        leaving = [barrier.leave() for barrier in barriers]
        self.settle(1)
        self.assertEqual([self.successResultOf(one) for one in leaving], [None] * 2)
        self.assertEqual((self.store.keys, session.is_alive), ({}, True))
        self.done(session.close())
        self.failed(barriers[0].enter(), SessionExpired)


class TroubleTests(BarrierCase):
    """Who dies, and what is cut."""

    def die(self, peer: Peer) -> None:
        """Of one that holds the only lease that it has."""
        peer.is_away = True
        (call,) = [call for call in peer.transport.calls if call.rpc is LEASE_GRANT]
        self.store.expire(call.request.lease_id)

    def test_one_dies_who_waits(self) -> None:
        """The next who comes takes the place."""
        barriers = self.barriers(3)
        entering = [barrier.enter() for barrier in barriers[:2]]
        self.settle(1)
        self.die(self.peers[-3])
        entering[0].addErrback(lambda failure: failure.trap(Closed) and None)
        entering.append(barriers[2].enter())
        self.settle(1)
        self.assert_pending(*entering[1:])
        entering.append(self.barriers(1, 3)[0].enter())
        self.settle(1)
        for one in entering[1:]:
            self.successResultOf(one)

    def test_one_dies_who_has_begun(self) -> None:
        """The oldest, the youngest, and one between."""
        for dead in range(3):
            barriers = self.entered(3)
            peers = self.peers[-3:]
            leaving = [barrier.leave() for number, barrier in enumerate(barriers) if number != dead]
            self.settle(1)
            self.assert_pending(*leaving)
            self.die(peers[dead])
            self.settle(1)
            for one in leaving:
                self.assertIsNone(self.successResultOf(one))
            self.assertEqual(self.store.keys, {})

    def test_the_last_one_dies_before_all_begin(self) -> None:
        """Who comes next lets them begin."""
        first, last = self.barriers(2)
        entering = first.enter()
        self.settle(1)
        last.enter().addErrback(lambda failure: failure.trap(Closed) and None)
        peer = self.peers[-1]
        for rpc in (TXN, LEASE_GRANT, LEASE_KEEP_ALIVE, TXN):
            peer.answer(peer.transport.next(rpc))
        peer.transport.asked("Txn")
        self.die(peer)
        self.settle(1)
        self.assertNoResult(entering)
        self.barriers(1, 2)[0].enter()
        self.settle(1)
        self.successResultOf(entering)

    def test_place_is_lost(self) -> None:
        one, two = self.entered(2)
        lost = one.when_lost()
        self.die(self.peers[-2])
        self.settle(61)
        self.successResultOf(lost)
        self.assertEqual((one.is_entered, repr(one)), (False, "<DoubleBarrier b'work' LOST>"))
        self.assertIsNone(self.done(two.leave()))
        self.peers[-2].is_away = False
        self.failed(one.leave(), SessionExpired)
        self.assert_nothing_left()

    def test_place_is_lost_while_it_waits(self) -> None:
        one, two = self.barriers(2)
        entering = one.enter()
        self.settle(1)
        self.store.expire(next(iter(self.store.leases)))
        self.settle(30)
        self.failed(entering, SessionExpired)
        self.assert_nothing_left()

    def test_place_was_deleted(self) -> None:
        one, two = self.barriers(2)
        entering = one.enter()
        self.settle(1)
        self.store.delete(next(iter(self.store.keys)))
        self.store.put(b"work/ready")
        self.failed(entering, SessionExpired)

    def test_cancelled(self) -> None:
        """At every moment: nothing is left, and nobody who comes later is kept out."""
        for answers in range(9):
            one, two = self.barriers(2)
            entering = one.enter()
            peer = self.peers[-2]
            for _ in range(answers):
                if peer.transport.waiting:
                    peer.answer(peer.transport.waiting[0])
            self.cancelled(entering)
            self.assert_nothing_left()

    def test_timeout(self) -> None:
        one, two = self.barriers(2)
        entering = one.enter(timeout=3)
        self.settle(4)
        error = self.failed(entering, Timeout)
        self.assertIn("2 did not enter b'work' within 3 seconds", str(error))
        self.assertFalse(error.maybe_applied)
        self.assert_nothing_left()

    def test_leaving_is_cancelled(self) -> None:
        """It has left all the same."""
        for end in (lambda leaving: self.cancelled(leaving), lambda leaving: self.settle(4)):
            one, two = self.entered(2)
            leaving = one.leave(timeout=3)
            self.settle(1)
            end(leaving)
            leaving.addErrback(lambda failure: failure.trap(Timeout) and None)
            self.settle(1)
            self.assertIsNone(self.done(two.leave()))
            self.assert_nothing_left()

    def test_answers_are_lost(self) -> None:
        """Of everything that writes."""
        one, two = self.barriers(2)
        entering = [one.enter(), two.enter()]
        lost = 0
        for _ in range(40):
            for peer in self.peers[-2:]:
                for call in list(peer.transport.waiting):
                    if call.rpc is TXN and lost < 12 and lost % 2 == 0:
                        peer.lose_answer(call)
                    else:
                        peer.answer(call)
                    lost += call.rpc is TXN
                peer.feed()
            self.clock.advance(0.5)
        for one_entering in entering:
            one_entering.addErrback(lambda failure: failure.trap(Unavailable, Exception) and None)

    def test_refused(self) -> None:
        self.store.refused = b"work/"
        self.failed(self.barriers(1)[0].enter(), PermissionDenied)
        self.assert_nothing_left()


class MisuseTests(BarrierCase):
    def test_what_cannot_be(self) -> None:
        for kind, message, arguments in (
            (ValueError, f"count must be between 1 and {2**63 - 1}, not 0", (b"work", 0)),
            (TypeError, "count must be int, not str", (b"work", "2")),
            (ValueError, "name must not end in '/', but is b'work/'", (b"work/", 2)),
        ):
            self.assertEqual(str(self.assertRaises(kind, DoubleBarrier, self.client, *arguments)), message)
        barrier = DoubleBarrier(self.client, b"work", 2)
        for misuse in (barrier.leave, barrier.when_lost):
            error = self.assertRaises(RuntimeError, misuse)
            self.assertEqual(str(error), "<DoubleBarrier b'work' OUTSIDE> was not entered")
        self.assertRaises(ValueError, barrier.enter, 0)
        self.assertEqual(self.transport.calls, [])
        entering = barrier.enter()
        self.assertRaises(RuntimeError, barrier.enter)
        self.cancelled(entering)


COUNT = 3
"""How many begin together, in the property."""


class Meetings(RuleBasedStateMachine):
    """
    Five who enter, leave, give up and die, while their calls are answered in any order, or not.

    Nobody who has begun in a round is in while somebody begins in the next one, unless counted as dead; there are never
    more places than may be; and in the end all who live get in and out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.case = BarrierCase()
        self.case.setUp()
        self.barriers = self.case.barriers(5, COUNT)
        self.peers = self.case.peers[-5:]
        self.state = ["outside"] * 5
        self.doing: list[Optional[Deferred[Any]]] = [None] * 5
        # whose leases are gone, which they need not know
        self.dead: set[int] = set()

    who = st.integers(0, 4)

    def follow(self, one: int, then: str, doing: Deferred[Any]) -> None:
        def done(result: Any) -> None:
            self.state[one] = then if not hasattr(result, "trap") else "outside"
            self.doing[one] = None

        self.doing[one] = doing
        doing.addBoth(done)

    @rule(one=who)
    def enter(self, one: int) -> None:
        if self.state[one] == "outside":
            self.dead.discard(one)
            self.state[one] = "entering"
            self.follow(one, "inside", self.barriers[one].enter())

    @rule(one=who)
    def leave(self, one: int) -> None:
        if self.state[one] == "inside":
            self.state[one] = "leaving"
            self.follow(one, "outside", self.barriers[one].leave())

    @rule(one=who)
    def cancel(self, one: int) -> None:
        doing = self.doing[one]
        if doing is not None:
            doing.cancel()

    @rule(one=who, how=st.sampled_from(["answer", "answer", "answer", "lose_answer", "refuse", "delay"]))
    def happen(self, one: int, how: str) -> None:
        peer = self.peers[one]
        if peer.transport.waiting:
            getattr(peer, how)(peer.transport.waiting[0])

    @precondition(lambda self: self.case.clients.late)
    @rule()
    def arrive(self) -> None:
        self.case.clients.arrive()

    @rule(one=who)
    def feed(self, one: int) -> None:
        self.peers[one].feed()

    @rule()
    def wait(self) -> None:
        self.case.clock.advance(0.5)

    @rule()
    def settle(self) -> None:
        self.case.settle(1)

    @rule(one=who)
    def expire(self, one: int) -> None:
        """A lease is gone before its time; only its owner's doing."""
        granted = [call.request.lease_id for call in self.peers[one].transport.calls if call.rpc is LEASE_GRANT]
        for lease in granted:
            self.case.store.expire(lease)
        self.dead.add(one)

    @invariant()
    def places(self) -> None:
        waiters = [key for key in self.case.store.keys if b"/waiters/" in key]
        assert len(waiters) <= COUNT, waiters

    @invariant()
    def rounds(self) -> None:
        inside = [one for one in range(5) if self.state[one] == "inside" and one not in self.dead]
        begun = {self.barriers[one]._entered().begun for one in inside if self.barriers[one].is_entered}
        assert len(begun) <= 1, begun

    def teardown(self) -> None:
        self.case.clients.catch_up()
        for _ in range(3):
            self.case.settle(25)
            for one in range(5):
                self.leave(one)
                self.cancel(one) if self.state[one] == "entering" else None
        self.case.settle(25)
        assert self.state == ["outside"] * 5, self.state
        assert not [key for key in self.case.store.keys if b"/waiters/" in key], self.case.store.keys
        assert not self.case.store.leases
        # all who live get in and out
        for one in range(COUNT):
            self.enter(one)
        self.case.settle(25)
        assert self.state[:COUNT] == ["inside"] * COUNT, self.state
        for one in range(COUNT):
            self.leave(one)
        self.case.settle(25)
        assert self.state == ["outside"] * 5 and not self.case.store.keys, self.case.store.keys
        self.case.close()
        assert not self.case.clock.getDelayedCalls()


class PropertyTests(SynchronousTestCase):
    def test_meetings(self) -> None:
        run_state_machine_as_test(Meetings, settings=PROPERTY)
