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
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase

from test.real.base import RealCase, on_every_server

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide.rst"
BLOCK = re.compile(r"^\.\. code:: python\n\n((?: .*\n|\n)+)", re.MULTILINE)

PLACE = "localhost:2379"
"""Where the server is, in the guide."""

BEFORE = {b"config/mode": b"dark", b"seat": b"berta"}
"""The keys that are there, before the first snippet."""

SAYS = {
    'etcd.set(b"name", b"value")': "b'value'",
    "etcd.iterate(": "b'config/mode' b'dark'",
    "etcd.create(": "b'value'",
    ".otherwise(": "taken by b'berta'",
    "if event.is_delete:": "delete b'config/colour'",
    "lease.when_lost()": "at work",
    "etcd.stats()": "KV.Range calls: 1 retries: 0 failures: {}",
    "cluster.isolate": "another one led: True",
    "proxy.cut_answer": "there it is: b'value'",
    'auth.grant_role("anna", "writer")': "a writer may READ KeySet(b'address')",
    "etcd.maintenance.disarm())": "ended: []",
    "grpc://": "faster: b'short'",
    "TLS(": "TLS(ca_file='ca.pem', cert_file='client.pem', key_file='client.key', server_name=None)",
}
"""What the snippet with this text in it prints, besides other lines perhaps."""


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
        """With the server at this host and port."""
        return attrs.evolve(self, code=self.code.replace(PLACE, place))

    async def run(self, *given: Any) -> None:
        namespace: dict[str, Any] = {}
        exec(self.compiled, namespace)
        await namespace["snippet"](*given)


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
        self.assertEqual({text: 1 for text in SAYS}, {text: sum(text in s.code for s in snippets()) for text in SAYS})


@on_every_server()
class Guide(RealCase):
    """Each snippet is run as the body of a coroutine, in their order, with a client of its own."""

    async def start(self: Any) -> None:
        self.web = (await self.own_server()).url
        self.url = self.spoken(self.web)
        self.etcd = self.client()
        for key, value in BEFORE.items():
            await self.etcd.set(key, value)

    async def printed_by(self: Any, snippet: Snippet) -> list[str]:
        printed = []

        def note(*words: object) -> None:
            printed.append(" ".join(str(word) for word in words))

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

    async def test_what_is_left(self: Any) -> None:
        """The lock let the write through."""
        (guarded,) = [snippet for snippet in snippets() if "lock.guard()" in snippet.code]
        await self.printed_by(guarded)
        (kv,) = (await self.etcd.get(b"printed")).kvs
        self.assertEqual(b"page 7", kv.value)

    async def test_testing_your_program(self: Any) -> None:
        """The test case is found and passes when it is run as the guide says."""
        (example,) = [snippet for snippet in snippets() if "TestCase" in snippet.code]
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
