"""
Members of a cluster die, hang, come back and change, while a client goes on: on every server.

The scenarios are those of etcd's own integration tests, by their names; besides, a mixed load under all these faults.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import cycle
from typing import Any, Callable

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from test.history import Fate
from test.load import Load
from test.ports import free_ports
from test.real.base import GATEWAY, NATIVE, RealCase, on_every_server, on_every_server_at_length, sockets_to
from test.real.test_cluster import ClusterCase
from txetcd import (
    Backoff,
    Client,
    Closed,
    CompVersion,
    Error,
    Event,
    KeySet,
    OpSet,
    OutcomeUnknown,
    Timeout,
    Transaction,
    Unavailable,
    Watch,
    _attempts,
)
from txetcd import _schema as schema
from txetcd._frames import HEAD_SIZE, HEADERS, unpack_head
from txetcd.errors import NotSupportedForLearner, WrongCluster
from txetcd.testing import EtcdCluster, EtcdFailed, EtcdProcess, FaultyProxy, ProxyConnection
from txetcd.testing._identity import Peer

SECONDS = float(os.environ.get("TXETCD_TEST_SECONDS", "8"))
"""How long the mixed load goes on; each fault happens once at least."""

ROUNDS = int(os.environ.get("TXETCD_TEST_ROUNDS", "2"))
"""How often the leader is restarted while revisions are compared."""

CALLERS = 16
"""How many callers make the mixed load: as many as may talk to an endpoint at a time."""


class FailoverCase(ClusterCase):
    """
    A test that may hurt the members of the shared cluster: they are well again at its end.

    :ivar etcd: a client of all members, which tries again.
    """

    async def start(self: Any) -> None:
        await super().start()
        self.addCleanup(self.etcd.delete, self.keys())
        self.addCleanup(lambda: Deferred.fromCoroutine(self.heal()))

    async def heal(self: Any) -> None:
        for member in self.cluster.members:
            if member.is_running:
                member.resume()
        # at once, because one alone does not serve
        await gatherResults([member.start() for member in self.cluster.members if not member.is_running])
        await self.when_well(self.cluster)

    async def when_well(self: Any, cluster: EtcdCluster) -> None:
        """Each member is there, and knows the leader."""
        for member in cluster.members:
            async with Client(self.reactor, self.url_of(member)) as etcd:
                await etcd.get(b"-", timeout=30)

    @property
    def urls(self: Any) -> list[str]:
        """Where the members of the cluster are, for the transport."""
        return list(self.urls_of(self.cluster))

    async def follower(self: Any) -> EtcdProcess:
        leader = await self.cluster.leader()
        return next(member for member in self.cluster.members if member is not leader)

    def others(self: Any, *members: EtcdProcess) -> list[EtcdProcess]:
        return [member for member in self.cluster.members if member not in members]

    def patient(self: Any, *urls: str, **options: Any) -> Client:
        """A client of these that tries again."""
        client: Client = self.client(list(urls), **{"retry": Backoff(), "timeout": 30, **options})
        return client

    async def pinned(self: Any, first: str, *others: str, **options: Any) -> Client:
        """A client that has asked the first one already, and goes on asking it, as long as it answers."""
        client: Client = self.patient(first, **options)
        await client.get(b"-")
        client.set_endpoints([first, *others])
        self.assertEqual(client.endpoints[0], first)
        return client

    async def proxy_to(self: Any, member: EtcdProcess) -> FaultyProxy:
        proxy = FaultyProxy(self.reactor, member.url, seed=1)
        self.addCleanup(proxy.stop)
        await proxy.start()
        self.stands_before(proxy.url, member.url)
        return proxy

    def carries_watch(self: Any, connection: ProxyConnection) -> bool:
        """Whether a watch that has started can be on it: natively there is one for everything."""
        return self.scheme == NATIVE or (self.asks(schema.WATCH)(connection) and connection.answer != b"")

    async def when_cut_off(self: Any, *clients: Client) -> None:
        """They know that their connections have ended: they could not tell what came of a write on one of them."""
        await self.until(lambda: not any(client.stats().connections for client in clients))

    async def member_id(self: Any, member: EtcdProcess) -> int:
        return int((await self.patient(self.url_of(member)).status()).header.member_id)

    async def found(self: Any, name: bytes = b"a") -> list[tuple[bytes, int]]:
        """Value and version of a key, if it is there."""
        return [(kv.value, kv.version) for kv in (await self.etcd.get(self.key(name))).kvs]


def kinds_of(data: bytes) -> set[int]:
    """The kinds of frames of HTTP/2 in what a server has sent."""
    kinds, at = set(), 0
    while at + HEAD_SIZE <= len(data):
        word = unpack_head(data, at)[0]
        kinds.add(word & 0xFF)
        at += HEAD_SIZE + (word >> 8)
    return kinds


def retries(client: Client) -> int:
    return sum(call.retries for call in client.stats().calls.values())


@on_every_server_at_length()
class UnderFaults(FailoverCase):
    """A cluster whose members fail in turn, under a mixed load on one client."""

    timeout = 400 + 2 * SECONDS

    async def start(self: Any) -> None:
        self.cluster = await self.own_cluster()
        self.etcd = self.client(self.urls, retry=Backoff(), timeout=30)
        self.load = Load(self.reactor, self.etcd, CALLERS)
        self.happened: Counter[str] = Counter()

    @property
    def preferred(self: Any) -> EtcdProcess:
        """The member that the client asks at the moment."""
        url = self.etcd.endpoints[0]
        return next(member for member in self.cluster.members if self.url_of(member) == url)

    async def leads(self: Any, member: EtcdProcess) -> bool:
        try:
            return await self.cluster.leader() is member
        except EtcdFailed:
            # on a busy machine an election takes its time
            return False

    async def lead(self: Any, member: EtcdProcess) -> None:
        """Moves the leadership to a member, if it is not there."""
        member_id = await self.member_id(member)

        async def is_moved() -> bool:
            if not await self.leads(member):
                try:
                    await self.etcd.maintenance.move_leader(member_id)
                except Error:
                    return False
                self.happened["moved"] += 1
            return bool(await self.leads(member))

        await self.until(is_moved)

    async def when_replaced(self: Any, leader: EtcdProcess) -> None:
        async def is_replaced() -> bool:
            return not await self.leads(leader)

        await self.until(is_replaced)

    async def progress(self: Any) -> None:
        """Both reads and writes go on."""
        history = self.load.history
        reads, writes = len(history.reads), history.fates[Fate.DONE]
        await self.until(lambda: len(history.reads) > reads + 20 and history.fates[Fate.DONE] > writes + 20)

    # --- what happens, always where the client looks

    async def leader_killed(self: Any) -> None:
        leader = self.preferred
        await self.lead(leader)
        await leader.kill()
        await self.when_replaced(leader)
        await self.progress()
        await leader.start()

    async def leader_paused(self: Any) -> None:
        """For so long that what was asked there is asked elsewhere."""
        leader = self.preferred
        await self.lead(leader)
        leader.pause()
        await self.when_replaced(leader)
        await self.progress()
        leader.resume()

    async def leader_restarted(self: Any) -> None:
        leader = self.preferred
        await self.lead(leader)
        await leader.restart()

    async def leader_moved(self: Any) -> None:
        leader = self.preferred
        await self.lead(leader)
        await self.lead(self.others(leader)[0])

    async def follower_killed(self: Any) -> None:
        follower = self.preferred
        await self.lead(self.others(follower)[0])
        await follower.kill()
        await self.progress()
        await follower.start()

    async def faults(self: Any) -> None:
        """One after the other, until each has happened and the time is over."""
        end = self.reactor.seconds() + SECONDS
        faults = [
            self.leader_killed, self.leader_paused, self.leader_restarted, self.leader_moved, self.follower_killed
        ]
        for count, fault in enumerate(cycle(faults)):
            if count >= len(faults) and self.reactor.seconds() > end:
                return
            await self.progress()
            await fault()
            await self.when_well(self.cluster)
            self.happened[fault.__name__] += 1

    # --- what has come of it

    async def events(self: Any, url: str, end: int) -> list[Event]:
        """All that has ever happened in the cluster before a revision, by what a member knows."""
        events: list[Event] = []
        async with self.client(url).watcher(KeySet.all(), start_revision=1) as watch:
            while not events or events[-1].mod_revision < end:
                events.append(await watch.__anext__())
        return events[:-1]

    def figures(self: Any) -> str:
        history = self.load.history
        fates = ", ".join(f"{history.fates[fate]} {fate.name.lower()}" for fate in Fate)
        return (
            f"etcd {self.server.label}: {len(history.writes)} writes ({fates}; failed: {dict(history.failed_writes)}), "
            f"{len(history.reads)} reads answered, {len(history.failed_reads)} failed; {retries(self.etcd)} retries; "
            f"{dict(self.happened)}; {dict(self.load.done)}"
        )

    async def test_mixed_load(self: Any) -> None:
        """
        Leaders are killed, paused, restarted and replaced: reads go on, all within their deadline; what was done is
        there, once, what may have been done at most once, what was not is not; and all that was read is as it was.
        """
        self.load.start()
        try:
            await self.faults()
        finally:
            await self.soon(self.load.stop())
        if "TXETCD_TEST_SECONDS" in os.environ:
            print(self.figures())
        history = self.load.history
        self.assertEqual(history.failed_reads, [])
        end = (await self.etcd.set(b"end", b"")).header.revision
        for url in self.urls:
            self.assertEqual(history.complaints(await self.soon(self.events(url, end)))[:5], [], url)
        # it was a load, and there were faults
        self.assertEqual(len(self.load.done), 7, self.load.done)
        self.assertGreater(retries(self.etcd), 0)
        # of an endpoint that was not asked since it failed, nothing better is known
        await self.etcd.maintenance.status()
        self.assertEqual(self.etcd.stats().endpoints, dict.fromkeys(self.urls, True))
        self.assertEqual((await self.etcd.get(b"end")).kvs[0].mod_revision, end)


async def first_of(client: Client, keys: KeySet) -> Any:
    return await client.iterate(keys).__anext__()


EVERY_CALL: dict[str, Callable[[Client, bytes], Any]] = {
    "set": lambda etcd, key: etcd.set(key, b""),
    "set of what may be doubled": lambda etcd, key: etcd.set(key, b"", idempotent=True),
    "get": lambda etcd, key: etcd.get(key),
    "serializable get": lambda etcd, key: etcd.get(key, serializable=True),
    "delete": lambda etcd, key: etcd.delete(key),
    "create": lambda etcd, key: etcd.create(key, b""),
    "replace": lambda etcd, key: etcd.replace(key, b"", b"old"),
    "transact": lambda etcd, key: etcd.transact(Transaction([], [OpSet(key, b"")])),
    "submit": lambda etcd, key: etcd.when(CompVersion(key, "==", 0)).then(OpSet(key, b"")).submit(),
    "iterate": lambda etcd, key: Deferred.fromCoroutine(first_of(etcd, KeySet(key))),
    "wait for": lambda etcd, key: etcd.wait_for(key),
    "wait for, not long": lambda etcd, key: etcd.wait_for(key, timeout=1),
    "compact": lambda etcd, key: etcd.compact(1),
    "status": lambda etcd, key: etcd.status(),
    "lease": lambda etcd, key: etcd.lease(60),
    "leases": lambda etcd, key: etcd.leases(),
    "lock": lambda etcd, key: etcd.lock(key),
    "sync": lambda etcd, key: etcd.sync_endpoints(),
    "members": lambda etcd, key: etcd.cluster.members(),
    "leader": lambda etcd, key: etcd.cluster.leader(),
    "add member": lambda etcd, key: etcd.cluster.add("http://127.0.0.1:1"),
    "move leader": lambda etcd, key: etcd.maintenance.move_leader(1),
    "alarms": lambda etcd, key: etcd.maintenance.alarms(),
    "hash": lambda etcd, key: etcd.maintenance.hash(timeout=2),
    "users": lambda etcd, key: etcd.auth.users(),
    "enable auth": lambda etcd, key: etcd.auth.enable(),
}
"""What can be asked of a cluster, by whichever member."""


@on_every_server_at_length()
class AllDown(FailoverCase):
    """No member is left."""

    def all_named(self: Any, error: Error, name: str) -> None:
        """Whoever reads the error knows who was asked."""
        for url in self.urls:
            self.assertIn(url, str(error.endpoint), name)
            self.assertIn(url, str(error), name)

    async def works_again(self: Any, etcd: Client) -> None:
        """What it was asked before, it does now."""
        await etcd.create(self.key(b"again"), b"1", timeout=30)
        await etcd.set(self.key(b"again"), b"2", timeout=30)
        self.assertEqual(await self.found(b"again"), [(b"2", 2)])
        self.assertEqual([kv.value for kv in (await etcd.get(self.key(b"again"), timeout=30)).kvs], [b"2"])
        self.assertEqual(len(await etcd.cluster.members(timeout=30)), 3)
        await etcd.maintenance.status()
        self.assertEqual(etcd.stats().endpoints, dict.fromkeys(self.urls, True))

    async def test_all_down(self: Any) -> None:
        """Every call ends by its deadline, and names those that it has tried; then the same client works again."""
        etcd = self.patient(*self.urls, timeout=5)
        before = await etcd.leases(timeout=30)
        await gatherResults([member.kill() for member in self.cluster.members])
        await self.when_cut_off(etcd)
        asked = {name: call(etcd, self.key(b"a")) for name, call in EVERY_CALL.items()}
        for name, answer in asked.items():
            # of the last attempt, which may have had no time left
            error = await self.assertFailure(self.soon(answer), Unavailable, Timeout)
            self.assertEqual((name, error.maybe_applied), (name, False))
            self.all_named(error, name)
        outcomes = await self.soon(etcd.maintenance.status())
        self.assertEqual({url: error.endpoint for url, error in outcomes.items()}, {u: u for u in self.urls})
        self.assertEqual(etcd.stats().endpoints, dict.fromkeys(self.urls, False))
        waiting = self.patient(*self.urls).get(self.key(b"a"))
        await gatherResults([member.start() for member in self.cluster.members])
        await self.when_well(self.cluster)
        self.assertEqual((await self.soon(waiting)).kvs, [])
        await self.works_again(etcd)
        self.assertEqual(await etcd.leases(timeout=30), before)

    async def test_deadline_of_a_call(self: Any) -> None:
        """... be it the client's, or its own."""
        etcd = self.patient(*self.urls, timeout=3600)
        await gatherResults([member.kill() for member in self.cluster.members])
        for call in (etcd.set(self.key(b"a"), b"", timeout=5), etcd.get(self.key(b"a"), timeout=5)):
            error = await self.assertFailure(self.soon(call), Unavailable, Timeout)
            self.assertFalse(error.maybe_applied)
            self.all_named(error, error.call)

    async def test_all_silent(self: Any) -> None:
        """They hang: reads are asked of all of them; a write that was sent may be applied later, but once."""
        # a share of what is left for each but the last: 1.5, 0.75 and 0.75 seconds
        self.patch(_attempts, "_SHARE", 0.5)
        etcd = self.patient(*self.urls, timeout=3)
        # a connection to each of them, and nobody in doubt of who they are
        await etcd.maintenance.status()
        for member in self.cluster.members:
            await self.pause(member)
        setting, getting = etcd.set(self.key(b"a"), b"1"), etcd.get(self.key(b"a"))
        error = await self.assertFailure(self.soon(setting), Timeout)
        self.assertTrue(error.maybe_applied)
        self.assertEqual(error.attempts, 1)
        self.assertIn(error.endpoint, self.urls)
        error = await self.assertFailure(self.soon(getting), Timeout)
        self.all_named(error, "get")
        # by now it doubts them, and asks who they are before it sends a write
        error = await self.assertFailure(self.soon(etcd.set(self.key(b"b"), b"1")), Timeout)
        self.assertFalse(error.maybe_applied)
        self.all_named(error, "set")
        for member in self.cluster.members:
            member.resume()
        await self.when_well(self.cluster)
        await self.works_again(etcd)
        self.assertIn(await self.found(b"a"), ([], [(b"1", 1)]))
        self.assertEqual(await self.found(b"b"), [])


