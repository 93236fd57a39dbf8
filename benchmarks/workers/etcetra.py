"""
Measures etcetra: gRPC with the C core, for asyncio. Its keys and values are texts.

It asks for stale reads (serializable ones), and cannot be told otherwise; they cost the server less than what all
others ask for. So the default of that option is changed here.
"""

from __future__ import annotations

import asyncio
from typing import Any

from etcetra import EtcdClient, HostPortPair
from etcetra.client import EtcdRequestGenerator

from . import asyncio_crowd, events, loads


class Adapter:
    """The client with the verbs of :mod:`loads`."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.put, self.get = client.put, client.get

    @staticmethod
    def text(data: bytes) -> str:
        return data.decode()

    async def range(self, start: str, end: str) -> None:
        loads.check_range((await self._client.get_range(start, end)).items())

    async def put_all(self, pairs: list[tuple[str, str]]) -> None:
        def build(action: Any) -> None:
            for key, value in pairs:
                action.put(key, value)

        await self._client.txn(build)

    async def watch(self, reader: events.Reader) -> None:
        asyncio.get_running_loop().call_later(events.SETTLED, reader.started)
        watch = self._client.watch_prefix(self.text(loads.EVENTS_PREFIX))
        async for event in watch:
            if reader.seen(event.key, event.value):
                break
        await watch.aclose()


def read_as_others() -> None:
    """Makes reads linearizable."""
    for make in (EtcdRequestGenerator.get, EtcdRequestGenerator.get_range):
        function: Any = make.__func__
        function.__defaults__ = tuple(False if default is True else default for default in function.__defaults__)


async def connect(host: str, port: int) -> Any:
    read_as_others()
    return Adapter(await EtcdClient(HostPortPair(host, port)).connect().__aenter__())


if __name__ == "__main__":
    asyncio_crowd.main(connect, "etcetra", "grpcio", "protobuf")
