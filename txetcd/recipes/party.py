"""
A party: who is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable, Optional

from twisted.internet.defer import Deferred

from .._check import check_bytes, what_came
from .._context import ContextDeferred
from ..keyset import KeySet
from ..lease import check_time_to_live
from ..values import KeyValue
from ._etcd import Etcd
from ._name import check_name
from .mirror import Mirror
from .registration import OnStatus, Registration, begin
from .session import TIME_TO_LIVE, Session, check_begun

OnMembers = Callable[[dict[bytes, bytes]], Any]


class Party:
    """
    A party: those who have joined, and live, each with a name and a value.

    Each member is a key ``name/member`` on a session, so that it goes with its process. See
    :class:`~txetcd.Registration` for how it is kept, comes back when it was lost, and what that cannot do: whoever is
    shown may have died up to *time_to_live* ago, and one that was cut off for longer is not shown, but may be working.
    So a party tells whom to ask, or how many there are about; what only one of them may do is for a lock, or an
    election.

    To join costs two calls, and a watch as long as one is a member; to leave, one. To ask for the members costs one
    call, to follow them what a :class:`~txetcd.Mirror` costs.

    :param etcd: a :class:`~txetcd.Client`.
    :param name: the name of the party (``bytes``).
    :param session: a :class:`~txetcd.Session` of yours that has begun, to be a member on: as long as it lasts. Without
        one there is one of its own, and another one when that is lost.
    :param time_to_live: seconds (``int``) that a member is shown that has died; of a session of its own.
    """

    def __init__(
        self, etcd: Etcd, name: bytes, *, session: Optional[Session] = None, time_to_live: int = TIME_TO_LIVE
    ) -> None:
        self._etcd = etcd
        self.name = check_name("name", name)
        self._prefix = self.name + b"/"
        self._session = check_begun(session)
        self._time_to_live = check_time_to_live("time_to_live", time_to_live)
        self._membership: Optional[Registration] = None

    def join(
        self,
        member: bytes,
        value: bytes = b"",
        timeout: Optional[float] = None,
        *,
        on_status: Optional[OnStatus] = None,
    ) -> ContextDeferred[Registration]:
        """
        Becomes a member.

        :param member: the name of this member (``bytes``): one that no other one has.
        :param value: what the others shall know of it (``bytes``).
        :param timeout: seconds, or ``None`` to wait as long as it takes: an outage is waited out.
        :param on_status: called with ``False`` when the membership was lost, and with ``True`` when it is there, also
            for the first time. What it raises is logged.
        :returns: a Deferred that fires with the :class:`~txetcd.Registration` when it is there. It fails with
            :class:`~txetcd.Timeout`, with :class:`~txetcd.errors.SessionExpired` if a session of yours is lost, or with
            what the server refuses it with; then nothing is left behind. Cancelling it fires it at once; what was
            written is deleted behind its back. As ``async with party.join(b"me"):`` the party is left at the end of the
            block, if it was not left in it; that raises what :meth:`Registration.leave` fails with.
        :raises RuntimeError: if this object has joined already.
        """
        if self._membership is not None and not self._membership.is_over:
            raise RuntimeError(f"{self!r} has joined already")
        key = self._prefix + check_name("member", member)
        membership = Registration(
            self._etcd, key, check_bytes("value", value), self._session, self._time_to_live, on_status
        )
        joining = begin(membership, timeout)
        self._membership = membership
        return joining

    def leave(self) -> Deferred[None]:
        """
        Leaves it; the same as :meth:`Registration.leave <txetcd.Registration.leave>`.

        :returns: a Deferred as of that.
        :raises RuntimeError: if it was not joined.
        """
        if self._membership is None:
            raise RuntimeError(f"{self!r} was not joined")
        return self._membership.leave()

    def members(self) -> Deferred[dict[bytes, bytes]]:
        """
        Asks who is there now.

        :returns: a Deferred that fires with the value of each member by its name (a ``dict`` of ``bytes``): who has
            been there for longest comes first. It fails as every call. Cancelling it ends the call.
        """
        return self._etcd.get(KeySet(self._prefix, prefix=True)).addCallback(lambda found: self._members(found.kvs))

    def on_change(self, function: OnMembers) -> Deferred[None]:
        """
        Follows who is there.

        :param function: called with the members, as of :meth:`members`, now, and whenever that has changed: once for
            all that has changed at one revision. What it raises is logged. It is not waited for.
        :returns: a Deferred. ``cancel()`` ends it, and then it fires with ``None``, as it does when the client is
            closed. It fails when the members cannot be followed any more, as with :class:`~txetcd.PermissionDenied`;
            outages it survives.
        """
        if not callable(function):
            raise TypeError(f"function must be callable, not {what_came(function)}")
        mirror = Mirror(
            self._etcd, KeySet(self._prefix, prefix=True), lambda _: function(self._members(mirror.values()))
        )
        # why it cannot be started is told at its end
        mirror.start().addErrback(lambda _: None)

        def stop(_: Any) -> None:
            mirror.close()

        following: Deferred[None] = Deferred(stop)
        mirror.when_stopped().chainDeferred(following)
        return following

    def _members(self, kvs: Iterable[KeyValue]) -> dict[bytes, bytes]:
        by_age = sorted(kvs, key=lambda kv: (kv.create_revision, kv.key))
        return {kv.key[len(self._prefix) :]: kv.value for kv in by_age}

    def __repr__(self) -> str:
        return f"<Party {self.name!r} {self._membership or 'NOT JOINED'}>"
