"""
Calls that are given up, by whoever asked or at their deadline: wherever they are just then, on every server.

``$TXETCD_TEST_CALLS`` calls (100,000 is a long run) are made in the storm, of which about a tenth is cancelled. What
came of them is in the log.
"""

from __future__ import annotations

import base64
import gc
import operator
import os
import re
import resource
import socket
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Callable, Optional

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent

from test.real.base import GATEWAY, NATIVE, QUICK, RealCase, on_every_server, on_every_server_at_length, sockets_to
from test.real.test_faults import FaultCase, methods_of
from test.real.test_limits import can_limit_streams
from test.servers import AT_LENGTH
from txetcd import Backoff, Client, KeyValue, OpGet, OpSet, Timeout, Transaction
from txetcd._calls import DEFAULT_TIMEOUT, LONG_TIMEOUT
from txetcd._gateway import MAX_CONCURRENT
from txetcd._schema import AUTHENTICATE, COMPACT, DELETE_RANGE, LEASE_LEASES, PUT, RANGE, STATUS, TXN, Rpc
from txetcd.testing import EtcdCluster, FaultyProxy

CALLS = int(os.environ.get("TXETCD_TEST_CALLS", "3000"))

CROWDS = ((499, 60), (31, 6))
"""
How many ask at a time in the storm, and for how many turns of the reactor at the most a call is left alone before it is
cancelled. In the first half most calls wait for a connection; in the second most are under way.
"""

SLOW_CROWDS = ((33, 900),)
"""The same where each byte takes a turn."""

MORE_OBJECTS = 1500
"""Fewer than one for each call of a short storm, and for each fifty of a long one."""

FOR_EVER = 3600.0

_log = Logger()


def quoted(key: bytes) -> bytes:
    """As it stands in JSON."""
    return b'"%s"' % base64.b64encode(key)


def tagged(key: bytes) -> bytes:
    """As it stands in protobuf, where it is the first field."""
    size = len(key)
    assert size < 128
    return bytes((0x0A, size)) + key


class _CancelCase(FaultCase):
    """
    :ivar proxy: a proxy to the shared server.
    :ivar tested: a client behind it, which waits for ever if need be.
    """

    async def start(self: Any) -> None:
        await self.begin(self.web)

    async def begin(self: Any, url: str) -> None:
        """With the server at *url*."""
        self.proxy = await self.proxy_to(url)
        self.tested = self.away = self.client(self.proxy.url, timeout=FOR_EVER)
        self.values: dict[bytes, bytes] = {}

    async def delay_answers(self: Any, etcd: Optional[Client] = None) -> None:
        """For ever; but a client that needs a connection before it asks has it."""
        if self.scheme == NATIVE:
            await self.soon((etcd or self.tested).get(self.key(b"warm")))
        self.proxy.delay(FOR_EVER, "to_client")

    @property
    def places(self: Any) -> int:
        """How many calls there are places for; or, where that is up to the server, as many as a proxy keeps in view."""
        return 8 if self.scheme == NATIVE else MAX_CONCURRENT

    async def others(self: Any, count: Optional[int] = None, size: int = 10) -> dict[bytes, Deferred[Any]]:
        """Gets of so many keys, each with a value of its own, which go on beside what is cancelled."""
        numbers = range(self.places if count is None else count)
        self.values = {self.key(b"other%d" % number): b"%02d" % number * size for number in numbers}
        for key, value in self.values.items():
            await self.etcd.set(key, value)
        return {key: self.tested.get(key) for key in self.values}

    async def assert_unharmed(self: Any, others: dict[bytes, Deferred[Any]]) -> None:
        """Each has the answer to its own question."""
        for key, other in others.items():
            self.assertEqual([(kv.key, kv.value) for kv in (await self.soon(other)).kvs], [(key, self.values[key])])

    def assert_cancelled(self: Any, call: Deferred[Any], maybe_applied: bool) -> None:
        """Cancelling fires it, before anything else happens."""
        fired: list[Any] = []
        call.addBoth(fired.append)
        self.assertEqual(fired, [])
        call.cancel()
        (failure,) = fired
        self.assertIsInstance(failure, Failure)
        self.assertIsInstance(failure.value, CancelledError)
        self.assertIs(failure.value.maybe_applied, maybe_applied)

    def asked(self: Any, *keys: bytes) -> int:
        """How many requests there were for one of these keys; those that a connection was asked last, if one by one."""
        return self.count(lambda connection: self.wire.requests(connection, map(tagged, keys)), lambda _: True, keys)

    def answered(self: Any, *keys: bytes) -> int:
        """How many of them the server has answered by now."""
        has_answer = operator.attrgetter("answer")
        return self.count(lambda connection: self.wire.answers(connection, map(tagged, keys)), has_answer, keys)

    def count(self: Any, native: Callable[..., Any], gateway: Callable[..., Any], keys: Sequence[bytes]) -> int:
        """
        Requests on all connections.

        :param native: those of a connection.
        :param gateway: whether that of a connection counts, if it is for one of these *keys*.
        """
        if self.scheme == NATIVE:
            return sum(len(native(connection)) for connection in self.proxy.connections)
        asked = (one for one in self.proxy.connections if any(quoted(key) in one.request for key in keys))
        return sum(bool(gateway(connection)) for connection in asked)

    async def assert_usable(self: Any, etcd: Optional[Client] = None) -> None:
        """As many calls as there are places for can be under way at once, and all, twice as many, are answered."""
        etcd = self.away = etcd or self.tested
        self.behave()
        await self.noticed()
        await self.delay_answers(etcd)
        keys = [self.key(b"u%d" % number) for number in range(2 * self.places)]
        calls = [etcd.get(key) for key in keys]
        # where there are always more places, more may be answered
        await self.until(lambda: self.answered(*keys) >= self.places)
        self.assertTrue(self.scheme == NATIVE or self.answered(*keys) == self.places)
        self.behave()
        await self.soon(gatherResults(calls, consumeErrors=True))
        self.assertLessEqual(etcd.stats().connections, self.sockets_for(MAX_CONCURRENT))


