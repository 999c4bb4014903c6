"""The folders and files of a local mesh."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOG_BYTES_MAX: Final = 10 * 1024 * 1024
"""A log longer than this is rotated when the mesh starts."""

LOG_GENERATIONS: Final = 3
"""Rotated logs that are kept, per process."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The data folder: `store/` for graphs, `logs/` (one file per process), `run/` for state and lock (mode 0700)."""

    root: Path

    @property
    def store(self) -> Path:
        """Graphs and snapshots. The partition service owns them."""
        return self.root / "store"

    @property
    def logs(self) -> Path:
        """Logs, one file per process."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """The folder of state file and lock."""
        return self.root / "run"

    @property
    def state_file(self) -> Path:
        """The file with the processes and addresses of the running mesh."""
        return self.run / "mesh.json"

    @property
    def lock_file(self) -> Path:
        """The lock that the supervisor holds while it lives."""
        return self.run / "mesh.lock"

    def log_file(self, name: str) -> Path:
        """Return the log of the process called `name`."""
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Create the missing folders."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.store.mkdir(exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        self.run.mkdir(mode=0o700, exist_ok=True)
        self.run.chmod(0o700)

    def rotate_logs(self) -> None:
        """Rotate long logs: `x.log` becomes `x.log.1`, and so on; the oldest is deleted."""
        for log in self.logs.glob("*.log"):
            if log.stat().st_size <= LOG_BYTES_MAX:
                continue
            for generation in range(LOG_GENERATIONS - 1, 0, -1):
                older = log.with_name(f"{log.name}.{generation}")
                if older.exists():
                    older.replace(log.with_name(f"{log.name}.{generation + 1}"))
            log.replace(log.with_name(f"{log.name}.1"))


def make_runtime_folder() -> Path:
    """Make a new folder, mode 0700, for unix sockets and the private Redis.

    Its path is short, because some systems limit the path of a unix socket to 104 bytes.
    """
    parent = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108 - mkdtemp makes it 0700
    return Path(tempfile.mkdtemp(prefix="planmesh-", dir=parent))


def log_tail(log: Path, lines: int = 20, bytes_max: int = 16_384) -> str:
    """Return the last lines of a log, "" if it does not exist."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - bytes_max, 0))
        text = file.read().decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-lines:])
