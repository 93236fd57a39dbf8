"""
The lock: Go's algorithm, step by step, and what is left behind when it does not come to its end.
"""

from __future__ import annotations

from typing import Any, Optional

import attrs
from twisted.internet.defer import Deferred

from test.fakes import Case, FakeStream, fake_client
from txetcd import Client, KeySet, Lock
from txetcd import _json as json_codec
from txetcd import _schema as schema
from txetcd import lease as lease_module
from txetcd._backoff import ASK_AGAIN
from txetcd._messages import (
    Acknowledgement,
    LeaseGrantRequest,
    LeaseGrantResponse,
    LeaseKeepAliveResponse,
    LeaseRevokeRequest,
    WatchCreateRequest,
    WatchResponse,
)
from txetcd.errors import (
    Expired,
    LeaseNotFound,
    NoLeader,
    OutcomeUnknown,
    PermissionDenied,
    SessionExpired,
    Timeout,
    Unavailable,
)
from txetcd.ops import OpGet
from txetcd.values import Event, Header, KeyValue, Outcome, Range, Revision

GRANT, KEEP_ALIVE, REVOKE = schema.LEASE_GRANT, schema.LEASE_KEEP_ALIVE, schema.LEASE_REVOKE
TXN, RANGE = schema.TXN, schema.RANGE
ID = 0xABC
KEY = b"name/abc"


def header(revision: int) -> Header:
    return Header(revision=revision)


def key(name: bytes, revision: int) -> KeyValue:
    return KeyValue(name, b"", 1, revision, revision, 7)


def entered(mine: int, oldest: Optional[KeyValue]) -> Outcome:
    """The answer to the entry: our revision, and the oldest key."""
    before = header(mine - 1)
    return Outcome(True, header(mine), [Revision(before), Range([oldest] if oldest else [], before)])


def found(*kvs: KeyValue, revision: int = 50) -> Range:
    return Range(list(kvs), header(revision), len(kvs))


def deleted(name: bytes, revision: int) -> WatchResponse:
    return WatchResponse(header(revision), events=[Event("DELETE", KeyValue(name, mod_revision=revision))])


class LockCase(Case):
    """A client on a fake."""

    client: Client

    def setUp(self) -> None:
        super().setUp()
        self.lease_id = ID
        self.patch(lease_module, "new_lease_id", lambda: self.lease_id)
        self.client = fake_client(self.clock, self.transport)
        self.calls = self.client._calls

    def grant(self, time_to_live: int = 60) -> None:
        """The lease is granted, and renewed for the first time."""
        self.transport.next(GRANT).reply(LeaseGrantResponse(header(10), self.lease_id, time_to_live))
        self.transport.next(KEEP_ALIVE).reply(LeaseKeepAliveResponse(header(10), self.lease_id, time_to_live))

    def hold(self, **options: Any) -> Lock:
        """A lock that is held."""
        locking = self.client.lock(b"name", **options)
        self.grant()
        self.transport.next(TXN).reply(entered(20, key(KEY, 20)))
        return self.successResultOf(locking)

    def wait(self, **options: Any) -> tuple[Deferred[Lock], FakeStream]:
        """A lock that is waited for, and the watch of the key before."""
        locking = self.client.lock(b"name", **options)
        self.grant()
        self.transport.next(TXN).reply(entered(20, key(b"name/1", 15)))
        self.transport.next(RANGE).reply(found(key(b"name/2", 17), revision=30))
        (stream,) = self.transport.live
        return locking, stream

    def watching(self) -> tuple[Deferred[Lock], FakeStream]:
        """And that watch has started."""
        locking, stream = self.wait()
        stream.say(WatchResponse(header(31), created=True))
        return locking, stream

    def revoked(self) -> None:
        """The lease is being revoked, and nothing else asked; it succeeds."""
        self.transport.asked("LeaseRevoke")
        self.assertEqual(self.transport.next(REVOKE).request, LeaseRevokeRequest(ID))
        self.transport.next(REVOKE).reply(Acknowledgement())
        # a client that is being closed looks in the next turn whether that was the last
        self.clock.advance(0)
        self.assert_idle()

    def assert_idle(self) -> None:
        """Nothing is asked, nothing watched, nothing will be."""
        self.transport.asked()
        self.assertEqual(self.transport.live, [])
        self.assertEqual([str(call) for call in self.clock.getDelayedCalls()], [])

    def release(self, lock: Lock) -> None:
        released = lock.release()
        self.revoked()
        self.assertIsNone(self.successResultOf(released))


