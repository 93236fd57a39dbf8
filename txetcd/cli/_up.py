"""
``txetcd up``: real servers that run until they are told to stop.
"""

from __future__ import annotations

import contextlib
from typing import Any, Optional

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from ..testing import EtcdCluster, EtcdFailed
from ._terminal import Screen

LOOK_SECONDS = 0.5
"""How often to look whether the servers still run."""


async def up(reactor: Any, nodes: int, port: Optional[int], screen: Screen) -> int:
    """
    Runs a cluster of *nodes* until it is cancelled.

    :param port: the port for clients of the first node, the others have the next ones; ``None`` for free ones.
    :return: 0, when it was cancelled, and nothing is left of the cluster.
    :raises EtcdNotFound: if there is no etcd.
    :raises EtcdFailed: if a port is taken, the cluster does not start, or all its members have ended by themselves.
    :raises CancelledError: if it was cancelled before it ran.
    """
    async with EtcdCluster(reactor, nodes, client_port=port) as cluster:
        announce(cluster, screen)
        await _until_cancelled(reactor, cluster)
    screen.text()
    screen.text("Stopped; nothing is left of it.")
    return 0


def announce(cluster: EtcdCluster, screen: Screen) -> None:
    """Tells what is running, and where."""
    first, *others = cluster.members
    what = f"A cluster of {len(cluster.members)} etcd {first.version}" if others else f"etcd {first.version}"
    screen.text(f"{what} is running, until Ctrl-C. For the programs of another terminal:")
    screen.text()
    # all of them, so that one may be killed
    screen.text(f"export ETCD_URL={','.join(member.url for member in cluster.members)}")
    screen.text()
    screen.text("With grpc:// instead of http:// their native protocol is spoken, at the same ports.")


async def _until_cancelled(reactor: Any, cluster: EtcdCluster) -> None:
    """As long as a member runs: to kill one, and see what happens, is what a cluster is good for."""
    with contextlib.suppress(CancelledError):
        while any(member.is_running for member in cluster.members):
            await deferLater(reactor, LOOK_SECONDS)
        raise EtcdFailed("no server is running any more")
