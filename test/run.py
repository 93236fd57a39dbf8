"""
Run the tests with trial, and close with one line of true numbers: ``N passed, N failed, N skipped``.

``python -m test.run unit``, ``real`` or ``all`` (the default), or the dotted names of test modules, classes, methods.
The real tests run in processes, each for a part of them and one server, and the others in one of their own, some side
by side (``--jobs N``): they wait for servers half of the time. ``--server PATH`` is what such a process is told.
``--floor N`` fails a run of fewer than N tests: a suite that was not found would pass otherwise. With ``CI=true`` a
skipped test fails the run, too; and so does, at all times, a child process (an etcd, mostly) that is left running.
``python -m twisted.trial test`` runs the same tests without these checks.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Iterator, Mapping

import attrs
from twisted.python.modules import getModule
from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner

#: The tests that need a real server: a module or a package.
REAL = "test.real"

#: How many processes test side by side: each waits for servers half of the time, and keeps a core busy otherwise. With
#: more of them on two cores no run is much shorter, but everything in it takes longer.
JOBS = 6

#: The variable that names the transports.
SCHEMES = "TXETCD_TEST_SCHEMES"

#: Into how many parts the real tests are divided; in fewer on PyPy, which has to become fast in each of them anew.
PARTS = 3 if platform.python_implementation() == "PyPy" else 5

#: The real tests that take minutes, the slowest first: each part has some of them, and begins with them.
SLOWEST = (
    "test_partition", "test_lease", "test_failover", "test_watch", "test_contention",
    "test_contention_once", "test_faults", "test_testing", "test_maintenance", "test_lock",
    "test_examples", "test_cluster", "test_cli", "test_errors", "test_fire",
    "test_queue", "test_cancel", "test_guide", "test_workqueue", "test_seed_v2",
)  # fmt: skip

#: How each line begins that says why a run is no success; they are the last ones, with nothing between them.
COMPLAINT = "FAILED: "


@attrs.frozen
class Counts:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    @property
    def total(self) -> int:
        return self.passed + self.failed + self.skipped


class Tally(TreeReporter):
    """
    Trial's reporter, which also knows how each single test ended. A test has one outcome here, and the worst counts:
    trial reports two for one that passed and then left something in the reactor, or that failed again in its cleanup.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._succeeded_ids: set[str] = set()

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        self._succeeded_ids.add(test.id())

    @property
    def failed_ids(self) -> set[str]:
        return {entry[0].id() for entry in [*self.failures, *self.errors, *self.unexpectedSuccesses]}

    @property
    def reasons(self) -> Iterator[str]:
        """A line for each test that failed: which, and how its error begins."""
        for test, failure in [*self.failures, *self.errors]:
            yield f"{test.id()}: {failure.type.__name__}: {' '.join(failure.getErrorMessage().split())[:300]}"
        yield from (f"{entry[0].id()}: passed, and is marked as todo" for entry in self.unexpectedSuccesses)

    @property
    def skipped_ids(self) -> set[str]:
        """Skipped, or marked as ``todo``: it shows nothing either way."""
        return {entry[0].id() for entry in [*self.skips, *self.expectedFailures]} - self.failed_ids

    @property
    def passed_ids(self) -> set[str]:
        return self._succeeded_ids - self.failed_ids - self.skipped_ids

    @property
    def counts(self) -> Counts:
        return Counts(len(self.passed_ids), len(self.failed_ids), len(self.skipped_ids))


def module_names(package: str) -> list[str]:
    """Every ``test_*`` module below *package*."""
    names = [module.name for module in getModule(package).walkModules()]
    return sorted(name for name in names if name.rpartition(".")[2].startswith("test_"))


def unit_names() -> list[str]:
    """Every ``test_*`` module below ``test``, except those of :data:`REAL`."""
    return [name for name in module_names("test") if not name.startswith(REAL)]


def parts_of(names: list[str]) -> list[list[str]]:
    """*names* of real tests in so many parts that take about as long, if they are many."""
    modules = [module for name in names for module in (module_names(REAL) if name == REAL else [name])]
    places = {f"{REAL}.{name}": place for place, name in enumerate(SLOWEST)}
    modules.sort(key=lambda module: places.get(module, len(places)))
    return [part for part in (modules[number::PARTS] for number in range(PARTS)) if part]


def expand(names: list[str]) -> list[str]:
    suites = {"unit": unit_names(), "real": [REAL], "all": [*unit_names(), REAL]}
    return [expanded for name in names for expanded in suites.get(name, [name])]


def banner(names: list[str]) -> str:
    parts = [f"{platform.python_implementation()} {platform.python_version()}"]
    parts += [f"{package} {version(package)}" for package in ("Twisted", "treq")]
    if any(name.startswith(REAL) for name in names):
        from test.servers import SERVERS  # asks every binary, and raises in CI when one is missing

        parts += [f"etcd {server.label}" for server in SERVERS]
    return ", ".join(parts)


def run(names: list[str], directory: str = "_trial_temp") -> Tally:
    suite = TestLoader().loadByNames(names, recurse=True)
    tally = TrialRunner(Tally, workingDirectory=directory).run(suite)
    assert isinstance(tally, Tally)
    return tally


