"""What callers saw is counted by time and judged by version."""

from __future__ import annotations

import pytest

from planmesh.errors import DeadlineExceeded, WorkerUnavailable
from planmesh.measure.check import Claim, GraphBuilder, ReferenceGraph
from planmesh.measure.traffic import Answered, Failed, Seen


def reference(cost: float) -> ReferenceGraph:
    builder = GraphBuilder()
    builder.add_nodes(["a", "b"])
    builder.add_edges(["a"], ["b"], [cost])
    return builder.finish()


def plan(version: int, cost: float, at_s: float = 0.0) -> Answered:
    return Answered(at_s, 0.001, version, Claim("a", "b", cost, [("a", "b", cost)]))


@pytest.fixture
def references() -> dict[int, ReferenceGraph]:
    return {1: reference(2.0), 2: reference(3.0)}


def test_calls_are_counted_where_they_ended_with_the_end_excluded() -> None:
    failed = Failed(2.0, ("a", "b"), WorkerUnavailable("no worker"))
    seen = Seen([plan(1, 2.0, at_s=1.0), plan(1, 2.0, at_s=3.0)], [(1.5, ("b", "a"))], [failed])
    assert seen.between(1.0, 3.0) == (3, 1)
    assert seen.between(0.0, 1.0) == (0, 0)
    assert seen.between(3.0, 4.0) == (1, 0)


def test_failures_are_counted_by_message_and_by_status() -> None:
    errors = [WorkerUnavailable("no worker"), WorkerUnavailable("no worker"), DeadlineExceeded("too late")]
    seen = Seen(failures=[Failed(0.0, ("a", "b"), error) for error in errors])
    assert seen.reasons() == {"WorkerUnavailable: no worker": 2, "DeadlineExceeded: too late": 1}
    assert seen.statuses() == {"UNAVAILABLE": 2, "DEADLINE_EXCEEDED": 1}


def test_a_plan_is_judged_on_the_version_that_it_names(references: dict[int, ReferenceGraph]) -> None:
    assert Seen([plan(1, 2.0), plan(2, 3.0)]).check(references, threads=1) == []
    (wrong,) = Seen([plan(1, 2.0), plan(2, 2.0)]).check(references, threads=1)
    assert wrong.reason == "cost 2.0, expected 3.0 by the reference"


def test_a_plan_of_a_version_that_was_never_loaded_is_wrong(references: dict[int, ReferenceGraph]) -> None:
    (wrong,) = Seen([plan(7, 2.0)]).check(references, threads=1)
    assert wrong.reason == "expected one of the loaded versions 1, 2, got a plan of version 7"


def test_no_path_is_wrong_only_if_every_version_has_one(references: dict[int, ReferenceGraph]) -> None:
    seen = Seen(no_path=[(0.0, ("a", "b")), (0.0, ("a", "b")), (0.0, ("b", "a"))])
    assert [(one.start, one.goal) for one in seen.check(references, threads=1)] == [("a", "b")]
    without_edge = GraphBuilder()
    without_edge.add_nodes(["a", "b"])
    assert seen.check({**references, 3: without_edge.finish()}, threads=1) == []
