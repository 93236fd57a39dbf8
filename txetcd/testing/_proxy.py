"""
A proxy that fails on command, or at random.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import SystemRandom
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from .._check import check_all, check_bytes, check_choice, check_int, what_came
from .._url import DEFAULT_PORTS, check_url
from ._door import Door, to_the_end
from ._faults import (
    CLOSE,
    DICE,
    DIRECTIONS,
    ENDINGS,
    RESET,
    TO_CLIENT,
    TO_SERVER,
    BlackHole,
    Bytewise,
    CutAnswer,
    CutLine,
    CutRequest,
    Delay,
    Fault,
    Faults,
    ReplaceAnswer,
    Rule,
    Throttle,
)
from ._identity import HOST
from ._relay import DROPS, ProxyConnection, Relay, Side

Where = Callable[[ProxyConnection], object]

KINDS = tuple(DICE)
"""The faults that come at random."""

MAX_SECONDS = 1e9
"""The longest delay, which is for ever."""


def check_number(argument: str, value: object, maximum: float) -> float:
    """
    *value*, if it is a number from 0 to *maximum*.

    :raises TypeError: for anything that is not a number.
    :raises ValueError: for a number that is out of the bounds, or none at all.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number, not {what_came(value)}")
    if not 0 <= value <= maximum:
        raise ValueError(f"{argument} must be between 0 and {maximum:g}, not {value}")
    return value


def check_kinds(values: object) -> tuple[str, ...]:
    """
    *values* as a tuple, if they are names of faults that come at random.

    :raises TypeError: for anything but a list of text.
    :raises ValueError: for a name that is none, or no name at all.
    """
    kinds = check_all("kinds", values, str, "str")
    if not kinds:
        raise ValueError("kinds must not be empty")
    for kind in kinds:
        check_choice("kinds", kind, KINDS)
    return kinds


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or HOST, parts.port or DEFAULT_PORTS[parts.scheme]


def _ending(how: object) -> str:
    return check_choice("how", how, ENDINGS) or RESET


def _both(direction: object) -> tuple[str, ...]:
    chosen = check_choice("direction", direction, DIRECTIONS)
    return DIRECTIONS if chosen is None else (chosen,)


class _Relays(Factory):
    """
    Makes a relay for every connection that is accepted.

    :ivar accepted: how many there were.
    :ivar live: those that have a socket.
    """

    noisy = False

    def __init__(self, reactor: Any, faults: Faults, target: TCP4ClientEndpoint) -> None:
        self._reactor = reactor
        self._faults = faults
        self._target = target
        self._when_none: list[Deferred[None]] = []
        self.accepted = 0
        self.live: list[Relay] = []

    def buildProtocol(self, addr: Any) -> Side:
        self.accepted += 1
        return Relay(self._reactor, self.accepted, self._faults, self._target, self._changed).client

    def _changed(self, relay: Relay, is_live: bool) -> None:
        if is_live:
            self.live.append(relay)
            return
        self.live.remove(relay)
        if not self.live:
            waiting, self._when_none = self._when_none, []
            for none in waiting:
                none.callback(None)

    def abort(self) -> Deferred[None]:
        """Reset all; fires with ``None`` when there is no socket left."""
        if not self.live:
            return succeed(None)
        none: Deferred[None] = Deferred()
        self._when_none.append(none)
        for relay in list(self.live):
            relay.end(RESET)
        return none


