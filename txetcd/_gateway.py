"""
The transport over HTTP/1.1: etcd's JSON gateway, through treq.

The only module that knows treq or ``twisted.web``; what they raise is translated here, once, and no further.

* One message a POST, complete and with a Content-Length: the gateway is not full duplex on HTTP/1.1.
* Calls share the connections of a pool, at most :data:`MAX_CONCURRENT` at a time for each endpoint; the others wait
  their turn. The few calls that keep leases do not wait behind them. Streams last long, so each has a connection of its
  own and does not count.
* A pooled connection that the server has closed meanwhile loses the request that is sent on it. Whether the server
  saw it cannot be known, and the error says so.

Four habits make treq twice as fast as it is by default: the URL comes rendered (hyperlink's IDNA pass costs more than
the codec), redirects are off, the response is not buffered, and the body is written in one go, without a cooperator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from http.cookiejar import CookieJar
from math import inf
from typing import Any, Callable, Optional

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from . import _json
from ._answers import flaw_of
from ._backoff import in_seconds, left_for_server, told_milliseconds
from ._clues import HTTP_1, NoHttp, not_http
from ._connections import Connector, Load, OpenConnections, describe, is_of_certificate, is_of_connection
from ._grpc import timeout_text
from ._lines import LineFramer
from ._quotes import Quotes
from ._schema import LEASE_KEEP_ALIVE, LEASE_REVOKE, Rpc
from ._tls import TLS, Creators
from ._transport import (
    CallCancelled,
    Metadata,
    answer_lost,
    better_elsewhere,
    nobody_listens,
    peer_gone,
    quotes_of,
    unanswered,
)
from .errors import (
    INVALID_ARGUMENT,
    Closed,
    Error,
    ProtocolViolation,
    Timeout,
    TLSFailed,
    Unavailable,
)

MAX_CONCURRENT = 16
"""Calls at a time, and so sockets, for each endpoint. More of them make etcd no faster, and cost it memory."""

MAX_RENEWALS = 8
"""
Renewals of leases at a time besides: a lease must not be lost because its owner is busy with other calls. So many that
a hundred leases of five seconds live where an answer takes a tenth of a second.
"""

MAX_REVOCATIONS = 2
"""Revocations at a time besides: a lock must not be kept from others for that reason; nor renewals wait behind them."""

_URGENT = "urgent"

# so many calls that say so do not wait behind others
_BESIDES = {LEASE_KEEP_ALIVE.name: MAX_RENEWALS, LEASE_REVOKE.name: MAX_REVOCATIONS, _URGENT: 2}

MAX_ANSWER = 512 * 1024 * 1024
"""Bytes of an answer. etcd sets no limit of its own; what is larger has to be read page by page."""

MAX_LINE = 128 * 1024 * 1024
"""
Bytes of a line of a stream. Watches come in fragments of some megabytes; but one event comes in one line, and a server
can be told to take larger ones than the 1.5 MiB of its default.
"""

_REFUSAL_SIZE = 64 * 1024
"""Bytes that are read of the body of a stream that was refused."""


class _RenderedURL(EncodedURL):
    """A URL that is its own rendered text."""

    def __init__(self, text: str) -> None:
        url = EncodedURL.from_text(text)
        super().__init__(scheme=url.scheme, host=url.host, path=url.path, port=url.port)
        # hyperlink takes the colons of an IPv6 address for a host name that is not allowed
        self._rendered = text if text.isascii() else url.to_uri().to_text()

    def to_uri(self) -> EncodedURL:
        return self

    def to_text(self, with_password: bool = False) -> str:
        return self._rendered


@implementer(IBodyProducer)
class _Body(Load):
    """A request body that is written in one go, and knows whether it was."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)
        self.is_sent = False

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self.is_sent = True
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None:
        """There is nothing left to pause."""

    def resumeProducing(self) -> None:
        """There is nothing left to resume."""

    def stopProducing(self) -> None:
        """There is nothing left to stop."""


# --- from what treq and Twisted raise to our errors


