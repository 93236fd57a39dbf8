"""
What is behind a URL that is no etcd, or not the way the URL says: clues for the one line that its user reads.

Pure: from the first bytes of a server, and from what OpenSSL says, to words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Optional

import attrs

from ._json import NO_GATEWAY
from ._quotes import Quotes, excerpt
from .errors import Error, ProtocolViolation, TLSFailed, WrongProtocol

# --- the first bytes that a server sends

_HTTP = b"HTTP/"

_ALERT = b"\x15\x03"
"""How TLS answers what is no TLS."""

_FRAME_SIZE = 9
_SETTINGS = b"\x04\x00\x00\x00\x00\x00"
"""How HTTP/2 begins, behind the three bytes of the frame's length."""


def not_http(came: bytes, quotes: Quotes) -> ProtocolViolation:
    """
    The error for an answer that is none of HTTP.

    :param came: how it begins.
    :param quotes: how the error quotes it.
    """
    return ProtocolViolation(f"{NO_GATEWAY} not an answer of HTTP: {quotes.excerpt(came)}")


class NoHttp(ProtocolViolation):
    """
    A server does not speak HTTP. As it may echo the request, it is quoted only by who knows what is secret in that
    (:func:`not_http`).

    :ivar first: the bytes that it sent first.
    """

    def __init__(self, first: bytes) -> None:
        super().__init__(f"{NO_GATEWAY} not an answer of HTTP")
        self.first = first


@attrs.frozen
class Dialect(ABC):
    """
    What is spoken on a connection.

    :ivar scheme: that of the URLs where it is spoken plainly (``str``) ...
    :ivar secure_scheme: ... and over TLS (``str``).
    :ivar alpn: how TLS calls it (``bytes``); empty where it need not be agreed on.
    """

    scheme: str
    secure_scheme: str
    alpn: bytes

    @abstractmethod
    def is_undecided(self, first: bytes) -> bool:
        """Whether more has to come before it can be said what a server speaks, whose first bytes these are."""

    @abstractmethod
    def foreign(self, first: bytes) -> Optional[Error]:
        """
        The error for a server that speaks something else; ``None`` if it does not, as far as can be seen.

        :param first: the bytes that it sent first.
        """

    @property
    def closed_unheard(self) -> str:
        """What to say of one that closes the connection before it says anything, as etcd does with what it does not
        speak there."""
        return f"the server closed it without a word; if it speaks TLS, use {self.secure_scheme}://"

    @property
    def speaks_tls(self) -> str:
        """What to say of a server that speaks TLS where it is not expected to."""
        return f"the server speaks TLS there: use {self.secure_scheme}://"


class _Http1(Dialect):
    def is_undecided(self, first: bytes) -> bool:
        if first.startswith(b"\x00"):
            return len(first) < _FRAME_SIZE
        return any(len(first) < len(start) and start.startswith(first) for start in (_HTTP, _ALERT))

    def foreign(self, first: bytes) -> Optional[Error]:
        if first.startswith(_HTTP):
            return None
        if first.startswith(_ALERT):
            # so it has not seen a request
            return TLSFailed(None, self.speaks_tls)
        if first[3:_FRAME_SIZE] == _SETTINGS:
            # so it has understood nothing of the request
            speaks = "the server speaks HTTP/2 and nothing else, as those of gRPC do: use grpc:// or grpcs://"
            return WrongProtocol(None, f"{NO_GATEWAY} {speaks}")
        return NoHttp(first)


class _Http2(Dialect):
    @property
    def closed_unheard(self) -> str:
        return f"{super().closed_unheard}; if it speaks HTTP/1 only, use {HTTP_1.scheme}://"

    def is_undecided(self, first: bytes) -> bool:
        return len(first) < _FRAME_SIZE and not first.startswith((_HTTP, _ALERT))

    def foreign(self, first: bytes) -> Optional[Error]:
        if first[3:_FRAME_SIZE] == _SETTINGS:
            return None
        if first.startswith(_ALERT):
            return TLSFailed(None, f"not sent: {self.speaks_tls}")
        if first.startswith(_HTTP):
            speaks = "the server does not speak HTTP/2 there, but HTTP/1: use http:// or https://"
            return WrongProtocol(None, f"not sent: {speaks} ({excerpt(first)})")
        return WrongProtocol(None, f"not sent: the server does not speak HTTP/2 there: {excerpt(first)}")


HTTP_1 = _Http1("http", "https", b"")
HTTP_2 = _Http2("grpc", "grpcs", b"h2")


# --- TLS


def no_tls(dialect: Dialect) -> str:
    """What to say of a server that closes the connection instead of agreeing on TLS."""
    advice = f"if it does not speak TLS, use {dialect.scheme}://"
    return f"the server closed the connection instead of agreeing on TLS; {advice}"


def no_alpn(dialect: Dialect) -> str:
    """What to say of a server that speaks TLS, and does not agree on what is spoken over it."""
    return f"the server did not agree on {dialect.alpn.decode('ascii')!r} (ALPN): it does not speak gRPC there"


NO_HANDSHAKE = "the TLS handshake was not completed"

