"""
Calls on a cluster: what the verbs are made of.

Between the verbs, which know what they want, and a transport, which asks one endpoint once. It adds the deadline that
a call has by default, and says in every error which call it was, where it was sent, and whether it may have happened.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from ._schema import Rpc
from ._transport import CallCancelled, Stream, Transport
from .errors import Closed, Error, NoSpace, OutcomeUnknown, ProtocolViolation, is_ambiguous

DEFAULT_TIMEOUT = 10.0
"""
Seconds for a call that was given no timeout. A server that cannot reach the majority gives up after seven (five, and
two election timeouts): within ten its own error arrives, which says more than our timeout could.
"""

GRACE = 2.0
"""Seconds that closing waits for what would otherwise leave something behind at the server."""

E = TypeVar("E", bound=Error)


class _NoStream:
    """A stream that there is not."""

    def __init__(self, error: Error) -> None:
        self.ended: Deferred[None] = fail(error)

    def pause(self) -> None:
        """There is nothing to pause."""

    def resume(self) -> None:
        """There is nothing to resume."""

    def abort(self) -> None:
        """There is nothing to end."""


class Calls:
    """
    Calls and streams to an endpoint.

    :param clock: the reactor.
    :param transport: carries them.
    :param endpoint: the URL.
    :param timeout: seconds for a call that is given no timeout.

    :ivar endpoint: as given.
    :ivar is_closed: whether :meth:`close` was called (``bool``).
    """

    def __init__(self, clock: Any, transport: Transport, endpoint: str, timeout: Optional[float] = None) -> None:
        self._clock = clock
        self._transport = transport
        self._timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        self._under_way: dict[Deferred[Any], Rpc] = {}
        self._streams: dict[Stream, None] = {}
        self._finishing = 0
        self._when_finished: list[Deferred[None]] = []
        self._closers: dict[object, Callable[[], None]] = {}
        self._is_shut = False
        self.endpoint = endpoint
        self.is_closed = False

    @property
    def in_flight(self) -> int:
        """How many calls have not been answered yet (``int``)."""
        return len(self._under_way) + self._finishing

    @property
    def timeout(self) -> float:
        """Seconds for a call that is given no timeout (``float``)."""
        return self._timeout

    @property
    def connections(self) -> int:
        """How many connections are open (``int``)."""
        return self._transport.connections

    def call(self, rpc: Rpc, request: Any, timeout: Optional[float] = None) -> Deferred[Any]:
        """
        Asks.

        :param timeout: seconds for everything, or ``None`` for the default.
        :returns: a Deferred as of :meth:`Transport.call <txetcd._transport.Transport.call>`. It fails with
            :class:`~txetcd.errors.Closed` after :meth:`close`.
        """
        if self.is_closed:
            return fail(self.located(Closed(), rpc))
        answer = self._call(rpc, request, timeout)
        self._under_way[answer] = rpc
        return answer.addBoth(self._ended, answer)

    def finish(self, rpc: Rpc, request: Any, timeout: Optional[float] = None) -> Deferred[Any]:
        """
        As :meth:`call`, for what must not stop half-way: :meth:`close` waits for it a little, and what follows from
        one such call may still be asked meanwhile.
        """
        if self._is_shut:
            return fail(self.located(Closed(), rpc))
        self._finishing += 1
        return self._call(rpc, request, timeout).addBoth(self._finished)

    def stream(self, rpc: Rpc, request: Any, on_message: Callable[[Any], None]) -> Stream:
        """
        Asks for an answer that goes on: see :meth:`Transport.stream <txetcd._transport.Transport.stream>`. After
        :meth:`close` it has ended before it began, with :class:`~txetcd.errors.Closed`.
        """
        if self.is_closed:
            return _NoStream(self.located(Closed(), rpc))
        stream = self._transport.stream(self.endpoint, rpc, request, on_message)
        self._streams[stream] = None
        stream.ended.addErrback(self._explained, rpc).addBoth(self._stream_ended, stream, rpc)
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
        # the last first: those wait for a connection, and must not get one when an earlier one gives it back
        for answer in reversed(list(self._under_way)):
            answer.cancel()
        for stream in list(self._streams):
            stream.abort()
        closed: Deferred[None] = Deferred(self._lost_patience)
        self._last_finished().addCallback(lambda _: self._shut()).addCallback(self._gone, closed)
        return closed

    def _lost_patience(self, _: Deferred[None]) -> None:
        self._shut()

    def _gone(self, _: None, closed: Deferred[None]) -> None:
        if not closed.called:
            closed.callback(None)

    def _last_finished(self) -> Deferred[None]:
        if not self._finishing:
            return succeed(None)
        finished: Deferred[None] = Deferred()
        self._when_finished.append(finished)
        return finished.addTimeout(GRACE, self._clock).addErrback(lambda _: None)

    def _shut(self) -> Deferred[None]:
        self._is_shut = True
        waiting, self._when_finished = self._when_finished, []
        gone = self._transport.close()
        for finished in waiting:
            finished.callback(None)
        return gone

    def _ended(self, result: Any, answer: Deferred[Any]) -> Any:
        rpc = self._under_way.pop(answer)
        if self.is_closed and isinstance(result, Failure) and isinstance(result.value, CallCancelled):
            return Failure(self.located(Closed(maybe_applied=result.value.maybe_applied), rpc))
        return result

    def _stream_ended(self, result: Any, stream: Stream, rpc: Rpc) -> Any:
        del self._streams[stream]
        if self.is_closed and result is None:
            return Failure(self.located(Closed(), rpc))
        return result

    def _finished(self, result: Any) -> Any:
        self._finishing -= 1
        if self._when_finished:
            # what follows from this call is asked by the callbacks that come after this one
            self._clock.callLater(0, self._check_finished)
        return result

    def _check_finished(self) -> None:
        while self._when_finished and not self._finishing:
            self._when_finished.pop().callback(None)

    def located(self, error: E, rpc: Rpc) -> E:
        """*error*, which now says where and at which call it happened."""
        error.call = rpc.name
        error.endpoint = self.endpoint
        return error

    def _call(self, rpc: Rpc, request: Any, timeout: Optional[float]) -> Deferred[Any]:
        answer = self._transport.call(self.endpoint, rpc, request, self._timeout if timeout is None else timeout)
        return answer.addErrback(self._explained, rpc)

    def _explained(self, failure: Failure, rpc: Rpc) -> Failure:
        error = failure.value
        if not isinstance(error, Error):
            return failure
        if not rpc.is_read:
            error = self._as_of_a_write(error)
        return Failure(self.located(error, rpc))

    def _as_of_a_write(self, error: Error) -> Error:
        """Whatever leaves open whether the write was applied says so."""
        if isinstance(error, (NoSpace, ProtocolViolation)):
            error.maybe_applied = True
        elif not error.maybe_applied and self._came_from_server(error) and is_ambiguous(error):
            unknown = OutcomeUnknown(error.code, error.message)
            unknown.__cause__ = error
            return unknown
        return error

    def _came_from_server(self, error: Error) -> bool:
        """Whether a server, or something in front of it, answered: what we say ourselves is not ambiguous."""
        return error.code is not None