@on_every_server_at_length()
class Retries(FailoverCase):
    """What is tried again, and what is not."""

    async def test_kv_get_retry(self: Any) -> None:
        """KVGetRetry: a get whose only member is down is answered when it is back."""
        await self.etcd.set(self.key(b"a"), b"1")
        follower = await self.follower()
        etcd = self.patient(self.url_of(follower))
        await follower.kill()
        getting = etcd.get(self.key(b"a"))
        await self.until(lambda: not etcd.stats().endpoints[self.url_of(follower)])
        await follower.start()
        found = await self.soon(getting)
        self.assertEqual([(kv.value, kv.version) for kv in found.kvs], [(b"1", 1)])
        self.assertGreater(retries(etcd), 0)
        self.assertTrue(etcd.stats().endpoints[self.url_of(follower)])

    async def test_kv_put_fail_get_retry(self: Any) -> None:
        """KVPutFailGetRetry: a set fails in vain, and is not done later; the get after it goes through."""
        follower = await self.follower()
        etcd = self.patient(self.url_of(follower))
        await follower.kill()
        error = await self.assertFailure(etcd.set(self.key(b"a"), b"1", timeout=3), Unavailable, Timeout)
        self.assertFalse(error.maybe_applied)
        self.assertGreater(error.attempts, 1)
        getting = etcd.get(self.key(b"a"))
        await follower.start()
        self.assertEqual((await self.soon(getting)).kvs, [])
        self.assertEqual(await self.found(), [])

    def answers_to(self: Any, rpc: schema.Rpc) -> Callable[[ProxyConnection], bool]:
        """For a :class:`FaultyProxy`: whether a connection carries the answer to the only such call that is asked."""
        asks, asked = self.asks(rpc), set()

        def is_answered(connection: ProxyConnection) -> bool:
            if asks(connection):
                asked.add(connection)
            # a server of gRPC says other things before, which may be answered
            return connection in asked and HEADERS in kinds_of(connection.answer)

        return asks if self.scheme == GATEWAY else is_answered

    async def test_kv_put_at_most_once(self: Any) -> None:
        """KVPutAtMostOnce: connections end amid sets; none is doubled, neither there nor at another member."""
        proxies = [await self.proxy_to(member) for member in self.cluster.members]
        etcd = self.patient(*(self.url_of(proxy) for proxy in proxies))
        await etcd.set(self.key(b"a"), b"1")
        version = 1
        cuts = [("cut_request", 0, 0), ("cut_request", 60, 0), ("cut_answer", 0, 1), ("cut_answer", 60, 1)]
        for how in ("close", "reset"):
            for command, after, is_applied in cuts:
                where = self.asks(schema.PUT) if command == "cut_request" else self.answers_to(schema.PUT)
                for proxy in proxies:
                    getattr(proxy, command)(after, how, where=where)
                error = await self.assertFailure(self.soon(etcd.set(self.key(b"a"), b"2")), OutcomeUnknown)
                self.assertEqual((error.maybe_applied, error.attempts), (True, 1))
                version += is_applied
                self.assertEqual((await self.found())[0][1], version, (command, after, how))
                for proxy in proxies:
                    proxy.behave()
        await self.sets_amid_chance(etcd, proxies, version)

    async def sets_amid_chance(self: Any, etcd: Client, proxies: list[FaultyProxy], version: int) -> None:
        for proxy in proxies:
            proxy.misbehave(0.4, ["cut_request", "cut_answer"])
        done = unknown = 0
        for _ in range(60):
            try:
                await self.soon(etcd.set(self.key(b"a"), b"3"))
                done += 1
            except OutcomeUnknown:
                unknown += 1
        self.assertTrue(done and unknown, (done, unknown))
        sets = (await self.found())[0][1] - version
        self.assertTrue(done <= sets <= done + unknown, (done, sets, unknown))

    async def test_txn_write_fail(self: Any) -> None:
        """TxnWriteFail: a transaction at a member that is down fails, and did not happen."""
        follower = await self.follower()
        etcd = self.patient(self.url_of(follower))
        await follower.kill()
        txn = Transaction([], [OpSet(self.key(b"a"), b"1")])
        asked = [
            etcd.transact(txn, timeout=0.5),
            etcd.submit(txn, timeout=0.5),
            etcd.create(self.key(b"a"), b"1", timeout=0.5),
        ]
        for answer in asked:
            error = await self.assertFailure(self.soon(answer), Unavailable, Timeout)
            self.assertFalse(error.maybe_applied)
        self.assertEqual(await self.found(), [])
        await follower.start()
        self.assertEqual((await etcd.get(self.key(b"a"))).kvs, [])
        await etcd.submit(txn)
        self.assertEqual(await self.found(), [(b"1", 1)])


