"""
Callers that are coroutines, of whatever framework: it tells how many of them go on side by side.

Standard library only, since every interpreter that is measured imports it.
"""

from __future__ import annotations

from typing import Any, Awaitable, Callable

from . import events, loads, shared

SideBySide = Callable[[list[Any]], Awaitable[None]]
"""Lets coroutines go on until all have ended; then the first error of one is raised."""


async def crowd(side_by_side: SideBySide, client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Lets callers call, side by side."""
    calls = loads.calls(client, request["workload"])
    stopwatch = shared.Stopwatch(request["seconds"])
    await side_by_side([shared.caller(calls, stopwatch) for _ in range(request["callers"])])
    return stopwatch.figures(len(stopwatch.latencies))


async def watches(side_by_side: SideBySide, client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Lets watches read, side by side."""
    with events.start_writer() as writer:
        flow = events.Flow(writer.stdin, request["callers"], request["seconds"])
        await side_by_side([client.watch(events.Reader(flow)) for _ in range(request["callers"])])
    return flow.figures


async def answer(side_by_side: SideBySide, client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Measures what all clients are asked for."""
    return await (watches if request["workload"] == "events" else crowd)(side_by_side, client, request)
