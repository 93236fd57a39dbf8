"""
The transport over etcd's native protocol: gRPC over HTTP/2, in pure Python.

One connection for each endpoint, made when it is first needed and kept. Calls and streams share it, as many at a time
as the server allows; the others wait, and nothing of them was sent. Renewals and revocations of leases do not wait
behind them.

What is known of a call that gets no answer is exact: a request is sent only to a server that has shown that it speaks
HTTP/2, one that was not sent as a whole cannot be carried out, and a server that says goodbye tells which ones it has
not looked at. Only when the connection is lost nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from math import inf
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from . import _protobuf
from ._answers import flaw_of
from ._backoff import in_seconds, left_for_server, told_milliseconds
from ._channel import LIVENESS, MOST_LIVENESS, Channel
from ._clues import HTTP_2
from ._connections import Connector, OpenConnections, describe
from ._deadlines import Deadlines
from ._grpc import AnswerReader, failure_of, framed, request_block, whole
from ._http2 import Stream
from ._quotes import Quotes
from ._schema import LEASE_KEEP_ALIVE, LEASE_REVOKE, Rpc
from ._tls import TLS, Creators
from ._transport import (
    CallCancelled,
    Metadata,
    answer_lost,
    better_elsewhere,
    nobody_listens,
    quotes_of,
    unanswered,
)
from ._url import DEFAULT_PORTS
from .errors import Closed, Error, ProtocolViolation, Timeout, Unavailable

MAX_MESSAGE = 512 * 1024 * 1024
"""Bytes of a message. etcd sets no limit of its own; what is larger has to be read page by page."""

_URGENT = frozenset((LEASE_KEEP_ALIVE.name, LEASE_REVOKE.name))
"""A lease must not be lost because its owner is busy with other calls, nor a lock be kept from others."""


# --- what is under way


class _Exchange:
    """
    A request, and what comes of it.

    :param peer: where to.
    :param metadata: what goes along with it.

    :ivar channel: the connection that it goes over, as soon as there is one.
    :ivar stream: what it is there.
    :ivar is_over: whether nobody waits for more (``bool``).
    """

    channel: Optional[Channel] = None
    stream: Optional[Stream] = None
    is_over = False

    def __init__(self, peer: _Peer, rpc: Rpc, request: Any, metadata: Metadata) -> None:
        self.peer = peer
        self.rpc = rpc
        self.request = request
        self.metadata = metadata
        self._message = framed(_protobuf.encode(rpc, request))

    @property
    def is_sent(self) -> bool:
        """Whether the whole request was sent (``bool``)."""
        return self.stream is not None and self.stream.is_sent

    @property
    def asked(self) -> Any:
        """The request that is answered; ``None`` if it may be another one."""
        return self.request

    @property
    def quotes(self) -> Quotes:
        """How errors quote what answers it."""
        return quotes_of(self.rpc, self.request, self.metadata)

    def begin(self, channel: Channel) -> None:
        """Sends it, as soon as the server lets it."""
        is_urgent = self.metadata.is_urgent or self.rpc.name in _URGENT
        self.channel = channel
        self.stream = channel.begin(self, self._block(), self._message, is_urgent, self.rpc.is_duplex)
        if not self.stream.id:
            # the server has less time for what waits
            self.queue()
            self.stream.renew = self._block

    def _block(self) -> bytes:
        return self.peer.block(self.rpc, self.metadata, self.left())

    def queue(self) -> None:
        """It has to wait."""

    def left(self) -> Optional[float]:
        """The seconds that the server has."""
        return None

    def fail(self, error: Exception) -> None:
        """It ends with *error*, unless it has ended."""
        raise NotImplementedError

    def on_data(self, stream: Stream, data: bytes) -> None:
        """See :meth:`Exchange.on_data <txetcd._channel.Exchange.on_data>`."""
        raise NotImplementedError

    def on_end(self, stream: Stream) -> None:
        """See :meth:`Exchange.on_end <txetcd._channel.Exchange.on_end>`."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """It is over; and what refers to it in turn is let go, or both would be there until garbage is collected."""
        self.is_over = True
        self.stream = None

    def withdraw(self) -> None:
        """Nobody waits for it any more: the server need not work for it."""
        if self.channel is None or self.stream is None:
            self.peer.withdraw(self)
        else:
            self.channel.reset(self.stream)

    def on_loss(self, why: str, is_sent: bool) -> None:
        """See :meth:`Exchange.on_loss <txetcd._channel.Exchange.on_loss>`."""
        why = self.quotes.text(why)
        if not is_sent:
            self.fail(Unavailable(None, f"not sent: {why}"))
        else:
            self.fail(answer_lost(self.rpc, why))

    def on_violation(self, what: str, is_sent: bool) -> None:
        """See :meth:`Exchange.on_violation <txetcd._channel.Exchange.on_violation>`."""
        what = self.quotes.text(what)
        self.fail(ProtocolViolation(what) if is_sent else Unavailable(None, f"not sent: {what}"))

    def decode(self, message: bytes) -> Any:
        """The answer that *message* is, if etcd may have given it."""
        answer = _protobuf.decode(self.rpc, message)
        flaw = flaw_of(self.rpc, self.asked, answer)
        if flaw is not None:
            raise ProtocolViolation(f"no answer of etcd: it {flaw}")
        return answer


class _Call(_Exchange):
    """
    One call.

    :param on_end: called when it is over.

    :ivar done: as :meth:`Transport.call <txetcd._transport.Transport.call>` promises.
    :ivar step: when it expires (``int``).
    :ivar heard_at: when something has come last of an answer in several pieces (``float``).
    """

    step = 0
    heard_at = -inf
    _queued_at: Optional[float] = None
    # the message that the answer consists of; what puts it together, if it does not come in one piece
    _answer: Optional[bytes] = None
    _reader: Optional[AnswerReader] = None

    def __init__(
        self, peer: _Peer, rpc: Rpc, request: Any, metadata: Metadata, timeout: float, on_end: Callable[[_Call], None]
    ) -> None:
        super().__init__(peer, rpc, request, metadata)
        self._timeout = timeout
        self._on_end = on_end
        self.done: Deferred[Any] = Deferred(self._cancelled)

    def queue(self) -> None:
        """See :meth:`_Exchange.queue`."""
        if self._queued_at is None:
            self._queued_at = self.peer.clock.seconds()

    def left(self) -> float:
        """See :meth:`_Exchange.left`."""
        if self._queued_at is None:
            return self._timeout
        return left_for_server(self._timeout, self.peer.clock.seconds() - self._queued_at)

    def on_data(self, stream: Stream, data: bytes) -> None:
        """See :meth:`Exchange.on_data <txetcd._channel.Exchange.on_data>`."""
        if self.is_over:
            return
        if self._reader is None and self._answer is None and stream.headers.is_grpc:
            self._answer = whole(data, self.peer.max_message)
            if self._answer is not None:
                if self.rpc.is_duplex:
                    self._settle()
                return
        try:
            self._put_together(stream, data)
            if self._answer is not None and self.rpc.is_duplex:
                self._settle()
        except Exception as error:
            # whatever it is, others are not to suffer from it
            self._abort(error)

    def _put_together(self, stream: Stream, data: bytes) -> None:
        self.heard_at = self.peer.clock.seconds()
        if self._reader is None:
            self._reader = AnswerReader(self.peer.max_message)
        for message in self._reader.feed(stream.headers, data):
            if self._answer is not None:
                raise ProtocolViolation("an answer of more than one message")
            self._answer = message

    def _settle(self) -> None:
        """The first answer is all that is wanted, of a server that would wait for more requests."""
        assert self._answer is not None
        try:
            answer = self.decode(self._answer)
        except Exception:
            answer = Failure()
        self.withdraw()
        self._finish(answer)

    def on_end(self, stream: Stream) -> None:
        """See :meth:`Exchange.on_end <txetcd._channel.Exchange.on_end>`."""
        if self.is_over:
            return
        try:
            answer = self._read(stream)
        except Exception:
            answer = Failure()
        self._finish(answer)

    def _read(self, stream: Stream) -> Any:
        ends = stream.headers, stream.trailers
        quotes = self.quotes
        error = failure_of(*ends, b"", quotes) if self._reader is None else self._reader.finish(*ends, quotes)
        if error is not None:
            raise error
        if self._answer is None:
            raise ProtocolViolation("an answer without a message")
        return self.decode(self._answer)

    def fail(self, error: Exception) -> None:
        """See :meth:`_Exchange.fail`."""
        if not self.is_over:
            self._finish(Failure(error))

    def _finish(self, result: Any) -> None:
        self._let_go()
        self._answer = None
        self._on_end(self)
        self.done.callback(result)

    def _abort(self, error: Exception) -> None:
        # first the server, as whoever is told may end the client
        self.withdraw()
        self.fail(error)

    def _maybe_applied(self) -> bool:
        return self.is_sent and not self.rpc.is_read

    def _cancelled(self, _: Deferred[Any]) -> None:
        self._abort(CallCancelled(self._maybe_applied()))

    def expire(self) -> None:
        """Its time is over."""
        if self.is_sent:
            self._abort(unanswered(self._timeout, self._maybe_applied()))
        else:
            seconds = in_seconds(self._timeout)
            self._abort(Timeout(f"could not be sent within {seconds}: {self.peer.obstacle(self)}"))

    def close(self) -> None:
        """Fails it, because the client is closed."""
        if not self.is_over:
            self._abort(Closed(maybe_applied=self._maybe_applied()))

    def leave(self) -> None:
        """Fails it, because it was not sent and is better asked elsewhere."""
        self._abort(better_elsewhere())


class _AnswerStream(_Exchange):
    """
    An answer that goes on: see :class:`Stream <txetcd._transport.Stream>`.

    :param on_end: called when it is over.
    """

    def __init__(
        self,
        peer: _Peer,
        rpc: Rpc,
        request: Any,
        metadata: Metadata,
        on_message: Callable[[Any], None],
        on_end: Callable[[_AnswerStream], None],
    ) -> None:
        super().__init__(peer, rpc, request, metadata)
        self._on_message = on_message
        self._on_end = on_end
        self._reader = AnswerReader(peer.max_message)
        self._is_paused = self._has_more = False
        self.ended: Deferred[None] = Deferred(lambda _: self.abort())

    def begin(self, channel: Channel) -> None:
        """See :meth:`_Exchange.begin`."""
        super().begin(channel)
        if self._is_paused:
            self.pause()

    def on_data(self, stream: Stream, data: bytes) -> None:
        """See :meth:`Exchange.on_data <txetcd._channel.Exchange.on_data>`."""
        if self.is_over:
            return
        try:
            for message in self._reader.feed(stream.headers, data):
                answer = self.decode(message)
                self._on_message(answer)
                if self.is_over:
                    return
        except Exception as error:
            self.withdraw()
            self.fail(error)

    def on_end(self, stream: Stream) -> None:
        """See :meth:`Exchange.on_end <txetcd._channel.Exchange.on_end>`."""
        if not self.is_over:
            self._finish(self._reader.finish(stream.headers, stream.trailers, self.quotes))

    def fail(self, error: Exception) -> None:
        """See :meth:`_Exchange.fail`."""
        if not self.is_over:
            self._finish(error)

    def _finish(self, error: Optional[Exception]) -> None:
        self._let_go()
        self._on_end(self)
        if error is None:
            self.ended.callback(None)
        else:
            self.ended.errback(error)

    @property
    def asked(self) -> Any:
        """See :attr:`_Exchange.asked`."""
        return None if self._has_more else self.request

    def send(self, request: Any) -> None:
        """See :meth:`DuplexStream.send <txetcd._transport.DuplexStream.send>`."""
        if self.is_over:
            return
        self._has_more = True
        message = framed(_protobuf.encode(self.rpc, request))
        if self.channel is not None and self.stream is not None:
            self.channel.send(self.stream, message)
        else:
            self._message += message

    def pause(self) -> None:
        """See :meth:`Stream.pause <txetcd._transport.Stream.pause>`."""
        self._is_paused = True
        if self.channel is not None and self.stream is not None:
            self.channel.pause(self.stream)

    def resume(self) -> None:
        """See :meth:`Stream.resume <txetcd._transport.Stream.resume>`."""
        self._is_paused = False
        if self.channel is not None and self.stream is not None:
            self.channel.resume(self.stream)

    def abort(self) -> None:
        """See :meth:`Stream.abort <txetcd._transport.Stream.abort>`."""
        self._end(None)

    def close(self) -> None:
        """Fails it, because the client is closed."""
        self._end(Closed())

    def _end(self, error: Optional[Exception]) -> None:
        if not self.is_over:
            self.withdraw()
            self._finish(error)


# --- an endpoint


class _Peer:
    """
    An endpoint, and the connection to it.

    :param url: its URL.
    :param clock: the reactor.
    :param connector: makes connections.
    :param connect_timeout: seconds for one attempt.
    :param max_message: bytes of a message at the most.
    :param liveness: seconds between two looks at the connection.
    :param on_loss: called when the connection has ended, or begins nothing more.

    :ivar clock: as given.
    :ivar max_message: as given.
    """

    _MAX_BLOCKS = 1000

    def __init__(
        self,
        url: str,
        clock: Any,
        connector: Connector,
        connect_timeout: float,
        max_message: int,
        liveness: float,
        on_loss: Callable[[], None],
    ) -> None:
        parts = urlsplit(url)
        self._on_loss = on_loss
        self._is_secure = parts.scheme == "grpcs"
        self._host, self._port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        self._authority = ""
        self._connector = connector
        self._connect_timeout = connect_timeout
        self.clock = clock
        self.max_message = max_message
        # in the order in which they came; any of them can leave at once
        self._waiting: dict[_Exchange, None] = {}
        self._connecting: Optional[Deferred[Any]] = None
        self._channel: Optional[Channel] = None
        self._liveness = liveness
        self._is_retired = False
        # by the identity of the metadata, which lasts as they are kept as well: to hash them takes its time
        self._blocks: dict[tuple[str, int, Optional[int]], tuple[Metadata, bytes]] = {}

    def submit(self, exchange: _Exchange) -> None:
        """Begins *exchange*, now or when there is a connection."""
        if self._channel is not None:
            self._begin(exchange, self._channel)
            return
        self._waiting[exchange] = None
        exchange.queue()
        if self._connecting is None:
            self._connect()

    def _begin(self, exchange: _Exchange, channel: Channel) -> None:
        try:
            exchange.begin(channel)
        except Exception as error:
            # it cannot be written; those that wait behind it can
            exchange.fail(error)

    def withdraw(self, exchange: _Exchange) -> None:
        """It does not wait any more."""
        self._waiting.pop(exchange, None)
        self._stop_if_unwanted()

    def obstacle(self, exchange: _Exchange) -> str:
        """What an exchange that was not sent waits for."""
        return "there is no connection yet" if exchange.channel is None else "the server takes no more at a time"

    def block(self, rpc: Rpc, metadata: Metadata, seconds: Optional[float]) -> bytes:
        """
        The header block of a request. Most have the same one, and it takes its time to make it.

        :param seconds: which the server has.
        """
        milliseconds = told_milliseconds(seconds)
        key = (rpc.method, id(metadata), milliseconds)
        kept = self._blocks.get(key)
        if kept is None:
            if len(self._blocks) >= self._MAX_BLOCKS:
                self._blocks.clear()
            kept = self._blocks[key] = metadata, request_block(
                self._is_secure, self._authority, rpc.method, milliseconds, metadata.token, metadata.requires_leader
            )
        return kept[1]

    def retire(self) -> None:
        """It is not asked any more: its connection ends when what is under way has."""
        self._is_retired = True
        if self._channel is not None:
            self._channel.retire()
        self._stop_if_unwanted()

    def _stop_if_unwanted(self) -> None:
        # nobody closes it later: those who asked for it have forgotten it
        if self._is_retired and not self._waiting:
            self.close()

    def close(self) -> None:
        """Connects no more."""
        if self._connecting is not None:
            self._connecting.cancel()

    def _connect(self) -> None:
        began = self.clock.seconds()
        factory = Factory.forProtocol(lambda: Channel(self.clock, self._left, self._liveness))
        factory.noisy = False
        # a host name may turn out to be none
        endpoint = maybeDeferred(self._endpoint)
        self._connecting = connecting = endpoint.addCallback(lambda endpoint: endpoint.connect(factory))
        connecting.addCallback(self._shake_hands, began)
        connecting.addCallbacks(self._connected, self._not_connected)

    def _endpoint(self) -> IStreamClientEndpoint:
        host = self._host if self._host.isascii() else self._host.encode("idna").decode("ascii")
        self._authority = f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"
        return self._connector.endpoint(host, self._port, self._is_secure)

    def _shake_hands(self, channel: Channel, began: float) -> Deferred[Channel]:
        left = max(0.0, began + self._connect_timeout - self.clock.seconds())
        return channel.when_ready().addTimeout(left, self.clock, self._too_slow)

    def _too_slow(self, result: object, timeout: float) -> Failure:
        seconds = in_seconds(self._connect_timeout)
        return Failure(Unavailable(None, f"not sent: port {self._port} did not begin to speak HTTP/2 within {seconds}"))

    def _connected(self, channel: Channel) -> None:
        self._connecting = None
        self._channel = channel
        if self._is_retired:
            channel.retire()
        while self._waiting and self._channel is channel:
            exchange = next(iter(self._waiting))
            del self._waiting[exchange]
            self._begin(exchange, channel)
        if self._waiting and self._connecting is None:
            # it has left already
            self._connect()

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        waiting, self._waiting = self._waiting, {}
        for exchange in waiting:
            exchange.fail(_not_sent(failure.value))

    def _left(self, channel: Channel) -> None:
        """No more can be begun on *channel*; who is at the other end of the next one is not known."""
        if self._channel is channel:
            self._channel = None
        if channel.is_too_eager:
            self._liveness = min(2 * self._liveness, MOST_LIVENESS)
        self._on_loss()


def _not_sent(reason: Optional[BaseException]) -> Error:
    """A new error for each: it is told where it happened."""
    assert reason is not None
    if isinstance(reason, Error):
        return copy(reason)
    return Unavailable(None, f"not sent: {describe(HTTP_2, [reason])}")


# --- the transport


class Native:
    """
    etcd's native protocol: see :class:`Transport <txetcd._transport.Transport>`.

    :param reactor: the reactor.
    :param connect_timeout: seconds for one attempt to connect.
    :param tls: how connections are secured.
    :param max_message: bytes of a message at the most.
    :param liveness: seconds between two looks at a connection: see :data:`~txetcd._channel.LIVENESS`.
    """

    is_duplex = True

    def __init__(
        self,
        reactor: Any,
        connect_timeout: float,
        tls: Optional[TLS] = None,
        max_message: int = MAX_MESSAGE,
        liveness: float = LIVENESS,
    ) -> None:
        self._reactor = reactor
        self._liveness = liveness
        self._connect_timeout = connect_timeout
        self._max_message = max_message
        self._connections = OpenConnections()
        creators = Creators(TLS() if tls is None else tls, HTTP_2)
        self._connector = Connector(reactor, connect_timeout, creators, self._connections, HTTP_2)
        self._deadlines = Deadlines(reactor)
        self._peers: dict[str, _Peer] = {}
        self._calls: dict[_Call, None] = {}
        self._streams: dict[_AnswerStream, None] = {}
        self.on_loss: Callable[[str], None] = nobody_listens

    def call(self, endpoint: str, rpc: Rpc, request: Any, timeout: float, metadata: Metadata) -> Deferred[Any]:
        """See :meth:`Transport.call <txetcd._transport.Transport.call>`."""
        peer = self._peers.get(endpoint) or self._peer(endpoint)
        call = _Call(peer, rpc, request, metadata, timeout, self._ended)
        self._calls[call] = None
        self._deadlines.add(call, timeout)
        peer.submit(call)
        return call.done

    def _ended(self, call: _Call) -> None:
        del self._calls[call]
        self._deadlines.remove(call)

    def stream(
        self, endpoint: str, rpc: Rpc, request: Any, on_message: Callable[[Any], None], metadata: Metadata
    ) -> _AnswerStream:
        """See :meth:`Transport.stream <txetcd._transport.Transport.stream>`."""
        peer = self._peers.get(endpoint) or self._peer(endpoint)
        stream = _AnswerStream(peer, rpc, request, metadata, on_message, self._streams.__delitem__)
        self._streams[stream] = None
        peer.submit(stream)
        return stream

    def leave(self, endpoint: str) -> None:
        """See :meth:`Transport.leave <txetcd._transport.Transport.leave>`."""
        peer = self._peers.get(endpoint)
        unsent = [call for call in self._calls if call.peer is peer and not call.is_sent]
        # the last first: those wait for a place, and must not get one when an earlier one gives it back
        for call in reversed(unsent):
            # whoever is told may end a call that was sent, and so make room for one that was not
            if not call.is_sent:
                call.leave()

    def keep_only(self, endpoints: Sequence[str]) -> None:
        """See :meth:`Transport.keep_only <txetcd._transport.Transport.keep_only>`."""
        for endpoint in set(self._peers) - set(endpoints):
            self._peers.pop(endpoint).retire()

    def heard_at(self, endpoint: str) -> float:
        """See :meth:`Transport.heard_at <txetcd._transport.Transport.heard_at>`."""
        peer = self._peers.get(endpoint)
        return max((call.heard_at for call in self._calls if call.peer is peer), default=-inf)

    def close(self) -> Deferred[None]:
        """See :meth:`Transport.close <txetcd._transport.Transport.close>`."""
        # the last first: those wait for a place, and must not get one when an earlier one gives it back
        for call in reversed(list(self._calls)):
            call.close()
        for stream in list(self._streams):
            stream.close()
        for peer in list(self._peers.values()):
            peer.close()
        self._deadlines.stop()
        return self._connections.abort()

    @property
    def connections(self) -> int:
        """How many connections are open (``int``)."""
        return len(self._connections)

    def _peer(self, endpoint: str) -> _Peer:
        peer = self._peers[endpoint] = _Peer(
            endpoint,
            self._reactor,
            self._connector,
            self._connect_timeout,
            self._max_message,
            self._liveness,
            lambda: self.on_loss(endpoint),
        )
        return peer