@on_every_server()
class Ends(RealCase):
    """A client is closed whose server is gone, or is not; or a call is cancelled."""

    async def test_kv_get_stopped_server_and_close(self: Any) -> None:
        """KVGetStoppedServerAndClose, KVPutStoppedServerAndClose: nothing of the calls is left."""
        own = await self.own_server()
        etcd = self.client(self.url_of(own), retry=Backoff())
        await etcd.set(b"a", b"1")
        await own.kill()
        await self.assertFailure(etcd.get(b"a", timeout=0.5), Unavailable, Timeout)
        error = await self.assertFailure(etcd.set(b"a", b"2", timeout=0.5), Unavailable, Timeout)
        self.assertFalse(error.maybe_applied)
        waiting = [etcd.get(b"a"), etcd.set(b"a", b"2")]
        await etcd.close()
        for answer in waiting:
            error = await self.assertFailure(answer, Closed)
            self.assertFalse(error.maybe_applied)
        self.assertEqual((etcd.stats().in_flight, etcd.stats().connections, sockets_to(own.url)), (0, 0, 0))

    async def test_kv_get_err_conn_closed(self: Any) -> None:
        """KVGetErrConnClosed, KVNewAfterClose: a closed client fails at once, and connects to nobody."""
        etcd = self.client(retry=Backoff())
        await etcd.get(self.key(b"a"))
        await etcd.close()
        for answer in (etcd.get(self.key(b"a")), etcd.set(self.key(b"a"), b"1")):
            self.assertTrue(answer.called)
            error = await self.assertFailure(answer, Closed)
            self.assertFalse(error.maybe_applied)
        await etcd.close()
        self.assertEqual(etcd.stats().connections, 0)
        self.assertEqual((await self.etcd.get(self.key(b"a"))).kvs, [])


    async def test_kv_get_cancel(self: Any) -> None:
        """KVGetCancel: the get ends at once; the client goes on, and so does what else it was asked."""
        etcd = self.client(retry=Backoff())
        setting, getting = etcd.set(self.key(b"a"), b"1"), etcd.get(self.key(b"a"))
        getting.cancel()
        self.assertTrue(getting.called)
        await self.assertFailure(getting, CancelledError)
        await self.soon(setting)
        self.assertEqual([kv.value for kv in (await etcd.get(self.key(b"a"))).kvs], [b"1"])
        self.assertEqual(etcd.stats().calls["KV.Range"].failures, {"CancelledError": 1})


