"""
The native protocol's codec: what it sends, what it reads, what it refuses, from tables.

The bytes are written by hand: a tag is ``number * 8 + wire type``, so that ``08`` begins a number and ``0a`` something
sized in field 1, ``10`` and ``12`` in field 2, ``18`` and ``1a`` in field 3.
"""

from __future__ import annotations

import sys
from typing import Any, Callable

import attrs
from twisted.trial.unittest import SynchronousTestCase

from test.test_ops import nested as nested_request
from txetcd import _messages as m
from txetcd import _protobuf
from txetcd import _schema as schema
from txetcd._answers import flaw_of
from txetcd._protobuf import decode, encode, source_of_decoder, source_of_encoder
from txetcd._schema import MESSAGES, RPCS
from txetcd.errors import ProtocolViolation
from txetcd.keyset import KeySet
from txetcd.ops import MAX_DEPTH, CompValue, CompVersion, OpDel, OpGet, OpSet, OpTxn, Transaction
from txetcd.values import Alarm, Deleted, Event, Hash, Header, KeyValue, Member, Outcome, Range, Revision, Status

# --- requests

ENCODED: list[tuple[str, Any, str]] = [
    ("KV.Range", OpGet(b"k"), "0a 01 6b"),
    ("KV.Range", OpGet(KeySet(b"a", b"b"), limit=300, serializable=True), "0a 01 61 12 01 62 18 ac02 38 01"),
    ("KV.Range", OpGet(b"k", limit=2**63 - 1), "0a 01 6b 18 ffffffffffffffff7f"),
    ("KV.Range", OpGet(b"k", sort_order="DESCEND", sort_target="VALUE"), "0a 01 6b 28 02 30 04"),
    # the zeros of enums are left out
    ("KV.Range", OpGet(b"k", sort_order="NONE", sort_target="KEY"), "0a 01 6b"),
    ("KV.Put", OpSet(b"k", b""), "0a 01 6b"),
    ("KV.Put", OpSet(b"k", None, ignore_value=True), "0a 01 6b 28 01"),
    ("KV.Put", OpSet(b"k", b"v", 127), "0a 01 6b 12 01 76 18 7f"),
    ("KV.Put", OpSet(b"k", b"v", 128), "0a 01 6b 12 01 76 18 8001"),
    ("KV.Put", OpSet(b"k", b"v", -5), "0a 01 6b 12 01 76 18 fbffffffffffffffff01"),
    ("KV.Put", OpSet(b"k", b"v" * 127), "0a 01 6b 12 7f" + "76" * 127),
    ("KV.Put", OpSet(b"k", b"v" * 128), "0a 01 6b 12 8001" + "76" * 128),
    ("KV.DeleteRange", OpDel(KeySet.all()), "0a 01 00 12 01 00"),
    ("KV.Txn", Transaction(), ""),
    ("KV.Txn", Transaction([], [OpTxn(Transaction())]), "12 02 2200"),
    ("KV.Txn", Transaction([], [OpSet(b"k", b"v")], [OpGet(b"g"), OpDel(b"d")]),
     "12 08 12 06 0a016b 120176 1a 05 0a 03 0a0167 1a 05 1a 03 0a0164"),
    # an operand is sent even if it is zero, and the end of the set, which has the number 64, behind it
    ("KV.Txn", Transaction([CompVersion(b"k", "==", 0)]), "0a 05 1a016b 2000"),
    ("KV.Txn", Transaction([CompValue(KeySet(b"a", b"b"), "!=", b"")]), "0a 0d 0803 1003 1a0161 3a00 82040162"),
    ("Watch.Watch", m.WatchCreateRequest(KeySet(b"k")), "0a 03 0a016b"),
    ("Watch.Watch", m.WatchCreateRequest(KeySet(b"k"), filters=("NOPUT", "NODELETE")), "0a 07 0a016b 2a 02 00 01"),
    ("Watch.Watch", m.WatchCancelRequest(0), "12 00"),
    ("Watch.Watch", m.WatchProgressRequest(), "1a 00"),
    ("Cluster.MemberAdd", m.MemberAddRequest(("a", "")), "0a 01 61 0a 00"),
    ("Auth.Authenticate", m.AuthenticateRequest("ä", ""), "0a 02 c3a4"),
    ("Auth.UserAdd", m.AuthUserAddRequest("a", options=m.UserAddOptions(False)), "0a 01 61 1a 00"),
    ("Auth.RoleGrantPermission", m.AuthRoleGrantPermissionRequest("r", m.Permission("WRITE", b"k")),
     "0a 01 72 12 05 08 01 12 01 6b"),
    ("Election.Proclaim", m.ProclaimRequest(None, b"v"), "12 01 76"),
    ("Maintenance.MoveLeader", m.MoveLeaderRequest(2**64 - 1), "08 ffffffffffffffffff01"),
]  # fmt: skip

