"""
Clusters whose network is cut: what a client is told by a member that the others cannot reach, and what it does then.

The scenarios are those of etcd's own tests (``clientv3/connectivity/network_partition_test.go`` and others).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from operator import ge
from typing import Any, Optional

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from test.real.base import GATEWAY, NATIVE, RealCase, on_every_server, on_every_server_at_length
from test.servers import NEWEST
from txetcd import (
    AlreadyExists,
    Backoff,
    CallRecord,
    Client,
    KeyValue,
    OpSet,
    OutcomeUnknown,
    Timeout,
    Transaction,
    Unavailable,
    Watch,
    never,
)
from txetcd._gateway import MAX_CONCURRENT
from txetcd.errors import Closed, LeaderChanged, NoLeader
from txetcd.testing import EtcdCluster, EtcdProcess

PARTITIONS = int(os.environ.get("TXETCD_TEST_PARTITIONS", "2"))
"""How often the leader is isolated where that is done again and again; etcd does it 5 times."""

READS = int(os.environ.get("TXETCD_TEST_PARTITION_READS", "20"))
"""How many reads through an isolated member are looked at."""

RENEWALS = (
    'grpc_server_msg_received_total{grpc_method="LeaseKeepAlive",grpc_service="etcdserverpb.Lease",'
    'grpc_type="bidi_stream"}'
)
"""The figure that says how often somebody wanted a lease to be renewed."""

_LOST = (Unavailable, OutcomeUnknown, Timeout)
"""What a call may fail with while the network is cut, or a leader elected."""


class PartitionCase(RealCase):
    """
    A test with a cluster of its own, whose network can be cut.

    :ivar cluster: the cluster.
    :ivar leader: the member that leads it at first.
    :ivar follower: another one, and ...
    :ivar others: ... those that are left.
    """

    size = 3

    # etcd's own timing, so that nobody is elected only because the machine is slow
    arguments: tuple[str, ...] = ()

    async def start(self: Any) -> None:
        self.cluster = EtcdCluster(
            self.reactor, self.size, binary=self.server.path, arguments=self.arguments, partitionable=True
        )
        self.addCleanup(self.cluster.stop)
        await self.cluster.start()
        self.leader = await self.cluster.leader()
        self.follower, *self.others = self.but(self.leader)

    def but(self: Any, *members: EtcdProcess) -> list[EtcdProcess]:
        """The other members."""
        return [member for member in self.cluster.members if member not in members]

    def client_at(self: Any, *members: EtcdProcess, **options: Any) -> Client:
        """A client of these members, which asks the first one first; and as often as it is sensible."""
        client: Client = self.client(self.url_of(members[0]), **{"retry": Backoff(), "timeout": 30, **options})
        client.set_endpoints([self.url_of(member) for member in members])
        self.assertEqual(client.endpoints[0], self.url_of(members[0]))
        return client

    def client_first_at(self: Any, member: EtcdProcess, **options: Any) -> Client:
        """A client of all members, which asks this one first."""
        client: Client = self.client_at(member, *self.but(member), **options)
        return client

    # --- noticing

    async def status(self: Any, member: EtcdProcess) -> Any:
        client = self.client(self.url_of(member))
        try:
            return await client.status()
        finally:
            await client.close()

    async def knows_a_leader(self: Any, member: EtcdProcess) -> bool:
        return bool((await self.status(member)).leader)

    async def knows_no_leader(self: Any, member: EtcdProcess) -> bool:
        return not (await self.status(member)).leader

    async def noticed(self: Any, *members: EtcdProcess) -> None:
        """These have noticed that they are isolated."""
        for member in members:
            await self.until(lambda member=member: self.knows_no_leader(member))

    async def cut_off(self: Any, member: EtcdProcess) -> None:
        """Isolates it; it has noticed, and the others have a leader."""
        self.cluster.isolate(member)
        await self.noticed(member)
        await self.cluster.leader()

    async def healed(self: Any) -> None:
        """All are together again, and have noticed that."""
        self.cluster.rejoin()
        for member in self.cluster.members:
            await self.until(lambda member=member: self.knows_a_leader(member))

    # --- what a member knows

    async def known_at(self: Any, member: EtcdProcess, name: bytes) -> Optional[KeyValue]:
        """What this member knows of a key by itself."""
        client = self.client(self.url_of(member))
        kvs = (await client.get(self.key(name), serializable=True)).kvs
        await client.close()
        return kvs[0] if kvs else None

    async def is_value_at(self: Any, member: EtcdProcess, name: bytes, value: bytes) -> bool:
        kv = await self.known_at(member, name)
        return kv is not None and kv.value == value

    # --- calls

    def assert_moved(self: Any, record: CallRecord, member: EtcdProcess) -> None:
        """This call was answered by another one than this member, which was asked first."""
        self.assertEqual(record.outcome, "ok")
        self.assertGreaterEqual(record.retries, 1)
        self.assertIn(record.endpoint, [self.url_of(other) for other in self.but(member)])

    is_done = False

    def beside(self: Any, *works: Any) -> list[Deferred[None]]:
        """Does these beside the test, again and again, until :meth:`end`."""
        running = [Deferred.fromCoroutine(self.go_on(work)) for work in works]
        self.addCleanup(lambda: Deferred.fromCoroutine(self.end(running)))
        return running

    async def go_on(self: Any, work: Any) -> None:
        while not self.is_done:
            try:
                await work()
            except _LOST:
                # not at once: a member without a leader refuses at once
                await deferLater(self.reactor, 0.01)
            except Closed:
                # the test has failed, and its clients are closed
                return

    async def end(self: Any, running: Iterable[Deferred[None]]) -> None:
        """Ends what goes on beside the test; fails as that has."""
        self.is_done = True
        for work in running:
            await self.soon(work)

    async def refused(self: Any, call: Deferred[Any]) -> NoLeader:
        """It is refused for want of a leader, before anything is done."""
        with self.assertRaises(NoLeader) as caught:
            await self.soon(call)
        self.assertFalse(caught.exception.maybe_applied)
        error: NoLeader = caught.exception
        return error


@on_every_server_at_length()
class Isolation(PartitionCase):
    """What the tests of this module stand on: an isolated member is isolated, and what is rejoined is whole."""

    async def isolated(self: Any, member: EtcdProcess) -> None:
        name, one = b"of " + member.url.encode(), self.client(member.url)
        together = self.client_at(*self.but(member))
        self.cluster.isolate(member)
        self.assertEqual(repr(self.cluster), "<EtcdCluster 3 of 3 running, 1 isolated>")
        self.assertIsNot(await self.cluster.leader(), member)
        await together.set(self.key(name), b"1")
        await self.noticed(member)
        with self.assertRaises(NoLeader):
            await one.get(self.key(name))
        self.assertIsNone(await self.known_at(member, name))
        for other in self.but(member):
            await self.until(lambda other=other: self.knows_a_leader(other))
        await self.healed()
        self.assertEqual((await self.until(lambda: self.known_at(member, name))).value, b"1")
        await self.client_at(member).set(self.key(name), b"2")
        self.assertEqual((await together.get(self.key(name))).kvs[0].value, b"2")

    async def test_isolate(self: Any) -> None:
        """Nothing reaches a follower, nor a leader, and nothing comes from it, until it is rejoined."""
        await self.isolated(self.follower)
        await self.isolated(await self.cluster.leader())

    async def test_any_order(self: Any) -> None:
        """Members that are isolated one by one are alone; any two of them are a cluster again."""
        for member in self.cluster.members:
            self.cluster.isolate(member)
        self.assertEqual(repr(self.cluster), "<EtcdCluster 3 of 3 running, 3 isolated>")
        await self.noticed(*self.cluster.members)
        self.cluster.rejoin(self.leader)
        self.cluster.rejoin(self.follower)
        self.assertIn(await self.cluster.leader(), [self.leader, self.follower])
        await self.client_at(self.leader).set(self.key(b"a"), b"1")
        self.assertTrue(await self.knows_no_leader(self.others[0]))
        # isolated together, they still reach each other, and not the third
        self.cluster.isolate(self.leader, self.follower)
        await self.client_at(self.follower).set(self.key(b"a"), b"2")
        self.assertIsNone(await self.known_at(self.others[0], b"a"))
        await self.healed()
        await self.until(lambda: self.is_value_at(self.others[0], b"a", b"2"))

    async def test_life(self: Any) -> None:
        """A member is reached again after a restart, and stays isolated meanwhile; a cluster begins anew whole."""
        self.cluster.isolate(self.follower)
        await self.follower.kill()
        self.cluster.rejoin(self.follower)
        await self.follower.start()
        await self.client_at(self.follower).set(self.key(b"a"), b"1")
        self.cluster.isolate(self.leader)
        await self.cluster.stop()
        for misuse in (self.cluster.isolate, self.cluster.rejoin):
            with self.assertRaises(RuntimeError):
                misuse(self.leader)
        await self.cluster.start()
        self.assertEqual(repr(self.cluster), "<EtcdCluster 3 of 3 running, 0 isolated>")
        with self.assertRaises(ValueError):
            self.cluster.isolate(self.leader)
        await self.client_at(*self.cluster.members).set(self.key(b"a"), b"1")


@on_every_server_at_length()
class Reads(PartitionCase):
    """What is read through a member that is cut off."""

    async def start(self: Any) -> None:
        await super().start()
        await self.client_at(*self.cluster.members).set(self.key(b"a"), b"1")
        for member in self.cluster.members:
            await self.until(lambda member=member: self.known_at(member, b"a"))

    async def test_moves_on(self: Any) -> None:
        """A member that is cut off refuses at once, and the client asks the next one."""
        await self.cut_off(self.follower)
        error = await self.refused(self.client(self.url_of(self.follower)).get(self.key(b"a")))
        self.assertEqual((error.attempts, error.endpoint, error.code), (1, self.url_of(self.follower), 14))
        records: list[CallRecord] = []
        etcd = self.client_first_at(self.follower, on_call=records.append)
        self.assertEqual((await self.soon(etcd.get(self.key(b"a")))).kvs[0].value, b"1")
        self.assert_moved(records[0], self.follower)
        # from now on it asks the others first
        self.assertEqual(etcd.endpoints[-1], self.url_of(self.follower))
        await etcd.get(self.key(b"a"))
        self.assertNotEqual(records[1].endpoint, self.url_of(self.follower))
        # without require_leader the member lets everybody wait
        waiting = self.client(self.url_of(self.follower), require_leader=False)
        with self.assertRaises(Timeout):
            await waiting.get(self.key(b"a"), timeout=0.5)

    async def never_behind(self: Any, member: EtcdProcess) -> None:
        """
        While one writes at the majority, clients read that ask an isolated member first: they never see what was before
        a write that was acknowledged by the time they asked.
        """
        writer = self.client_at(*self.but(member), timeout=4)
        acknowledged, moved, behind = 0, 0, []

        async def write() -> None:
            nonlocal acknowledged
            acknowledged = (await writer.set(self.key(b"a"), b"", idempotent=True)).header.revision

        async def read() -> None:
            nonlocal moved
            records: list[CallRecord] = []
            async with self.client_first_at(member, on_call=records.append, timeout=6) as etcd:
                floor = acknowledged
                revision = (await etcd.get(self.key(b"a"))).kvs[0].mod_revision
            if revision < floor:
                behind.append((revision, floor))
            moved += records[-1].endpoint != self.url_of(member)

        running = self.beside(write, read, read)
        await self.until(lambda: acknowledged)
        self.cluster.isolate(member)
        before = acknowledged
        await self.until(lambda: behind or (moved >= READS and acknowledged > before + READS))
        # that member does not know it, so it could have been seen
        self.assertLess((await self.known_at(member, b"a")).mod_revision, acknowledged)
        await self.healed()
        await self.end(running)
        self.assertEqual(behind, [])

    async def test_never_behind_with_a_follower(self: Any) -> None:
        """Linearizable reads never return what only an isolated follower knows."""
        await self.never_behind(self.follower)

    async def test_never_behind_with_an_old_leader(self: Any) -> None:
        """Linearizable reads never return what only an isolated old leader knows."""
        await self.never_behind(self.leader)

    async def test_balancer_under_network_partition_get(self: Any) -> None:
        """
        BalancerUnderNetworkPartitionLinearizableGetWithLongTimeout, ...WithShortTimeout, ...SerializableGet: asked
        before it has noticed, an isolated member does not answer. Who has time goes elsewhere; who knows no other one
        fails, and succeeds as soon as he does. What the member knows itself it tells, though it is old.
        """
        records: list[CallRecord] = []
        patient = self.client_first_at(self.follower, on_call=records.append, timeout=6)
        hasty = self.client(self.url_of(self.follower), retry=Backoff())
        self.cluster.isolate(self.follower)
        reading = patient.get(self.key(b"a"))
        with self.assertRaises((Timeout, NoLeader)) as caught:
            await hasty.get(self.key(b"a"), timeout=0.2)
        self.assertFalse(caught.exception.maybe_applied)
        hasty.set_endpoints([self.url_of(member) for member in self.cluster.members])
        self.assertEqual((await hasty.get(self.key(b"a"))).kvs[0].value, b"1")
        self.assertEqual((await reading).kvs[0].value, b"1")
        self.assert_moved(records[0], self.follower)
        await self.client_at(*self.but(self.follower)).set(self.key(b"a"), b"2")
        await self.noticed(self.follower)
        there = self.client_first_at(self.follower, on_call=records.append)
        self.assertEqual((await there.get(self.key(b"a"), serializable=True)).kvs[0].value, b"1")
        self.assertEqual((records[-1].endpoint, records[-1].retries), (self.url_of(self.follower), 0))

    async def test_balancer_under_network_partition_linearizable_get_leader_election(self: Any) -> None:
        """
        BalancerUnderNetworkPartitionLinearizableGetLeaderElection: asked right after the leader was isolated, which is
        asked first, the others answer as soon as one of them leads.
        """
        records: list[CallRecord] = []
        etcd = self.client_first_at(self.leader, on_call=records.append)
        self.cluster.isolate(self.leader)
        self.assertEqual((await self.soon(etcd.get(self.key(b"a")))).kvs[0].value, b"1")
        self.assert_moved(records[0], self.leader)
        self.assertIsNot(await self.cluster.leader(), self.leader)

    async def test_drop_read_under_network_partition(self: Any) -> None:
        """
        DropReadUnderNetworkPartition: a read for which a follower asks a leader that is isolated fails when there is
        another leader, and can be repeated at once.
        """
        leader = await self.cluster.leader()
        follower = self.but(leader)[0]
        once, again = self.client(self.url_of(follower)), self.client_at(follower)
        self.cluster.isolate(leader)
        with self.assertRaises(LeaderChanged) as caught:
            await self.soon(once.get(self.key(b"a"), timeout=20))
        self.assertFalse(caught.exception.maybe_applied)
        self.assertEqual((await self.soon(again.get(self.key(b"a")))).kvs[0].value, b"1")

    async def test_kv_get_no_quorum(self: Any) -> None:
        """
        KVGetNoQuorum, KVPutWithRequireLeader: without a majority all refuse at once, and nothing is done; what they
        know themselves they tell.
        """
        for member in self.cluster.members:
            self.cluster.isolate(member)
        await self.noticed(*self.cluster.members)
        # as soon as a majority has refused there is no sense in asking more
        for call in (Client.get, Client.delete):
            error = await self.refused(call(self.client_at(*self.cluster.members, retry=never), self.key(b"a")))
            self.assertEqual((error.attempts, len(error.endpoint.split(", "))), (2, 2))
        for member in self.cluster.members:
            once = self.client(self.url_of(member))
            error = await self.refused(once.set(self.key(b"a"), b"2"))
            self.assertEqual((error.attempts, error.endpoint), (1, self.url_of(member)))
            await self.refused(once.get(self.key(b"a")))
            self.assertEqual((await once.get(self.key(b"a"), serializable=True)).kvs[0].value, b"1")
        await self.healed()
        self.assertEqual((await self.client_at(member).get(self.key(b"a"))).kvs[0].version, 1)


class _UnnoticedCase(PartitionCase):
    """
    A member that is isolated and does not know it, for a long time: it answers nothing that takes a majority, and says
    nothing of it.
    """

    arguments = ("--election-timeout=6000",)

    async def start(self: Any) -> None:
        await super().start()
        self.records: list[CallRecord] = []
        self.etcd = self.client_first_at(self.follower, on_call=self.records.append, timeout=300)
        await self.etcd.set(self.key(b"a"), b"1")
        self.assertEqual((self.records[0].endpoint, self.records[0].retries), (self.url_of(self.follower), 0))
        del self.records[:]


@on_every_server_at_length()
class Unnoticed(_UnnoticedCase):
    """What becomes of a read that is asked there, and of a write that follows it."""

    async def test_moves_on(self: Any) -> None:
        """The others are asked, and answer, long before it has noticed."""
        self.cluster.isolate(self.follower)
        self.assertEqual((await self.soon(self.etcd.get(self.key(b"a")))).kvs[0].value, b"1")
        self.assert_moved(self.records[0], self.follower)
        await self.soon(self.etcd.set(self.key(b"a"), b"2"))
        self.assertEqual((self.records[1].retries, self.records[1].outcome), (0, "ok"))
        self.assertTrue(await self.knows_a_leader(self.follower))
        self.assertEqual((await self.known_at(self.follower, b"a")).value, b"1")


class _CrowdCase(_UnnoticedCase):
    """More writes than may be under way at a time."""

    async def test_crowd(self: Any) -> None:
        """Writes that were sent stay; those that only waited to be are done elsewhere."""
        count = 5 * MAX_CONCURRENT
        self.cluster.isolate(self.follower)
        writes = [self.etcd.set(self.key(b"%d" % number), b"") for number in range(count)]
        results: dict[int, Any] = {}
        for number, write in enumerate(writes):
            write.addBoth(partial(results.__setitem__, number))
        await self.until(lambda: len(results) >= count - MAX_CONCURRENT)
        self.assertTrue(await self.knows_a_leader(self.follower))
        self.assertEqual(sorted(results), list(range(MAX_CONCURRENT, count)))
        self.assertEqual({record.outcome for record in self.records}, {"ok"})
        self.cluster.rejoin()
        await self.until(lambda: len(results) == count)
        present = {kv.key for kv in (await self.etcd.get(self.keys())).kvs}
        for number, result in results.items():
            if isinstance(result, Failure):
                self.assertTrue(result.check(OutcomeUnknown, Timeout) and result.value.maybe_applied, result)
            else:
                self.assertIn(self.key(b"%d" % number), present)


@on_every_server_at_length(schemes=[GATEWAY])
class Crowd(_CrowdCase):
    """... by the client's own limit."""


