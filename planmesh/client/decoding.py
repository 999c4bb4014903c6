"""Messages of `planmesh.v1` to the values that the client returns, and typed rows to messages. No I/O."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from planmesh.client.graph_results import (
    Graph,
    GraphState,
    LoadProgress,
    LoadReport,
    Node,
    Partition,
    PartitionNeighbor,
    PhaseTime,
    Strategy,
    Suspicion,
)
from planmesh.client.mesh_results import Counters, MeshStatus, ProcessStatus, ShardStatus
from planmesh.client.results import Detail, Neighbor, Neighbors, PatternRows, Plan
from planmesh.client.rows import EdgeRows, GraphRows, NodeRows, RowOrigin
from planmesh.errors import InvalidRequest
from planmesh.v1 import graph_pb2, mesh_pb2, plan_pb2

_DETAILS: Final[dict[int, Detail]] = {plan_pb2.DETAIL_COST: Detail.COST, plan_pb2.DETAIL_NODES: Detail.NODES}
"""The details that a plan's message names; it has steps if it names none."""


def plan_of(message: plan_pb2.Plan) -> Plan:
    """The plan; its steps stay in the message until they are read."""
    return Plan(
        graph=message.graph,
        version=message.version,
        start=message.start,
        goal=message.goal,
        cost=message.cost,
        cached=message.cached,
        trace_id=message.trace_id,
        detail=_DETAILS.get(message.detail, Detail.STEPS),
        _message=message,
    )


def neighbors_of(message: plan_pb2.GetNeighborsResponse) -> Neighbors:
    """The neighbours, in the server's order."""
    return Neighbors(
        graph=message.graph,
        version=message.version,
        node=message.node,
        neighbors=tuple([Neighbor(n.node, n.hops, n.cost, n.partition) for n in message.neighbors]),
        trace_id=message.trace_id,
    )


def pattern_rows_of(message: plan_pb2.MatchPatternResponse) -> PatternRows:
    """The rows, parsed from JSON."""
    return PatternRows(
        graph=message.graph,
        store=message.store,
        columns=tuple(message.columns),
        rows=tuple([tuple(orjson.loads(row)) for row in message.rows_json]),
        trace_id=message.trace_id,
    )


def graph_of(message: graph_pb2.Graph) -> Graph:
    """The graph; absent messages become None."""
    return Graph(
        name=message.name,
        version=message.version,
        state=_state_of(message.state),
        nodes=message.nodes,
        edges=message.edges,
        partitions=message.partitions,
        cross_edges=message.cross_edges,
        boundary_nodes=message.boundary_nodes,
        strategy=_strategy_of(message.strategy),
        loaded_at=_time_of(message.loaded_at) if message.HasField("loaded_at") else None,
        loading=_progress_of(message.loading) if message.HasField("loading") else None,
        overlay_nodes=message.overlay_nodes,
        overlay_edges=message.overlay_edges,
        overlay_core_nodes=message.overlay_core_nodes,
        region_stores=dict(message.region_stores),
        domain_stores=dict(message.domain_stores),
        suspicion=_suspicion_of(message.suspicion) if message.HasField("suspicion") else None,
        base_version=message.base_version,
        unmerged_changes=message.unmerged_changes,
    )


def load_report_of(message: graph_pb2.LoadReport) -> LoadReport:
    """The report of a load."""
    return LoadReport(
        graph=message.graph,
        version=message.version,
        nodes=message.nodes,
        edges=message.edges,
        parallel_edges=message.parallel_edges,
        self_loops=message.self_loops,
        partitions=message.partitions,
        cross_edges=message.cross_edges,
        cross_edge_share=message.cross_edge_share,
        boundary_nodes=message.boundary_nodes,
        phases=tuple([PhaseTime(phase.phase, phase.seconds) for phase in message.phases]),
        warnings=tuple(message.warnings),
        strategy=_strategy_of(message.strategy),
    )


def node_of(message: graph_pb2.Node) -> Node:
    """The node."""
    return Node(
        id=message.id,
        version=message.version,
        domain=message.domain,
        region=message.region,
        partition=message.partition,
        boundary=message.boundary,
        out_degree=message.out_degree,
        in_degree=message.in_degree,
        state=message.state or "up",
        attributes=dict(message.attributes),
    )


def partition_of(message: graph_pb2.Partition) -> Partition:
    """The partition, with its neighbours in the server's order."""
    return Partition(
        number=message.number,
        name=message.name,
        shard=message.shard,
        nodes=message.nodes,
        internal_edges=message.internal_edges,
        cross_edges_out=message.cross_edges_out,
        cross_edges_in=message.cross_edges_in,
        entries=message.entries,
        exits=message.exits,
        overlay_nodes=message.overlay_nodes,
        core_nodes=message.core_nodes,
        index_bytes=message.index_bytes,
        neighbors=tuple(
            [
                PartitionNeighbor(n.name, n.cross_edges_out, n.cross_edges_in, n.entries, n.exits)
                for n in message.neighbors
            ]
        ),
        stores=tuple(message.stores),
    )


