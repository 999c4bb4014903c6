from __future__ import annotations

import random

import pytest

from workers.processor_budget import BURST_S, SAVED_S_MAX, ProcessorBudget

SHARE = 0.01


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("seed", range(5))
def test_work_without_end_gets_its_share_of_the_time_and_never_more(seed: int) -> None:
    """Pieces of any length: when one begins, all before it together have taken at most the share of the time."""
    chance = random.Random(seed)
    clock = Clock()
    begun_s = clock.now_s
    budget = ProcessorBudget(SHARE, clock)
    spent_s = 0.0
    while clock.now_s - begun_s < 10_000:
        while (wait_s := budget.wait_s()) > 0:
            clock.now_s += wait_s
        assert spent_s <= SHARE * (clock.now_s - begun_s)
        burst_s = chance.choice([0.0001, 0.001, 0.01, 0.5])
        clock.now_s += burst_s
        spent_s += burst_s
        budget.spend(burst_s)
    assert spent_s >= SHARE * (clock.now_s - begun_s) * 0.9, "what is allowed is used"


def test_what_is_saved_up_has_a_bound() -> None:
    """After an idle day no more is spent at a segment than after ten seconds."""
    clock = Clock()
    budget = ProcessorBudget(SHARE, clock)
    clock.now_s += 86_400
    spent_s = 0.0
    while budget.wait_s() == 0:
        budget.spend(BURST_S / 2)
        spent_s += BURST_S / 2
    assert spent_s <= SAVED_S_MAX


def test_nothing_is_free_at_the_start_and_a_long_piece_is_paid_back() -> None:
    clock = Clock()
    budget = ProcessorBudget(SHARE, clock)
    assert budget.wait_s() == pytest.approx(BURST_S / SHARE)
    clock.now_s += budget.wait_s()
    assert budget.wait_s() == 0
    budget.spend(1.0)
    assert budget.wait_s() == pytest.approx(1.0 / SHARE)


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_a_share_is_part_of_one_core(share: float) -> None:
    with pytest.raises(ValueError, match="above 0 and of at most 1"):
        ProcessorBudget(share, Clock())
