"""
Measures txaioetcd: the gateway over treq. It asks under ``/v3alpha``, which etcd has not had since 3.4: mended here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from txaioetcd import Client, OpSet, Transaction, _client_commons, _client_tx

from . import events, loads, twisted_crowd


def mend_paths() -> None:
    """Asks under ``/v3``. Some of the paths are in both modules."""
    for module in (_client_commons, _client_tx):
        for name, path in list(vars(module).items()):
            if name.startswith("ENDPOINT_"):
                setattr(module, name, path.replace("/v3alpha/", "/v3/"))


class Adapter:
    """The client with the verbs of :mod:`loads`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.put, self.get = client.set, client.get

    @staticmethod
    def text(data: bytes) -> bytes:
        return data

    async def range(self, start: bytes, end: bytes) -> None:
        found = await self._client.get(start, range_end=end)
        loads.check_range((kv.key, kv.value) for kv in found.kvs)

    async def watch(self, reader: events.Reader) -> None:
        raise NotImplementedError("its watch takes what has come at a time for whole messages, and drops what is not")

    def put_all(self, pairs: list[tuple[bytes, bytes]]) -> Any:
        return self._client.submit(Transaction(success=[OpSet(key, value) for key, value in pairs]))


def connect(reactor: Any, url: str) -> twisted_crowd.Answer:
    return partial(twisted_crowd.answer, Adapter(Client(reactor, url)))


if __name__ == "__main__":
    mend_paths()
    twisted_crowd.main(connect, "txaioetcd", "Twisted", "treq")
