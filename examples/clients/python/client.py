"""Requests the cheapest path from a planmesh gateway and prints it."""

from __future__ import annotations

import argparse
import sys

from planmesh import Client
from planmesh.errors import NodeUnknown, NoPath, PlanmeshError


def main() -> int:
    """Print the plan and return 0, or print why there is none and return 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="127.0.0.1:50051", help="host:port of the gateway")
    parser.add_argument("--graph", default="default")
    parser.add_argument("--timeout", type=float, default=10.0, help="deadline of the plan, in seconds")
    parser.add_argument("start")
    parser.add_argument("goal")
    arguments = parser.parse_args()
    with Client(arguments.address, graph=arguments.graph, timeout_s=arguments.timeout) as client:
        try:
            plan = client.plan(arguments.start, arguments.goal)
        except NodeUnknown as error:
            print(f"unknown node {error.metadata['node']}; similar: {', '.join(error.near)}", file=sys.stderr)
            return 1
        except NoPath:
            print(f"no path leads from {arguments.start} to {arguments.goal}", file=sys.stderr)
            return 1
        except PlanmeshError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(f"cost {plan.cost:.3f}")
    for step in plan.steps:
        print(f"{step.source} -> {step.target} {step.cost:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
