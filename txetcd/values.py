"""
What comes back: the answers of etcd as values.

Their attributes cannot be set; the lists in them are lists, and whoever gets the answer may change them. They compare
by content, and show in their ``repr`` what they are but not what they carry: the bytes of keys appear, those of values
do not. What the server leaves out is zero (the gateway omits zero values).
"""

from __future__ import annotations

from typing import Any, Optional, Union

import attrs

from .keyset import KeySet


def shown_size(value: bytes) -> str:
    """What a ``repr`` shows of bytes that may be large, or nobody else's business."""
    return f"<{len(value)} bytes>"


def _count(values: list[Any]) -> str:
    return f"<{len(values)}>"


def _lower(name: str) -> str:
    return name.lower()


def _hexadecimal(number: int) -> str:
    return f"{number:x}"


@attrs.frozen
class Header:
    """
    Who answered, and at which revision.

    :ivar raft_term: the Raft term (``int``).
    :ivar revision: the revision of the store (``int``); 0 where an answer carries none.
    :ivar cluster_id: the cluster that answered (``int``; shown in hexadecimal, as ``etcdctl`` does).
    :ivar member_id: the member that answered (``int``).
    """

    raft_term: int = 0
    revision: int = 0
    cluster_id: int = attrs.field(default=0, repr=_hexadecimal)
    member_id: int = attrs.field(default=0, repr=_hexadecimal)


@attrs.frozen
class KeyValue:
    """
    A key and what the store knows of it.

    :ivar key: the key (``bytes``).
    :ivar value: the value (``bytes``); empty where only keys were asked for.
    :ivar version: how often the key was written since it was created (``int``); 1 after its creation.
    :ivar create_revision: the revision that created the key (``int``).
    :ivar mod_revision: the revision that wrote it last (``int``).
    :ivar lease: the id of the lease it is attached to (``int``), or 0.
    """

    key: bytes
    value: bytes = attrs.field(default=b"", repr=shown_size)
    version: int = 0
    create_revision: int = 0
    mod_revision: int = 0
    lease: int = 0


@attrs.frozen
class Event:
    """
    A change of a key. It has all attributes of a :class:`KeyValue` as well, so that what is written for key-values
    works on events.

    :ivar type: ``"put"`` or ``"delete"``.
    :ivar kv: the :class:`KeyValue` that was written; for a deletion only ``key`` and ``mod_revision`` (the revision
        of the deletion) are set.
    :ivar previous: the :class:`KeyValue` before the change, if it was asked for and is known; else ``None``.
    """

    type: str = attrs.field(converter=_lower)
    kv: KeyValue
    previous: Optional[KeyValue] = None

    @property
    def key(self) -> bytes:
        """The key (``bytes``)."""
        return self.kv.key

    @property
    def value(self) -> bytes:
        """The value that was written (``bytes``); empty for a deletion."""
        return self.kv.value

    @property
    def version(self) -> int:
        """The version that was written (``int``); 0 for a deletion."""
        return self.kv.version

    @property
    def create_revision(self) -> int:
        """The revision that created the key (``int``); 0 for a deletion."""
        return self.kv.create_revision

    @property
    def mod_revision(self) -> int:
        """The revision of the change (``int``)."""
        return self.kv.mod_revision

    @property
    def lease(self) -> int:
        """The id of the lease that the key is attached to (``int``), or 0."""
        return self.kv.lease

    @property
    def is_put(self) -> bool:
        """Whether the key was written (``bool``)."""
        return self.type == "put"

    @property
    def is_delete(self) -> bool:
        """Whether the key was deleted, or its lease ran out (``bool``)."""
        return self.type == "delete"

    @property
    def is_create(self) -> bool:
        """Whether the key was written and did not exist before (``bool``)."""
        return self.is_put and self.kv.create_revision == self.kv.mod_revision

    @property
    def is_modify(self) -> bool:
        """Whether the key was written and existed before (``bool``)."""
        return self.is_put and self.kv.create_revision != self.kv.mod_revision

    @property
    def is_synthetic(self) -> bool:
        """
        Whether the server did not tell it as it happened (``bool``): what happened was compacted away, and this is what
        has come of it. See ``on_compacted="resync"`` of :meth:`Client.watcher <txetcd.Client.watcher>`.
        """
        return False


class SyntheticEvent(Event):
    """
    What has come of changes that nobody can tell any more: the key is as ``kv`` says, or was deleted, by the revision
    ``mod_revision`` at the latest.
    """

    __slots__ = ()

    @property
    def is_synthetic(self) -> bool:
        """``True``."""
        return True


