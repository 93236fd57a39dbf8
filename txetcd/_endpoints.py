"""
Where to ask: the endpoints of a cluster, and what is known of them from having been asked.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Callable

import attrs

from ._backoff import jittered

QUARANTINE = 0.5
"""Seconds for which an endpoint that has failed is asked only if there is no other; doubled with each failure ..."""

LONGEST_QUARANTINE = 8.0
"""... up to this."""


@attrs.define
class _Health:
    """
    What is known of an endpoint.

    :ivar failures: how often it has failed in a row.
    :ivar failed_at: when it failed last.
    :ivar until: the end of its quarantine.
    :ivar reason: what it has failed with last.
    """

    failures: int = 0
    failed_at: float = 0.0
    until: float = 0.0
    reason: str = ""


class Endpoints:
    """
    Several endpoints, of which one is preferred as long as it works: so its connections are used again, and what is
    read does not go back in time. Which one that is at first is left to chance, so that many clients are spread over
    all.

    :param urls: the endpoints.
    :param random: gives numbers from 0 up to 1, by chance.
    """

    def __init__(self, urls: Sequence[str], random: Callable[[], float]) -> None:
        self._random = random
        self._known: dict[str, _Health] = {}
        self.replace(urls)

    @property
    def urls(self) -> tuple[str, ...]:
        """All of them, the preferred one first (a ``tuple`` of ``str``)."""
        return tuple(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def replace(self, urls: Sequence[str]) -> None:
        """From now on there are these; of those that stay, order and health are kept."""
        staying = [url for url in self._known if url in urls]
        coming = [url for url in dict.fromkeys(urls) if url not in self._known]
        first = int(self._random() * len(coming))
        before = self._known
        self._known = {url: before.get(url) or _Health() for url in (*staying, *coming[first:], *coming[:first])}

    def is_healthy(self, url: str, now: float) -> bool:
        """Whether it has not failed lately, as far as is known."""
        return self._known[url].until <= now

    @property
    def reasons(self) -> dict[str, str]:
        """What those have failed with that did not answer when they were asked last (``dict`` of ``str`` by URL)."""
        return {url: health.reason for url, health in self._known.items() if health.failures}

    def pick(self, now: float, tried: Container[str] = ()) -> str:
        """
        The endpoint to ask next: a healthy one that was not *tried* yet; else one that was not tried; else the one
        whose quarantine ends first.
        """
        for url, health in self._known.items():
            # nearly always the first
            if health.until <= now and url not in tried:
                return url
        return min(self._known, key=lambda url: (url in tried, max(self._known[url].until, now)))

    def worked(self, url: str) -> None:
        """It has answered, be it with a refusal."""
        health = self._known.get(url)
        if health is not None and health.failures:
            health.failures, health.until = 0, 0.0

    def failed(self, url: str, asked_at: float, now: float, reason: str = "no answer") -> None:
        """It was not reached, did not answer, or cannot serve. Of all calls that were under way then one counts."""
        health = self._known.get(url)
        if health is None or (health.failures and asked_at <= health.failed_at):
            return
        health.failures += 1
        health.failed_at = now
        health.reason = reason
        seconds = min(LONGEST_QUARANTINE, QUARANTINE * 2 ** min(health.failures - 1, 30))
        health.until = now + jittered(seconds, self._random())
        # the others are preferred from now on, also when it is healthy again
        self._known[url] = self._known.pop(url)
