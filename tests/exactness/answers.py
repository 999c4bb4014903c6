"""The checks of one answer: the cheapest cost, and a path of the graph that has it."""

from __future__ import annotations

from typing import Final

import numpy as np

from tests.search.in_process_mesh import InProcessMesh

TOLERANCE: Final = 1e-9
"""Relative difference up to which two sums of the same costs count as equal."""


class WrongAnswerError(Exception):
    """An answer of the mesh differs from the reference's, or its path is not a path of the graph."""


def weights_of(mesh: InProcessMesh) -> dict[tuple[int, int], float]:
    tails = np.repeat(np.arange(mesh.graph.node_count), np.diff(mesh.graph.first_out))
    pairs = zip(tails.tolist(), mesh.graph.head.tolist(), strict=True)
    return dict(zip(pairs, mesh.graph.weight.tolist(), strict=True))


def check_answer(
    where: str,
    expected: float,
    cost: float,
    nodes: list[int],
    costs: list[float],
    weights: dict[tuple[int, int], float],
    ends: tuple[int, int],
) -> None:
    if np.isinf(expected) or np.isinf(cost):
        if expected != cost:
            raise WrongAnswerError(f"{where}: expected {expected}, got {cost}")
        return
    if abs(cost - expected) > TOLERANCE * expected:
        raise WrongAnswerError(f"{where}: expected {expected}, got {cost}")
    if (nodes[0], nodes[-1]) != ends or len(set(nodes)) != len(nodes) or len(costs) != len(nodes) - 1:
        raise WrongAnswerError(f"{where}: expected a simple path, got {nodes}")
    for step, step_cost in enumerate(costs):
        if weights.get((nodes[step], nodes[step + 1])) != step_cost:
            raise WrongAnswerError(f"{where}: step {step} of {nodes} is not an edge of cost {step_cost}")
    if abs(sum(costs) - expected) > TOLERANCE * expected:
        raise WrongAnswerError(f"{where}: the steps add up to {sum(costs)}, expected {expected}")
