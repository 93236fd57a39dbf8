"""
What cannot be asked: raised at once, with the name of the argument, and nothing is sent.
"""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.client import Agent, HTTPConnectionPool

from test.test_client import KV, ClientCase
from txetcd import Client, CompVersion, KeySet, OpGet, Transaction
from txetcd import _schema as schema
from txetcd._context import ContextDeferred
from txetcd._messages import LeaseGrantResponse

NAN, INFINITY = float("nan"), float("inf")
TXN = Transaction([], [OpGet(b"k")])

Bad = list[tuple[Callable[[Any], Any], type[Exception], str]]

KEYS: Bad = [
    (lambda etcd: etcd.set("k", b"v"), TypeError, "key must be bytes, not str; encode it: 'k'.encode()"),
    (lambda etcd: etcd.set(b"", b"v"), ValueError, "key must not be empty"),
    (lambda etcd: etcd.set(None, b"v"), TypeError, "key must be bytes"),
    (lambda etcd: etcd.set(bytearray(b"k"), b"v"), TypeError, "key must be bytes, not bytearray"),
    (lambda etcd: etcd.set(KeySet(b"k"), b"v"), TypeError, "key must be bytes, not KeySet"),
    (lambda etcd: etcd.set(b"k", "v"), TypeError, "value must be bytes, not str; encode it: 'v'.encode()"),
    (lambda etcd: etcd.set(b"k", None), TypeError, "value must be bytes, not NoneType"),
    (lambda etcd: etcd.set(b"k", 7), TypeError, "value must be bytes, not int"),
    (lambda etcd: etcd.set(b"k", b"v", "7"), TypeError, "lease must be int"),
    (lambda etcd: etcd.set(b"k", b"v", True), TypeError, "lease must be int, not bool"),
    (lambda etcd: etcd.set(b"k", b"v", 2**63), ValueError, "lease must be between"),
    (lambda etcd: etcd.set(b"k", b"v", return_previous=1), TypeError, "return_previous must be bool"),
    (lambda etcd: etcd.set(b"k", b"v", ignore_value=True), ValueError, "value must be None with ignore_value"),
    (lambda etcd: etcd.set(b"k", None, ignore_value="yes"), TypeError, "ignore_value must be bool"),
    (lambda etcd: etcd.set(b"k", b"v", 7, ignore_lease=True), ValueError, "lease must be None with ignore_lease"),
    (lambda etcd: etcd.set(b"k", b"v", prev_kv=True), TypeError, "prev_kv"),
    (lambda etcd: etcd.get("k"), TypeError, "key must be bytes or a KeySet, not str; encode it"),
    (lambda etcd: etcd.get(b""), ValueError, "key must not be empty; all keys are KeySet.all()"),
    (lambda etcd: etcd.get([b"k"]), TypeError, "key must be bytes or a KeySet, not list"),
    (lambda etcd: etcd.get(b"k", "l"), TypeError, "range_end must be bytes, not str"),
    (lambda etcd: etcd.get(b"k", b""), ValueError, "range_end must not be empty"),
    (lambda etcd: etcd.get(KeySet(b"k"), b"l"), TypeError, "range_end is for a key of bytes"),
    (lambda etcd: etcd.get("k", b"l"), TypeError, "key must be bytes, not str"),
    (lambda etcd: etcd.get(b"k", limit=-1), ValueError, "limit must be between 0"),
    (lambda etcd: etcd.get(b"k", limit=True), TypeError, "limit must be int, not bool"),
    (lambda etcd: etcd.get(b"k", limit="10"), TypeError, "limit must be int, not str"),
    (lambda etcd: etcd.get(b"k", limit=1.0), TypeError, "limit must be int, not float"),
    (lambda etcd: etcd.get(b"k", limit=2**63), ValueError, "limit must be between"),
    (lambda etcd: etcd.get(b"k", revision=-1), ValueError, "revision"),
    (lambda etcd: etcd.get(b"k", max_create_revision=-1), ValueError, "max_create_revision"),
    (lambda etcd: etcd.get(b"k", min_create_revision=-1), ValueError, "min_create_revision"),
    (lambda etcd: etcd.get(b"k", min_mod_revision=-1), ValueError, "min_mod_revision"),
    (lambda etcd: etcd.get(b"k", max_mod_revision=-1), ValueError, "max_mod_revision"),
    (lambda etcd: etcd.get(b"k", count_only=1), TypeError, "count_only must be bool"),
    (lambda etcd: etcd.get(b"k", keys_only="yes"), TypeError, "keys_only must be bool"),
    (lambda etcd: etcd.get(b"k", serializable=0), TypeError, "serializable must be bool"),
    (lambda etcd: etcd.get(b"k", sort_order="UP"), ValueError, "sort_order must be one of NONE, ASCEND, DESCEND"),
    (lambda etcd: etcd.get(b"k", sort_order=1), TypeError, "sort_order must be one of"),
    (lambda etcd: etcd.get(b"k", sort_target="LEASE"), ValueError, "sort_target must be one of KEY"),
    (lambda etcd: etcd.get(b"k", sort_target=17), TypeError, "sort_target must be one of KEY"),
    (lambda etcd: etcd.get(b"k", prefix=True), TypeError, "prefix"),
    (lambda etcd: etcd.delete("k"), TypeError, "key must be bytes or a KeySet"),
    (lambda etcd: etcd.delete(b""), ValueError, "key must not be empty"),
    (lambda etcd: etcd.delete(KeySet(b"", prefix=True)), ValueError, "key would delete everything"),
    (lambda etcd: etcd.delete(KeySet(b"\x00", b"\x00")), ValueError, "key would delete everything"),
    (lambda etcd: etcd.delete(b"k", 1), TypeError, "return_previous must be bool"),
    (lambda etcd: etcd.compact(0), ValueError, "revision must be between 1"),
    (lambda etcd: etcd.compact(True), TypeError, "revision must be int"),
    (lambda etcd: etcd.compact(None), TypeError, "revision must be int"),
    (lambda etcd: etcd.compact(5, 1), TypeError, "physical must be bool"),
    (lambda etcd: etcd.compact(5, True, NAN), ValueError, "timeout"),
]

