"""
Calls over the gateway transport, the real treq and Agent on connections in memory: what is sent, and what comes back.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from test.fakes import URL, Case, Network, Reactor, chunk, chunked, fake_way, response
from txetcd import _gateway
from txetcd import _schema as schema
from txetcd._calls import Calls
from txetcd._gateway import MAX_CONCURRENT, MAX_RENEWALS, MAX_REVOCATIONS, Gateway
from txetcd._messages import Empty, LeaseKeepAliveRequest, LeaseRevokeRequest
from txetcd._transport import Metadata
from txetcd.errors import (
    CommonNameIgnored,
    Error,
    HostNotAllowed,
    LeaseNotFound,
    NoLeader,
    OutcomeUnknown,
    ProtocolViolation,
    RequestTooLarge,
    Timeout,
    Unavailable,
    Unimplemented,
)
from txetcd.ops import OpGet, OpSet
from txetcd.values import Header, KeyValue, Range, Revision

PUT = OpSet(b"key", b"value")
GET = OpGet(b"key")
WRITTEN = {"header": {"revision": "7"}}
REVISION = Revision(Header(revision=7))
FOUND = {
    "header": {"revision": "7"},
    "kvs": [{"key": "a2V5", "create_revision": "2", "mod_revision": "7", "version": "3", "value": "dmFsdWU="}],
    "count": "1",
}
RANGE = Range([KeyValue(b"key", b"value", 3, 2, 7)], Header(revision=7), 1)


class GatewayCase(Case):
    """
    A gateway on a network in memory.

    :ivar network: its connections.
    """

    clock: Reactor

    def setUp(self) -> None:
        self.clock = Reactor()
        self.network = Network(self.clock)
        self.use(Gateway(self.clock, 5.0))

    def use(self, gateway: Gateway) -> None:
        """Goes on with this one."""
        self.gateway = gateway
        self.calls = Calls(fake_way(self.clock, gateway))

    def tearDown(self) -> None:
        closed = self.gateway.close()
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assertEqual(self.network.open, [])
        super().tearDown()

    def put(self, timeout: float = 10.0, value: bytes = b"value") -> Deferred[Any]:
        """Begins a write."""
        return self.calls.call(schema.PUT, OpSet(b"key", value), timeout)

    def get(self, timeout: float = 10.0) -> Deferred[Any]:
        """Begins a read."""
        return self.calls.call(schema.RANGE, GET, timeout)

    def assert_works(self) -> None:
        """As many calls as there may be at a time get through: no place is missing. Then no connection is left."""
        before = self.network.attempts
        pending = [self.get() for _ in range(MAX_CONCURRENT)]
        for at in range(before, self.network.attempts):
            self.network.accept(at)
        for wire in self.network.open:
            wire.answer(FOUND)
        for one in pending:
            self.assertEqual(self.successResultOf(one), RANGE)
        self.hang_up()

    def hang_up(self) -> None:
        """Leaves no connection open; the gateway goes on."""
        self.gateway.close()
        self.clock.advance(0)

    def assert_fails(self, waiting: Deferred[Any], wanted: type[Error], maybe_applied: bool, text: str = "") -> Error:
        """It failed with this, and nothing of Twisted shows."""
        error = self.failureResultOf(waiting).value
        self.assertIs(type(error), wanted)
        self.assertIs(error.maybe_applied, maybe_applied, error)
        self.assertIn(text, str(error))
        self.assertIn(URL, str(error))
        self.assertNotIn("twisted", repr(error))
        return error


class RequestTests(GatewayCase):
    """What is sent."""

    def test_request(self) -> None:
        """One complete JSON body a POST, with its length; to the host and port of the URL."""
        written = self.put()
        self.assertEqual(self.clock.tcpClients[0][:2], ("127.0.0.1", 2379))
        wire = self.network.accept()
        (request,) = wire.requests
        self.assertEqual((request.method, request.path), ("POST", "/v3/kv/put"))
        self.assertEqual(request.headers["content-type"], "application/json")
        self.assertEqual(request.headers["host"], "etcd.example:2379")
        self.assertNotIn("transfer-encoding", request.headers)
        self.assertEqual(request.body, b'{"key":"a2V5","value":"dmFsdWU="}')
        self.assertEqual(request.headers["content-length"], str(len(request.body)))
        wire.answer(WRITTEN)
        self.assertEqual(self.successResultOf(written), REVISION)

    def test_path_of_the_endpoint(self) -> None:
        """An endpoint may have a path, which comes first."""
        answered = self.gateway.call("http://etcd.example:2379/behind/a/proxy", schema.PUT, PUT, 10.0, Metadata())
        wire = self.network.accept()
        self.assertEqual(wire.requests[0].path, "/behind/a/proxy/v3/kv/put")
        wire.answer(WRITTEN)
        self.successResultOf(answered)

    def test_ipv6(self) -> None:
        """An IPv6 address as host."""
        answered = self.gateway.call("http://[::1]:2379", schema.PUT, PUT, 10.0, Metadata())
        wire = self.network.accept()
        self.assertEqual(wire.requests[0].headers["host"], "[::1]:2379")
        wire.answer(WRITTEN)
        self.successResultOf(answered)

    def test_metadata(self) -> None:
        """The server is told who asks, whether a leader is required, and for how long somebody waits."""
        for metadata, timeout, wanted in (
            (Metadata(), 10.0, (None, None, "10100m")),
            (Metadata("token"), 0.25, ("token", None, "350m")),
            (Metadata("", True), 3600.0, (None, "true", "3600100m")),
            (Metadata(), 99_999.8, (None, None, "99999900m")),
            (Metadata(), 100_000.0, (None, None, "100001S")),
            (Metadata(), 1e12, (None, None, "99999999S")),
            (Metadata("other", True), 10.0, ("other", "true", "10100m")),
        ):
            pending = self.gateway.call(URL, schema.PUT, PUT, timeout, metadata)
            headers = self.network.accept().requests[-1].headers
            found = tuple(headers.get(name) for name in ("authorization", "grpc-metadata-hasleader", "grpc-timeout"))
            self.assertEqual(found, wanted)
            self.cancelled(pending)
            self.clock.advance(0)

    def test_metadata_of_a_stream(self) -> None:
        """A stream lasts as long as it likes."""
        stream = self.gateway.stream(URL, schema.SNAPSHOT, Empty(), print, Metadata("token", True))
        headers = self.network.accept().requests[0].headers
        self.assertEqual((headers["authorization"], headers["grpc-metadata-hasleader"]), ("token", "true"))
        self.assertNotIn("grpc-timeout", headers)
        stream.abort()
        self.clock.advance(0)

    def test_many_deadlines(self) -> None:
        """The headers that are kept for the next call do not grow without bound."""
        for number in range(3000):
            self.gateway._headers.of(Metadata(), number / 10)
        self.assertLessEqual(len(self.gateway._headers._made), 1000)

    def test_no_cookies(self) -> None:
        """What something between us and etcd would have us remember is not kept."""
        first = self.get()
        wire = self.network.accept()
        wire.send(response(json.dumps(FOUND).encode(), headers="Set-Cookie: a=b\r\n"))
        self.assertEqual(self.successResultOf(first), RANGE)
        second = self.get()
        self.assertNotIn("cookie", wire.requests[-1].headers)
        wire.answer(FOUND)
        self.assertEqual(self.successResultOf(second), RANGE)

    def test_empty_request(self) -> None:
        """A request without a field is an empty object."""
        answered = self.calls.call(schema.LEASE_LEASES, Empty())
        wire = self.network.accept()
        self.assertEqual(wire.requests[0].body, b"{}")
        wire.answer(WRITTEN)
        self.assertEqual(self.successResultOf(answered).leases, [])

    def test_large_body(self) -> None:
        """A large body is written whole."""
        answered = self.put(value=b"x" * 1_000_000)
        wire = self.network.accept()
        self.assertEqual(len(wire.requests[0].json["value"]), 1_333_336)
        wire.answer(WRITTEN)
        self.successResultOf(answered)

    def test_tls(self) -> None:
        """https speaks TLS: the first bytes are a handshake, and the request is not among them."""
        answered = self.gateway.call("https://etcd.example:2379", schema.PUT, PUT, 10.0, Metadata())
        wire = self.network.accept()
        self.assertEqual(wire.value()[:2], b"\x16\x03")
        self.assertNotIn(b"/v3/kv/put", wire.value())
        self.cancelled(answered)
        self.clock.advance(0)

    def test_not_over_http(self) -> None:
        """An RPC that the gateway does not serve is misuse, and leaves nothing behind."""
        self.assertRaises(ValueError, self.gateway.call, URL, schema.RANGE_STREAM, GET, 10.0, Metadata())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_body_producer(self) -> None:
        """The body needs no cooperation: it is in the connection's hands at once."""
        body = _gateway._Body(b"{}")
        body.pauseProducing()
        body.resumeProducing()
        body.stopProducing()
        self.assertEqual((body.length, body.is_sent), (2, False))


