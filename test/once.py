"""
What must be done once: what was reported of it, compared with what has happened.

A program reports ``begun``, and then ``ended`` or ``not done``, or nothing if it was killed. Each thing has a number
that nothing else has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import attrs

from test.history import Fate
from txetcd import KeySet
from txetcd.testing import History

Reports = Iterable[Mapping[str, Any]]


def fates(reports: Reports) -> dict[int, Fate]:
    """What is known of each number."""
    found: dict[int, Fate] = {}
    for reported in reports:
        what = reported["what"]
        if what in ("begun", "ended", "not done"):
            fate = Fate.DONE if what == "ended" else Fate.UNKNOWN
            if what == "not done" and not reported["maybe_applied"]:
                fate = Fate.REFUSED
            found.update(dict.fromkeys(reported["what_for"], fate))
    return found


def complaints(happened: Iterable[int], known: Mapping[int, Fate]) -> list[str]:
    """What has happened twice, or without being asked for, or not at all, or though it was said that it had not."""
    times = Counter(happened)
    found = [f"{number} has happened {often} times" for number, often in times.items() if often > 1]
    found += [f"nobody has asked for {number}" for number in times if number not in known]
    for number, fate in known.items():
        if fate is Fate.DONE and number not in times:
            found.append(f"{number} was lost")
        if fate is Fate.REFUSED and number in times:
            found.append(f"{number} has happened, and that was denied")
    return found


def increments(history: History, key: bytes) -> Iterator[int]:
    """What was added to a number in a key, one time after the other."""
    before = 0
    for event in history.matching(KeySet(key)):
        after = int(event.value) if event.is_put else 0
        yield after - before
        before = after


def transfers(history: History, accounts: KeySet) -> Iterator[int]:
    """
    What was transferred between accounts, one time after the other, since they were opened all at once.

    :raises ValueError: for a revision that changes the total.
    """
    balances: dict[bytes, int] = {}
    for revision, events in groupby(history.matching(accounts), lambda event: event.mod_revision):
        after = {**balances, **{event.key: int(event.value) for event in events}}
        changes = [balance - balances[account] for account, balance in after.items()] if balances else [0]
        if sum(changes):
            raise ValueError(f"at {revision} the total has changed by {sum(changes)}")
        if balances:
            yield max(changes)
        balances = after


@attrs.define
class Queued:
    """
    What has happened to the items of a queue: those of which nothing but the number is in the value.

    :ivar put: the items, in the order in which they were put.
    :ivar there: those that are there, each with its place in the order.
    :ivar gone: those that were taken and have not come back.
    :ivar complaints: what should not have happened.
    """

    put: list[int] = attrs.Factory(list)
    there: dict[int, tuple[int, bytes]] = attrs.Factory(dict)
    gone: dict[int, tuple[int, bytes]] = attrs.Factory(dict)
    complaints: list[str] = attrs.Factory(list)

    @classmethod
    def of(cls, history: History, keys: KeySet) -> Queued:
        """All of it."""
        queued, items = cls(), dict[bytes, int]()
        for revision, events in groupby(history.matching(keys), lambda event: event.mod_revision):
            taken = []
            for event in events:
                if event.is_put:
                    items[event.key] = int(event.value)
                    queued._came(items[event.key], (revision, event.key))
                else:
                    taken.append(items[event.key])
            queued._went(taken)
        return queued

    def _came(self, item: int, place: tuple[int, bytes]) -> None:
        if item in self.there:
            self.complaints.append(f"{item} was put twice")
        elif item in self.gone:
            # whoever has taken it did not want it, and it is at its place again
            self.there[item] = self.gone.pop(item)
        else:
            self.put.append(item)
            self.there[item] = place

    def _went(self, items: list[int]) -> None:
        for item in items:
            self.gone[item] = self.there.pop(item)
        for item in items:
            earlier = [other for other, place in self.there.items() if place < self.gone[item]]
            if earlier:
                self.complaints.append(f"{item} was taken before {earlier}")
