"""
The gateway's codec against values at random, which an independent little gateway says, and against anything at all.
"""

from __future__ import annotations

import base64
import json
import re
from operator import attrgetter
from random import Random
from typing import Any, Callable, Optional

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from test.recordings import VERSIONS, Recording
from test.strategies import flags, int64s, requests, texts, uint64s
from test.test_json_recordings import RECORDED, rpc_of
from txetcd import _messages as m
from txetcd import _schema as schema
from txetcd._json import decode, decode_line, encode, error_of
from txetcd._schema import CHOICES, ENUMS, MESSAGES, RPCS, Rpc
from txetcd.errors import Error, ProtocolViolation
from txetcd.values import Deleted, DowngradeInfo, Event, Header, KeyValue, Member, Outcome, Range, Revision, Status

# --- requests

READ: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda value: base64.b64decode(value, validate=True),
    "int64": int,
    "uint64": int,
}


def lost(type_: str, value: Any, document: Any) -> list[str]:
    """What of a request is not in its JSON, or is there and not in the request: read back by the table."""
    if type_ not in {message.name for message in MESSAGES} | {choice.name for choice in CHOICES}:
        return [] if READ.get(type_, lambda same: same)(document) == value else [f"{document!r} is not {value!r}"]
    for choice in CHOICES:
        if choice.name == type_:
            (field,) = [field for cls, field in choice.choices if cls is type(value)]
            return lost(field.type, value, document[field.name]) if len(document) == 1 else [f"{document!r}: one"]
    (message,) = [message for message in MESSAGES if (message.name, message.cls) == (type_, type(value))]
    problems = [f"{name} is not known" for name in document if name not in {field.name for field in message.fields}]
    for field in message.fields:
        held = attrgetter(field.attribute)(value)
        if field.name not in document:
            problems += [f"{field.name} is lost: {held!r}"] if held or field.oneof else []
        elif field.repeated:
            problems += [] if len(held) == len(document[field.name]) else [f"some of {field.name} are lost"]
            for one, part in zip(held, document[field.name]):
                problems += lost(field.type, one, part)
        else:
            problems += lost(field.type, held, document[field.name])
    return problems


class EncodeTests(SynchronousTestCase):
    @PROPERTY
    @given(requests)
    def test_nothing_is_lost(self, call: tuple[str, Any]) -> None:
        rpc, request = RPCS[call[0]], call[1]
        self.assertEqual([], lost(rpc.request, request, json.loads(encode(rpc, request))))

    @PROPERTY
    @given(requests)
    def test_integers_are_text(self, call: tuple[str, Any]) -> None:
        """A number beyond 2**53 is not safe on its way through other people's JSON."""
        numbers: list[str] = []
        json.loads(encode(RPCS[call[0]], call[1]), parse_int=numbers.append, parse_float=numbers.append)
        self.assertEqual([], numbers)


# --- answers

headers = st.builds(Header, uint64s, int64s, uint64s, uint64s)
kvs = st.builds(KeyValue, st.binary(max_size=8), st.binary(max_size=8), int64s, int64s, int64s, int64s)
maybe_kvs = st.none() | kvs
events = st.builds(Event, st.sampled_from(["PUT", "DELETE"]), kvs, maybe_kvs)
ranges_found = st.builds(Range, st.lists(kvs, max_size=3), headers, int64s, flags)
revisions = st.builds(Revision, headers, maybe_kvs)
deleteds = st.builds(Deleted, int64s, headers, st.lists(kvs, max_size=3))
outcomes = st.recursive(
    st.builds(Outcome, flags, headers),
    lambda inner: st.builds(
        Outcome, flags, headers, st.lists(ranges_found | revisions | deleteds | inner, max_size=4)
    ),
    max_leaves=4,
)
statuses = st.builds(
    Status, texts, int64s, uint64s, headers, uint64s, uint64s, uint64s, st.lists(texts, max_size=2), int64s, flags,
    texts, int64s, st.none() | st.builds(DowngradeInfo, flags, texts),
)  # fmt: skip
watch_answers = st.builds(
    m.WatchResponse, headers, int64s, flags, flags, int64s, texts, flags, st.lists(events, max_size=3)
)
members = st.builds(Member, uint64s, texts, st.lists(texts, max_size=2), st.lists(texts, max_size=2), flags)
permissions = st.builds(
    m.Permission, st.sampled_from(["READ", "WRITE", "READWRITE"]), st.binary(max_size=8), st.binary(max_size=8)
)