WRITER = """\
def encode_LeaseGrantRequest_LeaseGrantRequest(request):
    out = b""
    value = request.time_to_live
    if 0 < value < 128:
        out += ahead_8[value]
    elif value:
        out += b'\\x08' + varint(value)
    value = request.lease_id
    if 0 < value < 128:
        out += ahead_16[value]
    elif value:
        out += b'\\x10' + varint(value)
    return out
"""


class EncodeTests(SynchronousTestCase):
    def test_table(self) -> None:
        for name, request, wanted in ENCODED:
            self.assertEqual(bytes.fromhex(wanted).hex(" "), encode(RPCS[name], request).hex(" "), request)

    def test_requests_without_a_field(self) -> None:
        for rpc in RPCS.values():
            if m.Empty in [message.cls for message in MESSAGES if message.name == rpc.request]:
                self.assertEqual(b"", encode(rpc, m.Empty()), rpc.name)

    def test_source(self) -> None:
        self.assertEqual(WRITER, source_of_encoder("LeaseGrantRequest", m.LeaseGrantRequest))


# --- answers

ZERO_KV = KeyValue(b"")


def sized(tag: str, content: str) -> str:
    """A field of less than 128 bytes."""
    return f"{tag}{len(bytes.fromhex(content)):02x}{content}"


HEADER = "0801 1002 1803 2004"
KV = "0a016b 1005 1806 2007 2a0176 3008"
MEMBER = "0805 120178 1a0161 1a0162 220163 2801"
MINUS_ONE = "ffffffffffffffffff01"

