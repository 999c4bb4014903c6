"""A mesh under a supervisor of its own: one that outlives the command that started it, or ends with its owner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from planmesh.errors import Conflict, ServiceUnavailable
from planmesh.local.folders import DataFolder, log_tail
from planmesh.local.options import MeshOptions
from planmesh.local.state import MeshState, read_state
from planmesh.local.stop import stop_mesh

LOG_NAME = "mesh"
"""Name of the supervisor's log."""

STOPPED_S_MAX: Final = 90.0
"""For the supervisor of an owned mesh to end after its processes have."""


def start_detached(options: MeshOptions) -> MeshState:
    """Start a supervisor in a session of its own and return when its mesh answers.

    Raises Conflict and ServiceUnavailable as the supervisor does.
    """
    _, state = _start(options)
    return state


@contextmanager
def owned_mesh(options: MeshOptions) -> Iterator[MeshState]:
    """A mesh that stops at the end of the block, and when this process ends in whatever way.

    The supervisor holds the reading end of a pipe, and the kernel closes the writing end with this process. Raises
    Conflict and ServiceUnavailable as the supervisor does.
    """
    reading, writing = os.pipe()
    try:
        try:
            process, state = _start(options, owner=reading)
        finally:
            os.close(reading)
        try:
            yield state
        finally:
            stop_mesh(DataFolder(options.data))
            process.wait(STOPPED_S_MAX)
    finally:
        os.close(writing)


def _start(options: MeshOptions, owner: int | None = None) -> tuple[subprocess.Popen[bytes], MeshState]:
    """Start a supervisor and wait for the line that it reports over a pipe: its mesh is ready, or why it is not."""
    folder = DataFolder(options.data)
    folder.create()
    log = folder.log_file(LOG_NAME)
    reading, writing = os.pipe()
    passed = [writing] if owner is None else [writing, owner]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "planmesh.local", json.dumps(options.to_json()), *map(str, passed)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=passed,
            start_new_session=True,
        )
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            line = pipe.readline()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    if not line:
        process.wait()
        raise ServiceUnavailable(f"the mesh's supervisor ended; the end of {log}:\n{log_tail(log)}")
    report = json.loads(line)
    if "error" in report:
        process.wait()
        error_class = Conflict if report["kind"] == "Conflict" else ServiceUnavailable
        raise error_class(report["error"])
    state = read_state(folder)
    if state is None:
        raise ServiceUnavailable(f"the mesh stopped as soon as it was ready; the end of {log}:\n{log_tail(log)}")
    return process, state


def report_line(report: dict[str, str], descriptor: int) -> None:
    """Write one line to the process that started this supervisor, and close the pipe."""
    with os.fdopen(descriptor, "w") as pipe:
        try:
            pipe.write(json.dumps(report) + "\n")
            pipe.flush()
        except BrokenPipeError:
            return  # that process has gone; the mesh stays
