"""
Every snippet of the guide runs as it stands there, on every server.
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
from typing import Any, Iterator
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from test.real.base import RealCase, on_every_server
from txetcd import KeySet

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide.rst"
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
    Python out of the guide.

    :ivar code: the code.
    :ivar line: where it begins, counted from 1.
    """

    code: str
    line: int

    @property
    def compiled(self) -> CodeType:
        """A coroutine function of the name ``snippet``, with the lines where they are in the guide."""
        head = "async def snippet(reactor, etcd, print):\n"
        return compile("\n" * (self.line - 2) + head + indent(self.code, "    "), str(GUIDE), "exec")

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


def snippets() -> list[Snippet]:
    text = GUIDE.read_text(encoding="utf-8")
    return [
        Snippet(dedent(block[1]), text.count("\n", 0, block.start(1)) + 1) for block in BLOCK.finditer(text)
    ]


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
    """Of the guide itself."""

    def test_every_block_is_found(self) -> None:
        self.assertEqual(GUIDE.read_text(encoding="utf-8").count(".. code"), len(snippets()))
        self.assertGreater(len(snippets()), 10)

    def test_every_name_is_known(self) -> None:
        """Also where a snippet does not come along when it is run, as behind an ``except``."""
        unknown = {snippet.line: snippet.unknown_names for snippet in snippets()}
        self.assertEqual({}, {line: names for line, names in unknown.items() if names})

    def test_what_is_expected_is_there(self) -> None:
        expected = [*SAYS, *SAYS_LIKE, RUN]
        found = {text: sum(text in snippet.code for snippet in snippets()) for text in expected}
        self.assertEqual({text: 1 for text in expected}, found)

    def test_what_is_printed_is_expected(self) -> None:
        expected = [*SAYS, *SAYS_LIKE]
        printing = [snippet for snippet in snippets() if re.search(r"\bprint\b", snippet.code)]
        unexpected = [snippet.code for snippet in printing if not any(text in snippet.code for text in expected)]
        self.assertEqual([], unexpected)


@on_every_server()
class Guide(RealCase):
    """Each snippet is run as the body of a coroutine, in their order, with a client of its own."""

    unheard = "one of the snippets compacts away what others were told, with ``compact_and_defragment()``"

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.web = self.own.url
        self.url = self.spoken(self.web)
        self.etcd = self.client()
        for key, value in BEFORE.items():
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
                await self.etcd.set(b"config/colour", b"red")
                await self.etcd.delete(b"config/colour")
            await running
        return printed

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
