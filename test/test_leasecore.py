"""
What is believed of a lease, and when it is renewed: never too long, and never too short.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import attrs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from txetcd._leasecore import ALIVE, EXPIRED, LEFT, LOST, REVOKED, SUSPECT, UNKNOWN, LeaseCore, is_in_doubt
from txetcd.errors import Error, LeaseNotFound, OutcomeUnknown, PermissionDenied, Timeout, TooManyRequests, Unavailable

RESTING, KEPT = "resting", "kept"
TERM = 30
NOW = 10.0
"""When everything happens to a lease that was asked for at 0."""

LATE = 30.0
"""When its time is over, to the moment."""

IN_DOUBT = (Unavailable(None, "lost"), OutcomeUnknown(None, "sent"), Timeout("late"), TooManyRequests(8, "busy"), None)
REFUSED = (PermissionDenied(7, "permission denied"), Error(2, "whatever"), ZeroDivisionError())


def not_found(maybe_applied: bool = False) -> LeaseNotFound:
    error = LeaseNotFound(5, "requested lease not found")
    error.maybe_applied = maybe_applied
    return error


Happening = Callable[[LeaseCore], Any]

HAPPENINGS: dict[str, Happening] = {
    "keep": LeaseCore.keep,
    "let go": LeaseCore.let_go,
    "leave": LeaseCore.leave,
    "looked at in time": lambda core: core.is_gone(LATE - 0.1),
    "looked at too late": lambda core: core.is_gone(LATE),
    "given back": lambda core: core.give_back(NOW),
    "given back too late": lambda core: core.give_back(LATE),
    "renewed": lambda core: core.renewed(TERM, NOW),
    "renewal finds nothing": lambda core: core.renewed(0, NOW),
    "found": lambda core: core.found(0),
    "not found": lambda core: core.found(-1),
    "revoked": LeaseCore.revoked,
    "revocation finds nothing": lambda core: core.not_revoked(not_found()),
    "revocation had been done": lambda core: core.not_revoked(not_found(maybe_applied=True)),
    "revocation in doubt": lambda core: core.not_revoked(None),
    "revocation refused": lambda core: core.not_revoked(REFUSED[0]),
    "taken back": lambda core: core.taken_back(True),
    "not taken back": lambda core: core.taken_back(False),
}

TABLE: dict[str, dict[str, tuple[str, str, Any]]] = {
    RESTING: {
        "keep": (KEPT, "", None),
        "let go": (RESTING, "", None),
        "leave": (LOST, LEFT, None),
        "looked at in time": (RESTING, "", False),
        "looked at too late": (RESTING, "", False),
        "given back": (RESTING, "", True),
        "given back too late": (RESTING, "", True),
        "renewed": (RESTING, "", True),
        "renewal finds nothing": (LOST, UNKNOWN, False),
        "found": (RESTING, "", True),
        "not found": (LOST, UNKNOWN, False),
        "revoked": (LOST, REVOKED, None),
        "revocation finds nothing": (LOST, UNKNOWN, None),
        "revocation had been done": (LOST, REVOKED, None),
        "revocation in doubt": (RESTING, "", None),
        "revocation refused": (RESTING, "", None),
        "taken back": (LOST, REVOKED, None),
        "not taken back": (RESTING, "", None),
    },
    KEPT: {
        "keep": (KEPT, "", None),
        "let go": (RESTING, "", None),
        "leave": (LOST, LEFT, None),
        "looked at in time": (KEPT, "", False),
        "looked at too late": (LOST, EXPIRED, True),
        "given back": (RESTING, "", True),
        "given back too late": (LOST, EXPIRED, False),
        "renewed": (KEPT, "", True),
        "renewal finds nothing": (LOST, UNKNOWN, False),
        "found": (KEPT, "", True),
        "not found": (LOST, UNKNOWN, False),
        "revoked": (LOST, REVOKED, None),
        "revocation finds nothing": (LOST, UNKNOWN, None),
        "revocation had been done": (LOST, REVOKED, None),
        "revocation in doubt": (KEPT, "", None),
        "revocation refused": (KEPT, "", None),
        "taken back": (LOST, REVOKED, None),
        "not taken back": (KEPT, "", None),
    },
}
"""What comes of a lease that is not lost: what it is then, why it is lost, and what is returned."""

AFTER_THE_END = {
    "looked at in time": True,
    "looked at too late": True,
    "given back": False,
    "given back too late": False,
    "renewed": False,
    "renewal finds nothing": False,
    "found": True,
    "not found": False,
}
"""What is returned of a lease that is lost; of all others, nothing."""

ENDS: dict[str, Happening] = {
    EXPIRED: lambda core: (core.keep(), core.is_gone(LATE)),
    LEFT: LeaseCore.leave,
    REVOKED: LeaseCore.revoked,
    UNKNOWN: lambda core: core.renewed(0, NOW),
}
"""How it is lost."""


def what_it_is(core: LeaseCore) -> str:
    return LOST if core.end else KEPT if core.is_kept else RESTING


class TableTests(SynchronousTestCase):
    """Everything that happens, in every state."""

    def core(self, state: str) -> LeaseCore:
        core = LeaseCore(TERM, 0.0, is_id_ours=True)
        if state == KEPT:
            core.keep()
        return core

    def test_all(self) -> None:
        for state, row in TABLE.items():
            self.assertEqual(set(row), set(HAPPENINGS))
            for name, wanted in row.items():
                core = self.core(state)
                returned = HAPPENINGS[name](core)
                self.assertEqual((what_it_is(core), core.end, returned), wanted, f"{name}, when {state}")

    def test_lost(self) -> None:
        """It remains so, for the first reason; but one that was only left can be revoked."""
        for end, lose in ENDS.items():
            for name, happens in HAPPENINGS.items():
                if name == "keep":
                    # nobody does
                    continue
                core = self.core(RESTING)
                lose(core)
                deadline = core.deadline
                returned = happens(core)
                wanted = True if end == LEFT and name.startswith("given back") else AFTER_THE_END.get(name)
                self.assertEqual((core.end, core.is_kept, returned), (end, False, wanted), f"{name}, when {end}")
                self.assertEqual((core.state(NOW), core.deadline, core.is_left), (LOST, deadline, end == LEFT))

    def test_given_back(self) -> None:
        """From when its owner has revoked it, whatever comes of that, until he keeps it again."""
        for name in ("given back", "given back too late"):
            for state in TABLE:
                core = self.core(state)
                self.assertFalse(core.is_given_back)
                HAPPENINGS[name](core)
                for other in ("let go", "revocation refused", "renewed", "revoked"):
                    HAPPENINGS[other](core)
                    self.assertTrue(core.is_given_back)
        core = self.core(KEPT)
        core.give_back(NOW)
        core.keep()
        self.assertFalse(core.is_given_back)

    def test_taken_back(self) -> None:
        """What was not renewed in time, or perhaps not revoked; unless somebody else may have the id."""
        takers = {"looked at too late", "given back too late", "revocation in doubt"}
        for is_id_ours in (True, False):
            for name, happens in HAPPENINGS.items():
                core = LeaseCore(TERM, 0.0, is_id_ours)
                core.keep()
                happens(core)
                self.assertEqual(core.is_taken_back, is_id_ours and name in takers, name)

    def test_taken_back_once(self) -> None:
        """As long as that takes; and again, if it was in vain, and there is another reason."""
        core = self.core(RESTING)
        for _ in range(2):
            core.not_revoked(None)
            core.not_revoked(None)
            self.assertTrue(core.is_taken_back)
            core.taken_back(False)
            self.assertFalse(core.is_taken_back)


class RevocationTests(SynchronousTestCase):
    """What a revocation fails with."""

    def test_in_doubt(self) -> None:
        for error in IN_DOUBT:
            core = LeaseCore(TERM, 0.0, is_id_ours=True)
            core.not_revoked(error)
            self.assertEqual((is_in_doubt(error), core.is_taken_back, core.end), (True, True, ""))

    def test_refused(self) -> None:
        for error in REFUSED:
            core = LeaseCore(TERM, 0.0, is_id_ours=True)
            core.not_revoked(error)
            self.assertEqual((is_in_doubt(error), core.is_taken_back, core.end), (False, False, ""))

    def test_not_found(self) -> None:
        self.assertFalse(is_in_doubt(not_found()))


class TimeTests(SynchronousTestCase):
    """Until when it is believed in, and when it is renewed."""

    def test_state(self) -> None:
        """From its deadline on it is suspect, to the moment; whether it is kept or not, until that is noticed."""
        for keep in (LeaseCore.keep, LeaseCore.let_go):
            core = LeaseCore(TERM, 2.0)
            keep(core)
            for now, state in ((2.0, ALIVE), (31.9, ALIVE), (32.0, SUSPECT), (1000.0, SUSPECT)):
                self.assertEqual((core.state(now), core.left(now)), (state, 32.0 - now))

    def test_renewed(self) -> None:
        """Counted from the sending, whenever it was answered; what was overtaken takes nothing back."""
        for sent, deadline in (((), 30.0), ((4.0,), 34.0), ((4.0, 9.0), 39.0), ((9.0, 4.0), 39.0), ((9.0, 9.0), 39.0)):
            core = LeaseCore(TERM, 0.0)
            for sent_at in sent:
                self.assertTrue(core.renewed(TERM, sent_at))
            self.assertEqual(core.deadline, deadline)

    def test_term(self) -> None:
        """A shorter one counts, and a longer one does not; then the former one does again."""
        core = LeaseCore(TERM, 0.0)
        for seconds, sent_at, deadline in ((6, 1.0, 7.0), (3600, 2.0, 32.0), (6, 1.5, 32.0), (30, 3.0, 33.0)):
            core.renewed(seconds, sent_at)
            self.assertEqual(core.deadline, deadline)

    def test_suspect_and_renewed(self) -> None:
        """Nobody was told that it is lost, and the server says that it is not."""
        for keep in (LeaseCore.keep, LeaseCore.let_go):
            core = LeaseCore(TERM, 0.0)
            keep(core)
            self.assertEqual(core.state(LATE), SUSPECT)
            self.assertTrue(core.renewed(TERM, NOW))
            self.assertEqual(core.state(LATE), ALIVE)

    def test_too_late(self) -> None:
        """Somebody was told: so it remains."""
        core = LeaseCore(TERM, 0.0)
        core.keep()
        self.assertTrue(core.is_gone(LATE))
        self.assertFalse(core.renewed(TERM, NOW))
        self.assertEqual((core.state(NOW), core.deadline), (LOST, LATE))

    def test_cadence(self) -> None:
        """Three in a term, as it is now."""
        core = LeaseCore(TERM, 0.0)
        self.assertEqual(core.interval, 10.0)
        core.renewed(3, 1.0)
        self.assertEqual(core.interval, 1.0)

    def test_rest(self) -> None:
        """It ends at certain moments, the last one before an interval is over."""
        core = LeaseCore(TERM, 0.0)
        moment = 10.0 / 32
        for now, until in ((0.0, 10.0), (0.1, 10.0), (0.3, 10.0), (moment, 10.0 + moment), (7.0, 16.875)):
            self.assertAlmostEqual(core.rest(now), until - now)

    def test_pause(self) -> None:
        """Counted from the asking; none after a silence that was longer."""
        core = LeaseCore(TERM, 0.0)
        for now, seconds in ((7.0, 0.5), (7.25, 0.25), (7.5, 0.0), (17.0, 0.0)):
            self.assertEqual(core.pause(7.0, now), seconds)

    def test_patience(self) -> None:
        """As long as until the next one; at the end, as long as it lasts, but long enough for an answer."""
        core = LeaseCore(TERM, 0.0)
        for now, seconds in ((0.0, 10.0), (20.0, 10.0), (25.0, 5.0), (29.5, 0.5), (29.9, 0.5), (31.0, 0.5)):
            self.assertEqual(core.patience(now), seconds)
        core.renewed(1, 40.0)
        self.assertEqual(core.patience(40.9), 1 / 3)


class Server:
    """
    A server's idea of a lease: it counts from when it has carried a renewal out, and has forgotten it at once when its
    time is over.
    """

    def __init__(self, time_to_live: int, now: float) -> None:
        self._time_to_live = time_to_live
        self.expires_at = now + time_to_live

    def renew(self, now: float) -> int:
        """Carries a renewal out; returns the time to live that is answered."""
        if now >= self.expires_at:
            return 0
        self.expires_at = now + self._time_to_live
        return self._time_to_live


@attrs.define
class Renewal:
    """
    One under way: carried out sooner or later, or never, and answered after that, or never.

    :ivar answer: the time to live that is answered; ``None`` as long as it has not been carried out.
    """

    sent_at: float
    answer: Optional[int] = None


A_FEW = st.integers(min_value=0, max_value=2)


class Interleaving(RuleBasedStateMachine):
    """
    Renewals that are sent, carried out, answered, overtaken and lost, while the owner of the lease does what he likes,
    and the process stands still from time to time.
    """

    @initialize(
        term=st.integers(min_value=1, max_value=30), granting=st.floats(min_value=0, max_value=5), is_kept=st.booleans()
    )
    def grant(self, term: int, granting: float, is_kept: bool) -> None:
        self.now = granting
        self.server = Server(term, granting)
        self.core = LeaseCore(term, 0.0)
        self.renewals: list[Renewal] = []
        self.promised = float(term)
        self.is_unknown = False
        if is_kept:
            self.core.keep()

    @rule()
    def send(self) -> None:
        self.renewals.append(Renewal(self.now))

    @rule(which=A_FEW)
    def carry_out(self, which: int) -> None:
        for renewal in self.renewals[which : which + 1]:
            if renewal.answer is None:
                renewal.answer = self.server.renew(self.now)

    @rule(which=A_FEW)
    def answer(self, which: int) -> None:
        self.carry_out(which)
        for renewal in self.renewals[which : which + 1]:
            assert renewal.answer is not None
            self.renewals.remove(renewal)
            self.answered(renewal.answer, renewal.sent_at)

    def answered(self, time_to_live: int, sent_at: float) -> None:
        was_lost = bool(self.core.end)
        is_there = time_to_live > 0 and not was_lost
        assert self.core.renewed(time_to_live, sent_at) == is_there
        if is_there:
            self.promised = max(self.promised, sent_at + time_to_live)
        elif not was_lost:
            self.is_unknown = True

    @rule(which=A_FEW)
    def fail(self, which: int) -> None:
        del self.renewals[which : which + 1]

    @rule(seconds=st.floats(min_value=0, max_value=1))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.floats(min_value=1, max_value=20))
    def stall(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def look(self) -> None:
        self.core.is_gone(self.now)

    @rule()
    def keep(self) -> None:
        if not self.core.is_gone(self.now):
            self.core.keep()

    @rule()
    def let_go(self) -> None:
        self.core.let_go()

    @rule()
    def give_back(self) -> None:
        self.core.give_back(self.now)

    @invariant()
    def is_never_alive_too_long(self) -> None:
        if self.core.state(self.now) == ALIVE:
            # so it remains until its deadline, if nothing happens
            assert self.core.deadline <= self.server.expires_at

    @invariant()
    def is_not_lost_too_early(self) -> None:
        assert self.core.deadline == self.promised
        assert (self.core.end == UNKNOWN) == self.is_unknown
        assert self.core.end in ("", UNKNOWN) or self.core.end == EXPIRED and self.now >= self.promised


class SafetyTests(SynchronousTestCase):
    """Whatever happens, and in whatever order."""

    def test_interleavings(self) -> None:
        run_state_machine_as_test(Interleaving, settings=PROPERTY)


class LastingTests(SynchronousTestCase):
    """It is not lost as long as it is renewed in time, as it is asked for here."""

    def kept(self, term: int, renewals: list[float]) -> None:
        """Each renewal is answered after such a part of its patience; or not at all, if that is all of it."""
        server = Server(term, 0.0)
        core = LeaseCore(term, 0.0)
        core.keep()
        now = 0.0
        for part in renewals:
            self.assertFalse(core.is_gone(now))
            asked_at = now
            now += part * core.patience(now)
            if part < 1:
                self.assertEqual(core.state(now), ALIVE)
                self.assertTrue(core.renewed(server.renew(asked_at), asked_at))
                now += core.rest(now)
            else:
                now += core.pause(asked_at, now)

    @PROPERTY
    @given(st.integers(min_value=1, max_value=60), st.lists(st.floats(min_value=0, max_value=0.99), max_size=30))
    def test_all_answered(self, term: int, parts: list[float]) -> None:
        """However slow, if only each is answered before the next one is due."""
        self.kept(term, parts)

    @PROPERTY
    @given(
        st.integers(min_value=2, max_value=60),
        st.lists(st.tuples(st.booleans(), st.floats(min_value=0, max_value=0.4)), max_size=20),
    )
    def test_some_in_silence(self, term: int, renewals: list[tuple[bool, float]]) -> None:
        """Every other one may be lost in silence, if those between are answered soon; with the least term, too."""
        self.kept(term, [0.0] + [part for is_lost, answer in renewals for part in ([1.0] * is_lost + [answer])])
