"""Two workers, of which one leads; and somebody who is told which one."""

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from txetcd import Client, Closed, Election, Error


async def work(reactor, name):
    """Done by the leader alone; it would be cancelled if it did not lead any more."""
    print(name.decode(), "works")
    await deferLater(reactor, 0.3)


async def stand_by(etcd, name):
    """Campaigns until the work is done. An outage may end a candidacy, or the leadership: then it campaigns anew."""
    election = Election(etcd, b"example/election")
    while True:
        try:
            return await election.run(lambda: work(etcd.reactor, name), name)
        except Closed:
            raise
        except Error as error:
            print(name.decode(), "campaigns anew:", error)
            await deferLater(etcd.reactor, 1)


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
        workers = [Deferred.fromCoroutine(stand_by(etcd, name)) for name in (b"anna", b"berta")]
        await gatherResults([following, *workers])
    print("both are done")


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
