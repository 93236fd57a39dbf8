"""
What is asked: comparisons, operations, transactions, and the fluent way to build one.

Everything is checked when it is made, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, ClassVar, Generic, Optional, TypeVar, Union

import attrs

from ._check import (
    check_all,
    check_bytes,
    check_choice,
    check_each,
    check_flag,
    check_int64,
    check_key,
    check_optional_int,
    what_came,
)
from .keyset import KeySet
from .values import shown_size

_RESULTS = {"==": "EQUAL", "!=": "NOT_EQUAL", ">": "GREATER", "<": "LESS"}
_COMPS = "Comp (CompValue, CompVersion, CompCreated, CompModified, CompLease)"
_OPS = "Op (OpGet, OpSet, OpDel, OpTxn)"

MAX_DEPTH = 128
"""How many transactions may be in one another, the outermost not counted: more than etcd takes, unless it is told to,
and not so many that Python's own limit would be reached."""


def lease_id_of(lease: Any) -> int:
    """
    The id of a lease.

    :param lease: anything that has a ``lease_id`` (a :class:`~txetcd.Lease`), an id, or ``None`` for no lease.
    :raises TypeError: for anything else.
    """
    if lease is None:
        return 0
    return check_int64("lease", getattr(lease, "lease_id", lease))


def _shown(value: object) -> str:
    return shown_size(value) if isinstance(value, bytes) else repr(value)


# --- comparisons


class Comp:
    """
    A comparison of a key with an operand: the base of :class:`CompValue`, :class:`CompVersion`,
    :class:`CompCreated`, :class:`CompModified` and :class:`CompLease`.

    :ivar key: the :class:`~txetcd.KeySet` to compare. For a set of several keys the comparison must hold for each of
        them; a set without keys is compared as one key that does not exist.
    :ivar compare: ``"=="``, ``"!="``, ``">"`` or ``"<"``.
    """

    OPERATORS: ClassVar[tuple[str, ...]] = tuple(_RESULTS)
    target: ClassVar[str]
    operand: ClassVar[str]

    __slots__ = ()
    key: KeySet
    compare: str

    def __init__(self, key: Union[bytes, KeySet], compare: str) -> None:
        raise TypeError("Comp is a base class; use CompValue, CompVersion, CompCreated, CompModified or CompLease")

    @property
    def result(self) -> str:
        """The operator in etcd's words (``str``)."""
        return _RESULTS[self.compare]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key!r}, {self.compare!r}, {_shown(getattr(self, self.operand))})"


def _operator(compare: object) -> str:
    if not isinstance(compare, str):
        raise TypeError(f"compare must be one of {' '.join(_RESULTS)} (a str), not {what_came(compare)}")
    if compare not in _RESULTS:
        raise ValueError(f"compare must be one of {' '.join(_RESULTS)}, not {compare!r}")
    return compare


@attrs.frozen(init=False, repr=False)
class CompValue(Comp):
    """
    Compares the value of a key.

    A key that does not exist fails every comparison of its value, ``"!="`` included.

    :param key: the key or key set (``bytes`` or :class:`~txetcd.KeySet`).
    :param compare: ``"=="``, ``"!="``, ``">"`` or ``"<"`` (by the order of bytes).
    :param value: what to compare it with (``bytes``).
    """

    target: ClassVar[str] = "VALUE"
    operand: ClassVar[str] = "value"

    key: KeySet
    compare: str
    value: bytes

    def __init__(self, key: Union[bytes, KeySet], compare: str, value: bytes) -> None:
        self.__attrs_init__(KeySet.of("key", key), _operator(compare), check_bytes("value", value))


@attrs.frozen(init=False, repr=False)
class CompVersion(Comp):
    """
    Compares the version of a key: how often it was written since its creation; 0 if it does not exist.

    :param version: what to compare it with (``int`` of 64 bits).
    """

    target: ClassVar[str] = "VERSION"
    operand: ClassVar[str] = "version"

    key: KeySet
    compare: str
    version: int

    def __init__(self, key: Union[bytes, KeySet], compare: str, version: int) -> None:
        self.__attrs_init__(KeySet.of("key", key), _operator(compare), check_int64("version", version))


