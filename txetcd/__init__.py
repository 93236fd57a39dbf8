"""
An asynchronous etcd v3 client for Twisted.
"""

from . import errors
from ._backoff import Backoff, never
from ._tls import TLS
from ._version import __version__ as __version__
from .auth import Auth
from .client import Client
from .cluster import Cluster
from .errors import (
    AlreadyExists,
    Closed,
    Compacted,
    CompareFailed,
    Error,
    Expired,
    Failed,
    LeaseNotFound,
    OutcomeUnknown,
    PermissionDenied,
    ProtocolViolation,
    Timeout,
    TLSFailed,
    Unavailable,
    Unimplemented,
    WrongCluster,
)
from .keyset import KeySet
from .lease import Lease
from .maintenance import Maintenance
from .ops import (
    Comp,
    CompCreated,
    CompLease,
    CompModified,
    CompValue,
    CompVersion,
    Op,
    OpDel,
    OpGet,
    OpSet,
    OpTxn,
    Transaction,
)
from .recipes._tree import Node
from .recipes._treechanges import TreeChanges
from .recipes.barrier import Barrier
from .recipes.counter import Counter
from .recipes.double_barrier import DoubleBarrier
from .recipes.election import Election, Leaders
from .recipes.lock import Lock
from .recipes.mirror import Mirror
from .recipes.party import Party
from .recipes.queue import PriorityQueue, Queue
from .recipes.registration import Registration
from .recipes.registry import Instance, Instances, Registry, Resolver
from .recipes.rwlock import ReadWriteLock
from .recipes.semaphore import Semaphore
from .recipes.sequence import Sequence
from .recipes.session import Session
from .recipes.stm import STM
from .recipes.tree import Tree
from .recipes.workqueue import HeldItem, WorkQueue
from .values import (
    Alarm,
    AuthStatus,
    CallRecord,
    CallStats,
    ClientStats,
    Deleted,
    Event,
    Hash,
    HashKV,
    Header,
    KeyValue,
    Member,
    Outcome,
    Permission,
    Range,
    Revision,
    Role,
    Snapshot,
    Status,
    Success,
    User,
)
from .watch import Watch

__all__ = [
    "Alarm",
    "AlreadyExists",
    "Auth",
    "AuthStatus",
    "Backoff",
    "Barrier",
    "CallRecord",
    "CallStats",
    "Client",
    "ClientStats",
    "Closed",
    "Cluster",
    "Comp",
    "CompCreated",
    "CompLease",
    "CompModified",
    "CompValue",
    "CompVersion",
    "Compacted",
    "CompareFailed",
    "Counter",
    "Deleted",
    "DoubleBarrier",
    "Election",
    "Error",
    "Event",
    "Expired",
    "Failed",
    "Hash",
    "HashKV",
    "Header",
    "HeldItem",
    "Instance",
    "Instances",
    "KeySet",
    "KeyValue",
    "Leaders",
    "Lease",
    "LeaseNotFound",
    "Lock",
    "Maintenance",
    "Member",
    "Mirror",
    "Node",
    "Op",
    "OpDel",
    "OpGet",
    "OpSet",
    "OpTxn",
    "Outcome",
    "OutcomeUnknown",
    "Party",
    "Permission",
    "PermissionDenied",
    "PriorityQueue",
    "ProtocolViolation",
    "Queue",
    "Range",
    "ReadWriteLock",
    "Registration",
    "Registry",
    "Resolver",
    "Revision",
    "Role",
    "STM",
    "Semaphore",
    "Sequence",
    "Session",
    "Snapshot",
    "Status",
    "Success",
    "TLS",
    "TLSFailed",
    "Timeout",
    "Transaction",
    "Tree",
    "TreeChanges",
    "Unavailable",
    "Unimplemented",
    "User",
    "Watch",
    "WorkQueue",
    "WrongCluster",
    "errors",
    "never",
]
