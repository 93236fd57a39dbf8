"""
The snippets of txaioetcd's own README, run as written there but for the imports.

txaioetcd chose txaio's framework when it was imported; txetcd does nothing when it is imported, so a program that uses
``txaio.sleep`` says ``import txaio.with_twisted`` instead of ``import txaio``.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any, Callable, Optional

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue

from test.real.base import GATEWAY, RealCase, on_every_server
from txetcd import KeySet

ROOT = Path(__file__).resolve().parents[2]

EXAMPLE_CLIENT = """
from twisted.internet.task import react
from twisted.internet.defer import inlineCallbacks

import txaio.with_twisted
from txetcd import Client, KeySet{names}

@inlineCallbacks
def main(reactor):

    etcd = Client(reactor, u'http://localhost:2379')

    status = yield etcd.status()
    print(status)

    # insert one of the snippets below HERE
{snippet}

if __name__ == '__main__':
    txaio.start_logging(level='info')
    react(main)
"""

SETTING_KEYS = """
for i in range(10):
    etcd.set('mykey{}'.format(i).encode(), b'foobar')
"""

GETTING_A_KEY = """
result = yield etcd.get(b'mykey')
if result.kvs:
    kv = result.kvs[0]
    print(kv)
else:
    print('key not found')
"""

ITERATING_A_RANGE = """
result = yield etcd.get(KeySet(b'mykey1', b'mykey5'))
for kv in result.kvs:
    print(kv)
"""

ITERATING_A_PREFIX = """
result = yield etcd.get(KeySet(b'mykey', prefix=True))
for kv in result.kvs:
    print(kv)
"""

DELETING_A_KEY = """
etcd.delete(b'mykey3')
"""

DELETING_A_RANGE = """
etcd.delete(KeySet(b'mykey3', b'mykey7'))
"""

DELETING_WITH_PREVIOUS = """
deleted = yield etcd.delete(KeySet(b'mykey3'), return_previous=True)
print('deleted key-value pairs: {}'.format(deleted.previous))
"""

WATCHING = """
# callback invoked for every change
def on_change(kv):
    print('on_change: {}'.format(kv))

# start watching on set of keys with given prefix
d = etcd.watch([KeySet(b'mykey', prefix=True)], on_change)
print('watching ..')

# stop after 60 seconds
yield txaio.sleep(60)
d.cancel()
"""

TRANSACTION = """
txn = Transaction(
    compare=[
        CompValue(b'mykey1', '==', b'val1')
    ],
    success=[
        OpSet(b'mykey1', b'val2'),
        OpSet(b'mykey2', b'success')
    ],
    failure=[
        OpSet(b'mykey2', b'failure'),
        OpGet(b'mykey1')
    ]
)

try:
    result = yield etcd.submit(txn)
except Failed as failed:
    print('transaction FAILED:')
    for response in failed.responses:
        print(response)
else:
    print('transaction SUCCESS:')
    for response in result.responses:
        print(response)
"""

LOCK = """
lock = yield etcd.lock(b'mylock')

# now do something on the exclusively locked resource
# or whatever the lock stands for or is associated with
print(lock)

lock.release()
"""

LOCK_WITH_TIMEOUT = """
try:
    lock = yield etcd.lock(b'mylock', timeout=10)
except Timeout:
    print('could not acquire lock: timeout')
else:
    # operate on the locked resource
    print(lock)
    lock.release()
"""

LOCK_AS_CONTEXT = """
async with etcd.lock(b'mylock') as lock:
    # whatever the way this block finishes,
    # the lock will be unlocked
    print(lock)
"""

UNTIL_DONE = """
while etcd.stats().in_flight:
    yield txaio.sleep(0.05)
