"""
What the benchmarks make of figures. That anything is fast is not tested.
"""

from __future__ import annotations

import contextlib
import io
from itertools import islice
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import clients, environments, ratios, report, tools, workloads
from benchmarks.conductor import PROGRAMS, Plan, steps
from benchmarks.results import Measured, Results
from benchmarks.workers import events, loads, shared

NATIVE, AETCD, ETCETRA = "txetcd-native", "aetcd", "etcetra"

WRK = """\
Running 1s test @ http://127.0.0.1:2379/v3/kv/put
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.21ms    1.02ms  17.68ms   87.36%
    Req/Sec    14.62k     1.41k   16.90k    70.00%
  Latency Distribution
     50%  900.00us
     75%    1.41ms
     90%    2.35ms
     99%    5.04ms
  14551 requests in 1.00s, 4.44MB read
Requests/sec:  14502.10
Transfer/sec:      4.43MB
"""

ETCD_BENCHMARK = """\

Summary:
  Total:\t0.5000 secs.
  Slowest:\t0.0202 secs.
  Fastest:\t0.0002 secs.
  Average:\t0.0012 secs.
  Stddev:\t0.0010 secs.
  Requests/sec:\t4000.0000

Latency distribution:
  10% in 0.0005 secs.
  50% in 0.0010 secs.
  90% in 0.0020 secs.
  99% in 0.0050 secs.
  99.9% in 0.0190 secs.
"""


def one_round(rate: float, cpu: float = 10.0, **more: Any) -> dict[str, Any]:
    """What a worker tells, of one second: requests, and CPU microseconds for each."""
    latencies = {"p50": 1.0, "p90": 2.0, "p99": 3.0, "max": 4.0}
    return {"operations": rate, "elapsed": 1.0, "cpu": rate * cpu / 1e6, "latencies": latencies, "rss": 2048, **more}


def measured(client: str, rate: float, cpu: float = 10.0, callers: int = 64, workload: str = "put") -> Measured:
    """One round of it."""
    return Measured(workload, callers, client, [one_round(rate, cpu)])


class LineTests(SynchronousTestCase):
    """Between the conductor and a worker."""

    def test_message(self) -> None:
        """One is one line, whatever it holds."""
        message = {"workload": "put", "error": "two\nlines", "seconds": 0.5}
        line = shared.encode(message)
        self.assertEqual((line.count(b"\n"), line[-1:]), (1, b"\n"))
        self.assertEqual(shared.decode(line), message)

    def test_no_message(self) -> None:
        """What a library wrote."""
        for line in (b"Warning!\n", b"[1]\n", b"\n", b"12\n"):
            with self.assertRaises(ValueError):
                shared.decode(line)

    def test_failure(self) -> None:
        """In one line, and not a page."""
        self.assertEqual(shared.failure(ValueError("no\n  such thing")), {"error": "ValueError: no such thing"})
        long = shared.failure(ValueError("x" * 10_000))["error"]
        self.assertEqual(len(long), shared.ERROR_LENGTH + 3)

    def test_url(self) -> None:
        """What peers take instead."""
        self.assertEqual(shared.host_and_port("grpc://127.0.0.1:2379"), ("127.0.0.1", 2379))

    def test_hello(self) -> None:
        """What the worker is made of."""
        self.patch(shared, "resident", lambda: 2048)
        hello = shared.hello("twisted")
        self.assertEqual(len(hello["versions"]), 2)
        self.assertEqual(set(hello), {"versions", "rss"})


class FigureTests(SynchronousTestCase):
    """What a worker makes of its latencies."""

    def test_percentiles(self) -> None:
        """The nearest ranks, in microseconds, of latencies in any order."""
        latencies = [number / 1000 for number in range(100, 0, -1)]
        found = {name: round(value) for name, value in shared.percentiles(latencies).items()}
        self.assertEqual(found, {"p50": 50_000, "p90": 90_000, "p99": 99_000, "max": 100_000})

    def test_few(self) -> None:
        """Of one all are the same, and of none there are none."""
        self.assertEqual(set(shared.percentiles([0.5]).values()), {500_000.0})
        self.assertEqual(shared.percentiles([]), {})

    def test_stopwatch(self) -> None:
        """It is over at once if it shall be."""
        self.patch(shared, "resident", lambda: 2048)
        stopwatch = shared.Stopwatch(0)
        self.assertTrue(stopwatch.is_over)
        stopwatch.latencies.append(0.5)
        figures = stopwatch.figures(7)
        self.assertEqual((figures["operations"], figures["latencies"]["max"]), (7, 500_000.0))
        self.assertEqual(set(figures), {"operations", "elapsed", "cpu", "latencies", "rss"})


