"""
Endpoints that keep silent.
"""

from __future__ import annotations

import gc
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred

from test.fakes import FakeCall
from test.test_attempts import FOUND, GET, GRANT, PUT, A, AttemptsCase, B, C, lost, refused, status
from txetcd import _schema as schema
from txetcd._endpoints import QUARANTINE
from txetcd._silence import GRACE, LONG_GRACE, LONGEST_SILENCE, QUESTION, SILENCE
from txetcd.errors import Error, NoLeader, OutcomeUnknown, PermissionDenied, Timeout
from txetcd.ops import OpGet
from txetcd.values import Header

LOOK = SILENCE / 2


def no_leader() -> Error:
    return NoLeader(14, "etcdserver: no leader")


def denied() -> Error:
    return PermissionDenied(7, "etcdserver: permission denied")


class SilenceCase(AttemptsCase):
    """Calls to three endpoints, of which one keeps silent."""

    def setUp(self) -> None:
        super().setUp()
        self.use(A, B, C, patience=SILENCE)

    def wait(self, seconds: float) -> None:
        """In steps, as a clock only calls what was there when it was advanced."""
        for _ in range(round(seconds / LOOK)):
            # a little more, as sums of such numbers are a little less
            self.clock.advance(LOOK + 1e-6)

    @property
    def questions(self) -> list[FakeCall]:
        return [call for call in self.transport.waiting if call.request is QUESTION]

    @property
    def doubted(self) -> list[str]:
        """Who is asked a question."""
        return [question.endpoint for question in self.questions]

    def at(self, url: str) -> FakeCall:
        (question,) = [question for question in self.questions if question.endpoint == url]
        return question

    def alive(self, url: str) -> FakeCall:
        """What shows that it is."""
        (question,) = [call for call in self.transport.waiting if call.rpc is schema.STATUS and call.metadata.is_urgent]
        self.assertEqual(question.endpoint, url)
        return question

    def cut_off(self, url: str = A, other: str = B) -> None:
        """It turns out that one is alive, but cut off: it is left."""
        self.at(other).reply(FOUND)
        self.alive(url).reply(status(77))
        self.clock.advance(GRACE)

    def asked_at(self, request: Any) -> list[str]:
        """Where this was asked, and is waited for."""
        return [call.endpoint for call in self.transport.waiting if call.request is request]

    def end(self, *answers: Deferred[Any]) -> None:
        for answer in answers:
            self.cancelled(answer)
        self.assertEqual((self.transport.waiting, self.clock.getDelayedCalls()), ([], []))


