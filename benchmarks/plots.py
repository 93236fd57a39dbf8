"""
The plots. The same figures give the same files.

Colours are those of Okabe and Ito, which colour-blind people can tell apart too; one for each library, dashed on PyPy,
grey for programs that only show what is possible. Labels stand beside what they name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Sequence

import matplotlib

from .clients import CLIENTS, Client
from .results import Measured, Results
from .workloads import WORKLOADS

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  # the way to draw is chosen before
from matplotlib.ticker import FuncFormatter  # noqa: E402

SETTINGS = {
    "svg.hashsalt": "txetcd",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
}

COLOURS = {"aetcd": "#009e73", "etcetra": "#cc79a7", "txaioetcd": "#e69f00", "etcd3gw": "#56b4e9"}
NATIVE, GATEWAY, GREY = "#d55e00", "#0072b2", "#888888"

#: The number of callers of the plots that show one.
CROWD = 64

#: The workloads whose requests or answers are large.
LARGE = ("transaction", "range")

#: How many watches the plot of events shows.
WATCHES = 16

#: How many labels there is room for beside the plot of puts.
LABELS = 20


def draw(results: Results, directory: Path) -> None:
    """All plots of what was measured."""
    with matplotlib.rc_context(SETTINGS):
        if _of_crowd(results, "put"):
            _save(_throughput(results), directory / "benchmarks-puts.svg")
            _save(_cpu(results), directory / "benchmarks-cpu.svg")
            _save(_latency(results), directory / "benchmarks-latency.svg")
        if any(results.of(name) for name in LARGE):
            _save(_large(results), directory / "benchmarks-large.svg")
        if _of_crowd(results, "events", WATCHES):
            _save(_events(results), directory / "benchmarks-events.svg")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def _colour(client: Client) -> str:
    if client.is_ours:
        return NATIVE if client.scheme == "grpc" else GATEWAY
    return COLOURS.get(client.name, GREY)


def _line_style(client: Client) -> str:
    if client.worker is None:
        return ":"
    return "--" if client.environment == "pypy" else "-"


def _of_crowd(results: Results, workload: str, callers: int = CROWD) -> list[tuple[Client, Measured]]:
    """What was measured with so many callers, in the order of the table."""
    found = [(client, results.find(workload, callers, client.name)) for client in CLIENTS]
    return [(client, measured) for client, measured in found if measured.rounds]


# --- by callers


def _throughput(results: Results) -> Any:
    figure, axes = pyplot.subplots(figsize=(8, 5))
    callers = next(workload.callers for workload in WORKLOADS if workload.name == "put")
    ends: list[tuple[float, Client]] = []
    for client in CLIENTS:
        points = [(at, results.find("put", count, client.name).rate) for at, count in enumerate(callers)]
        known = [(at, rate) for at, rate in points if rate is not None]
        if known:
            style = {"color": _colour(client), "linestyle": _line_style(client), "marker": "o", "markersize": 4}
            axes.plot(*zip(*known), linewidth=2.4 if client.is_ours else 1.6, **style)
            ends.append((known[-1][1], client))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_minor_formatter(FuncFormatter(_some))
    axes.set_xticks(range(len(callers)), map(str, callers))
    axes.set_xlabel("callers")
    axes.set_title("puts a second (logarithmic; more is better)")
    ends.sort(key=_height)
    bottom, top = axes.get_ylim()
    heights = spread([height for height, _ in ends], (top / bottom) ** (1 / LABELS))
    for (_, client), height in zip(ends, heights):
        axes.text(len(callers) - 0.93, height, client.label, color=_colour(client), va="center")
    return figure


def _height(end: tuple[float, Client]) -> float:
    return end[0]


def spread(heights: Sequence[float], distance: float) -> list[float]:
    """Rising heights, so far apart on a logarithmic axis (as a ratio) that labels there do not cover each other."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] * distance) if placed else height)
    return placed


# --- by client


def _cpu(results: Results) -> Any:
    workloads = [workload for workload in ("put", "get") if _of_crowd(results, workload)]
    figure, panels = pyplot.subplots(1, len(workloads), figsize=(4.8 * len(workloads), 3.6), squeeze=False)
    for axes, workload in zip(panels[0], workloads):
        rows = [(client, measured.cpu) for client, measured in _of_crowd(results, workload)]
        _bars(axes, [row for row in rows if row[0].worker is not None])
        axes.set_title(f"own CPU of a {workload}, µs, {CROWD} callers\n(less is better)")
    figure.tight_layout()
    return figure


def _latency(results: Results) -> Any:
    figure, axes = pyplot.subplots(figsize=(8, 3.8))
    rows = _of_crowd(results, "put")
    for at, (client, measured) in enumerate(rows):
        median, slow = (1e-3 * (measured.latency(name) or 0) for name in ("p50", "p99"))
        style = {"color": _colour(client), "linestyle": _line_style(client)}
        axes.plot([median, slow], [at, at], linewidth=2, **style)
        axes.plot([median], [at], "o", color=_colour(client))
        axes.plot([slow], [at], "|", color=_colour(client), markersize=12)
        axes.annotate(f"{median:.1f}–{slow:.1f}", (slow, at), (8, 0), textcoords="offset points", va="center")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_minor_formatter(FuncFormatter(_some))
    _name_rows(axes, [client for client, _ in rows])
    axes.set_title(f"latency of a put, ms, {CROWD} callers: median to 99th percentile (logarithmic; less is better)")
    return figure


def _large(results: Results) -> Any:
    workloads = [workload for workload in WORKLOADS if workload.name in LARGE and results.of(workload.name)]
    figure, panels = pyplot.subplots(1, len(workloads), figsize=(4.8 * len(workloads), 3.6), squeeze=False)
    for axes, workload in zip(panels[0], workloads):
        clients = {client.name: client for client in CLIENTS}
        _bars(axes, [(clients[one.client], one.rate) for one in results.of(workload.name)])
        axes.set_title(f"{workload.title}\n(a second; more is better)")
    figure.tight_layout()
    return figure


def _events(results: Results) -> Any:
    figure, panels = pyplot.subplots(1, 2, figsize=(9.6, 3.6))
    found = _of_crowd(results, "events", WATCHES)
    _bars(panels[0], [(client, measured.rate) for client, measured in found])
    panels[0].set_title(f"watch events a second, {WATCHES} watches\n(more is better)")
    _bars(panels[1], [(client, measured.cpu) for client, measured in found])
    panels[1].set_title(f"own CPU of an event, µs, {WATCHES} watches\n(less is better)")
    figure.tight_layout()
    return figure


def _bars(axes: Any, rows: Sequence[tuple[Client, Optional[float]]]) -> None:
    """One bar for each client, with its figure; what cannot do it says so."""
    for at, (client, value) in enumerate(rows):
        style = {"color": _colour(client), "alpha": 0.65 if client.environment == "pypy" else 1.0}
        axes.barh(at, value or 0, height=0.7, **style)
        text = "cannot" if value is None else _plain(value)
        axes.annotate(text, (value or 0, at), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.margins(x=0.16)
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    _name_rows(axes, [client for client, _ in rows])


def _name_rows(axes: Any, clients: Sequence[Client]) -> None:
    axes.set_yticks(range(len(clients)), [client.label for client in clients])
    axes.set_ylim(len(clients) - 0.5, -0.5)


def _plain(value: float, _: Optional[int] = None) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _some(value: float, _: Optional[int] = None) -> str:
    """Between the powers of ten only a few."""
    return _plain(value) if f"{value:.0e}"[0] in "25" else ""