NOT_VERIFIED = "the server's certificate was not verified"

_NOT_TLS = ("wrong version number", "packet length too long", "record layer failure", "unknown protocol")

_NO_AGREEMENT = "alert handshake failure"

_NO_PROTOCOL = "alert no application protocol"

_UNTRUSTED = "certificate verify failed"

_OF_THE_CLIENT = ("certificate required", "alert bad certificate", "alert unknown ca", "alert certificate")


def is_of_certificate(said: str) -> bool:
    """Whether one side refused the other's certificate: then no request was read, whatever was sent."""
    return said == WRONG_NAME or _UNTRUSTED in said or is_of_client_certificate(said)


def is_of_client_certificate(said: str) -> bool:
    """Whether the server wants a certificate, or another one."""
    return any(words in said for words in _OF_THE_CLIENT)


def client_certificate(said: str, cert_file: Optional[str]) -> str:
    """
    What to look at when the server wants a certificate, or another one.

    :param said: what OpenSSL says.
    :param cert_file: where the one is that it was shown, if any.
    """
    if cert_file is None:
        return f"the server wants a client certificate: name one with TLS(cert_file=...) ({said})"
    return f"the server does not accept the client certificate in {cert_file!r} ({said})"


def tls_failure(dialect: Dialect, said: str) -> str:
    """
    What to look at when TLS fails.

    :param dialect: what should be spoken over it.
    :param said: what OpenSSL says.
    """
    if _UNTRUSTED in said:
        return f"{said}: the server's certificate must be valid now, and its authority one that is trusted"
    if is_of_client_certificate(said):
        return f"the server wants a client certificate that it trusts ({said})"
    if any(words in said for words in _NOT_TLS):
        return f"the server does not speak TLS there: use {dialect.scheme}:// ({said})"
    if dialect.alpn and _NO_PROTOCOL in said:
        return f"{no_alpn(dialect)} ({said})"
    if _NO_AGREEMENT in said:
        return f"the server refuses this kind of TLS, or wants a client certificate ({said})"
    return f"TLS failed ({said})"


# --- the server's certificate

WRONG_NAME = "the server's certificate is not for this host name"

NO_NAMES = "the server's certificate names no host in a subjectAltName, and a CommonName does not count"

_MOST_NAMES = 8


OTHER_NAME = "(connect by that name, or say which with TLS(server_name=...))"


def wrong_host(host: str, names: Sequence[str]) -> str:
    """
    What to say of a certificate that is for others.

    :param host: for whom it should be.
    :param names: for whom it is.
    """
    shown = ", ".join(names[:_MOST_NAMES])
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    # printable, whatever the names are
    return f"the server's certificate is not for {host}, but for {repr(shown)[1:-1]}{more} {OTHER_NAME}"


@attrs.frozen
class Certificate:
    """
    What can be said of a certificate.

    :ivar subject: whose it is (``str``).
    :ivar issuer: who has signed it (``str``).
    :ivar begin: when it became valid (``str``).
    :ivar end: when it is no longer (``str``).
    """

    subject: str
    issuer: str
    begin: str
    end: str


# what OpenSSL calls X509_V_ERR_...
_NOT_YET_VALID = 9
_HAS_EXPIRED = 10
_DEPTH_ZERO_SELF_SIGNED = 18
_SELF_SIGNED_IN_CHAIN = 19
_NO_ISSUER = (2, 20, 21)
_INVALID_PURPOSE = 26


def distrust(code: int, depth: int, certificate: Certificate, ca_file: Optional[str]) -> str:
    """
    What to say of a certificate that OpenSSL does not trust.

    :param code: why not.
    :param depth: how far it is from the server's own, which has 0.
    :param ca_file: where those are that are trusted; ``None`` if the system knows.
    """
    whose = _SERVERS if depth == 0 else f"the certificate of its authority {certificate.subject!r}"
    if code == _NOT_YET_VALID:
        return f"{whose} is not valid before {certificate.begin}: is the clock right?"
    if code == _HAS_EXPIRED:
        return f"{whose} has expired: it was valid until {certificate.end}"
    if code == _INVALID_PURPOSE:
        return f"{whose} is not meant for this use (extendedKeyUsage)"
    if code == _DEPTH_ZERO_SELF_SIGNED:
        return f"{_SERVERS} is signed by nobody but itself, and it is not {_among_trusted(ca_file)}"
    if code == _SELF_SIGNED_IN_CHAIN:
        return _unknown_authority(certificate.subject, ca_file)
    if code in _NO_ISSUER:
        return _unknown_authority(certificate.issuer, ca_file)
    return f"{whose} is not trusted (OpenSSL's verify error {code})"


_SERVERS = "the server's certificate"


def _unknown_authority(name: str, ca_file: Optional[str]) -> str:
    return f"{_SERVERS} is from an authority that is not {_among_trusted(ca_file)}: {name!r}"


def _among_trusted(ca_file: Optional[str]) -> str:
    if ca_file is None:
        return "among those that the system trusts (others can be named with TLS(ca_file=...))"
    return f"in {ca_file!r}"
