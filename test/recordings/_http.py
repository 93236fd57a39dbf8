"""
The scenarios of the gateway itself: what is wrong with the HTTP request or with its JSON, and the plain pages.
"""

from __future__ import annotations

from ._kv import PUT, RANGE, key, put
from ._member import Member, b64

PAGES = {"version": "/version", "health": "/health", "health_serializable": "/health?serializable=true",
         "livez": "/livez", "readyz": "/readyz", "root": "/"}

BODIES = {
    "bad_json": "{",
    "no_json": "key=a",
    "json_array": "[]",
    "json_null": "null",
    "json_string": '"a"',
    "trailing_garbage": '{"key": "YQ=="} x',
    "two_messages": '{"key": "YQ=="}\n{"key": "Yg=="}',
    "not_utf8_escape": '{"key": "\\ud800"}',
    "bad_base64": '{"key": "?"}',
    "base64_url_safe": '{"key": "_-8="}',
    "base64_unpadded": '{"key": "YQ"}',
    "number_for_bytes": '{"key": 1}',
    "text_for_integer": '{"key": "YQ==", "limit": "many"}',
    "fraction_for_integer": '{"key": "YQ==", "limit": 1.5}',
    "integer_out_of_range": '{"key": "YQ==", "limit": "9223372036854775808"}',
    "text_for_boolean": '{"key": "YQ==", "count_only": "true"}',
    "unknown_enum_name": '{"key": "YQ==", "sort_target": "NOSUCH"}',
    "unknown_field": '{"key": "YQ==", "no_such_field": 1}',
    "camel_case_field": '{"key": "YQ==", "countOnly": true}',
    "duplicate_field": '{"key": "YQ==", "key": "Yg=="}',
    "negative_limit": '{"key": "YQ==", "limit": "-1"}',
    "negative_revision": '{"key": "YQ==", "revision": "-1"}',
}


def gateway(etcd: Member) -> None:
    """The gateway."""
    etcd.ask(PUT, put(b"a", b"x"))
    for name, path in PAGES.items():
        etcd.record(f"page_{name}", path, None, method="GET")
    for name, body in BODIES.items():
        etcd.record(f"range_{name}", RANGE, body)
    etcd.record("range_no_body", RANGE, None)
    etcd.record("range_empty_body", RANGE, "")
    _http(etcd)
    _metadata(etcd)


def _http(etcd: Member) -> None:
    etcd.record("unknown_path", "/v3/no/such", {})
    etcd.record("unknown_path_outside", "/no/such", {})
    etcd.record("path_v3alpha", "/v3alpha/kv/range", key(b"a"))
    etcd.record("path_rangestream", "/v3/kv/rangestream", key(b"a"))
    etcd.record("method_get", RANGE, None, method="GET")
    etcd.record("method_put", RANGE, key(b"a"), method="PUT")
    etcd.record("host_not_whitelisted", RANGE, key(b"a"), headers={"Host": "example.org"})
    etcd.record("content_type_text", RANGE, key(b"a"), headers={"Content-Type": "text/plain"})


def _metadata(etcd: Member) -> None:
    etcd.record("deadline_not_reached", RANGE, key(b"a"), headers={"Grpc-Timeout": "5S"})
    etcd.record("deadline_reached", RANGE, key(b"a"), headers={"Grpc-Timeout": "1n"})
    etcd.record("deadline_malformed", RANGE, key(b"a"), headers={"Grpc-Timeout": "soon"})
    etcd.record("require_leader", RANGE, key(b"a"), headers={"Grpc-Metadata-hasleader": "true"})
    etcd.record("client_api_version_bad", RANGE, key(b"a"), headers={"Grpc-Metadata-client-api-version": "bad"})


def unknown_numbers(etcd: Member) -> None:
    """Unknown numbers of enumerations: only from 3.6 on, because they crash older servers."""
    every = {"key": b64(b"a"), "range_end": b64(b"z")}
    etcd.record("range_unknown_sort_order_number", RANGE, {**every, "sort_order": 17})
    etcd.record("range_unknown_sort_target_number", RANGE, {**every, "sort_order": "ASCEND", "sort_target": 17})