class _Queued(_CancelCase):
    async def queued(self: Any) -> None:
        """Behind as many calls as may be under way: nothing is sent, and those behind it move up."""
        await self.delay_answers()
        others = await self.others()
        await self.until(lambda: self.answered(*others) == self.places)
        queued = [self.tested.set(self.key(b"queued"), b"") for _ in range(3)]
        behind = self.tested.set(self.key(b"behind"), b"")
        for call in queued:
            self.assert_cancelled(call, False)
        self.behave()
        await self.assert_unharmed(others)
        await self.soon(behind)
        self.assertEqual((await self.etcd.get(self.key(b"queued"))).kvs, [])
        await self.assert_usable()

    async def told_what_is_left(self: Any) -> None:
        """After waiting for its turn, that is less; by steps of a tenth of a second."""
        await self.delay_answers()
        others = await self.others()
        await self.until(lambda: self.answered(*others) == self.places)
        began = self.reactor.seconds()
        call = self.tested.set(self.key(b"a"), b"", timeout=60)
        await deferLater(self.reactor, 0.5)
        left = began + 60 - self.reactor.seconds()
        self.behave()
        await self.soon(call)
        self.assertLessEqual(told(self, PUT), left * 1000 + 200)
        await self.assert_unharmed(others)


@on_every_server_at_length([GATEWAY])
class QueuedAtGateway(_Queued):
    """Behind as many calls as there are sockets for."""

    async def test_queued(self: Any) -> None:
        await self.queued()

    async def test_told_what_is_left(self: Any) -> None:
        await self.told_what_is_left()


@on_every_server(lambda server: server in AT_LENGTH and can_limit_streams(server), [NATIVE])
class QueuedAtNative(_Queued):
    """Behind as many calls as the server allows streams."""

    async def start(self: Any) -> None:
        own = await self.own_server([*QUICK, f"--max-concurrent-streams={self.places}"])
        self.etcd = self.client(own.url)
        await self.begin(own.url)

    async def test_queued(self: Any) -> None:
        await self.queued()

    async def test_told_what_is_left(self: Any) -> None:
        await self.told_what_is_left()

    async def test_half_sent(self: Any) -> None:
        """A write that is larger than what the server takes at once was not sent: it cannot be applied."""
        await self.delay_answers()
        for _ in range(3 * self.places):
            call = self.tested.set(self.key(b"large"), bytes(1_000_000))
            # its head, and as much as the server takes
            await deferLater(self.reactor, 0)
            self.assert_cancelled(call, False)
        await self.assert_usable()
        self.assertEqual((await self.etcd.get(self.key(b"large"))).kvs, [])
        await self.tested.set(self.key(b"large"), bytes(1_000_000))


