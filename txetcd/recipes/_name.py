"""
What recipes are called, and where the keys are that belong to them.
"""

from __future__ import annotations

from .._check import check_key


def check_name(name: object) -> bytes:
    """
    *name*, if a recipe may be called so.

    :raises TypeError: for anything but ``bytes``.
    :raises ValueError: if it is empty, or ends in ``/``: that stands between a name and the rest of a key.
    """
    checked = check_key("name", name)
    if checked.endswith(b"/"):
        raise ValueError(f"name must not end in '/', but is {checked!r}")
    return checked


def beside(name: bytes, what: bytes = b"") -> bytes:
    """
    A key that belongs to *name*, and is no item of it: before the name, because the queues of Go's recipes take
    whatever begins with the name for an item. Theirs, of priority queues, begin so as well.
    """
    return b"__" + name + what
