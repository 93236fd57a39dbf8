"""
Which endpoint has nothing more to say: a member that is cut off from the others, or has stopped.

A member that was just cut off does not know it yet, for a second or two, and answers nothing that takes a majority; a
machine that hangs never says so. Whoever waits for it cannot tell that from an answer that takes long. So when an
endpoint is silent, it is asked something that is answered quickly, and so is another one. If that one answers and the
silent one does not, whatever waits there, and can be asked elsewhere without harm, is.
"""

from __future__ import annotations

from typing import Any, Optional, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from ._endpoints import Endpoints
from ._retry import is_of_endpoint
from ._schema import RANGE
from ._transport import Metadata, Transport
from .errors import Error, Timeout
from .ops import OpGet

SILENCE = 0.4
"""
Seconds without an answer after which an endpoint is doubted. With the second or less that the rest takes, a call moves
on long before a member has noticed by itself. Doubled each time that it was wrong, as when a call just takes long ...
"""

LONGEST_SILENCE = 6.4
"""... up to this."""

GRACE = 0.2
"""Seconds that a doubted endpoint has to answer, after another one did."""

_TIMEOUT = 2.0
"""Seconds after which nothing can be said: the cluster as a whole does not answer."""

QUESTION = OpGet(b"\0", count_only=True)
"""Takes a majority, and no time. May be refused to this user, but only after the majority has answered."""


class Waiting(Protocol):
    """
    A call that waits for its answer.

    :ivar url: the endpoint that was asked (``str``).
    :ivar asked_at: when (``float``, seconds of the clock).
    :ivar metadata: what went along with it.
    """

    url: str
    asked_at: float
    metadata: Metadata

    def leave(self) -> None:
        """Ask elsewhere, if that does no harm."""


@attrs.define
class _Ear:
    """
    What is known of an endpoint.

    :ivar heard_at: when it last gave an answer that takes a majority.
    :ivar patience: seconds of silence after which it is doubted.
    """

    heard_at: float
    patience: float


@attrs.define(eq=False)
class _Probe:
    """
    One that is silent and another one are asked the same.

    :ivar silent: the URL of the one.
    :ivar other: that of the other.
    :ivar began_at: when.
    :ivar work: what is to be cancelled at its end: both answers, and perhaps a timer.
    """

    silent: str
    other: str
    began_at: float
    work: list[Any] = attrs.field(factory=list)
    is_over: bool = False


class Silence:
    """
    Watches over the calls that wait. It does nothing as long as there is but one endpoint, or each endpoint answers
    something.

    :param clock: the reactor.
    :param transport: carries the questions.
    :param endpoints: of which one may be silent.
    :param patience: seconds after which it is doubted.
    """

    def __init__(self, clock: Any, transport: Transport, endpoints: Endpoints, patience: float = SILENCE) -> None:
        self._clock = clock
        self._transport = transport
        self._endpoints = endpoints
        self._patience = patience
        # in the order in which they were asked
        self._waiting: dict[Waiting, None] = {}
        self._ears: dict[str, _Ear] = {}
        self._probes: dict[str, _Probe] = {}
        self._timer: Optional[IDelayedCall] = None

    def began(self, call: Waiting) -> None:
        """*call* waits from now on."""
        if len(self._endpoints) < 2:
            return
        self._waiting[call] = None
        if self._timer is None:
            self._timer = self._clock.callLater(self._patience / 2, self._look)

    def ended(self, call: Waiting, is_majority: bool) -> None:
        """
        *call* waits no longer.

        :param is_majority: whether its endpoint has given an answer that takes a majority.
        """
        if call not in self._waiting:
            return
        del self._waiting[call]
        if is_majority:
            self._ears[call.url] = _Ear(self._clock.seconds(), self._patience)
        if not self._waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            for probe in list(self._probes.values()):
                self._end(probe)

    def _look(self) -> None:
        now = self._clock.seconds()
        self._timer = self._clock.callLater(self._patience / 2, self._look)
        oldest = self._oldest()
        # those of endpoints that were replaced are of no use
        self._ears = {url: ear for url, ear in self._ears.items() if url in oldest}
        for url, call in oldest.items():
            ear = self._ears.setdefault(url, _Ear(call.asked_at, self._patience))
            if now - max(ear.heard_at, call.asked_at) >= ear.patience and url not in self._probes:
                self._doubt(call, now)

    def _oldest(self) -> dict[str, Waiting]:
        """Of each endpoint the call that waits longest there."""
        oldest: dict[str, Waiting] = {}
        for call in self._waiting:
            oldest.setdefault(call.url, call)
        return oldest

    def _doubt(self, call: Waiting, now: float) -> None:
        other = self._endpoints.pick(now, {call.url})
        if other == call.url or not self._endpoints.is_healthy(other, now):
            # there is nowhere to go
            return
        probe = self._probes[call.url] = _Probe(call.url, other, now)
        self._ask(call.url, call.metadata, probe).addCallbacks(self._serves, self._says_why, (probe,), {}, (probe,))
        if not probe.is_over:
            self._ask(other, call.metadata, probe).addCallbacks(self._compare, self._no_help, (probe,), {}, (probe,))

    def _ask(self, url: str, metadata: Metadata, probe: _Probe) -> Deferred[Any]:
        urgent = attrs.evolve(metadata, is_urgent=True)
        answer = self._transport.call(url, RANGE, QUESTION, _TIMEOUT, urgent)
        probe.work.append(answer)
        return answer.addErrback(_refused)

    # --- what comes of it

    def _serves(self, _: object, probe: _Probe) -> None:
        self._end(probe)
        ear = self._ears[probe.silent]
        ear.heard_at = self._clock.seconds()
        ear.patience = min(2 * ear.patience, LONGEST_SILENCE)

    def _compare(self, _: object, probe: _Probe) -> None:
        if not probe.is_over:
            probe.work.append(self._clock.callLater(GRACE, self._leave, probe))

    def _says_why(self, failure: Failure, probe: _Probe) -> None:
        if probe.is_over:
            return
        if isinstance(failure.value, Timeout):
            # the other one has not answered, either
            self._end(probe)
        else:
            self._leave(probe)

    def _no_help(self, failure: Failure, probe: _Probe) -> None:
        if not probe.is_over:
            self._end(probe)
            # so that the next one that is asked is a third
            self._endpoints.failed(probe.other, probe.began_at, self._clock.seconds())

    def _leave(self, probe: _Probe) -> None:
        self._end(probe)
        now = self._clock.seconds()
        self._endpoints.failed(probe.silent, now, now)
        # first those that were not sent, which would be when the others have left
        self._transport.leave(probe.silent)
        for call in [call for call in self._waiting if call.url == probe.silent]:
            call.leave()

    def _end(self, probe: _Probe) -> None:
        if probe.is_over:
            return
        probe.is_over = True
        del self._probes[probe.silent]
        for work in probe.work:
            if isinstance(work, Deferred) or work.active():
                work.cancel()


def _refused(failure: Failure) -> Any:
    """A refusal is an answer; what else has failed, unless we have cancelled it, says something of the endpoint."""
    error = failure.value
    is_answer = isinstance(error, Error) and not is_of_endpoint(error)
    return None if is_answer else failure
