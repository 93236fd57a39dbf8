"""
The client: wiring, and the user's verbs.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Callable, Optional, TypeVar, Union, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from . import _schema as schema
from ._attempts import Way
from ._backoff import ASK_AGAIN, Backoff, Policy
from ._calls import DEFAULT_TIMEOUT, LONG_TIMEOUT, Calls
from ._channel import LEAST_LIVENESS, LOOKS
from ._check import check_flag, check_int, check_int64, check_key, check_optional_int, check_seconds, what_came
from ._context import ContextDeferred, context, within
from ._counters import Counters, OnCall
from ._credentials import authenticator, check_credentials
from ._endpoints import Endpoints
from ._gateway import Gateway
from ._identity import Identity
from ._keepalives import KeepAlives
from ._messages import Acknowledgement, CompactionRequest, Empty, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse
from ._native import Native
from ._silence import Silence
from ._sync import EndpointSync, Mapping, check_mapping
from ._tls import TLS
from ._tokens import Tokens
from ._transport import Transport
from ._url import DEFAULT_URL, GATEWAY, NATIVE, check_urls, scheme_of
from ._watchpart import WatchOptions, WatchWay
from ._watchstreams import WatchStreams
from .auth import Auth
from .cluster import Cluster
from .errors import (
    AlreadyExists,
    Closed,
    CompareFailed,
    Error,
    Failed,
    LeaseNotFound,
    RevisionError,
    Timeout,
    Unavailable,
)
from .keyset import KeySet
from .lease import Lease, LeaseWay, check_time_to_live, grant
from .maintenance import Maintenance
from .ops import Comp, CompCreated, CompModified, CompValue, OpDel, OpGet, OpSet, Transaction, TransactionBuilder
from .recipes._contender import is_released
from .recipes.lock import Lock
from .recipes.session import TIME_TO_LIVE
from .recipes.stm import ATTEMPTS, ISOLATION, Function, committed
from .values import ClientStats, Deleted, Event, Header, KeyValue, Outcome, Range, Revision, Status, Success
from .watch import Keys, OnError, Watch, WatchDeferred, key_sets

T = TypeVar("T")

LIVENESS = 15.0
"""Seconds of silence after which a watch makes sure that the server is still there, unless told otherwise."""

CONNECT_TIMEOUT = 5.0
"""Seconds for one attempt to connect, unless told otherwise."""


class Client:
    """
    An asynchronous client of etcd.

    Every call returns a ``Deferred``, to be ``yield``-ed in ``inlineCallbacks`` or awaited in a coroutine. What every
    call has in common:

    * It fails with an :class:`~txetcd.Error`: what the server refuses has a class of its own (:mod:`txetcd.errors`);
      :class:`~txetcd.Unavailable` if it was not sent, or the server cannot serve now; :class:`~txetcd.OutcomeUnknown`
      if it was a write and its answer was lost; :class:`~txetcd.Timeout` past its deadline;
      :class:`~txetcd.ProtocolViolation` if what answered is no etcd; :class:`~txetcd.Closed` after :meth:`close`.
      ``maybe_applied`` says of each of them whether a write may have happened all the same.
    * Cancelling it fires it at once with ``CancelledError``; a write that was sent already may be applied.
    * ``timeout`` is in seconds and covers everything, the waiting for a connection included. Without one the
      client's counts; only :meth:`lock` and :meth:`wait_for` then wait as long as it takes.
    * What cannot be asked is a ``TypeError`` or ``ValueError`` that names the argument, raised at once: nothing is
      sent.

    A call that fails is tried again, at another endpoint if there are several, as long as that does no harm and the
    deadline allows it: what only reads, and what was certainly not carried out. A write whose answer was lost is not,
    unless it is said to be *idempotent*.

    :param reactor: the reactor.
    :param url: the URL of the server (``str``), such as ``"http://localhost:2379"`` (the default, if the environment
        has no ``ETCD_URL``); of several members a list of them, or one text with commas in between. With ``http://``
        and ``https://`` etcd's JSON gateway is asked, with ``grpc://`` and ``grpcs://`` its native protocol is spoken:
        at the same port, and faster.
    :param pool: a ``twisted.web.client.HTTPConnectionPool`` to use for calls, instead of one of our own; for
        ``http://`` and ``https://`` only, as *agent*.
    :param timeout: seconds for each call, unless it is told otherwise; 10 by default.
    :param connect_timeout: seconds for one attempt to connect, the TLS handshake included; 5 by default.
    :param agent: any ``twisted.web.iweb.IAgent`` to make requests with, instead of one of our own; excludes *pool*.
    :param credentials: ``("user", "password")``, or a token of yours (``str``).
    :param tls: how connections are secured, if the URL is one with ``https://`` or ``grpcs://``: a
        :class:`~txetcd.TLS`. Without it the system's trust store counts, and no certificate is shown. Excludes *agent*.
        A *pool* must not be shared by clients with different ones.
    :param require_leader: let a member that is cut off from the others refuse at once, so that another one is asked.
    :param retry: how long to wait before trying again: called with the number of rounds that have failed (from 1 on; a
        round has failed when a majority of the endpoints has), tells the seconds, or ``None`` to give up. If it raises,
        or what it tells is no number of seconds, that gives up, too: the call fails as it has failed, with this as the
        ``__cause__``. By default :class:`~txetcd.Backoff`; :func:`~txetcd.never` gives up after the first round.
    :param sync_interval: ask the cluster every so many seconds which members it has, and make these the endpoints.
    :param endpoint_mapping: called with each URL (``str``) that a member advertises, tells the one that it has from
        here, or ``None`` to leave it out: for :meth:`sync_endpoints` and *sync_interval*.
    :param on_call: called with a :class:`~txetcd.CallRecord` for each call that has ended, to measure with, just before
        its Deferred fires: to cancel that comes too late. What it raises is logged.

    :param liveness: seconds of silence after which a watch makes sure that the server is still there; 15 by default.
        With ``grpc://`` that is asked of each connection three times within them, but never more often than every five
        seconds, which is what etcd allows. With ``http://`` the stream of the watch is replaced by another one.

    :ivar reactor: as given.
    """

    def __init__(
        self,
        reactor: Any,
        url: Union[str, Sequence[str], None] = None,
        pool: Any = None,
        timeout: Optional[float] = None,
        connect_timeout: Optional[float] = None,
        *,
        agent: Any = None,
        credentials: Union[str, tuple[str, str], None] = None,
        tls: Optional[TLS] = None,
        require_leader: bool = True,
        retry: Optional[Policy] = None,
        sync_interval: Optional[float] = None,
        endpoint_mapping: Optional[Mapping] = None,
        on_call: Optional[OnCall] = None,
        liveness: Optional[float] = None,
    ) -> None:
        if not IReactorTime.providedBy(reactor):
            # most likely forgotten, so that the URL stands in its place
            raise TypeError(f"reactor must be a Twisted reactor, not {type(reactor).__name__}: Client(reactor, url)")
        self.reactor = reactor
        urls = check_urls("url", url) if url is not None else _default_urls()
        timeout = check_seconds("timeout", timeout) or DEFAULT_TIMEOUT
        connect_timeout = check_seconds("connect_timeout", connect_timeout) or CONNECT_TIMEOUT
        for name, function in (("retry", retry), ("on_call", on_call)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be callable, not {what_came(function)}")
        liveness = check_seconds("liveness", liveness) or LIVENESS
        transport = _transport(reactor, urls[0], connect_timeout, pool, agent, tls, liveness)
        endpoints, identity = Endpoints(urls, random.random), Identity()
        way = Way(
            reactor,
            transport,
            endpoints,
            identity,
            Tokens(reactor),
            retry or Backoff(),
            check_flag("require_leader", require_leader),
            random.random,
            Silence(reactor, transport, endpoints, identity),
        )
        login = check_credentials(credentials)
        if isinstance(login, str):
            way = attrs.evolve(way, tokens=Tokens(reactor, None, login))
        elif login is not None:
            way = attrs.evolve(way, tokens=Tokens(reactor, authenticator(way, login, timeout)))
        transport.on_loss = identity.doubt
        self._way = way
        self._calls = Calls(way, timeout, Counters(on_call))
        streams = WatchStreams(self._calls)
        self._watches = WatchWay(self._calls, streams, reactor, timeout, liveness, way.policy, random.random)
        self._leases = LeaseWay(self._calls, reactor, KeepAlives(self._calls, reactor))
        self._sync = EndpointSync(self._calls, reactor, way, check_mapping(endpoint_mapping))
        if check_seconds("sync_interval", sync_interval) is not None:
            self._sync.start(cast(float, sync_interval))

    def close(self) -> Deferred[None]:
        """
        Closes the client: watches end, leases are renewed no longer, calls that are under way fail with
        :class:`~txetcd.Closed`, and so does whatever is asked from now on. Leases that are just being granted or
        revoked are waited for, two seconds at the most. Leases that are held are not revoked, nor locks released: they
        end when their time to live has passed.

        :returns: a Deferred that fires with ``None`` when no connection is left open. It does not fail.
        """
        return self._calls.close()

    async def __aenter__(self) -> Client:
        """The client itself."""
        return self

    async def __aexit__(self, *reason: object) -> None:
        """Closes it."""
        await self.close()

    def __repr__(self) -> str:
        state = " CLOSED" if self._calls.is_closed else ""
        counts = f"connections={self._calls.connections} calls={self._calls.in_flight}"
        return f"<Client{state} {','.join(self.endpoints)} {counts}>"

    # --- endpoints

    @property
    def endpoints(self) -> tuple[str, ...]:
        """
        The URLs of all endpoints, in the order in which they are preferred: the first one is asked, unless it has
        failed lately (a ``tuple`` of ``str``).
        """
        return self._way.endpoints.urls

    def set_endpoints(self, url: Union[str, Sequence[str]]) -> None:
        """
        Asks these endpoints from now on. What is under way goes on where it is.

        :param url: as of :class:`Client`, with the scheme that the client has.
        """
        urls = check_urls("url", url)
        scheme = scheme_of(self.endpoints[0])
        if scheme_of(urls[0]) != scheme:
            raise ValueError(f"url must begin with {scheme}://, as the endpoints that the client has")
        self._way.replace(urls)

    def sync_endpoints(self, timeout: Optional[float] = None) -> Deferred[tuple[str, ...]]:
        """
        Asks the cluster which members it has, and makes what they advertise to clients the endpoints (``Client.Sync``
        of etcd's Go client), with the scheme of the client: but for learners, members that have not started, and URLs
        that have TLS where the client has none, or the other way round. What is under way goes on where it is.

        :returns: a Deferred that fires with the URLs (``tuple`` of ``str``). It fails with
            :class:`~txetcd.Unavailable` if there are none, or as every call; then the endpoints stay as they are.
        """
        return self._sync.sync(check_seconds("timeout", timeout))

    def stats(self) -> ClientStats:
        """
        :returns: a :class:`~txetcd.ClientStats`: what the client has done so far, and does now.
        """
        return self._calls.stats()

    # --- administration

    @property
    def cluster(self) -> Cluster:
        """The members of the cluster (:class:`~txetcd.Cluster`)."""
        return Cluster(self._calls, self.reactor)

    @property
    def maintenance(self) -> Maintenance:
        """The health and the upkeep of the members (:class:`~txetcd.Maintenance`)."""
        return Maintenance(self._calls, self.reactor)

    @property
    def auth(self) -> Auth:
        """Users, roles, and what they may do (:class:`~txetcd.Auth`)."""
        return Auth(self._calls)

    # --- keys

    def status(self, timeout: Optional[float] = None) -> Deferred[Status]:
        """
        Asks the server how it is.

        :returns: a Deferred that fires with a :class:`~txetcd.Status`.
        """
        return self._call(schema.STATUS, Empty(), timeout)

    def set(
        self,
        key: bytes,
        value: Optional[bytes],
        lease: Any = None,
        return_previous: Optional[bool] = None,
        timeout: Optional[float] = None,
        *,
        ignore_value: Optional[bool] = None,
        ignore_lease: Optional[bool] = None,
        idempotent: bool = False,
    ) -> Deferred[Revision]:
        """
        Sets a key.

        :param key: the key (``bytes``).
        :param value: the value (``bytes``); ``None`` with *ignore_value*.
        :param lease: a :class:`~txetcd.Lease` to attach the key to, or its id. Without one the key is detached from
            the lease that it was attached to.
        :param return_previous: bring back what the key was before.
        :param ignore_value: keep the value; fails with :class:`~txetcd.errors.KeyNotFound` if there is none.
        :param ignore_lease: keep the lease; fails with :class:`~txetcd.errors.KeyNotFound` if there is no such key.
        :param idempotent: it does no harm to do it twice, so try again if the answer is lost. What was not answered may
            be done late, even after a set that follows: that must do no harm, either.
        :returns: a Deferred that fires with a :class:`~txetcd.Revision`. It fails with
            :class:`~txetcd.LeaseNotFound` if the lease is gone.
        """
        op = OpSet(key, value, lease, return_previous, ignore_value=ignore_value, ignore_lease=ignore_lease)
        return self._call(schema.PUT, op, timeout, idempotent)

    def get(
        self,
        key: Union[bytes, KeySet],
        range_end: Optional[bytes] = None,
        count_only: Optional[bool] = None,
        keys_only: Optional[bool] = None,
        limit: Optional[int] = None,
        max_create_revision: Optional[int] = None,
        min_create_revision: Optional[int] = None,
        min_mod_revision: Optional[int] = None,
        revision: Optional[int] = None,
        serializable: Optional[bool] = None,
        sort_order: Optional[str] = None,
        sort_target: Optional[str] = None,
        timeout: Optional[float] = None,
        *,
        max_mod_revision: Optional[int] = None,
    ) -> Deferred[Range]:
        """
        Gets keys.

        :param key: a key (``bytes``), or a :class:`~txetcd.KeySet`.
        :param range_end: makes a range of a single key, as in ``KeySet(key, range_end)``.
        :param count_only: only count them: ``kvs`` is empty.
        :param keys_only: without their values.
        :param limit: at most so many; ``more`` says whether there are others.
        :param max_create_revision: only keys created at this revision or before.
        :param min_create_revision: only keys created at this revision or later.
        :param min_mod_revision: only keys written last at this revision or later.
        :param revision: as they were at this revision; fails with :class:`~txetcd.Compacted` or
            :class:`~txetcd.errors.FutureRevision` if the store does not have it.
        :param serializable: as this member knows them, perhaps stale, without asking the others.
        :param sort_order: ``"NONE"``, ``"ASCEND"`` or ``"DESCEND"``.
        :param sort_target: ``"KEY"``, ``"VERSION"``, ``"CREATE"``, ``"MOD"`` or ``"VALUE"``.
        :param max_mod_revision: only keys written last at this revision or before.
        :returns: a Deferred that fires with a :class:`~txetcd.Range`.
        """
        if range_end is not None and isinstance(key, KeySet):
            raise TypeError("range_end is for a key of bytes; a KeySet has an end of its own")
        op = OpGet(
            key if range_end is None else KeySet(key, range_end),  # type: ignore[arg-type]  # not a KeySet: see above
            count_only,
            keys_only,
            limit,
            max_create_revision,
            min_create_revision,
            min_mod_revision,
            revision,
            serializable,
            sort_order,
            sort_target,
            max_mod_revision=max_mod_revision,
        )
        return self._call(schema.RANGE, op, timeout)

    def delete(
        self,
        key: Union[bytes, KeySet],
        return_previous: Optional[bool] = None,
        timeout: Optional[float] = None,
        *,
        idempotent: bool = False,
    ) -> Deferred[Deleted]:
        """
        Deletes keys.

        :param key: a key (``bytes``), or a :class:`~txetcd.KeySet`. To delete everything there is, say
            ``KeySet.all()``; any other set that means everything is refused.
        :param return_previous: bring back what they were.
        :param idempotent: it does no harm to do it twice, so try again if the answer is lost; then ``deleted`` and
            ``previous`` tell of the last time only.
        :returns: a Deferred that fires with a :class:`~txetcd.Deleted`.
        """
        return self._call(schema.DELETE_RANGE, OpDel(key, return_previous), timeout, idempotent)

    def create(
        self, key: bytes, value: bytes, lease: Any = None, timeout: Optional[float] = None
    ) -> Deferred[Revision]:
        """
        Sets a key that does not exist yet.

        :param lease: a :class:`~txetcd.Lease` to attach the key to, or its id.
        :returns: a Deferred that fires with a :class:`~txetcd.Revision`. It fails with
            :class:`~txetcd.AlreadyExists` if the key exists: its ``current`` tells what it is.
        """
        txn = Transaction([CompCreated(key, "==", 0)], [OpSet(key, value, lease)], [OpGet(key)])

        def refuse(outcome: Outcome, current: Optional[KeyValue]) -> Error:
            return AlreadyExists(outcome.header, outcome.responses, f"{key!r} exists already", current)

        return self.transact(txn, timeout).addCallback(self._written, refuse)

    def replace(
        self,
        kv_or_key: Union[KeyValue, Event, bytes],
        value: bytes,
        old_value: Optional[bytes] = None,
        *,
        lease: Any = None,
        ignore_lease: Optional[bool] = None,
        timeout: Optional[float] = None,
    ) -> Deferred[Revision]:
        """
        Sets a key that is still as it was (compare and swap).

        :param kv_or_key: the :class:`~txetcd.KeyValue` as it was read: it must not have been written since. Or the key
            (``bytes``): it must have the *old_value*.
        :param value: the new value (``bytes``).
        :param old_value: the value that the key must have (``bytes``); only together with a key.
        :param lease: as in :meth:`set`.
        :param ignore_lease: as in :meth:`set`.
        :returns: a Deferred that fires with a :class:`~txetcd.Revision`. It fails with
            :class:`~txetcd.CompareFailed` if the key is not as it was: its ``current`` tells what it is.
        """
        key, comp = _expectation(kv_or_key, old_value)
        txn = Transaction([comp], [OpSet(key, value, lease, ignore_lease=ignore_lease)], [OpGet(key)])

        def refuse(outcome: Outcome, current: Optional[KeyValue]) -> Error:
            return CompareFailed(outcome.header, outcome.responses, f"{key!r} is not as it was expected", current)

        return self.transact(txn, timeout).addCallback(self._written, refuse)

    def iterate(
        self,
        keyset: Union[bytes, KeySet],
        page_size: int = 1000,
        revision: Optional[int] = None,
        *,
        keys_only: Optional[bool] = None,
        serializable: Optional[bool] = None,
        timeout: Optional[float] = None,
    ) -> AsyncIterator[KeyValue]:
        """
        Goes through all keys of a set in their order, page by page, all as they are at one revision.

        :param keyset: a :class:`~txetcd.KeySet`, or a key.
        :param page_size: keys of one page (``int``).
        :param revision: as they were at this revision; by default, at that of the first page.
        :param keys_only: as in :meth:`get`.
        :param serializable: as in :meth:`get`.
        :param timeout: seconds for each page.
        :returns: an asynchronous iterator over :class:`~txetcd.KeyValue`. It raises :class:`~txetcd.Compacted` if
            the revision is compacted away while it is under way, and what :meth:`get` fails with.
        """
        keys = KeySet.of("keyset", keyset)
        check_int("page_size", page_size, minimum=1)
        check_optional_int("revision", revision)
        check_flag("keys_only", keys_only)
        check_flag("serializable", serializable)
        check_seconds("timeout", timeout)
        options = {"limit": page_size, "keys_only": keys_only, "serializable": serializable, "timeout": timeout}
        return self._pages(keys, revision, options)

    async def _pages(
        self, keys: KeySet, revision: Optional[int], options: dict[str, Any]
    ) -> AsyncIterator[KeyValue]:
        while True:
            page = await self.get(keys, revision=revision, **options)
            for kv in page.kvs:
                yield kv
            if not page.more:
                return
            revision = revision or page.header.revision
            keys = KeySet(page.kvs[-1].key + b"\x00", keys.end)

    def wait_for(
        self, key: bytes, predicate: Optional[Callable[[KeyValue], bool]] = None, timeout: Optional[float] = None
    ) -> Deferred[KeyValue]:
        """
        Waits until a key is as wanted. Nothing can happen between looking and watching without being seen; once the key
        has been looked at, an outage is waited out.

        :param key: the key (``bytes``).
        :param predicate: tells of a :class:`~txetcd.KeyValue` whether it is wanted; by default, any is.
        :param timeout: seconds for all of it, or ``None`` to wait as long as it takes.
        :returns: a Deferred that fires with the :class:`~txetcd.KeyValue`. It fails with what the predicate raises,
            and with :class:`~txetcd.Timeout`. Cancelling it ends the watch as well.
        """
        check_key("key", key)
        if predicate is not None and not callable(predicate):
            raise TypeError(f"predicate must be callable, not {what_came(predicate)}")
        check_seconds("timeout", timeout)
        work = Deferred.fromCoroutine(self._wait_for(key, predicate or (lambda _: True)))
        work.addBoth(self._waited, self._calls.at_close(work.cancel))
        return within(work, self, timeout, f"{key!r} was not as wanted")

    def _waited(self, result: Any, forget_close: Callable[[], None]) -> Any:
        forget_close()
        if self._calls.is_closed and isinstance(result, Failure) and result.check(CancelledError, Closed):
            return Failure(self._calls.located(Closed(), schema.RANGE))
        return result

    async def _wait_for(self, key: bytes, predicate: Callable[[KeyValue], bool]) -> KeyValue:
        found = await self.get(key)
        while not (found.kvs and _holds(predicate, found.kvs[0])):
            try:
                return await self._until_changed(key, found.header.revision + 1, predicate)
            except RevisionError:
                # what happened meanwhile cannot be told; what the key is now is all that is wanted
                found = await self._get_again(key)
        return found.kvs[0]

    async def _until_changed(self, key: bytes, revision: int, predicate: Callable[[KeyValue], bool]) -> KeyValue:
        watch = self.watcher(key, filters=["NODELETE"], start_revision=revision)
        try:
            async for event in watch:
                if _holds(predicate, event.kv):
                    return event.kv
        finally:
            watch.stop()
        raise Closed()

    async def _get_again(self, key: bytes) -> Range:
        """Gets a key as soon as that can be done again: an outage is waited out."""
        while True:
            try:
                return await self.get(key)
            except (Unavailable, Timeout):
                await deferLater(self.reactor, ASK_AGAIN)

    def compact(self, revision: int, physical: bool = False, timeout: Optional[float] = None) -> Deferred[Header]:
        """
        Forgets what was before a revision.

        :param revision: the oldest revision that can be read from then on (``int``).
        :param physical: wait until it is off the disk as well; takes its time (two minutes are allowed by default).
        :returns: a Deferred that fires with a :class:`~txetcd.Header`. It fails with :class:`~txetcd.Compacted` if
            that was forgotten already, and :class:`~txetcd.errors.FutureRevision`.
        """
        request = CompactionRequest(check_int("revision", revision, minimum=1), check_flag("physical", physical))
        check_seconds("timeout", timeout)
        if physical and timeout is None:
            timeout = max(LONG_TIMEOUT, self._calls.timeout)
        return self._call(schema.COMPACT, request, timeout).addCallback(_header_of)

    # --- transactions

    def transact(
        self, txn: Transaction, timeout: Optional[float] = None, *, idempotent: bool = False
    ) -> Deferred[Outcome]:
        """
        Carries out a transaction.

        :param txn: the :class:`~txetcd.Transaction`.
        :param idempotent: it does no harm to do it twice, as if it only reads, so try again if the answer is lost.
        :returns: a Deferred that fires with an :class:`~txetcd.Outcome`, whether or not the comparisons held.
        """
        if not isinstance(txn, Transaction):
            raise TypeError(f"txn must be a Transaction, not {what_came(txn)}")
        return self._call(schema.TXN, txn, timeout, idempotent)

    def submit(
        self, txn: Transaction, timeout: Optional[float] = None, *, idempotent: bool = False
    ) -> Deferred[Success]:
        """
        Carries out a transaction, and fails if its comparisons do not hold.

        :param txn: the :class:`~txetcd.Transaction`.
        :param idempotent: as of :meth:`transact`.
        :returns: a Deferred that fires with a :class:`~txetcd.Success`. It fails with :class:`~txetcd.Failed` if a
            comparison does not hold: then the ``failure`` operations were carried out, and ``responses`` of the error
            has their answers.
        """

        def check(outcome: Outcome) -> Success:
            if not outcome.succeeded:
                raise self._calls.located(Failed(outcome.header, outcome.responses), schema.TXN)
            return Success(outcome.header, outcome.responses)

        return self.transact(txn, timeout, idempotent=idempotent).addCallback(check)

    def when(self, *comps: Comp) -> TransactionBuilder[Deferred[Success], Deferred[Outcome]]:
        """
        Begins a transaction: ``yield etcd.when(...).then(...).otherwise(...).transact()``.

        :param comps: the comparisons; all must hold.
        :returns: a :class:`~txetcd.ops.TransactionBuilder`.
        """
        return TransactionBuilder(
            lambda txn, timeout, idempotent: self.submit(txn, timeout, idempotent=idempotent),
            lambda txn, timeout, idempotent: self.transact(txn, timeout, idempotent=idempotent),
            comps,
        )

    def atomically(
        self,
        function: Function[T],
        isolation: str = ISOLATION,
        prefetch: Sequence[bytes] = (),
        *,
        attempts: int = ATTEMPTS,
        timeout: Optional[float] = None,
    ) -> Deferred[T]:
        """
        Lets a function read and write keys, and carries out what it has written as a whole, or not at all: software
        transactional memory, with the algorithm of Go's ``concurrency.NewSTM``.

        The function is called again, with a view of its own, whenever somebody else has written the same keys
        meanwhile. So let it do nothing but read and write by its view. If it fails, nothing is written::

            async def transfer(stm):
                mine, yours = int(await stm.get(b"mine")), int(await stm.get(b"yours"))
                if mine < 30:
                    raise ValueError("not enough")
                stm.set(b"mine", b"%d" % (mine - 30))
                stm.set(b"yours", b"%d" % (yours + 30))

            await etcd.atomically(transfer, prefetch=[b"mine", b"yours"])

        What it is certain of, by the level of isolation:

        * ``"SerializableSnapshot"``: all that it reads is from one revision; and it is committed only if nothing of it
          was written since, nor any key that it writes.
        * ``"Serializable"``: the same, but a key that it writes and has not read may have been written since.
        * ``"RepeatableReads"``: each key that it reads may be from another revision, and stale; it is committed only if
          nothing of it was written since.
        * ``"ReadCommitted"``: the same, but committed in any case.

        It costs a call for each key that is read first, unless it is among those of *prefetch*, which are read with
        one; and one to commit. A conflict costs one more; from the second on there are two, and a pause by chance that
        grows up to a second. A server takes no more than 128 keys to be written, and no more to be compared, unless
        told otherwise (``--max-txn-ops``).

        **If the answer to a commit is lost**, the function is called again only if nothing was written, certainly. It
        is settled what has come of it as far as the store can tell: a transaction that changes a key that it has read,
        and that was there, is sent once more, which cannot do it twice; and one that has written ``stm.token`` into a
        key or a value is looked for. So put that token somewhere if you must know; else it fails with
        ``OutcomeUnknown``.

        :param function: called with an :class:`~txetcd.STM`; a coroutine function, or one that returns a Deferred or a
            plain value.
        :param isolation: the level of isolation (``str``).
        :param prefetch: keys that are read at the beginning, together (list of ``bytes``).
        :param attempts: how often the function is called at the most (``int``).
        :param timeout: seconds for all of it, or ``None`` to be done with the *attempts*.
        :returns: a Deferred that fires with what the function returns. It fails with what the function raises; with
            ``RuntimeError`` if it was done before what it reads by its view was there, or has not waited for that;
            with :class:`~txetcd.Failed` if others have written the same keys in all *attempts*;
            :class:`~txetcd.OutcomeUnknown` if it was committed, perhaps, and that cannot be told;
            :class:`~txetcd.Timeout`, with ``maybe_applied`` if it was being committed; or as every call. Cancelling it
            fires it at once, and cancels what the function waits for; it is committed, perhaps, if that was under way.
        """
        done = committed(self, function, isolation, prefetch, attempts, timeout)
        return done.addCallback(lambda done: done[0])

    # --- watches

    def watch(
        self,
        keys: Keys,
        on_watch: Callable[[Event], Any],
        filters: Optional[Sequence[str]] = None,
        start_revision: Optional[int] = None,
        return_previous: Optional[bool] = None,
        *,
        progress_notify: Optional[bool] = None,
        on_compacted: str = "raise",
        on_error: Optional[OnError] = None,
    ) -> WatchDeferred:
        """
        Watches keys, and calls back for each change: see :class:`~txetcd.Watch` for what is promised. It takes a moment
        until the server watches: ``await watching.watch.when_started()``, with *watching* for what this returns, waits
        for that.

        :param keys: what to watch: a list of ``bytes`` and :class:`~txetcd.KeySet`, or one of them. A change of a key
            that is in several sets is told once for each of them.
        :param on_watch: called with each :class:`~txetcd.Event`. If it returns a Deferred or a coroutine, the next
            event waits for that. What it raises is logged, and the watch goes on.
        :param filters: ``["NOPUT"]`` or ``["NODELETE"]``: what not to tell.
        :param start_revision: from this revision on; by default, from now on.
        :param return_previous: tell in ``event.previous`` what the key was before.
        :param progress_notify: let the server tell now and then that nothing has happened.
        :param on_compacted: what to do when changes that were not told yet were compacted away, as they can be while
            nobody answers, or when *start_revision* is old:

            * ``"raise"``: the watch ends with :class:`~txetcd.Compacted`.
            * ``"resume"``: it goes on with the oldest change that can be told; those before are lost.
            * ``"resync"``: the keys are read, and what has come of the changes that are lost is told as events that
              are ``is_synthetic``: each key that was written since, with its value, and each that is not there any
              more. So whoever keeps a copy by the events has the right one again. Which keys there are is kept in
              memory for that, and is read first.
        :param on_error: called with an event and what *on_watch* has raised on it, besides the log.
        :returns: a Deferred. ``cancel()`` stops the watch, and it fires with ``None``, as it does when the client is
            closed. It fails when the watch cannot go on: :class:`~txetcd.Compacted`,
            :class:`~txetcd.errors.PermissionDenied`; outages it survives. As
            ``async with etcd.watch(...) as watch:`` the block is entered when the watch has started, and the watch
            stopped when it is left. A watch that ends meanwhile does not end the block: *on_watch* is just called no
            more, and the reason is raised at the end of the block. Who must know earlier looks at
            ``watch.when_stopped()``, or uses :meth:`watcher`, whose loop raises it at once.
        """
        for name, function in (("on_watch", on_watch), ("on_error", on_error)):
            if not callable(function) and not (function is None and name == "on_error"):
                raise TypeError(f"{name} must be callable, not {what_came(function)}")
        watch = self.watcher(
            keys, filters, start_revision, return_previous, progress_notify=progress_notify, on_compacted=on_compacted
        )
        return WatchDeferred(watch, on_watch, on_error)

    def watcher(
        self,
        keys: Keys,
        filters: Optional[Sequence[str]] = None,
        start_revision: Optional[int] = None,
        return_previous: Optional[bool] = None,
        *,
        progress_notify: Optional[bool] = None,
        on_compacted: str = "raise",
    ) -> Watch:
        """
        Watches keys, for whoever wants to ask for each change: ``async for event in etcd.watcher(...)``.

        The parameters are those of :meth:`watch`.

        :returns: a :class:`~txetcd.Watch`, which is just being set up: see ``when_started()``. As
            ``async with etcd.watcher(...) as watch:`` the block is entered when the watch has started, and the watch
            stopped when it is left. When the watch cannot go on, the loop raises the reason, after everything that had
            arrived; ``watch.revision + 1`` is where the next one has to start.
        """
        options = WatchOptions.checked(filters, start_revision, return_previous, progress_notify, on_compacted)
        return Watch(self._watches, key_sets("keys", keys), options)

    # --- leases and locks

    def lease(
        self,
        time_to_live: int,
        lease_id: Optional[int] = None,
        timeout: Optional[float] = None,
        *,
        keep_alive: bool = False,
    ) -> ContextDeferred[Lease]:
        """
        Grants a lease.

        :param time_to_live: seconds (``int``); the server raises what is too short for it.
        :param lease_id: the id it shall have (``int``); by default, one is made up (63 random bits).
        :param keep_alive: renew it from now on: see :meth:`Lease.keep_alive <txetcd.Lease.keep_alive>`.
        :returns: a Deferred that fires with a :class:`~txetcd.Lease`. It fails with
            :class:`~txetcd.errors.LeaseExist` if there is one with this id. Cancelling it fires it at once; the lease
            is revoked if it is granted all the same within the timeout. If it is not known whether it was granted
            (``maybe_applied``), it is revoked behind your back as well, as far as that can be done, unless you have
            chosen its id: then it may be somebody else's, and lasts *time_to_live* seconds if it is yours. As
            ``async with etcd.lease(10) as lease:`` the lease is revoked when the block is left, if it was not
            revoked in it. That raises :class:`~txetcd.Expired` if the lease was lost meanwhile. The Deferred can be
            entered once, and not if the lease was revoked before: that is a ``RuntimeError``.
        """
        check_time_to_live("time_to_live", time_to_live)
        chosen = 0 if lease_id is None else check_int64("lease_id", lease_id)
        check_seconds("timeout", timeout)
        check_flag("keep_alive", keep_alive)
        return grant(self._leases, time_to_live, chosen, timeout, keep_alive)

    def leases(self, timeout: Optional[float] = None) -> Deferred[list[int]]:
        """
        Asks which leases there are.

        :returns: a Deferred that fires with their ids (``list`` of ``int``).
        """
        listed = self._call(schema.LEASE_LEASES, Empty(), timeout)
        return listed.addCallback(lambda answer: [lease.lease_id for lease in answer.leases])

    def time_to_live(self, lease_id: int, timeout: Optional[float] = None) -> Deferred[int]:
        """
        Asks how long a lease has left, whoever it belongs to (``LeaseTimeToLive``).

        :param lease_id: its id (``int``), as :attr:`KeyValue.lease <txetcd.KeyValue>` has it.
        :returns: a Deferred that fires with whole seconds (``int``). It fails with :class:`~txetcd.LeaseNotFound` if
            there is no such lease.
        """
        check_int64("lease_id", lease_id)
        asked = self._call(schema.LEASE_TIME_TO_LIVE, LeaseTimeToLiveRequest(lease_id), timeout)
        return asked.addCallback(self._left_of, lease_id)

    def lock(
        self, name: bytes, timeout: Optional[float] = None, *, time_to_live: int = TIME_TO_LIVE
    ) -> ContextDeferred[Lock]:
        """
        Waits for a lock: see :class:`~txetcd.Lock` for what it guarantees, and what it cannot.

        :param name: the name of the lock (``bytes``).
        :param timeout: seconds to wait for it, or ``None`` to wait as long as it takes.
        :param time_to_live: seconds (``int``) after which the lock of an owner that has died is free.
        :returns: a Deferred that fires with the held :class:`~txetcd.Lock`. It fails with :class:`~txetcd.Timeout`, or
            as :meth:`Lock.acquire <txetcd.Lock.acquire>`; cancelling is told there. As
            ``async with etcd.lock(name) as lock:`` the lock is released when the block is left, if it was not
            released in it. That raises :class:`~txetcd.Expired` if the lock was lost meanwhile. The Deferred can be
            entered once, and not if the lock was released before: that is a ``RuntimeError``.
        """
        return context(Lock(self, name, time_to_live).acquire(timeout), Lock.release, is_released)

    # --- within

    def _call(
        self, rpc: schema.Rpc, request: Any, timeout: Optional[float], idempotent: bool = False
    ) -> Deferred[Any]:
        check_seconds("timeout", timeout)
        return self._calls.call(rpc, request, timeout, is_idempotent=check_flag("idempotent", idempotent))

    def _left_of(self, answer: LeaseTimeToLiveResponse, lease_id: int) -> int:
        if answer.time_to_live < 0:
            raise self._calls.located(LeaseNotFound(None, f"there is no lease {lease_id:x}"), schema.LEASE_TIME_TO_LIVE)
        return answer.time_to_live

    def _written(self, outcome: Outcome, refuse: Callable[[Outcome, Optional[KeyValue]], Error]) -> Revision:
        if outcome.succeeded:
            return Revision(outcome.header)
        found = outcome.responses[0]
        current = found.kvs[0] if isinstance(found, Range) and found.kvs else None
        raise self._calls.located(refuse(outcome, current), schema.TXN)


def _holds(predicate: Callable[[KeyValue], bool], kv: KeyValue) -> bool:
    answer = predicate(kv)
    if isinstance(answer, Awaitable):
        # which would be taken for yes
        raise TypeError("predicate must tell at once, and not return a Deferred or a coroutine")
    return bool(answer)


def _transport(
    reactor: Any, url: str, connect_timeout: float, pool: Any, agent: Any, tls: Any, liveness: float
) -> Transport:
    """The transport that the scheme of *url* stands for."""
    scheme = scheme_of(url)
    if isinstance(tls, TLS) and scheme not in (GATEWAY[1], NATIVE[1]):
        raise ValueError(f"tls is for https:// and grpcs:// URLs, and {url} is none")
    if scheme in GATEWAY:
        return Gateway(reactor, connect_timeout, pool, agent, tls)
    if pool is not None or agent is not None:
        raise ValueError(f"{'agent' if pool is None else 'pool'} is for http:// and https:// URLs, and {url} is none")
    return Native(reactor, connect_timeout, tls, liveness=max(liveness / LOOKS, LEAST_LIVENESS))


def _default_urls() -> tuple[str, ...]:
    return check_urls("$ETCD_URL", os.environ.get("ETCD_URL") or DEFAULT_URL)


def _header_of(acknowledgement: Acknowledgement) -> Header:
    return acknowledgement.header


def _expectation(kv_or_key: object, old_value: Optional[bytes]) -> tuple[bytes, Comp]:
    """The key to replace, and what must hold of it."""
    if isinstance(kv_or_key, (KeyValue, Event)):
        if old_value is not None:
            raise TypeError("old_value is for a key of bytes; a KeyValue is compared by its mod_revision")
        return kv_or_key.key, CompModified(kv_or_key.key, "==", kv_or_key.mod_revision)
    key = check_key("kv_or_key", kv_or_key)
    if old_value is None:
        raise TypeError("old_value must be given with a key; pass the KeyValue to compare its mod_revision")
    return key, CompValue(key, "==", old_value)