class FakeClient:
    """Notes what is asked."""

    text = staticmethod(bytes.decode)

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def put(self, key: str, value: str) -> None:
        self.asked.append(("put", len(value)))

    def get(self, key: str) -> None:
        self.asked.append(("get", 0))

    def range(self, start: str, end: str) -> None:
        self.asked.append(("range", 0))

    def put_all(self, pairs: list[tuple[str, str]]) -> None:
        self.asked.append(("put_all", len({key for key, _ in pairs})))


class LoadTests(SynchronousTestCase):
    """What is asked."""

    def asked(self, workload: str, count: int = 3) -> list[tuple[str, int]]:
        """The first calls."""
        client = FakeClient()
        for call in islice(loads.calls(client, workload), count):
            call()
        return client.asked

    def test_simple(self) -> None:
        """The same again and again."""
        self.assertEqual(self.asked("put"), [("put", 9)] * 3)
        self.assertEqual(self.asked("get"), [("get", 0)] * 3)
        self.assertEqual(self.asked("range"), [("range", 0)] * 3)
        self.assertEqual(self.asked("transaction"), [("put_all", 64)] * 3)

    def test_mixed(self) -> None:
        """In the same order at every run, in the shares that are told; no key twice in a transaction."""
        asked = self.asked("mixed", 2 * loads.MIXED_CALLS)
        self.assertEqual(asked, self.asked("mixed", 2 * loads.MIXED_CALLS))
        shares = {kind: asked.count(kind) / len(asked) for kind in set(asked)}
        self.assertEqual(shares, {("get", 0): 0.80, ("put", 100): 0.15, ("put_all", loads.MIXED_PUTS): 0.05})

    def test_unknown(self) -> None:
        """A name that is none."""
        with self.assertRaises(ValueError):
            loads.calls(FakeClient(), "rnage")

    def test_stored(self) -> None:
        """What is read is there."""
        stored = loads.stored()
        within = [key for key in stored if loads.RANGE_PREFIX <= key < loads.RANGE_END]
        self.assertEqual(len(within), loads.RANGE_KEYS)
        self.assertEqual(len(stored), loads.RANGE_KEYS + loads.MIXED_KEYS + 1)
        self.assertEqual({len(value) for value in stored.values()}, {9, 100})

    def test_range(self) -> None:
        """A part of it, or keys without their values, are an error."""
        whole = [item for item in loads.stored().items() if item[0].startswith(loads.RANGE_PREFIX)]
        loads.check_range(whole)
        for part in (whole[1:], [(key, b"") for key, _ in whole]):
            with self.assertRaises(ValueError):
                loads.check_range(part)


class FakePipe:
    """Notes what the writer of events is permitted."""

    def __init__(self) -> None:
        self.permitted = 0
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.permitted += len(data)

    def close(self) -> None:
        self.is_closed = True


