"""Prometheus' own checker, of this machine or of those that .ci/observability/programs keeps."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str | Path) -> str:
    """Run it; what it prints. What it finds wrong fails the test, and without it the test is skipped."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    program = shutil.which("promtool") or shutil.which(cache / "planmesh" / "observability" / "promtool")
    if program is None:
        pytest.skip("promtool is not here: `.ci/observability/programs prometheus` gets Debian's")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
