"""
Users and roles: what is asked, what becomes of the answers, and what no message shows.
"""

from __future__ import annotations

import traceback
from typing import Any, Callable

from twisted.internet.defer import Deferred, succeed

from test.fakes import URL, Network, Reactor
from test.test_client import ClientCase
from txetcd import Auth, AuthStatus, Client, KeySet, Permission, Role, Timeout, User
from txetcd import _messages as m
from txetcd import _schema as schema
from txetcd.errors import FAILED_PRECONDITION, UNIMPLEMENTED, Closed, RoleNotFound, Unimplemented, UserNotFound
from txetcd.values import Header

HEADER = Header(revision=7)
DONE = m.Acknowledgement(HEADER)
PREFIX = KeySet(b"a/", prefix=True)
SECRET = "open sesame"


class AuthCase(ClientCase):
    """Users and roles, by a client on a fake."""

    auth: Auth

    def setUp(self) -> None:
        super().setUp()
        self.auth = self.client.auth
        self.addCleanup(self.__dict__.pop, "auth")


CHANGES: list[tuple[Callable[[Auth], Deferred[Any]], schema.Rpc, Any]] = [
    (lambda a: a.enable(), schema.AUTH_ENABLE, m.Empty()),
    (lambda a: a.disable(), schema.AUTH_DISABLE, m.Empty()),
    (lambda a: a.add_user("eve", SECRET), schema.USER_ADD, m.AuthUserAddRequest("eve", SECRET)),
    (lambda a: a.add_user("eve", "\u00e4" * 36), schema.USER_ADD, m.AuthUserAddRequest("eve", "\u00e4" * 36)),
    (lambda a: a.add_user("eve"), schema.USER_ADD, m.AuthUserAddRequest("eve", "", m.UserAddOptions(True))),
    (lambda a: a.delete_user("eve"), schema.USER_DELETE, m.AuthUserDeleteRequest("eve")),
    (
        lambda a: a.change_password("eve", SECRET),
        schema.USER_CHANGE_PASSWORD,
        m.AuthUserChangePasswordRequest("eve", SECRET),
    ),
    (lambda a: a.grant_role("eve", "ops"), schema.USER_GRANT_ROLE, m.AuthUserGrantRoleRequest("eve", "ops")),
    (lambda a: a.revoke_role("eve", "ops"), schema.USER_REVOKE_ROLE, m.AuthUserRevokeRoleRequest("eve", "ops")),
    (lambda a: a.add_role("ops"), schema.ROLE_ADD, m.AuthRoleAddRequest("ops")),
    (lambda a: a.delete_role("ops"), schema.ROLE_DELETE, m.AuthRoleDeleteRequest("ops")),
    (
        lambda a: a.grant_permission("ops", b"a", "READ"),
        schema.ROLE_GRANT_PERMISSION,
        m.AuthRoleGrantPermissionRequest("ops", m.Permission("READ", b"a")),
    ),
    (
        lambda a: a.grant_permission("ops", PREFIX, "READWRITE"),
        schema.ROLE_GRANT_PERMISSION,
        m.AuthRoleGrantPermissionRequest("ops", m.Permission("READWRITE", b"a/", b"a0")),
    ),
    (
        lambda a: a.grant_permission("ops", KeySet.all(), "WRITE"),
        schema.ROLE_GRANT_PERMISSION,
        m.AuthRoleGrantPermissionRequest("ops", m.Permission("WRITE", b"\0", b"\0")),
    ),
    (
        lambda a: a.grant_permission("ops", KeySet(b"from", b"\0"), "READ"),
        schema.ROLE_GRANT_PERMISSION,
        m.AuthRoleGrantPermissionRequest("ops", m.Permission("READ", b"from", b"\0")),
    ),
    (
        lambda a: a.revoke_permission("ops", PREFIX),
        schema.ROLE_REVOKE_PERMISSION,
        m.AuthRoleRevokePermissionRequest("ops", b"a/", b"a0"),
    ),
    (
        # granted by others, perhaps: 3.4 takes it
        lambda a: a.revoke_permission("ops", KeySet(b"b", b"a")),
        schema.ROLE_REVOKE_PERMISSION,
        m.AuthRoleRevokePermissionRequest("ops", b"b", b"a"),
    ),
]


