"""
Trees, on every server: files and directories, their times to live, and what is refused.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Optional

from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks

from test.real.base import QUICK, RealCase, on_every_server_at_length
from test.real.test_faults import FaultCase
from test.real.test_guide import recipes
from txetcd import Compacted, Node, Timeout, Tree, TreeChanges
from txetcd._schema import TXN
from txetcd.errors import (
    DirectoryNotEmpty,
    NodeNotFound,
    NotDirectory,
    NotFile,
    OutcomeUnknown,
    PreconditionFailed,
    Unavailable,
)
from txetcd.recipes import tree as tree_module


class TreeCase(RealCase):
    """A tree of its own."""

    async def start(self: Any) -> None:
        self.tree = Tree(self.etcd, self.key(b"root"))

    def shown(self: Any, node: Node) -> Any:
        """A directory as a dictionary of its nodes, a file as its value."""
        if not node.is_directory:
            return node.value
        return {child.key.rpartition(b"/")[2]: self.shown(child) for child in node}

    async def keys_there(self: Any) -> list[bytes]:
        return [kv.key[len(self.tree.root) :] for kv in (await self.etcd.get(self.keys())).kvs]


@on_every_server_at_length()
class Files(TreeCase):
    """What is done to one."""

    async def test_set_and_get(self: Any) -> None:
        tree = self.tree
        first = await tree.set(b"/a/b/c", b"5")
        self.assertEqual((first.action, first.key, first.value, first.previous), ("set", b"/a/b/c", b"5", None))
        second = await tree.set(b"/a/b/c", b"6")
        self.assertEqual((first.index, second.created_index), (first.created_index, first.index))
        self.assertGreater(second.index, first.index)
        self.assertEqual((second.previous.value, second.previous.index), (b"5", first.index))
        found = await tree.get(b"/a/b/c")
        self.assertEqual((found.action, found.value, found.ttl), ("get", b"6", None))
        self.assertEqual((found.created_index, found.modified_index), (first.index, second.index))
        self.assertEqual((await self.etcd.get(tree.root + b"/a/b/c")).kvs[0].mod_revision, second.index)

    async def test_delete(self: Any) -> None:
        tree = self.tree
        created = await tree.set(b"/a", b"5")
        deleted = await tree.delete(b"/a")
        self.assertEqual((deleted.action, deleted.is_deleted, deleted.value), ("delete", True, None))
        self.assertEqual((deleted.created_index, deleted.previous.value), (created.index, b"5"))
        self.assertGreater(deleted.index, created.index)
        for nothing in (tree.get, tree.delete):
            error = await self.assertFailure(nothing(b"/a"), KeyError)
            self.assertIsInstance(error, NodeNotFound)
            self.assertEqual(str(error), "there is no b'/a'")

    async def test_time_to_live(self: Any) -> None:
        tree = self.tree
        before = await self.etcd.leases()
        node = await tree.set(b"/short", b"x", ttl=30)
        self.assertEqual(node.ttl, 30)
        self.assertIn((await tree.get(b"/short")).ttl, range(20, 31))
        self.assertIn((await tree.children())[0].ttl, range(20, 31))
        # set without one, it does not expire any more
        await tree.set(b"/short", b"y")
        self.assertIsNone((await tree.get(b"/short")).ttl)
        # what was refused leaves no lease behind
        leases = await self.etcd.leases()
        await self.assertFailure(tree.set(b"/short/b", b"", ttl=30), NotDirectory)
        await self.assertFailure(tree.add(b"/short", b"", ttl=30), NotDirectory)
        await self.assertFailure(tree.test_and_set(b"/short", b"", b"other", 30), PreconditionFailed)
        self.assertTrue(await self.has_no_new_lease(leases))
        (lease_id,) = set(leases) - set(before)
        await self.post("/v3/lease/revoke", {"ID": str(lease_id)})
        self.assertEqual((await tree.get(b"/short")).value, b"y")

    async def test_expires(self: Any) -> None:
        etcd = self.client((await self.own_server(QUICK)).url)
        tree = Tree(etcd)
        node = await tree.set(b"/disappearing_entry", b"inconsequential_value", ttl=1)
        gone = await tree.wait(b"/disappearing_entry", index=node.index + 1)
        self.assertEqual((gone.action, gone.is_deleted), ("delete", True))
        self.assertEqual(gone.previous.value, b"inconsequential_value")
        await self.assertFailure(tree.get(b"/disappearing_entry"), KeyError)

    async def test_test_and_set(self: Any) -> None:
        tree = self.tree
        await self.assertFailure(tree.test_and_set(b"/a", b"1", b"0"), KeyError)
        await self.assertFailure(tree.test_and_set(b"/a", b"1", previous_index=1), KeyError)
        await self.assertFailure(tree.test_and_set(b"/a", b"1", previous_exists=True), KeyError)
        first = await tree.test_and_set(b"/a", b"1", previous_exists=False)
        error = await self.assertFailure(tree.test_and_set(b"/a", b"2", previous_exists=False), ValueError)
        self.assertIsInstance(error, PreconditionFailed)
        self.assertEqual((error.current.value, error.current.mod_revision), (b"1", first.index))
        await self.assertFailure(tree.test_and_set(b"/a", b"2", b"0"), ValueError)
        second = await tree.test_and_set(b"/a", b"2", b"1")
        await self.assertFailure(tree.test_and_set(b"/a", b"3", previous_index=first.index), ValueError)
        await self.assertFailure(tree.test_and_set(b"/a", b"3", b"1", previous_index=second.index), ValueError)
        third = await tree.test_and_set(b"/a", b"3", b"2", previous_index=second.index, previous_exists=True)
        self.assertEqual((third.previous.value, (await tree.get(b"/a")).value), (b"2", b"3"))
        await self.assertFailure(tree.test_and_delete(b"/a", b"2"), ValueError)
        await self.assertFailure(tree.test_and_delete(b"/b", b"2"), KeyError)
        self.assertTrue((await tree.test_and_delete(b"/a", previous_index=third.index)).is_deleted)

    async def test_atomic_update(self: Any) -> None:
        """Nobody's is lost, and the time to live goes on."""
        tree = self.tree
        await tree.set(b"/n", b"0", ttl=60)
        clients = [Tree(self.client(), tree.root) for _ in range(5)]

        def add(value: bytes) -> bytes:
            return b"%d" % (int(value) + 1)

        async def work(tree: Tree) -> None:
            for _ in range(5):
                await tree.atomic_update(b"/n", add)

        await gatherResults([Deferred.fromCoroutine(work(one)) for one in clients], consumeErrors=True)
        node = await tree.get(b"/n")
        self.assertEqual((node.value, node.ttl in range(20, 61)), (b"25", True))
        updated = await tree.atomic_update(b"/n", add)
        found = await tree.get(b"/n")
        self.assertEqual((updated.index, updated.created_index), (found.index, found.created_index))
        self.assertEqual((updated.value, updated.previous.value), (b"26", b"25"))
        await self.assertFailure(tree.atomic_update(b"/m", add), KeyError)
        await self.assertFailure(tree.atomic_update(b"/n", lambda value: 1 // 0), ZeroDivisionError)


@on_every_server_at_length()
class Directories(TreeCase):
    """What is in them, and what must not be."""

    async def fill(self: Any, *paths: bytes) -> None:
        for path in paths:
            await self.tree.set(path, path[-1:])

    async def test_listing(self: Any) -> None:
        tree = self.tree
        self.assertEqual(self.shown(await tree.get(b"/")), {})
        await self.fill(b"/b", b"/a/y", b"/a/x", b"/a-b", b"/a/z/q", b"/_hidden", b"/a/_hidden/x")
        inner = {b"x": b"x", b"y": b"y", b"z": {}}
        self.assertEqual(self.shown(await tree.get(b"/")), {b"a": {}, b"a-b": b"b", b"b": b"b"})
        self.assertEqual(self.shown(await tree.get(b"/a")), inner)
        deep = {**inner, b"z": {b"q": b"q"}}
        self.assertEqual(self.shown(await tree.get(b"/a", recursive=True)), deep)
        self.assertEqual(self.shown(await tree.get(b"/", True)), {b"a": deep, b"a-b": b"b", b"b": b"b"})
        self.assertEqual([node.key for node in await tree.children(b"/a")], [b"/a/x", b"/a/y", b"/a/z"])
        # what is hidden is there for who knows its name
        self.assertEqual((await tree.get(b"/_hidden")).is_hidden, True)
        self.assertEqual(self.shown(await tree.get(b"/a/_hidden")), {b"x": b"x"})
        await self.assertFailure(tree.children(b"/b"), NotDirectory)
        await self.assertFailure(tree.children(b"/c"), KeyError)
        await self.assertFailure(tree.get(b"/a0"), KeyError)

    async def test_page_by_page(self: Any) -> None:
        """All pages are from one revision, and what is deeper than wanted is skipped."""
        paths = [b"/d/%02d" % number for number in range(10)] + [b"/d/05x/%d" % number for number in range(10)]
        await self.fill(*paths)
        self.patch(tree_module, "PAGE", 3)
        self.assertEqual(len(await self.tree.children(b"/d")), 11)
        calls = self.etcd.stats().calls["KV.Range"].calls
        nodes = await self.tree.children(b"/d")
        # 00-02, 03-05, 05x and behind it, 06-08, 09; without skipping there would be three more
        self.assertLessEqual(self.etcd.stats().calls["KV.Range"].calls - calls, 4)
        self.assertEqual([len(node.children) for node in nodes], [0] * 11)
        (deep,) = [node for node in await self.tree.children(b"/d", recursive=True) if node.is_directory]
        self.assertEqual(len(deep.children), 10)

    async def test_made(self: Any) -> None:
        tree = self.tree
        made = await tree.make_directory(b"/d/e")
        self.assertEqual((made.is_directory, made.value), (True, None))
        self.assertEqual(self.shown(await tree.get(b"/", recursive=True)), {b"d": {b"e": {}}})
        self.assertEqual((await tree.get(b"/d/e")).created_index, made.created_index)
        await self.assertFailure(tree.make_directory(b"/d/e"), NotFile)
        await tree.set(b"/d/e/f", b"")
        await self.assertFailure(tree.delete(b"/d/e"), DirectoryNotEmpty)
        await tree.delete(b"/d/e/f")
        deleted = await tree.delete(b"/d/e")
        self.assertEqual((deleted.is_directory, deleted.created_index), (True, made.index))
        self.assertEqual(await self.keys_there(), [])

    async def test_no_node_is_both(self: Any) -> None:
        tree = self.tree
        await self.fill(b"/file", b"/d/x")
        await tree.make_directory(b"/empty")
        for wrong in (tree.set(b"/file/x", b""), tree.set(b"/file/x/y", b""), tree.make_directory(b"/file/x")):
            await self.assertFailure(wrong, NotDirectory)
        creating = tree.test_and_set(b"/d", b"", previous_exists=False)
        for wrong in (tree.set(b"/d", b""), tree.set(b"/empty", b""), creating):
            await self.assertFailure(wrong, NotFile)
        await self.assertFailure(tree.make_directory(b"/file"), ValueError)
        self.assertEqual(await self.keys_there(), [b"/d/x", b"/empty/", b"/file"])

    async def test_delete_recursively(self: Any) -> None:
        tree = self.tree
        await self.fill(b"/d/x", b"/d/y/z", b"/d/_h", b"/d-", b"/d0")
        await self.assertFailure(tree.delete(b"/d"), DirectoryNotEmpty)
        deleted = await tree.delete(b"/d", recursive=True)
        self.assertEqual((deleted.is_directory, deleted.is_deleted, deleted.previous), (True, True, None))
        self.assertEqual(await self.keys_there(), [b"/d-", b"/d0"])
        await self.assertFailure(tree.delete(b"/d", recursive=True), KeyError)
        self.assertFalse((await tree.delete(b"/d-", recursive=True)).is_directory)
        await tree.delete(b"/", recursive=True)
        await tree.delete(b"/", recursive=True)
        self.assertEqual(await self.keys_there(), [])

    async def test_in_order(self: Any) -> None:
        """Many add at the same time: every name comes behind those that were there, and none comes twice."""
        tree = self.tree
        await self.fill(b"/q/zzz", b"/q/9")
        trees = [Tree(self.client(), tree.root) for _ in range(4)]
        added: list[Node] = []

        async def work(one: Tree) -> None:
            for number in range(5):
                added.append(await one.add(b"/q", b"%d" % number))

        await gatherResults([Deferred.fromCoroutine(work(one)) for one in trees], consumeErrors=True)
        await tree.delete(max(node.key for node in added))
        added.append(await tree.add(b"/q", b"last"))
        by_index = sorted(added, key=lambda node: node.index)
        self.assertEqual([node.key for node in by_index], sorted(node.key for node in added))
        self.assertEqual((len({node.key for node in added}), len(added)), (21, 21))
        names = [node.key[len(b"/q/") :] for node in await tree.children(b"/q")]
        self.assertEqual((len(names), names[-2:]), (22, [b"9", b"zzz"]))
        self.assertEqual((await tree.add(b"/", b"")).key.count(b"/"), 1)


@on_every_server_at_length()
class Waiting(TreeCase):
    """The next change."""

    async def waiting(self: Any, *arguments: Any, **options: Any) -> Deferred[Node]:
        """Which has begun."""
        before = await self.watchers()
        waiting = self.tree.wait(*arguments, **options)

        async def has_begun() -> bool:
            return bool(await self.watchers() > before)

        await self.until(has_begun)
        return waiting

    async def test_file(self: Any) -> None:
        waiting = await self.waiting(b"/test/key")
        await self.tree.set(b"/test/other", b"4")
        await self.tree.set(b"/test/key", b"5")
        node = await self.soon(waiting)
        self.assertEqual((node.action, node.key, node.value, node.previous), ("set", b"/test/key", b"5", None))
        after = self.tree.wait(b"/test/key", index=node.index + 1)
        await self.tree.delete(b"/test/key")
        gone = await self.soon(after)
        self.assertEqual((gone.action, gone.is_deleted, gone.previous.value), ("delete", True, b"5"))

    async def test_directory(self: Any) -> None:
        """Something in it, but nothing hidden; or only the directory itself."""
        waiting, alone = await self.waiting(b"/d"), await self.waiting(b"/d", recursive=False)
        revision = (await self.tree.set(b"/d/_hidden/x", b"")).index
        await self.tree.set(b"/d/e/deep", b"x", ttl=30)
        node = await self.soon(waiting)
        self.assertEqual((node.key, node.ttl in range(20, 31)), (b"/d/e/deep", True))
        self.assertFalse(alone.called)
        await self.tree.delete(b"/d", recursive=True)
        await self.tree.make_directory(b"/d")
        made = await self.soon(alone)
        self.assertEqual((made.key, made.is_directory, made.value), (b"/d", True, None))
        hidden = await self.soon(self.tree.wait(b"/d/_hidden", index=revision))
        self.assertEqual(hidden.key, b"/d/_hidden/x")
        self.assertEqual((await self.soon(self.tree.wait(b"/", index=revision))).key, b"/d/e/deep")

    async def test_compacted(self: Any) -> None:
        """What has happened from an index on cannot be told any more: nobody waits for it in vain."""
        first = await self.tree.set(b"/a", b"1")
        await self.tree.delete(b"/a")
        await self.etcd.compact((await self.tree.set(b"/b", b"1")).index)
        await self.assertFailure(self.tree.wait(b"/a", index=first.index + 1), Compacted)

    async def test_in_vain(self: Any) -> None:
        before = await self.watchers()
        error = await self.assertFailure(self.tree.wait(b"/a", timeout=0.2), Timeout)
        self.assertIn("b'/a' was not changed within 0.2 seconds", str(error))

        async def is_left() -> bool:
            return bool(await self.watchers() <= before)

        await self.until(is_left)
        waiting = await self.waiting(b"/a")
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)
        await self.until(is_left)

    async def test_machines_and_leader(self: Any) -> None:
        self.assertEqual(await self.tree.machines(), [self.web])
        leader = await self.tree.leader()
        self.assertEqual(leader, (await self.etcd.cluster.leader()).peer_urls[0])


@on_every_server_at_length()
class Following(TreeCase):
    """Every change."""

    async def told(self: Any, changes: TreeChanges, count: int) -> list[tuple[bytes, Optional[bytes]]]:
        """The next ones."""
        nodes = [await self.soon(changes.next()) for _ in range(count)]
        return [(node.key, node.value) for node in nodes]

    async def test_read_and_follow(self: Any) -> None:
        """A directory that is one only by what is in it has no index, but was read at a revision; nothing is missed."""
        tree = self.tree
        await tree.set(b"/config/colour", b"blue")
        config = await tree.get(b"/config", recursive=True)
        self.assertEqual((config.index, config.revision), (0, config.children[0].index))
        await tree.set(b"/config/colour", b"red")
        await tree.set(b"/config/size/of/all", b"large")
        await tree.set(b"/config/_hidden", b"")
        await tree.set(b"/config-old", b"")
        await tree.delete(b"/config", recursive=True)
        await tree.set(b"/config", b"now a file", ttl=60)
        wanted = [
            (b"/config/colour", b"red"), (b"/config/size/of/all", b"large"),
            (b"/config/colour", None), (b"/config/size/of/all", None),
            (b"/config", b"now a file"),
        ]  # fmt: skip
        async with tree.follow(b"/config", index=config.revision + 1) as changes:
            self.assertEqual(await self.told(changes, len(wanted)), wanted)
            last = await tree.set(b"/config", b"end")
            self.assertEqual(await self.told(changes, 1), [(b"/config", b"end")])
            self.assertEqual(changes.revision, last.revision)

    async def test_not_there_yet(self: Any) -> None:
        error = await self.assertFailure(self.tree.get(b"/d"), NodeNotFound)
        await self.tree.set(b"/d/x", b"1")
        async with self.tree.follow(b"/d", index=error.revision + 1) as changes:
            self.assertEqual(await self.told(changes, 1), [(b"/d/x", b"1")])

    async def test_several_of_one_revision(self: Any) -> None:
        """Each of them is told; and who stops in between, and goes on where he was, misses none."""
        tree = self.tree
        begun = await tree.set(b"/other", b"")
        names = [b"/d/%02d" % number for number in range(20)]
        for name in names:
            await tree.set(name, b"x")
        deleted = await tree.delete(b"/d", recursive=True)
        written, gone = [(name, b"x") for name in names], [(name, None) for name in names]
        async with tree.follow(b"/d", index=begun.revision + 1) as changes:
            self.assertEqual(await self.told(changes, 25), written + gone[:5])
        self.assertEqual(changes.revision, deleted.revision - 1)
        async with tree.follow(b"/d", index=changes.revision + 1) as changes:
            self.assertEqual(await self.told(changes, 20), gone)
            self.assertEqual(changes.revision, deleted.revision)

    async def test_from_now_on(self: Any) -> None:
        seen: list[bytes] = []

        async def follow() -> None:
            async for node in changes:
                seen.append(node.key)

        async with self.tree.follow(b"/") as changes:
            following = Deferred.fromCoroutine(follow())
            await self.tree.set(b"/a", b"")
            await self.tree.add(b"/q", b"")
            await self.until(lambda: len(seen) == 2)
        await self.soon(following)
        self.assertEqual((seen[0], seen[1][:3]), (b"/a", b"/q/"))

    async def test_with_inline_callbacks(self: Any) -> None:
        tree = self.tree

        @inlineCallbacks
        def work() -> Any:
            node = yield tree.set(b"/a", b"1")
            changes = tree.follow(b"/a", index=node.revision + 1)
            try:
                yield tree.set(b"/a", b"2")
                return (yield changes.next())
            finally:
                changes.stop()

        self.assertEqual((await self.soon(work())).value, b"2")

    async def test_loops_of_the_docs(self: Any) -> None:
        """They miss nothing, and end with the client."""
        for snippet in recipes():
            if "follow_config" not in snippet.code:
                continue
            namespace: dict[str, Any] = {}
            exec(snippet.code, namespace)
            await self.tree.delete(b"/", recursive=True)
            seen: list[Any] = []
            etcd = self.client()
            looping = namespace["follow_config"](Tree(etcd, self.tree.root), seen.append)
            following = Deferred.fromCoroutine(looping) if isinstance(looping, Coroutine) else looping
            await self.until(lambda seen=seen: seen == [None])
            for name in (b"/config/x", b"/config/y"):
                await self.tree.set(name, b"1")
            await self.tree.delete(b"/config", recursive=True)
            await self.until(lambda seen=seen: len(seen) == 5)
            told = [(node.key, node.is_deleted) for node in seen[1:]]
            self.assertEqual(told, [
                (b"/config/x", False), (b"/config/y", False), (b"/config/x", True), (b"/config/y", True),
            ])  # fmt: skip
            await etcd.close()
            await self.soon(following)

    async def test_compacted(self: Any) -> None:
        """It is told, and what there is can be read and followed anew."""
        tree = self.tree
        first = await tree.set(b"/a", b"1")
        await tree.set(b"/a", b"2")
        await self.etcd.compact((await tree.set(b"/a", b"3")).revision)
        changes = tree.follow(b"/a", index=first.revision + 1)
        await self.assertFailure(self.soon(changes.next()), Compacted)
        node = await tree.get(b"/a")
        await tree.delete(b"/a")
        async with tree.follow(b"/a", index=node.revision + 1) as changes:
            self.assertEqual((node.value, await self.told(changes, 1)), (b"3", [(b"/a", None)]))


@on_every_server_at_length()
class LostAnswers(FaultCase, TreeCase):
    """What a tree makes of them."""

    async def start(self: Any) -> None:
        await FaultCase.start(self)
        self.tree = Tree(self.away, self.key(b"root"))

    async def test_wait_through_an_outage(self: Any) -> None:
        """What happens meanwhile is told afterwards, even if it was compacted away."""
        there = Tree(self.etcd, self.tree.root)
        await there.set(b"/a", b"1")
        made: list[Any] = []
        watcher = self.away.watcher
        self.patch(self.away, "watcher", lambda *args, **options: made.append(watcher(*args, **options)) or made[-1])
        waiting = self.tree.wait(b"/a")
        # the client has to know that it has begun, and not only the server
        await self.soon(made[0].when_started())
        await self.proxy.stop()
        await there.delete(b"/a")
        await self.etcd.compact((await there.set(b"/b", b"1")).index)
        await self.proxy.start()
        gone = await self.soon(waiting)
        self.assertEqual((gone.key, gone.is_deleted), (b"/a", True))

    async def test_follow_through_an_outage(self: Any) -> None:
        """Nothing is missed, and nothing comes twice."""
        there = Tree(self.etcd, self.tree.root)
        before = await self.watchers()
        async with self.tree.follow(b"/d") as changes:
            await there.set(b"/d/x", b"1")
            seen = [await self.soon(changes.next())]
            await self.proxy.stop()
            await there.set(b"/d/x", b"2", ttl=60)
            await there.set(b"/d/y", b"3")
            await there.delete(b"/d", recursive=True)
            await self.proxy.start()
            seen += [await self.soon(changes.next()) for _ in range(4)]
        told = [(node.key, node.value) for node in seen]
        self.assertEqual(told[:3], [(b"/d/x", b"1"), (b"/d/x", b"2"), (b"/d/y", b"3")])
        self.assertEqual(told[3:], [(b"/d/x", None), (b"/d/y", None)])

        async def is_left() -> bool:
            return bool(await self.watchers() <= before)

        await self.until(is_left)

    async def test_set(self: Any) -> None:
        await self.warm_up()
        self.proxy.cut_answer(count=1, where=self.answers_to(TXN))
        error = await self.assertFailure(self.tree.set(b"/a", b"1"), OutcomeUnknown)
        self.assertTrue(error.maybe_applied)
        self.behave()
        await self.noticed()
        self.assertEqual((await self.tree.get(b"/a")).value, b"1")

    async def test_not_sent(self: Any) -> None:
        """Nothing is left of it."""
        leases = await self.etcd.leases()
        await self.proxy.stop()
        await self.assertFailure(self.tree.set(b"/a", b"1", ttl=30), Unavailable)
        self.assertTrue(await self.has_no_new_lease(leases))
