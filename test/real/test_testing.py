"""
:mod:`txetcd.testing` starts, proves, torments and ends real servers; every test is run against each of them.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from test.ports import free_ports
from test.servers import SERVERS, Server
from txetcd import Client
from txetcd.errors import Error
from txetcd.testing import EtcdCluster, EtcdFailed, EtcdProcess, _cluster, _process
from txetcd.testing._ports import ATTEMPTS, Claims
from txetcd.values import Header

# Starts a server, says which process it is, and leaves without stopping it.
LEAVES = """
import sys
from twisted.internet import reactor
from txetcd.testing import EtcdProcess
def leave(etcd):
    print(etcd.pid)
    if sys.argv[2] == "crash":
        reactor.getThreadPool().stop()
    getattr(reactor, sys.argv[2])()
etcd = EtcdProcess(reactor, binary=sys.argv[1])
reactor.callWhenRunning(lambda: etcd.start().addCallback(leave))
reactor.run()
"""


def lives(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def occupy(port: int = 0) -> socket.socket:
    """A program that has the port, and never answers."""
    occupant = socket.socket()
    occupant.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    occupant.bind(("127.0.0.1", port))
    occupant.listen()
    return occupant


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def states_of(pid: int | None) -> set[str]:
    """Those of all threads of a process."""
    stats = [stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


class _Tests(TestCase):
    """What all share: where temporary files go, and that none, no process and no delayed call remains."""

    server: ClassVar[Server]
    timeout = 300

    def setUp(self) -> None:
        self.temporary = os.path.abspath(self.mktemp())
        os.makedirs(self.temporary)
        self.patch(tempfile, "tempdir", self.temporary)
        self.pids: set[int] = set()

    def etcd(self, **options: Any) -> EtcdProcess:
        etcd = EtcdProcess(reactor, **{"binary": self.server.path, **options})
        self.addCleanup(etcd.stop)
        return etcd

    def keep_ports(self) -> None:
        """Lets nobody else have them, also when the server is stopped."""
        self.patch(Claims, "release", lambda claims: None)

    async def assert_nothing_left(self, *pids: int | None) -> None:
        self.assertEqual([pid for pid in pids if lives(pid)], [])
        self.assertEqual(os.listdir(self.temporary), [])
        # A connection that was aborted is gone in the next turn of the reactor only.
        await deferLater(reactor, 0)
        self.assertEqual(reactor.getDelayedCalls(), [self.timeout_call()])  # type: ignore[attr-defined]

    def timeout_call(self) -> Any:
        """Trial's own delayed call, which ends a test that takes too long."""
        return max(reactor.getDelayedCalls(), key=lambda call: call.getTime())  # type: ignore[attr-defined]

    async def ask(self, etcd: EtcdProcess, timeout: float = 30) -> Header:
        client = Client(reactor, etcd.url)
        try:
            return (await client.status(timeout=timeout)).header
        finally:
            await client.close()

    async def write(self, etcd: EtcdProcess) -> None:
        client = Client(reactor, etcd.url)
        await client.set(b"key", b"value")
        await client.close()

    async def values(self, etcd: EtcdProcess) -> list[bytes]:
        client = Client(reactor, etcd.url)
        found = await client.get(b"key")
        await client.close()
        return [one.value for one in found.kvs]


