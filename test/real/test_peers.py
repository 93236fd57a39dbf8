"""
What other clients got wrong, and txetcd gets right, on every server.

Each test is named after a fault that was seen in a run of another client, and says which one and what it did there.
"""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError
from twisted.web.client import Agent

from test.real.base import GATEWAY, RealCase, on_every_server, sockets_to
from txetcd import (
    Closed,
    Compacted,
    CompCreated,
    CompVersion,
    Expired,
    KeySet,
    LeaseNotFound,
    OpGet,
    OpSet,
    OpTxn,
    Timeout,
    Transaction,
)
from txetcd import _messages as messages
from txetcd import _schema as schema
from txetcd.errors import FutureRevision


class _Faults(RealCase):
    async def names(self: Any, keys: Any = None) -> list[bytes]:
        found = await self.etcd.get(self.keys() if keys is None else keys)
        return [kv.key[len(self.prefix) :] for kv in found.kvs]

    async def fill(self: Any, *names: bytes) -> None:
        for name in names:
            await self.etcd.set(self.key(name), b"value of " + name)

    async def has_watchers(self: Any, count: int) -> bool:
        return bool(await self.watchers() == count)


@on_every_server()
class Calls(_Faults):
    """Faults of the plain calls."""

    async def test_set_with_unknown_lease_succeeds(self: Any) -> None:
        """txaioetcd never looks at the status: it answers ``Revision(header=None)``, and nothing is written."""
        with self.assertRaises(LeaseNotFound):
            await self.etcd.set(self.key(b"a"), b"one", lease=404)
        self.assertEqual(await self.names(), [])
        self.assertGreater((await self.etcd.set(self.key(b"a"), b"one")).header.revision, 0)

    async def test_no_call_works_since_3_4(self: Any) -> None:
        """txaioetcd asks ``/v3alpha``, which is gone: every call raises ``JSONDecodeError`` about a page not found."""
        self.assertEqual((await self.etcd.status()).version, self.server.label)
        await self.etcd.set(self.key(b"a"), b"one")
        self.assertEqual((await self.etcd.get(self.key(b"a"))).count, 1)
        await self.etcd.submit(Transaction([CompVersion(self.key(b"a"), "==", 1)], [OpGet(self.key(b"a"))]))
        self.assertEqual((await self.etcd.delete(self.key(b"a"))).deleted, 1)

    async def test_get_ignores_its_options(self: Any) -> None:
        """txaioetcd documents eleven and sends the range only: this answered five full values, of today."""
        await self.fill(b"a", b"b", b"c", b"d", b"e")
        found = await self.etcd.get(self.keys(), limit=1, keys_only=True)
        self.assertEqual([(kv.key, kv.value) for kv in found.kvs], [(self.key(b"a"), b"")])
        with self.assertRaises(FutureRevision):
            await self.etcd.get(self.keys(), revision=2**40)

    async def test_range_loses_count_more_and_lease(self: Any) -> None:
        """In txaioetcd ``count`` is a ``str``, and ``more`` and the lease of a key are lost."""
        async with self.etcd.lease(60) as lease:
            await self.etcd.set(self.key(b"a"), b"one", lease)
            await self.fill(b"b", b"c")
            found = await self.etcd.get(self.keys(), limit=2)
            self.assertEqual((found.count, type(found.count), found.more), (3, int, True))
            self.assertEqual([kv.lease for kv in found.kvs], [lease.lease_id, 0])

    async def test_numbers_are_text(self: Any) -> None:
        """txaioetcd hands 64-bit numbers over as the text they travel as."""
        done = await self.etcd.set(self.key(b"a"), b"")
        status = await self.etcd.status()
        (kv,) = (await self.etcd.get(self.key(b"a"))).kvs
        for value in (*vars_of(done.header), *vars_of(kv)[2:], status.db_size, status.raft_term, status.raft_index):
            self.assertIs(type(value), int)

    async def test_unknown_option_is_ignored(self: Any) -> None:
        """The gateway ignores what it does not know, so that a misspelt option is never noticed."""
        with self.assertRaises(TypeError):
            self.etcd.get(self.key(b"a"), max_mod_revison=1)
        with self.assertRaises(TypeError):
            self.etcd.set(self.key(b"a"), b"", prev_kv=True)
        with self.assertRaises(TypeError):
            OpGet(self.key(b"a"), count=True)  # type: ignore[call-arg]  # this is the test

    async def test_comparison_with_zero(self: Any) -> None:
        """etcetra puts every operand into the value: ``version == 0`` was a ``TypeError``."""
        self.assertTrue((await self.etcd.when(CompVersion(self.key(b"a"), "==", 0)).transact()).succeeded)

    async def test_less_means_greater(self: Any) -> None:
        """etcetra's ``<`` builds ``GREATER``."""
        await self.fill(b"a")
        self.assertTrue((await self.etcd.when(CompVersion(self.key(b"a"), "<", 2)).transact()).succeeded)
        self.assertFalse((await self.etcd.when(CompVersion(self.key(b"a"), ">", 2)).transact()).succeeded)

    async def test_nested_transaction_raises(self: Any) -> None:
        """txaioetcd's parser raises at the answer to one."""
        inner = self.etcd.when(CompCreated(self.key(b"a"), "==", 0)).then(OpSet(self.key(b"a"), b"")).transaction
        done = await self.etcd.submit(Transaction(success=[OpTxn(inner)]))
        self.assertTrue(done.responses[0].succeeded)

    async def test_error_is_not_told_apart(self: Any) -> None:
        """All errors of etcetra become ``EtcdUnknownError``; etcd3gw's know the HTTP status only."""
        await self.etcd.compact((await self.etcd.set(self.key(b"a"), b"")).header.revision)
        table: list[Any] = [
            (Compacted, lambda: self.etcd.get(self.key(b"a"), revision=1)),
            (FutureRevision, lambda: self.etcd.get(self.key(b"a"), revision=2**40)),
            (LeaseNotFound, lambda: self.etcd.set(self.key(b"a"), b"", 404)),
        ]
        for error, call in table:
            with self.assertRaises(error) as caught:
                await call()
            self.assertIs(type(caught.exception), error)

    async def test_previous_of_delete_is_thrown_away(self: Any) -> None:
        """etcd3gw asks for it and returns whether anything was deleted."""
        await self.fill(b"a")
        gone = await self.etcd.delete(self.key(b"a"), return_previous=True)
        self.assertEqual([kv.value for kv in gone.previous], [b"value of a"])

    async def test_pool_and_timeout_are_not_used(self: Any) -> None:
        """txaioetcd's calls go through a pool of treq's that is shared by all the process, with no end to wait for."""
        async with self.client() as etcd:
            await etcd.get(self.key(b"a"))
            self.assertEqual(sockets_to(self.url), 1)
        self.assertEqual(sockets_to(self.url), 0)


