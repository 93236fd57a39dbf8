"""
Transactions, on every server.
"""

from __future__ import annotations

from typing import Any, Callable

from test.real.base import RealCase, on_every_server
from txetcd import (
    CompCreated,
    CompLease,
    CompModified,
    CompValue,
    CompVersion,
    Deleted,
    Failed,
    KeySet,
    LeaseNotFound,
    OpDel,
    OpGet,
    OpSet,
    OpTxn,
    Outcome,
    Range,
    Revision,
    Success,
    Transaction,
)
from txetcd.errors import DuplicateKey, FutureRevision, TooManyOps

HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    ">": lambda left, right: bool(left > right),
    "<": lambda left, right: bool(left < right),
}
"""What the operators mean, in Python."""

FAR = [-(2**63), -1, 2**63 - 1]
"""Numbers that no version, revision or lease has; etcd compares with them as with any other."""


class _Txn(RealCase):
    async def holds(self: Any, *comps: Any) -> bool:
        return bool((await self.etcd.transact(Transaction(list(comps)))).succeeded)

    async def kv(self: Any, name: bytes) -> Any:
        (kv,) = (await self.etcd.get(self.key(name))).kvs
        return kv

    async def names(self: Any) -> list[bytes]:
        return [kv.key[len(self.prefix) :] for kv in (await self.etcd.get(self.keys())).kvs]


@on_every_server()
class Compare(_Txn):
    """Every comparison, by every operator, with operands below, at and above what is there."""

    async def start(self: Any) -> None:
        self.lease = await self.etcd.lease(60)
        self.addCleanup(self.lease.revoke)
        for value in (b"one", b"two", b"m"):
            await self.etcd.set(self.key(b"a"), value, self.lease)

    async def assert_compares(self: Any, comp: Any, name: bytes, actual: Any, operands: list[Any]) -> None:
        for operand in operands:
            for operator, holds in HOLDS.items():
                self.assertEqual(
                    await self.holds(comp(self.key(name), operator, operand)),
                    holds(actual, operand),
                    f"{actual!r} {operator} {operand!r}",
                )

    async def test_value(self: Any) -> None:
        """By the order of bytes."""
        await self.assert_compares(CompValue, b"a", b"m", [b"", b"l\xff", b"m", b"m\x00", b"n", b"\xff"])

    async def test_value_empty(self: Any) -> None:
        await self.etcd.set(self.key(b"e"), b"")
        await self.assert_compares(CompValue, b"e", b"", [b"", b"\x00"])

    async def test_version(self: Any) -> None:
        await self.assert_compares(CompVersion, b"a", 3, [*FAR, 0, 2, 3, 4])

    async def test_created(self: Any) -> None:
        revision = (await self.kv(b"a")).create_revision
        await self.assert_compares(CompCreated, b"a", revision, [*FAR, 0, revision - 1, revision, revision + 1])

    async def test_modified(self: Any) -> None:
        revision = (await self.kv(b"a")).mod_revision
        await self.assert_compares(CompModified, b"a", revision, [*FAR, 0, revision - 1, revision, revision + 1])

    async def test_lease(self: Any) -> None:
        lease = self.lease.lease_id
        await self.assert_compares(CompLease, b"a", lease, [*FAR, 0, lease - 1, lease, lease + 1])
        self.assertTrue(await self.holds(CompLease(self.key(b"a"), "==", self.lease)))
        self.assertFalse(await self.holds(CompLease(self.key(b"a"), "==", None)))

    async def test_lease_none(self: Any) -> None:
        await self.etcd.set(self.key(b"n"), b"")
        self.assertTrue(await self.holds(CompLease(self.key(b"n"), "==", None)))
        self.assertFalse(await self.holds(CompLease(self.key(b"n"), "==", self.lease)))

    async def test_missing(self: Any) -> None:
        """All is zero."""
        for comp in (CompVersion, CompCreated, CompModified, CompLease):
            await self.assert_compares(comp, b"z", 0, [*FAR, 0, 1])

    async def test_missing_value(self: Any) -> None:
        """A missing key fails every comparison of its value."""
        for operator in HOLDS:
            for operand in (b"", b"m"):
                self.assertFalse(await self.holds(CompValue(self.key(b"z"), operator, operand)), operator)

    async def test_none(self: Any) -> None:
        """No comparison at all does hold."""
        self.assertTrue(await self.holds())

    async def test_all_must_hold(self: Any) -> None:
        good, bad = CompVersion(self.key(b"a"), "==", 3), CompValue(self.key(b"a"), "==", b"other")
        self.assertTrue(await self.holds(good, good))
        self.assertFalse(await self.holds(good, bad))
        self.assertFalse(await self.holds(bad, good))


