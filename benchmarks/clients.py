"""
What is compared: a table of clients. One is a library, the interpreter that runs it, and the transport it uses.
"""

from __future__ import annotations

from typing import Optional

import attrs


@attrs.frozen
class Client:
    """
    A client, or a program that shows how much is possible at all.

    :ivar name: for the command line and the JSON file.
    :ivar label: for people.
    :ivar worker: the module below :mod:`benchmarks.workers`; ``None`` for a program.
    :ivar environment: of :mod:`benchmarks.environments`.
    :ivar scheme: of the URL.
    """

    name: str
    label: str
    worker: Optional[str] = None
    environment: str = "cpython"
    scheme: str = "http"

    @property
    def warm_up(self) -> int:
        """How long it takes to warm up, in rounds: PyPy compiles what it has seen often enough."""
        return 5 if self.environment == "pypy" else 1

    @property
    def is_ours(self) -> bool:
        """Whether it is this package."""
        return self.worker == "txetcd"


CLIENTS = (
    Client("txetcd-native", "txetcd native", "txetcd", scheme="grpc"),
    Client("txetcd-native-pypy", "txetcd native, PyPy", "txetcd", "pypy", "grpc"),
    Client("txetcd-gateway", "txetcd gateway", "txetcd"),
    Client("txetcd-gateway-pypy", "txetcd gateway, PyPy", "txetcd", "pypy"),
    Client("aetcd", "aetcd", "aetcd", "aetcd"),
    Client("etcetra", "etcetra", "etcetra", "etcetra"),
    Client("txaioetcd", "txaioetcd, mended", "txaioetcd", "txaioetcd"),
    Client("etcd3gw", "etcd3gw", "etcd3gw", "etcd3gw"),
    Client("wrk", "wrk (C, gateway)"),
    Client("etcd-benchmark", "etcd's benchmark (Go)"),
)

GRPC_PEERS = ("aetcd", "etcetra")
PEERS = (*GRPC_PEERS, "txaioetcd", "etcd3gw")
