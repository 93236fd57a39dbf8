"""
Processes that contend for something in a cluster, while they, the members and the network between them suffer.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Callable, Optional, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol

from test.real.amid_faults import AmidFaults
from test.real.base import on_every_server
from test.real.contender import TIME_TO_LIVE
from test.real.independent import Independent
from test.servers import NEWEST
from txetcd.testing import EtcdFailed, EtcdProcess, FaultyProxy, History
from txetcd.testing._cluster import together

SECONDS = float(os.environ.get("TXETCD_TEST_CONTEND_SECONDS", "8"))
"""How long it goes on; each fault happens once at least. 0 for not at all."""

SEED = int(os.environ.get("TXETCD_TEST_CONTEND_SEED", "1"))
"""For what they do, and what happens."""

CONTENDERS = 5


def on_newest_server_for_seconds() -> Callable[[type], None]:
    """As :func:`test.real.base.on_newest_server`, if it goes on for any time."""
    return on_every_server(lambda server: server is NEWEST and SECONDS > 0)


EXPIRY = TIME_TO_LIVE + 2.5
"""Seconds after which a lease that is not renewed is gone, as a rule: etcd looks twice in a second."""

LATE_REVOCATIONS = 3.0
"""
Seconds after a leader that was suspended goes on, in which it may still have leases revoked that another one renews by
now: so does every etcd (its issue 15247; since 3.4.31 and 3.5.13 less often). Their owners learn that when they renew
them next.
"""

ROOT = Path(__file__).resolve().parents[2]

T = TypeVar("T")


class Worker(ProcessProtocol):
    """
    A process that contends.

    :param on_report: called with it and with what it has reported.
    :ivar who: its name.
    :ivar proxies: what its connections go through.
    :ivar done: how often it had what it wanted.
    :ivar token: that of what it holds, as far as it has reported; ``None`` if it holds nothing.
    :ivar errors: what it has complained of (``bytes``).
    :ivar status: with what it has ended.
    """

    def __init__(self, who: str, proxies: list[FaultyProxy], on_report: Callable[[Worker, dict[str, Any]], None]):
        self.who = who
        self.proxies = proxies
        self._on_report = on_report
        self._line = b""
        self.done = 0
        self.token: Optional[int] = None
        self.errors = b""
        self.status: Any = None
        self.ended: Deferred[None] = Deferred()

    def __repr__(self) -> str:
        return f"<Worker {self.who} {self.done} done, {self.status}: {self.errors.decode()}>"

    def outReceived(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            reported = json.loads(line)
            if reported["what"] in ("got", "done", "refused", "failed"):
                self.token = reported.get("token") if reported["what"] == "got" else None
                self.done += reported["what"] == "done"
            self._on_report(self, reported)

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Any) -> None:
        self.status = reason.value.exitCode
        self.ended.callback(None)

    def signal(self, number: signal.Signals) -> None:
        if not self.ended.called:
            self.transport.signalProcess(int(number))

    def end(self) -> None:
        """It ends when it has done what it has begun."""
        self.transport.write(b"over\n")

    def kill(self) -> Deferred[None]:
        self.signal(signal.SIGKILL)
        return self.ended


class ContentionCase(AmidFaults):
    """
    A cluster of three, and processes that reach its members through proxies of their own.

    :cvar recipe: what they use, by its name in ``test.real.contender``.
    :ivar reports: what they have reported, with the name of each.
    :ivar happened: what has happened to them, and how often.
    """

    recipe: str
    timeout = 900 + 3 * SECONDS

    async def start(self: Any) -> None:
        self.random = Random(SEED)
        self.cluster = await self.own_cluster()
        self.etcd = self.cluster_client(self.cluster)
        self.happened: Counter[str] = Counter()
        self.excused_until = 0.0
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.workers: list[Worker] = []
        self.all_workers: list[Worker] = []
        self.addCleanup(self.kill_all)
        await self.prepare()
        for number in range(CONTENDERS):
            proxies = [await self.proxy_to(member) for member in self.cluster.members]
            self.workers.append(self.new_worker(f"{number}.0", proxies))

    async def prepare(self: Any) -> None:
        """What must be there before they begin."""

    async def proxy_to(self: Any, member: EtcdProcess) -> FaultyProxy:
        proxy = FaultyProxy(self.reactor, member.url, seed=SEED)
        self.addCleanup(proxy.stop)
        return await proxy.start()

    def new_worker(self: Any, who: str, proxies: list[FaultyProxy]) -> Worker:
        worker = Worker(who, proxies, self.note)
        seed = str(SEED * 1000 + len(self.all_workers))
        arguments = [self.recipe, who, seed, *(self.spoken(proxy.url) for proxy in proxies)]
        command = [sys.executable, "-m", "test.real.contender", *arguments]
        self.reactor.spawnProcess(worker, sys.executable, command, dict(os.environ), str(ROOT))
        self.all_workers.append(worker)
        return worker

    def note(self: Any, worker: Worker, reported: dict[str, Any]) -> None:
        is_excused = self.reactor.seconds() < self.excused_until
        self.reports.append((worker.who, {**reported, "is_excused": is_excused}))

    def kill_all(self: Any) -> Deferred[Any]:
        return gatherResults([worker.kill() for worker in self.all_workers if not worker.ended.called])

    # --- what happens to the processes

    async def holding(self: Any) -> Worker:
        """One that holds what they contend for, as far as is known; or any, if they hold nothing in between."""
        for _ in range(100):
            holders = [worker for worker in self.workers if worker.token is not None]
            if holders:
                return self.random.choice(holders)
            await self.pass_seconds(0.01)
        return self.random.choice(self.workers)

    async def process_killed(self: Any) -> None:
        """And another one comes in its place."""
        worker = await self.holding()
        await worker.kill()
        number, _, times = worker.who.partition(".")
        self.workers[int(number)] = self.new_worker(f"{number}.{int(times) + 1}", worker.proxies)

    async def process_suspended(self: Any) -> None:
        """For longer than its time to live."""
        worker = await self.holding()
        worker.signal(signal.SIGSTOP)
        await self.pass_seconds(EXPIRY)
        await self.until(self.is_well)
        worker.signal(signal.SIGCONT)

    async def process_cut_off(self: Any) -> None:
        """In silence, for longer than its time to live."""
        worker = await self.holding()
        for proxy in worker.proxies:
            proxy.black_hole()
        await self.pass_seconds(EXPIRY)
        for proxy in worker.proxies:
            proxy.behave()

    # --- what happens to the members, and to the connections

    async def member_killed(self: Any) -> None:
        await self.die_and_return(self.random.choice(self.cluster.members))

    async def leader_killed(self: Any) -> None:
        await self.die_and_return(await self.leader())

    async def die_and_return(self: Any, member: EtcdProcess) -> None:
        await member.kill()
        await self.pass_seconds(0.5)
        await member.start()

    async def leader_paused(self: Any) -> None:
        """Long enough for another one to lead."""
        leader = await self.leader()
        leader.pause()
        await self.pass_seconds(3)
        self.excused_until = float("inf")
        leader.resume()
        self.excused_until = self.reactor.seconds() + LATE_REVOCATIONS

    async def connections_cut(self: Any) -> None:
        """Those of all, in what they ask and in what they are answered, so that nobody knows what was done."""
        proxies = [proxy for worker in self.workers for proxy in worker.proxies]
        for _ in range(3):
            for proxy in proxies:
                proxy.cut_answer(self.random.randrange(300), self.random.choice(["close", "reset"]), count=2)
                proxy.cut_request(self.random.randrange(300), count=1)
            await self.pass_seconds(0.3)
            for proxy in proxies:
                proxy.drop(self.random.choice(["close", "reset"]))
                proxy.behave()

    async def leader(self: Any) -> EtcdProcess:
        try:
            member: EtcdProcess = await self.cluster.leader()
        except EtcdFailed:
            member = self.cluster.members[0]
        return member

    async def suffer(self: Any) -> None:
        """All that can happen: to a process and to a member at a time, and to all connections."""
        end = self.reactor.seconds() + SECONDS
        to_processes = [self.process_killed, self.process_suspended, self.process_cut_off]
        to_members = [self.member_killed, self.leader_killed, self.leader_paused, self.connections_cut]
        suffering = [Deferred.fromCoroutine(self.faults(kinds, end)) for kinds in (to_processes, to_members)]
        try:
            await together(suffering)
        finally:
            # one goes on if the other has failed
            for one in suffering:
                one.cancel()

    # --- what comes of it

    async def until_all_are_served(self: Any) -> None:
        """Nobody was forgotten: everybody who is alive gets what he wants, from now on."""
        before = {worker: worker.done for worker in self.workers}

        def served() -> bool:
            ended = [worker for worker in self.workers if worker.ended.called]
            self.assertEqual(ended, [])
            return all(worker.done > times for worker, times in before.items())

        await self.until(served)

    async def until_all_have_left(self: Any) -> None:
        """Each in good order, without a complaint; and so does what the others have left, who were killed."""
        for worker in self.workers:
            worker.end()
        await self.soon(gatherResults([worker.ended for worker in self.workers]))
        self.assertEqual([worker for worker in self.workers if worker.status != 0], [])
        self.assertEqual([worker for worker in self.all_workers if worker.errors], [])
        await self.until(self.has_no_lease)

    async def has_no_lease(self: Any) -> bool:
        return not await self.etcd.leases()

    async def history(self: Any) -> History:
        """What has happened to all keys, as ``etcdctl`` sees it."""
        end = (await self.etcd.set(b"end", b"")).header.revision
        theirs = Independent(self.reactor, self.cluster.urls)
        theirs.start()
        try:
            await self.until(lambda: theirs.has_seen(end))
        finally:
            await theirs.stop()
        return theirs.history

    async def contend(self: Any) -> History:
        """They contend while all that happens, and leave. What has happened to the keys."""
        await self.until_all_are_served()
        await self.suffer()
        await self.until_all_are_served()
        await self.until_all_have_left()
        return await self.history()

    def told(self: Any, what: str) -> list[tuple[str, dict[str, Any]]]:
        """What they have reported of one kind, in this order, and who."""
        return [(who, reported) for who, reported in self.reports if reported["what"] == what]

    def check_beliefs(self: Any) -> None:
        """Nobody who was refused has believed that he held it still, unless it was taken from him without reason."""
        refused = [(who, told) for who, told in self.told("refused") if told["believes"] and not told["is_excused"]]
        self.assertEqual(refused, [])

    def sum_up(self: Any, what: str) -> None:
        """Says what was survived, to those who have asked for a long run."""
        if "TXETCD_TEST_CONTEND_SECONDS" in os.environ:
            failed = Counter(reported["error"] for _, reported in self.told("failed"))
            print(
                f"\n{self.recipe}, etcd {self.server.label}, {self.scheme}: {what}; {len(self.told('done'))} done by "
                f"{len(self.all_workers)} processes; survived {dict(self.happened)}; failed {dict(failed)}"
            )
