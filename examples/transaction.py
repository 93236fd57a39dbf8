"""Moves money from one account to another, or not at all."""

from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import react

from txetcd import Client, CompModified, CompValue, Failed, KeySet, OpGet, OpSet, Transaction


@inlineCallbacks
def move(etcd, amount):
    """Retries as long as somebody else has changed one of the accounts between reading and writing."""
    while True:
        accounts = yield etcd.get(KeySet(b"example/account/", prefix=True))
        mine, yours = accounts.kvs
        unchanged = [CompModified(kv.key, "==", kv.mod_revision) for kv in (mine, yours)]
        outcome = yield (
            etcd.when(*unchanged)
            .then(
                OpSet(mine.key, b"%d" % (int(mine.value) - amount)),
                OpSet(yours.key, b"%d" % (int(yours.value) + amount)),
            )
            .otherwise(OpGet(mine.key), OpGet(yours.key))
            .transact()
        )
        if outcome.succeeded:
            return outcome.header.revision


@inlineCallbacks
def main(reactor):
    etcd = Client(reactor)
    yield etcd.set(b"example/account/mine", b"100")
    yield etcd.set(b"example/account/yours", b"0")

    revision = yield move(etcd, 30)
    print("moved at revision", revision)
    accounts = yield etcd.get(KeySet(b"example/account/", prefix=True))
    print({kv.key: kv.value for kv in accounts.kvs})

    # submit() fails when the comparison does not hold; the error has the answers of the other branch
    poor = CompValue(b"example/account/mine", "<", b"50")
    txn = Transaction([poor], [OpSet(b"example/account/mine", b"50")], [OpGet(b"example/account/mine")])
    try:
        yield etcd.submit(txn)
    except Failed as failed:
        print("not poor enough:", failed.responses[0].kvs[0].value)

    yield etcd.delete(KeySet(b"example/account/", prefix=True))
    yield etcd.close()


if __name__ == "__main__":
    react(main)
