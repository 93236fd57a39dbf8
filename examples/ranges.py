"""Reads many keys: by range, by prefix, sorted, counted, page by page."""

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from txetcd import Client, KeySet


async def run(reactor):
    async with Client(reactor) as etcd:
        everything = KeySet(b"example/", prefix=True)
        await gatherResults([etcd.set(b"example/%03d" % number, b"x" * number) for number in range(100)])

        # from 010 up to, but not including, 020
        result = await etcd.get(KeySet(b"example/010", b"example/020"))
        print([kv.key for kv in result.kvs])

        result = await etcd.get(everything, count_only=True)
        print("there are", result.count, "keys")

        result = await etcd.get(everything, limit=3, sort_order="DESCEND", sort_target="VALUE", keys_only=True)
        print("the largest values are those of", [kv.key for kv in result.kvs], "and there is more:", result.more)

        # all of them, as they are at one revision, however many they are
        size = 0
        async for kv in etcd.iterate(everything, page_size=25):
            size += len(kv.value)
        print("all values together have", size, "bytes")

        await etcd.delete(everything)


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
