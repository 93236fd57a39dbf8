"""What a program is told when its network fails, each time as you command. That is how to test what yours then does."""

import os

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import Client, OutcomeUnknown, Timeout, Unavailable
from txetcd.testing import FaultyProxy

KEY = b"example/fragile"


async def run(reactor):
    server = os.environ.get("ETCD_URL", "http://localhost:2379")
    async with Client(reactor, server) as direct, FaultyProxy(reactor, server, seed=1) as proxy:
        async with Client(reactor, proxy.url) as etcd:
            # the server writes the key, but the client never hears of it
            proxy.cut_answer(count=1)
            try:
                await etcd.set(KEY, b"1")
            except OutcomeUnknown as error:
                version = (await direct.get(KEY)).kvs[0].version
                print(f"an answer is lost: maybe applied: {error.maybe_applied}; the server has version {version}")

            # as if the server were down: the client has tried, and nothing was sent
            await proxy.refuse()
            proxy.drop()
            try:
                await etcd.set(KEY, b"2", timeout=2)
            except Unavailable as error:
                version = (await direct.get(KEY)).kvs[0].version
                print(f"nobody is there: maybe applied: {error.maybe_applied}; the server has version {version}")
            await proxy.accept()

            # everything is swallowed, and no connection ends
            proxy.black_hole()
            try:
                await etcd.get(KEY, timeout=0.5)
            except Timeout:
                print("silence: no answer within 0.5 seconds")

            # every third request suffers something: with the same seed the same again
            proxy.behave()
            proxy.misbehave(1 / 3, ["cut_request", "cut_answer", "cut_line", "bytewise"])
            for _ in range(10):
                await etcd.get(KEY)
            print("ten reads in spite of", proxy.faults, "with", proxy)
        await direct.delete(KEY)


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
