"""
How this package compares with the others: what is wanted, and what one run has shown. Nothing is asserted.
"""

from __future__ import annotations

from typing import Callable, Iterator, Optional, Sequence

import attrs

from .clients import GRPC_PEERS, PEERS
from .results import Measured, Results
from .workloads import WORKLOADS

#: How many watches read the events that are compared.
WATCHES = (1, 16)

UNITS = {workload.name: workload.unit for workload in WORKLOADS}

Figure = Callable[[Measured], Optional[float]]


@attrs.frozen
class Ratio:
    """
    A line: ours by theirs.

    :ivar have: ``None`` if one of them was not measured.
    :ivar least: what is wanted at least; of CPU time, at most.
    :ivar aim: what is aimed at, if it is more than that.
    """

    what: str
    have: Optional[float]
    least: float
    aim: Optional[float] = None
    is_cost: bool = False

    @property
    def verdict(self) -> str:
        """What a reader wants to know first."""
        if self.have is None:
            return "not measured"
        if self._reaches(self.have, self.least):
            return "aim" if self.aim is not None and self._reaches(self.have, self.aim) else "enough"
        return "short"

    def _reaches(self, have: float, wanted: float) -> bool:
        return have <= wanted if self.is_cost else have >= wanted


def rate(measured: Measured) -> Optional[float]:
    """Requests a second."""
    return measured.rate


def cpu(measured: Measured) -> Optional[float]:
    """CPU a request."""
    return measured.cpu


def ratios(results: Results) -> list[Ratio]:
    """All lines."""
    return [*_native(results), *_gateway(results)]


def _native(results: Results) -> Iterator[Ratio]:
    peers = "best gRPC peer"
    for workload in ("put", "get"):
        by = _Comparison(results, workload, "txetcd-native")
        yield by.ratio(1, rate, GRPC_PEERS, peers, 1.2, 1.8)
        for callers in (16, 64, 256):
            yield by.ratio(callers, rate, GRPC_PEERS, peers, 1.4, 2.0)
            yield by.ratio(callers, cpu, GRPC_PEERS, peers, 0.6, 0.4)
        yield _Comparison(results, workload, "txetcd-native-pypy").ratio(64, rate, GRPC_PEERS, peers, 2.0, 2.5)
    yield _Comparison(results, "range", "txetcd-native").ratio(1, rate, PEERS, "best peer", 1.0)
    events = _Comparison(results, "events", "txetcd-native")
    for watches in WATCHES:
        yield events.ratio(watches, rate, ["aetcd"], "aetcd", 1.0)
        yield events.ratio(watches, cpu, ["aetcd"], "aetcd", 0.7, 0.4)


def _gateway(results: Results) -> Iterator[Ratio]:
    for workload in ("put", "get"):
        by = _Comparison(results, workload, "txetcd-gateway")
        yield by.ratio(64, rate, ["txaioetcd"], "txaioetcd", 1.2, 2.0)
        yield by.ratio(64, rate, ["etcd3gw"], "etcd3gw", 3.0)
        pypy = _Comparison(results, workload, "txetcd-gateway-pypy")
        yield pypy.ratio(64, rate, ["txaioetcd"], "txaioetcd on CPython", 2.0)
    for watches in WATCHES:
        yield _Comparison(results, "events", "txetcd-gateway").ratio(watches, cpu, ["aetcd"], "aetcd", 0.9)


@attrs.frozen
class _Comparison:
    """Of one of ours, in one workload."""

    results: Results
    workload: str
    ours: str

    def ratio(
        self,
        callers: int,
        figure: Figure,
        theirs: Sequence[str],
        called: str,
        least: float,
        aim: Optional[float] = None,
    ) -> Ratio:
        """Ours by the best of theirs."""
        is_cost = figure is cpu
        known = [self._figure(callers, figure, name) for name in theirs]
        values = [value for value in known if value]
        own = self._figure(callers, figure, self.ours)
        best = (min if is_cost else max)(values) if values else None
        have = own / best if own is not None and best is not None else None
        of_what = f"CPU per {UNITS[self.workload]}" if is_cost else "throughput"
        who = f"{callers} caller{'s' if callers > 1 else ''}"
        return Ratio(f"{self.ours}, {self.workload}, {who}: {of_what} / {called}", have, least, aim, is_cost)

    def _figure(self, callers: int, figure: Figure, client: str) -> Optional[float]:
        return figure(self.results.find(self.workload, callers, client))
