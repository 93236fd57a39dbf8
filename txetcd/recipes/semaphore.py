"""
A semaphore: so many may hold it at a time.
"""

from __future__ import annotations

from typing import Any, Optional, cast

from twisted.internet.defer import Deferred

from .._check import check_int
from ..ops import CompValue, CompVersion, OpSet, OpTxn, Transaction
from ..values import KeyValue, Outcome, Range
from ._contender import Contender
from ._contest import Ahead, Contest
from ._etcd import Etcd
from ._name import check_name
from ._place import Place
from .session import TIME_TO_LIVE, Session


class Semaphore(Contender):
    """
    A semaphore: at most *limit* hold it at a time, and whose key reaches the server first gets it first.

    Each contender writes a key ``name/...`` on a lease; the *limit* oldest keys hold the semaphore. All of them must
    agree about the limit: whoever comes with another one than those who are there is refused, and nothing is written.
    So the limit can be changed when nobody contends.

    Who is first in the queue watches those who hold it; everybody else watches the key before its own alone, which is
    written once more when its owner has got the semaphore. So what is released wakes one, and then the next one becomes
    the first in the queue.

    What can still go wrong is what can with a :class:`~txetcd.Lock`: an owner that is suspended for longer than
    *time_to_live* holds it no longer, and may not know; so there may be more than *limit* for a moment. Let what must
    not happen then be guarded by :meth:`guard`. A waiter that is suspended holds those behind it up until its time to
    live is over.

    It costs three calls to acquire a free semaphore (with a session, one), one call to release it, and where somebody
    waits three more: two of the one who gets it, and one of the next one.

    :param etcd: the :class:`txetcd.Client`.
    :param name: the name of the semaphore (``bytes``); it must not end in ``/``.
    :param limit: how many may hold it (``int``).
    :param session: a :class:`~txetcd.Session` that has begun, on whose lease the key hangs, or ``None``: then there is
        a lease for each time it is acquired. Several of one session are several.
    :param time_to_live: seconds (``int``) after which what an owner that has died holds is free; without a session.

    :ivar limit: as given.
    """

    def __init__(
        self,
        etcd: Etcd,
        name: bytes,
        limit: int,
        *,
        session: Optional[Session] = None,
        time_to_live: int = TIME_TO_LIVE,
    ) -> None:
        what = f"the semaphore {check_name('name', name)!r}"
        # any more would be more than an answer can hold
        self.limit = check_int("limit", limit, minimum=1, maximum=_MOST)
        super().__init__(name, _Permits(etcd, what, name, limit, session=session, time_to_live=time_to_live))

    def acquire(self: Semaphore, timeout: Optional[float] = None) -> Deferred[Semaphore]:
        """
        Waits until it is held: as :meth:`Lock.acquire <txetcd.Lock.acquire>`; and it fails with ``ValueError`` if those
        who contend for it have another limit.
        """
        return super().acquire(timeout)

    def holders(self) -> Deferred[list[KeyValue]]:
        """
        Asks who holds it.

        :returns: a Deferred that fires with their keys (``list`` of :class:`~txetcd.KeyValue`), the oldest first. It
            fails as every call; cancelling it ends the call.
        """
        return self._contest.first()


_MOST = 10_000
"""How many may hold a semaphore: a contender reads the keys of all of them."""


class _Permits(Contest):
    """
    The rule: who has less than so many older rivals has won.

    :param limit: how many.
    """

    def __init__(self, etcd: Etcd, what: str, name: bytes, limit: int, **options: Any) -> None:
        super().__init__(etcd, what, name, **options)
        self.limit = limit
        self.value = b"%d" % limit

    def _entry(self, place: Place, value: bytes) -> Transaction:
        """Writes the key if all that are there have the same value, or none is."""
        first = self._first()
        write = [OpSet(place.key, value, place.lease), first]
        # of no keys, no comparison of a value holds
        alone = Transaction([CompVersion(self._everyone, "==", 0)], write, [first])
        return Transaction([CompValue(self._everyone, "==", value)], write, [OpTxn(alone)])

    def _answers(self, entered: Outcome) -> tuple[Any, Range]:
        answer = entered if entered.succeeded else cast(Outcome, entered.responses[0])
        if answer.succeeded:
            return super()._answers(answer)
        kvs = cast(Range, answer.responses[0]).kvs
        for kv in kvs:
            if not kv.value.isdigit():
                raise ValueError(f"name of {self.what} is used for something else: {kv.key!r} has no limit for a value")
        theirs = " or ".join(sorted({kv.value.decode() for kv in kvs} - {self.value.decode()}))
        wanted = theirs or "another"
        raise ValueError(f"limit of {self.what} must be {wanted}, as of all who contend for it now, not {self.limit}")

    async def _ahead(self, place: Place) -> Optional[Ahead]:
        found = await self._etcd.get(
            self._everyone,
            limit=self.limit + 1, sort_order="DESCEND", sort_target="CREATE", max_create_revision=place.revision - 1,
            keys_only=True,
        )  # fmt: skip
        revision, keys = found.header.revision + 1, [kv.key for kv in found.kvs]
        if len(keys) < self.limit:
            return None
        if len(keys) == self.limit:
            holders = frozenset(keys)
            return Ahead(self._everyone, revision, lambda event: event.is_delete and event.key in holders)
        # deleted, or written once more: see _arrive()
        return Ahead(keys[0], revision, lambda event: True)

    async def _arrive(self, place: Place) -> None:
        # tells the one behind, who is the first in the queue now
        self._check_there((await self.rewrite(place, self.value)).succeeded)
