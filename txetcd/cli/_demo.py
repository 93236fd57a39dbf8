"""
``txetcd demo``: what the library does, in a few seconds and on a real server.

Each step is a coroutine that can be read by itself. It shows each line (``screen.code``) before it runs that very line;
a test compares the two.
"""

from __future__ import annotations

import uuid
from typing import Any, Optional, Union

from twisted.internet.defer import Deferred, DeferredList, DeferredQueue, FirstError, gatherResults
from twisted.internet.task import deferLater

from .._version import __version__
from ..client import Client
from ..errors import Error, Timeout
from ..keyset import KeySet
from ..ops import CompValue, OpGet, OpSet
from ..testing import EtcdProcess
from ..values import Event, KeyValue, Outcome, Range
from ._terminal import Screen

TOUR_SECONDS = 20.0
"""
How long it may take until it is given up; it takes some 6 s. When the server does not answer, to undo what it was at
can then take 10 s more: one call, ``CLEANUP_SECONDS``, and the ends of the client and of the server.
"""

CLEANUP_SECONDS = 5.0
"""How long the server may take to delete the keys of a tour that has failed."""


async def demo(reactor: Any, url: Optional[str], screen: Screen) -> int:
    """
    Goes through all steps on the server at *url*, or on one of its own, which is stopped at the end whatever happens.

    :return: 0.
    :raises Error: if a call fails, or all of it takes too long.
    :raises EtcdFailed: if there is no etcd, or it does not start.
    """
    introduce(screen)
    touring = Deferred.fromCoroutine(_embedded(reactor, screen) if url is None else tour(reactor, url, screen))
    where = "" if url is None else f" at {url}"

    def give_up(_: object, seconds: float) -> None:
        # a watch waits for a server that has gone away
        raise Timeout(f"the demo{where} was not done within {seconds:g} seconds")

    await touring.addTimeout(TOUR_SECONDS, reactor, give_up)
    return 0


async def _embedded(reactor: Any, screen: Screen) -> None:
    screen.text("This etcd is started for the tour, and is gone after it (your own tests can do the same):")
    screen.code("async with txetcd.testing.EtcdProcess(reactor) as server:")
    screen.text()
    async with EtcdProcess(reactor) as server:
        await tour(reactor, server.url, screen)


async def tour(reactor: Any, url: str, screen: Screen) -> None:
    """
    Goes through all steps. The keys are below a prefix that nobody else uses, and are deleted whatever happens.

    :raises Error: if a call fails.
    """
    prefix = f"txetcd-demo-{uuid.uuid4().hex[:8]}/".encode()
    set_out(url, prefix, screen)
    etcd = Client(reactor, url, timeout=5)
    try:
        for step in STEPS:
            await step(etcd, prefix, screen)
    except Exception:
        # the one that cancelling raises as well
        await _delete_all(etcd, prefix)
        raise
    finally:
        await etcd.close()
    conclude(screen)


def introduce(screen: Screen) -> None:
    """Says what the reader is going to see."""
    screen.title(f"txetcd {__version__}: a tour")
    screen.text("txetcd is an asynchronous client of etcd, for Twisted. etcd is a store of keys and values that")
    screen.text("several servers keep together; programs share configuration, locks and presence in it.")
    screen.text("Each step shows the Python that runs, and behind -> what came of it.")
    screen.text()


def set_out(url: str, prefix: bytes, screen: Screen) -> None:
    """Shows what all steps have in common."""
    screen.text("What all steps need:")
    screen.code("from twisted.internet import reactor")
    screen.code("from twisted.internet.defer import Deferred, DeferredQueue, gatherResults")
    screen.code("from twisted.internet.task import deferLater")
    screen.code("from txetcd import Client, CompValue, KeySet, OpGet, OpSet")
    screen.code(f'prefix = b"{prefix.decode()}"  # all keys of this tour begin so')
    screen.code(f'etcd = Client(reactor, "{url}", timeout=5)  # seconds, for each call')


async def ask_status(etcd: Client, prefix: bytes, screen: Screen) -> None:
    """Which server is it?"""
    screen.step("Ask the server how it is", "Every call returns a Deferred: await it, or yield it in inlineCallbacks.")
    screen.code("status = await etcd.status()")
    status = await etcd.status()
    screen.result(f"etcd {status.version}, {status.db_size} bytes on disk, at revision {status.header.revision}")


