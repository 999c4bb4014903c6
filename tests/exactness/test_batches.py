"""The batches of the exactness tests: which they are, and that a wrong answer in one is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from planmesh.internal.v1 import task_pb2
from planmesh.rpc.detail_encoding import encode_costs
from planmesh.rpc.plan_encoding import encode_plans
from services.coordinator import batch_writing
from tests.exactness import batches
from tests.exactness.answers import WrongAnswerError
from tests.exactness.batches import SIZE_MAX, SIZES_ALWAYS, draw_size
from tests.exactness.cases import EVERY_PAIR_NODES_MAX, Case, check, draw
from tests.exactness.larger_graphs import LARGER_FAMILIES
from workers.batch_operations import search_batch

CHAIN = Case("a chain", 4, ((0, 1, 1.0), (1, 2, 2.0), (2, 3, 4.0)), (0, 0, 0, 1), batch_pairs=SIZE_MAX)


def test_sizes_are_those_around_a_group_and_any_up_to_the_most() -> None:
    random = Random(1)
    sizes = Counter(draw_size(random) for _ in range(2_000))
    assert set(sizes) > set(SIZES_ALWAYS)
    assert (min(sizes), max(sizes)) == (1, SIZE_MAX)
    others = [size for size in sizes.elements() if size not in SIZES_ALWAYS]
    assert len(others) / 4 < sum(size < 32 for size in others) < len(others) * 3 / 4


@pytest.mark.parametrize("size", SIZES_ALWAYS)
def test_a_batch_of_each_size_is_exact(size: int) -> None:
    counts = check(replace(CHAIN, batch_pairs=size))
    assert counts[f"batch of {size}"] == 1
    if size == SIZE_MAX:
        kinds = ("duplicates", "equal ends", "unknown nodes", "unreachable", "reachable")
        assert all(counts[f"batch pairs: {kind}"] for kind in kinds)


@pytest.mark.parametrize("family", dict.fromkeys(LARGER_FAMILIES))
def test_batches_on_larger_graphs_are_exact(family: Callable[..., Any]) -> None:
    random = Random(family.__name__)
    node_count, edges, partition_of = family(random, 150)
    assert node_count > EVERY_PAIR_NODES_MAX
    base = draw("bounds of a larger graph")
    case = replace(base, node_count=node_count, edges=tuple(edges), partition_of=tuple(partition_of), batch_pairs=1_000)
    counts = check(replace(case, origin=family.__name__))
    assert counts["batch pairs: reachable"] > 100


def test_paths_with_loops_are_left_to_be_computed_alone() -> None:
    """A graph of edges without a cost, whose batches have such paths."""
    counts = check(replace(draw("bounds:476"), batch_pairs=SIZE_MAX))
    assert counts["batch paths with loops, left to be computed alone"]


def test_a_wrong_meeting_in_a_batch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: Any) -> task_pb2.SearchBatchResult:
        found = search_batch(*arguments)
        found.meet_costs = (2 * np.frombuffer(found.meet_costs)).tobytes()
        return found

    monkeypatch.setattr(batches, "search_batch", wrong)
    with pytest.raises(WrongAnswerError):
        check(CHAIN)


@pytest.mark.parametrize(
    ("name", "encode", "cost_at"), [("encode_costs", encode_costs, 3), ("encode_plans", encode_plans, 6)]
)
def test_a_cost_that_is_written_wrongly_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, encode: Callable[..., Any], cost_at: int
) -> None:
    def wrong(*arguments: Any) -> Any:
        changed = list(arguments)
        changed[cost_at] = 2 * changed[cost_at]
        return encode(*changed)

    monkeypatch.setattr(batch_writing, name, wrong)
    with pytest.raises(WrongAnswerError, match="expected"):
        check(CHAIN)
