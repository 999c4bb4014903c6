"""Simulates a full disk: the processes that write graphs cannot write."""

from __future__ import annotations

import contextlib
import resource
import sys
from typing import Final

import psutil

from planmesh.chaos.scenario import Fault, Stage
from planmesh.errors import PlanmeshError

WRITERS: Final = ("partition", "build")

FULL_BYTES: Final = 4_096
"""File size limit. The kernel refuses writes beyond it (EFBIG), much as it does on a full disk (ENOSPC)."""


class DiskFull(Fault):
    """Limits the file size (RLIMIT_FSIZE) of the processes that write. Loads are affected, plans are not.

    A load during the fault must be refused; a load after it must succeed.
    """

    def unfit(self) -> str:
        return "" if sys.platform == "linux" else "needs Linux, to set the resource limits of other processes"

    async def inject(self, stage: Stage) -> None:
        _limit(stage, FULL_BYTES)
        try:
            version = await stage.load(stage.new_variant())
        except PlanmeshError as error:
            stage.notes.append(f"the load was refused: {type(error).__name__}: {error.message[:120]}")
        else:
            stage.problems.append(f"expected a load onto a full disk to be refused, but it became version {version}")

    async def heal(self, stage: Stage) -> None:
        _limit(stage, resource.RLIM_INFINITY)
        stage.notes.append(f"the next load became version {await stage.load(stage.new_variant())}")

    async def restore(self, stage: Stage) -> None:
        _limit(stage, resource.RLIM_INFINITY)


def _limit(stage: Stage, bytes_max: int) -> None:
    """Set the soft limit of every writer and of its child processes, which inherited theirs."""
    for kind in WRITERS:
        for name in stage.mesh.names(kind):
            process = stage.mesh.record(name).process()
            for one in [] if process is None else [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    _, hard = one.rlimit(psutil.RLIMIT_FSIZE)
                    one.rlimit(psutil.RLIMIT_FSIZE, (bytes_max, hard))
