"""
The tables, as reStructuredText that is also good to read as it is.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, Optional, Sequence

from .clients import CLIENTS
from .ratios import Ratio, ratios
from .results import PERCENTILES, Measured, Results, Round
from .workloads import WORKLOADS, Workload

Cell = Callable[[Measured], Optional[float]]

#: The number of callers whose latencies and memory are shown.
CROWD = 64

LABELS = {client.name: client.label for client in CLIENTS}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A simple table; the first column stands left, the others right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    rule = "  ".join("=" * width for width in widths)
    return "\n".join([rule, _line(head, widths), rule, *(_line(row, widths) for row in rows), rule])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
    return "  ".join(cells).rstrip()


def number(value: Optional[float]) -> str:
    """In three digits at least; a dash if there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def report(results: Results, facts: dict[str, Any]) -> str:
    """All tables, with titles."""
    parts = list(_parts(results, facts))
    return "\n\n".join(f"{title}\n{'-' * len(title)}\n\n{body}" for title, body in parts if body) + "\n"


def _parts(results: Results, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Where", "\n".join(f":{name}: {value}" for name, value in facts.items())
    for workload in WORKLOADS:
        measured = results.of(workload.name)
        if measured and workload.is_timed:
            title, unit = workload.title, workload.unit
            yield f"{title}: {unit}s a second, by {workload.crowd}", _by_callers(workload, measured, lambda m: m.rate)
            yield f"{title}: own CPU, us per {unit}", _by_callers(workload, measured, lambda m: m.cpu)
    for name in ("put", "get", "mixed"):
        yield f"Latency of {name}, us, {CROWD} callers", _latencies(results.of(name))
    yield "Memory, MiB", _memory(results)
    yield "Idle watches", _watches(results.of("watches"))
    yield "Leases, kept alive", _leases(results.of("leases"))
    yield "Endurance", _endurance(results.of("endurance"))
    yield "Versions", _versions(results)
    yield "Wanted", wanted(ratios(results))
    yield "Cannot", "\n".join(_cannot(results))


def _by_callers(workload: Workload, measured: Sequence[Measured], cell: Cell) -> str:
    found = {(one.client, one.callers): one for one in measured}
    clients = dict.fromkeys(one.client for one in measured)
    rows = [
        [LABELS[client], *(_cell(found.get((client, callers)), cell) for callers in workload.callers)]
        for client in clients
    ]
    return table(["client", *map(str, workload.callers)], rows)


def _cell(measured: Optional[Measured], cell: Cell) -> str:
    if measured is None:
        return "-"
    return "cannot" if measured.error else number(cell(measured))


def _latencies(measured: Sequence[Measured]) -> str:
    rows = [
        [LABELS[one.client], *(number(one.latency(name)) for name in PERCENTILES)]
        for one in measured
        if one.callers == CROWD and one.rounds
    ]
    return table(["client", *PERCENTILES], rows) if rows else ""


def _memory(results: Results) -> str:
    """Of each process: before the first request, after many puts, and after the range, which is the largest answer."""
    rows = [
        [LABELS[client], *(number(kib / 1024 if kib else None) for kib in kibs)]
        for client, start in results.start_rss.items()
        for kibs in [(start, results.find("put", CROWD, client).rss, results.find("range", 1, client).rss)]
    ]
    return table(["client", "start", f"put, {CROWD} callers", "range"], rows) if rows else ""


def _versions(results: Results) -> str:
    """Of each client, and of what it is made of."""
    lines = {
        LABELS[client]: ", ".join(f"{name} {version}" for name, version in versions.items())
        for client, versions in results.versions.items()
    }
    return "\n".join(f"* {label}: {made_of}" for label, made_of in lines.items())


def _watches(measured: Sequence[Measured]) -> str:
    """What it takes to set them up, and to have them."""
    head = ["client", "watches", "live", "seconds to set up", "connections", "MiB more", "KiB each", "CPU, ms a second"]
    rows = [
        [*_held(one, found), *map(number, (found["growth"] / 1024, found["growth"] / found["operations"], busy))]
        for one in measured
        for found in one.rounds
        for busy in [1e3 * found["held_cpu"] / found["held"]]
    ]
    return table(head, rows) if rows else ""


def _leases(measured: Sequence[Measured]) -> str:
    """What it takes to grant them, and to keep them."""
    head = ["client", "leases", "alive", "seconds to grant", "connections", "MiB more", "CPU, s a minute"]
    rows = [
        [*_held(one, found), *map(number, (found["growth"] / 1024, 60 * found["held_cpu"] / found["held"]))]
        for one in measured
        for found in one.rounds
    ]
    return table(head, rows) if rows else ""


def _held(one: Measured, found: Round) -> list[str]:
    """How many there were, how many were left in the end, and what they had in common."""
    counts = [f"{found['operations']:,}", f"{found['left']:,}", number(found["elapsed"]), str(found["sockets"])]
    return [LABELS[one.client], *counts]


def _endurance(measured: Sequence[Measured]) -> str:
    """The memory after each tenth, and the largest number of connections."""
    rows = [
        [LABELS[one.client], f"{found['operations']:,}", *(number(kib / 1024) for kib in found["memory"]), connections]
        for one in measured
        for found in one.rounds
        for connections in [str(found["sockets"])]
    ]
    tenths = [f"{10 * part} %" for part in range(11)]
    return table(["client, MiB", "calls", *tenths, "connections"], rows) if rows else ""


def wanted(lines: Sequence[Ratio]) -> str:
    """What is wanted of one run, and what it has shown."""
    rows = [
        [
            line.what,
            number(line.have),
            f"{'<=' if line.is_cost else '>='} {number(line.least)}",
            number(line.aim),
            line.verdict,
        ]
        for line in lines
    ]
    return table(["ours / theirs", "have", "wanted", "aim", "reached"], rows)


def _cannot(results: Results) -> Iterator[str]:
    for client, reason in results.left_out.items():
        yield f"* {LABELS[client]} was left out: {reason}"
    for one in results.measured:
        if one.error:
            yield f"* {LABELS[one.client]} cannot: {one.workload} (callers: {one.callers}): {one.error}"
