"""What the same kind of change costs peers: routingkit-cch, Neo4j with Graph Data Science, and a search without index.

A peer's figure is the time from a change of one cost to the first answer that has it, and the latency of its queries.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.graphs import PAIR_SEED, BenchGraph
from bench.live_report import Row
from bench.subject import Unavailable
from bench.subjects.neo4j_gds import Neo4jGds
from bench.subjects.routingkit import RoutingKit
from planmesh.search.reference import BidirectionalDijkstra

CHANGES: Final = 20
QUERIES: Final = 200
ROUTINGKIT_NODES_MAX: Final = 300_000
"""The order of a service-like graph of a million nodes takes more than ten minutes."""
NEO4J_NODES_MAX: Final = 100_000
"""Larger graphs take many minutes to create in Neo4j."""


def peer_rows(graph: BenchGraph) -> Iterator[Row]:
    """Measure the peers that can run here. The others have a row that says why not."""
    yield from _plain(graph)
    for name, measure in (("routingkit-cch", _routingkit), ("Neo4j + GDS", _neo4j)):
        try:
            yield from measure(graph)
        except Unavailable as error:
            yield Row(name, None, None, detail=f"not measured: {error}")


def _pairs(graph: BenchGraph, count: int) -> list[tuple[int, int]]:
    drawn = np.random.default_rng(PAIR_SEED).integers(0, graph.graph.node_count, (count, 2)).tolist()
    return [(start, goal) for start, goal in drawn]


def _query_p95_ms(query: Callable[[int, int], float], pairs: list[tuple[int, int]]) -> float:
    took_ms = []
    for start, goal in pairs:
        began_s = time.perf_counter()
        query(start, goal)
        took_ms.append(1e3 * (time.perf_counter() - began_s))
    return float(np.percentile(took_ms, 95))


def _plain(graph: BenchGraph) -> Iterator[Row]:
    search = BidirectionalDijkstra(graph.graph)
    search.cost(0, 0)
    p95 = _query_p95_ms(search.cost, _pairs(graph, QUERIES // 4))
    yield Row("bidirectional Dijkstra on today's edges, in one process: query p95", None, p95, " ms")


def _routingkit(graph: BenchGraph) -> Iterator[Row]:
    if graph.graph.node_count > ROUTINGKIT_NODES_MAX:
        raise Unavailable(f"ordering more than {ROUTINGKIT_NODES_MAX:,} nodes takes too long; run service-100k")
    peer = RoutingKit()
    peer.prepare(graph, Path())
    peer.load()
    yield Row("routingkit-cch, in one process: order and build", None, sum(peer.stages_s.values()), " s")
    one, all_ = [], []
    updater: Any = peer.library.CCHMetricPartialUpdater(peer.hierarchy)
    draw = np.random.default_rng(PAIR_SEED)
    for edge in draw.integers(0, len(peer.weights), CHANGES).tolist():
        began_s = time.perf_counter()
        del peer.search  # no query may use the metric meanwhile
        updater.apply(peer.metric, {edge: peer.weights[edge] * 2})
        peer.search = peer.library.CCHQuery(peer.metric)
        one.append(1e3 * (time.perf_counter() - began_s))
    for _ in range(3):
        began_s = time.perf_counter()
        peer.metric = peer.library.CCHMetric(peer.hierarchy, peer.weights)
        all_.append(1e3 * (time.perf_counter() - began_s))
    yield Row("the same: one cost changed (`CCHMetricPartialUpdater`), p95", None, float(np.percentile(one, 95)), " ms")
    yield Row("the same: all costs customised again", None, float(np.median(all_)), " ms")
    peer.search = peer.library.CCHQuery(peer.metric)
    yield Row("the same: query p95", None, _query_p95_ms(peer.query, _pairs(graph, QUERIES)), " ms")


def _neo4j(graph: BenchGraph) -> Iterator[Row]:
    if graph.graph.node_count > NEO4J_NODES_MAX:
        raise Unavailable(f"at most {NEO4J_NODES_MAX:,} nodes are created in Neo4j; run it with service-100k")
    peer = Neo4jGds()
    with tempfile.TemporaryDirectory() as folder:
        try:
            peer.prepare(graph, Path(folder))
            peer.load()
            took = []
            for number in range(3):
                began_s = time.perf_counter()
                peer.session.run("MATCH ()-[e:BENCH_EDGE]->() WITH e LIMIT 1 SET e.cost = $cost", cost=number).consume()
                peer.session.run("CALL gds.graph.drop('bench', false)").consume()
                peer.project()
                took.append(time.perf_counter() - began_s)
            yield Row("Neo4j + GDS: one cost changed, projected again", None, 1e3 * float(np.median(took)), " ms")
            yield Row("the same: query p95", None, _query_p95_ms(peer.query, _pairs(graph, QUERIES // 4)), " ms")
        finally:
            peer.close()
