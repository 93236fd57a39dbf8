"""
Users, roles and tokens of real servers: who may do what, and that nobody is kept from what he may do.
"""

from __future__ import annotations

import gc
import os
import traceback
from typing import Any, Awaitable, Callable

import attrs
from twisted.internet.defer import Deferred, getDebugging, setDebugging
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from test.ports import free_ports
from test.real.base import NATIVE, QUICK, RealCase, on_every_server
from test.servers import Server
from txetcd import (
    Backoff,
    CallRecord,
    Client,
    Error,
    KeySet,
    LeaseNotFound,
    OpDel,
    OpGet,
    OpSet,
    OpTxn,
    Permission,
    PermissionDenied,
    Transaction,
    User,
)
from txetcd import _schema as schema
from txetcd._messages import DowngradeRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest
from txetcd.errors import (
    AuthFailed,
    InvalidAuthManagement,
    PermissionNotGranted,
    RoleAlreadyExist,
    RoleNotFound,
    RoleNotGranted,
    RootRoleNotExist,
    RootUserNotExist,
    Unimplemented,
    UserAlreadyExist,
    UserEmpty,
    UserNotFound,
)
from txetcd.testing import EtcdProcess

SECRET = os.urandom(8).hex()
"""What is in every password: not to be seen anywhere, and so not in the source, which a traceback shows."""

ROOT, ALICE = ("root", f"root {SECRET}"), ("alice", f"alice {SECRET}")
MINE, SHARED, FORBIDDEN = KeySet(b"alice/", prefix=True), b"shared", b"forbidden"
CHEAP = (*QUICK, "--bcrypt-cost=4")
"""With these a server starts and logs in quickly."""


async def outcome(work: Awaitable[Any]) -> str:
    """The name of the error, or ``ok``."""
    try:
        await work
    except Error as error:
        return type(error).__name__
    return "ok"


async def set_up_users(etcd: Client) -> None:
    """There are root, who may do everything, and alice, who may write what is hers and read what is shared."""
    auth = etcd.auth
    await auth.add_user(*ROOT)
    await auth.add_role("root")
    await auth.grant_role("root", "root")
    await auth.add_user(*ALICE)
    await auth.add_role("alices")
    await auth.grant_permission("alices", MINE, "READWRITE")
    await auth.grant_permission("alices", SHARED, "READ")
    await auth.grant_role("alice", "alices")


class AuthCase(RealCase):
    """
    A server of its own for each test, because authentication is on or off for all.

    :ivar process: the server.
    :ivar etcd: a client without a name.
    """

    process: EtcdProcess
    etcdctl_options = (f"--user={':'.join(ROOT)}",)

    async def start(self: Any, *arguments: str) -> None:
        self.process = await self.own_server([*CHEAP, *arguments], credentials=ROOT)
        self.etcd = self.client_of()

    def client_at(self: Any, url: Any, credentials: Any = None, **options: Any) -> Client:
        """A client that tries again."""
        client: Client = self.client(url, credentials=credentials, **{"retry": Backoff(), **options})
        return client

    def client_of(self: Any, credentials: Any = None, **options: Any) -> Client:
        """A client of the server."""
        client: Client = self.client_at(self.process.url, credentials, **options)
        return client

    async def set_up_users(self: Any) -> None:
        await set_up_users(self.etcd)

    async def secure(self: Any) -> None:
        """With these, authentication is on."""
        await self.set_up_users()
        await self.etcd.auth.enable()
        self.root, self.alice = self.client_of(ROOT), self.client_of(ALICE)

    async def assert_lease_runs_out(self: Any) -> None:
        """What is attached to a lease of hers goes with it."""
        await self.secure()
        await self.until(self.is_attached)
        await self.until(self.is_gone)

    async def is_attached(self: Any) -> bool:
        """Whether the lease was still there; a busy machine may take its second."""
        lease = await self.alice.lease(1)
        try:
            await self.alice.set(b"alice/1", b"x", lease=lease)
        except LeaseNotFound:
            return False
        return True

    async def is_gone(self: Any) -> bool:
        return not (await self.root.get(b"alice/1")).count


