"""
Every snippet of the guide runs as it stands there, on every server; those of the pages on recipes on the newest one.
"""

from __future__ import annotations

import builtins
import os
import re
import sys
from dis import get_instructions
from pathlib import Path
from textwrap import dedent, indent
from types import CodeType
from typing import Any, Iterable, Iterator, Mapping
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from test.real.base import RealCase, on_every_server, on_newest_server
from txetcd import KeySet

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide.rst"
RECIPES = sorted((ROOT / "docs").glob("recipes-*.rst"))
BLOCK = re.compile(r"^\.\. code:: python\n\n((?: .*\n|\n)+)", re.MULTILINE)

PLACE = "localhost:2379"
"""Where the server is, in the guide."""

MEANWHILE = """
from twisted.internet.task import deferLater
await deferLater(reactor, 1)
while not print.lines:
    await deferLater(reactor, 0.02)
"""

BEFORE = {b"config/mode": b"dark", b"seat": b"berta"}
"""The keys that are there, before the first snippet."""

SAYS = {
    'etcd.set(b"name", b"value")': "b'value'",
    "etcd.iterate(": "b'config/mode' b'dark'",
    "etcd.create(": "b'value'",
    ".otherwise(": "taken by b'berta'",
    "if event.is_delete:\n            break": "delete b'config/colour'",
    'on_compacted="resync"': "a copy [b'config/mode']",
    "lease.when_lost()": "at work",
    "session.protect(": "in a session",
    "config.fresh()": "mirrored b'dark' 1",
    "etcd.stats()": "KV.Range calls: 1 retries: 0 failures: {}",
    "cluster.isolate": "another one led: True",
    "proxy.cut_answer": "there it is: b'value'",
    'auth.grant_role("anna", "writer")': "a writer may READ KeySet(b'address')",
    "etcd.maintenance.disarm())": "ended: []",
    "grpc://": "faster: b'short'",
    "TLS(": "TLS(ca_file='ca.pem', cert_file='client.pem', key_file='client.key', server_name=None)",
    "client_port=23790": "<EtcdProcess not running>",
}
"""What the snippet with this text in it prints, besides other lines perhaps."""

SAYS_LIKE = {
    'timeout=5)\nprint("etcd"': "etcd VERSION",
    'print("asks", etcd.endpoints[0])': r"asks http://etcd[123]:2379",
    "etcd.watch([": r"put b'config/colour' b'red' \d+",
    "etcd.cluster.leader()": r"\w+ leads",
    "etcd.cluster.add_learner(": "True",
    "etcd.maintenance.status()": r"SCHEME://127\.0\.0\.1:\d+ VERSION \d+ of \d+ bytes in use",
    "etcd.maintenance.alarms()": r"alarms: \[\]",
    "etcd.maintenance.snapshot(": r"True [0-9a-f]{64}",
}
"""The same as patterns, with the version of the server and the scheme of the transport put in."""

RECIPES_SAY = {
    "Session(etcd, 30)": "held: True True",
    "lock.try_acquire()": "acquired without waiting",
    "lock.reading()": "there are 2 readers",
    "Semaphore(": "in use: 1 of 3",
    "election.run(": r"leads: b'10\.0\.0\.1:80'",
    ".observe()": "now leads: b'second'",
    "party.members()": r"\{b'anna': b'10\.0\.0\.1'\}",
    ".on_change(": r"there: \[\]",
    "on_status=": "I am there",
    "session.lease.keys()": r"both: \[b'web/anna', b'workers/anna'\]",
    "registry.instances(": r"b'1' 10\.0\.0\.1:80 in zone b",
    "registry.resolver(": r"ask 10\.0\.0\.1:80",
    "waiting = Barrier(": "go on",
    "DoubleBarrier(": "all three are at work",
    "WorkQueue(": r"b'to anna' b'mails/.+' \d+",
    "Tree(": r"<Node \[set\] b'/config/colour' value=<4 bytes> CI=\d+ MI=\d+ TTL=60>",
}
"""Likewise, as patterns, what those of the pages on recipes print."""

RECIPES_BEFORE = {b"mine": b"50", b"yours": b"10", b"stock": b"2"}
"""The keys that are there before those."""

RUN = "def run("
"""In the snippet that only makes a function; it is called by a test of its own."""

