"""Items that go from those who put them to those who get them, each of them once."""

from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.task import react

from txetcd import Client, PriorityQueue, Queue, Timeout


@inlineCallbacks
def producer(queue):
    yield queue.put(b"one")
    yield queue.put_all([b"two", b"three"])


@inlineCallbacks
def consumer(queue):
    got = []
    while True:
        try:
            got.append((yield queue.get(timeout=1)))
        except Timeout:
            return got


@inlineCallbacks
def main(reactor):
    etcd = Client(reactor)
    # in programs of their own, most likely, each with a Queue of the same name
    got, _ = yield gatherResults([consumer(Queue(etcd, b"example/queue")), producer(Queue(etcd, b"example/queue"))])
    print("in order:", got)

    patients = PriorityQueue(etcd, b"example/patients")
    yield patients.put(b"a cold", 9)
    yield patients.put(b"a heart attack", 0)
    print("waiting:", (yield patients.size()))
    print("first:", (yield patients.get()))
    print("then:", (yield patients.get()))
    yield etcd.close()


if __name__ == "__main__":
    react(main)
