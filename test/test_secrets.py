"""
Whatever answers, over both transports: no error tells the password or the token that it was sent, or that it gives.
"""

from __future__ import annotations

import json
import traceback
from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from test.fakes import Wire, chunked, fake_way, response
from test.fakes_http2 import GrpcServer, NativeCase, goodbye
from test.test_gateway import GatewayCase
from test.test_gateway_strangers import SendingAgent
from txetcd import _frames as f
from txetcd import _schema as schema
from txetcd._calls import Calls
from txetcd._gateway import Gateway
from txetcd._messages import AuthenticateRequest, AuthUserAddRequest, AuthUserChangePasswordRequest, Empty
from txetcd._tokens import Tokens
from txetcd.errors import Error
from txetcd.ops import OpGet, OpSet

TOKEN = "HIDDENTOKEN.12"
PASSWORD = 'SECRET"PW'
NOT_SHOWN = "not shown because there may be a secret in them"

Begin = Callable[[Calls], Deferred[Any]]

WITH_PASSWORD: list[Begin] = [
    lambda calls: calls.call(schema.AUTHENTICATE, AuthenticateRequest("root", PASSWORD)),
    lambda calls: calls.call(schema.USER_ADD, AuthUserAddRequest("root", PASSWORD)),
    lambda calls: calls.call(schema.USER_CHANGE_PASSWORD, AuthUserChangePasswordRequest("root", PASSWORD)),
]
OTHERS: list[Begin] = [
    lambda calls: calls.call(schema.PUT, OpSet(b"key", b"value")),
    lambda calls: calls.call(schema.RANGE, OpGet(b"key")),
    lambda calls: calls.stream(schema.SNAPSHOT, Empty(), print).ended,
]

ECHO = json.dumps({"headers": {"Authorization": TOKEN}, "data": json.dumps({"name": "root", "password": PASSWORD})})
HTML = f"<html><pre>Authorization: {TOKEN}\r\n\r\n{{&quot;password&quot;:&quot;SECRET&quot;PW&quot;}}</pre></html>"

GIVEN = b'{"token":"HIDDENTOKEN.12"}'

BODIES: list[bytes] = [
    ECHO.encode(),
    HTML.encode(),
    # too long to be quoted as a whole
    *(b"x" * size + f" {TOKEN} {PASSWORD}".encode() for size in (90, 110, 119, 230, 238)),
    # a token, as it is given: without a header, and with a bad one
    GIVEN,
    b'{"result":{"header":{"revision":"HIDDENTOKEN.12"}}}',
    b'{"header":{"revision":"HIDDENTOKEN.12"},"kvs":[{"lease":"HIDDENTOKEN.12"}]}',
    # said as etcd would say it
    *(
        json.dumps({"code": code, "message": f"not this: {ECHO} {PASSWORD} {TOKEN}"}).encode()
        for code in (2, 3, 7, 14, 404)
    ),
    b'{"error":{"grpc_code":2,"message":"what is HIDDENTOKEN.12 or SECRET\\"PW?"}}',
    f"CommonName of client sending a request against gateway will be ignored: {ECHO}".encode(),
]

STATUSES = (200, 302, 400, 404, 413, 421, 500, 502)


class SecretsCase(SynchronousTestCase):
    """What is told of an error."""

    def assert_hidden(self, begin: Begin, waiting: Deferred[Any], calls: Calls, case: object) -> str:
        """It failed, and told no secret: not in its words, not in those of a cause, nor in the statistics."""
        error: Any = self.failureResultOf(waiting, Error).value
        told = str(error)
        everything = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        while error is not None:
            everything += f"{error} {error!r} {error.args} {vars(error)}"
            error = error.__cause__
        everything += repr(calls.stats())
        self.assertNotIn("HIDD", everything, case)
        if begin in WITH_PASSWORD:
            self.assertNotIn("SECRET", everything, case)
        return told


