"""
Leases: keys that disappear when their owner does.
"""

from __future__ import annotations

import secrets
from typing import Any, Optional

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from ._backoff import ASK_AGAIN
from ._calls import Calls
from ._check import INT64_MAX, check_int, check_seconds
from ._clock import monotonic
from ._context import ContextDeferred
from ._keepalives import KeepAlives
from ._leasecore import LeaseCore, is_in_doubt
from ._messages import (
    Acknowledgement,
    LeaseGrantRequest,
    LeaseGrantResponse,
    LeaseKeepAliveRequest,
    LeaseKeepAliveResponse,
    LeaseRevokeRequest,
    LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
)
from ._schema import LEASE_GRANT, LEASE_KEEP_ALIVE, LEASE_REVOKE, LEASE_TIME_TO_LIVE, Rpc
from .errors import Closed, Error, Expired, LeaseExist, LeaseNotFound, refusal
from .values import Header

MAX_TIME_TO_LIVE = 9_000_000_000
"""Seconds that a lease may last at the most (``lease.MaxLeaseTTL`` of the server)."""


def check_time_to_live(argument: str, value: object) -> int:
    """*value*, if a lease may last so many seconds; :func:`check_int` tells what is raised otherwise."""
    return check_int(argument, value, minimum=1, maximum=MAX_TIME_TO_LIVE)


@attrs.frozen
class LeaseWay:
    """
    How the leases of a client are kept.

    :ivar calls: asks.
    :ivar clock: the reactor.
    :ivar keep_alives: renews those that are kept alive.
    """

    calls: Calls
    clock: Any
    keep_alives: KeepAlives


