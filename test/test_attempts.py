"""
A call that is tried until it has an answer.
"""

from __future__ import annotations

import asyncio
from fractions import Fraction
from itertools import count
from math import inf, nan
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from test.fakes import Case, FakeCall, fake_way
from txetcd import _schema as schema
from txetcd._attempts import Attempts
from txetcd._backoff import Backoff, never
from txetcd._calls import Calls
from txetcd._messages import (
    Acknowledgement,
    AuthenticateRequest,
    CompactionRequest,
    Empty,
    LeaseGrantRequest,
    LeaseKeepAliveRequest,
    LeaseRevokeRequest,
    MemberListRequest,
    SnapshotResponse,
)
from txetcd._transport import Metadata
from txetcd.errors import (
    AuthFailed,
    Closed,
    DeadlineExceeded,
    Error,
    InvalidAuthToken,
    LeaderChanged,
    LeaseNotFound,
    NoLeader,
    OutcomeUnknown,
    PermissionDenied,
    ProtocolViolation,
    Timeout,
    TLSFailed,
    Unavailable,
    UserEmpty,
    WrongCluster,
)
from txetcd.ops import OpGet, OpSet
from txetcd.values import Header, Range, Revision, Status

A, B, C = "http://a", "http://b", "http://c"
PUT, GET, GRANT = OpSet(b"key", b"value"), OpGet(b"key"), LeaseGrantRequest(60)
FOUND = Range([], Header(1, 5, 77, 8))


def refused() -> Error:
    return Unavailable(None, "not sent: refused")


def lost() -> Error:
    return Unavailable(None, "lost")


def status(cluster_id: int) -> Status:
    return Status("3.5.0", 1, 1, Header(1, 5, cluster_id, 8), 1, 1)


class AttemptsCase(Case):
    """Calls to three endpoints, tried until their time is over."""

    def setUp(self) -> None:
        super().setUp()
        self.use(A, B, C)

    def use(self, *urls: str, **changes: Any) -> None:
        """Goes on with these."""
        self.way = fake_way(self.clock, self.transport, *urls, **{"policy": Backoff(0.1, 1.0), **changes})
        self.calls = Calls(self.way)

    def tearDown(self) -> None:
        self.__dict__.pop("way", None)
        super().tearDown()

    def next(self, url: str, rpc: schema.Rpc) -> FakeCall:
        """The attempt that waits, which must be at this endpoint."""
        call = self.transport.next(rpc)
        self.assertEqual(call.endpoint, url)
        return call

    def fail_at(self, url: str, rpc: schema.Rpc, error: Error) -> None:
        self.next(url, rpc).reply(error)

    def raiser(self, error: type[BaseException]) -> Any:
        """What raises that, whatever it is called with."""

        def raise_it(*args: Any) -> None:
            raise error("as it likes")

        return raise_it

    def get(self, *args: Any, **options: Any) -> Deferred[Any]:
        return self.calls.call(schema.RANGE, GET, *args, **options)

    def put(self, *args: Any, **options: Any) -> Deferred[Any]:
        return self.calls.call(schema.PUT, PUT, *args, **options)


