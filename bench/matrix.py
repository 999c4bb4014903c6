"""Measure a matrix through a mesh beside routingkit-cch's queries one by one, on the same graph, nodes and machine.

python -m bench.matrix [--graph new-york] [--side 1000] [--rounds 5]

It prints one JSON object. `seconds` are those of `plan_matrix`, caller included; `processor_s` is the processor time of
all processes of the mesh and of the caller. The peer answers a sample of the pairs, without paths, and its time is
scaled to all of them. Rows are compared with a plain search.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from bench.graph_making import make_graph
from bench.graphs import NEW_YORK, PAIR_SEED, BenchGraph
from bench.statistics import same_cost
from bench.subject import Unavailable
from bench.subjects.planmesh_mesh import PlanmeshMesh
from bench.subjects.routingkit import RoutingKit
from planmesh.client import Matrix
from planmesh.graph.model import Int32Array
from planmesh.search.reference import dijkstra

PEER_PAIRS: Final = 20_000
"""Pairs that the peer answers one by one."""

CHECKED_ROWS: Final = 20
"""Rows that are compared with a plain search, all of their costs."""


def processor_s(pid: int) -> float:
    """Return the processor time of this process, of process `pid` and of its descendants, in seconds."""
    mesh = psutil.Process(pid)
    processes = [psutil.Process(), mesh, *mesh.children(recursive=True)]
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def wrong_costs(graph: BenchGraph, matrix: Matrix, sources: Int32Array, targets: Int32Array) -> int:
    """Return how many costs of the first CHECKED_ROWS rows differ from a plain search's."""
    wrong = 0
    arrays = graph.graph
    for source, row in zip(sources[:CHECKED_ROWS].tolist(), matrix.rows, strict=False):
        expected = dijkstra(arrays.first_out, arrays.head, arrays.weight, source)[0][targets].tolist()
        wrong += sum(not same_cost(cost, other) for cost, other in zip(row, expected, strict=True))
    return wrong


def measure_mesh(graph: BenchGraph, sources: Int32Array, targets: Int32Array, rounds: int) -> dict[str, Any]:
    """Load the graph into a mesh of its own, and return the times of `rounds` matrices after a first one."""
    starts, goals = ([graph.node_id(int(node)) for node in nodes] for nodes in (sources, targets))
    with tempfile.TemporaryDirectory() as folder:
        mesh = PlanmeshMesh()
        mesh.prepare(graph, Path(folder))
        try:
            mesh.load()
            matrix = mesh.client.plan_matrix(starts, goals)
            seconds: list[float] = []
            used: list[float] = []
            for _ in range(rounds):
                begun_s, before_s = time.perf_counter(), processor_s(mesh.process.pid)
                mesh.client.plan_matrix(starts, goals)
                seconds.append(round(time.perf_counter() - begun_s, 3))
                used.append(round(processor_s(mesh.process.pid) - before_s, 3))
        finally:
            mesh.close()
    return {
        "seconds": seconds,
        "processor_s": used,
        "checked": min(CHECKED_ROWS, len(sources)) * len(targets),
        "wrong": wrong_costs(graph, matrix, sources, targets),
    }


def measure_peer(graph: BenchGraph, sources: Int32Array, targets: Int32Array) -> dict[str, Any]:
    """Return the time in which routingkit-cch answers all pairs one by one, from a sample of PEER_PAIRS."""
    peer = RoutingKit()
    peer.prepare(graph, Path())
    peer.load()
    draw = np.random.default_rng(PAIR_SEED)
    pairs = list(zip(draw.choice(sources, PEER_PAIRS).tolist(), draw.choice(targets, PEER_PAIRS).tolist(), strict=True))
    for start, goal in pairs[: PEER_PAIRS // 10]:
        peer.search.run(start, goal)
    begun_s, before_s = time.perf_counter(), time.process_time()
    for start, goal in pairs:
        peer.search.run(start, goal)
    scale = len(sources) * len(targets) / PEER_PAIRS
    return {
        "seconds": round((time.perf_counter() - begun_s) * scale, 3),
        "processor_s": round((time.process_time() - before_s) * scale, 3),
        "sampled_pairs": PEER_PAIRS,
    }


def main() -> int:
    """Measure and print. The exit code is 1 if a cost was wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.matrix", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--graph", default=NEW_YORK)
    parser.add_argument("--side", type=int, default=1_000, help="Sources, and targets.")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    graph = make_graph(asked.graph)
    draw = np.random.default_rng(PAIR_SEED)
    sources, targets = draw.integers(0, graph.graph.node_count, (2, asked.side)).astype(np.int32)
    found: dict[str, Any] = {"graph": graph.name, "nodes": graph.graph.node_count, "side": asked.side}
    found["mesh"] = measure_mesh(graph, sources, targets, asked.rounds)
    try:
        found["routingkit-cch"] = measure_peer(graph, sources, targets)
        for what in ("seconds", "processor_s"):
            ratio = found["routingkit-cch"][what] / statistics.median(found["mesh"][what])
            found[f"{what}_peer_to_mesh"] = round(ratio, 2)
    except Unavailable as error:
        found["routingkit-cch"] = str(error)
    sys.stdout.write(json.dumps(found) + "\n")
    return 1 if found["mesh"]["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