COMPOSED: Bad = [
    (lambda etcd: etcd.create("k", b"v"), TypeError, "key must be bytes"),
    (lambda etcd: etcd.create(b"k", "v"), TypeError, "value must be bytes"),
    (lambda etcd: etcd.create(b"k", b"v", "7"), TypeError, "lease must be int"),
    (lambda etcd: etcd.create(KeySet(b"k", prefix=True), b"v"), TypeError, "key must be bytes"),
    (lambda etcd: etcd.replace("k", b"v", b"w"), TypeError, "kv_or_key must be bytes"),
    (lambda etcd: etcd.replace(b"", b"v", b"w"), ValueError, "kv_or_key must not be empty"),
    (lambda etcd: etcd.replace(b"k", b"v"), TypeError, "old_value must be given with a key"),
    (lambda etcd: etcd.replace(b"k", b"v", "w"), TypeError, "value must be bytes, not str"),
    (lambda etcd: etcd.replace(KV, b"v", b"w"), TypeError, "old_value is for a key of bytes"),
    (lambda etcd: etcd.replace(KV, "v"), TypeError, "value must be bytes"),
    (lambda etcd: etcd.replace(KV, b"v", lease=7, ignore_lease=True), ValueError, "lease must be None"),
    (lambda etcd: etcd.submit([]), TypeError, "txn must be a Transaction, not list"),
    (lambda etcd: etcd.transact(None), TypeError, "txn must be a Transaction, not NoneType"),
    (lambda etcd: etcd.when(OpGet(b"k")), TypeError, "when() takes Comp"),
    (lambda etcd: etcd.when([CompVersion(b"k", "==", 0)]), TypeError, "pass them one by one: when(comp1, comp2)"),
    (lambda etcd: etcd.when().then(7), TypeError, "then() takes Op"),
    (lambda etcd: etcd.when().then([OpGet(b"k")]), TypeError, "pass them one by one: then(op1, op2)"),
    (lambda etcd: etcd.when().otherwise([]), TypeError, "pass them one by one: otherwise(op1, op2)"),
    (lambda etcd: etcd.lease(0), ValueError, "time_to_live must be between 1 and 9000000000"),
    (lambda etcd: etcd.lease(9_000_000_001), ValueError, "time_to_live"),
    (lambda etcd: etcd.lease(1.5), TypeError, "time_to_live must be int"),
    (lambda etcd: etcd.lease(True), TypeError, "time_to_live must be int"),
    (lambda etcd: etcd.lease(10, "7"), TypeError, "lease_id must be int"),
    (lambda etcd: etcd.lease(10, 2**63), ValueError, "lease_id must be between"),
    (lambda etcd: etcd.lease(10, keep_alive=1), TypeError, "keep_alive must be bool"),
    (lambda etcd: etcd.lease(10, timeout=0), ValueError, "timeout"),
    (lambda etcd: etcd.lock("name"), TypeError, "name must be bytes"),
    (lambda etcd: etcd.lock(b""), ValueError, "name must not be empty"),
    (lambda etcd: etcd.lock(b"name", NAN), ValueError, "timeout"),
    (lambda etcd: etcd.lock(b"name", time_to_live=0), ValueError, "time_to_live"),
    (lambda etcd: etcd.watch("k", print), TypeError, "keys must be bytes, a KeySet, or a list of them, not str"),
    (lambda etcd: etcd.watch(["k"], print), TypeError, "keys must be bytes or a KeySet, not str"),
    (lambda etcd: etcd.watch([], print), ValueError, "keys must not be empty"),
    (lambda etcd: etcd.watch([b"k", KeySet(b"k")], print), ValueError, "keys has KeySet(b'k') twice"),
    (lambda etcd: etcd.watch(b"", print), ValueError, "keys must not be empty"),
    (lambda etcd: etcd.watch(7, print), TypeError, "keys must be bytes, a KeySet, or a list of them, not int"),
    (lambda etcd: etcd.watch(b"k", None), TypeError, "on_watch must be callable"),
    (lambda etcd: etcd.watch(b"k", print, "NOPUT"), TypeError, "filters must be a list of NOPUT, NODELETE"),
    (lambda etcd: etcd.watch(b"k", print, 7), TypeError, "filters must be a list"),
    (lambda etcd: etcd.watch(b"k", print, ["NOGET"]), ValueError, "filters must be one of NOPUT, NODELETE"),
    (lambda etcd: etcd.watch(b"k", print, [None]), ValueError, "filters must be one of"),
    (lambda etcd: etcd.watch(b"k", print, [0]), TypeError, "filters must be one of"),
    (lambda etcd: etcd.watcher(b"k", start_revision=-1), ValueError, "start_revision"),
    (lambda etcd: etcd.watcher(b"k", start_revision=True), TypeError, "start_revision"),
    (lambda etcd: etcd.watcher(b"k", return_previous=1), TypeError, "return_previous"),
    (lambda etcd: etcd.watcher(b"k", progress_notify=1), TypeError, "progress_notify"),
]

