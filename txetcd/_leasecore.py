"""
A lease, without any input or output: what was asked, answered, and when, in; what to believe of it, and to do, out.

Theory of operation. A :class:`LeaseCore` is in one of three states, and stays in the last one::

    resting <--> kept
       either of them --> lost

* *resting*: nobody expects it to last. When its time is over it may be renewed all the same, if the server still has
  it.
* *kept*: it is renewed all the time. When its time is over it is lost, whatever the server says later: whoever was told
  has acted on it.
* *lost*: :attr:`LeaseCore.end` says why.

**How long it is believed in.** The server counts from when it has carried a renewal out, which is after that was sent,
and before it was answered. So what is counted from here is the *sending* of the renewal that was sent last, of those
that were answered: that is never later than what the server counts. A renewal that was not answered may have been
carried out, and only makes it last longer; an answer that was overtaken by another one takes nothing back.

**When it is renewed.** A third of its term after an answer, and for as long as that at a time: so one renewal may be
lost in silence, and there is still time for another one. What fails sooner is asked again after :data:`ASK_AGAIN`,
counted from when it was asked: a pause after a long silence would only cost the time that is left.

**What is taken back.** Nobody here believes any more in a lease that could not be renewed, or wants one that could not
be revoked; but the server may have it. So it is revoked behind everybody's back, unless somebody else may have its id.

All times are seconds of one clock, which nobody can set.
"""

from __future__ import annotations

from typing import Optional

from ._backoff import ASK_AGAIN
from .errors import LeaseNotFound, OutcomeUnknown, Timeout, TooManyRequests, Unavailable

ALIVE, SUSPECT, LOST = "alive", "suspect", "lost"

EXPIRED = "expired: it could not be renewed in time"
LEFT = "is not renewed any more: the client was closed"
REVOKED = "was revoked"
UNKNOWN = "is not known to the server"

_RENEWALS = 3
"""Renewals within a term, as Go's client has it."""

_MOMENTS = 32
"""In so many moments of each interval renewals are sent."""

_IN_DOUBT = (Unavailable, OutcomeUnknown, Timeout, TooManyRequests)


def is_in_doubt(error: Optional[BaseException]) -> bool:
    """
    Whether a revocation is worth another one: the server has not refused it for good, for all we know.

    :param error: what it failed with; ``None`` if it was cancelled.
    """
    return error is None or isinstance(error, _IN_DOUBT)


class LeaseCore:
    """
    See above.

    :param time_to_live: seconds, as granted.
    :param sent_at: when it was asked for.
    :param is_id_ours: whether nobody else can have its id.

    :ivar is_id_ours: as given.
    :ivar end: why it is lost (``str``); empty as long as it is not.
    :ivar is_kept: whether it is renewed (``bool``).
    :ivar is_given_back: whether its owner has revoked it, whatever came of that, and not kept it since (``bool``).
    :ivar is_taken_back: whether it is to be revoked behind everybody's back (``bool``).
    """

    def __init__(self, time_to_live: int, sent_at: float, is_id_ours: bool = False) -> None:
        self._time_to_live = self._term = time_to_live
        self._renewed_at = sent_at
        self.is_id_ours = is_id_ours
        self.end = ""
        self.is_kept = self.is_given_back = self.is_taken_back = False

    # --- what to believe

    @property
    def deadline(self) -> float:
        """When it expires at the earliest."""
        return self._renewed_at + self._term

    def left(self, now: float) -> float:
        """Seconds until then."""
        return self.deadline - now

    def state(self, now: float) -> str:
        """One of :data:`ALIVE`, :data:`SUSPECT`, :data:`LOST`."""
        if self.end:
            return LOST
        return ALIVE if now < self.deadline else SUSPECT

    def is_gone(self, now: float) -> bool:
        """Whether it is lost, if only because it is kept and its time is over, which is noticed by that."""
        if self.is_kept and self.state(now) == SUSPECT:
            self._take_back()
            self._lose(EXPIRED)
        return bool(self.end)

    @property
    def is_left(self) -> bool:
        """Whether it is lost only because the client was closed. The server has it still, so it can be revoked."""
        return self.end == LEFT

    # --- when it is renewed

    @property
    def interval(self) -> float:
        """Seconds from an answer to the next renewal, at the most."""
        return self._term / _RENEWALS

    def rest(self, now: float) -> float:
        """
        Seconds until the next renewal, after an answer. Those of many leases come at the same moments, a few in each
        interval: to send and to read them together takes a fraction of what it takes one by one.
        """
        moment = self.interval / _MOMENTS
        return (now + self.interval) // moment * moment - now

    def patience(self, now: float) -> float:
        """Seconds that a renewal may take."""
        return min(self.interval, max(self.left(now), ASK_AGAIN))

    def pause(self, asked_at: float, now: float) -> float:
        """Seconds until the next renewal, after one has failed."""
        return max(0.0, ASK_AGAIN - (now - asked_at))

    # --- what happens

    def keep(self) -> None:
        """It is renewed from now on."""
        self.is_kept, self.is_given_back = True, False

    def let_go(self) -> None:
        """It is renewed no longer."""
        self.is_kept = False

    def leave(self) -> None:
        """It should be renewed, but the client is closed."""
        self._lose(LEFT)

    def give_back(self, now: float) -> bool:
        """
        Its owner wants to revoke it.

        :returns: whether there is something to be revoked.
        """
        self.is_given_back = True
        is_gone = self.is_gone(now)
        self.is_kept = False
        return not is_gone or self.is_left

    def renewed(self, time_to_live: int, sent_at: float) -> bool:
        """
        A renewal was answered.

        :param time_to_live: seconds, by the answer, which leaves them out if the server does not know the lease.
        :param sent_at: when that was sent, or before.
        :returns: whether it is there; if not, the answer may have come too late.
        """
        if time_to_live <= 0:
            self._lose(UNKNOWN)
        elif not self.end and sent_at >= self._renewed_at:
            self._renewed_at = sent_at
            # less than was granted, if the id was granted anew meanwhile
            self._term = min(self._time_to_live, time_to_live)
        return not self.end

    def found(self, time_to_live: int) -> bool:
        """
        The server was asked how long it has left.

        :param time_to_live: -1 for a lease that it does not know; one on the verge has 0 left, but is still there.
        :returns: whether it knows it.
        """
        if time_to_live < 0:
            self._lose(UNKNOWN)
        return time_to_live >= 0

    def revoked(self) -> None:
        """Its owner has revoked it."""
        self._lose(REVOKED)

    def not_revoked(self, error: Optional[BaseException]) -> None:
        """
        Its owner has tried to revoke it.

        :param error: what came of it; ``None`` if it was cancelled.
        """
        if isinstance(error, LeaseNotFound):
            # if an attempt may have been carried out before, it was: the answer was lost
            self._lose(REVOKED if error.maybe_applied else UNKNOWN)
        elif is_in_doubt(error):
            self._take_back()

    def taken_back(self, is_gone: bool) -> None:
        """It was tried to revoke it behind everybody's back; whether the server says that it is gone."""
        self.is_taken_back = False
        if is_gone:
            self._lose(REVOKED)

    # --- within

    def _lose(self, end: str) -> None:
        # what was told first remains
        self.end = self.end or end
        self.is_kept = False

    def _take_back(self) -> None:
        self.is_taken_back = self.is_id_ours
