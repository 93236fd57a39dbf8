"""
The ports of the loopback interface: which are free, and which are taken.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ._binary import EtcdFailed
from ._identity import HOST

T = TypeVar("T")

MAX_PORT = 65535

FROM, TO = 20_000, 32_000
"""Below those that systems give to whoever asks for any: nobody gets one of these by accident, as for a connection."""

ATTEMPTS = 5
"""How often the race for a port may be lost in a row; more than once is no accident."""


class PortLost(EtcdFailed):
    """Another program has the port: with other ports it may work."""


class Claims:
    """
    Ports that nobody else takes from here, in whatever process, until they are released. So a server that is down for
    a while finds its ports free when it is started again.

    Each is marked by a UDP socket of the same number: the system lets one process have that, and takes it back from
    one that ends in any way. The server itself cannot hold its port while it is down.
    """

    def __init__(self) -> None:
        self._marks: list[socket.socket] = []

    def take(self, count: int) -> list[int]:
        """*count* different ports more, which are free now."""
        return [self._take_one() for _ in range(count)]

    def _take_one(self) -> int:
        while True:
            port = random.randrange(FROM, TO)
            with contextlib.suppress(PortLost):
                check_free(port)
                self._marks.append(mark(port))
                return port

    def release(self) -> None:
        """Give all of them up."""
        for taken in self._marks:
            taken.close()
        self._marks.clear()


def mark(port: int) -> socket.socket:
    """
    What says to other processes that *port* is taken, until it is closed.

    :raises PortLost: if another one was quicker.
    """
    found = socket.socket(type=socket.SOCK_DGRAM)
    try:
        found.bind((HOST, port))
    except OSError as error:
        found.close()
        raise PortLost(f"port {port} is taken: {error.strerror}") from error
    return found


def check_free(port: int, count: int = 1) -> None:
    """
    Nothing, if *count* ports from *port* on are free now. etcd would say otherwise too, but not in a line.

    :raises PortLost: names the first one that is not.
    """
    for one in range(port, port + count):
        with socket.socket() as probe:
            # As etcd does: connections of the past do not matter, only somebody who listens.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, one))
            except OSError as error:
                raise PortLost(f"port {one} cannot be had: {error.strerror}") from error


def is_accepting(port: int) -> bool:
    """
    Whether somebody listens on *port*. On the loopback interface that is known at once.

    Asking the reactor instead takes 0.3 s for every refusal: Twisted's ``HostnameEndpoint`` waits so long for the
    next address, also where there is none.
    """
    with socket.socket() as probe:
        probe.settimeout(0.1)
        return probe.connect_ex((HOST, port)) == 0


async def with_other_ports(start: Callable[[], Awaitable[T]]) -> T:
    """
    What *start* returns, which is run again, with other ports, when it has lost the race for one.

    :raises PortLost: if it loses too often.
    """
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(PortLost):
            return await start()
    return await start()
