"""
Elections, on every server: one leader at a time, and ``etcdctl elect`` in the same one.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from test.real.base import RealCase, on_every_server_at_length
from test.real.test_auth import AuthCase
from test.real.test_faults import FaultCase
from test.real.test_interop import InteropCase, Running
from txetcd import (
    Election,
    Expired,
    KeySet,
    OpSet,
    OutcomeUnknown,
    PermissionDenied,
    Session,
    Timeout,
    Transaction,
    Unavailable,
)
from txetcd._schema import TXN
from txetcd.errors import NoElectionLeader, NotElectionLeader, SessionExpired


class ElectionCase(RealCase):
    """Elections of one name."""

    async def start(self: Any) -> None:
        self.name = self.key(b"election")

    def election(self: Any, etcd: Any = None, **options: Any) -> Election:
        return Election(etcd or self.etcd, self.name, **options)

    async def candidates(self: Any) -> list[bytes]:
        return [kv.value for kv in await self.election().contenders()]

    async def until_candidates_are(self: Any, *values: bytes) -> None:
        async def are_they() -> bool:
            return await self.candidates() == list(values)

        await self.until(are_they)

    async def in_line(self: Any, value: bytes, place: int, **options: Any) -> tuple[Election, Deferred[Election]]:
        """One that campaigns, and has its place in the queue."""
        election = self.election(**options)
        campaigning = election.campaign(value)

        async def has_it() -> bool:
            return (await self.candidates())[place - 1 :] == [value]

        await self.until(has_it)
        return election, campaigning

    async def next_value(self: Any, leaders: Any) -> bytes:
        return bytes((await self.soon(leaders.__anext__())).value)

    async def revoke_lease_of(self: Any, key: bytes) -> None:
        lease_id = (await self.etcd.get(key)).kvs[0].lease
        await self.post("/v3/lease/revoke", {"ID": str(lease_id)})


@on_every_server_at_length()
class Elections(ElectionCase):
    """Those of etcd's own tests, by their names, and ours."""

    async def test_election_wait(self: Any) -> None:
        """Followers see each leader."""
        followers = [self.election(self.client()).observe() for _ in range(3)]
        values = [b"one", b"two", b"three"]
        leader, campaigning = await self.in_line(values[0], 1)
        waiting = [await self.in_line(value, place + 2) for place, value in enumerate(values[1:])]
        for value in values:
            await self.soon(campaigning)
            for leaders in followers:
                self.assertEqual(await self.next_value(leaders), value)
            await leader.resign()
            if waiting:
                leader, campaigning = waiting.pop(0)
        for leaders in followers:
            leaders.stop()

    async def test_election_failover(self: Any) -> None:
        """The next candidate leads when the session of the leader is lost."""
        session = await Session(self.client(), 10).start()
        first = self.election(session._etcd, session=session)
        await first.campaign(b"first")
        async with self.election().observe() as leaders:
            self.assertEqual(await self.next_value(leaders), b"first")
            second, campaigning = await self.in_line(b"second", 2)
            self.assertFalse(campaigning.called)
            losing = first.when_lost()
            await session.close()
            await self.soon(losing)
            self.assertFalse(first.is_leader)
            await self.soon(campaigning)
            self.assertEqual(await self.next_value(leaders), b"second")
            self.assertGreater(second.revision, first.revision)
        await second.resign()
        await self.assertFailure(first.resign(), SessionExpired)

    async def test_election_session_recampaign(self: Any) -> None:
        """The second campaign of a session proclaims."""
        async with Session(self.etcd, 60) as session:
            first, second = (self.election(session=session) for _ in range(2))
            await first.campaign(b"abc")
            await second.campaign(b"def")
            leader = await second.leader()
            self.assertEqual((leader.value, leader.key, leader.create_revision), (b"def", first.key, second.revision))
            self.assertEqual(leader.key, self.name + f"/{session.lease_id:x}".encode())

    async def test_election_on_prefix_of_existing_key(self: Any) -> None:
        """A name is not taken for one that begins alike."""
        await self.etcd.set(self.name + b"er", b"somebody")
        await self.assertFailure(self.election().leader(), NoElectionLeader)
        election = await self.soon(self.election().campaign(b"me"))
        await election.resign()

    async def test_election_on_session_restart(self: Any) -> None:
        """Who campaigns again in the same session leads at once, with the new value, and the same token."""
        async with Session(self.etcd, 60) as session:
            election = await self.election(session=session).campaign(b"abc")
            other, campaigning = await self.in_line(b"other", 2)
            again = await self.soon(self.election(session=session).campaign(b"def"))
            self.assertEqual(again.revision, election.revision)
            async with other.observe() as leaders:
                self.assertEqual(await self.next_value(leaders), b"def")
            self.assertFalse(campaigning.called)
        await self.soon(campaigning)
        await other.resign()

    async def test_election_observe_compacted(self: Any) -> None:
        """The value of the leader was compacted away."""
        election = await self.election().campaign(b"abc")
        async with election.observe() as before, election.observe() as leaders:
            self.assertEqual(await self.next_value(before), b"abc")
            revision = (await self.etcd.set(self.key(b"a"), b"")).header.revision
            await self.etcd.compact(revision)
            self.assertEqual(await self.next_value(leaders), b"abc")
            await election.proclaim(b"def")
            for one in (before, leaders):
                self.assertEqual(await self.next_value(one), b"def")
        await election.resign()

    async def test_election_observe_fresh_responses_on_proclaim(self: Any) -> None:
        """What is told is what was proclaimed."""
        election = await self.election().campaign(b"0")
        async with election.observe() as leaders:
            revisions = [(await leaders.__anext__()).mod_revision]
            for number in range(1, 5):
                await election.proclaim(b"%d" % number)
                kv = await self.soon(leaders.__anext__())
                self.assertEqual((kv.value, kv.version), (b"%d" % number, number + 1))
                revisions.append(kv.mod_revision)
        self.assertEqual(revisions, sorted(set(revisions)))
        await election.resign()

    async def test_resume_election(self: Any) -> None:
        """One that was resigned can campaign, be observed, and be resigned again."""
        election = self.election()
        for value in (b"abc", b"def"):
            await election.campaign(value)
            async with election.observe() as leaders:
                self.assertEqual(await self.next_value(leaders), value)
            await election.resign()
            await self.assertFailure(election.resign(), NotElectionLeader)
        self.assertEqual(await self.candidates(), [])

    async def test_election_campaign(self: Any) -> None:
        """The example of Go: two candidates; the second is told when it leads."""
        leases = await self.etcd.leases()
        first, second = self.election(), self.election(self.client())
        campaigns = [first.campaign(b"e1"), second.campaign(b"e2")]
        won = []
        campaigns[0].addCallback(won.append)
        campaigns[1].addCallback(won.append)
        for _ in range(2):
            await self.until(lambda: len(won) == 1)
            leader = won.pop()
            self.assertTrue(leader.is_leader)
            self.assertEqual((await leader.leader()).value, b"e1" if leader is first else b"e2")
            await leader.resign()
        self.assertEqual(await self.candidates(), [])
        await self.assert_no_new_leases(leases)

    async def test_timeout_and_cancel_leave_nothing(self: Any) -> None:
        leader = await self.election().campaign(b"me")
        leases = await self.etcd.leases()
        error = await self.assertFailure(self.election().campaign(b"late", 0.5), Timeout)
        self.assertFalse(error.maybe_applied)
        self.assertEqual(await self.candidates(), [b"me"])
        _, campaigning = await self.in_line(b"cancelled", 2)
        campaigning.cancel()
        await self.assertFailure(campaigning, CancelledError)
        await self.until_candidates_are(b"me")
        await self.until(lambda: self.has_no_new_lease(leases))
        await leader.resign()

    async def test_key_of_the_leader_is_deleted(self: Any) -> None:
        """By force: the next one leads, and the first is told when it proclaims."""
        leases = await self.etcd.leases()
        first = await self.election().campaign(b"first")
        guard = first.guard()
        second, campaigning = await self.in_line(b"second", 2)
        await self.etcd.delete(first.key)
        await self.soon(campaigning)
        self.assertFalse((await self.etcd.transact(Transaction([guard], [OpSet(self.key(b"a"), b"")]))).succeeded)
        await self.assertFailure(first.proclaim(b"still me"), NotElectionLeader)
        self.assertFalse(first.is_leader)
        await second.resign()
        await self.until(lambda: self.has_no_new_lease(leases))

    async def test_run(self: Any) -> None:
        """One after the other, and never two."""
        working: list[bytes] = []
        history: list[bytes] = []

        async def work(value: bytes) -> bytes:
            working.append(value)
            self.assertEqual(working, [value])
            self.assertEqual((await self.election().leader()).value, value)
            history.append(value)
            working.remove(value)
            return value

        values = [b"%d" % number for number in range(5)]
        running = [self.election(self.client()).run(lambda value=value: work(value), value) for value in values]
        self.assertEqual([await self.soon(one) for one in running], values)
        self.assertEqual(sorted(history), values)
        self.assertEqual(await self.candidates(), [])

    async def test_run_is_cancelled_when_the_leadership_is_lost(self: Any) -> None:
        """With the lease, or the key."""
        leases = await self.etcd.leases()
        for is_lease in (True, False):
            election = self.election()
            cancelled: list[bool] = []
            work: Deferred[None] = Deferred(lambda _, cancelled=cancelled: cancelled.append(True))
            running = election.run(lambda work=work: work, b"me")
            await self.until(lambda election=election: election.is_leader)
            if is_lease:
                await self.revoke_lease_of(election.key)
            else:
                await self.etcd.delete(election.key)
            await self.assertFailure(self.soon(running), NotElectionLeader)
            self.assertEqual((cancelled, election.is_leader), ([True], False))
        await self.until(lambda: self.has_no_new_lease(leases))

    async def test_run_and_cancel(self: Any) -> None:
        """It has resigned when it fails."""
        election = self.election()
        running = election.run(Deferred, b"me")
        await self.until(lambda: election.is_leader)
        running.cancel()
        await self.assertFailure(self.soon(running), CancelledError)
        self.assertEqual(await self.candidates(), [])

    async def test_lost_before_it_resigns(self: Any) -> None:
        election = await self.election().campaign(b"me")
        losing = election.when_lost()
        await self.revoke_lease_of(election.key)
        election_lost = self.soon(losing)
        await self.etcd.get(self.name)
        await self.assertFailure(election.resign(), Expired)
        await election_lost


