"""The directory of a version: ids, partitions, domains and regions of all nodes, as one array file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from planmesh.errors import SnapshotDamaged
from planmesh.graph.model import Int32Array
from planmesh.graph.node_ids import NodeIds
from planmesh.snapshot.array_file import Array, ArrayFile, FileFacts, write_array_file
from planmesh.snapshot.string_table import decode_string, decode_strings, encode_strings

IDS_PREFIX: Final = "ids."
PARTITION_NAMES_PREFIX: Final = "partition_names."
DOMAIN_NAMES_PREFIX: Final = "domain_names."
REGION_NAMES_PREFIX: Final = "region_names."


@dataclass(frozen=True, slots=True)
class NodeLabels:
    """A label for each node, such as its domain: `codes` int32[n] (-1 for none) into a table of distinct names."""

    codes: Int32Array
    names: dict[str, Array]

    def label(self, node: int) -> str:
        """Return the label of a node, "" if it has none."""
        code = int(self.codes[node])
        return decode_string(self.names, code) if code >= 0 else ""

    def name_list(self) -> list[str]:
        """Return the distinct names in the order of their codes."""
        return decode_strings(self.names)


@dataclass(frozen=True, slots=True)
class NodeDirectory:
    """Ids, partitions and labels of all nodes.

    Global numbers are ordered by partition: partition p has those from `partition_first[p]` (int32[P + 1]) on.
    """

    ids: NodeIds
    partition_first: Int32Array
    partition_names: list[str]
    domains: NodeLabels
    regions: NodeLabels

    @property
    def node_count(self) -> int:
        """The number of nodes."""
        return int(self.partition_first[-1])

    @property
    def partition_count(self) -> int:
        """The number of partitions."""
        return len(self.partition_names)

    def find(self, node_id: str) -> int:
        """Return the global number of an id, -1 for an unknown one."""
        return int(self.ids.find(node_id))

    def partition_of(self, node: int) -> int:
        """Return the partition of a global number."""
        return int(np.searchsorted(self.partition_first, node, "right")) - 1

    def partition_of_many(self, nodes: Int32Array) -> Int32Array:
        """Return the partitions (int32[k]) of global numbers (int32[k])."""
        return (np.searchsorted(self.partition_first, nodes, "right") - 1).astype(np.int32)

    def locate(self, node_id: str) -> tuple[int, int] | None:
        """Return the partition and local number of an id, None for an unknown one."""
        node = self.find(node_id)
        if node < 0:
            return None
        partition = self.partition_of(node)
        return partition, node - int(self.partition_first[partition])

    def names(self, nodes: Int32Array) -> list[str]:
        """Return the ids of global numbers (int32[k]). Raises IndexError for an unknown number."""
        names: list[str] = self.ids.names(nodes)
        return names


def write_directory(
    path: Path,
    *,
    ids: NodeIds,
    partition_first: Int32Array,
    partition_names: Sequence[str],
    domains: tuple[Int32Array, Sequence[str]],
    regions: tuple[Int32Array, Sequence[str]],
) -> FileFacts:
    """Write a directory file and return its facts.

    `domains` and `regions` are codes int32[n] by global number (-1 for none), and the names that the codes select.
    """
    arrays: dict[str, Array] = {f"{IDS_PREFIX}{name}": array for name, array in ids.arrays().items()}
    arrays["partition_first"] = partition_first
    arrays |= _prefixed(PARTITION_NAMES_PREFIX, encode_strings(partition_names))
    arrays["domains"] = domains[0]
    arrays |= _prefixed(DOMAIN_NAMES_PREFIX, encode_strings(domains[1]))
    arrays["regions"] = regions[0]
    arrays |= _prefixed(REGION_NAMES_PREFIX, encode_strings(regions[1]))
    return write_array_file(path, arrays)


def read_directory(file: ArrayFile) -> NodeDirectory:
    """Return the directory in an array file, without copying arrays. Raises SnapshotDamaged when there is none."""
    try:
        return NodeDirectory(
            ids=NodeIds.from_arrays(file.prefixed(IDS_PREFIX)),
            partition_first=file.array("partition_first"),
            partition_names=decode_strings(file.prefixed(PARTITION_NAMES_PREFIX)),
            domains=NodeLabels(file.array("domains"), file.prefixed(DOMAIN_NAMES_PREFIX)),
            regions=NodeLabels(file.array("regions"), file.prefixed(REGION_NAMES_PREFIX)),
        )
    except (KeyError, ValueError) as error:
        raise SnapshotDamaged(file.path.name, f"does not hold a directory: {error}") from error


def _prefixed(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {f"{prefix}{name}": array for name, array in arrays.items()}
