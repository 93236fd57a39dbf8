"""
A lock that everybody who asks etcd for the same name shares.
"""

from __future__ import annotations

from typing import Optional

from ._contender import Contender
from ._contest import Contest
from ._etcd import Etcd
from ._name import check_name
from .session import TIME_TO_LIVE, Session


class Lock(Contender):
    """
    A lock: at most one holds it, and whose key reaches the server first gets it first.

    The algorithm and the keys are those of Go's ``concurrency.Mutex``, so that Go programs and ``etcdctl lock`` contend
    for the same lock: each contender writes the key ``name/<lease id>``; the oldest key holds the lock; each waiter
    watches the key before its own. The key is attached to a lease that is kept alive while the lock is held or waited
    for, so that it disappears with its owner.

    What can still go wrong: an owner that is suspended for longer than *time_to_live* (a stopped process, a laptop
    asleep) loses the lock, and another may hold it before the first one learns that. So does one whose system clock is
    set back by about as much: Twisted's timers stand still so long, and the renewals with them. :attr:`is_held` never
    says ``True`` once the time to live is over, but :meth:`when_lost` may be told late. So end your work when that
    fires, ask :attr:`is_held` in between, and let what must not happen twice be guarded by the store itself: put
    :meth:`guard` among the comparisons of your transaction, or hand :attr:`revision`, which grows from owner to owner,
    to whatever you write to. The same two tell when somebody else has deleted the owner's key: that frees the lock, and
    the owner does not notice. And etcd itself may revoke a lease that is being renewed, when a member that led, and was
    suspended, goes on (its issue 15247, seen with 3.4.23 and 3.7.3): :meth:`guard` refuses then as well.

    Names nest, as they do in Go: any key below ``name/`` counts as a contender, and so does a lock ``name/other``.

    It costs three calls to acquire a free lock (with a session, one), one more and a watch for each time the key before
    one's own disappears, then another to see that one's own is still there, and one call to release it.

    ``async with Lock(etcd, name) as lock:`` acquires and releases it. A lock that was released can be acquired again.

    With a *session*, several locks stand on one lease, and are lost with it; each is a contender of its own, also those
    of the same name. What goes wrong is settled by deleting the key then, not by revoking its lease. A request that a
    suspended server carries out only after that leaves a key; so after an answer that was lost it is looked for, at
    first after half a second, and less and less often up to once in each *time_to_live* of the session, until it was
    found or the session ends. Meanwhile it stands in the way of others, as if its owner had died.

    :param etcd: the :class:`txetcd.Client`.
    :param name: the name of the lock (``bytes``); it must not end in ``/``.
    :param time_to_live: seconds (``int``) after which the lock of an owner that has died is free; without a session.
    :param session: a :class:`~txetcd.Session` that has begun, on whose lease the key hangs, or ``None``: then there is
        a lease for each time it is acquired.
    """

    def __init__(
        self, etcd: Etcd, name: bytes, time_to_live: int = TIME_TO_LIVE, *, session: Optional[Session] = None
    ) -> None:
        what = f"the lock {check_name('name', name)!r}"
        super().__init__(name, Contest(etcd, what, name, session=session, time_to_live=time_to_live))