@on_every_server_at_length()
class Changes(FailoverCase):
    """Members come and go, and the client follows."""

    async def start(self: Any) -> None:
        self.cluster = await self.own_cluster()
        self.etcd = self.cluster_client(self.cluster)
        self.before = await self.etcd.cluster.members()

    async def join(self: Any, add: Callable[[str], Any]) -> tuple[int, str]:
        """One member more: its id, and its URL."""
        me = Peer("new", free_ports(1)[0])
        member = await add(me.url)
        url = self.spoken(await self.run_member(me, self.before))
        await self.until(lambda: self.serves(url))
        return member.member_id, url

    async def settled(self: Any) -> None:
        """A change is applied everywhere, as a write is behind it: see :mod:`test.real.test_cluster`."""
        for url in self.urls:
            await self.patient(url).set(b"settled", b"")

    async def serves(self: Any, url: str) -> bool:
        try:
            await self.client(url).get(b"-", serializable=True)
        except (Unavailable, Timeout):
            return False
        return True

    async def test_sync_endpoints(self: Any) -> None:
        """From one endpoint to all; and on to those that come, without those that go; by hand, and by itself."""
        urls = self.urls
        etcd = self.patient(urls[0])
        following = self.patient(urls[0], sync_interval=0.1)
        self.assertEqual(set(await etcd.sync_endpoints()), set(urls))
        self.assertEqual(etcd.endpoints[0], urls[0])
        await self.until(lambda: set(following.endpoints) == set(urls))
        member_id, url = await self.join(self.etcd.cluster.add)
        await self.settled()
        self.assertEqual(set(await etcd.sync_endpoints()), {*urls, url})
        await self.until(lambda: set(following.endpoints) == {*urls, url})
        await self.etcd.cluster.remove(member_id)
        await self.settled()
        self.assertEqual(set(await etcd.sync_endpoints()), set(urls))
        await self.until(lambda: set(following.endpoints) == set(urls))
        await etcd.set(b"a", b"1")
        self.assertEqual([kv.version for kv in (await following.get(b"a")).kvs], [1])

    async def test_kv_for_learner(self: Any) -> None:
        """KVForLearner, BalancerSupportLearner: it answers serializable gets alone, others the rest."""
        await self.etcd.set(b"a", b"0")
        learner, url = await self.join(self.etcd.cluster.add_learner)
        alone = self.client(url)
        self.assertEqual((await alone.get(b"a", serializable=True)).header.member_id, learner)
        calls: dict[str, Callable[[Client], Any]] = {
            "get": lambda etcd: etcd.get(b"a"),
            "set": lambda etcd: etcd.set(b"a", b"1"),
            "transact": lambda etcd: etcd.transact(Transaction([], [OpSet(b"a", b"2")])),
            "delete": lambda etcd: etcd.delete(b"a"),
        }
        for name, call in calls.items():
            error = await self.assertFailure(call(alone), NotSupportedForLearner)
            self.assertEqual((name, error.maybe_applied), (name, False))
        self.assertEqual([(kv.value, kv.version) for kv in (await self.etcd.get(b"a")).kvs], [(b"0", 1)])
        for name, call in calls.items():
            etcd = self.patient(url)
            await etcd.get(b"a", serializable=True)
            etcd.set_endpoints([url, self.urls[0]])
            self.assertNotEqual((await call(etcd)).header.member_id, learner, name)
        # it is none of those that are asked
        self.assertNotIn(url, await self.patient(self.urls[0]).sync_endpoints())


