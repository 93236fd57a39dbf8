"""
The endpoints of a cluster, as the cluster itself tells them.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ._attempts import Way
from ._calls import Calls
from ._check import what_came
from ._messages import MemberListRequest, MemberListResponse
from ._schema import MEMBER_LIST
from ._url import check_urls, respoken, scheme_of
from .errors import Unavailable

Mapping = Callable[[str], Optional[str]]
"""From the URL that a member advertises to the one that it has from here, or ``None`` to leave it out."""

_log = Logger()


def check_mapping(mapping: object) -> Optional[Mapping]:
    """
    *mapping*, if it can be called, or ``None``.

    :raises TypeError: for anything else.
    """
    if mapping is not None and not callable(mapping):
        raise TypeError(f"mapping must be callable, not {what_came(mapping)}")
    return mapping


def member_urls(answer: MemberListResponse, mapping: Optional[Mapping]) -> list[str]:
    """
    Where members can be asked. One that has not started yet has no name, and a learner answers next to nothing
    (``Client.Sync`` of etcd's Go client).
    """
    advertised = [
        url for member in answer.members if member.name and not member.is_learner for url in member.client_urls
    ]
    mapped = advertised if mapping is None else [_checked(url, mapping(url)) for url in advertised]
    return [url for url in mapped if url is not None]


def _checked(url: str, mapped: object) -> Optional[str]:
    if mapped is None or isinstance(mapped, str):
        return mapped
    raise TypeError(f"the mapping of {url} must be a URL (a str) or None, not {what_came(mapped)}")


class EndpointSync:
    """
    Keeps the endpoints those of the members of the cluster.

    :param clock: the reactor.
    :param way: whose endpoints are kept.
    """

    def __init__(self, calls: Calls, clock: Any, way: Way, mapping: Optional[Mapping] = None) -> None:
        self._calls = calls
        self._clock = clock
        self._way = way
        self._mapping = mapping
        self._seconds = 0.0
        self._timer: Optional[IDelayedCall] = None
        self._work: Deferred[Any] = succeed(None)

    def sync(self, timeout: Optional[float] = None) -> Deferred[tuple[str, ...]]:
        """See :meth:`Client.sync_endpoints <txetcd.Client.sync_endpoints>`."""
        return self._calls.call(MEMBER_LIST, MemberListRequest(True), timeout).addCallback(self._learned)

    def _learned(self, answer: MemberListResponse) -> tuple[str, ...]:
        scheme = scheme_of(self._way.endpoints.urls[0])
        urls = member_urls(answer, self._mapping)
        # members advertise http:// where they speak gRPC as well
        same = [url for url in (respoken(url, scheme) for url in urls) if url is not None]
        if not same:
            said = f"no member can be asked with {scheme}://, by what they advertise: {', '.join(urls) or 'nothing'}"
            raise self._calls.located(Unavailable(None, said), MEMBER_LIST)
        self._way.replace(check_urls("the URL of a member", same))
        return self._way.endpoints.urls

    def start(self, seconds: float) -> None:
        """Does it now, and again and again after so many seconds."""
        self._seconds = seconds
        self._calls.at_close(self._stop)
        self._again()

    def _stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._work.cancel()

    def _again(self) -> None:
        self._work = self.sync()
        self._work.addErrback(self._not_learned).addBoth(self._wait)

    def _not_learned(self, failure: Failure) -> None:
        if not self._calls.is_closed:
            _log.warn("the endpoints stay as they are: {reason}", reason=failure.value)

    def _wait(self, _: Any) -> None:
        if not self._calls.is_closed:
            self._timer = self._clock.callLater(self._seconds, self._again)
