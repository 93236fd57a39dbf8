"""
Side by side with etcd's own client: ``etcdctl``, a Go program.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any, Optional

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue

from test.real.base import RealCase, on_every_server
from test.servers import ETCDCTL
from txetcd import CompVersion, KeySet, Lock, OpDel, OpSet, Timeout


class Running(ProcessProtocol):
    """
    An ``etcdctl`` that goes on until it is told to end.

    :ivar output: what it wrote so far (``bytes``).
    :ivar errors: what it complained of so far (``bytes``).
    :ivar ended: fires with the exit code when it has ended.
    """

    def __init__(self) -> None:
        self.output = b""
        self.errors = b""
        self.ended: Deferred[Optional[int]] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.output += data

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(reason.value.exitCode)

    def end(self, signal: str = "INT") -> Deferred[Optional[int]]:
        """Ends it as the user does with Ctrl-C; or kills it."""
        if not self.ended.called:
            self.transport.signalProcess(signal)
        return self.ended


class InteropCase(RealCase):
    """Runs ``etcdctl``."""

    skip = None if ETCDCTL else "there is no etcdctl"

    def command(self: Any, *arguments: str) -> tuple[list[str], dict[str, str]]:
        """The command line, and the environment."""
        assert ETCDCTL is not None
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}
        patient = ["--command-timeout=60s", "--dial-timeout=60s"]
        return [ETCDCTL, f"--endpoints={self.web}", *patient, *arguments], {**kept, "ETCDCTL_API": "3"}

    async def etcdctl(self: Any, *arguments: str) -> str:
        """What it prints."""
        command, environment = self.command(*arguments)
        output, errors, status = await self.soon(getProcessOutputAndValue(command[0], command[1:], environment))
        self.assertEqual((status, errors), (0, b""), command)
        return bytes(output).decode()

    async def etcdctl_json(self: Any, *arguments: str) -> Any:
        return json.loads(await self.etcdctl("--write-out=json", *arguments))

    def running(self: Any, *arguments: str) -> Running:
        """One that goes on, at most until the end of the test."""
        command, environment = self.command(*arguments)
        process = Running()
        self.reactor.spawnProcess(process, command[0], command, environment)
        self.addCleanup(process.end, "KILL")
        return process

    @property
    def text(self: Any) -> str:
        """The prefix of this test, as an argument of a command."""
        return bytes(self.prefix).decode()


@on_every_server()
class KeysAndValues(InteropCase):
    """Both read what the other has written."""

    async def test_we_read_what_it_has_written(self: Any) -> None:
        for value in ("one", "two", "größer"):
            await self.etcdctl("put", self.text + "a", value)
        await self.etcdctl("put", self.text + "empty", "")
        found = await self.etcd.get(self.keys())
        self.assertEqual([(kv.key, kv.value, kv.version) for kv in found.kvs], [
            (self.key(b"a"), "größer".encode(), 3),
            (self.key(b"empty"), b"", 1),
        ])
        await self.etcdctl("del", self.text + "a")
        self.assertEqual([kv.key for kv in (await self.etcd.get(self.keys())).kvs], [self.key(b"empty")])

    async def test_it_reads_what_we_have_written(self: Any) -> None:
        everything = bytes(range(256))
        async with self.etcd.lease(60) as lease:
            await self.etcd.set(self.key(b"a"), b"1")
            await self.etcd.set(self.key(b"a"), everything, lease)
            await self.etcd.set(self.key(everything), b"")
            ours = (await self.etcd.get(self.keys())).kvs
            theirs = (await self.etcdctl_json("get", "--prefix", self.text))["kvs"]
            self.assertEqual([self.fields_of(kv) for kv in theirs], [
                (kv.key, kv.value, kv.version, kv.create_revision, kv.mod_revision, kv.lease) for kv in ours
            ])

    def fields_of(self: Any, kv: dict[str, Any]) -> tuple[Any, ...]:
        numbers = [kv.get(name, 0) for name in ("version", "create_revision", "mod_revision", "lease")]
        return (base64.b64decode(kv["key"]), base64.b64decode(kv.get("value", "")), *numbers)

    async def test_transaction(self: Any) -> None:
        await self.etcdctl("put", self.text + "a", "1")
        operations = [OpSet(self.key(b"b"), b"2"), OpDel(self.key(b"a"))]
        await self.etcd.when(CompVersion(self.key(b"a"), "==", 1)).then(*operations).submit()
        printed = await self.etcdctl("get", "--prefix", self.text)
        self.assertEqual(printed, f"{self.text}b\n2\n")

    async def test_lease(self: Any) -> None:
        lease = await self.etcd.lease(60)
        await self.etcdctl("put", "--lease", f"{lease.lease_id:x}", self.text + "a", "1")
        self.assertEqual(await lease.keys(), [self.key(b"a")])
        told = await self.etcdctl_json("lease", "timetolive", "--keys", f"{lease.lease_id:x}")
        self.assertEqual((told["id"], told["granted-ttl"]), (lease.lease_id, 60))
        self.assertEqual([base64.b64decode(key) for key in told["keys"]], [self.key(b"a")])
        await self.etcdctl("lease", "revoke", f"{lease.lease_id:x}")
        self.assertEqual((await self.etcd.get(self.key(b"a"))).kvs, [])
        self.assertNotIn(lease.lease_id, await self.etcd.leases())


@on_every_server()
class Watches(InteropCase):
    """Both are told what the other does."""

    async def test_it_sees_what_we_do(self: Any) -> None:
        first = await self.etcd.set(self.key(b"a"), b"1")
        process = self.running("watch", "--prefix", self.text, f"--rev={first.header.revision}")
        await self.etcd.set(self.key(b"b"), b"")
        await self.etcd.delete(self.key(b"a"))
        wanted = f"PUT\n{self.text}a\n1\nPUT\n{self.text}b\n\nDELETE\n{self.text}a\n\n"
        await self.until(lambda: len(process.output) >= len(wanted))
        self.assertEqual(process.output.decode(), wanted)
        await self.soon(process.end())

    async def test_we_see_what_it_does(self: Any) -> None:
        async with self.etcd.watcher(self.keys(), return_previous=True) as watch:
            await self.etcdctl("put", self.text + "a", "1")
            await self.etcdctl("put", self.text + "a", "")
            await self.etcdctl("del", self.text + "a")
            events = [await self.soon(watch.__anext__()) for _ in range(3)]
        told = [(event.type, event.value) for event in events]
        self.assertEqual(told, [("put", b"1"), ("put", b""), ("delete", b"")])
        self.assertEqual([event.previous and event.previous.value for event in events], [None, b"1", b""])


@on_every_server()
class Locks(InteropCase):
    """``etcdctl lock`` and ours are one queue."""

    def name(self: Any) -> bytes:
        return bytes(self.key(b"mylock"))

    async def queue(self: Any) -> list[bytes]:
        """The keys of the lock, the holder's first."""
        found = await self.etcd.get(KeySet(self.name() + b"/", prefix=True), sort_target="CREATE", sort_order="ASCEND")
        return [kv.key for kv in found.kvs]

    async def until_queue_has(self: Any, count: int) -> list[bytes]:
        """Waits until so many contend; their keys."""
        keys: list[bytes] = []

        async def is_so_long() -> bool:
            keys[:] = await self.queue()
            return len(keys) == count

        await self.until(is_so_long)
        return keys

    async def theirs(self: Any, place: int, *arguments: str) -> tuple[Running, bytes]:
        """An ``etcdctl`` that has its place in the queue, and its key."""
        process = self.running("lock", *arguments, self.name().decode())
        return process, (await self.until_queue_has(place))[-1]

    async def ours(self: Any, place: int) -> Deferred[Lock]:
        """A lock of ours that has its place in the queue."""
        waiting = self.etcd.lock(self.name(), time_to_live=20)
        await self.until_queue_has(place)
        return waiting

    async def until_held(self: Any, process: Running, key: bytes) -> None:
        """Waits until it says that it holds the lock: it shows the key and its empty value."""
        said = key + b"\n\n"
        await self.until(lambda: len(process.output) >= len(said))
        self.assertEqual(process.output, said)

    async def test_it_waits_for_us(self: Any) -> None:
        lock = await self.etcd.lock(self.name())
        process, key = await self.theirs(2)
        # time for one that does not wait
        for _ in range(20):
            await self.etcd.get(self.name())
        self.assertEqual(process.output, b"")
        await lock.release()
        await self.until_held(process, key)
        await self.soon(process.end())
        self.assertEqual(await self.queue(), [])

    async def test_we_wait_for_it(self: Any) -> None:
        process, key = await self.theirs(1)
        await self.until_held(process, key)
        await self.assertFailure(self.etcd.lock(self.name(), timeout=0.2), Timeout)
        waiting = await self.ours(2)
        self.assertFalse(waiting.called)
        await self.soon(process.end())
        lock = await self.soon(waiting)
        self.assertEqual(await self.queue(), [lock.key])
        await lock.release()

    async def test_taking_turns(self: Any) -> None:
        """Ours, theirs, ours, theirs: each only when the one before it is done."""
        first = await self.etcd.lock(self.name())
        second, second_key = await self.theirs(2)
        third = await self.ours(3)
        fourth, fourth_key = await self.theirs(4)
        self.assertEqual((second.output, third.called, fourth.output), (b"", False, b""))
        await first.release()
        await self.until_held(second, second_key)
        self.assertEqual((third.called, fourth.output), (False, b""))
        await self.soon(second.end())
        lock = await self.soon(third)
        self.assertEqual(fourth.output, b"")
        await lock.release()
        await self.until_held(fourth, fourth_key)
        await self.soon(fourth.end())
        self.assertEqual(await self.queue(), [])

    async def test_one_that_gives_up_in_the_middle(self: Any) -> None:
        """Ctrl-C of a waiting ``etcdctl``: the one behind it still waits for the holder."""
        holder = await self.etcd.lock(self.name())
        middle, _ = await self.theirs(2)
        last = await self.ours(3)
        await self.soon(middle.end())
        await self.until_queue_has(2)
        for _ in range(20):
            await self.etcd.get(self.name())
        self.assertFalse(last.called)
        await holder.release()
        await (await self.soon(last)).release()

    async def test_we_give_up_in_the_middle(self: Any) -> None:
        holder = await self.etcd.lock(self.name())
        middle = await self.ours(2)
        middle.addErrback(lambda _: None)
        last, last_key = await self.theirs(3)
        middle.cancel()
        await self.until_queue_has(2)
        for _ in range(20):
            await self.etcd.get(self.name())
        self.assertEqual(last.output, b"")
        await holder.release()
        await self.until_held(last, last_key)
        await self.soon(last.end())

    async def test_it_dies(self: Any) -> None:
        """Killed: its lease frees the lock for us."""
        process, key = await self.theirs(1, "--ttl=10")
        await self.until_held(process, key)
        waiting = await self.ours(2)
        await self.soon(process.end("KILL"))
        lock = await self.soon(waiting)
        self.assertEqual(await self.queue(), [lock.key])
        await lock.release()

    async def test_it_runs_a_program_while_it_holds_the_lock(self: Any) -> None:
        async with self.etcd.lock(self.name()) as lock:
            process = self.running("lock", self.name().decode(), "echo", "held")
            await self.until_queue_has(2)
            self.assertTrue(lock.is_held)
        self.assertEqual(await self.soon(process.ended), 0)
        self.assertEqual(process.output, b"held\n")
