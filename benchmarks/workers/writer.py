"""
Writes what is watched (see :mod:`benchmarks.workers.events`): a transaction for each byte that it reads. At the end of
them it writes the key that ends the watches, and ends.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react

from txetcd import Client, OpSet, Transaction

from . import loads


class Permits(Protocol):
    """
    Reads them.

    :ivar ended: fires when all that was permitted is written; fails with what could not be.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._writing: set[Deferred[Any]] = set()
        self._transaction = Transaction([], [OpSet(key, value) for key, value in loads.event_puts()], [])
        self.ended: Deferred[Any] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        for _ in data:
            written = self._client.submit(self._transaction)
            self._writing.add(written)
            written.addCallbacks(self._written, self.ended.errback, callbackArgs=(written,))

    def _written(self, _: object, written: Deferred[Any]) -> None:
        self._writing.discard(written)

    def connectionLost(self, reason: Any = None) -> None:
        gatherResults(self._writing).chainDeferred(self.ended)


async def write(reactor: Any, url: str) -> None:
    """The first put makes the connection, before anybody watches."""
    async with Client(reactor, url) as client:
        await client.set(loads.EVENTS_END, b"")
        permits = Permits(client)
        StandardIO(permits)
        print("ready", flush=True)
        await permits.ended
        await client.set(loads.EVENTS_END, b"")


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(write(reactor, sys.argv[1])))
