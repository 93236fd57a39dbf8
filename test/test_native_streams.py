"""
Streams over the native transport on connections in memory.
"""

from __future__ import annotations

from typing import Any

from test.fakes_http2 import (
    FOUND,
    RANGE,
    URL,
    WRITTEN,
    GrpcServer,
    NativeCase,
    blob,
    framed,
)
from txetcd import KeySet
from txetcd import _frames as f
from txetcd import _schema as schema
from txetcd._messages import LeaseKeepAliveRequest, SnapshotResponse, WatchCreateRequest
from txetcd._protobuf import encode
from txetcd._transport import Metadata
from txetcd.errors import (
    Closed,
    NoLeader,
    ProtocolViolation,
    Unavailable,
)


class DuplexTests(NativeCase):
    """More is asked on a stream."""

    def setUp(self) -> None:
        super().setUp()
        self.came: list[Any] = []

    def watch(self, key: bytes) -> WatchCreateRequest:
        return WatchCreateRequest(KeySet(key))

    def begin(self) -> Any:
        return self.calls.stream(schema.WATCH, self.watch(b"a"), self.came.append)

    def asked(self, server: GrpcServer, at: int = 0) -> list[bytes]:
        """The messages that the server was asked on a stream."""
        data, messages = bytes(self.sent(server)[at].data), []
        while data:
            size = int.from_bytes(data[1:5], "big")
            messages.append(data[5 : 5 + size])
            data = data[5 + size :]
        return messages

    def expected(self, *keys: bytes) -> list[bytes]:
        return [encode(schema.WATCH, self.watch(key)) for key in keys]

    def test_before_there_is_a_connection(self) -> None:
        stream = self.begin()
        stream.send(self.watch(b"b"))
        stream.send(self.watch(b"c"))
        self.assertEqual(self.asked(self.serve()), self.expected(b"a", b"b", b"c"))
        stream.abort()

    def test_at_any_time(self) -> None:
        stream = self.begin()
        server = self.serve()
        stream.send(self.watch(b"b"))
        self.clock.advance(0)
        self.assertEqual(self.asked(server), self.expected(b"a", b"b"))
        server.begin(server.asked[0])
        for key in (b"c", b"d"):
            stream.send(self.watch(key))
        self.clock.advance(0)
        self.assertEqual(self.asked(server), self.expected(b"a", b"b", b"c", b"d"))
        self.assertFalse(server.asked[0].is_whole)
        stream.abort()

    def test_while_something_is_received(self) -> None:
        """It goes out at the end of that."""
        stream: Any = None

        def take(message: Any) -> None:
            stream.send(self.watch(b"b"))

        stream = self.calls.stream(schema.WATCH, self.watch(b"a"), take)
        server = self.serve()
        server.begin(server.asked[0])
        server.say(server.asked[0], framed(WRITTEN))
        self.assertEqual(self.asked(server), self.expected(b"a", b"b"))
        stream.abort()

    def test_when_others_have_their_place(self) -> None:
        """It waits with what it has."""
        first, second = self.begin(), self.begin()
        server = self.serve(streams=1)
        second.send(self.watch(b"b"))
        self.assertEqual(len(server.asked), 1)
        first.abort()
        self.clock.advance(0)
        self.assertEqual(self.asked(server, 1), self.expected(b"a", b"b"))
        second.abort()

    def test_after_the_end(self) -> None:
        """Nobody is asked."""
        stream = self.begin()
        server = self.serve()
        stream.abort()
        stream.send(self.watch(b"b"))
        self.clock.advance(0)
        self.assertEqual(self.asked(server), self.expected(b"a"))

    def test_of_a_client_that_is_closed(self) -> None:
        self.calls.close()
        stream = self.begin()
        stream.send(self.watch(b"b"))
        self.failureResultOf(stream.ended, Closed)


