"""Ten thousand watches on one connection: with a ``grpc://`` URL they share a few of its streams."""

import os

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from txetcd import Client, KeySet

COUNT = 10_000
PREFIX = b"example/many/"


async def run(reactor):
    url = os.environ.get("ETCD_URL", "http://localhost:2379").replace("http", "grpc", 1)
    async with Client(reactor, url, timeout=60) as etcd:
        watches = [etcd.watcher(PREFIX + b"%d" % number) for number in range(COUNT)]
        await gatherResults([watch.when_started() for watch in watches])
        stats = etcd.stats()
        print(COUNT, "watches:", stats.connections, "connection,", stats.streams, "streams")

        # each is told of its own key, and of no other
        for number in range(0, COUNT, 1000):
            await etcd.set(PREFIX + b"%d" % number, b"hello %d" % number)
        told = [(await watches[number].__anext__()).value for number in range(0, COUNT, 1000)]
        print(told[0].decode(), "...", told[-1].decode())
        await etcd.delete(KeySet(PREFIX, prefix=True))


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
