"""Validates requests before the gateway forwards them.

Each function fills in defaults (an empty graph is "default", depth 0 is 1) and raises InvalidRequest, which names the
field and the bound. The partition service checks the rows of a load, because it knows their place in the caller's file.
"""

from __future__ import annotations

import re
from typing import Any, Final, Protocol

from planmesh.defaults import GRAPH_DEFAULT
from planmesh.errors import InvalidRequest, LimitExceeded
from planmesh.graph.model import ID_BYTES_MAX, PARTITIONS_MAX
from planmesh.graph.rules import find_id_fault, shown
from planmesh.v1 import graph_pb2, plan_pb2
from services.gateway.checks import check_at_most, check_ids, invalid
from services.gateway.option_validation import avoided_error, check_options

GRAPH_NAME: Final = re.compile(r"[a-z0-9._-]{1,64}")
"""Names of graphs are also names of folders."""

DEPTH_MAX: Final = 5
"""Largest depth of neighbours; beyond it an answer would be most of a graph."""
NEIGHBORS_DEFAULT: Final = 10_000
NEIGHBORS_MAX: Final = 100_000
"""Most neighbours in an answer, so that it fits in a message."""
PATTERN_ROWS_DEFAULT: Final = 1_000
PATTERN_ROWS_MAX: Final = 10_000
PAIRS_MAX: Final = 10_000
"""Most pairs of a PlanMany, so that even with the longest ids it fits in a message of 16 MiB."""
MATRIX_SIDE_MAX: Final = 1_000
"""Most sources, and most targets, of a PlanMatrix: a coordinator then holds 8 MB of costs for it."""
PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
PAGE_TOKEN_BYTES_MAX: Final = 1_024
CHANGES_MAX: Final = 10_000
"""Most changes of an update, so that a batch is applied within moments; the clients refuse more before they send."""
KEY_BYTES_MAX: Final = 128
"""Most bytes of an idempotency key, which is kept for a day: four times those of a UUID in text."""
SAMPLE_MAX: Final = 20_000
"""Most ids of a sample, so that even the longest ones fit in a message."""

SHORT_CHARACTERS_MAX: Final = ID_BYTES_MAX // 4
"""A text of at most this many characters never exceeds ID_BYTES_MAX in UTF-8."""


class ReadsVersion(Protocol):
    """Any request with the versions that an answer may have. Its `at_version` is optional."""

    min_version: int
    at_version: int

    def HasField(self, name: Any, /) -> bool: ...  # noqa: D102


class NamesGraph(Protocol):
    """Any request with a field `graph`."""

    graph: str


DETAILS: Final = frozenset(plan_pb2.Detail.values())


def check_graph(request: NamesGraph) -> None:
    """Check the name of the graph; an empty name becomes "default"."""
    if not request.graph:
        request.graph = GRAPH_DEFAULT
    elif request.graph != GRAPH_DEFAULT and GRAPH_NAME.fullmatch(request.graph) is None:
        raise invalid("graph", f"1 to 64 of a-z, 0-9, '.', '_' and '-', got {shown(request.graph)}")
    elif request.graph in {".", ".."}:
        raise invalid("graph", f"a name, got {request.graph!r}")


def check_node(node: str, field: str) -> None:
    """Check one node id: 1 to 512 bytes of UTF-8 without control characters."""
    if 0 < len(node) <= SHORT_CHARACTERS_MAX and node.isprintable():
        return
    fault = find_id_fault([node], field)
    if fault is not None:
        raise InvalidRequest(f"{field}: {fault.message}", field=field, bound=f"1..{ID_BYTES_MAX} bytes")


def check_plan(request: plan_pb2.PlanRequest) -> None:
    """Check graph, start, goal, detail, versions and options of a Plan request."""
    check_graph(request)
    check_node(request.start, "start")
    check_node(request.goal, "goal")
    _check_detail(request.detail)
    check_versions(request)
    avoided = check_options(request)
    for end, node in (("start", request.start), ("goal", request.goal)):
        if node in avoided:
            raise avoided_error(end, node)


def check_plan_many(request: plan_pb2.PlanManyRequest) -> None:
    """Check a PlanMany request and each of its pairs. Raises LimitExceeded for more than PAIRS_MAX pairs."""
    check_graph(request)
    _check_detail(request.detail)
    check_versions(request)
    avoided = check_options(request)
    count = len(request.pairs)
    if count == 0:
        raise invalid("pairs", f"1 to {PAIRS_MAX} pairs, got none")
    if count > PAIRS_MAX:
        raise LimitExceeded(
            f"pairs: expected at most {PAIRS_MAX} pairs, got {count}; send several requests",
            bound=f"1..{PAIRS_MAX}",
            field="pairs",
        )
    for end, ids in (("start", [p.start for p in request.pairs]), ("goal", [p.goal for p in request.pairs])):
        check_ids("pairs", ids, f".{end}")
        if not avoided.isdisjoint(ids):
            row = next(row for row, node in enumerate(ids) if node in avoided)
            raise avoided_error(f"pairs[{row}].{end}", ids[row])


