"""Cases of the exactness tests: a graph, its partitions, and bounds of builds and searches, drawn from a seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Final

import networkx as nx
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra as scipy_dijkstra

from planmesh.graph.model import Float64Array, Int32Array
from planmesh.search.batch_paths import JOINED, LOOPS
from planmesh.search.batch_segments import EXPANDED, LOCAL, ORIGINAL, STORED
from planmesh.search.contraction import DEFAULT_LIMITS, ContractionLimits
from planmesh.search.contraction_kernel import Bound
from planmesh.search.hierarchy import PATH_ROOM
from planmesh.search.joined_search import JoinedSearch
from planmesh.search.local_search import SEGMENTS_NODES_MAX, LocalSearch
from planmesh.search.overlay_build import OVERLAY_LIMITS
from planmesh.search.overlay_search import OverlaySearch
from planmesh.search.unpack import SegmentArrays
from tests.exactness.answers import TOLERANCE, WrongAnswerError, check_answer, weights_of
from tests.exactness.batches import BATCH_NAMES, PlannedBatch, draw_size
from tests.exactness.graphs import COSTS, FAMILIES, Edge, led_astray, overtaken
from tests.exactness.larger_graphs import LARGER_FAMILIES
from tests.search.in_process_batch import overlay_map, plan_batch
from tests.search.in_process_mesh import (
    InProcessMesh,
    Reached,
    build_mesh,
    joined_index,
    make_graph,
    order_by_partition,
    without_loops,
)

BOUND_NAMES: Final = (
    *(f"{place} {bound.name}" for place in ("index", "overlay") for bound in Bound),
    *("search SEGMENTS_NODES_MAX", "search PATH_ROOM", "search QUEUE_SLACK"),
    *("search SHORT_SEGMENT_EDGES_MAX", "search SHORT_SEGMENTS_TOTAL_MAX"),
    *(f"batch source {source}" for source in (ORIGINAL, STORED, LOCAL, EXPANDED)),
    "batch LOOPS",
    *BATCH_NAMES,
)
"""What `check` counts: bounds that were reached, where a batch's segments came from, and what batches consisted of."""

BATCHES_SHARE: Final = 0.25
"""Share of the small graphs for which the coordinator computes a batch."""

LARGER_SHARE: Final = 0.02
"""Share of the graphs that are large enough for batches of pairs that differ."""

EVERY_PAIR_NODES_MAX: Final = 40
"""Nodes of a graph of which every pair is checked. Of larger ones, the pairs of a batch are."""


@dataclass(frozen=True)
class SearchBounds:
    """Bounds of searches. The defaults are the mesh's, except for the queue's slack and the total of short segments."""

    segments_nodes_max: int = SEGMENTS_NODES_MAX
    path_room: int = PATH_ROOM
    queue_slack: int = 64
    short_segment_edges_max: int = 16
    short_segments_total_max: int = 1_000


@dataclass(frozen=True)
class Case:
    """A graph with the partition of each node. `group_sizes` are the partitions of a group on each overlay level."""

    origin: str
    node_count: int
    edges: tuple[Edge, ...]
    partition_of: tuple[int, ...]
    group_sizes: tuple[int, ...] = ()
    limits: ContractionLimits = DEFAULT_LIMITS
    overlay_limits: ContractionLimits = OVERLAY_LIMITS
    search: SearchBounds = field(default_factory=SearchBounds)
    batch_pairs: int = 0
    """Pairs of a batch that the coordinator computes; 0 for no batch."""


def draw(seed: str) -> Case:
    """Draw the case of a seed. Equal seeds give equal cases."""
    case = _draw_small(seed)
    random = Random(f"batches of {seed}")
    if random.random() < LARGER_SHARE:
        family = random.choice(LARGER_FAMILIES)
        node_count, edges, partition_of = family(random, random.randint(EVERY_PAIR_NODES_MAX, 200))
        origin = f"{family.__name__}, seed {seed}"
        case = replace(case, origin=origin, node_count=node_count, edges=tuple(edges), partition_of=tuple(partition_of))
    elif random.random() >= BATCHES_SHARE:
        return case
    return replace(case, batch_pairs=draw_size(random))


