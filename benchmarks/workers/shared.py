"""
What all workers share: a line protocol, a stopwatch, and what the system says of this process.

The conductor writes a request as a line of JSON, and the worker answers with another: ``{"workload": "put", "callers":
64, "seconds": 2.0}`` and the figures of :meth:`Stopwatch.figures`, or ``{"error": "why not"}``. The first line comes
unasked, when the worker is ready: the versions of what it is made of. The end of the input ends the worker.

Standard library only, since every interpreter that is measured imports it.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from array import array
from importlib.metadata import version
from typing import Any, Callable, Iterator, Sequence

#: How much of an error is told.
ERROR_LENGTH = 200

ESTABLISHED = "01"


# --- the line protocol


def encode(message: dict[str, Any]) -> bytes:
    """A message as a line."""
    return json.dumps(message).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """
    A line as a message.

    :raises ValueError: if it is none.
    """
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"a message must be an object, not {message!r}")
    return message


def failure(error: BaseException) -> dict[str, Any]:
    """The answer if it could not be done: the error, in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return {"error": text if len(text) <= ERROR_LENGTH else text[:ERROR_LENGTH] + "..."}


def own_output() -> Callable[[dict[str, Any]], None]:
    """Keeps the standard output for messages; what a library prints there goes to the standard error from now on."""
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return lambda message: (output.write(encode(message)), None)[1]


def serve(say: Callable[[dict[str, Any]], None], answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answers one request after the other until there are no more; for workers that may block meanwhile."""
    for line in sys.stdin.buffer:
        try:
            say(answer(decode(line)))
        except Exception as error:
            say(failure(error))


def hello(*packages: str) -> dict[str, Any]:
    """The first message: what the worker is made of, and the memory of a client that has done nothing yet."""
    versions = {package: version(package) for package in packages}
    versions[platform.python_implementation()] = python_version()
    return {"versions": versions, "rss": resident()}


def python_version() -> str:
    """Of the interpreter; PyPy's own, and that of the language."""
    pypy = getattr(sys, "pypy_version_info", None)
    return platform.python_version() + (" (PyPy {}.{}.{})".format(*pypy[:3]) if pypy else "")


def host_and_port(url: str) -> tuple[str, int]:
    """Of ``http://127.0.0.1:2379``."""
    host, _, port = url.partition("://")[2].rpartition(":")
    return host, int(port)


# --- figures


def cpu_seconds() -> float:
    """The CPU time of this process so far, in its own code and in the kernel for it, all threads together."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident() -> int:
    """The memory of this process now, in KiB."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() // 1024


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Of latencies, in microseconds: the smallest ones that so many percent do not exceed."""
    ordered = sorted(seconds)
    ranks = {f"p{percent}": -(-percent * len(ordered) // 100) for percent in (50, 90, 99)}
    ranks["max"] = len(ordered)
    return {name: 1e6 * ordered[rank - 1] for name, rank in ranks.items()} if ordered else {}


class Stopwatch:
    """
    Begins when it is made.

    :ivar until: when callers make no further call.
    :ivar latencies: of each call, in seconds.
    """

    def __init__(self, seconds: float) -> None:
        self.latencies = array("d")
        self._cpu = cpu_seconds()
        self._begin = time.perf_counter()
        self.until = self._begin + seconds

    @property
    def is_over(self) -> bool:
        """Whether time is up."""
        return time.perf_counter() >= self.until

    def figures(self, operations: int) -> dict[str, Any]:
        """What was measured: seconds, CPU seconds, microseconds and KiB."""
        elapsed, cpu = time.perf_counter() - self._begin, cpu_seconds() - self._cpu
        return {
            "operations": operations,
            "elapsed": elapsed,
            "cpu": cpu,
            "latencies": percentiles(self.latencies),
            "rss": resident(),
        }


async def caller(calls: Iterator[Callable[[], Any]], stopwatch: Stopwatch) -> None:
    """Makes one call after the other until time is up, and one at least, whatever framework they are made for."""
    clock, note, until = time.perf_counter, stopwatch.latencies.append, stopwatch.until
    now = clock()
    while True:
        then = now
        await next(calls)()
        now = clock()
        note(now - then)
        if now >= until:
            return


# --- connections


def sockets_to(port: int) -> int:
    """How many connections this process has to a port of this machine."""
    inodes = {f"socket:[{inode}]" for inode in _connections(port)}
    return sum(_link(descriptor) in inodes for descriptor in os.listdir("/proc/self/fd"))


def _connections(port: int) -> Iterator[str]:
    """The inodes of all sockets that are connected to a port."""
    for family in ("tcp", "tcp6"):
        with open(f"/proc/net/{family}", encoding="ascii") as table:
            for line in list(table)[1:]:
                fields = line.split()
                if fields[2].endswith(f":{port:04X}") and fields[3] == ESTABLISHED:
                    yield fields[9]


def _link(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:  # that of the listing itself
        return ""
