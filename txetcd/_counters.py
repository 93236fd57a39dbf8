"""
What was asked, how often, how long it took, and what came of it.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import attrs
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from .values import CallRecord, CallStats

OnCall = Callable[[CallRecord], Any]

_log = Logger()


@attrs.define
class _Counter:
    """See :class:`~txetcd.values.CallStats`."""

    calls: int = 0
    retries: int = 0
    seconds: float = 0.0
    failures: dict[str, int] = attrs.field(factory=dict)


class Counters:
    """
    Counts calls that have ended.

    :param on_call: told of each.
    """

    def __init__(self, on_call: Optional[OnCall] = None) -> None:
        self._on_call = on_call
        self._by_call: dict[str, _Counter] = {}

    def count(self, call: str, endpoint: str, seconds: float, retries: int, result: Any) -> None:
        """A call has ended with *result*."""
        counter = self._by_call.get(call)
        if counter is None:
            counter = self._by_call[call] = _Counter()
        counter.calls += 1
        counter.retries += retries
        counter.seconds += seconds
        outcome = "ok"
        if isinstance(result, Failure):
            outcome = "CancelledError" if result.check(CancelledError) else type(result.value).__name__
            counter.failures[outcome] = counter.failures.get(outcome, 0) + 1
        if self._on_call is not None:
            self._tell(self._on_call, CallRecord(call, endpoint, outcome, seconds, retries))

    def _tell(self, on_call: OnCall, record: CallRecord) -> None:
        try:
            on_call(record)
        except BaseException:
            # also what is no Exception: the call that is reported here has yet to end
            _log.failure("{on_call} failed on {record}", on_call=on_call, record=record)

    def snapshot(self) -> dict[str, CallStats]:
        """What has been counted so far, by call."""
        return {
            call: CallStats(counter.calls, counter.retries, dict(counter.failures), counter.seconds)
            for call, counter in self._by_call.items()
        }
