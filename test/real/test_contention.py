"""
Mutual exclusion, and whatever else is promised to several processes, while all that happens which can happen to them,
to the members of the cluster, and to the network.
"""

from __future__ import annotations

import json
from typing import Any

from test.real.base import on_every_server_at_length
from test.real.contender import NAME, RESOURCE
from test.real.contention import ContentionCase
from txetcd import KeySet
from txetcd.testing import History, LockRecord
from txetcd.testing.lockcheck import contenders


class Holders(ContentionCase):
    """What one holds, or a few, with a fencing token."""

    limit = 1

    async def check_holders(self: Any) -> History:
        """They contend, and nobody has held it, or was let in, who should not."""
        history = await self.contend()
        self.assertEqual(self.left(history), [])
        record = LockRecord(self.limit)
        for event in history.matching(KeySet(RESOURCE)):
            written = json.loads(event.value)
            record.held(written["who"], written["token"], event.mod_revision)
            record.accepted(written["who"], written["token"])
        record.check(contenders(history, KeySet(NAME + b"/", prefix=True)))
        self.check_reports(record)
        return history

    def check_reports(self: Any, record: LockRecord) -> None:
        """What was believed agrees with that."""
        owners = {hold.token: hold.who for hold in record.holds}
        for who, reported in self.told("got"):
            self.assertEqual(owners.setdefault(reported["token"], who), who)
        # nobody believes in it longer than the store does
        refused = self.told("refused")
        self.assertEqual([one for one in refused if one[1]["believes"]], [])
        self.assertNotEqual(refused, [])
        self.assertEqual(self.told("accepted late"), [])


class Resource:
    """
    Something outside of etcd that many write to: it accepts nothing of somebody who comes late.

    :ivar record: of what it has accepted.
    :ivar refused: how often it has not.
    """

    def __init__(self) -> None:
        self._greatest = 0
        self.record = LockRecord()
        self.refused = 0

    def write(self, who: str, token: int) -> None:
        if token < self._greatest:
            self.refused += 1
            return
        self._greatest = token
        self.record.accepted(who, token)


@on_every_server_at_length()
class LockContention(Holders):
    """A lock, and two resources that are guarded with its fencing token: a key in the store, and one outside."""

    recipe = "lock"

    async def test_mutual_exclusion(self: Any) -> None:
        await self.check_holders()
        outside = Resource()
        for who, reported in self.told("wrote"):
            outside.write(who, reported["token"])
        outside.record.check()
        refused = f"{len(self.told('refused'))} stale writes refused by the store, {outside.refused} outside"
        self.sum_up(f"{len(self.told('got'))} acquisitions; {refused}")
