"""Look at every member, and save the database in a file."""

import os
import tempfile

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txetcd import Client, Error


def show(written, in_all):
    print(f"\r{100 * written // in_all} %", end="")


async def run(reactor):
    async with Client(reactor) as etcd:
        statuses = await etcd.maintenance.status()
        for url, status in statuses.items():
            if isinstance(status, Error):
                print(url, "does not answer:", status.message)
            else:
                print(url, "has etcd", status.version, "and", status.db_size_in_use, "bytes in use")
        for alarm in await etcd.maintenance.alarms():
            print(f"member {alarm.member_id:x}: {alarm.type}")

        # there, or not: never half of it
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "backup.db")
            snapshot = await etcd.maintenance.snapshot(path, show)
            print(", saved:", os.path.getsize(path) == snapshot.size)


def main(reactor):
    return Deferred.fromCoroutine(run(reactor))


if __name__ == "__main__":
    react(main)
