"""
What stands in for etcd in the unit tests: a transport that is answered by hand, and HTTP connections in memory.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from math import inf
from typing import Any, Callable, Coroutine, Optional

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver, ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txetcd import Client
from txetcd._attempts import Way
from txetcd._backoff import Backoff, Policy, never
from txetcd._calls import Calls
from txetcd._endpoints import Endpoints
from txetcd._identity import Identity
from txetcd._keepalives import KeepAlives
from txetcd._schema import Rpc
from txetcd._silence import Silence
from txetcd._tokens import Tokens
from txetcd._transport import CallCancelled, Metadata
from txetcd._watchpart import WatchWay
from txetcd._watchstreams import WatchStreams
from txetcd.errors import Closed, Error, Timeout
from txetcd.lease import LeaseWay

URL = "http://etcd.example:2379"


def run(coroutine: Coroutine[Deferred[Any], Any, Any]) -> Deferred[Any]:
    """Starts a coroutine: fires with what it returns."""
    return Deferred.fromCoroutine(coroutine)


# --- the fake of a transport


@attrs.define(eq=False)
class FakeCall:
    """A call that waits to be answered."""

    endpoint: str
    rpc: Rpc
    request: Any
    timeout: float
    metadata: Metadata
    answer: Deferred[Any] = attrs.field(init=False)
    is_cancelled: bool = False

    def __attrs_post_init__(self) -> None:
        self.answer = Deferred(self._cancelled)

    def reply(self, answer: Any) -> None:
        """Answers, with a value or an :class:`Error`."""
        if isinstance(answer, Error):
            self.answer.errback(answer)
        else:
            self.answer.callback(answer)

    def expire(self) -> None:
        """What a real transport does past the deadline of a call that was sent."""
        self.reply(Timeout(f"sent, but no answer within {self.timeout} seconds", not self.rpc.is_read))

    def _cancelled(self, _: object) -> None:
        self.is_cancelled = True
        self.answer.errback(CallCancelled(not self.rpc.is_read))


class FakeStream:
    """A stream that says what the test makes it say."""

    def __init__(
        self, endpoint: str, rpc: Rpc, request: Any, on_message: Callable[[Any], None], metadata: Metadata
    ) -> None:
        self.endpoint, self.rpc, self.request, self._on_message = endpoint, rpc, request, on_message
        self.metadata = metadata
        self.ended: Deferred[None] = Deferred(lambda _: self.abort())
        self.is_paused = self.is_aborted = self.is_over = False
        self.sent: list[Any] = []

    def send(self, request: Any) -> None:
        self.sent.append(request)

    def say(self, *messages: Any) -> None:
        """Delivers messages, as the gateway does: none after the end."""
        for message in messages:
            if not self.is_over:
                self._on_message(message)

    def end(self, error: Optional[Error] = None) -> None:
        """The server ends it, or the connection is lost."""
        if not self.is_over:
            self.is_over = True
            self.ended.callback(None if error is None else Failure(error))

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def abort(self) -> None:
        self.is_aborted = True
        self.end()


class FakeTransport:
    """Records what is asked; the test answers."""

    is_duplex = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.calls: list[FakeCall] = []
        self.streams: list[FakeStream] = []
        self.waiting: list[FakeCall] = []
        self.left: list[str] = []
        self.heard: dict[str, float] = {}
        self.is_closed = False

    def call(self, endpoint: str, rpc: Rpc, request: Any, timeout: float, metadata: Metadata) -> Deferred[Any]:
        call = FakeCall(endpoint, rpc, request, timeout, metadata)
        timer = self._clock.callLater(timeout, call.expire)

        def answered(result: Any) -> Any:
            self.waiting.remove(call)
            if timer.active():
                timer.cancel()
            return result

        self.calls.append(call)
        self.waiting.append(call)
        return call.answer.addBoth(answered)

    def stream(
        self, endpoint: str, rpc: Rpc, request: Any, on_message: Callable[[Any], None], metadata: Metadata
    ) -> FakeStream:
        stream = FakeStream(endpoint, rpc, request, on_message, metadata)
        self.streams.append(stream)
        return stream

    def leave(self, endpoint: str) -> None:
        self.left.append(endpoint)

    def keep_only(self, endpoints: Sequence[str]) -> None:
        self.kept = endpoints

    def heard_at(self, endpoint: str) -> float:
        return self.heard.get(endpoint, -inf)

    def close(self) -> Deferred[None]:
        self.is_closed = True
        for call in list(self.waiting):
            call.reply(Closed())
        for stream in list(self.streams):
            stream.end(Closed())
        return succeed(None)

    def next(self, rpc: Rpc) -> FakeCall:
        """The call that waits longest, which must be this one."""
        assert self.waiting, f"nothing waits, but {rpc.name} should"
        assert self.waiting[0].rpc is rpc, f"{self.waiting[0].rpc.name} waits, and not {rpc.name}"
        return self.waiting[0]

    def asked(self, *names: str) -> None:
        """Exactly these calls wait."""
        waiting = [call.rpc.name.partition(".")[2] for call in self.waiting]
        assert waiting == list(names), f"{waiting} wait, and not {list(names)}"

    @property
    def connections(self) -> int:
        """One for each stream."""
        return len(self.live)

    @property
    def live(self) -> list[FakeStream]:
        """The streams that are open."""
        return [stream for stream in self.streams if not stream.is_over]


def fake_way(
    clock: Clock, transport: Any, *urls: str, patience: float = 1e6, identity: Optional[Identity] = None, **changes: Any
) -> Way:
    """How calls get to a fake; by default everything is tried once, nothing is left to chance, and silence is borne."""
    endpoints = Endpoints(urls or (URL,), lambda: 0.0)
    identity = identity or Identity()
    silence = Silence(clock, transport, endpoints, identity, patience)
    way = Way(clock, transport, endpoints, identity, Tokens(clock), never, True, lambda: 0.5, silence)
    return attrs.evolve(way, **changes)


def fake_client(clock: Clock, transport: Any, timeout: Optional[float] = None, **changes: Any) -> Client:
    """A client whose calls go to a fake."""
    client = Client(clock, URL, timeout=timeout)
    client._way = fake_way(clock, transport, **changes)
    client._calls = calls = Calls(client._way, timeout)
    client._watches = attrs.evolve(client._watches, calls=calls, streams=WatchStreams(calls))
    client._leases = LeaseWay(calls, clock, KeepAlives(calls, clock))
    return client


# --- the base of the tests

DEFAULT_POLICY = Backoff()


class Case(SynchronousTestCase):
    """
    A test on a clock, which must leave nothing behind: no timer, no error that nobody has seen.

    :ivar clock: the clock.
    :ivar transport: the fake.
    :ivar calls: the level between.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = FakeTransport(self.clock)
        self.calls = Calls(fake_way(self.clock, self.transport))

    def watch_way(self, policy: Policy = DEFAULT_POLICY) -> WatchWay:
        """How watches are made here."""
        return WatchWay(self.calls, WatchStreams(self.calls), self.clock, 10.0, 15.0, policy, lambda: 0.5)

    def tearDown(self) -> None:
        watch = self.__dict__.get("watch")
        if watch is not None:
            watch.stop()
        left = self.clock.getDelayedCalls()
        # an unhandled error is only told when its Deferred is gone
        for name in ("clock", "transport", "calls", "client", "network", "gateway", "watch"):
            self.__dict__.pop(name, None)
        gc.collect(1)
        self.assertEqual([str(call) for call in left], [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def assert_pending(self, *waiting: Deferred[Any]) -> None:
        """None of these has fired."""
        for deferred in waiting:
            self.assertNoResult(deferred)

    def cancelled(self, deferred: Deferred[Any]) -> None:
        """Cancels; that must fire it at once."""
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)


# --- HTTP in memory


@attrs.define
class Request:
    """A request as it came over a connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def requests_in(data: bytes) -> list[Request]:
    """The requests in what was written; each must be complete and say how long it is."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        method, path, version = first.split(" ")
        assert version == "HTTP/1.1", first
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = int(headers["content-length"])
        body, data = data[:size], data[size:]
        assert len(body) == size, f"{len(body)} of {size} bytes"
        found.append(Request(method, path, headers, body))
    return found


def response(body: bytes, status: int = 200, content_type: str = "application/json", headers: str = "") -> bytes:
    """The bytes of a complete answer."""
    head = f"HTTP/1.1 {status} Some Reason\r\nContent-Type: {content_type}\r\n{headers}Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def chunked(*chunks: bytes, end: bool = True, status: int = 200) -> bytes:
    """The bytes of an answer in chunks."""
    head = f"HTTP/1.1 {status} Some Reason\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(map(chunk, chunks)) + (b"0\r\n\r\n" if end else b"")


def chunk(data: bytes) -> bytes:
    """A chunk of an answer."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Wire(StringTransport):
    """
    A connection, seen from the server. As on a socket, a connection that is closed on our side is gone only in a
    later turn of the reactor.

    :ivar is_aborted: whether it was closed without waiting for anything (``bool``).
    """

    def __init__(self, clock: Clock, protocol: Any) -> None:
        # lenient, because a socket does not mind to be paused or resumed while it is closing
        super().__init__(IPv4Address("TCP", "127.0.0.1", 1), IPv4Address("TCP", "127.0.0.1", 2379), lenient=True)
        self._clock = clock
        self.protocol = protocol
        self.is_aborted = self.is_lost = False

    @property
    def requests(self) -> list[Request]:
        """What came over it so far."""
        return requests_in(self.value())

    @property
    def is_paused(self) -> bool:
        return self.producerState == "paused"

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is nothing to delay."""

    def send(self, data: bytes) -> None:
        """The server sends."""
        if not self.is_lost:
            self.protocol.dataReceived(data)

    def answer(self, document: Any, status: int = 200) -> None:
        """The server answers completely."""
        self.send(response(json.dumps(document).encode(), status))

    def lose(self, reason: Optional[Exception] = None) -> None:
        """The connection is lost: reset, unless told otherwise."""
        if not self.is_lost:
            self.is_lost = True
            self.protocol.connectionLost(Failure(reason or ConnectionLost()))

    def close(self) -> None:
        """The server closes it."""
        self.lose(ConnectionDone())

    def loseConnection(self) -> None:
        super().loseConnection()
        self._clock.callLater(0, self.lose, ConnectionDone())

    def abortConnection(self) -> None:
        self.is_aborted = True
        super().loseConnection()
        self._clock.callLater(0, self.lose, ConnectionAborted())


@implementer(ISSLTransport)
class PoliteWire(Wire):
    """A connection with TLS, as far as it matters here: closing it waits for the peer, and so perhaps for ever."""

    def getPeerCertificate(self) -> None:
        """Nobody asks for it."""

    def loseConnection(self) -> None:
        StringTransport.loseConnection(self)


@implementer(IHostnameResolver)
class Names:
    """
    A resolver that answers at once.

    :param addresses: the answer, whatever the name.
    """

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    def resolveHostName(
        self, resolutionReceiver: Any, hostName: str, portNumber: int = 0, *rest: Any, **options: Any
    ) -> Any:
        resolutionReceiver.resolutionBegan(self)
        for address in self._addresses:
            resolutionReceiver.addressResolved(IPv4Address("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return self


@implementer(IReactorPluggableNameResolver)
class Reactor(MemoryReactorClock):
    """The reactor of Twisted's tests, which in older releases resolves names for real."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = Names("127.0.0.1")

    def installNameResolver(self, resolver: Any) -> Any:
        previous, self.nameResolver = self.nameResolver, resolver
        return previous


class Network:
    """
    The connections that were tried, in their order.

    :param reactor: where they were tried.
    """

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self._accepted: dict[int, Wire] = {}

    @property
    def attempts(self) -> int:
        """How many connections were tried (``int``)."""
        return len(self.reactor.tcpClients)

    @property
    def wires(self) -> list[Wire]:
        """The connections that were made."""
        return list(self._accepted.values())

    @property
    def open(self) -> list[Wire]:
        """Those that are still there."""
        return [wire for wire in self.wires if not wire.is_lost]

    def accept(self, at: int = -1, is_polite: bool = False) -> Wire:
        """Lets an attempt, by default the last, succeed; if it has already, gives the connection."""
        at %= self.attempts
        if at not in self._accepted:
            protocol = self.reactor.tcpClients[at][2].buildProtocol(None)
            wire = self._accepted[at] = (PoliteWire if is_polite else Wire)(self.reactor, protocol)
            protocol.makeConnection(wire)
        return self._accepted[at]

    def refuse(self, at: int = -1, reason: Optional[Exception] = None) -> None:
        """Lets an attempt, by default the last, fail."""
        failure = Failure(reason or ConnectionRefusedError())
        self.reactor.tcpClients[at][2].clientConnectionFailed(self.reactor.connectors[at], failure)
