"""
A client that speaks gRPC because its URL says so.
"""

from __future__ import annotations

import os
from typing import Any
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.web.client import Agent, HTTPConnectionPool

from test.fakes import Case, Network, Reactor
from test.fakes_http2 import FOUND, SHAKEN, URL, WRITTEN, GrpcServer, framed
from txetcd import TLS, Client
from txetcd._backoff import never
from txetcd._gateway import Gateway
from txetcd._native import Native
from txetcd.errors import Closed, Timeout, Unavailable


class ClientTests(Case):
    clock: Reactor

    def setUp(self) -> None:
        self.clock = Reactor()
        self.network = Network(self.clock)

    def client(self, *arguments: Any, **options: Any) -> Client:
        """A client that is closed at the end, and leaves nothing behind."""
        client = Client(self.clock, *arguments, **options)
        self.addCleanup(self.close, client)
        return client

    def close(self, client: Client) -> None:
        closed = client.close()
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assertEqual((self.network.open, self.clock.getDelayedCalls()), ([], []))

    def tearDown(self) -> None:
        """Everything is closed later, and looked at there."""

    def transport(self, client: Client) -> Any:
        return client._way.transport

    def serve(self, at: int = -1) -> GrpcServer:
        server = GrpcServer(self.network.accept(at)).talk()
        self.clock.advance(0)
        return server.talk()

    def test_schemes(self) -> None:
        for url, cls in (
            (URL, Native),
            ("GRPC://etcd.example", Native),
            ("grpcs://etcd.example", Native),
            ("grpc://a:1,grpc://b:2", Native),
            (["grpcs://a", "grpcs://b"], Native),
            ("http://etcd.example", Gateway),
            ("https://etcd.example", Gateway),
        ):
            self.assertIs(type(self.transport(self.client(url))), cls, url)

    def test_environment(self) -> None:
        with patch.dict(os.environ):
            os.environ["ETCD_URL"] = "grpc://etcd.example:4001/"
            client = self.client()
            self.assertEqual((client.endpoints, type(self.transport(client))), (("grpc://etcd.example:4001",), Native))
            os.environ["ETCD_URL"] = "grpcs://a:1,grpcs://b:2"
            self.assertEqual(sorted(self.client().endpoints), ["grpcs://a:1", "grpcs://b:2"])
            os.environ["ETCD_URL"] = "grpc://a:1,http://b:2"
            error = self.assertRaises(ValueError, Client, Clock())
            self.assertIn("$ETCD_URL must have one scheme for all, not grpc and http", str(error))

    def test_misuse(self) -> None:
        """What is for the gateway, or for TLS, is refused by its name where it would not be used."""
        clock = Clock()
        for url, options, cls, told in (
            (
                URL,
                {"pool": HTTPConnectionPool(clock)},
                ValueError,
                f"pool is for http:// and https:// URLs, and {URL} is",
            ),
            (URL, {"agent": Agent(clock)}, ValueError, f"agent is for http:// and https:// URLs, and {URL} is none"),
            (URL, {"pool": object()}, ValueError, "pool is for http://"),
            (URL, {"tls": TLS()}, ValueError, f"tls is for https:// and grpcs:// URLs, and {URL} is none"),
            (URL, {"tls": object()}, TypeError, "tls must be a txetcd.TLS, not object"),
            ("grpcs://a", {"tls": True}, TypeError, "tls must be a txetcd.TLS"),
            ("grpcs://a", {"tls": TLS(ca_file="/none")}, ValueError, "ca_file: '/none' cannot be read"),
            ("grpc://a/etcd", {}, ValueError, "has a path, which gRPC does not know"),
            ("grpc://a:0", {}, ValueError, "port"),
            (["grpc://a", "grpcs://b"], {}, ValueError, "url must have one scheme for all, not grpc and grpcs"),
        ):
            error = self.assertRaises(cls, Client, clock, url, **options)
            self.assertIn(told, str(error))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_calls(self) -> None:
        """It has the timeouts that it was given, and a token."""
        client = self.client(URL, None, 7.0, 3.0, credentials="token", retry=never)
        written = client.set(b"key", b"value")
        self.assertEqual(self.clock.tcpClients[0][3], 3.0)
        server = self.serve()
        self.assertEqual(repr(client), f"<Client {URL} connections=1 calls=1>")
        headers = server.asked[0].headers
        self.assertEqual((headers["token"], headers["hasleader"], headers["grpc-timeout"]), ("token", "true", "7100m"))
        server.answer(server.asked[0], WRITTEN)
        self.assertEqual(self.successResultOf(written).header.revision, 7)
        late = client.get(b"key")
        self.clock.advance(7.1)
        self.failureResultOf(late, Timeout)
        pending = client.get(b"key")
        closed = client.close()
        self.failureResultOf(pending, Closed)
        self.clock.advance(0)
        self.successResultOf(closed)

    def test_user(self) -> None:
        """A user's token is fetched over the same connection."""
        client = self.client(URL, credentials=("root", "secret"))
        found = client.get(b"key")
        server = self.serve()
        self.assertEqual(server.asked[0].headers[":path"], "/etcdserverpb.Auth/Authenticate")
        server.answer(server.asked[0], WRITTEN + b"\x12\x05fresh")
        self.clock.advance(0)
        server.talk()
        self.assertEqual(server.asked[1].headers["token"], "fresh")
        server.answer(server.asked[1], FOUND)
        self.assertEqual(self.successResultOf(found).kvs[0].value, b"value")
        self.assertEqual(self.network.attempts, 1)

    def test_next_endpoint(self) -> None:
        """What was not sent to one is asked of the next."""
        client = self.client(["grpc://10.0.0.1:2379", "grpc://10.0.0.2:2379"])
        written = client.set(b"key", b"value")
        first = self.clock.tcpClients[0][0]
        self.network.refuse(0)
        self.clock.advance(0)
        self.assertEqual({first, self.clock.tcpClients[1][0]}, {"10.0.0.1", "10.0.0.2"})
        server = self.serve()
        server.answer(server.asked[-1], WRITTEN)
        if not written.called:
            # it was asked first whether it is of the same cluster
            self.clock.advance(0)
            server.answer(server.talk().asked[-1], WRITTEN)
        self.assertEqual(self.successResultOf(written).header.revision, 7)

    def test_goodbye_is_no_failure(self) -> None:
        """A request that a server has not looked at is repeated, even a write."""
        client = self.client(URL)
        written = client.set(b"key", b"value")
        server = self.serve()
        server.raw(b"\0\0\x08\7\0\0\0\0\0" + bytes(8))
        self.clock.advance(1)
        self.assertNoResult(written)
        server = self.serve()
        server.answer(server.asked[-1], WRITTEN)
        self.assertEqual(self.successResultOf(written).header.revision, 7)

    def test_watch(self) -> None:
        client = self.client(URL)
        seen: list[Any] = []
        watching = client.watch(b"key", seen.append)
        server = self.serve()
        (asked,) = server.asked
        self.assertEqual(asked.headers[":path"], "/etcdserverpb.Watch/Watch")
        # our side of it stays open: a proxy takes its end for the end of the watch
        self.assertFalse(asked.is_whole)
        self.assertEqual(asked.data, framed(b"\x0a\x07\x0a\x03key\x40\x01"))
        server.begin(asked)
        server.say(asked, framed(b"\x0a\x02\x18\x06\x18\x01"))
        event = b"\x12\x12" + FOUND[6:24]
        server.say(asked, framed(b"\x0a\x02\x18\x08" + b"\x5a" + bytes([len(event)]) + event))
        self.assertEqual([event.kv.value for event in seen], [b"value"])
        watching.cancel()
        self.successResultOf(watching)
        self.clock.advance(0)
        self.assertEqual(server.talk().asked[0].reset, 8)

    def test_not_ready(self) -> None:
        """A server that is there and says nothing is as good as none."""
        client = self.client(URL, retry=never, connect_timeout=2.0)
        waiting = client.get(b"key")
        self.network.accept().send(SHAKEN[:9])
        self.clock.advance(2.1)
        error = self.failureResultOf(waiting, Unavailable).value
        self.assertIn("did not begin to speak HTTP/2 within 2 seconds", str(error))
