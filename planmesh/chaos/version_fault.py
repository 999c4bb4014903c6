"""Processes of an earlier planmesh in a mesh of this one, as in the middle of an upgrade."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import planmesh
from planmesh.chaos.process_faults import Choose
from planmesh.chaos.scenario import Fault, Stage
from planmesh.errors import ServiceUnavailable

PACKAGE: Final = Path(planmesh.__file__).parent
SOURCE: Final = PACKAGE.parent

PACKAGES: Final = ("planmesh", "services", "workers")
"""What an earlier planmesh consists of."""

WIRE: Final = "protos/planmesh/internal"
"""The commit before the last change of these files knows the wire between services and workers of before."""

WARM_S_MAX: Final = 300.0
"""Compiling an earlier version's kernels, where they are others than ours."""

SETTLED_S_MAX: Final = 60.0


class EarlierVersion(Fault):
    """Processes are replaced one after another by those of an earlier commit; healed, by ours again."""

    def __init__(self, choose: Choose, commit: str = "") -> None:
        self._choose = choose
        self._commit = commit or earlier_commit()
        self._names: Sequence[str] = ()

    def unfit(self) -> str:
        return "" if self._commit else f"needs the history of the repository; {SOURCE} has none (git)"

    async def prepare(self, stage: Stage) -> None:
        """Take the earlier sources out of the repository, with our compiled kernels where theirs are the same."""
        await asyncio.to_thread(_extract, self._commit, stage.folder)
        await asyncio.to_thread(_share_kernels, stage.folder)
        warm = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "planmesh.local.warm", "search"),
            env={**os.environ, **_environment(stage.folder)},
            cwd=stage.folder,
        )
        if await asyncio.wait_for(warm.wait(), WARM_S_MAX):
            raise ServiceUnavailable(f"the kernels of commit {self._commit[:12]} do not compile; choose a later one")

    async def inject(self, stage: Stage) -> None:
        self._names = self._choose(stage.mesh)
        await self._replace(stage, _environment(stage.folder))
        stage.notes.append(f"{', '.join(self._names)} of commit {self._commit[:12]}")
        for name in self._names:
            process = stage.mesh.record(name).process()
            runs = process is not None and process.environ().get("PYTHONPATH") == str(stage.folder)
            stage.expect(runs, f"expected {name} to run the earlier version, it runs ours")

    async def heal(self, stage: Stage) -> None:
        await self._replace(stage, {})

    async def restore(self, stage: Stage) -> None:
        for name in self._names:
            stage.mesh.override(name, {})

    async def _replace(self, stage: Stage, environment: dict[str, str]) -> None:
        for name in self._names:
            stage.mesh.override(name, environment)
            await stage.mesh.restart(name)
            await stage.mesh.settle(SETTLED_S_MAX, idle=False)


def earlier_commit() -> str:
    """The commit before the wire between services and workers last changed; "" without a history."""
    changed = _git("log", "-1", "--format=%H", "--", WIRE)
    return _git("rev-parse", "--verify", "--quiet", f"{changed}~1") if changed else ""


def _git(*arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run([git, "-C", str(SOURCE), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _extract(commit: str, folder: Path) -> None:
    archive = folder / "earlier.tar"
    git = shutil.which("git")
    assert git is not None, "the commit was found with it"
    command = [git, "-C", str(SOURCE), "archive", "--output", str(archive), commit, *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceUnavailable(f"git has no sources of commit {commit[:12]}: {done.stderr.strip()}")
    shutil.unpack_archive(archive, folder)
    archive.unlink()


def _share_kernels(folder: Path) -> None:
    """Numba tells by the checksum of all sources whether a compiled kernel is right, so none is taken that is not."""
    for compiled in PACKAGE.rglob("*.nb[ic]"):
        copy = folder / compiled.relative_to(SOURCE)
        if copy.parent.parent.is_dir():
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(compiled, copy)


def _environment(folder: Path) -> dict[str, str]:
    """Have Python take packages from there before it looks where ours are, and not from the current folder."""
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
