"""
Everything that can go wrong: texts, classes, the tree, and whether it happened.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any, Optional

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from txetcd import errors
from txetcd._transport import CallCancelled
from txetcd.errors import (
    CANCELLED,
    DATA_LOSS,
    DEADLINE_EXCEEDED,
    FAILED_PRECONDITION,
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    OUT_OF_RANGE,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    UNKNOWN,
    AlreadyExists,
    Closed,
    Compacted,
    CompareFailed,
    Error,
    Expired,
    Failed,
    LeaseNotFound,
    OutcomeUnknown,
    ProtocolViolation,
    RequestTooLarge,
    Timeout,
    Unavailable,
    bare_text,
    class_for,
    is_ambiguous,
    is_of_request,
    refusal,
)
from txetcd.values import Header, KeyValue

# what etcd's rpctypes/error.go has: the code, our class, the text behind "etcdserver: "
TABLE = """
RequestError
 3  EmptyKey                      key is not provided
 3  KeyNotFound                   key not found
 3  ValueProvided                 value is provided
 3  LeaseProvided                 lease is provided
 3  TooManyOps                    too many operations in txn request
 3  DuplicateKey                  duplicate key given in txn request
 3  InvalidClientAPIVersion       invalid client api version
 3  InvalidSortOption             invalid sort option
 3  RequestTooLarge               request is too large
RevisionError
 11 Compacted                     mvcc: required revision has been compacted
 11 FutureRevision                mvcc: required revision is a future revision
ResourceError
 8  NoSpace                       mvcc: database space exceeded
 8  TooManyRequests               too many requests
LeaseError
 5  LeaseNotFound                 requested lease not found
 9  LeaseExist                    lease already exists
 11 LeaseTTLTooLarge              too large lease TTL
WatchError
 1  WatchCanceled                 watch canceled
MemberError
 9  MemberExist                   member ID already exist
 9  PeerURLExist                  Peer URLs already exists
 9  MemberNotEnoughStarted        re-configuration failed due to not enough started members
 3  MemberBadURLs                 given member URLs are invalid
 5  MemberNotFound                member not found
 9  MemberNotLearner              can only promote a learner member
 9  LearnerNotReady               can only promote a learner member which is in sync with leader
 9  TooManyLearners               too many learner members in cluster
 9  ClusterIDMismatch             cluster ID mismatch
 9  BadLeaderTransferee           bad leader transferee
AuthError
 9  RootUserNotExist              root user does not exist
 9  RootRoleNotExist              root user does not have root role
 9  UserAlreadyExist              user name already exists
 3  UserEmpty                     user name is empty
 9  UserNotFound                  user name not found
 9  RoleAlreadyExist              role name already exists
 9  RoleNotFound                  role name not found
 3  RoleEmpty                     role name is empty
 3  AuthFailed                    authentication failed, invalid user ID or password
 3  PermissionNotGiven            permission not given
 7  PermissionDenied              permission denied
 9  RoleNotGranted                role is not granted to the user
 9  PermissionNotGranted          permission is not granted to the role
 9  AuthNotEnabled                authentication is not enabled
 16 InvalidAuthToken              invalid auth token
 3  InvalidAuthManagement         invalid auth management
 3  AuthOldRevision               revision of auth store is old
Unavailable
 14 NoLeader                      no leader
 14 LeaderChanged                 leader changed
 14 Stopped                       server stopped
 14 RequestTimedOut               request timed out
 14 TimedOutDueToLeaderFail       request timed out, possibly due to previous leader failure
 14 TimedOutDueToConnectionLost   request timed out, possibly due to connection lost
 14 TimedOutWaitingAppliedIndex   request timed out, waiting for the applied index took too long
 14 Unhealthy                     unhealthy cluster
 2  NotPrimaryLessor              not a primary lessor
ClusterStateError
 9  NotLeader                     not leader
 14 NotCapable                    not capable
 15 Corrupt                       corrupt cluster
 14 NotSupportedForLearner        rpc not supported for learner
DowngradeError
 3  WrongDowngradeVersionFormat   wrong downgrade target version format
 3  InvalidDowngradeTargetVersion invalid downgrade target version
 14 ClusterVersionUnavailable     cluster version not found during downgrade
 9  DowngradeInProcess            cluster has a downgrade job in progress
 9  NoInflightDowngrade           no inflight downgrade job
