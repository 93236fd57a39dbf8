"""
A URL that is nearly right: the wrong port, path or scheme. One line says what to look at, and a write that was
certainly not carried out is not said to be perhaps. Certificates are the matter of :mod:`test.real.test_tls`.
"""

from __future__ import annotations

from typing import Any

from test.real.base import RealCase, on_every_server
from txetcd import Client, Error, Unavailable
from txetcd import _messages as messages
from txetcd import _schema as schema
from txetcd.errors import Unimplemented

NO_GATEWAY = (
    "no etcd gateway there: a wrong path, a port for peers, or --enable-grpc-gateway=false? "
    "(HTTP 404: '404 page not found')"
)
NOT_SENT = (Unavailable, False)


@on_every_server()
class WrongUrl(RealCase):
    """The wrong path, the wrong port, the wrong scheme, of a server without TLS."""

    async def assert_told(
        self: Any, client: Client, wanted: tuple[type[Error], bool], told: str, read: type[Error] = Unavailable
    ) -> None:
        """A write fails so, a read and a stream with *read*; all say this, and nothing else."""
        cls, maybe_applied = wanted
        for ask, call, expected in (
            (lambda: client.set(b"key", b"value"), "KV.Put", (cls, maybe_applied)),
            (lambda: client.get(b"key"), "KV.Range", (read, False)),
            (lambda: client.watcher(b"key").when_started(), "Watch.Watch", (read, False)),
        ):
            with self.assertRaises(Error) as caught:
                await ask()
            error = caught.exception
            self.assertEqual((type(error), error.maybe_applied), expected, error)
            self.assertEqual(str(error), f"{call} at {client.endpoints[0]}: {told}")

    async def unimplemented(self: Any, url: str, told: str) -> None:
        await self.assert_told(self.client(url), (Unimplemented, False), told, Unimplemented)

    async def peer_url(self: Any) -> Any:
        (own,) = (await self.etcd._calls.call(schema.MEMBER_LIST, messages.MemberListRequest())).members
        return own.peer_urls[0]

    async def test_path(self: Any) -> None:
        await self.unimplemented(self.url + "/elsewhere", NO_GATEWAY)

    async def test_path_of_the_gateway(self: Any) -> None:
        """It is ours to know, and was given all the same."""
        told = "the server does not know this call: it is too old, or the URL has a path too many"
        came = " (HTTP 404: 'Not Found')" if self.server.version < (3, 6) else ""
        await self.unimplemented(self.url + "/v3", told + came)

    async def test_peers(self: Any) -> None:
        """The port for the peers of the server."""
        await self.unimplemented(await self.peer_url(), NO_GATEWAY)

    async def test_https(self: Any) -> None:
        """etcd closes the connection; its port for peers says something that is no TLS."""
        told = "not sent: the server closed the connection instead of agreeing on TLS; if it does not speak TLS, use http://"
        await self.assert_told(self.client(self.url.replace("http:", "https:")), NOT_SENT, told)
        client = self.client((await self.peer_url()).replace("http:", "https:"))
        with self.assertRaises(Unavailable) as caught:
            await client.set(b"key", b"value")
        self.assertFalse(caught.exception.maybe_applied)
        # what OpenSSL calls it, in brackets, depends on its version
        self.assertIn("not sent: the server does not speak TLS there: use http:// (", str(caught.exception))
