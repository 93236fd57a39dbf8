"""
What the conductor asks for figures: a worker in a process of its own. A program such as ``wrk`` answers the same way
(:mod:`benchmarks.tools`).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from threading import Timer
from typing import Any, Protocol

from .clients import Client
from .environments import ROOT, Unavailable, python_of
from .workers.shared import decode, encode

#: How long a worker may take beyond the time that it shall measure, in seconds; past it, it is killed.
PATIENCE = 60.0

#: How long many calls may take, in seconds.
LONG_PATIENCE = 3600.0


class Runner(Protocol):
    """
    Measures one client.

    :ivar client: which one.
    :ivar hello: its versions, and its memory if that is known.
    """

    client: Client
    hello: dict[str, Any]

    def can(self, workload: str) -> bool:
        """Whether it can be asked for this at all."""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Measures once: the figures, or ``{"error": ...}``."""

    def restart(self) -> None:
        """Begins anew, with the memory and the connections of one that has done nothing yet."""

    def stop(self) -> None:
        """It is needed no more."""


class Worker:
    """
    A worker, running.

    :raises Unavailable: if it cannot run here.
    """

    def __init__(self, client: Client, host_and_port: str) -> None:
        self.client = client
        self._errors = tempfile.TemporaryFile()
        command = [python_of(client.environment), "-m", f"benchmarks.workers.{client.worker}"]
        self._command = [*command, f"{client.scheme}://{host_and_port}", sys.executable]
        self._start()
        if "error" in self.hello:
            self.stop()
            raise Unavailable(self.hello["error"])

    def _start(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=self._errors)
        self.hello = self._read(PATIENCE)

    def can(self, workload: str) -> bool:
        """Workers know all workloads of their kind; that theirs cannot do one, they tell."""
        return True

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Measures once. A worker that has ended says so every time."""
        try:
            self._input.write(encode(request))
            self._input.flush()
        except OSError:
            return self._ended()
        return self._read(LONG_PATIENCE if "count" in request else PATIENCE + request["seconds"])

    def restart(self) -> None:
        """A process that has not begun well is told of when it is asked."""
        self.stop()
        self._start()

    def stop(self) -> None:
        """It may be in the middle of something, for which somebody waits in another thread."""
        self._process.kill()
        self._process.wait()

    @property
    def _input(self) -> Any:
        return self._process.stdin

    @property
    def _output(self) -> Any:
        return self._process.stdout

    def _read(self, patience: float) -> dict[str, Any]:
        timer = Timer(patience, self._process.kill)
        timer.start()
        line = self._output.readline()
        timer.cancel()
        return decode(line) if line else self._ended()

    def _ended(self) -> dict[str, Any]:
        """How, and the last that it wrote."""
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it wrote nothing")
        return {"error": f"the worker ended with {code}: {last.strip()}"}
