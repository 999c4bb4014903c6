"""The benchmark's graphs in build/bench/cache, where `bench.graph_making` puts them.

Imports little, because every subject's process starts with it.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from planmesh.graph.generate import DOMAIN_NODES, REGION_DOMAINS, IdScheme, grid, service
from planmesh.graph.model import Float64Array, Graph, Int32Array

ROOT: Final = Path(__file__).resolve().parent.parent
CACHE: Final = ROOT / "build" / "bench" / "cache"
GRAPH_SEED: Final = 1
PAIR_SEED: Final = 2

ARRAYS: Final = "arrays.npz"
PLACES: Final = "places.npz"
EDGES: Final = "edges.parquet"
NODES: Final = "edges.nodes.parquet"

NEW_YORK: Final = "new-york"
ROADS: Final = "roads"
SIZES: Final = {"1k": 1_000, "10k": 10_000, "100k": 100_000, "1m": 1_000_000, "10m": 10_000_000}
KINDS: Final = {
    "service": "domains of services with hubs and gateways, 0.2 % stray edges (`planmesh generate service`)",
    "grid": "streets with fast lines, fractions as costs (`planmesh generate grid`)",
    "lattice": "a full square of streets, all costs random: no fast lines to follow, hard for every index",
    NEW_YORK: "New York's roads, distances (9th DIMACS challenge)",
    ROADS: "New York's roads four times, mirrored at the seams, all costs random",
}
SMALL: Final = ("service-10k", "service-100k", "grid-10k", "grid-100k", NEW_YORK)
FULL: Final = (*SMALL, "service-1m", "grid-1m", "lattice-1m", "service-10m")


@dataclass(frozen=True, slots=True)
class BenchGraph:
    """A graph in adjacency arrays, and the ids of its nodes.

    `latitude`, `longitude` are float64[n] or None. `source` is the file that a mesh loads, `nodes_file` the one with
    its
    nodes. Nodes of a service-like graph are in domains of `domain_nodes` and regions of `region_nodes`; else both are
    0.
    """

    name: str
    graph: Graph
    latitude: Float64Array | None
    longitude: Float64Array | None
    source: Path
    nodes_file: Path | None
    ids: IdScheme | None
    domain_nodes: int = 0
    region_nodes: int = 0

    def node_id(self, node: int) -> str:
        """Return the node's id in the file."""
        if self.ids is None:
            return str(node + 1)  # DIMACS counts from 1
        return self.ids.packed(np.array([node], np.int64)).tobytes().decode("ascii")

    def tails(self) -> Int32Array:
        """Return the source of each edge, int32[m]."""
        return np.repeat(np.arange(self.graph.node_count, dtype=np.int32), np.diff(self.graph.first_out))

    @property
    def cost_denominator(self) -> int:
        """Return the least power of two that, as a factor, makes every cost a whole number."""
        denominator = 1
        while not np.array_equal(self.graph.weight * denominator, np.floor(self.graph.weight * denominator)):
            denominator *= 2
        return denominator


def data_folder() -> Path:
    """Return the folder of the larger graphs, which may not exist."""
    return Path(os.environ.get("PLANMESH_TEST_DATA") or ROOT.parent / "shared" / "data")


def new_york_file() -> Path:
    """Return the path of New York's roads."""
    return data_folder() / "dimacs-ny" / "USA-road-d.NY.gr.gz"


def nodes_wanted(name: str) -> int:
    """Return the approximate number of nodes of a graph, before it is made."""
    return 264_346 if name == NEW_YORK else SIZES[name.rpartition("-")[2]]


def kind_of(name: str) -> str:
    """Return the kind of a graph, one of KINDS."""
    return name if name == NEW_YORK else name.rpartition("-")[0]


def lattice_ids(width: int) -> IdScheme:
    """Return the scheme of a lattice's node ids."""
    return IdScheme.for_nodes("r", "c", width * width, width)


def open_graph(name: str) -> BenchGraph:
    """Return a graph that is in the cache."""
    folder = CACHE / name
    with np.load(folder / ARRAYS) as found:
        graph = Graph(found["first_out"], found["head"], found["weight"])
    kind, nodes = kind_of(name), graph.node_count
    source, beside = folder / EDGES, folder / NODES
    if kind == NEW_YORK:
        with np.load(folder / PLACES) as found:
            latitude, longitude = found["latitude"], found["longitude"]
        roads = new_york_file()
        return BenchGraph(name, graph, latitude, longitude, roads, roads.with_name("USA-road-d.NY.co.gz"), None)
    if kind == ROADS:
        with np.load(folder / PLACES) as found:
            latitude, longitude = found["latitude"], found["longitude"]
        return BenchGraph(name, graph, latitude, longitude, source, None, lattice_ids(math.isqrt(nodes - 1) + 1))
    if kind == "service":
        ids = service(nodes, GRAPH_SEED).ids
        region_nodes = DOMAIN_NODES * REGION_DOMAINS
        return BenchGraph(name, graph, None, None, source, beside, ids, DOMAIN_NODES, region_nodes)
    width = math.isqrt(nodes - 1) + 1
    row, column = np.divmod(np.arange(nodes), width)
    places = row.astype(np.float64), column.astype(np.float64)
    if kind == "lattice":
        return BenchGraph(name, graph, *places, source, None, lattice_ids(width))
    return BenchGraph(name, graph, *places, source, beside, grid(nodes, GRAPH_SEED).ids)
