"""Workers that wait at a barrier until everything is prepared for them."""

from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.task import deferLater, react

from txetcd import AlreadyExists, Barrier, Client, Session, Timeout

NAME = b"example/prepared"


@inlineCallbacks
def worker(etcd, name):
    yield Barrier(etcd, NAME).wait()
    print(name, "begins")


@inlineCallbacks
def main(reactor):
    etcd = Client(reactor)
    # on a session, so that nobody waits for ever if this program dies
    session = yield Session(etcd, 10).start()
    barrier = Barrier(etcd, NAME, session=session)
    yield barrier.hold()
    try:
        yield Barrier(etcd, NAME).hold()
    except AlreadyExists as error:
        print(error)
    try:
        yield Barrier(etcd, NAME).wait(timeout=1)
    except Timeout as error:
        print(error)

    workers = [worker(etcd, name) for name in ("anna", "berta")]
    yield deferLater(reactor, 0.2)
    print("all is prepared")
    yield barrier.release()
    yield gatherResults(workers)
    yield session.close()
    yield etcd.close()


if __name__ == "__main__":
    react(main)
