"""
The renewals of all leases of a client.

Where more can be asked on a stream they share one, of which there is one as long as a lease is kept alive; where not,
each is a call.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import Any, Optional

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall

from ._calls import Calls, CallStream, broken_off
from ._messages import LeaseKeepAliveRequest, LeaseKeepAliveResponse
from ._schema import LEASE_KEEP_ALIVE
from ._transport import unanswered
from .errors import Closed, Error, Unavailable


class _Renewal:
    """
    A renewal that was asked for.

    :ivar heard: how many answers had come before.
    :ivar done: what comes of it; fired already if nobody waits for the answer any more.
    :ivar timer: when that is given up.
    """

    def __init__(self, clock: Any, seconds: float, keep_alives: KeepAlives) -> None:
        self.heard = keep_alives._heard
        self.done: Deferred[LeaseKeepAliveResponse] = Deferred(self._cancelled)
        self.timer: IDelayedCall = clock.callLater(seconds, keep_alives._expire, self, seconds)

    def _cancelled(self, done: Deferred[Any]) -> None:
        self._finish(CancelledError())

    def answer(self, answer: LeaseKeepAliveResponse) -> None:
        """The server has answered."""
        self._stop_timer()
        if not self.done.called:
            self.done.callback(answer)

    def fail(self, error: Error) -> None:
        """There will be no answer."""
        self._finish(error)

    def _finish(self, error: BaseException) -> None:
        self._stop_timer()
        if not self.done.called:
            self.done.errback(error)

    def _stop_timer(self) -> None:
        if self.timer.active():
            self.timer.cancel()


class KeepAlives:
    """
    See above.

    :param calls: asks.
    :param clock: the reactor.
    """

    def __init__(self, calls: Calls, clock: Any) -> None:
        self._calls = calls
        self._clock = clock
        self._stream: Optional[CallStream] = None
        # by the ids of their leases; the answers to those of one lease come in their order
        self._asked: dict[int, deque[_Renewal]] = {}
        # answers: what has come since is counted, as the system's clock may be set back
        self._heard = 0
        self._count = 0

    def join(self) -> None:
        """Another lease is kept alive from now on."""
        self._count += 1

    def leave(self) -> None:
        """One is kept alive no longer."""
        self._count -= 1
        if not self._count and self._stream is not None:
            stream, self._stream = self._stream, None
            stream.abort()
            self._fail(None)

    def renew(self, lease_id: int, seconds: float) -> Deferred[LeaseKeepAliveResponse]:
        """
        Renews a lease once.

        :param seconds: for everything.
        :returns: a Deferred that fires with the answer. It fails as a call, once it is known that there will be none:
            what was asked on a stream that was lost is not asked again. Cancelling it ends the waiting.
        """
        request = LeaseKeepAliveRequest(lease_id)
        if not self._calls.is_duplex:
            return self._calls.call(LEASE_KEEP_ALIVE, request, seconds)
        if self._calls.is_closed:
            return fail(self._calls.located(Closed(), LEASE_KEEP_ALIVE))
        renewal = _Renewal(self._clock, seconds, self)
        self._asked.setdefault(lease_id, deque()).append(renewal)
        if self._stream is not None:
            self._stream.send(request)
        else:
            self._stream = stream = self._calls.stream(LEASE_KEEP_ALIVE, request, self._message)
            stream.ended.addCallbacks(
                lambda _: self._lost(stream, None), lambda failure: self._lost(stream, failure.value)
            )
        return renewal.done

    def _message(self, answer: LeaseKeepAliveResponse) -> None:
        self._heard += 1
        renewals = self._asked.get(answer.lease_id)
        if renewals is None:
            self._break(f"it is about lease {answer.lease_id:x}, which was not asked for")
            return
        renewal = renewals.popleft()
        if not renewals:
            del self._asked[answer.lease_id]
        renewal.answer(answer)

    def _break(self, what: str) -> None:
        assert self._stream is not None
        stream, self._stream = self._stream, None
        self._fail(broken_off(stream, what))

    def _lost(self, stream: CallStream, error: Optional[Error]) -> None:
        if self._stream is stream:
            self._stream = None
            self._fail(error or Unavailable(None, "the server ended the stream of renewals"))

    def _expire(self, renewal: _Renewal, seconds: float) -> None:
        error = self._calls.located(unanswered(seconds, False), LEASE_KEEP_ALIVE)
        stream = self._stream
        if stream is not None and self._heard == renewal.heard:
            # nobody has been answered since: the others will not be, either
            error.endpoint = stream.url or error.endpoint
            self._stream = None
            stream.blame(error.message)
            stream.abort()
            self._fail(error)
        renewal.fail(error)

    def _fail(self, error: Optional[Error]) -> None:
        asked, self._asked = self._asked, {}
        for renewals in asked.values():
            for renewal in renewals:
                renewal.fail(self._one_of(error))

    def _one_of(self, error: Optional[Error]) -> Error:
        # a copy for each, because an exception keeps the traceback of where it was raised
        one = Closed() if error is None else copy(error)
        return one if one.endpoint else self._calls.located(one, LEASE_KEEP_ALIVE)
