"""Hypothesis strategies: directed graphs with any partitioning."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from planmesh.graph.model import Graph, Int32Array
from planmesh.search.contraction import ContractionLimits
from tests.search.in_process_mesh import make_graph

WHOLE_COSTS = st.integers(0, 99).map(float)
FEW_COSTS = st.integers(0, 2).map(float)
FREE = st.just(0.0)
FLOAT_COSTS = st.floats(0, 1e6, allow_nan=False, allow_subnormal=False)

LIMITS = st.sampled_from(
    [
        None,
        ContractionLimits(table_nodes_max=0),
        # Every node with more than a few edges stays in the core.
        ContractionLimits(1, 1, 1, 1, 0.0, 0, 0.0, 0, table_nodes_max=0),
        ContractionLimits(1, 1, 1, 1, 0.0, 0, 1.0, 0, table_nodes_max=8),
    ]
)


@st.composite
def graphs(draw: st.DrawFn, node_count_max: int = 20) -> Graph:
    """Draw a graph, sparse to dense, connected or not, with ties and free edges."""
    node_count = draw(st.integers(1, node_count_max))
    node = st.integers(0, node_count - 1)
    cost = draw(st.sampled_from([WHOLE_COSTS, FEW_COSTS, FREE, FLOAT_COSTS]))
    edges = draw(st.lists(st.tuples(node, node, cost), max_size=4 * node_count))
    return make_graph(node_count, edges)


@st.composite
def partitioned_graphs(draw: st.DrawFn) -> tuple[Graph, Int32Array]:
    """Draw a graph and the partition of each node (int32[n]). Partitions may be empty or have one node."""
    graph = draw(graphs())
    partition_count = draw(st.integers(1, graph.node_count + 1))
    labels = draw(st.lists(st.integers(0, partition_count - 1), min_size=graph.node_count, max_size=graph.node_count))
    return graph, np.array(labels, np.int32)
