"""
Double barriers, on every server: all begin together, and end together, again and again.
"""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from test.real.base import RealCase, on_every_server_at_length
from test.real.test_cluster import ClusterCase
from txetcd import DoubleBarrier, Session
from txetcd.errors import SessionExpired, TooManyClients

COUNT = 5


class MeetingCase(RealCase):
    """Several who meet."""

    def barriers(self: Any, count: int, *clients: Any) -> list[DoubleBarrier]:
        some = clients or [self.client() for _ in range(count)]
        return [DoubleBarrier(some[number % len(some)], self.key(b"work"), count) for number in range(count)]

    async def entered(self: Any, *barriers: DoubleBarrier) -> None:
        await self.soon(gatherResults([barrier.enter() for barrier in barriers]))

    async def meet(self: Any, *barriers: DoubleBarrier) -> None:
        """All but one wait for the one, in both directions."""
        *others, last = barriers
        for step in (DoubleBarrier.enter, DoubleBarrier.leave):
            stepping: list[Deferred[Any]] = [step(barrier) for barrier in others]
            await deferLater(self.reactor, 0.1)
            self.assertFalse(any(one.called for one in stepping))
            await self.soon(gatherResults([*stepping, step(last)]))

    async def keys_left(self: Any) -> list[bytes]:
        return [kv.key for kv in (await self.etcd.get(self.keys())).kvs]


@on_every_server_at_length()
class Meeting(MeetingCase):
    """The scenarios of etcd's own tests, by their names, and what else there is."""

    async def test_double_barrier(self: Any) -> None:
        """DoubleBarrier: they wait for the last one, to begin and to end."""
        leases = await self.etcd.leases()
        await self.meet(*self.barriers(COUNT))
        self.assertEqual(await self.keys_left(), [])
        await self.assert_no_new_leases(leases)

    async def test_double_barrier_too_many_clients(self: Any) -> None:
        """DoubleBarrierTooManyClients: one too many is refused, and leaves no key."""
        barriers = self.barriers(COUNT)
        await self.entered(*barriers)
        keys = await self.keys_left()
        await self.assertFailure(DoubleBarrier(self.client(), self.key(b"work"), COUNT).enter(), TooManyClients)
        self.assertEqual(await self.keys_left(), keys)
        await self.soon(gatherResults([barrier.leave() for barrier in barriers]))

    async def test_double_barrier_failover(self: Any) -> None:
        """DoubleBarrierFailover: whoever is revoked does not make the others wait."""
        *others, last = self.barriers(3)
        session = await Session(self.client(), 60).start()
        dying = DoubleBarrier(self.etcd, self.key(b"work"), 3, session=session)
        await self.entered(*others, dying)
        leaving = [barrier.leave() for barrier in others]
        await deferLater(self.reactor, 0.1)
        self.assertFalse(any(one.called for one in leaving))
        await session.close()
        await self.soon(gatherResults(leaving))
        await self.assertFailure(dying.leave(), SessionExpired)
        self.assertEqual(await self.keys_left(), [])

    async def test_too_many_at_once(self: Any) -> None:
        entering = [barrier.enter() for barrier in self.barriers(COUNT)]
        entering += [DoubleBarrier(self.client(), self.key(b"work"), COUNT).enter() for _ in range(3)]
        results = await self.soon(gatherResults([one.addErrback(lambda failure: failure.value) for one in entering]))
        self.assertEqual(sum(isinstance(result, DoubleBarrier) for result in results), COUNT)

    async def test_round_after_round(self: Any) -> None:
        """Of many who enter anew at once; nobody ever waits for a round that is not his."""
        within = 0

        async def worker(barrier: DoubleBarrier) -> None:
            nonlocal within
            for _ in range(10):
                await barrier.enter()
                within += 1
                await deferLater(self.reactor, random.random() * 0.02)
                self.assertLessEqual(within, COUNT)
                within -= 1
                await barrier.leave()

        await self.soon(gatherResults([Deferred.fromCoroutine(worker(one)) for one in self.barriers(COUNT)]))
        self.assertEqual(await self.keys_left(), [])

    async def test_cancelled(self: Any) -> None:
        """Nothing is left, and nobody waits for who has given up."""
        leases = await self.etcd.leases()
        one, *others = self.barriers(3)
        entering = one.enter()
        await self.until(self.keys_left)
        entering.cancel()
        await self.assertFailure(entering, CancelledError)

        async def is_gone() -> bool:
            return not await self.keys_left() and bool(await self.has_no_new_lease(leases))

        await self.until(is_gone)
        await self.meet(one, *others)


@on_every_server_at_length()
class MultiNode(ClusterCase, MeetingCase):
    async def test_double_barrier_multi_node(self: Any) -> None:
        """At different members."""
        self.addCleanup(self.etcd.delete, self.keys())
        clients = [self.client(url) for url in self.urls_of(self.cluster)]
        await self.meet(*self.barriers(COUNT, *clients))
        self.assertEqual(await self.keys_left(), [])
