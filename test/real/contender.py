"""
A program that uses a recipe again and again, together with others that do the same, and reports what it is told.

``python -m test.real.contender RECIPE WHO SEED URL...`` prints a line of JSON for everything that it reports. It ends
when it reads a line, after what it has begun; and at once when nobody is there to write one.
"""

from __future__ import annotations

import json
import os
import sys
from random import Random
from typing import Any, Callable, Optional

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater, react
from twisted.protocols.basic import LineOnlyReceiver

from txetcd import Client, Comp, Error, OpSet, Timeout, Transaction

NAME = b"contended"
"""What they contend for."""

RESOURCE = b"resource"
"""The key that is guarded with the fencing token."""

TIME_TO_LIVE = 2
"""The shortest that etcd grants, with its own timing."""


def report(what: str, **fields: Any) -> None:
    """One line, which is written whole or not at all, whatever happens to this process."""
    os.write(1, json.dumps({"what": what, **fields}).encode() + b"\n")


class Contender:
    """
    Somebody who uses a recipe.

    :param who: the name of this process.
    """

    def __init__(self, reactor: Any, etcd: Client, who: str, random: Random) -> None:
        self.reactor = reactor
        self.etcd = etcd
        self.who = who
        self.random = random
        self.is_over = False
        self._writes = 0

    async def run(self) -> None:
        """Takes turns until it is over."""
        while not self.is_over:
            try:
                await self.turn()
            except Error as error:
                report("failed", error=type(error).__name__, maybe_applied=error.maybe_applied)
                await self.pause(0.1)
        await self.leave()
        report("left")

    async def turn(self) -> None:
        """Uses the recipe once, and reports ``done`` if that was a success."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Gives back what it holds over several turns."""

    async def pause(self, most: float) -> None:
        """So many seconds, or less."""
        await deferLater(self.reactor, self.random.random() * most)

    # --- those who hold something meanwhile

    async def attempt(self, acquiring: Deferred[Any]) -> Any:
        """What it fires with, or ``None``: at times it is given up."""
        if self.random.random() < 0.05:
            self.reactor.callLater(self.random.random() * 0.3, acquiring.cancel)
        try:
            return await acquiring
        except Timeout:
            report("timed out")
        except CancelledError:
            report("cancelled")
        return None

    @property
    def patience(self) -> Optional[float]:
        """Seconds to wait for it; mostly as long as it takes."""
        return self.random.choice([None] * 9 + [0.2])

    async def work(self, token: int, guard: Comp, is_held: Callable[[], bool]) -> bool:
        """Writes what only the holder may write, as long as it does hold it. Whether it did so to the end."""
        report("got", token=token)
        try:
            for _ in range(self.random.randrange(1, 5)):
                if not await self.write(token, guard, is_held):
                    return False
                await self.pause(0.5 if self.random.random() < 0.05 else 0.02)
        except Error:
            # who was suspended, or cut off, learns only so that it is over, and with it the lock as a rule
            await self.write(token, guard, is_held)
            raise
        return True

    async def write(self, token: int, guard: Comp, is_held: Callable[[], bool]) -> bool:
        """
        Whether the store has accepted it; if not, the lock is another's, and nobody may believe in it here, either. The
        other resource is the one who reads what is reported.
        """
        self._writes += 1
        report("wrote", token=token)
        value = json.dumps({"who": self.who, "token": token, "number": self._writes}).encode()
        outcome = await self.etcd.transact(Transaction([guard], [OpSet(RESOURCE, value)]))
        if not outcome.succeeded:
            report("refused", token=token, believes=is_held())
        return bool(outcome.succeeded)

    async def write_late(self, token: int, guard: Comp) -> None:
        """As somebody who has not noticed that it is over."""
        if self.random.random() < 0.2:
            await self.pause(0.1)
            if await self.write(token, guard, lambda: False):
                report("accepted late", token=token)


class OfLock(Contender):
    """``etcd.lock()``."""

    async def turn(self) -> None:
        locking = self.etcd.lock(NAME, self.patience, time_to_live=TIME_TO_LIVE)
        lock = await self.attempt(locking)
        if lock is None:
            return
        token, guard = lock.revision, lock.guard()
        async with locking:
            is_done = await self.work(token, guard, lambda: bool(lock.is_held))
        if is_done:
            report("done")
        await self.write_late(token, guard)


RECIPES: dict[str, type[Contender]] = {"lock": OfLock}


class Orders(LineOnlyReceiver):
    """What this process is told."""

    delimiter = b"\n"

    def __init__(self, contender: Contender) -> None:
        self._contender = contender

    def lineReceived(self, line: bytes) -> None:
        self._contender.is_over = True

    def connectionLost(self, reason: Any = None) -> None:
        if not self._contender.is_over:
            os._exit(1)


def main(reactor: Any, recipe: str, who: str, seed: str, *urls: str) -> Deferred[None]:
    async def run() -> None:
        async with Client(reactor, urls, timeout=5, connect_timeout=1, liveness=5) as etcd:
            contender = RECIPES[recipe](reactor, etcd, who, Random(int(seed)))
            StandardIO(Orders(contender))
            await contender.run()

    return Deferred.fromCoroutine(run())


if __name__ == "__main__":
    react(main, sys.argv[1:])
