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
    avoided = check_avoid(request.avoid) if request.HasField("avoid") else frozenset[str]()
    if request.waypoints:
        _check_waypoints(request.waypoints, avoided)
    if request.HasField("max_cost"):
        check_cost("max_cost", request.max_cost)
    _check_alternatives(request)
    return avoided


def avoided_error(field: str, node: str) -> InvalidRequest:
    """Return the error for an end of a path that is to be avoided."""
    return _invalid(field, f"a node that is not among avoid.nodes, got {shown(node)}, which is")


def _check_waypoints(waypoints: Sequence[str], avoided: frozenset[str]) -> None:
    check_count("waypoints", len(waypoints), WAYPOINTS_MAX)
    check_ids("waypoints", "", waypoints)
    for place, node in enumerate(waypoints):
        if node in avoided:
            raise avoided_error(f"waypoints[{place}]", node)


def _check_alternatives(request: PathRequest) -> None:
    check_count("alternatives", request.alternatives, ALTERNATIVES_MAX)
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


def check_avoid(avoid: plan_pb2.Avoid, prefix: str = "avoid.") -> frozenset[str]:
    """Check what a plan avoids, and return the nodes. `prefix` comes before the names of its fields in errors."""
    nodes, partitions = list(avoid.nodes), list(avoid.partitions)
    starts, goals = [edge.start for edge in avoid.edges], [edge.goal for edge in avoid.edges]
    check_count(f"{prefix}nodes", len(nodes), AVOIDED_MAX)
    check_count(f"{prefix}edges", len(starts), AVOIDED_MAX)
    check_count(f"{prefix}partitions", len(partitions), AVOIDED_PARTITIONS_MAX)
    check_ids(f"{prefix}nodes", "", nodes)
    check_ids(f"{prefix}edges", ".start", starts)
    check_ids(f"{prefix}edges", ".goal", goals)
    check_ids(f"{prefix}partitions", "", partitions)
    return frozenset(nodes)


def check_cost(field: str, cost: float) -> None:
    """Check a bound of costs."""
    if not cost >= 0:
        raise _invalid(field, f"a cost of at least 0, got {cost!r}")


def check_count(field: str, count: int, bound: int) -> None:
    """Check a number, or the number of items of a field, against its bound."""
    if count > bound:
        raise InvalidRequest(f"{field}: expected at most {bound}, got {count}", field=field, bound=str(bound))


def check_ids(field: str, end: str, ids: Sequence[str]) -> None:
    """Check ids. `end` follows the position of an id in errors."""
    fault = find_id_fault(list(ids))
    if fault is not None:
        place = f"{field}[{fault.row}]{end}"
        raise InvalidRequest(f"{place}: {fault.message}", field=place, bound=f"1..{ID_BYTES_MAX} bytes")


def _invalid(field: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: expected {expected}", field=field)
