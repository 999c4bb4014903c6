"""The objects that `--json` prints: docs/reference/cli-json.md as code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from planmesh.client import Explanation, Neighbors, PatternRows, Plan
    from planmesh.v1 import graph_pb2

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
    """A plan; `explanation` only when there is one."""
    value: dict[str, Any] = {
        "graph": plan.graph,
        "version": plan.version,
        "start": plan.start,
        "goal": plan.goal,
        "cost": plan.cost,
        "steps": [step._asdict() for step in plan.steps],
        "partitions": list(plan.partitions),
        "cached": plan.cached,
        "trace_id": plan.trace_id,
    }
    if plan.explanation is not None:
        value["explanation"] = explanation_object(plan.explanation)
    return value


def explanation_object(explanation: Explanation) -> dict[str, Any]:
    """How a plan was found."""
    return {
        **explanation._asdict(),
        "phases": [phase._asdict() for phase in explanation.phases],
        "batch_sizes": list(explanation.batch_sizes),
    }


def load_object(report: graph_pb2.LoadReport) -> dict[str, Any]:
    """What a load did."""
    counts = {name: getattr(report, name) for name in LOAD_FIELDS}
    return {**counts, "seconds": load_seconds(report), "warnings": list(report.warnings)}


def load_seconds(report: graph_pb2.LoadReport) -> dict[str, float]:
    """Seconds by phase, in the order of the phases."""
    return {phase.phase: round(phase.seconds, 6) for phase in report.phases}


def neighbors_object(found: Neighbors, depth: int, direction: str) -> dict[str, Any]:
    """The neighbourhood of a node."""
    return {
        "graph": found.graph,
        "version": found.version,
        "node": found.node,
        "depth": depth,
        "direction": direction,
        "neighbors": [other._asdict() for other in found.neighbors],
        "trace_id": found.trace_id,
    }


def match_object(found: PatternRows) -> dict[str, Any]:
    """What a graph's store answered to a pattern."""
    return {
        "graph": found.graph,
        "store": found.store,
        "columns": list(found.columns),
        "rows": [list(row) for row in found.rows],
        "trace_id": found.trace_id,
    }


def partition_object(partition: graph_pb2.Partition) -> dict[str, Any]:
    """One partition."""
    neighbors = [{name: getattr(other, name) for name in NEIGHBOR_FIELDS} for other in partition.neighbors]
    counts = {name: getattr(partition, name) for name in PARTITION_FIELDS}
    return {**counts, "neighbors": neighbors, "stores": list(partition.stores)}


def graph_object(graph: graph_pb2.Graph) -> dict[str, Any]:
    """A graph's counts and state."""
    loading = graph.loading
    return {
        "name": graph.name,
        "version": graph.version,
        "state": state_name(graph),
        "nodes": graph.nodes,
        "edges": graph.edges,
        "partitions": graph.partitions,
        "cross_edges": graph.cross_edges,
        "boundary_nodes": graph.boundary_nodes,
        "strategy": strategy_name(graph),
        "loaded_at": graph.loaded_at.ToJsonString() if graph.HasField("loaded_at") else None,
        "loading": {"phase": loading.phase, "done": loading.done, "total": loading.total}
        if graph.HasField("loading")
        else None,
        "overlay_nodes": graph.overlay_nodes,
        "overlay_edges": graph.overlay_edges,
        "overlay_core_nodes": graph.overlay_core_nodes,
        "suspicion": suspicion_object(graph) if graph.HasField("suspicion") else None,
    }


def suspicion_object(graph: graph_pb2.Graph) -> dict[str, Any]:
    """Why a graph is suspect, and the command that finds out more."""
    found = graph.suspicion
    return {
        "version": found.version,
        "start": found.start,
        "goal": found.goal,
        "answered_cost": found.answered_cost if found.HasField("answered_cost") else None,
        "plain_cost": found.plain_cost if found.HasField("plain_cost") else None,
        "trace_id": found.trace_id,
        "found_at": found.found_at.ToJsonString(),
        "remedy": f"planmesh verify --graph {graph.name}",
    }


def state_name(graph: graph_pb2.Graph) -> str:
    """The word for a graph's state: loading, serving, rebuilding, unreadable."""
    from planmesh.v1 import graph_pb2

    return graph_pb2.GraphState.Name(graph.state).removeprefix("GRAPH_STATE_").lower()


def strategy_name(graph: graph_pb2.Graph) -> str:
    """The word for a strategy, as --strategy takes it."""
    from planmesh.v1 import graph_pb2

    return graph_pb2.Strategy.Name(graph.strategy).removeprefix("STRATEGY_").lower()