async def set_and_get(etcd: Client, prefix: bytes, screen: Screen) -> None:
    """One key."""
    screen.step("Set a key, get it", "Keys and values are bytes. Every change gives the store its next revision.")
    screen.code('written = await etcd.set(prefix + b"colour", b"green")')
    written = await etcd.set(prefix + b"colour", b"green")
    screen.result(f"set, at revision {written.header.revision}")
    screen.code('found = await etcd.get(prefix + b"colour")')
    found = await etcd.get(prefix + b"colour")
    show_keys(found, prefix, screen)


async def get_range(etcd: Client, prefix: bytes, screen: Screen) -> None:
    """Several keys at once."""
    screen.step("Get all keys with a common prefix", "A KeySet is a prefix, a range, or all keys.")
    screen.code('await etcd.set(prefix + b"fruit/apple", b"3")')
    await etcd.set(prefix + b"fruit/apple", b"3")
    screen.code('await etcd.set(prefix + b"fruit/pear", b"5")')
    await etcd.set(prefix + b"fruit/pear", b"5")
    screen.code('found = await etcd.get(KeySet(prefix + b"fruit/", prefix=True))')
    found = await etcd.get(KeySet(prefix + b"fruit/", prefix=True))
    show_keys(found, prefix, screen)


async def watch(etcd: Client, prefix: bytes, screen: Screen) -> None:
    """Changes, as they happen."""
    screen.step(
        "Watch",
        "The server tells every change when it happens, to any function: here, to changes.put.",
        "The block is entered when the watch is set up; leaving it stops the watch.",
    )
    screen.code("changes = DeferredQueue()")
    changes: DeferredQueue[Any] = DeferredQueue()
    screen.code('async with etcd.watch(KeySet(prefix + b"fruit/", prefix=True), changes.put) as watch:')
    async with etcd.watch(KeySet(prefix + b"fruit/", prefix=True), changes.put) as watch:
        # a watch that is lost must not leave us waiting for its changes
        watch.when_stopped().addErrback(changes.put)
        screen.code('    await etcd.set(prefix + b"fruit/plum", b"7")')
        await etcd.set(prefix + b"fruit/plum", b"7")
        screen.result(f"the watch tells: {told(await changes.get(), prefix)}")
        screen.code('    await etcd.set(prefix + b"fruit/plum", b"8")')
        await etcd.set(prefix + b"fruit/plum", b"8")
        screen.result(f"the watch tells: {told(await changes.get(), prefix)}")
        screen.code('    await etcd.delete(prefix + b"fruit/plum")')
        await etcd.delete(prefix + b"fruit/plum")
        screen.result(f"the watch tells: {told(await changes.get(), prefix)}")


async def transact(etcd: Client, prefix: bytes, screen: Screen) -> None:
    """Compare and write in one."""
    screen.step("Transaction", "Compares, then does the one or the other; nobody can come in between.")
    screen.code('swap = etcd.when(CompValue(prefix + b"colour", "==", b"green"))')
    swap = etcd.when(CompValue(prefix + b"colour", "==", b"green"))
    screen.code('swap = swap.then(OpSet(prefix + b"colour", b"red")).otherwise(OpGet(prefix + b"colour"))')
    swap = swap.then(OpSet(prefix + b"colour", b"red")).otherwise(OpGet(prefix + b"colour"))
    screen.code("outcome = await swap.transact()")
    outcome = await swap.transact()
    show_outcome(outcome, prefix, screen)
    screen.code("outcome = await swap.transact()")
    outcome = await swap.transact()
    show_outcome(outcome, prefix, screen)


async def expire(etcd: Client, prefix: bytes, screen: Screen) -> None:
    """A key that goes with its owner."""
    screen.step("Lease", "Keys of a lease are deleted unless it is renewed in time, as when their owner has died.")
    screen.code('async with etcd.watcher(prefix + b"online") as watch:')
    async with etcd.watcher(prefix + b"online") as watch:
        screen.code("    lease = await etcd.lease(3)")
        lease = await etcd.lease(3)
        screen.result(f"a lease of {lease.time_to_live} seconds, which is not renewed (keep_alive=True would)")
        screen.code('    await etcd.set(prefix + b"online", b"yes", lease)')
        await etcd.set(prefix + b"online", b"yes", lease)
        since = etcd.reactor.seconds()
        screen.code("    async for event in watch:")
        screen.code("        if event.is_delete:")
        screen.code("            break")
        async for event in watch:
            screen.result(f"after {etcd.reactor.seconds() - since:.1f} s the watch tells: {told(event, prefix)}")
            if event.is_delete:
                break


