"""
A registry: what is written, what is read, and who is picked.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from test.fakes import run
from test.properties import PROPERTY
from test.store import StoreCase
from txetcd import Closed, Instance, PermissionDenied, Registry, Session, Timeout
from txetcd._schema import RANGE
from txetcd.recipes.registry import decoded, encoded

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)

WRITTEN = [
    # by Go's naming/endpoints of etcd 3.6.5, and by gRPC's naming of before
    (b'{"Op":0,"Addr":"10.0.0.1:80","Metadata":null}', "10.0.0.1:80", None),
    (b'{"Op":0,"Addr":"h:1","Metadata":{"weight":3}}', "h:1", {"weight": 3}),
    (b'{"Op":0,"Addr":"h:1","Metadata":"\\u003ctls\\u003e"}', "h:1", "<tls>"),
    (b'{"op":0,"addr":"h:1","metadata":1,"Zone":"b"}', "h:1", 1),
    (b'{"Op":1,"Addr":""}', "", None),
]
"""The value of a key, and the address and the metadata that are to be read in it."""

NOTHING = [b"", b"10.0.0.1:80", b"null", b"[]", b'"h:1"', b"{}", b'{"Addr":5}', b'{"Addr":"h:1"', b"\xff", b"[" * 99999]
"""What is no entry of a server."""


class CodecTests(StoreCase):
    """The value of a key."""

    def test_written(self) -> None:
        self.assertEqual(encoded("10.0.0.1:80", None), WRITTEN[0][0])
        self.assertEqual(encoded("h:1", {"weight": 3}), WRITTEN[1][0])
        self.assertEqual(encoded("h:1", "\xe4"), b'{"Op":0,"Addr":"h:1","Metadata":"\xc3\xa4"}')

    def test_read(self) -> None:
        for value, address, metadata in WRITTEN:
            self.assertEqual(decoded(b"1", value), Instance(b"1", address, metadata))
        for value in NOTHING:
            self.assertIsNone(decoded(b"1", value), value[:20])

    @given(st.text(min_size=1).filter(lambda text: text.isprintable()), JSON)
    @PROPERTY
    def test_read_as_written(self, address: str, metadata: Any) -> None:
        self.assertEqual(decoded(b"1", encoded(address, metadata)), Instance(b"1", address, metadata))

    def test_what_cannot_be_written(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        for kind, message, address, metadata in (
            (TypeError, "address must be a str, as '10.0.0.1:80', not bytes", b"h:1", None),
            (TypeError, "address must be a str, as '10.0.0.1:80', not tuple", ("h", 1), None),
            (ValueError, "address must not be empty", "", None),
            (ValueError, "address and metadata must be text that UTF-8 can hold: ", "\ud800", None),
            (TypeError, "metadata must be what JSON can hold: ", "h:1", b"bytes"),
            (ValueError, "metadata must be what JSON can hold: ", "h:1", float("inf")),
            (ValueError, "metadata must be what JSON can hold: ", "h:1", circle),
        ):
            error = self.assertRaises(kind, encoded, address, metadata)
            self.assertTrue(str(error).startswith(message), error)


class RegistryCase(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.registry = Registry(self.client)

    def register(self, name: bytes, address: str = "h:1", metadata: Any = None) -> Any:
        return self.done(self.registry.register(b"web", name, address, metadata))

    def names(self, instances: Any) -> list[bytes]:
        return [instance.name for instance in instances]


class RegisterTests(RegistryCase):
    """What is registered, and found."""

    def test_registered(self) -> None:
        one = self.register(b"1", "10.0.0.1:80")
        self.assertEqual(self.store.keys, {b"web/1": WRITTEN[0][0]})
        self.assertEqual(self.done(self.registry.instances(b"web")), [Instance(b"1", "10.0.0.1:80")])
        self.done(one.leave())
        self.assertEqual((self.store.keys, self.store.leases), ({}, {}))

    def test_only_this_service(self) -> None:
        self.store.put(b"web2/1", encoded("other:1", None))
        self.store.put(b"web", encoded("other:1", None))
        self.store.put(b"web/no", b"entry")
        self.register(b"2")
        self.register(b"1")
        self.assertEqual(self.names(self.done(self.registry.instances(b"web"))), [b"1", b"2"])

    def test_comes_back(self) -> None:
        told: list[bool] = []
        self.done(self.registry.register(b"web", b"1", "h:1", on_status=told.append))
        self.store.expire(next(iter(self.store.leases)))
        self.settle(1)
        self.assertEqual((list(self.store.keys), told), ([b"web/1"], [True, False, True]))

    def test_block(self) -> None:
        async def inside() -> Any:
            async with self.registry.register(b"web", b"1", "h:1"):
                return list(self.store.keys)

        self.assertEqual((self.done(run(inside())), self.store.keys), ([b"web/1"], {}))

    def test_on_a_session(self) -> None:
        session = self.done(Session(self.client).start())
        self.registry = Registry(self.client, session=session)
        self.register(b"1")
        self.register(b"2")
        self.assertEqual(list(self.store.leases), [session.lease_id])
        self.done(session.close())
        self.assertEqual(self.store.keys, {})
        self.settle(1)

    def test_what_cannot_be(self) -> None:
        register = self.registry.register
        self.assertRaises(TypeError, register, "web", b"1", "h:1")
        self.assertRaises(ValueError, register, b"web/", b"1", "h:1")
        self.assertRaises(ValueError, register, b"web", b"1/", "h:1")
        self.assertRaises(TypeError, register, b"web", b"1", b"h:1")
        self.assertRaises(ValueError, register, b"web", b"1", "h:1", timeout=-1)
        self.assertRaises(ValueError, self.registry.instances, b"")
        self.assertRaises(TypeError, self.registry.watch, "web")
        self.assertRaises(TypeError, self.registry.watch, b"web", 5)
        self.assertRaises(TypeError, Registry, self.client, session=self.client)
        self.assertEqual(self.transport.calls, [])


class FollowTests(RegistryCase):
    """The servers of a service, as they come and go."""

    def test_followed(self) -> None:
        told: list[list[bytes]] = []
        instances = self.registry.watch(b"web", lambda all: told.append(self.names(all)))
        self.assertIs(self.done(instances.start()), instances)
        one = self.register(b"2")
        self.register(b"1")
        self.assertEqual((self.names(instances), len(instances)), ([b"1", b"2"], 2))
        self.assertTrue(instances.is_current)
        self.done(one.leave())
        self.assertEqual(told, [[], [b"2"], [b"1", b"2"], [b"1"]])
        self.assertIs(self.done(instances.fresh()), instances)
        self.assertIn("<Instances b'web' <Mirror CURRENT", repr(instances))
        stopped = instances.when_stopped()
        self.done(instances.close())
        self.successResultOf(stopped)

    def test_block(self) -> None:
        async def inside() -> Any:
            async with self.registry.watch(b"web") as instances:
                return self.names(instances.all())

        self.register(b"1")
        self.assertEqual(self.done(run(inside())), [b"1"])

    def test_cannot_be_followed(self) -> None:
        async def inside() -> None:
            async with self.registry.watch(b"web"):
                self.fail("not reached")

        entering = run(inside())
        self.transport.next(RANGE).reply(PermissionDenied(7, "etcdserver: permission denied"))
        self.failed(entering, PermissionDenied)


class ResolverTests(RegistryCase):
    """One after the other."""

    def resolver(self) -> Any:
        resolver = self.registry.resolver(b"web")
        self.done(resolver.start())
        return resolver

    def picked(self, resolver: Any, count: int) -> list[bytes]:
        return [self.successResultOf(resolver.pick()).name for _ in range(count)]

    def test_round_robin(self) -> None:
        for name in (b"1", b"2", b"3"):
            self.register(name)
        resolver = self.resolver()
        self.assertEqual(self.picked(resolver, 4), [b"1", b"2", b"3", b"1"])
        self.store.delete(b"web/2")
        self.store.put(b"web/0", encoded("h:0", None))
        self.peers[0].feed()
        self.assertEqual(self.picked(resolver, 3), [b"3", b"0", b"1"])
        self.settle()
        self.done(resolver.close())

    def test_waits_for_one(self) -> None:
        resolver = self.resolver()
        waiting = [resolver.pick() for _ in range(3)]
        self.cancelled(waiting.pop())
        self.settle()
        self.assert_pending(*waiting)
        self.register(b"1")
        self.assertEqual([self.successResultOf(one).name for one in waiting], [b"1", b"1"])
        self.done(resolver.close())

    def test_timeout(self) -> None:
        resolver = self.resolver()
        waiting = resolver.pick(timeout=2)
        self.settle(2)
        self.assertIn("the service b'web' had no instance within 2 seconds", str(self.failed(waiting, Timeout)))
        self.done(resolver.close())

    def test_ends(self) -> None:
        resolver = self.resolver()
        waiting = [resolver.pick(), resolver.pick(timeout=5)]
        self.done(resolver.close())
        for one in [*waiting, resolver.pick()]:
            self.failed(one, Closed)

    def test_cannot_be_followed(self) -> None:
        resolver = self.registry.resolver(b"web")
        starting, waiting = resolver.start(), resolver.pick()
        self.transport.next(RANGE).reply(PermissionDenied(7, "etcdserver: permission denied"))
        for one in (starting, waiting, resolver.pick()):
            self.failed(one, PermissionDenied)
