"""
What is behind a URL that is no etcd, or not the way the URL says: clues for the one line that its user reads.

Pure: from the first bytes of a server, and from what OpenSSL says, to words.
"""

from __future__ import annotations

from ._json import NO_GATEWAY, SPEAKS_TLS, excerpt
from .errors import Error, ProtocolViolation, Unavailable

# --- the first bytes that a server sends

_HTTP = b"HTTP/"

_ALERT = b"\x15\x03"
"""How TLS answers what is no TLS."""

_FRAME_SIZE = 9
_SETTINGS = b"\x04\x00\x00\x00\x00\x00"
"""How HTTP/2 begins, behind the three bytes of the frame's length."""


def is_http(first: bytes) -> bool:
    """Whether a server whose first bytes these are speaks HTTP/1."""
    return first.startswith(_HTTP)


def is_undecided(first: bytes) -> bool:
    """Whether more has to come before it can be said what a server speaks."""
    if first.startswith(b"\x00"):
        return len(first) < _FRAME_SIZE
    return any(len(first) < len(start) and start.startswith(first) for start in (_HTTP, _ALERT))


def not_http(first: bytes) -> Error:
    """
    The error for a server that does not speak HTTP/1.

    :param first: the bytes that it sent first.
    """
    if first.startswith(_ALERT):
        # so it has not seen a request
        return Unavailable(None, SPEAKS_TLS)
    if first[3:_FRAME_SIZE] == _SETTINGS:
        return ProtocolViolation(f"{NO_GATEWAY} the server speaks HTTP/2 and nothing else, as those of gRPC do")
    return ProtocolViolation(f"{NO_GATEWAY} not an answer of HTTP: {excerpt(first)}")


# --- TLS

NO_TLS = "the server closed the connection instead of agreeing on TLS; if it does not speak TLS, use http://"

WRONG_NAME = "the server's certificate is not for this host name"

_NOT_TLS = ("wrong version number", "packet length too long", "record layer failure", "unknown protocol")

_UNTRUSTED = "certificate verify failed"

_OF_THE_CLIENT = ("certificate required", "alert bad certificate", "alert unknown ca", "alert certificate")


def is_of_certificate(said: str) -> bool:
    """Whether one side refused the other's certificate: then no request was read, whatever was sent."""
    return said == WRONG_NAME or any(words in said for words in (_UNTRUSTED, *_OF_THE_CLIENT))


def tls_failure(said: str) -> str:
    """
    What to look at when TLS fails.

    :param said: what OpenSSL says.
    """
    if _UNTRUSTED in said:
        return (
            f"{said}: the server's certificate must be valid now, and its authority in the system's trust store, "
            f"or in $SSL_CERT_FILE"
        )
    if any(words in said for words in _OF_THE_CLIENT):
        return f"the server wants a client certificate that it trusts, which only an agent= of yours can show ({said})"
    if any(words in said for words in _NOT_TLS):
        return f"the server does not speak TLS there: use http:// ({said})"
    return f"TLS failed ({said})"
