"""A mesh that outlives the command that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from planmesh.errors import Conflict, ServiceUnavailable
from planmesh.local.folders import DataFolder, log_tail
from planmesh.local.options import MeshOptions
from planmesh.local.state import MeshState, read_state

LOG_NAME = "mesh"
"""Name of the supervisor's log."""


def start_detached(options: MeshOptions) -> MeshState:
    """Start a supervisor in a session of its own and return when its mesh answers.

    The supervisor reports over a pipe: one JSON line when the mesh is ready, or with the reason why it is not.
    Raises Conflict and ServiceUnavailable as the supervisor does.
    """
    folder = DataFolder(options.data)
    folder.create()
    log = folder.log_file(LOG_NAME)
    reading, writing = os.pipe()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "planmesh.local", json.dumps(options.to_json()), str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
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
    return state


def report_line(report: dict[str, str], descriptor: int) -> None:
    """Write one line to whoever started this supervisor, and close the pipe."""
    with os.fdopen(descriptor, "w") as pipe:
        try:
            pipe.write(json.dumps(report) + "\n")
            pipe.flush()
        except BrokenPipeError:
            return  # whoever started it has gone; the mesh stays
