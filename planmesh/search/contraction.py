"""Contraction of nodes. It turns a partition into its index and an overlay level into the next one.

Contraction hierarchies: Geisberger, Sanders, Schultes, Vetter, "Exact Routing in Large Road Networks Using Contraction
Hierarchies", Transportation Science 46 (2012). Nodes that would add far more edges than they remove stay as a core, as
in core-based routing (Bauer et al., "Combining Hierarchical and Goal-Directed Speed-Up Techniques for Dijkstra's
Algorithm", JEA 15 (2010)).
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
"""Least tie tolerance. With a smaller one, rounding could make two edges eliminate each other."""


@dataclass(frozen=True, slots=True)
class ContractionLimits:
    """Bounds on the work that contraction does and on the edges that it adds.

    They affect the quality of an index, never its exactness: a missed witness costs an unnecessary shortcut, and a node
    that needs more shortcuts than it may add stays in the core. ARCHITECTURE.md gives the reason for each bound.
    """

    settle_simulated_max: int = 5
    """Nodes that a witness search settles to estimate importance. Most witnesses are two or three edges long."""

    settle_contracted_max: int = 20
    """Nodes that a witness search settles when the node is about to be contracted."""

    settle_broad_max: int = 40
    """Nodes that a witness search settles in the second round, after the short searches; half as many to estimate
    importance. Most shortcuts that it fails to avoid are not worth searches five times as long. The table of distances
    finds the rest."""

    settle_thorough_max: int = 200
    """Nodes that a witness search settles in the third round, if too many nodes still remain for a table."""

    growth_factor_cheap: float = 1.0
    """Stop rule of the first round: shortcuts that a contraction may add for each edge that it removes."""

    growth_slack_cheap: int = 12
    """Shortcuts that it may add beyond that, so that nodes with few edges can be contracted."""

    growth_factor: float = 2.0
    """Stop rule of the last round, whose witness searches are better. A node that would exceed it stays in the core."""

    growth_factor_broad: float = 1.5
    """Stop rule of the second round, if it is stricter than `growth_factor`."""

    growth_slack: int = 12
    """Shortcuts that the second and the last round may add beyond their factor."""

    table_nodes_max: int = 2048
    """Remaining nodes up to which a table of all their distances (8 bytes a pair, 32 MiB) replaces searches."""

    edges_per_settled_max: int = 24
    """Edges that a witness search follows for each node that it may settle. It skips the edges of a larger hub."""

    witness_heap_max: int = 8_192
    """Entries in the queue of one witness search, and nodes that it may reach."""

    shortcuts_max: int = 65_536
    """Size of the buffer of shortcuts: the most that one contraction may add, whatever the stop rule allows."""

    pairs_max: int = 10_000
    """In-edges times out-edges of a node. Examining more pairs costs more than its contraction gains."""

    retry_after: int = 8
    """Neighbours that must be contracted before a node that the stop rule kept is examined again."""

    tie_tolerance: float = 1e-10
    """Relative difference below which two costs may be the same path added up in another order, so that neither
    eliminates the other. It is far above the rounding error of a million terms, and below the 1e-9 to which answers
    are exact."""

    def __post_init__(self) -> None:
        """Raise ValueError for bounds that are out of range."""
        settles = self.settle_simulated_max, self.settle_contracted_max, self.settle_broad_max, self.settle_thorough_max
        if min(settles) < 1:
            raise ValueError(f"expected witness searches of at least one node, got {settles}")
        factors = self.growth_factor, self.growth_factor_cheap, self.growth_factor_broad
        if min(*factors, self.growth_slack, self.growth_slack_cheap) < 0:
            raise ValueError("expected growth factors and slacks from 0, got a negative one")
        if min(self.table_nodes_max, self.pairs_max, self.retry_after) < 0:
            raise ValueError("expected table_nodes_max, pairs_max and retry_after from 0, got a negative one")
        if min(self.edges_per_settled_max, self.witness_heap_max, self.shortcuts_max) < 1:
            raise ValueError(
                "expected edges_per_settled_max, witness_heap_max and shortcuts_max from 1, got a smaller one"
            )
        if not TIE_TOLERANCE_MIN <= self.tie_tolerance < 1.0:
            raise ValueError(f"expected a tie tolerance from {TIE_TOLERANCE_MIN} to 1, got {self.tie_tolerance}")

    def cheap(self) -> Limits:
        """Return the limits of the first round: short witness searches, for the bulk of the nodes."""
        return self._round(
            self.settle_simulated_max, self.settle_contracted_max, self.growth_factor_cheap, self.growth_slack_cheap
        )

    def broad(self) -> Limits:
        """Return the limits of the second round: longer witness searches, for the nodes that the first one left."""
        factor = min(self.growth_factor, self.growth_factor_broad)
        return self._round(max(self.settle_broad_max // 2, 1), self.settle_broad_max, factor, self.growth_slack)

    def thorough(self) -> Limits:
        """Return the limits of the third round: long witness searches, if too many nodes remain for a table."""
        return self._round(self.settle_thorough_max, self.settle_thorough_max, self.growth_factor, self.growth_slack)

    def tabled(self) -> Limits:
        """Return the limits of the round with a table. Short witness searches decide the ties that the table cannot."""
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
"""Queue entries for each node. In a small graph they are fewer than `witness_heap_max`, and enough."""

DEFAULT_LIMITS = ContractionLimits()
"""The limits for partitions, tuned on service-like graphs, road networks and grids."""


@dataclass(frozen=True, slots=True)
class Contraction:
    """The result of contracting a graph of n nodes, of which k remain.

    - `rank` int32[n]: the order of contraction, -1 for nodes that remain.
    - `up_*`: the edges from contracted nodes to nodes that were contracted later or remain. `down_*`: the edges into
      contracted nodes from such nodes. Both use the graph's node numbers: `*_first` int32[n + 1], `up_head` and
      `down_tail` int32, `*_weight` float64, `*_middle` int32 (the contracted node that a shortcut passes through, or
      -1 - e for edge e of the graph).
    - `remaining_node` int32[k]: the nodes that remain, ascending. `remaining_number` int32[n]: the inverse, -1 for
      contracted nodes. The other `remaining_*` are the edges between them; their ends are positions in
      `remaining_node`.
    - `reached` int64[BOUND_COUNT]: how often each Bound was reached.
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
    """A graph under contraction. Each call of `contract` takes some of its nodes; `finish` returns the result."""

    def __init__(
        self,
        first_out: Int32Array | Int64Array,
        head: Int32Array,
        weight: Float64Array,
        limits: ContractionLimits = DEFAULT_LIMITS,
    ) -> None:
        """Copy a graph: first_out int32 or int64[n + 1], head int32[m], weight float64[m], no parallel edges."""
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
        """The number of nodes contracted so far."""
        return self._next_rank

    @property
    def remaining_count(self) -> int:
        """The number of nodes that are not contracted."""
        return self.node_count - self._next_rank

    @property
    def reached(self) -> Int64Array:
        """A copy of the counts of how often each Bound was reached so far, int64[BOUND_COUNT]."""
        return self._space.reached.copy()

    def contract(self, nodes: Int32Array) -> int:
        """Contract those of `nodes` that the limits allow, and return how many were contracted.

        `nodes` are int32, each at most once, none of them contracted before.
        """
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
        """Return the result. It shares no array with the lists of edges."""
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
    """Contract the nodes of a graph that `may_contract` (bool[n]) and the stop rule allow.

    The graph: first_out int32 or int64[n + 1], head int32[m], weight float64[m], no parallel edges. Equal inputs give
    equal results, byte for byte.
    """
    contractor = Contractor(first_out, head, weight, limits)
    contractor.contract(np.flatnonzero(may_contract).astype(np.int32))
    return contractor.finish()
