"""Hot pairs by Zipf's law, cold pairs, batches."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.traffic import BATCH_PAIRS, HOT_PAIRS, Traffic, ZipfRanks

IDS = [f"node-{number}" for number in range(500)]


def test_shares_follow_the_law_and_sum_to_one() -> None:
    ranks = ZipfRanks(100, 1.1)
    assert sum(ranks.share(rank) for rank in range(100)) == pytest.approx(1)
    for rank in (1, 7, 99):
        assert ranks.share(0) / ranks.share(rank) == pytest.approx((rank + 1) ** 1.1)


def test_draws_come_as_often_as_their_shares_say() -> None:
    ranks, random, draws = ZipfRanks(50), Random(3), 20_000
    counts = Counter(ranks.draw(random) for _ in range(draws))
    for rank in range(10):
        expected = ranks.share(rank) * draws
        assert abs(counts[rank] - expected) < 5 * expected**0.5


@given(count=st.integers(1, 1_000), exponent=st.floats(0, 5), seed=st.integers())
def test_draws_stay_within_the_ranks(count: int, exponent: float, seed: int) -> None:
    ranks, random = ZipfRanks(count, exponent), Random(seed)
    assert all(0 <= ranks.draw(random) < count for _ in range(20))


class Largest(Random):
    """Always returns the largest number below 1."""

    def random(self) -> float:
        return 1 - 2**-53


def test_the_largest_random_number_is_the_last_rank() -> None:
    assert ZipfRanks(7).draw(Largest()) == 6


@pytest.mark.parametrize(("count", "exponent"), [(0, 1.0), (5, -0.1)])
def test_impossible_laws_are_refused(count: int, exponent: float) -> None:
    with pytest.raises(ValueError, match="expected at least one rank"):
        ZipfRanks(count, exponent)


def test_the_same_seed_makes_the_same_hot_pairs() -> None:
    first, second, other = Traffic.over(IDS, 1), Traffic.over(IDS, 1), Traffic.over(IDS, 2)
    assert first.hot == second.hot != other.hot
    assert len(first.hot) == HOT_PAIRS


def test_hot_pairs_repeat_and_cold_ones_hardly_do() -> None:
    traffic, random = Traffic.over(IDS, 1), Random(5)
    hot = {traffic.hot_pair(random) for _ in range(2_000)}
    cold = {traffic.cold_pair(random) for _ in range(2_000)}
    assert hot <= set(traffic.hot)
    assert len(cold) > 1_900


@given(nodes=st.integers(2, 50), seed=st.integers())
def test_start_and_goal_are_two_nodes(nodes: int, seed: int) -> None:
    traffic, random = Traffic.over(IDS[:nodes], seed), Random(seed)
    for start, goal in [traffic.cold_pair(random), traffic.hot_pair(random), *traffic.batch(random)]:
        assert start != goal
        assert {start, goal} <= set(IDS[:nodes])


def test_a_batch_has_hot_and_cold_pairs() -> None:
    traffic, random = Traffic.over(IDS, 1), Random(5)
    batch = traffic.batch(random)
    assert len(batch) == BATCH_PAIRS
    assert BATCH_PAIRS // 2 <= sum(pair in traffic.hot for pair in batch) < BATCH_PAIRS


def test_one_node_is_asked_for_itself_and_none_is_refused() -> None:
    assert Traffic.over(["only"], 1).cold_pair(Random(1)) == ("only", "only")
    with pytest.raises(ValueError, match="the graph is empty"):
        Traffic.over([], 1)
