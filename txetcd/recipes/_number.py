"""
A number in a key, in decimal digits.
"""

from __future__ import annotations

import re

from ..errors import Error
from ..values import Range

_DIGITS = re.compile(rb"-?[0-9]+")


def number_of(found: Range) -> int:
    """
    The number in a key; 0 if there is no such key.

    :raises Error: if something else is in it.
    """
    if not found.kvs:
        return 0
    kv = found.kvs[0]
    if not _DIGITS.fullmatch(kv.value):
        raise Error(None, f"{kv.key!r} must hold a number in decimal digits, not {kv.value[:40]!r}")
    return int(kv.value)


def written(number: int) -> bytes:
    """The number, as it is in a key."""
    return b"%d" % number


def mod_revision_of(found: Range) -> int:
    """That of the key; 0 if there is none."""
    return found.kvs[0].mod_revision if found.kvs else 0
