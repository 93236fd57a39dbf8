"""
What is said of promises that were broken.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

_SHOWN = 10
"""So many are told in an error; once one is broken, others often are as well."""


@attrs.frozen
class Violation:
    """
    A promise that was broken.

    :ivar guarantee: which one (``str``), of those that :class:`WatchRecord` and :class:`LockRecord` name.
    :ivar what: how, in words (``str``).
    """

    guarantee: str
    what: str

    def __str__(self) -> str:
        return f"{self.guarantee}: {self.what}"


def check_none(subject: str, found: Sequence[Violation]) -> None:
    """
    Nothing was *found*.

    :param subject: of what the promises are (``str``).
    :raises AssertionError: if a promise was broken; it tells which ones.
    """
    if found:
        more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise AssertionError(f"{subject}: {'; '.join(map(str, found[:_SHOWN]))}{more}")
