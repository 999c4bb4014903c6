"""The variants of the graph under fault injection, by which a mix of two versions is detected."""

from __future__ import annotations

import numpy as np
import pytest

from planmesh.chaos.graph import ChaosGraph
from planmesh.client import EdgeRows, NodeRows
from planmesh.measure.check import Claim


@pytest.fixture(scope="module")
def graph() -> ChaosGraph:
    return ChaosGraph(nodes=300, seed=4)


def test_variants_share_edges_and_differ_in_costs(graph: ChaosGraph) -> None:
    first, second = graph.variant(0), graph.variant(1)
    np.testing.assert_array_equal(first.tails, second.tails)
    np.testing.assert_array_equal(first.heads, second.heads)
    assert np.mean(first.costs != second.costs) > 0.5


def test_a_variant_depends_only_on_number_and_seed(graph: ChaosGraph) -> None:
    np.testing.assert_array_equal(graph.variant(3).costs, ChaosGraph(nodes=300, seed=4).variant(3).costs)
    assert np.any(
        graph.variant(3).costs != ChaosGraph(nodes=300, seed=5).variant(3).costs[: len(graph.variant(3).costs)]
    )


def test_batches_and_reference_have_the_same_rows(graph: ChaosGraph) -> None:
    variant = graph.variant(2)
    nodes, edges = [], []
    for batch in variant.batches():
        if isinstance(batch, NodeRows):
            nodes += list(batch.ids)
        else:
            assert isinstance(batch, EdgeRows)
            assert batch.costs is not None
            edges += list(zip(batch.sources, batch.targets, batch.costs, strict=True))
    assert nodes == variant.ids
    assert len(edges) == len(variant.tails)
    reference = variant.reference()
    source, target, cost = min(edges, key=lambda edge: edge[2])
    assert reference.check_one(Claim(source, target, cost, [(source, target, cost)])) is None
    assert reference.check_one(Claim(source, target, cost + 1, [(source, target, cost + 1)])) is not None
