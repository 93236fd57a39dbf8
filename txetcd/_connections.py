"""
Connections, which are counted, and which say in plain words why they came to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable, Optional

from twisted.internet import error as network
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IReactorFDSet,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from . import _clues
from ._backoff import in_seconds
from ._clues import Dialect
from ._tls import Creators, Peer, peer_of, reasons
from .errors import Error, TLSFailed, Unavailable, WrongProtocol

# --- what Twisted and OpenSSL say, in our words


def is_of_connection(error: BaseException) -> bool:
    """Whether a connection was lost, or could not be had."""
    # Twisted aborts a connection whose peer does not keep to HTTP, where it has no error for that
    if isinstance(error, network.ConnectionAborted):
        return False
    return isinstance(error, (network.ConnectionClosed, network.ConnectError, OSError)) or _is_of_openssl(error)


def _is_of_openssl(error: BaseException) -> bool:
    return type(error).__module__.startswith("OpenSSL.")


def is_of_certificate(error: BaseException) -> bool:
    """Whether one side refused the other's certificate: then no request was read, whatever was sent."""
    return _clues.is_of_certificate(_said(error))


class _ClosedUnheard(network.ConnectionDone):
    """The server closed the connection before it had ever said anything."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__()
        self.what = dialect.closed_unheard


_LOST: dict[type[BaseException], str] = {
    network.ConnectionDone: "the server closed it",
    network.ConnectionLost: "it broke off",
}


def _said(error: BaseException) -> str:
    if type(error).__module__.startswith("service_identity"):
        return _clues.WRONG_NAME
    if _is_of_openssl(error):
        return reasons(error)
    if isinstance(error, _ClosedUnheard):
        return error.what
    wrapped = getattr(error, "osError", None)
    if isinstance(wrapped, Failure) and wrapped.value is not None:
        # it says why, and its wrapper only when
        return _said(wrapped.value)
    return _LOST.get(type(error)) or " ".join((str(error) or type(error).__name__).split())


def describe(dialect: Dialect, errors: Iterable[BaseException]) -> str:
    """What Twisted, OpenSSL or others say, in one line, without how they call it within, and what to look at then."""
    said = (_clues.tls_failure(dialect, _said(one)) if _is_of_openssl(one) else _said(one) for one in errors)
    return "; ".join(dict.fromkeys(said))


# --- connections


class OpenConnections:
    """The connections that are open."""

    def __init__(self) -> None:
        self._open: set[ProtocolWrapper] = set()
        self._when_none: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: ProtocolWrapper) -> None:
        """There is one more."""
        self._open.add(connection)

    def lost(self, connection: ProtocolWrapper) -> None:
        """There is one less; but what was spoken on it has not heard of that."""
        self._open.discard(connection)

    def heard(self) -> None:
        """What was spoken on the one that was lost has heard of it, and has left nothing behind."""
        if not self._open:
            waiting, self._when_none = self._when_none, []
            for gone in waiting:
                gone.callback(None)

    def abort(self) -> Deferred[None]:
        """Drops them all; fires with ``None`` when they are gone."""
        if not self._open:
            return succeed(None)
        gone: Deferred[None] = Deferred()
        self._when_none.append(gone)
        for connection in list(self._open):
            connection.transport.abortConnection()  # type: ignore[union-attr]  # it is connected
        return gone


class Load:
    """
    What is written to a connection by a producer, if it is to be known whether it may have arrived.
    """

    _transport: Any = None

    def goes_over(self, transport: Any) -> None:
        """It is about to be written to this *transport*."""
        self._transport = transport

    def is_held(self, reactor: Any) -> bool:
        """
        Whether the end of it has certainly not left this process, so that it never will if the connection is dropped
        now. What is written is given to the system in the next turn of the reactor, or later if the peer does not
        read. Of TLS, which may have more to say than what it was given, this is not known.
        """
        return IReactorFDSet.providedBy(reactor) and self._transport in reactor.getWriters()


@implementer(IHandshakeListener)
class _Connection(ProtocolWrapper):
    """
    A connection that can be ended whatever its peer does, and that says why there is no answer where HTTP could not:
    TLS was not agreed on, or the peer speaks something else. Of that Twisted tells nothing, or only at the end of a
    line, which may never come.

    :param dialect: what is spoken on it.
    :param is_secure: whether it has TLS.

    :ivar is_ended_here: whether it was dropped here, and not by its peer (``bool``).
    :ivar secured: with TLS, fires with the connection when both sides have agreed; fails with
        :class:`~txetcd.errors.Unavailable` if they do not. Cancelling it drops the connection.
    """

    def __init__(self, factory: Any, wrapped: Any, dialect: Dialect, is_secure: bool) -> None:
        super().__init__(factory, wrapped)
        self._dialect = dialect
        self._is_secure = is_secure
        self._peer: Optional[Peer] = None
        self._has_tls = self._is_known = self.is_ended_here = False
        self._first = b""
        self.secured: Deferred[_Connection] = Deferred(self._not_secured)

    def connectionMade(self) -> None:
        if self._is_secure:
            self._peer = peer_of(self.transport)
        else:
            self.factory.established(self)

    def handshakeCompleted(self) -> None:
        if self._peer is None or not self._peer.is_verified:
            # a library that has changed must not do this unnoticed
            self._not_secured(self.secured, _no_tls(_clues.NOT_VERIFIED))
            return
        transport: Any = self.transport
        if self._dialect.alpn and transport.negotiatedProtocol != self._dialect.alpn:
            self._not_secured(self.secured, WrongProtocol(None, f"not sent: {_clues.no_alpn(self._dialect)}"))
            return
        self._has_tls = True
        self.factory.established(self)
        self.secured.callback(self)

    def _not_secured(self, secured: Deferred[_Connection], error: Optional[Error] = None) -> None:
        secured.errback(error or _not_sent(_clues.NO_HANDSHAKE))
        transport: Any = self.transport
        transport.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)  # type: ignore[no-untyped-call]  # of Twisted
        if isinstance(producer, Load):
            producer.goes_over(self.transport)

    def dataReceived(self, data: bytes) -> None:
        if not self._is_known:
            data = self._first = self._first + data
            if self._dialect.is_undecided(data):
                return
            self._is_known, self._first = True, b""
            error = self._dialect.foreign(data)
            if error is not None:
                self._give_up(error)
        self.wrappedProtocol.dataReceived(data)

    def _give_up(self, error: Error) -> None:
        transport: Any = self.transport
        transport.abortConnection()
        # who speaks hears this, and nothing more
        given_up, self.wrappedProtocol = self.wrappedProtocol, Protocol()
        given_up.connectionLost(Failure(error))

    def loseConnection(self) -> None:
        # when HTTP ends, all is said; a polite end would wait for the peer, which may be gone (TLS asks it to agree)
        transport: Any = self.transport
        transport.abortConnection()

    def finish(self) -> None:
        """Ends it when what was written is on its way, if the peer takes it."""
        super().loseConnection()  # type: ignore[no-untyped-call]  # of Twisted

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        explained = self._explained(reason)
        self.is_ended_here = reason.check(network.ConnectionAborted) is not None
        super().connectionLost(explained)  # type: ignore[no-untyped-call]  # of Twisted
        if self._is_secure and not self.secured.called:
            self.secured.errback(explained)
        self.factory.heard()

    def _explained(self, reason: Failure) -> Failure:
        if self._peer is not None:
            error = self._told_by_tls(self._peer, reason.value)
            return reason if error is None else Failure(error)
        is_unheard = not self._is_known and not self._first
        if is_unheard and reason.check(network.ConnectionDone):
            return Failure(_ClosedUnheard(self._dialect))
        return reason

    def _told_by_tls(self, peer: Peer, error: Any) -> Optional[Error]:
        """Why no request was read; ``None`` if one was, perhaps."""
        said = _said(error)
        # with TLS 1.3 a server says only after the handshake that it wants a certificate, but before it reads more
        if not self._is_known and _is_of_openssl(error) and _clues.is_of_client_certificate(said):
            return _no_tls(_clues.client_certificate(said, peer.cert_file))
        if self._has_tls:
            return None
        if peer.refusal is not None:
            return _no_tls(peer.refusal)
        # one that is just stopping closes its connections as well
        if isinstance(error, network.ConnectionClosed):
            return _not_sent(_clues.no_tls(self._dialect))
        return _no_tls(describe(self._dialect, [error]))


def _not_sent(why: str) -> Unavailable:
    return Unavailable(None, f"not sent: {why}")


def _no_tls(why: str) -> TLSFailed:
    return TLSFailed(None, f"not sent: {why}")


OnGone = Callable[[bool], Callable[[], None]]
"""
Called when there is no connection to an endpoint any more, with whether the other side has ended the last one. What it
returns is called when whoever spoke on that one has heard of its end.
"""


def _nothing() -> None:
    """There is nothing to do."""


class _Siblings:
    """
    The open connections to an endpoint.

    :param on_gone: see :data:`OnGone`.
    """

    def __init__(self, on_gone: OnGone) -> None:
        self._on_gone = on_gone
        self._open: set[ProtocolWrapper] = set()

    def opened(self, connection: ProtocolWrapper) -> None:
        """There is one more."""
        self._open.add(connection)

    def lost(self, connection: Any) -> Callable[[], None]:
        """There is one less, if it ever was one. What is returned is called when that was heard."""
        if connection not in self._open:
            return _nothing
        self._open.remove(connection)
        return _nothing if self._open else self._on_gone(not connection.is_ended_here)


class _Counted(Factory):
    """Makes the protocols that *factory* makes, and counts them while they are connected."""

    noisy = False

    def __init__(
        self, factory: Any, connections: OpenConnections, siblings: _Siblings, dialect: Dialect, is_secure: bool
    ) -> None:
        self._factory = factory
        self._connections = connections
        self._siblings = siblings
        # a factory has one connection, or several of which one is kept
        self._when_heard: Callable[[], None] = _nothing
        self._dialect = dialect
        self._is_secure = is_secure

    def buildProtocol(self, addr: Any) -> Any:
        return _Connection(self, self._factory.buildProtocol(addr), self._dialect, self._is_secure)

    def registerProtocol(self, p: ProtocolWrapper) -> None:
        """Called by the wrapper when it is connected."""
        self._connections.opened(p)

    def established(self, p: ProtocolWrapper) -> None:
        """Called by the wrapper when something can be said on it: with TLS, when both sides have agreed."""
        self._siblings.opened(p)

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        """Called by the wrapper when the connection is lost, before what it wraps hears of it."""
        self._connections.lost(p)
        self._when_heard = self._siblings.lost(p)

    def heard(self) -> None:
        """Called by the wrapper when what it wraps has heard of it."""
        self._when_heard()
        self._connections.heard()


@implementer(IStreamClientEndpoint)
class _CountedEndpoint:
    """
    An endpoint whose connections are counted, and not logged one by one. With TLS they are there when both sides have
    agreed on it, and not before: what is sent then, the server can read.

    :param reactor: the reactor.
    :param endpoint: makes them, without TLS.
    :param connections: where they are counted.
    :param dialect: what is spoken on them.
    :param host: where they go, for the words of an error ...
    :param port: ... which a URL may leave out ...
    :param seconds: ... and how long they are tried.
    :param creator: makes their TLS, if they have any: one of :class:`~txetcd._tls.Creators`.
    :param on_gone: see :data:`OnGone`.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: IStreamClientEndpoint,
        connections: OpenConnections,
        dialect: Dialect,
        host: str,
        port: int,
        seconds: float,
        creator: Optional[IOpenSSLClientConnectionCreator],
        on_gone: OnGone,
    ) -> None:
        self._reactor = reactor
        self._siblings = _Siblings(on_gone)
        self._endpoint = endpoint if creator is None else wrapClientTLS(creator, endpoint)
        self._connections = connections
        self._dialect = dialect
        self._port = port
        self._seconds = seconds
        self._is_secure = creator is not None
        self._unreachable: dict[type, str] = {
            network.ConnectionRefusedError: f"port {port} refuses connections: is etcd running there?",
            network.TimeoutError: f"no connection to port {port} within {seconds:g} seconds",
            network.DNSLookupError: f"there is no host {host!r} (DNS lookup failed)",
        }
        self._not_looked_up = f"the DNS lookup of {host!r} was not answered yet"

    def connect(self, protocolFactory: Any) -> Any:
        """See :meth:`IStreamClientEndpoint.connect <twisted.internet.interfaces.IStreamClientEndpoint.connect>`."""
        began = self._reactor.seconds()
        factory = _Counted(protocolFactory, self._connections, self._siblings, self._dialect, self._is_secure)
        connecting: Deferred[Any] = self._endpoint.connect(factory)
        if self._is_secure:
            connecting.addCallback(self._secured, began)
        is_given_up = False

        def give_up(_: object) -> None:
            nonlocal is_given_up
            is_given_up = True
            connecting.cancel()

        connected: Deferred[Any] = Deferred(give_up)
        connecting.chainDeferred(connected)
        return connected.addCallbacks(
            lambda connection: connection.wrappedProtocol, lambda failure: self._failed(failure, is_given_up)
        )

    def _secured(self, connection: _Connection, began: float) -> Deferred[_Connection]:
        left = max(0.0, began + self._seconds - self._reactor.seconds())
        return connection.secured.addTimeout(left, self._reactor, self._too_slow)

    def _too_slow(self, result: object, timeout: float) -> Failure:
        return Failure(_not_sent(f"{_clues.NO_HANDSHAKE} at port {self._port} within {in_seconds(self._seconds)}"))

    def _failed(self, failure: Failure, is_given_up: bool) -> Failure:
        # HostnameEndpoint says the same of a lookup that was cancelled
        is_looked_up = is_given_up and failure.check(network.DNSLookupError)
        words = self._not_looked_up if is_looked_up else self._unreachable.get(type(failure.value))
        return failure if words is None else Failure(_not_sent(words))


