"""
Callers that are coroutines of asyncio.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Awaitable, Callable

from . import loads, shared


async def crowd(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Lets callers call, side by side. All have ended before the first error of one is raised."""
    calls = loads.calls(client, request["workload"])
    stopwatch = shared.Stopwatch(request["seconds"])
    crowd = [shared.caller(calls, stopwatch) for _ in range(request["callers"])]
    for outcome in await asyncio.gather(*crowd, return_exceptions=True):
        if outcome is not None:
            raise outcome
    return stopwatch.figures(len(stopwatch.latencies))


def main(connect: Callable[[str, int], Awaitable[Any]], *packages: str) -> None:
    """
    A worker. While it waits for a request the loop stands still.

    :param connect: makes the client.
    :param packages: whose versions to tell.
    """
    say, loop = shared.own_output(), asyncio.new_event_loop()
    client = loop.run_until_complete(connect(*shared.host_and_port(sys.argv[1])))
    say(shared.hello(*packages))
    shared.serve(say, lambda request: loop.run_until_complete(crowd(client, request)))
