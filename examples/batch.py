"""Plans 10,000 pairs in one call: answers arrive as they become ready, and a pair without a plan gets an error."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from typing import Final

from planmesh import Client

PAIRS: Final = 10_000

UNKNOWN: Final = "Atlantis"
"""Every hundredth pair leads to this node, which is unknown: that pair fails, the others do not."""


def main(address: str, graph: str) -> None:
    """Plan 10,000 random pairs, and print a summary."""
    with Client(address, graph=graph) as client:
        ids = client.sample_nodes(1_000, seed=1).ids
        draw = random.Random(1)  # noqa: S311 - pairs for an example
        pairs = [(draw.choice(ids), UNKNOWN if number % 100 == 0 else draw.choice(ids)) for number in range(PAIRS)]

        costs: list[float] = []
        failures: Counter[str] = Counter()
        dearest = ("", "", -1.0)
        for answer in client.plan_many(pairs, timeout_s=300.0):
            start, goal = pairs[answer.index]  # answers arrive in the order in which they become ready
            if answer.error is not None:
                failures[type(answer.error).__name__] += 1
                continue
            plan = answer.plan
            assert plan is not None
            costs.append(plan.cost)
            if plan.cost > dearest[2]:
                dearest = (start, goal, plan.cost)

    print(f"{len(costs):,} plans, mean cost {sum(costs) / len(costs):.2f}")
    for name, count in sorted(failures.items()):
        print(f"{count:,} pairs without a plan: {name}")
    print(f"dearest: {dearest[0]} → {dearest[1]}, cost {dearest[2]:.2f}")


if __name__ == "__main__":
    main(os.environ.get("PLANMESH_ADDRESS", "127.0.0.1:50051"), sys.argv[1] if len(sys.argv) > 1 else "default")
