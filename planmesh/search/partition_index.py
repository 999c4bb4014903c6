"""The index of one partition: what a worker searches and unpacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from planmesh.graph.model import INVALID_ID, BoolArray, Float64Array, Int32Array, Int64Array
from planmesh.search.contraction import DEFAULT_LIMITS, ContractionLimits, contract
from planmesh.search.hierarchy import Hierarchy
from planmesh.search.read_only import read_only

ARRAY_NAMES = (
    "overlay_node",
    "overlay_number",
    "up_first",
    "up_head",
    "up_weight",
    "up_middle",
    "down_first",
    "down_tail",
    "down_weight",
    "down_middle",
    "overlay_first_out",
    "overlay_head",
    "overlay_weight",
    "overlay_middle",
    "rank",
)
"""What a partition file holds of an index."""


class OverlayShare(NamedTuple):
    """The overlay nodes and edges of a PartitionIndex as kernels take them; names, shapes and dtypes as there."""

    node: Int32Array
    number: Int32Array
    first_out: Int32Array
    head: Int32Array
    weight: Float64Array
    middle: Int32Array


@dataclass(frozen=True, slots=True)
class PartitionIndex:
    """Contraction of a partition of n nodes, of which k stay as overlay nodes (boundary and core).

    - `overlay_node` int32[k]: local numbers of the overlay nodes, ascending; `overlay_number` int32[n]: its inverse,
      -1 for contracted nodes.
    - `up_first` int32[n + 1], `up_head` int32, `up_weight` float64, `up_middle` int32: edges of contracted nodes to
      nodes contracted later and to overlay nodes, in local numbers; middle is the contracted node that a shortcut
      goes over, -1 for an edge of the graph.
    - `down_first`, `down_tail`, `down_weight`, `down_middle`: the same for edges into contracted nodes.
    - `overlay_first_out` int32[k + 1], `overlay_head` int32 (overlay numbers), `overlay_weight` float64,
      `overlay_middle` int32 (local number or -1): the edges between overlay nodes.
    - `rank` int32[n]: order of contraction, -1 for overlay nodes.

    A function of the partition alone, to the last byte.
    """

    overlay_node: Int32Array
    overlay_number: Int32Array
    up_first: Int32Array
    up_head: Int32Array
    up_weight: Float64Array
    up_middle: Int32Array
    down_first: Int32Array
    down_tail: Int32Array
    down_weight: Float64Array
    down_middle: Int32Array
    overlay_first_out: Int32Array
    overlay_head: Int32Array
    overlay_weight: Float64Array
    overlay_middle: Int32Array
    rank: Int32Array
    hierarchy: Hierarchy
    overlay_share: OverlayShare

    @property
    def node_count(self) -> int:
        """Nodes of the partition."""
        return len(self.overlay_number)

    @property
    def overlay_count(self) -> int:
        """Overlay nodes of the partition."""
        return len(self.overlay_node)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Every array by its name, for `from_arrays`."""
        return {name: getattr(self, name) for name in ARRAY_NAMES}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> PartitionIndex:
        """An index on arrays as `arrays()` gave them, without copying: memory-mapped and read-only ones will do."""
        missing = [name for name in ARRAY_NAMES if name not in arrays]
        if missing:
            raise ValueError(f"expected the arrays of a partition index, got none named {', '.join(missing)}")
        views = {
            name: read_only(arrays[name], np.float64 if name.endswith("_weight") else np.int32) for name in ARRAY_NAMES
        }
        node_count, overlay_count = len(views["overlay_number"]), len(views["overlay_node"])
        if (
            len(views["up_first"]) != node_count + 1
            or len(views["down_first"]) != node_count + 1
            or len(views["overlay_first_out"]) != overlay_count + 1
        ):
            raise ValueError(f"expected arrays for {node_count} nodes and {overlay_count} overlay nodes, got others")
        hierarchy = Hierarchy(*(views[name] for name in Hierarchy._fields))
        overlay_share = OverlayShare(*(views[f"overlay_{name}"] for name in OverlayShare._fields))
        return cls(**views, hierarchy=hierarchy, overlay_share=overlay_share)


def build_partition_index(
    first_out: Int32Array | Int64Array,
    head: Int32Array,
    weight: Float64Array,
    is_boundary: BoolArray,
    limits: ContractionLimits = DEFAULT_LIMITS,
    reached: Int64Array | None = None,
) -> PartitionIndex:
    """Contract the interior nodes of a partition.

    The partition's internal edges in local numbers: first_out int32 or int64[n + 1], head int32[m], weight float64[m],
    parallel edges merged. Nodes where `is_boundary` (bool[n]) is true become overlay nodes, with those of the core.
    How often each Bound was reached is added to `reached` (int64[BOUND_COUNT]).
    """
    if len(is_boundary) != len(first_out) - 1:
        raise ValueError(f"expected is_boundary for {len(first_out) - 1} nodes, got {len(is_boundary)}")
    result = contract(first_out, head, weight, ~np.asarray(is_boundary, dtype=bool), limits)
    if reached is not None:
        reached += result.reached
    return PartitionIndex.from_arrays(
        {
            "overlay_node": result.remaining_node,
            "overlay_number": result.remaining_number,
            "up_first": result.up_first,
            "up_head": result.up_head,
            "up_weight": result.up_weight,
            "up_middle": np.maximum(result.up_middle, INVALID_ID),
            "down_first": result.down_first,
            "down_tail": result.down_tail,
            "down_weight": result.down_weight,
            "down_middle": np.maximum(result.down_middle, INVALID_ID),
            "overlay_first_out": result.remaining_first,
            "overlay_head": result.remaining_head,
            "overlay_weight": result.remaining_weight,
            "overlay_middle": np.maximum(result.remaining_middle, INVALID_ID),
            "rank": result.rank,
        }
    )
