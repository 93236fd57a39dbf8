"""Numbers that several programs add to, and numbers that are given out once."""

from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.task import react

from txetcd import Client, Counter, KeySet, Sequence


@inlineCallbacks
def main(reactor):
    etcd = Client(reactor)
    # in programs of their own, most likely
    counters = [Counter(etcd, b"example/visits") for _ in range(4)]
    yield gatherResults([counter.add() for counter in counters for _ in range(25)])
    print("visits:", (yield counters[0].value()))

    one, many = Sequence(etcd, b"example/invoice"), Sequence(etcd, b"example/invoice", block=100)
    print("invoices:", (yield one.next()), (yield many.next()), (yield one.next()), (yield many.next()))
    print("reserved:", (yield one.reserve(10)))

    yield etcd.delete(KeySet(b"example/", prefix=True))
    yield etcd.close()


if __name__ == "__main__":
    react(main)