@on_every_server(lambda server: server is NEWEST and server.version != (3, 5, 1), schemes=[NATIVE])
class CrowdAtLimit(_CrowdCase):
    """... by the server's own limit, which is the only one natively. It is the same with others, and 3.5.1 has none."""

    arguments = (*_CrowdCase.arguments, f"--max-concurrent-streams={MAX_CONCURRENT}")


@on_every_server_at_length()
class Writes(PartitionCase):
    """What is written through a member that is cut off."""

    async def start(self: Any) -> None:
        await super().start()
        self.records: list[CallRecord] = []

    async def test_balancer_under_network_partition_put(self: Any) -> None:
        """
        BalancerUnderNetworkPartitionPut, BalancerUnderNetworkPartitionDelete, BalancerUnderNetworkPartitionTxn: a write
        that an isolated member swallows is not sent again, and the next one goes elsewhere; one that it refuses,
        because it has noticed, goes elsewhere itself. So each that has succeeded was carried out once, and no other.
        """
        majority = self.client_at(*self.but(self.follower))
        await majority.set(self.key(b"deleted"), b"")
        await self.until(lambda: self.known_at(self.follower, b"deleted"))
        clients = [self.client_first_at(self.follower, on_call=self.records.append) for _ in self.writes()]
        for client in clients:
            # connected, so that what is asked is sent
            await client.get(self.key(b"deleted"), serializable=True)
        self.records.clear()
        self.cluster.isolate(self.follower)
        asked = [write(client, 1) for client, write in zip(clients, self.writes())]
        first = [await self.swallowed(call) for call in asked]
        self.assertEqual(len(self.records), 3)
        if await self.knows_a_leader(self.follower):
            # as it should be; on a slow machine it may have noticed before it was asked
            self.assertEqual(first, [None] * 3)
        for record in self.records:
            if record.outcome == "ok":
                self.assert_moved(record, self.follower)
            else:
                self.assertEqual((record.endpoint, record.retries), (self.url_of(self.follower), 0))
        second = [await write(client, 30) for client, write in zip(clients, self.writes())]
        self.assertEqual([record.outcome for record in self.records[3:]], ["ok"] * 3)
        self.assertNotIn(self.url_of(self.follower), [record.endpoint for record in self.records[3:]])
        await self.noticed(self.follower)
        third = []
        for write in self.writes():
            third.append(await write(self.client_first_at(self.follower, on_call=self.records.append), 30))
            self.assert_moved(self.records[-1], self.follower)
        await self.healed()
        puts, deletions, txns = zip(first, second, third)
        for name, results in ((b"put", puts), (b"txn", txns)):
            kv = (await majority.get(self.key(name))).kvs[0]
            self.assertEqual(kv.version, sum(result is not None for result in results), name)
        self.assertEqual(sum(result.deleted for result in deletions if result is not None), 1)

    def writes(self: Any) -> list[Any]:
        """A put, a deletion and a transaction, for a client and so many seconds."""
        txn = Transaction([], [OpSet(self.key(b"txn"), b"")])
        return [
            lambda etcd, timeout: etcd.set(self.key(b"put"), b"", timeout=timeout),
            lambda etcd, timeout: etcd.delete(self.key(b"deleted"), timeout=timeout),
            lambda etcd, timeout: etcd.transact(txn, timeout=timeout),
        ]

    async def swallowed(self: Any, call: Deferred[Any]) -> Any:
        """What comes of a write to a member that may have noticed by now that it is isolated; ``None`` if it fails."""
        try:
            return await self.soon(call)
        except (Timeout, OutcomeUnknown) as error:
            self.assertTrue(error.maybe_applied)
            return None

    async def test_write_to_an_old_leader(self: Any) -> None:
        """
        A write to a leader that is isolated and does not know it: its fate is unknown to the client. Nobody sees it,
        neither meanwhile nor when that member is back.
        """
        old, majority = self.client(self.url_of(self.leader)), self.client_at(*self.but(self.leader))
        await old.set(self.key(b"a"), b"before")
        self.cluster.isolate(self.leader)
        with self.assertRaises((Timeout, OutcomeUnknown)) as caught:
            await self.soon(old.set(self.key(b"a"), b"lost", timeout=2))
        self.assertTrue(caught.exception.maybe_applied)
        for first in self.cluster.members:
            self.assertEqual((await self.soon(self.client_first_at(first).get(self.key(b"a")))).kvs[0].value, b"before")
        await majority.set(self.key(b"a"), b"after")
        await self.healed()
        for member in self.cluster.members:
            await self.until(lambda member=member: self.is_value_at(member, b"a", b"after"))
            etcd = self.client(self.url_of(member), require_leader=False)
            async with etcd.watcher(self.key(b"a"), start_revision=1) as watch:
                values = [(await watch.__anext__()).value for _ in range(2)]
            self.assertEqual(values, [b"before", b"after"])
        self.assertEqual((await self.client_at(self.leader).get(self.key(b"a"))).kvs[0].version, 2)

    async def test_kv_put_with_require_leader(self: Any) -> None:
        """KVPutWithRequireLeader: a member that has lost the leader refuses to write, and does not let one wait."""
        await self.cut_off(self.follower)
        url = self.url_of(self.follower)
        alone, waiting = self.client(url), self.client(url, require_leader=False)
        for write in self.writes():
            self.assertEqual((await self.refused(write(alone, 30))).endpoint, url)
        with self.assertRaises(Timeout) as caught:
            await waiting.set(self.key(b"a"), b"", timeout=3)
        self.assertTrue(caught.exception.maybe_applied)
        await self.healed()
        found = await self.client_at(self.follower).get(self.keys(), keys_only=True)
        self.assertLessEqual({kv.key for kv in found.kvs}, {self.key(b"a")})

    async def test_revision_monotonic_with_leader_partitions(self: Any) -> None:
        """RevisionMonotonicWithLeaderPartitions: whichever leader is cut off, no client reads what is older."""
        going_back: list[tuple[int, int]] = []
        done = [0, 0, 0, 0]
        writer = self.client_at(*self.cluster.members, timeout=4)

        async def write() -> None:
            await writer.set(self.key(b"a"), b"", idempotent=True)
            done[0] += 1

        def reader(number: int) -> Any:
            etcd, last = self.client_at(*self.cluster.members, timeout=4), 0
            urls = [self.url_of(member) for member in self.cluster.members]

            async def read() -> None:
                nonlocal last
                # each is asked in its turn
                etcd.set_endpoints(urls[done[number] % 3])
                etcd.set_endpoints(urls)
                revision = (await etcd.get(self.key(b"a"))).header.revision
                if revision < last:
                    going_back.append((last, revision))
                last = revision
                done[number] += 1

            return read

        running = self.beside(write, *(reader(number) for number in (1, 2, 3)))
        for _ in range(PARTITIONS):
            leader = await self.cluster.leader()
            self.cluster.isolate(leader)
            self.assertIsNot(await self.cluster.leader(), leader)
            goal = [count + 10 for count in done]
            await self.until(lambda goal=goal: going_back or all(map(ge, done, goal)))
            await self.healed()
        await self.end(running)
        self.assertEqual(going_back, [])


