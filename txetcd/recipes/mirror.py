"""
A mirror: keys held in memory, kept equal to those of the store by a watch.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from types import TracebackType
from typing import Any, Callable, Optional, Union

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._check import check_bytes, check_int, check_returned, check_seconds, what_came
from .._context import within
from ..errors import Closed, Error, RevisionError, RevisionLost
from ..keyset import KeySet
from ..values import Event, KeyValue, SyntheticEvent
from ..watch import Watch
from ._etcd import Etcd
from ._outages import OUTAGES, again_after, in_the_end

PAGE = 1000
"""Keys that are read at a time."""

_log = Logger()

OnChange = Callable[[Sequence[Event]], Any]


class Mirror:
    """
    The keys of a set, held in memory.

    * It is always what the keys were at one revision (:attr:`revision`): all changes of a revision are made at once.
    * It follows the store with the delay of the network, and through outages: what it has missed meanwhile it learns
      afterwards, also if that was compacted away. How old it may be nobody knows who only reads it: ask
      :meth:`fresh` where that matters.
    * Reading it costs no call. To begin costs as many as there are pages of 1000 keys, and a watch; :meth:`fresh` one,
      if nothing has changed.

    ::

        async with Mirror(etcd, KeySet(b"config/", prefix=True)) as config:
            print(config[b"config/mode"].value)

    Before :meth:`start`, which ``async with`` does, nothing is known of the keys: to read it then, or to wait for what
    it shows, is a ``RuntimeError``.

    :param etcd: a :class:`~txetcd.Client`.
    :param keys: what to hold: a :class:`~txetcd.KeySet`, or one key (``bytes``).
    :param on_change: called after each change with what has happened, a list of events (:class:`~txetcd.values.Event`):
        those of one revision, or, if changes were missed, what has come of them (``is_synthetic``); when it has read
        the keys for the first time, with all of them, even if there are none; that is while ``async with`` waits. What
        it raises is logged. It is not waited for, and so is no coroutine function.
    """

    def __init__(self, etcd: Etcd, keys: Union[bytes, KeySet], on_change: Optional[OnChange] = None) -> None:
        if on_change is not None and not callable(on_change):
            raise TypeError(f"on_change must be callable, not {what_came(on_change)}")
        self._etcd = etcd
        self._keys = KeySet.of("keys", keys)
        self._on_change = on_change
        self._kvs: dict[bytes, KeyValue] = {}
        self._order: list[bytes] = []
        self._revision: Optional[int] = None
        self._waiting: list[tuple[int, Deferred[int]]] = []
        self._changing: list[Deferred[None]] = []
        self._stopping: list[Deferred[None]] = []
        self._watch: Optional[Watch] = None
        self._work: Optional[Deferred[Any]] = None
        self._reason: Optional[Error] = None
        # those of the watch when the revision was last known without it
        self._losses = 0
        self._has_begun = self._is_over = False
        self._who_closed = "mirror"

    # --- its life

    def start(self) -> Deferred[Mirror]:
        """
        Begins to follow; once.

        :returns: a Deferred as of :meth:`when_synced`.
        :raises RuntimeError: if it was started before.
        """
        if self._has_begun or self._is_over:
            raise RuntimeError(f"{self!r} was {'started' if self._has_begun else 'closed'} before")
        self._has_begun = True
        self._work = Deferred.fromCoroutine(self._run())
        self._work.addBoth(self._ended)
        return self.when_synced()

    def close(self) -> Deferred[None]:
        """
        Follows no longer. What it was last can still be read.

        :returns: a Deferred that fires with ``None``.
        """
        self._end(None)
        return succeed(None)

    def when_synced(self) -> Deferred[Mirror]:
        """
        Waits until the keys were read for the first time.

        :returns: a Deferred that fires with this mirror. It fails with the reason if it cannot follow them, as
            :class:`~txetcd.errors.PermissionDenied`, and with :class:`~txetcd.errors.Closed` after :meth:`close`.
            An outage is waited out. Cancelling it ends the waiting, not the mirror.
        """
        return self._when_shown(0).addCallback(lambda _: self)

    def when_stopped(self) -> Deferred[None]:
        """
        Waits for the end.

        :returns: a Deferred that fires with ``None`` after :meth:`close`, or when the client was closed. It fails with
            the reason if the mirror cannot follow the keys any more. Cancelling it ends the waiting, not the mirror.
        """
        if self._is_over:
            return succeed(None) if self._reason is None else fail(self._end_reason())
        waiting: Deferred[None] = Deferred(self._stopping.remove)
        self._stopping.append(waiting)
        return waiting

    async def __aenter__(self) -> Mirror:
        """Begins, and waits until the keys were read."""
        try:
            return await self.start()
        except BaseException:
            self.close()
            raise

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Closes it; raises why it had failed, and so was old, unless the block has raised something itself."""
        reason = self._reason
        self.close()
        if reason is not None and error is None:
            raise self._end_reason()

    # --- what it is

    @property
    def revision(self) -> Optional[int]:
        """The revision that it shows (``int``); ``None`` before the keys were read."""
        return self._revision

    @property
    def is_current(self) -> bool:
        """
        Whether a server just tells it of changes (``bool``); not while that is away, and it may be old; nor for a
        moment after the keys were read.
        """
        return self._watch is not None and self._watch.state == "live"

    def __getitem__(self, key: bytes) -> KeyValue:
        """The :class:`~txetcd.KeyValue` of a key; ``KeyError`` if there is none."""
        return self._known[check_bytes("key", key)]

    def get(self, key: bytes, default: Any = None) -> Any:
        """The :class:`~txetcd.KeyValue` of a key, or *default*."""
        return self._known.get(check_bytes("key", key), default)

    def __contains__(self, key: object) -> bool:
        return check_bytes("key", key) in self._known

    def keys(self) -> list[bytes]:
        """All keys (``list`` of ``bytes``), in their order."""
        return list(self)

    def values(self) -> list[KeyValue]:
        """All :class:`~txetcd.KeyValue`\\ s (``list``), in the order of their keys."""
        return [self._kvs[key] for key in self]

    def items(self) -> list[tuple[bytes, KeyValue]]:
        """All keys, each with its :class:`~txetcd.KeyValue` (``list`` of ``tuple``), in their order."""
        return [(key, self._kvs[key]) for key in self]

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[bytes]:
        """The keys in their order."""
        check_following(self._has_begun, self)
        return iter(tuple(self._order))

    @property
    def _known(self) -> dict[bytes, KeyValue]:
        check_following(self._has_begun, self)
        return self._kvs

    def range(self, keys: Union[bytes, KeySet]) -> list[KeyValue]:
        """What it holds of a key set (``list`` of :class:`~txetcd.KeyValue`), in the order of the keys."""
        wanted = KeySet.of("keys", keys)
        check_following(self._has_begun, self)
        found = []
        at = bisect_left(self._order, wanted.start)
        while at < len(self._order) and self._order[at] in wanted:
            found.append(self._kvs[self._order[at]])
            at += 1
        return found

    def wait_for(self, revision: int, timeout: Optional[float] = None) -> Deferred[int]:
        """
        Waits until it shows what has happened up to a *revision*, as that of a write of yours.

        :param timeout: seconds, or ``None`` to wait as long as it takes. Without changes of these keys it may take
            long: see :meth:`fresh`.
        :returns: a Deferred that fires with its revision (``int``). It fails as :meth:`when_synced`, and with
            :class:`~txetcd.Timeout`. Cancelling it ends the waiting.
        """
        check_int("revision", revision, minimum=0)
        check_seconds("timeout", timeout)
        shown = self._when_shown(revision)
        return within(shown, self._etcd, timeout, f"the mirror of {self._keys!r} did not show revision {revision}")

    def _when_shown(self, revision: int) -> Deferred[int]:
        check_following(self._has_begun, self)
        if self._is_over:
            return fail(self._end_reason())
        if self._revision is not None and self._revision >= revision:
            return succeed(self._revision)
        entry: tuple[int, Deferred[int]] = (revision, Deferred(lambda _: self._waiting.remove(entry)))
        self._waiting.append(entry)
        return entry[1]

    def fresh(self, timeout: Optional[float] = None) -> Deferred[Mirror]:
        """
        Waits until it shows everything that had happened when this was called, whoever has done it: what is read then
        is as good as read from the store at that moment (a linearizable read).

        :param timeout: seconds, or ``None`` to wait as long as it takes.
        :returns: a Deferred that fires with this mirror. It fails as :meth:`when_synced`, as :meth:`Client.get
            <txetcd.Client.get>`, and with :class:`~txetcd.Timeout`. Cancelling it ends the waiting.
        """
        check_seconds("timeout", timeout)
        check_following(self._has_begun, self)
        work = Deferred.fromCoroutine(self._until_fresh())
        return within(work, self._etcd, timeout, f"the mirror of {self._keys!r} was not as the store is")

    def __repr__(self) -> str:
        if self._is_over:
            state = "CLOSED" if self._reason is None else "FAILED"
        elif self.is_current:
            state = "CURRENT"
        elif self._watch is not None and self._watch.losses:
            state = "AWAY"
        else:
            state = "BEGINNING" if self._has_begun else "NEW"
        return f"<Mirror {state} {self._keys!r} revision={self._revision} keys={len(self._kvs)}>"

    # --- following

    async def _run(self) -> None:
        while True:
            revision, kvs = await self._read()
            self._replace(kvs, revision)
            if self._is_over:
                # whoever was told has closed it
                return
            self._watch = watch = self._etcd.watcher(self._keys, start_revision=revision + 1)
            try:
                await self._follow(watch)
                return
            except RevisionError:
                # what happened meanwhile cannot be told; what has come of it can be read
                pass
            except OUTAGES:
                # the watch was never set up, and the client's policy has given it up
                await again_after(self._etcd)
            finally:
                watch.stop()

    async def _follow(self, watch: Watch) -> None:
        events: list[Event] = []
        async for event in watch:
            if self._revision is not None and event.mod_revision <= self._revision:
                if watch.losses != self._losses:
                    # of a cluster that has gone back to a revision which the watch had not seen, and the mirror had
                    raise RevisionLost(event.mod_revision, self._revision)
                # that nothing has come of it is known already: see _until_fresh()
                continue
            events.append(event)
            if watch.revision is not None and watch.revision >= event.mod_revision:
                # that was the last one of its revision
                whole, events = events, []
                self._apply(whole, event.mod_revision)

    async def _read(self) -> tuple[int, list[KeyValue]]:
        """All keys at one revision, as soon as they can be read."""
        return await in_the_end(self._etcd, self._read_pages, (*OUTAGES, RevisionError))

    async def _read_pages(self) -> tuple[int, list[KeyValue]]:
        page = await self._etcd.get(self._keys, limit=PAGE)
        revision, kvs = page.header.revision, list(page.kvs)
        while page.more:
            rest = KeySet(kvs[-1].key + b"\x00", self._keys.end)
            page = await self._etcd.get(rest, limit=PAGE, revision=revision)
            kvs += page.kvs
        return revision, kvs

    def _replace(self, kvs: Iterable[KeyValue], revision: int) -> None:
        there = {kv.key: kv for kv in kvs}
        written = sorted(
            (kv for kv in there.values() if self._kvs.get(kv.key) != kv), key=lambda kv: (kv.mod_revision, kv.key)
        )
        events: list[Event] = [SyntheticEvent("put", kv) for kv in written]
        events += [SyntheticEvent("delete", KeyValue(key, mod_revision=revision)) for key in self if key not in there]
        # at once: one by one, a hundred thousand keys would keep the reactor for seconds
        self._kvs, self._order = there, sorted(there)
        self._changed(events, revision)

    def _apply(self, events: Sequence[Event], revision: int) -> None:
        for event in events:
            if event.is_put:
                self._put(event.kv)
            else:
                self._delete(event.key)
        self._changed(events, revision)

    def _changed(self, events: Sequence[Event], revision: int) -> None:
        is_first, self._revision = self._revision is None, revision
        if (events or is_first) and self._on_change is not None:
            try:
                check_returned(self._on_change(events))
            except Exception:
                _log.failure("{on_change} failed; the mirror goes on: {mirror}", on_change=self._on_change, mirror=self)
        self._tell()

    def _put(self, kv: KeyValue) -> None:
        if kv.key not in self._kvs:
            insort(self._order, kv.key)
        self._kvs[kv.key] = kv

    def _delete(self, key: bytes) -> None:
        if self._kvs.pop(key, None) is not None:
            del self._order[bisect_left(self._order, key)]

    # --- fresh

    async def _until_fresh(self) -> Mirror:
        wanted: Optional[int] = None
        await self.when_synced()
        while wanted is None or (self._revision or 0) < wanted:
            revision = self._revision or 0
            found = await self._etcd.get(self._keys, limit=1, keys_only=True, min_mod_revision=revision + 1)
            if self._is_over:
                raise self._end_reason()
            # less than before if the cluster has gone back: what was wanted then there is not any more
            wanted = min(found.header.revision, found.header.revision if wanted is None else wanted)
            if self._revision != revision:
                # it has moved meanwhile, and so says nothing of what was found
                continue
            if not found.kvs and found.count == len(self) and found.header.revision >= revision:
                # nothing was written since, and as many keys are there: none was deleted, either
                self._reach(found.header.revision)
            else:
                await self._next_change()
        return self

    def _reach(self, revision: int) -> None:
        if self._revision is not None and revision > self._revision:
            self._revision = revision
            self._losses = 0 if self._watch is None else self._watch.losses
            self._tell()

    def _next_change(self) -> Deferred[None]:
        if self._is_over:
            return fail(self._end_reason())
        waiting: Deferred[None] = Deferred(self._changing.remove)
        self._changing.append(waiting)
        return waiting

    # --- telling

    def _tell(self) -> None:
        # one at a time: whoever is told may cancel the others, or close the mirror
        changing, self._changing = self._changing, []
        for one in changing:
            if not one.called:
                one.callback(None)
        while True:
            revision = self._revision or 0
            ready = next((entry for entry in self._waiting if entry[0] <= revision), None)
            if ready is None:
                return
            self._waiting.remove(ready)
            ready[1].callback(revision)

    def _ended(self, result: Any) -> None:
        error = result.value if isinstance(result, Failure) else None
        if isinstance(error, Closed):
            self._who_closed = "client"
        if isinstance(error, (CancelledError, Closed)):
            error = None
        if error is None or isinstance(error, Error):
            self._end(error)
        else:
            _log.failure("the mirror failed: {mirror}", result, mirror=self)
            self._end(Closed("the mirror failed"))

    def _end_reason(self) -> Error:
        # a copy, because an exception keeps the traceback of where it was raised
        return Closed(f"the {self._who_closed} was closed") if self._reason is None else copy(self._reason)

    def _end(self, reason: Optional[Error]) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._reason = reason
        if self._watch is not None:
            self._watch.stop()
        if self._work is not None:
            self._work.cancel()
        while self._waiting:
            self._waiting.pop(0)[1].errback(self._end_reason())
        while self._changing:
            self._changing.pop(0).errback(self._end_reason())
        while self._stopping:
            waiting = self._stopping.pop(0)
            waiting.callback(None) if reason is None else waiting.errback(self._end_reason())


def has_begun(mirror: Mirror) -> bool:
    """Whether it was started."""
    return mirror._has_begun


def check_following(has_begun: bool, what: object) -> None:
    """
    Nothing is said of keys that were never read.

    :param what: what should have begun to follow them.
    :raises RuntimeError: if it has not.
    """
    if not has_begun:
        raise RuntimeError(f"{what!r} has not begun")
