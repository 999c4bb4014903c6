"""Prints the trace of one plan as a tree, without a tracing backend.

    python examples/trace.py START GOAL FILE [OPTIONS OF `planmesh load`...]

The script receives spans itself: it starts a mesh of its own whose processes export to it, loads the file, makes the
plan, and stops the mesh.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Final

from planmesh.draw.trace_tree import is_whole_plan, render_tree, spans_of_trace
from planmesh.local.trace_receiver import TraceReceiver

SPANS_WAIT_S_MAX: Final = 20.0
"""Processes export their spans several times a second, each at its own time."""


def planmesh(*arguments: str, environment: dict[str, str]) -> Any:
    """Run a command and return the object that it prints."""
    command = [sys.executable, "-m", "planmesh.cli", *arguments, "--json"]
    result = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        sys.exit(f"planmesh {arguments[0]} failed: {result.stdout}{result.stderr}")
    return json.loads(result.stdout)


def main(start: str, goal: str, load: list[str]) -> None:
    """Make the plan in a mesh of its own, and print the spans."""
    with tempfile.TemporaryDirectory() as data, TraceReceiver() as receiver:
        environment = dict(receiver.environment)
        ready = planmesh("up", "--data", data, "--port", "0", "--detach", environment=environment)
        try:
            environment["PLANMESH_ADDRESS"] = ready["address"]
            planmesh("load", *load, environment=environment)
            plan = planmesh("plan", start, goal, "--no-cache", environment=environment)
            trace_id = plan["trace_id"]
            spans = receiver.wait_for(lambda spans: is_whole_plan(spans, trace_id), SPANS_WAIT_S_MAX)
            print("\n".join(render_tree(spans_of_trace(spans, trace_id), trace_id)))
        finally:
            planmesh("down", "--data", data, environment=environment)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: python examples/trace.py START GOAL FILE [OPTIONS OF `planmesh load`...]")
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
