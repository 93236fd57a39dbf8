"""
Queues that any number of producers and consumers share.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, Callable, Optional

from twisted.internet.defer import Deferred

from .._check import check_all, check_bytes, check_int
from ..keyset import KeySet
from ..values import KeyValue, Range
from ._etcd import Etcd
from ._leases import Leases
from ._name import check_name
from ._order import ByPriority, InOrder, Order
from ._producers import NumberedPutting, Putting
from ._taking import TakingOut
from .session import Session

TIME_TO_LIVE = 60
"""Seconds after which the place in the line of a consumer that has died is gone."""

MOST_AT_ONCE = 100
"""Items that are put at once: etcd takes 128 operations in a transaction, unless it is told otherwise."""

MOST_URGENT, LEAST_URGENT = 0, 65535
"""The priorities that there are, as in Go."""


def check_items(values: object) -> list[bytes]:
    """
    *values* as a list, if all of them can be items, and can be put at once.

    :raises TypeError: for anything but a list of ``bytes``.
    :raises ValueError: for more than can be put at once.
    """
    items = list(check_all("values", values, bytes, "bytes"))
    if len(items) > MOST_AT_ONCE:
        raise ValueError(f"values must be at most {MOST_AT_ONCE}, not {len(items)}: they are put all at once")
    return items


def count(etcd: Etcd, prefix: bytes) -> Deferred[int]:
    """How many keys there are that begin so."""
    counted: Deferred[Range] = etcd.get(KeySet(prefix, prefix=True), count_only=True)
    return counted.addCallback(lambda found: found.count)


class _Queue:
    """
    What consumers see of a queue, whatever its order.

    :param etcd: the client.
    :param order: of the items, with their keys.
    :param put_back: puts back an item that nobody wants any more.
    :param session: on whose lease a place in the line is, or ``None`` for one of its own.
    :param time_to_live: seconds (``int``), of such a lease.

    :ivar name: the name (``bytes``).
    """

    def __init__(
        self,
        etcd: Etcd,
        name: bytes,
        order: Order,
        put_back: Callable[[KeyValue], Coroutine[Any, Any, None]],
        session: Optional[Session],
        time_to_live: int,
    ) -> None:
        self.name = name
        self._etcd = etcd
        self._prefix = order.prefix
        leases = Leases(etcd, f"the queue {name!r}", session, time_to_live)
        self._taking = TakingOut(etcd, name, leases, order, put_back)

    def get(self, timeout: Optional[float] = None) -> Deferred[bytes]:
        """
        Takes the next item, and waits until there is one.

        :param timeout: seconds, or ``None`` to wait as long as it takes.
        :returns: a Deferred that fires with the item (``bytes``). It fails with :class:`~txetcd.Timeout` if there was
            none in time, :class:`~txetcd.errors.SessionExpired` if it had to wait and the session was lost,
            :class:`~txetcd.OutcomeUnknown` if an item was taken, perhaps, and that cannot be found out, or as every
            call; an outage while it waits is waited out. ``maybe_applied`` of a ``Timeout`` is ``False`` only if
            nothing is left, certainly. Cancelling it fires it at once. An item that was being taken goes to the next
            one who waits here, or is put back to where it was.
        """
        return self._taking.get(timeout, f"nothing was got from the queue {self.name!r}").addCallback(_value)

    def size(self) -> Deferred[int]:
        """
        Counts the items.

        :returns: a Deferred that fires with how many there are (``int``). It fails as every call.
        """
        return count(self._etcd, self._prefix)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class Queue(_Queue):
    """
    A queue: first come, first served.

    * Each item is got once, by one consumer, in the order in which the items were put. If the answer to a call is lost,
      what has come of it is found out: an item that was put is not put again, and one that was taken is handed over.
    * An item is gone as soon as it is got: if the consumer dies with it, so does the item. Where that matters use a
      :class:`~txetcd.WorkQueue`.
    * Consumers who wait stand in a line. An item that is put wakes one of them, the first; if that one does not take
      it, another does after ten seconds. Those who wait by means of one object stand there together, and are served in
      the order of asking.

    What can still go wrong: what has come of a call is read in the past of a key. So if the connection is lost with the
    answer, and before it is back all of that was compacted away, or half a minute has passed for which a :meth:`put`
    looks, it fails with :class:`~txetcd.OutcomeUnknown`. And a consumer can be killed just when an item was deleted, or
    when it was about to put back one that nobody wanted any more.

    It costs one call to put and one to get, and one more each if the last one was more than ten seconds ago; a consumer
    reads 128 items at a time, without their values. If several processes take from one queue, one of them succeeds, and
    the others try again, with another call. To wait costs a place in the line: a call and a watch, two more calls for
    a lease without a *session*, and a call when the one before has got something, or after ten seconds. To find the
    oldest items the server looks at all of them: keep queues short.

    The items are the keys below ``name/``, with any names; so programs with Go's ``recipe.Queue`` can put and get as
    well, though without what is promised here of lost answers: give them ``name/``, because without the ``/`` they
    would take the items of every queue whose name begins so. Beside that there are the keys ``__name/journal`` and
    ``__name/fence``, which stay, and ``__name/line/...``: do not delete them while anybody is at work.

    :param etcd: a :class:`~txetcd.Client`.
    :param name: the name (``bytes``), which does not end in ``/``.
    :param session: a :class:`~txetcd.Session` that has begun, for the place in the line; without one, a lease is
        granted whenever there is nothing to get, and revoked then.
    :param time_to_live: seconds (``int``) of that lease.
    """

    def __init__(
        self, etcd: Etcd, name: bytes, *, session: Optional[Session] = None, time_to_live: int = TIME_TO_LIVE
    ) -> None:
        order = InOrder(check_name("name", name))
        self._putting = putting = Putting(etcd, name)

        async def put_back(kv: KeyValue) -> None:
            await putting.put_at([(order.back(kv), kv.value)], None)

        super().__init__(etcd, name, order, put_back, session, time_to_live)

    def put(self, value: bytes) -> Deferred[None]:
        """
        Puts an item at the end.

        :param value: the item (``bytes``).
        :returns: a Deferred that fires with ``None`` when it is there. It fails as every call, and the item is not
            there then; with :class:`~txetcd.OutcomeUnknown` if that could not be found out. Cancelling it fires it at
            once; the item may be put all the same.
        """
        return self.put_all([check_bytes("value", value)])

    def put_all(self, values: Iterable[bytes]) -> Deferred[None]:
        """
        Puts several items at the end, next to one another: all of them or none.

        :param values: the items, up to 100 (a list of ``bytes``).
        :returns: a Deferred as of :meth:`put`: it fires with ``None``.
        """
        return Deferred.fromCoroutine(self._putting.put(check_items(values)))


class PriorityQueue(_Queue):
    """
    A queue whose most urgent items come first: by priority, 0 before 65535, and those of one priority in the order in
    which they were put.

    What is promised, what can go wrong and what it costs is as of a :class:`~txetcd.Queue`, but for this: producers who
    put items of the same priority at the same time contend, and try again with another call each; those of one object
    put one after the other. And the server finds the next item without looking at the others.

    The keys are those of Go's ``recipe.PriorityQueue``, ``name/<priority>/<number>`` and ``__name/<priority>``; Go
    programs can put and get as well, though without what is promised here of lost answers. ``__name/journal`` and
    ``__name/line/...`` are ours.

    :param etcd: a :class:`~txetcd.Client`.
    :param name: the name (``bytes``), which does not end in ``/``.
    :param session: as of :class:`~txetcd.Queue`, and so is *time_to_live*.
    """

    def __init__(
        self, etcd: Etcd, name: bytes, *, session: Optional[Session] = None, time_to_live: int = TIME_TO_LIVE
    ) -> None:
        order = ByPriority(check_name("name", name))
        self._putting = NumberedPutting(etcd, name)
        super().__init__(etcd, name, order, self._putting.put_back, session, time_to_live)

    def put(self, value: bytes, priority: int) -> Deferred[None]:
        """
        Puts an item behind those of its priority.

        :param value: the item (``bytes``).
        :param priority: from 0, the most urgent, to 65535 (``int``).
        :returns: a Deferred as of :meth:`Queue.put`: it fires with ``None``.
        """
        return self.put_all([check_bytes("value", value)], priority)

    def put_all(self, values: Iterable[bytes], priority: int) -> Deferred[None]:
        """
        Puts several items of one priority, next to one another: all of them or none.

        :param values: the items, up to 100 (a list of ``bytes``).
        :param priority: from 0, the most urgent, to 65535 (``int``).
        :returns: a Deferred as of :meth:`Queue.put`: it fires with ``None``.
        """
        items = check_items(values)
        check_int("priority", priority, MOST_URGENT, LEAST_URGENT)
        return Deferred.fromCoroutine(self._putting.put(priority, items))


def _value(kv: KeyValue) -> bytes:
    return kv.value
