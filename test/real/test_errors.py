"""
What servers refuse, and how: every text of etcd's that can be had from a server comes out as its own class, says what
was asked of whom, and whether it may have happened.

What no verb asks for yet is asked through ``_calls``; what the checks of a verb would stop is put past them.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Callable, Optional, TypeVar, Union

from twisted.internet.defer import Deferred, gatherResults
from twisted.web.client import Agent
from twisted.web.iweb import IAgent
from zope.interface import implementer

from test.real.base import GATEWAY, NATIVE, QUICK, RealCase, on_every_server
from txetcd import (
    Compacted,
    CompValue,
    CompVersion,
    KeySet,
    LeaseNotFound,
    OpDel,
    OpGet,
    OpSet,
    OpTxn,
    OutcomeUnknown,
    PermissionDenied,
    Timeout,
    Transaction,
    Unavailable,
    _grpc,
    _protobuf,
    errors,
)
from txetcd import _messages as messages
from txetcd import _schema as schema
from txetcd.testing import EtcdCluster

T = TypeVar("T")


@implementer(IAgent)
class WithHeaders:
    """An agent that sends further headers: a deadline."""

    def __init__(self, reactor: Any, headers: dict[str, str]) -> None:
        self._agent = Agent(reactor)
        self._headers = headers

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Any:
        """See :meth:`IAgent.request <twisted.web.iweb.IAgent.request>`."""
        more = headers.copy()
        for name, value in self._headers.items():
            more.setRawHeaders(name, [value])
        return self._agent.request(method, uri, more, bodyProducer)


def past_checks(request: T, **attributes: object) -> T:
    """*request*, with attributes as no check would have let them pass."""
    for name, value in attributes.items():
        object.__setattr__(request, name, value)
    return request


class _Errors(RealCase):
    async def refused(
        self: Any,
        answer: Awaitable[Any],
        cls: type[errors.Error],
        code: Union[int, tuple[int, ...], None],
        call: str,
        text: Optional[str] = None,
        maybe_applied: bool = False,
    ) -> Any:
        """*answer* fails with exactly *cls*, which tells all there is to tell; its code may be one of several."""
        with self.assertRaises(errors.Error) as caught:
            await answer
        error = caught.exception
        said = f"{type(error).__name__} {error}"
        codes = code if isinstance(code, tuple) else (code,)
        self.assertEqual((type(error), error.maybe_applied), (cls, maybe_applied), said)
        self.assertIn(error.code, codes, said)
        self.assertIn(text or cls.text or "", error.message)
        self.assertEqual(error.call, call)
        self.assertIn(error.endpoint, (self.url, self.etcd.endpoints[0]))
        self.assertEqual(str(error), f"{call} at {error.endpoint}: {' '.join(error.message.split())}")
        return error

    def ask(self: Any, rpc: schema.Rpc, request: Any = None) -> Deferred[Any]:
        answer: Deferred[Any] = self.etcd._calls.call(rpc, messages.Empty() if request is None else request)
        return answer

    async def refusals(self: Any, *table: Any) -> None:
        """Each line: what is called, the request, and what is answered."""
        for rpc, request, cls, code, *text in table:
            await self.refused(self.ask(rpc, request), cls, code, rpc.name, *text)

    async def on_own_server(self: Any, *arguments: str) -> Any:
        """Goes on with a server that may be hurt."""
        process = await self.own_server([*QUICK, *arguments])
        self.etcd = self.client(process.url)
        return process

    def with_token(self: Any, token: str) -> Any:
        """A client of the same server that sends this one."""
        return self.client(self.etcd.endpoints[0], credentials=token)

    def with_no_time(self: Any) -> Any:
        """A client of the same server, which has a nanosecond for each call, while the client has more."""
        if self.scheme == NATIVE:
            self.patch(_grpc, "timeout_text", lambda milliseconds: b"1n")
            return self.client()
        return self.client(agent=WithHeaders(self.reactor, {"Grpc-Timeout": "1n"}))

    async def until_refused(self: Any, ask: Callable[[], Deferred[Any]]) -> None:
        """
        Asks again and again: a server may be done before it notices that it is late; or whatever waits in it for a
        write notices it first, in other words.
        """
        while True:
            try:
                await ask()
            except errors.Error as error:
                if "request timed out" not in error.message:
                    raise

    def put(self: Any, value: bytes = b"x") -> OpSet:
        return OpSet(self.key(b"a"), value)


@on_every_server()
class Requests(_Errors):
    """Requests that are wrong."""

    async def put_of(self: Any, cls: type[errors.Error], code: int, **attributes: Any) -> None:
        op = past_checks(self.put(), **attributes)
        await self.refused(self.ask(schema.PUT, op), cls, code, "KV.Put")

    async def test_empty_key(self: Any) -> None:
        await self.put_of(errors.EmptyKey, 3, key=b"")
        keys = past_checks(KeySet(b"a"), start=b"")
        for rpc, op in ((schema.RANGE, OpGet(keys)), (schema.DELETE_RANGE, OpDel(keys))):
            await self.refused(self.ask(rpc, op), errors.EmptyKey, 3, rpc.name)

    async def test_key_not_found(self: Any) -> None:
        for option in ("ignore_value", "ignore_lease"):
            value = None if option == "ignore_value" else b""
            setting = self.etcd.set(self.key(b"a"), value, **{option: True})
            await self.refused(setting, errors.KeyNotFound, 3, "KV.Put")

    async def test_value_provided(self: Any) -> None:
        await self.put_of(errors.ValueProvided, 3, ignore_value=True)

    async def test_lease_provided(self: Any) -> None:
        await self.put_of(errors.LeaseProvided, 3, ignore_lease=True, lease=7)

    async def test_too_many_ops(self: Any) -> None:
        txn = Transaction([], [OpGet(self.key(b"a"))] * 129)
        await self.refused(self.etcd.transact(txn), errors.TooManyOps, 3, "KV.Txn")

    async def test_duplicate_key(self: Any) -> None:
        await self.refused(
            self.etcd.submit(Transaction([], [self.put(), self.put()])), errors.DuplicateKey, 3, "KV.Txn"
        )

    async def test_too_large(self: Any) -> None:
        """For the store: 1.5 MiB."""
        value = bytes(1024 * 1024 * 3 // 2)
        await self.refused(self.etcd.set(self.key(b"a"), value), errors.RequestTooLarge, 3, "KV.Put")

    async def test_too_large_for_grpc(self: Any) -> None:
        """... and for the gateway's way to it: the figures are in the message."""
        setting = self.etcd.set(self.key(b"a"), bytes(3_000_000))
        text = "grpc: received message larger than max (3000"
        await self.refused(setting, errors.RequestTooLarge, 8, "KV.Put", text)

    async def test_size_of_a_request(self: Any) -> None:
        """It is what the server, or its gateway, says of it: else it could be the answer that was too large."""
        lease = await self.etcd.lease(60)
        put = OpSet(self.key(b"a"), bytes(3_000_000), lease=lease.lease_id, return_previous=True)
        inner = OpTxn(Transaction([], [OpDel(self.key(b"b")), OpGet(self.keys(), limit=1)]))
        compare = [CompVersion(self.key(b"a"), "==", 0), CompValue(self.key(b"b"), "!=", b"")]
        for rpc, request in (schema.PUT, put), (schema.TXN, Transaction(compare, [put, inner], [inner])):
            text = f"grpc: received message larger than max ({len(_protobuf.encode(rpc, request))} vs. "
            await self.refused(self.ask(rpc, request), errors.RequestTooLarge, 8, rpc.name, text)

    async def test_nothing_happened(self: Any) -> None:
        """After a refusal the connection goes on serving, and nothing was written."""
        with self.assertRaises(errors.RequestTooLarge):
            await self.etcd.create(self.key(b"a"), bytes(3_000_000))
        self.assertEqual((await self.etcd.get(self.keys())).count, 0)

    async def test_deadline(self: Any) -> None:
        """A deadline that the server itself has to keep."""
        etcd = self.with_no_time()
        text = "context deadline exceeded"
        # whichever part of the server is the first to notice: of the gateway always the same one
        code = (2, 4) if self.scheme == NATIVE and self.server.version <= (3, 5, 1) else (4,)
        getting = self.until_refused(lambda: etcd.get(self.key(b"a")))
        await self.refused(getting, errors.DeadlineExceeded, code, "KV.Range", text)
        setting = self.until_refused(lambda: etcd.set(self.key(b"a"), b""))
        error = await self.refused(setting, OutcomeUnknown, code, "KV.Put", text, True)
        self.assertIsInstance(error.__cause__, errors.DeadlineExceeded)


