"""Watches keys, with a callback and with a loop, and picks up where it left off."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import Client, KeySet


async def run(reactor):
    gone = Deferred()

    def on_change(event):
        if event.is_delete:
            print("callback:", event.key, "deleted; it was", event.previous.value)
            gone.callback(None)
        else:
            print("callback:", event.key, "created" if event.is_create else "changed to", event.value)

    async with Client(reactor) as etcd:
        keys = KeySet(b"example/", prefix=True)

        # calls back for each change until the block is left
        async with etcd.watch([keys], on_change, return_previous=True):
            await etcd.set(b"example/lamp", b"on")
            await etcd.set(b"example/lamp", b"off")
            deleted = await etcd.delete(b"example/lamp")
            await gone

        # the same changes once more, from the past: a watch can start at any revision that is not compacted
        start = deleted.header.revision - 2
        async with etcd.watcher(keys, start_revision=start) as watch:
            async for event in watch:
                print("loop: revision", event.mod_revision, event.type, event.key, event.value)
                if event.is_delete:
                    break
        print("seen everything up to revision", watch.revision)


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