class ChangeTests(AuthCase):
    """What is changed."""

    def test_changes(self) -> None:
        """Each asks for what it says, and fires with the header."""
        for verb, rpc, request in CHANGES:
            self.assertEqual(self.sends(verb(self.auth), rpc, request, DONE), HEADER)

    def test_not_twice(self) -> None:
        """What may have been done is not done again, and may have been done if it is cancelled."""
        for verb, rpc, _ in CHANGES:
            changing = verb(self.auth)
            self.transport.next(rpc).expire()
            self.assertTrue(self.failureResultOf(changing, Timeout).value.maybe_applied)
            self.transport.asked()
            self.cancelled(verb(self.auth))
            self.transport.asked()

    def test_a_grant_says_what_is_granted(self) -> None:
        """etcd 3.4 dies for good of one that does not."""
        reactor = Reactor()
        network = Network(reactor)
        client = Client(reactor, URL)
        for kind in ("READ", "WRITE", "READWRITE"):
            granting = client.auth.grant_permission("ops", b"a", kind)
            wire = network.accept()
            self.assertEqual(wire.requests[-1].json, {"name": "ops", "perm": {"permType": kind, "key": "YQ=="}})
            wire.answer({"header": {"revision": "1"}})
            self.successResultOf(granting)
        client.close()
        reactor.advance(0)

    def test_timeout(self) -> None:
        """Each takes one, behind everything else."""
        verbs: list[Callable[[], Deferred[Any]]] = [
            lambda: self.auth.enable(3),
            lambda: self.auth.disable(3),
            lambda: self.auth.status(3),
            lambda: self.auth.users(3),
            lambda: self.auth.user("eve", 3),
            lambda: self.auth.add_user("eve", SECRET, 3),
            lambda: self.auth.delete_user("eve", 3),
            lambda: self.auth.change_password("eve", SECRET, 3),
            lambda: self.auth.grant_role("eve", "ops", 3),
            lambda: self.auth.revoke_role("eve", "ops", 3),
            lambda: self.auth.roles(3),
            lambda: self.auth.role("ops", 3),
            lambda: self.auth.add_role("ops", 3),
            lambda: self.auth.delete_role("ops", 3),
            lambda: self.auth.grant_permission("ops", b"a", "READ", 3),
            lambda: self.auth.revoke_permission("ops", b"a", 3),
        ]
        for verb in verbs:
            asked = verb()
            self.assertEqual([call.timeout for call in self.transport.waiting], [3])
            self.cancelled(asked)

    def test_closed(self) -> None:
        """A closed client tells so."""
        self.successResultOf(self.client.close())
        self.failureResultOf(self.auth.enable(), Closed)
        self.failureResultOf(self.auth.users(), Closed)