def run_server(number: int, names: list[str]) -> tuple[Counts, list[str]]:
    """The tests against one server, in a process of its own: how they ended, and its complaints."""
    from test.servers import AT_LENGTH, ELSEWHERE, LONG, NEWEST, SERVERS, VERSIONS

    server = SERVERS[number]
    is_newest = server is NEWEST
    variables = {
        ELSEWHERE: "0" if is_newest else "1",
        VERSIONS: "all",
        LONG: "all" if server in AT_LENGTH else "newest",
        SCHEMES: schemes_for(number, is_newest),
    }
    # what the older servers add to the coverage is not worth the time that measuring takes
    return run_child(server.label, ["--server", server.path, *names], is_newest, variables)


def schemes_for(number: int, is_newest: bool) -> str:
    """Over which transports a server is tested: see ``test.real.base``."""
    named = os.environ.get(SCHEMES, "")
    if named != "in-turn":
        return named
    return "" if is_newest else ("http", "grpc")[number % 2]


def run_child(
    label: str, arguments: list[str], is_measured: bool = True, variables: Mapping[str, str] = MappingProxyType({})
) -> tuple[Counts, list[str]]:
    """Tests in a process of their own: how they ended, and its complaints."""
    measured = ["-m", "coverage", "run", "--parallel-mode"] if is_measured and "coverage" in sys.modules else []
    child = subprocess.Popen(
        [sys.executable, *measured, "-m", "test.run", *arguments],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert child.stdout is not None
    found, line = [], ""
    for line in child.stdout:
        print(f"[{label}] {line}", end="", flush=True)
        if line.startswith(COMPLAINT):
            found.append(f"[{label}] {line[len(COMPLAINT):].rstrip()}")
    closing = re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) skipped\n", line)
    counts = Counts(*map(int, closing.groups())) if closing else Counts(failed=1)
    if (child.wait() != 0 or closing is None) and not found:
        found.append(f"[{label}] the tests ended early, with {child.returncode}: {line.rstrip()}")
    return counts, found


def run_servers(names: list[str], others: list[str], jobs: int) -> tuple[Counts, list[str]]:
    """The tests against all servers, and the *others*: how they ended, and complaints."""
    from test.servers import SERVERS

    total, found = Counts(), []
    with ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(run_child, "no server", others)] if others else []
        # the newest first, for which there are the most
        runs += [
            pool.submit(run_server, number, part)
            for number in reversed(range(len(SERVERS)))
            for part in parts_of(names)
        ]
        for run in runs:
            counts, failures = run.result()
            total += counts
            found += failures
    return total, found


def children() -> Iterator[tuple[int, str]]:
    """The running child processes of this one, where the system has ``/proc``: the id, and the name."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text().rpartition(")")
        except OSError:  # it ended meanwhile
            continue
        state, parent = tail.split()[:2]
        if int(parent) == os.getpid() and state != "Z":
            yield int(stat.parent.name), head.partition("(")[2]


def stop_children() -> list[str]:
    left = sorted(children())
    for pid, _ in left:
        os.kill(pid, signal.SIGKILL)
    return [f"{name} ({pid})" for pid, name in left]


def complaints(tally: Tally, is_ci: bool) -> list[str]:
    """Why the run is no success, beyond what trial has printed."""
    found = []
    if is_ci and tally.skipped_ids:
        found.append(f"CI must not skip a test: {', '.join(sorted(tally.skipped_ids))}")
    left = stop_children()
    if left:
        found.append(f"the tests left processes running (now killed): {', '.join(left)}")
    found += tally.reasons
    if not tally.wasSuccessful() and not found:
        found.append("trial says that not all tests passed, and not which")
    return found


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m test.run", description="Run the tests of txetcd.")
    parser.add_argument("names", nargs="*", default=["all"], help="unit, real, all, or dotted names")
    parser.add_argument("--floor", type=int, default=1, metavar="N", help="fail when fewer than N tests ran")
    parser.add_argument("--jobs", type=int, default=JOBS, metavar="N", help="how many processes test side by side")
    parser.add_argument("--server", metavar="PATH", help="run the real tests in this process, against this server")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    is_ci = os.environ.get("CI") == "true"
    directory = "_trial_temp"
    if options.server is not None:
        # whoever started this has made sure that every server is there
        os.environ.pop("CI", None)
        os.environ["TXETCD_TEST_SERVERS"] = options.server
        from test.servers import SERVERS

        directory = f"_trial_temp_{SERVERS[0].label}_{options.names[0]}"
    names = expand(options.names)
    print(banner(names), flush=True)
    real = [] if options.server is not None else [name for name in names if name.startswith(REAL)]
    if real:
        counts, found = run_servers(real, [name for name in names if name not in real], options.jobs)
    else:
        tally = run(names, directory)
        found, counts = complaints(tally, is_ci), tally.counts
    if counts.total < options.floor:
        found.append(f"only {counts.total} tests ran, expected at least {options.floor}")
    for complaint in found:
        print(f"{COMPLAINT}{complaint}")
    print(counts, flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