def check_plan_matrix(request: plan_pb2.PlanMatrixRequest) -> None:
    """Check a PlanMatrix request: 1 to MATRIX_SIDE_MAX sources and as many targets, each a valid id."""
    check_graph(request)
    check_versions(request)
    for field, ids in (("sources", request.sources), ("targets", request.targets)):
        if not 1 <= len(ids) <= MATRIX_SIDE_MAX:
            raise InvalidRequest(
                f"{field}: expected 1 to {MATRIX_SIDE_MAX} ids, got {len(ids)}; send several requests for more",
                field=field,
                bound=f"1..{MATRIX_SIDE_MAX}",
            )
        check_ids(field, ids)


def check_neighbors(request: plan_pb2.GetNeighborsRequest) -> None:
    """Check node, depth, direction, max_neighbors and versions of a GetNeighbors request."""
    check_graph(request)
    check_versions(request)
    check_node(request.node, "node")
    request.depth = request.depth or 1
    check_at_most("depth", request.depth, DEPTH_MAX)
    request.max_neighbors = request.max_neighbors or NEIGHBORS_DEFAULT
    check_at_most("max_neighbors", request.max_neighbors, NEIGHBORS_MAX)
    if request.direction not in plan_pb2.Direction.values():
        raise invalid("direction", f"one of {', '.join(plan_pb2.Direction.keys())}, got {int(request.direction)}")
    request.direction = request.direction or plan_pb2.DIRECTION_OUT


def check_pattern(request: plan_pb2.MatchPatternRequest) -> None:
    """Check a MatchPattern request. The partition service, which knows the stores, checks the query's parameters."""
    check_graph(request)
    if not request.query:
        raise invalid("query", "a query, got none")
    request.max_rows = request.max_rows or PATTERN_ROWS_DEFAULT
    check_at_most("max_rows", request.max_rows, PATTERN_ROWS_MAX)


def check_load_header(request: graph_pb2.LoadGraphRequest) -> None:
    """Check that the first message of a load is a header with a known strategy and at most PARTITIONS_MAX."""
    if request.WhichOneof("content") != "header":
        raise invalid("header", f"a header in the first message, got {request.WhichOneof('content') or 'nothing'}")
    header = request.header
    check_graph(header)
    if header.strategy not in graph_pb2.Strategy.values():
        raise invalid("header.strategy", f"one of {', '.join(graph_pb2.Strategy.keys())}, got {int(header.strategy)}")
    check_at_most("header.partitions", header.partitions, PARTITIONS_MAX)


def check_update(request: graph_pb2.UpdateGraphRequest) -> None:
    """Check graph, number of changes and idempotency key of an update.

    The partition service checks the changes, because it has their rules.
    """
    check_graph(request)
    count = len(request.changes)
    if not 1 <= count <= CHANGES_MAX:
        raise InvalidRequest(
            f"changes: expected 1 to {CHANGES_MAX} changes, got {count}; send several batches for more",
            field="changes",
            bound=f"1..{CHANGES_MAX}",
        )
    size_bytes = len(request.idempotency_key.encode())
    if size_bytes > KEY_BYTES_MAX:
        raise InvalidRequest(
            f"idempotency_key: expected at most {KEY_BYTES_MAX} bytes, got {size_bytes}",
            field="idempotency_key",
            bound=str(KEY_BYTES_MAX),
        )


def check_get_node(request: graph_pb2.GetNodeRequest) -> None:
    """Check graph and node of a GetNode request."""
    check_graph(request)
    check_node(request.node, "node")


def check_list_partitions(request: graph_pb2.ListPartitionsRequest) -> None:
    """Check page size and page token of a ListPartitions request; page size 0 becomes PAGE_SIZE_DEFAULT."""
    check_graph(request)
    request.page_size = request.page_size or PAGE_SIZE_DEFAULT
    check_at_most("page_size", request.page_size, PAGE_SIZE_MAX)
    if len(request.page_token.encode()) > PAGE_TOKEN_BYTES_MAX:
        raise invalid("page_token", f"a token of at most {PAGE_TOKEN_BYTES_MAX} bytes, got a longer one")


def check_sample(request: graph_pb2.SampleNodesRequest) -> None:
    """Check that a SampleNodes request asks for 1 to SAMPLE_MAX ids."""
    check_graph(request)
    if request.count == 0:
        raise invalid("count", f"1 to {SAMPLE_MAX}, got 0")
    check_at_most("count", request.count, SAMPLE_MAX)


def _check_detail(detail: plan_pb2.Detail.ValueType) -> None:
    if detail not in DETAILS:
        raise invalid("detail", f"one of {', '.join(plan_pb2.Detail.keys())}, got {int(detail)}")


def check_versions(request: ReadsVersion) -> None:
    """Check that the versions of a request can hold together."""
    if request.HasField("at_version") and request.min_version > request.at_version:
        raise invalid(
            "min_version", f"at most at_version, which is {request.at_version}, got {request.min_version}; omit one"
        )
