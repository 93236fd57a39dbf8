"""
How far watches are, told by the server on request.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import deferLater

from ._backoff import in_seconds
from ._calls import Calls
from ._messages import Empty
from ._schema import RANGE, STATUS, WATCH
from ._watchcore import STOPPED
from ._watchpart import Part, WatchWay
from .errors import Timeout, Unimplemented
from .ops import OpGet

AGAIN = 0.1
"""Seconds before the server is asked again: it does not answer as long as a watch has not been told everything."""


def is_exact(version: str) -> bool:
    """
    Whether a server of this *version* tells on request how far a watch is that has been told everything up to there.
    Before, it may tell more than it has told the watch (etcd's issue 15220).
    """
    major, minor, patch = (int(part) for part in version.partition("-")[0].split("."))
    return (major, minor, patch) >= {(3, 4): (3, 4, 25), (3, 5): (3, 5, 8)}.get((major, minor), (3, 6, 0))


async def _check_version(calls: Calls, url: str) -> None:
    version = (await calls.call(STATUS, Empty(), endpoint=url)).version
    if not is_exact(version):
        what = f"needs etcd 3.4.25, or 3.5.8 or later: {version} may tell of more than it has told"
        raise calls.located(Unimplemented(None, what), WATCH)


async def progress_of(way: WatchWay, parts: Sequence[Part], seconds: float) -> int:
    """
    Waits until everything that has happened by now, to whatever key, has arrived if it is of *parts*; or nobody wants
    to know it any more.

    :param seconds: how long.
    :returns: the revision up to which everything has arrived.
    """
    if not way.calls.is_duplex:
        what = "needs a grpc:// URL: on a stream of the gateway nothing more can be asked"
        raise way.calls.located(Unimplemented(None, what), WATCH)
    deadline = way.clock.seconds() + seconds
    now = (await way.calls.call(RANGE, OpGet(parts[0].keys, limit=1, keys_only=True), seconds)).header.revision
    checked = {""}
    # a watch that begins behind the present is told of no progress before something has happened
    while behind := [part for part in parts if part.arrived < now and part.state != STOPPED]:
        if way.clock.seconds() >= deadline:
            keys = ", ".join(repr(part.keys) for part in behind)
            raise way.calls.located(Timeout(f"was not told within {in_seconds(seconds)} how far {keys} is"), WATCH)
        for part in behind:
            if part.url not in checked:
                checked.add(part.url)
                await _check_version(way.calls, part.url)
            part.ask_for_progress()
        await deferLater(way.clock, AGAIN)
    return min(part.arrived for part in parts)
