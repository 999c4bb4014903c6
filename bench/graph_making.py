"""Makes the benchmark's graphs, and pairs with reference costs. Each is made once and kept in build/bench/cache."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.graphs import (
    ARRAYS,
    CACHE,
    EDGES,
    GRAPH_SEED,
    NEW_YORK,
    PAIR_SEED,
    PLACES,
    ROADS,
    BenchGraph,
    kind_of,
    lattice_ids,
    new_york_file,
    nodes_wanted,
    open_graph,
)
from planmesh.graph.adjacency import build_graph
from planmesh.graph.generate import COST_HIGHEST, COST_LOWEST, GeneratedGraph, IdScheme, grid, service
from planmesh.graph.model import Float64Array, Graph, Int32Array, Int64Array
from planmesh.ingest.write import write_generated
from planmesh.search.reference import BidirectionalDijkstra

SEAM_NODES: Final = 300
"""Roads that cross each seam of the mirrored network."""


def make_graph(name: str) -> BenchGraph:
    """Return a graph; make it if it is not in the cache. The name determines the graph."""
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ARRAYS).exists():
        kind, nodes = kind_of(name), nodes_wanted(name)
        if kind == NEW_YORK:
            _new_york(folder)
        elif kind == ROADS:
            _roads(folder)
        elif kind == "lattice":
            _lattice(folder, math.isqrt(nodes))
        else:
            _generated(folder, service(nodes, GRAPH_SEED) if kind == "service" else grid(nodes, GRAPH_SEED))
    return open_graph(name)


def _generated(folder: Path, generated: GeneratedGraph) -> None:
    write_generated(generated, folder / EDGES)
    edges = generated.edges()
    _save(folder, build_graph(generated.nodes, edges.tails, edges.heads, edges.costs)[0])


def _lattice(folder: Path, width: int) -> None:
    """Make a square grid of streets. Each direction of a street has its own cost."""
    count = width * width
    ids = lattice_ids(width)
    node = np.arange(count)
    right, down = node[node % width + 1 < width], node[node + width < count]
    tails = np.concatenate([right, down, right + 1, down + width]).astype(np.int32)
    heads = np.concatenate([right + 1, down + width, right, down]).astype(np.int32)
    costs = np.random.default_rng(GRAPH_SEED).integers(COST_LOWEST, COST_HIGHEST + 1, len(tails)).astype(np.float64)
    table = pa.table({"source": _names(ids, tails), "target": _names(ids, heads), "cost": costs})
    pq.write_table(table, folder / EDGES, row_group_size=1 << 17)
    _save(folder, build_graph(count, tails, heads, costs)[0])


def _roads(folder: Path) -> None:
    """Make a road network of a million nodes: New York's, mirrored eastward and then northward.

    At a seam, the SEAM_NODES nodes closest to it lead to their mirror images. Each direction of a road has its own
    random cost, so that no road is faster than others.
    """
    roads = new_york_file()
    arcs = _dimacs_rows(roads, "a")[:, :2] - 1
    place = _dimacs_rows(roads.with_name("USA-road-d.NY.co.gz"), "v").astype(np.float64)
    longitude, latitude = place[:, 1], place[:, 2]
    for axis in (1, 0):
        along = (latitude, longitude)[axis]
        count, edge = len(along), along.max()
        seam = np.argsort(along, kind="stable")[-SEAM_NODES:]
        crossing = np.stack([seam, seam + count], axis=1)
        arcs = np.concatenate([arcs, arcs + count, crossing, crossing[:, ::-1]])
        mirrored = np.concatenate([along, 2 * edge - along])
        other = np.concatenate([(longitude, latitude)[axis]] * 2)
        latitude, longitude = (other, mirrored) if axis else (mirrored, other)
    np.savez(folder / PLACES, latitude=latitude, longitude=longitude)
    tails, heads = (np.ascontiguousarray(ends).astype(np.int32) for ends in arcs.T)
    costs = np.random.default_rng(GRAPH_SEED).integers(COST_LOWEST, COST_HIGHEST + 1, len(tails)).astype(np.float64)
    ids = lattice_ids(math.isqrt(len(latitude) - 1) + 1)
    table = pa.table({"source": _names(ids, tails), "target": _names(ids, heads), "cost": costs})
    pq.write_table(table, folder / EDGES, row_group_size=1 << 17)
    _save(folder, build_graph(len(latitude), tails, heads, costs)[0])


def _names(ids: IdScheme, nodes: Int32Array) -> pa.Array:
    packed = ids.packed(nodes)
    offsets = np.arange(len(packed) + 1, dtype=np.int32) * np.int32(packed.shape[1])
    return pa.StringArray.from_buffers(len(packed), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(packed)))


def _new_york(folder: Path) -> None:
    roads = new_york_file()
    place = _dimacs_rows(roads.with_name("USA-road-d.NY.co.gz"), "v")
    np.savez(folder / PLACES, latitude=place[:, 2].astype(np.float64), longitude=place[:, 1].astype(np.float64))
    rows = _dimacs_rows(roads, "a")
    tails, heads = (rows[:, 0] - 1).astype(np.int32), (rows[:, 1] - 1).astype(np.int32)
    _save(folder, build_graph(len(place), tails, heads, rows[:, 2].astype(np.float64))[0])


def _dimacs_rows(path: Path, letter: str) -> Int64Array:
    with gzip.open(path, "rt") as file:
        lines = [line[2:] for line in file if line.startswith(letter)]
    return np.array(" ".join(lines).split(), np.int64).reshape(len(lines), -1)


def _save(folder: Path, graph: Graph) -> None:
    aside = folder / f"new-{ARRAYS}"
    np.savez(aside, first_out=graph.first_out, head=graph.head, weight=graph.weight)
    aside.rename(folder / ARRAYS)


@dataclass(frozen=True, slots=True)
class CheckedPairs:
    """Pairs of different connected nodes, int64[k, 2], and the costs of the cheapest paths, float64[k]."""

    pairs: Int64Array
    costs: Float64Array
    unreachable: int
    """Number of drawn pairs without a path. They are left out, because fruitless searches would blur the figures."""


def checked_pairs(graph: BenchGraph, count: int) -> CheckedPairs:
    """Draw pairs uniformly and compute their costs. Cached, because that takes long at ten million nodes."""
    kept = CACHE / graph.name / f"pairs-{count}.npz"
    if not kept.exists():
        search = BidirectionalDijkstra(graph.graph)
        random = np.random.default_rng(PAIR_SEED)
        pairs: list[tuple[int, int]] = []
        costs: list[float] = []
        drawn = 0
        while len(pairs) < count:
            start, goal = random.integers(0, graph.graph.node_count, 2).tolist()
            if start == goal:
                continue
            drawn += 1
            cost = search.cost(start, goal)
            if math.isfinite(cost):
                pairs.append((start, goal))
                costs.append(cost)
        aside = kept.with_name(f"new-{kept.name}")
        np.savez(aside, pairs=np.array(pairs), costs=np.array(costs), unreachable=np.array(drawn - count))
        aside.rename(kept)
    with np.load(kept) as found:
        return CheckedPairs(found["pairs"], found["costs"], int(found["unreachable"]))
