"""
A tree: files and directories, as etcd had them before its version 3.
"""

from __future__ import annotations

import random
from collections.abc import Coroutine, Iterable
from itertools import count
from typing import Any, Callable, Optional, Union

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from .._backoff import Backoff
from .._check import check_bytes, check_flag, check_int, check_optional_int, check_seconds, what_came
from .._context import within
from ..errors import (
    DirectoryNotEmpty,
    Error,
    NodeNotFound,
    NotDirectory,
    NotFile,
    PreconditionFailed,
)
from ..keyset import KeySet
from ..lease import Lease, check_time_to_live
from ..ops import Comp, CompCreated, CompModified, CompValue, Op, OpDel, OpGet, OpSet, OpTxn, Transaction
from ..values import Deleted, Header, KeyValue, Member, Outcome, Range, Revision
from ._etcd import Etcd
from ._lifetimes import times_to_live
from ._once import read
from ._tree import (
    SLASH,
    Node,
    TimesToLive,
    ancestors,
    check_node_path,
    check_path,
    deleted_node,
    directory_node,
    file_node,
    inside,
    previous_node,
    rest_of,
)
from ._treechanges import TreeChanges
from .stm import ATTEMPTS, STM, committed

PAGE = 1000
"""Keys that are read at a time."""

Change = Callable[[bytes], Union[bytes, Deferred[bytes], Coroutine[Any, Any, bytes]]]

_backoff = Backoff(0.005, 1.0)


