"""
One connection through a proxy: two sockets, and the timers of what is late on its way between them.

Each side writes what its line hands over, one step at a time, the next when the last has left for the kernel (in
Twisted's terms, it is a pull producer). So it is known when all that comes before a reset has left; and when a side
does not read, the other one is read no more as soon as the line is full.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from .._check import check_choice
from ._faults import CLOSE, DIRECTIONS, HALF_CLOSE, RESET, TO_CLIENT, TO_SERVER, Dialogue, Faults
from ._line import Line, Step

DROPS = (CLOSE, RESET)
"""How a connection can be dropped."""


@implementer(IHalfCloseableProtocol, IPullProducer)
class Side(Protocol):
    """
    The socket at one end.

    :param reactor: tells the time.
    :param relay: hears what happens.
    :param line: brings what is written.
    :ivar is_finished: whether it was told that nothing more comes.
    :ivar is_gone: whether it is closed, or was never there.
    """

    def __init__(self, reactor: Any, relay: Relay, line: Line) -> None:
        self._reactor = reactor
        self._relay = relay
        self.line = line
        self._timer: Any = None
        self._is_registered = self._is_free = self._is_paused = False
        self.is_finished = self.is_gone = False

    @property
    def _socket(self) -> Any:
        return self.transport

    # --- what happens to it

    def connectionMade(self) -> None:
        """It is connected."""
        self._socket.setTcpNoDelay(True)
        self._relay.made(self)
        self._is_registered = True
        self._socket.registerProducer(self, False)

    def dataReceived(self, data: bytes) -> None:
        """It has sent."""
        self._relay.heard(self, data)

    def readConnectionLost(self) -> None:
        """It will send no more, but may read."""
        self._relay.ended(self, HALF_CLOSE)

    def writeConnectionLost(self) -> None:
        """It was told that nothing more comes."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It was reset, or what was asked for is done."""
        self.give_up()
        self._relay.lost(self)

    def resumeProducing(self) -> None:
        """All that was written has left."""
        self._is_free = True
        self.pump()

    def stopProducing(self) -> None:
        """The socket is gone, which is told otherwise as well."""

    # --- what is done to it

    def pump(self) -> None:
        """Do all that can be done now."""
        self._stop_timer()
        while self._is_free and self._do(self.line.next(self._reactor.seconds())):
            pass
        self._relay.left(self)

    def _do(self, step: Step) -> bool:
        """Whether there may be more to do now."""
        if step.data:
            self._is_free = False
            self._socket.write(step.data)
        elif step.ending is not None:
            self._relay.finish(self, step.ending)
        elif step.wait is not None:
            self._timer = self._reactor.callLater(step.wait, self.pump)
        return bool(step.data)

    def pause(self) -> None:
        """Read no more for now."""
        if not self._is_paused:
            self._is_paused = True
            self._socket.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        if self._is_paused and not self.is_gone:
            self._is_paused = False
            self._socket.resumeProducing()

    def half_close(self) -> None:
        """Tell it that nothing more comes, behind what was written."""
        self._stop_writing()
        self.is_finished = True
        self._socket.loseWriteConnection()

    def end(self, how: str) -> None:
        """Close it behind what was written, or reset it at once."""
        self._stop_writing()
        # nothing more is read
        self._is_paused = False
        if self.connected and not self.is_gone:
            if how == RESET:
                self._socket.abortConnection()
            else:
                self._socket.loseConnection()

    def give_up(self) -> None:
        """There is no socket, or none any more."""
        self._is_registered = False
        self._stop_writing()
        self.is_gone = True

    def _stop_writing(self) -> None:
        self._stop_timer()
        self._is_free = False
        self.line.close()
        if self._is_registered:
            self._is_registered = False
            self._socket.unregisterProducer()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