class SilentTests(SilenceCase):
    """What waits at a silent endpoint goes on elsewhere."""

    def test_moves_on(self) -> None:
        """As soon as another one has answered what the silent one does not, and within a second."""
        answered = self.get(10.0)
        self.wait(LOOK)
        self.assertEqual(self.doubted, [])
        self.wait(LOOK)
        self.assertEqual(self.doubted, [A, B])
        for question in self.questions:
            self.assertIs(question.rpc, schema.RANGE)
            self.assertTrue(question.metadata.is_urgent and question.metadata.requires_leader)
        self.cut_off()
        self.assertEqual((self.asked_at(GET), self.doubted, self.transport.left), ([B], [], [A]))
        self.assertLess(self.clock.seconds(), 1.0)
        self.transport.waiting[0].reply(FOUND)
        self.assertIs(self.successResultOf(answered), FOUND)
        # and so do those that come after it
        self.assertFalse(self.way.endpoints.is_healthy(A, self.clock.seconds()))
        pending = self.get()
        self.assertEqual(self.asked_at(GET), [B])
        self.end(pending)

    def test_large_answer(self) -> None:
        """One whose answer is arriving, and takes its time, is not silent; unless nothing more comes of it."""
        answered = self.get(60.0)
        self.wait(SILENCE)
        self.transport.heard[A] = self.clock.seconds() + LOOK
        self.cut_off()
        self.assertEqual((self.asked_at(GET), self.doubted, self.transport.left), ([A], [], []))
        self.wait(2 * SILENCE - LOOK)
        self.assertEqual(self.doubted, [])
        self.wait(2 * LOOK)
        self.assertEqual(self.doubted, [A, B])
        self.cut_off()
        self.assertEqual((self.asked_at(GET), self.transport.left), ([B], [A]))
        self.end(answered)

    def test_says_why(self) -> None:
        """It is waited for no longer than for the other one, if it says that it cannot serve."""
        for error in (no_leader(), refused(), lost()):
            self.use(A, B, C, patience=SILENCE)
            pending = self.get()
            self.wait(SILENCE)
            self.at(A).reply(error)
            self.assertEqual((self.asked_at(GET), self.doubted), ([A], [B]))
            self.at(B).reply(FOUND)
            self.assertEqual((self.asked_at(GET), self.doubted), ([B], []))
            self.end(pending)

    def test_says_why_later(self) -> None:
        """... be it after the other one has answered, and by whatever it is asked then."""
        for which in (self.at, self.alive):
            self.use(A, B, C, patience=SILENCE)
            pending = self.get()
            self.wait(SILENCE)
            self.at(B).reply(FOUND)
            which(A).reply(lost())
            self.assertEqual((self.asked_at(GET), self.doubted), ([B], []))
            self.end(pending)

    def test_hangs(self) -> None:
        """One that does not even show that it is alive has more time."""
        pending = self.get(10.0)
        self.wait(SILENCE)
        self.at(B).reply(FOUND)
        self.clock.advance(LONG_GRACE - 0.1)
        self.assertEqual(self.asked_at(GET), [A])
        self.clock.advance(0.2)
        self.assertEqual((self.asked_at(GET), self.transport.left), ([B], [A]))
        self.end(pending)

    def test_once(self) -> None:
        """It may be the call itself that makes them silent."""
        pending = self.get(100.0)
        self.wait(SILENCE)
        self.cut_off()
        self.wait(SILENCE)
        self.cut_off(B, C)
        self.assertEqual((self.asked_at(GET), self.transport.left), ([B], [A, B]))
        self.end(pending)

    def test_all_that_may(self) -> None:
        """A write that was sent waits on: it could be done later than what is written next."""
        answers = [
            self.put(), self.put(is_idempotent=True), self.calls.call(schema.LEASE_GRANT, GRANT), self.get(),
            self.calls.call(schema.RANGE, OpGet(b"there"), endpoint=A),
        ]
        self.wait(SILENCE)
        self.cut_off()
        self.assertEqual(self.asked_at(PUT), [A, A])
        self.assertEqual((self.asked_at(GRANT), self.asked_at(GET)), ([B], [B]))
        self.assertEqual([call.endpoint for call in self.transport.waiting].count(A), 3)
        self.end(*answers)

    def test_in_doubt_to_the_end(self) -> None:
        """What was sent twice has perhaps happened, whatever the last one says."""
        answered = self.calls.call(schema.LEASE_GRANT, GRANT, 1.0)
        self.wait(SILENCE)
        self.cut_off()
        while not answered.called:
            for call in list(self.transport.waiting):
                call.reply(refused())
            self.clock.advance(LOOK)
        self.assertIs(self.failureResultOf(answered, OutcomeUnknown).value.maybe_applied, True)

    def test_not_twice(self) -> None:
        """What must not be done twice stays, whatever the table says."""
        pending = self.calls.finish(schema.LEASE_GRANT, GRANT, is_idempotent=False)
        self.wait(SILENCE)
        self.cut_off()
        self.assertEqual((self.asked_at(GRANT), self.transport.left), ([A], [A]))
        self.end(pending)

    def test_fails_at_once(self) -> None:
        """It shows at once that it is not alive."""
        pending = self.get()
        self.wait(SILENCE)
        ask = self.transport.call

        def refuse(*arguments: Any) -> Deferred[Any]:
            answer = ask(*arguments)
            if arguments[1] is schema.STATUS:
                self.alive(A).reply(refused())
            return answer

        patch = self.patch(self.transport, "call", refuse)
        self.at(B).reply(FOUND)
        patch.restore()
        self.assertEqual((self.asked_at(GET), self.transport.left), ([B], [A]))
        self.end(pending)

    def test_who_leaves_ends_another(self) -> None:
        """The policy is the user's, and may cancel what else would leave."""
        answers: list[Deferred[Any]] = []
        self.use(A, B, C, patience=SILENCE, policy=lambda rounds: answers[1].cancel() or 0.1)
        answers.append(self.get())
        self.fail_at(A, schema.RANGE, refused())
        answers.append(self.get())
        self.assertEqual(self.asked_at(GET), [B, B])
        self.wait(SILENCE)
        self.cut_off(B, C)
        self.failureResultOf(answers[1], CancelledError)
        self.assertEqual(self.asked_at(GET), [])
        self.end(answers[0])

    def test_who_is_told_ends_another(self) -> None:
        """Whoever is told of a call that was not sent may cancel those that wait."""
        first, second = self.get(), self.get()
        self.wait(SILENCE)
        self.patch(self.transport, "leave", lambda _: second.cancel())
        self.cut_off()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.asked_at(GET), [B])
        self.end(first)

    def test_says_so(self) -> None:
        """It is told of, if it is the last that is known."""
        self.use(A, B, patience=SILENCE, policy=lambda rounds: None)
        answered = self.get(10.0)
        self.wait(SILENCE)
        self.cut_off()
        self.fail_at(B, schema.RANGE, no_leader())
        error = self.failureResultOf(answered, NoLeader).value
        self.assertEqual((error.endpoint, error.attempts), (f"{A}, {B}", 2))
        self.assertIn(f"at {A}: no answer for 0.6 seconds, while others gave one", str(error))

    def test_before_it_is_known(self) -> None:
        """Also while it is asked of which cluster it is."""
        self.way.identity.check(C, status(77))
        pending = self.put()
        self.assertEqual(self.next(A, schema.STATUS).endpoint, A)
        self.wait(SILENCE)
        self.cut_off()
        # of which it is known by now
        self.assertEqual(self.next(B, schema.PUT).endpoint, B)
        self.end(pending)

    def test_another_cluster(self) -> None:
        """... is nothing to compare with; nor is one that does not say which it is."""
        self.way.identity.check(A, status(77))
        for answer, is_asked_again in ((attrs.evolve(FOUND, header=Header(1, 5, 99, 8)), False), (denied(), True)):
            self.use(A, B, patience=SILENCE, identity=self.way.identity)
            pending = self.get(100.0)
            self.wait(SILENCE)
            self.at(B).reply(answer)
            self.clock.advance(LONG_GRACE)
            self.assertEqual((self.asked_at(GET), self.transport.left), ([A], []))
            self.assertEqual(self.way.endpoints.is_healthy(B, self.clock.seconds() - LONG_GRACE), is_asked_again)
            self.end(pending)

    def test_fault_of_ours(self) -> None:
        """It is not lost."""
        pending = self.get()
        self.wait(SILENCE)
        self.at(B).answer.errback(ZeroDivisionError())
        self.end(pending)
        self.transport.calls.clear()
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_third(self) -> None:
        """One that cannot be compared with is left out from then on."""
        for failure in (refused(), Timeout("late"), no_leader()):
            self.use(A, B, C, patience=SILENCE)
            pending = self.get()
            self.wait(SILENCE)
            self.at(B).reply(failure)
            self.assertEqual(self.doubted, [])
            self.assertFalse(self.way.endpoints.is_healthy(B, self.clock.seconds()))
            self.wait(LOOK)
            self.assertEqual(self.doubted, [A, C])
            self.end(pending)

    def test_all_silent(self) -> None:
        """Then nothing is known, and they are waited for."""
        pending = self.get(10.0)
        self.wait(SILENCE)
        self.assertEqual(self.doubted, [A, B])
        self.clock.advance(4.0)
        self.assertEqual((self.asked_at(GET), self.transport.left), ([A], []))
        self.assertTrue(self.way.endpoints.is_healthy(A, self.clock.seconds()))
        self.end(pending)


