"""
Callers that are coroutines of Twisted.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, Awaitable, Callable

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from . import coroutine_crowd, shared

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def side_by_side(callers: list[Any]) -> None:
    """Lets coroutines go on until all have ended; then the first error of one is raised."""
    for succeeded, outcome in await DeferredList(map(Deferred.fromCoroutine, callers), consumeErrors=True):
        if not succeeded:
            outcome.raiseException()


answer = partial(coroutine_crowd.answer, side_by_side)
"""Measures what all clients are asked for, of one of them."""


class Requests(LineOnlyReceiver):
    """
    Reads requests; one comes when the one before was answered.

    :ivar ended: fires when there are no more.
    """

    delimiter = b"\n"

    def __init__(self, say: Callable[[dict[str, Any]], None], answer: Answer) -> None:
        self._say = say
        self._answer = answer
        self.ended: Deferred[None] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        answered = Deferred.fromCoroutine(self._answer(shared.decode(line)))
        answered.addErrback(self._failed).addCallback(self._say)

    def _failed(self, reason: Failure) -> dict[str, Any]:
        return shared.failure(reason.value)

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback(None)


def main(connect: Callable[[Any, str], Answer], *packages: str) -> None:
    """
    A worker.

    :param connect: makes the client, and tells how it answers requests; what it raises is told instead of the versions.
    :param packages: whose versions to tell.
    """
    say = shared.own_output()

    def run(reactor: Any) -> Deferred[None]:
        requests = Requests(say, connect(reactor, sys.argv[1]))
        say(shared.hello(*packages))
        StandardIO(requests)
        return requests.ended

    try:
        react(run)
    except Exception as error:
        say(shared.failure(error))
