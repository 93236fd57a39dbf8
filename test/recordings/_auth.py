"""
The scenarios of the Auth service, and what the others answer while authentication is on.
"""

from __future__ import annotations

from ._kv import DELETE, PUT, RANGE, TXN, key, prefix, put
from ._member import Member
from ._watch import WATCH, create

AUTH, USER, ROLE = "/v3/auth", "/v3/auth/user", "/v3/auth/role"
ALICE = {"name": "alice", "password": "wonder"}


def auth(etcd: Member) -> None:
    """Authentication, from switching on to switching off."""
    etcd.record("auth_status_off", f"{AUTH}/status")
    etcd.record("authenticate_off", f"{AUTH}/authenticate", ALICE)
    etcd.record("auth_disable_off", f"{AUTH}/disable")
    etcd.record("range_token_while_off", RANGE, key(b"k"), headers={"Authorization": "bad.1"})
    etcd.record("lease_grant_token_while_off", "/v3/lease/grant", {"TTL": "60"}, headers={"Authorization": "bad.1"})
    etcd.record("auth_enable_no_root_user", f"{AUTH}/enable")
    etcd.ask("/v3/lease/grant", {"TTL": "600", "ID": "7"})
    _users(etcd)
    _roles(etcd)
    etcd.record("auth_enable", f"{AUTH}/enable")
    etcd.record("auth_enable_twice", f"{AUTH}/enable")
    _without_token(etcd)
    _authenticate(etcd)
    _as_alice(etcd)
    _as_root(etcd)


def no_permission(etcd: Member) -> None:
    """A grant of nothing: only from 3.5 on, because it crashes 3.4.23, which then does not start again."""
    etcd.ask(f"{ROLE}/add", {"name": "reader"})
    etcd.record("role_grant_no_permission", f"{ROLE}/grant", {"name": "reader"})


def _users(etcd: Member) -> None:
    etcd.record("user_list_none", f"{USER}/list")
    etcd.record("user_add", f"{USER}/add", {"name": "root", "password": "secret"})
    etcd.record("auth_enable_no_root_role", f"{AUTH}/enable")
    etcd.record("user_add_exists", f"{USER}/add", {"name": "root", "password": "secret"})
    etcd.record("user_add_no_name", f"{USER}/add", {"password": "secret"})
    etcd.record("user_add_no_password", f"{USER}/add", {"name": "bob", "options": {"no_password": True}})
    etcd.ask(f"{USER}/add", ALICE)
    etcd.record("user_changepw", f"{USER}/changepw", ALICE)
    etcd.record("user_changepw_unknown", f"{USER}/changepw", {"name": "nobody", "password": "x"})
    etcd.record("user_get_no_roles", f"{USER}/get", {"name": "alice"})
    etcd.record("user_get_unknown", f"{USER}/get", {"name": "nobody"})
    etcd.record("user_delete_unknown", f"{USER}/delete", {"name": "nobody"})
    etcd.record("user_list", f"{USER}/list")


def _roles(etcd: Member) -> None:
    read_write = prefix(b"alice/", permType="READWRITE")
    etcd.record("role_list_none", f"{ROLE}/list")
    etcd.record("role_add", f"{ROLE}/add", {"name": "reader"})
    etcd.record("role_add_exists", f"{ROLE}/add", {"name": "reader"})
    etcd.record("role_add_no_name", f"{ROLE}/add")
    etcd.record("role_get_no_permissions", f"{ROLE}/get", {"role": "reader"})
    etcd.record("role_grant", f"{ROLE}/grant", {"name": "reader", "perm": read_write})
    etcd.record("role_grant_read", f"{ROLE}/grant", {"name": "reader", "perm": key(b"shared", permType="READ")})
    etcd.record("role_grant_unknown", f"{ROLE}/grant", {"name": "nobody", "perm": read_write})
    etcd.record("role_get", f"{ROLE}/get", {"role": "reader"})
    etcd.record("role_get_unknown", f"{ROLE}/get", {"role": "nobody"})
    etcd.record("role_revoke_not_granted", f"{ROLE}/revoke", {"role": "reader", **key(b"other")})
    etcd.record("role_revoke_unknown", f"{ROLE}/revoke", {"role": "nobody", **key(b"other")})
    etcd.record("role_delete_unknown", f"{ROLE}/delete", {"role": "nobody"})
    etcd.record("role_list", f"{ROLE}/list")
    etcd.record("user_grant", f"{USER}/grant", {"user": "alice", "role": "reader"})
    etcd.record("user_grant_root", f"{USER}/grant", {"user": "root", "role": "root"})
    etcd.record("user_grant_unknown_user", f"{USER}/grant", {"user": "nobody", "role": "reader"})
    etcd.record("user_grant_unknown_role", f"{USER}/grant", {"user": "alice", "role": "nobody"})
    etcd.record("user_revoke_not_granted", f"{USER}/revoke", {"name": "bob", "role": "reader"})
    etcd.record("user_get", f"{USER}/get", {"name": "alice"})


