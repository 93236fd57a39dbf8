"""
The scenarios of the Lease, Cluster and Maintenance services.
"""

from __future__ import annotations

from typing import Any

from ._kv import PUT, RANGE, key, put
from ._member import Member

ALARM, STATUS, DOWNGRADE = "/v3/maintenance/alarm", "/v3/maintenance/status", "/v3/maintenance/downgrade"
GRANT, REVOKE, KEEPALIVE, TIMETOLIVE, LEASES = (
    f"/v3/lease/{name}" for name in ("grant", "revoke", "keepalive", "timetolive", "leases")
)
ADD, REMOVE, UPDATE, PROMOTE, LIST = (
    f"/v3/cluster/member/{name}" for name in ("add", "remove", "update", "promote", "list")
)


def lease(etcd: Member) -> None:
    """Leases."""
    unknown, given = {"ID": "404"}, {"ID": "7587000000000000001"}
    etcd.record("leases_none", LEASES)
    etcd.record("lease_grant", GRANT, {"TTL": "600"})
    etcd.record("lease_grant_with_id", GRANT, {"TTL": "600", **given})
    etcd.record("lease_grant_negative_id", GRANT, {"TTL": "600", "ID": "-5"})
    etcd.record("lease_grant_exists", GRANT, {"TTL": "600", **given})
    etcd.record("lease_grant_ttl_raised", GRANT, {"TTL": "1", "ID": "77"})
    etcd.record("lease_grant_ttl_zero", GRANT, {"ID": "78"})
    etcd.record("lease_grant_ttl_too_large", GRANT, {"TTL": "9000000001"})
    etcd.record("lease_keepalive", KEEPALIVE, given)
    etcd.record("lease_keepalive_unknown", KEEPALIVE, unknown)
    etcd.record("lease_timetolive", TIMETOLIVE, given)
    etcd.record("lease_timetolive_no_keys", TIMETOLIVE, {**given, "keys": True})
    for name in (b"l/1", b"l/2"):
        etcd.ask(PUT, put(name, b"x", lease=given["ID"]))
    etcd.record("lease_timetolive_keys", TIMETOLIVE, {**given, "keys": True})
    etcd.record("lease_timetolive_unknown", TIMETOLIVE, {**unknown, "keys": True})
    etcd.record("lease_timetolive_alias", "/v3/kv/lease/timetolive", given)
    etcd.record("leases", LEASES)
    etcd.record("leases_alias", "/v3/kv/lease/leases")
    etcd.record("lease_revoke", REVOKE, given)
    etcd.record("lease_revoke_twice", REVOKE, given)
    etcd.record("lease_revoke_alias", "/v3/kv/lease/revoke", {"ID": "-5"})
    etcd.record("lease_keepalive_revoked", KEEPALIVE, given)
    etcd.record("lease_keepalive_bad_id", KEEPALIVE, {"ID": "x"})
    etcd.record("lease_range_after_revoke", RANGE, key(b"l/1"))


def _change(etcd: Member, name: str, path: str, request: dict[str, Any]) -> dict[str, Any]:
    """
    Record a change of the members. The put lets the change before be applied: without it, etcd 3.5.1 at times never
    answered the second of two changes.
    """
    etcd.ask(PUT, put(b"settle"))
    return etcd.record(name, path, request)


def cluster(etcd: Member) -> None:
    """Members; the learners are never started."""
    own = etcd.record("member_list", LIST)["members"][0]
    etcd.record("member_list_linearizable", LIST, {"linearizable": True})
    unknown = {"ID": "404"}
    _change(etcd, "member_add_bad_url", ADD, {"peerURLs": ["not a url"]})
    _change(etcd, "member_add_no_url", ADD, {})
    _change(etcd, "member_add_known_url", ADD, {"peerURLs": own["peerURLs"]})
    _change(etcd, "member_remove_unknown", REMOVE, unknown)
    _change(etcd, "member_update_unknown", UPDATE, {**unknown, "peerURLs": ["http://127.0.0.1:1"]})
    _change(etcd, "member_update_bad_url", UPDATE, {**unknown, "peerURLs": ["127.0.0.1"]})
    _change(etcd, "member_promote_unknown", PROMOTE, unknown)
    _change(etcd, "member_promote_voter", PROMOTE, {"ID": own["ID"]})
    added = _change(etcd, "member_add_learner", ADD, {"peerURLs": ["http://127.0.0.1:1"], "isLearner": True})
    learner = {"ID": added["member"]["ID"]}
    _change(etcd, "member_add_second_learner", ADD, {"peerURLs": ["http://127.0.0.1:2"], "isLearner": True})
    etcd.record("member_list_learner", LIST)
    _change(etcd, "member_promote_not_ready", PROMOTE, learner)
    _change(etcd, "member_update", UPDATE, {**learner, "peerURLs": ["http://127.0.0.1:3"]})
    etcd.record("member_list_after_update", LIST)
    _change(etcd, "member_remove", REMOVE, learner)
    _change(etcd, "member_remove_removed", REMOVE, learner)
    _change(etcd, "member_remove_last", REMOVE, {"ID": own["ID"]})


