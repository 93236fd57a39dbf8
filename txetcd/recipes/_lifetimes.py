"""
What the keys of a tree have left to live.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from twisted.internet.defer import Deferred, FirstError, gatherResults

from ..errors import LeaseNotFound
from ..values import KeyValue
from ._etcd import Etcd
from ._outages import in_the_end
from ._tree import TimesToLive


async def times_to_live(etcd: Etcd, kvs: Iterable[KeyValue]) -> TimesToLive:
    """Those of their leases: a call for each."""
    lease_ids = sorted({kv.lease for kv in kvs} - {0})
    asking = [Deferred.fromCoroutine(_left(etcd, lease_id)) for lease_id in lease_ids]
    try:
        return dict(zip(lease_ids, await gatherResults(asking, consumeErrors=True)))
    except FirstError as first:
        raise cast(Exception, first.subFailure.value) from None


async def times_to_live_in_the_end(etcd: Etcd, kvs: Iterable[KeyValue]) -> TimesToLive:
    """The same; an outage is waited out."""
    return await in_the_end(etcd, lambda: times_to_live(etcd, kvs))


async def _left(etcd: Etcd, lease_id: int) -> int:
    try:
        return await etcd.time_to_live(lease_id)
    except LeaseNotFound:
        # it has ended meanwhile
        return 0
