"""
Leases that are kept alive over one stream.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from test.fakes import URL, Case, FakeStream, fake_client
from txetcd._keepalives import KeepAlives
from txetcd._messages import LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse
from txetcd._schema import LEASE_GRANT, LEASE_KEEP_ALIVE
from txetcd.errors import Closed, NoLeader, ProtocolViolation, Timeout, Unavailable
from txetcd.lease import Lease
from txetcd.values import Header


def renewed(lease_id: int, time_to_live: int = 60) -> LeaseKeepAliveResponse:
    return LeaseKeepAliveResponse(Header(revision=10), lease_id, time_to_live)


class KeepAliveCase(Case):
    """
    :ivar keep_alives: what is tested.
    """

    def setUp(self) -> None:
        super().setUp()
        self.transport.is_duplex = True
        self.keep_alives = KeepAlives(self.calls, self.clock)

    @property
    def stream(self) -> FakeStream:
        (stream,) = self.transport.live
        return stream

    def renew(self, lease_id: int, seconds: float = 5.0) -> Deferred[Any]:
        return self.keep_alives.renew(lease_id, seconds)

    def asked(self) -> list[int]:
        """The leases that were renewed on the stream."""
        return [request.lease_id for request in (self.stream.request, *self.stream.sent)]


class StreamTests(KeepAliveCase):
    """One for all."""

    def test_one_stream(self) -> None:
        first, second = self.renew(1), self.renew(2)
        self.assertEqual((self.stream.rpc, self.asked()), (LEASE_KEEP_ALIVE, [1, 2]))
        self.stream.say(renewed(2), renewed(1))
        self.assertEqual(self.successResultOf(first), renewed(1))
        self.assertEqual(self.successResultOf(second), renewed(2))
        third = self.renew(1)
        self.assertEqual(self.asked(), [1, 2, 1])
        self.stream.say(renewed(1, 0))
        self.assertEqual(self.successResultOf(third).time_to_live, 0)

    def test_several_of_one_lease(self) -> None:
        """They are answered in their order, whether somebody still waits or not."""
        first, second, third = (self.renew(1) for _ in range(3))
        self.cancelled(first)
        self.stream.say(renewed(1, 10), renewed(1, 20))
        self.assertEqual(self.successResultOf(second).time_to_live, 20)
        self.assertNoResult(third)
        self.stream.say(renewed(1, 30))
        self.assertEqual(self.successResultOf(third).time_to_live, 30)

    def test_lost(self) -> None:
        """Whoever waits learns it, each by an error of his own; the next one opens another stream."""
        ends = ((Unavailable(None, "lost"), Unavailable), (NoLeader(14, "no leader"), NoLeader), (None, Unavailable))
        for error, wanted in ends:
            waiting = [self.renew(1), self.renew(2), self.renew(1)]
            self.stream.end(error)
            errors = [self.failureResultOf(one, wanted).value for one in waiting]
            self.assertEqual(len(set(map(id, errors))), 3)
            self.assertEqual({(one.call, one.endpoint) for one in errors}, {("Lease.LeaseKeepAlive", URL)})
        again = self.renew(1)
        self.stream.say(renewed(1))
        self.successResultOf(again)
        self.assertEqual(len(self.transport.streams), 4)

    def test_silent(self) -> None:
        """A stream on which nobody is answered is left, and so is the endpoint."""
        first = self.renew(1, 5.0)
        self.clock.advance(1)
        second = self.renew(2, 20.0)
        stream = self.stream
        self.clock.advance(4)
        error = self.failureResultOf(first, Timeout).value
        self.assertIn("Lease.LeaseKeepAlive at http://etcd.example:2379: sent, but no answer within 5 sec", str(error))
        self.failureResultOf(second, Timeout)
        self.assertTrue(stream.is_aborted)
        self.assertEqual(list(self.calls.stats().endpoints.values()), [False])

    def test_silent_after_the_clock_was_set_back(self) -> None:
        """What was answered before that is no sign of life, whatever time it was."""
        self.clock.advance(3600)
        first = self.renew(1)
        self.stream.say(renewed(1))
        self.successResultOf(first)
        self.clock.rightNow -= 3600
        second, stream = self.renew(1), self.stream
        self.clock.advance(5)
        self.failureResultOf(second, Timeout)
        self.assertTrue(stream.is_aborted)
        self.assertEqual(list(self.calls.stats().endpoints.values()), [False])

    def test_silent_about_one(self) -> None:
        """As long as others are answered, only that one is given up; a late answer to it is nobody else's."""
        first = self.renew(1, 5.0)
        self.clock.advance(1)
        second = self.renew(2, 5.0)
        self.stream.say(renewed(2))
        self.successResultOf(second)
        self.clock.advance(4)
        self.failureResultOf(first, Timeout)
        again = self.renew(1, 5.0)
        self.stream.say(renewed(1, 10))
        self.assertNoResult(again)
        self.stream.say(renewed(1, 20))
        self.assertEqual(self.successResultOf(again).time_to_live, 20)
        self.assertEqual(list(self.calls.stats().endpoints.values()), [True])

    def test_not_of_etcd(self) -> None:
        """It answers what was not asked."""
        first = self.renew(1)
        stream = self.stream
        stream.say(renewed(3))
        error = self.failureResultOf(first, ProtocolViolation).value
        self.assertIn("it is about lease 3, which was not asked for", str(error))
        self.assertTrue(stream.is_aborted)
        self.assertEqual(list(self.calls.stats().endpoints.values()), [False])

    def test_lost_at_once(self) -> None:
        def lost(*arguments: Any) -> FakeStream:
            stream = FakeStream(*arguments)
            stream.end(Unavailable(None, "refused"))
            return stream

        self.patch(self.transport, "stream", lost)
        self.failureResultOf(self.renew(1), Unavailable)

    def test_closed(self) -> None:
        flying = self.renew(1)
        self.calls.close()
        self.failureResultOf(flying, Closed)
        self.failureResultOf(self.renew(1), Closed)

    def test_nobody_is_left(self) -> None:
        """The stream ends with the last lease that is kept alive."""
        self.keep_alives.join()
        self.keep_alives.join()
        flying = self.renew(1)
        stream = self.stream
        self.keep_alives.leave()
        self.assertFalse(stream.is_aborted)
        self.keep_alives.leave()
        self.assertTrue(stream.is_aborted)
        self.failureResultOf(flying, Closed)
        self.keep_alives.join()
        again = self.renew(1)
        self.stream.say(renewed(1))
        self.successResultOf(again)
        self.keep_alives.leave()

    def test_nothing_was_renewed(self) -> None:
        self.keep_alives.join()
        self.keep_alives.leave()
        self.assertEqual(self.transport.streams, [])

    def test_where_not_more_can_be_asked(self) -> None:
        """Each is a call."""
        self.transport.is_duplex = False
        renewing = self.renew(1)
        call = self.transport.next(LEASE_KEEP_ALIVE)
        self.assertEqual((call.request, call.timeout), (LeaseKeepAliveRequest(1), 5.0))
        call.reply(renewed(1))
        self.assertEqual(self.successResultOf(renewing), renewed(1))


