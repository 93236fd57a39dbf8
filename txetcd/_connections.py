"""
Connections for HTTP, which are counted, and which say in plain words why they came to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

from twisted.internet import error as network
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from . import _clues
from ._backoff import in_seconds
from ._tls import Peer, peer_of, reasons
from .errors import Error, TLSFailed, Unavailable

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


_LOST: dict[type[BaseException], str] = {
    _ClosedUnheard: "the server closed it without a word; if it speaks TLS, use https://",
    network.ConnectionDone: "the server closed it",
    network.ConnectionLost: "it broke off",
}


def _said(error: BaseException) -> str:
    if type(error).__module__.startswith("service_identity"):
        return _clues.WRONG_NAME
    if _is_of_openssl(error):
        return reasons(error)
    wrapped = getattr(error, "osError", None)
    if isinstance(wrapped, Failure) and wrapped.value is not None:
        # it says why, and its wrapper only when
        return _said(wrapped.value)
    return _LOST.get(type(error)) or " ".join((str(error) or type(error).__name__).split())


def _described(error: BaseException) -> str:
    return _clues.tls_failure(_said(error)) if _is_of_openssl(error) else _said(error)


def describe(errors: Iterable[BaseException]) -> str:
    """What Twisted, OpenSSL or others say, in one line, without how they call it within, and what to look at then."""
    return "; ".join(dict.fromkeys(map(_described, errors)))


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
        """There is one less."""
        self._open.discard(connection)
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


@implementer(IHandshakeListener)
class _Connection(ProtocolWrapper):
    """
    A connection that HTTP can end whatever its peer does, and that says why there is no answer where HTTP could not:
    TLS was not agreed on, or the peer speaks something else. Of that Twisted tells nothing, or only at the end of a
    line, which may never come.

    :param is_secure: whether it has TLS.

    :ivar secured: with TLS, fires with the connection when both sides have agreed; fails with
        :class:`~txetcd.errors.Unavailable` if they do not. Cancelling it drops the connection.
    """

    def __init__(self, factory: Any, wrapped: Any, is_secure: bool) -> None:
        super().__init__(factory, wrapped)
        self._is_secure = is_secure
        self._peer: Optional[Peer] = None
        self._has_tls = self._is_known = False
        self._first = b""
        self.secured: Deferred[_Connection] = Deferred(self._not_secured)

    def connectionMade(self) -> None:
        if self._is_secure:
            self._peer = peer_of(self.transport)

    def handshakeCompleted(self) -> None:
        if self._peer is None or not self._peer.is_verified:
            # a library that has changed must not do this unnoticed
            self._not_secured(self.secured, _no_tls(_clues.NOT_VERIFIED))
            return
        self._has_tls = True
        self.secured.callback(self)

    def _not_secured(self, secured: Deferred[_Connection], error: Optional[Error] = None) -> None:
        secured.errback(error or _not_sent(_clues.NO_HANDSHAKE))
        transport: Any = self.transport
        transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        if not self._is_known:
            data = self._first = self._first + data
            if _clues.is_undecided(data):
                return
            self._is_known, self._first = True, b""
            if not _clues.is_http(data):
                self._give_up(_clues.not_http(data))
        self.wrappedProtocol.dataReceived(data)

    def _give_up(self, error: Error) -> None:
        transport: Any = self.transport
        transport.abortConnection()
        # HTTP hears this, and nothing more
        given_up, self.wrappedProtocol = self.wrappedProtocol, Protocol()
        given_up.connectionLost(Failure(error))

    def loseConnection(self) -> None:
        # when HTTP ends, all is said; a polite end would wait for the peer, which may be gone (TLS asks it to agree)
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        explained = self._explained(reason)
        super().connectionLost(explained)  # type: ignore[no-untyped-call]  # of Twisted
        if self._is_secure and not self.secured.called:
            self.secured.errback(explained)

    def _explained(self, reason: Failure) -> Failure:
        if self._peer is not None:
            error = self._told_by_tls(self._peer, reason.value)
            return reason if error is None else Failure(error)
        is_unheard = not self._is_known and not self._first
        if is_unheard and reason.check(network.ConnectionDone):
            return Failure(_ClosedUnheard())
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
        return _not_sent(_clues.NO_TLS) if isinstance(error, network.ConnectionClosed) else _no_tls(describe([error]))


def _not_sent(why: str) -> Unavailable:
    return Unavailable(None, f"not sent: {why}")


def _no_tls(why: str) -> TLSFailed:
    return TLSFailed(None, f"not sent: {why}")


class _Counted(Factory):
    """Makes the protocols that *factory* makes, and counts them while they are connected."""

    noisy = False

    def __init__(self, factory: Any, connections: OpenConnections, is_secure: bool) -> None:
        self._factory = factory
        self._connections = connections
        self._is_secure = is_secure

    def buildProtocol(self, addr: Any) -> Any:
        return _Connection(self, self._factory.buildProtocol(addr), self._is_secure)

    def registerProtocol(self, p: ProtocolWrapper) -> None:
        """Called by the wrapper when it is connected."""
        self._connections.opened(p)

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        """Called by the wrapper when the connection is lost."""
        self._connections.lost(p)


@implementer(IStreamClientEndpoint)
class CountedEndpoint:
    """
    An endpoint whose connections are counted, and not logged one by one. With TLS they are there when both sides have
    agreed on it, and not before: what is sent then, the server can read.

    :param reactor: the reactor.
    :param endpoint: makes them, without TLS.
    :param connections: where they are counted.
    :param host: where they go, for the words of an error ...
    :param port: ... which a URL may leave out ...
    :param seconds: ... and how long they are tried.
    :param creator: makes their TLS, if they have any: one of :class:`~txetcd._tls.Creators`.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: IStreamClientEndpoint,
        connections: OpenConnections,
        host: str,
        port: int,
        seconds: float,
        creator: Optional[IOpenSSLClientConnectionCreator] = None,
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint if creator is None else wrapClientTLS(creator, endpoint)
        self._connections = connections
        self._port = port
        self._seconds = seconds
        self._is_secure = creator is not None
        self._unreachable: dict[type, str] = {
            network.ConnectionRefusedError: f"port {port} refuses connections: is etcd running there?",
            network.TimeoutError: f"no connection to port {port} within {seconds:g} seconds",
            network.DNSLookupError: f"there is no host {host!r} (DNS lookup failed)",
        }

    def connect(self, protocolFactory: Any) -> Any:
        """See :meth:`IStreamClientEndpoint.connect <twisted.internet.interfaces.IStreamClientEndpoint.connect>`."""
        began = self._reactor.seconds()
        factory = _Counted(protocolFactory, self._connections, self._is_secure)
        connected: Deferred[Any] = self._endpoint.connect(factory)
        if self._is_secure:
            connected.addCallback(self._secured, began)
        return connected.addCallbacks(lambda connection: connection.wrappedProtocol, self._failed)

    def _secured(self, connection: _Connection, began: float) -> Deferred[_Connection]:
        left = max(0.0, began + self._seconds - self._reactor.seconds())
        return connection.secured.addTimeout(left, self._reactor, self._too_slow)

    def _too_slow(self, result: object, timeout: float) -> Failure:
        return Failure(_not_sent(f"{_clues.NO_HANDSHAKE} at port {self._port} within {in_seconds(self._seconds)}"))

    def _failed(self, failure: Failure) -> Failure:
        words = self._unreachable.get(type(failure.value))
        return failure if words is None else Failure(_not_sent(words))
