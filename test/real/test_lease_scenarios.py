"""
The scenarios of etcd's own tests of its client, as far as they are about leases that are kept alive, by their names;
and what must never be: a lease that is believed to be alive when the server has taken it away.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any, Callable

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall

from test.real.base import GATEWAY, NATIVE, on_every_server, on_every_server_at_length
from test.real.test_cluster import ClusterCase
from test.real.test_faults import FaultCase
from test.real.test_lease import LeaseCase
from txetcd import Backoff, Lease, Session, Unavailable
from txetcd._clock import monotonic
from txetcd._schema import LEASE_KEEP_ALIVE
from txetcd.errors import SessionExpired

MANY = 200
"""Leases of one client."""


@on_every_server()
class KeptAlive(FaultCase, LeaseCase):
    """A server of its own, a client of it, and another one behind a proxy."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.etcd = self.client(self.own.url)
        self.proxy = await self.proxy_to(self.own.url)
        self.away = self.client(self.proxy.url)

    async def kept(self: Any, time_to_live: int) -> Lease:
        lease = await self.away.lease(time_to_live, keep_alive=True)
        self.addCleanup(lease.let_go)
        return lease

    async def test_lease_keep_alive(self: Any) -> None:
        """LeaseKeepAlive: several of one client, which end with it, and with it only."""
        leases = [await self.kept(10) for _ in range(5)]
        promised = [lease.deadline for lease in leases]
        await self.until(lambda: all(lease.deadline > was for lease, was in zip(leases, promised)))
        losing = gatherResults([lease.when_lost() for lease in leases])
        self.assertNoResult(losing)
        await self.away.close()
        await self.soon(losing)
        self.assertEqual({lease.state for lease in leases}, {"lost"})

    async def test_lease_keep_alive_seconds(self: Any) -> None:
        """LeaseKeepAliveSeconds: it is renewed again and again, three times in its time to live."""
        lease = await self.kept(3)
        renewals = []
        for _ in range(4):
            promised = lease.deadline
            await self.until(lambda promised=promised: lease.deadline > promised)
            renewals.append(lease.deadline)
        self.assertEqual(lease.state, "alive")
        # never sooner than a third of it; how much later is the machine's affair
        for earlier, later in zip(renewals, renewals[1:]):
            self.assertGreater(later - earlier, 0.9)

    async def test_lease_keep_alive_not_found(self: Any) -> None:
        """LeaseKeepAliveNotFound: one that was revoked does not stop the others."""
        leases = [await self.kept(10) for _ in range(3)]
        gone = leases.pop(1)
        losing = gone.when_lost()
        await self.revoke_elsewhere(gone, self.own.url)
        await self.soon(losing)
        promised = [lease.deadline for lease in leases]
        await self.until(lambda: all(lease.deadline > was for lease, was in zip(leases, promised)))
        self.assertEqual([lease.state for lease in leases], ["alive", "alive"])

    async def test_lease_keep_alive_close_after_disconnect_revoke(self: Any) -> None:
        """LeaseKeepAliveCloseAfterDisconnectRevoke: it was revoked while the client was cut off."""
        lease = await self.kept(60)
        losing = lease.when_lost()
        await self.proxy.refuse()
        self.proxy.drop()
        await self.revoke_elsewhere(lease, self.own.url)
        self.assertNoResult(losing)
        await self.proxy.accept()
        await self.soon(losing)
        self.assertEqual(lease.state, "lost")

    async def test_lease_keep_alive_init_timeout(self: Any) -> None:
        """LeaseKeepAliveInitTimeout: not even the first renewal is answered."""
        lease = await self.away.lease(5)
        self.proxy.black_hole()
        lease.keep_alive()
        losing = lease.when_lost()
        await self.soon(losing)
        self.assertEqual(lease.state, "lost")

    async def test_lease_keep_alive_ttl_timeout(self: Any) -> None:
        """LeaseKeepAliveTTLTimeout: it was renewed, and then nobody answers any more."""
        lease = await self.kept(5)
        promised = lease.deadline
        await self.until(lambda: lease.deadline > promised)
        losing = lease.when_lost()
        self.proxy.black_hole()
        self.assertNoResult(losing)
        await self.soon(losing)
        self.assertEqual(lease.state, "lost")

    async def test_lost_connections(self: Any) -> None:
        """However often; as long as it can be renewed in time."""
        lease = await self.kept(10)
        for _ in range(5):
            promised = lease.deadline
            self.proxy.drop("reset")
            await self.until(lambda promised=promised: lease.deadline > promised)
        self.assertEqual(lease.state, "alive")

    async def test_one_stream(self: Any) -> None:
        """Many leases take one stream natively; on the gateway as many connections as calls may have at a time."""
        leases = await gatherResults([self.away.lease(20, keep_alive=True) for _ in range(MANY)])
        promised = [lease.deadline for lease in leases]
        await self.until(lambda: all(lease.deadline > was for lease, was in zip(leases, promised)))
        self.assertLess(self.away.stats().connections, MANY / 5 if self.scheme == GATEWAY else 2)
        self.assertEqual(self.away.stats().streams, 1 if self.scheme == NATIVE else 0)
        for lease in leases:
            lease.let_go()
        await self.until(lambda: self.away.stats().streams == 0)

    async def test_v3_lease_renew_stress(self: Any) -> None:
        """V3LeaseRenewStress, V3LeaseTimeToLiveStress: granted, and asked for at once."""
        for ask in (Lease.refresh, Lease.remaining):

            async def grant_and_ask(ask: Callable[[Lease], Awaitable[Any]] = ask) -> None:
                for _ in range(20):
                    lease = await self.etcd.lease(60)
                    await ask(lease)
                    await lease.revoke()

            await gatherResults([Deferred.fromCoroutine(grant_and_ask()) for _ in range(8)])
        self.assertEqual(await self.etcd.leases(), [])

    # --- never believed in too long

    async def never_believed_in_too_long(self: Any, hurt: Callable[[], Any], time_to_live: int = 4) -> None:
        """From when the server has forgotten it, nobody here believes in it; whatever has happened."""
        lease = await self.kept(time_to_live)
        key = self.key(b"a")
        await self.etcd.set(key, b"", lease)
        states: list[tuple[str, float]] = []
        seconds = monotonic(self.reactor)
        looking = LoopingCall(lambda: states.append((lease.state, seconds())))
        looking.clock = self.reactor
        looking.start(0.02)
        try:
            await hurt()
            await self.soon(lease.when_lost())
            self.assertEqual(lease.state, "lost")
        finally:
            looking.stop()
        last_alive = max(at for state, at in states if state == "alive")
        self.assertLessEqual(last_alive, lease.deadline)

    async def test_black_holed(self: Any) -> None:
        async def hurt() -> None:
            self.proxy.black_hole()

        await self.never_believed_in_too_long(hurt)

    async def test_paused(self: Any) -> None:
        async def hurt() -> None:
            self.own.pause()

        self.addCleanup(lambda: self.own.is_running and self.own.resume())
        await self.never_believed_in_too_long(hurt)

    async def test_killed(self: Any) -> None:
        await self.never_believed_in_too_long(lambda: self.own.kill())

    async def test_reactor_is_blocked(self: Any) -> None:
        """For twice its time to live: whoever asks first is told, and so is whoever waits."""
        lease = await self.kept(2)
        control = await self.etcd.lease(2)
        order: list[str] = []
        lease.when_lost().addCallback(lambda _: order.append("lost"))
        asking = self.etcd.leases().addCallback(lambda _: order.append("answered"))
        time.sleep(2 * lease.time_to_live)
        self.assertNotEqual(lease.state, "alive")
        await self.soon(asking)
        # before anything that has arrived meanwhile
        self.assertEqual(order, ["lost", "answered"])
        self.assertEqual(lease.state, "lost")
        await self.until_expired(control, self.own.url)


