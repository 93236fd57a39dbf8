"""
The token that proves who asks.
"""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from test.fakes import Case, FakeCall, fake_way
from txetcd import _schema as schema
from txetcd._backoff import Backoff
from txetcd._calls import DEFAULT_TIMEOUT, Calls
from txetcd._credentials import authenticator, check_credentials
from txetcd._messages import AuthenticateRequest, AuthenticateResponse, WatchCreateRequest, WatchResponse
from txetcd._tokens import Tokens
from txetcd._watchpart import WatchOptions
from txetcd.errors import (
    AuthFailed,
    AuthNotEnabled,
    AuthOldRevision,
    Closed,
    Error,
    InvalidAuthToken,
    PermissionDenied,
    Timeout,
    Unavailable,
    UserEmpty,
)
from txetcd.keyset import KeySet
from txetcd.ops import OpGet, OpSet
from txetcd.values import Header
from txetcd.watch import Watch

A, B = "http://a", "http://b"
GET, PUT = OpGet(b"key"), OpSet(b"key", b"value")
RANGE, AUTHENTICATE = schema.RANGE, schema.AUTHENTICATE


def granted(token: str) -> AuthenticateResponse:
    return AuthenticateResponse(Header(1, 5, 77, 8), token)


class TokensCase(Case):
    """Calls of somebody with a name and a password."""

    def setUp(self) -> None:
        super().setUp()
        self.use(A)

    def use(self, *urls: str, token: str = "") -> None:
        """Goes on with these endpoints."""
        way = fake_way(self.clock, self.transport, *urls, policy=Backoff(0.1, 1.0))
        tokens = Tokens(self.clock, None if token else authenticator(way, ("anna", "pa55word"), DEFAULT_TIMEOUT), token)
        self.calls = Calls(fake_way(self.clock, self.transport, *urls, policy=Backoff(0.1, 1.0), tokens=tokens))

    def get(self, timeout: Optional[float] = None) -> Deferred[Any]:
        return self.calls.call(RANGE, GET, timeout)

    def log_in(self, token: str = "first") -> FakeCall:
        """A token is asked for, and granted."""
        self.transport.asked("Authenticate")
        call = self.transport.next(AUTHENTICATE)
        self.assertEqual((call.request, call.metadata.token), (AuthenticateRequest("anna", "pa55word"), ""))
        call.reply(granted(token))
        return call

    def answer(self, token: str, answer: Any = "the answer") -> None:
        """The next call carries this token, and is answered so."""
        call = self.transport.next(RANGE)
        self.assertEqual(call.metadata.token, token)
        call.reply(answer)

    def known(self) -> None:
        """There is a token."""
        answered = self.get()
        self.log_in()
        self.answer("first")
        self.successResultOf(answered)


