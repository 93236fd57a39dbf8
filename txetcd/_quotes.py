"""
What errors tell of what has answered: as it shows best what is there, the beginning of it is quoted.

But whatever echoes a request, as a page for debugging does, echoes the secrets in it; and errors go into logs.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Optional

from .errors import Error, bare_text, refusal

_EXCERPT = 120

_HIDDEN = "***"

_NOT_SHOWN = "not shown because there may be a secret in them"

_LEAST = 4
"""Characters of a secret that tell something of it."""


def excerpt(body: bytes) -> str:
    """The beginning of a body, fit for one line of an error."""
    text = " ".join(body[: 2 * _EXCERPT].decode("utf-8", "replace").split())
    return repr(text[:_EXCERPT] + ("..." if len(text) > _EXCERPT or len(body) > 2 * _EXCERPT else ""))


class Quotes:
    """
    Quotes what has answered, but for the secrets that it may have seen.

    :param secrets: what is hidden (``str``), however it is echoed: as it is, in JSON, in HTML.
    :param is_mute: whether nothing is quoted of a body, which may tell a secret that nobody here knows, nor of a text
        that has one of the *secrets* in it.
    """

    def __init__(self, *secrets: str, is_mute: bool = False) -> None:
        spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
        # the longest first, as another one may be a part of it
        self._secrets = sorted(spellings, key=len, reverse=True)
        self._is_mute = is_mute

    def excerpt(self, body: bytes) -> str:
        """The beginning of *body*, or how long it is."""
        if self._is_mute:
            return f"{len(body)} bytes, {_NOT_SHOWN}"
        # first this: the beginning could end within a secret
        for secret in self._secrets:
            body = _without(body, secret.encode("utf-8"))
        return excerpt(body)

    def text(self, text: str) -> str:
        """*text*, which others have said."""
        if self._is_mute:
            # what is left of it when a short password is cut out would tell the password
            is_safe = not any(secret in text for secret in self._secrets)
            return text if is_safe else f"{len(text)} characters, {_NOT_SHOWN}"
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text

    def refusal(self, code: Optional[int], message: str) -> Error:
        """See :func:`~txetcd.errors.refusal`. A text of etcd's own stays as it is, whatever the password."""
        error = refusal(code, message)
        if error.text is None or error.text != bare_text(message):
            return type(error)(code, self.text(message))
        return error


def _spellings(secret: str) -> Iterator[str]:
    if secret:
        yield secret
        yield html.escape(secret)
        for is_ascii in (True, False):
            yield json.dumps(secret, ensure_ascii=is_ascii)[1:-1]


def _without(body: bytes, secret: bytes) -> bytes:
    """*body* without *secret*, of which the end may not have arrived yet."""
    hidden = _HIDDEN.encode("ascii")
    body = body.replace(secret, hidden)
    for size in range(len(secret) - 1, _LEAST - 1, -1):
        if body.endswith(secret[:size]):
            return body[:-size] + hidden
    return body


PLAIN = Quotes()
"""Where there is no secret."""