class Lease:
    """
    A lease. Keys that are attached to it are deleted when it expires or is revoked.

    It expires *time_to_live* seconds after it was granted or renewed last: :meth:`refresh` renews it once,
    :meth:`keep_alive` renews it until it is revoked, lost, or the client is closed.

    What is believed of it here goes by a clock that cannot be set, and that on Linux, macOS and Windows goes on while
    the machine sleeps: :attr:`state` is right whenever it is asked. But Twisted's timers go by the system's clock. When
    that is set back, the renewals come as much later, and so does :meth:`when_lost` if the lease expires by that; the
    next call of one of the methods tells it then.

    A lease that is kept alive, and expires here because it could not be renewed in time, may last longer at the server.
    So it is revoked behind your back, and so is one that :meth:`revoke` could not end: it is asked again until the
    server has answered, or another *time_to_live* has passed; when the client is closed, once more. Only one with an id
    that you have chosen is not, since somebody else may have it by then.

    Made by :meth:`Client.lease <txetcd.Client.lease>`.

    :ivar lease_id: its id (``int``; ``etcdctl`` shows it in hexadecimal).
    :ivar time_to_live: seconds (``int``), as granted: the server raises what is too short for it.
    :ivar header: the :class:`~txetcd.Header` of the answer that granted it.
    """

    def __init__(self, way: LeaseWay, granted: LeaseGrantResponse, sent_at: float, is_id_ours: bool = False) -> None:
        self._way = way
        self._calls = way.calls
        self._clock = way.clock
        self._seconds = monotonic(way.clock)
        self._core = LeaseCore(granted.time_to_live, sent_at, is_id_ours)
        self._keeper: Optional[_Keeper] = None
        self._taking_back: Optional[_TakingBack] = None
        self._looking: Optional[_Deadline] = None
        self._losers: list[Deferred[None]] = []
        self.lease_id = granted.lease_id
        self.time_to_live = granted.time_to_live
        self.header = granted.header

    @property
    def deadline(self) -> float:
        """
        When the lease expires at the earliest (``float``, seconds): counted from when the renewal that was answered
        last was *sent*, so that it is never later than what the server counts. By
        ``time.clock_gettime(time.CLOCK_BOOTTIME)`` where the system has that, by ``CLOCK_MONOTONIC_RAW`` on macOS, else
        by ``time.monotonic()``; by ``reactor.seconds()`` if the reactor is none of Twisted's own.
        """
        return self._core.deadline

    @property
    def state(self) -> str:
        """
        * ``"alive"``
        * ``"suspect"``: it has not been renewed for so long that it may have expired; only for one that is kept alive
          the next state comes of that, since otherwise nobody expects the lease to last
        * ``"lost"``: it has expired, or was revoked
        """
        return self._core.state(self._seconds())

    def remaining(self, timeout: Optional[float] = None) -> Deferred[int]:
        """
        Asks how long the lease has left (``LeaseTimeToLive``).

        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with whole seconds (``int``). It fails with :class:`~txetcd.Expired` if the
            lease is gone, or as every call. Cancelling it ends the call.
        """
        return self._time_to_live(False, timeout).addCallback(lambda answer: answer.time_to_live)

    def keys(self, timeout: Optional[float] = None) -> Deferred[list[bytes]]:
        """
        Asks which keys are attached to the lease (``LeaseTimeToLive``).

        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with the keys (``list`` of ``bytes``). It fails with :class:`~txetcd.Expired`
            if the lease is gone, or as every call. Cancelling it ends the call.
        """
        return self._time_to_live(True, timeout).addCallback(lambda answer: answer.keys)

    def refresh(self, timeout: Optional[float] = None) -> Deferred[Header]:
        """
        Renews the lease once (``LeaseKeepAlive``).

        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`. It fails with :class:`~txetcd.Expired` if the
            lease is gone (the server says so by leaving the time to live out), or as every call. Cancelling it ends
            the call; the lease may have been renewed.
        """
        if self._is_gone():
            return fail(self._expired(LEASE_KEEP_ALIVE))
        sent_at = self._seconds()
        check_seconds("timeout", timeout)
        renewed = self._calls.call(LEASE_KEEP_ALIVE, LeaseKeepAliveRequest(self.lease_id), timeout)
        return renewed.addCallback(self._renewed, sent_at)

    def _keep(self, seconds: float) -> Deferred[Header]:
        """As :meth:`refresh`, along with all others that are kept alive."""
        if self._is_gone():
            return fail(self._expired(LEASE_KEEP_ALIVE))
        sent_at = self._seconds()
        return self._way.keep_alives.renew(self.lease_id, seconds).addCallback(self._renewed, sent_at)

    def revoke(self, timeout: Optional[float] = None) -> Deferred[Header]:
        """
        Ends the lease (``LeaseRevoke``): the keys that are attached to it are deleted. It is not renewed any more,
        whatever comes of this.

        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`. It fails with :class:`~txetcd.Expired` if the
            lease is gone already, or as every call. Unless the server has refused it, it is tried again behind your
            back then; a lease with an id that you have chosen ends by itself. Cancelling it ends the call, and is
            followed by the same.
        """
        check_seconds("timeout", timeout)
        is_there = self._core.give_back(self._seconds())
        self._follow()
        if not is_there:
            return fail(self._expired(LEASE_REVOKE))
        revoked = _revoke(self._calls, self.lease_id, self._core.is_id_ours, timeout)
        return revoked.addCallbacks(self._revoked, self._not_revoked)

    def keep_alive(self) -> None:
        """
        Renews the lease three times in each *time_to_live* from now on, until it is lost (:meth:`when_lost`),
        revoked, let go (:meth:`let_go`), or the client is closed. A renewal that fails is tried again until the
        lease may have expired. Does nothing if it is renewed already. A lease that may have expired by now is lost at
        once, and so is any of a client that is closed, because that renews nothing.

        :raises Expired: if the lease is lost already.
        """
        if self._is_gone():
            raise self._expired(LEASE_KEEP_ALIVE)
        if self._calls.is_closed:
            self._core.leave()
            self._follow()
        elif not self._core.is_kept:
            self._core.keep()
            self._keeper = _Keeper(self, self._way)
            self._look()
            self._keeper.start()

    def let_go(self) -> None:
        """
        Renews the lease no longer: it lasts until it expires.
        """
        self._core.let_go()
        self._follow()

    def when_lost(self) -> Deferred[None]:
        """
        Waits until the lease is gone, or may be: the server has said so, its time ran out by the local clock, it was
        revoked here, or the client is closed. It may be told late: when the process was stopped, the machine was
        asleep, or the system's clock was set back. Ask :attr:`state` where that matters.

        :returns: a Deferred that fires with ``None``. Cancelling it ends the waiting, not the lease.
        """
        if self._is_gone() or self.state == "suspect" or self._calls.is_closed:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._forget_loser)
        self._losers.append(waiting)
        self._look()
        return waiting

    def __repr__(self) -> str:
        return f"<Lease {self.lease_id:x} {self.state} time_to_live={self.time_to_live}>"

    def _is_gone(self) -> bool:
        """Whether it is lost. Who asks this notices a loss for which the timers are late."""
        is_gone = self._core.is_gone(self._seconds())
        if is_gone:
            self._follow()
        return is_gone

    @property
    def _left(self) -> float:
        """Seconds until its time is over by the local clock."""
        return self._core.left(self._seconds())

    def _follow(self) -> None:
        """Does what follows from what has become of it. Whoever is told of a loss may do anything: so that is last."""
        if self._core.is_taken_back and self._taking_back is None:
            self._taking_back = _TakingBack(self._calls, self._clock, self.lease_id, self.time_to_live)
            self._taking_back.start().addCallback(self._taken_back)
        if not self._core.is_kept and self._keeper is not None:
            keeper, self._keeper = self._keeper, None
            keeper.stop()
        self._look()
        if self._core.end:
            self._tell_losers()

    def _look(self) -> None:
        """Has it told when its time is over, or the client is closed, as long as that matters to anybody."""
        is_wanted = not self._core.end and (self._core.is_kept or self._losers)
        if is_wanted and self._looking is None:
            self._looking = _Deadline(self, self._calls, self._clock)
            self._looking.start()
        elif self._looking is not None and not is_wanted:
            looking, self._looking = self._looking, None
            looking.stop()

    def _run_out(self) -> None:
        """Its time is over by the local clock. One that is not kept alive may be refreshed all the same."""
        if not self._is_gone():
            self._tell_losers()

    def _client_closed(self) -> None:
        if self._core.is_kept:
            self._core.leave()
        self._follow()
        self._tell_losers()

    def _tell_losers(self) -> None:
        # one at a time: whoever is told may cancel the others
        while self._losers:
            self._losers.pop(0).callback(None)
        self._look()

    def _forget_loser(self, waiting: Deferred[None]) -> None:
        self._losers.remove(waiting)
        self._look()

    def _taken_back(self, is_gone: bool) -> None:
        self._taking_back = None
        self._core.taken_back(is_gone)
        self._follow()

    def _expired(self, rpc: Rpc) -> Expired:
        """The error that says that it is gone, and why."""
        return self._calls.located(Expired(None, f"lease {self.lease_id:x} {self._core.end}"), rpc)

    def _time_to_live(self, keys: bool, timeout: Optional[float]) -> Deferred[Any]:
        if self._is_gone():
            return fail(self._expired(LEASE_TIME_TO_LIVE))
        check_seconds("timeout", timeout)
        asked = self._calls.call(LEASE_TIME_TO_LIVE, LeaseTimeToLiveRequest(self.lease_id, keys), timeout)
        return asked.addCallback(self._told)

    def _told(self, answer: LeaseTimeToLiveResponse) -> LeaseTimeToLiveResponse:
        if not self._core.found(answer.time_to_live):
            self._follow()
            raise self._expired(LEASE_TIME_TO_LIVE)
        return answer

    def _renewed(self, answer: LeaseKeepAliveResponse, sent_at: float) -> Header:
        if not self._core.renewed(answer.time_to_live, sent_at):
            self._follow()
            raise self._expired(LEASE_KEEP_ALIVE)
        if self._looking is not None:
            self._looking.wait()
        return answer.header

    def _revoked(self, answer: Acknowledgement) -> Header:
        self._core.revoked()
        self._follow()
        return answer.header

    def _not_revoked(self, failure: Failure) -> Any:
        error = failure.value
        self._core.not_revoked(_error_of(failure))
        self._follow()
        if isinstance(error, LeaseNotFound) and error.maybe_applied:
            return self._header_of_revocation(failure)
        return failure

    def _header_of_revocation(self, failure: Failure) -> Deferred[Any]:
        """An attempt whose answer was lost has done it. The server is asked once more, for the header."""
        asked = self._calls.finish(LEASE_TIME_TO_LIVE, LeaseTimeToLiveRequest(self.lease_id))
        return asked.addCallbacks(lambda answer: answer.header, lambda _: failure)


