"""
The URLs of endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Optional, cast
from urllib.parse import SplitResult, urlsplit

from ._check import is_series, what_came

DEFAULT_URL = "http://localhost:2379"

GATEWAY, NATIVE = ("http", "https"), ("grpc", "grpcs")
"""The schemes of etcd's JSON gateway and of its own protocol; the second of each stands for TLS."""

DEFAULT_PORTS = {"http": 80, "https": 443, "grpc": 2379, "grpcs": 2379}
"""Where a URL leads that names no port: gRPC has none of its own, so there it is that of etcd."""

_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:(?P<port>[^:]*))?")
_MAX_PORT = 65535

_NO_HOST = "has a host that is none (an IPv6 address stands in brackets: http://[::1]:2379)"


def check_url(argument: str, value: object) -> str:
    """
    *value* as the URL of an endpoint, with the scheme in small letters and without a slash at its end.

    :raises TypeError: names the *argument*, if it is no text.
    :raises ValueError: names the *argument*, and shows the value, if it is no URL that can be asked.
    """
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str, not {type(value).__name__}")
    problem = _problem(value)
    if problem is not None:
        raise ValueError(f"{argument} must be like {DEFAULT_URL}: {_without_password(value)!r} {problem}")
    scheme, _, rest = value.strip().partition("://")
    return f"{scheme.lower()}://{rest.rstrip('/')}"


def check_urls(argument: str, value: object) -> tuple[str, ...]:
    """
    *value* as the URLs of endpoints: one, several with commas between them, or a list of them.

    :raises TypeError: names the *argument*, if it is none of these.
    :raises ValueError: names the *argument*, and shows what is wrong: an URL that cannot be asked, none at all, or URLs
        of several schemes.
    """
    if isinstance(value, str):
        # not split where a password might have a comma in it: its half would be shown
        parts = [] if "@" in value else [part for part in value.split(",") if part.strip()]
        values: list[object] = [*parts] or [value]
    elif is_series(value):
        values = list(cast("Iterable[object]", value))
    else:
        raise TypeError(f"{argument} must be a str, or a list of them, not {what_came(value)}")
    if not values:
        raise ValueError(f"{argument} must not be empty")
    urls = tuple(dict.fromkeys(check_url(argument, one) for one in values))
    schemes = sorted(set(map(scheme_of, urls)))
    if len(schemes) > 1:
        raise ValueError(f"{argument} must have one scheme for all, not {' and '.join(schemes)}")
    return urls


def _problem(value: str) -> Optional[str]:
    """What is wrong with it: words that go on with the value."""
    if not value.isprintable() or " " in value.strip():
        return "has a space or a control character"
    if "," in value:
        return "has a comma"
    scheme, separator, _ = value.strip().partition("://")
    if not separator or scheme.lower() not in (*GATEWAY, *NATIVE):
        return "does not begin with http://, https://, grpc:// or grpcs://"
    try:
        parts = urlsplit(value.strip())
    except ValueError:
        # what urllib says of it may show the password
        return _NO_HOST
    return _problem_of(parts) or ("must end with the path" if "?" in value or "#" in value else None)


def scheme_of(url: str) -> str:
    """The scheme of a URL that was checked."""
    return url.partition("://")[0]


def _problem_of(parts: SplitResult) -> Optional[str]:
    if "@" in parts.netloc:
        return "must not carry a user or a password"
    place = _HOST_AND_PORT.fullmatch(parts.netloc)
    if place is None:
        return _NO_HOST
    if not place["host"]:
        return "names no host"
    if place["port"] is not None and not _is_port(place["port"]):
        return f"has a port that is none: it must be a number from 1 to {_MAX_PORT}"
    if parts.scheme.lower() in NATIVE and parts.path.strip("/"):
        return "has a path, which gRPC does not know"
    return None


def _is_port(text: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", text) is not None and 1 <= int(text) <= _MAX_PORT


def respoken(url: str, scheme: str) -> Optional[str]:
    """The same place as *url* with this *scheme*; ``None`` if it cannot be: only one of the two means TLS."""
    _, _, rest = url.partition("://")
    pairs = zip(GATEWAY, NATIVE)
    return f"{scheme}://{rest}" if any(scheme in pair and scheme_of(url) in pair for pair in pairs) else None


def _without_password(value: str) -> str:
    head, at, tail = value.rpartition("@")
    if not at:
        return value
    scheme, slashes, _ = head.partition("//")
    return f"{scheme}//...@{tail}" if slashes else f"...@{tail}"
