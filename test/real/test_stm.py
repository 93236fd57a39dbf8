"""
Software transactional memory, on every server: etcd's own scenarios, and money that is neither lost nor made.
"""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from test.real.base import RealCase, on_every_server_at_length
from test.real.test_faults import FaultCase
from txetcd import STM, Error, Failed, OutcomeUnknown
from txetcd._schema import TXN
from txetcd.errors import TooManyOps

ACCOUNTS, CLIENTS, AT_FIRST = 10, 10, 100


class StmCase(RealCase):
    """Ten accounts."""

    def account(self: Any, number: int) -> bytes:
        return bytes(self.key(b"account/%d" % number))

    async def open_accounts(self: Any) -> None:
        for number in range(ACCOUNTS):
            await self.etcd.set(self.account(number), b"%d" % AT_FIRST)

    async def balances(self: Any) -> list[int]:
        return [int(kv.value) for kv in (await self.etcd.get(self.keys(b"account/"))).kvs]

    async def transfer(self: Any, etcd: Any, amount: int, isolation: str = "SerializableSnapshot") -> Any:
        """From one account to another, by chance; what is there, if it is less."""
        source, target = map(self.account, random.sample(range(ACCOUNTS), 2))

        async def function(stm: STM) -> int:
            mine, yours = int(await stm.get(source) or b""), int(await stm.get(target) or b"")
            moved = min(amount, mine)
            stm.set(source, b"%d" % (mine - moved))
            stm.set(target, b"%d" % (yours + moved))
            return moved

        return await etcd.atomically(function, isolation)


@on_every_server_at_length()
class Scenarios(StmCase):
    """Those of etcd's ``v3_stm_test.go``, by their names."""

    async def test_stm_conflict(self: Any) -> None:
        """Many transfer at the same time, and the sum is as before: ten clients and ten accounts, at each level."""
        await self.open_accounts()
        clients = [self.client() for _ in range(CLIENTS)]

        async def work(etcd: Any, isolation: str) -> None:
            for _ in range(10):
                await self.transfer(etcd, 7, isolation)

        for isolation in ("SerializableSnapshot", "Serializable", "RepeatableReads"):
            work_of_all = [Deferred.fromCoroutine(work(etcd, isolation)) for etcd in clients]
            await gatherResults(work_of_all, consumeErrors=True)
            balances = await self.balances()
            self.assertEqual((sum(balances), min(balances) >= 0), (ACCOUNTS * AT_FIRST, True), balances)

    async def test_stm_put_new_key(self: Any) -> None:
        key = self.key(b"foo")
        self.assertIsNone(await self.etcd.atomically(lambda stm: stm.set(key, b"bar")))
        self.assertEqual((await self.etcd.get(key)).kvs[0].value, b"bar")

    async def test_stm_abort(self: Any) -> None:
        """It fails while it runs, or is cancelled: nothing is written."""
        key, waiting = self.key(b"foo"), Deferred[None]()

        async def fails(stm: STM) -> None:
            stm.set(key, b"baz")
            raise ZeroDivisionError("no")

        async def waits(stm: STM) -> None:
            stm.set(key, b"bap")
            await waiting

        await self.assertFailure(self.etcd.atomically(fails), ZeroDivisionError)
        running = self.etcd.atomically(waits)
        running.addErrback(lambda _: None)
        running.cancel()
        await running
        self.assertEqual((await self.etcd.get(key)).kvs, [])

    async def test_not_waited_for(self: Any) -> None:
        """What does not depend on what it has read is refused, also where that is there at once."""
        key, none = self.key(b"foo"), self.key(b"none")

        async def truth(stm: STM) -> None:
            if stm.get(none):
                stm.set(key, b"bar")

        async def nothing(stm: STM) -> None:
            if stm.get(none) is not None:  # type: ignore[redundant-expr]
                stm.set(key, b"bar")

        async def right(stm: STM) -> None:
            if await stm.get(none) is None:
                stm.set(key, b"bar")

        for prefetch in ([], [none]):
            await self.assertFailure(self.etcd.atomically(truth, prefetch=prefetch), TypeError)
            await self.assertFailure(self.etcd.atomically(nothing, prefetch=prefetch), RuntimeError)
        self.assertEqual((await self.etcd.get(key)).count, 0)
        await self.etcd.atomically(right)
        self.assertEqual((await self.etcd.get(key)).count, 1)

    async def test_stm_serialize(self: Any) -> None:
        """All that is read is from one revision, while somebody writes all the time."""
        keys = [self.key(b"%d" % number) for number in range(5)]
        is_over = False

        async def write() -> None:
            number = 0
            while not is_over:
                value = b"%d" % number

                def write_all(stm: STM, value: bytes = value) -> None:
                    for key in keys:
                        stm.set(key, value)

                await self.etcd.atomically(write_all)
                number += 1

        seen: list[set[Any]] = []

        async def read(stm: STM) -> None:
            # also what is not committed in the end
            seen.append({await stm.get(key) for key in keys})

        await self.etcd.atomically(lambda stm: [stm.set(key, b"first") for key in keys])
        writing = Deferred.fromCoroutine(write())
        reader = self.client()
        for isolation in ("SerializableSnapshot", "Serializable"):
            for prefetch in ((), keys[2:]):
                for _ in range(10):
                    try:
                        await reader.atomically(read, isolation, prefetch, attempts=3)
                    except Failed:
                        pass
        is_over = True
        await writing
        self.assertEqual({len(values) for values in seen}, {1})
        self.assertGreater(len(set.union(*seen)), 1)

    async def test_stm_apply_on_concurrent_deletion(self: Any) -> None:
        """A key that is deleted after it was read is read again; at every level but the last."""
        key, out = self.key(b"foo"), self.key(b"out")
        for isolation, tries in (
            ("SerializableSnapshot", 2), ("Serializable", 2), ("RepeatableReads", 2), ("ReadCommitted", 1),
        ):  # fmt: skip
            await self.etcd.set(key, b"bar")
            seen: list[Any] = []

            async def function(stm: STM, seen: list[Any] = seen) -> None:
                seen.append(await stm.get(key))
                if len(seen) == 1:
                    await self.etcd.delete(key)
                stm.set(out, seen[-1] or b"gone")

            await self.etcd.atomically(function, isolation)
            self.assertEqual(seen, [b"bar", None][:tries], isolation)
            self.assertEqual((await self.etcd.get(out)).kvs[0].value, [b"bar", b"gone"][tries - 1])

    async def test_stm_serializable_snapshot_put(self: Any) -> None:
        """What is only written must not have been written meanwhile; but only at this level."""
        read, written = self.key(b"a"), self.key(b"b")
        await self.etcd.set(read, b"123")
        for isolation, tries in (("SerializableSnapshot", 2), ("Serializable", 1)):
            calls = []

            async def function(stm: STM, calls: list[int] = calls) -> None:
                await stm.get(read)
                stm.set(written, b"123")
                calls.append(1)
                if len(calls) == 1:
                    await self.etcd.set(written, b"somebody")

            await self.etcd.atomically(function, isolation)
            self.assertEqual((len(calls), (await self.etcd.get(written)).kvs[0].value), (tries, b"123"), isolation)

    async def test_example_stm_apply(self: Any) -> None:
        """``ExampleSTM_apply``: five accounts, ten transfers, and the sum is as before."""
        await self.open_accounts()
        transfers = [Deferred.fromCoroutine(self.transfer(self.etcd, 50)) for _ in range(10)]
        await gatherResults(transfers, consumeErrors=True)
        self.assertEqual(sum(await self.balances()), ACCOUNTS * AT_FIRST)