"""
"""The snippets do not wait for what they ask for; here it must be done before the program ends."""


def program(url: str, snippet: str, names: str = "") -> str:
    """The example client with a snippet put where it says."""
    indented = "".join(f"    {line}" for line in snippet.splitlines(keepends=True))
    whole = EXAMPLE_CLIENT.format(names=names and f", {names}", snippet=indented)
    return whole.replace("http://localhost:2379", url)


class SnippetCase(RealCase):
    """
    Runs programs.

    :ivar used: what the keys begin with that they use.
    """

    used: tuple[bytes, ...]

    async def start(self: Any) -> None:
        for prefix in self.used:
            self.addCleanup(self.etcd.delete, KeySet(prefix, prefix=True))
            await self.etcd.delete(KeySet(prefix, prefix=True))

    async def run_program(self: Any, text: str, meanwhile: Optional[Callable[[Deferred[Any]], Any]] = None) -> str:
        # unbuffered, because txaio's logging puts itself before stdout, and a program that uses treq ends without
        # having that flushed
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        running = getProcessOutputAndValue(sys.executable, ["-c", text], environment)
        if meanwhile is not None:
            await meanwhile(running)
        output, errors, status = await running
        self.assertEqual((status, "Traceback" in errors.decode()), (0, False), errors.decode())
        # txaio's logging puts a time before everything that is printed
        return re.sub(r"^\d{4}-\S+ ", "", output.decode(), flags=re.MULTILINE)


@on_every_server(schemes=[GATEWAY])
class Snippets(SnippetCase):
    """Each in a program of its own; the keys are those of the snippets, so nothing else runs beside them."""

    used = (b"mykey",)

    async def run_program(self: Any, text: str, meanwhile: Optional[Callable[[Deferred[Any]], Any]] = None) -> str:
        printed = await super().run_program(text, meanwhile)
        self.assertIn("Status(version=", printed)
        return printed

    async def run_snippet(self: Any, snippet: str, names: str = "") -> str:
        return str(await self.run_program(program(self.url, snippet, names)))

    async def stored(self: Any) -> dict[bytes, bytes]:
        found = await self.etcd.get(KeySet(b"mykey", prefix=True))
        return {kv.key: kv.value for kv in found.kvs}

    async def fill(self: Any) -> None:
        for number in range(10):
            await self.etcd.set(b"mykey%d" % number, b"foobar")

    async def test_example_client(self: Any) -> None:
        await self.run_snippet("")

    async def test_setting_keys(self: Any) -> None:
        await self.run_snippet(SETTING_KEYS + UNTIL_DONE)
        self.assertEqual(await self.stored(), {b"mykey%d" % number: b"foobar" for number in range(10)})

    async def test_getting_a_key(self: Any) -> None:
        self.assertIn("key not found\n", await self.run_snippet(GETTING_A_KEY))
        await self.etcd.set(b"mykey", b"foobar")
        self.assertIn("KeyValue(key=b'mykey'", await self.run_snippet(GETTING_A_KEY))

    async def test_iterating_a_range(self: Any) -> None:
        await self.fill()
        printed = await self.run_snippet(ITERATING_A_RANGE)
        self.assertEqual([n for n in range(10) if f"key=b'mykey{n}'" in printed], [1, 2, 3, 4])

    async def test_iterating_a_prefix(self: Any) -> None:
        await self.fill()
        self.assertEqual((await self.run_snippet(ITERATING_A_PREFIX)).count("KeyValue(key=b'mykey"), 10)

    async def test_deleting(self: Any) -> None:
        await self.fill()
        await self.run_snippet(DELETING_A_KEY + UNTIL_DONE)
        self.assertNotIn(b"mykey3", await self.stored())
        await self.run_snippet(DELETING_A_RANGE + UNTIL_DONE)
        self.assertEqual(sorted(await self.stored()), [b"mykey%d" % n for n in (0, 1, 2, 7, 8, 9)])

    async def test_deleting_with_previous(self: Any) -> None:
        await self.fill()
        printed = await self.run_snippet(DELETING_WITH_PREVIOUS)
        self.assertIn("deleted key-value pairs: [KeyValue(key=b'mykey3'", printed)

    async def test_watching(self: Any) -> None:
        watching = program(self.url, WATCHING).replace("sleep(60)", "sleep(10)")

        async def change(running: Deferred[Any]) -> None:
            # until the end, because the watch says nothing of its start
            while not running.called:
                await self.etcd.set(b"mykey", b"red")
                await deferLater(self.reactor, 0.1)

        printed = await self.run_program(watching, change)
        self.assertIn("watching ..\n", printed)
        self.assertIn("on_change: Event(type='put', kv=KeyValue(key=b'mykey'", printed)

    async def test_transaction(self: Any) -> None:
        names = "CompValue, Failed, OpGet, OpSet, Transaction"
        self.assertIn("transaction FAILED:\nRevision(", await self.run_snippet(TRANSACTION, names))
        self.assertEqual(await self.stored(), {b"mykey2": b"failure"})
        await self.etcd.set(b"mykey1", b"val1")
        self.assertIn("transaction SUCCESS:\nRevision(", await self.run_snippet(TRANSACTION, names))
        self.assertEqual(await self.stored(), {b"mykey1": b"val2", b"mykey2": b"success"})

    async def test_lock(self: Any) -> None:
        self.assertIn("<Lock b'mylock' HELD>", await self.run_snippet(LOCK + UNTIL_DONE))
        await self.nothing_is_locked()

    async def test_lock_with_timeout(self: Any) -> None:
        self.assertIn(
            "<Lock b'mylock' HELD>", await self.run_snippet(LOCK_WITH_TIMEOUT + UNTIL_DONE, "Timeout")
        )
        await self.nothing_is_locked()
        async with self.etcd.lock(b"mylock"):
            printed = await self.run_snippet(LOCK_WITH_TIMEOUT.replace("timeout=10", "timeout=1"), "Timeout")
        self.assertIn("could not acquire lock: timeout\n", printed)
        await self.nothing_is_locked()

    async def test_lock_as_context(self: Any) -> None:
        coroutine = program(self.url, LOCK_AS_CONTEXT)
        coroutine = coroutine.replace("@inlineCallbacks\ndef main", "async def main").replace("yield", "await")
        coroutine = coroutine.replace("react(main)", "react(lambda reactor: Deferred.fromCoroutine(main(reactor)))")
        coroutine = coroutine.replace("import inlineCallbacks", "import Deferred")
        self.assertIn("<Lock b'mylock' HELD>", await self.run_program(coroutine))
        await self.nothing_is_locked()

    async def nothing_is_locked(self: Any) -> None:
        self.assertEqual((await self.etcd.get(KeySet(b"mylock", prefix=True))).kvs, [])