FORGOTTEN: Bad = [
    (lambda etcd: etcd.set(b"k", Deferred()), TypeError, "value must be bytes, not"),
    (lambda etcd: etcd.set(Deferred(), b"v"), TypeError, "key must be bytes, not"),
    (lambda etcd: etcd.set(b"k", b"v", lease=ContextDeferred(print, print, bool)), TypeError, "lease must be int, not"),
    (lambda etcd: etcd.set(b"k", b"v", timeout=Deferred()), TypeError, "timeout must be a number of seconds"),
    (lambda etcd: etcd.get(Deferred()), TypeError, "key must be bytes or a KeySet, not"),
    (lambda etcd: etcd.get(b"k", Deferred()), TypeError, "range_end must be bytes, not"),
    (lambda etcd: etcd.get(b"k", limit=Deferred()), TypeError, "limit must be int, not"),
    (lambda etcd: etcd.get(b"k", keys_only=Deferred()), TypeError, "keys_only must be bool, not"),
    (lambda etcd: etcd.get(b"k", sort_order=Deferred()), TypeError, "sort_order must be one of NONE, ASCEND, DESCEND"),
    (lambda etcd: etcd.delete(Deferred()), TypeError, "key must be bytes or a KeySet, not"),
    (lambda etcd: etcd.create(b"k", Deferred()), TypeError, "value must be bytes, not"),
    (lambda etcd: etcd.replace(Deferred(), b"v"), TypeError, "kv_or_key must be bytes, not"),
    (lambda etcd: etcd.compact(Deferred()), TypeError, "revision must be int, not"),
    (lambda etcd: etcd.when(Deferred()), TypeError, "when() takes Comp"),
    (lambda etcd: etcd.when().then(Deferred()), TypeError, "then() takes Op"),
    (lambda etcd: etcd.when().otherwise(OpGet(b"k"), Deferred()), TypeError, "otherwise() takes Op"),
    (lambda etcd: etcd.lease(Deferred()), TypeError, "time_to_live must be int, not"),
    (lambda etcd: etcd.lock(Deferred()), TypeError, "name must be bytes, not"),
    (lambda etcd: etcd.watch(Deferred(), print), TypeError, "keys must be bytes, a KeySet, or a list of them, not"),
    (lambda etcd: etcd.watch([Deferred()], print), TypeError, "keys must be bytes or a KeySet, not"),
    (lambda etcd: etcd.watch(b"k", print, Deferred()), TypeError, "filters must be a list of NOPUT, NODELETE, not"),
    (lambda etcd: etcd.watcher(b"k", start_revision=Deferred()), TypeError, "start_revision must be int, not"),
]

