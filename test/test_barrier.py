"""
A barrier: who waits, and who does not.
"""

from __future__ import annotations

from test.store import StoreCase
from txetcd import (
    AlreadyExists,
    Barrier,
    Closed,
    LeaseNotFound,
    OpGet,
    OutcomeUnknown,
    PermissionDenied,
    Session,
    Timeout,
)
from txetcd._schema import TXN
from txetcd.errors import SessionExpired, Unavailable


class BarrierCase(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.barrier = Barrier(self.client, b"gate")

    def hold(self) -> int:
        return int(self.done(self.barrier.hold()))


class HoldTests(BarrierCase):
    """To hold it, and to release it."""

    def test_held_and_released(self) -> None:
        self.assertEqual(self.hold(), 2)
        self.assertEqual(list(self.store.keys), [b"gate"])
        self.assertIsNone(self.done(self.barrier.release()))
        self.assertEqual(self.store.keys, {})
        self.assertIsNone(self.done(self.barrier.release()))

    def test_held_already(self) -> None:
        self.hold()
        error = self.failed(self.barrier.hold(), AlreadyExists)
        self.assertEqual((error.current.key, error.message), (b"gate", "the barrier b'gate' is held"))
        self.failed(Barrier(self.peer().client, b"gate").hold(), AlreadyExists)

    def test_answer_is_lost(self) -> None:
        """It is known by what was written who holds it."""
        holding = self.barrier.hold()
        self.peers[0].lose_answer(self.transport.next(TXN))
        self.assertEqual(self.done(holding), 2)

    def test_held_meanwhile_by_somebody_else(self) -> None:
        holding = self.barrier.hold()
        self.peers[0].delay(self.transport.next(TXN))
        self.store.put(b"gate")
        self.failed(holding, AlreadyExists)

    def test_cannot_be_found_out(self) -> None:
        holding = self.barrier.hold()
        self.peers[0].lose_answer(self.transport.next(TXN))
        self.peers[0].refuse(self.transport.next(TXN))
        self.assertTrue(self.failed(holding, OutcomeUnknown).maybe_applied)

    def test_refused(self) -> None:
        self.store.refused = b"gate"
        self.failed(self.barrier.hold(), PermissionDenied)
        holding = self.barrier.hold()
        self.peers[0].refuse(self.transport.next(TXN))
        self.failed(holding, Unavailable)

    def test_released_late(self) -> None:
        """What was not answered does not open it when somebody holds it anew."""
        self.hold()
        releasing = self.barrier.release()
        self.peers[0].answer(self.transport.waiting[0])
        self.peers[0].delay(self.transport.next(TXN))
        self.failed(releasing, OutcomeUnknown)
        self.store.delete(b"gate")
        self.store.put(b"gate")
        self.clients.arrive()
        self.assertEqual(list(self.store.keys), [b"gate"])


class SessionTests(BarrierCase):
    """It ends with a session."""

    def setUp(self) -> None:
        super().setUp()
        self.session = self.done(Session(self.client).start())
        self.barrier = Barrier(self.client, b"gate", session=self.session)

    def test_ends(self) -> None:
        self.hold()
        waiting = Barrier(self.peer().client, b"gate").wait()
        self.settle()
        self.assertNoResult(waiting)
        self.done(self.session.close())
        self.assertIsNone(self.successResultOf(waiting))

    def test_session_is_gone(self) -> None:
        self.store.expire(self.session.lease_id)
        self.failed(self.barrier.hold(), LeaseNotFound)
        self.settle(30)
        self.failed(self.barrier.hold(), SessionExpired)
        self.assertEqual(self.store.keys, {})


class WaitTests(BarrierCase):
    """To wait at it."""

    def test_not_held(self) -> None:
        self.assertIsNone(self.done(self.barrier.wait()))

    def test_all_are_let_through(self) -> None:
        self.hold()
        waiting = [Barrier(self.peer().client, b"gate").wait() for _ in range(5)]
        self.settle()
        self.assert_pending(*waiting)
        self.barrier.release()
        self.settle()
        self.assertEqual([self.successResultOf(one) for one in waiting], [None] * 5)

    def test_held_anew_at_once(self) -> None:
        """Also by somebody who is quicker than the watch, or while nothing is heard."""
        for meanwhile in (lambda: None, self.store.compact):
            self.hold()
            waiting = self.barrier.wait()
            self.settle()
            self.peers[0].is_away = True
            self.store.delete(b"gate")
            revision = self.store.put(b"gate")
            meanwhile()
            for stream in self.transport.live:
                stream.end(Unavailable(None, "lost"))
            self.settle(3)
            self.assertNoResult(waiting)
            self.peers[0].is_away = False
            self.settle(3)
            self.assertIsNone(self.successResultOf(waiting))
            self.assertEqual(self.store.answer(OpGet(b"gate")).kvs[0].mod_revision, revision)
            self.done(self.barrier.release())

    def test_outage(self) -> None:
        self.hold()
        waiting = self.barrier.wait()
        self.peers[0].refuse(self.transport.waiting[0])
        self.settle(3)
        self.assertNoResult(waiting)
        self.barrier.release()
        self.settle()
        self.assertIsNone(self.successResultOf(waiting))

    def test_timeout(self) -> None:
        self.hold()
        waiting = self.barrier.wait(timeout=5)
        self.settle(6)
        message = "the barrier b'gate' was not released within 5 seconds"
        self.assertIn(message, str(self.failed(waiting, Timeout)))
        self.assertEqual(self.transport.live, [])

    def test_cancelled(self) -> None:
        self.hold()
        waiting = self.barrier.wait()
        self.settle()
        self.cancelled(waiting)
        self.assertEqual(self.transport.live, [])

    def test_client_is_closed(self) -> None:
        self.hold()
        waiting = self.barrier.wait()
        self.settle()
        self.client.close()
        self.failed(waiting, Closed)


class MisuseTests(BarrierCase):
    def test_what_cannot_be(self) -> None:
        for kind, message, arguments, options in (
            (TypeError, "name must be bytes, not str; encode it: 'gate'.encode()", ("gate",), {}),
            (ValueError, "name must not be empty", (b"",), {}),
            (ValueError, "name must not end in '/', but is b'gate/'", (b"gate/",), {}),
            (TypeError, "session must be a Session or None, not int", (b"gate",), {"session": 5}),
            (RuntimeError, "<Session NEW> has not begun", (b"gate",), {"session": Session(self.client)}),
        ):
            error = self.assertRaises(kind, Barrier, self.client, *arguments, **options)
            self.assertEqual(str(error), message)
        self.assertRaises(ValueError, self.barrier.wait, 0)
        self.assertEqual(repr(self.barrier), "<Barrier b'gate'>")
        self.assertEqual(self.transport.calls, [])
