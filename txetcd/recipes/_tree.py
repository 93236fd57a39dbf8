"""
The paths and the nodes of :mod:`txetcd.recipes.tree`, and how they are made of keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Optional

import attrs

from .._check import check_key
from ..keyset import KeySet
from ..values import KeyValue, shown_size

SLASH = b"/"
NEXT = b"0"
"""The byte that follows the slash: what is in a directory ends before its name with this behind it."""


def check_path(argument: str, value: object) -> bytes:
    """
    *value*, if it is a path: ``b"/"``, or names that are not empty with a slash before each.

    :raises TypeError: for anything but ``bytes``.
    :raises ValueError: for anything else.
    """
    path = check_key(argument, value)
    if path != SLASH and (not path.startswith(SLASH) or b"" in path[1:].split(SLASH)):
        raise ValueError(f"{argument} must be names with a single '/' before each, or just '/', not {path!r}")
    return path


def check_node_path(argument: str, value: object) -> bytes:
    """As :func:`check_path`, but for a node that can be written: the root cannot."""
    path = check_path(argument, value)
    if path == SLASH:
        raise ValueError(f"{argument} must not be the root, {path!r}")
    return path


def ancestors(path: bytes) -> list[bytes]:
    """The directories that a path leads through, the root excepted."""
    names = path.split(SLASH)
    return [SLASH.join(names[:count]) for count in range(2, len(names))]


def inside(path: bytes) -> bytes:
    """What the keys of all that is in a directory begin with; the key that is just this makes it a directory."""
    return path.rstrip(SLASH) + SLASH


def is_hidden(names: bytes) -> bool:
    """Whether one of the names in a path is hidden."""
    return any(name.startswith(b"_") for name in names.split(SLASH))


@attrs.frozen(repr=False)
class Node:
    """
    A node of a :class:`~txetcd.Tree`: a file, which has a value, or a directory, which has nodes in it.

    Iterating over it gives its children.

    :ivar action: what has been done: ``"get"``, ``"set"``, ``"delete"`` (``str``).
    :ivar key: the path (``bytes``).
    :ivar value: the value (``bytes``; not shown), or ``None`` of a directory and of what was deleted.
    :ivar created_index: the revision that has created it (``int``), the ``create_revision`` of its key. 0 for a
        directory that is one only because something is in it.
    :ivar modified_index: the revision that has changed it last (``int``), the ``mod_revision``; 0 likewise.
    :ivar ttl: seconds that it has left (``int``), or ``None`` if it does not expire.
    :ivar is_directory: whether it is a directory (``bool``).
    :ivar is_deleted: whether it is not there any more (``bool``).
    :ivar children: what is in a directory (``tuple`` of :class:`Node`, by their names); the hidden ones are left out.
    :ivar previous: what it was before (:class:`Node`), or ``None`` if it was not there, or nothing was done to it.
    :ivar revision: the revision of the store of which this is told (``int``): that at which it was read, or of what has
        been done. So ``tree.follow(node.key, index=node.revision + 1)`` tells all that has happened to it since. Two
        nodes that differ in nothing but that are equal.
    """

    action: str
    key: bytes
    value: Optional[bytes] = None
    created_index: int = 0
    modified_index: int = 0
    ttl: Optional[int] = None
    is_directory: bool = False
    is_deleted: bool = False
    children: tuple[Node, ...] = ()
    previous: Optional[Node] = None
    revision: int = attrs.field(default=0, eq=False, kw_only=True)

    @property
    def index(self) -> int:
        """The revision of what has been done last to it (``int``): :attr:`modified_index`."""
        return self.modified_index

    @property
    def is_hidden(self) -> bool:
        """Whether it is left out where the directory that it is in is listed (``bool``): its name begins with ``_``."""
        return self.key.rpartition(SLASH)[2].startswith(b"_")

    def __iter__(self) -> Iterator[Node]:
        return iter(self.children)

    def __repr__(self) -> str:
        flags = {"HIDDEN": self.is_hidden, "DELETED": self.is_deleted, "DIRECTORY": self.is_directory}
        said = "".join(f" {name}" for name, is_set in flags.items() if is_set)
        content = f" children={len(self.children)}" if self.is_directory else ""
        if self.value is not None:
            content = f" value={shown_size(self.value)}"
        return (
            f"<Node [{self.action}] {self.key!r}{said}{content}"
            f" CI={self.created_index} MI={self.modified_index} TTL={self.ttl}>"
        )


TimesToLive = Mapping[int, int]
"""Seconds that leases have left, by their ids."""


def file_node(
    action: str, path: bytes, kv: KeyValue, ttls: TimesToLive, revision: int, previous: Optional[Node] = None
) -> Node:
    """The node of a key that is there, at a revision."""
    is_directory = kv.key.endswith(SLASH)
    value = None if is_directory else kv.value
    ttl = ttls.get(kv.lease)
    created, modified = kv.create_revision, kv.mod_revision
    return Node(action, path, value, created, modified, ttl, is_directory, previous=previous, revision=revision)


def previous_node(path: bytes, kv: Optional[KeyValue], revision: int) -> Optional[Node]:
    """What the node of a key was before it was changed at a revision."""
    return None if kv is None else file_node("get", path, kv, {}, revision - 1)


def deleted_node(path: bytes, revision: int, previous: Optional[Node], is_directory: bool = False) -> Node:
    """The node of a key that was there, and was deleted at a revision."""
    created = 0 if previous is None else previous.created_index
    is_directory = is_directory or (previous is not None and previous.is_directory)
    return Node(
        "delete", path, None, created, revision, None, is_directory, True, previous=previous, revision=revision
    )


def directory_node(
    path: bytes, prefix: bytes, kvs: Iterable[KeyValue], ttls: TimesToLive, revision: int, is_deep: bool
) -> Node:
    """
    A directory, and what is in it, at a revision.

    :param prefix: what the keys in it begin with.
    :param kvs: those keys, or as many as its children need.
    :param is_deep: whether its children have theirs.
    """
    own: Optional[KeyValue] = None
    children: dict[tuple[bytes, bool], list[KeyValue]] = {}
    for kv in kvs:
        name, slash, _ = kv.key[len(prefix) :].partition(SLASH)
        if kv.key == prefix:
            own = kv
        elif not is_hidden(name):
            children.setdefault((name, bool(slash)), []).append(kv)
    nodes = []
    for name, is_directory in sorted(children):
        inner, below = children[name, is_directory], inside(path) + name
        if not is_directory:
            nodes.append(file_node("get", below, inner[0], ttls, revision))
            continue
        start = prefix + name + SLASH
        node = directory_node(below, start, inner, ttls, revision, is_deep)
        nodes.append(node if is_deep else attrs.evolve(node, children=()))
    created, modified = (0, 0) if own is None else (own.create_revision, own.mod_revision)
    return Node("get", path, None, created, modified, None, True, children=tuple(nodes), revision=revision)


def rest_of(prefix: bytes, last: bytes, is_deep: bool) -> KeySet:
    """
    The keys of a directory that are still to be read.

    :param last: the last one that was read.
    :param is_deep: whether all are wanted; else what is in the directories in it is left out.
    """
    name, slash, _ = last[len(prefix) :].partition(SLASH)
    start = prefix + name + NEXT if slash and not is_deep else last + b"\x00"
    return KeySet(start, prefix[:-1] + NEXT)