@on_every_server_at_length()
class More(StmCase):
    """What else is said of it."""

    async def test_reads_after_a_compaction(self: Any) -> None:
        a, b = self.key(b"a"), self.key(b"b")
        calls = []

        async def function(stm: STM) -> None:
            await stm.get(a)
            calls.append(1)
            if len(calls) == 1:
                await self.etcd.set(b, b"new")
                await self.etcd.compact((await self.etcd.set(a, b"new")).header.revision)
            stm.set(a, await stm.get(b) or b"")

        await self.etcd.atomically(function)
        self.assertEqual((len(calls), (await self.etcd.get(a)).kvs[0].value), (2, b"new"))

    async def test_prefetch(self: Any) -> None:
        """Two calls for ten accounts."""
        await self.open_accounts()
        keys = [self.account(number) for number in range(ACCOUNTS)]
        before = self.etcd.stats().calls["KV.Txn"].calls if "KV.Txn" in self.etcd.stats().calls else 0

        async def function(stm: STM) -> int:
            values = [int(await stm.get(key) or b"") for key in keys]
            stm.set(keys[0], b"%d" % sum(values))
            return sum(values)

        self.assertEqual(await self.etcd.atomically(function, prefetch=keys), ACCOUNTS * AT_FIRST)
        self.assertEqual(self.etcd.stats().calls["KV.Txn"].calls - before, 2)

    async def test_leases(self: Any) -> None:
        """A lease is kept if it is said so."""
        key = self.key(b"leased")
        lease = await self.etcd.lease(60)
        await self.etcd.set(key, b"0", lease=lease)

        async def keep(stm: STM) -> None:
            kv = await stm.stored(key)
            assert kv is not None
            stm.set(key, b"1", kv.lease)

        await self.etcd.atomically(keep)
        kv = (await self.etcd.get(key)).kvs[0]
        self.assertEqual((kv.value, kv.lease), (b"1", lease.lease_id))
        await lease.revoke()

    async def test_too_much(self: Any) -> None:
        """The server refuses it, and nothing is written."""
        keys = [self.key(b"%d" % number) for number in range(129)]
        writing = self.etcd.atomically(lambda stm: [stm.set(key, b"") for key in keys])
        await self.assertFailure(writing, TooManyOps)
        self.assertEqual((await self.etcd.get(self.keys())).kvs, [])