def _leaves(error: Any) -> Iterator[BaseException]:
    """The causes inside the wrappers of ``twisted.web``."""
    reasons = getattr(error, "reasons", None)
    if not reasons:
        yield error
        return
    for reason in reasons:
        yield from _leaves(reason.value)


def _translated(failure: Failure, is_sent: bool, rpc: Rpc, quotes: Quotes) -> Error:
    """
    What a failed request means.

    :param is_sent: whether the request was handed to the connection.
    :param quotes: how the error quotes what came.
    """
    causes = list(_leaves(failure.value))
    for cause in causes:
        if isinstance(cause, NoHttp):
            return not_http(cause.first, quotes)
        if isinstance(cause, Error):
            return Unavailable(None, f"not sent: {_CUT_SHORT}") if _is_cut_short(cause) else cause
    if any(map(is_of_certificate, causes)):
        return TLSFailed(None, f"not sent: {_described(causes, quotes)}")
    if not is_sent:
        return Unavailable(None, f"not sent: {_described(causes, quotes)}")
    of_connection = list(filter(is_of_connection, causes))
    if not of_connection:
        return _broken(failure.value, causes, quotes)
    lost = f"the connection was lost before the answer was complete: {_described(of_connection, quotes)}"
    return answer_lost(rpc, lost)


def _described(causes: list[BaseException], quotes: Quotes) -> str:
    # an agent of the user's may say anything
    return quotes.text(describe(HTTP_1, causes))


_CUT_SHORT = "the connection ended in the request, and the server got a part of it"


def _is_cut_short(error: Error) -> bool:
    """Whether the gateway says that the JSON of a request ended early. All of ours is whole when it leaves."""
    return (error.code, error.message) == (INVALID_ARGUMENT, "unexpected EOF")


def _waited_for(result: Any) -> str:
    """What a request that was not sent has waited for, if that is known, by what came of it when it was cancelled."""
    causes = _leaves(result.value) if isinstance(result, Failure) else ()
    for cause in causes:
        if isinstance(cause, Error):
            return f": {cause.message.replace('not sent: ', '', 1)}"
    return ""


def _broken(error: Any, causes: list[BaseException], quotes: Quotes) -> ProtocolViolation:
    """Why there is no answer: not how the parser of Twisted calls what is wrong, but what came."""
    if not isinstance(error, ResponseFailed):
        # an agent of the user's has errors of its own
        return ProtocolViolation(f"not an answer of HTTP: {_described(causes, quotes)}")
    if error.response is not None:
        return ProtocolViolation(f"HTTP {error.response.code} with a broken body")
    for cause in causes:
        unread = getattr(cause, "data", None)
        if isinstance(unread, bytes):
            return not_http(unread, quotes)
    return ProtocolViolation(f"{_json.NO_GATEWAY} an answer of HTTP with broken headers")


# --- bodies


def _drop(transport: Any) -> None:
    """Closes the connection of a response, without waiting for the peer where that can be had."""
    getattr(transport, "abortConnection", transport.loseConnection)()