@on_every_server(schemes=[GATEWAY])
class Paths(_Errors):
    """The gateway's paths."""

    async def test_unknown_path(self: Any) -> None:
        """Something else answers, which has no gateway."""
        self.etcd = self.client(self.url + "/elsewhere")
        await self.refused(self.etcd.get(b"a"), errors.Unimplemented, 12, "KV.Range", "no etcd gateway there")


@on_every_server(lambda server: server.version >= (3, 6))
class NewerRequests(_Errors):
    """What is checked since 3.6. Before, an unknown number to sort by ended the server."""

    def let_pass(self: Any, number: int) -> None:
        """The native codec knows the numbers of names, and no others."""
        numbers = _protobuf._ENCODERS["RangeRequest"][OpGet].__globals__["SortTarget"]
        numbers[number] = number
        self.addCleanup(numbers.pop, number)

    async def test_invalid_sort_option(self: Any) -> None:
        self.let_pass(17)
        op = past_checks(OpGet(self.keys()), sort_target=17)
        await self.refused(self.ask(schema.RANGE, op), errors.InvalidSortOption, 3, "KV.Range")


@on_every_server()
class Revisions(_Errors):
    """Revisions that the store cannot show."""

    async def test_compacted(self: Any) -> None:
        first = (await self.etcd.set(self.key(b"a"), b"")).header.revision
        second = (await self.etcd.set(self.key(b"a"), b"")).header.revision
        await self.etcd.compact(second)
        await self.refused(self.etcd.get(self.key(b"a"), revision=first), Compacted, 11, "KV.Range")
        await self.refused(self.etcd.compact(first), Compacted, 11, "KV.Compact")
        txn = Transaction([], [OpGet(self.key(b"a"), revision=first)])
        await self.refused(self.etcd.transact(txn), Compacted, 11, "KV.Txn")
        watch = self.etcd.watcher(self.key(b"a"), start_revision=first)
        error = await self.refused(watch.when_stopped(), Compacted, None, "Watch.Watch")
        self.assertEqual(error.compact_revision, second)

    async def test_future(self: Any) -> None:
        for call, answer in (
            ("KV.Range", self.etcd.get(self.key(b"a"), revision=2**40)),
            ("KV.Compact", self.etcd.compact(2**40)),
            ("KV.Txn", self.etcd.transact(Transaction([], [OpGet(self.key(b"a"), revision=2**40)]))),
        ):
            await self.refused(answer, errors.FutureRevision, 11, call)


