"""
The table of states of a watch, and where it goes on: nothing skipped, nothing twice.
"""

from __future__ import annotations

from typing import Any, Optional

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from test.properties import PROPERTY
from txetcd import KeySet
from txetcd._messages import WatchResponse
from txetcd._watchcore import LIVE, OPENING, RAISE, RESUME, RESYNC, STOPPED, WAITING, Do, Known, Step, WatchCore
from txetcd.errors import (
    AuthFailed,
    Closed,
    Compacted,
    EmptyKey,
    Error,
    InvalidAuthToken,
    NoLeader,
    PermissionDenied,
    ProtocolViolation,
    RevisionLost,
    Timeout,
    TLSFailed,
    Unavailable,
    Unimplemented,
    WatchCanceled,
    WatchRangeEmpty,
    WrongCluster,
    WrongProtocol,
)
from txetcd.values import Event, Header, KeyValue

KEYS = KeySet(b"k", prefix=True)


def created(revision: int = 10) -> WatchResponse:
    return WatchResponse(Header(revision=revision), created=True)


def refused(reason: str, revision: int = 10) -> WatchResponse:
    """The answer of a server that does not set the watch up."""
    return WatchResponse(Header(revision=revision), -1, created=True, canceled=True, cancel_reason=reason)


def canceled(reason: str = "") -> WatchResponse:
    return WatchResponse(canceled=True, cancel_reason=reason)


def compacted(revision: int) -> WatchResponse:
    return WatchResponse(canceled=True, compact_revision=revision)


def progress(revision: int) -> WatchResponse:
    return WatchResponse(Header(revision=revision))


def put(revision: int, key: bytes = b"k") -> Event:
    return Event("PUT", KeyValue(key, b"", mod_revision=revision))


def delete(revision: int, key: bytes = b"k") -> Event:
    return Event("DELETE", KeyValue(key, mod_revision=revision))


def events(*revisions: int, fragment: bool = False, header: int = 0) -> WatchResponse:
    return WatchResponse(
        Header(revision=header or max(revisions)), fragment=fragment, events=[put(revision) for revision in revisions]
    )


def revisions(step: Step) -> list[int]:
    return [event.mod_revision for event in step.events]


class CoreCase(SynchronousTestCase):
    """
    :ivar core: what is tested.
    :ivar now: the clock.
    """

    def setUp(self) -> None:
        self.core = WatchCore(KEYS)
        self.now = 0.0
        self.can_fetch_token = False
        self.endpoints = ("a", "b")

    def begin(self, start_revision: int = 0, on_compacted: str = RAISE) -> WatchCore:
        """A watch that was asked for."""
        self.core = WatchCore(KEYS, start_revision, on_compacted)
        self.core.asked()
        return self.core

    def live(self, start_revision: int = 0, on_compacted: str = RAISE, at: int = 10) -> WatchCore:
        """A watch that was set up."""
        self.begin(start_revision, on_compacted)
        self.assertEqual(self.receive(created(at)), Step())
        return self.core

    def receive(self, message: WatchResponse) -> Step:
        return self.core.received(message, self.now, self.can_fetch_token)

    def lose(self, error: Optional[Error] = None, endpoint: str = "a") -> Step:
        return self.core.lost(error, self.now, self.can_fetch_token, endpoint, self.endpoints)

    def assert_stopped(self, step: Step, wanted: type[Error]) -> Error:
        self.assertEqual((step.do, type(step.error), self.core.state), (Do.STOP, wanted, STOPPED))
        assert step.error is not None
        return step.error

    def assert_again(self, step: Step, seconds: float = 0.0) -> None:
        self.assertEqual((step.do, step.seconds, self.core.state), (Do.ASK, seconds, WAITING))


