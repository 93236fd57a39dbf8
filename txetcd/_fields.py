"""
The header fields of HTTP/2: those of a request to bytes, and those of an answer from bytes.

Both are as good as constant. What is sent is written without any state of the connection, so that it can be kept, and
sent again and again; and the server is asked to do the same (a header table of size 0), so that what it sends can be
looked up: with etcd a handful of entries serves all answers but refusals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Optional

import attrs
from hpack import Decoder, HPACKError

# --- out


def _string(text: bytes) -> bytes:
    """A string without Huffman's code (RFC 7541, 5.2)."""
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    head, rest = bytearray((127,)), size - 127
    while rest > 127:
        head.append(rest & 127 | 128)
        rest >>= 7
    head.append(rest)
    return bytes(head) + text


_INDEXED = {(b":method", b"POST"): b"\x83", (b":scheme", b"http"): b"\x86", (b":scheme", b"https"): b"\x87"}
"""Fields that stand in the static table (RFC 7541, A)."""


def encode(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block that no table is needed for, and that changes none."""
    # a secret must not get into anybody's table, a proxy's neither, and a constant block needs none: never indexed
    return b"".join(_INDEXED.get(field) or b"\x10" + _string(field[0]) + _string(field[1]) for field in fields)


# --- in

MAX_BLOCK = 65_536
"""Bytes of a header block, before and after its decompression. A server's message to a user may be long."""

_MAX_KEPT = 256
"""Blocks that are kept, and the bytes that one of them may have: others are not likely to come again."""


_LENGTH = re.compile("[0-9]{1,19}")
_GRPC_STATUS = re.compile("[0-9]{1,2}")
# with what the messages are written in, or with parameters; that of browsers (grpc-web) is another one
_GRPC_TYPE = re.compile("application/grpc(?![^+;])")


@attrs.frozen(eq=False)
class Fields:
    """
    The fields of a header block.

    :ivar values: the values by their names in small letters, pseudo-header fields not among them (``dict`` of ``str``).
    :ivar status: the HTTP status, 0 for trailers, which have none (``int``).
    :ivar flaw: what is wrong with them (RFC 9113, 8.2 and 8.3), in words that go on with "the answer"; or ``None``.
    :ivar length: what is told of the size of the answer (``int``), or ``None``.
    :ivar is_head: whether an answer can begin with them (``bool``).
    :ivar is_tail: whether an answer can end with them, after others (``bool``).
    :ivar is_grpc: whether they begin an answer of gRPC (``bool``).
    :ivar grpc_status: the status of gRPC, -1 for none or one that is no number (``int``).
    """

    values: dict[str, str]
    status: int
    flaw: Optional[str]
    length: Optional[int] = None
    is_head: bool = attrs.field(init=False)
    is_tail: bool = attrs.field(init=False)
    is_grpc: bool = attrs.field(init=False)
    grpc_status: int = attrs.field(init=False)

    # asked of every answer, and nearly all of them have the same fields

    @is_head.default
    def _is_head(self) -> bool:
        return self.flaw is None and self.status >= 200

    @is_tail.default
    def _is_tail(self) -> bool:
        return self.flaw is None and not self.status

    @is_grpc.default
    def _is_grpc(self) -> bool:
        return self.status == 200 and bool(_GRPC_TYPE.match(self.values.get("content-type", "")))

    @grpc_status.default
    def _grpc_status(self) -> int:
        said = self.values.get("grpc-status", "")
        return int(said) if _GRPC_STATUS.fullmatch(said) else -1


NO_FIELDS = Fields({}, 0, None)
"""Those of a block that has not come yet."""

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z")
_STATUS = re.compile(rb"[1-9][0-9][0-9]")
_OF_CONNECTION = frozenset((
    b"connection", b"proxy-connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade",
))  # fmt: skip

_MAX_TOLD = 60
"""Bytes of a name, and characters of what is wrong with a block, that are told: either may be long."""


def _flaw_of(name: bytes, value: bytes) -> Optional[str]:
    if not _NAME.fullmatch(name):
        return f"has a header field with the name {name[:_MAX_TOLD]!r}"
    if name in _OF_CONNECTION:
        return f"has the header field {name.decode('ascii')!r}, which HTTP/2 does not know"
    if _BAD_VALUE.search(value):
        return f"has a header field {name[:_MAX_TOLD].decode('ascii')!r} with a bad value"
    return None


def _read(block: Iterable[tuple[bytes, bytes]]) -> Fields:
    values: dict[str, str] = {}
    status, flaw = 0, None
    for name, value in block:
        if name == b":status" and not values and not status and _STATUS.fullmatch(value):
            status = int(value)
            continue
        flaw = flaw or _flaw_of(name, value)
        text = value.decode("latin-1")
        key = name.decode("latin-1")
        values[key] = f"{values[key]},{text}" if key in values else text
    said = values.get("content-length", "0")
    if not _LENGTH.fullmatch(said):
        return Fields(values, status, flaw or f"has a content-length of {said[:20]!r}")
    return Fields(values, status, flaw, int(said) if "content-length" in values else None)


class FieldReader:
    """
    Reads header blocks of a peer that was told to use no table.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(MAX_BLOCK)
        self._decoder.header_table_size = self._decoder.max_allowed_table_size = 0
        self._kept: dict[bytes, Fields] = {}

    def read(self, block: bytes) -> Fields:
        """
        The fields in *block*.

        :raises ValueError: if it cannot be decompressed, in words.
        """
        fields = self._kept.get(block)
        return fields if fields is not None else self._read(block)

    def _read(self, block: bytes) -> Fields:
        try:
            fields = _read(self._decoder.decode(block, raw=True))
        except (HPACKError, ValueError) as error:
            # a ValueError is of the interpreter, that does not write an enormous number
            raise ValueError(f"a header block that cannot be read: {str(error)[:_MAX_TOLD]}") from error
        if len(block) <= _MAX_KEPT:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[block] = fields
        return fields
