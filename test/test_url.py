"""
The URLs of endpoints.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txetcd._url import DEFAULT_URL, check_url, check_urls, respoken

GOOD = {
    DEFAULT_URL: "http://localhost:2379",
    "https://etcd.example": "https://etcd.example",
    "http://127.0.0.1:2379/": "http://127.0.0.1:2379",
    "http://[::1]:2379": "http://[::1]:2379",
    "http://proxy/etcd/": "http://proxy/etcd",
    "  http://localhost:2379 ": "http://localhost:2379",
    "http://localhost//": "http://localhost",
    "HTTP://localhost:2379": "http://localhost:2379",
    "hTTpS://Etcd.Example/": "https://Etcd.Example",
    "http://localhost:1": "http://localhost:1",
    "http://localhost:65535": "http://localhost:65535",
    "http://etcd_1:2379": "http://etcd_1:2379",
    "http://b\u00fccher.example:2379": "http://b\u00fccher.example:2379",
    "http://proxy/a@b": "http://proxy/a@b",
    "grpc://localhost": "grpc://localhost",
    "GRPCS://localhost:1/": "grpcs://localhost:1",
}

NO_SCHEME = "does not begin with http://, https://, grpc:// or grpcs://"
NO_PORT = "has a port that is none: it must be a number from 1 to 65535"
NO_HOST = "has a host that is none (an IPv6 address stands in brackets: http://[::1]:2379)"

BAD = {
    "": f"'' {NO_SCHEME}",
    "localhost:2379": f"'localhost:2379' {NO_SCHEME}",
    "//localhost": f"'//localhost' {NO_SCHEME}",
    "ftp://localhost": f"'ftp://localhost' {NO_SCHEME}",
    "unix://localhost": f"'unix://localhost' {NO_SCHEME}",
    "http:localhost": f"'http:localhost' {NO_SCHEME}",
    "http:/localhost": f"'http:/localhost' {NO_SCHEME}",
    "https:://localhost": f"'https:://localhost' {NO_SCHEME}",
    "grpc://localhost:2379/etcd": "'grpc://localhost:2379/etcd' has a path, which gRPC does not know",
    "http://localhost:": f"'http://localhost:' {NO_PORT}",
    "http://localhost:/etcd": f"'http://localhost:/etcd' {NO_PORT}",
    "http://localhost:0": f"'http://localhost:0' {NO_PORT}",
    "http://localhost:65536": f"'http://localhost:65536' {NO_PORT}",
    "http://localhost:99999": f"'http://localhost:99999' {NO_PORT}",
    "http://localhost:many": f"'http://localhost:many' {NO_PORT}",
    "http://localhost:-1": f"'http://localhost:-1' {NO_PORT}",
    "http://localhost:+80": f"'http://localhost:+80' {NO_PORT}",
    "http://localhost:1_0": f"'http://localhost:1_0' {NO_PORT}",
    "http://localhost:\u0661": f"'http://localhost:\u0661' {NO_PORT}",
    "http://http://localhost:2379": f"'http://http://localhost:2379' {NO_PORT}",
    "http://::1:2379": f"'http://::1:2379' {NO_HOST}",
    "http://::1": f"'http://::1' {NO_HOST}",
    "http://[::1": f"'http://[::1' {NO_HOST}",
    "http://[::1]2379": f"'http://[::1]2379' {NO_HOST}",
    "http://[localhost]:2379": f"'http://[localhost]:2379' {NO_HOST}",
    "http://localhost:2379:2379": f"'http://localhost:2379:2379' {NO_HOST}",
    "a:2379,b:2379": "'a:2379,b:2379' has a comma",
    "http://": "'http://' names no host",
    "http://:2379": "'http://:2379' names no host",
    "http:///etcd": "'http:///etcd' names no host",
    "http://a,http://b": "'http://a,http://b' has a comma",
    "http://u:secret@a,http://b": "'http://...@a,http://b' has a comma",
    "http://localhost?x=1": "'http://localhost?x=1' must end with the path",
    "http://localhost#x": "'http://localhost#x' must end with the path",
    "http://user:secret@localhost": "'http://...@localhost' must not carry a user or a password",
    "http://user@localhost": "'http://...@localhost' must not carry a user or a password",
    "http://@localhost": "'http://...@localhost' must not carry a user or a password",
    "http://:secret@localhost": "'http://...@localhost' must not carry a user or a password",
}

WITH_A_SECRET = [
    "user:secret@localhost:2379",
    "http:user:secret@localhost",
    "http://user:secret@localhost:many",
    "http://user:sec//secret@localhost",
    "http://user:secret/x@localhost",
    "http://user:secret?x@localhost",
    "http://user:secret#x@localhost",
    "ftp://user:secret@localhost",
    "http://user:secret@a,http://user:secret@b",
    "http://a,user:secret@b",
    "user:secret@a,http://b",
    "http://user:secret@local host",
]


class UrlTests(SynchronousTestCase):
    def test_good(self) -> None:
        self.assertEqual(GOOD, {value: check_url("url", value) for value in GOOD})

    def test_bad(self) -> None:
        for value, problem in BAD.items():
            error = self.assertRaises(ValueError, check_url, "url", value)
            self.assertEqual(f"url must be like {DEFAULT_URL}: {problem}", str(error))

    def test_not_text(self) -> None:
        for value, kind in ((None, "NoneType"), (b"http://localhost", "bytes"), (2379, "int")):
            error = self.assertRaises(TypeError, check_url, "url", value)
            self.assertEqual(f"url must be a str, not {kind}", str(error))

    def test_several(self) -> None:
        """One, several with commas between them, or a list; each once, in their order."""
        for value, wanted in (
            ("http://a", ("http://a",)),
            ("http://a:1/, HTTP://b:2,,http://a:1", ("http://a:1", "http://b:2")),
            (["http://b", "http://a"], ("http://b", "http://a")),
            (("https://a",), ("https://a",)),
        ):
            self.assertEqual(wanted, check_urls("url", value))

    def test_several_bad(self) -> None:
        """What is wrong with any of them."""
        for value, kind, text in (
            ([], ValueError, "url must not be empty"),
            ("", ValueError, f"url must be like {DEFAULT_URL}: '' {NO_SCHEME}"),
            (",", ValueError, f"url must be like {DEFAULT_URL}: ',' has a comma"),
            ("http://a,https://b", ValueError, "url must have one scheme for all, not http and https"),
            ("http://a,grpc://b", ValueError, "url must have one scheme for all, not grpc and http"),
            (["http://a", b"http://b"], TypeError, "url must be a str, not bytes"),
            (["http://a", "b"], ValueError, f"url must be like {DEFAULT_URL}: 'b' {NO_SCHEME}"),
            (["http://a,http://b"], ValueError, f"url must be like {DEFAULT_URL}: 'http://a,http://b' has a comma"),
            (b"http://a", TypeError, "url must be a str, or a list of them, not bytes"),
            (None, TypeError, "url must be a str, or a list of them, not NoneType"),
        ):
            error = self.assertRaises(kind, check_urls, "url", value)
            self.assertEqual(text, str(error))

    def test_passwords_are_not_shown(self) -> None:
        shown = [v for v in WITH_A_SECRET if "secret" in str(self.assertRaises(ValueError, check_url, "url", v))]
        shown += [v for v in WITH_A_SECRET if "secret" in str(self.assertRaises(ValueError, check_urls, "url", v))]
        self.assertEqual([], shown)
        error = self.assertRaises(ValueError, check_urls, "url", "http://user:sec,ret@a")
        self.assertNotIn("sec", str(error))

    def test_control_characters_and_spaces(self) -> None:
        """They would get into the request as they are."""
        for value in ("http://local\nhost", "http://local\r\nhost/x", "http://local host", "http://localhost/a b\tc"):
            error = self.assertRaises(ValueError, check_url, "url", value)
            problem = f"{value!r} has a space or a control character"
            self.assertEqual(f"url must be like {DEFAULT_URL}: {problem}", str(error))

    def test_empty_query_and_fragment(self) -> None:
        """The path of a call comes behind the URL: it must not end up in a query."""
        for value in ("http://localhost?", "http://localhost#", "http://localhost/?#"):
            self.assertRaises(ValueError, check_url, "url", value)

    def test_respoken(self) -> None:
        """The same place by another transport, if it is as secure."""
        for url, scheme, wanted in (
            ("http://a:1", "http", "http://a:1"),
            ("http://a:1", "grpc", "grpc://a:1"),
            ("grpc://a:1", "http", "http://a:1"),
            ("https://a:1", "grpcs", "grpcs://a:1"),
            ("http://a:1", "https", None),
            ("http://a:1", "grpcs", None),
            ("https://a:1", "grpc", None),
            ("unix://a:1", "grpc", None),
        ):
            self.assertEqual(wanted, respoken(url, scheme))
