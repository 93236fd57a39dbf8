"""
The verbs of the client: what each one sends, and what it makes of the answer.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any, Optional
from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from test.fakes import URL, Case, FakeTransport, Network, Reactor, fake_client, run
from txetcd import (
    AlreadyExists,
    Backoff,
    Client,
    CompareFailed,
    CompCreated,
    CompModified,
    CompValue,
    Failed,
    KeySet,
    Lease,
    Lock,
    OpDel,
    OpGet,
    OpSet,
    Transaction,
)
from txetcd import _schema as schema
from txetcd._backoff import ASK_AGAIN
from txetcd._messages import (
    Acknowledgement,
    CompactionRequest,
    Empty,
    LeaseGrantResponse,
    LeaseLeasesResponse,
    LeaseStatus,
    LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
    WatchCreateRequest,
    WatchResponse,
)
from txetcd.errors import (
    Closed,
    Compacted,
    Error,
    LeaseNotFound,
    NoLeader,
    OutcomeUnknown,
    PermissionDenied,
    Timeout,
    Unavailable,
)
from txetcd.values import Event, Header, KeyValue, Outcome, Range, Revision, Success
from txetcd.watch import Watch

KV = KeyValue(b"key", b"value", 1, 5, 6)


def header(revision: int) -> Header:
    return Header(revision=revision)


class ClientCase(Case):
    """A client on a fake."""

    client: Client

    def setUp(self) -> None:
        super().setUp()
        self.client = fake_client(self.clock, self.transport)
        self.calls = self.client._calls

    def sends(self, waiting: Deferred[Any], rpc: schema.Rpc, request: Any, answer: Any = "the answer") -> Any:
        """It asks exactly this, and fires with what comes of the answer."""
        call = self.transport.next(rpc)
        self.assertEqual(len(self.transport.waiting), 1)
        self.assertEqual(call.request, request)
        call.reply(answer)
        return self.successResultOf(waiting)


class KeyTests(ClientCase):
    """Reading and writing."""

    def test_status(self) -> None:
        """How the server is."""
        self.assertEqual(self.sends(self.client.status(), schema.STATUS, Empty()), "the answer")

    def test_set(self) -> None:
        """All options, by position as well."""
        self.sends(self.client.set(b"k", b"v"), schema.PUT, OpSet(b"k", b"v"))
        self.sends(self.client.set(b"k", b""), schema.PUT, OpSet(b"k", b""))
        self.sends(self.client.set(b"k", b"v", 7, True), schema.PUT, OpSet(b"k", b"v", 7, True))
        lease = Lease(self.client._leases, LeaseGrantResponse(header(1), 7, 30), 0.0)
        self.sends(self.client.set(b"k", b"v", lease), schema.PUT, OpSet(b"k", b"v", 7))
        keeping = OpSet(b"k", None, ignore_value=True, ignore_lease=True)
        self.sends(self.client.set(b"k", None, ignore_value=True, ignore_lease=True), schema.PUT, keeping)

    def test_get(self) -> None:
        """All options, by position as well."""
        self.sends(self.client.get(b"k"), schema.RANGE, OpGet(b"k"))
        self.sends(self.client.get(KeySet(b"k", prefix=True)), schema.RANGE, OpGet(KeySet(b"k", prefix=True)))
        self.sends(self.client.get(b"a", b"b"), schema.RANGE, OpGet(KeySet(b"a", b"b")))
        self.sends(
            self.client.get(
                b"k", None, True, True, 1, 2, 3, 4, 5, True, "DESCEND", "MOD", 6.0, max_mod_revision=7
            ),
            schema.RANGE,
            OpGet(
                b"k", count_only=True, keys_only=True, limit=1, max_create_revision=2, min_create_revision=3,
                min_mod_revision=4, revision=5, serializable=True, sort_order="DESCEND", sort_target="MOD",
                max_mod_revision=7,
            ),
        )  # fmt: skip
        self.assertEqual(self.transport.calls[-1].timeout, 6.0)

    def test_delete(self) -> None:
        """A key, a set, and everything if that is meant."""
        self.sends(self.client.delete(b"k"), schema.DELETE_RANGE, OpDel(b"k"))
        self.sends(self.client.delete(b"k", True, 3.0), schema.DELETE_RANGE, OpDel(b"k", True))
        self.assertEqual(self.transport.calls[-1].timeout, 3.0)
        self.sends(self.client.delete(KeySet.all()), schema.DELETE_RANGE, OpDel(KeySet.all()))

    def test_compact(self) -> None:
        """A physical one may take its time."""
        answer = Acknowledgement(header(9))
        for arguments, request, timeout in (
            ((5,), CompactionRequest(5), 10.0),
            ((5, True), CompactionRequest(5, True), 120.0),
            ((5, True, 7.0), CompactionRequest(5, True), 7.0),
        ):
            done = self.client.compact(*arguments)
            self.assertEqual(self.sends(done, schema.COMPACT, request, answer), header(9))
            self.assertEqual(self.transport.calls[-1].timeout, timeout)
        patient = fake_client(self.clock, self.transport, 500.0)
        self.sends(patient.compact(5, True), schema.COMPACT, CompactionRequest(5, True), answer)
        self.assertEqual(self.transport.calls[-1].timeout, 500.0)

    def test_time_to_live(self) -> None:
        request = LeaseTimeToLiveRequest(7)
        answer = LeaseTimeToLiveResponse(Header(), 7, 42)
        self.assertEqual(self.sends(self.client.time_to_live(7), schema.LEASE_TIME_TO_LIVE, request, answer), 42)
        asking = self.client.time_to_live(7)
        self.transport.next(schema.LEASE_TIME_TO_LIVE).reply(LeaseTimeToLiveResponse(Header(), 7, -1))
        error = self.failureResultOf(asking, LeaseNotFound).value
        self.assertEqual(str(error), f"Lease.LeaseTimeToLive at {URL}: there is no lease 7")
        self.assertRaises(TypeError, self.client.time_to_live, None)

    def test_leases(self) -> None:
        """Their ids."""
        answer = LeaseLeasesResponse(header(1), [LeaseStatus(7), LeaseStatus(-8)])
        self.assertEqual(self.sends(self.client.leases(), schema.LEASE_LEASES, Empty(), answer), [7, -8])

    def test_cancel(self) -> None:
        """Fires at once, and ends the call."""
        for waiting in (self.client.get(b"k"), self.client.leases(), self.client.create(b"k", b"v")):
            self.cancelled(waiting)
        self.assertTrue(all(call.is_cancelled for call in self.transport.calls))


class TransactionTests(ClientCase):
    """Transactions, and what is made of them."""

    TXN = Transaction([CompValue(b"k", "==", b"v")], [OpSet(b"k", b"w")], [OpGet(b"k")])
    YES = Outcome(True, header(9), [Revision(header(8))])
    NO = Outcome(False, header(9), [Range([KV], header(8), 1)])

    def test_transact(self) -> None:
        """The outcome, as it is."""
        for outcome in (self.YES, self.NO):
            self.assertIs(self.sends(self.client.transact(self.TXN), schema.TXN, self.TXN, outcome), outcome)

    def test_submit(self) -> None:
        """Fails if the comparison does not hold."""
        done = self.sends(self.client.submit(self.TXN), schema.TXN, self.TXN, self.YES)
        self.assertEqual(done, Success(header(9), self.YES.responses))
        submitted = self.client.submit(self.TXN, 3.0)
        self.assertEqual(self.transport.next(schema.TXN).timeout, 3.0)
        self.transport.next(schema.TXN).reply(self.NO)
        error = self.failureResultOf(submitted, Failed).value
        self.assertEqual((error.header, error.responses), (header(9), self.NO.responses))
        self.assertEqual(str(error), f"KV.Txn at {URL}: the comparison did not hold")

    def test_when(self) -> None:
        """The fluent way."""
        builder = self.client.when(*self.TXN.compare).then(*self.TXN.success).otherwise(*self.TXN.failure)
        self.sends(builder.transact(), schema.TXN, self.TXN, self.NO)
        self.sends(builder.submit(4.0), schema.TXN, self.TXN, self.YES)
        self.assertEqual(self.transport.calls[-1].timeout, 4.0)
        self.assertRaises(TypeError, self.client.when, b"k")

    def test_idempotent(self) -> None:
        """Only then it is sent again when its answer was lost, whichever way it was made."""
        client = fake_client(self.clock, self.transport, policy=Backoff())
        builder = client.when(*self.TXN.compare).then(*self.TXN.success).otherwise(*self.TXN.failure)
        direct = (partial(client.transact, self.TXN), partial(client.submit, self.TXN))
        for call in (*direct, builder.transact, builder.submit):
            answered = call(idempotent=True)
            for answer in (Unavailable(None, "lost"), self.YES):
                self.transport.next(schema.TXN).reply(answer)
                self.clock.advance(0.1)
            self.successResultOf(answered)
            answered = call()
            self.transport.next(schema.TXN).reply(OutcomeUnknown(None, "lost"))
            self.failureResultOf(answered, OutcomeUnknown)

    def test_create(self) -> None:
        """Only if it does not exist."""
        txn = Transaction([CompCreated(b"k", "==", 0)], [OpSet(b"k", b"v", 7)], [OpGet(b"k")])
        done = self.sends(self.client.create(b"k", b"v", 7), schema.TXN, txn, self.YES)
        self.assertEqual(done, Revision(header(9)))
        for answers, current in (([Range([KV])], KV), ([Range([])], None)):
            created = self.client.create(b"k", b"v")
            self.transport.next(schema.TXN).reply(Outcome(False, header(9), answers))
            error = self.failureResultOf(created, AlreadyExists).value
            self.assertEqual((error.current, error.header), (current, header(9)))
            self.assertEqual(str(error), f"KV.Txn at {URL}: b'k' exists already")

    def test_replace(self) -> None:
        """Only if it is as it was."""
        for old, comp in (
            (KV, CompModified(b"key", "==", 6)),
            (Event("PUT", KV), CompModified(b"key", "==", 6)),
        ):
            txn = Transaction([comp], [OpSet(b"key", b"new", 7)], [OpGet(b"key")])
            done = self.sends(self.client.replace(old, b"new", lease=7), schema.TXN, txn, self.YES)
            self.assertEqual(done, Revision(header(9)))
        txn = Transaction(
            [CompValue(b"k", "==", b"old")], [OpSet(b"k", b"new", ignore_lease=True)], [OpGet(b"k")]
        )
        self.sends(self.client.replace(b"k", b"new", b"old", ignore_lease=True), schema.TXN, txn, self.YES)
        replaced = self.client.replace(KV, b"new", timeout=3.0)
        self.assertEqual(self.transport.next(schema.TXN).timeout, 3.0)
        self.transport.next(schema.TXN).reply(self.NO)
        error = self.failureResultOf(replaced, CompareFailed).value
        self.assertIs(type(error), CompareFailed)
        self.assertEqual(error.current, KV)
        self.assertIn("b'key' is not as it was expected", str(error))


class IterateTests(ClientCase):
    """Page by page."""

    def page(self, *keys: bytes, more: bool = True, revision: int = 40) -> None:
        kvs = [KeyValue(key, b"", 1, 2, 3) for key in keys]
        self.transport.next(schema.RANGE).reply(Range(kvs, header(revision), 99, more))

    async def keys(self, *arguments: Any, **options: Any) -> list[bytes]:
        return [kv.key async for kv in self.client.iterate(*arguments, **options)]

    def test_pages(self) -> None:
        """All of one revision, that of the first page; each begins behind the last key."""
        keys = run(self.keys(KeySet(b"a", prefix=True), 2, keys_only=True, serializable=True, timeout=3.0))
        self.page(b"a1", b"a2")
        self.page(b"a3", b"a4", revision=44)
        self.page(b"a5", more=False, revision=45)
        self.assertEqual(self.successResultOf(keys), [b"a1", b"a2", b"a3", b"a4", b"a5"])
        self.assertEqual(
            [(call.request.key, call.request.revision) for call in self.transport.calls],
            [
                (KeySet(b"a", prefix=True), 0),
                (KeySet(b"a2\x00", b"b"), 40),
                (KeySet(b"a4\x00", b"b"), 40),
            ],
        )
        for call in self.transport.calls:
            request = call.request
            self.assertEqual((request.limit, request.keys_only, request.serializable), (2, True, True))
            self.assertEqual(call.timeout, 3.0)

    def test_everything(self) -> None:
        """All keys; at a revision of the caller's."""
        keys = run(self.keys(KeySet.all(), revision=7))
        self.page(b"a", b"\xff")
        self.page(more=False)
        self.assertEqual(self.successResultOf(keys), [b"a", b"\xff"])
        first, second = (call.request for call in self.transport.calls)
        self.assertEqual((first.key, first.revision, first.limit), (KeySet.all(), 7, 1000))
        self.assertEqual((second.key, second.revision), (KeySet(b"\xff\x00", b"\x00"), 7))

    def test_one_key(self) -> None:
        """A key is a set of one."""
        keys = run(self.keys(b"a"))
        self.page(b"a", more=False)
        self.assertEqual(self.successResultOf(keys), [b"a"])

    def test_nothing(self) -> None:
        """An empty set."""
        keys = run(self.keys(b"a"))
        self.page(more=False)
        self.assertEqual(self.successResultOf(keys), [])

    def test_failure(self) -> None:
        """Compacted away while it is under way."""
        keys = run(self.keys(KeySet.all(), 1))
        self.page(b"a")
        self.transport.next(schema.RANGE).reply(Compacted(11, "compacted"))
        self.failureResultOf(keys, Compacted)

    def test_cancel(self) -> None:
        """Cancelled while a page is under way."""
        keys = run(self.keys(KeySet.all(), 1))
        self.cancelled(keys)
        self.assertTrue(self.transport.calls[0].is_cancelled)

    def test_misuse(self) -> None:
        """Raised at once."""
        iterate = self.client.iterate
        for call, wanted in (
            (lambda: iterate("a"), TypeError),  # type: ignore[arg-type]  # that is the test
            (lambda: iterate(b""), ValueError),
            (lambda: iterate(b"a", 0), ValueError),
            (lambda: iterate(b"a", 2.0), TypeError),  # type: ignore[arg-type]  # that is the test
            (lambda: iterate(b"a", revision=-1), ValueError),
            (lambda: iterate(b"a", keys_only=1), TypeError),  # type: ignore[arg-type]  # that is the test
            (lambda: iterate(b"a", serializable="yes"), TypeError),  # type: ignore[arg-type]  # that is the test
        ):
            self.assertRaises(wanted, call)

    def test_timeout_that_is_none(self) -> None:
        """So is a timeout that is none."""
        self.assertRaises(ValueError, self.client.iterate, b"a", timeout=float("nan"))
        self.assertRaises(TypeError, self.client.iterate, b"a", timeout="5")


