"""
Measures aetcd: gRPC with the C core, for asyncio.
"""

from __future__ import annotations

from typing import Any

import aetcd

from . import asyncio_crowd, events, loads


class Adapter:
    """The client with the verbs of :mod:`loads`."""

    def __init__(self, client: aetcd.Client) -> None:
        self._client = client
        self.put, self.get = client.put, client.get

    @staticmethod
    def text(data: bytes) -> bytes:
        return data

    async def range(self, start: bytes, end: bytes) -> None:
        # as its documentation recommends
        loads.check_range((kv.key, kv.value) for kv in await self._client.get_range(start, end))

    async def put_all(self, pairs: list[tuple[bytes, bytes]]) -> None:
        put = self._client.transactions.put
        await self._client.transaction(compare=[], success=[put(key, value) for key, value in pairs], failure=[])

    async def watch(self, reader: events.Reader) -> None:
        watch = await self._client.watch_prefix(loads.EVENTS_PREFIX)
        reader.started()
        async for event in watch:
            if reader.seen(event.kv.key, event.kv.value):
                break
        await watch.cancel()


async def connect(host: str, port: int) -> Any:
    # without it an answer of more than 4 MiB is refused
    client = aetcd.Client(host, port, options={"grpc.max_receive_message_length": -1})
    await client.connect()
    return Adapter(client)


if __name__ == "__main__":
    asyncio_crowd.main(connect, "aetcd", "grpcio", "protobuf")
