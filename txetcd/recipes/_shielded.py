"""
Writes that must not be overtaken by what takes them back.
"""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed

T = TypeVar("T")


def shielded(work: Deferred[T]) -> Deferred[T]:
    """Fires as *work*, which goes on when this is cancelled."""
    result: Deferred[T] = Deferred(lambda cancelled: cancelled.errback(CancelledError()))

    def done(outcome: Any) -> None:
        if not result.called:
            result.callback(outcome)

    work.addBoth(done)
    return result


class Writing:
    """The last write of somebody who may take it back, and waits with that until it is over, even if it is given up."""

    def __init__(self) -> None:
        self._over: Deferred[None] = succeed(None)

    def begin(self, write: Deferred[T]) -> Deferred[T]:
        """Fires as *write*, which goes on when this is cancelled."""
        over: Deferred[None] = Deferred()
        self._over = over

        def done(result: Any) -> Any:
            over.callback(None)
            return result

        return shielded(write.addBoth(done))

    def when_over(self) -> Deferred[None]:
        """Fires with ``None`` when it was answered, or has failed. Cancelling it ends the waiting."""
        return shielded(self._over)
