"""
A lock that many may read under, or one may write under.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.defer import Deferred

from ..keyset import KeySet
from ..values import KeyValue
from ._contender import Contender
from ._contest import Contest
from ._etcd import Etcd
from ._name import check_name
from .session import TIME_TO_LIVE, Session


class ReadWriteLock:
    """
    A lock that is held by any number of readers, or by one writer: ``async with lock.reading():``,
    ``async with lock.writing():``.

    It is fair: whose key reaches the server first goes first. A reader waits for the writers that are older, a writer
    for everybody who is; so no stream of readers keeps a writer waiting for ever, nor the other way round.

    The algorithm and the keys are those of ``RWMutex`` in Go's ``recipes``: ``name/read/...`` and ``name/write/...``.
    A reader watches the youngest of the writers that are older, a writer the youngest of all that are. So the end of a
    writer wakes those readers that may go on, and no others; the end of a reader wakes at most one writer.

    What can still go wrong is what can with a :class:`~txetcd.Lock`: an owner that is suspended for longer than its
    time to live holds it no longer, and may not know. It is fenced in the same way, by ``guard()`` or ``revision``, and
    a token of a writer is greater than those of all that held the lock before.

    It costs three calls to acquire a free lock (with a session, one), one more and a watch for each time the key that
    is watched disappears, then another to see that one's own is still there, and one call to release it. A writer that
    waits for many readers looks again for each that ends after all that are younger.

    Use its name for nothing else: any key below ``name/`` is waited for by writers.

    :param etcd: the :class:`txetcd.Client`.
    :param name: the name of the lock (``bytes``); it must not end in ``/``.
    :param session: a :class:`~txetcd.Session` that has begun, on whose lease the keys hang, or ``None``: then there is
        a lease for each time it is acquired.
    :param time_to_live: seconds (``int``) after which what an owner that has died holds is free; without a session.

    :ivar name: as given.
    """

    def __init__(
        self, etcd: Etcd, name: bytes, *, session: Optional[Session] = None, time_to_live: int = TIME_TO_LIVE
    ) -> None:
        self.name = check_name("name", name)
        writers = KeySet(name + b"/write/", prefix=True)
        options: dict[str, Any] = {"session": session, "time_to_live": time_to_live}
        self._readers = Contest(etcd, f"the lock {name!r} for reading", name, kind=b"read/", rivals=writers, **options)
        self._writers = Contest(etcd, f"the lock {name!r} for writing", name, kind=b"write/", **options)

    def reading(self) -> Reading:
        """A reader, who is to acquire it: ``async with lock.reading() as held:``."""
        return Reading(self.name, self._readers)

    def writing(self) -> Writing:
        """A writer, who is to acquire it: ``async with lock.writing() as held:``."""
        return Writing(self.name, self._writers)

    def contenders(self) -> Deferred[list[KeyValue]]:
        """
        Asks who holds it, and who waits for it.

        :returns: a Deferred that fires with their keys (``list`` of :class:`~txetcd.KeyValue`), the oldest first; those
            of readers begin with ``name/read/``. It fails as every call; cancelling it ends the call.
        """
        return self._readers.contenders()

    def __repr__(self) -> str:
        return f"<ReadWriteLock {self.name!r}>"


class Reading(Contender):
    """A reader of a :class:`ReadWriteLock`: one of many, as long as nobody writes."""


class Writing(Contender):
    """A writer of a :class:`ReadWriteLock`: the only one, and nobody reads."""