class FetchTests(TokensCase):
    """Once for all."""

    def test_lazily_and_once(self) -> None:
        """It is fetched when it is needed, and once for all who wait for it."""
        self.transport.asked()
        waiting = [self.get() for _ in range(100)]
        self.log_in()
        self.assertEqual(len(self.transport.waiting), 100)
        for one in waiting:
            self.answer("first")
            self.assertEqual(self.successResultOf(one), "the answer")
        answered = self.get()
        self.answer("first")
        self.successResultOf(answered)

    def test_refused(self) -> None:
        """Each is told what is wrong with name or password, by an error of its own; and the next one tries again."""
        waiting = [self.get() for _ in range(3)]
        self.transport.next(AUTHENTICATE).reply(AuthFailed(3, "etcdserver: authentication failed, invalid user ID"))
        errors = [self.failureResultOf(one, AuthFailed).value for one in waiting]
        self.assertEqual(len({id(error) for error in errors}), 3)
        self.assertEqual({error.call for error in errors}, {"Auth.Authenticate"})
        for error in errors:
            self.assertNotIn("pa55word", f"{error} {error!r} {error.__dict__}")
        self.known()

    def test_unreachable(self) -> None:
        """The deadline of each covers it."""
        early, late = self.get(1.0), self.get(3.0)
        self.clock.advance(1.0)
        error = self.failureResultOf(early, Timeout).value
        self.assertEqual(str(error), "could not be sent within 1 second: no token was had")
        self.assertIs(error.maybe_applied, False)
        self.assertNoResult(late)
        self.log_in()
        self.answer("first")
        self.successResultOf(late)

    def test_time_of_its_own(self) -> None:
        """Who comes while others wait in vain does not fail with them, but has all of its time."""
        early = self.get()
        self.clock.advance(DEFAULT_TIMEOUT - 1)
        late = self.get()
        self.clock.advance(1)
        self.failureResultOf(early, Timeout)
        self.assert_pending(late)
        self.clock.advance(DEFAULT_TIMEOUT - 1)
        error = self.failureResultOf(late, Timeout).value
        reason = "no token was had (sent, but no answer within 10.0 seconds)"
        self.assertEqual(str(error), f"could not be sent within 10 seconds: {reason}")
        self.known()

    def test_time_of_its_own_suffices(self) -> None:
        """As soon as the server is back."""
        early = self.get()
        self.refuse_until(8.0)
        late = self.get()
        self.refuse_until(DEFAULT_TIMEOUT)
        error = self.failureResultOf(early, Unavailable).value
        self.assertRegex(str(error), r"^Auth.Authenticate at http://a: refused \(the last of \d+ attempts\)$")
        self.assert_pending(late)
        self.clock.advance(1.2)
        self.log_in()
        self.answer("first")
        self.successResultOf(late)

    def refuse_until(self, end: float) -> None:
        """Whoever asks before that is refused."""
        while self.clock.seconds() < end:
            for call in list(self.transport.waiting):
                call.reply(Unavailable(None, "refused"))
            self.clock.advance(0.1)

    def test_together(self) -> None:
        """Those that have come at almost the same time are told the same, and it is not tried again for each."""
        waiting = []
        for _ in range(10):
            waiting.append(self.get())
            self.clock.advance(0.05)
        self.refuse_until(DEFAULT_TIMEOUT)
        for one in waiting:
            self.failureResultOf(one, Unavailable)
        self.transport.asked()

    def test_longer(self) -> None:
        """A token may take as long as the one who asks for it first has; and as long as the others have, at least."""
        for patience, limit in ((60.0, 60.0), (1.0, DEFAULT_TIMEOUT)):
            self.use(A)
            first, second = self.get(patience), self.get(DEFAULT_TIMEOUT)
            self.assertEqual(self.transport.next(AUTHENTICATE).timeout, limit)
            self.log_in()
            for one in (first, second):
                self.answer("first")
                self.successResultOf(one)

    def test_tried_again(self) -> None:
        """It may be asked twice, and elsewhere."""
        self.use(A, B)
        answered = self.get()
        self.transport.next(AUTHENTICATE).reply(Unavailable(None, "lost"))
        self.assertEqual(self.log_in().endpoint, B)
        self.answer("first")
        self.successResultOf(answered)

    def test_cancel(self) -> None:
        """Who waits may leave; when nobody is left, it is not fetched any more."""
        first, second = self.get(), self.get()
        first.cancel()
        self.assertIs(self.failureResultOf(first, CancelledError).value.maybe_applied, False)
        self.transport.asked("Authenticate")
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.transport.asked()
        self.known()

    def test_cancels_another(self) -> None:
        """Whoever is told first may cancel the others, or ask again."""
        first, second = self.get(), self.get()
        again: list[Deferred[Any]] = []

        def told(_: Failure) -> None:
            second.cancel()
            again.append(self.get())

        first.addErrback(told)
        self.transport.next(AUTHENTICATE).reply(AuthFailed(3, "etcdserver: authentication failed"))
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)
        self.log_in()
        self.answer("first")
        self.assertEqual(self.successResultOf(again[0]), "the answer")

    def test_close(self) -> None:
        """Nor when the client is closed."""
        waiting = [self.get() for _ in range(3)]
        closed = self.calls.close()
        for one in waiting:
            self.failureResultOf(one, Closed)
        self.transport.asked()
        self.successResultOf(closed)

    def test_authentication_is_off(self) -> None:
        """Then none is wanted, until the server says otherwise."""
        answered = self.get()
        self.transport.next(AUTHENTICATE).reply(AuthNotEnabled(9, "etcdserver: authentication is not enabled"))
        self.answer("")
        self.successResultOf(answered)
        answered = self.get()
        self.answer("", UserEmpty(3, "etcdserver: user name is empty"))
        self.log_in()
        self.answer("first")
        self.assertEqual(self.successResultOf(answered), "the answer")