class FailoverTests(AttemptsCase):
    """Elsewhere, and later."""

    def test_elsewhere(self) -> None:
        """Another endpoint is asked at once, until a majority has been; then after a pause."""
        answered = self.get()
        self.fail_at(A, schema.RANGE, lost())
        self.fail_at(B, schema.RANGE, lost())
        self.transport.asked()
        self.clock.advance(0.1)
        self.fail_at(C, schema.RANGE, lost())
        self.next(A, schema.RANGE).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")

    def test_pauses_grow(self) -> None:
        """As the policy has it."""
        self.use(A)
        answered = self.get()
        for seconds in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
            self.fail_at(A, schema.RANGE, lost())
            self.clock.advance(seconds - 0.01)
            self.transport.asked()
            self.clock.advance(0.01)
        self.next(A, schema.RANGE).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")

    def test_no_tls(self) -> None:
        """Where there is no TLS there will be none: it is tried again only if another endpoint may come back."""
        answered = self.get()
        for url in (A, B):
            self.fail_at(url, schema.RANGE, TLSFailed(None, "not sent: has expired"))
        self.clock.advance(0.1)
        self.fail_at(C, schema.RANGE, lost())
        self.fail_at(A, schema.RANGE, TLSFailed(None, "not sent: has expired"))
        self.clock.advance(0.2)
        self.fail_at(B, schema.RANGE, TLSFailed(None, "not sent: has expired"))
        self.fail_at(C, schema.RANGE, TLSFailed(None, "not sent: has expired"))
        error = self.failureResultOf(answered, TLSFailed).value
        self.assertEqual((error.attempts, error.endpoint), (6, f"{A}, {B}, {C}"))

    def test_no_tls_at_all(self) -> None:
        """Each was tried once; a chosen one is the only one."""
        answered = self.get()
        self.fail_at(A, schema.RANGE, TLSFailed(None, "not sent: has expired"))
        self.fail_at(B, schema.RANGE, TLSFailed(None, "not sent: has expired"))
        self.clock.advance(0.1)
        self.fail_at(C, schema.RANGE, TLSFailed(None, "not sent: has expired"))
        self.assertEqual(self.failureResultOf(answered, TLSFailed).value.attempts, 3)
        answered = self.get(endpoint=B)
        self.fail_at(B, schema.RANGE, TLSFailed(None, "not sent: has expired"))
        self.assertEqual(self.failureResultOf(answered, TLSFailed).value.attempts, 1)

    def test_no_etcd(self) -> None:
        """What only reads is asked elsewhere if no etcd has answered; a write is not, for it may have been applied."""
        answered = self.get()
        self.fail_at(A, schema.RANGE, ProtocolViolation("not JSON"))
        self.next(B, schema.RANGE).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")
        for is_idempotent in (None, True):
            self.use(A, B, C)
            answered = self.put(is_idempotent=is_idempotent)
            self.fail_at(A, schema.PUT, ProtocolViolation("not JSON"))
            error = self.failureResultOf(answered, ProtocolViolation).value
            self.assertEqual((error.maybe_applied, error.endpoint, error.attempts), (True, A, 1))

    def test_no_etcd_anywhere(self) -> None:
        """Each is asked once, unless another one may come back; a chosen one is the only one."""
        answered = self.get()
        for url, seconds in ((A, 0), (B, 0.1), (C, 0)):
            self.fail_at(url, schema.RANGE, ProtocolViolation("not JSON"))
            self.clock.advance(seconds)
        error = self.failureResultOf(answered, ProtocolViolation).value
        self.assertEqual((error.attempts, error.endpoint), (3, f"{A}, {B}, {C}"))
        answered = self.get(endpoint=B)
        self.fail_at(B, schema.RANGE, ProtocolViolation("not JSON"))
        self.assertEqual(self.failureResultOf(answered, ProtocolViolation).value.attempts, 1)

    def test_no_time_to_learn(self) -> None:
        """What was learned before the last attempt, which had no time, is told as well."""
        self.use(A)
        answered = self.get(timeout=1)
        self.fail_at(A, schema.RANGE, refused())
        self.clock.advance(0.1)
        self.clock.advance(0.9)
        error = self.failureResultOf(answered, Timeout).value
        self.assertEqual(
            str(error),
            f"KV.Range at {A}: sent, but no answer within 0.9 seconds; before that: not sent: refused "
            "(the last of 2 attempts)",
        )

    def test_cut_short(self) -> None:
        """An attempt for which little time was left is not what counts."""
        self.use(A)
        answered = self.get(timeout=1)
        for seconds in (0.1, 0.2, 0.4):
            self.fail_at(A, schema.RANGE, refused())
            self.clock.advance(seconds)
        self.clock.advance(0.3)
        error = self.failureResultOf(answered, Unavailable).value
        self.assertEqual(str(error), f"KV.Range at {A}: not sent: refused (the last of 4 attempts)")

    def test_each_says_why(self) -> None:
        """Whatever the last one was, each endpoint is told of that has failed for another reason."""
        answered = self.get(timeout=1)
        self.fail_at(A, schema.RANGE, refused())
        self.fail_at(B, schema.RANGE, lost())
        self.clock.advance(0.1)
        self.fail_at(C, schema.RANGE, PermissionDenied(7, "no"))
        error = self.failureResultOf(answered, PermissionDenied).value
        self.assertEqual(str(error), f"KV.Range at {A}, {B}, {C}: no (the last of 3 attempts)")
        self.use(A, B, C, policy=never)
        answered = self.get()
        self.fail_at(A, schema.RANGE, WrongCluster(1, 2))
        self.fail_at(B, schema.RANGE, refused())
        error = self.failureResultOf(answered, Unavailable).value
        why = f"not sent: refused; at {A}: {WrongCluster(1, 2)}"
        self.assertEqual(str(error), f"KV.Range at {A}, {B}: {why} (the last of 2 attempts)")

    def test_cancelled_by_the_policy(self) -> None:
        """It is the user's, and may do what it likes; nothing is sent after that."""
        calls: list[Deferred[Any]] = []

        def policy(rounds: int) -> float:
            calls[0].cancel()
            return 0.1

        self.use(A, policy=policy)
        calls.append(self.put())
        self.fail_at(A, schema.PUT, refused())
        self.failureResultOf(calls[0], CancelledError)
        self.clock.advance(1)
        self.transport.asked()

    def test_stays_away(self) -> None:
        """The next call does not go where one has failed."""
        answered = self.get()
        self.fail_at(A, schema.RANGE, lost())
        self.next(B, schema.RANGE).reply("the answer")
        self.successResultOf(answered)
        answered = self.put()
        self.next(B, schema.PUT).reply("the answer")
        self.successResultOf(answered)

    def test_write_not_sent(self) -> None:
        """A write that was certainly not carried out is tried elsewhere, as is one refused for want of a leader."""
        for error in (refused(), NoLeader(14, "etcdserver: no leader"), Timeout("could not be sent within 1 second")):
            self.use(A, B)
            answered = self.put()
            self.fail_at(A, schema.PUT, error)
            self.next(B, schema.PUT).reply("the answer")
            self.assertEqual(self.successResultOf(answered), "the answer")

    def test_write_in_doubt(self) -> None:
        """One that may have been is not."""
        for error in (
            OutcomeUnknown(None, "lost"),
            LeaderChanged(14, "etcdserver: leader changed"),
            Unavailable(14, "error reading from server: EOF"),
            Error(2, "whatever"),
            Timeout("sent", True),
        ):
            self.use(A, B)
            answered = self.put()
            self.fail_at(A, schema.PUT, error)
            found = self.failureResultOf(answered, Error).value
            self.assertEqual((found.maybe_applied, found.endpoint, found.attempts), (True, A, 1))

    def test_idempotent_write(self) -> None:
        """Unless the caller says that it does no harm. What comes of it at last speaks of all attempts."""
        answered = self.put(is_idempotent=True)
        self.fail_at(A, schema.PUT, OutcomeUnknown(None, "lost"))
        self.next(B, schema.PUT).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")
        self.use(A, B)
        answered = self.put(is_idempotent=True)
        self.fail_at(A, schema.PUT, OutcomeUnknown(None, "lost"))
        self.fail_at(B, schema.PUT, PermissionDenied(7, "etcdserver: permission denied"))
        self.assertIs(self.failureResultOf(answered, PermissionDenied).value.maybe_applied, True)

    def test_not_sent_after_doubt(self) -> None:
        """That the last attempt was not sent does not say that none was."""
        self.use(A, B, policy=lambda rounds: None)
        answered = self.put(is_idempotent=True)
        self.fail_at(A, schema.PUT, OutcomeUnknown(None, "lost"))
        self.fail_at(B, schema.PUT, refused())
        error = self.failureResultOf(answered, OutcomeUnknown).value
        self.assertEqual(str(error), f"KV.Put at {A}, {B}: not sent: refused; at {A}: lost (the last of 2 attempts)")

    def test_repeatable(self) -> None:
        """A lease that was granted perhaps may be granted again."""
        answered = self.calls.call(schema.LEASE_GRANT, GRANT)
        self.fail_at(A, schema.LEASE_GRANT, OutcomeUnknown(None, "lost"))
        self.next(B, schema.LEASE_GRANT).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")

    def test_refusal(self) -> None:
        """What the server refuses is refused; the endpoint is a good one."""
        answered = self.get()
        self.fail_at(A, schema.RANGE, PermissionDenied(7, "etcdserver: permission denied"))
        error = self.failureResultOf(answered, PermissionDenied).value
        self.assertEqual(str(error), f"KV.Range at {A}: etcdserver: permission denied")
        self.assertEqual(self.way.endpoints.pick(0.0), A)

    def test_policy_gives_up(self) -> None:
        """After a majority was asked, if the policy says so."""
        self.use(A, B, C, policy=lambda rounds: None)
        answered = self.get()
        self.fail_at(A, schema.RANGE, lost())
        self.fail_at(B, schema.RANGE, lost())
        self.assertEqual(self.failureResultOf(answered, Unavailable).value.endpoint, f"{A}, {B}")

    def test_one_endpoint(self) -> None:
        """A call that is for one endpoint goes nowhere else."""
        answered = self.get(endpoint=C)
        self.fail_at(C, schema.RANGE, lost())
        self.clock.advance(0.1)
        self.next(C, schema.RANGE).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")

    def test_replaced_meanwhile(self) -> None:
        """What is under way goes on; the next attempt goes where there is something."""
        answered = self.get()
        self.way.endpoints.replace([B])
        self.fail_at(A, schema.RANGE, lost())
        self.clock.advance(0.1)
        self.next(B, schema.RANGE).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")

    def test_fault_of_the_transport(self) -> None:
        """What is no error of etcd's is not tried again."""
        answered = self.get()
        self.next(A, schema.RANGE).answer.errback(ZeroDivisionError())
        self.failureResultOf(answered, ZeroDivisionError)

    def test_what_raises(self) -> None:
        """A fault of ours ends the call, wherever it is."""
        for raised in (ZeroDivisionError, KeyboardInterrupt):
            self.use(A)
            self.patch(self.way.endpoints, "failed", self.raiser(raised))
            answered = self.get()
            self.fail_at(A, schema.RANGE, lost())
            self.failureResultOf(answered, raised)


