"""
Nothing of Twisted comes out but ``Deferred``: not in what calls give, and not in what they fail with, whatever is at
the other end.
"""

from __future__ import annotations

import inspect
import re
import socket
from typing import Any, Callable, Iterator, Optional

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from test.real.base import GATEWAY, RealCase, on_every_server, on_newest_server, sockets_to
from txetcd import (
    Auth,
    Client,
    Closed,
    Cluster,
    CompVersion,
    Error,
    KeySet,
    Lease,
    Maintenance,
    OpDel,
    OpGet,
    OpSet,
    OpTxn,
    OutcomeUnknown,
    ProtocolViolation,
    Timeout,
    Transaction,
    Unavailable,
    maintenance,
    never,
)
from txetcd.errors import HostNotAllowed, TLSFailed, Unimplemented, WrongProtocol

FOREIGN = ("twisted.", "treq", "zope.", "OpenSSL", "hyperlink")
"""Where the modules of classes that must not be seen begin."""

# --- what can be asked


async def _all(iterator: Any) -> list[Any]:
    return [one async for one in iterator]


READ, WRITE, STREAM = "a read", "a write", "a stream"

CALLS: dict[str, tuple[str, Callable[[Client, bytes], Any]]] = {
    "status": (READ, lambda etcd, key: etcd.status()),
    "set": (WRITE, lambda etcd, key: etcd.set(key, b"value", return_previous=True)),
    "get": (READ, lambda etcd, key: etcd.get(KeySet(key, prefix=True))),
    "create": (WRITE, lambda etcd, key: etcd.create(key + b"/new", b"value")),
    "replace": (WRITE, lambda etcd, key: etcd.replace(key, b"new value", b"value")),
    "iterate": (READ, lambda etcd, key: _all(etcd.iterate(KeySet(key, prefix=True), 1))),
    "wait_for": (READ, lambda etcd, key: etcd.wait_for(key)),
    "transact": (WRITE, lambda etcd, key: etcd.transact(_every_operation(key))),
    "submit": (WRITE, lambda etcd, key: etcd.submit(_every_operation(key))),
    "when": (WRITE, lambda etcd, key: etcd.when(CompVersion(key, ">", 0)).then(OpGet(key)).submit()),
    "atomically": (READ, lambda etcd, key: etcd.atomically(lambda stm: stm.get(key))),
    "watch": (STREAM, lambda etcd, key: etcd.watch([key], lambda event: None)),
    "watcher": (STREAM, lambda etcd, key: etcd.watcher(key).when_started()),
    "lease": (WRITE, lambda etcd, key: etcd.lease(60)),
    "leases": (READ, lambda etcd, key: etcd.leases()),
    "lock": (WRITE, lambda etcd, key: etcd.lock(key + b"/lock")),
    "compact": (WRITE, lambda etcd, key: etcd.compact(1)),
    "delete": (WRITE, lambda etcd, key: etcd.delete(key, return_previous=True)),
}
"""Every call of a client that asks a server, in an order in which a server answers all of them."""

LEASE_CALLS: dict[str, tuple[str, Callable[[Lease], Any]]] = {
    "remaining": (READ, lambda lease: lease.remaining()),
    "keys": (READ, lambda lease: lease.keys()),
    "refresh": (WRITE, lambda lease: lease.refresh()),
    "revoke": (WRITE, lambda lease: lease.revoke()),
}
"""Every call of a lease that asks a server."""


