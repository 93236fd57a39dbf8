"""
Ports for those tests that must know them beforehand.
"""

from __future__ import annotations

import random

from txetcd.testing._ports import FROM, TO, PortLost, check_free


def free_port(count: int = 1) -> int:
    """The first of *count* free ports in a row."""
    while True:
        port = random.randrange(FROM, TO)
        try:
            check_free(port, count)
        except PortLost:
            continue
        return port
