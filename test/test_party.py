"""
A party, and how a registration is kept: whatever is lost comes back, unless somebody else has taken its place.
"""

from __future__ import annotations

from typing import Any, Optional

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from test.fakes import run
from test.properties import PROPERTY
from test.store import StoreCase
from txetcd import Party, PermissionDenied, Registration, Session, Timeout
from txetcd._schema import LEASE_GRANT, LEASE_KEEP_ALIVE, LEASE_REVOKE, TXN
from txetcd.errors import Replaced, SessionExpired


class PartyCase(StoreCase):
    """A party, and what its members are told."""

    def setUp(self) -> None:
        super().setUp()
        self.party = Party(self.client, b"party")
        self.told: list[bool] = []

    def join(self, member: bytes = b"me", **options: Any) -> Registration:
        joined = self.done(self.party.join(member, b"value", on_status=self.told.append, **options))
        assert isinstance(joined, Registration)
        return joined

    def on_session(self) -> Session:
        """The party is joined on a session from now on."""
        session = self.done(Session(self.client).start())
        self.party = Party(self.client, b"party", session=session)
        return session

    def lease(self) -> int:
        (lease,) = self.store.leases
        return lease

    def lose(self) -> None:
        """An outage that is longer than the time to live."""
        self.peers[0].is_away = True
        self.settle(61)
        for lease in list(self.store.leases):
            self.store.expire(lease)


class MemberTests(PartyCase):
    """Who is there."""

    def test_joins_and_leaves(self) -> None:
        self.assertEqual(repr(self.party), "<Party b'party' NOT JOINED>")
        me = self.join()
        self.assertEqual((me.key, me.is_there, me.is_over), (b"party/me", True, False))
        self.assertEqual(repr(self.party), "<Party b'party' <Registration b'party/me' THERE>>")
        self.assertEqual(self.store.keys, {b"party/me": b"value"})
        stopped = me.when_stopped()
        self.assertIsNone(self.done(self.party.leave()))
        self.assertEqual((self.store.keys, self.store.leases, me.is_there, me.is_over), ({}, {}, False, True))
        self.assertIsNone(self.successResultOf(stopped))
        self.assertIsNone(self.successResultOf(me.when_stopped()))
        self.assertIsNone(self.successResultOf(self.party.leave()))
        self.assertEqual((self.told, repr(me)), ([True], "<Registration b'party/me' LEFT>"))
        self.join(b"again")
        self.done(self.party.leave())

    def test_joined_twice(self) -> None:
        self.join()
        self.assertRaises(RuntimeError, self.party.join, b"other")

    def test_in_the_order_of_joining(self) -> None:
        for name in (b"b", b"c", b"a"):
            self.done(Party(self.peer().client, b"party").join(name, b"of " + name))
        self.store.put(b"party2/x")
        members = self.done(self.party.members())
        self.assertEqual(list(members.items()), [(b"b", b"of b"), (b"c", b"of c"), (b"a", b"of a")])

    def test_on_change(self) -> None:
        shown: list[list[bytes]] = []
        following = self.party.on_change(lambda members: shown.append(list(members)))
        self.settle()
        self.assertEqual(shown, [[]])
        self.join()
        other = Party(self.peer().client, b"party")
        self.done(other.join(b"other"))
        self.done(self.party.leave())
        self.assertEqual(shown, [[], [b"me"], [b"me", b"other"], [b"other"]])
        following.cancel()
        self.assertIsNone(self.successResultOf(following))
        self.done(other.leave())
        self.assertEqual(len(shown), 4)

    def test_on_change_ends(self) -> None:
        following = self.party.on_change(lambda members: None)
        self.settle()
        self.client.close()
        self.assertIsNone(self.done(following))

    def test_on_change_fails(self) -> None:
        following = self.party.on_change(lambda members: None)
        self.transport.waiting[0].reply(PermissionDenied(7, "etcdserver: permission denied"))
        self.failed(following, PermissionDenied)

    def test_block(self) -> None:
        async def inside() -> Any:
            async with self.party.join(b"me") as me:
                return me.is_there, list(self.store.keys)

        self.assertEqual(self.done(run(inside())), (True, [b"party/me"]))
        self.assertEqual(self.store.keys, {})

    def test_block_is_told_that_it_is_over(self) -> None:
        async def inside() -> None:
            async with self.party.join(b"me"):
                self.store.put(b"party/me")
                await deferLater(self.clock, 1)

        working = run(inside())
        self.settle(2)
        self.failed(working, Replaced)