DECODED: list[tuple[str, str, Any]] = [
    # what is missing is zero
    ("KV.Range", "", Range([], Header(), 0, False)),
    ("KV.Range", "0a00", Range([])),
    ("KV.Range", "1200", Range([ZERO_KV])),
    ("KV.Put", "1200", Revision(Header(), ZERO_KV)),
    ("Cluster.MemberAdd", "", m.MemberAddResponse(Header(), None, [])),
    ("Maintenance.Alarm", "1200", m.AlarmResponse(alarms=[Alarm(0, "NONE")])),
    ("Maintenance.Status", "", Status("", 0, 0, Header(), 0, 0, 0, [], 0, False, "", 0, None)),
    ("Watch.Watch", "5a02 1200", m.WatchResponse(events=[Event("PUT", ZERO_KV)])),
    ("KV.RangeStream", "", m.RangeStreamResponse(None)),
    # and what is there is not
    ("KV.Range", sized("0a", HEADER) + sized("12", KV) + "1801 2009",
     Range([KeyValue(b"k", b"v", 7, 5, 6, 8)], Header(4, 3, 1, 2), 9, True)),
    ("Cluster.MemberList", sized("12", MEMBER),
     m.MemberListResponse(Header(), [Member(5, "x", ["a", "b"], ["c"], True)])),
    ("Watch.Watch", sized("5a", "0801 12030a016b 1a030a0170"),
     m.WatchResponse(events=[Event("DELETE", KeyValue(b"k"), KeyValue(b"p"))])),
    ("Auth.UserList", "1202c3a4 1200", m.AuthUserListResponse(users=["ä", ""])),
    ("KV.Txn", "1001 1a020a00 1a021200 1a021a00 1a022200",
     Outcome(True, responses=[Range([]), Revision(), Deleted(), Outcome()])),
    # numbers of one byte and more
    ("KV.Range", "207f", Range([], count=2**7 - 1)),
    ("KV.Range", "20ff7f", Range([], count=2**14 - 1)),
    ("KV.Range", "20ffff7f", Range([], count=2**21 - 1)),
    ("KV.Range", "20ffffff7f", Range([], count=2**28 - 1)),
    ("KV.Range", "20ffffffff7f", Range([], count=2**35 - 1)),
    ("KV.Range", "20ffffffffffffffff7f", Range([], count=2**63 - 1)),
    ("KV.Range", "2080808080808080808001", Range([], count=-(2**63))),
    ("KV.Range", "20" + MINUS_ONE, Range([], count=-1)),
    ("KV.Range", "0a0b08" + MINUS_ONE, Range([], Header(cluster_id=2**64 - 1))),
    # with more bytes than they need
    ("KV.Range", "208500", Range([], count=5)),
    ("KV.Range", "20858000", Range([], count=5)),
    ("KV.Range", "2085808000", Range([], count=5)),
    ("KV.Range", "2085808080808080808000", Range([], count=5)),
    # more than 64 bits: the lower ones; uint32 takes 32 of them
    ("KV.Range", "2085808080808080808002", Range([], count=5)),
    ("Maintenance.Hash", "10" + MINUS_ONE, Hash(2**32 - 1)),
    # a boolean is whether it is another number than 0
    ("KV.Range", "1802", Range([], more=True)),
    ("KV.Range", "188001", Range([], more=True)),
    ("KV.Range", "188000", Range([])),
    # enums: a name that is new here is its number, which has 32 bits
    ("Maintenance.Alarm", "12021007", m.AlarmResponse(alarms=[Alarm(0, "7")])),
    ("Maintenance.Alarm", sized("12", "10" + MINUS_ONE), m.AlarmResponse(alarms=[Alarm(0, "-1")])),
    ("Maintenance.Alarm", "1206 108180808010", m.AlarmResponse(alarms=[Alarm(0, "NOSPACE")])),
    # sizes of one byte and more
    ("Lock.Lock", "127f" + "00" * 127, m.LockResponse(key=bytes(127))),
    ("Lock.Lock", "128001" + "00" * 128, m.LockResponse(key=bytes(128))),
    ("Lock.Lock", "12808001" + "00" * 2**14, m.LockResponse(key=bytes(2**14))),
    ("Lock.Lock", "1280808001" + "00" * 2**21, m.LockResponse(key=bytes(2**21))),
    # another order
    ("KV.Range", "2009 1200 1801 0a021803", Range([ZERO_KV], Header(revision=3), 9, True)),
    ("KV.Range", "1200 2009 12030a016b", Range([ZERO_KV, KeyValue(b"k")], count=9)),
    # a scalar comes again: the last one counts; a message: it is merged
    ("KV.Range", "2001 2002", Range([], count=2)),
    ("KV.Put", "0a021803 0a022004 0a0418051001", Revision(Header(4, 5, 0, 1))),
    ("KV.Put", "12060a016b2a0176 12030a0171", Revision(previous=KeyValue(b"q", b"v"))),
    ("KV.RangeStream", "0a021200 0a04 12002003", m.RangeStreamResponse(Range([ZERO_KV, ZERO_KV], count=3))),
    # of a choice the last one counts; the same again is merged
    ("KV.Txn", "1a06 0a00 1a021005", Outcome(responses=[Deleted(5)])),
    ("KV.Txn", "1a08 1a021005 0a00 1a00", Outcome(responses=[Deleted(0)])),
    ("KV.Txn", "1a08 1a021005 1a02 1a00", Outcome(responses=[Deleted(5, previous=[ZERO_KV])])),
    # what is unknown is passed over, whatever form it has: number, 8 bytes, sized, group, 4 bytes
    ("KV.Range", "7805 7a0178 2001", Range([], count=1)),
    ("KV.Range", "78ffffffffffffffffff01 2001", Range([], count=1)),
    ("KV.Range", "79 0000000000000020 2001", Range([], count=1)),
    ("KV.Range", "7d 00000020 2001", Range([], count=1)),
    ("KV.Range", "7b 2002 73 2002 74 7a01 7c 7c 2001", Range([], count=1)),
    ("KV.Range", "7b7c", Range([])),
    ("KV.Range", "f8ffffff0f 05 2001", Range([], count=1)),
    # as is what has the number of a known field in another form
    ("KV.Range", "0801 2001", Range([], count=1)),
    ("KV.Range", "2200 2001", Range([], count=1)),
    ("KV.Range", "1d00000000 2001", Range([], count=1)),
    # a tag with more bytes than it needs
    ("KV.Range", "a00009 a08000 08 8a00 00", Range([], count=8)),
]  # fmt: skip

