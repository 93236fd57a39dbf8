"""A leader that hands out work, once for each day, and workers that note what they have done under a guard."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater, react

from txetcd import Client, Closed, CompVersion, Election, Error, KeySet, OpSet, WorkQueue

JOBS, DONE, DAY = b"example/jobs", KeySet(b"example/done/", prefix=True), b"example/day"


async def hand_out(etcd, election):
    """Done by the leader alone: puts the work of the day, unless it did so, or one that led before."""
    # the day is marked, and the work put, all at once; and only if it still leads
    work = [OpSet(b"%s/%d" % (JOBS, number), b"page %d" % number) for number in range(3)]
    await etcd.when(election.guard(), CompVersion(DAY, "==", 0)).then(OpSet(DAY, b"today"), *work).transact()
    await Deferred()


async def lead(etcd, name):
    election = Election(etcd, b"example/leader", time_to_live=5)
    while True:
        try:
            await election.run(lambda: hand_out(etcd, election), name)
        except Closed:
            raise
        except Error as error:
            print(name.decode(), "campaigns anew:", error)
            await deferLater(etcd.reactor, 1)


async def work(etcd):
    queue = WorkQueue(etcd, JOBS, time_to_live=5)
    for _ in range(3):
        async with queue.take() as item:
            # nothing is noted by a worker that has lost the item; then this fails, and so does the block
            await etcd.when(item.guard()).then(OpSet(DONE.key + item.value, item.value)).submit()


async def run(reactor):
    async with Client(reactor) as etcd:
        leading = [Deferred.fromCoroutine(lead(etcd, name)) for name in (b"anna", b"berta")]
        await work(etcd)
        for one in leading:
            one.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        print("done:", [kv.value for kv in (await etcd.get(DONE)).kvs])


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