@on_every_server_at_length()
class Quorum(ClusterCase, LeaseCase):
    """A cluster that loses its majority for a while."""

    async def test_lease_renew_lost_quorum(self: Any) -> None:
        """LeaseRenewLostQuorum: a short loss is borne, and a lease is renewed as soon as it is over."""
        cluster = await self.own_cluster()
        etcd = self.cluster_client(cluster)
        lease = await etcd.lease(30, keep_alive=True)
        promised = lease.deadline
        await self.until(lambda: lease.deadline > promised)
        down = cluster.members[1:]
        await gatherResults([member.kill() for member in down])
        await self.assertFailure(etcd.set(b"a", b"", timeout=3), Exception)
        await gatherResults([member.start() for member in down])
        promised = lease.deadline
        await self.until(lambda: lease.deadline > promised or lease.state == "lost")
        self.assertEqual(lease.state, "alive")
        await lease.revoke()


@on_every_server()
class Sessions(FaultCase, LeaseCase):
    """What stands on a session."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.etcd = self.client(self.own.url)
        self.proxy = await self.proxy_to(self.own.url)
        self.away = self.client(self.proxy.url, retry=Backoff())

    async def test_life(self: Any) -> None:
        async with Session(self.away, 10) as session:
            await self.away.set(b"a", b"", lease=session.lease)
            self.assertEqual(await session.protect(self.away.get(b"a").addCallback(lambda found: found.count)), 1)
            self.assertTrue(session.is_alive)
        self.assertFalse(session.is_alive)
        self.assertEqual((await self.etcd.get(b"a")).kvs, [])
        self.assertEqual(await self.etcd.leases(), [])

    async def test_lost(self: Any) -> None:
        """What it protects ends with it."""
        session = await Session(self.away, 5).start()
        work: Deferred[None] = Deferred()
        protected = session.protect(work)
        await self.away.set(b"a", b"", lease=session.lease)
        self.proxy.black_hole()
        await self.assertFailure(self.soon(protected), SessionExpired)
        self.assertFalse(session.is_alive)
        self.behave()
        await self.assertFailure(session.close(), SessionExpired, Unavailable)
        await self.until_expired(session.lease, self.own.url)
        self.assertEqual((await self.etcd.get(b"a")).kvs, [])

    async def test_renewals_are_cut(self: Any) -> None:
        """As long as one gets through in time, it lasts."""
        async with Session(self.away, 10) as session:
            self.proxy.cut_answer(where=self.answers_to(LEASE_KEEP_ALIVE), count=3)
            for _ in range(2):
                promised = session.lease.deadline
                await self.until(lambda promised=promised: session.lease.deadline > promised)
            self.assertTrue(session.is_alive)
