"""
Key-values by the thousand, and events of them: the fast way through those that look alike.

In a large answer many key-values have the same *form*: their keys are of one length, and so are their values, and their
revisions take as many bytes. The form of one that was decoded is known, and those that follow are taken to have the
same: so one call of :mod:`struct` takes all of them apart, and the tags and sizes between the parts of each tell
whether that was right. At the first one where it was not, the next form is looked for. Half the time is enough where
the forms are few; where they are not, this ends soon, and whoever asked for it goes on field by field.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Any, Callable, Optional

import attrs

from ._codegen import compiled, draft, indented, text
from ._varint import read_varint, varint
from .values import Event, KeyValue

TRIAL = 16
"""So many runs are tried before it is looked at whether they pay ..."""

WORTH = 4
"""... which they do if each has so many key-values, on average: to find a form takes longer than to decode one."""

_KEY, _CREATE, _MOD, _VERSION, _VALUE = 10, 16, 24, 32, 42
"""The tags of a key-value, in the order in which every encoder writes them."""

_KV = b"\x12"
"""The tag of the key-value of an event, which a change that is no deletion begins with."""

Decoder = Callable[[bytes, int, int, int, None], Any]


@attrs.frozen
class Form:
    """
    How key-values are written that look alike.

    :ivar first: the bytes before the key: a tag, the size of the key-value, the tag of the key, and its size; of an
        event that, in a tag and the size of the event.
    :ivar prefix: the bytes before the value.
    :ivar layout: all of it.
    :ivar widths: the bytes of the two revisions and the version, without their tags.
    :ivar is_event: whether each is in an event.
    """

    first: bytes
    prefix: bytes
    layout: Struct
    widths: tuple[int, ...]
    is_event: bool

    def read(self, data: bytes, at: int, end: int, found: list[Any]) -> int:
        """
        Decode those of this form that follow at *at*.

        :returns: the place behind them.
        """
        size, before = self.layout.size, len(found)
        view = memoryview(data)[at : at + (end - at) // size * size]
        _reader(self.widths, self.is_event)(self.layout.iter_unpack(view), self.first, self.prefix, found.append)
        return at + (len(found) - before) * size


def key_values(data: bytes, at: int, end: int, found: list[Any], decode: Decoder) -> int:
    """
    Decode fields with key-values, as long as the tag at *at* is repeated and it pays.

    :param end: the end of the message that they are in.
    :param found: takes them.
    :param decode: decodes one, field by field.
    :returns: the place behind the last one; behind *end* if it is longer than its message.
    :raises IndexError: if *data* ends in it.
    :raises ValueError: if it is none.
    """
    return _read(data, at, end, found, decode, False)


def events(data: bytes, at: int, end: int, found: list[Any], decode: Decoder) -> int:
    """As :func:`key_values`, for fields with events."""
    return _read(data, at, end, found, decode, True)


def _read(data: bytes, at: int, end: int, found: list[Any], decode: Decoder, is_event: bool) -> int:
    tag, before, runs = data[at], len(found), 0
    forms: dict[bytes, Form] = {}
    while at < end and data[at] == tag and (runs < TRIAL or len(found) - before > runs * WORTH):
        runs += 1
        size, begin = read_varint(data, at + 1)
        first = data[at : _key_at(data, begin, is_event)]
        known = forms.get(first)
        behind = at if known is None else known.read(data, at, end, found)
        if behind == at:
            behind = begin + size
            one = decode(data, begin, behind, 0, None)
            found.append(one)
            form = _form(first, one, is_event)
            if form is not None and form.layout.size == behind - at:
                forms[first] = form
        at = behind
    return at


def _key_at(data: bytes, at: int, is_event: bool) -> int:
    """Where the key is, of the key-value or the event at a place."""
    if is_event and data[at : at + 1] == _KV:
        at = read_varint(data, at + 1)[1]
    return at + (2 if data[at + 1 : at + 2] < b"\x80" else 3)


def _form(first: bytes, one: Any, is_event: bool) -> Optional[Form]:
    """
    The form of a key-value that has all fields but the lease, if they are written in the order of their numbers; or of
    an event that has nothing but such a one.
    """
    kv = one.kv if is_event else one
    numbers = (kv.create_revision, kv.mod_revision, kv.version)
    if not kv.value or kv.lease or not all(0 < number < _LARGEST for number in numbers):
        return None
    if is_event and (one.is_delete or one.previous is not None):
        return None
    if not first.endswith(bytes([_KEY]) + varint(len(kv.key))):
        return None
    prefix = bytes([_VALUE]) + varint(len(kv.value))
    widths = tuple((number.bit_length() + 6) // 7 for number in numbers)
    pieces = "".join(_FORMATS[width] for width in widths)
    layout = Struct(f"<{len(first)}s{len(kv.key)}s{pieces}{len(prefix)}s{len(kv.value)}s")
    return Form(first, prefix, layout, widths, is_event)


# --- numbers, with the tags before them

_FORMATS = {1: "H", 2: "HB", 3: "I", 4: "IB", 5: "IH"}
"""How a tag and a number of so many bytes are taken: in one piece, or two."""

_LARGEST = 1 << 35

_MORE = {1: 0x0000, 2: 0x8000, 3: 0x808000, 4: 0x80808000, 5: 0x80808000}
"""The bits in the first piece that say that there are more bytes; the others of their kind must not be set."""

_LAST = {2: "{0}_ < 128", 4: "{0}_ < 128", 5: "{0}_ & 0x8080 == 0x80"}
"""What holds for the second piece."""

_MIDDLE = "({0} >> 8 & 127) | ({0} >> 9 & 0x3F80) | ({0} >> 10 & 0x1FC000)"

_VALUES = {
    1: "{0} >> 8",
    2: "({0} >> 8 & 127) | {0}_ << 7",
    3: _MIDDLE,
    4: _MIDDLE + " | {0}_ << 21",
    5: _MIDDLE + " | ({0}_ & 127) << 21 | ({0}_ >> 8) << 28",
}
"""The number that the pieces are."""


def _checks(name: str, tag: int, width: int) -> list[str]:
    """What holds for a number with this tag and of so many bytes."""
    mask = 0x80FF if width < 3 else 0x808080FF
    first = f"{name} & {mask:#x} == {_MORE[width] | tag:#x}"
    return [first, *([_LAST[width].format(name)] if width in _LAST else [])]


def _pieces(name: str, width: int) -> list[str]:
    return [name, f"{name}_"][: len(_FORMATS[width])]


def source_of_reader(widths: tuple[int, ...], is_event: bool) -> str:
    """
    The Python source of what makes key-values, or events, of their parts, until one is of another form.
    """
    numbers = list(zip(("create", "mod", "version"), (_CREATE, _MOD, _VERSION), widths))
    pieces = [piece for name, _, width in numbers for piece in _pieces(name, width)]
    checks = [check for number in numbers for check in _checks(*number)]
    create, mod, version = (_VALUES[width].format(name) for name, _, width in numbers)
    same = f"create ^ mod == {_CREATE ^ _MOD}" + (" and create_ == mod_" if len(_FORMATS[widths[0]]) > 1 else "")
    # Hot: about 0.4 us for each key-value, of which 0.15 us are what it takes to make one.
    turn = [
        f"if not (start == first and head == prefix and {' and '.join(checks)}):",
        "    return",
        "new = draft()",
        "new.key = key",
        f"new.create_revision = revision = {create}",
        # most were never modified: the same number, and no second one to be made
        f"new.mod_revision = revision if {same} else {mod}" if widths[0] == widths[1] else f"new.mod_revision = {mod}",
        f"new.version = {version}",
        "new.value = value",
        "new.lease = 0",
        "new.__class__ = KeyValue",
        *(_IN_EVENT if is_event else []),
        "append(new)",
    ]
    loop = [f"for start, key, {', '.join(pieces)}, head, value in parts:", *indented(turn)]
    return text(f"def {_name(widths, is_event)}(parts, first, prefix, append):", loop)


_IN_EVENT = [
    "kv, new = new, draft_event()",
    "new.type = 'put'",
    "new.kv = kv",
    "new.previous = None",
    "new.__class__ = Event",
]


def _name(widths: tuple[int, ...], is_event: bool) -> str:
    return "_".join(["read_events" if is_event else "read", *map(str, widths)])


_NAMES: dict[str, Any] = {
    "Event": Event, "KeyValue": KeyValue, "draft": draft(KeyValue), "draft_event": draft(Event)
}  # fmt: skip
"""The globals of all readers."""


@lru_cache(maxsize=None)
def _reader(widths: tuple[int, ...], is_event: bool) -> Any:
    return compiled(_name(widths, is_event), source_of_reader(widths, is_event), _NAMES)