ADMINISTRATION: dict[str, tuple[str, Callable[[Client], Any]]] = {
    "sync_endpoints": (READ, lambda etcd: etcd.sync_endpoints()),
    "time_to_live": (READ, lambda etcd: etcd.time_to_live(404)),
    "cluster.members": (READ, lambda etcd: etcd.cluster.members()),
    "cluster.leader": (READ, lambda etcd: etcd.cluster.leader()),
    "cluster.add": (WRITE, lambda etcd: etcd.cluster.add("http://127.0.0.1:1")),
    "cluster.add_learner": (WRITE, lambda etcd: etcd.cluster.add_learner("http://127.0.0.1:1")),
    "cluster.promote": (WRITE, lambda etcd: etcd.cluster.promote(404)),
    "cluster.remove": (WRITE, lambda etcd: etcd.cluster.remove(404)),
    "cluster.update": (WRITE, lambda etcd: etcd.cluster.update(404, "http://127.0.0.1:1")),
    "maintenance.alarms": (READ, lambda etcd: etcd.maintenance.alarms()),
    "maintenance.disarm": (READ, lambda etcd: etcd.maintenance.disarm()),
    "maintenance.hash": (READ, lambda etcd: etcd.maintenance.hash()),
    "maintenance.hash_kv": (READ, lambda etcd: etcd.maintenance.hash_kv()),
    "maintenance.defragment": (WRITE, lambda etcd: etcd.maintenance.defragment()),
    "maintenance.compact_and_defragment": (WRITE, lambda etcd: etcd.maintenance.compact_and_defragment(2)),
    "maintenance.move_leader": (READ, lambda etcd: etcd.maintenance.move_leader(404)),
    "auth.status": (READ, lambda etcd: etcd.auth.status()),
    "auth.enable": (WRITE, lambda etcd: etcd.auth.enable()),
    "auth.disable": (WRITE, lambda etcd: etcd.auth.disable()),
    "auth.add_user": (WRITE, lambda etcd: etcd.auth.add_user("anna", "secret")),
    "auth.add_role": (WRITE, lambda etcd: etcd.auth.add_role("reader")),
    "auth.grant_role": (WRITE, lambda etcd: etcd.auth.grant_role("anna", "reader")),
    "auth.grant_permission": (WRITE, lambda etcd: etcd.auth.grant_permission("reader", b"key", "READ")),
    "auth.users": (READ, lambda etcd: etcd.auth.users()),
    "auth.user": (READ, lambda etcd: etcd.auth.user("anna")),
    "auth.roles": (READ, lambda etcd: etcd.auth.roles()),
    "auth.role": (READ, lambda etcd: etcd.auth.role("reader")),
    "auth.revoke_permission": (WRITE, lambda etcd: etcd.auth.revoke_permission("reader", b"key")),
    "auth.revoke_role": (WRITE, lambda etcd: etcd.auth.revoke_role("anna", "reader")),
    "auth.change_password": (WRITE, lambda etcd: etcd.auth.change_password("anna", "other secret")),
    "auth.delete_user": (WRITE, lambda etcd: etcd.auth.delete_user("anna")),
    "auth.delete_role": (WRITE, lambda etcd: etcd.auth.delete_role("reader")),
}
"""
What asks a server about itself and its users; but for ``maintenance.status``, which does not fail, and for snapshots,
which have tests of their own.
"""

ADDING = {"cluster.add", "cluster.add_learner"}
"""What is no good for a server that is alone: it waits for the other one from then on."""

REFUSED = {
    "time_to_live", "cluster.promote", "cluster.remove", "cluster.update", "maintenance.move_leader", "auth.enable"
}  # fmt: skip
"""What a server that is alone refuses, as asked here."""

SINCE = {"maintenance.hash_kv": (3, 5, 10), "auth.status": (3, 5)}
"""What older gateways do not have."""


def _every_operation(key: bytes) -> Transaction:
    """A transaction with an answer of each kind."""
    inner = OpTxn(Transaction([], [OpGet(key)]))
    changes = [OpSet(key, b"value", return_previous=True), OpDel(key + b"/new", return_previous=True)]
    return Transaction([CompVersion(key, ">", 0)], [OpGet(key), inner, *changes])


def _public(cls: type) -> set[str]:
    """The functions of a class that anybody may call."""
    return {name for name, value in inspect.getmembers(cls, callable) if not name.startswith("_")}


class Tables(TestCase):
    """The tables have everything."""

    def test_client(self: Any) -> None:
        local = {"close", "set_endpoints", "stats"}
        administration = {name for name in ADMINISTRATION if "." not in name}
        self.assertEqual(_public(Client) - local - administration, set(CALLS))

    def test_administration(self: Any) -> None:
        apart = {"maintenance.status", "maintenance.snapshot"}
        services = {"cluster": Cluster, "maintenance": Maintenance, "auth": Auth}
        public = {f"{service}.{name}" for service, cls in services.items() for name in _public(cls)}
        self.assertEqual(public - apart, {name for name in ADMINISTRATION if "." in name})

    def test_lease(self: Any) -> None:
        local = {"keep_alive", "let_go", "when_lost"}
        self.assertEqual(_public(Lease) - local, set(LEASE_CALLS))


