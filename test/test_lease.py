"""
Leases: how they are renewed, when they are lost, and who learns it.
"""

from __future__ import annotations

from copy import copy
from types import SimpleNamespace
from typing import Any, Callable, Optional

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from test.fakes import URL, Case, FakeTransport, fake_client, run
from test.test_clock import SystemReactor
from txetcd import Client, Lease, _clock
from txetcd import _schema as schema
from txetcd import lease as lease_module
from txetcd._calls import GRACE
from txetcd._messages import (
    Acknowledgement,
    LeaseGrantRequest,
    LeaseGrantResponse,
    LeaseKeepAliveRequest,
    LeaseKeepAliveResponse,
    LeaseRevokeRequest,
    LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
)
from txetcd.errors import (
    Closed,
    Error,
    Expired,
    LeaseExist,
    LeaseNotFound,
    LeaseTTLTooLarge,
    NoLeader,
    OutcomeUnknown,
    PermissionDenied,
    ProtocolViolation,
    Timeout,
    TooManyRequests,
    Unavailable,
)
from txetcd.values import Header

GRANT, KEEP_ALIVE = schema.LEASE_GRANT, schema.LEASE_KEEP_ALIVE
REVOKE, TIME_TO_LIVE = schema.LEASE_REVOKE, schema.LEASE_TIME_TO_LIVE
GRANTED = LeaseGrantResponse(Header(revision=5), 0xABC, 30)
RENEWED = LeaseKeepAliveResponse(Header(revision=6), 0xABC, 30)
GONE = LeaseKeepAliveResponse(Header(revision=6), 0xABC)
REVOKED = Acknowledgement(Header(revision=7))
NOT_FOUND = LeaseNotFound(5, "etcdserver: requested lease not found")
LOST = Unavailable(None, "the connection was lost")
EXISTS = LeaseExist(9, "etcdserver: lease already exists")
UNKNOWN = OutcomeUnknown(None, "sent, but the connection was lost")


