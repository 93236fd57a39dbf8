"""The coordinator of VOLTHA: members on a session, of which one leads. Whatever is lost is begun anew."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater, react

from txetcd import Client, Election, Error, Party, Session

MEMBERS, LEADER = b"service/voltha/members", b"service/voltha/leader"


async def coordinate(etcd, name, address, lead):
    """Is a member, and leads when it is elected, until it is cancelled."""
    while True:
        try:
            async with Session(etcd, 10) as session:
                await Party(etcd, MEMBERS, session=session).join(name, address)
                await Election(etcd, LEADER, session=session).run(lead, name)
        except Error as error:
            print(name.decode(), "begins anew:", error)
            await deferLater(etcd.reactor, 0.5)


async def run(reactor):
    async with Client(reactor) as etcd, Election(etcd, LEADER).observe() as leaders:
        following = Party(etcd, MEMBERS).on_change(lambda members: print("members:", list(members)))
        running, leading = {}, []
        for name in (b"one", b"two"):
            work = coordinate(etcd, name, b"10.0.0.1:8882", lambda: deferLater(reactor, 3600))
            running[name] = Deferred.fromCoroutine(work).addErrback(lambda failure: failure.trap(CancelledError))
        for _ in running:
            leading.append((await leaders.__anext__()).value)
            running[leading[-1]].cancel()
        print("have led:", sorted(leading))
        following.cancel()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
