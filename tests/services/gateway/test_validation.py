from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from planmesh.errors import InvalidRequest, LimitExceeded
from planmesh.v1 import graph_pb2, plan_pb2
from services.gateway import reach_validation, validation


def test_defaults_are_filled_in() -> None:
    plan = plan_pb2.PlanRequest(start="a", goal="b")
    validation.check_plan(plan)
    assert plan.graph == "default"
    neighbors = plan_pb2.GetNeighborsRequest(node="a")
    validation.check_neighbors(neighbors)
    assert (neighbors.depth, neighbors.max_neighbors, neighbors.direction) == (1, 10_000, plan_pb2.DIRECTION_OUT)
    partitions = graph_pb2.ListPartitionsRequest()
    validation.check_list_partitions(partitions)
    assert partitions.page_size == 100
    header = graph_pb2.LoadGraphRequest(header=graph_pb2.LoadGraphHeader())
    validation.check_load_header(header)
    assert header.header.graph == "default"


@pytest.mark.parametrize("detail", plan_pb2.Detail.values())
def test_every_detail_passes(detail: plan_pb2.Detail.ValueType) -> None:
    validation.check_plan(plan_pb2.PlanRequest(start="a", goal="b", detail=detail))
    validation.check_plan_many(plan_pb2.PlanManyRequest(pairs=[plan_pb2.Pair(start="a", goal="b")], detail=detail))


def test_an_unknown_detail_is_refused_with_the_values() -> None:
    with pytest.raises(InvalidRequest) as refused:
        validation.check_plan(plan_pb2.PlanRequest(start="a", goal="b", detail=9))  # type: ignore[arg-type]
    assert refused.value.message == (
        "detail: expected one of DETAIL_UNSPECIFIED, DETAIL_COST, DETAIL_NODES, DETAIL_STEPS, got 9"
    )


@pytest.mark.parametrize("node", ["a", "ж" * 256, "a b", "🙂" * 128, "\u00a0", "a" * 512, "日本"])
def test_good_ids_pass(node: str) -> None:
    validation.check_node(node, "node")


