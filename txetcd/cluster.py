"""
The members of the cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred

from ._calls import Calls
from ._check import UINT64_MAX, check_flag, check_int, check_seconds
from ._messages import (
    Empty,
    MemberAddRequest,
    MemberListRequest,
    MemberListResponse,
    MemberPromoteRequest,
    MemberRemoveRequest,
    MemberUpdateRequest,
)
from ._schema import (
    MEMBER_ADD,
    MEMBER_LIST,
    MEMBER_PROMOTE,
    MEMBER_REMOVE,
    MEMBER_UPDATE,
    STATUS,
    Rpc,
)
from ._url import GATEWAY, check_urls
from .errors import NoLeader
from .values import Member


class Cluster:
    """
    The members of the cluster: etcd's service ``Cluster``.

    What holds for every call of :class:`~txetcd.Client` holds here: what it fails with, how it is cancelled, what
    ``timeout`` means. A change of the members needs a majority of them, and fails with
    :class:`~txetcd.errors.Unhealthy` if the members are not connected well enough to stand it; with
    :class:`~txetcd.OutcomeUnknown` if its answer was lost: then look at :meth:`members`. Change one at a time.

    Made by :attr:`Client.cluster <txetcd.Client.cluster>`.
    """

    def __init__(self, calls: Calls, clock: Any) -> None:
        self._calls = calls
        self._clock = clock

    def members(self, linearizable: bool = True, timeout: Optional[float] = None) -> Deferred[list[Member]]:
        """
        Asks who the members are (``MemberList``).

        :param linearizable: ask a majority of them, so that the answer is not stale; else one member tells what it
            knows, even if it is cut off from the others. etcd 3.4 always does the latter.
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with all of them (``list`` of :class:`~txetcd.Member`). Cancelling it ends the
            call.
        """
        request = MemberListRequest(check_flag("linearizable", linearizable))
        return self._call(MEMBER_LIST, request, timeout).addCallback(_members_of)

    def leader(self, timeout: Optional[float] = None) -> Deferred[Member]:
        """
        Asks which member leads, by what one that is connected with a majority says (``MemberList``, then ``Status``).

        :param timeout: seconds for both, or ``None`` for the client's.
        :returns: a Deferred that fires with the :class:`~txetcd.Member`. It fails with
            :class:`~txetcd.errors.NoLeader` if none leads, as during an election. Cancelling it ends the calls.
        """
        seconds = check_seconds("timeout", timeout) or self._calls.timeout
        return Deferred.fromCoroutine(self._leader(self._clock.seconds() + seconds))

    async def _leader(self, deadline: float) -> Member:
        # the members first: a member that is cut off does not answer that, and what answers is asked for the rest
        members = await self._calls.call(MEMBER_LIST, MemberListRequest(True), self._left(deadline))
        status = await self._calls.call(STATUS, Empty(), self._left(deadline))
        for member in _members_of(members):
            if member.member_id == status.leader:
                return member
        asked = f"member {status.header.member_id:x}"
        if not status.leader:
            raise self._calls.located(NoLeader(None, f"{asked} knows no leader"), STATUS)
        gone = f"by {asked}, {status.leader:x} leads, which is no member any more"
        raise self._calls.located(NoLeader(None, gone), STATUS)

    def add(self, peer_urls: Union[str, Sequence[str]], timeout: Optional[float] = None) -> Deferred[Member]:
        """
        Adds a member, with a vote from the start (``MemberAdd``). It counts for the majority at once, though it is not
        there yet: start it now, with ``--initial-cluster-state existing``. :meth:`add_learner` does no harm until it
        is.

        :param peer_urls: where the others will reach it: a URL with a port (``str``), or a list of them.
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with the new :class:`~txetcd.Member`, which has an id and no name yet. It fails
            with :class:`~txetcd.errors.PeerURLExist` if another member has one of the URLs,
            :class:`~txetcd.errors.MemberNotEnoughStarted` if too few members are there for a change. Cancelling it
            ends the call; the member may have been added.
        """
        return self._add(peer_urls, False, timeout)

    def add_learner(
        self, peer_urls: Union[str, Sequence[str]], timeout: Optional[float] = None
    ) -> Deferred[Member]:
        """
        Adds a member as a learner (``MemberAdd``): it follows the others without a vote, until :meth:`promote`.

        :param peer_urls: as of :meth:`add`.
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred as of :meth:`add`. It fails with :class:`~txetcd.errors.TooManyLearners` if there is one
            already (unless the servers allow more). Cancelling it ends the call; the learner may have been added.
        """
        return self._add(peer_urls, True, timeout)

    def promote(self, member_id: int, timeout: Optional[float] = None) -> Deferred[list[Member]]:
        """
        Gives a learner a vote (``MemberPromote``).

        :param member_id: its id (``int``).
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with all members there are now (``list`` of :class:`~txetcd.Member`). It fails
            with :class:`~txetcd.errors.LearnerNotReady` as long as it lags behind: try again later;
            :class:`~txetcd.errors.MemberNotLearner` or :class:`~txetcd.errors.MemberNotFound`. Cancelling it ends the
            call; the member may have been promoted.
        """
        return self._change(MEMBER_PROMOTE, MemberPromoteRequest(_check_id(member_id)), timeout)

    def remove(self, member_id: int, timeout: Optional[float] = None) -> Deferred[list[Member]]:
        """
        Removes a member for good (``MemberRemove``): its process ends, and cannot come back with its data.

        :param member_id: its id (``int``).
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with all members that are left (``list`` of :class:`~txetcd.Member`). It fails
            with :class:`~txetcd.errors.MemberNotFound`, or :class:`~txetcd.errors.MemberNotEnoughStarted` if too few
            would be left. Cancelling it ends the call; the member may have been removed.
        """
        return self._change(MEMBER_REMOVE, MemberRemoveRequest(_check_id(member_id)), timeout)

    def update(
        self, member_id: int, peer_urls: Union[str, Sequence[str]], timeout: Optional[float] = None
    ) -> Deferred[list[Member]]:
        """
        Changes where the others reach a member (``MemberUpdate``).

        :param member_id: its id (``int``).
        :param peer_urls: as of :meth:`add`; they take the place of those it has.
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with all members there are now (``list`` of :class:`~txetcd.Member`). It fails
            with :class:`~txetcd.errors.MemberNotFound` or :class:`~txetcd.errors.PeerURLExist`. Cancelling it ends the
            call; the URLs may have been changed.
        """
        request = MemberUpdateRequest(_check_id(member_id), _check_peer_urls(peer_urls))
        return self._change(MEMBER_UPDATE, request, timeout)

    # --- within

    def _add(
        self, peer_urls: Union[str, Sequence[str]], is_learner: bool, timeout: Optional[float]
    ) -> Deferred[Member]:
        request = MemberAddRequest(_check_peer_urls(peer_urls), is_learner)
        return self._call(MEMBER_ADD, request, timeout).addCallback(lambda answer: answer.member)

    def _change(self, rpc: Rpc, request: Any, timeout: Optional[float]) -> Deferred[list[Member]]:
        return self._call(rpc, request, timeout).addCallback(_members_of)

    def _left(self, deadline: float) -> float:
        left: float = deadline - self._clock.seconds()
        return max(0.0, left)

    def _call(self, rpc: Rpc, request: Any, timeout: Optional[float]) -> Deferred[Any]:
        return self._calls.call(rpc, request, check_seconds("timeout", timeout))


def _members_of(answer: MemberListResponse) -> list[Member]:
    return answer.members


def _check_id(member_id: object) -> int:
    return check_int("member_id", member_id, 1, UINT64_MAX)


def _check_peer_urls(peer_urls: object) -> tuple[str, ...]:
    """
    *peer_urls* as etcd wants them: with a port, and nothing behind it (``types.NewURLs``).

    :raises TypeError: if they are no texts.
    :raises ValueError: shows what is wrong.
    """
    urls = check_urls("peer_urls", peer_urls)
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in GATEWAY:
            raise ValueError(f"peer_urls must begin with http:// or https://, and {url!r} does not")
        if parts.port is None:
            raise ValueError(f"peer_urls must have a port, as in http://10.0.0.1:2380: {url!r} has none")
        if parts.path:
            raise ValueError(f"peer_urls must end with the port: {url!r} has a path")
    return urls