class StateTests(CoreCase):
    """What follows from what."""

    def test_life(self) -> None:
        self.assertEqual(self.core.state, WAITING)
        self.begin()
        self.assertEqual((self.core.state, self.core.was_live), (OPENING, False))
        self.receive(created())
        self.assertEqual((self.core.state, self.core.was_live), (LIVE, True))
        self.lose(Unavailable(None, "lost"))
        self.assertEqual((self.core.state, self.core.was_live, self.core.losses), (WAITING, True, 1))
        self.core.asked()
        self.assertEqual(self.core.state, OPENING)
        self.core.stop()
        self.assertEqual(self.core.state, STOPPED)

    def test_losses_that_pass(self) -> None:
        """At any time, also before it was ever set up."""
        for error in (
            None,
            Unavailable(14, "lost"),
            NoLeader(14, "etcdserver: no leader"),
            Timeout("no answer"),
            ProtocolViolation("garbage"),
            Error(2, "something new"),
        ):
            self.begin()
            self.assert_again(self.lose(error))
            self.live()
            self.assert_again(self.lose(error))

    def test_server_ended_it_in_words(self) -> None:
        self.live()
        self.assertIn("the server ended the stream of KeySet(b'k', prefix=True)", str(self.lose().error))

    def test_pauses(self) -> None:
        """None at first; then longer ones, up to a second."""
        self.begin()
        pauses = []
        for _ in range(10):
            pauses.append(self.lose().seconds)
            self.core.asked()
        self.assertEqual(pauses, [0.0, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0])

    def test_pauses_begin_anew(self) -> None:
        """When it has lasted; not if a server only says that it has set it up."""
        for seconds, pause in ((0.0, 0.1), (4.9, 0.1), (5.0, 0.0)):
            self.begin()
            for _ in range(3):
                self.lose()
                self.core.asked()
            self.receive(created())
            self.now += seconds
            self.assert_again(self.lose(), pause)

    def test_refused_at_first(self) -> None:
        """What is wrong with the request does not pass."""
        for message, wanted in (
            (refused("mvcc: watcher range is empty"), WatchRangeEmpty),
            (refused("rpc error: code = PermissionDenied desc = etcdserver: permission denied"), PermissionDenied),
            (refused("etcdserver: invalid auth token"), InvalidAuthToken),
            (refused("something new"), WatchCanceled),
            (refused(""), WatchCanceled),
        ):
            self.begin()
            self.assert_stopped(self.receive(message), wanted)
        for error in (EmptyKey(3, "etcdserver: key is not provided"), Unimplemented(12, "no gateway")):
            self.begin()
            self.assert_stopped(self.lose(error), type(error))

    def test_refused_later(self) -> None:
        """What was good before may be so again; but not what is not permitted any more."""
        for error in (Unimplemented(12, "a proxy is just being restarted"), WatchRangeEmpty(None, "strange")):
            self.live()
            self.lose()
            self.core.asked()
            self.assert_again(self.lose(error), 0.025)
        for later in (AuthFailed(3, "the password was changed"), PermissionDenied(7, "the role was revoked")):
            self.live()
            self.assert_stopped(self.lose(later), type(later))

    def test_refused_for_a_reason_that_passes(self) -> None:
        self.begin()
        self.assert_again(self.receive(refused("etcdserver: no leader")))

    def test_unsolicited_end(self) -> None:
        for reason in ("", "because"):
            self.live()
            step = self.receive(canceled(reason))
            self.assert_again(step)
            self.assertIsInstance(step.error, WatchCanceled)
            self.assertIn(reason or "without a reason", str(step.error))

    def test_closed(self) -> None:
        self.live()
        self.assert_stopped(self.lose(Closed()), Closed)

    def test_nobody_speaks_the_protocol(self) -> None:
        """Each of several endpoints fails for a reason that does not pass."""
        self.begin()
        self.assert_again(self.lose(WrongProtocol(None, "not sent: HTTP/1.1"), "a"))
        self.core.asked()
        self.assert_again(self.lose(WrongProtocol(None, "not sent: HTTP/1.1"), "a"), 0.025)
        self.core.asked()
        self.assert_stopped(self.lose(TLSFailed(None, "not sent: unknown CA"), "b"), TLSFailed)

    def test_protocol_that_was_spoken(self) -> None:
        self.live()
        for endpoint in ("a", "b"):
            self.assertEqual(self.lose(WrongProtocol(None, "not sent: HTTP/1.1"), endpoint).do, Do.ASK)
            self.core.asked()

    def test_another_cluster(self) -> None:
        """Also of a watch that was set up before; as soon as it is there at all endpoints."""
        for begin in (self.begin, self.live):
            begin()
            self.assert_again(self.lose(WrongCluster(1, 2), "a"))
            self.core.asked()
            self.assert_stopped(self.lose(WrongCluster(1, 2), "b"), WrongCluster)

    def test_another_cluster_for_a_while(self) -> None:
        self.live()
        self.lose(WrongCluster(1, 2), "a")
        self.core.asked()
        self.receive(created())
        self.assertEqual(self.lose(WrongCluster(1, 2), "b").do, Do.ASK)

    def test_first_message_is_no_answer(self) -> None:
        self.begin()
        step = self.receive(progress(11))
        self.assert_again(step)
        self.assertIsInstance(step.error, ProtocolViolation)
        self.begin()
        self.assertIsInstance(self.receive(events(11)).error, ProtocolViolation)
        self.assertEqual(self.core.next_revision, 0)


