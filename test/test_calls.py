"""
The level between the verbs and a transport: default deadlines, located errors, what may have happened, closing.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from test.fakes import URL, Case, fake_way
from txetcd import _schema as schema
from txetcd._calls import DEFAULT_TIMEOUT, GRACE, Calls
from txetcd._messages import Empty, LeaseGrantRequest, LeaseRevokeRequest
from txetcd._protobuf import encode
from txetcd.errors import (
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNKNOWN,
    Closed,
    DeadlineExceeded,
    Error,
    LeaderChanged,
    NoLeader,
    NoSpace,
    OutcomeUnknown,
    ProtocolViolation,
    RequestCanceled,
    RequestTooLarge,
    ResourceError,
    Timeout,
    Unavailable,
    Unimplemented,
)
from txetcd.ops import OpGet, OpSet

PUT = OpSet(b"key", b"value")
GET = OpGet(b"key")

PUT_SIZE = len(encode(schema.PUT, PUT))
TOO_LARGE = "grpc: received message larger than max ({} vs. 2)"


class CallTests(Case):
    """Calls and streams."""

    def test_call(self) -> None:
        """It goes to the endpoint, with the deadline it was given, or the default."""
        for timeout, used in ((None, DEFAULT_TIMEOUT), (3.0, 3.0)):
            answered = self.calls.call(schema.PUT, PUT, timeout)
            call = self.transport.next(schema.PUT)
            self.assertEqual((call.endpoint, call.request, call.timeout), (URL, PUT, used))
            self.assertEqual(self.calls.in_flight, 1)
            call.reply("the answer")
            self.assertEqual(self.successResultOf(answered), "the answer")
            self.assertEqual(self.calls.in_flight, 0)

    def test_client_timeout(self) -> None:
        """The client's default."""
        calls = Calls(fake_way(self.clock, self.transport), 77.0)
        self.assertEqual(calls.timeout, 77.0)
        answered = calls.call(schema.PUT, PUT)
        self.assertEqual(self.transport.next(schema.PUT).timeout, 77.0)
        self.cancelled(answered)

    def test_cancel(self) -> None:
        """Cancelling reaches the transport."""
        answered = self.calls.call(schema.PUT, PUT)
        call = self.transport.next(schema.PUT)
        self.cancelled(answered)
        self.assertTrue(call.is_cancelled)
        self.assertEqual(self.calls.in_flight, 0)

    def test_located(self) -> None:
        """Each error says which call it was, and where."""
        answered = self.calls.call(schema.RANGE, GET)
        self.transport.next(schema.RANGE).reply(NoLeader(UNAVAILABLE, "etcdserver: no leader"))
        error = self.failureResultOf(answered, NoLeader).value
        self.assertEqual(str(error), f"KV.Range at {URL}: etcdserver: no leader")

    def test_stream(self) -> None:
        """A stream goes to the endpoint; its error is located, and is none of a write."""
        messages: list[Any] = []
        stream = self.calls.stream(schema.SNAPSHOT, Empty(), messages.append)
        (fake,) = self.transport.streams
        fake.say(1, 2)
        self.assertEqual(messages, [1, 2])
        fake.end(ProtocolViolation("odd"))
        error = self.failureResultOf(stream.ended, ProtocolViolation).value
        self.assertEqual((error.call, error.endpoint, error.maybe_applied), ("Maintenance.Snapshot", URL, False))

    def test_maybe_applied(self) -> None:
        """A write says of each error whether it may have been applied; a read never may."""
        lost = "connection error: desc ="
        for error, of_write, maybe_applied in (
            (NoLeader(UNAVAILABLE, "etcdserver: no leader"), NoLeader, False),
            (LeaderChanged(UNAVAILABLE, "etcdserver: leader changed"), OutcomeUnknown, True),
            (Unavailable(UNAVAILABLE, "error reading from server: EOF"), OutcomeUnknown, True),
            (Unavailable(UNAVAILABLE, f'{lost} "transport: Error while dialing: dial tcp"'), Unavailable, False),
            (Unavailable(UNAVAILABLE, f'{lost} "error reading from server: EOF"'), OutcomeUnknown, True),
            (NoSpace(RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"), NoSpace, True),
            (Unavailable(None, "not sent: refused"), Unavailable, False),
            (DeadlineExceeded(4, "context deadline exceeded"), OutcomeUnknown, True),
            (RequestCanceled(1, "context canceled"), OutcomeUnknown, True),
            (Error(UNKNOWN, "whatever"), OutcomeUnknown, True),
            (Error(9, "whatever"), Error, False),
            (RequestTooLarge(3, "etcdserver: request is too large"), RequestTooLarge, False),
            (RequestTooLarge(RESOURCE_EXHAUSTED, TOO_LARGE.format(PUT_SIZE)), RequestTooLarge, False),
            (ResourceError(RESOURCE_EXHAUSTED, "no room"), OutcomeUnknown, True),
            (Unimplemented(12, "no such call"), Unimplemented, False),
            (ProtocolViolation("odd"), ProtocolViolation, True),
            (Timeout("not sent"), Timeout, False),
            (Timeout("sent", True), Timeout, True),
            (OutcomeUnknown(None, "lost"), OutcomeUnknown, True),
            (Closed(), Closed, False),
        ):
            answered = self.calls.call(schema.PUT, PUT)
            self.transport.next(schema.PUT).reply(error)
            found = self.failureResultOf(answered).value
            self.assertIs(type(found), of_write, error)
            self.assertIs(found.maybe_applied, maybe_applied, error)
            self.assertEqual((found.code, found.message), (error.code, error.message))
            self.assertEqual((found.call, found.endpoint), ("KV.Put", URL))
            if found is not error:
                self.assertIs(found.__cause__, error)
        answered = self.calls.call(schema.RANGE, GET)
        self.transport.next(schema.RANGE).reply(ProtocolViolation("odd"))
        self.assertIs(self.failureResultOf(answered, ProtocolViolation).value.maybe_applied, False)

    def test_too_large_for_whom(self) -> None:
        """A gateway that has no room for the answer says the same as a server that has none for the request."""
        text = TOO_LARGE.format(PUT_SIZE + 1)
        answered = self.calls.call(schema.PUT, PUT)
        self.transport.next(schema.PUT).reply(RequestTooLarge(RESOURCE_EXHAUSTED, text))
        error = self.failureResultOf(answered, OutcomeUnknown).value
        self.assertEqual((error.maybe_applied, error.code, error.message), (True, RESOURCE_EXHAUSTED, text))
        self.assertIs(type(error.__cause__), ResourceError)
        answered = self.calls.call(schema.RANGE, GET)
        self.transport.next(schema.RANGE).reply(RequestTooLarge(RESOURCE_EXHAUSTED, text))
        error = self.failureResultOf(answered).value
        self.assertEqual((type(error), error.maybe_applied, error.message), (ResourceError, False, text))

    def test_late_write_that_may_be_repeated(self) -> None:
        """That a call may be repeated does not mean that it was not applied: a lease is revoked, its keys are gone."""
        answered = self.calls.call(schema.LEASE_REVOKE, LeaseRevokeRequest(7), 1.0)
        self.transport.next(schema.LEASE_REVOKE)
        self.clock.advance(1)
        self.assertIs(self.failureResultOf(answered, Timeout).value.maybe_applied, True)


    def test_cannot_be_sent(self) -> None:
        """What a transport raises is what the call fails with; nothing of it is left, and closing works."""
        self.patch(self.transport, "call", self.cannot)
        for raised in (UnicodeError, KeyboardInterrupt):
            self.raised: type[BaseException] = raised
            for urls in ((URL,), (URL, "http://other")):
                for options in ({}, {"endpoint": URL}):
                    self.calls = Calls(fake_way(self.clock, self.transport, *urls))
                    self.failureResultOf(self.calls.call(schema.PUT, PUT, **options), raised)
                    self.failureResultOf(self.calls.finish(schema.LEASE_GRANT, LeaseGrantRequest(10)), raised)
                    self.assertEqual(self.calls.in_flight, 0)
                    self.successResultOf(self.calls.close())

    def cannot(self, *args: Any) -> None:
        raise self.raised("cannot be sent")

    def test_cannot_be_sent_again(self) -> None:
        """Later on, too, at once or after a pause."""
        for urls, pause in (((URL,), 0.1), ((URL, "http://other"), 0.0)):
            self.calls = Calls(fake_way(self.clock, self.transport, *urls, policy=lambda rounds: 0.1))
            answered = self.calls.call(schema.PUT, PUT)
            self.raised = UnicodeError
            patch = self.patch(self.transport, "call", self.cannot)
            self.transport.next(schema.PUT).reply(Unavailable(None, "not sent"))
            self.clock.advance(pause)
            patch.restore()
            self.failureResultOf(answered, UnicodeError)
            self.assertEqual(self.calls.in_flight, 0)


class CloseTests(Case):
    """Closing."""

    def test_close(self) -> None:
        """What is under way ends with Closed; what is asked then does at once, and nothing is sent."""
        call, stream = self.calls.call(schema.PUT, PUT), self.calls.stream(schema.SNAPSHOT, Empty(), print)
        self.assertFalse(self.calls.is_closed)
        self.successResultOf(self.calls.close())
        self.assertTrue(self.calls.is_closed and self.transport.is_closed)
        self.failureResultOf(call, Closed)
        self.failureResultOf(stream.ended, Closed)
        sent = len(self.transport.calls), len(self.transport.streams)
        for deferred in (self.calls.call(schema.PUT, PUT), self.calls.finish(schema.LEASE_GRANT, Empty())):
            error = self.failureResultOf(deferred, Closed).value
            self.assertEqual(error.endpoint, URL)
            self.assertIs(error.maybe_applied, False)
        stream = self.calls.stream(schema.SNAPSHOT, Empty(), print)
        stream.pause()
        stream.resume()
        stream.abort()
        self.failureResultOf(stream.ended, Closed)
        self.assertEqual((len(self.transport.calls), len(self.transport.streams)), sent)
        self.successResultOf(self.calls.close())

    def test_closers(self) -> None:
        """Whoever wants to know is told, once; or not, if he has ceased to."""
        told: list[str] = []
        self.calls.at_close(lambda: told.append("one"))
        forget = self.calls.at_close(lambda: told.append("two"))
        forget()
        forget()
        self.calls.close()
        self.calls.close()
        self.assertEqual(told, ["one"])

    def test_closer_that_takes_back_another(self) -> None:
        """A closer may take others back; they are not called then."""
        told: list[int] = []
        forgets: list[Any] = []

        def closer(number: int) -> None:
            told.append(number)
            for forget in forgets:
                forget()

        for number in range(5):
            forgets.append(self.calls.at_close(lambda number=number: closer(number)))
        self.calls.close()
        self.assertEqual(len(told), 1)

    def test_ended_meanwhile(self) -> None:
        """What somebody has ended, who was told of another one, is let alone: he goes on with something else."""
        for is_to_finish in (False, True):
            self.calls = Calls(fake_way(self.clock, self.transport))
            ask = self.calls.finish if is_to_finish else self.calls.call
            other: Deferred[str] = Deferred()
            first = ask(schema.PUT, PUT).addErrback(lambda _: other)
            second = ask(schema.PUT, PUT).addErrback(lambda _: first.cancel())
            self.calls.close()
            self.calls.close()
            self.clock.advance(0)
            self.successResultOf(second)
            self.assertNoResult(first)
            other.callback("went on")
            self.assertEqual(self.successResultOf(first), "went on")

    def finishing(self) -> tuple[Deferred[Any], Deferred[Any]]:
        """A call that should be finished, and the closing that waits for it."""
        finishing = self.calls.finish(schema.LEASE_GRANT, LeaseGrantRequest(10))
        closed = self.calls.close()
        self.assertNoResult(closed)
        self.assertNoResult(finishing)
        return finishing, closed

    def test_finish(self) -> None:
        """What must not stop half-way is waited for, and what follows from it as well."""
        finishing, closed = self.finishing()
        following = finishing.addCallback(lambda _: self.calls.finish(schema.LEASE_REVOKE, LeaseRevokeRequest(1)))
        self.transport.next(schema.LEASE_GRANT).reply("granted")
        self.clock.advance(0)
        self.assertNoResult(closed)
        self.assertFalse(self.transport.is_closed)
        self.transport.next(schema.LEASE_REVOKE).reply("revoked")
        self.assertEqual(self.successResultOf(following), "revoked")
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assertTrue(self.transport.is_closed)

    def test_finish_takes_too_long(self) -> None:
        """But not for ever."""
        finishing, closed = self.finishing()
        self.clock.advance(GRACE)
        self.failureResultOf(finishing, Closed)
        self.successResultOf(closed)
        self.failureResultOf(self.calls.finish(schema.LEASE_GRANT, Empty()), Closed)
        self.clock.advance(0)

    def test_finish_fails(self) -> None:
        """Whatever comes of it."""
        finishing, closed = self.finishing()
        self.transport.next(schema.LEASE_GRANT).reply(Unavailable(None, "lost"))
        self.failureResultOf(finishing, Unavailable)
        self.clock.advance(0)
        self.successResultOf(closed)

    def test_finish_is_cancelled(self) -> None:
        """Or if it is cancelled."""
        finishing, closed = self.finishing()
        self.cancelled(finishing)
        self.clock.advance(0)
        self.successResultOf(closed)

    def test_cancel_close(self) -> None:
        """Whoever closes may lose his patience: everything ends at once."""
        finishing, closed = self.finishing()
        closed.cancel()
        self.failureResultOf(finishing, Closed)
        closed.addErrback(lambda failure: failure.trap(CancelledError))
        self.successResultOf(closed)
        self.clock.advance(0)

    def test_close_again(self) -> None:
        """Closing once more ends everything at once."""
        finishing, closed = self.finishing()
        again = self.calls.close()
        self.failureResultOf(finishing, Closed)
        self.clock.advance(0)
        self.successResultOf(closed)
        self.successResultOf(again)

    def test_close_again_and_cancel(self) -> None:
        """Of several that wait, one loses his patience: the others do not wait any longer either."""
        finishing, closed = self.finishing()
        again = self.calls.close()
        closed.cancel()
        finishing.addErrback(lambda failure: failure.trap(Closed))
        closed.addErrback(lambda failure: failure.trap(CancelledError))
        self.clock.advance(0)
        self.successResultOf(closed)
        self.successResultOf(again)

    def test_several(self) -> None:
        """All of them are waited for."""
        pending = [self.calls.finish(schema.LEASE_GRANT, LeaseGrantRequest(10)) for _ in range(3)]
        closed = self.calls.close()
        for one in pending:
            self.assertNoResult(closed)
            self.transport.next(schema.LEASE_GRANT).reply("granted")
            self.successResultOf(one)
        self.clock.advance(0)
        self.successResultOf(closed)

    def test_other_calls_end_at_once(self) -> None:
        """What need not be finished is not waited for."""
        other, stream = self.calls.call(schema.PUT, PUT), self.calls.stream(schema.SNAPSHOT, Empty(), print)
        finishing, closed = self.finishing()
        is_over = other.called, stream.ended.called
        self.transport.waiting[-1].reply("granted")
        self.successResultOf(finishing)
        self.clock.advance(0)
        self.successResultOf(closed)
        for one in (other, stream.ended):
            self.failureResultOf(one, Closed)
        self.assertEqual(is_over, (True, True))