TIMEOUTS: list[tuple[Any, type[Exception]]] = [
    (0, ValueError), (-1, ValueError), (NAN, ValueError), (INFINITY, ValueError), ("5", TypeError), (True, TypeError),
]  # fmt: skip

TIMED: list[Callable[[Any, Any], Any]] = [
    lambda etcd, timeout: etcd.status(timeout),
    lambda etcd, timeout: etcd.set(b"k", b"v", timeout=timeout),
    lambda etcd, timeout: etcd.get(b"k", timeout=timeout),
    lambda etcd, timeout: etcd.delete(b"k", timeout=timeout),
    lambda etcd, timeout: etcd.create(b"k", b"v", timeout=timeout),
    lambda etcd, timeout: etcd.replace(KV, b"v", timeout=timeout),
    lambda etcd, timeout: etcd.compact(5, timeout=timeout),
    lambda etcd, timeout: etcd.submit(TXN, timeout),
    lambda etcd, timeout: etcd.transact(TXN, timeout),
    lambda etcd, timeout: etcd.when().then().submit(timeout),
    lambda etcd, timeout: etcd.wait_for(b"k", timeout=timeout),
    lambda etcd, timeout: etcd.lease(10, timeout=timeout),
    lambda etcd, timeout: etcd.leases(timeout),
    lambda etcd, timeout: etcd.lock(b"name", timeout),
]

URLS = {
    "": "does not begin with http",
    "localhost": "does not begin with http",
    "localhost:2379": "does not begin with http",
    "ftp://localhost": "does not begin with http",
    "grpc://localhost:2379/etcd": "has a path",
    "http://": "names no host",
    "http://:2379": "names no host",
    "http:///path": "names no host",
    "http://localhost:port": "",
    "http://localhost:99999": "",
    "http://[::1": "",
    "http://localhost/?a=b": "must end with the path",
    "http://localhost/#a": "must end with the path",
    "http://user@localhost": "must not carry a user or a password",
}

SECRETS = (
    "http://root:secret@localhost:2379",
    "https://root:secret@localhost:2379/path",
    "http://root:secret@a,http://root:secret@b",
    "http://root:secret@localhost:port",
    "http://root:secret@/",
    "ftp://root:secret@localhost",
    "root:secret@localhost:2379",
    "//root:secret@localhost:2379",
    "http:root:secret@localhost",
    "http:/root:secret@localhost",
    "http://root:secret @localhost",
    "http://root:sec@ret//secret@localhost",
)


