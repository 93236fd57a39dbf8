"""
Record the answers of real etcd servers::

    python -m test.recordings.record 3.5.1=/path/to/etcd ...

Each group of scenarios gets a fresh server, so that revisions do not depend on the groups before. It needs the
standard library alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from . import Recording
from ._admin import cluster, downgrade, lease, maintenance
from ._auth import auth, no_permission
from ._concurrency import election, lock
from ._http import gateway, unknown_numbers
from ._kv import kv, kv_errors, txn
from ._member import Member
from ._two import two_members
from ._watch import watch

GROUPS: list[Callable[[Member], None]] = [
    kv, kv_errors, txn, watch, lease, cluster, maintenance, downgrade, auth, lock, election, gateway,
]

CRASH_BEFORE: list[tuple[str, Callable[[Member], None]]] = [("3.5", no_permission), ("3.6", unknown_numbers)]
"""Groups that crash servers older than that."""


def record(version: str, etcd: str) -> list[Recording]:
    """All recordings of one etcd."""
    recordings: list[Recording] = []
    for group in GROUPS + [group for since, group in CRASH_BEFORE if version >= since]:
        member = Member(etcd, "one", recordings)
        try:
            member.start()
            group(member)
        finally:
            member.stop()
    two_members(Member(etcd, "one", recordings), Member(etcd, "two", recordings))
    return recordings


def main(arguments: list[str]) -> None:
    """Record every ``VERSION=PATH`` into ``VERSION.json``."""
    for argument in arguments:
        version, _, etcd = argument.partition("=")
        recordings = [recording.to_json() for recording in record(version, etcd)]
        file = Path(__file__).with_name(f"{version}.json")
        file.write_text(json.dumps(recordings, indent=1) + "\n", encoding="utf-8")
        print(f"{file.name}: {len(recordings)} recordings")


if __name__ == "__main__":
    main(sys.argv[1:])