class EventTests(SynchronousTestCase):
    """How a writer is kept as fast as the watches."""

    def flow(self, watches: int, seconds: float) -> tuple[FakePipe, list[events.Reader]]:
        """All of which have started."""
        self.patch(shared, "resident", lambda: 2048)
        pipe = FakePipe()
        self.measured = events.Flow(pipe, watches, seconds)
        readers = [events.Reader(self.measured) for _ in range(watches)]
        for reader in readers:
            self.assertEqual(pipe.permitted, 0)
            reader.started()
        return pipe, readers

    def read(self, reader: events.Reader, transactions: int = 1) -> None:
        """What the writer writes."""
        for key, value in transactions * loads.event_puts():
            self.assertFalse(reader.seen(key, value))

    def test_pace(self) -> None:
        """The slowest watch sets it; how far the others are does not matter."""
        pipe, (first, second) = self.flow(2, 1e6)
        begun = events.IN_FLIGHT // 2
        self.assertEqual(pipe.permitted, begun)
        self.read(first)
        self.assertEqual(pipe.permitted, begun)
        self.read(second)
        self.assertEqual((pipe.permitted, pipe.is_closed), (begun + 1, False))

    def test_over(self) -> None:
        """When time is up, what is on its way is still read, and counted for each watch."""
        pipe, readers = self.flow(2, 0)
        for reader in readers:
            self.assertFalse(pipe.is_closed)
            self.read(reader, pipe.permitted)
        self.assertTrue(pipe.is_closed)
        self.assertEqual(pipe.permitted, events.IN_FLIGHT // 2)
        self.assertEqual(self.measured.figures["operations"], events.IN_FLIGHT * loads.TRANSACTION_PUTS)

    def test_many(self) -> None:
        """Each of them has something to read, however many there are."""
        self.assertEqual(self.flow(2 * events.IN_FLIGHT, 1e6)[0].permitted, 1)

    def test_end(self) -> None:
        """The last event, as bytes or as a text. It is none of those that are measured."""
        _, (reader,) = self.flow(1, 1e6)
        self.assertTrue(reader.seen(loads.EVENTS_END, b""))
        self.assertTrue(reader.seen(loads.EVENTS_END.decode(), ""))
        self.assertNotIn(loads.EVENTS_END, dict(loads.event_puts()))

    def test_strange(self) -> None:
        """A key without its value is an error."""
        _, (reader,) = self.flow(1, 1e6)
        with self.assertRaises(ValueError):
            reader.seen(loads.event_puts()[0][0], b"")


class ToolTests(SynchronousTestCase):
    """What programs write."""

    def test_wrk(self) -> None:
        """Its units are those of the others."""
        found = tools.Wrk.figures(None, WRK)  # type: ignore[arg-type]
        self.assertEqual(found["operations"], 14551)
        self.assertAlmostEqual(found["operations"] / found["elapsed"], 14502.10)
        self.assertEqual(found["latencies"], {"p50": 900.0, "p90": 2350.0, "p99": 5040.0, "max": 17680.0})

    def test_etcd_benchmark(self) -> None:
        """As well."""
        found = tools.EtcdBenchmark.figures(None, ETCD_BENCHMARK)  # type: ignore[arg-type]
        self.assertEqual((found["operations"], found["elapsed"]), (2000, 0.5))
        expected = {"p50": 1000.0, "p90": 2000.0, "p99": 5000.0, "max": 20200.0}
        self.assertEqual({name: round(value) for name, value in found["latencies"].items()}, expected)

    def test_trouble(self) -> None:
        """The last line is the reason."""
        for text in ("usage\nunable to connect\n", "", WRK + "  Non-2xx or 3xx responses: 7\n"):
            with self.assertRaises(ValueError):
                tools.Wrk.figures(None, text)  # type: ignore[arg-type]
        with self.assertRaisesRegex(ValueError, "dial error"):
            tools.EtcdBenchmark.figures(None, "hm\ndial error\n")  # type: ignore[arg-type]


class ResultTests(SynchronousTestCase):
    """What is made of rounds."""

    def test_medians(self) -> None:
        """Each figure has its own."""
        rounds = [one_round(100, 30), one_round(300, 10), one_round(200, 20, rss=4096)]
        found = Measured("put", 64, NATIVE, rounds)
        self.assertEqual((found.rate, found.rss, found.latency("p99")), (200, 2048, 3.0))
        self.assertAlmostEqual(found.cpu or 0, 20.0)

    def test_missing(self) -> None:
        """What some rounds do not have, or what was not measured."""
        found = Measured("put", 64, "wrk", [one_round(1), one_round(2, latencies={}, rss=None)])
        self.assertEqual((found.rate, found.rss, found.latency("p50")), (1.5, None, None))
        empty = Results().find("put", 64, NATIVE)
        self.assertEqual((empty.rate, empty.cpu, empty.rss, empty.error), (None, None, None, None))

    def test_json(self) -> None:
        """The rounds, and the medians."""
        told = measured(NATIVE, 100).as_json()
        self.assertEqual((told["medians"]["rate"], len(told["rounds"])), (100, 1))
        self.assertEqual(told["medians"]["latencies"]["max"], 4.0)


class RatioTests(SynchronousTestCase):
    """How we compare."""

    def lines(self, *found: Measured) -> dict[str, ratios.Ratio]:
        """All of them, by what they tell."""
        return {line.what: line for line in ratios.ratios(Results(list(found)))}

    def test_best_peer(self) -> None:
        """The one with the most requests, and the one with the least CPU."""
        lines = self.lines(measured(NATIVE, 300, 10), measured(AETCD, 100, 20), measured(ETCETRA, 200, 50))
        throughput = lines["txetcd-native, put, 64 callers: throughput / best gRPC peer"]
        cpu = lines["txetcd-native, put, 64 callers: CPU per request / best gRPC peer"]
        self.assertEqual((throughput.have, throughput.verdict), (1.5, "enough"))
        self.assertAlmostEqual(cpu.have or 0, 0.5)
        self.assertEqual(cpu.verdict, "enough")

    def test_verdicts(self) -> None:
        """Of costs less is better."""
        for have, verdict in ((2.0, "aim"), (1.4, "enough"), (1.3, "short"), (None, "not measured")):
            self.assertEqual(ratios.Ratio("", have, 1.4, 2.0).verdict, verdict)
        for have, verdict in ((0.4, "aim"), (0.6, "enough"), (0.7, "short")):
            self.assertEqual(ratios.Ratio("", have, 0.6, 0.4, is_cost=True).verdict, verdict)
        self.assertEqual(ratios.Ratio("", 9.0, 1.0).verdict, "enough")

    def test_events(self) -> None:
        """What is counted has its name, and one peer is the measure."""
        ours, theirs = (measured(name, 100, cpu, 16, "events") for name, cpu in ((NATIVE, 3), (AETCD, 6)))
        line = self.lines(ours, theirs, measured(ETCETRA, 1, 1, 16, "events"))
        self.assertAlmostEqual(line["txetcd-native, events, 16 callers: CPU per event / aetcd"].have or 0, 0.5)

    def test_only_some(self) -> None:
        """A peer that cannot does not count; with none there is nothing to compare."""
        cannot = Measured("range", 1, AETCD, [], "too large")
        ours = measured(NATIVE, 4, callers=1, workload="range")
        theirs = measured("txaioetcd", 2, callers=1, workload="range")
        what = "txetcd-native, range, 1 caller: throughput / best peer"
        self.assertEqual(self.lines(ours, cannot, theirs)[what].have, 2.0)
        self.assertIsNone(self.lines(ours, cannot)[what].have)
        self.assertEqual({line.verdict for line in self.lines().values()}, {"not measured"})


class ReportTests(SynchronousTestCase):
    """What is printed."""

    def test_table(self) -> None:
        """Text stands left, numbers right."""
        expected = "===  ====\n        1\n===  ====\na    1.00\nbcd    20\n===  ===="
        self.assertEqual(report.table(["", "1"], [["a", "1.00"], ["bcd", "20"]]), expected)

    def test_numbers(self) -> None:
        """As many digits as mean something."""
        numbers = [report.number(value) for value in (None, 0.514, 12.34, 123.4, 48_900.0)]
        self.assertEqual(numbers, ["-", "0.51", "12.3", "123", "48,900"])

    def test_report(self) -> None:
        """What there is, what cannot be had and why, and nothing of what was not asked for."""
        results = Results(
            [measured(AETCD, 100), Measured("range", 1, AETCD, [], "larger than max")],
            {"wrk": "there is no wrk"},
            {AETCD: {"aetcd": "1.0.0"}},
            {AETCD: 1024},
        )
        text = report.report(results, {"kernel": "Linux 6"})
        for expected in (
            ":kernel: Linux 6",
            "aetcd   -   -  100    -",
            "aetcd   cannot",
            "* wrk (C, gateway) was left out: there is no wrk",
            "* aetcd cannot: range (callers: 1): larger than max",
            "* aetcd: aetcd 1.0.0",
            "aetcd    1.00             2.00      -",
            "txetcd-native, put, 64 callers: throughput / best gRPC peer",
        ):
            self.assertIn(expected, text)
        for title in ("Get of", "Endurance", "Latency of get"):
            self.assertNotIn(title, text)

    def test_endurance(self) -> None:
        """The memory at each tenth, and the connections."""
        found = {**one_round(1000), "memory": [1024 * (20 + tenth) for tenth in range(11)], "sockets": 1}
        text = report.report(Results([Measured("endurance", 64, NATIVE, [found])]), {})
        self.assertIn("txetcd native  1,000  20.0  21.0  22.0", text)
        self.assertNotIn("Many puts", text)

    def test_held(self) -> None:
        """How many there were and are, what they took, and what they take."""
        more = {"growth": 2048, "sockets": 1, "held": 30.0, "held_cpu": 0.6}
        watches = Measured("watches", 1, NATIVE, [one_round(1024, left=1023, **more)])
        leases = Measured("leases", 1, NATIVE, [one_round(1000, left=999, **more)])
        text = report.report(Results([watches, leases]), {})
        for expected in ((1024, 1023, 1.0, 1, 2.0, 2.0, 20.0), (1000, 999, 1.0, 1, 2.0, 1.2)):
            cells = " +".join(f"{cell:,}" if isinstance(cell, int) else report.number(cell) for cell in expected)
            self.assertRegex(text, rf"txetcd native +{cells}\n")


class FakeRunner:
    """Answers at once, and notes its turn in what all share."""

    def __init__(self, name: str, turns: list[str], error: str = "") -> None:
        self.client = next(client for client in clients.CLIENTS if client.name == name)
        self.hello: dict[str, Any] = {"versions": {}}
        self._turns = turns
        self._error = error
        self.requests: list[dict[str, Any]] = []
        self.restarts = 0

    def can(self, workload: str) -> bool:
        return workload != "range"

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._turns.append(self.client.name)
        self.requests.append(request)
        return {"error": self._error} if self._error else one_round(len(self._turns))

    def restart(self) -> None:
        self.restarts += 1

    def stop(self) -> None:
        """It does not run."""


class ConductorTests(SynchronousTestCase):
    """Whose turn it is."""

    def measure(self, workload: str, *runners: FakeRunner, **more: Any) -> Results:
        """Two rounds."""
        chosen = [one for one in workloads.WORKLOADS if one.name == workload]
        with contextlib.redirect_stdout(io.StringIO()):
            return Results([found for step in steps(runners, Plan(chosen, 2, 0.1, **more)) for found in step()])

    def test_in_turn(self) -> None:
        """After a round to warm up, which does not count, the clients take turns."""
        turns: list[str] = []
        results = self.measure("mixed", FakeRunner(NATIVE, turns), FakeRunner(AETCD, turns))
        self.assertEqual(turns, [NATIVE, AETCD] * 3)
        rounds = [[found["operations"] for found in one.rounds] for one in results.measured]
        self.assertEqual(rounds, [[3, 5], [4, 6]])

    def test_requests(self) -> None:
        """What each is asked, first to warm up."""
        cpython, pypy = FakeRunner(NATIVE, []), FakeRunner("txetcd-native-pypy", [])
        self.measure("mixed", cpython, pypy)
        request = {"workload": "mixed", "callers": 64, "seconds": 0.1}
        self.assertEqual(cpython.requests, [request] * 3)
        self.assertEqual(pypy.requests, [{**request, "seconds": 0.5}, request, request])

    def test_error(self) -> None:
        """Who cannot is not asked again; the others go on."""
        turns: list[str] = []
        results = self.measure("mixed", FakeRunner(NATIVE, turns, "no"), FakeRunner(AETCD, turns))
        self.assertEqual(turns, [NATIVE, AETCD, AETCD, AETCD])
        self.assertEqual([(one.error, len(one.rounds)) for one in results.measured], [("no", 0), (None, 2)])

    def test_able(self) -> None:
        """Programs are asked what they can, peers what is not ours alone."""
        turns: list[str] = []
        self.measure("range", FakeRunner(AETCD, turns))
        self.measure("layer", FakeRunner(AETCD, turns), FakeRunner(NATIVE, turns))
        self.assertEqual(turns, [NATIVE] * 3)

    def test_counted(self) -> None:
        """Many of something are measured once, without a warm-up, by one that has done nothing before."""
        runner = FakeRunner(NATIVE, [])
        self.assertEqual(len(self.measure("endurance", runner, count=10).measured[0].rounds), 1)
        self.assertEqual(runner.requests, [{"workload": "endurance", "callers": 64, "count": 10, "hold": 0.0}])
        self.assertEqual(runner.restarts, 1)
        self.measure("mixed", runner)
        self.assertEqual(runner.restarts, 1)

    def test_held(self) -> None:
        """As many, and for as long, as the table says or the command line."""
        runner = FakeRunner(NATIVE, [])
        self.measure("leases", runner)
        self.measure("leases", runner, count=2, hold=0.5)
        sizes = [(request["count"], request["hold"]) for request in runner.requests]
        self.assertEqual(sizes, [(1_000, 60.0), (2, 0.5)])


class TableTests(SynchronousTestCase):
    """What belongs together in the tables of the benchmarks."""

    def test_environments(self) -> None:
        """Each has its pins, and each peer versions that are fixed."""
        used = {client.environment for client in clients.CLIENTS} - {"cpython"}
        self.assertEqual(used, set(environments.PINS))
        for peer in clients.PEERS:
            for pin in environments.PINS[peer]:
                self.assertRegex(pin, r"^\w+==[\d.]+$")

    def test_clients(self) -> None:
        """Names are unique; each is a worker or a program."""
        names = [client.name for client in clients.CLIENTS]
        self.assertEqual(len(names), len(set(names)))
        programs = {client.name for client in clients.CLIENTS if client.worker is None}
        self.assertEqual(programs, set(PROGRAMS))
        self.assertLessEqual(set(clients.PEERS), set(names))

    def test_workloads(self) -> None:
        """Workers know those that are for all. What is measured by default takes minutes, not hours."""
        for workload in workloads.WORKLOADS:
            if workload.is_for_all and workload.unit == "request":
                next(loads.calls(FakeClient(), workload.name))()
        unusual = {workload.name for workload in workloads.WORKLOADS} - set(workloads.USUAL)
        self.assertEqual(unusual, {"endurance"})
