"""
The gateway's codec against what real gateways were asked and answered.

The recordings are described in ``test/recordings/README.rst``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Callable, Optional

import attrs
from twisted.trial.unittest import SynchronousTestCase

from test.recordings import VERSIONS, Recording, load
from txetcd import _messages as m
from txetcd._json import decode, decode_line, encode, error_of
from txetcd._schema import MESSAGES, RPCS, Rpc
from txetcd.errors import Error, ProtocolViolation
from txetcd.keyset import KeySet
from txetcd.ops import (
    CompCreated,
    CompLease,
    CompModified,
    CompValue,
    CompVersion,
    OpDel,
    OpGet,
    OpSet,
    OpTxn,
    Transaction,
)
from txetcd.values import Deleted, DowngradeInfo, Event, Header, KeyValue, Member, Outcome, Range, Revision, Status

RECORDED = {version: {recording.name: recording for recording in load(version)} for version in VERSIONS}

BY_PATH = {rpc.path: rpc for rpc in RPCS.values() if rpc.path}

ALIASES = {
    "/v3beta/kv/range": "/v3/kv/range",
    "/v3/kv/lease/revoke": "/v3/lease/revoke",
    "/v3/kv/lease/timetolive": "/v3/lease/timetolive",
    "/v3/kv/lease/leases": "/v3/lease/leases",
}

OLD = ("3.4.23", "3.5.1", "3.5.35")
"""The versions with the first gateway."""

NEW = ("3.6.16", "3.7.3")
"""The versions with the second."""

LEASE = 7587000000000000001


def rpc_of(recording: Recording) -> Optional[Rpc]:
    return BY_PATH.get(ALIASES.get(recording.path, recording.path))


def answers(recording: Recording, rpc: Rpc) -> list[Any]:
    """What our codec makes of an answer: values and errors; of a stream, for each line."""
    body = recording.body.encode()
    if not rpc.is_stream:
        return [_answer(decode, rpc, recording.status, body)]
    lines = [line for line in body.splitlines() if line.strip()]
    if recording.status != 200:
        return [error_of(recording.status, line) for line in lines]
    return [_answer(decode_line, rpc, line) for line in lines]


def _answer(codec: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return codec(*arguments)
    except Error as error:
        return error


def outcome(version: str, name: str) -> str:
    """The classes of what our codec makes of a recorded answer."""
    recording = RECORDED[version][name]
    rpc = rpc_of(recording)
    found = answers(recording, rpc) if rpc else [error_of(recording.status, recording.body.encode())]
    return " ".join(type(answer).__name__ for answer in found)


def recorded_answers(version: str, name: str) -> list[Any]:
    recording = RECORDED[version][name]
    rpc = rpc_of(recording)
    assert rpc is not None, recording.path
    return answers(recording, rpc)


def calls() -> Iterator[tuple[str, Recording, Rpc]]:
    """Every recording of a call that the table knows."""
    for version in VERSIONS:
        for recording in RECORDED[version].values():
            rpc = rpc_of(recording)
            if rpc is not None:
                yield version, recording, rpc


def said_last(recording: Recording) -> Optional[str]:
    """The server's own words in the last line of a refusal, if it is etcd that speaks."""
    try:
        document = json.loads(recording.body.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return None
    said = document["error"] if isinstance(document.get("error"), dict) else document
    message = said.get("message") if said is not document or recording.status != 200 else None
    return message if isinstance(message, str) else None


def plain(value: Any) -> Any:
    """A value without what differs from run to run: the ids and the term in its headers."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not attrs.has(type(value)):
        return value
    if isinstance(value, Header):
        return Header(revision=value.revision)
    changes = {
        field.name: plain(getattr(value, field.name))
        for field in attrs.fields(type(value))
        if field.name in ("header", "responses")
    }
    return attrs.evolve(value, **changes)


# --- recorded answers

NO_CLASS = {
    # The gateway of old reports with code 2 what it cannot parse of a stream.
    "watch_bad_base64": (OLD, Error),
    "watch_bad_json": (OLD, Error),
    "watch_unknown_filter": (OLD, Error),
    "lease_keepalive_bad_id": (OLD, Error),
    # A method that is not POST is refused in plain text.
    "method_get": (OLD, ProtocolViolation),
    "method_put": (OLD, ProtocolViolation),
}
"""Refusals that have no class of their own, in these versions; the codec sends nothing that could cause them."""

NO_CALL = "Unimplemented"

DIFFERENCES: dict[str, tuple[str, str, str, str, str]] = {
    # The start is checked before the watch is created since 3.5.6 or so.
    "watch_negative_revision": ("WatchResponse WatchResponse",) * 2 + ("WatchResponse",) * 3,
    # The gateway of old refuses what it cannot parse; the new one ends the stream of requests, and the deadline comes.
    "watch_bad_base64": ("Error",) * 3 + ("DeadlineExceeded",) * 2,
    "watch_bad_json": ("Error",) * 3 + ("DeadlineExceeded",) * 2,
    "lease_keepalive_bad_id": ("Error",) * 3 + ("",) * 2,
    # The new gateway passes over names of enums that it does not know.
    "watch_unknown_filter": ("Error",) * 3 + ("WatchResponse DeadlineExceeded",) * 2,
    "alarm_unknown_action": ("RequestError",) * 3 + ("AlarmResponse",) * 2,
    "range_unknown_enum_name": ("RequestError",) * 3 + ("Range",) * 2,
    # Calls that old servers do not have.
    "hashkv": (NO_CALL,) * 2 + ("HashKV",) * 3,
    "hashkv_revision": (NO_CALL,) * 2 + ("HashKV",) * 3,
    "hashkv_future": (NO_CALL,) * 2 + ("FutureRevision",) * 3,
    "hashkv_after_compaction": (NO_CALL,) * 2 + ("HashKV",) * 3,
    "hashkv_compacted": (NO_CALL,) * 2 + ("Compacted",) * 3,
    "downgrade_bad_version": (NO_CALL,) + ("WrongDowngradeVersionFormat",) * 4,
    "downgrade_wrong_target": (NO_CALL,) + ("InvalidDowngradeTargetVersion",) * 4,
    "downgrade_validate": (NO_CALL,) + ("DowngradeResponse",) * 4,
    "downgrade_enable": (NO_CALL,) + ("RequestTimedOut",) * 2 + ("DowngradeResponse",) * 2,
    "downgrade_enable_twice": (NO_CALL,) + ("DowngradeInProcess",) * 4,
    "downgrade_cancel": (NO_CALL,) + ("RequestTimedOut",) * 2 + ("DowngradeResponse",) * 2,
    "downgrade_cancel_none": (NO_CALL,) + ("NoInflightDowngrade",) * 2 + ("DowngradeResponse",) * 2,
    "downgrade_cancel_twice": (NO_CALL,) + ("NoInflightDowngrade",) * 2 + ("DowngradeResponse",) * 2,
    "downgrade_unknown_action": (NO_CALL,) + ("RequestError",) * 2 + ("WrongDowngradeVersionFormat",) * 2,
    "auth_status_off": (NO_CALL,) + ("AuthStatus",) * 4,
    "auth_status_on": (NO_CALL,) + ("AuthStatus",) * 4,
    "auth_status_no_token": (NO_CALL,) + ("UserEmpty",) * 3 + ("AuthStatus",),
    "page_livez": (NO_CALL,) * 2 + ("ProtocolViolation",) * 3,
    "page_readyz": (NO_CALL,) * 2 + ("ProtocolViolation",) * 3,
    # Old servers want no token where they might, and want none at all while authentication is off.
    "range_token_while_off": ("InvalidAuthToken",) * 2 + ("Range",) * 3,
    "range_token_after_disable": ("InvalidAuthToken",) * 2 + ("Range",) * 3,
    "lease_grant_token_while_off": ("InvalidAuthToken",) * 2 + ("LeaseGrantResponse",) * 3,
    "lease_grant_no_token": ("LeaseGrantResponse",) * 2 + ("UserEmpty",) * 3,
    "lease_keepalive_no_token": ("LeaseKeepAliveResponse",) * 2 + ("UserEmpty",) * 3,
    "leases_no_token": ("LeaseLeasesResponse",) * 2 + ("UserEmpty",) * 3,
    "member_list_no_token": ("MemberListResponse",) * 2 + ("UserEmpty",) * 3,
    "status_no_token": ("Status",) * 2 + ("UserEmpty",) * 3,
    "compaction_as_user": ("Acknowledgement",) * 2 + ("PermissionDenied",) * 3,
    "lease_timetolive_keys_denied": ("LeaseTimeToLiveResponse",) * 2 + ("PermissionDenied",) * 3,
    "range_allowed_bearer": ("InvalidAuthToken",) * 2 + ("Range",) * 3,
    # The lock service of 3.4 hands out a lock whose lease is gone.
    "lock_waiter_lease_revoked": ("LockResponse",) + ("SessionExpired",) * 4,
    # What is no request is refused with other words.
    "range_json_null": ("EmptyKey",) * 3 + ("RequestError",) * 2,
    "range_base64_url_safe": ("RequestError",) * 3 + ("Range",) * 2,
    "range_base64_unpadded": ("RequestError",) * 3 + ("Range",) * 2,
    "range_duplicate_field": ("Range",) * 3 + ("RequestError",) * 2,
    "method_get": ("ProtocolViolation",) * 3 + (NO_CALL,) * 2,
    "method_put": ("ProtocolViolation",) * 3 + (NO_CALL,) * 2,
    # 3.4 does not know the option, and answers what it has.
    "no_quorum_member_list_linearizable": ("MemberListResponse",) + ("RequestTimedOut",) * 4,
    # Would crash the old ones, and so was not tried there.
    "role_grant_no_permission": ("-",) + ("PermissionNotGiven",) * 4,
    "range_unknown_sort_order_number": ("-",) * 3 + ("InvalidSortOption",) * 2,
    "range_unknown_sort_target_number": ("-",) * 3 + ("InvalidSortOption",) * 2,
}
"""Scenarios that end in different classes in different versions, in the order of ``VERSIONS``; ``-``: not recorded."""

REFUSALS = {
    "compaction_twice": "Compacted",
    "compaction_future": "FutureRevision",
    "range_compacted": "Compacted",
    "range_future": "FutureRevision",
    "range_empty_key": "EmptyKey",
    "put_ignore_value_missing_key": "KeyNotFound",
    "put_ignore_value_with_value": "ValueProvided",
    "put_ignore_lease_with_lease": "LeaseProvided",
    "put_unknown_lease": "LeaseNotFound",
    "put_too_large": "RequestTooLarge",
    "put_too_large_for_grpc": "RequestTooLarge",
    "txn_too_many_ops": "TooManyOps",
    "txn_duplicate_key": "DuplicateKey",
    "txn_empty_op": "KeyNotFound",
    "lease_grant_exists": "LeaseExist",
    "lease_grant_ttl_too_large": "LeaseTTLTooLarge",
    "lease_revoke_twice": "LeaseNotFound",
    "put_no_space": "NoSpace",
    "put_corrupt": "Corrupt",
    "range_no_token": "UserEmpty",
    "range_bad_token": "InvalidAuthToken",
    "lock_bad_token": "InvalidAuthToken",
    "put_denied": "PermissionDenied",
    "lock_denied": "PermissionDenied",
    "authenticate_wrong_password": "AuthFailed",
    "authenticate_no_password_user": "AuthFailed",
    "lock_deadline": "DeadlineExceeded",
    "election_leader_none": "NoElectionLeader",
    "election_proclaim_no_leader_field": "LeaderKeyMissing",
    "range_bad_json": "RequestError",
    "unknown_path": "Unimplemented",
    "path_v3alpha": "Unimplemented",
    "host_not_whitelisted": "HostNotAllowed",
    "learner_put": "NotSupportedForLearner",
    "follower_transfer_leadership": "NotLeader",
    "watch_server_stops": "WatchResponse Unavailable",
    "watch_leader_lost": "WatchResponse NoLeader",
    "watch_deadline": "WatchResponse DeadlineExceeded",
    "no_quorum_put": "DeadlineExceeded",
    "no_quorum_put_require_leader": "NoLeader",
    "no_quorum_range": "RequestTimedOut",
    "no_quorum_watch_require_leader": "NoLeader",
    "no_quorum_member_add": "Unhealthy",
    "health_no_space": "Unavailable",
}
"""Some refusals, which are the same in every version."""


def at(revision: int) -> Header:
    return Header(revision=revision)


ONE = KeyValue(b"a/1", b"one", 5, 2, 12)
TWO = KeyValue(b"a/2", b"two", 1, 5, 5)
EMPTY = KeyValue(b"a/empty", b"", 2, 6, 7)
LEASED = KeyValue(b"a/leased", b"y", 2, 9, 11, LEASE)
IN_A = [ONE, TWO, EMPTY, LEASED]
IN_TXN = KeyValue(b"t/1", b"x", 1, 2, 2, 2)
BINARY = bytes((0, 1, 0x7F, 0x80, 0xFE, 0xFF))

EXACT: dict[str, list[Any]] = {
    "put_new": [Revision(at(2))],
    "put_prev_kv": [Revision(at(4), KeyValue(b"a/1", b"uno", 2, 2, 3))],
    "put_prev_kv_new_key": [Revision(at(5))],
    "range_missing_key": [Range([], at(12))],
    "range_one_key": [Range([ONE], at(12), 1)],
    "range_empty_value": [Range([EMPTY], at(12), 1)],
    "range_leased_key": [Range([LEASED], at(12), 1)],
    "range_binary": [Range([KeyValue(BINARY, BINARY, 1, 8, 8)], at(12), 1)],
    "range_prefix": [Range(IN_A, at(12), 4)],
    "range_limit_more": [Range([ONE, TWO], at(12), 4, True)],
    "range_count_only": [Range([], at(12), 4)],
    "range_keys_only": [Range([attrs.evolve(kv, value=b"") for kv in IN_A], at(12), 4)],
    "delete_missing_key": [Deleted(0, at(12))],
    "delete_one_key": [Deleted(1, at(13))],
    "delete_prev_kv": [Deleted(3, at(14), [ONE, EMPTY, LEASED])],
    "compaction": [m.Acknowledgement(at(14))],
    "txn_empty": [Outcome(True, at(3))],
    "txn_failure_empty": [Outcome(False, at(3))],
    "txn_failure": [Outcome(False, at(3), [Range([IN_TXN], at(3), 1)])],
    "txn_range_before_put": [
        Outcome(
            True,
            at(5),
            [Range([], at(4)), Revision(at(5)), Range([KeyValue(b"t/5", b"new", 1, 5, 5)], at(5), 1)],
        )
    ],
    "watch_put_empty_value": [
        m.WatchResponse(at(3), created=True),
        m.WatchResponse(at(4), events=[Event("PUT", KeyValue(b"w/empty", b"", 1, 4, 4))]),
    ],
    "watch_delete": [
        m.WatchResponse(at(7), created=True),
        m.WatchResponse(at(8), events=[Event("DELETE", KeyValue(b"w/2", mod_revision=8))]),
    ],
    "watch_txn_events": [
        m.WatchResponse(at(8), created=True),
        m.WatchResponse(
            at(9),
            events=[
                Event("PUT", KeyValue(b"w/3", b"3", 1, 9, 9)),
                Event("PUT", KeyValue(b"w/4", b"", 1, 9, 9)),
                Event("DELETE", KeyValue(b"w/empty", mod_revision=9), KeyValue(b"w/empty", b"", 1, 4, 4)),
            ],
        ),
    ],
    "watch_id_chosen": [
        m.WatchResponse(at(12), 7, created=True),
        m.WatchResponse(at(13), 7, events=[Event("PUT", KeyValue(b"w/7", b"", 1, 13, 13))]),
    ],
    "watch_compacted": [
        m.WatchResponse(at(14), created=True),
        m.WatchResponse(at(0), canceled=True, compact_revision=10),
    ],
    "watch_inverted_range": [
        m.WatchResponse(at(14), -1, created=True, canceled=True, cancel_reason="mvcc: watcher range is empty")
    ],
    "lease_grant_with_id": [m.LeaseGrantResponse(at(1), LEASE, 600)],
    "lease_grant_negative_id": [m.LeaseGrantResponse(at(1), -5, 600)],
    "lease_grant_ttl_raised": [m.LeaseGrantResponse(at(1), 77, 2)],
    "lease_keepalive": [m.LeaseKeepAliveResponse(at(1), LEASE, 600)],
    "lease_keepalive_unknown": [m.LeaseKeepAliveResponse(at(1), 404, 0)],
    "lease_timetolive_unknown": [m.LeaseTimeToLiveResponse(at(3), 404, -1)],
    "leases_none": [m.LeaseLeasesResponse(at(1))],
    "alarm_get_none": [m.AlarmResponse(at(6))],
    "role_get": [
        m.AuthRoleGetResponse(
            at(1), [m.Permission("READWRITE", b"alice/", b"alice0"), m.Permission("READ", b"shared", b"")]
        )
    ],
    "role_list": [m.AuthRoleListResponse(at(1), ["reader"])],
    "user_list": [m.AuthUserListResponse(at(1), ["alice", "bob", "root"])],
    "user_get": [m.AuthUserGetResponse(at(1), ["reader"])],
    "lock": [m.LockResponse(at(2), b"mutex/b")],
    "election_campaign": [m.CampaignResponse(at(2), m.LeaderKey(b"election", b"election/15", 2, 21))],
    "election_leader": [m.LeaderResponse(at(5), KeyValue(b"election/15", b"still me", 2, 2, 5, 21))],
    "election_observe": [
        m.LeaderResponse(at(5), KeyValue(b"election/15", b"still me", 2, 2, 5, 21)),
        m.LeaderResponse(at(6), KeyValue(b"election/15", b"me again", 3, 2, 6, 21)),
    ],
}
"""What answers are, to the byte, in every version; but for the ids and the term in their headers."""

EXCEPTIONS: dict[str, dict[str, list[Any]]] = {
    # Alarms come without a header.
    "3.4.23": {"alarm_get_none": [m.AlarmResponse(Header())]},
    # Asked for keys only, it does not say which lease they are attached to.
    "3.7.3": {"range_keys_only": [Range([attrs.evolve(kv, value=b"", lease=0) for kv in IN_A], at(12), 4)]},
}
"""What is different in some versions."""


class RecordedAnswerTests(SynchronousTestCase):
    def test_successes(self) -> None:
        """Every answer to a call with status 200 is of the class that the table names; a stream may end in an error."""
        count = 0
        for version, recording, rpc in calls():
            (cls,) = [message.cls for message in MESSAGES if message.name == rpc.response]
            found = [type(answer) for answer in answers(recording, rpc)]
            if recording.status == 200:
                if rpc.is_stream and found and issubclass(found[-1], Error):
                    found.pop()
                self.assertEqual([cls] * len(found), found, (version, recording.name))
                count += len(found)
        self.assertGreater(count, 800)

    def test_answers_have_headers(self) -> None:
        """Every answer has a header, but for those of the calls that are known for it."""
        without = {
            rpc.name
            for _, recording, rpc in calls()
            for answer in answers(recording, rpc)
            if not isinstance(answer, Error) and answer.header == Header()
        }
        self.assertEqual(
            without, {"Maintenance.Alarm", "Maintenance.Defragment", "Maintenance.MoveLeader", "Maintenance.Snapshot"}
        )

    def test_refusals(self) -> None:
        """Every other answer is an error with a class of its own, but for those listed."""
        found = {}
        for version, recording, rpc in calls():
            for answer in answers(recording, rpc):
                if recording.status != 200:
                    self.assertIsInstance(answer, Error, (version, recording.name))
                if type(answer) in (Error, ProtocolViolation):
                    found[recording.name, version] = type(answer)
        wanted = {(name, version): cls for name, (versions, cls) in NO_CLASS.items() for version in versions}
        self.assertEqual(wanted, found)

    def test_what_the_server_said_is_kept(self) -> None:
        """The message of an error is the server's text, where it says one."""
        for version, recording, rpc in calls():
            said = said_last(recording)
            if said is not None:
                answer = answers(recording, rpc)[-1]
                self.assertEqual(said, getattr(answer, "message", None), (version, recording.name))

    def test_versions_agree(self) -> None:
        """The same scenario ends in the same classes in every version, but for those listed."""
        names = {name for version in VERSIONS for name in RECORDED[version]}
        for name in sorted(names):
            found = tuple(outcome(version, name) if name in RECORDED[version] else "-" for version in VERSIONS)
            self.assertEqual(DIFFERENCES.get(name, (found[0],) * len(VERSIONS)), found, name)
        self.assertEqual(set(), set(DIFFERENCES) - names)

    def test_differences_are_differences(self) -> None:
        self.assertEqual([], [name for name, found in DIFFERENCES.items() if len(set(found)) == 1])

    def test_selected_refusals(self) -> None:
        for version in VERSIONS:
            self.assertEqual(REFUSALS, {name: outcome(version, name) for name in REFUSALS}, version)

    def test_exact_values(self) -> None:
        for version in VERSIONS:
            for name, wanted in {**EXACT, **EXCEPTIONS.get(version, {})}.items():
                self.assertEqual(wanted, plain(recorded_answers(version, name)), (version, name))

    def test_headers(self) -> None:
        """Ids beyond 2**63 are numbers as they should be."""
        for version in VERSIONS:
            body = json.loads(RECORDED[version]["put_new"].body)["header"]
            (answer,) = recorded_answers(version, "put_new")
            wanted = Header(int(body["raft_term"]), 2, int(body["cluster_id"]), int(body["member_id"]))
            self.assertEqual(wanted, answer.header)
            self.assertTrue(wanted.raft_term and wanted.cluster_id and wanted.member_id)

    def test_every_kind_of_operation(self) -> None:
        """A transaction of everything, with transactions in transactions."""
        for version in VERSIONS:
            (answer,) = recorded_answers(version, "txn_success_every_kind")
            # a nested answer tells no revision, but for a put within it up to 3.6
            (deep,) = [r for r in plain(answer).responses[-1].responses]
            wanted: list[Any] = [
                Revision(at(4)),
                Revision(at(4), KeyValue(b"t/2", b"x", 1, 3, 3, 2)),
                Range([IN_TXN], at(4), 1),
                Range([], at(4)),
                Range([IN_TXN], at(4), 3, True),
                Deleted(0, at(4)),
                Deleted(1, at(4), [IN_TXN]),
                Outcome(False),
                Outcome(True),
                Outcome(True, responses=[Outcome(True, responses=deep.responses)]),
            ]
            self.assertEqual(Outcome(True, at(4), wanted), plain(answer), version)
            self.assertEqual([Revision], [type(response) for response in deep.responses])

    def test_status(self) -> None:
        for version in VERSIONS:
            (status,) = recorded_answers(version, "status")
            said = json.loads(RECORDED[version]["status"].body)
            is_new = version in NEW
            numbers = [int(said[name]) for name in ("dbSize", "leader", "raftTerm", "raftIndex", "raftAppliedIndex")]
            self.assertEqual(
                Status(
                    version, numbers[0], numbers[1], status.header, numbers[2], numbers[3], numbers[4],
                    db_size_in_use=int(said["dbSizeInUse"]),
                    storage_version=said["storageVersion"] if is_new else "",
                    db_size_quota=2147483648 if is_new else 0,
                    downgrade_info=DowngradeInfo() if is_new else None,
                ),  # fmt: skip
                status,
            )
            self.assertEqual(status.header.member_id, status.leader)

    def test_status_with_alarms(self) -> None:
        for version in VERSIONS:
            for name, alarm in (("status_no_space", "NOSPACE"), ("status_corrupt", "CORRUPT")):
                (status,) = recorded_answers(version, name)
                self.assertEqual(1, len(status.errors), (version, name))
                self.assertIn(alarm, status.errors[0].upper().replace(" ", ""), (version, name))

    def test_members(self) -> None:
        for version in VERSIONS:
            (answer,) = recorded_answers(version, "member_add_learner")
            said = json.loads(RECORDED[version]["member_add_learner"].body)
            new = Member(int(said["member"]["ID"]), "", ["http://127.0.0.1:1"], [], True)
            self.assertEqual(new, answer.member)
            self.assertIn(new, answer.members)
            (old,) = [member for member in answer.members if member != new]
            self.assertEqual(("one", False, 1, 1), (old.name, old.is_learner, len(old.peer_urls), len(old.client_urls)))

    def test_keys_of_a_lease(self) -> None:
        for version in VERSIONS:
            (answer,) = recorded_answers(version, "lease_timetolive_keys")
            self.assertEqual({b"l/1", b"l/2"}, set(answer.keys))
            self.assertEqual((LEASE, 600), (answer.lease_id, answer.granted_time_to_live))

    def test_snapshot(self) -> None:
        """Pieces of a file, the last of which is its SHA-256; and from 3.6 on, the version of the storage."""
        for version in VERSIONS:
            first, last = recorded_answers(version, "snapshot")
            self.assertEqual((0, 32, 0), (len(first.blob) % 512, len(last.blob), last.remaining_bytes))
            self.assertEqual(version.rpartition(".")[0] + ".0" if version in NEW else "", first.version)

    def test_hash(self) -> None:
        """The one number that is no string."""
        for version in VERSIONS:
            (answer,) = recorded_answers(version, "hash")
            self.assertGreater(answer.hash, 0)

    def test_why_a_watch_was_cancelled(self) -> None:
        for version in VERSIONS:
            (answer,) = recorded_answers(version, "watch_denied")
            reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
            self.assertEqual((True, True, reason), (answer.created, answer.canceled, answer.cancel_reason))


# --- recorded requests

PREFIX = KeySet(b"a/", prefix=True)
WATCHED = KeySet(b"w/", prefix=True)
IN_T = KeySet(b"t/", prefix=True)
ELECTION = m.LeaderKey(b"election", b"election/15", 2, 21)

EVERY_KIND = [
    OpSet(b"t/3", b"z"),
    OpSet(b"t/2", b"y", return_previous=True),
    OpGet(b"t/1"),
    OpGet(b"missing"),
    OpGet(IN_T, limit=1),
    OpDel(b"missing"),
    OpDel(b"t/1", True),
    OpTxn(Transaction([CompVersion(b"t/1", "==", 0)], [OpGet(b"t/3")])),
    OpTxn(Transaction([], [], [OpGet(b"t/3")])),
    OpTxn(Transaction([], [OpTxn(Transaction([], [OpSet(b"t/4", b"deep")]))])),
]

REQUESTS: dict[str, Any] = {
    "put_new": OpSet(b"a/1", b"one"),
    "put_prev_kv": OpSet(b"a/1", b"eins", return_previous=True),
    "put_empty_value": OpSet(b"a/empty", b""),
    "put_binary": OpSet(BINARY, BINARY),
    "put_lease": OpSet(b"a/leased", b"x", LEASE),
    "put_ignore_value": OpSet(b"a/1", None, LEASE, True, ignore_value=True),
    "put_ignore_lease": OpSet(b"a/leased", b"y", None, True, ignore_lease=True),
    "range_one_key": OpGet(b"a/1"),
    "range_prefix": OpGet(PREFIX),
    "range_all": OpGet(KeySet.all()),
    "range_from_key": OpGet(KeySet(b"a/empty", b"\x00")),
    "range_inverted": OpGet(KeySet(b"b", b"a")),
    "range_limit_more": OpGet(PREFIX, limit=2),
    "range_limit_exact": OpGet(PREFIX, limit=4),
    "range_count_only": OpGet(PREFIX, count_only=True),
    "range_keys_only": OpGet(PREFIX, keys_only=True),
    "range_keys_only_count_only": OpGet(PREFIX, keys_only=True, count_only=True),
    "range_sorted": OpGet(PREFIX, sort_order="DESCEND", sort_target="MOD"),
    "range_revision": OpGet(b"a/1", revision=2),
    "range_serializable": OpGet(b"a/1", serializable=True),
    "range_min_max_mod_revision": OpGet(PREFIX, min_mod_revision=4, max_mod_revision=6),
    "range_min_max_create_revision": OpGet(PREFIX, min_create_revision=3, max_create_revision=5),
    "delete_one_key": OpDel(b"a/2"),
    "delete_prev_kv": OpDel(PREFIX, True),
    "compaction": m.CompactionRequest(5),
    "compaction_physical": m.CompactionRequest(6, True),
    "txn_empty": Transaction(),
    "txn_failure_empty": Transaction([CompVersion(b"t/1", "==", 0)]),
    "txn_read_only": Transaction([], [OpGet(b"t/1")]),
    "txn_success_every_kind": Transaction([CompVersion(b"t/1", ">", 0)], EVERY_KIND),
    "txn_failure": Transaction([CompVersion(b"t/1", "==", 0)], EVERY_KIND, [OpGet(b"t/1")]),
    "txn_compare_value": Transaction([CompValue(b"t/3", "==", b"z")]),
    "txn_compare_value_missing_key": Transaction([CompValue(b"missing", "!=", b"z")]),
    "txn_compare_create": Transaction([CompCreated(b"t/3", ">", 1)]),
    "txn_compare_mod": Transaction([CompModified(b"t/3", "<", 1000)]),
    "txn_compare_lease": Transaction([CompLease(b"t/2", "==", 0)]),
    "txn_compare_lease_not_equal": Transaction([CompLease(b"t/2", "!=", 2)]),
    "txn_compare_range": Transaction([CompVersion(IN_T, ">", 0)]),
    "txn_compare_range_false": Transaction([CompValue(IN_T, "==", b"z")]),
    "watch_created": m.WatchCreateRequest(WATCHED),
    "watch_prev_kv": m.WatchCreateRequest(WATCHED, return_previous=True),
    "watch_filter_noput": m.WatchCreateRequest(WATCHED, filters=("NOPUT",)),
    "watch_one_key": m.WatchCreateRequest(KeySet(b"w/6")),
    "watch_past": m.WatchCreateRequest(WATCHED, 2),
    "watch_past_prev_kv_fragment": m.WatchCreateRequest(WATCHED, 2, return_previous=True, fragment=True),
    "watch_id_chosen": m.WatchCreateRequest(WATCHED, watch_id=7),
    "lease_grant": m.LeaseGrantRequest(600),
    "lease_grant_with_id": m.LeaseGrantRequest(600, LEASE),
    "lease_grant_negative_id": m.LeaseGrantRequest(600, -5),
    "lease_keepalive": m.LeaseKeepAliveRequest(LEASE),
    "lease_timetolive": m.LeaseTimeToLiveRequest(LEASE),
    "lease_timetolive_keys": m.LeaseTimeToLiveRequest(LEASE, True),
    "lease_revoke": m.LeaseRevokeRequest(LEASE),
    "leases": m.Empty(),
    "member_list": m.MemberListRequest(),
    "member_list_linearizable": m.MemberListRequest(True),
    "member_add_learner": m.MemberAddRequest(("http://127.0.0.1:1",), True),
    "status": m.Empty(),
    "user_get": m.AuthUserGetRequest("alice"),
    "role_get": m.AuthRoleGetRequest("reader"),
    "authenticate": m.AuthenticateRequest("alice", "wonder"),
    "auth_enable": m.Empty(),
    "lock": m.LockRequest(b"mutex", 11),
    "unlock": m.UnlockRequest(b"mutex/b"),
    "election_campaign": m.CampaignRequest(b"election", 21, b"me"),
    "election_leader": m.LeaderRequest(b"election"),
    "election_resign": m.ResignRequest(ELECTION),
}
"""Our request for a scenario."""


def normal(document: Any) -> Any:
    """A request with its integers as text, and without what is empty: what means the same to every gateway."""
    if isinstance(document, dict):
        return {name: normal(value) for name, value in document.items() if value != ""}
    if isinstance(document, list):
        return [normal(value) for value in document]
    return str(document) if isinstance(document, int) and not isinstance(document, bool) else document


class RecordedRequestTests(SynchronousTestCase):
    def test_requests(self) -> None:
        for version in VERSIONS:
            for name, request in REQUESTS.items():
                recording = RECORDED[version][name]
                rpc = rpc_of(recording)
                assert rpc is not None, name
                sent = json.loads(encode(rpc, request))
                self.assertEqual(normal(recording.request), normal(sent), name)

    def test_they_succeeded(self) -> None:
        """So what we send is what these servers understand."""
        for version in VERSIONS:
            self.assertEqual({200}, {RECORDED[version][name].status for name in REQUESTS}, version)
