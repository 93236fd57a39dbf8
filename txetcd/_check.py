"""
What an argument may be. Every check names the argument, says what was wanted and what came.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from inspect import isasyncgen, isgenerator
from typing import Any, Optional, TypeVar, cast

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
UINT64_MAX = 2**64 - 1

_MAX_SECONDS = 1e12
"""More of them are none: no clock gets there, and no timer can be set for it."""

T = TypeVar("T")


def what_came(value: object) -> str:
    """What to say of a value that is of a wrong type: the type, and what to do about it if it shows what it is."""
    if not isinstance(value, Awaitable):
        return type(value).__name__
    # known by what it can do, because this level knows nothing of Twisted
    name = "a Deferred" if hasattr(value, "addCallback") else type(value).__name__
    return f"{name}: yield or await it first"


def encoding_advice(value: object) -> str:
    """What to say to somebody who passed text where bytes are due."""
    return f"; encode it: {value[:40]!r}.encode()" if isinstance(value, str) else ""


def check_bytes(argument: str, value: object) -> bytes:
    """
    *value*, if it is ``bytes``.

    :raises TypeError: for anything else; for a ``str`` it says how to encode it.
    """
    if isinstance(value, bytes):
        return value
    raise TypeError(f"{argument} must be bytes, not {what_came(value)}{encoding_advice(value)}")


def check_key(argument: str, value: object) -> bytes:
    """
    *value*, if it is a key: ``bytes`` that are not empty.

    :raises TypeError: for anything but ``bytes``.
    :raises ValueError: for empty ``bytes``: etcd has no empty key.
    """
    key = check_bytes(argument, value)
    if not key:
        raise ValueError(f"{argument} must not be empty")
    return key


def check_flag(argument: str, value: object) -> bool:
    """
    *value* as ``bool``; ``None`` stands for ``False``.

    :raises TypeError: for anything else.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    raise TypeError(f"{argument} must be bool, not {what_came(value)}")


def check_int(argument: str, value: object, minimum: int = 0, maximum: int = INT64_MAX) -> int:
    """
    *value*, if it is an ``int`` within the bounds (64 bits and not negative, unless told otherwise).

    :raises TypeError: for anything else, ``bool`` included.
    :raises ValueError: for an ``int`` outside the bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be int, not {what_came(value)}")
    if not minimum <= value <= maximum:
        raise ValueError(f"{argument} must be between {minimum} and {maximum}, not {value}")
    return value


def check_int64(argument: str, value: object) -> int:
    """
    *value*, if it is an ``int`` of 64 bits, negative or not.

    :raises TypeError: for anything else, ``bool`` included.
    :raises ValueError: for an ``int`` of more bits.
    """
    return check_int(argument, value, INT64_MIN, INT64_MAX)


def check_optional_int(argument: str, value: object) -> int:
    """
    *value* as an ``int`` that is not negative; ``None`` stands for 0, which is etcd's own word for "not set".

    :raises TypeError: for anything else.
    :raises ValueError: for a negative one, or one of more than 64 bits.
    """
    return 0 if value is None else check_int(argument, value)


def check_seconds(argument: str, value: object) -> Optional[float]:
    """
    *value*, if it is a positive number of seconds, or ``None``.

    :raises TypeError: for anything that is not a number.
    :raises ValueError: for zero, a negative number, infinity or not-a-number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number of seconds or None, not {what_came(value)}")
    if not 0 < value <= _MAX_SECONDS:
        shown = "inf" if value > _MAX_SECONDS else value
        raise ValueError(f"{argument} must be a positive number of seconds, not {shown}")
    return value


def check_choice(argument: str, value: object, choices: Sequence[str]) -> Optional[str]:
    """
    *value*, if it is one of the *choices*, or ``None``.

    A number that an enum does not have crashes etcd 3.4 and 3.5, so only names that are known are ever sent.

    :raises TypeError: for anything but text.
    :raises ValueError: for a text that is not among the choices.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be one of {', '.join(choices)} (a str), not {what_came(value)}")
    if value not in choices:
        raise ValueError(f"{argument} must be one of {', '.join(choices)}, not {value!r}")
    return value


def is_series(value: object) -> bool:
    """Whether *value* is a list, or anything else of which a tuple can be made, but neither text nor bytes."""
    # a Deferred can be iterated, and that would not end
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, memoryview, Awaitable))


def check_all(argument: str, values: object, wanted: type[T], kinds: str) -> tuple[T, ...]:
    """
    *values* as a tuple, if all of them are of the *wanted* class; ``None`` stands for an empty one.

    :param kinds: how a user knows that class (``str``).
    :raises TypeError: for anything that is not a series, or has something else in it.
    """
    if values is None:
        return ()
    if not is_series(values):
        advice = ": put it in a list" if isinstance(values, wanted) else ""
        raise TypeError(f"{argument} must be a list of {kinds}, not {what_came(values)}{advice}")
    series = tuple(cast("Iterable[Any]", values))
    for value in series:
        if not isinstance(value, wanted):
            raise TypeError(f"{argument} must be a list of {kinds}, but one item is {what_came(value)}")
    return series


def check_each(verb: str, values: tuple[Any, ...], wanted: type[T], kinds: str) -> tuple[T, ...]:
    """
    *values*, the arguments of *verb*, if all of them are of the *wanted* class.

    :param kinds: how a user knows that class (``str``).
    :raises TypeError: for anything else; for a list it says how to pass what is in it.
    """
    for value in values:
        if not isinstance(value, wanted):
            one = wanted.__name__.lower()
            advice = f": pass them one by one: {verb}({one}1, {one}2)" if isinstance(value, (list, tuple)) else ""
            raise TypeError(f"{verb}() takes {kinds}, not {what_came(value)}{advice}")
    return values


def check_returned(result: object) -> None:
    """
    Refuses what a callback has returned if nobody will run it, and so nothing of it has happened.

    :raises TypeError: if it is a coroutine, or a generator of either kind.
    """
    if isinstance(result, Coroutine):
        result.close()
        raise TypeError("it returned a coroutine, which nobody runs here: use Deferred.fromCoroutine in it")
    if isgenerator(result):
        raise TypeError("it returned a generator, which does nothing: it lacks @inlineCallbacks")
    if isasyncgen(result):
        raise TypeError("it returned an asynchronous generator, which does nothing: it has a yield too many")