class FaultyProxy:
    """
    A TCP proxy between clients and one server, which passes everything on faithfully until you tell it not to.

    ``async with FaultyProxy(reactor, etcd.url) as proxy:`` starts and stops it; ``Client(reactor, proxy.url)`` goes
    through it. It needs a running reactor, and any server: it knows nothing of HTTP, nor of etcd. So it can stand
    between two members of a cluster as well (give it the peer URL, and its own to the other members), and TLS goes
    through as it is: the server's certificate must then be good for ``127.0.0.1``.

    **Commands** hold from now on, for the connections that there are and for those to come, until :meth:`behave`.
    Those that say so can be restricted:

    * *count*: only the next so many requests suffer, each until it has its answer (``int``).
    * *where*: only the connections of which this is true; it is called with a :class:`ProxyConnection` whenever
      something goes over one, so it can look at the last request:
      ``where=lambda connection: connection.request.startswith(b"POST /v3/kv/put ")``.

    A *request* is what the client sends until the server sends, its *answer* what the server sends until the client
    sends again. Where requests overlap on a connection, as with gRPC, that is only what comes between.

    Several commands add up: of delays, of throttles, the one that was given last counts; of what ends a connection or
    swallows, the first. Delays come first of all: what arrives is delayed, and suffers the rest when it leaves.

    **The bytes** that pass are those that were sent, in their order, and none is ever left out in the middle: what
    loses bytes never passes any again. At most 256 KiB wait in each direction of a connection (so a long delay limits
    how much goes through as well); then the sender is not read until some have left. An end, a half-close and a reset
    of one side reach the other; a server that does not accept connections shows as a reset.

    :param reactor: the reactor.
    :param target_url: the server (``str``), with any scheme that a client may have, such as :attr:`EtcdProcess.url`. It
        need not run yet. A name is looked up as that of an IPv4 address.
    :param seed: for all that comes at random (``int``); by default it is chosen at random, too.
    :ivar seed: that seed; it is in the ``repr`` as well.
    """

    def __init__(self, reactor: Any, target_url: str, *, seed: Optional[int] = None) -> None:
        self._target_url = check_url("target_url", target_url)
        target = TCP4ClientEndpoint(reactor, *_place(self._target_url))
        self.seed = SystemRandom().randrange(2**32) if seed is None else check_int("seed", seed)
        self._faults = Faults(self.seed)
        self._relays = _Relays(reactor, self._faults, target)
        self._door = Door(reactor, self._relays)
        self._has_begun = False

    def __repr__(self) -> str:
        where = f" {self.url}" if self._door.number else ""
        return f"<FaultyProxy{where} to {self._target_url} seed={self.seed} connections={len(self._relays.live)}>"

    # --- what it sees

    @property
    def url(self) -> str:
        """
        The URL for clients: that of the target, with the address and the port of the proxy. The kernel chooses the
        port at the first start, and it stays the same.

        :raises RuntimeError: before the first start.
        """
        if not self._door.number:
            raise RuntimeError("this proxy has no URL before it was started")
        parts = urlsplit(self._target_url)
        return f"{parts.scheme}://{HOST}:{self._door.number}{parts.path}"

    @property
    def connections(self) -> list[ProxyConnection]:
        """The connections that there are (:class:`ProxyConnection`), the oldest first."""
        return [relay.connection for relay in self._relays.live]

    @property
    def accepted(self) -> int:
        """How many connections were accepted so far."""
        return self._relays.accepted

    @property
    def bytes_to_server(self) -> int:
        """How many bytes were handed over to the server so far."""
        return self._faults.passed[TO_SERVER]

    @property
    def bytes_to_client(self) -> int:
        """How many bytes were handed over to clients so far."""
        return self._faults.passed[TO_CLIENT]

    @property
    def faults(self) -> dict[str, int]:
        """
        How many requests suffered each kind of fault so far, by the name of the command; of ``"drop"`` and
        ``"half_close"``, how many connections.
        """
        return dict(self._faults.done)

    # --- its life

    def start(self) -> Deferred[FaultyProxy]:
        """
        Accept connections.

        :return: fires with this object; fails with :class:`twisted.internet.error.CannotListenError` if there is no
            port. Cancelling gives up the wait.
        :raises RuntimeError: if it was started, and not stopped since.
        """
        if self._has_begun:
            raise RuntimeError(f"{self!r} was started already")
        self._has_begun = True
        return self._door.open().addCallbacks(lambda _: self, self._not_started)

    def _not_started(self, reason: Failure) -> Failure:
        self._has_begun = False
        return reason

    def stop(self) -> Deferred[None]:
        """
        Accept no connections, and reset those that there are. The faults are forgotten.

        :return: fires with ``None`` when no socket and no timer is left. Does not fail. Cancelling gives up the wait.
        """
        self._has_begun = False
        self._relays.abort()
        # once more, for those that came before the door was shut
        stopped = self._door.leave().addCallback(lambda _: self._relays.abort())
        return to_the_end(stopped.addCallback(lambda _: self._faults.behave()))

    async def __aenter__(self) -> FaultyProxy:
        return await self.start()

    async def __aexit__(self, *reason: object) -> None:
        await self.stop()

    # --- connections

    def refuse(self) -> Deferred[None]:
        """
        Refuse connections, as if nothing ran there. Those that there are stay: :meth:`drop` them, if they shall not.
        The port is kept from others meanwhile.

        :return: fires with ``None`` when the next one is refused. Cancelling gives up the wait.
        :raises RuntimeError: if the proxy is not started.
        """
        self._check_begun()
        return self._door.shut()

    def accept(self) -> Deferred[None]:
        """
        Accept connections again, after :meth:`refuse`, at the same port.

        :return: fires with ``None`` when the next one is accepted; fails with
            :class:`twisted.internet.error.CannotListenError` if the port is lost. Cancelling gives up the wait.
        :raises RuntimeError: if the proxy is not started.
        """
        self._check_begun()
        return self._door.open()

    def _check_begun(self) -> None:
        if not self._has_begun:
            raise RuntimeError(f"{self!r} is not started")

    def drop(self, how: str = CLOSE) -> None:
        """
        End all connections that there are now, on both sides; see :meth:`ProxyConnection.drop` for a single one.

        :param how: ``"close"`` (what was passed on still arrives) or ``"reset"`` (as a crash does).
        """
        check_choice("how", how, DROPS)
        for connection in self.connections:
            connection.drop(how)

    def half_close(self, direction: str = TO_CLIENT) -> None:
        """
        End one direction of all connections that there are now; see :meth:`ProxyConnection.half_close`.

        :param direction: ``"to_client"`` (the client reads the end, and may still send) or ``"to_server"``.
        """
        check_choice("direction", direction, DIRECTIONS)
        for connection in self.connections:
            connection.half_close(direction)

    # --- the way

    def black_hole(
        self, direction: Optional[str] = None, *, count: Optional[int] = None, where: Optional[Where] = None
    ) -> None:
        """
        Swallow everything, ends and resets included; connections stay open, and new ones can be made.

        A connection that has lost bytes stays dead, and is reset by :meth:`behave`.

        :param direction: ``"to_server"`` or ``"to_client"``; by default both.
        """
        self._command(BlackHole(_both(direction)), count, where)

    def delay(
        self,
        seconds: float,
        direction: Optional[str] = None,
        *,
        jitter: float = 0.0,
        count: Optional[int] = None,
        where: Optional[Where] = None,
    ) -> None:
        """
        Hand everything over later; in its order, and as it was sent. What is on its way already is late as well.

        :param seconds: how much later (``float``); ``0`` ends it, and hands over what waits.
        :param direction: ``"to_server"`` or ``"to_client"``; by default both.
        :param jitter: up to so many seconds more or less (``float``), by chance.
        """
        seconds = check_number("seconds", seconds, MAX_SECONDS)
        self._command(Delay(_both(direction), seconds, check_number("jitter", jitter, MAX_SECONDS)), count, where)

    def throttle(
        self,
        bytes_per_second: int,
        direction: Optional[str] = None,
        *,
        count: Optional[int] = None,
        where: Optional[Where] = None,
    ) -> None:
        """
        Hand over no more than so many bytes a second, in each direction of each connection.

        :param bytes_per_second: how many (``int``).
        :param direction: ``"to_server"`` or ``"to_client"``; by default both.
        """
        rate = check_int("bytes_per_second", bytes_per_second, minimum=1)
        self._command(Throttle(_both(direction), rate), count, where)

    def bytewise(
        self, direction: Optional[str] = None, *, count: Optional[int] = None, where: Optional[Where] = None
    ) -> None:
        """
        Hand over byte by byte, one in each turn of the reactor.

        :param direction: ``"to_server"`` or ``"to_client"``; by default both.
        """
        self._command(Bytewise(_both(direction)), count, where)

    # --- requests and answers

    def cut_request(
        self, after: int = 0, how: str = RESET, *, count: Optional[int] = None, where: Optional[Where] = None
    ) -> None:
        """
        End the connection in a request: by default as soon as the client sends, so that the server gets nothing.

        :param after: how many bytes of the request are handed over before (``int``).
        :param how: ``"reset"``, ``"close"``, or ``"half_close"``: the server reads the end of what it got, and may
            answer.
        """
        self._command(CutRequest(check_int("after", after), _ending(how)), count, where)

    def cut_answer(
        self, after: int = 0, how: str = RESET, *, count: Optional[int] = None, where: Optional[Where] = None
    ) -> None:
        """
        End the connection in an answer: by default as soon as the server answers. So it has got the whole request,
        and done what it was asked for, and the client gets nothing.

        :param after: how many bytes of the answer are handed over before (``int``); a shorter answer passes.
        :param how: ``"reset"``, ``"close"``, or ``"half_close"``: the client reads the end of what it got, and may
            send.
        """
        self._command(CutAnswer(check_int("after", after), _ending(how)), count, where)

    def cut_line(self, how: str = CLOSE, *, count: Optional[int] = None, where: Optional[Where] = None) -> None:
        """
        End the connection in the middle of a line, the longest of those that the server sends next: on a stream, of a
        message.

        :param how: as of :meth:`cut_answer`.
        """
        self._command(CutLine(_ending(how)), count, where)

    def replace_answer(self, instead: bytes, *, count: Optional[int] = None, where: Optional[Where] = None) -> None:
        """
        Give the client something else in place of what the server sends next, and close the connection: the error
        page of a load balancer, say.

        :param instead: what the client gets (``bytes``).
        """
        self._command(ReplaceAnswer(check_bytes("instead", instead)), count, where)

    def _command(self, fault: Fault, count: Optional[int], where: Optional[Where]) -> None:
        if where is not None and not callable(where):
            raise TypeError(f"where must be callable, not {what_came(where)}")
        self._faults.add(Rule(fault, where, float("inf") if count is None else check_int("count", count, minimum=1)))
        self._judge_again()

    def _judge_again(self) -> None:
        for relay in list(self._relays.live):
            relay.judge_again()

    # --- all of it

    def misbehave(self, rate: float, kinds: Iterable[str] = KINDS) -> None:
        """
        Let requests suffer faults at random.

        What a request suffers depends on the seed, on *rate* and *kinds*, on how many connections were accepted before
        its own, and on how many requests went over that before: not on time, nor on other connections. Cuts are after
        0 bytes (half of them) or up to 400; delays last up to half a second, with a tenth of jitter; throttled lines
        pass 500 to 50,000 bytes a second; black holes swallow in one direction.

        :param rate: the probability that a request suffers a fault (``float``, from 0 to 1).
        :param kinds: which ones (``str`` each, of :data:`KINDS`), all of the same probability; by default all.
        """
        self._faults.misbehave(check_number("rate", rate, 1), check_kinds(kinds))

    def behave(self) -> None:
        """
        End all faults, those at random too, and accept what is sent from now on.

        What is delayed is handed over. A connection that has lost bytes is reset, as by a router that has come back
        and knows nothing of it. To accept connections again is up to :meth:`accept`.
        """
        self._faults.behave()
        for relay in list(self._relays.live):
            if relay.has_swallowed:
                relay.end(RESET)
        self._judge_again()
