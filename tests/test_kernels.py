"""Compiled code on disk is used as long as no source that it may be made of has changed, and not a moment longer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import planmesh

QUESTION = """
from planmesh.search.overlay import find_edges
import numpy as np
first, head, weight = np.array([0, 1, 1]), np.array([1], np.int32), np.array([1.0])
print(find_edges(first, head, weight, np.array([0, 1], np.int32)).tolist())
print(sum(find_edges.stats.cache_hits.values()))
"""


def ask(folder: Path) -> list[str]:
    """Run the kernel in a process of its own, from the copy of the package in `folder`."""
    ran = subprocess.run(
        [sys.executable, "-c", QUESTION], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split("\n")[:2]


def test_a_change_in_another_file_is_noticed(tmp_path: Path) -> None:
    source = Path(planmesh.__file__).parent
    copy = tmp_path / "planmesh"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert ask(tmp_path) == ["[0]", "0"]
    assert ask(tmp_path) == ["[0]", "1"]
    other = copy / "search" / "node_queue.py"
    other.write_text(other.read_text() + "\n# changed\n")
    for index in copy.rglob("*.nbi"):
        index.write_bytes(b"cplanmesh.search.overlay\nRenamedSince\n.")  # an index of a class that is no more
    assert ask(tmp_path) == ["[0]", "0"]
    assert ask(tmp_path) == ["[0]", "1"]