@on_every_server_at_length()
class Watches(PartitionCase):
    """What becomes of a watch at a member that is cut off."""

    async def collect(self: Any, watch: Watch, seen: list[tuple[bytes, int]]) -> None:
        async for event in watch:
            seen.append((event.key, event.mod_revision))

    async def created(self: Any, etcd: Client, key: bytes) -> None:
        try:
            await etcd.create(key, b"")
        except AlreadyExists:
            # by an attempt whose answer was lost
            pass

    async def moves(self: Any, member: EtcdProcess) -> None:
        """A watch at this member leaves it when that is cut off; and goes on elsewhere where it was."""
        etcd, writer = self.client_first_at(member), self.client_at(*self.but(member), timeout=4)
        watch = await etcd.watcher(self.keys()).when_started()
        self.assertEqual(await self.watchers(member.url), 1)
        written: list[tuple[bytes, int]] = []
        seen: list[tuple[bytes, int]] = []

        async def write() -> None:
            name = self.key(b"%d" % len(written))
            answer = await writer.get(name)
            if not answer.kvs:
                await self.created(writer, name)
                answer = await writer.get(name)
            written.append((name, answer.kvs[0].mod_revision))

        reading = Deferred.fromCoroutine(self.collect(watch, seen))
        running = self.beside(write)
        await self.until(lambda: seen)
        self.cluster.isolate(member)
        await self.until(lambda: watch.losses)
        await self.until(lambda: watch.state == "live")
        self.assertEqual(await self.watchers(member.url), 0)
        missed = watch.revision + 1
        await self.until(lambda: written[-1][1] > missed + 5)
        await self.end(running)
        await self.until(lambda: seen[-1] == written[-1])
        watch.stop()
        await reading
        self.assertEqual(seen, written)

    async def test_balancer_under_network_partition_watch_leader(self: Any) -> None:
        """
        BalancerUnderNetworkPartitionWatchLeader: a watch at a leader that is isolated goes on at the majority, and none
        of its changes is missing.
        """
        await self.moves(self.leader)

    async def test_balancer_under_network_partition_watch_follower(self: Any) -> None:
        """BalancerUnderNetworkPartitionWatchFollower: the same with a follower."""
        await self.moves(self.follower)

    async def test_watch_with_require_leader(self: Any) -> None:
        """
        WatchWithRequireLeader: a watch of a client that does not require a leader stays open where the others are lost,
        and tells what has happened when the member is back; so do the others.
        """
        url = self.url_of(self.follower)
        strict, patient = self.client(url), self.client(url, require_leader=False)
        lost = await strict.watcher(self.keys()).when_started()
        stubborn = await patient.watcher(self.keys()).when_started()
        await self.cut_off(self.follower)
        await self.until(lambda: lost.losses)
        await self.refused(strict.watcher(self.keys()).when_started())
        late = await patient.watcher(self.keys()).when_started()
        first = Deferred.fromCoroutine(stubborn.__anext__())
        await self.client_at(*self.but(self.follower)).set(self.key(b"a"), b"1")
        self.assertEqual(await self.watchers(self.follower.url), 2)
        self.assertNoResult(first)
        self.assertEqual((stubborn.losses, late.losses), (0, 0))
        await self.healed()
        self.assertEqual((await self.soon(first)).key, self.key(b"a"))
        for watch in (late, lost):
            self.assertEqual((await self.soon(watch.__anext__())).key, self.key(b"a"))
            await watch.stop()


