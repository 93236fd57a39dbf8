"""
A registry: which service is to be had where.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from copy import copy
from types import TracebackType
from typing import Any, Callable, Optional

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._check import check_seconds, what_came
from .._context import ContextDeferred, within
from ..errors import Closed, Error
from ..keyset import KeySet
from ..lease import check_time_to_live
from ..values import KeyValue
from ._etcd import Etcd
from ._name import check_name
from .mirror import Mirror
from .registration import OnStatus, Registration, begin
from .session import TIME_TO_LIVE, Session, check_begun

_log = Logger()


@attrs.frozen
class Instance:
    """
    A server of a service.

    :ivar name: which one (``bytes``).
    :ivar address: where it is (``str``), as ``"10.0.0.1:80"``.
    :ivar metadata: what else it has said: whatever JSON can hold.
    """

    name: bytes
    address: str
    metadata: Any = None


OnInstances = Callable[[list[Instance]], Any]


class Registry:
    """
    A registry of services: which servers of a service there are, each with an address.

    The keys, ``service/instance``, and the values, ``{"Op":0,"Addr":"10.0.0.1:80","Metadata":null}``, are those of
    ``naming/endpoints`` of etcd's Go client: what is registered here is found by gRPC programs in Go that dial
    ``etcd:///service``, and what they register is found here. Two things to know of them: they take every key that
    *begins* with the name of a service, so do not call one ``web`` and another ``web2``; and they crash, at least up to
    gRPC 1.71, on *metadata* that is a list or an object, which Go cannot compare: a text or a number does no harm.

    A server is registered on a session, so that it disappears with its process. See :class:`~txetcd.Registration` for
    how it is kept, comes back when it was lost, and what that cannot do: whoever is found may have died up to
    *time_to_live* ago. So be ready to ask another one.

    To register costs two calls, and a watch as long as it lasts; to give it up, one. To ask for the instances costs one
    call, to follow them what a :class:`~txetcd.Mirror` costs.

    :param etcd: a :class:`~txetcd.Client`.
    :param session: a :class:`~txetcd.Session` of yours that has begun, to register on: as long as it lasts. Without one
        each registration has one of its own, and another one when that is lost.
    :param time_to_live: seconds (``int``) that a server is found that has died; of a session of its own.
    """

    def __init__(self, etcd: Etcd, *, session: Optional[Session] = None, time_to_live: int = TIME_TO_LIVE) -> None:
        self._etcd = etcd
        self._session = check_begun(session)
        self._time_to_live = check_time_to_live("time_to_live", time_to_live)

    def register(
        self,
        service: bytes,
        instance: bytes,
        address: str,
        metadata: Any = None,
        timeout: Optional[float] = None,
        *,
        on_status: Optional[OnStatus] = None,
    ) -> ContextDeferred[Registration]:
        """
        Registers a server, from now on.

        :param service: of which service (``bytes``).
        :param instance: which of its servers (``bytes``): a name that no other one has.
        :param address: where it is (``str``), as ``"10.0.0.1:80"``.
        :param metadata: what else there is to say: whatever JSON can hold.
        :param timeout: seconds, or ``None`` to wait as long as it takes: an outage is waited out.
        :param on_status: called with ``False`` when the registration was lost, and with ``True`` when it is there, also
            for the first time. What it raises is logged.
        :returns: a Deferred that fires with the :class:`~txetcd.Registration` when it is there. It fails with
            :class:`~txetcd.Timeout`, with :class:`~txetcd.errors.SessionExpired` if a session of yours is lost, or with
            what the server refuses it with; then nothing is left behind. Cancelling it fires it at once; what was
            written is deleted behind its back. As ``async with registry.register(...):`` it is given up at the end of
            the block, if it was not given up in it; that raises what :meth:`Registration.leave` fails with.
        """
        key = check_name("service", service) + b"/" + check_name("instance", instance)
        value = encoded(address, metadata)
        return begin(Registration(self._etcd, key, value, self._session, self._time_to_live, on_status), timeout)

    def instances(self, service: bytes) -> Deferred[list[Instance]]:
        """
        Asks which servers a service has now. What is no entry of a server is left out.

        :returns: a Deferred that fires with a ``list`` of :class:`Instance`, in the order of their names. It fails as
            every call. Cancelling it ends the call.
        """
        prefix = check_name("service", service) + b"/"
        found = self._etcd.get(KeySet(prefix, prefix=True))
        return found.addCallback(lambda found: instances_of(found.kvs, len(prefix)))

    def watch(self, service: bytes, on_change: Optional[OnInstances] = None) -> Instances:
        """
        Follows which servers a service has.

        :param on_change: called with a ``list`` of all of them when they are known for the first time, and whenever
            that has changed: once for all that has changed at one revision. What it raises is logged. It is not waited
            for.
        :returns: :class:`Instances`, to be started, or entered with ``async with``.
        """
        return Instances(self._etcd, check_name("service", service), on_change)

    def resolver(self, service: bytes) -> Resolver:
        """
        Follows which servers a service has, and picks one of them after the other.

        :returns: a :class:`Resolver`, to be started, or entered with ``async with``.
        """
        return Resolver(self._etcd, check_name("service", service))


class Instances:
    """
    The servers of a service, held in memory as a :class:`~txetcd.Mirror` holds keys: as they were at one revision, with
    the delay of the network, and through outages.

    Made by :meth:`Registry.watch`.

    :ivar service: the name of the service (``bytes``).
    """

    def __init__(self, etcd: Etcd, service: bytes, on_change: Optional[OnInstances] = None) -> None:
        if on_change is not None and not callable(on_change):
            raise TypeError(f"on_change must be callable, not {what_came(on_change)}")
        self.service = service
        self._etcd = etcd
        self._on_change = on_change
        self._all: list[Instance] = []
        self._mirror = Mirror(etcd, KeySet(service + b"/", prefix=True), self._changed)

    def start(self) -> Deferred[Instances]:
        """
        Begins to follow; once.

        :returns: a Deferred that fires with this when they are known. It fails as :meth:`Mirror.when_synced
            <txetcd.Mirror.when_synced>`; an outage is waited out. Cancelling it ends the waiting.
        :raises RuntimeError: if it was started before.
        """
        return self._mirror.start().addCallback(lambda _: self)

    def close(self) -> Deferred[None]:
        """
        Follows no longer.

        :returns: a Deferred that fires with ``None``.
        """
        return self._mirror.close()

    def when_stopped(self) -> Deferred[None]:
        """
        Waits for the end.

        :returns: a Deferred as of :meth:`Mirror.when_stopped <txetcd.Mirror.when_stopped>`.
        """
        return self._mirror.when_stopped()

    def fresh(self, timeout: Optional[float] = None) -> Deferred[Instances]:
        """
        Waits until it shows everything that had happened when this was called.

        :returns: a Deferred that fires with this. It fails, and is cancelled, as :meth:`Mirror.fresh
            <txetcd.Mirror.fresh>`.
        """
        return self._mirror.fresh(timeout).addCallback(lambda _: self)

    @property
    def is_current(self) -> bool:
        """Whether a server of etcd just tells it of changes (``bool``)."""
        return self._mirror.is_current

    def all(self) -> list[Instance]:
        """All of them (``list`` of :class:`Instance`), in the order of their names."""
        return list(self._all)

    def __iter__(self) -> Iterator[Instance]:
        """They, in the order of their names."""
        return iter(self.all())

    def __len__(self) -> int:
        return len(self._all)

    async def __aenter__(self) -> Any:
        """Begins, and waits until they are known."""
        await self._mirror.__aenter__()
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Closes it; raises why it had failed, unless the block has raised something itself."""
        await self._mirror.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.service!r} {self._mirror!r}>"

    def _changed(self, _: Any) -> Any:
        self._all = instances_of(self._mirror.values(), len(self.service) + 1)
        return None if self._on_change is None else self._on_change(self.all())