class BackTests(PartyCase):
    """What was lost comes back."""

    def test_after_an_outage(self) -> None:
        me = self.join()
        first = self.lease()
        self.lose()
        self.assertEqual((self.told, me.is_there, self.store.keys), ([True, False], False, {}))
        self.assertEqual(repr(me), "<Registration b'party/me' LOST>")
        self.peers[0].is_away = False
        self.settle(3)
        self.assertEqual((self.told, me.is_there), ([True, False, True], True))
        self.assertEqual(self.store.keys, {b"party/me": b"value"})
        self.assertNotEqual(self.lease(), first)

    def test_left_in_an_outage(self) -> None:
        """It does not come back then."""
        me = self.join()
        self.lose()
        self.done(self.party.leave())
        self.peers[0].is_away = False
        self.settle(10)
        self.assertEqual((self.store.keys, self.store.leases, me.is_over), ({}, {}, True))

    def test_outage_from_the_beginning(self) -> None:
        joining = self.party.join(b"me")
        for _ in range(3):
            self.peers[0].refuse(self.transport.next(LEASE_GRANT))
            self.clock.advance(0.5)
        self.assertTrue(self.done(joining).is_there)

    def test_lease_is_revoked(self) -> None:
        """Which the server tells before it is noticed here."""
        self.join()
        first = self.lease()
        self.store.expire(first)
        self.settle(1)
        self.assertEqual((self.told, self.store.keys), ([True, False, True], {b"party/me": b"value"}))
        self.assertNotEqual(self.lease(), first)

    def test_key_is_deleted(self) -> None:
        self.join()
        lease = self.lease()
        self.store.delete(b"party/me")
        self.settle()
        self.assertEqual((self.told, self.lease()), ([True, False, True], lease))
        self.assertEqual(self.store.keys, {b"party/me": b"value"})

    def test_answer_is_lost(self) -> None:
        """Of writing it, for the first time and again."""
        joining = self.party.join(b"me")
        self.peers[0].answer(self.transport.next(LEASE_GRANT))
        self.peers[0].answer(self.transport.next(LEASE_KEEP_ALIVE))
        for _ in range(2):
            self.peers[0].lose_answer(self.transport.next(TXN))
            self.settle(1)
            self.assertEqual(self.store.keys, {b"party/me": b""})
            self.store.delete(b"party/me")
            self.peers[0].feed()
        self.settle()
        self.assertTrue(self.successResultOf(joining).is_there)

    def test_answer_is_lost_with_the_session(self) -> None:
        """What was written without an answer, on a lease that the server believes in for longer, is no other's."""
        me = self.join()
        first = self.lease()
        self.store.delete(b"party/me")
        self.peers[0].feed()
        self.peers[0].lose_answer(self.transport.next(TXN))
        self.peers[0].is_away = True
        self.settle(65)
        self.peers[0].is_away = False
        while first in self.store.leases and len(self.store.leases) < 2 or self.transport.waiting:
            for call in list(self.transport.waiting):
                if call.rpc is LEASE_REVOKE:
                    self.peers[0].refuse(call)
                else:
                    self.peers[0].answer(call)
        self.settle(3)
        self.assertEqual((self.told, me.is_there), ([True, False, True], True))
        self.assertEqual(self.store.keys, {b"party/me": b"value"})
        self.assertNotEqual(self.lease(), first)

    def test_written_late_on_a_lease_that_is_lost(self) -> None:
        """It is written again, as it goes with that."""
        me = self.join()
        other = 7
        me._leases.add(other)
        self.store.leases[other] = 60
        self.store.put(b"party/me", b"value", other)
        self.settle()
        self.assertTrue(me.is_there)
        self.store.expire(other)
        self.settle()
        self.assertEqual((self.told, self.store.keys), ([True, False, True], {b"party/me": b"value"}))

    def test_left_by_whoever_has_waited_for_it(self) -> None:
        """He is not told that it is there any more."""
        joining = self.party.join(b"me", on_status=self.told.append)
        joining.addCallback(lambda me: me.leave())
        self.assertIsNone(self.done(joining))
        self.assertEqual((self.told, self.store.keys), ([], {}))

    def test_history_was_compacted(self) -> None:
        me = self.join()
        self.peers[0].is_away = True
        for value in (b"1", b"2"):
            self.store.put(b"other", value)
        self.store.compact()
        for stream in self.transport.live:
            stream.end()
        self.peers[0].is_away = False
        self.settle(3)
        self.assertEqual((me.is_there, self.told, list(self.store.keys)), (True, [True], [b"other", b"party/me"]))

    def test_deleted_while_nothing_is_heard(self) -> None:
        self.store.put(b"party/you")
        self.join()
        self.peers[0].is_away = True
        self.store.delete(b"party/me")
        self.store.delete(b"party/you")
        self.store.compact()
        for stream in self.transport.live:
            stream.end()
        self.peers[0].is_away = False
        self.settle(3)
        self.assertEqual(self.store.keys, {b"party/me": b"value"})

    def test_left_by_whoever_is_told(self) -> None:
        """Of anything."""
        for when in (True, False):
            self.party = Party(self.client, b"party")

            def on_status(is_there: bool, when: bool = when) -> None:
                if is_there is when:
                    self.party.leave()

            joining = self.party.join(b"me", on_status=on_status)
            self.settle()
            self.store.delete(b"party/me") if not when else None
            self.settle(3)
            self.assertEqual((self.store.keys, self.store.leases), ({}, {}))
            self.assertTrue(self.successResultOf(joining).is_over)

    def test_whoever_is_told_fails(self) -> None:
        self.done(self.party.join(b"me", on_status=lambda is_there: 1 / 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class OverTests(PartyCase):
    """What does not come back."""

    def test_somebody_else_has_the_name(self) -> None:
        """Whoever comes later has it."""
        me = self.join()
        other = Party(self.peer().client, b"party")
        self.done(other.join(b"me", b"other"))
        self.failed(me.when_stopped(), Replaced)
        self.assertEqual((self.told, repr(me)), ([True, False], "<Registration b'party/me' FAILED>"))
        self.assertEqual(self.store.keys, {b"party/me": b"other"})
        error = self.failed(self.party.leave(), Replaced)
        self.assertEqual(str(error), "somebody else has registered b'party/me'")
        self.assertIsNone(self.done(self.party.leave()))
        self.done(other.leave())
        self.assertEqual((self.store.keys, self.store.leases), ({}, {}))

    def test_somebody_else_has_the_name_since_an_outage(self) -> None:
        me = self.join()
        self.lose()
        self.store.put(b"party/me", b"other")
        self.peers[0].is_away = False
        self.settle(3)
        self.failed(me.when_stopped(), Replaced)
        self.assertEqual((self.store.keys, self.store.leases), ({b"party/me": b"other"}, {}))

    def test_the_key_of_before_a_restart(self) -> None:
        """Is taken over, and not deleted with its lease."""
        self.store.leases[5] = 60
        self.store.put(b"party/me", b"old", 5)
        self.join()
        self.store.expire(5)
        self.settle(1)
        self.assertEqual((self.store.keys, self.told), ({b"party/me": b"value"}, [True]))

    def test_refused(self) -> None:
        self.store.refused = b"party/"
        self.failed(self.party.join(b"me"), PermissionDenied)
        self.assertEqual((self.store.keys, self.store.leases), ({}, {}))

    def test_refused_later(self) -> None:
        me = self.join()
        self.store.refused = b"party/"
        self.store.delete(b"party/me")
        self.failed(me.when_stopped(), PermissionDenied)
        self.assertEqual(self.store.leases, {})

    def test_client_is_closed(self) -> None:
        me = self.join()
        stopped = me.when_stopped()
        self.client.close()
        self.assertIsNone(self.done(stopped))
        self.assertEqual(self.told, [True])

    def test_cancelled(self) -> None:
        """At every moment."""
        for answers in range(4):
            self.party = Party(self.client, b"party")
            joining = self.party.join(b"me")
            for _ in range(answers):
                self.peers[0].answer(self.transport.waiting[0])
            self.cancelled(joining)
            self.settle(1)
            self.assertEqual((self.store.keys, self.store.leases), ({}, {}), answers)

    def test_timeout(self) -> None:
        self.peers[0].is_away = True
        joining = self.party.join(b"me", timeout=3)
        self.settle(4)
        error = self.failureResultOf(joining, Timeout).value
        self.assertIn("b'party/me' was not registered within 3 seconds", str(error))
        self.assertFalse(error.maybe_applied)
        self.peers[0].is_away = False
        self.settle(10)
        self.assertEqual((self.store.keys, self.store.leases), ({}, {}))

    def test_timeout_of_writing(self) -> None:
        joining = self.party.join(b"me", timeout=3)
        self.peers[0].answer(self.transport.next(LEASE_GRANT))
        self.peers[0].answer(self.transport.next(LEASE_KEEP_ALIVE))
        self.peers[0].is_away = True
        self.settle(4)
        self.settle(5)
        self.assertTrue(self.failureResultOf(joining, Timeout).value.maybe_applied)
        self.peers[0].is_away = False
        self.settle(20)
        self.assertEqual((self.store.keys, self.store.leases), ({}, {}))


class SessionTests(PartyCase):
    """On a session of the user."""

    def test_leaves_the_session_alone(self) -> None:
        session = self.on_session()
        self.join()
        self.assertEqual(self.lease(), session.lease_id)
        self.done(self.party.leave())
        self.assertEqual((self.store.keys, session.is_alive), ({}, True))

    def test_ends_with_the_session(self) -> None:
        for end in (lambda session: session.close(), lambda session: self.store.expire(session.lease_id)):
            session = self.on_session()
            self.told.clear()
            me = self.join()
            end(session)
            self.settle(30)
            self.failed(me.when_stopped(), SessionExpired)
            self.failed(self.party.leave(), SessionExpired)
            self.assertEqual((self.store.keys, self.told[-1]), ({}, False))

    def test_is_lost_before(self) -> None:
        session = self.on_session()
        self.done(session.close())
        self.failed(self.party.join(b"me"), SessionExpired)

    def test_client_is_closed(self) -> None:
        self.on_session()
        me = self.join()
        self.client.close()
        self.assertIsNone(self.done(me.when_stopped()))

    def test_cancelled(self) -> None:
        """What is written all the same is deleted."""
        for answers in range(2):
            session = self.on_session()
            joining = self.party.join(b"me")
            for _ in range(answers):
                self.peers[0].answer(self.transport.waiting[0])
            self.cancelled(joining)
            self.settle(1)
            self.assertEqual((self.store.keys, session.is_alive), ({}, True), answers)
            self.done(session.close())

    def test_left_while_it_is_written(self) -> None:
        """The deletion does not overtake the write."""
        self.on_session()
        me = self.join()
        self.store.delete(b"party/me")
        self.peers[0].feed()
        self.transport.next(TXN)
        leaving = me.leave()
        self.transport.asked("Txn")
        self.assertIsNone(self.done(leaving))
        self.assertEqual(self.store.keys, {})

    def test_cannot_be_deleted(self) -> None:
        """It is tried again behind the back."""
        session = self.on_session()
        me = self.join()
        leaving = me.leave()
        self.peers[0].refuse(self.transport.next(TXN))
        self.failureResultOf(leaving)
        self.clock.advance(0.5)
        self.peers[0].refuse(self.transport.next(TXN))
        self.settle(1)
        self.assertEqual((self.store.keys, session.is_alive), ({}, True))

    def test_of_somebody_else(self) -> None:
        """Is not deleted."""
        self.on_session()
        me = self.join()
        self.store.put(b"party/me", b"other")
        self.failed(me.when_stopped(), Replaced)
        self.assertEqual(self.store.keys, {b"party/me": b"other"})


class Life(RuleBasedStateMachine):
    """
    A member that is cut off, revoked, deleted and closed in on, while its calls are answered in any order, or not: it
    is there in the end, if it has not left; nothing is left if it has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.case = PartyCase()
        self.case.setUp()
        self.peer = self.case.peers[0]
        self.told: list[bool] = []
        self.membership: Optional[Registration] = None
        self.joining = Party(self.case.client, b"party").join(b"me", b"value", on_status=self.told.append)
        self.joining.addCallback(self.joined)

    def joined(self, membership: Registration) -> None:
        self.membership = membership

    @rule(how=st.sampled_from(["answer", "answer", "answer", "lose_answer", "refuse", "delay"]))
    def happen(self, how: str) -> None:
        if self.peer.transport.waiting:
            getattr(self.peer, how)(self.peer.transport.waiting[0])

    @precondition(lambda self: self.case.clients.late)
    @rule()
    def arrive(self) -> None:
        self.case.clients.arrive()

    @rule()
    def feed(self) -> None:
        self.peer.feed()

    @rule()
    def cut(self) -> None:
        for stream in self.peer.transport.live:
            stream.end()

    @rule(seconds=st.sampled_from([0.5, 0.5, 5.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.case.clock.advance(seconds)

    @rule()
    def settle(self) -> None:
        self.case.settle(1)

    @rule()
    def expire(self) -> None:
        for lease in list(self.case.store.leases):
            self.case.store.expire(lease)

    @rule()
    def delete(self) -> None:
        self.case.store.delete(b"party/me")

    @rule()
    def compact(self) -> None:
        self.case.store.compact()

    @invariant()
    def told_in_turn(self) -> None:
        assert self.told == [number % 2 == 0 for number in range(len(self.told))], self.told

    def teardown(self) -> None:
        self.case.clients.catch_up()
        # one that was lost here, as it was not renewed for a minute, is still there, and ends by itself
        self.case.settle_leases()
        membership = self.membership
        assert membership is not None and membership.is_there, self.joining
        assert self.case.store.keys == {b"party/me": b"value"}, self.case.store.keys
        assert len(self.case.store.leases) == 1
        membership.leave()
        self.case.settle(25)
        assert not self.case.store.keys and not self.case.store.leases
        self.case.close()
        assert not self.case.clock.getDelayedCalls()


class PropertyTests(SynchronousTestCase):
    def test_life(self) -> None:
        run_state_machine_as_test(Life, settings=PROPERTY)


class MisuseTests(PartyCase):
    def test_what_cannot_be(self) -> None:
        for kind, message, options in (
            (TypeError, "member must be bytes, not str; encode it: 'me'.encode()", {"member": "me"}),
            (ValueError, "member must not end in '/', but is b'me/'", {"member": b"me/"}),
            (TypeError, "value must be bytes, not int", {"member": b"me", "value": 1}),
            (ValueError, "timeout must be a positive number of seconds, not 0", {"member": b"me", "timeout": 0}),
            (TypeError, "on_status must be callable, not str", {"member": b"me", "on_status": "f"}),
        ):
            self.assertEqual(str(self.assertRaises(kind, self.party.join, **options)), message)
        self.assertRaises(TypeError, self.party.on_change, 5)
        self.assertRaises(ValueError, Party, self.client, b"party/")
        self.assertRaises(ValueError, Party, self.client, b"party", time_to_live=0)
        error = self.assertRaises(RuntimeError, self.party.leave)
        self.assertEqual(str(error), "<Party b'party' NOT JOINED> was not joined")
        self.assertEqual(self.transport.calls, [])
        self.join()
