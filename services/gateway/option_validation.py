"""Validates what plans ask of their paths: what they avoid and pass, what they may cost, and their alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from planmesh.errors import InvalidRequest
from planmesh.graph.model import ID_BYTES_MAX
from planmesh.graph.rules import find_id_fault, shown
from planmesh.v1 import plan_pb2

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
    avoided = _check_avoid(request.avoid) if request.HasField("avoid") else frozenset[str]()
    if request.waypoints:
        _check_waypoints(request.waypoints, avoided)
    if request.HasField("max_cost") and not request.max_cost >= 0:
        raise _invalid("max_cost", f"a cost of at least 0, got {request.max_cost!r}")
    _check_alternatives(request)
    return avoided


def avoided_error(field: str, node: str) -> InvalidRequest:
    """Return the error for an end of a path that is to be avoided."""
    return _invalid(field, f"a node that is not among avoid.nodes, got {shown(node)}, which is")


def _check_waypoints(waypoints: Sequence[str], avoided: frozenset[str]) -> None:
    _check_count("waypoints", len(waypoints), WAYPOINTS_MAX)
    _check_ids("waypoints", "", waypoints)
    for place, node in enumerate(waypoints):
        if node in avoided:
            raise avoided_error(f"waypoints[{place}]", node)


def _check_alternatives(request: PathRequest) -> None:
    _check_count("alternatives", request.alternatives, ALTERNATIVES_MAX)
    if request.HasField("max_overlap"):
        if not 0 <= request.max_overlap <= 1:
            raise _invalid("max_overlap", f"a share from 0 to 1, got {request.max_overlap!r}")
        if not request.alternatives:
            raise _invalid("max_overlap", "a number of alternatives with it, got none")
    if not request.alternatives:
        return
    if request.waypoints:
        raise _invalid("alternatives", "either alternatives or waypoints, got both")
    if request.detail == plan_pb2.DETAIL_COST:
        raise _invalid("alternatives", "DETAIL_NODES or DETAIL_STEPS with alternatives, got DETAIL_COST")


def _check_avoid(avoid: plan_pb2.Avoid) -> frozenset[str]:
    """Check what a plan avoids, and return the nodes."""
    nodes, partitions = list(avoid.nodes), list(avoid.partitions)
    starts, goals = [edge.start for edge in avoid.edges], [edge.goal for edge in avoid.edges]
    _check_count("avoid.nodes", len(nodes), AVOIDED_MAX)
    _check_count("avoid.edges", len(starts), AVOIDED_MAX)
    _check_count("avoid.partitions", len(partitions), AVOIDED_PARTITIONS_MAX)
    _check_ids("avoid.nodes", "", nodes)
    _check_ids("avoid.edges", ".start", starts)
    _check_ids("avoid.edges", ".goal", goals)
    _check_ids("avoid.partitions", "", partitions)
    return frozenset(nodes)


def _check_count(field: str, count: int, bound: int) -> None:
    if count > bound:
        raise InvalidRequest(f"{field}: expected at most {bound}, got {count}", field=field, bound=str(bound))


def _check_ids(field: str, end: str, ids: Sequence[str]) -> None:
    fault = find_id_fault(list(ids))
    if fault is not None:
        place = f"{field}[{fault.row}]{end}"
        raise InvalidRequest(f"{place}: {fault.message}", field=place, bound=f"1..{ID_BYTES_MAX} bytes")


def _invalid(field: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: expected {expected}", field=field)