VIOLATIONS: list[tuple[str, str, str]] = [
    ("KV.Range", "0a", "it is cut off"),
    ("KV.Range", "20", "it is cut off"),
    ("KV.Range", "2080", "it is cut off"),
    ("KV.Range", "208080", "it is cut off"),
    ("KV.Range", "20808080", "it is cut off"),
    ("KV.Range", "2080808080", "it is cut off"),
    ("KV.Range", "80", "it is cut off"),
    ("KV.Range", "78", "it is cut off"),
    ("KV.Range", "7b", "it is cut off"),
    ("KV.Range", "2080808080808080808080", "a number has more than ten bytes"),
    ("KV.Range", "208080808080808080808001", "a number has more than ten bytes"),
    ("Lock.Lock", "120200", "a field is longer than its message"),
    ("Lock.Lock", "12ffffffffffffffffff01", "a field is longer than its message"),
    ("KV.Range", "12030a026b6b", "a field is longer than its message"),
    ("KV.Range", "1203 0a026b 2001", "a field is longer than its message"),
    ("KV.Range", "7a02 00", "a field is longer than its message"),
    ("KV.Range", "79 00", "a field is longer than its message"),
    ("KV.Range", "7d 00", "a field is longer than its message"),
    ("KV.Range", "1201 7b 7c", "a field is longer than its message"),
    ("KV.Range", "1201 8a 00", "a field is longer than its message"),
    # a size of 2**64 - 1, and in it one of 2**63
    ("KV.Range", "12 ffffffffffffffffff01 7a 80808080808080808001 00", "it is cut off"),
    ("KV.Range", "1200 0001", "a field has the number 0"),
    ("KV.Range", "0200", "a field has the number 0"),
    ("KV.Range", "8000 00", "a field has the number 0"),
    ("KV.Range", "8080808010 00", "a field number is too large"),
    ("KV.Range", "808080808001 00", "a field number is too large"),
    ("KV.Range", "7e", "there is no wire type 6"),
    ("KV.Range", "27", "there is no wire type 7"),
    ("KV.Range", "7c", "a group ends that has not begun"),
    ("KV.Range", "7b74", "a group ends that has not begun"),
    ("KV.Range", "7b" * 101, "groups are nested too deep"),
    ("Watch.Watch", "5a00", "kv is missing"),
    ("KV.Txn", "1a00", "nothing in a ResponseOp"),
    ("KV.Txn", "1a022a00", "nothing in a ResponseOp"),
    ("Auth.UserList", "1201ff", "a text is not UTF-8"),
    ("Auth.UserList", "1203eda080", "a text is not UTF-8"),
]  # fmt: skip

READER = """\
def decode_LeaseStatus(data, at, end, depth, old):
    if old is None:
        lease_id_ = 0
    else:
        lease_id_ = old.lease_id
    tag = data[at] if at < end else 0
    while at < end:
        start = at
        if tag == 8:
            lease_id_ = data[at + 1]
            at += 2
            if lease_id_ > 127:
                second = data[at]
                if second < 128:
                    lease_id_ += (second << 7) - 128
                    at += 1
                elif (third := data[at + 1]) < 128:
                    lease_id_ += (second << 7) + (third << 14) - 16512
                    at += 2
                elif (fourth := data[at + 2]) < 128:
                    lease_id_ += (second << 7) + (third << 14) + (fourth << 21) - 2113664
                    at += 3
                else:
                    lease_id_, length = long_number(data[at - 1 : at + 9])
                    at += length - 1
                    if lease_id_ > 9223372036854775807:
                        lease_id_ -= 18446744073709551616
            tag = data[at] if at < end else 0
        if at == start:
            tag, at = pass_over(data, at, end, known_LeaseStatus)
    if at != end:
        raise ValueError('a field is longer than its message')
    new = draft_LeaseStatus()
    new.lease_id = lease_id_
    new.__class__ = LeaseStatus
    return new
"""


def nested(depth: int) -> bytes:
    """A transaction within a transaction, so many times."""
    data = b""
    for _ in range(depth):
        data = b"\x22" + encoded_size(data) + data
        data = b"\x1a" + encoded_size(data) + data
    return data


def nested_answer(depth: int) -> bytes:
    """The answer to a transaction within a transaction, so many times; the innermost wrote."""
    data = b"\x10\x01\x1a\x02\x12\x00"
    for _ in range(depth):
        data = b"\x22" + encoded_size(data) + data
        data = b"\x10\x01\x1a" + encoded_size(data) + data
    return b"\x0a\x02\x18\x05" + data


