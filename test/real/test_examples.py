"""
The examples work, each on every server, and say what they are meant to say.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase

from test.real.base import GATEWAY, RealCase, on_every_server

ROOT = Path(__file__).resolve().parents[2]

#: What each example prints when it has done what it is there for.
SAYS = {
    "backup.py": "100 %, saved: True\n",
    "barrier.py": "all is prepared\n",
    "cluster.py": "now another one leads\nnot there: True\n",
    "config.py": "then: {'colour': 'green', 'size': 'large'}\nchanged: size = (gone)\nat last: {'colour': 'green'}\n",
    "coordinator.py": "have led: [b'one', b'two']\n",
    "coroutine.py": "b'0'\n",
    "election.py": "both are done\n",
    "double_barrier.py": "b'example/rounds' cannot be entered: a round is under way\n",
    "counters.py": "visits: 100\ninvoices: 1 2 102 3\nreserved: range(103, 113)\n",
    "faulty_proxy.py": "an answer is lost: maybe applied: True; the server has version 1\n"
    "nobody is there: maybe applied: False; the server has version 1\n"
    "silence: no answer within 0.5 seconds\n",
    "hello.py": "b'greeting' was b'good morning'\nb'greeting' was deleted\n",
    "lease.py": "after 6 seconds: 1 key, and the lease is alive\nafter the block: 0 keys\n",
    "lock.py": "the lock b'example/lock' was not acquired within 2 seconds\n",
    "many_watches.py": "10000 watches: 1 connection, 100 streams\nhello 0 ... hello 9000\n",
    "metrics.py": 'etcd_client_call_seconds_count{call="KV.Put",outcome="LeaseNotFound"} 1.0\n',
    "party.py": "still there: True\n",
    "put_and_get.py": "not replaced: meanwhile it is b'green'\ndeleted b'example/colour' b'blue'\n",
    "queues.py": "in order: [b'one', b'two', b'three']\nwaiting: 2\nfirst: b'a heart attack'\nthen: b'a cold'\n",
    "ranges.py": "there are 100 keys\n",
    "rwlock.py": "written alone; there are 1 who hold it or wait for it\nanna reads b'page 7'\nwithout waiting: True\n",
    "semaphore.py": "left: 0\nlimit of the semaphore b'example/downloads' must be 1, as of all who contend for it now,"
    " not 3\n",
    "registry.py": '{"Op":0,"Addr":"10.0.0.2:80","Metadata":"in zone b"}\n',
    "reservation.py": "reserved for b'anna'\nstill for b'anna'\nnow for b'berta'\n",
    "service.py": "there: [b'10.0.0.2:80']\ndied: b'other'\nleft: 0\n",
    "stm.py": "{b'anna': b'0', b'berta': b'100'}\ntransfers: 10\nnot enough for 1\n",
    "transaction.py": "{b'example/account/mine': b'70', b'example/account/yours': b'30'}\nnot poor enough: b'70'\n",
    "tree.py": "b'/config/size' b'large' has a ttl\nKeyError: there is no b'/config/shape'\n"
    "ValueError: b'/config/colour' is not as it was expected - it is b'blue'\n[b'first', b'second']\n",
    "users.py": "but no law: etcdserver: permission denied\nalice is writer\n"
    "a writer may READWRITE KeySet(b'letters/', prefix=True)\n",
    "work.py": "dies with b'dishes'\ndoes b'laundry'\ndoes b'dishes'\nleft: 0\n",
    "watch.py": "callback: b'example/lamp' deleted; it was b'off'\nloop: revision ",
}


class Files(SynchronousTestCase):
    """Of the files themselves."""

    def test_every_example_is_tested(self) -> None:
        self.assertEqual(sorted(SAYS), sorted(path.name for path in (ROOT / "examples").glob("*.py")))

    def test_readme(self) -> None:
        """The program in the README is the example, verbatim."""
        program = (ROOT / "examples" / "hello.py").read_text().partition("\n\n")[2]
        indented = "".join(f"   {line}" if line.strip() else line for line in program.splitlines(keepends=True))
        self.assertIn(indented, (ROOT / "README.rst").read_text())

    def test_each_is_short(self) -> None:
        for name in SAYS:
            self.assertLessEqual(len((ROOT / "examples" / name).read_text().splitlines()), 60, name)


@on_every_server(schemes=[GATEWAY])
class Examples(RealCase):
    """Each is run as a user would run it."""

    async def run_example(self: Any, name: str) -> None:
        # PYTHONPATH, because the package may not be installed where the tests are; some start this server themselves
        environment = {**os.environ, "ETCD_URL": self.url, "ETCD": self.server.path, "PYTHONPATH": str(ROOT)}
        output, errors, status = await getProcessOutputAndValue(
            sys.executable, [str(ROOT / "examples" / name)], environment
        )
        self.assertEqual((errors.decode(), status), ("", 0))
        self.assertIn(SAYS[name], output.decode())

    async def test_backup(self: Any) -> None:
        await self.run_example("backup.py")

    async def test_barrier(self: Any) -> None:
        await self.run_example("barrier.py")

    async def test_cluster(self: Any) -> None:
        await self.run_example("cluster.py")

    async def test_config(self: Any) -> None:
        await self.run_example("config.py")

    async def test_coordinator(self: Any) -> None:
        await self.run_example("coordinator.py")

    async def test_coroutine(self: Any) -> None:
        await self.run_example("coroutine.py")

    async def test_election(self: Any) -> None:
        await self.run_example("election.py")

    async def test_double_barrier(self: Any) -> None:
        await self.run_example("double_barrier.py")

    async def test_counters(self: Any) -> None:
        await self.run_example("counters.py")

    async def test_faulty_proxy(self: Any) -> None:
        await self.run_example("faulty_proxy.py")

    async def test_hello(self: Any) -> None:
        await self.run_example("hello.py")

    async def test_lease(self: Any) -> None:
        await self.run_example("lease.py")

    async def test_lock(self: Any) -> None:
        await self.run_example("lock.py")

    async def test_many_watches(self: Any) -> None:
        await self.run_example("many_watches.py")

    async def test_metrics(self: Any) -> None:
        await self.run_example("metrics.py")

    async def test_party(self: Any) -> None:
        await self.run_example("party.py")

    async def test_put_and_get(self: Any) -> None:
        await self.run_example("put_and_get.py")

    async def test_queues(self: Any) -> None:
        await self.run_example("queues.py")

    async def test_ranges(self: Any) -> None:
        await self.run_example("ranges.py")

    async def test_rwlock(self: Any) -> None:
        await self.run_example("rwlock.py")

    async def test_semaphore(self: Any) -> None:
        await self.run_example("semaphore.py")

    async def test_registry(self: Any) -> None:
        await self.run_example("registry.py")

    async def test_reservation(self: Any) -> None:
        await self.run_example("reservation.py")

    async def test_service(self: Any) -> None:
        await self.run_example("service.py")

    async def test_stm(self: Any) -> None:
        await self.run_example("stm.py")

    async def test_transaction(self: Any) -> None:
        await self.run_example("transaction.py")

    async def test_tree(self: Any) -> None:
        await self.run_example("tree.py")

    async def test_users(self: Any) -> None:
        await self.run_example("users.py")

    async def test_watch(self: Any) -> None:
        await self.run_example("watch.py")

    async def test_work(self: Any) -> None:
        await self.run_example("work.py")
