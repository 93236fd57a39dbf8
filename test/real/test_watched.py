"""
What watches tell real tests is compared with what ``etcdctl`` sees: a test fails if they do not agree.
"""

from __future__ import annotations

from typing import Any

from test.heard import Heard
from test.real.base import RealCase, on_newest_server
from txetcd import Event, KeySet, OpSet, Transaction


@on_newest_server()
class Compared(RealCase):
    """Also if the test itself has seen nothing wrong."""

    async def complaint(self: Any) -> str:
        """What would fail the test; at its end, nobody complains any more."""
        (witness,) = self.witnesses
        error = await self.assertFailure(self.soon(self.compare(witness)), self.failureException)
        witness.heard.clear()
        return str(error)

    async def test_doubled(self: Any) -> None:
        async with self.etcd.watcher(self.keys()) as watch:
            await self.etcd.set(self.key(b"a"), b"")
            event = await watch.__anext__()
        self.witnesses[0].heard[0].event(event)
        self.assertIn(f"unique: put {self.key(b'a')!r} at {event.mod_revision} came twice", await self.complaint())

    async def test_missed(self: Any) -> None:
        """Of two watches, the other one of which is well; and though it was compacted away since."""
        begin = (await self.etcd.set(self.key(b"a"), b"")).header.revision
        async with self.etcd.watcher(self.keys(), start_revision=begin) as watch:
            await self.etcd.transact(Transaction([], [OpSet(self.key(name), b"") for name in (b"a", b"b")]))
            end = (await self.etcd.set(self.key(b"a"), b"")).header.revision
            events = [await watch.__anext__() for _ in range(4)]
        await self.etcd.compact(end)
        bad = Heard([KeySet(self.key(b"a"))], begin, ())
        for event in (events[0], events[-1]):
            bad.event(event)
        self.witnesses[0].heard.append(bad)
        complaint = await self.complaint()
        self.assertIn("reliable: ", complaint)
        self.assertEqual(complaint.count("the watch of"), complaint.count(repr(bad)))

    async def test_missed_of_a_callback(self: Any) -> None:
        """Of which nobody knows but the watch, which says that it is further."""
        events: list[Event] = []
        async with self.etcd.watch(self.key(b"a"), events.append):
            await self.etcd.set(self.key(b"a"), b"")
            await self.until(lambda: events)
        self.witnesses[0].heard[0].bookmark((await self.etcd.set(self.key(b"a"), b"")).header.revision)
        self.assertIn("did not come", await self.complaint())
