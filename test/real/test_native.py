"""
What only etcd's native protocol has: answers in many messages, a connection for everything, and servers that say
goodbye.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase

from test.ports import free_ports
from test.real.base import NATIVE, QUICK, RealCase, chosen_schemes, on_every_server, sockets_to
from txetcd import Backoff, Client, Error, KeySet, KeyValue, OpGet, OpSet, OutcomeUnknown, Transaction, Unavailable
from txetcd import _messages as messages
from txetcd import _schema as schema
from txetcd.errors import Unimplemented
from txetcd.testing import EtcdProcess

COUNT = 300
"""Calls at a time."""


class Schemes(SynchronousTestCase):
    """Which transports are tested at all."""

    def test_chosen(self) -> None:
        for text, chosen in (
            ("", ["http", "grpc"]), ("http", ["http"]), ("grpc", ["grpc"]), ("in-turn", ["http", "grpc"]),
        ):  # fmt: skip
            self.assertEqual(chosen_schemes({"TXETCD_TEST_SCHEMES": text}), chosen)
        self.assertEqual(chosen_schemes({}), ["http", "grpc"])

    def test_unknown(self) -> None:
        error = self.assertRaises(LookupError, chosen_schemes, {"TXETCD_TEST_SCHEMES": "http,gprc"})
        self.assertEqual(str(error), "TXETCD_TEST_SCHEMES: no such scheme: 'gprc'; there are: http, grpc")


@on_every_server(schemes=[NATIVE])
class OneConnection(RealCase):
    """Everything goes over one connection to each endpoint, which is kept."""

    async def test_everything(self: Any) -> None:
        etcd = self.client()
        async with etcd.watcher(self.keys()) as watch, etcd.lease(60, keep_alive=True) as lease:
            await gatherResults([etcd.set(self.key(b"%d" % number), b"", lease=lease) for number in range(COUNT)])
            self.assertEqual(len([await watch.__anext__() for _ in range(COUNT)]), COUNT)
            # that of the fixture, which has asked nothing yet, is not there
            self.assertEqual((etcd.stats().connections, sockets_to(self.url)), (1, 1))
        self.assertEqual((await etcd.get(self.keys())).count, 0)
        self.assertEqual((etcd.stats().connections, sockets_to(self.url)), (1, 1))
        await etcd.close()
        self.assertEqual(sockets_to(self.url), 0)


@on_every_server(schemes=[NATIVE])
class RangeStreams(RealCase):
    """A range whose answer comes in parts (``RangeStream``), since 3.7."""

    def stream(self: Any) -> tuple[Any, list[KeyValue]]:
        """Of all keys of this test; the stream, and what has come."""
        kvs: list[KeyValue] = []

        def on_message(message: messages.RangeStreamResponse) -> None:
            self.parts += 1
            kvs.extend(message.range_response.kvs if message.range_response else ())

        return self.etcd._calls.stream(schema.RANGE_STREAM, OpGet(self.keys()), on_message), kvs

    async def test_range_stream(self: Any) -> None:
        self.parts = 0
        for number in range(10):
            sets = [OpSet(self.key(b"%02d/%02d" % (number, other)), bytes(10_000)) for other in range(100)]
            await self.etcd.submit(Transaction([], sets))
        stream, kvs = self.stream()
        if self.server.version < (3, 7):
            with self.assertRaises(Unimplemented) as caught:
                await self.soon(stream.ended)
            self.assertEqual((caught.exception.code, caught.exception.call), (12, "KV.RangeStream"))
            return
        await self.soon(stream.ended)
        self.assertEqual(kvs, (await self.etcd.get(self.keys())).kvs)
        self.assertGreater(self.parts, 1)

    async def test_aborted(self: Any) -> None:
        """In the middle of it, or before: the connection goes on."""
        self.parts = 0
        stream, _ = self.stream()
        stream.abort()
        await self.soon(stream.ended)
        await self.etcd.set(self.key(b"a"), b"")
        self.assertEqual(self.parts, 0)


@on_every_server(schemes=[NATIVE])
class Proxies(RealCase):
    """Through etcd's own proxy (``etcd grpc-proxy``), which has no gateway."""

    async def proxy(self: Any, target: str) -> str:
        """Starts one; where it is."""
        (port,) = free_ports(1)
        address = f"127.0.0.1:{port}"
        process = subprocess.Popen(
            [self.server.path, "grpc-proxy", "start", f"--endpoints={target.partition('://')[2]}",
             f"--listen-addr={address}", f"--advertise-client-url={address}", f"--data-dir={self.mktemp()}"],
            env={**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return f"http://{address}"

    async def test_everything(self: Any) -> None:
        etcd = self.client(await self.proxy(self.web), retry=Backoff(), timeout=30)
        await etcd.set(self.key(b"a"), b"1")
        async with etcd.lease(60) as lease, etcd.watcher(self.keys()) as watch, etcd.watcher(self.key(b"b")) as other:
            await lease.refresh()
            self.assertGreater(await lease.remaining(), 50)
            await etcd.set(self.key(b"b"), b"2", lease=lease)
            for one in (watch, other):
                event = await self.soon(one.__anext__())
                self.assertEqual((event.key, event.value), (self.key(b"b"), b"2"))
        async with etcd.lock(self.key(b"lock")) as lock:
            self.assertTrue(lock.is_held)
        self.assertEqual((await etcd.get(self.key(b"a"))).kvs[0].value, b"1")


@on_every_server(lambda server: server.version != (3, 5, 1), schemes=[NATIVE])
class Goodbyes(RealCase):
    """A server that stops while calls are under way says so; it can be told how many it serves, but not 3.5.1."""

    LIMIT = 4

    async def stopping(self: Any, *arguments: str) -> tuple[EtcdProcess, Client]:
        """A server that keeps its data when it stops, and a client."""
        process = await self.own_server([*QUICK, *arguments], data_dir=os.path.abspath(self.mktemp()))
        etcd = self.client(process.url)
        await etcd.get(b"a")
        return process, etcd

    async def locked(self: Any, process: EtcdProcess, etcd: Client) -> list[Deferred[Any]]:
        """As many calls as the server takes at a time: they wait for a lock that another client holds."""
        other = self.client(process.url)
        await other._calls.call(schema.LOCK, messages.LockRequest(b"lock"))
        waiting = [etcd._calls.call(schema.LOCK, messages.LockRequest(b"lock"), 60) for _ in range(self.LIMIT)]

        async def are_waiting() -> bool:
            return bool((await other.get(KeySet(b"lock/", prefix=True))).count == self.LIMIT + 1)

        await self.until(are_waiting)
        return waiting

    async def outcomes(self: Any, calls: list[Deferred[Any]]) -> Counter[str]:
        """How many were told what; what was not begun, or was answered, is in no doubt."""
        told: Counter[str] = Counter()
        for call in calls:
            try:
                await self.soon(call)
                told["done"] += 1
            except Error as error:
                self.assertEqual(type(error), OutcomeUnknown if error.maybe_applied else Unavailable, error)
                told["unknown" if error.maybe_applied else "not sent"] += 1
        return told

    async def test_not_begun(self: Any) -> None:
        """Of those that wait for their turn, none is in doubt; they are told at once, not when the server is gone."""
        process, etcd = await self.stopping(f"--max-concurrent-streams={self.LIMIT}")
        begun = await self.locked(process, etcd)
        sets = [etcd.set(b"%d" % number, b"", timeout=60) for number in range(COUNT)]
        restarting = process.restart()
        self.assertEqual(await self.outcomes(sets), {"not sent": COUNT})
        self.assertEqual(await self.outcomes(begun), {"unknown": self.LIMIT})
        await restarting
        found = (await etcd.get(KeySet.all())).kvs
        self.assertEqual([kv.key for kv in found if not kv.key.startswith(b"lock/")], [])

    async def test_begun(self: Any) -> None:
        """Those that the server has begun it answers before it goes, but 3.4, which closes the connection."""
        process, etcd = await self.stopping()
        sets = [etcd.set(b"%d" % number, b"") for number in range(COUNT)]
        await sets[0]
        os.kill(process.pid or 0, signal.SIGTERM)
        told = await self.outcomes(sets)
        await self.until(lambda: not process.is_running)
        await process.start()
        found = (await etcd.get(KeySet.all(), count_only=True)).count
        self.assertTrue(told["done"] <= found <= told["done"] + told["unknown"], (told, found))
        if self.server.version >= (3, 5):
            self.assertEqual(told["unknown"], 0)

    async def test_under_load(self: Any) -> None:
        """Callers that never rest: what was done is there, what was not sent is not."""
        process, etcd = await self.stopping()
        told: Counter[str] = Counter()
        is_over = False

        async def go_on(number: int) -> None:
            count = 0
            while not is_over:
                count += 1
                told.update(await self.outcomes([etcd.set(b"%d/%d" % (number, count), b"")]))

        going = [Deferred.fromCoroutine(go_on(number)) for number in range(16)]
        await self.until(lambda: told["done"] > COUNT)
        os.kill(process.pid or 0, signal.SIGTERM)
        await self.until(lambda: not process.is_running)
        is_over = True
        await self.soon(gatherResults(going, consumeErrors=True))
        await process.start()
        found = (await etcd.get(KeySet.all(), count_only=True)).count
        self.assertTrue(told["done"] <= found <= told["done"] + told["unknown"], (told, found))