async def lock(etcd: Client, prefix: bytes, screen: Screen) -> None:
    """Two that want the same."""
    screen.step("Lock", "Only one at a time, among all programs that use this etcd. Here ann and bob both want it.")
    screen.code("async def work(name):")
    screen.code('    async with etcd.lock(prefix + b"printer") as lock:')
    screen.code("        await deferLater(etcd.reactor, 0.5)")

    async def work(name: str) -> None:
        screen.result(f"{name} asks for the lock")
        since = etcd.reactor.seconds()
        async with etcd.lock(prefix + b"printer") as lock:
            waited = etcd.reactor.seconds() - since
            screen.result(f"{name} gets it after {waited:.2f} s, and works (fencing token: {lock.revision})")
            await deferLater(etcd.reactor, 0.5)
            # once it is released, the other may be told that before we are
            screen.result(f"{name} is done, and releases it")

    screen.code('workers = [Deferred.fromCoroutine(work(name)) for name in ("ann", "bob")]')
    screen.code("await gatherResults(workers, consumeErrors=True)")
    workers = [Deferred.fromCoroutine(work(name)) for name in ("ann", "bob")]
    try:
        await gatherResults(workers, consumeErrors=True)
    except FirstError as first:
        # whoever holds the lock still works, and needs the client for the release; whoever waits may wait for ever
        await DeferredList(workers, consumeErrors=True).addTimeout(1, etcd.reactor)
        first.subFailure.raiseException()


async def clean_up(etcd: Client, prefix: bytes, screen: Screen) -> None:
    """Nothing is left."""
    screen.step("Clean up", "Deleting takes a KeySet as well.")
    screen.code("deleted = await etcd.delete(KeySet(prefix, prefix=True))")
    deleted = await etcd.delete(KeySet(prefix, prefix=True))
    screen.result(f"{deleted.deleted} keys deleted: all that this tour has left")
    screen.code("await etcd.close()")
    await etcd.close()


STEPS = (ask_status, set_and_get, get_range, watch, transact, expire, lock, clean_up)


def conclude(screen: Screen) -> None:
    """Says what to read next."""
    screen.text()
    screen.text("Next: `txetcd up` keeps an etcd running for you; `python -m pydoc txetcd.Client` explains every call.")


async def _delete_all(etcd: Client, prefix: bytes) -> None:
    try:
        await etcd.delete(KeySet(prefix, prefix=True), timeout=CLEANUP_SECONDS)
    except Error:
        # what the tour failed with says more
        pass


# --- how to say what came back


def show_keys(found: Range, prefix: bytes, screen: Screen) -> None:
    """The keys of an answer."""
    for kv in found.kvs:
        screen.result(f"{assigned(kv, prefix)}  (version {kv.version}, of revision {kv.mod_revision})")


def show_outcome(outcome: Outcome, prefix: bytes, screen: Screen) -> None:
    """What a transaction did."""
    if outcome.succeeded:
        screen.result(f"it was so: done, at revision {outcome.header.revision}")
        return
    for response in outcome.responses:
        if isinstance(response, Range):
            screen.result(f"it was not so: {', '.join(assigned(kv, prefix) for kv in response.kvs)} already")


def told(event: Event, prefix: bytes) -> str:
    """A change in words, such as ``put fruit/plum = 7``."""
    return f"put {assigned(event, prefix)}" if event.is_put else f"delete {_name(event.key, prefix)}"


def assigned(kv: Union[KeyValue, Event], prefix: bytes) -> str:
    """A key and its value, such as ``fruit/plum = 7``."""
    return f"{_name(kv.key, prefix)} = {kv.value.decode()}"


def _name(key: bytes, prefix: bytes) -> str:
    return key[len(prefix) :].decode()
