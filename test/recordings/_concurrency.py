"""
The scenarios of etcd's own Lock and Election services.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from ._admin import GRANT, REVOKE
from ._kv import RANGE, prefix
from ._member import Member, b64

LOCK, UNLOCK = "/v3/lock/lock", "/v3/lock/unlock"
CAMPAIGN, PROCLAIM, LEADER, OBSERVE, RESIGN = (
    f"/v3/election/{name}" for name in ("campaign", "proclaim", "leader", "observe", "resign")
)
DEADLINE = {"Grpc-Timeout": "300m"}


def lock(etcd: Member) -> None:
    """Locks."""
    leases = [etcd.ask(GRANT, {"TTL": "600", "ID": str(number)})["ID"] for number in (11, 12)]
    first, second = ({"name": b64(b"mutex"), "lease": lease} for lease in leases)
    held = {"key": etcd.record("lock", LOCK, first)["key"]}
    etcd.record("lock_again", LOCK, first)
    etcd.record("lock_deadline", LOCK, second, headers=DEADLINE)
    etcd.record("lock_unknown_lease", LOCK, {"name": b64(b"other"), "lease": "404"})
    etcd.record("lock_no_lease", LOCK, {"name": b64(b"no lease")})
    with ThreadPoolExecutor(1) as executor:
        waiter = executor.submit(etcd.record, "lock_waiter_lease_revoked", LOCK, second)
        while not etcd.ask(RANGE, prefix(b"mutex/", count_only=True)).get("count") == "2":
            time.sleep(0.01)
        etcd.ask(REVOKE, {"ID": leases[1]})
        etcd.ask(UNLOCK, held)
        waiter.result()
    etcd.record("unlock", UNLOCK, {"key": etcd.ask(LOCK, first)["key"]})
    etcd.record("unlock_twice", UNLOCK, held)
    etcd.record("unlock_empty_key", UNLOCK)


def election(etcd: Member) -> None:
    """Elections."""
    lease = etcd.ask(GRANT, {"TTL": "600", "ID": "21"})["ID"]
    other = etcd.ask(GRANT, {"TTL": "600", "ID": "22"})["ID"]
    name = {"name": b64(b"election")}
    etcd.record("election_leader_none", LEADER, name)
    etcd.record("election_observe_deadline", OBSERVE, name, headers=DEADLINE)
    leader = etcd.record("election_campaign", CAMPAIGN, {**name, "lease": lease, "value": b64(b"me")})["leader"]
    etcd.record("election_campaign_deadline", CAMPAIGN, {**name, "lease": other}, headers=DEADLINE)
    etcd.record("election_campaign_unknown_lease", CAMPAIGN, {**name, "lease": "404"})
    etcd.record("election_proclaim", PROCLAIM, {"leader": leader, "value": b64(b"still me")})
    etcd.record("election_leader", LEADER, name)
    with etcd.stream("election_observe", OBSERVE, name) as stream:
        stream.read(1)
        etcd.ask(PROCLAIM, {"leader": leader, "value": b64(b"me again")})
        stream.read(1)
    etcd.record("election_proclaim_not_leader", PROCLAIM, {"leader": {**leader, "rev": "1"}, "value": b64(b"x")})
    etcd.record("election_resign", RESIGN, {"leader": leader})
    etcd.record("election_resign_twice", RESIGN, {"leader": leader})
    etcd.record("election_proclaim_resigned", PROCLAIM, {"leader": leader, "value": b64(b"x")})
    etcd.record("election_proclaim_no_leader_field", PROCLAIM)
    etcd.record("election_resign_no_leader_field", RESIGN)