class TinyGateway:
    """
    Says values as a gateway does: written by hand, and not from the table. Whether a 64-bit integer is a string or a
    number is left to chance.
    """

    def __init__(self, random: Random) -> None:
        self._random = random

    def i(self, number: int) -> Any:
        if not number:
            return None
        return str(number) if self._random.random() < 0.5 else number

    def b(self, data: bytes) -> str:
        return base64.b64encode(data).decode()

    def object(self, **fields: Any) -> dict[str, Any]:
        """A JSON object: what is zero is left out, what is ``None`` was not there at all."""
        return {name: value for name, value in fields.items() if value not in (0, "", None, [])}

    def header(self, h: Header) -> Any:
        document = self.object(
            cluster_id=self.i(h.cluster_id), member_id=self.i(h.member_id), revision=self.i(h.revision),
            raft_term=self.i(h.raft_term),
        )  # fmt: skip
        return document or (None if self._random.random() < 0.5 else {})

    def kv(self, kv: Optional[KeyValue]) -> Any:
        if kv is None:
            return None
        return self.object(
            key=self.b(kv.key), create_revision=self.i(kv.create_revision), mod_revision=self.i(kv.mod_revision),
            version=self.i(kv.version), value=self.b(kv.value), lease=self.i(kv.lease),
        )  # fmt: skip

    def event(self, event: Event) -> Any:
        type_ = "DELETE" if event.is_delete else ""
        return self.object(type=type_, kv=self.kv(event.kv), prev_kv=self.kv(event.previous))

    def range(self, found: Range) -> Any:
        return self.object(
            header=self.header(found.header), kvs=[self.kv(kv) for kv in found.kvs], more=found.more,
            count=self.i(found.count),
        )  # fmt: skip

    def revision(self, revision: Revision) -> Any:
        return self.object(header=self.header(revision.header), prev_kv=self.kv(revision.previous))

    def deleted(self, deleted: Deleted) -> Any:
        previous = [self.kv(kv) for kv in deleted.previous]
        return self.object(header=self.header(deleted.header), deleted=self.i(deleted.deleted), prev_kvs=previous)

    def outcome(self, outcome: Outcome) -> Any:
        responses = [self.response(response) for response in outcome.responses]
        return self.object(header=self.header(outcome.header), succeeded=outcome.succeeded, responses=responses)

    def response(self, response: Any) -> Any:
        if isinstance(response, Range):
            return {"response_range": self.range(response)}
        if isinstance(response, Revision):
            return {"response_put": self.revision(response)}
        if isinstance(response, Deleted):
            return {"response_delete_range": self.deleted(response)}
        return {"response_txn": self.outcome(response)}

    def status(self, s: Status) -> Any:
        info = s.downgrade_info and self.object(enabled=s.downgrade_info.enabled,
                                                targetVersion=s.downgrade_info.target_version)
        return self.object(
            header=self.header(s.header), version=s.version, dbSize=self.i(s.db_size), leader=self.i(s.leader),
            raftIndex=self.i(s.raft_index), raftTerm=self.i(s.raft_term),
            raftAppliedIndex=self.i(s.raft_applied_index), errors=s.errors, dbSizeInUse=self.i(s.db_size_in_use),
            isLearner=s.is_learner, storageVersion=s.storage_version, dbSizeQuota=self.i(s.db_size_quota),
            downgradeInfo=info,
        )  # fmt: skip

    def watch(self, w: m.WatchResponse) -> Any:
        return self.object(
            header=self.header(w.header), watch_id=self.i(w.watch_id), created=w.created, canceled=w.canceled,
            compact_revision=self.i(w.compact_revision), cancel_reason=w.cancel_reason, fragment=w.fragment,
            events=[self.event(event) for event in w.events],
        )  # fmt: skip

    def member(self, member: Member) -> Any:
        return self.object(
            ID=self.i(member.member_id), name=member.name, peerURLs=member.peer_urls, clientURLs=member.client_urls,
            isLearner=member.is_learner,
        )  # fmt: skip


def body_of(document: Any, random: Random) -> bytes:
    """The gateways of 3.6 and later put spaces in at random."""
    separators = random.choice([(",", ":"), (", ", ": "), (", ", ":")])
    return json.dumps(document, separators=separators, ensure_ascii=random.random() < 0.5).encode()


randoms = st.randoms(use_true_random=False)


