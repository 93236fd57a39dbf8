"""
The network between the members of a cluster, which can be cut.

In front of each member stands a proxy, whose URL is the one that the others know. All know the same one, so a proxy
must find out who sends: members say so in a header of every request that belongs to Raft (``X-Server-From``, from etcd
3.4 to 3.7). Most of them are answered by messages without end, so they tell who receives as well. What they send
besides has no such header: probes and questions for the version, which change nothing, and renewals of leases, which a
follower passes on to the leader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Optional

import attrs
from twisted.internet.defer import Deferred, gatherResults

from ._identity import Bootstrap, Peer
from ._proxy import FaultyProxy
from ._relay import ProxyConnection

_SENDER = re.compile(rb"\r\nX-Server-From: *([0-9a-f]{1,16})\r\n", re.IGNORECASE)


def sender_of(request: bytes) -> Optional[int]:
    """
    The id of the member that sends a request; ``None`` if that is not said.

    :param request: its beginning, with all of its head.
    """
    head, end, _ = request.partition(b"\r\n\r\n")
    found = _SENDER.search(head + end)
    return None if found is None else int(found[1], 16)


def behind(ports: Sequence[int], bootstraps: Iterable[Bootstrap]) -> list[Bootstrap]:
    """
    *bootstraps* of members that reach one another through proxies.

    :param ports: those of the proxies.
    """
    old = list(bootstraps)
    peers = tuple(Peer(bootstrap.me.name, port) for bootstrap, port in zip(old, ports))
    return [attrs.evolve(bootstrap, me=me, peers=peers) for bootstrap, me in zip(old, peers)]


class Sides:
    """
    Who can reach whom: those who are on the same side.

    :param size: how many members there are; each is told by its place among them.
    """

    def __init__(self, size: int) -> None:
        self._sides = [0] * size
        self._last = 0

    def isolate(self, places: Iterable[int]) -> None:
        """These get a side of their own."""
        self._last += 1
        self._move(places, self._last)

    def rejoin(self, places: Iterable[int]) -> None:
        """These get to the side of those that were never isolated."""
        self._move(places, 0)

    def _move(self, places: Iterable[int], side: int) -> None:
        for place in places:
            self._sides[place] = side

    @property
    def isolated(self) -> int:
        """How many were isolated, and not rejoined since."""
        return len(self._sides) - self._sides.count(0)

    def has_majority(self, place: int) -> bool:
        """Whether a majority of all members is on the side of this one."""
        return 2 * self._sides.count(self._sides[place]) > len(self._sides)

    def is_cut(self, sender: Optional[int], receiver: int) -> bool:
        """
        Whether nothing gets from one member to another.

        :param sender: ``None`` for one that is not known. It is taken for one of the same side where there is a
            majority, and so a leader that has to be asked; and for one of another side elsewhere.
        """
        if sender is None:
            return not self.has_majority(receiver)
        return self._sides[sender] != self._sides[receiver]


class PeerNetwork:
    """
    The proxies between the members of a cluster.

    :param reactor: the reactor.
    :ivar sides: who can reach whom.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._proxies: list[FaultyProxy] = []
        self._places: dict[int, int] = {}
        self.sides = Sides(0)

    def start(self, bootstraps: Sequence[Bootstrap]) -> Deferred[list[Bootstrap]]:
        """
        Put a proxy in front of each member, at a port of its own. Nobody is isolated.

        :param bootstraps: of members that were not started yet.
        :return: fires with those by which to start them; they listen where they would have listened all the same.
        """
        self.sides = Sides(len(bootstraps))
        self._proxies = [FaultyProxy(self._reactor, bootstrap.me.url) for bootstrap in bootstraps]
        started = gatherResults([proxy.start() for proxy in self._proxies], consumeErrors=True)
        return started.addCallback(lambda _: self._started(bootstraps))

    def _started(self, bootstraps: Iterable[Bootstrap]) -> list[Bootstrap]:
        moved = behind([int(proxy.url.rpartition(":")[2]) for proxy in self._proxies], bootstraps)
        self._places = {bootstrap.member_id: place for place, bootstrap in enumerate(moved)}
        self._cut()
        return moved

    def stop(self) -> Deferred[None]:
        """
        Take the proxies away.

        :return: fires with ``None`` when no socket and no timer is left.
        """
        proxies, self._proxies = self._proxies, []
        return gatherResults([proxy.stop() for proxy in proxies]).addCallback(lambda _: None)

    def isolate(self, places: Iterable[int]) -> None:
        """See :meth:`Sides.isolate`. Connections stay open, and new ones can be made; they carry nothing."""
        self.sides.isolate(places)

    def rejoin(self, places: Iterable[int]) -> None:
        """See :meth:`Sides.rejoin`. Connections that have lost something are reset: the members make new ones."""
        self.sides.rejoin(places)
        for proxy in self._proxies:
            proxy.behave()
        self._cut()

    def _cut(self) -> None:
        for place, proxy in enumerate(self._proxies):
            proxy.black_hole(where=partial(self._is_cut, place))

    def _is_cut(self, receiver: int, connection: ProxyConnection) -> bool:
        if not self.sides.isolated:
            return False
        sender = sender_of(connection.request)
        return self.sides.is_cut(None if sender is None else self._places.get(sender), receiver)
