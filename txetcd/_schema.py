"""
One table of every message and every RPC of etcd, from which the codecs are made.

A message is written as in etcd's ``rpc.proto``: ``[repeated] type name = number``, where the name is also the JSON
name. Behind an arrow stands the attribute of our class, where it is spelled differently; ``oneof`` marks a field whose
presence says something even if it is zero. The messages are in the order of ``rpc.proto``; nothing here is particular
to a codec.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

import attrs

from . import _messages as m
from . import ops, values

SCALARS = frozenset(("bytes", "string", "int32", "uint32", "int64", "uint64", "bool"))

ENUMS: dict[str, tuple[str, ...]] = {
    "SortOrder": ("NONE", "ASCEND", "DESCEND"),
    "SortTarget": ("KEY", "VERSION", "CREATE", "MOD", "VALUE"),
    "CompareResult": ("EQUAL", "GREATER", "LESS", "NOT_EQUAL"),
    "CompareTarget": ("VERSION", "CREATE", "MOD", "VALUE", "LEASE"),
    "FilterType": ("NOPUT", "NODELETE"),
    "EventType": ("PUT", "DELETE"),
    "AlarmAction": ("GET", "ACTIVATE", "DEACTIVATE"),
    "AlarmType": ("NONE", "NOSPACE", "CORRUPT"),
    "DowngradeAction": ("VALIDATE", "ENABLE", "CANCEL"),
    "PermissionType": ("READ", "WRITE", "READWRITE"),
}
"""The names of each enum, in the order of their numbers, which begin at 0."""


@attrs.frozen
class Field:
    """
    A field of a message.

    :ivar name: its name in ``rpc.proto`` and in JSON.
    :ivar number: its number.
    :ivar type: a name in :data:`SCALARS`, in :data:`ENUMS`, or of a message.
    :ivar attribute: where the value is found in our class; may have dots.
    :ivar repeated: whether there are any number of them.
    :ivar oneof: whether it is sent even if it is zero.
    """

    name: str
    number: int
    type: str
    attribute: str
    repeated: bool
    oneof: bool


@attrs.frozen
class Message:
    """
    A message: its name, the class of ours that stands for it, and its fields.
    """

    name: str
    cls: type[Any]
    fields: tuple[Field, ...]


@attrs.frozen
class Choice:
    """
    A message that holds exactly one of several messages, and that does not exist on our side: there is only the chosen.

    :ivar name: its name.
    :ivar choices: for each class of ours the field that carries it.
    """

    name: str
    choices: tuple[tuple[type[Any], Field], ...]


@attrs.frozen
class Rpc:
    """
    An RPC.

    :ivar name: ``service.method``.
    :ivar path: where the gateway serves it; ``None`` where it does not.
    :ivar method: the path of the gRPC method.
    :ivar request: the name of the message that is sent.
    :ivar response: the name of the message that comes back.
    :ivar is_read: whether it changes nothing at the server.
    :ivar is_repeatable: whether it may be sent again if its answer is lost (``retry.go`` of etcd's Go client).
    :ivar is_stream: whether answers come one after another, for as long as they like.
    :ivar is_duplex: whether requests may, too; what is between us and etcd may take their end for the end of all.
    """

    name: str
    path: Optional[str]
    method: str
    request: str
    response: str
    is_read: bool
    is_repeatable: bool
    is_stream: bool
    is_duplex: bool


def _field(line: str) -> Field:
    declaration, _, attribute = (part.strip() for part in line.partition("->"))
    words = declaration.split()
    repeated, oneof = words[0] == "repeated", words[0] == "oneof"
    type_, name, _, number = words[1:] if repeated or oneof else words
    return Field(name, int(number), type_, attribute or name, repeated, oneof)


def _fields(text: str) -> tuple[Field, ...]:
    return tuple(_field(line) for line in text.strip().splitlines() if line.strip())


MESSAGES: list[Message] = []
"""Every message, one entry for each class of ours that stands for it."""

CHOICES: list[Choice] = []


def _message(name: str, cls: type[Any], text: str = "") -> None:
    MESSAGES.append(Message(name, cls, _fields(text)))


def _choice(name: str, *classes: type[Any], fields: str) -> None:
    CHOICES.append(Choice(name, tuple(zip(classes, _fields(fields)))))


_HEADER = "ResponseHeader header = 1\n"

_message("ResponseHeader", values.Header, """
    uint64 cluster_id = 1
    uint64 member_id = 2
    int64 revision = 3
    uint64 raft_term = 4
""")
_message("KeyValue", values.KeyValue, """
    bytes key = 1
    int64 create_revision = 2
    int64 mod_revision = 3
    int64 version = 4
    bytes value = 5
    int64 lease = 6
""")
_message("Event", values.Event, """
    EventType type = 1
    KeyValue kv = 2
    KeyValue prev_kv = 3                    -> previous
""")

# --- KV

_message("RangeRequest", ops.OpGet, """
    bytes key = 1                           -> key.start
    bytes range_end = 2                     -> key.end
    int64 limit = 3
    int64 revision = 4
    SortOrder sort_order = 5                -> sent_sort_order
    SortTarget sort_target = 6
    bool serializable = 7
    bool keys_only = 8
    bool count_only = 9
    int64 min_mod_revision = 10
    int64 max_mod_revision = 11
    int64 min_create_revision = 12
    int64 max_create_revision = 13
""")
_message("RangeResponse", values.Range, _HEADER + """
    repeated KeyValue kvs = 2
    bool more = 3
    int64 count = 4
""")
_message("PutRequest", ops.OpSet, """
    bytes key = 1
    bytes value = 2
    int64 lease = 3
    bool prev_kv = 4                        -> return_previous
    bool ignore_value = 5
    bool ignore_lease = 6
""")
_message("PutResponse", values.Revision, _HEADER + """
    KeyValue prev_kv = 2                    -> previous
""")
_message("DeleteRangeRequest", ops.OpDel, """
    bytes key = 1                           -> key.start
    bytes range_end = 2                     -> key.end
    bool prev_kv = 3                        -> return_previous
""")
_message("DeleteRangeResponse", values.Deleted, _HEADER + """
    int64 deleted = 2
    repeated KeyValue prev_kvs = 3          -> previous
""")
_choice("RequestOp", ops.OpGet, ops.OpSet, ops.OpDel, ops.OpTxn, fields="""
    RangeRequest request_range = 1
    PutRequest request_put = 2
    DeleteRangeRequest request_delete_range = 3
    TxnRequest request_txn = 4
""")
_choice("ResponseOp", values.Range, values.Revision, values.Deleted, values.Outcome, fields="""
    RangeResponse response_range = 1
    PutResponse response_put = 2
    DeleteRangeResponse response_delete_range = 3
    TxnResponse response_txn = 4
""")
_COMPARE = """
    CompareResult result = 1
    CompareTarget target = 2
    bytes key = 3                           -> key.start
    bytes range_end = 64                    -> key.end
"""
_message("Compare", ops.CompVersion, _COMPARE + "oneof int64 version = 4")
_message("Compare", ops.CompCreated, _COMPARE + "oneof int64 create_revision = 5")
_message("Compare", ops.CompModified, _COMPARE + "oneof int64 mod_revision = 6")
_message("Compare", ops.CompValue, _COMPARE + "oneof bytes value = 7")
_message("Compare", ops.CompLease, _COMPARE + "oneof int64 lease = 8")
_message("TxnRequest", ops.Transaction, """
    repeated Compare compare = 1
    repeated RequestOp success = 2
    repeated RequestOp failure = 3
""")
_message("TxnRequest", ops.OpTxn, """
    repeated Compare compare = 1            -> transaction.compare
    repeated RequestOp success = 2          -> transaction.success
    repeated RequestOp failure = 3          -> transaction.failure
""")
_message("TxnResponse", values.Outcome, _HEADER + """
    bool succeeded = 2
    repeated ResponseOp responses = 3
""")
_message("RangeStreamResponse", m.RangeStreamResponse, "RangeResponse range_response = 1")
_message("CompactionRequest", m.CompactionRequest, """
    int64 revision = 1
    bool physical = 2
""")
_message("CompactionResponse", m.Acknowledgement, _HEADER)

# --- Watch

_choice("WatchRequest", m.WatchCreateRequest, m.WatchCancelRequest, m.WatchProgressRequest, fields="""
    WatchCreateRequest create_request = 1
    WatchCancelRequest cancel_request = 2
    WatchProgressRequest progress_request = 3
""")
_message("WatchCreateRequest", m.WatchCreateRequest, """
    bytes key = 1                           -> key.start
    bytes range_end = 2                     -> key.end
    int64 start_revision = 3
    bool progress_notify = 4
    repeated FilterType filters = 5
    bool prev_kv = 6                        -> return_previous
    int64 watch_id = 7
    bool fragment = 8
""")
_message("WatchCancelRequest", m.WatchCancelRequest, "int64 watch_id = 1")
_message("WatchProgressRequest", m.WatchProgressRequest)
_message("WatchResponse", m.WatchResponse, _HEADER + """
    int64 watch_id = 2
    bool created = 3
    bool canceled = 4
    int64 compact_revision = 5
    string cancel_reason = 6
    bool fragment = 7
    repeated Event events = 11
""")

# --- Lease

_message("LeaseGrantRequest", m.LeaseGrantRequest, """
    int64 TTL = 1                           -> time_to_live
    int64 ID = 2                            -> lease_id
""")
_message("LeaseGrantResponse", m.LeaseGrantResponse, _HEADER + """
    int64 ID = 2                            -> lease_id
    int64 TTL = 3                           -> time_to_live
    string error = 4
""")
_message("LeaseRevokeRequest", m.LeaseRevokeRequest, "int64 ID = 1 -> lease_id")
_message("LeaseRevokeResponse", m.Acknowledgement, _HEADER)
_message("LeaseKeepAliveRequest", m.LeaseKeepAliveRequest, "int64 ID = 1 -> lease_id")
_message("LeaseKeepAliveResponse", m.LeaseKeepAliveResponse, _HEADER + """
    int64 ID = 2                            -> lease_id
    int64 TTL = 3                           -> time_to_live
""")
_message("LeaseTimeToLiveRequest", m.LeaseTimeToLiveRequest, """
    int64 ID = 1                            -> lease_id
    bool keys = 2
""")
_message("LeaseTimeToLiveResponse", m.LeaseTimeToLiveResponse, _HEADER + """
    int64 ID = 2                            -> lease_id
    int64 TTL = 3                           -> time_to_live
    int64 grantedTTL = 4                    -> granted_time_to_live
    repeated bytes keys = 5
""")
_message("LeaseLeasesRequest", m.Empty)
_message("LeaseStatus", m.LeaseStatus, "int64 ID = 1 -> lease_id")
_message("LeaseLeasesResponse", m.LeaseLeasesResponse, _HEADER + "repeated LeaseStatus leases = 2")

# --- Cluster

_message("Member", values.Member, """
    uint64 ID = 1                           -> member_id
    string name = 2
    repeated string peerURLs = 3            -> peer_urls
    repeated string clientURLs = 4          -> client_urls
    bool isLearner = 5                      -> is_learner
""")
_message("MemberAddRequest", m.MemberAddRequest, """
    repeated string peerURLs = 1            -> peer_urls
    bool isLearner = 2                      -> is_learner
""")
_message("MemberAddResponse", m.MemberAddResponse, _HEADER + """
    Member member = 2
    repeated Member members = 3
""")
_message("MemberRemoveRequest", m.MemberRemoveRequest, "uint64 ID = 1 -> member_id")
_message("MemberRemoveResponse", m.MemberListResponse, _HEADER + "repeated Member members = 2")
_message("MemberUpdateRequest", m.MemberUpdateRequest, """
    uint64 ID = 1                           -> member_id
    repeated string peerURLs = 2            -> peer_urls
""")
_message("MemberUpdateResponse", m.MemberListResponse, _HEADER + "repeated Member members = 2")
_message("MemberListRequest", m.MemberListRequest, "bool linearizable = 1")
_message("MemberListResponse", m.MemberListResponse, _HEADER + "repeated Member members = 2")
_message("MemberPromoteRequest", m.MemberPromoteRequest, "uint64 ID = 1 -> member_id")
_message("MemberPromoteResponse", m.MemberListResponse, _HEADER + "repeated Member members = 2")

# --- Maintenance

_message("AlarmRequest", m.AlarmRequest, """
    AlarmAction action = 1
    uint64 memberID = 2                     -> member_id
    AlarmType alarm = 3
""")
_message("AlarmMember", values.Alarm, """
    uint64 memberID = 1                     -> member_id
    AlarmType alarm = 2                     -> type
""")
_message("AlarmResponse", m.AlarmResponse, _HEADER + "repeated AlarmMember alarms = 2")
_message("StatusRequest", m.Empty)
_message("DowngradeInfo", values.DowngradeInfo, """
    bool enabled = 1
    string targetVersion = 2                -> target_version
""")
_message("StatusResponse", values.Status, _HEADER + """
    string version = 2
    int64 dbSize = 3                        -> db_size
    uint64 leader = 4
    uint64 raftIndex = 5                    -> raft_index
    uint64 raftTerm = 6                     -> raft_term
    uint64 raftAppliedIndex = 7             -> raft_applied_index
    repeated string errors = 8
    int64 dbSizeInUse = 9                   -> db_size_in_use
    bool isLearner = 10                     -> is_learner
    string storageVersion = 11              -> storage_version
    int64 dbSizeQuota = 12                  -> db_size_quota
    DowngradeInfo downgradeInfo = 13        -> downgrade_info
""")
_message("DefragmentRequest", m.Empty)
_message("DefragmentResponse", m.Acknowledgement, _HEADER)
_message("HashRequest", m.Empty)
_message("HashResponse", values.Hash, _HEADER + "uint32 hash = 2")
_message("HashKVRequest", m.HashKVRequest, "int64 revision = 1")
_message("HashKVResponse", values.HashKV, _HEADER + """
    uint32 hash = 2
    int64 compact_revision = 3
    int64 hash_revision = 4
""")
_message("SnapshotRequest", m.Empty)
_message("SnapshotResponse", m.SnapshotResponse, _HEADER + """
    uint64 remaining_bytes = 2
    bytes blob = 3
    string version = 4
""")
_message("MoveLeaderRequest", m.MoveLeaderRequest, "uint64 targetID = 1 -> target_id")
_message("MoveLeaderResponse", m.Acknowledgement, _HEADER)
_message("DowngradeRequest", m.DowngradeRequest, """
    DowngradeAction action = 1
    string version = 2
""")
_message("DowngradeResponse", m.DowngradeResponse, _HEADER + "string version = 2")

# --- Auth

_message("AuthEnableRequest", m.Empty)
_message("AuthEnableResponse", m.Acknowledgement, _HEADER)
_message("AuthDisableRequest", m.Empty)
_message("AuthDisableResponse", m.Acknowledgement, _HEADER)
_message("AuthStatusRequest", m.Empty)
_message("AuthStatusResponse", values.AuthStatus, _HEADER + """
    bool enabled = 2
    uint64 authRevision = 3                 -> auth_revision
""")
_message("AuthenticateRequest", m.AuthenticateRequest, """
    string name = 1
    string password = 2
""")
_message("AuthenticateResponse", m.AuthenticateResponse, _HEADER + "string token = 2")
_message("UserAddOptions", m.UserAddOptions, "bool no_password = 1")
_message("AuthUserAddRequest", m.AuthUserAddRequest, """
    string name = 1
    string password = 2
    UserAddOptions options = 3
    string hashedPassword = 4               -> hashed_password
""")
_message("AuthUserAddResponse", m.Acknowledgement, _HEADER)
_message("AuthUserGetRequest", m.AuthUserGetRequest, "string name = 1")
_message("AuthUserGetResponse", m.AuthUserGetResponse, _HEADER + "repeated string roles = 2")
_message("AuthUserListRequest", m.Empty)
_message("AuthUserListResponse", m.AuthUserListResponse, _HEADER + "repeated string users = 2")
_message("AuthUserDeleteRequest", m.AuthUserDeleteRequest, "string name = 1")
_message("AuthUserDeleteResponse", m.Acknowledgement, _HEADER)
_message("AuthUserChangePasswordRequest", m.AuthUserChangePasswordRequest, """
    string name = 1
    string password = 2
    string hashedPassword = 3               -> hashed_password
""")
_message("AuthUserChangePasswordResponse", m.Acknowledgement, _HEADER)
_message("AuthUserGrantRoleRequest", m.AuthUserGrantRoleRequest, """
    string user = 1
    string role = 2
""")
_message("AuthUserGrantRoleResponse", m.Acknowledgement, _HEADER)
_message("AuthUserRevokeRoleRequest", m.AuthUserRevokeRoleRequest, """
    string name = 1
    string role = 2
""")
_message("AuthUserRevokeRoleResponse", m.Acknowledgement, _HEADER)
_message("AuthRoleAddRequest", m.AuthRoleAddRequest, "string name = 1")
_message("AuthRoleAddResponse", m.Acknowledgement, _HEADER)
_message("AuthRoleGetRequest", m.AuthRoleGetRequest, "string role = 1")
_message("Permission", m.Permission, """
    PermissionType permType = 1             -> type
    bytes key = 2
    bytes range_end = 3
""")
_message("AuthRoleGetResponse", m.AuthRoleGetResponse, _HEADER + "repeated Permission perm = 2 -> permissions")
_message("AuthRoleListRequest", m.Empty)
_message("AuthRoleListResponse", m.AuthRoleListResponse, _HEADER + "repeated string roles = 2")
_message("AuthRoleDeleteRequest", m.AuthRoleDeleteRequest, "string role = 1")
_message("AuthRoleDeleteResponse", m.Acknowledgement, _HEADER)
_message("AuthRoleGrantPermissionRequest", m.AuthRoleGrantPermissionRequest, """
    string name = 1
    Permission perm = 2                     -> permission
""")
_message("AuthRoleGrantPermissionResponse", m.Acknowledgement, _HEADER)
_message("AuthRoleRevokePermissionRequest", m.AuthRoleRevokePermissionRequest, """
    string role = 1
    bytes key = 2
    bytes range_end = 3
""")
_message("AuthRoleRevokePermissionResponse", m.Acknowledgement, _HEADER)

# --- Lock and Election

_message("LockRequest", m.LockRequest, """
    bytes name = 1
    int64 lease = 2
""")
_message("LockResponse", m.LockResponse, _HEADER + "bytes key = 2")
_message("UnlockRequest", m.UnlockRequest, "bytes key = 1")
_message("UnlockResponse", m.Acknowledgement, _HEADER)
_message("CampaignRequest", m.CampaignRequest, """
    bytes name = 1
    int64 lease = 2
    bytes value = 3
""")
_message("LeaderKey", m.LeaderKey, """
    bytes name = 1
    bytes key = 2
    int64 rev = 3                           -> revision
    int64 lease = 4
""")
_message("CampaignResponse", m.CampaignResponse, _HEADER + "LeaderKey leader = 2")
_message("LeaderRequest", m.LeaderRequest, "bytes name = 1")
_message("LeaderResponse", m.LeaderResponse, _HEADER + "KeyValue kv = 2")
_message("ResignRequest", m.ResignRequest, "LeaderKey leader = 1")
_message("ResignResponse", m.Acknowledgement, _HEADER)
_message("ProclaimRequest", m.ProclaimRequest, """
    LeaderKey leader = 1
    bytes value = 2
""")
_message("ProclaimResponse", m.Acknowledgement, _HEADER)


# --- the calls

_PACKAGES = {"Lock": "v3lockpb", "Election": "v3electionpb"}

RPCS: dict[str, Rpc] = {}


def _rpc(
    name: str,
    path: Optional[str],
    request: str,
    response: str,
    *,
    read: bool = False,
    repeatable: bool = False,
    stream: bool = False,
    duplex: bool = False,
) -> Rpc:
    service, _, method = name.partition(".")
    package = _PACKAGES.get(service, "etcdserverpb")
    path = path and f"/v3/{path}"
    rpc = Rpc(name, path, f"/{package}.{service}/{method}", request, response, read, repeatable, stream, duplex)
    RPCS[name] = rpc
    return rpc


RANGE = _rpc("KV.Range", "kv/range", "RangeRequest", "RangeResponse", read=True, repeatable=True)
RANGE_STREAM = _rpc("KV.RangeStream", None, "RangeRequest", "RangeStreamResponse", read=True, stream=True)
PUT = _rpc("KV.Put", "kv/put", "PutRequest", "PutResponse")
DELETE_RANGE = _rpc("KV.DeleteRange", "kv/deleterange", "DeleteRangeRequest", "DeleteRangeResponse")
TXN = _rpc("KV.Txn", "kv/txn", "TxnRequest", "TxnResponse")
COMPACT = _rpc("KV.Compact", "kv/compaction", "CompactionRequest", "CompactionResponse")

WATCH = _rpc("Watch.Watch", "watch", "WatchRequest", "WatchResponse", read=True, stream=True, duplex=True)

LEASE_GRANT = _rpc("Lease.LeaseGrant", "lease/grant", "LeaseGrantRequest", "LeaseGrantResponse", repeatable=True)
LEASE_REVOKE = _rpc("Lease.LeaseRevoke", "lease/revoke", "LeaseRevokeRequest", "LeaseRevokeResponse", repeatable=True)
LEASE_KEEP_ALIVE = _rpc(
    "Lease.LeaseKeepAlive", "lease/keepalive", "LeaseKeepAliveRequest", "LeaseKeepAliveResponse",
    repeatable=True, stream=True, duplex=True,
)
LEASE_TIME_TO_LIVE = _rpc(
    "Lease.LeaseTimeToLive", "lease/timetolive", "LeaseTimeToLiveRequest", "LeaseTimeToLiveResponse",
    read=True, repeatable=True,
)
LEASE_LEASES = _rpc(
    "Lease.LeaseLeases", "lease/leases", "LeaseLeasesRequest", "LeaseLeasesResponse", read=True, repeatable=True
)

MEMBER_ADD = _rpc("Cluster.MemberAdd", "cluster/member/add", "MemberAddRequest", "MemberAddResponse")
MEMBER_REMOVE = _rpc("Cluster.MemberRemove", "cluster/member/remove", "MemberRemoveRequest", "MemberRemoveResponse")
MEMBER_UPDATE = _rpc("Cluster.MemberUpdate", "cluster/member/update", "MemberUpdateRequest", "MemberUpdateResponse")
MEMBER_LIST = _rpc(
    "Cluster.MemberList", "cluster/member/list", "MemberListRequest", "MemberListResponse", read=True, repeatable=True
)
MEMBER_PROMOTE = _rpc(
    "Cluster.MemberPromote", "cluster/member/promote", "MemberPromoteRequest", "MemberPromoteResponse"
)

ALARM = _rpc("Maintenance.Alarm", "maintenance/alarm", "AlarmRequest", "AlarmResponse", repeatable=True)
STATUS = _rpc("Maintenance.Status", "maintenance/status", "StatusRequest", "StatusResponse", read=True, repeatable=True)
DEFRAGMENT = _rpc("Maintenance.Defragment", "maintenance/defragment", "DefragmentRequest", "DefragmentResponse")
HASH = _rpc("Maintenance.Hash", "maintenance/hash", "HashRequest", "HashResponse", read=True, repeatable=True)
HASH_KV = _rpc(
    "Maintenance.HashKV", "maintenance/hashkv", "HashKVRequest", "HashKVResponse", read=True, repeatable=True
)
SNAPSHOT = _rpc(
    "Maintenance.Snapshot", "maintenance/snapshot", "SnapshotRequest", "SnapshotResponse",
    read=True, repeatable=True, stream=True,
)
MOVE_LEADER = _rpc(
    "Maintenance.MoveLeader", "maintenance/transfer-leadership", "MoveLeaderRequest", "MoveLeaderResponse",
    repeatable=True,
)
DOWNGRADE = _rpc("Maintenance.Downgrade", "maintenance/downgrade", "DowngradeRequest", "DowngradeResponse")

AUTH_ENABLE = _rpc("Auth.AuthEnable", "auth/enable", "AuthEnableRequest", "AuthEnableResponse")
AUTH_DISABLE = _rpc("Auth.AuthDisable", "auth/disable", "AuthDisableRequest", "AuthDisableResponse")
AUTH_STATUS = _rpc("Auth.AuthStatus", "auth/status", "AuthStatusRequest", "AuthStatusResponse", read=True)
# it changes nothing: what it gives is kept by nobody but who asks
AUTHENTICATE = _rpc("Auth.Authenticate", "auth/authenticate", "AuthenticateRequest", "AuthenticateResponse", read=True)
USER_ADD = _rpc("Auth.UserAdd", "auth/user/add", "AuthUserAddRequest", "AuthUserAddResponse")
USER_GET = _rpc(
    "Auth.UserGet", "auth/user/get", "AuthUserGetRequest", "AuthUserGetResponse", read=True, repeatable=True
)
USER_LIST = _rpc(
    "Auth.UserList", "auth/user/list", "AuthUserListRequest", "AuthUserListResponse", read=True, repeatable=True
)
USER_DELETE = _rpc("Auth.UserDelete", "auth/user/delete", "AuthUserDeleteRequest", "AuthUserDeleteResponse")
USER_CHANGE_PASSWORD = _rpc(
    "Auth.UserChangePassword", "auth/user/changepw", "AuthUserChangePasswordRequest", "AuthUserChangePasswordResponse"
)
USER_GRANT_ROLE = _rpc(
    "Auth.UserGrantRole", "auth/user/grant", "AuthUserGrantRoleRequest", "AuthUserGrantRoleResponse"
)
USER_REVOKE_ROLE = _rpc(
    "Auth.UserRevokeRole", "auth/user/revoke", "AuthUserRevokeRoleRequest", "AuthUserRevokeRoleResponse"
)
ROLE_ADD = _rpc("Auth.RoleAdd", "auth/role/add", "AuthRoleAddRequest", "AuthRoleAddResponse")
ROLE_GET = _rpc(
    "Auth.RoleGet", "auth/role/get", "AuthRoleGetRequest", "AuthRoleGetResponse", read=True, repeatable=True
)
ROLE_LIST = _rpc(
    "Auth.RoleList", "auth/role/list", "AuthRoleListRequest", "AuthRoleListResponse", read=True, repeatable=True
)
ROLE_DELETE = _rpc("Auth.RoleDelete", "auth/role/delete", "AuthRoleDeleteRequest", "AuthRoleDeleteResponse")
ROLE_GRANT_PERMISSION = _rpc(
    "Auth.RoleGrantPermission", "auth/role/grant",
    "AuthRoleGrantPermissionRequest", "AuthRoleGrantPermissionResponse",
)
ROLE_REVOKE_PERMISSION = _rpc(
    "Auth.RoleRevokePermission", "auth/role/revoke",
    "AuthRoleRevokePermissionRequest", "AuthRoleRevokePermissionResponse",
)

LOCK = _rpc("Lock.Lock", "lock/lock", "LockRequest", "LockResponse")
UNLOCK = _rpc("Lock.Unlock", "lock/unlock", "UnlockRequest", "UnlockResponse")
CAMPAIGN = _rpc("Election.Campaign", "election/campaign", "CampaignRequest", "CampaignResponse")
PROCLAIM = _rpc("Election.Proclaim", "election/proclaim", "ProclaimRequest", "ProclaimResponse")
LEADER = _rpc("Election.Leader", "election/leader", "LeaderRequest", "LeaderResponse", read=True)
OBSERVE = _rpc("Election.Observe", "election/observe", "LeaderRequest", "LeaderResponse", read=True, stream=True)
RESIGN = _rpc("Election.Resign", "election/resign", "ResignRequest", "ResignResponse")


# --- what is in what

BY_NAME: dict[str, Message] = {message.name: message for message in MESSAGES}
"""The messages by their names; of those that several classes stand for, which are in requests only, the last one."""

BY_CHOICE: dict[str, Choice] = {choice.name: choice for choice in CHOICES}


def names_within(names: Iterable[str]) -> set[str]:
    """
    The names of these messages and choices, and of all that can be in them, at any depth.
    """
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in found:
            continue
        if name in BY_NAME:
            found.add(name)
            pending.extend(field.type for field in BY_NAME[name].fields)
        elif name in BY_CHOICE:
            found.add(name)
            pending.extend(field.type for _, field in BY_CHOICE[name].choices)
    return found
