"""
Numbers that are given out once.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredLock

from .._check import INT64_MAX, check_int
from ..errors import Error
from ..ops import CompModified, OpGet, OpSet, Transaction
from ._etcd import Etcd
from ._name import check_name
from ._number import mod_revision_of, number_of, written


class Sequence:
    """
    Numbers from 1 on, each of which is given out once, whoever asks.

    * Those that are asked for one after the other, anywhere, grow, as long as *block* is 1. With larger blocks each
      object gives out numbers that grow, but not in the order of those of others.
    * There are gaps: what was reserved and not given out is lost with its owner, and so is what was reserved by a call
      whose answer was lost.
    * If the key is deleted, it begins with 1 again.

    A number costs one call, and one more for each time that somebody else has reserved some since; of a *block* only
    the first one does.

    The last number that was reserved is in the key *name*, in decimal digits.

    :param etcd: a :class:`~txetcd.Client`.
    :param name: the name (``bytes``), which does not end in ``/``.
    :param block: how many numbers :meth:`next` reserves at a time (``int``).
    """

    def __init__(self, etcd: Etcd, name: bytes, *, block: int = 1) -> None:
        self._etcd = etcd
        self.name = check_name("name", name)
        self._block = check_int("block", block, minimum=1)
        self._turn = DeferredLock()
        self._reserved = range(0)
        # what is in the key, as far as is known; if it is not that, it is told
        self._last = self._written_at = 0

    def next(self) -> Deferred[int]:
        """
        The next number.

        :returns: a Deferred that fires with it (``int``). It fails as every call, and can be asked for again
            whatever that says: what was reserved then is lost, and not given out twice. The client does so itself if
            an answer was lost. It fails with :class:`~txetcd.Error` if something else than a number is in the key, or
            there are none left (2**63 - 1 is the last one). Cancelling it ends the call.
        """
        return Deferred.fromCoroutine(self._next())

    def reserve(self, count: int) -> Deferred[range]:
        """
        Reserves several numbers, next to one another.

        :param count: how many (``int``).
        :returns: a Deferred that fires with them (``range``). It fails as :meth:`next` does.
        """
        return Deferred.fromCoroutine(self._reserve_in_turn(check_int("count", count, minimum=1)))

    async def _next(self) -> int:
        async with self._turn:
            if not self._reserved:
                self._reserved = await self._reserve(self._block)
            number, self._reserved = self._reserved[0], self._reserved[1:]
            return number

    async def _reserve_in_turn(self, count: int) -> range:
        async with self._turn:
            return await self._reserve(count)

    async def _reserve(self, count: int) -> range:
        while True:
            if self._last > INT64_MAX - count:
                raise Error(None, f"the sequence {self.name!r} has no {count} numbers left behind {self._last}")
            numbers = range(self._last + 1, self._last + count + 1)
            txn = Transaction(
                [CompModified(self.name, "==", self._written_at)],
                [OpSet(self.name, written(numbers[-1]))],
                [OpGet(self.name)],
            )
            # the comparison of one that was carried out fails when it is sent again: these numbers are lost then
            outcome = await self._etcd.transact(txn, idempotent=True)
            if outcome.succeeded:
                self._last, self._written_at = numbers[-1], outcome.header.revision
                return numbers
            found: Any = outcome.responses[0]
            self._last, self._written_at = number_of(found), mod_revision_of(found)

    def __repr__(self) -> str:
        return f"<Sequence {self.name!r}>"
