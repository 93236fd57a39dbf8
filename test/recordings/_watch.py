"""
The scenarios of the Watch service.
"""

from __future__ import annotations

from typing import Any

from ._kv import DELETE, PUT, TXN, key, prefix, put
from ._member import Member, b64

WATCH = "/v3/watch"


def create(name: bytes, **fields: Any) -> dict[str, Any]:
    """A message that creates a watch of all keys that begin so."""
    return {"create_request": prefix(name, **fields)}


def watch(etcd: Member) -> None:
    """Watches; the server is stopped in the end."""
    _live(etcd)
    _past(etcd)
    _messages(etcd)
    _refused(etcd)
    _ends(etcd)


def _live(etcd: Member) -> None:
    with etcd.stream("watch_created", WATCH, create(b"w/")) as stream:
        stream.read(1)
    with etcd.stream("watch_put", WATCH, create(b"w/")) as stream:
        stream.read(1)
        etcd.ask(PUT, put(b"w/1", b"one"))
        stream.read(1)
        etcd.ask(PUT, put(b"w/1", b"uno"))
        stream.read(1)
    with etcd.stream("watch_put_empty_value", WATCH, create(b"w/")) as stream:
        stream.read(1)
        etcd.ask(PUT, put(b"w/empty"))
        stream.read(1)
    with etcd.stream("watch_prev_kv", WATCH, create(b"w/", prev_kv=True)) as stream:
        stream.read(1)
        etcd.ask(PUT, put(b"w/1", b"eins"))
        stream.read(1)
        etcd.ask(PUT, put(b"w/2", b"two"))
        stream.read(1)
        etcd.ask(DELETE, key(b"w/1"))
        stream.read(1)
    with etcd.stream("watch_delete", WATCH, create(b"w/")) as stream:
        stream.read(1)
        etcd.ask(DELETE, key(b"w/2"))
        stream.read(1)
    with etcd.stream("watch_txn_events", WATCH, create(b"w/", prev_kv=True)) as stream:
        stream.read(1)
        operations = [{"request_put": put(b"w/3", b"3")}, {"request_put": put(b"w/4")},
                      {"request_delete_range": key(b"w/empty")}]
        etcd.ask(TXN, {"success": operations})
        stream.read(1)
    with etcd.stream("watch_filter_noput", WATCH, create(b"w/", filters=["NOPUT"])) as stream:
        stream.read(1)
        etcd.ask(PUT, put(b"w/5", b"5"))
        etcd.ask(DELETE, key(b"w/5"))
        stream.read(1)
    with etcd.stream("watch_one_key", WATCH, {"create_request": key(b"w/6")}) as stream:
        stream.read(1)
        etcd.ask(PUT, put(b"w/6", bytes([0, 255, 254])))
        stream.read(1)


def _past(etcd: Member) -> None:
    with etcd.stream("watch_past", WATCH, create(b"w/", start_revision="2")) as stream:
        stream.read(2)
    with etcd.stream("watch_past_prev_kv_fragment", WATCH,
                     create(b"w/", start_revision="2", prev_kv=True, fragment=True)) as stream:
        stream.read(2)
    with etcd.stream("watch_future", WATCH, create(b"w/", start_revision="1000000")) as stream:
        stream.read(1)


def _messages(etcd: Member) -> None:
    """Several messages in one body: only what the server reads before it begins to answer is certain to be read."""
    chosen = create(b"w/", watch_id="7")
    with etcd.stream("watch_id_chosen", WATCH, chosen) as stream:
        stream.read(1)
        etcd.ask(PUT, put(b"w/7"))
        stream.read(1)
    with etcd.stream("watch_id_duplicate", WATCH, [chosen, chosen]) as stream:
        stream.read(2)
    with etcd.stream("watch_progress_request", WATCH, [create(b"w/"), {"progress_request": {}}],
                     note="the two answers come in any order") as stream:
        stream.read(2)
    with etcd.stream("watch_cancel_request", WATCH, [chosen, {"cancel_request": {"watch_id": "7"}}]) as stream:
        stream.read(2)
    with etcd.stream("watch_two_watches", WATCH, [create(b"w/"), create(b"w/")]) as stream:
        stream.read(2)
        etcd.ask(PUT, put(b"w/8"))
        stream.read(2)


def _refused(etcd: Member) -> None:
    etcd.ask("/v3/kv/compaction", {"revision": "10"})
    with etcd.stream("watch_compacted", WATCH, create(b"w/", start_revision="3")) as stream:
        stream.read(2)
    with etcd.stream("watch_negative_revision", WATCH, create(b"w/", start_revision="-1")) as stream:
        [first] = stream.read(1)
        if b"canceled" not in first:  # 3.4.23 and 3.5.1 create it first, then cancel it as compacted
            stream.read(1)
    inverted = {"create_request": key(b"b", range_end=b64(b"a"))}
    with etcd.stream("watch_inverted_range", WATCH, inverted) as stream:
        stream.read(1)
    with etcd.stream("watch_inverted_range_after_another", WATCH, [create(b"w/"), inverted]) as stream:
        stream.read(2)
    with etcd.stream("watch_empty_key", WATCH, {"create_request": {}}) as stream:
        stream.read(1)
    leader = {"Grpc-Metadata-hasleader": "true"}
    with etcd.stream("watch_require_leader", WATCH, create(b"w/"), headers=leader) as stream:
        stream.read(1)


def _ends(etcd: Member) -> None:
    deadline = {"Grpc-Timeout": "300m"}
    with etcd.stream("watch_deadline", WATCH, create(b"w/"), headers=deadline) as stream:
        stream.rest()
    with etcd.stream("watch_deadline_before_create", WATCH, {}, headers=deadline) as stream:
        stream.rest()
    etcd.record("watch_bad_base64", WATCH, {"create_request": {"key": "?"}}, headers=deadline)
    etcd.record("watch_bad_json", WATCH, "{", headers=deadline)
    etcd.record("watch_unknown_filter", WATCH, create(b"w/", filters=["NOSUCH"]), headers=deadline)
    with etcd.stream("watch_server_stops", WATCH, create(b"w/"), note="the server was sent SIGTERM") as stream:
        stream.read(1)
        etcd.terminate()
        stream.rest()
