"""
Programs that show how much is possible: ``wrk`` for the gateway, and etcd's own ``benchmark`` for the server.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any, Optional

from .clients import Client
from .environments import TOOL_VERSION, Unavailable, tool
from .workers.loads import KEY, VALUE

SCRIPT = Path(__file__).with_name("request.lua")

#: Microseconds of the units that wrk writes.
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}

#: How many connections etcd's benchmark shares among its callers, at most.
CONNECTIONS = 16

#: How many requests etcd's benchmark makes when it is not known yet how many it can.
FIRST_TOTAL = 2_000


class Program:
    """
    A program that is run once for each measurement; its CPU time is that of the whole run.
    """

    def __init__(self, client: Client, version: str, host_and_port: str) -> None:
        self.client = client
        self.hello: dict[str, Any] = {"versions": {client.name: version}}
        self._server = host_and_port

    def can(self, workload: str) -> bool:
        """The simple ones."""
        return workload in ("put", "get")

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Measures once."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = self.command(request)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        try:
            found = self.figures(done.stdout)
        except ValueError as error:
            return {"error": f"{command[0]} ended with {done.returncode}: {error}"}
        self.learn(request, found)
        return {**found, "cpu": cpu}

    def restart(self) -> None:
        """It begins anew every time."""

    def stop(self) -> None:
        """It does not run."""

    def command(self, request: dict[str, Any]) -> list[str]:
        """What to run."""
        raise NotImplementedError

    def figures(self, text: str) -> dict[str, Any]:
        """
        What it has measured.

        :raises ValueError: if it does not say.
        """
        raise NotImplementedError

    def learn(self, request: dict[str, Any], found: dict[str, Any]) -> None:
        """Remember for the next time."""


class Wrk(Program):
    """``wrk``, in one thread, which measures whole seconds only."""

    def __init__(self, client: Client, host_and_port: str) -> None:
        if shutil.which("wrk") is None:
            raise Unavailable("there is no wrk on the PATH")
        said = subprocess.run(["wrk", "-v"], capture_output=True, text=True)
        super().__init__(client, (said.stdout + said.stderr).split()[1], host_and_port)

    def command(self, request: dict[str, Any]) -> list[str]:
        """The script sends a body that it is given."""
        key, value = b64encode(KEY).decode(), b64encode(VALUE).decode()
        path, body = {"put": ("put", {"key": key, "value": value}), "get": ("range", {"key": key})}[request["workload"]]
        options = [f"-c{request['callers']}", f"-d{max(1, round(request['seconds']))}", "--latency", f"-s{SCRIPT}"]
        return ["wrk", "-t1", *options, f"http://{self._server}/v3/kv/{path}", json.dumps(body)]

    def figures(self, text: str) -> dict[str, Any]:
        """See the output of ``wrk --latency``."""
        if "Non-2xx" in text:
            raise ValueError("some requests were refused")
        rate = float(_first(r"^Requests/sec: +(\S+)", text))
        operations = int(_first(r"^ +(\d+) requests in ", text))
        latencies = {f"p{n}": _microseconds(_first(rf"^ +{n}% +(\S+)", text)) for n in (50, 90, 99)}
        latencies["max"] = _microseconds(_first(r"^ +Latency +\S+ +\S+ +(\S+)", text))
        return {"operations": operations, "elapsed": operations / rate, "latencies": latencies}


class EtcdBenchmark(Program):
    """``benchmark``, which makes a number of requests, so as many as the time has room for at its last pace."""

    def __init__(self, client: Client, host_and_port: str) -> None:
        self._tool = tool()
        self._paces: dict[tuple[str, int], float] = {}
        super().__init__(client, TOOL_VERSION, host_and_port)

    def command(self, request: dict[str, Any]) -> list[str]:
        """Keys and values as long as those of the others."""
        callers = request["callers"]
        pace: Optional[float] = self._paces.get((request["workload"], callers))
        total = max(callers, round(pace * request["seconds"])) if pace else FIRST_TOTAL
        kinds = {
            "put": ["put", f"--key-size={len(KEY)}", f"--val-size={len(VALUE)}"],
            "get": ["range", KEY.decode()],
        }
        crowd = [f"--clients={callers}", f"--conns={min(callers, CONNECTIONS)}", f"--total={total}"]
        return [self._tool, *kinds[request["workload"]], f"--endpoints={self._server}", *crowd]

    def figures(self, text: str) -> dict[str, Any]:
        """See the summary that it writes; latencies are in seconds there."""
        elapsed = float(_first(r"^ +Total:\s+(\S+) secs", text))
        rate = float(_first(r"^ +Requests/sec:\s+(\S+)", text))
        latencies = {f"p{n}": 1e6 * float(_first(rf"^ +{n}% in (\S+) secs", text)) for n in (50, 90, 99)}
        latencies["max"] = 1e6 * float(_first(r"^ +Slowest:\s+(\S+) secs", text))
        return {"operations": round(rate * elapsed), "elapsed": elapsed, "latencies": latencies}

    def learn(self, request: dict[str, Any], found: dict[str, Any]) -> None:
        """The pace."""
        self._paces[request["workload"], request["callers"]] = found["operations"] / found["elapsed"]


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        lines = text.strip().splitlines()
        raise ValueError(lines[-1] if lines else "it wrote nothing")
    return found.group(1)


def _microseconds(text: str) -> float:
    """Of ``1.50ms``."""
    found = re.fullmatch(r"([\d.]+)([a-z]+)", text)
    if found is None or found.group(2) not in UNITS:
        raise ValueError(f"not a time: {text!r}")
    return float(found.group(1)) * UNITS[found.group(2)]
