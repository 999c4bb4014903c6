"""Where the partition service keeps what: all of it inside the data folder, so that a version is moved by a rename.

::

    <data>/store/                            the system of record
    <data>/builds/<graph>-<random>/          a version being built; with a journal it outlives this process
    <data>/snapshots/<graph>/<version>/      a version
    <data>/suspects.json                     versions that gave a wrong answer
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from planmesh.snapshot.array_file import ASIDE_PREFIX, sync_folder
from planmesh.snapshot.build_folder import BuildFolder
from planmesh.telemetry.logs import get_logger

REMOVED_PREFIX: Final = ".removed-"
"""Names of folders that are being removed; what a crash leaves of them goes at the next start."""

VERSION_NAME: Final = re.compile(r"[1-9][0-9]*")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Folders:
    """Paths under the data folder. Names of graphs have been checked: see `load_options.check_graph_name`."""

    data: Path

    @property
    def store(self) -> Path:
        """The system of record."""
        return self.data / "store"

    @property
    def snapshots(self) -> Path:
        """All snapshots."""
        return self.data / "snapshots"

    @property
    def builds(self) -> Path:
        """What is being built."""
        return self.data / "builds"

    @property
    def suspects(self) -> Path:
        """File of the versions that gave a wrong answer; see Suspects."""
        return self.data / "suspects.json"

    def snapshot(self, graph: str, version: int) -> Path:
        """The snapshot of a version."""
        return self.snapshots / graph / str(version)

    def create(self) -> None:
        """Make the folders."""
        for folder in (self.store, self.snapshots, self.builds):
            folder.mkdir(parents=True, exist_ok=True)

    def new_build(self, graph: str) -> BuildFolder:
        """Make the folder of a build."""
        folder = BuildFolder(self.builds / f"{graph}-{secrets.token_hex(6)}")
        folder.create()
        return folder

    def publish(self, build: BuildFolder, graph: str, version: int) -> Path:
        """Turn a finished build's snapshot into the snapshot of a version; on disk when this returns."""
        target = self.snapshot(graph, version)
        target.parent.mkdir(exist_ok=True)
        sync_folder(self.snapshots)
        for half_written in build.snapshot_path.rglob(f"{ASIDE_PREFIX}*"):
            half_written.unlink(missing_ok=True)  # of a builder that was killed
        for folder in (*build.snapshot_path.iterdir(), build.snapshot_path):
            if folder.is_dir():
                sync_folder(folder)
        build.snapshot_path.rename(target)
        sync_folder(target.parent)
        return target

    def reclaim(self, build: BuildFolder, graph: str, version: int) -> None:
        """Put a build's snapshot back that was about to become a version when the process was killed."""
        target = self.snapshot(graph, version)
        if target.is_dir() and not build.snapshot_path.exists():
            target.rename(build.snapshot_path)

    def remove_unknown(self, kept: Collection[tuple[str, int]], kept_builds: Collection[Path] = ()) -> None:
        """Remove every build but those given, and every snapshot but those of the (graph, version) pairs given."""
        for build in list(self.builds.iterdir()):
            if build in kept_builds:
                continue
            log.info("unfinished build removed", build=build.name)
            remove_folder(build)
        for graph in list(self.snapshots.iterdir()):
            for version in list(graph.iterdir()):
                is_kept = VERSION_NAME.fullmatch(version.name) and (graph.name, int(version.name)) in kept
                if not is_kept:
                    log.info("snapshot removed", graph=graph.name, version=version.name)
                    remove_folder(version)
            if not any(graph.iterdir()):
                graph.rmdir()


def remove_folder(folder: Path) -> None:
    """Remove a folder; one that is gone already is as good.

    It is renamed first: a builder that still writes into it by its name then fails at once, and not the removal.
    """
    removed = folder.with_name(f"{REMOVED_PREFIX}{secrets.token_hex(6)}")
    try:
        folder.rename(removed)
    except FileNotFoundError:
        return
    shutil.rmtree(removed)
