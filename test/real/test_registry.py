"""
Registries, on every server: what is registered is found, also as Go's ``naming/endpoints`` would write it.
"""

from __future__ import annotations

from typing import Any

from test.real.base import RealCase, on_every_server_at_length
from txetcd import Instance, OpDel, OpSet, Registry, Transaction
from txetcd.recipes.registry import encoded

GO = b'{"Op":0,"Addr":"127.0.0.1:2000","Metadata":"\\u003cgo\\u003e"}'
"""As the client of etcd 3.6.5 has written it."""


@on_every_server_at_length()
class Registered(RealCase):
    """The scenarios of etcd's own tests of ``naming``, by their names, and what else there is."""

    async def start(self: Any) -> None:
        self.registry = Registry(self.etcd, time_to_live=10)
        self.service = self.key(b"web")
        self.told: list[list[bytes]] = []

    async def followed(self: Any) -> Any:
        """The instances, with what is told of them."""
        instances = Registry(self.client()).watch(self.service, self.tell)
        self.addCleanup(instances.close)
        return await self.soon(instances.start())

    def tell(self: Any, instances: list[Instance]) -> None:
        self.told.append([instance.name for instance in instances])

    async def test_endpoint_manager(self: Any) -> None:
        """EndpointManager: whoever follows sees a server come and go."""
        instances = await self.followed()
        registration = await self.registry.register(self.service, b"1", "127.0.0.1:2000", "metadata")
        await self.soon(instances.fresh())
        self.assertEqual(instances.all(), [Instance(b"1", "127.0.0.1:2000", "metadata")])
        await registration.leave()
        await self.soon(instances.fresh())
        self.assertEqual((instances.all(), self.told), ([], [[], [b"1"], []]))

    async def test_endpoint_manager_atomicity(self: Any) -> None:
        """EndpointManagerAtomicity: what has changed at one revision is told at once."""
        instances = await self.followed()
        keys = [self.service + b"/1", self.service + b"/2"]
        await self.etcd.transact(Transaction([], [OpSet(key, GO) for key in keys]))
        await self.soon(instances.fresh())
        await self.etcd.transact(Transaction([], [OpDel(key) for key in keys]))
        await self.soon(instances.fresh())
        self.assertEqual(self.told, [[], [b"1", b"2"], []])

    async def test_endpoint_manager_crud(self: Any) -> None:
        """EndpointManagerCRUD: registered, listed, registered anew, and given up."""
        one = await self.registry.register(self.service, b"1", "127.0.0.1:1000")
        await self.etcd.set(self.service + b"/2", GO)
        await self.etcd.set(self.service + b"2/3", GO)
        self.assertEqual(
            await self.registry.instances(self.service),
            [Instance(b"1", "127.0.0.1:1000"), Instance(b"2", "127.0.0.1:2000", "<go>")],
        )
        two = await self.registry.register(self.service, b"1", "127.0.0.1:3000", {"weight": 3})
        value = (await self.etcd.get(self.service + b"/1")).kvs[0].value
        self.assertEqual(value, encoded("127.0.0.1:3000", {"weight": 3}))
        await self.until(lambda: one.is_over)
        await two.leave()
        self.assertEqual([one.name for one in await self.registry.instances(self.service)], [b"2"])

    async def test_etcd_grpc_resolver_round_robin(self: Any) -> None:
        """EtcdGrpcResolverRoundRobin: all in turn, also those that come, and not those that go."""
        async with self.registry.resolver(self.service) as resolver:
            waiting = resolver.pick()
            async with self.registry.register(self.service, b"1", "127.0.0.1:1000"):
                self.assertEqual((await self.soon(waiting)).name, b"1")
                async with self.registry.register(self.service, b"2", "127.0.0.1:2000"):
                    await self.soon(resolver.fresh())
                    self.assertEqual([(await resolver.pick()).name for _ in range(4)], [b"2", b"1"] * 2)
                await self.soon(resolver.fresh())
                self.assertEqual([(await resolver.pick()).name for _ in range(2)], [b"1"] * 2)

    async def test_etcd_grpc_resolver_pick_first(self: Any) -> None:
        """EtcdGrpcResolverPickFirst: one of those that there are."""
        async with self.registry.register(self.service, b"1", "127.0.0.1:1000"):
            instances = await self.followed()
            self.assertEqual(instances.all()[0].address, "127.0.0.1:1000")
