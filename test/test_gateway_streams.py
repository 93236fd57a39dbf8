"""
Streams over the gateway transport, on connections in memory.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail

from test.fakes import URL, Wire, chunk, chunked, response
from test.test_gateway import GatewayCase
from test.test_gateway_ends import ScriptedAgent
from txetcd import KeySet
from txetcd import _schema as schema
from txetcd._gateway import Gateway
from txetcd._messages import WatchCreateRequest
from txetcd.errors import Closed, Error, NoLeader, PermissionDenied, ProtocolViolation, Unavailable, Unimplemented

REQUEST = WatchCreateRequest(KeySet(b"key"), 7)


def line(revision: int) -> bytes:
    """The line of an event."""
    kv = {"key": "a2V5", "mod_revision": str(revision)}
    return json.dumps({"result": {"header": {"revision": "99"}, "events": [{"kv": kv}]}}).encode() + b"\n"


class StreamCase(GatewayCase):
    """
    A watch on a wire.

    :ivar seen: the revisions that have arrived.
    """

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[int] = []

    def begin(self) -> Any:
        """Opens the stream."""
        return self.calls.stream(schema.WATCH, REQUEST, self.message)

    def message(self, message: Any) -> None:
        self.seen.extend(event.kv.mod_revision for event in message.events)

    def opened(self, *lines: bytes, is_polite: bool = False) -> tuple[Any, Wire]:
        """An open stream, with these lines arrived in a chunk each."""
        stream = self.begin()
        wire = self.network.accept(is_polite=is_polite)
        wire.send(chunked(*lines, end=False))
        return stream, wire

    def assert_ended(self, stream: Any, wanted: type[Error], text: str = "") -> Error:
        """It ended so, and its connection is gone."""
        error = self.failureResultOf(stream.ended).value
        self.assertIs(type(error), wanted)
        self.assertIn(text, str(error))
        self.assertFalse(error.maybe_applied)
        self.assertEqual((error.call, error.endpoint), ("Watch.Watch", URL))
        self.clock.advance(0)
        self.assertEqual(self.network.open, [])
        return error


class LineTests(StreamCase):
    """Lines, in whatever pieces."""

    def test_request(self) -> None:
        """One message, complete; the connection is not kept."""
        stream = self.begin()
        (request,) = self.network.accept().requests
        self.assertEqual((request.method, request.path), ("POST", "/v3/watch"))
        self.assertEqual(request.json, {"create_request": {"key": "a2V5", "start_revision": "7"}})
        self.assertEqual(request.headers["connection"], "close")
        stream.abort()

    def test_every_split(self) -> None:
        """Two chunks cut at each byte once."""
        whole = chunked(line(1), line(2), end=False)
        for at in range(len(whole)):
            self.seen.clear()
            stream = self.begin()
            wire = self.network.accept()
            wire.send(whole[:at])
            wire.send(whole[at:])
            self.assertEqual(self.seen, [1, 2], f"cut at {at}")
            stream.abort()
            self.clock.advance(0)

    def test_byte_by_byte(self) -> None:
        """Each byte a chunk of its own, and then each a packet too."""
        stream, wire = self.opened(*(bytes([byte]) for byte in line(1)))
        for byte in b"".join(chunk(bytes([byte])) for byte in line(2)):
            wire.send(bytes([byte]))
        self.assertEqual(self.seen, [1, 2])
        stream.abort()

    def test_delimiter_alone(self) -> None:
        """The end of a line may come for itself, and only then is it one."""
        stream, wire = self.opened(line(1)[:-1])
        self.assertEqual(self.seen, [])
        wire.send(chunk(b"\n"))
        self.assertEqual(self.seen, [1])
        stream.abort()

    def test_several_in_a_chunk(self) -> None:
        """Several lines, and the beginning of another, in one chunk; blank lines, and other line ends."""
        stream, wire = self.opened(b"\n\n" + line(1) + b"\r\n" + line(2)[:-1] + b"\r\n" + line(3)[:20])
        self.assertEqual(self.seen, [1, 2])
        wire.send(chunk(line(3)[20:] + b" \n"))
        self.assertEqual(self.seen, [1, 2, 3])
        stream.abort()

    def test_last_line_without_end(self) -> None:
        """Nothing that arrived is lost at a clean end."""
        stream, wire = self.opened(line(1), line(2)[:-1])
        wire.send(b"0\r\n\r\n")
        self.successResultOf(stream.ended)
        self.assertEqual(self.seen, [1, 2])

    def test_clean_end(self) -> None:
        """A server that ends it says no reason."""
        stream, wire = self.opened(line(1))
        wire.send(b"0\r\n\r\n")
        self.successResultOf(stream.ended)
        self.clock.advance(0)
        self.assertTrue(wire.is_lost)

    def test_whole_at_once(self) -> None:
        """Everything in one packet, headers and end included."""
        stream = self.begin()
        self.network.accept().send(chunked(line(1) + line(2)))
        self.successResultOf(stream.ended)
        self.assertEqual(self.seen, [1, 2])

    def test_long_line(self) -> None:
        """A line over the limit ends it; what was complete before has been told."""
        self.use(Gateway(self.clock, 5.0, max_line=len(line(1))))
        for pieces in ((line(1), line(2)[:-1] + b"   "), (line(1), b" " * 50, b" " * 100)):
            self.seen.clear()
            stream, wire = self.opened(*pieces)
            self.assert_ended(stream, ProtocolViolation, "a line of more than")
            self.assertEqual(self.seen, [1])
            wire.send(chunk(b" " * 1000))

    def test_long_line_after_others(self) -> None:
        """So it has if it came in the same piece."""
        self.use(Gateway(self.clock, 5.0, max_line=len(line(1))))
        stream, _ = self.opened(line(1) + b" " * 1000)
        self.assert_ended(stream, ProtocolViolation, "a line of more than")
        self.assertEqual(self.seen, [1])


class FailureTests(StreamCase):
    """Refused, lost, or nonsense."""

    OLD = b'{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"x"}}\n'
    NEW = b'{"error":{"code":14,"message":"etcdserver: no leader"}}\n'

    def test_first_line(self) -> None:
        """The error may be the first line, under 200 or a status of its own."""
        for status in (200, 400, 403, 503):
            for error in (self.OLD, self.NEW):
                stream = self.begin()
                self.network.accept().send(chunked(error, status=status))
                self.assert_ended(stream, NoLeader)

    def test_later_line(self) -> None:
        """Or come after events; what comes after it does not count."""
        for error in (self.OLD, self.NEW):
            self.seen.clear()
            stream, _ = self.opened(line(1) + error + line(2))
            self.assert_ended(stream, NoLeader)
            self.assertEqual(self.seen, [1])

    def test_refused_like_a_call(self) -> None:
        """Or have the shape of a call's."""
        body = b'{"error":"etcdserver: permission denied","message":"etcdserver: permission denied","code":7}'
        for whole in (response(body, 403), chunked(body, status=403)):
            stream = self.begin()
            self.network.accept().send(whole)
            self.assert_ended(stream, PermissionDenied)

    def test_refused_in_pieces(self) -> None:
        """A refusal comes in pieces as well."""
        stream = self.begin()
        wire = self.network.accept()
        for byte in chunked(self.NEW, status=503):
            wire.send(bytes([byte]))
        self.assert_ended(stream, NoLeader)

    def test_not_found(self) -> None:
        """No gateway behind the URL."""
        stream = self.begin()
        self.network.accept().send(response(b"404 page not found", 404, "text/plain"))
        self.assert_ended(stream, Unimplemented, "404")

    def test_endless_refusal(self) -> None:
        """A refusal is read so far and no further."""
        stream = self.begin()
        self.network.accept().send(chunked(b"x" * 70_000, end=False, status=503))
        self.assert_ended(stream, ProtocolViolation, "more than 65536 bytes")

    def test_refusal_that_is_lost(self) -> None:
        """A refusal that is not complete."""
        stream = self.begin()
        wire = self.network.accept()
        wire.send(chunked(b"x", end=False, status=503))
        wire.lose()
        self.assert_ended(stream, Unavailable, "connection was lost")

    def test_redirect(self) -> None:
        """A redirect is not followed."""
        stream = self.begin()
        self.network.accept().send(response(b"", 307, headers="Location: http://elsewhere.example/\r\n"))
        self.assert_ended(stream, ProtocolViolation, "307")
        self.assertEqual(self.network.attempts, 1)

    def test_nonsense(self) -> None:
        """What no etcd sends."""
        for nonsense in (
            b"<html>\n", b"[]\n", b"{}\n", b'{"result":{"events":7}}\n', b'{"error":"odd"}\n', b'{"result":{}}\n'
        ):
            stream, _ = self.opened(nonsense)
            self.assert_ended(stream, ProtocolViolation)

    def test_nonsense_at_the_end(self) -> None:
        """Half a line at a clean end."""
        stream, wire = self.opened(line(1), line(2)[:-10])
        wire.send(b"0\r\n\r\n")
        self.assert_ended(stream, ProtocolViolation)

    def test_not_http(self) -> None:
        """Something that does not speak HTTP."""
        stream = self.begin()
        self.network.accept().send(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.assert_ended(stream, ProtocolViolation, "not an answer of HTTP")

    def test_lost(self) -> None:
        """Before the headers, in them, between lines, in a line, in a chunk."""
        whole = chunked(line(1), line(2), end=False)
        for at in (0, 10, len(chunked(end=False)), len(chunked(line(1), end=False)), len(whole) - 20, len(whole)):
            for clean in (True, False):
                stream = self.begin()
                wire = self.network.accept()
                wire.send(whole[:at])
                wire.close() if clean else wire.lose()
                self.assert_ended(stream, Unavailable, "connection was lost")

    def test_refused_connection(self) -> None:
        """Nobody listens."""
        stream = self.begin()
        self.network.refuse()
        self.clock.advance(1)
        self.assert_ended(stream, Unavailable, "not sent")

    def test_agent_that_raises(self) -> None:
        """An agent that raises is no worse than one that fails."""
        self.use(Gateway(self.clock, 5.0, agent=ScriptedAgent(fail(ZeroDivisionError("odd")))))
        self.assert_ended(self.begin(), Unavailable, "not sent")
        self.use(Gateway(self.clock, 5.0, agent=ScriptedAgent(ZeroDivisionError("odd"))))
        self.assert_ended(self.begin(), Unavailable, "not sent")


class ControlTests(StreamCase):
    """Pause, resume, abort, close."""

    def test_pause(self) -> None:
        """Pausing and resuming reach the socket."""
        stream, wire = self.opened(line(1))
        self.assertFalse(wire.is_paused)
        stream.pause()
        self.assertTrue(wire.is_paused)
        stream.resume()
        self.assertFalse(wire.is_paused)
        stream.abort()

    def test_pause_before_the_answer(self) -> None:
        """Paused before there is anything to pause."""
        stream = self.begin()
        stream.pause()
        wire = self.network.accept()
        self.assertFalse(wire.is_paused)
        wire.send(chunked(line(1), end=False))
        self.assertTrue(wire.is_paused)
        stream.resume()
        self.assertFalse(wire.is_paused)
        stream.abort()

    def test_resumed_before_the_answer(self) -> None:
        """Paused and resumed meanwhile."""
        stream = self.begin()
        stream.pause()
        stream.resume()
        wire = self.network.accept()
        wire.send(chunked(line(1), end=False))
        self.assertFalse(wire.is_paused)
        stream.abort()

    def test_pause_in_a_message(self) -> None:
        """A consumer may ask for a pause while it gets a message, the first one included."""
        stream = self.begin()
        self.message = lambda message: stream.pause()  # type: ignore[method-assign]  # what this test is about
        stream._on_message = lambda message: stream.pause()
        wire = self.network.accept()
        wire.send(chunked(line(1) + line(2), end=False))
        self.assertTrue(wire.is_paused)
        stream.abort()

    def test_control_after_the_end(self) -> None:
        """A stream that is over can still be told anything."""
        for end in (lambda stream, wire: stream.abort(), lambda stream, wire: wire.close()):
            stream, wire = self.opened(line(1))
            end(stream, wire)
            stream.ended.addErrback(lambda failure: failure.trap(Unavailable))
            self.clock.advance(0)
            stream.pause()
            stream.resume()
            stream.abort()
            self.assertTrue(wire.is_lost)

    def test_abort(self) -> None:
        """Aborting ends it without an error, and closes its connection."""
        stream, wire = self.opened(line(1))
        stream.abort()
        self.successResultOf(stream.ended)
        wire.send(chunk(line(2)))
        self.clock.advance(0)
        self.assertTrue(wire.is_lost)
        self.assertEqual(self.seen, [1])

    def test_abort_early(self) -> None:
        """Before it is connected, before the answer, in its headers, in a refusal."""
        for begun in (None, b"", b"HTTP/1.1 200 OK\r\nA", chunked(b"x", end=False, status=503)):
            stream = self.begin()
            if begun is not None:
                self.network.accept().send(begun)
            stream.abort()
            self.successResultOf(stream.ended)
            self.clock.advance(0)
            self.assertEqual(self.network.open, [])

    def test_cancel(self) -> None:
        """Cancelling is aborting."""
        stream, wire = self.opened(line(1))
        stream.ended.cancel()
        self.successResultOf(stream.ended)

    def test_abort_in_a_message(self) -> None:
        """No further message of the same chunk is told."""
        stream = self.begin()
        stream._on_message = lambda message: (self.message(message), stream.abort())
        self.network.accept().send(chunked(line(1) + line(2), line(3), end=False))
        self.successResultOf(stream.ended)
        self.assertEqual(self.seen, [1])
        self.clock.advance(0)
        self.assertEqual(self.network.open, [])

    def test_abort_at_the_end(self) -> None:
        """Whoever learns of the end may abort once more."""
        for lose in (True, False):
            stream, wire = self.opened(line(1))
            stream.ended.addBoth(lambda _, stream=stream: stream.abort())
            wire.lose() if lose else wire.send(b"0\r\n\r\n")
            self.successResultOf(stream.ended)
            self.clock.advance(0)

    def test_abort_while_paused(self) -> None:
        """A stream that is paused reads nothing, so its end must not wait for what the peer says."""
        for is_polite in (False, True):
            stream, wire = self.opened(line(1), is_polite=is_polite)
            stream.pause()
            stream.abort()
            self.successResultOf(stream.ended)
            self.clock.advance(0)
            is_lost = wire.is_lost
            wire.close()
            self.assertTrue(is_lost, "with TLS" if is_polite else "without TLS")

    def test_nonsense_from_a_peer_that_stays(self) -> None:
        """The connection is dropped, whether or not the peer agrees."""
        stream, wire = self.opened(b"nonsense\n", is_polite=True)
        self.failureResultOf(stream.ended, ProtocolViolation)
        self.clock.advance(0)
        is_lost = wire.is_lost
        wire.close()
        self.assertTrue(is_lost)

    def test_close(self) -> None:
        """Closing the gateway ends it with Closed, in each state."""
        states: list[tuple[Any, Deferred[Any]]] = []
        for begun in (None, b"", b"HTTP/1.1 200 OK\r\nA", chunked(b"x", end=False, status=503), chunked(end=False)):
            stream = self.begin()
            if begun is not None:
                self.network.accept().send(begun)
            states.append((begun, stream.ended))
        closed = self.gateway.close()
        for _, ended in states:
            self.failureResultOf(ended, Closed)
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assertEqual(self.network.open, [])

    def test_close_in_a_message(self) -> None:
        """Closing the gateway from inside a message."""
        stream = self.begin()
        stream._on_message = lambda message: (self.message(message), self.gateway.close())
        self.network.accept().send(chunked(line(1) + line(2), end=False))
        self.failureResultOf(stream.ended, Closed)
        self.assertEqual(self.seen, [1])

    def test_another_in_a_message(self) -> None:
        """Calls and streams may begin inside a message."""
        pending: list[Deferred[Any]] = []
        stream = self.begin()
        stream._on_message = lambda message: pending.append(self.get())
        self.network.accept().send(chunked(line(1), end=False))
        stream.abort()
        pending[0].cancel()
        self.failureResultOf(pending[0], CancelledError)
