"""
One call, tried until it has an answer, as long as that does no harm and its time lasts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ._backoff import Policy, check_pause, in_seconds, jittered, quorum
from ._endpoints import Endpoints
from ._identity import Identity
from ._messages import Empty
from ._protobuf import encode
from ._retry import Next, is_of_endpoint, is_of_token, is_repeatable, next_step
from ._schema import AUTHENTICATE, LEASE_KEEP_ALIVE, LEASE_REVOKE, MEMBER_LIST, RANGE, RPCS, STATUS, Rpc
from ._silence import Silence
from ._tokens import Tokens
from ._transport import CallCancelled, Metadata, Transport, unanswered
from .errors import (
    AuthFailed,
    DeadlineExceeded,
    Error,
    NoSpace,
    OutcomeUnknown,
    ProtocolViolation,
    RequestTooLarge,
    ResourceError,
    Timeout,
    Unavailable,
    WrongCluster,
    is_ambiguous,
    is_of_request,
)

_SHARE = 0.75
"""
Of the time that is left, for an attempt that can be made elsewhere as well. Members that hang or are cut off are left
sooner (see :mod:`txetcd._silence`): this is for an answer that is lost on its way.
"""

_TOKENS_KEPT = 8
"""Tokens for which it is kept what goes along with a request: they come one after the other."""

_FRESH_TOKENS = 2
"""Tokens that a call tries one right after the other; then it waits before the next one, as after other failures."""

_log = Logger()


@attrs.frozen
class Way:
    """
    What all calls of a client go by.

    :ivar clock: the reactor.
    :ivar transport: carries an attempt.
    :ivar endpoints: where to.
    :ivar identity: of which cluster.
    :ivar tokens: with which token.
    :ivar policy: how long to wait before a new round of attempts.
    :ivar requires_leader: whether a member without a leader shall refuse at once.
    :ivar random: gives numbers from 0 up to 1, by chance.
    :ivar silence: watches over those who wait.
    """

    clock: Any
    transport: Transport
    endpoints: Endpoints
    identity: Identity
    tokens: Tokens
    policy: Policy
    requires_leader: bool
    random: Callable[[], float]
    silence: Silence
    _metadata: dict[tuple[str, bool], Metadata] = attrs.field(factory=dict, init=False, repr=False)

    def is_doubtful(self, url: str, rpc: Rpc) -> bool:
        """Whether an endpoint must be asked of which cluster it is, before *rpc* is sent there."""
        # where there is only one, what it answers tells; but that is too late for a write
        is_harmless = rpc.is_read or rpc.name in _OF_LEASE
        return self.identity.is_doubtful(url) and not (is_harmless and len(self.endpoints) == 1)

    def replace(self, urls: Sequence[str]) -> None:
        """Goes by these endpoints from now on; what is under way goes on where it is."""
        self.endpoints.replace(urls)
        self.transport.keep_only(urls)

    def metadata(self, rpc: Rpc, request: Any) -> Metadata:
        """What goes along with a request: nearly always the same."""
        key = (self.tokens.token, self.requires_leader and needs_leader(rpc, request))
        metadata = self._metadata.get(key)
        if metadata is None:
            if len(self._metadata) >= _TOKENS_KEPT:
                self._metadata.clear()
            metadata = self._metadata[key] = Metadata(*key)
        return metadata


_OF_LEASE = frozenset((LEASE_KEEP_ALIVE.name, LEASE_REVOKE.name))
"""What has no effect on another cluster: it does not have the lease."""

_OF_MEMBER = frozenset(name for name in RPCS if name.startswith("Maintenance."))
"""What a member is asked of itself."""

_PERHAPS_OF_MEMBER = frozenset((RANGE.name, MEMBER_LIST.name))
"""What it may be asked to answer as it knows it itself."""


def needs_leader(rpc: Rpc, request: Any) -> bool:
    """Whether the answer of a member that is cut off is of no use: not if it is asked what it knows itself."""
    if rpc.name in _PERHAPS_OF_MEMBER:
        return not request.serializable
    return rpc.name not in _OF_MEMBER


def explained(error: Error, rpc: Rpc, request: Any) -> Error:
    """
    *error*, which says of a write whether it may have been applied: see :func:`~txetcd.errors.is_ambiguous`.

    :param request: what was asked.
    """
    if isinstance(error, RequestTooLarge) and not is_of_request(error, len(encode(rpc, request))):
        error = ResourceError(error.code, error.message)
    if rpc.is_read:
        return error
    if isinstance(error, (NoSpace, ProtocolViolation, WrongCluster)):
        error.maybe_applied = True
    # without a code it is ours, and says what is known
    elif not error.maybe_applied and error.code is not None and is_ambiguous(error):
        return _unknown(error)
    return error


def _unknown(error: Error) -> OutcomeUnknown:
    unknown = OutcomeUnknown(error.code, error.message)
    unknown.__cause__ = error
    return unknown


def _may_leave(rpc: Rpc, is_idempotent: Optional[bool]) -> bool:
    """Whether what was sent may be asked elsewhere meanwhile: that a write may be repeated does not count."""
    return is_repeatable(rpc, None if is_idempotent else is_idempotent)


class FirstAttempt:
    """
    The first attempt at a call, which nearly always is the only one: what the others need is made when there are any.

    :param way: how.
    :param seconds: for the whole call.
    :param is_idempotent: whether it does no harm to carry it out twice; ``None`` for what the table says.
    :param on_end: called with this, or with the :class:`Attempts` that go on from here, when there is an ``outcome``,
        and before ``done`` fires with it; may change it, and may cancel ``done``, which fires it with that, too.

    :ivar rpc: as given.
    :ivar done: as :meth:`Calls.call <txetcd._calls.Calls.call>` promises.
    :ivar outcome: what it fires with; ``None`` as long as that is not known.
    :ivar url: the endpoint that is asked (``str``).
    :ivar began_at: when, in seconds of the clock (``float``).
    :ivar asked_at: the same.
    :ivar metadata: what goes along with it.
    :ivar retries: 0.
    """

    __slots__ = ("_way", "rpc", "_request", "_seconds", "_is_idempotent", "_on_end", "_answer", "_others", "_is_heard",
                 "_has_left", "done", "outcome", "url", "began_at", "asked_at", "metadata")  # fmt: skip

    retries = 0

    def __init__(
        self,
        way: Way,
        rpc: Rpc,
        request: Any,
        seconds: float,
        is_idempotent: Optional[bool],
        on_end: Callable[[Any], None],
    ) -> None:
        # Hot: every call comes along here, and this is why it does not begin with all that Attempts keeps.
        self._way = way
        self.rpc = rpc
        self._request = request
        self._seconds = seconds
        self._is_idempotent = is_idempotent
        self._on_end = on_end
        self._others: Optional[Attempts] = None
        self.outcome: Any = None
        self._is_heard = self._has_left = False
        self.began_at = self.asked_at = way.clock.seconds()
        self.url = way.endpoints.pick(self.began_at)
        self.metadata = way.metadata(rpc, request)
        self.done: Deferred[Any] = Deferred(self._cancelled)

    def start(self) -> Deferred[Any]:
        """Begins; returns ``done``."""
        way, seconds = self._way, self._seconds
        has_others = len(way.endpoints) > 1
        if has_others and is_repeatable(self.rpc, self._is_idempotent):
            seconds *= _SHARE
        try:
            self._answer = way.transport.call(self.url, self.rpc, self._request, seconds, self.metadata)
        except BaseException:
            # as what it cannot encode
            self._answer = fail()
        if has_others:
            self._is_heard = way.silence.began(self)
        self._answer.addBoth(self._came)
        return self.done

    def _came(self, result: Any) -> None:
        way, is_failure = self._way, isinstance(result, Failure)
        if self._is_heard:
            way.silence.ended(self, not is_failure and needs_leader(self.rpc, self._request))
        if is_failure:
            if self._has_left or not isinstance(result.value, CallCancelled):
                self._go_on(result)
                return
        else:
            try:
                way.identity.check(self.url, result)
            except Exception:
                # of another cluster, or a fault of ours, which is not to be lost
                self._go_on(Failure())
                return
            way.endpoints.worked(self.url)
        self.outcome = result
        self._on_end(self)
        # unless whoever was told of the end has cancelled it
        if not self.done.called:
            self.done.callback(self.outcome)

    def _go_on(self, failure: Failure) -> None:
        others = Attempts(self._way, self.rpc, self._request, self._seconds, self._is_idempotent, "", self._on_end)
        self._others = others
        others.go_on(self, failure, self._has_left)

    def _cancelled(self, _: Deferred[Any]) -> None:
        if self._others is not None:
            self._others.cancel()
        elif self.outcome is not None:
            self.done.callback(self.outcome)
        else:
            self._answer.cancel()

    def leave(self) -> None:
        """See :meth:`Attempts.leave`."""
        if _may_leave(self.rpc, self._is_idempotent):
            self._has_left = True
            self._answer.cancel()


class Attempts:
    """
    A call, and all attempts at it.

    :param way: how.
    :param seconds: for all of it.
    :param is_idempotent: whether it does no harm to carry it out twice; ``None`` for what the table says.
    :param endpoint: ask only this one.
    :param on_end: called with the attempts when they have an ``outcome``, as of :class:`FirstAttempt`.

    :ivar rpc: as given.
    :ivar done: as :meth:`Calls.call <txetcd._calls.Calls.call>` promises.
    :ivar outcome: what it fires with; ``None`` as long as that is not known.
    :ivar url: the endpoint that was asked last; ``""`` if none was (``str``).
    :ivar asked_at: when, in seconds of the clock (``float``).
    :ivar metadata: what went along with that.
    :ivar tried: the endpoints that were asked, in their order (``dict`` with ``str`` as keys).
    :ivar retries: how many attempts there were after the first; -1 if there was none (``int``).
    :ivar began_at: when it began, in seconds of the clock (``float``).
    """

    def __init__(
        self,
        way: Way,
        rpc: Rpc,
        request: Any,
        seconds: float,
        is_idempotent: Optional[bool] = None,
        endpoint: str = "",
        on_end: Optional[Callable[[Attempts], None]] = None,
    ) -> None:
        self._way = way
        self.rpc = rpc
        self._request = request
        self._seconds: Optional[float] = seconds
        self._total = seconds
        self._is_idempotent = is_idempotent
        self._endpoint = endpoint
        self._on_end = on_end
        self._round: set[str] = set()
        # those that will not do before something is changed
        self._hopeless: set[str] = set()
        self._failures = self._refused_tokens = 0
        self._maybe_applied = self._is_over = self._is_leaving = self._has_left = False
        # what each endpoint has failed with last, and the last such failure that was no timeout
        self._reasons: dict[str, str] = {}
        self._outage: Optional[Error] = None
        # what the policy has raised, or what is wrong with what it made
        self._fault: Optional[BaseException] = None
        self._asks = rpc
        # what is under way; after the first attempt nothing is, until there is another one
        self._work: Deferred[Any] = succeed(None)
        self._waiting: Optional[IDelayedCall] = None
        self.outcome: Any = None
        self.url = ""
        self.asked_at = 0.0
        self.metadata = Metadata()
        self.tried: dict[str, None] = {}
        self.retries = -1
        self.began_at: float = way.clock.seconds()
        self.done: Deferred[Any] = Deferred(lambda _: self.cancel())

    def start(self) -> Deferred[Any]:
        """Begins; returns ``done``."""
        self._begin()
        return self.done

    def go_on(self, first: FirstAttempt, failure: Failure, has_left: bool) -> None:
        """
        Goes on from where the *first* attempt came to nothing.

        :param has_left: whether it did because it has left its endpoint.
        """
        self.done = first.done
        self.began_at = self.asked_at = first.began_at
        self.metadata = first.metadata
        self._goes_to(first.url)
        self._has_left = self._is_leaving = has_left
        self._seconds = None
        self.retries = 0
        self._came(failure, self._answered, self._unanswered)

    # --- an attempt

    def _begin(self) -> None:
        self._waiting = None
        if self._way.tokens.is_missing:
            self._follow(self._way.tokens.fetch(self._left()), lambda _: self._ask(), self._without_token)
        else:
            self._ask()

    def _ask(self) -> None:
        way = self._way
        self.retries += 1
        self.asked_at = way.clock.seconds()
        self._goes_to(self._endpoint or way.endpoints.pick(self.asked_at, self._round))
        if way.is_doubtful(self.url, self.rpc):
            self._follow(self._send(STATUS, Empty()), self._identified, self._not_identified)
        else:
            self._send_it()

    def _goes_to(self, url: str) -> None:
        self.url = url
        self._round.add(url)
        self.tried[url] = None

    def _identified(self, answer: Any) -> None:
        try:
            self._way.identity.check(self.url, answer)
        except WrongCluster as error:
            self._failed_with(error)
        else:
            self._send_it()

    def _not_identified(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, Error) or is_of_endpoint(error):
            self._failed(failure)
        elif is_of_token(error) and self.rpc is not AUTHENTICATE:
            # the answer to Authenticate tells, if there is to be one
            self._failed_with(error)
        else:
            # it refuses to say, which is an answer of the right one as well as of another
            self._send_it()

    def _send_it(self) -> None:
        self._follow(self._send(self.rpc, self._request), self._answered, self._unanswered)

    def _send(self, rpc: Rpc, request: Any) -> Deferred[Any]:
        way = self._way
        self._asks = rpc
        self.metadata = way.metadata(rpc, request)
        try:
            answer = way.transport.call(self.url, rpc, request, self._share(rpc), self.metadata)
        except BaseException:
            return fail()
        if self._endpoint or not way.silence.began(self):
            return answer
        return answer.addBoth(self._heard, needs_leader(rpc, request))

    def _heard(self, result: Any, is_majority: bool) -> Any:
        self._way.silence.ended(self, is_majority and not isinstance(result, Failure))
        return result

    def leave(self) -> None:
        """
        Asks elsewhere, if that does no harm: the endpoint is silent, and others are not. Once only, as it may be the
        call that makes them so. A write that was sent could be done later than what is written next: it stays.
        """
        if not self._has_left and _may_leave(self._asks, self._is_idempotent):
            self._has_left = self._is_leaving = True
            self._work.cancel()

    def _follow(
        self, work: Deferred[Any], on_success: Callable[[Any], None], on_failure: Callable[[Failure], None]
    ) -> None:
        self._work = work
        self._seconds = None
        work.addBoth(self._came, on_success, on_failure)

    def _came(
        self, result: Any, on_success: Callable[[Any], None], on_failure: Callable[[Failure], None]
    ) -> None:
        try:
            if isinstance(result, Failure):
                on_failure(result)
            else:
                on_success(result)
        except BaseException:
            # what these raise is a fault of ours: it ends the call, and is not lost
            self._end(Failure())

    def _left(self) -> float:
        if self._seconds is not None:
            # nothing was waited for yet, whatever the clock says: so errors tell the seconds that were given
            return self._seconds
        left: float = self.began_at + self._total - self._way.clock.seconds()
        return max(0.0, left)

    def _share(self, rpc: Rpc) -> float:
        """Seconds for an attempt. What can be asked elsewhere as well leaves a part of its time for that."""
        others = 0 if self._endpoint else len(self._way.endpoints) - len(self._round)
        if others > 0 and is_repeatable(rpc, self._is_idempotent):
            return self._left() * _SHARE
        return self._left()

    # --- what came of it

    def _answered(self, answer: Any) -> None:
        try:
            if not self._endpoint or self._endpoint in self._way.endpoints.urls:
                # what is no endpoint may be of any cluster
                self._way.identity.check(self.url, answer)
        except WrongCluster as error:
            self._failed_with(explained(error, self.rpc, self._request))
            return
        self._way.endpoints.worked(self.url)
        self._end(answer)

    def _unanswered(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Error):
            self._failed_with(explained(self._own_timeout(error) or error, self.rpc, self._request))
        else:
            self._failed(failure)

    def _own_timeout(self, error: Error) -> Optional[Timeout]:
        """The server knows our deadline: if this process is busy, it may be the first to say that it has passed."""
        if not isinstance(error, DeadlineExceeded) or self._left():
            return None
        late = unanswered(self._total, not self.rpc.is_read)
        late.__cause__ = error
        return late

    def _without_token(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Error):
            # of another call, and so of no meaning for this one; but an attempt before may have been carried out
            error.maybe_applied = self._maybe_applied
            self._end(failure)
        else:
            self._failed(failure)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CallCancelled) and self._is_leaving:
            self._is_leaving = False
            waited = in_seconds(self._way.clock.seconds() - self.asked_at)
            self._failed_with(Timeout(f"no answer for {waited}, while others gave one", error.maybe_applied))
        elif isinstance(error, CallCancelled):
            self._maybe_applied = self._maybe_applied or error.maybe_applied
            self._end(CallCancelled(self._maybe_applied))
        elif isinstance(error, Error):
            self._failed_with(error)
        else:
            self._end(failure)

    def _failed_with(self, error: Error) -> None:
        self._note(error)
        step = next_step(self.rpc, error, self._is_idempotent, self._way.tokens.can_be_fetched)
        if isinstance(error, AuthFailed) and self._way.is_doubtful(self.url, self.rpc):
            # whoever this is, he has other users
            step = Next.OTHERS
            self._way.endpoints.failed(self.url, self.asked_at, self._way.clock.seconds(), error.message)
        self._maybe_applied = self._maybe_applied or error.maybe_applied
        delay = self._delay(step)
        if self._is_over:
            # the policy is the user's, and has cancelled the call
            self._log_fault()
        elif delay is None or delay >= self._left():
            self._give_up(error)
        elif delay:
            self._waiting = self._way.clock.callLater(delay, self._begin)
        else:
            self._begin()

    def _delay(self, step: Next) -> Optional[float]:
        """Seconds until the next attempt; ``None`` for no more."""
        if step is Next.TOKEN:
            self._way.tokens.forget(self.metadata.token)
            self._refused_tokens += 1
            return 0.0 if self._refused_tokens <= _FRESH_TOKENS else self._pause()
        if step is Next.OTHERS:
            self._hopeless.add(self.url)
        is_hopeless = self._endpoint in self._hopeless or self._hopeless.issuperset(self._way.endpoints.urls)
        return None if step is Next.GIVE_UP or is_hopeless else self._pause()

    def _note(self, error: Error) -> None:
        if not is_of_endpoint(error):
            self._way.endpoints.worked(self.url)
            return
        if not isinstance(error, Timeout):
            self._outage = error
        if self._outage is error or self.url not in self._reasons:
            self._reasons[self.url] = error.message
        self._way.endpoints.failed(self.url, self.asked_at, self._way.clock.seconds(), error.message)
        self._way.identity.doubt(self.url)

    def _pause(self) -> Optional[float]:
        """Seconds until the next attempt: none before a majority of the endpoints was asked; ``None`` for no more."""
        self._failures += 1
        of_a_round = 1 if self._endpoint else quorum(len(self._way.endpoints))
        rounds, others = divmod(self._failures, of_a_round)
        if others:
            return 0.0
        if len(self._round) >= len(self._way.endpoints):
            self._round.clear()
        try:
            seconds = check_pause(self._way.policy(rounds))
            return None if seconds is None else jittered(seconds, self._way.random())
        except BaseException as fault:
            # of the user's, and no reason to lose what the call has failed with
            self._fault = fault
            return None

    # --- the end

    def _give_up(self, error: Error) -> None:
        if isinstance(error, Timeout) and not error.maybe_applied and self._outage is not None:
            if self.asked_at > self.began_at + self._total / 2:
                # the last attempt had no time to learn as much
                error = self._outage
        if is_of_endpoint(error):
            error.message += "".join(self._more_reasons(error.message))
        if self._maybe_applied and not error.maybe_applied:
            # an attempt before the last may have been carried out
            error = _unknown(error) if isinstance(error, Unavailable) else error
            error.maybe_applied = True
        error.call = self.rpc.name
        error.endpoint = ", ".join(self.tried)
        error.attempts = self.retries + 1
        if self._fault is not None and error.__cause__ is None:
            error.__cause__ = self._fault
        else:
            self._log_fault()
        self._end(Failure(error))

    def _log_fault(self) -> None:
        """What the policy has raised is told in the log, where no error can tell it."""
        if self._fault is not None:
            _log.failure("{policy} failed", Failure(self._fault), policy=self._way.policy)

    def _more_reasons(self, said: str) -> Iterator[str]:
        """What else the endpoints have failed with, unless it is the same."""
        for url, reason in self._reasons.items():
            if reason not in said:
                yield f"; before that: {reason}" if url == self.url else f"; at {url}: {reason}"

    def _end(self, result: Any) -> None:
        if not self._is_over:
            self._is_over = True
            self.outcome = Failure(result) if isinstance(result, CallCancelled) else result
            if self._on_end is not None:
                self._on_end(self)
            self._fire()

    def _fire(self) -> None:
        # unless whoever was told of the end has cancelled it
        if not self.done.called:
            self.done.callback(self.outcome)

    def cancel(self) -> None:
        """Ends it, at once."""
        if self._is_over:
            # whoever was told of the end cancels it
            self._fire()
            return
        if self._waiting is not None:
            self._waiting.cancel()
        else:
            self._work.cancel()
        # unless that has ended it: between two attempts nothing is under way
        self._end(CallCancelled(self._maybe_applied))
