"""
Ports for those tests that must know them beforehand.
"""

from __future__ import annotations

import os
import random

from txetcd.testing._ports import FROM, PortLost, check_free

_PORTS = 100

_SLICES = 100
"""Each process has some ports of its own, most likely: what is free for one is not taken by another one meanwhile."""

_FIRST = FROM - _PORTS * (1 + os.getpid() % _SLICES)


def free_port(count: int = 1) -> int:
    """The first of *count* free ports in a row."""
    while True:
        port = random.randrange(_FIRST, _FIRST + _PORTS - count)
        try:
            check_free(port, count)
        except PortLost:
            continue
        return port