@on_every_server()
class Management(AuthCase):
    """CurlV3Auth: users and roles come and go."""

    async def test_user_error(self: Any) -> None:
        """UserError: twice, or not there."""
        auth = self.etcd.auth
        await auth.add_user("foo", "bar")
        for wrong, error in (
            (auth.add_user("foo", "bar"), UserAlreadyExist),
            (auth.delete_user("nobody"), UserNotFound),
            (auth.change_password("nobody", "x"), UserNotFound),
            (auth.user("nobody"), UserNotFound),
            (auth.grant_role("nobody", "none"), UserNotFound),
            (auth.grant_role("foo", "none"), RoleNotFound),
            (auth.revoke_role("nobody", "none"), UserNotFound),
            (auth.revoke_role("foo", "none"), RoleNotGranted),
            (auth.role("none"), RoleNotFound),
            (auth.delete_role("none"), RoleNotFound),
            (auth.grant_permission("none", b"k", "READ"), RoleNotFound),
            (auth.revoke_permission("none", b"k"), RoleNotFound),
        ):
            with self.assertRaises(error):
                await wrong
        self.assertEqual(await auth.users(), ["foo"])

    async def test_users(self: Any) -> None:
        """UserAdd, UserDelete, UserList, UserGet; any name will do."""
        auth = self.etcd.auth
        self.assertEqual((await auth.users(), await auth.roles()), ([], []))
        for name in ("zoe", "anna", "J\u00f6rg", "a b/c:\U0001f600", "nobody@example.org"):
            await auth.add_user(name, "x")
            self.assertEqual(await auth.user(name), User(name, []))
            self.assertIn(name, await auth.users())
        await auth.add_user("by certificate")
        await auth.delete_user("zoe")
        self.assertEqual(len(await auth.users()), 5)

    async def test_add_user_after_delete(self: Any) -> None:
        """AddUserAfterDelete: he can log in, but has no roles any more."""
        await self.secure()
        await self.root.auth.delete_user("alice")
        await self.root.auth.add_user(*ALICE)
        self.assertEqual((await self.root.auth.user("alice")).roles, [])
        with self.assertRaises(PermissionDenied):
            await self.client_of(ALICE).get(b"alice/1")

    async def test_roles(self: Any) -> None:
        """RoleAdd, RoleGrantPermission, RoleRevokePermission, RoleDelete."""
        auth = self.etcd.auth
        await auth.add_role("ops")
        with self.assertRaises(RoleAlreadyExist):
            await auth.add_role("ops")
        self.assertEqual((await auth.role("ops")).permissions, [])
        wanted = [
            Permission(KeySet.all(), "READ"),
            Permission(KeySet(b"a"), "READ"),
            Permission(KeySet(b"a", b"c"), "WRITE"),
            Permission(MINE, "READWRITE"),
            Permission(KeySet(b"from", b"\0"), "READ"),
        ]
        for permission in wanted:
            await auth.grant_permission("ops", permission.keys, permission.type)
        found = (await auth.role("ops")).permissions
        self.assertEqual(sorted(found, key=repr), sorted(wanted, key=repr))
        # the same keys again replace the type
        await auth.grant_permission("ops", b"a", "WRITE")
        self.assertIn(Permission(KeySet(b"a"), "WRITE"), (await auth.role("ops")).permissions)
        self.assertNotIn(Permission(KeySet(b"a"), "READ"), (await auth.role("ops")).permissions)
        with self.assertRaises(PermissionNotGranted):
            await auth.revoke_permission("ops", KeySet(b"a", b"b"))
        for permission in wanted:
            await auth.revoke_permission("ops", permission.keys)
        self.assertEqual((await auth.role("ops")).permissions, [])
        await auth.delete_role("ops")
        self.assertEqual(await auth.roles(), [])

    async def test_role_of_root(self: Any) -> None:
        """It can be asked for, whatever the server says of it."""
        await self.set_up_users()
        permissions = (await self.etcd.auth.role("root")).permissions
        self.assertIn(permissions, ([], [Permission(KeySet.all(), "READWRITE")]))

    async def test_change_password(self: Any) -> None:
        """UserChangePassword: the old one will not do any more; but whoever has none gets none."""
        await self.secure()
        await self.root.auth.change_password("alice", "another")
        with self.assertRaises(AuthFailed):
            await self.alice.get(b"alice/1")
        await self.client_of(("alice", "another")).get(b"alice/1")
        await self.root.auth.add_user("bob")
        await self.root.auth.change_password("bob", "another")
        with self.assertRaises(AuthFailed):
            await self.client_of(("bob", "another")).get(b"bob")

    async def test_passwords(self: Any) -> None:
        """The longest there are; those that etcd would cut are not taken."""
        await self.secure()
        for number, password in enumerate(("x" * 72, "\u00e4" * 36, " ", "a\0b", "\U0001f600" * 18)):
            name = f"user{number}"
            await self.root.auth.add_user(name, password)
            with self.assertRaises(PermissionDenied):
                await self.client_of((name, password)).get(b"k")
            with self.assertRaises(AuthFailed):
                await self.client_of((name, password[:-1])).get(b"k")

    async def test_auth_enable(self: Any) -> None:
        """AuthEnable, AuthStatus: nobody shuts himself out."""
        auth = self.etcd.auth
        await self.assert_status(auth, False)
        with self.assertRaises(RootUserNotExist):
            await auth.enable()
        await auth.add_user(*ROOT)
        with self.assertRaises(RootRoleNotExist):
            await auth.enable()
        await auth.add_role("root")
        await auth.grant_role("root", "root")
        await auth.enable()
        root = self.client_of(ROOT).auth
        await root.enable()
        await self.assert_status(root, True)
        for locked in (root.delete_user("root"), root.revoke_role("root", "root"), root.delete_role("root")):
            with self.assertRaises(InvalidAuthManagement):
                await locked
        await root.disable()
        await self.assert_status(auth, False)
        await root.disable()
        await auth.delete_user("root")

    async def assert_status(self: Any, auth: Any, is_enabled: bool) -> None:
        if self.server.version < (3, 5):
            with self.assertRaises(Unimplemented) as caught:
                await auth.status()
            self.assertIn("needs etcd 3.5 or later", str(caught.exception))
        else:
            status = await auth.status()
            self.assertEqual(status.enabled, is_enabled)
            self.assertGreaterEqual(status.auth_revision, 1)


