"""
Key-values by the thousand, and events of them: the fast way through those that look alike.

In a large answer many key-values have the same *form*: their keys are of one length, and so are their values, and their
revisions take as many bytes. The form of one that was decoded is known, and those that follow are taken to have the
same. Whether they do is found out for many at a time: the bytes at one place of all of them, which are tags and sizes,
are one slice. Then one call of :mod:`struct` takes all of them apart. At the first one that has another form, the next
form is looked for. A third of the time is enough where the forms are few; where they are not, this ends soon, and
whoever asked for it goes on field by field.
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

FEW, MANY = 4, 1024
"""So many key-values are looked at for whether they have a form, at first, and at the most."""

_KEY, _CREATE, _MOD, _VERSION, _VALUE = 10, 16, 24, 32, 42
"""The tags of a key-value, in the order in which every encoder writes them."""

_KV = b"\x12"
"""The tag of the key-value of an event, which a change that is no deletion begins with."""

_WITH_MORE = bytes(range(128, 256))
"""The bytes of a number that are not its last."""

Decoder = Callable[[bytes, int, int, int, None], Any]


@attrs.frozen
class Form:
    """
    How key-values are written that look alike.

    :ivar layout: where the parts are of which they are made.
    :ivar fixed: the bytes that are the same in all of them, the tags and the sizes, each with its place.
    :ivar more: the places of the bytes of numbers that are not the last ones of theirs.
    :ivar last: the places of those that are.
    :ivar widths: the bytes of the two revisions and the version, without their tags.
    :ivar is_event: whether each is in an event.
    """

    layout: Struct
    fixed: tuple[tuple[int, bytes], ...]
    more: tuple[int, ...]
    last: tuple[int, ...]
    widths: tuple[int, ...]
    is_event: bool

    def read(self, data: bytes, at: int, end: int, found: list[Any]) -> int:
        """
        Decode those of this form that follow at *at*.

        :returns: the place behind them.
        """
        size = self.layout.size
        count, goes_on = FEW, True
        while count:
            count = min(count, (end - at) // size)
            behind = at + count * size
            if self._is_of(data, at, behind, count):
                view = memoryview(data)[at:behind]
                _reader(self.widths, self.is_event)(self.layout.iter_unpack(view), found.append)
                at = behind
            else:
                # one among them is of another form
                goes_on = False
            count = min(4 * count, MANY) if goes_on else count // 2
        return at

    def _is_of(self, data: bytes, at: int, end: int, count: int) -> bool:
        """Whether *count* key-values have this form."""
        # Hot: 20 slices for each 1,000 key-values, 0.03 us for each of these.
        size = self.layout.size
        for place, byte in self.fixed:
            if data[at + place : end : size] != byte * count:
                return False
        for place in self.last:
            if not data[at + place : end : size].isascii():
                return False
        return not any(data[at + place : end : size].translate(None, _WITH_MORE) for place in self.more)


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

    :param first: the bytes before the key: a tag, the size of the key-value, the tag of the key, and its size; of an
        event that, in a tag and the size of the event.
    """
    kv = one.kv if is_event else one
    numbers = (kv.create_revision, kv.mod_revision, kv.version)
    if not kv.value or kv.lease or not all(0 < number < _LARGEST for number in numbers):
        return None
    if is_event and (one.is_delete or one.previous is not None):
        return None
    if not first.endswith(bytes([_KEY]) + varint(len(kv.key))):
        return None
    widths = tuple((number.bit_length() + 6) // 7 for number in numbers)
    return _form_of(first, len(kv.key), widths, len(kv.value), is_event)


def _form_of(first: bytes, key: int, widths: tuple[int, ...], value: int, is_event: bool) -> Form:
    """The form with a key, numbers and a value of so many bytes."""
    fixed = list(enumerate(first))
    more: list[int] = []
    last: list[int] = []
    at = len(first) + key
    for tag, width in zip((_CREATE, _MOD, _VERSION), widths):
        fixed.append((at, tag))
        more += range(at + 1, at + width)
        last.append(at + width)
        at += 1 + width
    prefix = bytes([_VALUE]) + varint(value)
    fixed += enumerate(prefix, at)
    pieces = "".join("x" + _FORMATS[width] for width in widths)
    layout = Struct(f"<{len(first)}x{key}s{pieces}{len(prefix)}x{value}s")
    bytes_ = tuple((place, bytes([byte])) for place, byte in fixed)
    return Form(layout, bytes_, tuple(more), tuple(last), widths, is_event)


# --- numbers, a byte and what is behind it

_FORMATS = {1: "B", 2: "BB", 3: "BH", 4: "BHB", 5: "BHH"}
"""How a number of so many bytes is taken: in pieces for which a number of one's own is rarely to be made."""

_LARGEST = 1 << 35

_VALUES = {
    1: "{0}",
    2: "{0} + ({0}_ << 7) - 128",
    3: "{0} + pairs[{0}_]",
    4: "{0} + pairs[{0}_] + ({0}__ << 21)",
    5: "{0} + pairs[{0}_] + (pairs[{0}__] + 128 << 14)",
}
"""The number that the pieces are."""


class _Pairs(dict[int, int]):
    """
    What two bytes add to a number, whose first byte is before them, with the 128 of its own that it does not mean.
    There are 65,536 at most. To look it up takes half the time of working it out.
    """

    def __missing__(self, pair: int) -> int:
        self[pair] = value = ((pair & 0x7F) << 7 | (pair >> 8 & 0x7F) << 14) - 128
        return value


def _pieces(name: str, width: int) -> list[str]:
    return [name + place * "_" for place in range(len(_FORMATS[width]))]


def source_of_reader(widths: tuple[int, ...], is_event: bool) -> str:
    """
    The Python source of what makes key-values, or events, of their parts.
    """
    numbers = list(zip(("create", "mod", "version"), widths))
    pieces = [piece for number in numbers for piece in _pieces(*number)]
    create, mod, version = (_VALUES[width].format(name) for name, width in numbers)
    of_create = _pieces("create", widths[0])
    same = " and ".join(f"{piece.replace('create', 'mod')} == {piece}" for piece in of_create)
    new = " or ".join(f"{piece} != last_{piece}" for piece in of_create)
    # Hot: about 0.25 us for each key-value, of which 0.15 us are what it takes to make one.
    turn = [
        # what was written by one transaction shares its revision
        f"if {new}:",
        *indented([f"revision = {create}", *(f"last_{piece} = {piece}" for piece in of_create)]),
        "new = draft()",
        "new.key = key",
        "new.create_revision = revision",
        # most were never modified: the same number, and no second one to be made
        f"new.mod_revision = revision if {same} else {mod}" if widths[0] == widths[1] else f"new.mod_revision = {mod}",
        f"new.version = {version}",
        "new.value = value",
        "new.lease = 0",
        "new.__class__ = KeyValue",
        *(_IN_EVENT if is_event else []),
        "append(new)",
    ]
    begin = [f"last_{piece} = None" for piece in of_create]
    loop = [*begin, f"for key, {', '.join(pieces)}, value in parts:", *indented(turn)]
    return text(f"def {_name(widths, is_event)}(parts, append):", loop)


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
    "Event": Event,
    "KeyValue": KeyValue,
    "draft": draft(KeyValue),
    "draft_event": draft(Event),
    "pairs": _Pairs(),
}
"""The globals of all readers."""


@lru_cache(maxsize=None)
def _reader(widths: tuple[int, ...], is_event: bool) -> Any:
    return compiled(_name(widths, is_event), source_of_reader(widths, is_event), _NAMES)
