"""
Waiting for what happens to keys, and no longer than a lease lasts.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, TypeVar

from twisted.internet.defer import Deferred

from ..errors import RevisionError
from ..lease import Lease
from ..values import Event
from ..watch import Keys
from ._etcd import Etcd
from ._outages import PASSING, again_after

T = TypeVar("T")


async def until_event(etcd: Etcd, keys: Keys, revision: int, matters: Callable[[Event], bool]) -> bool:
    """
    Waits for an event that matters.

    :param revision: from which on (``int``).
    :returns: ``False`` if the watch has ended without, because the client was closed.
    """
    watch = etcd.watcher(keys, start_revision=revision)
    try:
        async for event in watch:
            if matters(event):
                return True
    finally:
        watch.stop()
    return False


async def until_gone(etcd: Etcd, key: bytes, created: Optional[int] = None) -> None:
    """
    Waits until a key is not there any more; one that is written anew is another one. Nothing can be missed, whatever is
    cut off or compacted meanwhile, because what is there then says it all.

    :param created: the revision that has created the key that is meant; by default, the one that is there now.
    """
    while True:
        try:
            found = await etcd.get(key, keys_only=True)
            if not found.kvs or found.kvs[0].create_revision != (created or found.kvs[0].create_revision):
                return
            created = found.kvs[0].create_revision
            if await until_event(etcd, key, found.header.revision + 1, lambda event: event.is_delete):
                return
        except (*PASSING, RevisionError):
            await again_after(etcd)


def ending_with(lease: Lease, work: Deferred[T]) -> Deferred[T]:
    """*work*, which is cancelled when the lease is lost."""
    lost = lease.when_lost().addCallbacks(lambda _: work.cancel(), lambda _: None)

    def done(result: Any) -> Any:
        lost.cancel()
        return result

    return work.addBoth(done)