class WaitForTests(ClientCase):
    """Waiting for a key."""

    def look(self, *kvs: KeyValue, revision: int = 20) -> None:
        self.transport.next(schema.RANGE).reply(Range(list(kvs), header(revision), len(kvs)))

    def event(self, value: bytes, revision: int) -> WatchResponse:
        return WatchResponse(header(revision), events=[Event("PUT", KeyValue(b"key", value, 1, 5, revision))])

    def test_there(self) -> None:
        """It is as wanted already: nothing is watched."""
        waiting = self.client.wait_for(b"key")
        self.assertEqual(self.transport.next(schema.RANGE).request, OpGet(b"key"))
        self.look(KV)
        self.assertEqual(self.successResultOf(waiting), KV)
        self.assertEqual(self.transport.streams, [])

    def test_without_a_gap(self) -> None:
        """The watch begins behind the revision that was looked at."""
        waiting = self.client.wait_for(b"key", lambda kv: kv.value == b"wanted")
        self.look(KV, revision=20)
        (stream,) = self.transport.live
        self.assertEqual(stream.request, WatchCreateRequest(KeySet(b"key"), 21, filters=("NODELETE",), fragment=True))
        stream.say(WatchResponse(header(30), created=True))
        stream.say(self.event(b"other", 21))
        self.assertNoResult(waiting)
        stream.say(self.event(b"wanted", 22), self.event(b"wanted", 23))
        self.assertEqual(self.successResultOf(waiting).mod_revision, 22)
        self.assertEqual(self.transport.live, [])

    def test_watch_lost(self) -> None:
        """It goes on by itself, from where it was."""
        waiting = self.client.wait_for(b"key")
        self.look(revision=20)
        for error in (Unavailable(None, "lost"), NoLeader(14, "no leader"), None):
            (stream,) = self.transport.live
            self.assertEqual(stream.request.start_revision, 21)
            stream.say(WatchResponse(header(30), created=True))
            stream.end(error)
            self.clock.advance(1)
            self.transport.asked()
        (stream,) = self.transport.live
        stream.say(WatchResponse(header(30), created=True), self.event(b"wanted", 31))
        self.assertEqual(self.successResultOf(waiting).mod_revision, 31)

    def test_compacted(self) -> None:
        """It looks again, and an outage meanwhile is waited out."""
        waiting = self.client.wait_for(b"key")
        self.look(revision=20)
        (stream,) = self.transport.live
        stream.say(WatchResponse(header(30), created=True), WatchResponse(canceled=True, compact_revision=25))
        for error in (Unavailable(None, "refused"), NoLeader(14, "no leader"), Timeout("no answer")):
            self.transport.next(schema.RANGE).reply(error)
            self.transport.asked()
            self.clock.advance(ASK_AGAIN)
        self.assertNoResult(waiting)
        self.look(KV)
        self.assertEqual(self.successResultOf(waiting), KV)

    def test_unreachable(self) -> None:
        """But a server that was never reached is an error, as is what it refuses later on."""
        waiting = self.client.wait_for(b"key")
        self.transport.next(schema.RANGE).reply(Unavailable(None, "refused"))
        self.failureResultOf(waiting, Unavailable)
        waiting = self.client.wait_for(b"key")
        self.look()
        self.transport.live[0].say(WatchResponse(canceled=True, compact_revision=25))
        self.transport.next(schema.RANGE).reply(PermissionDenied(7, "permission denied"))
        self.failureResultOf(waiting, PermissionDenied)

    def test_watch_refused(self) -> None:
        """It cannot be watched."""
        waiting = self.client.wait_for(b"key")
        self.look()
        self.transport.live[0].end(PermissionDenied(7, "permission denied"))
        self.failureResultOf(waiting, PermissionDenied)

    def test_predicate_raises(self) -> None:
        """What the predicate raises is what it fails with, while looking or watching."""
        waiting = self.client.wait_for(b"key", lambda kv: 1 // 0 > 0)
        self.look(KV)
        self.failureResultOf(waiting, ZeroDivisionError)
        waiting = self.client.wait_for(b"key", lambda kv: 1 // 0 > 0)
        self.look()
        (stream,) = self.transport.live
        stream.say(WatchResponse(header(30), created=True), self.event(b"new", 31))
        self.failureResultOf(waiting, ZeroDivisionError)
        self.assertTrue(stream.is_aborted)

    def test_cancel_and_timeout(self) -> None:
        """While looking, while the watch starts, while it waits, while it waits to look again."""
        steps: list[Any] = [
            lambda: None,
            self.look,
            lambda: self.transport.live[0].say(WatchResponse(header(30), created=True)),
            lambda: self.transport.live[0].end(),
        ]
        for reached in range(len(steps)):
            for is_cancelled in (True, False):
                waiting = self.client.wait_for(b"key", timeout=5.0)
                for step in steps[: reached + 1]:
                    step()
                if is_cancelled:
                    self.cancelled(waiting)
                elif reached < 3:
                    self.clock.advance(5)
                    error = self.failureResultOf(waiting, Timeout).value
                    self.assertEqual(str(error), f"at {URL}: b'key' was not as wanted within 5 seconds")
                else:
                    self.cancelled(waiting)
                self.assertEqual(self.transport.live, [])
                self.transport.asked()
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed(self) -> None:
        """The client is closed while it looks, watches, or waits to look again: it fails at once."""
        steps: list[Any] = [
            lambda: None,
            self.look,
            lambda: self.transport.live[0].say(WatchResponse(header(30), created=True)),
            lambda: self.transport.live[0].end(),
        ]
        for reached in range(len(steps)):
            self.transport = FakeTransport(self.clock)
            self.client = fake_client(self.clock, self.transport)
            waiting = self.client.wait_for(b"key")
            for step in steps[: reached + 1]:
                step()
            self.client.close()
            self.assertEqual(self.failureResultOf(waiting, Closed).value.endpoint, URL)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_misuse(self) -> None:
        """Raised at once."""
        self.assertRaises(TypeError, self.client.wait_for, "key")
        self.assertRaises(ValueError, self.client.wait_for, b"")
        self.assertRaises(ValueError, self.client.wait_for, b"key", timeout=0)
        self.assertEqual(self.transport.calls, [])

    def test_predicate_that_does_not_tell(self) -> None:
        """What a predicate tells later would be taken for yes."""

        async def later(kv: KeyValue) -> bool:
            return False

        for predicate in (later, lambda kv: succeed(False)):
            waiting = self.client.wait_for(b"key", predicate)  # type: ignore[arg-type]  # that is the test
            self.look(KV)
            error = self.failureResultOf(waiting, TypeError).value
            self.assertEqual(str(error), "predicate must tell at once, and not return a Deferred or a coroutine")

    def test_predicate_that_is_none(self) -> None:
        """A predicate that cannot be called is misuse as well."""
        try:
            waiting = self.client.wait_for(b"key", b"value")  # type: ignore[arg-type]  # that is the test
        except TypeError:
            return
        self.cancelled(waiting)
        self.fail("it was not raised at once")


class WatchTests(ClientCase):
    """Watches, as the client makes them."""

    def test_watch(self) -> None:
        """The options, by position as well; a list of keys, or one."""
        seen: list[bytes] = []
        watching = self.client.watch(
            [b"a", KeySet(b"b/", prefix=True)], lambda event: seen.append(event.key), ["NODELETE"], 7, True,
            progress_notify=True,
        )  # fmt: skip
        self.assertEqual(
            [stream.request for stream in self.transport.live],
            [
                WatchCreateRequest(KeySet(b"a"), 7, True, ("NODELETE",), True, fragment=True),
                WatchCreateRequest(KeySet(b"b/", prefix=True), 7, True, ("NODELETE",), True, fragment=True),
            ],
        )
        self.transport.live[0].say(WatchResponse(created=True))
        self.transport.live[0].say(WatchResponse(events=[Event("PUT", KeyValue(b"key", mod_revision=8))]))
        self.assertEqual(seen, [b"key"])
        watching.cancel()
        self.assertIsNone(self.successResultOf(watching))
        self.assertEqual(self.transport.live, [])

    def test_watcher(self) -> None:
        """The start has the client's time limit."""
        client = fake_client(self.clock, self.transport, 3.0)
        watch = client.watcher(b"a")
        self.assertIsInstance(watch, Watch)
        started = watch.when_started()
        self.clock.advance(3)
        self.failureResultOf(started, Timeout)
        watch.stop()

    def test_lock(self) -> None:
        """A lock is not the only one with its name."""
        locking = self.client.lock(b"name", 5.0)
        self.transport.next(schema.LEASE_GRANT).reply(Unavailable(None, "refused"))
        self.failureResultOf(locking, Unavailable)
        self.assertEqual(repr(Lock(self.client, b"name")), "<Lock b'name' FREE>")


class LifeTests(ClientCase):
    """Making and closing a client."""

    def test_without_a_reactor(self) -> None:
        """The reactor forgotten, the URL stands in its place."""
        for reactor in ("http://localhost:2379", None, object(), Clock):
            error = self.assertRaises(TypeError, Client, reactor)
            self.assertIn("reactor must be a Twisted reactor, not ", str(error))

    def test_close(self) -> None:
        """What is under way ends with Closed; each verb fails so from then on, and sends nothing."""
        flying = self.client.get(b"k")
        self.successResultOf(self.client.close())
        self.failureResultOf(flying, Closed)
        sent = len(self.transport.calls)
        client = self.client

        async def first_page() -> Any:
            return [kv async for kv in client.iterate(b"k")]

        async def first_event() -> Any:
            return await client.watcher(b"k").when_started()

        txn = Transaction([], [OpGet(b"k")])
        verbs = (
            lambda: client.status(),
            lambda: client.set(b"k", b"v"),
            lambda: client.get(b"k"),
            lambda: client.delete(b"k"),
            lambda: client.submit(txn),
            lambda: client.transact(txn),
            lambda: client.when().then().submit(),
            lambda: client.create(b"k", b"v"),
            lambda: client.replace(b"k", b"v", b"w"),
            lambda: client.wait_for(b"k"),
            lambda: client.compact(5),
            lambda: client.lease(10),
            lambda: client.leases(),
            lambda: client.lock(b"name"),
            lambda: run(first_page()),
            lambda: run(first_event()),
        )
        for verb in verbs:
            self.failureResultOf(verb(), Closed)
        self.assertEqual(len(self.transport.calls), sent)
        self.assertEqual(self.transport.streams, [])
        self.assertIn(" CLOSED ", repr(client))

    def test_watch_of_a_closed_client(self) -> None:
        """A watch of a client that is closed fails, too: nothing was ever watched."""
        self.client.close()
        self.failureResultOf(self.client.watch(b"k", print), Closed)

    def test_context(self) -> None:
        """``async with`` closes it, however the block is left."""

        async def block(error: Optional[Exception]) -> None:
            async with self.client as client:
                self.assertIs(client, self.client)
                if error is not None:
                    raise error

        self.failureResultOf(run(block(ZeroDivisionError())), ZeroDivisionError)
        self.assertTrue(self.transport.is_closed)
        self.successResultOf(run(block(None)))

    def test_repr(self) -> None:
        """Where, how many connections, how many calls."""
        self.assertEqual(repr(self.client), f"<Client {URL} connections=0 calls=0>")
        waiting, watch = self.client.get(b"k"), self.client.watcher(b"k")
        self.assertEqual(repr(self.client), f"<Client {URL} connections=1 calls=1>")
        self.cancelled(waiting)
        watch.stop()

    def test_url(self) -> None:
        """The URL: given, of the environment, or the default."""
        clock = Clock()
        with patch.dict(os.environ):
            os.environ.pop("ETCD_URL", None)
            self.assertEqual(Client(clock).endpoints, ("http://localhost:2379",))
            os.environ["ETCD_URL"] = ""
            self.assertEqual(Client(clock).endpoints, ("http://localhost:2379",))
            os.environ["ETCD_URL"] = "https://etcd.example:4001/"
            self.assertEqual(Client(clock).endpoints, ("https://etcd.example:4001",))
            self.assertEqual(Client(clock, "http://other.example").endpoints, ("http://other.example",))
            os.environ["ETCD_URL"] = "http://a:1,http://b:2"
            self.assertEqual(sorted(Client(clock).endpoints), ["http://a:1", "http://b:2"])
            os.environ["ETCD_URL"] = "etcd.example:4001"
            error = self.assertRaises(ValueError, Client, clock)
            self.assertIn("$ETCD_URL", str(error))

    def test_real_gateway(self) -> None:
        """A client asks through the gateway; it has the timeouts that it was given."""
        clock = Reactor()
        network = Network(clock)
        client = Client(clock, URL, None, 7.0, 3.0)
        pending = client.get(b"key")
        self.assertEqual(clock.tcpClients[0][3], 3.0)
        wire = network.accept()
        self.assertEqual(repr(client), f"<Client {URL} connections=1 calls=1>")
        wire.answer({"header": {"revision": "7"}})
        self.assertEqual(self.successResultOf(pending).header.revision, 7)
        pending = client.get(b"key")
        clock.advance(7)
        self.failureResultOf(pending, Timeout)
        closed = client.close()
        clock.advance(0)
        self.successResultOf(closed)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_cancel_close(self) -> None:
        """Closing may be cancelled; then everything ends at once."""
        granting = self.client.lease(10)
        closed = self.client.close()
        closed.cancel()
        self.failureResultOf(granting, Closed)
        closed.addErrback(lambda failure: failure.trap(CancelledError))
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(closed))
        self.assertRaises(Error, self.failureResultOf(self.client.get(b"k")).raiseException)