# --- who may do what

ASKED: dict[str, Callable[[Client, int, str], Awaitable[Any]]] = {
    "status": lambda etcd, me, path: etcd.status(),
    "alarms": lambda etcd, me, path: etcd.maintenance.alarms(),
    "disarm": lambda etcd, me, path: etcd.maintenance.disarm(),
    "defragment": lambda etcd, me, path: etcd.maintenance.defragment(),
    "hash": lambda etcd, me, path: etcd.maintenance.hash(),
    "hash_kv": lambda etcd, me, path: etcd.maintenance.hash_kv(),
    "move_leader": lambda etcd, me, path: etcd.maintenance.move_leader(me),
    "snapshot": lambda etcd, me, path: etcd.maintenance.snapshot(path),
    # there is no verb for it
    "downgrade": lambda etcd, me, path: etcd._calls.call(schema.DOWNGRADE, DowngradeRequest("VALIDATE", "1.0.0")),
    "members": lambda etcd, me, path: etcd.cluster.members(),
    "leader": lambda etcd, me, path: etcd.cluster.leader(),
    "remove": lambda etcd, me, path: etcd.cluster.remove(404),
    "promote": lambda etcd, me, path: etcd.cluster.promote(404),
    "auth.status": lambda etcd, me, path: etcd.auth.status(),
    "users": lambda etcd, me, path: etcd.auth.users(),
    "roles": lambda etcd, me, path: etcd.auth.roles(),
    "user alice": lambda etcd, me, path: etcd.auth.user("alice"),
    "user root": lambda etcd, me, path: etcd.auth.user("root"),
    "role alices": lambda etcd, me, path: etcd.auth.role("alices"),
    "role root": lambda etcd, me, path: etcd.auth.role("root"),
    "change_password": lambda etcd, me, path: etcd.auth.change_password(*ALICE),
    "grant_role": lambda etcd, me, path: etcd.auth.grant_role("alice", "root"),
    "enable": lambda etcd, me, path: etcd.auth.enable(),
    "disable": lambda etcd, me, path: etcd.auth.disable(),
}
"""Calls, of which the last changes what comes of the others."""