class ConcurrencyTests(GatewayCase):
    """Sixteen at a time, in their order, on connections that are used again."""

    def test_leases_do_not_wait(self) -> None:
        """Renewals wait behind nothing else, nor revocations; neither opens any number of connections."""
        others = [self.put() for _ in range(2 * MAX_CONCURRENT)]
        revoking = [
            self.gateway.call(URL, schema.LEASE_REVOKE, LeaseRevokeRequest(number), 10.0, Metadata())
            for number in range(5)
        ]
        renewing = [
            self.gateway.call(URL, schema.LEASE_KEEP_ALIVE, LeaseKeepAliveRequest(number), 10.0, Metadata())
            for number in range(20)
        ]
        self.assertEqual(self.network.attempts, MAX_CONCURRENT + MAX_REVOCATIONS + MAX_RENEWALS)
        first = MAX_CONCURRENT + MAX_REVOCATIONS
        for at in range(20):
            renewed = {"header": {"revision": "7"}, "ID": str(at), "TTL": "5"}
            self.network.accept(first + at % MAX_RENEWALS).answer({"result": renewed})
        self.assertEqual([self.successResultOf(one).lease_id for one in renewing], list(range(20)))
        self.assertEqual(self.network.attempts, MAX_CONCURRENT + MAX_REVOCATIONS + MAX_RENEWALS)
        for other in others + revoking:
            self.cancelled(other)

    def test_urgent(self) -> None:
        """What is urgent does not wait behind others; and two such calls at a time are enough."""
        others = [self.put() for _ in range(2 * MAX_CONCURRENT)]
        urgent = [self.gateway.call(URL, schema.RANGE, GET, 10.0, Metadata(is_urgent=True)) for _ in range(4)]
        self.assertEqual(self.network.attempts, MAX_CONCURRENT + 2)
        for at in (0, 1, 0, 1):
            self.network.accept(MAX_CONCURRENT + at).answer(FOUND)
        self.assertEqual([self.successResultOf(one) for one in urgent], [RANGE] * 4)
        for other in others:
            self.cancelled(other)

    def test_all_connections_lost(self) -> None:
        """When the server has ended the last one, somebody else may be there: what waits for a place was not sent."""
        lost: list[str] = []
        self.gateway.on_loss = lost.append
        pending = [self.put() for _ in range(MAX_CONCURRENT + 3)]
        for at in range(MAX_CONCURRENT):
            self.network.accept(at)
        wires = self.network.open
        for wire in wires[:-1]:
            wire.lose()
        # those that took the places of others are being connected
        self.assertEqual((lost, self.network.attempts), ([], MAX_CONCURRENT + 3))
        wires[-1].lose()
        self.assertEqual(lost, [URL])
        for one in pending[:MAX_CONCURRENT]:
            self.assert_fails(one, OutcomeUnknown, True)
        for one in pending[MAX_CONCURRENT:]:
            self.assert_fails(one, Unavailable, False, "not sent: the server has closed all connections")
        self.assert_works()

    def test_connections_ended_here(self) -> None:
        """Who cancels a call harms no other, also when it had the last connection; but that it was, is told."""
        lost: list[str] = []
        self.gateway.on_loss = lost.append
        pending = [self.put() for _ in range(MAX_CONCURRENT + 1)]
        self.network.accept(0)
        self.cancelled(pending[0])
        self.clock.advance(0)
        self.assertEqual(lost, [URL])
        self.assertEqual(len([one for one in pending[1:] if not one.called]), MAX_CONCURRENT)
        for one in pending[1:]:
            self.cancelled(one)

    def test_not_used_any_more(self) -> None:
        """Idle connections do not outlive the endpoints that they go to; what is under way does."""
        idle, busy = self.get(), self.get()
        self.network.accept(0).answer(FOUND)
        wire = self.network.accept(1)
        self.successResultOf(idle)
        self.gateway.keep_only([URL])
        self.assertEqual(self.gateway.connections, 2)
        self.gateway.keep_only(["http://other.example:2379"])
        self.clock.advance(0)
        self.assertEqual(self.gateway.connections, 1)
        wire.answer(FOUND)
        self.successResultOf(busy)
        self.hang_up()

    def test_leave(self) -> None:
        """What was not sent yet is not sent there any more; all else goes on."""
        elsewhere = "http://other.example:2379"
        pending = [self.put() for _ in range(2 * MAX_CONCURRENT)]
        others = [
            self.gateway.call(elsewhere, schema.RANGE, GET, 10.0, Metadata()) for _ in range(2 * MAX_CONCURRENT)
        ]
        for at in range(3):
            self.network.accept(at)
        order: list[int] = []
        for number, one in enumerate(pending):
            one.addBoth(lambda result, number=number: order.append(number) or result)
        # whoever is told may end another one
        pending[7].addErrback(lambda failure: pending[-1].cancel() or failure)
        self.gateway.leave("http://unknown.example")
        self.gateway.leave(URL)
        for one in pending[3:-1]:
            self.assert_fails(one, Unavailable, False, "not sent: the endpoint answers nobody")
        self.failureResultOf(pending[-1], CancelledError)
        self.assertEqual(sorted(order), list(range(3, 2 * MAX_CONCURRENT)))
        self.assertEqual(order[:4], [3, 4, 5, 6])
        for at in range(3):
            self.network.wires[at].answer(WRITTEN)
        self.assertEqual([self.successResultOf(one) for one in pending[:3]], [REVISION] * 3)
        # all places are free, and three connections
        before = self.network.attempts
        others += [self.put() for _ in range(2 * MAX_CONCURRENT)]
        self.assertEqual(self.network.attempts, before + MAX_CONCURRENT - 3)
        for other in others:
            self.cancelled(other)

    def test_idle_connections_are_not_trusted(self) -> None:
        """When one got no answer the others are closed: nobody need find out of each that it is dead."""
        pending = [self.get() for _ in range(4)]
        wires = [self.network.accept(at) for at in range(4)]
        for wire in wires:
            wire.answer(FOUND)
        for one in pending:
            self.successResultOf(one)
        late = self.get(3.0)
        self.clock.advance(3.0)
        self.failureResultOf(late, Timeout)
        self.clock.advance(0)
        self.assertEqual(self.network.open, [])
        self.assert_works()

    def test_thousand_calls(self) -> None:
        """A thousand calls share sixteen connections; first come, first served."""
        order: list[int] = []
        pending = [self.put(value=b"%d" % number) for number in range(1000)]
        for number, one in enumerate(pending):
            one.addCallback(lambda _, number=number: order.append(number))
        self.assertEqual(self.network.attempts, MAX_CONCURRENT)
        for at in range(MAX_CONCURRENT):
            self.network.accept(at)
        answered = 0
        while answered < 1000:
            wire = self.network.wires[answered % MAX_CONCURRENT]
            wire.answer(WRITTEN)
            answered += 1
        self.assertEqual(order, list(range(1000)))
        self.assertEqual(self.network.attempts, MAX_CONCURRENT)
        self.assertEqual(sum(len(wire.requests) for wire in self.network.wires), 1000)

    def test_streams_do_not_count(self) -> None:
        """However many streams there are, calls get through; and however many calls, streams do."""
        streams = [
            self.gateway.stream(URL, schema.SNAPSHOT, Empty(), print, Metadata()) for _ in range(3 * MAX_CONCURRENT)
        ]
        self.assertEqual(self.network.attempts, 3 * MAX_CONCURRENT)
        pending = [self.get() for _ in range(2 * MAX_CONCURRENT)]
        self.assertEqual(self.network.attempts, 4 * MAX_CONCURRENT)
        streams.append(self.gateway.stream(URL, schema.SNAPSHOT, Empty(), print, Metadata()))
        self.assertEqual(self.network.attempts, 4 * MAX_CONCURRENT + 1)
        for stream in streams:
            stream.abort()
            self.successResultOf(stream.ended)
        for one in pending:
            self.cancelled(one)

    def test_reuse(self) -> None:
        """One call after the other uses one connection."""
        for _ in range(20):
            pending = self.put()
            wire = self.network.accept()
            wire.answer(WRITTEN)
            self.successResultOf(pending)
        self.assertEqual(self.network.attempts, 1)
        self.assertEqual(len(wire.requests), 20)

    def test_no_reuse_of_a_stream(self) -> None:
        """The connection of a stream is closed at its end, and was never one of the pool."""
        stream = self.gateway.stream(URL, schema.SNAPSHOT, Empty(), print, Metadata())
        wire = self.network.accept()
        wire.send(chunked(b'{"result":{}}\n'))
        self.successResultOf(stream.ended)
        self.clock.advance(0)
        self.assertTrue(wire.is_lost)

    def test_closed_while_idle(self) -> None:
        """A pooled connection that the server has closed is not used again."""
        first = self.get()
        wire = self.network.accept()
        wire.answer(FOUND)
        self.successResultOf(first)
        wire.close()
        second = self.get()
        self.assertEqual(self.network.attempts, 2)
        self.network.accept().answer(FOUND)
        self.successResultOf(second)

    def test_stale_connection(self) -> None:
        """A pooled connection that is just being closed loses a write: nobody knows whether it was applied."""
        first = self.put()
        wire = self.network.accept()
        wire.answer(WRITTEN)
        self.successResultOf(first)
        second = self.put()
        self.assertEqual(len(wire.requests), 2)
        wire.close()
        self.assert_fails(second, OutcomeUnknown, True, "connection was lost")
        self.assertEqual(self.network.attempts, 1, "a write is never sent twice")

    def test_connection_close(self) -> None:
        """A server that closes after each answer is served as well."""
        for attempt in (1, 2):
            pending = self.get()
            self.assertEqual(self.network.attempts, attempt)
            wire = self.network.accept()
            wire.send(response(json.dumps(FOUND).encode(), headers="Connection: close\r\n"))
            self.assertEqual(self.successResultOf(pending), RANGE)
            self.clock.advance(0)

    def test_endpoints_apart(self) -> None:
        """Each endpoint has its own sixteen."""
        pending = [self.get() for _ in range(MAX_CONCURRENT + 1)]
        pending.append(self.gateway.call("http://other.example:2379", schema.RANGE, GET, 10.0, Metadata()))
        self.assertEqual(self.network.attempts, MAX_CONCURRENT + 1)
        for one in pending:
            self.cancelled(one)

    def test_next_call_in_a_callback(self) -> None:
        """A call made by the callback of another takes the connection that has just become free."""
        second: list[Deferred[Any]] = []
        first = self.put().addCallback(lambda _: second.append(self.get()))
        wire = self.network.accept()
        wire.answer(WRITTEN)
        self.successResultOf(first)
        self.assertEqual(len(wire.requests), 2)
        wire.answer(FOUND)
        self.assertEqual(self.successResultOf(second[0]), RANGE)


