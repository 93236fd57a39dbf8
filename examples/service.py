"""A service that registers itself, and disappears when it dies; and somebody who keeps the list of those that live."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import Client, KeySet, Mirror, Session
from txetcd.errors import SessionExpired

SERVICES = KeySet(b"example/services/", prefix=True)


async def die(reactor, name, address):
    """Registers, and is killed in the midst of it: nothing is renewed any more, and nothing revoked."""
    etcd = Client(reactor)
    session = await Session(etcd, 3).start()
    await etcd.set(SERVICES.key + name, address, lease=session.lease)
    await etcd.close()


async def serve(etcd, name, address, work):
    """Is registered as long as it works, and works no longer than it is registered: it begins anew then."""
    while True:
        try:
            async with Session(etcd, 10) as session:
                await etcd.set(SERVICES.key + name, address, lease=session.lease)
                return await session.protect(work())
        except SessionExpired:
            print("lost, and registered again")


async def watch_others(etcd, services):
    """The work of this service: to see another one die."""
    async with etcd.watcher(SERVICES, start_revision=services.revision + 1) as watch:
        async for event in watch:
            if event.is_delete:
                print("died:", event.key[len(SERVICES.key) :])
                return


async def run(reactor):
    async with Client(reactor) as etcd, Mirror(etcd, SERVICES) as services:
        await die(reactor, b"other", b"10.0.0.2:80")
        await services.fresh()
        print("there:", [service.value for service in services.values()])
        await serve(etcd, b"mine", b"10.0.0.1:80", lambda: watch_others(etcd, services))
        await services.fresh()
        print("left:", len(services))


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