Error
 1  RequestCanceled               request canceled
 4  DeadlineExceeded              context deadline exceeded
"""

# said without the prefix
OTHERS: list[tuple[Optional[int], str, str]] = [
    (UNKNOWN, "mutex: Locked by another session", "LockedByAnotherSession"),
    (UNKNOWN, "mutex: session is expired", "SessionExpired"),
    (UNKNOWN, "mutex: lock has already been released", "LockReleased"),
    (UNKNOWN, "election: not leader", "NotElectionLeader"),
    (UNKNOWN, "election: no leader", "NoElectionLeader"),
    (UNKNOWN, '"leader" field must be provided', "LeaderKeyMissing"),
    (None, "mvcc: watcher range is empty", "WatchRangeEmpty"),
    (None, "mvcc: duplicate watch ID provided on the WatchStream", "DuplicateWatchID"),
    (CANCELLED, "context canceled", "RequestCanceled"),
    (UNKNOWN, "context canceled", "RequestCanceled"),
    (DEADLINE_EXCEEDED, "context deadline exceeded", "DeadlineExceeded"),
    (UNKNOWN, "context deadline exceeded", "DeadlineExceeded"),
    (RESOURCE_EXHAUSTED, "grpc: received message larger than max (3000096 vs. 2097152)", "RequestTooLarge"),
    (RESOURCE_EXHAUSTED, "trying to send message larger than max (3000096 vs. 2097152)", "RequestTooLarge"),
    (CANCELLED, "grpc: the client connection is closing", "Unavailable"),
    (UNKNOWN, "auth: authentication failed, password was not supplied", "AuthFailed"),
    (UNKNOWN, "auth: revision in header is old", "AuthOldRevision"),
    (UNKNOWN, "auth: user already exists", "UserAlreadyExist"),
    (UNKNOWN, "auth: user not found", "UserNotFound"),
    (UNKNOWN, "auth: role already exists", "RoleAlreadyExist"),
    (UNKNOWN, "auth: role not found", "RoleNotFound"),
    (UNKNOWN, "auth: invalid auth token", "InvalidAuthToken"),
    (None, "CommonName of client sending a request against gateway will be ignored and not used", "CommonNameIgnored"),
    (UNAVAILABLE, "error reading from server: EOF", "Unavailable"),
    (UNAVAILABLE, "transport is closing", "Unavailable"),
    (UNAVAILABLE, 'connection error: desc = "transport: Error while dialing"', "Unavailable"),
]

BY_CODE: dict[Optional[int], str] = {
    CANCELLED: "RequestCanceled",
    UNKNOWN: "Error",
    INVALID_ARGUMENT: "RequestError",
    DEADLINE_EXCEEDED: "DeadlineExceeded",
    NOT_FOUND: "Error",
    6: "Error",
    PERMISSION_DENIED: "PermissionDenied",
    RESOURCE_EXHAUSTED: "ResourceError",
    FAILED_PRECONDITION: "Error",
    10: "Error",
    OUT_OF_RANGE: "Error",
    UNIMPLEMENTED: "Unimplemented",
    INTERNAL: "Error",
    UNAVAILABLE: "Unavailable",
    DATA_LOSS: "Error",
    UNAUTHENTICATED: "AuthError",
    99: "Error",
    None: "Error",
}

BARE_TEXTS = {
    "etcdserver: no leader": "no leader",
    "auth: no leader": "no leader",
    "no leader": "no leader",
    "rpc error: code = Unavailable desc = etcdserver: no leader": "no leader",
    "rpc error: code = Unknown desc = mutex: session is expired": "mutex: session is expired",
    "rpc error: code = Unknown desc = a desc = b": "a desc = b",
    "rpc error: code = Unknown": "rpc error: code = Unknown",
    "rpc error: code = Unknown desc = ": "rpc error: code = Unknown desc = ",
    "said: etcdserver: no leader": "said: etcdserver: no leader",
    "etcdserver: ": "",
    "": "",
}

# what the server may say of a write that it has begun to work on
AMBIGUOUS = {
    "LeaderChanged", "Stopped", "RequestTimedOut", "TimedOutDueToLeaderFail", "TimedOutDueToConnectionLost",
    "TimedOutWaitingAppliedIndex", "RequestCanceled", "DeadlineExceeded",
}  # fmt: skip

UNKNOWN_TEXTS: list[tuple[Optional[int], str, bool]] = [
    (None, "something new", True),
    (UNKNOWN, "something new", True),
    (INTERNAL, "something new", True),
    (DATA_LOSS, "something new", True),
    (UNAVAILABLE, "error reading from server: EOF", True),
    (UNAVAILABLE, "transport is closing", True),
    (CANCELLED, "grpc: the client connection is closing", True),
    (CANCELLED, "something new", True),
    (DEADLINE_EXCEEDED, "something new", True),
    (UNAVAILABLE, 'connection error: desc = "transport: Error while dialing"', False),
    (UNAVAILABLE, "there is no address available", False),
    (UNAVAILABLE, "there is no connection available", False),
    (INVALID_ARGUMENT, "something new", False),
    (NOT_FOUND, "something new", False),
    (PERMISSION_DENIED, "something new", False),
    (RESOURCE_EXHAUSTED, "something new", True),
    (RESOURCE_EXHAUSTED, "grpc: received message after decompression larger than max (9 vs. 8)", True),
    (RESOURCE_EXHAUSTED, "etcdserver: too many requests", False),
    (FAILED_PRECONDITION, "something new", False),
    (OUT_OF_RANGE, "something new", False),
    (UNIMPLEMENTED, "something new", False),
    (UNAUTHENTICATED, "something new", False),
]

HEADER = Header(2, 7, 1, 3)


def rows() -> list[tuple[str, int, str, str]]:
    """Group, code, class and text of each row of the table."""
    found, group = [], ""
    for line in TABLE.strip().splitlines():
        if line[0] != " ":
            group = line
        else:
            code, name, text = line.split(None, 2)
            found.append((group, int(code), name, text))
    return found


def classes() -> dict[str, type[Error]]:
    """Every error class of the module."""
    return {name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, Error)}


def drawn_tree() -> dict[str, str]:
    """The parent of each class, as the docstring of the module draws it."""
    drawing = (errors.__doc__ or "").partition("::\n\n")[2].partition("\n\n")[0]
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in drawing.splitlines():
        indent = len(line) - len(line.lstrip())
        # behind two spaces comes what the class is about
        names = re.sub(r"\(.*?\)", "", re.split(r" {2,}", line.strip())[0]).split()
        path = [(depth, name) for depth, name in path if depth < indent]
        parents.update((name, path[-1][1] if path else "RuntimeError") for name in names)
        path.append((indent, names[-1]))
    return parents


class TextTests(SynchronousTestCase):
    def test_every_text_of_the_server(self) -> None:
        for group, code, name, text in rows():
            for message in (text, f"etcdserver: {text}", f"rpc error: code = Unknown desc = etcdserver: {text}"):
                error = refusal(code, message)
                self.assertEqual((name, code, message), (type(error).__name__, error.code, error.message))
                self.assertIsInstance(error, classes()[group])

    def test_text_counts_more_than_code(self) -> None:
        """The Lock service reports all with code 2, and codes differ between versions."""
        for _, _, name, text in rows():
            for code in (None, UNKNOWN, INTERNAL, UNAVAILABLE):
                self.assertEqual(name, class_for(code, f"etcdserver: {text}").__name__)

    def test_every_class_with_a_text_is_in_the_tables(self) -> None:
        texts = {text for _, _, _, text in rows()} | {text for _, text, _ in OTHERS}
        self.assertEqual(set(), {cls.text for cls in classes().values() if cls.text is not None} - texts)

    def test_groups(self) -> None:
        """The class stands directly in its group, or in one of the classes between."""
        between = {"LeaseNotFound": "Expired"}
        for group, _, name, _ in rows():
            self.assertEqual(between.get(name, group), classes()[name].__bases__[0].__name__)

    def test_texts_without_prefix(self) -> None:
        for code, text, name in OTHERS:
            error = refusal(code, text)
            self.assertEqual((name, code, text), (type(error).__name__, error.code, error.message))
            wrapped = refusal(code, f"rpc error: code = Unknown desc = {text}")
            self.assertEqual(name, type(wrapped).__name__, text)

    def test_text_that_only_resembles(self) -> None:
        """Texts are compared as a whole."""
        for text in ("etcdserver: no leader!", "etcdserver: No leader", "no  leader", "x etcdserver: no leader"):
            self.assertIs(Error, class_for(UNKNOWN, text))

    def test_unknown_text_goes_by_code(self) -> None:
        for code, name in BY_CODE.items():
            error = refusal(code, "etcdserver: something new")
            self.assertEqual(name, type(error).__name__, code)
            self.assertEqual((code, "etcdserver: something new"), (error.code, error.message))
            self.assertIn("something new", str(error))

    def test_bare_text(self) -> None:
        self.assertEqual(BARE_TEXTS, {message: bare_text(message) for message in BARE_TEXTS})

    def test_one_text_for_one_class(self) -> None:
        def claim() -> None:
            type("Another", (Error,), {"text": "no leader"})

        error = self.assertRaises(TypeError, claim)
        self.assertEqual("Another and NoLeader claim the text 'no leader'", str(error))
        self.assertIs(errors.NoLeader, class_for(None, "no leader"))

    def test_no_text_is_inherited(self) -> None:
        """A class below one with a text does not claim it again."""
        below: Any = type("Below", (errors.NoLeader,), {})
        self.assertEqual("no leader", below.text)
        self.assertIs(errors.NoLeader, class_for(None, "no leader"))


class TreeTests(SynchronousTestCase):
    def test_as_drawn(self) -> None:
        real = {name: cls.__bases__[0].__name__ for name, cls in classes().items()}
        self.assertEqual(real, drawn_tree())

    def test_root(self) -> None:
        self.assertEqual(RuntimeError, Error.__bases__[0])
        self.assertTrue(issubclass(Timeout, TimeoutError))

    def test_a_sentence_for_each(self) -> None:
        for name, cls in classes().items():
            said = " ".join((vars(cls).get("__doc__") or "").partition(":ivar")[0].split())
            self.assertRegex(said, r"^[A-Z].*\.$", name)
            if cls.text is not None:
                self.assertNotRegex(said, r"\.\s", f"{name}: more than a sentence")

    def test_documented_attributes(self) -> None:
        for attribute in ("code", "message", "call", "endpoint", "maybe_applied"):
            self.assertIn(f":ivar {attribute}:", Error.__doc__ or "")
            self.assertIn(attribute, vars(refusal(None, "x")).keys() | {"maybe_applied"})


class ErrorTests(SynchronousTestCase):
    def test_str_names_call_endpoint_and_text(self) -> None:
        error = refusal(UNAVAILABLE, "etcdserver: no leader")
        self.assertEqual("etcdserver: no leader", str(error))
        error.call = "KV.Put"
        self.assertEqual("KV.Put: etcdserver: no leader", str(error))
        error.endpoint = "http://localhost:2379"
        self.assertEqual("KV.Put at http://localhost:2379: etcdserver: no leader", str(error))
        error.call = None
        self.assertEqual("at http://localhost:2379: etcdserver: no leader", str(error))

    def test_str_is_one_line(self) -> None:
        error = refusal(UNKNOWN, "a\n  b\r\n\tc\u2028d ")
        self.assertEqual("a b c d", str(error))
        self.assertEqual("a\n  b\r\n\tc\u2028d ", error.message)

    def test_repr(self) -> None:
        error = refusal(UNAVAILABLE, "etcdserver: no leader")
        error.call, error.endpoint = "KV.Put", "http://localhost:2379"
        self.assertEqual(
            "<NoLeader code=14: KV.Put at http://localhost:2379: etcdserver: no leader>", repr(error)
        )
        self.assertEqual("<Closed: the client is closed>", repr(Closed()))

    def test_as_the_users_of_txaioetcd_know_it(self) -> None:
        error = Error(5, "etcdserver: requested lease not found")
        self.assertEqual((5, "etcdserver: requested lease not found"), (error.code, error.message))
        self.assertEqual((5, "etcdserver: requested lease not found"), error.args)
        self.assertEqual((None, None, False), (error.call, error.endpoint, error.maybe_applied))

    def test_expired(self) -> None:
        self.assertEqual((None, "lease expired"), (Expired().code, Expired().message))
        self.assertIsInstance(refusal(NOT_FOUND, "etcdserver: requested lease not found"), Expired)
        self.assertEqual("lease expired", LeaseNotFound().message)

    def test_failed(self) -> None:
        responses = [object()]
        error = Failed(HEADER, responses)
        self.assertEqual((HEADER, responses, None), (error.header, error.responses, error.code))
        self.assertEqual("the comparison did not hold", str(error))

    def test_compare_failed(self) -> None:
        current = KeyValue(b"k", b"v")
        for cls in (CompareFailed, AlreadyExists):
            error = cls(HEADER, [], "b'k' exists already", current)
            self.assertEqual((HEADER, [], current), (error.header, error.responses, error.current))
            self.assertEqual("b'k' exists already", str(error))
            self.assertIsInstance(error, Failed)

    def test_timeout(self) -> None:
        self.assertEqual(("late", False, None), (Timeout("late").message, Timeout("late").maybe_applied, None))
        self.assertTrue(Timeout("late", maybe_applied=True).maybe_applied)
        self.assertEqual("late", str(Timeout("late")))
        self.assertIsNone(Timeout("late").code)

    def test_closed(self) -> None:
        self.assertEqual("the client is closed", str(Closed()))
        self.assertEqual("the watch is stopped", str(Closed("the watch is stopped")))

    def test_protocol_violation(self) -> None:
        error = ProtocolViolation("not JSON")
        self.assertEqual((None, "not JSON", "not JSON"), (error.code, error.message, str(error)))

    def test_compacted(self) -> None:
        error = refusal(OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
        assert isinstance(error, Compacted)
        self.assertIsNone(error.compact_revision)


class CancelledTests(SynchronousTestCase):
    """What the user's own ``cancel()`` fires a call with."""

    def test_says_whether_a_write_had_been_sent(self) -> None:
        texts = {maybe_applied: str(CallCancelled(maybe_applied)) for maybe_applied in (True, False)}
        self.assertEqual(
            {
                True: "the call was cancelled: a write had been sent, which may be applied",
                False: "the call was cancelled: no write had been sent",
            },
            texts,
        )

    def test_is_what_twisted_fires_with(self) -> None:
        self.assertIsInstance(CallCancelled(True), CancelledError)

    def test_copies(self) -> None:
        """An exception can be copied, and sent to another process."""
        for maybe_applied in (True, False):
            cancelled = CallCancelled(maybe_applied)
            for again in (copy.copy(cancelled), pickle.loads(pickle.dumps(cancelled))):
                self.assertEqual((maybe_applied, str(cancelled)), (again.maybe_applied, str(again)))