class AnswerTests(GatewayCase):
    """Whatever the pieces in which it comes, and whatever it is."""

    def answered(self, *pieces: bytes, close: bool = False) -> Deferred[Any]:
        """A read, answered so."""
        pending = self.get()
        wire = self.network.accept()
        for piece in pieces:
            wire.send(piece)
        if close:
            wire.close()
        return pending

    def test_byte_by_byte(self) -> None:
        """Each byte for itself."""
        whole = response(json.dumps(FOUND).encode())
        self.assertEqual(self.successResultOf(self.answered(*(bytes([byte]) for byte in whole))), RANGE)

    def test_every_split(self) -> None:
        """Cut at each place once."""
        whole = response(json.dumps(FOUND).encode())
        for at in range(len(whole)):
            pending = self.get()
            wire = self.network.accept()
            wire.send(whole[:at])
            wire.send(whole[at:])
            self.assertEqual(self.successResultOf(pending), RANGE)

    def test_chunks(self) -> None:
        """Chunks of one byte, of the rest, and with an extension."""
        body = json.dumps(FOUND).encode()
        whole = chunked(*(bytes([byte]) for byte in body[:10]), body[10:])
        self.assertEqual(self.successResultOf(self.answered(whole)), RANGE)
        whole = chunked(end=False) + b"1;some=thing\r\n{\r\n" + chunk(body[1:]) + b"000\r\n\r\n"
        self.assertEqual(self.successResultOf(self.answered(*(bytes([byte]) for byte in whole))), RANGE)

    def test_until_the_end(self) -> None:
        """Without a length the answer ends with the connection."""
        body = json.dumps(FOUND).encode()
        self.assertEqual(self.successResultOf(self.answered(b"HTTP/1.1 200 OK\r\n\r\n", body, close=True)), RANGE)

    def test_compressed(self) -> None:
        """A proxy may compress it, as we allow."""
        body = gzip.compress(json.dumps(FOUND).encode())
        self.assertEqual(
            self.successResultOf(self.answered(response(body, headers="Content-Encoding: gzip\r\n"))), RANGE
        )

    def test_badly_compressed(self) -> None:
        """What is not compressed, but says so, is no answer."""
        pending = self.answered(response(b'{"kvs":[]}', headers="Content-Encoding: gzip\r\n"))
        self.assert_fails(pending, ProtocolViolation, False)
        self.clock.advance(0)

    def test_informational(self) -> None:
        """What comes before the answer does not matter."""
        continued = b"HTTP/1.1 100 Continue\r\n\r\n"
        pending = self.answered(continued + response(json.dumps(FOUND).encode()))
        self.assertEqual(self.successResultOf(pending), RANGE)

    def test_too_large(self) -> None:
        """An answer over the limit is refused, read no further, and its connection dropped."""
        for whole in (response(b" " * 101), chunked(b" " * 60, b" " * 41, end=False)):
            self.use(Gateway(self.clock, 5.0, max_answer=100))
            pending = self.answered(whole, b" " * 1000)
            self.assert_fails(pending, ProtocolViolation, False, "more than 100 bytes")
            self.clock.advance(0)
            self.assert_works_with_small_answers()

    def assert_works_with_small_answers(self) -> None:
        pending = self.get()
        self.network.accept().answer(WRITTEN)
        self.assertEqual(self.successResultOf(pending), Range([], Header(revision=7)))
        self.gateway.close()
        self.clock.advance(0)

    def test_just_large_enough(self) -> None:
        """An answer of the limit itself is none too large."""
        self.use(Gateway(self.clock, 5.0, max_answer=100))
        whole = response(json.dumps(WRITTEN).encode().ljust(100))
        self.assertEqual(self.successResultOf(self.answered(whole)), Range([], Header(revision=7)))