@attrs.frozen
class Range:
    """
    What :meth:`Client.get <txetcd.Client.get>` found.

    :ivar kvs: the key-values (``list`` of :class:`KeyValue`).
    :ivar header: the :class:`Header`.
    :ivar count: how many keys there are in the set (``int``), whatever the ``limit``.
    :ivar more: whether ``limit`` left some out (``bool``).
    """

    kvs: list[KeyValue] = attrs.field(repr=_count)
    header: Header = attrs.field(factory=Header)
    count: int = 0
    more: bool = False


@attrs.frozen
class Revision:
    """
    A key was set.

    :ivar header: the :class:`Header`; its ``revision`` is the one that wrote the key. (In the answers to a
        transaction it is the one *before*: there take the revision of the transaction.)
    :ivar previous: the :class:`KeyValue` before, if it was asked for and the key existed; else ``None``.
    """

    header: Header = attrs.field(factory=Header)
    previous: Optional[KeyValue] = None


@attrs.frozen
class Deleted:
    """
    Keys were deleted.

    :ivar deleted: how many (``int``).
    :ivar header: the :class:`Header`.
    :ivar previous: what they were (``list`` of :class:`KeyValue`), if it was asked for.
    """

    deleted: int = 0
    header: Header = attrs.field(factory=Header)
    previous: list[KeyValue] = attrs.field(factory=list, repr=_count)


@attrs.frozen
class Outcome:
    """
    A transaction was carried out.

    :ivar succeeded: whether the comparisons held (``bool``), so that the ``success`` operations were carried out,
        and not the ``failure`` ones.
    :ivar header: the :class:`Header`.
    :ivar responses: the answers to the operations, in their order: ``list`` of :class:`Range`, :class:`Revision`,
        :class:`Deleted` or, for a nested transaction, :class:`Outcome`.
    """

    succeeded: bool = False
    header: Header = attrs.field(factory=Header)
    responses: list[Response] = attrs.field(factory=list)


@attrs.frozen
class Success:
    """
    A transaction was carried out, and its comparisons held.

    :ivar header: the :class:`Header`.
    :ivar responses: as in :class:`Outcome`.
    """

    header: Header
    responses: list[Response]


Response = Union[Range, Revision, Deleted, Outcome]


@attrs.frozen
class DowngradeInfo:
    """
    Whether the cluster is being downgraded.

    :ivar enabled: whether it is (``bool``).
    :ivar target_version: to which version (``str``).
    """

    enabled: bool = False
    target_version: str = ""


@attrs.frozen
class Status:
    """
    How a member is.

    :ivar version: the version of the server (``str``).
    :ivar db_size: the size of its database in bytes (``int``).
    :ivar leader: the member id of the leader (``int``), or 0 if the member knows none.
    :ivar header: the :class:`Header`.
    :ivar raft_term: the Raft term (``int``).
    :ivar raft_index: the last Raft entry it has (``int``).
    :ivar raft_applied_index: the last Raft entry it has applied (``int``).
    :ivar errors: what is wrong with it, such as ``"NOSPACE"`` (``list`` of ``str``).
    :ivar db_size_in_use: the bytes of the database that are in use (``int``).
    :ivar is_learner: whether it is a learner (``bool``).
    :ivar storage_version: the version of its storage (``str``; etcd 3.6 and later).
    :ivar db_size_quota: the quota of the database in bytes (``int``; etcd 3.6 and later).
    :ivar downgrade_info: a :class:`DowngradeInfo` (etcd 3.6 and later), or ``None``.
    """

    version: str
    db_size: int
    leader: int = attrs.field(repr=_hexadecimal)
    header: Header
    raft_term: int
    raft_index: int
    raft_applied_index: int = 0
    errors: list[str] = attrs.field(factory=list)
    db_size_in_use: int = 0
    is_learner: bool = False
    storage_version: str = ""
    db_size_quota: int = 0
    downgrade_info: Optional[DowngradeInfo] = None


# --- the cluster and its members


@attrs.frozen
class Member:
    """
    A member of a cluster.

    :ivar member_id: its id (``int``; shown in hexadecimal, as ``etcdctl`` does).
    :ivar name: its name (``str``); empty as long as it has not started.
    :ivar peer_urls: where the other members reach it (``list`` of ``str``).
    :ivar client_urls: where clients reach it, as it says itself (``list`` of ``str``); empty as long as it has not
        started.
    :ivar is_learner: whether it is a learner (``bool``), which has no vote.
    """

    member_id: int = attrs.field(default=0, repr=_hexadecimal)
    name: str = ""
    peer_urls: list[str] = attrs.field(factory=list)
    client_urls: list[str] = attrs.field(factory=list)
    is_learner: bool = False


