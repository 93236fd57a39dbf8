"""
Members of real clusters: they come, learn, are promoted and go; and somebody always leads, or it is said.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet.defer import Deferred

from test.ports import free_ports
from test.real.base import RealCase, on_every_server, on_every_server_at_length
from test.servers import Server
from txetcd import Backoff, Client, Cluster, Member, Timeout, Unavailable, never
from txetcd.errors import (
    LearnerNotReady,
    MemberNotFound,
    MemberNotLearner,
    NoLeader,
    NotSupportedForLearner,
    PeerURLExist,
    TooManyLearners,
    Unhealthy,
)
from txetcd.testing import EtcdCluster, EtcdProcess
from txetcd.testing._child import Child, Log
from txetcd.testing._identity import Bootstrap, Peer, new_token

_shared: dict[str, EtcdCluster] = {}
"""The running cluster of each version; each ends with the reactor, or with the interpreter."""


async def shared_cluster(reactor: Any, server: Server) -> EtcdCluster:
    """Three members of a version, which are started if need be."""
    cluster = _shared.get(server.label)
    if cluster is None:
        cluster = _shared[server.label] = EtcdCluster(reactor, binary=server.path)
        await cluster.start()
    return cluster


class ClusterCase(RealCase):
    """
    A test with a cluster of three.

    :ivar cluster: the cluster, shared.
    :ivar etcd: a client of all its members, which tries again.
    """

    cluster: EtcdCluster

    async def start(self: Any) -> None:
        self.cluster = await shared_cluster(self.reactor, self.server)
        self.etcd = self.cluster_client(self.cluster)

    def cluster_client(self: Any, cluster: EtcdCluster, **options: Any) -> Client:
        client: Client = self.cluster_client_of(cluster.urls, **options)
        return client

    def urls_of(self: Any, cluster: EtcdCluster) -> list[str]:
        """Where its members are, for the transport."""
        return [self.url_of(process) for process in cluster.members]

    def member_at(self: Any, cluster: EtcdCluster, url: str) -> EtcdProcess:
        """The one that is there."""
        return next(process for process in cluster.members if self.url_of(process) == url)

    def cluster_client_of(self: Any, urls: list[str], **options: Any) -> Client:
        client: Client = self.client(urls, **{"retry": Backoff(), "timeout": 30, **options})
        return client

    async def own_cluster(self: Any, *arguments: str, **options: Any) -> EtcdCluster:
        """A cluster for this test alone."""
        cluster = EtcdCluster(self.reactor, binary=self.server.path, arguments=arguments, **options)
        self.addCleanup(cluster.stop)
        return await cluster.start()

    async def run_member(self: Any, me: Peer, others: list[Member]) -> str:
        """Starts a member that was added to *others*; its URL for clients."""
        directory = self.mktemp()
        os.makedirs(directory, mode=0o700)
        peers = [Peer(m.name, int(m.peer_urls[0].rpartition(":")[2])) for m in others]
        bootstrap = Bootstrap(new_token(), free_ports(1)[0], me, (*peers, me))
        arguments = [*bootstrap.arguments(self.server.label, directory), "--initial-cluster-state=existing"]
        child = Child([self.server.path, *arguments], Log())
        self.addCleanup(lambda: Deferred.fromCoroutine(self.until(lambda: not child.is_running)))
        self.addCleanup(child.signal, signal.SIGKILL)
        return bootstrap.client_url


@on_every_server_at_length()
class Members(ClusterCase):
    """CurlV3ClusterOperations: the members of a cluster are changed, and are in the end what they were."""

    @property
    def members(self: Any) -> Cluster:
        cluster: Cluster = self.etcd.cluster
        return cluster

    async def start(self: Any) -> None:
        await super().start()
        self.before = await self.members.members()
        self.assertEqual(len(self.before), 3)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.restore()))

    async def restore(self: Any) -> None:
        for member in await self.members.members():
            if member not in self.before:
                await self.remove(member)
        await self.settled()

    def new_peer(self: Any) -> str:
        return f"http://127.0.0.1:{free_ports(1)[0]}"

    async def settled(self: Any) -> None:
        """
        The change before is applied everywhere, as a write is behind it: without that, 3.5.1 at times never answers the
        second of two changes.
        """
        for url in self.cluster.urls:
            await self.client(url, retry=Backoff()).set(self.key(b"settled"), b"")

    async def remove(self: Any, member: Member) -> list[Member]:
        await self.settled()
        left: list[Member] = await self.members.remove(member.member_id)
        return left

    async def test_member_list(self: Any) -> None:
        """MemberList: what every member knows of all."""
        by_name = sorted(self.before, key=lambda m: m.name)
        self.assertEqual([member.name for member in by_name], ["etcd0", "etcd1", "etcd2"])
        for member, process in zip(by_name, self.cluster.members):
            self.assertEqual(member.client_urls, [process.url])
            self.assertEqual((len(member.peer_urls), member.is_learner), (1, False))
            status = await self.client(process.url).status()
            self.assertEqual(member.member_id, status.header.member_id)
        self.assertEqual(await self.members.members(linearizable=False), self.before)

    async def test_leader(self: Any) -> None:
        """It is the one that all say it is."""
        leader = await self.until(self.agreed_leader)
        self.assertIn(leader, self.before)

    async def agreed_leader(self: Any) -> Any:
        """Who leads, if all agree on that: there may just be an election."""
        try:
            leader = await self.members.leader()
        except NoLeader:
            return None
        return leader if leader.client_urls == [(await self.cluster.leader()).url] else None

    async def test_member_add(self: Any) -> None:
        """MemberAdd: it has an id at once, and a name when it has started."""
        peers = [self.new_peer(), self.new_peer()]
        member = await self.members.add(peers)
        self.assertTrue(member.member_id)
        self.assertEqual((member.name, member.client_urls, member.is_learner), ("", [], False))
        self.assertEqual(sorted(member.peer_urls), sorted(peers))
        self.assertIn(member, await self.members.members())
        self.assertEqual(ids(await self.remove(member)), ids(self.before))
        with self.assertRaises(MemberNotFound):
            await self.remove(member)

    async def test_member_add_update_wrong_urls(self: Any) -> None:
        """MemberAddUpdateWrongURLs: they are not even sent."""
        asked = self.etcd.stats().calls.copy()
        for wrong in (
            "http://127.0.0.1",
            "//127.0.0.1:2380",
            "mailto:root@example.org",
            "ftp://127.0.0.1:2380",
            "127.0.0.1:2380",
            "127.0.0.1",
            "http://127.0.0.1:2380/path",
            "",
            [],
            ["http://127.0.0.1:2380", "127.0.0.1:2381"],
        ):
            for change in (
                self.members.add,
                self.members.add_learner,
                lambda urls: self.members.update(self.before[0].member_id, urls),
            ):
                with self.assertRaises(ValueError):
                    change(wrong)
        self.assertEqual(self.etcd.stats().calls, asked)
        self.assertEqual(await self.members.members(), self.before)

    async def test_member_add_with_existing_urls(self: Any) -> None:
        """MemberAddWithExistingURLs."""
        with self.assertRaises(PeerURLExist):
            await self.members.add(self.before[0].peer_urls)

    async def test_member_update(self: Any) -> None:
        """MemberUpdate, MemberUpdateLearner."""
        for add in (self.members.add, self.members.add_learner):
            await self.settled()
            member, peer = await add(self.new_peer()), self.new_peer()
            await self.settled()
            updated = await self.members.update(member.member_id, peer)
            self.assertEqual([m.peer_urls for m in updated if m.member_id == member.member_id], [[peer]])
            self.assertIn([peer], [m.peer_urls for m in await self.members.members()])
            await self.remove(member)
        await self.settled()
        with self.assertRaises(MemberNotFound):
            await self.members.update(member.member_id, peer)

    async def test_member_add_for_learner(self: Any) -> None:
        """MemberAddForLearner: one is enough."""
        learner = await self.members.add_learner(self.new_peer())
        self.assertTrue(learner.is_learner)
        await self.settled()
        await self.until(self.has_enough_learners)

    async def has_enough_learners(self: Any) -> bool:
        """Whether no other one is taken; a server may not find one that it has just added."""
        with self.assertRaises((TooManyLearners, MemberNotFound)) as caught:
            await self.members.add_learner(self.new_peer())
        return isinstance(caught.exception, TooManyLearners)

    async def test_member_promote_member_not_learner(self: Any) -> None:
        """MemberPromoteMemberNotLearner, MemberPromoteMemberNotExist."""
        with self.assertRaises(MemberNotLearner):
            await self.members.promote(self.before[0].member_id)
        await self.settled()
        with self.assertRaises(MemberNotFound):
            await self.members.promote(404)

    async def test_member_promote(self: Any) -> None:
        """MemberPromote: as soon as it has learnt, and not before; it is asked only what it can answer by then."""
        me = Peer("learner", free_ports(1)[0])
        await self.etcd.set(self.key(b"key"), b"value")
        learner = await self.members.add_learner(me.url)
        await self.settled()
        with self.assertRaises(LearnerNotReady):
            await self.members.promote(learner.member_id)
        url = await self.run_member(me, self.before)
        alone = self.client(url)
        await self.until(lambda: self.knows(alone, self.key(b"key")))
        self.assertTrue((await alone.status()).is_learner)
        with self.assertRaises(NotSupportedForLearner):
            await alone.cluster.members()
        # among others, they are asked
        together = self.client([url, *self.cluster.urls], retry=Backoff())
        for _ in range(8):
            self.assertEqual(len(await together.cluster.members()), 4)
        promoted = await self.until(lambda: self.promoted(learner.member_id))
        self.assertEqual([m.is_learner for m in promoted], [False] * 4)
        await self.until(lambda: self.serves(alone))
        self.assertEqual(len(await alone.cluster.members()), 4)
        self.assertIn("learner", [m.name for m in await self.members.members()])

    async def knows(self: Any, client: Client, key: bytes) -> bool:
        try:
            return (await client.get(key, serializable=True)).count == 1
        except (Unavailable, Timeout):
            return False

    async def serves(self: Any, client: Client) -> bool:
        try:
            return not (await client.status()).is_learner and bool(await client.cluster.members())
        except NotSupportedForLearner:
            return False

    async def promoted(self: Any, member_id: int) -> Any:
        try:
            return await self.members.promote(member_id)
        except LearnerNotReady:
            return None


def ids(members: list[Member]) -> set[int]:
    return {member.member_id for member in members}


@on_every_server(lambda server: server.version >= (3, 6))
class Learners(ClusterCase):
    """A cluster that takes more of them: older servers cannot be told so."""

    async def test_max_learner_in_cluster(self: Any) -> None:
        """MaxLearnerInCluster: as many as it was told to take."""
        cluster = await self.own_cluster("--max-learners=2")
        etcd = self.cluster_client(cluster)
        for peer in free_ports(2):
            await etcd.set(self.key(b"settled"), b"", idempotent=True)
            self.assertTrue((await etcd.cluster.add_learner(f"http://127.0.0.1:{peer}")).is_learner)
        with self.assertRaises(TooManyLearners):
            await etcd.cluster.add_learner(f"http://127.0.0.1:{free_ports(1)[0]}")
        self.assertEqual([member.is_learner for member in await etcd.cluster.members()].count(True), 2)


@on_every_server_at_length()
class Outages(ClusterCase):
    """Members that die, or go."""

    async def test_member_remove(self: Any) -> None:
        """MemberRemove: its process ends, though it led; those that are left go on, and so does a client of all."""
        cluster = await self.own_cluster()
        etcd = self.cluster_client(cluster)
        await etcd.set(self.key(b"key"), b"")
        leader = await etcd.cluster.leader()
        left = [process for process in cluster.members if process.url not in leader.client_urls]
        (gone,) = [process for process in cluster.members if process not in left]
        # somebody else is asked, who has time to answer
        others = self.cluster_client_of([process.url for process in left])
        members = await others.cluster.remove(leader.member_id)
        advertised = {self.spoken(url) for member in members for url in member.client_urls}
        self.assertEqual(advertised, set(others.endpoints))
        await self.until(lambda: not gone.is_running)
        await etcd.set(self.key(b"key"), b"", idempotent=True)
        self.assertEqual(set(await etcd.sync_endpoints()), set(others.endpoints))
        with self.assertRaises(MemberNotFound):
            await etcd.cluster.remove(leader.member_id)

    async def test_unhealthy(self: Any) -> None:
        """MemberAdd, as long as one is down: that could cost the majority. It is possible when it is back."""
        cluster = await self.own_cluster()
        etcd, once = self.cluster_client(cluster), self.cluster_client(cluster, retry=never)
        peer = f"http://127.0.0.1:{free_ports(1)[0]}"
        down = cluster.members[0]
        await down.kill()
        once.set_endpoints(self.urls_of(cluster)[1:])
        await self.until(lambda: self.serves_at(cluster.urls[1]))
        await self.until(lambda: self.is_unhealthy(once, peer))
        self.assertEqual(len(await etcd.cluster.members()), 3)
        await down.start()
        self.assertEqual((await etcd.cluster.add(peer)).peer_urls, [peer])

    async def is_unhealthy(self: Any, etcd: Client, peer: str) -> bool:
        """Whether a member is refused for that reason; there may be no leader yet again."""
        with self.assertRaises((Unhealthy, NoLeader)) as caught:
            await etcd.cluster.add(peer)
        self.assertFalse(caught.exception.maybe_applied)
        return isinstance(caught.exception, Unhealthy)

    async def serves_at(self: Any, url: str) -> bool:
        try:
            return bool(await self.client(url).cluster.members())
        except (Unavailable, Timeout):
            return False

    async def test_wait_leader_member_stop(self: Any) -> None:
        """WaitLeader_MemberStop: when the leader is killed another one leads, and that is found at once."""
        cluster = await self.own_cluster()
        etcd = self.cluster_client(cluster)
        leader = await cluster.leader()
        first = (await self.client(leader.url).status()).header.member_id
        await leader.kill()
        second = await self.until(lambda: self.other_leader(etcd, first))
        self.assertEqual(second.client_urls, [(await cluster.leader()).url])

    async def other_leader(self: Any, etcd: Client, old: int) -> Any:
        try:
            leader = await etcd.cluster.leader(timeout=2)
        except (Unavailable, Timeout):
            return None
        return leader if leader.member_id != old else None

    async def test_member_list_serializable(self: Any) -> None:
        """MemberListSerializable: without a majority a member still tells what it knows; nobody leads."""
        cluster = await self.own_cluster()
        etcd = self.cluster_client(cluster)
        leader = await cluster.leader()
        members = await etcd.cluster.members()
        for process in [process for process in cluster.members if process is not leader][:1] + [leader]:
            await process.kill()
        (left,) = [process.url for process in cluster.members if process.is_running]
        alone = self.client(left, retry=Backoff())
        self.assertEqual(await alone.cluster.members(linearizable=False, timeout=5), members)
        await self.until(lambda: self.has_no_leader(alone))
        self.assertEqual(await alone.cluster.members(linearizable=False, timeout=5), members)
        for asked in (alone.cluster.members(timeout=1), alone.cluster.leader(timeout=1)):
            with self.assertRaises((Unavailable, Timeout)) as caught:
                await asked
            self.assertFalse(caught.exception.maybe_applied)
        # the others are down, and the client knows them as well
        with self.assertRaises((Unavailable, Timeout)):
            await etcd.cluster.leader(timeout=1)

    async def has_no_leader(self: Any, client: Client) -> bool:
        return not (await client.status()).leader
