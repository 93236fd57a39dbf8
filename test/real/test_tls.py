"""
Servers with TLS, and every way in which that can go wrong: one line says what to look at, and a write that was
certainly not carried out is not said to be perhaps.

etcd reads the files of its certificate again at each handshake, so one server can show one after the other.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Optional

from test.certificates import CLIENT, DAY, Authority, Certificate, SelfSigned, write
from test.ports import free_ports
from test.real.base import GATEWAY, NATIVE, QUICK, RealCase, on_every_server
from txetcd import TLS, Backoff, Client, Error, KeySet, OutcomeUnknown, PermissionDenied, Timeout, Unavailable
from txetcd import _messages as messages
from txetcd import _schema as schema
from txetcd._clues import OTHER_NAME
from txetcd.errors import CommonNameIgnored, TLSFailed
from txetcd.testing import EtcdProcess

ROOT = Authority("root")
OTHER = Authority("other")
LOCALHOST = ("localhost", "127.0.0.1")
SERVER = ROOT.issue(*LOCALHOST)

NO_NAMES = "the server's certificate names no host in a subjectAltName, and a CommonName does not count"


class _Tls(RealCase):
    """
    A server with TLS, and without it at another port, for those who start it.

    :ivar port: the one with TLS.
    """

    def more_arguments(self: Any) -> list[str]:
        return []

    async def start(self: Any) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.ca_file = self.file("ca.pem", ROOT.pem)
        self.show(SERVER)
        plain = free_ports(2)[0]
        self.port = plain + 1
        files = [f"--cert-file={self.directory}/server.pem", f"--key-file={self.directory}/server.key"]
        listen = f"--listen-client-urls=http://127.0.0.1:{plain},https://127.0.0.1:{self.port}"
        arguments = [*QUICK, listen, *files, *self.more_arguments()]
        self.process = EtcdProcess(self.reactor, binary=self.server.path, client_port=plain, arguments=arguments)
        self.addCleanup(self.process.stop)
        await self.process.start()
        self.stands_before(self.url_at(), self.process.url)

    def file(self: Any, name: str, *content: bytes) -> str:
        return write(self.directory / name, *content)

    def show(self: Any, certificate: Certificate) -> None:
        """The server shows this one from now on."""
        self.file("server.pem", certificate.certificate)
        self.file("server.key", certificate.key)

    def secure(self: Any, host: str = "localhost", *, timeout: Optional[float] = None, **tls: Any) -> Client:
        """A client that trusts the authority of these tests, and tries again."""
        tls.setdefault("ca_file", self.ca_file)
        return self.client(self.url_at(host), timeout=timeout, tls=TLS(**tls), retry=Backoff())

    def url_at(self: Any, host: str = "localhost") -> str:
        """The URL with TLS."""
        return f"{self.scheme}s://{host}:{self.port}"

    def client_file(self: Any, certificate: Certificate, name: str = "client") -> str:
        return self.file(f"{name}.pem", certificate.certificate, certificate.key)

    async def assert_works(self: Any, etcd: Client) -> None:
        await etcd.set(b"key", b"value")
        self.assertEqual((await etcd.get(b"key")).kvs[0].value, b"value")
        async with etcd.watcher(b"key"):
            pass

    async def told(self: Any, etcd: Client, kind: type[Error] = TLSFailed) -> str:
        """What a write, a read and a watch fail with at once, that were certainly not carried out."""
        told = set()
        before = await self.revision()
        for ask, call in (
            (lambda: etcd.set(b"key", b"value"), "KV.Put"),
            (lambda: etcd.get(b"key"), "KV.Range"),
            (lambda: etcd.watcher(b"key").when_started(), "Watch.Watch"),
        ):
            with self.assertRaises(kind) as caught:
                await ask()
            error = caught.exception
            prefix = f"{call} at {etcd.endpoints[0]}: not sent: "
            self.assertEqual((type(error), error.maybe_applied, error.attempts), (kind, False, 1))
            self.assertEqual(str(error)[: len(prefix)], prefix)
            told.add(str(error)[len(prefix) :])
        self.assertEqual(await self.revision(), before)
        (one,) = told
        return one

    async def revision(self: Any) -> int:
        """How much was written so far, by what the server says without TLS."""
        answer = await self.client(self.process.url).get(b"key", count_only=True)
        return int(answer.header.revision)


@on_every_server()
class Tls(_Tls):
    """A server with TLS, which asks for no certificate of its clients."""

    async def start(self: Any) -> None:
        await super().start()
        # without TLS it serves a little earlier; and until then it would not survive that its files change
        await self.secure().status()

    async def test_works(self: Any) -> None:
        """With its name and with its address, by our authority and by the system's."""
        await self.assert_works(self.secure())
        await self.assert_works(self.secure("127.0.0.1"))
        self.show(ROOT.issue("etcd.example"))
        await self.assert_works(self.secure("127.0.0.1", server_name="etcd.example"))

    async def test_system(self: Any) -> None:
        """Without a file the system's trust store counts, wherever it is."""
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = self.ca_file
        try:
            await self.assert_works(self.client(self.url_at()))
        finally:
            del os.environ["SSL_CERT_FILE"]
            os.environ.update({} if before is None else {"SSL_CERT_FILE": before})
        told = await self.told(self.client(self.url_at()))
        self.assertIn("from an authority that is not among those that the system trusts", told)

    async def test_lost(self: Any) -> None:
        """After both sides have agreed, a write that is lost is no longer certain not to have happened."""
        etcd = self.secure()
        await etcd._calls.call(schema.LOCK, messages.LockRequest(b"lock"))
        waiting = etcd._calls.call(schema.LOCK, messages.LockRequest(b"lock"))
        await self.until(lambda: self.is_waiting(etcd))
        await self.process.kill()
        with self.assertRaises(OutcomeUnknown) as caught:
            await waiting
        self.assertIn("the connection was lost before the answer was complete: ", str(caught.exception))

    async def is_waiting(self: Any, etcd: Client) -> bool:
        return (await etcd.get(KeySet(b"lock/", prefix=True))).count == 2

    async def test_another_host(self: Any) -> None:
        self.show(ROOT.issue("etcd.example", "10.0.0.1"))
        for host in LOCALHOST:
            told = await self.told(self.secure(host))
            names = "DNS:etcd.example, IP:10.0.0.1"
            self.assertEqual(told, f"the server's certificate is not for {host}, but for {names} {OTHER_NAME}")

    async def test_no_name(self: Any) -> None:
        """Some Twisted takes such a certificate for one of every host."""
        self.show(ROOT.issue(name="localhost"))
        for host in LOCALHOST:
            self.assertEqual(await self.told(self.secure(host)), NO_NAMES)

    async def test_unknown_authority(self: Any) -> None:
        self.show(OTHER.issue(*LOCALHOST))
        authority = f"an authority that is not in {self.ca_file!r}: 'CN=other'"
        self.assertEqual(await self.told(self.secure()), f"the server's certificate is from {authority}")

    async def test_self_signed(self: Any) -> None:
        own = SelfSigned("localhost").own
        self.show(own)
        told = f"the server's certificate is signed by nobody but itself, and it is not in {self.ca_file!r}"
        self.assertEqual(await self.told(self.secure()), told)
        await self.assert_works(self.secure(ca_file=self.file("own.pem", own.certificate)))

    async def test_expired(self: Any) -> None:
        expired = ROOT.issue(*LOCALHOST, begin=-3 * DAY, end=-DAY)
        self.show(expired)
        when = expired.end.strftime("%Y-%m-%d %H:%M:%S UTC")
        told = f"the server's certificate has expired: it was valid until {when}"
        self.assertEqual(await self.told(self.secure()), told)

    async def test_not_yet_valid(self: Any) -> None:
        early = ROOT.issue(*LOCALHOST, begin=timedelta(hours=1))
        self.show(early)
        when = early.begin.strftime("%Y-%m-%d %H:%M:%S UTC")
        told = f"the server's certificate is not valid before {when}: is the clock right?"
        self.assertEqual(await self.told(self.secure()), told)

    async def test_for_clients(self: Any) -> None:
        self.show(ROOT.issue(*LOCALHOST, usages=(CLIENT,)))
        told = "the server's certificate is not meant for this use (extendedKeyUsage)"
        self.assertEqual(await self.told(self.secure()), told)

    async def test_plain(self: Any) -> None:
        """
        It closes the connection: that is all that can be known. Of a write through the gateway nothing more; natively
        nothing is sent to whom nothing was heard of.
        """
        told = self.by_transport(
            "the connection was lost before the answer was complete: the server closed it without a word; "
            "if it speaks TLS, use https://",
            "not sent: the server closed it without a word; if it speaks TLS, use grpcs://; "
            "if it speaks HTTP/1 only, use http://",
        )
        lost = self.by_transport(OutcomeUnknown, Unavailable)
        etcd = self.client(f"{self.scheme}://localhost:{self.port}")
        for ask, cls in ((lambda: etcd.set(b"key", b"value"), lost), (lambda: etcd.get(b"key"), Unavailable)):
            with self.assertRaises(Error) as caught:
                await ask()
            error = caught.exception
            self.assertEqual((type(error), error.maybe_applied), (cls, cls is OutcomeUnknown))
            self.assertTrue(str(error).endswith(f": {told}"), error)

    async def test_secure_to_a_plain_port(self: Any) -> None:
        told = "the server closed the connection instead of agreeing on TLS; if it does not speak TLS, use "
        etcd = self.client(self.url_of(self.process).replace("://", "s://"), tls=TLS(self.ca_file))
        self.assertEqual(await self.told(etcd, Unavailable), f"{told}{self.scheme}://")

    async def test_silent(self: Any) -> None:
        """It takes connections, and agrees on nothing: nothing was sent, and that is said."""
        await self.pause(self.process)
        etcd = self.secure(timeout=4)
        for ask in (lambda: etcd.set(b"key", b"value"), lambda: etcd.get(b"key")):
            with self.assertRaises(Timeout) as caught:
                await ask()
            error = caught.exception
            self.assertFalse(error.maybe_applied)
            reason = self.by_transport("the TLS handshake was not completed", "there is no connection yet")
            # natively the second one waits for the same connection, which is given up meanwhile
            self.assertRegex(error.message, f"^could not be sent within .+: {reason}")
        etcd = self.client(self.url_at(), connect_timeout=4, tls=TLS(self.ca_file))
        with self.assertRaises(Unavailable) as unavailable:
            await etcd.watcher(b"key").when_started()
        told = f"not sent: the TLS handshake was not completed at port {self.port} within 4 seconds"
        self.assertEqual(unavailable.exception.message, told)
        self.process.resume()
        await self.until(lambda: self.is_back(etcd))

    async def is_back(self: Any, etcd: Client) -> bool:
        try:
            await etcd.status()
        except (Unavailable, Timeout):
            return False
        return True

    async def test_authority_changes(self: Any) -> None:
        """The server gets a certificate of another authority, and the client's file says so later or earlier."""
        etcd = self.secure()
        await self.assert_works(etcd)
        self.show(OTHER.issue(*LOCALHOST))
        fresh = self.secure()
        with self.assertRaises(Unavailable):
            await fresh.get(b"key")
        # a connection that is open goes on
        await etcd.get(b"key")
        self.file("ca.pem", ROOT.pem, OTHER.pem)
        await self.assert_works(fresh)