def _draw_small(seed: str) -> Case:
    random = Random(seed)
    family = random.choice(FAMILIES)
    node_count, pairs = family(random, random.randint(4, 14))
    kind = random.choice(list(COSTS))
    edges = [edge if len(edge) == 3 else (*edge, COSTS[kind](random)) for edge in pairs]
    partition_count = random.choice([1, 2, 2, 3, node_count])
    partition_of = [random.randrange(partition_count) for _ in range(node_count)]
    if random.random() < 0.4:
        # All nodes in one partition, except one outside with costly edges. Nodes with such an edge stay uncontracted.
        touched = random.choice([0.3, 0.7, 1.0])
        edges += [(node_count, node, 1e6) for node in range(1, node_count) if random.random() < touched]
        partition_of = [0] * node_count + [1]
        node_count += 1
    limits, overlay_limits = _limits(random, DEFAULT_LIMITS), _limits(random, OVERLAY_LIMITS)
    if family is led_astray and random.random() < 0.7:
        limits, overlay_limits = _astray(random, limits), _astray(random, overlay_limits)
    if family is overtaken and random.random() < 0.7:
        limits = overlay_limits = replace(limits, pairs_max=0)  # every node stays in the core
    return Case(
        origin=f"{family.__name__}, {kind}, seed {seed}",
        node_count=node_count,
        edges=tuple(edges),
        partition_of=tuple(partition_of),
        group_sizes=tuple(sorted(random.sample(range(1, 4), random.randint(0, 2)))),
        limits=limits,
        overlay_limits=overlay_limits,
        search=_search_bounds(random),
    )


def _limits(random: Random, default: ContractionLimits) -> ContractionLimits:
    """Draw each bound: small enough to be reached on graphs of a few nodes, or the mesh's own.

    A bound that is always reached would hide the others.
    """
    drawn = {
        "settle_simulated_max": random.randint(1, 5),
        "settle_contracted_max": random.randint(1, 5),
        "settle_broad_max": random.randint(1, 5),
        "settle_thorough_max": random.randint(1, 5),
        "growth_factor_cheap": random.choice([0.0, 0.5, 1.0, 2.0, 3.0]),
        "growth_slack_cheap": random.randint(0, 3),
        "growth_factor": random.choice([0.0, 0.5, 1.0, 2.0, 3.0]),
        "growth_factor_broad": random.choice([0.0, 0.5, 1.0, 2.0, 3.0]),
        "growth_slack": random.randint(0, 3),
        "table_nodes_max": random.choice([0, 4, 8]),
        "edges_per_settled_max": random.randint(1, 20),
        "witness_heap_max": random.randint(2, 8),
        "shortcuts_max": random.randint(2, 8),
        "pairs_max": random.choice([1, 4, 16]),
        "retry_after": random.randint(0, 3),
        "tie_tolerance": random.choice([1e-12, 1e-3, 0.5]),
    }
    tight = random.choice([0.0, 0.1, 0.2, 0.5, 0.8])
    taken = {name: value for name, value in drawn.items() if random.random() < tight}
    limits = replace(default, **taken)  # type: ignore[arg-type]  # whole numbers where the bound is one
    if random.random() < 0.2:
        # The short searches leave every node for the table.
        limits = replace(limits, growth_factor_cheap=0.0, growth_slack_cheap=0, table_nodes_max=2048, growth_slack=3)
    return limits


def _astray(random: Random, limits: ContractionLimits) -> ContractionLimits:
    """Set limits under which short witness searches skip a hub with few leaves, and longer ones end at the leaves."""
    return replace(
        limits,
        settle_simulated_max=3,
        settle_contracted_max=random.randint(4, 6),
        edges_per_settled_max=random.randint(2, 5),
        growth_factor_cheap=random.choice([0.5, 1.0]),
        growth_slack_cheap=random.randint(0, 2),
        pairs_max=10_000,
        shortcuts_max=65_536,
    )


def _search_bounds(random: Random) -> SearchBounds:
    return SearchBounds(
        segments_nodes_max=random.choice([0, 2, 8, SEGMENTS_NODES_MAX]),
        path_room=random.choice([1, 2, 8, PATH_ROOM]),
        queue_slack=random.choice([1, 2, 64]),
        short_segment_edges_max=random.choice([1, 2, 16]),
        short_segments_total_max=random.choice([2, 8, 1_000]),
    )