@on_every_server()
class Leases(_Errors):
    """Leases, and watches that cannot be."""

    async def test_not_found(self: Any) -> None:
        await self.refused(self.etcd.set(self.key(b"a"), b"", lease=404), LeaseNotFound, 5, "KV.Put")
        await self.refused(self.etcd.create(self.key(b"a"), b"", lease=404), LeaseNotFound, 5, "KV.Txn")
        revoking = self.ask(schema.LEASE_REVOKE, messages.LeaseRevokeRequest(404))
        await self.refused(revoking, LeaseNotFound, 5, "Lease.LeaseRevoke")

    async def test_exists(self: Any) -> None:
        async with self.etcd.lease(60) as lease:
            again = self.etcd.lease(60, lease.lease_id)
            await self.refused(again, errors.LeaseExist, 9, "Lease.LeaseGrant")

    async def test_too_large(self: Any) -> None:
        request = messages.LeaseGrantRequest(9_000_000_001)
        await self.refused(self.ask(schema.LEASE_GRANT, request), errors.LeaseTTLTooLarge, 11, "Lease.LeaseGrant")
        with self.assertRaises(ValueError):
            self.etcd.lease(9_000_000_001)

    async def test_empty_watch(self: Any) -> None:
        watch = self.etcd.watcher(KeySet(self.key(b"b"), self.key(b"a")))
        await self.refused(watch.when_started(), errors.WatchRangeEmpty, None, "Watch.Watch")


@on_every_server()
class Concurrency(_Errors):
    """etcd's own lock and election services, which say everything with the code 2."""

    async def test_no_leader(self: Any) -> None:
        request = messages.LeaderRequest(self.key(b"e"))
        await self.refused(self.ask(schema.LEADER, request), errors.NoElectionLeader, 2, "Election.Leader")

    async def test_not_leader(self: Any) -> None:
        async with self.etcd.lease(60) as lease:
            campaign = messages.CampaignRequest(self.key(b"e"), lease.lease_id, b"me")
            leader = (await self.ask(schema.CAMPAIGN, campaign)).leader
            await self.ask(schema.RESIGN, messages.ResignRequest(leader))
            proclaim = messages.ProclaimRequest(leader, b"still me")
            await self.refused(self.ask(schema.PROCLAIM, proclaim), errors.NotElectionLeader, 2, "Election.Proclaim")

    async def test_leader_missing(self: Any) -> None:
        await self.refusals(
            (schema.PROCLAIM, messages.ProclaimRequest(None), errors.LeaderKeyMissing, 2),
            (schema.RESIGN, messages.ResignRequest(None), errors.LeaderKeyMissing, 2),
        )

    async def test_texts_of_others(self: Any) -> None:
        """What the store says is told apart here as well, in spite of the code."""
        await self.refusals(
            (schema.LOCK, messages.LockRequest(self.key(b"l"), 404), LeaseNotFound, 2),
            (schema.CAMPAIGN, messages.CampaignRequest(self.key(b"e"), 404), LeaseNotFound, 2),
            (schema.UNLOCK, messages.UnlockRequest(b""), errors.EmptyKey, 2),
        )

    async def test_session_expired(self: Any) -> None:
        """A waiter whose lease goes; 3.4 tells it that it has the lock."""
        held = await self.ask(schema.LOCK, messages.LockRequest(self.key(b"l")))
        lease = await self.etcd.lease(60)
        waiting = self.ask(schema.LOCK, messages.LockRequest(self.key(b"l"), lease.lease_id))
        await self.until(lease.keys)
        await lease.revoke()
        await self.ask(schema.UNLOCK, messages.UnlockRequest(held.key))
        if self.server.version >= (3, 5):
            await self.refused(waiting, errors.SessionExpired, 2, "Lock.Lock")
        else:
            await waiting