@on_every_server()
class ClientCertificate(_Tls):
    """A server that wants a certificate of its clients, and says so in words that depend on its version."""

    def more_arguments(self: Any) -> list[str]:
        return ["--client-cert-auth", f"--trusted-ca-file={self.ca_file}"]

    async def test_works(self: Any) -> None:
        """One file may hold both, or each its own."""
        own = ROOT.issue(name="client", usages=(CLIENT,))
        cert, key = self.file("cert.pem", own.certificate), self.file("key.pem", own.key)
        await self.assert_works(self.secure(cert_file=self.client_file(own)))
        await self.assert_works(self.secure("127.0.0.1", cert_file=cert, key_file=key))

    async def test_none(self: Any) -> None:
        told = await self.told(self.secure())
        self.assertRegex(told, r"^the server wants a client certificate: name one with TLS\(cert_file=\.\.\.\) \(.+\)$")

    async def test_refused(self: Any) -> None:
        """Of an authority that it does not know, and one that has expired."""
        for own in (OTHER.issue(name="client"), ROOT.issue(name="client", begin=-3 * DAY, end=-DAY)):
            path = self.client_file(own)
            told = await self.told(self.secure(cert_file=path))
            self.assertRegex(told, rf"^the server does not accept the client certificate in {path!r} \(.+\)$")

    async def test_short_lived(self: Any) -> None:
        """The file changes while the client uses it: what is bad then is not used, what is good is."""
        path = self.client_file(OTHER.issue(name="client"))
        etcd = self.secure(cert_file=path)
        await self.told(etcd)
        own = ROOT.issue(name="client")
        self.client_file(own)
        await self.assert_works(etcd)
        self.file("client.pem", own.certificate, own.key[:50])
        for _ in range(2):
            await self.assert_new_connection(etcd)
        self.client_file(OTHER.issue(name="client"))
        with self.assertRaises(Unavailable):
            await self.assert_new_connection(etcd)
        await self.assert_old_connection(etcd)

    async def assert_new_connection(self: Any, etcd: Client) -> None:
        """Makes one, and uses it: natively one is made when that of before has ended."""
        if self.scheme == NATIVE:
            await self.drop(etcd)
        async with etcd.watcher(b"key"):
            pass

    async def drop(self: Any, etcd: Client) -> None:
        for connection in list(etcd._calls._transport._connections._open):
            connection.transport.abortConnection()
        await self.until(lambda: not etcd.stats().connections)

    async def assert_old_connection(self: Any, etcd: Client) -> None:
        """That of before goes on, if there is one."""
        if self.scheme == GATEWAY:
            await etcd.get(b"key")


