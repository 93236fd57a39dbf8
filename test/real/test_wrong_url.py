"""
A URL that is nearly right: the wrong port, path or scheme. One line says what to look at, and a write that was
certainly not carried out is not said to be perhaps. Certificates are the matter of :mod:`test.real.test_tls`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from test.certificates import Authority, write
from test.ports import free_ports
from test.real.base import GATEWAY, NATIVE, QUICK, RealCase, on_every_server
from txetcd import TLS, Client, Error, OutcomeUnknown, Unavailable
from txetcd import _messages as messages
from txetcd import _schema as schema
from txetcd.errors import TLSFailed, Unimplemented, WrongProtocol
from txetcd.testing import EtcdProcess

NO_GATEWAY = (
    "no etcd gateway there: a wrong path, a port for peers, or --enable-grpc-gateway=false? "
    "(HTTP 404: '404 page not found')"
)
NO_GRPC = (
    "no gRPC there, but perhaps etcd's gateway: use http:// or https:// (HTTP 404: '404 page not found')"
)
NO_HTTP_1 = (
    "no etcd gateway there? the server speaks HTTP/2 and nothing else, as those of gRPC do: use grpc:// or grpcs://"
)
NO_HTTP_2 = "not sent: the server does not speak HTTP/2 there, but HTTP/1: use http:// or https:// ('HTTP/1.1 400..."
CLOSED = "the server closed it without a word; if it speaks TLS, use "
LOST = "the connection was lost before the answer was complete: "
NO_TLS = "not sent: the server closed the connection instead of agreeing on TLS; if it does not speak TLS, use "
NOT_TLS = "not sent: the server does not speak TLS there: use "
NOT_SENT = (Unavailable, False)


class _WrongUrl(RealCase):
    async def assert_told(
        self: Any, client: Client, wanted: tuple[type[Error], bool], told: str, read: type[Error] = Unavailable
    ) -> None:
        """
        A write fails so, a read and a stream with *read*; all say this and nothing else, unless it ends with dots.
        What did not happen did not.
        """
        cls, maybe_applied = wanted
        for ask, call, expected in (
            (lambda: client.set(self.key(b"key"), b"value"), "KV.Put", (cls, maybe_applied)),
            (lambda: client.get(self.key(b"key")), "KV.Range", (read, False)),
            (lambda: client.watcher(self.key(b"key")).when_started(), "Watch.Watch", (read, False)),
        ):
            with self.assertRaises(Error) as caught:
                await ask()
            error = caught.exception
            self.assertEqual((type(error), error.maybe_applied), expected, error)
            begin = told.rstrip(".")
            end = len(str(error)) if begin == told else len(f"{call} at {client.endpoints[0]}: {begin}")
            self.assertEqual(str(error)[:end], f"{call} at {client.endpoints[0]}: {begin}")
        self.assertEqual((await self.etcd.get(self.key(b"key"))).count, 0)

    async def assert_not_sent(self: Any, client: Client, cls: type[Error], told: str) -> None:
        """All fail with this, and nothing of them was carried out."""
        await self.assert_told(client, (cls, False), told, cls)

    async def assert_works(self: Any, client: Client) -> None:
        await client.set(self.key(b"works"), b"value")
        self.assertEqual((await client.get(self.key(b"works"))).count, 1)
        await client.watcher(self.key(b"works")).when_started()

    async def peer_url(self: Any) -> str:
        """The port for the peers of the server."""
        (own,) = (await self.etcd._calls.call(schema.MEMBER_LIST, messages.MemberListRequest())).members
        return str(self.spoken(own.peer_urls[0]))


def secure(url: str) -> str:
    """The same with TLS."""
    return url.replace("://", "s://")


@on_every_server()
class WrongUrl(_WrongUrl):
    """The wrong port, the wrong scheme, of a server without TLS."""

    async def test_peers(self: Any) -> None:
        """The port for the peers of the server. Up to 3.5 it serves clients as well, if they speak gRPC."""
        etcd = self.client(await self.peer_url())
        if self.scheme == GATEWAY:
            await self.assert_not_sent(etcd, Unimplemented, NO_GATEWAY)
        elif self.server.version < (3, 6):
            await self.assert_works(etcd)
        else:
            await self.assert_not_sent(etcd, WrongProtocol, NO_HTTP_2)

    async def test_secure(self: Any) -> None:
        """etcd closes the connection."""
        etcd = self.client(secure(self.url))
        await self.assert_not_sent(etcd, Unavailable, f"{NO_TLS}{self.scheme}://")

    async def test_secure_to_peers(self: Any) -> None:
        """Its port for peers says something that is no TLS; what OpenSSL calls it, in brackets, depends on that."""
        etcd = self.client(secure(await self.peer_url()))
        await self.assert_not_sent(etcd, TLSFailed, f"{NOT_TLS}{self.scheme}:// (...")


@on_every_server(schemes=[GATEWAY])
class WrongPath(_WrongUrl):
    """The wrong path, which a URL of gRPC cannot have."""

    async def test_path(self: Any) -> None:
        await self.assert_not_sent(self.client(self.url + "/elsewhere"), Unimplemented, NO_GATEWAY)

    async def test_path_of_the_gateway(self: Any) -> None:
        """It is ours to know, and was given all the same."""
        told = "the server does not know this call: it is too old, or the URL has a path too many"
        came = " (HTTP 404: 'Not Found')" if self.server.version < (3, 6) else ""
        await self.assert_not_sent(self.client(self.url + "/v3"), Unimplemented, told + came)


class _Apart(_WrongUrl):
    """
    A server that serves HTTP/1 and gRPC at ports of their own, both with TLS and without.

    :ivar etcd: a client that asks where it is right.
    :ivar tls: for clients.
    :ivar right: where what the case speaks is served ...
    :ivar wrong: ... and where something else is; both also with TLS at the next port.
    """

    async def start(self: Any) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        root = Authority("root")
        own = root.issue("127.0.0.1")
        files = write(directory / "server.pem", own.certificate), write(directory / "server.key", own.key)
        self.tls = TLS(write(directory / "ca.pem", root.pem))
        http = free_ports(4)[0]
        grpc = http + 2
        arguments = [
            *QUICK,
            f"--listen-client-http-urls=http://127.0.0.1:{http},https://127.0.0.1:{http + 1}",
            f"--listen-client-urls=http://127.0.0.1:{grpc},https://127.0.0.1:{grpc + 1}",
            f"--cert-file={files[0]}",
            f"--key-file={files[1]}",
        ]
        process = EtcdProcess(self.reactor, binary=self.server.path, client_port=http, arguments=arguments)
        self.addCleanup(process.stop)
        await process.start()
        self.right, self.wrong = self.by_transport((http, grpc), (grpc, http))
        self.etcd = self.plain(self.right)

    def plain(self: Any, port: int) -> Client:
        client: Client = self.client(f"{self.scheme}://127.0.0.1:{port}")
        return client

    def secure(self: Any, port: int) -> Client:
        """At the port with TLS that belongs to that one."""
        client: Client = self.client(f"{self.scheme}s://127.0.0.1:{port + 1}", tls=self.tls)
        return client

    async def test_right(self: Any) -> None:
        """With TLS it is agreed on what is spoken (ALPN)."""
        await self.assert_works(self.plain(self.right))
        await self.assert_works(self.secure(self.right))


@on_every_server(lambda server: server.version >= (3, 5, 10), schemes=[GATEWAY])
class HttpApart(_Apart):
    """Asked for its gateway."""

    async def test_wrong(self: Any) -> None:
        """It speaks gRPC only."""
        await self.assert_not_sent(self.plain(self.wrong), WrongProtocol, NO_HTTP_1)

    async def test_wrong_with_tls(self: Any) -> None:
        """It closes the connection when it sees the request: that is all that can be known, also of a write."""
        await self.assert_told(self.secure(self.wrong), (OutcomeUnknown, True), f"{LOST}the server closed it")


@on_every_server(lambda server: server.version >= (3, 5, 10), schemes=[NATIVE])
class GrpcApart(_Apart):
    """Asked for gRPC."""

    async def test_wrong(self: Any) -> None:
        """It speaks HTTP/1 only, and closes the connection as it does where it speaks TLS: so it may be either."""
        told = f"not sent: {CLOSED}grpcs://; if it speaks HTTP/1 only, use http://"
        await self.assert_not_sent(self.plain(self.wrong), Unavailable, told)
        await self.assert_not_sent(self.plain(self.right + 1), Unavailable, told)

    async def test_wrong_with_tls(self: Any) -> None:
        """With TLS it speaks HTTP/2 there, too, but no gRPC."""
        await self.assert_not_sent(self.secure(self.wrong), Unimplemented, NO_GRPC)
