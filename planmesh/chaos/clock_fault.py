"""A wall clock that jumps, by libfaketime; the monotonic clock goes on as clocks do when somebody sets the time."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from planmesh.chaos.process_faults import Choose
from planmesh.chaos.scenario import Fault, Stage

LIBRARIES: Final = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/lib*/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)
"""Where distributions and its own installation put it."""

LOOK_AGAIN_S: Final = 1
"""libfaketime reads its file that often."""

SETTLED_S_MAX: Final = 60.0


class ClockStep(Fault):
    """The wall clock of processes jumps by some seconds, and back when it is healed."""

    def __init__(self, choose: Choose, step_s: int) -> None:
        self._choose = choose
        self._step_s = step_s
        self._names: Sequence[str] = ()

    def unfit(self) -> str:
        return "" if find_library() else "needs libfaketime (Debian: apt-get install libfaketime)"

    async def prepare(self, stage: Stage) -> None:
        """Start the processes again with the library, whose clock does not differ yet."""
        self._names = self._choose(stage.mesh)
        self._write(stage, 0)
        for name in self._names:
            stage.mesh.override(name, self._environment(stage))
        await stage.mesh.restart(*self._names)
        await stage.mesh.settle(SETTLED_S_MAX)

    async def inject(self, stage: Stage) -> None:
        self._write(stage, self._step_s)
        ahead_s = await self._ahead_s(stage)
        stage.notes.append(f"the clock of {', '.join(self._names)} differs by {ahead_s:+.0f} s")
        stage.expect(abs(ahead_s - self._step_s) < 5, f"expected a clock {self._step_s:+} s off, got {ahead_s:+.0f} s")

    async def heal(self, stage: Stage) -> None:
        self._write(stage, 0)

    async def restore(self, stage: Stage) -> None:
        for name in self._names:
            stage.mesh.override(name, {})
        await stage.mesh.restart(*self._names)

    def _environment(self, stage: Stage) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(find_library()),
            "FAKETIME_TIMESTAMP_FILE": str(_file(stage)),
            "FAKETIME_CACHE_DURATION": str(LOOK_AGAIN_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def _write(self, stage: Stage, offset_s: int) -> None:
        aside = _file(stage).with_suffix(".new")
        aside.write_text(f"{offset_s:+d}")
        aside.replace(_file(stage))

    async def _ahead_s(self, stage: Stage) -> float:
        """How far a process that is started as the processes were is ahead of this one."""
        environment = {**os.environ, **self._environment(stage)}
        probe = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import time; print(time.time())", env=environment, stdout=asyncio.subprocess.PIPE
        )
        told, _ = await probe.communicate()
        return float(told) - time.time()


def find_library() -> Path | None:
    """The library of libfaketime for programs with threads, None where it is not installed."""
    found = (path for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/")))
    return next(found, None)


def _file(stage: Stage) -> Path:
    return stage.folder / "clock"
