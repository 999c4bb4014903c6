"""The supervisor of a detached mesh; `planmesh.local.detach` starts it: OPTIONS-AS-JSON FILE-DESCRIPTOR."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime

from planmesh.errors import PlanmeshError
from planmesh.local.detach import report_line
from planmesh.local.options import MeshOptions
from planmesh.local.state import MeshState
from planmesh.local.supervisor import Supervisor


def _announce(text: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}\n")
    sys.stderr.flush()


def main(options: MeshOptions, descriptor: int) -> int:
    """Run the mesh; the exit code."""
    reported = False

    def on_ready(state: MeshState) -> None:
        nonlocal reported
        reported = True
        _announce(f"ready at {state.address}")
        report_line({"ready": state.address}, descriptor)

    try:
        asyncio.run(Supervisor(options, _announce).run(on_ready))
    except PlanmeshError as error:
        _announce(error.message)
        if not reported:
            report_line({"error": error.message, "kind": type(error).__name__}, descriptor)
        return 1
    _announce("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(MeshOptions.from_json(json.loads(sys.argv[1])), int(sys.argv[2])))