@on_every_server_at_length()
class Endpoints(FailoverCase):
    """Endpoints are replaced while the client is at work."""

    async def test_dial_set_endpoints_before_fail(self: Any) -> None:
        """DialSetEndpointsBeforeFail: it knows another one when its own goes down."""
        first, second = self.cluster.members[:2]
        etcd = await self.pinned(self.url_of(first), self.url_of(second))
        await first.kill()
        await self.soon(etcd.get(self.key(b"a"), serializable=True))
        self.assertEqual(etcd.endpoints, (self.url_of(second), self.url_of(first)))

    async def test_dial_set_endpoints_after_fail(self: Any) -> None:
        """DialSetEndpointsAfterFail: it learns of another one when its own is down; so does a call that waits."""
        first, second = self.cluster.members[:2]
        etcd = await self.pinned(self.url_of(first))
        await first.kill()
        getting = etcd.get(self.key(b"a"), serializable=True)
        await self.until(lambda: not etcd.stats().endpoints[self.url_of(first)])
        etcd.set_endpoints([self.url_of(first), self.url_of(second)])
        for answer in (etcd.get(self.key(b"a"), serializable=True), getting):
            found = await self.soon(answer)
            self.assertEqual(found.header.member_id, await self.member_id(second))

    async def test_switch_set_endpoints(self: Any) -> None:
        """SwitchSetEndpoints: away from one that hangs, to others."""
        first = self.cluster.members[0]
        etcd = await self.pinned(self.url_of(first))
        await self.pause(first)
        etcd.set_endpoints([self.url_of(member) for member in self.others(first)])
        await self.soon(etcd.get(self.key(b"a")))
        self.assertNotIn(self.url_of(first), etcd.endpoints)

    async def test_set_endpoint_and_put(self: Any) -> None:
        """SetEndpointAndPut: the very next set goes to the new one."""
        first, second = self.cluster.members[:2]
        etcd = await self.pinned(self.url_of(first))
        for member in (second, first) * 5:
            etcd.set_endpoints(self.url_of(member))
            done = await etcd.set(self.key(b"a"), b"")
            self.assertEqual(done.header.member_id, await self.member_id(member))
        self.assertEqual(await self.found(), [(b"", 10)])

    async def test_dial_foreign_endpoint(self: Any) -> None:
        """DialForeignEndpoint: what concerns one member can be asked of one that is none of the endpoints."""
        first, second = self.cluster.members[:2]
        etcd = await self.pinned(self.url_of(first))
        answer = await etcd.maintenance.hash(self.url_of(second))
        self.assertEqual(answer.header.member_id, await self.member_id(second))
        self.assertEqual(etcd.endpoints, (self.url_of(first),))

    async def test_reject_old_cluster(self: Any) -> None:
        """RejectOldCluster: whoever minds how old the members are can ask all of them."""
        statuses = await self.etcd.maintenance.status()
        versions = {url: status.version for url, status in statuses.items()}
        self.assertEqual(versions, dict.fromkeys(self.urls, self.server.label))

    async def test_replaced_under_calls(self: Any) -> None:
        """
        What is under way goes on where it is: a get, a set, a watch. The next call is asked elsewhere. What shares a
        connection with what is held up is held up as well.
        """
        first, second = [await self.proxy_to(member) for member in self.cluster.members[:2]]
        etcd = await self.pinned(self.url_of(first))
        async with etcd.watcher(self.keys()) as watch:
            apart = self.scheme == GATEWAY
            first.delay(3600, "to_client", where=lambda connection: not (apart and self.carries_watch(connection)))
            setting, getting = etcd.set(self.key(b"a"), b"1"), etcd.get(self.key(b"b"))
            await self.until(self.found)
            seen = Deferred.fromCoroutine(self.values_of(watch, 2))
            etcd.set_endpoints(self.url_of(second))
            done = await self.soon(etcd.set(self.key(b"b"), b"2"))
            self.assertEqual(done.header.member_id, await self.member_id(self.cluster.members[1]))
            if apart:
                await self.soon(seen)
            self.assertEqual((setting.called, getting.called, seen.called), (False, False, apart))
            first.behave()
            await self.soon(seen)
            self.assertEqual(self.values, [b"1", b"2"])
            for answer in (await self.soon(setting), await self.soon(getting)):
                self.assertEqual(answer.header.member_id, await self.member_id(self.cluster.members[0]))
        self.assertEqual(await self.found(), [(b"1", 1)])
        self.assertEqual(retries(etcd), 0)

    async def values_of(self: Any, watch: Watch, count: int) -> None:
        """Waits for the next so many events."""
        self.values = [(await watch.__anext__()).value for _ in range(count)]

    async def test_mapped(self: Any) -> None:
        """What members advertise may be no way from here: then their URLs are mapped, or left out."""
        proxies = {member.url: await self.proxy_to(member) for member in self.cluster.members[:2]}
        here = {url: self.url_of(proxy) for url, proxy in proxies.items()}
        etcd = self.patient(self.urls[2], endpoint_mapping=here.get)
        self.assertEqual(set(await etcd.sync_endpoints()), set(here.values()))
        await etcd.set(self.key(b"a"), b"1")
        # more than one where this takes so long that others are asked whether they are quicker
        self.assertGreater(sum(proxy.accepted for proxy in proxies.values()), 0)
        self.assertEqual(await self.found(), [(b"1", 1)])

    async def test_failover(self: Any) -> None:
        """Failover: a client that was made before a member went down, and one that was made after."""
        await self.etcd.set(self.key(b"a"), b"1")
        first = self.cluster.members[0]
        before = await self.pinned(*self.urls)
        await first.kill()
        for etcd in (before, self.patient(*self.urls)):
            found = await self.soon(etcd.get(self.key(b"a")))
            self.assertEqual([kv.value for kv in found.kvs], [b"1"])


