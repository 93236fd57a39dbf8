"""
Where it was measured, and with what.
"""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from typing import Any

from txetcd import __version__

from .environments import ROOT


def facts(etcd: str, data_dir: str, rounds: int, seconds: float) -> dict[str, Any]:
    """
    What one must know to read the figures.

    :param etcd: its version.
    :param data_dir: where its data are.
    """
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "etcd": f"{etcd}, its data in {'memory' if data_dir.startswith('/dev/shm') else 'a temporary directory'}",
        "txetcd": f"{__version__} {_commit()}".strip(),
        "measured": f"medians of {rounds} rounds of {seconds:g} s",
    }


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        for line in cpuinfo:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()


def _commit() -> str:
    """Of the tree, if it is one of git."""
    try:
        said = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return f"({said.stdout.strip()})" if said.returncode == 0 else ""
