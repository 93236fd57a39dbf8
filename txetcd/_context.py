"""
A Deferred that is what the other idiom needs as well.
"""

from __future__ import annotations

from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Callable, Optional, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ._backoff import in_seconds
from .errors import Timeout
from .values import ClientStats

T = TypeVar("T")

_log = Logger()


async def leave_after(error: Optional[BaseException], leave: Callable[[], Awaitable[Any]], entered: object) -> None:
    """
    Leaves what was entered. What that fails with is raised only if nothing else is, and logged otherwise.

    :param error: what the block has raised, or ``None``.
    :param leave: gives *entered* back.
    """
    try:
        await leave()
    except Exception as reason:
        if error is None:
            raise
        # in words, and not as a failure: that would be an error of its own, which fails a test that expects another
        _log.warn(
            "leaving {entered} after {error!r} failed too: {reason!r}", entered=entered, error=error, reason=reason
        )


class ContextDeferred(Deferred[T]):
    """
    Can be waited for (``lock = yield etcd.lock(...)``), and entered (``async with etcd.lock(...) as lock:``): then
    what it was fired with is given back when the block is left, however it is left, unless that was done in the block
    already: then the call that has done it has told what came of it.

    It can be entered once, whether or not it was waited for before; that is a ``RuntimeError`` if what it was fired
    with was given back meanwhile. Callbacks may make something else of the result, and are waited for; the block
    has what it was fired with. If they fail, the block is not entered, and that is given back.

    If the block failed and giving back fails too, the failure of the block is the one that is raised; the other is
    told in the log, as a warning.

    :param canceller: as of ``Deferred``.
    :param leave: gives back what the Deferred was fired with.
    :param is_given_back: whether that was given back already.
    :param leave_failed: gives it back if the block has failed, where that is another thing; ``None`` where it is not.
    """

    def __init__(
        self,
        canceller: Callable[[Deferred[Any]], None],
        leave: Callable[[T], Deferred[Any]],
        is_given_back: Callable[[T], bool],
        leave_failed: Optional[Callable[[T], Deferred[Any]]] = None,
    ) -> None:
        super().__init__(canceller)
        self._leave = leave
        self._leave_failed = leave_failed or leave
        self._is_given_back = is_given_back
        self._is_entered = False
        self._had: Optional[T] = None
        # the first callback of all: any other may make something else of the result, and whoever waits takes it away
        self.addCallback(self._have)

    def _have(self, had: T) -> T:
        self._had = had
        return had

    async def __aenter__(self) -> T:
        """Waits for the Deferred, and gives what it was fired with."""
        if self._is_entered:
            raise RuntimeError("it can be entered once only: make the call again")
        self._is_entered = True
        try:
            await self
        except Exception as error:
            await self._give_back(error)
            raise
        if self._had is None:
            raise RuntimeError("it has failed, and cannot be entered: make the call again")
        if self._is_given_back(self._had):
            raise RuntimeError(f"{self._had!r} was given back, and cannot be entered: make the call again")
        return self._had

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Gives it back."""
        await self._give_back(error)

    async def _give_back(self, error: Optional[BaseException]) -> None:
        if self._had is None or self._is_given_back(self._had):
            return
        leave, had = self._leave if error is None else self._leave_failed, self._had
        await leave_after(error, lambda: leave(had), had)


def context(
    work: Deferred[T],
    leave: Callable[[T], Deferred[Any]],
    is_given_back: Callable[[T], bool],
    leave_failed: Optional[Callable[[T], Deferred[Any]]] = None,
) -> ContextDeferred[T]:
    """
    *work* as a :class:`ContextDeferred`.

    :param work: fires with what is entered; cancelled when the result is.
    :param leave: gives back what *work* fired with.
    :param is_given_back: whether that was given back already.
    :param leave_failed: gives it back if the block has failed, where that is another thing.
    """
    result = ContextDeferred[T](lambda _: work.cancel(), leave, is_given_back, leave_failed)
    work.chainDeferred(result)
    return result


class LeftBehind(CancelledError):
    """Work that was cancelled, and may have left something behind at the server."""


def tell_what_is_left(error: Exception, is_clean: bool) -> None:
    """
    An attempt has failed with *error*, and was taken back: the error tells whether that is certain.

    :raises LeftBehind: instead of a ``CancelledError``, if it is not.
    """
    if isinstance(error, Timeout):
        error.maybe_applied = not is_clean
    if isinstance(error, CancelledError) and not is_clean:
        raise LeftBehind() from error


class _Client(Protocol):
    """What is needed of one here."""

    reactor: Any

    @property
    def endpoints(self) -> tuple[str, ...]: ...

    def stats(self) -> ClientStats: ...


def within(work: Deferred[T], client: _Client, timeout: Optional[float], what: str) -> Deferred[T]:
    """
    *work*, with a deadline, and cancelled at once.

    Work that is cancelled may clean up behind itself. When the deadline passes, that is waited for; when the user
    cancels, it goes on behind his back.

    :param client: asks for the work; what it knows of its endpoints goes into the error.
    :param timeout: seconds, or ``None`` for no deadline.
    :param what: what was not done within them, for the error.
    :returns: a Deferred that fires as *work* does, or fails with :class:`~txetcd.errors.Timeout`. Its
        ``maybe_applied`` is ``True`` if the work ends with :class:`LeftBehind`.
    """
    return _Within(work, client, timeout, what).result


class _Within:
    """See :func:`within`."""

    def __init__(self, work: Deferred[Any], client: _Client, timeout: Optional[float], what: str) -> None:
        self._work = work
        self._client = client
        self._is_expired = False
        self._is_ending = False
        self._late = "" if timeout is None else f"{what} within {in_seconds(timeout)}"
        self._timer = None if timeout is None else client.reactor.callLater(timeout, self._expire)
        self.result: Deferred[Any] = Deferred(self._cancelled)
        work.addBoth(self._done)

    def _cancelled(self, result: Deferred[Any]) -> None:
        result.errback(CancelledError())
        self._stop_timer()
        self._end_work()

    def _expire(self) -> None:
        self._is_expired = True
        self._end_work()

    def _end_work(self) -> None:
        # once only: a second time would end its cleaning up
        if not self._is_ending:
            self._is_ending = True
            self._work.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _done(self, outcome: Any) -> None:
        self._stop_timer()
        if self.result.called:
            return
        if self._is_expired and isinstance(outcome, Failure) and outcome.check(CancelledError):
            outcome = Failure(self._timeout(isinstance(outcome.value, LeftBehind)))
        self.result.callback(outcome)

    def _timeout(self, is_anything_left: bool) -> Timeout:
        """Somebody else may be the reason; but not if no endpoint has answered."""
        urls, reasons = self._client.endpoints, self._client.stats().reasons
        why = "".join(f"; {reason}" for reason in dict.fromkeys(reasons.values())) if len(reasons) == len(urls) else ""
        error = Timeout(f"{self._late}{why}", is_anything_left)
        error.endpoint = ", ".join(urls)
        return error