@on_every_server(schemes=[GATEWAY])
class Paths(_Faults):
    """Faults where no etcd is."""

    async def test_answer_is_no_json(self: Any) -> None:
        """txaioetcd fails with a ``JSONDecodeError`` where no etcd answers."""
        with self.assertRaisesRegex(RuntimeError, f"KV.Range at {self.url}/nowhere: "):
            await self.client(f"{self.url}/nowhere").get(b"a")


def vars_of(value: Any) -> list[Any]:
    """The fields of a value, in their order."""
    return [getattr(value, field.name) for field in type(value).__attrs_attrs__]


@on_every_server()
class Prefixes(_Faults):
    """Faults at the end of a prefix."""

    async def test_prefix_of_ff_crashes(self: Any) -> None:
        """txaioetcd and etcd3gw: ``ValueError`` for a prefix that ends in 0xff."""
        await self.fill(b"a\xff", b"a\xff\x01", b"b")
        self.assertEqual(await self.names(self.keys(b"a\xff")), [b"a\xff", b"a\xff\x01"])
        self.assertEqual((await self.etcd.get(KeySet(b"\xff", prefix=True))).count, 0)

    async def test_empty_prefix_crashes(self: Any) -> None:
        """txaioetcd: ``IndexError``."""
        await self.fill(b"a")
        found = await self.etcd.get(KeySet(b"", prefix=True))
        self.assertIn(self.key(b"a"), [kv.key for kv in found.kvs])

    async def test_prefix_that_is_no_text_crashes(self: Any) -> None:
        """etcd3gw: ``UnicodeDecodeError`` for ``b"\\x7f"``, ``UnicodeEncodeError`` for keys beyond latin-1."""
        names = [b"\x7f", b"\x7f\x80", "\u20ac".encode(), b"\xc3\x28"]
        await self.fill(*names, b"\x80")
        self.assertEqual(await self.names(self.keys(b"\x7f")), [b"\x7f", b"\x7f\x80"])
        self.assertEqual(await self.names(self.keys("\u20ac".encode())), ["\u20ac".encode()])
        for name in names:
            self.assertEqual((await self.etcd.get(self.key(name))).kvs[0].value, b"value of " + name)

    async def test_delete_of_prefix_deletes_others(self: Any) -> None:
        """aetcd (as python-etcd3) does not cut the tail: ``delete_prefix(b"a\\xff")`` deleted 203 keys of ``b``."""
        others = [b"b", *(b"b/%d" % number for number in range(20))]
        await self.fill(b"a\xff", b"a\xff\xff", *others)
        self.assertEqual((await self.etcd.delete(self.keys(b"a\xff"))).deleted, 2)
        self.assertEqual(await self.names(), sorted(others))

    async def test_prefix_with_slash_means_more(self: Any) -> None:
        """etcetra raises the byte before the slash: ``get_prefix("foo/")`` had ``foobar`` and ``fop`` as well."""
        await self.fill(b"foo", b"foo/", b"foo/1", b"foo0", b"foobar", b"fop")
        self.assertEqual(await self.names(self.keys(b"foo/")), [b"foo/", b"foo/1"])
        self.assertEqual((await self.etcd.delete(self.keys(b"foo/"))).deleted, 2)
        self.assertEqual(await self.names(), [b"foo", b"foo0", b"foobar", b"fop"])

    async def test_everything_is_deleted_unasked(self: Any) -> None:
        """An empty prefix, from a configuration perhaps, deletes the whole store elsewhere."""
        await self.fill(b"a")
        with self.assertRaisesRegex(ValueError, "would delete everything"):
            self.etcd.delete(KeySet(b"", prefix=True))
        self.assertEqual(await self.names(), [b"a"])

    async def test_watch_of_prefix_sees_nothing(self: Any) -> None:
        """etcd3gw 2.7.0 encodes the end of the range twice: ``watch_prefix_once`` always timed out."""
        async with self.etcd.watcher(self.keys(b"a")) as watch:
            await self.fill(b"b", b"a1")
            self.assertEqual((await watch.__anext__()).key, self.key(b"a1"))