@on_every_server_at_length()
class WithAuth(AuthCase):
    """Somebody who may do no more than what an election takes."""

    async def test_election_with_auth_enabled(self: Any) -> None:
        await self.secure()
        election = await Election(self.alice, b"alice/election").campaign(b"abc")
        async with Election(self.alice, b"alice/election").observe() as leaders:
            self.assertEqual((await self.soon(leaders.__anext__())).value, b"abc")
            await election.proclaim(b"def")
            self.assertEqual((await self.soon(leaders.__anext__())).value, b"def")
        await election.resign()
        await self.assertFailure(Election(self.alice, b"others").campaign(b"abc"), PermissionDenied)
        self.assertEqual(await self.root.leases(), [])


@on_every_server_at_length()
class Restarted(ElectionCase):
    """The server goes, and comes back."""

    async def test_observe_and_lead(self: Any) -> None:
        """Who observes goes on, and who leads still does."""
        own = await self.own_server()
        etcd = self.client(own.url)
        election = await Election(etcd, b"election", time_to_live=30).campaign(b"abc")
        async with Election(self.client(own.url), b"election").observe() as leaders:
            self.assertEqual(await self.next_value(leaders), b"abc")
            told = self.soon(leaders.__anext__())
            await self.crash(own)
            self.assertTrue(election.is_leader)

            async def is_proclaimed() -> bool:
                await election.proclaim(b"def")
                return True

            await self.until(is_proclaimed)
            self.assertEqual((await told).value, b"def")
        await election.resign()


