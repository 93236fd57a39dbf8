"""
What the tests against real servers have in common: one server of each version, shared, and a client for each test.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from inspect import isawaitable
from typing import Any, Callable, Optional, TypeVar
from urllib.parse import urlsplit

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent

from test.real.watched import HeardClient, Watching
from test.servers import AT_LENGTH, NEWEST, SERVERS, Server
from txetcd import Client, KeySet, Timeout, never
from txetcd._gateway import MAX_CONCURRENT
from txetcd._schema import Rpc
from txetcd._url import check_urls, respoken
from txetcd.testing import EtcdProcess, namespace

Case = TypeVar("Case", bound=type)

T = TypeVar("T")

PATIENCE = 90.0
"""Seconds to wait for what must happen; nothing is measured by them, so they may be plenty."""

QUICK = ("--heartbeat-interval=10", "--election-timeout=100")
"""With these a server starts in a tenth of a second, and grants leases of one second."""

_shared: dict[str, EtcdProcess] = {}
"""The running server of each version; each ends with the reactor, or with the interpreter."""


GATEWAY, NATIVE = "http", "grpc"
"""The transports, by the schemes of their URLs."""

BOTH = (GATEWAY, NATIVE)

IN_TURN = "in-turn"
"""For ``test.run``: each server over another one of them, the newest over both; one process of tests takes both."""


def chosen_schemes(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Those that are to be tested; ``LookupError`` for one that there is not: it would be no test, in silence."""
    named = environ.get("TXETCD_TEST_SCHEMES") or ",".join(BOTH)
    chosen = list(BOTH) if named == IN_TURN else named.split(",")
    unknown = [repr(scheme) for scheme in chosen if scheme not in BOTH]
    if unknown:
        raise LookupError(f"TXETCD_TEST_SCHEMES: no such scheme: {', '.join(unknown)}; there are: {', '.join(BOTH)}")
    return chosen


CHOSEN = chosen_schemes()
"""Those that are tested."""


def on_every_server(
    wanted: Callable[[Server], bool] = lambda server: True, schemes: Sequence[str] = BOTH
) -> Callable[[type], None]:
    """
    Makes, of the class that it decorates, one test case for each server version and transport, named after all.

    :param wanted: for which servers.
    :param schemes: for which transports.
    """

    def decorate(cls: type) -> None:
        module = __import__(cls.__module__, fromlist=["_"])
        for server in filter(wanted, SERVERS):
            for scheme in filter(CHOSEN.__contains__, schemes):
                name = "_".join([cls.__name__, *([scheme] if scheme == NATIVE else []), *server.label.split(".")])
                attributes = {"server": server, "scheme": scheme, "__module__": cls.__module__}
                setattr(module, name, type(name, (cls, TestCase), attributes))

    return decorate


def on_newest_server(schemes: Sequence[str] = BOTH) -> Callable[[type], None]:
    """As :func:`on_every_server`, for what does not depend on the version."""
    return on_every_server(lambda server: server is NEWEST, schemes)


def on_every_server_at_length(schemes: Sequence[str] = BOTH) -> Callable[[type], None]:
    """As :func:`on_every_server`, for what takes long, as all that needs several members."""
    return on_every_server(lambda server: server in AT_LENGTH, schemes)


def spoken(url: str, scheme: str) -> str:
    """*url*, one of HTTP, for the transport that *scheme* stands for; with TLS if it has that."""
    return respoken(url, scheme) or respoken(url, f"{scheme}s") or url