class _Deadline:
    """
    Tells a lease that its time is over, or that the client is closed.
    """

    def __init__(self, lease: Lease, calls: Calls, clock: Any) -> None:
        self._lease = lease
        self._calls = calls
        self._clock = clock
        self._timer: Optional[IDelayedCall] = None

    def start(self) -> None:
        """Looks from now on."""
        self._forget_close = self._calls.at_close(self._lease._client_closed)
        self.wait()

    def stop(self) -> None:
        """Looks no longer."""
        self._forget_close()
        self._stop_timer()

    def wait(self) -> None:
        """Waits for the end as it is known now."""
        self._stop_timer()
        self._timer = self._clock.callLater(max(self._lease._left, 0), self._look)

    def _look(self) -> None:
        if self._lease._left > 0:
            # the system's clock, by which the timers go, was set forward
            self.wait()
        else:
            self._lease._run_out()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class _Keeper:
    """
    Renews a lease, until it is stopped.
    """

    def __init__(self, lease: Lease, way: LeaseWay) -> None:
        self._lease = lease
        self._way = way
        self._renewing: Deferred[Any] = succeed(None)
        self._timer: Optional[IDelayedCall] = None
        self._is_stopped = False

    def start(self) -> None:
        """Renews from now on."""
        self._way.keep_alives.join()
        self._renew()

    def stop(self) -> None:
        """Renews no longer."""
        self._is_stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._renewing.cancel()
        self._way.keep_alives.leave()

    def _renew(self) -> None:
        # nothing is sent if the timers are so late that the lease is lost; and an answer that comes after the next
        # attempt, or after the end, does not matter
        core, seconds = self._lease._core, self._lease._seconds
        asked_at = seconds()
        self._renewing = self._lease._keep(core.patience(asked_at))
        self._renewing.addCallbacks(
            lambda _: self._later(core.rest(seconds())), lambda _: self._later(core.pause(asked_at, seconds()))
        )

    def _later(self, delay: float) -> None:
        if not self._is_stopped:
            self._timer = self._way.clock.callLater(delay, self._renew)


