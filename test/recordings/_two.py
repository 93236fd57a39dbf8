"""
The scenarios that need two members: a learner, a follower, and a cluster that has lost its quorum.
"""

from __future__ import annotations

from ._admin import ADD, GRANT, KEEPALIVE, LIST, PROMOTE, STATUS
from ._concurrency import LOCK
from ._kv import PUT, RANGE, key, put
from ._member import Call, Member, b64, wait_until
from ._watch import WATCH, create

REQUIRE_LEADER = {"Grpc-Metadata-hasleader": "true"}
TRANSFER = "/v3/maintenance/transfer-leadership"


def two_members(one: Member, two: Member) -> None:
    """All of these scenarios."""
    try:
        one.start()
        one.ask(PUT, put(b"k", b"x"))
        learner = one.ask(ADD, {"peerURLs": [two.peer_url], "isLearner": True})["member"]["ID"]
        two.start([one])
        _learner(two)
        wait_until(lambda: "error" not in one.ask(PROMOTE, {"ID": learner}), "the learner to catch up")
        _follower(one, two, learner)
        _no_quorum(one, two)
    finally:
        two.stop()
        one.stop()


def _learner(two: Member) -> None:
    wait_until(lambda: two.ask(RANGE, key(b"k", serializable=True)).get("count"), "the learner to know the key")
    two.record("learner_range", RANGE, key(b"k"))
    two.record("learner_range_serializable", RANGE, key(b"k", serializable=True))
    two.record("learner_put", PUT, put(b"k", b"x"))
    two.record("learner_member_list", LIST)
    two.record("learner_lease_keepalive", KEEPALIVE, {"ID": "404"})
    two.record("learner_status", STATUS)
    with two.stream("learner_watch", WATCH, create(b"k"), headers={"Grpc-Timeout": "300m"}) as stream:
        stream.rest()


def _follower(one: Member, two: Member, follower: str) -> None:
    wait_until(lambda: two.ask(RANGE, key(b"k")).get("count"), "the follower to serve")
    two.record("follower_transfer_leadership", TRANSFER, {"targetID": follower})
    two.record("follower_status", STATUS)
    two.record("follower_member_list", LIST)
    one.record("transfer_leadership", TRANSFER, {"targetID": follower})


def _no_quorum(one: Member, two: Member) -> None:
    note = "the other member was killed after the first line"
    with one.stream("watch_leader_lost", WATCH, create(b"k"), headers=REQUIRE_LEADER, note=note) as stream:
        stream.read(1)
        two.stop()
        stream.rest()
    wait_until(lambda: "leader" not in one.ask(STATUS, {}), "the member to be without a leader")
    deadline, serializable = {"Grpc-Timeout": "300m"}, key(b"k", serializable=True)
    one.record_all([
        Call("no_quorum_put", PUT, put(b"k", b"y")),
        Call("no_quorum_put_require_leader", PUT, put(b"k", b"y"), headers=REQUIRE_LEADER),
        Call("no_quorum_put_deadline", PUT, put(b"k", b"y"), headers=deadline),
        Call("no_quorum_range", RANGE, key(b"k")),
        Call("no_quorum_range_deadline", RANGE, key(b"k"), headers=deadline),
        Call("no_quorum_range_serializable", RANGE, serializable),
        Call("no_quorum_range_serializable_require_leader", RANGE, serializable, headers=REQUIRE_LEADER),
        Call("no_quorum_txn", "/v3/kv/txn", {"success": [{"request_put": put(b"k", b"y")}]}),
        Call("no_quorum_lease_grant", GRANT, {"TTL": "60"}),
        Call("no_quorum_lease_keepalive", KEEPALIVE, {"ID": "404"}),
        Call("no_quorum_lease_keepalive_require_leader", KEEPALIVE, {"ID": "404"}, headers=REQUIRE_LEADER),
        Call("no_quorum_watch_require_leader", WATCH, create(b"k"), headers=REQUIRE_LEADER),
        Call("no_quorum_lock", LOCK, {"name": b64(b"mutex"), "lease": "404"}),
        Call("no_quorum_member_add", ADD, {"peerURLs": ["http://127.0.0.1:1"]}),
        Call("no_quorum_member_list", LIST),
        Call("no_quorum_member_list_linearizable", LIST, {"linearizable": True}),
        Call("no_quorum_transfer_leadership", TRANSFER, {"targetID": "404"}),
        Call("no_quorum_authenticate", "/v3/auth/authenticate", {"name": "root", "password": "x"}),
        Call("no_quorum_status", STATUS),
        Call("no_quorum_health", "/health", None, "GET"),
    ])