def status_of(message: mesh_pb2.GetStatusResponse) -> MeshStatus:
    """The state of the mesh."""
    counted = message.counters
    return MeshStatus(
        software_version=message.software_version,
        ready=message.ready,
        processes=tuple([ProcessStatus(one.name, one.up, one.message) for one in message.processes]),
        shards=tuple([ShardStatus(shard.number, shard.workers, shard.pending) for shard in message.shards]),
        graphs=tuple([graph_of(graph) for graph in message.graphs]),
        counters=Counters(
            plans=counted.plans,
            tasks=counted.tasks,
            task_items=counted.task_items,
            cache_hits=counted.cache_hits,
            cache_misses=counted.cache_misses,
            hedges=counted.hedges,
            retries=counted.retries,
            duplicate_replies=counted.duplicate_replies,
            failed=counted.failed,
            joined=counted.joined,
        ),
    )


def exported_rows(message: graph_pb2.ExportGraphResponse) -> GraphRows:
    """The rows of one message of an export. Columns without a value in any row are empty."""
    if message.WhichOneof("content") == "nodes":
        nodes = message.nodes
        return NodeRows(list(nodes.ids), list(nodes.domains), list(nodes.regions), _origin_of(nodes.origin))
    edges = message.edges
    return EdgeRows(list(edges.sources), list(edges.targets), list(edges.costs), _origin_of(edges.origin))


def load_message(rows: GraphRows) -> graph_pb2.LoadGraphRequest:
    """The message of a batch of rows. TypeError for a value that its column cannot hold."""
    source, unit, first = rows.origin
    origin = graph_pb2.Origin(source=source, unit=unit, first=first)
    if isinstance(rows, NodeRows):
        nodes = graph_pb2.NodeBatch(origin=origin, ids=rows.ids, domains=rows.domains, regions=rows.regions)
        return graph_pb2.LoadGraphRequest(nodes=nodes)
    edges = graph_pb2.EdgeBatch(origin=origin, sources=rows.sources, targets=rows.targets, costs=rows.costs)
    return graph_pb2.LoadGraphRequest(edges=edges)


def detail_number(detail: Detail | str) -> plan_pb2.Detail.ValueType:
    """The detail on the wire. Raises InvalidRequest for a text that names none."""
    try:
        chosen = Detail(detail)
    except ValueError:
        expected = ", ".join(Detail)
        raise InvalidRequest(f"detail: expected one of {expected}, got {detail!r}", field="detail") from None
    return plan_pb2.Detail.Value(f"DETAIL_{chosen.name}")


def strategy_number(strategy: Strategy | None) -> graph_pb2.Strategy.ValueType:
    """The strategy on the wire; None leaves the choice to the mesh."""
    if strategy is None:
        return graph_pb2.STRATEGY_UNSPECIFIED
    return graph_pb2.Strategy.Value(f"STRATEGY_{strategy.name}")


def _strategy_of(number: int) -> Strategy | None:
    value = graph_pb2.Strategy.DESCRIPTOR.values_by_number.get(number)
    name = value.name.removeprefix("STRATEGY_") if value is not None else ""
    return Strategy[name] if name in Strategy.__members__ else None


def _state_of(number: int) -> GraphState:
    value = graph_pb2.GraphState.DESCRIPTOR.values_by_number.get(number)
    name = value.name.removeprefix("GRAPH_STATE_") if value is not None else ""
    return GraphState[name] if name in GraphState.__members__ else GraphState.UNSPECIFIED


def _time_of(message: Timestamp) -> datetime:
    return message.ToDatetime(UTC)


def _progress_of(message: graph_pb2.LoadProgress) -> LoadProgress:
    return LoadProgress(
        phase=message.phase,
        done=message.done,
        total=message.total,
        started_at=_time_of(message.started_at) if message.HasField("started_at") else None,
        remaining_s=message.remaining_s if message.HasField("remaining_s") else None,
        resumed=message.resumed,
    )


def _suspicion_of(message: graph_pb2.Suspicion) -> Suspicion:
    return Suspicion(
        version=message.version,
        start=message.start,
        goal=message.goal,
        answered_cost=message.answered_cost if message.HasField("answered_cost") else None,
        plain_cost=message.plain_cost if message.HasField("plain_cost") else None,
        trace_id=message.trace_id,
        found_at=_time_of(message.found_at) if message.HasField("found_at") else None,
    )


def _origin_of(message: graph_pb2.Origin) -> RowOrigin:
    return RowOrigin(message.source, message.unit, message.first)
