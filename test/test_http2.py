"""
HTTP/2 with the server side of ``h2`` as the other end: whole, byte by byte, and with a tail.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable, Optional

from h2.events import RemoteSettingsChanged, RequestReceived, SettingsAcknowledged, StreamEnded
from h2.settings import SettingCodes
from twisted.trial.unittest import SynchronousTestCase

from test.http2 import (
    ANSWER,
    REQUEST,
    TRAILERS,
    Dialogue,
    answer,
    bytewise,
    data,
    frames,
    headers,
    last,
    opened,
    settings,
    told,
    whole,
    with_tail,
    word,
)
from txetcd import _frames as f
from txetcd import _http2 as http2
from txetcd._fields import MAX_BLOCK, encode
from txetcd._grpc import request_block
from txetcd._http2 import (
    BROKEN,
    CONNECTION_WINDOW,
    DATA,
    ENDED,
    FLAWED,
    LEAVING,
    PONG,
    READY,
    RESET,
    STREAM_WINDOW,
    UNPROCESSED,
    Connection,
)

LIMIT = SettingCodes.MAX_CONCURRENT_STREAMS
WINDOW = SettingCodes.INITIAL_WINDOW_SIZE
FRAME = SettingCodes.MAX_FRAME_SIZE

Values = Optional[dict[int, int]]


def patterned(size: int) -> bytes:
    """That many bytes, with no two places alike that could be taken for each other."""
    return b"".join(b"%8d" % number for number in range(size // 8 + 1))[:size]


class Conversations:
    """
    Run by the classes below, each of which cuts what arrives in its own way.
    """

    cut: Callable[[bytes, bytes], Any]
    assertEqual: Any
    assertIs: Any
    assertIn: Any
    assertTrue: Any
    assertFalse: Any
    assertLessEqual: Any
    patch: Any

    def dialogue(self, values: Values = None) -> Dialogue:
        dialogue = Dialogue(type(self).cut, values)
        self.assertEqual([(READY, None, None)], dialogue.new())
        return dialogue

    # --- the beginning

    def test_handshake(self) -> None:
        dialogue = Dialogue(type(self).cut)
        self.assertFalse(dialogue.client.is_open)
        self.assertEqual([(READY, None, None)], dialogue.new())
        self.assertTrue(dialogue.client.is_open)
        (changed,) = [event for event in dialogue.heard if isinstance(event, RemoteSettingsChanged)]
        self.assertEqual(1, sum(isinstance(event, SettingsAcknowledged) for event in dialogue.heard))
        self.assertEqual(
            {
                SettingCodes.HEADER_TABLE_SIZE: 0,
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_BLOCK,
            },
            {code: setting.new_value for code, setting in changed.changed_settings.items()},
        )
        self.assertEqual(CONNECTION_WINDOW, dialogue.server.outbound_flow_control_window)

    def test_nothing_is_sent_before_the_server_has_shown_what_it_is(self) -> None:
        client = Connection()
        client.open("a", REQUEST, b"data")
        first = client.take()
        self.assertTrue(first.startswith(f.PREFACE))
        kinds = [frame.kind for frame in frames(first[len(f.PREFACE) :])]
        self.assertEqual([f.SETTINGS, f.WINDOW_UPDATE], kinds)
        # its own settings are not enough: it has to acknowledge ours
        self.assertEqual([], client.receive(settings()))
        self.assertEqual([(f.SETTINGS, f.ACK)], [frame[:2] for frame in frames(client.take())])
        self.assertEqual([(READY, None, None)], client.receive(f.pack(f.SETTINGS, f.ACK, 0)))
        self.assertEqual([f.HEADERS, f.DATA], [frame.kind for frame in frames(client.take())])

    def test_acknowledged_first(self) -> None:
        """The order of the two, once it has begun with SETTINGS, is the server's own."""
        client = Connection()
        events = client.receive(settings() + settings((f.MAX_CONCURRENT_STREAMS, 1)) + f.pack(f.SETTINGS, f.ACK, 0))
        self.assertEqual([(READY, None, None)], events)

    # --- calls

    def test_call(self) -> None:
        dialogue = self.dialogue()
        stream = dialogue.open("a")
        self.assertTrue(stream.is_sent)
        self.assertEqual((1, 1), (stream.id, len(dialogue.client)))
        (request,) = [event for event in dialogue.heard if isinstance(event, RequestReceived)]
        self.assertIn((b":path", b"/etcdserverpb.KV/Range"), request.headers)
        self.assertEqual(b"request", dialogue.received(1))
        self.assertEqual(1, sum(isinstance(event, StreamEnded) for event in dialogue.heard))
        dialogue.answer(1)
        self.assertEqual([(DATA, "a", b"answer"), (ENDED, "a", None)], dialogue.new())
        self.assertEqual((200, 0), (stream.headers.status, stream.trailers.grpc_status))
        self.assertEqual(0, len(dialogue.client))

    def test_request_without_data(self) -> None:
        dialogue = self.dialogue()
        self.assertTrue(dialogue.open("a", b"").is_sent)
        self.assertEqual(1, sum(isinstance(event, StreamEnded) for event in dialogue.heard))

    def test_many_at_a_time(self) -> None:
        dialogue = self.dialogue({LIMIT: 1000})
        for number in range(200):
            dialogue.client.open(number, REQUEST, b"%d" % number)
        ids = list(range(1, 400, 2))
        self.assertEqual(ids, dialogue.begun())
        for stream_id in ids:
            dialogue.server.send_headers(stream_id, ANSWER)
        for stream_id in reversed(ids):
            dialogue.server.send_data(stream_id, b"%d" % stream_id)
        for stream_id in ids:
            dialogue.server.send_headers(stream_id, TRAILERS, end_stream=True)
        events = dialogue.new()
        self.assertEqual([(DATA, i // 2, b"%d" % i) for i in reversed(ids)], events[:200])
        self.assertEqual([(ENDED, i // 2, None) for i in ids], events[200:])
        self.assertEqual(0, len(dialogue.client))

    def test_trailers_only(self) -> None:
        dialogue = self.dialogue()
        stream = dialogue.open("a")
        dialogue.server.send_headers(1, [*ANSWER, (b"grpc-status", b"5")], end_stream=True)
        self.assertEqual([(ENDED, "a", None)], dialogue.new())
        self.assertIs(stream.headers, stream.trailers)
        self.assertEqual(5, stream.trailers.grpc_status)

    def test_no_trailers(self) -> None:
        dialogue = self.dialogue()
        stream = dialogue.open("a")
        dialogue.server.send_headers(1, ANSWER)
        dialogue.server.send_data(1, b"x", end_stream=True)
        self.assertEqual([(DATA, "a", b"x"), (ENDED, "a", None)], dialogue.new())
        self.assertIs(stream.headers, stream.trailers)

    def test_informational(self) -> None:
        dialogue = self.dialogue()
        stream = dialogue.open("a")
        for status in (b"100", b"103", b"199"):
            dialogue.server.send_headers(1, [(b":status", status), (b"link", b"x")])
        dialogue.answer(1)
        self.assertEqual([(DATA, "a", b"answer"), (ENDED, "a", None)], dialogue.new())
        self.assertEqual(200, stream.headers.status)

    def test_padding(self) -> None:
        dialogue = self.dialogue()
        dialogue.open("a")
        dialogue.server.send_headers(1, ANSWER)
        dialogue.server.send_data(1, b"answer", pad_length=200)
        dialogue.server.send_data(1, b"", pad_length=0)
        dialogue.server.send_data(1, b"", pad_length=255, end_stream=True)
        self.assertEqual([(DATA, "a", b"answer"), (ENDED, "a", None)], dialogue.new())

    def test_padded_headers(self) -> None:
        """``h2`` does not send them: by hand, with and without a priority."""
        block = encode(ANSWER)
        for flags, payload in (
            (f.PADDED, b"\x03" + block + bytes(3)),
            (f.PRIORITIZED, bytes(5) + block),
            (f.PADDED | f.PRIORITIZED, b"\x00" + bytes(5) + block),
            (f.PADDED | f.PRIORITIZED, b"\xff" + bytes(5) + block + bytes(255)),
        ):
            dialogue = self.dialogue()
            dialogue.open("a")
            dialogue.feed(f.pack(f.HEADERS, f.END_HEADERS | f.END_STREAM | flags, 1, payload))
            self.assertEqual([(ENDED, "a", None)], dialogue.new())

    def test_continuation(self) -> None:
        dialogue = self.dialogue()
        stream = dialogue.open("a")
        dialogue.server.send_headers(1, ANSWER)
        message = patterned(40_000).decode()
        dialogue.server.send_headers(1, [*TRAILERS, (b"grpc-message", message.encode())], end_stream=True)
        self.assertEqual([(ENDED, "a", None)], dialogue.new())
        self.assertEqual(" ".join(message.split()), " ".join(stream.trailers.values["grpc-message"].split()))

    def test_content_length(self) -> None:
        dialogue = self.dialogue()
        dialogue.open("a")
        dialogue.server.send_headers(1, [(b":status", b"404"), (b"content-length", b"9")])
        dialogue.server.send_data(1, b"not ")
        dialogue.server.send_data(1, b"found", end_stream=True)
        self.assertEqual([(DATA, "a", b"not "), (DATA, "a", b"found"), (ENDED, "a", None)], dialogue.new())

    def test_ping(self) -> None:
        dialogue = self.dialogue()
        dialogue.client.ping()
        self.assertEqual([(PONG, None, None)], dialogue.new())
        dialogue.server.ping(b"12345678")
        dialogue.pump()
        self.assertIn((f.PING, f.ACK, 0, b"12345678"), dialogue.sent)

    # --- large requests

    def test_large_request(self) -> None:
        """Cut to the windows and the frames of the server."""
        for values in ({WINDOW: 1000}, {WINDOW: 100_000}, {FRAME: 20_000}, {WINDOW: 1, FRAME: 16_384}):
            request = patterned(500 if values.get(WINDOW) == 1 else 100_000)
            dialogue = self.dialogue(values)
            stream = dialogue.open("a", request)
            self.assertFalse(stream.is_sent)
            self.assertEqual(min(65_535, values.get(WINDOW, 65_535)), len(dialogue.received(1)))
            dialogue.take_requests()
            self.assertTrue(stream.is_sent)
            self.assertEqual(request, dialogue.taken[1])
            sizes = [len(frame.payload) for frame in dialogue.sent if frame.kind == f.DATA]
            self.assertLessEqual(max(sizes), values.get(FRAME, 16_384))
            self.assertLessEqual(sizes[0], min(values.get(WINDOW, 65_535), values.get(FRAME, 16_384)))
            dialogue.answer(1)
            self.assertEqual([(DATA, "a", b"answer"), (ENDED, "a", None)], dialogue.new())

    def test_several_large_requests(self) -> None:
        """They share the window of the connection, and a small one does not wait for their end."""
        dialogue = self.dialogue()
        requests = {stream_id: patterned(60_000 + stream_id) for stream_id in (1, 3, 5)}
        for owner, request in requests.items():
            dialogue.open(owner, request)
        small = dialogue.open("small", b"s")
        self.assertFalse(small.is_sent)
        dialogue.take_requests()
        self.assertTrue(small.is_sent)
        self.assertEqual({**requests, 7: b"s"}, dialogue.taken)

    def test_blocked_ones_take_turns(self) -> None:
        client = opened()
        for owner in "abc":
            client.open(owner, REQUEST, bytes(100_000))
        client.take()
        client.receive(word(f.WINDOW_UPDATE, 0, 2**30))
        client.receive(b"".join(word(f.WINDOW_UPDATE, stream_id, 1) for stream_id in (1, 3, 5)))
        client.take()
        client.receive(settings((f.INITIAL_WINDOW_SIZE, 200_000)))
        order = [frame.stream_id for frame in frames(client.take()) if frame.kind == f.DATA]
        self.assertEqual([1, 3, 5, 1, 3, 5], order[:6])

    def test_turns_go_on(self) -> None:
        """Also if the peer takes one frame at a time, as etcd does; whatever is large waits for nobody's end."""
        client = opened((f.INITIAL_WINDOW_SIZE, 2**22))
        for owner in "abc":
            client.open(owner, REQUEST, bytes(200_000))
        client.take()
        order = []
        for _ in range(9):
            client.receive(word(f.WINDOW_UPDATE, 0, 16_384))
            order += [frame.stream_id for frame in frames(client.take()) if frame.kind == f.DATA]
        # the first one has had all of the window that there was
        self.assertEqual([1, 3, 5] * 3, order)

    def test_urgent_ones_go_first(self) -> None:
        """Also behind those that have begun."""
        client = opened((f.INITIAL_WINDOW_SIZE, 2**22))
        large = [client.open(number, REQUEST, bytes(1_000_000)) for number in range(20)]
        urgent = client.open("urgent", REQUEST, bytes(20), True)
        client.receive(word(f.WINDOW_UPDATE, 0, 100))
        self.assertTrue(urgent.is_sent)
        self.assertFalse(any(stream.is_sent for stream in large))

    def test_one_that_the_peer_takes_no_more_of(self) -> None:
        """... does not keep the others from their turns, and comes back when it does."""
        client = opened((f.INITIAL_WINDOW_SIZE, 70_000))
        first = client.open("first", REQUEST, bytes(100_000))
        second = client.open("second", REQUEST, bytes(60_000))
        client.receive(word(f.WINDOW_UPDATE, 0, 2**20))
        self.assertEqual((first.is_sent, second.is_sent), (False, True))
        small = client.open("small", REQUEST, bytes(10))
        self.assertTrue(small.is_sent)
        client.take()
        client.receive(word(f.WINDOW_UPDATE, 1, 30_000))
        self.assertTrue(first.is_sent)

    def test_one_that_goes_on(self) -> None:
        """Our side of it stays open; when the peer ends it, nothing of it is left."""
        for size in (10, 60_000):
            dialogue = self.dialogue()
            stream = dialogue.client.open("a", REQUEST, patterned(size), goes_on=True)
            self.assertEqual(patterned(size), dialogue.received(1))
            self.assertTrue(stream.is_sent)
            self.assertFalse(any(isinstance(event, StreamEnded) for event in dialogue.heard))
            dialogue.server.send_headers(1, ANSWER, end_stream=True)
            dialogue.pump()
            self.assertEqual(0, len(dialogue.client))
            self.assertEqual({}, dialogue.client._reset)
            self.assertEqual([f.RST_STREAM], [frame.kind for frame in dialogue.sent if frame.stream_id == 1][-1:])

    def test_more_of_one_that_goes_on(self) -> None:
        """Behind what was sent already, or is still to be; as much at a time as the server takes."""
        for first, window in ((0, 65_535), (10, 65_535), (10, 7), (60_000, 65_535), (200_000, 65_535)):
            dialogue = self.dialogue({WINDOW: window})
            request = patterned(300_000)
            stream = dialogue.client.open("a", REQUEST, request[:first], goes_on=True)
            sizes = (1, 20, 5_000, 80_000)
            at = first
            for number, size in enumerate(sizes):
                if number % 2:
                    dialogue.pump()
                dialogue.client.send(stream, request[at : at + size])
                at += size
            dialogue.take_requests()
            self.assertEqual(request[:at], dialogue.taken[1])
            self.assertTrue(stream.is_sent)
            dialogue.client.send(stream, b"last")
            dialogue.take_requests()
            self.assertEqual(request[:at] + b"last", dialogue.taken[1])
            self.assertFalse(any(isinstance(event, StreamEnded) for event in dialogue.heard))
            dialogue.client.reset(stream)
            self.assertEqual(0, len(dialogue.client))

    def test_more_of_one_that_waits(self) -> None:
        """It is sent with the rest, when its turn has come."""
        dialogue = self.dialogue({LIMIT: 1})
        first = dialogue.client.open("a", REQUEST, b"first", goes_on=True)
        second = dialogue.client.open("b", REQUEST, b"second", goes_on=True)
        dialogue.client.send(second, b" and")
        dialogue.client.send(second, b" more")
        dialogue.pump()
        self.assertEqual((second.id, second.is_sent), (0, False))
        dialogue.client.reset(first)
        self.assertEqual(b"second and more", dialogue.received(3))

    def test_others_have_their_turns(self) -> None:
        """What goes on for long does not keep anybody waiting."""
        dialogue = self.dialogue()
        long = dialogue.client.open("a", REQUEST, b"", goes_on=True)
        dialogue.client.send(long, bytes(1_000_000))
        dialogue.open("b", bytes(100))
        dialogue.take_requests()
        self.assertEqual(bytes(100), dialogue.taken[3])

    def test_large_header_block(self) -> None:
        """In as many frames as it takes."""
        dialogue = self.dialogue()
        for size in (16_000, 16_384, 40_000):
            block = REQUEST + encode([(b"token", b"t" * (size - len(REQUEST) - 10))])
            dialogue.client.open(size, block, b"x")
            dialogue.pump()
        requests = [event for event in dialogue.heard if isinstance(event, RequestReceived)]
        self.assertEqual([1, 3, 5], [request.stream_id for request in requests])
        self.assertEqual(40_000 - len(REQUEST) - 10, len(dict(requests[2].headers)[b"token"]))
        count = Counter(frame.kind for frame in dialogue.sent if frame.stream_id == 5)
        self.assertEqual({f.HEADERS: 1, f.CONTINUATION: 2, f.DATA: 1}, count)
        self.assertEqual(b"x", dialogue.received(5))

    def test_initial_window_changes(self) -> None:
        """Of streams that are blocked: to something negative, to nothing, to enough."""
        dialogue = self.dialogue({WINDOW: 1000})
        request = patterned(3000)
        stream = dialogue.open("a", request)
        self.assertEqual(1000, len(dialogue.received(1)))
        for window, sent in ((400, 1000), (1000, 1000), (1010, 1010), (0, 1010), (1009, 1010), (2000, 2000)):
            dialogue.server.update_settings({WINDOW: window})
            self.assertEqual(request[:sent], dialogue.received(1), window)
        self.assertFalse(stream.is_sent)
        # what is begun now has the new one
        dialogue.server.update_settings({WINDOW: 5})
        dialogue.pump()
        other = dialogue.open("b", b"123456")
        self.assertEqual(b"12345", dialogue.received(3))
        dialogue.server.update_settings({WINDOW: 3000})
        self.assertEqual((request, b"123456"), (dialogue.received(1), dialogue.received(3)))
        self.assertTrue(stream.is_sent and other.is_sent)

    def test_frame_size_changes(self) -> None:
        dialogue = self.dialogue({WINDOW: 60_000})
        dialogue.server.update_settings({FRAME: 30_000})
        dialogue.pump()
        dialogue.open("a", bytes(60_000))
        sizes = [len(frame.payload) for frame in dialogue.sent if frame.kind == f.DATA]
        self.assertEqual([30_000, 30_000], sizes)

    def test_settings_that_are_not_ours(self) -> None:
        client = opened((f.HEADER_TABLE_SIZE, 0), (f.ENABLE_PUSH, 0), (f.MAX_HEADER_LIST_SIZE, 1), (0x99, 7))
        self.assertTrue(client.is_open)

    # --- large answers

    def small_windows(self) -> None:
        self.patch(http2, "STREAM_WINDOW", 30_000)
        self.patch(http2, "_REFILL", 15_000)

    def test_large_answer(self) -> None:
        self.small_windows()
        dialogue = self.dialogue()
        dialogue.open("a")
        payload = patterned(200_000)
        dialogue.server.send_headers(1, ANSWER)
        self.assertEqual(b"", dialogue.send_much(1, payload))
        self.assertEqual(payload, b"".join(value for event, _, value in dialogue.new() if event == DATA))

    def test_pause(self) -> None:
        """No more than a window comes while a stream is paused; others go on."""
        self.small_windows()
        dialogue = self.dialogue()
        stream, _ = dialogue.open("a"), dialogue.open("b")
        dialogue.client.pause(stream)
        payload = patterned(100_000)
        for stream_id in (1, 3):
            dialogue.server.send_headers(stream_id, ANSWER)
        left = dialogue.send_much(1, payload)
        self.assertEqual(70_000, len(left))
        self.assertEqual(b"", dialogue.send_much(3, payload))
        dialogue.client.resume(stream)
        dialogue.pump()
        self.assertEqual(b"", dialogue.send_much(1, left))
        came = [(owner, value) for event, owner, value in dialogue.new() if event == DATA]
        self.assertEqual({"a", "b"}, {owner for owner, _ in came})
        for owner in "ab":
            self.assertEqual(payload, b"".join(value for other, value in came if other == owner))

    def test_resume_early(self) -> None:
        """One that has room left needs no more; nor does one that waits, or has ended."""
        self.small_windows()
        dialogue = self.dialogue({LIMIT: 1})
        stream = dialogue.open("a")
        waiting = dialogue.open("b")
        dialogue.client.pause(stream)
        dialogue.server.send_headers(1, ANSWER)
        dialogue.server.send_data(1, bytes(100))
        dialogue.pump()
        for each in (stream, waiting):
            dialogue.client.resume(each)
        self.assertEqual(dialogue.client.unsent, 0)
        dialogue.server.end_stream(1)
        dialogue.pump()
        stream._credit = 0
        dialogue.client.resume(stream)
        self.assertEqual(dialogue.client.unsent, 0)

    def test_window_of_the_connection(self) -> None:
        """It is filled up when half of it is used, padding included."""
        dialogue = self.dialogue()
        dialogue.open("a")
        dialogue.client._credit = CONNECTION_WINDOW // 2 + 100
        dialogue.server.outbound_flow_control_window = dialogue.client._credit
        dialogue.server.send_headers(1, ANSWER)
        dialogue.server.send_data(1, bytes(90), pad_length=9)
        dialogue.pump()
        self.assertEqual(CONNECTION_WINDOW // 2, dialogue.client._credit)
        dialogue.server.send_data(1, b"", pad_length=0)
        dialogue.pump()
        self.assertEqual(CONNECTION_WINDOW, dialogue.client._credit)
        self.assertEqual(CONNECTION_WINDOW, dialogue.server.outbound_flow_control_window)

    # --- how many at a time

    def test_limit(self) -> None:
        dialogue = self.dialogue({LIMIT: 2})
        for owner in "abcde":
            stream = dialogue.open(owner)
        self.assertEqual(([1, 3], 0, False), (dialogue.begun(), stream.id, stream.is_sent))
        self.assertEqual(5, len(dialogue.client))
        dialogue.answer(3)
        self.assertEqual([1, 3, 5], dialogue.begun())
        dialogue.answer(1)
        dialogue.answer(5)
        self.assertEqual([1, 3, 5, 7, 9], dialogue.begun())
        self.assertEqual((9, True), (stream.id, stream.is_sent))

    def test_renewed(self) -> None:
        """What has waited has a header block of the moment in which it is begun."""
        dialogue = self.dialogue({LIMIT: 1})
        streams = [dialogue.open(owner) for owner in "abc"]
        blocks = [request_block(False, "etcd", "/method", milliseconds, "", False) for milliseconds in (5000, 4000)]
        for stream in streams[:2]:
            stream.renew = blocks.pop
        dialogue.answer(1)
        dialogue.answer(3)
        self.assertEqual([1, 3, 5], dialogue.begun())
        requests = [dict(event.headers) for event in dialogue.heard if isinstance(event, RequestReceived)]
        told = [fields[b"grpc-timeout"] for fields in requests]
        self.assertEqual([b"5000m", b"4000m", b"5000m"], told)

    def test_limit_of_none(self) -> None:
        dialogue = self.dialogue({LIMIT: 0})
        dialogue.open("a")
        self.assertEqual([], dialogue.begun())
        dialogue.server.update_settings({LIMIT: 1})
        self.assertEqual([1], dialogue.begun())

    def test_limit_changes(self) -> None:
        dialogue = self.dialogue({LIMIT: 3})
        for owner in "abcdefgh":
            dialogue.open(owner)
        self.assertEqual([1, 3, 5], dialogue.begun())
        dialogue.server.update_settings({LIMIT: 1})
        for stream_id in (1, 3):
            dialogue.answer(stream_id)
            self.assertEqual([1, 3, 5], dialogue.begun())
        dialogue.answer(5)
        self.assertEqual([1, 3, 5, 7], dialogue.begun())
        dialogue.server.update_settings({LIMIT: 4})
        self.assertEqual([1, 3, 5, 7, 9, 11, 13], dialogue.begun())

    def test_urgent(self) -> None:
        """Before the others, in their own order."""
        dialogue = self.dialogue({LIMIT: 1})
        for owner in ("first", "a", "b", "urgent 1", "c", "urgent 2"):
            dialogue.open(owner, is_urgent=owner.startswith("urgent"))
        for stream_id in (1, 3, 5, 7, 9, 11):
            dialogue.answer(stream_id)
        ended = [owner for event, owner, _ in dialogue.new() if event == ENDED]
        self.assertEqual(["first", "urgent 1", "urgent 2", "a", "b", "c"], ended)

    # --- the ends that are no answers

    def test_reset_by_the_server(self) -> None:
        for code, event in ((2, (RESET, "a", 2)), (0, (RESET, "a", 0)), (7, (UNPROCESSED, "a", None))):
            dialogue = self.dialogue({LIMIT: 1})
            dialogue.open("a")
            dialogue.open("b")
            dialogue.server.reset_stream(1, code)
            self.assertEqual([event], dialogue.new())
            # its place is free
            self.assertEqual([1, 3], dialogue.begun())

    def test_refused_after_it_was_answered(self) -> None:
        """What is answered was looked at, whatever the server says."""
        dialogue = self.dialogue()
        dialogue.open("a")
        dialogue.server.send_headers(1, ANSWER)
        dialogue.server.reset_stream(1, 7)
        self.assertEqual([(RESET, "a", 7)], dialogue.new())

    def test_goodbye(self) -> None:
        """Those that it has begun go on, those that wait are not begun, and what it says is told."""
        dialogue = self.dialogue({LIMIT: 2})
        streams = [dialogue.open(owner) for owner in "abc"]
        payload = f.pack_word(3) + f.pack_word(0) + b"\nbye  \xff"
        dialogue.feed(f.pack(f.GOAWAY, 0, 0, payload))
        self.assertEqual([(LEAVING, None, "NO_ERROR: bye \ufffd")], dialogue.new())
        self.assertTrue(dialogue.client.is_leaving)
        for stream_id in (1, 3):
            dialogue.answer(stream_id)
        self.assertEqual(["a", "b"], [owner for event, owner, _ in dialogue.new() if event == ENDED])
        self.assertEqual([1, 3], dialogue.begun())
        self.assertEqual([streams[2]], dialogue.client.withdraw())
        self.assertEqual(0, len(dialogue.client))

    def test_goodbye_to_some(self) -> None:
        """In two steps, as a server does that stops in peace."""
        dialogue = self.dialogue()
        for owner in "abc":
            dialogue.open(owner)
        dialogue.feed(f.pack(f.GOAWAY, 0, 0, f.pack_word(2**31 - 1) + f.pack_word(0)))
        self.assertEqual([(LEAVING, None, "NO_ERROR")], dialogue.new())
        dialogue.feed(f.pack(f.GOAWAY, 0, 0, f.pack_word(1) + f.pack_word(0)))
        self.assertEqual([(UNPROCESSED, "b", None), (UNPROCESSED, "c", None)], dialogue.new())
        # nothing is thought of what it sends for them nevertheless
        dialogue.server.send_headers(3, ANSWER)
        dialogue.answer(1)
        self.assertEqual([(DATA, "a", b"answer"), (ENDED, "a", None)], dialogue.new())

    def test_goodbye_to_one_that_was_answered(self) -> None:
        dialogue = self.dialogue()
        dialogue.open("a")
        dialogue.server.send_headers(1, ANSWER)
        dialogue.server.close_connection(11, b"x" * 1000, 0)
        said = "ENHANCE_YOUR_CALM: " + "x" * 200
        self.assertEqual([(LEAVING, None, said), (RESET, "a", 11)], dialogue.new())

    def test_goodbye_before_hello(self) -> None:
        client = Connection()
        client.open("a", REQUEST, b"")
        goodbye = f.pack(f.GOAWAY, 0, 0, f.pack_word(0) + f.pack_word(0x77))
        events = client.receive(settings() + goodbye + f.pack(f.SETTINGS, f.ACK, 0))
        self.assertEqual([(LEAVING, None, "error 0x77"), (READY, None, None)], events)
        self.assertEqual(1, len(client.withdraw()))

    def test_early_end(self) -> None:
        """The server answers without the rest of the request, which is not sent any more then."""
        dialogue = self.dialogue()
        stream = dialogue.open("a", bytes(100_000))
        dialogue.server.send_headers(1, [*ANSWER, (b"grpc-status", b"8")], end_stream=True)
        self.assertEqual([(ENDED, "a", None)], dialogue.new())
        self.assertFalse(stream.is_sent)
        self.assertEqual((f.RST_STREAM, 0, 1, f.pack_word(f.CANCEL)), dialogue.sent[-1])
        dialogue.server.acknowledge_received_data(60_000, 1)
        dialogue.feed(word(f.WINDOW_UPDATE, 1, 1000) + word(f.RST_STREAM, 1, 0))
        self.assertEqual([], dialogue.new())
        self.assertEqual(0, len(dialogue.client))
        dialogue.open("b")
        dialogue.answer(3)
        self.assertEqual([(DATA, "b", b"answer"), (ENDED, "b", None)], dialogue.new())

    def test_numbers_run_out(self) -> None:
        dialogue = self.dialogue()
        dialogue.client._next_id = 2**31 - 3
        streams = [dialogue.open(owner) for owner in "abc"]
        self.assertEqual([2**31 - 3, 2**31 - 1, 0], [stream.id for stream in streams])
        self.assertTrue(dialogue.client.is_leaving)
        self.assertEqual([streams[2]], dialogue.client.withdraw())
        for stream in streams[:2]:
            dialogue.answer(stream.id)
        self.assertEqual(["a", "b"], [owner for event, owner, _ in dialogue.new() if event == ENDED])

    # --- the client's own ways to end

    def test_reset(self) -> None:
        """One that waits, one that is begun, one that is blocked; what arrives late is dropped."""
        dialogue = self.dialogue({LIMIT: 3, WINDOW: 100})
        begun, _, blocked = dialogue.open("begun"), dialogue.open("other"), dialogue.open("blocked", bytes(1000))
        waiting, urgent = dialogue.open("waiting"), dialogue.open("urgent", is_urgent=True)
        for stream in (waiting, urgent):
            dialogue.client.reset(stream)
        self.assertEqual(dialogue.client.unsent, 0)
        self.assertEqual(3, len(dialogue.client))
        for stream in (begun, blocked):
            dialogue.client.reset(stream)
            # once is enough
            dialogue.client.reset(stream)
        for stream_id in (1, 5):
            dialogue.server.send_headers(stream_id, ANSWER)
            dialogue.server.send_data(stream_id, bytes(100))
            dialogue.server.increment_flow_control_window(1000, stream_id)
        dialogue.server.send_headers(1, TRAILERS, end_stream=True)
        self.assertEqual([], dialogue.new())
        reset = [(frame.stream_id, frame.word) for frame in dialogue.sent if frame.kind == f.RST_STREAM]
        self.assertEqual([(1, f.CANCEL), (5, f.CANCEL)], reset)
        self.assertEqual(1, len(dialogue.client))
        dialogue.answer(3)
        self.assertEqual([(DATA, "other", b"answer"), (ENDED, "other", None)], dialogue.new())

    def test_reset_makes_place(self) -> None:
        dialogue = self.dialogue({LIMIT: 1})
        stream, _ = dialogue.open("a"), dialogue.open("b")
        dialogue.client.reset(stream)
        self.assertEqual([1, 3], dialogue.begun())

    def test_hold(self) -> None:
        """Nothing is begun nor continued meanwhile, and all of it afterwards."""
        dialogue = self.dialogue()
        blocked = dialogue.open("blocked", bytes(70_000))
        dialogue.client.hold()
        waiting = dialogue.open("waiting")
        dialogue.server.increment_flow_control_window(100_000)
        dialogue.server.increment_flow_control_window(100_000, 1)
        dialogue.pump()
        self.assertEqual(([1], 65_535), (dialogue.begun(), len(dialogue.received(1))))
        dialogue.client.release()
        self.assertEqual(([1, 3], 70_000), (dialogue.begun(), len(dialogue.received(1))))
        self.assertTrue(blocked.is_sent and waiting.is_sent)

    def test_withdraw(self) -> None:
        dialogue = self.dialogue({LIMIT: 1})
        streams = [dialogue.open(owner, is_urgent=owner == "c") for owner in "abc"]
        self.assertEqual([streams[2], streams[1]], dialogue.client.withdraw())
        self.assertEqual(([], 1), (dialogue.client.withdraw(), len(dialogue.client)))
        dialogue.answer(1)
        self.assertEqual([1], dialogue.begun())

    def test_abandon(self) -> None:
        dialogue = self.dialogue({LIMIT: 2})
        streams = [dialogue.open("a"), dialogue.open("b", bytes(100_000)), dialogue.open("c")]
        self.assertEqual(streams, dialogue.client.abandon())
        self.assertEqual(([], 0), (dialogue.client.abandon(), len(dialogue.client)))
        for stream in streams:
            dialogue.client.reset(stream)
            dialogue.client.resume(stream)
        dialogue.client.release()
        self.assertEqual(dialogue.client.unsent, 0)


class WholeTests(Conversations, SynchronousTestCase):
    """What arrives at once is received at once."""

    cut = staticmethod(whole)


class BytewiseTests(Conversations, SynchronousTestCase):
    """Byte by byte."""

    cut = staticmethod(bytewise)


class TailTests(Conversations, SynchronousTestCase):
    """The end of what arrives comes with what follows."""

    cut = staticmethod(with_tail)


class LateTests(SynchronousTestCase):
    """What arrives for streams that were reset (section 5.1)."""

    def test_many_cancelled_at_once(self) -> None:
        """All their answers were under way: that is no flood."""
        connection = opened()
        streams = [connection.open(number, REQUEST, b"") for number in range(8000)]
        survivor = connection.open("survivor", REQUEST, b"")
        for stream in streams:
            connection.reset(stream)
        late = b"".join(answer(stream.id, b"12345") for stream in streams)
        self.assertEqual([], connection.receive(late))
        self.assertEqual({}, connection._reset)
        events = told(connection.receive(answer(survivor.id)))
        self.assertEqual([(ENDED, "survivor", None)], events)

    def test_many_that_do_not_end(self) -> None:
        """... as where the server hears of it in the middle."""
        connection = opened()
        streams = [connection.open(number, REQUEST, b"") for number in range(9000)]
        for stream in streams:
            connection.reset(stream)
        late = b"".join(headers(stream.id, ANSWER) + data(stream.id, b"12") for stream in streams)
        self.assertEqual([], connection.receive(late))
        self.assertEqual(0, connection._noise)
        self.assertEqual([], connection.receive(b"".join(word(f.RST_STREAM, stream.id, 8) for stream in streams)))
        self.assertEqual((0, {}), (connection._noise, connection._reset))

    def test_ended_once(self) -> None:
        connection = opened()
        connection.reset(connection.open("a", REQUEST, b""))
        self.assertEqual([], connection.receive(answer(1)))
        ((event, _, what),) = connection.receive(data(1, b"x"))
        self.assertEqual((BROKEN, "DATA on a stream that had ended (STREAM_CLOSED)"), (event, what))

    def test_no_more_than_it_was_granted(self) -> None:
        """More than that is noise, as are frames without anything in them."""
        connection = opened()
        connection.reset(connection.open("a", REQUEST, b""))
        full = data(1, bytes(16_384))
        connection.receive(full * (STREAM_WINDOW // 16_384))
        self.assertEqual(0, connection._noise)
        connection.receive(full)
        connection.receive(data(1, b""))
        self.assertEqual(2, connection._noise)

    def test_as_many_as_are_remembered(self) -> None:
        """What is older is taken for what it was: reset. In whatever order that happened."""
        self.patch(http2, "_MAX_REMEMBERED", 2)
        connection = opened()
        streams = [connection.open(number, REQUEST, b"") for number in range(5)]
        for at in (3, 0, 1, 2):
            connection.reset(streams[at])
        self.assertEqual([3, 5], list(connection._reset))
        self.assertEqual([], connection.receive(b"".join(data(stream.id, b"x") for stream in streams[:4])))
        self.assertEqual(2, connection._noise)
        self.assertEqual([(ENDED, 4, None)], told(connection.receive(last(9, ANSWER))))
        self.assertEqual(BROKEN, connection.receive(data(9, b"x"))[0][0])

    def test_after_a_flaw(self) -> None:
        connection = opened()
        connection.open("a", REQUEST, b"")
        self.assertEqual([FLAWED], [event for event, _, _ in connection.receive(data(1, b"early"))])
        self.assertEqual([], connection.receive(answer(1)))
