"""
Watching keys.

What is promised, and where it ends: :class:`Watch`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from copy import copy
from typing import Any, Callable, Optional, Union, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ._backoff import in_seconds
from ._check import check_returned, check_seconds, encoding_advice, is_series, what_came
from ._progress import progress_of
from ._schema import WATCH
from ._watchcore import LIVE, OPENING, STOPPED, WAITING
from ._watchpart import Arrived, Part, WatchOptions, WatchWay
from .errors import Closed, Error, Timeout
from .keyset import KeySet
from .values import Event

Keys = Union[bytes, KeySet, Sequence[Union[bytes, KeySet]]]

_log = Logger()

BUFFER = 8 * 1024 * 1024
"""
Bytes of events that wait for a slow consumer. When there are more, the server is asked to wait (the sockets are read
no further) until half of them are consumed.
"""

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


def _known(parts: Iterable[Part]) -> list[int]:
    return [revision for revision in (part.revision for part in parts) if revision is not None]


class _Starting:
    """
    Somebody who waits until parts have started.

    :param on_cancel: called when he does not wait any more.

    :ivar parts: as given.
    :ivar is_addition: whether he has added them to others, and is the one who learns that they cannot be watched.
    :ivar done: fires then.
    """

    def __init__(
        self, way: WatchWay, parts: tuple[Part, ...], is_addition: bool, on_cancel: Callable[[_Starting], None]
    ) -> None:
        self._way = way
        self._on_cancel = on_cancel
        self._timer: IDelayedCall = way.clock.callLater(way.timeout, self._expire)
        self.parts = parts
        self.is_addition = is_addition
        self.done: Deferred[Watch] = Deferred(lambda _: self._leave())

    def fire(self, watch: Watch) -> None:
        """They have."""
        self._stop_timer()
        self.done.callback(watch)

    def fail(self, error: Error) -> None:
        """They never will."""
        self._stop_timer()
        self.done.errback(error)

    def _expire(self) -> None:
        self._on_cancel(self)
        missing = [part for part in self.parts if not part.is_started]
        seconds = in_seconds(self._way.timeout)
        # a timeout would say the same again
        errors = [part.error for part in missing if part.error is not None and not isinstance(part.error, Timeout)]
        reasons = dict.fromkeys(f"; {error}" for error in errors)
        error = Timeout(f"the watch of {missing[0].keys!r} was not set up within {seconds}{''.join(reasons)}")
        self.done.errback(self._way.calls.located(error, WATCH))

    def _leave(self) -> None:
        self._stop_timer()
        self._on_cancel(self)

    def _stop_timer(self) -> None:
        if self._timer.active():
            self._timer.cancel()


class Watch:
    """
    Watches keys, and hands over what changes as it is asked for: ``async for event in watch``.

    * Every change of the watched keys from the start on arrives once for each key set that the key is in; the changes
      of a key set in the order in which they happened, those of one revision together.
    * When a stream is lost, the watch is set up again, wherever a server answers, and goes on behind what has arrived:
      nothing is skipped and nothing comes twice, however long that takes. The first attempt is made at once, the next
      ones after up to a second. :attr:`state` tells what it is up to.
    * It ends for these reasons: :meth:`stop`, and closing the client; permission that is denied; changes that were
      compacted away before they could be told (*on_compacted*); another cluster, or one that has gone back in time
      (:class:`~txetcd.errors.RevisionLost`, which is as compacted). And as long as it was never set up: when the server
      refuses the request, when nobody at all can be asked who speaks the protocol, or when the *retry* of the client
      gives up. What has arrived before is still handed over; then the iteration raises the reason.
    * A server that is dead in silence is noticed and left: with ``grpc://`` within about fifteen seconds, by asking its
      connection for a sign of life; with ``http://`` within *liveness* and *timeout* seconds of the client, as a stream
      on which nothing comes for so long is replaced by another one.
    * A consumer that is slower than the changes makes the server wait, not the memory grow (:data:`BUFFER`). With
      ``grpc://`` watches share streams: that of a slow consumer gets one of its own, so that others do not wait for it.

    Made by :meth:`Client.watcher <txetcd.Client.watcher>`; :meth:`stop` it when it is no longer needed, or use it as
    ``async with``.
    """

    def __init__(self, way: WatchWay, keys: tuple[KeySet, ...], options: WatchOptions):
        self._way = way
        self._options = options
        self._parts: dict[KeySet, Part] = {}
        self._removed: list[Part] = []
        self._buffer: deque[Arrived] = deque()
        self._size = 0
        self._paused: dict[Part, None] = {}
        self._is_over = self._was_live = False
        self._reason: Optional[Error] = None
        self._readers: deque[Deferred[Optional[Event]]] = deque()
        self._starting: list[_Starting] = []
        self._stopping: list[Deferred[None]] = []
        self._forget_close = way.calls.at_close(self._drop)
        if way.calls.is_closed:
            self._end(way.calls.located(Closed(), WATCH))
        else:
            self._open(self._made(keys))

    # --- what the user does

    @property
    def revision(self) -> Optional[int]:
        """
        Every change up to and including this revision has been handed over (``int``): returned by the iteration, or
        passed to the callback. That holds at any time: while the watch runs, after :meth:`stop` (what is dropped then
        does not count), and after a failure. ``start_revision=watch.revision + 1`` goes on from there.

        * An event counts as soon as it was handed over, though the loop or the callback may still be at work on it. To
          note how far you have got, read this when you are done with an event; it costs next to nothing.
        * Of a revision with several changes it is the one before, until the last of them was handed over. So it is with
          all that was read in place of changes that are lost (``on_compacted="resync"``).
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
        return bool(self._paused)

    @property
    def state(self) -> str:
        """
        What it is up to (``str``); with several key sets, the last of these that is true of one:

        * ``"live"``: the server watches.
        * ``"opening"``: the server was asked to.
        * ``"waiting"``: the stream was lost, and it is about to be asked again.
        * ``"stopped"``: it is over.
        """
        states = {STOPPED} if self._is_over else {part.state for part in self._parts.values()}
        return next((state for state in (STOPPED, WAITING, OPENING) if state in states), LIVE)

    @property
    def losses(self) -> int:
        """How often a stream of it was lost (``int``), or replaced because of its token."""
        return sum(part.losses for part in self._parts.values())

    def when_started(self) -> Deferred[Watch]:
        """
        Waits until the server has set up the watch of every key set: every change from then on will be seen.

        :returns: a Deferred that fires with this watch. It fails with the reason if the watch could not be set up:
            :class:`~txetcd.errors.PermissionDenied`, :class:`~txetcd.errors.WatchRangeEmpty`, or
            :class:`~txetcd.errors.Closed` if it was stopped before. It fails with :class:`~txetcd.errors.Timeout` if
            nobody has set it up within the *timeout* of the client; the watch goes on trying then, unless you
            :meth:`stop` it. That the start is compacted away the server tells only after it has begun: then this
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
        :returns: a Deferred as of :meth:`when_started`, for the new ones. If the server refuses one of them meanwhile,
            it fails with the reason, none of them is watched, and the others go on.
        :raises ValueError: for a key set that is watched already.
        """
        sets = key_sets("keys", keys)
        for one in sets:
            if one in self._parts:
                raise ValueError(f"keys: {one!r} is watched already")
        if self._is_over:
            return fail(self._end_reason())
        parts = self._made(sets)
        started = self._when_started(parts, is_addition=True)
        self._open(parts)
        return started

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
        self._forget(self._parts[one] for one in sets)

    def request_progress(self, timeout: Optional[float] = None) -> Deferred[int]:
        """
        Asks the server how far the watch is: so whoever has been told nothing knows that nothing has happened
        (``WatchProgressRequest``). Only with ``grpc://``, and with etcd 3.4.25, 3.5.8 or later: older ones may tell
        of more than they have told the watch. A server tells it only if all watches that share the stream have been
        told everything, and from 3.5.35, 3.6 and 3.7 on if none of them begins in the future.

        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a revision (``int``): that of the store when it was asked, or later. Every
            change up to it has arrived, and :attr:`revision` will be as large when these were handed over. It fails
            with :class:`~txetcd.errors.Unimplemented` where that cannot be told, :class:`~txetcd.errors.Closed` when
            the watch is over, and :class:`~txetcd.errors.Timeout`. Cancelling it ends the waiting.
        :raises RuntimeError: if nothing is watched.
        """
        seconds = check_seconds("timeout", timeout) or self._way.timeout
        if self._is_over:
            return fail(self._end_reason())
        if not self._parts:
            raise RuntimeError("nothing is watched, and so nobody knows how far that is")
        told = Deferred.fromCoroutine(progress_of(self._way, tuple(self._parts.values()), seconds))
        stopped = self.when_stopped().addCallbacks(lambda _: told.cancel(), lambda _: told.cancel())
        return told.addBoth(self._progressed, stopped)

    def _progressed(self, result: Any, stopped: Deferred[None]) -> Any:
        if self._is_over:
            return Failure(self._end_reason())
        stopped.cancel()
        return result

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
        if self._buffer and not self._readers:
            # Hot: most are here already.
            return self._taken()
        event = await self._next()
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
        state = self.state.upper() if self._reason is None else f"FAILED {self._reason}"
        waiting = sum(len(arrived.left) for arrived in self._buffer)
        return f"<Watch {state} {list(self._parts)!r} revision={self.revision} waiting={waiting}>"

    # --- what the parts tell

    def _part_started(self, part: Part) -> None:
        """See :class:`~txetcd._watchpart.Owner`."""
        self._was_live = True
        self._fire_started()

    def _take_in(self, arrived: Arrived) -> None:
        """See :class:`~txetcd._watchpart.Owner`."""
        part = arrived.part
        self._buffer.append(arrived)
        self._size += arrived.size
        self._serve()
        if self._size > BUFFER and part not in self._paused and not self._is_over:
            self._paused[part] = None
            part.pause()

    def _part_failed(self, part: Part, error: Error) -> None:
        """See :class:`~txetcd._watchpart.Owner`."""
        # of a stream that has ended it is known where that was; it is not asked first any more
        error = error if error.endpoint else self._way.calls.located(error, WATCH)
        adding = next((one for one in self._starting if one.is_addition and part in one.parts), None)
        if isinstance(error, Closed):
            self._drop()
        elif adding is None:
            self._end(error)
        else:
            self._starting.remove(adding)
            self._forget(adding.parts)
            adding.fail(error)

    # --- within

    def _made(self, sets: Iterable[KeySet]) -> tuple[Part, ...]:
        parts = tuple(Part(self._way, self._options, keys, self) for keys in sets)
        self._parts.update((part.keys, part) for part in parts)
        return parts

    def _open(self, parts: tuple[Part, ...]) -> None:
        for part in parts:
            # whoever was told of an earlier one may have ended all
            if self._parts.get(part.keys) is part and not self._is_over:
                part.open()

    def _forget(self, parts: Iterable[Part]) -> None:
        removed = [self._parts.pop(part.keys) for part in tuple(parts) if self._parts.get(part.keys) is part]
        self._removed = [part for part in self._removed if part.is_behind] + removed
        for part in removed:
            part.close()
            self._paused.pop(part, None)
        self._fire_started()

    def _are_started(self, parts: tuple[Part, ...]) -> bool:
        return all(part.is_started or self._parts.get(part.keys) is not part for part in parts)

    def _fire_started(self) -> None:
        # one at a time: whoever is told may do something to the others
        while True:
            ready = next((one for one in self._starting if self._are_started(one.parts)), None)
            if ready is None:
                return
            self._starting.remove(ready)
            ready.fire(self)

    def _when_started(self, parts: tuple[Part, ...], is_addition: bool = False) -> Deferred[Watch]:
        if self._is_over:
            return fail(self._end_reason())
        if self._are_started(parts):
            return succeed(self)
        starting = _Starting(self._way, parts, is_addition, self._starting.remove)
        self._starting.append(starting)
        return starting.done

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
        self._paused.clear()
        self._reason = reason
        self._forget_close()
        for part in tuple(self._parts.values()):
            part.close()
        self._fire_the_end()

    def _fire_the_end(self) -> None:
        # one at a time: whoever is told may cancel the others
        while self._starting:
            self._starting.pop(0).fail(self._end_reason())
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
        left = self._buffer[0].left
        event = left.pop()
        if not left:
            self._handed_over(self._buffer.popleft())
        return event

    def _handed_over(self, arrived: Arrived) -> None:
        arrived.part.handed_over()
        self._size -= arrived.size
        if self._paused and self._size <= BUFFER // 2:
            paused, self._paused = self._paused, {}
            for one in paused:
                one.resume()

    def _next(self) -> Deferred[Optional[Event]]:
        if self._is_over and not self._buffer:
            return succeed(None) if self._reason is None else fail(self._end_reason())
        reader: Deferred[Optional[Event]] = Deferred(self._readers.remove)
        self._readers.append(reader)
        return reader


