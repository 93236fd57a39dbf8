"""Who the members of a cluster are, who leads it, and how another one comes to lead."""

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from txetcd import Client, Error
from txetcd.testing import EtcdCluster


async def run(reactor):
    async with EtcdCluster(reactor) as cluster, Client(reactor, cluster.urls) as etcd:
        leader = await etcd.cluster.leader()
        members = await etcd.cluster.members()
        for member in members:
            print(f"{member.member_id:x} {member.name}", "leads" if member == leader else "follows")

        other = next(member for member in members if member != leader)
        await etcd.maintenance.move_leader(other.member_id)
        while await etcd.cluster.leader() != other:  # whoever is asked may not have heard of it yet
            await deferLater(reactor, 0.1)
        print("now another one leads")

        # each is asked, whatever is with the others
        await cluster.members[0].kill()
        statuses = await etcd.maintenance.status(timeout=5)
        print("not there:", [url for url in cluster.urls if isinstance(statuses[url], Error)] == cluster.urls[:1])


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
