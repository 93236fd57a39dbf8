"""
Storms of calls and servers at random over the native transport: what is told of each write is compared with what the
servers have seen of it.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from test.fakes_http2 import URL, WRITTEN, Asked, GrpcServer, NativeCase, goodbye
from txetcd import _frames as f
from txetcd import _schema as schema
from txetcd._attempts import explained
from txetcd._messages import LeaseRevokeRequest
from txetcd._transport import Metadata
from txetcd.errors import Error
from txetcd.ops import OpGet, OpSet


class Storm:
    """
    Calls and servers at random. What is told of each write is compared with what the servers have seen of it.

    :param case: where.
    :param seed: of the chance.
    """

    def __init__(self, case: NativeCase, seed: int) -> None:
        self.case = case
        self.random = Random(seed)
        self.servers: list[GrpcServer] = []
        self.calls: dict[int, Deferred[Any]] = {}
        self.results: dict[int, Any] = {}
        self.streams: list[Any] = []
        self.handled: set[Asked] = set()
        self.refused: set[Asked] = set()
        self.last: dict[GrpcServer, int] = {}
        self.depth = 0

    def put(self) -> None:
        if len(self.calls) < 200:
            number = len(self.calls)
            value = b"<%d>" % number + (bytes(100_000) if self.random.random() < 0.1 else b"")
            metadata = Metadata(is_urgent=self.random.random() < 0.2)
            call = self.case.native.call(URL, schema.PUT, OpSet(value, b"v"), self.random.choice((1.0, 5.0)), metadata)
            self.calls[number] = call
            call.addBoth(self.done, number)

    def done(self, result: Any, number: int) -> None:
        assert number not in self.results
        self.results[number] = result
        # whoever is told does something at once
        if self.depth < 3 and self.random.random() < 0.4:
            self.depth += 1
            self.random.choice((self.put, self.cancel, self.cancel, self.revoke, self.leave, self.stream, self.abort))()
            self.depth -= 1

    def revoke(self) -> None:
        self.case.native.call(URL, schema.LEASE_REVOKE, LeaseRevokeRequest(1), 2.0, Metadata()).addBoth(lambda _: None)

    def cancel(self) -> None:
        waiting = [call for number, call in self.calls.items() if number not in self.results]
        if waiting:
            self.random.choice(waiting).cancel()

    def leave(self) -> None:
        self.case.native.leave(URL)

    def stream(self) -> None:
        stream = self.case.native.stream(URL, schema.RANGE_STREAM, OpGet(b"k"), lambda _: None, Metadata())
        stream.ended.addErrback(lambda _: None)
        self.streams.append(stream)

    def abort(self) -> None:
        if self.streams:
            stream = self.random.choice(self.streams)
            self.random.choice((stream.pause, stream.resume, stream.abort))()

    def pass_time(self) -> None:
        self.case.clock.advance(self.random.choice((0, 0, 0.1, 0.6)))

    def accept(self) -> None:
        network = self.case.network
        new = [at for at in range(network.attempts) if at not in network._accepted]
        connectors = self.case.clock.connectors
        new = [at for at in new if not connectors[at].stoppedConnecting]
        if new and new[-1] == network.attempts - 1:
            if self.random.random() < 0.9:
                limit = self.random.choice((0, 1, 3, 100))
                server = self.case.accept(streams=limit)
                server.is_taking = self.random.random() < 0.7
                self.servers.append(server)

    def live(self) -> list[GrpcServer]:
        return [server for server in self.servers if not server.wire.is_lost]

    def serve(self) -> None:
        for server in self.live():
            for asked in server.talk().asked:
                if asked.is_whole and asked.reset is None and asked not in self.handled:
                    if not self.is_disclaimed(server, asked):
                        self.react(server.talk(), asked)

    def is_disclaimed(self, server: GrpcServer, asked: Asked) -> bool:
        """Whether the server says that it has not looked at it."""
        return asked in self.refused or asked.stream_id > self.last.get(server, asked.stream_id)

    def react(self, server: GrpcServer, asked: Asked) -> None:
        if asked.reset is not None or server.gone is not None or self.random.random() < 0.5:
            return
        self.handled.add(asked)
        chance = self.random.random()
        if chance < 0.6:
            server.answer(asked, WRITTEN)
        elif chance < 0.7:
            server.reset(asked, f.CANCEL)
        elif chance < 0.8:
            self.refused.add(asked)
            server.reset(asked, f.REFUSED_STREAM)

    def say_goodbye(self) -> None:
        for server in self.live()[-1:]:
            looked_at = max([0, *(asked.stream_id for asked in server.asked if asked in self.handled)])
            last = self.random.choice([looked_at, *(asked.stream_id for asked in server.asked)])
            last = max(last, looked_at)
            self.last[server] = min(last, self.last.get(server, last))
            server.raw(goodbye(self.last[server]))

    def lose(self) -> None:
        # what was asked in this turn is written at its end
        self.case.clock.advance(0)
        for server in self.live()[-1:]:
            server.wire.lose()

    def hold(self) -> None:
        for server in self.live()[-1:]:
            producer = server.wire.producer
            if producer is not None:
                self.random.choice((producer.pauseProducing, producer.resumeProducing))()

    def violate(self) -> None:
        self.case.clock.advance(0)
        for server in self.live()[-1:]:
            server.raw(b"\xff" * 50)

    def go(self) -> None:
        often = [self.put] * 6 + [self.serve] * 4 + [self.accept] * 4 + [self.pass_time] * 4
        seldom = [self.cancel, self.leave, self.stream, self.abort, self.say_goodbye, self.lose, self.hold, self.hold]
        for _ in range(120):
            self.random.choice([*often, *seldom, *([self.violate] if self.random.random() < 0.2 else [])])()
        for _ in range(60):
            self.case.clock.advance(0.25)

    def seen(self) -> dict[int, bool]:
        """The writes that servers have seen as a whole, each with whether the server answers for it."""
        seen: dict[int, bool] = {}
        for server in self.servers:
            # what came on a connection that is lost has come all the same
            for asked in server.talk().asked:
                if asked.is_whole and asked.headers[":path"].endswith("Put"):
                    number = int(asked.data.partition(b"<")[2].partition(b">")[0])
                    assert not seen.get(number), "it was sent twice"
                    seen[number] = not self.is_disclaimed(server, asked)
        return seen

    def check(self) -> None:
        seen = self.seen()
        for number in self.calls:
            result = self.results[number]
            error: Any = result.value if isinstance(result, Failure) else None
            if isinstance(error, Error):
                error = explained(error, schema.PUT, OpSet(b"k", b"v"))
            if error is None:
                assert seen[number], number
            elif error.maybe_applied:
                assert number in seen, (number, error)
            else:
                assert not seen.get(number), (number, error)


class StormTests(NativeCase):
    """A server that does what it likes, and a user, too."""

    def test_storms(self) -> None:
        for seed in range(80):
            storm = Storm(self, seed)
            storm.go()
            self.native.close()
            self.clock.advance(0)
            try:
                storm.check()
            except (AssertionError, KeyError) as error:
                self.fail(f"seed {seed}: {error!r}")
            self.assertEqual(self.network.open, [])
            self.clock.advance(10)
            self.setUp()
