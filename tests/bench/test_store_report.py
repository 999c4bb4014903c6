"""The report on stores."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bench.store_places import PLACES, Place
from bench.store_report import NAMES, render


def side(p50: float, **more: Any) -> dict[str, Any]:
    latency = {"p50": p50, "p95": 2 * p50, "p99": 3 * p50, "max": 4 * p50}
    return {"answered": 9, "no_path": 1, "time_outs": 0, "errors": {}, "mismatches": 0, "latency_ms": latency} | more


def row(store: str, p50: float, hot_p95: float | None = None, **more: Any) -> dict[str, Any]:
    hot = None
    if hot_p95 is not None:
        latency = {"p50": 1.0, "p95": hot_p95, "p99": hot_p95, "max": hot_p95}
        hot = {
            "pairs": 5,
            "answers": 50,
            "failed": 0,
            "mismatches": 0,
            "latency_ms": latency,
            "mesh_latency_ms": latency,
        }
    measured = {
        "queries": 10,
        "asked": 10,
        "sides": {"store": side(p50, **more), "mesh": side(10.0)},
        "ratio": {"p50": p50 / 10.0, "p95": p50 / 10.0, "p99": p50 / 10.0},
        "disagreements": 0,
        "hot": hot,
    }
    figures = {"load_s": 3.0, "memory_empty_mb": 10.0, "memory_mb": 90.0, "disk_mb": 40.0}
    return {"store": store, "nodes": 100_000, "edges": 400_000, **figures, "measured": measured}


@pytest.fixture
def results() -> dict[str, Any]:
    return {
        "began": "2026-01-01",
        "machine": {"processor": "a processor", "cores": "2", "igraph": "1.0"},
        "graph": "service, 100,000 nodes, seed 1",
        "nodes": 100_000,
        "edges": 400_000,
        "mesh": {"load_s": 20.0, "disk_mb": 50.0},
        "rows": [row("redis", 300.0), row("neo4j-gds", 50.0), row("hybrid", 52.0, hot_p95=4.0)],
        "not_run": {},
        "load_average": [0.5, 1.0, 1.5],
    }


def test_targets_come_first(results: dict[str, Any]) -> None:
    page = render(results)
    assert (
        "| mesh versus the best store, median | at least 3 times ahead | the best is neo4j-gds: 5.00 times | yes |"
        in page
    )
    assert "| hot answers of the hybrid store | p95 < 15 ms | 4.00 ms | yes |" in page
    assert "load average was 0.5, 1, 1.5 on 2 cores" in page
    assert "a processor" in page
    assert "igraph" not in page


def test_a_missed_target_is_reported(results: dict[str, Any]) -> None:
    slow = copy.deepcopy(results)
    slow["rows"] = [row("neo4j-gds", 20.0), row("hybrid", 21.0, hot_p95=15.0)]
    assert render(slow).count("**no**") == 2


def test_time_outs_errors_and_wrong_answers_have_their_columns(results: dict[str, Any]) -> None:
    results["rows"].append(row("gremlin", 9_000.0, time_outs=7, errors={"STORE_REFUSED": 2}, mismatches=1))
    results["not_run"] = {"sqlite": "no reason at all"}
    page = render(results)
    assert "| 7 | 2 STORE_REFUSED | 1 |" in page
    assert "| sqlite | no reason at all |" in page


def test_every_store_that_is_measured_has_a_name() -> None:
    assert set(PLACES) - {"neo4j"} < set(NAMES)
    assert {"neo4j-gds", "neo4j-apoc", "hybrid"} < set(NAMES)
    assert Place({}).memory_mb() == Place({}).disk_mb() == 0.0
