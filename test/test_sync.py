"""
The endpoints of a cluster, as the cluster itself tells them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from test.fakes import Case, fake_way
from txetcd import Client
from txetcd import _schema as schema
from txetcd._calls import Calls
from txetcd._messages import Member, MemberListRequest, MemberListResponse
from txetcd._sync import EndpointSync
from txetcd.errors import PermissionDenied, Unavailable
from txetcd.values import Header

A, B, C = "http://a:2379", "http://b:2379", "http://c:2379"


def member(name: str, *urls: str, is_learner: bool = False) -> Member:
    return Member(7, name, ["http://peer"], list(urls), is_learner)


def members(*those: Member) -> MemberListResponse:
    return MemberListResponse(Header(1, 5, 77, 8), list(those))


class SyncCase(Case):
    """A client that knows one endpoint."""

    def setUp(self) -> None:
        super().setUp()
        self.use(None)

    def use(self, mapping: Any) -> None:
        """Goes on with this mapping."""
        self.way = fake_way(self.clock, self.transport, A)
        self.calls = Calls(self.way)
        self.sync = EndpointSync(self.calls, self.clock, self.way, mapping)

    def tearDown(self) -> None:
        for name in ("sync", "way"):
            self.__dict__.pop(name, None)
        super().tearDown()

    def answer(self, *those: Member) -> None:
        call = self.transport.next(schema.MEMBER_LIST)
        self.assertEqual(call.request, MemberListRequest(True))
        call.reply(members(*those))

    def synced(self, *those: Member) -> Deferred[Any]:
        syncing = self.sync.sync(5.0)
        self.answer(*those)
        return syncing


class OnceTests(SyncCase):
    """Asked for."""

    def test_members(self) -> None:
        """Every member that can be asked, at each of its URLs."""
        syncing = self.synced(
            member("a", A),
            member("b", B, "http://b2:2379/"),
            member("", "http://not-started:2379"),
            member("l", "http://learner:2379", is_learner=True),
            member("s", "https://s:2379", "unix://s:0"),
        )
        self.assertEqual(self.successResultOf(syncing), (A, B, "http://b2:2379"))
        self.assertEqual(self.way.endpoints.urls, (A, B, "http://b2:2379"))

    def test_mapping(self) -> None:
        """What is advertised may have another address from here, or none."""
        self.use({A: "http://localhost:1", B: None, C: "http://localhost:3"}.get)
        syncing = self.synced(member("a", A), member("b", B), member("c", C))
        self.assertEqual(sorted(self.successResultOf(syncing)), ["http://localhost:1", "http://localhost:3"])

    def test_none(self) -> None:
        """The endpoints stay as they are."""
        for those, said in (
            ((), "by what they advertise: nothing"),
            ((member("s", "https://s:2379"),), "by what they advertise: https://s:2379"),
        ):
            error = self.failureResultOf(self.synced(*those), Unavailable).value
            self.assertIn(said, str(error))
            self.assertEqual(error.call, "Cluster.MemberList")
            self.assertEqual(self.way.endpoints.urls, (A,))

    def test_what_fails(self) -> None:
        """So they do if the call fails, or the mapping, or a member advertises nonsense."""
        syncing = self.sync.sync()
        self.transport.next(schema.MEMBER_LIST).reply(PermissionDenied(7, "x"))
        self.failureResultOf(syncing, PermissionDenied)
        self.failureResultOf(self.synced(member("a", "http://:0")), ValueError)
        self.use(lambda url: 1 // 0)
        self.failureResultOf(self.synced(member("a", A)), ZeroDivisionError)
        self.use(lambda url: 7)
        error = self.failureResultOf(self.synced(member("a", A)), TypeError).value
        self.assertEqual(str(error), f"the mapping of {A} must be a URL (a str) or None, not int")
        self.assertEqual(self.way.endpoints.urls, (A,))


class AgainTests(SyncCase):
    """Every so many seconds."""

    def test_again_and_again(self) -> None:
        """At once, and then as long as the client is open; a failure is logged, and does not end it."""
        self.sync.start(30.0)
        self.answer(member("a", A), member("b", B))
        self.assertEqual(self.way.endpoints.urls, (A, B))
        self.clock.advance(30.0)
        self.transport.next(schema.MEMBER_LIST).reply(PermissionDenied(7, "x"))
        self.clock.advance(30.0)
        self.answer(member("b", B))
        self.assertEqual(self.way.endpoints.urls, (B,))
        self.calls.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_meanwhile(self) -> None:
        self.sync.start(30.0)
        self.transport.asked("MemberList")
        self.calls.close()
        self.transport.asked()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ClientTests(Case):
    """As the client offers it."""

    def test_misuse(self) -> None:
        for options, kind, text in (
            ({"sync_interval": 0}, ValueError, "sync_interval must be a positive number of seconds, not 0"),
            ({"sync_interval": "1"}, TypeError, "sync_interval must be a number of seconds or None, not str"),
            ({"endpoint_mapping": {}}, TypeError, "mapping must be callable, not dict"),
        ):
            error = self.assertRaises(kind, Client, self.clock, A, **options)
            self.assertEqual(str(error), text)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_set_endpoints(self) -> None:
        """Of the scheme that there is."""
        client = Client(self.clock, [A, B])
        client.set_endpoints(f"{B},{C}")
        self.assertEqual(sorted(client.endpoints), [B, C])
        for url, text in (
            ("https://a", "url must begin with http://, as the endpoints that the client has"),
            ([], "url must not be empty"),
        ):
            error = self.assertRaises(ValueError, client.set_endpoints, url)
            self.assertEqual(str(error), text)
        self.assertEqual(sorted(client.endpoints), [B, C])
        self.assertIn("b:2379", repr(client))
