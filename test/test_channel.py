"""
A connection over which gRPC is spoken: when it writes, how it finds out that nobody is there, and how it ends.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport, ITCPTransport, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from test.fakes import Case, Reactor, Wire
from test.fakes_http2 import SHAKEN, Asked, GrpcServer, framed, goodbye
from txetcd import _frames as f
from txetcd._channel import LIVENESS, Channel
from txetcd._grpc import request_block
from txetcd._http2 import MAX_NOISE
from txetcd.errors import Unavailable, WrongProtocol

BLOCK = request_block(False, "etcd.example:2379", "/a/b", None, "", False)
SMALL = framed(b"x")
LARGE = framed(b"x" * 200_000)
LOST = "the connection was lost before the answer was complete: "
INTERNAL_ERROR = f.ERRORS.index("INTERNAL_ERROR")
PING = f.pack(f.PING, 0, 0, bytes(8))


@implementer(ITCPTransport)
class Line(Wire):
    """
    A connection whose writes are counted.

    :ivar writes: what was written, at a time.
    :ivar on_write: called then.
    :ivar is_stuck: whether the peer takes nothing.
    """

    def __init__(self, clock: Any, protocol: Any) -> None:
        super().__init__(clock, protocol)
        self.writes: list[bytes] = []
        self.on_write: Callable[[], None] = lambda: None
        self.is_stuck = self.has_delay = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.has_delay = not enabled

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)
        self.on_write()

    def finish(self) -> None:
        """As a socket with TLS: not while the peer takes nothing, or a producer may have more."""
        if not self.is_stuck and self.producer is None:
            self.loseConnection()


class Exchange:
    """What hears of an exchange, and notes it."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.stream: Any = None

    def on_data(self, stream: Any, data: bytes) -> None:
        self.heard.append(data)

    def on_end(self, stream: Any) -> None:
        self.heard.append("end")

    def on_loss(self, why: str, is_sent: bool) -> None:
        self.heard.append((why, is_sent))

    def on_violation(self, what: str, is_sent: bool) -> None:
        self.heard.append(("violation", what, is_sent))


@implementer(IWriteDescriptor)
class DirectLine(Line):
    """
    A connection that can be told to send at once.

    :ivar sent: how many writes there were each time.
    :ivar lost: why it is lost, if it is.
    """

    lost: Optional[Exception] = None

    def __init__(self, clock: Any, protocol: Any) -> None:
        super().__init__(clock, protocol)
        self.sent: list[int] = []

    def doWrite(self) -> Optional[Exception]:
        self.sent.append(len(self.writes))
        return self.lost


@implementer(ISSLTransport)
class SecureLine(DirectLine):
    """One that must not: with TLS that is not the end of it."""


class ChannelCase(Case):
    """A channel on a connection in memory, and a server."""

    clock: Reactor
    line_type: type[Line] = Line

    def setUp(self) -> None:
        self.clock = Reactor()
        self.left: list[Channel] = []
        self.channel = Channel(self.clock, self.left.append)
        self.line: Any = self.line_type(self.clock, self.channel)
        self.channel.makeConnection(self.line)
        self.server = GrpcServer(self.line)

    def tearDown(self) -> None:
        if not self.line.is_lost:
            self.channel.abort()
            self.clock.advance(0)
        self.assertTrue(self.line.is_lost)
        self.assertLessEqual(len(self.left), 1)
        for name in ("channel", "line", "server"):
            self.__dict__.pop(name)
        super().tearDown()

    def shake_hands(self, **limits: int) -> None:
        """The channel is ready."""
        self.server = GrpcServer(self.line, **limits)
        self.server.talk()
        self.assertIs(self.successResultOf(self.channel.when_ready()), self.channel)
        self.line.writes.clear()

    def begin(self, data: bytes = SMALL, is_urgent: bool = False) -> Exchange:
        exchange = Exchange()
        exchange.stream = self.channel.begin(exchange, BLOCK, data, is_urgent)
        return exchange

    def ask_on(self, callers: int, on_write: Callable[[], None] = lambda: None) -> list[Exchange]:
        """So many ask, are answered in one lot, and ask once more; what is written then is in the line."""
        again: list[Exchange] = []
        for exchange in [self.begin() for _ in range(callers)]:
            exchange.on_end = lambda stream: again.append(self.begin())  # type: ignore[method-assign]  # another one
        self.clock.advance(0)
        self.server.talk()
        self.line.writes.clear()
        self.line.on_write = on_write
        self.answer_all()
        self.line.on_write = lambda: None
        return again

    def answer_all(self) -> None:
        """Whoever waits is answered, in one lot."""
        asked, self.server.asked = self.server.asked, []
        flush, self.server.flush = self.server.flush, lambda: None  # type: ignore[method-assign]
        for one in asked:
            self.server.answer(one, b"y")
        self.server.flush = flush  # type: ignore[method-assign]
        flush()

    def asked(self, at: int = -1) -> Asked:
        self.clock.advance(0)
        self.server.talk()
        return self.server.asked[at]


