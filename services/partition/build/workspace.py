"""The place of one build: a folder and a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from planmesh.snapshot.build_folder import BuildFolder
from services.partition.blocking import BlockingWork, uninterrupted
from services.partition.build.journal import forget_journal
from services.partition.catalog.folders import Folders, remove_folder


@dataclass(slots=True)
class Workspace:
    """Where a build is made: a folder, and a thread. `kept` lets the folder outlive the build's context."""

    folder: BuildFolder
    work: BlockingWork
    kept: bool = False

    def keep(self) -> None:
        """Leave the folder for another process."""
        self.kept = True


@asynccontextmanager
async def build_workspace(folders: Folders, graph: str, folder: BuildFolder | None = None) -> AsyncIterator[Workspace]:
    """Give a workspace, in a new folder or one that is there; it is gone afterwards, whatever happened, unless kept."""
    space = Workspace(folder or folders.new_build(graph), BlockingWork(f"build-{graph}"))
    try:
        yield space
    finally:
        space.work.close()
        if not space.kept:
            forget_journal(space.folder)
            await uninterrupted(asyncio.ensure_future(asyncio.to_thread(remove_folder, space.folder.path)))
