"""
Key-values by the thousand: read fast or field by field, they are the same.
"""

from __future__ import annotations

import gc
from typing import Any, Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from txetcd import _runs
from txetcd import _schema as schema
from txetcd._garbage import LARGE
from txetcd._protobuf import _DECODERS, decode
from txetcd._varint import varint
from txetcd.errors import ProtocolViolation
from txetcd.values import Event, KeyValue, Outcome, Range

TAG = 18
"""Of the key-values in a range."""

MANY = 200
"""So many that forms are found, and kept or given up."""


def sized(tag: int, data: bytes) -> bytes:
    return varint(tag) + varint(len(data)) + data


def written(kv: KeyValue) -> bytes:
    """As every encoder writes it."""
    numbers = [(16, kv.create_revision), (24, kv.mod_revision), (32, kv.version)]
    parts = [sized(10, kv.key) if kv.key else b""]
    parts += [varint(tag) + varint(number) for tag, number in numbers if number]
    parts += [sized(42, kv.value) if kv.value else b"", varint(48) + varint(kv.lease) if kv.lease else b""]
    return b"".join(parts)


def key_value(key: bytes, revision: int, value: bytes, **more: int) -> KeyValue:
    """One that was created and modified by one write."""
    numbers = {"create_revision": revision, "mod_revision": revision, "version": 1, **more}
    return KeyValue(key=key, value=value, **numbers)


def one_by_one(data: bytes, at: int, end: int) -> list[KeyValue]:
    """What field by field is to be found."""
    found = _DECODERS["RangeResponse"](data, at, end, 50, None)
    return list(found.kvs)


def read(data: bytes, at: int = 0, end: int | None = None) -> tuple[list[KeyValue], int]:
    """What is found the fast way, and where that ended."""
    found: list[KeyValue] = []
    at = _runs.key_values(data, at, len(data) if end is None else end, found, _DECODERS["KeyValue"])
    return found, at


NUMBERS = [1, 127, 128, 2**14 - 1, 2**14, 2**21 - 1, 2**21, 2**28 - 1, 2**28, 2**35 - 1, 2**35, 2**63 - 1]

