"""Writes plans whose paths pass nodes that are new since the base, and so are not in the directory's arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planmesh.errors import LimitExceeded
from planmesh.rpc.channel import CONTENT_BYTES_MAX
from planmesh.v1 import plan_pb2
from services.coordinator.path_assembly import Path, WrittenPlan, write_cost, write_plan
from services.coordinator.versioned_graph import VersionedGraph

NO_PARTITION_NAME = ""
"""In place of the name of a partition, for nodes that have none until the indexes are built again."""


def write_changed(
    graph: VersionedGraph, start: str, goal: str, path: Path, detail: plan_pb2.Detail.ValueType
) -> WrittenPlan:
    """Return the plan of a path. Raises LimitExceeded when it is larger than CONTENT_BYTES_MAX."""
    nodes, costs = path.nodes, path.costs
    known = nodes[nodes < graph.node_count]
    if detail == plan_pb2.DETAIL_COST:
        cost = float(sum(costs.tolist()))
        return write_cost(graph, start, goal, cost, graph.directory.partition_of_many(known).tolist())
    if len(known) == len(nodes):
        return write_plan(graph, start, goal, path, detail)
    ids = node_ids(graph, nodes.tolist())
    names = partition_names(graph, nodes.tolist())
    plan = plan_pb2.Plan(
        graph=graph.name,
        version=graph.version,
        start=start,
        goal=goal,
        cost=float(sum(costs.tolist())),
        partitions=[name for name in dict.fromkeys(names) if name != NO_PARTITION_NAME],
    )
    if detail == plan_pb2.DETAIL_NODES:
        plan.detail = detail
        plan.nodes.extend(ids)
        plan.step_costs.extend(costs.tolist())
        _add_runs(plan, names)
    else:
        for position, cost in enumerate(costs.tolist()):
            plan.steps.add(
                source=ids[position],
                target=ids[position + 1],
                cost=cost,
                source_partition=names[position],
                target_partition=names[position + 1],
            )
    message = plan.SerializeToString()
    if len(message) > CONTENT_BYTES_MAX:
        raise LimitExceeded(
            f"the cheapest path has {len(costs):,} steps, which take {len(message):,} bytes; expected at most "
            f"{CONTENT_BYTES_MAX:,}: ask for less detail, or plan it in sections",
            bound="CONTENT_BYTES_MAX",
        )
    return WrittenPlan(message, plan.cost, len(costs), list(plan.partitions))


def node_ids(graph: VersionedGraph, nodes: Sequence[int]) -> list[str]:
    """Return the ids of nodes."""
    known = iter(graph.directory.names(np.array([node for node in nodes if node < graph.node_count], np.int32)))
    return [next(known) if node < graph.node_count else _new_id(graph, node) for node in nodes]


def _new_id(graph: VersionedGraph, node: int) -> str:
    assert graph.changes is not None, "only a changed graph has new nodes"
    return graph.changes.name(node)


def partition_names(graph: VersionedGraph, nodes: Sequence[int]) -> list[str]:
    """Return the names of the partitions of nodes."""
    directory = graph.directory
    return [
        directory.partition_names[directory.partition_of(node)] if node < graph.node_count else NO_PARTITION_NAME
        for node in nodes
    ]


def _add_runs(plan: plan_pb2.Plan, names: Sequence[str]) -> None:
    """Add the partitions of the nodes as runs; nodes without one are a run of a partition named ""."""
    if NO_PARTITION_NAME in names:
        plan.partitions.append(NO_PARTITION_NAME)
    positions = {name: position for position, name in enumerate(plan.partitions)}
    for name in names:
        if plan.run_partitions and plan.run_partitions[-1] == positions[name]:
            plan.run_lengths[-1] += 1
        else:
            plan.run_partitions.append(positions[name])
            plan.run_lengths.append(1)
