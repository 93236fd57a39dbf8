"""
One member of etcd, launched for recording, and the calls that are recorded on it. Standard library only.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Optional

from . import Recording

PATIENCE_SECONDS = 30.0
"""Longer than any answer takes: a server without a quorum gives up after 7 seconds."""

EMPTY: dict[str, Any] = {}
"""A message that says nothing."""


def b64(data: bytes) -> str:
    """Bytes as the gateway takes them."""
    return base64.b64encode(data).decode("ascii")


def free_port() -> int:
    """A port of the loopback interface that the kernel says is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Any, what: str) -> Any:
    """The first true value of ``condition()``."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise RuntimeError(f"waited {PATIENCE_SECONDS} s in vain for {what}")


class Call(NamedTuple):
    """A call to be recorded. The fields are those of :class:`Recording`."""

    name: str
    path: str
    request: Any = EMPTY
    method: str = "POST"
    headers: dict[str, str] = {}
    note: str = ""
    request_note: str = ""
    """If given, this is stored in place of the request."""

    def body(self) -> Optional[bytes]:
        """What goes over the wire."""
        if self.request is None:
            return None
        if isinstance(self.request, str):
            return self.request.encode("utf-8")
        messages = self.request if isinstance(self.request, list) else [self.request]
        return "\n".join(json.dumps(message) for message in messages).encode("utf-8")

    def answered(self, status: int, content_type: str, body: str) -> Recording:
        """The recording of this call."""
        request = {"note": self.request_note} if self.request_note else self.request
        answer = status, content_type, body
        return Recording(self.name, self.path, request, *answer, self.method, self.headers, self.note)


class Stream:
    """The answer to a call, read line by line."""

    def __init__(self, call: Call, connection: http.client.HTTPConnection) -> None:
        self._call = call
        self._connection = connection
        connection.request(call.method, call.path, call.body(), dict(call.headers))
        self._response = connection.getresponse()
        self._received = b""

    def read(self, lines: int) -> list[bytes]:
        """The next lines, fewer if the stream ends before."""
        read: list[bytes] = []
        while len(read) < lines:
            line = self._response.readline()
            if not line:
                break
            self._received += line
            read.append(line)
        return read

    def rest(self) -> list[bytes]:
        """All lines to the end."""
        return self.read(1 << 62)

    def keep(self, received: bytes) -> None:
        """Record this in place of what was received."""
        self._received = received

    def close(self) -> Recording:
        """Hang up, and the recording of what was received."""
        self._connection.close()
        content_type = self._response.getheader("Content-Type") or ""
        return self._call.answered(self._response.status, content_type, self._received.decode("utf-8"))


class Member:
    """
    A running etcd.

    :ivar client_url: its client URL.
    :ivar peer_url: its peer URL.
    """

    def __init__(self, etcd: str, name: str, recordings: list[Recording]) -> None:
        self._etcd = etcd
        self._name = name
        self._recordings = recordings
        self._directory = tempfile.TemporaryDirectory(prefix="txetcd-recordings-")
        self._port = free_port()
        self.client_url = f"http://127.0.0.1:{self._port}"
        self.peer_url = f"http://127.0.0.1:{free_port()}"
        self._process: Optional[subprocess.Popen[bytes]] = None

    # --- its life

    def start(self, others: Optional[list[Member]] = None) -> None:
        """Launch it, alone or into the cluster of the others, and wait until it is certain that it is this one."""
        members = [*(others or []), self]
        cluster = ",".join(f"{member._name}={member.peer_url}" for member in members)
        arguments = {
            "name": self._name, "data-dir": str(Path(self._directory.name) / "data"), "log-level": "error",
            "listen-client-urls": self.client_url, "advertise-client-urls": self.client_url,
            "listen-peer-urls": self.peer_url, "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": cluster, "initial-cluster-state": "existing" if others else "new",
            "host-whitelist": "127.0.0.1", "bcrypt-cost": "4",
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        self._process = subprocess.Popen(
            [self._etcd, *(f"--{name}={value}" for name, value in arguments.items())],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        wait_until(self._is_ours, "etcd to start")

    def _is_ours(self) -> bool:
        """Whether the server on our port was started with our directory."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self._etcd} has ended")
        try:
            answer = self._exchange(Call("", "/debug/vars", None, "GET"))
        except OSError:
            return False
        return any(self._directory.name in word for word in json.loads(answer.body)["cmdline"])

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """End it and remove what it stored."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._directory.cleanup()

    # --- calls

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)

    def _exchange(self, call: Call) -> Recording:
        stream = Stream(call, self._connect())
        stream.rest()
        return stream.close()

    def _keep(self, recording: Recording) -> None:
        if any(recording.name == earlier.name for earlier in self._recordings):
            raise ValueError(f"two scenarios are called {recording.name!r}")
        body = recording.body.replace(self._directory.name, "DATA")
        self._recordings.append(recording._replace(body=body))

    def ask(self, path: str, request: Any, headers: Optional[dict[str, str]] = None) -> dict[str, Any]:
        """What a call answers; nothing is recorded."""
        answer: dict[str, Any] = json.loads(self._exchange(Call("", path, request, headers=headers or {})).body)
        return answer

    def record(self, name: str, path: str, request: Any = EMPTY, **options: Any) -> dict[str, Any]:
        """Record a call, and what it answers if that is JSON. The options are further fields of :class:`Call`."""
        recording = self._exchange(Call(name, path, request, **options))
        self._keep(recording)
        try:
            answer = json.loads(recording.body)
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}

    def record_all(self, calls: list[Call]) -> None:
        """Record calls that are made at the same time."""
        with ThreadPoolExecutor(len(calls)) as executor:
            for recording in executor.map(self._exchange, calls):
                self._keep(recording)

    @contextmanager
    def stream(self, name: str, path: str, request: Any, **options: Any) -> Iterator[Stream]:
        """Record a call whose answer the scenario reads line by line; it is closed at the end of the block."""
        stream = Stream(Call(name, path, request, **options), self._connect())
        try:
            yield stream
        finally:
            recording = stream.close()
        self._keep(recording)
