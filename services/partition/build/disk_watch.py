"""Checks every second whether the data folder can be written; the service is not ready while it cannot.

Writing a small file detects a full disk, an exhausted quota and a volume that became read-only; no other check detects
all of them. Versions are still served meanwhile, because only loads need the disk.
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
"""Longest back-off after an unexpected error. The service is not ready meanwhile."""

TRIAL_BYTES: Final = 65_536
"""Bytes of the trial file: more than a file system stores inside its own tables, so it needs free blocks."""

TRIAL_NAME: Final = ".written-to-see-whether-there-is-room"

log = get_logger(__name__)


class DiskWatch:
    """Tries to write to each of the folders, and reports readiness."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._problem = ""
        self._watching: SupervisedTask | None = None

    async def start(self, report_ready: Callable[[bool], Awaitable[None]]) -> None:
        """Check once, pass the result to `report_ready`, then check every TRY_INTERVAL_S."""
        await self._look(report_ready)

        async def watch() -> None:
            await self._watch(report_ready)

        async def not_ready() -> None:
            await report_ready(False)

        self._watching = SupervisedTask("disk-watch", watch, not_ready, restart_s_max=RESTART_S_MAX)
        self._watching.start()

    async def close(self) -> None:
        """End the checks."""
        if self._watching is not None:
            await self._watching.close()

    async def _watch(self, report_ready: Callable[[bool], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(TRY_INTERVAL_S)
            await self._look(report_ready)
            assert self._watching is not None, "start() set it"
            self._watching.note_progress()

    async def _look(self, report_ready: Callable[[bool], Awaitable[None]]) -> None:
        problem = await asyncio.to_thread(self._try)
        if problem and problem != self._problem:
            log.error(
                "not ready: the data folder cannot be written; free space, or correct its permissions", error=problem
            )
        elif self._problem and not problem:
            log.info("the data folder can be written again")
        self._problem = problem
        await report_ready(not problem)

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