@on_every_server()
class Members(_Errors):
    """Changes of the members."""

    async def test_members(self: Any) -> None:
        await self.on_own_server()
        (own,) = (await self.ask(schema.MEMBER_LIST, messages.MemberListRequest())).members
        nowhere = ("http://127.0.0.1:1",)
        add, remove, promote = messages.MemberAddRequest, messages.MemberRemoveRequest, messages.MemberPromoteRequest
        for line in (
            (schema.MEMBER_ADD, add(("not a url",)), errors.MemberBadURLs, 3),
            (schema.MEMBER_ADD, add(()), errors.MemberBadURLs, 3),
            (schema.MEMBER_ADD, add(tuple(own.peer_urls)), errors.PeerURLExist, 9),
            (schema.MEMBER_REMOVE, remove(404), errors.MemberNotFound, 5),
            (schema.MEMBER_UPDATE, messages.MemberUpdateRequest(404, nowhere), errors.MemberNotFound, 5),
            (schema.MEMBER_PROMOTE, promote(404), errors.MemberNotFound, 5),
            (schema.MEMBER_PROMOTE, promote(own.member_id), errors.MemberNotLearner, 9),
            (schema.MOVE_LEADER, messages.MoveLeaderRequest(404), errors.BadLeaderTransferee, 9),
            (schema.MEMBER_REMOVE, remove(own.member_id), errors.MemberNotEnoughStarted, 2),
        ):
            # a change has to be applied before the next one: 3.5.1 at times never answers the second of two
            await self.etcd.set(b"settle", b"")
            await self.refusals(line)

    async def test_learners(self: Any) -> None:
        await self.on_own_server()
        request = messages.MemberAddRequest(("http://127.0.0.1:1",), is_learner=True)
        learner = (await self.ask(schema.MEMBER_ADD, request)).member
        another = messages.MemberAddRequest(("http://127.0.0.1:2",), is_learner=True)
        for line in (
            (schema.MEMBER_ADD, another, errors.TooManyLearners, 9),
            (schema.MEMBER_PROMOTE, messages.MemberPromoteRequest(learner.member_id), errors.LearnerNotReady, 9),
        ):
            await self.etcd.set(b"settle", b"")
            await self.refusals(line)


@on_every_server()
class Maintenance(_Errors):
    """A server that is full, broken, or too old."""

    async def test_no_space(self: Any) -> None:
        await self.on_own_server(f"--quota-backend-bytes={2 * 1024 * 1024}", "--backend-batch-interval=100ms")
        await self.until(self.is_full)
        # now the alarm is on, and nothing is written any more
        await self.refused(self.etcd.set(b"a", b""), errors.NoSpace, 8, "KV.Put", maybe_applied=True)
        await self.refused(self.etcd.create(b"a", b""), errors.NoSpace, 8, "KV.Txn", maybe_applied=True)
        await self.refused(self.etcd.lease(60), errors.NoSpace, 8, "Lease.LeaseGrant", maybe_applied=True)
        self.assertIn("NOSPACE", " ".join((await self.etcd.status()).errors))
        # it can be read, and made room in
        self.assertEqual((await self.etcd.get(b"a")).count, 0)
        self.assertGreater((await self.etcd.delete(KeySet.all())).deleted, 0)

    async def is_full(self: Any) -> bool:
        """Whether half a MB more is refused. The server looks at its file, which grows now and then only."""
        try:
            await self.etcd.set(b"large", bytes(512 * 1024))
        except errors.NoSpace:
            return True
        return False

    async def test_corrupt(self: Any) -> None:
        await self.on_own_server()
        own = (await self.etcd.status()).header.member_id
        await self.ask(schema.ALARM, messages.AlarmRequest("ACTIVATE", own, "CORRUPT"))
        await self.refused(self.etcd.set(b"a", b""), errors.Corrupt, 15, "KV.Put")
        await self.refused(self.etcd.create(b"a", b""), errors.Corrupt, 15, "KV.Txn")

    async def test_unimplemented(self: Any) -> None:
        """What a server, or its gateway, is too old for."""
        version = self.server.version
        for rpc, request, since in (
            (schema.HASH_KV, messages.HashKVRequest(), self.by_transport((3, 5, 10), (3, 3))),
            (schema.AUTH_STATUS, messages.Empty(), (3, 5)),
            (schema.DOWNGRADE, messages.DowngradeRequest("VALIDATE", "x"), (3, 5)),
        ):
            if version < since:
                await self.refused(self.ask(rpc, request), errors.Unimplemented, 12, rpc.name)


@on_every_server(schemes=[GATEWAY])
class HostNames(_Errors):
    """A server that is called by another name than those that it was told."""

    async def test_host_not_allowed(self: Any) -> None:
        await self.on_own_server("--host-whitelist=127.0.0.1")
        await self.etcd.get(b"a")
        self.etcd = self.client(self.etcd.endpoints[0].replace("127.0.0.1", "localhost"))
        await self.refused(self.etcd.get(b"a"), errors.HostNotAllowed, None, "KV.Range", "421")
        await self.refused(self.etcd.set(b"a", b""), errors.HostNotAllowed, None, "KV.Put", "421")


