"""Servers that register themselves, and a client that asks one after the other; as Go programs understand it."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import Client, Registry

SERVICE = b"example/greeter"


def changed(instances):
    print("servers:", [instance.name.decode() for instance in instances])


async def run(reactor):
    async with Client(reactor) as etcd:
        registry = Registry(etcd, time_to_live=10)
        async with registry.watch(SERVICE, changed) as servers, registry.resolver(SERVICE) as resolver:
            # nobody is there yet: it waits for the first one
            picking = resolver.pick(timeout=10)
            async with registry.register(SERVICE, b"1", "10.0.0.1:80"):
                print("ask", (await picking).address)
                async with registry.register(SERVICE, b"2", "10.0.0.2:80", "in zone b"):
                    await resolver.fresh()
                    for _ in range(3):
                        server = await resolver.pick()
                        print("ask", server.address, server.metadata or "")

                    # what gRPC programs in Go read that dial etcd:///example/greeter
                    print((await etcd.get(SERVICE + b"/2")).kvs[0].value.decode())
            await servers.fresh()
        print("left:", await registry.instances(SERVICE))


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
