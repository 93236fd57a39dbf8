"""
What is done about a call that has failed.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txetcd import _schema as schema
from txetcd import errors
from txetcd._attempts import explained
from txetcd._messages import LeaseGrantRequest
from txetcd._retry import Next, is_of_endpoint, is_repeatable, next_step
from txetcd.errors import Error
from txetcd.ops import OpGet, OpSet

PUT = OpSet(b"key", b"value")
REQUESTS = {schema.RANGE: OpGet(b"key"), schema.LEASE_GRANT: LeaseGrantRequest(60), schema.PUT: PUT}

GIVE_UP, ELSEWHERE, OTHERS, TOKEN = Next.GIVE_UP, Next.ELSEWHERE, Next.OTHERS, Next.TOKEN

TABLE: list[tuple[Error, Next, Next, Next, bool]] = [
    # what came; what is done about a read, a lease that is granted, a write; whether it speaks of the endpoint
    (errors.Unavailable(None, "not sent"), ELSEWHERE, ELSEWHERE, ELSEWHERE, True),
    (errors.NoLeader(14, "etcdserver: no leader"), ELSEWHERE, ELSEWHERE, ELSEWHERE, True),
    (errors.Unhealthy(14, "etcdserver: unhealthy cluster"), ELSEWHERE, ELSEWHERE, ELSEWHERE, True),
    (errors.LeaderChanged(14, "etcdserver: leader changed"), ELSEWHERE, ELSEWHERE, GIVE_UP, True),
    (errors.Stopped(14, "etcdserver: server stopped"), ELSEWHERE, ELSEWHERE, GIVE_UP, True),
    (errors.RequestTimedOut(14, "etcdserver: request timed out"), ELSEWHERE, ELSEWHERE, GIVE_UP, True),
    (errors.Unavailable(14, "error reading from server: EOF"), ELSEWHERE, ELSEWHERE, GIVE_UP, True),
    (errors.OutcomeUnknown(None, "lost"), ELSEWHERE, ELSEWHERE, GIVE_UP, True),
    (errors.Timeout("not sent"), ELSEWHERE, ELSEWHERE, ELSEWHERE, True),
    (errors.Timeout("sent", True), ELSEWHERE, ELSEWHERE, GIVE_UP, True),
    (errors.DeadlineExceeded(4, "context deadline exceeded"), ELSEWHERE, ELSEWHERE, GIVE_UP, True),
    (errors.RequestCanceled(1, "context canceled"), ELSEWHERE, ELSEWHERE, GIVE_UP, True),
    (errors.NotSupportedForLearner(14, "x"), ELSEWHERE, ELSEWHERE, ELSEWHERE, True),
    (errors.WrongCluster(1, 2), OTHERS, GIVE_UP, GIVE_UP, True),
    (errors.TLSFailed(None, "not sent"), OTHERS, OTHERS, OTHERS, True),
    (errors.ProtocolViolation("odd"), OTHERS, GIVE_UP, GIVE_UP, True),
    (errors.InvalidAuthToken(16, "x"), TOKEN, TOKEN, TOKEN, False),
    (errors.AuthOldRevision(3, "x"), TOKEN, TOKEN, TOKEN, False),
    (errors.UserEmpty(3, "x"), TOKEN, TOKEN, TOKEN, False),
    (errors.PermissionDenied(7, "x"), GIVE_UP, GIVE_UP, GIVE_UP, False),
    (errors.AuthFailed(3, "x"), GIVE_UP, GIVE_UP, GIVE_UP, False),
    (errors.LeaseNotFound(5, "x"), GIVE_UP, GIVE_UP, GIVE_UP, False),
    (errors.NoSpace(8, "x"), GIVE_UP, GIVE_UP, GIVE_UP, False),
    (errors.TooManyRequests(8, "x"), GIVE_UP, GIVE_UP, GIVE_UP, False),
    (errors.ResourceError(8, "x"), GIVE_UP, GIVE_UP, GIVE_UP, False),
    (errors.RequestTooLarge(8, "grpc: received message larger than max (1 vs. 0)"), GIVE_UP, GIVE_UP, GIVE_UP, False),
    (errors.Compacted(11, "x"), GIVE_UP, GIVE_UP, GIVE_UP, False),
    (errors.NotLeader(9, "x"), GIVE_UP, GIVE_UP, GIVE_UP, False),
    (errors.Unimplemented(12, "x"), GIVE_UP, GIVE_UP, GIVE_UP, False),
    (errors.Closed(), GIVE_UP, GIVE_UP, GIVE_UP, False),
    (Error(2, "whatever"), GIVE_UP, GIVE_UP, GIVE_UP, False),
]


def copy_of(error: Error) -> Error:
    kind, args, state = error.__reduce__()[1]
    made = kind.__new__(kind)
    made.args = args
    made.__dict__.update(state)
    return made  # type: ignore[no-any-return]


class DecisionTests(SynchronousTestCase):
    def test_table(self) -> None:
        """By what came, and by what the call does."""
        for error, *wanted, of_endpoint in TABLE:
            for rpc, step in zip(REQUESTS, wanted):
                told = explained(copy_of(error), rpc, REQUESTS[rpc])
                self.assertIs(next_step(rpc, told, None, True), step, (rpc.name, error))
            self.assertIs(is_of_endpoint(error), of_endpoint, error)

    def test_idempotent(self) -> None:
        """What the caller permits, a lost answer included; but not what is no outage."""
        for error, of_a_read, _, _, _ in TABLE:
            if not isinstance(error, (errors.WrongCluster, errors.ProtocolViolation)):
                told = explained(copy_of(error), schema.PUT, PUT)
                self.assertIs(next_step(schema.PUT, told, True, True), of_a_read, error)

    def test_idempotent_but_no_etcd(self) -> None:
        """What answers a write and is no etcd may have done anything."""
        for error in (errors.WrongCluster(1, 2), errors.ProtocolViolation("odd")):
            self.assertIs(next_step(schema.PUT, explained(error, schema.PUT, PUT), True, True), GIVE_UP)

    def test_without_credentials(self) -> None:
        """A token of the user's is not refreshed."""
        for error in (errors.InvalidAuthToken(16, "x"), errors.AuthOldRevision(3, "x"), errors.UserEmpty(3, "x")):
            self.assertIs(next_step(schema.RANGE, error, False, False), GIVE_UP)

    def test_repeatable(self) -> None:
        """Go's list, and what only reads."""
        self.assertEqual(
            sorted(rpc.name for rpc in schema.RPCS.values() if not rpc.is_read and is_repeatable(rpc, None)),
            [
                "Lease.LeaseGrant", "Lease.LeaseKeepAlive", "Lease.LeaseRevoke",
                "Maintenance.Alarm", "Maintenance.MoveLeader",
            ],
        )
        for rpc in schema.RPCS.values():
            self.assertTrue(is_repeatable(rpc, True))
            self.assertEqual(is_repeatable(rpc, False), rpc.is_read)
            self.assertTrue(is_repeatable(rpc, None) or not rpc.is_read)
