"""
Asks all clients in turn, so that whatever else the machine does meets all of them.

For each workload and each number of callers: every client once to warm up, which does not count; then round after
round, in each of them every client once. Only one measures at a time.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence

import attrs

from .clients import Client
from .environments import Unavailable
from .results import Measured, Results
from .runners import Runner, Worker
from .tools import EtcdBenchmark, Wrk
from .workloads import Workload

PROGRAMS: dict[str, Callable[[Client, str], Runner]] = {"wrk": Wrk, "etcd-benchmark": EtcdBenchmark}


@attrs.frozen
class Plan:
    """
    How much to measure.

    :ivar seconds: of each round.
    :ivar count: how many, of what is counted; ``None`` for what the workloads say.
    :ivar hold: for how many seconds these are held; ``None`` for what the workloads say.
    """

    workloads: Sequence[Workload]
    rounds: int
    seconds: float
    count: Optional[int] = None
    hold: Optional[float] = None


def start(clients: Iterable[Client], host_and_port: str, results: Results) -> list[Runner]:
    """Starts what can be measured here; what cannot is told, and noted."""
    runners: list[Runner] = []
    for client in clients:
        make = Worker if client.worker is not None else PROGRAMS[client.name]
        try:
            runner = make(client, host_and_port)
        except Unavailable as reason:
            print(f"left out: {client.label}: {reason}", flush=True)
            results.left_out[client.name] = str(reason)
            continue
        runners.append(runner)
        results.versions[client.name] = runner.hello["versions"]
        if "rss" in runner.hello:
            results.start_rss[client.name] = runner.hello["rss"]
    return runners


def steps(runners: Sequence[Runner], plan: Plan) -> Iterator[Callable[[], list[Measured]]]:
    """What to do, one step for each number of callers; each takes its time, and tells what it has measured."""
    for workload in plan.workloads:
        able = [
            runner
            for runner in runners
            if (runner.can(workload.name) if workload.is_for_all else runner.client.is_ours)
        ]
        for callers in workload.callers:
            yield partial(_compare, able, workload, callers, plan)


def _rounds(workload: Workload, plan: Plan) -> list[bool]:
    """Of each round, whether it counts. What is counted is measured once, and is warm enough in itself."""
    return [False, *plan.rounds * [True]] if workload.is_timed else [True]


def _request(client: Client, workload: Workload, callers: int, plan: Plan, is_warm: bool) -> dict[str, Any]:
    request: dict[str, Any] = {"workload": workload.name, "callers": callers}
    if workload.is_timed:
        return {**request, "seconds": plan.seconds * (1 if is_warm else client.warm_up)}
    count = workload.count if plan.count is None else plan.count
    return {**request, "count": count, "hold": workload.hold if plan.hold is None else plan.hold}


def _compare(runners: Sequence[Runner], workload: Workload, callers: int, plan: Plan) -> list[Measured]:
    print(f"{workload.name}, {workload.crowd}: {callers}", flush=True)
    rounds: dict[str, list[dict[str, Any]]] = {runner.client.name: [] for runner in runners}
    errors: dict[str, str] = {}
    for is_warm in _rounds(workload, plan):
        for runner in runners:
            name = runner.client.name
            if name in errors:
                continue
            if not workload.is_timed:
                runner.restart()
            answer = runner.ask(_request(runner.client, workload, callers, plan, is_warm))
            if "error" in answer:
                errors[name] = answer["error"]
            elif is_warm:
                rounds[name].append(answer)
    return [
        Measured(workload.name, callers, name, [] if name in errors else found, errors.get(name))
        for name, found in rounds.items()
    ]
