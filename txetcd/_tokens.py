"""
The token that proves who asks.
"""

from __future__ import annotations

from copy import copy
from math import inf
from typing import Any, Optional, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from ._backoff import in_seconds
from ._retry import is_of_endpoint
from ._transport import CallCancelled
from .errors import AuthNotEnabled, Error, Timeout

_TOGETHER = 1.0
"""Seconds: who waits so little longer than others has tried as hard as they, and is told what they are told."""


class Fetch(Protocol):
    """
    Gets a token.

    :ivar seconds: how long it tries at least (``float``).
    """

    seconds: float

    def __call__(self, seconds: float) -> Deferred[str]:
        """
        Tries for so many seconds.

        :returns: a Deferred that fires with the token; cancelling it ends the trying.
        """


class Tokens:
    """
    A token: the user's own, or one that is fetched, once for all who wait for it, and anew when the server does not
    take it any more.

    What is wrong with the name or the password is told to all who wait. That no server answered in time is not: whoever
    came later has time left, for which it is tried again.

    :param clock: the reactor.
    :param fetch: gets one; ``None`` if none can be had.
    :param token: the user's own.

    :ivar token: the token (``str``), or ``""``.
    """

    def __init__(self, clock: Any, fetch: Optional[Fetch] = None, token: str = "") -> None:
        self._clock = clock
        self._fetch = fetch
        self._fetching: Optional[Deferred[str]] = None
        # when the fetching ends at the latest
        self._until = 0.0
        self._waiting: dict[Deferred[None], IDelayedCall] = {}
        self._is_not_wanted = False
        # why there was none, the last time
        self._reason = ""
        self.token = token

    @property
    def can_be_fetched(self) -> bool:
        """Whether another one can be had (``bool``)."""
        return self._fetch is not None

    @property
    def is_missing(self) -> bool:
        """Whether one must be fetched before anything else is asked (``bool``)."""
        return self._fetch is not None and not self.token and not self._is_not_wanted

    def forget(self, token: str) -> None:
        """The server does not take *token*, or wants one; unless there is another by now, it must be fetched anew."""
        if token == self.token and self._fetch is not None:
            self.token = ""
            self._is_not_wanted = False

    def fetch(self, seconds: float) -> Deferred[None]:
        """
        Waits for a token.

        :param seconds: how long.
        :returns: a Deferred that fires with ``None`` when there is one, or none is wanted because authentication is
            off. It fails with what the server says of the name and the password, or as every call, and with
            :class:`~txetcd.errors.Timeout`. Cancelling it ends the waiting.
        """
        waiting: Deferred[None] = Deferred(self._leave)
        self._waiting[waiting] = self._clock.callLater(max(seconds, 0.0), self._expire, waiting, seconds)
        if self._fetching is None:
            self._begin()
        return waiting

    def _begin(self) -> None:
        assert self._fetch is not None
        now = self._clock.seconds()
        longest = max(timer.getTime() for timer in self._waiting.values()) - now
        seconds = max(longest, self._fetch.seconds)
        self._until = now + seconds
        self._fetching = fetching = self._fetch(seconds)
        fetching.addCallbacks(self._fetched, self._not_fetched)

    def _leave(self, waiting: Deferred[None]) -> None:
        self._dismiss(waiting, CallCancelled(False))

    def _expire(self, waiting: Deferred[None], seconds: float) -> None:
        late = f"could not be sent within {in_seconds(seconds)}: no token was had"
        self._dismiss(waiting, Timeout(f"{late}{self._reason}"))

    def _dismiss(self, waiting: Deferred[None], reason: Exception) -> None:
        timer = self._waiting.pop(waiting)
        if timer.active():
            timer.cancel()
        waiting.errback(reason)
        if not self._waiting and self._fetching is not None:
            # nobody needs it any more
            self._fetching.cancel()

    def _fetched(self, token: str) -> None:
        self.token = token
        self._reason = ""
        self._tell(None)

    def _not_fetched(self, failure: Failure) -> None:
        if failure.check(AuthNotEnabled):
            self._is_not_wanted = True
            self._tell(None)
        elif isinstance(failure.value, Error) and is_of_endpoint(failure.value):
            self._reason = f" ({failure.value.message})"
            self._tell(failure, self._until + _TOGETHER)
        else:
            self._tell(failure)

    def _tell(self, failure: Optional[Failure], until: float = inf) -> None:
        """Tells those who wait until then at the latest; for the others it is tried again."""
        self._fetching = None
        told = [one for one, timer in self._waiting.items() if timer.getTime() <= until]
        for one in told:
            timer = self._waiting.pop(one, None)
            if timer is None:
                # whoever was told before has cancelled this one
                continue
            timer.cancel()
            if failure is None:
                one.callback(None)
            else:
                # a copy for each, because an exception keeps the traceback of where it was raised
                one.errback(copy(failure.value) if isinstance(failure.value, Error) else failure)
        if self._waiting and self._fetching is None:
            self._begin()