def innermost(outcome: Any) -> Outcome:
    """What the innermost transaction came to, of which each but that has one within."""
    while isinstance(outcome.responses[0], Outcome):
        (outcome,) = outcome.responses
    found: Outcome = outcome
    return found


def with_little_stack(frames: int, function: Callable[[], Any]) -> Any:
    """Calls *function* from so deep within calls that Python allows as many more."""

    def dive(left: int) -> Any:
        return dive(left - 1) if left > 0 else function()

    return dive(sys.getrecursionlimit() - len(list(_frames())) - frames)


def encoded_size(data: bytes) -> bytes:
    size = len(data)
    return bytes((size & 127 | 128, size >> 7 & 127 | 128, size >> 14))


class DecodeTests(SynchronousTestCase):
    def test_table(self) -> None:
        for name, data, wanted in DECODED:
            answer = decode(RPCS[name], bytes.fromhex(data))
            self.assertEqual((wanted, type(wanted)), (answer, type(answer)), (name, data[:80]))

    def test_every_answer_can_be_empty(self) -> None:
        for rpc in RPCS.values():
            (cls,) = [message.cls for message in MESSAGES if message.name == rpc.response]
            self.assertIs(cls, type(decode(rpc, b"")), rpc.name)

    def test_violations(self) -> None:
        for name, data, what in VIOLATIONS:
            error = self.assertRaises(ProtocolViolation, decode, RPCS[name], bytes.fromhex(data))
            self.assertEqual(f"not a {RPCS[name].response}: {what}", str(error), data[:80])

    def test_what_was_wrong_is_the_cause(self) -> None:
        error = self.assertRaises(ProtocolViolation, decode, schema.RANGE, b"\x80")
        self.assertIsInstance(error.__cause__, IndexError)

    def test_cut_off_anywhere(self) -> None:
        """It is a value still, or a violation."""
        for name, data, wanted in DECODED:
            whole = bytes.fromhex(data)[-400:]
            for end in range(len(whole)):
                try:
                    self.assertTrue(attrs.has(type(decode(RPCS[name], whole[:end]))))
                except ProtocolViolation as error:
                    self.assertEqual(1, len(str(error).splitlines()))

    def test_nested(self) -> None:
        """Transactions are read as deep as they can be asked, with what the innermost does, and groups 100 deep."""
        answer, depth = decode(schema.TXN, nested(MAX_DEPTH + 1)), 0
        while answer.responses:
            (answer,), depth = answer.responses, depth + 1
        self.assertEqual(129, depth)
        error = self.assertRaises(ProtocolViolation, decode, schema.TXN, nested(MAX_DEPTH + 2))
        self.assertEqual("not a TxnResponse: it is nested too deep", str(error))
        self.assertRaises(ProtocolViolation, decode, schema.TXN, nested(10_000))
        self.assertEqual(Range([]), decode(schema.RANGE, b"\x7b" * 100 + b"\x7c" * 100))

    def test_answer_to_what_is_nested(self) -> None:
        """What is asked as deep as can be can be sent, and its answer be read, with a third of Python's stack left."""
        request, answer = nested_request(MAX_DEPTH), nested_answer(MAX_DEPTH)

        def checked() -> Outcome:
            self.assertGreater(len(encode(schema.TXN, request)), 5 * MAX_DEPTH)
            outcome: Outcome = decode(schema.TXN, answer)
            self.assertIsNone(flaw_of(schema.TXN, request, outcome))
            return outcome

        self.assertEqual([Revision()], innermost(with_little_stack(350, checked)).responses)

    def test_no_stack_left(self) -> None:
        """Whoever decodes deep within calls gets one of our errors, and none of Python's."""

        for left in (20, 40, 60, 80):
            try:
                self.assertIsInstance(with_little_stack(left, lambda: decode(schema.TXN, nested(50))), Outcome)
            except ProtocolViolation as error:
                self.assertIsInstance(error.__cause__, RecursionError)

    def test_values_are_like_others(self) -> None:
        """They are frozen, although they were not made by their class."""
        kv = decode(schema.PUT, bytes.fromhex("12030a016b")).previous
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, kv, "key", b"x")
        self.assertRaises(attrs.exceptions.FrozenInstanceError, delattr, kv, "key")
        self.assertEqual((KeyValue(b"k"), hash(KeyValue(b"k")), repr(KeyValue(b"k"))), (kv, hash(kv), repr(kv)))

    def test_lists_are_not_shared(self) -> None:
        first, second = decode(schema.RANGE, b""), decode(schema.RANGE, b"")
        first.kvs.append(ZERO_KV)
        self.assertEqual([], second.kvs)

    def test_source(self) -> None:
        self.assertEqual(READER, source_of_decoder("LeaseStatus"))


