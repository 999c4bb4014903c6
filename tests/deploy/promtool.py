"""Prometheus' own checker, from PATH or from the programs that .ci/observability/programs fetches."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str | Path) -> str:
    """Run promtool and return its output. Fails the test if it finds a mistake; skips the test without promtool."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    program = shutil.which("promtool") or shutil.which(cache / "planmesh" / "observability" / "promtool")
    if program is None:
        pytest.skip("promtool is missing; `.ci/observability/programs prometheus` fetches Debian's")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
