"""Reservations as those of VOLTHA: whoever asks first has a key, until it is released, or not renewed in time."""

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import AlreadyExists, Client, Error

KEY = b"example/olt-1"


async def reserve(etcd, key, value, ttl):
    """The value of whoever has it now, and if that is oneself, the lease, to renew and to release it with."""
    lease = await etcd.lease(ttl)
    try:
        await etcd.create(key, value, lease)
    except Error as error:
        await lease.revoke()
        if isinstance(error, AlreadyExists):
            return error.current.value, None
        raise
    return value, lease


async def run(reactor):
    async with Client(reactor) as etcd:
        owner, lease = await reserve(etcd, KEY, b"anna", 10)
        print("reserved for", owner)
        await lease.refresh()
        owner, nothing = await reserve(etcd, KEY, b"berta", 10)
        print("still for", owner)
        await lease.revoke()
        owner, lease = await reserve(etcd, KEY, b"berta", 10)
        print("now for", owner)
        await lease.revoke()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
