"""The objects that `--json` prints, as documented in docs/reference/cli-json.md."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datetime import datetime

    from planmesh.client import (
        BlastRadius,
        Explanation,
        Graph,
        LoadReport,
        Matrix,
        Neighbors,
        Partition,
        PatternRows,
        Plan,
        Reachable,
        Suspicion,
    )

LOAD_PHASES: Final = ("read", "partition", "index", "overlay", "publish")

LOAD_FIELDS: Final = (
    "graph",
    "version",
    "nodes",
    "edges",
    "parallel_edges",
    "self_loops",
    "partitions",
    "cross_edges",
    "cross_edge_share",
    "boundary_nodes",
)

PARTITION_FIELDS: Final = (
    "number",
    "name",
    "shard",
    "nodes",
    "internal_edges",
    "cross_edges_out",
    "cross_edges_in",
    "entries",
    "exits",
    "overlay_nodes",
    "core_nodes",
    "index_bytes",
)

NEIGHBOR_FIELDS: Final = ("name", "cross_edges_out", "cross_edges_in", "entries", "exits")


def plan_object(plan: Plan) -> dict[str, Any]:
    """Return a plan, with what its detail has; `explanation` only if it has one."""
    value: dict[str, Any] = {
        "graph": plan.graph,
        "version": plan.version,
        "start": plan.start,
        "goal": plan.goal,
        "cost": plan.cost,
        **_path_objects(plan),
        "partitions": list(plan.partitions),
        "cached": plan.cached,
        "trace_id": plan.trace_id,
    }
    if plan.alternatives:
        value["alternatives"] = [
            {"cost": other.cost, **_path_objects(other), "partitions": list(other.partitions)}
            for other in plan.alternatives
        ]
    if plan.alternatives_bounded:
        value["alternatives_bounded"] = True
    if plan.explanation is not None:
        value["explanation"] = explanation_object(plan.explanation)
    return value


def _path_objects(plan: Plan) -> dict[str, Any]:
    if plan.detail == "cost":
        return {}
    if plan.detail == "steps":
        return {"steps": [step._asdict() for step in plan.steps]}
    return {
        "nodes": list(plan.nodes),
        "step_costs": list(plan.step_costs),
        "partition_runs": [run._asdict() for run in plan.partition_runs],
    }


def matrix_object(matrix: Matrix) -> dict[str, Any]:
    """Return a matrix; the cost is null where there is no path."""
    return {
        "graph": matrix.graph,
        "version": matrix.version,
        "sources": list(matrix.sources),
        "targets": list(matrix.targets),
        "costs": [[cost if cost < inf else None for cost in row] for row in matrix.rows],
        "trace_id": matrix.trace_id,
    }


def explanation_object(explanation: Explanation) -> dict[str, Any]:
    """Return the explanation of a plan."""
    return {
        **explanation._asdict(),
        "phases": [phase._asdict() for phase in explanation.phases],
        "batch_sizes": list(explanation.batch_sizes),
    }


def load_object(report: LoadReport) -> dict[str, Any]:
    """Return the report of a load."""
    counts = {name: getattr(report, name) for name in LOAD_FIELDS}
    return {**counts, "seconds": load_seconds(report), "warnings": list(report.warnings)}


def load_seconds(report: LoadReport) -> dict[str, float]:
    """Return the seconds of each phase, in the order of the phases."""
    return {phase.phase: round(phase.seconds, 6) for phase in report.phases}


def neighbors_object(found: Neighbors, depth: int, direction: str) -> dict[str, Any]:
    """Return the neighbourhood of a node."""
    return {
        "graph": found.graph,
        "version": found.version,
        "node": found.node,
        "depth": depth,
        "direction": direction,
        "neighbors": [other._asdict() for other in found.neighbors],
        "trace_id": found.trace_id,
    }


def reach_object(found: Reachable) -> dict[str, Any]:
    """Return what a node reaches, or what reaches it."""
    return {
        "graph": found.graph,
        "version": found.version,
        "node": found.node,
        "total": found.total,
        "partitions": [one._asdict() for one in found.partitions],
        "hits": [hit._asdict() for hit in found.hits],
        "trace_id": found.trace_id,
    }


def blast_object(found: BlastRadius) -> dict[str, Any]:
    """Return what a failure takes away; the cost after it is null where no path is left."""
    return {
        "graph": found.graph,
        "version": found.version,
        "sources": list(found.sources),
        "lost": found.lost,
        "dearer": found.dearer,
        "affected": [
            {**one._asdict(), "cost_after": None if one.is_lost else one.cost_after} for one in found.affected
        ],
        "trace_id": found.trace_id,
    }


def match_object(found: PatternRows) -> dict[str, Any]:
    """Return the answer of a graph's store to a pattern."""
    return {
        "graph": found.graph,
        "store": found.store,
        "columns": list(found.columns),
        "rows": [list(row) for row in found.rows],
        "trace_id": found.trace_id,
    }


def partition_object(partition: Partition) -> dict[str, Any]:
    """Return one partition."""
    neighbors = [{name: getattr(other, name) for name in NEIGHBOR_FIELDS} for other in partition.neighbors]
    counts = {name: getattr(partition, name) for name in PARTITION_FIELDS}
    return {**counts, "neighbors": neighbors, "stores": list(partition.stores)}


def graph_object(graph: Graph) -> dict[str, Any]:
    """Return a graph's counts and state."""
    loading = graph.loading
    return {
        "name": graph.name,
        "version": graph.version,
        "state": graph.state.value,
        "nodes": graph.nodes,
        "edges": graph.edges,
        "partitions": graph.partitions,
        "cross_edges": graph.cross_edges,
        "boundary_nodes": graph.boundary_nodes,
        "strategy": strategy_name(graph),
        "loaded_at": time_text(graph.loaded_at),
        "loading": None if loading is None else {"phase": loading.phase, "done": loading.done, "total": loading.total},
        "overlay_nodes": graph.overlay_nodes,
        "overlay_edges": graph.overlay_edges,
        "overlay_core_nodes": graph.overlay_core_nodes,
        "base_version": graph.base_version,
        "unmerged_changes": graph.unmerged_changes,
        "suspicion": None if graph.suspicion is None else suspicion_object(graph.name, graph.suspicion),
    }


def suspicion_object(graph: str, found: Suspicion) -> dict[str, Any]:
    """Return why the graph of that name is suspect, and the command for further checks."""
    return {
        "version": found.version,
        "start": found.start,
        "goal": found.goal,
        "answered_cost": found.answered_cost,
        "plain_cost": found.plain_cost,
        "trace_id": found.trace_id,
        "found_at": time_text(found.found_at),
        "remedy": f"planmesh verify --graph {graph}",
    }


def strategy_name(graph: Graph) -> str:
    """Return the strategy as --strategy accepts it; "unspecified" before the first load."""
    return "unspecified" if graph.strategy is None else graph.strategy.value


def time_text(time: datetime | None) -> str | None:
    """Format a time as protobuf does in JSON: UTC with a Z, and fractions of a second in groups of three digits."""
    if time is None:
        return None
    from google.protobuf.timestamp_pb2 import Timestamp

    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp.ToJsonString()
