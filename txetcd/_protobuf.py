"""
The native protocol's codec: requests to protobuf and answers from protobuf, made from the table in
:mod:`txetcd._schema`.

For each message a function is written, as one would by hand who has nothing but speed in mind, and compiled when the
message is used first. :func:`source_of_encoder` and :func:`source_of_decoder` show it. A decoder is such a loop::

    def decode(data, at, end, depth, old):
        if old is None:
            key_ = b""                                one such line for each field
        else:
            key_ = old.key                            likewise
        tag = data[at] if at < end else 0
        while at < end:
            start = at
            if tag == 10:
                ...                                   reads key_, moves `at` behind it, and reads the next tag
            if at == start:
                tag, at = pass_over(data, at, end, known)
        ...

Fields in the order of their numbers, as every encoder writes them, are read in one turn; those in another order take
more turns; a turn that gets nowhere is at an unknown field. Nothing is compared with the end in between: a field that
is longer than its message leads beyond the end, which is looked at once, behind the loop, and one that is longer than
all there is raises ``IndexError``. ``old`` is the value of the same field that came before: protobuf merges them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Callable, Optional

import attrs

from . import _schema as schema
from ._check import INT64_MAX, UINT64_MAX
from ._codegen import IS_INTERPRETED, compiled, draft, indented, text
from ._garbage import LARGE, garbage_left
from ._runs import events, key_values
from ._varint import long_number, read_varint, varint
from .errors import ProtocolViolation
from .ops import MAX_DEPTH

Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes, int, int, int, Any], Any]

_VARINT, _FIXED64, _SIZED, _GROUP, _GROUP_END, _FIXED32 = range(6)
"""The wire types: what a tag says of the form of what follows."""

_NUMBERS = frozenset(("int32", "uint32", "int64", "uint64", "bool", *schema.ENUMS))
"""The types that are varints on the wire."""


def _tag(field: schema.Field, wire_type: int) -> int:
    return field.number << 3 | wire_type


# --- out


@lru_cache(maxsize=None)
def _ahead(tag: int) -> tuple[bytes, ...]:
    """The tag with each number of one byte behind it, to be had by that number."""
    return tuple(varint(tag) + varint(number) for number in range(128))


class _Encoders(dict[type[Any], Encoder]):
    """The encoders of a message, one for each class of ours that stands for it, made when they are used first."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __missing__(self, cls: type[Any]) -> Encoder:
        fields = _fields_of_request(self._name, cls)
        _ENCODER_NAMES.update((f"ahead_{tag}", _ahead(tag)) for tag in map(_written_tag, fields))
        source = source_of_encoder(self._name, cls)
        encoder: Encoder = compiled(f"encode_{self._name}_{cls.__name__}", source, _ENCODER_NAMES)
        self[cls] = encoder
        return encoder


def _written_tag(field: schema.Field) -> int:
    """The tag that a field is written with; numbers that are repeated go into one piece."""
    return _tag(field, _VARINT if field.type in _NUMBERS and not field.repeated else _SIZED)


def _fields_of_request(name: str, cls: type[Any]) -> list[schema.Field]:
    """The fields that are written for an instance of *cls*; the one of a choice is the instance itself."""
    for message in schema.MESSAGES:
        if (message.name, message.cls) == (name, cls):
            return sorted(message.fields, key=lambda field: field.number)
    choices = {choice.name: dict(choice.choices) for choice in schema.CHOICES}
    return [attrs.evolve(choices[name][cls], attribute="", oneof=True)]


def source_of_encoder(name: str, cls: type[Any]) -> str:
    """
    The Python source of what encodes an instance of *cls* as the message *name*.
    """
    body = ['out = b""']
    for field in _fields_of_request(name, cls):
        body += _written(field)
    return text(f"def encode_{name}_{cls.__name__}(request):", [*body, "return out"])


