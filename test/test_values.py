"""
What comes back, as values.
"""

from __future__ import annotations

import inspect
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from txetcd import _messages, values
from txetcd.keyset import KeySet
from txetcd.values import (
    Alarm,
    Deleted,
    DowngradeInfo,
    Event,
    Header,
    KeyValue,
    Member,
    Outcome,
    Permission,
    Range,
    Revision,
    Status,
    Success,
)

HEADER = Header(2, 7, 0xCAFE, 0xBEEF)
KV = KeyValue(b"k", b"secret", 3, 4, 6, 9)

REPRS: list[tuple[Any, str]] = [
    (HEADER, "Header(raft_term=2, revision=7, cluster_id=cafe, member_id=beef)"),
    (
        KV,
        "KeyValue(key=b'k', value=<6 bytes>, version=3, create_revision=4, mod_revision=6, lease=9)",
    ),
    (Event("PUT", KeyValue(b"k", b"secret")), f"Event(type='put', kv={KeyValue(b'k', b'123456')!r}, previous=None)"),
    (Range([KV, KV], HEADER, 5, True), f"Range(kvs=<2>, header={HEADER!r}, count=5, more=True)"),
    (Revision(HEADER, KV), f"Revision(header={HEADER!r}, previous={KV!r})"),
    (Deleted(1, HEADER, [KV]), f"Deleted(deleted=1, header={HEADER!r}, previous=<1>)"),
    (
        Outcome(True, HEADER, [Revision(HEADER)]),
        f"Outcome(succeeded=True, header={HEADER!r}, responses=[{Revision(HEADER)!r}])",
    ),
    (
        Member(0xCAFE, "one", ["http://a:2380"]),
        "Member(member_id=cafe, name='one', peer_urls=['http://a:2380'], client_urls=[], is_learner=False)",
    ),
    (Alarm(0xCAFE, "NOSPACE"), "Alarm(member_id=cafe, type='NOSPACE')"),
    (Permission(KeySet(b"a/", prefix=True), "READ"), "Permission(keys=KeySet(b'a/', prefix=True), type='READ')"),
    (Success(HEADER, []), f"Success(header={HEADER!r}, responses=[])"),
    (_messages.SnapshotResponse(HEADER, 1, b"secret"), f"SnapshotResponse(header={HEADER!r}, remaining_bytes=1, "
     "blob=<6 bytes>, version='')"),
    (_messages.AuthenticateRequest("alice", "secret"), "AuthenticateRequest(name='alice', password=<secret>)"),
    (_messages.AuthenticateRequest("alice", ""), "AuthenticateRequest(name='alice', password='')"),
    (_messages.AuthenticateResponse(HEADER, "secret"), f"AuthenticateResponse(header={HEADER!r}, token=<secret>)"),
    (_messages.CampaignRequest(b"n", 1, b"secret"), "CampaignRequest(name=b'n', lease=1, value=<6 bytes>)"),
    (_messages.ProclaimRequest(None, b"secret"), "ProclaimRequest(leader=None, value=<6 bytes>)"),
    (
        _messages.AuthUserAddRequest("alice", "secret", None, "secret"),
        "AuthUserAddRequest(name='alice', password=<secret>, options=None, hashed_password=<secret>)",
    ),
    (
        _messages.AuthUserChangePasswordRequest("alice", "secret", "secret"),
        "AuthUserChangePasswordRequest(name='alice', password=<secret>, hashed_password=<secret>)",
    ),
]  # fmt: skip


def classes() -> list[type[Any]]:
    """Every class of values and of messages."""
    found = [cls for module in (values, _messages) for cls in vars(module).values() if inspect.isclass(cls)]
    return [cls for cls in found if cls.__module__ in (values.__name__, _messages.__name__)]


class ValueTests(SynchronousTestCase):
    def test_repr_says_what_it_is_and_not_what_it_carries(self) -> None:
        for value, shown in REPRS:
            self.assertEqual(shown, repr(value))
            self.assertNotIn("'secret'", repr(value))

    def test_status_repr(self) -> None:
        status = Status("3.5.1", 20480, 0xCAFE, HEADER, 2, 9)
        shown = f"Status(version='3.5.1', db_size=20480, leader=cafe, header={HEADER!r}, raft_term=2, raft_index=9, "
        self.assertTrue(repr(status).startswith(shown))

    def test_immutable(self) -> None:
        self.assertEqual([], [cls for cls in classes() if not attrs.has(cls)])
        for cls in classes():
            frozen = [field.name for field in attrs.fields(cls)][:1]
            value = object.__new__(cls)
            for name in frozen:
                self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, value, name, 1)
            self.assertRaises(Exception, setattr, value, "colour", "red")

    def test_small(self) -> None:
        """They have slots: there are many of them."""
        self.assertEqual([], [cls for cls in classes() if hasattr(object.__new__(cls), "__dict__")])

    def test_equal_by_content(self) -> None:
        self.assertEqual(KeyValue(b"k", b"v", 1, 2, 2, 0), KeyValue(b"k", b"v", 1, 2, 2))
        self.assertNotEqual(KeyValue(b"k", b"v"), KeyValue(b"k", b"w"))
        self.assertNotEqual(KeyValue(b"k"), Header())
        self.assertEqual(1, len({KV, attrs.evolve(KV)}))

    def test_what_is_not_given_is_zero(self) -> None:
        self.assertEqual(Header(0, 0, 0, 0), Header())
        self.assertEqual(KeyValue(b"k", b"", 0, 0, 0, 0), KeyValue(b"k"))
        self.assertEqual(Range([], Header(), 0, False), Range([]))
        self.assertEqual(Revision(Header(), None), Revision())
        self.assertEqual(Deleted(0, Header(), []), Deleted())
        self.assertEqual(Outcome(False, Header(), []), Outcome())
        self.assertEqual(DowngradeInfo(False, ""), DowngradeInfo())
        self.assertEqual(
            Status("3.4.23", 1, 2, Header(), 3, 4, 0, [], 0, False, "", 0, None),
            Status("3.4.23", 1, 2, Header(), 3, 4),
        )

    def test_lists_are_not_shared(self) -> None:
        Deleted().previous.append(KV)
        self.assertEqual([], Deleted().previous)


class EventTests(SynchronousTestCase):
    def test_reads_like_a_key_value(self) -> None:
        event = Event("PUT", KV)
        for field in attrs.fields(KeyValue):
            self.assertEqual(getattr(KV, field.name), getattr(event, field.name), field.name)

    def test_kinds(self) -> None:
        def kinds(event: Event) -> tuple[bool, bool, bool, bool]:
            return event.is_put, event.is_delete, event.is_create, event.is_modify

        self.assertEqual((True, False, True, False), kinds(Event("PUT", KeyValue(b"k", b"", 1, 5, 5))))
        self.assertEqual((True, False, False, True), kinds(Event("PUT", KeyValue(b"k", b"", 2, 5, 6))))
        self.assertEqual((False, True, False, False), kinds(Event("DELETE", KeyValue(b"k", mod_revision=6))))

    def test_deletion_and_empty_value_differ(self) -> None:
        self.assertNotEqual(Event("PUT", KeyValue(b"k")), Event("DELETE", KeyValue(b"k")))

    def test_type_is_in_small_letters(self) -> None:
        self.assertEqual(["put", "delete"], [Event(type_, KV).type for type_ in ("PUT", "DELETE")])
