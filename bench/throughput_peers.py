"""Figures of the throughput page beside peers and from models: a matrix, searches in one process, growth, a price."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from bench.graph_making import make_graph
from bench.graphs import NEW_YORK, PAIR_SEED, BenchGraph
from bench.matrix import measure_mesh, measure_peer
from bench.scaling.growth import mesh_of
from bench.scaling.record import read_record
from bench.scaling.report import BASE_NODES
from bench.scaling.simulation import simulate
from bench.statistics import same_cost
from bench.subject import Subject
from bench.subjects.planmesh_search import PlanmeshSearch
from bench.subjects.routingkit import RoutingKit
from bench.throughput_report import Row
from planmesh.advise import advise, read_figures
from planmesh.advise.advice import Question

SIDE: Final = 1_000
MATRIX_ROUNDS: Final = 3
SEARCHES: Final = 2_000
SEARCH_ROUNDS: Final = 5
ADVISED_NODES: Final = 10_000_000
ADVISED_QPS: Final = 50_000.0
GROWTH: Final = ((8, 10_000.0), (64, 50_000.0), (400, 50_000.0))
"""Workers, and the simulated plans/s to reach."""

Say = Callable[[str], None]


def peer_rows(roads: str, say: Say) -> Iterator[Row]:
    """Measure, and yield the figures: the matrix on the graph `roads`, and the others."""
    yield from matrix_rows(make_graph(roads), say)
    yield search_row(make_graph(NEW_YORK), say)
    yield from model_rows(say)


def matrix_rows(graph: BenchGraph, say: Say) -> Iterator[Row]:
    """Measure a matrix through a mesh, and the peer's queries one by one, without paths."""
    draw = np.random.default_rng(PAIR_SEED)
    sources, targets = draw.integers(0, graph.graph.node_count, (2, SIDE)).astype(np.int32)
    ours = measure_mesh(graph, sources, targets, MATRIX_ROUNDS)
    assert not ours["wrong"], f"{ours['wrong']} wrong costs in a matrix"
    seconds = statistics.median(ours["seconds"])
    say(f"matrix of {SIDE} x {SIDE} on {graph.name}: {seconds:.2f} s; now the peer")
    peer = measure_peer(graph, sources, targets)["seconds"]
    what = f"`PlanMatrix`, {SIDE:,} sources and targets, {graph.name}"
    yield Row(what, 3.0, seconds, None, " s", smaller=True)
    yield Row("the same, times as fast as routingkit-cch one by one", 3.0, peer / seconds, None)


def search_row(graph: BenchGraph, say: Say) -> Row:
    """Measure searches with paths in this process, in turns with the peer."""
    subjects: list[Subject] = [PlanmeshSearch(), RoutingKit()]
    for subject in subjects:
        subject.prepare(graph, Path())
        subject.load()
    pairs = np.random.default_rng(PAIR_SEED).integers(0, graph.graph.node_count, (SEARCHES, 2)).tolist()
    ratios = []
    for number in range(SEARCH_ROUNDS + 1):
        took_s, costs = [], []
        for subject in subjects:
            begun_s = time.perf_counter()
            costs.append([subject.query(start, goal) for start, goal in pairs])
            took_s.append(time.perf_counter() - begun_s)
        assert all(map(same_cost, *costs)), "our search and the peer's give different costs"
        if number:
            ratios.append(took_s[0] / took_s[1])
    say(f"search in one process on {graph.name}: {statistics.median(ratios):.2f} times the peer's time")
    what = f"search in one process with its path ÷ routingkit-cch, {graph.name}"
    return Row(what, 1.0, statistics.median(ratios), None, smaller=True)


def model_rows(say: Say) -> Iterator[Row]:
    """Simulate growth, and price ten million nodes, from the costs in docs/benchmarks/scaling.json."""
    costs = read_record().costs(BASE_NODES)
    for workers, reach in GROWTH:
        mesh = mesh_of(workers, costs)
        found = simulate(mesh, costs, seconds=0.4, warm_up_s=0.4).plans_per_second
        say(f"{workers} simulated workers: {found:,.0f} plans/s")
        what = f"simulated plans/s with {workers} workers, {mesh.redis_servers} Redis servers"
        yield Row(what, reach, found, None)
    advice = advise(read_figures(), Question(ADVISED_NODES, ADVISED_QPS, False, "aws", None))
    what = f"{ADVISED_NODES:,} nodes, {ADVISED_QPS:,.0f} plans/s by `planmesh advise`"
    yield Row(what, 4_000, advice.best.monthly_usd, None, " USD a month", smaller=True)