FORMS: dict[str, Callable[[int], KeyValue]] = {
    "plain": lambda n: key_value(b"key/%05d" % n, 1000 + n, b"%05d" % n),
    "modified": lambda n: key_value(b"key/%05d" % n, 1000 + n, b"v", mod_revision=9000 + n, version=2),
    "modified, later by a width": lambda n: key_value(b"k%05d" % n, 200 + n, b"v", mod_revision=90_000 + n),
    "keys and values of two lengths": lambda n: key_value(b"k" * (1 + n % 2), 5, b"v" * (1 + n // 2 % 2)),
    "large keys": lambda n: key_value(b"k" * 300 + b"%05d" % n, 5, b"v"),
    "very large keys": lambda n: key_value(b"k" * 20_000 + b"%05d" % n, 5, b"v"),
    "large values": lambda n: key_value(b"%05d" % n, 5, b"v" * 300),
    "very large values": lambda n: key_value(b"%05d" % n, 5, b"v" * 20_000),
    "no values": lambda n: key_value(b"%05d" % n, 5 + n, b""),
    "leased": lambda n: key_value(b"%05d" % n, 5 + n, b"v", lease=2**62 + n),
    "some leased": lambda n: key_value(b"%05d" % n, 5 + n, b"v", lease=n % 5 and 7),
    "all different": lambda n: key_value(b"k" * (1 + n % 50), 3**(n % 40), b"v" * (n * 7 % 1000)),
    "no keys": lambda n: key_value(b"", 5, b"v"),
    "nothing": lambda n: KeyValue(b"", b"", 0, 0, 0),
    "negative": lambda n: key_value(b"%05d" % n, -5 - n, b"v"),
    "values that look like fields": lambda n: key_value(b"%05d" % n, 300, b"\x12\x0d\x0a\x01k\x10\x01\x18\x01\x20\x01"),
    **{f"revisions of {number}": lambda n, number=number: key_value(b"%05d" % n, number, b"v") for number in NUMBERS},
    **{
        f"revisions about {number}": lambda n, number=number: key_value(
            b"%05d" % n, max(1, number - n % 3), b"v", mod_revision=number, version=max(1, number - n % 2)
        )
        for number in NUMBERS
    },
}  # fmt: skip


def flawed(prefix: bytes) -> bytes:
    """Many of a form, and one that begins as they do."""
    usual = sized(TAG, written(key_value(b"kkkk", 300, b"vvvv")))
    return usual * 50 + sized(TAG, prefix) + usual * 50


UNUSUAL = {
    "other order": flawed(sized(42, b"vvvv") + b"\x10\xac\x02\x18\xac\x02\x20\x01" + sized(10, b"kkkk")),
    "value before the numbers": flawed(sized(10, b"kkkk") + sized(42, b"vvvv") + b"\x10\xac\x02\x18\xac\x02\x20\x01"),
    "a number of more bytes than it needs": flawed(
        sized(10, b"kkkk") + b"\x10\xac\x82\x00\x18\xac\x02\x20\x01" + sized(42, b"vvv")
    ),
    "a field twice": flawed(sized(10, b"kkkk") + b"\x10\xac\x02\x10\xac\x02\x20\x01" + sized(42, b"vvvv")),
    "an unknown field": flawed(sized(10, b"kkkk") + b"\x10\xac\x02\x18\xac\x02\x38\x01" + sized(42, b"vvvv")),
    "another wire type": flawed(sized(10, b"kkkk") + b"\x10\xac\x02\x1a\x01\x02\x20\x01" + sized(42, b"vvvv")),
    "a shorter value and a lease": flawed(
        sized(10, b"kkkk") + b"\x10\xac\x02\x18\xac\x02\x20\x01" + sized(42, b"vv") + b"\x30\x01"
    ),
}


def damaged(data: bytes, place: int, bytes_: bytes) -> bytes:
    """With other bytes somewhere behind the first tag, which whoever asks has seen."""
    place = 1 + place % (len(data) - 1)
    return data[:place] + bytes_ + data[place + len(bytes_) :]


def outcome(read: Callable[[], Any]) -> Any:
    """What comes of it, or that it fails."""
    try:
        return read()
    except (IndexError, ValueError):
        return "wrong"


class KeyValueTests(SynchronousTestCase):
    """Runs of key-values, in every form."""

    def test_forms(self) -> None:
        for name, make in FORMS.items():
            with self.subTest(name):
                kvs = [make(n) for n in range(MANY)]
                data = b"".join(sized(TAG, written(kv)) for kv in kvs)
                found, at = read(data)
                self.assertEqual(found, kvs[: len(found)])
                self.assertEqual(found + one_by_one(data, at, len(data)), kvs)
                self.assertEqual([type(kv) for kv in found], [KeyValue] * len(found))

    def test_unusual(self) -> None:
        for name, data in UNUSUAL.items():
            with self.subTest(name):
                found, at = read(data)
                self.assertEqual(found + one_by_one(data, at, len(data)), one_by_one(data, 0, len(data)))

    def test_it_pays(self) -> None:
        """What is of a known form is not decoded field by field, up to the end of a run, and behind it."""
        kvs = [FORMS["plain"](n) for n in range(MANY)] + [FORMS["large values"](n) for n in range(MANY)]
        decoded: list[int] = []

        def count(data: bytes, at: int, *more: Any) -> Any:
            decoded.append(at)
            return _DECODERS["KeyValue"](data, at, *more)

        found: list[KeyValue] = []
        data = b"".join(sized(TAG, written(kv)) for kv in kvs)
        self.assertEqual(_runs.key_values(data, 0, len(data), found, count), len(data))
        self.assertEqual(found, kvs)
        self.assertEqual(len(decoded), 2)

    def test_it_is_given_up(self) -> None:
        """Where each is of another form, whoever has asked goes on."""
        kvs = [key_value(b"k" * (1 + n), 5, b"v") for n in range(MANY)]
        found, _ = read(b"".join(sized(TAG, written(kv)) for kv in kvs))
        self.assertEqual(found, kvs[: _runs.TRIAL])

    def test_what_follows_is_not_its_own(self) -> None:
        """The end of the message is the end, though it goes on alike."""
        one = sized(TAG, written(FORMS["plain"](1)))
        found, at = read(one * MANY, 0, len(one) * 50)
        self.assertEqual((len(found), at), (50, len(one) * 50))
        found, at = read(one * MANY + b"\x18\x01")
        self.assertEqual((len(found), at), (MANY, len(one) * MANY))

    def test_cut(self) -> None:
        """Where the data end within a key-value, or the message does, that shows."""
        one = sized(TAG, written(FORMS["plain"](1)))
        for size in range(1, len(one)):
            data = one * 20 + one[:size]
            try:
                _, at = read(data)
            except IndexError:
                continue
            self.assertGreater(at, len(data))
            found, at = read(one * 30, 0, len(data))
            self.assertEqual((len(found), at), (21, len(one) * 21))

    def test_empty_at_the_end(self) -> None:
        data = sized(TAG, written(FORMS["plain"](1))) * 20 + b"\x12\x00"
        found, at = read(data)
        self.assertEqual((len(found), at), (21, len(data)))

    @PROPERTY
    @given(
        st.lists(
            st.builds(
                KeyValue,
                st.binary(max_size=3), st.binary(max_size=3),
                st.integers(0, 3), st.sampled_from([0, *NUMBERS]), st.sampled_from([0, *NUMBERS]),
                st.sampled_from([0, 0, 0, -1]),
            ),
            min_size=1, max_size=6,
        ),
        st.lists(st.integers(0, 5), min_size=20, max_size=60),
    )  # fmt: skip
    def test_any(self, forms: list[KeyValue], order: list[int]) -> None:
        kvs = [forms[number % len(forms)] for number in order]
        data = b"".join(sized(TAG, written(kv)) for kv in kvs)
        found, at = read(data)
        self.assertEqual(found + one_by_one(data, at, len(data)), kvs)

    @PROPERTY
    @given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
    def test_damaged(self, place: int, bytes_: bytes) -> None:
        """Whatever stands there, it is read the same way, or is as wrong."""
        one = sized(TAG, written(FORMS["plain"](1)))
        data = damaged(one * 20, place, bytes_)

        def fast() -> list[KeyValue]:
            found, at = read(data)
            if at > len(data):
                raise ValueError
            return found + one_by_one(data, at, len(data))

        self.assertEqual(outcome(fast), outcome(lambda: one_by_one(data, 0, len(data))))


EVENT_TAG = 90
"""Of the events in the answer of a watch."""


def event(kv: KeyValue, **more: Any) -> Event:
    return Event("put", kv, **more)


def written_event(event: Event) -> bytes:
    """As every encoder writes it."""
    type_ = b"\x08\x01" if event.is_delete else b""
    previous = b"" if event.previous is None else sized(26, written(event.previous))
    return sized(EVENT_TAG, type_ + sized(18, written(event.kv)) + previous)


def read_events(data: bytes) -> tuple[list[Event], int]:
    """What is found the fast way, and where that ended."""
    found: list[Event] = []
    at = _runs.events(data, 0, len(data), found, _DECODERS["Event"])
    return found, at


class EventTests(SynchronousTestCase):
    """Runs of events, in every form."""

    def of_watch(self, data: bytes) -> list[Event]:
        return list(_DECODERS["WatchResponse"](data, 0, len(data), 50, None).events)

    def test_forms(self) -> None:
        for name, make in FORMS.items():
            with self.subTest(name):
                events = [event(make(n)) for n in range(MANY)]
                data = b"".join(map(written_event, events))
                found, at = read_events(data)
                self.assertEqual(found, events[: len(found)])
                self.assertEqual(self.of_watch(data), events)
                self.assertEqual({(type(one), type(one.kv)) for one in found}, {(Event, KeyValue)})

    def test_others_among_them(self) -> None:
        """Deletions, and changes with what was before, are as they are field by field."""
        deleted = Event("delete", KeyValue(b"00007", mod_revision=9))
        changed = event(FORMS["plain"](3), previous=FORMS["plain"](2))
        for other in (deleted, changed):
            events = [event(FORMS["plain"](n)) for n in range(50)]
            events = [*events, other, *events, other, other, *events]
            data = b"".join(map(written_event, events))
            self.assertEqual(read_events(data), (events, len(data)))

    def test_it_pays(self) -> None:
        events = [event(FORMS["plain"](n)) for n in range(MANY)]
        decoded: list[int] = []

        def count(data: bytes, at: int, *more: Any) -> Any:
            decoded.append(at)
            return _DECODERS["Event"](data, at, *more)

        found: list[Event] = []
        data = b"".join(map(written_event, events))
        self.assertEqual(_runs.events(data, 0, len(data), found, count), len(data))
        self.assertEqual((found, len(decoded)), (events, 1))

    def test_unusual(self) -> None:
        """Events that begin as the others of their form, and go on otherwise."""
        usual = written_event(event(key_value(b"kkkk", 300, b"vvvv")))
        kv = written(key_value(b"kkkk", 300, b"vv"))
        for name, odd in (
            ("a field behind a shorter key-value", sized(18, kv) + b"\x38\x01"),
            ("a key-value in two parts", sized(18, kv[:6]) + sized(18, kv[6:])),
            ("no key-value", b""),
        ):
            with self.subTest(name):
                piece = sized(EVENT_TAG, odd)
                # alone, they are too few to be read the fast way
                alone = outcome(lambda: self.of_watch(usual) * 50 + self.of_watch(piece) + self.of_watch(usual) * 50)
                self.assertEqual(outcome(lambda: self.of_watch(usual * 50 + piece + usual * 50)), alone)

    @PROPERTY
    @given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
    def test_damaged(self, place: int, bytes_: bytes) -> None:
        """Whatever stands there, it is read the same way as one after the other, or is as wrong."""
        one = written_event(event(FORMS["plain"](1)))
        data = damaged(one * 20, place, bytes_)

        def fast() -> list[Event]:
            found, at = read_events(data)
            if at > len(data):
                raise ValueError
            return found + self.of_watch(data[at:])

        self.assertEqual(outcome(fast), outcome(lambda: self.of_watch(data)))


class AnswerTests(SynchronousTestCase):
    """Whole answers."""

    kvs = [FORMS["plain"](n) for n in range(MANY)]
    fields = b"".join(sized(TAG, written(kv)) for kv in kvs)

    def test_range(self) -> None:
        found = decode(schema.RANGE, self.fields + b"\x20" + varint(MANY))
        self.assertEqual((found.kvs, found.count), (self.kvs, MANY))

    def test_deleted(self) -> None:
        found = decode(schema.DELETE_RANGE, b"".join(sized(26, written(kv)) for kv in self.kvs))
        self.assertEqual(found.previous, self.kvs)

    def test_transaction(self) -> None:
        """Ranges in a row, whose key-values look alike."""
        response = sized(26, sized(10, self.fields))
        found = decode(schema.TXN, b"\x10\x01" + response * 2)
        assert isinstance(found, Outcome)
        for part in found.responses:
            assert isinstance(part, Range)
            self.assertEqual(part.kvs, self.kvs)

    def test_cut(self) -> None:
        with self.assertRaises(ProtocolViolation):
            decode(schema.RANGE, self.fields[:-1])

    def test_garbage_is_left(self) -> None:
        """While a large answer is decoded, no garbage is collected, but it is as before then; also if it is none."""
        value = bytes(LARGE)
        large = sized(TAG, written(key_value(b"k", 5, value)))
        seen: list[bool] = []
        decoder = _DECODERS["RangeResponse"]

        def spy(*arguments: Any) -> Any:
            seen.append(gc.isenabled())
            return decoder(*arguments)

        _DECODERS["RangeResponse"] = spy
        self.addCleanup(_DECODERS.__setitem__, "RangeResponse", decoder)
        self.addCleanup(gc.enable)
        decode(schema.RANGE, large)
        self.assertTrue(gc.isenabled())
        with self.assertRaises(ProtocolViolation):
            decode(schema.RANGE, large[:-1])
        self.assertTrue(gc.isenabled())
        gc.disable()
        decode(schema.RANGE, large)
        self.assertFalse(gc.isenabled())
        gc.enable()
        decode(schema.RANGE, self.fields)
        self.assertEqual(seen, [False, False, False, True])