class RefreshTests(TokensCase):
    """A token that is not taken any more."""

    def test_refused_token(self) -> None:
        """Another one is fetched, by whoever is told first, and used by all."""
        for error in (
            InvalidAuthToken(16, "etcdserver: invalid auth token"),
            AuthOldRevision(3, "etcdserver: revision of auth store is old"),
            UserEmpty(3, "etcdserver: user name is empty"),
        ):
            self.use(A)
            self.known()
            waiting = [self.get() for _ in range(3)]
            for call in list(self.transport.waiting):
                call.reply(type(error)(error.code, error.message))
            self.log_in("second")
            for one in waiting:
                self.answer("second")
                self.assertEqual(self.successResultOf(one), "the answer")

    def test_told_late(self) -> None:
        """Of a token that is not the latest any more nothing follows but another attempt."""
        self.known()
        early, late = self.get(), self.get()
        first, second = list(self.transport.waiting)
        first.reply(InvalidAuthToken(16, "x"))
        self.transport.waiting[-1].reply(granted("second"))
        second.reply(InvalidAuthToken(16, "x"))
        for one in (early, late):
            self.answer("second")
            self.successResultOf(one)

    def test_refused_and_then_silence(self) -> None:
        """The token was mended; what the call fails with is the silence."""
        self.known()
        answered = self.get(1.0)
        self.clock.advance(0.6)
        self.transport.next(schema.RANGE).reply(InvalidAuthToken(16, "x"))
        self.log_in("second")
        self.clock.advance(0.4)
        self.failureResultOf(answered, Timeout)

    def test_write(self) -> None:
        """A write that was refused so was not carried out."""
        self.known()
        answered = self.calls.call(schema.PUT, PUT)
        self.transport.next(schema.PUT).reply(InvalidAuthToken(16, "x"))
        self.log_in("second")
        self.transport.next(schema.PUT).reply("the answer")
        self.assertEqual(self.successResultOf(answered), "the answer")

    def test_again_and_again(self) -> None:
        """After two tokens it waits before the next; the deadline ends it."""
        self.known()
        answered = self.get(0.5)
        count = 0
        while not answered.called:
            for call in list(self.transport.waiting):
                count += call.rpc is RANGE
                call.reply(InvalidAuthToken(16, "x") if call.rpc is RANGE else granted(f"token {count}"))
            self.clock.advance(0.05)
        self.failureResultOf(answered, InvalidAuthToken)
        self.assertLess(count, 8)

    def test_no_other(self) -> None:
        """What is refused for another reason is refused."""
        self.known()
        answered = self.get()
        self.answer("first", PermissionDenied(7, "x"))
        self.failureResultOf(answered, PermissionDenied)

    def test_deleted_user(self) -> None:
        """The refusal of the new token is told."""
        self.known()
        answered = self.get()
        self.answer("first", InvalidAuthToken(16, "x"))
        self.transport.next(AUTHENTICATE).reply(AuthFailed(3, "x"))
        self.failureResultOf(answered, AuthFailed)

    def test_own_token(self) -> None:
        """One of the user's is used as it is, and never replaced."""
        self.use(A, token="jwt")
        answered = self.get()
        self.answer("jwt")
        self.successResultOf(answered)
        answered = self.get()
        self.answer("jwt", InvalidAuthToken(16, "x"))
        self.failureResultOf(answered, InvalidAuthToken)
        self.transport.asked()