class _TakingBack:
    """
    Revokes a lease that nobody here wants or believes in any more: as well as that can be done, and behind everybody's
    back. It is tried again until the server has answered, or some seconds have passed; when the client is closed, once
    more.
    """

    def __init__(self, calls: Calls, clock: Any, lease_id: int, seconds: float, is_id_ours: bool = True) -> None:
        self._calls = calls
        self._clock = clock
        self._seconds = monotonic(clock)
        self._deadline = self._seconds() + seconds
        self._lease_id = lease_id
        self._is_id_ours = is_id_ours
        self._timer: Optional[IDelayedCall] = None
        self._ended: Deferred[bool] = Deferred()

    def start(self) -> Deferred[bool]:
        """
        Revokes it from now on.

        :returns: a Deferred that fires at the end, with whether the server said that the lease is gone. It does not
            fail.
        """
        self._forget_close = self._calls.at_close(self._client_closed)
        self._revoke()
        return self._ended

    def _revoke(self) -> None:
        self._timer = None
        revoked = _revoke(self._calls, self._lease_id, self._is_id_ours)
        revoked.addCallbacks(lambda _: self._end(True), self._not_revoked)

    def _not_revoked(self, failure: Failure) -> None:
        is_late = self._calls.is_closed or self._seconds() >= self._deadline
        if is_late or not is_in_doubt(_error_of(failure)):
            self._end(bool(failure.check(LeaseNotFound)))
        else:
            self._timer = self._clock.callLater(ASK_AGAIN, self._revoke)

    def _end(self, is_gone: bool) -> None:
        self._forget_close()
        self._ended.callback(is_gone)

    def _client_closed(self) -> None:
        if self._timer is not None:
            # once more, for which the client waits a little
            self._timer.cancel()
            self._revoke()


def _revoke(calls: Calls, lease_id: int, is_id_ours: bool, timeout: Optional[float] = None) -> Deferred[Any]:
    """
    Revokes a lease. One with an id that the user has chosen may be granted anew as soon as this has been done; so what
    was not answered is not asked again, as it could be done later than that.
    """
    request = LeaseRevokeRequest(lease_id)
    return calls.finish(LEASE_REVOKE, request, timeout, is_idempotent=None if is_id_ours else False)


def _error_of(failure: Failure) -> Optional[BaseException]:
    """What a call failed with; ``None`` if it was cancelled."""
    return None if failure.check(CancelledError) else failure.value


def is_left(lease: Lease) -> bool:
    """Whether it is lost only because the client was closed, which renews it no longer."""
    return lease._core.is_left


