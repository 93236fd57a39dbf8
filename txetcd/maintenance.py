"""
The health and the upkeep of the members.
"""

from __future__ import annotations

import os
from typing import Any, Optional, Union

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from . import _schema as schema
from ._calls import LONG_TIMEOUT, Calls
from ._check import UINT64_MAX, check_choice, check_int, check_optional_int, check_seconds, what_came
from ._messages import AlarmRequest, CompactionRequest, Empty, HashKVRequest, MoveLeaderRequest
from ._since import since
from ._snapshot import Progress, Transfer
from ._url import check_url
from .errors import Closed, Error, NoLeader, NotLeader
from .values import Alarm, Hash, HashKV, Snapshot, Status

ALARMS = tuple(kind for kind in schema.ENUMS["AlarmType"] if kind != "NONE")
"""What alarms there are: ``"NOSPACE"`` and ``"CORRUPT"``."""

ASK_ALARMS = attrs.evolve(schema.ALARM, is_read=True)
"""The call for alarms, where it only asks which there are."""


class Maintenance:
    """
    The health and the upkeep of the members: etcd's service ``Maintenance``.

    What holds for every call of :class:`~txetcd.Client` holds here: what it fails with, how it is cancelled, what
    ``timeout`` means. While authentication is on, most of this is for users with the role ``root`` only.

    Much of it concerns one member, the one behind an *endpoint* (``str``): one of the client's, or any other URL of the
    same cluster, with the same scheme.

    Made by :attr:`Client.maintenance <txetcd.Client.maintenance>`.
    """

    def __init__(self, calls: Calls, clock: Any) -> None:
        self._calls = calls
        self._clock = clock

    # --- health

    def status(self, timeout: Optional[float] = None) -> Deferred[dict[str, Union[Status, Error]]]:
        """
        Asks every endpoint of the client how it is, all at the same time (``Status``).

        :param timeout: seconds, or ``None`` for the client's. An endpoint that cannot be reached is tried for as long.
        :returns: a Deferred that fires, when all have answered or failed, with a ``dict``: for the URL of each endpoint
            its :class:`~txetcd.Status`, or the :class:`~txetcd.Error` of the call; none is missing. It fails with
            :class:`~txetcd.Closed`. Cancelling it ends all calls.
        """
        check_seconds("timeout", timeout)
        urls = self._calls.endpoints
        asked = [self._status_of(url, timeout) for url in urls]
        return DeferredList(asked, consumeErrors=True).addCallback(_outcomes, urls)

    def _status_of(self, url: str, timeout: Optional[float]) -> Deferred[Status]:
        return self._calls.call(schema.STATUS, Empty(), timeout, endpoint=url)

    def alarms(self, timeout: Optional[float] = None) -> Deferred[list[Alarm]]:
        """
        Asks which alarms there are, in the whole cluster (``Alarm``).

        :param timeout: seconds, or ``None`` for the client's.
        :returns: a Deferred that fires with them (``list`` of :class:`~txetcd.Alarm`). Cancelling it ends the call.
        """
        return self._alarm(ASK_ALARMS, AlarmRequest("GET"), check_seconds("timeout", timeout))

    def disarm(self, alarm: Optional[Alarm] = None, timeout: Optional[float] = None) -> Deferred[list[Alarm]]:
        """
        Ends an alarm, or all there are (``Alarm``). Remove its cause before, or it comes back: for ``"NOSPACE"`` see
        :meth:`compact_and_defragment`.

        :param alarm: one of :meth:`alarms`, or ``None`` for all of them.
        :param timeout: seconds for everything, or ``None`` for the client's.
        :returns: a Deferred that fires with those that were ended (``list`` of :class:`~txetcd.Alarm`); one that was
            not there is not among them. Cancelling it ends the calls; what was asked may still be carried out.
        """
        seconds = check_seconds("timeout", timeout) or self._calls.timeout
        if alarm is None:
            return Deferred.fromCoroutine(self._disarm_all(self._clock.seconds() + seconds))
        if not isinstance(alarm, Alarm):
            raise TypeError(f"alarm must be an Alarm, not {what_came(alarm)}")
        check_int("alarm.member_id", alarm.member_id, 1, UINT64_MAX)
        check_choice("alarm.type", alarm.type, ALARMS)
        return self._disarm(alarm, seconds)

    async def _disarm_all(self, deadline: float) -> list[Alarm]:
        disarmed = []
        for alarm in await self._alarm(ASK_ALARMS, AlarmRequest("GET"), self._left(deadline)):
            # a server that is newer than we are may have others, whose cause nobody here knows
            if alarm.type in ALARMS:
                disarmed += await self._disarm(alarm, self._left(deadline))
        return disarmed

    def _disarm(self, alarm: Alarm, timeout: float) -> Deferred[list[Alarm]]:
        return self._alarm(schema.ALARM, AlarmRequest("DEACTIVATE", alarm.member_id, alarm.type), timeout)

    def _alarm(self, rpc: schema.Rpc, request: AlarmRequest, timeout: Optional[float]) -> Deferred[list[Alarm]]:
        return self._calls.call(rpc, request, timeout).addCallback(lambda answer: answer.alarms)

    def hash(self, endpoint: Optional[str] = None, timeout: Optional[float] = None) -> Deferred[Hash]:
        """
        Asks for the hash of all that a member has on its disk (``Hash``). It differs between members, and changes with
        everything that is forgotten: to compare members, use :meth:`hash_kv`.

        :param endpoint: the member to ask, or ``None`` for any.
        :param timeout: seconds, or ``None`` for two minutes (the client's timeout, if that is longer).
        :returns: a Deferred that fires with a :class:`~txetcd.Hash`. Cancelling it ends the call.
        """
        return self._long_call(schema.HASH, Empty(), timeout, self._checked(endpoint))

    def hash_kv(
        self, revision: Optional[int] = None, endpoint: Optional[str] = None, timeout: Optional[float] = None
    ) -> Deferred[HashKV]:
        """
        Asks for the hash of the keys that a member has (``HashKV``; at the gateway from etcd 3.5.10 on).

        :param revision: up to this revision (``int``), or ``None`` for all.
        :param endpoint: the member to ask, or ``None`` for any.
        :param timeout: seconds, or ``None`` for two minutes (the client's timeout, if that is longer).
        :returns: a Deferred that fires with a :class:`~txetcd.HashKV`. It fails with
            :class:`~txetcd.errors.Unimplemented` if the server is older, and with :class:`~txetcd.Compacted` or
            :class:`~txetcd.errors.FutureRevision` if it does not have the revision. Cancelling it ends the call.
        """
        request = HashKVRequest(check_optional_int("revision", revision))
        answer = self._long_call(schema.HASH_KV, request, timeout, self._checked(endpoint))
        return answer.addErrback(since("3.5.10", " at the gateway"))

    # --- room

    def defragment(self, endpoint: Optional[str] = None, timeout: Optional[float] = None) -> Deferred[None]:
        """
        Gives the room that a database no longer needs back to the file system (``Defragment``). Meanwhile its member
        answers nothing; so of several, one is done after the other.

        :param endpoint: the member to do it, or ``None`` for every endpoint of the client.
        :param timeout: seconds for each member, or ``None`` for two minutes (the client's timeout, if that is longer).
        :returns: a Deferred that fires with ``None``. It fails with the error of the first member with which it failed;
            those that come after it are left alone, because that one may still be at it. Cancelling it ends the call,
            but not what the member has begun.
        """
        chosen = self._checked(endpoint)
        check_seconds("timeout", timeout)
        return Deferred.fromCoroutine(self._defragment((chosen,) if chosen else self._calls.endpoints, timeout))

    async def _defragment(self, urls: tuple[str, ...], timeout: Optional[float]) -> None:
        for url in urls:
            await self._long_call(schema.DEFRAGMENT, Empty(), timeout, url)

    def compact_and_defragment(self, revision: int, timeout: Optional[float] = None) -> Deferred[None]:
        """
        Makes the databases small: forgets what was before a revision, until it is off the disks, as
        :meth:`Client.compact <txetcd.Client.compact>`; then :meth:`defragment` with every endpoint of the client.

        Each member takes it off its disk at its own pace, and only the one that is asked tells when it is done: another
        one that is slower gives the rest back with the next :meth:`defragment`.

        :param revision: the oldest revision that can be read from then on (``int``).
        :param timeout: seconds for the compaction, and for each member; or ``None`` for two minutes (the client's
            timeout, if that is longer).
        :returns: a Deferred that fires with ``None``. It fails as these do; with :class:`~txetcd.Compacted` if that was
            forgotten already: then nothing is defragmented. Cancelling it ends the call that is under way, but not what
            the server has begun.
        """
        request = CompactionRequest(check_int("revision", revision, minimum=1), physical=True)
        check_seconds("timeout", timeout)
        return Deferred.fromCoroutine(self._compact_and_defragment(request, timeout))

    async def _compact_and_defragment(self, request: CompactionRequest, timeout: Optional[float]) -> None:
        await self._long_call(schema.COMPACT, request, timeout)
        await self._defragment(self._calls.endpoints, timeout)

    # --- the leader

    def move_leader(self, member_id: int, timeout: Optional[float] = None) -> Deferred[None]:
        """
        Hands the leadership over to another member (``MoveLeader``). Only the leader can do that: so the endpoints of
        the client are asked which of them it is.

        :param member_id: the id of the member that shall lead (``int``).
        :param timeout: seconds for everything, or ``None`` for the client's.
        :returns: a Deferred that fires with ``None`` when it leads. It fails with
            :class:`~txetcd.errors.BadLeaderTransferee` if it is a learner, or none of the members;
            :class:`~txetcd.errors.NotLeader` if none of the endpoints is the leader, or is it no longer;
            :class:`~txetcd.errors.NoLeader` if there is none. Cancelling it ends the calls; the leadership may be moved
            all the same.
        """
        request = MoveLeaderRequest(check_int("member_id", member_id, 1, UINT64_MAX))
        seconds = check_seconds("timeout", timeout) or self._calls.timeout
        return Deferred.fromCoroutine(self._move_leader(request, self._clock.seconds() + seconds))

    async def _move_leader(self, request: MoveLeaderRequest, deadline: float) -> None:
        url = await self._leading(self._left(deadline))
        await self._calls.call(schema.MOVE_LEADER, request, self._left(deadline), endpoint=url)

    async def _leading(self, seconds: float) -> str:
        """The endpoint that says it is the leader; whoever says so first."""
        urls = self._calls.endpoints
        asked = [self._status_of(url, seconds).addCallback(_if_leading, url) for url in urls]
        found = await DeferredList(asked, fireOnOneCallback=True, consumeErrors=True)
        for one in asked:
            one.cancel()
        if isinstance(found, tuple):
            return str(found[0])
        raise _no_leader([failure.value for _, failure in found], urls)

    # --- snapshots

    def snapshot(
        self,
        path: Union[str, os.PathLike[str]],
        progress: Optional[Progress] = None,
        endpoint: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> Deferred[Snapshot]:
        """
        Saves the database of a member in a file, from which ``etcdutl snapshot restore`` (``etcdctl``, up to etcd 3.5)
        makes a new cluster (``Snapshot``). It holds what this member has; a member that lags behind has less.

        It is written to *path* with ``.part`` at its end; when it is whole, its SHA-256 is right, and it is on the
        disk, it is moved to *path*, in place of the file that is there. However it fails, and when it is cancelled,
        nothing of it is left. The ``.part`` must not exist: another snapshot may be at it, or the process of one was
        killed; then remove it. Only the owner may read it (mode 0600). It is written and synced by the thread of the
        reactor, in small pieces as they come.

        :param path: where it shall be (``str`` or a path).
        :param progress: called after each piece with the bytes that were written, and those there will be (two
            ``int``). What it raises ends the snapshot.
        :param endpoint: the member to take it from, or ``None`` for any.
        :param timeout: seconds for which nothing may come, or ``None`` for two minutes (the client's timeout, if that
            is longer); it may take longer in all. To find a server it has no longer than any call.
        :returns: a Deferred that fires with a :class:`~txetcd.Snapshot`. It fails with an ``OSError`` that names the
            file if it cannot be written, or the disk is full; with :class:`~txetcd.ProtocolViolation` if the SHA-256 is
            wrong; with :class:`~txetcd.Timeout` if nothing comes any more; with what *progress* raises; or as every
            call. Cancelling it ends it at once.
        """
        if progress is not None and not callable(progress):
            raise TypeError(f"progress must be callable, not {what_came(progress)}")
        chosen = self._checked(endpoint)
        seconds = self._long(check_seconds("timeout", timeout))
        return Transfer(self._calls, self._clock, _check_path(path), chosen, seconds, progress).start()

    # --- within

    def _checked(self, endpoint: Optional[str]) -> str:
        if endpoint is None:
            return ""
        url = check_url("endpoint", endpoint)
        scheme = self._calls.endpoint.partition("://")[0]
        if url.partition("://")[0] != scheme:
            raise ValueError(f"endpoint must begin with {scheme}://, as those that the client has, not {url!r}")
        return url

    def _long(self, timeout: Optional[float]) -> float:
        return max(LONG_TIMEOUT, self._calls.timeout) if timeout is None else timeout

    def _long_call(
        self, rpc: schema.Rpc, request: Any, timeout: Optional[float], endpoint: str = ""
    ) -> Deferred[Any]:
        seconds = self._long(check_seconds("timeout", timeout))
        return self._calls.call(rpc, request, seconds, endpoint=endpoint)

    def _left(self, deadline: float) -> float:
        left: float = deadline - self._clock.seconds()
        return max(0.0, left)


def _outcomes(results: list[tuple[bool, Any]], urls: tuple[str, ...]) -> dict[str, Union[Status, Error]]:
    """What the endpoints said, or why they did not. That of all calls is no answer of one endpoint."""
    outcomes: dict[str, Union[Status, Error]] = {}
    for url, (_, result) in zip(urls, results):
        if isinstance(result, Failure):
            if not result.check(Error) or result.check(Closed):
                result.raiseException()
            result = result.value
        outcomes[url] = result
    return outcomes


class _Follows(Exception):
    """A member that does not lead; ``leader`` is the id of the one that does, by what it says."""

    def __init__(self, leader: int) -> None:
        super().__init__(leader)
        self.leader = leader


def _if_leading(status: Status, url: str) -> str:
    if status.leader != status.header.member_id:
        raise _Follows(status.leader)
    return url


def _no_leader(errors: list[BaseException], urls: tuple[str, ...]) -> BaseException:
    """Why none of several endpoints is the leader."""
    others = [error for error in errors if isinstance(error, Error)]
    leaders = [error.leader for error in errors if isinstance(error, _Follows) and error.leader]
    of_all = [error for error in errors if not isinstance(error, (Error, _Follows))]
    if of_all:
        # it was cancelled
        return of_all[0]
    if others and not leaders:
        # there is no endpoint of which more is known
        first = others[0]
        first.endpoint = ", ".join(urls)
        return first
    if leaders:
        text = f"member {leaders[0]:x} leads, and none of the endpoints that have answered is it"
    reason = NotLeader(None, text) if leaders else NoLeader(None, "no endpoint knows a leader")
    reason.call, reason.endpoint = schema.STATUS.name, ", ".join(urls)
    return reason


def _check_path(path: object) -> str:
    """
    *path* as text.

    :raises TypeError: if it is no path.
    :raises ValueError: if it is none that a file can have.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path, not {what_came(path)}")
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path must be a path of str, not of {type(name).__name__}")
    if not name or "\0" in name:
        raise ValueError(f"path must be the name of a file, not {name!r}")
    return name
