"""
What a client cannot be made of: a clear error for each, in one line, by the public names alone.

More of each kind is in :mod:`test.test_url`, :mod:`test.test_client_misuse` and :mod:`test.test_tls_files`; what can be
wrong with the file of a snapshot, and with its disk, in :mod:`test.test_snapshot`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from test.certificates import Authority, write
from txetcd import TLS, Client

HTTPS = "https://etcd.example:2379"


class BadInputTests(SynchronousTestCase):
    def assert_refused(self, *told: str, **options: Any) -> None:
        """It is refused at once, with these words; nothing is asked, and nothing is left to be done."""
        reactor = MemoryReactorClock()
        error = str(self.assertRaises(ValueError, Client, reactor, **options))
        for words in told:
            self.assertIn(words, error)
        self.assertNotIn("secret", error)
        self.assertNotIn("\n", error)
        self.assertEqual((reactor.getDelayedCalls(), reactor.tcpClients), ([], []))

    def test_user_in_the_url(self) -> None:
        for url in ("http://root:secret@localhost:2379", ["http://localhost:2379", "http://root:secret@localhost:2380"]):
            self.assert_refused("url must be like", "must not carry a user or a password", url=url)

    def test_two_schemes(self) -> None:
        for url in ("http://a:1,https://b:2", ["https://a:1", "http://b:2"]):
            self.assert_refused("url must have one scheme for all, not http and https", url=url)

    def test_negative_seconds(self) -> None:
        for name in ("timeout", "connect_timeout", "sync_interval"):
            self.assert_refused(f"{name} must be a positive number of seconds, not -1.5", **{name: -1.5})

    def test_files_of_tls(self) -> None:
        """One that is missing, and a key that is not that of its certificate; the file is named."""
        directory = Path(self.mktemp())
        directory.mkdir()
        mine, others = Authority("root").issue(name="client"), Authority("other").issue(name="client")
        gone = str(directory / "gone.pem")
        cert = write(directory / "cert.pem", mine.certificate)
        key = write(directory / "key.pem", others.key)
        for argument, tls in (
            ("ca_file", TLS(ca_file=gone)),
            ("cert_file", TLS(cert_file=gone)),
            ("key_file", TLS(cert_file=cert, key_file=gone)),
        ):
            self.assert_refused(f"{argument}: {gone!r} cannot be read: No such file", url=HTTPS, tls=tls)
        told = f"key_file: the private key in {key!r} is not that of the certificate in {cert!r}"
        self.assert_refused(told, url=HTTPS, tls=TLS(cert_file=cert, key_file=key))
