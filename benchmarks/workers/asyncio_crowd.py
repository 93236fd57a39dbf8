"""
Callers that are coroutines of asyncio.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Any, Awaitable, Callable

from . import coroutine_crowd, shared


async def side_by_side(callers: list[Any]) -> None:
    """Lets coroutines go on until all have ended; then the first error of one is raised."""
    for outcome in await asyncio.gather(*callers, return_exceptions=True):
        if outcome is not None:
            raise outcome


answer = partial(coroutine_crowd.answer, side_by_side)
"""Measures what is asked for, of a client."""


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
