"""
Measures etcetra: gRPC with the C core, for asyncio. Its keys and values are texts.
"""

from __future__ import annotations

from typing import Any

from etcetra import EtcdClient, HostPortPair

from . import asyncio_crowd, loads


class Adapter:
    """The client with the verbs of :mod:`loads`."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.put, self.get = client.put, client.get

    @staticmethod
    def text(data: bytes) -> str:
        return data.decode()

    async def range(self, start: str, end: str) -> None:
        loads.check_range(len(await self._client.get_range(start, end)))

    async def put_all(self, pairs: list[tuple[str, str]]) -> None:
        def build(action: Any) -> None:
            for key, value in pairs:
                action.put(key, value)

        await self._client.txn(build)


async def connect(host: str, port: int) -> Any:
    return Adapter(await EtcdClient(HostPortPair(host, port)).connect().__aenter__())


if __name__ == "__main__":
    asyncio_crowd.main(connect, "etcetra", "grpcio", "protobuf")
