"""
Barriers, on every server: nobody is let through too early, and nobody is forgotten.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from test.real.base import RealCase, on_every_server_at_length
from test.real.test_cluster import ClusterCase
from test.real.test_watch_scenarios import ScenarioCase
from txetcd import AlreadyExists, Barrier, Session, Timeout

WAITERS = 5


@on_every_server_at_length()
class Held(RealCase):
    """The scenarios of etcd's own tests, by their names, and what else there is."""

    async def waiting(self: Any, *clients: Any) -> list[Deferred[None]]:
        """Several who wait at the barrier, each watching it."""
        name = self.key(b"gate")
        before = await self.watchers()
        waiting = [Barrier(client, name).wait() for client in clients]

        async def all_watch() -> bool:
            return bool(await self.watchers() >= before + len(clients))

        await self.until(all_watch)
        self.assertFalse(any(one.called for one in waiting))
        return waiting

    async def test_barrier_single_node(self: Any) -> None:
        """BarrierSingleNode: all are let through."""
        barrier = Barrier(self.etcd, self.key(b"gate"))
        await barrier.hold()
        await self.assertFailure(Barrier(self.client(), self.key(b"gate")).hold(), AlreadyExists)
        waiting = await self.waiting(*[self.client() for _ in range(WAITERS)])
        await barrier.release()
        await self.soon(gatherResults(waiting))
        await barrier.hold()
        await barrier.release()
        await barrier.release()

    async def test_barrier_wait_nonexistent_key(self: Any) -> None:
        """BarrierWaitNonexistentKey: nobody waits."""
        await self.soon(Barrier(self.etcd, self.key(b"gate")).wait(timeout=60))

    async def test_released_with_the_session(self: Any) -> None:
        async with Session(self.etcd, 10) as session:
            await Barrier(self.etcd, self.key(b"gate"), session=session).hold()
            (waiting,) = await self.waiting(self.client())
        await self.soon(waiting)

    async def test_key_that_is_longer(self: Any) -> None:
        """Is another barrier."""
        await Barrier(self.etcd, self.key(b"gate2")).hold()
        await self.soon(Barrier(self.etcd, self.key(b"gate")).wait())

    async def test_timeout_leaves_nothing(self: Any) -> None:
        await Barrier(self.etcd, self.key(b"gate")).hold()
        await self.assertFailure(Barrier(self.client(), self.key(b"gate")).wait(0.2), Timeout)


@on_every_server_at_length()
class CutOff(ScenarioCase):
    """What happens while nothing is heard."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.web = self.own.url
        self.etcd = self.client(self.own.url)
        await super().start()

    async def test_released_and_held_anew(self: Any) -> None:
        """And that was compacted away, too: whoever waited is let through."""
        barrier = Barrier(self.etcd, b"gate")
        await barrier.hold()
        waiting = Barrier(self.away, b"gate").wait()
        await self.until(lambda: any(map(self.has_watch, self.proxy.connections)))
        await self.proxy.refuse()
        self.break_streams()
        await barrier.release()
        await self.etcd.compact(await barrier.hold())
        self.assertFalse(waiting.called)
        await self.proxy.accept()
        await self.soon(waiting)


@on_every_server_at_length()
class MultiNode(ClusterCase):
    async def test_barrier_multi_node(self: Any) -> None:
        """BarrierMultiNode: they wait at different members."""
        name = self.key(b"gate")
        self.addCleanup(self.etcd.delete, self.keys())
        barrier = Barrier(self.etcd, name)
        await barrier.hold()
        waiting = [Barrier(self.client(url), name).wait() for url in self.urls_of(self.cluster) * 2]
        await barrier.release()
        await self.soon(gatherResults(waiting))
