"""
The health and the upkeep of the members: whom is asked what, in which order, and what becomes of the answers.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from twisted.internet.defer import CancelledError, Deferred, succeed

from test.fakes import URL, FakeCall, fake_client
from test.test_client import ClientCase
from txetcd import Alarm, Closed, Hash, HashKV, Maintenance, Timeout, Unavailable
from txetcd import _schema as schema
from txetcd._calls import DEFAULT_TIMEOUT, LONG_TIMEOUT
from txetcd._endpoints import Endpoints
from txetcd._messages import (
    Acknowledgement,
    AlarmRequest,
    AlarmResponse,
    CompactionRequest,
    Empty,
    HashKVRequest,
    MoveLeaderRequest,
)
from txetcd.errors import (
    FAILED_PRECONDITION,
    OUT_OF_RANGE,
    UNIMPLEMENTED,
    BadLeaderTransferee,
    Compacted,
    NoLeader,
    NotLeader,
    Unimplemented,
)
from txetcd.maintenance import ASK_ALARMS
from txetcd.values import Header, Status

ONE, TWO, THREE = URLS = ("http://one:2379", "http://two:2379", "http://three:2379")
DONE = Acknowledgement()
NOSPACE, CORRUPT = Alarm(1, "NOSPACE"), Alarm(2**64 - 1, "CORRUPT")


def status(member_id: int, leader: int) -> Status:
    return Status("3.5.1", 1, leader, Header(member_id=member_id), 2, 9)


def lost() -> Unavailable:
    return Unavailable(None, "not sent: refused")


class MaintenanceCase(ClientCase):
    """
    The upkeep, by a client on a fake.

    :cvar urls: its endpoints.
    """

    urls = URLS
    maintenance: Maintenance

    def setUp(self) -> None:
        super().setUp()
        self.renew()
        self.addCleanup(self.__dict__.pop, "maintenance")

    def renew(self) -> None:
        """Another client."""
        self.client = fake_client(self.clock, self.transport, endpoints=Endpoints(self.urls, lambda: 0.0))
        self.calls = self.client._calls
        self.maintenance = self.client.maintenance

    def at(self, endpoint: str, rpc: schema.Rpc) -> FakeCall:
        """The call that waits at this endpoint, which must be one of these."""
        (call,) = [call for call in self.transport.waiting if call.endpoint == endpoint]
        self.assertIs(call.rpc, rpc)
        return call

    def where(self) -> list[str]:
        """Where something is asked just now."""
        return [call.endpoint for call in self.transport.waiting]


class StatusTests(MaintenanceCase):
    """How every endpoint is."""

    def test_maintenance_status(self) -> None:
        """MaintenanceStatus: all are asked at once, each only there."""
        asked = self.maintenance.status(3)
        self.assertEqual([(c.endpoint, c.request, c.timeout) for c in self.transport.waiting],
                         [(url, Empty(), 3) for url in URLS])  # fmt: skip
        for number, url in enumerate(reversed(URLS)):
            self.assert_pending(asked)
            self.at(url, schema.STATUS).reply(status(number, 1))
        found = self.successResultOf(asked)
        self.assertEqual(found, {ONE: status(2, 1), TWO: status(1, 1), THREE: status(0, 1)})
        self.assertEqual(tuple(found), URLS)

    def test_none_is_missing(self) -> None:
        """One that fails is there with its error."""
        asked = self.maintenance.status()
        self.at(ONE, schema.STATUS).reply(lost())
        self.at(TWO, schema.STATUS).reply(status(1, 1))
        self.clock.advance(DEFAULT_TIMEOUT)
        found = self.successResultOf(asked)
        self.assertEqual([type(found[url]) for url in URLS], [Unavailable, Status, Timeout])
        self.assertEqual(str(found[ONE]), f"Maintenance.Status at {ONE}: not sent: refused")

    def test_cancel(self) -> None:
        """All calls end."""
        asked = self.maintenance.status()
        self.at(ONE, schema.STATUS).reply(lost())
        self.cancelled(asked)
        self.transport.asked()

    def test_closed(self) -> None:
        """That is no answer of an endpoint."""
        asked = self.maintenance.status()
        self.at(ONE, schema.STATUS).reply(status(1, 1))
        self.client.close()
        self.failureResultOf(asked, Closed)
        self.failureResultOf(self.maintenance.status(), Closed)


class AlarmTests(MaintenanceCase):
    """Alarms, which every endpoint knows."""

    urls = (ONE,)

    def test_alarms(self) -> None:
        """Those there are."""
        answer = AlarmResponse(Header(), [NOSPACE, CORRUPT])
        found = self.sends(self.maintenance.alarms(), ASK_ALARMS, AlarmRequest("GET", 0, "NONE"), answer)
        self.assertEqual(found, [NOSPACE, CORRUPT])

    def test_asking_changes_nothing(self) -> None:
        """And so nothing can have been applied; of a change it can."""
        for asked, is_write in ((self.maintenance.alarms(1), False), (self.maintenance.disarm(NOSPACE, 1), True)):
            self.clock.advance(1)
            self.assertIs(self.failureResultOf(asked, Timeout).value.maybe_applied, is_write)

    def test_disarm_one(self) -> None:
        """That and no other; one that was not there was not ended."""
        for answered in ([NOSPACE], []):
            answer = AlarmResponse(Header(), answered)
            request = AlarmRequest("DEACTIVATE", 1, "NOSPACE")
            self.assertEqual(self.sends(self.maintenance.disarm(NOSPACE), schema.ALARM, request, answer), answered)

    def test_disarm_all(self) -> None:
        """One after the other, but for those that nobody here knows."""
        asked = self.maintenance.disarm(timeout=5)
        found = [Alarm(7, "7"), NOSPACE, CORRUPT]
        self.clock.advance(1)
        self.transport.next(ASK_ALARMS).reply(AlarmResponse(Header(), found))
        for alarm, answered in ((NOSPACE, []), (CORRUPT, [CORRUPT])):
            (call,) = self.transport.waiting
            self.assertEqual(call.request, AlarmRequest("DEACTIVATE", alarm.member_id, alarm.type))
            self.assertEqual(call.timeout, 4)
            call.reply(AlarmResponse(Header(), answered))
        self.assertEqual(self.successResultOf(asked), [CORRUPT])

    def test_disarm_none(self) -> None:
        """There is nothing to do."""
        self.assertEqual(self.sends(self.maintenance.disarm(), ASK_ALARMS, AlarmRequest(), AlarmResponse()), [])

    def test_disarm_fails(self) -> None:
        """With the first error; the rest is left."""
        asked = self.maintenance.disarm()
        self.transport.next(ASK_ALARMS).reply(AlarmResponse(Header(), [NOSPACE, CORRUPT]))
        self.transport.next(schema.ALARM).reply(lost())
        self.failureResultOf(asked, Unavailable)
        self.transport.asked()

    def test_cancel(self) -> None:
        """In either call."""
        for steps in (0, 1):
            asked = self.maintenance.disarm()
            if steps:
                self.transport.next(ASK_ALARMS).reply(AlarmResponse(Header(), [NOSPACE]))
            self.cancelled(asked)
            self.transport.asked()


class HashTests(MaintenanceCase):
    """Hashes."""

    def test_hash(self) -> None:
        """Of any member, or of one."""
        for endpoint, asked in ((None, ONE), (THREE, THREE), ("HTTP://elsewhere:2379/", "http://elsewhere:2379")):
            answer = Hash(7, Header(1, 2, 0, 4))
            found = self.maintenance.hash(endpoint)
            self.assertEqual(self.where(), [asked])
            self.assertEqual(self.sends(found, schema.HASH, Empty(), answer), answer)

    def test_maintenance_hash_kv(self) -> None:
        """MaintenanceHashKV: of all keys or up to a revision, of any member or of one."""
        for revision, endpoint, asked in ((None, None, ONE), (7, None, ONE), (7, TWO, TWO)):
            answer = HashKV(7, 2, 7, Header(1, 2, 0, 4))
            found = self.maintenance.hash_kv(revision, endpoint)
            self.assertEqual(self.where(), [asked])
            self.assertEqual(self.sends(found, schema.HASH_KV, HashKVRequest(revision or 0), answer), answer)

    def test_old_servers(self) -> None:
        """They do not know it; the error says from when on they do."""
        asked = self.maintenance.hash_kv(7, TWO)
        self.transport.next(schema.HASH_KV).reply(Unimplemented(UNIMPLEMENTED, "not known"))
        error = self.failureResultOf(asked, Unimplemented).value
        said = "needs etcd 3.5.10 or later at the gateway: not known"
        self.assertEqual(str(error), f"Maintenance.HashKV at {TWO}: {said}")

    def test_long(self) -> None:
        """They take their time, as all that goes through the whole database."""
        for verb in (
            lambda m, timeout: m.hash(ONE, timeout),
            lambda m, timeout: m.hash_kv(7, ONE, timeout),
            lambda m, timeout: m.defragment(ONE, timeout),
            lambda m, timeout: m.compact_and_defragment(7, timeout),
        ):
            for limit, timeout, used in ((None, None, LONG_TIMEOUT), (None, 3, 3), (1000, None, 1000)):
                asked: Deferred[Any] = verb(fake_client(self.clock, self.transport, limit).maintenance, timeout)
                self.assertEqual([call.timeout for call in self.transport.waiting], [used])
                self.cancelled(asked)


class DefragmentTests(MaintenanceCase):
    """Room for others."""

    def defragmented(self, url: str) -> None:
        """It is asked there, and nowhere else at the same time; it is done."""
        self.assertEqual(self.where(), [url])
        self.at(url, schema.DEFRAGMENT).reply(DONE)

    def test_defragment_one(self) -> None:
        """Only this one."""
        asked = self.maintenance.defragment(TWO)
        self.defragmented(TWO)
        self.assertIsNone(self.successResultOf(asked))
        self.transport.asked()

    def test_defragment_all(self) -> None:
        """Never two at a time; each has its time."""
        asked = self.maintenance.defragment(timeout=60)
        for url in URLS:
            self.assert_pending(asked)
            self.assertEqual(self.transport.waiting[0].timeout, 60)
            self.clock.advance(50)
            self.defragmented(url)
        self.assertIsNone(self.successResultOf(asked))

    def test_first_error(self) -> None:
        """The others are left alone: this one may still be at it."""
        asked = self.maintenance.defragment(timeout=5)
        self.defragmented(ONE)
        self.clock.advance(5)
        error = self.failureResultOf(asked, Timeout).value
        self.assertEqual((error.endpoint, error.maybe_applied), (TWO, True))
        self.transport.asked()

    def test_cancel(self) -> None:
        """The next is not begun."""
        asked = self.maintenance.defragment()
        self.defragmented(ONE)
        self.cancelled(asked)
        self.transport.asked()

    def test_compact_and_defragment(self) -> None:
        """First the one, and only then the other."""
        asked = self.maintenance.compact_and_defragment(7)
        call = self.transport.next(schema.COMPACT)
        self.assertEqual((call.request, call.timeout), (CompactionRequest(7, True), LONG_TIMEOUT))
        self.assertEqual(len(self.transport.waiting), 1)
        call.reply(Acknowledgement(Header(revision=9)))
        for url in URLS:
            self.defragmented(url)
        self.assertIsNone(self.successResultOf(asked))

    def test_not_compacted(self) -> None:
        """Then nothing is defragmented."""
        asked = self.maintenance.compact_and_defragment(7)
        self.transport.next(schema.COMPACT).reply(Compacted(OUT_OF_RANGE, f"etcdserver: {Compacted.text}"))
        self.failureResultOf(asked, Compacted)
        self.transport.asked()


class MoveLeaderTests(MaintenanceCase):
    """Another one shall lead."""

    def move(self, timeout: Optional[float] = None) -> Deferred[None]:
        """It is asked; so all endpoints are asked whether they lead."""
        moving = self.maintenance.move_leader(2, timeout)
        self.assertEqual(self.where(), list(URLS))
        return moving

    def test_maintenance_move_leader(self) -> None:
        """MaintenanceMoveLeader: the leader is asked, whichever it is, and whatever is with the others."""
        for leader in (1, 2, 3):
            moving = self.move(5)
            others = [number for number in (1, 2, 3) if number != leader]
            self.at(URLS[others[0] - 1], schema.STATUS).reply(status(others[0], leader))
            self.clock.advance(1)
            self.at(URLS[leader - 1], schema.STATUS).reply(status(leader, leader))
            # the last one need not answer any more
            self.assertEqual(self.where(), [URLS[leader - 1]])
            call = self.at(URLS[leader - 1], schema.MOVE_LEADER)
            self.assertEqual((call.request, call.timeout), (MoveLeaderRequest(2), 4))
            call.reply(DONE)
            self.assertIsNone(self.successResultOf(moving))

    def test_refused(self) -> None:
        """By the leader."""
        moving = self.move()
        self.at(ONE, schema.STATUS).reply(status(1, 1))
        text = "etcdserver: bad leader transferee"
        self.at(ONE, schema.MOVE_LEADER).reply(BadLeaderTransferee(FAILED_PRECONDITION, text))
        error = self.failureResultOf(moving, BadLeaderTransferee).value
        self.assertEqual(str(error), f"Maintenance.MoveLeader at {ONE}: {text}")

    def test_leader_is_no_endpoint(self) -> None:
        """All have answered, or all but one that does not."""
        for answers in ([status(1, 9), status(2, 0), status(3, 9)], [status(1, 9), lost(), status(3, 9)]):
            moving = self.move()
            for url, answer in zip(URLS, answers):
                self.at(url, schema.STATUS).reply(answer)
            self.assertEqual(
                str(self.failureResultOf(moving, NotLeader).value),
                f"Maintenance.Status at {ONE}, {TWO}, {THREE}: "
                "member 9 leads, and none of the endpoints that have answered is it",
            )
            # the one that failed is behind the others
            self.client._way.endpoints.replace([ONE])
            self.client._way.endpoints.replace(URLS)

    def test_nobody_leads(self) -> None:
        """As during an election."""
        moving = self.move()
        for number, url in enumerate(URLS):
            self.at(url, schema.STATUS).reply(status(number + 1, 0))
        error = self.failureResultOf(moving, NoLeader).value
        self.assertEqual(str(error), f"Maintenance.Status at {ONE}, {TWO}, {THREE}: no endpoint knows a leader")
        self.assertFalse(error.maybe_applied)

    def test_nobody_answers(self) -> None:
        """Then that is the error."""
        moving = self.move()
        for url in URLS:
            self.at(url, schema.STATUS).reply(lost())
        self.failureResultOf(moving, Unavailable)

    def test_timeout(self) -> None:
        """It is one for everything; only the second call changes something."""
        moving = self.move(3)
        self.clock.advance(3)
        self.assertFalse(self.failureResultOf(moving, Timeout).value.maybe_applied)
        moving = self.move(3)
        self.clock.advance(2)
        self.at(ONE, schema.STATUS).reply(status(1, 1))
        self.clock.advance(1)
        self.assertTrue(self.failureResultOf(moving, Timeout).value.maybe_applied)
        self.transport.asked()

    def test_cancel(self) -> None:
        """Everything ends."""
        for answers in ([], [status(1, 2)], [status(1, 1)]):
            moving = self.move()
            for url, answer in zip(URLS, answers):
                self.at(url, schema.STATUS).reply(answer)
            moving.cancel()
            self.failureResultOf(moving, CancelledError)
            self.transport.asked()


class BytesPath:
    """A path of bytes."""

    def __fspath__(self) -> bytes:
        return b"a"


MISUSE: list[tuple[Callable[[Maintenance], Any], type[Exception], str]] = [
    (lambda m: m.status(0), ValueError, "timeout must be a positive number of seconds, not 0"),
    (lambda m: m.alarms(0), ValueError, "timeout must be a positive number"),
    (lambda m: m.disarm(timeout="1"), TypeError, "timeout must be a number of seconds"),
    (lambda m: m.disarm("NOSPACE"), TypeError, "alarm must be an Alarm, not str"),
    (lambda m: m.disarm(m), TypeError, "alarm must be an Alarm, not Maintenance"),
    (lambda m: m.disarm(succeed([])), TypeError, "alarm must be an Alarm, not a Deferred: yield or await it first"),
    (lambda m: m.disarm(Alarm(1, "NONE")), ValueError, "alarm.type must be one of NOSPACE, CORRUPT, not 'NONE'"),
    (lambda m: m.disarm(Alarm(1, "7")), ValueError, "alarm.type must be one of NOSPACE, CORRUPT, not '7'"),
    (lambda m: m.disarm(Alarm(1, 1)), TypeError, "alarm.type must be one of NOSPACE, CORRUPT (a str), not int"),
    (lambda m: m.disarm(Alarm(0, "NOSPACE")), ValueError, "alarm.member_id must be between 1 and"),
    (lambda m: m.hash("one:2379"), ValueError, "endpoint must be like http://localhost:2379: 'one:2379'"),
    (lambda m: m.hash("https://one:2379"), ValueError, "endpoint must begin with http://, as those that"),
    (lambda m: m.hash(7), TypeError, "endpoint must be a str, not int"),
    (lambda m: m.hash(timeout=-1), ValueError, "timeout must be a positive number"),
    (lambda m: m.hash_kv(-1), ValueError, "revision must be between 0"),
    (lambda m: m.hash_kv("7"), TypeError, "revision must be int, not str"),
    (lambda m: m.hash_kv(7, "one"), ValueError, "endpoint must be like"),
    (lambda m: m.defragment(URLS), TypeError, "endpoint must be a str, not tuple"),
    (lambda m: m.defragment(timeout=0), ValueError, "timeout must be a positive number"),
    (lambda m: m.compact_and_defragment(0), ValueError, "revision must be between 1"),
    (lambda m: m.compact_and_defragment(7, 0), ValueError, "timeout must be a positive number"),
    (lambda m: m.move_leader(0), ValueError, "member_id must be between 1 and 18446744073709551615, not 0"),
    (lambda m: m.move_leader("8e9e05c52164694d"), TypeError, "member_id must be int, not str"),
    (lambda m: m.move_leader(1, 0), ValueError, "timeout must be a positive number"),
    (lambda m: m.snapshot(7), TypeError, "path must be a str or a path, not int"),
    (lambda m: m.snapshot(b"a"), TypeError, "path must be a str or a path, not bytes"),
    (lambda m: m.snapshot(BytesPath()), TypeError, "path must be a path of str, not of bytes"),
    (lambda m: m.snapshot(""), ValueError, "path must be the name of a file, not ''"),
    (lambda m: m.snapshot("a\0b"), ValueError, r"path must be the name of a file, not 'a\x00b'"),
    (lambda m: m.snapshot("a", 7), TypeError, "progress must be callable, not int"),
    (lambda m: m.snapshot("a", print, "one"), ValueError, "endpoint must be like"),
    (lambda m: m.snapshot("a", timeout=0), ValueError, "timeout must be a positive number"),
]


class MisuseTests(MaintenanceCase):
    """What cannot be asked is not."""

    def test_misuse(self) -> None:
        """It is raised at once, and says what is wrong."""
        for verb, kind, text in MISUSE:
            error = self.assertRaises(kind, verb, self.maintenance)
            self.assertIn(text, str(error))
        self.transport.asked()

    def test_endpoint_without_password(self) -> None:
        """No message shows it."""
        error = self.assertRaises(ValueError, self.maintenance.hash, "http://me:pass@one:2379")
        self.assertNotIn("pass@", str(error))

    def test_one_endpoint(self) -> None:
        """The client's may be any other of the same cluster."""
        client = fake_client(self.clock, self.transport)
        asked = client.maintenance.defragment()
        self.assertEqual(self.where(), [URL])
        self.cancelled(asked)
