"""
The native codec against Google's, which is told the messages by etcd's own ``.proto`` files, and not by our table.
"""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Any, Callable

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from test.strategies import flags, int64s, requests, texts, uint64s
from test.test_protobuf import nested
from txetcd import _schema as schema
from txetcd._protobuf import decode, encode
from txetcd._schema import BY_CHOICE, BY_NAME, ENUMS, RPCS, Rpc
from txetcd.errors import ProtocolViolation
from txetcd.ops import MAX_DEPTH
from txetcd.values import Header, Outcome

# --- Google's side

FILES = Path(__file__).parent / "protos" / "etcd.binpb"


def load() -> tuple[dict[str, Any], dict[str, Any]]:
    """The classes of Google's messages, and the descriptors of the methods, by their names without the package."""
    pool, classes, methods = descriptor_pool.DescriptorPool(), {}, {}
    # protoc writes the files in such an order that what is imported comes first
    for file in descriptor_pb2.FileDescriptorSet.FromString(FILES.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
        descriptor = pool.FindFileByName(file.name)
        for name, message in descriptor.message_types_by_name.items():
            classes[name] = message_factory.GetMessageClass(message)
        for name, service in descriptor.services_by_name.items():
            methods.update((f"/{service.full_name}/{method.name}", method) for method in service.methods)
    return classes, methods


CLASSES, METHODS = load()


def is_repeated(field: FieldDescriptor) -> bool:
    # `label` is going away, and its successor is not there yet in older versions
    found = getattr(field, "is_repeated", None)
    return bool(field.label == FieldDescriptor.LABEL_REPEATED if found is None else found)


def told(type_: str, value: Any) -> Any:
    """Google's message for a value of ours."""
    message = CLASSES[type_]()
    if type_ in BY_CHOICE:
        field = dict(BY_CHOICE[type_].choices)[type(value)]
        getattr(message, field.name).CopyFrom(told(field.type, value))
        return message
    (fields,) = [one.fields for one in schema.MESSAGES if (one.name, one.cls) == (type_, type(value))]
    for field in fields:
        tell(message, field, attrgetter(field.attribute)(value))
    return message


def tell(message: Any, field: schema.Field, held: Any) -> None:
    if held is None:
        return
    if field.repeated:
        getattr(message, field.name).extend(as_google(message, field, one) for one in held)
    elif field.type in CLASSES:
        getattr(message, field.name).CopyFrom(told(field.type, held))
    else:
        setattr(message, field.name, as_google(message, field, held))


def as_google(message: Any, field: schema.Field, held: Any) -> Any:
    if field.type in CLASSES:
        return told(field.type, held)
    if field.type in ENUMS:
        return message.DESCRIPTOR.fields_by_name[field.name].enum_type.values_by_name[held.upper()].number
    return held


def differences(type_: str, ours: Any, google: Any) -> list[str]:
    """What of a message of Google's is not the same in ours."""
    if type_ in BY_CHOICE:
        return differences_of_choice(BY_CHOICE[type_], ours, google)
    if ours is None:
        return [f"no {type_}"]
    attributes = {field.name: field for field in BY_NAME[type_].fields}
    problems = [] if type(ours) is BY_NAME[type_].cls else [f"{type(ours)} for {type_}"]
    for descriptor in google.DESCRIPTOR.fields:
        field = attributes[descriptor.name]
        held, there = getattr(ours, field.attribute), getattr(google, descriptor.name)
        if is_repeated(descriptor):
            problems += [] if len(held) == len(there) else [f"{len(held)} {field.name}, not {len(there)}"]
            for one, other in zip(held, there):
                problems += differences_of_field(field, descriptor, one, other)
        elif descriptor.message_type is not None and not google.HasField(descriptor.name):
            problems += [] if held in (None, Header()) else [f"there is no {field.name}"]
        else:
            problems += differences_of_field(field, descriptor, held, there)
    return problems


def differences_of_choice(choice: schema.Choice, ours: Any, google: Any) -> list[str]:
    ((name, chosen),) = [(field.name, chosen) for field, chosen in google.ListFields()]
    field = dict(choice.choices)[type(ours)]
    return differences(field.type, ours, chosen) if field.name == name else [f"{field.name} for {name}"]


def differences_of_field(field: schema.Field, descriptor: FieldDescriptor, ours: Any, google: Any) -> list[str]:
    if descriptor.message_type is not None:
        return differences(field.type, ours, google)
    if descriptor.enum_type is not None:
        known = descriptor.enum_type.values_by_number
        name = known[google].name if google in known else str(google)
        # an event's type is spelled in lower case
        return [] if ours in (name, name.lower()) else [f"{field.name}: {ours!r} for {google}"]
    return [] if (ours, type(ours)) == (google, type(google)) else [f"{field.name}: {ours!r}, not {google!r}"]


class ProtoTests(SynchronousTestCase):
    """The table says what etcd's own files say."""

    def test_calls(self) -> None:
        for rpc in RPCS.values():
            method = METHODS[rpc.method]
            self.assertEqual((method.input_type.name, method.output_type.name), (rpc.request, rpc.response))
            self.assertEqual(method.server_streaming, rpc.is_stream)
        self.assertEqual(sorted(METHODS), sorted(rpc.method for rpc in RPCS.values()))

    def test_fields(self) -> None:
        """Every field of etcd's is in the table, and no other; with its number and its kind."""
        for message in schema.MESSAGES:
            there = {field.name: field for field in CLASSES[message.name].DESCRIPTOR.fields}
            for field in message.fields:
                descriptor = there.pop(field.name)
                self.assertEqual((descriptor.number, is_repeated(descriptor)), (field.number, field.repeated))
                self.assertEqual(descriptor.containing_oneof is not None, field.oneof, field)
            left = {name for name, field in there.items() if field.containing_oneof is None}
            self.assertEqual(set(), left, message.name)

    def test_choices(self) -> None:
        for name, choice in BY_CHOICE.items():
            there = {(field.name, field.number, field.message_type.name) for field in CLASSES[name].DESCRIPTOR.fields}
            self.assertEqual(there, {(field.name, field.number, field.type) for _, field in choice.choices})

    def test_compiled_files_are_up_to_date(self) -> None:
        """Each line of a field in the files is in what was compiled of them."""
        compiled = {
            (field.name, field.number)
            for file in descriptor_pb2.FileDescriptorSet.FromString(FILES.read_bytes()).file
            for message in file.message_type
            for field in message.field
        }
        written = set()
        for path in FILES.parent.glob("*.proto"):
            for line in path.read_text(encoding="utf-8").splitlines():
                words = line.strip(" ;").split()
                if len(words) >= 4 and words[-2] == "=" and words[0] != "option":
                    written.add((words[-3], int(words[-1])))
        self.assertEqual(written, compiled)


# --- requests

SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bytes": st.binary(max_size=200),
    "string": texts,
    "bool": flags,
    "int64": int64s,
    "uint64": uint64s,
    **{enum: st.sampled_from(names) for enum, names in ENUMS.items()},
}


