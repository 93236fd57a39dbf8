"""
The watch of one key set, without any input or output: what the server says in, what to do about it out.

Theory of operation. A :class:`WatchCore` goes through these states, and stays in the last one::

    opening --> live --> waiting --> opening --> ...
       any of them --> stopped

* *opening*: the server was asked for the watch, and has not answered.
* *live*: the server has set it up.
* *waiting*: it was lost, and is about to be asked for again; or something is done first: another token, a look at the
  revision of the cluster, the keys read once more.
* *stopped*: it cannot go on.

**Where it goes on.** :attr:`WatchCore.next_revision` is what the next watch begins with; everything before was given
out, and nothing from there on. So whatever is lost, nothing is skipped, and nothing comes twice:

* A watch from now on begins behind the revision that the answer to the first request tells. A server since 3.5.35, 3.6
  and 3.7 looks at that after it has set the watch up, and tells some changes from before as well (``recvLoop`` in
  etcd's ``v3rpc/watch.go``): they are dropped, or nobody would know where it began.
* The answer to any other request tells the revision of the store, which may be far ahead of the events.
* Events move it behind the last of them; progress (a message of nothing but a revision) behind that revision.
* A response may come in several fragments, and be cut within a revision. So of a fragment that is not the last one, the
  events of its last revision are kept back until the others have come: a revision comes as a whole, or not at all.
* It never goes back: a watch that begins in the future is told of progress before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Optional

import attrs

from ._backoff import Backoff
from ._messages import WatchResponse
from ._retry import Next, is_of_token, next_step
from ._schema import WATCH
from .errors import (
    AuthError,
    Closed,
    Compacted,
    Error,
    HostNotAllowed,
    PermissionDenied,
    ProtocolViolation,
    RequestError,
    RevisionLost,
    Unavailable,
    Unimplemented,
    WatchCanceled,
    WatchError,
    WrongCluster,
    refusal,
)
from .keyset import KeySet
from .values import Event, KeyValue, SyntheticEvent

OPENING, LIVE, WAITING, STOPPED = "opening", "live", "waiting", "stopped"

RAISE, RESUME, RESYNC = "raise", "resume", "resync"
"""What may be done about changes that nobody can tell any more."""

ON_COMPACTED = (RAISE, RESUME, RESYNC)

_TOKENS = 5
"""How often in a row another token is fetched: the next one may have ended again as well."""

_STEADY = 5.0
"""Seconds that a watch has to last for the next loss to count as the first one."""

_again = Backoff(0.025, 1.0)

_REFUSALS = (RequestError, WatchError, Unimplemented, HostNotAllowed)
"""What is wrong with the request, if no watch of it was ever set up."""


class Do(Enum):
    """
    What to do next.

    :cvar NOTHING: wait for what comes.
    :cvar ASK: ask for the watch again, after a pause.
    :cvar FETCH_TOKEN: have another token fetched, then ask again.
    :cvar LOOK: ask for the revision of the cluster, and tell it (:meth:`WatchCore.looked`); go on meanwhile.
    :cvar READ: read the keys, tell of which revision they are (:meth:`WatchCore.has_read`), then ask again.
    :cvar STOP: tell the user why.
    """

    NOTHING = auto()
    ASK = auto()
    FETCH_TOKEN = auto()
    LOOK = auto()
    READ = auto()
    STOP = auto()


@attrs.frozen
class Step:
    """
    What follows from something.

    :ivar do: what to do.
    :ivar events: what to hand over (a ``list`` of :class:`~txetcd.values.Event`).
    :ivar seconds: to wait before that, more or less.
    :ivar error: why (:class:`~txetcd.Error`).
    """

    do: Do = Do.NOTHING
    events: Sequence[Event] = ()
    seconds: float = 0.0
    error: Optional[Error] = None


_NOTHING = Step()


class WatchCore:
    """
    See above.

    :param keys: what is watched.
    :param start_revision: where it begins; 0 for now.
    :param on_compacted: one of :data:`ON_COMPACTED`.

    :ivar keys: as given.
    :ivar state: one of the four above.
    :ivar next_revision: what the next watch begins with; 0 as long as that is not known (``int``).
    :ivar failures: how often in a row it was lost before it has lasted (``int``).
    :ivar losses: how often it was asked for again (``int``).
    :ivar was_live: whether it was ever set up (``bool``).
    :ivar must_read: whether the keys have to be read before it is asked for again (``bool``).
    """

    def __init__(self, keys: KeySet, start_revision: int = 0, on_compacted: str = RAISE) -> None:
        self._on_compacted = on_compacted
        self._held: list[Event] = []
        self._tokens = 0
        self._live_since = 0.0
        # a revision that a server has shown to be there; and one that another server does not know of
        self._seen = self._doubted = 0
        self._hopeless: set[str] = set()
        self.keys = keys
        self.state = WAITING
        self.next_revision = start_revision
        self.failures = self.losses = 0
        self.was_live = self.must_read = False

    # --- what happens

    def asked(self) -> None:
        """The server is asked for the watch, or another stream takes the place of the one that it had."""
        self._held = []
        self.state = OPENING

    def received(self, message: WatchResponse, now: float, can_fetch_token: bool) -> Step:
        """
        The server says something.

        :param now: seconds of a clock.
        :param can_fetch_token: whether another token can be had.
        """
        # Hot: a microsecond, besides what each event costs, of each message.
        if message.events and self.state == LIVE and not message.canceled:
            return self._told(message)
        if message.canceled:
            return self._canceled(message, now, can_fetch_token)
        if message.created:
            return self._created(message, now)
        if self.state == OPENING:
            what = f"the first message on a watch of {self.keys!r} is no answer to the request"
            return self.lost(ProtocolViolation(what), now, can_fetch_token)
        self._progress(message.header.revision)
        return _NOTHING

    def lost(
        self,
        error: Optional[Error],
        now: float,
        can_fetch_token: bool,
        endpoint: str = "",
        endpoints: Sequence[str] = (),
    ) -> Step:
        """
        The stream has ended.

        :param error: why; ``None`` if the server just ended it.
        :param endpoint: the one that was asked.
        :param endpoints: all that may be asked.
        """
        if error is None:
            error = Unavailable(None, f"the server ended the stream of {self.keys!r}")
        if isinstance(error, Closed):
            return self._stop(error)
        if is_of_token(error) and can_fetch_token:
            return self._fetch_token(error, now)
        if isinstance(error, AuthError):
            return self._stop(error)
        if self._is_refusal(error) or self._is_hopeless(error, endpoint, endpoints):
            return self._stop(error)
        return self._again(error, now)

    def looked(self, revision: int) -> Step:
        """The cluster was at this *revision* after it was asked, by what a majority of it says."""
        if revision >= self._doubted or self.state == STOPPED:
            return _NOTHING
        lost = RevisionLost(revision, self._doubted)
        self._seen = revision
        return self._gap(lost, revision + 1, is_back=True)

    def given_up(self, error: Error) -> Step:
        """It is not asked for any more."""
        return self._stop(error)

    def compacted(self, error: Error) -> Step:
        """What the keys were where it begins cannot be read any more."""
        return self._gap(error, self.next_revision)

    def has_read(self, revision: int) -> None:
        """What the keys were at this *revision* was handed over, or noted; from there on it is watched."""
        self.next_revision = revision + 1
        self._seen = revision
        self.must_read = False

    def left(self) -> None:
        """It is taken from its stream, to be asked for on another one."""
        self._forget_held()

    def stop(self) -> None:
        """The user wants no more."""
        self.state = STOPPED
        self._held = []

    # --- within

    def _created(self, message: WatchResponse, now: float) -> Step:
        self.state, self.was_live, self._live_since = LIVE, True, now
        self._hopeless.clear()
        self._tokens = 0
        revision = message.header.revision
        if not self.next_revision:
            self.next_revision = revision + 1
        if revision >= self._seen:
            self._seen = revision
            return _NOTHING
        # a member may be behind the others for a while; a cluster that was restored stays behind
        self._doubted = self._seen
        return Step(Do.LOOK)

    def _told(self, message: WatchResponse) -> Step:
        events = message.events
        if events[0].kv.mod_revision < self.next_revision:
            events = [event for event in events if event.kv.mod_revision >= self.next_revision]
        if self._held:
            events, self._held = self._held + events, []
        if not events:
            return _NOTHING
        last = events[-1].kv.mod_revision
        if message.fragment:
            self.next_revision = last
            split = next(at for at, event in enumerate(events) if event.kv.mod_revision == last)
            events, self._held = events[:split], events[split:]
        else:
            self.next_revision = last + 1
        self._see(last)
        return Step(events=events)

    def _progress(self, revision: int) -> None:
        if not self._held:
            self.next_revision = max(self.next_revision, revision + 1)
        self._see(revision)

    def _see(self, revision: int) -> None:
        if revision > self._seen:
            self._seen = revision

    def _canceled(self, message: WatchResponse, now: float, can_fetch_token: bool) -> Step:
        reason = self._reason(message)
        if isinstance(reason, Compacted):
            return self._gap(reason, message.compact_revision)
        # up to 3.5.5 that is said of a token that is not taken as well
        if isinstance(reason, PermissionDenied) and can_fetch_token:
            return self._fetch_token(reason, now)
        return self.lost(reason, now, can_fetch_token)

    def _reason(self, message: WatchResponse) -> Error:
        if message.compact_revision:
            compacted = Compacted(None, f"{self.keys!r} up to {message.compact_revision}: {Compacted.text}")
            compacted.compact_revision = message.compact_revision
            return compacted
        if not message.cancel_reason:
            return WatchCanceled(None, f"the server ended the watch of {self.keys!r} without a reason")
        refused = refusal(None, message.cancel_reason)
        return WatchCanceled(None, message.cancel_reason) if type(refused) is Error else refused

    def _gap(self, error: Error, resume_at: int, is_back: bool = False) -> Step:
        """Changes from *next_revision* on cannot be told any more, but from *resume_at* on; 0 if that is not known."""
        if self._on_compacted == RAISE:
            return self._stop(error)
        self._held = []
        self.state = WAITING
        # to ask again would not tell it a second time, once a cluster that has gone back is as far as it was
        self.must_read = self._on_compacted == RESYNC
        if self.must_read:
            return Step(Do.READ, error=error)
        self.next_revision = max(self.next_revision, resume_at) if resume_at and not is_back else resume_at
        self.losses += 1
        return Step(Do.ASK, error=error)

    def _fetch_token(self, error: Error, now: float) -> Step:
        self._tokens += 1
        if self._tokens > _TOKENS:
            return self._stop(error)
        self._forget_held()
        self.losses += 1
        return Step(Do.FETCH_TOKEN, error=error)

    def _is_refusal(self, error: Error) -> bool:
        return not self.was_live and isinstance(error, _REFUSALS)

    def _is_hopeless(self, error: Error, endpoint: str, endpoints: Sequence[str]) -> bool:
        """
        Whether all endpoints fail for reasons that do not pass. Those of one that was ever different may pass, unless
        another cluster is there by now.
        """
        if next_step(WATCH, error, None, False) is Next.OTHERS and not self.was_live or isinstance(error, WrongCluster):
            self._hopeless.add(endpoint)
        return bool(endpoints) and self._hopeless.issuperset(endpoints)

    def _again(self, error: Error, now: float) -> Step:
        if self.state == LIVE and now - self._live_since >= _STEADY:
            self.failures = 0
        self._forget_held()
        self.losses += 1
        self.failures += 1
        # the first time at once: somebody else can be asked, or the server was just started anew
        seconds = _again(self.failures - 1) if self.failures > 1 else 0.0
        return Step(Do.ASK, seconds=seconds or 0.0, error=error)

    def _forget_held(self) -> None:
        # they come again, with the others of their revision
        self._held = []
        self.state = WAITING

    def _stop(self, error: Error) -> Step:
        self.stop()
        return Step(Do.STOP, error=error)


class Known:
    """
    Which keys there are, as far as the events of a watch tell, so that the difference to what is read can be told.
    """

    def __init__(self) -> None:
        self._revisions: dict[bytes, int] = {}

    def note(self, events: Sequence[Event]) -> None:
        """These changes were handed over."""
        revisions = self._revisions
        for event in events:
            if event.is_delete:
                revisions.pop(event.kv.key, None)
            else:
                revisions[event.kv.key] = event.kv.mod_revision

    def put(self, kvs: Sequence[KeyValue]) -> None:
        """These keys are there."""
        self._revisions.update((kv.key, kv.mod_revision) for kv in kvs)

    def doubt(self) -> None:
        """The cluster has gone back: a revision may be that of another change by now."""
        self._revisions = dict.fromkeys(self._revisions, 0)

    def difference(self, kvs: Sequence[KeyValue], revision: int) -> list[Event]:
        """
        The changes that make of what is known what was read: those that were written, in the order in which that
        happened, then those that are not there any more.

        :param kvs: what was read.
        :param revision: of which revision that is.
        """
        there = {kv.key for kv in kvs}
        written = [kv for kv in kvs if self._revisions.get(kv.key) != kv.mod_revision]
        written.sort(key=lambda kv: kv.mod_revision)
        gone = [key for key in self._revisions if key not in there]
        events: list[Event] = [SyntheticEvent("put", kv) for kv in written]
        return events + [SyntheticEvent("delete", KeyValue(key, mod_revision=revision)) for key in gone]