@on_every_server(schemes=[NATIVE])
class AnyHostName(_Errors):
    """... which is a matter of the gateway alone: it is there because browsers can be led to it."""

    async def test_any_host(self: Any) -> None:
        await self.on_own_server("--host-whitelist=127.0.0.1")
        self.etcd = self.client(self.etcd.endpoints[0].replace("127.0.0.1", "localhost"))
        await self.etcd.set(b"a", b"")
        self.assertEqual((await self.etcd.get(b"a")).count, 1)


@on_every_server(lambda server: server.version >= (3, 5))
class Downgrade(_Errors):
    """The downgrade, since 3.5."""

    async def test_downgrade(self: Any) -> None:
        await self.on_own_server()
        # the version of the cluster is agreed upon a little after the start
        release = ".".join(self.server.label.split(".")[:2])
        await self.until(lambda: self.knows_cluster_version(f"{release}.0"))
        await self.refusals(
            (schema.DOWNGRADE, messages.DowngradeRequest("VALIDATE", "x"), errors.WrongDowngradeVersionFormat, 3),
            (schema.DOWNGRADE, messages.DowngradeRequest("VALIDATE", "1.0.0"), errors.InvalidDowngradeTargetVersion, 3),
        )
        before = f"3.{self.server.version[1] - 1}.0"
        enabling = messages.DowngradeRequest("ENABLE", before)
        if self.server.version < (3, 6):
            cancel = messages.DowngradeRequest("CANCEL")
            await self.refusals((schema.DOWNGRADE, cancel, errors.NoInflightDowngrade, 9))
            # 3.5 carries it out, and says that it took too long
            await self.refused(
                self.ask(schema.DOWNGRADE, enabling), OutcomeUnknown, 14, "Maintenance.Downgrade", "timed out", True
            )
        else:
            await self.ask(schema.DOWNGRADE, enabling)
        await self.refusals((schema.DOWNGRADE, enabling, errors.DowngradeInProcess, 9))

    async def knows_cluster_version(self: Any, version: str) -> bool:
        answer = self.ask(schema.DOWNGRADE, messages.DowngradeRequest("VALIDATE", version))
        return bool(await answer.addErrback(lambda failure: not failure.check(errors.ClusterVersionUnavailable)))


ROOT = messages.AuthUserAddRequest("root", "secret")
ALICE = messages.AuthUserAddRequest("alice", "wonder")
NOBODY = "nobody"


class _Auth(_Errors):
    async def switched_on(self: Any) -> None:
        """Authentication is on; alice may do everything with ``alice/``."""
        add_role, grant_role = messages.AuthRoleAddRequest, messages.AuthUserGrantRoleRequest
        permission = messages.Permission("READWRITE", b"alice/", b"alice0")
        for rpc, request in (
            (schema.USER_ADD, ROOT),
            (schema.USER_ADD, ALICE),
            (schema.ROLE_ADD, add_role("writer")),
            (schema.ROLE_GRANT_PERMISSION, messages.AuthRoleGrantPermissionRequest("writer", permission)),
            (schema.USER_GRANT_ROLE, grant_role("alice", "writer")),
            (schema.USER_GRANT_ROLE, grant_role("root", "root")),
            (schema.AUTH_ENABLE, messages.Empty()),
        ):
            await self.ask(rpc, request)

    async def log_in(self: Any, user: messages.AuthUserAddRequest) -> None:
        """Goes on as this user."""
        answer = await self.ask(schema.AUTHENTICATE, messages.AuthenticateRequest(user.name, user.password))
        self.assertNotIn(answer.token, repr(answer))
        self.etcd = self.with_token(answer.token)


