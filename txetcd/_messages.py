"""
The messages of etcd's services that have no public value: what is asked there, and what comes back.

They are named as etcd names them, so that ``rpc.proto`` explains them; their attributes are spelled our way.
Requests without a field are :class:`Empty`, answers with nothing but a header are :class:`Acknowledgement`.
"""

from __future__ import annotations

from typing import Optional, Union

import attrs

from .keyset import KeySet
from .values import Alarm, Event, Header, KeyValue, Member, Range, shown_size


def _secret(value: str) -> str:
    return "<secret>" if value else "''"


@attrs.frozen
class Empty:
    """A request that asks for nothing in particular."""


@attrs.frozen
class Acknowledgement:
    """Done."""

    header: Header = attrs.field(factory=Header)


# --- KV


@attrs.frozen
class RangeStreamResponse:
    """A piece of a long answer to ``RangeRequest`` (etcd 3.7 and later, native protocol only)."""

    range_response: Optional[Range] = None


@attrs.frozen
class CompactionRequest:
    """Forget what was before a revision; ``physical`` waits until it is off the disk."""

    revision: int
    physical: bool = False


# --- Watch


@attrs.frozen
class WatchCreateRequest:
    """Watch a key set; ``start_revision`` 0 means from now on; ``watch_id`` 0 lets the server choose."""

    key: KeySet
    start_revision: int = 0
    progress_notify: bool = False
    filters: tuple[str, ...] = ()
    return_previous: bool = False
    watch_id: int = 0
    fragment: bool = False


@attrs.frozen
class WatchCancelRequest:
    """End a watch."""

    watch_id: int


@attrs.frozen
class WatchProgressRequest:
    """Ask for the revision up to which all watches of the stream have seen everything."""


WatchRequest = Union[WatchCreateRequest, WatchCancelRequest, WatchProgressRequest]


@attrs.frozen
class WatchResponse:
    """What a watch stream carries: an answer to a request, events, progress, or the end of a watch."""

    header: Header = attrs.field(factory=Header)
    watch_id: int = 0
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    fragment: bool = False
    events: list[Event] = attrs.field(factory=list)


# --- Lease


@attrs.frozen
class LeaseGrantRequest:
    """Grant a lease; ``lease_id`` 0 lets the server choose."""

    time_to_live: int
    lease_id: int = 0


@attrs.frozen
class LeaseGrantResponse:
    """The lease, with the time to live that it was really given."""

    header: Header = attrs.field(factory=Header)
    lease_id: int = 0
    time_to_live: int = 0
    error: str = ""


@attrs.frozen
class LeaseRevokeRequest:
    """Revoke a lease."""

    lease_id: int


@attrs.frozen
class LeaseKeepAliveRequest:
    """Renew a lease."""

    lease_id: int


@attrs.frozen
class LeaseKeepAliveResponse:
    """The lease was renewed; a ``time_to_live`` of 0 says that it is gone."""

    header: Header = attrs.field(factory=Header)
    lease_id: int = 0
    time_to_live: int = 0


@attrs.frozen
class LeaseTimeToLiveRequest:
    """How long a lease has left, and with ``keys`` which keys are attached to it."""

    lease_id: int
    keys: bool = False


@attrs.frozen
class LeaseTimeToLiveResponse:
    """What is left; -1 says that the lease is gone."""

    header: Header = attrs.field(factory=Header)
    lease_id: int = 0
    time_to_live: int = 0
    granted_time_to_live: int = 0
    keys: list[bytes] = attrs.field(factory=list)


@attrs.frozen
class LeaseStatus:
    """A lease there is."""

    lease_id: int = 0


@attrs.frozen
class LeaseLeasesResponse:
    """The leases there are."""

    header: Header = attrs.field(factory=Header)
    leases: list[LeaseStatus] = attrs.field(factory=list)


# --- Cluster


@attrs.frozen
class MemberAddRequest:
    """Add a member."""

    peer_urls: tuple[str, ...]
    is_learner: bool = False


@attrs.frozen
class MemberAddResponse:
    """The member, and all members there are now."""

    header: Header = attrs.field(factory=Header)
    member: Optional[Member] = None
    members: list[Member] = attrs.field(factory=list)


@attrs.frozen
class MemberRemoveRequest:
    """Remove a member."""

    member_id: int


@attrs.frozen
class MemberUpdateRequest:
    """Change the peer URLs of a member."""

    member_id: int
    peer_urls: tuple[str, ...]


@attrs.frozen
class MemberPromoteRequest:
    """Make a learner a voting member."""

    member_id: int


@attrs.frozen
class MemberListRequest:
    """The members; ``linearizable`` asks the others too (etcd 3.5 and later)."""

    linearizable: bool = False

    @property
    def serializable(self) -> bool:
        """Whether what the member knows itself will do (``bool``), as other requests call it."""
        return not self.linearizable


@attrs.frozen
class MemberListResponse:
    """The members there are now; removing and promoting answer so as well."""

    header: Header = attrs.field(factory=Header)
    members: list[Member] = attrs.field(factory=list)


# --- Maintenance


@attrs.frozen
class AlarmRequest:
    """Get, activate or deactivate alarms."""

    action: str = "GET"
    member_id: int = 0
    alarm: str = "NONE"