class _CommonName(_Tls):
    """Clients that show certificates, and a server where authentication is on."""

    etcdctl_options = ("--user=root:secret",)

    def more_arguments(self: Any) -> list[str]:
        return ["--client-cert-auth", f"--trusted-ca-file={self.ca_file}"]

    async def start(self: Any) -> None:
        await super().start()
        for path, message in (
            ("/v3/auth/user/add", {"name": "root", "password": "secret"}),
            ("/v3/auth/role/add", {"name": "root"}),
            ("/v3/auth/user/grant", {"user": "root", "role": "root"}),
            ("/v3/auth/user/add", {"name": "alice", "password": "secret"}),
            ("/v3/auth/user/add", {"name": "bob", "options": {"no_password": True}}),
            ("/v3/auth/role/add", {"name": "alices"}),
            (
                "/v3/auth/role/grant",
                {"name": "alices", "perm": {"permType": "READWRITE", "key": "YQ==", "range_end": "Yg=="}},
            ),
            ("/v3/auth/user/grant", {"user": "alice", "role": "alices"}),
            ("/v3/auth/user/grant", {"user": "bob", "role": "alices"}),
            ("/v3/auth/enable", {}),
        ):
            await self.post(path, message, self.process.url)

    def named(self: Any, name: str, **options: Any) -> Client:
        """A client whose certificate says that this is its name, if that is any."""
        own = ROOT.issue(name=name) if name else ROOT.issue("client.example")
        tls = TLS(self.ca_file, self.client_file(own, f"named {name}"))
        client: Client = self.client(self.url_at(), tls=tls, **options)
        return client


