"""
Sets of keys.
"""

from __future__ import annotations

import copy
import importlib
import pickle
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from txetcd.keyset import FROM_KEY, KeySet, prefix_end

PREFIX_ENDS = {
    b"a": b"b",
    b"foo/": b"foo0",
    b"\x00": b"\x01",
    b"a\x00": b"a\x01",
    b"\x7f": b"\x80",
    b"\xfe": b"\xff",
    b"a\xff": b"b",
    b"a\xff\xff\xff": b"b",
    b"a\xff\x01": b"a\xff\x02",
    b"\xff\x01": b"\xff\x02",
    b"a\xfe\xff": b"a\xff",
    b"": FROM_KEY,
    b"\xff": FROM_KEY,
    b"\xff\xff": FROM_KEY,
}

# bytes that carry, and few enough others that keys and prefixes often meet
KEYS = st.binary(max_size=6) | st.lists(st.sampled_from(b"\x00\x01a\xfe\xff"), max_size=5).map(bytes)

SETS = [
    (KeySet(b"k"), "single", b"k", b"", "KeySet(b'k')"),
    (KeySet(b"k", None, None), "single", b"k", b"", "KeySet(b'k')"),
    (KeySet(b"k", prefix=False), "single", b"k", b"", "KeySet(b'k')"),
    (KeySet(b"a", b"c"), "range", b"a", b"c", "KeySet(b'a', b'c')"),
    (KeySet(b"a", b"c", False), "range", b"a", b"c", "KeySet(b'a', b'c')"),
    (KeySet(b"c", b"a"), "range", b"c", b"a", "KeySet(b'c', b'a')"),
    (KeySet(b"a", b"\x00"), "range", b"a", b"\x00", r"KeySet(b'a', b'\x00')"),
    (KeySet(b"p/", prefix=True), "prefix", b"p/", b"p0", "KeySet(b'p/', prefix=True)"),
    (KeySet(b"\xff", prefix=True), "prefix", b"\xff", b"\x00", r"KeySet(b'\xff', prefix=True)"),
    (KeySet(b"", prefix=True), "prefix", b"\x00", b"\x00", "KeySet(b'', prefix=True)"),
    (KeySet.all(), "prefix", b"\x00", b"\x00", "KeySet.all()"),
]

BAD: list[tuple[tuple[Any, ...], type[Exception], str]] = [
    ((None,), TypeError, "key must be bytes, not NoneType"),
    (("k",), TypeError, "key must be bytes, not str; encode it: 'k'.encode()"),
    ((b"",), ValueError, "key must not be empty; all keys are KeySet.all()"),
    ((b"", b"z"), ValueError, "key must not be empty; all keys are KeySet.all()"),
    ((b"", None, False), ValueError, "key must not be empty; all keys are KeySet.all()"),
    ((b"k", "z"), TypeError, "range_end must be bytes, not str; encode it: 'z'.encode()"),
    ((b"k", b""), ValueError, r"range_end must not be empty; to include all keys from key on it is b'\x00'"),
    ((b"k", None, 1), TypeError, "prefix must be bool, not int"),
    ((b"k", None, Deferred()), TypeError, "prefix must be bool, not a Deferred: yield or await it first"),
    ((b"k", b"z", True), TypeError, "range_end and prefix exclude each other"),
]

NOT_KEYS: list[tuple[Any, type[Exception], str]] = [
    (b"", ValueError, "keys must not be empty; all keys are KeySet.all()"),
    ("k", TypeError, "keys must be bytes or a KeySet, not str; encode it: 'k'.encode()"),
    (None, TypeError, "keys must be bytes or a KeySet, not NoneType"),
    (Deferred(), TypeError, "keys must be bytes or a KeySet, not a Deferred: yield or await it first"),
    ([b"k"], TypeError, "keys must be bytes or a KeySet, not list"),
]


class PrefixEndTests(SynchronousTestCase):
    def test_table(self) -> None:
        self.assertEqual(PREFIX_ENDS, {prefix: prefix_end(prefix) for prefix in PREFIX_ENDS})

    @PROPERTY
    @given(KEYS, KEYS)
    def test_exactly_the_keys_that_begin_so(self, prefix: bytes, key: bytes) -> None:
        end = prefix_end(prefix)
        is_in_range = prefix <= key and (end == FROM_KEY or key < end)
        self.assertEqual(key.startswith(prefix), is_in_range)

    @PROPERTY
    @given(KEYS, KEYS)
    def test_continued(self, prefix: bytes, rest: bytes) -> None:
        end = prefix_end(prefix)
        self.assertTrue(end == FROM_KEY or prefix + rest < end)


