"""
A program that uses a recipe again and again, together with others that do the same, and reports what it is told.

``python -m test.real.contender RECIPE WHO SEED URL...`` prints a line of JSON for everything that it reports. It ends
when it reads a line, after what it has begun; and at once when nobody is there to write one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable
from itertools import count
from random import Random
from typing import Any, Callable, Optional, TypeVar, Union, cast

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater, react
from twisted.protocols.basic import LineOnlyReceiver

from txetcd import (
    STM,
    Client,
    Comp,
    Counter,
    Election,
    Error,
    HeldItem,
    Lock,
    OpSet,
    Queue,
    ReadWriteLock,
    Semaphore,
    Sequence,
    Session,
    Timeout,
    Transaction,
    WorkQueue,
)

T = TypeVar("T")

NAME = b"contended"
"""What they contend for."""

RESOURCE = b"resource"
"""The key that is guarded with the fencing token."""

LIMIT = 2
"""How many may hold the semaphore."""

ACCOUNTS = 10
"""Between which there are transfers."""

TIME_TO_LIVE = 2
"""The shortest that etcd grants, with its own timing."""


def report(what: str, **fields: Any) -> None:
    """One line, which is written whole or not at all, whatever happens to this process."""
    os.write(1, json.dumps({"what": what, **fields}).encode() + b"\n")


class Contender:
    """
    Somebody who uses a recipe.

    :cvar clients: how many take their turns side by side, in one process.
    :param who: the name of this process.
    """

    clients = 1

    def __init__(self, reactor: Any, etcd: Client, who: str, random: Random) -> None:
        self.reactor = reactor
        self.etcd = etcd
        self.who = who
        self.random = random
        self.is_over = False
        self._session: Optional[Session] = None
        # every second process has one; the others have a lease for each thing
        self._has_session = int(who.partition(".")[0]) % 2 == 1
        number, _, times = who.partition(".")
        self._numbers = count((int(number) * 1000 + int(times)) * 1_000_000 + 1)

    async def run(self) -> None:
        """Takes turns until it is over."""
        await gatherResults([Deferred.fromCoroutine(self._take_turns()) for _ in range(self.clients)])
        if self._session is not None:
            await self._session.close()

    async def _take_turns(self) -> None:
        while not self.is_over:
            try:
                await self.turn()
            except Error as error:
                report("failed", error=type(error).__name__)
                await self.pause(0.1)

    async def turn(self) -> None:
        """Uses the recipe once, and reports ``done`` if that was a success."""
        raise NotImplementedError

    async def session(self) -> Optional[Session]:
        """That of this process, if it has one; another one when it was lost."""
        if self._has_session and (self._session is None or not self._session.is_alive):
            self._session = await Session(self.etcd, TIME_TO_LIVE).start()
        return self._session

    async def pause(self, most: float) -> None:
        """So many seconds, or less."""
        await deferLater(self.reactor, self.random.random() * most)

    def number(self) -> int:
        """One that nobody else has."""
        return next(self._numbers)

    async def once(self, what_for: Any, doing: Awaitable[T]) -> T:
        """Reports what is told of something that must not be done twice, nor be lost."""
        report("begun", what_for=what_for)
        try:
            result = await doing
        except Error as error:
            report("not done", what_for=what_for, maybe_applied=error.maybe_applied)
            raise
        report("ended", what_for=what_for)
        return result


class Holding(Contender):
    """Somebody who acquires something, works as long as he has it, and releases it."""

    is_shared = False

    def new(self, session: Optional[Session]) -> Any:
        """What is acquired, once."""
        raise NotImplementedError

    async def turn(self) -> None:
        held = self.new(await self.session())
        if not await self.attempt(self.acquiring(held)):
            return
        token, guard = held.revision, held.guard()
        try:
            is_done = await self.work(token, guard, lambda: held.is_held)
        finally:
            await held.release()
        if is_done:
            report("done")
        await self.write_late(token, guard)

    def acquiring(self, held: Any) -> Deferred[Any]:
        """In one of the ways that there are."""
        if self.random.random() < 0.1:
            return cast("Deferred[Any]", held.try_acquire())
        return cast("Deferred[Any]", held.acquire(self.patience))

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
        report("wrote", token=token)
        outcome = await self.etcd.transact(Transaction([guard], [OpSet(RESOURCE, self.written(token))]))
        if not outcome.succeeded:
            report("refused", token=token, believes=is_held())
        return bool(outcome.succeeded)

    def written(self, token: int) -> bytes:
        """What is written to the resource: by whom, and as what."""
        return json.dumps({"who": self.who, "token": token, "is_shared": self.is_shared}).encode()

    async def write_late(self, token: int, guard: Comp) -> None:
        """As somebody who has not noticed that it is over."""
        if self.random.random() < 0.2:
            await self.pause(0.1)
            if await self.write(token, guard, lambda: False):
                report("accepted late", token=token)


class OfLock(Holding):
    """A :class:`Lock`."""

    def new(self, session: Optional[Session]) -> Lock:
        return Lock(self.etcd, NAME, TIME_TO_LIVE, session=session)


class OfSemaphore(Holding):
    """A :class:`Semaphore`."""

    def new(self, session: Optional[Session]) -> Semaphore:
        return Semaphore(self.etcd, NAME, LIMIT, session=session, time_to_live=TIME_TO_LIVE)


class OfReadWriteLock(Holding):
    """A :class:`ReadWriteLock`."""

    def new(self, session: Optional[Session]) -> Any:
        lock = ReadWriteLock(self.etcd, NAME, session=session, time_to_live=TIME_TO_LIVE)
        self.is_shared = self.random.random() < 0.6
        return lock.reading() if self.is_shared else lock.writing()


class OfElection(Holding):
    """An :class:`Election`, which everybody also observes."""

    def new(self, session: Optional[Session]) -> Election:
        return Election(self.etcd, NAME, session=session, time_to_live=TIME_TO_LIVE)

    async def run(self) -> None:
        observing = Deferred.fromCoroutine(self.observe())
        await super().run()
        observing.cancel()
        await observing

    async def observe(self) -> None:
        try:
            async with self.new(None).observe() as leaders:
                async for kv in leaders:
                    report("saw", leader=kv.value.decode().rstrip("!"), token=kv.create_revision)
        except CancelledError:
            # as long as there is somebody to be observed
            pass

    async def turn(self) -> None:
        election = self.new(await self.session())
        await (self.lead(election) if self.random.random() < 0.5 else self.run_once(election))

    async def lead(self, election: Election) -> None:
        """As a candidate who resigns."""
        if await self.attempt(election.campaign(self.who.encode(), self.patience)):
            token, guard = election.revision, election.guard()
            try:
                await self.govern(election)
            finally:
                await election.resign()
            await self.write_late(token, guard)

    async def run_once(self, election: Election) -> None:
        """As one whose work is cancelled when the leadership is lost."""
        await self.attempt(election.run(lambda: self.govern(election), self.who.encode(), self.patience))

    async def govern(self, election: Election) -> None:
        if await self.work(election.revision, election.guard(), lambda: election.is_leader):
            await election.proclaim(self.who.encode() + b"!")
            report("done")


class OfCounter(Contender):
    """A :class:`Counter`: what is added tells by whom it was, and when."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._counter = Counter(self.etcd, NAME)

    async def turn(self) -> None:
        amount = self.number()
        await self.once([amount], self._counter.add(amount))
        report("done")
        await self.pause(0.02)


