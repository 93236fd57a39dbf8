"""
Whether a lock keeps what it promises, and a semaphore, an election, a lock of readers and writers: who held it, by the
revisions of the store, is compared with what the promises are, and with who stood in the queue.

No clock is asked. Several machines have several, and a process that was suspended believes that it still holds what
another one holds by now, which no lock can help. What counts is what the store has seen: that it did something for
somebody who held the lock then. And a resource that is guarded with the fencing token is to refuse those who come late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Optional, Protocol, TypeVar, Union

import attrs

from .._check import check_int
from ..keyset import KeySet
from ._violation import Violation, check_none
from ._watchcheck import History

__all__ = ["Contender", "Hold", "LockRecord", "contenders"]


class _Span(Protocol):
    """Something that lasted, and has its place in the queue."""

    @property
    def token(self) -> int: ...

    @property
    def until(self) -> float: ...

    @property
    def is_shared(self) -> bool: ...


S = TypeVar("S", bound=_Span)


@attrs.frozen
class Hold:
    """
    Somebody held it for some time, by the revisions of the store.

    :ivar who: who (``str``).
    :ivar token: the fencing token (``int``).
    :ivar since: the first revision at which that is known (``int``).
    :ivar until: the last one (``int``).
    :ivar is_shared: whether it was shared with others who do so, as readers do (``bool``).
    """

    who: str
    token: int
    since: int
    until: int
    is_shared: bool = False

    def __str__(self) -> str:
        shared = ", shared" if self.is_shared else ""
        return f"{self.who} (token {self.token}{shared}) from {self.since} to {self.until}"


@attrs.frozen
class Contender:
    """
    A key that stood in the queue.

    :ivar key: the key (``bytes``).
    :ivar token: the revision that created it (``int``), which is the fencing token of whoever holds the lock by it.
    :ivar gone: the revision that deleted it (``int``), ``None`` if it is still there.
    :ivar is_shared: whether it stands there for a reader (``bool``).
    """

    key: bytes
    token: int
    gone: Optional[int] = None
    is_shared: bool = False

    @property
    def until(self) -> float:
        """The last revision at which it was there (``float``, which may be infinite)."""
        return float("inf") if self.gone is None else self.gone - 1

    def __str__(self) -> str:
        end = "on" if self.gone is None else f"until {self.gone}"
        return f"{self.key!r} (token {self.token}) {end}"


def contenders(history: History, keys: Union[bytes, KeySet], *, is_shared: bool = False) -> list[Contender]:
    """
    Who has contended for a lock.

    :param history: what has happened to all keys.
    :param keys: those of the contenders (:class:`~txetcd.KeySet`): of the lock ``name`` those that begin with
        ``name/``, and of an election and a semaphore, too.
    :param is_shared: whether these are readers.
    :returns: a ``list`` of :class:`Contender`, in the order of the queue.
    """
    found: dict[int, Contender] = {}
    standing: dict[bytes, int] = {}
    for event in history.matching(KeySet.of("keys", keys)):
        if event.is_put:
            standing[event.key] = event.create_revision
            found.setdefault(event.create_revision, Contender(event.key, event.create_revision, None, is_shared))
        elif event.key in standing:
            token = standing.pop(event.key)
            found[token] = attrs.evolve(found[token], gone=event.mod_revision)
    return sorted(found.values(), key=lambda contender: contender.token)


class LockRecord:
    """
    Who held a lock, to be compared with what it promises.

    ::

        record = LockRecord()

        async def work(who):
            async with etcd.lock(b"mylock") as lock:
                outcome = await etcd.when(lock.guard()).then(OpSet(b"resource", b"...")).transact()
                if outcome.succeeded:
                    record.held(who, lock.revision, outcome.header.revision)
        ...
        record.check()

    The guarantees are

    * ``"limit"``: no more than *limit* held it at once; readers may, with one another;
    * ``"ordered"``: whoever holds it has a greater token than those before, and has let nobody wait who was there
      earlier, as far as he has held it later; and nobody who looks sees one with a smaller token than before;
    * ``"unique"``: a token is that of one holder only;
    * ``"present"``: nobody held it before his token, and with *contenders*, nobody whose key was not there;
    * ``"fair"``: with *contenders*, nobody held it while more than *limit* keys, with his own, were before him;
    * ``"stale"``: the guarded resource has accepted nothing of somebody after it had seen a greater token.

    An election is a lock for this purpose: there is one leader for each token, and whoever observes it has
    :meth:`saw` noted.

    :param limit: how many may hold it at once (``int``): 1 but for a semaphore.
    """

    def __init__(self, limit: int = 1) -> None:
        self._limit = check_int("limit", limit, minimum=1)
        self._holds: dict[tuple[int, str], Hold] = {}
        self._accepted: list[tuple[str, int]] = []
        self._seen: list[tuple[str, str, int]] = []

    def held(self, who: str, token: int, revision: int, *, is_shared: bool = False) -> None:
        """
        Somebody is known to have held it at a *revision* of the store, which saw that: his transaction with the guard
        among its comparisons succeeded with this one. He held it from the first to the last one that is noted.

        :param who: who (``str``).
        :param token: his fencing token (``int``).
        :param is_shared: whether he shared it, as a reader.
        """
        before = self._holds.get((token, who)) or Hold(who, token, revision, revision, is_shared)
        self._holds[token, who] = attrs.evolve(
            before, since=min(before.since, revision), until=max(before.until, revision)
        )

    def accepted(self, who: str, token: int) -> None:
        """The guarded resource has accepted something with this *token*, after all that was noted before."""
        self._accepted.append((who, token))

    def saw(self, observer: str, who: str, token: int) -> None:
        """
        Somebody was told who holds it, after all that he was told before: ``observer``, by ``Election.observe()`` or
        ``Election.leader()``, whose ``create_revision`` is the *token*.
        """
        self._seen.append((observer, who, token))

    @property
    def holds(self) -> list[Hold]:
        """Who held it, and when (``list`` of :class:`Hold`), in the order of the tokens."""
        return sorted(self._holds.values(), key=lambda hold: hold.token)

    def check(self, contenders: Optional[Iterable[Contender]] = None) -> None:
        """
        Nobody held it who should not.

        :param contenders: who stood in the queue, as of :func:`contenders`; all of them.
        :raises AssertionError: if a promise was broken; it tells which ones.
        """
        check_none("the lock" if self._limit == 1 else f"the lock of {self._limit}", self.violations(contenders))

    def violations(self, contenders: Optional[Iterable[Contender]] = None) -> list[Violation]:
        """The promises that were broken (``list`` of :class:`Violation`); none, if all is well."""
        found = [*self._of_tokens(), *self._of_numbers(), *self._of_order(), *self._of_resource()]
        return found if contenders is None else [*found, *self._of_queue(list(contenders))]

    # --- the guarantees

    def _of_tokens(self) -> Iterator[Violation]:
        owners: dict[int, str] = {}
        named = [(hold.token, hold.who) for hold in self.holds] + [(token, who) for _, who, token in self._seen]
        for token, who in dict.fromkeys(named):
            owner = owners.setdefault(token, who)
            if owner != who:
                yield Violation("unique", f"the token {token} was that of {owner} and of {who}")
        for hold in self.holds:
            if hold.since < hold.token:
                yield Violation("present", f"{hold}: that was before there was this token")

    def _of_numbers(self) -> Iterator[Violation]:
        current: list[Hold] = []
        for hold in sorted(self._holds.values(), key=lambda hold: hold.since):
            current = [other for other in current if other.until >= hold.since]
            others = [other for other in current if _is_in_the_way(other, hold)]
            if len(others) >= self._limit:
                yield Violation("limit", f"{hold}, while others held it: {_names(others)}")
            current.append(hold)

    def _of_order(self) -> Iterator[Violation]:
        for hold, earlier in _ahead(self.holds, self.holds):
            if len(earlier) >= self._limit:
                yield Violation("ordered", f"{hold}, before those who were there earlier: {_names(earlier)}")
        last: dict[str, int] = {}
        for observer, who, token in self._seen:
            before = last.setdefault(observer, token)
            if token < before:
                yield Violation("ordered", f"{observer} saw {who} (token {token}) after one with the token {before}")
            last[observer] = max(before, token)

    def _of_queue(self, queue: Sequence[Contender]) -> Iterator[Violation]:
        by_token = {contender.token: contender for contender in queue}
        for hold in self.holds:
            contender = by_token.get(hold.token)
            if contender is None:
                yield Violation("present", f"{hold}: there was no key of this token")
            elif contender.until < hold.until:
                yield Violation("present", f"{hold}: the key was there only {contender}")
        for hold, earlier in _ahead(self.holds, queue):
            if len(earlier) >= self._limit:
                yield Violation("fair", f"{hold}, while these were before: {_names(earlier)}")

    def _of_resource(self) -> Iterator[Violation]:
        greatest, owner = 0, ""
        for who, token in self._accepted:
            if token < greatest:
                yield Violation("stale", f"{who} (token {token}) was let in after {owner} (token {greatest})")
            else:
                greatest, owner = token, who


def _is_in_the_way(other: _Span, hold: Hold) -> bool:
    return not (other.is_shared and hold.is_shared)


def _ahead(holds: Iterable[Hold], spans: Iterable[S]) -> Iterator[tuple[Hold, list[S]]]:
    """
    Each hold with those of *spans* that stand in its way: they have smaller tokens, and were still there when it began.
    """
    waiting = sorted(spans, key=lambda span: span.token, reverse=True)
    # those with smaller tokens, by their kind, the one that lasted longest first; most are long gone, and not looked at
    passed: dict[bool, list[tuple[float, int, S]]] = {False: [], True: []}
    numbers = count()
    for hold in sorted(holds, key=lambda hold: hold.token):
        while waiting and waiting[-1].token < hold.token:
            span = waiting.pop()
            heappush(passed[span.is_shared], (-span.until, next(numbers), span))
        kinds = [False] if hold.is_shared else [False, True]
        yield hold, [span for kind in kinds for span in _lasting(passed[kind], hold.since)]


def _lasting(heap: list[tuple[float, int, S]], revision: int) -> list[S]:
    """Those that were there at a revision or later."""
    entries = []
    while heap and -heap[0][0] >= revision:
        entries.append(heappop(heap))
    for entry in entries:
        heappush(heap, entry)
    return [span for *_, span in entries]


def _names(spans: Iterable[object]) -> str:
    return ", ".join(map(str, spans))