@on_every_server_at_length()
class BlackHoles(FailoverCase):
    """
    An endpoint from which nothing comes back, not even an end.

    :ivar first: the way to the endpoint that clients prefer.
    :ivar second: the way to another one.
    """

    async def start(self: Any) -> None:
        await super().start()
        self.first, self.second = [await self.proxy_to(member) for member in self.cluster.members[:2]]
        self.second_id = await self.member_id(self.cluster.members[1])

    async def torn(self: Any, **options: Any) -> Client:
        """A client that prefers the first."""
        client: Client = await self.pinned(self.url_of(self.first), self.url_of(self.second), **options)
        return client

    async def test_balancer_under_blackhole_no_keep_alive_put(self: Any) -> None:
        """BalancerUnderBlackholeNoKeepAlive{Put,Delete,Txn}: the first is lost, and the next one goes elsewhere."""
        await self.etcd.set(self.key(b"delete"), b"1")
        txn = Transaction([CompVersion(self.key(b"txn"), "==", 0)], [OpSet(self.key(b"txn"), b"1")])
        calls: list[Callable[..., Any]] = [
            lambda etcd, **options: etcd.set(self.key(b"put"), b"1", **options),
            lambda etcd, **options: etcd.delete(self.key(b"delete"), **options),
            lambda etcd, **options: etcd.transact(txn, **options),
        ]
        clients = [await self.torn() for _ in calls]
        self.first.black_hole()
        lost = [call(etcd, timeout=4) for call, etcd in zip(calls, clients)]
        for answer in lost:
            error = await self.assertFailure(self.soon(answer), Timeout)
            self.assertEqual((error.maybe_applied, error.attempts, error.endpoint), (True, 1, self.url_of(self.first)))
        done, deleted, outcome = [await self.soon(call(etcd)) for call, etcd in zip(calls, clients)]
        self.assertEqual({answer.header.member_id for answer in (done, deleted, outcome)}, {self.second_id})
        self.assertEqual((deleted.deleted, outcome.succeeded), (1, True))
        self.assertEqual([await self.found(name) for name in (b"put", b"txn")], [[(b"1", 1)]] * 2)

    async def test_balancer_under_blackhole_no_keep_alive_get(self: Any) -> None:
        """BalancerUnderBlackholeNoKeepAlive{LinearizableGet,SerializableGet}: even the first is answered, elsewhere."""
        clients = [await self.torn() for _ in range(2)]
        self.first.black_hole()
        asked = [
            etcd.get(self.key(b"a"), serializable=serializable, timeout=5)
            for etcd, serializable in zip(clients, (False, True))
        ]
        for answer in asked:
            self.assertEqual((await self.soon(answer)).header.member_id, self.second_id)
        for etcd in clients:
            self.assertEqual(etcd.endpoints, (self.url_of(self.second), self.url_of(self.first)))
            await etcd.get(self.key(b"a"))
            self.assertEqual(retries(etcd), 1)

    async def test_balancer_under_blackhole_keep_alive_watch(self: Any) -> None:
        """
        BalancerUnderBlackholeKeepAliveWatch: a call that is lost there tells the watches that begin then; and back
        again, when it is the other one.
        """
        etcd = await self.torn()
        async with etcd.watcher(self.keys()):
            self.first.black_hole()
            for number, (lost, well) in enumerate(((self.first, self.second), (self.second, self.first))):
                start = (await self.soon(etcd.get(self.key(b"a"), timeout=5))).header.revision + 1
                await self.etcd.set(self.key(b"a"), b"%d" % number)
                async with etcd.watcher(self.keys(), start_revision=start) as watch:
                    self.assertEqual((await self.soon(watch.__anext__())).value, b"%d" % number)
                    self.assertTrue(list(filter(self.carries_watch, well.connections)))
                await self.soon(etcd.set(self.key(b"b"), b""))
                lost.behave()
                well.black_hole()
        self.assertEqual(await self.found(b"b"), [(b"", 2)])


