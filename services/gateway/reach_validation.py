"""Validates requests for reachable nodes and blast radii, as `validation` does for the others."""

from __future__ import annotations

from typing import Final

from planmesh.v1 import plan_pb2
from services.gateway.checks import check_at_most, check_cost, check_ids, invalid
from services.gateway.option_validation import avoided_error, check_avoid
from services.gateway.validation import check_graph, check_node, check_versions

HITS_MAX: Final = 1_000_000
"""Most hits of an answer: a coordinator then holds 16 MB for them."""
SOURCES_MAX: Final = 100
"""Most nodes whose paths are judged; each takes two searches."""


def check_reachable(request: plan_pb2.GetReachableRequest) -> None:
    """Check node, direction, bounds, versions and what is avoided. Raises InvalidRequest."""
    check_graph(request)
    check_node(request.node, "node")
    check_versions(request)
    if request.direction not in {
        plan_pb2.DIRECTION_UNSPECIFIED,
        plan_pb2.DIRECTION_OUT,
        plan_pb2.DIRECTION_IN,
    }:
        raise invalid("direction", f"DIRECTION_OUT or DIRECTION_IN, got {int(request.direction)}")
    if request.HasField("max_cost"):
        check_cost("max_cost", request.max_cost)
    check_at_most("max_hits", request.max_hits, HITS_MAX)
    if request.HasField("avoid") and request.node in check_avoid(request.avoid):
        raise avoided_error("node", request.node)


def check_blast_radius(request: plan_pb2.GetBlastRadiusRequest) -> None:
    """Check what fails, whose paths are judged, bounds and versions. Raises InvalidRequest."""
    check_graph(request)
    check_versions(request)
    if not request.nodes and not request.edges:
        raise invalid("nodes", "nodes or edges that fail, got neither")
    check_avoid(plan_pb2.Avoid(nodes=request.nodes, edges=request.edges), prefix="")
    check_at_most("sources", len(request.sources), SOURCES_MAX)
    check_ids("sources", request.sources)
    failed = set(request.nodes)
    for place, node in enumerate(request.sources):
        if node in failed:
            raise invalid(f"sources[{place}]", "a node that does not fail, got one of nodes")
    if request.HasField("min_growth") and not request.min_growth >= 1:
        raise invalid("min_growth", f"a factor of at least 1, got {request.min_growth!r}")
    if request.HasField("max_cost"):
        check_cost("max_cost", request.max_cost)
    check_at_most("max_hits", request.max_hits, HITS_MAX)
