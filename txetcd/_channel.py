"""
A connection over which gRPC is spoken: the thin shell of :mod:`txetcd._http2` on a connection of Twisted.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IPushProducer, ISSLTransport, ITCPTransport, IWriteDescriptor
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from . import _http2 as http2
from ._clues import HTTP_2
from ._connections import describe
from ._frames import error_name
from .errors import Unavailable, WrongProtocol

LEAST_LIVENESS = 5.0
"""Seconds between two pings that etcd allows (``--grpc-keepalive-min-time``)."""

LOOKS = 3
"""Looks at a connection within which one that died is left."""

LIVENESS = LEAST_LIVENESS
"""
Seconds between two looks at a connection on which something is under way. If it was silent since the last one, it is
asked for a sign of life; if it is still at the next one, it is dead, whether anything is under way by then or not. What
begins after a pause asks at once, as nobody has looked meanwhile. So a ping never follows another within five seconds,
which is what etcd allows (``--grpc-keepalive-min-time``), and a dead connection is left five seconds after the first
request on it, or fifteen after it died.
"""

MOST_LIVENESS = 3600.0
"""The seconds between two looks are doubled whenever a server says that it is asked too often, up to this."""

_FEWEST = 4
"""Requests that are sent while answers are read: fewer are not worth asking the system."""

_LATE = 1.0
"""Seconds that a timer may be late: if it is later, nothing can be concluded from silence."""

_GOODBYE = 1.0
"""Seconds for a peer that has violated the protocol to hear why its connection is closed."""


class Exchange(Protocol):
    """
    What is under way on a channel.
    """

    def on_data(self, stream: http2.Stream, data: bytes) -> None:
        """Some of the answer has arrived."""

    def on_end(self, stream: http2.Stream) -> None:
        """The answer is complete."""

    def on_loss(self, why: str, is_sent: bool) -> None:
        """There will be no answer; if the request was not sent as a whole, it was not processed."""

    def on_violation(self, what: str, is_sent: bool) -> None:
        """What has arrived is no answer, in words."""


@implementer(IPushProducer)
class Channel(protocol.Protocol):
    """
    A connection over which gRPC is spoken.

    What is written in one turn of the reactor goes out together; what is the first of an idle connection goes out at
    once. When the peer takes no more, what was not begun waits, and nothing of it was sent.

    Many callers who are answered in one lot ask on while it is read. If all of that went out together, the server would
    have nothing to do until the last one has asked, and then they nothing until it has answered: so it goes out
    whenever it is half of what is under way. (Puts of 16, 64 and 256 callers a second: 17, 16 and 21 % more.)

    :param clock: the reactor.
    :param on_leaving: called once, when no more can be begun here; what was not begun yet fails then.
    :param liveness: seconds between two looks: see :data:`LIVENESS`.

    :ivar is_too_eager: whether the server has ended it because it was asked too often for a sign of life (``bool``).
    """

    def __init__(
        self, clock: Any, on_leaving: Callable[[Channel], None], liveness: float = LIVENESS
    ) -> None:
        self._clock = clock
        self._on_leaving = on_leaving
        self._liveness = liveness
        self.is_too_eager = False
        self._core = http2.Connection()
        # whether the system takes at once what is written; with TLS it must not, for which that is not the end of it
        self._is_direct = False
        # whether something was said to be sent when the peer took no more
        self._has_promised = False
        # why it was lost, if we have noticed that, and the reactor has not
        self._lost: Optional[Failure] = None
        self._is_reading = self._is_held = self._has_left = self._was_heard = self._is_pinged = self._was_held = False
        # whether nobody has looked since something was last under way
        self._has_paused = self._is_retired = False
        self._flushing: Optional[IDelayedCall] = None
        self._looking: Optional[IDelayedCall] = None
        self._look_at = 0.0
        self._goodbye: Optional[IDelayedCall] = None
        # why it ends, if that is for us to say
        self._reason = ""
        # why it did not begin
        self._failure: Optional[Failure] = None
        self._waiting: Optional[Deferred[Channel]] = None

    # --- what the client does

    def when_ready(self) -> Deferred[Channel]:
        """
        Waits until the peer has shown that it speaks HTTP/2; to be asked once.

        :returns: a Deferred that fires with the channel, or fails with why not. Cancelling it drops the connection.
        """
        waiting: Deferred[Channel] = Deferred(lambda _: self.abort())
        self._waiting = waiting
        if self._failure is not None:
            waiting.errback(self._failure)
        elif self._core.is_open:
            waiting.callback(self)
        return waiting

    def begin(
        self, exchange: Exchange, block: bytes, data: bytes, is_urgent: bool = False, goes_on: bool = False
    ) -> http2.Stream:
        """
        Begins *exchange*, as soon as it can be.

        :param block: the header block of the request.
        :param data: the request.
        :param is_urgent: whether it does not wait behind others.
        :param goes_on: whether it lasts until it is reset, or the server ends it.
        """
        core = self._core
        is_idle = not len(core)
        stream = core.open(exchange, block, data, is_urgent, goes_on)
        if self._looking is None:
            self._wake(stream)
        if self._is_reading:
            if self._is_direct and core.unsent >= _FEWEST and 2 * core.unsent >= core.begun:
                self._send()
        elif is_idle:
            self._flush()
        else:
            self._flush_soon()
        return stream

    def send(self, stream: http2.Stream, data: bytes) -> None:
        """Sends more on *stream*, which goes on."""
        self._core.send(stream, data)
        self._flush_soon()

    def reset(self, stream: http2.Stream) -> None:
        """Ends what is under way on *stream*: it hears no more, and the server does not work for it any longer."""
        self._core.reset(stream)
        self._flush_soon()

    def pause(self, stream: http2.Stream) -> None:
        """Asks for no more of its answer."""
        self._core.pause(stream)

    def resume(self, stream: http2.Stream) -> None:
        """Goes on after :meth:`pause`."""
        self._core.resume(stream)
        self._flush_soon()

    def retire(self) -> None:
        """Ends it as soon as nothing is under way."""
        self._is_retired = True
        self._flush_soon()

    def abort(self, why: str = "") -> None:
        """Drops the connection."""
        self._reason = self._reason or why
        self._leave()
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]  # those of TCP and TLS have it

    # --- sending

    def _flush_soon(self) -> None:
        # what is done while something is received goes out at its end
        if self._flushing is None and not self._is_reading and self.transport is not None:
            self._flushing = self._clock.callLater(0, self._flush_later)

    def _flush_later(self) -> None:
        self._flushing = None
        self._flush()

    def _send(self) -> None:
        if self._core.unsent and (self._has_promised or not self._is_held) and self.transport is not None:
            self._has_promised = False
            self.transport.write(self._core.take())
            if self._is_direct:
                # not when the reactor has come round to it, which then finds out itself that the connection is lost
                lost = self.transport.doWrite()  # type: ignore[attr-defined]  # it is an IWriteDescriptor
                if lost is not None:
                    self._lost = Failure(lost)

    def _flush(self) -> None:
        core = self._core
        self._send()
        if core.is_leaving and not core.is_broken:
            self._leave()
            for stream in core.withdraw():
                stream.owner.on_loss(self._reason or "the connection has no numbers left", False)
        if (core.is_leaving or self._is_retired) and not core.is_broken and not len(core):
            self.abort()

    def _leave(self) -> None:
        if not self._has_left:
            self._has_left = True
            self._on_leaving(self)

    def pauseProducing(self) -> None:
        """The peer takes no more just now."""
        self._is_held = True
        self._core.hold()
        if self._core.unsent:
            # it must not wait with that claim for as long as the peer likes; but not here: with TLS this is told in the
            # midst of a write, and what is written then is lost or comes twice
            self._has_promised = True
            self._flush_soon()

    def resumeProducing(self) -> None:
        """The peer takes more."""
        self._is_held = self._has_promised = False
        self._core.release()
        if not self._is_reading:
            self._flush()

    def stopProducing(self) -> None:
        """The connection is lost, as :meth:`connectionLost` is told."""

    # --- receiving

    def connectionMade(self) -> None:
        """It is connected."""
        # what is written belongs together already, and shall not wait for more
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            is_secure = ISSLTransport.providedBy(self.transport)
            self._is_direct = IWriteDescriptor.providedBy(self.transport) and not is_secure
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]  # it is connected
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        """The peer has sent something."""
        # Hot: an answer of one message is three frames, which are two events.
        self._was_heard = self._is_reading = True
        for event, stream, value in self._core.receive(data):
            if event == http2.DATA:
                stream.owner.on_data(stream, value)  # type: ignore[union-attr]  # these events have one
            elif event == http2.ENDED:
                stream.owner.on_end(stream)  # type: ignore[union-attr]
            else:
                self._handle(event, stream, value)
        self._is_reading = False
        self._flush()

    def _handle(self, event: int, stream: Any, value: Any) -> None:
        if event == http2.RESET:
            stream.owner.on_loss(f"the server has reset the stream ({error_name(value)})", stream.is_sent)
        elif event == http2.UNPROCESSED:
            stream.owner.on_loss(self._reason or "the server refuses it", False)
        elif event == http2.FLAWED:
            stream.owner.on_violation(value, stream.is_sent)
        elif event == http2.LEAVING:
            self._reason = f"the server says goodbye ({value})"
            self.is_too_eager = "too_many_pings" in value
        elif event == http2.READY and self._waiting is not None:
            self._waiting.callback(self)
        elif event == http2.BROKEN:
            self._break(f"the server violates HTTP/2: {value}")

    def _break(self, what: str) -> None:
        self._reason = what
        self._leave()
        self._not_ready(Failure(WrongProtocol(None, f"not sent: {what}")))
        for stream in self._core.abandon():
            stream.owner.on_violation(what, stream.is_sent)
        if self.transport is not None:
            self.transport.write(self._core.take())
            # with TLS it would not end as long as there is somebody who may have more to write
            self.transport.unregisterProducer()  # type: ignore[attr-defined]  # it is connected
            self.transport.finish()  # type: ignore[attr-defined]  # see _connections
            self._goodbye = self._clock.callLater(_GOODBYE, self.abort)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """There is no connection any more."""
        if self._lost is not None and reason.check(ConnectionDone):
            reason = self._lost
        assert reason.value is not None
        self.transport = None
        for timer in (self._flushing, self._looking, self._goodbye):
            if timer is not None and timer.active():
                timer.cancel()
        self._leave()
        self._not_ready(Failure(Unavailable(None, f"not sent: {self._reason}")) if self._reason else reason)
        why = self._reason or describe(HTTP_2, [reason.value])
        for stream in self._core.abandon():
            when = " before the answer was complete" if stream.is_sent else ""
            stream.owner.on_loss(f"the connection was lost{when}: {why}", stream.is_sent)

    def _not_ready(self, reason: Failure) -> None:
        if self._waiting is None:
            self._failure = self._failure or reason
        elif not self._waiting.called:
            self._waiting.errback(reason)

    # --- liveness

    def _wake(self, stream: http2.Stream) -> None:
        """*stream* is the first that is under way since nobody has looked."""
        self._was_heard = self._was_held = False
        if self._has_paused and stream.id:
            self._ping()
        self._has_paused = False
        self._look_later()

    def _ping(self) -> None:
        self._is_pinged = True
        self._core.ping()

    def _look_later(self) -> None:
        self._look_at = self._clock.seconds() + self._liveness
        self._looking = self._clock.callLater(self._liveness, self._look)

    def _look(self) -> None:
        self._looking = None
        # later than it should be: this process was busy itself, and what has arrived is not read yet
        is_late = self._clock.seconds() > self._look_at + _LATE
        if self._was_heard:
            self._is_pinged = self._was_held = False
            self._core.forgive()
        elif not is_late and not self._ask_for_life():
            self.abort(f"it was silent, and did not answer a ping within {self._liveness:g} seconds")
            return
        self._was_heard = False
        if len(self._core) or self._is_pinged:
            self._look_later()
        else:
            self._has_paused = True

    def _ask_for_life(self) -> bool:
        """Nothing was heard since the last look. Returns ``False`` if that was so at the last one, too."""
        if self._is_pinged or self._was_held:
            return False
        # what is held would hold the ping, too; and a server that lets nothing begin has nothing to say
        self._was_held = self._is_held
        if self._core.begun and not self._is_held:
            self._ping()
            self._flush()
        return True