@on_every_server()
class Auth(_Auth):
    """Users and roles, and what they may not do."""

    async def start(self: Any) -> None:
        await self.on_own_server()

    async def test_off(self: Any) -> None:
        await self.refusals(
            (schema.AUTHENTICATE, messages.AuthenticateRequest("alice", "wonder"), errors.AuthNotEnabled, 9),
            (schema.AUTH_ENABLE, None, errors.RootUserNotExist, 9),
        )
        await self.ask(schema.USER_ADD, ROOT)
        await self.refusals((schema.AUTH_ENABLE, None, errors.RootRoleNotExist, 9))

    async def test_users(self: Any) -> None:
        await self.ask(schema.USER_ADD, ALICE)
        await self.ask(schema.ROLE_ADD, messages.AuthRoleAddRequest("writer"))
        change, grant = messages.AuthUserChangePasswordRequest, messages.AuthUserGrantRoleRequest
        await self.refusals(
            (schema.USER_ADD, ALICE, errors.UserAlreadyExist, 9),
            (schema.USER_ADD, messages.AuthUserAddRequest("", "secret"), errors.UserEmpty, 3),
            (schema.USER_CHANGE_PASSWORD, change(NOBODY, "x"), errors.UserNotFound, 9),
            (schema.USER_GET, messages.AuthUserGetRequest(NOBODY), errors.UserNotFound, 9),
            (schema.USER_DELETE, messages.AuthUserDeleteRequest(NOBODY), errors.UserNotFound, 9),
            (schema.USER_GRANT_ROLE, grant(NOBODY, "writer"), errors.UserNotFound, 9),
            (schema.USER_GRANT_ROLE, grant("alice", NOBODY), errors.RoleNotFound, 9),
            (schema.USER_REVOKE_ROLE, messages.AuthUserRevokeRoleRequest("alice", "writer"), errors.RoleNotGranted, 9),
        )

    async def test_roles(self: Any) -> None:
        await self.ask(schema.ROLE_ADD, messages.AuthRoleAddRequest("writer"))
        grant, permission = messages.AuthRoleGrantPermissionRequest, messages.Permission("READ", b"a")
        revoke = messages.AuthRoleRevokePermissionRequest
        await self.refusals(
            (schema.ROLE_ADD, messages.AuthRoleAddRequest("writer"), errors.RoleAlreadyExist, 9),
            (schema.ROLE_ADD, messages.AuthRoleAddRequest(""), errors.RoleEmpty, 3),
            (schema.ROLE_GET, messages.AuthRoleGetRequest(NOBODY), errors.RoleNotFound, 9),
            (schema.ROLE_DELETE, messages.AuthRoleDeleteRequest(NOBODY), errors.RoleNotFound, 9),
            (schema.ROLE_GRANT_PERMISSION, grant(NOBODY, permission), errors.RoleNotFound, 9),
            (schema.ROLE_REVOKE_PERMISSION, revoke(NOBODY, b"a"), errors.RoleNotFound, 9),
            (schema.ROLE_REVOKE_PERMISSION, revoke("writer", b"a"), errors.PermissionNotGranted, 9),
        )
        if self.server.version >= (3, 5):
            # it ends 3.4 for good
            nothing = grant("writer", None)  # type: ignore[arg-type]  # past the check
            await self.refusals((schema.ROLE_GRANT_PERMISSION, nothing, errors.PermissionNotGiven, 3))

    async def test_authenticate(self: Any) -> None:
        await self.ask(
            schema.USER_ADD, messages.AuthUserAddRequest("bob", options=messages.UserAddOptions(no_password=True))
        )
        await self.switched_on()
        for name, password, code in (("alice", "wrong", 3), (NOBODY, "x", 3), ("", "", 3), ("bob", "x", 2)):
            request = messages.AuthenticateRequest(name, password)
            error = await self.refused(
                self.ask(schema.AUTHENTICATE, request), errors.AuthFailed, code, "Auth.Authenticate",
                "authentication failed, ",
            )
            self.assertNotIn("wrong", f"{error} {error!r} {request!r}")

    async def test_no_token(self: Any) -> None:
        lease = await self.etcd.lease(60)
        await self.switched_on()
        await self.refused(self.etcd.get(b"alice/1"), errors.UserEmpty, 3, "KV.Range")
        await self.refused(self.etcd.set(b"alice/1", b""), errors.UserEmpty, 3, "KV.Put")
        await self.refused(self.etcd.delete(b"alice/1"), errors.UserEmpty, 3, "KV.DeleteRange")
        await self.refused(self.etcd.create(b"alice/1", b""), errors.UserEmpty, 3, "KV.Txn")
        await self.refused(self.ask(schema.USER_LIST), errors.UserEmpty, 3, "Auth.UserList")
        # up to some release of 3.5 a watch is refused with another text
        watch = self.etcd.watcher(b"alice/1").when_started()
        expected = PermissionDenied if self.server.version == (3, 5, 1) else errors.UserEmpty
        await self.refused(watch, expected, None, "Watch.Watch")
        if self.server.version > (3, 5, 1):
            await self.refused(lease.refresh(), errors.UserEmpty, 3, "Lease.LeaseKeepAlive")
            await self.refused(self.etcd.status(), errors.UserEmpty, 3, "Maintenance.Status")

    async def test_bad_token(self: Any) -> None:
        await self.switched_on()
        self.etcd = self.with_token("bad.1")
        await self.refused(self.etcd.get(b"alice/1"), errors.InvalidAuthToken, 16, "KV.Range")
        await self.refused(self.etcd.set(b"alice/1", b""), errors.InvalidAuthToken, 16, "KV.Put")
        lock = self.ask(schema.LOCK, messages.LockRequest(b"a"))
        await self.refused(lock, errors.InvalidAuthToken, 2, "Lock.Lock")
        expected = PermissionDenied if self.server.version == (3, 5, 1) else errors.InvalidAuthToken
        await self.refused(self.etcd.watcher(b"alice/1").when_started(), expected, None, "Watch.Watch")

    async def test_denied(self: Any) -> None:
        await self.switched_on()
        await self.log_in(ALICE)
        await self.etcd.set(b"alice/1", b"")
        await self.refused(self.etcd.get(b"bob/1"), PermissionDenied, 7, "KV.Range")
        await self.refused(self.etcd.get(KeySet.all()), PermissionDenied, 7, "KV.Range")
        await self.refused(self.etcd.set(b"bob/1", b""), PermissionDenied, 7, "KV.Put")
        await self.refused(self.etcd.delete(b"bob/1"), PermissionDenied, 7, "KV.DeleteRange")
        await self.refused(self.etcd.create(b"bob/1", b""), PermissionDenied, 7, "KV.Txn")
        await self.refused(self.etcd.watcher(b"bob/1").when_started(), PermissionDenied, None, "Watch.Watch")
        await self.refused(
            self.ask(schema.DEFRAGMENT), PermissionDenied, 7 if self.server.version >= (3, 6) else 2,
            "Maintenance.Defragment",
        )
        await self.refused(self.ask(schema.LOCK, messages.LockRequest(b"a")), PermissionDenied, 2, "Lock.Lock")
        await self.refused(self.ask(schema.USER_LIST), PermissionDenied, 7, "Auth.UserList")
        await self.refused(self.ask(schema.AUTH_DISABLE), PermissionDenied, 7, "Auth.AuthDisable")
        self.assertEqual((await self.etcd.get(KeySet(b"alice/", prefix=True))).count, 1)

    async def test_invalid_management(self: Any) -> None:
        await self.switched_on()
        await self.log_in(ROOT)
        await self.refusals(
            (schema.USER_DELETE, messages.AuthUserDeleteRequest("root"), errors.InvalidAuthManagement, 3),
            (schema.USER_REVOKE_ROLE, messages.AuthUserRevokeRoleRequest("root", "root"),
             errors.InvalidAuthManagement, 3),
        )  # fmt: skip