class StreamTests(NativeCase):
    """Answers that go on."""

    def setUp(self) -> None:
        super().setUp()
        self.came: list[Any] = []

    def begun(self, **limits: int) -> tuple[Any, GrpcServer]:
        """A stream whose answer has begun."""
        stream = self.stream(self.came.append)
        server = self.serve(**limits)
        server.begin(server.asked[0])
        return stream, server

    @property
    def blobs(self) -> list[bytes]:
        return [answer.blob for answer in self.came]

    def test_messages(self) -> None:
        """One by one, in pieces and several at a time."""
        stream, server = self.begun()
        (asked,) = server.asked
        self.assertEqual((asked.headers[":path"], asked.message), ("/etcdserverpb.Maintenance/Snapshot", b""))
        whole = framed(blob(b"one")) + framed(blob(b"two")) + framed(b"") + framed(blob(b"three"))
        server.say(asked, whole)
        for at in range(len(whole)):
            server.say(asked, whole[at : at + 1])
        self.assertEqual(self.blobs, [b"one", b"two", b"", b"three"] * 2)
        self.assertIsInstance(self.came[0], SnapshotResponse)
        self.assertNoResult(stream.ended)
        server.end(asked)
        self.assertIsNone(self.successResultOf(stream.ended))

    def test_refused(self) -> None:
        for is_begun in (False, True):
            stream = self.stream(self.came.append)
            server = self.serve()
            if is_begun:
                server.begin(server.asked[0])
                server.say(server.asked[0], framed(blob(b"one")))
                server.end(server.asked[0], 14, "etcdserver: no leader")
            else:
                server.refuse(server.asked[0], 14, "etcdserver: no leader")
            error = self.failureResultOf(stream.ended, NoLeader).value
            self.assertEqual(error.code, 14)
            self.hang_up()
        self.assertEqual(self.blobs, [b"one"])

    def test_bad(self) -> None:
        for said, told in (
            (framed(blob(b"one")) + b"\1" + framed(b"")[1:], "a message that is compressed"),
            (framed(blob(b"one")) + b"\0\xff\xff\xff\xff", "a message of 4294967295 bytes"),
            (framed(blob(b"one")) + framed(b"\xff"), ""),
        ):
            stream, server = self.begun()
            server.say(server.asked[0], said)
            server.say(server.asked[0], framed(blob(b"two")))
            self.assert_fails(stream.ended, ProtocolViolation, False, told)
            self.assertEqual(self.sent(server)[0].reset, f.CANCEL)
            self.hang_up()
        self.assertNotIn(b"two", self.blobs)

    def test_not_of_etcd(self) -> None:
        """Each message is looked at."""
        stream = self.native.stream(
            URL, schema.LEASE_KEEP_ALIVE, LeaseKeepAliveRequest(1), self.came.append, Metadata()
        )
        server = self.serve()
        server.begin(server.asked[0])
        server.say(server.asked[0], framed(WRITTEN + b"\x10\x01") + framed(WRITTEN + b"\x10\x02"))
        self.failureResultOf(stream.ended, ProtocolViolation)
        self.assertEqual(len(self.came), 1)

    def test_abort(self) -> None:
        """Nothing is delivered any more, and the server stops."""
        stream, server = self.begun()
        server.say(server.asked[0], framed(blob(b"one")))
        stream.abort()
        self.assertIsNone(self.successResultOf(stream.ended))
        server.say(server.asked[0], framed(blob(b"two")))
        self.assertEqual(self.sent(server)[0].reset, f.CANCEL)
        stream.abort()
        stream.pause()
        stream.resume()
        self.assertEqual(self.blobs, [b"one"])
        self.assert_works(server)

    def test_abort_in_a_message(self) -> None:
        """Of two messages that come together the second is not delivered, if the first ends it."""
        stream: Any = None

        def take(message: Any) -> None:
            self.came.append(message)
            stream.abort()

        stream = self.stream(take)
        server = self.serve()
        server.begin(server.asked[0])
        server.say(server.asked[0], framed(blob(b"one")) + framed(blob(b"two")))
        server.say(server.asked[0], framed(blob(b"three")))
        server.end(server.asked[0], 14, "etcdserver: no leader")
        self.assertEqual(self.blobs, [b"one"])
        self.assertIsNone(self.successResultOf(stream.ended))
        self.assertEqual(self.sent(server)[0].reset, None)

    def test_abort_before(self) -> None:
        """When it waits for a connection, or for its turn."""
        for limit in (0, 1):
            first = self.stream(self.came.append)
            if limit:
                other = self.stream(self.came.append)
                server = self.serve(streams=1)
                self.assertEqual(len(server.asked), 1)
                other.abort()
                self.successResultOf(other.ended)
            first.abort()
            self.successResultOf(first.ended)
            server = server if limit else self.serve()
            self.assertEqual(len(self.sent(server)), limit)
            self.hang_up()

    def test_cancelled(self) -> None:
        """Cancelling what tells of its end is the same."""
        stream, server = self.begun()
        stream.ended.cancel()
        self.successResultOf(stream.ended)
        self.assertEqual(self.sent(server)[0].reset, f.CANCEL)

    def flood(self, server: GrpcServer, at: int = 0) -> int:
        """The server says as much as it may; how much that was."""
        said = 0
        message = framed(blob(b"x" * 100)) * 100
        while server.h2.local_flow_control_window(server.asked[at].stream_id) >= len(message):
            server.say(server.asked[at], message)
            self.sent(server)
            said += len(message)
            if said > 9_000_000:
                break
        return said

    def test_pause(self) -> None:
        """Soon no more arrives; all the others go on."""
        stream, server = self.begun()
        other = self.get()
        stream.pause()
        self.assertLess(self.flood(server), 4_300_000)
        server.answer(self.sent(server)[-1], FOUND)
        self.assertEqual(self.successResultOf(other), RANGE)
        stream.resume()
        self.sent(server)
        self.assertGreater(self.flood(server), 9_000_000)
        stream.abort()

    def test_pause_before(self) -> None:
        """It may be asked to wait before it has begun; and to go on."""
        stream = self.stream(self.came.append)
        stream.pause()
        server = self.serve()
        server.begin(server.asked[0])
        self.assertLess(self.flood(server), 4_300_000)
        stream.abort()
        stream = self.stream(self.came.append)
        stream.pause()
        stream.resume()
        server.begin(self.sent(server)[1])
        self.assertGreater(self.flood(server, 1), 9_000_000)
        stream.abort()

    def test_pause_in_a_message(self) -> None:
        """What has come is delivered all the same."""
        stream: Any = None

        def take(message: Any) -> None:
            self.came.append(message)
            stream.pause()

        stream = self.stream(take)
        server = self.serve()
        server.begin(server.asked[0])
        server.say(server.asked[0], framed(blob(b"one")) + framed(blob(b"two")))
        self.assertEqual(self.blobs, [b"one", b"two"])
        self.assertLess(self.flood(server), 4_300_000)
        stream.abort()

    def test_long(self) -> None:
        """It outlives any deadline, as long as the server is there."""
        stream, server = self.begun()
        for _ in range(400):
            self.clock.advance(1)
            server.talk()
        self.assertGreater(server.pings, 10)
        server.say(server.asked[0], framed(blob(b"one")))
        self.assertEqual(self.blobs, [b"one"])
        stream.abort()

    def test_lost(self) -> None:
        stream, server = self.begun()
        server.say(server.asked[0], framed(blob(b"one"))[:-1])
        server.wire.lose()
        self.assert_fails(stream.ended, Unavailable, False, "the connection was lost before the answer was complete")
        self.assertEqual(self.came, [])
