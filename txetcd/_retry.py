"""
What to do about a call that has failed: give up, or try again, and where.

Follows ``retry_interceptor.go`` of etcd's Go client, but for one thing: what the server gave up, perhaps after it began
to write, is not tried again.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Optional

from ._schema import Rpc
from .errors import (
    AuthOldRevision,
    DeadlineExceeded,
    Error,
    InvalidAuthToken,
    NotSupportedForLearner,
    OutcomeUnknown,
    ProtocolViolation,
    RequestCanceled,
    Timeout,
    TLSFailed,
    Unavailable,
    UserEmpty,
    WrongCluster,
    WrongProtocol,
)


class Next(Enum):
    """
    What is next.

    :cvar GIVE_UP: it fails.
    :cvar ELSEWHERE: ask another endpoint, if there is one.
    :cvar OTHERS: ask another endpoint, if there is one that fails for reasons that pass.
    :cvar TOKEN: ask again with another token.
    """

    GIVE_UP = auto()
    ELSEWHERE = auto()
    OTHERS = auto()
    TOKEN = auto()


_REFUSED_TOKEN = (InvalidAuthToken, AuthOldRevision, UserEmpty)
_IN_DOUBT = (Unavailable, OutcomeUnknown, Timeout, DeadlineExceeded, RequestCanceled)
_OF_ENDPOINT = (*_IN_DOUBT, ProtocolViolation, NotSupportedForLearner, WrongCluster)


def is_repeatable(rpc: Rpc, is_idempotent: Optional[bool]) -> bool:
    """
    Whether a call may be sent again although it may have been carried out.

    :param is_idempotent: whether that does no harm; ``None`` for what the table says.
    """
    return rpc.is_read or (rpc.is_repeatable if is_idempotent is None else is_idempotent)


def next_step(rpc: Rpc, error: Error, is_idempotent: Optional[bool], has_credentials: bool) -> Next:
    """
    What to do about *error*, the failure of one attempt.

    :param is_idempotent: as of :func:`is_repeatable`.
    :param has_credentials: whether another token can be had.
    """
    if isinstance(error, _REFUSED_TOKEN):
        # refused before anything was done
        return Next.TOKEN if has_credentials else Next.GIVE_UP
    if isinstance(error, (TLSFailed, WrongProtocol, WrongCluster)) and not error.maybe_applied:
        return Next.OTHERS
    if isinstance(error, ProtocolViolation) and rpc.is_read:
        # something in between may be broken, and will answer so again
        return Next.OTHERS
    if isinstance(error, NotSupportedForLearner):
        return Next.ELSEWHERE
    if _is_outage(error) and (not error.maybe_applied or is_repeatable(rpc, is_idempotent)):
        return Next.ELSEWHERE
    return Next.GIVE_UP


def _is_outage(error: Error) -> bool:
    """Whether it may be better elsewhere, or later; of an error that nobody knows, that is not known either."""
    said = error.__cause__ if isinstance(error, OutcomeUnknown) and isinstance(error.__cause__, Error) else error
    return isinstance(said, _IN_DOUBT)


def is_of_token(error: Error) -> bool:
    """Whether *error* says that the token is not taken, or that there should be one."""
    return isinstance(error, _REFUSED_TOKEN)


def is_of_endpoint(error: Error) -> bool:
    """Whether *error* says something of the endpoint, and not only of the call."""
    return isinstance(error, _OF_ENDPOINT)
