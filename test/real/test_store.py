"""
The store that stands in for etcd in the unit tests answers as the newest server does.
"""

from __future__ import annotations

from random import Random
from typing import Any, Callable, Union

from test.real.base import RealCase, on_newest_server
from test.store import Store
from txetcd import KeySet
from txetcd.errors import Error
from txetcd.ops import (
    Comp,
    CompCreated,
    CompLease,
    CompModified,
    CompValue,
    CompVersion,
    Op,
    OpDel,
    OpGet,
    OpSet,
    OpTxn,
    Transaction,
)
from txetcd.values import Deleted, Event, Outcome, Range, Revision

KEYS = [b"a", b"b", b"c", b"d", b"e"]
EVERYTHING = KeySet(b"a", b"f")
COMPARES = ["==", "!=", "<", ">"]
LEASE = 7


class Chance:
    """Transactions by chance, each within what a server takes."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.revision = 1

    def _one(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _near(self) -> int:
        """A revision of lately, or the next one."""
        return max(0, self.revision + self._random.randint(-4, 1))

    def comp(self) -> Comp:
        keys: Union[bytes, KeySet] = self._one(*KEYS, *KEYS, EVERYTHING, KeySet(b"b", b"d"))
        kinds: list[tuple[Callable[..., Comp], Any]] = [
            (CompValue, self._one(b"0", b"1")),
            (CompVersion, self._one(0, 1, 2)),
            (CompCreated, self._near()),
            (CompModified, self._near()),
            (CompLease, self._one(0, LEASE)),
        ]
        kind, operand = self._one(*kinds)
        return kind(keys, self._one(*COMPARES), operand)

    def get(self) -> OpGet:
        return OpGet(
            self._one(*KEYS, EVERYTHING, EVERYTHING, EVERYTHING),
            count_only=self._random.random() < 0.1,
            keys_only=self._random.random() < 0.2,
            limit=self._one(0, 0, 1, 2),
            revision=self._one(0, 0, self._near()),
            max_create_revision=self._one(0, 0, self._near()),
            min_create_revision=self._one(0, 0, self._near()),
            max_mod_revision=self._one(0, 0, self._near()),
            min_mod_revision=self._one(0, 0, self._near()),
            sort_order=self._one(None, "ASCEND", "DESCEND"),
            # of keys whose versions or values are equal it is left open which comes first
            sort_target=self._one(None, "KEY"),
        )

    def op(self, key: bytes) -> Op:
        """One that writes no other key."""
        kind = self._random.randrange(8)
        if kind < 3:
            return self.get()
        if kind == 3:
            return OpDel(key, self._one(True, False))
        if kind == 4:
            return OpTxn(Transaction([self.comp()], [self.op(key)], [self.op(key)]))
        if kind == 5:
            return self._one(OpSet(key, None, LEASE, ignore_value=True), OpSet(key, b"2", ignore_lease=True))
        return OpSet(key, self._one(b"0", b"1"), self._one(0, 0, 0, LEASE, 8), return_previous=self._one(True, False))

    def txn(self) -> Transaction:
        comps = [self.comp() for _ in range(self._random.randrange(3))]
        keys = self._random.sample(KEYS, 3)
        return Transaction(comps, [self.op(key) for key in keys], [self.op(key) for key in keys])


def seen(answer: Any) -> Any:
    """What is compared of an answer to a transaction, or to an operation of one."""
    if isinstance(answer, Error):
        return type(answer)
    if isinstance(answer, Outcome):
        return answer.succeeded, [seen(response) for response in answer.responses]
    if isinstance(answer, Range):
        return answer.kvs, answer.count, answer.more
    if isinstance(answer, Deleted):
        return answer.deleted, answer.previous
    assert isinstance(answer, Revision), answer
    return answer.previous


def in_order(events: list[Event]) -> list[Event]:
    """Of those of one revision it is left open which comes first."""
    return sorted(events, key=lambda event: (event.mod_revision, event.key))


@on_newest_server()
class StoreTests(RealCase):
    unheard = "what was written is compacted away before anybody is told"

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.web = self.own.url
        self.url = self.spoken(self.web)
        self.etcd = self.client()

    async def asked(self: Any, txn: Transaction) -> Any:
        try:
            return await self.etcd.transact(txn)
        except Error as error:
            return error

    async def test_transactions(self: Any) -> None:
        """Comparisons, reads and writes of all kinds, a lease that is revoked, compaction; and what a watch tells."""
        store, chance = Store(), Chance(1)
        for number in range(650):
            if number % 50 == 0:
                lease = await self.etcd.lease(600, lease_id=LEASE)
                store.leases[LEASE] = 600
            txn = chance.txn()
            ours, theirs = store.answer(txn), await self.asked(txn)
            self.assertEqual(seen(ours), seen(theirs), (number, txn))
            if isinstance(theirs, Outcome):
                self.assertEqual(store.revision, theirs.header.revision, (number, txn))
            if number % 50 == 49:
                await lease.revoke()
                store.expire(LEASE)
            if number % 100 == 99:
                await self.etcd.compact(store.revision)
                store.compact()
            chance.revision = store.revision
        there = store.events(EVERYTHING, store.compacted + 1)
        told = []
        watch = self.etcd.watcher(EVERYTHING, start_revision=store.compacted + 1)
        async for event in watch:
            told.append(event)
            if len(told) == len(there):
                watch.stop()
        self.assertEqual(in_order(there), in_order(told))
