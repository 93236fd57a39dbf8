"""
What recipes are called, and where the keys are that belong to them.
"""

from __future__ import annotations

from .._check import check_key


def check_name(argument: str, value: object) -> bytes:
    """
    *value*, if a recipe, or what it keeps, may be called so.

    :raises TypeError: for anything but ``bytes``.
    :raises ValueError: if it is empty, or ends in ``/``: that stands between a name and the rest of a key.
    """
    name = check_key(argument, value)
    if name.endswith(b"/"):
        raise ValueError(f"{argument} must not end in '/', but is {name!r}")
    return name


def beside(name: bytes, what: bytes = b"") -> bytes:
    """
    A key that belongs to *name*, and is no item of it: before the name, because the queues of Go's recipes take
    whatever begins with the name for an item. Theirs, of priority queues, begin so as well.
    """
    return b"__" + name + what