OnError = Callable[[Event, Exception], Any]


async def _deliver(watch: Watch, on_watch: Callable[[Event], Any], on_error: Optional[OnError]) -> None:
    """Calls *on_watch* with each event, one after the other. What it raises is logged, and the watch goes on."""
    async for event in watch:
        try:
            result = on_watch(event)
            if isinstance(result, (Deferred, Coroutine)):
                await result
            else:
                check_returned(result)
        except Exception as error:
            _log.failure(
                "{on_watch} failed on {event}; the watch goes on: {watch}", on_watch=on_watch, event=event, watch=watch
            )
            _tell(on_error, event, error)


def _tell(on_error: Optional[OnError], event: Event, error: Exception) -> None:
    if on_error is not None:
        try:
            check_returned(on_error(event, error))
        except Exception:
            _log.failure("{on_error} failed", on_error=on_error)


class WatchDeferred(Deferred[None]):
    """
    What :meth:`Client.watch <txetcd.Client.watch>` returns: fires when the watch is over. ``async with`` waits until
    the watch has started, gives the :class:`Watch`, and stops it at the end of the block.

    :ivar watch: the :class:`Watch`: what it is up to, when it has started, and when it is over.
    """

    def __init__(self, watch: Watch, on_watch: Callable[[Event], Any], on_error: Optional[OnError] = None) -> None:
        super().__init__(self._cancelled)
        self.watch = watch
        Deferred.fromCoroutine(_deliver(watch, on_watch, on_error)).addBoth(self._over)

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
