"""
Trees: what is asked, what is made of the answers, and what is left behind.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from test.fakes import Case, fake_client
from test.properties import PROPERTY
from test.store import Store
from txetcd import Client, KeySet, KeyValue, Node, OpGet, OpSet, Tree, TreeChanges
from txetcd import lease as lease_module
from txetcd._backoff import ASK_AGAIN
from txetcd._messages import (
    LeaseTimeToLiveRequest,
    MemberListResponse,
    WatchResponse,
)
from txetcd._schema import LEASE_REVOKE, LEASE_TIME_TO_LIVE, MEMBER_LIST, RANGE, TXN
from txetcd.errors import (
    Closed,
    Compacted,
    DirectoryNotEmpty,
    Error,
    LeaseNotFound,
    NodeNotFound,
    NotDirectory,
    NotFile,
    OutcomeUnknown,
    PermissionDenied,
    PreconditionFailed,
    Timeout,
    Unavailable,
)
from txetcd.recipes import tree as tree_module
from txetcd.recipes._tree import ancestors, check_path, directory_node, is_hidden, rest_of
from txetcd.values import Event, Header, Member

LEASE = 0xABC


class TreeCase(Case):
    """A tree whose calls a store answers."""

    client: Client

    def setUp(self) -> None:
        super().setUp()
        self.patch(lease_module, "new_lease_id", lambda: LEASE)
        self.patch(tree_module.random, "random", lambda: 1.0)
        self.client = fake_client(self.clock, self.transport)
        self.calls = self.client._calls
        self.store = Store()
        self.tree = Tree(self.client, b"r")

    def answer(self) -> None:
        """The store answers what waits longest."""
        call = self.transport.waiting[0]
        call.reply(self.store.answer(call.request))

    def done(self, doing: Deferred[Any]) -> Any:
        """What it fires with."""
        self.run_out()
        return self.successResultOf(doing)

    def failed(self, doing: Deferred[Any], kind: type[Exception], text: str = "") -> Any:
        """What it fails with."""
        self.run_out()
        error = self.failureResultOf(doing, kind).value
        self.assertIn(text, str(error))
        return error

    def run_out(self) -> None:
        while self.transport.waiting:
            self.answer()

    def put(self, *paths: bytes, lease: Any = None) -> None:
        for path in paths:
            self.store.write(OpSet(b"r" + path, path[-1:], lease))


class ReadTests(TreeCase):
    def test_file(self) -> None:
        """One call; what is there and what is in it, at one revision."""
        self.put(b"/a", b"/a-")
        getting = self.tree.get(b"/a")
        request = self.transport.next(TXN).request
        self.assertEqual(request.success, (OpGet(b"r/a"), OpGet(KeySet(b"r/a/", prefix=True), limit=1000)))
        node = self.done(getting)
        self.assertEqual(node, Node("get", b"/a", b"a", 2, 2))
        self.assertEqual(len(self.transport.calls), 1)

    def test_time_to_live(self) -> None:
        self.store.leases = {7: 30, 8: 1, 9: 9}
        self.put(b"/d/a", b"/d/b", lease=7)
        self.put(b"/d/c", lease=8)
        self.put(b"/d/e/x", b"/d/_h", lease=9)
        # 9 is not shown
        showing = self.tree.children(b"/d")
        self.answer()
        self.store.expire(8)
        nodes = self.done(showing)
        self.assertEqual([node.ttl for node in nodes], [30, 30, 0, None])
        asked = [call.request for call in self.transport.calls if call.rpc is LEASE_TIME_TO_LIVE]
        self.assertEqual([one.lease_id for one in asked], [7, 8, 9])
        self.assertEqual(asked[0], LeaseTimeToLiveRequest(7))
        self.assertEqual(self.done(self.tree.get(b"/d/a")).ttl, 30)

    def test_time_to_live_that_cannot_be_told(self) -> None:
        self.store.leases = {7: 30}
        self.put(b"/a", lease=7)
        getting = self.tree.get(b"/a")
        self.answer()
        self.transport.next(LEASE_TIME_TO_LIVE).reply(PermissionDenied(7, "no"))
        self.failed(getting, PermissionDenied)

    def test_answer_lost(self) -> None:
        """It is only a read."""
        getting = self.tree.get(b"/a")
        self.transport.next(TXN).reply(Timeout("late", True))
        self.assertFalse(self.failureResultOf(getting, Timeout).value.maybe_applied)

    def test_directory(self) -> None:
        self.put(b"/d/b", b"/d/a/x", b"/d/_h", b"/d/_i/x", b"/d/")
        node = self.done(self.tree.get(b"/d"))
        self.assertEqual((node.is_directory, node.value, node.created_index), (True, None, 6))
        shown = [(child.key, child.is_directory, child.children) for child in node]
        self.assertEqual(shown, [(b"/d/a", True, ()), (b"/d/b", False, ())])
        deep = self.done(self.tree.get(b"/d", recursive=True))
        self.assertEqual([child.key for child in deep.children[0]], [b"/d/a/x"])
        self.assertEqual((deep.children[0].created_index, deep.children[0].index), (0, 0))

    def test_pages(self) -> None:
        """At one revision; what is below what is wanted is skipped."""
        self.patch(tree_module, "PAGE", 2)
        self.put(b"/a", b"/b/1", b"/b/2", b"/b/3", b"/c")
        getting = self.tree.get(b"/")
        self.answer()
        request = self.transport.next(RANGE).request
        self.assertEqual((request.key, request.revision, request.limit), (KeySet(b"r/b0", b"r0"), 6, 2))
        self.put(b"/d")
        self.assertEqual([child.key for child in self.done(getting)], [b"/a", b"/b", b"/c"])
        getting = self.tree.get(b"/", recursive=True)
        self.answer()
        self.assertEqual(self.transport.next(RANGE).request.key, KeySet(b"r/b/1\x00", b"r0"))
        self.assertEqual(len(self.done(getting).children[1].children), 3)

    def test_root(self) -> None:
        """It is always there."""
        self.assertEqual(self.done(self.tree.get(b"/")), Node("get", b"/", is_directory=True))
        self.assertEqual(self.done(self.tree.children()), ())

    def test_nothing(self) -> None:
        for call in (self.tree.get, self.tree.children):
            error = self.failed(call(b"/a"), KeyError)
            self.assertEqual((str(error), isinstance(error, Error)), ("there is no b'/a'", True))
        self.put(b"/a")
        self.failed(self.tree.children(b"/a"), NotDirectory, "b'/a' is a file, and cannot be listed")


class WriteTests(TreeCase):
    def test_set(self) -> None:
        first = self.done(self.tree.set(b"/d/a", b"1"))
        self.assertEqual(first, Node("set", b"/d/a", b"1", 2, 2))
        second = self.done(self.tree.set(b"/d/a", b"2"))
        self.assertEqual(second, Node("set", b"/d/a", b"2", 2, 3, previous=Node("get", b"/d/a", b"1", 2, 2)))
        self.assertEqual(len(self.transport.calls), 2)

    def test_time_to_live(self) -> None:
        node = self.done(self.tree.set(b"/a", b"1", ttl=30))
        self.assertEqual((node.ttl, self.store.kv(b"r/a").lease), (30, LEASE))  # type: ignore[union-attr]

    def test_lease_of_what_was_refused(self) -> None:
        """It is revoked."""
        self.put(b"/f", b"/d/x")
        refused: list[tuple[Callable[[], Deferred[Node]], type[Error]]] = [
            (lambda: self.tree.set(b"/d", b"", ttl=30), NotFile),
            (lambda: self.tree.set(b"/f/x/y", b"", ttl=30), NotDirectory),
            (lambda: self.tree.test_and_set(b"/f", b"", b"other", 30), PreconditionFailed),
            (lambda: self.tree.add(b"/f", b"", ttl=30), NotDirectory),
        ]
        for call, kind in refused:
            self.failed(call(), kind)
            self.assertEqual(self.store.leases, {})

    def test_lease_of_what_failed(self) -> None:
        """It is revoked unless the key may stand on it."""
        calls: list[Callable[[], Deferred[Node]]] = [
            lambda: self.tree.set(b"/a", b"", ttl=30), lambda: self.tree.add(b"/a", b"", ttl=30)
        ]  # fmt: skip
        for call in calls:
            for error, left in ((Unavailable(None, "not sent"), {}), (OutcomeUnknown(None, "lost"), {LEASE: 30})):
                self.store.leases = {}
                writing = call()
                while self.transport.waiting[0].rpc is not TXN:
                    self.answer()
                self.transport.next(TXN).reply(error)
                self.failed(writing, type(error))
                self.assertEqual(self.store.leases, left)

    def test_lease_that_cannot_be_revoked(self) -> None:
        """What has failed first is what counts."""
        self.put(b"/d/x")
        setting = self.tree.set(b"/d", b"", ttl=30)
        self.answer()
        self.answer()
        self.transport.next(LEASE_REVOKE).reply(LeaseNotFound(5, "gone"))
        self.failureResultOf(setting, NotFile)

    def test_test_and_set(self) -> None:
        tree = self.tree
        self.failed(tree.test_and_set(b"/a", b"1", b"0"), KeyError)
        first = self.done(tree.test_and_set(b"/a", b"1", previous_exists=False))
        again = tree.test_and_set(b"/a", b"2", previous_exists=False)
        error = self.failed(again, ValueError, "is not as it was expected")
        self.assertEqual((error.current.value, isinstance(error, PreconditionFailed)), (b"1", True))
        self.failed(tree.test_and_set(b"/a", b"2", b"0"), ValueError)
        self.failed(tree.test_and_set(b"/a", b"2", previous_index=99), ValueError)
        self.done(tree.test_and_set(b"/a", b"2", b"1", previous_index=first.index, previous_exists=True))
        self.assertEqual(self.store.value(b"r/a"), b"2")

    def test_directories(self) -> None:
        tree = self.tree
        made = self.done(tree.make_directory(b"/d"))
        self.assertEqual((made, self.store.value(b"r/d/")), (Node("set", b"/d", None, 2, 2, is_directory=True), b""))
        self.failed(tree.make_directory(b"/d"), NotFile)
        self.failed(tree.set(b"/d", b""), NotFile)
        self.put(b"/f")
        self.failed(tree.make_directory(b"/f"), PreconditionFailed)
        self.failed(tree.make_directory(b"/f/x"), NotDirectory, "b'/f' is a file, and b'/f/x' cannot be in it")

    def test_add(self) -> None:
        """A name is behind all that were added before, even if they are deleted."""
        self.put(b"/q/9")
        first = self.done(self.tree.add(b"/q", b"1"))
        self.assertEqual((first.key, first.index), (b"/q/00000000000000000003", 3))
        self.done(self.tree.delete(first.key))
        self.assertEqual(self.done(self.tree.add(b"/q", b"1")).key, b"/q/00000000000000000005")

    def test_add_at_the_same_time(self) -> None:
        """Who has looked first, and comes last, must look again."""
        adding = self.tree.add(b"/q", b"late")
        self.answer()
        self.put(b"/q/00000000000000000002")
        self.answer()
        self.transport.asked()
        self.clock.advance(0.005)
        self.assertEqual(self.done(adding).key, b"/q/00000000000000000003")

    def test_atomic_update(self) -> None:
        self.store.leases = {7: 30}
        self.put(b"/n", lease=7)

        async def slow(value: bytes) -> bytes:
            return value + b"!"

        node = self.done(self.tree.atomic_update(b"/n", slow))
        self.assertEqual((node.value, node.created_index, node.index, node.ttl), (b"n!", 2, 3, 30))
        self.assertEqual(node.previous, Node("get", b"/n", b"n", 2, 2, 30))
        self.assertEqual(self.store.kv(b"r/n").lease, 7)  # type: ignore[union-attr]
        self.failed(self.tree.atomic_update(b"/m", slow), NodeNotFound)
        self.failed(self.tree.atomic_update(b"/n", lambda value: 5), TypeError)  # type: ignore[arg-type, return-value]


class DeleteTests(TreeCase):
    def test_file(self) -> None:
        self.put(b"/a")
        gone = self.done(self.tree.delete(b"/a"))
        before = Node("get", b"/a", b"a", 2, 2)
        self.assertEqual(gone, Node("delete", b"/a", None, 2, 3, is_deleted=True, previous=before))
        self.failed(self.tree.delete(b"/a"), NodeNotFound)

    def test_directory(self) -> None:
        self.done(self.tree.make_directory(b"/d"))
        self.put(b"/d/x")
        self.failed(self.tree.delete(b"/d"), DirectoryNotEmpty, "b'/d' is a directory, and not empty")
        self.done(self.tree.delete(b"/d/x"))
        gone = self.done(self.tree.delete(b"/d"))
        self.assertEqual((gone.is_directory, gone.is_deleted, gone.created_index), (True, True, 2))

    def test_recursively(self) -> None:
        self.put(b"/d/x", b"/d/y/z", b"/d0")
        gone = self.done(self.tree.delete(b"/d", recursive=True))
        self.assertEqual(gone, Node("delete", b"/d", None, 0, 5, None, True, True))
        self.failed(self.tree.delete(b"/d", recursive=True), NodeNotFound)
        self.assertEqual(self.done(self.tree.delete(b"/d0", recursive=True)).value, None)
        self.assertTrue(self.done(self.tree.delete(b"/", recursive=True)).is_directory)

    def test_test_and_delete(self) -> None:
        self.put(b"/a", b"/d/x")
        self.failed(self.tree.test_and_delete(b"/a", b"b"), PreconditionFailed)
        self.failed(self.tree.test_and_delete(b"/b", b"b"), NodeNotFound)
        self.failed(self.tree.test_and_delete(b"/d", b"b"), NotFile)
        self.assertTrue(self.done(self.tree.test_and_delete(b"/a", b"a", previous_index=2)).is_deleted)


class WatchCase(TreeCase):
    """What happens is told."""

    def event(self, type: str, key: bytes, revision: int, lease: int = 0) -> WatchResponse:
        previous = KeyValue(key, b"before", 1, 2, 2)
        kv = KeyValue(key, b"now", 2, 2, revision, lease) if type == "put" else KeyValue(key, mod_revision=revision)
        return WatchResponse(Header(revision=revision), events=[Event(type, kv, previous)])

    def say(self, *messages: WatchResponse) -> None:
        """On the stream that wants it."""
        for message in messages:
            for stream in self.transport.live:
                if all(event.key in stream.request.key for event in message.events):
                    stream.say(message)

    def started(self) -> None:
        self.say(WatchResponse(Header(revision=5), created=True))


class WaitTests(WatchCase):
    def begin(self, *arguments: Any, **options: Any) -> Deferred[Node]:
        waiting = self.tree.wait(*arguments, **options)
        self.run_out()
        self.started()
        return waiting

    def test_file(self) -> None:
        waiting = self.begin(b"/a", index=3)
        self.assertEqual([stream.request.key for stream in self.transport.live], [KeySet(b"r/a", b"r/a0")])
        self.assertEqual({stream.request.start_revision for stream in self.transport.live}, {3})
        self.say(self.event("put", b"r/a", 7))
        node = self.successResultOf(waiting)
        self.assertEqual(node, Node("set", b"/a", b"now", 2, 7, previous=Node("get", b"/a", b"before", 2, 2)))
        self.assertEqual(self.transport.live, [])

    def test_deleted(self) -> None:
        waiting, alone = self.begin(b"/d"), self.begin(b"/d", recursive=False)
        self.say(self.event("delete", b"r/d/x", 7))
        gone = self.successResultOf(waiting)
        self.assertEqual((gone.key, gone.is_deleted, gone.is_directory), (b"/d/x", True, False))
        self.say(self.event("delete", b"r/d/", 8))
        gone = self.successResultOf(alone)
        self.assertEqual((gone.key, gone.is_deleted, gone.is_directory), (b"/d", True, True))

    def test_hidden(self) -> None:
        waiting = self.begin(b"/d")
        self.say(self.event("put", b"r/d/_h/x", 7), self.event("put", b"r/d/x/_h", 8))
        self.assert_pending(waiting)
        self.say(self.event("put", b"r/d/x/h", 9))
        self.assertEqual(self.successResultOf(waiting).key, b"/d/x/h")

    def test_time_to_live_in_an_outage(self) -> None:
        """What has happened is told when it can be told."""
        self.store.leases = {7: 30}
        waiting = self.begin(b"/a")
        self.say(self.event("put", b"r/a", 7, lease=7))
        self.transport.next(LEASE_TIME_TO_LIVE).reply(Unavailable(None, "nobody there"))
        self.assert_pending(waiting)
        self.clock.advance(ASK_AGAIN)
        self.assertEqual(self.done(waiting).ttl, 30)

    def test_closed(self) -> None:
        waiting = self.begin(b"/a")
        self.client.close()
        self.failureResultOf(waiting, Closed)

    def test_cancelled(self) -> None:
        waiting = self.begin(b"/")
        self.cancelled(waiting)
        self.assertEqual(self.transport.live, [])


class FollowTests(WatchCase):
    """Every change, and how far one is."""

    def follow(self, path: bytes = b"/d", recursive: bool = True, index: Optional[int] = 6) -> TreeChanges:
        changes = self.tree.follow(path, recursive, index=index)
        self.started()
        return changes

    def deleted(self, revision: int, *keys: bytes) -> WatchResponse:
        """At once."""
        events = [Event("delete", KeyValue(key, mod_revision=revision), KeyValue(key, b"", 1, 2, 2)) for key in keys]
        return WatchResponse(Header(revision=revision), events=events)

    def test_several_of_one_revision(self) -> None:
        changes = self.follow()
        self.assertEqual(changes.revision, 5)
        self.say(self.deleted(7, b"r/d/x", b"r/d/_h", b"r/d/y"))
        self.say(self.event("put", b"r/d/x", 8))
        seen = [self.successResultOf(changes.next()) for _ in range(2)]
        self.assertEqual([(node.key, node.is_deleted, node.revision) for node in seen], [
            (b"/d/x", True, 7), (b"/d/y", True, 7),
        ])  # fmt: skip
        self.assertEqual([node.previous.revision for node in seen if node.previous], [6, 6])
        node = self.successResultOf(changes.next())
        self.assertEqual((node.key, node.value, node.revision), (b"/d/x", b"now", 8))
        self.assert_pending(waiting := changes.next())
        self.say(self.event("put", b"r/d/z", 9))
        self.assertEqual(self.successResultOf(waiting).key, b"/d/z")
        changes.stop()

    def test_revision(self) -> None:
        """Where to go on: some may come again, and none is missed."""
        changes = self.follow(index=None)
        self.assertEqual(changes.revision, 5)
        self.say(self.deleted(7, b"r/d/x", b"r/d/y"))
        revisions = []
        for _ in range(2):
            self.successResultOf(changes.next())
            revisions.append(changes.revision)
        self.assertEqual(revisions, [6, 7])
        self.say(self.event("put", b"r/d/z", 9, lease=7))
        waiting = changes.next()
        self.assertEqual(changes.revision, 8)
        changes.stop()
        self.failureResultOf(waiting, Closed)
        self.assertEqual(changes.revision, 8)

    def test_what_is_followed(self) -> None:
        """One range, so that the order is certain; what is in it and is not meant is left out."""
        cases = [
            (b"/d", True, KeySet(b"r/d", b"r/d0"), [b"/d", b"/d", b"/d/x"]),
            (b"/d", False, KeySet(b"r/d", b"r/d/\x00"), [b"/d", b"/d"]),
            (b"/", True, KeySet(b"r/", b"r0"), [b"/d", b"/d-", b"/d", b"/d/x"]),
            (b"/", False, KeySet(b"r/", b"r/\x00"), []),
            (b"/_h", True, KeySet(b"r/_h", b"r/_h0"), [b"/_h"]),
        ]
        keys = [b"r/d", b"r/d-", b"r/d/", b"r/d/_h", b"r/d/x", b"r/_h"]
        for path, is_deep, wanted, shown in cases:
            changes = self.follow(path, is_deep)
            (stream,) = self.transport.live
            request = stream.request
            self.assertEqual((request.key, request.start_revision, request.progress_notify), (wanted, 6, True))
            for revision, key in enumerate(keys, 7):
                self.say(self.event("put", key, revision))
            seen = [self.successResultOf(changes.next()).key for _ in shown]
            self.assertEqual(seen, shown)
            self.assert_pending(waiting := changes.next())
            changes.stop()
            self.failureResultOf(waiting, Closed)
            self.assertEqual(self.transport.live, [])

    def test_cancelled(self) -> None:
        """Nothing is lost, whatever it waits for; and who comes second has the second."""
        self.seconds = {7: 30}
        changes = self.follow()
        first, second, third = (changes.next() for _ in range(3))
        self.cancelled(second)
        self.cancelled(first)
        self.say(self.event("put", b"r/d/x", 7, lease=7), self.event("put", b"r/d/y", 8))
        asking = self.transport.next(LEASE_TIME_TO_LIVE)
        self.cancelled(third)
        self.assertTrue(asking.is_cancelled)
        again, after = changes.next(), changes.next()
        self.assertEqual((self.done(again).key, self.done(after).key), (b"/d/x", b"/d/y"))
        changes.stop()

    def test_loop(self) -> None:
        """It ends when it is stopped, and when the client is closed."""
        self.seconds = {7: 30}
        seen: list[bytes] = []

        async def loop(changes: TreeChanges) -> str:
            async with changes as entered:
                async for node in entered:
                    seen.append(node.key)
            return "over"

        def close(_: TreeChanges) -> None:
            self.client.close()

        for stop, lease in ((TreeChanges.stop, 0), (TreeChanges.stop, 7), (close, 7)):
            changes = self.tree.follow(b"/d")
            looping = Deferred.fromCoroutine(loop(changes))
            self.started()
            self.say(self.event("put", b"r/d/x", 7), self.event("put", b"r/d/y", 8, lease))
            stop(changes)
            self.assertEqual(self.successResultOf(looping), "over")
            self.transport.asked()
            self.assertEqual(self.transport.live, [])
        self.assertEqual(seen, [b"/d/x", b"/d/y", b"/d/x", b"/d/x"])

    def test_entered(self) -> None:
        """When the server watches; with an index at once."""
        changes = self.tree.follow(b"/d", index=3)
        self.assertIs(self.successResultOf(Deferred.fromCoroutine(changes.__aenter__())), changes)
        changes.stop()
        changes = self.tree.follow(b"/d")
        entering = Deferred.fromCoroutine(changes.__aenter__())
        self.assert_pending(entering)
        self.cancelled(entering)
        self.assertEqual(self.transport.live, [])

    def test_compacted(self) -> None:
        changes = self.follow(index=3)
        for stream in self.transport.live:
            stream.say(WatchResponse(Header(revision=9), canceled=True, compact_revision=8))
        for _ in range(2):
            self.failureResultOf(changes.next(), Compacted)
        self.assertIn("<TreeChanges STOPPED b'/d' revision=2>", repr(changes))
        changes.stop()


class RevisionTests(TreeCase):
    """Of which revision a node is told: to follow it from there."""

    def test_read(self) -> None:
        self.put(b"/d/x", b"/f", b"/other")
        node = self.done(self.tree.get(b"/d", recursive=True))
        self.assertEqual((node.revision, node.index, node.children[0].revision, node.children[0].index), (4, 0, 4, 2))
        self.assertEqual(self.done(self.tree.get(b"/f")).revision, 4)
        self.assertEqual(self.done(self.tree.get(b"/")).revision, 4)
        # it is no property of the node
        self.assertEqual(Node("get", b"/a", revision=1), Node("get", b"/a", revision=2))

    def test_write(self) -> None:
        writes: list[Callable[[], Deferred[Node]]] = [
            lambda: self.tree.set(b"/a", b"1"),
            lambda: self.tree.set(b"/a", b"2"),
            lambda: self.tree.atomic_update(b"/a", lambda value: value),
            lambda: self.tree.delete(b"/a"),
            lambda: self.tree.make_directory(b"/d"),
            lambda: self.tree.add(b"/q", b""),
            lambda: self.tree.delete(b"/q", recursive=True),
        ]
        for revision, write in enumerate(writes, 2):
            node = self.done(write())
            before = None if node.previous is None else node.previous.revision
            self.assertEqual((node.revision, node.index, before or revision - 1), (revision, revision, revision - 1))

    def test_nothing(self) -> None:
        self.put(b"/other")
        calls: list[Callable[[], Deferred[Any]]] = [
            lambda: self.tree.get(b"/a"),
            lambda: self.tree.delete(b"/a"),
            lambda: self.tree.delete(b"/a", recursive=True),
            lambda: self.tree.test_and_set(b"/a", b"", b""),
        ]
        for call in calls:
            self.assertEqual(self.failed(call(), NodeNotFound).revision, 2)


class InputTests(TreeCase):
    def test_paths(self) -> None:
        for path in (b"/", b"/a", b"/a/b c/\xff"):
            self.assertEqual(check_path("path", path), path)
        for path in (b"a", b"/a/", b"//", b"/a//b", b"a/b"):
            error = self.assertRaises(ValueError, check_path, "path", path)
            self.assertEqual(str(error), f"path must be names with a single '/' before each, or just '/', not {path!r}")
        self.assertEqual(ancestors(b"/a/b/c"), [b"/a", b"/a/b"])
        self.assertEqual((ancestors(b"/a"), ancestors(b"/")), ([], []))

    def test_bad_input(self) -> None:
        tree: Any = self.tree
        cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
            (lambda: Tree(self.client, "r"), TypeError, "root must be bytes, not str"),  # type: ignore[arg-type]
            (lambda: Tree(self.client, b"r/"), ValueError, "root must not end with '/'"),
            (lambda: tree.get("/a"), TypeError, "path must be bytes, not str; encode it"),
            (lambda: tree.get(b""), ValueError, "path must not be empty"),
            (lambda: tree.get(b"/a/"), ValueError, "path must be names"),
            (lambda: tree.get(b"/a", 1), TypeError, "recursive must be bool, not int"),
            (lambda: tree.set(b"/", b""), ValueError, "path must not be the root, b'/'"),
            (lambda: tree.set(b"/a", 5), TypeError, "value must be bytes, not int"),
            (lambda: tree.set(b"/a", b"", 0), ValueError, "ttl must be between 1 and"),
            (lambda: tree.set(b"/a", b"", 1.5), TypeError, "ttl must be int, not float"),
            (lambda: tree.test_and_set(b"/a", b""), TypeError, "one of previous_value, previous_index and"),
            (lambda: tree.test_and_set(b"/a", b"", 5), TypeError, "previous_value must be bytes, not int"),
            (lambda: tree.test_and_set(b"/a", b"", previous_index=0), ValueError, "previous_index must be between 1"),
            (lambda: tree.test_and_set(b"/a", b"", previous_exists=1), TypeError, "previous_exists must be bool"),
            (lambda: tree.test_and_delete(b"/a"), TypeError, "one of previous_value"),
            (lambda: tree.add(b"/a", b"", 0), ValueError, "ttl must be between 1"),
            (lambda: tree.add(b"/a", None), TypeError, "value must be bytes"),
            (lambda: tree.atomic_update(b"/a", b"x"), TypeError, "change must be callable, not bytes"),
            (lambda: tree.atomic_update(b"/a", len, 0), ValueError, "attempts must be between 1"),
            (lambda: tree.delete(b"/"), ValueError, "path must not be the root"),
            (lambda: tree.make_directory(b"/"), ValueError, "path must not be the root"),
            (lambda: tree.wait(b"/a", timeout=-1), ValueError, "timeout must be a positive number of seconds"),
            (lambda: tree.wait(b"/a", index=-1), ValueError, "index must be between 0"),
            (lambda: tree.follow("/a"), TypeError, "path must be bytes, not str"),
            (lambda: tree.follow(b"/a", index=-1), ValueError, "index must be between 0"),
            (lambda: tree.follow(b"/a", 1), TypeError, "recursive must be bool, not int"),
        ]
        for call, kind, text in cases:
            error = self.assertRaises(kind, call)
            self.assertTrue(str(error).startswith(text), str(error))
        self.transport.asked()

    def test_repr(self) -> None:
        self.assertEqual(repr(self.tree), "<Tree b'r'>")
        node = Node("set", b"/a/_b", b"12345", 2, 3, 60)
        self.assertEqual(repr(node), "<Node [set] b'/a/_b' HIDDEN value=<5 bytes> CI=2 MI=3 TTL=60>")
        directory = Node("get", b"/d", is_directory=True, children=(node,))
        self.assertEqual(repr(directory), "<Node [get] b'/d' DIRECTORY children=1 CI=0 MI=0 TTL=None>")
        gone = Node("delete", b"/a", None, 2, 3, is_deleted=True)
        self.assertEqual(repr(gone), "<Node [delete] b'/a' DELETED CI=2 MI=3 TTL=None>")

    def test_machines_and_leader(self) -> None:
        members = [Member(1, "a", ["http://a:2380"], ["http://a:2379"]), Member(2, "b", ["http://b:2380"])]
        asking = self.tree.machines()
        self.transport.next(MEMBER_LIST).reply(MemberListResponse(Header(), members))
        self.assertEqual(self.successResultOf(asking), ["http://a:2379"])


NAMES = st.sampled_from([b"a", b"b", b"a-", b"a0", b"_h"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: b"/" + b"/".join(names))


class ListingProperties(SynchronousTestCase):
    """A listing is what it should be, whatever the pages."""

    @given(st.sets(PATHS, max_size=8), st.integers(1, 4), st.booleans())
    @PROPERTY
    def test_pages(self, paths: set[bytes], size: int, is_deep: bool) -> None:
        kvs = [KeyValue(b"r" + path, path, 1, 2, 2) for path in sorted(paths)]
        read: list[KeyValue] = []
        rest: Optional[KeySet] = KeySet(b"r/", prefix=True)
        while rest is not None:
            found = [kv for kv in kvs if kv.key in rest]
            read += found[:size]
            rest = rest_of(b"r/", read[-1].key, is_deep) if len(found) > size else None
        whole = directory_node(b"/", b"r/", kvs, {}, 9, is_deep)
        self.assertEqual(directory_node(b"/", b"r/", read, {}, 9, is_deep), whole)
        shown = {child.key for child in whole if not child.is_directory}
        self.assertEqual(shown, {path for path in paths if path.count(b"/") == 1 and not is_hidden(path)})
        if is_deep:
            self.assertEqual(set(leaves(whole)), {path for path in paths if not is_hidden(path)})
        self.assertEqual(attrs.evolve(whole, children=()), Node("get", b"/", is_directory=True))


def leaves(node: Node) -> list[bytes]:
    """The paths of the files in it."""
    return [leaf for child in node for leaf in leaves(child)] if node.is_directory else [node.key]
