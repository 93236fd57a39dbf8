"""Users, and what they may do; with a server of its own, because that counts for everybody who uses it."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import Client, KeySet, PermissionDenied
from txetcd.testing import EtcdProcess


async def run(reactor):
    async with EtcdProcess(reactor) as server:
        async with Client(reactor, server.url) as etcd:
            await etcd.auth.add_user("root", "a secret")
            await etcd.auth.add_role("root")
            await etcd.auth.grant_role("root", "root")

            await etcd.auth.add_user("alice", "another secret")
            await etcd.auth.add_role("writer")
            await etcd.auth.grant_permission("writer", KeySet(b"letters/", prefix=True), "READWRITE")
            await etcd.auth.grant_role("alice", "writer")
            await etcd.auth.enable()

        async with Client(reactor, server.url, credentials=("alice", "another secret")) as alice:
            await alice.set(b"letters/1", b"dear bob")
            print("alice has written", (await alice.get(b"letters/1")).count, "letter")
            try:
                await alice.set(b"laws/1", b"alice is queen")
            except PermissionDenied as error:
                print("but no law:", error.message)

        async with Client(reactor, server.url, credentials=("root", "a secret")) as root:
            print("alice is", ", ".join((await root.auth.user("alice")).roles))
            for permission in (await root.auth.role("writer")).permissions:
                print("a writer may", permission.type, permission.keys)


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