# --- what comes out


def foreign(value: Any) -> list[str]:
    """Which objects that belong to others can be reached from *value* by what is public, and how."""
    return list(_foreign(value, "it", set()))


def _foreign(value: Any, path: str, seen: set[int]) -> Iterator[str]:
    if id(value) in seen or isinstance(value, type):
        return
    seen.add(id(value))
    if not isinstance(value, Deferred) and type(value).__module__.startswith(FOREIGN):
        yield f"{path} is a {type(value).__module__}.{type(value).__qualname__}"
    for name, part in _parts(value):
        yield from _foreign(part, f"{path}{name}", seen)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield f"[{key!r}]", one
    elif isinstance(value, (list, tuple, set, frozenset)):
        for at, one in enumerate(value):
            yield f"[{at}]", one
    elif isinstance(value, BaseException):
        # all it has, private or not; only its cause may be a stranger, and what an older Twisted leaves on each
        # exception that it throws into a coroutine
        own = {f".{name}": part for name, part in vars(value).items() if name != "__failure__"}
        yield from {".args": value.args, **own}.items()
    elif type(value).__module__.startswith("txetcd"):
        for name in dir(value):
            if not name.startswith("_") and not callable(getattr(value, name, None)):
                yield f".{name}", getattr(value, name, None)


class Walk(TestCase):
    """The search finds what it is to find."""

    def test_result(self: Any) -> None:
        self.assertEqual(foreign({"a": [1, (b"", Deferred())]}), [])
        self.assertEqual(foreign([Failure(ValueError())]), ["it[0] is a twisted.python.failure.Failure"])

    def test_error(self: Any) -> None:
        error = Error(None, "message")
        self.assertEqual(foreign(error), [])
        error._reasons = [Factory()]  # type: ignore[attr-defined]  # this is the test
        self.assertEqual(foreign(error), ["it._reasons[0] is a twisted.internet.protocol.Factory"])
        self.assertEqual(len(foreign(Error(None, connectionDone))), 2)  # type: ignore[arg-type]  # this is the test


@on_every_server(schemes=[GATEWAY])
class Results(RealCase):
    """What a server gives: one that nobody else has compacted."""

    async def start(self: Any) -> None:
        process = await self.own_server()
        self.etcd = self.client(process.url)

    async def test_results(self: Any) -> None:
        key = self.key(b"a")
        self.assertEqual(foreign(await self.etcd.set(key, b"value")), [])
        for name, (_, call) in CALLS.items():
            result = call(self.etcd, key)
            if name == "watch":
                result.cancel()
            self.assertEqual(foreign(await result), [], name)
        watch = self.etcd.watcher(key, return_previous=True)
        await watch.when_started()
        await self.etcd.set(key, b"value")
        self.assertEqual(foreign(await watch.__anext__()), [])
        self.assertEqual(foreign(await watch.stop()), [])
        lease = await self.etcd.lease(60)
        for name, (_, of_lease) in LEASE_CALLS.items():
            self.assertEqual(foreign(await of_lease(lease)), [], name)
        self.assertEqual(foreign(await self.client().close()), [])
        self.assertEqual(foreign(self.etcd.stats()), [])

    async def test_administration(self: Any) -> None:
        refused = set()
        await self.etcd.set(self.key(b"a"), b"value")
        for name, (_, call) in ADMINISTRATION.items():
            if name in ADDING:
                continue
            try:
                self.assertEqual(foreign(await call(self.etcd)), [], name)
            except Error as error:
                self.assertEqual(foreign(error), [], name)
                refused.add(name)
        missing = {name for name, since in SINCE.items() if self.server.version < since}
        self.assertEqual(refused, REFUSED | missing)
        self.assertEqual(foreign(await self.etcd.maintenance.status()), [])


# --- what can be at the other end

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MUTE = 6.0
"""Seconds to wait for who never answers: time for all calls at once to be sent."""