def of_class(message: schema.Message) -> st.SearchStrategy[Any]:
    """Instances of a class whose attributes are those of the message."""
    return st.builds(message.cls, **{field.attribute: of_field(field) for field in message.fields})


def of_field(field: schema.Field) -> st.SearchStrategy[Any]:
    one = SCALARS[field.type] if field.type in SCALARS else of_class(BY_NAME[field.type])
    if field.repeated:
        return st.lists(one, max_size=3).map(tuple)
    return one if field.type in SCALARS or field.name == "perm" else st.none() | one


WITH_THEIR_OWN = {"KV.Range", "KV.RangeStream", "KV.Put", "KV.DeleteRange", "KV.Txn", "Watch.Watch"}
"""The calls whose requests are made of more than their fields; `requests` has them."""


def for_some(examples: st.SearchStrategy[Any], rpc: Rpc, check: Callable[[Rpc, Any], None]) -> None:
    """A property of each call: less is done for one of them than where there is only one."""

    @settings(PROPERTY, max_examples=25)
    @given(examples)
    def holds(example: Any) -> None:
        check(rpc, example)

    holds()


class EncodeTests(SynchronousTestCase):
    def assert_same_bytes(self, rpc: Rpc, request: Any) -> None:
        self.assertEqual(told(rpc.request, request).SerializeToString(deterministic=True), encode(rpc, request))

    @PROPERTY
    @given(requests)
    def test_requests_with_classes_of_their_own(self, call: tuple[str, Any]) -> None:
        self.assert_same_bytes(RPCS[call[0]], call[1])

    def test_every_other_request(self) -> None:
        for rpc in RPCS.values():
            if rpc.name not in WITH_THEIR_OWN:
                for_some(of_class(BY_NAME[rpc.request]), rpc, self.assert_same_bytes)


