"""Can the data folder be written? Tried every second; readiness tells.

A disk that is full, a quota, a volume that became read-only: all of them show when a small file is written, and no
other figure shows all of them. What is served goes on being served; only loads need the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from planmesh.supervision import SupervisedTask
from planmesh.telemetry.logs import get_logger

TRY_INTERVAL_S: Final = 1.0
RESTART_S_MAX: Final = 5.0
"""Longest back-off after an unexpected error; meanwhile the service is not ready."""

TRIAL_BYTES: Final = 65_536
"""More than a file system keeps inside of its own tables."""

TRIAL_NAME: Final = ".written-to-see-whether-there-is-room"

log = get_logger(__name__)


class DiskWatch:
    """Tries to write into each of the folders, and says when readiness changes."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._problem = ""
        self._watching: SupervisedTask | None = None

    async def start(self, tell_ready: Callable[[bool], Awaitable[None]]) -> None:
        """Try once, tell, and go on from then on."""
        await self._look(tell_ready)

        async def watch() -> None:
            await self._watch(tell_ready)

        async def not_ready() -> None:
            await tell_ready(False)

        self._watching = SupervisedTask("disk-watch", watch, not_ready, restart_s_max=RESTART_S_MAX)
        self._watching.start()

    async def close(self) -> None:
        """Stop."""
        if self._watching is not None:
            await self._watching.close()

    async def _watch(self, tell_ready: Callable[[bool], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(TRY_INTERVAL_S)
            await self._look(tell_ready)
            assert self._watching is not None, "it watches"
            self._watching.note_progress()

    async def _look(self, tell_ready: Callable[[bool], Awaitable[None]]) -> None:
        problem = await asyncio.to_thread(self._try)
        if problem and problem != self._problem:
            log.error("not ready: the data folder cannot be written; make room, or mend its permissions", error=problem)
        elif self._problem and not problem:
            log.info("the data folder can be written again")
        self._problem = problem
        await tell_ready(not problem)

    def _try(self) -> str:
        for folder in self._folders:
            trial = folder / TRIAL_NAME
            try:
                try:
                    trial.write_bytes(bytes(TRIAL_BYTES))
                finally:
                    trial.unlink(missing_ok=True)
            except OSError as error:
                return str(error)
        return ""
