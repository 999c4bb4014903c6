"""Writes the plans of a batch from what its searches found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.graph.model import BoolArray, Float64Array, Int64Array
from planmesh.rpc.channel import CONTENT_BYTES_MAX
from planmesh.rpc.detail_encoding import encode_costs, encode_nodes, node_sizes
from planmesh.rpc.plan_encoding import EncodedPlans, encode_plans, plan_sizes
from planmesh.search.batch_paths import JOINED, LOOPS, assemble
from planmesh.search.batch_segments import Ends, Resolved, Segments
from planmesh.search.overlay_search import OverlayPaths
from planmesh.search.read_only import read_only
from planmesh.telemetry.logs import get_logger
from planmesh.v1 import plan_pb2
from services.coordinator.path_assembly import RELATIVE_TOLERANCE
from services.coordinator.versioned_graph import VersionedGraph

ANSWERS_BYTES_MAX: Final = 64 * 2**20
"""Bytes of the answers of one batch. The plans of a batch with more are computed one by one."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """The costs of q cheapest paths (float64[q], infinite for no path), and their nodes on the overlay.

    `resolved` are the segments that the paths consist of, None for plans of detail COST.
    """

    cost: Float64Array
    ends: Ends
    overlay_paths: OverlayPaths
    resolved: Resolved | None


def write_plans(
    graph: VersionedGraph,
    wanted: Int64Array,
    found: Found,
    resolved: Resolved,
    local: Segments,
    expanded: Segments,
    detail: plan_pb2.Detail.ValueType,
) -> tuple[list[bytes | None], Int64Array]:
    """Return the `wanted` plans (int64[k]) serialised, and their numbers of partitions.

    None is a plan that has to be computed alone. Of the other plans, segments may be missing.
    """
    paths = assemble(graph.overlay_map, found.ends, found.cost, RELATIVE_TOLERANCE, resolved, local, expanded)
    nodes = read_only(paths.node, np.int32)
    partitions = read_only(graph.directory.partition_of_many(nodes), np.int32)
    first = read_only(paths.first, np.int64)
    with_nodes = detail == plan_pb2.DETAIL_NODES
    about = plan_pb2.Plan(graph=graph.name, version=graph.version)
    if with_nodes:
        about.detail = detail
    prefix = about.SerializeToString()
    sizes = (node_sizes if with_nodes else plan_sizes)(len(prefix), first, nodes, partitions, graph.texts)
    has_path = np.isfinite(found.cost)
    is_wanted = np.zeros(len(sizes), bool)
    is_wanted[wanted] = True
    wrong = int(np.count_nonzero(is_wanted & has_path & (paths.state != JOINED) & (paths.state != LOOPS)))
    if wrong:
        log.error("plans of a batch do not join or add up; they are computed alone", graph=graph.name, plans=wrong)
    written = is_wanted & has_path & (paths.state == JOINED) & (sizes <= CONTENT_BYTES_MAX)
    if int(sizes.sum()) > ANSWERS_BYTES_MAX:
        return [None] * len(wanted), np.zeros(len(wanted), np.int64)
    encode = encode_nodes if with_nodes else encode_plans
    plans = encode(prefix, sizes, first, nodes, partitions, paths.cost, paths.total, graph.texts)
    return _cut(plans, wanted, written)


def write_costs(graph: VersionedGraph, wanted: Int64Array, found: Found) -> tuple[list[bytes | None], Int64Array]:
    """Return the `wanted` plans (int64[k]) of detail COST, None for no path, and their numbers of partitions."""
    ends, paths = found.ends, found.overlay_paths
    prefix = plan_pb2.Plan(graph=graph.name, version=graph.version, detail=plan_pb2.DETAIL_COST).SerializeToString()
    # A path visits the partition of its start and then those of its overlay nodes, of which the last has its goal's.
    visits = np.insert(graph.partition_of_overlay(paths.node), paths.first[:-1], ends.start_partition)
    visit_first = paths.first + np.arange(len(paths.first))
    plans = encode_costs(prefix, ends.start, ends.goal, found.cost, visit_first, visits, graph.texts)
    return _cut(plans, wanted, np.isfinite(found.cost))


def _cut(plans: EncodedPlans, wanted: Int64Array, written: BoolArray) -> tuple[list[bytes | None], Int64Array]:
    """Return the `wanted` plans one by one, None for those that are not to be used (`written` bool[q])."""
    message = plans.blob.tobytes()
    bounds = plans.first.tolist()
    return [
        message[bounds[plan] : bounds[plan + 1]] if written[plan] else None for plan in wanted.tolist()
    ], plans.partition_count[wanted].astype(np.int64)