@on_every_server_at_length()
class Leases(PartitionCase):
    """What becomes of a lease that is kept alive at a member that is cut off."""

    async def test_lease_with_require_leader(self: Any) -> None:
        """
        LeaseWithRequireLeader: a lease is renewed elsewhere, and lasts; one of a client that knows no other member
        cannot be renewed, and its owner is told so by the time that its keys are gone.
        """
        moving = self.client_first_at(self.follower)
        alone = self.client(self.url_of(self.follower))
        kept = await moving.lease(10, keep_alive=True)
        lost = await alone.lease(4, keep_alive=True)
        slow = await alone.lease(600)
        for etcd, lease, name in ((moving, kept, b"kept"), (alone, lost, b"lost"), (alone, slow, b"slow")):
            await etcd.set(self.key(name), b"", lease=lease)
        told: list[str] = []
        kept.when_lost().addCallback(lambda _: told.append("kept"))
        lost.when_lost().addCallback(lambda _: told.append("lost"))
        await self.cut_off(self.follower)
        await self.refused(slow.refresh())
        majority = self.client_at(*self.but(self.follower))
        await self.until(lambda: self.is_gone(majority, b"lost"))
        self.assertEqual(told, ["lost"])
        self.assertEqual(lost.state, "lost")
        # which takes longer than its time to live
        await self.until(self.is_renewed)
        self.assertEqual((told, kept.state), (["lost"], "alive"))
        self.assertEqual((await majority.get(self.keys())).count, 2)
        await kept.revoke()
        self.assertEqual([kv.key for kv in (await majority.get(self.keys())).kvs], [self.key(b"slow")])

    async def is_gone(self: Any, etcd: Client, name: bytes) -> bool:
        return not (await etcd.get(self.key(name))).kvs

    async def is_renewed(self: Any) -> bool:
        """Whether others than the isolated member were asked for that more than three times."""
        return sum([await self.metric(RENEWALS, member.url) for member in self.but(self.follower)]) > 3


