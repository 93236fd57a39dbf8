"""
What was shown of etcd's version 2 with its Python clients, line by line: with a ``Tree`` in the place of their client,
``bytes`` in the place of text, and a ``yield`` before what takes time.
"""

from __future__ import annotations

import re
from typing import Any, Callable

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from test.real.base import GATEWAY, on_every_server_at_length
from test.real.test_seed import SnippetCase
from txetcd import Tree

PROGRAM = """
from twisted.internet.task import deferLater, react
from twisted.internet.defer import inlineCallbacks

from txetcd import Client, Tree


@inlineCallbacks
def main(reactor):
    etcd = Client(reactor, 'http://localhost:2379')
    c = Tree(etcd)
{snippet}
    yield etcd.close()


if __name__ == '__main__':
    react(main)
"""

SET_AND_GET = """
r = yield c.set(b'/test/key', b'5')
print(r)
r = yield c.get(b'/test/key')
print(r.value)
print(r)
"""

WAIT = """
print('waiting')
r = yield c.wait(b'/test/key')
print(r)
"""

WAIT_FOR_FOLDER = """
print('waiting')
r = yield c.wait(b'/test_folder')
print(r)
"""

INDEX = """
print((yield c.set(b'/a/b/c', b'5')).index)
print((yield c.set(b'/a/b/c', b'6')).index)
"""

TEST_ENTRY = """
yield c.set(b'/test_entry', b'abc')
r = yield c.get(b'/test_entry')
print(r.value)
"""

CHILDREN = """
from pprint import pprint
yield c.set(b'/test_folder/entry_1', b'test_value_1')
yield c.set(b'/test_folder/entry_2', b'test_value_2')
list_ = yield c.children(b'/test_folder')
pprint(list_)
"""

TIME_TO_LIVE = """
yield c.set(b'/disappearing_entry', b'inconsequential_value', ttl=5)
yield deferLater(reactor, 8, lambda: None)
try:
    yield c.get(b'/disappearing_entry')
except KeyError as error:
    print('KeyError:', error)
"""

MISCELLANEOUS = """
print((yield c.machines()))
print((yield c.leader()))
"""


@on_every_server_at_length(schemes=[GATEWAY])
class Snippets(SnippetCase):
    """Each in a program of its own; the keys are those of the snippets, so nothing else runs beside them."""

    used = (b"/test", b"/a/b/c", b"/disappearing_entry")

    async def run_snippet(self: Any, snippet: str, meanwhile: Any = None) -> str:
        indented = "".join(f"    {line}" for line in snippet.splitlines(keepends=True))
        text = PROGRAM.format(snippet=indented).replace("http://localhost:2379", self.url)
        return str(await self.run_program(text, meanwhile))

    def changing(self: Any, path: bytes, value: bytes) -> Callable[[Deferred[Any]], Any]:
        """Sets it until the program has ended, because the program does not say when it has begun to wait."""

        async def change(running: Deferred[Any]) -> None:
            while not running.called:
                await Tree(self.etcd).set(path, value)
                await deferLater(self.reactor, 0.1)

        return change

    async def test_set_and_get(self: Any) -> None:
        printed = await self.run_snippet(SET_AND_GET)
        pattern = r"<Node \[set\] b'/test/key' value=<1 bytes> CI=(\d+) MI=\1 TTL=None>\nb'5'\n"
        self.assertRegex(printed, pattern + r"<Node \[get\] b'/test/key' value=<1 bytes> CI=(\d+) MI=\2 TTL=None>\n")

    async def test_wait(self: Any) -> None:
        printed = await self.run_snippet(WAIT, self.changing(b"/test/key", b"5"))
        self.assertRegex(printed, r"<Node \[set\] b'/test/key' value=<1 bytes> CI=\d+ MI=\d+ TTL=None>\n")

    async def test_wait_for_a_folder(self: Any) -> None:
        deep = b"/test_folder/test_inner_folder/deep_test"
        printed = await self.run_snippet(WAIT_FOR_FOLDER, self.changing(deep, b"abc"))
        self.assertRegex(printed, rf"<Node \[set\] {re.escape(repr(deep))} value=<3 bytes> CI=\d+ MI=\d+ TTL=None>\n")

    async def test_lock(self: Any) -> None:
        """``with c.module.lock.get_lock('test_lock_1', ttl=10)``: a lock is had from the client."""
        async with self.etcd.lock(self.key(b"test_lock_1"), time_to_live=10) as lock:
            self.assertTrue(lock.is_held)

    async def test_index(self: Any) -> None:
        first, second = map(int, (await self.run_snippet(INDEX)).split())
        self.assertLess(first, second)

    async def test_entry(self: Any) -> None:
        self.assertEqual(await self.run_snippet(TEST_ENTRY), "b'abc'\n")

    async def test_children(self: Any) -> None:
        printed = await self.run_snippet(CHILDREN)
        paths = re.findall(r"\[get\] b'(\S+)' value=<12 bytes>", printed)
        self.assertEqual(paths, ["/test_folder/entry_1", "/test_folder/entry_2"])

    async def test_time_to_live(self: Any) -> None:
        self.assertEqual(await self.run_snippet(TIME_TO_LIVE), "KeyError: there is no b'/disappearing_entry'\n")

    async def test_miscellaneous(self: Any) -> None:
        peer = (await self.etcd.cluster.members())[0].peer_urls[0]
        self.assertEqual(await self.run_snippet(MISCELLANEOUS), f"['{self.web}']\n{peer}\n")

    async def test_distributed_lock(self: Any) -> None:
        """The process that is described there step by step, of four who want it at the same time."""
        holders: list[bytes] = []
        history: list[int] = []

        async def work(tree: Tree) -> None:
            try:
                # "Use CAS with a prevExists of false and a value of 0."
                await tree.test_and_set(b"/lock", b"0", previous_exists=False)
            except ValueError:
                pass
            # "Assign some value to some dummy key ... This index will be used as a unique ID."
            mine = b"%d" % (await tree.set(b"/dummy", b"")).index
            while True:
                seen = (await tree.get(b"/lock")).index
                try:
                    # "Do a CAS on the lock node with a prevValue of 0, a value of the instance-ID, and a TTL"
                    await tree.test_and_set(b"/lock", mine, b"0", ttl=60)
                    break
                except ValueError:
                    # "If error, watch the lock node."
                    await tree.wait(b"/lock", index=seen + 1)
            holders.append(mine)
            history.append(len(holders))
            await tree.set(b"/dummy", b"at work")
            holders.remove(mine)
            # "to release, use a CAS to set the lock-node to 0 with a prevValue of the instance-ID"
            await tree.test_and_set(b"/lock", b"0", mine)

        trees = [Tree(self.client(), self.key(b"locks")) for _ in range(4)]
        await gatherResults([Deferred.fromCoroutine(work(tree)) for tree in trees], consumeErrors=True)
        self.assertEqual(history, [1, 1, 1, 1])