def check(case: Case) -> Counter[str]:
    """Compare the mesh's searches and the joined index with networkx and SciPy, on every pair of nodes.

    Returns how often each bound was reached. Raises WrongAnswerError, or the error of a kernel.
    """
    graph, partition_first, new_number = order_by_partition(
        make_graph(case.node_count, list(case.edges)), np.array(case.partition_of, np.int32)
    )
    reached = Reached()
    levels = partial(_levels, case.group_sizes)
    mesh = build_mesh(graph, partition_first, case.limits, levels, case.overlay_limits, reached)
    mesh.local = LocalSearch(case.search.segments_nodes_max, case.search.path_room)
    mesh.across = OverlaySearch(case.search.path_room)
    counts = Counter({f"index {bound.name}": int(reached.index[bound]) for bound in Bound})
    counts.update({f"overlay {bound.name}": int(reached.overlay[bound]) for bound in Bound})
    expected = _expected(case, new_number)
    weights = weights_of(mesh)
    if case.node_count <= EVERY_PAIR_NODES_MAX:
        _check_every_pair(case, mesh, expected, weights, counts)
    if case.batch_pairs:
        search = case.search
        overlay = overlay_map(mesh, search.short_segment_edges_max, search.short_segments_total_max)
        PlannedBatch(case.origin, mesh, overlay, expected, weights, search.path_room).check(case.batch_pairs, counts)
    return counts


def _check_every_pair(
    case: Case,
    mesh: InProcessMesh,
    expected: Float64Array,
    weights: dict[tuple[int, int], float],
    counts: Counter[str],
) -> None:
    joined = JoinedSearch(joined_index(mesh), case.search.queue_slack)
    _check_segments(mesh, expected, weights, case.search, counts)
    for start in range(case.node_count):
        for goal in range(case.node_count):
            where = f"from {start} to {goal} (numbered by partition)"
            cost, nodes, costs = mesh.plan(start, goal)
            check_answer(where, float(expected[start, goal]), cost, nodes, costs, weights, (start, goal))
            found, found_costs = joined.path(start, goal)
            total = float(found_costs.sum()) if len(found) else float("inf")
            check_answer(
                f"joined index, {where}", float(expected[start, goal]), total, found.tolist(), found_costs.tolist(),
                weights, (start, goal),
            )  # fmt: skip
            counts["search PATH_ROOM"] += len(nodes) > case.search.path_room
    counts["search QUEUE_SLACK"] += joined.full_count
    _check_batch(mesh, expected, weights, case.search, counts)


def _check_batch(
    mesh: InProcessMesh,
    expected: Float64Array,
    weights: dict[tuple[int, int], float],
    bounds: SearchBounds,
    counts: Counter[str],
) -> None:
    """Compute all pairs in one batch."""
    nodes = range(mesh.graph.node_count)
    pairs = [(start, goal) for start in nodes for goal in nodes]
    overlay = overlay_map(mesh, bounds.short_segment_edges_max, bounds.short_segments_total_max)
    batch = plan_batch(mesh, pairs, overlay, bounds.path_room)
    first = batch.paths.first.tolist()
    for query, (start, goal) in enumerate(pairs):
        where = f"batch, from {start} to {goal}"
        path = batch.paths.node[first[query] : first[query + 1]].tolist()
        costs = batch.paths.cost[first[query] - query : first[query + 1] - query - 1].tolist()
        cost = float(batch.cost[query])
        state = int(batch.paths.state[query])
        if np.isfinite(cost):
            if state not in (JOINED, LOOPS) or (state == LOOPS) != (len(set(path)) < len(path)):
                raise WrongAnswerError(f"{where}: state {state} of {path}")
            counts["batch LOOPS"] += state == LOOPS
            if state == LOOPS:
                path, costs = without_loops(path, costs)
        check_answer(where, float(expected[start, goal]), cost, path, costs, weights, (start, goal))
    for source in (ORIGINAL, STORED, LOCAL, EXPANDED):
        counts[f"batch source {source}"] += int(np.count_nonzero(batch.resolved.source == source))


def check_seeds(seeds: list[str]) -> tuple[Counter[str], str, str]:
    """Check the cases of some seeds; return the counts of `check`, and seed and problem of the first wrong case."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        try:
            counts += check(draw(seed))
        except Exception as error:
            return counts, seed, f"{type(error).__name__}: {error}"
    return counts, "", ""


def _levels(group_sizes: tuple[int, ...], owner: Int32Array) -> list[Int32Array]:
    """Return the levels of `build_overlay`: groups of partitions for each size, finally one group."""
    return [*((owner // size).astype(np.int32) for size in group_sizes), np.zeros(len(owner), np.int32)]


def _expected(case: Case, new_number: Int32Array) -> Float64Array:
    """Return the distances float64[n, n] of networkx, in numbers by partition. They must equal SciPy's."""
    reference = nx.DiGraph()
    reference.add_nodes_from(range(case.node_count))
    for tail, head, cost in case.edges:
        one, two = int(new_number[tail]), int(new_number[head])
        if one != two and cost < reference.get_edge_data(one, two, {"cost": np.inf})["cost"]:
            reference.add_edge(one, two, cost=cost)
    distances = np.full((case.node_count, case.node_count), np.inf)
    for start, lengths in nx.all_pairs_dijkstra_path_length(reference, weight="cost"):
        for goal, length in lengths.items():
            distances[start, goal] = length
    again = _scipy_distances(reference, case.node_count)
    assert np.array_equal(np.isinf(distances), np.isinf(again)), "networkx and SciPy disagree"
    assert np.allclose(distances, again, rtol=TOLERANCE, atol=0), "networkx and SciPy disagree"
    return distances


