"""Readers who read together, and a writer who writes alone."""

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from txetcd import Client, OpSet, ReadWriteLock


async def read(reactor, etcd, lock, name):
    async with lock.reading():
        found = await etcd.get(b"example/page")
        print(name, "reads", found.kvs[0].value if found.kvs else "nothing")
        await deferLater(reactor, 0.2)


async def write(etcd, lock, text):
    async with lock.writing() as held:
        print("written alone; there are", len(await lock.contenders()), "who hold it or wait for it")
        # even if it was lost without our noticing, this would not be written under the eyes of a reader
        await etcd.when(held.guard()).then(OpSet(b"example/page", text)).submit()


async def run(reactor):
    async with Client(reactor) as etcd:
        lock = ReadWriteLock(etcd, b"example/rwlock")
        await gatherResults([Deferred.fromCoroutine(read(reactor, etcd, lock, name)) for name in ("anna", "berta")])
        await write(etcd, lock, b"page 7")
        await read(reactor, etcd, lock, "anna")
        print("without waiting:", await lock.reading().try_acquire())
        await etcd.delete(b"example/page")


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