class TokenTests(CoreCase):
    """The token is not taken."""

    def setUp(self) -> None:
        super().setUp()
        self.can_fetch_token = True

    def test_another_one_is_fetched(self) -> None:
        for reason in (
            "etcdserver: invalid auth token",
            "rpc error: code = Unauthenticated desc = etcdserver: revision of auth store is old",
            "etcdserver: user name is empty",
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        ):
            self.begin()
            step = self.receive(refused(reason))
            self.assertEqual((step.do, self.core.state), (Do.FETCH_TOKEN, WAITING))

    def test_of_the_stream(self) -> None:
        self.live()
        self.assertEqual(self.lose(InvalidAuthToken(16, "etcdserver: invalid auth token")).do, Do.FETCH_TOKEN)

    def test_not_for_ever(self) -> None:
        self.begin()
        for _ in range(5):
            self.assertEqual(self.receive(refused("etcdserver: invalid auth token")).do, Do.FETCH_TOKEN)
            self.core.asked()
        self.assert_stopped(self.receive(refused("etcdserver: invalid auth token")), InvalidAuthToken)

    def test_each_time_anew(self) -> None:
        self.begin()
        for _ in range(20):
            self.assertEqual(self.receive(refused("etcdserver: invalid auth token")).do, Do.FETCH_TOKEN)
            self.core.asked()
            self.receive(created())
            self.lose()
            self.core.asked()

    def test_refused_for_good(self) -> None:
        self.begin()
        denied = PermissionDenied(7, "etcdserver: permission denied")
        self.receive(refused("etcdserver: permission denied"))
        self.assertIs(self.assert_stopped(self.core.given_up(denied), PermissionDenied), denied)

    def test_password_is_wrong(self) -> None:
        self.begin()
        self.assert_stopped(self.lose(AuthFailed(3, "etcdserver: authentication failed")), AuthFailed)


