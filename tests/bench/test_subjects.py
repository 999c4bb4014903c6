from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bench import graphs
from bench.graph_making import checked_pairs, make_graph
from bench.graphs import BenchGraph, open_graph
from bench.statistics import same_cost
from bench.subject import SUBJECTS, Unavailable, subject_kind
from planmesh.ingest import EdgeRows, open_source
from planmesh.search.reference import dijkstra

IN_THE_MAIN_ENVIRONMENT = ("planmesh-search", "networkx", "scipy", "redis-by-hand")
PAIRS = 20


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Redirect the cache to a folder of the test."""
    monkeypatch.setattr("bench.graphs.CACHE", tmp_path)
    monkeypatch.setattr("bench.graph_making.CACHE", tmp_path)
    monkeypatch.setitem(graphs.SIZES, "1k", 400)
    return tmp_path


@pytest.mark.parametrize("name", IN_THE_MAIN_ENVIRONMENT)
@pytest.mark.parametrize("kind", ["service", "grid", "lattice"])
def test_answers_are_those_of_plain_dijkstra(name: str, kind: str, cache: Path, tmp_path: Path) -> None:
    graph = make_graph(f"{kind}-1k")
    subject = subject_kind(name).make()
    own = tmp_path / "own"
    own.mkdir()
    subject.prepare(graph, own)
    try:
        subject.load()
        random = np.random.default_rng(3)
        for start, goal in random.integers(0, graph.graph.node_count, (PAIRS, 2)).tolist():
            distances, _, _ = dijkstra(graph.graph.first_out, graph.graph.head, graph.graph.weight, start)
            assert same_cost(subject.query(start, goal), float(distances[goal])), (start, goal)
    finally:
        subject.close()


@pytest.mark.parametrize("kind", ["service", "grid", "lattice"])
def test_a_graph_is_read_as_it_was_made(kind: str, cache: Path) -> None:
    made, opened = make_graph(f"{kind}-1k"), open_graph(f"{kind}-1k")
    assert made.graph.node_count == 400
    np.testing.assert_array_equal(made.graph.head, opened.graph.head)
    np.testing.assert_array_equal(made.graph.weight, opened.graph.weight)
    assert opened.source.is_file()
    np.testing.assert_array_equal(opened.tails(), np.repeat(np.arange(400), np.diff(opened.graph.first_out)))


def test_the_file_that_a_mesh_loads_is_the_same_graph(cache: Path) -> None:
    for kind in ("service", "grid", "lattice"):
        graph = make_graph(f"{kind}-1k")
        cheapest: dict[tuple[str, str], float] = {}
        for rows in open_source(graph.source, None).batches():
            assert isinstance(rows, EdgeRows)
            for source, target, cost in zip(rows.sources, rows.targets, rows.costs.tolist(), strict=True):
                if source != target:
                    cheapest[source, target] = min(cost, cheapest.get((source, target), cost))
        assert cheapest == named_edges(graph)


def named_edges(graph: BenchGraph) -> dict[tuple[str, str], float]:
    ends = zip(graph.tails().tolist(), graph.graph.head.tolist(), graph.graph.weight.tolist(), strict=True)
    return {(graph.node_id(tail), graph.node_id(head)): cost for tail, head, cost in ends}


def test_pairs_have_a_path_and_its_cost(cache: Path) -> None:
    graph = make_graph("service-1k")
    pairs = checked_pairs(graph, PAIRS)
    assert pairs.pairs.shape == (PAIRS, 2)
    for (start, goal), cost in zip(pairs.pairs.tolist(), pairs.costs.tolist(), strict=True):
        distances, _, _ = dijkstra(graph.graph.first_out, graph.graph.head, graph.graph.weight, start)
        assert np.isfinite(cost)
        assert cost == distances[goal]
    again = checked_pairs(graph, PAIRS)
    np.testing.assert_array_equal(again.pairs, pairs.pairs)


def test_fractions_are_made_whole_by_the_least_factor(cache: Path) -> None:
    assert make_graph("service-1k").cost_denominator == 1
    denominator = make_graph("grid-1k").cost_denominator
    weight = make_graph("grid-1k").graph.weight
    assert denominator in (4, 16)
    np.testing.assert_array_equal(weight * denominator, np.floor(weight * denominator))


@pytest.mark.parametrize("name", ["neo4j-gds", "falkordb"])
def test_a_missing_server_is_reported(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_NEO4J_URI", raising=False)
    monkeypatch.delenv("BENCH_FALKORDB_URL", raising=False)
    monkeypatch.setattr("bench.subjects.neo4j_gds.JARS", cache / "none")
    with pytest.raises(Unavailable, match="BENCH_"):
        subject_kind(name).make().prepare(make_graph("service-1k"), cache)


@pytest.mark.skipif(find_spec("routingkit_cch") is not None, reason="the benchmark's environment has the package")
def test_a_missing_package_is_reported(cache: Path) -> None:
    with pytest.raises(Unavailable, match="routingkit"):
        subject_kind("routingkit-cch").make().prepare(make_graph("service-1k"), cache)


def test_every_subject_can_be_made() -> None:
    assert len({kind.name for kind in SUBJECTS}) == len(SUBJECTS)
    for kind in SUBJECTS:
        kind.make()
        assert kind.above or kind.nodes_max == 10_000_000, "a skipped size has a reason"