PROGRAM = """
import sys

from twisted.internet.task import react
from txetcd import Client

{run}

async def work(reactor):
    async with Client(reactor, sys.argv[1]) as etcd:
        async with etcd.lock(b"held"), etcd.lease(60, keep_alive=True):
            print("at work", flush=True)
            await Deferred()

react(lambda reactor: run(reactor, work(reactor)))
"""
"""Has a lock and a lease until it is ended."""


@attrs.frozen
class Snippet:
    """
    Python out of the guide, or of another page.

    :ivar code: the code.
    :ivar line: where it begins, counted from 1.
    :ivar page: the page.
    """

    code: str
    line: int
    page: Path = GUIDE

    @property
    def compiled(self) -> CodeType:
        """A coroutine function of the name ``snippet``, with the lines where they are in the page."""
        head = "async def snippet(reactor, etcd, print):\n"
        return compile("\n" * (self.line - 2) + head + indent(self.code, "    "), str(self.page), "exec")

    @property
    def unknown_names(self) -> set[str]:
        """What is neither imported nor made in it, nor given."""
        return set(_global_names(self.compiled)) - set(dir(builtins))

    def at(self, place: str) -> Snippet:
        """With the server at this host and port, and with a second, or more, for what happens at its dots."""
        return attrs.evolve(self, code=self.code.replace(PLACE, place).replace("\n...\n", MEANWHILE))

    async def run(self, *given: Any) -> Any:
        namespace: dict[str, Any] = {}
        exec(self.compiled, namespace)
        return await namespace["snippet"](*given)


def _global_names(code: CodeType) -> Iterator[str]:
    # out of the code itself, as PyPy has no ``symtable``; names are loaded and stored by name in the body of a class
    uses = [(instruction.opname, instruction.argval) for instruction in get_instructions(code)]
    stored = {name for operation, name in uses if operation == "STORE_NAME"}
    yield from (name for operation, name in uses if operation == "LOAD_GLOBAL")
    yield from (name for operation, name in uses if operation == "LOAD_NAME" and name not in stored)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def snippets(page: Path = GUIDE) -> list[Snippet]:
    text = page.read_text(encoding="utf-8")
    return [
        Snippet(dedent(block[1]), text.count("\n", 0, block.start(1)) + 1, page) for block in BLOCK.finditer(text)
    ]


def recipes() -> list[Snippet]:
    return [snippet for page in RECIPES for snippet in snippets(page)]


def snippet_with(text: str) -> Snippet:
    (found,) = [snippet for snippet in snippets() if text in snippet.code]
    return found


class Listener(ProcessProtocol):
    """
    A process that is listened to.

    :ivar said: fires when it has printed something.
    :ivar ended: fires with all of it, when it has ended.
    """

    def __init__(self) -> None:
        self._output = b""
        self.said: Deferred[None] = Deferred()
        self.ended: Deferred[bytes] = Deferred()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._output += data
        if not self.said.called:
            self.said.callback(None)

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(self._output)


class Text(SynchronousTestCase):
    """Of the pages themselves."""

    def test_every_block_is_found(self) -> None:
        for page in (GUIDE, *RECIPES):
            self.assertEqual(page.read_text(encoding="utf-8").count(".. code"), len(snippets(page)), page)
            self.assertTrue(snippets(page), page)
        self.assertGreater(len(snippets()), 10)

    def test_every_name_is_known(self) -> None:
        """Also where a snippet does not come along when it is run, as behind an ``except``."""
        every = [*snippets(), *recipes()]
        unknown = {(snippet.page.name, snippet.line): snippet.unknown_names for snippet in every}
        self.assertEqual({}, {place: names for place, names in unknown.items() if names})

    def test_what_is_expected_is_there(self) -> None:
        self.assert_once([*SAYS, *SAYS_LIKE, RUN], snippets())
        self.assert_once(RECIPES_SAY, recipes())

    def assert_once(self, expected: Iterable[str], there: list[Snippet]) -> None:
        found = {text: sum(text in snippet.code for snippet in there) for text in expected}
        self.assertEqual({text: 1 for text in expected}, found)

    def test_what_is_printed_is_expected(self) -> None:
        self.assert_expected(snippets(), [*SAYS, *SAYS_LIKE])
        self.assert_expected(recipes(), RECIPES_SAY)

    def assert_expected(self, there: list[Snippet], expected: Iterable[str]) -> None:
        printing = [snippet for snippet in there if re.search(r"\bprint\b", snippet.code)]
        unexpected = [snippet.code for snippet in printing if not any(text in snippet.code for text in expected)]
        self.assertEqual([], unexpected)


