"""
The election: what is its own beyond the contest; candidates, leaders, observers, and work under a leader.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from test.fakes import run
from test.test_lock import ID, KEY, RANGE, REVOKE, TXN, WatchResponse, deleted, found, header
from test.test_session import SessionCase
from txetcd import CompCreated, Election, KeySet, OpSet, Session, Transaction
from txetcd._backoff import ASK_AGAIN
from txetcd._messages import Acknowledgement
from txetcd.errors import (
    Closed,
    Expired,
    NoElectionLeader,
    NotElectionLeader,
    OutcomeUnknown,
    PermissionDenied,
    SessionExpired,
    Timeout,
    Unavailable,
)
from txetcd.ops import OpDel, OpGet
from txetcd.values import Event, KeyValue, Outcome, Range, Revision


def candidate(name: bytes, revision: int, value: bytes = b"me", mod_revision: Optional[int] = None) -> KeyValue:
    return KeyValue(name, value, 1, revision, mod_revision or revision, 7)


def entered(mine: int, *oldest: KeyValue) -> Outcome:
    before = header(mine - 1)
    return Outcome(True, header(mine), [Revision(before), Range(list(oldest), before)])


def put(kv: KeyValue) -> WatchResponse:
    return WatchResponse(header(kv.mod_revision), events=[Event("PUT", kv)])


class ElectionCase(SessionCase):
    """Elections of a client on a fake."""

    def setUp(self) -> None:
        super().setUp()
        self.election = Election(self.client, b"name")

    def lead(self) -> Election:
        campaigning = self.election.campaign(b"me")
        self.grant()
        self.transport.next(TXN).reply(entered(20, candidate(KEY, 20)))
        self.assertIs(self.successResultOf(campaigning), self.election)
        return self.election

    def resign(self) -> None:
        resigned = self.election.resign()
        self.revoked()
        self.assertIsNone(self.successResultOf(resigned))


class CampaignTests(ElectionCase):
    """To become the leader, and not to be it any more."""

    def test_elected(self) -> None:
        self.assertEqual(repr(self.election), "<Election b'name' IDLE>")
        campaigning = self.election.campaign(b"me")
        self.assertEqual(repr(self.election), "<Election b'name' CAMPAIGNING>")
        self.assertRaises(RuntimeError, self.election.campaign, b"me")
        error = self.failureResultOf(self.election.resign(), NotElectionLeader).value
        self.assertEqual(str(error), "the election b'name' is still campaigned for: cancel that to give it up")
        self.grant()
        first = OpGet(KeySet(b"name/", prefix=True), limit=1, sort_order="ASCEND", sort_target="CREATE")
        entry = Transaction([CompCreated(KEY, "==", 0)], [OpSet(KEY, b"me", ID), first], [OpGet(KEY), first])
        self.assertEqual(self.transport.next(TXN).request, entry)
        self.transport.next(TXN).reply(entered(20, candidate(KEY, 20)))
        self.successResultOf(campaigning)
        election = self.election
        self.assertEqual((election.is_leader, election.key, election.revision), (True, KEY, 20))
        self.assertEqual((election.guard(), repr(election)), (CompCreated(KEY, "==", 20), "<Election b'name' LEADING>"))
        self.resign()
        self.assertFalse(election.is_leader)
        self.assert_idle()

    def test_follower_is_elected(self) -> None:
        """When the key before its own is deleted; that it has another value is nothing."""
        campaigning = self.election.campaign(b"me", 1000)
        self.grant()
        self.transport.next(TXN).reply(entered(20, candidate(b"name/1", 15)))
        self.transport.next(RANGE).reply(found(candidate(b"name/1", 15)))
        (stream,) = self.transport.live
        stream.say(WatchResponse(header(50), created=True), put(candidate(b"name/1", 15, b"new", 60)))
        self.assertNoResult(campaigning)
        stream.say(deleted(b"name/1", 61))
        self.transport.next(RANGE).reply(found())
        self.transport.next(RANGE).reply(found(candidate(KEY, 20)))
        self.successResultOf(campaigning)
        self.resign()

    def test_late(self) -> None:
        campaigning = self.election.campaign(b"me", 3)
        self.grant()
        self.transport.next(TXN).reply(entered(20, candidate(b"name/1", 15)))
        self.transport.next(RANGE).reply(found(candidate(b"name/1", 15)))
        self.clock.advance(3)
        self.revoked()
        error = self.failureResultOf(campaigning, Timeout).value
        self.assertIn("the election b'name' was not won within 3 seconds", str(error))

    def test_proclaim(self) -> None:
        election = self.lead()
        proclaimed = election.proclaim(b"new")
        wanted = Transaction([CompCreated(KEY, "==", 20)], [OpSet(KEY, b"new", ID)])
        self.assertEqual(self.transport.next(TXN).request, wanted)
        self.transport.next(TXN).reply(Outcome(True, header(30), []))
        self.assertIsNone(self.successResultOf(proclaimed))
        self.resign()

    def test_campaign_of_the_leader(self) -> None:
        """It proclaims."""
        election = self.lead()
        campaigning = election.campaign(b"new")
        self.assertEqual(self.transport.next(TXN).request.success, (OpSet(KEY, b"new", ID),))
        self.transport.next(TXN).reply(Outcome(True, header(30), []))
        self.assertIs(self.successResultOf(campaigning), election)
        self.resign()

    def test_proclaim_of_one_that_was_deposed(self) -> None:
        """Its key was deleted by force: it does not lead any more, and leaves nothing behind."""
        election = self.lead()
        proclaimed = election.proclaim(b"new")
        self.transport.next(TXN).reply(Outcome(False, header(30), []))
        self.assertIn("was lost", str(self.failureResultOf(proclaimed, NotElectionLeader).value))
        self.assertFalse(election.is_leader)
        self.revoked()

    def test_not_leading(self) -> None:
        election = self.election
        error = self.failureResultOf(election.resign(), NotElectionLeader).value
        self.assertEqual(str(error), "the election b'name' is not led by this one")
        self.failureResultOf(election.proclaim(b"new"), NotElectionLeader)
        for ask in (lambda: election.key, lambda: election.revision, election.guard, election.when_lost):
            self.assertRaises(NotElectionLeader, ask)
        self.lead()
        self.resign()
        self.failureResultOf(election.resign(), NotElectionLeader)

    def test_lost(self) -> None:
        """It can campaign again."""
        election = self.lead()
        lost = election.when_lost()
        self.lose()
        self.successResultOf(lost)
        self.assertEqual((election.is_leader, repr(election)), (False, "<Election b'name' LOST>"))
        self.lead()
        self.lose()
        self.failureResultOf(election.resign(), Expired)
        self.assert_idle()

    def test_same_session(self) -> None:
        """It is one candidate: the later campaign takes the place over, with its value."""
        session = self.begin()
        for value, is_written in ((b"me", False), (b"new", True)):
            election = Election(self.client, b"name", session=session)
            campaigning = election.campaign(value)
            mine = candidate(KEY, 18)
            self.transport.next(TXN).reply(Outcome(False, header(40), [found(mine), found(mine)]))
            if is_written:
                wanted = Transaction([CompCreated(KEY, "==", 18)], [OpSet(KEY, b"new", ID)])
                self.assertEqual(self.transport.next(TXN).request, wanted)
                self.transport.next(TXN).reply(Outcome(True, header(41), []))
            self.successResultOf(campaigning)
            self.assertEqual((election.key, election.revision), (KEY, 18))
        resigned = election.resign()
        self.assertEqual(self.transport.next(TXN).request, Transaction([CompCreated(KEY, "==", 18)], [OpDel(KEY)]))
        self.transport.next(TXN).reply(Outcome(True, header(60), []))
        self.successResultOf(resigned)
        self.close(session)

    def with_session(self) -> tuple[Session, Election]:
        session = self.begin()
        return session, Election(self.client, b"name", session=session)

    def deleting(self, revision: int = 20) -> None:
        """The key is being deleted, and nothing else asked; it succeeds."""
        self.transport.asked("Txn")
        wanted = Transaction([CompCreated(KEY, "==", revision)], [OpDel(KEY)])
        self.assertEqual(self.transport.next(TXN).request, wanted)
        self.transport.next(TXN).reply(Outcome(True, header(60), []))

    def elected(self, campaigning: Deferred[Election], revision: int) -> None:
        self.transport.asked("Txn")
        self.assertEqual(self.transport.next(TXN).request.compare, (CompCreated(KEY, "==", 0),))
        self.transport.next(TXN).reply(entered(revision, candidate(KEY, revision)))
        self.assertEqual(self.successResultOf(campaigning).revision, revision)

    def test_same_session_after_resigning_in_doubt(self) -> None:
        """The key is deleted first, behind the back: or it would be taken over, and deleted then."""
        session, election = self.with_session()
        self.elected(election.campaign(b"me"), 20)
        resigned = election.resign()
        self.transport.next(TXN).reply(OutcomeUnknown(None, "lost"))
        self.failureResultOf(resigned, OutcomeUnknown)
        self.cancelled(election.campaign(b"me"))
        campaigning = election.campaign(b"me")
        self.transport.next(TXN).reply(Unavailable(None, "refused"))
        self.clock.advance(ASK_AGAIN)
        self.deleting()
        self.elected(campaigning, 70)
        self.assertTrue(election.is_leader)
        self.close(session)
        self.assert_idle()

    def test_same_session_after_resigning_in_vain(self) -> None:
        """What cannot be deleted is taken over."""
        session, election = self.with_session()
        self.elected(election.campaign(b"me"), 20)
        resigned = election.resign()
        self.transport.next(TXN).reply(PermissionDenied(7, "permission denied"))
        self.failureResultOf(resigned, PermissionDenied)
        self.elected(election.campaign(b"me"), 20)
        self.close(session)

    def test_same_session_after_cancelling(self) -> None:
        """So it is with one that was cancelled, also in a callback of that. Its key is looked up."""
        session, election = self.with_session()
        again: list[Deferred[Election]] = []
        campaigning = election.campaign(b"me")
        campaigning.addErrback(lambda _: again.append(election.campaign(b"new")))
        campaigning.cancel()
        self.transport.asked("Txn")
        self.transport.next(TXN).reply(entered(20, candidate(KEY, 20)))
        self.transport.next(RANGE).reply(found(candidate(KEY, 20)))
        self.deleting()
        self.elected(again[0], 70)
        self.close(session)
        self.assert_idle()

    def test_same_session_after_nothing(self) -> None:
        """A campaign that was cancelled, and has not written its key."""
        session, election = self.with_session()
        self.cancelled(election.campaign(b"me"))
        campaigning = election.campaign(b"new")
        self.transport.next(TXN).reply(Unavailable(None, "refused"))
        self.transport.next(RANGE).reply(found())
        self.elected(campaigning, 70)
        self.close(session)

    def test_same_session_is_another_by_now(self) -> None:
        """The key was deleted meanwhile, and written again by another campaign of the session."""
        session, election = self.with_session()
        campaigning = election.campaign(b"me")
        self.transport.next(TXN).reply(entered(20, candidate(b"name/1", 15)))
        self.transport.next(RANGE).reply(found())
        self.transport.next(RANGE).reply(found(candidate(KEY, 30)))
        self.deleting()
        self.failureResultOf(campaigning, SessionExpired)
        self.close(session)

    def test_misuse(self) -> None:
        wrong: Any = "me"
        self.assertRaises(TypeError, self.election.campaign, wrong)
        self.assertRaises(TypeError, self.election.proclaim, wrong)
        self.assertRaises(ValueError, self.election.campaign, b"", 0)
        self.assertRaises(TypeError, self.election.run, wrong)
        for name in (b"", b"name/"):
            self.assertRaises(ValueError, Election, self.client, name)
        self.assertEqual(self.transport.calls, [])


class LeaderTests(ElectionCase):
    """Who leads."""

    def test_leader(self) -> None:
        asked = self.election.leader()
        self.transport.next(RANGE).reply(found(candidate(b"name/1", 15)))
        self.assertEqual(self.successResultOf(asked), candidate(b"name/1", 15))

    def test_nobody(self) -> None:
        asked = self.election.leader()
        self.transport.next(RANGE).reply(found())
        error = self.failureResultOf(asked, NoElectionLeader).value
        self.assertEqual(str(error), "nobody leads the election b'name'")


class ObserveTests(ElectionCase):
    """Who leads, now and from now on."""

    def setUp(self) -> None:
        super().setUp()
        self.leaders = self.election.observe()
        self.assertIs(self.leaders.__aiter__(), self.leaders)

    def next(self) -> Deferred[KeyValue]:
        return run(self.leaders.__anext__())

    def first(self) -> KeyValue:
        kv = candidate(b"name/1", 15)
        told = self.next()
        self.transport.next(RANGE).reply(found(kv, revision=30))
        self.assertEqual(self.successResultOf(told), kv)
        return kv

    def test_leader(self) -> None:
        """The one there is, its values, and the next one."""
        self.first()
        (stream,) = self.transport.live
        self.assertEqual((stream.request.key, stream.request.start_revision), (KeySet(b"name/1"), 31))
        new = candidate(b"name/1", 15, b"new", 40)
        stream.say(WatchResponse(header(30), created=True), put(new))
        self.assertEqual(self.successResultOf(self.next()), new)
        told = self.next()
        self.assertNoResult(told)
        stream.say(deleted(b"name/1", 41))
        self.transport.next(RANGE).reply(found(candidate(b"name/2", 17), revision=41))
        self.assertEqual(self.successResultOf(told), candidate(b"name/2", 17))
        self.leaders.stop()
        self.assert_idle()

    def test_nobody(self) -> None:
        """Somebody is waited for, and who leads is asked then."""
        told = self.next()
        self.transport.next(RANGE).reply(found(revision=30))
        (stream,) = self.transport.live
        self.assertEqual((stream.request.key, stream.request.start_revision), (KeySet(b"name/", prefix=True), 31))
        stream.say(WatchResponse(header(30), created=True), deleted(b"name/0", 31), put(candidate(b"name/2", 32)))
        self.assertEqual(self.transport.live, [])
        self.assertNoResult(told)
        self.transport.next(RANGE).reply(found(candidate(b"name/2", 32)))
        self.assertEqual(self.successResultOf(told), candidate(b"name/2", 32))
        self.leaders.stop()

    def test_outage_and_compaction(self) -> None:
        """They are waited out; what was told is not told again, but what is new is."""
        kv = self.first()
        told = self.next()
        self.transport.live[0].say(WatchResponse(canceled=True, compact_revision=99))
        self.clock.advance(ASK_AGAIN)
        self.transport.next(RANGE).reply(Unavailable(None, "refused"))
        self.clock.advance(ASK_AGAIN)
        self.transport.next(RANGE).reply(found(kv, revision=120))
        self.assertNoResult(told)
        (stream,) = self.transport.live
        self.assertEqual(stream.request.start_revision, 121)
        new = candidate(b"name/1", 15, b"new", 125)
        stream.say(WatchResponse(header(120), created=True), put(new))
        self.assertEqual(self.successResultOf(told), new)
        self.leaders.stop()

    def test_stop(self) -> None:
        """Whoever waits comes to the end of the loop."""
        for is_watched in (False, True):
            self.leaders = self.election.observe()
            told = self.first() and self.next() if is_watched else self.next()
            self.leaders.stop()
            self.failureResultOf(told, StopAsyncIteration)
            self.failureResultOf(self.next(), StopAsyncIteration)
            self.assert_idle()

    def test_block(self) -> None:
        async def first_two() -> list[bytes]:
            told: list[bytes] = []
            async with self.leaders as leaders:
                async for kv in leaders:
                    told.append(kv.value)
                    if len(told) == 2:
                        break
            return told

        running = run(first_two())
        self.transport.next(RANGE).reply(found(candidate(b"name/1", 15), revision=30))
        new = candidate(b"name/1", 15, b"new", 40)
        self.transport.live[0].say(WatchResponse(header(30), created=True), put(new))
        self.assertEqual(self.successResultOf(running), [b"me", b"new"])
        self.assert_idle()

    def test_cancelled(self) -> None:
        """It can be gone on with."""
        self.first()
        told = self.next()
        told.cancel()
        self.failureResultOf(told, CancelledError)
        self.assertEqual(self.transport.live, [])
        told = self.next()
        self.transport.next(RANGE).reply(found(candidate(b"name/2", 16)))
        self.assertEqual(self.successResultOf(told), candidate(b"name/2", 16))
        self.leaders.stop()

    def test_failed(self) -> None:
        told = self.next()
        self.transport.next(RANGE).reply(PermissionDenied(7, "permission denied"))
        self.failureResultOf(told, PermissionDenied)
        self.assert_idle()

    def test_client_closed(self) -> None:
        self.first()
        told = self.next()
        self.successResultOf(self.client.close())
        self.failureResultOf(told, Closed)


class RunTests(ElectionCase):
    """Work under a leader."""

    def setUp(self) -> None:
        super().setUp()
        self.work: Deferred[Any] = Deferred()

    def started(self, **options: Any) -> Deferred[Any]:
        """It leads, works, and watches its key."""
        running = self.election.run(lambda: self.work, b"me", **options)
        self.grant()
        self.transport.next(TXN).reply(entered(20))
        self.transport.asked("Range")
        self.transport.next(RANGE).reply(found(candidate(KEY, 20), revision=30))
        (stream,) = self.transport.live
        self.assertEqual((stream.request.key, stream.request.start_revision), (KeySet(KEY), 31))
        stream.say(WatchResponse(header(30), created=True))
        self.assertNoResult(running)
        return running

    def test_done(self) -> None:
        running = self.started()
        self.assertRaises(RuntimeError, self.election.run, lambda: self.work)
        self.work.callback(7)
        self.assertNoResult(running)
        self.revoked()
        self.assertEqual(self.successResultOf(running), 7)
        self.assert_idle()

    def test_coroutine(self) -> None:
        async def work() -> Any:
            return await self.work

        running = self.election.run(work)
        self.grant()
        self.transport.next(TXN).reply(entered(20))
        self.transport.next(RANGE).reply(found(candidate(KEY, 20)))
        self.work.callback(7)
        self.revoked()
        self.assertEqual(self.successResultOf(running), 7)

    def test_failed(self) -> None:
        running = self.started()
        self.work.errback(ZeroDivisionError())
        self.revoked()
        self.failureResultOf(running, ZeroDivisionError)

    def test_refused_by_the_server(self) -> None:
        """What the work fails with is told as it is."""
        running = self.started()
        self.work.errback(PermissionDenied(7, "permission denied"))
        self.revoked()
        self.failureResultOf(running, PermissionDenied)

    def test_lease_lost(self) -> None:
        """The work is cancelled."""
        running = self.started()
        self.lose()
        self.failureResultOf(running, NotElectionLeader)
        self.assertFalse(self.election.is_leader)
        self.assert_idle()

    def test_key_deleted(self) -> None:
        """So it is if somebody has deleted the key; even in an outage of the watch."""
        for is_seen in (True, False):
            self.work = Deferred()
            running = self.started()
            if is_seen:
                self.transport.live[0].say(deleted(KEY, 40))
            else:
                self.transport.live[0].say(WatchResponse(canceled=True, compact_revision=99))
                self.clock.advance(ASK_AGAIN)
                self.transport.next(RANGE).reply(found())
            self.revoked()
            self.failureResultOf(running, NotElectionLeader)
            self.assert_idle()

    def test_work_that_goes_on(self) -> None:
        """It is waited for."""
        self.work = Deferred(lambda _: None)
        running = self.started()
        self.lose()
        # the Deferred has no result of its own after it was cancelled in vain
        self.failureResultOf(running, NotElectionLeader)

    def test_work_that_ends_well_when_it_is_cancelled(self) -> None:
        self.work = Deferred(lambda work: work.callback(7))
        running = self.started()
        self.lose()
        self.failureResultOf(running, NotElectionLeader)
        self.assert_idle()

    def test_fault_of_its_own(self) -> None:
        """It says more than that the leadership was lost."""
        self.work = Deferred(lambda work: work.errback(ZeroDivisionError()))
        running = self.started()
        self.lose()
        self.failureResultOf(running, ZeroDivisionError)

    def test_suspended(self) -> None:
        """That it was lost is noticed when the work is done."""
        running = self.started()
        self.clock.rightNow += 61
        self.work.callback(7)
        self.failureResultOf(running, NotElectionLeader)
        self.transport.next(REVOKE).reply(Acknowledgement())

    def test_cancelled(self) -> None:
        """It resigns, and fails then."""
        running = self.started()
        running.cancel()
        self.revoked()
        self.failureResultOf(running, CancelledError)
        self.assert_idle()

    def test_resigned_by_the_work(self) -> None:
        running = self.started()
        resigned = self.election.resign()
        self.revoked()
        self.successResultOf(resigned)
        self.failureResultOf(running, NotElectionLeader)
        self.assert_idle()

    def test_not_elected(self) -> None:
        """Nothing is done."""
        running = self.election.run(lambda: self.fail("it does not lead"))  # type: ignore[arg-type]  # never called
        self.transport.asked("LeaseGrant")
        self.transport.waiting[0].reply(Unavailable(None, "refused"))
        self.failureResultOf(running, Unavailable)

    def test_no_work(self) -> None:
        """A function that returns something else, or raises, or has done its work at once."""
        function: Any
        cases = ((lambda: 7, TypeError), (lambda: 1 / 0, ZeroDivisionError), (lambda: succeed(7), None))
        for function, wanted in cases:
            running = self.election.run(function)
            self.grant()
            self.transport.next(TXN).reply(entered(20))
            self.transport.waiting = [call for call in self.transport.waiting if call.rpc is not RANGE]
            self.revoked()
            if wanted is None:
                self.assertEqual(self.successResultOf(running), 7)
            else:
                self.failureResultOf(running, wanted)

    def test_cannot_resign(self) -> None:
        """That is told if nothing else is; it is tried again behind the back."""
        running = self.started()
        self.work.callback(7)
        self.transport.next(REVOKE).reply(OutcomeUnknown(None, "lost"))
        self.failureResultOf(running, OutcomeUnknown)
        self.revoked()

    def test_watch_refused(self) -> None:
        """Who cannot see the own key cannot know whether it leads."""
        running = self.election.run(lambda: self.work)
        self.grant()
        self.transport.next(TXN).reply(entered(20))
        self.transport.next(RANGE).reply(PermissionDenied(7, "permission denied"))
        self.revoked()
        self.failureResultOf(running, NotElectionLeader)

    def test_failed_deferred(self) -> None:
        self.work = fail(ZeroDivisionError())
        running = self.election.run(lambda: self.work)
        self.grant()
        self.transport.next(TXN).reply(entered(20))
        self.revoked()
        self.failureResultOf(running, ZeroDivisionError)