class RevisionTests(CoreCase):
    """Where it goes on."""

    def test_from_now(self) -> None:
        core = self.begin()
        self.assertEqual(core.next_revision, 0)
        self.receive(created(10))
        self.assertEqual(core.next_revision, 11)

    def test_answer_to_another_request(self) -> None:
        """It tells the revision of the store, which is ahead of the events."""
        core = self.live(3, at=10)
        self.assertEqual(core.next_revision, 3)
        self.receive(events(4))
        self.lose()
        core.asked()
        self.receive(created(20))
        self.assertEqual(core.next_revision, 5)

    def test_from_now_lost_before_any_event(self) -> None:
        core = self.live(at=10)
        self.lose()
        core.asked()
        self.receive(created(20))
        self.assertEqual(core.next_revision, 11)
        self.assertEqual(revisions(self.receive(events(11, 15))), [11, 15])

    def test_lost_before_the_answer(self) -> None:
        """Nothing is known of where it began: it begins later."""
        core = self.begin()
        self.lose()
        core.asked()
        self.assertEqual(core.next_revision, 0)

    def test_events(self) -> None:
        core = self.live()
        self.assertEqual(revisions(self.receive(events(11, 13, header=20))), [11, 13])
        self.assertEqual(core.next_revision, 14)

    def test_from_before_it_began(self) -> None:
        core = self.live(at=10)
        self.assertEqual(revisions(self.receive(events(9, 10, 11))), [11])
        self.assertEqual(revisions(self.receive(events(8, 9))), [])
        self.assertEqual(core.next_revision, 12)

    def test_twice(self) -> None:
        """A stream that takes the place of another may tell what that one has told by then."""
        core = self.live()
        self.receive(events(11, 12))
        core.asked()
        self.receive(created(12))
        self.assertEqual(revisions(self.receive(events(11, 12, 13))), [13])

    def test_progress(self) -> None:
        core = self.live()
        self.assertEqual(self.receive(progress(15)), Step())
        self.assertEqual(core.next_revision, 16)
        self.receive(progress(14))
        self.assertEqual(core.next_revision, 16)

    def test_future(self) -> None:
        """What is told of the time before does not take it back."""
        core = self.live(100, at=10)
        self.receive(progress(50))
        self.assertEqual(core.next_revision, 100)
        self.assertEqual(revisions(self.receive(events(100))), [100])
        self.assertEqual(core.next_revision, 101)


class FragmentTests(CoreCase):
    """A revision comes as a whole, or not at all."""

    def test_cut_within_a_revision(self) -> None:
        core = self.live()
        self.assertEqual(revisions(self.receive(events(11, 12, 12, fragment=True))), [11])
        self.assertEqual(core.next_revision, 12)
        self.assertEqual(revisions(self.receive(events(12, 12, fragment=True))), [])
        self.assertEqual(revisions(self.receive(events(12, 13))), [12, 12, 12, 12, 12, 13])
        self.assertEqual(core.next_revision, 14)

    def test_cut_between_revisions(self) -> None:
        """Whether the last one goes on is not known."""
        core = self.live()
        self.assertEqual(revisions(self.receive(events(11, 12, fragment=True))), [11])
        self.assertEqual(revisions(self.receive(events(13))), [12, 13])
        self.assertEqual(core.next_revision, 14)

    def test_last_one_is_empty(self) -> None:
        self.live()
        self.receive(events(11, fragment=True))
        self.assertEqual(self.receive(progress(20)), Step())
        self.assertEqual(self.core.next_revision, 11)

    def test_lost_in_between(self) -> None:
        """What was kept back comes again."""
        core = self.live()
        self.receive(events(11, 12, 12, fragment=True))
        self.lose()
        core.asked()
        self.assertEqual(core.next_revision, 12)
        self.receive(created(20))
        self.assertEqual(revisions(self.receive(events(12, 12, 12))), [12, 12, 12])

    def test_left_in_between(self) -> None:
        core = self.live()
        self.receive(events(11, 12, fragment=True))
        core.left()
        self.assertEqual((core.state, core.losses), (WAITING, 0))
        core.asked()
        self.receive(created(20))
        self.assertEqual(revisions(self.receive(events(12, 12))), [12, 12])


