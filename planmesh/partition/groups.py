"""Groups of nodes by domain, by region or by both. Size bounds then turn them into partitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.graph.model import Int32Array, Int64Array

UNASSIGNED: Final = "unassigned"
"""Name of the group of nodes without a domain or region."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A label, such as a domain, for every node: `names[code[v]]`, with `code` int32[n].

    A node has no label if its code is -1 or the name is empty.
    """

    code: Int32Array
    names: Sequence[str]

    def any(self) -> bool:
        """Return whether at least one node has a label."""
        named = np.fromiter((bool(name) for name in self.names), np.bool_, len(self.names))
        used = self.code[self.code >= 0]
        return bool(len(used) and named[used].any())


@dataclass(frozen=True, slots=True)
class Groups:
    """A group for every node: `of` int32[n] from 0 to k - 1. No group is empty, and all names differ.

    `region` int32[k] is the region of each group, that of most of its nodes; None without regions.
    """

    of: Int32Array
    names: list[str]
    region: Int32Array | None

    def __len__(self) -> int:
        return len(self.names)

    def size(self) -> Int64Array:
        """Return the number of nodes in each group, int64[k]."""
        return np.bincount(self.of, minlength=len(self)).astype(np.int64)


def group_by(labels: Labels, regions: Labels | None) -> Groups:
    """Make a group of the nodes of each label, and one of the nodes without, named UNASSIGNED.

    With `regions`, each group gets the region of most of its nodes.
    """
    code, names = _normalised(labels)
    of, names = _compact(code, names)
    if regions is None:
        return Groups(of, unique(names), None)
    region_code, _ = _normalised(regions)
    return Groups(of, unique(names), _majority(of, len(names), region_code))


def group_by_both(domains: Labels, regions: Labels) -> Groups:
    """Make a group of the nodes of each pair of region and domain, named "region/domain"."""
    domain_code, domain_names = _normalised(domains)
    region_code, region_names = _normalised(regions)
    pair = region_code.astype(np.int64) * len(domain_names) + domain_code
    pairs, of = np.unique(pair, return_inverse=True)
    region, domain = np.divmod(pairs, len(domain_names))
    names = [f"{region_names[r]}/{domain_names[d]}" for r, d in zip(region.tolist(), domain.tolist(), strict=True)]
    return Groups(of.astype(np.int32), unique(names), region.astype(np.int32))


def unique(names: Sequence[str]) -> list[str]:
    """Return distinct names: a name that appeared before gets a number, such as "name (2)"."""
    taken = set(names)
    seen: set[str] = set()
    result = []
    for name in names:
        candidate, number = name, 2
        while candidate in seen or (candidate != name and candidate in taken):
            candidate, number = f"{name} ({number})", number + 1
        seen.add(candidate)
        result.append(candidate)
    return result


def _normalised(labels: Labels) -> tuple[Int32Array, list[str]]:
    """Return codes and names in which equal names share a code and nodes without a label have that of UNASSIGNED."""
    names: dict[str, int] = {}
    code_of = [names.setdefault(name or UNASSIGNED, len(names)) for name in labels.names]
    code_of.append(names.setdefault(UNASSIGNED, len(names)))  # code -1 selects the last entry
    code: Int32Array = np.asarray(code_of, np.int32)[labels.code]
    return code, list(names)


def _compact(code: Int32Array, names: Sequence[str]) -> tuple[Int32Array, list[str]]:
    """Drop the names that no node has, and renumber the codes."""
    used = np.bincount(code, minlength=len(names)) > 0
    number = np.cumsum(used) - 1
    return number[code].astype(np.int32), [name for name, is_used in zip(names, used.tolist(), strict=True) if is_used]


def _majority(of: Int32Array, groups: int, region_code: Int32Array) -> Int32Array:
    """Return the region of most nodes of each group, int32[k]; of several, the one with the lowest code."""
    regions = int(region_code.max()) + 1 if len(region_code) else 1
    pairs, counts = np.unique(of.astype(np.int64) * regions + region_code, return_counts=True)
    group, region = np.divmod(pairs, regions)
    by_count = np.lexsort((region, -counts, group))
    _, first = np.unique(group[by_count], return_index=True)
    assert len(first) == groups, "no group is empty"
    majority: Int32Array = region[by_count][first].astype(np.int32)
    return majority