def told(case: Any, rpc: Rpc) -> int:
    """The milliseconds that the server was told of the last request of this kind."""
    if case.scheme == NATIVE:
        (requests,) = filter(None, (case.wire.requests(one, methods_of([rpc])) for one in case.proxy.connections))
        (milliseconds,) = re.findall(rb"grpc-timeout.([0-9]+)m", requests[max(requests)])
    else:
        connection = next(filter(case.asks(rpc), case.proxy.connections))
        (milliseconds,) = re.findall(rb"\r\nGrpc-Timeout: ([0-9]+)m\r\n", connection.request)
    return int(milliseconds)


@on_every_server_at_length()
class Cancel(_CancelCase):
    """
    ``cancel()`` at any moment fires with ``CancelledError`` at once, frees the place, and harms no other call.
    """

    async def missing(self: Any, name: bytes) -> bool:
        """Whether the server has never had it."""
        return not (await self.etcd.get(self.key(name))).kvs

    async def test_connecting(self: Any) -> None:
        """Before the server has accepted the connection."""
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            # it takes one that it does not accept; whoever comes then waits
            waiting = [self.filler(deaf) for _ in range(4)]
            etcd = self.client(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=FOR_EVER, connect_timeout=FOR_EVER)
            calls = [etcd.set(self.key(b"a"), b"") for _ in range(MAX_CONCURRENT + 1)]
            await deferLater(self.reactor, 0.1)
            self.assertEqual(etcd.stats().connections, 0)
            for call in calls:
                self.assert_cancelled(call, False)
            self.assertEqual(etcd.stats().in_flight, 0)
            for one in waiting:
                one.close()

    def filler(self: Any, deaf: socket.socket) -> socket.socket:
        """A connection that need not be made."""
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(deaf.getsockname())
        return filler

    async def test_connecting_among_others(self: Any) -> None:
        """In the turn in which it was asked; the place is free for the next."""
        first = [self.tested.set(self.key(b"first"), b"") for _ in range(2 * MAX_CONCURRENT)]
        other = self.tested.set(self.key(b"other"), b"")
        for call in first:
            self.assert_cancelled(call, False)
        await self.soon(other)
        self.assertTrue(await self.missing(b"first"))
        await self.assert_usable()

    async def test_sent_write(self: Any) -> None:
        """It may be applied."""
        await self.sent(self.tested.set, True, b"")
        self.assertEqual([kv.version for kv in (await self.etcd.get(self.key(b"a"))).kvs], [1])

    async def test_in_the_same_turn(self: Any) -> None:
        """Written to a connection that is there, but not given to the system yet: by the gateway it never is."""
        await self.tested.get(self.key(b"a"))
        self.assert_cancelled(self.tested.set(self.key(b"a"), b""), self.by_transport(False, True))
        await self.assert_usable()
        self.assertTrue(self.scheme == NATIVE or await self.missing(b"a"))

    async def test_sent_read(self: Any) -> None:
        """Nothing can have been done."""
        await self.sent(self.tested.get, False)

    async def sent(self: Any, ask: Callable[..., Deferred[Any]], maybe_applied: bool, *arguments: Any) -> None:
        await self.delay_answers()
        call = ask(self.key(b"a"), *arguments)
        others = await self.others(self.places - 1)
        await self.until(lambda: self.answered(self.key(b"a"), *others) == self.places)
        self.assert_cancelled(call, maybe_applied)
        # it alone has lost its connection, or its stream
        left = self.sockets_for(self.places - 1)
        await self.until(lambda: self.tested.stats().connections == left)
        await self.until(lambda: len(self.proxy.connections) == left)
        self.behave()
        await self.assert_unharmed(others)
        await self.assert_usable()

    async def test_swallowed(self: Any) -> None:
        """Sent to a server that is not heard of any more: its place is free all the same, and its connection gone."""
        await self.warm_up()
        self.proxy.black_hole("to_server")
        calls = [self.tested.set(self.key(b"a"), b"") for _ in range(self.places)]
        await self.until(lambda: self.asked(self.key(b"a")) == len(calls))
        for call in calls:
            self.assert_cancelled(call, True)
        await self.until(lambda: self.tested.stats().connections == self.sockets_kept)
        await self.assert_usable()
        self.assertTrue(await self.missing(b"a"))

    async def test_in_the_head(self: Any) -> None:
        """... of the answer."""
        await self.half_answered(20)

    async def test_in_the_body(self: Any) -> None:
        """... which is thrown away."""
        await self.half_answered(2000)

    async def half_answered(self: Any, size: int) -> None:
        """One of several calls is cancelled when each has had about so many bytes of its answer."""
        await self.etcd.set(self.key(b"a"), bytes(200_000))
        await self.warm_up()
        before = self.proxy.bytes_to_client
        self.proxy.throttle(5 * size, "to_client")
        call = self.tested.get(self.key(b"a"))
        others = await self.others(3, 100_000)
        await self.until(lambda: self.proxy.bytes_to_client > before + 4 * size)
        self.assert_cancelled(call, False)
        self.behave()
        await self.assert_unharmed(others)
        await self.assert_usable()

    async def test_between_two_attempts(self: Any) -> None:
        """It is not tried again."""
        pauses: list[int] = []
        etcd = self.client(self.proxy.url, timeout=2 * FOR_EVER, retry=lambda rounds: pauses.append(rounds) or FOR_EVER)
        await self.proxy.refuse()
        calls = [etcd.set(self.key(b"a"), b"") for _ in range(MAX_CONCURRENT)]
        await self.until(lambda: len(pauses) == len(calls))
        self.assertEqual(etcd.stats().in_flight, MAX_CONCURRENT)
        for call in calls:
            self.assert_cancelled(call, False)
        await self.proxy.accept()
        await self.assert_usable(etcd)
        self.assertTrue(await self.missing(b"a"))

    async def test_between_two_attempts_of_which_one_was_sent(self: Any) -> None:
        """... and says so."""
        pauses: list[int] = []
        etcd = self.client(self.proxy.url, timeout=2 * FOR_EVER, retry=lambda rounds: pauses.append(rounds) or FOR_EVER)
        self.proxy.cut_answer(where=self.answers_to())
        call = etcd.set(self.key(b"a"), b"", idempotent=True)
        await self.until(lambda: pauses)
        self.assert_cancelled(call, True)
        await self.assert_usable(etcd)

    async def test_waiting_for_a_token(self: Any) -> None:
        """Another call waits on for the same one; when none does, nobody asks for it any more."""
        etcd = self.client(self.proxy.url, timeout=FOR_EVER, credentials=("nobody", "secret"))
        login = self.asks(AUTHENTICATE)
        self.proxy.delay(FOR_EVER, "to_client", where=login)

        def is_asked() -> bool:
            return any(login(connection) and connection.answer for connection in self.proxy.connections)

        calls = [etcd.set(self.key(b"a"), b""), etcd.set(self.key(b"b"), b"")]
        await self.until(is_asked)
        self.assert_cancelled(calls[0], False)
        self.assert_cancelled(calls[1], False)
        await self.until(lambda: etcd.stats().connections == len(self.proxy.connections) == self.sockets_kept)
        calls = [etcd.set(self.key(b"c"), b""), etcd.set(self.key(b"d"), b"")]
        await self.until(is_asked)
        self.assert_cancelled(calls[0], False)
        # which authentication is off for, so that none is needed
        self.behave()
        await self.soon(calls[1])
        self.assertEqual([kv.key for kv in (await self.etcd.get(self.keys())).kvs], [self.key(b"d")])
        await self.assert_usable(etcd)

    async def test_probing_an_endpoint(self: Any) -> None:
        """While another endpoint is asked which cluster it belongs to: the write itself is not sent."""
        first, second = self.proxy, await self.proxy_to(self.web)
        etcd = self.client([first.url, second.url], timeout=FOR_EVER, retry=Backoff())
        if etcd.endpoints[0] != self.spoken(first.url):
            first, second = second, first
        await etcd.get(self.key(b"a"))
        await first.refuse()
        first.drop("reset")
        await self.until(lambda: etcd.stats().connections == 0)
        self.proxy = second
        status = self.asks(STATUS)
        second.delay(FOR_EVER, "to_client", where=status)
        call, other = etcd.set(self.key(b"a"), b""), etcd.set(self.key(b"b"), b"")
        await self.until(lambda: self.probes(second) == 2)
        self.assert_cancelled(call, False)
        self.behave()
        await self.soon(other)
        self.assertTrue(await self.missing(b"a"))
        await self.assert_usable(etcd)

    def probes(self: Any, proxy: FaultyProxy) -> int:
        """How often it was asked for the status."""
        if self.scheme == NATIVE:
            return sum(len(self.wire.requests(one, methods_of([STATUS]))) for one in proxy.connections)
        return sum(map(self.asks(STATUS), proxy.connections))


