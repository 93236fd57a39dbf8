"""
What is asked: comparisons, operations, transactions, and the builder.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txetcd._check import INT64_MAX, INT64_MIN
from txetcd.keyset import KeySet
from txetcd.ops import (
    MAX_DEPTH,
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
    TransactionBuilder,
    lease_id_of,
)

NUMBERS = f"between 0 and {INT64_MAX}"
INT64 = f"between {INT64_MIN} and {INT64_MAX}"
FORGOTTEN = "a Deferred: yield or await it first"
ONE_BY_ONE = "pass them one by one"
COMPS = "Comp (CompValue, CompVersion, CompCreated, CompModified, CompLease)"
OPS = "Op (OpGet, OpSet, OpDel, OpTxn)"
ADVICE = "; encode it: 'k'.encode()"
OPERATORS = "compare must be one of == != > <"


class FakeLease:
    """What an operation asks of a lease."""

    lease_id = 77


Bad = list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], type[Exception], str]]

BAD_COMPARISONS: Bad = [
    (Comp, (b"k", "=="), {}, TypeError,
     "Comp is a base class; use CompValue, CompVersion, CompCreated, CompModified or CompLease"),
    (CompValue, ("k", "==", b"v"), {}, TypeError, f"key must be bytes or a KeySet, not str{ADVICE}"),
    (CompValue, (b"", "==", b"v"), {}, ValueError, "key must not be empty; all keys are KeySet.all()"),
    (CompValue, (b"k", "=", b"v"), {}, ValueError, f"{OPERATORS}, not '='"),
    (CompValue, (b"k", None, b"v"), {}, TypeError, f"{OPERATORS} (a str), not NoneType"),
    (CompValue, (b"k", b"==", b"v"), {}, TypeError, f"{OPERATORS} (a str), not bytes"),
    (CompValue, (b"k", ["=="], b"v"), {}, TypeError, f"{OPERATORS} (a str), not list"),
    (CompValue, (b"k", "==", "k"), {}, TypeError, f"value must be bytes, not str{ADVICE}"),
    (CompValue, (b"k", "==", None), {}, TypeError, "value must be bytes, not NoneType"),
    (CompVersion, (b"k", "==", b"1"), {}, TypeError, "version must be int, not bytes"),
    (CompVersion, (b"k", "==", True), {}, TypeError, "version must be int, not bool"),
    (CompVersion, (b"k", "==", 2**63), {}, ValueError, f"version must be {INT64}, not {2**63}"),
    (CompCreated, (b"k", "==", None), {}, TypeError, "create_revision must be int, not NoneType"),
    (CompCreated, (b"k", "==", -(2**63) - 1), {}, ValueError,
     f"create_revision must be {INT64}, not {-(2**63) - 1}"),
    (CompModified, (b"k", "==", 1.5), {}, TypeError, "mod_revision must be int, not float"),
    (CompModified, (b"k", "==", 2**63), {}, ValueError, f"mod_revision must be {INT64}, not {2**63}"),
    (CompLease, (b"k", "==", "1"), {}, TypeError, "lease must be int, not str"),
    (CompLease, (b"k", "==", 2**63), {}, ValueError, f"lease must be {INT64}, not {2**63}"),
    (CompValue, (Deferred(), "==", b"v"), {}, TypeError, f"key must be bytes or a KeySet, not {FORGOTTEN}"),
    (CompValue, (b"k", Deferred(), b"v"), {}, TypeError, f"{OPERATORS} (a str), not {FORGOTTEN}"),
    (CompValue, (b"k", "==", Deferred()), {}, TypeError, f"value must be bytes, not {FORGOTTEN}"),
    (CompVersion, (b"k", "==", Deferred()), {}, TypeError, f"version must be int, not {FORGOTTEN}"),
    (CompLease, (b"k", "==", Deferred()), {}, TypeError, f"lease must be int, not {FORGOTTEN}"),
]  # fmt: skip

BAD_OPERATIONS: Bad = [
    (OpGet, ("k",), {}, TypeError, f"key must be bytes or a KeySet, not str{ADVICE}"),
    (OpGet, (b"",), {}, ValueError, "key must not be empty; all keys are KeySet.all()"),
    (OpGet, (b"k",), {"count_only": 1}, TypeError, "count_only must be bool, not int"),
    (OpGet, (b"k",), {"keys_only": "yes"}, TypeError, "keys_only must be bool, not str"),
    (OpGet, (b"k",), {"limit": -1}, ValueError, f"limit must be {NUMBERS}, not -1"),
    (OpGet, (b"k",), {"limit": "5"}, TypeError, "limit must be int, not str"),
    (OpGet, (b"k",), {"max_create_revision": -1}, ValueError, f"max_create_revision must be {NUMBERS}, not -1"),
    (OpGet, (b"k",), {"min_create_revision": True}, TypeError, "min_create_revision must be int, not bool"),
    (OpGet, (b"k",), {"min_mod_revision": 1.0}, TypeError, "min_mod_revision must be int, not float"),
    (OpGet, (b"k",), {"max_mod_revision": b"1"}, TypeError, "max_mod_revision must be int, not bytes"),
    (OpGet, (b"k",), {"revision": -1}, ValueError, f"revision must be {NUMBERS}, not -1"),
    (OpGet, (b"k",), {"serializable": 0}, TypeError, "serializable must be bool, not int"),
    (OpGet, (b"k",), {"sort_order": "UP"}, ValueError, "sort_order must be one of NONE, ASCEND, DESCEND, not 'UP'"),
    (OpGet, (b"k",), {"sort_order": 1}, TypeError, "sort_order must be one of NONE, ASCEND, DESCEND (a str), not int"),
    (OpGet, (b"k",), {"sort_target": "LEASE"}, ValueError,
     "sort_target must be one of KEY, VERSION, CREATE, MOD, VALUE, not 'LEASE'"),
    (OpGet, (b"k",), {"sort_target": 17}, TypeError,
     "sort_target must be one of KEY, VERSION, CREATE, MOD, VALUE (a str), not int"),
    (OpSet, ("k", b"v"), {}, TypeError, f"key must be bytes, not str{ADVICE}"),
    (OpSet, (KeySet(b"k"), b"v"), {}, TypeError, "key must be bytes, not KeySet"),
    (OpSet, (b"", b"v"), {}, ValueError, "key must not be empty"),
    (OpSet, (b"k", "k"), {}, TypeError, f"value must be bytes, not str{ADVICE}"),
    (OpSet, (b"k", None), {}, TypeError, "value must be bytes, not NoneType"),
    (OpSet, (b"k", b"v"), {"ignore_value": True}, ValueError, "value must be None with ignore_value"),
    (OpSet, (b"k", b""), {"ignore_value": True}, ValueError, "value must be None with ignore_value"),
    (OpSet, (b"k", b"v", 5), {"ignore_lease": True}, ValueError, "lease must be None with ignore_lease"),
    (OpSet, (b"k", b"v"), {"ignore_lease": 1}, TypeError, "ignore_lease must be bool, not int"),
    (OpSet, (b"k", b"v"), {"ignore_value": "no"}, TypeError, "ignore_value must be bool, not str"),
    (OpSet, (b"k", b"v", "lease"), {}, TypeError, "lease must be int, not str"),
    (OpSet, (b"k", b"v", None, 1), {}, TypeError, "return_previous must be bool, not int"),
    (OpDel, ("k",), {}, TypeError, f"key must be bytes or a KeySet, not str{ADVICE}"),
    (OpDel, (b"",), {}, ValueError, "key must not be empty; all keys are KeySet.all()"),
    (OpDel, (b"k", "yes"), {}, TypeError, "return_previous must be bool, not str"),
    (OpDel, (KeySet(b"", prefix=True),), {}, ValueError,
     "key would delete everything: KeySet(b'', prefix=True); if that is meant, pass KeySet.all()"),
    (OpDel, (KeySet(b"\x00", b"\x00"),), {}, ValueError,
     r"key would delete everything: KeySet(b'\x00', b'\x00'); if that is meant, pass KeySet.all()"),
    (OpTxn, (None,), {}, TypeError, "transaction must be a Transaction, not NoneType"),
    (OpTxn, ([],), {}, TypeError, "transaction must be a Transaction, not list"),
    (Transaction, (CompVersion(b"k", "==", 0),), {}, TypeError,
     f"compare must be a list of {COMPS}, not CompVersion: put it in a list"),
    (Transaction, ([], OpGet(b"k")), {}, TypeError, f"success must be a list of {OPS}, not OpGet: put it in a list"),
    (Transaction, ([OpGet(b"k")],), {}, TypeError, f"compare must be a list of {COMPS}, but one item is OpGet"),
    (Transaction, ([], [CompVersion(b"k", "==", 0)]), {}, TypeError,
     f"success must be a list of {OPS}, but one item is CompVersion"),
    (Transaction, ([], [], [Transaction()]), {}, TypeError,
     f"failure must be a list of {OPS}, but one item is Transaction"),
    (Transaction, ([], b"k"), {}, TypeError, f"success must be a list of {OPS}, not bytes"),
    (OpGet, (Deferred(),), {}, TypeError, f"key must be bytes or a KeySet, not {FORGOTTEN}"),
    (OpSet, (b"k", b"v", Deferred()), {}, TypeError, f"lease must be int, not {FORGOTTEN}"),
    (OpTxn, (Deferred(),), {}, TypeError, f"transaction must be a Transaction, not {FORGOTTEN}"),
    (Transaction, ([], [Deferred()]), {}, TypeError, f"success must be a list of {OPS}, but one item is {FORGOTTEN}"),
]  # fmt: skip

REPRS: list[tuple[Any, str]] = [
    (CompValue(b"k", "==", b"secret"), "CompValue(KeySet(b'k'), '==', <6 bytes>)"),
    (CompVersion(b"k", ">", 0), "CompVersion(KeySet(b'k'), '>', 0)"),
    (CompCreated(b"k", "<", 5), "CompCreated(KeySet(b'k'), '<', 5)"),
    (CompModified(KeySet(b"p/", prefix=True), "!=", 5), "CompModified(KeySet(b'p/', prefix=True), '!=', 5)"),
    (CompLease(b"k", "==", None), "CompLease(KeySet(b'k'), '==', 0)"),
    (OpGet(b"k", limit=5), "OpGet(KeySet(b'k'))"),
    (OpSet(b"k", b"secret"), "OpSet(b'k', <6 bytes>)"),
    (OpSet(b"k", None, ignore_value=True), "OpSet(b'k', None)"),
    (OpDel(KeySet.all()), "OpDel(KeySet.all())"),
    (Transaction(), "Transaction([], [], [])"),
    (
        OpTxn(Transaction([CompValue(b"k", "==", b"secret")], [OpSet(b"k", b"secret")], [OpGet(b"k")])),
        "OpTxn(Transaction([CompValue(KeySet(b'k'), '==', <6 bytes>)], [OpSet(b'k', <6 bytes>)],"
        " [OpGet(KeySet(b'k'))]))",
    ),
]

Submitted = list[tuple[str, Transaction, Optional[float], bool]]


def refused(case: SynchronousTestCase, table: Bad) -> None:
    for called, arguments, options, exception, message in table:
        error = case.assertRaises(exception, called, *arguments, **options)
        case.assertEqual((exception, message), (type(error), str(error)), (called, arguments, options))


class LeaseIdTests(SynchronousTestCase):
    def test_good(self) -> None:
        ids = [lease_id_of(lease) for lease in (None, 0, 5, -5, FakeLease(), INT64_MIN, INT64_MAX)]
        self.assertEqual([0, 0, 5, -5, 77, INT64_MIN, INT64_MAX], ids)

    def test_bad(self) -> None:
        for lease in (True, "5", b"5", 5.0, object()):
            error = self.assertRaises(TypeError, lease_id_of, lease)
            self.assertEqual(f"lease must be int, not {type(lease).__name__}", str(error))


class ComparisonTests(SynchronousTestCase):
    def test_refused(self) -> None:
        refused(self, BAD_COMPARISONS)

    def test_operators(self) -> None:
        self.assertEqual(("==", "!=", ">", "<"), Comp.OPERATORS)
        results = {operator: CompVersion(b"k", operator, 1).result for operator in Comp.OPERATORS}
        self.assertEqual({"==": "EQUAL", "!=": "NOT_EQUAL", ">": "GREATER", "<": "LESS"}, results)

    def test_targets(self) -> None:
        comps = (CompValue, CompVersion, CompCreated, CompModified, CompLease)
        self.assertEqual(["VALUE", "VERSION", "CREATE", "MOD", "LEASE"], [comp.target for comp in comps])

    def test_operands(self) -> None:
        self.assertEqual(b"", CompValue(b"k", "==", b"").value)
        self.assertEqual(2, CompVersion(b"k", "==", 2).version)
        self.assertEqual(3, CompCreated(b"k", "==", 3).create_revision)
        self.assertEqual(4, CompModified(b"k", "==", 4).mod_revision)
        self.assertEqual([0, 5, 77], [CompLease(b"k", "==", lease).lease for lease in (None, 5, FakeLease())])

    def test_operands_are_any_64_bits(self) -> None:
        """Nothing is numbered so, but etcd compares with any number."""
        for comp in (CompVersion, CompCreated, CompModified, CompLease):
            for number in (INT64_MIN, -1, 0, INT64_MAX):
                self.assertEqual(number, getattr(comp(b"k", ">", number), comp.operand))

    def test_keys(self) -> None:
        prefix = KeySet(b"p/", prefix=True)
        self.assertIs(prefix, CompVersion(prefix, ">", 0).key)
        self.assertEqual(KeySet(b"k"), CompVersion(b"k", ">", 0).key)

    def test_equal_by_content(self) -> None:
        self.assertEqual(CompVersion(b"k", "==", 1), CompVersion(KeySet(b"k"), "==", 1))
        self.assertEqual(hash(CompVersion(b"k", "==", 1)), hash(CompVersion(b"k", "==", 1)))
        different: list[Any] = [
            CompVersion(b"k", "==", 1), CompVersion(b"l", "==", 1), CompVersion(b"k", "!=", 1),
            CompVersion(b"k", "==", 2), CompCreated(b"k", "==", 1), CompModified(b"k", "==", 1), "k",
        ]  # fmt: skip
        self.assertEqual(len(different), len(set(different)))
        self.assertEqual([True] + [False] * 6, [one == different[0] for one in different])


class OperationTests(SynchronousTestCase):
    def test_refused(self) -> None:
        refused(self, BAD_OPERATIONS)

    def test_get_asks_for_nothing_more_than_told(self) -> None:
        op = OpGet(b"k")
        self.assertEqual(KeySet(b"k"), op.key)
        flags = (op.count_only, op.keys_only, op.serializable)
        self.assertEqual((False, False, False), flags)
        numbers = (op.limit, op.revision, op.min_mod_revision, op.max_mod_revision)
        self.assertEqual((0, 0, 0, 0, 0, 0), (*numbers, op.min_create_revision, op.max_create_revision))
        self.assertEqual((None, None), (op.sort_order, op.sort_target))

    def test_get_keeps_every_option(self) -> None:
        op = OpGet(b"k", True, True, 1, 2, 3, 4, 5, True, "DESCEND", "MOD", max_mod_revision=6)
        self.assertEqual((True, True, True), (op.count_only, op.keys_only, op.serializable))
        self.assertEqual((1, 2, 3), (op.limit, op.max_create_revision, op.min_create_revision))
        self.assertEqual((4, 5, 6), (op.min_mod_revision, op.revision, op.max_mod_revision))
        self.assertEqual(("DESCEND", "MOD"), (op.sort_order, op.sort_target))

    def test_sort_order_that_is_sent(self) -> None:
        """Ascending keys come so by themselves, and asking for them would make the server read everything."""
        sent = {
            (order, target): OpGet(b"k", sort_order=order, sort_target=target).sent_sort_order
            for order in (None, *OpGet.SORT_ORDERS)
            for target in (None, *OpGet.SORT_TARGETS)
        }
        left_away = {("ASCEND", None), ("ASCEND", "KEY")}
        self.assertEqual({pair: None if pair in left_away else pair[0] for pair in sent}, sent)

    def test_set(self) -> None:
        op = OpSet(b"k", b"v", FakeLease(), True)
        self.assertEqual((b"k", b"v", 77, True), (op.key, op.value, op.lease, op.return_previous))
        self.assertEqual((False, False), (op.ignore_value, op.ignore_lease))

    def test_set_empty(self) -> None:
        op = OpSet(b"k", b"")
        self.assertEqual((b"", 0, False), (op.value, op.lease, op.return_previous))

    def test_set_ignoring(self) -> None:
        op = OpSet(b"k", None, 5, ignore_value=True)
        self.assertEqual((None, 5, True), (op.value, op.lease, op.ignore_value))
        for no_lease in (None, 0):
            op = OpSet(b"k", b"v", no_lease, ignore_lease=True)
            self.assertEqual((b"v", 0, True), (op.value, op.lease, op.ignore_lease))

    def test_delete(self) -> None:
        self.assertEqual((KeySet(b"k"), False), (OpDel(b"k").key, OpDel(b"k").return_previous))
        self.assertTrue(OpDel(b"k", True).return_previous)

    def test_delete_everything_if_that_is_meant(self) -> None:
        self.assertTrue(OpDel(KeySet.all()).key.is_everything)

    def test_delete_much(self) -> None:
        """What is large but named is not refused."""
        for keys in (KeySet(b"\x01", b"\x00"), KeySet(b"\x00", prefix=True), KeySet(b"\xff", prefix=True)):
            self.assertIs(keys, OpDel(keys).key)

    def test_equal_by_content(self) -> None:
        self.assertEqual(OpGet(b"k", limit=1), OpGet(KeySet(b"k"), limit=1))
        self.assertNotEqual(OpGet(b"k", limit=1), OpGet(b"k", limit=2))
        self.assertNotEqual(OpGet(b"k"), OpDel(b"k"))
        self.assertNotEqual(OpSet(b"k", b"v"), OpSet(b"k", b"w"))
        self.assertEqual(OpTxn(Transaction()), OpTxn(Transaction([])))
        self.assertEqual(2, len({OpSet(b"k", b"v"), OpSet(b"k", b"v"), OpSet(b"k", b"v", 1)}))

    def test_operations_are_operations(self) -> None:
        for op in (OpGet(b"k"), OpSet(b"k", b"v"), OpDel(b"k"), OpTxn(Transaction())):
            self.assertIsInstance(op, Op)
        self.assertNotIsInstance(Transaction(), Op)

    def test_reprs_show_no_payload(self) -> None:
        self.assertEqual([shown for _, shown in REPRS], [repr(value) for value, _ in REPRS])

    def test_no_attribute_by_mistake(self) -> None:
        """A misspelled option is not taken silently."""
        for value, _ in REPRS:
            self.assertRaises(AttributeError, setattr, value, "colour", "red")


class TransactionTests(SynchronousTestCase):
    def test_empty(self) -> None:
        txn = Transaction()
        self.assertEqual(((), (), ()), (txn.compare, txn.success, txn.failure))

    def test_takes_any_series_and_keeps_its_own(self) -> None:
        comps, ops = [CompVersion(b"k", "==", 0)], [OpGet(b"k")]
        txn = Transaction(comps, (op for op in ops), tuple(ops))  # type: ignore[arg-type]  # it is as good as a list
        comps.clear()
        self.assertEqual(((CompVersion(b"k", "==", 0),), (OpGet(b"k"),), (OpGet(b"k"),)), _parts(txn))

    def test_equal_by_content(self) -> None:
        self.assertEqual(Transaction([], [OpGet(b"k")]), Transaction(None, (OpGet(b"k"),), ()))
        self.assertNotEqual(Transaction([], [OpGet(b"k")]), Transaction([], [], [OpGet(b"k")]))
        self.assertEqual(hash(Transaction()), hash(Transaction([])))

    def test_depth(self) -> None:
        """It is that of the deepest operation, whether it is done if the comparisons hold, or if not."""
        self.assertEqual(Transaction([], [OpGet(b"k")], [OpSet(b"k", b"v")]).depth, 0)
        for deep in (nested(1), nested(7)):
            inner = OpTxn(deep)
            for ops in ([inner], [OpTxn(Transaction()), inner, OpTxn(Transaction()), OpGet(b"k")]):
                self.assertEqual(Transaction([], ops).depth, deep.depth + 1)
                self.assertEqual(Transaction([], [OpGet(b"k")], ops).depth, deep.depth + 1)
                self.assertEqual(Transaction([], [OpTxn(Transaction())], ops).depth, deep.depth + 1)
                self.assertEqual(attrs.evolve(deep, failure=ops).depth, deep.depth + 1)

    def test_too_deep(self) -> None:
        """Nobody would carry it out; as deep as that, all can be done with it that can be done with others."""
        deep = nested(MAX_DEPTH)
        self.assertEqual(deep.depth, 128)
        error = self.assertRaises(ValueError, OpTxn, deep)
        self.assertEqual(str(error), "transaction is nested too deep: no more than 128 may be in one another")
        self.assertEqual((deep, hash(deep), repr(deep)), (other := nested(MAX_DEPTH), hash(other), repr(other)))


def nested(depth: int) -> Transaction:
    """A transaction within a transaction, so many times; the innermost writes."""
    txn = Transaction([], [OpSet(b"k", b"v")])
    for _ in range(depth):
        txn = Transaction([], [OpTxn(txn)])
    return txn


def _parts(txn: Transaction) -> tuple[Any, ...]:
    return txn.compare, txn.success, txn.failure


class BuilderTests(SynchronousTestCase):
    COMP = CompVersion(b"k", "==", 0)

    def setUp(self) -> None:
        self.sent: Submitted = []

    def when(self, *comps: Any) -> TransactionBuilder[str, str]:
        def submit(txn: Transaction, timeout: Optional[float], idempotent: bool) -> str:
            self.sent.append(("submit", txn, timeout, idempotent))
            return "success"

        def transact(txn: Transaction, timeout: Optional[float], idempotent: bool) -> str:
            self.sent.append(("transact", txn, timeout, idempotent))
            return "outcome"

        return TransactionBuilder(submit, transact, comps)

    def test_all_three(self) -> None:
        builder = self.when(self.COMP).then(OpSet(b"k", b"v"), OpGet(b"l")).otherwise(OpGet(b"k"))
        wanted = Transaction([self.COMP], [OpSet(b"k", b"v"), OpGet(b"l")], [OpGet(b"k")])
        self.assertEqual(wanted, builder.transaction)

    def test_every_part_can_be_left_out(self) -> None:
        self.assertEqual(Transaction(), self.when().transaction)
        self.assertEqual(Transaction([self.COMP]), self.when(self.COMP).transaction)
        self.assertEqual(Transaction([], [OpGet(b"k")]), self.when().then(OpGet(b"k")).transaction)
        self.assertEqual(Transaction([], [], [OpGet(b"k")]), self.when().otherwise(OpGet(b"k")).transaction)

    def test_submit(self) -> None:
        self.assertEqual("success", self.when(self.COMP).submit())
        self.assertEqual("success", self.when().submit(timeout=3, idempotent=True))
        self.assertEqual(
            [("submit", Transaction([self.COMP]), None, False), ("submit", Transaction(), 3, True)], self.sent
        )

    def test_transact(self) -> None:
        self.assertEqual("outcome", self.when(self.COMP).transact())
        self.assertEqual("outcome", self.when().transact(timeout=3, idempotent=True))
        self.assertEqual(
            [("transact", Transaction([self.COMP]), None, False), ("transact", Transaction(), 3, True)], self.sent
        )

    def test_once_and_in_order(self) -> None:
        for build in (
            lambda: self.when().then().then(),
            lambda: self.when().otherwise().then(OpGet(b"k")),
            lambda: self.when().then().otherwise().then(),
        ):
            error = self.assertRaises(ValueError, build)
            self.assertEqual("then() comes once, and before otherwise()", str(error))
        error = self.assertRaises(ValueError, lambda: self.when().otherwise().otherwise())
        self.assertEqual("otherwise() comes once", str(error))

    def test_refuses_what_does_not_belong_there(self) -> None:
        refusals: list[tuple[Callable[..., Any], Any, str]] = [
            (self.when, OpGet(b"k"), f"when() takes {COMPS}, not OpGet"),
            (self.when, [self.COMP], f"when() takes {COMPS}, not list: {ONE_BY_ONE}: when(comp1, comp2)"),
            (self.when, Deferred(), f"when() takes {COMPS}, not {FORGOTTEN}"),
            (self.when().then, self.COMP, f"then() takes {OPS}, not CompVersion"),
            (self.when().then, [OpGet(b"k")], f"then() takes {OPS}, not list: {ONE_BY_ONE}: then(op1, op2)"),
            (self.when().then, Deferred(), f"then() takes {OPS}, not {FORGOTTEN}"),
            (self.when().otherwise, [], f"otherwise() takes {OPS}, not list: {ONE_BY_ONE}: otherwise(op1, op2)"),
            (self.when().otherwise, None, f"otherwise() takes {OPS}, not NoneType"),
        ]
        for build, argument, message in refusals:
            self.assertEqual(message, str(self.assertRaises(TypeError, build, argument)))
        self.assertEqual([], self.sent)
