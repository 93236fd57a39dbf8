"""
Leases, on every server: granted, kept alive, lost; never believed to be alive when they are not.
"""

from __future__ import annotations

import contextlib
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from test.real.base import RealCase, on_every_server
from test.real.test_faults import FaultCase
from txetcd import Closed, Expired, Lease, LeaseNotFound, OutcomeUnknown, Timeout, Unavailable
from txetcd._clock import monotonic
from txetcd._schema import LEASE_GRANT, LEASE_REVOKE
from txetcd.errors import LeaseExist
from txetcd.lease import MAX_TIME_TO_LIVE


class LeaseCase(RealCase):
    """Leases, and what the server says of them."""

    async def seconds_left(self: Any, lease: Lease, url: Any = None) -> int:
        """What the server says itself; -1 for a lease that it does not know."""
        answer = await self.post("/v3/lease/timetolive", {"ID": str(lease.lease_id)}, url)
        return int(answer.get("TTL", 0))

    async def renew_elsewhere(self: Any, lease: Lease, url: Any = None) -> bool:
        """As another client would; whether the server knows the lease."""
        answer = await self.post("/v3/lease/keepalive", {"ID": str(lease.lease_id)}, url)
        return "TTL" in answer["result"]

    async def revoke_elsewhere(self: Any, lease: Lease, url: Any = None) -> None:
        await self.post("/v3/lease/revoke", {"ID": str(lease.lease_id)}, url)

    async def until_expired(self: Any, lease: Lease, url: Any = None) -> None:
        """Waits until the server has forgotten the lease."""

        async def is_gone() -> bool:
            return bool(await self.seconds_left(lease, url) < 0)

        await self.until(is_gone)


@on_every_server()
class Granted(LeaseCase):
    """What is granted, and what is not."""

    async def test_grant(self: Any) -> None:
        began = self.reactor.seconds()
        lease = await self.etcd.lease(60)
        self.assertEqual((lease.time_to_live, lease.state), (60, "alive"))
        self.assertGreater(lease.header.revision, 0)
        self.assertIn(lease.lease_id, await self.etcd.leases())
        remaining = await lease.remaining()
        # the server cuts the seconds
        self.assertTrue(59 - (self.reactor.seconds() - began) <= remaining <= 60, remaining)
        told = await self.etcd.time_to_live(lease.lease_id)
        self.assertTrue(59 - (self.reactor.seconds() - began) <= told <= 60, told)
        await lease.revoke()
        await self.assertFailure(self.etcd.time_to_live(lease.lease_id), LeaseNotFound)

    async def test_id_of_our_own(self: Any) -> None:
        """Any of 63 bits does, for whatever there is."""
        for _ in range(20):
            lease = await self.etcd.lease(60)
            self.assertTrue(0 < lease.lease_id < 2**63)
            await self.etcd.set(self.key(b"a"), b"", lease)
            self.assertEqual((await self.etcd.get(self.key(b"a"))).kvs[0].lease, lease.lease_id)
            self.assertIn(lease.lease_id, await self.etcd.leases())
            self.assertEqual(await lease.keys(), [self.key(b"a")])
            await lease.refresh()
            await lease.revoke()
            self.assertNotIn(lease.lease_id, await self.etcd.leases())

    async def test_chosen_id(self: Any) -> None:
        for lease_id in (4711, 2**63 - 1, -1, -(2**63)):
            lease = await self.etcd.lease(60, lease_id)
            self.assertEqual(lease.lease_id, lease_id)
            await self.etcd.set(self.key(b"a"), b"", lease)
            self.assertEqual((await self.etcd.get(self.key(b"a"))).kvs[0].lease, lease_id)
            self.assertIn(lease_id, await self.etcd.leases())
            self.assertEqual(await lease.keys(), [self.key(b"a")])
            await lease.refresh()
            await lease.revoke()

    async def test_id_exists(self: Any) -> None:
        lease = await self.etcd.lease(60, 4712)
        error = await self.assertFailure(self.etcd.lease(60, 4712), LeaseExist)
        self.assertEqual((error.call, error.maybe_applied), ("Lease.LeaseGrant", False))
        await lease.revoke()
        await (await self.etcd.lease(60, 4712)).revoke()

    async def test_least_time_to_live(self: Any) -> None:
        """The server raises what is too short for it, and the lease knows."""
        lease = await self.etcd.lease(1)
        self.assertEqual(lease.time_to_live, 2)
        with contextlib.suppress(Expired):
            await lease.revoke()

    async def test_longest_time_to_live(self: Any) -> None:
        lease = await self.etcd.lease(MAX_TIME_TO_LIVE)
        self.assertEqual(lease.time_to_live, MAX_TIME_TO_LIVE)
        await lease.revoke()
        self.assertRaises(ValueError, self.etcd.lease, MAX_TIME_TO_LIVE + 1)

    async def test_cancelled_grant_leaves_no_lease(self: Any) -> None:
        before = await self.etcd.leases()
        etcd = self.client()
        for options in ({}, {"keep_alive": True}):
            granting = etcd.lease(60, **options)
            granting.cancel()
            await self.assertFailure(granting, CancelledError)
        await self.until(lambda: not etcd.stats().in_flight)
        await etcd.close()
        await self.assert_no_new_leases(before)

    async def test_closed_client(self: Any) -> None:
        etcd = self.client()
        lease = await etcd.lease(60)
        await etcd.close()
        for asked in (etcd.lease(60), lease.refresh(), lease.revoke(), lease.remaining(), lease.keys(), etcd.leases()):
            await self.assertFailure(asked, Closed)
        await self.revoke_elsewhere(lease)


