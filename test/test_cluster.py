"""
The members of the cluster: what is asked, what becomes of the answers, and who leads.
"""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import succeed

from test.fakes import URL
from test.test_client import ClientCase
from txetcd import Cluster, Error, Member, OutcomeUnknown, Timeout
from txetcd import _schema as schema
from txetcd._messages import (
    Empty,
    MemberAddRequest,
    MemberAddResponse,
    MemberListRequest,
    MemberListResponse,
    MemberPromoteRequest,
    MemberRemoveRequest,
    MemberUpdateRequest,
)
from txetcd.errors import FAILED_PRECONDITION, UNAVAILABLE, LearnerNotReady, NoLeader, RequestTimedOut
from txetcd.values import Header, Status

PEER, OTHER_PEER = "http://10.0.0.1:2380", "http://10.0.0.2:2380"
LARGEST = 2**64 - 1
ONE = Member(1, "one", [PEER], ["http://10.0.0.1:2379"])
TWO = Member(LARGEST, "two", [OTHER_PEER], ["http://10.0.0.2:2379"])
MEMBERS = MemberListResponse(Header(), [ONE, TWO])


def status(leader: int, member_id: int = 1) -> Status:
    return Status("3.5.1", 1, leader, Header(member_id=member_id), 2, 9)


class ClusterCase(ClientCase):
    """The members, by a client on a fake."""

    cluster: Cluster

    def setUp(self) -> None:
        super().setUp()
        self.cluster = self.client.cluster
        self.addCleanup(self.__dict__.pop, "cluster")


class MemberTests(ClusterCase):
    """The calls, one by one."""

    def test_member_list(self) -> None:
        """MemberList: linearizable, unless told otherwise."""
        found = self.sends(self.cluster.members(), schema.MEMBER_LIST, MemberListRequest(True), MEMBERS)
        self.assertEqual(found, [ONE, TWO])
        found = self.sends(self.cluster.members(False), schema.MEMBER_LIST, MemberListRequest(False), MEMBERS)
        self.assertEqual(found, [ONE, TWO])

    def test_leader_is_required(self) -> None:
        """A member that is cut off shall refuse, but not if what it knows itself will do."""
        for linearizable in (True, False):
            asked = self.cluster.members(linearizable)
            self.assertEqual(self.transport.next(schema.MEMBER_LIST).metadata.requires_leader, linearizable)
            self.cancelled(asked)

    def test_member_add(self) -> None:
        """MemberAdd, with a vote and without; one URL, several in one text, or a list."""
        for urls, wanted in (
            (PEER, (PEER,)),
            (f"{PEER},{OTHER_PEER}", (PEER, OTHER_PEER)),
            ([PEER, OTHER_PEER + "/"], (PEER, OTHER_PEER)),
            (("HTTP://[::1]:2380",), ("http://[::1]:2380",)),
        ):
            for verb, is_learner in ((self.cluster.add, False), (self.cluster.add_learner, True)):
                request = MemberAddRequest(wanted, is_learner)
                answer = MemberAddResponse(Header(), TWO, [ONE, TWO])
                self.assertEqual(self.sends(verb(urls), schema.MEMBER_ADD, request, answer), TWO)

    def test_member_remove(self) -> None:
        """MemberRemove."""
        removed = self.sends(self.cluster.remove(LARGEST), schema.MEMBER_REMOVE, MemberRemoveRequest(LARGEST), MEMBERS)
        self.assertEqual(removed, [ONE, TWO])

    def test_member_update(self) -> None:
        """MemberUpdate."""
        request = MemberUpdateRequest(1, (PEER, OTHER_PEER))
        updated = self.sends(self.cluster.update(1, [PEER, OTHER_PEER]), schema.MEMBER_UPDATE, request, MEMBERS)
        self.assertEqual(updated, [ONE, TWO])

    def test_member_promote(self) -> None:
        """MemberPromote, and what the server says of it."""
        promoted = self.sends(self.cluster.promote(1), schema.MEMBER_PROMOTE, MemberPromoteRequest(1), MEMBERS)
        self.assertEqual(promoted, [ONE, TWO])
        refused = self.cluster.promote(1)
        text = f"etcdserver: {LearnerNotReady.text}"
        self.transport.next(schema.MEMBER_PROMOTE).reply(LearnerNotReady(FAILED_PRECONDITION, text))
        error = self.failureResultOf(refused, LearnerNotReady).value
        self.assertEqual(str(error), f"Cluster.MemberPromote at {URL}: {text}")

    def test_timeout(self) -> None:
        """Each takes one, and tells of a change that may have been made."""
        for verb in (
            lambda: self.cluster.members(timeout=3),
            lambda: self.cluster.add(PEER, 3),
            lambda: self.cluster.add_learner(PEER, 3),
            lambda: self.cluster.promote(1, 3),
            lambda: self.cluster.remove(1, 3),
            lambda: self.cluster.update(1, PEER, 3),
        ):
            asked = verb()
            (call,) = self.transport.waiting
            self.assertEqual(call.timeout, 3)
            self.clock.advance(3)
            self.assertEqual(self.failureResultOf(asked, Timeout).value.maybe_applied, not call.rpc.is_read)

    def test_answer_lost(self) -> None:
        """A member is not added twice."""
        asked = self.cluster.add(PEER)
        self.transport.next(schema.MEMBER_ADD).reply(RequestTimedOut(UNAVAILABLE, "etcdserver: request timed out"))
        self.failureResultOf(asked, OutcomeUnknown)
        self.transport.asked()


