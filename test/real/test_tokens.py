"""
Tokens of real servers: they end, are not wanted, or not known; and no call fails that a fresh one would have let pass.

What happens under load happens ``$TXETCD_TEST_ROUNDS`` times (100 is a long run).
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any, Callable

import attrs
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from test.real.base import on_every_server_at_length
from test.real.test_auth import (
    ALICE,
    FORBIDDEN,
    MINE,
    ROOT,
    SHARED,
    AuthCase,
    outcome,
    set_up_users,
)
from txetcd import Client, Expired, KeySet, OpGet, OpSet, PermissionDenied, Transaction
from txetcd.errors import AuthOldRevision, InvalidAuthToken
from txetcd.testing import EtcdCluster, EtcdProcess

ROUNDS = int(os.environ.get("TXETCD_TEST_ROUNDS", "3"))
"""How often what happens under load happens."""

SECONDS = 2
"""How long a token lasts, where that can be said."""

BURST = 60
"""Calls at once: more than may be under way at a time."""

LOGINS = (
    'grpc_server_started_total{grpc_method="Authenticate",grpc_service="etcdserverpb.Auth",grpc_type="unary"}'
)
"""The figure that says how many tokens were asked for."""

Ask = Callable[[Client], Awaitable[Any]]


async def grant_and_revoke(etcd: Client) -> None:
    lease = await etcd.lease(60)
    await etcd.set(b"alice/leased", b"", lease=lease)
    await lease.refresh()
    await lease.revoke()


async def start_and_stop(etcd: Client) -> None:
    async with etcd.watcher(MINE):
        pass


KEYS: Mapping[str, Ask] = {
    "get": lambda etcd: etcd.get(b"alice/1"),
    "set": lambda etcd: etcd.set(b"alice/1", b"x"),
    "range": lambda etcd: etcd.get(MINE),
    "transact": lambda etcd: etcd.transact(Transaction([], [OpSet(b"alice/2", b"x"), OpGet(SHARED)])),
    "delete": lambda etcd: etcd.delete(b"alice/2"),
}
"""What alice may ask with her role."""

CALLS: Mapping[str, Ask] = {
    **KEYS,
    "watch": start_and_stop,
    "lease": grant_and_revoke,
    "members": lambda etcd: etcd.cluster.members(),
    "status": lambda etcd: etcd.status(),
    "user": lambda etcd: etcd.auth.user("alice"),
}
"""What alice may ask while she is there."""


# --- load


@attrs.frozen
class Heard:
    """
    What came of a call.

    :ivar who: who has asked.
    :ivar what: what was asked.
    :ivar phase: what counted all the time; ``""`` if that was changed meanwhile.
    :ivar outcome: the name of the error, or ``ok``.
    """

    who: str
    what: str
    phase: str
    outcome: str


class Callers:
    """
    They ask again and again, side by side, until they are told to stop.

    :param case: the test.
    :ivar heard: what came of each call, in the order in which they ended.
    """

    def __init__(self, case: Any) -> None:
        self._case = case
        self._phase = ""
        # how often the phase was changed: it may be the same again
        self._changes = 0
        self._is_over = False
        self._asking: list[Deferred[None]] = []
        self.heard: list[Heard] = []

    def add(self, who: str, etcd: Client, calls: Mapping[str, Ask] = CALLS, number: int = 2) -> None:
        """So many more callers, who ask by this client."""
        self._asking += [Deferred.fromCoroutine(self._ask(who, etcd, calls)) for _ in range(number)]

    async def _ask(self, who: str, etcd: Client, calls: Mapping[str, Ask]) -> None:
        while not self._is_over:
            for what, ask in calls.items():
                changes = self._changes
                found = await outcome(ask(etcd))
                self.heard.append(Heard(who, what, self._phase if changes == self._changes else "", found))
                await deferLater(self._case.reactor, 0)

    def enter(self, phase: str) -> None:
        """From now on this counts; ``""`` while it is being changed."""
        self._phase = phase
        self._changes += 1

    async def more(self, rounds: int = 2) -> None:
        """Waits until everybody has asked everything again, and the answer belongs to the present phase."""
        start = len(self.heard)
        await self._case.until(lambda: self.heard)

        def is_heard() -> bool:
            everybody = {(one.who, one.what) for one in self.heard}
            found = Counter((one.who, one.what) for one in self.heard[start:] if one.phase == self._phase)
            return all(found[one] >= rounds for one in everybody)

        await self._case.until(is_heard)

    async def stop(self) -> None:
        """Lets them end what they are at."""
        self._is_over = True
        await self._case.soon(gatherResults(self._asking, consumeErrors=True))

    def unexpected(self, expected: Mapping[tuple[str, str], set[str]]) -> Counter[Heard]:
        """
        What should not have been heard.

        :param expected: by who has asked and by phase, what may; for all others ``ok`` alone.
        """
        return Counter(one for one in self.heard if one.outcome not in expected.get((one.who, one.phase), {"ok"}))


class LoadCase(AuthCase):
    """Something happens to users and roles while everybody works."""

    async def under_load(self: Any, calls: Mapping[str, Ask] = CALLS) -> Callers:
        """Two clients of alice and one of root are at work."""
        await self.secure()
        await self.root.set(SHARED, b"x")
        callers = Callers(self)
        callers.add("alice", self.alice, calls)
        callers.add("alice too", self.client_of(ALICE), calls)
        callers.add("root", self.root, calls)
        await callers.more()
        return callers

    async def assert_nobody_notices(self: Any, happen: Callable[[], Awaitable[Any]]) -> None:
        """Whatever happens, all calls go on."""
        callers = await self.under_load()
        for _ in range(ROUNDS):
            await happen()
            await callers.more()
        await callers.stop()
        self.assertEqual(callers.unexpected({}), {})

    async def assert_nobody_notices_a_switch(self: Any) -> None:
        """Authentication is switched off and on."""
        other = self.client_of(ROOT)

        async def happen() -> None:
            await other.auth.disable()
            await other.auth.enable()

        await self.assert_nobody_notices(happen)


# --- those that the server issues


@on_every_server_at_length()
class Tokens(LoadCase):
    """Simple tokens: known to the server by heart, until it restarts or is told otherwise."""

    async def logins(self: Any) -> float:
        """How often a token was asked for."""
        return float(await self.metric(LOGINS, self.process.url))

    async def burst(self: Any, etcd: Client) -> set[str]:
        """What comes of many calls at once."""
        asks = list(CALLS.values())
        works = [outcome(asks[number % len(asks)](etcd)) for number in range(BURST)]
        return set(await gatherResults(map(Deferred.fromCoroutine, works), consumeErrors=True))

    async def test_once_for_all(self: Any) -> None:
        """It is fetched when the first call needs it, once for all of them; and so is the next one."""
        await self.secure()
        before = await self.logins()
        self.assertEqual(await self.burst(self.alice), {"ok"})
        self.assertEqual(await self.logins(), before + 1)
        await self.root.auth.change_password(*ALICE)
        before = await self.logins()
        self.assertEqual(await self.burst(self.alice), {"ok"})
        self.assertEqual(await self.logins(), before + 1)

    async def test_nothing_without_need(self: Any) -> None:
        """A client that asks nothing logs in nowhere; nor does one with a token of its own."""
        await self.secure()
        await self.alice.get(MINE)
        before = await self.logins()
        self.client_of(ALICE)
        await self.client_of(self.alice._way.tokens.token).get(MINE)
        self.assertEqual(await self.logins(), before)

    async def test_get_token_without_auth(self: Any) -> None:
        """GetTokenWithoutAuth: a name and a password, and authentication is off."""
        root = self.client_of(ROOT, timeout=30)
        await gatherResults([root.set(b"alice/%d" % number, b"") for number in range(20)])
        self.assertEqual((await root.get(MINE)).count, 20)
        async with root.watcher(MINE) as watch:
            await root.set(b"alice/1", b"x")
            self.assertEqual((await watch.__anext__()).value, b"x")
        await root.cluster.members()
        await root.maintenance.snapshot(os.path.abspath(self.mktemp()))
        # switched on meanwhile, it logs in
        await self.set_up_users()
        await self.etcd.auth.enable()
        await root.set(b"alice/1", b"y")

    async def test_token_with_disable(self: Any) -> None:
        """TokenWithDisable: authentication is switched off and on while calls are made; all of them work."""
        await self.assert_nobody_notices_a_switch()

    async def test_disabled_for_a_while(self: Any) -> None:
        """Both ways: calls are made while it is off, and while it is on; nobody notices the change."""
        callers, other = await self.under_load(), self.client_of(ROOT)
        for _ in range(ROUNDS):
            for change in (other.auth.disable, other.auth.enable):
                await change()
                await callers.more()
        await callers.stop()
        self.assertEqual(callers.unexpected({}), {})

    async def test_password_is_set_again(self: Any) -> None:
        """That ends all of her tokens."""
        other = self.client_of(ROOT)
        await self.assert_nobody_notices(lambda: other.auth.change_password(*ALICE))

    async def test_others_change(self: Any) -> None:
        """Other users and roles come and go."""
        await self.assert_nobody_notices(self.others_change)

    async def others_change(self: Any) -> None:
        auth = self.root.auth
        await auth.add_user("bob", "x")
        await auth.add_role("bobs")
        await auth.grant_permission("bobs", KeySet.all(), "READWRITE")
        await auth.grant_role("bob", "bobs")
        await auth.delete_role("bobs")
        await auth.delete_user("bob")

    async def test_v3_auth_old_rev_concurrent(self: Any) -> None:
        """V3AuthOldRevConcurrent: users and roles are changed at the same time as keys are written."""
        await self.secure()

        async def change(number: int) -> None:
            role, user = f"test-role-{number}", f"test-user-{number}"
            await self.root.auth.add_role(role)
            await self.root.auth.grant_permission(role, KeySet.all(), "READWRITE")
            await self.root.auth.add_user(user, "123")
            await self.root.set(b"a", b"b")

        await gatherResults([Deferred.fromCoroutine(change(number)) for number in range(8)], consumeErrors=True)
        self.assertEqual(len(await self.root.auth.users()), 10)

    async def test_tokens_end(self: Any) -> None:
        """All of them do when authentication is switched off; calls and snapshots do not notice."""
        await self.secure()
        path = os.path.abspath(self.mktemp())
        other = self.client_of(ROOT)
        for ask in (
            lambda: self.alice.set(b"alice/1", b"x"),
            lambda: self.alice.get(MINE),
            lambda: start_and_stop(self.alice),
            lambda: self.root.cluster.members(),
            lambda: self.root.cluster.leader(),
            lambda: self.root.maintenance.snapshot(path),
            lambda: self.root.maintenance.status(),
            lambda: self.root.auth.users(),
        ):
            await self.alice.get(MINE)
            await self.root.get(MINE)
            await other.auth.disable()
            await other.auth.enable()
            await ask()

    async def test_restart(self: Any) -> None:
        """The server has forgotten all of them."""
        await self.secure()
        for _ in range(2):
            await self.alice.set(b"alice/1", b"x")
            token = self.alice._way.tokens.token
            # it remembers what it has not written yet, if it is killed, or ends too late
            await self.root.maintenance.hash()
            await self.process.restart()
            with self.assertRaises(InvalidAuthToken):
                await self.client_of(token).get(b"alice/1")
            self.assertEqual(await self.burst(self.alice), {"ok"})

    async def test_auth_graceful_disable(self: Any) -> None:
        """AuthGracefulDisable: a watch goes on when authentication is switched off."""
        await self.secure()
        async with self.root.watcher(FORBIDDEN) as watch:
            await self.root.auth.disable()
            await self.etcd.set(FORBIDDEN, b"x")
            self.assertEqual((await watch.__anext__()).value, b"x")

    async def test_lease_keep_alive(self: Any) -> None:
        """AuthLeaseKeepAlive, V3AuthWithLeaseRevoke: a lease of hers lives as long as she likes."""
        await self.secure()
        other = self.client_of(ROOT)
        async with self.alice.lease(10, keep_alive=True) as lease:
            await self.alice.set(b"alice/1", b"x", lease=lease)
            for _ in range(4):
                await other.auth.disable()
                await other.auth.enable()
                await deferLater(self.reactor, 3)
            self.assertEqual((await self.alice.get(b"alice/1")).count, 1)
            self.assertEqual(await lease.keys(), [b"alice/1"])
        self.assertEqual((await self.alice.get(b"alice/1")).count, 0)
        with self.assertRaises(Expired):
            await lease.refresh()


@on_every_server_at_length()
class Losses(LoadCase):
    """Somebody may do no longer what he could, while everybody works: he is told so, and nobody else is."""

    async def test_user_delete_during_ops(self: Any) -> None:
        """UserDeleteDuringOps: she is shut out at once and let in again at once, and nobody else is shut out."""
        callers = await self.under_load(KEYS)
        bob = self.client_of(("bob", "x"))
        await self.root.auth.add_user("bob", "x")
        await self.root.auth.grant_role("bob", "alices")
        callers.add("bob", bob, KEYS)
        auth = self.client_of(ROOT).auth
        for _ in range(ROUNDS):
            callers.enter("")
            await auth.delete_user("alice")
            callers.enter("gone")
            await callers.more()
            callers.enter("")
            await auth.add_user(*ALICE)
            callers.enter("without a role")
            await callers.more()
            callers.enter("")
            await auth.grant_role("alice", "alices")
            callers.enter("there")
            await callers.more()
        await callers.stop()
        expected = {
            (alice, phase): outcomes
            for alice in ("alice", "alice too")
            for phase, outcomes in (
                ("gone", {"AuthFailed"}),
                ("without a role", {"PermissionDenied"}),
                ("", {"ok", "AuthFailed", "PermissionDenied"}),
            )
        }
        self.assertEqual(callers.unexpected(expected), {})

    async def test_role_revoke_during_ops(self: Any) -> None:
        """RoleRevokeDuringOps, RevokeWithDelete: however she loses what she may, it counts at once, for her alone."""
        callers = await self.under_load(KEYS)
        auth = self.client_of(ROOT).auth

        async def let_again() -> None:
            await auth.grant_permission("alices", MINE, "READWRITE")
            await auth.grant_permission("alices", SHARED, "READ")

        async def grant_again() -> None:
            await auth.add_role("alices")
            await let_again()
            await auth.grant_role("alice", "alices")

        losses: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
            (lambda: auth.revoke_role("alice", "alices"), lambda: auth.grant_role("alice", "alices")),
            (lambda: auth.revoke_permission("alices", MINE), let_again),
            (lambda: auth.delete_role("alices"), grant_again),
        ]
        for number in range(ROUNDS):
            lose, regain = losses[number % len(losses)]
            for change, phase in ((lose, "denied"), (regain, "granted")):
                callers.enter("")
                await change()
                callers.enter(phase)
                await callers.more()
        await callers.stop()
        expected = {
            (alice, phase): outcomes
            for alice in ("alice", "alice too")
            for phase, outcomes in (("denied", {"PermissionDenied"}), ("", {"ok", "PermissionDenied"}))
        }
        self.assertEqual(callers.unexpected(expected), {})


@on_every_server_at_length()
class ShortTokens(LoadCase):
    """Simple tokens that last seconds, if they are not used."""

    async def start(self: Any) -> None:
        await super().start(f"--auth-token-ttl={SECONDS}")

    async def has_ended(self: Any, token: str) -> bool:
        """Whether it ends while it is not used for so long; a busy server may not have looked yet."""
        await deferLater(self.reactor, SECONDS + 1.5)
        try:
            await self.client_of(token).get(b"alice/1")
        except InvalidAuthToken:
            return True
        return False

    async def test_token_expires(self: Any) -> None:
        """Nobody notices, neither one caller nor many at once."""
        await self.secure()
        await self.root.set(SHARED, b"x")
        for _ in range(max(1, ROUNDS // 3)):
            for client in (self.alice, self.root):
                await client.set(b"alice/1", b"x")
            token = self.alice._way.tokens.token
            await self.until(lambda token=token: self.has_ended(token))
            clients = 4 * [self.alice, self.root]
            works = [outcome(ask(client)) for ask in CALLS.values() for client in clients]
            found = await gatherResults(map(Deferred.fromCoroutine, works), consumeErrors=True)
            self.assertEqual(set(found), {"ok"})
            self.assertNotEqual(self.alice._way.tokens.token, token)


# --- JSON web tokens


def keys_for_jwt(directory: str) -> Any:
    """A key with which tokens are signed, as files; and the key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for name, content in (("private.pem", secret), ("public.pem", public)):
        with open(os.path.join(directory, name), "wb") as file:
            file.write(content)
    return key