class QuestionTests(AuthCase):
    """What is asked."""

    def test_status(self) -> None:
        """Whether authentication is on."""
        status = AuthStatus(True, 9, HEADER)
        self.assertEqual(self.sends(self.auth.status(), schema.AUTH_STATUS, m.Empty(), status), status)

    def test_status_of_old_servers(self) -> None:
        """3.4 does not tell; the error says from when on they do."""
        asked = self.auth.status()
        self.transport.next(schema.AUTH_STATUS).reply(Unimplemented(UNIMPLEMENTED, "not known"))
        error = self.failureResultOf(asked, Unimplemented).value
        self.assertEqual(str(error), f"Auth.AuthStatus at {URL}: needs etcd 3.5 or later: not known")

    def test_other_errors(self) -> None:
        """They say nothing of versions."""
        asked = self.auth.status()
        self.transport.next(schema.AUTH_STATUS).expire()
        self.assertNotIn("later", str(self.failureResultOf(asked, Timeout).value))

    def test_users(self) -> None:
        answer = m.AuthUserListResponse(HEADER, ["eve", "root"])
        self.assertEqual(self.sends(self.auth.users(), schema.USER_LIST, m.Empty(), answer), ["eve", "root"])

    def test_user(self) -> None:
        request, answer = m.AuthUserGetRequest("eve"), m.AuthUserGetResponse(HEADER, ["ops"])
        self.assertEqual(self.sends(self.auth.user("eve"), schema.USER_GET, request, answer), User("eve", ["ops"]))
        asked = self.auth.user("eve")
        self.transport.next(schema.USER_GET).reply(UserNotFound(FAILED_PRECONDITION, "etcdserver: user name not found"))
        self.failureResultOf(asked, UserNotFound)

    def test_roles(self) -> None:
        answer = m.AuthRoleListResponse(HEADER, ["ops", "root"])
        self.assertEqual(self.sends(self.auth.roles(), schema.ROLE_LIST, m.Empty(), answer), ["ops", "root"])

    def test_role(self) -> None:
        """What it may do, with the keys as they were most likely granted."""
        granted = [
            (m.Permission("READ", b"a", b""), "READ", KeySet(b"a"), "single"),
            (m.Permission("WRITE", b"a/", b"a0"), "WRITE", PREFIX, "prefix"),
            (m.Permission("READWRITE", b"a", b"c"), "READWRITE", KeySet(b"a", b"c"), "range"),
            (m.Permission("READ", b"from", b"\0"), "READ", KeySet(b"from", b"\0"), "range"),
            (m.Permission("READ", b"\xff", b"\0"), "READ", KeySet(b"\xff", prefix=True), "prefix"),
            (m.Permission("READ", b"\0", b"\0"), "READ", KeySet.all(), "prefix"),
            # as the role root has it
            (m.Permission("READWRITE", b"", b"\0"), "READWRITE", KeySet.all(), "prefix"),
            # as 3.4 takes it
            (m.Permission("READ", b"b", b"a"), "READ", KeySet(b"b", b"a"), "range"),
        ]
        answer = m.AuthRoleGetResponse(HEADER, [permission for permission, _, _, _ in granted])
        role = self.sends(self.auth.role("ops"), schema.ROLE_GET, m.AuthRoleGetRequest("ops"), answer)
        self.assertEqual(role, Role("ops", [Permission(keys, kind) for _, kind, keys, _ in granted]))
        self.assertEqual([one.keys.type for one in role.permissions], [type_ for _, _, _, type_ in granted])
        asked = self.auth.role("ops")
        self.transport.next(schema.ROLE_GET).reply(RoleNotFound(FAILED_PRECONDITION, "etcdserver: role name not found"))
        self.failureResultOf(asked, RoleNotFound)