def _written(field: schema.Field) -> list[str]:
    held = f"request.{field.attribute}" if field.attribute else "request"
    if field.type in _NUMBERS:
        return _packed(field, held) if field.repeated else _number_written(field, held)
    if field.repeated:
        loop = [f"for value in {held}:", *indented(_sized(field, ["parts.append(head)", "parts.append(value)"]))]
        return [f"if {held}:", *indented(["parts = [out]", *loop, 'out = b"".join(parts)'])]
    sized = _sized(field, ["out += head + value"])
    if field.oneof:
        return [f"value = {held}", *sized]
    is_there = "value" if field.type in schema.SCALARS else "value is not None"
    return [f"value = {held}", f"if {is_there}:", *indented(sized)]


def _sized(field: schema.Field, use: list[str]) -> list[str]:
    """*use* what is written of ``value``, and the ``head`` before it, which is the tag and the size."""
    lines = []
    if field.type == "string":
        lines = ["value = value.encode()"]
    elif field.type not in schema.SCALARS:
        lines = [f"value = encode_{field.type}[type(value)](value)"]
    return [*lines, *_headed(field, use)]


def _headed(field: schema.Field, use: list[str]) -> list[str]:
    tag = _tag(field, _SIZED)
    head = f"head = ahead_{tag}[size] if size < 128 else {varint(tag)!r} + varint(size)"
    return ["size = len(value)", head, *use]


def _packed(field: schema.Field, held: str) -> list[str]:
    number = f"{field.type}[item]" if field.type in schema.ENUMS else "item"
    joined = f'value = b"".join([varint({number}) for item in {held}])'
    return [f"if {held}:", *indented([joined, *_headed(field, ["out += head + value"])])]


def _number_written(field: schema.Field, held: str) -> list[str]:
    tag = _tag(field, _VARINT)
    if field.type == "bool":
        return [f"if {held}:", f"    out += {_ahead(tag)[True]!r}"]
    return [
        f"value = {field.type}[{held}]" if field.type in schema.ENUMS else f"value = {held}",
        f"if 0 {'<=' if field.oneof else '<'} value < 128:",
        f"    out += ahead_{tag}[value]",
        "elif value:",
        f"    out += {varint(tag)!r} + varint(value)",
    ]


def _enum_numbers(names: tuple[str, ...]) -> dict[Optional[str], int]:
    """The number of each name; an attribute that is ``None`` leaves it to the server, which is 0."""
    return {None: 0, **{name: number for number, name in enumerate(names)}}


_ENCODERS = {name: _Encoders(name) for name in (*schema.BY_NAME, *schema.BY_CHOICE)}

_ENCODER_NAMES: dict[str, Any] = {
    "varint": varint,
    **{enum: _enum_numbers(names) for enum, names in schema.ENUMS.items()},
    **{f"encode_{name}": encoders for name, encoders in _ENCODERS.items()},
}
"""The globals of all encoders."""


def encode(rpc: schema.Rpc, request: Any) -> bytes:
    """
    The message of a request.

    :param request: an instance of a class that stands for ``rpc.request`` in the table.
    """
    return _ENCODERS[rpc.request][type(request)](request)


# --- in

_CHOICES_WITHIN = MAX_DEPTH + 1
"""How deep choices may be in one another: what the innermost transaction does is one, too. Google's decoders stop at
100 levels, which are 50 choices with the messages that they choose; but etcd does what is nested deeper, and then that
must be told. Nothing can be within itself without a choice."""

_GROUPS_WITHIN = 100
"""As in Google's decoders."""

_BEYOND = "a field is longer than its message"

_MANY = 4096
"""Bytes from which on there may be so many key-values that it matters how they are read."""

def _read_tag(data: bytes, at: int) -> tuple[int, int]:
    tag, behind = read_varint(data, at)
    if behind - at > 5 or tag >> 32:
        raise ValueError("a field number is too large")
    if tag < 8:
        raise ValueError("a field has the number 0")
    return tag, behind


