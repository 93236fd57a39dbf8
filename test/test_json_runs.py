"""
Key-values and events by the thousand in JSON: read fast or by the parser, they are the same.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Optional

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from txetcd import _json
from txetcd import _schema as schema
from txetcd._json_runs import MANY, RUNS, taken_out
from txetcd.errors import ProtocolViolation
from txetcd.values import Event, KeyValue

KVS, EVENTS = RUNS["RangeResponse"], RUNS["WatchResponse"]

USUAL = '{"key":"a2V5","create_revision":"300","mod_revision":"301","version":"2","value":"dmFsdWU="}'
KV = KeyValue(b"key", b"value", 2, 300, 301)

UNUSUAL = {
    "no value": '{"key":"a2V5","create_revision":"300","mod_revision":"301","version":"2"}',
    "a lease": USUAL[:-1] + ',"lease":"7587849210894528524"}',
    "another order": '{"create_revision":"300","key":"a2V5","mod_revision":"301","version":"2","value":"dmFsdWU="}',
    "a space": USUAL.replace(":", ": "),
    "a number": USUAL.replace('"300"', "300"),
    "a large number": USUAL.replace("300", "9223372036854775807"),
    "a number that is too large": USUAL.replace("300", "1" * 30),
    "a number with a zero": USUAL.replace("300", "0300"),
    "no number": USUAL.replace("300", "x"),
    "no base64": USUAL.replace("a2V5", "a2V"),
    "base64 with too many bits": USUAL.replace("dmFsdWU=", "dmFsdWV="),
    "padding within": USUAL.replace("dmFsdWU=", "dm==dWU="),
    "an escape": USUAL.replace("a2V5", "a2V\\u0035"),
    "a bracket in a text": USUAL.replace("a2V5", "a2V]"),
    "an unknown field": USUAL[:-1] + ',"what":[1]}',
    "nothing": "{}",
    "no object": "7",
    "garbage": USUAL + "garbage",
    "no comma": USUAL + USUAL,
    "a comma too many": USUAL + ",",
}


def range_of(*kvs: str, after: str = "") -> bytes:
    return ('{"header":{"revision":"7"},"kvs":[%s],"count":"5"%s}' % (",".join(kvs), after)).encode()


def watch_of(*events: str) -> bytes:
    return ('{"result":{"header":{"revision":"7"},"events":[%s]}}' % ",".join(events)).encode()


def event(kv: str) -> str:
    return '{"kv":%s}' % kv


def outcome(decode: Callable[[], Any]) -> Any:
    """What comes of it, or what is wrong with it."""
    try:
        return decode()
    except ProtocolViolation as violation:
        return str(violation)


class TakenOutTests(SynchronousTestCase):
    def test_key_values(self) -> None:
        rest, kvs = self.taken(KVS, range_of(USUAL, USUAL))
        self.assertEqual((rest, kvs), (range_of(), [KV, KV]))
        self.assertEqual({type(kv) for kv in kvs}, {KeyValue})

    def test_events(self) -> None:
        rest, events = self.taken(EVENTS, watch_of(event(USUAL), event(USUAL)))
        self.assertEqual((rest, events), (watch_of(), [Event("put", KV)] * 2))
        self.assertEqual({type(one) for one in events}, {Event})

    def taken(self, run: Any, body: bytes) -> tuple[bytes, list[Any]]:
        taken = taken_out(run, body)
        assert taken is not None
        return taken

    def test_left_to_the_parser(self) -> None:
        for name, kv in UNUSUAL.items():
            with self.subTest(name):
                self.assertIsNone(taken_out(KVS, range_of(USUAL, kv, USUAL)))
                self.assertIsNone(taken_out(EVENTS, watch_of(event(USUAL), event(kv), event(USUAL))))
        for body in (b"", b"{}", b'{"kvs":', b'{"kvs":[', range_of(USUAL)[:-40], b'{"events":[]}'):
            self.assertIsNone(taken_out(KVS, body))

    def test_other_events(self) -> None:
        for other in (
            '{"type":"DELETE","kv":{"key":"a2V5","mod_revision":"9"}}',
            '{"kv":%s,"prev_kv":%s}' % (USUAL, USUAL),
            '{"kv":%s}' % '{"key":"a2V5"}',
        ):
            self.assertIsNone(taken_out(EVENTS, watch_of(event(USUAL), other)))


class DecodeTests(SynchronousTestCase):
    """Whole answers: decoded with the fast way, and without it."""

    count = MANY // len(USUAL) + 2

    def both(self, rpc: schema.Rpc, body: bytes) -> tuple[Any, Any]:
        decode = _json.decode_line if rpc.is_stream else lambda rpc, body: _json.decode(rpc, 200, body)
        self.patch(_json, "_RUNS", RUNS)
        fast = outcome(lambda: decode(rpc, body))
        self.patch(_json, "_RUNS", {})
        return fast, outcome(lambda: decode(rpc, body))

    def assert_same(self, rpc: schema.Rpc, body: bytes) -> Any:
        fast, slow = self.both(rpc, body)
        self.assertEqual(fast, slow)
        return fast

    def test_usual(self) -> None:
        found = self.assert_same(schema.RANGE, range_of(*[USUAL] * self.count))
        self.assertEqual((found.kvs, found.count, found.header.revision), ([KV] * self.count, 5, 7))
        told = self.assert_same(schema.WATCH, watch_of(*[event(USUAL)] * self.count))
        self.assertEqual((told.events, told.header.revision), ([Event("put", KV)] * self.count, 7))

    def test_unusual(self) -> None:
        many = [USUAL] * self.count
        for name, kv in UNUSUAL.items():
            with self.subTest(name):
                self.assert_same(schema.RANGE, range_of(*many, kv, *many))
                self.assert_same(schema.WATCH, watch_of(*map(event, [*many, kv, *many])))

    def test_wrong_elsewhere(self) -> None:
        """What is wrong beside the list is told of all that has come."""
        many = [USUAL] * self.count
        for after in (',"more":7', ',"more"', ',"kvs":[%s]' % USUAL.replace("300", "9"), ',"kvs":[]', ',"kvs":7'):
            with self.subTest(after):
                self.assert_same(schema.RANGE, range_of(*many, after=after))

    def test_other_lists(self) -> None:
        """A transaction has lists in lists, which are the parser's."""
        body = json.dumps({"responses": [{"response_range": json.loads(range_of(*[USUAL] * self.count))}]}).encode()
        self.assert_same(schema.TXN, body)

    @PROPERTY
    @given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3), st.booleans())
    def test_damaged(self, place: int, bytes_: bytes, is_watch: bool) -> None:
        rpc, body = schema.RANGE, range_of(*[USUAL] * self.count)
        if is_watch:
            rpc, body = schema.WATCH, watch_of(*[event(USUAL)] * self.count)
        place %= len(body)
        self.assert_same(rpc, body[:place] + bytes_ + body[place + len(bytes_) :])

    @PROPERTY
    @given(
        st.lists(
            st.builds(
                KeyValue,
                st.binary(max_size=4), st.binary(max_size=200),
                st.integers(0, 3), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.sampled_from([0, 0, 0, 7]),
            ),
            min_size=1, max_size=5,
        )
    )  # fmt: skip
    def test_any(self, kvs: list[KeyValue]) -> None:
        kvs = kvs * (MANY // 40)
        found = self.assert_same(schema.RANGE, range_of(*map(in_json, kvs)))
        self.assertEqual(found.kvs, kvs)


def in_json(kv: KeyValue) -> str:
    """As the gateway writes it."""
    fields: dict[str, Optional[str]] = {
        "key": _json._base64(kv.key),
        "create_revision": str(kv.create_revision or ""),
        "mod_revision": str(kv.mod_revision or ""),
        "version": str(kv.version or ""),
        "value": _json._base64(kv.value),
        "lease": str(kv.lease or ""),
    }
    return json.dumps({name: value for name, value in fields.items() if value}, separators=(",", ":"))