@on_every_server_at_length()
class LostAnswers(FaultCase, StmCase):
    """The connection is lost when the commit has arrived, or just before."""

    async def start(self: Any) -> None:
        await super().start()
        await self.etcd.set(self.key(b"n"), b"1")

    def lose_answer(self: Any) -> None:
        """To the next transaction, once it has read."""
        self.proxy.cut_answer(count=1, where=self.answers_to(TXN))

    async def add_one(self: Any, stm: STM, loses: list[Any]) -> int:
        value = int(await stm.get(self.key(b"n")) or b"")
        stm.set(self.key(b"n"), b"%d" % (value + 1))
        loses.append(value)
        if len(loses) == 1:
            self.lose_answer()
        return value + 1

    async def value(self: Any) -> int:
        return int((await self.found(b"n")).value)

    async def test_without_a_token(self: Any) -> None:
        """It was carried out once, and nobody can tell whose it was."""
        loses: list[Any] = []
        adding = self.away.atomically(lambda stm: Deferred.fromCoroutine(self.add_one(stm, loses)))
        error = await self.assertFailure(adding, OutcomeUnknown)
        self.assertEqual((error.maybe_applied, await self.value(), len(loses)), (True, 2, 1))
        self.assertEqual(self.proxy.faults.get("cut_answer"), 1)

    async def test_with_a_token(self: Any) -> None:
        """So it is found that it was carried out."""
        loses: list[Any] = []

        async def function(stm: STM) -> int:
            stm.set(self.key(b"log/" + stm.token), b"")
            return int(await self.add_one(stm, loses))

        self.assertEqual(await self.away.atomically(function), 2)
        self.assertEqual((await self.value(), len(loses)), (2, 1))
        self.assertEqual(self.proxy.faults.get("cut_answer"), 1)
        self.assertEqual(len((await self.etcd.get(self.keys(b"log/"))).kvs), 1)

    async def test_total_is_preserved(self: Any) -> None:
        """Ten clients transfer, each by a proxy that resets connections by chance; nothing is done twice."""
        await self.open_accounts()
        done: list[bytes] = []
        unknown: list[bytes] = []

        async def transfer(etcd: Any, log: bytes) -> None:
            source, target = map(self.account, random.sample(range(ACCOUNTS), 2))

            async def function(stm: STM) -> None:
                mine, yours = int(await stm.get(source) or b""), int(await stm.get(target) or b"")
                stm.set(source, b"%d" % (mine - 1))
                stm.set(target, b"%d" % (yours + 1))
                stm.set(log, b"%d %s" % (int(await stm.get(log) or b"0") + 1, stm.token))

            try:
                await etcd.atomically(function)
            except Error as error:
                # of a read whose answers were lost until it was too late: nothing was written
                if error.maybe_applied:
                    unknown.append(log)
            else:
                done.append(log)

        async def work(number: int) -> None:
            etcd = self.client(self.proxy.url, retry=None)
            for turn in range(5):
                await transfer(etcd, self.key(b"log/%d/%d" % (number, turn)))

        async def cut() -> None:
            # not without end: the last client would be the one that all of them meet
            for _ in range(20):
                self.lose_answer()
                await deferLater(self.reactor, 0.1)

        working = [Deferred.fromCoroutine(work(number)) for number in range(CLIENTS)]
        all_done = gatherResults(working, consumeErrors=True)
        await cut()
        await all_done
        self.behave()
        logged = {kv.key: int(kv.value.split()[0]) for kv in (await self.etcd.get(self.keys(b"log/"))).kvs}
        self.assertEqual((sum(await self.balances()), set(logged.values())), (ACCOUNTS * AT_FIRST, {1}))
        self.assertTrue(set(done) <= set(logged) <= {*done, *unknown}, (len(done), len(unknown)))
        self.assertGreater(self.proxy.faults.get("cut_answer", 0), 0)
        self.assertGreater(len(done), 0)