# --- answers

GOOGLE_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8) | st.binary(min_size=120, max_size=140),
    FieldDescriptor.TYPE_STRING: texts,
    FieldDescriptor.TYPE_BOOL: flags,
    FieldDescriptor.TYPE_INT64: int64s | st.integers(0, 2**30),
    FieldDescriptor.TYPE_UINT64: uint64s,
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_ENUM: st.integers(0, 4) | st.integers(-(2**31), 2**31 - 1),
}


@st.composite
def google_messages(draw: Any, descriptor: Descriptor, depth: int = 4) -> Any:
    """A message of Google's with anything in it that an answer may have."""
    message = CLASSES[descriptor.name]()
    if descriptor.name == "ResponseOp":
        chosen = draw(st.sampled_from(list(descriptor.fields)[: 4 if depth > 0 else 3]))
        getattr(message, chosen.name).CopyFrom(draw(google_messages(chosen.message_type, depth - 1)))
        return message
    for field in descriptor.fields:
        one = google_values(field, depth)
        if is_repeated(field):
            getattr(message, field.name).extend(draw(st.lists(one, max_size=3)))
        elif field.message_type is None:
            setattr(message, field.name, draw(one))
        elif (descriptor.name, field.name) == ("Event", "kv") or draw(flags):
            getattr(message, field.name).CopyFrom(draw(one))
    return message


def google_values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is None:
        return GOOGLE_SCALARS[field.type]
    return google_messages(field.message_type, depth - 1)


def varint(number: int, more: int = 0) -> bytes:
    """A number on the wire, with *more* bytes than it needs."""
    groups = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)] + [0] * more
    return bytes(group | 128 for group in groups[:-1]) + bytes(groups[-1:])


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


numbers = st.integers(1, 14) | st.sampled_from([15, 16, 100, 2**29 - 1])
varints = st.builds(varint, uint64s | st.integers(0, 300), st.integers(0, 1))
bits64, bits32 = st.binary(min_size=8, max_size=8), st.binary(min_size=4, max_size=4)
fields = (
    st.builds(lambda number, value: tag(number, 0) + value, numbers, varints)
    | st.builds(lambda number, value: tag(number, 1) + value, numbers, bits64)
    | st.builds(lambda number, value: tag(number, 5) + value, numbers, bits32)
    | st.builds(lambda number, value: tag(number, 2) + varint(len(value)) + value, numbers, st.binary(max_size=4))
)
wires = st.recursive(
    st.lists(fields, max_size=3).map(b"".join),
    lambda inner: st.lists(
        fields
        | st.builds(lambda number, value: tag(number, 2) + varint(len(value)) + value, numbers, inner)
        | st.builds(lambda number, value: tag(number, 3) + value + tag(number, 4), numbers, inner),
        max_size=5,
    ).map(b"".join),
    max_leaves=12,
)
"""Fields of any number in any form, and of any order and repetition."""