def _pass_over(data: bytes, at: int, end: int, known: frozenset[int]) -> tuple[int, int]:
    """
    Pass over an unknown field.

    :returns: the next tag, and the place of its last byte; which is here, if the tag is a known one that was written
        with more bytes than it needs.
    """
    tag, behind = _read_tag(data, at)
    if behind > end:
        raise ValueError(_BEYOND)
    if tag in known:
        return tag, behind - 1
    at = _behind(data, behind, tag)
    return data[at] if at < end else 0, at


def _behind(data: bytes, at: int, tag: int) -> int:
    """The place behind a field of any form."""
    groups: list[int] = []
    while True:
        if tag & 7 == _GROUP:
            groups.append(tag >> 3)
            if len(groups) > _GROUPS_WITHIN:
                raise ValueError("groups are nested too deep")
        elif tag & 7 == _GROUP_END:
            if not groups or groups.pop() != tag >> 3:
                raise ValueError("a group ends that has not begun")
        else:
            at = _behind_plain(data, at, tag & 7)
        if not groups:
            return at
        tag, at = _read_tag(data, at)


def _behind_plain(data: bytes, at: int, wire_type: int) -> int:
    if wire_type == _VARINT:
        return read_varint(data, at)[1]
    if wire_type == _SIZED:
        size, at = read_varint(data, at)
        return at + size
    if wire_type == _FIXED64:
        return at + 8
    if wire_type == _FIXED32:
        return at + 4
    raise ValueError(f"there is no wire type {wire_type}")