@on_every_server()
class Attached(LeaseCase):
    """Keys and the lease they depend on."""

    async def test_keys(self: Any) -> None:
        lease = await self.etcd.lease(60)
        self.assertEqual(await lease.keys(), [])
        for name in (b"a", b"b", b"\xff\x00"):
            await self.etcd.set(self.key(name), b"", lease)
        self.assertEqual(sorted(await lease.keys()), [self.key(name) for name in (b"a", b"b", b"\xff\x00")])
        await lease.revoke()
        self.assertEqual((await self.etcd.get(self.keys())).kvs, [])

    async def test_key_moves_to_another(self: Any) -> None:
        first, second = await self.etcd.lease(60), await self.etcd.lease(60)
        await self.etcd.set(self.key(b"a"), b"", first)
        await self.etcd.set(self.key(b"a"), b"", second.lease_id)
        self.assertEqual((await first.keys(), await second.keys()), ([], [self.key(b"a")]))
        await first.revoke()
        self.assertEqual((await self.etcd.get(self.key(b"a"))).kvs[0].lease, second.lease_id)
        await self.etcd.set(self.key(b"a"), b"")
        await second.revoke()
        self.assertEqual((await self.etcd.get(self.key(b"a"))).kvs[0].lease, 0)

    async def test_key_keeps_its_lease(self: Any) -> None:
        lease = await self.etcd.lease(60)
        await self.etcd.set(self.key(b"a"), b"1", lease)
        await self.etcd.set(self.key(b"a"), b"2", ignore_lease=True)
        self.assertEqual(await lease.keys(), [self.key(b"a")])
        await lease.revoke()

    async def test_lease_that_is_gone(self: Any) -> None:
        lease = await self.etcd.lease(60)
        await lease.revoke()
        error = await self.assertFailure(self.etcd.set(self.key(b"a"), b"", lease), LeaseNotFound)
        self.assertFalse(error.maybe_applied)
        await self.assertFailure(self.etcd.set(self.key(b"a"), b"", 4713), LeaseNotFound)
        self.assertEqual((await self.etcd.get(self.key(b"a"))).kvs, [])