def maintenance(etcd: Member) -> None:
    """Maintenance but the downgrade."""
    for number in range(5):
        etcd.ask(PUT, put(b"m/%d" % number, b"x"))
    status = etcd.record("status", STATUS)
    etcd.record("defragment", "/v3/maintenance/defragment")
    etcd.record("hash", "/v3/maintenance/hash")
    etcd.record("hashkv", "/v3/maintenance/hashkv")
    etcd.record("hashkv_revision", "/v3/maintenance/hashkv", {"revision": "3"})
    etcd.record("hashkv_future", "/v3/maintenance/hashkv", {"revision": "1000000"})
    etcd.ask("/v3/kv/compaction", {"revision": "4"})
    etcd.record("hashkv_after_compaction", "/v3/maintenance/hashkv", {"revision": "5"})
    etcd.record("hashkv_compacted", "/v3/maintenance/hashkv", {"revision": "2"})
    etcd.record("transfer_leadership_unknown", "/v3/maintenance/transfer-leadership", {"targetID": "404"})
    etcd.record("transfer_leadership_self", "/v3/maintenance/transfer-leadership", {"targetID": status["leader"]})
    with etcd.stream("snapshot", "/v3/maintenance/snapshot", {}, note="the first and the last line") as stream:
        lines = stream.rest()
        stream.keep(lines[0] + lines[-1])
    _alarms(etcd, status["header"]["member_id"])


def _alarms(etcd: Member, member_id: str) -> None:
    no_space = {"alarm": "NOSPACE", "memberID": member_id}
    corrupt = {"alarm": "CORRUPT", "memberID": member_id}
    etcd.record("alarm_get_none", ALARM, {"action": "GET"})
    etcd.record("alarm_activate", ALARM, {"action": "ACTIVATE", **no_space})
    etcd.record("alarm_activate_twice", ALARM, {"action": "ACTIVATE", **no_space})
    etcd.record("alarm_get", ALARM, {"action": "GET"})
    etcd.record("put_no_space", PUT, put(b"k", b"x"))
    etcd.record("txn_put_no_space", "/v3/kv/txn", {"success": [{"request_put": put(b"k", b"x")}]})
    etcd.record("lease_grant_no_space", GRANT, {"TTL": "60"})
    etcd.record("range_no_space", RANGE, key(b"m/1"))
    etcd.record("status_no_space", STATUS)
    etcd.record("health_no_space", "/health", None, method="GET")
    etcd.record("alarm_deactivate", ALARM, {"action": "DEACTIVATE", **no_space})
    etcd.record("alarm_deactivate_twice", ALARM, {"action": "DEACTIVATE", **no_space})
    etcd.record("alarm_unknown_action", ALARM, {"action": "NOSUCH"})
    etcd.ask(ALARM, {"action": "ACTIVATE", **corrupt})
    etcd.record("put_corrupt", PUT, put(b"k", b"x"))
    etcd.record("range_corrupt", RANGE, key(b"m/1"))
    etcd.record("alarm_get_corrupt", ALARM)
    etcd.record("status_corrupt", STATUS)


def downgrade(etcd: Member) -> None:
    """The downgrade (3.5 and later)."""
    version = etcd.ask(STATUS, {})["version"].split(".")
    previous = f"{version[0]}.{int(version[1]) - 1}.0"
    etcd.record("downgrade_bad_version", DOWNGRADE, {"action": "VALIDATE", "version": "bad"})
    etcd.record("downgrade_wrong_target", DOWNGRADE, {"action": "VALIDATE", "version": "1.0.0"})
    etcd.record("downgrade_cancel_none", DOWNGRADE, {"action": "CANCEL"})
    etcd.record("downgrade_validate", DOWNGRADE, {"action": "VALIDATE", "version": previous})
    etcd.record("downgrade_enable", DOWNGRADE, {"action": "ENABLE", "version": previous})
    etcd.record("downgrade_enable_twice", DOWNGRADE, {"action": "ENABLE", "version": previous})
    etcd.record("status_during_downgrade", STATUS)
    etcd.record("downgrade_cancel", DOWNGRADE, {"action": "CANCEL"})
    etcd.record("downgrade_cancel_twice", DOWNGRADE, {"action": "CANCEL"})
    etcd.record("downgrade_unknown_action", DOWNGRADE, {"action": "NOSUCH"})
