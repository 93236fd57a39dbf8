"""
Key-values by the thousand in JSON, and events of them: the fast way through those that are written as most are.

All that were never deleted, have a value and no lease are written with the same words in the same order. One regular
expression takes a list of them apart; if there is anything else, the list is the parser's. That takes 0.6 us more for
each of them.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from functools import partial
from typing import Any, Callable, Optional

import attrs

from ._codegen import draft
from .values import Event, KeyValue

MANY = 4096
"""Bytes of an answer from which on it may have so many of them that it matters."""

Parts = Iterable[tuple[bytes, ...]]
"""The parts of each key-value: the key, the two revisions, the version, the value."""


@attrs.frozen
class Run:
    """
    A list in an answer.

    :ivar name: of the list, in JSON, and in the message.
    :ivar opening: what stands before its items.
    :ivar items: takes one of it apart, with a comma before it; what is none, all the rest, has empty parts.
    :ivar make: makes all of their parts.
    """

    name: str
    opening: bytes
    items: re.Pattern[bytes]
    make: Callable[[Parts], list[Any]]


def taken_out(run: Run, body: bytes) -> Optional[tuple[bytes, list[Any]]]:
    """
    Takes a list out of an answer.

    :returns: the answer with an empty list instead, and what was in it; ``None`` if not all of it is as usual.
    """
    start = body.find(run.opening) + len(run.opening)
    end = body.find(b"]", start)
    if start < len(run.opening) or end < 0:
        return None
    rest = body[:start] + body[end:]
    if rest.count(run.opening[:-2]) != 1:
        # the parser takes the last one of two
        return None
    try:
        return rest, run.make(run.items.findall(b"," + body[start:end]))
    except ValueError:
        # something else is among them, or what only looks like base64
        return None


class _Numbers(dict[bytes, int]):
    """Numbers by their digits, of which there are some: most come several times."""

    def __missing__(self, digits: bytes) -> int:
        number = self[digits] = int(digits)
        return number


_draft_key_value, _draft_event = draft(KeyValue), draft(Event)


def _made(is_event: bool, parts: Parts) -> list[Any]:
    """Key-values of their parts, or an event of each."""
    a2b, numbers = binascii.a2b_base64, _Numbers()
    made = []
    # Hot: 0.8 us each, half of it base64's; 0.1 us more for the event.
    for key, create_revision, mod_revision, version, value in parts:
        if len(key) & 3 or len(value) & 3:
            raise ValueError("not base64")
        new: Any = _draft_key_value()
        new.key = a2b(key)
        new.value = a2b(value)
        new.create_revision = numbers[create_revision]
        new.mod_revision = numbers[mod_revision]
        new.version = numbers[version]
        new.lease = 0
        new.__class__ = KeyValue
        if is_event:
            kv, new = new, _draft_event()
            new.type = "put"
            new.kv = kv
            new.previous = None
            new.__class__ = Event
        made.append(new)
    return made


# --- which lists

# base64 whose last bits are zero, where not all of them count; what is wrong with its length shows later
_TEXT = b'"([A-Za-z0-9+/]*(?:[AQgw]==|[AEIMQUYcgkosw048]=|[A-Za-z0-9+/]))"'

_NUMBER = b'"([1-9][0-9]{0,17})"'

_KEY_VALUE = b'{"key":%b,"create_revision":%b,"mod_revision":%b,"version":%b,"value":%b}' % (
    _TEXT, _NUMBER, _NUMBER, _NUMBER, _TEXT
)  # fmt: skip


def _run(name: str, item: bytes, make: Callable[[Parts], list[Any]]) -> Run:
    return Run(name, b'"%b":[' % name.encode(), re.compile(item + b"|(?s:.+)"), make)


RUNS = {
    "RangeResponse": _run("kvs", b"," + _KEY_VALUE, partial(_made, False)),
    "WatchResponse": _run("events", b',{"kv":%b}' % _KEY_VALUE, partial(_made, True)),
}
"""By the names of the messages."""
