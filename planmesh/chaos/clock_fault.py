"""Makes the wall clock jump, with libfaketime. The monotonic clock is unaffected, as when an operator sets the time."""

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
"""Where Linux distributions and libfaketime's own installer put the library."""

FILE_CACHED_S: Final = 1
"""How often libfaketime reads its timestamp file, in seconds."""

SETTLED_S_MAX: Final = 60.0


class ClockStep(Fault):
    """Shifts the wall clock of the chosen processes by `step_s` seconds; healing shifts it back."""

    def __init__(self, choose: Choose, step_s: int) -> None:
        self._choose = choose
        self._step_s = step_s
        self._names: Sequence[str] = ()

    def unfit(self) -> str:
        return "" if find_library() else "needs libfaketime (Debian: apt-get install libfaketime)"

    async def prepare(self, stage: Stage) -> None:
        """Restart the processes with the library loaded, at an offset of 0 s."""
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
            "FAKETIME_CACHE_DURATION": str(FILE_CACHED_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def _write(self, stage: Stage, offset_s: int) -> None:
        aside = _file(stage).with_suffix(".new")
        aside.write_text(f"{offset_s:+d}")
        aside.replace(_file(stage))

    async def _ahead_s(self, stage: Stage) -> float:
        """Return how many seconds the clock of a new process with the same environment is ahead of this one's."""
        environment = {**os.environ, **self._environment(stage)}
        probe = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import time; print(time.time())", env=environment, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await probe.communicate()
        return float(output) - time.time()


def find_library() -> Path | None:
    """Return libfaketime's library for multithreaded programs, or None when it is not installed."""
    found = (path for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/")))
    return next(found, None)


def _file(stage: Stage) -> Path:
    return stage.folder / "clock"
