"""
Many watches, and many leases, of one txetcd client: set up, and held for a while.

The process has done nothing before. So all its connections are those of this client, and what it has grown by is not
hidden by memory that something else has left.
"""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from txetcd import Client, Lease

from . import shared

#: Seconds for all of them to be set up; each waits for its turn.
TIMEOUT = 120.0

TIME_TO_LIVE = 15

WATCHED = b"watches/%d"


async def hold(reactor: Any, seconds: float) -> dict[str, Any]:
    """What it costs to do nothing else."""
    stopwatch = shared.Stopwatch(0)
    await deferLater(reactor, seconds)
    held = stopwatch.figures(0)
    return {"held": held["elapsed"], "held_cpu": held["cpu"]}


def resident() -> int:
    """The memory of this process, in KiB, without what is only waiting to be collected."""
    gc.collect()
    return shared.resident()


async def watches(reactor: Any, url: str, count: int, seconds: float) -> dict[str, Any]:
    """Each watches a key of its own, of which nothing is ever told."""
    port, memory = shared.host_and_port(url)[1], resident()
    async with Client(reactor, url, timeout=TIMEOUT) as client:
        stopwatch = shared.Stopwatch(0)
        watching = [client.watcher(WATCHED % number) for number in range(count)]
        await gatherResults([watch.when_started() for watch in watching])
        figures = stopwatch.figures(count)
        growth, sockets = resident() - memory, shared.sockets_to(port)
        figures.update(await hold(reactor, seconds), growth=growth, sockets=max(sockets, shared.sockets_to(port)))
        return {**figures, "left": sum(watch.state == "live" for watch in watching)}


async def leases(reactor: Any, url: str, count: int, seconds: float) -> dict[str, Any]:
    """Each is renewed every third of its time to live. The server is asked which of them it has in the end."""
    port, memory = shared.host_and_port(url)[1], resident()
    async with Client(reactor, url, timeout=TIMEOUT) as client:
        stopwatch = shared.Stopwatch(0)
        keeping = await gatherResults([client.lease(TIME_TO_LIVE, keep_alive=True) for _ in range(count)])
        figures, sockets = stopwatch.figures(count), shared.sockets_to(port)
        figures.update(await hold(reactor, seconds), growth=resident() - memory)
        figures.update(sockets=max(sockets, shared.sockets_to(port)), left=await alive(client, keeping))
        await gatherResults([lease.revoke() for lease in keeping])
        return figures


async def alive(client: Client, leases: list[Lease]) -> int:
    """How many of them are believed to be alive, and are."""
    known = set(await client.leases())
    return sum(lease.state == "alive" and lease.lease_id in known for lease in leases)
