"""The supervisor that `planmesh.local.detach` starts: OPTIONS-AS-JSON REPORT-DESCRIPTOR [OWNER-DESCRIPTOR]."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from planmesh.errors import PlanmeshError
from planmesh.local.detach import report_line
from planmesh.local.options import MeshOptions
from planmesh.local.state import MeshState
from planmesh.local.supervisor import Supervisor


def _announce(text: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}\n")
    sys.stderr.flush()


async def _run(options: MeshOptions, owner: int | None, on_ready: Callable[[MeshState], None]) -> None:
    """Run the mesh until a signal, or until the other end of the pipe `owner` is closed."""
    supervisor = Supervisor(options, _announce)
    if owner is not None:
        loop = asyncio.get_running_loop()

        def owner_has_ended() -> None:
            loop.remove_reader(owner)
            supervisor.stop()

        loop.add_reader(owner, owner_has_ended)
    await supervisor.run(on_ready)


def main(options: MeshOptions, descriptor: int, owner: int | None = None) -> int:
    """Run the mesh; the exit code."""
    reported = False

    def on_ready(state: MeshState) -> None:
        nonlocal reported
        reported = True
        _announce(f"ready at {state.address}")
        report_line({"ready": state.address}, descriptor)

    try:
        asyncio.run(_run(options, owner, on_ready))
    except PlanmeshError as error:
        _announce(error.message)
        if not reported:
            report_line({"error": error.message, "kind": type(error).__name__}, descriptor)
        return 1
    _announce("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(MeshOptions.from_json(json.loads(sys.argv[1])), *map(int, sys.argv[2:])))