class RealCase(Watching):
    """
    A test against the shared server of a version, with keys under a prefix of its own. What its watches tell is
    compared with what has happened.

    :ivar server: which one.
    :ivar scheme: of the transport.
    :ivar web: where it is, for HTTP.
    :ivar url: where it is, for the transport.
    :ivar prefix: what the keys of this test begin with (``bytes``).
    :ivar etcd: a client, closed at the end.
    """

    server: Server
    scheme: str
    timeout = 300

    async def start(self) -> None:
        """More to prepare than the client."""

    def setUp(self: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(self._set_up())

    async def _set_up(self: Any) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.web = await shared_url(reactor, self.server)
        self.url = spoken(self.web, self.scheme)
        self.prefix = namespace(self)
        # which leaves no socket behind, as some count them
        async with Client(reactor, self.url, retry=never, timeout=60) as etcd:
            self.watch_from(self.web, (await etcd.get(b"-")).header.revision + 1)
        self.etcd = self.client()
        self.addCleanup(self.etcd.delete, KeySet(self.prefix, prefix=True))
        await self.start()

    def client(self: Any, url: Optional[str] = None, **options: Any) -> Client:
        """
        Another client, closed at the end. It tries everything once, unless told otherwise: so each fault is seen; and
        it has a minute for each call, which a machine may need that is busy otherwise.
        """
        urls = [spoken(one, self.scheme) for one in check_urls("url", url or self.url)]
        client = HeardClient(self.reactor, urls, **{"retry": never, "timeout": 60, **options})
        client.case = self
        self.addCleanup(client.close)
        return client

    def spoken(self: Any, url: str) -> str:
        """*url*, one of HTTP, for the transport."""
        return spoken(url, self.scheme)

    def asks(self: Any, *rpcs: Rpc) -> Callable[[Any], bool]:
        """For a :class:`FaultyProxy`: whether one of these is what a connection was asked last."""
        if self.scheme == GATEWAY:
            heads = tuple(b"POST %s " % (rpc.path or "").encode() for rpc in rpcs)
            return lambda connection: bool(connection.request.startswith(heads))
        methods = [rpc.method.encode() for rpc in rpcs]
        return lambda connection: any(method in connection.request for method in methods)

    def sockets_for(self: Any, calls: int, watches: int = 0) -> int:
        """How many sockets a client has, at one server, for so many calls at a time and so many watches."""
        return 1 if self.scheme == NATIVE else min(calls, MAX_CONCURRENT) + watches

    @property
    def sockets_kept(self: Any) -> int:
        """How many sockets a client keeps when all that went over them was cancelled."""
        return 1 if self.scheme == NATIVE else 0

    def key(self: Any, name: bytes) -> bytes:
        """The key of this name, under the prefix of this test."""
        return bytes(self.prefix) + name

    def keys(self: Any, prefix: bytes = b"") -> KeySet:
        """The keys of this test that begin so."""
        return KeySet(self.key(prefix), prefix=True)

    # --- servers to be hurt

    async def own_server(self: Any, arguments: Sequence[str] = QUICK, **options: Any) -> EtcdProcess:
        """A server for this test alone."""
        process = EtcdProcess(self.reactor, binary=self.server.path, arguments=arguments, **options)
        self.addCleanup(process.stop)
        return await process.start()

    async def crash(self: Any, process: EtcdProcess) -> None:
        """
        Kills it, and starts it again. One of 3.5.0 to 3.5.4 is ended by SIGTERM instead: alone, it may lose what it
        acknowledged last, as it does so before that is in its log (etcd's issue 14370).
        """
        if (3, 5, 0) <= self.server.version <= (3, 5, 4):
            await process.restart()
        else:
            await process.kill()
            await process.start()

    def url_of(self: Any, server: Any) -> str:
        """Where a server or a proxy is, for the transport."""
        return spoken(server.url, self.scheme)

    def by_transport(self: Any, gateway: T, native: T) -> T:
        """What is expected, where that depends on the transport."""
        return native if self.scheme == NATIVE else gateway

    async def pause(self: Any, process: EtcdProcess) -> None:
        """Pauses it, and waits until it is silent: its threads do not stop all at once."""
        etcd = self.client(process.url)
        process.pause()

        async def is_silent() -> bool:
            try:
                await etcd.status(timeout=0.2)
            except Timeout:
                return True
            return False

        await self.until(is_silent)

    # --- waiting

    def soon(self: Any, awaitable: Any) -> Deferred[Any]:
        """What *awaitable* gives; fails if that takes too long."""
        waiting = Deferred.fromCoroutine(awaitable) if isinstance(awaitable, Coroutine) else awaitable
        return waiting.addTimeout(PATIENCE, self.reactor)

    async def until(self: Any, condition: Callable[[], Any]) -> Any:
        """Asks until the answer is true, and returns it; *condition* may return something to be awaited."""
        deadline = self.reactor.seconds() + PATIENCE
        while True:
            answer = condition()
            answer = await answer if isawaitable(answer) else answer
            if answer:
                return answer
            if self.reactor.seconds() > deadline:
                self.fail(f"in vain: {condition}")
            await deferLater(self.reactor, 0.02)

    # --- the server, asked behind the back of what is tested

    async def post(self: Any, path: str, message: dict[str, Any], url: Optional[str] = None) -> Any:
        """What the gateway answers, plainly."""
        http = HTTPClient(Agent(self.reactor))
        content = json.dumps(message).encode()
        response = await http.post((url or self.web) + path, data=content, reactor=self.reactor)
        return json.loads(await response.content())

    async def metric(self: Any, name: str, url: Optional[str] = None) -> float:
        """One figure of ``/metrics``."""
        response = await HTTPClient(Agent(self.reactor)).get((url or self.web) + "/metrics", reactor=self.reactor)
        lines = (await response.text()).splitlines()
        return next(float(line.split()[1]) for line in lines if line.split()[:1] == [name])

    async def watchers(self: Any, url: Optional[str] = None) -> int:
        """How many watches the server serves."""
        return int(await self.metric("etcd_debugging_mvcc_watcher_total", url))

    async def has_no_new_lease(self: Any, before: Sequence[int]) -> bool:
        """Whether nothing was left behind; leases of other tests may have expired meanwhile."""
        return set(await self.etcd.leases()) <= set(before)

    async def assert_no_new_leases(self: Any, before: Sequence[int]) -> None:
        """Nothing was left behind."""
        self.assertTrue(await self.has_no_new_lease(before))


def sockets_to(url: str) -> int:
    """How many sockets this process has that are connected to the server at *url*, by what the system says."""
    port = urlsplit(url).port
    return sum(_peer_port(int(name)) == port for name in os.listdir("/dev/fd"))


def _peer_port(descriptor: int) -> Optional[int]:
    # what was listed may be closed by now, no socket, or not connected
    with suppress(OSError):
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            is_blocking = os.get_blocking(descriptor)
            with socket.socket(fileno=os.dup(descriptor)) as copy:
                # PyPy makes it blocking, and with it the one that it is a copy of
                os.set_blocking(descriptor, is_blocking)
                if copy.family in (socket.AF_INET, socket.AF_INET6):
                    return int(copy.getpeername()[1])
    return None


async def shared_url(reactor: Any, server: Server) -> str:
    """The URL of the shared server of a version, which is started if need be."""
    process = _shared.get(server.label)
    if process is None or not process.is_running:
        process = _shared[server.label] = EtcdProcess(reactor, binary=server.path)
        await process.start()
    return process.url