MISUSE: list[tuple[Callable[[Auth], Any], type[Exception], str]] = [
    (lambda a: a.enable(0), ValueError, "timeout must be a positive number of seconds, not 0"),
    (lambda a: a.status("1"), TypeError, "timeout must be a number of seconds"),
    (lambda a: a.user(b"eve"), TypeError, "name must be a str, not bytes"),
    (lambda a: a.user(""), ValueError, "name must be text that is not empty, not ''"),
    (lambda a: a.user("\ud800"), ValueError, r"name must be text that is not empty, not '\ud800'"),
    (lambda a: a.user(succeed("eve")), TypeError, "name must be a str, not a Deferred: yield or await it first"),
    (lambda a: a.add_user(None), TypeError, "name must be a str, not NoneType"),
    (lambda a: a.add_user("", SECRET), ValueError, "name must be text"),
    (lambda a: a.add_user("eve", b"secret"), TypeError, "password must be a str, not bytes"),
    (lambda a: a.add_user("eve", ""), ValueError, "password must not be empty"),
    (lambda a: a.add_user("eve", SECRET + "\udcff"), ValueError, "password must be text that can be encoded"),
    (lambda a: a.add_user("eve", SECRET * 7), ValueError, "password must not be longer than 72 bytes, not 77"),
    (lambda a: a.add_user("eve", "\u00e4" * 37), ValueError, "password must not be longer than 72 bytes, not 74"),
    (lambda a: a.add_user("eve", SECRET, -1), ValueError, "timeout must be a positive number"),
    (lambda a: a.change_password("eve", None), TypeError, "password must be a str, not NoneType"),
    (lambda a: a.change_password("eve", ""), ValueError, "password must not be empty"),
    (lambda a: a.change_password(7, SECRET), TypeError, "name must be a str, not int"),
    (lambda a: a.delete_user(""), ValueError, "name must be text"),
    (lambda a: a.grant_role("", "ops"), ValueError, "user must be text"),
    (lambda a: a.grant_role("eve", ["ops"]), TypeError, "role must be a str, not list"),
    (lambda a: a.revoke_role(7, "ops"), TypeError, "user must be a str"),
    (lambda a: a.revoke_role("eve", ""), ValueError, "role must be text"),
    (lambda a: a.role(7), TypeError, "name must be a str"),
    (lambda a: a.add_role(""), ValueError, "name must be text"),
    (lambda a: a.delete_role(None), TypeError, "name must be a str"),
    (lambda a: a.grant_permission("", b"a", "READ"), ValueError, "role must be text"),
    (lambda a: a.grant_permission("ops", "a", "READ"), TypeError, "keys must be bytes or a KeySet, not str; encode it"),
    (lambda a: a.grant_permission("ops", b"", "READ"), ValueError, "keys must not be empty; all keys are KeySet.all()"),
    (lambda a: a.grant_permission("ops", KeySet(b"b", b"a"), "READ"), ValueError, "keys must not be an empty range: K"),
    (lambda a: a.grant_permission("ops", KeySet(b"b", b"b"), "READ"), ValueError, "keys must not be an empty range"),
    (lambda a: a.grant_permission("ops", b"a", "read"), ValueError, "type must be one of READ, WRITE, READWRITE, not"),
    (lambda a: a.grant_permission("ops", b"a", 2), TypeError, "type must be one of READ, WRITE, READWRITE (a str)"),
    (lambda a: a.grant_permission("ops", b"a", None), TypeError, "type must be one of READ, WRITE, READWRITE (a str)"),
    (lambda a: a.revoke_permission("ops", "a"), TypeError, "keys must be bytes or a KeySet"),
    (lambda a: a.revoke_permission(None, b"a"), TypeError, "role must be a str"),
    (lambda a: a.revoke_permission("ops", b"a", 0), ValueError, "timeout must be a positive number"),
]


class MisuseTests(AuthCase):
    """What cannot be asked is not."""

    def test_misuse(self) -> None:
        """It is raised at once, and says what is wrong, but never a password."""
        for verb, kind, text in MISUSE:
            error = self.assertRaises(kind, verb, self.auth)
            self.assertIn(text, str(error))
            self.assertNotIn("sesame", "".join(traceback.format_exception(kind, error, error.__traceback__)))
            self.assertIsNone(error.__context__)
        self.transport.asked()


class SecretTests(AuthCase):
    """No password is shown."""

    def test_errors(self) -> None:
        """What fails says nothing of it."""
        for verb in (
            lambda: self.auth.add_user("eve", SECRET),
            lambda: self.auth.change_password("eve", SECRET),
        ):
            asked = verb()
            (call,) = self.transport.waiting
            self.assertNotIn("sesame", repr(call.request))
            call.expire()
            failure = self.failureResultOf(asked, Timeout)
            for shown in (str(failure.value), repr(failure.value), failure.getTraceback(detail="verbose")):
                self.assertNotIn("sesame", shown)
        self.assertNotIn("sesame", repr(self.client) + repr(self.auth))