class _Collector(Protocol):
    """
    Collects a whole body.

    A refusal that is complete counts, however the connection ends then: etcd 3.4 sends trailers behind it, which
    Twisted takes for nonsense before its version 24.3.

    :param status: the HTTP status.
    :ivar collected: fires with the body (``bytes``); cancelling it drops the connection.
    """

    def __init__(self, status: int, limit: int) -> None:
        self._status = status
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self.collected: Deferred[bytes] = Deferred(lambda _: _drop(self.transport))

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._limit:
            self._pieces.append(data)
        elif not self.collected.called:
            self.collected.errback(ProtocolViolation(f"an answer of more than {self._limit} bytes"))
            _drop(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.collected.called:
            return
        body = b"".join(self._pieces)
        is_refused = self._status != _json.OK and _json.refusal_of(body) is not None
        if is_refused or reason.check(ResponseDone, PotentialDataLoss):
            self.collected.callback(body)
        else:
            self.collected.errback(reason)


class _LineReceiver(Protocol):
    """
    Hands over the lines of a body as they arrive.

    :param on_line: called with each line.
    :param on_end: called once with the reason, which is ``None`` at a clean end.
    """

    def __init__(self, limit: int, on_line: Callable[[bytes], None], on_end: Callable[[Optional[Failure]], None]):
        self._framer = LineFramer(limit)
        self._on_line = on_line
        self._on_end = on_end

    def dataReceived(self, data: bytes) -> None:
        try:
            for line in self._framer.feed(data):
                self._on_line(line)
        except ProtocolViolation:
            self._on_end(Failure())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not reason.check(ResponseDone, PotentialDataLoss):
            self._on_end(reason)
            return
        for line in self._framer.finish():
            self._on_line(line)
        self._on_end(None)


# --- connections

Address = tuple[bytes, bytes, int]
"""Of an endpoint: the scheme, the host, and the port."""


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """
    Connects as the standard ``Agent`` does: by host name, with TLS that is verified.

    :param connector: makes the connections.
    :param on_gone: as of :meth:`Connector.endpoint`, with the address before.
    """

    def __init__(self, connector: Connector, on_gone: Optional[Callable[[Address, bool], Callable[[], None]]] = None):
        self._connector = connector
        self._on_gone = on_gone
        self._made: dict[Address, IStreamClientEndpoint] = {}

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        # asked for each request, but to make one takes hyperlink's IDNA pass again
        address = (uri.scheme, uri.host, uri.port)
        if address not in self._made:
            host = uri.host.decode("ascii").strip("[]")
            options = {} if self._on_gone is None else {"on_gone": partial(self._on_gone, address)}
            self._made[address] = self._connector.endpoint(host, uri.port, uri.scheme == b"https", **options)
        return self._made[address]


# --- a call


def _checked(rpc: Rpc, request: Any, answer: Any, body: bytes, quotes: Quotes) -> Any:
    """*answer*, if etcd may have given it."""
    flaw = flaw_of(rpc, request, answer)
    if flaw is not None:
        raise ProtocolViolation(f"no answer of etcd: it {flaw}: {quotes.excerpt(body)}")
    return answer


class _Slots:
    """
    Places for calls that may be under way at a time; who comes first gets the next one that is free.

    :param limit: how many there are.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        # in the order in which they came; any of them can leave at once
        self._waiting: dict[Deferred[None], None] = {}
        self._is_giving = False

    def acquire(self) -> Deferred[None]:
        """Waits for a place; fires with ``None``."""
        waiting: Deferred[None] = Deferred(self._waiting.pop)
        self._waiting[waiting] = None
        self._give()
        return waiting

    def release(self) -> None:
        """Gives a place back."""
        self._free += 1
        self._give()

    def _give(self) -> None:
        # a call that is over at once gives its place back from within: this loop goes on then, and does not nest
        if self._is_giving:
            return
        self._is_giving = True
        while self._free and self._waiting:
            self._free -= 1
            first = next(iter(self._waiting))
            del self._waiting[first]
            first.callback(None)
        self._is_giving = False


class _Call:
    """
    One call, from its place in the queue to the last byte of its answer.

    :ivar endpoint: where to (``str``).
    :ivar done: as :meth:`Transport.call <txetcd._transport.Transport.call>` promises.
    """

    def __init__(self, reactor: Any, endpoint: str, rpc: Rpc, request: Any, metadata: Metadata) -> None:
        self.endpoint = endpoint
        self._reactor = reactor
        self._rpc = rpc
        self._request = request
        self._quotes = quotes_of(rpc, request, metadata)
        self._body = _Body(_json.encode(rpc, request))
        self._work: Deferred[Any] = succeed(None)
        self._is_late = self._is_withdrawn = False
        self._waited_for = ""
        self.done: Deferred[Any] = Deferred(self._cancelled)

    def start(self, slots: _Slots, post: Callable[[_Body], Deferred[Any]], limit: int) -> None:
        """Waits for one of the *slots*, posts, and collects the answer up to the *limit*."""

        def exchange(_: object) -> Deferred[tuple[int, bytes]]:
            exchanged = post(self._body).addCallback(self._collect, limit)
            return exchanged.addBoth(self._give_back, slots)

        acquired: Deferred[Any] = slots.acquire()
        self._work = acquired
        acquired.addCallback(exchange)
        acquired.addCallback(self._decode)
        acquired.addBoth(self._finish)

    def _decode(self, answer: tuple[int, bytes]) -> Any:
        status, body = answer
        answer = _json.decode(self._rpc, status, body, self._quotes)
        return _checked(self._rpc, self._request, answer, body, self._quotes)

    def _collect(self, response: Any, limit: int) -> Deferred[tuple[int, bytes]]:
        collector = _Collector(response.code, limit)
        response.deliverBody(collector)
        return collector.collected.addCallback(lambda body: (response.code, body))

    def _give_back(self, result: Any, slots: _Slots) -> Any:
        slots.release()
        return result

    def _finish(self, result: Any) -> None:
        if self.done.called or self._is_withdrawn:
            # cancelled, or too late: what came of it does not matter any more
            return
        if self._is_late:
            self._waited_for = _waited_for(result)
            return
        if isinstance(result, Failure):
            result = Failure(_translated(result, self._body.is_sent, self._rpc, self._quotes))
        self.done.callback(result)

    def _has_left(self) -> bool:
        """Whether the server may get the whole request, or have it, though the connection is dropped now."""
        return self._body.is_sent and not self._body.is_held(self._reactor)

    def _maybe_applied(self) -> bool:
        return not self._rpc.is_read and self._has_left()

    def _cancelled(self, _: Deferred[Any]) -> None:
        self._abort(CallCancelled(self._maybe_applied()))

    def close(self) -> None:
        """Fails the call, because the client is closed."""
        if self.done.called:
            # somebody who was told that another one had failed has ended it
            return
        self._abort(Closed(maybe_applied=self._maybe_applied()))

    @property
    def is_sent(self) -> bool:
        """Whether the request was handed to the connection (``bool``)."""
        return self._body.is_sent

    def withdraw(self) -> None:
        """Leaves the queue, or the connection that is being made."""
        self._is_withdrawn = True
        self._work.cancel()

    def leave(self, error: Error) -> None:
        """Fails the call, which was withdrawn, with *error*."""
        # unless whoever was told of an earlier one has ended it
        if not self.done.called:
            self.done.errback(error)

    def limit(self, timeout: float) -> None:
        """Fails the call when *timeout* seconds have passed."""
        deadline = self._reactor.callLater(timeout, self._expire, timeout)

        def arrived(result: Any) -> Any:
            if deadline.active():
                deadline.cancel()
            return result

        self.done.addBoth(arrived)

    def _expire(self, timeout: float) -> None:
        if self._has_left():
            self._abort(unanswered(timeout, self._maybe_applied()))
            return
        # what it waits for is known to what is cancelled
        self._is_late = True
        self._work.cancel()
        if not self.done.called:
            self.done.errback(Timeout(f"could not be sent within {in_seconds(timeout)}{self._waited_for}"))

    def _abort(self, error: Exception) -> None:
        """Fails the call with *error*, leaves the queue, drops the connection."""
        # first the error, so that what the cancelled work makes of it comes too late
        self.done.errback(error)
        self._work.cancel()


# --- a stream


class _Stream:
    """
    An answer that goes on: see :class:`Stream <txetcd._transport.Stream>`.
    """

    def __init__(self, rpc: Rpc, request: Any, on_message: Callable[[Any], None], metadata: Metadata) -> None:
        self._rpc = rpc
        self._request = request
        self._quotes = quotes_of(rpc, request, metadata)
        self._body = _Body(_json.encode(rpc, request))
        self._on_message = on_message
        self._work: Deferred[Any] = succeed(None)
        self._receiver: Optional[_LineReceiver] = None
        self._is_paused = False
        self.ended: Deferred[None] = Deferred(lambda _: self.abort())

    def start(self, post: Callable[[_Body], Deferred[Any]], limit: int) -> None:
        """Posts and receives, lines up to the *limit*."""
        self._work = posted = post(self._body)
        posted.addCallback(self._answered, limit)
        posted.addErrback(self._ended)

    def _answered(self, response: Any, limit: int) -> Optional[Deferred[None]]:
        if response.code != _json.OK:
            return self._refused(response)
        self._receiver = _LineReceiver(limit, self._line, self._ended)
        response.deliverBody(self._receiver)
        if self._is_paused:
            self.pause()
        return None

    def _refused(self, response: Any) -> Deferred[None]:
        collector = _Collector(response.code, _REFUSAL_SIZE)
        response.deliverBody(collector)

        def refuse(body: bytes) -> None:
            raise _json.error_of(response.code, body, self._quotes)

        return collector.collected.addCallback(refuse)

    def _line(self, line: bytes) -> None:
        if self.ended.called:
            return
        try:
            answer = _json.decode_line(self._rpc, line, self._quotes)
            message = _checked(self._rpc, self._request, answer, line, self._quotes)
        except Error:
            self._ended(Failure())
        else:
            self._on_message(message)

    def _ended(self, reason: Optional[Failure]) -> None:
        if self.ended.called:
            return
        if reason is None:
            self.ended.callback(None)
        else:
            self.ended.errback(_translated(reason, self._body.is_sent, self._rpc, self._quotes))
        # only now, so that what comes of it comes too late
        self._work.cancel()
        if self._receiver is not None and self._receiver.transport is not None:
            _drop(self._receiver.transport)

    def pause(self) -> None:
        """See :meth:`Stream.pause <txetcd._transport.Stream.pause>`."""
        self._is_paused = True
        if self._receiver is not None:
            self._receiver.transport.pauseProducing()  # type: ignore[union-attr]  # set while the body is delivered

    def resume(self) -> None:
        """See :meth:`Stream.resume <txetcd._transport.Stream.resume>`."""
        self._is_paused = False
        if self._receiver is not None:
            self._receiver.transport.resumeProducing()  # type: ignore[union-attr]  # set while the body is delivered

    def abort(self) -> None:
        """See :meth:`Stream.abort <txetcd._transport.Stream.abort>`."""
        self._ended(None)

    def close(self, error: Error) -> None:
        """Ends it with *error*."""
        self._ended(Failure(error))


# --- the transport


class _NoCookies(CookieJar):
    """
    Keeps no cookies. etcd sets none; and to look for them takes a tenth of a call.
    """

    def add_cookie_header(self, request: Any) -> None:
        """There are none."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """None are kept."""


_NO_COOKIES = _NoCookies()


def _http_client(agent: IAgent) -> HTTPClient:
    # its own kind of jar is for those who look into it
    return HTTPClient(agent, cookiejar=_NO_COOKIES)  # type: ignore[arg-type]


class _HeadersCache:
    """
    The headers of requests. Most calls have the same ones, and it takes its time to make them.
    """

    _LIMIT = 1000

    def __init__(self) -> None:
        self._made: dict[tuple[Metadata, Optional[int]], Headers] = {}

    def of(self, metadata: Metadata, timeout: Optional[float]) -> Headers:
        """The headers for *metadata*, and for a server that shall stop after *timeout* seconds."""
        milliseconds = told_milliseconds(timeout)
        key = (metadata, milliseconds)
        headers = self._made.get(key)
        if headers is None:
            if len(self._made) >= self._LIMIT:
                self._made.clear()
            headers = self._made[key] = self._make(metadata, milliseconds)
        return headers

    def _make(self, metadata: Metadata, milliseconds: Optional[int]) -> Headers:
        headers = Headers({b"Content-Type": [b"application/json"]})
        if metadata.token:
            headers.addRawHeader(b"Authorization", metadata.token.encode("ascii"))
        if metadata.requires_leader:
            headers.addRawHeader(b"Grpc-Metadata-hasleader", b"true")
        if milliseconds is not None:
            headers.addRawHeader(b"Grpc-Timeout", timeout_text(milliseconds))
        return headers


class Gateway:
    """
    etcd's JSON gateway: see :class:`Transport <txetcd._transport.Transport>`.

    :param reactor: the reactor.
    :param connect_timeout: seconds for one attempt to connect.
    :param pool: the user's pool for calls, instead of one of ours.
    :param agent: the user's agent, instead of one of ours, for calls and streams.
    :param tls: how connections are secured; excludes *agent*.
    :param max_answer: bytes of an answer at the most.
    :param max_line: bytes of a line of a stream at the most.
    """

    # it loses what is sent behind the first message of a body
    is_duplex = False

    def __init__(
        self,
        reactor: Any,
        connect_timeout: float,
        pool: Optional[HTTPConnectionPool] = None,
        agent: Optional[IAgent] = None,
        tls: Optional[TLS] = None,
        max_answer: int = MAX_ANSWER,
        max_line: int = MAX_LINE,
    ) -> None:
        self._reactor = reactor
        if agent is not None and not IAgent.providedBy(agent):
            raise TypeError(f"agent must provide twisted.web.iweb.IAgent; a {type(agent).__name__} does not")
        if pool is not None and agent is not None:
            raise ValueError("pool and agent exclude each other: the agent has a pool of its own")
        if pool is not None and not isinstance(pool, HTTPConnectionPool):
            raise TypeError(f"pool must be a twisted.web.client.HTTPConnectionPool, not {type(pool).__name__}")
        if tls is not None and agent is not None:
            raise ValueError("tls and agent exclude each other: the agent has a TLS of its own")
        self._call_connections, self._stream_connections = OpenConnections(), OpenConnections()
        self._own_pool = _pool(reactor) if pool is None and agent is None else None
        creators = Creators(TLS() if tls is None else tls, HTTP_1)
        connector = Connector(reactor, connect_timeout, creators, self._call_connections, HTTP_1)
        endpoints = _Endpoints(connector, self._gone)
        calls = agent or Agent.usingEndpointFactory(reactor, endpoints, pool or self._own_pool)
        endpoints = _Endpoints(Connector(reactor, connect_timeout, creators, self._stream_connections, HTTP_1))
        streams = agent or Agent.usingEndpointFactory(reactor, endpoints)
        self._calls_client = _http_client(calls)
        self._streams_client = _http_client(streams)
        self._max_answer = max_answer
        self._max_line = max_line
        self._headers = _HeadersCache()
        self._urls: dict[tuple[str, str], _RenderedURL] = {}
        self._slots: dict[tuple[str, str], _Slots] = {}
        self._calls: dict[_Call, None] = {}
        self._streams: dict[_Stream, None] = {}
        self.on_loss: Callable[[str], None] = nobody_listens

    def call(self, endpoint: str, rpc: Rpc, request: Any, timeout: float, metadata: Metadata) -> Deferred[Any]:
        """See :meth:`Transport.call <txetcd._transport.Transport.call>`."""
        asked_at = self._reactor.seconds()

        def headers() -> Headers:
            # made when it is its turn, for the server shall not work longer than somebody waits
            return self._headers.of(metadata, left_for_server(timeout, self._reactor.seconds() - asked_at))

        post = self._post(self._calls_client, endpoint, rpc, headers)
        call = _Call(self._reactor, endpoint, rpc, request, metadata)
        self._track(self._calls, call, call.done)
        call.limit(timeout)
        call.done.addErrback(self._distrust)
        call.start(self._slots_for(endpoint, _URGENT if metadata.is_urgent else rpc.name), post, self._max_answer)
        return call.done

    def stream(
        self, endpoint: str, rpc: Rpc, request: Any, on_message: Callable[[Any], None], metadata: Metadata
    ) -> _Stream:
        """See :meth:`Transport.stream <txetcd._transport.Transport.stream>`."""
        post = self._post(self._streams_client, endpoint, rpc, lambda: self._headers.of(metadata, None))
        stream = _Stream(rpc, request, on_message, metadata)
        self._track(self._streams, stream, stream.ended)
        stream.start(post, self._max_line)
        return stream

    def leave(self, endpoint: str) -> None:
        """See :meth:`Transport.leave <txetcd._transport.Transport.leave>`."""
        self._fail(self._unsent(endpoint), better_elsewhere)

    def keep_only(self, endpoints: Sequence[str]) -> None:
        """See :meth:`Transport.keep_only <txetcd._transport.Transport.keep_only>`."""
        others = {endpoint for endpoint, _ in self._urls} - set(endpoints)
        self._urls = {key: url for key, url in self._urls.items() if key[0] not in others}
        if others and self._own_pool is not None:
            # it cannot tell them apart; those that are wanted again are soon made again
            self._own_pool.closeCachedConnections()

    def heard_at(self, endpoint: str) -> float:
        """See :meth:`Transport.heard_at <txetcd._transport.Transport.heard_at>`: each answer has its connection."""
        return -inf

    def _unsent(self, endpoint: str) -> list[_Call]:
        return [call for call in self._calls if call.endpoint == endpoint and not call.is_sent]

    def _fail(self, unsent: list[_Call], error: Callable[[], Error]) -> None:
        # the last first: those wait for a place, and must not get one when an earlier one gives it back
        for call in reversed(unsent):
            call.withdraw()
        for call in unsent:
            call.leave(error())

    def _gone(self, address: Address, is_by_peer: bool) -> Callable[[], None]:
        """There is no connection for calls to *address* any more. Those that wait for a place were meant for it."""
        unsent: list[_Call] = []
        for endpoint in {endpoint for endpoint, _ in self._urls if _address_of(endpoint) == address}:
            self.on_loss(endpoint)
            unsent += self._unsent(endpoint) if is_by_peer else []
        # not those that are asked by whoever hears of it
        return lambda: self._fail([call for call in unsent if call in self._calls and not call.is_sent], peer_gone)

    def close(self) -> Deferred[None]:
        """See :meth:`Transport.close <txetcd._transport.Transport.close>`."""
        # the last first: those wait for a place, and must not get one when an earlier one gives it back
        for call in reversed(list(self._calls)):
            call.close()
        for stream in list(self._streams):
            stream.close(Closed())
        gone = self._stream_connections.abort()
        # what a pool of the user's keeps is his
        if self._own_pool is not None:
            self._own_pool.closeCachedConnections()
            gone.addCallback(lambda _: self._call_connections.abort())
        return gone

    @property
    def connections(self) -> int:
        """How many connections are open (``int``); 0 with an agent of the user's."""
        return len(self._call_connections) + len(self._stream_connections)

    def _distrust(self, failure: Failure) -> Failure:
        """After a call that got no answer the idle connections may be as dead: nobody shall wait for each of them."""
        if self._own_pool is not None and failure.check(Timeout):
            self._own_pool.closeCachedConnections()
        return failure

    def _slots_for(self, endpoint: str, kind: str) -> _Slots:
        of_what = kind if kind in _BESIDES else ""
        if (endpoint, of_what) not in self._slots:
            self._slots[endpoint, of_what] = _Slots(_BESIDES.get(of_what, MAX_CONCURRENT))
        return self._slots[endpoint, of_what]

    def _track(self, living: dict[Any, None], one: Any, end: Deferred[Any]) -> None:
        def ended(result: Any) -> Any:
            del living[one]
            return result

        living[one] = None
        end.addBoth(ended)

    def _post(
        self, client: HTTPClient, endpoint: str, rpc: Rpc, headers: Callable[[], Headers]
    ) -> Callable[[_Body], Deferred[Any]]:
        if rpc.path is None:
            raise ValueError(f"{rpc.name} cannot be had over HTTP/1.1")
        path = rpc.path
        options = {"allow_redirects": False, "unbuffered": True, "reactor": self._reactor, "cookies": _NO_COOKIES}

        def post(body: _Body) -> Deferred[Any]:
            return client.post(self._url(endpoint, path), data=body, headers=headers(), **options)

        # a host name may turn out to be none, and an agent of the user's may raise
        return lambda body: maybeDeferred(post, body)

    def _url(self, endpoint: str, path: str) -> _RenderedURL:
        url = self._urls.get((endpoint, path))
        if url is None:
            url = self._urls[endpoint, path] = _RenderedURL(endpoint + path)
        return url


def _address_of(endpoint: str) -> Address:
    uri = URI.fromBytes(_RenderedURL(endpoint).to_text().encode("ascii"))
    return uri.scheme, uri.host, uri.port


def _pool(reactor: Any) -> HTTPConnectionPool:
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = MAX_CONCURRENT + sum(_BESIDES.values())
    return pool