@on_every_server()
class Tokens(_Auth):
    """Tokens that say of which revision of the users and roles they are."""

    async def start(self: Any) -> None:
        key = self.mktemp()
        with open(key, "w") as file:
            file.write("a secret of this test alone, long enough")
        await self.on_own_server(f"--auth-token=jwt,priv-key={key},sign-method=HS256,ttl=10m")

    async def test_old_revision(self: Any) -> None:
        await self.switched_on()
        anybody = self.etcd
        await self.log_in(ROOT)
        await self.ask(schema.USER_ADD, messages.AuthUserAddRequest("bob", "builder"))
        # the store's own words come with a code that says nothing
        is_raw = self.server.version == (3, 5, 1)
        code, text = (2, "auth: revision in header is old") if is_raw else (3, "revision of auth store is old")
        await self.refused(self.etcd.set(b"a", b""), errors.AuthOldRevision, code, "KV.Put", text=text)
        await self.refused(self.etcd.get(b"a"), errors.AuthOldRevision, code, "KV.Range", text=text)
        self.etcd = anybody
        await self.log_in(ROOT)
        await self.etcd.set(b"a", b"")


@on_every_server()
class Gone(_Errors):
    """A server that goes, or does not answer."""

    async def start(self: Any) -> None:
        self.process = await self.on_own_server()

    async def pending(self: Any) -> Any:
        """A call that has reached the server, and cannot be answered yet."""
        held = await self.ask(schema.LOCK, messages.LockRequest(b"lock"))
        waiting = self.ask(schema.LOCK, messages.LockRequest(b"lock"))
        await self.until(lambda: self.is_waiting(held.key))
        return waiting

    async def is_waiting(self: Any, key: bytes) -> bool:
        return any(kv.key != key for kv in (await self.etcd.get(KeySet(b"lock/", prefix=True))).kvs)

    async def assert_unknown(self: Any, waiting: Deferred[Any]) -> None:
        with self.assertRaises(OutcomeUnknown) as caught:
            await waiting
        self.assertTrue(caught.exception.maybe_applied)
        self.assertEqual((caught.exception.call, caught.exception.endpoint), ("Lock.Lock", self.etcd.endpoints[0]))

    async def test_stopped(self: Any) -> None:
        """The server says that it stops, or closes the connection: what was under way may have happened."""
        waiting = await self.pending()
        stopping = self.process.stop()
        await self.assert_unknown(waiting)
        await stopping

    async def test_killed(self: Any) -> None:
        waiting = await self.pending()
        await self.process.kill()
        await self.assert_unknown(waiting)

    async def test_not_there(self: Any) -> None:
        """Nothing was sent, so nothing happened; when the server is back, the same client goes on."""
        await self.process.kill()
        fresh = self.client(self.etcd.endpoints[0])
        await self.refused(fresh.get(b"a"), Unavailable, None, "KV.Range", "not sent")
        await self.refused(fresh.set(b"a", b""), Unavailable, None, "KV.Put", "not sent")
        await self.refused(fresh.watcher(b"a").when_started(), Unavailable, None, "Watch.Watch", "not sent")
        await self.process.start()
        await fresh.set(b"a", b"")

    async def test_mute(self: Any) -> None:
        """The deadline says whether something was sent."""
        # as many connections as there will be calls
        await gatherResults([self.etcd.get(b"a") for _ in range(2)])
        self.process.pause()
        read, write = self.etcd.get(b"a", timeout=4), self.etcd.set(b"a", b"late", timeout=4)
        watch = self.client(self.etcd.endpoints[0], timeout=4).watcher(b"a").when_started()
        await self.refused(read, Timeout, None, "KV.Range", "sent, but no answer within 4 seconds")
        await self.refused(write, Timeout, None, "KV.Put", "sent, but no answer within 4 seconds", True)
        await self.refused(watch, Timeout, None, "Watch.Watch", "was not set up within 4 seconds")
        self.process.resume()
        await self.etcd.get(b"a")

    def is_sent(self: Any, call: Any) -> bool:
        """Whether a call that is under way was sent."""
        return bool(call.is_sent if self.scheme == NATIVE else call._has_left())

    async def test_closed(self: Any) -> None:
        """Closing the client ends what is under way; a write that was sent may be applied all the same."""
        client = self.client(self.etcd.endpoints[0])
        # natively nothing is sent to whom nothing was heard of
        await client.get(b"a")
        self.process.pause()
        read, write = client.get(b"a"), client.set(b"a", b"after")
        await self.until(lambda: all(map(self.is_sent, client._calls._transport._calls)))
        closing = client.close()
        await self.refused(read, errors.Closed, None, "KV.Range")
        await self.refused(write, errors.Closed, None, "KV.Put", "closed", True)
        await closing
        self.process.resume()


