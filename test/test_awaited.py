"""
A Deferred that must be waited for: whether it was, however that is done.
"""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks, succeed
from twisted.trial.unittest import SynchronousTestCase

from txetcd.recipes._awaited import Awaited


async def with_await(awaited: Awaited[Any]) -> Any:
    return await awaited


@inlineCallbacks
def with_yield(awaited: Awaited[Any]) -> Any:
    return (yield awaited)


@inlineCallbacks
def with_yield_from(awaited: Awaited[Any]) -> Any:
    return (yield from awaited)


WAYS: list[Callable[[Awaited[Any]], Deferred[Any]]] = [
    lambda awaited: Deferred.fromCoroutine(with_await(awaited)),
    with_yield,
    with_yield_from,
    lambda awaited: awaited.addCallback(lambda result: result),
    lambda awaited: awaited.addBoth(lambda result: result),
    lambda awaited: succeed(None).addCallback(lambda _: awaited),
    lambda awaited: gatherResults([awaited]).addCallback(lambda results: results[0]),
]
"""All that can be done to have the result of one."""


class AwaitedTests(SynchronousTestCase):
    """Whether it was taken."""

    def setUp(self) -> None:
        self.cancelled: list[Deferred[Any]] = []

    def make(self) -> Awaited[Any]:
        return Awaited("get()", self.cancelled.append)

    def test_taken(self) -> None:
        """Before it has fired, or afterwards; also ``None``."""
        for take in WAYS:
            for value in (b"1", None):
                waiting, fired = self.make(), self.make()
                taken = take(waiting)
                self.assertFalse(waiting.is_taken)
                waiting.callback(value)
                self.assertEqual((waiting.is_taken, self.successResultOf(taken)), (True, value))
                fired.callback(value)
                self.assertFalse(fired.is_taken)
                taken = take(fired)
                self.assertEqual((fired.is_taken, self.successResultOf(taken)), (True, value))

    def test_taken_when_it_is_told(self) -> None:
        """Whoever waits for it may look at that at once."""
        for take in WAYS:
            awaited, seen = self.make(), []
            take(awaited).addCallback(lambda _, awaited=awaited, seen=seen: seen.append(awaited.is_taken))
            awaited.callback(None)
            self.assertEqual(seen, [True])

    def test_failure(self) -> None:
        for take in WAYS[:-1]:
            awaited = self.make()
            awaited.errback(KeyError("no"))
            self.assertFalse(awaited.is_taken)
            self.failureResultOf(take(awaited), KeyError)
            self.assertTrue(awaited.is_taken)

    def test_truth(self) -> None:
        """It has none."""
        awaited = self.make()
        error = self.assertRaises(TypeError, bool, awaited)
        self.assertEqual(
            str(error), "get() is a Deferred, and not yet what it fires with: it lacks 'await', or 'yield'"
        )

    def test_cancel(self) -> None:
        awaited = self.make()
        self.assertFalse(hasattr(awaited, "result"))
        awaited.addErrback(lambda _: None)
        awaited.cancel()
        self.assertEqual((self.cancelled, awaited.called), ([awaited], True))
