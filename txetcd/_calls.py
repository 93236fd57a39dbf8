"""
Calls on a cluster: what the verbs are made of.

Between the verbs, which know what they want, and a transport, which asks one endpoint once: the deadline that a call
has by default, attempts until it has an answer (:mod:`txetcd._attempts`), and an end for all of it when the client is
closed.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Protocol, TypeVar, Union, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from ._attempts import Attempts, FirstAttempt, Way, explained
from ._counters import Counters
from ._retry import is_of_endpoint
from ._schema import Rpc
from ._transport import CallCancelled, DuplexStream, Metadata, Stream
from .errors import AuthOldRevision, Closed, Error, InvalidAuthToken, ProtocolViolation, UserEmpty, WrongCluster
from .values import ClientStats

DEFAULT_TIMEOUT = 10.0
"""
Seconds for a call that was given no timeout. A server that cannot reach the majority gives up after seven (five, and
two election timeouts): within ten its own error arrives, which says more than our timeout could.
"""

LONG_TIMEOUT = 120.0
"""Seconds for a call that takes long by its nature, as all that works through the whole database."""

GRACE = 2.0
"""Seconds that closing waits for what would otherwise leave something behind at the server."""

E = TypeVar("E", bound=Error)


class CallStream(Stream, Protocol):
    """
    A stream to one of several endpoints.

    :ivar url: which one; ``""`` as long as none was asked (``str``).
    """

    url: str

    def send(self, request: Any) -> None:
        """Asks more: see :meth:`DuplexStream.send <txetcd._transport.DuplexStream.send>`."""

    def blame(self, reason: str) -> None:
        """The endpoint has failed, also if it was only silent: whoever waits for an answer knows that, and why."""


def broken_off(stream: CallStream, what: str) -> ProtocolViolation:
    """Leaves a stream on which something was said that etcd does not say; returns the error that this is."""
    stream.blame(what)
    stream.abort()
    return ProtocolViolation(f"no answer of etcd: {what}")


class _NoStream:
    """A stream that there is not."""

    def __init__(self, error: Error) -> None:
        self.url = ""
        self.ended: Deferred[None] = fail(error)

    def pause(self) -> None:
        """There is nothing to pause."""

    def resume(self) -> None:
        """There is nothing to resume."""

    def send(self, request: Any) -> None:
        """There is nobody to ask."""

    def blame(self, reason: str) -> None:
        """There is nobody to blame."""

    def abort(self) -> None:
        """There is nothing to end."""


class _RoutedStream:
    """
    A stream to an endpoint, or to whichever is asked next, as soon as there is a token.

    See :class:`Stream <txetcd._transport.Stream>`.
    """

    def __init__(self, way: Way, rpc: Rpc, request: Any, on_message: Callable[[Any], None], endpoint: str) -> None:
        self._way = way
        self._rpc = rpc
        self._request = request
        self._more: list[Any] = []
        self._on_message = on_message
        self._endpoint = endpoint
        self._is_paused = False
        self._stream: Optional[Stream] = None
        self._work: Deferred[Any] = succeed(None)
        self._asked_at = 0.0
        self._metadata = Metadata()
        self.url = ""
        self.ended: Deferred[None] = Deferred(lambda _: self.abort())

    def start(self, seconds: float) -> None:
        """Begins; a token that must be fetched first may take so many seconds."""
        if self._way.tokens.is_missing:
            self._work = self._way.tokens.fetch(seconds)
            self._work.addCallbacks(lambda _: self._open(), self._failed)
        else:
            self._open()

    def _open(self) -> None:
        way = self._way
        self._asked_at = way.clock.seconds()
        self.url = self._endpoint or way.endpoints.pick(self._asked_at)
        self._metadata = way.metadata(self._rpc, self._request)
        self._stream = stream = way.transport.stream(self.url, self._rpc, self._request, self._message, self._metadata)
        more, self._more = self._more, []
        for request in more:
            self.send(request)
        if self._is_paused:
            stream.pause()
        stream.ended.addCallbacks(self._over, self._failed)

    def _message(self, message: Any) -> None:
        try:
            self._way.identity.check(self.url, message)
        except WrongCluster:
            self._failed(Failure())
        else:
            self._way.endpoints.worked(self.url)
            self._on_message(message)

    def _over(self, _: None) -> None:
        if not self.ended.called:
            self.ended.callback(None)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Error) and self.url:
            if isinstance(error, (InvalidAuthToken, AuthOldRevision, UserEmpty)):
                self._way.tokens.forget(self._metadata.token)
            if is_of_endpoint(error):
                self.blame(error.message)
        self._end_with(failure)

    def _end_with(self, failure: Failure) -> None:
        if not self.ended.called:
            self.ended.errback(failure)
            if self._stream is not None:
                self._stream.abort()

    def pause(self) -> None:
        """See :meth:`Stream.pause <txetcd._transport.Stream.pause>`."""
        self._is_paused = True
        if self._stream is not None:
            self._stream.pause()

    def resume(self) -> None:
        """See :meth:`Stream.resume <txetcd._transport.Stream.resume>`."""
        self._is_paused = False
        if self._stream is not None:
            self._stream.resume()

    def send(self, request: Any) -> None:
        """See :meth:`DuplexStream.send <txetcd._transport.DuplexStream.send>`."""
        if self._stream is None:
            self._more.append(request)
        else:
            cast(DuplexStream, self._stream).send(request)

    def blame(self, reason: str) -> None:
        """See :meth:`CallStream.blame`."""
        if self.url:
            self._way.endpoints.failed(self.url, self._asked_at, self._way.clock.seconds(), reason)
            self._way.identity.doubt(self.url)

    def abort(self) -> None:
        """See :meth:`Stream.abort <txetcd._transport.Stream.abort>`."""
        self._over(None)
        self._work.cancel()
        if self._stream is not None:
            self._stream.abort()


class Calls:
    """
    Calls and streams to a cluster.

    :param way: how they are made.
    :param timeout: seconds for a call that is given no timeout.
    :param counters: counts them.

    :ivar is_closed: whether :meth:`close` was called (``bool``).
    """

    def __init__(self, way: Way, timeout: Optional[float] = None, counters: Optional[Counters] = None) -> None:
        self._way = way
        self._counters = counters or Counters()
        self._clock = way.clock
        self._transport = way.transport
        self._timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        # the value says whether it must not stop half-way
        self._under_way: dict[Deferred[Any], bool] = {}
        # those that are cancelled because the client is closed, and not by the user
        self._closed: set[Deferred[Any]] = set()
        self._streams: dict[_RoutedStream, None] = {}
        self._when_finished: list[Deferred[None]] = []
        self._closers: dict[object, Callable[[], None]] = {}
        self._is_shut = False
        self.is_closed = False

    @property
    def endpoint(self) -> str:
        """The URL that is asked next, if nothing is wrong with it (``str``)."""
        return self._way.endpoints.urls[0]

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The URLs of all endpoints, that one first (a ``tuple`` of ``str``)."""
        return self._way.endpoints.urls

    def stats(self) -> ClientStats:
        """See :meth:`Client.stats <txetcd.Client.stats>`."""
        reasons = self._way.endpoints.reasons
        healthy = {url: url not in reasons for url in self.endpoints}
        return ClientStats(
            self._counters.snapshot(), self.in_flight, len(self._streams), self.connections, healthy, reasons
        )

    @property
    def has_login(self) -> bool:
        """Whether there is a name and a password, so that another token can be fetched (``bool``)."""
        return self._way.tokens.can_be_fetched

    @property
    def is_duplex(self) -> bool:
        """Whether more can be asked on a stream (``bool``)."""
        return self._transport.is_duplex

    @property
    def in_flight(self) -> int:
        """How many calls have not been answered yet (``int``)."""
        return len(self._under_way)

    @property
    def timeout(self) -> float:
        """Seconds for a call that is given no timeout (``float``)."""
        return self._timeout

    @property
    def connections(self) -> int:
        """How many connections are open (``int``)."""
        return self._transport.connections

    def call(
        self,
        rpc: Rpc,
        request: Any,
        timeout: Optional[float] = None,
        *,
        is_idempotent: Optional[bool] = None,
        endpoint: str = "",
    ) -> Deferred[Any]:
        """
        Asks, and asks again if that does no harm and may help.

        :param timeout: seconds for everything, or ``None`` for the default.
        :param is_idempotent: whether it does no harm to carry it out twice; by default what the table says.
        :param endpoint: ask only this one.
        :returns: a Deferred as of :meth:`Transport.call <txetcd._transport.Transport.call>`, with what the last attempt
            came to; ``maybe_applied`` of an error speaks of all attempts. It fails with
            :class:`~txetcd.errors.WrongCluster` if another cluster answers, with what is said of the user's name and
            password if a token is needed, and with :class:`~txetcd.errors.Closed` after :meth:`close`.
        """
        if self.is_closed:
            return fail(self.located(Closed(), rpc))
        return self._ask(rpc, request, timeout, is_idempotent, endpoint, must_finish=False)

    def finish(
        self, rpc: Rpc, request: Any, timeout: Optional[float] = None, *, is_idempotent: Optional[bool] = None
    ) -> Deferred[Any]:
        """
        As :meth:`call`, for what must not stop half-way: :meth:`close` waits for it a little, and what follows from
        one such call may still be asked meanwhile.
        """
        if self._is_shut:
            return fail(self.located(Closed(), rpc))
        return self._ask(rpc, request, timeout, is_idempotent, must_finish=True)

    def _ask(
        self,
        rpc: Rpc,
        request: Any,
        timeout: Optional[float],
        is_idempotent: Optional[bool] = None,
        endpoint: str = "",
        *,
        must_finish: bool,
    ) -> Deferred[Any]:
        seconds = self._timeout if timeout is None else timeout
        way = self._way
        if not endpoint and not way.tokens.is_missing:
            first = FirstAttempt(way, rpc, request, seconds, is_idempotent, self._ended)
            if not way.is_doubtful(first.url, rpc):
                self._under_way[first.done] = must_finish
                return first.start()
        attempts = Attempts(way, rpc, request, seconds, is_idempotent, endpoint, self._ended)
        self._under_way[attempts.done] = must_finish
        return attempts.start()

    def stream(
        self, rpc: Rpc, request: Any, on_message: Callable[[Any], None], *, endpoint: str = ""
    ) -> CallStream:
        """
        Asks for an answer that goes on: see :meth:`Transport.stream <txetcd._transport.Transport.stream>`. After
        :meth:`close` it has ended before it began, with :class:`~txetcd.errors.Closed`.

        :param endpoint: ask only this one.
        """
        if self.is_closed:
            return _NoStream(self.located(Closed(), rpc))
        stream = _RoutedStream(self._way, rpc, request, on_message, endpoint)
        self._streams[stream] = None
        stream.ended.addErrback(self._explained, rpc, request, stream).addBoth(self._stream_ended, stream, rpc)
        stream.start(self._timeout)
        return stream

    def at_close(self, closer: Callable[[], None]) -> Callable[[], None]:
        """
        Calls *closer* when the client is closed.

        :returns: what takes that back.
        """
        key = object()
        self._closers[key] = closer

        def take_back() -> None:
            self._closers.pop(key, None)

        return take_back

    def close(self) -> Deferred[None]:
        """
        Ends everything that is under way with :class:`~txetcd.errors.Closed`; whatever is asked from now on fails so.
        Only what must not stop half-way (:meth:`finish`) is waited for, :data:`GRACE` seconds at the most.

        :returns: a Deferred that fires with ``None`` when no connection is left open. Cancelling it, or closing again,
            ends everything at once.
        """
        if self.is_closed:
            return self._shut()
        self.is_closed = True
        while self._closers:
            self._closers.popitem()[1]()
        self._cancel(lambda must_finish: not must_finish)
        for stream in list(self._streams):
            stream.abort()
        closed: Deferred[None] = Deferred(self._lost_patience)
        self._last_finished().addCallback(lambda _: self._shut()).addCallback(self._gone, closed)
        return closed

    def _cancel(self, is_meant: Callable[[bool], bool]) -> None:
        # the last first: those wait for a connection, and must not get one when an earlier one gives it back
        for answer, must_finish in reversed(list(self._under_way.items())):
            # whoever is told of one may end others: what has become of those is none of our business
            if is_meant(must_finish) and answer in self._under_way:
                self._closed.add(answer)
                answer.cancel()

    def _lost_patience(self, _: Deferred[None]) -> None:
        self._shut()

    def _gone(self, _: None, closed: Deferred[None]) -> None:
        if not closed.called:
            closed.callback(None)

    def _last_finished(self) -> Deferred[None]:
        if not self._under_way:
            return succeed(None)
        finished: Deferred[None] = Deferred()
        self._when_finished.append(finished)
        return finished.addTimeout(GRACE, self._clock).addErrback(lambda _: None)

    def _shut(self) -> Deferred[None]:
        self._is_shut = True
        waiting, self._when_finished = self._when_finished, []
        self._cancel(lambda _: True)
        gone = self._transport.close()
        for finished in waiting:
            finished.callback(None)
        return gone

    def _ended(self, attempts: Union[FirstAttempt, Attempts]) -> None:
        answer, rpc, result = attempts.done, attempts.rpc, attempts.outcome
        must_finish = self._under_way.pop(answer)
        if must_finish and self._when_finished:
            # what follows from this call is asked by the callbacks that come after this one
            self._clock.callLater(0, self._check_finished)
        # whatever is not to be finished ends because of that, whoever has passed it on
        if self.is_closed:
            is_closed = answer in self._closed or not must_finish
            self._closed.discard(answer)
            if is_closed and isinstance(result, Failure) and isinstance(result.value, CallCancelled):
                result = Failure(self.located(Closed(maybe_applied=result.value.maybe_applied), rpc))
                attempts.outcome = result
        seconds = self._clock.seconds() - attempts.began_at
        # last, because whoever is told of it may cancel whatever he likes
        self._counters.count(rpc.name, attempts.url, seconds, max(attempts.retries, 0), result)

    def _check_finished(self) -> None:
        while self._when_finished and not self._under_way:
            self._when_finished.pop().callback(None)

    def _stream_ended(self, result: Any, stream: _RoutedStream, rpc: Rpc) -> Any:
        del self._streams[stream]
        if self.is_closed and result is None:
            return Failure(self.located(Closed(), rpc))
        return result

    def _explained(self, failure: Failure, rpc: Rpc, request: Any, stream: _RoutedStream) -> Failure:
        error = failure.value
        if not isinstance(error, Error):
            return failure
        error = explained(error, rpc, request)
        if error.endpoint is None:
            error.call, error.endpoint = rpc.name, stream.url or None
        return Failure(error)

    def located(self, error: E, rpc: Rpc) -> E:
        """*error*, which now says where and at which call it happened."""
        error.call = rpc.name
        error.endpoint = self.endpoint
        return error
