"""
An etcd in memory, for what is built on the verbs of a client: it answers a fake transport, and loses answers if told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Callable, Optional

import attrs
from twisted.internet.task import Clock

from test.fakes import FakeCall, FakeStream, FakeTransport, fake_client
from txetcd import Client, Outcome, OutcomeUnknown, Range, Revision, Unavailable
from txetcd import _schema as schema
from txetcd._messages import (
    Acknowledgement,
    LeaseGrantResponse,
    LeaseKeepAliveResponse,
    WatchResponse,
)
from txetcd.errors import Compacted, LeaseNotFound
from txetcd.ops import Comp, CompCreated, CompLease, CompValue, CompVersion, Op, OpDel, OpGet, OpSet, Transaction
from txetcd.values import Deleted, Event, Header, KeyValue

ANSWER, LOSE, DROP, DELAY = "answer", "lose", "drop", "delay"
"""
What becomes of a call: it is carried out and answered; carried out, and its answer lost; lost itself, which its caller
cannot know; or lost for its caller, and carried out later.
"""

_SORT: dict[Optional[str], Callable[[KeyValue], Any]] = {
    None: lambda kv: kv.key,
    "KEY": lambda kv: kv.key,
    "CREATE": lambda kv: (kv.create_revision, hash(kv.key)),
}
"""By revision the server leaves open which of several comes first."""


class Store:
    """
    The keys, all that they were, the leases, and the watches.

    :param clock: of the clients. Nothing expires by itself.

    :ivar transports: those of the clients.
    :ivar done: the calls that were carried out, by name (``list`` of ``str``).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.transports: list[FakeTransport] = []
        self.history: list[Event] = []
        self.keys: dict[bytes, KeyValue] = {}
        self.leases: set[int] = set()
        self.revision = 1
        self.compacted = 0
        self.late: list[FakeCall] = []
        self.done: list[str] = []
        self._told: dict[FakeStream, int] = {}

    def client(self) -> Client:
        """One more client."""
        transport = FakeTransport(self._clock)
        self.transports.append(transport)
        return fake_client(self._clock, transport)

    @contextmanager
    def silent(self, number: int) -> Iterator[None]:
        """A client, by its number, is answered nothing for a while."""
        transport = self.transports.pop(number)
        yield
        self.transports.insert(number, transport)

    @property
    def waiting(self) -> list[FakeCall]:
        """The calls that wait for their answers."""
        return [call for transport in self.transports for call in transport.waiting]

    @property
    def live(self) -> list[FakeStream]:
        """The streams of the watches."""
        return [stream for transport in self.transports for stream in transport.live]

    # --- what happens

    def step(self, fate: str = ANSWER, number: int = 0) -> bool:
        """One of the calls that wait meets its fate; whether there was one."""
        waiting = self.waiting
        if not waiting:
            return False
        call = waiting[number % len(waiting)]
        if fate == ANSWER:
            call.reply(self.carry_out(call))
            return True
        if fate == DELAY and call.rpc.name.startswith("Lease."):
            # one that is granted late ends by itself, which nothing does here
            fate = LOSE
        if fate == LOSE:
            self.carry_out(call)
        elif fate == DELAY:
            self.late.append(call)
        call.reply(self._lost(call))
        return True

    def _lost(self, call: FakeCall) -> Any:
        return Unavailable(None, "lost") if call.rpc.is_read else OutcomeUnknown(None, "lost")

    def catch_up(self) -> None:
        """What was delayed is carried out."""
        late, self.late = self.late, []
        for call in late:
            self.carry_out(call)

    def settle(self, seconds: float = 0.0) -> None:
        """Answers everything, and tells everybody, until nothing happens any more, for so long."""
        waited = 0.0
        for _ in range(10_000):
            if self.step() or self.tell():
                continue
            if waited >= seconds:
                return
            self._clock.advance(0.25)
            waited += 0.25
        raise AssertionError(f"it does not come to rest: {self.done[-20:]}")

    def tell(self) -> bool:
        """Tells the watches what they have not been told; whether there was anything."""
        has_told = False
        for stream in list(self.live):
            request = stream.request
            if stream not in self._told:
                self._told[stream] = request.start_revision or self.revision + 1
                stream.say(WatchResponse(self._header(), created=True))
                has_told = True
            begin = self._told[stream]
            if begin < self.compacted and not stream.is_over:
                stream.say(WatchResponse(self._header(), canceled=True, compact_revision=self.compacted))
                has_told = True
                continue
            events = [event for event in self.history if event.mod_revision >= begin and event.key in request.key]
            self._told[stream] = self.revision + 1
            if events and not stream.is_over:
                stream.say(WatchResponse(self._header(), events=events))
                has_told = True
        return has_told

    def compact(self) -> None:
        """Forgets what was."""
        self.compacted = self.revision

    def expire(self, lease: int) -> None:
        """A lease ends."""
        self.leases.discard(lease)
        attached = [key for key, kv in self.keys.items() if kv.lease == lease]
        if attached:
            self.revision += 1
        for key in attached:
            self._delete(key)

    # --- what is asked

    def carry_out(self, call: FakeCall) -> Any:
        """The answer."""
        self.done.append(call.rpc.name)
        try:
            return self._answer(call)
        except (Compacted, LeaseNotFound) as error:
            return error

    def _answer(self, call: FakeCall) -> Any:
        request = call.request
        if call.rpc is schema.RANGE:
            return self._get(request)
        if call.rpc is schema.TXN:
            return self._transact(request)
        if call.rpc is schema.PUT:
            return self._transact(Transaction([], [request])).responses[0]
        if call.rpc is schema.LEASE_GRANT:
            self.leases.add(request.lease_id)
            return LeaseGrantResponse(self._header(), request.lease_id, request.time_to_live)
        if call.rpc is schema.LEASE_REVOKE:
            if request.lease_id not in self.leases:
                return LeaseNotFound(5, "requested lease not found")
            self.expire(request.lease_id)
            return Acknowledgement(self._header())
        assert call.rpc is schema.LEASE_KEEP_ALIVE, call.rpc
        alive = 60 if request.lease_id in self.leases else 0
        return LeaseKeepAliveResponse(self._header(), request.lease_id, alive)

    def _transact(self, txn: Transaction) -> Outcome:
        succeeded = all(map(self._holds, txn.compare))
        ops = txn.success if succeeded else txn.failure
        leases = [op.lease for op in ops if isinstance(op, OpSet) and op.lease]
        if not set(leases) <= self.leases:
            raise LeaseNotFound(5, "requested lease not found")
        before = self.revision
        if any(isinstance(op, OpSet) for op in ops) or any(
            isinstance(op, OpDel) and any(key in op.key for key in self.keys) for op in ops
        ):
            self.revision += 1
        responses = [self._do(op, before) for op in ops]
        return Outcome(succeeded, self._header(), responses)

    def _do(self, op: Op, before: int) -> Any:
        if isinstance(op, OpGet):
            return self._get(op)
        if isinstance(op, OpSet):
            old = self.keys.get(op.key)
            kv = KeyValue(
                op.key,
                old.value if op.ignore_value and old is not None else op.value or b"",
                1 if old is None else old.version + 1,
                self.revision if old is None else old.create_revision,
                self.revision,
                op.lease,
            )
            self.keys[op.key] = kv
            self.history.append(Event("PUT", kv))
            return Revision(Header(revision=before))
        assert isinstance(op, OpDel)
        gone = [self.keys[key] for key in sorted(self.keys) if key in op.key]
        for kv in gone:
            self._delete(kv.key)
        return Deleted(len(gone), self._header(), gone if op.return_previous else [])

    def _delete(self, key: bytes) -> None:
        del self.keys[key]
        self.history.append(Event("DELETE", KeyValue(key, mod_revision=self.revision)))

    def _get(self, op: OpGet) -> Range:
        kvs = self._as_of(op.revision) if op.revision else list(self.keys.values())
        kvs = [kv for kv in kvs if kv.key in op.key]
        if op.max_create_revision:
            kvs = [kv for kv in kvs if kv.create_revision <= op.max_create_revision]
        total = len(kvs)
        kvs.sort(key=lambda kv: kv.key)
        kvs.sort(key=_SORT[op.sort_target], reverse=op.sort_order == "DESCEND")
        more = bool(op.limit) and total > op.limit
        kvs = kvs[: op.limit] if op.limit else kvs
        if op.keys_only:
            kvs = [attrs.evolve(kv, value=b"") for kv in kvs]
        return Range([] if op.count_only else kvs, self._header(), total, more)

    def _as_of(self, revision: int) -> list[KeyValue]:
        if revision < self.compacted:
            raise Compacted(11, "mvcc: required revision has been compacted")
        kvs: dict[bytes, KeyValue] = {}
        for event in self.history:
            if event.mod_revision > revision:
                break
            if event.is_put:
                kvs[event.key] = event.kv
            else:
                kvs.pop(event.key, None)
        return list(kvs.values())

    def _holds(self, comp: Comp) -> bool:
        kvs = [kv for kv in self.keys.values() if kv.key in comp.key]
        if not kvs:
            if isinstance(comp, CompValue):
                return False
            kvs = [KeyValue(b"-", b"")]
        return all(_compares(comp, kv) for kv in kvs)

    def _header(self) -> Header:
        return Header(revision=self.revision)

    def below(self, prefix: bytes) -> Sequence[bytes]:
        """The keys that begin so."""
        return [key for key in sorted(self.keys) if key.startswith(prefix)]


def _compares(comp: Any, kv: KeyValue) -> bool:
    if isinstance(comp, CompValue):
        left: Any = kv.value
    elif isinstance(comp, CompVersion):
        left = kv.version
    elif isinstance(comp, CompCreated):
        left = kv.create_revision
    elif isinstance(comp, CompLease):
        left = kv.lease
    else:
        left = kv.mod_revision
    right = getattr(comp, comp.operand)
    results = {"==": left == right, "!=": left != right, "<": left < right, ">": left > right}
    return results[comp.compare]
