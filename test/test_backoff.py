"""
When something is tried again.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txetcd._backoff import Backoff, in_seconds, jittered, never, quorum


class PolicyTests(SynchronousTestCase):
    def test_backoff(self) -> None:
        """It doubles, up to a limit, however long that goes on."""
        policy = Backoff()
        self.assertEqual([policy(rounds) for rounds in (1, 2, 3, 6, 7, 10_000)], [0.025, 0.05, 0.1, 0.8, 1.0, 1.0])
        self.assertEqual([Backoff(1.0, 3.0)(rounds) for rounds in (1, 2, 3)], [1.0, 2.0, 3.0])

    def test_never(self) -> None:
        self.assertIsNone(never(1))

    def test_jitter(self) -> None:
        """A fifth more or less."""
        self.assertEqual([round(jittered(10.0, chance), 6) for chance in (0.0, 0.5, 1.0)], [8.0, 10.0, 12.0])

    def test_quorum(self) -> None:
        """The majority of as many."""
        self.assertEqual([quorum(size) for size in (1, 2, 3, 4, 5)], [1, 2, 2, 3, 3])

    def test_in_words(self) -> None:
        self.assertEqual(
            [in_seconds(seconds) for seconds in (1, 1.0, 0.5, 10 / 3, 10, 1.001)],
            ["1 second", "1 second", "0.5 seconds", "3.33 seconds", "10 seconds", "1 second"],
        )
