"""
A store that answers in the place of etcd, in the unit tests of what is built on several calls: revisions, transactions,
leases and watches, and answers that are lost, or come late.
"""

from __future__ import annotations

import operator
from typing import Any, Optional

import attrs

from test.fakes import Case, FakeCall, FakeStream, FakeTransport, fake_client
from txetcd import Client, KeySet, OpDel, OpGet, OpSet, Transaction
from txetcd._messages import (
    Acknowledgement,
    LeaseGrantRequest,
    LeaseGrantResponse,
    LeaseKeepAliveRequest,
    LeaseKeepAliveResponse,
    LeaseRevokeRequest,
    WatchResponse,
)
from txetcd.errors import Error, LeaseNotFound, OutcomeUnknown, PermissionDenied, Unavailable
from txetcd.values import Deleted, Event, Header, KeyValue, Outcome, Range, Revision

_HOLDS = {"==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt}


class Store:
    """
    What etcd does, as far as it matters here. Leases do not expire by themselves.

    :ivar revision: that of the last write.
    :ivar leases: the time to live of each, by its id.
    :ivar refused: keys that begin so must not be written.
    """

    def __init__(self) -> None:
        self.revision = 1
        self.leases: dict[int, int] = {}
        self.refused: Optional[bytes] = None
        self._kvs: dict[bytes, KeyValue] = {}
        self._events: list[Event] = []
        self._compacted = 0

    # --- for the test

    @property
    def keys(self) -> dict[bytes, bytes]:
        """All keys and their values, in their order."""
        return {key: kv.value for key, kv in sorted(self._kvs.items())}

    def put(self, key: bytes, value: bytes = b"", lease: int = 0) -> int:
        """Somebody else writes a key; the revision."""
        return int(self.answer(Transaction([], [OpSet(key, value, lease)])).header.revision)

    def delete(self, key: bytes) -> None:
        """Somebody else deletes a key."""
        self.answer(Transaction([], [OpDel(key)]))

    def expire(self, lease_id: int) -> None:
        """A lease is gone, and its keys with it."""
        if self.leases.pop(lease_id, None) is not None:
            self._delete([key for key, kv in self._kvs.items() if kv.lease == lease_id])

    def compact(self) -> None:
        """Nothing is known any more of what was before."""
        self._compacted = self.revision
        self._events.clear()

    # --- what is asked

    def answer(self, request: Any) -> Any:
        """Does what is asked; an :class:`Error` instead of an answer if that is refused."""
        try:
            return getattr(self, f"_{type(request).__name__}")(request)
        except Error as error:
            return error

    def events(self, keys: KeySet, start: int) -> Optional[list[Event]]:
        """What has happened to keys from a revision on; ``None`` if that was compacted."""
        if start <= self._compacted:
            return None
        return [event for event in self._events if event.mod_revision >= start and event.key in keys]

    def _header(self) -> Header:
        return Header(revision=self.revision)

    def _found(self, keys: KeySet) -> list[KeyValue]:
        return [kv for key, kv in sorted(self._kvs.items()) if key in keys]

    def _OpGet(self, op: OpGet) -> Range:
        kvs = [
            kv
            for kv in self._found(op.key)
            if kv.create_revision <= (op.max_create_revision or self.revision)
            and kv.mod_revision >= op.min_mod_revision
        ]
        target = {"CREATE": "create_revision", "MOD": "mod_revision"}.get(op.sort_target or "", "key")
        kvs.sort(key=lambda kv: getattr(kv, target), reverse=op.sort_order == "DESCEND")
        shown = kvs[: op.limit or len(kvs)]
        if op.keys_only:
            shown = [attrs.evolve(kv, value=b"") for kv in shown]
        return Range([] if op.count_only else shown, self._header(), len(self._found(op.key)), len(shown) < len(kvs))

    def _Transaction(self, txn: Transaction) -> Outcome:
        self._check(txn)
        before = self.revision
        self.revision += 1
        outcome = self._txn(txn)
        if not self._events or self._events[-1].mod_revision != self.revision:
            self.revision = before
        return attrs.evolve(outcome, header=self._header())

    def _check(self, txn: Transaction) -> None:
        for op in txn.success:
            if isinstance(op, OpSet) and op.lease and op.lease not in self.leases and self._hold(txn):
                raise LeaseNotFound(5, "etcdserver: requested lease not found")
            if isinstance(op, OpSet) and self.refused is not None and op.key.startswith(self.refused):
                raise PermissionDenied(7, "etcdserver: permission denied")

    def _txn(self, txn: Transaction) -> Outcome:
        holds = self._hold(txn)
        responses = [self._do(op) for op in (txn.success if holds else txn.failure)]
        return Outcome(holds, self._header(), responses)

    def _hold(self, txn: Transaction) -> bool:
        return all(self._holds(comp, kv) for comp in txn.compare for kv in self._compared(comp.key))

    def _compared(self, keys: KeySet) -> list[KeyValue]:
        return self._found(keys) or [KeyValue(keys.start, b"", 0, 0, 0, 0)]

    def _holds(self, comp: Any, kv: KeyValue) -> bool:
        if comp.target == "VALUE" and not kv.version:
            return False
        return bool(_HOLDS[comp.compare](getattr(kv, comp.operand), getattr(comp, comp.operand)))

    def _do(self, op: Any) -> Any:
        if isinstance(op, OpGet):
            return self._OpGet(op)
        if isinstance(op, OpSet):
            old = self._kvs.get(op.key)
            created, version = (old.create_revision, old.version + 1) if old else (self.revision, 1)
            self._kvs[op.key] = kv = KeyValue(op.key, op.value or b"", version, created, self.revision, op.lease)
            self._events.append(Event("put", kv))
            return Revision(self._header())
        if isinstance(op, OpDel):
            gone = [kv.key for kv in self._found(op.key)]
            self._forget(gone)
            return Deleted(len(gone), self._header())
        return self._txn(op.transaction)

    def _delete(self, keys: list[bytes]) -> None:
        self.revision += bool(keys)
        self._forget(keys)

    def _forget(self, keys: list[bytes]) -> None:
        for key in keys:
            del self._kvs[key]
            self._events.append(Event("delete", KeyValue(key, mod_revision=self.revision)))

    def _LeaseGrantRequest(self, request: LeaseGrantRequest) -> LeaseGrantResponse:
        self.leases[request.lease_id] = request.time_to_live
        return LeaseGrantResponse(self._header(), request.lease_id, request.time_to_live)

    def _LeaseKeepAliveRequest(self, request: LeaseKeepAliveRequest) -> LeaseKeepAliveResponse:
        return LeaseKeepAliveResponse(self._header(), request.lease_id, self.leases.get(request.lease_id, 0))

    def _LeaseRevokeRequest(self, request: LeaseRevokeRequest) -> Acknowledgement:
        if request.lease_id not in self.leases:
            raise LeaseNotFound(5, "etcdserver: requested lease not found")
        self.expire(request.lease_id)
        return Acknowledgement(self._header())


class Peer:
    """
    A client of the store, and what is between the two.

    :ivar client: the client.
    :ivar is_away: whether nothing gets through just now.
    """

    def __init__(self, clock: Any, store: Store, transport: Optional[FakeTransport] = None) -> None:
        self._store = store
        self.transport = transport or FakeTransport(clock)
        self.client: Client = fake_client(clock, self.transport)
        self.is_away = False
        self._told: dict[FakeStream, int] = {}

    def answer(self, call: FakeCall) -> None:
        """A call arrives, and so does its answer."""
        call.reply(self._store.answer(call.request))

    def lose_answer(self, call: FakeCall) -> None:
        """A call arrives, but not its answer."""
        self._store.answer(call.request)
        call.reply(self._doubt(call))

    def delay(self, call: FakeCall) -> Any:
        """A call fails that arrives later: the request."""
        call.reply(self._doubt(call))
        return call.request

    def refuse(self, call: FakeCall) -> None:
        """A call does not arrive."""
        call.reply(Unavailable(None, "refused"))

    def _doubt(self, call: FakeCall) -> Error:
        return Unavailable(None, "lost") if call.rpc.is_read else OutcomeUnknown(None, "lost")

    def feed(self) -> bool:
        """Tells the watches what is new; whether there was anything."""
        is_new = False
        for stream in self.transport.live:
            is_new = self._feed(stream) or is_new
        return is_new

    def _feed(self, stream: FakeStream) -> bool:
        request, revision = stream.request, self._store.revision
        if self.is_away:
            return False
        if stream not in self._told:
            self._told[stream] = (request.start_revision or revision + 1) - 1
            stream.say(WatchResponse(Header(revision=revision), created=True))
        events = self._store.events(request.key, self._told[stream] + 1)
        if events is None:
            stream.say(WatchResponse(canceled=True, compact_revision=self._store._compacted))
            stream.end()
            return True
        self._told[stream] = max(self._told[stream], revision)
        if events:
            stream.say(WatchResponse(Header(revision=revision), events=events))
        return bool(events)

    def turn(self) -> bool:
        """Answers what was asked, and tells what has happened; whether there was anything."""
        asked = [] if self.is_away else list(self.transport.waiting)
        for call in asked:
            if not call.answer.called:
                self.answer(call)
        return self.feed() or bool(asked)


class StoreCase(Case):
    """
    A client of a store.

    :ivar store: the store.
    :ivar peers: all clients of it; the first is that of the case.
    """

    client: Client

    def setUp(self) -> None:
        super().setUp()
        self.store = Store()
        self.peers = [Peer(self.clock, self.store, self.transport)]
        self.client = self.peers[0].client
        self.calls = self.client._calls

    def tearDown(self) -> None:
        self.close()
        super().tearDown()

    def close(self) -> None:
        """Closes all clients."""
        for peer in self.peers:
            peer.is_away = False
            peer.client.close()
        self.settle(1)
        self.peers.clear()

    def peer(self) -> Peer:
        """Another client."""
        self.peers.append(Peer(self.clock, self.store))
        return self.peers[-1]

    def settle(self, seconds: float = 0) -> None:
        """Lets everything happen that happens by itself, and so much time pass."""
        while self._turn():
            pass
        while seconds > 0:
            step = min(seconds, 0.5 if seconds <= 5 else 2.5)
            seconds -= step
            self.clock.advance(step)
            while self._turn():
                pass

    def _turn(self) -> bool:
        is_busy = [peer.turn() for peer in list(self.peers)]
        is_due = any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls())
        self.clock.advance(0)
        return any(is_busy) or is_due

    def done(self, deferred: Any) -> Any:
        """What it fires with when everything has happened."""
        self.settle()
        return self.successResultOf(deferred)

    def failed(self, deferred: Any, *kinds: type[BaseException]) -> Any:
        """What it fails with when everything has happened."""
        self.settle()
        return self.failureResultOf(deferred, *kinds).value
