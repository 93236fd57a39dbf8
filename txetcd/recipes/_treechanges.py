"""
What changes in a tree, one after the other.
"""

from __future__ import annotations

from typing import Optional

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed

from ..errors import Closed
from ..keyset import KeySet
from ..values import Event
from ._etcd import Etcd
from ._lifetimes import times_to_live_in_the_end
from ._tree import NEXT, SLASH, Node, TimesToLive, deleted_node, file_node, inside, is_hidden, previous_node


class TreeChanges:
    """
    The changes of a node of a :class:`~txetcd.Tree`, and of what is in it, as they are asked for:
    ``async for node in tree.follow(b"/config")``. Where there is no ``async``: ``node = yield changes.next()``.

    * Every change from the beginning on is told once, as a :class:`~txetcd.Node`, in the order in which they happened;
      also each of several that have one revision, as those of a recursive deletion. Only what is hidden in a directory
      is left out.
    * An outage is waited out, however long it takes; nothing is skipped, and nothing comes twice.
    * If changes that were not told yet cannot be told any more, it fails, and does not skip them:
      :class:`~txetcd.Compacted` if they were compacted away, :class:`~txetcd.errors.RevisionLost` if the cluster has
      gone back to a backup. Both are :class:`~txetcd.errors.RevisionError`. What to do then is to read again what
      there is, and to follow that. It also fails where a watch does, as with :class:`~txetcd.PermissionDenied`.

    It costs a watch. Each change of a file with a *ttl* costs a call, which asks what of that is left. etcd is asked
    for one range of keys, so that the order is certain: one that begins with the key of the node, and ends behind the
    directory. What has a name in between, as ``b"/config-old"`` has between ``b"/config"`` and ``b"/config/"``, is sent
    and dropped; and who follows must be allowed to read it.

    Made by :meth:`Tree.follow <txetcd.Tree.follow>`; :meth:`stop` it when it is no longer needed, or use it as
    ``async with``.
    """

    def __init__(
        self, etcd: Etcd, root: bytes, path: bytes, is_deep: bool, index: Optional[int], on_compacted: str
    ) -> None:
        self._etcd = etcd
        self._root = root
        self._path = path
        self._own = root + path
        self._inside = root + inside(path)
        self._is_deep = is_deep
        self._index = index
        self._watch = etcd.watcher(
            self._range(), start_revision=index, return_previous=True, progress_notify=True, on_compacted=on_compacted
        )
        # what was taken from the watch, and not yet handed over
        self._event: Optional[Event] = None
        self._asking: Optional[Deferred[TimesToLive]] = None
        self._turns = DeferredLock()
        self._is_stopped = False

    @property
    def revision(self) -> Optional[int]:
        """
        Every change up to and including this revision has been told (``int``), and none behind it, but for some of the
        next one: so ``index=changes.revision + 1`` goes on from there, and tells these again. ``None`` as long as it is
        not known where it begins, as it has no *index*, and the server has not answered.
        """
        return self._watch.revision if self._event is None else self._event.mod_revision - 1

    def next(self) -> Deferred[Node]:
        """
        Waits for the next change.

        :returns: a Deferred that fires with the :class:`~txetcd.Node`; its ``action`` is ``"set"`` or ``"delete"``,
            also if it has expired. Who asks first is told first. It fails with :class:`~txetcd.Closed` after
            :meth:`stop`, or when the client was closed, and as above. Cancelling it ends the waiting; no change is lost
            by that.
        """
        return self._turns.run(lambda: Deferred.fromCoroutine(self._next()))

    def stop(self) -> Deferred[None]:
        """
        Ends it. What was not told is dropped; who waits for the next change is told by :class:`~txetcd.Closed`, or by
        the end of the loop.

        :returns: a Deferred that fires with ``None``.
        """
        self._is_stopped = True
        self._watch.stop()
        if self._asking is not None:
            self._asking.cancel()
        return succeed(None)

    def __aiter__(self) -> TreeChanges:
        """The changes themselves."""
        return self

    async def __anext__(self) -> Node:
        """
        The next :class:`~txetcd.Node`.

        :raises StopAsyncIteration: after :meth:`stop`, or when the client was closed.
        """
        try:
            return await self.next()
        except Closed:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> TreeChanges:
        """Waits until the server watches; with an *index* nobody has to, as nothing is missed before."""
        if self._index is None:
            try:
                await self._watch.when_started()
            except BaseException:
                self.stop()
                raise
        return self

    async def __aexit__(self, *reason: object) -> None:
        """Stops it."""
        self.stop()

    def __repr__(self) -> str:
        return f"<TreeChanges {self._watch.state.upper()} {self._path!r} revision={self.revision}>"

    # --- within

    def _range(self) -> KeySet:
        start = self._inside if self._path == SLASH else self._own
        return KeySet(start, self._inside[:-1] + NEXT if self._is_deep else self._inside + b"\x00")

    def _is_shown(self, key: bytes) -> bool:
        # the root has no key of its own
        is_inside = key.startswith(self._inside) and not is_hidden(key[len(self._inside) :])
        return is_inside or (key == self._own and self._path != SLASH)

    async def _next(self) -> Node:
        while True:
            if self._event is None:
                self._event = await self._taken()
            if self._is_shown(self._event.key):
                node = await self._node(self._event)
                self._event = None
                return node
            self._event = None

    async def _taken(self) -> Event:
        try:
            return await self._watch.__anext__()
        except StopAsyncIteration:
            raise self._closed() from None

    async def _node(self, event: Event) -> Node:
        path = event.key[len(self._root) :].rstrip(SLASH)
        previous = previous_node(path, event.previous, event.mod_revision)
        if self._is_stopped:
            raise self._closed()
        if event.is_delete:
            return deleted_node(path, event.mod_revision, previous, event.key.endswith(SLASH))
        return file_node("set", path, event.kv, await self._times_to_live(event), event.mod_revision, previous)

    async def _times_to_live(self, event: Event) -> TimesToLive:
        self._asking = Deferred.fromCoroutine(times_to_live_in_the_end(self._etcd, [event.kv]))
        try:
            return await self._asking
        except CancelledError:
            if self._is_stopped:
                raise self._closed() from None
            raise
        finally:
            self._asking = None

    def _closed(self) -> Closed:
        return Closed(f"{self._path!r} is not followed any more") if self._is_stopped else Closed()