@on_every_server_at_length()
class Shutdowns(FailoverCase):
    """The member that the client prefers goes down."""

    async def test_balancer_under_server_shutdown(self: Any) -> None:
        """BalancerUnderServerShutdown{Put,Delete,Txn,GetLinearizable,GetSerializable}: the others do it all."""
        follower = await self.follower()
        key, urls = self.key(b"a"), [self.url_of(member) for member in self.others(follower)]
        txn = Transaction([CompVersion(key, "==", 0)], [OpSet(key, b"then")], [OpSet(key, b"else")])
        calls: list[Callable[[Client], Any]] = [
            lambda etcd: etcd.set(key, b"1"),
            lambda etcd: etcd.delete(key),
            lambda etcd: etcd.transact(txn),
            lambda etcd: etcd.get(key),
            lambda etcd: etcd.get(key, serializable=True),
        ]
        clients = [await self.pinned(self.url_of(follower), *urls) for _ in calls]
        await follower.stop()
        await self.when_cut_off(*clients)
        for call, etcd in zip(calls, clients):
            await self.soon(call(etcd))
            self.assertGreater(retries(etcd), 0)
        self.assertEqual(await self.found(), [(b"then", 1)])

    async def test_of_the_leader(self: Any) -> None:
        """Gets go on through an election, whether their connection is cut or they come later."""
        leader = await self.cluster.leader()
        urls = [self.url_of(member) for member in self.others(leader)]
        clients = [await self.pinned(self.url_of(leader), *urls) for _ in range(4)]
        await self.etcd.set(self.key(b"a"), b"1")
        reads = [etcd.get(self.key(b"a"), serializable=bool(number % 2)) for number, etcd in enumerate(clients)]
        killing = leader.kill()
        reads += [etcd.get(self.key(b"a"), serializable=bool(number % 2)) for number, etcd in enumerate(clients)]
        await killing
        reads += [etcd.get(self.key(b"a"), serializable=bool(number % 2)) for number, etcd in enumerate(clients)]
        for found in [await self.soon(read) for read in reads]:
            self.assertEqual([kv.value for kv in found.kvs], [b"1"])

    async def test_balancer_under_server_shutdown_watch(self: Any) -> None:
        """BalancerUnderServerShutdownWatch: the watch goes on elsewhere, where it was."""
        leader = await self.cluster.leader()
        etcd = await self.pinned(self.url_of(leader), *(self.url_of(member) for member in self.others(leader)))
        watch = await etcd.watcher(self.keys()).when_started()
        await self.etcd.set(self.key(b"a"), b"1")
        self.assertEqual((await self.soon(watch.__anext__())).value, b"1")
        await leader.kill()
        await self.cluster.leader()
        await self.patient(*(self.url_of(member) for member in self.others(leader))).set(self.key(b"a"), b"2")
        self.assertEqual((await self.soon(watch.__anext__())).value, b"2")
        self.assertGreater(watch.losses, 0)
        await watch.stop()

    async def stopped_in_flight(self: Any, pinned: EtcdProcess, other: EtcdProcess, is_pinned_first: bool) -> None:
        """Two go down, gets are under way, one comes back."""
        (third,) = self.others(pinned, other)
        linearizable = await self.pinned(self.url_of(pinned), self.url_of(other), self.url_of(third))
        serializable = await self.pinned(self.url_of(pinned), self.url_of(other))
        for member in (pinned, other) if is_pinned_first else (other, pinned):
            await member.kill()
        asked = [linearizable.get(self.key(b"a")), serializable.get(self.key(b"a"), serializable=True)]
        await self.until(lambda: not serializable.stats().endpoints[self.url_of(pinned)])
        self.assertEqual([answer.called for answer in asked], [False, False])
        await pinned.start()
        for answer in asked:
            self.assertEqual([kv.value for kv in (await self.soon(answer)).kvs], [b"1"])
        await other.start()
        await self.when_well(self.cluster)

    async def test_balancer_under_server_stop_inflight_get_on_restart(self: Any) -> None:
        """
        BalancerUnderServerStopInflight{Linearizable,Serializable}GetOnRestart: gets wait until there is somebody to
        ask, whether their member led or not, went down first or last.
        """
        await self.etcd.set(self.key(b"a"), b"1")
        for does_lead in (True, False):
            for is_first in (True, False):
                leader = await self.cluster.leader()
                follower = self.others(leader)[0]
                pair = (leader, follower) if does_lead else (follower, leader)
                await self.stopped_in_flight(*pair, is_first)

    async def test_revision_monotonic_with_leader_restarts(self: Any) -> None:
        """RevisionMonotonicWithLeaderRestarts: whoever goes round the members never sees an older revision."""
        is_over = False
        calls: list[Callable[[Client], Any]] = [
            lambda etcd: etcd.get(self.key(b"a")),
            lambda etcd: etcd.set(self.key(b"a"), b""),
        ] * 4
        answers = [0] * len(calls)

        async def go_round(number: int) -> None:
            clients = [self.patient(url) for url in self.urls]
            last = 0
            while not is_over:
                for etcd in clients:
                    try:
                        revision = (await calls[number](etcd)).header.revision
                    except OutcomeUnknown:
                        continue
                    self.assertGreaterEqual(revision, last)
                    last = revision
                    answers[number] += 1
                    await deferLater(self.reactor, 0.01)

        async def all_go_round() -> None:
            before = min(answers)
            await self.until(lambda: min(answers) > before + 6)

        going = [Deferred.fromCoroutine(go_round(number)) for number in range(len(calls))]
        try:
            for _ in range(ROUNDS):
                await all_go_round()
                await (await self.cluster.leader()).restart()
            await all_go_round()
        finally:
            is_over = True
            await self.soon(gatherResults(going, consumeErrors=True))


