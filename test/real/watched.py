"""
What the watches of a test tell it: noted as it is told, and compared at the end with what ``etcdctl`` has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Callable, Optional, cast
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred

from test.heard import Heard
from test.real.independent import Independent
from txetcd import Client, Event, Header, Watch
from txetcd._url import respoken
from txetcd.watch import Keys, key_sets


class HeardWatch:
    """
    A :class:`Watch`; whatever it tells is noted.

    :param may_skip: whether changes may be left out before the next event.
    """

    def __init__(self, watch: Watch, heard: Heard, may_skip: Callable[[], bool]) -> None:
        self._watch = watch
        self._heard = heard
        self._may_skip = may_skip
        if heard.is_to_begin:
            # asked before anybody else, who might take an event as soon as it has started
            watch.when_started().addCallbacks(lambda watch: heard.bookmark(watch.revision), lambda _: None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watch, name)

    def __repr__(self) -> str:
        return repr(self._watch)

    @property
    def revision(self) -> Optional[int]:
        revision = self._watch.revision
        self._heard.bookmark(revision)
        return revision

    def when_started(self) -> Deferred[Any]:
        return self._watch.when_started().addCallback(lambda _: self)

    def add(self, keys: Keys) -> Deferred[Any]:
        adding = self._watch.add(keys)
        self._heard.has_several(key_sets("keys", keys))
        return adding.addCallback(lambda _: self)

    def remove(self, keys: Keys) -> None:
        self._heard.has_several(())
        self._watch.remove(keys)

    def __aiter__(self) -> HeardWatch:
        return self

    async def __anext__(self) -> Event:
        event = await self._watch.__anext__()
        if self._may_skip():
            self._heard.has_gap()
        self._heard.event(event)
        self._heard.bookmark(self._watch.revision)
        return event

    async def __aenter__(self) -> HeardWatch:
        await self._watch.__aenter__()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._watch.__aexit__(*reason)


class HeardClient(Client):
    """
    A :class:`Client`; what its watches tell is noted.

    :ivar case: the test.
    """

    case: Watching

    def watcher(
        self,
        keys: Keys,
        filters: Optional[Sequence[str]] = None,
        start_revision: Optional[int] = None,
        return_previous: Optional[bool] = None,
        *,
        progress_notify: Optional[bool] = None,
        on_compacted: str = "raise",
    ) -> Watch:
        watch = super().watcher(
            keys, filters, start_revision, return_previous, progress_notify=progress_notify, on_compacted=on_compacted
        )
        heard = Heard(watch.keys, start_revision, filters or ())
        self.case.listen(self, heard)
        may_skip = self.case.compactions_seen() if on_compacted == "resume" else bool
        return cast(Watch, HeardWatch(watch, heard, may_skip))

    def compact(self, revision: int, physical: bool = False, timeout: Optional[float] = None) -> Deferred[Header]:
        caught_up = self.case.before_compaction(self, revision)
        return caught_up.addCallback(lambda _: Client.compact(self, revision, physical, timeout))


class Witness:
    """
    Who can say what the watches of a cluster had to tell.

    :param urls: where its members are.
    :ivar heard: what the watches have told.
    """

    def __init__(self, urls: frozenset[str], independent: Independent) -> None:
        self.urls = urls
        self._independent = independent
        self.heard: list[Heard] = []

    @property
    def end(self) -> int:
        """The revision up to which there is something to be compared; 0 if there is nothing."""
        return max((heard.end for heard in self.heard), default=0)

    async def see(self, revision: int, until: Callable[[Callable[[], bool]], Any]) -> None:
        """Sees what has happened since the last time, up to this one."""
        if self._independent.has_seen(revision):
            return
        self._independent.start()
        try:
            await until(partial(self._independent.has_seen, revision))
        finally:
            await self._independent.stop()

    @property
    def violations(self) -> list[str]:
        """The promises that were broken."""
        history = self._independent.history
        return [f"{heard!r}: {violation}" for heard in self.heard for violation in heard.violations(history)]


class Watching:
    """
    A test that compares, at the end, what its watches have told with all that has happened, by what ``etcdctl`` sees.

    Of the shared server, it has to see what has happened since the test began; the keys of the test were not there
    before. Before the test compacts something away, ``etcdctl`` sees that.

    :ivar unheard: why that cannot be done, if it cannot (``str``).
    :ivar etcdctl_options: what ``etcdctl`` needs to be let in.
    :ivar witnesses: one for each cluster that was watched.
    """

    unheard = ""
    etcdctl_options: Sequence[str] = ()

    def watch_from(self: Any, url: str, first: int) -> None:
        """The revision *first* of the server at *url* is the first of this test; of others it is their first."""
        self._firsts = {url: first}
        self.witnesses: list[Witness] = []
        self._compactions = 0
        self._behind: dict[Optional[int], str] = {}

    def stands_before(self: Any, front: str, url: str) -> None:
        """Who asks at *front*, as a proxy, asks the server at *url*: there ``etcdctl`` is to ask it."""
        self._behind[urlsplit(front).port] = url

    def listen(self: Any, client: Client, heard: Heard) -> None:
        """Compares it at the end, before those servers stop that are there now."""
        if not self.unheard:
            self._witness_of(client).heard.append(heard)

    def _urls_of(self: Any, client: Client) -> frozenset[str]:
        return frozenset(self.url_behind(url) for url in client.endpoints)

    def url_behind(self: Any, url: str) -> str:
        """Where the server is that is asked there, without TLS if that is known."""
        return self._behind.get(urlsplit(url).port) or respoken(url, "http") or url

    def _witness_of(self: Any, client: Client) -> Witness:
        urls = self._urls_of(client)
        for witness in self.witnesses:
            if witness.urls == urls:
                return witness
        first = max(self._firsts.get(url, 1) for url in urls)
        witness = Witness(urls, Independent(self.reactor, sorted(urls), first, self.etcdctl_options))
        self.witnesses.append(witness)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.compare(witness)))
        return witness

    def compactions_seen(self: Any) -> Callable[[], bool]:
        """Whether something was compacted away since the last time when this was asked."""
        seen = 0

        def may_skip() -> bool:
            nonlocal seen
            before, seen = seen, self._compactions
            return before != seen

        return may_skip

    def before_compaction(self: Any, client: Client, revision: int) -> Deferred[None]:
        """Sees what is about to be compacted away, if somebody watches."""
        return Deferred.fromCoroutine(self._see_before(self._urls_of(client), revision))

    async def _see_before(self: Any, urls: frozenset[str], revision: int) -> None:
        self._compactions += 1
        for witness in self.witnesses:
            if witness.urls & urls:
                await witness.see(revision, self.until)

    async def compare(self: Any, witness: Witness) -> None:
        """Fails if one of its watches has broken a promise."""
        await witness.see(witness.end, self.until)
        violations = witness.violations
        if violations:
            self.fail("\n".join(violations))
