"""
What an argument may be, and what is said of one that may not.
"""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from txetcd._check import (
    INT64_MAX,
    INT64_MIN,
    check_all,
    check_bytes,
    check_choice,
    check_each,
    check_flag,
    check_int,
    check_int64,
    check_key,
    check_optional_int,
    check_seconds,
    encoding_advice,
    is_series,
    what_came,
)

FORGOTTEN = "a Deferred: yield or await it first"

GOOD: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
    (check_bytes, (b"",), b""),
    (check_bytes, (b"\x00\xff",), b"\x00\xff"),
    (check_key, (b"k",), b"k"),
    (check_flag, (None,), False),
    (check_flag, (False,), False),
    (check_flag, (True,), True),
    (check_int, (0,), 0),
    (check_int, (INT64_MAX,), 2**63 - 1),
    (check_int, (INT64_MIN, INT64_MIN, INT64_MAX), -(2**63)),
    (check_int64, (INT64_MIN,), -(2**63)),
    (check_int64, (INT64_MAX,), 2**63 - 1),
    (check_int, (5, 5, 5), 5),
    (check_optional_int, (None,), 0),
    (check_optional_int, (0,), 0),
    (check_optional_int, (7,), 7),
    (check_seconds, (None,), None),
    (check_seconds, (1,), 1),
    (check_seconds, (0.001,), 0.001),
    (check_choice, (None, ("A", "B")), None),
    (check_choice, ("B", ("A", "B")), "B"),
    (check_all, (None, int, "int"), ()),
    (check_all, ([], int, "int"), ()),
    (check_all, ([1, 2], int, "int"), (1, 2)),
    (check_all, (iter([1, 2]), int, "int"), (1, 2)),
    (check_all, ((1, True), int, "int"), (1, True)),
    (check_each, ((), int, "int"), ()),
    (check_each, ((1, True), int, "int"), (1, True)),
]

