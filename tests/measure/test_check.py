from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from planmesh.errors import NodeUnknown
from planmesh.measure.check import Claim, GraphBuilder, ReferenceGraph

Step = tuple[str, str, float]


def graph_of(edges: Sequence[tuple[str, str, float]], nodes: str = "abcdef") -> ReferenceGraph:
    builder = GraphBuilder()
    builder.add_nodes(list(nodes))
    builder.add_edges([edge[0] for edge in edges], [edge[1] for edge in edges], [edge[2] for edge in edges])
    return builder.finish()


@pytest.fixture(scope="module")
def square() -> ReferenceGraph:
    return graph_of([("a", "b", 1), ("b", "d", 1), ("a", "c", 1), ("c", "d", 2), ("a", "d", 5), ("a", "d", 4)])


def why(graph: ReferenceGraph, start: str, goal: str, cost: float, *steps: Step) -> str:
    mismatch = graph.check_one(Claim(start, goal, cost, steps))
    return mismatch.reason if mismatch else ""


def test_a_right_answer_has_no_mismatch(square: ReferenceGraph) -> None:
    assert why(square, "a", "d", 2.0, ("a", "b", 1.0), ("b", "d", 1.0)) == ""
    assert why(square, "a", "a", 0.0) == ""
    assert why(square, "d", "a", math.inf) == ""


def test_of_an_answer_without_steps_the_cost_is_compared(square: ReferenceGraph) -> None:
    assert square.check_one(Claim("a", "d", 2.0, None)) is None
    mismatch = square.check_one(Claim("a", "d", 3.0, None))
    assert mismatch is not None
    assert mismatch.reason == "cost 3.0, expected 2.0 by the reference"


def test_a_dearer_path_is_found_though_it_is_a_path(square: ReferenceGraph) -> None:
    assert why(square, "a", "d", 3.0, ("a", "c", 1.0), ("c", "d", 2.0)) == "cost 3.0, expected 2.0 by the reference"


def test_a_missing_path_and_an_invented_path_are_found(square: ReferenceGraph) -> None:
    assert "expected 2.0 by the reference" in why(square, "a", "d", math.inf)
    assert "expected inf by the reference" in why(square, "d", "a", 1.0, ("d", "a", 1.0))


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((("a", "b", 1.0), ("c", "d", 1.0)), "step 1 starts at 'c', expected 'b'"),
        ((("a", "b", 1.0),), "the steps end at 'b', expected 'd'"),
        ((("a", "d", 2.0),), "step 0 from 'a' to 'd' costs 2.0, expected 4.0 by the graph"),
        ((("a", "e", 1.0), ("e", "d", 1.0)), "step 0 from 'a' to 'e' costs 1.0, expected None by the graph"),
        ((("a", "x", 1.0), ("x", "d", 1.0)), "step 0 from 'a' to 'x' costs 1.0, expected None by the graph"),
        ((), "the steps end at 'a', expected 'd'"),
    ],
)
def test_steps_that_are_no_path_of_the_graph(square: ReferenceGraph, steps: tuple[Step, ...], reason: str) -> None:
    assert why(square, "a", "d", 2.0, *steps) == reason


def test_steps_that_do_not_add_up() -> None:
    graph = graph_of([("a", "b", 0.0), ("b", "a", 0.0), ("b", "c", 1.0)])
    loop = (("a", "b", 0.0), ("b", "a", 0.0), ("a", "b", 0.0), ("b", "c", 1.0))
    assert why(graph, "a", "c", 1.0, *loop) == ""


def test_unknown_nodes_are_reported(square: ReferenceGraph) -> None:
    assert why(square, "a", "nowhere", 1.0) == "the graph lacks one of the two nodes"


def test_whole_costs_are_compared_to_the_last_digit_and_others_within_a_tolerance() -> None:
    whole = graph_of([("a", "b", 2.0**40)])
    assert why(whole, "a", "b", 2.0**40 + 1, ("a", "b", 2.0**40)) != ""
    broken = graph_of([("a", "b", 0.1), ("b", "c", 0.2)])
    assert why(broken, "a", "c", 0.3, ("a", "b", 0.1), ("b", "c", 0.2)) == ""
    assert why(broken, "a", "c", 0.30001, ("a", "b", 0.1), ("b", "c", 0.2)) != ""


def test_many_claims_keep_their_order_across_threads(square: ReferenceGraph) -> None:
    claims = [Claim("a", "d", float(cost), (("a", "b", 1.0), ("b", "d", 1.0))) for cost in (2, 9, 2, 8) * 50]
    mismatches = square.check(claims, threads=4)
    assert [mismatch.reason for mismatch in mismatches] == [
        f"cost {float(cost)!r}, expected 2.0 by the reference" for cost in (9, 8) * 50
    ]


def test_an_edge_to_a_node_that_was_not_exported_is_an_error() -> None:
    builder = GraphBuilder()
    builder.add_nodes(["a"])
    with pytest.raises(NodeUnknown, match="'z'"):
        builder.add_edges(["a"], ["z"], None)


def test_without_costs_each_edge_costs_one() -> None:
    builder = GraphBuilder()
    builder.add_nodes(["a", "b"])
    builder.add_edges(["a"], ["b"], None)
    assert builder.finish().check_one(Claim("a", "b", 1.0, (("a", "b", 1.0),))) is None


def test_random_graphs_agree_with_scipy() -> None:
    generator = np.random.default_rng(5)
    matrix = np.where(generator.random((12, 12)) < 0.2, generator.integers(1, 9, (12, 12)), 0).astype(float)
    np.fill_diagonal(matrix, 0)
    names = [f"n{number}" for number in range(12)]
    builder = GraphBuilder()
    builder.add_nodes(names)
    tails, heads = np.nonzero(matrix)
    builder.add_edges([names[i] for i in tails], [names[i] for i in heads], matrix[tails, heads].tolist())
    graph = builder.finish()
    expected = shortest_path(csr_array(matrix))
    for start in range(12):
        for goal in range(12):
            mismatch = graph.check_one(Claim(names[start], names[goal], float(expected[start, goal]), ()))
            assert mismatch is None or mismatch.reason.startswith("the steps end")