class Resolver(Instances):
    """
    The servers of a service, one after the other: whoever picks them takes all of them in turn.

    Made by :meth:`Registry.resolver`.
    """

    def __init__(self, etcd: Etcd, service: bytes) -> None:
        super().__init__(etcd, service)
        self._last = b""
        self._waiting: list[Deferred[Instance]] = []
        self._end: Optional[Error] = None
        self._mirror.when_stopped().addBoth(self._stopped)

    def pick(self, timeout: Optional[float] = None) -> Deferred[Instance]:
        """
        Picks the next one.

        :param timeout: seconds to wait for one if there is none, or ``None`` to wait as long as it takes.
        :returns: a Deferred that fires with an :class:`Instance`, at once if there is one. It fails with
            :class:`~txetcd.Timeout`; and if it does not follow them any more, with the reason, or
            :class:`~txetcd.Closed`. Cancelling it ends the waiting.
        """
        check_seconds("timeout", timeout)
        return within(self._pick(), self._etcd, timeout, f"the service {self.service!r} had no instance")

    def _pick(self) -> Deferred[Instance]:
        if self._end is not None:
            return fail(self._end)
        if self._all:
            return succeed(self._next())
        waiting: Deferred[Instance] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def _next(self) -> Instance:
        names = [instance.name for instance in self._all]
        chosen = self._all[bisect_right(names, self._last) % len(names)]
        self._last = chosen.name
        return chosen

    def _changed(self, events: Any) -> None:
        super()._changed(events)
        # whoever is told may do anything, as cancel the others
        while self._all and self._waiting:
            self._waiting.pop(0).callback(self._next())

    def _stopped(self, result: Any) -> None:
        error = result.value if isinstance(result, Failure) else None
        self._end = error if isinstance(error, Error) else Closed("the resolver was closed")
        while self._waiting:
            self._waiting.pop(0).errback(copy(self._end))


# --- what is written


def encoded(address: object, metadata: object) -> bytes:
    """
    The value of a key: what Go's ``naming/endpoints`` writes.

    :raises TypeError: if *address* is no ``str``, or *metadata* nothing that JSON can hold.
    :raises ValueError: if *address* is empty, or there is something in them that no JSON can hold, as infinity.
    """
    if not isinstance(address, str):
        raise TypeError(f"address must be a str, as '10.0.0.1:80', not {what_came(address)}")
    if not address:
        raise ValueError("address must not be empty")
    document = {"Op": 0, "Addr": address, "Metadata": metadata}
    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"address and metadata must be text that UTF-8 can hold: {error}") from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"metadata must be what JSON can hold: {error}") from None


def decoded(name: bytes, value: bytes) -> Optional[Instance]:
    """
    The server that a value tells of; ``None`` if it is none. As in Go, names may be in small letters, and what is not
    known is passed over.
    """
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    fields = {field.lower(): content for field, content in document.items()}
    address = fields.get("addr")
    return Instance(name, address, fields.get("metadata")) if isinstance(address, str) else None


def instances_of(kvs: Iterable[KeyValue], prefix_size: int) -> list[Instance]:
    """The servers that key-values tell of, each named after the rest of its key; in the order of the keys."""
    found = []
    for kv in kvs:
        instance = decoded(kv.key[prefix_size:], kv.value)
        if instance is None:
            _log.warn("{key!r} is no entry of a registry, and left out", key=kv.key)
        else:
            found.append(instance)
    return found