@attrs.frozen(init=False, repr=False)
class CompCreated(Comp):
    """
    Compares the revision that created a key; 0 if it does not exist.

    :param create_revision: what to compare it with (``int`` of 64 bits).
    """

    target: ClassVar[str] = "CREATE"
    operand: ClassVar[str] = "create_revision"

    key: KeySet
    compare: str
    create_revision: int

    def __init__(self, key: Union[bytes, KeySet], compare: str, create_revision: int) -> None:
        self.__attrs_init__(KeySet.of("key", key), _operator(compare), check_int64("create_revision", create_revision))


@attrs.frozen(init=False, repr=False)
class CompModified(Comp):
    """
    Compares the revision that wrote a key last; 0 if it does not exist.

    :param mod_revision: what to compare it with (``int`` of 64 bits).
    """

    target: ClassVar[str] = "MOD"
    operand: ClassVar[str] = "mod_revision"

    key: KeySet
    compare: str
    mod_revision: int

    def __init__(self, key: Union[bytes, KeySet], compare: str, mod_revision: int) -> None:
        self.__attrs_init__(KeySet.of("key", key), _operator(compare), check_int64("mod_revision", mod_revision))


@attrs.frozen(init=False, repr=False)
class CompLease(Comp):
    """
    Compares the lease that a key is attached to; 0 if there is none.

    :param lease: what to compare it with: a :class:`~txetcd.Lease`, an id (``int``), or ``None`` for no lease.
    """

    target: ClassVar[str] = "LEASE"
    operand: ClassVar[str] = "lease"

    key: KeySet
    compare: str
    lease: int

    def __init__(self, key: Union[bytes, KeySet], compare: str, lease: Any) -> None:
        self.__attrs_init__(KeySet.of("key", key), _operator(compare), lease_id_of(lease))


# --- operations


class Op:
    """The base of the operations of a transaction."""

    __slots__ = ()


_NO_OPTIONS = (None,) * 11


@attrs.frozen(init=False, repr=False)
class OpGet(Op):
    """
    Reads keys.

    :param key: the key or key set (``bytes`` or :class:`~txetcd.KeySet`).
    :param count_only: only count them (``bool``).
    :param keys_only: without their values (``bool``).
    :param limit: at most so many (``int``); 0 or ``None`` for all.
    :param max_create_revision: only keys created at this revision or before (``int``).
    :param min_create_revision: only keys created at this revision or later (``int``).
    :param min_mod_revision: only keys written last at this revision or later (``int``).
    :param revision: as they were at this revision (``int``); 0 or ``None`` for now.
    :param serializable: as the member that is asked knows them, perhaps stale, without asking the others (``bool``).
    :param sort_order: ``"NONE"``, ``"ASCEND"`` or ``"DESCEND"``.
    :param sort_target: by what: ``"KEY"``, ``"VERSION"``, ``"CREATE"``, ``"MOD"`` or ``"VALUE"``.
    :param max_mod_revision: only keys written last at this revision or before (``int``).
    """

    SORT_ORDERS: ClassVar[tuple[str, ...]] = ("NONE", "ASCEND", "DESCEND")
    SORT_TARGETS: ClassVar[tuple[str, ...]] = ("KEY", "VERSION", "CREATE", "MOD", "VALUE")

    key: KeySet
    count_only: bool
    keys_only: bool
    limit: int
    max_create_revision: int
    min_create_revision: int
    min_mod_revision: int
    revision: int
    serializable: bool
    sort_order: Optional[str]
    sort_target: Optional[str]
    max_mod_revision: int

    def __init__(
        self,
        key: Union[bytes, KeySet],
        count_only: Optional[bool] = None,
        keys_only: Optional[bool] = None,
        limit: Optional[int] = None,
        max_create_revision: Optional[int] = None,
        min_create_revision: Optional[int] = None,
        min_mod_revision: Optional[int] = None,
        revision: Optional[int] = None,
        serializable: Optional[bool] = None,
        sort_order: Optional[str] = None,
        sort_target: Optional[str] = None,
        *,
        max_mod_revision: Optional[int] = None,
    ) -> None:
        keys = KeySet.of("key", key)
        options = (
            count_only, keys_only, limit, max_create_revision, min_create_revision, min_mod_revision, revision,
            serializable, sort_order, sort_target, max_mod_revision,
        )  # fmt: skip
        if options == _NO_OPTIONS:
            # as most reads have: to look at each of them takes as long as all else there is to do here
            self.__attrs_init__(keys, False, False, 0, 0, 0, 0, 0, False, None, None, 0)
            return
        self.__attrs_init__(
            keys,
            check_flag("count_only", count_only),
            check_flag("keys_only", keys_only),
            check_optional_int("limit", limit),
            check_optional_int("max_create_revision", max_create_revision),
            check_optional_int("min_create_revision", min_create_revision),
            check_optional_int("min_mod_revision", min_mod_revision),
            check_optional_int("revision", revision),
            check_flag("serializable", serializable),
            check_choice("sort_order", sort_order, self.SORT_ORDERS),
            check_choice("sort_target", sort_target, self.SORT_TARGETS),
            check_optional_int("max_mod_revision", max_mod_revision),
        )

    @property
    def sent_sort_order(self) -> Optional[str]:
        """
        The order that the server is asked for. Keys come in ascending order anyway; asked to sort them so, it would
        read the whole set even under a ``limit`` (``clientv3.WithSort`` leaves that away too).
        """
        if self.sort_order == "ASCEND" and self.sort_target in (None, "KEY"):
            return None
        return self.sort_order

    def __repr__(self) -> str:
        return f"OpGet({self.key!r})"