class DidItHappenTests(SynchronousTestCase):
    def test_ambiguous_classes(self) -> None:
        self.assertEqual(AMBIGUOUS, {name for name, cls in classes().items() if cls.ambiguous})

    def test_every_text(self) -> None:
        for _, code, name, text in rows():
            self.assertEqual(name in AMBIGUOUS, is_ambiguous(refusal(code, f"etcdserver: {text}")), name)

    def test_unknown_texts(self) -> None:
        told = {(code, text): is_ambiguous(refusal(code, text)) for code, text, _ in UNKNOWN_TEXTS}
        self.assertEqual({(code, text): answer for code, text, answer in UNKNOWN_TEXTS}, told)

    def test_what_was_too_large(self) -> None:
        """The request, if what was too large has its size, or if it is etcd that says so; else it may be the answer."""
        texts = [
            ("grpc: received message larger than max (3000096 vs. 2097152)", True),
            ("rpc error: code = ResourceExhausted desc = grpc: received message larger than max (3000096 vs. 2)", True),
            ("trying to send message larger than max (3000096 vs. 2097152)", True),
            ("grpc: received message larger than max length allowed on current machine (3000096 vs. 2097152)", True),
            ("etcdserver: request is too large", True),
            ("the request is too large (HTTP 413: '(7 vs. 8)')", True),
            ("grpc: received message larger than max (3000097 vs. 2097152)", False),
            ("grpc: received message larger than max (13000096 vs. 2097152)", False),
            ("grpc: received message larger than max (4000000 vs. 3000096)", False),
            ("trying to send message larger than max (4000000 vs. 2097152)", False),
            ("grpc: received message larger than max", False),
        ]
        for text, of_request in texts:
            error = RequestTooLarge(RESOURCE_EXHAUSTED, text)
            self.assertIs(of_request, is_of_request(error, 3_000_096), text)

    def test_maybe_applied(self) -> None:
        """Of itself, only an unknown outcome says so."""
        self.assertEqual(["OutcomeUnknown"], [name for name, cls in classes().items() if cls.maybe_applied])
        self.assertTrue(OutcomeUnknown(None, "the connection was lost").maybe_applied)
        self.assertFalse(Unavailable(UNAVAILABLE, "no leader").maybe_applied)