@attrs.frozen
class Alarm:
    """
    An alarm of a member. As long as there is one, no member of the cluster writes any more.

    :ivar member_id: the member (``int``; shown in hexadecimal).
    :ivar type: ``"NOSPACE"`` (its database has reached the quota; deleting and compacting is still possible) or
        ``"CORRUPT"`` (its data are not those of the others).
    """

    member_id: int = attrs.field(default=0, repr=_hexadecimal)
    type: str = "NONE"


@attrs.frozen
class Hash:
    """
    The hash of all that a member has on its disk, what it has forgotten already included.

    :ivar hash: the hash (``int``, 32 bits).
    :ivar header: the :class:`Header`: which member it is, and at which revision.
    """

    hash: int = 0
    header: Header = attrs.field(factory=Header)


@attrs.frozen
class HashKV:
    """
    The hash of the keys that a member has. Members that have the same keys have the same one, if they are asked for
    the same revision and have the same ``compact_revision``.

    :ivar hash: the hash (``int``, 32 bits).
    :ivar compact_revision: the revision from which on they count (``int``): of the last compaction, or -1.
    :ivar hash_revision: the revision up to which they count (``int``); 0 before etcd 3.6, which does not tell.
    :ivar header: the :class:`Header`: which member it is, and at which revision.
    """

    hash: int = 0
    compact_revision: int = 0
    hash_revision: int = 0
    header: Header = attrs.field(factory=Header)


@attrs.frozen
class Snapshot:
    """
    A snapshot was saved.

    :ivar size: the bytes of the file (``int``), the SHA-256 at its end included.
    :ivar sha256: the SHA-256 of the database in it (``str``, hexadecimal).
    :ivar version: the version of the storage (``str``; etcd 3.6 and later).
    """

    size: int
    sha256: str
    version: str = ""


# --- users and roles


@attrs.frozen
class AuthStatus:
    """
    Whether authentication is on.

    :ivar enabled: whether it is (``bool``).
    :ivar auth_revision: how often users, roles and the like have changed (``int``), counted from 1 on.
    :ivar header: the :class:`Header`.
    """

    enabled: bool = False
    auth_revision: int = 0
    header: Header = attrs.field(factory=Header)


@attrs.frozen
class User:
    """
    A user.

    :ivar name: the name (``str``).
    :ivar roles: the names of the roles it has been given (``list`` of ``str``).
    """

    name: str
    roles: list[str] = attrs.field(factory=list)


@attrs.frozen
class Permission:
    """
    What may be done with keys.

    :ivar keys: with which ones (:class:`~txetcd.KeySet`).
    :ivar type: ``"READ"``, ``"WRITE"`` or ``"READWRITE"``.
    """

    keys: KeySet
    type: str


@attrs.frozen
class Role:
    """
    A role.

    :ivar name: the name (``str``).
    :ivar permissions: what who has it may do (``list`` of :class:`Permission`). The role ``root`` may do everything,
        whatever stands here.
    """

    name: str
    permissions: list[Permission] = attrs.field(factory=list)


@attrs.frozen
class CallRecord:
    """
    A call that has ended, as ``on_call`` of :class:`txetcd.Client` is told.

    :ivar call: the name of the RPC, such as ``"KV.Put"`` (``str``).
    :ivar endpoint: the URL that was asked last (``str``); ``""`` if none was.
    :ivar outcome: ``"ok"``, or the name of the class of the error (``str``).
    :ivar seconds: how long it took, retries included (``float``).
    :ivar retries: how many attempts there were after the first (``int``).
    """

    call: str
    endpoint: str
    outcome: str
    seconds: float
    retries: int


@attrs.frozen
class CallStats:
    """
    The calls of one RPC so far.

    :ivar calls: how many have ended (``int``).
    :ivar retries: how many attempts there were after the first ones (``int``).
    :ivar failures: how many have failed, by the name of the class of the error (``dict`` of ``str`` to ``int``).
    :ivar seconds: how long all of them took together (``float``).
    """

    calls: int
    retries: int
    failures: dict[str, int]
    seconds: float


@attrs.frozen
class ClientStats:
    """
    What a client has done so far, and does now.

    :ivar calls: :class:`CallStats` by the name of the RPC (``dict``).
    :ivar in_flight: calls that have not been answered yet (``int``).
    :ivar streams: watches, and other answers that go on (``int``).
    :ivar connections: open connections (``int``); 0 with an agent of the user's.
    :ivar endpoints: whether an endpoint has answered when it was asked last, or was not asked yet (``dict`` of ``bool``
        by URL). One that has failed is asked again when others fail, or by ``maintenance.status()``.
    :ivar reasons: what those have failed with that have not (``dict`` of ``str`` by URL).
    """

    calls: dict[str, CallStats]
    in_flight: int
    streams: int
    connections: int
    endpoints: dict[str, bool]
    reasons: dict[str, str] = attrs.field(factory=dict)
