"""
Measures txetcd, over the transport that the scheme of the URL means.

Besides the workloads of all clients it has some of its own: ``layer`` is what a call costs above the transport, and
``endurance`` many calls, after which there must be neither more memory nor more than one connection. Many watches and
many leases are in :mod:`benchmarks.workers.held`.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any, Iterator

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from txetcd import Client, KeySet, OpSet, Revision, Transaction
from txetcd._calls import Calls
from txetcd._counters import Counters

from . import events, held, loads, shared, twisted_crowd

#: In how many parts the many calls are made; memory is looked at after each.
PARTS = 10

#: After so many calls that are answered at once the reactor has its turn, as it must to forget their timers.
TURN = 64


class Adapter:
    """The client with the verbs of :mod:`loads`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.put, self.get = client.set, client.get

    @staticmethod
    def text(data: bytes) -> bytes:
        return data

    async def range(self, start: bytes, end: bytes) -> None:
        found = await self._client.get(start, range_end=end)
        loads.check_range((kv.key, kv.value) for kv in found.kvs)

    async def watch(self, reader: events.Reader) -> None:
        watch = self._client.watcher(KeySet(loads.EVENTS_PREFIX, prefix=True))
        async with watch:
            reader.started()
            async for event in watch:
                if reader.seen(event.kv.key, event.kv.value):
                    break

    def put_all(self, pairs: list[tuple[bytes, bytes]]) -> Any:
        return self._client.submit(Transaction([], [OpSet(key, value) for key, value in pairs], []))


# --- the price of a call above the transport


class Instant:
    """A transport that answers every put at once."""

    connections = 0

    def __init__(self) -> None:
        self._answer = Revision()

    def call(self, *request: object) -> Deferred[Any]:
        return succeed(self._answer)

    def close(self) -> Deferred[None]:
        return succeed(None)


def above_transport(reactor: Any, url: str) -> Client:
    """A client all of whose calls are answered by :class:`Instant`."""
    client = Client(reactor, url)
    client._calls = Calls(attrs.evolve(client._way, transport=Instant()), None, Counters(None))
    return client


async def layer(reactor: Any, client: Client, seconds: float) -> dict[str, Any]:
    """One caller. Its latencies are not looked at."""
    operations, stopwatch = 0, shared.Stopwatch(seconds)
    while not stopwatch.is_over:
        for _ in range(TURN):
            await client.set(loads.KEY, loads.VALUE)
        operations += TURN
        await deferLater(reactor, 0)
    return stopwatch.figures(operations)


# --- many calls


async def one_after_the_other(calls: Iterator[loads.Call]) -> None:
    for call in calls:
        await call()


async def endurance(client: Adapter, port: int, callers: int, count: int) -> dict[str, Any]:
    """Latencies are not kept: they would be the memory that grows."""
    stopwatch, memory, sockets = shared.Stopwatch(0), [shared.resident()], 0
    for _ in range(PARTS):
        calls = islice(loads.calls(client, "put"), count // PARTS)
        await twisted_crowd.side_by_side([one_after_the_other(calls) for _ in range(callers)])
        memory.append(shared.resident())
        sockets = max(sockets, shared.sockets_to(port))
    return {**stopwatch.figures(count // PARTS * PARTS), "memory": memory, "sockets": sockets}


# --- the worker


def connect(reactor: Any, url: str) -> twisted_crowd.Answer:
    client, port = Adapter(Client(reactor, url)), shared.host_and_port(url)[1]

    async def answer(request: dict[str, Any]) -> dict[str, Any]:
        return await workloads.get(request["workload"], partial(twisted_crowd.answer, client))(request)

    async def of_layer(request: dict[str, Any]) -> dict[str, Any]:
        return await layer(reactor, above_transport(reactor, url), request["seconds"])

    async def of_endurance(request: dict[str, Any]) -> dict[str, Any]:
        return await endurance(client, port, request["callers"], request["count"])

    async def of_watches(request: dict[str, Any]) -> dict[str, Any]:
        if not url.startswith("grpc:"):
            raise ValueError("over the gateway each watch has a connection of its own")
        return await held.watches(reactor, url, request["count"], request["hold"])

    async def of_leases(request: dict[str, Any]) -> dict[str, Any]:
        return await held.leases(reactor, url, request["count"], request["hold"])

    workloads = {"layer": of_layer, "endurance": of_endurance, "watches": of_watches, "leases": of_leases}
    return answer


if __name__ == "__main__":
    twisted_crowd.main(connect, "Twisted", "treq", "attrs")
