"""The same in coroutines: ``await``, ``async with``, ``async for``."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import Client, KeySet


async def count_down(etcd):
    for number in (3, 2, 1, 0):
        await etcd.set(b"example/count", b"%d" % number)


async def run(reactor):
    async with Client(reactor) as etcd:
        print("etcd", (await etcd.status()).version)

        async with etcd.lock(b"example/lock") as lock:
            # however this block is left, the lock is released
            print("locked at revision", lock.revision)

        async with etcd.watcher(b"example/count") as watch:
            counting = Deferred.fromCoroutine(count_down(etcd))
            async for event in watch:
                print(event.value)
                if event.value == b"0":
                    break
            await counting

        async for kv in etcd.iterate(KeySet(b"example/", prefix=True)):
            print(kv)
        await etcd.delete(KeySet(b"example/", prefix=True))


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