class LeaderTests(ClusterCase):
    """Who leads."""

    def ask(self, answer: Any, timeout: Any = None) -> Any:
        """Asks, and has the members told, and this answered."""
        asked = self.cluster.leader(timeout)
        self.assertEqual(self.transport.next(schema.MEMBER_LIST).request, MemberListRequest(True))
        self.transport.next(schema.MEMBER_LIST).reply(MEMBERS)
        self.assertEqual(self.transport.next(schema.STATUS).request, Empty())
        self.transport.next(schema.STATUS).reply(answer)
        return asked

    def test_leader(self) -> None:
        """The member that the status names."""
        self.assertEqual(self.successResultOf(self.ask(status(leader=LARGEST))), TWO)

    def test_no_leader(self) -> None:
        """None is known, or only one that is no member any more."""
        for answer, text in (
            (status(0), f"Maintenance.Status at {URL}: member 1 knows no leader"),
            (status(0xCAFE), f"Maintenance.Status at {URL}: by member 1, cafe leads, which is no member any more"),
        ):
            self.assertEqual(str(self.failureResultOf(self.ask(answer), NoLeader).value), text)

    def test_refused(self) -> None:
        """Either call."""
        for refuse in (
            lambda: self.transport.next(schema.MEMBER_LIST).reply(NoLeader(UNAVAILABLE, "etcdserver: no leader")),
            lambda: (
                self.transport.next(schema.MEMBER_LIST).reply(MEMBERS),
                self.transport.next(schema.STATUS).reply(NoLeader(UNAVAILABLE, "etcdserver: no leader")),
            ),
        ):
            asked = self.cluster.leader()
            refuse()
            self.failureResultOf(asked, NoLeader)

    def test_timeout(self) -> None:
        """It is one for both calls."""
        asked = self.cluster.leader(3)
        self.clock.advance(2)
        self.transport.next(schema.MEMBER_LIST).reply(MEMBERS)
        self.clock.advance(0.9)
        self.assert_pending(asked)
        self.clock.advance(0.1)
        error = self.failureResultOf(asked, Timeout).value
        told = f"Maintenance.Status at {URL}: sent, but no answer within 1.0 seconds"
        self.assertEqual((str(error), error.maybe_applied), (told, False))
        self.transport.asked()

    def test_cancel(self) -> None:
        """In either call."""
        for steps in (0, 1):
            asked = self.cluster.leader()
            if steps:
                self.transport.next(schema.MEMBER_LIST).reply(MEMBERS)
            self.cancelled(asked)
            self.transport.asked()

    def test_closed(self) -> None:
        """A closed client tells so of everything."""
        self.successResultOf(self.client.close())
        for asked in (self.cluster.members(), self.cluster.leader(), self.cluster.add(PEER), self.cluster.remove(1)):
            self.failureResultOf(asked, Error)


WRONG_URLS = [
    # those of Go's test
    "://127.0.0.1:2379",
    "mailto://127.0.0.1:2379",
    "http://127.0.0.1",
    "http://127.0.0.1:2379/path",
    "127.0.0.1:1234",
    "localhost:1234",
    # and more
    "",
    "http://127.0.0.1:99999",
    "http://10.0.0.1:2380?x",
    "http://10.0.0.1:2380/#",
    "http://user@10.0.0.1:2380",
    "http://:2380",
    "http://10.0.0.1:2380,https://10.0.0.2:2380",
]

MISUSE: list[tuple[Callable[[Cluster], Any], type[Exception], str]] = [
    (lambda c: c.members(1), TypeError, "linearizable must be bool, not int"),
    (lambda c: c.members(timeout=0), ValueError, "timeout must be a positive number of seconds, not 0"),
    (lambda c: c.leader(-1), ValueError, "timeout must be a positive number"),
    (lambda c: c.leader("1"), TypeError, "timeout must be a number of seconds"),
    (lambda c: c.add([]), ValueError, "peer_urls must not be empty"),
    (lambda c: c.add(None), TypeError, "peer_urls must be a str, or a list of them, not NoneType"),
    (lambda c: c.add([7]), TypeError, "peer_urls must be a str, not int"),
    (lambda c: c.add("http://10.0.0.1"), ValueError, "peer_urls must have a port, as in http://10.0.0.1:2380: "),
    (lambda c: c.add_learner(f"{PEER}/x"), ValueError, f"peer_urls must end with the port: '{PEER}/x' has a path"),
    (lambda c: c.update(1, "http://me:pass@x:1"), ValueError, "'http://...@x:1' must not carry a user"),
    (lambda c: c.update(0, PEER), ValueError, "member_id must be between 1 and 18446744073709551615, not 0"),
    (lambda c: c.promote(2**64), ValueError, "member_id must be between 1 and"),
    (lambda c: c.promote("8e9e05c52164694d"), TypeError, "member_id must be int, not str"),
    (lambda c: c.remove(ONE), TypeError, "member_id must be int, not Member"),
    (lambda c: c.remove(True), TypeError, "member_id must be int, not bool"),
    (lambda c: c.remove(1, 0), ValueError, "timeout must be a positive number"),
    (lambda c: c.remove(succeed(1)), TypeError, "member_id must be int, not a Deferred: yield or await it first"),
]


class MisuseTests(ClusterCase):
    """What cannot be asked is not."""

    def test_member_add_update_wrong_urls(self) -> None:
        """MemberAddUpdateWrongURLs."""
        for url in WRONG_URLS:
            for verb in (self.cluster.add, self.cluster.add_learner, lambda urls: self.cluster.update(1, urls)):
                for urls in (url, [url], [PEER, url]):
                    if url or isinstance(urls, str):
                        error = self.assertRaises(ValueError, verb, urls)
                        self.assertIn("peer_urls", str(error))
        self.transport.asked()

    def test_misuse(self) -> None:
        """It is raised at once, and says what is wrong."""
        for verb, kind, text in MISUSE:
            error = self.assertRaises(kind, verb, self.cluster)
            self.assertIn(text, str(error))
        self.transport.asked()
