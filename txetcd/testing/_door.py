"""
A port that can be shut without losing it.
"""

from __future__ import annotations

import socket
from typing import Any, Optional, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.protocol import Factory

from ._identity import HOST

T = TypeVar("T")


def to_the_end(work: Deferred[T]) -> Deferred[T]:
    """Fires as *work* does; cancelling this gives up the wait, and *work* goes on."""
    waiting: Deferred[T] = Deferred()
    work.chainDeferred(waiting)
    return waiting


class Door:
    """
    A port of the loopback interface that is open, or shut and kept: a socket that is bound and does not listen keeps
    others from it, and the kernel from taking it for an outgoing connection, which would then find itself there.

    :param reactor: listens.
    :param factory: of those who come in.
    """

    def __init__(self, reactor: Any, factory: Factory) -> None:
        self._reactor = reactor
        self._factory = factory
        # opening and shutting take their time, and their turn
        self._turn = DeferredLock()
        self._listening: Any = None
        self._kept: Optional[socket.socket] = None
        self.number = 0

    def open(self) -> Deferred[None]:
        """Fires when connections are accepted."""
        return to_the_end(self._turn.run(self._open))

    def shut(self) -> Deferred[None]:
        """Fires when connections are refused."""
        return to_the_end(self._turn.run(self._shut))

    def leave(self) -> Deferred[None]:
        """Fires when the port is anybody's."""
        return to_the_end(self._turn.run(self._leave))

    def _open(self) -> None:
        if self._listening is None:
            self._forget()
            self._listening = self._reactor.listenTCP(self.number, self._factory, interface=HOST)
            self.number = self._listening.getHost().port

    def _shut(self) -> Deferred[None]:
        return self._close().addCallback(lambda _: self._keep())

    def _leave(self) -> Deferred[None]:
        return self._close().addCallback(lambda _: self._forget())

    def _close(self) -> Deferred[Any]:
        listening, self._listening = self._listening, None
        return maybeDeferred(lambda: listening and listening.stopListening())

    def _keep(self) -> None:
        if self._kept is None:
            self._kept = socket.socket()
            # connections that were accepted here may still be there
            self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._kept.bind((HOST, self.number))

    def _forget(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None
