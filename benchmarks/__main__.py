"""
Puts through the gateway, by this client and by treq as it is by default, in turn, against one etcd on a RAM disk.

Prints for each the puts a second and the CPU time of this process for each put, as medians over the rounds, and their
ratio. The figures of one run can be compared with each other, not with those of another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
from base64 import b64encode
from typing import Any, Awaitable, Callable

import treq
import twisted
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react
from twisted.web.client import Agent, HTTPConnectionPool

from txetcd import Client
from txetcd.testing import EtcdProcess

KEY, VALUE = b"foo", b"barbarbar"

Put = Callable[[], Awaitable[Any]]


def txetcd_put(reactor: Any, url: str) -> Put:
    """As a user of this package puts."""
    etcd = Client(reactor, url)
    return lambda: etcd.set(KEY, VALUE)


def treq_put(reactor: Any, url: str) -> Put:
    """As a user of treq would: a text for a URL, the rest left as it is."""
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 64
    client = HTTPClient(Agent(reactor, pool=pool))

    async def put() -> Any:
        body = json.dumps({"key": b64encode(KEY).decode(), "value": b64encode(VALUE).decode()}).encode()
        response = await client.post(url + "/v3/kv/put", data=body, headers={"Content-Type": ["application/json"]})
        return json.loads(await treq.content(response))

    return put


async def measure(reactor: Any, put: Put, callers: int, seconds: float) -> tuple[float, float]:
    """Puts a second, and CPU microseconds of this process a put."""
    done = 0

    async def caller(until: float) -> None:
        nonlocal done
        while reactor.seconds() < until:
            await put()
            done += 1

    begin, before = reactor.seconds(), resource.getrusage(resource.RUSAGE_SELF)
    await gatherResults([Deferred.fromCoroutine(caller(begin + seconds)) for _ in range(callers)])
    elapsed, after = reactor.seconds() - begin, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done / elapsed, 1e6 * cpu / done


async def run(reactor: Any, rounds: int, seconds: float) -> None:
    directory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=directory) as data_dir:
        async with EtcdProcess(reactor, data_dir=os.path.join(data_dir, "etcd")) as etcd:
            print(f"etcd {etcd.version}, {platform.python_implementation()} {platform.python_version()}, "
                  f"Twisted {twisted.__version__}, treq {treq.__version__}, {rounds} rounds of {seconds:g} s")
            await compare(reactor, etcd.url, rounds, seconds)


async def compare(reactor: Any, url: str, rounds: int, seconds: float) -> None:
    puts = {"txetcd": txetcd_put(reactor, url), "treq by default": treq_put(reactor, url)}
    print(f"{'callers':>7}  {'client':<16} {'puts/s':>8} {'CPU us/put':>11} {'puts/s ratio':>13} {'CPU ratio':>10}")
    for callers in (1, 16, 64):
        for put in puts.values():
            await measure(reactor, put, callers, seconds / 2)
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in puts}
        for _ in range(rounds):
            for name, put in puts.items():
                figures[name].append(await measure(reactor, put, callers, seconds))
        medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in figures.items()}
        base_rate, base_cpu = medians["treq by default"]
        for name, (rate, cpu) in medians.items():
            ratios = f"{rate / base_rate:>13.2f} {cpu / base_cpu:>10.2f}"
            print(f"{callers:>7}  {name:<16} {rate:>8.0f} {cpu:>11.0f} {ratios}")


def main(reactor: Any) -> Deferred[None]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    return Deferred.fromCoroutine(run(reactor, options.rounds, options.seconds))


if __name__ == "__main__":
    react(main)
