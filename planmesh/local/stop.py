"""Stops a local mesh from another process, and cleans up after a dead one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import psutil

from planmesh.errors import ServiceUnavailable
from planmesh.local.folders import DataFolder
from planmesh.local.sentinel import kill_group
from planmesh.local.state import MeshState, ProcessRecord, read_state, remove_runtime_folder

DOWN_S_MAX: Final = 60.0
"""From the signal to the supervisor's end: four stages of ten seconds each, with room to spare."""

KILLED_S_MAX: Final = 5.0
"""From SIGKILL to the end of a process."""


def stop_mesh(folder: DataFolder) -> list[str]:
    """Stop the mesh of `folder`. Return the names of the stopped processes, none if no mesh ran.

    Touches only processes with the pid and the time of creation in the state file. Raises ServiceUnavailable if some
    survive even SIGKILL.
    """
    state = read_state(folder)
    if state is None:
        return []
    alive = state.alive()
    supervisor = state.supervisor.process()
    if supervisor is not None:
        supervisor.terminate()
        _wait_for([state.supervisor], DOWN_S_MAX)
    end_leftovers(folder, state)
    return [record.name for record in alive]


def clear_stale_state(folder: DataFolder, announce: Callable[[str], None]) -> None:
    """Kill the processes and remove the files of a mesh whose supervisor died. The caller holds the folder's lock."""
    state = read_state(folder)
    if state is None:
        folder.state_file.unlink(missing_ok=True)
        return
    leftovers = [record.name for record in state.alive()]
    announce(
        f"the mesh that ran here before (pid {state.supervisor.pid}) ended without stopping"
        + (f"; ending {', '.join(leftovers)}" if leftovers else "")
    )
    end_leftovers(folder, state)


def end_leftovers(folder: DataFolder, state: MeshState) -> None:
    """SIGKILL the processes of `state` that still run, then remove its runtime folder and the state file."""
    leftovers = state.alive()
    for record in leftovers:
        kill_group(record.pid) if record.name != "supervisor" else _kill(record)
    survivors = _wait_for(leftovers, KILLED_S_MAX)
    if survivors:
        names = ", ".join(f"{record.name} (pid {record.pid})" for record in survivors)
        raise ServiceUnavailable(f"still running after SIGKILL: {names}")
    remove_runtime_folder(state.runtime_folder)
    folder.state_file.unlink(missing_ok=True)


def _kill(record: ProcessRecord) -> None:
    process = record.process()
    if process is not None:
        process.kill()


def _wait_for(records: list[ProcessRecord], timeout_s: float) -> list[ProcessRecord]:
    """Wait for processes to end, and return the records of those that did not."""
    processes = [process for process in (record.process() for record in records) if process is not None]
    psutil.wait_procs(processes, timeout=timeout_s)
    return [record for record in records if record.process() is not None]
