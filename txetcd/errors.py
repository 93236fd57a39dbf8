"""
Everything that can go wrong, as one tree.

::

    Error(RuntimeError)                  code, message, call, endpoint, maybe_applied
      RequestError                       the request is wrong; sending it again cannot help
        EmptyKey KeyNotFound ValueProvided LeaseProvided TooManyOps DuplicateKey RequestTooLarge
        InvalidClientAPIVersion InvalidSortOption
      RevisionError                      a revision that the store cannot show
        Compacted FutureRevision RevisionLost
      ResourceError                      the server has no room or no time
        NoSpace TooManyRequests
      LeaseError
        Expired                          the lease is gone
          LeaseNotFound                  ... says the server
        LeaseExist LeaseTTLTooLarge
      WatchError                         this watch cannot be had
        WatchCanceled WatchRangeEmpty DuplicateWatchID
      MemberError
        MemberExist PeerURLExist MemberNotEnoughStarted MemberBadURLs MemberNotFound MemberNotLearner
        LearnerNotReady TooManyLearners ClusterIDMismatch BadLeaderTransferee
      AuthError
        RootUserNotExist RootRoleNotExist UserAlreadyExist UserEmpty UserNotFound RoleAlreadyExist
        RoleNotFound RoleEmpty AuthFailed PermissionNotGiven PermissionDenied RoleNotGranted
        PermissionNotGranted AuthNotEnabled InvalidAuthToken InvalidAuthManagement AuthOldRevision
        CommonNameIgnored
      Unavailable                        not sent, or answered so: try again, perhaps elsewhere
        TLSFailed                        ... because one side does not accept the other
        WrongProtocol                    ... because something else is spoken there
        NoLeader LeaderChanged Stopped RequestTimedOut TimedOutDueToLeaderFail
        TimedOutDueToConnectionLost TimedOutWaitingAppliedIndex Unhealthy NotPrimaryLessor
      ClusterStateError                  this member cannot do that now
        NotLeader NotCapable Corrupt NotSupportedForLearner
      DowngradeError
        WrongDowngradeVersionFormat InvalidDowngradeTargetVersion ClusterVersionUnavailable
        DowngradeInProcess NoInflightDowngrade
      RequestCanceled DeadlineExceeded   the server gave up because the call ended
      ConcurrencyError                   etcd's own lock and election services
        LockedByAnotherSession SessionExpired LockReleased NotElectionLeader NoElectionLeader
        LeaderKeyMissing
        Replaced TooManyClients          ... our own recipes
      TreeError                          a ``Tree`` is not so
        NodeNotFound (also KeyError) NotFile NotDirectory DirectoryNotEmpty
      Unimplemented                      this server does not know the call
      HostNotAllowed                     the server refuses the name in the URL
      WrongCluster                       another cluster is behind the endpoint
      Failed                             the comparison of a transaction did not hold
        CompareFailed                    ... of ``replace``
          AlreadyExists                  ... of ``create``
          PreconditionFailed             ... of a ``Tree`` (also ValueError)
      OutcomeUnknown                     a write was sent and its fate is not known
      Timeout (also TimeoutError)        the deadline of the call passed
      Closed                             the client was closed
      ProtocolViolation                  an answer that no etcd sends

What the server says is told apart by its text first, then by its gRPC code, and never by the HTTP status
(the rule of ``rpctypes.Error`` in etcd's Go client). A text that no class knows is never lost: it is the
``message`` of the class that belongs to its code.

**Did it happen?** ``maybe_applied`` speaks of the fate of the call. It is ``True`` on an error after which a write may
have been applied, or may still be. It is ``False`` when that is known: nothing was written; only ``Failed`` says that
the ``failure`` operations of a transaction were carried out, and those may be writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Optional

if TYPE_CHECKING:
    from .values import Header, KeyValue

CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 1, 2, 3, 4, 5
PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, OUT_OF_RANGE = 7, 8, 9, 11
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED = 12, 13, 14, 15, 16

_BY_TEXT: dict[str, type[Error]] = {}


class Error(RuntimeError):
    """
    The root of all errors of this package.

    :ivar code: the gRPC code (``int``), or ``None`` where no server spoke.
    :ivar message: the server's text, or ours (``str``).
    :ivar call: the name of the RPC, such as ``"KV.Put"`` (``str``), or ``None``.
    :ivar endpoint: the URL that was asked (``str``), or those that were, with commas between them; or ``None``.
    :ivar attempts: how often it was tried (``int``).
    :ivar maybe_applied: whether a write that failed so may have been applied all the same (``bool``).
    """

    text: ClassVar[Optional[str]] = None
    """The server's text for this class, without the prefix ``etcdserver: ``; ``None`` for a group."""

    ambiguous: ClassVar[bool] = False
    """Whether the server may say so after it began to work on the request (see :func:`is_ambiguous`)."""

    maybe_applied = False
    code: Optional[int]
    message: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "text" in cls.__dict__ and cls.text is not None:
            if cls.text in _BY_TEXT:
                raise TypeError(f"{cls.__name__} and {_BY_TEXT[cls.text].__name__} claim the text {cls.text!r}")
            _BY_TEXT[cls.text] = cls

    def __init__(self, code: Optional[int], message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.call: Optional[str] = None
        self.endpoint: Optional[str] = None
        self.attempts = 1

    def __str__(self) -> str:
        where = [part for part in (self.call, self.endpoint and f"at {self.endpoint}") if part]
        said = " ".join(self.message.split())
        if self.attempts > 1:
            said += f" (the last of {self.attempts} attempts)"
        return f"{' '.join(where)}: {said}" if where else said

    def __reduce__(self) -> Any:
        # the default would call the class with ``args``, which not every class takes
        return _rebuilt, (type(self), self.args, self.__dict__)

    def __repr__(self) -> str:
        code = "" if self.code is None else f" code={self.code}"
        return f"<{type(self).__name__}{code}: {self}>"


def _rebuilt(cls: type[Error], args: tuple[Any, ...], state: dict[str, Any]) -> Error:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


# --- the request is wrong


class RequestError(Error):
    """The server refuses the request as it is; sending it again cannot help."""


class EmptyKey(RequestError):
    """A key is missing or empty."""

    text = "key is not provided"


class KeyNotFound(RequestError):
    """The value or the lease of a key that does not exist was to be kept; or an operation of a transaction is empty."""

    text = "key not found"


class ValueProvided(RequestError):
    """A value was given together with ``ignore_value``."""

    text = "value is provided"


class LeaseProvided(RequestError):
    """A lease was given together with ``ignore_lease``."""

    text = "lease is provided"


class TooManyOps(RequestError):
    """A transaction has more operations than the server takes (``--max-txn-ops``, 128 by default)."""

    text = "too many operations in txn request"


class DuplicateKey(RequestError):
    """A transaction would put a key twice, or put a key that it also deletes."""

    text = "duplicate key given in txn request"


class RequestTooLarge(RequestError):
    """The request is larger than the server takes (``--max-request-bytes``, 1.5 MiB by default)."""

    text = "request is too large"


class InvalidClientAPIVersion(RequestError):
    """The version of the API that the client claims is not valid (etcd 3.6 and later)."""

    text = "invalid client api version"


class InvalidSortOption(RequestError):
    """The order or the target of a sort is not known (etcd 3.6 and later)."""

    text = "invalid sort option"


# --- revisions, room


class RevisionError(Error):
    """The store cannot show the revision that was asked for."""


class Compacted(RevisionError):
    """
    The revision was compacted away.

    :ivar compact_revision: the oldest revision that can still be had (``int``), or ``None`` where the server
        does not tell (it does for watches only).
    """

    text = "mvcc: required revision has been compacted"
    compact_revision: Optional[int] = None


class FutureRevision(RevisionError):
    """The revision has not been reached yet."""

    text = "mvcc: required revision is a future revision"


class RevisionLost(RevisionError):
    """
    The cluster has gone back to a revision before one that it had shown: it was restored from a backup, say. What was
    written in between is gone, and the revisions come again for something else.

    :ivar revision: where the cluster is (``int``).
    :ivar seen: where it was (``int``).
    """

    def __init__(self, revision: int, seen: int) -> None:
        super().__init__(None, f"the cluster is at revision {revision}, and was at {seen} before")
        self.revision = revision
        self.seen = seen


class ResourceError(Error):
    """
    The server has no room, or no time; or something on the way has none for the answer. A write is
    :class:`OutcomeUnknown` then, unless a class below says more.
    """


class NoSpace(ResourceError):
    """The database has reached its quota; the write that exceeds it may be applied all the same."""

    text = "mvcc: database space exceeded"


class TooManyRequests(ResourceError):
    """The server is behind with what it has accepted already: wait, then try again."""

    text = "too many requests"


# --- leases, watches


class LeaseError(Error):
    """Something is wrong with a lease."""


class Expired(LeaseError):
    """
    The lease is gone: it has run out, or it was revoked, and the keys that were attached to it are deleted.
    """

    def __init__(self, code: Optional[int] = None, message: str = "lease expired") -> None:
        super().__init__(code, message)


class LeaseNotFound(Expired):
    """The server knows no lease with this id."""

    text = "requested lease not found"


class LeaseExist(LeaseError):
    """A lease with this id exists already."""

    text = "lease already exists"


class LeaseTTLTooLarge(LeaseError):
    """A time to live above nine billion seconds."""

    text = "too large lease TTL"


class WatchError(Error):
    """This watch cannot be had, or cannot go on."""


class WatchCanceled(WatchError):
    """The server ended the watch."""

    text = "watch canceled"


class WatchRangeEmpty(WatchError):
    """The keys to watch are no keys at all: the end of the range does not lie behind its start."""

    text = "mvcc: watcher range is empty"


class DuplicateWatchID(WatchError):
    """The stream has a watch with this id already."""

    text = "mvcc: duplicate watch ID provided on the WatchStream"


# --- members


class MemberError(Error):
    """The members of the cluster cannot be changed so."""


class MemberExist(MemberError):
    """A member with this id exists already."""

    text = "member ID already exist"


class PeerURLExist(MemberError):
    """Another member has this peer URL."""

    text = "Peer URLs already exists"


class MemberNotEnoughStarted(MemberError):
    """Too few members are started to change the cluster safely."""

    text = "re-configuration failed due to not enough started members"


class MemberBadURLs(MemberError):
    """The URLs of the member are not valid."""

    text = "given member URLs are invalid"


class MemberNotFound(MemberError):
    """The cluster has no member with this id."""

    text = "member not found"


class MemberNotLearner(MemberError):
    """Only a learner can be promoted."""

    text = "can only promote a learner member"


class LearnerNotReady(MemberError):
    """The learner is not yet in sync with the leader."""

    text = "can only promote a learner member which is in sync with leader"


class TooManyLearners(MemberError):
    """The cluster takes no further learner."""

    text = "too many learner members in cluster"


class ClusterIDMismatch(MemberError):
    """The member belongs to another cluster."""

    text = "cluster ID mismatch"


class BadLeaderTransferee(MemberError):
    """The leadership cannot go to this member."""

    text = "bad leader transferee"


# --- authentication


class AuthError(Error):
    """The server does not know who asks, or does not allow it."""


class RootUserNotExist(AuthError):
    """Authentication needs a user ``root`` before it can be switched on."""

    text = "root user does not exist"


class RootRoleNotExist(AuthError):
    """The user ``root`` needs the role ``root`` before authentication can be switched on."""

    text = "root user does not have root role"


class UserAlreadyExist(AuthError):
    """A user of this name exists already."""

    text = "user name already exists"


class UserEmpty(AuthError):
    """The name of the user is empty; on an ordinary call: authentication is on and no token was sent."""

    text = "user name is empty"


class UserNotFound(AuthError):
    """There is no user of this name."""

    text = "user name not found"


class RoleAlreadyExist(AuthError):
    """A role of this name exists already."""

    text = "role name already exists"


class RoleNotFound(AuthError):
    """There is no role of this name."""

    text = "role name not found"


class RoleEmpty(AuthError):
    """The name of the role is empty."""

    text = "role name is empty"


class AuthFailed(AuthError):
    """The user or the password is wrong."""

    text = "authentication failed, invalid user ID or password"


class PermissionNotGiven(AuthError):
    """The permission to grant is missing."""

    text = "permission not given"


class PermissionDenied(AuthError):
    """The user may not do that."""

    text = "permission denied"


class RoleNotGranted(AuthError):
    """The user does not have the role that was to be taken away."""

    text = "role is not granted to the user"


class PermissionNotGranted(AuthError):
    """The role does not have the permission that was to be taken away."""

    text = "permission is not granted to the role"


class AuthNotEnabled(AuthError):
    """Authentication is switched off."""

    text = "authentication is not enabled"


class InvalidAuthToken(AuthError):
    """The token is not, or no longer, valid."""

    text = "invalid auth token"


class InvalidAuthManagement(AuthError):
    """The server cannot manage authentication so."""

    text = "invalid auth management"


class AuthOldRevision(AuthError):
    """Users or roles have changed since the token was issued."""

    text = "revision of auth store is old"


class CommonNameIgnored(AuthError):
    """The gateway refuses client certificates that carry a CommonName while authentication is on."""


# --- the server, the cluster


class Unavailable(Error):
    """
    The request was not sent, or the server says that it cannot serve now: try again, perhaps elsewhere.

    ``maybe_applied`` is ``False``: a write that was perhaps applied fails with :class:`OutcomeUnknown`.
    """


class TLSFailed(Unavailable):
    """
    There is no TLS: one side does not accept the other's certificate, or does not speak it. Nothing was sent.

    It is not tried again, unless another endpoint has failed for reasons that pass: only another configuration helps.
    """


class WrongProtocol(Unavailable):
    """
    What is behind the URL does not speak what the URL says. Nothing was carried out. It is not tried again, for it is
    not likely to pass.
    """


class NoLeader(Unavailable):
    """The member knows no leader: it is cut off, or an election is going on."""

    text = "no leader"


class LeaderChanged(Unavailable):
    """The leader changed while the server worked on the request."""

    text = "leader changed"
    ambiguous = True


class Stopped(Unavailable):
    """The server is stopping."""

    text = "server stopped"
    ambiguous = True


class RequestTimedOut(Unavailable):
    """The cluster did not agree on the request within the server's own time limit."""

    text = "request timed out"
    ambiguous = True


class TimedOutDueToLeaderFail(Unavailable):
    """As :class:`RequestTimedOut`; the leader failed meanwhile."""

    text = "request timed out, possibly due to previous leader failure"
    ambiguous = True


class TimedOutDueToConnectionLost(Unavailable):
    """As :class:`RequestTimedOut`; the connections between the members failed meanwhile."""

    text = "request timed out, possibly due to connection lost"
    ambiguous = True


class TimedOutWaitingAppliedIndex(Unavailable):
    """The member is too far behind to answer."""

    text = "request timed out, waiting for the applied index took too long"
    ambiguous = True


class Unhealthy(Unavailable):
    """The cluster is not healthy enough for the request."""

    text = "unhealthy cluster"


class NotPrimaryLessor(Unavailable):
    """The leader, which alone renews leases, is just changing."""

    text = "not a primary lessor"


class ClusterStateError(Error):
    """This member, or this cluster, cannot do that now."""


class NotLeader(ClusterStateError):
    """Only the leader can do that."""

    text = "not leader"


class NotCapable(ClusterStateError):
    """The cluster's version does not have the capability yet."""

    text = "not capable"


class Corrupt(ClusterStateError):
    """The members do not hold the same data."""

    text = "corrupt cluster"


class NotSupportedForLearner(ClusterStateError):
    """A learner does not serve this call."""

    text = "rpc not supported for learner"


class DowngradeError(Error):
    """The cluster cannot be downgraded so."""


class WrongDowngradeVersionFormat(DowngradeError):
    """The version to go down to is not a version."""

    text = "wrong downgrade target version format"


class InvalidDowngradeTargetVersion(DowngradeError):
    """The cluster cannot go down to this version."""

    text = "invalid downgrade target version"


class ClusterVersionUnavailable(DowngradeError):
    """The version of the cluster is not known."""

    text = "cluster version not found during downgrade"


class DowngradeInProcess(DowngradeError):
    """Another downgrade is going on."""

    text = "cluster has a downgrade job in progress"


class NoInflightDowngrade(DowngradeError):
    """There is no downgrade to cancel."""

    text = "no inflight downgrade job"


class RequestCanceled(Error):
    """The server dropped the request because the call was cancelled."""

    text = "request canceled"
    ambiguous = True


class DeadlineExceeded(Error):
    """The server dropped the request because its deadline passed."""

    text = "context deadline exceeded"
    ambiguous = True


# --- etcd's own lock and election services


class ConcurrencyError(Error):
    """A lock or an election went wrong."""


class LockedByAnotherSession(ConcurrencyError):
    """Somebody else holds the lock."""

    text = "mutex: Locked by another session"


class SessionExpired(ConcurrencyError):
    """The lease that the lock or the candidacy stood on is gone."""

    text = "mutex: session is expired"


class LockReleased(ConcurrencyError):
    """The lock is not held, or no longer held."""

    text = "mutex: lock has already been released"


class NotElectionLeader(ConcurrencyError):
    """Somebody else leads."""

    text = "election: not leader"


class NoElectionLeader(ConcurrencyError):
    """Nobody leads."""

    text = "election: no leader"


class LeaderKeyMissing(ConcurrencyError):
    """The request does not say which leadership it is about."""

    text = '"leader" field must be provided'


# --- trees


class TreeError(Error):
    """A tree (:class:`txetcd.Tree`) is not as it would have to be, and nothing was written."""


class NodeNotFound(TreeError, KeyError):
    """
    There is no such node.

    :ivar revision: the revision of the store at which it was not there (``int``), or ``None`` where that is not known:
        ``tree.follow(path, index=error.revision + 1)`` tells when it comes.
    """

    revision: Optional[int] = None


class NotFile(TreeError):
    """The node is a directory, and has no value."""


class NotDirectory(TreeError):
    """A node on the way is no directory, and nothing can be in it."""


class DirectoryNotEmpty(TreeError):
    """The directory is not empty, and was not to be deleted with all that is in it."""
class Replaced(ConcurrencyError):
    """Somebody else has registered under the same name."""


class TooManyClients(ConcurrencyError):
    """As many as there may be have entered already."""


# --- what is not in etcd's table


class Unimplemented(Error):
    """This server does not know the call: it is too old, it has no gateway, or the URL has the wrong path or port."""


class HostNotAllowed(Error):
    """The server refuses requests for the host name in the URL (``--host-whitelist``)."""


class Failed(Error):
    """
    The comparison of a transaction did not hold, so its ``failure`` operations were carried out, writes included.

    ``maybe_applied`` is ``False`` all the same: it speaks of the fate of the call, which is known, and not of these
    operations. None of the ``success`` operations was carried out.

    :ivar header: the :class:`~txetcd.Header` of the answer.
    :ivar responses: the answers to the ``failure`` operations, in their order (``list``).
    """

    def __init__(self, header: Header, responses: list[Any], message: str = "the comparison did not hold") -> None:
        super().__init__(None, message)
        self.header = header
        self.responses = responses


class CompareFailed(Failed):
    """
    The key is not as it was expected to be, and nothing was written.

    :ivar current: the :class:`~txetcd.KeyValue` as it is, or ``None`` if the key does not exist.
    """

    def __init__(self, header: Header, responses: list[Any], message: str, current: Optional[KeyValue]) -> None:
        super().__init__(header, responses, message)
        self.current = current


class AlreadyExists(CompareFailed):
    """The key to create exists already, and nothing was written."""


class PreconditionFailed(CompareFailed, ValueError):
    """The node of a tree is not as it was expected to be, and nothing was written."""


class WrongCluster(Error):
    """
    Behind this endpoint is another cluster than behind those that were asked before.

    ``maybe_applied`` is ``False``, unless the endpoint changed from one cluster to the other between two calls: then
    the other one may have carried out the second.

    :ivar wanted: the id of the cluster that was asked before (``int``).
    :ivar found: the id of the cluster that answered (``int``).
    """

    def __init__(self, wanted: int, found: int) -> None:
        super().__init__(None, f"cluster {found:x} is there, and not cluster {wanted:x} as before")
        self.wanted = wanted
        self.found = found


class OutcomeUnknown(Error):
    """
    A write was sent and its answer lost, or too large for something on the way, or the server gave up while it worked
    on it. It was applied once, or will be, or never was: read before you write again.
    """

    maybe_applied = True


class Timeout(Error, TimeoutError):
    """
    The deadline passed. ``maybe_applied`` says whether a write had been sent by then, or, of a lock, whether anything
    may be left of it.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Timeout:
        """RuntimeError comes first and would be asked to make it, but the layout is that of TimeoutError."""
        return TimeoutError.__new__(cls)

    def __init__(self, message: str, maybe_applied: bool = False) -> None:
        super().__init__(None, message)
        self.maybe_applied = maybe_applied


class Closed(Error):
    """The client was closed. ``maybe_applied`` says whether a write had been sent by then."""

    def __init__(self, message: str = "the client is closed", maybe_applied: bool = False) -> None:
        super().__init__(None, message)
        self.maybe_applied = maybe_applied


class ProtocolViolation(Error):
    """
    An answer that no etcd sends: something else is behind this URL, or sits in between.
    """

    def __init__(self, message: str) -> None:
        super().__init__(None, message)


# --- from what the server says to a class

_PREFIXES = ("etcdserver: ", "auth: ")
_STATUS_PREFIX = "rpc error: code = "

_MESSAGE_TOO_LARGE = ("grpc: received message larger than max", "trying to send message larger than max")
"""What gRPC says of a message in either direction, with the size of it and the limit: ``(3000010 vs. 2097152)``."""

_BY_START: list[tuple[str, type[Error]]] = [
    *((start, RequestTooLarge) for start in _MESSAGE_TOO_LARGE),
    ("CommonName of client sending a request against gateway will be ignored", CommonNameIgnored),
    ("context canceled", RequestCanceled),
    # what the store of users and roles says itself, where the server does not put it in its own words
    ("authentication failed", AuthFailed),
    ("revision in header is old", AuthOldRevision),
    ("user already exists", UserAlreadyExist),
    ("user not found", UserNotFound),
    ("role already exists", RoleAlreadyExist),
    ("role not found", RoleNotFound),
    # said with the code of a cancelled call, by a gateway whose server is stopping
    ("grpc: the client connection is closing", Unavailable),
]
"""Texts that carry figures, or that come with several codes, by their beginning."""

_BY_CODE: dict[int, type[Error]] = {
    CANCELLED: RequestCanceled,
    INVALID_ARGUMENT: RequestError,
    DEADLINE_EXCEEDED: DeadlineExceeded,
    PERMISSION_DENIED: PermissionDenied,
    RESOURCE_EXHAUSTED: ResourceError,
    UNIMPLEMENTED: Unimplemented,
    UNAVAILABLE: Unavailable,
    UNAUTHENTICATED: AuthError,
}


def bare_text(message: str) -> str:
    """
    The server's text without what only says where it comes from: ``rpc error: code = X desc = `` (in the reasons for
    which watches are cancelled), ``etcdserver: `` and ``auth: ``.
    """
    if message.startswith(_STATUS_PREFIX):
        message = message.partition(" desc = ")[2] or message
    for prefix in _PREFIXES:
        if message.startswith(prefix):
            return message[len(prefix) :]
    return message


def class_for(code: Optional[int], message: str) -> type[Error]:
    """
    The class for what a server said: by the text, or else by the beginning of the text, or else by the gRPC code.
    """
    text = bare_text(message)
    if text in _BY_TEXT:
        return _BY_TEXT[text]
    for start, by_start in _BY_START:
        if text.startswith(start):
            return by_start
    return Error if code is None else _BY_CODE.get(code, Error)


_NEVER_STARTED = (
    'connection error: desc = "transport: Error while dialing',
    "there is no address available",
    "there is no connection available",
)
"""How the gateway says that it could not reach its own gRPC server."""


def is_ambiguous(error: Error) -> bool:
    """
    Whether a write may have been applied although the server answered it with this error. A text that no class
    knows, with a code that says as little, has to be taken for one; so has one that says of no matter what that there
    is no room for it.
    """
    if type(error) is ResourceError:
        return True
    if type(error) is Error:
        return error.code in (None, UNKNOWN, INTERNAL, DATA_LOSS)
    if type(error) is Unavailable:
        return not error.message.startswith(_NEVER_STARTED)
    return error.ambiguous


def is_of_request(error: RequestTooLarge, size: int) -> bool:
    """
    Whether it is the request that was too large. A gateway or a proxy may say the same of the answer, when all is done.

    :param size: the bytes of the request, as gRPC sends it.
    """
    text = bare_text(error.message)
    return not text.startswith(_MESSAGE_TOO_LARGE) or f" ({size} vs. " in text


def refusal(code: Optional[int], message: str) -> Error:
    """
    The error for what a server said.

    :param code: the gRPC code, or ``None`` where the server told none (the reason of a cancelled watch).
    :param message: the server's text, kept whole in the error.
    """
    return class_for(code, message)(code, message)
