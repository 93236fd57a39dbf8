"""
Sets of keys: one key, a range, a prefix, or all of them.
"""

from __future__ import annotations

from typing import Optional

from ._check import check_bytes, encoding_advice, what_came

FROM_KEY = b"\x00"
"""The ``range_end`` that means: every key from ``key`` on (etcd's convention)."""


def prefix_end(prefix: bytes) -> bytes:
    """
    The ``range_end`` of all keys that begin with *prefix*: the prefix with its last byte below 0xff incremented and
    the tail of 0xff bytes cut off (``clientv3.GetPrefixRangeEnd``). An empty prefix, and one of 0xff bytes only, have
    no such end: every key from the prefix on belongs to them.
    """
    stem = prefix.rstrip(b"\xff")
    if not stem:
        return FROM_KEY
    return stem[:-1] + bytes((stem[-1] + 1,))


class KeySet:
    """
    A set of keys. Immutable.

    * ``KeySet(b"key")`` one key
    * ``KeySet(b"from", b"to")`` all keys from ``b"from"`` up to, but not including, ``b"to"``;
      ``KeySet(b"from", b"\\x00")`` all keys from ``b"from"`` on
    * ``KeySet(b"b", b"a")``, ``KeySet(b"a", b"a")`` no key, as the end does not lie behind the start: nothing is found,
      nothing is deleted; a watch is refused by the server with :class:`~txetcd.errors.WatchRangeEmpty`
    * ``KeySet(b"prefix/", prefix=True)`` all keys that begin so; an empty prefix means all keys
    * ``KeySet.all()`` all keys, meant as such

    :param key: the key, the start of the range, or the prefix (``bytes``).
    :param range_end: the end of the range (``bytes``), or ``None``.
    :param prefix: whether *key* is a prefix (``bool``); excludes *range_end*.
    :raises TypeError: for an argument of another type, and for a prefix with a *range_end*.
    :raises ValueError: for an empty *key* that is not a prefix: etcd has no empty key.

    :ivar key: as given.
    :ivar range_end: as given.
    :ivar prefix: as given.
    :ivar type: ``"single"``, ``"range"`` or ``"prefix"``.
    :ivar start: the first key of the set (``bytes``), as the server wants it.
    :ivar end: the first key behind the set (``bytes``), as the server wants it: empty for a single key.
    """

    __slots__ = ("key", "range_end", "prefix", "type", "start", "end")

    key: bytes
    range_end: Optional[bytes]
    prefix: Optional[bool]
    type: str
    start: bytes
    end: bytes

    def __init__(self, key: bytes, range_end: Optional[bytes] = None, prefix: Optional[bool] = None) -> None:
        check_bytes("key", key)
        if range_end is not None:
            check_bytes("range_end", range_end)
        if prefix is not None and not isinstance(prefix, bool):
            raise TypeError(f"prefix must be bool, not {what_came(prefix)}")
        if prefix and range_end is not None:
            raise TypeError("range_end and prefix exclude each other")
        if not key and not prefix:
            raise ValueError("key must not be empty; all keys are KeySet.all()")
        if range_end == b"":
            raise ValueError(r"range_end must not be empty; to include all keys from key on it is b'\x00'")
        self._fill(key, range_end, prefix)

    def _fill(self, key: bytes, range_end: Optional[bytes], prefix: Optional[bool]) -> None:
        fill = super().__setattr__
        fill("key", key)
        fill("range_end", range_end)
        fill("prefix", prefix)
        fill("type", "prefix" if prefix else "single" if range_end is None else "range")
        # etcd takes an empty key for a missing one: all keys begin at the smallest there is
        fill("start", key or FROM_KEY)
        fill("end", prefix_end(key) if prefix else range_end or b"")

    @classmethod
    def all(cls) -> KeySet:
        """
        All keys. The only key set that :meth:`Client.delete <txetcd.Client.delete>` accepts for deleting them all.
        """
        return _AllKeys(b"", prefix=True)

    @classmethod
    def of(cls, argument: str, value: object) -> KeySet:
        """
        *value*, if it is a key set, or the set of the one key that it is.

        :raises TypeError: names the *argument*.
        :raises ValueError: names the *argument*, if it is empty.
        """
        if isinstance(value, KeySet):
            return value
        if isinstance(value, bytes):
            if not value:
                raise ValueError(f"{argument} must not be empty; all keys are KeySet.all()")
            single = cls.__new__(cls)
            single._fill(value, None, None)
            return single
        raise TypeError(f"{argument} must be bytes or a KeySet, not {what_came(value)}{encoding_advice(value)}")

    @property
    def is_everything(self) -> bool:
        """Whether every possible key is in the set (``bool``)."""
        return self.start == FROM_KEY and self.end == FROM_KEY

    @property
    def is_meant_for_all(self) -> bool:
        """Whether the set was made by :meth:`all` (``bool``)."""
        return isinstance(self, _AllKeys)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, bytes):
            return False
        if not self.end:
            return key == self.start
        return key >= self.start and (self.end == FROM_KEY or key < self.end)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a KeySet is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a KeySet is immutable: {name} cannot be deleted")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.key, self.range_end, self.prefix)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KeySet):
            return NotImplemented
        return (self.start, self.end) == (other.start, other.end)

    def __hash__(self) -> int:
        return hash((self.start, self.end))

    def __repr__(self) -> str:
        if self.is_meant_for_all:
            return "KeySet.all()"
        if self.prefix:
            return f"KeySet({self.key!r}, prefix=True)"
        return f"KeySet({self.key!r})" if self.range_end is None else f"KeySet({self.key!r}, {self.range_end!r})"


class _AllKeys(KeySet):
    __slots__ = ()