@pytest.mark.parametrize("node", ["", "ж" * 257, "a\n", "a\x00", "\x7f", "\u0085", "a" * 513, "🙂" * 129])
def test_bad_ids_are_named(node: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^goal: expected") as caught:
        validation.check_plan(plan_pb2.PlanRequest(start="a", goal=node))
    assert caught.value.metadata["field"] == "goal"
    assert "512" in caught.value.metadata["bound"]


@pytest.mark.parametrize("graph", ["Default", "a b", "a/b", "..", ".", "ä", "x" * 65, "a\n"])
def test_bad_graph_names_are_named(graph: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^graph: expected"):
        validation.check_plan(plan_pb2.PlanRequest(graph=graph, start="a", goal="b"))


@pytest.mark.parametrize("graph", ["default", "debian-12", "a.b_c", "x" * 64, "..."])
def test_good_graph_names_pass(graph: str) -> None:
    validation.check_plan(plan_pb2.PlanRequest(graph=graph, start="a", goal="b"))


EDGE = graph_pb2.Change(delete_edge=graph_pb2.DeleteEdge(source="a", target="b"))


def avoiding(nodes: Sequence[str] = (), edges: Sequence[tuple[str, str]] = ()) -> plan_pb2.Avoid:
    return plan_pb2.Avoid(nodes=nodes, edges=[plan_pb2.Pair(start=start, goal=goal) for start, goal in edges])


CASES: list[tuple[Callable[[Any], None], Any, str, type[Exception]]] = [
    (validation.check_pattern, plan_pb2.MatchPatternRequest(), "query", InvalidRequest),
    (validation.check_pattern, plan_pb2.MatchPatternRequest(query="x", max_rows=10_001), "max_rows", InvalidRequest),
    (validation.check_neighbors, plan_pb2.GetNeighborsRequest(node="a", depth=6), "depth", InvalidRequest),
    (
        validation.check_neighbors,
        plan_pb2.GetNeighborsRequest(node="a", max_neighbors=100_001),
        "max_neighbors",
        InvalidRequest,
    ),
    (validation.check_neighbors, plan_pb2.GetNeighborsRequest(node="a", direction=9), "direction", InvalidRequest),  # type: ignore[arg-type]
    (validation.check_plan, plan_pb2.PlanRequest(start="a", goal="b", detail=4), "detail", InvalidRequest),  # type: ignore[arg-type]
    (
        validation.check_plan_many,
        plan_pb2.PlanManyRequest(pairs=[plan_pb2.Pair(start="a", goal="b")], detail=-1),  # type: ignore[arg-type]
        "detail",
        InvalidRequest,
    ),
    (validation.check_plan_many, plan_pb2.PlanManyRequest(), "pairs", InvalidRequest),
    (
        validation.check_plan_many,
        plan_pb2.PlanManyRequest(pairs=[plan_pb2.Pair(start="a", goal="b")] * 10_001),
        "pairs",
        LimitExceeded,
    ),
    (
        validation.check_plan_many,
        plan_pb2.PlanManyRequest(pairs=[plan_pb2.Pair(start="a", goal="b"), plan_pb2.Pair(start="a", goal="")]),
        "pairs[1].goal",
        InvalidRequest,
    ),
    (validation.check_plan_matrix, plan_pb2.PlanMatrixRequest(targets=["b"]), "sources", InvalidRequest),
    (validation.check_plan_matrix, plan_pb2.PlanMatrixRequest(sources=["a"]), "targets", InvalidRequest),
    (
        validation.check_plan_matrix,
        plan_pb2.PlanMatrixRequest(sources=["a"] * 1_001, targets=["b"]),
        "sources",
        InvalidRequest,
    ),
    (
        validation.check_plan_matrix,
        plan_pb2.PlanMatrixRequest(sources=["a"], targets=["b"] * 1_001),
        "targets",
        InvalidRequest,
    ),
    (
        validation.check_plan_matrix,
        plan_pb2.PlanMatrixRequest(sources=["a"], targets=["b", ""]),
        "targets[1]",
        InvalidRequest,
    ),
    (validation.check_list_partitions, graph_pb2.ListPartitionsRequest(page_size=1_001), "page_size", InvalidRequest),
    (
        validation.check_list_partitions,
        graph_pb2.ListPartitionsRequest(page_token="x" * 1_025),
        "page_token",
        InvalidRequest,
    ),
    (validation.check_sample, graph_pb2.SampleNodesRequest(count=20_001), "count", InvalidRequest),
    (validation.check_sample, graph_pb2.SampleNodesRequest(count=0), "count", InvalidRequest),
    (validation.check_get_node, graph_pb2.GetNodeRequest(node=""), "node", InvalidRequest),
    (validation.check_load_header, graph_pb2.LoadGraphRequest(), "header", InvalidRequest),
    (
        validation.check_load_header,
        graph_pb2.LoadGraphRequest(nodes=graph_pb2.NodeBatch(ids=["a"])),
        "header",
        InvalidRequest,
    ),
    (
        validation.check_load_header,
        graph_pb2.LoadGraphRequest(header=graph_pb2.LoadGraphHeader(strategy=99)),  # type: ignore[arg-type]
        "header.strategy",
        InvalidRequest,
    ),
    (
        validation.check_load_header,
        graph_pb2.LoadGraphRequest(header=graph_pb2.LoadGraphHeader(partitions=100_001)),
        "header.partitions",
        InvalidRequest,
    ),
]

CASES += [
    (
        validation.check_plan,
        plan_pb2.PlanRequest(start="a", goal="b", min_version=4, at_version=3),
        "min_version",
        InvalidRequest,
    ),
    (
        validation.check_plan_many,
        plan_pb2.PlanManyRequest(pairs=[plan_pb2.Pair(start="a", goal="b")], min_version=1, at_version=0),
        "min_version",
        InvalidRequest,
    ),
    (
        validation.check_plan_matrix,
        plan_pb2.PlanMatrixRequest(sources=["a"], targets=["b"], min_version=4, at_version=3),
        "min_version",
        InvalidRequest,
    ),
    (
        validation.check_neighbors,
        plan_pb2.GetNeighborsRequest(node="a", min_version=4, at_version=3),
        "min_version",
        InvalidRequest,
    ),
    *[
        (validation.check_plan, plan_pb2.PlanRequest(start="a", goal="b", avoid=avoid), field, InvalidRequest)
        for avoid, field in (
            (avoiding(["x", "a"]), "start"),
            (avoiding(["b"]), "goal"),
            (avoiding(["x", ""]), "avoid.nodes[1]"),
            (avoiding(edges=[("x", "y"), ("x\n", "y")]), "avoid.edges[1].start"),
            (avoiding(edges=[("x", "")]), "avoid.edges[0].goal"),
            (avoiding(["x"] * 10_001), "avoid.nodes"),
            (avoiding(edges=[("x", "y")] * 10_001), "avoid.edges"),
            (plan_pb2.Avoid(partitions=["p"] * 101), "avoid.partitions"),
            (plan_pb2.Avoid(partitions=["p", ""]), "avoid.partitions[1]"),
        )
    ],
    *[
        (validation.check_plan, plan_pb2.PlanRequest(start="a", goal="b", **options), field, InvalidRequest)
        for options, field in (
            ({"waypoints": ["x"] * 17}, "waypoints"),
            ({"waypoints": ["x", "y\n"]}, "waypoints[1]"),
            ({"waypoints": ["y", "x"], "avoid": avoiding(["x"])}, "waypoints[1]"),
            ({"max_cost": -1.0}, "max_cost"),
            ({"max_cost": float("nan")}, "max_cost"),
            ({"alternatives": 21}, "alternatives"),
            ({"alternatives": 1, "waypoints": ["x"]}, "alternatives"),
            ({"alternatives": 1, "detail": plan_pb2.DETAIL_COST}, "alternatives"),
            ({"alternatives": 1, "max_overlap": 1.5}, "max_overlap"),
            ({"alternatives": 1, "max_overlap": float("nan")}, "max_overlap"),
            ({"max_overlap": 0.5}, "max_overlap"),
        )
    ],
    (
        validation.check_plan_many,
        plan_pb2.PlanManyRequest(
            pairs=[plan_pb2.Pair(start="a", goal="b"), plan_pb2.Pair(start="a", goal="x")], avoid=avoiding(["x"])
        ),
        "pairs[1].goal",
        InvalidRequest,
    ),
    *[
        (reach_validation.check_reachable, request, field, InvalidRequest)
        for request, field in (
            (plan_pb2.GetReachableRequest(), "node"),
            (plan_pb2.GetReachableRequest(node="a", direction=plan_pb2.DIRECTION_BOTH), "direction"),
            (plan_pb2.GetReachableRequest(node="a", max_cost=float("nan")), "max_cost"),
            (plan_pb2.GetReachableRequest(node="a", max_hits=1_000_001), "max_hits"),
            (plan_pb2.GetReachableRequest(node="a", avoid=avoiding(["a"])), "node"),
            (plan_pb2.GetReachableRequest(node="a", min_version=4, at_version=3), "min_version"),
        )
    ],
    *[
        (reach_validation.check_blast_radius, plan_pb2.GetBlastRadiusRequest(**fields), field, InvalidRequest)
        for fields, field in (
            ({}, "nodes"),
            ({"nodes": ["a"] * 10_001}, "nodes"),
            ({"nodes": ["a", ""]}, "nodes[1]"),
            ({"edges": [plan_pb2.Pair(start="a")]}, "edges[0].goal"),
            ({"nodes": ["a"], "sources": ["b"] * 101}, "sources"),
            ({"nodes": ["a"], "sources": ["b", "a"]}, "sources[1]"),
            ({"nodes": ["a"], "sources": ["\n"]}, "sources[0]"),
            ({"nodes": ["a"], "min_growth": 0.9}, "min_growth"),
            ({"nodes": ["a"], "max_cost": -1.0}, "max_cost"),
            ({"nodes": ["a"], "max_hits": 1_000_001}, "max_hits"),
        )
    ],
    (validation.check_update, graph_pb2.UpdateGraphRequest(), "changes", InvalidRequest),
    (validation.check_update, graph_pb2.UpdateGraphRequest(changes=[EDGE] * 10_001), "changes", InvalidRequest),
    (validation.check_update, graph_pb2.UpdateGraphRequest(graph="A", changes=[EDGE]), "graph", InvalidRequest),
    (
        validation.check_update,
        graph_pb2.UpdateGraphRequest(changes=[EDGE], idempotency_key="ж" * 65),
        "idempotency_key",
        InvalidRequest,
    ),
]


@pytest.mark.parametrize(("check", "request_", "field", "error"), CASES)
def test_invalid_requests_name_the_field_and_the_bound(
    check: Callable[[Any], None], request_: Any, field: str, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        check(request_)
    assert caught.value.metadata["field"] == field  # type: ignore[attr-defined]
    assert str(caught.value).startswith(f"{field}: expected")


def test_requests_just_within_the_bounds_pass() -> None:
    validation.check_neighbors(plan_pb2.GetNeighborsRequest(node="a", depth=5, max_neighbors=100_000))
    validation.check_plan_many(plan_pb2.PlanManyRequest(pairs=[plan_pb2.Pair(start="a", goal="b")] * 10_000))
    validation.check_plan_matrix(plan_pb2.PlanMatrixRequest(sources=["a"] * 1_000, targets=["b"] * 1_000))
    validation.check_update(graph_pb2.UpdateGraphRequest(changes=[EDGE] * 10_000, idempotency_key="ж" * 64))
    avoid = avoiding(["x"] * 10_000, [("a", "b")] * 10_000)
    validation.check_plan(plan_pb2.PlanRequest(start="a", goal="b", min_version=3, at_version=3, avoid=avoid))
    validation.check_plan(plan_pb2.PlanRequest(start="a", goal="b", min_version=3, avoid=plan_pb2.Avoid()))
    partitions = plan_pb2.Avoid(partitions=["p"] * 100)
    validation.check_plan(plan_pb2.PlanRequest(start="a", goal="b", waypoints=["x"] * 16, max_cost=0, avoid=partitions))
    validation.check_plan(plan_pb2.PlanRequest(start="a", goal="b", alternatives=20, max_overlap=1))
    validation.check_sample(graph_pb2.SampleNodesRequest(count=20_000))
    validation.check_list_partitions(graph_pb2.ListPartitionsRequest(page_size=1_000))
