"""The page of `make bench-throughput`: medians, ratios of one round, and what is met."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.throughput_report import Found, Round, Row, report, shown

ROUND = Round(
    plans_per_second=1_000.0,
    floor_per_second=2_000.0,
    alone_p50_ms=4.0,
    alone_floor_p50_ms=2.0,
    many_per_second=3_000.0,
    many_costs_per_second=9_000.0,
    many_processor_ms=0.5,
    processor_ms={"gateway": 0.5, "coordinator": 0.75},
)
BEFORE = replace(
    ROUND,
    plans_per_second=400.0,
    many_costs_per_second=None,
    processor_ms=dict.fromkeys(("gateway", "coordinator"), 1.0),
)
MACHINE = {"cores": "2", "processor": "a processor", "memory": "8 GiB"}


def found(graph: str, *now: Round) -> Found:
    return Found(graph, 1_000, {"now": list(now), "before": [BEFORE]})


def test_ratios_are_of_the_same_round() -> None:
    fast, slow = ROUND, replace(ROUND, plans_per_second=100.0, floor_per_second=200.0)
    assert found("service-1k", fast, slow).ratio("now", "plans_per_second", "floor_per_second") == pytest.approx(0.5)
    assert found("service-1k", fast, slow, slow).median("now", "plans_per_second") == 100.0


@pytest.mark.parametrize(
    ("now", "smaller", "met"), [(2.0, False, True), (1.9, False, False), (2.0, True, True), (2.1, True, False)]
)
def test_a_row_says_whether_it_reaches_its_target(now: float, smaller: bool, met: bool) -> None:
    row = Row("what", 2.0, now, None, " ms", smaller)
    assert row.is_met == met
    assert row.cells()[-1] == ("met" if met else "**missed**")
    assert row.cells()[3] == "-", "the release before has no such figure"


def test_roads_have_targets_of_their_own() -> None:
    reach = {graph: next(iter(found(graph, ROUND).rows())).reach for graph in ("service-1k", "grid-1k", "new-york")}
    assert reach == {"service-1k": 0.8, "grid-1k": 0.6, "new-york": 0.6}


def test_the_page_has_every_row_and_every_process() -> None:
    price = Row("a price", 4_000, 5_000.0, None, " USD", smaller=True)
    page = report([found("service-1k", ROUND)], [price], MACHINE, "2026-01-02")
    assert "| 64 callers, plans/s ÷ floor | ≥ 0.8 | 0.5 | 0.2 | **missed** |" in page
    assert "| the same, cost only | ≥ 8,000 | 9,000 | - | met |" in page
    assert "| gateway | 0.500 | 1.000 |" in page
    assert "| all | 1.250 | 2.000 |" in page
    assert "| a price | ≤ 4,000 USD | 5,000 USD | **missed** |" in page
    assert page.count("\n## ") == 3, "the graph, the peer, and what was missed"
    assert report([found("service-1k", ROUND)], [], MACHINE, "2026-01-02").count("\n## ") == 2


def test_figures_are_shown_with_three_digits() -> None:
    assert [shown(figure) for figure in (0.12345, 1.5, 12_345.6)] == ["0.123", "1.5", "12,346"]
