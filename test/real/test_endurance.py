"""
Watches through everything that can happen to them, compared with what has happened by what ``etcdctl`` has seen.

What is done follows etcd's own robustness tests: writers, compactions, and faults at random, as long as is wanted.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from random import Random
from typing import Any, Callable, Optional

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from test.real.amid_faults import AmidFaults
from test.real.base import on_every_server_at_length
from test.real.independent import Independent
from test.real.test_auth import ALICE, ROOT, set_up_users
from txetcd import (
    Backoff,
    Client,
    Compacted,
    Error,
    KeySet,
    OpDel,
    OpSet,
    Transaction,
    Watch,
)
from txetcd.errors import InvalidAuthToken
from txetcd.testing import EtcdFailed, EtcdProcess, FaultyProxy, History, WatchRecord

SECONDS = float(os.environ.get("TXETCD_TEST_WATCH_SECONDS", "12"))
"""How long it goes on; each fault happens once at least."""

SEED = int(os.environ.get("TXETCD_TEST_WATCH_SEED", "1"))
"""For what is done, and what happens."""

WRITERS = 8

LAG = 15.0
"""Seconds after which a revision is compacted: so long that ``etcdctl`` has seen it, but not everybody here."""

TOKEN_SECONDS = 2
"""How long a token lasts that is not used: so long that one which was just issued is used in time on a busy machine."""

KEYS = 12
"""So few, that what happens to a key is often what has just happened to it."""


class Watched:
    """
    Somebody who watches as long as the test lasts, and notes what he is told.

    :ivar records: what each watch has told: another one after changes were compacted away.
    :ivar gaps: how often that was.
    """

    def __init__(self, etcd: Any, keys: KeySet, pause: Callable[[], Any] = lambda: None, **options: Any) -> None:
        self._etcd = etcd
        self._pause = pause
        self._options = options
        self.keys = keys
        self.records: list[WatchRecord] = []
        self.losses = self.gaps = 0
        self.watch: Optional[Watch] = None

    async def run(self) -> None:
        start = self._options.get("start_revision")
        while True:
            options = {**self._options, "start_revision": start}
            self.watch = watch = self._etcd.watcher(self.keys, **options)
            record = WatchRecord(self.keys, start, options.get("filters", ()))
            self.records.append(record)
            try:
                await self._note(watch, record)
                return
            except Compacted as error:
                self.gaps += 1
                start = error.compact_revision
            finally:
                self.losses += watch.losses
                watch.stop()

    async def _note(self, watch: Watch, record: WatchRecord) -> None:
        # a watch from now on tells first where it begins
        watch.when_started().addCallbacks(lambda watch: record.bookmark(watch.revision), lambda _: None)
        async for event in watch:
            record.event(event)
            record.bookmark(watch.revision)
            await self._pause()

    @property
    def revision(self) -> int:
        """Up to here everything was told."""
        return (self.watch and self.watch.revision) or 0


class Copy:
    """
    A copy of keys that is kept by a watch, whatever is compacted away.

    :ivar state: what it is.
    :ivar synthetic: how many events told what has come of what nobody could tell.
    """

    def __init__(self, etcd: Any, keys: KeySet) -> None:
        self.keys = keys
        self.state: dict[bytes, bytes] = {}
        self.synthetic = 0
        self.watch = etcd.watcher(keys, start_revision=1, on_compacted="resync")

    async def run(self) -> None:
        async for event in self.watch:
            self.synthetic += event.is_synthetic
            if event.is_delete:
                self.state.pop(event.key, None)
            else:
                self.state[event.key] = event.value

    @property
    def revision(self) -> int:
        return self.watch.revision or 0


@on_every_server_at_length()
class Endurance(AmidFaults):
    """
    A cluster of three, where authentication is on, and tokens last seconds; a client that reaches its members through
    proxies; and ``etcdctl``, which reaches them directly.
    """

    timeout = 900 + 3 * SECONDS
    unheard = "it compares them by itself, and has more of them"

    async def start(self: Any) -> None:
        self.random = Random(SEED)
        arguments = [f"--auth-token-ttl={TOKEN_SECONDS}", "--bcrypt-cost=4"]
        self.cluster = await self.own_cluster(*arguments, credentials=ROOT)
        self.proxies = [await self.proxy_to(member) for member in self.cluster.members]
        # of those who write, and see to it that all is well
        self.etcd = self.client(self.urls_of(self.cluster), credentials=ROOT, retry=Backoff(), timeout=30)
        await self.secure()
        # of those who watch
        self.away = self.client(
            [proxy.url for proxy in self.proxies],
            credentials=ALICE,
            retry=Backoff(),
            timeout=3,
            connect_timeout=2,
            liveness=3,
        )
        self.idle: set[Client] = set()
        self.happened: Counter[str] = Counter()
        self.is_over = False
        self.seen: deque[tuple[float, int]] = deque()

    async def secure(self: Any) -> None:
        """Root may do everything, and alice read everything."""
        await set_up_users(self.etcd)
        await self.etcd.auth.grant_permission("alices", KeySet.all(), "READ")
        await self.etcd.auth.enable()

    async def proxy_to(self: Any, member: EtcdProcess) -> FaultyProxy:
        proxy = FaultyProxy(self.reactor, member.url, seed=SEED)
        self.addCleanup(proxy.stop)
        await proxy.start()
        self.stands_before(proxy.url, member.url)
        return proxy

    def independent(self: Any) -> Independent:
        """Sees everything from the first revision on."""
        urls = [member.url for member in self.cluster.members]
        independent = Independent(self.reactor, urls, options=[f"--user={':'.join(ROOT)}"])
        independent.start()
        self.addCleanup(independent.stop)
        return independent

    # --- what is done

    async def turn(self: Any, etcd: Client) -> None:
        """Waits as long as nothing is to be asked by this client."""
        while etcd in self.idle:
            await deferLater(self.reactor, 0.02)

    async def write(self: Any, number: int) -> None:
        random = Random(SEED * 1000 + number)
        count = 0
        while not self.is_over:
            await self.turn(self.etcd)
            count += 1
            value = b"%d/%d" % (number, count)
            names = [b"%s/%d" % (random.choice([b"a", b"b"]), random.randrange(KEYS)) for _ in range(4)]
            try:
                revision = await self._write_one(random.randrange(5), names, value)
                self.seen.append((self.reactor.seconds(), revision))
            except Error:
                # the watches say what has become of it
                pass
            await deferLater(self.reactor, 0.01)

    async def _write_one(self: Any, kind: int, names: list[bytes], value: bytes) -> int:
        if kind == 0:
            return int((await self.etcd.delete(names[0])).header.revision)
        if kind == 1:
            puts = [OpSet(name, value) for name in sorted(set(names))]
            return int((await self.etcd.transact(Transaction([], puts))).header.revision)
        if kind == 2:
            ops = [OpSet(names[0], value), *(OpDel(name) for name in set(names[1:]) - {names[0]})]
            return int((await self.etcd.transact(Transaction([], ops))).header.revision)
        return int((await self.etcd.set(names[0], value)).header.revision)

    async def compact(self: Any) -> None:
        while not self.is_over:
            await deferLater(self.reactor, 0.3)
            await self.turn(self.etcd)
            revision = 0
            while self.seen and self.seen[0][0] < self.reactor.seconds() - LAG:
                revision = self.seen.popleft()[1]
            if revision:
                try:
                    await self.etcd.compact(revision)
                    self.happened["compacted"] += 1
                except Error:
                    # perhaps somebody was further already
                    pass

    async def come_and_go(self: Any) -> None:
        """Watches that begin somewhere, in the past or in the future, and do not last."""
        random = Random(SEED + 17)
        while not self.is_over:
            await self.turn(self.away)
            now = self.seen[-1][1] if self.seen else 1
            start = max(1, now + random.randrange(-300, 20))
            record = WatchRecord(KeySet.all(), start)
            watch = self.away.watcher(KeySet.all(), start_revision=start)
            self.passing.append(record)
            for _ in range(random.randrange(60)):
                if self.is_over:
                    break
                try:
                    event = await watch.__anext__()
                except (Compacted, StopAsyncIteration):
                    break
                record.event(event)
                record.bookmark(watch.revision)
            watch.stop()
            await deferLater(self.reactor, 0.05)

    # --- what happens

    @property
    def preferred(self: Any) -> int:
        """The place of the member that the client asks at the moment."""
        urls = [self.spoken(proxy.url) for proxy in self.proxies]
        return urls.index(self.away.endpoints[0])

    async def leader(self: Any) -> Optional[EtcdProcess]:
        try:
            return await self.cluster.leader()
        except EtcdFailed:
            return None

    async def cut(self: Any) -> None:
        """Somewhere in what the server says, on all streams there."""
        proxy = self.proxies[self.preferred]
        for _ in range(3):
            proxy.cut_answer(self.random.randrange(3000), self.random.choice(["close", "reset"]), count=20)
            await self.pass_seconds(0.3)
            proxy.drop(self.random.choice(["close", "reset"]))
        proxy.behave()

    async def black_holed(self: Any) -> None:
        proxy = self.proxies[self.preferred]
        proxy.black_hole()
        await self.pass_seconds(8)
        proxy.behave()

    async def killed(self: Any) -> None:
        member = self.cluster.members[self.preferred]
        await member.kill()
        await self.pass_seconds(1)
        await member.start()

    async def leader_killed(self: Any) -> None:
        member = await self.leader()
        if member is not None:
            await member.kill()
            await self.pass_seconds(2)
            await member.start()

    async def restarted(self: Any) -> None:
        await self.cluster.members[self.preferred].restart()

    async def paused(self: Any) -> None:
        member = self.cluster.members[self.preferred]
        member.pause()
        await self.pass_seconds(5)
        member.resume()

    async def moved(self: Any) -> None:
        leader = await self.leader()
        others = [member for member in self.cluster.members if member is not leader]
        try:
            url = self.url_of(self.random.choice(others))
            status = await self.client(url, credentials=ROOT, timeout=5).status()
            await self.etcd.maintenance.move_leader(status.header.member_id)
        except Error:
            # an election was quicker
            pass

    async def token_expired(self: Any) -> None:
        """Of those who watch, while others write; then they need one, all at once."""
        tokens = await self.unused(self.away)
        await self.expired(tokens)
        for proxy in self.proxies:
            proxy.drop("reset")
        await self.replaced(tokens)

    async def all_tokens_expired(self: Any) -> None:
        """
        Of those who write, too: nobody asks anything. Those who watch are cut off, as they use their token when they
        look whether a silent server is there.
        """
        tokens = await self.unused(self.away, self.etcd)
        for proxy in self.proxies:
            await proxy.refuse()
            proxy.drop("reset")
        await self.expired(tokens)
        for proxy in self.proxies:
            await proxy.accept()
        await self.replaced(tokens)

    async def unused(self: Any, *clients: Client) -> dict[Client, tuple[str, str]]:
        """From now on these are idle; where they were so far, and their tokens."""
        # one that was refused has none until it asks something again
        await self.until(lambda: all(etcd._way.tokens.token for etcd in clients))
        self.idle.update(clients)
        return {etcd: (self.url_behind(etcd.endpoints[0]), etcd._way.tokens.token) for etcd in clients}

    async def expired(self: Any, tokens: dict[Client, tuple[str, str]]) -> None:
        """The tokens are not known any more; and nobody is idle."""
        for url, token in tokens.values():
            await self.until(lambda url=url, token=token: self.has_expired(url, token))
        self.idle.clear()

    async def replaced(self: Any, tokens: dict[Client, tuple[str, str]]) -> None:
        """All have others."""
        await self.until(lambda: all(etcd._way.tokens.token not in (old, "") for etcd, (_, old) in tokens.items()))

    async def has_expired(self: Any, url: str, token: str) -> bool:
        """Whether it does while it is not used for so long; a busy server may not have looked yet."""
        await self.pass_seconds(TOKEN_SECONDS + 1.5)
        try:
            async with self.client(url, credentials=token) as etcd:
                await etcd.get(b"-")
        except InvalidAuthToken:
            return True
        return False

    async def suffer(self: Any) -> None:
        kinds = [
            self.cut, self.black_holed, self.killed, self.leader_killed, self.restarted, self.paused, self.moved,
            self.token_expired, self.all_tokens_expired,
        ]  # fmt: skip
        await self.faults(kinds, self.reactor.seconds() + SECONDS)

    # --- what has come of it

    async def test_nothing_is_missed(self: Any) -> None:
        """
        Nothing was missed, doubled or out of order, of any watch; and a copy that is kept by a watch is what the keys
        are.
        """
        theirs = self.independent()
        a, b, everything = KeySet(b"a/", prefix=True), KeySet(b"b/", prefix=True), KeySet.all()

        async def slowly() -> None:
            await deferLater(self.reactor, 0.002)

        async def at_once() -> None:
            pass

        watches = [
            Watched(self.away, everything, at_once, start_revision=1),
            Watched(self.away, a, at_once, return_previous=True),
            Watched(self.away, b, slowly, start_revision=1, return_previous=True, progress_notify=True),
            Watched(self.away, KeySet(b"a/1"), at_once, start_revision=1),
            Watched(self.away, everything, at_once, start_revision=1, filters=["NODELETE"]),
            Watched(self.away, everything, at_once, start_revision=1, filters=["NOPUT"]),
        ]
        copies = [Copy(self.away, keys) for keys in (a, everything)]
        self.passing: list[WatchRecord] = []
        watching = [Deferred.fromCoroutine(one.run()) for one in (*watches, *copies)]
        # one from now on has to tell where it begins before anything happens
        await self.until(lambda: all(one.watch is not None and one.watch.state == "live" for one in watches))
        working = [Deferred.fromCoroutine(self.write(number)) for number in range(WRITERS)]
        working += [Deferred.fromCoroutine(self.compact()), Deferred.fromCoroutine(self.come_and_go())]
        try:
            await self.suffer()
        finally:
            self.is_over = True
        # whoever waits for a revision in the future
        await self.until(self.is_well)
        for _ in range(30):
            await self.etcd.set(b"a/1", b"")
        await self.soon(gatherResults(working, consumeErrors=True))
        end = 0
        for name in (b"a/1", b"b/1", b"gone"):
            end = (await self.etcd.set(name, b"end")).header.revision
        end = (await self.etcd.delete(b"gone")).header.revision
        await self.until(lambda: all(one.revision >= end - 4 for one in (*watches, *copies)))
        await self.until(lambda: theirs.history.revision >= end)
        history = theirs.history
        records = [record for watch in watches for record in watch.records] + self.passing
        for record in records:
            record.check(history)
        for copy in copies:
            kvs = history.state(copy.keys, end)
            self.assertEqual(copy.state, {key: kv.value for key, kv in kvs.items()})
        if "TXETCD_TEST_WATCH_SECONDS" in os.environ:
            print(self.figures(history, records, watches, copies))
        self.assertTrue(all(watch.losses + (watch.watch.losses if watch.watch else 0) for watch in watches))
        await self.away.close()
        await self.soon(gatherResults(watching, consumeErrors=True))

    def figures(self: Any, history: History, records: Any, watches: Any, copies: Any) -> str:
        checked = sum(len(record.events) for record in records)
        losses = sum(one.watch.losses for one in (*watches, *copies))
        return (
            f"etcd {self.server.label}, {self.scheme}: {len(history)} changes, up to revision {history.revision}; "
            f"{checked} events checked of {len(records)} watches; {losses} losses, "
            f"{sum(watch.gaps for watch in watches)} compacted, {sum(copy.synthetic for copy in copies)} synthetic; "
            f"{dict(self.happened)}"
        )
