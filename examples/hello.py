"""Sets a key, gets it, and watches it change."""

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import react

from txetcd import Client


@inlineCallbacks
def main(reactor):
    etcd = Client(reactor)  # $ETCD_URL, or http://localhost:2379
    status = yield etcd.status()
    print("etcd", status.version)

    yield etcd.set(b"greeting", b"hello")
    result = yield etcd.get(b"greeting")
    for kv in result.kvs:
        print(kv.key, "is", kv.value, "since revision", kv.mod_revision)

    gone = Deferred()

    def on_change(event):
        print(event.key, "was", "deleted" if event.is_delete else event.value)
        if event.is_delete:
            gone.callback(None)

    watching = etcd.watch([b"greeting"], on_change, start_revision=result.header.revision + 1)
    yield etcd.set(b"greeting", b"good morning")
    yield etcd.delete(b"greeting")
    yield gone  # meanwhile the changes are called back

    watching.cancel()
    yield etcd.close()


if __name__ == "__main__":
    react(main)
