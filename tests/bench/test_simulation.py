"""The simulation agrees with queueing theory, the dispatcher's rules and the published measurements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import simpy

from bench.local_stack import Scale
from bench.scaling.costs import Costs, MeasuredLoad, ProcessCost
from bench.scaling.mesh_model import Mesh
from bench.scaling.processors import Loop, Machine, Quota, Steps
from bench.scaling.record import read_record
from bench.scaling.report import BASE_NODES, mesh_like
from bench.scaling.simulation import simulate

COSTS = Costs(
    {
        "client": ProcessCost(plan_ms=0.5, loop_share=0.8),
        "envoy": ProcessCost(plan_ms=0.2, loop_share=0.0),
        "gateway": ProcessCost(plan_ms=0.6, loop_share=0.8),
        "coordinator": ProcessCost(plan_ms=0.6, task_ms=0.4, loop_share=0.9),
        "redis": ProcessCost(task_ms=0.1),
        "worker": ProcessCost(plan_ms=0.3, task_ms=0.5),
    },
    items_per_plan=1.9,
)
PUBLISHED = read_record()
APART_MAX = 0.25
REPLICAS_APART_MAX = 0.15

ALONE = Mesh(cores=None, callers=1, caller_processes=0)
"""One caller, and a core for each process, so nothing waits."""


def total_ms(costs: Costs, process: str, tasks: float) -> float:
    return costs.processes[process].total_ms(tasks)


def test_one_plan_at_a_time_takes_the_sum_of_what_it_passes() -> None:
    costs = replace(COSTS, items_per_plan=1.0)
    found = simulate(replace(ALONE, shards=1), costs, seconds=20)
    expected_ms = sum(total_ms(costs, process, 1) for process in costs.processes if process != "client")
    assert 1e3 / found.plans_per_second == pytest.approx(expected_ms, rel=0.02)
    assert found.tasks_per_plan == pytest.approx(1, abs=0.01)
    assert found.items_per_task == 1
    assert found.hedged_share == 0


def test_the_busiest_loop_bounds_the_throughput() -> None:
    costs = replace(COSTS, processes={**COSTS.processes, "gateway": ProcessCost(plan_ms=4.0)})
    one = simulate(Mesh(cores=None, callers=200, caller_processes=0), costs)
    assert one.plans_per_second == pytest.approx(250, rel=0.03)
    assert one.busy["gateway"] == pytest.approx(1, abs=0.02)
    two = simulate(Mesh(gateways=2, cores=None, callers=200, caller_processes=0), costs)
    assert two.plans_per_second == pytest.approx(500, rel=0.05)


def test_shared_cores_bound_the_throughput_of_everything_together() -> None:
    for cores in (1, 2):
        found = simulate(Mesh(cores=cores, gateways=4, coordinators=4, workers=4), COSTS, seconds=2)
        per_plan_ms = sum(total_ms(COSTS, process, found.tasks_per_plan) for process in COSTS.processes)
        assert found.plans_per_second == pytest.approx(1e3 * cores / per_plan_ms, rel=0.05)
        assert found.busy["machine"] == pytest.approx(cores, rel=0.03)


def test_a_process_with_a_limit_is_as_slow_as_its_limit() -> None:
    limited = Mesh(cores=2, callers=64, limits={"coordinator": 0.1}, limit_period_s=0.02)
    found = simulate(limited, COSTS, seconds=10)
    per_plan_ms = total_ms(COSTS, "coordinator", found.tasks_per_plan)
    assert found.plans_per_second == pytest.approx(100 / per_plan_ms, rel=0.05)
    twice = simulate(replace(limited, coordinators=2), COSTS, seconds=10)
    assert twice.plans_per_second == pytest.approx(2 * found.plans_per_second, rel=0.2)


def test_work_gathers_while_tasks_are_under_way_and_an_idle_queue_never_waits() -> None:
    light = simulate(replace(ALONE, callers=2), COSTS)
    slow_worker = replace(COSTS, processes={**COSTS.processes, "worker": ProcessCost(task_ms=20.0)})
    heavy = simulate(Mesh(cores=None, callers=400, caller_processes=0), slow_worker)
    assert light.items_per_task == pytest.approx(1, abs=0.05)
    assert light.tasks_per_plan == pytest.approx(COSTS.items_per_plan, rel=0.1)
    assert heavy.tasks_per_plan < COSTS.items_per_plan / 15
    # A task has the work of many plans, so a mesh answers far more than one plan for each task time of its workers.
    assert heavy.plans_per_second > 10 * 2 * 1e3 / 20


def test_slower_cores_answer_less_in_proportion() -> None:
    usual, slower = (simulate(Mesh(), COSTS.slowed(factor), seconds=3).plans_per_second for factor in (1.0, 1.25))
    assert slower == pytest.approx(usual / 1.25, rel=0.05)


def test_a_slow_worker_is_given_less() -> None:
    mesh = Mesh(cores=None, workers=2, callers=64, caller_processes=0, slow_workers=1, slowness=4.0)
    found = simulate(
        mesh, replace(COSTS, processes={**COSTS.processes, "worker": ProcessCost(plan_ms=1.0, task_ms=2.0)})
    )
    assert 0.05 < found.answered_by_slow < 0.4


def test_work_without_a_reply_in_time_is_sent_again() -> None:
    stuck = Mesh(cores=None, workers=2, callers=8, caller_processes=0, slow_workers=1, slowness=4_000.0)
    found = simulate(stuck, COSTS, seconds=8)
    assert found.hedged_share > 0
    assert found.plans_per_second > 100


def test_calls_at_a_rate_are_answered_at_that_rate() -> None:
    found = simulate(Mesh(cores=None, rate_per_s=200, caller_processes=0), COSTS, seconds=8)
    assert found.plans_per_second == pytest.approx(200, rel=0.05)
    slower = simulate(Mesh(cores=None, rate_per_s=200, caller_processes=0, hop_s=0.001), COSTS, seconds=8)
    assert slower.p50_ms > found.p50_ms + 4


def test_the_same_seed_gives_the_same_run() -> None:
    first, again, other = (simulate(Mesh(), COSTS, seconds=1, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_a_quota_gives_its_share_of_each_period_and_has_overruns_paid_back() -> None:
    environment = simpy.Environment()
    machine, quota = Machine(environment, None), Quota(environment, cores=0.25, period_s=0.02)
    ended: list[float] = []

    def work() -> Steps:
        for _ in range(10):
            yield from machine.run(0.05, quota)
            ended.append(environment.now)

    environment.process(work())
    environment.run()
    assert ended[-1] == pytest.approx(10 * 0.05 / 0.25, rel=0.05)


def test_a_loop_is_woken_once_for_what_waits_together() -> None:
    environment = simpy.Environment()
    loop = Loop(Machine(environment, None), wake_s=1.0)
    first, second = loop.do(2.0), loop.do(3.0)
    environment.run(second)
    assert first.processed
    assert environment.now == pytest.approx(6.0)
    environment.run(loop.do(2.0))
    assert environment.now == pytest.approx(9.0)


def test_calls_are_let_in_one_a_turn_after_what_is_ready() -> None:
    environment = simpy.Environment()
    loop = Loop(Machine(environment, None))
    first, second = (loop.do(1.0, new_call=True) for _ in range(2))
    ready = loop.do(1.0)
    for done, at_s in ((ready, 1), (first, 2), (second, 3)):
        environment.run(done)
        assert environment.now == pytest.approx(at_s)


@pytest.mark.parametrize("load", PUBLISHED.loads(BASE_NODES), ids=lambda load: f"{load.in_flight} in progress")
def test_the_published_loads_come_out_of_the_costs_that_they_gave(load: MeasuredLoad) -> None:
    mesh = mesh_like(Scale(), int(PUBLISHED.machine["cores"]), load.in_flight)
    found = simulate(mesh, PUBLISHED.costs(BASE_NODES), seconds=2)
    assert found.plans_per_second == pytest.approx(load.plans_per_second, rel=APART_MAX)
    assert found.items_per_task == pytest.approx(load.items / load.tasks, rel=2 * APART_MAX)
    assert load.latency_ms is not None
    assert found.p50_ms == pytest.approx(load.latency_ms["p50"], rel=APART_MAX)


@pytest.mark.parametrize("measured", PUBLISHED.scales, ids=lambda measured: str(PUBLISHED.scale_of(measured)))
def test_what_replicas_changed_comes_out(measured: dict[str, Any]) -> None:
    (base,) = [one for one in PUBLISHED.scales if PUBLISHED.scale_of(one) == Scale()]
    rates = []
    for one in (measured, base):
        mesh = mesh_like(PUBLISHED.scale_of(one), int(PUBLISHED.machine["cores"]), one["in_flight"])
        rates.append(simulate(mesh, PUBLISHED.costs_at(BASE_NODES, one), seconds=1).plans_per_second)
    times, measured_times = rates[0] / rates[1], measured["plans_per_second"] / base["plans_per_second"]
    assert times == pytest.approx(measured_times, rel=REPLICAS_APART_MAX)
