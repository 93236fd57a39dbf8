"""
Parties and registrations, on every server: who lives is there, whatever happens to the server and the way to it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from test.real.base import RealCase, on_every_server_at_length
from test.real.test_watch_scenarios import ScenarioCase
from txetcd import Backoff, Client, Party, Session
from txetcd.errors import Replaced, SessionExpired


class PartyCase(RealCase):
    """A party of some clients."""

    def party(self: Any, client: Any = None, **options: Any) -> Party:
        return Party(client or self.etcd, self.key(b"party"), **options)

    async def until_members(self: Any, *names: bytes) -> None:
        """Waits until these are there."""

        async def are_there() -> bool:
            return sorted(await self.party().members()) == sorted(names)

        await self.until(are_there)


@on_every_server_at_length()
class Members(PartyCase):
    async def test_come_and_go(self: Any) -> None:
        shown: list[list[bytes]] = []
        following = self.party().on_change(lambda members: shown.append(sorted(members)))
        await self.until(lambda: shown)
        leases = await self.etcd.leases()
        async with self.party(self.client()).join(b"one", b"1"):
            two = self.party(self.client())
            await two.join(b"two", b"2")
            self.assertEqual(list((await self.party().members()).items()), [(b"one", b"1"), (b"two", b"2")])
            await two.leave()
        await self.until(lambda: shown[-1:] == [[]] and len(shown) > 1)
        self.assertEqual(shown, [[], [b"one"], [b"one", b"two"], [b"one"], []])
        following.cancel()
        await following
        await self.assert_no_new_leases(leases)

    async def test_dies(self: Any) -> None:
        """Its process does."""
        dying = Client(self.reactor, self.url)
        await self.party(dying, time_to_live=2).join(b"dying")
        await self.until_members(b"dying")
        await dying.close()
        await self.until_members()

    async def test_lease_is_revoked(self: Any) -> None:
        """By force; it comes back at once."""
        told: list[bool] = []
        party = self.party()
        me = await party.join(b"me", b"value", on_status=told.append)
        kv = (await self.etcd.get(me.key)).kvs[0]
        await self.post("/v3/lease/revoke", {"ID": str(kv.lease)})
        await self.until(lambda: told == [True, False, True])
        again = (await self.etcd.get(me.key)).kvs[0]
        self.assertEqual((again.value, again.lease != kv.lease, me.is_there), (b"value", True, True))
        await party.leave()

    async def test_key_is_deleted(self: Any) -> None:
        told: list[bool] = []
        party = self.party()
        me = await party.join(b"me", on_status=told.append)
        await self.etcd.delete(me.key)
        await self.until(lambda: told == [True, False, True])
        await party.leave()
        await self.until_members()

    async def test_of_the_same_name(self: Any) -> None:
        """Whoever comes later is there; the other gives way, and leaves the key alone."""
        first, second = self.party(self.client()), self.party(self.client())
        old = await first.join(b"me", b"old")
        await second.join(b"me", b"new")
        await self.assertFailure(self.soon(old.when_stopped()), Replaced)
        await self.assertFailure(first.leave(), Replaced)
        self.assertEqual(await self.party().members(), {b"me": b"new"})
        await second.leave()

    async def test_on_a_session(self: Any) -> None:
        async with Session(self.etcd, 10) as session:
            party = self.party(session=session)
            await party.join(b"me")
            await party.leave()
            await self.until_members()
            self.assertTrue(session.is_alive)
            me = await party.join(b"me")
        await self.assertFailure(self.soon(me.when_stopped()), SessionExpired)
        await self.assertFailure(party.leave(), SessionExpired)
        await self.until_members()


@on_every_server_at_length()
class Outages(ScenarioCase, PartyCase):
    """The server goes, and comes back; and so does the way to it."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.web = self.own.url
        self.etcd = self.client(self.own.url, retry=Backoff())
        await super().start()

    async def test_longer_than_the_time_to_live(self: Any) -> None:
        """It comes back with another lease, and is told."""
        told: list[bool] = []
        me = await self.party(self.away, time_to_live=2).join(b"me", b"value", on_status=told.append)
        first = (await self.etcd.get(me.key)).kvs[0].lease
        await self.proxy.refuse()
        self.break_streams()
        await self.until_members()
        await self.until(lambda: told == [True, False])
        self.assertFalse(me.is_there)
        await self.proxy.accept()
        await self.until(lambda: told == [True, False, True])
        kv = (await self.etcd.get(me.key)).kvs[0]
        self.assertEqual((kv.value, kv.lease != first), (b"value", True))
        await me.leave()
        await self.until_members()

    async def test_shorter_than_the_time_to_live(self: Any) -> None:
        """Nobody notices; the server is killed as well."""
        told: list[bool] = []
        me = await self.party(self.away, time_to_live=30).join(b"me", on_status=told.append)
        for _ in range(3):
            self.break_streams()
        await self.crash(self.own)
        self.break_streams()
        await self.until_members(b"me")
        self.assertEqual((told, me.is_there), ([True], True))
        await me.leave()

    async def test_from_the_beginning(self: Any) -> None:
        await self.proxy.refuse()
        self.break_streams()
        joining = self.party(self.away).join(b"me")
        failing = self.party(self.away).join(b"other", timeout=0.3)
        await self.assertFailure(failing, TimeoutError)
        await self.proxy.accept()
        me = await self.soon(joining)
        await self.until_members(b"me")
        await me.leave()

    async def test_client_is_closed(self: Any) -> None:
        me = await self.party(self.away).join(b"me")
        stopped: Deferred[None] = me.when_stopped()
        await self.away.close()
        self.assertIsNone(await self.soon(stopped))