@on_every_server()
class NoQuorum(_Errors):
    """A member that has lost the others says so within its time limit; a write may still be applied later."""

    async def start(self: Any) -> None:
        self.cluster = EtcdCluster(self.reactor, 3, binary=self.server.path)
        self.addCleanup(self.cluster.stop)
        await self.cluster.start()

    async def test_follower(self: Any) -> None:
        """... and what only the leader can do (here to save a cluster), before the others are gone."""
        leader = await self.cluster.leader()
        one, *others = [member for member in self.cluster.members if member is not leader]
        self.etcd = self.client(one.url, require_leader=False, timeout=30)
        lease = await self.etcd.lease(600)
        await self.refused(
            self.ask(schema.MOVE_LEADER, messages.MoveLeaderRequest(404)), errors.NotLeader, 9,
            "Maintenance.MoveLeader",
        )
        for member in (leader, *others):
            await member.kill()
        await self.until(self.is_without_leader)
        await gatherResults([Deferred.fromCoroutine(check) for check in self.checks(lease)], consumeErrors=True)
        in_time = "within 3 seconds"
        # it has failed, so that a write would ask first who is there, which takes a part of the time
        await self.etcd.status()
        await self.refused(self.etcd.set(b"a", b"", timeout=3), Timeout, None, "KV.Put", in_time, True)
        await self.refused(self.etcd.get(b"a", timeout=3), Timeout, None, "KV.Range", in_time)

    async def test_leader_is_required(self: Any) -> None:
        """It refuses at once, before anything is done; what it is asked for itself, it tells all the same."""
        leader = await self.cluster.leader()
        one, *others = [member for member in self.cluster.members if member is not leader]
        self.etcd = self.client(one.url)
        lease = await self.etcd.lease(600)
        await self.etcd.set(b"a", b"1", lease=lease)
        for member in (leader, *others):
            await member.kill()
        await self.until(self.is_without_leader)
        for call, work in {
            "KV.Put": lambda: self.etcd.set(b"a", b"2"),
            "KV.DeleteRange": lambda: self.etcd.delete(b"a"),
            "KV.Txn": lambda: self.etcd.create(b"b", b""),
            "KV.Range": lambda: self.etcd.get(b"a"),
            "KV.Compact": lambda: self.etcd.compact(1),
            "Lease.LeaseGrant": lambda: self.etcd.lease(60),
            "Lease.LeaseKeepAlive": lambda: lease.refresh(),
            "Watch.Watch": lambda: self.etcd.watcher(b"a").when_started(),
        }.items():
            await self.refused(work(), errors.NoLeader, 14, call)
        self.assertEqual((await self.etcd.get(b"a", serializable=True)).kvs[0].value, b"1")

    async def is_without_leader(self: Any) -> bool:
        return bool((await self.etcd.status()).leader == 0)

    def checks(self: Any, lease: Any) -> list[Any]:
        code = 4 if self.server.version > (3, 5, 1) else 2
        unknown = (OutcomeUnknown, code)
        late = "context deadline exceeded"
        add = messages.MemberAddRequest(("http://127.0.0.1:1",))
        return [
            self.refused(self.etcd.set(b"a", b""), *unknown, "KV.Put", late, True),
            self.refused(self.etcd.delete(b"a"), *unknown, "KV.DeleteRange", late, True),
            self.refused(self.etcd.create(b"a", b""), *unknown, "KV.Txn", late, True),
            self.refused(self.etcd.compact(1), *unknown, "KV.Compact", late, True),
            # one only: reads that come while another one is under way take twice as long
            self.refused(self.etcd.get(b"a"), errors.RequestTimedOut, 14, "KV.Range"),
            self.refused(self.etcd.lease(60), *unknown, "Lease.LeaseGrant", late, True),
            self.refused(lease.refresh(), errors.NoLeader, 14, "Lease.LeaseKeepAlive"),
            self.refused(self.ask(schema.MEMBER_ADD, add), errors.Unhealthy, 14, "Cluster.MemberAdd"),
        ]
