"""Plain searches on a real snapshot's files, with clocks that the test controls."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from planmesh.errors import SnapshotDamaged, VersionGone
from planmesh.internal.v1 import task_pb2
from planmesh.search.reference import dijkstra
from tests.snapshot.damage import flip_a_bit
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot
from workers.processor_budget import ProcessorBudget
from workers.shadow_search import PROCESSOR_S_MAX, OutOfBudgetError, ShadowSearch, agree


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> SmallSnapshot:
    return make_snapshot(tmp_path_factory.mktemp("build"))


def check_of(snapshot: SmallSnapshot, start: int, goal: int) -> task_pb2.ShadowCheck:
    return task_pb2.ShadowCheck(
        graph="g",
        version=1,
        snapshot_url=str(snapshot.folder),
        identity=snapshot.manifest.identity,
        start=f"node-{start}",
        goal=f"node-{goal}",
        start_node=start,
        goal_node=goal,
    )


def search_with(processor_clock: Callable[[], float], stopped: threading.Event | None = None) -> ShadowSearch:
    """Return a search whose clock advances by a day at every reading, so that the budget never causes a wait."""
    days = itertools.count(0, 86_400)
    budget = ProcessorBudget(0.01, lambda: float(next(days)))
    return ShadowSearch(2, budget, stopped or threading.Event(), processor_clock)


def test_costs_are_those_of_dijkstra_on_the_original_graph(snapshot: SmallSnapshot) -> None:
    search = search_with(lambda: 0.0)
    graph = snapshot.graph
    for start in range(0, graph.node_count, 17):
        distances, _, _ = dijkstra(graph.first_out, graph.head, graph.weight, start)
        for goal in range(0, graph.node_count, 7):
            assert agree(float(distances[goal]), search.cost(check_of(snapshot, start, goal)))


def test_a_search_that_takes_too_long_ends_without_a_result(snapshot: SmallSnapshot) -> None:
    seconds = itertools.count(0.0, PROCESSOR_S_MAX)
    with pytest.raises(OutOfBudgetError, match="more than 6 s of processor time"):
        search_with(lambda: next(seconds)).cost(check_of(snapshot, 0, 100))


def test_a_search_ends_when_the_worker_stops(snapshot: SmallSnapshot) -> None:
    stopped = threading.Event()
    stopped.set()
    frozen = ShadowSearch(2, ProcessorBudget(0.01, lambda: 0.0), stopped)
    with pytest.raises(OutOfBudgetError, match="stops"):
        frozen.cost(check_of(snapshot, 0, 100))


def test_the_budget_pays_for_each_unit(snapshot: SmallSnapshot) -> None:
    """A unit takes 3 ms. When one begins, at most the share of the time has been spent on the earlier ones."""
    now_s, spent_s, worst_s = 0.0, 0.0, -math.inf

    class Waiting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now_s
            now_s += timeout or 0.0
            return False

    def processor_clock() -> float:
        """Return the time spent. It is called before and after each unit."""
        nonlocal spent_s, worst_s
        calls = next(looks)
        if calls % 2 == 0:
            worst_s = max(worst_s, spent_s - 0.01 * now_s)
        else:
            spent_s += 0.003
        return spent_s

    looks = itertools.count()
    search = ShadowSearch(2, ProcessorBudget(0.01, lambda: now_s), Waiting(), processor_clock)
    for goal in range(1, 100, 9):
        search.cost(check_of(snapshot, 0, goal))
    assert spent_s > 0.1
    assert worst_s <= 1e-9


def test_another_snapshot_at_the_same_place_is_not_searched(snapshot: SmallSnapshot) -> None:
    check = check_of(snapshot, 0, 100)
    check.identity = "0" * 32
    with pytest.raises(VersionGone, match="it was replaced"):
        search_with(lambda: 0.0).cost(check)


def test_a_snapshot_that_was_removed_is_gone(snapshot: SmallSnapshot, tmp_path: Path) -> None:
    check = check_of(snapshot, 0, 100)
    check.snapshot_url = str(tmp_path / "removed")
    with pytest.raises(VersionGone):
        search_with(lambda: 0.0).cost(check)


def test_a_damaged_file_is_an_error_and_is_read_again_after_its_repair(tmp_path: Path) -> None:
    snapshot = make_snapshot(tmp_path)
    file = snapshot.folder / snapshot.manifest.partitions[0].file
    whole = file.read_bytes()
    flip_a_bit(file)
    search = search_with(lambda: 0.0)
    with pytest.raises(SnapshotDamaged):
        search.cost(check_of(snapshot, 0, 100))
    file.write_bytes(whole)
    assert np.isfinite(search.cost(check_of(snapshot, 0, 0)))


def test_costs_agree_within_the_tolerance_of_sums() -> None:
    assert agree(0.0, 0.0)
    assert agree(math.inf, math.inf)
    assert agree(0.1 + 0.2, 0.3)
    assert agree(1e12, 1e12 * (1 + 9e-10))
    assert not agree(1e12, 1e12 * (1 + 2e-9))
    assert not agree(math.inf, 1e300)
    assert not agree(2.0, math.inf)
    assert not agree(0.0, 1e-300)