def is_given_back(lease: Lease) -> bool:
    """Whether its owner has revoked it, whatever came of that, and not kept it alive again."""
    return lease._core.is_given_back


# --- granting one


def new_lease_id() -> int:
    """An id that nobody else has, as far as that can be: any positive number of 63 bits, like those of the server."""
    return 1 + secrets.randbelow(INT64_MAX)


def grant(
    way: LeaseWay, time_to_live: int, lease_id: int, timeout: Optional[float], keep_alive: bool
) -> ContextDeferred[Lease]:
    """
    Grants a lease: see :meth:`Client.lease <txetcd.Client.lease>`.

    :param lease_id: its id; 0 for one that is chosen here, and not by the server: so a lease that was granted, perhaps,
        without an answer can be revoked.
    """
    request = LeaseGrantRequest(time_to_live, lease_id or new_lease_id())
    return _Granting(way, request, not lease_id, keep_alive).ask(timeout)


class _Granting:
    """
    A lease that is being granted. The answer is waited for even if nobody wants it any more: who else would revoke it?
    """

    def __init__(self, way: LeaseWay, request: LeaseGrantRequest, is_id_ours: bool, keep_alive: bool) -> None:
        self._way = way
        self._calls = way.calls
        self._clock = way.clock
        self._request = request
        self._is_id_ours = is_id_ours
        self._keep_alive = keep_alive
        self._seconds = monotonic(way.clock)
        self._sent_at = self._seconds()
        self._deadline = 0.0
        self._result = ContextDeferred[Lease](
            lambda result: result.errback(CancelledError()), Lease.revoke, is_given_back
        )

    def ask(self, timeout: Optional[float]) -> ContextDeferred[Lease]:
        """Asks for it."""
        # to be finished, because nobody would know of a lease that was granted all the same; but not begun by a client
        # that is closed
        ask = self._calls.call if self._calls.is_closed else self._calls.finish
        self._deadline = self._sent_at + (self._calls.timeout if timeout is None else timeout)
        ask(LEASE_GRANT, self._request, timeout).addCallbacks(self._granted, self._not_granted)
        return self._result

    def _granted(self, answer: LeaseGrantResponse) -> None:
        if answer.error:
            self._fail(self._calls.located(refusal(None, answer.error), LEASE_GRANT))
        elif self._result.called or self._calls.is_closed:
            # an id that the user has chosen may be granted anew as soon as this is done: so it is not asked twice
            seconds = answer.time_to_live if self._is_id_ours else 0
            _TakingBack(self._calls, self._clock, answer.lease_id, seconds, self._is_id_ours).start()
            self._fail(self._calls.located(Closed(), LEASE_GRANT))
        else:
            lease = Lease(self._way, answer, self._sent_at, self._is_id_ours)
            if self._keep_alive:
                lease.keep_alive()
            self._result.callback(lease)

    def _not_granted(self, failure: Failure) -> None:
        is_there = self._is_id_ours and isinstance(failure.value, Error) and failure.value.maybe_applied
        if is_there and failure.check(LeaseExist):
            self._granted_before()
        else:
            self._fail_of(failure, is_there)

    def _granted_before(self) -> None:
        """An attempt whose answer was lost has done it, as nobody else has this id. For how long is asked."""
        self._sent_at = self._seconds()
        request = LeaseKeepAliveRequest(self._request.lease_id)
        left = max(self._deadline - self._sent_at, ASK_AGAIN)
        asked = self._calls.finish(LEASE_KEEP_ALIVE, request, left)
        asked.addCallbacks(self._renewed, self._fail_of, errbackArgs=(True,))

    def _renewed(self, answer: LeaseKeepAliveResponse) -> None:
        if answer.time_to_live > 0:
            self._granted(LeaseGrantResponse(answer.header, answer.lease_id, answer.time_to_live))
        else:
            reason = f"lease {self._request.lease_id:x} was granted, but has expired before that was known"
            self._fail(self._calls.located(Expired(None, reason), LEASE_GRANT))

    def _fail_of(self, failure: Failure, is_there: bool) -> None:
        if is_there:
            _TakingBack(self._calls, self._clock, self._request.lease_id, self._request.time_to_live).start()
        self._fail(failure)

    def _fail(self, reason: Any) -> None:
        if not self._result.called:
            self._result.errback(reason)