@on_every_server()
class CompareRange(_Txn):
    """A comparison of a key set must hold for each of its keys."""

    async def start(self: Any) -> None:
        for name in (b"a", b"b", b"b", b"c"):
            await self.etcd.set(self.key(name), b"value")

    async def test_each(self: Any) -> None:
        self.assertTrue(await self.holds(CompVersion(self.keys(), ">", 0)))
        self.assertTrue(await self.holds(CompValue(self.keys(), "==", b"value")))
        self.assertFalse(await self.holds(CompVersion(self.keys(), "==", 1)))
        self.assertTrue(await self.holds(CompVersion(KeySet(self.key(b"b"), self.key(b"c")), "==", 2)))

    async def test_end(self: Any) -> None:
        """It does not belong to the range."""
        await self.etcd.set(self.key(b"c"), b"other")
        self.assertTrue(await self.holds(CompValue(KeySet(self.key(b"a"), self.key(b"c")), "==", b"value")))
        self.assertFalse(await self.holds(CompValue(KeySet(self.key(b"a"), self.key(b"d")), "==", b"value")))

    async def test_empty(self: Any) -> None:
        """A set without keys is compared as one key that does not exist."""
        self.assertTrue(await self.holds(CompCreated(self.keys(b"z"), "==", 0)))
        self.assertFalse(await self.holds(CompCreated(self.keys(b"z"), ">", 0)))
        self.assertFalse(await self.holds(CompValue(self.keys(b"z"), "!=", b"value")))

    async def test_only_if_empty(self: Any) -> None:
        """What it is for: remove a directory if there is nothing in it."""
        txn = Transaction([CompCreated(self.keys(b"d/"), "==", 0)], [OpSet(self.key(b"d"), b"gone")])
        self.assertTrue((await self.etcd.transact(txn)).succeeded)
        await self.etcd.set(self.key(b"d/1"), b"")
        self.assertFalse((await self.etcd.transact(txn)).succeeded)


