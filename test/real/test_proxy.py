"""
:class:`txetcd.testing.FaultyProxy` does to real connections what it says, as plain sockets on both sides see it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.request import urlopen

from twisted.internet.defer import gatherResults
from twisted.internet.protocol import ClientCreator, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from test.certificates import SelfSigned
from test.ports import free_ports
from test.real.base import GATEWAY, QUICK, RealCase, on_newest_server
from txetcd import Error
from txetcd.testing import EtcdProcess, FaultyProxy
from txetcd.testing._identity import Bootstrap, Peer, new_token
from txetcd.testing._process import record_bootstrap


class Plain:
    """
    A socket that is read and written by hand.

    :ivar received: what came over it so far.
    :ivar end: how it ended: ``"close"``, ``"reset"`` (ECONNRESET), or not yet.
    """

    def __init__(self, plain: socket.socket) -> None:
        plain.setblocking(False)
        self.socket = plain
        self.received = b""
        self.end: Optional[str] = None

    def look(self) -> None:
        """Reads all that is there."""
        with contextlib.suppress(BlockingIOError):
            while self.end is None:
                self._read()

    def _read(self) -> None:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            self.end = "reset"
        else:
            self.received += data
            self.end = None if data else "close"

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        """As a crash does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


class PlainServer:
    """
    A server of which the test plays the part.

    :ivar url: where it is.
    """

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"


class ProxyCase(RealCase):
    """
    A proxy in front of the server.

    :ivar proxy: the proxy.
    """

    async def start(self: Any) -> None:
        self.proxy = await self.proxy_to(self.url)

    async def proxy_to(self: Any, url: str, seed: int = 1) -> FaultyProxy:
        proxy = FaultyProxy(self.reactor, url, seed=seed)
        self.addCleanup(proxy.stop)
        return await proxy.start()

    def connect(self: Any, proxy: Optional[FaultyProxy] = None) -> Plain:
        """A client: the kernel has accepted it, the proxy not yet."""
        host, _, port = (proxy or self.proxy).url.rpartition("//")[2].partition(":")
        plain = Plain(socket.create_connection((host, int(port))))
        self.addCleanup(plain.socket.close)
        return plain

    async def pair(self: Any) -> tuple[Plain, Plain, FaultyProxy]:
        """A client, a server, and the proxy between."""
        server = PlainServer()
        self.addCleanup(server.socket.close)
        proxy = await self.proxy_to(server.url)
        client = self.connect(proxy)
        accepted = Plain(await self.until(lambda: self.accepted(server)))
        self.addCleanup(accepted.socket.close)
        return client, accepted, proxy

    def accepted(self: Any, server: PlainServer) -> Optional[socket.socket]:
        with contextlib.suppress(BlockingIOError):
            return server.socket.accept()[0]
        return None

    async def heard(self: Any, plain: Plain, data: bytes) -> None:
        """It receives exactly this, and goes on."""
        await self.until_received(plain, lambda: len(plain.received) >= len(data))
        self.assertEqual((plain.received, plain.end), (data, None))
        plain.received = b""

    async def ended(self: Any, plain: Plain, how: str, data: bytes = b"") -> None:
        """It receives exactly this, and then ends so."""
        await self.until_received(plain, lambda: plain.end)
        self.assertEqual((plain.received, plain.end), (data, how))

    async def until_received(self: Any, plain: Plain, condition: Callable[[], Any]) -> None:
        def look() -> Any:
            plain.look()
            return condition()

        await self.until(look)

    async def silent(self: Any, *sockets: Plain) -> None:
        """It is open, and nothing comes; not even after all had their turn."""
        for _ in range(5):
            await deferLater(self.reactor, 0)
        for plain in sockets:
            plain.look()
            self.assertEqual((plain.received, plain.end), (b"", None))

    # --- of etcd

    def put(self: Any, name: bytes) -> bytes:
        """A request that writes a key."""
        return request("/v3/kv/put", {"key": text(self.key(name)), "value": text(b"value")})

    async def versions(self: Any, name: bytes) -> list[int]:
        """How often the key was written; nothing if it is not there."""
        return [kv.version for kv in (await self.etcd.get(self.key(name))).kvs]

    async def answered(self: Any, plain: Plain) -> bytes:
        """A whole answer of the server."""

        def is_whole() -> bool:
            head, end, body = plain.received.partition(b"\r\n\r\n")
            return end != b"" and len(body) >= int(head.lower().partition(b"content-length: ")[2].split()[0])

        await self.until_received(plain, is_whole)
        answer, plain.received = plain.received, b""
        self.assertIsNone(plain.end)
        return answer


