"""Keys that disappear when their owner does."""

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from txetcd import Client, Expired


async def run(reactor):
    async with Client(reactor) as etcd:
        # left alone, a lease takes its keys along when it expires
        lease = await etcd.lease(5)
        done = await etcd.set(b"example/here", b"yes", lease=lease)
        print("left:", await lease.remaining(), "seconds; attached:", await lease.keys())
        async with etcd.watcher(b"example/here", start_revision=done.header.revision + 1) as watch:
            print("then it was", (await watch.__anext__()).type + "d")
        try:
            await lease.refresh()
        except Expired as error:
            print("too late:", error.message.partition(" is ")[2])

        # kept alive, it lasts as long as the block
        async with etcd.lease(5, keep_alive=True) as lease:
            await etcd.set(b"example/here", b"yes", lease=lease)
            await deferLater(reactor, 6)
            result = await etcd.get(b"example/here")
            print("after 6 seconds:", result.count, "key, and the lease is", lease.state)
        result = await etcd.get(b"example/here")
        print("after the block:", result.count, "keys")


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