class GatewayTests(GatewayCase, SecretsCase):
    """Over the gateway."""

    def use(self, gateway: Gateway) -> None:
        super().use(gateway)
        self.calls = Calls(fake_way(self.clock, gateway, tokens=Tokens(self.clock, None, TOKEN)))

    def told(self, begin: Begin, said: bytes, end: Callable[[Wire], None] = lambda wire: None) -> str:
        """What is told if the server says this, and ends so."""
        waiting = begin(self.calls)
        wire = self.network.accept()
        self.assertIn(TOKEN.encode(), wire.value())
        wire.send(said)
        end(wire)
        self.clock.advance(0)
        told = self.assert_hidden(begin, waiting, self.calls, said)
        self.hang_up()
        return told

    def test_bodies(self) -> None:
        for begin in (*WITH_PASSWORD, *OTHERS):
            for body in BODIES:
                for status in STATUSES if len(body) < 90 or begin is WITH_PASSWORD[0] else (200, 500):
                    self.told(begin, response(body, status))

    def test_what_is_shown(self) -> None:
        """The rest is, or how long it is."""
        echo = b'{"headers": {"Authorization": "***"}, "data": "{\\"name\\": \\"root\\", '
        page = response(ECHO.encode(), 500)
        for begin in WITH_PASSWORD:
            self.assertIn(f"HTTP 500: {len(ECHO)} bytes, {NOT_SHOWN}", self.told(begin, page))
            self.assertIn(f"it has no header: 26 bytes, {NOT_SHOWN}", self.told(begin, response(GIVEN)))
        for begin in OTHERS:
            self.assertIn(f"HTTP 500: {repr(echo.decode())[:-1]}", self.told(begin, page))

    def test_echo(self) -> None:
        """Something that is no server of HTTP, and says what it was told, as far as that has come."""
        for begin in (*WITH_PASSWORD, *OTHERS):
            waiting = begin(self.calls)
            request = self.network.accept().value()
            waiting.cancel()
            waiting.addErrback(lambda _: None)
            self.hang_up()
            for size in range(20, len(request) + 1, 7):
                self.told(begin, request[:size])
                self.told(begin, b"HTTP/" + request[:size].replace(b"\r\n", b" ") + b"\r\n\r\n")

    def test_token_of_a_bad_kind(self) -> None:
        """What is given with a header is looked at only by who wants it."""
        said = response(b'{"header":{"revision":"7"},"token":["SECRET OF ANOTHER"]}')
        self.told(WITH_PASSWORD[0], said)

    def test_broken(self) -> None:
        """Answers that break off, or are broken."""
        for begin in (*WITH_PASSWORD, *OTHERS):
            for body in BODIES[:4]:
                self.told(begin, chunked(body, end=False), Wire.close)
                self.told(begin, chunked(body, end=False) + body + b"\r\n")
                self.told(begin, b"HTTP/1.1 200 " + body.replace(b"\r\n", b"") + b"\r\nContent-Length: SECRET\r\n\r\n")

    def test_agent(self) -> None:
        """One of the user's, which says what it likes."""
        for begin in (*WITH_PASSWORD, *OTHERS):
            for error in (ValueError(f"cannot send {ECHO} {TOKEN}"), OSError(9, f"{PASSWORD} {TOKEN}")):
                self.use(Gateway(self.clock, 5.0, agent=SendingAgent(error)))
                self.assert_hidden(begin, begin(self.calls), self.calls, error)


class NativeTests(NativeCase, SecretsCase):
    """Over the native protocol."""

    def use(self, native: Any, url: str = "grpc://etcd.example:2379") -> None:
        super().use(native, url)
        self.calls = Calls(fake_way(self.clock, native, url, tokens=Tokens(self.clock, None, TOKEN)))

    def told(self, begin: Begin, answer: Callable[[GrpcServer], None]) -> str:
        """What is told if the server answers so."""
        waiting = begin(self.calls)
        server = self.serve()
        self.assertEqual(TOKEN, server.asked[0].headers["token"])
        answer(server)
        self.clock.advance(0)
        told = self.assert_hidden(begin, waiting, self.calls, answer)
        self.hang_up()
        return told

    def test_pages(self) -> None:
        for begin in (*WITH_PASSWORD, *OTHERS):
            for body in BODIES:
                for status in STATUSES if len(body) < 90 else (200, 500):
                    kind = f"text/{TOKEN}"
                    self.told(begin, lambda server: server.page(server.asked[0], status, kind, body))

    def test_what_is_shown(self) -> None:
        """The rest is, or how long it is."""

        def page(server: GrpcServer) -> None:
            server.page(server.asked[0], 200, "text", ECHO.encode())

        for begin in WITH_PASSWORD:
            self.assertIn(f"of the type 'text': {len(ECHO)} bytes, {NOT_SHOWN}", self.told(begin, page))
        for begin in OTHERS:
            self.assertIn("of the type 'text': '{\"headers\": {\"Authorization\": \"***\"}", self.told(begin, page))

    def test_refusals(self) -> None:
        for begin in (*WITH_PASSWORD, *OTHERS):
            for code in range(1, 17):
                self.told(begin, lambda server: server.refuse(server.asked[0], code, f"{TOKEN}: {ECHO}"))

    def test_messages(self) -> None:
        """A token without a header, one that is no text, and one that is cut off."""
        for message in (b"\x12\x0eHIDDENTOKEN.12", b"\x12\x0fHIDDENTOKEN.12\xff", b"\x12\x0fHIDDENTOKEN.12"):
            self.told(WITH_PASSWORD[0], lambda server: server.answer(server.asked[0], message))

    def test_goodbye(self) -> None:
        """What is said of the connection."""
        for begin in (*WITH_PASSWORD, *OTHERS):

            def leave(server: GrpcServer) -> None:
                server.raw(goodbye(1, 2, f"{TOKEN} {PASSWORD}".encode()))
                server.wire.close()

            self.told(begin, leave)

    def test_violation(self) -> None:
        for begin in (*WITH_PASSWORD, *OTHERS):
            name = b"HIDDENTOKEN.12"
            block = b"\x88\x00" + bytes([len(name)]) + name + b"\x01b"
            self.told(begin, lambda server: server.raw(f.pack(f.HEADERS, f.END_HEADERS, 1, block)))
