"""
The scenarios of the KV service.
"""

from __future__ import annotations

from typing import Any

from ._member import Member, b64

RANGE, PUT, DELETE, TXN = "/v3/kv/range", "/v3/kv/put", "/v3/kv/deleterange", "/v3/kv/txn"
BINARY = bytes([0, 1, 127, 128, 254, 255])


def key(name: bytes, **fields: Any) -> dict[str, Any]:
    """A request about one key."""
    return {"key": b64(name), **fields}


def prefix(name: bytes, **fields: Any) -> dict[str, Any]:
    """A request about all keys that begin so; the last byte must not be 0xff."""
    return key(name, range_end=b64(name[:-1] + bytes([name[-1] + 1])), **fields)


def put(name: bytes, value: bytes = b"", **fields: Any) -> dict[str, Any]:
    """A request to put a key."""
    return key(name, value=b64(value), **fields)


def kv(etcd: Member) -> None:
    """Put, range, delete, compaction: what succeeds."""
    _puts(etcd)
    _ranges(etcd)
    _deletes(etcd)
    _compaction(etcd)


def _puts(etcd: Member) -> None:
    lease = etcd.ask("/v3/lease/grant", {"TTL": "600", "ID": "7587000000000000001"})["ID"]
    etcd.record("put_new", PUT, put(b"a/1", b"one"))
    etcd.record("put_overwrite", PUT, put(b"a/1", b"uno"))
    etcd.record("put_prev_kv", PUT, put(b"a/1", b"eins", prev_kv=True))
    etcd.record("put_prev_kv_new_key", PUT, put(b"a/2", b"two", prev_kv=True))
    etcd.record("put_empty_value", PUT, put(b"a/empty"))
    etcd.record("put_empty_value_prev_kv", PUT, put(b"a/empty", prev_kv=True))
    etcd.record("put_binary", PUT, put(BINARY, BINARY))
    etcd.record("put_lease", PUT, put(b"a/leased", b"x", lease=lease))
    etcd.record("put_ignore_value", PUT, key(b"a/1", ignore_value=True, lease=lease, prev_kv=True))
    etcd.record("put_ignore_lease", PUT, put(b"a/leased", b"y", ignore_lease=True, prev_kv=True))
    etcd.record("put_detaches_lease", PUT, put(b"a/1", b"one", prev_kv=True))


def _ranges(etcd: Member) -> None:
    etcd.record("range_missing_key", RANGE, key(b"missing"))
    etcd.record("range_one_key", RANGE, key(b"a/1"))
    etcd.record("range_empty_value", RANGE, key(b"a/empty"))
    etcd.record("range_leased_key", RANGE, key(b"a/leased"))
    etcd.record("range_binary", RANGE, key(BINARY))
    etcd.record("range_prefix", RANGE, prefix(b"a/"))
    etcd.record("range_all", RANGE, {"key": b64(b"\0"), "range_end": b64(b"\0")})
    etcd.record("range_from_key", RANGE, key(b"a/empty", range_end=b64(b"\0")))
    etcd.record("range_inverted", RANGE, key(b"b", range_end=b64(b"a")))
    etcd.record("range_limit_more", RANGE, prefix(b"a/", limit="2"))
    etcd.record("range_limit_exact", RANGE, prefix(b"a/", limit=4))
    etcd.record("range_count_only", RANGE, prefix(b"a/", count_only=True))
    etcd.record("range_count_only_none", RANGE, key(b"missing", count_only=True))
    etcd.record("range_keys_only", RANGE, prefix(b"a/", keys_only=True))
    etcd.record("range_keys_only_count_only", RANGE, prefix(b"a/", keys_only=True, count_only=True))
    etcd.record("range_sorted", RANGE, prefix(b"a/", sort_order="DESCEND", sort_target="MOD"))
    etcd.record("range_sorted_enum_numbers", RANGE, prefix(b"a/", sort_order=2, sort_target=4))
    etcd.record("range_revision", RANGE, key(b"a/1", revision="2"))
    etcd.record("range_serializable", RANGE, key(b"a/1", serializable=True))
    etcd.record("range_min_max_mod_revision", RANGE, prefix(b"a/", min_mod_revision="4", max_mod_revision="6"))
    etcd.record("range_min_max_create_revision", RANGE, prefix(b"a/", min_create_revision="3", max_create_revision="5"))
    etcd.record("range_alias_v3beta", "/v3beta/kv/range", key(b"a/1"))


def _deletes(etcd: Member) -> None:
    etcd.record("delete_missing_key", DELETE, key(b"missing"))
    etcd.record("delete_one_key", DELETE, key(b"a/2"))
    etcd.record("delete_prev_kv", DELETE, prefix(b"a/", prev_kv=True))
    etcd.record("delete_prev_kv_missing_key", DELETE, key(b"missing", prev_kv=True))
    etcd.record("range_after_delete", RANGE, prefix(b"a/"))


def _compaction(etcd: Member) -> None:
    etcd.record("compaction", "/v3/kv/compaction", {"revision": "5"})
    etcd.record("compaction_physical", "/v3/kv/compaction", {"revision": "6", "physical": True})
    etcd.record("compaction_twice", "/v3/kv/compaction", {"revision": "6"})
    etcd.record("compaction_future", "/v3/kv/compaction", {"revision": "1000000"})
    etcd.record("range_compacted", RANGE, key(b"a/1", revision="3"))
    etcd.record("range_future", RANGE, key(b"a/1", revision="1000000"))