@on_every_server()
class Operations(_Txn):
    """Every operation has its answer, of its own class, in its place."""

    async def start(self: Any) -> None:
        for name in (b"a", b"b", b"c"):
            await self.etcd.set(self.key(name), b"old " + name)

    async def test_responses(self: Any) -> None:
        before = (await self.etcd.get(self.keys())).kvs
        outcome = await self.etcd.transact(
            Transaction(
                success=[
                    OpGet(self.keys(), sort_order="DESCEND", limit=2),
                    OpSet(self.key(b"a"), b"new", return_previous=True),
                    OpSet(self.key(b"n"), b"new", return_previous=True),
                    OpDel(self.keys(b"b"), return_previous=True),
                    OpDel(self.key(b"z")),
                    OpTxn(Transaction([], [OpGet(self.key(b"a"))])),
                    OpGet(self.key(b"a")),
                    OpGet(self.keys(), count_only=True),
                ]
            )
        )
        found, changed, new, gone, nothing, inner, read, counted = outcome.responses
        self.assertTrue(outcome.succeeded)
        for response, kind in zip(outcome.responses, (Range, Revision, Revision, Deleted, Deleted, Outcome, Range)):
            self.assertIs(type(response), kind)
        self.assertEqual((found.kvs, found.count, found.more), (before[:0:-1], 3, True))
        self.assertEqual((changed.previous, new.previous), (before[0], None))
        self.assertEqual((gone.deleted, gone.previous), (1, [before[1]]))
        self.assertEqual((nothing.deleted, nothing.previous), (0, []))
        self.assertTrue(inner.succeeded)
        # what comes later sees what was done before, all at one revision
        self.assertEqual(inner.responses[0].kvs, read.kvs)
        self.assertEqual((read.kvs[0].value, read.kvs[0].version), (b"new", 2))
        self.assertEqual(read.kvs[0].mod_revision, outcome.header.revision)
        self.assertEqual(counted.count, 3)
        self.assertEqual(await self.names(), [b"a", b"c", b"n"])

    async def test_one_revision(self: Any) -> None:
        outcome = await self.etcd.transact(
            Transaction(success=[OpSet(self.key(b"%02d" % number), b"") for number in range(10)])
        )
        revisions = {(await self.kv(b"%02d" % number)).mod_revision for number in range(10)}
        self.assertEqual(revisions, {outcome.header.revision})

    async def test_read_only(self: Any) -> None:
        """It makes no revision."""
        before = (await self.etcd.get(self.key(b"a"))).header.revision
        outcome = await self.etcd.transact(Transaction([], [OpGet(self.key(b"a"))], [OpSet(self.key(b"a"), b"")]))
        self.assertEqual(outcome.header.revision, before)

    async def test_nothing(self: Any) -> None:
        outcome = await self.etcd.transact(Transaction())
        self.assertEqual((outcome.succeeded, outcome.responses), (True, []))

    async def test_get_options(self: Any) -> None:
        """Those of ``get`` hold here as well."""
        _, second, _ = (await self.etcd.get(self.keys())).kvs
        asked = [
            ({"keys_only": True}, [b"", b"", b""], 3),
            ({"count_only": True}, [], 3),
            ({"limit": 1}, [b"old a"], 3),
            ({"max_create_revision": second.create_revision}, [b"old a", b"old b"], 3),
            ({"min_create_revision": second.create_revision}, [b"old b", b"old c"], 3),
            ({"max_mod_revision": second.mod_revision}, [b"old a", b"old b"], 3),
            ({"min_mod_revision": second.mod_revision}, [b"old b", b"old c"], 3),
            ({"revision": second.mod_revision}, [b"old a", b"old b"], 2),
            ({"serializable": True}, [b"old a", b"old b", b"old c"], 3),
            ({"sort_order": "DESCEND", "sort_target": "CREATE"}, [b"old c", b"old b", b"old a"], 3),
        ]
        ops = [OpGet(self.keys(), **options) for options, _, _ in asked]  # type: ignore[arg-type]  # of several types
        outcome = await self.etcd.transact(Transaction(success=ops))
        for (options, values, count), found in zip(asked, outcome.responses):
            self.assertEqual(([kv.value for kv in found.kvs], found.count), (values, count), options)

    async def test_set_options(self: Any) -> None:
        async with self.etcd.lease(60) as lease:
            await self.etcd.transact(Transaction(success=[OpSet(self.key(b"a"), None, lease, ignore_value=True)]))
            await self.etcd.transact(Transaction(success=[OpSet(self.key(b"b"), b"new", lease)]))
            await self.etcd.transact(Transaction(success=[OpSet(self.key(b"b"), b"newer", ignore_lease=True)]))
            a, b = await self.kv(b"a"), await self.kv(b"b")
            self.assertEqual((a.value, a.lease), (b"old a", lease.lease_id))
            self.assertEqual((b.value, b.lease), (b"newer", lease.lease_id))


