"""What a request must be before anything behind the gateway sees it.

Each function fills the defaults in (an empty graph is "default", depth 0 is 1) and raises InvalidRequest that names
field and bound. Rows of a load are checked by the partition service, which knows their place in the caller's file.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from planmesh.defaults import GRAPH_DEFAULT
from planmesh.errors import InvalidRequest, LimitExceeded
from planmesh.graph.model import ID_BYTES_MAX, PARTITIONS_MAX
from planmesh.graph.rules import find_id_fault, shown
from planmesh.v1 import graph_pb2, plan_pb2

GRAPH_NAME: Final = re.compile(r"[a-z0-9._-]{1,64}")
"""Names of graphs are names of folders too."""

DEPTH_MAX: Final = 5
"""Of neighbours: beyond it an answer is most of a graph."""
NEIGHBORS_DEFAULT: Final = 10_000
NEIGHBORS_MAX: Final = 100_000
"""Of an answer, so that it fits in a message."""
PATTERN_ROWS_DEFAULT: Final = 1_000
PATTERN_ROWS_MAX: Final = 10_000
PAIRS_MAX: Final = 10_000
"""Of a PlanMany, so that the longest ids fit in a message of 16 MiB."""
PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
PAGE_TOKEN_BYTES_MAX: Final = 1_024
SAMPLE_MAX: Final = 20_000
"""Ids of a sample: with the longest ids they still fit in a message."""

SHORT_CHARACTERS_MAX: Final = ID_BYTES_MAX // 4
"""So few characters are within ID_BYTES_MAX in UTF-8, whatever they are."""


class NamesGraph(Protocol):
    """A request with a `graph` field."""

    graph: str


def check_graph(request: NamesGraph) -> None:
    """Check the name of the graph; empty becomes "default"."""
    if not request.graph:
        request.graph = GRAPH_DEFAULT
    elif request.graph != GRAPH_DEFAULT and GRAPH_NAME.fullmatch(request.graph) is None:
        raise _invalid("graph", f"1 to 64 of a-z, 0-9, '.', '_' and '-', got {shown(request.graph)}")
    elif request.graph in {".", ".."}:
        raise _invalid("graph", f"a name, got {request.graph!r}")


def check_node(node: str, field: str) -> None:
    """Check one node id: 1 to 512 bytes of UTF-8 without control characters."""
    if 0 < len(node) <= SHORT_CHARACTERS_MAX and node.isprintable():
        return
    fault = find_id_fault([node], field)
    if fault is not None:
        raise InvalidRequest(f"{field}: {fault.message}", field=field, bound=f"1..{ID_BYTES_MAX} bytes")


def check_plan(request: plan_pb2.PlanRequest) -> None:
    """Check a Plan request."""
    check_graph(request)
    check_node(request.start, "start")
    check_node(request.goal, "goal")


def check_plan_many(request: plan_pb2.PlanManyRequest) -> None:
    """Check a PlanMany request, every pair of it. Raises LimitExceeded for more than PAIRS_MAX."""
    check_graph(request)
    count = len(request.pairs)
    if count == 0:
        raise _invalid("pairs", f"1 to {PAIRS_MAX} pairs, got none")
    if count > PAIRS_MAX:
        raise LimitExceeded(
            f"pairs: expected at most {PAIRS_MAX} pairs, got {count}; send several requests",
            bound=f"1..{PAIRS_MAX}",
            field="pairs",
        )
    for end, ids in (("start", [p.start for p in request.pairs]), ("goal", [p.goal for p in request.pairs])):
        fault = find_id_fault(ids)
        if fault is not None:
            field = f"pairs[{fault.row}].{end}"
            raise InvalidRequest(f"{field}: {fault.message}", field=field, bound=f"1..{ID_BYTES_MAX} bytes")


def check_neighbors(request: plan_pb2.GetNeighborsRequest) -> None:
    """Check a GetNeighbors request."""
    check_graph(request)
    check_node(request.node, "node")
    request.depth = request.depth or 1
    _check_at_most(request.depth, DEPTH_MAX, "depth")
    request.max_neighbors = request.max_neighbors or NEIGHBORS_DEFAULT
    _check_at_most(request.max_neighbors, NEIGHBORS_MAX, "max_neighbors")
    if request.direction not in plan_pb2.Direction.values():
        raise _invalid("direction", f"one of {', '.join(plan_pb2.Direction.keys())}, got {int(request.direction)}")
    request.direction = request.direction or plan_pb2.DIRECTION_OUT


def check_pattern(request: plan_pb2.MatchPatternRequest) -> None:
    """Check a MatchPattern request; query and parameters are the business of who knows the stores."""
    check_graph(request)
    if not request.query:
        raise _invalid("query", "a query, got none")
    request.max_rows = request.max_rows or PATTERN_ROWS_DEFAULT
    _check_at_most(request.max_rows, PATTERN_ROWS_MAX, "max_rows")


def check_load_header(request: graph_pb2.LoadGraphRequest) -> None:
    """Check the first message of a load."""
    if request.WhichOneof("content") != "header":
        raise _invalid("header", f"a header in the first message, got {request.WhichOneof('content') or 'nothing'}")
    header = request.header
    check_graph(header)
    if header.strategy not in graph_pb2.Strategy.values():
        raise _invalid("header.strategy", f"one of {', '.join(graph_pb2.Strategy.keys())}, got {int(header.strategy)}")
    _check_at_most(header.partitions, PARTITIONS_MAX, "header.partitions")


def check_get_node(request: graph_pb2.GetNodeRequest) -> None:
    """Check a GetNode request."""
    check_graph(request)
    check_node(request.node, "node")


def check_list_partitions(request: graph_pb2.ListPartitionsRequest) -> None:
    """Check a ListPartitions request."""
    check_graph(request)
    request.page_size = request.page_size or PAGE_SIZE_DEFAULT
    _check_at_most(request.page_size, PAGE_SIZE_MAX, "page_size")
    if len(request.page_token.encode()) > PAGE_TOKEN_BYTES_MAX:
        raise _invalid("page_token", "the token of the page before, got something longer")


def check_sample(request: graph_pb2.SampleNodesRequest) -> None:
    """Check a SampleNodes request."""
    check_graph(request)
    if request.count == 0:
        raise _invalid("count", f"1 to {SAMPLE_MAX}, got 0")
    _check_at_most(request.count, SAMPLE_MAX, "count")


def _check_at_most(value: int, bound: int, field: str) -> None:
    if value > bound:
        raise InvalidRequest(f"{field}: expected at most {bound}, got {value}", field=field, bound=str(bound))


def _invalid(field: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: expected {expected}", field=field)