HTML = b"<html><body>\r\n<h1>It works!</h1>\r\n</body></html>\r\n"


ECHO = b"<the request>"
"""Stands for what a peer has been told, and says again."""


def _response(status: bytes, body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, more, len(body), body)


@attrs.frozen
class Fault:
    """
    What a peer does instead of answering.

    :ivar says: what it sends when a request has arrived; ``None`` for nothing, and for going on to wait.
    :ivar read: what a read, and a stream, fails with.
    :ivar write: what a write fails with.
    :ivar stream: what a stream fails with, where that differs.
    :ivar closes: whether it closes the connection then.
    :ivar at_once: whether it does not even wait for a request.
    """

    says: Optional[bytes]
    read: type[Error]
    write: type[Error]
    stream: Optional[type[Error]] = None
    closes: bool = True
    at_once: bool = False

    def expected(self, kind: str) -> tuple[type[Error], bool]:
        """The class, and whether a write may have been applied."""
        if kind == WRITE:
            return self.write, issubclass(self.write, (OutcomeUnknown, ProtocolViolation, Timeout))
        return (self.stream or self.read) if kind == STREAM else self.read, False


LOST = (Unavailable, OutcomeUnknown)
NO_ETCD = (ProtocolViolation, ProtocolViolation)

FAULTS = {
    "closes_at_once": Fault(b"", *LOST, at_once=True),
    "closes": Fault(b"", *LOST),
    "closes_in_the_headers": Fault(b"HTTP/1.1 200 OK\r\nContent-Ty", *LOST),
    "closes_after_the_headers": Fault(OK + b"Content-Length: 1000\r\n\r\n", *LOST),
    "closes_in_the_body": Fault(OK + b'Content-Length: 1000\r\n\r\n{"header', *LOST),
    "closes_in_a_chunk": Fault(OK + b'Transfer-Encoding: chunked\r\n\r\n100\r\n{"header', *LOST),
    "closes_between_chunks": Fault(OK + b'Transfer-Encoding: chunked\r\n\r\n3\r\n{"h\r\n', *LOST),
    "garbage": Fault(b"\x00\xff\x15\x03\x01 what is this?\r\n\r\n", *NO_ETCD),
    "bad_status": Fault(b"HTTP/1.1 many\r\n\r\n", *NO_ETCD),
    "bad_chunk": Fault(OK + b"Transfer-Encoding: chunked\r\n\r\nnot a number\r\n", *NO_ETCD),
    "bad_length": Fault(OK + b"Content-Length: many\r\n\r\n{}", *NO_ETCD),
    "endless_header": Fault(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000, *NO_ETCD),
    # servers of other protocols do not go when they have said who they are
    "ssh": Fault(b"SSH-2.0-OpenSSH_9.2\r\n", *NO_ETCD, closes=False, at_once=True),
    "mail": Fault(b"220 mail.example ESMTP\r\n", *NO_ETCD, closes=False, at_once=True),
    "http2": Fault(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", WrongProtocol, WrongProtocol, closes=False, at_once=True),
    "tls": Fault(b"\x15\x03\x01\x00\x02\x02\x0a", TLSFailed, TLSFailed, closes=False, at_once=True),
    "tls_in_words": Fault(
        _response(b"400 Bad Request", b"Client sent an HTTP request to an HTTPS server.\n"), TLSFailed, TLSFailed
    ),
    # what cannot be unpacked comes out as nothing
    "bad_gzip": Fault(_response(b"200 OK", HTML, b"Content-Encoding: gzip\r\n"), *NO_ETCD, stream=Unavailable),
    "nothing": Fault(_response(b"200 OK", b""), *NO_ETCD, stream=Unavailable),
    "html_200": Fault(_response(b"200 OK", HTML), *NO_ETCD),
    "html_302": Fault(_response(b"302 Found", HTML, b"Location: http://127.0.0.1:1/\r\n"), *NO_ETCD),
    "html_404": Fault(_response(b"404 Not Found", HTML), *NO_ETCD),
    "go_404": Fault(_response(b"404 Not Found", b"404 page not found\n"), Unimplemented, Unimplemented),
    "html_421": Fault(_response(b"421 Misdirected Request", HTML), HostNotAllowed, HostNotAllowed),
    "html_502": Fault(_response(b"502 Bad Gateway", HTML), *LOST),
    "other_json": Fault(_response(b"200 OK", b'["something", "else"]'), *NO_ETCD),
    "other_object": Fault(
        _response(b"200 OK", b'{"header": 7, "kvs": "many", "responses": {}, "leases": 1, "version": 2, "ID": []}'),
        *NO_ETCD,
    ),
    "huge_answer": Fault(_response(b"200 OK", b" " * 1_000_000 + b"{}"), *NO_ETCD),
    "mute": Fault(None, Timeout, Timeout),
    "mute_after_the_headers": Fault(OK + b"Content-Length: 1000\r\n\r\n", Timeout, Timeout, closes=False),
    "mute_in_the_body": Fault(OK + b'Content-Length: 1000\r\n\r\n{"header', Timeout, Timeout, closes=False),
}
"""A test for each."""



def _granted(request: bytes) -> bytes:
    """The lease that was asked for, with the id that it shall have, if any."""
    wanted = re.search(rb'"ID":"(\d+)"', request)
    lease_id = wanted[1] if wanted else b"7"
    return _response(b"200 OK", b'{"header": {"revision": "1"}, "ID": "%s", "TTL": "60"}' % lease_id)


class Peer(Protocol):
    """
    Something that is no etcd. It can grant a lease, so that there is one to ask for.
    """

    def __init__(self, fault: Fault, connections: set[Peer]) -> None:
        self._fault = fault
        self._connections = connections
        self._received = b""
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self._connections.add(self)
        if self._fault.at_once:
            self._misbehave()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not blank or len(body) < int(length[1] if length else 0):
            return
        self._received, request = b"", self._received
        if b"/leasing/v3/lease/grant" in head:
            self.transport.write(_granted(body))  # type: ignore[union-attr]  # it is connected
        else:
            self._misbehave(request)

    def _misbehave(self, request: bytes = b"") -> None:
        transport: Any = self.transport
        if self._fault.says is None:
            return
        transport.write(self._fault.says.replace(ECHO, request))
        if self._fault.closes:
            transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connections.discard(self)
        self.gone.callback(None)


class _Faults:

    timeout = 300

    def reactor(self) -> Any:
        """The reactor that trial runs."""
        from twisted.internet import reactor

        return reactor

    def url_of(self: Any, fault: Fault) -> str:
        """Where there is a peer with this fault, until the end of the test."""
        connections: set[Peer] = set()
        factory = Factory.forProtocol(lambda: Peer(fault, connections))
        factory.noisy = False
        port = self.reactor().listenTCP(0, factory, interface="127.0.0.1")

        def end() -> Deferred[Any]:
            gone = [peer.gone for peer in connections]
            for peer in connections:
                peer.transport.abortConnection()  # type: ignore[union-attr]  # it is connected
            return gatherResults([*gone, port.stopListening()])

        self.addCleanup(end)
        return f"http://127.0.0.1:{port.getHost().port}"

    def client(self: Any, url: str, timeout: float = 10.0, credentials: Any = None) -> Client:
        client = Client(self.reactor(), url, timeout=timeout, retry=never, credentials=credentials)
        gateway: Any = client._calls._transport
        gateway._max_answer = gateway._max_line = 10_000
        return client

    async def assert_fails(
        self: Any, url: str, name: str, call: Callable[[Client], Any], fault: Fault, kind: str
    ) -> None:
        """The call fails as it has to, and leaves nothing behind."""
        # who never answers need not be waited for once all were asked; all others are, however busy the machine is
        client = self.client(url, MUTE if fault.read is Timeout else 10.0)
        with self.assertRaises(Error, msg=name) as caught:
            await call(client)
        await client.close()
        error = caught.exception
        shown = f"{name}: {error!r}"
        self.assertEqual((type(error), error.maybe_applied), fault.expected(kind), shown)
        self.assertEqual(foreign(error), [], shown)
        self.assertRegex(str(error), rf"\A\w+\.\w+ at {url}[^ ]*: [^\n\r]+\Z", shown)
        self.assertNotRegex(f"{error} {error!r}", r"twisted|treq|zope|Failure|<class|object at 0x")
        # nor how a parser calls it
        self.assertNotRegex(str(error), r"[Dd]ecoder|state|Error|_DataLoss|int\(\)|ITCPTransport|\[\(")

    async def assert_all_fail(self: Any, url: str, fault: Fault) -> None:
        checks = [
            self.assert_fails(url, name, lambda etcd, call=call: call(etcd, b"key"), fault, kind)
            for name, (kind, call) in CALLS.items()
        ]
        checks += [self.assert_fails(url, name, call, fault, kind) for name, (kind, call) in ADMINISTRATION.items()]
        await gatherResults(map(Deferred.fromCoroutine, checks), consumeErrors=True).addErrback(_first)
        self.assertEqual(sockets_to(url), 0)

    async def assert_lease_fails(self: Any, url: str, fault: Fault) -> None:
        def asked(call: Callable[[Lease], Any]) -> Callable[[Client], Any]:
            async def ask(etcd: Client) -> None:
                await call(await etcd.lease(60))

            return ask

        checks = [
            self.assert_fails(f"{url}/leasing", name, asked(call), fault, kind)
            for name, (kind, call) in LEASE_CALLS.items()
        ]
        await gatherResults(map(Deferred.fromCoroutine, checks), consumeErrors=True).addErrback(_first)

    async def check(self: Any, fault: Fault) -> None:
        url = self.url_of(fault)
        if fault.read is Timeout:
            # nor with the calls that may take long
            self.patch(maintenance, "LONG_TIMEOUT", MUTE)
        await self.assert_all_fail(url, fault)
        if not fault.at_once:
            await self.assert_lease_fails(url, fault)

    async def test_echo(self: Any) -> None:
        """What was sent comes back, as it is or in a page: the password and the token in it are not told."""
        for says in (ECHO, b"HTTP/1.1 500 Internal Server Error\r\n\r\n" + ECHO, OK + b"\r\n" + ECHO):
            url = self.url_of(Fault(says, *NO_ETCD))
            for credentials in (("root", "SECRET"), "SECRET.12"):
                client = self.client(url, credentials=credentials)
                for call in (lambda: client.get(b"a"), lambda: client.auth.add_user("anna", "SECRET")):
                    with self.assertRaises(ProtocolViolation) as caught:
                        await call()
                    error = caught.exception
                    self.assertNotIn("SECRET", f"{error} {error!r} {error.args} {client.stats()}")
                    self.assertRegex(str(error), r"\*\*\*|\d bytes, not shown")
                await client.close()

    async def test_refused(self: Any) -> None:
        """Nobody is there."""
        # bound, so that nobody else gets the port, and not listening
        held = socket.socket()
        self.addCleanup(held.close)
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        await self.assert_all_fail(url, Fault(None, Unavailable, Unavailable))

    async def test_unknown_host(self: Any) -> None:
        """... or there is no such name."""
        url = "http://no-such-host.invalid:2379"
        client = self.client(url)
        with self.assertRaises(Error) as caught:
            await client.set(b"key", b"value", timeout=20)
        self.assertEqual((type(caught.exception), caught.exception.maybe_applied), (Unavailable, False))
        self.assertEqual(foreign(caught.exception), [])
        await client.close()

    async def test_closed(self: Any) -> None:
        """The client itself is closed."""
        for name, (_, call) in CALLS.items():
            client = self.client("http://127.0.0.1:1")
            await client.close()
            with self.assertRaises(Closed, msg=name) as caught:
                await call(client, b"key")
            self.assertFalse(caught.exception.maybe_applied, name)
            self.assertEqual(foreign(caught.exception), [])


def _first(failure: Failure) -> Failure:
    """What failed, instead of that it was the first."""
    first: Any = failure.value
    sub: Failure = first.subFailure
    return sub


def _test_of(fault: Fault) -> Callable[[_Faults], Any]:
    async def test(self: Any) -> None:
        await self.check(fault)

    return test


for _name, _fault in FAULTS.items():
    setattr(_Faults, f"test_{_name}", _test_of(_fault))


@on_newest_server([GATEWAY])
class Faults(_Faults):
    """What is at the other end is no etcd, or is none any more."""
