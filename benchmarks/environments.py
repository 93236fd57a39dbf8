"""
The environments of what is measured: one for each peer, with what is pinned here, made once and kept.

They are in ``${XDG_CACHE_HOME:-~/.cache}/txetcd/bench``, each under a name that changes with what it is made of.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, Optional

ROOT = Path(__file__).resolve().parent.parent

#: What pip is told to install; the newest versions that worked together when this was written.
PINS = {
    "aetcd": ("aetcd==1.0.0", "grpcio==1.85.1", "protobuf==7.36.2"),
    # it allows no newer gRPC than this
    "etcetra": ("etcetra==0.1.19", "grpcio==1.62.2", "protobuf==4.25.9"),
    "etcd3gw": ("etcd3gw==2.7.0", "requests==2.34.2", "urllib3==2.8.0"),
    "txaioetcd": ("txaioetcd==18.10.2", "twisted==26.10.0", "treq==26.7.0", "txaio==26.6.1", "zlmdb==26.10.1"),
    # what this package needs, in the newest versions that PyPy can have
    "pypy": (str(ROOT),),
}

#: etcd's own ``benchmark`` tool, and the module around it.
TOOL, TOOL_PACKAGE, TOOL_VERSION = "benchmark", "go.etcd.io/etcd/v3/tools/benchmark", "v3.5.1"


class Unavailable(Exception):
    """It cannot be had here; the text says why."""


def cache() -> Path:
    """Where all of it is."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "txetcd" / "bench"


def python_of(environment: str) -> str:
    """
    The interpreter of an environment, which is made if there is none: one of :data:`PINS`, or ``"cpython"``, which is
    the one that runs this.

    :raises Unavailable: if it cannot be made.
    """
    if environment == "cpython":
        return sys.executable
    interpreter = shutil.which("pypy3") if environment == "pypy" else sys.executable
    if interpreter is None:
        raise Unavailable("there is no pypy3 on the PATH")
    directory = cache() / f"{environment}-{_fingerprint(interpreter, environment)}"
    if not directory.exists():
        _make_whole(directory, lambda path: _make_environment(interpreter, path, PINS[environment]))
    return str(directory / "bin" / "python")


def tool() -> str:
    """
    The path of etcd's ``benchmark``, which is built if there is none.

    :raises Unavailable: if it cannot be built.
    """
    go = shutil.which("go")
    directory = cache() / f"{TOOL}-{TOOL_VERSION}"
    if not directory.exists():
        if go is None:
            raise Unavailable("there is no go on the PATH to build it with")
        _make_whole(directory, lambda path: _build_tool(go, path))
    return str(directory / TOOL)


def _fingerprint(interpreter: str, environment: str) -> str:
    """What the environment is made of, in few letters."""
    parts = [_output(interpreter, "--version"), *PINS[environment], (ROOT / "setup.py").read_text(encoding="utf-8")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _make_whole(directory: Path, make: Callable[[Path], None]) -> None:
    """An environment that could not be finished must not be found by the next run."""
    print(f"making {directory}", flush=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        make(directory)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _make_environment(interpreter: str, directory: Path, requirements: tuple[str, ...]) -> None:
    _output(interpreter, "-m", "venv", str(directory))
    # PyPy: the last cryptography with a wheel for it, instead of compiling the newest
    environment = {**os.environ, "PIP_ONLY_BINARY": "cryptography"}
    _output(str(directory / "bin" / "python"), "-m", "pip", "install", "-q", *requirements, environment=environment)


def _build_tool(go: str, directory: Path) -> None:
    """``go install`` refuses modules with replace directives, so there is one of our own around it."""
    with tempfile.TemporaryDirectory() as module:
        _output(go, "mod", "init", "txetcd/bench", directory=module)
        _output(go, "get", f"{TOOL_PACKAGE}@{TOOL_VERSION}", directory=module)
        _output(go, "build", "-trimpath", "-o", str(directory / TOOL), TOOL_PACKAGE, directory=module)


def _output(*command: str, directory: Optional[str] = None, environment: Optional[dict[str, str]] = None) -> str:
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "it wrote nothing").splitlines()[-1]
        raise Unavailable(f"{Path(command[0]).name} {' '.join(command[1:4])} ended with {done.returncode}: {last}")
    return done.stdout
