"""
A counter that everybody who asks etcd for the same name shares.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredLock

from .._check import check_int64
from ..ops import CompModified, OpGet, OpSet, Transaction
from ..values import Range
from ._etcd import Etcd
from ._name import beside, check_name
from ._number import mod_revision_of, number_of, written
from ._once import Fresh, Journal, new_token


class Counter:
    """
    A number that is added to: whatever happens at the same time, nothing is lost and nothing is added twice.

    If the answer to a call is lost, what has come of it is found out. That is read in the past of a key: if the
    connection is not back within half a minute, or that past was compacted away by then, :meth:`add` fails with
    :class:`~txetcd.OutcomeUnknown`.

    It costs one call to add, one more if the last one was more than ten seconds ago, and one more for each time that
    somebody else has added something just then. What is added by means of one object is added one after the other.

    The number is in the key *name*, in decimal digits; beside that there is the key ``__name/journal``. It begins with
    0, and does so again if the keys are deleted, which must not be done while somebody is adding.

    :param etcd: a :class:`~txetcd.Client`.
    :param name: the name (``bytes``), which does not end in ``/``.
    """

    def __init__(self, etcd: Etcd, name: bytes) -> None:
        self._etcd = etcd
        self.name = check_name("name", name)
        self._journal = Journal(etcd, beside(self.name, b"/journal"))
        self._turn = DeferredLock()
        self._known = Fresh(etcd)
        self._value = self._written_at = 0

    def add(self, amount: int = 1) -> Deferred[int]:
        """
        Adds to it.

        :param amount: what to add (``int``); less than 0 takes away.
        :returns: a Deferred that fires with the number after that (``int``). It fails as every call, and nothing was
            added then; with :class:`~txetcd.OutcomeUnknown` if that could not be found out; with
            :class:`~txetcd.Error` if something else than a number is in the key. Cancelling it fires it at once; it may
            be added all the same.
        """
        return Deferred.fromCoroutine(self._add_in_turn(check_int64("amount", amount)))

    def value(self) -> Deferred[int]:
        """
        Reads it.

        :returns: a Deferred that fires with the number (``int``). It fails as every call, and with
            :class:`~txetcd.Error` if something else is in the key.
        """
        return self._etcd.get(self.name).addCallback(number_of)

    async def _add_in_turn(self, amount: int) -> int:
        async with self._turn:
            return await self._add(amount)

    async def _add(self, amount: int) -> int:
        if not self._known.is_fresh:
            await self._read()
        while True:
            token, after = new_token(), self._value + amount
            txn = Transaction(
                [CompModified(self.name, "==", self._written_at)],
                [OpSet(self.name, written(after)), self._journal.mark(token)],
                [OpGet(self.name)],
            )
            done = await self._journal.submit(txn, token, self._known.revision)
            if done.is_applied:
                self._value, self._written_at = after, done.revision
                self._known.reach(done.revision)
                return after
            self._saw(done.responses[0], done.revision)

    async def _read(self) -> None:
        found = await self._etcd.get(self.name)
        self._saw(found, found.header.revision)

    def _saw(self, found: Range, revision: int) -> None:
        self._value, self._written_at = number_of(found), mod_revision_of(found)
        self._known.reach(revision)

    def __repr__(self) -> str:
        return f"<Counter {self.name!r}>"
