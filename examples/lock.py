"""Two workers that must not work at the same time."""

from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.task import deferLater, react

from txetcd import Client, KeySet, OpSet, Timeout


@inlineCallbacks
def worker(reactor, etcd, name):
    lock = yield etcd.lock(b"example/lock")
    print(name, "holds the lock; its fencing token is greater than all before")
    yield deferLater(reactor, 0.2)
    # even if we had lost the lock without noticing, this would not be written by two
    outcome = yield etcd.when(lock.guard()).then(OpSet(b"example/result", name.encode())).transact()
    print(name, "wrote" if outcome.succeeded else "had lost the lock")
    yield lock.release()


@inlineCallbacks
def main(reactor):
    etcd = Client(reactor)
    yield gatherResults([worker(reactor, etcd, "anna"), worker(reactor, etcd, "berta")])

    lock = yield etcd.lock(b"example/lock")
    try:
        yield etcd.lock(b"example/lock", timeout=2)
    except Timeout as error:
        print(error)
    yield lock.release()

    yield etcd.delete(KeySet(b"example/", prefix=True))
    yield etcd.close()


if __name__ == "__main__":
    react(main)
