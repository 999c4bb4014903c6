"""The representation of a graph: plain arrays over dense node numbers.

`first_out`, `head` and `weight` form an adjacency array as in RoutingKit (`doc/SupportFunctions.md` there): the edges
of node v are at positions `first_out[v]` to `first_out[v + 1]`, and edge e leads to `head[e]` at the cost `weight[e]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Int8Array = npt.NDArray[np.int8]
BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
UInt8Array = npt.NDArray[np.uint8]

INVALID_ID: Final = np.int32(-1)
"""Stored where there is no node, no middle node or no partition."""

INF_COST: Final = np.float64(np.inf)
"""The distance of a node that is not reached."""

COST_MAX: Final = 1e298
"""Greatest cost of an edge. Twice the cost of a path through NODES_MAX nodes is still finite, so no sum in a search is
infinity, which means "not reached"."""

WHOLE_SUM_MAX: Final = 2.0**53
"""Greatest sum up to which float64 adds whole-number costs exactly."""

NODES_MAX: Final = 2**31 - 2
"""Nodes of a graph: node numbers are int32."""

ID_BYTES_MAX: Final = 512
"""Bytes of a node id in UTF-8."""

PARTITIONS_MAX: Final = 100_000
"""Partitions of a graph."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A directed graph in adjacency arrays.

    Shapes and dtypes: `first_out` int64[n + 1], `head` int32[m], `weight` float64[m], all C-contiguous. Weights are
    finite and not negative. A Graph of a user's edges has no parallel edges and no self-loops (`build_graph`).
    """

    first_out: Int64Array
    head: Int32Array
    weight: Float64Array

    @property
    def node_count(self) -> int:
        """The number of nodes."""
        return len(self.first_out) - 1

    @property
    def edge_count(self) -> int:
        """The number of directed edges."""
        return len(self.head)
