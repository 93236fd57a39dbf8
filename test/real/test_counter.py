"""
Counters and sequences, on every server: nothing is lost, added twice, or given out twice.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from test.real.base import RealCase, on_every_server_at_length
from test.real.test_faults import FaultCase
from txetcd import Backoff, Counter, Error, KeySet, Sequence
from txetcd._schema import TXN


class CounterCase(RealCase):
    """Numbers in keys."""

    async def start(self: Any) -> None:
        await super().start()
        self.name = self.key(b"number")
        self.addCleanup(self.etcd.delete, KeySet(b"__" + self.name, prefix=True))


@on_every_server_at_length()
class Counting(CounterCase):
    """Everybody at the same time."""

    async def test_add(self: Any) -> None:
        counter = Counter(self.etcd, self.name)
        self.assertEqual(await counter.value(), 0)
        self.assertEqual([await counter.add(), await counter.add(10), await counter.add(-20)], [1, 11, -9])
        self.assertEqual((await self.etcd.get(self.name)).kvs[0].value, b"-9")
        await self.etcd.set(self.name, b"many")
        await self.assertFailure(counter.add(), Error)

    async def test_contended(self: Any) -> None:
        counters = [Counter(self.client(), self.name) for _ in range(8)]
        numbers = await self.soon(gatherResults([counters[number % 8].add() for number in range(160)]))
        self.assertEqual(sorted(numbers), list(range(1, 161)))
        self.assertEqual(await counters[0].value(), 160)

    async def test_sequence(self: Any) -> None:
        sequences = [Sequence(self.client(), self.name, block=block) for block in (1, 1, 5, 20)]
        asking = [sequences[number % 4].next() for number in range(160)]
        asked = await self.soon(gatherResults(asking))
        self.assertEqual(len(set(asked)), 160)
        for number in range(4):
            own = asked[number::4]
            self.assertEqual(own, sorted(own))
        block = await sequences[0].reserve(10)
        self.assertEqual((len(block), set(block) & set(asked)), (10, set()))


@on_every_server_at_length()
class Cut(CounterCase, FaultCase):
    """Answers are lost."""

    async def test_add(self: Any) -> None:
        """It is added once, also if others have added something since."""
        counter, other = Counter(self.away, self.name), Counter(self.etcd, self.name)
        for total in range(0, 600, 120):
            # knows it now, so that it is the addition whose answer is lost
            await counter.add(10)
            await self.proxy.refuse()
            self.proxy.cut_answer(where=self.answers_to(TXN), count=1)
            adding = self.soon(counter.add(10))
            await self.until(lambda total=total: self.is_at(other, total + 20))
            await other.add(100)
            await self.proxy.accept()
            self.behave()
            self.assertEqual(await adding, total + 20)
        self.assertEqual(await other.value(), 600)

    async def is_at(self: Any, counter: Counter, number: int) -> bool:
        return bool(await counter.value() == number)

    async def test_everything_is_cut(self: Any) -> None:
        self.proxy.misbehave(0.15, ["cut_answer", "cut_request"])
        clients = [self.client(self.proxy.url, retry=Backoff()) for _ in range(4)]
        added: list[int] = []
        asked: list[int] = []

        async def add(client: Any) -> None:
            counter = Counter(client, self.name)
            for _ in range(25):
                added.append(await counter.add())

        async def ask(client: Any) -> None:
            sequence = Sequence(client, self.name + b"2", block=2)
            for _ in range(25):
                asked.append(await sequence.next())

        running = [Deferred.fromCoroutine(work(client)) for client in clients for work in (add, ask)]
        await self.soon(gatherResults(running, consumeErrors=True))
        self.behave()
        self.assertTrue(self.proxy.faults.get("cut_answer"))
        self.assertEqual(sorted(added), list(range(1, 101)))
        self.assertEqual(await Counter(self.etcd, self.name).value(), 100)
        self.assertEqual(len(set(asked)), 100)
