"""
Garbage is not collected while a large answer is decoded.

With every few thousand objects that are made CPython's collector would look at all there are, and none of them can be
garbage yet: of 50,000 key-values that takes as long as to decode them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

LARGE = 1024 * 1024
"""Bytes of an answer that becomes thousands of objects."""


@contextmanager
def garbage_left() -> Iterator[None]:
    """
    Lets no garbage be collected meanwhile.

    What is made meanwhile counts as old afterwards, which no collector looks at soon: else the next one would look at
    all of it at once, for 0.2 us each. What was young before, and so may be garbage, is collected first.
    """
    if not gc.isenabled():
        yield
        return
    gc.collect(1)
    gc.disable()
    try:
        yield
    finally:
        _age()
        gc.enable()


def _age() -> None:
    # what somebody has frozen shall remain so; PyPy's collector has no such thing, and no need of it
    if getattr(gc, "get_freeze_count", lambda: 1)() == 0:
        gc.freeze()
        gc.unfreeze()