@on_every_server_at_length()
class OtherClusters(RealCase):
    """Behind two endpoints are two clusters."""

    async def start(self: Any) -> None:
        self.one, self.other = [await self.own_server() for _ in range(2)]
        self.ids = [(await self.client(self.url_of(own)).status()).header.cluster_id for own in (self.one, self.other)]

    async def test_wrong_cluster(self: Any) -> None:
        """WrongCluster: the other one is never asked to do anything; when the right one is back, it goes on."""
        etcd = self.client(self.url_of(self.one), timeout=5)
        patient = self.client(self.url_of(self.one), timeout=5, retry=Backoff())
        for client in (etcd, patient):
            await client.set(b"a", b"1")
            client.set_endpoints([self.url_of(self.one), self.url_of(self.other)])
        await self.one.kill()
        await self.until(lambda: not etcd.stats().connections and not patient.stats().connections)
        alone = self.client(self.url_of(self.other))
        before = (await alone.get(b"a")).header.revision
        error = await self.assertFailure(self.soon(etcd.set(b"a", b"2")), WrongCluster)
        self.assert_said(error)
        self.assertFalse(error.maybe_applied)
        for answer in [patient.set(b"a", b"2"), patient.get(b"a"), patient.lease(60), patient.delete(b"a")]:
            # whatever it was told last, and by whom
            error = await self.assertFailure(self.soon(answer), WrongCluster, Unavailable, Timeout)
            self.assertFalse(error.maybe_applied)
            self.assertIn(self.url_of(self.one), error.endpoint)
            self.assertIn(self.url_of(self.other), error.endpoint)
        self.assertEqual((await alone.get(b"a")).header.revision, before)
        self.assertEqual(await alone.leases(), [])
        await self.one.start()
        for client in (etcd, patient):
            found = await self.soon(client.get(b"a", timeout=30))
            self.assertEqual([(kv.value, kv.version) for kv in found.kvs], [(b"1", 2)])

    async def test_only_the_other(self: Any) -> None:
        """The endpoints are replaced by one of another cluster: what the error says of a write is true."""
        etcd = self.client(self.url_of(self.one))
        await etcd.set(b"a", b"1")
        etcd.set_endpoints(self.url_of(self.other))
        error = await self.assertFailure(self.soon(etcd.set(b"a", b"2")), WrongCluster)
        self.assert_said(error)
        found = (await self.client(self.url_of(self.other)).get(b"a")).kvs
        self.assertEqual(error.maybe_applied, bool(found))

    async def test_in_its_place(self: Any) -> None:
        """
        Another cluster takes the place of the one that was there, at the same port: nothing is written there, however
        few endpoints there are, and whether the client has asked anything since.
        """
        for count in (1, 2):
            # one that nobody else takes while nobody is there
            place = free_ports(1)[0]
            self.one = await self.own_server(client_port=place)
            etcd = self.client(self.url_of(self.one), timeout=5, retry=Backoff())
            await etcd.set(b"a", b"1")
            etcd.set_endpoints([self.url_of(self.one), self.url_of(self.other)][:count])
            await self.one.stop()
            await self.until(lambda: not etcd.stats().connections)
            stranger = await self.own_server(client_port=place)
            direct = self.client(self.url_of(stranger))
            await direct.set(b"precious", b"1")
            for write in (
                etcd.set(b"a", b"2"), etcd.delete(KeySet.all()), etcd.submit(Transaction([], [OpSet(b"b", b"2")])),
                etcd.create(b"c", b"2"), etcd.compact(2),
            ):  # fmt: skip
                error = await self.assertFailure(self.soon(write), WrongCluster)
                self.assertFalse(error.maybe_applied)
            await self.assertFailure(self.soon(etcd.get(b"precious")), WrongCluster)
            self.assertEqual([kv.key for kv in (await direct.get(KeySet.all())).kvs], [b"precious"])
            await stranger.stop()

    def assert_said(self: Any, error: WrongCluster) -> None:
        """It names both."""
        self.assertEqual([error.wanted, error.found], self.ids)
        for cluster_id in self.ids:
            self.assertIn(f"{cluster_id:x}", str(error))
        self.assertIn(self.url_of(self.other), error.endpoint)