@on_every_server()
class Watches(_Faults):
    """Faults of watches."""

    async def test_put_and_delete_look_alike(self: Any) -> None:
        """txaioetcd's callback gets an equal ``KeyValue`` for a put of nothing and for a deletion."""
        async with self.etcd.watcher(self.key(b"a")) as watch:
            await self.etcd.set(self.key(b"a"), b"")
            await self.etcd.delete(self.key(b"a"))
            put, delete = await watch.__anext__(), await watch.__anext__()
        self.assertEqual((put.type, put.is_put, put.is_delete, put.value), ("put", True, False, b""))
        self.assertEqual((delete.type, delete.is_put, delete.is_delete), ("delete", False, True))

    async def test_previous_is_dropped(self: Any) -> None:
        """txaioetcd asks for it, and does not hand it over."""
        async with self.etcd.watcher(self.key(b"a"), return_previous=True) as watch:
            await self.fill(b"a")
            await self.etcd.delete(self.key(b"a"))
            self.assertIsNone((await watch.__anext__()).previous)
            self.assertEqual((await watch.__anext__()).previous.value, b"value of a")

    async def test_large_event_is_dropped(self: Any) -> None:
        """txaioetcd cuts each piece that arrives into lines: an event of 300 kB was lost, with a line in the log."""
        events: list[Any] = []
        watching = self.etcd.watch([self.key(b"a")], events.append, start_revision=None)
        await watching.watch.when_started()
        for size in (300_000, 10, 1_000_000):
            await self.etcd.set(self.key(b"a"), bytes(size))
        await self.until(lambda: len(events) == 3)
        self.assertEqual([len(event.value) for event in events], [300_000, 10, 1_000_000])
        watching.cancel()
        await watching

    async def test_compaction_is_silence(self: Any) -> None:
        """txaioetcd's watch of what was compacted says nothing for ever."""
        await self.fill(b"a", b"a")
        revision = (await self.etcd.get(self.key(b"a"))).header.revision
        await self.etcd.compact(revision)
        watching = self.etcd.watch([self.key(b"a")], lambda event: None, start_revision=1)
        with self.assertRaises(Compacted) as caught:
            await watching
        self.assertEqual(caught.exception.compact_revision, revision)

    async def test_ended_watch_keeps_its_connection(self: Any) -> None:
        """
        etcd leaves the stream open after it has ended the watch; Patroni had to close it itself. Natively it is one of
        many on a connection that is kept.
        """
        await self.fill(b"a", b"a")
        await self.etcd.compact((await self.etcd.get(self.key(b"a"))).header.revision)
        client = self.client()
        with self.assertRaises(Compacted):
            await client.watcher(self.key(b"a"), start_revision=1).when_stopped()
        # that of the client of the fixture is left
        await self.until(lambda: sockets_to(self.url) == 1 + self.kept())
        await self.until(self.has_no_streams)

    async def test_started_means_ended(self: Any) -> None:
        """txaioetcd's Deferred is documented to fire when the watch has started, and fires when it has ended."""
        watch = self.etcd.watcher(self.key(b"a"))
        self.assertIs(await watch.when_started(), watch)
        stopped = watch.when_stopped()
        await self.fill(b"a")
        self.assertEqual((await watch.__anext__()).key, self.key(b"a"))
        self.assertFalse(stopped.called)
        await watch.stop()
        self.assertIsNone(await stopped)

    async def test_many_watches_are_lost(self: Any) -> None:
        """Of 100 creations in one request over HTTP/1.1 the gateway served 42 to 100."""
        sets = [self.key(b"%03d" % number) for number in range(100)]
        async with self.etcd.watcher(sets) as watch:
            await self.until(lambda: self.has_watchers(100))
            await self.etcd.submit(Transaction(success=[OpSet(key, b"") for key in sets]))
            self.assertEqual(sorted([(await watch.__anext__()).key for _ in sets]), sets)
        await self.until(lambda: self.has_watchers(0))

    async def test_cancel_leaks_the_watch(self: Any) -> None:
        """dims/etcd3-gateway asked to cancel in another request: the watch stayed, and its connection."""
        for _ in range(10):
            watching = self.etcd.watch(self.key(b"a"), lambda event: None)
            await self.until(lambda: self.has_watchers(1))
            watching.cancel()
            self.assertIsNone(await watching)
            await self.until(lambda: self.has_watchers(0))
        await self.until(lambda: sockets_to(self.url) == self.kept())
        await self.until(self.has_no_streams)

    def kept(self: Any) -> int:
        """How many sockets a client keeps over which nothing but watches went."""
        return self.by_transport(0, 1)

    async def has_no_streams(self: Any) -> bool:
        """Whether the server has ended what carries watches, and does not only serve none over it."""
        return await self.sum_of("grpc_server_started_total{") == await self.sum_of("grpc_server_handled_total{")

    async def sum_of(self: Any, name: str) -> float:
        """A figure of ``/metrics``, of all streams of watches."""
        response = await HTTPClient(Agent(self.reactor)).get(self.web + "/metrics", reactor=self.reactor)
        lines = [line for line in (await response.text()).splitlines() if line.startswith(name)]
        return sum(float(line.split()[-1]) for line in lines if 'grpc_service="etcdserverpb.Watch"' in line)

    async def test_past_is_skipped_on_resume(self: Any) -> None:
        """node, jetcd and etcd3-py take the revision of the answer for seen, though the past was still to come."""
        await self.fill(b"a", b"a", b"a")
        first = (await self.etcd.get(self.key(b"a"))).kvs[0].create_revision
        watch = await self.etcd.watcher(self.key(b"a"), start_revision=first).when_started()
        self.assertIn(watch.revision, (first - 1, first + 2))
        revisions = [(await watch.__anext__()).mod_revision for _ in range(3)]
        self.assertEqual(revisions, [first, first + 1, first + 2])
        self.assertEqual(watch.revision, first + 2)
        await watch.stop()

    async def test_end_of_server_is_an_end(self: Any) -> None:
        """A server that stops ends the stream cleanly: several clients took that for the end of the watch."""
        process = await self.own_server()
        watch = await self.client(process.url).watcher(b"a").when_started()
        await process.restart()
        async with self.client(process.url) as etcd:
            revision = (await etcd.set(b"a", b"")).header.revision
        self.assertEqual((await self.soon(watch.__anext__())).mod_revision, revision)
        await watch.stop()

    async def test_callback_error_ends_the_watch(self: Any) -> None:
        """python-etcd3: what a callback raised ended the thread of all watches."""
        seen: list[bytes] = []

        def on_watch(event: Any) -> None:
            seen.append(event.value)
            raise ZeroDivisionError

        watching = self.etcd.watch([self.key(b"a")], on_watch)
        await watching.watch.when_started()
        for value in (b"1", b"2"):
            await self.etcd.set(self.key(b"a"), value)
        await self.until(lambda: len(seen) == 2)
        watching.cancel()
        await watching
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


