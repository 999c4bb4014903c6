from __future__ import annotations

from planmesh.measure.statistics import Percentiles, per_second, share


def test_percentiles_of_a_known_distribution() -> None:
    found = Percentiles.of([float(value) for value in range(1, 102)])
    assert (found.p50, found.p95, found.p99, found.max) == (51, 96, 100, 101)


def test_nothing_measured_is_zero_everywhere() -> None:
    assert Percentiles.of([]).to_json() == {"p50": 0, "p95": 0, "p99": 0, "max": 0}
    assert per_second(5, 0) == share(0, 0) == 0


def test_figures_are_rounded_to_a_microsecond() -> None:
    assert Percentiles.of([1.23456]).to_json()["p50"] == 1.235
