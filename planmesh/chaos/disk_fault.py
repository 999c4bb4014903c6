"""A full disk: the processes that write graphs may write no more."""

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
"""No file may grow beyond this: the kernel refuses the write (EFBIG) as it does on a full disk (ENOSPC)."""


class DiskFull(Fault):
    """A limit on the size of files (RLIMIT_FSIZE) of the processes that write; a load meets it, plans do not.

    A load while it lasts has to be refused, one afterwards has to pass.
    """

    def unfit(self) -> str:
        return "" if sys.platform == "linux" else "limits of other processes can be set on Linux only"

    async def inject(self, stage: Stage) -> None:
        _limit(stage, FULL_BYTES)
        try:
            version = await stage.load(stage.new_variant())
        except PlanmeshError as error:
            stage.notes.append(f"the load was refused: {type(error).__name__}: {error.message[:120]}")
        else:
            stage.problems.append(f"expected the load onto a full disk to be refused, it became version {version}")

    async def heal(self, stage: Stage) -> None:
        _limit(stage, resource.RLIM_INFINITY)
        stage.notes.append(f"the next load became version {await stage.load(stage.new_variant())}")

    async def restore(self, stage: Stage) -> None:
        _limit(stage, resource.RLIM_INFINITY)


def _limit(stage: Stage, bytes_max: int) -> None:
    """Set the soft limit of every writer and of what it has started, which inherits it."""
    for kind in WRITERS:
        for name in stage.mesh.names(kind):
            process = stage.mesh.record(name).process()
            for one in [] if process is None else [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    _, hard = one.rlimit(psutil.RLIMIT_FSIZE)
                    one.rlimit(psutil.RLIMIT_FSIZE, (bytes_max, hard))