class BusyTests(SilenceCase):
    """One that is only busy is left alone."""

    def test_answers_the_question(self) -> None:
        """It is doubted less often from then on, until it has answered something else."""
        pending = self.get(100.0)
        times = []
        while len(times) < 7:
            self.wait(LOOK)
            if self.questions:
                times.append(self.clock.seconds())
                self.at(A).reply(FOUND)
                self.assertEqual(self.questions, [])
        pauses = [later - earlier for earlier, later in zip([0.0, *times], times)]
        wanted = [min(SILENCE * 2**count, LONGEST_SILENCE) for count in range(7)]
        self.assertEqual([round(pause / LOOK) for pause in pauses], [round(seconds / LOOK) for seconds in wanted])
        another = self.get(100.0)
        self.transport.waiting[-1].reply(FOUND)
        self.successResultOf(another)
        self.wait(SILENCE + LOOK)
        self.assertEqual((self.doubted, self.asked_at(GET)), ([A, B], [A]))
        self.end(pending)

    def test_answers_later(self) -> None:
        """It has a moment more than the other one."""
        pending = self.get()
        self.wait(SILENCE)
        self.at(B).reply(FOUND)
        self.alive(A).reply(status(77))
        self.clock.advance(GRACE / 2)
        self.at(A).reply(FOUND)
        self.clock.advance(LONG_GRACE)
        self.assertEqual((self.asked_at(GET), self.transport.left), ([A], []))
        self.end(pending)

    def test_refuses(self) -> None:
        """The user may not ask this, which is an answer."""
        pending = self.get()
        self.wait(SILENCE)
        self.at(A).reply(denied())
        self.assertEqual((self.questions, self.asked_at(GET)), ([], [A]))
        self.end(pending)

    def test_refused_elsewhere(self) -> None:
        pending = self.get()
        self.wait(SILENCE)
        self.at(B).reply(denied())
        self.alive(A).reply(denied())
        self.clock.advance(GRACE)
        self.assertEqual(self.asked_at(GET), [B])
        self.end(pending)

    def test_answers_others(self) -> None:
        """Then only that call takes long."""
        pending = self.put(100.0)
        for _ in range(20):
            answered = self.get()
            self.transport.waiting[-1].reply(FOUND)
            self.successResultOf(answered)
            self.clock.advance(LOOK)
            self.assertEqual(self.questions, [])
        self.end(pending)

    def test_answers_by_itself(self) -> None:
        """What takes no majority says nothing of one."""
        pending = self.get(100.0)
        self.clock.advance(LOOK)
        for rpc, request in ((schema.STATUS, schema), (schema.RANGE, OpGet(b"key", serializable=True))):
            answered = self.calls.call(rpc, request)
            self.transport.waiting[-1].reply(FOUND)
            self.successResultOf(answered)
        self.clock.advance(LOOK)
        self.assertEqual(self.doubted, [A, B])
        self.end(pending)