class _ProcessTests(_Tests):
    async def test_start_and_stop(self) -> None:
        """It serves, is what it says, and leaves nothing."""
        etcd = self.etcd()
        self.assertIs(await etcd.start(), etcd)
        pid = etcd.pid
        self.assertTrue(etcd.is_running and lives(pid))
        self.assertEqual(etcd.version, self.server.label)
        self.assertRegex(etcd.url, r"^http://127\.0\.0\.1:\d+$")
        self.assertIn(etcd.url, repr(etcd))
        self.assertEqual(await self.values(etcd), [])
        self.assertRaises(RuntimeError, etcd.start)
        await etcd.stop()
        await self.assert_nothing_left(pid)
        self.assertFalse(etcd.is_running)
        self.assertIn(etcd.url, etcd.log)
        await etcd.stop()

    async def test_identity(self) -> None:
        """The server has the ids that were computed before it was started; another one has others."""
        one, other = self.etcd(), self.etcd()
        await one.start()
        await other.start()
        headers = [await self.ask(etcd) for etcd in (one, other)]
        for etcd, header in zip((one, other), headers):
            bootstrap = etcd._bootstrap
            assert bootstrap is not None
            self.assertEqual((header.member_id, header.cluster_id), (bootstrap.member_id, bootstrap.cluster_id))
        self.assertNotEqual(headers[0].cluster_id, headers[1].cluster_id)

    async def test_side_by_side(self) -> None:
        """Two that start at the same time are two."""
        one, other = self.etcd(), self.etcd()
        starts = [one.start(), other.start()]
        for start in starts:
            await start
        await self.write(one)
        self.assertEqual(await self.values(other), [])
        pids = [one.pid, other.pid]
        stops = [one.stop(), other.stop()]
        for stop in stops:
            await stop
        await self.assert_nothing_left(*pids)

    async def test_restart(self) -> None:
        """The data, the URL and the identity stay; the process does not."""
        etcd = await self.etcd().start()
        await self.write(etcd)
        before = (etcd.url, (await self.ask(etcd)).member_id)
        pid = etcd.pid
        await etcd.restart()
        self.assertFalse(lives(pid))
        self.assertEqual((etcd.url, (await self.ask(etcd)).member_id), before)
        self.assertEqual(await self.values(etcd), [b"value"])

    async def test_kill(self) -> None:
        """A crash keeps the data."""
        etcd = await self.etcd().start()
        await self.write(etcd)
        pid, url = etcd.pid, etcd.url
        await etcd.kill()
        self.assertFalse(lives(pid) or etcd.is_running)
        await etcd.start()
        self.assertEqual((etcd.url, await self.values(etcd)), (url, [b"value"]))
        pid = etcd.pid
        await etcd.kill()
        await etcd.stop()
        await self.assert_nothing_left(pid)

    async def test_start_after_stop(self) -> None:
        """After a stop it is a new server without data, at the same URL."""
        etcd = await self.etcd().start()
        await self.write(etcd)
        self.keep_ports()
        url, cluster_id = etcd.url, (await self.ask(etcd)).cluster_id
        await etcd.stop()
        await etcd.start()
        self.assertEqual((etcd.url, await self.values(etcd)), (url, []))
        self.assertNotEqual((await self.ask(etcd)).cluster_id, cluster_id)

    async def test_pause(self) -> None:
        """It answers nothing, and goes on afterwards."""
        etcd = await self.etcd().start()
        etcd.pause()
        self.assertTrue(etcd.is_running)
        with self.assertRaises(Error):
            await self.ask(etcd, timeout=1)
        etcd.resume()
        etcd.resume()
        await self.ask(etcd)

    async def test_pause_in_the_midst(self) -> None:
        """It does nothing any more when this returns, however busy it was."""
        etcd = await self.etcd().start()
        client = Client(reactor, etcd.url)
        self.addCleanup(client.close)
        for _ in range(10):
            await client.get(b"a")
            setting = gatherResults([client.set(b"a", bytes(10_000)) for _ in range(16)])
            await deferLater(reactor, 0.001)
            etcd.pause()
            self.assertEqual(states_of(etcd.pid), {"T"})
            etcd.resume()
            await setting

    async def test_stop_paused(self) -> None:
        """It ends by itself."""
        self.patch(_process, "STOP_SECONDS", 60.0)
        etcd = await self.etcd().start()
        pid, before = etcd.pid, reactor.seconds()  # type: ignore[attr-defined]
        etcd.pause()
        await etcd.stop()
        await self.assert_nothing_left(pid)
        self.assertTrue(reactor.seconds() - before < _process.STOP_SECONDS)  # type: ignore[attr-defined]

    async def test_restart_paused(self) -> None:
        etcd = await self.etcd().start()
        etcd.pause()
        await etcd.restart()
        await self.ask(etcd)

    async def test_data_dir(self) -> None:
        """A directory of the user stays, and another object goes on with it; one without its record is refused."""
        data_dir = os.path.join(self.mktemp(), "data")
        etcd = await self.etcd(data_dir=data_dir, name="mine").start()
        self.keep_ports()
        await self.write(etcd)
        await etcd.stop()
        await self.assert_nothing_left()
        later = await self.etcd(data_dir=data_dir).start()
        self.assertEqual((later.url, await self.values(later)), (etcd.url, [b"value"]))
        await later.stop()
        os.remove(os.path.join(data_dir, _process.RECORD))
        with self.assertRaises(EtcdFailed):
            await later.start()

    async def test_context(self) -> None:
        async with EtcdProcess(reactor, binary=self.server.path) as etcd:
            pid = etcd.pid
            self.assertTrue(lives(pid))
        await self.assert_nothing_left(pid)

    async def test_arguments(self) -> None:
        """Flags of the user reach it, and win."""
        etcd = await self.etcd(
            arguments=["--log-level=warn", "--heartbeat-interval=10", "--election-timeout=100"]
        ).start()
        self.assertNotIn('"level":"info"', etcd.log)

    async def test_environment(self) -> None:
        """The user's settings for etcd do not reach it, harmful as they may be."""
        for name, value in [
            ("ETCD_NAME", "yours"),
            ("ETCD_DATA_DIR", "/nowhere/at/all"),
            ("ETCD_CONFIG_FILE", "/nowhere/etcd.yaml"),
            ("ETCD_LISTEN_METRICS_URLS", "nonsense"),
            ("ETCD_URL", "http://localhost:1"),
            ("ETCD_ENABLE_V2", "perhaps"),
        ]:
            self.patch(os, "environ", {**os.environ, name: value})
        etcd = await self.etcd().start()
        self.assertNotIn("ETCD_", etcd.log)