ALLOWED = {
    "remove": "MemberNotFound",
    "promote": "MemberNotFound",
    "downgrade": "InvalidDowngradeTargetVersion",
}
"""What comes of a call that root may make, if it is not ``ok``."""

BY_ROOT = ("UserEmpty", "InvalidAuthToken", "PermissionDenied")
BY_ALL_USERS = ("UserEmpty", "InvalidAuthToken", "ok")
BY_ALL = ("ok", "ok", "ok")
NEVER = ("Unimplemented",) * 3
ANY_BUT_BAD = ("ok", "InvalidAuthToken", "ok")


def denials(server: Server, scheme: str) -> dict[str, tuple[str, str, str]]:
    """What without a token, with a wrong one, and as alice comes of each call."""
    wanted = dict.fromkeys(ASKED, BY_ROOT)
    wanted.update(dict.fromkeys(("status", "alarms", "members", "leader", "user alice", "role alices"), BY_ALL_USERS))
    # nothing is there to disarm, so this only asks
    wanted["disarm"] = BY_ALL_USERS
    if server.version <= (3, 5, 1):
        wanted.update(dict.fromkeys(("status", "move_leader", "members", "leader"), BY_ALL))
        wanted.update(dict.fromkeys(("alarms", "disarm"), ANY_BUT_BAD))
        # not at the gateway
        wanted["hash_kv"] = BY_ROOT if scheme == NATIVE else NEVER
        wanted["downgrade"] = (ALLOWED["downgrade"],) * 3
    if server.version < (3, 5):
        wanted["auth.status"] = wanted["downgrade"] = NEVER
    if server.version >= (3, 7):
        wanted["auth.status"] = ANY_BUT_BAD
    return wanted


def is_strict(server: Server) -> bool:
    """Whether it looks into everything that is asked; older ones let some things through."""
    return server.version > (3, 5, 1)


