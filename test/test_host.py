"""
Whether a certificate is for a host.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from twisted.trial.unittest import SynchronousTestCase

from txetcd._host import address_of, is_for

# a name in a certificate, a host, and whether the certificate is for it: much of it from Go's TestMatchHostnames
NAMES: list[tuple[str, str, bool]] = [
    ("a.b.c", "a.b.c", True),
    ("a.b.c", "b.b.c", False),
    ("", "b.b.c", False),
    ("a.b.c", "", False),
    ("", "", False),
    ("example.com", "example.com", True),
    ("Example.COM", "eXample.com", True),
    ("example.com", "www.example.com", False),
    ("example.com", "example.com.", False),
    (".", ".", False),
    ("..", "..", False),
    (".example.com", ".example.com", False),
    ("*.example.com", "www.example.com", True),
    ("*.example.com", "xyz.www.example.com", False),
    ("*.example.com", ".example.com", False),
    ("*.example.com", "example.com", False),
    ("*.*.example.com", "xyz.www.example.com", False),
    ("*.www.*.com", "xyz.www.example.com", False),
    ("www.*.com", "www.example.com", False),
    ("*w.example.com", "www.example.com", False),
    ("*.example.com", "*.example.com", False),
    ("*.etcd", "etcd-0.etcd", True),
    ("*.etcd", "etcd-0.etcd.svc", False),
    ("*", "localhost", False),
    ("*", "*", False),
    ("localhost", "localhost", True),
    ("etcd_1", "etcd_1", True),
    ("127.0.0.1", "127.0.0.1", False),
    ("*.0.0.1", "127.0.0.1", False),
    ("::1", "::1", False),
]

ADDRESSES: list[tuple[str, str, bool]] = [
    ("127.0.0.1", "127.0.0.1", True),
    ("127.0.0.2", "127.0.0.1", False),
    ("::1", "0:0::1", True),
    ("::1", "::2", False),
    ("::ffff:127.0.0.1", "127.0.0.1", False),
    ("127.0.0.1", "localhost", False),
    ("127.0.0.1", "127.1", False),
]


class HostTests(SynchronousTestCase):
    def test_names(self) -> None:
        for name, host, wanted in NAMES:
            self.assertIs(wanted, is_for(host, [name], []), (name, host))

    def test_addresses(self) -> None:
        for address, host, wanted in ADDRESSES:
            self.assertIs(wanted, is_for(host, [], [ip_address(address)]), (address, host))
            self.assertIs(wanted, is_for(host, ["other"], [ip_network("10.0.0.0/8"), ip_address(address)]))

    def test_any_of_them(self) -> None:
        self.assertTrue(is_for("etcd", ["*", "*.local", "etcd"], []))
        self.assertFalse(is_for("etcd", [], []))

    def test_address_of(self) -> None:
        self.assertEqual(ip_address("::1"), address_of("::1"))
        for name in ("localhost", "", "127.1", "1", "300.1.1.1"):
            self.assertIsNone(address_of(name), name)