@on_every_server()
class Ended(LeaseCase):
    """How it ends, and what its calls say then."""

    async def gone(self: Any, lease: Lease) -> None:
        """Every call says that the lease is gone."""
        self.assertEqual(lease.state, "lost")
        for asked in (lease.refresh(), lease.revoke(), lease.remaining(), lease.keys()):
            error = await self.assertFailure(asked, Expired)
            self.assertIn(f"{lease.lease_id:x}", str(error))
        await lease.when_lost()
        self.assertRaises(Expired, lease.keep_alive)

    async def test_revoked_twice(self: Any) -> None:
        lease = await self.etcd.lease(60)
        losing = lease.when_lost()
        await lease.revoke()
        await self.soon(losing)
        self.assertNotIn(lease.lease_id, await self.etcd.leases())
        await self.gone(lease)

    async def test_revoked_elsewhere(self: Any) -> None:
        """Whoever asks first learns it."""
        for ask in (Lease.refresh, Lease.revoke, Lease.remaining, Lease.keys):
            lease = await self.etcd.lease(60)
            await self.revoke_elsewhere(lease)
            await self.assertFailure(ask(lease), Expired)
            await self.gone(lease)

    async def test_expires_with_its_keys(self: Any) -> None:
        own = await self.own_server()
        etcd = self.client(own.url)
        lease = await etcd.lease(5)
        revision = (await etcd.set(b"a", b"", lease)).header.revision
        await etcd.set(b"b", b"")
        async with etcd.watcher(b"a", start_revision=revision + 1) as watch:
            event = await self.soon(watch.__anext__())
        # the server never takes it earlier than promised, and we never believe in it longer
        self.assertNotEqual(lease.state, "alive")
        self.assertTrue(event.is_delete)
        self.assertEqual([kv.key for kv in (await etcd.get(self.keys().all())).kvs], [b"b"])
        await self.assertFailure(lease.remaining(), Expired)
        await self.gone(lease)

    async def test_refreshed_in_time(self: Any) -> None:
        """One that is refreshed outlives one that is not."""
        own = await self.own_server()
        etcd = self.client(own.url)
        kept, control = await etcd.lease(5), await etcd.lease(5)

        async def refreshed_until_control_is_gone() -> bool:
            await kept.refresh()
            return bool(await self.seconds_left(control, own.url) < 0)

        await self.until(refreshed_until_control_is_gone)
        self.assertGreaterEqual(await kept.remaining(), 0)
        self.assertEqual((kept.state, control.state), ("alive", "suspect"))

    async def test_block(self: Any) -> None:
        async with self.etcd.lease(60) as lease:
            await self.etcd.set(self.key(b"a"), b"", lease)
            self.assertEqual(lease.state, "alive")
        self.assertEqual((await self.etcd.get(self.key(b"a"))).kvs, [])
        await self.gone(lease)

    async def test_block_that_fails(self: Any) -> None:
        with self.assertRaises(ZeroDivisionError):
            async with self.etcd.lease(60, keep_alive=True) as lease:
                raise ZeroDivisionError()
        self.assertEqual(await self.seconds_left(lease), -1)

    async def test_block_that_revokes_its_lease(self: Any) -> None:
        async with self.etcd.lease(60, keep_alive=True) as lease:
            await lease.revoke()
        await self.gone(lease)

    async def test_block_whose_lease_is_gone_at_the_end(self: Any) -> None:
        with self.assertRaises(Expired):
            async with self.etcd.lease(60) as lease:
                await self.revoke_elsewhere(lease)


