"""
The streams that carry the watches of a client.

Where more can be asked on a stream, many watches share one: that is a stream for each :data:`SHARE` of them, so that
hundreds that are busy do not wait for one another, and one of its own for a watch whose consumer is slow. Where not,
each has one of its own.
"""

from __future__ import annotations

from collections import deque
from typing import Optional, Protocol

from ._calls import Calls, CallStream, broken_off
from ._messages import WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchResponse
from ._schema import WATCH
from .errors import AuthError, Error, Unavailable, refusal

SHARE = 100
"""Watches that share a stream."""

_ALL = -1
"""The id that stands for all watches of a stream (``clientv3.InvalidWatchID``)."""


class Watcher(Protocol):
    """Who has asked for a watch."""

    def on_message(self, line: Line, message: WatchResponse) -> None:
        """The server says something of it."""

    def on_loss(self, line: Line, error: Optional[Error]) -> None:
        """The stream has ended; *error* is why, ``None`` if the server just ended it."""


class Line(Protocol):
    """
    What connects a watch to the server.

    :ivar is_shared: whether others depend on it (``bool``).
    """

    is_shared: bool

    @property
    def url(self) -> str:
        """Which server is asked; ``""`` as long as none was (``str``)."""

    def close(self) -> None:
        """Ends the watch: nothing more is told of it, and the server forgets it."""

    def pause(self) -> None:
        """Asks the server to wait; only if it is not shared."""

    def resume(self) -> None:
        """Goes on after :meth:`pause`."""

    def ask_for_progress(self) -> None:
        """Asks how far all watches of the stream are; only where more can be asked on one."""

    def blame(self, reason: str) -> None:
        """The server was silent where it should not have been."""


class _OwnLine:
    """A watch with a stream of its own: see :class:`Line`."""

    is_shared = False

    def __init__(self, calls: Calls, request: WatchCreateRequest, watcher: Watcher) -> None:
        self._watcher = watcher
        self._is_closed = False
        self._stream = calls.stream(WATCH, request, self._message)
        self._stream.ended.addCallbacks(lambda _: self._lost(None), lambda failure: self._lost(failure.value))

    @property
    def url(self) -> str:
        """See :attr:`Line.url`."""
        return self._stream.url

    def _message(self, message: WatchResponse) -> None:
        if not self._is_closed:
            self._watcher.on_message(self, message)

    def _lost(self, error: Optional[Error]) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._watcher.on_loss(self, error)

    def close(self) -> None:
        """See :meth:`Line.close`."""
        self._is_closed = True
        self._stream.abort()

    def pause(self) -> None:
        """See :meth:`Line.pause`."""
        self._stream.pause()

    def resume(self) -> None:
        """See :meth:`Line.resume`."""
        self._stream.resume()

    def ask_for_progress(self) -> None:
        """See :meth:`Line.ask_for_progress`."""
        self._stream.send(WatchProgressRequest())

    def blame(self, reason: str) -> None:
        """See :meth:`Line.blame`."""
        self._stream.blame(reason)


class _SharedLine:
    """
    A watch on a stream with others: see :class:`Line`.

    :ivar watcher: who has asked for it.
    :ivar id: its number there, as soon as the server has told it (``int``).
    :ivar is_closed: whether nobody wants it any more (``bool``).
    """

    is_shared = True

    def __init__(self, stream: _SharedStream, watcher: Watcher) -> None:
        self._stream = stream
        self.watcher = watcher
        self.id: Optional[int] = None
        self.is_closed = False

    @property
    def url(self) -> str:
        """See :attr:`Line.url`."""
        return self._stream.url

    def close(self) -> None:
        """See :meth:`Line.close`."""
        if not self.is_closed:
            self.is_closed = True
            self._stream.leave(self)

    def pause(self) -> None:
        """The others would have to wait."""

    def resume(self) -> None:
        """It does not wait."""

    def ask_for_progress(self) -> None:
        """See :meth:`Line.ask_for_progress`."""
        self._stream.ask_for_progress()

    def blame(self, reason: str) -> None:
        """See :meth:`Line.blame`."""
        self._stream.blame(reason)