@attrs.frozen(init=False, repr=False)
class OpSet(Op):
    """
    Writes a key.

    :param key: the key (``bytes``).
    :param value: the value (``bytes``); with *ignore_value* it must be ``None``.
    :param lease: attach the key to this lease: a :class:`~txetcd.Lease`, an id (``int``), or ``None``: a key that was
        attached to a lease is then detached from it.
    :param return_previous: bring back what it was before (``bool``).
    :param ignore_value: keep the value of the key as it is (``bool``).
    :param ignore_lease: keep the lease of the key as it is (``bool``).
    """

    key: bytes
    value: Optional[bytes]
    lease: int
    return_previous: bool
    ignore_value: bool
    ignore_lease: bool

    def __init__(
        self,
        key: bytes,
        value: Optional[bytes],
        lease: Any = None,
        return_previous: Optional[bool] = None,
        *,
        ignore_value: Optional[bool] = None,
        ignore_lease: Optional[bool] = None,
    ) -> None:
        keep_value = check_flag("ignore_value", ignore_value)
        keep_lease = check_flag("ignore_lease", ignore_lease)
        lease_id = lease_id_of(lease)
        if keep_value and value is not None:
            raise ValueError("value must be None with ignore_value")
        if keep_lease and lease_id:
            raise ValueError("lease must be None with ignore_lease")
        self.__attrs_init__(
            check_key("key", key),
            None if keep_value else check_bytes("value", value),
            lease_id,
            check_flag("return_previous", return_previous),
            keep_value,
            keep_lease,
        )

    def __repr__(self) -> str:
        return f"OpSet({self.key!r}, {_shown(self.value)})"


@attrs.frozen(init=False, repr=False)
class OpDel(Op):
    """
    Deletes keys.

    :param key: the key or key set (``bytes`` or :class:`~txetcd.KeySet`). A set that happens to mean every key there
        is (an empty prefix, say) is refused: what is meant to delete everything is ``KeySet.all()``.
    :param return_previous: bring back what was deleted (``bool``).
    """

    key: KeySet
    return_previous: bool

    def __init__(self, key: Union[bytes, KeySet], return_previous: Optional[bool] = None) -> None:
        keys = KeySet.of("key", key)
        if keys.is_everything and not keys.is_meant_for_all:
            raise ValueError(f"key would delete everything: {keys!r}; if that is meant, pass KeySet.all()")
        self.__attrs_init__(keys, check_flag("return_previous", return_previous))

    def __repr__(self) -> str:
        return f"OpDel({self.key!r})"


