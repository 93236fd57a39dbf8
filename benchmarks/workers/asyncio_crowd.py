"""
Callers that are coroutines of asyncio.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Awaitable, Callable

from . import events, loads, shared


async def side_by_side(callers: list[Any]) -> None:
    """Lets coroutines go on until all have ended; then the first error of one is raised."""
    for outcome in await asyncio.gather(*callers, return_exceptions=True):
        if outcome is not None:
            raise outcome


async def crowd(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Lets callers call, side by side."""
    calls = loads.calls(client, request["workload"])
    stopwatch = shared.Stopwatch(request["seconds"])
    await side_by_side([shared.caller(calls, stopwatch) for _ in range(request["callers"])])
    return stopwatch.figures(len(stopwatch.latencies))


async def watches(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Lets watches read, side by side."""
    with events.start_writer() as writer:
        flow = events.Flow(writer.stdin, request["callers"], request["seconds"])
        await side_by_side([client.watch(events.Reader(flow)) for _ in range(request["callers"])])
    return flow.figures


async def answer(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Measures what is asked for."""
    return await (watches if request["workload"] == "events" else crowd)(client, request)


def main(connect: Callable[[str, int], Awaitable[Any]], *packages: str) -> None:
    """
    A worker. While it waits for a request the loop stands still.

    :param connect: makes the client.
    :param packages: whose versions to tell.
    """
    say, loop = shared.own_output(), asyncio.new_event_loop()
    client = loop.run_until_complete(connect(*shared.host_and_port(sys.argv[1])))
    say(shared.hello(*packages))
    shared.serve(say, lambda request: loop.run_until_complete(answer(client, request)))
