"""
The basic calls, on every server.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults

from test.real.base import RealCase, on_every_server, sockets_to
from txetcd import AlreadyExists, Compacted, CompareFailed, KeySet, LeaseNotFound, Timeout, Unavailable
from txetcd.errors import FutureRevision, KeyNotFound
from txetcd.testing import EtcdCluster

BINARY = [b"\x00", b"\x00\x00", b"\xff", b"\xff\xff\x00", b"\n", b'"', b"\\", b"\xc3\x28", bytes(range(256))]
"""Bytes that a careless codec trips over."""


@on_every_server()
class Set(RealCase):
    """``set``."""

    async def found(self: Any, name: bytes = b"a") -> Any:
        (kv,) = (await self.etcd.get(self.key(name))).kvs
        return kv

    async def test_new(self: Any) -> None:
        done = await self.etcd.set(self.key(b"a"), b"one")
        self.assertIsNone(done.previous)
        kv = await self.found()
        self.assertEqual((kv.key, kv.value, kv.version, kv.lease), (self.key(b"a"), b"one", 1, 0))
        self.assertEqual((kv.create_revision, kv.mod_revision), (done.header.revision, done.header.revision))
        self.assertTrue(done.header.cluster_id and done.header.member_id and done.header.raft_term)

    async def test_overwrite(self: Any) -> None:
        first = await self.etcd.set(self.key(b"a"), b"one")
        second = await self.etcd.set(self.key(b"a"), b"two")
        self.assertIsNone(second.previous)
        kv = await self.found()
        self.assertEqual((kv.value, kv.version), (b"two", 2))
        self.assertEqual((kv.create_revision, kv.mod_revision), (first.header.revision, second.header.revision))

    async def test_return_previous(self: Any) -> None:
        new = await self.etcd.set(self.key(b"a"), b"one", return_previous=True)
        self.assertIsNone(new.previous)
        before = await self.found()
        again = await self.etcd.set(self.key(b"a"), b"two", return_previous=True)
        self.assertEqual(again.previous, before)

    async def test_lease(self: Any) -> None:
        """By the object or by its id; a set without it detaches the key."""
        async with self.etcd.lease(60) as lease:
            await self.etcd.set(self.key(b"a"), b"", lease)
            self.assertEqual((await self.found()).lease, lease.lease_id)
            await self.etcd.set(self.key(b"b"), b"", lease=lease.lease_id)
            self.assertEqual((await self.found(b"b")).lease, lease.lease_id)
            self.assertEqual(sorted(await lease.keys()), [self.key(b"a"), self.key(b"b")])
            await self.etcd.set(self.key(b"a"), b"")
            self.assertEqual((await self.found()).lease, 0)
        self.assertEqual([kv.key for kv in (await self.etcd.get(self.keys())).kvs], [self.key(b"a")])

    async def test_lease_gone(self: Any) -> None:
        lease = await self.etcd.lease(60)
        await lease.revoke()
        with self.assertRaises(LeaseNotFound):
            await self.etcd.set(self.key(b"a"), b"", lease)
        self.assertEqual((await self.etcd.get(self.key(b"a"))).count, 0)

    async def test_ignore_value(self: Any) -> None:
        """The value stays, the lease changes."""
        await self.etcd.set(self.key(b"a"), b"one")
        async with self.etcd.lease(60) as lease:
            await self.etcd.set(self.key(b"a"), None, lease, ignore_value=True)
            kv = await self.found()
            self.assertEqual((kv.value, kv.version, kv.lease), (b"one", 2, lease.lease_id))

    async def test_ignore_value_refusals(self: Any) -> None:
        with self.assertRaises(KeyNotFound):
            await self.etcd.set(self.key(b"a"), None, ignore_value=True)
        with self.assertRaisesRegex(ValueError, "value must be None with ignore_value"):
            self.etcd.set(self.key(b"a"), b"two", ignore_value=True)
        with self.assertRaisesRegex(TypeError, "value must be bytes, not NoneType"):
            self.etcd.set(self.key(b"a"), None)
        self.assertEqual((await self.etcd.get(self.key(b"a"))).count, 0)

    async def test_ignore_lease(self: Any) -> None:
        """The lease stays, the value changes."""
        async with self.etcd.lease(60) as lease:
            await self.etcd.set(self.key(b"a"), b"one", lease)
            await self.etcd.set(self.key(b"a"), b"two", ignore_lease=True)
            kv = await self.found()
            self.assertEqual((kv.value, kv.version, kv.lease), (b"two", 2, lease.lease_id))

    async def test_ignore_lease_refusals(self: Any) -> None:
        with self.assertRaises(KeyNotFound):
            await self.etcd.set(self.key(b"a"), b"one", ignore_lease=True)
        with self.assertRaisesRegex(ValueError, "lease must be None with ignore_lease"):
            self.etcd.set(self.key(b"a"), b"one", lease=7, ignore_lease=True)
        self.assertEqual((await self.etcd.get(self.key(b"a"))).count, 0)

    async def test_empty_value(self: Any) -> None:
        await self.etcd.set(self.key(b"a"), b"")
        self.assertEqual((await self.found()).value, b"")

    async def test_binary(self: Any) -> None:
        for name in BINARY:
            await self.etcd.set(self.key(name), name[::-1])
        kvs = (await self.etcd.get(self.keys())).kvs
        self.assertEqual({kv.key: kv.value for kv in kvs}, {self.key(name): name[::-1] for name in BINARY})
        self.assertEqual([kv.key for kv in kvs], sorted(kv.key for kv in kvs))

    async def test_megabyte(self: Any) -> None:
        value = bytes(range(256)) * 4096
        await self.etcd.set(self.key(b"a"), value)
        self.assertEqual((await self.found()).value, value)

    async def test_text(self: Any) -> None:
        """Text is refused, and the refusal says what to do."""
        with self.assertRaisesRegex(TypeError, "key must be bytes, not str; encode it"):
            self.etcd.set("a", b"")
        with self.assertRaisesRegex(TypeError, "value must be bytes, not str; encode it"):
            self.etcd.set(self.key(b"a"), "one")


@on_every_server()
class Get(RealCase):
    """Every option of ``get`` changes what comes back."""

    async def start(self: Any) -> None:
        """Four keys, whose order is another one for each thing to sort them by."""
        writes = [b"b1", b"d4", b"a3", b"c2", b"b1", b"b1", b"d4", b"a3"]
        self.revisions = []
        for write in writes:
            done = await self.etcd.set(self.key(write[:1]), write[1:])
            self.revisions.append(done.header.revision)
        self.all = await self.get()

    async def get(self: Any, **options: Any) -> Any:
        return await self.etcd.get(self.keys(), **options)

    async def names(self: Any, **options: Any) -> bytes:
        return b"".join(kv.key[-1:] for kv in (await self.get(**options)).kvs)

    async def test_missing(self: Any) -> None:
        found = await self.etcd.get(self.key(b"z"))
        self.assertEqual((found.kvs, found.count, found.more), ([], 0, False))

    async def test_single(self: Any) -> None:
        """A key is not taken for a prefix."""
        await self.etcd.set(self.key(b"aa"), b"")
        found = await self.etcd.get(self.key(b"a"))
        self.assertEqual(([kv.key for kv in found.kvs], found.count, found.more), ([self.key(b"a")], 1, False))

    async def test_no_options(self: Any) -> None:
        self.assertEqual([kv.key for kv in self.all.kvs], [self.key(name) for name in (b"a", b"b", b"c", b"d")])
        self.assertEqual([kv.value for kv in self.all.kvs], [b"3", b"1", b"2", b"4"])
        self.assertEqual([kv.version for kv in self.all.kvs], [2, 3, 1, 2])
        self.assertEqual((self.all.count, self.all.more), (4, False))
        self.assertEqual(self.all.header.revision, self.revisions[-1])

    async def test_range_end(self: Any) -> None:
        found = await self.etcd.get(self.key(b"b"), self.key(b"d"))
        self.assertEqual([kv.key for kv in found.kvs], [self.key(b"b"), self.key(b"c")])
        with_set = await self.etcd.get(KeySet(self.key(b"b"), self.key(b"d")))
        self.assertEqual(found, with_set)
        with self.assertRaises(TypeError):
            self.etcd.get(self.keys(), self.key(b"d"))

    async def test_range_end_all(self: Any) -> None:
        """All keys from one on."""
        found = await self.etcd.get(self.key(b"c"), b"\x00")
        self.assertEqual([kv.key for kv in found.kvs][:2], [self.key(b"c"), self.key(b"d")])

    async def test_range_of_none(self: Any) -> None:
        """What does not end behind its start is no error: nothing is found, and nothing is deleted."""
        for end in (b"a", b"b"):
            found = await self.etcd.get(self.key(b"b"), self.key(end))
            self.assertEqual((found.kvs, found.count), ([], 0))
            gone = await self.etcd.delete(KeySet(self.key(b"b"), self.key(end)))
            self.assertEqual((gone.deleted, (await self.get(count_only=True)).count), (0, 4))

    async def test_count_only(self: Any) -> None:
        found = await self.get(count_only=True)
        self.assertEqual((found.kvs, found.count, found.more), ([], 4, False))

    async def test_keys_only(self: Any) -> None:
        found = await self.get(keys_only=True)
        self.assertEqual([kv.key for kv in found.kvs], [kv.key for kv in self.all.kvs])
        self.assertEqual([kv.value for kv in found.kvs], [b""] * 4)
        self.assertEqual([kv.mod_revision for kv in found.kvs], [kv.mod_revision for kv in self.all.kvs])

    async def test_keys_only_and_count_only(self: Any) -> None:
        """``count_only`` wins."""
        found = await self.get(keys_only=True, count_only=True)
        self.assertEqual((found.kvs, found.count), ([], 4))

    async def test_limit(self: Any) -> None:
        """``count`` is that of the whole set."""
        found = await self.get(limit=3)
        self.assertEqual(found.kvs, self.all.kvs[:3])
        self.assertEqual((found.count, found.more), (4, True))

    async def test_limit_exact(self: Any) -> None:
        found = await self.get(limit=4)
        self.assertEqual((found.kvs, found.count, found.more), (self.all.kvs, 4, False))

    async def test_max_create_revision(self: Any) -> None:
        self.assertEqual(await self.names(max_create_revision=self.revisions[1]), b"bd")

    async def test_min_create_revision(self: Any) -> None:
        self.assertEqual(await self.names(min_create_revision=self.revisions[2]), b"ac")

    async def test_max_mod_revision(self: Any) -> None:
        self.assertEqual(await self.names(max_mod_revision=self.revisions[5]), b"bc")

    async def test_min_mod_revision(self: Any) -> None:
        self.assertEqual(await self.names(min_mod_revision=self.revisions[6]), b"ad")

    async def test_revision(self: Any) -> None:
        """The past as it was."""
        found = await self.get(revision=self.revisions[1])
        self.assertEqual([(kv.key, kv.version) for kv in found.kvs], [(self.key(b"b"), 1), (self.key(b"d"), 1)])
        self.assertEqual(found.header.revision, self.revisions[-1])

    async def test_revision_of_deleted(self: Any) -> None:
        await self.etcd.delete(self.keys())
        self.assertEqual((await self.get()).kvs, [])
        self.assertEqual((await self.get(revision=self.revisions[-1])).kvs, self.all.kvs)

    async def test_revision_compacted(self: Any) -> None:
        await self.etcd.compact(self.revisions[-1])
        with self.assertRaises(Compacted):
            await self.get(revision=self.revisions[-2])
        self.assertEqual((await self.get(revision=self.revisions[-1])).kvs, self.all.kvs)

    async def test_revision_future(self: Any) -> None:
        with self.assertRaises(FutureRevision):
            await self.get(revision=self.revisions[-1] + 1000)

    async def test_serializable(self: Any) -> None:
        """It is accepted; that it makes a difference is shown below, where there is one."""
        found = await self.get(serializable=True)
        self.assertEqual(found.kvs, self.all.kvs)

    async def assert_sorted(self: Any, target: str, attribute: str) -> None:
        order = sorted(self.all.kvs, key=lambda kv: getattr(kv, attribute))
        unsorted = (await self.get(sort_target=target)).kvs
        ascending = (await self.get(sort_order="ASCEND", sort_target=target)).kvs
        descending = (await self.get(sort_order="DESCEND", sort_target=target)).kvs
        # of keys that are equal in this, etcd promises no order
        self.assertEqual([getattr(kv, attribute) for kv in unsorted], [getattr(kv, attribute) for kv in order])
        self.assertEqual([getattr(kv, attribute) for kv in ascending], [getattr(kv, attribute) for kv in order])
        self.assertEqual([getattr(kv, attribute) for kv in descending], [getattr(kv, attribute) for kv in order[::-1]])
        self.assertEqual(sorted(kv.key for kv in descending), [kv.key for kv in self.all.kvs])

    async def test_sort_key(self: Any) -> None:
        await self.assert_sorted("KEY", "key")

    async def test_sort_version(self: Any) -> None:
        await self.assert_sorted("VERSION", "version")

    async def test_sort_create(self: Any) -> None:
        await self.assert_sorted("CREATE", "create_revision")

    async def test_sort_mod(self: Any) -> None:
        await self.assert_sorted("MOD", "mod_revision")

    async def test_sort_value(self: Any) -> None:
        await self.assert_sorted("VALUE", "value")

    async def test_sorts_differ(self: Any) -> None:
        """No target can be taken for another one: each puts the keys in an order of its own."""
        by = {
            "KEY": b"abcd",
            "CREATE": b"bdac",
            "MOD": b"cbda",
            "VALUE": b"bcad",
        }
        for target, order in by.items():
            self.assertEqual(await self.names(sort_order="ASCEND", sort_target=target), order)
            self.assertEqual(await self.names(sort_order="DESCEND", sort_target=target), order[::-1])
        by_version = await self.names(sort_order="ASCEND", sort_target="VERSION")
        self.assertEqual((by_version[:1], by_version[-1:]), (b"c", b"b"))

    async def test_sort_order_none(self: Any) -> None:
        self.assertEqual(await self.names(sort_order="NONE"), b"abcd")

    async def test_sort_order_alone(self: Any) -> None:
        """Then it is by the key."""
        self.assertEqual(await self.names(sort_order="DESCEND"), b"dcba")

    async def test_sort_and_limit(self: Any) -> None:
        """The limit counts what was sorted."""
        found = await self.get(sort_order="DESCEND", sort_target="MOD", limit=1)
        self.assertEqual(([kv.key for kv in found.kvs], found.count, found.more), ([self.key(b"a")], 4, True))

    async def test_unknown_sort(self: Any) -> None:
        """A number that no target has would crash etcd 3.4 and 3.5: it is not sent."""
        for option in ("sort_target", "sort_order"):
            with self.assertRaises(TypeError):
                self.etcd.get(self.keys(), **{option: 17})
            with self.assertRaisesRegex(ValueError, option):
                self.etcd.get(self.keys(), **{option: "NOSUCH"})

    async def test_lease(self: Any) -> None:
        async with self.etcd.lease(60) as lease:
            await self.etcd.set(self.key(b"a"), b"", lease)
            self.assertEqual([kv.lease for kv in (await self.get()).kvs], [lease.lease_id, 0, 0, 0])


@on_every_server()
class Serializable(RealCase):
    """``serializable`` is really sent: it is the only read that a member without the others answers."""

    async def test_no_quorum(self: Any) -> None:
        cluster = EtcdCluster(self.reactor, 2, binary=self.server.path)
        self.addCleanup(cluster.stop)
        await cluster.start()
        etcd = self.client(cluster.members[0].url)
        done = await etcd.set(b"key", b"value")
        await cluster.members[1].kill()
        found = await etcd.get(b"key", serializable=True)
        self.assertEqual([kv.mod_revision for kv in found.kvs], [done.header.revision])
        with self.assertRaises((Timeout, Unavailable)) as caught:
            await etcd.get(b"key", timeout=2)
        self.assertFalse(caught.exception.maybe_applied)
        self.assertEqual((await etcd.get(b"key", serializable=True)).kvs, found.kvs)
        self.assertEqual([kv.key async for kv in etcd.iterate(KeySet.all(), serializable=True)], [b"key"])


@on_every_server()
class Prefix(RealCase):
    """A prefix means the keys that begin so, and no neighbour."""

    async def assert_keys(self: Any, prefix: bytes, inside: list[bytes], outside: list[bytes]) -> None:
        for name in inside + outside:
            await self.etcd.set(self.key(name), b"")
        found = await self.etcd.get(self.keys(prefix))
        self.assertEqual([kv.key for kv in found.kvs], [self.key(name) for name in sorted(inside)])
        deleted = await self.etcd.delete(self.keys(prefix))
        self.assertEqual(deleted.deleted, len(inside))
        left = await self.etcd.get(self.keys())
        self.assertEqual([kv.key for kv in left.kvs], [self.key(name) for name in sorted(outside)])

    async def test_plain(self: Any) -> None:
        await self.assert_keys(b"a", [b"a", b"a\x00", b"ab", b"a\xff"], [b"A", b"`", b"b", b"b\x00"])

    async def test_slash(self: Any) -> None:
        await self.assert_keys(b"foo/", [b"foo/", b"foo/a", b"foo/\xff"], [b"foo", b"foo.", b"foo0", b"foobar", b"fop"])

    async def test_tail(self: Any) -> None:
        await self.assert_keys(
            b"a\xff", [b"a\xff", b"a\xff\x00", b"a\xff\xff"], [b"a", b"a\xfe", b"a\xfe\xff", b"b", b"b\x00", b"b\xff"]
        )

    async def test_long_tail(self: Any) -> None:
        await self.assert_keys(b"a\xff\xff", [b"a\xff\xff", b"a\xff\xff\x01"], [b"a\xff", b"a\xff\xfe\xff", b"b"])

    async def test_only_tail(self: Any) -> None:
        """Below the prefix of the test there is one more byte to carry to."""
        await self.assert_keys(b"\xff", [b"\xff", b"\xff\x00", b"\xff\xff"], [b"\xfe", b"\xfe\xff", b"a"])

    async def test_zero(self: Any) -> None:
        await self.assert_keys(b"\x00", [b"\x00", b"\x00\x00", b"\x00\xff"], [b"\x01", b"a"])

    async def test_all_ff(self: Any) -> None:
        """There is no end but that of all keys."""
        etcd = self.client((await self.own_server()).url)
        inside = [b"\xff\xff", b"\xff\xff\x00", b"\xff\xff\xff\xff"]
        outside = [b"\x00", b"a", b"\xfe\xff", b"\xff", b"\xff\xfe\xff"]
        for key in inside + outside:
            await etcd.set(key, b"")
        keys = KeySet(b"\xff\xff", prefix=True)
        self.assertEqual([kv.key for kv in (await etcd.get(keys)).kvs], inside)
        self.assertEqual((await etcd.delete(keys)).deleted, len(inside))
        self.assertEqual([kv.key for kv in (await etcd.get(KeySet.all())).kvs], outside)

    async def test_empty(self: Any) -> None:
        """It means all keys, the smallest and the greatest included; to delete them, one has to say so."""
        etcd = self.client((await self.own_server()).url)
        keys = [b"\x00", b"a", b"\xff\xff"]
        for key in keys:
            await etcd.set(key, b"")
        self.assertEqual([kv.key for kv in (await etcd.get(KeySet(b"", prefix=True))).kvs], keys)
        self.assertEqual([kv.key for kv in (await etcd.get(KeySet.all())).kvs], keys)
        for everything in (KeySet(b"", prefix=True), KeySet(b"\x00", b"\x00")):
            with self.assertRaisesRegex(ValueError, r"KeySet\.all\(\)"):
                etcd.delete(everything)
        self.assertEqual((await etcd.get(KeySet.all())).count, 3)
        self.assertEqual((await etcd.delete(KeySet.all())).deleted, 3)


@on_every_server()
class Delete(RealCase):
    """``delete``."""

    async def start(self: Any) -> None:
        for name in (b"a", b"ab", b"b", b"c"):
            await self.etcd.set(self.key(name), b"value of " + name)

    async def left(self: Any) -> list[bytes]:
        return [kv.key[len(self.prefix) :] for kv in (await self.etcd.get(self.keys())).kvs]

    async def test_single(self: Any) -> None:
        before = (await self.etcd.get(self.key(b"c"))).header.revision
        gone = await self.etcd.delete(self.key(b"a"))
        self.assertEqual((gone.deleted, gone.previous, gone.header.revision), (1, [], before + 1))
        self.assertEqual(await self.left(), [b"ab", b"b", b"c"])

    async def test_missing(self: Any) -> None:
        """Nothing happens, not even a new revision."""
        before = (await self.etcd.get(self.key(b"c"))).header.revision
        gone = await self.etcd.delete(self.key(b"z"), return_previous=True)
        self.assertEqual((gone.deleted, gone.previous, gone.header.revision), (0, [], before))

    async def test_range(self: Any) -> None:
        self.assertEqual((await self.etcd.delete(KeySet(self.key(b"a"), self.key(b"c")))).deleted, 3)
        self.assertEqual(await self.left(), [b"c"])

    async def test_prefix(self: Any) -> None:
        self.assertEqual((await self.etcd.delete(self.keys(b"a"))).deleted, 2)
        self.assertEqual(await self.left(), [b"b", b"c"])

    async def test_return_previous(self: Any) -> None:
        before = await self.etcd.get(self.keys(b"a"))
        gone = await self.etcd.delete(self.keys(b"a"), return_previous=True)
        self.assertEqual((gone.deleted, gone.previous), (2, before.kvs))

    async def test_created_again(self: Any) -> None:
        """A key that was deleted begins anew."""
        await self.etcd.set(self.key(b"a"), b"")
        await self.etcd.delete(self.key(b"a"))
        done = await self.etcd.set(self.key(b"a"), b"")
        (kv,) = (await self.etcd.get(self.key(b"a"))).kvs
        self.assertEqual((kv.version, kv.create_revision), (1, done.header.revision))


@on_every_server()
class Create(RealCase):
    """``create``."""

    async def test_created(self: Any) -> None:
        done = await self.etcd.create(self.key(b"a"), b"one")
        (kv,) = (await self.etcd.get(self.key(b"a"))).kvs
        self.assertEqual((kv.value, kv.version, kv.create_revision), (b"one", 1, done.header.revision))

    async def test_exists(self: Any) -> None:
        await self.etcd.set(self.key(b"a"), b"one")
        (before,) = (await self.etcd.get(self.key(b"a"))).kvs
        with self.assertRaises(AlreadyExists) as caught:
            await self.etcd.create(self.key(b"a"), b"two")
        self.assertEqual(caught.exception.current, before)
        self.assertFalse(caught.exception.maybe_applied)
        self.assertEqual((await self.etcd.get(self.key(b"a"))).kvs, [before])

    async def test_lease(self: Any) -> None:
        async with self.etcd.lease(60) as lease:
            await self.etcd.create(self.key(b"a"), b"one", lease)
            self.assertEqual(await lease.keys(), [self.key(b"a")])

    async def test_race(self: Any) -> None:
        """Of many, one creates it."""
        results = []
        creations = [self.etcd.create(self.key(b"a"), b"%d" % number) for number in range(20)]
        for creation in creations:
            results.append(await creation.addErrback(lambda failure: failure.trap(AlreadyExists)))
        self.assertEqual(len([result for result in results if result is not AlreadyExists]), 1)
        self.assertEqual((await self.etcd.get(self.key(b"a"))).kvs[0].version, 1)


@on_every_server()
class Replace(RealCase):
    """``replace``."""

    async def start(self: Any) -> None:
        await self.etcd.set(self.key(b"a"), b"one")
        self.kv = await self.now()

    async def now(self: Any) -> Any:
        (kv,) = (await self.etcd.get(self.key(b"a"))).kvs
        return kv

    async def refused(self: Any, *arguments: Any) -> Any:
        with self.assertRaises(CompareFailed) as caught:
            await self.etcd.replace(*arguments)
        self.assertNotIsInstance(caught.exception, AlreadyExists)
        return caught.exception.current

    async def test_key_value(self: Any) -> None:
        done = await self.etcd.replace(self.kv, b"two")
        now = await self.now()
        self.assertEqual((now.value, now.version, now.mod_revision), (b"two", 2, done.header.revision))

    async def test_key_value_changed(self: Any) -> None:
        """Even if it was written with the same value."""
        await self.etcd.set(self.key(b"a"), b"one")
        now = await self.now()
        self.assertEqual(await self.refused(self.kv, b"two"), now)
        self.assertEqual(await self.now(), now)

    async def test_key_value_deleted(self: Any) -> None:
        await self.etcd.delete(self.key(b"a"))
        self.assertIsNone(await self.refused(self.kv, b"two"))

    async def test_event(self: Any) -> None:
        async with self.etcd.watcher(self.key(b"a"), start_revision=self.kv.mod_revision) as watch:
            event = await watch.__anext__()
        await self.etcd.replace(event, b"two")
        self.assertEqual((await self.now()).value, b"two")
        self.assertEqual((await self.refused(event, b"three")).value, b"two")

    async def test_event_of_deletion(self: Any) -> None:
        """What is deleted is not as it was when it was deleted: it is not there."""
        await self.etcd.delete(self.key(b"a"))
        async with self.etcd.watcher(self.key(b"a"), start_revision=self.kv.mod_revision + 1) as watch:
            event = await watch.__anext__()
        self.assertTrue(event.is_delete)
        self.assertIsNone(await self.refused(event, b"two"))

    async def test_old_value(self: Any) -> None:
        await self.etcd.replace(self.key(b"a"), b"two", b"one")
        self.assertEqual((await self.now()).value, b"two")

    async def test_old_value_differs(self: Any) -> None:
        self.assertEqual(await self.refused(self.key(b"a"), b"two", b"other"), self.kv)
        self.assertEqual(await self.now(), self.kv)

    async def test_old_value_missing(self: Any) -> None:
        self.assertIsNone(await self.refused(self.key(b"z"), b"two", b""))

    async def test_empty_old_value(self: Any) -> None:
        await self.etcd.set(self.key(b"a"), b"")
        await self.etcd.replace(self.key(b"a"), b"two", b"")
        self.assertEqual((await self.now()).value, b"two")

    async def test_lease(self: Any) -> None:
        async with self.etcd.lease(60) as lease:
            await self.etcd.replace(self.kv, b"two", lease=lease)
            await self.etcd.replace(await self.now(), b"three", ignore_lease=True)
            self.assertEqual((await self.now()).lease, lease.lease_id)
            await self.etcd.replace(await self.now(), b"four")
            self.assertEqual((await self.now()).lease, 0)

    async def test_counter(self: Any) -> None:
        """Nothing is lost when many change the same key."""
        await self.etcd.set(self.key(b"a"), b"0")

        async def add() -> None:
            kv = await self.now()
            while True:
                try:
                    await self.etcd.replace(kv, b"%d" % (int(kv.value) + 1))
                    return
                except CompareFailed as error:
                    kv = error.current

        await gatherResults([Deferred.fromCoroutine(add()) for _ in range(10)])
        now = await self.now()
        self.assertEqual((now.value, now.version), (b"10", self.kv.version + 11))


@on_every_server()
class Iterate(RealCase):
    """``iterate``."""

    async def start(self: Any) -> None:
        self.names = [self.key(b"%02d" % number) for number in range(10)]
        for key in self.names:
            await self.etcd.set(key, key[-2:])

    async def test_pages(self: Any) -> None:
        """However they fall, every key comes once."""
        for page_size in (1, 3, 5, 9, 10, 11):
            kvs = [kv async for kv in self.etcd.iterate(self.keys(), page_size)]
            self.assertEqual([kv.key for kv in kvs], self.names, page_size)
            self.assertEqual([kv.value for kv in kvs], [key[-2:] for key in self.names], page_size)

    async def test_none(self: Any) -> None:
        self.assertEqual([kv async for kv in self.etcd.iterate(self.keys(b"z"))], [])

    async def test_single(self: Any) -> None:
        self.assertEqual([kv.key async for kv in self.etcd.iterate(self.names[3])], [self.names[3]])

    async def test_range(self: Any) -> None:
        """The end is kept from page to page."""
        keys = KeySet(self.names[2], self.names[7])
        self.assertEqual([kv.key async for kv in self.etcd.iterate(keys, 2)], self.names[2:7])

    async def test_all(self: Any) -> None:
        """There is no end, and still one."""
        found = [kv.key async for kv in self.etcd.iterate(KeySet.all(), 3)]
        self.assertEqual(found, sorted(found))
        self.assertEqual([key for key in found if key in self.keys()], self.names)

    async def test_writes_in_between(self: Any) -> None:
        """They do not show: all is as it was at the first page."""
        found: list[Any] = []
        async for kv in self.etcd.iterate(self.keys(), 3):
            if not found:
                await self.etcd.set(self.names[8], b"changed")
                await self.etcd.delete(self.names[9])
                await self.etcd.set(self.key(b"05a"), b"new")
            found.append((kv.key, kv.value))
        self.assertEqual(found, [(key, key[-2:]) for key in self.names])

    async def test_revision(self: Any) -> None:
        then = (await self.etcd.get(self.names[0])).header.revision
        await self.etcd.delete(self.keys())
        self.assertEqual([kv.key async for kv in self.etcd.iterate(self.keys(), 4, then)], self.names)

    async def test_keys_only(self: Any) -> None:
        kvs = [kv async for kv in self.etcd.iterate(self.keys(), 4, keys_only=True)]
        self.assertEqual([(kv.key, kv.value) for kv in kvs], [(key, b"") for key in self.names])

    async def test_compacted_meanwhile(self: Any) -> None:
        found: list[Any] = []
        with self.assertRaises(Compacted) as caught:
            async for kv in self.etcd.iterate(self.keys(), 3):
                if not found:
                    done = await self.etcd.set(self.names[8], b"changed")
                    await self.etcd.compact(done.header.revision)
                found.append(kv.key)
        self.assertEqual(found, self.names[:3])
        self.assertEqual(caught.exception.call, "KV.Range")


@on_every_server()
class WaitFor(RealCase):
    """``wait_for``."""

    async def start(self: Any) -> None:
        """Nobody watches any more."""
        await self.until(self.is_forgotten)

    async def begun(self: Any, *arguments: Any, **options: Any) -> Any:
        """Waits for the key, and for the server to know of that."""
        waiting = self.etcd.wait_for(self.key(b"a"), *arguments, **options)
        await self.until(self.is_watched)
        return waiting

    async def is_watched(self: Any) -> bool:
        return bool(await self.watchers() == 1)

    async def is_forgotten(self: Any) -> bool:
        return bool(await self.watchers() == 0)

    async def test_existing(self: Any) -> None:
        await self.etcd.set(self.key(b"a"), b"")
        (kv,) = (await self.etcd.get(self.key(b"a"))).kvs
        self.assertEqual(await self.etcd.wait_for(self.key(b"a")), kv)

    async def test_later(self: Any) -> None:
        waiting = await self.begun()
        await self.etcd.set(self.key(b"aa"), b"a neighbour")
        done = await self.etcd.set(self.key(b"a"), b"")
        kv = await waiting
        self.assertEqual((kv.key, kv.mod_revision), (self.key(b"a"), done.header.revision))
        await self.until(self.is_forgotten)

    async def test_predicate(self: Any) -> None:
        await self.etcd.set(self.key(b"a"), b"1")
        waiting = await self.begun(lambda kv: int(kv.value) >= 3)
        for value in (b"2", b"3", b"4"):
            await self.etcd.set(self.key(b"a"), value)
        self.assertEqual((await waiting).value, b"3")

    async def test_deleted_meanwhile(self: Any) -> None:
        waiting = await self.begun()
        await self.etcd.delete(self.key(b"a"))
        await self.etcd.set(self.key(b"a"), b"")
        self.assertEqual((await waiting).version, 1)

    async def test_no_gap(self: Any) -> None:
        """What is set at once after it was asked for is seen, whether by the get or by the watch."""
        for number in range(20):
            key = self.key(b"gap%d" % number)
            waiting = self.etcd.wait_for(key)
            done = await self.etcd.set(key, b"")
            self.assertEqual((await waiting).mod_revision, done.header.revision)

    async def test_predicate_fails(self: Any) -> None:
        waiting = await self.begun(lambda kv: bool(1 / 0))
        await self.etcd.set(self.key(b"a"), b"")
        with self.assertRaises(ZeroDivisionError):
            await waiting
        await self.until(self.is_forgotten)

    async def test_timeout(self: Any) -> None:
        with self.assertRaisesRegex(Timeout, "was not as wanted within 0.1 seconds"):
            await self.etcd.wait_for(self.key(b"a"), timeout=0.1)
        await self.until(self.is_forgotten)

    async def test_cancel(self: Any) -> None:
        """Nothing stays behind at the server."""
        waiting = await self.begun()
        waiting.cancel()
        with self.assertRaises(CancelledError):
            await waiting
        await self.until(self.is_forgotten)

    async def test_cancel_at_once(self: Any) -> None:
        client = self.client()
        waiting = client.wait_for(self.key(b"a"))
        waiting.cancel()
        with self.assertRaises(CancelledError):
            await waiting
        await self.until(lambda: sockets_to(self.url) == self.sockets_kept)
        self.assertTrue(await self.is_forgotten())


@on_every_server()
class Compact(RealCase):
    """``compact``."""

    async def start(self: Any) -> None:
        self.revisions = []
        for value in (b"one", b"two", b"three"):
            self.revisions.append((await self.etcd.set(self.key(b"a"), value)).header.revision)

    async def assert_compacted(self: Any) -> None:
        with self.assertRaises(Compacted):
            await self.etcd.get(self.key(b"a"), revision=self.revisions[0])
        found = await self.etcd.get(self.key(b"a"), revision=self.revisions[1])
        self.assertEqual([kv.value for kv in found.kvs], [b"two"])
        with self.assertRaises(Compacted):
            await self.etcd.compact(self.revisions[0])

    async def test_compact(self: Any) -> None:
        header = await self.etcd.compact(self.revisions[1])
        self.assertEqual(header.revision, self.revisions[-1])
        await self.assert_compacted()

    async def test_physical(self: Any) -> None:
        await self.etcd.compact(self.revisions[1], physical=True)
        await self.assert_compacted()

    async def test_twice(self: Any) -> None:
        await self.etcd.compact(self.revisions[1])
        with self.assertRaises(Compacted):
            await self.etcd.compact(self.revisions[1])

    async def test_future(self: Any) -> None:
        with self.assertRaises(FutureRevision):
            await self.etcd.compact(self.revisions[-1] + 1000)


@on_every_server()
class Status(RealCase):
    """``status``."""

    async def test_status(self: Any) -> None:
        done = await self.etcd.set(self.key(b"a"), b"")
        status = await self.etcd.status()
        self.assertEqual(status.version, self.server.label)
        self.assertEqual((status.leader, status.is_learner, status.errors), (status.header.member_id, False, []))
        self.assertEqual((status.header.member_id, status.raft_term), (done.header.member_id, done.header.raft_term))
        self.assertGreaterEqual(status.header.revision, done.header.revision)
        self.assertGreaterEqual(status.db_size, status.db_size_in_use)
        self.assertGreater(status.db_size_in_use, 0)
        self.assertGreaterEqual(status.raft_index, status.raft_applied_index)
        self.assertGreater(status.raft_applied_index, 0)

    async def test_newer(self: Any) -> None:
        """What came with 3.6 is there, or empty."""
        status = await self.etcd.status()
        if self.server.version >= (3, 6):
            self.assertEqual(status.storage_version, ".".join(self.server.label.split(".")[:2]) + ".0")
            self.assertGreater(status.db_size_quota, 0)
            self.assertFalse(status.downgrade_info.enabled)
        else:
            self.assertEqual((status.storage_version, status.db_size_quota, status.downgrade_info), ("", 0, None))
