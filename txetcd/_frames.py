"""
The frames of HTTP/2 (RFC 9113): their numbers, and how they are laid out.
"""

from __future__ import annotations

from struct import Struct

# --- kinds (section 6)

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

# --- flags

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

# --- settings (section 6.5.2)

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

# --- error codes (section 7)

ERRORS = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)
"""Their names, in the order of their numbers."""

(
    NO_ERROR,
    PROTOCOL_ERROR,
    _,
    FLOW_CONTROL_ERROR,
    _,
    STREAM_CLOSED,
    FRAME_SIZE_ERROR,
    REFUSED_STREAM,
    CANCEL,
    COMPRESSION_ERROR,
    _,
    ENHANCE_YOUR_CALM,
    _,
    _,
) = range(len(ERRORS))

# --- sizes

HEAD_SIZE = 9
"""Bytes before the payload of a frame."""

DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_SIZE = 16_384
LARGEST_FRAME_SIZE = 2**24 - 1
LARGEST_WINDOW = LARGEST_STREAM_ID = 2**31 - 1

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says before its first frame."""

_head = Struct(">IBI")
_setting = Struct(">HI")

unpack_head = _head.unpack_from
"""Of bytes and an offset: a word that is the size of the payload times 256 and the kind; the flags; the stream."""

unpack_settings = _setting.iter_unpack
"""Of a payload: pairs of a setting and its value."""

pack_word = Struct(">I").pack
unpack_word = Struct(">I").unpack_from


def pack_head(kind: int, flags: int, stream_id: int, size: int) -> bytes:
    """The head of a frame with *size* bytes behind it."""
    return _head.pack(size << 8 | kind, flags, stream_id)


def pack(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame."""
    return _head.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def pack_settings(*settings: tuple[int, int]) -> bytes:
    """The payload of SETTINGS."""
    return b"".join(_setting.pack(setting, value) for setting, value in settings)


def error_name(code: int) -> str:
    """The name of an error code; of one that has none, its number."""
    return ERRORS[code] if code < len(ERRORS) else f"error {code:#x}"