class LeaseCase(Case):
    """A client on a fake."""

    client: Client

    def setUp(self) -> None:
        super().setUp()
        self.patch(lease_module, "new_lease_id", lambda: 0xABC)
        self.client = fake_client(self.clock, self.transport)
        self.calls = self.client._calls

    def granted(self, keep_alive: bool = False, lease_id: Optional[int] = None) -> Lease:
        """A lease of 30 seconds."""
        granting = self.client.lease(30, lease_id, keep_alive=keep_alive)
        self.transport.next(GRANT).reply(GRANTED)
        return self.successResultOf(granting)

    def renew(self, answer: Any = RENEWED) -> None:
        """The renewal that is under way, and nothing else, is answered."""
        (call,) = self.transport.waiting
        self.assertEqual((call.rpc, call.request), (KEEP_ALIVE, LeaseKeepAliveRequest(0xABC)))
        call.reply(answer)

    def taken_back(self, answer: Any = REVOKED) -> None:
        """The lease is just being revoked, and nothing else asked; that is answered."""
        (call,) = self.transport.waiting
        self.assertEqual((call.rpc, call.request), (REVOKE, LeaseRevokeRequest(0xABC)))
        call.reply(copy(answer))

    def assert_expired(self, lease: Lease) -> None:
        """It has expired by our own clock, and the server has been told."""
        self.taken_back()
        self.assert_lost(lease, "expired: it could not be renewed in time")

    def assert_idle(self) -> None:
        """Nothing is asked, and nothing will be."""
        self.assertEqual(self.transport.waiting, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def assert_lost(self, lease: Lease, text: str, is_left: bool = False) -> None:
        """It is gone, and says so of everything, but that one which is only left may be revoked; nothing is asked."""
        asked = len(self.transport.calls)
        self.assertEqual(lease.state, "lost")
        self.assertIn("lost", repr(lease))
        calls = [lease.remaining, lease.keys, lease.refresh, *([] if is_left else [lease.revoke])]
        errors = [self.failureResultOf(call(), Expired).value for call in calls]
        errors.append(self.assertRaises(Expired, lease.keep_alive))
        for error in errors:
            self.assertIn(f"lease abc {text}", str(error))
            self.assertIn(URL, str(error))
            self.assertIsNone(error.code)
        self.assertEqual(len(set(map(id, errors))), len(errors))
        self.successResultOf(lease.when_lost())
        lease.let_go()
        self.assertEqual(len(self.transport.calls), asked)
        self.assert_idle()


class RepeatedTests(LeaseCase):
    """What is asked again after its answer was lost, and had been done the first time."""

    def setUp(self) -> None:
        super().setUp()
        self.client = fake_client(self.clock, self.transport, policy=lambda rounds: 0.0)

    def answer(self, *answers: Any) -> None:
        """Lost, and answered so the second time."""
        for answer in answers:
            (call,) = self.transport.waiting
            call.reply(copy(answer))

    def test_grant(self) -> None:
        """It exists because it was granted. How long it lasts is asked, and counted from then on."""
        granting = self.client.lease(5)
        self.clock.advance(4)
        self.answer(UNKNOWN, EXISTS)
        (call,) = self.transport.waiting
        self.assertEqual((call.rpc, call.request, call.timeout), (KEEP_ALIVE, LeaseKeepAliveRequest(0xABC), 6))
        self.clock.advance(1)
        self.answer(RENEWED)
        lease = self.successResultOf(granting)
        self.assertEqual((lease.lease_id, lease.time_to_live, lease.header), (0xABC, 30, RENEWED.header))
        self.assertEqual(lease.deadline, 4 + 30)
        self.assert_idle()

    def test_grant_has_expired_by_then(self) -> None:
        granting = self.client.lease(5)
        self.answer(UNKNOWN, EXISTS, GONE)
        error = self.failureResultOf(granting, Expired).value
        self.assertIn("lease abc was granted, but has expired before that was known", str(error))
        self.assert_idle()

    def test_grant_is_not_renewed(self) -> None:
        """Then it is taken back."""
        granting = self.client.lease(5)
        self.answer(UNKNOWN, EXISTS, PermissionDenied(7, "permission denied"))
        self.failureResultOf(granting, PermissionDenied)
        self.taken_back()
        self.assert_idle()

    def test_grant_that_nobody_wants_any_more(self) -> None:
        granting = self.client.lease(5)
        granting.cancel()
        self.failureResultOf(granting, CancelledError)
        self.answer(UNKNOWN, EXISTS, RENEWED)
        self.taken_back()
        self.assert_idle()

    def test_grant_of_a_chosen_id(self) -> None:
        """Somebody else may have it."""
        granting = self.client.lease(5, 0xABC)
        self.answer(UNKNOWN, EXISTS)
        self.assertTrue(self.failureResultOf(granting, LeaseExist).value.maybe_applied)
        self.assert_idle()

    def test_revocation(self) -> None:
        """It is not found because it was revoked: the server confirms that, with a header."""
        lease = self.granted()
        revoking = lease.revoke()
        self.answer(UNKNOWN, NOT_FOUND)
        (call,) = self.transport.waiting
        self.assertEqual((call.rpc, call.request), (TIME_TO_LIVE, LeaseTimeToLiveRequest(0xABC, False)))
        self.answer(LeaseTimeToLiveResponse(Header(revision=8), 0xABC, -1))
        self.assertEqual(self.successResultOf(revoking), Header(revision=8))
        self.assert_lost(lease, "was revoked")

    def test_revocation_is_not_confirmed(self) -> None:
        """Who has ended it remains open; that it has ended does not."""
        lease = self.granted()
        revoking = lease.revoke()
        self.answer(UNKNOWN, NOT_FOUND, PermissionDenied(7, "permission denied"))
        self.assertTrue(self.failureResultOf(revoking, LeaseNotFound).value.maybe_applied)
        self.assert_lost(lease, "was revoked")


class GrantTests(LeaseCase):
    """Granting one."""

    def test_grant(self) -> None:
        """The id is chosen here, 0 or none; the server may raise the time."""
        for chosen in (None, 0):
            granting = self.client.lease(1, chosen)
            self.assertEqual(self.transport.next(GRANT).request, LeaseGrantRequest(1, 0xABC))
            self.transport.next(GRANT).reply(LeaseGrantResponse(Header(revision=5), 0xABC, 2))
            lease = self.successResultOf(granting)
            self.assertEqual((lease.lease_id, lease.time_to_live, lease.header.revision), (0xABC, 2, 5))
            self.assertEqual(repr(lease), "<Lease abc alive time_to_live=2>")
            self.assert_idle()

    def test_own_id(self) -> None:
        """An id may be negative; the timeout is one of the call."""
        granting = self.client.lease(10, -7, 3.0)
        call = self.transport.next(GRANT)
        self.assertEqual((call.request, call.timeout), (LeaseGrantRequest(10, -7), 3.0))
        call.reply(LeaseExist(9, "etcdserver: lease already exists"))
        self.failureResultOf(granting, LeaseExist)

    def test_error_in_the_answer(self) -> None:
        """The answer has a field for an error."""
        granting = self.client.lease(10)
        self.transport.next(GRANT).reply(LeaseGrantResponse(error="too large lease TTL"))
        error = self.failureResultOf(granting, LeaseTTLTooLarge).value
        self.assertEqual((error.call, error.endpoint), ("Lease.LeaseGrant", URL))

    def test_cancel(self) -> None:
        """It fires at once; the lease is revoked if it is granted all the same."""
        for revoked in (REVOKED, NOT_FOUND):
            granting = self.client.lease(10, keep_alive=True)
            self.cancelled(granting)
            self.assertFalse(self.transport.next(GRANT).is_cancelled)
            self.transport.next(GRANT).reply(GRANTED)
            self.assertEqual(self.transport.next(REVOKE).request, LeaseRevokeRequest(0xABC))
            self.transport.next(REVOKE).reply(revoked)
            self.assert_idle()

    def test_cancel_and_fail(self) -> None:
        """And if it is not granted, nobody wants to know."""
        self.cancelled(self.client.lease(10))
        self.transport.next(GRANT).reply(LOST)
        self.assert_idle()

    def test_cancel_and_close(self) -> None:
        """Closing the client waits for that."""
        self.cancelled(self.client.lease(10))
        closed = self.client.close()
        self.transport.next(GRANT).reply(GRANTED)
        self.clock.advance(0)
        self.assertNoResult(closed)
        self.transport.next(REVOKE).reply(REVOKED)
        self.clock.advance(0)
        self.successResultOf(closed)

    def test_context(self) -> None:
        """``async with``: it is revoked when the block is left."""

        async def block() -> str:
            async with self.client.lease(10) as lease:
                return lease.state

        running = run(block())
        self.transport.next(GRANT).reply(GRANTED)
        self.assertNoResult(running)
        self.transport.next(REVOKE).reply(REVOKED)
        self.assertEqual(self.successResultOf(running), "alive")

    def test_revoked_in_the_block(self) -> None:
        """Nothing is left to do at its end, nor to complain of; whether or not somebody waits for that."""

        async def block(is_awaited: bool) -> None:
            async with self.client.lease(30, keep_alive=True) as lease:
                revoked = lease.revoke()
                if is_awaited:
                    await revoked

        for is_awaited in (True, False):
            running = run(block(is_awaited))
            self.transport.next(GRANT).reply(GRANTED)
            self.taken_back()
            self.assertIsNone(self.successResultOf(running))
            self.assert_idle()

    def test_lost_in_the_block(self) -> None:
        """That is told at its end."""
        body: Deferred[None] = Deferred()

        async def block() -> None:
            async with self.client.lease(30, keep_alive=True):
                await body

        running = run(block())
        self.transport.next(GRANT).reply(GRANTED)
        self.renew(GONE)
        body.callback(None)
        self.failureResultOf(running, Expired)
        self.assert_idle()

    async def enter(self, granting: Any) -> Any:
        async with granting as lease:
            return lease

    def test_context_of_what_was_waited_for(self) -> None:
        """Whoever has waited for it may still enter, and has the lease; so has who has looked at it in a callback."""
        for look in (self.successResultOf, lambda granting: granting.addCallback(lambda lease: None)):
            granting = self.client.lease(30)
            self.transport.next(GRANT).reply(GRANTED)
            look(granting)
            running = run(self.enter(granting))
            self.taken_back()
            self.assertIsInstance(self.successResultOf(running), Lease)

    def test_context_of_what_was_revoked(self) -> None:
        """A block without a lease is not entered: not twice, nor when it was revoked, or is just being that."""
        granting = self.client.lease(30)
        self.transport.next(GRANT).reply(GRANTED)
        running = run(self.enter(granting))
        self.taken_back()
        self.successResultOf(running)
        error = self.failureResultOf(run(self.enter(granting)), RuntimeError).value
        self.assertEqual(str(error), "it can be entered once only: make the call again")
        for is_revoked in (True, False):
            granting = self.client.lease(30)
            self.transport.next(GRANT).reply(GRANTED)
            self.successResultOf(granting).revoke()
            if is_revoked:
                self.taken_back()
            error = self.failureResultOf(run(self.enter(granting)), RuntimeError).value
            self.assertIn("<Lease abc ", str(error))
            self.assertIn(" was given back, and cannot be entered", str(error))
            if not is_revoked:
                self.taken_back()
            self.assert_idle()

    def test_context_of_what_is_kept_alive_again(self) -> None:
        """A lease that could not be revoked, and is kept alive after that, is there, and to be revoked at the end."""
        granting = self.client.lease(30, 0xABC)
        self.transport.next(GRANT).reply(GRANTED)
        lease = self.successResultOf(granting)
        self.failed_to_revoke(lease)
        lease.keep_alive()
        self.renew()
        running = run(self.enter(granting))
        self.taken_back()
        self.assertIs(self.successResultOf(running), lease)

    def failed_to_revoke(self, lease: Lease) -> None:
        revoked = lease.revoke()
        self.taken_back(PermissionDenied(7, "etcdserver: permission denied"))
        self.failureResultOf(revoked, PermissionDenied)

    def test_cancel_while_the_block_is_left(self) -> None:
        """It is revoked all the same, behind the back; whatever becomes of the revocation that was cancelled."""

        async def block() -> None:
            async with self.client.lease(30):
                pass

        for answer in (REVOKED, NOT_FOUND):
            running = run(block())
            self.transport.next(GRANT).reply(GRANTED)
            (revoking,) = self.transport.waiting
            self.cancelled(running)
            self.assertTrue(revoking.is_cancelled)
            self.taken_back(LOST)
            self.clock.advance(0.5)
            self.taken_back(answer)
            self.assert_idle()

    def test_granted_while_closing(self) -> None:
        """A lease that is granted to a client that is closing is not kept alive for ever after."""
        granting = self.client.lease(30, keep_alive=True)
        closed = self.client.close()
        self.transport.next(GRANT).reply(GRANTED)
        self.failureResultOf(granting, Closed)
        self.transport.next(REVOKE).reply(Acknowledgement())
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_asked_while_closing(self) -> None:
        """Whatever is asked of a client that is closing fails at once: no other lease can be had."""
        first = self.client.lease(30)
        closed = self.client.close()
        second = self.client.lease(30)
        sent = len(self.transport.waiting)
        for call in list(self.transport.waiting):
            call.reply(GRANTED)
        self.failureResultOf(first, Closed)
        self.transport.next(REVOKE).reply(Acknowledgement())
        self.clock.advance(0)
        self.successResultOf(closed)
        self.failureResultOf(second, Closed)
        self.assertEqual(sent, 1)


class AskTests(LeaseCase):
    """What can be asked of it."""

    def test_remaining(self) -> None:
        """Whole seconds, even none at all; the timeout is one of the call."""
        lease = self.granted()
        for left in (17, 0):
            asked = lease.remaining(3.0)
            call = self.transport.next(TIME_TO_LIVE)
            self.assertEqual((call.request, call.timeout), (LeaseTimeToLiveRequest(0xABC, False), 3.0))
            call.reply(LeaseTimeToLiveResponse(Header(), 0xABC, left, 30))
            self.assertEqual(self.successResultOf(asked), left)
        self.assertEqual(lease.state, "alive")

    def test_keys(self) -> None:
        """The keys that are attached."""
        asked = self.granted().keys()
        self.assertEqual(self.transport.next(TIME_TO_LIVE).request, LeaseTimeToLiveRequest(0xABC, True))
        self.transport.next(TIME_TO_LIVE).reply(LeaseTimeToLiveResponse(Header(), 0xABC, 17, 30, [b"a", b"b"]))
        self.assertEqual(self.successResultOf(asked), [b"a", b"b"])

    def test_gone(self) -> None:
        """-1 says that the server does not know it."""
        for ask in (Lease.remaining, Lease.keys):
            lease = self.granted()
            asked, lost = ask(lease), lease.when_lost()
            self.transport.next(TIME_TO_LIVE).reply(LeaseTimeToLiveResponse(Header(), 0xABC, -1))
            self.failureResultOf(asked, Expired)
            self.successResultOf(lost)
            self.assert_lost(lease, "is not known to the server")

    def test_failure(self) -> None:
        """A call that fails says nothing of the lease; and cancelling ends the call only."""
        lease = self.granted()
        for call, rpc in ((lease.remaining, TIME_TO_LIVE), (lease.refresh, KEEP_ALIVE)):
            asked = call()
            self.transport.next(rpc).reply(LOST)
            self.failureResultOf(asked, Unavailable)
            self.cancelled(call())
        self.assertEqual(lease.state, "alive")
        self.assert_idle()

    def test_refresh(self) -> None:
        """Renews it once; counted from when it was asked."""
        lease = self.granted()
        self.assertEqual(lease.deadline, 30)
        self.clock.advance(10)
        refreshed = lease.refresh(7.0)
        self.assertEqual(self.transport.next(KEEP_ALIVE).timeout, 7.0)
        self.clock.advance(5)
        self.renew()
        self.assertEqual(self.successResultOf(refreshed).revision, 6)
        self.assertEqual(lease.deadline, 40)
        self.clock.advance(24.9)
        self.assertEqual(lease.state, "alive")
        self.clock.advance(0.2)
        self.assertEqual(lease.state, "suspect")
        self.assert_idle()

    def test_refresh_out_of_order(self) -> None:
        """An answer that was overtaken does not take anything back."""
        lease = self.granted()
        self.clock.advance(1)
        first = lease.refresh()
        self.clock.advance(1)
        second = lease.refresh()
        self.transport.waiting[1].reply(RENEWED)
        self.transport.waiting[0].reply(RENEWED)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(lease.deadline, 32)

    def test_refresh_of_what_is_gone(self) -> None:
        """An answer without a time to live says that it is gone."""
        lease = self.granted()
        refreshed = lease.refresh()
        self.renew(GONE)
        self.failureResultOf(refreshed, Expired)
        self.assert_lost(lease, "is not known to the server")

    def test_shorter(self) -> None:
        """Its id was granted anew, for a shorter time: that counts; a longer one does not."""
        for seconds, deadline in ((5, 15.0), (3600, 40.0)):
            self.clock.rightNow = 0
            lease = self.granted()
            lost = lease.when_lost()
            self.clock.advance(10)
            refreshed = lease.refresh()
            self.renew(LeaseKeepAliveResponse(Header(), 0xABC, seconds))
            self.successResultOf(refreshed)
            self.assertEqual((lease.deadline, lease.time_to_live), (deadline, 30))
            self.clock.advance(deadline - 10 - 0.1)
            self.assertEqual(lease.state, "alive")
            self.assertNoResult(lost)
            self.clock.advance(0.1)
            self.assertEqual(lease.state, "suspect")
            self.successResultOf(lost)
            self.assert_idle()

    def test_counted_from_the_asking(self) -> None:
        """A lease that took long to be granted has less left."""
        granting = self.client.lease(30)
        self.clock.advance(8)
        self.transport.next(GRANT).reply(GRANTED)
        self.assertEqual(self.successResultOf(granting).deadline, 30)


class RevokeTests(LeaseCase):
    """Ending it."""

    def test_renewed_too_late(self) -> None:
        """A renewal that is answered after the loss was told does not bring it back."""
        lease = self.granted(keep_alive=True)
        refreshing = lease.refresh(100.0)
        self.clock.advance(30)
        self.successResultOf(lease.when_lost())
        late, _ = self.transport.waiting
        late.reply(RENEWED)
        self.failureResultOf(refreshing, Expired)
        self.assert_expired(lease)

    def test_revoke(self) -> None:
        """It is gone."""
        lease = self.granted()
        lost = lease.when_lost()
        revoked = lease.revoke(3.0)
        call = self.transport.next(REVOKE)
        self.assertEqual((call.request, call.timeout), (LeaseRevokeRequest(0xABC), 3.0))
        self.assertNoResult(lost)
        call.reply(REVOKED)
        self.assertEqual(self.successResultOf(revoked).revision, 7)
        self.successResultOf(lost)
        self.assert_lost(lease, "was revoked")

    def test_not_found(self) -> None:
        """It was gone already."""
        lease = self.granted()
        revoked = lease.revoke()
        self.transport.next(REVOKE).reply(NOT_FOUND)
        self.failureResultOf(revoked, LeaseNotFound)
        self.assert_lost(lease, "is not known to the server")

    def test_failure(self) -> None:
        """It is not renewed any more, and tried again behind the back; as soon as that succeeds it is lost."""
        for error in (LOST, UNKNOWN, Timeout("late", True), TooManyRequests(8, "too many requests")):
            lease = self.granted(keep_alive=True)
            self.renew()
            lost = lease.when_lost()
            revoked = lease.revoke()
            self.transport.next(REVOKE).reply(error)
            self.assertIs(self.failureResultOf(revoked).value, error)
            self.assertEqual(lease.state, "alive")
            self.taken_back(LOST)
            self.transport.asked()
            self.clock.advance(0.5)
            self.assertNoResult(lost)
            self.taken_back()
            self.successResultOf(lost)
            self.assert_lost(lease, "was revoked")

    def test_failure_and_cancel(self) -> None:
        """So it is if it was cancelled; perhaps it was revoked before that, after all."""
        for answer in (REVOKED, NOT_FOUND):
            lease = self.granted()
            self.cancelled(lease.revoke())
            self.taken_back(answer)
            self.assert_lost(lease, "was revoked")

    def test_failure_again_and_again(self) -> None:
        """Whoever tries again himself adds to nothing: behind the back it is asked once at a time."""
        lease = self.granted()
        for _ in range(3):
            revoked = lease.revoke()
            self.transport.waiting[-1].reply(LOST)
            self.failureResultOf(revoked, Unavailable)
        self.taken_back(LOST)
        self.clock.advance(0.5)
        revoked = lease.revoke()
        self.transport.asked("LeaseRevoke", "LeaseRevoke")
        self.transport.waiting[1].reply(REVOKED)
        self.successResultOf(revoked)
        self.taken_back(NOT_FOUND)
        self.assert_lost(lease, "was revoked")

    def test_failure_after_giving_up(self) -> None:
        """A later revocation is tried again as the first one was."""
        lease = self.granted()
        self.cancelled(lease.revoke())
        self.taken_back(PermissionDenied(7, "permission denied"))
        self.assert_idle()
        self.cancelled(lease.revoke())
        self.taken_back()
        self.assert_lost(lease, "was revoked")

    def test_refused(self) -> None:
        """What the server refuses is not tried again."""
        lease = self.granted(keep_alive=True)
        self.renew()
        revoked = lease.revoke()
        self.transport.next(REVOKE).reply(PermissionDenied(7, "permission denied"))
        self.failureResultOf(revoked, PermissionDenied)
        self.assert_idle()
        self.assertEqual(lease.state, "alive")

    def test_failure_of_a_chosen_id(self) -> None:
        """Nor is it if the id may be somebody else's by then."""
        lease = self.granted(lease_id=0xABC)
        revoked = lease.revoke()
        self.transport.next(REVOKE).reply(LOST)
        self.failureResultOf(revoked, Unavailable)
        self.cancelled(lease.revoke())
        self.assert_idle()

    def test_while_closing(self) -> None:
        """A lease that is kept no longer because the client is closed can still be revoked, as long as that takes."""
        lease = self.granted(keep_alive=True)
        self.renew()
        revoked: Deferred[Any] = lease.when_lost().addCallback(lambda _: lease.revoke())
        closed = self.client.close()
        self.transport.asked("LeaseRevoke")
        self.assertNoResult(closed)
        self.assertNoResult(revoked)
        self.taken_back()
        self.successResultOf(revoked)
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assert_lost(lease, "is not renewed any more: the client was closed", is_left=True)

    def test_while_closing_fails(self) -> None:
        """Behind the back it is tried once more, and that is waited for as well."""
        for answer in (REVOKED, LOST):
            self.client = fake_client(self.clock, self.transport)
            lease = self.granted()
            revoked = lease.revoke()
            closed = self.client.close()
            self.transport.next(REVOKE).reply(UNKNOWN)
            self.failureResultOf(revoked, OutcomeUnknown)
            self.clock.advance(0)
            self.assertNoResult(closed)
            self.taken_back(answer)
            self.clock.advance(0)
            self.successResultOf(closed)
            self.assert_idle()

    def test_twice(self) -> None:
        """Of two at a time the second finds nothing."""
        lease = self.granted()
        first, second = lease.revoke(), lease.revoke()
        self.transport.next(REVOKE).reply(REVOKED)
        self.transport.next(REVOKE).reply(NOT_FOUND)
        self.successResultOf(first)
        self.failureResultOf(second, LeaseNotFound)

    def test_while_renewing(self) -> None:
        """The renewal that is under way ends with it."""
        lease = self.granted(keep_alive=True)
        revoked = lease.revoke()
        self.assertTrue(self.transport.calls[1].is_cancelled)
        self.transport.next(REVOKE).reply(REVOKED)
        self.successResultOf(revoked)
        self.assert_lost(lease, "was revoked")


class KeepAliveTests(LeaseCase):
    """Renewing it as long as it is needed."""

    def test_cadence(self) -> None:
        """At once, then within a third of the time to live after each answer, but not much before."""
        lease = self.granted(keep_alive=True)
        for _ in range(5):
            self.clock.advance(1)
            self.renew()
            self.clock.advance(9.6)
            self.assertEqual(self.transport.waiting, [])
            self.clock.advance(0.4)
        self.renew()
        self.assertEqual(lease.deadline, 55 + 30)
        self.assertEqual([call.timeout for call in self.transport.calls[1:]], [10.0] * 6)
        lease.let_go()
        self.assert_idle()

    def test_together(self) -> None:
        """Those of many leases are sent together, though they have begun one after the other."""
        leases = []
        for _ in range(100):
            leases.append(self.granted(keep_alive=True))
            self.renew()
            self.clock.advance(0.01)
        times = set()
        for _ in range(1200):
            self.clock.advance(0.01)
            for call in tuple(self.transport.waiting):
                times.add(self.clock.seconds())
                call.reply(RENEWED)
        self.assertLess(len(times), 12)
        for lease in leases:
            lease.let_go()
        self.assert_idle()

    def test_twice(self) -> None:
        """Once is enough."""
        lease = self.granted(keep_alive=True)
        lease.keep_alive()
        self.renew()
        lease.let_go()

    def test_retry(self) -> None:
        """A renewal that fails is tried again half a second later, whatever it failed with."""
        lease = self.granted(keep_alive=True)
        for error in (LOST, NoLeader(14, "etcdserver: no leader"), Timeout("late"), Error(2, "not a primary lessor")):
            self.renew(type(error)(error.code, error.message) if type(error) is not Timeout else error)
            self.clock.advance(0.4)
            self.assertEqual(self.transport.waiting, [])
            self.clock.advance(0.2)
        self.renew()
        self.assertEqual(lease.state, "alive")
        lease.let_go()

    def test_silence(self) -> None:
        """A server that does not answer is asked again, until the lease is lost by our own clock."""
        lease = self.granted(keep_alive=True)
        self.renew()
        lost = lease.when_lost()
        self.clock.pump([0.25] * 119)
        self.assertEqual(lease.state, "alive")
        self.assertNoResult(lost)
        self.clock.pump([0.25])
        self.successResultOf(lost)
        self.assertEqual(self.clock.seconds(), 30)
        self.assertGreaterEqual(len(self.transport.calls), 4)
        self.assert_expired(lease)

    def test_silence_is_no_reason_to_pause(self) -> None:
        """The least time to live of a server leaves none for that: somebody else is asked as soon as it is given up."""
        granting = self.client.lease(2, keep_alive=True)
        self.transport.next(GRANT).reply(LeaseGrantResponse(Header(), 0xABC, 2))
        lease = self.successResultOf(granting)
        self.renew(LeaseKeepAliveResponse(Header(), 0xABC, 2))
        self.clock.advance(0.7)
        self.transport.asked("LeaseKeepAlive")
        self.clock.advance(0.7)
        self.renew(LeaseKeepAliveResponse(Header(), 0xABC, 2))
        self.assertEqual(lease.deadline, 1.4 + 2)
        lease.let_go()

    def test_deadline_counts_from_the_sending(self) -> None:
        """A late answer moves the deadline only to what the server counts."""
        lease = self.granted(keep_alive=True)
        self.renew()
        self.clock.advance(10)
        self.clock.advance(9)
        self.renew()
        self.assertEqual(lease.deadline, 40)
        self.clock.advance(10)
        self.transport.waiting[0].reply(LOST)
        while self.clock.seconds() < 39.9:
            self.clock.advance(0.1)
        self.assertEqual(lease.state, "alive")
        self.clock.advance(0.2)
        self.assert_expired(lease)

    def test_lost(self) -> None:
        """The server says that it is gone."""
        lease = self.granted(keep_alive=True)
        lost = lease.when_lost()
        self.renew()
        self.clock.advance(10)
        self.renew(GONE)
        self.successResultOf(lost)
        self.assert_lost(lease, "is not known to the server")

    def test_not_found(self) -> None:
        """The server says so in the other way."""
        lease = self.granted(keep_alive=True)
        lost = lease.when_lost()
        self.renew(NOT_FOUND)
        self.clock.advance(1)
        if self.transport.waiting:
            self.renew(GONE)
        self.successResultOf(lost)

    def test_refreshed_by_the_user(self) -> None:
        """What the user renews counts, too."""
        lease = self.granted(keep_alive=True)
        self.renew()
        self.clock.advance(9)
        refreshed = lease.refresh()
        self.renew()
        self.successResultOf(refreshed)
        self.assertEqual(lease.deadline, 39)
        self.clock.advance(1)
        self.clock.pump([1.0] * 28)
        self.assertEqual(lease.state, "alive")
        self.clock.advance(1)
        self.assert_expired(lease)

    def test_refresh_by_the_user_loses_it(self) -> None:
        """What the user learns ends the renewing."""
        lease = self.granted(keep_alive=True)
        self.renew()
        refreshed = lease.refresh()
        self.renew(GONE)
        self.failureResultOf(refreshed, Expired)
        self.assert_lost(lease, "is not known to the server")

    def test_let_go(self) -> None:
        """Not renewed any more, and not lost by that; nobody looks at it any more."""
        lease = self.granted(keep_alive=True)
        lease.let_go()
        self.assertTrue(self.transport.calls[-1].is_cancelled)
        self.assert_idle()
        self.assertEqual(lease.state, "alive")
        self.clock.advance(31)
        self.assertEqual(lease.state, "suspect")
        lease.let_go()
        self.assertEqual(self.calls._closers, {})

    def test_again(self) -> None:
        """Let go and taken up again."""
        lease = self.granted(keep_alive=True)
        self.renew()
        lease.let_go()
        self.clock.advance(5)
        lease.keep_alive()
        self.renew()
        self.assertEqual(lease.deadline, 35)
        lease.let_go()

    def test_shorter(self) -> None:
        """An id that was granted anew, for a shorter time, is renewed as often as that takes; or lost as early."""
        for is_lost in (False, True):
            self.clock.rightNow = 0
            lease = self.granted(keep_alive=True)
            lost = lease.when_lost()
            for _ in range(4):
                self.renew(LeaseKeepAliveResponse(Header(), 0xABC, 3))
                self.clock.advance(1)
            self.assertEqual((lease.deadline, self.transport.waiting[0].timeout), (6, 1.0))
            if is_lost:
                self.clock.pump([0.25] * 7)
                self.assertNoResult(lost)
                self.clock.pump([0.25])
                self.successResultOf(lost)
                self.assert_expired(lease)
            else:
                lost.cancel()
                self.failureResultOf(lost, CancelledError)
                lease.let_go()
                self.assert_idle()

    def test_suspect(self) -> None:
        """A lease that may have expired already is given up at once."""
        lease = self.granted()
        self.clock.advance(31)
        lease.keep_alive()
        self.assert_expired(lease)

    def test_suspect_and_refreshed(self) -> None:
        """Unless the server says that it has not; nobody was told otherwise."""
        lease = self.granted()
        self.clock.advance(31)
        refreshed = lease.refresh()
        self.renew()
        self.successResultOf(refreshed)
        self.assertEqual(lease.state, "alive")
        lease.keep_alive()
        self.renew()
        lease.let_go()

    def test_stalled_clock(self) -> None:
        """
        A process that was suspended for longer than the lease lasts has lost it: it must not be renewed any more,
        though the time for that has come, too.
        """
        for delays in ([10, 1000], [1000]):
            lease = self.granted(keep_alive=True)
            self.renew()
            lost = lease.when_lost()
            if len(delays) == 2:
                # one that has failed, and would be tried again
                self.clock.advance(10)
                self.renew(Unavailable(None, "lost"))
            self.transport.calls.clear()
            self.clock.advance(1000)
            self.successResultOf(lost)
            self.transport.asked("LeaseRevoke")
            self.assertEqual([call.rpc for call in self.transport.calls], [REVOKE])
            self.assert_expired(lease)

    def test_asked_before_the_timers(self) -> None:
        """Whoever asks anything of it finds out, though the timers do not come."""
        for call, is_deferred in (
            (Lease.refresh, True), (Lease.revoke, True), (Lease.remaining, True), (Lease.keys, True),
            (Lease.keep_alive, False),
        ):  # fmt: skip
            lease = self.granted(keep_alive=True)
            self.renew()
            lost = lease.when_lost()
            self.clock.rightNow += 30
            self.assertNoResult(lost)
            if is_deferred:
                self.failureResultOf(call(lease), Expired)
            else:
                self.assertRaises(Expired, call, lease)
            self.successResultOf(lost)
            self.assert_expired(lease)
        lease = self.granted(keep_alive=True)
        self.renew()
        self.clock.rightNow += 30
        self.successResultOf(lease.when_lost())
        self.assert_expired(lease)

    def test_stalled_while_renewing(self) -> None:
        """So it has if a renewal was under way; an answer to it comes too late."""
        lease = self.granted(keep_alive=True)
        self.renew()
        self.clock.advance(10)
        (call,) = self.transport.waiting
        self.clock.rightNow += 1000
        self.assertEqual(lease.state, "suspect")
        call.reply(RENEWED)
        self.assertEqual(lease.state, "suspect")
        self.clock.advance(0)
        self.assert_expired(lease)

    def test_closed(self) -> None:
        """A client that is closed renews nothing."""
        lease = self.granted(keep_alive=True)
        lost = lease.when_lost()
        self.successResultOf(self.client.close())
        self.successResultOf(lost)
        self.assert_lost(lease, "is not renewed any more: the client was closed", is_left=True)
        self.failureResultOf(lease.revoke(), Closed)
        self.assert_idle()

    def test_of_a_closed_client(self) -> None:
        """Nor does one that was closed before."""
        lease = self.granted()
        self.successResultOf(self.client.close())
        lease.keep_alive()
        self.assert_lost(lease, "is not renewed any more: the client was closed", is_left=True)
        self.failureResultOf(lease.revoke(), Closed)
        self.assert_idle()


class SetBackTests(LeaseCase):
    """The system's clock, by which the timers go, is set while the lease goes by another."""

    clock: SystemReactor

    def setUp(self) -> None:
        super().setUp()
        self.uptime = 500.0
        self.patch(_clock, "time", SimpleNamespace(monotonic=lambda: self.uptime))
        self.clock = SystemReactor()
        self.clock.rightNow = 1_000_000.0
        self.transport = FakeTransport(self.clock)
        self.client = fake_client(self.clock, self.transport)
        self.calls = self.client._calls

    def pass_by(self, seconds: float) -> None:
        """Both clocks go on."""
        self.uptime += seconds
        self.clock.advance(seconds)

    def test_state(self) -> None:
        """It is not believed in any longer than that, nor any shorter."""
        for step in (-3600.0, 3600.0):
            lease = self.granted()
            self.clock.rightNow += step
            self.uptime += 29.9
            self.assertEqual(lease.state, "alive")
            self.uptime += 0.1
            self.assertEqual(lease.state, "suspect")

    def test_set_back(self) -> None:
        """The timers stand still; when they go on at last, nothing is renewed any more."""
        lease = self.granted(keep_alive=True)
        self.renew()
        lost = lease.when_lost()
        self.clock.rightNow -= 3600
        self.pass_by(30)
        self.transport.asked()
        self.assertEqual(lease.state, "suspect")
        self.assertNoResult(lost)
        self.pass_by(3600)
        self.successResultOf(lost)
        self.assert_expired(lease)

    def test_set_back_a_little(self) -> None:
        """By less than matters: it is renewed later, and in time."""
        lease = self.granted(keep_alive=True)
        self.renew()
        self.clock.rightNow -= 15
        self.pass_by(24.9)
        self.transport.asked()
        self.pass_by(0.1)
        self.renew()
        self.assertEqual(lease.deadline, 500 + 25 + 30)
        lease.let_go()

    def test_set_forward(self) -> None:
        """It is renewed too early, but not lost."""
        lease = self.granted(keep_alive=True)
        self.renew()
        self.clock.advance(3600)
        self.assertEqual(lease.state, "alive")
        self.renew()
        lease.let_go()


class TakenBackTests(LeaseCase):
    """A lease that nobody here knows or believes in any more is revoked behind everybody's back."""

    def expired(self) -> Lease:
        """One that could not be renewed."""
        lease = self.granted(keep_alive=True)
        self.renew()
        self.clock.advance(1000)
        return lease

    def test_until_answered(self) -> None:
        """It is asked again half a second after each failure; meanwhile it is gone for everybody here."""
        for answer in (REVOKED, NOT_FOUND):
            lease = self.expired()
            for call in (lease.revoke, lease.refresh, lease.remaining):
                self.failureResultOf(call(), Expired)
            for error in (LOST, UNKNOWN, Timeout("late", True), TooManyRequests(8, "too many requests")):
                self.taken_back(error)
                self.clock.advance(0.4)
                self.transport.asked()
                self.clock.advance(0.1)
            self.taken_back(answer)
            self.assert_lost(lease, "expired")
            self.assertEqual(self.calls._closers, {}, "nothing is kept of it")

    def test_refused(self) -> None:
        """What the server refuses is not asked again."""
        lease = self.expired()
        self.taken_back(PermissionDenied(7, "permission denied"))
        self.assert_lost(lease, "expired")
        self.assertEqual(self.calls._closers, {}, "nothing is kept of it")

    def test_not_for_ever(self) -> None:
        """When another time to live has passed the server has ended it by itself."""
        lease = self.expired()
        for _ in range(60):
            self.taken_back(LOST)
            self.clock.advance(0.5)
        self.taken_back(LOST)
        self.assert_lost(lease, "expired")

    def test_close(self) -> None:
        """A client that is closed meanwhile asks once more, and waits for that a little."""
        for answer in (REVOKED, LOST):
            self.client = fake_client(self.clock, self.transport)
            self.expired()
            self.taken_back(LOST)
            self.transport.asked()
            closed = self.client.close()
            self.assertNoResult(closed)
            self.taken_back(answer)
            self.clock.advance(0)
            self.successResultOf(closed)
            self.assert_idle()

    def test_close_and_silence(self) -> None:
        """But not for long."""
        self.expired()
        self.taken_back(LOST)
        closed = self.client.close()
        self.clock.advance(GRACE)
        self.successResultOf(closed)
        self.assert_idle()

    def test_close_while_it_is_asked(self) -> None:
        """And not asked again."""
        for answer in (REVOKED, LOST):
            self.client = fake_client(self.clock, self.transport)
            self.expired()
            self.taken_back(LOST)
            self.clock.advance(0.5)
            closed = self.client.close()
            self.assertNoResult(closed)
            self.taken_back(answer)
            self.clock.advance(0)
            self.successResultOf(closed)
            self.assert_idle()

    def test_close_with_it(self) -> None:
        """Whoever learns of the loss may close the client: the server is told before."""
        lease = self.granted(keep_alive=True)
        self.renew()
        closed = lease.when_lost().addCallback(lambda _: self.client.close())
        self.clock.advance(1000)
        self.assertNoResult(closed)
        self.taken_back()
        self.clock.advance(0)
        self.successResultOf(closed)

    def test_only_if_it_expired(self) -> None:
        """What the server says is gone is gone."""
        lease = self.granted(keep_alive=True)
        self.renew(GONE)
        self.assert_lost(lease, "is not known to the server")

    def test_chosen_id(self) -> None:
        """An id that the user has chosen may be somebody else's by now."""
        lease = self.granted(keep_alive=True, lease_id=0xABC)
        self.renew()
        self.clock.advance(1000)
        self.assert_lost(lease, "expired")


class UnknownGrantTests(LeaseCase):
    """A lease that was granted, or was not."""

    UNKNOWN = (UNKNOWN, Timeout("late", True), ProtocolViolation("no etcd"))
    CERTAIN = (LOST, Timeout("not sent"), LeaseExist(9, "already exists"), PermissionDenied(7, "permission denied"))

    def fail(self, error: Any, lease_id: Optional[int] = None) -> None:  # type: ignore[override]
        granting = self.client.lease(30, lease_id)
        self.transport.next(GRANT).reply(error)
        self.assertIs(self.failureResultOf(granting).value, error)

    def test_revoked(self) -> None:
        """It is revoked, if only our guess was right; as often as need be."""
        for error in self.UNKNOWN:
            self.fail(error)
            self.taken_back(LOST)
            self.clock.advance(0.5)
            self.taken_back(NOT_FOUND)
            self.assert_idle()

    def test_certain(self) -> None:
        """There is none, or it is somebody else's."""
        for error in self.CERTAIN:
            self.fail(error)
            self.assert_idle()

    def test_chosen_id(self) -> None:
        """It may be somebody else's: nobody knows."""
        for error in (*self.UNKNOWN, *self.CERTAIN):
            self.fail(error, 0xABC)
            self.assert_idle()

    def test_cancelled(self) -> None:
        """So it is if nobody wants it any more."""
        self.cancelled(self.client.lease(30))
        self.clock.advance(10)
        self.taken_back()
        self.assert_idle()
        self.cancelled(self.client.lease(30, 0xABC))
        self.clock.advance(10)
        self.assert_idle()

    def test_cancelled_and_granted(self) -> None:
        """Then it is ours, whoever has chosen the id; but that may be granted anew before we have asked twice."""
        for lease_id, is_asked_again in ((None, True), (0xABC, False)):
            self.cancelled(self.client.lease(30, lease_id))
            self.transport.next(GRANT).reply(GRANTED)
            self.taken_back(LOST)
            self.clock.advance(0.5)
            if is_asked_again:
                self.taken_back()
            self.assert_idle()

    def test_close(self) -> None:
        """A client that is closed asks no more than once."""
        self.cancelled(self.client.lease(30))
        closed = self.client.close()
        self.transport.next(GRANT).reply(UNKNOWN)
        self.taken_back(LOST)
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assert_idle()


class IdTests(SynchronousTestCase):
    """The ids that are made up."""

    def test_ids(self) -> None:
        """Positive, within 63 bits, and never the same."""
        ids = {lease_module.new_lease_id() for _ in range(1000)}
        self.assertEqual(len(ids), 1000)
        self.assertTrue(all(0 < each < 2**63 for each in ids))
        self.assertGreater(max(ids), 2**60)

    def test_bounds(self) -> None:
        """Never 0, which means none."""
        bounds: list[int] = []
        self.patch(lease_module, "secrets", SimpleNamespace(randbelow=lambda end: bounds.append(end) or 0))
        self.assertEqual((lease_module.new_lease_id(), bounds), (1, [2**63 - 1]))


class WaitTests(LeaseCase):
    """Waiting for the loss."""

    def test_not_kept(self) -> None:
        """The time of a lease that nobody keeps, or keeps any more, is over; though it may be refreshed still."""
        for is_kept in (False, True):
            lease = self.granted(keep_alive=is_kept)
            first = lease.when_lost()
            if is_kept:
                self.renew()
                lease.let_go()
            second = lease.when_lost()
            self.clock.advance(29.9)
            self.assert_pending(first, second)
            self.clock.advance(0.1)
            self.successResultOf(first)
            self.successResultOf(second)
            self.successResultOf(lease.when_lost())
            self.assertEqual(lease.state, "suspect")
            self.assert_idle()
            self.assertEqual(self.calls._closers, {})
            refreshed = lease.refresh()
            self.renew()
            self.successResultOf(refreshed)
            self.assertEqual(lease.state, "alive")
            again = lease.when_lost()
            self.assertNoResult(again)
            self.clock.advance(30)
            self.successResultOf(again)

    def test_not_kept_and_refreshed(self) -> None:
        """It lasts so much longer."""
        lease = self.granted()
        lost = lease.when_lost()
        self.clock.advance(20)
        refreshed = lease.refresh()
        self.renew()
        self.successResultOf(refreshed)
        self.clock.advance(29.9)
        self.assertNoResult(lost)
        self.clock.advance(0.1)
        self.successResultOf(lost)
        self.assert_idle()

    def test_not_kept_until_later(self) -> None:
        """Whoever waits already when it is kept at last learns of the end of that."""
        lease = self.granted()
        lost = lease.when_lost()
        lease.keep_alive()
        self.renew()
        self.clock.advance(10)
        self.renew()
        self.clock.advance(29.9)
        self.assertNoResult(lost)
        self.clock.advance(0.1)
        self.successResultOf(lost)
        self.assert_expired(lease)

    def test_closed(self) -> None:
        """Nobody looks any more, so whoever waits is told at once, and whoever asks later as well."""
        for is_kept in (False, True):
            self.client = fake_client(self.clock, self.transport)
            lease = self.granted(keep_alive=is_kept)
            lost = lease.when_lost()
            lease.let_go()
            self.assertNoResult(lost)
            self.successResultOf(self.client.close())
            self.successResultOf(lost)
            self.successResultOf(lease.when_lost())
            self.assertEqual(lease.state, "alive")
            self.assert_idle()

    def test_not_revoked(self) -> None:
        """A revocation that failed, or was cancelled: the lease ends by itself at the latest."""
        for is_cancelled in (False, True):
            for lease_id in (None, 0xABC):
                lease = self.granted(keep_alive=True, lease_id=lease_id)
                self.renew()
                lost = lease.when_lost()
                revoked = lease.revoke()
                if is_cancelled:
                    self.cancelled(revoked)
                else:
                    self.transport.next(REVOKE).reply(LOST)
                    self.failureResultOf(revoked, Unavailable)
                self.clock.advance(29.9)
                self.assertNoResult(lost)
                self.clock.advance(0.1)
                self.successResultOf(lost)
                if lease_id is None:
                    self.clock.advance(0.5)
                    self.taken_back()
                self.assert_idle()

    def test_cancel_the_last(self) -> None:
        """Nobody looks at the lease if nobody waits."""
        lease = self.granted()
        first, second = lease.when_lost(), lease.when_lost()
        self.cancelled(first)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.cancelled(second)
        self.assert_idle()
        self.assertEqual(self.calls._closers, {})

    def test_revoked(self) -> None:
        """Nobody looks at it afterwards."""
        lease = self.granted()
        lost = lease.when_lost()
        revoked = lease.revoke()
        self.transport.next(REVOKE).reply(REVOKED)
        self.successResultOf(revoked)
        self.successResultOf(lost)
        self.assert_idle()
        self.assertEqual(self.calls._closers, {})

    def test_cancel(self) -> None:
        """Cancelling ends the waiting, not the lease."""
        lease = self.granted(keep_alive=True)
        first, second = lease.when_lost(), lease.when_lost()
        self.cancelled(first)
        self.assertEqual(lease.state, "alive")
        self.renew(GONE)
        self.successResultOf(second)

    def test_cancel_one_in_the_callback_of_another(self) -> None:
        """Whoever learns of it first may cancel the others."""
        lease = self.granted(keep_alive=True)
        first, second = lease.when_lost(), lease.when_lost()
        first.addCallback(lambda _: second.cancel())
        self.renew(GONE)
        self.successResultOf(first)
        second.addErrback(lambda failure: failure.trap(CancelledError))
        self.assertTrue(second.called)

    def test_callback_does_anything(self) -> None:
        """Whoever learns of it may ask everything of the lease and of the client."""
        lease = self.granted(keep_alive=True)
        asked: list[Deferred[Any]] = []

        def lost(_: object) -> None:
            asked.extend((lease.revoke(), lease.refresh(), lease.when_lost(), self.client.close()))
            self.assertRaises(Expired, lease.keep_alive)
            lease.let_go()

        waiting = lease.when_lost().addCallback(lost)
        self.renew(GONE)
        self.successResultOf(waiting)
        self.failureResultOf(asked[0], Expired)
        self.failureResultOf(asked[1], Expired)
        self.successResultOf(asked[2])
        self.successResultOf(asked[3])

    def test_callback_of_what_is_not_kept(self) -> None:
        """So may he if its time is over, and nobody has kept it: then it is not lost for certain."""
        doings: list[Callable[[Lease], Any]] = [
            Lease.when_lost,
            Lease.let_go,
            Lease.keep_alive,
            lambda lease: lease.revoke().addErrback(lambda failure: failure.trap(CancelledError)).cancel(),
            lambda lease: lease.refresh().addErrback(lambda failure: failure.trap(CancelledError)).cancel(),
            lambda lease: self.client.close(),
        ]
        for doing in doings:
            self.client = fake_client(self.clock, self.transport)
            lease = self.granted()
            asked: list[Any] = []
            first, second, third = (lease.when_lost() for _ in range(3))
            first.addCallback(lambda _, doing=doing, lease=lease, asked=asked: asked.append(doing(lease)))
            first.addCallback(lambda _, third=third: third.cancel())
            third.addErrback(lambda failure: failure.trap(CancelledError) and None)
            self.clock.advance(30)
            for waiting in (first, second, third):
                self.successResultOf(waiting)
            if isinstance(asked[0], Deferred):
                self.successResultOf(asked[0])
            if self.transport.waiting:
                self.taken_back()
            self.assert_idle()

    def test_callback_closes(self) -> None:
        """Closing is waited for, whoever does it, and whatever the others who learn of it do."""
        for is_kept in (False, True):
            self.client = fake_client(self.clock, self.transport)
            lease, other = self.granted(), self.granted()
            for one in (lease, other) if is_kept else ():
                one.keep_alive()
                self.renew()
            first = lease.when_lost().addCallback(lambda _: self.client.close())
            second = other.when_lost().addCallback(lambda _, lease=lease: lease.when_lost())
            third = lease.when_lost().addCallback(lambda _, other=other: other.let_go())
            self.clock.advance(30)
            if is_kept:
                self.assertNoResult(first)
                self.taken_back()
                self.clock.advance(0)
            for waiting in (first, second, third):
                self.successResultOf(waiting)
            self.assert_idle()