class AloneTests(SilenceCase):
    """Nobody is asked who cannot help."""

    def test_one_endpoint(self) -> None:
        self.use(A, patience=SILENCE)
        pending = self.get(100.0)
        self.wait(10 * SILENCE)
        self.assertEqual(self.questions, [])
        self.end(pending)

    def test_only_there(self) -> None:
        """What can be asked at one endpoint only."""
        pending = self.calls.call(schema.RANGE, GET, 100.0, endpoint=A)
        self.wait(10 * SILENCE)
        self.assertEqual(self.questions, [])
        self.end(pending)

    def test_others_have_failed(self) -> None:
        """The others have failed lately."""
        self.use(A, B, patience=SILENCE)
        for at in (0.0, 0.1):
            self.way.endpoints.failed(B, at, at)
        pending = self.get(100.0)
        self.wait(SILENCE)
        self.assertEqual(self.questions, [])
        self.wait(2 * QUARANTINE)
        self.assertEqual(self.doubted, [A, B])
        self.end(pending)

    def test_replaced(self) -> None:
        """Its calls end as they would; nothing is kept of it."""
        pending = self.get(100.0)
        self.way.endpoints.replace([B, C])
        self.wait(SILENCE)
        self.assertEqual(self.doubted, [A, B])
        self.cut_off()
        self.assertEqual(self.asked_at(GET), [B])
        self.end(pending)


class EndTests(SilenceCase):
    """Nothing goes on when nobody waits."""

    def test_answered_meanwhile(self) -> None:
        """What was asked of an endpoint where nobody waits any more does not matter; others wait elsewhere."""
        first = self.get(100.0)
        self.wait(SILENCE)
        self.way.endpoints.failed(A, self.clock.seconds(), self.clock.seconds())
        second = self.get(100.0)
        self.transport.next(schema.RANGE).reply(FOUND)
        self.successResultOf(first)
        self.clock.advance(LOOK)
        self.at(A).reply(FOUND)
        self.end(second)

    def test_answered(self) -> None:
        answered = self.get()
        self.wait(SILENCE)
        self.at(B).reply(FOUND)
        self.transport.next(schema.RANGE).reply(FOUND)
        self.assertIs(self.successResultOf(answered), FOUND)
        self.end()

    def test_cancelled(self) -> None:
        answered = self.get()
        self.wait(SILENCE)
        answered.cancel()
        self.failureResultOf(answered, CancelledError)
        self.end()

    def test_moved_and_cancelled(self) -> None:
        """Who cancels the call that has left means it."""
        answered = self.get()
        self.wait(SILENCE)
        self.cut_off()
        answered.cancel()
        self.failureResultOf(answered, CancelledError)
        self.end()
