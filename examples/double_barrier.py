"""A computation in rounds: three workers begin each together, and nobody is a round ahead."""

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from txetcd import Client, DoubleBarrier
from txetcd.errors import TooManyClients

NAME, COUNT = b"example/rounds", 3


async def worker(etcd, number, begun):
    barrier = DoubleBarrier(etcd, NAME, COUNT)
    for turn in range(2):
        await barrier.enter()
        print("round", turn, "begins")
        if not begun.called:
            begun.callback(None)
        await deferLater(etcd.reactor, 0.5 * (number + 1))
        print("round", turn, "ends")
        await barrier.leave()


async def run(reactor):
    async with Client(reactor) as etcd:
        begun = Deferred()
        working = gatherResults([Deferred.fromCoroutine(worker(etcd, number, begun)) for number in range(COUNT)])
        await begun
        try:
            await DoubleBarrier(etcd, NAME, COUNT).enter()
        except TooManyClients as error:
            print(error)
        await working


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
