"""Contraction of nodes, by which an index is made of a partition and an upper level of an overlay.

Contraction hierarchies: Geisberger, Sanders, Schultes, Vetter, "Exact Routing in Large Road Networks Using Contraction
Hierarchies", Transportation Science 46 (2012). Nodes that would add far more edges than they remove are left as a
core, as in core-based routing (Bauer et al., "Combining Hierarchical and Goal-Directed Speed-Up Techniques for
Dijkstra's Algorithm", JEA 15 (2010)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planmesh.graph.model import INVALID_ID, BoolArray, Float64Array, Int32Array, Int64Array
from planmesh.search.contraction_kernel import Bound, Limits, contract_nodes, make_witness_space
from planmesh.search.distance_table import DistanceTable, drop_needless_edges, make_distance_table
from planmesh.search.edge_lists import gather_edges, make_edge_lists
from planmesh.search.node_queue import make_node_queue
from planmesh.search.read_only import read_only

TIE_TOLERANCE_MIN = 1e-12
"""Below it rounding could make two edges rule each other out."""


@dataclass(frozen=True, slots=True)
class ContractionLimits:
    """Bounds of the work that contraction does, and of the edges that it adds.

    They decide how good an index is, never whether it is right: a witness that is not found costs a shortcut, and a
    node that would need more shortcuts than it may add stays in the core. ARCHITECTURE.md has the proof for each.
    """

    settle_simulated_max: int = 5
    """Nodes that a witness search settles while importance is estimated: most witnesses are two or three edges long."""

    settle_contracted_max: int = 20
    """Nodes that a witness search settles when the node is really contracted."""

    settle_broad_max: int = 40
    """Nodes that it settles once those no longer help; half of them while importance is estimated. Most of what it
    leaves out is not worth the five times longer searches that follow, and a table finds the rest."""

    settle_thorough_max: int = 200
    """Nodes that a witness search settles when too many nodes are left for a table all the same."""

    growth_factor_cheap: float = 1.0
    """Stop rule while witness searches are short: shortcuts that a contraction may add for each edge it removes."""

    growth_slack_cheap: int = 12
    """Shortcuts that it may add beyond that; lets nodes with few edges go."""

    growth_factor: float = 2.0
    """Stop rule for what is left then, with better witnesses: beyond it a node stays in the core."""

    growth_factor_broad: float = 1.5
    """Stop rule in between, where it is stricter than the last one."""

    growth_slack: int = 12
    """Shortcuts that it may add beyond that."""

    table_nodes_max: int = 2048
    """Nodes left for which a table of all their distances (8 bytes a pair, 32 MiB) takes the place of searches."""

    edges_per_settled_max: int = 24
    """Edges that a witness search follows for each node that it may settle; a larger hub is not worth its edges."""

    witness_heap_max: int = 8_192
    """Entries in the queue of one witness search, and nodes that it may reach."""

    shortcuts_max: int = 65_536
    """Shortcuts that one contraction may add, whatever the stop rule grants: the size of their buffer."""

    pairs_max: int = 10_000
    """Edges in times edges out of a node: with more, a look at them all costs more than contraction gains."""

    retry_after: int = 8
    """Neighbours of a node that the stop rule kept which have to go before it is looked at again."""

    tie_tolerance: float = 1e-10
    """Relative difference below which two costs may be the same path added up in another order, so that neither rules
    the other out. Far above what rounding does to a million terms, and below the 1e-9 that answers are good to."""

    def __post_init__(self) -> None:
        """Refuse bounds that make no sense."""
        settles = self.settle_simulated_max, self.settle_contracted_max, self.settle_broad_max, self.settle_thorough_max
        if min(settles) < 1:
            raise ValueError("expected witness searches of at least one node")
        factors = self.growth_factor, self.growth_factor_cheap, self.growth_factor_broad
        if min(*factors, self.growth_slack, self.growth_slack_cheap) < 0:
            raise ValueError("expected growth bounds that are not negative")
        if min(self.table_nodes_max, self.pairs_max, self.retry_after) < 0:
            raise ValueError("expected bounds of table nodes, pairs and retries that are not negative")
        if min(self.edges_per_settled_max, self.witness_heap_max, self.shortcuts_max) < 1:
            raise ValueError("expected room for at least one edge, one queue entry and one shortcut")
        if not TIE_TOLERANCE_MIN <= self.tie_tolerance < 1.0:
            raise ValueError(f"expected a tie tolerance from {TIE_TOLERANCE_MIN} to 1, got {self.tie_tolerance}")

    def cheap(self) -> Limits:
        """Short witness searches, for the bulk of the nodes."""
        return self._round(
            self.settle_simulated_max, self.settle_contracted_max, self.growth_factor_cheap, self.growth_slack_cheap
        )

    def broad(self) -> Limits:
        """Longer ones, for what those leave."""
        factor = min(self.growth_factor, self.growth_factor_broad)
        return self._round(max(self.settle_broad_max // 2, 1), self.settle_broad_max, factor, self.growth_slack)

    def thorough(self) -> Limits:
        """Long witness searches, for many nodes that are left."""
        return self._round(self.settle_thorough_max, self.settle_thorough_max, self.growth_factor, self.growth_slack)

    def tabled(self) -> Limits:
        """Witness searches that look for ties only, since the table knows the rest."""
        return self._round(1, self.settle_simulated_max, self.growth_factor, self.growth_slack)

    def _round(self, settle_simulated: int, settle_contracted: int, growth_factor: float, growth_slack: int) -> Limits:
        return Limits(
            settle_simulated,
            settle_contracted,
            self.edges_per_settled_max,
            self.pairs_max,
            float(growth_factor),
            growth_slack,
            self.retry_after,
            float(self.tie_tolerance),
        )


WITNESS_HEAP_PER_NODE = 64
"""A graph of few nodes needs no queue of the full size; this many entries for each node are enough."""

DEFAULT_LIMITS = ContractionLimits()
"""Tuned on service-like graphs, road networks and grids; see ContractionLimits."""


@dataclass(frozen=True, slots=True)
class Contraction:
    """What contraction made of a graph of n nodes, of which k remain.

    `rank` int32[n] is the order of contraction, -1 for nodes that remain. `up_*` are the edges of contracted nodes to
    nodes contracted later or remaining, `down_*` the edges into contracted nodes from such nodes, both in the graph's
    node numbers (`*_first` int32[n + 1], `up_head`/`down_tail` int32, `*_weight` float64, `*_middle` int32: the
    contracted node that a shortcut goes over, -1 - e for edge e of the graph). `remaining_node` int32[k] are the nodes
    that remain, ascending; `remaining_*` the edges between them, in numbers of their own: positions in
    `remaining_node`. `reached` int64[BOUND_COUNT] counts how often each Bound was reached.
    """

    rank: Int32Array
    up_first: Int32Array
    up_head: Int32Array
    up_weight: Float64Array
    up_middle: Int32Array
    down_first: Int32Array
    down_tail: Int32Array
    down_weight: Float64Array
    down_middle: Int32Array
    remaining_node: Int32Array
    remaining_number: Int32Array
    remaining_first: Int32Array
    remaining_head: Int32Array
    remaining_weight: Float64Array
    remaining_middle: Int32Array
    reached: Int64Array


class Contractor:
    """A graph while it is being contracted, in one or several rounds."""

    def __init__(
        self,
        first_out: Int32Array | Int64Array,
        head: Int32Array,
        weight: Float64Array,
        limits: ContractionLimits = DEFAULT_LIMITS,
    ) -> None:
        """Take a graph: first_out int32 or int64[n + 1], head int32[m], weight float64[m]; parallel edges merged."""
        first = read_only(first_out, np.int64)
        heads = read_only(head, np.int32)
        weights = read_only(weight, np.float64)
        node_count = len(first) - 1
        self.node_count = node_count
        self.limits = limits
        self.rank: Int32Array = np.full(node_count, INVALID_ID, np.int32)
        self._out = make_edge_lists(first, heads, weights, False)
        self._into = make_edge_lists(first, heads, weights, True)
        self._level = np.zeros(node_count, np.int32)
        self._waiting = np.zeros(node_count, np.int32)
        self._queue = make_node_queue(node_count)
        self._space = make_witness_space(
            node_count,
            min(limits.witness_heap_max, WITNESS_HEAP_PER_NODE * (node_count + 1)),
            min(limits.shortcuts_max, node_count * node_count + 1),
        )
        self._table = DistanceTable(np.empty(0, np.int32), np.empty((0, 0), np.float64))
        self._next_rank = 0

    @property
    def contracted_count(self) -> int:
        """Nodes contracted so far."""
        return self._next_rank

    @property
    def remaining_count(self) -> int:
        """Nodes that are left."""
        return self.node_count - self._next_rank

    @property
    def reached(self) -> Int64Array:
        """How often each bound was reached so far: int64[BOUND_COUNT], see Bound."""
        return self._space.reached.copy()

    def contract(self, nodes: Int32Array) -> int:
        """Contract those of `nodes` (int32, none twice, none contracted before) that the limits allow; their count."""
        limits = self.limits
        before = self._next_rank
        self._run(nodes, limits.cheap())
        left = nodes[self.rank[nodes] == INVALID_ID]
        for longer in (limits.broad(), limits.thorough()):
            if len(left) and self.remaining_count > limits.table_nodes_max:
                self._run(left, longer)
                left = nodes[self.rank[nodes] == INVALID_ID]
        if len(left) and self.remaining_count > limits.table_nodes_max:
            self._space.reached[Bound.TABLE_NODES] += 1
        elif len(left):
            self._make_table()
            self._run(left, limits.tabled())
            self._drop_needless_edges()
        return self._next_rank - before

    def _run(self, nodes: Int32Array, limits: Limits) -> None:
        self._out, self._into, self._next_rank = contract_nodes(
            self._out,
            self._into,
            read_only(nodes, np.int32),
            self._level,
            self._waiting,
            self.rank,
            self._next_rank,
            self._queue,
            limits,
            self._space,
            self._table,
        )

    def _make_table(self) -> None:
        self._table = make_distance_table(self._out, self._remaining())
        self._drop_needless_edges()

    def _drop_needless_edges(self) -> None:
        drop_needless_edges(self._out, self._into, self._remaining(), self._table, self.limits.tie_tolerance)

    def _remaining(self) -> Int32Array:
        return read_only(np.flatnonzero(self.rank == INVALID_ID), np.int32)

    def finish(self) -> Contraction:
        """The result, in arrays of its own."""
        remaining = self.rank == INVALID_ID
        remaining_node = np.flatnonzero(remaining).astype(np.int32)
        remaining_number = np.full(self.node_count, INVALID_ID, np.int32)
        remaining_number[remaining_node] = np.arange(len(remaining_node), dtype=np.int32)
        same_number = np.arange(self.node_count, dtype=np.int32)
        contracted = np.where(remaining, INVALID_ID, same_number).astype(np.int32)
        up = gather_edges(self._out, contracted, same_number)
        down = gather_edges(self._into, contracted, same_number)
        left = gather_edges(self._out, remaining_node, remaining_number)
        return Contraction(self.rank, *up, *down, remaining_node, remaining_number, *left, self.reached)


def contract(
    first_out: Int32Array | Int64Array,
    head: Int32Array,
    weight: Float64Array,
    may_contract: BoolArray,
    limits: ContractionLimits = DEFAULT_LIMITS,
) -> Contraction:
    """Contract the nodes of a graph where `may_contract` (bool[n]) allows it and the stop rule does not forbid it.

    The graph: first_out int32 or int64[n + 1], head int32[m], weight float64[m], no parallel edges. The result is a
    function of the input alone, to the last byte.
    """
    contractor = Contractor(first_out, head, weight, limits)
    contractor.contract(np.flatnonzero(may_contract).astype(np.int32))
    return contractor.finish()
