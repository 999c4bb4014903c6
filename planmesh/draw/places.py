"""Reads where a graph's nodes lie on the globe from the node-link JSON that the graph was loaded from."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from planmesh.errors import InvalidGraph

Position = tuple[float, float]
"""Longitude and latitude in degrees."""

HALF_TURN: Final = 180.0


@dataclass(frozen=True, slots=True)
class Places:
    """Positions, regions and kinds by node id, and the links."""

    positions: dict[str, Position]
    regions: dict[str, str]
    kinds: dict[str, str]
    links: list[tuple[str, str]]


def read_places(path: Path) -> Places:
    """Read node-link JSON, plain or gzipped, whose nodes have `lon` and `lat`.

    Raises InvalidGraph, naming the node, when one has no position.
    """
    packed = path.read_bytes()
    content = json.loads(gzip.decompress(packed) if path.suffix == ".gz" else packed)
    positions, regions, kinds = {}, {}, {}
    for number, node in enumerate(content["nodes"]):
        name = str(node["id"])
        for field in ("lon", "lat"):
            if not isinstance(node.get(field), int | float):
                raise InvalidGraph(
                    f"expected degrees, got {node.get(field)!r}", source=path.name, record=f"node {number}", field=field
                )
        positions[name] = (float(node["lon"]), float(node["lat"]))
        regions[name] = str(node.get("region", ""))
        kinds[name] = str(node.get("kind", ""))
    links = [(str(link["source"]), str(link["target"])) for link in content.get("edges", content.get("links", []))]
    return Places(positions, regions, kinds, links)


def split_at_date_line(start: Position, end: Position) -> list[list[Position]]:
    """Return the shorter line from `start` to `end` around the globe, as polylines that stay on the map.

    One polyline of two points; two when the line crosses the date line, which is at the map's left and right edges.
    """
    (start_lon, start_lat), (end_lon, end_lat) = start, end
    if abs(end_lon - start_lon) <= HALF_TURN:
        return [[start, end]]
    edge = HALF_TURN if start_lon > 0 else -HALF_TURN
    unrolled_end = end_lon + 2 * edge
    share = (edge - start_lon) / (unrolled_end - start_lon) if unrolled_end != start_lon else 0.0
    crossing_lat = start_lat + share * (end_lat - start_lat)
    return [[start, (edge, crossing_lat)], [(-edge, crossing_lat), end]]


def path_lines(positions: Sequence[Position]) -> list[list[Position]]:
    """Return a path through `positions` as polylines that stay on the map."""
    lines: list[list[Position]] = []
    for start, end in pairwise(positions):
        first, *rest = split_at_date_line(start, end)
        if lines and lines[-1][-1] == first[0]:
            lines[-1].extend(first[1:])
        else:
            lines.append(first)
        lines.extend(rest)
    return lines