@on_every_server()
class Denials(AuthCase):
    """Whoever may not is told so, and whoever may is not."""

    async def knows_its_version(self: Any, me: int, path: str) -> bool:
        """A cluster that has just begun has none for a moment."""
        return await outcome(ASKED["downgrade"](self.root, me, path)) != "ClusterVersionUnavailable"

    async def test_with_no_invalid_root_user_auth(self: Any) -> None:
        """{Defragment,Downgrade,HashKV,MoveLeader,Snapshot,Status}With{No,Invalid,Root,User}Auth, and others."""
        await self.secure()
        me = (await self.root.status()).header.member_id
        path = os.path.abspath(self.mktemp())
        await self.until(lambda: self.knows_its_version(me, path))
        clients = [self.client_of(), self.client_of("bad.1"), self.alice]
        found = {}
        for name, ask in ASKED.items():
            found[name] = tuple([await outcome(ask(client, me, path)) for client in clients])
        self.assertEqual(found, denials(self.server, self.scheme))
        self.assertFalse(os.path.exists(path) or os.path.exists(f"{path}.part"))
        for name, ask in ASKED.items():
            wanted = "Unimplemented" if denials(self.server, self.scheme)[name] is NEVER else ALLOWED.get(name, "ok")
            self.assertEqual(await outcome(ask(self.root, me, path)), wanted, name)

    async def test_user_error_auth(self: Any) -> None:
        """
        UserErrorAuth, V3AuthEmptyUserGet, V3AuthEmptyUserPut, V3AuthNonAuthorizedRPCs: nobody, and who is not whom he
        says he is.
        """
        await self.secure()
        for work in (
            self.etcd.get(b"k"),
            self.etcd.set(b"k", b""),
            self.etcd.delete(b"k"),
            self.etcd.submit(Transaction([], [OpSet(b"k", b"")])),
            self.etcd.auth.users(),
        ):
            with self.assertRaises(UserEmpty):
                await work
        # 3.5.1 has no other word for it
        with self.assertRaises(PermissionDenied if self.server.version == (3, 5, 1) else UserEmpty):
            await self.etcd.watcher(b"k").when_started()
        for name, password in (("alice", "wrong"), ("nobody", "x"), ("root", "")):
            with self.assertRaises(AuthFailed) as caught:
                await self.client_of((name, password)).get(b"k")
            self.assertIn("Auth.Authenticate", str(caught.exception))
        self.assertEqual(await self.root.auth.users(), ["alice", "root"])

    async def test_write_key(self: Any) -> None:
        """WriteKey, PrefixPerm: hers, what is shared, and the rest."""
        await self.secure()
        await self.root.set(SHARED, b"of root")
        await self.alice.set(b"alice/1", b"mine")
        self.assertEqual((await self.alice.get(MINE)).count, 1)
        self.assertEqual((await self.alice.get(SHARED)).kvs[0].value, b"of root")
        for work in (
            self.alice.set(SHARED, b"mine"),
            self.alice.set(b"alice0", b"next to mine"),
            self.alice.get(FORBIDDEN),
            self.alice.get(KeySet(b"alice/", b"alice1")),
            self.alice.get(KeySet.all()),
            self.alice.delete(SHARED),
            self.alice.watcher(FORBIDDEN).when_started(),
        ):
            with self.assertRaises(PermissionDenied):
                await work

    async def test_txn(self: Any) -> None:
        """Txn, NestedTxnPermissionDenied: all of it or nothing."""
        await self.secure()
        mine, forbidden = OpSet(b"alice/1", b"x"), OpSet(FORBIDDEN, b"x")
        await self.alice.submit(Transaction([], [mine, OpGet(SHARED)]))
        nested = [mine, OpTxn(Transaction([], [forbidden]))]
        # old servers do not look into what is nested
        for ops in ([forbidden], [mine, forbidden], *([nested] if is_strict(self.server) else ())):
            for txn in (Transaction([], ops), Transaction([], [mine], ops)):
                with self.assertRaises(PermissionDenied):
                    await self.alice.submit(txn)
        self.assertEqual((await self.root.get(FORBIDDEN)).count, 0)

    async def test_role_update(self: Any) -> None:
        """RoleUpdate, RevokeWithDelete: what is changed counts at once."""
        await self.secure()
        auth = self.root.auth
        for grant, revoke in (
            (lambda: auth.grant_permission("alices", FORBIDDEN, "READWRITE"),
             lambda: auth.revoke_permission("alices", FORBIDDEN)),
            (self.grant_another, lambda: auth.revoke_role("alice", "another")),
            (lambda: auth.grant_role("alice", "another"), lambda: auth.delete_role("another")),
        ):  # fmt: skip
            with self.assertRaises(PermissionDenied):
                await self.alice.set(FORBIDDEN, b"")
            await grant()
            await self.alice.set(FORBIDDEN, b"")
            await revoke()
        with self.assertRaises(PermissionDenied):
            await self.alice.set(FORBIDDEN, b"")
        self.assertEqual((await auth.user("alice")).roles, ["alices"])

    async def grant_another(self: Any) -> None:
        await self.root.auth.add_role("another")
        await self.root.auth.grant_permission("another", FORBIDDEN, "WRITE")
        await self.root.auth.grant_role("alice", "another")

    async def test_write_only(self: Any) -> None:
        """ReadWithPrevKvInTXN: who may only write is not told what was there, nor whether there was anything."""
        await self.secure()
        await self.root.auth.grant_permission("alices", FORBIDDEN, "WRITE")
        await self.alice.set(FORBIDDEN, b"x")
        for op in (OpSet(FORBIDDEN, b"x"), OpDel(FORBIDDEN)):
            await self.alice.submit(Transaction([], [op]))
        telling = [OpDel(FORBIDDEN, return_previous=True)]
        if is_strict(self.server):
            telling.append(OpSet(FORBIDDEN, b"y", return_previous=True))
        for work in (
            self.alice.get(FORBIDDEN),
            self.alice.set(FORBIDDEN, b"y", return_previous=True),
            self.alice.delete(FORBIDDEN, return_previous=True),
            self.alice.create(FORBIDDEN, b"y"),
            *(self.alice.submit(Transaction([], [op])) for op in telling),
        ):
            with self.assertRaises(PermissionDenied):
                await work
        self.assertEqual((await self.root.get(FORBIDDEN)).count, 0)

    async def test_revision(self: Any) -> None:
        """V3AuthRevision: to add a user is no change of the keys."""
        await self.secure()
        revision = (await self.root.set(b"k", b"x")).header.revision
        self.assertEqual((await self.root.auth.add_user("bob", "x")).revision, revision)
        self.assertEqual((await self.root.get(b"k")).header.revision, revision)

    # --- leases

    async def test_lease_of_another(self: Any) -> None:
        """
        V3AuthWithLeaseAttach, V3AuthWithLeaseRenew, V3AuthWithLeaseRevoke, PutWithLeaseInTXN, LeaseTimeToLive: a lease
        is worth what is attached to it.
        """
        await self.secure()
        bob = await self.with_keys("bob")
        lease = await self.alice.lease(60)
        await self.alice.set(b"alice/1", b"x", lease=lease)
        with_it = OpSet(b"bob/1", b"x", lease=lease)
        asked: dict[str, Awaitable[Any]] = {
            "attach": bob.set(b"bob/1", b"x", lease=lease),
            "attach in a transaction": bob.submit(Transaction([], [with_it])),
            "renew": bob._calls.call(schema.LEASE_KEEP_ALIVE, LeaseKeepAliveRequest(lease.lease_id)),
            "time to live": bob._calls.call(schema.LEASE_TIME_TO_LIVE, LeaseTimeToLiveRequest(lease.lease_id)),
            "keys": bob._calls.call(schema.LEASE_TIME_TO_LIVE, LeaseTimeToLiveRequest(lease.lease_id, True)),
            "all leases": bob.leases(),
            "revoke": bob._calls.call(schema.LEASE_REVOKE, LeaseRevokeRequest(lease.lease_id)),
        }
        found = {name: await outcome(work) for name, work in asked.items()}
        denied = {"attach", "revoke"}
        if is_strict(self.server):
            denied = {*asked} - {"time to live"}
        self.assertEqual(found, {name: "PermissionDenied" if name in denied else "ok" for name in asked})
        # to her it is none of these
        await lease.refresh()
        self.assertIn(b"alice/1", await lease.keys())
        self.assertEqual(await outcome(lease.revoke()), "ok" if is_strict(self.server) else "PermissionDenied")

    async def with_keys(self: Any, name: str) -> Client:
        """A further user, with keys of his own."""
        auth = self.root.auth
        await auth.add_user(name, SECRET)
        await auth.add_role(name)
        await auth.grant_permission(name, KeySet(f"{name}/".encode(), prefix=True), "READWRITE")
        await auth.grant_role(name, name)
        client: Client = self.client_of((name, SECRET))
        return client

    async def test_lease_without_keys(self: Any) -> None:
        """LeaseGrantLeases: it is everybody's."""
        await self.secure()
        bob = await self.with_keys("bob")
        lease = await self.alice.lease(60)
        self.assertIn(lease.lease_id, await bob.leases())
        await bob.set(b"bob/1", b"x", lease=lease)
        await bob._calls.call(schema.LEASE_REVOKE, LeaseRevokeRequest(lease.lease_id))
        self.assertEqual((await bob.get(b"bob/1")).count, 0)

    async def test_v3_auth_with_lease_revoke_with_root(self: Any) -> None:
        """V3AuthWithLeaseRevokeWithRoot: the server itself may take back a lease that has run out."""
        await self.assert_lease_runs_out()


