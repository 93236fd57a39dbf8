"""Workers that know of each other, and divide the work among those that are there."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import Client, Party

NAME = b"example/workers"


def told(is_there):
    print("anna", "is there" if is_there else "was lost, and comes back")


def shown(members):
    print("there:", [f"{name.decode()} at {address.decode()}" for name, address in members.items()])


async def run(reactor):
    async with Client(reactor) as etcd:
        following = Party(etcd, NAME).on_change(shown)

        # if etcd cannot be reached for longer than ten seconds, anna is gone, and comes back by herself
        async with Party(etcd, NAME, time_to_live=10).join(b"anna", b"10.0.0.1", on_status=told) as anna:
            async with Party(etcd, NAME, time_to_live=10).join(b"berta", b"10.0.0.2"):
                members = list(await Party(etcd, NAME).members())
                for page in range(4):
                    print("page", page, "is for", members[page % len(members)].decode())
            print("still there:", anna.is_there)

        following.cancel()
        await following
        print("left:", len(await Party(etcd, NAME).members()))


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