class RefusalTests(GatewayCase):
    """What is told by an answer that is none."""

    def refused(self, call: Any, whole: bytes, wanted: type[Error], maybe_applied: bool, text: str = "") -> Error:
        """Makes the call, gets this answer, and fails so."""
        pending = call()
        wire = self.network.accept()
        wire.send(whole)
        error = self.assert_fails(pending, wanted, maybe_applied, text)
        self.hang_up()
        return error

    def refusal(self, code: int, message: str, status: int) -> bytes:
        """As etcd 3.5 refuses."""
        return response(json.dumps({"error": message, "message": message, "code": code}).encode(), status)

    def test_etcd(self) -> None:
        """What etcd refuses has not happened; the error names the call and the endpoint."""
        whole = self.refusal(5, "etcdserver: requested lease not found", 404)
        error = self.refused(self.put, whole, LeaseNotFound, False)
        self.assertEqual(str(error), f"KV.Put at {URL}: etcdserver: requested lease not found")
        self.assertEqual((error.code, error.call, error.endpoint), (5, "KV.Put", URL))
        self.refused(self.put, self.refusal(14, "etcdserver: no leader", 503), NoLeader, False)

    def test_ambiguous(self) -> None:
        """What leaves a write open says so; a read just failed."""
        for code, message, status in ((14, "etcdserver: request timed out", 503), (2, "whatever", 500)):
            whole = self.refusal(code, message, status)
            error = self.refused(self.put, whole, OutcomeUnknown, True, message)
            self.assertEqual(error.code, code)
            self.assertFalse(self.refused_read(whole).maybe_applied)

    def refused_read(self, whole: bytes) -> Error:
        pending = self.get()
        self.network.accept().send(whole)
        error = self.failureResultOf(pending, Error).value
        assert isinstance(error, Error)
        self.assertNotIsInstance(error, OutcomeUnknown)
        self.hang_up()
        return error

    def test_html(self) -> None:
        """A page under 200 is no answer; a write may have been applied for all we know."""
        page = response(b"<html>\n<body>Welcome</body></html>", 200, "text/html")
        self.refused(self.put, page, ProtocolViolation, True, "Welcome")
        self.refused(self.get, page, ProtocolViolation, False, "Welcome")

    def test_empty_answer(self) -> None:
        """Something that says nothing, politely, has not written anything."""
        for document in (b"{}", b'{"status":"ok"}', b'{"header":{}}', b'{"header":null}'):
            self.refused(self.put, response(document), ProtocolViolation, True, "no answer of etcd: it has no header")
            self.refused(self.get, response(document), ProtocolViolation, False, "no answer of etcd: it has no header")

    def test_bad_gateway(self) -> None:
        """A proxy whose server is gone."""
        for status in (502, 503, 504):
            page = response(b"<html>Bad Gateway</html>", status, "text/html")
            self.refused(self.put, page, OutcomeUnknown, True, str(status))
            self.refused(self.get, page, Unavailable, False, str(status))

    def test_other_statuses(self) -> None:
        """What other things say on the way."""
        for status, said, wanted in (
            (404, b"404 page not found", Unimplemented),
            (421, b"something else", HostNotAllowed),
            (413, b"something else", RequestTooLarge),
        ):
            self.refused(self.put, response(said, status, "text/plain"), wanted, False, str(status))
            self.refused(self.get, response(said, status, "text/plain"), wanted, False)

    def test_certificate_with_a_name(self) -> None:
        """The gateway's own text, which comes without JSON."""
        text = b"CommonName of client sending a request against gateway will be ignored and not used as expected"
        self.refused(self.put, response(text, 400, "text/plain"), CommonNameIgnored, False)

    def test_redirect(self) -> None:
        """A redirect is not followed."""
        for status in (301, 302, 307, 308):
            whole = response(b"", status, headers="Location: http://elsewhere.example/\r\n")
            self.refused(self.put, whole, ProtocolViolation, True, str(status))
            self.refused(self.get, whole, ProtocolViolation, False, str(status))
        self.assertEqual({client[1] for client in self.clock.tcpClients}, {2379})

    def test_not_http(self) -> None:
        """Something that does not speak HTTP."""
        for garbage in (b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15 is no alert", b"HTTP/1.1 abc OK\r\n"):
            self.refused(self.put, garbage, ProtocolViolation, True, "not an answer of HTTP")
            self.refused(self.get, garbage, ProtocolViolation, False, "not an answer of HTTP")
            self.flushLoggedErrors()

    def test_bad_length(self) -> None:
        """A length that is none."""
        self.refused(self.get, b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", ProtocolViolation, False)

    def test_bad_chunk(self) -> None:
        """A chunk whose length is none."""
        self.refused(self.get, chunked(b"{", end=False) + b"zz\r\n", ProtocolViolation, False)

    def test_answer_of_another_call(self) -> None:
        """JSON that is no answer to this."""
        for body in (b'{"kvs":[7]}', b'{"count":"many"}', b"[]", b"7", b"", b"null", b'{"kvs":'):
            self.refused(self.get, response(body), ProtocolViolation, False)

    def test_deep(self) -> None:
        """Deeply nested JSON is no answer either."""
        self.refused(self.get, response(b"[" * 100_000), ProtocolViolation, False)