class GapTests(CoreCase):
    """Changes that nobody can tell any more."""

    def test_raise(self) -> None:
        for begin in (self.begin, self.live):
            begin(3)
            error = self.assert_stopped(self.receive(compacted(8)), Compacted)
            assert isinstance(error, Compacted)
            self.assertEqual(error.compact_revision, 8)
            self.assertIn("KeySet(b'k', prefix=True) up to 8", str(error))

    def test_resume(self) -> None:
        core = self.live(3, RESUME)
        self.assert_again(self.receive(compacted(8)))
        self.assertEqual((core.next_revision, core.losses), (8, 1))

    def test_compaction_in_words(self) -> None:
        """Of a revision below zero, and without telling the oldest one that there is."""
        words = canceled("etcdserver: mvcc: required revision has been compacted")
        self.live(3)
        self.assert_stopped(self.receive(words), Compacted)
        core = self.live(3, RESUME)
        self.assert_again(self.receive(words))
        self.assertEqual(core.next_revision, 0)

    def test_resume_does_not_go_back(self) -> None:
        core = self.live(3, RESUME)
        self.receive(events(9))
        self.receive(compacted(8))
        self.assertEqual(core.next_revision, 10)

    def test_resync(self) -> None:
        core = self.live(3, RESYNC)
        step = self.receive(compacted(8))
        self.assertEqual((step.do, core.state), (Do.READ, WAITING))
        core.has_read(12)
        self.assertEqual(core.next_revision, 13)

    def test_what_it_begins_with_is_compacted(self) -> None:
        core = self.begin(3, RESYNC)
        self.assertEqual(core.compacted(Compacted(11, "gone")).do, Do.READ)

    def test_fragments_before(self) -> None:
        self.live(3, RESUME)
        self.receive(events(5, 6, fragment=True))
        self.receive(compacted(8))
        self.core.asked()
        self.receive(created())
        self.assertEqual(revisions(self.receive(events(8))), [8])


class BehindTests(CoreCase):
    """A server that does not know what another one has told."""

    def behind(self, on_compacted: str = RAISE) -> Step:
        """The next one is at revision 7, after 20 was seen."""
        self.live(on_compacted=on_compacted)
        self.receive(events(20))
        self.lose()
        self.core.asked()
        return self.receive(created(7))

    def test_member_is_behind(self) -> None:
        """As long as a majority is not, nothing is wrong."""
        self.assertEqual(self.behind(), Step(Do.LOOK))
        self.assertEqual(self.core.state, LIVE)
        self.assertEqual(self.core.looked(25), Step())
        self.assertEqual(self.core.looked(20), Step())
        self.assertEqual(revisions(self.receive(events(21))), [21])

    def test_meanwhile_it_goes_on(self) -> None:
        """What was seen after it was asked says nothing of the answer."""
        self.behind()
        self.receive(events(30))
        self.assertEqual(self.core.looked(29), Step())

    def test_cluster_is_behind(self) -> None:
        self.behind()
        error = self.assert_stopped(self.core.looked(7), RevisionLost)
        self.assertEqual(str(error), "the cluster is at revision 7, and was at 20 before")

    def test_cluster_is_behind_and_it_goes_on(self) -> None:
        self.behind(RESUME)
        self.assert_again(self.core.looked(7))
        self.assertEqual(self.core.next_revision, 8)
        self.core.asked()
        self.assertEqual(self.receive(created(7)), Step())

    def test_cluster_is_behind_and_it_reads(self) -> None:
        self.behind(RESYNC)
        self.assertEqual(self.core.looked(7).do, Do.READ)
        self.assertTrue(self.core.must_read)
        self.core.has_read(8)
        self.assertEqual((self.core.next_revision, self.core.must_read), (9, False))

    def test_cluster_is_behind_when_it_was_read(self) -> None:
        """What was seen is what it was then, and no reason to look again."""
        self.live(on_compacted=RESYNC)
        self.receive(events(20))
        self.receive(compacted(8))
        self.core.has_read(7)
        self.core.asked()
        self.assertEqual(self.receive(created(7)), Step())

    def test_seen_in_progress(self) -> None:
        self.live()
        self.receive(progress(20))
        self.lose()
        self.core.asked()
        self.assertEqual(self.receive(created(7)).do, Do.LOOK)

    def test_future_is_not_seen(self) -> None:
        self.begin(100)
        self.assertEqual(self.receive(created(7)), Step())
        self.lose()
        self.core.asked()
        self.assertEqual(self.receive(created(8)), Step())

    def test_stopped_meanwhile(self) -> None:
        self.behind()
        self.core.stop()
        self.assertEqual(self.core.looked(7), Step())


