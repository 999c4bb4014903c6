"""Plans on a real snapshot through a real Redis: joined computations, deadlines, withdrawn work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from planmesh.errors import DeadlineExceeded
from planmesh.telemetry import names
from tests.services.coordinator.planner_bench import Bench, bench
from tests.snapshot.small_snapshot import make_snapshot


@pytest.fixture
async def mesh(redis_server: Any, tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(redis_server.url, make_snapshot(tmp_path / "snapshot"), tmp_path) as made:
        yield made


async def test_identical_concurrent_plans_are_computed_once(mesh: Bench) -> None:
    plans = [mesh.ask() for _ in range(5)]
    await mesh.wait_for_tasks(1)
    found = await mesh.finish(plans)
    one = mesh.counters.tasks
    assert (mesh.counters.joined, mesh.counters.plans, mesh.counters.cache_hits) == (4, 5, 0)
    assert sorted([phase.name for phase in plan.explanation.phases] == ["cache", "join"] for plan in found) == [
        False,
        *[True] * 4,
    ]
    (kept,) = await mesh.finish([mesh.ask()])
    assert kept.cached
    assert mesh.counters.tasks == one


async def test_plans_that_bypass_the_cache_are_not_joined(mesh: Bench) -> None:
    plans = [mesh.ask(bypass_cache=True) for _ in range(3)]
    await mesh.wait_for_tasks(3)
    await mesh.finish(plans)
    assert mesh.counters.joined == 0


async def test_the_span_of_a_joined_plan_links_the_one_it_joined(mesh: Bench) -> None:
    await mesh.finish([mesh.ask(), mesh.ask()])
    spans = mesh.spans.get_finished_spans()
    (join,) = [span for span in spans if span.name == names.SPAN_JOIN]
    calls = {span.context.span_id: span for span in spans if span.name == "call" and span.context is not None}
    (link,) = join.links
    assert join.parent is not None
    assert {link.context.span_id, join.parent.span_id} == calls.keys()
    (search,) = [span for span in spans if span.name == names.SPAN_LOCAL_SEARCH]
    assert _parent(search) == link.context.span_id


async def test_a_caller_with_more_time_gets_its_answer_after_the_first_ones_deadline(mesh: Bench) -> None:
    hurried = mesh.ask(5.0)
    await mesh.wait_for_tasks(1)
    patient = mesh.ask()
    with pytest.raises(DeadlineExceeded):
        await hurried
    assert mesh.counters.joined == 1
    await mesh.finish([patient])


async def test_work_of_cancelled_plans_is_withdrawn_from_the_queue(mesh: Bench) -> None:
    plans = [mesh.ask(), mesh.ask()]
    await mesh.wait_for_tasks(1)
    for plan in plans:
        plan.cancel()
    await mesh.wait_for_tasks(0)


def _parent(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id
