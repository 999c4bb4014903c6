"""`make demo`: a mesh on this machine, the world's backbone, one plan across continents, its map and its trace.

The demo runs the commands that a user types, and prints each before it runs. It stops everything that it started at the
end, also after an error.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from planmesh.draw.places import read_places
from planmesh.draw.plan_map import draw_plan
from planmesh.draw.trace_tree import is_whole_plan, render_tree, spans_of_trace
from planmesh.local.trace_receiver import TraceReceiver

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
BACKBONE: Final = HERE / "backbone.json.gz"
BUILD: Final = ROOT / "build" / "demo"
DATA: Final = BUILD / "mesh"
MAP: Final = BUILD / "plan.png"

START: Final = "Reykjavík"
GOAL: Final = "Wellington"

TRACE_S_MAX: Final = 20.0
"""Time in which all processes export their spans of the plan; they export five times per second."""


def planmesh(*arguments: str, environment: dict[str, str], quiet: bool = False) -> str:
    """Print and run a command. If `quiet`, return its standard output, else let it go to the terminal and return ""."""
    print(f"\n$ planmesh {shlex.join(arguments)}", flush=True)
    result = subprocess.run(
        [sys.executable, "-m", "planmesh.cli", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        sys.exit(f"planmesh {arguments[0]} failed with exit code {result.returncode}: {result.stdout or ''}")
    return result.stdout or ""


def show_plan(plan: dict[str, Any]) -> None:
    """Print the plan: regions, the cities along the path, and the time of each phase."""
    print(f"\n  {plan['start']} → {plan['goal']}: {plan['cost']:.4f} ms over {len(plan['steps'])} links")
    print(f"  through {len(plan['partitions'])} regions: {' → '.join(plan['partitions'])}\n")
    totals = accumulate((step["cost"] for step in plan["steps"]), initial=0.0)
    partitions = [plan["steps"][0]["source_partition"], *(step["target_partition"] for step in plan["steps"])]
    nodes = [plan["start"], *(step["target"] for step in plan["steps"])]
    for region, stops in groupby(zip(partitions, nodes, totals, strict=True), key=itemgetter(0)):
        cities = [f"{node} {total:.1f}" for _, node, total in stops if not node.startswith("cable-waypoint")]
        shown = cities if len(cities) <= 6 else [*cities[:3], f"… {len(cities) - 6} more …", *cities[-3:]]
        print(f"  {region:>14}  {' · '.join(shown) or '(cables only)'}")
    explanation = plan["explanation"]
    phases = ", ".join(f"{phase['name']} {phase['duration_ms']:.2f}" for phase in explanation["phases"])
    print(f"\n  found in {explanation['total_ms']:.2f} ms ({phases}), {explanation['tasks']} tasks,")
    print(f"  {explanation['settled_nodes']} nodes settled of 3,815; graph version {plan['version']}")


def trace_of(receiver: TraceReceiver, trace_id: str) -> list[str]:
    """Return the trace as lines, as soon as every process of the mesh has exported its spans."""
    spans = receiver.wait_for(lambda spans: is_whole_plan(spans, trace_id), TRACE_S_MAX)
    return render_tree(spans_of_trace(spans, trace_id), trace_id)


def main() -> None:
    """Run the demo."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with TraceReceiver() as receiver:
        environment = dict(receiver.environment)
        try:
            up = ("up", "--data", str(DATA.relative_to(ROOT)), "--port", "0", "--detach", "--json")
            ready = json.loads(planmesh(*up, environment=environment, quiet=True))
            print(f"ready at {ready['address']}: {', '.join(process['name'] for process in ready['processes'])}")
            environment["PLANMESH_ADDRESS"] = ready["address"]
            run(receiver, environment)
        finally:
            planmesh("down", "--data", str(DATA.relative_to(ROOT)), environment=environment)
    print(f"\nThe map: {MAP.relative_to(ROOT)}")


def run(receiver: TraceReceiver, environment: dict[str, str]) -> None:
    """Load, plan, draw, measure, and print the trace."""
    load = ("load", str(BACKBONE.relative_to(ROOT)), "--strategy", "region", "--cost-column", "latency_ms")
    planmesh(*load, environment=environment)
    planmesh("partitions", environment=environment)
    planmesh("measure", "--queries", "500", "--concurrency", "8", "--check", environment=environment)
    answer = planmesh("plan", START, GOAL, "--no-cache", "--explain", "--json", environment=environment, quiet=True)
    plan = json.loads(answer)
    show_plan(plan)
    if len(plan["partitions"]) < 3:
        sys.exit(f"expected a plan across at least three regions, got {plan['partitions']}")
    path = [START, *(step["target"] for step in plan["steps"])]
    subtitle = (
        f"the cheapest path: {plan['cost']:.2f} ms of light in fibre over {len(plan['steps'])} links, "
        f"{' → '.join(plan['partitions'])}"
    )
    draw_plan(read_places(BACKBONE), path, MAP, f"{START} to {GOAL}", subtitle)
    print(f"\nThe map is drawn: {MAP.relative_to(ROOT)}")
    print(f"\nThe trace {plan['trace_id']}, one tree over all processes:\n", flush=True)
    for line in trace_of(receiver, plan["trace_id"]):
        print(f"  {line}")


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
