"""
A call, whatever comes of its attempts, and whenever it is cancelled: at random, against what must always be true.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from test.fakes import FakeCall, FakeTransport, fake_way
from test.properties import PROPERTY
from txetcd import _schema as schema
from txetcd._backoff import Backoff, never
from txetcd._calls import Calls
from txetcd._messages import LeaseGrantRequest
from txetcd._retry import is_repeatable
from txetcd._schema import Rpc
from txetcd._tokens import Tokens
from txetcd._transport import Metadata
from txetcd.errors import (
    AuthFailed,
    AuthNotEnabled,
    AuthOldRevision,
    Closed,
    DeadlineExceeded,
    Error,
    InvalidAuthToken,
    LeaderChanged,
    LeaseExist,
    NoLeader,
    NoSpace,
    NotSupportedForLearner,
    OutcomeUnknown,
    PermissionDenied,
    ProtocolViolation,
    RequestCanceled,
    RequestTooLarge,
    ResourceError,
    Timeout,
    TLSFailed,
    TooManyRequests,
    Unavailable,
    UserEmpty,
)
from txetcd.ops import OpGet, OpSet
from txetcd.values import Header, Revision

URLS = ("http://a", "http://b", "http://c")
OURS, STRANGE = 77, 99

REQUESTS: dict[Rpc, Any] = {
    schema.PUT: OpSet(b"key", b"value"),
    schema.RANGE: OpGet(b"key"),
    schema.LEASE_GRANT: LeaseGrantRequest(60, 1),
}


def answered_by(cluster_id: int) -> Revision:
    """An answer, of which only matters who has given it."""
    return Revision(Header(1, 5, cluster_id, 8))


REPLIES: dict[str, tuple[Callable[[], Any], bool]] = {
    "done": (lambda: answered_by(OURS), True),
    "done by another cluster": (lambda: answered_by(STRANGE), True),
    "not sent": (lambda: Unavailable(None, "not sent: refused"), False),
    "not sent in time": (lambda: Timeout("could not be sent within 1 second"), False),
    "no TLS": (lambda: TLSFailed(None, "not sent: unknown authority"), False),
    "lost": (lambda: OutcomeUnknown(None, "lost"), True),
    "no leader": (lambda: NoLeader(14, "etcdserver: no leader"), False),
    "learner": (lambda: NotSupportedForLearner(14, "etcdserver: rpc not supported for learner"), False),
    "leader changed": (lambda: LeaderChanged(14, "etcdserver: leader changed"), True),
    "lost behind the gateway": (lambda: Unavailable(14, "error reading from server: EOF"), True),
    "late": (lambda: DeadlineExceeded(4, "context deadline exceeded"), True),
    "canceled": (lambda: RequestCanceled(1, "context canceled"), True),
    "unheard of": (lambda: Error(2, "whatever"), True),
    "no etcd": (lambda: ProtocolViolation("HTTP 418"), True),
    "full": (lambda: NoSpace(8, "etcdserver: mvcc: database space exceeded"), True),
    "busy": (lambda: TooManyRequests(8, "etcdserver: too many requests"), False),
    "no room": (lambda: ResourceError(8, "no room"), True),
    "too large an answer": (lambda: RequestTooLarge(8, "grpc: received message larger than max (1 vs. 0)"), True),
    "too large": (lambda: RequestTooLarge(3, "etcdserver: request is too large"), False),
    "forbidden": (lambda: PermissionDenied(7, "etcdserver: permission denied"), False),
    "there already": (lambda: LeaseExist(9, "etcdserver: lease already exists"), False),
    "bad token": (lambda: InvalidAuthToken(16, "etcdserver: invalid auth token"), False),
    "old token": (lambda: AuthOldRevision(3, "etcdserver: revision of auth store is old"), False),
    "no token": (lambda: UserEmpty(3, "etcdserver: user name is empty"), False),
}
"""What an attempt may come to, and whether a write may have been applied then."""

LOGINS: dict[str, Callable[[], Any]] = {
    "token": lambda: "token",
    "wrong password": lambda: AuthFailed(3, "etcdserver: authentication failed, invalid user ID or password"),
    "off": lambda: AuthNotEnabled(9, "etcdserver: authentication is not enabled"),
    "nobody there": lambda: Unavailable(None, "not sent: refused"),
}
"""What asking for a token may come to."""


class WatchedTransport(FakeTransport):
    """
    A fake that tells when it is asked.

    :param on_call: called with the endpoint, the call and its timeout, before anything else happens.
    """

    def __init__(self, clock: Clock, on_call: Callable[[str, Rpc, float], None]) -> None:
        super().__init__(clock)
        self._on_call = on_call

    def call(self, endpoint: str, rpc: Rpc, request: Any, timeout: float, metadata: Metadata) -> Deferred[Any]:
        self._on_call(endpoint, rpc, timeout)
        return super().call(endpoint, rpc, request, timeout, metadata)


class Fetch:
    """Tokens that are given by hand."""

    seconds = 1.0

    def __init__(self) -> None:
        self.asked: list[Deferred[str]] = []

    def __call__(self, *seconds: float) -> Deferred[str]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def reply(self, answer: Any) -> None:
        """Answers whoever asks, if anybody does."""
        for one in self.asked:
            if not one.called:
                one.callback(answer) if isinstance(answer, str) else one.errback(answer)


@attrs.frozen
class Setting:
    """
    A call.

    :ivar rpc: which.
    :ivar is_idempotent: whether its caller says that it may be sent twice.
    :ivar endpoints: how many endpoints the client has.
    :ivar is_pinned: whether it is for the first of them only.
    :ivar is_known: whether it is known which cluster they belong to.
    :ivar has_login: whether tokens can be had.
    :ivar tries_again: whether the policy is to try again.
    :ivar seconds: its timeout.
    """

    rpc: Rpc
    is_idempotent: bool
    endpoints: int
    is_pinned: bool
    is_known: bool
    has_login: bool
    tries_again: bool
    seconds: float


class Play:
    """
    A call that is played through.

    :ivar results: what it has fired with.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.clock = Clock()
        self.transport = WatchedTransport(self.clock, self.begins)
        self.fetch = Fetch()
        urls = URLS[: setting.endpoints]
        way = fake_way(
            self.clock,
            self.transport,
            *urls,
            policy=Backoff(0.1, 1.0) if setting.tries_again else never,
            tokens=Tokens(self.clock, self.fetch if setting.has_login else None),
        )
        if setting.is_known:
            way.identity.check(urls[-1], answered_by(OURS))
        self.calls = Calls(way)
        self.results: list[Any] = []
        self._wrong: list[str] = []
        self._is_applied: dict[FakeCall, bool] = {}
        self._is_given_up = False
        self.call = self.calls.call(
            setting.rpc,
            REQUESTS[setting.rpc],
            setting.seconds,
            is_idempotent=setting.is_idempotent,
            endpoint=urls[0] if setting.is_pinned else "",
        )
        self.call.addBoth(self.results.append)

    @property
    def may_be_applied(self) -> bool:
        """Whether an attempt that is over may have been carried out: by its answer; if it had none, it may."""
        attempts = [call for call in self.transport.calls if call.rpc is self.setting.rpc]
        return any(self._is_applied.get(attempt, attempt.answer.called) for attempt in attempts)

    # --- what happens

    def reply(self, what: str) -> None:
        """The attempt that waits comes to something; or the question which cluster that is."""
        for call in self.transport.waiting[:1]:
            if not self.setting.is_known:
                # there is no other one than that which answers first
                what = what.replace(" by another cluster", "")
            make, self._is_applied[call] = REPLIES[what]
            answer = make()
            if call.rpc.is_read and isinstance(answer, OutcomeUnknown):
                answer = Unavailable(None, answer.message)
            call.reply(answer)

    def log_in(self, what: str) -> None:
        """Whoever waits for a token is told something."""
        self.fetch.reply(LOGINS[what]())

    def wait(self, seconds: float) -> None:
        """Time passes, from one timer to the next."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            timers = [timer.getTime() for timer in self.clock.getDelayedCalls()]
            self.clock.advance(max(0.0, min([*timers, end]) - self.clock.seconds()))

    def cancel(self) -> None:
        """The caller gives up."""
        self._end(self.call.cancel)

    def close(self) -> None:
        """So does whoever has the client."""
        self._end(self.calls.close)

    def _end(self, how: Callable[[], Any]) -> None:
        if not self.results:
            self._is_given_up = True
            how()
            assert self.results, "it did not end at once"

    # --- what must be true

    def begins(self, endpoint: str, rpc: Rpc, timeout: float) -> None:
        """An attempt begins, or a question before it."""
        left = self.setting.seconds - self.clock.seconds()
        may_be_repeated = is_repeatable(self.setting.rpc, self.setting.is_idempotent)
        for is_right, problem in (
            (timeout <= left + 1e-9, f"it has {timeout} seconds, of which {left} are left"),
            (not self.setting.is_pinned or endpoint == URLS[0], f"it is asked at {endpoint}"),
            (not self.transport.waiting, "it is tried twice at a time"),
            (may_be_repeated or rpc is not self.setting.rpc or not self.may_be_applied, "it is sent again"),
        ):
            if not is_right:
                self._wrong.append(problem)

    def check(self) -> None:
        """What is true at any moment."""
        assert not self._wrong, self._wrong
        assert len(self.results) <= 1, "it has fired twice"
        if self.results:
            assert not self.transport.waiting, "an attempt goes on after the end"
            assert not [one for one in self.fetch.asked if not one.called], "nobody wants that token"
            left = self.clock.getDelayedCalls()
            assert not left, f"{left} are left"

    def finish(self) -> None:
        """Time passes until the deadline: by then it has ended, and what it says is true."""
        self.wait(self.setting.seconds - self.clock.seconds())
        self.check()
        assert self.results, "it has not ended by its deadline"
        (result,) = self.results
        if not isinstance(result, Failure):
            assert not self._is_given_up
            assert result == answered_by(OURS), result
            return
        error: Any = result.value
        assert isinstance(error, (Error, CancelledError)), error
        assert self._is_given_up == isinstance(error, (Closed, CancelledError)), error
        wanted = self.may_be_applied and not self.setting.rpc.is_read
        assert error.maybe_applied is wanted, f"{error!r} says {error.maybe_applied}, and not {wanted}"


calls = st.builds(
    Setting,
    rpc=st.sampled_from(list(REQUESTS)),
    is_idempotent=st.booleans(),
    endpoints=st.integers(1, len(URLS)),
    is_pinned=st.booleans(),
    is_known=st.booleans(),
    has_login=st.booleans(),
    tries_again=st.booleans(),
    seconds=st.sampled_from([0.05, 1.0, 9.0]),
)

steps = (
    st.tuples(st.just("reply"), st.sampled_from(list(REPLIES)))
    | st.tuples(st.just("log_in"), st.sampled_from(list(LOGINS)))
    | st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0, 3.0]))
)

endings = st.sampled_from([None, None, "cancel", "close"])


class AnyScheduleTests(SynchronousTestCase):
    """Whatever happens, in whatever order."""

    @settings(PROPERTY, max_examples=1000)
    @given(calls, st.lists(steps, max_size=12), endings)
    @example(
        Setting(schema.PUT, False, 2, False, True, True, True, 9.0),
        [("log_in", "token"), ("reply", "bad token"), ("log_in", "token"), ("reply", "not sent"), ("reply", "lost")],
        None,
    )
    @example(
        Setting(schema.LEASE_GRANT, False, 1, False, False, True, True, 9.0),
        [("log_in", "token"), ("reply", "lost"), ("wait", 0.5), ("reply", "bad token"), ("log_in", "wrong password")],
        None,
    )
    def test_any(self, setting: Setting, script: list[tuple[str, Any]], ending: Optional[str]) -> None:
        """
        A write that may have been applied is not sent again unless that does no harm; the call ends once, in time, and
        with nothing left; and what it says of whether it was applied is true.
        """
        play = Play(setting)
        play.check()
        for what, argument in script:
            getattr(play, what)(argument)
            play.check()
        if ending is not None:
            getattr(play, ending)()
            play.check()
        play.finish()