@on_every_server()
class Nested(_Txn):
    """Transactions in transactions: each goes its own way."""

    def nest(self: Any, outer: int, inner: int) -> Transaction:
        """Compares the version of ``o``, and inside that of ``i``; sets a key that is named after the way taken."""

        def inside(way: bytes) -> Any:
            comps = [CompVersion(self.key(b"i"), "==", inner)]
            return OpTxn(
                Transaction(comps, [OpSet(self.key(way + b"-yes"), b"")], [OpSet(self.key(way + b"-no"), b"")])
            )

        return Transaction([CompVersion(self.key(b"o"), "==", outer)], [inside(b"yes")], [inside(b"no")])

    async def test_all_ways(self: Any) -> None:
        for outer in (True, False):
            for inner in (True, False):
                await self.etcd.delete(self.keys())
                outcome = await self.etcd.transact(self.nest(0 if outer else 1, 0 if inner else 1))
                (nested,) = outcome.responses
                self.assertEqual((outcome.succeeded, nested.succeeded), (outer, inner))
                self.assertIs(type(nested.responses[0]), Revision)
                way = b"-".join(b"yes" if held else b"no" for held in (outer, inner))
                self.assertEqual(await self.names(), [way])

    def deep(self: Any, depth: int) -> Transaction:
        txn = Transaction([], [OpSet(self.key(b"%d" % depth), b"")])
        for _ in range(depth):
            txn = Transaction([], [OpTxn(txn)])
        return txn

    async def test_deep(self: Any) -> None:
        """As deep as etcd takes it: with the write there are 128 operations then, one at each level."""
        for depth in (5, 49, 50, 99, 100, 127):
            outcome = await self.etcd.transact(self.deep(depth))
            for _ in range(depth):
                (outcome,) = outcome.responses
                self.assertTrue(outcome.succeeded)
            self.assertEqual([type(response) for response in outcome.responses], [Revision])
            self.assertEqual((await self.kv(b"%d" % depth)).version, 1)

    async def test_too_deep(self: Any) -> None:
        """Deeper than that etcd refuses it; and so do we, if etcd might not."""
        with self.assertRaises(TooManyOps):
            await self.etcd.transact(self.deep(128))
        self.assertEqual(await self.names(), [])
        with self.assertRaises(ValueError):
            self.deep(129)

    async def test_submit(self: Any) -> None:
        """It is the outer comparison that fails it."""
        await self.etcd.submit(self.nest(0, 1))
        with self.assertRaises(Failed) as caught:
            await self.etcd.submit(self.nest(1, 0))
        self.assertTrue(caught.exception.responses[0].succeeded)


@on_every_server()
class Submit(_Txn):
    """``submit``, ``transact`` and the builder."""

    def txn(self: Any, version: int) -> Transaction:
        return Transaction(
            [CompVersion(self.key(b"a"), "==", version)], [OpSet(self.key(b"a"), b"yes")], [OpGet(self.key(b"a"))]
        )

    async def test_success(self: Any) -> None:
        done = await self.etcd.submit(self.txn(0))
        self.assertIs(type(done), Success)
        self.assertEqual((await self.kv(b"a")).mod_revision, done.header.revision)
        self.assertEqual([type(response) for response in done.responses], [Revision])

    async def test_failed(self: Any) -> None:
        await self.etcd.set(self.key(b"a"), b"there")
        with self.assertRaises(Failed) as caught:
            await self.etcd.submit(self.txn(0))
        error = caught.exception
        self.assertIs(type(error), Failed)
        self.assertEqual([kv.value for kv in error.responses[0].kvs], [b"there"])
        self.assertGreater(error.header.revision, 0)
        self.assertEqual((error.call, error.endpoint, error.maybe_applied), ("KV.Txn", self.url, False))

    async def test_transact(self: Any) -> None:
        """The same without the exception."""
        self.assertTrue((await self.etcd.transact(self.txn(0))).succeeded)
        outcome = await self.etcd.transact(self.txn(0))
        self.assertFalse(outcome.succeeded)
        self.assertEqual([kv.value for kv in outcome.responses[0].kvs], [b"yes"])

    async def test_builder(self: Any) -> None:
        def build() -> Any:
            absent = CompVersion(self.key(b"a"), "==", 0)
            begun = self.etcd.when(absent).then(OpSet(self.key(b"a"), b"yes"))
            return begun.otherwise(OpSet(self.key(b"a"), b"no"))

        self.assertIs(type(await build().submit()), Success)
        self.assertFalse((await build().transact()).succeeded)
        self.assertEqual((await self.kv(b"a")).value, b"no")
        with self.assertRaises(Failed):
            await build().submit()

    async def test_builder_partly(self: Any) -> None:
        """Every part may be missing."""
        self.assertTrue((await self.etcd.when().transact()).succeeded)
        await self.etcd.when().then(OpSet(self.key(b"a"), b"yes")).submit()
        outcome = await self.etcd.when(CompVersion(self.key(b"a"), ">", 1)).otherwise(OpGet(self.keys())).transact()
        self.assertEqual((outcome.succeeded, outcome.responses[0].count), (False, 1))


