"""
Which cluster is asked, by what it says itself.
"""

from __future__ import annotations

from typing import Any

from .errors import WrongCluster


class Identity:
    """
    Which cluster is asked: the one whose answer came first.

    :ivar cluster_id: its id, 0 as long as it is not known (``int``).
    """

    def __init__(self) -> None:
        self._verified: set[str] = set()
        self.cluster_id = 0

    def is_doubtful(self, url: str) -> bool:
        """Whether another cluster may be behind *url*, for all we know."""
        return bool(self.cluster_id) and url not in self._verified

    def doubt(self, url: str) -> None:
        """Whatever is behind *url* may have changed: it has failed, or the last connection to it has ended."""
        self._verified.discard(url)

    def check(self, url: str, answer: Any) -> None:
        """
        Notes which cluster has given *answer*.

        :raises WrongCluster: if it is another one.
        """
        header = getattr(answer, "header", None)
        cluster_id = 0 if header is None else header.cluster_id
        if not cluster_id or (cluster_id == self.cluster_id and url in self._verified):
            return
        if not self.cluster_id:
            self.cluster_id = cluster_id
        elif cluster_id != self.cluster_id:
            self.doubt(url)
            raise WrongCluster(self.cluster_id, cluster_id)
        self._verified.add(url)