def _int32(number: int) -> int:
    """The lower 32 bits of a number, with a sign."""
    return (number & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


class _Names(dict[int, Any]):
    """
    What an attribute is for each number of an enum: its name, as its class would convert it. A newer server may have
    more of them than we have names for.
    """

    def __init__(self, names: Iterable[str], convert: Callable[[str], Any]) -> None:
        super().__init__((number, convert(name)) for number, name in enumerate(names))
        self._convert = convert

    def __missing__(self, number: int) -> Any:
        known = _int32(number)
        return self[known] if known in self else self._convert(str(known))


_LONG = {
    "int32": ["{0} = int32({0})"],
    "uint32": ["{0} &= 0xFFFFFFFF"],
    "int64": [f"if {{0}} > {INT64_MAX}:", f"    {{0}} -= {UINT64_MAX + 1}"],
}
"""What is done to a number that has many bytes."""

_ZEROS: dict[str, Any] = {"bytes": b"", "string": "", "bool": False}

_NEXT_TAG = "tag = data[at] if at < end else 0"


class _Decoders(dict[str, Decoder]):
    """The decoders of messages by their names, made when they are used first, with those of all that is in them."""

    def __missing__(self, name: str) -> Decoder:
        for part in schema.names_within([name]) - set(self):
            _DECODER_NAMES.update(_names_for_decoder(part))
            self[part] = compiled(f"decode_{part}", source_of_decoder(part), _DECODER_NAMES)
        return self[name]


_DECODERS = _Decoders()

_DECODER_NAMES: dict[str, Any] = {
    "events": events,
    "int32": _int32,
    "key_values": key_values,
    "long_number": long_number,
    "pass_over": _pass_over,
}
"""The globals of all decoders."""


def _names_for_decoder(name: str) -> dict[str, Any]:
    if name in schema.BY_CHOICE:
        choices = schema.BY_CHOICE[name].choices
        return {f"known_{name}": frozenset(_tag(field, _SIZED) for _, field in choices)}
    message = schema.BY_NAME[name]
    known = frozenset(tag for field in message.fields for tag in _read_tags(field))
    names = {f"known_{name}": known, name: message.cls, f"draft_{name}": draft(message.cls)}
    converters = {attribute.name: attribute.converter or str for attribute in attrs.fields(message.cls)}
    for field in message.fields:
        if field.type in schema.ENUMS:
            names[_names_of(message, field)] = _Names(schema.ENUMS[field.type], converters[field.attribute])
    return names


def _names_of(message: schema.Message, field: schema.Field) -> str:
    return f"{message.name}_{field.attribute}"


def _read_tags(field: schema.Field) -> list[int]:
    """The tags that a field may come with: numbers that are repeated come one by one, or in one piece."""
    if field.type not in _NUMBERS:
        return [_tag(field, _SIZED)]
    return [_tag(field, _VARINT), *([_tag(field, _SIZED)] if field.repeated else [])]


def source_of_decoder(name: str) -> str:
    """
    The Python source of what decodes the message *name*.
    """
    if name in schema.BY_CHOICE:
        before, fields, after = _choice_read(schema.BY_CHOICE[name])
    else:
        before, fields, after = _message_read(schema.BY_NAME[name])
    stuck = ["if at == start:", f"    tag, at = pass_over(data, at, end, known_{name})"]
    loop = ["while at < end:", *indented(["start = at", *fields, *stuck])]
    over = ["if at != end:", f"    raise ValueError({_BEYOND!r})"]
    return text(f"def decode_{name}(data, at, end, depth, old):", [*before, _NEXT_TAG, *loop, *over, *after])


Parts = tuple[list[str], list[str], list[str]]
"""What stands before the loop of a decoder, in it, and behind it."""


def _choice_read(choice: schema.Choice) -> Parts:
    before = ["if not depth:", "    raise ValueError('it is nested too deep')", "chosen = old"]
    fields = []
    for _, field in choice.choices:
        same = f"chosen if type(chosen) is {field.type} else None"
        chosen = f"chosen = decode_{field.type}(data, at, stop, depth - 1, {same})"
        fields += [f"if tag == {_tag(field, _SIZED)}:", *indented(_sized_read([chosen]))]
    empty = ["if chosen is None:", f"    raise ValueError('nothing in a {choice.name}')"]
    return before, fields, [*empty, "return chosen"]


def _message_read(message: schema.Message) -> Parts:
    zeros, olds, fields, missing = [], [], [], []
    required = {attribute.name for attribute in attrs.fields(message.cls) if attribute.default is attrs.NOTHING}
    for field in sorted(message.fields, key=lambda field: field.number):
        zeros.append(f"{field.attribute}_ = {_zero(message, field)}")
        olds.append(f"{field.attribute}_ = old.{field.attribute}")
        fields += _field_read(message, field)
        missing += _missing(field, field.attribute in required)
    before = ["if old is None:", *indented(zeros), "else:", *indented(olds)]
    new = [f"new = draft_{message.name}()", *(f"new.{f.attribute} = {f.attribute}_" for f in message.fields)]
    return before, fields, [*missing, *new, f"new.__class__ = {message.name}", "return new"]


def _zero(message: schema.Message, field: schema.Field) -> str:
    if field.repeated:
        return "[]"
    if field.type in schema.ENUMS:
        return f"{_names_of(message, field)}[0]"
    return repr(_ZEROS.get(field.type, 0)) if field.type in schema.SCALARS else "None"


def _missing(field: schema.Field, is_required: bool) -> list[str]:
    """What is done about a message that is not there."""
    local = f"{field.attribute}_"
    if field.type == "ResponseHeader":
        return [f"if {local} is None:", f"    {local} = {field.type}()"]
    if is_required and not field.repeated and field.type in schema.BY_NAME:
        return [f"if {local} is None:", f"    raise ValueError('{field.name} is missing')"]
    return []


def _field_read(message: schema.Message, field: schema.Field) -> list[str]:
    local = "item" if field.repeated else f"{field.attribute}_"
    use = [f"{field.attribute}_.append(item)"] if field.repeated else []
    keyword = "while" if field.repeated else "if"
    if field.type not in _NUMBERS:
        piece = _piece(field, local)
        read = _sized_read([f"{field.attribute}_.append({piece})" if field.repeated else f"{local} = {piece}"])
        return [*_run_read(field), f"{keyword} tag == {_tag(field, _SIZED)}:", *indented(read)]
    number = [*_number_read(message, field, local), *use]
    lines = [f"{keyword} tag == {_tag(field, _VARINT)}:", *indented([*number, _NEXT_TAG])]
    if field.repeated:
        lines += [f"while tag == {_tag(field, _SIZED)}:", *indented(_sized_read(_packed_read(number)))]
    return lines


_RUNS = {"Event": "events", "KeyValue": "key_values"}


def _run_read(field: schema.Field) -> list[str]:
    """Where many key-values or events may follow, the fast way through them."""
    if field.type not in _RUNS or not field.repeated or not IS_INTERPRETED:
        return []
    run = f"at = {_RUNS[field.type]}(data, at, end, {field.attribute}_, decode_{field.type})"
    return [f"if tag == {_tag(field, _SIZED)} and end - at > {_MANY}:", *indented([run, _NEXT_TAG])]


def _number_read(message: schema.Message, field: schema.Field, local: str) -> list[str]:
    lines = _any_read(local, [line.format(local) for line in _LONG.get(field.type, [])])
    if field.type == "bool":
        lines.append(f"{local} = {local} != 0")
    elif field.type in schema.ENUMS:
        lines.append(f"{local} = {_names_of(message, field)}[{local}]")
    return lines


def _any_read(local: str, if_long: list[str]) -> list[str]:
    """
    Read a number. What sizes and revisions mostly are, up to four bytes, is done here: a call takes 0.1 us more. The
    bytes are added up as they are, and their highest bits subtracted.
    """
    return [
        f"{local} = data[at + 1]",
        "at += 2",
        f"if {local} > 127:",
        "    second = data[at]",
        "    if second < 128:",
        f"        {local} += (second << 7) - {0x80}",
        "        at += 1",
        "    elif (third := data[at + 1]) < 128:",
        f"        {local} += (second << 7) + (third << 14) - {0x4080}",
        "        at += 2",
        "    elif (fourth := data[at + 2]) < 128:",
        f"        {local} += (second << 7) + (third << 14) + (fourth << 21) - {0x204080}",
        "        at += 3",
        "    else:",
        f"        {local}, length = long_number(data[at - 1 : at + 9])",
        "        at += length - 1",
        *indented(indented(if_long)),
    ]


def _packed_read(number: list[str]) -> list[str]:
    """Numbers in one piece: as if each of them had a tag before it."""
    loop = ["while at < stop:", *indented(["at -= 1", *number])]
    return [*loop, "if at != stop:", f"    raise ValueError({_BEYOND!r})"]


def _sized_read(use: list[str]) -> list[str]:
    """*use* what begins at ``at`` and ends at ``stop``."""
    return [*_any_read("size", []), "stop = at + size", *use, "at = stop", _NEXT_TAG]


def _piece(field: schema.Field, local: str) -> str:
    if field.type == "bytes":
        return "data[at:stop]"
    if field.type == "string":
        # what str(data, "utf-8") of PyPy 7.3.11 takes for UTF-8 is more: surrogates, too
        return "data[at:stop].decode()"
    return f"decode_{field.type}(data, at, stop, depth, {'None' if field.repeated else local})"


def decode(rpc: schema.Rpc, data: bytes) -> Any:
    """
    The message of an answer.

    :returns: an instance of the class that stands for ``rpc.response``.
    :raises ProtocolViolation: if it is not one.
    """
    decoder = _DECODERS[rpc.response]
    try:
        if len(data) < LARGE:
            return decoder(data, 0, len(data), _CHOICES_WITHIN, None)
        with garbage_left():
            return decoder(data, 0, len(data), _CHOICES_WITHIN, None)
    except (IndexError, ValueError, RecursionError) as error:
        # that of a text has the text in it, which may be a secret
        cause = None if isinstance(error, UnicodeDecodeError) else error
        raise ProtocolViolation(f"not a {rpc.response}: {_what_is_wrong(error)}") from cause


def _what_is_wrong(error: Exception) -> str:
    if isinstance(error, IndexError):
        return "it is cut off"
    # which bytes of it are wrong, interpreters disagree on
    return "a text is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
