"""
Where to ask.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txetcd._endpoints import LONGEST_QUARANTINE, QUARANTINE, Endpoints

A, B, C = "http://a", "http://b", "http://c"


def endpoints(*urls: str, chance: float = 0.5) -> Endpoints:
    made = Endpoints(urls, lambda: 0.0)
    made._random = lambda: chance
    return made


class EndpointsTests(SynchronousTestCase):
    def test_first_by_chance(self) -> None:
        """Many clients are spread over all; the order is kept, from the first one on."""
        for chance, order in ((0.0, (A, B, C)), (0.34, (B, C, A)), (0.999, (C, A, B))):
            self.assertEqual(Endpoints((A, B, C), lambda chance=chance: chance).urls, order)
        self.assertEqual(Endpoints((A, A, B), lambda: 0.0).urls, (A, B))

    def test_stays(self) -> None:
        """One is asked as long as it works."""
        known = endpoints(A, B, C)
        for now in range(5):
            self.assertEqual(known.pick(now), A)
            known.worked(A)

    def test_leaves_what_failed(self) -> None:
        """And does not come back before the next one fails."""
        known = endpoints(A, B, C)
        known.failed(A, 0.0, 1.0)
        self.assertEqual(known.pick(1.0), B)
        self.assertEqual((known.is_healthy(A, 1.0), known.is_healthy(B, 1.0)), (False, True))
        self.assertTrue(known.is_healthy(A, 1.0 + QUARANTINE))
        self.assertEqual(known.pick(100.0), B)
        known.failed(B, 100.0, 100.0)
        self.assertEqual(known.pick(100.0), C)
        known.failed(C, 100.0, 100.0)
        self.assertEqual(known.pick(100.0), A)

    def test_tried(self) -> None:
        """Whatever was not tried comes first, be it in quarantine."""
        known = endpoints(A, B, C)
        known.failed(A, 0.0, 1.0)
        self.assertEqual(known.pick(1.0, {B}), C)
        self.assertEqual(known.pick(1.0, {B, C}), A)
        self.assertEqual(known.pick(1.0, {A, B, C}), B)

    def test_all_failed(self) -> None:
        """The one whose quarantine ends first."""
        known = endpoints(A, B)
        known.failed(A, 0.0, 1.0)
        known.failed(B, 1.0, 1.1)
        self.assertEqual(known.pick(1.2), A)

    def test_quarantine_grows(self) -> None:
        """Up to a limit; whatever has worked once begins anew."""
        known = endpoints(A, B)
        now, lengths = 0.0, []
        for _ in range(7):
            now += 100.0
            known.failed(A, now, now)
            lengths.append(next(s / 1000 for s in range(20_000) if known.is_healthy(A, now + s / 1000)))
        self.assertEqual(lengths, [QUARANTINE, 1.0, 2.0, 4.0] + 3 * [LONGEST_QUARANTINE])
        known.worked(A)
        self.assertTrue(known.is_healthy(A, now))
        known.failed(A, now + 1, now + 1)
        self.assertTrue(known.is_healthy(A, now + 1 + QUARANTINE))

    def test_together(self) -> None:
        """Of the calls that were under way when it failed one counts."""
        known = endpoints(A, B)
        for _ in range(100):
            known.failed(A, 0.5, 1.0)
        self.assertTrue(known.is_healthy(A, 1.0 + QUARANTINE))

    def test_chance(self) -> None:
        """Those who leave together do not come back together."""
        for chance, seconds in ((0.0, 0.8), (1.0, 1.2)):
            known = endpoints(A, chance=chance)
            known.failed(A, 0.0, 0.0)
            self.assertFalse(known.is_healthy(A, QUARANTINE * seconds - 0.001))
            self.assertTrue(known.is_healthy(A, QUARANTINE * seconds + 0.001))

    def test_replace(self) -> None:
        """What is known of those that stay is kept."""
        known = endpoints(A, B)
        known.failed(A, 0.0, 1.0)
        known.replace([C, A])
        self.assertEqual(known.urls, (A, C))
        self.assertEqual(known.pick(1.0), C)
        # what is said of one that is gone does not matter
        known.failed(B, 2.0, 2.0)
        known.worked(B)
        self.assertEqual(len(known), 2)

    @given(
        st.lists(st.tuples(st.sampled_from("abcde"), st.booleans(), st.floats(0, 10)), max_size=60),
        st.sets(st.sampled_from("abcde")),
    )
    def test_always_one(self, happenings: list[tuple[str, bool, float]], tried: set[str]) -> None:
        """Whatever happens, there is one to ask: one that was not tried, and that is healthy, if there is."""
        known = Endpoints("abcde", lambda: 0.5)
        now = 0.0
        for url, has_worked, seconds in happenings:
            now += seconds
            if has_worked:
                known.worked(url)
            else:
                known.failed(url, now, now)
        picked = known.pick(now, tried)
        self.assertEqual(sorted(known.urls), list("abcde"))
        self.assertTrue(picked not in tried or len(tried) == 5)
        candidates = set("abcde") - tried or set("abcde")
        if any(known.is_healthy(url, now) for url in candidates):
            self.assertTrue(known.is_healthy(picked, now))
