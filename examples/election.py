"""Two workers, of which one leads; and somebody who is told which one."""

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from txetcd import Client, Election


async def work(reactor, name):
    """Done by the leader alone; it would be cancelled if it did not lead any more."""
    print(name.decode(), "works")
    await deferLater(reactor, 0.3)


async def follow(etcd, count):
    """Tells who leads, until so many have."""
    async with Election(etcd, b"example/election").observe() as leaders:
        async for leader in leaders:
            print("now leads:", leader.value.decode())
            count -= 1
            if not count:
                return


async def run(reactor):
    async with Client(reactor) as etcd:
        following = Deferred.fromCoroutine(follow(etcd, 2))
        workers = [
            Election(etcd, b"example/election").run(lambda name=name: work(reactor, name), name)
            for name in (b"anna", b"berta")
        ]
        await gatherResults([following, *workers])
    print("both are done")


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