class _TroubleTests(_Tests):
    def deal(self, *ports: tuple[int, int]) -> None:
        """Let these be the first ports, client and peer, that are found to be free."""
        dealt = list(ports)
        take = Claims.take
        self.patch(Claims, "take", lambda claims, count: list(dealt.pop(0)) if dealt else take(claims, count))

    async def test_port_stolen(self) -> None:
        """Another program was quicker, for one port and then for the other: other ports are tried."""
        with closing(occupy()) as thief:
            stolen = thief.getsockname()[1]
            self.deal((stolen, free_ports(1)[0]), (free_ports(1)[0], stolen))
            etcd = await self.etcd().start()
            self.assertNotEqual(port_of(etcd.url), stolen)
            self.assertIn("address already in use", etcd.log)
            pid = etcd.pid
            await etcd.stop()
        await self.assert_nothing_left(pid)

    async def test_foreign_server(self) -> None:
        """Another etcd was quicker: it is recognized, and left alone."""
        other = await self.etcd().start()
        self.deal((port_of(other.url), free_ports(1)[0]))
        etcd = await self.etcd().start()
        self.assertNotEqual(etcd.url, other.url)
        self.assertTrue(other.is_running)

    async def test_not_its_own_server(self) -> None:
        """What answers at its URL is no proof, as long as the process itself lives: who answers is."""
        other = await self.etcd().start()
        self.deal(*[(port_of(other.url), free_ports(1)[0]) for _ in range(ATTEMPTS)])
        etcd = self.etcd(arguments=[f"--listen-client-urls=http://127.0.0.1:{free_ports(1)[0]}"])
        pids: list[int | None] = []
        prove = etcd._prove

        async def noting(child: Any, bootstrap: Any) -> None:
            try:
                await prove(child, bootstrap)
            finally:
                self.assertTrue(child.is_running)
                pids.append(child.pid)

        self.patch(etcd, "_prove", noting)
        with self.assertRaisesRegex(EtcdFailed, f"^another server answers at {other.url}: member "):
            await etcd.start()
        self.assertEqual((len(pids), [pid for pid in pids if lives(pid)]), (ATTEMPTS, []))
        self.assertTrue(other.is_running)

    async def test_port_stays_taken(self) -> None:
        """With a port that the user chose there is no other: nothing is started."""
        with closing(occupy(free_ports(1)[0])) as thief:
            etcd = self.etcd(client_port=thief.getsockname()[1])
            with self.assertRaisesRegex(EtcdFailed, f"^port {thief.getsockname()[1]} cannot be had: [^\n]+$"):
                await etcd.start()
        self.assertEqual(etcd.log, "")
        await self.assert_nothing_left()
        await etcd.start()

    async def test_port_stolen_while_down(self) -> None:
        """The URL does not change, and the data are not lost."""
        etcd = await self.etcd().start()
        await self.write(etcd)
        await etcd.kill()
        with closing(occupy(port_of(etcd.url))):
            with self.assertRaisesRegex(EtcdFailed, f"^port {port_of(etcd.url)} cannot be had: "):
                await etcd.start()
        await etcd.start()
        self.assertEqual(await self.values(etcd), [b"value"])

    async def test_wrong_flag(self) -> None:
        etcd = self.etcd(arguments=["--no-such-flag"])
        with self.assertRaisesRegex(EtcdFailed, "no-such-flag"):
            await etcd.start()
        await self.assert_nothing_left()

    async def test_exits_at_once(self) -> None:
        """The error shows the end of what it wrote."""
        os.makedirs(directory := self.mktemp())
        path = os.path.abspath(os.path.join(directory, "etcd"))
        with open(path, "w", encoding="utf-8") as script:
            script.write('#!/bin/sh\n[ "$1" = --version ] && exec echo etcd Version: 3.5.1\n')
            script.write("seq 100; echo boom >&2; exit 3\n")
        os.chmod(path, stat.S_IRWXU)
        etcd = self.etcd(binary=path)
        with self.assertRaisesRegex(EtcdFailed, r"(?s)exit code 3 .*\n99\n100\nboom$") as caught:
            await etcd.start()
        self.assertIn("\n1\n2\n", str(caught.exception))
        self.assertNotIn("\n50\n", str(caught.exception))
        await self.assert_nothing_left()

    async def test_never_serves(self) -> None:
        """It is given up after a while, and ended."""
        self.patch(_process, "START_SECONDS", 0.1)
        # the question is not to last until the server is elected, after a second at the earliest
        self.patch(_process, "STATUS_SECONDS", 0.01)
        etcd = self.etcd(arguments=["--heartbeat-interval=1000", "--election-timeout=50000"])
        start = etcd.start()
        pid = etcd.pid
        with self.assertRaisesRegex(EtcdFailed, "did not serve within 0.1 seconds"):
            await start
        await self.assert_nothing_left(pid)

    async def test_cancel_start(self) -> None:
        # none of these is enough for a start
        for delay in (0, 0.01, 0.03):
            etcd = self.etcd()
            start = etcd.start()
            pid = etcd.pid
            await deferLater(reactor, delay)
            start.cancel()
            with self.assertRaises(CancelledError):
                await start
            await self.assert_nothing_left(pid)

    async def test_stop_while_starting(self) -> None:
        etcd = self.etcd()
        start = etcd.start()
        pid = etcd.pid
        await etcd.stop()
        with self.assertRaises(CancelledError):
            await start
        await self.assert_nothing_left(pid)
        await etcd.start()

    async def test_start_while_stopping_a_start(self) -> None:
        """When it is stopped, the start that this ended is over too, and it can be started again."""
        etcd = self.etcd()
        ends: list[Any] = []
        for delay in (0, 0.01, 0.1, 0.2):
            start = etcd.start()
            start.addBoth(ends.append)
            await deferLater(reactor, delay)
            await etcd.stop()
            self.assertEqual(len(ends), 1)
            end = ends.pop()
            # a quick server may have come first, if it was given time
            if not delay or end is not etcd:
                end.trap(CancelledError)
        await self.assert_nothing_left()

    async def test_does_not_end(self) -> None:
        """One that ignores SIGTERM is killed."""
        self.patch(_process, "STOP_SECONDS", 0.0)
        etcd = await self.etcd().start()
        pid = etcd.pid
        self.patch(_process.signal, "SIGTERM", 0)
        await etcd.stop()
        await self.assert_nothing_left(pid)

    async def leave(self, how: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": self.temporary}
        command = ["-c", LEAVES, self.server.path, how]
        output, errors, code = await getProcessOutputAndValue(sys.executable, command, environment)
        self.assertEqual((errors, code), (b"", 0))
        self.assertFalse(lives(int(output)))
        self.assertEqual(os.listdir(self.temporary), [])

    async def test_reactor_shuts_down(self) -> None:
        """A server that nobody stopped ends with the reactor."""
        await self.leave("stop")

    async def test_interpreter_ends(self) -> None:
        """... or, when that did not shut down in an orderly way, with the interpreter."""
        await self.leave("crash")


class _ClusterTests(_Tests):
    async def started(self, size: int = 3) -> EtcdCluster:
        cluster = EtcdCluster(reactor, size, binary=self.server.path)
        self.addCleanup(cluster.stop)
        return await cluster.start()

    async def leads(self, member: EtcdProcess) -> bool:
        """Whether it says so itself."""
        async with Client(reactor, member.url) as client:
            status = await client.status()
        return bool(status.leader == status.header.member_id)

    async def test_leader(self) -> None:
        """One leads; when it is killed another one does, and it comes back with the data."""
        cluster = await self.started()
        self.assertEqual(cluster.url, ",".join(member.url for member in cluster.members))
        self.assertEqual(len({(await self.ask(member)).member_id for member in cluster.members}), 3)
        self.assertEqual(len({(await self.ask(member)).cluster_id for member in cluster.members}), 1)
        first = await cluster.leader()
        await self.write(first)
        await first.kill()
        self.assertIn("2 of 3", repr(cluster))
        second = await cluster.leader()
        self.assertIsNot(second, first)
        await first.restart()
        self.assertEqual(await self.values(first), [b"value"])
        # where the first one is not content with that, there is another election, whose winner is found as well
        while not await self.leads(await cluster.leader()):
            await deferLater(reactor, 0.02)
        pids = [member.pid for member in cluster.members]
        await cluster.stop()
        await self.assert_nothing_left(*pids)

    async def test_leader_paused(self) -> None:
        """A leader that is paused is succeeded, and learns of it."""
        cluster = await self.started()
        first = await cluster.leader()
        first.pause()
        second = await cluster.leader()
        self.assertIsNot(second, first)
        first.resume()
        while await cluster.leader() is first:
            await deferLater(reactor, 0.02)
        second.pause()
        pids = [member.pid for member in cluster.members]
        await cluster.stop()
        await self.assert_nothing_left(*pids)

    async def test_member_stopped(self) -> None:
        """A member that was stopped keeps its data; a cluster that was stopped is a new one afterwards."""
        cluster = await self.started()
        member = cluster.members[0]
        await self.write(member)
        await member.stop()
        await member.start()
        self.assertEqual(await self.values(member), [b"value"])
        self.assertRaises(RuntimeError, cluster.start)
        await cluster.stop()
        self.assertEqual(await self.values((await cluster.start()).members[0]), [])

    async def test_port_stolen(self) -> None:
        """All members get new ports, whether it was one for peers or one for clients."""
        with closing(occupy()) as thief:
            stolen = thief.getsockname()[1]
            dealt = [[stolen, *free_ports(5)], [*free_ports(5), stolen]]
            take = Claims.take
            self.patch(Claims, "take", lambda claims, count: dealt.pop() if dealt else take(claims, count))
            cluster = await self.started()
            self.assertEqual(dealt, [])
            self.assertNotIn(stolen, [port_of(url) for url in cluster.urls])
            await cluster.stop()
        await self.assert_nothing_left()

    async def test_client_port(self) -> None:
        """The ports for clients can be chosen, and are the same at every start; if one is taken, nothing is started."""
        port = free_ports(2)[0]
        cluster = EtcdCluster(reactor, 2, binary=self.server.path, client_port=port)
        self.addCleanup(cluster.stop)
        for _ in range(2):
            await cluster.start()
            self.assertEqual([port_of(url) for url in cluster.urls], [port, port + 1])
            pids = [member.pid for member in cluster.members]
            await cluster.stop()
            await self.assert_nothing_left(*pids)
        with closing(occupy(port + 1)):
            with self.assertRaisesRegex(EtcdFailed, f"^port {port + 1} cannot be had: [^\n]+$"):
                await cluster.start()
            await self.assert_nothing_left()
        await cluster.start()

    async def test_fails(self) -> None:
        cluster = EtcdCluster(reactor, binary=self.server.path, arguments=["--no-such-flag"])
        with self.assertRaisesRegex(EtcdFailed, "no-such-flag"):
            await cluster.start()
        await self.assert_nothing_left()

    async def test_stop_while_starting(self) -> None:
        cluster = EtcdCluster(reactor, binary=self.server.path)
        start = cluster.start()
        pids = [member.pid for member in cluster.members]
        await deferLater(reactor, 0.1)
        await cluster.stop()
        with self.assertRaises(CancelledError):
            await start
        await self.assert_nothing_left(*pids)

    async def test_no_majority(self) -> None:
        """Without a majority nobody leads."""
        cluster = await self.started()
        leader = await cluster.leader()
        self.patch(_cluster, "LEADER_SECONDS", 4.0)
        for member in cluster.members:
            if member is not leader:
                await member.kill()
        await deferLater(reactor, 3)
        with self.assertRaises(EtcdFailed):
            await cluster.leader()

    async def test_context(self) -> None:
        async with EtcdCluster(reactor, 1, binary=self.server.path) as cluster:
            self.assertIs(await cluster.leader(), cluster.members[0])


for _server in SERVERS:
    for _tests in (_ProcessTests, _TroubleTests, _ClusterTests):
        _name = f"{_tests.__name__[1:]}_{_server.label.replace('.', '_')}"
        globals()[_name] = type(_name, (_tests,), {"server": _server, "__module__": __name__})
del _Tests, _ProcessTests, _TroubleTests, _ClusterTests, _tests