@on_every_server()
class KeptAlive(LeaseCase):
    """Renewed, until it is lost or let go."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.own_etcd = self.client(self.own.url)

    async def kept(self: Any, time_to_live: int, etcd: Any = None) -> Lease:
        lease = await (etcd or self.own_etcd).lease(time_to_live, keep_alive=True)
        self.addCleanup(lease.let_go)
        return lease

    async def test_beyond_its_time_to_live(self: Any) -> None:
        """As long as it is wanted; many leases, of which some are kept from later on only."""
        # not a few seconds: a busy machine may well take them away from all of them at once
        leases = [await granting for granting in [self.own_etcd.lease(10, keep_alive=True) for _ in range(50)]]
        late = await self.own_etcd.lease(10)
        late.keep_alive()
        late.keep_alive()
        await self.until_expired(await self.own_etcd.lease(12), self.own.url)
        self.assertEqual({lease.state for lease in [*leases, late]}, {"alive"})
        let_go = leases.pop()
        let_go.let_go()
        await self.until_expired(let_go, self.own.url)
        self.assertEqual((let_go.state, late.state), ("suspect", "alive"))
        await self.assertFailure(let_go.refresh(), Expired)
        for revoking in [lease.revoke() for lease in [*leases, late]]:
            await revoking
        self.assertEqual(await self.own_etcd.leases(), [])

    async def test_revoked_elsewhere(self: Any) -> None:
        """It is lost at the next renewal, and another one is not."""
        lease, other = await self.kept(1), await self.kept(10)
        losing = lease.when_lost()
        await self.revoke_elsewhere(lease, self.own.url)
        await self.soon(losing)
        self.assertEqual((lease.state, other.state), ("lost", "alive"))
        await self.assertFailure(lease.refresh(), Expired)
        await other.refresh()

    async def test_client_is_closed(self: Any) -> None:
        etcd = self.client(self.own.url)
        lease = await self.kept(1, etcd)
        losing = lease.when_lost()
        await etcd.close()
        await self.soon(losing)
        self.assertEqual(lease.state, "lost")
        await self.until_expired(lease, self.own.url)

    async def test_cancelled_when_lost(self: Any) -> None:
        lease = await self.kept(10)
        losing = lease.when_lost()
        losing.cancel()
        await self.assertFailure(losing, CancelledError)
        await lease.revoke()

    async def test_short_outage(self: Any) -> None:
        """The server crashes and comes back within the time to live."""
        lease = await self.kept(10)
        await self.own_etcd.set(b"a", b"", lease)
        await self.own.kill()
        # unknown, if it was sent on a connection of the pool whose end was not noticed yet
        await self.assertFailure(lease.refresh(), Unavailable, OutcomeUnknown)
        await self.own.start()
        promised = lease.deadline
        await self.until(lambda: lease.deadline > promised)
        self.assertEqual(lease.state, "alive")
        self.assertEqual([kv.lease for kv in (await self.own_etcd.get(b"a")).kvs], [lease.lease_id])

    async def test_short_pause(self: Any) -> None:
        """The server is silent for longer than a renewal waits, but not for the time to live."""
        lease = await self.kept(12)
        await self.pause(self.own)
        waiting = self.own_etcd.status(timeout=4.5)
        await self.assertFailure(waiting, TimeoutError)
        self.own.resume()
        promised = lease.deadline
        await self.until(lambda: lease.deadline > promised)
        self.assertEqual(lease.state, "alive")

    async def test_outage_longer_than_its_time_to_live(self: Any) -> None:
        lease = await self.kept(5)
        losing = lease.when_lost()
        await self.own.kill()
        self.assertEqual(lease.state, "alive")
        await self.soon(losing)
        self.assertEqual(lease.state, "lost")
        self.assertGreaterEqual(monotonic(self.reactor)(), lease.deadline)
        await self.assertFailure(lease.refresh(), Expired)

    async def test_pause_longer_than_its_time_to_live(self: Any) -> None:
        lease = await self.kept(5)
        await self.own_etcd.set(b"a", b"", lease)
        losing = lease.when_lost()
        await self.pause(self.own)
        await self.soon(losing)
        self.assertEqual(lease.state, "lost")
        self.own.resume()
        # whatever became of the renewals that were under way: nobody renews it any more
        await self.until_expired(lease, self.own.url)
        self.assertEqual((await self.own_etcd.get(b"a")).kvs, [])


@on_every_server()
class TakenBack(FaultCase, LeaseCase):
    """Leases that are revoked behind the back: what the client does not know, or not believe in, any more."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.etcd = self.client(self.own.url)
        self.proxy = await self.proxy_to(self.own.url)
        self.away = self.client(self.proxy.url, timeout=4)

    async def until_leases_are(self: Any, leases: list[int]) -> None:
        """Waits until the server knows these, and no others."""

        async def are() -> bool:
            return bool(await self.etcd.leases() == leases)

        await self.until(are)

    async def until_revoked(self: Any, lease: Lease) -> None:
        """Waits until the server has forgotten it, which it does not by itself: it is renewed all the time."""

        async def is_gone() -> bool:
            return not await self.renew_elsewhere(lease, self.own.url)

        await self.until(is_gone)

    async def lost(self: Any, lease: Lease) -> None:
        """It is lost, though the server renews it all the time."""

        async def is_lost() -> bool:
            self.assertTrue(await self.renew_elsewhere(lease, self.own.url))
            return bool(lease.state != "alive")

        await self.until(is_lost)
        await self.soon(lease.when_lost())

    async def test_answers_are_lost(self: Any) -> None:
        """It could not be renewed, says the client; it was, says the server, which hears everything."""
        lease = await self.away.lease(5, keep_alive=True)
        await self.etcd.set(b"a", b"", lease)
        self.proxy.black_hole("to_client")
        await self.soon(lease.when_lost())
        await self.until_revoked(lease)
        self.assertEqual((await self.etcd.get(b"a")).kvs, [])

    async def test_cut_off_for_a_while(self: Any) -> None:
        """The server is told as soon as it can be reached again."""
        lease = await self.away.lease(10, keep_alive=True)
        self.proxy.black_hole("to_server")
        await self.lost(lease)
        self.assertTrue(await self.renew_elsewhere(lease, self.own.url))
        self.behave()
        await self.until_revoked(lease)

    async def test_chosen_id_is_not_taken_back(self: Any) -> None:
        """It may be somebody else's by now."""
        lease = await self.away.lease(5, 4715, keep_alive=True)
        self.proxy.black_hole("to_client")
        await self.lost(lease)
        # time to be told, if it were
        for _ in range(20):
            self.assertTrue(await self.renew_elsewhere(lease, self.own.url))

    async def test_answer_to_the_grant_is_lost(self: Any) -> None:
        """Cut or swallowed: nothing is left; of what the user has chosen, everything."""
        is_grant = self.asks(LEASE_GRANT)
        for number, (lose, error) in enumerate((
            (lambda: self.proxy.cut_answer(where=self.answers_to(LEASE_GRANT)), OutcomeUnknown),
            (lambda: self.proxy.black_hole("to_client", where=is_grant), Timeout),
        )):  # fmt: skip
            self.behave()
            lose()
            caught = await self.assertFailure(self.soon(self.away.lease(600)), error)
            self.assertTrue(caught.maybe_applied)
            await self.until_leases_are([])
            await self.assertFailure(self.soon(self.away.lease(600, 4716 + number)), error)
            # what would be done behind the back is done by then
            etcd, self.away = self.away, self.client(self.proxy.url, timeout=4)
            await etcd.close()
            await self.until_leases_are([4716 + number])
            await self.post("/v3/lease/revoke", {"ID": str(4716 + number)}, self.own.url)

    async def test_cancelled_and_its_answer_is_lost(self: Any) -> None:
        """Nobody wants it, nobody knows it, and it is revoked."""
        self.proxy.black_hole("to_client", where=self.asks(LEASE_GRANT))
        granting = self.away.lease(600)
        granting.cancel()
        await self.assertFailure(granting, CancelledError)
        await self.until(lambda: self.proxy.faults.get("black_hole"))
        await self.until_leases_are([])

    async def test_block_is_cancelled_while_it_is_left(self: Any) -> None:
        """The revocation is stuck on its way: it is cancelled, and asked anew."""

        async def block() -> None:
            async with self.client(self.proxy.url).lease(600, keep_alive=True):
                pass

        self.proxy.black_hole("to_server", where=self.asks(LEASE_REVOKE))
        running = Deferred.fromCoroutine(block())
        await self.until(lambda: self.proxy.faults.get("black_hole"))
        self.assertEqual(len(await self.etcd.leases()), 1)
        self.behave()
        running.cancel()
        await self.assertFailure(running, CancelledError)
        await self.until_leases_are([])

    async def test_revocation_is_cut(self: Any) -> None:
        """It failed, and whoever waits for the loss learns of it when the server has been told."""
        self.proxy.cut_request(where=self.asks(LEASE_REVOKE))
        lease = await self.away.lease(600)
        losing = lease.when_lost()
        await self.assertFailure(lease.revoke(), Unavailable, OutcomeUnknown)
        self.assertEqual((lease.state, losing.called), ("alive", False))
        self.assertTrue(await self.renew_elsewhere(lease, self.own.url))
        self.behave()
        await self.soon(losing)
        self.assertEqual(lease.state, "lost")
        self.assertEqual(await self.etcd.leases(), [])
