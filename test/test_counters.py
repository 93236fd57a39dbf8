"""
What is counted of calls.
"""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet.defer import Deferred

from test.fakes import Case, fake_client, fake_way
from txetcd import CallRecord, CallStats, Client, ClientStats
from txetcd import _schema as schema
from txetcd._backoff import Backoff
from txetcd._calls import Calls
from txetcd._counters import Counters
from txetcd._messages import Empty
from txetcd._transport import CallCancelled
from txetcd.errors import Closed, PermissionDenied, Unavailable
from txetcd.ops import OpGet, OpSet

A, B = "http://a", "http://b"
GET, PUT = OpGet(b"key"), OpSet(b"key", b"value")


class CounterTests(Case):
    """Each call, when it has ended."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[CallRecord] = []
        way = fake_way(self.clock, self.transport, A, B, policy=Backoff(0.5, 1.0))
        self.calls = Calls(way, None, Counters(self.told.append))

    def test_success(self) -> None:
        """How long it took, where, and after how many attempts."""
        answered = self.calls.call(schema.RANGE, GET)
        for _ in range(2):
            self.clock.advance(0.25)
            self.transport.next(schema.RANGE).reply(Unavailable(None, "lost"))
        self.assertEqual(self.told, [])
        self.clock.advance(0.5)
        self.transport.next(schema.RANGE).reply("the answer")
        self.successResultOf(answered)
        self.assertEqual(self.told, [CallRecord("KV.Range", A, "ok", 1.0, 2)])

    def test_failures(self) -> None:
        """By the class of the error."""
        refused = self.calls.call(schema.PUT, PUT)
        self.transport.next(schema.PUT).reply(PermissionDenied(7, "x"))
        self.failureResultOf(refused)
        self.cancelled(self.calls.call(schema.PUT, PUT))
        closed = self.calls.call(schema.PUT, PUT)
        self.calls.close()
        self.failureResultOf(closed)
        self.assertEqual([record.outcome for record in self.told], ["PermissionDenied", "CancelledError", "Closed"])
        failures = {"PermissionDenied": 1, "CancelledError": 1, "Closed": 1}
        self.assertEqual(self.calls.stats().calls, {"KV.Put": CallStats(3, 0, failures, 0.0)})

    def test_stats(self) -> None:
        """What is done now, as well; a copy, which does not change."""
        pending = self.calls.call(schema.RANGE, GET)
        stream = self.calls.stream(schema.SNAPSHOT, Empty(), print)
        before = self.calls.stats()
        self.assertEqual(before, ClientStats({}, 1, 1, 1, {A: True, B: True}))
        self.transport.next(schema.RANGE).reply(Unavailable(None, "lost"))
        self.assertEqual(self.calls.stats().endpoints, {A: False, B: True})
        self.cancelled(pending)
        stream.abort()
        self.successResultOf(stream.ended)
        self.assertEqual(self.calls.stats().streams, 0)
        self.assertEqual(before, ClientStats({}, 1, 1, 1, {A: True, B: True}))

    def test_who_is_told_fails(self) -> None:
        """That is logged, and harms no call."""
        self.calls = Calls(fake_way(self.clock, self.transport), None, Counters(lambda record: 1 // 0))
        answered = self.calls.call(schema.RANGE, GET)
        self.transport.next(schema.RANGE).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_who_is_told_raises_anything(self) -> None:
        """That goes for what is no ``Exception``, too, however the call ends."""

        def on_call(record: CallRecord) -> None:
            raise raised("by the hook")

        way = fake_way(self.clock, self.transport, A, B, policy=Backoff(0.5, 1.0))
        self.calls = Calls(way, None, Counters(on_call))
        kinds: list[Any] = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]
        for raised in kinds:
            answered, refused = self.calls.call(schema.RANGE, GET), self.calls.call(schema.PUT, PUT)
            self.transport.next(schema.RANGE).reply("the answer")
            self.assertEqual(self.successResultOf(answered), "the answer")
            self.transport.next(schema.PUT).reply(PermissionDenied(7, "x"))
            self.failureResultOf(refused, PermissionDenied)
            self.cancelled(self.calls.call(schema.PUT, PUT))
            self.assertEqual(len(self.flushLoggedErrors(raised)), 3)

    def cancelling(self) -> list[Deferred[Any]]:
        """Goes on with a hook that cancels all of these, again and again."""
        pending: list[Deferred[Any]] = []

        def on_call(record: CallRecord) -> None:
            self.told.append(record)
            for _ in range(2):
                for one in pending:
                    one.cancel()

        way = fake_way(self.clock, self.transport, A, B, policy=Backoff(0.5, 1.0))
        self.calls = Calls(way, None, Counters(on_call))
        return pending

    def put(self) -> Deferred[Any]:
        return self.calls.call(schema.PUT, PUT)

    def assert_told(self, *outcomes: str) -> None:
        self.assertEqual([record.outcome for record in self.told], list(outcomes))
        self.assertEqual(self.calls.in_flight, 0)
        self.told.clear()

    def test_who_is_told_cancels(self) -> None:
        """What has ended has its outcome: to cancel it then is too late, and ends only the others."""
        pending = self.cancelling()
        pending += (self.put(), self.put(), self.put())
        self.transport.waiting[1].reply("the answer")
        self.failureResultOf(pending[0], CallCancelled)
        self.assertEqual(self.successResultOf(pending[1]), "the answer")
        self.failureResultOf(pending[2], CallCancelled)
        self.assert_told("ok", "CancelledError", "CancelledError")

    def test_who_is_told_cancels_after_retries(self) -> None:
        """So it is after several attempts, and with what is no success."""
        pending = self.cancelling()
        pending[:] = [self.put()]
        self.transport.next(schema.PUT).reply(Unavailable(None, "not sent"))
        self.transport.next(schema.PUT).reply("the answer")
        self.assertEqual(self.successResultOf(pending[0]), "the answer")
        self.assert_told("ok")
        pending[:] = [self.put()]
        self.transport.next(schema.PUT).reply(PermissionDenied(7, "x"))
        self.failureResultOf(pending[0], PermissionDenied)
        self.assert_told("PermissionDenied")

    def test_who_is_told_cancels_what_was_cancelled(self) -> None:
        """It says still whether a write had been sent, and whether the client was closed: at once or later on."""
        for retries, is_sent in ((0, True), (1, True), (2, False)):
            for is_closed, kind in ((False, CallCancelled), (True, Closed)):
                pending = self.cancelling()
                pending.append(self.put())
                for _ in range(retries):
                    self.transport.next(schema.PUT).reply(Unavailable(None, "not sent"))
                if is_closed:
                    self.calls.close()
                else:
                    pending[0].cancel()
                self.assertIs(self.failureResultOf(pending[0], kind).value.maybe_applied, is_sent)
                self.assert_told("Closed" if is_closed else "CancelledError")

    def test_client(self) -> None:
        """As the client offers it."""
        client = fake_client(self.clock, self.transport)
        self.assertEqual(client.stats(), ClientStats({}, 0, 0, 0, {client.endpoints[0]: True}))
        error = self.assertRaises(TypeError, Client, self.clock, on_call=[])
        self.assertEqual(str(error), "on_call must be callable, not list")