@on_every_server_at_length([GATEWAY])
class AgreeingAtGateway(_CancelCase):
    """Each call has a connection, and drops it."""

    async def test_agreeing_on_tls(self: Any) -> None:
        """With a server that never says anything: the connection is there, but nothing is sent on it."""
        self.proxy.black_hole()
        etcd = self.client(self.proxy.url.replace("http://", "https://"), timeout=FOR_EVER, connect_timeout=FOR_EVER)
        calls = [etcd.set(self.key(b"a"), b"") for _ in range(MAX_CONCURRENT + 1)]
        await self.until(lambda: len(self.proxy.connections) == MAX_CONCURRENT)
        self.assert_cancelled(calls.pop(0), False)
        # the one that waited has its place
        await self.until(lambda: self.proxy.accepted == MAX_CONCURRENT + 1)
        for call in reversed(calls):
            self.assert_cancelled(call, False)
        await self.until(lambda: etcd.stats().connections == 0)
        self.assertEqual(self.proxy.accepted, MAX_CONCURRENT + 1)


@on_every_server_at_length([NATIVE])
class AgreeingAtNative(_CancelCase):
    """All calls wait for one connection, which is made for whoever comes next."""

    async def test_agreeing_on_tls(self: Any) -> None:
        """With a server that never says anything: the connection is there, but nothing is sent on it."""
        await self.never_agreed("https://")

    async def test_agreeing_on_http2(self: Any) -> None:
        await self.never_agreed("http://")

    async def never_agreed(self: Any, scheme: str) -> None:
        self.proxy.black_hole()
        etcd = self.client(self.proxy.url.replace("http://", scheme), timeout=FOR_EVER, connect_timeout=5)
        calls = [etcd.set(self.key(b"a"), b"") for _ in range(MAX_CONCURRENT + 1)]
        await self.until(lambda: etcd.stats().connections == 1)
        for call in calls:
            self.assert_cancelled(call, False)
        await self.until(lambda: etcd.stats().connections == 0)
        self.assertEqual((self.proxy.accepted, etcd.stats().in_flight), (1, 0))
        self.behave()
        self.assertEqual((await self.etcd.get(self.key(b"a"))).kvs, [])

    async def test_cancelled_while_others_wait_for_the_connection(self: Any) -> None:
        """They are sent when it is there, and what was cancelled is not."""
        self.proxy.delay(FOR_EVER)
        first = [self.tested.set(self.key(b"first"), b"") for _ in range(5)]
        other = self.tested.set(self.key(b"other"), b"")
        await self.until(lambda: self.proxy.connections and self.proxy.connections[0].request)
        for call in first:
            self.assert_cancelled(call, False)
        self.behave()
        await self.soon(other)
        self.assertEqual((await self.etcd.get(self.key(b"first"))).kvs, [])
        self.assertEqual(self.proxy.accepted, 1)


