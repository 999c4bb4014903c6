"""The number of cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
"""Root of the control groups, version 2."""

OWN_CGROUP: Final = Path("/proc/self/cgroup")

UNLIMITED_CORES: Final = 1_000_000.0
"""Stands for no quota."""


def usable_cores(cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP) -> int:
    """Return how many cores this process may use: those of its affinity, bounded by the quota of its control group.

    A quota of a fraction of a core is rounded up. Only version 2 of control groups is read.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, math.ceil(_quota_cores(cgroups, own_cgroup))))


def _quota_cores(cgroups: Path, own_cgroup: Path) -> float:
    """Return the least quota of this process's control group and of those above it; UNLIMITED_CORES without any."""
    try:
        lines = own_cgroup.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    inner = cgroups / own
    # In a container the path may lead outside of what is mounted; the root is then the container's own group.
    folders = [folder for folder in (inner, *inner.parents) if folder.is_relative_to(cgroups)]
    return min((_quota_of(folder) for folder in folders), default=UNLIMITED_CORES)


def _quota_of(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return float(UNLIMITED_CORES)  # no such file, or `max`: no quota
