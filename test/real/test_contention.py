"""
Mutual exclusion among several processes, while all that happens which can happen to them, to the members of the
cluster, and to the network.
"""

from __future__ import annotations

import json
from typing import Any

from test.real.contender import LIMIT, NAME, RESOURCE
from test.real.contention import ContentionCase, on_newest_server_for_seconds
from txetcd import KeySet
from txetcd.testing import History, LockRecord
from txetcd.testing.lockcheck import Contender, contenders


class Outside:
    """
    A resource outside of etcd that many write to: it accepts nothing of somebody who comes late.

    :ivar refused: how often it has not.
    """

    def __init__(self, record: LockRecord) -> None:
        self._record = record
        self._greatest = 0
        self.refused = 0

    def write(self, who: str, token: int) -> None:
        if token < self._greatest:
            self.refused += 1
            return
        self._greatest = token
        self._record.accepted(who, token)


class Holders(ContentionCase):
    """
    What one holds, or a few, with a fencing token; and two resources that are guarded with that: a key in the store,
    and one outside.

    :cvar limit: how many.
    :cvar is_exclusive: whether nobody who holds it has a smaller token than anybody before.
    """

    limit = 1
    is_exclusive = True

    async def check_holders(self: Any) -> LockRecord:
        """They contend, and nobody has held it, or was let in, who should not."""
        history = await self.contend()
        self.assertEqual(list(history.state(KeySet(NAME, prefix=True), history.revision)), [])
        record = self.record_of(history)
        self.check_reports(record)
        record.check(self.queue(history))
        return record

    def record_of(self: Any, history: History) -> LockRecord:
        """Who held it, by what he has written."""
        record = LockRecord(self.limit)
        for event in history.matching(KeySet(RESOURCE)):
            written = json.loads(event.value)
            who, token = written["who"], written["token"]
            record.held(who, token, event.mod_revision, is_shared=written["is_shared"])
            if self.is_exclusive:
                record.accepted(who, token)
        return record

    def queue(self: Any, history: History) -> list[Contender]:
        """Who has contended."""
        return contenders(history, KeySet(NAME + b"/", prefix=True))

    def check_reports(self: Any, record: LockRecord) -> None:
        """What was believed agrees with that; and there was somebody who was late."""
        owners = {hold.token: hold.who for hold in record.holds}
        for who, reported in self.told("got"):
            self.assertEqual(owners.setdefault(reported["token"], who), who)
        self.check_beliefs()
        self.assertNotEqual(self.told("refused"), [])
        self.assertEqual(self.told("accepted late"), [])

    def outside(self: Any) -> int:
        """A resource outside has accepted nothing of those who were late either; of how many."""
        record = LockRecord()
        outside = Outside(record)
        for who, reported in self.told("wrote"):
            outside.write(who, reported["token"])
        record.check()
        return outside.refused

    def sum_up_holders(self: Any, record: LockRecord, *more: str) -> None:
        told = [f"{len(record.holds)} held it", f"{len(self.told('refused'))} stale writes were refused", *more]
        self.sum_up(", ".join(told))


@on_newest_server_for_seconds()
class LockContention(Holders):
    """A lock."""

    recipe = "lock"

    async def test_mutual_exclusion(self: Any) -> None:
        record = await self.check_holders()
        self.sum_up_holders(record, f"and {self.outside()} outside")


@on_newest_server_for_seconds()
class ElectionContention(Holders):
    """An election: never two leaders for one fencing revision, whoever looks."""

    recipe = "election"

    async def test_one_leader(self: Any) -> None:
        record = await self.check_holders()
        for observer, reported in self.told("saw"):
            record.saw(observer, reported["leader"], reported["token"])
        record.check()
        seen = {reported["token"] for _, reported in self.told("saw")}
        self.assertNotEqual(seen, set())
        self.sum_up_holders(record, f"and {self.outside()} outside", f"{len(seen)} leaders were seen")


@on_newest_server_for_seconds()
class SemaphoreContention(Holders):
    """A semaphore: never more than its limit."""

    recipe = "semaphore"
    limit = LIMIT
    is_exclusive = False

    async def test_limit(self: Any) -> None:
        self.sum_up_holders(await self.check_holders())


@on_newest_server_for_seconds()
class ReadWriteLockContention(Holders):
    """A lock of readers and writers: a writer is alone, and nobody overtakes it."""

    recipe = "readers and writers"
    is_exclusive = False

    def queue(self: Any, history: History) -> list[Contender]:
        readers, writers = (KeySet(NAME + kind, prefix=True) for kind in (b"/read/", b"/write/"))
        return [*contenders(history, readers, is_shared=True), *contenders(history, writers)]

    async def test_readers_and_writers(self: Any) -> None:
        record = await self.check_holders()
        kinds = {hold.is_shared for hold in record.holds}
        self.assertEqual(kinds, {True, False})
        self.sum_up_holders(record)
