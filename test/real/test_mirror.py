"""
Mirrors, on every server: whatever is cut, or compacted away, they show what the keys were at one revision.
"""

from __future__ import annotations

from typing import Any, Optional

from test.real.base import on_every_server
from test.real.test_watch_scenarios import ScenarioCase
from txetcd import Backoff, Mirror, OpSet, Transaction

PART = bytes(300_000)
"""A quarter of what a transaction writes here."""


@on_every_server()
class Following(ScenarioCase):
    """What is written meanwhile."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.web = self.own.url
        self.etcd = self.client(self.own.url, retry=Backoff())
        await super().start()

    async def mirror(self: Any, on_change: Optional[Any] = None) -> Mirror:
        mirror = Mirror(self.away, self.keys(), on_change)
        self.addCleanup(mirror.close)
        return await self.soon(mirror.start())

    async def assert_same(self: Any, mirror: Mirror) -> None:
        """As the store is."""
        await self.soon(mirror.fresh())
        self.assertEqual(mirror.range(self.keys()), list((await self.etcd.get(self.keys())).kvs))

    async def test_whole_revisions(self: Any) -> None:
        """What several transactions have written comes in fragments, which are cut."""
        shown: list[set[bytes]] = []

        def look(events: Any) -> None:
            # not yet when it is told that nothing is there
            if events:
                shown.append({kv.value[:3] for kv in mirror.range(self.keys())})

        mirror = await self.mirror(look)
        for number in range(9):
            if number % 3 == 0:
                self.proxy.cut_answer((1000, 400_000, 1_300_000)[number // 3], count=2)
                self.break_streams()
            value = b"%03d" % number + PART
            await self.etcd.transact(Transaction([], [OpSet(self.key(b"%d" % key), value) for key in range(4)]))
        self.behave()
        await self.assert_same(mirror)
        self.assertEqual({len(values) for values in shown}, {1})

    async def test_compacted_while_it_is_away(self: Any) -> None:
        await self.write(5)
        mirror = await self.mirror()
        await self.proxy.refuse()
        self.break_streams()
        await self.write(3)
        await self.etcd.delete(self.key(b"004"))
        await self.etcd.compact((await self.etcd.set(self.key(b"new"), b"")).header.revision)
        await self.proxy.accept()
        await self.assert_same(mirror)

    async def test_fresh(self: Any) -> None:
        """Whatever was written before, by whomever, is shown."""
        mirror = await self.mirror()
        for number in range(20):
            if number % 7 == 6:
                self.break_streams()
            if number % 3:
                await self.etcd.set(self.key(b"%d" % (number % 5)), b"%d" % number)
            else:
                await self.etcd.delete(self.key(b"%d" % (number % 5)))
            await self.assert_same(mirror)