@on_every_server()
class Secrets(AuthCase):
    """
    Nothing shows a password or a token.

    :ivar shown: what was shown.
    """

    async def start(self: Any) -> None:
        await super().start()
        self.shown: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self: Any, event: Any) -> None:
        """Something was logged."""
        self.shown.append(str(formatEvent(event)))
        if "log_failure" in event:
            self.show(event["log_failure"])

    def show(self: Any, failure: Failure) -> None:
        """All that there is to be seen of a failure; with the variables of each frame, while Twisted is debugged."""
        error = failure.value
        self.shown += [str(failure), repr(failure), failure.getTraceback(), failure.getTraceback(detail="verbose")]
        self.shown += [str(error), repr(error), repr(error.__dict__), repr(error.args)]
        self.shown += traceback.format_exception(None, error, error.__traceback__)

    def assert_secret(self: Any, *secrets: str) -> None:
        self.assertGreater(len(self.shown), 10)
        self.assertEqual([text for text in self.shown if any(secret in text for secret in secrets)], [])

    async def wrong_calls(self: Any) -> list[Callable[[], Deferred[Any]]]:
        """All of them fail, with a secret in what was asked or with what it was asked."""
        await self.secure()
        gone = self.client_of(ALICE)
        await gone.close()
        nowhere = self.client_at(f"http://127.0.0.1:{free_ports(1)[0]}", ALICE, timeout=0.1)
        mallory = self.client_of(("alice", f"mallory {SECRET}"))
        forged = self.client_of(f"a.{SECRET}")
        path = os.path.abspath(self.mktemp())
        return [
            lambda: mallory.get(MINE),
            lambda: nowhere.get(MINE),
            lambda: gone.get(MINE),
            lambda: forged.get(MINE),
            lambda: forged.watch(MINE, print),
            lambda: forged.maintenance.snapshot(path),
            lambda: self.alice.auth.add_user("eve", SECRET),
            lambda: self.alice.auth.change_password("root", SECRET),
            lambda: self.root.auth.add_user("alice", SECRET),
            lambda: self.root.auth.change_password("nobody", SECRET),
            lambda: nowhere.auth.add_user("eve", SECRET),
            lambda: gone.auth.add_user("eve", SECRET),
            # they fail as well where the server is quicker than a timer
            lambda: self.client_of(("alice", f"mallory {SECRET}")).get(MINE, timeout=0.00001),
            lambda: self.root.auth.add_user("alice", SECRET, timeout=0.00001),
            lambda: cancelled(self.root.auth.change_password("nobody", SECRET)),
            lambda: cancelled(self.client_of(ALICE).get(MINE)),
        ]

    async def test_errors(self: Any) -> None:
        """No error and no traceback does, however much of it is kept for whoever looks for a fault."""
        calls = await self.wrong_calls()
        self.addCleanup(setDebugging, getDebugging())
        setDebugging(True)
        for call in calls:
            await call().addCallbacks(lambda _: self.fail("it was not refused"), self.show)
        self.assert_secret(SECRET)

    async def test_unhandled_errors(self: Any) -> None:
        """The log does not, where nobody looks at an error."""
        calls = await self.wrong_calls()
        self.addCleanup(setDebugging, getDebugging())
        setDebugging(True)
        for call in calls:
            ended: Deferred[None] = Deferred()
            call().addBoth(passed_on, ended)
            await ended
        logged: list[Failure] = []

        def are_logged() -> bool:
            # each is when nothing refers to it any more, as a connection does that is being closed
            gc.collect()
            logged.extend(self.flushLoggedErrors())
            return len(logged) == len(calls)

        await self.until(are_logged)
        self.assert_secret(SECRET)

    async def test_repr(self: Any) -> None:
        """Nor what is left when everything works: clients, what they have counted, and what is told of each call."""
        records: list[CallRecord] = []
        await self.secure()
        alice = self.client_of(ALICE, on_call=records.append)
        await alice.get(MINE)
        token = alice._way.tokens.token
        own = self.client_of(token, on_call=records.append)
        await own.get(MINE)
        await outcome(alice.auth.add_user("eve", SECRET))
        self.assertEqual([record.outcome for record in records], ["ok", "ok", "PermissionDenied"])
        self.shown += [repr(records), *(str(attrs.asdict(record)) for record in records)]
        for client in (alice, own):
            parts = (client, client._calls, client._way.transport)
            self.shown += [repr(client.stats()), repr(client.auth), repr(client._way), *map(repr, parts)]
            self.shown += [repr(vars(part)) for part in parts]
        self.assert_secret(SECRET, token)


def cancelled(work: Deferred[Any]) -> Deferred[Any]:
    work.cancel()
    return work


def passed_on(result: Any, ended: Deferred[None]) -> Any:
    """Tells that there is a result, and leaves it where it is."""
    ended.callback(None)
    return result
