"""The split of processor time into plans and tasks recovers the costs that made it."""

from __future__ import annotations

import pytest

from bench.processor_time import ProcessTime
from bench.scaling.costs import REST, TASK_PROCESSES, WAKES, Costs, MeasuredLoad, ProcessCost, estimate
from bench.scaling.record import unbatched_ms

TRUE = {
    "client": ProcessCost(plan_ms=0.5, wake_ms=0.1, loop_share=0.8),
    "envoy": ProcessCost(plan_ms=0.2, wake_ms=0.05, loop_share=0.0),
    "gateway": ProcessCost(plan_ms=0.6, wake_ms=0.15, loop_share=0.7),
    "coordinator": ProcessCost(plan_ms=0.7, task_ms=0.3, loop_share=0.9),
    "redis": ProcessCost(plan_ms=0.01, task_ms=0.08, loop_share=1.0),
    "worker": ProcessCost(plan_ms=0.2, task_ms=0.4, loop_share=1.0),
}
ITEMS = 1.8


def load(in_flight: int, tasks_per_plan: float, *, woken: bool) -> MeasuredLoad:
    plans = 1_000
    tasks = round(plans * tasks_per_plan)
    used = {}
    for process, cost in TRUE.items():
        all_s = plans * cost.total_ms(tasks / plans) / 1e3
        if woken:
            all_s += plans * WAKES.get(process, 0) * cost.wake_ms / 1e3
        used[process] = ProcessTime(all_s * cost.loop_share, all_s)
    return MeasuredLoad(
        in_flight, 5.0, plans, tasks, round(plans * (ITEMS if in_flight == 1 else tasks_per_plan)), used, rest_s=0.25
    )


def test_the_costs_that_made_the_loads_are_found() -> None:
    found = estimate([load(64, 0.4, woken=False), load(1, ITEMS, woken=True), load(8, 1.1, woken=True)])
    for process, cost in TRUE.items():
        for name in ("plan_ms", "task_ms", "wake_ms", "loop_share"):
            assert getattr(found.processes[process], name) == pytest.approx(getattr(cost, name), abs=1e-6), (
                process,
                name,
            )
    assert found.items_per_plan == pytest.approx(ITEMS)
    assert found.processes[REST].plan_ms == pytest.approx(0.25)


def test_no_cost_is_negative_though_the_figures_are_noisy() -> None:
    few, many = load(1, ITEMS, woken=False), load(64, 0.4, woken=False)
    noisy = {process: ProcessTime(used.loop_s * 3, used.all_s * 3) for process, used in many.used.items()}
    found = estimate([few, MeasuredLoad(64, 5.0, many.plans, many.tasks, many.items, noisy, 0.0)])
    for process in TASK_PROCESSES:
        cost = found.processes[process]
        assert min(cost.plan_ms, cost.task_ms) >= 0
    assert all(found.processes[process].wake_ms >= 0 for process in WAKES)


def test_one_load_is_not_enough_for_a_split() -> None:
    with pytest.raises(ValueError, match="different numbers of calls"):
        estimate([load(8, 1.0, woken=False), load(8, 1.1, woken=False)])


def test_loads_and_costs_survive_a_file() -> None:
    one = load(8, 1.1, woken=True)
    again = MeasuredLoad.from_json(one.to_json())
    assert (again.plans, again.in_flight) == (one.plans, one.in_flight)
    assert again.used["worker"].all_s == pytest.approx(one.used["worker"].all_s, abs=1e-4)
    costs = Costs(TRUE, ITEMS, 0.02)
    assert Costs.from_json(costs.to_json()) == costs


def test_sizing_assumes_plans_alone_and_a_wake_for_every_call() -> None:
    found = unbatched_ms(Costs(TRUE, ITEMS))
    assert found["worker_ms"] == pytest.approx(0.2 + ITEMS * 0.4)
    assert found["coordinator_loop_ms"] == pytest.approx(0.9 * (0.7 + ITEMS * 0.3))
    assert found["gateway_ms"] == pytest.approx(0.6 + 2 * 0.15)
    assert found["gateway_loop_ms"] == pytest.approx(0.7 * 0.6 + 2 * 0.15)
    assert found["envoy_loop_ms"] == 0
