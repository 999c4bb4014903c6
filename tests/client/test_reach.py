"""Reachable nodes and blast radii: requests and answers of both clients."""

from __future__ import annotations

from typing import Any

import pytest

from planmesh.client import Affected, Hit, PartitionHits
from planmesh.errors import InvalidRequest
from planmesh.v1 import plan_pb2


async def test_hits_of_all_messages_are_one_answer(call: Any, stage: Any) -> None:
    found = await call("reachable", "a", direction="in", max_cost=2.5, max_hits=7, avoid_nodes=["x"], min_version=2)
    assert found.hits == (Hit("b", 1.0, "p", "a"), Hit("c", 2.5, "p", "b"))
    assert (found.version, found.total, found.partitions) == (3, 2, (PartitionHits("p", 2, 1.0),))
    assert found.path("c") == ("a", "b", "c")
    assert found.path("a") == ("a",)
    with pytest.raises(InvalidRequest, match="expected a hit"):
        found.path("z")
    request = stage.gateway.requests[-1]
    assert (request.direction, request.max_cost, request.max_hits) == (plan_pb2.DIRECTION_IN, 2.5, 7)
    assert (list(request.avoid.nodes), request.min_version, request.counts_only) == (["x"], 2, False)


async def test_affected_nodes_of_all_messages_are_one_answer(call: Any, stage: Any) -> None:
    found = await call("blast_radius", ["x"], [("a", "b")], sources=["a"], min_growth=1.5, max_cost=9.0)
    assert [one.is_lost for one in found.affected] == [True, False]
    assert found.affected[1] == Affected("a", "c", 1.0, 2.0, "p")
    assert (found.sources, found.lost, found.dearer) == (("a",), 1, 1)
    request = stage.gateway.requests[-1]
    assert (list(request.nodes), request.edges[0].goal, list(request.sources)) == (["x"], "b", ["a"])
    assert (request.min_growth, request.max_cost) == (1.5, 9.0)


@pytest.mark.parametrize(
    ("method", "arguments", "field"),
    [
        ("reachable", {"node": "a", "direction": "both"}, "direction"),
        ("reachable", {"node": "a", "max_hits": -1}, "max_hits"),
        ("blast_radius", {"nodes": "abc"}, "avoid_nodes"),
        ("blast_radius", {"nodes": ["a"], "sources": "abc"}, "sources"),
    ],
)
async def test_what_no_field_can_hold_is_refused(call: Any, method: str, arguments: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await call(method, **arguments)
    assert caught.value.metadata["field"] == field