@on_every_server()
class Refused(_Txn):
    """What a server refuses is not done at all."""

    async def refused(self: Any, error: type[Exception], *ops: Any) -> None:
        with self.assertRaises(error):
            await self.etcd.transact(Transaction(success=[OpSet(self.key(b"other"), b""), *ops]))
        self.assertEqual((await self.etcd.get(self.keys())).kvs, [])

    async def test_duplicate_key(self: Any) -> None:
        await self.refused(DuplicateKey, OpSet(self.key(b"a"), b"one"), OpSet(self.key(b"a"), b"two"))

    async def test_duplicate_key_nested(self: Any) -> None:
        inner = Transaction(success=[OpSet(self.key(b"a"), b"two")])
        await self.refused(DuplicateKey, OpSet(self.key(b"a"), b"one"), OpTxn(inner))

    async def test_duplicate_key_in_either_way(self: Any) -> None:
        """That is no duplicate: only one of them is done."""
        comps = [CompVersion(self.key(b"a"), "==", 0)]
        done = await self.etcd.submit(
            Transaction(comps, [OpSet(self.key(b"a"), b"yes")], [OpSet(self.key(b"a"), b"no")])
        )
        self.assertEqual(len(done.responses), 1)

    async def test_key_in_deleted_range(self: Any) -> None:
        await self.refused(DuplicateKey, OpSet(self.key(b"a"), b""), OpDel(self.keys(b"a")))
        await self.refused(DuplicateKey, OpDel(self.key(b"a")), OpSet(self.key(b"a"), b""))

    async def test_key_beside_deleted_range(self: Any) -> None:
        """The end of a prefix does not belong to it."""
        await self.etcd.submit(Transaction(success=[OpDel(self.keys(b"a")), OpSet(self.key(b"b"), b"")]))
        self.assertEqual(await self.names(), [b"b"])

    async def test_too_many_ops(self: Any) -> None:
        ops = [OpSet(self.key(b"%03d" % number), b"") for number in range(128)]
        await self.refused(TooManyOps, *ops)
        await self.etcd.submit(Transaction(success=ops))
        self.assertEqual(len(await self.names()), 128)

    async def test_too_many_comparisons(self: Any) -> None:
        comps = [CompVersion(self.key(b"a"), "==", 0)] * 129
        with self.assertRaises(TooManyOps):
            await self.etcd.transact(Transaction(comps))
        self.assertTrue(await self.holds(*comps[:128]))

    async def test_unknown_lease(self: Any) -> None:
        await self.refused(LeaseNotFound, OpSet(self.key(b"a"), b"", lease=404))

    async def test_future_revision(self: Any) -> None:
        await self.refused(FutureRevision, OpGet(self.key(b"a"), revision=2**40))
