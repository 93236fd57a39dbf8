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
    :ivar at: where it begins in what it was found in (``int``).
    :ivar payload: what it says; the last one that was found may be cut (``bytes``).
    """

    kind: int
    stream_id: int
    at: int
    payload: bytes


def frames(data: bytes) -> Iterator[Frame]:
    """The frames in what a client or a server has sent."""
    at = len(f.PREFACE) if data.startswith(f.PREFACE) else 0
    while at + f.HEAD_SIZE <= len(data):
        word, _, stream_id = f.unpack_head(data, at)
        end = at + f.HEAD_SIZE + (word >> 8)
        yield Frame(word & 0xFF, stream_id, at, data[at + f.HEAD_SIZE : end])
        at = end


def answered(data: bytes) -> dict[int, bytes]:
    """What a server has sent from the first answer in it on, for each of the streams that have something in that."""
    answers = [frame for frame in frames(data) if frame.kind in (f.HEADERS, f.DATA)]
    return {frame.stream_id: data[answers[0].at :] for frame in answers}


class Wire:
    """
    Listens to what goes through proxies, as far as they keep it: of each exchange, the first 4096 bytes both ways.
    """

    def __init__(self) -> None:
        # what was asked, heads and data, and the answers, by their streams
        self._requests: WeakKeyDictionary[ProxyConnection, dict[int, bytes]] = WeakKeyDictionary()
        self._answers: WeakKeyDictionary[ProxyConnection, dict[int, bytes]] = WeakKeyDictionary()

    def listen(self, proxy: FaultyProxy) -> None:
        """From now on, until it is told to behave."""
        proxy.delay(0, where=self._hear)

    def _hear(self, connection: ProxyConnection) -> bool:
        requests = self._requests.setdefault(connection, {})
        found: dict[int, bytes] = {}
        for frame in frames(connection.request):
            if frame.kind in (f.HEADERS, f.DATA):
                found[frame.stream_id] = found.get(frame.stream_id, b"") + frame.payload
        requests.update((one, request) for one, request in found.items() if len(request) > len(requests.get(one, b"")))
        answers = self._answers.setdefault(connection, {})
        answers.update((one, answer) for one, answer in answered(connection.answer).items() if one in requests)
        # nothing is done to it
        return False

    def requests(self, connection: Any, parts: Iterable[bytes] = ()) -> dict[int, bytes]:
        """
        What was asked, by the streams.

        :param parts: of which one must be in it; if there are none, anything may.
        """
        self._hear(connection)
        wanted = tuple(parts)
        requests = self._requests[connection].items()
        return {one: request for one, request in requests if not wanted or any(part in request for part in wanted)}

    def answers(self, connection: Any, parts: Iterable[bytes] = ()) -> dict[int, bytes]:
        """What the server has sent when it answered such requests, by the streams."""
        wanted = self.requests(connection, parts)
        return {one: answer for one, answer in self._answers[connection].items() if one in wanted}

    def is_answering(self, connection: Any, parts: Iterable[bytes] = ()) -> bool:
        """Whether the server is just answering such a request."""
        return not answered(connection.answer).keys().isdisjoint(self.requests(connection, parts))