class KeySetTests(SynchronousTestCase):
    def test_good(self) -> None:
        for keys, kind, start, end, shown in SETS:
            self.assertEqual((kind, start, end, shown), (keys.type, keys.start, keys.end, repr(keys)))

    def test_as_given(self) -> None:
        keys = KeySet(b"a", b"c")
        self.assertEqual((b"a", b"c", None), (keys.key, keys.range_end, keys.prefix))
        keys = KeySet(b"p/", prefix=True)
        self.assertEqual((b"p/", None, True), (keys.key, keys.range_end, keys.prefix))

    def test_bad(self) -> None:
        for arguments, exception, message in BAD:
            error = self.assertRaises(exception, KeySet, *arguments)
            self.assertEqual((exception, message), (type(error), str(error)), arguments)

    def test_of(self) -> None:
        keys = KeySet(b"a", b"c")
        self.assertIs(keys, KeySet.of("keys", keys))
        self.assertEqual(KeySet(b"k"), KeySet.of("keys", b"k"))

    def test_not_of(self) -> None:
        for value, exception, message in NOT_KEYS:
            error = self.assertRaises(exception, KeySet.of, "keys", value)
            self.assertEqual((exception, message), (type(error), str(error)))

    def test_everything(self) -> None:
        """All sets that mean every key say so; one of them is meant so."""
        everything = [KeySet(b"", prefix=True), KeySet(b"\x00", b"\x00"), KeySet.all()]
        self.assertEqual([True] * 3, [keys.is_everything for keys in everything])
        self.assertEqual([False, False, True], [keys.is_meant_for_all for keys in everything])

    def test_not_everything(self) -> None:
        for keys in (KeySet(b"\x00"), KeySet(b"\x00", b"\xff"), KeySet(b"\x01", b"\x00"), KeySet(b"\x00", prefix=True)):
            self.assertEqual((False, False), (keys.is_everything, keys.is_meant_for_all), keys)

    def test_immutable(self) -> None:
        keys = KeySet(b"k")
        error = self.assertRaises(AttributeError, setattr, keys, "key", b"l")
        self.assertEqual("a KeySet is immutable: key cannot be set", str(error))
        error = self.assertRaises(AttributeError, delattr, keys, "key")
        self.assertEqual("a KeySet is immutable: key cannot be deleted", str(error))
        self.assertRaises(AttributeError, setattr, KeySet.all(), "colour", "red")

    def test_equal_when_the_same_keys(self) -> None:
        self.assertEqual(KeySet(b"p/", prefix=True), KeySet(b"p/", b"p0"))
        self.assertEqual(hash(KeySet(b"p/", prefix=True)), hash(KeySet(b"p/", b"p0")))
        self.assertEqual(1, len({KeySet(b"k"), KeySet(b"k", prefix=False)}))
        self.assertNotEqual(KeySet(b"k"), KeySet(b"k", b"l"))
        self.assertNotEqual(KeySet(b"k"), b"k")

    def test_copies(self) -> None:
        for keys, *_ in SETS:
            for other in (copy.copy(keys), copy.deepcopy(keys)):
                self.assertEqual((keys, repr(keys)), (other, repr(other)))
                self.assertEqual(keys.is_meant_for_all, other.is_meant_for_all)

    def test_pickles(self) -> None:
        """Also where Twisted has taught ``pickle`` its own way with methods, as trial does."""
        importlib.import_module("twisted.persisted.styles")
        for keys, *_ in SETS:
            other = pickle.loads(pickle.dumps(keys))
            self.assertEqual((keys, repr(keys)), (other, repr(other)))
            self.assertEqual(keys.is_meant_for_all, other.is_meant_for_all)

    def test_repr_can_be_read(self) -> None:
        for keys, *_ in SETS:
            self.assertEqual(keys, eval(repr(keys), {"KeySet": KeySet}))

    def test_contains(self) -> None:
        self.assertIn(b"k", KeySet(b"k"))
        self.assertNotIn(b"k1", KeySet(b"k"))
        self.assertEqual([False, True, True, False], [k in KeySet(b"a", b"c") for k in (b"A", b"a", b"bzz", b"c")])
        self.assertEqual([False, True, True], [k in KeySet(b"b", b"\x00") for k in (b"a", b"b", b"\xff\xff")])
        self.assertNotIn(b"b", KeySet(b"c", b"a"))
        self.assertIn(b"\x00", KeySet.all())
        self.assertNotIn("k", KeySet(b"k"))

    @PROPERTY
    @given(KEYS, KEYS.filter(bool))
    def test_contains_what_begins_so(self, prefix: bytes, key: bytes) -> None:
        self.assertEqual(key.startswith(prefix), key in KeySet(prefix, prefix=True))

    @PROPERTY
    @given(KEYS.filter(bool), KEYS.filter(bool), KEYS.filter(bool))
    def test_contains_what_lies_between(self, start: bytes, end: bytes, key: bytes) -> None:
        is_between = start <= key and (key < end or end == b"\x00")
        self.assertEqual(is_between, key in KeySet(start, end))
