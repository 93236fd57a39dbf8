"""
Ports for those tests that must know them beforehand.
"""

from __future__ import annotations

import contextlib
import itertools
import socket

from txetcd.testing._ports import FROM, PortLost, check_free, mark

_PORTS = 100

_SLICES = 100


def _own_slice() -> tuple[socket.socket, range]:
    """Ports of this process alone, while the socket lives: what one process found to be free no other one takes."""
    for number in range(1, 1 + _SLICES):
        first = FROM - _PORTS * number
        with contextlib.suppress(PortLost):
            return mark(first), range(first, first + _PORTS)
    raise PortLost(f"more than {_SLICES} processes test at the same time")


_mark, _own = _own_slice()

_turns = itertools.cycle(_own)


def free_ports(count: int) -> range:
    """*count* free ports in a row. Those that were given last are not given again soon."""
    while True:
        taken = list(itertools.islice(_turns, count))
        found = range(taken[0], taken[0] + count)
        with contextlib.suppress(PortLost):
            if taken == list(found):
                check_free(found[0], count)
                return found
