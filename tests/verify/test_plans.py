"""Plans of the verification cost what a plain search finds, and a wrong plan is a fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planmesh.graph.model import Graph
from planmesh.partition.strategies import Strategy
from planmesh.search.index_proof import costs_differ
from planmesh.search.reference import dijkstra
from planmesh.snapshot.reader import SnapshotReader
from planmesh.verify.plans import PlanChecker, PlannedPath, Planner
from tests.verify.stored_graph import Edge, StoredGraph, outcome_of, store_graph


def stars(seed: int) -> list[Edge]:
    """Draw a ring of hubs with many neighbours each, costs with ties, and some edges in one direction only."""
    draw = np.random.default_rng(seed)
    edges: list[Edge] = []
    hubs = 6
    for leaf in range(hubs, 90):
        for hub in draw.choice(hubs, draw.integers(1, 4), replace=False).tolist():
            cost = float(draw.choice([0.0, 0.001, 0.5, 1.0, 2.0, 1000.0]))
            edges.append((f"n{leaf:03}", f"n{hub:03}", cost))
            if draw.random() < 0.7:
                edges.append((f"n{hub:03}", f"n{leaf:03}", float(draw.choice([0.001, 1.0, 2.0]))))
    edges += [(f"n{one:03}", f"n{(one + 1) % hubs:03}", 1.0) for one in range(hubs)]
    return edges


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("partitions", [2, 5])
async def test_a_graph_of_hubs_without_findings_has_right_plans_for_every_pair(
    tmp_path: Path, seed: int, partitions: int
) -> None:
    stored = await store_graph(tmp_path, stars(seed), strategy=Strategy.HASH, partitions=partitions)
    assert outcome_of(stored, pairs=20).findings == []
    assert wrong_pairs(stored) == []


def wrong_pairs(stored: StoredGraph) -> list[tuple[int, int]]:
    """Return the pairs whose plan and Dijkstra's path on the edges of all partition files differ in cost."""
    reader = SnapshotReader.open(str(stored.snapshot))
    planner = Planner(reader)
    opened = [reader.partition(number) for number in range(len(stored.manifest.partitions))]
    counts = np.concatenate([np.diff(partition.out_first) for partition in opened])
    first = np.concatenate([[0], np.cumsum(counts)])
    head = np.concatenate([partition.out_head for partition in opened])
    costs = np.concatenate([partition.out_cost for partition in opened])
    wrong: list[tuple[int, int]] = []
    for start in range(len(counts)):
        plain, _, _ = dijkstra(first, head, costs, start)
        found = [planner.plan(start, goal).cost for goal in range(len(counts))]
        wrong += [(start, goal) for goal, cost in enumerate(found) if costs_differ(float(plain[goal]), cost)]
    return wrong


class FixedPlanner(Planner):
    """Returns one plan, or raises an error, for every pair."""

    def __init__(self, plan: PlannedPath | Exception) -> None:
        self._plan = plan

    def plan(self, start: int, goal: int) -> PlannedPath:
        if isinstance(self._plan, Exception):
            raise self._plan
        return self._plan


def planned(cost: float, nodes: list[int], costs: list[float]) -> PlannedPath:
    return PlannedPath(cost, np.array(nodes, np.int32), np.array(costs))


@pytest.mark.parametrize(
    ("plan", "check"),
    [
        (planned(3.0, [0, 1, 2], [1.0, 2.0]), ""),
        (planned(4.0, [0, 2], [4.0]), "plan"),
        (planned(np.inf, [], []), "plan"),
        (planned(3.0, [0, 2], [3.0]), "path"),
        (planned(3.0, [0, 1, 2], [2.0, 1.0]), "path"),
        (planned(3.0, [0, 1, 2], [1.0, 1.0]), "path"),
        (planned(3.0, [1, 2], [2.0]), "path"),
        (planned(3.0, [0, 1], [1.0]), "path"),
        (ValueError("damaged"), "plan"),
        (AssertionError("damaged"), "plan"),
    ],
)
def test_a_wrong_plan_is_a_fault(plan: PlannedPath | Exception, check: str) -> None:
    graph = Graph(np.array([0, 2, 3, 3]), np.array([1, 2, 2], np.int32), np.array([1.0, 4.0, 2.0]))
    fault = PlanChecker(FixedPlanner(plan), graph).fault((0, 2))
    assert (fault.check if fault else "") == check
    assert fault is None or (fault.nodes == (0, 2) and "3.0" in fault.expected)
