"""
The watch of one key set: the thin shell of :mod:`txetcd._watchcore` on streams, calls and a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Callable, Optional, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ._backoff import Policy, check_pause, in_seconds, jittered, quorum
from ._calls import Calls
from ._check import check_choice, check_flag, check_optional_int, is_series, what_came
from ._messages import WatchCreateRequest, WatchResponse
from ._reading import read_keys
from ._schema import ENUMS, RANGE, WATCH
from ._watchcore import LIVE, ON_COMPACTED, OPENING, RAISE, RESYNC, STOPPED, Do, Known, Step, WatchCore
from ._watchstreams import Line, WatchStreams
from .errors import AuthError, Compacted, Error, FutureRevision, RevisionLost, Timeout
from .keyset import KeySet
from .ops import OpGet
from .values import Event, KeyValue

_log = Logger()

_LEAVES_OUT = {"NOPUT": "put", "NODELETE": "delete"}


@attrs.frozen
class WatchOptions:
    """
    What the watches of a :class:`~txetcd.Watch` have in common: see :meth:`Client.watcher <txetcd.Client.watcher>`.
    """

    filters: tuple[str, ...] = ()
    start_revision: int = 0
    return_previous: bool = False
    progress_notify: bool = False
    on_compacted: str = RAISE

    @classmethod
    def checked(
        cls,
        filters: Optional[Sequence[str]],
        start_revision: Optional[int],
        return_previous: Optional[bool],
        progress_notify: Optional[bool],
        on_compacted: Optional[str] = RAISE,
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
        if set(names) == set(_LEAVES_OUT):
            raise ValueError(f"filters: {' and '.join(names)} leave nothing to be told")
        check_choice("on_compacted", on_compacted, ON_COMPACTED)
        return cls(
            names,
            check_optional_int("start_revision", start_revision),
            check_flag("return_previous", return_previous),
            check_flag("progress_notify", progress_notify),
            on_compacted or RAISE,
        )

    @property
    def keeps_count(self) -> bool:
        """Whether it has to be known which keys there are (``bool``)."""
        return self.on_compacted == RESYNC

    def request(self, keys: KeySet, start_revision: int) -> WatchCreateRequest:
        """What asks the server for a watch of *keys* from that revision on; 0 for now."""
        # to know which keys there are, all changes are needed
        filters = () if self.keeps_count else self.filters
        # in fragments, because all that has happened since the start revision would come in one line otherwise
        return WatchCreateRequest(
            keys, start_revision, self.progress_notify, filters, self.return_previous, fragment=True
        )

    def wanted(self, events: Sequence[Event]) -> Sequence[Event]:
        """Those that are to be told."""
        if not (self.keeps_count and self.filters):
            return events
        left_out = {_LEAVES_OUT[name] for name in self.filters}
        return [event for event in events if event.type not in left_out]


@attrs.frozen
class WatchWay:
    """
    How the watches of a client are made.

    :ivar calls: asks.
    :ivar streams: carry them.
    :ivar clock: the reactor.
    :ivar timeout: seconds for the server to set a watch up.
    :ivar liveness: seconds of silence after which a stream is made anew, where nothing else shows that it is dead.
    :ivar policy: how long to wait before what was never set up is tried again.
    :ivar random: gives numbers from 0 up to 1, by chance.
    """

    calls: Calls
    streams: WatchStreams
    clock: Any
    timeout: float
    liveness: float
    policy: Policy
    random: Callable[[], float]


_EVENT_SIZE = 512
"""Bytes that an event takes besides its keys and values."""


class Arrived:
    """
    Events that have come together, and wait to be handed over.

    :param part: whose they are.
    :param events: in their order; at least one.
    :param since: if not 0, they are complete only together, as what has come of all that has happened since that
        revision.

    :ivar part: as given.
    :ivar left: those that are left of them, the last one first.
    :ivar size: the bytes that all of them take (``int``).
    """

    __slots__ = ("_since", "left", "part", "size")

    def __init__(self, part: Part, events: Sequence[Event], since: int) -> None:
        self._since = since
        self.part = part
        self.left = list(reversed(events))
        self.size = _size(events)

    @property
    def revision(self) -> int:
        """That of the first change that is not handed over (``int``)."""
        return self._since or self.left[-1].kv.mod_revision


def _size(events: Sequence[Event]) -> int:
    size = _EVENT_SIZE * len(events)
    for event in events:
        kv, previous = event.kv, event.previous
        size += len(kv.key) + len(kv.value)
        if previous is not None:
            size += len(previous.value)
    return size


class Owner(Protocol):
    """
    Whose part it is.

    :ivar _was_live: whether any part of his was ever set up (``bool``).
    """

    _was_live: bool

    def _part_started(self, part: Part) -> None:
        """The server has set it up, for the first time or again."""

    def _take_in(self, arrived: Arrived) -> None:
        """Changes have come."""

    def _part_failed(self, part: Part, error: Error) -> None:
        """It cannot go on."""


class Part:
    """
    The watch of one key set, through all outages.

    :param way: how it is made.
    :param options: what is asked for.
    :param keys: what is watched.
    :param owner: whose it is.

    :ivar keys: as given.
    :ivar error: what the last loss was (:class:`~txetcd.Error`), or ``None``.
    """

    def __init__(self, way: WatchWay, options: WatchOptions, keys: KeySet, owner: Owner) -> None:
        self._way = way
        self._options = options
        self._owner = owner
        self._core = WatchCore(keys, options.start_revision, options.on_compacted)
        self._line: Optional[Line] = None
        # takes the place of the other as soon as it is set up
        self._next_line: Optional[Line] = None
        self._timer: Optional[IDelayedCall] = None
        self._work: Deferred[Any] = succeed(None)
        self._looking: Deferred[Any] = succeed(None)
        self._waiting: deque[Arrived] = deque()
        self._heard_at = 0.0
        self._is_paused = self._has_own_line = False
        # which keys there are, if that is needed, as soon as it is known where it begins
        self._known: Optional[Known] = None
        self.keys = keys
        self.error: Optional[Error] = None

    # --- what it is

    @property
    def state(self) -> str:
        """``"opening"``, ``"live"``, ``"waiting"`` or ``"stopped"``: see :mod:`txetcd._watchcore`."""
        return self._core.state

    @property
    def is_started(self) -> bool:
        """Whether the server has ever set the watch up (``bool``)."""
        return self._core.was_live

    @property
    def losses(self) -> int:
        """How often it was asked for again (``int``)."""
        return self._core.losses

    @property
    def url(self) -> str:
        """The server that watches (``str``); ``""`` if none does."""
        return self._line.url if self._line is not None and self._core.state == LIVE else ""

    @property
    def arrived(self) -> int:
        """Every change up to this revision has arrived (``int``)."""
        return self._core.next_revision - 1

    def ask_for_progress(self) -> None:
        """Asks the server how far it is; it tells that only if all watches of the stream have been told everything."""
        if self._line is not None and self._core.state == LIVE:
            self._line.ask_for_progress()

    @property
    def revision(self) -> Optional[int]:
        """
        Every change up to this revision has been handed over (``int``); ``None`` as long as it is not known where the
        watch begins.
        """
        if self._waiting:
            return self._waiting[0].revision - 1
        return self._core.next_revision - 1 if self._core.next_revision else None

    @property
    def is_behind(self) -> bool:
        """Whether events of it wait to be handed over (``bool``)."""
        return bool(self._waiting)

    def handed_over(self) -> None:
        """All events of the first ones that wait were handed over."""
        self._waiting.popleft()

    # --- what is done with it

    def open(self) -> None:
        """Asks for the watch."""
        self._begin()

    def close(self) -> None:
        """Ends the watch; the server forgets it."""
        self._core.stop()
        self._stop_timer()
        self._work.cancel()
        self._looking.cancel()
        self._drop_lines()

    def pause(self) -> None:
        """
        Reads no further. On a stream with others, these would have to wait: so it is asked for again, from where it is,
        on one of its own.
        """
        self._is_paused = True
        if self._line is None or self._core.state != LIVE:
            # not before the answer to the request is read, which somebody may wait for
            return
        if self._line.is_shared:
            self._has_own_line = True
            self._drop_lines()
            self._stop_timer()
            self._core.left()
            self._ask()
        else:
            self._line.pause()

    def resume(self) -> None:
        """Reads on."""
        self._is_paused = False
        if self._line is not None:
            self._line.resume()

    # --- asking

    def _begin(self) -> None:
        self._timer = None
        start = self._options.start_revision
        if self._core.must_read:
            self._read_again()
        elif self._known is not None or not self._options.keeps_count:
            self._ask()
        elif start == 1:
            # there was nothing before
            self._known = Known()
            self._ask()
        else:
            self._count(max(start - 1, 0))

    def _count(self, revision: int) -> None:
        self._work = read_keys(self._way.calls, self.keys, revision, keys_only=True)
        self._work.addCallbacks(self._has_counted, self._not_read)

    def _has_counted(self, found: tuple[int, list[KeyValue]]) -> None:
        revision, kvs = found
        self._known = Known()
        self._known.put(kvs)
        if not self._core.next_revision:
            self._core.has_read(revision)
        self._ask()

    def _ask(self) -> None:
        self._timer = None
        self._core.asked()
        line = self._open_line()
        # it may have been lost already
        if self._core.state == OPENING:
            self._line = line
            self._wait(self._way.timeout, self._not_answered)

    def _open_line(self) -> Line:
        request = self._options.request(self.keys, self._core.next_revision)
        return self._way.streams.open(request, self, not self._has_own_line)

    def _not_answered(self) -> None:
        """Nothing has come to the request, or to the one that was to take the place of the other."""
        self._timer = None
        line = self._next_line or self._line
        error = Timeout(f"the watch of {self.keys!r} was not set up within {in_seconds(self._way.timeout)}")
        if line is not None:
            line.blame(error.message)
        self._lost(error, "" if line is None else line.url)

    # --- what comes

    def on_message(self, line: Line, message: WatchResponse) -> None:
        """See :class:`~txetcd._watchstreams.Watcher`."""
        if line is self._next_line:
            self._replace_line()
        self._heard_at = self._way.clock.seconds()
        was_opening = self._core.state == OPENING
        step = self._core.received(message, self._heard_at, self._way.calls.has_login)
        if was_opening and self._core.state == LIVE:
            self._started(line)
        self._follow(step)

    def on_loss(self, line: Line, error: Optional[Error]) -> None:
        """See :class:`~txetcd._watchstreams.Watcher`."""
        if self._core.state != STOPPED:
            self._lost(error, line.url)

    def _lost(self, error: Optional[Error], url: str) -> None:
        calls = self._way.calls
        self._follow(self._core.lost(error, self._way.clock.seconds(), calls.has_login, url, calls.endpoints))

    def _started(self, line: Line) -> None:
        self._line = line
        self._stop_timer()
        self._listen_for(self._way.liveness)
        if self._is_paused:
            self.pause()
        self._owner._part_started(self)

    def _follow(self, step: Step) -> None:
        if step.events:
            self._tell(step.events)
        if step.do is Do.NOTHING or self._core.state == STOPPED and step.do is not Do.STOP:
            return
        self.error = step.error or self.error
        if step.do is not Do.LOOK:
            # whatever was under way would go on beside it, and end up with a stream of its own
            self._stop_timer()
            self._work.cancel()
            self._drop_lines()
        self._DO[step.do](self, step)

    def _tell(self, events: Sequence[Event], since: int = 0) -> None:
        """Hands them over; *since* as of :class:`Arrived`."""
        if self._known is not None:
            self._known.note(events)
            events = self._options.wanted(events)
        if events:
            arrived = Arrived(self, events, since)
            self._waiting.append(arrived)
            self._owner._take_in(arrived)

    def _ask_later(self, step: Step) -> None:
        assert step.error is not None
        seconds = step.seconds if self._owner._was_live else self._pause()
        if seconds is None:
            self._follow(self._core.given_up(step.error))
        else:
            self._wait(jittered(seconds, self._way.random()), self._begin)

    def _pause(self) -> Optional[float]:
        """Before anything was ever set up, the policy decides: seconds, none before a majority was asked."""
        rounds, others = divmod(self._core.failures, quorum(len(self._way.calls.endpoints)))
        if others:
            return 0.0
        try:
            return check_pause(self._way.policy(rounds))
        except Exception:
            # of the user's
            _log.failure("{policy} failed", policy=self._way.policy)
            return None

    def _read(self, step: Step) -> None:
        if self._known is not None and isinstance(step.error, RevisionLost):
            self._known.doubt()
        self._read_again()

    def _read_again(self) -> None:
        self._work = read_keys(self._way.calls, self.keys)
        self._work.addCallbacks(self._has_read, self._not_read)

    def _has_read(self, found: tuple[int, list[KeyValue]]) -> None:
        revision, kvs = found
        self._known = self._known or Known()
        since = self._core.next_revision
        self._core.has_read(revision)
        self._tell(self._known.difference(kvs, revision), since)
        if self._core.state != STOPPED:
            self._ask()

    def _not_read(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Compacted):
            self._follow(self._core.compacted(error))
        elif isinstance(error, FutureRevision) and not self._core.must_read:
            # it begins in the future, and what happens before is not told
            self._count(0)
        elif isinstance(error, Error):
            self._lost(error, "")

    def _fetch_token(self, step: Step) -> None:
        # a call fetches another one, if any can; and what may be read may be watched
        op = OpGet(self.keys, keys_only=True, limit=1, serializable=True)
        self._work = self._way.calls.call(RANGE, op)
        self._work.addCallbacks(lambda _: self._begin(), self._not_allowed)

    def _not_allowed(self, failure: Failure) -> None:
        error = failure.value
        # else it was stopped meanwhile
        if isinstance(error, AuthError):
            # that is the answer to the watch as well, and not what was wrong with the token before
            error.call = WATCH.name
            self._follow(self._core.given_up(error))
        elif isinstance(error, Error):
            self._lost(error, "")

    def _look(self, step: Step) -> None:
        op = OpGet(self.keys, keys_only=True, limit=1)
        self._looking.cancel()
        self._looking = self._way.calls.call(RANGE, op)
        self._looking.addCallbacks(
            lambda found: self._follow(self._core.looked(found.header.revision)), self._not_looked
        )

    def _not_looked(self, failure: Failure) -> None:
        # if the cluster has gone back, nothing would ever be told: so it is asked for again, and then looked again
        if isinstance(failure.value, Error) and self._core.state == LIVE:
            self._lost(failure.value, "")

    def _stop(self, step: Step) -> None:
        assert step.error is not None
        self._owner._part_failed(self, step.error)

    _DO: dict[Do, Callable[[Part, Step], None]] = {
        Do.ASK: _ask_later,
        Do.FETCH_TOKEN: _fetch_token,
        Do.LOOK: _look,
        Do.READ: _read,
        Do.STOP: _stop,
    }

    # --- is it alive?

    def _listen_for(self, seconds: float) -> None:
        # where more can be asked on a stream, its connection is asked for signs of life
        if not self._way.calls.is_duplex:
            self._wait(seconds, self._listen)

    def _listen(self) -> None:
        """Nothing may have come for a while: whether the stream is dead shows when another one has taken its place."""
        self._timer = None
        silent = self._way.clock.seconds() - self._heard_at
        if self._is_paused or silent < self._way.liveness:
            self._listen_for(self._way.liveness if self._is_paused else self._way.liveness - silent)
            return
        line = self._open_line()
        # it may have been lost already
        if self._core.state == LIVE:
            self._next_line = line
            self._wait(self._way.timeout, self._not_answered)

    def _replace_line(self) -> None:
        line, self._line, self._next_line = self._line, self._next_line, None
        if line is not None:
            line.close()
        self._stop_timer()
        self._core.asked()

    # --- within

    def _drop_lines(self) -> None:
        lines = (self._line, self._next_line)
        self._line = self._next_line = None
        for line in lines:
            if line is not None:
                line.close()

    def _wait(self, seconds: float, call: Callable[[], None]) -> None:
        self._timer = self._way.clock.callLater(seconds, call)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
