"""
What a transport is: two methods, in terms of operations and values.

Above it nobody knows JSON, HTTP or frames; below it nobody knows what a lock is. A fake of it is twenty lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred

from ._backoff import in_seconds
from ._quotes import Quotes
from ._schema import AUTHENTICATE, USER_ADD, USER_CHANGE_PASSWORD, Rpc
from .errors import Error, OutcomeUnknown, Timeout, Unavailable


class CallCancelled(CancelledError):
    """
    What cancelling a call fires it with.

    :ivar maybe_applied: whether a write had been sent by then (``bool``).
    """

    def __init__(self, maybe_applied: bool) -> None:
        super().__init__(maybe_applied)
        self.maybe_applied = maybe_applied

    def __str__(self) -> str:
        sent = "a write had been sent, which may be applied" if self.maybe_applied else "no write had been sent"
        return f"the call was cancelled: {sent}"


@attrs.frozen(cache_hash=True)
class Metadata:
    """
    What goes along with a request.

    :ivar token: proves who asks; ``""`` for nobody.
    :ivar requires_leader: whether a member that knows no leader shall refuse at once.
    :ivar is_urgent: whether the request shall not wait behind others.
    :ivar quotes: quotes what answers, without the token.
    """

    token: str = attrs.field(default="", repr=False)
    requires_leader: bool = False
    is_urgent: bool = False
    quotes: Quotes = attrs.field(init=False, eq=False, repr=False)

    @quotes.default
    def _quotes_without_token(self) -> Quotes:
        return Quotes(self.token)


_SECRETS: dict[str, tuple[str, ...]] = {
    AUTHENTICATE.name: ("password",),
    USER_ADD.name: ("password", "hashed_password"),
    USER_CHANGE_PASSWORD.name: ("password", "hashed_password"),
}
"""What of a request nobody must be told, nor what it is answered: that may be a token."""


def quotes_of(rpc: Rpc, request: Any, metadata: Metadata) -> Quotes:
    """How errors quote what answers a request, without a secret."""
    secrets = _SECRETS.get(rpc.name)
    if secrets is None:
        return metadata.quotes
    return Quotes(metadata.token, *(getattr(request, name) for name in secrets), is_mute=True)


def unanswered(timeout: float, maybe_applied: bool) -> Timeout:
    """The error for a request that was sent, and for which *timeout* seconds were not enough."""
    return Timeout(f"sent, but no answer within {in_seconds(timeout)}", maybe_applied)


def answer_lost(rpc: Rpc, why: str) -> Error:
    """The error for a request that was sent, and that will not be answered any more."""
    return Unavailable(None, why) if rpc.is_read else OutcomeUnknown(None, why)


def better_elsewhere() -> Unavailable:
    """The error for a request that was not sent: see :meth:`Transport.leave`."""
    return Unavailable(None, "not sent: the endpoint answers nobody, while another one does")


def peer_gone() -> Unavailable:
    """The error for a request that was not sent when the last connection ended: who is there by now is to be asked."""
    return Unavailable(None, "not sent: the server has closed all connections")


def nobody_listens(endpoint: str) -> None:
    """What :attr:`Transport.on_loss` is at first."""


class Stream(Protocol):
    """
    An answer that goes on.

    ``ended`` fires with ``None`` when the server has ended it, or after :meth:`abort`; it fails with an
    :class:`~txetcd.Error` when the server said so, or when the connection was lost.
    """

    ended: Deferred[None]

    def pause(self) -> None:
        """Ask the server to wait: what has arrived is still delivered, but soon no more arrives."""

    def resume(self) -> None:
        """Go on after :meth:`pause`."""

    def abort(self) -> None:
        """End it: nothing is delivered any more, and the server frees what it kept for it."""


class DuplexStream(Stream, Protocol):
    """An answer that goes on, while more can be asked."""

    def send(self, request: Any) -> None:
        """Asks more, behind what was asked already; nothing after the end."""


class Transport(Protocol):
    """
    Carries requests to an endpoint and answers back.

    :ivar is_duplex: whether its streams are :class:`DuplexStream`\\ s.
    :ivar on_loss: called with an endpoint when the last connection for calls to it has ended: somebody else may be
        there by now. What was not sent by then has failed, or fails before it is.
    """

    is_duplex: bool

    on_loss: Callable[[str], None]

    def call(self, endpoint: str, rpc: Rpc, request: Any, timeout: float, metadata: Metadata) -> Deferred[Any]:
        """
        Asks once.

        :param endpoint: the URL.
        :param request: an instance of a class that stands for ``rpc.request``.
        :param timeout: seconds for everything: waiting for a connection, connecting, sending, the whole answer. The
            server is told, so that it stops working on what nobody waits for any more.
        :returns: a Deferred that fires with an instance of the class that stands for ``rpc.response``. It fails with
            what the server said; :class:`~txetcd.errors.Unavailable` if the request was not sent, or was lost and may
            be repeated; :class:`~txetcd.errors.OutcomeUnknown` if it was lost and may not;
            :class:`~txetcd.errors.Timeout`; :class:`~txetcd.errors.ProtocolViolation`. Cancelling it fires it at once
            with :class:`CallCancelled`, and drops the connection if the request is on its way.
        """

    def stream(
        self, endpoint: str, rpc: Rpc, request: Any, on_message: Callable[[Any], None], metadata: Metadata
    ) -> Stream:
        """
        Asks for an answer that goes on.

        :param on_message: called with each message as it arrives; must not raise.
        """

    def leave(self, endpoint: str) -> None:
        """
        Fails the calls to *endpoint* that were not sent yet, with :class:`~txetcd.errors.Unavailable`: they are better
        asked elsewhere.
        """

    def keep_only(self, endpoints: Sequence[str]) -> None:
        """Closes the connections to all others, each as soon as nothing is under way on it."""

    def heard_at(self, endpoint: str) -> float:
        """
        When something has come last of an answer of *endpoint* that is not complete yet, if other answers come behind
        it; in seconds of the clock, ``-inf`` for never.
        """

    @property
    def connections(self) -> int:
        """How many connections are open (``int``)."""

    def close(self) -> Deferred[None]:
        """
        Ends everything that is under way, with :class:`~txetcd.errors.Closed`.

        :returns: a Deferred that fires with ``None`` when no connection is left open.
        """
