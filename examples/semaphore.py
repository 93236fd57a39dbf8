"""Five downloads, of which two go on at a time."""

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from txetcd import Client, Semaphore, Session


async def download(reactor, etcd, session, number):
    async with Semaphore(etcd, b"example/downloads", 2, session=session) as held:
        print("download", number, "goes on; at a time:", len(await held.holders()))
        await deferLater(reactor, 0.1)


async def run(reactor):
    # one lease for all of them; without a session each has its own
    async with Client(reactor) as etcd, Session(etcd, 10) as session:
        await gatherResults([Deferred.fromCoroutine(download(reactor, etcd, session, number)) for number in range(5)])
        print("left:", len(await Semaphore(etcd, b"example/downloads", 2).contenders()))
        held = await Semaphore(etcd, b"example/downloads", 1).acquire()
        try:
            await Semaphore(etcd, b"example/downloads", 3).acquire()
        except ValueError as error:
            print(error)
        await held.release()


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