@on_every_server_at_length()
class FourMembers(PartitionCase):
    """Four members can be cut in halves."""

    size = 4

    async def test_network_partition_4_members(self: Any) -> None:
        """NetworkPartition4Members: two members are no majority of four; none of the halves writes, until they meet."""
        half = [self.leader, self.follower]
        self.cluster.isolate(*half)
        await self.noticed(*self.cluster.members)
        for part in (half, self.others):
            etcd = self.client_at(*part, retry=never)
            self.assertEqual((await self.refused(etcd.set(self.key(b"a"), b""))).attempts, 2)
        await self.healed()
        etcd = self.client_at(*self.cluster.members)
        self.assertEqual((await etcd.set(self.key(b"a"), b"", return_previous=True)).previous, None)


@on_every_server_at_length()
class FiveMembers(PartitionCase):
    """Five members, two of which are cut off together."""

    size = 5

    async def test_network_partition_5_members(self: Any) -> None:
        """
        NetworkPartition5MembersLeaderInMinority, NetworkPartition5MembersLeaderInMajority: three are a majority of
        five, whoever has led before.
        """
        for number, minority in enumerate(([self.leader, self.follower], self.others[:2])):
            name, majority = b"%d" % number, self.but(*minority)
            self.cluster.isolate(*minority)
            self.assertIn(await self.cluster.leader(), majority)
            await self.client_at(*majority).set(self.key(name), b"1")
            await self.noticed(*minority)
            error = await self.refused(self.client_at(*minority, retry=never).set(self.key(name), b"2"))
            self.assertEqual(error.attempts, 2)
            records: list[CallRecord] = []
            etcd = self.client_at(*minority, *majority, on_call=records.append)
            self.assertEqual((await etcd.get(self.key(name))).kvs[0].value, b"1")
            self.assertGreaterEqual(records[0].retries, 1)
            self.assertIn(records[0].endpoint, [self.url_of(one) for one in majority])
            await self.healed()
            for member in minority:
                await self.until(lambda member=member: self.known_at(member, name))