class Tree:
    """
    Files and directories in etcd: what its version 2 was, on top of version 3, with what the Python clients of that
    time made of it.

    A path is ``b"/"``, or names with a slash before each: ``b"/config/colour"``. A file has a value. A directory is
    there as long as anything is in it, or because it was made (:meth:`make_directory`). No node is both: what would
    make it so is refused. A node whose name begins with ``_`` is hidden: it is left out of listings, and not waited for
    with the directory it is in.

    * What each call writes, it writes as a whole, if it is as it must be, or not at all. What it reads is from one
      revision.
    * A file with a *ttl* stands on a lease of its own, which etcd ends not before that time has passed, and up to a
      second later; more if its leader changes meanwhile. A file that is set without one does not expire any more.
    * All writers of the keys must go by a tree. What else writes them may put a value where a directory is; both are
      shown then.
    * An index is a revision of the store. A file that has expired was deleted, and nothing says that it has expired.

    A read, or a write, costs one call, and one more for each lease on which what it shows stands; a directory one more
    for each 1000 keys. With a *ttl* a write costs one more. :meth:`add` costs two, :meth:`atomic_update` as many.

    Each call fails as those of :class:`~txetcd.Client` do, and cancelling is told there. If a write fails with
    ``maybe_applied``, look what has come of it; a lease of it ends with its *ttl*.

    :param etcd: the :class:`txetcd.Client`.
    :param root: what comes before the paths in the keys (``bytes``): with ``b"mine"``, the key of ``b"/a"`` is
        ``b"mine/a"``. By default, nothing.
    """

    def __init__(self, etcd: Etcd, root: bytes = b"") -> None:
        self._etcd = etcd
        self.root = check_bytes("root", root)
        if root.endswith(SLASH):
            raise ValueError(f"root must not end with '/', which every path begins with: {root!r}")

    def __repr__(self) -> str:
        return f"<Tree {self.root!r}>"

    # --- read

    def get(self, path: bytes, recursive: bool = False) -> Deferred[Node]:
        """
        Reads a node.

        :param path: the path (``bytes``).
        :param recursive: of a directory, also what is in the directories in it.
        :returns: a Deferred that fires with a :class:`~txetcd.Node`; its ``children`` are what is in a
            directory. It fails with :class:`~txetcd.errors.NodeNotFound`, which is a ``KeyError``; or with
            :class:`~txetcd.Compacted` if the revision is compacted away while a large directory is read.
        """
        check_path("path", path)
        return Deferred.fromCoroutine(self._get(path, check_flag("recursive", recursive)))

    def children(self, path: bytes = SLASH, recursive: bool = False) -> Deferred[tuple[Node, ...]]:
        """
        Lists a directory, and only that.

        :param path: the path (``bytes``).
        :param recursive: also what is in the directories in it.
        :returns: a Deferred that fires with what is in it (``tuple`` of :class:`~txetcd.Node`), by the
            names. It fails with :class:`~txetcd.errors.NotDirectory` if it is a file, or as :meth:`get`.
        """
        return self.get(path, recursive).addCallback(self._children)

    def _children(self, node: Node) -> tuple[Node, ...]:
        if not node.is_directory:
            raise NotDirectory(None, f"{node.key!r} is a file, and cannot be listed")
        return node.children

    async def _get(self, path: bytes, is_deep: bool) -> Node:
        revision, kv, kvs = await self._read(path, is_deep)
        prefix = self._inside(path)
        if path != SLASH:
            if kv is not None:
                return file_node("get", path, kv, await times_to_live(self._etcd, [kv]), revision)
            if not kvs:
                raise _no_node(path, revision)
        shown = [kv for kv in kvs if is_deep or SLASH not in kv.key[len(prefix) :]]
        return directory_node(path, prefix, kvs, await times_to_live(self._etcd, shown), revision, is_deep)

    async def _read(self, path: bytes, is_deep: bool) -> tuple[int, Optional[KeyValue], list[KeyValue]]:
        """The revision, the key of a file, and those in a directory."""
        prefix = self._inside(path)
        ops = [OpGet(self._key(path)), OpGet(KeySet(prefix, prefix=True), limit=PAGE)]
        outcome = await read(self._etcd, ops)
        own, page = outcome.responses
        kvs = _found(page)
        while isinstance(page, Range) and page.more:
            rest = rest_of(prefix, kvs[-1].key, is_deep)
            page = await self._etcd.get(rest, limit=PAGE, revision=outcome.header.revision)
            kvs.extend(page.kvs)
        return outcome.header.revision, next(iter(_found(own)), None), kvs

    # --- write

    def set(self, path: bytes, value: bytes, ttl: Optional[int] = None) -> Deferred[Node]:
        """
        Writes a file, whether or not it is there.

        :param path: the path (``bytes``).
        :param value: the value (``bytes``).
        :param ttl: seconds until it is deleted (``int``), or ``None``. The server raises what is too short for it.
        :returns: a Deferred that fires with the :class:`~txetcd.Node`. It fails with
            :class:`~txetcd.errors.NotFile` if it is a directory, and :class:`~txetcd.errors.NotDirectory` if it would
            be in a file.
        """
        return self._writing(path, value, ttl, [])

    def test_and_set(
        self,
        path: bytes,
        value: bytes,
        previous_value: Optional[bytes] = None,
        ttl: Optional[int] = None,
        *,
        previous_index: Optional[int] = None,
        previous_exists: Optional[bool] = None,
    ) -> Deferred[Node]:
        """
        Writes a file if it is as it is expected to be.

        :param path: the path (``bytes``).
        :param value: the value (``bytes``).
        :param previous_value: the value that it must have (``bytes``).
        :param ttl: as of :meth:`set`.
        :param previous_index: the ``modified_index`` that it must have (``int``).
        :param previous_exists: whether it must be there (``bool``).
        :returns: a Deferred that fires with the :class:`~txetcd.Node`. It fails with
            :class:`~txetcd.errors.PreconditionFailed`, which is a ``ValueError``, and whose ``current`` tells what it
            is; with :class:`~txetcd.errors.NodeNotFound`, a ``KeyError``, if it is not there; or as :meth:`set`.
        """
        comps = self._expectations(path, previous_value, previous_index, previous_exists)
        return self._writing(path, value, ttl, comps)

    def _expectations(
        self, path: bytes, value: Optional[bytes], index: Optional[int], exists: Optional[bool]
    ) -> list[Comp]:
        key = self._key(check_node_path("path", path))
        comps: list[Comp] = []
        if value is not None:
            comps.append(CompValue(key, "==", check_bytes("previous_value", value)))
        if index is not None:
            comps.append(CompModified(key, "==", check_int("previous_index", index, minimum=1)))
        if exists is not None:
            comps.append(CompCreated(key, ">" if check_flag("previous_exists", exists) else "==", 0))
        if not comps:
            raise TypeError("one of previous_value, previous_index and previous_exists must be given")
        return comps

    def _writing(self, path: bytes, value: bytes, ttl: Optional[int], comps: list[Comp]) -> Deferred[Node]:
        check_node_path("path", path)
        check_bytes("value", value)
        if ttl is not None:
            check_time_to_live("ttl", ttl)
        return Deferred.fromCoroutine(self._write(path, value, ttl, comps))

    async def _write(self, path: bytes, value: bytes, ttl: Optional[int], comps: list[Comp]) -> Node:
        lease = await self._lease(ttl)
        op = OpSet(self._key(path), value, lease, return_previous=True)
        outcome = await self._carry_out(self._changing(path, op, comps), lease)
        if not outcome.succeeded:
            raise self._refusal(path, outcome)
        return self._written(path, value, outcome, lease)

    async def _lease(self, ttl: Optional[int]) -> Optional[Lease]:
        return None if ttl is None else await self._etcd.lease(ttl, keep_alive=False)

    async def _carry_out(self, txn: Transaction, lease: Optional[Lease]) -> Outcome:
        """A transaction; the lease does not outlive it if nothing was attached to it, certainly."""
        try:
            outcome = await self._etcd.transact(txn)
        except Error as error:
            if not error.maybe_applied:
                await _revoke(lease)
            raise
        if not outcome.succeeded:
            await _revoke(lease)
        return outcome

    def _changing(self, path: bytes, op: Op, comps: Iterable[Comp]) -> Transaction:
        """Does it if what is expected holds, and the node is no directory, and is in no file; else tells what is."""
        within_it = KeySet(self._inside(path), prefix=True)
        above = [self._key(one) for one in ancestors(path)]
        apart = [CompCreated(within_it, "==", 0), *(CompCreated(key, "==", 0) for key in above)]
        look = [OpGet(self._key(path)), OpGet(within_it, keys_only=True, limit=1), *map(OpGet, above)]
        return Transaction([*comps, *apart], [op], look)

    def _refusal(self, path: bytes, outcome: Outcome) -> Error:
        own, within_it, *above = map(_found, outcome.responses)
        for one, kvs in zip(ancestors(path), above):
            if kvs:
                return NotDirectory(None, f"{one!r} is a file, and {path!r} cannot be in it")
        if within_it:
            return NotFile(None, f"{path!r} is a directory")
        if not own:
            return _no_node(path, outcome.header.revision)
        return PreconditionFailed(outcome.header, outcome.responses, f"{path!r} is not as it was expected", own[0])

    def _written(self, path: bytes, value: bytes, outcome: Outcome, lease: Optional[Lease]) -> Node:
        (answer,) = outcome.responses
        before = answer.previous if isinstance(answer, Revision) else None
        revision = outcome.header.revision
        previous = previous_node(path, before, revision)
        created = revision if before is None else before.create_revision
        ttl = None if lease is None else lease.time_to_live
        return Node("set", path, value, created, revision, ttl, previous=previous, revision=revision)

    def make_directory(self, path: bytes) -> Deferred[Node]:
        """
        Makes a directory, which stays when nothing is in it any more. Nobody has to: what is written makes the
        directories that it is in.

        :param path: the path (``bytes``).
        :returns: a Deferred that fires with the :class:`~txetcd.Node`. It fails with
            :class:`~txetcd.errors.NotFile` if it is a directory already,
            :class:`~txetcd.errors.PreconditionFailed` if it is a file, and :class:`~txetcd.errors.NotDirectory` if it
            would be in a file.
        """
        check_node_path("path", path)
        return Deferred.fromCoroutine(self._make_directory(path))

    async def _make_directory(self, path: bytes) -> Node:
        op = OpSet(self._inside(path), b"")
        is_no_file = CompCreated(self._key(path), "==", 0)
        outcome = await self._etcd.transact(self._changing(path, op, [is_no_file]))
        if not outcome.succeeded:
            raise self._refusal(path, outcome)
        revision = outcome.header.revision
        return Node("set", path, None, revision, revision, is_directory=True, revision=revision)

    def add(self, path: bytes, value: bytes, ttl: Optional[int] = None) -> Deferred[Node]:
        """
        Writes a new file into a directory, under a name that comes behind those of all files that were added before and
        are there: 20 digits, which do not come twice, unless a file was added and deleted while this is under way.

        :param path: the path of the directory (``bytes``), which need not be there.
        :param value: the value (``bytes``).
        :param ttl: as of :meth:`set`.
        :returns: a Deferred that fires with the :class:`~txetcd.Node`; its ``key`` has the name. It fails
            with :class:`~txetcd.errors.NotDirectory` if the directory is a file, or would be in one.
        """
        check_path("path", path)
        check_bytes("value", value)
        if ttl is not None:
            check_time_to_live("ttl", ttl)
        return Deferred.fromCoroutine(self._add(path, value, ttl))

    async def _add(self, path: bytes, value: bytes, ttl: Optional[int]) -> Node:
        lease = await self._lease(ttl)
        try:
            return await self._added(path, value, lease)
        except Error as error:
            if not error.maybe_applied:
                await _revoke(lease)
            raise

    async def _added(self, path: bytes, value: bytes, lease: Optional[Lease]) -> Node:
        revision = (await self._etcd.get(self._inside(path), keys_only=True)).header.revision
        for failures in count(1):
            node = inside(path) + b"%020d" % (revision + 1)
            outcome = await self._etcd.transact(self._adding(node, value, lease, revision))
            if outcome.succeeded:
                return self._written(node, value, outcome, lease)
            self._check_above(node, outcome)
            # somebody else has added something meanwhile
            await deferLater(self._etcd.reactor, (_backoff(failures) or 0.0) * random.random())
            revision = outcome.header.revision
        raise AssertionError("unreachable")

    def _adding(self, node: bytes, value: bytes, lease: Optional[Lease], revision: int) -> Transaction:
        """Writes it, if nothing behind it that is there was added since that revision, nor itself."""
        key = self._key(node)
        above = [self._key(one) for one in ancestors(node)]
        behind = KeySet(key, self._key(node.rpartition(SLASH)[0]) + b"/1")
        comps = [CompCreated(key, "==", 0), CompCreated(behind, "<", revision + 1)]
        comps += [CompCreated(one, "==", 0) for one in above]
        return Transaction(comps, [OpSet(key, value, lease, return_previous=True)], list(map(OpGet, above)))

    def _check_above(self, node: bytes, outcome: Outcome) -> None:
        for one, answer in zip(ancestors(node), outcome.responses):
            if _found(answer):
                raise NotDirectory(None, f"{one!r} is a file, and nothing can be in it")

    def atomic_update(self, path: bytes, change: Change, attempts: int = ATTEMPTS) -> Deferred[Node]:
        """
        Makes another value out of that of a file, without anybody's change being lost. A *ttl* that it has goes on.

        :param path: the path (``bytes``).
        :param change: called with the value, makes another (``bytes``); it may return a Deferred, or be a coroutine
            function. It is called again when somebody else has changed the file meanwhile.
        :param attempts: how often it is called at the most (``int``).
        :returns: a Deferred that fires with the :class:`~txetcd.Node`. It fails with
            :class:`~txetcd.errors.NodeNotFound` if there is no such file, with what *change* raises, with
            :class:`~txetcd.Failed` if it was always too late, or with :class:`~txetcd.OutcomeUnknown`: see
            :meth:`Client.atomically <txetcd.Client.atomically>`, which it is made with.
        """
        check_node_path("path", path)
        if not callable(change):
            raise TypeError(f"change must be callable, not {what_came(change)}")
        check_int("attempts", attempts, minimum=1)
        return Deferred.fromCoroutine(self._update(path, change, attempts))

    async def _update(self, path: bytes, change: Change, attempts: int) -> Node:
        key = self._key(path)

        async def update(stm: STM) -> tuple[bytes, KeyValue, TimesToLive]:
            kv = await stm.stored(key)
            if kv is None:
                raise NodeNotFound(None, f"there is no file {path!r}")
            ttls = await times_to_live(self._etcd, [kv])
            value = change(kv.value)
            if isinstance(value, (Deferred, Coroutine)):
                value = await value
            stm.set(key, value, kv.lease)
            return value, kv, ttls

        changing: Deferred[tuple[tuple[bytes, KeyValue, TimesToLive], Header]] = committed(
            self._etcd, update, attempts=attempts
        )
        (value, kv, ttls), header = await changing
        revision = header.revision
        previous = file_node("get", path, kv, ttls, revision - 1)
        created = previous.created_index
        return Node("set", path, value, created, revision, previous.ttl, previous=previous, revision=revision)

    # --- delete

    def delete(self, path: bytes, recursive: bool = False) -> Deferred[Node]:
        """
        Deletes a node.

        :param path: the path (``bytes``).
        :param recursive: if it is a directory, with all that is in it, hidden or not; else it must be empty.
        :returns: a Deferred that fires with a :class:`~txetcd.Node` that is deleted; its ``previous`` is
            what it was, without the children. It fails with :class:`~txetcd.errors.NodeNotFound`, a ``KeyError``, or
            :class:`~txetcd.errors.DirectoryNotEmpty`.
        """
        if check_flag("recursive", recursive):
            check_path("path", path)
            return self._etcd.transact(self._clearing(path)).addCallback(self._cleared, path)
        check_node_path("path", path)
        return self._etcd.transact(self._deleting(path)).addCallback(self._deleted, path)

    def test_and_delete(
        self, path: bytes, previous_value: Optional[bytes] = None, *, previous_index: Optional[int] = None
    ) -> Deferred[Node]:
        """
        Deletes a file if it is as it is expected to be.

        :param path: the path (``bytes``).
        :param previous_value: the value that it must have (``bytes``).
        :param previous_index: the ``modified_index`` that it must have (``int``).
        :returns: a Deferred as of :meth:`delete`. It fails with :class:`~txetcd.errors.PreconditionFailed`, which is a
            ``ValueError``; :class:`~txetcd.errors.NodeNotFound`, a ``KeyError``; or :class:`~txetcd.errors.NotFile`.
        """
        comps = self._expectations(path, previous_value, previous_index, None)
        txn = self._changing(path, OpDel(self._key(path), return_previous=True), comps)
        return self._etcd.transact(txn).addCallback(self._deleted_as_expected, path)

    def _deleted_as_expected(self, outcome: Outcome, path: bytes) -> Node:
        if not outcome.succeeded:
            raise self._refusal(path, outcome)
        return self._gone(path, outcome.responses[0], outcome.header)

    def _deleting(self, path: bytes) -> Transaction:
        """A file; or else a directory that was made, if it is empty."""
        key, made = self._key(path), self._inside(path)
        rest = KeySet(made, prefix=True)
        is_empty = CompCreated(KeySet(made + b"\x00", rest.end), "==", 0)
        directory = Transaction(
            [CompCreated(made, ">", 0), is_empty],
            [OpDel(made, return_previous=True)],
            [OpGet(rest, keys_only=True, limit=1)],
        )
        file = OpDel(key, return_previous=True)
        return Transaction([CompCreated(key, ">", 0)], [file], [OpTxn(directory)])

    def _deleted(self, outcome: Outcome, path: bytes) -> Node:
        (answer,) = outcome.responses
        if isinstance(answer, Outcome):
            if not answer.succeeded:
                if _found(answer.responses[0]):
                    raise DirectoryNotEmpty(None, f"{path!r} is a directory, and not empty")
                raise _no_node(path, outcome.header.revision)
            (answer,) = answer.responses
        return self._gone(path, answer, outcome.header)

    def _gone(self, path: bytes, answer: object, header: Header) -> Node:
        before = answer.previous if isinstance(answer, Deleted) else []
        previous = previous_node(path, next(iter(before), None), header.revision)
        return deleted_node(path, header.revision, previous)

    def _clearing(self, path: bytes) -> Transaction:
        everything = OpDel(KeySet(self._inside(path), prefix=True))
        return Transaction([], [everything, OpDel(self._key(path), return_previous=True)])

    def _cleared(self, outcome: Outcome, path: bytes) -> Node:
        inner, own = outcome.responses
        counts = [answer.deleted for answer in (inner, own) if isinstance(answer, Deleted)]
        if not any(counts) and path != SLASH:
            raise _no_node(path, outcome.header.revision)
        node = self._gone(path, own, outcome.header)
        return node if node.previous else deleted_node(path, outcome.header.revision, None, is_directory=True)

    # --- wait

    def wait(
        self, path: bytes, recursive: bool = True, timeout: Optional[float] = None, *, index: Optional[int] = None
    ) -> Deferred[Node]:
        """
        Waits for one change of a node, which need not be there. An outage is waited out.

        That is what version 2 had. There each change had an index of its own; here, what is written at once has one
        revision, and this tells only the first change of it. So a loop of these, each from the *index* behind the last
        one, misses the others: as all but the first node of a recursive deletion. Use :meth:`follow` to miss nothing.

        :param path: the path (``bytes``).
        :param recursive: also of all that is in it, if it is a directory; but of what is hidden in there.
        :param timeout: seconds, or ``None`` to wait as long as it takes.
        :param index: look for the first change from this revision on (``int``), as ``node.revision + 1``; by default,
            for one after the server has begun to watch, which takes a moment.
        :returns: a Deferred that fires with the :class:`~txetcd.Node`, which may be one in the directory.
            Its ``action`` is ``"set"`` or ``"delete"``, also if it has expired. It fails with :class:`~txetcd.Timeout`;
            with :class:`~txetcd.Compacted` if nobody can tell any more what was at the *index*: then look what there
            is. Cancelling it ends the watch as well.
        """
        check_path("path", path)
        check_optional_int("index", index)
        check_seconds("timeout", timeout)
        waiting = Deferred.fromCoroutine(self._wait(path, check_flag("recursive", recursive), index))
        return within(waiting, self._etcd, timeout, f"{path!r} was not changed")

    async def _wait(self, path: bytes, is_deep: bool, index: Optional[int]) -> Node:
        # without an index, the keys that are there at the beginning are known, and so which of them are gone
        on_compacted = "resync" if index is None else "raise"
        changes = TreeChanges(self._etcd, self.root, path, is_deep, index, on_compacted)
        try:
            return await changes.next()
        finally:
            changes.stop()

    def follow(self, path: bytes, recursive: bool = True, *, index: Optional[int] = None) -> TreeChanges:
        """
        Follows a node, which need not be there: every change is told, also several of one revision.

        To know what there is and then whatever becomes of it, read first, and follow from there::

            config = await tree.get(b"/config", recursive=True)
            async with tree.follow(b"/config", index=config.revision + 1) as changes:
                async for node in changes:
                    ...

        If there is no such node, the :class:`~txetcd.errors.NodeNotFound` has the ``revision``.

        :param path: the path (``bytes``).
        :param recursive: also all that is in it, if it is a directory; but not what is hidden in there.
        :param index: tell the changes from this revision on (``int``); by default, those after the server has begun to
            watch, which takes a moment.
        :returns: a :class:`~txetcd.TreeChanges`, which is just being set up, and has to be stopped. As
            ``async with tree.follow(...) as changes:`` it is stopped when the block is left; without an *index*, the
            block is entered when the server watches.
        """
        check_path("path", path)
        check_optional_int("index", index)
        return TreeChanges(self._etcd, self.root, path, check_flag("recursive", recursive), index, "raise")

    # --- who serves it

    def machines(self) -> Deferred[list[str]]:
        """
        Asks where the cluster can be reached.

        :returns: a Deferred that fires with the URLs that its members advertise to clients (``list`` of ``str``).
        """
        return self._etcd.cluster.members().addCallback(_client_urls)

    def leader(self) -> Deferred[str]:
        """
        Asks which member leads.

        :returns: a Deferred that fires with the URL where the other members reach it (``str``). It fails with
            :class:`~txetcd.errors.NoLeader` if none leads.
        """
        return self._etcd.cluster.leader().addCallback(_peer_url)

    # --- within

    def _key(self, path: bytes) -> bytes:
        return self.root + path

    def _inside(self, path: bytes) -> bytes:
        return self.root + inside(path)


def _no_node(path: bytes, revision: int) -> NodeNotFound:
    error = NodeNotFound(None, f"there is no {path!r}")
    error.revision = revision
    return error


async def _revoke(lease: Optional[Lease]) -> None:
    """Whatever comes of it: it is tried again behind one's back, and the lease ends by itself."""
    if lease is not None:
        try:
            await lease.revoke()
        except Error:
            pass


def _found(answer: object) -> list[KeyValue]:
    return answer.kvs if isinstance(answer, Range) else []


def _client_urls(members: Iterable[Member]) -> list[str]:
    return [url for member in members for url in member.client_urls]


def _peer_url(member: Member) -> str:
    return member.peer_urls[0]