class Relay:
    """
    Passes bytes on between a client and the server.

    :param reactor: tells the time.
    :param number: of the connection.
    :param faults: by which everything is judged.
    :param target: where the server is.
    :param on_change: called with this, and whether there is a socket, when that changes.
    :ivar client: the side of the client.
    :ivar connection: what users know of this.
    """

    def __init__(
        self,
        reactor: Any,
        number: int,
        faults: Faults,
        target: IStreamClientEndpoint,
        on_change: Callable[[Relay, bool], None],
    ) -> None:
        self._reactor = reactor
        self._faults = faults
        self._target = target
        self._on_change = on_change
        self._connecting: Optional[Deferred[Any]] = None
        self._is_ended = False
        self.dialogue = Dialogue(number)
        self.connection = ProxyConnection(number, self)
        self.client = Side(reactor, self, Line(faults, self.connection, TO_CLIENT, str(number)))
        self._server = Side(reactor, self, Line(faults, self.connection, TO_SERVER, str(number)))

    def _other(self, side: Side) -> Side:
        return self._server if side is self.client else self.client

    # --- what happens to a side

    def made(self, side: Side) -> None:
        """It is connected."""
        if side is self.client:
            self._on_change(self, True)
            self._connecting = connectProtocol(self._target, self._server)
            self._connecting.addErrback(self._not_connected)
        else:
            self._connecting = None

    def _not_connected(self, reason: Failure) -> None:
        self._connecting = None
        self._server.give_up()
        self.lost(self._server)

    def heard(self, side: Side, data: bytes) -> None:
        """It has sent."""
        other = self._other(side)
        exchange = self.dialogue.asked(data) if side is self.client else self.dialogue.answered(data)
        other.line.put(data, exchange, self._reactor.seconds())
        other.pump()
        if other.line.is_full:
            side.pause()

    def left(self, side: Side) -> None:
        """What waited for it may have left."""
        if not side.line.is_full:
            self._other(side).resume()

    def ended(self, side: Side, how: str) -> None:
        """It has sent all that it will."""
        other = self._other(side)
        if other.is_gone:
            self.end(CLOSE)
        else:
            other.line.end(how, self.dialogue.current, self._reactor.seconds())
            other.pump()

    def lost(self, side: Side) -> None:
        """It is gone."""
        if self._other(side).is_gone:
            self._on_change(self, False)
        elif not self._is_ended:
            # what we end ourselves ends on both sides; so this was done by the peer
            self.ended(side, RESET)

    # --- what is done to both

    def finish(self, side: Side, ending: str) -> None:
        """All that will be written to this side has left."""
        if ending != HALF_CLOSE:
            self.end(ending)
            return
        side.half_close()
        other = self._other(side)
        if other.is_finished or other.is_gone:
            self.end(CLOSE)

    def end(self, how: str) -> None:
        """End both sides; what waits is lost."""
        self._is_ended = True
        self.client.end(how)
        self._server.end(how)
        if self._connecting is not None:
            self._connecting.cancel()

    def drop(self, how: str) -> None:
        """As :meth:`end`, on command."""
        self._faults.done["drop"] += 1
        self.end(how)

    def half_close(self, direction: str) -> None:
        """End one direction, on command."""
        self._faults.done["half_close"] += 1
        side = self.client if direction == TO_CLIENT else self._server
        side.line.stop(HALF_CLOSE)
        side.pump()

    def judge_again(self) -> None:
        """The rules have changed: what waits may leave."""
        self.client.pump()
        self._server.pump()

    @property
    def has_swallowed(self) -> bool:
        """Whether it can never be sound again, since bytes of it are lost."""
        return self.client.line.has_swallowed or self._server.line.has_swallowed


class ProxyConnection:
    """
    A connection of a client that goes through a :class:`FaultyProxy`; made by that.

    What is a request and what an answer, the proxy does not know: the first is what the client sends until the server
    sends, the second what the server sends until the client sends again.

    :ivar number: how many connections the proxy has accepted before it, and one (``int``).
    """

    def __init__(self, number: int, relay: Relay) -> None:
        self.number = number
        self._relay = relay

    def __repr__(self) -> str:
        return f"<ProxyConnection {self.number}>"

    @property
    def request(self) -> bytes:
        """How the last request begins, as it came from the client: at most 4096 bytes; empty before the first."""
        return self._relay.dialogue.current.request

    @property
    def answer(self) -> bytes:
        """How the answer to it begins, as it came from the server: at most 4096 bytes; empty before there is one."""
        return self._relay.dialogue.current.answer

    def drop(self, how: str = CLOSE) -> None:
        """
        End it, on both sides, now. What is delayed is lost.

        :param how: ``"close"`` (what was passed on still arrives) or ``"reset"`` (as a crash does).
        """
        self._relay.drop(check_choice("how", how, DROPS) or CLOSE)

    def half_close(self, direction: str = TO_CLIENT) -> None:
        """
        End one direction now; the other goes on. What is delayed is lost.

        :param direction: ``"to_client"`` (the client reads the end, and may still send) or ``"to_server"``.
        """
        self._relay.half_close(check_choice("direction", direction, DIRECTIONS) or TO_CLIENT)
