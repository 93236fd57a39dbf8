"""
Several real etcd servers that are one cluster.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Optional, TypeVar, Union

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.task import deferLater

from .._backoff import never
from .._check import check_all, check_flag, check_int
from .._credentials import check_credentials
from ..client import Client
from ..errors import Error
from ..values import Status
from ._binary import EtcdFailed
from ._identity import Bootstrap, Peer, new_token
from ._life import Life
from ._network import PeerNetwork
from ._ports import MAX_PORT, Claims, check_free, with_other_ports
from ._process import POLL_SECONDS, STATUS_SECONDS, EtcdProcess, record_bootstrap

T = TypeVar("T")

LEADER_SECONDS = 60.0
"""How long the search for a leader may take. An election takes up to 2 s, and another one if the votes split."""


def new_bootstraps(claims: Claims, size: int, first_client_port: Optional[int] = None) -> list[Bootstrap]:
    """The members of a new cluster, with ports from *claims*, or with those for clients from *first_client_port* on."""
    ports = claims.take(2 * size)
    peers = tuple(Peer(f"etcd{number}", port) for number, port in enumerate(ports[:size]))
    client_ports = ports[size:] if first_client_port is None else range(first_client_port, first_client_port + size)
    token = new_token()
    return [Bootstrap(token, client_port, me, peers) for client_port, me in zip(client_ports, peers)]


def leading(statuses: Sequence[Optional[Status]]) -> Optional[int]:
    """
    The index of the member that leads, by what each says (``None`` for one that does not answer).

    A majority must say so: a member that was cut off may still believe that it leads, or be alone in a later term.
    """
    said = Counter(status.leader for status in statuses if status is not None)
    for index, status in enumerate(statuses):
        if status is not None and status.leader == status.header.member_id and 2 * said[status.leader] > len(statuses):
            return index
    return None


async def together(waits: Iterable[Deferred[T]]) -> list[T]:
    """The results of all *waits*; the first error ends it, as itself. Cancelling cancels all."""
    try:
        return await gatherResults(list(waits), consumeErrors=True)
    except FirstError as first:
        first.subFailure.raiseException()


class EtcdCluster:
    """
    A cluster of real etcd servers on the loopback interface.

    ``async with EtcdCluster(reactor) as cluster:`` starts and stops it. See :class:`EtcdProcess` for what holds for
    each of its members. The data of all are kept until the cluster is stopped: a member that was stopped or killed
    goes on with them when it is started again, which needs a majority of the cluster.

    :param reactor: the reactor.
    :param size: how many members it has (``int``).
    :param binary: the etcd to run (``str``), as of :class:`EtcdProcess`.
    :param client_port: the port for clients of the first member (``int``), for those who must know it beforehand; the
        others have the next ones. If one of them is taken, the start fails. By default free ones are chosen.
    :param arguments: further flags of etcd (``str`` each) for every member.
    :param credentials: who asks whether it serves, as of :class:`EtcdProcess`, for :meth:`leader`, too.
    :param partitionable: let the network between the members be cut, with :meth:`isolate` and :meth:`rejoin`. Then all
        that they say to one another goes through this process, and they take each other for dead while the reactor is
        blocked. And the reactor holds its sockets, so that trial wants it to be stopped at the end of each test.
    :ivar members: its members (``list`` of :class:`EtcdProcess`); empty before the first start.
    """

    def __init__(
        self,
        reactor: Any,
        size: int = 3,
        *,
        binary: Optional[str] = None,
        client_port: Optional[int] = None,
        arguments: Iterable[str] = (),
        partitionable: bool = False,
        credentials: Union[str, tuple[str, str], None] = None,
    ) -> None:
        self._size = check_int("size", size, 1, MAX_PORT)
        if client_port is not None:
            check_int("client_port", client_port, 1, MAX_PORT - size + 1)
        self._reactor = reactor
        self._binary = binary
        self._client_port = client_port
        self._arguments = check_all("arguments", arguments, str, "str")
        self._credentials = check_credentials(credentials)
        self._network = PeerNetwork(reactor) if check_flag("partitionable", partitionable) else None
        self._life = Life(reactor, self.stop)
        self.members: list[EtcdProcess] = []

    def __repr__(self) -> str:
        running = sum(member.is_running for member in self.members)
        isolated = f", {self._network.sides.isolated} isolated" if self._network else ""
        return f"<EtcdCluster {running} of {self._size} running{isolated}>"

    @property
    def urls(self) -> list[str]:
        """The URL of every member; empty before the first start."""
        return [member.url for member in self.members]

    @property
    def url(self) -> str:
        """The URLs of all members, with commas between them, as ``etcdctl --endpoints`` takes them."""
        return ",".join(self.urls)

    def start(self) -> Deferred[EtcdCluster]:
        """
        Start all members of a new cluster, at once.

        :return: fires with this object when every member serves, and is proven to be the one that was started;
            fails as :meth:`EtcdProcess.start` does, with the first error of a member, or before any is started if a
            port from *client_port* on is taken. Nothing is left running then.
            Cancelling kills all, and fails with ``CancelledError``.
        :raises RuntimeError: if it was started and not stopped since.
        """
        if self._life.has_begun:
            raise RuntimeError(f"{self!r} was started already; stop() it first")
        return self._life.start(self._start())

    def stop(self) -> Deferred[None]:
        """
        End all members, at once and as a crash does (SIGKILL), and remove their data.

        A leader that is told to end looks for a successor, for seconds if all others are going as well.

        :return: fires with ``None`` when all processes are gone and reaped, and their data are removed. Does not fail.
            A :meth:`start` under way is cancelled. Cancelling gives up the wait.
        """
        return Deferred.fromCoroutine(self._stop())

    def leader(self) -> Deferred[EtcdProcess]:
        """
        The member that leads, by what a majority of the members says; waits for an election. A member that is isolated
        from the majority is not asked: it may still believe that it leads.

        :return: fires with the :class:`EtcdProcess`; fails with :class:`EtcdFailed` if none leads within 60 seconds,
            as without a majority. Cancelling ends the search.
        """
        return Deferred.fromCoroutine(self._leader())

    async def __aenter__(self) -> EtcdCluster:
        return await self.start()

    async def __aexit__(self, *reason: object) -> None:
        await self.stop()

    # --- partitions

    def isolate(self, *members: EtcdProcess) -> None:
        """
        Cut these members off from all others, from now on and in both directions; but not from one another, nor from
        clients. Those that were isolated by another call are others as well. Messages are lost in silence, and what was
        on its way is lost, too.

        It takes the members some time to notice: a member that has lost the leader knows none after an election
        timeout (1 second by default), and a leader that has lost the majority leads no more after one or two; watches
        with ``require_leader`` end after two or three more. To wait until a member has noticed, ask it until
        ``(await client.status()).leader`` is 0. Up to then a follower may still renew leases through the leader: these
        requests do not tell who sends them.

        A member cannot be started without a majority on its side.

        :param members: one or more of :attr:`members`.
        :raises RuntimeError: if the cluster is not *partitionable*, or not started.
        :raises ValueError: if none is given, or one that is no member.
        """
        self._started_network().isolate(self._places(members))

    def rejoin(self, *members: EtcdProcess) -> None:
        """
        Undo :meth:`isolate`: bring these members, or all, back to those that are not isolated. That can be done in any
        order, and also for some of those that were isolated together: the rest of them stay so.

        They reach one another at once. There may be another election then: up to etcd 3.4, a member that has lost the
        leader comes back with a later term than the others.

        :param members: some of :attr:`members`; by default all. Those that are not isolated stay so.
        :raises RuntimeError: if the cluster is not *partitionable*, or not started.
        :raises ValueError: if one is given that is no member.
        """
        self._started_network().rejoin(self._places(members or self.members))

    def _started_network(self) -> PeerNetwork:
        if self._network is None:
            raise RuntimeError(f"{self!r} was made without partitionable=True")
        if not self._life.has_begun:
            raise RuntimeError(f"{self!r} is not started")
        return self._network

    def _places(self, members: Sequence[EtcdProcess]) -> list[int]:
        if not members:
            raise ValueError("members must not be empty")
        for member in members:
            if member not in self.members:
                raise ValueError(f"{member!r} is no member of {self!r}")
        return [self.members.index(member) for member in members]

    # --- inside

    async def _start(self) -> EtcdCluster:
        if self._client_port is not None:
            check_free(self._client_port, self._size)
        self._life.begin()
        try:
            await with_other_ports(self._launch)
        except BaseException:
            await self._clean_up()
            raise
        return self

    async def _launch(self) -> None:
        directory = tempfile.mkdtemp(dir=self._life.directory())
        bootstraps = new_bootstraps(self._life.ports, self._size, self._client_port)
        places = [bootstrap.me for bootstrap in bootstraps]
        try:
            if self._network is not None:
                bootstraps = await self._network.start(bootstraps)
            self.members = [self._new_member(*one, directory) for one in zip(bootstraps, places)]
            await together([member.start() for member in self.members])
        except BaseException:
            await self._stop_members()
            raise

    def _new_member(self, bootstrap: Bootstrap, place: Peer, directory: str) -> EtcdProcess:
        data_dir = os.path.join(directory, bootstrap.me.name)
        os.mkdir(data_dir, mode=0o700)
        record_bootstrap(bootstrap, data_dir)
        arguments = [f"--listen-peer-urls={place.url}", *self._arguments]
        return EtcdProcess(
            self._reactor, binary=self._binary, data_dir=data_dir, arguments=arguments, credentials=self._credentials
        )

    async def _stop(self) -> None:
        await self._life.cancel_start()
        await self._clean_up()

    async def _clean_up(self) -> None:
        await self._stop_members()
        self._life.end()

    async def _stop_members(self) -> None:
        await together([member.kill() for member in self.members])
        await together([member.stop() for member in self.members])
        if self._network is not None:
            await self._network.stop()

    async def _leader(self) -> EtcdProcess:
        deadline = self._reactor.seconds() + LEADER_SECONDS
        while self._reactor.seconds() < deadline:
            members = list(self.members)
            index = leading(await together([Deferred.fromCoroutine(self._ask(*one)) for one in enumerate(members)]))
            if index is not None:
                return members[index]
            await deferLater(self._reactor, POLL_SECONDS)
        raise EtcdFailed(f"no member of {self!r} leads after {LEADER_SECONDS:g} seconds")

    async def _ask(self, place: int, member: EtcdProcess) -> Optional[Status]:
        is_isolated = self._network is not None and not self._network.sides.has_majority(place)
        if is_isolated or not member.is_running:
            return None
        client = Client(self._reactor, member.url, credentials=self._credentials, retry=never)
        try:
            return await client.status(timeout=STATUS_SECONDS)
        except Error:
            return None
        finally:
            await client.close()