def request(path: str, message: dict[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    return b"POST %s HTTP/1.1\r\nHost: etcd\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@on_newest_server([GATEWAY])
class Connections(ProxyCase):
    """Made, refused, dropped."""

    async def test_faithful(self: Any) -> None:
        client = self.connect()
        for number in range(1, 4):
            client.send(self.put(b"a"))
            self.assertIn(b"200 OK", await self.answered(client))
            self.assertEqual(await self.versions(b"a"), [number])
        self.assertEqual((self.proxy.accepted, len(self.proxy.connections)), (1, 1))
        self.assertEqual(self.proxy.bytes_to_server, 3 * len(self.put(b"a")))

    async def test_everything_passes(self: Any) -> None:
        """Megabytes, in both directions at once."""
        client, server, proxy = await self.pair()
        rest = {client: os.urandom(8_000_000), server: os.urandom(8_000_000)}
        sent = dict(rest)

        def pump() -> bool:
            for plain in (client, server):
                with contextlib.suppress(BlockingIOError):
                    rest[plain] = rest[plain][plain.socket.send(rest[plain][:100_000]) :]
                plain.look()
            return len(client.received) + len(server.received) == 16_000_000

        while not pump():
            await deferLater(self.reactor, 0)
        self.assertEqual((server.received, client.received), (sent[client], sent[server]))
        self.assertEqual((proxy.bytes_to_server, proxy.bytes_to_client), (8_000_000, 8_000_000))

    async def test_refused(self: Any) -> None:
        """Those that are there stay, and the port as well."""
        client = self.connect()
        client.send(self.put(b"a"))
        await self.answered(client)
        for _ in range(3):
            await self.proxy.refuse()
            self.assertRaises(ConnectionRefusedError, self.connect)
            client.send(self.put(b"a"))
            await self.answered(client)
            await self.proxy.accept()
            other = self.connect()
            other.send(self.put(b"a"))
            await self.answered(other)
        self.assertEqual(await self.versions(b"a"), [7])

    async def test_port_is_kept(self: Any) -> None:
        await self.proxy.refuse()
        port = int(self.proxy.url.rpartition(":")[2])
        with socket.socket() as other:
            self.assertRaises(OSError, other.bind, ("127.0.0.1", port))

    async def test_dropped(self: Any) -> None:
        for how in ("close", "reset"):
            client, server, proxy = await self.pair()
            client.send(b"question")
            await self.heard(server, b"question")
            proxy.drop(how)
            await self.ended(client, how)
            await self.ended(server, how)
            self.assertEqual(proxy.faults, {"drop": 1})

    async def test_half_closed(self: Any) -> None:
        client, server, proxy = await self.pair()
        proxy.half_close()
        await self.ended(client, "close")
        client.send(b"still")
        await self.heard(server, b"still")
        proxy.half_close("to_server")
        await self.ended(server, "close")
        await self.until(lambda: not proxy.connections)

    async def test_half_close_passes(self: Any) -> None:
        client, server, proxy = await self.pair()
        client.send(b"question")
        client.socket.shutdown(socket.SHUT_WR)
        await self.ended(server, "close", b"question")
        server.send(b"answer")
        await self.heard(client, b"answer")
        server.socket.close()
        await self.ended(client, "close")
        await self.until(lambda: not proxy.connections)

    async def test_reset_passes(self: Any) -> None:
        client, server, proxy = await self.pair()
        client.send(b"question")
        await self.heard(server, b"question")
        client.reset()
        await self.ended(server, "reset")
        client, server, proxy = await self.pair()
        server.send(b"answer")
        server.reset()
        await self.ended(client, "reset", b"answer")

    async def test_nobody_there(self: Any) -> None:
        """A connection to a server that does not run is reset."""
        (port,) = free_ports(1)
        proxy = await self.proxy_to(f"http://127.0.0.1:{port}")
        await self.ended(self.connect(proxy), "reset")

    async def test_server_that_does_not_read(self: Any) -> None:
        """What it does not read is not read from the client either."""
        client, server, proxy = await self.pair()
        sent = 0
        for _ in range(2000):
            with contextlib.suppress(BlockingIOError):
                sent += client.socket.send(bytes(100_000))
            await deferLater(self.reactor, 0)
        # the kernel has some megabytes for each socket
        self.assertLess(sent, 100_000_000)
        received = 0
        while received < sent:
            server.look()
            received, server.received = received + len(server.received), b""
            await deferLater(self.reactor, 0)
        self.assertEqual(received, sent)

    async def test_nothing_left(self: Any) -> None:
        """No socket, and no timer, whatever was going on."""
        await self.etcd.get(self.key(b"warm"))
        sockets, timers = len(os.listdir("/dev/fd")), len(self.reactor.getDelayedCalls())
        proxy = FaultyProxy(self.reactor, self.url)
        for begin in (proxy.delay, proxy.throttle, lambda _: proxy.black_hole(), lambda _: proxy.refuse()):
            await proxy.start()
            clients = [self.connect(proxy) for _ in range(10)]
            await self.until(lambda: len(proxy.connections) == 10)
            begin(1)
            for client in clients:
                client.send(self.put(b"a"))
            await deferLater(self.reactor, 0)
            await proxy.stop()
            for client in clients:
                client.socket.close()
            # what tests before have left to the collector may be closed meanwhile
            self.assertLessEqual(len(os.listdir("/dev/fd")), sockets)
            self.assertLessEqual(len(self.reactor.getDelayedCalls()), timers)

    async def test_tls(self: Any) -> None:
        """It goes through as it is."""
        certificate, key = os.path.abspath(self.mktemp()), os.path.abspath(self.mktemp())
        own = SelfSigned("127.0.0.1").own
        Path(certificate).write_bytes(own.certificate)
        Path(key).write_bytes(own.key)
        plain, secure = free_ports(2)
        listen = f"--listen-client-urls=http://127.0.0.1:{plain},https://127.0.0.1:{secure}"
        arguments = [*QUICK, listen, f"--cert-file={certificate}", f"--key-file={key}"]
        etcd = EtcdProcess(self.reactor, binary=self.server.path, client_port=plain, arguments=arguments)
        self.addCleanup(etcd.stop)
        await etcd.start()
        proxy = await self.proxy_to(f"https://127.0.0.1:{secure}")
        trust = ssl.create_default_context(cafile=certificate)

        def version() -> Any:
            with urlopen(f"{proxy.url}/version", context=trust, timeout=30) as answer:
                return json.load(answer)["etcdserver"]

        self.assertEqual(await deferToThread(version), self.server.label)


@on_newest_server([GATEWAY])
class Requests(ProxyCase):
    """Before a request, after it, and inside."""

    async def test_before(self: Any) -> None:
        """The server gets nothing of it."""
        for how in ("reset", "close"):
            self.proxy.behave()
            self.proxy.cut_request(how=how)
            client = self.connect()
            client.send(self.put(b"a"))
            await self.ended(client, how)
        self.assertEqual(self.proxy.bytes_to_server, 0)
        self.assertEqual(await self.versions(b"a"), [])

    async def test_inside_a_request(self: Any) -> None:
        """The server gets just so much, and learns of the end."""
        for how in ("reset", "close"):
            client, server, proxy = await self.pair()
            proxy.cut_request(40, how)
            client.send(self.put(b"a"))
            await self.ended(server, how, self.put(b"a")[:40])
            await self.ended(client, how)

    async def test_half_a_request(self: Any) -> None:
        """The server reads the end of it, and says so."""
        self.proxy.cut_request(len(self.put(b"a")) - 5, "half_close")
        client = self.connect()
        client.send(self.put(b"a"))
        await self.until_received(client, lambda: client.end)
        self.assertIn(b" 400 Bad Request\r\n", client.received)
        self.assertEqual(await self.versions(b"a"), [])

    async def test_after(self: Any) -> None:
        """The server has done it, and the client gets nothing."""
        for number, how in enumerate(("reset", "close"), 1):
            self.proxy.behave()
            self.proxy.cut_answer(how=how)
            client = self.connect()
            client.send(self.put(b"a"))
            await self.ended(client, how)
            self.assertEqual(await self.versions(b"a"), [number])
        self.assertEqual(self.proxy.bytes_to_client, 0)

    async def test_inside_an_answer(self: Any) -> None:
        """The client gets just so much, whatever the end."""
        client = self.connect()
        client.send(self.put(b"a"))
        answer = await self.answered(client)
        for number, after in enumerate((1, 12, 100, len(answer) - 1, len(answer))):
            for how in ("reset", "close", "half_close"):
                self.proxy.behave()
                self.proxy.cut_answer(after, how)
                client = self.connect()
                client.send(self.put(b"%d/%s" % (number, how.encode())))
                await self.until_received(client, lambda client=client: client.end)
                self.assertEqual((len(client.received), client.end), (after, "reset" if how == "reset" else "close"))
                self.assertTrue(client.received.startswith(b"HTTP/1.1 200 OK"[:after]))
                self.assertEqual(await self.versions(b"%d/%s" % (number, how.encode())), [1])

    async def test_half_closed_answer(self: Any) -> None:
        """The client may still send."""
        client, server, proxy = await self.pair()
        proxy.cut_answer(3, "half_close")
        client.send(b"question")
        await self.heard(server, b"question")
        server.send(b"answer")
        await self.ended(client, "close", b"ans")
        client.send(b"another")
        await self.heard(server, b"another")

    async def test_second_request_of_a_connection(self: Any) -> None:
        """Bytes are counted from where its answer begins."""
        client = self.connect()
        client.send(self.put(b"a"))
        await self.answered(client)
        self.proxy.cut_answer(20)
        client.send(self.put(b"b"))
        await self.until_received(client, lambda: client.end)
        self.assertEqual((len(client.received), client.end), (20, "reset"))

    async def test_line(self: Any) -> None:
        """Of a message on a stream, one half comes."""
        client = self.connect()
        client.send(request("/v3/watch", {"create_request": {"key": text(self.key(b"a"))}}))
        await self.until_received(client, lambda: client.received.endswith(b"}}\n\r\n"))
        self.assertIn(b"created", client.received)
        client.received = b""
        self.proxy.cut_line()
        await self.etcd.set(self.key(b"a"), bytes(1000))
        await self.until_received(client, lambda: client.end)
        self.assertEqual(client.end, "close")
        size, _, half = client.received.partition(b"\r\n")
        # a chunk of HTTP, which ends with the end of the line
        self.assertEqual(len(half), int(size, 16) // 2)
        self.assertTrue(half.startswith(b'{"result":'))

    async def test_replaced(self: Any) -> None:
        page = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nsorry"
        self.proxy.replace_answer(page)
        client = self.connect()
        client.send(self.put(b"a"))
        await self.ended(client, "close", page)
        self.assertEqual(await self.versions(b"a"), [1])

    async def test_next_one(self: Any) -> None:
        """One suffers, those before and after do not."""
        self.proxy.cut_answer(count=1, where=lambda connection: text(self.key(b"b")).encode() in connection.request)
        for name, number in ((b"a", 1), (b"b", 1), (b"b", 2)):
            client = self.connect()
            client.send(self.put(name))
            if (name, number) == (b"b", 1):
                await self.ended(client, "reset")
            else:
                await self.answered(client)
            self.assertEqual(await self.versions(name), [number])
        self.assertEqual(self.proxy.faults, {"cut_answer": 1})


class Pieces(Protocol):
    """
    A client that notes in which pieces something comes.

    :ivar pieces: they.
    """

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)


@on_newest_server([GATEWAY])
class Ways(ProxyCase):
    """Slow, or silent."""

    async def test_black_hole(self: Any) -> None:
        """Nothing in either direction, not even an end; also for those that come meanwhile."""
        client, server, proxy = await self.pair()
        proxy.black_hole()
        other = self.connect(proxy)
        for plain in (client, server, other):
            plain.send(b"lost")
        await self.until(lambda: proxy.faults.get("black_hole", 0) >= 2)
        await self.silent(client, server, other)
        client.reset()
        await self.silent(server)
        # what has lost bytes cannot be mended
        proxy.behave()
        await self.ended(server, "reset")
        await self.ended(other, "reset")

    async def test_swallowed_requests(self: Any) -> None:
        self.proxy.black_hole("to_server")
        client = self.connect()
        client.send(self.put(b"a"))
        await self.until(lambda: self.proxy.faults)
        await self.silent(client)
        self.assertEqual((self.proxy.bytes_to_server, await self.versions(b"a")), (0, []))

    async def test_swallowed_answers(self: Any) -> None:
        self.proxy.black_hole("to_client")
        client = self.connect()
        client.send(self.put(b"a"))
        await self.until(lambda: self.proxy.faults)
        await self.silent(client)
        self.assertEqual(await self.versions(b"a"), [1])

    async def test_stream_goes_silent(self: Any) -> None:
        """One that was alive, while others are not touched."""
        client, other = self.connect(), self.connect()
        client.send(request("/v3/watch", {"create_request": {"key": text(self.key(b"a"))}}))
        await self.until_received(client, lambda: b"created" in client.received)
        client.received = b""
        self.proxy.black_hole(where=lambda connection: connection.request.startswith(b"POST /v3/watch "))
        await self.etcd.set(self.key(b"a"), b"1")
        await self.until(lambda: self.proxy.faults)
        await self.silent(client)
        other.send(self.put(b"b"))
        await self.answered(other)

    async def test_delayed(self: Any) -> None:
        """It comes, whole and in its order, when the delay is over."""
        client, server, proxy = await self.pair()
        proxy.delay(3600)
        for number in range(10):
            client.send(b"%d" % number)
            server.send(b"%d" % number)
            await deferLater(self.reactor, 0)
        await self.silent(client, server)
        proxy.delay(0)
        await self.heard(server, b"0123456789")
        await self.heard(client, b"0123456789")
        proxy.delay(0.01, jitter=0.02)
        client.send(b"a little later")
        await self.heard(server, b"a little later")

    async def test_end_is_delayed_too(self: Any) -> None:
        client, server, proxy = await self.pair()
        proxy.delay(3600)
        client.send(b"last")
        client.socket.close()
        await self.silent(server)
        proxy.behave()
        await self.ended(server, "close", b"last")

    async def test_throttled(self: Any) -> None:
        self.proxy.throttle(2000, "to_client")
        began = self.reactor.seconds()
        pieces = await self.pieces()
        # the first slice, a twentieth, comes at once; a slow machine takes longer, and reads some of them together
        least = (len(b"".join(pieces)) - 100) / 2000
        self.assertGreater(least, 0)
        self.assertGreaterEqual(self.reactor.seconds() - began, least)
        self.assertGreater(len(pieces), 1)

    async def test_bytewise(self: Any) -> None:
        self.proxy.bytewise("to_client")
        pieces = await self.pieces()
        # some come together, since the client does not always read in time
        self.assertGreater(len(pieces), len(b"".join(pieces)) / 10)

    async def pieces(self: Any) -> list[bytes]:
        """Those in which an answer comes."""
        port = int(self.proxy.url.rpartition(":")[2])
        client = await ClientCreator(self.reactor, Pieces).connectTCP("127.0.0.1", port)
        client.transport.write(self.put(b"a"))
        await self.until(lambda: b"".join(client.pieces).endswith(b"}"))
        client.transport.abortConnection()
        self.assertTrue(client.pieces[0].startswith(b"H"))
        return list(client.pieces)

    async def test_at_random(self: Any) -> None:
        """The same again with the same seed, another with another; and what was answered is there."""

        async def fates(seed: int) -> list[Any]:
            proxy = await self.proxy_to(self.url, seed)
            proxy.misbehave(0.5, ["cut_request", "cut_answer"])
            found = []
            for number in range(40):
                name = b"%d" % number
                await self.etcd.delete(self.key(name))
                client = self.connect(proxy)
                client.send(self.put(name))
                await self.until_received(client, lambda client=client: client.end or b'"}}' in client.received)
                found.append((client.end, len(client.received) if client.end else "whole", await self.versions(name)))
            return found

        first = await fates(1)
        # how long a number is in an answer may differ
        self.assertEqual(first, await fates(1))
        self.assertNotEqual(first, await fates(2))
        self.assertEqual({end for end, _, _ in first}, {None, "close", "reset"})
        self.assertEqual({tuple(versions) for end, _, versions in first if end is None}, {(1,)})


@on_newest_server([GATEWAY])
class Partition(RealCase):
    """Between the members of a cluster."""

    timeout = 300

    async def start(self: Any) -> None:
        """Three members, who reach each other through proxies."""
        listening = free_ports(3)
        self.proxies = [FaultyProxy(self.reactor, f"http://127.0.0.1:{port}") for port in listening]
        peers = []
        for number, proxy in enumerate(self.proxies):
            self.addCleanup(proxy.stop)
            await proxy.start()
            peers.append(Peer(f"etcd{number}", int(proxy.url.rpartition(":")[2])))
        token = new_token()
        ports = free_ports(3)
        self.bootstraps = [Bootstrap(token, port, peer, tuple(peers)) for port, peer in zip(ports, peers)]
        self.members = [self.member(bootstrap, port) for bootstrap, port in zip(self.bootstraps, listening)]
        await gatherResults([member.start() for member in self.members], consumeErrors=True)
        self.clients = [self.client(member.url) for member in self.members]

    def member(self: Any, bootstrap: Bootstrap, peer_port: int) -> EtcdProcess:
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory, 0o700)
        record_bootstrap(bootstrap, directory)
        listen = f"--listen-peer-urls=http://127.0.0.1:{peer_port}"
        member = EtcdProcess(self.reactor, binary=self.server.path, data_dir=directory, arguments=[listen])
        self.addCleanup(member.kill)
        return member

    def isolate(self: Any, number: int) -> None:
        """Neither hears this member the others, nor they it: its connections say whose they are."""
        own = b"X-Server-From: %x\r\n" % self.bootstraps[number].member_id
        for at, proxy in enumerate(self.proxies):
            proxy.black_hole(where=None if at == number else lambda connection: own in connection.request)

    async def until_known(self: Any, number: int, value: bytes) -> None:
        """Waits until this member itself knows it."""

        async def is_known() -> bool:
            found = await self.clients[number].get(b"key", serializable=True)
            return bool([kv.value for kv in found.kvs] == [value])

        await self.until(is_known)

    async def test_minority(self: Any) -> None:
        """The majority goes on; who is alone can neither write nor read; then it catches up."""
        for number in range(3):
            await self.until(lambda: self.can_set(self.clients[0], b"before"))
            await self.until_known(number, b"before")
            self.isolate(number)
            others = [client for at, client in enumerate(self.clients) if at != number]
            await self.until(lambda client=others[0]: self.can_set(client, b"meanwhile"))
            value = await self.until(lambda client=others[1]: self.read(client))
            self.assertEqual(value, b"meanwhile")
            await self.assertFailure(self.clients[number].get(b"key", timeout=1), Error)
            self.assertFalse(await self.can_set(self.clients[number], b"lost"))
            self.assertEqual((await self.clients[number].get(b"key", serializable=True)).kvs[0].value, b"before")
            for proxy in self.proxies:
                proxy.behave()
            await self.until_known(number, b"meanwhile")

    async def read(self: Any, client: Any) -> Any:
        """The value; nothing if there is an election just now."""
        try:
            return (await client.get(b"key", timeout=5)).kvs[0].value
        except Error:
            return None

    async def can_set(self: Any, client: Any, value: bytes) -> bool:
        try:
            await client.set(b"key", value, timeout=1)
        except Error:
            return False
        return True
