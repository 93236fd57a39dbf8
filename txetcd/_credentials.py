"""
Who asks.
"""

from __future__ import annotations

from typing import Union

from twisted.internet.defer import Deferred

from ._attempts import Attempts, Way
from ._check import what_came
from ._messages import AuthenticateRequest
from ._schema import AUTHENTICATE
from ._tokens import Fetch

Login = tuple[str, str]


def check_credentials(value: object) -> Union[str, Login, None]:
    """
    A token, or a name and a password, or ``None``. No message shows any of them.

    :raises TypeError: if it is none of these.
    :raises ValueError: if a token is empty or cannot be sent, a name is empty, or a name or a password cannot be sent.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("credentials: a token must be printable ASCII without spaces, and not empty")
        return value
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"credentials must be (user, password) or a token (a str), not {what_came(value)}")
    user, password = value
    if not isinstance(user, str) or not isinstance(password, str):
        raise TypeError("credentials must be (user, password), both str")
    if not user:
        raise ValueError("credentials: the user must not be empty")
    if not is_utf8(user) or not is_utf8(password):
        raise ValueError("credentials: the user and the password must be text that can be encoded")
    return user, password


def is_utf8(text: str) -> bool:
    """Whether it can be encoded: the gateway would make another text of one that cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Authenticator:
    """See :func:`authenticator`."""

    def __init__(self, way: Way, login: Login, seconds: float) -> None:
        self._way = way
        self._request = AuthenticateRequest(*login)
        self.seconds = seconds

    def __call__(self, seconds: float) -> Deferred[str]:
        asked = Attempts(self._way, AUTHENTICATE, self._request, seconds).start()
        return asked.addCallback(lambda answer: answer.token)


def authenticator(way: Way, login: Login, seconds: float) -> Fetch:
    """
    What gets a token for a name and a password.

    :param way: to whom, without a token.
    :param seconds: for each time, at least.
    """
    return _Authenticator(way, login, seconds)
