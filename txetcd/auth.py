"""
Users, roles, and what they may do.
"""

from __future__ import annotations

from typing import Any, Optional, Union

from twisted.internet.defer import Deferred

from . import _messages as m
from . import _schema as schema
from ._calls import Calls
from ._check import check_choice, check_seconds, what_came
from ._credentials import is_utf8
from ._since import since
from .keyset import FROM_KEY, KeySet, prefix_end
from .values import AuthStatus, Header, Permission, Role, User

PERMISSIONS = schema.ENUMS["PermissionType"]
"""What a permission can be for: ``"READ"``, ``"WRITE"`` and ``"READWRITE"``."""

MAX_PASSWORD = 72
"""Bytes of a password. bcrypt knows no more: old servers ignore the rest in silence, newer ones fail."""


class Auth:
    """
    Users, roles, and what they may do: etcd's service ``Auth``.

    A user has roles; a role has permissions, each for some keys. The user ``root`` with the role ``root`` may do
    everything, and must be there before authentication is switched on; while it is on, only who has that role may call
    what is here, but for :meth:`user` of himself and :meth:`role` of a role of his.

    What holds for every call of :class:`~txetcd.Client` holds here: what it fails with, how it is cancelled, what
    ``timeout`` means. A change may have been made though it was cancelled, or failed with ``maybe_applied``. It may end
    tokens that were issued before; a client that has a name and a password gets another one by itself. Passwords appear
    in no ``repr``, no error and no log.

    Made by :attr:`Client.auth <txetcd.Client.auth>`.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    # --- on and off

    def enable(self, timeout: Optional[float] = None) -> Deferred[Header]:
        """
        Switches authentication on (``AuthEnable``). From then on this client needs ``credentials``, too.

        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`, also if it was on. It fails with
            :class:`~txetcd.errors.RootUserNotExist` or :class:`~txetcd.errors.RootRoleNotExist` if there would be
            nobody who could switch it off.
        """
        return self._change(schema.AUTH_ENABLE, m.Empty(), timeout)

    def disable(self, timeout: Optional[float] = None) -> Deferred[Header]:
        """
        Switches authentication off (``AuthDisable``). Users and roles stay.

        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`, also if it was off.
        """
        return self._change(schema.AUTH_DISABLE, m.Empty(), timeout)

    def status(self, timeout: Optional[float] = None) -> Deferred[AuthStatus]:
        """
        Asks whether authentication is on (``AuthStatus``; etcd 3.5 and later).

        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with an :class:`~txetcd.AuthStatus`. It fails with
            :class:`~txetcd.errors.Unimplemented` if the server is older, and with :class:`~txetcd.errors.UserEmpty`,
            up to 3.6, if it is on and the client has no credentials.
        """
        return self._call(schema.AUTH_STATUS, m.Empty(), timeout).addErrback(since("3.5"))

    # --- users

    def users(self, timeout: Optional[float] = None) -> Deferred[list[str]]:
        """
        Asks which users there are (``UserList``).

        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with their names (``list`` of ``str``).
        """
        return self._call(schema.USER_LIST, m.Empty(), timeout).addCallback(lambda answer: answer.users)

    def user(self, name: str, timeout: Optional[float] = None) -> Deferred[User]:
        """
        Asks which roles a user has (``UserGet``).

        :param name: his name (``str``).
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with the :class:`~txetcd.User`. It fails with
            :class:`~txetcd.errors.UserNotFound`.
        """
        asked = self._call(schema.USER_GET, m.AuthUserGetRequest(_check_name("name", name)), timeout)
        return asked.addCallback(lambda answer: User(name, answer.roles))

    def add_user(
        self, name: str, password: Optional[str] = None, timeout: Optional[float] = None
    ) -> Deferred[Header]:
        """
        Adds a user, who has no roles yet (``UserAdd``).

        :param name: his name (``str``).
        :param password: his password (``str``), at most 72 bytes; ``None`` for a user without one, who can never log in
            with a password, but only with a client certificate, and so not through the gateway.
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`. It fails with
            :class:`~txetcd.errors.UserAlreadyExist`.
        """
        _check_name("name", name)
        if password is None:
            request = m.AuthUserAddRequest(name, options=m.UserAddOptions(no_password=True))
        else:
            request = m.AuthUserAddRequest(name, _check_password(password))
        return self._change(schema.USER_ADD, request, timeout)

    def delete_user(self, name: str, timeout: Optional[float] = None) -> Deferred[Header]:
        """
        Deletes a user (``UserDelete``).

        :param name: his name (``str``).
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`. It fails with
            :class:`~txetcd.errors.UserNotFound`, or :class:`~txetcd.errors.InvalidAuthManagement` for ``root`` while
            authentication is on.
        """
        return self._change(schema.USER_DELETE, m.AuthUserDeleteRequest(_check_name("name", name)), timeout)

    def change_password(self, name: str, password: str, timeout: Optional[float] = None) -> Deferred[Header]:
        """
        Changes the password of a user (``UserChangePassword``). One who was added without a password stays without.

        :param name: his name (``str``). If he is the one of this client's ``credentials``, make a new client.
        :param password: the new password (``str``), at most 72 bytes.
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`. It fails with
            :class:`~txetcd.errors.UserNotFound`.
        """
        request = m.AuthUserChangePasswordRequest(_check_name("name", name), _check_password(password))
        return self._change(schema.USER_CHANGE_PASSWORD, request, timeout)

    def grant_role(self, user: str, role: str, timeout: Optional[float] = None) -> Deferred[Header]:
        """
        Gives a user a role (``UserGrantRole``).

        :param user: the name of the user (``str``).
        :param role: the name of the role (``str``).
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`, also if he had it. It fails with
            :class:`~txetcd.errors.UserNotFound` or :class:`~txetcd.errors.RoleNotFound`.
        """
        request = m.AuthUserGrantRoleRequest(_check_name("user", user), _check_name("role", role))
        return self._change(schema.USER_GRANT_ROLE, request, timeout)

    def revoke_role(self, user: str, role: str, timeout: Optional[float] = None) -> Deferred[Header]:
        """
        Takes a role from a user (``UserRevokeRole``).

        :param user: the name of the user (``str``).
        :param role: the name of the role (``str``).
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`. It fails with
            :class:`~txetcd.errors.UserNotFound` or :class:`~txetcd.errors.RoleNotGranted`, and with
            :class:`~txetcd.errors.InvalidAuthManagement` for ``root`` of ``root`` while authentication is on.
        """
        request = m.AuthUserRevokeRoleRequest(_check_name("user", user), _check_name("role", role))
        return self._change(schema.USER_REVOKE_ROLE, request, timeout)

    # --- roles

    def roles(self, timeout: Optional[float] = None) -> Deferred[list[str]]:
        """
        Asks which roles there are (``RoleList``).

        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with their names (``list`` of ``str``).
        """
        return self._call(schema.ROLE_LIST, m.Empty(), timeout).addCallback(lambda answer: answer.roles)

    def role(self, name: str, timeout: Optional[float] = None) -> Deferred[Role]:
        """
        Asks which permissions a role has (``RoleGet``).

        :param name: its name (``str``).
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with the :class:`~txetcd.Role`. It fails with
            :class:`~txetcd.errors.RoleNotFound`.
        """
        asked = self._call(schema.ROLE_GET, m.AuthRoleGetRequest(_check_name("name", name)), timeout)
        return asked.addCallback(lambda answer: Role(name, list(map(_permission, answer.permissions))))

    def add_role(self, name: str, timeout: Optional[float] = None) -> Deferred[Header]:
        """
        Adds a role, without permissions yet (``RoleAdd``).

        :param name: its name (``str``).
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`. It fails with
            :class:`~txetcd.errors.RoleAlreadyExist`.
        """
        return self._change(schema.ROLE_ADD, m.AuthRoleAddRequest(_check_name("name", name)), timeout)

    def delete_role(self, name: str, timeout: Optional[float] = None) -> Deferred[Header]:
        """
        Deletes a role (``RoleDelete``); no user has it any more.

        :param name: its name (``str``).
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`. It fails with
            :class:`~txetcd.errors.RoleNotFound`, or :class:`~txetcd.errors.InvalidAuthManagement` for ``root`` while
            authentication is on.
        """
        return self._change(schema.ROLE_DELETE, m.AuthRoleDeleteRequest(_check_name("name", name)), timeout)

    def grant_permission(
        self, role: str, keys: Union[bytes, KeySet], type: str, timeout: Optional[float] = None
    ) -> Deferred[Header]:
        """
        Lets a role do something with some keys (``RoleGrantPermission``). What it was allowed with exactly the same
        keys before is replaced.

        :param role: the name of the role (``str``).
        :param keys: the keys: a :class:`~txetcd.KeySet`, or one key (``bytes``).
        :param type: ``"READ"``, ``"WRITE"`` or ``"READWRITE"``.
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`. It fails with
            :class:`~txetcd.errors.RoleNotFound`.
        """
        chosen = KeySet.of("keys", keys)
        if FROM_KEY != chosen.end and b"" != chosen.end <= chosen.start:
            # old servers take it, newer ones do not say what is wrong with it
            raise ValueError(f"keys must not be an empty range: {chosen!r}")
        if check_choice("type", type, PERMISSIONS) is None:
            raise TypeError(f"type must be one of {', '.join(PERMISSIONS)} (a str), not None")
        permission = m.Permission(type, chosen.start, chosen.end)
        request = m.AuthRoleGrantPermissionRequest(_check_name("role", role), permission)
        return self._change(schema.ROLE_GRANT_PERMISSION, request, timeout)

    def revoke_permission(
        self, role: str, keys: Union[bytes, KeySet], timeout: Optional[float] = None
    ) -> Deferred[Header]:
        """
        Takes a permission from a role (``RoleRevokePermission``).

        :param role: the name of the role (``str``).
        :param keys: exactly the keys of the permission: a :class:`~txetcd.KeySet`, or one key (``bytes``). A part of
            them cannot be taken away.
        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with a :class:`~txetcd.Header`. It fails with
            :class:`~txetcd.errors.RoleNotFound` or :class:`~txetcd.errors.PermissionNotGranted`.
        """
        chosen = KeySet.of("keys", keys)
        request = m.AuthRoleRevokePermissionRequest(_check_name("role", role), chosen.start, chosen.end)
        return self._change(schema.ROLE_REVOKE_PERMISSION, request, timeout)

    # --- within

    def _change(self, rpc: schema.Rpc, request: Any, timeout: Optional[float]) -> Deferred[Header]:
        return self._call(rpc, request, timeout).addCallback(lambda answer: answer.header)

    def _call(self, rpc: schema.Rpc, request: Any, timeout: Optional[float]) -> Deferred[Any]:
        return self._calls.call(rpc, request, check_seconds("timeout", timeout))


def _check_name(argument: str, value: object) -> str:
    """
    *value*, if it is the name of a user or a role.

    :raises TypeError: if it is no ``str``.
    :raises ValueError: if it is empty, or cannot be encoded: the gateway would make another name of it.
    """
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str, not {what_came(value)}")
    if not value or not is_utf8(value):
        raise ValueError(f"{argument} must be text that is not empty, not {value!r}")
    return value


def _check_password(value: object) -> str:
    """
    *value*, if it is a password. No message shows it.

    :raises TypeError: if it is no ``str``.
    :raises ValueError: if it is empty, too long, or cannot be encoded.
    """
    if not isinstance(value, str):
        raise TypeError(f"password must be a str, not {what_came(value)}")
    if not value:
        raise ValueError("password must not be empty")
    if not is_utf8(value):
        raise ValueError("password must be text that can be encoded")
    if len(value.encode()) > MAX_PASSWORD:
        raise ValueError(f"password must not be longer than {MAX_PASSWORD} bytes, not {len(value.encode())}")
    return value


def _permission(granted: m.Permission) -> Permission:
    return Permission(_key_set(granted.key or FROM_KEY, granted.range_end), granted.type)


def _key_set(start: bytes, end: bytes) -> KeySet:
    """What whoever granted a permission most likely wrote."""
    if not end:
        return KeySet(start)
    if start == end == FROM_KEY:
        return KeySet.all()
    return KeySet(start, prefix=True) if end == prefix_end(start) else KeySet(start, end)
