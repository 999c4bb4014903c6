"""`make load-test`: starts a mesh on a free port, loads a graph, runs Locust, reports, and always stops the mesh.

The reports go to build/load/. The exit code is Locust's: 0 only if plans were answered and nothing failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from load.schedule import CALLS_PER_S_MAX, CALLS_PER_S_MIN, SHAPES
from planmesh.local.ports import free_port

ROOT: Final = Path(__file__).resolve().parent.parent
BUILD: Final = ROOT / "build" / "load"
BACKBONE: Final = ROOT / "examples" / "backbone" / "backbone.json.gz"
BACKBONE_OPTIONS: Final = ("--strategy", "region", "--cost-column", "latency_ms")

IN_FLIGHT_VARIABLE: Final = "PLANMESH_GATEWAY_IN_FLIGHT_MAX"
SPIKE_IN_FLIGHT_MAX: Final = "64"
"""The gateway's bound in a spike, unless the environment sets one: half the agents, so that it refuses some calls."""

LOCUST_OVERTIME_S_MAX: Final = 60.0
"""From the end of the shape to the end of Locust. Locust hangs if it takes longer, and is then killed."""
PROCESSES_MAX: Final = 16
WORKERS_WAIT_S_MAX: Final = 30
"""Until Locust's workers have connected, if there are several processes."""
TERMINATION_S_MAX: Final = 20.0


def arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(prog="make load-test", description="Load-test a local mesh with Locust.")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="steady")
    parser.add_argument("--source", type=Path, default=BACKBONE, help="File of the graph to load.")
    parser.add_argument("--source-options", default="", help="Options of `planmesh load`, in one argument.")
    parser.add_argument("--users", type=int, help="Largest number of agents.")
    parser.add_argument("--seconds", type=float, help="How long.")
    parser.add_argument("--processes", type=int, default=1, choices=range(1, PROCESSES_MAX + 1), metavar="N")
    parser.add_argument("--rate", type=float, help="Largest number of calls per second of one agent.")
    asked = parser.parse_args()
    try:
        asked.seconds = SHAPES[asked.shape].schedule(asked.users, asked.seconds, asked.processes).seconds
    except ValueError as error:
        parser.error(str(error))
    if asked.rate is not None and not CALLS_PER_S_MIN <= asked.rate <= CALLS_PER_S_MAX:
        parser.error(f"--rate: expected {CALLS_PER_S_MIN:g} to {CALLS_PER_S_MAX:g}, got {asked.rate:g}")
    if not asked.source.is_file():
        parser.error(f"--source: expected a file, got {asked.source}, which does not exist")
    return asked


def planmesh(*words: str, environment: Mapping[str, str], captured: bool = False) -> str:
    """Run a planmesh command. Return its standard output if `captured`, else ""."""
    result = subprocess.run(
        [sys.executable, "-m", "planmesh.cli", *words],
        env=environment,
        stdout=subprocess.PIPE if captured else None,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise SystemExit(f"load: planmesh {words[0]} failed with exit code {result.returncode} {result.stdout or ''}")
    return result.stdout or ""


def locust_command(asked: argparse.Namespace, address: str) -> list[str]:
    """Return Locust's command line."""
    prefix = BUILD / asked.shape
    options = ["--shape", asked.shape, "--shape-seconds", f"{asked.seconds:g}"]
    if asked.users is not None:
        options += ["--shape-users", str(asked.users)]
    if asked.rate is not None:
        options += ["--agent-rate", f"{asked.rate:g}"]
    if asked.processes > 1:
        port = str(free_port())
        options += ["--processes", str(asked.processes), "--master-bind-host", "127.0.0.1"]
        options += ["--master-bind-port", port, "--master-port", port]
        options += ["--expect-workers-max-wait", f"{WORKERS_WAIT_S_MAX:g}"]
    return [
        *(sys.executable, "-m", "locust", "-f", str(ROOT / "load" / "locustfile.py")),
        *("--headless", "--only-summary", "--loglevel", "WARNING", "--host", address),
        *("--csv", str(prefix), "--html", f"{prefix}.html"),
        *options,
    ]


def run_locust(command: Sequence[str], seconds: float) -> int:
    """Run Locust for a bounded time, and return its exit code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        return process.wait(seconds + LOCUST_OVERTIME_S_MAX)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"load: Locust did not end within {LOCUST_OVERTIME_S_MAX:g} s of the run's end") from None
    finally:
        if process.poll() is None:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate the process; kill it if it does not end in time."""
    process.terminate()
    try:
        process.wait(TERMINATION_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop_on_signal(number: int, _: FrameType | None) -> NoReturn:
    """Exit through the `finally` clauses, so that the mesh is stopped."""
    raise SystemExit(128 + number)


def main() -> int:
    """Run the load test, and return the exit code."""
    asked = arguments()
    signal.signal(signal.SIGTERM, stop_on_signal)
    signal.signal(signal.SIGHUP, stop_on_signal)
    BUILD.mkdir(parents=True, exist_ok=True)
    for old in BUILD.glob(f"{asked.shape}[._]*"):
        old.unlink()
    environment = dict(os.environ)
    if asked.shape == "spike":
        environment.setdefault(IN_FLIGHT_VARIABLE, SPIKE_IN_FLIGHT_MAX)
    options = shlex.split(asked.source_options)
    if asked.source == BACKBONE and not options:
        options = list(BACKBONE_OPTIONS)
    with tempfile.TemporaryDirectory(prefix="planmesh-load-") as data:
        try:
            up = planmesh(
                "up", "--data", data, "--port", "0", "--detach", "--json", environment=environment, captured=True
            )
            environment["PLANMESH_ADDRESS"] = address = json.loads(up)["address"]
            planmesh("load", str(asked.source), *options, environment=environment)
            code = run_locust(locust_command(asked, address), asked.seconds)
        finally:
            planmesh("down", "--data", data, environment=environment)
    print(f"reports: {(BUILD / asked.shape).relative_to(ROOT)}.html and _*.csv beside it")
    return code


if __name__ == "__main__":
    sys.exit(main())