def _without_token(etcd: Member) -> None:
    etcd.record("range_no_token", RANGE, key(b"alice/1"))
    etcd.record("put_no_token", PUT, put(b"alice/1", b"x"))
    etcd.record("txn_no_token", TXN, {"success": [{"request_range": key(b"alice/1")}]})
    etcd.record("lease_grant_no_token", "/v3/lease/grant", {"TTL": "600", "ID": "8"})
    etcd.record("lease_keepalive_no_token", "/v3/lease/keepalive", {"ID": "7"})
    etcd.record("leases_no_token", "/v3/lease/leases")
    etcd.record("member_list_no_token", "/v3/cluster/member/list")
    etcd.record("status_no_token", "/v3/maintenance/status")
    etcd.record("auth_status_no_token", f"{AUTH}/status")
    etcd.record("user_list_no_token", f"{USER}/list")
    bad = {"Authorization": "bad.1"}
    etcd.record("range_bad_token", RANGE, key(b"alice/1"), headers=bad)
    etcd.record("put_bad_token", PUT, put(b"alice/1", b"x"), headers=bad)
    etcd.record("range_malformed_token", RANGE, key(b"alice/1"), headers={"Authorization": "bad"})
    etcd.record("lock_bad_token", "/v3/lock/lock", {"name": "YQ=="}, headers=bad)
    with etcd.stream("watch_no_token", WATCH, create(b"alice/")) as stream:
        stream.read(1)
    with etcd.stream("watch_bad_token", WATCH, create(b"alice/"), headers=bad) as stream:
        stream.read(1)


def _authenticate(etcd: Member) -> None:
    etcd.record("authenticate", f"{AUTH}/authenticate", ALICE)
    etcd.record("authenticate_wrong_password", f"{AUTH}/authenticate", {**ALICE, "password": "wrong"})
    etcd.record("authenticate_unknown_user", f"{AUTH}/authenticate", {"name": "nobody", "password": "x"})
    etcd.record("authenticate_no_name", f"{AUTH}/authenticate")
    etcd.record("authenticate_no_password_user", f"{AUTH}/authenticate", {"name": "bob", "password": "x"})


def _as_alice(etcd: Member) -> None:
    token = etcd.ask(f"{AUTH}/authenticate", ALICE)["token"]
    headers = {"Authorization": token}
    etcd.record("put_allowed", PUT, put(b"alice/1", b"x"), headers=headers)
    etcd.record("range_allowed_metadata", RANGE, key(b"alice/1"), headers={"Grpc-Metadata-Token": token})
    etcd.record("range_allowed_bearer", RANGE, key(b"alice/1"), headers={"Authorization": f"Bearer {token}"})
    etcd.record("put_denied", PUT, put(b"shared", b"x"), headers=headers)
    etcd.record("range_denied", RANGE, key(b"other"), headers=headers)
    etcd.record("delete_denied", DELETE, key(b"shared"), headers=headers)
    etcd.record("txn_denied", TXN, {"success": [{"request_put": put(b"shared", b"x")}]}, headers=headers)
    etcd.record("compaction_as_user", "/v3/kv/compaction", {"revision": "2"}, headers=headers)
    etcd.record("user_list_denied", f"{USER}/list", headers=headers)
    etcd.record("role_get_own", f"{ROLE}/get", {"role": "reader"}, headers=headers)
    etcd.record("auth_disable_denied", f"{AUTH}/disable", headers=headers)
    etcd.record("defragment_denied", "/v3/maintenance/defragment", headers=headers)
    etcd.record("lock_denied", "/v3/lock/lock", {"name": "YQ=="}, headers=headers)
    with etcd.stream("watch_allowed", WATCH, create(b"alice/"), headers=headers) as stream:
        stream.read(1)
    with etcd.stream("watch_denied", WATCH, create(b"other/"), headers=headers) as stream:
        stream.read(1)
    with etcd.stream("watch_denied_after_another", WATCH, [create(b"alice/"), create(b"other/")],
                     headers=headers) as stream:
        stream.read(2)


def _as_root(etcd: Member) -> None:
    token = etcd.ask(f"{AUTH}/authenticate", {"name": "root", "password": "secret"})["token"]
    headers = {"Authorization": token}
    etcd.record("put_root", PUT, put(b"other", b"x", lease="7"), headers=headers)
    etcd.record("auth_status_on", f"{AUTH}/status", headers=headers)
    etcd.record("user_delete_root", f"{USER}/delete", {"name": "root"}, headers=headers)
    etcd.record("user_revoke_root", f"{USER}/revoke", {"name": "root", "role": "root"}, headers=headers)
    alice = {"Authorization": etcd.ask(f"{AUTH}/authenticate", ALICE)["token"]}
    etcd.record("lease_timetolive_keys_denied", "/v3/lease/timetolive", {"ID": "7", "keys": True}, headers=alice)
    etcd.record("lease_revoke_denied", "/v3/lease/revoke", {"ID": "7"}, headers=alice)
    etcd.record("role_revoke", f"{ROLE}/revoke", {"role": "reader", **key(b"shared")}, headers=headers)
    etcd.record("user_revoke", f"{USER}/revoke", {"name": "alice", "role": "reader"}, headers=headers)
    etcd.record("user_delete", f"{USER}/delete", {"name": "bob"}, headers=headers)
    etcd.record("role_delete", f"{ROLE}/delete", {"role": "reader"}, headers=headers)
    etcd.record("auth_disable", f"{AUTH}/disable", headers=headers)
    etcd.record("range_token_after_disable", RANGE, key(b"other"), headers=headers)
