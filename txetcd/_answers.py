"""
What an answer must be to count as one.

A message whose fields are all zero is well-formed, in JSON (``{}``) as in protobuf (nothing at all): something that is
no etcd, and answers politely, would be taken for a server that has written the key. So an answer is looked at together
with its request before anybody believes it.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from ._messages import (
    LeaseGrantRequest,
    LeaseGrantResponse,
    LeaseKeepAliveRequest,
    LeaseKeepAliveResponse,
    LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
    MemberAddRequest,
    MemberAddResponse,
    WatchResponse,
)
from ._schema import (
    ALARM,
    DEFRAGMENT,
    LEASE_GRANT,
    LEASE_KEEP_ALIVE,
    LEASE_TIME_TO_LIVE,
    MEMBER_ADD,
    MOVE_LEADER,
    RANGE,
    RANGE_STREAM,
    SNAPSHOT,
    TXN,
    Rpc,
)
from .ops import OpDel, OpGet, OpSet, OpTxn, Transaction
from .values import Deleted, Header, Outcome, Range, Revision

Check = Callable[[Any, Any], Optional[str]]

_WITHOUT_HEADER = frozenset(rpc.name for rpc in (ALARM, DEFRAGMENT, MOVE_LEADER, SNAPSHOT, RANGE_STREAM))
"""Those whose answers have no header, in some versions at least (found in the recordings of the tests)."""

_EMPTY = Header()

_ANSWER_TO = {OpGet: Range, OpSet: Revision, OpDel: Deleted, OpTxn: Outcome}


def flaw_of(rpc: Rpc, request: Any, answer: Any) -> Optional[str]:
    """
    What is wrong with *answer* as an answer to *request*: words that go on with "it ...", or ``None`` if etcd may have
    given it.

    :param request: an instance of a class that stands for ``rpc.request``; ``None`` if it may have been another one.
    :param answer: an instance of the class that stands for ``rpc.response``.
    """
    check = None if request is None else _CHECKS.get(rpc.name)
    flaw = None if check is None else check(request, answer)
    if flaw is None and rpc.name not in _WITHOUT_HEADER and _is_empty(answer.header) and not _is_end(answer):
        return "has no header"
    return flaw


def _is_empty(header: Header) -> bool:
    # asked of every answer: most show at once that they are not
    return not header.cluster_id and header == _EMPTY


def _is_end(answer: Any) -> bool:
    """Whether it ends a watch, which etcd's own proxy tells without a header."""
    return isinstance(answer, WatchResponse) and answer.canceled


def _range(_: OpGet, answer: Range) -> Optional[str]:
    return "has no keys, but says there are more" if answer.more and not answer.kvs else None


def _transaction(txn: Transaction, outcome: Outcome) -> Optional[str]:
    ops = txn.success if outcome.succeeded else txn.failure
    wanted = [_ANSWER_TO[type(op)] for op in ops]
    if [type(response) for response in outcome.responses] != wanted:
        return f"does not fit the {len(ops)} operations of the transaction"
    for op, response in zip(ops, outcome.responses):
        flaw = _response(op, response)
        if flaw is not None:
            return flaw
    return None


def _response(op: Any, response: Any) -> Optional[str]:
    if isinstance(op, OpTxn):
        return _transaction(op.transaction, response)
    return _range(op, response) if isinstance(op, OpGet) else None


def _grant(request: LeaseGrantRequest, granted: LeaseGrantResponse) -> Optional[str]:
    if granted.error:
        return None
    if not granted.lease_id or granted.time_to_live <= 0:
        return "grants no lease"
    return _lease(request, granted) if request.lease_id else None


def _lease(
    request: LeaseGrantRequest | LeaseKeepAliveRequest | LeaseTimeToLiveRequest,
    answer: LeaseGrantResponse | LeaseKeepAliveResponse | LeaseTimeToLiveResponse,
) -> Optional[str]:
    return None if answer.lease_id == request.lease_id else f"is about lease {answer.lease_id:x}"


def _addition(_: MemberAddRequest, answer: MemberAddResponse) -> Optional[str]:
    return None if answer.member is not None and answer.member.member_id else "adds no member"


_CHECKS: dict[str, Check] = {
    RANGE.name: _range,
    TXN.name: _transaction,
    LEASE_GRANT.name: _grant,
    LEASE_KEEP_ALIVE.name: _lease,
    LEASE_TIME_TO_LIVE.name: _lease,
    MEMBER_ADD.name: _addition,
}