class MisuseTests(ClientCase):
    """The tables."""

    def assert_refused(self, bad: Bad) -> None:
        for call, wanted, text in bad:
            error = self.assertRaises(wanted, call, self.client)
            self.assertIs(type(error), wanted)
            self.assertIn(text, str(error))
        self.assertEqual((self.transport.calls, self.transport.streams), ([], []))

    def test_keys(self) -> None:
        """Reading and writing."""
        self.assert_refused(KEYS)

    def test_composed(self) -> None:
        """What is made of several calls."""
        self.assert_refused(COMPOSED)

    def test_forgotten(self) -> None:
        """A Deferred that was not waited for: it is said what was forgotten."""
        self.assert_refused(FORGOTTEN)
        self.assert_refused([(call, wanted, "a Deferred: yield or await it first") for call, wanted, _ in FORGOTTEN])

    def test_timeouts(self) -> None:
        """Seconds that are none."""
        self.assert_refused([
            (lambda etcd, verb=verb, timeout=timeout: verb(etcd, timeout), wanted, "timeout must be a ")
            for verb in TIMED
            for timeout, wanted in TIMEOUTS
        ])  # fmt: skip

    def test_lease_timeouts(self) -> None:
        """The verbs of a lease are no exception."""
        granting = self.client.lease(10)
        self.transport.next(schema.LEASE_GRANT).reply(LeaseGrantResponse(lease_id=7, time_to_live=10))
        lease = self.successResultOf(granting)
        sent = []
        for call in (lease.remaining, lease.keys, lease.refresh, lease.revoke):
            for timeout, wanted in TIMEOUTS:
                try:
                    waiting = call(timeout)
                except wanted:
                    continue
                except TypeError as error:
                    # what the clock of this test makes of it
                    sent.append((call.__name__, timeout, error))
                    continue
                sent.append((call.__name__, timeout, None))
                waiting.addErrback(lambda _: None)
                waiting.cancel()
        self.assertEqual(sent, [])

    def test_client(self) -> None:
        """What a client is made of."""
        clock = Clock()
        for options, wanted, text in (
            ({"url": b"http://localhost"}, TypeError, "url must be a str, or a list of them, not bytes"),
            ({"url": [b"http://localhost"]}, TypeError, "url must be a str, not bytes"),
            ({"url": []}, ValueError, "url must not be empty"),
            ({"url": "http://a,https://b"}, ValueError, "url must have one scheme for all, not http and https"),
            ({"timeout": "5"}, TypeError, "timeout"),
            ({"timeout": 0}, ValueError, "timeout"),
            ({"connect_timeout": NAN}, ValueError, "connect_timeout"),
            ({"connect_timeout": True}, TypeError, "connect_timeout"),
            ({"pool": object()}, TypeError, "pool must be"),
            ({"agent": object()}, TypeError, "agent must provide"),
            ({"agent": Agent(clock), "pool": HTTPConnectionPool(clock)}, ValueError, "pool and agent exclude"),
            ({"credentials": b"token"}, TypeError, "credentials must be (user, password) or a token (a str), not byt"),
            ({"credentials": ("root",)}, TypeError, "credentials must be (user, password) or a token (a str), not tu"),
            ({"credentials": ("root", b"secret")}, TypeError, "credentials must be (user, password), both str"),
            ({"credentials": ("", "secret")}, ValueError, "credentials: the user must not be empty"),
            ({"credentials": ""}, ValueError, "credentials: a token must be printable ASCII without spaces"),
            ({"credentials": "sec\nret"}, ValueError, "credentials: a token must be printable ASCII without spaces"),
            ({"retry": 3}, TypeError, "retry must be callable, not int"),
            ({"require_leader": "yes"}, TypeError, "require_leader must be bool, not str"),
            ({"tls": True}, TypeError, "tls"),
        ):
            error = self.assertRaises(wanted, Client, clock, **options)
            self.assertIn(text, str(error))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_urls(self) -> None:
        """URLs that are none; the value is shown."""
        for url, text in URLS.items():
            error = self.assertRaises(ValueError, Client, Clock(), url)
            self.assertIn(text, str(error))
            self.assertIn("url must be like http://localhost:2379", str(error))

    def test_secrets(self) -> None:
        """But never a password in it."""
        shown = {}
        for url in SECRETS:
            error = self.assertRaises(ValueError, Client, Clock(), url)
            if "secret" in str(error):
                shown[url] = str(error)
        self.assertEqual(shown, {})