def _scipy_distances(reference: nx.DiGraph, node_count: int) -> Float64Array:
    edges = sorted((tail, head, cost) for tail, head, cost in reference.edges(data="cost"))
    tails = np.array([edge[0] for edge in edges], np.int32)
    heads = np.array([edge[1] for edge in edges], np.int32)
    first = np.zeros(node_count + 1, np.int32)
    np.cumsum(np.bincount(tails, minlength=node_count), out=first[1:])
    costs = np.array([edge[2] for edge in edges], np.float64)
    matrix = csr_array((costs, heads, first), shape=(node_count, node_count))
    distances: Float64Array = scipy_dijkstra(matrix)
    return distances


def _check_segments(
    mesh: InProcessMesh,
    expected: Float64Array,
    weights: dict[tuple[int, int], float],
    bounds: SearchBounds,
    counts: Counter[str],
) -> None:
    """Check the segments that are returned with distances, and those stored beside the overlay."""
    for node in range(mesh.graph.node_count):
        base = int(mesh.partition_first[mesh.partition_of(node)])
        index = mesh.indexes[mesh.partition_of(node)]
        for backward in (False, True):
            labels = mesh.labels(node, backward)
            if labels.segments is None:
                counts["search SEGMENTS_NODES_MAX"] += 1
                continue
            for number, distance, segment, segment_costs in zip(
                labels.nodes.tolist(), labels.distances.tolist(), *_split(labels.segments), strict=True
            ):
                top = int(index.overlay_node[number]) + base
                ends = (top, node) if backward else (node, top)
                path = [one + base for one in segment]
                _check_segment(f"segment {ends}", path, segment_costs, distance, weights, ends)
    for p, index in enumerate(mesh.indexes):
        base = int(mesh.partition_first[p])
        nodes, costs, lengths = mesh.local.short_segments(
            index, bounds.short_segment_edges_max, bounds.short_segments_total_max
        )
        shortcuts = int(np.count_nonzero(index.overlay_middle >= 0))
        counts["search SHORT_SEGMENTS_TOTAL_MAX"] += bool(shortcuts) and not np.count_nonzero(lengths)
        counts["search SHORT_SEGMENT_EDGES_MAX"] += np.count_nonzero(lengths) not in (0, shortcuts)
        tails = np.repeat(index.overlay_node, np.diff(index.overlay_first_out))
        end = 0
        for edge in np.flatnonzero(lengths).tolist():
            begin, end = end, end + int(lengths[edge])
            ends = int(tails[edge]) + base, int(index.overlay_node[index.overlay_head[edge]]) + base
            path = [ends[0], *(nodes[begin:end] + base).tolist()]
            cost = float(index.overlay_weight[edge])
            _check_segment(f"short segment {ends}", path, costs[begin:end].tolist(), cost, weights, ends)


def _split(segments: SegmentArrays) -> tuple[list[list[int]], list[list[float]]]:
    node_cuts = np.cumsum(segments.lengths)[:-1]
    cost_cuts = np.cumsum(segments.lengths - 1)[:-1]
    nodes = [segment.tolist() for segment in np.split(segments.nodes, node_cuts)] if len(segments.lengths) else []
    costs = [segment.tolist() for segment in np.split(segments.costs, cost_cuts)] if len(segments.lengths) else []
    return nodes, costs


def _check_segment(
    where: str,
    nodes: list[int],
    costs: list[float],
    cost: float,
    weights: dict[tuple[int, int], float],
    ends: tuple[int, int],
) -> None:
    """Check that a segment is a path of that cost. The checks of plans show whether it is the cheapest."""
    check_answer(where, cost, cost, nodes, costs, weights, ends)