@on_every_server_at_length()
class CutOff(FaultCase):
    """What is in doubt."""

    async def test_campaign_after_resigning_in_doubt(self: Any) -> None:
        """In the same session: the key is deleted first, and not after it was taken over."""
        name = self.key(b"election")
        async with Session(self.away, 600) as session:
            election = await Election(self.away, name, session=session).campaign(b"one")
            before = election.revision
            self.proxy.cut_request(count=2, where=self.asks(TXN))
            reason = await self.assertFailure(election.resign(), OutcomeUnknown, Unavailable)
            self.assertIn("KV.Txn", str(reason))
            await self.soon(election.campaign(b"two"))
            self.assertGreater(election.revision, before)
            leader = await Election(self.etcd, name).leader()
            self.assertEqual((leader.create_revision, leader.value), (election.revision, b"two"))


@on_every_server_at_length()
class Etcdctl(ElectionCase, InteropCase):
    """``etcdctl elect`` and ours are one queue."""

    def theirs(self: Any, value: str) -> Running:
        """An ``etcdctl`` that campaigns, until it is ended."""
        return self.running("elect", self.name.decode(), value)

    async def until_leads(self: Any, process: Running, value: bytes) -> None:
        """Waits until it says that it leads: it shows its key and its value."""
        await self.until(lambda: process.output.count(b"\n") >= 2)
        leader = await self.election().leader()
        self.assertEqual((process.output, leader.value), (leader.key + b"\n" + value + b"\n", value))

    async def test_it_waits_for_us(self: Any) -> None:
        election = await self.election().campaign(b"ours")
        process = self.theirs("theirs")
        await self.until_candidates_are(b"ours", b"theirs")
        for _ in range(20):
            await self.etcd.get(self.name)
        self.assertEqual(process.output, b"")
        await election.resign()
        await self.until_leads(process, b"theirs")
        await self.soon(process.end())
        self.assertEqual(await self.candidates(), [])

    async def test_we_wait_for_it(self: Any) -> None:
        process = self.theirs("theirs")
        await self.until_leads(process, b"theirs")
        await self.assertFailure(self.election().campaign(b"late", 0.5), Timeout)
        election, campaigning = await self.in_line(b"ours", 2)
        self.assertFalse(campaigning.called)
        await self.soon(process.end())
        await self.soon(campaigning)
        self.assertEqual(await self.candidates(), [b"ours"])
        await election.resign()

    async def test_taking_turns(self: Any) -> None:
        """Ours, theirs, ours, theirs: each only when the one before it is done."""
        first = await self.election().campaign(b"1")
        second = self.theirs("2")
        await self.until_candidates_are(b"1", b"2")
        third, campaigning = await self.in_line(b"3", 3)
        fourth = self.theirs("4")
        await self.until_candidates_are(b"1", b"2", b"3", b"4")
        await first.resign()
        await self.until_leads(second, b"2")
        self.assertEqual((campaigning.called, fourth.output), (False, b""))
        await self.soon(second.end())
        await self.soon(campaigning)
        self.assertEqual(fourth.output, b"")
        await third.resign()
        await self.until_leads(fourth, b"4")
        await self.soon(fourth.end())
        self.assertEqual(await self.candidates(), [])

    async def test_it_observes_us(self: Any) -> None:
        """``etcdctl elect -l`` tells what we proclaim."""
        election = await self.election().campaign(b"one")
        observer = self.running("elect", "--listen", self.name.decode())
        await self.until(lambda: observer.output.endswith(b"one\n"))
        await election.proclaim(b"two")
        await self.until(lambda: observer.output.endswith(b"two\n"))
        await election.resign()
        await self.soon(observer.end("KILL"))

    async def test_we_observe_it(self: Any) -> None:
        async with self.election().observe() as leaders:
            told = self.soon(leaders.__anext__())
            process = self.theirs("theirs")
            self.assertEqual((await told).value, b"theirs")
            await self.soon(process.end())
            await self.etcd.get(KeySet(self.name, prefix=True))