rpcs = st.sampled_from(sorted(RPCS.values(), key=lambda rpc: rpc.name))
damages = st.tuples(st.integers(0, 2**16), st.binary(max_size=3), st.integers(0, 3))

STRICTER = "(kv is missing|nothing in a ResponseOp|a field has the number 0)$"
"""What protobuf leaves to us: an event without a key, a response of a kind that we do not know. And what one decoder of
Google's does not look at: the field numbers within an unknown group."""


class DecodeTests(SynchronousTestCase):
    def assert_same(self, rpc: Rpc, data: bytes) -> None:
        """
        Both decoders say the same of these bytes: the same values, or that they are none. (Sizes that are written with
        more than five bytes one decoder of Google's refuses; the other one reads them, as ours does.)
        """
        try:
            google = CLASSES[rpc.response].FromString(data)
        except (DecodeError, UnicodeDecodeError):
            self.assertRaises(ProtocolViolation, decode, rpc, data)
            return
        try:
            ours = decode(rpc, data)
        except ProtocolViolation as error:
            self.assertRegex(str(error), STRICTER)
            return
        self.assertEqual([], differences(rpc.response, ours, google))

    def test_every_answer(self) -> None:
        for rpc in RPCS.values():
            descriptor = CLASSES[rpc.response].DESCRIPTOR
            data = google_messages(descriptor).map(lambda message: message.SerializeToString())
            for_some(data, rpc, self.assert_same_value)

    def assert_same_value(self, rpc: Rpc, data: bytes) -> None:
        self.assertEqual([], differences(rpc.response, decode(rpc, data), CLASSES[rpc.response].FromString(data)))

    def test_nested(self) -> None:
        """
        Groups have limits of about the same size. Google's decoders stop at 100 levels, ours goes on as deep as a
        transaction may be that etcd carries out: what is read there is the same, with more around it.
        """
        for depth in (45, MAX_DEPTH + 5):
            self.assert_same(schema.TXN, nested(depth))
        for depth in range(46, MAX_DEPTH + 2):
            outcome = decode(schema.TXN, nested(depth))
            self.assertEqual(Outcome(False, responses=[decode(schema.TXN, nested(depth - 1))]), outcome)
        self.assertRaises(DecodeError, CLASSES["TxnResponse"].FromString, nested(MAX_DEPTH))
        for depth in (90, 110):
            self.assert_same(schema.RANGE, b"\x7b" * depth + b"\x7c" * depth)

    @PROPERTY
    @given(rpcs, wires)
    def test_fields_in_any_form(self, rpc: Rpc, data: bytes) -> None:
        self.assert_same(rpc, data)

    @PROPERTY
    @given(st.sampled_from([schema.RANGE, schema.TXN, schema.WATCH, schema.STATUS]), wires, wires)
    def test_answers_with_much_in_them(self, rpc: Rpc, one: bytes, other: bytes) -> None:
        wrapped = tag(11, 2) + varint(len(one)) + one + tag(2, 2) + varint(len(other)) + other
        self.assert_same(rpc, wrapped + tag(3, 2) + varint(len(wrapped)) + wrapped)

    @PROPERTY
    @given(rpcs, st.binary())
    def test_anything(self, rpc: Rpc, data: bytes) -> None:
        self.assert_same(rpc, data)

    @PROPERTY
    @given(st.data(), rpcs, damages)
    def test_damaged_answers(self, given_: st.DataObject, rpc: Rpc, damage: tuple[int, bytes, int]) -> None:
        """Some bytes of an answer are lost, or others are put in their place."""
        data = given_.draw(google_messages(CLASSES[rpc.response].DESCRIPTOR)).SerializeToString()
        at, put, cut = damage
        at %= len(data) + 1
        self.assert_same(rpc, data[:at] + put + data[at + cut :])