class Storm:
    """
    Many calls, some at a time. Every eighth is to be cancelled, at a moment of its own: some are over by then, so that
    about a tenth is.

    Each of those who ask makes its calls one after the other. What it sets has a key of its own; some of that it
    deletes again; what it gets is a key with a value that only it asks for.

    :param crowds: see :data:`CROWDS`; the numbers are no multiples of two or five, so that each who asks makes calls of
        all kinds.

    :ivar told: what the caller of each was told; what is still 0 was told nothing.
    :ivar told_of_delete: the same of the call that deletes what this one has set, if there is one.
    :ivar revisions: at which revision each write was carried out, for those that are done.
    :ivar wrong: what must not happen.
    :ivar most_connections: how many there were at the most.
    """

    DONE, NOT_SENT, MAYBE_APPLIED = 1, 2, 3

    def __init__(self, case: Any, etcd: Client, calls: int, crowds: Sequence[tuple[int, int]]) -> None:
        self._case = case
        self._etcd = etcd
        self._crowds = crowds
        self._most_turns = 0
        self._random = Random(1)
        self.homes = [bytes(case.key(b"home%d" % asker)) for asker in range(max(crowds)[0])]
        self.told = bytearray(calls)
        self.told_of_delete = bytearray(calls)
        self.revisions = array("q", bytes(8 * calls))
        self.wrong: list[str] = []
        self.most_connections = 0

    def key(self, number: int) -> bytes:
        """The key of a call that writes."""
        return bytes(self._case.key(b"%07d" % number))

    async def make(self, first: int, last: int) -> None:
        """Makes the calls from the first to the one before the last, and waits until all have ended."""
        share = (last - first) // len(self._crowds)
        for askers, self._most_turns in self._crowds:
            # the last of them has what remains
            end = first + share if first + 2 * share <= last else last
            asking = (self._ask(range(first + asker, end, askers), asker) for asker in range(askers))
            await gatherResults([Deferred.fromCoroutine(one) for one in asking], consumeErrors=True)
            # those that were to be cancelled later notice that they have ended
            await deferLater(self._case.reactor, 0)
            first = end

    async def _ask(self, numbers: range, asker: int) -> None:
        home = self.homes[asker]
        mine: list[int] = []
        for number in numbers:
            kind = number % 4
            if kind == 0:
                await self._set(number)
            elif kind == 1:
                await self._transact(number, home)
            elif kind == 2 and mine:
                await self._delete(number, mine.pop())
            else:
                await self._get(number, home)
            if kind < 2 and self.told[number] == self.DONE:
                mine.append(number)

    async def _set(self, number: int) -> None:
        done = await self._told(number, self._etcd.set(self.key(number), b"", return_previous=True))
        if done is not None:
            self.revisions[number] = done.header.revision
            self._check(done.previous is None, f"{number} was there before: {done}")

    async def _transact(self, number: int, home: bytes) -> None:
        txn = Transaction([], [OpSet(self.key(number), b""), OpGet(home)])
        done = await self._told(number, self._etcd.transact(txn))
        if done is not None:
            self.revisions[number] = done.header.revision
            self._check_home(done.responses[1], home)

    async def _get(self, number: int, home: bytes) -> None:
        found = await self._told(number, self._etcd.get(home))
        if found is not None:
            self._check_home(found, home)

    async def _delete(self, number: int, of: int) -> None:
        done = await self._told(number, self._etcd.delete(self.key(of)))
        self.told_of_delete[of] = self.told[number]
        if done is not None:
            self._check(done.deleted == 1, f"{of} was deleted before: {done}")

    def _check_home(self, found: Any, home: bytes) -> None:
        self._check([(kv.key, kv.value) for kv in found.kvs] == [(home, home)], f"{found} is not of {home!r}")

    def _check(self, is_right: bool, what: str) -> None:
        if not is_right:
            self.wrong.append(what)

    async def _told(self, number: int, call: Deferred[Any]) -> Any:
        """What the call gives; ``None`` if it was cancelled. Anything else is an error."""
        if number // 4 % 8 == 0:
            self._cancel_later(number, call, self._random.randrange(self._most_turns))
        try:
            answer = await call
        except CancelledError as error:
            self.told[number] = self.MAYBE_APPLIED if getattr(error, "maybe_applied", None) else self.NOT_SENT
            return None
        self.told[number] = self.DONE
        self.most_connections = max(self.most_connections, self._etcd.stats().connections)
        return answer

    def _cancel_later(self, number: int, call: Deferred[Any], turns: int) -> None:
        self._case.reactor.callLater(0, self._cancel, number, call, turns)

    def _cancel(self, number: int, call: Deferred[Any], turns: int) -> None:
        if self.told[number]:
            return
        if turns:
            self._cancel_later(number, call, turns - 1)
            return
        call.cancel()
        self._check(self.told[number] in (self.NOT_SENT, self.MAYBE_APPLIED), f"{number} was not cancelled at once")

    # --- and afterwards

    def untrue(self, found: dict[bytes, KeyValue]) -> list[str]:
        """What the callers were told that the server knows better."""
        numbers = (number for number in range(len(self.told)) if number % 4 < 2)
        return [f"{number}: {problem}" for number in numbers for problem in self._problems(number, found)]

    def _problems(self, number: int, found: dict[bytes, KeyValue]) -> Iterator[str]:
        kv = found.get(self.key(number))
        version = kv.version if kv else 0
        told, told_of_delete = self.told[number], self.told_of_delete[number]
        allowed = {
            (self.DONE, 0): (1,),
            (self.DONE, self.DONE): (0,),
            (self.DONE, self.NOT_SENT): (1,),
            (self.DONE, self.MAYBE_APPLIED): (0, 1),
            (self.NOT_SENT, 0): (0,),
            (self.MAYBE_APPLIED, 0): (0, 1),
        }
        if version not in allowed.get((told, told_of_delete), ()):
            yield f"told {told}, and of the delete {told_of_delete}, but it has version {version}"
        if told == self.DONE and kv and kv.mod_revision != self.revisions[number]:
            yield f"the answer was that of revision {self.revisions[number]}, and not of {kv.mod_revision}"


