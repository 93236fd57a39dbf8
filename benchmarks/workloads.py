"""
What is measured: a table of workloads. What each of them asks is in :mod:`benchmarks.workers.loads`.
"""

from __future__ import annotations

from typing import Optional

import attrs


@attrs.frozen
class Workload:
    """
    A workload.

    :ivar name: for the command line, the JSON file and the workers.
    :ivar title: for people.
    :ivar callers: how many call at a time, one measurement after the other.
    :ivar is_for_all: whether all clients can be asked; else only this package.
    :ivar count: how many there are, of what is counted and not timed; that is measured once, in a process of its own.
    :ivar hold: for how many seconds these are held.
    :ivar is_usual: whether it is measured unless told otherwise.
    :ivar unit: what is counted.
    :ivar crowd: what its callers are.
    """

    name: str
    title: str
    callers: tuple[int, ...]
    is_for_all: bool = True
    count: Optional[int] = None
    hold: float = 0.0
    is_usual: bool = True
    unit: str = "request"
    crowd: str = "callers"

    @property
    def is_timed(self) -> bool:
        """Whether it ends when time is up."""
        return self.count is None


WORKLOADS = (
    Workload("put", "Put of 9 bytes", (1, 16, 64, 256)),
    Workload("get", "Get of 9 bytes", (1, 16, 64, 256)),
    Workload("mixed", "80 % get, 15 % put, 5 % transactions of 4 puts; 100 bytes, 1,000 keys", (64,)),
    Workload("range", "Range of 50,000 keys of 100 bytes", (1,)),
    Workload("events", "Watch events of 100 bytes", (1, 16), unit="event", crowd="watches"),
    Workload("layer", "Put, above the transport only", (1,), is_for_all=False),
    # the last one that is timed: it leaves millions of revisions behind
    Workload("transaction", "Transaction of 64 puts of 100 bytes", (16,)),
    Workload("watches", "Idle watches", (1,), is_for_all=False, count=10_000, hold=10.0),
    Workload("leases", "Leases of 15 s, kept alive", (1,), is_for_all=False, count=1_000, hold=60.0),
    Workload("endurance", "Many puts", (64,), is_for_all=False, count=1_000_000, is_usual=False),
)

#: What is measured unless told otherwise.
USUAL = tuple(workload.name for workload in WORKLOADS if workload.is_usual)
