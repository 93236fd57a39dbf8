"""
gRPC on top of HTTP/2: what a request begins with, how messages are framed, and what an answer ends with.

Follows ``PROTOCOL-HTTP2.md`` of gRPC. Messages are never compressed: nothing is said of it to the server, so that it
does not do it either.
"""

from __future__ import annotations

from struct import Struct
from typing import Optional
from urllib.parse import unquote_to_bytes

from ._fields import Fields, encode
from ._json import OK, error_of
from ._quotes import PLAIN, Quotes
from .errors import UNAUTHENTICATED, Error, ProtocolViolation, Unimplemented

# --- out

_prefix = Struct(">BI")

PREFIX_SIZE = _prefix.size
"""Bytes before a message: whether it is compressed, and its size."""

_MOST_DIGITS = 99_999_999
"""gRPC knows no timeout with more of them."""


def timeout_text(milliseconds: int) -> bytes:
    """How a server is told when to stop."""
    if milliseconds <= _MOST_DIGITS:
        return b"%dm" % milliseconds
    return b"%dS" % min(milliseconds // 1000 + 1, _MOST_DIGITS)


def request_block(
    is_secure: bool, authority: str, method: str, milliseconds: Optional[int], token: str, requires_leader: bool
) -> bytes:
    """
    The header block of a request.

    :param is_secure: whether it goes over TLS.
    :param authority: the host and the port that are asked.
    :param method: the path of the method.
    :param milliseconds: when the server shall stop; ``None`` for never.
    :param token: proves who asks; ``""`` for nobody.
    :param requires_leader: whether a member that knows no leader shall refuse at once.
    """
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"https" if is_secure else b"http"),
        (b":path", method.encode("ascii")),
        (b":authority", authority.encode("idna" if not authority.isascii() else "ascii")),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]
    if milliseconds is not None:
        fields.append((b"grpc-timeout", timeout_text(milliseconds)))
    if token:
        fields.append((b"token", token.encode("ascii")))
    if requires_leader:
        fields.append((b"hasleader", b"true"))
    return encode(fields)


def framed(message: bytes) -> bytes:
    """*message* as it is sent."""
    return _prefix.pack(0, len(message)) + message


# --- in

_MAX_FOREIGN = 64 * 1024
"""Bytes that are kept of what is no answer of gRPC, to tell what it is."""

_SMALL = 4096
"""Pieces of a message of fewer bytes are put together before the message is."""


def whole(data: bytes, limit: int) -> Optional[bytes]:
    """The message, if *data* is just one, as nearly all answers are; and none larger than *limit* bytes."""
    if len(data) < PREFIX_SIZE:
        return None
    is_compressed, size = _prefix.unpack_from(data)
    is_whole = size == len(data) - PREFIX_SIZE and size <= limit and not is_compressed
    return data[PREFIX_SIZE:] if is_whole else None


class AnswerReader:
    """
    Cuts what arrives into messages, and tells what the end means.

    :param limit: the bytes that a message may have at the most.
    """

    __slots__ = ("_limit", "_rest", "_missing", "_parts", "_small")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # what has arrived of a prefix
        self._rest = b""
        # the bytes that are still to come of a message whose prefix has arrived
        self._missing: Optional[int] = None
        # what has arrived of it, and what of that came last in small pieces, which would take much more memory by
        # themselves; or what is no message
        self._parts: list[bytes] = []
        self._small = bytearray()

    def feed(self, headers: Fields, data: bytes) -> list[bytes]:
        """
        Takes what has arrived.

        :param headers: what the answer began with.
        :returns: the messages that are complete now.
        :raises ProtocolViolation: if one is compressed, or larger than the limit.
        """
        if not headers.is_grpc:
            self._small += data[: _MAX_FOREIGN - len(self._small)]
            return []
        if self._missing is None:
            if self._rest:
                data, self._rest = self._rest + data, b""
            message = whole(data, self._limit)
            if message is not None:
                return [message]
        return self._cut(data)

    def _cut(self, data: bytes) -> list[bytes]:
        at = 0
        messages: list[bytes] = []
        while True:
            if self._missing is None:
                if len(data) - at < PREFIX_SIZE:
                    self._rest = data[at:]
                    return messages
                self._missing = self._size(data, at)
                at += PREFIX_SIZE
            piece = data[at : at + self._missing]
            at += len(piece)
            self._missing -= len(piece)
            if self._missing:
                self._keep(piece)
                return messages
            messages.append(self._joined(piece))

    def _keep(self, piece: bytes) -> None:
        if len(piece) < _SMALL:
            self._small += piece
        else:
            if self._small:
                self._parts.append(bytes(self._small))
                self._small.clear()
            self._parts.append(piece)

    def _joined(self, last: bytes) -> bytes:
        """The message that *last* completes."""
        message = b"".join((*self._parts, self._small, last)) if self._parts or self._small else last
        self._missing = None
        self._parts.clear()
        self._small.clear()
        return message

    def _size(self, data: bytes, at: int) -> int:
        """The size of the message whose prefix is there."""
        is_compressed, size = _prefix.unpack_from(data, at)
        if is_compressed:
            raise ProtocolViolation("a message that is compressed, which nobody has asked for")
        if size > self._limit:
            raise ProtocolViolation(f"a message of {size} bytes, and more than {self._limit} are not taken")
        return int(size)

    def finish(self, headers: Fields, trailers: Fields, quotes: Quotes = PLAIN) -> Optional[Error]:
        """
        Nothing more will arrive.

        :param headers: what the answer began with.
        :param trailers: what it ended with.
        :param quotes: how the error quotes what came.
        :returns: the error that it is; ``None`` if all is well.
        """
        error = failure_of(headers, trailers, bytes(self._small), quotes)
        is_in_message = self._rest or self._missing is not None
        return ProtocolViolation("the answer ended in a message") if error is None and is_in_message else error


def failure_of(headers: Fields, trailers: Fields, body: bytes, quotes: Quotes = PLAIN) -> Optional[Error]:
    """
    What the end of an answer means: an error; ``None`` if all is well.

    :param headers: what the answer began with.
    :param trailers: what it ended with.
    :param body: what came in between, and is no message.
    :param quotes: how the error quotes what came.
    """
    if headers.is_grpc and trailers.grpc_status == 0:
        return None
    if headers.status != OK:
        return _page_of(headers.status, body, quotes)
    if not headers.is_grpc:
        came = f"{quotes.text(headers.values.get('content-type', ''))!r}: {quotes.excerpt(body)}"
        return ProtocolViolation(f"no etcd there? not an answer of gRPC, but of the type {came}")
    if not 0 < trailers.grpc_status <= UNAUTHENTICATED:
        said = trailers.values.get("grpc-status")
        return ProtocolViolation(f"the answer ended with {'no' if said is None else 'a bad'} grpc-status")
    # escaped as it should be or not, it is UTF-8
    message = unquote_to_bytes(trailers.values.get("grpc-message", "").encode("latin-1"))
    return quotes.refusal(trailers.grpc_status, message.decode("utf-8", "replace"))


def _page_of(status: int, body: bytes, quotes: Quotes) -> Error:
    error = error_of(status, body, quotes)
    if isinstance(error, Unimplemented):
        # it is etcd, where it serves nothing but its gateway
        came = f"HTTP {status}: {quotes.excerpt(body)}"
        return Unimplemented(error.code, f"no gRPC there, but perhaps etcd's gateway: use http:// or https:// ({came})")
    return error