@attrs.frozen
class AlarmResponse:
    """The alarms."""

    header: Header = attrs.field(factory=Header)
    alarms: list[Alarm] = attrs.field(factory=list)


@attrs.frozen
class HashKVRequest:
    """Hash the keys up to a revision; 0 means now."""

    revision: int = 0


@attrs.frozen
class SnapshotResponse:
    """A piece of a snapshot, and how much is still to come."""

    header: Header = attrs.field(factory=Header)
    remaining_bytes: int = 0
    blob: bytes = attrs.field(default=b"", repr=shown_size)
    version: str = ""


@attrs.frozen
class MoveLeaderRequest:
    """Hand the leadership over."""

    target_id: int


@attrs.frozen
class DowngradeRequest:
    """Validate, enable or cancel a downgrade."""

    action: str = "VALIDATE"
    version: str = ""


@attrs.frozen
class DowngradeResponse:
    """The version of the cluster."""

    header: Header = attrs.field(factory=Header)
    version: str = ""


# --- Auth


@attrs.frozen
class AuthenticateRequest:
    """Log in."""

    name: str
    password: str = attrs.field(repr=_secret)


@attrs.frozen
class AuthenticateResponse:
    """Logged in."""

    header: Header = attrs.field(factory=Header)
    token: str = attrs.field(default="", repr=_secret)


@attrs.frozen
class UserAddOptions:
    """A user without a password can log in by certificate only."""

    no_password: bool = False


@attrs.frozen
class AuthUserAddRequest:
    """Add a user."""

    name: str
    password: str = attrs.field(default="", repr=_secret)
    options: Optional[UserAddOptions] = None
    hashed_password: str = attrs.field(default="", repr=_secret)


@attrs.frozen
class AuthUserGetRequest:
    """The roles of a user."""

    name: str


@attrs.frozen
class AuthUserGetResponse:
    """The roles of the user."""

    header: Header = attrs.field(factory=Header)
    roles: list[str] = attrs.field(factory=list)


@attrs.frozen
class AuthUserListResponse:
    """The users there are."""

    header: Header = attrs.field(factory=Header)
    users: list[str] = attrs.field(factory=list)


@attrs.frozen
class AuthUserDeleteRequest:
    """Delete a user."""

    name: str


@attrs.frozen
class AuthUserChangePasswordRequest:
    """Change the password of a user."""

    name: str
    password: str = attrs.field(default="", repr=_secret)
    hashed_password: str = attrs.field(default="", repr=_secret)


@attrs.frozen
class AuthUserGrantRoleRequest:
    """Give a user a role."""

    user: str
    role: str


@attrs.frozen
class AuthUserRevokeRoleRequest:
    """Take a role from a user."""

    name: str
    role: str


@attrs.frozen
class AuthRoleAddRequest:
    """Add a role."""

    name: str


@attrs.frozen
class AuthRoleGetRequest:
    """The permissions of a role."""

    role: str


@attrs.frozen
class Permission:
    """What may be done with a range of keys; an empty ``range_end`` means one key."""

    type: str = "READ"
    key: bytes = b""
    range_end: bytes = b""


@attrs.frozen
class AuthRoleGetResponse:
    """The permissions of the role."""

    header: Header = attrs.field(factory=Header)
    permissions: list[Permission] = attrs.field(factory=list)


@attrs.frozen
class AuthRoleListResponse:
    """The roles there are."""

    header: Header = attrs.field(factory=Header)
    roles: list[str] = attrs.field(factory=list)


@attrs.frozen
class AuthRoleDeleteRequest:
    """Delete a role."""

    role: str


@attrs.frozen
class AuthRoleGrantPermissionRequest:
    """Give a role a permission."""

    name: str
    permission: Permission


@attrs.frozen
class AuthRoleRevokePermissionRequest:
    """Take a permission from a role."""

    role: str
    key: bytes
    range_end: bytes = b""


# --- Lock and Election


@attrs.frozen
class LockRequest:
    """Wait for a lock."""

    name: bytes
    lease: int = 0


@attrs.frozen
class LockResponse:
    """The lock is held by this key."""

    header: Header = attrs.field(factory=Header)
    key: bytes = b""


@attrs.frozen
class UnlockRequest:
    """Give a lock back."""

    key: bytes


@attrs.frozen
class LeaderKey:
    """A leadership: the key that holds it, since when, on which lease."""

    name: bytes = b""
    key: bytes = b""
    revision: int = 0
    lease: int = 0


@attrs.frozen
class CampaignRequest:
    """Wait to be elected."""

    name: bytes
    lease: int = 0
    value: bytes = attrs.field(default=b"", repr=shown_size)


@attrs.frozen
class CampaignResponse:
    """Elected."""

    header: Header = attrs.field(factory=Header)
    leader: Optional[LeaderKey] = None


@attrs.frozen
class ProclaimRequest:
    """Change what the leader says."""

    leader: Optional[LeaderKey]
    value: bytes = attrs.field(default=b"", repr=shown_size)


@attrs.frozen
class ResignRequest:
    """Give the leadership back."""

    leader: Optional[LeaderKey]


@attrs.frozen
class LeaderRequest:
    """Who leads."""

    name: bytes


@attrs.frozen
class LeaderResponse:
    """The key of the leader, with what it says."""

    header: Header = attrs.field(factory=Header)
    kv: Optional[KeyValue] = None
