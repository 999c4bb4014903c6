"""A mesh of this checkout, or of an earlier commit in an environment of its own, for comparisons in one run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from bench.graphs import ROOT

WORK: Final = ROOT / "build" / "bench" / "releases"


@dataclass(frozen=True, slots=True)
class Release:
    """A checkout whose .venv has everything that its mesh needs."""

    name: str
    root: Path

    @property
    def python(self) -> str:
        """The interpreter of the checkout's environment."""
        return str(self.root / ".venv" / "bin" / "python")

    def planmesh(self, *arguments: str) -> Any:
        """Run a command of this release with --json, and return what it prints."""
        command = (self.python, "-m", "planmesh.cli", *arguments, "--json")
        ended = subprocess.run(command, cwd=self.root, stdout=subprocess.PIPE, check=True)
        return orjson.loads(ended.stdout)


NOW: Final = Release("now", ROOT)


@dataclass(frozen=True, slots=True)
class RunningMesh:
    """The address of a mesh, and the pids of its processes by kind: `worker` is all query workers."""

    release: Release
    address: str
    pids: dict[str, list[int]]


def earlier(commit: str, say: Callable[[str], None]) -> Release:
    """Return the release of a commit of this repository; install it and compile its kernels if that was not done."""
    root = WORK / commit[:12]
    if not (root / ".git").exists():
        say(f"check out {commit[:12]}")
        subprocess.run(["git", "clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(root)], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=root, check=True)
    say(f"install {commit[:12]} and compile its kernels")
    subprocess.run(["make", "--silent", "kernels"], cwd=root, check=True, stdout=sys.stderr)
    return Release("before", root)


@contextmanager
def mesh_of(release: Release, edges: Path, nodes: Path | None) -> Iterator[RunningMesh]:
    """Run a mesh of a release, with a graph loaded from files, until the block is left."""
    data = WORK / f"{release.root.name}-data"
    started = release.planmesh("up", "--data", str(data), "--port", "0", "--detach")
    try:
        pids: dict[str, list[int]] = {}
        for process in started["processes"]:
            kind = process["name"].rpartition("-")[0] if process["name"][-1].isdigit() else process["name"]
            pids.setdefault(kind, []).append(process["pid"])
        options = ("--nodes", str(nodes)) if nodes is not None else ("--undirected",)
        release.planmesh("load", str(edges), *options, "--address", started["address"])
        yield RunningMesh(release, started["address"], pids)
    finally:
        release.planmesh("down", "--data", str(data))
