from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import render, write_report
from bench.results import NotRun, Results, Row, rows_json
from bench.targets import findings

KEYS = {"graph", "nodes", "edges", "subject", "load_s", "memory_mb", "p50_ms", "p95_ms", "exact", "checked"}


def row(graph: str, nodes: int, subject: str, p50_ms: float, **more: float) -> Row:
    facts = {"load_s": 10.0, "memory_mb": 500.0, "p95_ms": 2 * p50_ms, "checked": 1_000, "wrong": 0} | more
    return Row(
        graph=graph,
        nodes=nodes,
        edges=4 * nodes,
        subject=subject,
        p50_ms=p50_ms,
        load_s=facts["load_s"],
        memory_mb=facts["memory_mb"],
        p95_ms=facts["p95_ms"],
        exact=not facts["wrong"],
        checked=int(facts["checked"]),
        wrong=int(facts["wrong"]),
    )


@pytest.fixture
def results() -> Results:
    """A run up to 10 M in which every target was reached."""
    rows = [
        row("service-100k", 100_000, "planmesh-mesh", 4.0),
        row("new-york", 264_346, "planmesh-search", 0.2),
        row("new-york", 264_346, "routingkit-cch", 0.16),
        row("service-1m", 1_000_000, "planmesh-search", 0.3),
        row("service-1m", 1_000_000, "planmesh-mesh", 5.0),
        row("service-1m", 1_000_000, "networkit", 150.0),
        row("service-1m", 1_000_000, "neo4j-gds", 250.0),
        row("lattice-1m", 1_000_000, "planmesh-search", 1.0),
        row("lattice-1m", 1_000_000, "routingkit-cch", 3.3),
        row("lattice-1m", 1_000_000, "planmesh-mesh", 5.0),
        row("lattice-1m", 1_000_000, "networkit", 147.0),
        row("lattice-1m", 1_000_000, "pgrouting", 3_800.0),
        row("grid-1m", 1_000_000, "planmesh-search", 1.0),
        row("grid-1m", 1_000_000, "routingkit-cch", 1.1),
        row("service-10m", 10_000_000, "planmesh-mesh", 8.0, load_s=800.0, memory_mb=11_000.0),
        row("service-10m", 10_000_000, "planmesh-mesh-cached", 1.0),
    ]
    throughput = {
        "concurrency": 64,
        "queries": 5_000,
        "tasks": 900,
        "errors": {},
        "latency_ms": {"p50": 60.0, "p99": 120.0},
        "plans_per_second": 500.0,
        "floor_per_second": 1_000.0,
    }
    agents = {
        "agents": 10_000,
        "calls": 10_000,
        "answered": 4_000,
        "wrong": 0,
        "errors": {"RESOURCE_EXHAUSTED": 6_000},
        "refused_with_hint": 6_000,
        "seconds": 12.0,
        "latency_ms": {"p50": 900.0, "p99": 9_000.0},
    }
    return Results(
        "full",
        {"processor": "a processor", "cores": "2"},
        "2026-01-01",
        rows,
        [NotRun("service-1m", "falkordb", "no server")],
        {
            "service-1m": {"throughput": throughput, "agents": agents},
            "service-10m": {"restart": {"ready_s": 9.0, "up_s": 8.0}},
        },
    )


def test_all_figures_are_judged(results: Results) -> None:
    judged = {one.what: one.reached for one in findings(results)}
    assert len(judged) == 17
    assert set(judged.values()) == {True}, judged


@pytest.mark.parametrize(
    ("graph", "subject", "worse", "what"),
    [
        ("service-10m", "planmesh-mesh", {"load_s": 901.0}, "load to ready at 10 M"),
        ("service-10m", "planmesh-mesh", {"memory_mb": 13_000.0}, "load to ready at 10 M"),
        ("service-10m", "planmesh-mesh", {"p95_ms": 26.0}, "plan at 10 M through the mesh, uncached"),
        ("service-10m", "planmesh-mesh", {"wrong": 1.0}, "plan at 10 M through the mesh, uncached"),
        ("service-10m", "planmesh-mesh", {"checked": 999.0}, "plan at 10 M through the mesh, uncached"),
        ("service-10m", "planmesh-mesh-cached", {"p95_ms": 3.1}, "the same, cached"),
        ("new-york", "planmesh-search", {"p50_ms": 0.3}, "search versus routingkit-cch, new-york"),
        ("lattice-1m", "planmesh-search", {"load_s": 31.0}, "load versus routingkit-cch, lattice-1m"),
        ("service-1m", "networkit", {"p50_ms": 24.0}, "versus the best plain search in a library, service-1m"),
        ("service-1m", "neo4j-gds", {"p50_ms": 99.0}, "versus the best database, service-1m"),
    ],
)
def test_a_missed_target_is_reported(
    results: Results, graph: str, subject: str, worse: dict[str, float], what: str
) -> None:
    place = next(i for i, one in enumerate(results.rows) if (one.graph, one.subject) == (graph, subject))
    found = results.rows[place]
    facts = {name: getattr(found, name) for name in ("p50_ms", "load_s", "memory_mb", "p95_ms", "checked", "wrong")}
    results.rows[place] = row(graph, found.nodes, subject, **(facts | worse))
    assert {one.what for one in findings(results) if one.reached is False} == {what}


def test_what_was_not_run_is_neither_reached_nor_missed(results: Results) -> None:
    results.rows = [row("service-10k", 10_000, "planmesh-search", 0.2)]
    results.measures = {}
    assert {one.reached for one in findings(results)} == {None}


def test_a_wrong_answer_to_an_agent_is_a_miss(results: Results) -> None:
    results.measures["service-1m"]["agents"]["wrong"] = 1
    assert [one.what for one in findings(results) if one.reached is False] == ["10,000 concurrent virtual agents"]


def test_the_report_begins_with_ratios(results: Results) -> None:
    text = render(results)
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings[0] == "## How many times as long a peer takes (median query)"
    assert headings[1] == "## Figures to reach"
    assert "| networkit | - | - | 500 | 147 | - | - |" in text
    assert "| falkordb | service-1m | no server |" in text


def test_every_table_is_rectangular(results: Results) -> None:
    widths: list[set[int]] = []
    before = ""
    for line in render(results).splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                widths.append(set())
            widths[-1].add(line.count("|"))
        before = line
    assert widths
    assert all(len(width) == 1 for width in widths)


def test_the_rows_have_the_promised_keys(results: Results) -> None:
    rows = json.loads(rows_json(results.rows))
    assert len(rows) == len(results.rows)
    assert all(one.keys() >= KEYS for one in rows)


def test_results_outlive_their_process(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "full.json")
    assert Results.open(tmp_path / "full.json") == results
    assert results.done("service-1m", "falkordb")
    assert results.done("service-1m", "networkit")
    assert not results.done("service-1m", "igraph")


def test_plots_are_written_beside_the_report(results: Results, tmp_path: Path) -> None:
    results.rows.append(row("service-1m", 1_000_000, "planmesh-mesh-cached", 0.9))
    path = write_report(results, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"README.md", "queries.svg", "growth-service.svg"}
    assert "![queries](queries.svg)" in path.read_text("utf-8")
