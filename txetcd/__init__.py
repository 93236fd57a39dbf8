"""
An asynchronous etcd v3 client for Twisted.
"""

from . import errors
from ._version import __version__ as __version__
from .client import Client
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
    Unavailable,
)
from .keyset import KeySet
from .lease import Lease
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
from .recipes.lock import Lock
from .values import Deleted, Event, Header, KeyValue, Outcome, Range, Revision, Status, Success
from .watch import Watch

__all__ = [
    "AlreadyExists",
    "Client",
    "Closed",
    "Comp",
    "CompCreated",
    "CompLease",
    "CompModified",
    "CompValue",
    "CompVersion",
    "Compacted",
    "CompareFailed",
    "Deleted",
    "Error",
    "Event",
    "Expired",
    "Failed",
    "Header",
    "KeySet",
    "KeyValue",
    "Lease",
    "LeaseNotFound",
    "Lock",
    "Op",
    "OpDel",
    "OpGet",
    "OpSet",
    "OpTxn",
    "Outcome",
    "OutcomeUnknown",
    "PermissionDenied",
    "ProtocolViolation",
    "Range",
    "Revision",
    "Status",
    "Success",
    "Timeout",
    "Transaction",
    "Unavailable",
    "Watch",
    "errors",
]
