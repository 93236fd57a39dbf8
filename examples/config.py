"""Configuration that reloads itself: a mirror of some keys, which is always consistent with one revision."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import Client, KeySet, Mirror, OpSet

PREFIX = b"example/config/"


def reloaded(events):
    for event in events:
        print("changed:", event.key[len(PREFIX) :].decode(), "=", event.value.decode() or "(gone)")


def settings(config):
    return {key[len(PREFIX) :].decode(): config[key].value.decode() for key in config}


async def run(reactor):
    async with Client(reactor) as etcd:
        await etcd.set(PREFIX + b"colour", b"blue")
        async with Mirror(etcd, KeySet(PREFIX, prefix=True), reloaded) as config:
            print("at first:", settings(config))

            # somebody changes two settings at once: nobody ever sees just one of them
            both = [OpSet(PREFIX + b"colour", b"green"), OpSet(PREFIX + b"size", b"large")]
            done = await etcd.when().then(*both).submit()
            await config.wait_for(done.header.revision)
            print("then:", settings(config))

            # whatever has happened by now, whoever has done it
            await etcd.delete(PREFIX + b"size")
            await config.fresh()
            print("at last:", settings(config))
        await etcd.delete(KeySet(PREFIX, prefix=True))


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
