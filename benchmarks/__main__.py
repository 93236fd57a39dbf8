"""
Compares this package with its peers, and both transports and interpreters with each other, against one etcd.

Writes tables, which are printed as well, a JSON file with everything that was measured, and plots. The figures of one
run can be compared with each other, not with those of another. See docs/benchmarks.rst.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Optional, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from txetcd import Client, Compacted, OpSet, Transaction
from txetcd.testing import EtcdProcess

from . import conductor, machine, plots
from .clients import CLIENTS
from .environments import ROOT
from .ratios import ratios
from .report import report
from .results import Results
from .workers.loads import KEY, stored
from .workloads import USUAL, WORKLOADS

#: Room for what millions of puts leave behind until it is compacted.
QUOTA = "--quota-backend-bytes=8589934592"

#: Until all that is forgotten: etcd deletes some ten thousand revisions a second.
COMPACT_SECONDS = 1800.0

#: etcd takes 128 operations in a transaction, unless told otherwise.
LOAD_SIZE = 100


async def load(client: Client) -> None:
    """Stores what is read later."""
    items = list(stored().items())
    for begin in range(0, len(items), LOAD_SIZE):
        await client.submit(Transaction([], [OpSet(key, value) for key, value in items[begin : begin + LOAD_SIZE]], []))


async def compact(client: Client) -> None:
    """Lets the server forget all old revisions, and waits until it has: after transactions they are millions."""
    with contextlib.suppress(Compacted):  # nothing was written since the last time
        await client.compact((await client.get(KEY)).header.revision, physical=True, timeout=COMPACT_SECONDS)


async def measure(reactor: Any, client: Client, url: str, options: argparse.Namespace, results: Results) -> None:
    """
    All that is asked for, into *results*. What waits for workers does so in a thread, so that the reactor does not
    stand still. When it ends, also by Ctrl-C, so do they.
    """
    plan = conductor.Plan(
        [workload for workload in WORKLOADS if workload.name in options.workloads],
        options.rounds,
        options.seconds,
        options.count,
        options.hold,
    )

    chosen = [one for one in CLIENTS if one.name in options.clients]
    runners = await deferToThread(conductor.start, chosen, url.partition("://")[2], results)

    def stop() -> None:
        for runner in runners:
            runner.stop()

    reactor.addSystemEventTrigger("before", "shutdown", stop)
    for step in conductor.steps(runners, plan):
        await compact(client)
        results.measured += await deferToThread(step)
    stop()


def write(results: Results, facts: dict[str, Any], directory: Path) -> None:
    """The tables, the JSON file and the plots."""
    directory.mkdir(parents=True, exist_ok=True)
    tables = report(results, facts)
    print(f"\n{tables}")
    title = "What the benchmarks have shown"
    (directory / "benchmarks-results.rst").write_text(f"{title}\n{'=' * len(title)}\n\n{tables}", encoding="utf-8")
    everything = {
        "machine": facts,
        "versions": results.versions,
        "left_out": results.left_out,
        "start_rss": results.start_rss,
        "measured": [measured.as_json() for measured in results.measured],
        "ratios": [{**attrs.asdict(ratio), "verdict": ratio.verdict} for ratio in ratios(results)],
    }
    (directory / "benchmarks.json").write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    plots.draw(results, directory)


async def run(reactor: Any, options: argparse.Namespace) -> None:
    """The server, and everything that happens while it runs. What was measured until something failed is written."""
    memory: Optional[str] = "/dev/shm" if os.path.isdir("/dev/shm") else None
    results = Results()
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        etcd = EtcdProcess(reactor, data_dir=os.path.join(directory, "etcd"), arguments=[QUOTA])
        async with etcd, Client(reactor, etcd.url) as client:
            facts = machine.facts(etcd.version, directory, options.rounds, options.seconds)
            await load(client)
            try:
                await measure(reactor, client, etcd.url, options, results)
            finally:
                write(results, facts, options.output)


def names(known: Sequence[str]) -> Any:
    """Reads names with commas between them."""

    def read(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return chosen

    return read


def parse(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line."""
    clients, workloads = [client.name for client in CLIENTS], [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="that count, after one that does not (default: %(default)s)")
    add("--seconds", type=float, default=2.0, help="of each client in each round (default: %(default)s)")
    add("--workloads", type=names(workloads), default=",".join(USUAL), help="by default %(default)s; or endurance")
    add("--clients", type=names(clients), default=",".join(clients), help="by default all: %(default)s")
    add("--count", type=int, help="of watches, of leases, or of calls of endurance (default: what is in the table)")
    add("--hold", type=float, help="seconds for which watches and leases are held (default: what is in the table)")
    add("--output", type=Path, default=ROOT / "docs", help="where the files go (default: docs)")
    return parser.parse_args(arguments)


def main(reactor: Any) -> Deferred[None]:
    """What :func:`react` runs."""
    return Deferred.fromCoroutine(run(reactor, parse()))


if __name__ == "__main__":
    react(main)