class DecodeTests(SynchronousTestCase):
    @PROPERTY
    @given(st.text(st.sampled_from("AQw9+/==?_- \n"), max_size=9))
    def test_base64(self, text: str) -> None:
        """Bytes are taken from whole, padded, standard base64, and from nothing else."""
        is_base64 = len(text) % 4 == 0 and re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", text) is not None
        body = json.dumps({"kvs": [{"value": text}]}).encode()
        try:
            value = decode(schema.RANGE, 200, body).kvs[0].value
        except ProtocolViolation:
            self.assertFalse(is_base64)
        else:
            self.assertTrue(is_base64, value)
            self.assertEqual(base64.b64decode(text), value)

    @PROPERTY
    @given(ranges_found, revisions, deleteds, randoms)
    def test_keys(self, found: Range, revision: Revision, deleted: Deleted, random: Random) -> None:
        says = TinyGateway(random)
        for rpc, value, document in (
            (schema.RANGE, found, says.range(found)),
            (schema.PUT, revision, says.revision(revision)),
            (schema.DELETE_RANGE, deleted, says.deleted(deleted)),
        ):
            self.assertEqual(value, decode(rpc, 200, body_of(document, random)))

    @PROPERTY
    @given(outcomes, randoms)
    def test_transactions(self, outcome: Outcome, random: Random) -> None:
        body = body_of(TinyGateway(random).outcome(outcome), random)
        self.assertEqual(outcome, decode(schema.TXN, 200, body))

    @PROPERTY
    @given(statuses, randoms)
    def test_statuses(self, status: Status, random: Random) -> None:
        self.assertEqual(status, decode(schema.STATUS, 200, body_of(TinyGateway(random).status(status), random)))

    @PROPERTY
    @given(watch_answers, randoms)
    def test_watches(self, answer: m.WatchResponse, random: Random) -> None:
        body = body_of({"result": TinyGateway(random).watch(answer)}, random)
        self.assertEqual(answer, decode_line(schema.WATCH, body))

    @PROPERTY
    @given(headers, int64s, int64s, int64s, st.lists(st.binary(max_size=5), max_size=3), randoms)
    def test_leases(self, header: Header, id_: int, left: int, granted: int, keys: list[bytes], random: Random) -> None:
        says = TinyGateway(random)
        document = says.object(
            header=says.header(header), ID=says.i(id_), TTL=says.i(left), grantedTTL=says.i(granted),
            keys=[says.b(key) for key in keys],
        )  # fmt: skip
        wanted = m.LeaseTimeToLiveResponse(header, id_, left, granted, keys)
        self.assertEqual(wanted, decode(schema.LEASE_TIME_TO_LIVE, 200, body_of(document, random)))

    @PROPERTY
    @given(headers, st.lists(members, max_size=3), randoms)
    def test_member_lists(self, header: Header, found: list[Member], random: Random) -> None:
        says = TinyGateway(random)
        document = says.object(header=says.header(header), members=[says.member(member) for member in found])
        self.assertEqual(
            m.MemberListResponse(header, found), decode(schema.MEMBER_LIST, 200, body_of(document, random))
        )

    @PROPERTY
    @given(headers, st.lists(permissions, max_size=3), randoms)
    def test_roles(self, header: Header, found: list[m.Permission], random: Random) -> None:
        says = TinyGateway(random)
        perms = [
            says.object(permType=p.type if p.type != "READ" else "", key=says.b(p.key), range_end=says.b(p.range_end))
            for p in found
        ]
        document = says.object(header=says.header(header), perm=perms)
        self.assertEqual(m.AuthRoleGetResponse(header, found), decode(schema.ROLE_GET, 200, body_of(document, random)))


# --- anything

names = sorted({field.name for message in MESSAGES for field in message.fields})
names += sorted({field.name for choice in CHOICES for _, field in choice.choices})
names += ["result", "error", "message", "code", "grpc_code"]
enum_names = sorted({name for series in ENUMS.values() for name in series})

scalars = (
    st.none() | flags | int64s | st.floats() | st.binary(max_size=6).map(lambda data: base64.b64encode(data).decode())
)
scalars |= st.sampled_from(["", "5", "-1", "YQ", "?", "9" * 5000, *enum_names]) | st.text(max_size=5)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(names) | texts, inner, max_size=5),
    max_leaves=12,
)
rpcs = st.sampled_from(sorted(RPCS.values(), key=lambda rpc: rpc.name))
codes = st.sampled_from([200, 301, 400, 404, 413, 421, 429, 500, 502, 503, 504])


class AnythingTests(SynchronousTestCase):
    """Whatever comes, it is a value or one of our errors."""

    def assert_handled(self, rpc: Rpc, status: int, body: bytes) -> None:
        for codec, arguments in ((decode, (rpc, status, body)), (decode_line, (rpc, body))):
            try:
                codec(*arguments)
            except Error as error:
                self.assertEqual(1, len(str(error).splitlines() or [""]))
        self.assertIsInstance(error_of(status, body), Error)

    @PROPERTY
    @given(rpcs, codes, st.binary())
    def test_bytes(self, rpc: Rpc, status: int, body: bytes) -> None:
        self.assert_handled(rpc, status, body)

    @PROPERTY
    @given(rpcs, codes, documents)
    def test_json(self, rpc: Rpc, status: int, document: Any) -> None:
        self.assert_handled(rpc, status, json.dumps(document).encode())
        self.assert_handled(rpc, status, json.dumps({"result": document}).encode())

    @PROPERTY
    @given(rpcs, st.dictionaries(st.sampled_from(names), documents, max_size=6))
    def test_json_with_the_names_of_the_table(self, rpc: Rpc, document: Any) -> None:
        self.assert_handled(rpc, 200, json.dumps(document).encode())
        self.assert_handled(rpc, 500, json.dumps({"error": document}).encode())

    @PROPERTY
    @given(
        st.sampled_from([recording for version in VERSIONS for recording in RECORDED[version].values()]),
        st.integers(0, 2**16),
        st.binary(max_size=3),
        st.integers(0, 3),
    )
    def test_recordings_that_are_damaged(self, recording: Recording, at: int, put: bytes, cut: int) -> None:
        """Some bytes of a real answer are lost, or others are put in their place."""
        body = recording.body[:5000].encode()
        at %= len(body) + 1
        self.assert_handled(rpc_of(recording) or schema.RANGE, recording.status, body[:at] + put + body[at + cut :])