class Snippets(RealCase):
    """
    Each snippet is run as the body of a coroutine, in their order, with a client of its own.

    :cvar before: the keys that are there.
    :cvar changed: the key that is changed meanwhile.
    """

    before: Mapping[bytes, bytes]
    changed: bytes

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.web = self.own.url
        self.url = self.spoken(self.web)
        self.etcd = self.client()
        for key, value in self.before.items():
            await self.etcd.set(key, value)

    async def printed_by(self: Any, snippet: Snippet) -> list[str]:
        printed = []

        def note(*words: object) -> None:
            printed.append(" ".join(str(word) for word in words))

        note.lines = printed  # type: ignore[attr-defined]
        async with self.client() as etcd:
            running = self.soon(snippet.at(urlsplit(self.web).netloc).run(self.reactor, etcd, note))
            # meanwhile somebody makes the changes that it may wait for
            while not running.called:
                await self.etcd.set(self.changed, b"red")
                await self.etcd.delete(self.changed)
            await running
        return printed


@on_newest_server()
class Recipes(Snippets):
    """Those of the pages on recipes."""

    before = RECIPES_BEFORE
    changed = b"myprogram/config/size"

    async def test_snippets(self: Any) -> None:
        for snippet in recipes():
            printed = await self.printed_by(snippet)
            for text, says in RECIPES_SAY.items():
                if text in snippet.code:
                    self.assertTrue([line for line in printed if re.fullmatch(says, line)], printed)


@on_every_server()
class Guide(Snippets):
    """Those of the guide."""

    unheard = "one of the snippets compacts away what others were told, with ``compact_and_defragment()``"
    before = BEFORE
    changed = b"config/colour"

    async def test_snippets(self: Any) -> None:
        for snippet in snippets():
            printed = await self.printed_by(snippet)
            for text, says in SAYS.items():
                if text in snippet.code:
                    self.assertIn(says, printed, snippet.code)
            for text, says in SAYS_LIKE.items():
                if text in snippet.code:
                    pattern = says.replace("VERSION", re.escape(self.server.label)).replace("SCHEME", self.scheme)
                    self.assertTrue([line for line in printed if re.fullmatch(pattern, line)], printed)

    async def test_run(self: Any) -> None:
        """A program that is ended by SIGTERM leaves its blocks: the lock is free, and no lease is left."""
        path = Path(self.mktemp())
        path.write_text(PROGRAM.format(run=snippet_with(RUN).code))
        listener = Listener()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = self.reactor.spawnProcess(
            listener, sys.executable, [sys.executable, str(path), self.url], environment
        )
        self.addCleanup(lambda: listener.ended.called or process.signalProcess("KILL"))
        await self.soon(listener.said)
        held = KeySet(b"held/", prefix=True)
        self.assertEqual(((await self.etcd.get(held)).count, len(await self.etcd.leases())), (1, 2))
        process.signalProcess("TERM")
        self.assertEqual(await self.soon(listener.ended), b"at work\n")
        self.assertEqual(((await self.etcd.get(held)).count, await self.etcd.leases()), (0, []))
        await (await self.etcd.lock(b"held", timeout=5)).release()

    async def test_what_is_left(self: Any) -> None:
        """The lock let the write through."""
        await self.printed_by(snippet_with("lock.guard()"))
        (kv,) = (await self.etcd.get(b"printed")).kvs
        self.assertEqual(b"page 7", kv.value)

    async def test_testing_your_program(self: Any) -> None:
        """The test case is found and passes when it is run as the guide says."""
        example = snippet_with("TestCase")
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        (directory / "test_mine.py").write_text(example.code)
        environment = {**os.environ, "ETCD": self.server.path, "PYTHONPATH": str(ROOT)}
        # as the command ``trial``, which is not on every ``PATH``
        trial = ["-c", "from twisted.scripts.trial import run; run()", "test_mine"]
        output, errors, status = await getProcessOutputAndValue(
            sys.executable, trial, environment, path=str(directory)
        )
        self.assertEqual((errors.decode(), status), ("", 0), output.decode())
        self.assertIn("PASSED (successes=1)", output.decode())
