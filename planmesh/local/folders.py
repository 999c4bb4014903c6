"""Where the files of a local mesh lie."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOG_BYTES_MAX: Final = 10 * 1024 * 1024
"""A log longer than this is set aside when the mesh starts."""

LOG_GENERATIONS: Final = 3
"""Logs set aside that are kept, per process."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The data folder: `store/` the graphs, `logs/` one file a process, `run/` state and lock (mode 0700)."""

    root: Path

    @property
    def store(self) -> Path:
        """Graphs and snapshots; the partition service owns it."""
        return self.root / "store"

    @property
    def logs(self) -> Path:
        """Logs, one file a process."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """State file and lock."""
        return self.root / "run"

    @property
    def state_file(self) -> Path:
        """Processes and addresses of the running mesh."""
        return self.run / "mesh.json"

    @property
    def lock_file(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.run / "mesh.lock"

    def log_file(self, name: str) -> Path:
        """Log of the process called `name`."""
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Make what is missing."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.store.mkdir(exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        self.run.mkdir(mode=0o700, exist_ok=True)
        self.run.chmod(0o700)

    def rotate_logs(self) -> None:
        """Set long logs aside: `x.log` becomes `x.log.1`, and so on; the oldest goes."""
        for log in self.logs.glob("*.log"):
            if log.stat().st_size <= LOG_BYTES_MAX:
                continue
            for generation in range(LOG_GENERATIONS - 1, 0, -1):
                older = log.with_name(f"{log.name}.{generation}")
                if older.exists():
                    older.replace(log.with_name(f"{log.name}.{generation + 1}"))
            log.replace(log.with_name(f"{log.name}.1"))


def make_runtime_folder() -> Path:
    """A new folder, mode 0700, for unix sockets and the private Redis.

    Its path is short, because a unix socket's path has at most 104 bytes on some systems.
    """
    parent = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108 - mkdtemp makes it 0700
    return Path(tempfile.mkdtemp(prefix="planmesh-", dir=parent))


def log_tail(log: Path, lines: int = 20, bytes_max: int = 16_384) -> str:
    """The last lines of a log, "" when there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - bytes_max, 0))
        text = file.read().decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-lines:])
