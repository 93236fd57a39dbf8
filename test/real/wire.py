"""
What goes over a connection of HTTP/2, for those who look at it from outside: at what a proxy has seen.

A server of gRPC says something before it answers: that its window is larger now, and a ping, which the client answers.
So what a proxy takes for the answer to a request may be that alone, and the answer comes in the next exchange.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from txetcd import _frames as f
from txetcd.testing import FaultyProxy, ProxyConnection


@attrs.frozen
class Frame:
    """
    A frame.

    :ivar kind: its number (``int``).
    :ivar stream_id: the stream that it is for (``int``).
    :ivar payload: what it says; the last one that was found may be cut (``bytes``).
    """

    kind: int
    stream_id: int
    payload: bytes


def frames(data: bytes) -> Iterator[Frame]:
    """The frames in what a client or a server has sent."""
    at = len(f.PREFACE) if data.startswith(f.PREFACE) else 0
    while at + f.HEAD_SIZE <= len(data):
        word, _, stream_id = f.unpack_head(data, at)
        begin = at + f.HEAD_SIZE
        at = begin + (word >> 8)
        yield Frame(word & 0xFF, stream_id, data[begin:at])


def answered(data: bytes) -> set[int]:
    """The streams that have something in what a server has sent."""
    return {frame.stream_id for frame in frames(data) if frame.kind in (f.HEADERS, f.DATA)}


class Wire:
    """
    Listens to what goes through a proxy.

    :param proxy: its commands go on to hold; but after :meth:`FaultyProxy.behave` it has to :meth:`listen` again.
    """

    def __init__(self, proxy: FaultyProxy) -> None:
        self._proxy = proxy
        # the header blocks of the requests, and the answers, by their streams
        self._requests: WeakKeyDictionary[ProxyConnection, dict[int, bytes]] = WeakKeyDictionary()
        self._answers: WeakKeyDictionary[ProxyConnection, dict[int, bytes]] = WeakKeyDictionary()
        self.listen()

    def listen(self) -> None:
        """From now on."""
        self._proxy.delay(0, where=self._hear)

    def _hear(self, connection: ProxyConnection) -> bool:
        requests = self._requests.setdefault(connection, {})
        heads = (frame for frame in frames(connection.request) if frame.kind == f.HEADERS)
        requests.update((head.stream_id, head.payload) for head in heads)
        answers = self._answers.setdefault(connection, {})
        answers.update(dict.fromkeys(answered(connection.answer) & set(requests), connection.answer))
        # nothing is done to it
        return False

    def streams(self, connection: Any, methods: Iterable[bytes]) -> set[int]:
        """The streams of requests for one of these methods; of all, if there are none."""
        self._hear(connection)
        requests, wanted = self._requests[connection], tuple(methods)
        return {one for one, block in requests.items() if not wanted or any(method in block for method in wanted)}

    def is_answering(self, connection: Any, methods: Iterable[bytes]) -> bool:
        """Whether the server is just answering one of these methods."""
        return bool(self.streams(connection, methods) & answered(connection.answer))

    def answers(self, connection: Any, methods: Iterable[bytes]) -> dict[int, bytes]:
        """What the server has sent when it answered one of these methods, by the streams."""
        wanted = self.streams(connection, methods)
        return {one: answer for one, answer in self._answers[connection].items() if one in wanted}