class _SharedStream:
    """
    A stream of several watches. Requests are answered in their order, so that they need not wait for one another; and
    a watch that could not be set up is known by that, as its number may be that of another one (0 up to 3.4.21 and
    3.5.5); which is lost then.

    :ivar is_full: whether it takes no more watches (``bool``).
    """

    def __init__(self, calls: Calls, streams: list[_SharedStream]) -> None:
        self._calls = calls
        self._streams = streams
        self._stream: Optional[CallStream] = None
        self._asked: deque[_SharedLine] = deque()
        self._lines: dict[int, _SharedLine] = {}
        self._is_retired = False
        streams.append(self)

    @property
    def url(self) -> str:
        """The URL of the server (``str``)."""
        return "" if self._stream is None else self._stream.url

    @property
    def is_full(self) -> bool:
        if self._is_retired or len(self._lines) + len(self._asked) >= SHARE:
            return True
        # what is no endpoint any more keeps what it has
        return bool(self.url) and self.url not in self._calls.endpoints

    def add(self, request: WatchCreateRequest, watcher: Watcher) -> _SharedLine:
        """Asks for another watch."""
        line = _SharedLine(self, watcher)
        self._asked.append(line)
        if self._stream is None:
            self._stream = self._calls.stream(WATCH, request, self._message)
            self._stream.ended.addCallbacks(lambda _: self._lost(None), lambda failure: self._lost(failure.value))
        else:
            self._stream.send(request)
        return line

    def ask_for_progress(self) -> None:
        """See :meth:`Line.ask_for_progress`."""
        if self._stream is not None:
            self._stream.send(WatchProgressRequest())

    def leave(self, line: _SharedLine) -> None:
        """Nobody wants *line* any more."""
        if line.id is not None and self._lines.pop(line.id, None) is line:
            self._cancel(line.id)
        self._end_if_unwanted()

    def _cancel(self, watch_id: int) -> None:
        if self._stream is not None:
            self._stream.send(WatchCancelRequest(watch_id))

    def _end_if_unwanted(self) -> None:
        if not self._lines and all(line.is_closed for line in self._asked):
            self._retire()
            if self._stream is not None:
                self._stream.abort()

    def blame(self, reason: str) -> None:
        """The server does not answer: whoever asks next is better off elsewhere."""
        self._retire()
        if self._stream is not None:
            self._stream.blame(reason)

    def _retire(self) -> None:
        if not self._is_retired:
            self._is_retired = True
            self._streams.remove(self)

    def _message(self, message: WatchResponse) -> None:
        # Hot: a look into a dictionary, of each message.
        line = self._lines.get(message.watch_id)
        if message.created:
            self._answered(message)
        elif line is not None:
            if message.canceled:
                del self._lines[message.watch_id]
                line.is_closed = True
            line.watcher.on_message(line, message)
            if message.canceled:
                self._end_if_unwanted()
        elif message.watch_id == _ALL:
            for one in list(self._lines.values()):
                if not one.is_closed:
                    one.watcher.on_message(one, message)
        # else nobody wants it any more, and the server is about to learn that

    def _answered(self, message: WatchResponse) -> None:
        if not self._asked:
            self._break("a watch was set up that nobody has asked for")
            return
        line = self._asked.popleft()
        if message.canceled:
            if isinstance(refusal(None, message.cancel_reason), AuthError):
                # the token belongs to the stream
                self._retire()
            was_closed, line.is_closed = line.is_closed, True
            confused = self._lines.pop(message.watch_id, None)
            if not was_closed:
                line.watcher.on_message(line, message)
            if confused is not None:
                self._leave_confused(confused)
            self._end_if_unwanted()
        elif line.is_closed:
            self._cancel(message.watch_id)
            self._end_if_unwanted()
        elif message.watch_id in self._lines:
            self._asked.appendleft(line)
            self._break(f"two watches have the number {message.watch_id}")
        else:
            line.id = message.watch_id
            self._lines[message.watch_id] = line
            line.watcher.on_message(line, message)

    def _leave_confused(self, line: _SharedLine) -> None:
        """
        What was refused got the number of *line*, and from then on the server tells nothing of that: it has forgotten
        that it had said that it watches (``sendLoop`` in ``v3rpc/watch.go`` up to 3.4.21 and 3.5.5).
        """
        assert line.id is not None
        self._cancel(line.id)
        if not line.is_closed:
            line.is_closed = True
            line.watcher.on_loss(line, Unavailable(None, "the server takes it for one that it has refused"))

    def _break(self, what: str) -> None:
        assert self._stream is not None
        stream, self._stream = self._stream, None
        self._fail(broken_off(stream, what))

    def _lost(self, error: Optional[Error]) -> None:
        if self._stream is not None:
            self._fail(error)

    def _fail(self, error: Optional[Error]) -> None:
        self._retire()
        lines = [*self._lines.values(), *self._asked]
        self._lines.clear()
        self._asked.clear()
        for line in lines:
            # whoever is told may end others
            if not line.is_closed:
                line.is_closed = True
                line.watcher.on_loss(line, error)


class WatchStreams:
    """
    The streams that carry the watches of a client.

    :param calls: asks.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._shared: list[_SharedStream] = []

    def open(self, request: WatchCreateRequest, watcher: Watcher, is_shared: bool = True) -> Line:
        """
        Asks for a watch.

        :param is_shared: whether it may have a stream with others, where that can be.
        """
        if not (is_shared and self._calls.is_duplex):
            return _OwnLine(self._calls, request, watcher)
        stream = next((stream for stream in self._shared if not stream.is_full), None)
        return (stream or _SharedStream(self._calls, self._shared)).add(request, watcher)