@attrs.frozen(init=False, repr=False)
class Transaction:
    """
    Compares, and does the one thing or the other, all at one revision.

    :param compare: the comparisons (list of :class:`Comp`); all must hold. None at all do hold.
    :param success: what to do if they hold (list of :class:`Op`).
    :param failure: what to do if they do not (list of :class:`Op`).

    :ivar depth: how many :class:`OpTxn` are in one another in it (``int``).
    """

    compare: tuple[Comp, ...]
    success: tuple[Op, ...]
    failure: tuple[Op, ...]
    depth: int = attrs.field(init=False, eq=False)

    @depth.default
    def _depth(self) -> int:
        depth = 0
        for ops in (self.success, self.failure):
            for op in ops:
                if isinstance(op, OpTxn):
                    depth = max(depth, op.transaction.depth + 1)
        return depth

    def __init__(
        self,
        compare: Optional[Sequence[Comp]] = None,
        success: Optional[Sequence[Op]] = None,
        failure: Optional[Sequence[Op]] = None,
    ) -> None:
        self.__attrs_init__(
            check_all("compare", compare, Comp, _COMPS),
            check_all("success", success, Op, _OPS),
            check_all("failure", failure, Op, _OPS),
        )

    def __repr__(self) -> str:
        return f"Transaction({list(self.compare)!r}, {list(self.success)!r}, {list(self.failure)!r})"


@attrs.frozen(init=False, repr=False)
class OpTxn(Op):
    """
    Carries out a transaction inside a transaction. No more than 128 may be in one another; etcd refuses more than 128
    operations (``--max-txn-ops``), those around a transaction counted in.

    :param transaction: the inner one (:class:`Transaction`).
    """

    transaction: Transaction

    def __init__(self, transaction: Transaction) -> None:
        if not isinstance(transaction, Transaction):
            raise TypeError(f"transaction must be a Transaction, not {what_came(transaction)}")
        if transaction.depth >= MAX_DEPTH:
            raise ValueError(f"transaction is nested too deep: no more than {MAX_DEPTH} may be in one another")
        self.__attrs_init__(transaction)

    def __repr__(self) -> str:
        return f"OpTxn({self.transaction!r})"


# --- the fluent way

S = TypeVar("S")
T = TypeVar("T")


class TransactionBuilder(Generic[S, T]):
    """
    A transaction under construction: ``etcd.when(...).then(...).otherwise(...)``, each at most once and in this order,
    then :meth:`submit` or :meth:`transact`.
    """

    __slots__ = ("_submit", "_transact", "_compare", "_success", "_failure")

    def __init__(
        self,
        submit: Callable[[Transaction, Optional[float], bool], S],
        transact: Callable[[Transaction, Optional[float], bool], T],
        compare: tuple[Comp, ...],
    ) -> None:
        self._submit = submit
        self._transact = transact
        self._compare = check_each("when", compare, Comp, _COMPS)
        self._success: Optional[tuple[Op, ...]] = None
        self._failure: Optional[tuple[Op, ...]] = None

    def then(self, *ops: Op) -> TransactionBuilder[S, T]:
        """
        What to do if the comparisons hold.

        :param ops: the operations (:class:`Op`).
        :returns: self.
        :raises ValueError: after another ``then``, or after ``otherwise``.
        """
        if self._success is not None or self._failure is not None:
            raise ValueError("then() comes once, and before otherwise()")
        self._success = check_each("then", ops, Op, _OPS)
        return self

    def otherwise(self, *ops: Op) -> TransactionBuilder[S, T]:
        """
        What to do if a comparison does not hold.

        :param ops: the operations (:class:`Op`).
        :returns: self.
        :raises ValueError: after another ``otherwise``.
        """
        if self._failure is not None:
            raise ValueError("otherwise() comes once")
        self._failure = check_each("otherwise", ops, Op, _OPS)
        return self

    @property
    def transaction(self) -> Transaction:
        """The :class:`Transaction` as built so far."""
        return Transaction(self._compare, self._success, self._failure)

    def submit(self, timeout: Optional[float] = None, *, idempotent: bool = False) -> S:
        """Exactly :meth:`Client.submit <txetcd.Client.submit>` of the transaction."""
        return self._submit(self.transaction, timeout, idempotent)

    def transact(self, timeout: Optional[float] = None, *, idempotent: bool = False) -> T:
        """Exactly :meth:`Client.transact <txetcd.Client.transact>` of the transaction."""
        return self._transact(self.transaction, timeout, idempotent)