def census() -> Counter[str]:
    """How many objects there are, by their classes; without those in which nothing else is kept."""
    for _ in range(3):
        # PyPy takes several to find out
        gc.collect()
    # of these, CPython does not tell, and PyPy tells of those in the last census as well
    plain = (int, float, str, bytes)
    return Counter(type(one).__name__ for one in gc.get_objects() if type(one) not in plain)


def peak() -> int:
    """The most memory that this process has had, as its system counts it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@on_every_server_at_length()
class Storms(RealCase):
    """Very many calls, of which about a tenth is cancelled."""

    timeout = 240 + CALLS // 20

    async def storm(self: Any, etcd: Client, calls: int, crowds: Sequence[tuple[int, int]]) -> Storm:
        """Makes them, in two parts; what there is after the first, and after the second, goes to the log."""
        storm = Storm(self, etcd, calls, crowds)
        for home in storm.homes:
            await etcd.set(home, home)
        await storm.make(0, calls // 3)
        before, peak_before = census(), peak()
        await storm.make(calls // 3, calls)
        more = census()
        more.subtract(before)
        told = Counter(storm.told)
        _log.info(
            "{test}, etcd {version}: {done} done, {not_sent} cancelled before they were sent, {maybe} after;"
            " {sockets} connections; {more} objects more than after a third, peak {before} and {after}",
            test=self._testMethodName,
            version=self.server.label,
            done=told[Storm.DONE],
            not_sent=told[Storm.NOT_SENT],
            maybe=told[Storm.MAYBE_APPLIED],
            sockets=storm.most_connections,
            more=sum(more.values()),
            before=peak_before,
            after=peak(),
        )
        self.assertLess(sum(more.values()), MORE_OBJECTS, more.most_common(20))
        self.assertEqual(storm.wrong, [])
        self.assertEqual(told[0], 0)
        for told_what in (Storm.NOT_SENT, Storm.MAYBE_APPLIED):
            self.assertGreater(told[told_what], 0, told)
        return storm

    async def assert_true(self: Any, storm: Storm) -> None:
        """The server is asked directly."""
        found = {kv.key: kv async for kv in self.etcd.iterate(self.keys())}
        self.assertEqual(storm.untrue(found), [])
        self.assertEqual({home: found[home].version for home in storm.homes}, dict.fromkeys(storm.homes, 1))

    async def timers(self: Any) -> int:
        """How many delayed calls there are; one is of the test itself, and comes when the test has begun."""
        await deferLater(self.reactor, 0)
        return len(self.reactor.getDelayedCalls())

    async def assert_nothing_left(self: Any, etcd: Client, timers: int) -> None:
        """No delayed call, no socket, no error that nobody has seen; as many calls as ever can be under way."""
        self.assertEqual(etcd.stats().in_flight, 0)
        await self.soon(gatherResults([etcd.get(b"a") for _ in range(2 * MAX_CONCURRENT)], consumeErrors=True))
        self.assertEqual(etcd.stats().connections, self.sockets_for(MAX_CONCURRENT))
        await etcd.close()
        left = self.reactor.getDelayedCalls()
        self.assertEqual(len(left), timers, list(map(str, left)))
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_storm(self: Any) -> None:
        """A tenth cancelled: nothing grows, no call is harmed by another, and no answer goes astray."""
        timers = await self.timers()
        etcd = self.client(timeout=100)
        self.assertEqual(sockets_to(self.url), 0)
        storm = await self.storm(etcd, CALLS, CROWDS)
        self.assertLessEqual(storm.most_connections, self.sockets_for(MAX_CONCURRENT))
        self.assertLessEqual(sockets_to(self.url), self.sockets_for(MAX_CONCURRENT))
        await self.assert_nothing_left(etcd, timers)
        self.assertEqual(sockets_to(self.url), 0)
        await self.assert_true(storm)

    async def test_storm_byte_by_byte(self: Any) -> None:
        """The same with answers that come so slowly that calls are cancelled in the middle of them."""
        async with FaultyProxy(self.reactor, self.web) as proxy:
            timers = await self.timers()
            etcd = self.client(proxy.url, timeout=100)
            proxy.bytewise("to_client")
            storm = await self.storm(etcd, CALLS // 30, SLOW_CROWDS)
            self.assertLessEqual(storm.most_connections, self.sockets_for(MAX_CONCURRENT))
            proxy.behave()
            await self.assert_nothing_left(etcd, timers)
        await self.assert_true(storm)


@on_every_server_at_length()
class Deadlines(_CancelCase):
    """One deadline over everything, of which the server is told."""

    def assert_told(self: Any, rpc: Rpc, seconds: float) -> None:
        """It was told of a deadline of so many seconds, of which few have passed, and a little more."""
        self.assertLessEqual(told(self, rpc), seconds * 1000 + 100)
        self.assertGreater(told(self, rpc), seconds * 1000 - 5000)

    async def test_told(self: Any) -> None:
        """The server knows the deadline of the call, or of the client, or of what takes long."""
        etcd, patient = (self.client(self.proxy.url, timeout=seconds) for seconds in (None, 77))
        for ask, rpc, seconds in (
            (lambda: etcd.set(self.key(b"a"), b"", timeout=33), PUT, 33),
            (lambda: etcd.get(self.key(b"a"), timeout=34), RANGE, 34),
            (lambda: etcd.delete(self.key(b"a"), timeout=35), DELETE_RANGE, 35),
            (lambda: etcd.create(self.key(b"a"), b"", timeout=36), TXN, 36),
            (lambda: etcd.leases(timeout=37), LEASE_LEASES, 37),
            (lambda: etcd.get(self.key(b"a")), RANGE, DEFAULT_TIMEOUT),
            (lambda: patient.get(self.key(b"a")), RANGE, 77),
        ):
            await ask()
            self.assert_told(rpc, seconds)
            self.proxy.drop()
            await self.until(lambda: etcd.stats().connections + patient.stats().connections == 0)
        await etcd.compact((await etcd.set(self.key(b"a"), b"")).header.revision, physical=True)
        self.assert_told(COMPACT, LONG_TIMEOUT)

    async def test_told_what_is_left(self: Any) -> None:
        """In a second attempt, that is less; by steps of a tenth of a second."""
        await self.proxy.refuse()
        etcd = self.client(self.proxy.url, timeout=60, retry=lambda rounds: 0.5)
        began = self.reactor.seconds()
        call = etcd.delete(self.key(b"a"))
        await deferLater(self.reactor, 0.3)
        left = began + 60 - self.reactor.seconds()
        await self.proxy.accept()
        await self.soon(call)
        self.assertLessEqual(told(self, DELETE_RANGE), left * 1000 + 200)

    async def test_over_attempts_and_the_body(self: Any) -> None:
        """It is refused, tried again, and half answered when its time is over."""
        await self.etcd.set(self.key(b"a"), bytes(1_000_000))
        attempts: list[int] = []
        etcd = self.client(self.proxy.url, retry=lambda rounds: attempts.append(rounds) or 0.05)
        await self.proxy.refuse()
        self.proxy.throttle(10_000, "to_client")
        call = etcd.get(self.key(b"a"), timeout=3)
        await self.until(lambda: len(attempts) > 1)
        await self.proxy.accept()
        error = await self.assertFailure(self.soon(call), Timeout)
        self.assertGreater(error.attempts, 2)
        self.assertGreater(self.proxy.bytes_to_client, 0)
        await self.until(lambda: etcd.stats().connections == self.sockets_kept)
        await self.assert_usable(etcd)

    async def ends(self: Any, url: str) -> Counter[str]:
        """How many gets have begun (``""``), and with which codes others have ended."""
        response = await HTTPClient(Agent(self.reactor)).get(url + "/metrics", reactor=self.reactor)
        found: Counter[str] = Counter()
        for line in (await response.text()).splitlines():
            name, _, labels = line.partition("{")
            if name in ("grpc_server_started_total", "grpc_server_handled_total") and 'grpc_method="Range"' in labels:
                code = re.search('grpc_code="([A-Za-z]+)"', labels)
                found[code[1] if code else ""] += int(line.split()[-1])
        return +found

    async def test_server_stops(self: Any) -> None:
        """
        A member without a majority waits for it no longer than it was told, even if it does not hear that nobody waits
        any more. By itself it would wait for seven seconds, and end with ``Unavailable``.
        """
        cluster = EtcdCluster(self.reactor, 2, binary=self.server.path)
        self.addCleanup(cluster.stop)
        await cluster.start()
        url = cluster.members[0].url
        proxy = await self.proxy_to(url)
        etcd = self.client(proxy.url, require_leader=False)
        await etcd.set(b"a", b"")
        await cluster.members[1].kill()
        before = await self.ends(url)
        call = etcd.get(b"a", timeout=4)

        async def has_begun() -> bool:
            return (await self.ends(url))[""] > before[""]

        await self.until(has_begun)
        proxy.black_hole()
        error = await self.assertFailure(self.soon(call), Timeout)
        self.assertFalse(error.maybe_applied)

        async def has_ended() -> Counter[str]:
            ends = await self.ends(url)
            begun = ends.pop("")
            return ends if sum(ends.values()) == begun else Counter()

        ends = await self.until(has_ended)
        ends.subtract(before)
        self.assertEqual(sum((+ends).values()), 1)
        self.assertLess(set(+ends), {"Unknown", "Canceled", "DeadlineExceeded"})