@on_every_server(schemes=[GATEWAY])
class CommonNameAtGateway(_CommonName):
    """A certificate's CommonName while authentication is on."""

    async def test_common_name(self: Any) -> None:
        """The gateway takes no certificate that has one."""
        etcd = self.secure(cert_file=self.client_file(ROOT.issue(name="root")))
        for ask in (lambda: etcd.set(b"key", b"value"), lambda: etcd.get(b"key")):
            with self.assertRaises(CommonNameIgnored) as caught:
                await ask()
            self.assertFalse(caught.exception.maybe_applied)
            self.assertIn("CommonName of client sending a request against gateway will", str(caught.exception))
        await self.assert_works(self.named("", credentials=("root", "secret")))


@on_every_server(schemes=[NATIVE])
class CommonName(_CommonName):
    """A certificate's CommonName while authentication is on: it is the user."""

    async def test_user(self: Any) -> None:
        """He may do what his roles say, without a password, and also if he has none; nobody else may."""
        await self.assert_works(self.named("root"))
        for name in ("alice", "bob"):
            etcd = self.named(name)
            await etcd.set(b"a", name.encode())
            self.assertEqual((await etcd.get(b"a")).kvs[0].value, name.encode())
            watch = await etcd.watcher(b"a").when_started()
            await etcd.delete(b"a")
            self.assertTrue((await watch.__anext__()).is_delete)
            async with etcd.lease(60) as lease:
                await etcd.set(b"a", b"", lease=lease)
            for ask in (lambda: etcd.set(b"b", b""), lambda: etcd.get(b"b"), etcd.auth.users):
                with self.assertRaises(PermissionDenied):
                    await ask()
            with self.assertRaises(PermissionDenied):
                await etcd.watcher(b"b").when_started()

    async def test_unknown(self: Any) -> None:
        """Somebody whom nobody knows, and nobody: it is not said that he has no name."""
        for name in ("mallory", ""):
            with self.assertRaises(PermissionDenied):
                await self.named(name).set(b"a", b"")

    async def test_token_first(self: Any) -> None:
        """Whoever logs in is whom he says he is, whatever his certificate says."""
        alice = self.named("root", credentials=("alice", "secret"))
        await alice.set(b"a", b"")
        with self.assertRaises(PermissionDenied):
            await alice.set(b"b", b"")
        root = self.named("alice", credentials=("root", "secret"))
        await root.set(b"b", b"")
        await self.assert_works(self.named("", credentials=("root", "secret")))

    async def test_others_change(self: Any) -> None:
        """Users and roles change, and nobody notices: there is no token that could be too old."""
        root, alice = self.named("root"), self.named("alice")
        for number in range(3):
            await root.auth.add_user(f"user{number}", "x")
            await alice.set(b"a", b"")
