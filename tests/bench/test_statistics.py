from __future__ import annotations

import math

import pytest

from bench.statistics import fit_power_law, queries_for, same_cost, shares, shown


def test_an_exact_power_law_is_found() -> None:
    law = fit_power_law([(nodes, 3.0 * nodes**0.5) for nodes in (10_000, 100_000, 1_000_000)])
    assert law is not None
    assert law.exponent == pytest.approx(0.5)
    assert law.at(10_000_000) == pytest.approx(3.0 * 10_000_000**0.5)


def test_what_does_not_grow_has_the_exponent_zero() -> None:
    law = fit_power_law([(10, 2.0), (1_000, 2.0)])
    assert law is not None
    assert law.exponent == pytest.approx(0.0)


def test_one_size_is_not_enough_for_growth() -> None:
    assert fit_power_law([]) is None
    assert fit_power_law([(10, 1.0), (10, 2.0)]) is None


def test_costs_are_the_same_but_for_their_last_digits() -> None:
    assert same_cost(math.inf, math.inf)
    assert same_cost(0.1 + 0.2, 0.3)
    assert same_cost(0.0, 0.0)
    assert not same_cost(math.inf, 1.0)
    assert not same_cost(220_082.0, 220_026.0)
    assert not same_cost(0.0, 1e-12)


@pytest.mark.parametrize(("count", "rounds"), [(200, 10), (5, 5), (7, 3), (3, 10), (0, 10)])
def test_shares_hold_every_item_once(count: int, rounds: int) -> None:
    ranges = shares(count, rounds)
    assert [item for begin, end in ranges for item in range(begin, end)] == list(range(count))
    assert all(end > begin for begin, end in ranges)
    assert max((end - begin for begin, end in ranges), default=0) - min((e - b for b, e in ranges), default=0) <= 1


def test_slow_subjects_get_fewer_queries() -> None:
    assert queries_for(0.001, 4.0, 5, 200) == 200
    assert queries_for(0.1, 4.0, 5, 200) == 40
    assert queries_for(60.0, 4.0, 5, 200) == 5
    assert queries_for(0.0, 4.0, 5, 200) == 200


def test_figures_are_shown_with_three_digits() -> None:
    assert [shown(value) for value in (0.0, 0.1234, 1.234, 12.34, 99.96, 1234.5)] == [
        *("0", "0.123", "1.23", "12.3", "100.0", "1,234")
    ]
    assert shown(math.inf) == "-"
