"""
The gateway's codec: requests to JSON and answers from JSON, made from the table in :mod:`txetcd._schema`.

The gateway speaks the JSON of protobuf: bytes are base64, 64-bit integers are strings, enums are names, and what is
zero is left out. It is read without trusting it: whatever is not as it should be is a
:class:`~txetcd.errors.ProtocolViolation`.
"""

from __future__ import annotations

import binascii
import json
import re
from contextlib import suppress
from operator import attrgetter
from typing import Any, Callable, Optional

import attrs

from . import _schema as schema
from ._codegen import IS_INTERPRETED, compiled, draft, text
from ._garbage import LARGE, garbage_left
from ._json_runs import MANY, RUNS, taken_out
from ._quotes import PLAIN, Quotes
from .errors import (
    CANCELLED,
    NOT_FOUND,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    CommonNameIgnored,
    Error,
    HostNotAllowed,
    ProtocolViolation,
    RequestTooLarge,
    TLSFailed,
    Unavailable,
    Unimplemented,
    class_for,
)
from .values import Header

Encoder = Callable[[Any], Any]
Decoder = Callable[[Any], Any]

# --- out


def _base64(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def _as_it_is(value: Any) -> Any:
    return value


_SCALAR_ENCODERS: dict[str, Encoder] = {
    "bytes": _base64,
    "string": _as_it_is,
    "bool": _as_it_is,
    "int32": _as_it_is,
    "uint32": _as_it_is,
    "int64": str,
    "uint64": str,
}

_ENCODERS: dict[str, dict[type[Any], Encoder]] = {}
"""For each message the encoder of each class of ours that stands for it."""


def _encoder_of(type_: str) -> Encoder:
    if type_ in _SCALAR_ENCODERS:
        return _SCALAR_ENCODERS[type_]
    if type_ in schema.ENUMS:
        return _as_it_is
    by_class = _ENCODERS.setdefault(type_, {})
    return lambda value: by_class[type(value)](value)


def _field_encoder(field: schema.Field) -> Encoder:
    encode = _encoder_of(field.type)
    if field.repeated:
        return lambda values: list(map(encode, values))
    return encode


def _message_encoder(message: schema.Message) -> Encoder:
    plan = [(f.name, attrgetter(f.attribute), _field_encoder(f), f.oneof) for f in message.fields]

    def encode(request: Any) -> dict[str, Any]:
        document = {}
        for name, get, encode_field, even_zero in plan:
            value = get(request)
            if value or even_zero:
                document[name] = encode_field(value)
        return document

    return encode


def _choice_encoder(field: schema.Field) -> Encoder:
    by_class = _ENCODERS.setdefault(field.type, {})
    return lambda value: {field.name: by_class[type(value)](value)}


_dump = json.JSONEncoder(separators=(",", ":")).encode


def encode(rpc: schema.Rpc, request: Any) -> bytes:
    """
    The body of a request.

    :param request: an instance of a class that stands for ``rpc.request`` in the table.
    """
    return _dump(_ENCODERS[rpc.request][type(request)](request)).encode("ascii")


# --- in


def _bytes(value: Any) -> bytes:
    if value is None:
        return b""
    data = binascii.a2b_base64(value)
    # binascii passes over what is not base64
    if _base64(data) != value:
        raise ValueError("not base64")
    return data


def _string(value: Any) -> str:
    if value is None:
        return ""
    if type(value) is not str:
        raise TypeError("not a string")
    return value


def _integer(value: Any) -> int:
    if value is None:
        return 0
    if type(value) is int:
        return value
    if type(value) is not str:
        raise TypeError("not an integer")
    number = int(value)
    # Python takes more for an integer than JSON does
    if str(number) != value:
        raise ValueError("not an integer")
    return number


class _Integers(dict[Any, int]):
    """
    The integers that were read last, by what they are in JSON. The same come again, as revisions in key-values and in
    headers: to have one at hand takes 0.03 us, to look at it as :func:`_integer` 0.3 us.
    """

    _LIMIT = 1000

    def __missing__(self, value: Any) -> int:
        number = _integer(value)
        # others may be the same for a dictionary that are not the same, as 1 and true
        if value is None or type(value) is str:
            if len(self) >= self._LIMIT:
                self.clear()
            self[value] = number
        return number


_INTEGERS = _Integers()

_INTEGER_TYPES = ("int32", "uint32", "int64", "uint64")


def _boolean(value: Any) -> bool:
    if value is None:
        return False
    if type(value) is not bool:
        raise TypeError("not a boolean")
    return value


class _Names(dict[Any, str]):
    """
    What the values of an enum are here, by what they are in JSON: names, or the number of a value that the gateway has
    no name for; a newer server may have more of them.
    """

    def __init__(self, names: tuple[str, ...], convert: Callable[[str], str] = str) -> None:
        super().__init__((name, convert(name)) for name in names)
        self[None] = convert(names[0])
        self._convert = convert

    def __missing__(self, value: Any) -> str:
        if type(value) is not str and type(value) is not int:
            raise TypeError("not an enum")
        return self._convert(str(value))


_DECODERS: dict[str, Decoder] = {
    "bytes": _bytes,
    "string": _string,
    "bool": _boolean,
    **dict.fromkeys(_INTEGER_TYPES, _INTEGERS.__getitem__),
    **{name: _Names(names).__getitem__ for name, names in schema.ENUMS.items()},
}
"""By the name of the type; those of messages are added below."""


def _series_decoder(type_: str) -> Decoder:
    def decode_all(documents: Any) -> list[Any]:
        if documents is None:
            return []
        # a text and an object can be gone through as well
        if type(documents) is not list:
            raise TypeError("not a list")
        return list(map(_DECODERS[type_], documents))

    return decode_all


_DECODER_NAMES: dict[str, Any] = {
    "Header": Header,
    "a2b": binascii.a2b_base64,
    "b2a": binascii.b2a_base64,
    "decode_bool": _boolean,
    "decode_string": _string,
    "integers": _INTEGERS,
}
"""The globals of all decoders of messages; they are among them themselves."""


def _message_decoder(message: schema.Message) -> Decoder:
    """
    What decodes a message, written as one would by hand.

    Hot: of the 2.5 us that an event takes, 0.7 us are the parser's, and 0.8 us base64's. With a loop over the fields, a
    call for each, and one of the frozen class, it takes 6 us.
    """
    name, cls = message.name, message.cls
    fields = {field.attribute: field for field in message.fields}
    _DECODER_NAMES.update({name: cls, f"draft_{name}": draft(cls)})
    body = ["get = document.get", f"new = draft_{name}()"]
    for attribute in attrs.fields(cls):
        body += _read(message, fields[attribute.name], attribute)
    body += [f"new.__class__ = {name}", "return new"]
    decode: Decoder = compiled(f"decode_{name}", text(f"def decode_{name}(document):", body), _DECODER_NAMES)
    return decode


_BYTES_READ = [
    # as _bytes(), without a call
    "value = {value}",
    "if value is None:",
    "    {target} = b''",
    "else:",
    "    {target} = data = a2b(value)",
    "    if b2a(data, newline=False).decode('ascii') != value:",
    "        raise ValueError('not base64')",
]

_INTEGER_READ = ["{target} = integers[{value}]"]

_HEADER_READ = ["value = {value}", "{target} = Header() if value is None else decode_ResponseHeader(value)"]

_OPTIONAL_READ = ["value = {value}", "{target} = None if value is None else decode_{type}(value)"]

_OTHER_READ = ["{target} = decode_{type}({value})"]

_READS = {"bytes": _BYTES_READ, **dict.fromkeys(_INTEGER_TYPES, _INTEGER_READ), "ResponseHeader": _HEADER_READ}


def _read(message: schema.Message, field: schema.Field, attribute: Any) -> list[str]:
    """The lines that set an attribute to the value of its field."""
    words = {"target": f"new.{attribute.name}", "value": f"get({field.name!r})", "type": field.type}
    if field.repeated or field.type in schema.ENUMS:
        # a name of its own, for what only this field is decoded with
        words["type"] = own = f"{message.name}_{field.name}"
        _DECODER_NAMES[f"decode_{own}"] = _own_decoder(field, attribute)
        lines = _OTHER_READ
    elif field.type in schema.SCALARS or attribute.default is attrs.NOTHING:
        lines = _READS.get(field.type, _OTHER_READ)
    else:
        lines = _READS.get(field.type, _OPTIONAL_READ)
    return [line.format(**words) for line in lines]


def _own_decoder(field: schema.Field, attribute: Any) -> Decoder:
    if field.repeated:
        return _series_decoder(field.type)
    return _Names(schema.ENUMS[field.type], attribute.converter or str).__getitem__


def _choice_decoder(choice: schema.Choice) -> Decoder:
    types = {field.name: field.type for _, field in choice.choices}

    def decode(document: Any) -> Any:
        ((name, chosen),) = document.items()
        return _DECODERS[types[name]](chosen)

    return decode


def _parse(body: bytes, quotes: Quotes = PLAIN) -> dict[str, Any]:
    # what the parser and the decoders raise quotes the body as well, so that no error has it for its cause
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ProtocolViolation(f"not JSON: {quotes.excerpt(body)}") from None
    if not isinstance(document, dict):
        raise ProtocolViolation(f"not a JSON object: {quotes.excerpt(body)}")
    return document


def _message(rpc: schema.Rpc, document: Any, body: bytes, quotes: Quotes) -> Any:
    try:
        return _DECODERS[rpc.response](document)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise ProtocolViolation(f"not a {rpc.response}: {quotes.excerpt(body)}") from None


def decode(rpc: schema.Rpc, status: int, body: bytes, quotes: Quotes = PLAIN) -> Any:
    """
    The answer to a call.

    :param status: the HTTP status.
    :param body: the whole body.
    :param quotes: how an error quotes it.
    :returns: an instance of the class that stands for ``rpc.response``.
    :raises Error: what the server says instead; or a :class:`~txetcd.errors.ProtocolViolation`.
    """
    if status != OK:
        raise error_of(status, body, quotes)
    if len(body) < LARGE:
        return _answer(rpc, body, quotes)
    with garbage_left():
        return _answer(rpc, body, quotes)


def _answer(rpc: schema.Rpc, body: bytes, quotes: Quotes) -> Any:
    return decode_line(rpc, body, quotes) if rpc.is_stream else _decoded(_whole, rpc, body, quotes)


def decode_line(rpc: schema.Rpc, line: bytes, quotes: Quotes = PLAIN) -> Any:
    """
    A line of a stream: ``{"result": ...}``, or an error.

    :param quotes: how an error quotes it.
    :returns: an instance of the class that stands for ``rpc.response``.
    :raises Error: what the server says instead; or a :class:`~txetcd.errors.ProtocolViolation`.
    """
    return _decoded(_result, rpc, line, quotes)


def _whole(rpc: schema.Rpc, body: bytes, quotes: Quotes) -> Any:
    return _message(rpc, _parse(body, quotes), body, quotes)


def _result(rpc: schema.Rpc, line: bytes, quotes: Quotes) -> Any:
    document = _parse(line, quotes)
    if "result" in document:
        return _message(rpc, document["result"], line, quotes)
    refused = _refusal_in(document, quotes)
    raise refused or ProtocolViolation(f"neither a result nor an error: {quotes.excerpt(line)}")


_RUNS = RUNS if IS_INTERPRETED else {}


def _decoded(decode: Callable[..., Any], rpc: schema.Rpc, body: bytes, quotes: Quotes) -> Any:
    """What *decode* makes of it; key-values and events by the thousand are decoded the fast way, and put into that."""
    run = _RUNS.get(rpc.response) if len(body) > MANY else None
    taken = None if run is None else taken_out(run, body)
    if run is not None and taken is not None:
        rest, items = taken
        # whatever is wrong with the rest is told of the whole
        with suppress(ProtocolViolation):
            answer = decode(rpc, rest, quotes)
            getattr(answer, run.name)[:] = items
            return answer
    return decode(rpc, body, quotes)


# --- errors

OK = 200

_CODES = range(CANCELLED, UNAUTHENTICATED + 1)
"""The codes of gRPC: what tells another one, such as 404, is something else that answers in JSON."""

_NO_SUCH_CALL = "the server does not know this call: it is too old, or the URL has a path too many"


def _refusal_in(document: dict[str, Any], quotes: Quotes) -> Optional[Error]:
    """
    The error in a JSON object: ``{"error", "message", "code"}`` up to 3.5 and ``{"code", "message"}`` from 3.6 for a
    call; ``{"error": {"grpc_code", "message", ...}}`` and ``{"error": {"code", "message"}}`` in a stream.
    """
    error = document.get("error")
    said = error if isinstance(error, dict) else document
    code = said.get("grpc_code", said.get("code"))
    message = said.get("message", error)
    if type(code) is not int or code not in _CODES or not isinstance(message, str):
        return None
    if code == NOT_FOUND and message == "Not Found":
        return Unimplemented(code, _NO_SUCH_CALL)
    return quotes.refusal(code, message)


NO_GATEWAY = "no etcd gateway there?"
"""What is said of everything that is evidently not etcd's, before what came instead."""

SPEAKS_TLS = "the server speaks TLS there: use https://"

_PAGES: list[tuple[int, str, type[Error], Optional[int], str]] = [
    # the gateway of 3.4 and 3.5, which says it in JSON from 3.6 on
    (404, r"\ANot Found\Z", Unimplemented, UNIMPLEMENTED, _NO_SUCH_CALL),
    # etcd, where there is nothing at a path: as good as everywhere on the port for its peers
    (
        404,
        r"\A404 page not found\Z",
        Unimplemented,
        UNIMPLEMENTED,
        "no etcd gateway there: a wrong path, a port for peers, or --enable-grpc-gateway=false?",
    ),
    # Go, nginx, Apache, Tomcat: nobody has looked at the request
    (400, r"HTTPS (server|port)|SSL-enabled|requires TLS", TLSFailed, None, SPEAKS_TLS),
    (413, "", RequestTooLarge, RESOURCE_EXHAUSTED, "the request is too large"),
    (421, "", HostNotAllowed, None, "the server does not serve this host name"),
    (502, "", Unavailable, UNAVAILABLE, "bad gateway"),
    (503, "", Unavailable, UNAVAILABLE, "service unavailable"),
    (504, "", Unavailable, UNAVAILABLE, "gateway timeout"),
]
"""What other things than etcd's services say, in words of their own, on the way to them: the status, and what is in
the body."""


def refusal_of(body: bytes, quotes: Quotes = PLAIN) -> Optional[Error]:
    """
    What a server says instead of an answer, if *body* is that and complete.

    :param quotes: how the error quotes it.
    """
    try:
        return _refusal_in(_parse(body), quotes)
    except ProtocolViolation:
        return None


def error_of(status: int, body: bytes, quotes: Quotes = PLAIN) -> Error:
    """
    The error for an answer that is no success.

    :param status: the HTTP status, which counts only where the body is not etcd's.
    :param body: the whole body, or as much as there is of it.
    :param quotes: how the error quotes it.
    """
    refused = refusal_of(body, quotes)
    if refused is not None:
        return refused
    text = body.decode("utf-8", "replace")
    if class_for(None, text) is CommonNameIgnored:
        return CommonNameIgnored(None, quotes.text(text))
    return _page_of(status, text.strip(), f"HTTP {status}: {quotes.excerpt(body)}")


def _page_of(status: int, text: str, came: str) -> Error:
    for known, pattern, cls, code, what in _PAGES:
        if status == known and re.search(pattern, text):
            return cls(code, f"{what} ({came})")
    if 300 <= status < 400:
        came = f"a redirect, which is not followed: {came}"
    return ProtocolViolation(f"{NO_GATEWAY} {came}")


# --- the codecs, made from the table


def _compile() -> None:
    for message in schema.MESSAGES:
        _ENCODERS.setdefault(message.name, {})[message.cls] = _message_encoder(message)
    for choice in schema.CHOICES:
        by_class = _ENCODERS.setdefault(choice.name, {})
        by_class.update((cls, _choice_encoder(field)) for cls, field in choice.choices)
    for name in schema.names_within(rpc.response for rpc in schema.RPCS.values()):
        if name in schema.BY_CHOICE:
            _DECODERS[name] = _choice_decoder(schema.BY_CHOICE[name])
        else:
            _DECODERS[name] = _message_decoder(schema.BY_NAME[name])


_compile()
