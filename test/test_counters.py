"""
What is counted of calls.
"""

from __future__ import annotations

import asyncio
from typing import Any

from test.fakes import Case, fake_client, fake_way
from txetcd import CallRecord, CallStats, Client, ClientStats
from txetcd import _schema as schema
from txetcd._backoff import Backoff
from txetcd._calls import Calls
from txetcd._counters import Counters
from txetcd._messages import Empty
from txetcd.errors import PermissionDenied, Unavailable
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

    def test_client(self) -> None:
        """As the client offers it."""
        client = fake_client(self.clock, self.transport)
        self.assertEqual(client.stats(), ClientStats({}, 0, 0, 0, {client.endpoints[0]: True}))
        error = self.assertRaises(TypeError, Client, self.clock, on_call=[])
        self.assertEqual(str(error), "on_call must be callable, not list")
