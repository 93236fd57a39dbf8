"""
Who a server is: the ids that follow from how it was first started, and the flags that say so.

etcd computes both ids of a static bootstrap from the peer URLs and the cluster token alone
(``computeMemberID`` and ``genID`` in ``server/etcdserver/api/membership`` of its source; the same from 3.4 to 3.7).
With a token that nobody else has, a server that answers with the expected ids is the expected server.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable
from typing import Protocol, Union

import attrs

from ._binary import release

HOST = "127.0.0.1"


def member_id(peer_urls: Iterable[str], token: str) -> int:
    """The id of a member that is reached at *peer_urls* in the cluster that *token* names."""
    return _first_64_bits("".join([*sorted(peer_urls), token]).encode())


def cluster_id(member_ids: Iterable[int]) -> int:
    """The id of a cluster that begins with the members of *member_ids*."""
    return _first_64_bits(b"".join(one.to_bytes(8, "big") for one in sorted(member_ids)))


def _first_64_bits(data: bytes) -> int:
    return int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest()[:8], "big")


def new_token() -> str:
    """A cluster token that no other cluster has."""
    return f"txetcd-{uuid.uuid4().hex}"


@attrs.frozen
class Peer:
    """
    A member as the others know it.

    :ivar name: its name (``str``).
    :ivar port: the port for its peers (``int``).
    """

    name: str
    port: int

    @property
    def url(self) -> str:
        """The URL for its peers."""
        return f"http://{HOST}:{self.port}"


@attrs.frozen
class Bootstrap:
    """
    How a member is started for the first time. Its identity follows from that, for as long as it has its data.

    :ivar token: names the cluster (``str``).
    :ivar client_port: the port for clients (``int``). The only one that may change later on.
    :ivar me: this member (:class:`Peer`).
    :ivar peers: all members, this one included (``tuple`` of :class:`Peer`).
    """

    token: str
    client_port: int
    me: Peer
    peers: tuple[Peer, ...]

    @property
    def client_url(self) -> str:
        """The URL for clients."""
        return f"http://{HOST}:{self.client_port}"

    @property
    def member_id(self) -> int:
        """The id that this member will have."""
        return member_id([self.me.url], self.token)

    @property
    def cluster_id(self) -> int:
        """The id that the cluster will have."""
        return cluster_id(member_id([peer.url], self.token) for peer in self.peers)

    def arguments(self, version: str, data_dir: str) -> list[str]:
        """
        The flags that start this member: valid from etcd 3.4 to 3.7, and few.

        :param version: the version of the binary, which decides whether it knows how to spare the disk.
        :param data_dir: where its data are, or will be (``str``).
        """
        flags = [
            f"--name={self.me.name}",
            f"--data-dir={data_dir}",
            f"--listen-client-urls={self.client_url}",
            f"--advertise-client-urls={self.client_url}",
            f"--listen-peer-urls={self.me.url}",
            f"--initial-advertise-peer-urls={self.me.url}",
            f"--initial-cluster={','.join(f'{peer.name}={peer.url}' for peer in self.peers)}",
            f"--initial-cluster-token={self.token}",
            # 3.4 logs in a format of its own otherwise, and to the journal when its parent is process 1,
            # as in a container.
            "--logger=zap",
            "--log-outputs=stderr",
        ]
        # What a server did not sync is lost with the machine only, not with the process.
        no_fsync = ["--unsafe-no-fsync"] if release(version) >= (3, 5) else []
        # When these are killed they lose a write that their file was just updated amid, every 100 ms by default
        # (etcd's issue 13766); what the file does not have yet they take from their log.
        no_updates = ["--backend-batch-interval=1h"] if re.match(r"3\.5\.[0-2]\b", version) else []
        return [*flags, *no_fsync, *no_updates]

    def to_json(self) -> str:
        """This as text, for :meth:`from_json`."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Bootstrap:
        """What :meth:`to_json` made into text."""
        fields = json.loads(text)
        peers = tuple(Peer(**peer) for peer in fields["peers"])
        return cls(token=fields["token"], client_port=fields["client_port"], me=Peer(**fields["me"]), peers=peers)


class _HasId(Protocol):
    def id(self) -> str: ...


def namespace(test: Union[str, _HasId]) -> bytes:
    """
    A key prefix that no other test has, ``b"<id of the test>/<random>/"``, for tests that share one server.

    :param test: a test case of ``unittest`` or trial, or any text, such as pytest's ``request.node.nodeid``.
    """
    name = test if isinstance(test, str) else test.id()
    return f"{name}/{uuid.uuid4().hex[:12]}/".encode()
