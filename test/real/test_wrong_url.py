"""
A URL that is nearly right: the wrong port, path or scheme, a certificate that is not trusted. One line says what to
look at, and a write that was certainly not carried out is not said to be perhaps.
"""

from __future__ import annotations

import os
from typing import Any, Optional

from test.certificates import make_certificate
from test.ports import free_port
from test.real.base import QUICK, RealCase, on_every_server
from txetcd import Client, Error, KeySet, OutcomeUnknown, Unavailable
from txetcd import _messages as messages
from txetcd import _schema as schema
from txetcd.errors import Unimplemented
from txetcd.testing import EtcdProcess

NO_GATEWAY = (
    "no etcd gateway there: a wrong path, a port for peers, or --enable-grpc-gateway=false? "
    "(HTTP 404: '404 page not found')"
)
UNTRUSTED = (
    "not sent: certificate verify failed: the server's certificate must be valid now, and its authority in the "
    "system's trust store, or in $SSL_CERT_FILE"
)
NOT_SENT = (Unavailable, False)


class _WrongUrl(RealCase):
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
            self.assertEqual(str(error), f"{call} at {client.url}: {told}")


@on_every_server()
class WrongUrl(_WrongUrl):
    """The wrong path, the wrong port, the wrong scheme, of a server without TLS."""

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


class _Tls(_WrongUrl):
    """A server with TLS, and without it at another port, for those who start it."""

    async def start(self: Any) -> None:
        self.certificate, key = make_certificate("localhost", self.mktemp())
        plain = free_port(2)
        self.port = plain + 1
        listen = f"--listen-client-urls=http://127.0.0.1:{plain},https://127.0.0.1:{self.port}"
        arguments = [*QUICK, listen, f"--cert-file={self.certificate}", f"--key-file={key}", *self.more_arguments()]
        self.process = EtcdProcess(self.reactor, binary=self.server.path, client_port=plain, arguments=arguments)
        self.addCleanup(self.process.stop)
        await self.process.start()

    def more_arguments(self: Any) -> list[str]:
        return []

    def trust(self: Any) -> None:
        """The system trusts the server's certificate, until the end of the test."""
        self.addCleanup(_set_certificates, os.environ.get("SSL_CERT_FILE"))
        _set_certificates(self.certificate)


def _set_certificates(path: Optional[str]) -> None:
    if path is None:
        os.environ.pop("SSL_CERT_FILE", None)
    else:
        os.environ["SSL_CERT_FILE"] = path


@on_every_server()
class Tls(_Tls):
    """A server with TLS, which asks for no certificate of its clients."""

    async def test_trusted(self: Any) -> None:
        """It can be used."""
        self.trust()
        etcd = self.client(f"https://localhost:{self.port}")
        await etcd.set(b"key", b"value")
        self.assertEqual((await etcd.get(b"key")).kvs[0].value, b"value")
        await etcd.watcher(b"key").when_started()

    async def test_lost(self: Any) -> None:
        """After both sides have agreed, a write that is lost is no longer certain not to have happened."""
        self.trust()
        etcd = self.client(f"https://localhost:{self.port}")
        await etcd._calls.call(schema.LOCK, messages.LockRequest(b"lock"))
        waiting = etcd._calls.call(schema.LOCK, messages.LockRequest(b"lock"))
        await self.until(lambda: self.is_waiting(etcd))
        await self.process.kill()
        with self.assertRaises(OutcomeUnknown) as caught:
            await waiting
        self.assertIn("the connection was lost before the answer was complete: ", str(caught.exception))

    async def is_waiting(self: Any, etcd: Client) -> bool:
        return (await etcd.get(KeySet(b"lock/", prefix=True))).count == 2

    async def test_not_trusted(self: Any) -> None:
        await self.assert_told(self.client(f"https://localhost:{self.port}"), NOT_SENT, UNTRUSTED)

    async def test_another_name(self: Any) -> None:
        self.trust()
        told = "not sent: the server's certificate is not for this host name"
        await self.assert_told(self.client(f"https://127.0.0.1:{self.port}"), NOT_SENT, told)

    async def test_http(self: Any) -> None:
        """It closes the connection: that is all that can be known, also of a write."""
        told = (
            "the connection was lost before the answer was complete: the server closed it without a word; "
            "if it speaks TLS, use https://"
        )
        await self.assert_told(self.client(f"http://localhost:{self.port}"), (OutcomeUnknown, True), told)


@on_every_server()
class ClientCertificate(_Tls):
    """A server that wants a certificate of its clients, and says so in words that depend on its version."""

    def more_arguments(self: Any) -> list[str]:
        return ["--client-cert-auth", f"--trusted-ca-file={self.certificate}"]

    async def test_none(self: Any) -> None:
        self.trust()
        etcd = self.client(f"https://localhost:{self.port}")
        for ask in (
            lambda: etcd.set(b"key", b"value"),
            lambda: etcd.get(b"key"),
            lambda: etcd.watcher(b"key").when_started(),
        ):
            with self.assertRaises(Unavailable) as caught:
                await ask()
            self.assertFalse(caught.exception.maybe_applied)
            self.assertIn(
                ": not sent: the server wants a client certificate that it trusts, which only an agent= of yours can "
                "show (",
                str(caught.exception),
            )