class WriteTests(ChannelCase):
    """What is written in one turn goes out together."""

    def setUp(self) -> None:
        super().setUp()
        self.shake_hands()

    def test_first_at_once(self) -> None:
        """The first one of an idle connection waits for nothing."""
        for _ in range(3):
            exchange = self.begin()
            self.assertEqual(len(self.line.writes), 1)
            self.server.talk()
            self.server.answer(self.server.asked[-1], b"y")
            self.assertEqual(exchange.heard, [framed(b"y"), "end"])
            self.line.writes.clear()

    def test_others_together(self) -> None:
        exchanges = [self.begin() for _ in range(100)]
        self.assertEqual(len(self.line.writes), 1)
        self.clock.advance(0)
        self.assertEqual(len(self.line.writes), 2)
        self.clock.advance(0)
        self.assertEqual(len(self.line.writes), 2)
        self.asked()
        self.assertEqual([asked.data for asked in self.server.asked], [SMALL] * 100)
        self.assertTrue(all(exchange.stream.is_sent for exchange in exchanges))

    def test_answers_to_what_came(self) -> None:
        """What is begun and reset while something is received goes out at the end of that, in one piece."""
        first, second = self.begin(), self.begin()
        self.clock.advance(0)
        self.line.writes.clear()

        def go_on(stream: Any) -> None:
            self.begin()
            self.begin()
            self.channel.reset(second.stream)

        first.on_end = go_on  # type: ignore[method-assign]  # another one
        self.server.talk()
        self.line.writes.clear()
        self.server.answer(self.server.asked[0], b"y")
        self.assertEqual(len(self.line.writes), 1)
        self.server.talk()
        self.assertEqual([asked.is_whole for asked in self.server.asked], [True] * 4)
        self.assertEqual(self.server.asked[1].reset, f.CANCEL)
        self.assertEqual(second.heard, [])
        self.assertEqual(self.line.writes[1:], [])

    def test_asked_on(self) -> None:
        """What would not be sent at once is written in one piece."""
        self.assertEqual(len(self.ask_on(64)), 64)
        self.assertEqual(len(self.line.writes), 1)
        self.server.talk()
        self.answer_all()

    def test_no_delay(self) -> None:
        """The system does not join them once more."""
        self.assertFalse(self.line.has_delay)

    def test_held(self) -> None:
        """When the peer takes no more, nothing is claimed to be sent."""
        first = self.begin()
        self.channel.pauseProducing()
        waiting = [self.begin() for _ in range(3)]
        large = self.begin(LARGE)
        self.clock.advance(0)
        self.assertEqual(len(self.line.writes), 1)
        self.assertEqual([one.stream.is_sent for one in (first, *waiting, large)], [True] + [False] * 4)
        urgent = self.begin(is_urgent=True)
        self.channel.resumeProducing()
        self.assertEqual(len(self.line.writes), 2)
        self.assertEqual([one.stream.id for one in (urgent, *waiting, large)], [3, 5, 7, 9, 11])
        self.assertTrue(all(one.stream.is_sent for one in waiting))
        self.asked()
        self.assertTrue(large.stream.is_sent)

    def test_held_in_the_same_turn(self) -> None:
        """What was claimed to be sent before is: it must not wait with that claim for as long as the peer likes."""
        exchanges = [self.begin() for _ in range(3)]
        self.assertTrue(all(exchange.stream.is_sent for exchange in exchanges))
        self.channel.pauseProducing()
        # with TLS this is told in the midst of a write
        self.assertEqual(len(self.line.writes), 1)
        late = self.begin()
        self.clock.advance(0)
        self.server.talk()
        self.assertEqual([asked.is_whole for asked in self.server.asked], [True] * 3)
        self.assertFalse(late.stream.is_sent)
        self.line.writes.clear()
        self.server.h2.ping(bytes(8))
        self.server.flush()
        self.clock.advance(0)
        self.assertEqual(self.line.writes, [])
        self.channel.resumeProducing()
        self.assertEqual(len(self.line.writes), 1)
        self.assertTrue(late.stream.is_sent)

    def test_held_amid(self) -> None:
        """So is the rest of a large one."""
        large = self.begin(LARGE)
        self.channel.pauseProducing()
        self.clock.advance(0)
        self.server.talk()
        self.assertFalse(large.stream.is_sent)
        before = len(self.server.asked[0].data)
        self.server.talk()
        self.assertEqual(len(self.server.asked[0].data), before)
        self.channel.resumeProducing()
        self.server.talk()
        self.assertEqual(self.server.asked[0].data, LARGE)
        self.assertTrue(large.stream.is_sent)

    def test_held_and_lost(self) -> None:
        """It was not sent, and certainly not processed."""
        first = self.begin()
        self.channel.pauseProducing()
        second = self.begin()
        self.channel.stopProducing()
        self.line.lose()
        self.assertEqual([first.heard[0][1], second.heard[0][1]], [True, False])

    def test_pause(self) -> None:
        """The answer of a stream that is paused stops at its window; of one that goes on, it goes on."""
        exchange = self.begin()
        asked = self.asked()
        self.server.begin(asked)
        self.channel.pause(exchange.stream)
        room = self.server.h2.local_flow_control_window(asked.stream_id)
        while room:
            self.server.say(asked, bytes(min(room, 16_384)))
            self.server.talk()
            room = self.server.h2.local_flow_control_window(asked.stream_id)
        self.channel.resume(exchange.stream)
        self.clock.advance(0)
        self.server.talk()
        self.assertGreater(self.server.h2.local_flow_control_window(asked.stream_id), 1_000_000)


