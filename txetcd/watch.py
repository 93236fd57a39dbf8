"""
Watching keys.

What is promised, and where it ends: :class:`Watch`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from copy import copy
from inspect import isgenerator
from typing import Any, Callable, Optional, Union, cast

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ._backoff import in_seconds
from ._calls import Calls, CallStream
from ._check import check_choice, check_flag, check_optional_int, encoding_advice, is_series, what_came
from ._messages import WatchCreateRequest, WatchResponse
from ._schema import ENUMS, RANGE, WATCH
from .errors import (
    AuthError,
    AuthOldRevision,
    Closed,
    Compacted,
    Error,
    InvalidAuthToken,
    PermissionDenied,
    Timeout,
    Unavailable,
    UserEmpty,
    WatchCanceled,
    refusal,
)
from .keyset import KeySet
from .ops import OpGet
from .values import Event

Keys = Union[bytes, KeySet, Sequence[Union[bytes, KeySet]]]

_log = Logger()

BUFFER = 8 * 1024 * 1024
"""
Bytes of events that wait for a slow consumer. When there are more, the server is asked to wait (the sockets are read
no further) until half of them are consumed.
"""

WATCH_AGAIN = 0.5
"""Seconds before whoever has lost a watch looks again."""

LOOK_AGAIN = 10.0
"""Seconds after which whoever waits for one change looks whether it has happened: a watch may be dead in silence."""

_REFUSALS = 5
"""How often a watch is asked for again because its token was not taken: the next one may have ended again as well."""

_OF_TOKEN = (InvalidAuthToken, AuthOldRevision, UserEmpty, PermissionDenied)
"""What a server says in a stream of a token that it does not take; the last one up to etcd 3.5.5."""

_EVENT_SIZE = 512
"""Bytes that an event takes besides its keys and values."""


def _size(event: Event) -> int:
    previous = 0 if event.previous is None else len(event.previous.value)
    return _EVENT_SIZE + len(event.kv.key) + len(event.kv.value) + previous


def key_sets(argument: str, keys: object) -> tuple[KeySet, ...]:
    """
    The key sets that *keys* means: one, or several.

    :raises TypeError: if it is neither.
    :raises ValueError: if it has none, or one twice.
    """
    if isinstance(keys, (bytes, KeySet)):
        return (KeySet.of(argument, keys),)
    if not is_series(keys):
        wanted = "bytes, a KeySet, or a list of them"
        raise TypeError(f"{argument} must be {wanted}, not {what_came(keys)}{encoding_advice(keys)}")
    sets = tuple(KeySet.of(f"each of {argument}", key) for key in cast(Iterable[object], keys))
    if not sets:
        raise ValueError(f"{argument} must not be empty")
    seen: set[KeySet] = set()
    for one in sets:
        if one in seen:
            raise ValueError(f"{argument} has {one!r} twice")
        seen.add(one)
    return sets


@attrs.frozen
class WatchOptions:
    """
    What the watches of a :class:`Watch` have in common: see :meth:`Client.watcher <txetcd.Client.watcher>`.
    """

    filters: tuple[str, ...] = ()
    start_revision: int = 0
    return_previous: bool = False
    progress_notify: bool = False

    @classmethod
    def checked(
        cls,
        filters: Optional[Sequence[str]],
        start_revision: Optional[int],
        return_previous: Optional[bool],
        progress_notify: Optional[bool],
    ) -> WatchOptions:
        """
        The options, if they can be.

        :raises TypeError: names the argument.
        :raises ValueError: names the argument.
        """
        if filters is not None and not is_series(filters):
            raise TypeError(f"filters must be a list of {', '.join(ENUMS['FilterType'])}, not {what_came(filters)}")
        names = tuple(filters or ())
        for name in names:
            check_choice("filters", "" if name is None else name, ENUMS["FilterType"])
        return cls(
            names,
            check_optional_int("start_revision", start_revision),
            check_flag("return_previous", return_previous),
            check_flag("progress_notify", progress_notify),
        )

    def request(self, keys: KeySet) -> WatchCreateRequest:
        """What asks the server for a watch of *keys*."""
        # in fragments, because all that has happened since the start revision would come in one line otherwise
        return WatchCreateRequest(
            keys, self.start_revision, self.progress_notify, self.filters, self.return_previous, fragment=True
        )


class _Part:
    """
    The watch of one key set, on a stream of its own.

    :param watch: what it is a part of.
    :param keys: what is watched.

    :ivar is_started: whether the server has set the watch up (``bool``).
    """

    def __init__(self, watch: Watch, keys: KeySet) -> None:
        self._watch = watch
        self._calls: Optional[Calls] = None
        self._request: Optional[WatchCreateRequest] = None
        self._stream: Optional[CallStream] = None
        self._work: Deferred[Any] = succeed(None)
        self._refusals = 0
        self._deadline: Optional[IDelayedCall] = None
        self._arrived: Optional[int] = None
        # of a watch from now on
        self._begin = 0
        self._waiting: deque[int] = deque()
        self.keys = keys
        self.is_started = False

    @property
    def revision(self) -> Optional[int]:
        """
        Every change up to this revision has been handed over (``int``); ``None`` as long as it is not known where the
        watch begins.
        """
        return self._waiting[0] - 1 if self._waiting else self._arrived

    @property
    def is_behind(self) -> bool:
        """Whether events of it wait to be handed over (``bool``)."""
        return bool(self._waiting)

    def handed_over(self) -> None:
        """The first of the events that wait was handed over."""
        self._waiting.popleft()

    def open(self, calls: Calls, clock: Any, options: WatchOptions, timeout: float) -> None:
        """Asks for the watch, and gives up if nothing has come within *timeout* seconds."""
        self._arrived = options.start_revision - 1 if options.start_revision else None
        self._deadline = clock.callLater(timeout, self._not_started, timeout)
        self._calls, self._request = calls, options.request(self.keys)
        self._ask()

    def _ask(self) -> None:
        assert self._calls is not None
        self._stream = self._calls.stream(WATCH, self._request, self._message)
        self._stream.ended.addCallbacks(lambda _: self._dropped(), self._failed)

    def close(self) -> None:
        """Ends the watch; the server forgets it."""
        self._meet_deadline()
        self._work.cancel()
        self._drop_stream()

    def _drop_stream(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.abort()

    def pause(self) -> None:
        """Reads no further; but not before the answer to the request is read, which somebody may wait for."""
        if self._stream is not None and self.is_started:
            self._stream.pause()

    def resume(self) -> None:
        """Reads on."""
        if self._stream is not None:
            self._stream.resume()

    def _message(self, message: WatchResponse) -> None:
        if message.canceled:
            self._refused(self._reason(message))
            return
        events = self._since_begin(message.events) if message.events else message.events
        self._move_on(message, events)
        if message.created and not self.is_started:
            self._meet_deadline()
            self.is_started = True
            if self._watch.is_paused:
                self.pause()
            self._watch._part_started()
        if events:
            self._watch._take_in(self, events)

    def _since_begin(self, events: list[Event]) -> list[Event]:
        """Without those of a watch from now on that happened before it began."""
        if events[0].kv.mod_revision > self._begin:
            return events
        return [event for event in events if event.kv.mod_revision > self._begin]

    def _refused(self, reason: Error) -> None:
        """The server has ended the watch; if that is because of its token, a call fetches another one, if any can."""
        assert self._calls is not None
        self._refusals += 1
        is_of_token = isinstance(reason, _OF_TOKEN) and self._calls.has_login
        if self.is_started or self._refusals > _REFUSALS or not is_of_token:
            self._watch._fail(reason)
            return
        self._drop_stream()
        # what may be read may be watched
        asked = self._calls.call(RANGE, OpGet(self.keys, keys_only=True, limit=1, serializable=True))
        self._work = asked.addCallbacks(lambda _: self._ask(), self._not_allowed, errbackArgs=(reason,))

    def _not_allowed(self, failure: Failure, reason: Error) -> None:
        error = failure.value
        # else it was stopped meanwhile
        if isinstance(error, Error):
            self._watch._fail(reason if isinstance(error, AuthError) else error)

    def _move_on(self, message: WatchResponse, events: list[Event]) -> None:
        """
        An event tells by its own revision, because the header is ahead of it while the watch catches up. The answer to
        the request tells only where a watch from now on begins: behind the revision of the header. A server since
        3.5.35, 3.6 and 3.7 looks at that after it has set the watch up, and tells some changes from before as well
        (``recvLoop`` in etcd's ``v3rpc/watch.go``): they are not handed over, or the revision would have been wrong.
        """
        if events:
            self._waiting.extend(event.kv.mod_revision for event in events)
            # of a revision that is cut by the end of a fragment, some changes are still to come
            self._reach(events[-1].kv.mod_revision - message.fragment)
        elif self._arrived is None:
            self._begin = message.header.revision
            self._reach(self._begin)
        elif not message.created and not message.events:
            self._reach(message.header.revision)

    def _reach(self, revision: int) -> None:
        # never back: the progress of a watch that begins in the future is behind its start
        self._arrived = revision if self._arrived is None else max(self._arrived, revision)

    def _reason(self, message: WatchResponse) -> Error:
        if message.compact_revision:
            compacted = Compacted(None, f"{self.keys!r} up to {message.compact_revision}: {Compacted.text}")
            compacted.compact_revision = message.compact_revision
            return compacted
        if not message.cancel_reason:
            return WatchCanceled(None, f"the server ended the watch of {self.keys!r} without a reason")
        refused = refusal(None, message.cancel_reason)
        return WatchCanceled(None, message.cancel_reason) if type(refused) is Error else refused

    def _meet_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _not_started(self, timeout: float) -> None:
        error = Timeout(f"the watch of {self.keys!r} was not set up within {in_seconds(timeout)}")
        if self._stream is not None:
            error.call, error.endpoint = WATCH.name, self._stream.url or None
            self._stream.blame(error.message)
        self._watch._fail(error)

    def _dropped(self) -> None:
        if self._stream is not None:
            self._watch._fail(Unavailable(None, f"the server ended the stream of {self.keys!r}"))

    def _failed(self, failure: Failure) -> None:
        self._refused(cast(Error, failure.value))


def _known(parts: Iterable[_Part]) -> list[int]:
    return [revision for revision in (part.revision for part in parts) if revision is not None]


class Watch:
    """
    Watches keys, and hands over what changes as it is asked for: ``async for event in watch``.

    * Every change of the watched keys from the start on arrives once for each key set that the key is in; the changes
      of a key set in the order in which they happened, those of one transaction together.
    * When a stream is lost, or the server ends the watch, what has arrived before is still handed over; then the
      iteration raises the reason. Nothing is skipped in silence.
    * It is not resumed by itself: watch again with ``start_revision=watch.revision + 1`` (:attr:`revision`). Nothing is
      skipped then, but some changes may come twice: those of a transaction that was handed over in part, and with
      several key sets those of a set that was ahead of the others.
    * With a callback, the loss shows where the Deferred of :meth:`Client.watch <txetcd.Client.watch>` is looked at. In
      ``async with etcd.watch(...) as watch:`` that is the end of the block; :meth:`when_stopped` tells at once.
    * That the network swallows everything in silence is noticed with ``grpc://``: the watch of a connection that is
      dead fails with :class:`~txetcd.errors.Unavailable` within about fifteen seconds. With ``http://`` it waits on.
    * A consumer that is slower than the changes makes the server wait, not the memory grow (:data:`BUFFER`).

    Made by :meth:`Client.watcher <txetcd.Client.watcher>`; :meth:`stop` it when it is no longer needed, or use it as
    ``async with``.
    """

    def __init__(self, calls: Calls, clock: Any, keys: tuple[KeySet, ...], options: WatchOptions, timeout: float):
        self._calls = calls
        self._clock = clock
        self._options = options
        self._timeout = timeout
        self._parts: dict[KeySet, _Part] = {}
        self._removed: list[_Part] = []
        self._buffer: deque[tuple[_Part, Event]] = deque()
        self._size = 0
        self._is_paused = False
        self._is_over = False
        self._reason: Optional[Error] = None
        self._readers: deque[Deferred[Optional[Event]]] = deque()
        self._starting: list[tuple[tuple[_Part, ...], Deferred[Watch]]] = []
        self._stopping: list[Deferred[None]] = []
        self._forget_close = calls.at_close(self._drop)
        if calls.is_closed:
            self._end(calls.located(Closed(), WATCH))
        else:
            self._open(keys)

    # --- what the user does

    @property
    def revision(self) -> Optional[int]:
        """
        Every change up to and including this revision has been handed over (``int``): returned by the iteration, or
        passed to the callback. That holds at any time: while the watch runs, after :meth:`stop` (what is dropped then
        does not count), and after a failure. ``start_revision=watch.revision + 1`` goes on from there.

        * An event counts as soon as it was handed over, though the loop or the callback may still be at work on it. To
          note how far you have got, read this when you are done with an event; it costs next to nothing.
        * Of a revision with several changes it is the one before, until the last of them was handed over.
        * With several key sets it is what holds for all of them; a set whose watch from now on has not started is left
          out. So :meth:`add` may take it back, to where the new set begins. A set that was removed counts until what
          had arrived of it was handed over. When no set is left, it stays as it is.
        * Without changes it moves on only if the server tells so (``progress_notify``).

        ``None`` as long as it is not known where the watch begins: a watch from now on begins where the server says so
        in its answer, see :meth:`when_started`; one with a ``start_revision`` begins there, whether it has started or
        not.
        """
        known = _known(self._parts.values())
        known += _known(part for part in self._removed if part.is_behind or not known)
        return min(known, default=None)

    @property
    def keys(self) -> tuple[KeySet, ...]:
        """What is watched, or was at the end (a ``tuple`` of :class:`~txetcd.KeySet`)."""
        return tuple(self._parts)

    @property
    def is_paused(self) -> bool:
        """Whether the server is made to wait, because too much waits here (:data:`BUFFER`; ``bool``)."""
        return self._is_paused

    def when_started(self) -> Deferred[Watch]:
        """
        Waits until the server has set up the watch of every key set: every change from then on will be seen.

        :returns: a Deferred that fires with this watch. It fails with the reason if the watch could not be set up:
            :class:`~txetcd.errors.PermissionDenied`, :class:`~txetcd.errors.WatchRangeEmpty`,
            :class:`~txetcd.errors.Timeout`, :class:`~txetcd.errors.Unavailable`, or :class:`~txetcd.errors.Closed` if
            it was stopped before. That the start is compacted away the server tells only after it has begun: then this
            fires, and the iteration raises :class:`~txetcd.errors.Compacted`. Cancelling it ends the waiting, not the
            watch.
        """
        return self._when_started(tuple(self._parts.values()))

    def when_stopped(self) -> Deferred[None]:
        """
        Waits for the end.

        :returns: a Deferred that fires with ``None`` after :meth:`stop`, or when the client was closed. It fails with
            the reason when the watch could not go on. Cancelling it ends the waiting, not the watch.
        """
        if self._is_over:
            return succeed(None) if self._reason is None else fail(self._end_reason())
        waiting: Deferred[None] = Deferred(self._stopping.remove)
        self._stopping.append(waiting)
        return waiting

    def add(self, keys: Keys) -> Deferred[Watch]:
        """
        Watches more keys, from now on or from ``start_revision`` as the others.

        :param keys: ``bytes``, a :class:`KeySet`, or a list of them.
        :returns: a Deferred as of :meth:`when_started`, for the new ones.
        :raises ValueError: for a key set that is watched already.
        """
        sets = key_sets("keys", keys)
        for one in sets:
            if one in self._parts:
                raise ValueError(f"keys: {one!r} is watched already")
        if self._is_over:
            return fail(self._end_reason())
        return self._when_started(self._open(sets))

    def remove(self, keys: Keys) -> None:
        """
        Watches these keys no longer. Their changes that have arrived already are still handed over.

        :param keys: as given before: ``bytes``, a :class:`KeySet`, or a list of them.
        :raises ValueError: for a key set that is not watched.
        """
        sets = key_sets("keys", keys)
        for one in sets:
            if one not in self._parts:
                raise ValueError(f"keys: {one!r} is not watched")
        removed = [self._parts.pop(one) for one in sets]
        self._removed = [part for part in self._removed if part.is_behind] + removed
        for part in removed:
            part.close()
        self._part_started()

    def stop(self) -> Deferred[None]:
        """
        Ends the watch, as closing the client does. What has not been handed over is dropped (:attr:`revision` does not
        count it); a waiting iteration ends.

        :returns: a Deferred that fires with ``None``.
        """
        self._drop()
        return succeed(None)

    def __aiter__(self) -> Watch:
        """The watch itself: it can be iterated once."""
        return self

    async def __anext__(self) -> Event:
        """
        The next :class:`~txetcd.Event`.

        :raises StopAsyncIteration: after :meth:`stop`, or when the client was closed.
        :raises Error: the reason, when the watch could not go on.
        """
        event = await self._next() if self._readers or not self._buffer else self._taken()
        if event is None:
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> Watch:
        """Waits until the watch has started."""
        try:
            return await self.when_started()
        except BaseException:
            self.stop()
            raise

    async def __aexit__(self, *reason: object) -> None:
        """Stops it."""
        self.stop()

    def __repr__(self) -> str:
        state = "LIVE" if not self._is_over else "STOPPED" if self._reason is None else f"FAILED {self._reason}"
        return f"<Watch {state} {list(self._parts)!r} revision={self.revision} waiting={len(self._buffer)}>"

    # --- what the parts tell

    def _part_started(self) -> None:
        """The server has set up the watch of a key set."""
        # one at a time: whoever is told may do something to the others
        while True:
            ready = next((waiting for parts, waiting in self._starting if self._are_started(parts)), None)
            if ready is None:
                return
            self._forget_starting(ready)
            ready.callback(self)

    def _take_in(self, part: _Part, events: list[Event]) -> None:
        """Changes came from the server."""
        for event in events:
            self._buffer.append((part, event))
            self._size += _size(event)
        self._serve()
        if self._size > BUFFER and not self._is_paused and not self._is_over:
            self._is_paused = True
            for one in self._parts.values():
                one.pause()

    def _fail(self, error: Error) -> None:
        """The watch cannot go on."""
        if isinstance(error, Closed):
            self._drop()
        else:
            # of a stream that has ended it is known where that was; it is not asked first any more
            self._end(error if error.endpoint else self._calls.located(error, WATCH))

    # --- within

    def _open(self, sets: Iterable[KeySet]) -> tuple[_Part, ...]:
        parts = tuple(_Part(self, keys) for keys in sets)
        self._parts.update((part.keys, part) for part in parts)
        for part in parts:
            if not self._is_over:
                part.open(self._calls, self._clock, self._options, self._timeout)
        return parts

    def _are_started(self, parts: tuple[_Part, ...]) -> bool:
        return all(part.is_started or self._parts.get(part.keys) is not part for part in parts)

    def _when_started(self, parts: tuple[_Part, ...]) -> Deferred[Watch]:
        if self._is_over:
            return fail(self._end_reason())
        if self._are_started(parts):
            return succeed(self)
        waiting: Deferred[Watch] = Deferred(self._forget_starting)
        self._starting.append((parts, waiting))
        return waiting

    def _forget_starting(self, waiting: Deferred[Watch]) -> None:
        self._starting = [pair for pair in self._starting if pair[1] is not waiting]

    def _end_reason(self) -> Error:
        # a copy, because an exception keeps the traceback of where it was raised
        return Closed("the watch was stopped") if self._reason is None else copy(self._reason)

    def _drop(self) -> None:
        self._buffer.clear()
        self._end(None)

    def _end(self, reason: Optional[Error]) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._is_paused = False
        self._reason = reason
        self._forget_close()
        for part in tuple(self._parts.values()):
            part.close()
        self._fire_the_end()

    def _fire_the_end(self) -> None:
        # one at a time: whoever is told may cancel the others
        while self._starting:
            self._starting.pop(0)[1].errback(self._end_reason())
        # somebody may have ended it while he was handed the first of several events: the others have arrived as well
        self._serve()
        while self._readers:
            self._fire(self._readers.popleft())
        while self._stopping:
            self._fire(self._stopping.pop(0))

    def _fire(self, waiting: Deferred[Any]) -> None:
        if self._reason is None:
            waiting.callback(None)
        else:
            waiting.errback(self._end_reason())

    def _serve(self) -> None:
        # one at a time, in the order of asking: whoever is told may ask again, or stop the watch
        while self._readers and self._buffer:
            self._readers.popleft().callback(self._taken())

    def _taken(self) -> Event:
        part, event = self._buffer.popleft()
        part.handed_over()
        self._size -= _size(event)
        if self._is_paused and self._size <= BUFFER // 2:
            self._is_paused = False
            for one in self._parts.values():
                one.resume()
        return event

    def _next(self) -> Deferred[Optional[Event]]:
        if self._is_over and not self._buffer:
            return succeed(None) if self._reason is None else fail(self._end_reason())
        reader: Deferred[Optional[Event]] = Deferred(self._readers.remove)
        self._readers.append(reader)
        return reader


async def _deliver(watch: Watch, on_watch: Callable[[Event], Any]) -> None:
    """Calls *on_watch* with each event, one after the other. What it raises is logged, and the watch goes on."""
    async for event in watch:
        try:
            result = on_watch(event)
            if isinstance(result, (Deferred, Coroutine)):
                await result
            elif isgenerator(result):
                raise TypeError("it returned a generator, which does nothing: it lacks @inlineCallbacks")
        except Exception:
            _log.failure("{on_watch} failed on {event}; the watch goes on", on_watch=on_watch, event=event)


class WatchDeferred(Deferred[None]):
    """
    What :meth:`Client.watch <txetcd.Client.watch>` returns: fires when the watch is over. ``async with`` waits until
    the watch has started, gives the :class:`Watch`, and stops it at the end of the block.

    :ivar watch: the :class:`Watch`: what it is up to, when it has started, and when it is over.
    """

    def __init__(self, watch: Watch, on_watch: Callable[[Event], Any]) -> None:
        super().__init__(self._cancelled)
        self.watch = watch
        Deferred.fromCoroutine(_deliver(watch, on_watch)).addBoth(self._over)

    def _cancelled(self, _: object) -> None:
        # before the watch stops, so that its end comes too late even if the callback is still at work
        self.callback(None)
        self.watch.stop()

    def _over(self, result: Any) -> None:
        # whatever the callback has raised that is no Exception ends the delivery, and so the watch
        self.watch.stop()
        if not self.called:
            self.callback(result)

    async def __aenter__(self) -> Watch:
        """Waits until the watch has started."""
        try:
            return await self.watch.when_started()
        except BaseException:
            # the reason is raised here; it need not be reported twice
            self.addErrback(lambda _: None)
            self.cancel()
            raise

    async def __aexit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        """Stops it; raises the reason if it could not go on, and the block has not raised another."""
        self.cancel()
        if error is None:
            await self
        else:
            self.addErrback(lambda _: None)
