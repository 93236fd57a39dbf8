"""
What is promised to be done once, or at least once, by several processes, while all that happens which can happen to
them, to the members of the cluster, and to the network.
"""

from __future__ import annotations

import json
from typing import Any

from test.once import Queued, complaints, fates, increments, transfers
from test.real.contender import ACCOUNTS, NAME, RESOURCE, account_of
from test.real.contention import ContentionCase, on_newest_server_for_seconds
from txetcd import KeySet, OpSet, Transaction
from txetcd.testing import History, LockRecord

ITEMS = KeySet(NAME + b"/", prefix=True)


class OnceCase(ContentionCase):
    """Things that are done once, each with a number of its own."""

    def complaints(self: Any, happened: Any) -> list[str]:
        return complaints(happened, fates(reported for _, reported in self.reports))


@on_newest_server_for_seconds()
class CounterContention(OnceCase):
    """A counter: the sum is preserved."""

    recipe = "counter"

    async def test_sum(self: Any) -> None:
        happened = list(increments(await self.contend(), NAME))
        self.assertEqual(self.complaints(happened), [])
        self.sum_up(f"{len(happened)} times something was added")


@on_newest_server_for_seconds()
class SequenceContention(ContentionCase):
    """A sequence: no number comes twice."""

    recipe = "sequence"

    async def test_unique(self: Any) -> None:
        await self.contend()
        numbers = [reported["number"] for _, reported in self.told("numbered")]
        self.assertEqual(len(numbers), len(set(numbers)))
        self.sum_up(f"{len(numbers)} numbers of {max(numbers)}")


@on_newest_server_for_seconds()
class STMContention(OnceCase):
    """``etcd.atomically()``: what ten clients transfer between ten accounts leaves the total as it is, at any time."""

    recipe = "stm"

    async def prepare(self: Any) -> None:
        await self.etcd.transact(Transaction([], [OpSet(account_of(number), b"0") for number in range(ACCOUNTS)]))

    async def test_total(self: Any) -> None:
        happened = list(transfers(await self.contend(), ITEMS))
        self.assertEqual(self.complaints(happened), [])
        unknown = [reported for _, reported in self.told("not done") if reported["maybe_applied"]]
        self.sum_up(f"{len(happened)} transfers, of {len(unknown)} others it is not known whether they were made")


class Queues(OnceCase):
    """Items that come, each once, and go."""

    async def queued(self: Any) -> tuple[Queued, History]:
        history = await self.contend()
        queued = Queued.of(history, ITEMS)
        self.assertEqual(self.complaints(queued.put), [])
        left = history.state(KeySet(b"__" + NAME + b"/", prefix=True), history.revision)
        self.assertLessEqual(set(left), {b"__" + NAME + b"/journal", b"__" + NAME + b"/fence"})
        return queued, history


@on_newest_server_for_seconds()
class QueueContention(Queues):
    """A queue: each item once, in order."""

    recipe = "queue"

    async def test_each_once_in_order(self: Any) -> None:
        queued, _ = await self.queued()
        self.assertEqual(queued.complaints, [])
        taken = [reported["item"] for _, reported in self.told("took")]
        self.assertEqual(len(taken), len(set(taken)))
        # what was taken is gone; and what is gone, and nobody has told so, was taken by somebody who was killed with it
        self.assertLessEqual(set(taken), set(queued.gone))
        unknown = [reported for _, reported in self.told("not got") if reported["maybe_applied"]]
        self.assertLessEqual(len(queued.gone) - len(taken), self.happened["process_killed"] + len(unknown))
        self.sum_up(f"{len(queued.put)} items put, {len(taken)} taken, {len(queued.gone) - len(taken)} died")


@on_newest_server_for_seconds()
class WorkQueueContention(Queues):
    """A work queue: each item at least once, none is lost, and nobody works on it who does not hold it."""

    recipe = "work queue"

    async def test_each_at_least_once(self: Any) -> None:
        queued, history = await self.queued()
        worked = [reported["item"] for _, reported in self.told("worked")]
        # an item goes only when somebody has worked on it
        self.assertLessEqual(set(queued.gone), set(worked))
        records = self.records_of(history)
        for record in records.values():
            record.check()
        self.check_beliefs()
        again = sum(len(record.holds) > 1 for record in records.values())
        self.sum_up(f"{len(queued.put)} items put, {len(queued.gone)} done, {again} held more than once")

    def records_of(self: Any, history: History) -> dict[int, LockRecord]:
        """Who held each item."""
        records: dict[int, LockRecord] = {}
        for event in history.matching(KeySet(RESOURCE)):
            written = json.loads(event.value)
            record = records.setdefault(written["item"], LockRecord())
            record.held(written["who"], written["token"], event.mod_revision)
        return records
