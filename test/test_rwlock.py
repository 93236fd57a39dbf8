"""
The lock of readers and writers: whom each waits for.
"""

from __future__ import annotations

from test.test_lock import KEY, RANGE, TXN, LockCase, WatchResponse, deleted, entered, found, header, key
from txetcd import KeySet, ReadWriteLock
from txetcd.errors import LockReleased
from txetcd.ops import OpGet

READER, WRITER = KEY.replace(b"/", b"/read/"), KEY.replace(b"/", b"/write/")
ALL, WRITERS = KeySet(b"name/", prefix=True), KeySet(b"name/write/", prefix=True)


class RWCase(LockCase):
    """One of them, of a client on a fake."""

    def setUp(self) -> None:
        super().setUp()
        self.rwlock = ReadWriteLock(self.client, b"name")


class ReadingTests(RWCase):
    """A reader waits for the older writers alone."""

    def test_free(self) -> None:
        reader = self.rwlock.reading()
        acquiring = reader.acquire()
        self.grant()
        request = self.transport.next(TXN).request
        oldest = OpGet(WRITERS, limit=1, sort_order="ASCEND", sort_target="CREATE")
        self.assertEqual((request.success[0].key, request.success[1]), (READER, oldest))
        self.transport.next(TXN).reply(entered(20, None))
        self.assertIs(self.successResultOf(acquiring), reader)
        self.assertEqual((reader.key, reader.revision, repr(reader)), (READER, 20, "<Reading b'name' HELD>"))
        released = reader.release()
        self.revoked()
        self.successResultOf(released)
        self.failureResultOf(reader.release(), LockReleased)

    def test_waits_for_the_youngest_of_the_older_writers(self) -> None:
        acquiring = self.rwlock.reading().acquire()
        self.grant()
        self.transport.next(TXN).reply(entered(20, key(b"name/write/1", 15)))
        request = self.transport.next(RANGE).request
        self.assertEqual((request.key, request.max_create_revision, request.sort_order), (WRITERS, 19, "DESCEND"))
        self.transport.next(RANGE).reply(found(key(b"name/write/2", 17)))
        (stream,) = self.transport.live
        self.assertEqual(stream.request.key, KeySet(b"name/write/2"))
        stream.say(WatchResponse(header(50), created=True), deleted(b"name/write/2", 60))
        self.transport.next(RANGE).reply(found())
        self.transport.next(RANGE).reply(found(key(READER, 20)))
        reader = self.successResultOf(acquiring)
        reader.release()
        self.revoked()


class WritingTests(RWCase):
    """A writer waits for all that are older."""

    def test_free(self) -> None:
        writer = self.rwlock.writing()
        acquiring = writer.acquire()
        self.grant()
        request = self.transport.next(TXN).request
        oldest = OpGet(ALL, limit=1, sort_order="ASCEND", sort_target="CREATE")
        self.assertEqual((request.success[0].key, request.success[1]), (WRITER, oldest))
        self.transport.next(TXN).reply(entered(20, key(WRITER, 20)))
        self.successResultOf(acquiring)
        self.assertEqual(repr(writer), "<Writing b'name' HELD>")
        writer.release()
        self.revoked()

    def test_waits_for_the_youngest_of_all_that_are_older(self) -> None:
        acquiring = self.rwlock.writing().acquire()
        self.grant()
        self.transport.next(TXN).reply(entered(20, key(b"name/read/1", 15)))
        request = self.transport.next(RANGE).request
        self.assertEqual((request.key, request.max_create_revision), (ALL, 19))
        self.transport.next(RANGE).reply(found(key(b"name/read/2", 17)))
        self.assertEqual(self.transport.live[0].request.key, KeySet(b"name/read/2"))
        self.cancelled(acquiring)
        self.revoked()
        self.assert_idle()


class BothTests(RWCase):
    """What they have in common."""

    def test_each_call_is_another_contender(self) -> None:
        self.assertIsNot(self.rwlock.reading(), self.rwlock.reading())
        self.assertEqual(repr(self.rwlock), "<ReadWriteLock b'name'>")

    def test_contenders(self) -> None:
        asked = self.rwlock.contenders()
        self.assertEqual(self.transport.next(RANGE).request.key, ALL)
        self.transport.next(RANGE).reply(found(key(READER, 20)))
        self.assertEqual(self.successResultOf(asked), [key(READER, 20)])

    def test_try(self) -> None:
        """A reader may have it while others read, a writer may not."""
        trying = self.rwlock.reading().try_acquire()
        self.assertEqual(self.transport.next(RANGE).request.key, WRITERS)
        self.transport.next(RANGE).reply(found(key(b"name/write/1", 15)))
        self.assertIs(self.successResultOf(trying), False)
        trying = self.rwlock.writing().try_acquire()
        self.assertEqual(self.transport.next(RANGE).request.key, ALL)
        self.transport.next(RANGE).reply(found(key(b"name/read/1", 15)))
        self.assertIs(self.successResultOf(trying), False)

    def test_misuse(self) -> None:
        for name, wanted in ((b"", ValueError), (b"name/", ValueError), ("name", TypeError)):
            self.assertRaises(wanted, ReadWriteLock, self.client, name)
        self.assertRaises(ValueError, ReadWriteLock, self.client, b"name", time_to_live=0)