class OfSequence(Contender):
    """A :class:`Sequence`, of which some reserve blocks."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._sequence = Sequence(self.etcd, NAME, block=self.random.choice([1, 1, 10]))

    async def turn(self) -> None:
        report("numbered", number=await self._sequence.next())
        report("done")
        await self.pause(0.02)


class OfQueue(Contender):
    """A :class:`Queue` that is nearly empty, by those who put and get items."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._queue = Queue(self.etcd, NAME, time_to_live=TIME_TO_LIVE)

    async def turn(self) -> None:
        await self.put(self._queue)
        for _ in range(self.random.randrange(1, 4)):
            try:
                report("took", item=int(await self._queue.get(1)))
            except Error as error:
                report("not got", maybe_applied=error.maybe_applied)
                raise
            report("done")

    async def put(self, queue: Union[Queue, WorkQueue]) -> None:
        """Some items, or one, or none."""
        items = [self.number() for _ in range(self.random.randrange(4))]
        await self.once(items, queue.put_all([b"%d" % item for item in items]))


class OfWorkQueue(OfQueue):
    """A :class:`WorkQueue`: each item is a resource that is guarded with the token of its holder."""

    async def turn(self) -> None:
        session = await self.session()
        queue = WorkQueue(self.etcd, NAME, session=session, time_to_live=TIME_TO_LIVE)
        await self.put(queue)
        for _ in range(self.random.randrange(1, 4)):
            await self.do(await queue.take(1))

    async def do(self, item: HeldItem) -> None:
        async with item:
            report("got", token=item.revision)
            value = json.dumps({"who": self.who, "token": item.revision, "item": int(item.value)}).encode()
            for _ in range(2):
                outcome = await self.etcd.transact(Transaction([item.guard()], [OpSet(RESOURCE, value)]))
                if not outcome.succeeded:
                    report("refused", token=item.revision, believes=item.is_held)
                await self.pause(0.02)
            if self.random.random() < 0.1:
                await item.give_back()
                return
            report("worked", item=int(item.value))
        report("done")


class OfSTM(Contender):
    """``etcd.atomically()``: transfers between accounts, each of an amount of its own."""

    clients = 2

    async def turn(self) -> None:
        amount = self.number()
        payer, payee = self.random.sample(range(ACCOUNTS), 2)

        async def transfer(stm: STM) -> None:
            for number, change in ((payer, -amount), (payee, amount)):
                account = account_of(number)
                stm.set(account, b"%d" % (int(await stm.get(account) or 0) + change))

        isolation = self.random.choice(["SerializableSnapshot", "Serializable", "RepeatableReads"])
        await self.once([amount], self.etcd.atomically(transfer, isolation))
        report("done")
        await self.pause(0.05)


def account_of(number: int) -> bytes:
    """The key of an account."""
    return NAME + b"/%d" % number


RECIPES: dict[str, type[Contender]] = {
    "counter": OfCounter,
    "election": OfElection,
    "lock": OfLock,
    "queue": OfQueue,
    "readers and writers": OfReadWriteLock,
    "semaphore": OfSemaphore,
    "sequence": OfSequence,
    "stm": OfSTM,
    "work queue": OfWorkQueue,
}


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