class Connector:
    """
    Makes connections: to an address, or by host name to the first of its addresses that answers; with TLS that is
    verified.

    :param reactor: the reactor.
    :param connect_timeout: seconds for one attempt.
    :param creators: make their TLS.
    :param connections: where they are counted.
    :param dialect: what is spoken on them.
    """

    def __init__(
        self, reactor: Any, connect_timeout: float, creators: Creators, connections: OpenConnections, dialect: Dialect
    ) -> None:
        self._reactor = reactor
        self._connect_timeout = connect_timeout
        self._creators = creators
        self._connections = connections
        self._dialect = dialect

    def endpoint(
        self, host: str, port: int, is_secure: bool, on_gone: OnGone = lambda is_by_peer: _nothing
    ) -> IStreamClientEndpoint:
        """
        An endpoint, which makes connections to this *host*.

        :param on_gone: see :data:`OnGone`.
        :raises ValueError: for a host name that can be none.
        """
        endpoint = self._of_address(host, port)
        creator = self._creators.creator(host) if is_secure else None
        seconds = self._connect_timeout
        return _CountedEndpoint(
            self._reactor, endpoint, self._connections, self._dialect, host, port, seconds, creator, on_gone
        )

    def _of_address(self, host: str, port: int) -> IStreamClientEndpoint:
        # an address needs no search for the best of several, which notices a refusal only after a third of a second
        if isIPAddress(host):
            return TCP4ClientEndpoint(self._reactor, host, port, self._connect_timeout)
        if isIPv6Address(host):
            return TCP6ClientEndpoint(self._reactor, host, port, self._connect_timeout)
        if "_" in host:
            # no name for the internet, which is all that HostnameEndpoint takes, but one that containers have
            return TCP4ClientEndpoint(self._reactor, host, port, self._connect_timeout)
        return HostnameEndpoint(self._reactor, host, port, self._connect_timeout)
