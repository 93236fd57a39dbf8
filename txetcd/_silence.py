"""
Which endpoint has nothing more to say: a member that is cut off from the others, or has stopped.

A member that was just cut off does not know it yet, for a second or two, and answers nothing that takes a majority; a
machine that hangs never says so. Whoever waits for it cannot tell that from an answer that takes long. So when an
endpoint is silent, it is asked something that is answered quickly, and so is another one. If that one answers and the
silent one does not, whatever was not sent yet, or only reads, is asked elsewhere.

A member with much to do must not be taken for one of these. One that is cut off still answers at once what takes no
majority: that is asked after the other, and tells. One that answers nothing at all has more time; and one of which a
large answer is just arriving is not silent at all.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from ._endpoints import Endpoints
from ._identity import Identity
from ._messages import Empty
from ._retry import is_of_endpoint
from ._schema import RANGE, STATUS, Rpc
from ._transport import Metadata, Transport
from .errors import Error, Timeout, WrongCluster
from .ops import OpGet

SILENCE = 0.4
"""
Seconds without an answer after which an endpoint is doubted. With what the rest takes, less than a second passes before
a member that is cut off is left. Doubled each time that nothing came of it, as when a call just takes long ...
"""

LONGEST_SILENCE = 6.4
"""... up to this."""

GRACE = 0.2
"""Seconds to answer, for an endpoint that has just shown that it is alive, when another one has answered."""

LONG_GRACE = 1.5
"""Seconds to answer, for one that shows nothing at all: it may have much to do."""

_TIMEOUT = 4.0
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

    :ivar call: waits for the silent one.
    :ivar other: the URL of the other one.
    :ivar began_at: when.
    :ivar has_failed: whether the silent one has, meanwhile.
    :ivar is_compared: whether the other one has answered.
    :ivar work: what is to be cancelled at the end: answers and timers.
    """

    call: Waiting
    silent: str
    other: str
    began_at: float
    has_failed: bool = False
    is_compared: bool = False
    is_over: bool = False
    work: list[Any] = attrs.field(factory=list)


class Silence:
    """
    Watches over the calls that wait. It does nothing as long as there is but one endpoint, or each endpoint answers
    something.

    :param clock: the reactor.
    :param transport: carries the questions.
    :param endpoints: of which one may be silent.
    :param identity: of the cluster: another one is nothing to compare with.
    :param patience: seconds after which it is doubted.
    """

    def __init__(
        self, clock: Any, transport: Transport, endpoints: Endpoints, identity: Identity, patience: float = SILENCE
    ) -> None:
        self._clock = clock
        self._transport = transport
        self._endpoints = endpoints
        self._identity = identity
        self._patience = patience
        # in the order in which they were asked
        self._waiting: dict[Waiting, None] = {}
        self._ears: dict[str, _Ear] = {}
        self._probes: dict[str, _Probe] = {}
        self._timer: Optional[IDelayedCall] = None

    def began(self, call: Waiting) -> bool:
        """*call* waits from now on. Returns whether that matters: if not, its end need not be told."""
        if len(self._endpoints) < 2:
            return False
        self._waiting[call] = None
        if self._timer is None:
            self._timer = self._clock.callLater(self._patience / 2, self._look)
        return True

    def ended(self, call: Waiting, is_majority: bool) -> None:
        """
        *call*, of which :meth:`began` was told, waits no longer.

        :param is_majority: whether its endpoint has given an answer that takes a majority.
        """
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
        self._ears = {url: ear for url, ear in self._ears.items() if url in oldest or url in self._probes}
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
        probe = self._probes[call.url] = _Probe(call, call.url, other, now)
        self._ask(probe, call.url, RANGE, QUESTION, self._serves, self._fails)
        self._ask(probe, other, RANGE, QUESTION, self._compare, self._no_help)

    def _ask(
        self,
        probe: _Probe,
        url: str,
        rpc: Rpc,
        request: Any,
        on_answer: Callable[[_Probe, Any], None],
        on_failure: Callable[[_Probe, Error], None],
    ) -> None:
        """A refusal is an answer as well: ``None``."""

        def told(result: Any) -> Any:
            if probe.is_over:
                return None
            error = result.value if isinstance(result, Failure) else None
            if error is None:
                return on_answer(probe, result)
            if not isinstance(error, Error):
                return result
            return on_failure(probe, error) if is_of_endpoint(error) else on_answer(probe, None)

        metadata = attrs.evolve(probe.call.metadata, is_urgent=True)
        answer = self._transport.call(url, rpc, request, _TIMEOUT, metadata)
        probe.work.append(answer)
        answer.addBoth(told)

    # --- what comes of it

    def _serves(self, probe: _Probe, _: Any) -> None:
        """It was only busy."""
        self._end(probe)
        ear = self._ears[probe.silent]
        ear.heard_at = self._clock.seconds()
        ear.patience = min(2 * ear.patience, LONGEST_SILENCE)

    def _fails(self, probe: _Probe, error: Error) -> None:
        if isinstance(error, Timeout):
            # nor does the other one answer
            self._end(probe)
            return
        probe.has_failed = True
        if probe.is_compared:
            self._leave(probe)

    def _compare(self, probe: _Probe, answer: Any) -> None:
        try:
            self._identity.check(probe.other, answer)
        except WrongCluster as error:
            self._no_help(probe, error)
            return
        if self._identity.is_doubtful(probe.other):
            # it refuses to say of which cluster it is
            self._end(probe)
            return
        probe.is_compared = True
        if probe.has_failed:
            self._leave(probe)
        else:
            self._ask(probe, probe.silent, STATUS, Empty(), self._lives, self._fails)
            self._wait(probe, LONG_GRACE)

    def _lives(self, probe: _Probe, _: Any) -> None:
        self._wait(probe, GRACE)

    def _wait(self, probe: _Probe, seconds: float) -> None:
        # the silent one may have failed at once
        if not probe.is_over:
            probe.work.append(self._clock.callLater(seconds, self._leave, probe))

    def _no_help(self, probe: _Probe, error: Error) -> None:
        self._end(probe)
        # so that the next one that is asked is a third
        self._endpoints.failed(probe.other, probe.began_at, self._clock.seconds(), error.message)

    def _leave(self, probe: _Probe) -> None:
        if self._transport.heard_at(probe.silent) > probe.began_at:
            # it is not silent: what it was asked comes behind a large answer
            self._serves(probe, None)
            return
        self._end(probe)
        now = self._clock.seconds()
        self._endpoints.failed(probe.silent, now, now, "no answer, while another endpoint gave one")
        # first those that were not sent, which would be when the others have left
        self._transport.leave(probe.silent)
        for call in [call for call in self._waiting if call.url == probe.silent]:
            # unless whoever was told of another one has ended it
            if call in self._waiting:
                call.leave()

    def _end(self, probe: _Probe) -> None:
        probe.is_over = True
        del self._probes[probe.silent]
        for work in probe.work:
            if isinstance(work, Deferred) or work.active():
                work.cancel()