class LeaseTests(KeepAliveCase):
    """The leases themselves."""

    def setUp(self) -> None:
        super().setUp()
        self.client = fake_client(self.clock, self.transport)
        self.calls = self.client._calls

    def lease(self, lease_id: int) -> Lease:
        """One that is kept alive."""
        granting = self.client.lease(60, lease_id, keep_alive=True)
        self.transport.next(LEASE_GRANT).reply(LeaseGrantResponse(Header(revision=10), lease_id, 60))
        return self.successResultOf(granting)

    def test_kept_alive(self) -> None:
        """Three times within the time to live; one lease that is lost does not stop the others."""
        first, second = self.lease(1), self.lease(2)
        stream = self.stream
        for _ in range(5):
            stream.say(renewed(1), renewed(2))
            self.clock.advance(20)
        self.assertEqual(self.asked(), [1, 2] * 6)
        stream.say(renewed(1, 0), renewed(2))
        self.assertEqual((first.state, second.state), ("lost", "alive"))
        self.clock.advance(20)
        self.assertEqual(self.asked(), [*[1, 2] * 6, 2])
        second.let_go()
        self.assertTrue(stream.is_aborted)

    def test_stream_lost(self) -> None:
        """They are renewed on another one, half a second later."""
        lease = self.lease(1)
        self.stream.end(Unavailable(None, "lost"))
        self.assertEqual(self.transport.live, [])
        self.clock.advance(0.5)
        self.stream.say(renewed(1))
        self.clock.advance(59.9)
        self.assertEqual(lease.state, "alive")
        lease.let_go()

    def test_deadline_counts_from_sending(self) -> None:
        """Whenever the answer comes."""
        lease = self.lease(1)
        self.stream.say(renewed(1))
        began = lease.deadline
        self.clock.advance(20)
        self.clock.advance(10)
        self.stream.say(renewed(1))
        self.assertEqual(lease.deadline, began + 20)
        lease.let_go()

    def test_lost_in_silence(self) -> None:
        """A server that does not answer any more: the lease is lost when its time is over, and not later."""
        lease = self.lease(1)
        lost = lease.when_lost()
        self.stream.say(renewed(1))
        self.clock.pump([0.5] * 119)
        self.assertNoResult(lost)
        self.clock.pump([0.5] * 2)
        self.successResultOf(lost)
        self.assertEqual(self.transport.live, [])
        self.assertEqual(len(self.transport.streams), 2)
