"""
Writes under fire: connections are cut at random, and what each write was told is true. On every server.

Each write has a key, or a lease, of its own; when all have been told what came of them, the server is asked what there
is. ``$TXETCD_TEST_WRITES`` are made at once (2,000 is a long run), once for each of ``$TXETCD_TEST_SEEDS`` seeds (ten
then). How many were told what is in the log.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random
from typing import Any, Callable, Optional

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from test.real.base import NATIVE, RealCase, on_every_server_at_length
from txetcd import Backoff, Client, Error, OpSet, Transaction
from txetcd import _schema as schema
from txetcd._gateway import MAX_CONCURRENT
from txetcd._messages import LeaseRevokeRequest
from txetcd.testing import FaultyProxy

WRITES = int(os.environ.get("TXETCD_TEST_WRITES", "300"))
SEEDS = int(os.environ.get("TXETCD_TEST_SEEDS", "2"))

CALLERS = MAX_CONCURRENT
"""How many write at a time where there is one connection for all."""

CUTS = ("cut_request", "cut_answer", "cut_line", "half_close")
"""What ends a connection."""

_log = Logger()


@attrs.define
class Write:
    """
    A write.

    :ivar verb: which one.
    :ivar key: its key.
    :ivar lease_id: its lease, if it grants one.
    :ivar told: what its caller was told: ``"done"``, ``"unknown"``, ``"not sent"`` or ``"refused"``.
    :ivar words: how.
    """

    verb: str
    key: bytes
    lease_id: int
    told: str = ""
    words: str = ""

    @property
    def other_key(self) -> bytes:
        """The second key of a transaction."""
        return self.key + b"/2"

    def ask(self, etcd: Client, **options: Any) -> Deferred[Any]:
        """Writes."""
        ask: Callable[..., Deferred[Any]] = getattr(self, "_" + self.verb)
        return ask(etcd, **options).addCallbacks(self._done, self._failed)

    def _set(self, etcd: Client, **options: Any) -> Deferred[Any]:
        return etcd.set(self.key, self.key, **options)

    def _transact(self, etcd: Client, **options: Any) -> Deferred[Any]:
        return etcd.transact(Transaction([], [OpSet(self.key, b""), OpSet(self.other_key, b"")]), **options)

    def _create(self, etcd: Client, **options: Any) -> Deferred[Any]:
        return etcd.create(self.key, b"", **options)

    def _delete(self, etcd: Client, **options: Any) -> Deferred[Any]:
        return etcd.delete(self.key, **options)

    def _grant(self, etcd: Client, **options: Any) -> Deferred[Any]:
        return etcd.lease(600, self.lease_id, **options)

    def _done(self, result: Any) -> None:
        self.told = "done"
        # what another attempt has deleted before is not there any more
        self.words = f"deleted={result.deleted}" if self.verb == "delete" else ""

    def _failed(self, failure: Failure) -> None:
        failure.trap(Error)
        error: Any = failure.value
        if error.maybe_applied:
            self.told = "unknown"
        else:
            self.told = "not sent" if error.code is None else "refused"
        self.words = f"{type(error).__name__}: {error}"


@attrs.define
class Found:
    """
    What the server has.

    :ivar versions: of the keys that there are.
    :ivar leases: the ids of those that there are.
    """

    versions: dict[bytes, int]
    leases: set[int]

    def times(self, write: Write) -> int:
        """How often it has happened; what it did, it must have done as a whole."""
        version = self.versions.get(write.key, 0)
        if write.verb == "grant":
            return int(write.lease_id in self.leases)
        if write.verb == "delete":
            return 1 - version
        if write.verb == "transact" and self.versions.get(write.other_key, 0) != version:
            return -1
        return version


AT_MOST_ONCE = {"done": range(1, 2), "unknown": range(2), "not sent": range(1)}
"""How often a write may have happened, by what its caller was told. None is refused: they are all as they should be."""

AT_LEAST_ONCE = {"done": range(1, 1000), "unknown": range(1000), "not sent": range(1)}
"""The same for one that may be sent twice."""


class _Fire(RealCase):
    timeout = 300 + WRITES * SEEDS // 20

    async def prepare(self: Any, seed: int, verbs: tuple[str, ...]) -> list[Write]:
        """The writes of one seed; what they delete is there."""
        numbers = range(WRITES)
        keys = [self.key(b"%d/%06d" % (seed, number)) for number in numbers]
        leases = range(1_000_000 * (seed + 1), 1_000_000 * (seed + 2))
        writes = [Write(verbs[number % len(verbs)], keys[number], leases[number]) for number in numbers]
        there = [OpSet(write.key, b"") for write in writes if write.verb == "delete"]
        for first in range(0, len(there), 100):
            await self.etcd.submit(Transaction(success=there[first : first + 100]))
        return writes

    async def found(self: Any, seed: int) -> Found:
        """What the server has of the writes of a seed; it is asked directly, and all is taken away then."""
        keys = self.keys(b"%d/" % seed)
        versions = {kv.key: kv.version for kv in (await self.etcd.get(keys, timeout=60)).kvs}
        leases = {lease for lease in await self.etcd.leases() if lease // 1_000_000 == seed + 1}
        await self.etcd.delete(keys)
        revoke = (self.etcd._calls.call(schema.LEASE_REVOKE, LeaseRevokeRequest(lease)) for lease in leases)
        await gatherResults(list(revoke), consumeErrors=True)
        return Found(versions, leases)

    def assert_true(self: Any, writes: list[Write], found: Found, allowed: dict[str, range]) -> None:
        """All were told something, and that is true of each."""
        wrong = [
            f"{write}: {found.times(write)} times"
            for write in writes
            if found.times(write) not in allowed.get(write.told, ()) or write.words == "deleted=0"
        ]
        self.assertEqual(wrong, [])

    async def assert_sound(self: Any, etcd: Client) -> None:
        """No place for a call was lost."""
        await self.soon(gatherResults([etcd.get(self.key(b"")) for _ in range(2 * MAX_CONCURRENT)]))
        self.assertLessEqual(etcd.stats().connections, self.by_transport(MAX_CONCURRENT, 1))
        self.assertEqual(etcd.stats().in_flight, 0)

    async def under_fire(
        self: Any,
        verbs: tuple[str, ...],
        rate: float,
        kinds: Optional[tuple[str, ...]] = None,
        timeouts: tuple[float, ...] = (60.0,),
        allowed: dict[str, range] = AT_MOST_ONCE,
        at_once: bool = False,
        first_seed: int = 0,
        **options: Any,
    ) -> Counter[str]:
        """
        All writes, for each seed, with faults at random.

        :param timeouts: of which each write has one, by chance.
        :param at_once: do not spare those that share a connection, and are lost together with it.
        :param first_seed: those that follow it are the others.
        :returns: how many were told what.
        """
        told: Counter[str] = Counter()
        side_by_side = WRITES if at_once else self.by_transport(WRITES, CALLERS)
        for seed in range(first_seed, first_seed + SEEDS):
            writes = await self.prepare(seed, verbs)
            async with FaultyProxy(self.reactor, self.url, seed=seed) as proxy:
                etcd = self.client(proxy.url, retry=Backoff())
                proxy.misbehave(rate, kinds) if kinds else proxy.misbehave(rate)
                random = Random(seed)
                turns = DeferredSemaphore(side_by_side)
                asked = [
                    turns.run(write.ask, etcd, timeout=random.choice(timeouts), **options) for write in writes
                ]
                self.assertEqual(etcd.stats().in_flight, min(WRITES, side_by_side))
                await self.outage(proxy, writes)
                await gatherResults(asked, consumeErrors=True)
                self.report(seed, proxy, etcd, writes)
                proxy.behave()
                await self.assert_sound(etcd)
                await etcd.close()
            self.assert_true(writes, await self.found(seed), allowed)
            told.update(write.told for write in writes)
        return told

    async def outage(self: Any, proxy: FaultyProxy, writes: list[Write]) -> None:
        """When a third of the writes is over, all connections break, and for a moment no other can be had."""
        await self.until(lambda: sum(write.told != "" for write in writes) >= WRITES // 3)
        await proxy.refuse()
        proxy.drop("reset")
        await deferLater(self.reactor, 0.2)
        await proxy.accept()

    def report(self: Any, seed: int, proxy: FaultyProxy, etcd: Client, writes: list[Write]) -> None:
        """Writes down what came of one seed."""
        told = Counter(write.told for write in writes)
        words = Counter(write.words.partition(":")[0] for write in writes if write.told not in ("", "done"))
        retries = sum(call.retries for call in etcd.stats().calls.values())
        _log.info(
            "{test}, etcd {version}, seed {seed}: {told}; {words}; {retries} retries; {accepted} connections; {faults}",
            test=self._testMethodName,
            version=self.server.label,
            seed=seed,
            told=dict(told),
            words=dict(words),
            retries=retries,
            accepted=proxy.accepted,
            faults=proxy.faults,
        )


@on_every_server_at_length()
class Fire(_Fire):
    """Writes under fire."""

    async def test_at_most_once(self: Any) -> None:
        """
        With the default policy nothing happens twice; what is done is there, what was not sent is not, and everything
        else is said to be unknown.
        """
        verbs = ("set", "transact", "set", "create", "set", "delete", "set", "grant")
        told = await self.under_fire(verbs, 0.1, CUTS)
        self.assertGreater(told["done"], told["unknown"])
        self.assertGreater(told["unknown"], 0)

    async def test_short_deadlines(self: Any) -> None:
        """What is delayed or swallowed past its deadline says so as well, and what never had its turn was not sent."""
        verbs = ("set", "transact", "create", "delete", "grant")
        told = await self.under_fire(verbs, 0.1, timeouts=(0.05, 0.3, 1.0, 10.0))
        for fate in ("done", "unknown", "not sent"):
            self.assertGreater(told[fate], 0, told)

    async def test_idempotent(self: Any) -> None:
        """What may be sent twice is never lost, however often it happens."""
        verbs = ("set", "transact")
        told = await self.under_fire(verbs, 0.1, CUTS, allowed=AT_LEAST_ONCE, idempotent=True)
        self.assertGreater(told["done"], 0)


@on_every_server_at_length(schemes=[NATIVE])
class FireOnOne(_Fire):
    """All writes at once, on the only connection."""

    async def test_at_once(self: Any) -> None:
        """One cut is the end of hundreds: who was lost is in doubt, and nobody is told what is not true."""
        verbs = ("set", "transact", "create", "delete", "grant")
        told: Counter[str] = Counter()
        # whether a cut comes amid them, or is the end of all, chance decides
        for first_seed in range(0, 20 * SEEDS, SEEDS):
            told += await self.under_fire(verbs, 0.3, CUTS, at_once=True, first_seed=first_seed)
            if told["done"]:
                break
        self.assertGreater(told["done"], 0)
