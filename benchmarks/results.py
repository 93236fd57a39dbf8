"""
What was measured, and the medians of it. The rounds stay as the workers told them.
"""

from __future__ import annotations

import statistics
from typing import Any, Callable, Optional

import attrs

PERCENTILES = ("p50", "p90", "p99", "max")

Round = dict[str, Any]


@attrs.frozen
class Measured:
    """
    One client, one workload, one number of callers: all rounds, or why there are none.
    """

    workload: str
    callers: int
    client: str
    rounds: list[Round] = attrs.field(factory=list)
    error: Optional[str] = None

    @property
    def rate(self) -> Optional[float]:
        """Requests a second."""
        return self._median(lambda found: found["operations"] / found["elapsed"])

    @property
    def cpu(self) -> Optional[float]:
        """Microseconds of own CPU a request."""
        return self._median(lambda found: 1e6 * found["cpu"] / found["operations"])

    @property
    def rss(self) -> Optional[float]:
        """KiB of memory afterwards."""
        return self._median(lambda found: found.get("rss"))

    def latency(self, percentile: str) -> Optional[float]:
        """Microseconds, of :data:`PERCENTILES`."""
        return self._median(lambda found: found["latencies"].get(percentile))

    def _median(self, figure: Callable[[Round], Optional[float]]) -> Optional[float]:
        """Of a figure that each round has, or none of them."""
        values = [figure(found) for found in self.rounds]
        known = [value for value in values if value is not None]
        return statistics.median(known) if known and len(known) == len(values) else None

    def as_json(self) -> dict[str, Any]:
        """With the medians."""
        medians = {"rate": self.rate, "cpu": self.cpu, "rss": self.rss}
        latencies = {name: self.latency(name) for name in PERCENTILES}
        return {**attrs.asdict(self), "medians": {**medians, "latencies": latencies}}


@attrs.define
class Results:
    """
    All of it.

    :ivar left_out: why a client was not measured at all, by its name.
    :ivar versions: what each client is made of, by its name.
    :ivar start_rss: KiB of memory before the first request, by the name of the client.
    """

    measured: list[Measured] = attrs.field(factory=list)
    left_out: dict[str, str] = attrs.field(factory=dict)
    versions: dict[str, dict[str, str]] = attrs.field(factory=dict)
    start_rss: dict[str, int] = attrs.field(factory=dict)

    def of(self, workload: str) -> list[Measured]:
        """All that was measured of a workload."""
        return [measured for measured in self.measured if measured.workload == workload]

    def find(self, workload: str, callers: int, client: str) -> Measured:
        """What was measured; empty if it was not."""
        for measured in self.of(workload):
            if (measured.callers, measured.client) == (callers, client):
                return measured
        return Measured(workload, callers, client)
