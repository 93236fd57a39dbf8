"""
Reading many keys at one revision, page by page.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from ._calls import Calls
from ._schema import RANGE
from .keyset import KeySet
from .ops import OpGet
from .values import KeyValue

PAGE = 1000
"""Keys that are asked for at a time."""


def read_keys(
    calls: Calls, keys: KeySet, revision: int = 0, keys_only: bool = False
) -> Deferred[tuple[int, list[KeyValue]]]:
    """
    Reads all keys of a set.

    :param revision: what they were then; 0 for now.
    :param keys_only: whether their values are not wanted.
    :returns: a Deferred that fires with the revision, and the :class:`~txetcd.KeyValue`\\ s. It fails as every call,
        and with :class:`~txetcd.Compacted` if that revision is not there any more. Cancelling it ends the reading.
    """
    return Deferred.fromCoroutine(_read_keys(calls, keys, revision, keys_only))


async def _read_keys(calls: Calls, keys: KeySet, revision: int, keys_only: bool) -> tuple[int, list[KeyValue]]:
    found: list[KeyValue] = []
    while True:
        op = OpGet(keys, revision=revision, limit=PAGE, keys_only=keys_only)
        page = await calls.call(RANGE, op)
        revision = revision or page.header.revision
        found += page.kvs
        if not page.more:
            return revision, found
        keys = KeySet(page.kvs[-1].key + b"\x00", keys.end)
