"""The overlay: boundary and core nodes of all partitions, contracted again in levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from planmesh.graph.model import INVALID_ID, Float64Array, Int32Array, Int64Array
from planmesh.kernels import kernel
from planmesh.search.hierarchy import Hierarchy
from planmesh.search.read_only import read_only

ARRAY_NAMES = (
    "first_out",
    "head",
    "weight",
    "rank",
    "up_first",
    "up_head",
    "up_weight",
    "up_middle",
    "down_first",
    "down_tail",
    "down_weight",
    "down_middle",
)
"""What an overlay file holds."""


@kernel
def find_edges(first_out: Int32Array, head: Int32Array, weight: Float64Array, nodes: Int32Array) -> Int64Array:
    """Return the positions (int64[k - 1]) of the edges between consecutive `nodes` (int32[k]).

    Among parallel edges the cheapest is taken; -1 where there is none.
    """
    edges = np.full(max(len(nodes) - 1, 0), -1, np.int64)
    for step in range(len(nodes) - 1):
        best = np.inf
        for edge in range(first_out[nodes[step]], first_out[nodes[step] + 1]):
            if head[edge] == nodes[step + 1] and weight[edge] < best:
                best = weight[edge]
                edges[step] = edge
    return edges


@dataclass(frozen=True, slots=True)
class Overlay:
    """The overlay of n nodes.

    - `first_out` int32[n + 1], `head` int32, `weight` float64: level 1, the edges that remain in partitions and the
      cross edges, parallel ones merged.
    - `rank` int32[n]: order of contraction in the upper levels, -1 for the top core.
    - `up_first` int32[n + 1], `up_head` int32, `up_weight` float64, `up_middle` int32: edges of a contracted node to
      nodes contracted later or in the top core, and edges of a core node to core nodes; middle is the contracted node
      that a shortcut goes over, -1 for an edge of level 1. `down_first`, `down_tail`, `down_weight`, `down_middle`: the
      same for edges into a node.
    """

    first_out: Int32Array
    head: Int32Array
    weight: Float64Array
    rank: Int32Array
    up_first: Int32Array
    up_head: Int32Array
    up_weight: Float64Array
    up_middle: Int32Array
    down_first: Int32Array
    down_tail: Int32Array
    down_weight: Float64Array
    down_middle: Int32Array
    hierarchy: Hierarchy

    @property
    def node_count(self) -> int:
        """Overlay nodes."""
        return len(self.rank)

    @property
    def core_count(self) -> int:
        """Nodes of the top core."""
        return int(np.count_nonzero(self.rank == INVALID_ID))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Every array by its name, for `from_arrays`."""
        return {name: getattr(self, name) for name in ARRAY_NAMES}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Overlay:
        """An overlay on arrays as `arrays()` gave them, without copying: memory-mapped and read-only ones will do."""
        missing = [name for name in ARRAY_NAMES if name not in arrays]
        if missing:
            raise ValueError(f"expected the arrays of an overlay, got none named {', '.join(missing)}")
        views = {name: read_only(arrays[name], np.float64 if "weight" in name else np.int32) for name in ARRAY_NAMES}
        node_count = len(views["rank"])
        if any(len(views[name]) != node_count + 1 for name in ("first_out", "up_first", "down_first")):
            raise ValueError(f"expected arrays for {node_count} overlay nodes, got others")
        return cls(**views, hierarchy=Hierarchy(*(views[name] for name in Hierarchy._fields)))

    def path_edges(self, nodes: Int32Array) -> Int64Array:
        """Positions int64[k - 1] of the level-1 edges along `nodes` (int32[k]); -1 where there is none."""
        return find_edges(self.first_out, self.head, self.weight, read_only(nodes, np.int32))