def jwt_flag(directory: str) -> str:
    """What makes a server issue such tokens, with the keys that are there."""
    keys = f"pub-key={directory}/public.pem,priv-key={directory}/private.pem"
    return f"--auth-token=jwt,{keys},sign-method=RS256,ttl={SECONDS}s"


def jwt(key: Any, **claims: Any) -> str:
    """A token of our own."""

    def encoded(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    content = b".".join(parts)
    return (content + b"." + encoded(key.sign(content, padding.PKCS1v15(), hashes.SHA256()))).decode()


def claims_of(token: str) -> Any:
    """What a token says."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@on_every_server_at_length()
class WebTokens(LoadCase):
    """JSON web tokens: whoever has the key of the server can verify them; they end when they say."""

    async def start(self: Any) -> None:
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        self.key = keys_for_jwt(directory)
        await super().start(jwt_flag(directory))

    async def test_jwt_expire(self: Any) -> None:
        """JWTExpire: it ends while calls are made, again and again; another one is fetched, and nobody notices."""

        async def happen() -> None:
            token = self.alice._way.tokens.token
            await self.until(lambda: self.alice._way.tokens.token not in (token, ""))

        await self.assert_nobody_notices(happen)

    async def test_expired_while_idle(self: Any) -> None:
        """Those that come first after that wait for the same one."""
        await self.secure()
        await self.alice.set(b"alice/1", b"x")
        token = self.alice._way.tokens.token
        await deferLater(self.reactor, SECONDS + 1)
        await gatherResults([self.alice.get(b"alice/1") for _ in range(20)], consumeErrors=True)
        self.assertNotEqual(self.alice._way.tokens.token, token)

    async def test_others_change(self: Any) -> None:
        """Each change of users and roles makes all of them too old."""
        other = self.client_of(ROOT)

        async def happen() -> None:
            await other.auth.add_user("bob", "x")
            await other.auth.delete_user("bob")

        await self.assert_nobody_notices(happen)

    async def test_token_with_disable(self: Any) -> None:
        """TokenWithDisable: authentication is switched off and on while calls are made."""
        await self.assert_nobody_notices_a_switch()

    async def test_v3_auth_with_lease_revoke_with_root_jwt(self: Any) -> None:
        """V3AuthWithLeaseRevokeWithRootJWT: the server itself may take back a lease that has run out."""
        await self.assert_lease_runs_out()

    async def test_jwt_only(self: Any) -> None:
        """JWTOnly: one of our own does, until it ends; then it is refused, and no other is fetched."""
        await self.secure()
        await self.root.get(b"k")
        revision = claims_of(self.root._way.tokens.token)["revision"]
        own = self.client_of(jwt(self.key, username="alice", revision=revision, exp=int(time.time()) + 4))
        await own.set(b"alice/1", b"x")
        with self.assertRaises(PermissionDenied):
            await own.set(FORBIDDEN, b"x")
        await self.root.auth.add_user("bob", "x")
        with self.assertRaises(AuthOldRevision):
            await own.set(b"alice/1", b"y")
        own = self.client_of(jwt(self.key, username="alice", revision=revision + 1, exp=int(time.time()) + 4))
        await own.set(b"alice/1", b"y")
        for wrong in (
            jwt(self.key, username="alice", revision=revision, exp=int(time.time()) - 1),
            jwt(rsa.generate_private_key(public_exponent=65537, key_size=2048), username="root", revision=1),
            "a.b.c",
        ):
            with self.assertRaises(InvalidAuthToken):
                await self.client_of(wrong).get(b"alice/1")
        await deferLater(self.reactor, 5)
        with self.assertRaises(InvalidAuthToken):
            await own.get(b"alice/1")


# --- several members


class _ClusterTokensCase(AuthCase):
    """
    A cluster of three, where authentication is on.

    :ivar cluster: the cluster.
    """

    cluster: EtcdCluster

    async def start(self: Any, *arguments: str) -> None:
        self.cluster = EtcdCluster(
            self.reactor, binary=self.server.path, arguments=["--bcrypt-cost=4", *arguments], credentials=ROOT
        )
        self.addCleanup(self.cluster.stop)
        await self.cluster.start()
        self.etcd = self.client_of()
        await set_up_users(self.etcd)
        await self.etcd.auth.enable()
        self.alice = self.client_of(ALICE, timeout=30)

    def client_of(self: Any, credentials: Any = None, **options: Any) -> Client:
        """A client of all members."""
        return self.client_at(self.urls, credentials, **options)

    @property
    def urls(self: Any) -> list[str]:
        """Where the members are."""
        return [self.url_of(member) for member in self.cluster.members]

    def member(self: Any, url: str) -> EtcdProcess:
        return next(member for member in self.cluster.members if self.url_of(member) == url)

    async def assert_works(self: Any, etcd: Client) -> None:
        """It reads and writes, alone and together with others."""
        await etcd.set(b"alice/1", b"x", idempotent=True)
        self.assertEqual((await etcd.get(b"alice/1")).kvs[0].value, b"x")
        await gatherResults([etcd.set(b"alice/1", b"x", idempotent=True) for _ in range(20)], consumeErrors=True)

    async def test_issuer_is_killed(self: Any) -> None:
        """The member that has issued the token dies; and so does the next one, when it is back."""
        for _ in range(2):
            await self.alice.get(b"alice/1")
            issuer = self.member(self.alice.endpoints[0])
            await issuer.kill()
            await self.assert_works(self.alice)
            self.assertFalse(self.alice.stats().endpoints[self.url_of(issuer)])
            await issuer.start()

    async def test_started_again(self: Any) -> None:
        """The leader is found and starts again as ever: whoever asks for that has logged in."""
        leader = await self.cluster.leader()
        await leader.restart()
        self.assertIn(await self.cluster.leader(), self.cluster.members)

    async def test_another_member_at_once(self: Any) -> None:
        """A token that was just issued is used at another member, which may not have heard of it yet."""
        for number in range(3 * ROUNDS):
            etcd = self.client_of(ALICE)
            first, second, third = (self.urls * 2)[number % 3 :][:3]
            etcd.set_endpoints([first])
            await etcd.get(b"alice/1")
            for url in (second, third):
                etcd.set_endpoints([url])
                await etcd.get(b"alice/1")
                await etcd.set(b"alice/1", b"x", idempotent=True)

    async def test_members_restart_under_load(self: Any) -> None:
        """Each in turn is killed and comes back, and nobody notices."""
        callers = Callers(self)
        calls: Mapping[str, Ask] = {
            "get": lambda etcd: etcd.get(b"alice/1"),
            "set": lambda etcd: etcd.set(b"alice/1", b"x", idempotent=True),
            "members": lambda etcd: etcd.cluster.members(),
        }
        for who, credentials in (("alice", ALICE), ("root", ROOT)):
            for url in self.urls:
                # each begins with another one
                etcd = self.client_of(credentials, timeout=60)
                etcd.set_endpoints([url])
                etcd.set_endpoints(self.urls)
                callers.add(who, etcd, calls, number=1)
        await callers.more()
        for number in range(ROUNDS):
            member = self.cluster.members[number % 3]
            await member.kill()
            await callers.more(1)
            await member.start()
            await callers.more(1)
        await callers.stop()
        self.assertEqual(callers.unexpected({}), {})


@on_every_server_at_length()
class TokensOfMembers(_ClusterTokensCase):
    """Simple tokens: each member knows those that it has seen being issued since it was started."""

    async def test_unknown_to_another_member(self: Any) -> None:
        """A member that was started again knows none of them: another one is fetched, as if nothing were."""
        await self.alice.set(b"alice/1", b"", idempotent=True)
        issuer = self.alice.endpoints[0]
        for url in [url for url in self.urls if url != issuer]:
            token = self.alice._way.tokens.token
            # what it has not applied before it will hear of again
            await self.client_at(url, token).get(b"alice/1")
            # it remembers what it has not written yet, if it ends too late
            await self.client_at(url, ROOT).maintenance.hash()
            await self.member(url).restart()
            with self.assertRaises(InvalidAuthToken):
                await self.client_at(url, token).get(b"alice/1")
            self.alice.set_endpoints([url])
            await self.assert_works(self.alice)
            self.assertNotIn(self.alice._way.tokens.token, (token, ""))
            # and back, where the new one is known, too
            self.alice.set_endpoints([issuer])
            await self.assert_works(self.alice)


@on_every_server_at_length()
class WebTokensOfMembers(_ClusterTokensCase):
    """JSON web tokens: any member can verify those of the others; but it may not have heard of the latest change."""

    async def start(self: Any) -> None:
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        keys_for_jwt(directory)
        await super().start(jwt_flag(directory))

    async def test_change_at_another_member(self: Any) -> None:
        """Each change makes all tokens too old; right after it, the members are asked in turn."""
        root = self.client_of(ROOT)
        for number in range(ROUNDS):
            root.set_endpoints([self.urls[number % 3]])
            await root.auth.add_user(f"bob{number}", "x")
            for url in self.urls:
                self.alice.set_endpoints([url])
                await self.alice.set(b"alice/1", b"x", idempotent=True)
