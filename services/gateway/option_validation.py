"""Validates what plans ask of their paths: what they avoid and pass, what they may cost, and their alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from planmesh.errors import InvalidRequest
from planmesh.graph.rules import shown
from planmesh.v1 import plan_pb2
from services.gateway.checks import check_at_most, check_cost, check_ids, invalid

AVOIDED_MAX: Final = 10_000
"""Most nodes, and most edges, that a plan avoids."""
AVOIDED_PARTITIONS_MAX: Final = 100
"""Most partitions that a plan avoids."""
WAYPOINTS_MAX: Final = 16
"""Most nodes that a plan passes between its ends: each is one search more."""
ALTERNATIVES_MAX: Final = 20
"""Most alternatives of a plan: each takes some searches."""

PathRequest = plan_pb2.PlanRequest | plan_pb2.PlanManyRequest


def check_options(request: PathRequest) -> frozenset[str]:
    """Check the options of a request, and return the avoided nodes. Raises InvalidRequest."""
    avoided = check_avoid(request.avoid) if request.HasField("avoid") else frozenset[str]()
    if request.waypoints:
        _check_waypoints(request.waypoints, avoided)
    if request.HasField("max_cost"):
        check_cost("max_cost", request.max_cost)
    _check_alternatives(request)
    return avoided


def avoided_error(field: str, node: str) -> InvalidRequest:
    """Return the error for an end of a path that is to be avoided."""
    return invalid(field, f"a node that is not among avoid.nodes, got {shown(node)}, which is")


def _check_waypoints(waypoints: Sequence[str], avoided: frozenset[str]) -> None:
    check_at_most("waypoints", len(waypoints), WAYPOINTS_MAX)
    check_ids("waypoints", waypoints)
    for place, node in enumerate(waypoints):
        if node in avoided:
            raise avoided_error(f"waypoints[{place}]", node)


def _check_alternatives(request: PathRequest) -> None:
    check_at_most("alternatives", request.alternatives, ALTERNATIVES_MAX)
    if request.HasField("max_overlap"):
        if not 0 <= request.max_overlap <= 1:
            raise invalid("max_overlap", f"a share from 0 to 1, got {request.max_overlap!r}")
        if not request.alternatives:
            raise invalid("max_overlap", "a number of alternatives with it, got none")
    if not request.alternatives:
        return
    if request.waypoints:
        raise invalid("alternatives", "either alternatives or waypoints, got both")
    if request.detail == plan_pb2.DETAIL_COST:
        raise invalid("alternatives", "DETAIL_NODES or DETAIL_STEPS with alternatives, got DETAIL_COST")


def check_avoid(avoid: plan_pb2.Avoid, prefix: str = "avoid.") -> frozenset[str]:
    """Check what a plan avoids, and return the nodes. `prefix` comes before the names of its fields in errors."""
    nodes, partitions = list(avoid.nodes), list(avoid.partitions)
    starts, goals = [edge.start for edge in avoid.edges], [edge.goal for edge in avoid.edges]
    check_at_most(f"{prefix}nodes", len(nodes), AVOIDED_MAX)
    check_at_most(f"{prefix}edges", len(starts), AVOIDED_MAX)
    check_at_most(f"{prefix}partitions", len(partitions), AVOIDED_PARTITIONS_MAX)
    check_ids(f"{prefix}nodes", nodes)
    check_ids(f"{prefix}edges", starts, ".start")
    check_ids(f"{prefix}edges", goals, ".goal")
    check_ids(f"{prefix}partitions", partitions)
    return frozenset(nodes)
