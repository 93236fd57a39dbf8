"""
A store that answers in the place of etcd, in the unit tests of what is built on several calls: revisions, transactions,
leases, watches and compaction; and clients of it, whose calls are answered, or whose answers are lost, or come late.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional, Union

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from test.fakes import Case, FakeCall, FakeStream, FakeTransport, fake_client
from txetcd import Client, Session
from txetcd._messages import (
    Acknowledgement,
    LeaseGrantRequest,
    LeaseGrantResponse,
    LeaseKeepAliveRequest,
    LeaseKeepAliveResponse,
    LeaseRevokeRequest,
    LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
    WatchResponse,
)
from txetcd.errors import (
    Compacted,
    Error,
    FutureRevision,
    KeyNotFound,
    LeaseNotFound,
    OutcomeUnknown,
    PermissionDenied,
    Unavailable,
)
from txetcd.keyset import KeySet
from txetcd.ops import Comp, Op, OpDel, OpGet, OpSet, OpTxn, Transaction
from txetcd.values import Deleted, Event, Header, KeyValue, Outcome, Range, Revision

_HOLDS = {"==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt}
_SORTED_BY = {"VERSION": "version", "CREATE": "create_revision", "MOD": "mod_revision", "VALUE": "value"}


@attrs.frozen
class _Path:
    """The way that a transaction takes."""

    succeeded: bool
    ops: list[Union[Op, _Path]]


class Store:
    """
    The keys, all that they were, and the leases. Nothing expires by itself.

    :param kvs: what is there at the beginning, each written at a revision of its own.

    :ivar revision: that of the last write.
    :ivar compacted: the oldest one that can be read.
    :ivar history: all that was written (``list`` of :class:`~txetcd.Event`).
    :ivar leases: the time to live of each, by its id.
    :ivar renewed: those that were renewed (``set`` of ``int``), by their ids.
    :ivar refused: keys that begin so must not be written.
    """

    def __init__(self, **kvs: bytes) -> None:
        self.revision = 1
        self.compacted = 0
        self.history: list[Event] = []
        self.leases: dict[int, int] = {}
        self.renewed: set[int] = set()
        self.refused: Optional[bytes] = None
        self._kvs: dict[bytes, KeyValue] = {}
        for name, value in kvs.items():
            self.put(name.encode(), value)

    # --- what there is

    @property
    def keys(self) -> dict[bytes, bytes]:
        """All keys and their values, in their order."""
        return {key: kv.value for key, kv in sorted(self._kvs.items())}

    def below(self, prefix: bytes) -> list[bytes]:
        """The keys that begin so."""
        return [key for key in self.keys if key.startswith(prefix)]

    def kv(self, key: bytes, revision: int = 0) -> Optional[KeyValue]:
        """What a key is, or was."""
        return self._as_of(revision).get(key)

    def value(self, key: bytes) -> Optional[bytes]:
        """What it has."""
        kv = self.kv(key)
        return None if kv is None else kv.value

    # --- what somebody else does

    def write(self, *ops: Union[OpSet, OpDel]) -> int:
        """Writes all of it at one revision, and tells which."""
        return self.transact(Transaction([], ops)).header.revision

    def put(self, key: bytes, value: bytes = b"", lease: int = 0) -> int:
        """Writes a key; the revision."""
        return self.write(OpSet(key, value, lease))

    def delete(self, key: bytes) -> None:
        """Deletes a key."""
        self.write(OpDel(key))

    def expire(self, lease_id: int) -> None:
        """A lease is gone, and its keys with it."""
        if self.leases.pop(lease_id, None) is not None:
            self.write(*(OpDel(key) for key, kv in self._kvs.items() if kv.lease == lease_id))

    def compact(self) -> None:
        """Nothing is known any more of what was before."""
        self.compacted = self.revision

    # --- what is asked

    def answer(self, request: Any) -> Any:
        """Does what is asked; an :class:`Error` instead of an answer if that is refused."""
        try:
            return getattr(self, f"_{type(request).__name__}")(request)
        except Error as error:
            return error

    def events(self, keys: KeySet, start: int) -> list[Event]:
        """
        What has happened to keys from a revision on.

        :raises Compacted: if that is not known any more.
        """
        self._check_revision(start, is_future_known=True)
        return [event for event in self.history if event.mod_revision >= start and event.key in keys]

    def transact(self, txn: Transaction) -> Outcome:
        """Carries it out, all of it at one revision: the next one, if it writes anything."""
        path = self._path(txn)
        self._check(path)
        at = self.revision + 1
        outcome = self._carried_out(path, at)
        if self.history and self.history[-1].mod_revision == at:
            self.revision = at
        return attrs.evolve(outcome, header=self._header())

    def range(self, op: OpGet) -> Range:
        """What a read finds."""
        self._check_revision(op.revision)
        found = [kv for key, kv in sorted(self._as_of(op.revision).items()) if key in op.key]
        kvs = [kv for kv in found if _is_within(op, kv)]
        if op.sort_target in _SORTED_BY:
            # it is left open which one of several comes first
            by = operator.attrgetter(_SORTED_BY[op.sort_target])
            kvs.sort(key=lambda kv: (by(kv), hash(kv.key)))
        if op.sort_order == "DESCEND":
            kvs.reverse()
        if op.count_only:
            return Range([], self._header(), len(found), False)
        shown = kvs[: op.limit or None]
        if op.keys_only:
            # etcd 3.7 leaves the lease out as well
            shown = [attrs.evolve(kv, value=b"", lease=0) for kv in shown]
        return Range(shown, self._header(), len(found), len(shown) < len(kvs))

    def _header(self) -> Header:
        return Header(revision=self.revision)

    def _as_of(self, revision: int) -> dict[bytes, KeyValue]:
        if not revision:
            return self._kvs
        kvs: dict[bytes, KeyValue] = {}
        for event in self.history:
            if event.mod_revision > revision:
                break
            if event.is_put:
                kvs[event.key] = event.kv
            else:
                del kvs[event.key]
        return kvs

    # --- a transaction

    def _path(self, txn: Transaction) -> _Path:
        """What is to be done, by all comparisons: also those within are made before anything is written."""
        succeeded = all(_holds(comp, kv) for comp in txn.compare for kv in self._compared(comp.key))
        ops = txn.success if succeeded else txn.failure
        return _Path(succeeded, [self._path(op.transaction) if isinstance(op, OpTxn) else op for op in ops])

    def _compared(self, keys: KeySet) -> list[KeyValue]:
        return [kv for key, kv in self._kvs.items() if key in keys] or [KeyValue(keys.start, b"")]

    def _check(self, path: _Path) -> None:
        for op in path.ops:
            if isinstance(op, _Path):
                self._check(op)
            elif isinstance(op, OpGet):
                self._check_revision(op.revision)
            elif isinstance(op, OpSet):
                self._check_set(op)

    def _check_set(self, op: OpSet) -> None:
        if (op.ignore_value or op.ignore_lease) and op.key not in self._kvs:
            raise KeyNotFound(3, KeyNotFound.text or "")
        if op.lease and op.lease not in self.leases:
            raise LeaseNotFound(5, LeaseNotFound.text or "")
        if self.refused is not None and op.key.startswith(self.refused):
            raise PermissionDenied(7, PermissionDenied.text or "")

    def _check_revision(self, revision: int, is_future_known: bool = False) -> None:
        if 0 < revision < self.compacted:
            raise Compacted(11, Compacted.text or "")
        if revision > self.revision and not is_future_known:
            raise FutureRevision(11, FutureRevision.text or "")

    def _carried_out(self, path: _Path, at: int) -> Outcome:
        return Outcome(path.succeeded, self._header(), [self._do(op, at) for op in path.ops])

    def _do(self, op: Union[Op, _Path], at: int) -> Any:
        if isinstance(op, OpGet):
            return self.range(op)
        if isinstance(op, _Path):
            return self._carried_out(op, at)
        if isinstance(op, OpSet):
            return self._set(op, at)
        assert isinstance(op, OpDel), op
        gone = [kv for key, kv in sorted(self._kvs.items()) if key in op.key]
        for kv in gone:
            del self._kvs[kv.key]
            self.history.append(Event("delete", KeyValue(kv.key, mod_revision=at)))
        return Deleted(len(gone), self._header(), gone if op.return_previous else [])

    def _set(self, op: OpSet, at: int) -> Revision:
        was = self._kvs.get(op.key)
        version, created = (1, at) if was is None else (was.version + 1, was.create_revision)
        value = was.value if was is not None and op.ignore_value else op.value or b""
        lease = was.lease if was is not None and op.ignore_lease else op.lease
        self._kvs[op.key] = kv = KeyValue(op.key, value, version, created, at, lease)
        self.history.append(Event("put", kv))
        return Revision(self._header(), was if op.return_previous else None)

    # --- the requests by their names, see answer()

    _Transaction = transact
    _OpGet = range

    def _OpSet(self, op: OpSet) -> Any:
        outcome = self.transact(Transaction([], [op]))
        return attrs.evolve(outcome.responses[0], header=outcome.header)

    def _LeaseGrantRequest(self, request: LeaseGrantRequest) -> LeaseGrantResponse:
        self.leases[request.lease_id] = request.time_to_live
        return LeaseGrantResponse(self._header(), request.lease_id, request.time_to_live)

    def _LeaseKeepAliveRequest(self, request: LeaseKeepAliveRequest) -> LeaseKeepAliveResponse:
        self.renewed.add(request.lease_id)
        return LeaseKeepAliveResponse(self._header(), request.lease_id, self.leases.get(request.lease_id, 0))

    def _LeaseTimeToLiveRequest(self, request: LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse:
        return LeaseTimeToLiveResponse(self._header(), request.lease_id, self.leases.get(request.lease_id, -1))

    def _LeaseRevokeRequest(self, request: LeaseRevokeRequest) -> Acknowledgement:
        if request.lease_id not in self.leases:
            raise LeaseNotFound(5, LeaseNotFound.text or "")
        self.expire(request.lease_id)
        return Acknowledgement(self._header())


def _is_within(op: OpGet, kv: KeyValue) -> bool:
    """By the revisions that are asked for, of which 0 is none."""
    return (
        op.min_create_revision <= kv.create_revision <= (op.max_create_revision or kv.create_revision)
        and op.min_mod_revision <= kv.mod_revision <= (op.max_mod_revision or kv.mod_revision)
    )  # fmt: skip


def _holds(comp: Comp, kv: KeyValue) -> bool:
    """Of a key that is not there, all is 0, and the value compares with nothing."""
    if comp.target == "VALUE" and not kv.version:
        return False
    return bool(_HOLDS[comp.compare](getattr(kv, comp.operand), getattr(comp, comp.operand)))


ANSWER, LOSE, DROP, DELAY, REFUSE = "answer", "lose_answer", "drop", "delay", "refuse"
"""What becomes of a call, as the methods of :class:`Peer` do it."""


class Peer:
    """
    A client of the store, and what is between the two.

    :param clients: all of them.
    :param transport: of the client.

    :ivar client: the client.
    :ivar is_away: whether nothing gets through just now.
    """

    def __init__(self, clients: Clients, transport: FakeTransport) -> None:
        self._clients = clients
        self.transport = transport
        self.client: Client = fake_client(clients.clock, transport)
        self.is_away = False
        self._told: dict[FakeStream, int] = {}

    @property
    def waiting(self) -> list[FakeCall]:
        """The calls that get through, and wait for their answers."""
        return [] if self.is_away else list(self.transport.waiting)

    # --- what becomes of a call

    def answer(self, call: FakeCall) -> None:
        """It arrives, and so does its answer."""
        call.reply(self._clients.carry_out(call))

    def lose_answer(self, call: FakeCall) -> None:
        """It arrives, but not its answer."""
        self._clients.carry_out(call)
        self.drop(call)

    def drop(self, call: FakeCall) -> None:
        """It does not arrive, which its caller cannot know."""
        call.reply(Unavailable(None, "lost") if call.rpc.is_read else OutcomeUnknown(None, "lost"))

    def delay(self, call: FakeCall) -> None:
        """It fails so, but arrives later: see :meth:`Clients.arrive`."""
        if not call.rpc.name.startswith("Lease."):
            # a lease that is granted so late is not known to be there: it ends by itself, which nothing does here
            self._clients.late.append(call)
        self.drop(call)

    def refuse(self, call: FakeCall) -> None:
        """It does not arrive, and that is known."""
        call.reply(Unavailable(None, "refused"))

    # --- its watches

    def feed(self) -> bool:
        """Tells the watches what is new; whether there was anything."""
        return False if self.is_away else any([self._feed(stream) for stream in self.transport.live])

    def _feed(self, stream: FakeStream) -> bool:
        store, is_new = self._clients.store, stream not in self._told
        if is_new:
            self._told[stream] = stream.request.start_revision or store.revision + 1
            stream.say(WatchResponse(store._header(), created=True))
        try:
            events = store.events(stream.request.key, self._told[stream])
        except Compacted:
            stream.say(WatchResponse(store._header(), canceled=True, compact_revision=store.compacted))
            stream.end()
            return True
        self._told[stream] = max(self._told[stream], store.revision + 1)
        if events:
            stream.say(WatchResponse(store._header(), events=events))
        return is_new or bool(events)

    def turn(self) -> bool:
        """Answers what was asked, and tells what has happened; whether there was anything."""
        asked = self.waiting
        for call in asked:
            if not call.answer.called:
                self.answer(call)
        return self.feed() or bool(asked)


class Clients:
    """
    The clients of a store.

    :ivar peers: each of them.
    :ivar late: the calls that arrive later.
    :ivar done: those that were carried out, by name (``list`` of ``str``).
    """

    def __init__(self, clock: Clock, store: Store) -> None:
        self.clock = clock
        self.store = store
        self.peers: list[Peer] = []
        self.late: list[FakeCall] = []
        self.done: list[str] = []

    def add(self, transport: Optional[FakeTransport] = None) -> Peer:
        """Another one."""
        self.peers.append(Peer(self, transport or FakeTransport(self.clock)))
        return self.peers[-1]

    @property
    def waiting(self) -> list[FakeCall]:
        """The calls that get through, and wait for their answers."""
        return [call for peer in self.peers for call in peer.waiting]

    @property
    def live(self) -> list[FakeStream]:
        """The streams of the watches."""
        return [stream for peer in self.peers for stream in peer.transport.live]

    @contextmanager
    def away(self, number: int) -> Iterator[None]:
        """Nothing gets through to one of them, by its number, for a while."""
        peer = self.peers[number]
        peer.is_away = True
        yield
        peer.is_away = False

    # --- what happens

    def carry_out(self, call: FakeCall) -> Any:
        """The answer to a call that arrives."""
        self.done.append(call.rpc.name)
        return self.store.answer(call.request)

    def step(self, fate: str = ANSWER, number: int = 0) -> bool:
        """One of the calls that wait meets its fate; whether there was one."""
        waiting = [(peer, call) for peer in self.peers for call in peer.waiting]
        if waiting:
            peer, call = waiting[number % len(waiting)]
            getattr(peer, fate)(call)
        return bool(waiting)

    def arrive(self, number: int = 0) -> None:
        """One of the calls that were delayed arrives."""
        self.carry_out(self.late.pop(number))

    def catch_up(self) -> None:
        """All of them arrive."""
        while self.late:
            self.arrive()

    def feed(self) -> None:
        """Tells the watches of all what is new."""
        for peer in self.peers:
            peer.feed()

    def settle(self, seconds: float = 0.0) -> None:
        """Lets everything happen that happens by itself, and so much time pass."""
        self._come_to_rest()
        while seconds > 0:
            step = min(seconds, 0.5 if seconds <= 5 else 2.5)
            seconds -= step
            self.clock.advance(step)
            self._come_to_rest()

    def _come_to_rest(self) -> None:
        for _ in range(10_000):
            if not self._turn():
                return
        raise AssertionError(f"it does not come to rest: {self.done[-20:]}")

    def _turn(self) -> bool:
        is_busy = [peer.turn() for peer in list(self.peers)]
        is_due = any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls())
        self.clock.advance(0)
        return any(is_busy) or is_due

    def close(self) -> None:
        """Closes all clients."""
        for peer in self.peers:
            peer.is_away = False
            peer.client.close()
        self.settle(1)
        self.peers.clear()


class StoreCase(Case):
    """
    A client of a store.

    :ivar store: the store.
    :ivar clients: all clients of it; the first is that of the case.
    """

    client: Client

    def setUp(self) -> None:
        super().setUp()
        self.begin_anew(self.transport)

    def begin_anew(self, transport: Optional[FakeTransport] = None) -> None:
        """With an empty store."""
        if "clients" in self.__dict__:
            self.close()
        self.store = Store()
        self.clients = Clients(self.clock, self.store)
        peer = self.clients.add(transport)
        self.client, self.transport = peer.client, peer.transport
        self.calls = self.client._calls

    def tearDown(self) -> None:
        self.close()
        super().tearDown()

    def close(self) -> None:
        """Closes all clients."""
        self.clients.close()

    @property
    def peers(self) -> list[Peer]:
        """The clients, with what is between them and the store."""
        return self.clients.peers

    def peer(self) -> Peer:
        """Another client."""
        return self.clients.add()

    def settle(self, seconds: float = 0) -> None:
        """See :meth:`Clients.settle`."""
        self.clients.settle(seconds)

    def settle_leases(self) -> None:
        """Lets a minute pass, after which those have ended that nobody renews."""
        self.store.renewed.clear()
        self.settle(60)
        for lease in set(self.store.leases) - self.store.renewed:
            self.store.expire(lease)
        self.settle()

    def done(self, deferred: Deferred[Any]) -> Any:
        """What it fires with when everything has happened."""
        self.settle()
        return self.successResultOf(deferred)

    def failed(self, deferred: Deferred[Any], *kinds: type[BaseException]) -> Any:
        """What it fails with when everything has happened."""
        self.settle()
        return self.failureResultOf(deferred, *kinds).value

    def begin(self, client: Client) -> Session:
        """A session that has begun."""
        session = Session(client)
        self.done(session.start())
        return session
