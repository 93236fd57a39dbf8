"""
What errors quote, and the secrets that they do not.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txetcd import _schema as schema
from txetcd._messages import (
    AuthenticateRequest,
    AuthUserAddRequest,
    AuthUserChangePasswordRequest,
    AuthUserDeleteRequest,
)
from txetcd._quotes import PLAIN, Quotes, excerpt
from txetcd._transport import Metadata, quotes_of
from txetcd.errors import (
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    UNKNOWN,
    AuthFailed,
    RequestError,
    RequestTooLarge,
    UserNotFound,
)

TOKEN = "SECRETTOKEN.12"
NOT_SHOWN = "not shown because there may be a secret in them"


class ExcerptTests(SynchronousTestCase):
    def test_plain(self) -> None:
        for body in (b"", b"a page\r\n", b"\xff\x00", b"x" * 1000):
            self.assertEqual(excerpt(body), PLAIN.excerpt(body))

    def test_token(self) -> None:
        for body, told in (
            (b"", "''"),
            (b"nothing", "'nothing'"),
            (b"Authorization: SECRETTOKEN.12\r\nHost: a", "'Authorization: *** Host: a'"),
            (b"SECRETTOKEN.12SECRETTOKEN.12 SECRETTOKEN.13", "'****** SECRETTOKEN.13'"),
        ):
            self.assertEqual(told, Quotes(TOKEN).excerpt(body))

    def test_no_part_of_it(self) -> None:
        """Wherever an excerpt, or what has arrived so far, ends."""
        for size in range(300):
            whole = b"x" * size + TOKEN.encode() + b"y" * 300
            self.assertNotIn("SECR", Quotes(TOKEN).excerpt(whole), size)
            for end in range(size, size + len(TOKEN)):
                self.assertNotIn("SECR", Quotes(TOKEN).excerpt(whole[:end]), (size, end))

    def test_much_of_it(self) -> None:
        """A page that says it over and over."""
        for times in range(1, 200):
            self.assertNotIn("SECR", Quotes(TOKEN).excerpt(TOKEN.encode() * times), times)

    def test_spellings(self) -> None:
        for body in (
            'a"b\\c<d>&é',
            r"a\"b\\c<d>&\u00e9",
            r"a\"b\\c<d>&é",
            "a&quot;b\\c&lt;d&gt;&amp;é",
        ):
            self.assertEqual("'<***>'", Quotes('a"b\\c<d>&é').excerpt(f"<{body}>".encode()), body)
            self.assertEqual("<***>", Quotes('a"b\\c<d>&é').text(f"<{body}>"), body)

    def test_several(self) -> None:
        """The longest first, and no empty one."""
        for secrets in (("SECRET", "MY SECRET", ""), ("MY SECRET", "", "SECRET")):
            self.assertEqual("'*** ***'", Quotes(*secrets).excerpt(b"MY SECRET SECRET"))

    def test_mute(self) -> None:
        """Of a body nothing but its size, whatever it is."""
        for body in (b"", b"nothing", b'{"token":"ANOTHER"}'):
            self.assertEqual(f"{len(body)} bytes, {NOT_SHOWN}", Quotes("SECRET", is_mute=True).excerpt(body))

    def test_repr(self) -> None:
        self.assertNotIn(TOKEN, f"{Quotes(TOKEN)!r} {Metadata(TOKEN)!r}")


class TextTests(SynchronousTestCase):
    def test_text(self) -> None:
        self.assertEqual("bad token *** of ***", Quotes(TOKEN).text(f"bad token {TOKEN} of {TOKEN}"))

    def test_mute(self) -> None:
        """A text with the password in it is not told at all: what is missing in it would be the password."""
        quotes = Quotes("er", is_mute=True)
        self.assertEqual("a text", quotes.text("a text"))
        self.assertEqual(f"13 characters, {NOT_SHOWN}", quotes.text("other secrets"))

    def test_refusal(self) -> None:
        """It is told apart by what was said."""
        error = Quotes("message").refusal(RESOURCE_EXHAUSTED, "grpc: received message larger than max (3 vs. 2)")
        told = "grpc: received *** larger than max (3 vs. 2)"
        self.assertEqual((RequestTooLarge, RESOURCE_EXHAUSTED, told), (type(error), error.code, error.message))
        self.assertEqual(told, error.args[1])
        error = Quotes(TOKEN).refusal(INVALID_ARGUMENT, f"what is {TOKEN}?")
        self.assertEqual((RequestError, "what is ***?"), (type(error), error.message))

    def test_texts_of_etcd(self) -> None:
        """They tell nothing of the password, even if it is a word in them."""
        for said, cls in (
            ("etcdserver: user name not found", UserNotFound),
            ("etcdserver: authentication failed, invalid user ID or password", AuthFailed),
        ):
            for quotes in (Quotes("user"), Quotes("user", is_mute=True)):
                error = quotes.refusal(UNKNOWN, said)
                self.assertEqual((cls, said), (type(error), error.message))


class WhichTests(SynchronousTestCase):
    """What is secret in which call."""

    def test_calls(self) -> None:
        metadata = Metadata(TOKEN)
        for rpc, request in (
            (schema.AUTHENTICATE, AuthenticateRequest("root", "PASSWORD")),
            (schema.USER_ADD, AuthUserAddRequest("root", "PASSWORD")),
            (schema.USER_ADD, AuthUserAddRequest("root", hashed_password="PASSWORD")),
            (schema.USER_CHANGE_PASSWORD, AuthUserChangePasswordRequest("root", "PASSWORD")),
            (schema.USER_CHANGE_PASSWORD, AuthUserChangePasswordRequest("root", hashed_password="PASSWORD")),
        ):
            quotes = quotes_of(rpc, request, metadata)
            self.assertEqual(f"1 bytes, {NOT_SHOWN}", quotes.excerpt(b"x"))
            for secret in ("PASSWORD", TOKEN):
                self.assertIn(NOT_SHOWN, quotes.text(f"<{secret}>"))
            self.assertEqual("x", quotes.text("x"))
        self.assertIs(metadata.quotes, quotes_of(schema.USER_DELETE, AuthUserDeleteRequest("root"), metadata))
        self.assertEqual("'<***>'", metadata.quotes.excerpt(f"<{TOKEN}>".encode()))

    def test_every_password(self) -> None:
        """No other request has one."""
        with_password = {message.name for message in schema.MESSAGES if "password" in [f.name for f in message.fields]}
        self.assertEqual(
            {"Auth.Authenticate", "Auth.UserAdd", "Auth.UserChangePassword"},
            {rpc.name for rpc in schema.RPCS.values() if rpc.request in with_password},
        )
