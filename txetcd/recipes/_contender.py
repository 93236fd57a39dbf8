"""
What all that can be acquired and released have in common.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Optional, TypeVar

from twisted.internet.defer import Deferred, fail

from .._check import check_seconds
from .._context import leave_after
from ..errors import Error, LockReleased
from ..ops import Comp
from ..values import KeyValue
from ._contest import Contest
from ._place import Place

Self = TypeVar("Self", bound="Contender")


class Holder:
    """
    What holds a place in a contest, or does not.

    What only a holder has raises :class:`~txetcd.errors.LockReleased` if there is none, or, of an election,
    :class:`~txetcd.errors.NotElectionLeader`. It does not if what was held is lost: that is told by ``is_held``.

    :param name: the name of what is contended for (``bytes``).
    :param contest: the rule.

    :ivar name: as given.
    """

    _STATES = ("HELD", "WAITING", "FREE")

    def __init__(self, name: bytes, contest: Contest) -> None:
        self.name = name
        self._contest = contest
        self._place: Optional[Place] = None
        self._is_contending = False

    def _contend(self, winning: Deferred[Any]) -> Deferred[None]:
        """*winning*, whose result is the place."""
        self._is_contending = True
        return winning.addCallback(self._won).addBoth(self._contended)

    def _won(self, place: Optional[Place]) -> None:
        self._place = place

    def _contended(self, result: Any) -> Any:
        self._is_contending = False
        return result

    @property
    def key(self) -> bytes:
        """
        The key that it is held by (``bytes``).

        :raises LockReleased: if it was not acquired, or released since (of an election: ``NotElectionLeader``).
        """
        return self._held().key

    @property
    def revision(self) -> int:
        """
        The fencing token (``int``): the revision that created the key. Whoever comes later has a greater one.

        :raises LockReleased: if it was not acquired, or released since (of an election: ``NotElectionLeader``).
        """
        return self._held().revision

    def guard(self) -> Comp:
        """
        :returns: a comparison for a transaction of yours, which then does nothing if it is no longer held.
        :raises LockReleased: if it was not acquired, or released since (of an election: ``NotElectionLeader``).
        """
        return self._held().guard()

    def when_lost(self) -> Deferred[None]:
        """
        Waits until it is lost: its lease could not be kept alive, or was revoked, or it was given back by
        :meth:`release`. It may be told late: when the process was stopped, the machine was asleep, or the system's
        clock was set back.

        :returns: a Deferred that fires with ``None``. Cancelling it ends the waiting, and nothing else.
        :raises LockReleased: if it was not acquired, or released since (of an election: ``NotElectionLeader``).
        """
        return self._held().when_lost()

    def contenders(self) -> Deferred[list[KeyValue]]:
        """
        Asks who holds it, and who waits for it.

        :returns: a Deferred that fires with their keys (``list`` of :class:`~txetcd.KeyValue`), the oldest first:
            ``lease`` tells them apart. It fails as every call; cancelling it ends the call.
        """
        return self._contest.contenders()

    def _held(self) -> Place:
        if self._place is None:
            raise self._not_held()
        return self._place

    def _not_held(self) -> Error:
        if self._is_contending:
            return LockReleased(None, f"{self._contest.what} is still waited for: cancel that to give it up")
        return LockReleased(None, f"{self._contest.what} is not held")

    @property
    def _is_alive(self) -> bool:
        return self._place is not None and self._place.is_alive

    def _leave(self) -> Deferred[None]:
        place, self._place = self._place, None
        return fail(self._not_held()) if place is None else place.leave()

    async def _leave_after(self, error: Optional[BaseException]) -> None:
        """Leaves, unless that was done already; what that fails with is raised only if nothing else is."""
        if self._place is not None:
            await leave_after(error, self._leave, self)

    def __repr__(self) -> str:
        held, waiting, free = self._STATES
        state = held if self._is_alive else "LOST" if self._place else waiting if self._is_contending else free
        return f"<{type(self).__name__} {self.name!r} {state}>"


class Contender(Holder):
    """
    Acquires, holds and releases something that only so many can have at a time. ``async with`` acquires it, and
    releases it when the block is left, unless that was done in the block.
    """

    # --- acquire

    def acquire(self: Self, timeout: Optional[float] = None) -> Deferred[Self]:
        """
        Waits until it is held.

        :param timeout: seconds, or ``None`` to wait as long as it takes.
        :returns: a Deferred that fires with this object when it is held. It fails with :class:`~txetcd.Timeout` if it
            was not had in time; :class:`~txetcd.errors.SessionExpired` or :class:`~txetcd.Expired` if the session or
            the lease was lost meanwhile or before; :class:`~txetcd.Closed` if the client was closed; or as every call.
            Then nothing is left behind: the key is deleted before it fails, unless the server cannot be reached, when
            it disappears after *time_to_live*, or with the session. ``maybe_applied`` of a ``Timeout`` is ``False``
            only if nothing is left, certainly. Cancelling it fires it at once; the key is deleted behind its back.
        :raises RuntimeError: if it is held, or waited for, already; or if the session has not begun.
        """
        check_seconds("timeout", timeout)
        self._check_free()
        return self._contend(self._contest.win(timeout)).addCallback(lambda _: self)

    def try_acquire(self) -> Deferred[bool]:
        """
        Acquires it if that is possible without waiting. If it is not, that costs a call, and nothing is written.

        :returns: a Deferred that fires with whether it is held now (``bool``). It fails as :meth:`acquire`, and
            cancelling does as there.
        :raises RuntimeError: as :meth:`acquire`.
        """
        self._check_free()
        return self._contend(self._contest.win_at_once()).addCallback(lambda _: self._place is not None)

    def _check_free(self) -> None:
        if self._is_contending or self._place is not None:
            raise RuntimeError(
                f"{self!r} cannot be acquired twice: make one for each task; a block acquires it by itself, as 'async"
                " with etcd.lock(...)', without await"
            )

    @property
    def is_held(self) -> bool:
        """Whether it is held, as far as can be known here (``bool``): it was acquired, and its lease is alive."""
        return self._is_alive

    def release(self) -> Deferred[None]:
        """
        Gives it back. It is not held any more, whatever comes of this.

        :returns: a Deferred that fires with ``None``. It fails with :class:`~txetcd.errors.LockReleased` if it is not
            held, or still waited for; :class:`~txetcd.Expired`, or :class:`~txetcd.errors.SessionExpired` with a
            session, if it had been lost already; or as every call: then it is tried again behind your back, and it is
            free after *time_to_live* at the latest, or with the end of the session. Cancelling it ends the call, and is
            followed by the same.
        """
        return self._leave()

    # --- async with

    async def __aenter__(self: Self) -> Self:
        """Acquires it."""
        return await self.acquire()

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Releases it, unless that was done; raises what that fails with, unless the block has raised something."""
        await self._leave_after(error)


def is_released(contender: Contender) -> bool:
    """Whether what was acquired has been given back by its owner; what was lost has not."""
    return contender._place is None
