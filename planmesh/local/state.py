"""The state file of a local mesh: its processes and addresses, without passwords."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from planmesh.errors import Conflict
from planmesh.local.folders import DataFolder

STATE_FORMAT: Final = 1
"""Format number of the state file. Another number means a file of another planmesh."""

CREATE_TIME_TOLERANCE_S: Final = 0.5
"""Start times have a resolution of 10 ms and drift with clock adjustments. Pids are not reused within this time."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process, identified by pid and time of creation, because pids are reused."""

    name: str
    pid: int
    created_unix_s: float

    @classmethod
    def of(cls, name: str, pid: int) -> ProcessRecord:
        """Record a process that was started just now; one that has already ended counts as created now."""
        try:
            return cls(name, pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return cls(name, pid, time.time())

    def process(self) -> psutil.Process | None:
        """Return the process if it still runs and is the recorded one."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created_unix_s) <= CREATE_TIME_TOLERANCE_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True, slots=True)
class MeshState:
    """A running mesh."""

    supervisor: ProcessRecord
    processes: tuple[ProcessRecord, ...]
    address: str
    coordinator_address: str
    partition_address: str
    redis: str
    runtime_folder: str
    workers: int
    shards: int
    ready: bool

    def alive(self) -> list[ProcessRecord]:
        """Return the records whose processes still run, the supervisor first."""
        return [record for record in (self.supervisor, *self.processes) if record.process() is not None]


def write_state(folder: DataFolder, state: MeshState) -> None:
    """Replace the state file, readable only by its owner."""
    aside = folder.state_file.with_suffix(".new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"format": STATE_FORMAT, **asdict(state)}, file, indent=1)
    aside.replace(folder.state_file)


def read_state(folder: DataFolder) -> MeshState | None:
    """Return the state file's content; None if there is no file, or this planmesh cannot read it."""
    try:
        values = json.loads(folder.state_file.read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    if not isinstance(values, dict) or values.pop("format", None) != STATE_FORMAT:
        return None
    supervisor = ProcessRecord(**values.pop("supervisor"))
    processes = tuple(ProcessRecord(**record) for record in values.pop("processes"))
    return MeshState(supervisor=supervisor, processes=processes, **values)


@contextmanager
def mesh_lock(folder: DataFolder) -> Iterator[None]:
    """Lock the data folder, because two meshes in one folder would damage each other's data.

    The kernel releases the lock when the holder dies for any reason. Raises Conflict if another process holds it.
    """
    with folder.lock_file.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            state = read_state(folder)
            holder = f" (pid {state.supervisor.pid}, {state.address})" if state else ""
            raise Conflict(
                f"a mesh already runs on {folder.root}{holder}; stop it with `planmesh down --data {folder.root}`, "
                "or choose another folder with --data",
                data=str(folder.root),
            ) from error
        yield


def remove_runtime_folder(path: str) -> None:
    """Remove the runtime folder of a mesh, which contains only plain files and sockets."""
    folder = Path(path)
    if not folder.name.startswith("planmesh-") or not folder.is_dir():
        return
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()
