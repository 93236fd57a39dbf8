"""Sets, gets and deletes keys, and changes one only if nobody else has."""

from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import react

from txetcd import AlreadyExists, Client, CompareFailed, KeySet


@inlineCallbacks
def main(reactor):
    etcd = Client(reactor)

    # keys and values are bytes
    revision = yield etcd.set(b"example/colour", b"red")
    print("set at revision", revision.header.revision)

    result = yield etcd.get(b"example/colour")
    (colour,) = result.kvs
    print(colour.key, colour.value, "version", colour.version)

    # what it was before comes back when asked for
    revision = yield etcd.set(b"example/colour", b"green", return_previous=True)
    print("was", revision.previous.value)

    # a past revision can still be read, until it is compacted
    result = yield etcd.get(b"example/colour", revision=colour.mod_revision)
    print("at revision", colour.mod_revision, "it was", result.kvs[0].value)

    try:
        yield etcd.create(b"example/colour", b"blue")
    except AlreadyExists as error:
        print("not created:", error.current.value, "is there already")

    try:
        yield etcd.replace(colour, b"blue")  # as it was when we read it
    except CompareFailed as error:
        print("not replaced: meanwhile it is", error.current.value)
        yield etcd.replace(error.current, b"blue")

    deleted = yield etcd.delete(KeySet(b"example/", prefix=True), return_previous=True)
    for kv in deleted.previous:
        print("deleted", kv.key, kv.value)
    yield etcd.close()


if __name__ == "__main__":
    react(main)
