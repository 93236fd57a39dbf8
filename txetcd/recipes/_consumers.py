"""
Those in this process who wait for something to be taken: one asks the server, on behalf of all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Sequence
from copy import copy
from typing import Any, Callable, Generic, Optional, TypeVar, Union

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._check import check_seconds
from .._context import LeftBehind, within
from ..errors import Error
from ._etcd import Etcd
from ._outages import CLEANUP_TIMEOUT

T = TypeVar("T")

_log = Logger()


class Consumers(Generic[T]):
    """
    Hands out what is taken, in the order of asking. It asks only as long as somebody waits; what is taken just when
    nobody does any more is put back.

    :param etcd: the client.
    :param take: takes something, one thing at least, and waits until that can be done: gives a list of what was taken,
        or of failures, for one who waits each. It is called with this, see :meth:`rest` and :meth:`count`.
    :param put_back: puts back what was taken.
    :param leave: called when nobody waits any more, and waited for.
    """

    def __init__(
        self,
        etcd: Etcd,
        take: Callable[[], Coroutine[Any, Any, Sequence[Union[T, Failure]]]],
        put_back: Callable[[T], Coroutine[Any, Any, None]],
        leave: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._etcd = etcd
        self._take = take
        self._put_back = put_back
        self._leave = leave
        self._places: deque[Deferred[T]] = deque()
        self._gone: list[Deferred[None]] = []
        self._resting: Optional[Deferred[Any]] = None
        self._is_serving = False

    @property
    def count(self) -> int:
        """How many wait (``int``)."""
        return len(self._places)

    def wait(self, timeout: Optional[float], what: str) -> Deferred[T]:
        """
        Waits for one.

        :param timeout: seconds, or ``None``.
        :param what: what was not done within them, for the error.
        :returns: a Deferred that fires with what was taken, or fails as taking it does, or with
            :class:`~txetcd.errors.Timeout`. Cancelling it ends the waiting.
        """
        check_seconds("timeout", timeout)
        return within(Deferred.fromCoroutine(self._wait()), self._etcd, timeout, what)

    async def _wait(self) -> T:
        place: Deferred[T] = Deferred()
        self._places.append(place)
        if not self._is_serving:
            self._is_serving = True
            Deferred.fromCoroutine(self._serve()).addErrback(lambda failure: _log.failure("consumers failed", failure))
        try:
            return await place
        except CancelledError:
            self._places.remove(place)
            if not self._places and not await self._until_gone():
                raise LeftBehind() from None
            raise

    async def _until_gone(self) -> bool:
        """Whether nothing is under way any more for those who have left; all of them have."""
        if self._resting is not None:
            self._resting.cancel()
        if not self._is_serving:
            return True
        gone: Deferred[None] = Deferred(self._gone.remove)
        self._gone.append(gone)
        try:
            await gone.addTimeout(CLEANUP_TIMEOUT, self._etcd.reactor)
        except TimeoutError:
            return False
        return True

    async def rest(self, work: Coroutine[Any, Any, None]) -> None:
        """
        For taking: does what may be given up when nobody waits any more.

        :raises CancelledError: if so.
        """
        if not self._places:
            work.close()
            raise CancelledError()
        self._resting = resting = Deferred.fromCoroutine(work)
        try:
            await resting
        finally:
            self._resting = None

    async def _serve(self) -> None:
        while self._places:
            try:
                taken = await self._take()
            except CancelledError:
                pass
            except Exception as error:
                self._fail(error)
            else:
                await self._hand_out(taken)
            if not self._places:
                await self._leave()
            self._tell_gone()
        self._is_serving = False
        self._tell_gone()

    async def _hand_out(self, taken: Sequence[Union[T, Failure]]) -> None:
        for one in taken:
            if self._places:
                self._places.popleft().callback(one)
            elif not isinstance(one, Failure):
                await self._return(one)

    async def _return(self, one: T) -> None:
        try:
            await self._put_back(one)
        except Error as error:
            _log.error("{one} was taken, nobody wants it, and it cannot be put back: {error}", one=one, error=error)

    def _fail(self, error: Exception) -> None:
        places, self._places = self._places, deque()
        for place in places:
            # a copy, because an exception keeps the traceback of where it was raised
            place.errback(copy(error))

    def _tell_gone(self) -> None:
        gone, self._gone = self._gone, []
        for one in gone:
            one.callback(None)
