"""A service that registers itself, and disappears when it dies; and somebody who keeps the list of those that live."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import Client, KeySet, Mirror, Session

SERVICES = KeySet(b"example/services/", prefix=True)


async def serve(reactor, name, address):
    """Registers, and dies."""
    etcd = Client(reactor)
    session = await Session(etcd, 3).start()
    await etcd.set(SERVICES.key + name, address, lease=session.lease)
    # killed in the midst: nothing is renewed any more, nothing revoked
    await etcd.close()


async def run(reactor):
    async with Client(reactor) as etcd, Mirror(etcd, SERVICES) as services:
        # as long as the block lasts, and no longer
        async with Session(etcd) as session:
            mine = await etcd.set(SERVICES.key + b"mine", b"10.0.0.1:80", lease=session.lease)
            await serve(reactor, b"other", b"10.0.0.2:80")
            await services.fresh()
            print("both:", [services[name].value for name in services])

            async with etcd.watcher(SERVICES, start_revision=mine.header.revision + 1) as watch:
                async for event in watch:
                    if event.is_delete:
                        print("died:", event.key[len(SERVICES.key) :])
                        break
            print("session is alive:", session.is_alive)
        await services.fresh()
        print("left:", len(services))


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