def _frames() -> Any:
    frame = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


class ClassTests(SynchronousTestCase):
    """Our classes are such that a decoder can make instances of them without calling them."""

    def test_nothing_happens_when_they_are_made(self) -> None:
        for name in schema.names_within(rpc.response for rpc in RPCS.values()) & set(schema.BY_NAME):
            message = schema.BY_NAME[name]
            enums = {field.attribute for field in message.fields if field.type in schema.ENUMS}
            for attribute in attrs.fields(message.cls):
                self.assertIsNone(attribute.validator, (name, attribute.name))
                self.assertTrue(attribute.converter is None or attribute.name in enums, (name, attribute.name))
            self.assertFalse(hasattr(message.cls, "__attrs_post_init__"), name)

    def test_choices_cannot_be_avoided(self) -> None:
        """Only by way of a choice a message is within itself: there the depth is counted."""
        self.patch(schema, "BY_CHOICE", {})
        for name, message in schema.BY_NAME.items():
            self.assertNotIn(name, schema.names_within(field.type for field in message.fields))

    def test_tags_in_answers_are_of_one_byte(self) -> None:
        for name in schema.names_within(rpc.response for rpc in RPCS.values()) & set(schema.BY_NAME):
            self.assertEqual([], [field for field in schema.BY_NAME[name].fields if field.number > 15], name)


# --- what could be in the table, and is not yet


@attrs.frozen
class Numbers:
    """Numbers, in forms that no answer has so far."""

    numbers: list[int] = attrs.field(factory=list)
    filters: list[str] = attrs.field(factory=list)
    flags: list[bool] = attrs.field(factory=list)
    small: int = 0


NUMBERS = schema.Message(
    "Numbers",
    Numbers,
    (
        schema.Field("numbers", 1, "int64", "numbers", True, False),
        schema.Field("filters", 2, "FilterType", "filters", True, False),
        schema.Field("flags", 3, "bool", "flags", True, False),
        schema.Field("small", 4, "int32", "small", False, False),
    ),
)


class NumbersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(schema, "MESSAGES", [NUMBERS])
        self.patch(schema, "BY_NAME", {"Numbers": NUMBERS})
        self.patch(_protobuf, "_DECODERS", _protobuf._Decoders())
        self.patch(_protobuf, "_ENCODERS", {"Numbers": _protobuf._Encoders("Numbers")})
        self.rpc = attrs.evolve(schema.RANGE, request="Numbers", response="Numbers")

    def test_in_one_piece(self) -> None:
        value = Numbers([1, -1, 300], ["NODELETE", "NOPUT"], [True, False], -2)
        data = bytes.fromhex(sized("0a", "01" + MINUS_ONE + "ac02") + "12020100 1a020100 20feffffffffffffffff01")
        self.assertEqual(data, encode(self.rpc, value))
        self.assertEqual(value, decode(self.rpc, data))

    def test_one_by_one(self) -> None:
        wanted = Numbers([1, 2, 300], ["NODELETE", "5"], [True], 0)
        self.assertEqual(wanted, decode(self.rpc, bytes.fromhex("0801 0a0102 08ac02 1001 1005 1a0105")))

    def test_none(self) -> None:
        self.assertEqual(b"", encode(self.rpc, Numbers()))
        self.assertEqual(Numbers(), decode(self.rpc, bytes.fromhex("0a00")))

    def test_piece_is_cut_off(self) -> None:
        for data in ("0a0180", "0a02018001", "0a0201"):
            self.assertRaises(ProtocolViolation, decode, self.rpc, bytes.fromhex(data))

    def test_int32(self) -> None:
        """The lower 32 bits, with a sign."""
        for data, wanted in (("208080808008", -(2**31)), ("20ffffffff07", 2**31 - 1), ("20 8180808010", 1)):
            self.assertEqual(wanted, decode(self.rpc, bytes.fromhex(data)).small)
