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

    __slots__ = ("_limit", "_held", "_wanted")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # what has arrived of a message, or of what is none
        self._held = bytearray()
        # the bytes that there must be for more to be known: a prefix, or a whole message with its prefix
        self._wanted = PREFIX_SIZE

    def feed(self, headers: Fields, data: bytes) -> list[bytes]:
        """
        Takes what has arrived.

        :param headers: what the answer began with.
        :returns: the messages that are complete now.
        :raises ProtocolViolation: if one is compressed, or larger than the limit.
        """
        if not headers.is_grpc:
            self._held += data[: _MAX_FOREIGN - len(self._held)]
            return []
        if not self._held:
            message = whole(data, self._limit)
            if message is not None:
                return [message]
        self._held += data
        return self._cut() if len(self._held) >= self._wanted else []

    def _cut(self) -> list[bytes]:
        at, messages = 0, []
        with memoryview(self._held) as held:
            self._wanted = PREFIX_SIZE
            while len(held) - at >= PREFIX_SIZE:
                size = self._size(held, at)
                if len(held) - at < size:
                    self._wanted = size
                    break
                messages.append(bytes(held[at + PREFIX_SIZE : at + size]))
                at += size
        del self._held[:at]
        return messages

    def _size(self, data: memoryview, at: int) -> int:
        """The size of the message that begins there, its prefix included."""
        is_compressed, size = _prefix.unpack_from(data, at)
        if is_compressed:
            raise ProtocolViolation("a message that is compressed, which nobody has asked for")
        if size > self._limit:
            raise ProtocolViolation(f"a message of {size} bytes, and more than {self._limit} are not taken")
        return int(size) + PREFIX_SIZE

    def finish(self, headers: Fields, trailers: Fields, quotes: Quotes = PLAIN) -> Optional[Error]:
        """
        Nothing more will arrive.

        :param headers: what the answer began with.
        :param trailers: what it ended with.
        :param quotes: how the error quotes what came.
        :returns: the error that it is; ``None`` if all is well.
        """
        error = failure_of(headers, trailers, bytes(self._held), quotes)
        return ProtocolViolation("the answer ended in a message") if error is None and self._held else error


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
