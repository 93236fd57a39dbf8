"""
What an answer must be to count as one.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.trial.unittest import SynchronousTestCase

from txetcd import _messages as m
from txetcd import _schema as schema
from txetcd._answers import flaw_of
from txetcd.keyset import KeySet
from txetcd.ops import OpDel, OpGet, OpSet, OpTxn, Transaction
from txetcd.values import Deleted, Event, Header, KeyValue, Member, Outcome, Range, Revision, Status

HEADER = Header(1, 7, 3, 4)
KV = KeyValue(b"k", b"v", 1, 7, 7)
GET, SET, DELETE = OpGet(b"k"), OpSet(b"k", b"v"), OpDel(b"k")
INNER = Transaction([], [SET], [GET])
TXN = Transaction([], [GET, SET, DELETE, OpTxn(INNER)], [GET])
ANSWERS = [Range([]), Revision(), Deleted(), Outcome(True, responses=[Revision()])]
MISFIT = "does not fit the 4 operations of the transaction"
INNER_MISFIT = "does not fit the 1 operations of the transaction"
PEERS = ("http://10.0.0.1:2380",)
WATCH = m.WatchCreateRequest(KeySet(b"k"))
NO_HEADER = "has no header"
NO_LEASE = "grants no lease"
NO_MEMBER = "adds no member"
MORE = "has no keys, but says there are more"

TABLE: list[tuple[schema.Rpc, Any, Any, Optional[str]]] = [
    # every answer has a header
    (schema.PUT, SET, Revision(HEADER), None),
    (schema.PUT, SET, Revision(), NO_HEADER),
    (schema.PUT, SET, Revision(Header(), KV), NO_HEADER),
    (schema.RANGE, GET, Range([]), NO_HEADER),
    (schema.RANGE, GET, Range([KV], Header(), 1), NO_HEADER),
    (schema.DELETE_RANGE, DELETE, Deleted(1), NO_HEADER),
    (schema.COMPACT, m.CompactionRequest(5), m.Acknowledgement(), NO_HEADER),
    (schema.STATUS, m.Empty(), Status("3.5.0", 1, 1, Header(), 1, 1), NO_HEADER),
    (schema.LEASE_LEASES, m.Empty(), m.LeaseLeasesResponse(), NO_HEADER),
    (schema.LEASE_REVOKE, m.LeaseRevokeRequest(5), m.Acknowledgement(), NO_HEADER),
    (schema.AUTH_ENABLE, m.Empty(), m.Acknowledgement(), NO_HEADER),
    (schema.LOCK, m.LockRequest(b"k", 5), m.LockResponse(key=b"k/5"), NO_HEADER),
    # even one that says little
    (schema.PUT, SET, Revision(Header(revision=1)), None),
    # but for these
    (schema.ALARM, m.AlarmRequest(), m.AlarmResponse(), None),
    (schema.DEFRAGMENT, m.Empty(), m.Acknowledgement(), None),
    (schema.MOVE_LEADER, m.MoveLeaderRequest(5), m.Acknowledgement(), None),
    (schema.SNAPSHOT, m.Empty(), m.SnapshotResponse(Header(), 0, b"x"), None),
    (schema.RANGE_STREAM, GET, m.RangeStreamResponse(), None),
    # a range
    (schema.RANGE, GET, Range([], HEADER), None),
    (schema.RANGE, GET, Range([KV], HEADER, 2, True), None),
    (schema.RANGE, GET, Range([], HEADER, 2, True), MORE),
    # a transaction has an answer to each operation that was carried out, of its kind and in its place
    (schema.TXN, TXN, Outcome(True, HEADER, ANSWERS), None),
    (schema.TXN, TXN, Outcome(False, HEADER, [Range([])]), None),
    (schema.TXN, Transaction(), Outcome(True, HEADER), None),
    (schema.TXN, TXN, Outcome(True, Header(), ANSWERS), NO_HEADER),
    (schema.TXN, Transaction(), Outcome(), NO_HEADER),
    (schema.TXN, TXN, Outcome(True, HEADER), MISFIT),
    (schema.TXN, TXN, Outcome(True, HEADER, ANSWERS[:-1]), MISFIT),
    (schema.TXN, TXN, Outcome(True, HEADER, [*ANSWERS, Revision()]), MISFIT),
    (schema.TXN, TXN, Outcome(True, HEADER, ANSWERS[::-1]), MISFIT),
    (schema.TXN, TXN, Outcome(False, HEADER), INNER_MISFIT),
    (schema.TXN, TXN, Outcome(False, HEADER, [Revision()]), INNER_MISFIT),
    (schema.TXN, TXN, Outcome(False, HEADER, [Range([], more=True)]), MORE),
    (schema.TXN, TXN, Outcome(True, HEADER, [*ANSWERS[:-1], Outcome(True)]), INNER_MISFIT),
    (schema.TXN, TXN, Outcome(True, HEADER, [*ANSWERS[:-1], Outcome(False, responses=[Revision()])]), INNER_MISFIT),
    # a lease
    (schema.LEASE_GRANT, m.LeaseGrantRequest(9), m.LeaseGrantResponse(HEADER, 5, 9), None),
    (schema.LEASE_GRANT, m.LeaseGrantRequest(9), m.LeaseGrantResponse(HEADER, -5, 9), None),
    (schema.LEASE_GRANT, m.LeaseGrantRequest(9, 5), m.LeaseGrantResponse(HEADER, 5, 20), None),
    (schema.LEASE_GRANT, m.LeaseGrantRequest(9, 5), m.LeaseGrantResponse(HEADER, error="no"), None),
    (schema.LEASE_GRANT, m.LeaseGrantRequest(9), m.LeaseGrantResponse(Header(), 5, 9), NO_HEADER),
    (schema.LEASE_GRANT, m.LeaseGrantRequest(9), m.LeaseGrantResponse(HEADER), NO_LEASE),
    (schema.LEASE_GRANT, m.LeaseGrantRequest(9), m.LeaseGrantResponse(HEADER, 5, 0), NO_LEASE),
    (schema.LEASE_GRANT, m.LeaseGrantRequest(9), m.LeaseGrantResponse(HEADER, 5, -1), NO_LEASE),
    (schema.LEASE_GRANT, m.LeaseGrantRequest(9, 5), m.LeaseGrantResponse(HEADER, 0xA, 9), "is about lease a"),
    (schema.LEASE_KEEP_ALIVE, m.LeaseKeepAliveRequest(5), m.LeaseKeepAliveResponse(HEADER, 5, 9), None),
    (schema.LEASE_KEEP_ALIVE, m.LeaseKeepAliveRequest(5), m.LeaseKeepAliveResponse(HEADER, 5), None),
    (schema.LEASE_KEEP_ALIVE, m.LeaseKeepAliveRequest(5), m.LeaseKeepAliveResponse(HEADER, 6, 9), "is about lease 6"),
    (schema.LEASE_KEEP_ALIVE, m.LeaseKeepAliveRequest(5), m.LeaseKeepAliveResponse(Header(), 5, 9), NO_HEADER),
    (schema.LEASE_TIME_TO_LIVE, m.LeaseTimeToLiveRequest(5), m.LeaseTimeToLiveResponse(HEADER, 5, -1), None),
    (schema.LEASE_TIME_TO_LIVE, m.LeaseTimeToLiveRequest(5), m.LeaseTimeToLiveResponse(HEADER), "is about lease 0"),
    # a new member has an id
    (schema.MEMBER_ADD, m.MemberAddRequest(PEERS), m.MemberAddResponse(HEADER, Member(5)), None),
    (schema.MEMBER_ADD, m.MemberAddRequest(PEERS), m.MemberAddResponse(HEADER), NO_MEMBER),
    (schema.MEMBER_ADD, m.MemberAddRequest(PEERS), m.MemberAddResponse(HEADER, Member()), NO_MEMBER),
    # a watch may end without a header, as behind etcd's own proxy, but says nothing else without
    (schema.WATCH, WATCH, m.WatchResponse(HEADER, created=True), None),
    (schema.WATCH, WATCH, m.WatchResponse(Header(), created=True, canceled=True), None),
    (schema.WATCH, WATCH, m.WatchResponse(Header(), canceled=True, compact_revision=5), None),
    (schema.WATCH, WATCH, m.WatchResponse(Header(), created=True), NO_HEADER),
    (schema.WATCH, WATCH, m.WatchResponse(), NO_HEADER),
    (schema.WATCH, WATCH, m.WatchResponse(Header(), events=[Event("PUT", KV)]), NO_HEADER),
]


class AnswerTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Each answer is what it is."""
        for rpc, request, answer, flaw in TABLE:
            self.assertEqual(flaw, flaw_of(rpc, request, answer), (rpc.name, request, answer))