class AlgorithmTests(LockCase):
    """Go's ``concurrency.Mutex``, which Go programs and ``etcdctl lock`` wait for as well."""

    def test_free(self) -> None:
        """Three calls: the lease, its first renewal, and the entry, which finds our own key to be the oldest."""
        locking = self.client.lock(b"name", time_to_live=42)
        self.assertEqual(self.transport.next(GRANT).request, LeaseGrantRequest(42, ID))
        self.grant()
        body = json_codec.encode(TXN, self.transport.next(TXN).request)
        self.assertEqual(
            body,
            b'{"compare":[{"result":"EQUAL","target":"CREATE","key":"bmFtZS9hYmM=","create_revision":"0"}],'
            b'"success":[{"request_put":{"key":"bmFtZS9hYmM=","lease":"2748"}},'
            b'{"request_range":{"key":"bmFtZS8=","range_end":"bmFtZTA=","limit":"1","sort_order":"ASCEND",'
            b'"sort_target":"CREATE"}}],'
            b'"failure":[{"request_range":{"key":"bmFtZS9hYmM="}},'
            b'{"request_range":{"key":"bmFtZS8=","range_end":"bmFtZTA=","limit":"1","sort_order":"ASCEND",'
            b'"sort_target":"CREATE"}}]}',
        )
        self.transport.next(TXN).reply(entered(20, key(KEY, 20)))
        lock = self.successResultOf(locking)
        self.assertEqual((lock.name, lock.key, lock.revision, lock.is_held), (b"name", KEY, 20, True))
        self.assertEqual(repr(lock), "<Lock b'name' HELD>")
        self.transport.asked()
        self.release(lock)

    def test_nobody_there(self) -> None:
        """The first entry finds nobody at all: what it reads is from before it wrote."""
        locking = self.client.lock(b"name")
        self.grant()
        self.transport.next(TXN).reply(entered(20, None))
        lock = self.successResultOf(locking)
        self.assertEqual(lock.revision, 20)
        self.release(lock)

    def test_entered_before(self) -> None:
        """An attempt on the same lease whose answer was lost: its revision counts."""
        for oldest in (15, 18):
            locking = self.client.lock(b"name")
            self.grant()
            first = key(KEY if oldest == 18 else b"name/1", oldest)
            self.transport.next(TXN).reply(Outcome(False, header(40), [found(key(KEY, 18)), found(first)]))
            if oldest == 15:
                self.assertEqual(self.transport.next(RANGE).request.max_create_revision, 17)
                self.transport.next(RANGE).reply(found())
                self.transport.next(RANGE).reply(found(key(KEY, 18)))
            lock = self.successResultOf(locking)
            self.assertEqual(lock.revision, 18)
            self.release(lock)

    def test_negative_id(self) -> None:
        """Go writes a negative id with a sign."""
        self.lease_id = -0xABC
        locking = self.client.lock(b"name")
        self.grant()
        self.assertEqual(self.transport.next(TXN).request.success[0].key, b"name/-abc")
        self.cancelled(locking)
        self.transport.next(REVOKE).reply(Acknowledgement())

    def test_waiter(self) -> None:
        """A waiter looks for the key before its own, watches that alone, looks again, and checks its own at last."""
        locking = self.client.lock(b"name")
        self.grant()
        self.transport.next(TXN).reply(entered(20, key(b"name/1", 15)))
        before = OpGet(
            KeySet(b"name/", prefix=True),
            limit=1, sort_order="DESCEND", sort_target="CREATE", max_create_revision=19,
        )  # fmt: skip
        self.transport.asked("Range")
        self.assertEqual(self.transport.next(RANGE).request, before)
        self.transport.next(RANGE).reply(found(key(b"name/2", 17), revision=30))
        self.transport.asked()
        (stream,) = self.transport.live
        self.assertEqual(stream.request, WatchCreateRequest(KeySet(b"name/2"), 31, fragment=True))
        stream.say(WatchResponse(header(30), created=True))
        stream.say(WatchResponse(header(31), events=[Event("PUT", key(b"name/2", 31))]))
        self.assertNoResult(locking)
        stream.say(deleted(b"name/2", 32))
        self.assertEqual(self.transport.live, [])
        self.assertEqual(self.transport.next(RANGE).request, before)
        self.transport.next(RANGE).reply(found(key(b"name/1", 15), revision=33))
        (stream,) = self.transport.live
        self.assertEqual(stream.request, WatchCreateRequest(KeySet(b"name/1"), 34, fragment=True))
        stream.say(WatchResponse(header(30), created=True), deleted(b"name/1", 35))
        self.transport.next(RANGE).reply(found(revision=35))
        self.assertNoResult(locking)
        self.assertEqual(self.transport.next(RANGE).request, OpGet(KEY))
        self.transport.next(RANGE).reply(found(key(KEY, 20), revision=35))
        lock = self.successResultOf(locking)
        self.assertEqual(lock.revision, 20)
        self.release(lock)

    def test_waiting_costs_little(self) -> None:
        """While it is waited for nothing is asked but the renewals."""
        self.client._watches = attrs.evolve(self.client._watches, liveness=1e6)
        locking, stream = self.watching()
        for _ in range(10):
            self.clock.advance(19.9)
            self.transport.asked()
            self.clock.advance(0.1)
            self.transport.next(KEEP_ALIVE).reply(LeaseKeepAliveResponse(header(10), ID, 60))
            self.assertEqual(self.transport.live, [stream])
        self.assertNoResult(locking)
        self.cancelled(locking)
        self.revoked()

    def test_two_waiters(self) -> None:
        """Two that wait here have a lease and a key each, and are independent."""
        first, _ = self.watching()
        self.lease_id = 0xDEF
        second = self.client.lock(b"name")
        self.grant()
        self.assertEqual(self.transport.next(TXN).request.success[0].key, b"name/def")
        self.transport.next(TXN).reply(entered(21, key(b"name/1", 15)))
        self.transport.next(RANGE).reply(found(key(KEY, 20)))
        self.assertEqual([stream.request.key for stream in self.transport.live], [KeySet(b"name/2"), KeySet(KEY)])
        self.cancelled(first)
        self.assertEqual(self.transport.next(REVOKE).request, LeaseRevokeRequest(ID))
        self.transport.next(REVOKE).reply(Acknowledgement())
        (stream,) = self.transport.live
        stream.say(WatchResponse(created=True), deleted(KEY, 60))
        self.transport.next(RANGE).reply(found())
        self.transport.next(RANGE).reply(found(key(b"name/def", 21)))
        self.successResultOf(second).release()
        self.transport.next(REVOKE).reply(Acknowledgement())

    def test_own_key_gone(self) -> None:
        """Somebody deleted our key while we waited: then we are not the owner."""
        locking, stream = self.watching()
        stream.say(deleted(b"name/2", 60))
        self.transport.next(RANGE).reply(found())
        self.transport.next(RANGE).reply(found())
        self.assertNoResult(locking)
        self.revoked()
        self.failureResultOf(locking, SessionExpired)

    def test_watch_lost(self) -> None:
        """The watch goes on as soon as it can, and the place in the queue is kept."""
        for is_started in (True, False):
            for error in (Unavailable(None, "lost"), NoLeader(14, "etcdserver: no leader"), None):
                locking, stream = self.watching() if is_started else self.wait()
                stream.end(error)
                self.clock.advance(0.1)
                self.transport.asked()
                (again,) = self.transport.live
                self.assertEqual(again.request, stream.request)
                again.say(WatchResponse(header(50), created=True), deleted(b"name/2", 60))
                self.transport.next(RANGE).reply(found())
                self.transport.next(RANGE).reply(found(key(KEY, 20)))
                self.release(self.successResultOf(locking))

    def test_watch_compacted(self) -> None:
        """So it does if what it watches for was compacted away meanwhile."""
        locking, stream = self.watching()
        stream.say(WatchResponse(canceled=True, compact_revision=99))
        self.clock.advance(ASK_AGAIN)
        self.transport.next(RANGE).reply(found(key(b"name/2", 17), revision=120))
        (stream,) = self.transport.live
        self.assertEqual(stream.request.start_revision, 121)
        self.cancelled(locking)
        self.revoked()

    def test_watch_refused(self) -> None:
        """A watch that will never be had is no reason to try again."""
        locking, stream = self.wait()
        reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
        stream.say(WatchResponse(created=True, canceled=True, cancel_reason=reason))
        self.revoked()
        self.failureResultOf(locking, PermissionDenied)