class StreamTests(TokensCase):
    """Streams carry it as well."""

    def watch(self) -> Any:
        return self.calls.stream(schema.WATCH, WatchCreateRequest(KeySet(b"key")), print)

    def test_waits(self) -> None:
        """A stream begins when there is a token; what was done to it before counts."""
        stream = self.watch()
        stream.pause()
        self.assertEqual(self.transport.streams, [])
        self.log_in()
        (fake,) = self.transport.live
        self.assertEqual((fake.metadata.token, fake.metadata.requires_leader, fake.is_paused), ("first", True, True))
        stream.resume()
        self.assertFalse(fake.is_paused)
        stream.abort()
        self.successResultOf(stream.ended)
        self.assertTrue(fake.is_aborted)

    def test_watch_is_refused(self) -> None:
        """
        In the stream, because of its token, whatever the server calls it: another one is fetched, and it is watched
        again; once.
        """
        for text in (
            "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        ):
            self.use(A)
            self.known()
            watch = Watch(self.watch_way(), (KeySet(b"key"),), WatchOptions())
            started = watch.when_started()
            refused = WatchResponse(created=True, canceled=True, cancel_reason=text)
            self.transport.live[-1].say(refused)
            self.assertEqual(self.transport.live, [])
            self.assertEqual(self.transport.next(RANGE).request.serializable, True)
            self.answer("first", InvalidAuthToken(16, "etcdserver: invalid auth token"))
            self.log_in("second")
            self.answer("second")
            (stream,) = self.transport.live
            self.assertEqual(stream.metadata.token, "second")
            stream.say(WatchResponse(Header(revision=5), created=True))
            self.assertIs(self.successResultOf(started), watch)
            watch.stop()
            self.assertEqual(self.transport.live, [])

    def test_watch_is_not_permitted(self) -> None:
        """Neither is a call; or it is, and yet the watch is not."""
        refused = WatchResponse(created=True, canceled=True, cancel_reason="etcdserver: permission denied")
        for answers in ([PermissionDenied(7, "etcdserver: permission denied")], ["the answer", refused] * 5):
            self.use(A)
            self.known()
            started = Watch(self.watch_way(), (KeySet(b"key"),), WatchOptions()).when_started()
            self.transport.live[-1].say(refused)
            for answer in answers:
                if answer is refused:
                    self.transport.live[-1].say(answer)
                else:
                    self.answer("first", answer)
            error = self.failureResultOf(started, PermissionDenied).value
            self.assertIn("etcdserver: permission denied", str(error))
            self.transport.asked()
            self.assertEqual(self.transport.live, [])

    def test_watch_is_stopped_meanwhile(self) -> None:
        self.known()
        watch = Watch(self.watch_way(), (KeySet(b"key"),), WatchOptions())
        self.transport.live[-1].say(
            WatchResponse(created=True, canceled=True, cancel_reason="etcdserver: invalid auth token")
        )
        watch.stop()
        self.transport.asked()
        self.assertEqual(self.transport.live, [])

    def test_abort_before(self) -> None:
        stream = self.watch()
        stream.abort()
        self.successResultOf(stream.ended)
        self.transport.asked()
        self.assertEqual(self.transport.streams, [])

    def test_no_token(self) -> None:
        stream = self.watch()
        self.transport.next(AUTHENTICATE).reply(AuthFailed(3, "x"))
        self.failureResultOf(stream.ended, AuthFailed)
        self.assertEqual(self.transport.streams, [])

    def test_refused(self) -> None:
        """The next one gets another token."""
        self.known()
        stream = self.watch()
        self.transport.live[0].end(InvalidAuthToken(16, "x"))
        self.failureResultOf(stream.ended, InvalidAuthToken)
        stream = self.watch()
        self.log_in("second")
        self.assertEqual(self.transport.live[0].metadata.token, "second")
        stream.abort()
        self.successResultOf(stream.ended)

    def test_close(self) -> None:
        stream = self.watch()
        self.calls.close()
        self.failureResultOf(stream.ended, Closed)
        self.transport.asked()


class CredentialsTests(SynchronousTestCase):
    """What may be given."""

    def test_taken(self) -> None:
        for credentials in (None, "token.1", ("anna", "pa55word"), ("J\u00f6rg", ""), ("a b", "\U0001f600\0")):
            self.assertEqual(check_credentials(credentials), credentials)
        self.assertEqual(check_credentials(["anna", "pa55word"]), ("anna", "pa55word"))

    def test_not_taken(self) -> None:
        """It is said what is wrong, but not what was given."""
        for credentials, kind, text in (
            ("", ValueError, "a token must be printable ASCII without spaces, and not empty"),
            ("pa55word\n", ValueError, "a token must be printable ASCII"),
            ("pa55w\u00f6rd", ValueError, "a token must be printable ASCII"),
            (b"pa55word", TypeError, "must be (user, password) or a token (a str), not bytes"),
            (("anna", "pa55word", 1), TypeError, "must be (user, password) or a token"),
            (("anna", b"pa55word"), TypeError, "must be (user, password), both str"),
            ((None, "pa55word"), TypeError, "must be (user, password), both str"),
            (("", "pa55word"), ValueError, "the user must not be empty"),
            (("anna", "pa55word\udcff"), ValueError, "must be text that can be encoded"),
            (("pa55word\ud800", "x"), ValueError, "must be text that can be encoded"),
        ):
            error = self.assertRaises(kind, check_credentials, credentials)
            self.assertIn("credentials", str(error))
            self.assertIn(text, str(error))
            self.assertNotIn("pa55", str(error))
            self.assertIsNone(error.__context__)


class SecretTests(TokensCase):
    def test_repr(self) -> None:
        """Neither password nor token is shown by anything that may be logged."""
        self.known()
        answered = self.get()
        call = self.transport.next(RANGE)
        shown = f"{call.metadata!r} {AuthenticateRequest('anna', 'pa55word')!r} {granted('first')!r}"
        call.reply(Error(2, "whatever"))
        error = self.failureResultOf(answered, Error).value
        for secret in ("pa55word", "first"):
            self.assertNotIn(secret, f"{shown} {error} {error!r}")