BAD: list[tuple[Callable[..., Any], tuple[Any, ...], type[Exception], str]] = [
    (check_bytes, (None,), TypeError, "x must be bytes, not NoneType"),
    (check_bytes, (bytearray(b"k"),), TypeError, "x must be bytes, not bytearray"),
    (check_bytes, ("k",), TypeError, "x must be bytes, not str; encode it: 'k'.encode()"),
    (check_key, (b"",), ValueError, "x must not be empty"),
    (check_key, (1,), TypeError, "x must be bytes, not int"),
    (check_flag, (0,), TypeError, "x must be bool, not int"),
    (check_flag, ("yes",), TypeError, "x must be bool, not str"),
    (check_int, (None,), TypeError, "x must be int, not NoneType"),
    (check_int, (True,), TypeError, "x must be int, not bool"),
    (check_int, (1.0,), TypeError, "x must be int, not float"),
    (check_int, ("1",), TypeError, "x must be int, not str"),
    (check_int, (-1,), ValueError, f"x must be between 0 and {INT64_MAX}, not -1"),
    (check_int, (2**63,), ValueError, f"x must be between 0 and {INT64_MAX}, not {2**63}"),
    (check_int, (0, 1), ValueError, f"x must be between 1 and {INT64_MAX}, not 0"),
    (check_int, (9, 1, 8), ValueError, "x must be between 1 and 8, not 9"),
    (check_int64, (None,), TypeError, "x must be int, not NoneType"),
    (check_int64, (2**63,), ValueError, f"x must be between {INT64_MIN} and {INT64_MAX}, not {2**63}"),
    (check_int64, (-(2**63) - 1,), ValueError, f"x must be between {INT64_MIN} and {INT64_MAX}, not {-(2**63) - 1}"),
    (check_optional_int, (-1,), ValueError, f"x must be between 0 and {INT64_MAX}, not -1"),
    (check_optional_int, (False,), TypeError, "x must be int, not bool"),
    (check_seconds, (0,), ValueError, "x must be a positive number of seconds, not 0"),
    (check_seconds, (-1.5,), ValueError, "x must be a positive number of seconds, not -1.5"),
    (check_seconds, (float("inf"),), ValueError, "x must be a positive number of seconds, not inf"),
    (check_seconds, (10**400,), ValueError, "x must be a positive number of seconds, not inf"),
    (check_seconds, (10**5000,), ValueError, "x must be a positive number of seconds, not inf"),
    (check_seconds, (float("nan"),), ValueError, "x must be a positive number of seconds, not nan"),
    (check_seconds, (True,), TypeError, "x must be a number of seconds or None, not bool"),
    (check_seconds, ("1",), TypeError, "x must be a number of seconds or None, not str"),
    (check_choice, ("a", ("A", "B")), ValueError, "x must be one of A, B, not 'a'"),
    (check_choice, (17, ("A", "B")), TypeError, "x must be one of A, B (a str), not int"),
    (check_all, (5.0, int, "an int"), TypeError, "x must be a list of an int, not float"),
    (check_all, (5, int, "int"), TypeError, "x must be a list of int, not int: put it in a list"),
    (check_all, ("text", str, "str"), TypeError, "x must be a list of str, not str: put it in a list"),
    (check_all, (b"data", int, "int"), TypeError, "x must be a list of int, not bytes"),
    (check_all, ([1, "2"], int, "int"), TypeError, "x must be a list of int, but one item is str"),
    (check_all, ([None], int, "int"), TypeError, "x must be a list of int, but one item is NoneType"),
    (check_each, (("2",), int, "an int"), TypeError, "x() takes an int, not str"),
    (check_each, ((1, [2]), int, "int"), TypeError, "x() takes int, not list: pass them one by one: x(int1, int2)"),
    (check_each, (((1, 2),), int, "int"), TypeError, "x() takes int, not tuple: pass them one by one: x(int1, int2)"),
    (check_bytes, (Deferred(),), TypeError, f"x must be bytes, not {FORGOTTEN}"),
    (check_key, (Deferred(),), TypeError, f"x must be bytes, not {FORGOTTEN}"),
    (check_flag, (Deferred(),), TypeError, f"x must be bool, not {FORGOTTEN}"),
    (check_int, (Deferred(),), TypeError, f"x must be int, not {FORGOTTEN}"),
    (check_seconds, (Deferred(),), TypeError, f"x must be a number of seconds or None, not {FORGOTTEN}"),
    (check_choice, (Deferred(), ("A", "B")), TypeError, f"x must be one of A, B (a str), not {FORGOTTEN}"),
    (check_all, (succeed([1]), int, "int"), TypeError, f"x must be a list of int, not {FORGOTTEN}"),
    (check_all, ([Deferred()], int, "int"), TypeError, f"x must be a list of int, but one item is {FORGOTTEN}"),
    (check_each, ((Deferred(),), int, "int"), TypeError, f"x() takes int, not {FORGOTTEN}"),
]


class CheckTests(SynchronousTestCase):
    def test_good(self) -> None:
        for check, arguments, result in GOOD:
            checked = check("x", *arguments)
            self.assertEqual((result, type(result)), (checked, type(checked)), (check, arguments))

    def test_bad(self) -> None:
        for check, arguments, exception, message in BAD:
            error = self.assertRaises(exception, check, "x", *arguments)
            self.assertEqual((exception, message), (type(error), str(error)), (check, arguments))

    def test_what_came(self) -> None:
        async def compute() -> bytes:
            return b""

        class Special(Deferred[bytes]):
            """There are several classes of them, and who uses them need not know."""

        coroutine = compute()
        self.addCleanup(coroutine.close)
        came = [what_came(value) for value in (None, b"", int, Deferred(), Special(), coroutine)]
        forgotten = [FORGOTTEN, FORGOTTEN, "coroutine: yield or await it first"]
        self.assertEqual(["NoneType", "bytes", "type", *forgotten], came)

    def test_is_series(self) -> None:
        """What can be iterated and is no series: a Deferred that has not fired would never end."""
        good: list[object] = [[], (), {1}, iter([1]), {1: 2}, (n for n in range(3))]
        bad: list[object] = ["ab", b"ab", bytearray(b"ab"), memoryview(b"ab"), Deferred(), succeed([]), None, 7]
        self.assertEqual([True] * 6 + [False] * 8, [is_series(value) for value in good + bad])

    def test_encoding_advice_is_short(self) -> None:
        self.assertEqual(f"; encode it: {'a' * 40!r}.encode()", encoding_advice("a" * 1000))

    def test_encoding_advice_is_for_text(self) -> None:
        self.assertEqual("", encoding_advice(b"a"))