@on_every_server()
class LeasesAndLocks(_Faults):
    """Faults of leases and locks."""

    async def test_lease_calls_do_not_exist(self: Any) -> None:
        """Four of the five lease calls of txaioetcd ask ``/v3alpha`` even where the others were mended."""
        lease = await self.etcd.lease(60)
        await self.etcd.set(self.key(b"a"), b"", lease)
        self.assertEqual(await lease.keys(), [self.key(b"a")])
        self.assertGreater((await lease.refresh()).revision, 0)
        await lease.revoke()
        self.assertEqual(await self.names(), [])

    async def test_time_to_live_is_text(self: Any) -> None:
        """txaioetcd's ``remaining()`` gives a ``str``."""
        async with self.etcd.lease(60) as lease:
            self.assertIs(type(await lease.remaining()), int)
            self.assertIs(type(lease.time_to_live), int)

    async def test_dead_lease_is_renewed(self: Any) -> None:
        """The server renews a lease that is gone with HTTP 200 and no time to live: jetcd took that for success."""
        lease = await self.etcd.lease(60)
        await self.etcd._calls.call(schema.LEASE_REVOKE, messages.LeaseRevokeRequest(lease.lease_id))
        with self.assertRaises(Expired):
            await lease.refresh()
        self.assertEqual(lease.state, "lost")
        for again in (lease.remaining, lease.keys, lease.refresh, lease.revoke):
            with self.assertRaises(Expired):
                await again()

    async def test_failed_attempts_leak_leases(self: Any) -> None:
        """etcd3gw, python-etcd3, aetcd: five attempts at a lock that was held left five leases."""
        # those of other tests may expire meanwhile
        before = set(await self.etcd.leases())
        async with self.etcd.lock(self.key(b"lock")):
            held = set(await self.etcd.leases()) - before
            self.assertEqual(len(held), 1)
            for _ in range(5):
                with self.assertRaises(Timeout):
                    await self.etcd.lock(self.key(b"lock"), timeout=0.05, time_to_live=600)
            # where the grant itself took longer the lease is revoked behind the back; none expires in the time we wait
            await self.until(lambda: self.has_no_new_lease([*before, *held]))
            self.assertEqual(len(await self.names()), 1)
        await self.until(lambda: self.has_no_new_lease([*before]))

    async def test_cancelled_attempt_leaks(self: Any) -> None:
        """... nor does one that was given up leave a lease, a key or a watch."""
        async with self.etcd.lock(self.key(b"lock")):
            held = await self.etcd.leases()
            waiting = self.etcd.lock(self.key(b"lock"), time_to_live=600)
            await self.until(lambda: self.has_watchers(1))
            waiting.cancel()
            with self.assertRaises(CancelledError):
                await waiting
            await self.until(lambda: self.has_no_new_lease(held))
            await self.until(lambda: self.has_watchers(0))
            self.assertEqual(len(await self.names()), 1)

    async def test_block_is_entered_without_the_lock(self: Any) -> None:
        """etcd3gw, python-etcd3, aetcd: ``with lock`` ignores that it was not acquired, and enters the block."""
        async with self.etcd.lock(self.key(b"lock")):
            with self.assertRaises(Timeout):
                async with self.etcd.lock(self.key(b"lock"), timeout=0.05):
                    self.fail("entered while another one holds it")

    async def test_given_up_waiter_gets_the_lock(self: Any) -> None:
        """jetcd: a waiter whose time had run out became the owner later, and nobody knew."""
        first = await self.etcd.lock(self.key(b"lock"))
        with self.assertRaises(Timeout):
            await self.etcd.lock(self.key(b"lock"), timeout=0.05)
        third = self.etcd.lock(self.key(b"lock"))
        await first.release()
        await (await third).release()
        self.assertEqual(await self.names(), [])

    async def test_lock_vanishes(self: Any) -> None:
        """python-etcd3, aetcd, etcetra: nobody renews the lease, so that the lock is lost after its time to live."""
        lock = await self.etcd.lock(self.key(b"lock"), time_to_live=10)
        lease = lock._place.lease
        deadline = lease.deadline
        await self.until(lambda: lease.deadline > deadline)
        self.assertTrue(lock.is_held)
        await lock.release()

    async def test_waiter_is_left_at_the_server(self: Any) -> None:
        """Of etcd's own lock, the server takes a waiter back when its connection is dropped."""
        await self.etcd._calls.call(schema.LOCK, messages.LockRequest(self.key(b"lock")))
        client = self.client()
        waiting = client._calls.call(schema.LOCK, messages.LockRequest(self.key(b"lock")))
        await self.until(lambda: self.has_keys(2))
        await client.close()
        with self.assertRaises(Closed):
            await waiting
        await self.until(lambda: self.has_keys(1))

    async def has_keys(self: Any, count: int) -> bool:
        return len(await self.names()) == count
