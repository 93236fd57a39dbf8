"""
Measures etcd3gw: the gateway over requests, which blocks. A caller is a thread with a client of its own, as one that
is shared has connections for ten at the most.
"""

from __future__ import annotations

import sys
import time
from base64 import b64encode
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Callable, Iterator, Optional

from etcd3gw.client import Etcd3Client

from . import events, loads, shared


class Adapter:
    """A client with the verbs of :mod:`loads`."""

    def __init__(self, client: Etcd3Client) -> None:
        self._client = client
        self.put, self.get = client.put, client.get

    @staticmethod
    def text(data: bytes) -> bytes:
        return data

    def range(self, start: bytes, end: bytes) -> None:
        found = self._client.get(start, metadata=True, range_end=end)
        loads.check_range((kv["key"], value) for value, kv in found)

    def put_all(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """It takes the request as JSON has it."""
        puts = [
            {"request_put": {"key": b64encode(key).decode(), "value": b64encode(value).decode()}}
            for key, value in pairs
        ]
        self._client.transaction({"compare": [], "success": puts, "failure": []})

    def watch(self, reader: events.Reader) -> None:
        found, cancel = self._client.watch_prefix(loads.EVENTS_PREFIX)
        reader.started()
        for event in found:
            if reader.seen(event["kv"]["key"], event["kv"].get("value", b"")):
                break
        cancel()


class Caller(Thread):
    """
    Does what it is given.

    :ivar error: what ended it before.
    """

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._do = do
        self.error: Optional[Exception] = None

    def run(self) -> None:
        try:
            self._do()
        except Exception as error:
            self.error = error


def call(calls: Iterator[loads.Call], gate: SimpleQueue[shared.Stopwatch]) -> None:
    """Makes one call after the other until time is up, and one at least."""
    stopwatch = gate.get()
    clock, note, until = time.perf_counter, stopwatch.latencies.append, stopwatch.until
    now = clock()
    while True:
        then = now
        next(calls)()
        now = clock()
        note(now - then)
        if now >= until:
            return


def join(callers: list[Caller]) -> None:
    """Waits for the end of all; then the first error of one is raised."""
    for caller in callers:
        caller.join()
    for caller in callers:
        if caller.error is not None:
            raise caller.error


def crowd(clients: list[Adapter], request: dict[str, Any]) -> dict[str, Any]:
    """Lets callers call, side by side; time runs when all threads do."""
    gate: SimpleQueue[shared.Stopwatch] = SimpleQueue()
    callers = [Caller(partial(call, loads.calls(client, request["workload"]), gate)) for client in clients]
    for caller in callers:
        caller.start()
    stopwatch = shared.Stopwatch(request["seconds"])
    for _ in callers:
        gate.put(stopwatch)
    join(callers)
    return stopwatch.figures(len(stopwatch.latencies))


def watches(clients: list[Adapter], request: dict[str, Any]) -> dict[str, Any]:
    """Lets watches read, side by side."""
    with events.start_writer() as writer:
        flow = events.Flow(writer.stdin, len(clients), request["seconds"])
        callers = [Caller(partial(client.watch, events.Reader(flow))) for client in clients]
        for caller in callers:
            caller.start()
        join(callers)
    return flow.figures


def main() -> None:
    say = shared.own_output()
    host, port = shared.host_and_port(sys.argv[1])
    clients: list[Adapter] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        missing = request["callers"] - len(clients)
        clients.extend(Adapter(Etcd3Client(host, port)) for _ in range(missing))
        return (watches if request["workload"] == "events" else crowd)(clients[: request["callers"]], request)

    say(shared.hello("etcd3gw", "requests", "urllib3"))
    shared.serve(say, answer)


if __name__ == "__main__":
    main()
