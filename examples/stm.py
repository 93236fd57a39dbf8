"""Money that is neither lost nor made: many transfer at the same time, and each transfer is done once."""

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from txetcd import Client, KeySet, OutcomeUnknown

PREFIX = b"example/stm/"
ANNA, BERTA = PREFIX + b"account/anna", PREFIX + b"account/berta"


def transfer(amount):
    async def function(stm):
        mine, yours = int(await stm.get(ANNA)), int(await stm.get(BERTA))
        if mine < amount:
            # whatever it raises: nothing is written
            raise ValueError("not enough for {}".format(amount))
        stm.set(ANNA, b"%d" % (mine - amount))
        stm.set(BERTA, b"%d" % (yours + amount))
        # the token tells whether it was done, should the answer to that be lost
        stm.set(PREFIX + b"log/" + stm.token, b"%d" % amount)
        return mine - amount

    return function


async def run(reactor):
    async with Client(reactor) as etcd:
        await etcd.set(ANNA, b"100")
        await etcd.set(BERTA, b"0")

        # the function is called again if somebody else was faster
        transfers = [etcd.atomically(transfer(10), prefetch=[ANNA, BERTA]) for _ in range(10)]
        await gatherResults(transfers, consumeErrors=True)
        print({kv.key.rpartition(b"/")[2]: kv.value for kv in (await etcd.get(KeySet(ANNA[:-4], prefix=True))).kvs})
        print("transfers:", len((await etcd.get(KeySet(PREFIX + b"log/", prefix=True))).kvs))

        try:
            await etcd.atomically(transfer(1))
        except ValueError as error:
            print(error)
        except OutcomeUnknown:
            # not even the token has told; that is for people to look into
            raise
        await etcd.delete(KeySet(PREFIX, prefix=True))


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
