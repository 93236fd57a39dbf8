"""
HTTP/2 for a client of gRPC, without any input or output: bytes in, events out (RFC 9113; sections are of that).

Theory of operation. A :class:`Connection` takes what has arrived (:meth:`~Connection.receive`, which tells what it
means) and gives what is to be sent (:meth:`~Connection.take`). It goes through these states::

    opening --> open --> leaving --> broken

* *opening*: both sides tell their settings. Nothing else is sent before the peer has told its own and has acknowledged
  ours: so a request never goes to something that does not speak HTTP/2, and no header block needs a table.
* *open*: a stream is begun as soon as the peer's limit allows it, in their order; until then it waits, and nothing of
  it was sent.
* *leaving*: the peer has said goodbye, or there are no more numbers for streams. Those that it has begun go on, the
  others were certainly not processed.
* *broken*: the peer has violated the protocol (section 5.4.1), and was told.

Every stream begins with a whole request: one header block and its data. Our side of it is closed then, unless the
stream is to go on until either side resets it, or the peer ends it. Of what comes back, informational headers are
dropped, the headers and the trailers are kept in the stream, and its data are handed over as they come. A stream that
is ended by either side is forgotten at once.

Whatever a peer can make grow has a limit: the size of a frame and of a header block, the data that a stream may bring
before it is asked for more, the frames that mean nothing, and the answers that we owe it.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from . import _frames as f
from ._fields import MAX_BLOCK, NO_FIELDS, FieldReader, Fields

STREAM_WINDOW = 4 * 1024 * 1024
"""Bytes that a stream may bring before it is asked for more: what arrives after it was paused. More than a connection
carries in the time of one round trip, or it would have to wait."""

_REFILL = STREAM_WINDOW // 2

CONNECTION_WINDOW = f.LARGEST_WINDOW
"""... and all streams together: as it pleases, for each of them has its limit."""

MAX_NOISE = 10_000
"""Frames in a row that say nothing: so many no server sends between two that do."""

MAX_OWED = 10_000
"""Answers to pings and settings that wait to be sent: a peer that does not take them must not ask for more."""

_UNLIMITED = 2**32
"""Streams at a time, where the peer sets no limit."""

_MAX_REMEMBERED = 10_000
"""Streams that were reset, and of which something may still arrive."""

# --- events: what receive() tells, each with a stream (or None) and a value

(
    READY,  # the connection is open
    DATA,  # a stream has brought data (bytes)
    ENDED,  # a stream has ended, with headers and trailers
    RESET,  # the peer has ended a stream, with an error code (int)
    FLAWED,  # a stream was ended because of what the peer has sent on it, in words (str)
    UNPROCESSED,  # the peer has certainly not looked at a stream, and will not
    LEAVING,  # no more streams can be begun; with what the peer has said (str)
    PONG,  # a ping was answered
    BROKEN,  # the peer has violated the protocol, in words (str): the connection is to be closed
) = range(9)

Event = tuple[int, Optional["Stream"], Any]


class Violation(Exception):
    """
    What the peer has done wrong.

    :ivar code: as HTTP/2 calls it (``int``).
    """

    def __init__(self, code: int, what: str) -> None:
        super().__init__(what)
        self.code = code


class Stream:
    """
    A request and its answer.

    :ivar owner: whose it is.
    :ivar id: its number; 0 as long as it waits (``int``).
    :ivar headers: the fields that the answer began with; :data:`~txetcd._fields.NO_FIELDS` until they are there.
    :ivar trailers: the fields that it ended with; the same ones if there are no others.
    :ivar is_sent: whether the whole request was given to be sent (``bool``).
    :ivar is_urgent: whether it does not wait behind others (``bool``).
    :ivar renew: makes the header block anew for a request that had to wait; ``None`` if the first one stays good.
    """

    __slots__ = ("owner", "id", "headers", "trailers", "is_sent", "is_urgent", "renew", "_block", "_data", "_last_flag",
                 "_at", "_window", "_credit", "_is_paused", "_missing")  # fmt: skip

    def __init__(self, owner: Any, block: bytes, data: bytes, is_urgent: bool, goes_on: bool) -> None:
        self.owner = owner
        self.id = 0
        self.headers = self.trailers = NO_FIELDS
        self.is_sent = False
        self.is_urgent = is_urgent
        self.renew: Optional[Callable[[], bytes]] = None
        self._block = block
        self._data = data
        # of the frame with the last of the data
        self._last_flag = 0 if goes_on else f.END_STREAM
        # how much of the data was given to be sent, and how much more the peer takes
        self._at = self._window = 0
        # how much the peer may send
        self._credit = STREAM_WINDOW
        self._is_paused = False
        # bytes that are to come by the content-length, if the peer has told one
        self._missing: Optional[int] = None


class Connection:
    """
    See above.

    :ivar is_open: whether streams are begun (``bool``).
    :ivar is_leaving: whether no more streams will be (``bool``).
    :ivar is_broken: whether the peer has violated the protocol (``bool``).
    """

    def __init__(self) -> None:
        self._out: list[bytes] = [
            f.PREFACE,
            f.pack(f.SETTINGS, 0, 0, f.pack_settings(
                (f.HEADER_TABLE_SIZE, 0), (f.ENABLE_PUSH, 0), (f.INITIAL_WINDOW_SIZE, STREAM_WINDOW),
                (f.MAX_HEADER_LIST_SIZE, MAX_BLOCK),
            )),
            f.pack(f.WINDOW_UPDATE, 0, 0, f.pack_word(CONNECTION_WINDOW - f.DEFAULT_WINDOW)),
        ]  # fmt: skip
        self._owed = self._noise = 0
        self._rest = b""
        self._reader = FieldReader()
        # of a header block that is not complete: its stream, the flags it began with, its parts
        self._block: Optional[tuple[int, int, list[bytes]]] = None
        # what the peer takes
        self._limit = _UNLIMITED
        self._frame_size = f.DEFAULT_FRAME_SIZE
        self._initial_window = self._window = f.DEFAULT_WINDOW
        # what we take
        self._credit = CONNECTION_WINDOW
        self._next_id = 1
        self._streams: dict[int, Stream] = {}
        # those that have more to send, in turn, as soon as the peer takes more of all: the urgent ones first ...
        self._blocked: tuple[dict[int, Stream], dict[int, Stream]] = {}, {}
        # ... and those of which it takes no more, though perhaps of others
        self._stalled: dict[int, Stream] = {}
        # those that wait to be begun: who must not wait behind others, and the others
        self._urgent: dict[Stream, None] = {}
        self._waiting: dict[Stream, None] = {}
        # of those that were reset the bytes that may still arrive, and the last one that is not remembered any more
        self._reset: dict[int, int] = {}
        self._last_forgotten = 0
        self._has_settings = self._is_acknowledged = self._is_held = False
        self.is_open = self.is_leaving = self.is_broken = False

    # --- what the client does

    def __len__(self) -> int:
        """How many streams there are, those that wait included."""
        return len(self._streams) + len(self._waiting) + len(self._urgent)

    @property
    def begun(self) -> int:
        """How many of them the peer knows of (``int``)."""
        return len(self._streams)

    @property
    def unsent(self) -> int:
        """How many pieces :meth:`take` has to give: each request is one, or more (``int``)."""
        return len(self._out)

    def take(self) -> bytes:
        """What is to be sent."""
        out, self._out, self._owed = self._out, [], 0
        return b"".join(out)

    def open(
        self, owner: Any, block: bytes, data: bytes, is_urgent: bool = False, goes_on: bool = False
    ) -> Stream:
        """
        Begins a stream, now or when it can be.

        :param owner: whose it is.
        :param block: its header block.
        :param data: what follows it.
        :param is_urgent: whether it does not wait behind others.
        :param goes_on: whether our side of it stays open.
        """
        stream = Stream(owner, block, data, is_urgent, goes_on)
        if not self._waiting and not self._urgent and self._can_begin():
            self._begin(stream)
        else:
            (self._urgent if is_urgent else self._waiting)[stream] = None
        return stream

    def send(self, stream: Stream, data: bytes) -> None:
        """Sends more on a stream that goes on, behind what it has to send already."""
        # what was sent need not be kept
        stream._data, stream._at = stream._data[stream._at :] + data if not stream.is_sent else data, 0
        if stream.is_sent:
            stream.is_sent = False
            self._queue(stream)
            self._send_blocked()

    def reset(self, stream: Stream) -> None:
        """Ends a stream: nothing more of it is told."""
        if not stream.id:
            self._waiting.pop(stream, None)
            self._urgent.pop(stream, None)
        elif self._streams.get(stream.id) is stream:
            self._drop(stream, f.CANCEL)
            self._begin_waiting()

    def pause(self, stream: Stream) -> None:
        """Asks for no more data of a stream."""
        stream._is_paused = True

    def resume(self, stream: Stream) -> None:
        """Asks for more data of a stream again."""
        stream._is_paused = False
        if self._streams.get(stream.id) is stream and stream._credit <= _REFILL:
            self._refill(stream)

    def hold(self) -> None:
        """Begins and continues no streams, because what is to be sent is not taken."""
        self._is_held = True

    def release(self) -> None:
        """Goes on after :meth:`hold`."""
        self._is_held = False
        self._send_blocked()
        self._begin_waiting()

    def forgive(self) -> None:
        """Forgets what the peer has sent to nobody's use: with time it may be much."""
        self._noise = 0

    def ping(self) -> None:
        """Asks for a sign of life."""
        self._out.append(f.pack(f.PING, 0, 0, bytes(8)))

    def withdraw(self) -> list[Stream]:
        """Takes back the streams that wait, of which nothing was sent."""
        waiting = [*self._urgent, *self._waiting]
        self._urgent.clear()
        self._waiting.clear()
        return waiting

    def abandon(self) -> list[Stream]:
        """Takes back all streams: the connection has ended."""
        streams = [*self._streams.values(), *self.withdraw()]
        self._streams.clear()
        for queue in (*self._blocked, self._stalled):
            queue.clear()
        return streams

    # --- sending

    def _can_begin(self) -> bool:
        return self.is_open and not self._is_held and not self.is_leaving and len(self._streams) < self._limit

    def _begin_waiting(self) -> None:
        while (self._urgent or self._waiting) and self._can_begin():
            queue = self._urgent or self._waiting
            stream = next(iter(queue))
            del queue[stream]
            if stream.renew is not None:
                stream._block = stream.renew()
            self._begin(stream)

    def _begin(self, stream: Stream) -> None:
        # Hot: with what it calls, a request of a few bytes costs about a microsecond here.
        stream.id = stream_id = self._next_id
        self._next_id = stream_id + 2
        if stream_id >= f.LARGEST_STREAM_ID:
            self.is_leaving = True
        self._streams[stream_id] = stream
        block, data = stream._block, stream._data
        size, block_size = len(data), len(block)
        if (
            size <= self._window
            and size <= self._initial_window
            # so each of them is; that both are together costs no second look
            and size + block_size <= self._frame_size
        ):
            self._window -= size
            stream._window = self._initial_window - size
            stream.is_sent = True
            head = f.pack_head(f.HEADERS, f.END_HEADERS, stream_id, block_size)
            self._out.append(b"".join((head, block, f.pack_head(f.DATA, stream._last_flag, stream_id, size), data)))
        else:
            self._begin_large(stream)

    def _begin_large(self, stream: Stream) -> None:
        stream._window = self._initial_window
        self._send_block(stream.id, stream._block)
        self._queue(stream)
        self._send_blocked()

    def _send_block(self, stream_id: int, block: bytes) -> None:
        kind, size = f.HEADERS, self._frame_size
        while len(block) > size:
            self._out.append(f.pack(kind, 0, stream_id, block[:size]))
            kind, block = f.CONTINUATION, block[size:]
        self._out.append(f.pack(kind, f.END_HEADERS, stream_id, block))

    def _queue(self, stream: Stream) -> None:
        """It has more to send, and is the last whose turn it is."""
        self._blocked[0 if stream.is_urgent else 1][stream.id] = stream

    def _send_blocked(self) -> None:
        """
        As much as the peer takes of all that have more to send: a frame of each in turn, wherever that stopped the last
        time, so that none waits for another's end; and first of the urgent ones.
        """
        while self._window > 0 and not self._is_held:
            queue = self._blocked[0] or self._blocked[1]
            if not queue:
                return
            stream = queue.pop(next(iter(queue)))
            if stream._window <= 0:
                self._stalled[stream.id] = stream
                continue
            self._send_frame(stream)
            if not stream.is_sent:
                self._queue(stream)

    def _send_frame(self, stream: Stream) -> None:
        left = len(stream._data) - stream._at
        size = min(left, self._frame_size, self._window, stream._window)
        self._noise = 0
        self._window -= size
        stream._window -= size
        piece = stream._data[stream._at : stream._at + size]
        stream._at += size
        stream.is_sent = size == left
        self._out.append(f.pack(f.DATA, stream._last_flag if stream.is_sent else 0, stream.id, piece))

    def _drop(self, stream: Stream, code: int) -> None:
        """Ends a stream from our side."""
        self._out.append(f.pack(f.RST_STREAM, 0, stream.id, f.pack_word(code)))
        self._disown(stream)

    def _disown(self, stream: Stream) -> None:
        """It is no more, but something for it may still arrive."""
        self._forget(stream)
        self._reset[stream.id] = stream._credit
        if len(self._reset) > _MAX_REMEMBERED:
            oldest = next(iter(self._reset))
            del self._reset[oldest]
            self._last_forgotten = max(self._last_forgotten, oldest)

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.id]
        if not stream.is_sent:
            for queue in (*self._blocked, self._stalled):
                queue.pop(stream.id, None)

    def _owe(self, frame: bytes) -> None:
        self._out.append(frame)
        self._owed += 1
        if self._owed > MAX_OWED:
            raise Violation(f.ENHANCE_YOUR_CALM, f"more than {MAX_OWED} answers are owed to it, which it does not take")

    def _refill(self, stream: Stream) -> None:
        self._out.append(f.pack(f.WINDOW_UPDATE, 0, stream.id, f.pack_word(STREAM_WINDOW - stream._credit)))
        stream._credit = STREAM_WINDOW

    # --- receiving

    def receive(self, data: bytes) -> list[Event]:
        """
        Takes what has arrived.

        :returns: what it means, in its order; nothing any more once the connection is broken.
        """
        events: list[Event] = []
        if self.is_broken:
            return events
        try:
            self._rest = self._consume(self._rest + data if self._rest else data, events)
        except Violation as violation:
            self._break(violation, events)
        return events

    def _consume(self, data: bytes, events: list[Event]) -> bytes:
        """Handles the frames in *data*, and returns what is left: the beginning of one."""
        # Hot: with what it calls a microsecond for a frame, and an answer has three.
        unpack, handlers, of_stream = f.unpack_head, _HANDLERS, f.LARGEST_STREAM_ID
        at, end = 0, len(data)
        while end - at >= f.HEAD_SIZE:
            word, flags, stream_id = unpack(data, at)
            size, kind = word >> 8, word & 0xFF
            stream_id &= of_stream
            if not self.is_open or self._block is not None:
                self._check_sequence(kind, stream_id)
            if size > f.DEFAULT_FRAME_SIZE:
                raise Violation(f.FRAME_SIZE_ERROR, f"a frame of {size} bytes, which are more than it may have")
            begin = at + f.HEAD_SIZE
            at = begin + size
            if at > end:
                return data[begin - f.HEAD_SIZE :]
            handle = handlers.get(kind)
            if handle is None:
                self._make_noise()
            else:
                handle(self, flags, stream_id, data[begin:at], events)
        return data[at:]

    def _check_sequence(self, kind: int, stream_id: int) -> None:
        if self._block is not None:
            if kind != f.CONTINUATION or stream_id != self._block[0]:
                raise Violation(f.PROTOCOL_ERROR, "a header block that is interrupted by another frame")
        elif not self._has_settings and kind != f.SETTINGS:
            raise Violation(f.PROTOCOL_ERROR, "not SETTINGS first")

    def _break(self, violation: Violation, events: list[Event]) -> None:
        self.is_broken, self.is_open = True, False
        what = str(violation)
        # the peer has begun no streams
        goodbye = f.pack_word(0) + f.pack_word(violation.code) + what.encode("utf-8")
        self._out = [f.pack(f.GOAWAY, 0, 0, goodbye)]
        events.append((BROKEN, None, f"{what} ({f.error_name(violation.code)})"))

    def _make_noise(self) -> None:
        self._noise += 1
        if self._noise > MAX_NOISE:
            raise Violation(f.ENHANCE_YOUR_CALM, f"more than {MAX_NOISE} frames in a row that say nothing")

    def _on_late(self, flags: int, stream_id: int, size: int, what: str) -> None:
        """Something for no stream there is: fine as far as that was reset, and this was under way (section 5.1)."""
        self._check_not_idle(stream_id, what)
        left = self._reset.get(stream_id)
        if left is None:
            if stream_id > self._last_forgotten:
                raise Violation(f.STREAM_CLOSED, f"{what} on a stream that had ended")
            self._make_noise()
        elif flags & f.END_STREAM:
            # no noise, as many as there may be: every stream ends once
            del self._reset[stream_id]
            self._noise = 0
        elif 0 < size <= left:
            self._reset[stream_id] = left - size
        else:
            self._make_noise()

    def _check_not_idle(self, stream_id: int, what: str) -> None:
        if not stream_id:
            raise Violation(f.PROTOCOL_ERROR, f"{what} that is for no stream")
        if stream_id >= self._next_id or not stream_id & 1:
            raise Violation(f.PROTOCOL_ERROR, f"{what} on a stream that was not begun")

    def _fail(self, stream: Stream, code: int, what: str, events: list[Event]) -> None:
        """A stream error (section 5.4.2)."""
        self._drop(stream, code)
        events.append((FLAWED, stream, f"{what} ({f.error_name(code)})"))
        self._begin_waiting()

    def _end(self, stream: Stream, events: list[Event]) -> None:
        if stream._missing:
            self._fail(stream, f.PROTOCOL_ERROR, "the answer has fewer bytes than its content-length says", events)
            return
        self._forget(stream)
        if not (stream.is_sent and stream._last_flag):
            # it does not want the rest of the request (section 8.1)
            self._out.append(f.pack(f.RST_STREAM, 0, stream.id, f.pack_word(f.CANCEL)))
        events.append((ENDED, stream, None))
        if self._waiting or self._urgent:
            self._begin_waiting()

    # --- frames

    def _on_data(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        size = len(payload)
        self._credit -= size
        if self._credit < CONNECTION_WINDOW // 2:
            self._out.append(f.pack(f.WINDOW_UPDATE, 0, 0, f.pack_word(CONNECTION_WINDOW - self._credit)))
            self._credit = CONNECTION_WINDOW
        if flags & f.PADDED:
            payload = _unpadded(payload)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._on_late(flags, stream_id, size, "DATA")
            return
        stream._credit -= size
        if stream._credit < 0 or stream.headers is NO_FIELDS or stream._missing is not None:
            flaw = self._flaw_of_data(stream, payload)
            if flaw is not None:
                self._fail(stream, *flaw, events)
                return
        if payload:
            self._noise = 0
            events.append((DATA, stream, payload))
        elif not flags & f.END_STREAM:
            self._make_noise()
        if flags & f.END_STREAM:
            stream.trailers = stream.headers
            self._end(stream, events)
        elif stream._credit <= _REFILL and not stream._is_paused:
            self._refill(stream)

    def _flaw_of_data(self, stream: Stream, payload: bytes) -> Optional[tuple[int, str]]:
        """What is wrong with data that come too early, too many, or for an answer whose length was told."""
        if stream._credit < 0:
            return f.FLOW_CONTROL_ERROR, "more data than it was asked for"
        if stream.headers is NO_FIELDS:
            return f.PROTOCOL_ERROR, "data before the headers of the answer"
        stream._missing = (stream._missing or 0) - len(payload)
        if stream._missing < 0:
            return f.PROTOCOL_ERROR, "the answer has more bytes than its content-length says"
        return None

    def _on_headers(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if flags & _UNUSUAL:
            payload = _block_in(flags, payload)
        if flags & f.END_HEADERS:
            self._on_block(flags, stream_id, payload, events)
        elif stream_id:
            self._block = (stream_id, flags, [payload])
        else:
            raise Violation(f.PROTOCOL_ERROR, "HEADERS that are for no stream")

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if self._block is None:
            raise Violation(f.PROTOCOL_ERROR, "CONTINUATION of nothing")
        _, first_flags, parts = self._block
        parts.append(payload)
        self._make_noise()
        if sum(map(len, parts)) > MAX_BLOCK or len(parts) > _MAX_PARTS:
            raise Violation(f.ENHANCE_YOUR_CALM, f"a header block of more than {MAX_BLOCK} bytes or {_MAX_PARTS} parts")
        if flags & f.END_HEADERS:
            self._block = None
            self._on_block(first_flags, stream_id, b"".join(parts), events)

    def _on_block(self, flags: int, stream_id: int, block: bytes, events: list[Event]) -> None:
        try:
            fields = self._reader.read(block)
        except ValueError as error:
            raise Violation(f.COMPRESSION_ERROR, str(error)) from error
        stream = self._streams.get(stream_id)
        if stream is None:
            self._on_late(flags, stream_id, len(block), "HEADERS")
            return
        is_last = flags & f.END_STREAM
        is_first = stream.headers is NO_FIELDS
        if fields.is_head if is_first else fields.is_tail and is_last:
            self._noise = 0
            if is_first:
                stream.headers = fields
                stream._missing = fields.length
            if is_last:
                stream.trailers = fields
                self._end(stream, events)
            return
        flaw = _flaw_of_fields(stream, fields, bool(is_last))
        if flaw is not None:
            self._fail(stream, f.PROTOCOL_ERROR, flaw, events)
        else:
            # informational
            self._make_noise()

    def _on_priority(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        self._make_noise()
        if not stream_id:
            raise Violation(f.PROTOCOL_ERROR, "PRIORITY that is for no stream")
        stream = self._streams.get(stream_id)
        if stream is None:
            # there is nothing that could be reset instead
            _check_size("PRIORITY", payload, 5)
        elif len(payload) != 5:
            self._fail(stream, f.FRAME_SIZE_ERROR, "PRIORITY of a wrong size", events)

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        _check_size("RST_STREAM", payload, 4)
        self._check_not_idle(stream_id, "RST_STREAM")
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._forget(stream)
            (code,) = f.unpack_word(payload)
            events.append(_end_of(stream, code, code == f.REFUSED_STREAM))
            self._begin_waiting()
        elif self._reset.pop(stream_id, None) is None:
            self._make_noise()

    def _on_settings(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if stream_id:
            raise Violation(f.PROTOCOL_ERROR, "SETTINGS that are for a stream")
        self._make_noise()
        if flags & f.ACK:
            _check_size("the acknowledgement of SETTINGS", payload, 0)
            if not self._has_settings:
                raise Violation(f.PROTOCOL_ERROR, "not SETTINGS first")
            self._is_acknowledged = True
        else:
            if len(payload) % 6:
                raise Violation(f.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
            for setting, value in f.unpack_settings(payload):
                # each of them, as one may concern all streams
                self._make_noise()
                self._set(setting, value)
            self._has_settings = True
            self._owe(f.pack(f.SETTINGS, f.ACK, 0))
        if not self.is_open and self._has_settings and self._is_acknowledged:
            self.is_open = True
            events.append((READY, None, None))
        self._send_blocked()
        self._begin_waiting()

    def _set(self, setting: int, value: int) -> None:
        if setting == f.MAX_CONCURRENT_STREAMS:
            self._limit = value
        elif setting == f.ENABLE_PUSH and value:
            raise Violation(f.PROTOCOL_ERROR, f"ENABLE_PUSH of {value} from a server")
        elif setting == f.INITIAL_WINDOW_SIZE:
            self._set_initial_window(value)
        elif setting == f.MAX_FRAME_SIZE:
            if not f.DEFAULT_FRAME_SIZE <= value <= f.LARGEST_FRAME_SIZE:
                raise Violation(f.PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")
            self._frame_size = value

    def _set_initial_window(self, value: int) -> None:
        if value > f.LARGEST_WINDOW:
            raise Violation(f.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE of {value}")
        more = value - self._initial_window
        self._initial_window = value
        for stream in self._streams.values():
            stream._window += more
            if stream._window > f.LARGEST_WINDOW:
                raise Violation(f.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE makes a window too large")
        for stream in [stream for stream in self._stalled.values() if stream._window > 0]:
            self._resume_turns(stream)

    def _resume_turns(self, stream: Stream) -> None:
        """The peer takes more of it again."""
        del self._stalled[stream.id]
        self._queue(stream)

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        raise Violation(f.PROTOCOL_ERROR, "PUSH_PROMISE, which it was told not to send")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        _check_size("PING", payload, 8)
        if stream_id:
            raise Violation(f.PROTOCOL_ERROR, "PING that is for a stream")
        self._make_noise()
        if flags & f.ACK:
            events.append((PONG, None, None))
        else:
            self._owe(f.pack(f.PING, f.ACK, 0, payload))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if stream_id:
            raise Violation(f.PROTOCOL_ERROR, "GOAWAY that is for a stream")
        if len(payload) < 8:
            raise Violation(f.FRAME_SIZE_ERROR, "GOAWAY of a wrong size")
        self._make_noise()
        (last,), (code,) = f.unpack_word(payload), f.unpack_word(payload, 4)
        said = " ".join(payload[8:].decode("utf-8", "replace").split())
        if not self.is_leaving:
            self.is_leaving = True
            events.append((LEAVING, None, f"{f.error_name(code)}{said and f': {said[:_MAX_SAID]}'}"))
        last &= f.LARGEST_STREAM_ID
        for stream in [stream for stream_id, stream in self._streams.items() if stream_id > last]:
            self._disown(stream)
            events.append(_end_of(stream, code, True))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        _check_size("WINDOW_UPDATE", payload, 4)
        self._make_noise()
        (more,) = f.unpack_word(payload)
        more &= f.LARGEST_WINDOW
        if stream_id:
            self._check_not_idle(stream_id, "WINDOW_UPDATE")
            self._widen_stream(stream_id, more, events)
        elif not more:
            raise Violation(f.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
        else:
            self._window += more
            if self._window > f.LARGEST_WINDOW:
                raise Violation(f.FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes the window too large")
            self._send_blocked()

    def _widen_stream(self, stream_id: int, more: int, events: list[Event]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream._window += more
        if not more:
            self._fail(stream, f.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing", events)
        elif stream._window > f.LARGEST_WINDOW:
            self._fail(stream, f.FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes the window too large", events)
        elif stream._window > 0 and stream_id in self._stalled:
            self._resume_turns(stream)
            self._send_blocked()


_UNUSUAL = f.PADDED | f.PRIORITIZED

_MAX_PARTS = 64
"""Frames that a header block may come in."""

_MAX_SAID = 200
"""Characters that are told of what a peer says when it leaves."""


def _unpadded(payload: bytes) -> bytes:
    if not payload:
        raise Violation(f.FRAME_SIZE_ERROR, "a padded frame without the size of its padding")
    if payload[0] >= len(payload):
        raise Violation(f.PROTOCOL_ERROR, "more padding than the frame has bytes")
    return payload[1 : len(payload) - payload[0]]


def _block_in(flags: int, payload: bytes) -> bytes:
    """The header block in HEADERS that hold other things, too (section 6.2)."""
    before = 5 if flags & f.PRIORITIZED else 0
    if len(payload) < before + bool(flags & f.PADDED):
        raise Violation(f.FRAME_SIZE_ERROR, "HEADERS that are too short")
    if flags & f.PADDED:
        payload = _unpadded(payload)
    if len(payload) < before:
        raise Violation(f.PROTOCOL_ERROR, "more padding than the frame has bytes")
    return payload[before:]


def _check_size(what: str, payload: bytes, size: int) -> None:
    if len(payload) != size:
        raise Violation(f.FRAME_SIZE_ERROR, f"{what} of a wrong size")


def _end_of(stream: Stream, code: int, is_unprocessed: bool) -> Event:
    """How a stream has ended by the peer, which cannot know nothing of what it has begun to answer."""
    if is_unprocessed and stream.headers is NO_FIELDS:
        return UNPROCESSED, stream, None
    return RESET, stream, code


def _flaw_of_fields(stream: Stream, fields: Fields, is_last: bool) -> Optional[str]:
    """What is wrong with a header block where it stands (section 8.1)."""
    if fields.flaw is not None:
        return f"the answer {fields.flaw}"
    if stream.headers is not NO_FIELDS:
        if fields.status:
            return "the answer has a second status"
        return None if is_last else "the answer has trailers, and goes on"
    if not fields.status:
        return "the answer has no status"
    if fields.status < 200 and (is_last or fields.status == 101):
        return f"the answer has the status {fields.status}, which is none"
    return None


Handler = Callable[[Connection, int, int, bytes, list[Event]], None]

_HANDLERS: dict[int, Handler] = {
    f.DATA: Connection._on_data,
    f.HEADERS: Connection._on_headers,
    f.PRIORITY: Connection._on_priority,
    f.RST_STREAM: Connection._on_rst_stream,
    f.SETTINGS: Connection._on_settings,
    f.PUSH_PROMISE: Connection._on_push_promise,
    f.PING: Connection._on_ping,
    f.GOAWAY: Connection._on_goaway,
    f.WINDOW_UPDATE: Connection._on_window_update,
    f.CONTINUATION: Connection._on_continuation,
}