class DirectTests(ChannelCase):
    """On a connection that can be told to send at once."""

    line_type = DirectLine

    def setUp(self) -> None:
        super().setUp()
        self.shake_hands()
        self.line.sent.clear()

    def assert_all_answered(self, exchanges: list[Exchange]) -> None:
        """They were asked as a whole."""
        self.server.talk()
        self.assertEqual([asked.is_whole for asked in self.server.asked], [True] * len(exchanges))
        self.answer_all()
        self.assertEqual([exchange.heard for exchange in exchanges], [[framed(b"y"), "end"]] * len(exchanges))

    def test_at_once(self) -> None:
        """Not when the reactor comes round to it."""
        self.begin()
        self.assertEqual(self.line.sent, [1])
        for _ in range(3):
            self.begin()
        self.assertEqual(self.line.sent, [1])
        self.clock.advance(0)
        self.assertEqual(self.line.sent, [1, 2])
        self.clock.advance(0)
        self.assertEqual((len(self.line.writes), self.line.sent), (2, [1, 2]))

    def test_asked_on(self) -> None:
        """When half of what is under way waits, it goes out, so that the server has something to do meanwhile."""
        for callers, sizes in ((3, [3]), (4, [4]), (5, [4, 1]), (64, [4, 4, 8, 16, 32]), (70, [4, 4, 8, 16, 32, 6])):
            again = self.ask_on(callers)
            self.assertEqual(len(again), callers)
            one = len(self.line.writes[-1]) // sizes[-1]
            self.assertEqual([len(written) // one for written in self.line.writes], sizes)
            self.assertEqual(self.line.sent[-len(sizes) :], list(range(1, len(sizes) + 1)))
            self.assert_all_answered(again)

    def test_lost(self) -> None:
        """We have learnt why, and the reactor hears only that it has ended."""
        exchange = self.begin()
        self.line.lost = ConnectionLost()
        self.begin()
        self.clock.advance(0)
        self.line.lose(ConnectionDone())
        self.assertEqual(exchange.heard, [(LOST + "it broke off", True)])

    def test_held_meanwhile(self) -> None:
        """The peer takes no more just then: the others wait, and go out afterwards."""
        again = self.ask_on(16, self.channel.pauseProducing)
        self.assertEqual([exchange.stream.is_sent for exchange in again], [True] * 4 + [False] * 12)
        self.channel.resumeProducing()
        self.assertTrue(all(exchange.stream.is_sent for exchange in again))
        self.assert_all_answered(again)

    def test_released_meanwhile(self) -> None:
        """The peer takes all of it at once: what was told to wait goes on in the midst, and nothing is lost."""

        def full() -> None:
            self.channel.pauseProducing()
            self.channel.resumeProducing()

        again = self.ask_on(16, full)
        self.assertTrue(all(exchange.stream.is_sent for exchange in again))
        self.assert_all_answered(again)


class SecureTests(ChannelCase):
    """With TLS."""

    line_type = SecureLine

    def test_not_at_once(self) -> None:
        self.shake_hands()
        self.assertEqual(len(self.ask_on(64)), 64)
        self.assertEqual((len(self.line.writes), self.line.sent), (1, []))
        self.server.talk()
        self.answer_all()


class LivenessTests(ChannelCase):
    """Whether anybody is there."""

    def setUp(self) -> None:
        super().setUp()
        self.shake_hands()
        self.pings: list[float] = []

    def pass_time(self, seconds: float, is_answering: bool = False) -> None:
        """Notes when there is a ping, and that nobody was told to go away for it."""
        for _ in range(round(seconds * 8)):
            self.clock.advance(1 / 8)
            if PING in b"".join(self.line.writes):
                self.pings.append(self.clock.seconds())
                if is_answering:
                    self.server.talk()
            self.line.writes.clear()

    def test_idle(self) -> None:
        """Nobody is asked for a sign of life when nothing is under way, and there is no timer."""
        exchange = self.begin()
        self.server.answer(self.asked(), b"y")
        self.assertEqual(exchange.heard[-1], "end")
        self.pass_time(30)
        self.assertEqual(self.pings, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silent(self) -> None:
        """Asked after five seconds, or up to ten if something was heard; dead five later."""
        for delay in (0.0, 0.125, 2.5, 4.875):
            self.setUp()
            exchange = self.begin()
            self.pass_time(delay)
            if delay:
                self.server.ping = self.server.h2.ping(bytes(8))
                self.server.flush()
            self.pass_time(20)
            (at,) = self.pings
            self.assertTrue(5 <= at - delay <= 10, (delay, at))
            why = f"{LOST}it was silent, and did not answer a ping within 5 seconds"
            self.assertEqual(exchange.heard, [(why, True)])
            self.assertTrue(self.line.is_lost)
            self.assertEqual(self.left, [self.channel])

    def test_busy(self) -> None:
        """A process that was busy itself has not read what arrived meanwhile: it looks again before it concludes."""
        exchange = self.begin()
        self.pass_time(5.5)
        self.assertEqual(len(self.pings), 1)
        self.clock.advance(60)
        self.server.talk()
        self.pass_time(60, is_answering=True)
        self.assertEqual((exchange.heard, self.line.is_lost), ([], False))

    def test_no_place(self) -> None:
        """A server that lets nothing begin has nothing to answer: it is not pinged, until something has begun."""
        self.server.h2.update_settings({f.MAX_CONCURRENT_STREAMS: 0})
        self.server.flush()
        exchange = self.begin()
        self.pass_time(30)
        self.assertEqual((self.pings, exchange.heard), ([], []))
        self.server.h2.update_settings({f.MAX_CONCURRENT_STREAMS: 1})
        self.server.flush()
        self.pass_time(20)
        self.assertEqual(len(self.pings), 1)
        self.assertTrue(self.line.is_lost)

    def test_dead_in_time(self) -> None:
        """Ten seconds after what was asked first."""
        self.begin()
        self.pass_time(9.875)
        self.assertFalse(self.line.is_lost)
        self.pass_time(0.25)
        self.assertTrue(self.line.is_lost)

    def test_after_a_pause(self) -> None:
        """What is asked then asks for a sign of life as well: five seconds later it is known, whoever waits by then."""
        for patience in (1.0, 30.0):
            self.setUp()
            self.begin()
            self.server.answer(self.asked(), b"y")
            self.pass_time(20)
            self.assertEqual(self.pings, [])
            self.line.writes.clear()
            exchange = self.begin()
            self.assertIn(PING, b"".join(self.line.writes))
            self.pass_time(min(patience, 4.875))
            self.assertFalse(self.line.is_lost)
            if patience < 5:
                self.channel.reset(exchange.stream)
            self.pass_time(5.25 - min(patience, 4.875))
            self.assertTrue(self.line.is_lost)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_now_and_then(self) -> None:
        """Whoever asks now and then, and does not wait long, is not asked for ever: the connection is not kept."""
        for pause in (0.5, 7.0, 20.0):
            self.begin()
            self.server.answer(self.asked(), b"y")
            for _ in range(40):
                exchange = self.begin()
                self.pass_time(3)
                if self.line.is_lost:
                    break
                self.channel.reset(exchange.stream)
                self.pass_time(pause)
            self.assertTrue(self.line.is_lost)
            self.assertLessEqual(len(self.pings), 2)
            self.setUp()

    def test_held(self) -> None:
        """A peer that takes nothing and says nothing is dead, though nothing has begun."""
        self.channel.pauseProducing()
        exchange = self.begin()
        self.pass_time(9.875)
        self.assertEqual((self.line.is_lost, exchange.heard), (False, []))
        self.pass_time(0.25)
        self.assertEqual((self.line.is_lost, len(exchange.heard)), (True, 1))
        self.assertFalse(exchange.heard[0][1])

    def test_held_but_heard(self) -> None:
        """One that says something is only slow."""
        self.channel.pauseProducing()
        self.begin()
        for _ in range(10):
            self.pass_time(4.5)
            self.server.raw(f.pack(f.SETTINGS, 0, 0))
        self.assertFalse(self.line.is_lost)

    def test_much_that_says_nothing(self) -> None:
        """With time it may be as much as a flood."""
        exchange = self.begin()
        for _ in range(5):
            self.server.raw(f.pack(f.PING, 0, 0, bytes(8)) * (MAX_NOISE - 10))
            self.pass_time(5)
        self.assertEqual((exchange.heard, self.line.is_lost), ([], False))

    def test_too_eager(self) -> None:
        """A server that minds says so, and the channel that comes next asks more seldom."""
        self.begin()
        self.assertFalse(self.channel.is_too_eager)
        said = f.pack_word(0) + f.pack_word(f.ENHANCE_YOUR_CALM) + b"too_many_pings"
        self.server.raw(f.pack(f.GOAWAY, 0, 0, said))
        self.assertTrue(self.channel.is_too_eager)

    def test_answered(self) -> None:
        """A ping that is answered is life enough; and etcd minds none, as they come seldom."""
        exchange = self.begin()
        self.pass_time(100, is_answering=True)
        self.assertEqual(exchange.heard, [])
        self.assertGreaterEqual(len(self.pings), 8)
        for before, after in zip(self.pings, self.pings[1:]):
            self.assertGreater(after - before, LIVENESS)

    def test_anything_counts(self) -> None:
        """Data for any stream, or what is said in no stream's name."""
        exchange = self.begin()
        asked = self.asked()
        self.server.begin(asked)
        for _ in range(10):
            self.server.say(asked, b"z")
            self.pass_time(4.5)
            self.server.raw(f.pack(f.SETTINGS, 0, 0))
            self.pass_time(4.5)
        self.assertEqual((self.pings, exchange.heard), ([], [b"z"] * 10))

    def test_never_close(self) -> None:
        """However calls come and go, and whatever was heard."""
        for number in range(200):
            exchange = self.begin()
            self.pass_time(number % 30 / 8)
            self.channel.reset(exchange.stream)
            self.pass_time(number % 17 / 8)
            if number % 9 == 0:
                self.server.talk()
                self.server.raw(f.pack(f.PING, f.ACK, 0, bytes(8)))
            if self.line.is_lost:
                self.setUp()
        for before, after in zip(self.pings, self.pings[1:]):
            self.assertGreaterEqual(after - before, LIVENESS)

    def test_alive_again(self) -> None:
        """A ping that was not answered in vain is not held against it later."""
        self.begin()
        self.pass_time(6, is_answering=False)
        self.assertEqual(len(self.pings), 1)
        self.server.talk()
        self.pass_time(8)
        self.assertFalse(self.line.is_lost)
        self.pass_time(15)
        self.assertEqual((len(self.pings), self.line.is_lost), (2, True))


class GoodbyeTests(ChannelCase):
    """The server goes."""

    def setUp(self) -> None:
        super().setUp()
        self.shake_hands(streams=2)

    def test_idle(self) -> None:
        self.server.raw(goodbye(0))
        self.assertEqual(self.left, [self.channel])
        self.clock.advance(0)
        self.assertTrue(self.line.is_aborted)

    def test_begun_and_waiting(self) -> None:
        """What was processed goes on to its end; what was not is told so, and so is what waits."""
        first, second, third, fourth = (self.begin() for _ in range(4))
        self.asked()
        self.server.raw(goodbye(1, f.ENHANCE_YOUR_CALM, b"too many\n pings"))
        why = "the server says goodbye (ENHANCE_YOUR_CALM: too many pings)"
        self.assertEqual(second.heard, [(why, False)])
        self.assertEqual(self.left, [self.channel])
        self.assertEqual([third.heard, fourth.heard], [[(why, False)]] * 2)
        self.assertFalse(self.line.is_aborted)
        self.server.answer(self.server.asked[0], b"y")
        self.assertEqual(first.heard, [framed(b"y"), "end"])
        self.assertTrue(self.line.is_aborted)

    def test_in_two_steps(self) -> None:
        """As Go's server does it: first that there shall be no more, later which were the last."""
        first, second = self.begin(), self.begin()
        self.asked()
        self.server.raw(goodbye(2**31 - 1, said=b"graceful_stop"))
        self.assertEqual((self.left, first.heard, second.heard), ([self.channel], [], []))
        self.server.raw(goodbye(1))
        self.assertEqual(second.heard, [("the server says goodbye (NO_ERROR: graceful_stop)", False)])
        self.line.close()
        self.assertEqual(first.heard, [(f"{LOST}the server says goodbye (NO_ERROR: graceful_stop)", True)])

    def test_all_unprocessed(self) -> None:
        exchanges = [self.begin() for _ in range(4)]
        self.clock.advance(0)
        self.server.raw(goodbye(0))
        self.assertEqual([one.heard[0][1] for one in exchanges], [False] * 4)
        self.assertTrue(self.line.is_aborted)
        self.assertEqual(self.left, [self.channel])

    def test_begun_too_late(self) -> None:
        """Whoever begins something here all the same is told."""
        first = self.begin()
        self.asked()
        self.server.raw(goodbye(1))
        late = self.begin()
        self.clock.advance(0)
        self.assertEqual([is_sent for _, is_sent in late.heard], [False])
        self.server.answer(self.server.asked[0], b"y")
        self.assertEqual(first.heard[-1], "end")
        self.assertTrue(self.line.is_aborted)

    def test_reset_by_the_client(self) -> None:
        """The last one may end from our side: then nobody needs the connection."""
        first = self.begin()
        self.asked()
        self.server.raw(goodbye(1))
        self.assertFalse(self.line.is_aborted)
        self.channel.reset(first.stream)
        self.clock.advance(0)
        self.assertTrue(self.line.is_aborted)

    def test_refused(self) -> None:
        """A stream that is refused was not processed; one that is reset, nobody knows."""
        first, second = self.begin(), self.begin()
        self.asked()
        self.server.reset(self.server.asked[0], f.REFUSED_STREAM)
        self.server.reset(self.server.asked[1], INTERNAL_ERROR)
        self.assertEqual(first.heard, [("the server refuses it", False)])
        self.assertEqual(second.heard, [("the server has reset the stream (INTERNAL_ERROR)", True)])
        self.assertEqual(self.left, [])


class ViolationTests(ChannelCase):
    """The server violates the protocol."""

    def violate(self) -> None:
        self.server.raw(f.pack(f.PING, 0, 0, b"short"))

    def assert_told(self, *exchanges: Exchange) -> None:
        what = "the server violates HTTP/2: PING of a wrong size (FRAME_SIZE_ERROR)"
        for exchange in exchanges:
            self.assertEqual(exchange.heard, [("violation", what, exchange.stream.is_sent)])
        self.server.talk()
        self.assertEqual(self.server.gone, (f.FRAME_SIZE_ERROR, b"PING of a wrong size"))

    def test_open(self) -> None:
        """Everybody is told, and so is the server, whose connection ends as soon as it has heard."""
        self.shake_hands(streams=1)
        first, second = self.begin(), self.begin()
        self.asked()
        self.violate()
        self.assertEqual([first.stream.is_sent, second.stream.is_sent], [True, False])
        self.assertEqual(self.left, [self.channel])
        self.clock.advance(0)
        self.assertTrue(self.line.is_lost)
        self.assertFalse(self.line.is_aborted)
        self.assert_told(first, second)

    def test_server_takes_nothing(self) -> None:
        """It is dropped all the same, a little later."""
        self.shake_hands()
        exchange = self.begin()
        self.channel.pauseProducing()
        self.line.is_stuck = True
        self.violate()
        self.clock.advance(0.9)
        self.assertFalse(self.line.is_lost)
        self.violate()
        self.clock.advance(0.2)
        self.assertTrue(self.line.is_aborted and self.line.is_lost)
        self.assert_told(exchange)

    def test_leaving(self) -> None:
        """Even when it was about to go."""
        self.shake_hands()
        exchange = self.begin()
        self.asked()
        self.server.raw(goodbye(1))
        self.violate()
        self.assertFalse(self.line.is_aborted)
        self.clock.advance(0)
        self.assert_told(exchange)
        self.assertTrue(self.line.is_lost)

    def test_goodbye_in_the_same_breath(self) -> None:
        """What waits is not processed, whether it moves or is told so."""
        self.shake_hands(streams=1)
        first, second = self.begin(), self.begin()
        self.asked()
        self.server.raw(goodbye(1) + f.pack(f.PING, 0, 0, b"short"))
        self.assertIs(first.heard[0][2], True)
        self.assertEqual((second.heard or [(0, 0, False)])[0][2], False)
        self.clock.advance(0)

    def test_before_the_handshake(self) -> None:
        waiting = self.channel.when_ready()
        self.violate()
        error = self.failureResultOf(waiting, WrongProtocol).value
        self.assertEqual(error.message, "not sent: the server violates HTTP/2: not SETTINGS first (PROTOCOL_ERROR)")
        self.clock.advance(0)
        self.assertTrue(self.line.is_lost)

    def test_before_anybody_asks(self) -> None:
        self.violate()
        self.failureResultOf(self.channel.when_ready(), WrongProtocol)
        self.clock.advance(0)

    def test_flawed_stream(self) -> None:
        """That is the end of one exchange, and not of the others."""
        self.shake_hands()
        first, second = self.begin(), self.begin()
        self.asked()
        self.server.raw(f.pack(f.DATA, 0, 1, b"too early"))
        self.assertEqual(first.heard, [("violation", "data before the headers of the answer (PROTOCOL_ERROR)", True)])
        self.server.answer(self.server.asked[1], b"y")
        self.assertEqual(second.heard[-1], "end")


class EndTests(ChannelCase):
    """The connection ends."""

    def test_ready(self) -> None:
        """Whoever asks hears it as soon as the server has told its settings and acknowledged ours."""
        waiting = self.channel.when_ready()
        for at in range(len(SHAKEN)):
            self.assertNoResult(waiting)
            self.line.send(SHAKEN[at : at + 1])
        self.assertIs(self.successResultOf(waiting), self.channel)

    def test_lost_before(self) -> None:
        """Whether somebody waits for it already, or asks only then."""
        for is_early in (True, False):
            self.setUp()
            waiting = self.channel.when_ready() if is_early else None
            self.line.lose()
            self.failureResultOf(waiting or self.channel.when_ready(), ConnectionLost)
            self.assertEqual(self.left, [self.channel])

    def test_given_up(self) -> None:
        """Whoever does not wait any more drops it."""
        self.cancelled(self.channel.when_ready())
        self.clock.advance(0)
        self.assertTrue(self.line.is_aborted)

    def test_goodbye_before(self) -> None:
        """Why it ended is told in the server's words."""
        waiting = self.channel.when_ready()
        self.server.raw(f.pack(f.SETTINGS, 0, 0) + goodbye(0, said=b"not today"))
        self.clock.advance(0)
        error = self.failureResultOf(waiting, Unavailable).value
        self.assertEqual(error.message, "not sent: the server says goodbye (NO_ERROR: not today)")
        self.assertTrue(self.line.is_lost)

    def test_lost_amid(self) -> None:
        """What was sent may have been processed, all else was not."""
        self.shake_hands(streams=2)
        sent, large, waiting = self.begin(), self.begin(LARGE), self.begin()
        self.clock.advance(0)
        self.line.lose()
        self.assertEqual(sent.heard, [(f"{LOST}it broke off", True)])
        for one in (large, waiting):
            self.assertEqual(one.heard, [("the connection was lost: it broke off", False)])
        self.assertEqual(self.left, [self.channel])

    def test_lost_in_the_answer(self) -> None:
        self.shake_hands()
        exchange = self.begin()
        self.server.begin(self.asked())
        self.line.close()
        self.assertEqual(exchange.heard, [(f"{LOST}the server closed it", True)])

    def test_lost_before_anything_is_written(self) -> None:
        """Nothing is done later."""
        self.shake_hands()
        self.begin()
        late = self.begin()
        self.line.lose()
        self.channel.reset(late.stream)
        self.channel.pause(late.stream)
        self.channel.resume(late.stream)
        self.channel.abort()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_last_number(self) -> None:
        """When the numbers of streams are used up, what waits was not sent."""
        self.shake_hands()
        self.channel._core._next_id = 2**31 - 3
        exchanges = [self.begin() for _ in range(4)]
        self.clock.advance(0)
        self.assertEqual([one.stream.id for one in exchanges], [2**31 - 3, 2**31 - 1, 0, 0])
        self.assertEqual(self.left, [self.channel])
        self.assertEqual([one.heard for one in exchanges[2:]], [[("the connection has no numbers left", False)]] * 2)
        self.assertFalse(self.line.is_aborted)
        self.line.lose()

    def test_unconnected(self) -> None:
        """Something that never was connected can be told that it is over."""
        unconnected: list[Any] = []
        channel = Channel(self.clock, unconnected.append)
        channel.abort()
        channel.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(channel.when_ready(), ConnectionLost)
        self.assertEqual(unconnected, [channel])