def kv_errors(etcd: Member) -> None:
    """Put, range, delete: what the server refuses."""
    lease = etcd.ask("/v3/lease/grant", {"TTL": "600", "ID": "1"})["ID"]
    etcd.record("range_empty_key", RANGE, {})
    etcd.record("put_empty_key", PUT, {"value": b64(b"x")})
    etcd.record("delete_empty_key", DELETE, {})
    etcd.record("put_ignore_value_missing_key", PUT, key(b"missing", ignore_value=True))
    etcd.record("put_ignore_lease_missing_key", PUT, put(b"missing", b"x", ignore_lease=True))
    etcd.record("put_ignore_value_with_value", PUT, put(b"k", b"x", ignore_value=True))
    etcd.record("put_ignore_lease_with_lease", PUT, put(b"k", b"x", ignore_lease=True, lease=lease))
    etcd.record("put_unknown_lease", PUT, put(b"k", b"x", lease="404"))
    for name, size in [("put_too_large", 1_600_000), ("put_too_large_for_grpc", 3_000_000)]:
        etcd.record(name, PUT, put(b"k", bytes(size)), request_note=f"a put of a value of {size} bytes")


def compare(name: bytes, target: str, result: str = "EQUAL", **operand: Any) -> dict[str, Any]:
    """A comparison."""
    return key(name, target=target, result=result, **operand)


def txn(etcd: Member) -> None:
    """Transactions."""
    lease = etcd.ask("/v3/lease/grant", {"TTL": "600", "ID": "2"})["ID"]
    for name in (b"t/1", b"t/2"):
        etcd.ask(PUT, put(name, b"x", lease=lease))
    _txn_outcomes(etcd, lease)
    _txn_compares(etcd, lease)
    _txn_errors(etcd)


def _txn_outcomes(etcd: Member, lease: str) -> None:
    exists = compare(b"t/1", "VERSION", "GREATER", version="0")
    missing = compare(b"t/1", "VERSION", version="0")
    every = [
        {"request_put": put(b"t/3", b"z")},
        {"request_put": put(b"t/2", b"y", prev_kv=True)},
        {"request_range": key(b"t/1")},
        {"request_range": key(b"missing")},
        {"request_range": prefix(b"t/", limit="1")},
        {"request_delete_range": key(b"missing")},
        {"request_delete_range": key(b"t/1", prev_kv=True)},
        {"request_txn": {"compare": [missing], "success": [{"request_range": key(b"t/3")}]}},
        {"request_txn": {"failure": [{"request_range": key(b"t/3")}]}},
        {"request_txn": {"success": [{"request_txn": {"success": [{"request_put": put(b"t/4", b"deep")}]}}]}},
    ]
    etcd.record("txn_empty", TXN, {})
    etcd.record("txn_failure_empty", TXN, {"compare": [missing]})
    etcd.record("txn_read_only", TXN, {"success": [{"request_range": key(b"t/1")}]})
    failure = [{"request_range": key(b"t/1")}]
    etcd.record("txn_failure", TXN, {"compare": [missing], "success": every, "failure": failure})
    etcd.record("txn_success_every_kind", TXN, {"compare": [exists], "success": every})
    look = {"request_range": key(b"t/5")}
    etcd.record("txn_range_before_put", TXN, {"success": [look, {"request_put": put(b"t/5", b"new")}, look]})


def _txn_compares(etcd: Member, lease: str) -> None:
    compares = {
        "txn_compare_value": compare(b"t/3", "VALUE", value=b64(b"z")),
        "txn_compare_value_missing_key": compare(b"missing", "VALUE", "NOT_EQUAL", value=b64(b"z")),
        "txn_compare_create": compare(b"t/3", "CREATE", "GREATER", create_revision="1"),
        "txn_compare_mod": compare(b"t/3", "MOD", "LESS", mod_revision="1000"),
        "txn_compare_lease": compare(b"t/2", "LEASE", lease="0"),
        "txn_compare_lease_not_equal": compare(b"t/2", "LEASE", "NOT_EQUAL", lease=lease),
        "txn_compare_range": prefix(b"t/", target="VERSION", result="GREATER", version="0"),
        "txn_compare_range_false": prefix(b"t/", target="VALUE", result="EQUAL", value=b64(b"z")),
        "txn_compare_enum_numbers": key(b"t/3", target=0, result=1, version="0"),
    }
    for name, comparison in compares.items():
        etcd.record(name, TXN, {"compare": [comparison]})


def _txn_errors(etcd: Member) -> None:
    put_1, delete_1 = {"request_put": put(b"t/1", b"x")}, {"request_delete_range": key(b"t/1")}
    many = [{"request_range": key(b"t/1")}] * 129
    note = "a transaction of 129 ranges"
    etcd.record("txn_too_many_ops", TXN, {"success": many}, request_note=note)
    etcd.record("txn_duplicate_key", TXN, {"success": [put_1, put_1]})
    etcd.record("txn_put_in_deleted_range", TXN, {"success": [put_1, delete_1]})
    etcd.record("txn_duplicate_key_nested", TXN, {"success": [put_1, {"request_txn": {"failure": [put_1]}}]})
    etcd.record("txn_empty_op", TXN, {"success": [{}]})
    etcd.record("txn_empty_key", TXN, {"success": [{"request_put": {"value": b64(b"x")}}]})
    etcd.record("txn_compare_empty_key", TXN, {"compare": [{"target": "VERSION", "version": "0"}]})
    etcd.record("txn_range_future", TXN, {"success": [{"request_range": key(b"t/1", revision="1000000")}]})
    etcd.record("txn_put_unknown_lease", TXN, {"success": [{"request_put": put(b"t/1", b"x", lease="404")}]})
    etcd.record("txn_ignore_value_missing_key", TXN, {"success": [{"request_put": key(b"missing", ignore_value=True)}]})
