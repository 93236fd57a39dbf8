"""
The lease that the keys of a recipe hang on.
"""

from __future__ import annotations

from collections import Counter
from typing import Optional

from ..errors import Error
from ..lease import Lease, check_time_to_live
from ._etcd import Etcd
from ._outages import CLEANUP_TIMEOUT
from .session import Session, check_session, lease_of


class Leases:
    """
    That of a session, or else one of its own as long as it is needed.

    :param etcd: the client.
    :param what: whose it is, for errors (``str``).
    :param session: the session, or ``None``.
    :param time_to_live: seconds (``int``) of one of its own.
    """

    def __init__(self, etcd: Etcd, what: str, session: Optional[Session], time_to_live: int) -> None:
        self._etcd = etcd
        self._what = what
        self._session = check_session(session)
        self._time_to_live = check_time_to_live("time_to_live", time_to_live)
        self._own: Optional[Lease] = None
        self._uses: Counter[int] = Counter()

    @property
    def is_own(self) -> bool:
        """Whether it takes leases of its own (``bool``): then keys go with them."""
        return self._session is None

    @property
    def lease_id(self) -> int:
        """The id of the lease that is used now (``int``); 0 if there is none."""
        lease = self._own if self._session is None else self._session.lease
        return 0 if lease is None else lease.lease_id

    async def use(self) -> Lease:
        """
        A lease that is alive, as far as can be known; to be given to :meth:`leave` later. One asks at a time.

        :raises SessionExpired: if that of the session is not.
        """
        if self._session is not None:
            return lease_of(self._session, self._what)
        if self._own is None or self._own.state != "alive":
            self._own = await self._etcd.lease(self._time_to_live, keep_alive=True)
        self._uses[self._own.lease_id] += 1
        return self._own

    async def leave(self, lease: Lease) -> None:
        """It is not needed any more by one that has used it: it is revoked if that was the last."""
        if self._session is not None:
            return
        self._uses[lease.lease_id] -= 1
        if self._uses[lease.lease_id]:
            return
        del self._uses[lease.lease_id]
        if self._own is lease:
            self._own = None
        try:
            await lease.revoke(CLEANUP_TIMEOUT)
        except Error:
            # lost already; or it is tried again, and ends by itself
            pass