class FailureTests(LockCase):
    """A call that fails on the way: the lease, and the key with it, is taken back before the lock fails."""

    def test_grant(self) -> None:
        """Nothing to take back."""
        locking = self.client.lock(b"name")
        self.transport.next(GRANT).reply(Unavailable(None, "refused"))
        self.failureResultOf(locking, Unavailable)
        self.assert_idle()

    def test_entry(self) -> None:
        """Its outcome may be unknown: a key that was written goes with the lease."""
        for error in (OutcomeUnknown(None, "lost"), PermissionDenied(7, "permission denied"), Timeout("late", True)):
            locking = self.client.lock(b"name")
            self.grant()
            self.transport.next(TXN).reply(error)
            self.assertNoResult(locking)
            self.revoked()
            self.failureResultOf(locking, type(error))

    def test_looking(self) -> None:
        """Looking for the key before: an outage is waited out, whatever else is an error."""
        locking = self.client.lock(b"name")
        self.grant()
        self.transport.next(TXN).reply(entered(20, key(b"name/1", 15)))
        for error in (Unavailable(None, "refused"), Timeout("no answer")):
            self.transport.next(RANGE).reply(error)
            self.transport.asked()
            self.clock.advance(ASK_AGAIN)
        self.assertNoResult(locking)
        self.transport.next(RANGE).reply(PermissionDenied(7, "permission denied"))
        self.revoked()
        self.failureResultOf(locking, PermissionDenied)

    def test_looking_at_the_own_key(self) -> None:
        """So is looking at our own at last; then it begins anew with the key before."""
        locking, stream = self.watching()
        stream.say(deleted(b"name/2", 60))
        for error in (Unavailable(None, "refused"), Timeout("no answer")):
            self.transport.next(RANGE).reply(found())
            self.transport.next(RANGE).reply(error)
            self.transport.asked()
            self.clock.advance(ASK_AGAIN)
        self.assertNoResult(locking)
        self.transport.next(RANGE).reply(found())
        self.transport.next(RANGE).reply(found(key(KEY, 20)))
        self.release(self.successResultOf(locking))

    def test_outage_longer_than_the_lease(self) -> None:
        """It ends with the lease."""
        locking, stream = self.watching()
        stream.end(Unavailable(None, "lost"))
        while not locking.called:
            self.clock.advance(ASK_AGAIN)
            for call in list(self.transport.waiting):
                call.reply(Unavailable(None, "refused"))
        self.failureResultOf(locking, Expired)
        # the lease is still being taken back, in case the server returns
        closed = self.client.close()
        self.revoked()
        self.successResultOf(closed)

    def test_taking_back_fails(self) -> None:
        """Then what it failed with before says more; where that may help it is tried again behind the back."""
        for error, is_tried_again in (
            (Unavailable(None, "refused"), True),
            (LeaseNotFound(5, "requested lease not found"), False),
        ):
            locking = self.client.lock(b"name")
            self.grant()
            self.transport.next(TXN).reply(PermissionDenied(7, "permission denied"))
            self.assertEqual(self.transport.next(REVOKE).timeout, 5.0)
            self.transport.next(REVOKE).reply(error)
            self.failureResultOf(locking, PermissionDenied)
            if is_tried_again:
                self.revoked()
            self.assert_idle()

    def test_taking_back_takes_too_long(self) -> None:
        """It is not waited for without end."""
        locking = self.client.lock(b"name")
        self.grant()
        self.transport.next(TXN).reply(PermissionDenied(7, "permission denied"))
        self.clock.advance(5)
        self.failureResultOf(locking, PermissionDenied)
        self.revoked()

    def test_again(self) -> None:
        """What failed can be tried again."""
        lock = Lock(self.client, b"name")
        self.assertEqual(repr(lock), "<Lock b'name' FREE>")
        first = lock.acquire()
        self.assertEqual(repr(lock), "<Lock b'name' WAITING>")
        self.transport.next(GRANT).reply(Unavailable(None, "refused"))
        self.failureResultOf(first, Unavailable)
        second = lock.acquire()
        self.grant()
        self.transport.next(TXN).reply(entered(20, None))
        self.assertIs(self.successResultOf(second), lock)
        self.release(lock)

    def test_lease_lost(self) -> None:
        """The lease is lost while it is waited for, in whatever step."""
        steps: list[Any] = [
            lambda: None,
            lambda: self.transport.next(TXN).reply(entered(20, key(b"name/1", 15))),
            lambda: self.transport.next(RANGE).reply(found(key(b"name/2", 17))),
            lambda: self.transport.live[0].say(WatchResponse(created=True)),
            lambda: self.transport.live[0].say(deleted(b"name/2", 60)),
            lambda: self.transport.next(RANGE).reply(found()),
        ]
        for reached in range(len(steps)):
            locking = self.client.lock(b"name")
            self.transport.next(GRANT).reply(LeaseGrantResponse(header(10), ID, 60))
            renewal = self.transport.next(KEEP_ALIVE)
            self.transport.waiting.remove(renewal)
            for step in steps[: reached + 1]:
                step()
            self.transport.waiting.insert(0, renewal)
            renewal.reply(LeaseKeepAliveResponse(header(10), ID))
            error = self.failureResultOf(locking, Expired).value
            self.assertIn("was lost while it was waited for", str(error))
            self.assert_idle()

    def test_lease_runs_out(self) -> None:
        """A server that does not answer any more."""
        locking, stream = self.watching()
        self.clock.pump([0.5] * 120)
        self.failureResultOf(locking, Expired)
        self.revoked()
