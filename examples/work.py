"""Work that is done, though a worker dies with it."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import Client, Timeout, WorkQueue


async def die(reactor):
    """Takes something, and is killed: nothing renews its lease any more, and nothing is given back."""
    etcd = Client(reactor)
    item = await WorkQueue(etcd, b"example/work", time_to_live=2).take()
    print("dies with", item.value)
    await etcd.close()


async def work(etcd):
    queue = WorkQueue(etcd, b"example/work")
    while True:
        try:
            # done at the end of the block; given back, if that fails
            async with queue.take(timeout=15) as item:
                print("does", item.value)
        except Timeout:
            return


async def run(reactor):
    async with Client(reactor) as etcd:
        queue = WorkQueue(etcd, b"example/work")
        await queue.put_all([b"dishes", b"laundry"])
        await die(reactor)
        await work(etcd)
        print("left:", await queue.size())


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
