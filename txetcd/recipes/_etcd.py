"""
What the recipes need of a client.
"""

from __future__ import annotations

from typing import Any, Optional, Protocol, Union

from twisted.internet.defer import Deferred

from ..cluster import Cluster
from ..keyset import KeySet
from ..lease import Lease
from ..ops import Transaction
from ..values import ClientStats, Outcome, Range
from ..watch import Keys, Watch


class Etcd(Protocol):
    """
    The verbs of :class:`txetcd.Client` that recipes are made of.

    :ivar reactor: the reactor.
    """

    reactor: Any

    @property
    def endpoints(self) -> tuple[str, ...]:
        """See :attr:`Client.endpoints <txetcd.Client.endpoints>`."""

    @property
    def cluster(self) -> Cluster:
        """See :attr:`Client.cluster <txetcd.Client.cluster>`."""

    def stats(self) -> ClientStats:
        """See :meth:`Client.stats <txetcd.Client.stats>`."""

    def get(
        self,
        key: Union[bytes, KeySet],
        *,
        count_only: Optional[bool] = None,
        keys_only: Optional[bool] = None,
        limit: Optional[int] = None,
        max_create_revision: Optional[int] = None,
        min_mod_revision: Optional[int] = None,
        revision: Optional[int] = None,
        sort_order: Optional[str] = None,
        sort_target: Optional[str] = None,
    ) -> Deferred[Range]:
        """See :meth:`Client.get <txetcd.Client.get>`."""

    def transact(
        self, txn: Transaction, timeout: Optional[float] = None, *, idempotent: bool = False
    ) -> Deferred[Outcome]:
        """See :meth:`Client.transact <txetcd.Client.transact>`."""

    def lease(self, time_to_live: int, *, keep_alive: bool) -> Deferred[Lease]:
        """See :meth:`Client.lease <txetcd.Client.lease>`."""

    def time_to_live(self, lease_id: int) -> Deferred[int]:
        """See :meth:`Client.time_to_live <txetcd.Client.time_to_live>`."""

    def watcher(
        self,
        keys: Keys,
        *,
        start_revision: Optional[int],
        return_previous: Optional[bool] = None,
        progress_notify: Optional[bool] = None,
        on_compacted: str = "raise",
    ) -> Watch:
        """See :meth:`Client.watcher <txetcd.Client.watcher>`."""