class PolicyTests(AttemptsCase):
    """It is the user's, and may fail: the call has failed all the same, and says with what."""

    def failed(self, policy: Any, error: Error, **options: Any) -> Error:
        """What a write comes to that fails with *error*, after which *policy* is asked."""
        self.use(A, policy=policy)
        answered = self.put(**options)
        self.fail_at(A, schema.PUT, error)
        found: Error = self.failureResultOf(answered, Error).value
        self.assertEqual((found.call, found.endpoint, found.attempts), ("KV.Put", A, 1))
        self.assertEqual(self.calls.in_flight, 0)
        return found

    def test_raises(self) -> None:
        """Anything: what it raises is the cause."""
        kinds: list[Any] = [
            ZeroDivisionError, KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError
        ]  # fmt: skip
        for raised in kinds:
            error = refused()
            self.assertIs(self.failed(self.raiser(raised), error), error)
            self.assertIs(type(error.__cause__), raised)
            self.assertFalse(error.maybe_applied)

    def test_no_seconds(self) -> None:
        """What it makes must be a number of seconds."""
        for made, cause in (
            (-0.1, "ValueError: retry must make a number of seconds that is not negative, not -0.1"),
            (nan, "ValueError: retry must make a number of seconds that is not negative, not nan"),
            ("1", "TypeError: retry must make a number of seconds or None, not str"),
            (False, "TypeError: retry must make a number of seconds or None, not bool"),
            (b"1", "TypeError: retry must make a number of seconds or None, not bytes"),
            (10**400, "OverflowError: int too large to convert to float"),
        ):
            error = self.failed(lambda rounds, made=made: made, refused())
            self.assertEqual(f"{type(error.__cause__).__name__}: {error.__cause__}", cause)

    def test_seconds(self) -> None:
        """A number of any kind will do; so many that no call has them are as good as ``None``."""
        self.assertIsNone(self.failed(lambda rounds: inf, refused()).__cause__)
        self.use(A, policy=lambda rounds: Fraction(1, 2))
        answered = self.put()
        self.fail_at(A, schema.PUT, refused())
        self.clock.advance(0.5)
        self.next(A, schema.PUT).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")

    def test_another_cause(self) -> None:
        """A cause that is there already stays; and what the policy has raised is in the log."""
        said = Unavailable(14, "error reading from server: EOF")
        error = self.failed(self.raiser(ZeroDivisionError), said, is_idempotent=True)
        self.assertIs(type(error), OutcomeUnknown)
        self.assertIs(error.__cause__, said)
        self.assertTrue(error.maybe_applied)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cancels_and_raises(self) -> None:
        """After the end there is nobody else to tell."""
        calls: list[Deferred[Any]] = []

        def policy(rounds: int) -> float:
            calls[0].cancel()
            return 1 // 0

        self.use(A, policy=policy)
        calls.append(self.put())
        self.fail_at(A, schema.PUT, refused())
        self.failureResultOf(calls[0], CancelledError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class DeadlineTests(AttemptsCase):
    """One, over all attempts."""

    def test_share(self) -> None:
        """What can be asked elsewhere leaves a quarter of its time for that; a write has all of it."""
        answered = self.get(16.0)
        self.assertEqual(self.next(A, schema.RANGE).timeout, 12.0)
        self.clock.advance(12.0)
        self.assertEqual(self.next(B, schema.RANGE).timeout, 3.0)
        self.clock.advance(3.0)
        self.clock.advance(0.1)
        self.assertAlmostEqual(self.next(C, schema.RANGE).timeout, 0.9)
        self.clock.advance(0.9)
        error = self.failureResultOf(answered, Timeout).value
        self.assertEqual((error.endpoint, error.attempts), (f"{A}, {B}, {C}", 3))
        only_there = {"endpoint": C, "is_idempotent": True}
        for options, wanted in (({}, 16.0), ({"is_idempotent": True}, 12.0), (only_there, 16.0)):
            self.use(A, B, C)
            pending = self.put(16.0, **options)
            self.assertEqual(self.transport.next(schema.PUT).timeout, wanted)
            self.cancelled(pending)

    def test_as_given(self) -> None:
        """The first attempt is told what the caller has said, though the clock does not stand still meanwhile."""
        seconds, ticks = self.clock.seconds, count()
        patch = self.patch(self.clock, "seconds", lambda: seconds() + 0.001 * next(ticks))
        pending = self.get(9.0, endpoint=A)
        self.assertEqual(self.next(A, schema.RANGE).timeout, 9.0)
        self.cancelled(pending)
        pending = self.put(9.0)
        self.assertEqual(self.next(A, schema.PUT).timeout, 9.0)
        self.fail_at(A, schema.PUT, refused())
        self.assertLess(self.next(B, schema.PUT).timeout, 9.0)
        self.cancelled(pending)
        patch.restore()

    def test_server_is_first(self) -> None:
        """The server knows the deadline, too; what it says of it while this process is busy is a timeout like ours."""
        for ask, maybe_applied in ((self.get, False), (self.put, True)):
            self.use(A)
            answered = ask(2.0)
            self.clock.rightNow += 2.2
            self.transport.waiting[0].reply(DeadlineExceeded(4, "context deadline exceeded"))
            error = self.failureResultOf(answered, Timeout).value
            said = (error.message, error.maybe_applied, error.code, error.endpoint, type(error.__cause__))
            told = "sent, but no answer within 2 seconds"
            self.assertEqual(said, (told, maybe_applied, None, A, DeadlineExceeded))

    def test_ends_in_time(self) -> None:
        """With what the last attempt said, as soon as there is no time for another one."""
        answered = self.put(1.0)
        count = 0
        while not answered.called:
            for call in list(self.transport.waiting):
                count += 1
                call.reply(refused())
            self.clock.advance(0.01)
        self.assertLessEqual(self.clock.seconds(), 1.0)
        error = self.failureResultOf(answered, Unavailable).value
        self.assertEqual((error.maybe_applied, error.attempts), (False, count))
        self.assertEqual(sorted(error.endpoint.split(", ")), [A, B, C])
        self.assertEqual(str(error), f"KV.Put at {error.endpoint}: not sent: refused (the last of {count} attempts)")


class CancelTests(AttemptsCase):
    """At any moment."""

    def test_cancel(self) -> None:
        """While an attempt is under way, or between two of them; what an earlier one has left open is told."""
        for steps, maybe_applied in ((0, True), (1, True), (2, True)):
            self.use(A, B)
            answered = self.put(is_idempotent=True)
            for _ in range(steps):
                self.transport.next(schema.PUT).reply(OutcomeUnknown(None, "lost"))
            answered.cancel()
            error = self.failureResultOf(answered, CancelledError).value
            self.assertIs(error.maybe_applied, maybe_applied)
            self.transport.asked()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancel_before_any_was_sent(self) -> None:
        answered = self.put()
        for _ in range(2):
            self.transport.next(schema.PUT).reply(refused())
        answered.cancel()
        self.assertIs(self.failureResultOf(answered, CancelledError).value.maybe_applied, False)

    def test_close(self) -> None:
        """The client is closed between two attempts."""
        answered = self.get()
        finishing = self.calls.finish(schema.LEASE_GRANT, GRANT)
        for _ in range(4):
            self.transport.waiting[0].reply(lost() if self.transport.waiting[0].rpc is schema.RANGE else refused())
        closed = self.calls.close()
        self.failureResultOf(answered, Closed)
        self.assert_pending(finishing, closed)
        self.clock.advance(2.0)
        self.transport.asked()
        self.failureResultOf(finishing, Closed)
        self.successResultOf(closed)
        self.clock.advance(0)


class IdentityTests(AttemptsCase):
    """Another cluster behind an endpoint."""

    def known(self) -> None:
        """The cluster is known from an answer of the first endpoint."""
        answered = self.get()
        self.next(A, schema.RANGE).reply(FOUND)
        self.successResultOf(answered)

    def test_asked_first(self) -> None:
        """Before anything else is asked of an endpoint for the first time, it is asked which cluster it is of."""
        self.known()
        answered = self.put()
        self.fail_at(A, schema.PUT, refused())
        self.next(B, schema.STATUS).reply(status(77))
        self.next(B, schema.PUT).reply(Revision(Header(1, 6, 77, 9)))
        self.successResultOf(answered)
        answered = self.put()
        self.next(B, schema.PUT).reply(Revision(Header(1, 7, 77, 9)))
        self.successResultOf(answered)

    def test_another_one(self) -> None:
        """Nothing else is asked of it."""
        self.known()
        answered = self.put()
        self.fail_at(A, schema.PUT, refused())
        self.next(B, schema.STATUS).reply(status(0x99))
        self.clock.advance(0.1)
        self.next(C, schema.STATUS).reply(status(77))
        self.next(C, schema.PUT).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")

    def test_only_another_one(self) -> None:
        """The error names both."""
        self.known()
        answered = self.put(endpoint=B, timeout=0.05)
        self.next(B, schema.STATUS).reply(status(0x99))
        error = self.failureResultOf(answered, WrongCluster).value
        self.assertEqual(str(error), f"KV.Put at {B}: cluster 99 is there, and not cluster 4d as before")
        self.assertEqual((error.maybe_applied, error.wanted, error.found), (False, 77, 0x99))

    def test_only_one_left(self) -> None:
        """A single endpoint is asked first before a write, and again when it has failed; an answer to a read tells."""
        self.known()
        self.way.endpoints.replace([B])
        answered = self.put()
        self.next(B, schema.STATUS).reply(status(77))
        self.fail_at(B, schema.PUT, refused())
        self.clock.advance(0.1)
        self.next(B, schema.STATUS).reply(status(77))
        self.next(B, schema.PUT).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")
        self.way.endpoints.replace([C])
        answered = self.get()
        self.next(C, schema.RANGE).reply(Range([], Header(1, 5, 0x99, 8)))
        self.failureResultOf(answered, WrongCluster)
        answered = self.get()
        self.next(C, schema.RANGE).reply(FOUND)
        self.assertEqual(self.successResultOf(answered), FOUND)

    def test_connection_lost(self) -> None:
        """Where the last connection has ended, another cluster may have taken its place: no write gets there."""
        for urls in ([A], [A, B, C]):
            self.use(*urls)
            self.known()
            self.way.identity.doubt(A)
            answered = self.put()
            self.next(A, schema.STATUS).reply(status(0x99))
            if urls == [A]:
                self.assertIs(self.failureResultOf(answered, WrongCluster).value.maybe_applied, False)
                continue
            self.next(B, schema.STATUS).reply(status(77))
            self.next(B, schema.PUT).reply("the answer")
            self.assertEqual(self.successResultOf(answered), "the answer")

    def test_leases_ask_nobody(self) -> None:
        """Another cluster does not have the lease: to renew or revoke it must not depend on one more answer."""
        self.use(A)
        self.known()
        self.way.identity.doubt(A)
        for rpc, request in (
            (schema.LEASE_REVOKE, LeaseRevokeRequest(1)),
            (schema.LEASE_KEEP_ALIVE, LeaseKeepAliveRequest(1)),
        ):
            answered = self.calls.call(rpc, request)
            self.next(A, rpc).reply("the answer")
            self.assertEqual(self.successResultOf(answered), "the answer")

    def test_another_one_stays(self) -> None:
        """Once it was there, it is asked each time, before anything is written."""
        self.use(A)
        self.known()
        answered = self.get()
        self.fail_at(A, schema.RANGE, refused())
        self.clock.advance(0.1)
        self.next(A, schema.RANGE).reply(Range([], Header(1, 5, 0x99, 8)))
        self.failureResultOf(answered, WrongCluster)
        answered = self.get()
        self.next(A, schema.RANGE).reply(FOUND)
        self.successResultOf(answered)
        answered = self.put()
        self.next(A, schema.PUT).reply(Revision(Header(1, 6, 0x99, 9)))
        self.assertIs(self.failureResultOf(answered, WrongCluster).value.maybe_applied, True)
        for _ in range(3):
            answered = self.put(timeout=0.05)
            self.next(A, schema.STATUS).reply(status(0x99))
            self.assertIs(self.failureResultOf(answered, WrongCluster).value.maybe_applied, False)
        answered = self.put()
        self.next(A, schema.STATUS).reply(status(77))
        self.next(A, schema.PUT).reply(Revision(Header(1, 6, 77, 9)))
        self.successResultOf(answered)

    def test_of_no_endpoint(self) -> None:
        """What is asked of something else by its URL says nothing of the cluster that the client is of."""
        answered = self.calls.call(schema.STATUS, Empty(), endpoint="http://elsewhere")
        self.next("http://elsewhere", schema.STATUS).reply(status(0x99))
        self.successResultOf(answered)
        self.known()
        answered = self.calls.call(schema.STATUS, Empty(), endpoint="http://elsewhere")
        self.next("http://elsewhere", schema.STATUS).reply(status(77))
        self.next("http://elsewhere", schema.STATUS).reply(status(77))
        self.successResultOf(answered)

    def test_token_is_refused(self) -> None:
        """An endpoint that wants another token before it says what it is, gets no write."""
        self.known()
        self.way.identity.doubt(A)
        for error in (InvalidAuthToken(16, "invalid auth token"), UserEmpty(3, "user name is empty")):
            answered = self.put()
            self.next(A, schema.STATUS).reply(error)
            self.failureResultOf(answered, type(error))
            self.transport.asked()

    def test_password_is_refused(self) -> None:
        """By whom nothing is known of: another one is asked."""
        self.known()
        answered = self.calls.call(schema.AUTHENTICATE, AuthenticateRequest("root", "secret"))
        self.next(A, schema.AUTHENTICATE).reply(refused())
        self.next(B, schema.STATUS).reply(UserEmpty(3, "user name is empty"))
        self.next(B, schema.AUTHENTICATE).reply(AuthFailed(3, "authentication failed"))
        self.clock.advance(0.1)
        self.next(C, schema.STATUS).reply(status(77))
        self.next(C, schema.AUTHENTICATE).reply(AuthFailed(3, "authentication failed"))
        self.failureResultOf(answered, AuthFailed)
        self.assertIn(B, self.way.endpoints.reasons)
        self.assertNotIn(C, self.way.endpoints.reasons)

    def test_changed_behind_the_endpoint(self) -> None:
        """A write may have been carried out by the wrong one."""
        self.known()
        answered = self.put()
        self.next(A, schema.PUT).reply(Revision(Header(1, 6, 0x99, 9)))
        self.assertIs(self.failureResultOf(answered, WrongCluster).value.maybe_applied, True)
        answered = self.get()
        self.next(B, schema.STATUS).reply(status(77))
        self.next(B, schema.RANGE).reply(FOUND)
        self.assertEqual(self.successResultOf(answered), FOUND)

    def test_cannot_be_asked(self) -> None:
        """An endpoint that does not answer is left; one that refuses to say is taken."""
        self.known()
        answered = self.put()
        self.fail_at(A, schema.PUT, refused())
        self.next(B, schema.STATUS).reply(lost())
        self.clock.advance(0.1)
        self.next(C, schema.STATUS).reply(PermissionDenied(7, "etcdserver: permission denied"))
        self.next(C, schema.PUT).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")

    def test_cancelled_while_asked(self) -> None:
        """A write that waits for that was not sent."""
        self.known()
        answered = self.put()
        self.fail_at(A, schema.PUT, refused())
        self.next(B, schema.STATUS)
        answered.cancel()
        self.assertIs(self.failureResultOf(answered, CancelledError).value.maybe_applied, False)
        self.transport.asked()

    def test_without_a_header(self) -> None:
        """Answers that do not say of which cluster they are."""
        for rpc, request, answer in (
            (schema.DEFRAGMENT, Empty(), Acknowledgement()),
            (schema.SNAPSHOT, Empty(), SnapshotResponse()),
            (schema.COMPACT, CompactionRequest(5), Acknowledgement(Header(1, 5, 0, 0))),
        ):
            answered = self.calls.call(rpc, request)
            self.transport.next(rpc).reply(answer)
            self.assertEqual(self.successResultOf(answered), answer)


class MetadataTests(AttemptsCase):
    """What goes along."""

    def test_leader(self) -> None:
        """A leader is required where an answer without one is of no use."""
        for rpc, request, wanted in (
            (schema.RANGE, GET, True),
            (schema.RANGE, OpGet(b"key", serializable=True), False),
            (schema.PUT, PUT, True),
            (schema.LEASE_GRANT, GRANT, True),
            (schema.STATUS, Empty(), False),
            (schema.MEMBER_LIST, MemberListRequest(True), True),
            (schema.MEMBER_LIST, MemberListRequest(), False),
        ):
            pending = self.calls.call(rpc, request)
            self.assertEqual(self.transport.next(rpc).metadata, Metadata("", wanted), request)
            self.cancelled(pending)
            self.use(A, B, C)
        self.use(A, requires_leader=False)
        pending = self.get()
        self.assertEqual(self.transport.next(schema.RANGE).metadata, Metadata("", False))
        self.cancelled(pending)

    def test_many_tokens(self) -> None:
        """Each goes along, however many there are one after the other."""
        for number in range(20):
            self.way.tokens.token = f"token {number}"
            for _ in range(2):
                pending = self.get()
                self.assertEqual(self.transport.next(schema.RANGE).metadata, Metadata(f"token {number}", True))
                self.cancelled(pending)

    def test_done_twice(self) -> None:
        """A call is one call: its Deferred fires once."""
        attempts = Attempts(self.way, schema.RANGE, GET, 5.0)
        done = attempts.start()
        self.next(A, schema.RANGE).reply(LeaseNotFound(5, "x"))
        self.failureResultOf(done, LeaseNotFound)
        self.assertEqual((attempts.retries, list(attempts.tried)), (0, [A]))