class KnownTests(SynchronousTestCase):
    """What has come of changes that nobody can tell."""

    def test_difference(self) -> None:
        known = Known()
        known.put([KeyValue(b"same", mod_revision=1), KeyValue(b"changed", mod_revision=2)])
        known.put([KeyValue(b"gone", mod_revision=3)])
        known.note([put(4, b"came"), put(5, b"went"), delete(6, b"went"), put(7, b"came and went")])
        read = [
            KeyValue(b"came", mod_revision=4),
            KeyValue(b"changed", b"new", mod_revision=9),
            KeyValue(b"new", b"first", mod_revision=8),
            KeyValue(b"same", mod_revision=1),
        ]
        difference = known.difference(read, 12)
        self.assertEqual(
            [(event.type, event.key, event.value, event.mod_revision) for event in difference],
            [
                ("put", b"new", b"first", 8),
                ("put", b"changed", b"new", 9),
                ("delete", b"gone", b"", 12),
                ("delete", b"came and went", b"", 12),
            ],
        )
        self.assertTrue(all(event.is_synthetic for event in difference))
        self.assertFalse(put(1).is_synthetic)
        known.note(difference)
        self.assertEqual(known.difference(read, 13), [])

    def test_doubt(self) -> None:
        """A key of a cluster that has gone back is another one, whatever its revision."""
        known = Known()
        known.put([KeyValue(b"key", mod_revision=5), KeyValue(b"gone", mod_revision=6)])
        known.doubt()
        difference = known.difference([KeyValue(b"key", b"other", mod_revision=5)], 7)
        self.assertEqual([(event.type, event.key) for event in difference], [("put", b"key"), ("delete", b"gone")])


# --- any server

@attrs.frozen
class Cut:
    """The stream is lost."""


STEPS = st.lists(
    st.one_of(
        st.builds(Cut),
        # how many revisions are told, how many events of the last one are left for the next fragment
        st.tuples(st.integers(0, 4), st.integers(0, 2)),
        st.just("progress"),
    ),
    max_size=30,
)


class AnyTests(CoreCase):
    """Whatever is cut wherever: what is told is the history."""

    @PROPERTY
    @given(st.lists(st.integers(1, 3), min_size=1, max_size=30), STEPS, st.booleans())
    def test_any(self, sizes: list[int], steps: list[Any], from_now: bool) -> None:
        """*sizes* is how many events each revision has, from 11 on."""
        history = [put(11 + at, b"k%d" % number) for at, size in enumerate(sizes) for number in range(size)]
        core = self.live(0 if from_now else 11, at=10)
        told: list[Event] = []
        at = 0
        for step in steps:
            if isinstance(step, Cut):
                told += self.lose().events
                core.asked()
                self.receive(created(10 + len(sizes)))
                at = next((n for n, event in enumerate(history) if event.mod_revision >= core.next_revision),
                          len(history))  # fmt: skip
            elif step == "progress":
                # only a watch that has been told everything is
                if at == len(history):
                    told += self.receive(progress(10 + len(sizes))).events
            elif at < len(history):
                at = self._tell(history, at, step, told)
        self.lose()
        core.asked()
        self.receive(created(10 + len(sizes)))
        rest = [event for event in history if event.mod_revision >= core.next_revision]
        if rest:
            told += self.receive(WatchResponse(Header(revision=99), events=rest)).events
        self.assertEqual(told, history)

    def _tell(self, history: list[Event], at: int, step: tuple[int, int], told: list[Event]) -> int:
        revisions, left = step
        last = history[at].mod_revision + revisions
        end = next((n for n, event in enumerate(history) if event.mod_revision > last), len(history))
        cut = max(at + 1, end - left)
        # a fragment, unless it ends where a revision does
        is_fragment = cut < len(history) and history[cut].mod_revision == history[cut - 1].mod_revision
        step_of = self.receive(
            WatchResponse(Header(revision=99), fragment=is_fragment, events=history[at:cut])
        )
        told += step_of.events
        return cut
