"""The processor time that a plan costs each process of a mesh, derived from measurements.

For processes that handle tasks, least squares split the cost into that of a plan and a task. Measurements with few and
with many calls in progress make this possible, because their tasks have the work of one plan and of many.

For processes that handle only calls, the cost is split into that of a call after another one and the extra cost of
waking up for a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.optimize import nnls

from bench.processor_time import ProcessTime

CALL_PROCESSES: Final = ("client", "envoy", "gateway")
TASK_PROCESSES: Final = ("coordinator", "redis", "worker")
PROCESSES: Final = (*CALL_PROCESSES, *TASK_PROCESSES)
REST: Final = "rest"
"""The machine's work for a plan that none of the processes is charged for."""

WAKES: Final = {"client": 1, "envoy": 2, "gateway": 2}
"""How often a call wakes a process if calls come one at a time: for the request, and for the answer to it."""


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """Milliseconds of processor time. `loop_share` is the share spent on the process's single-threaded loop."""

    plan_ms: float = 0.0
    task_ms: float = 0.0
    wake_ms: float = 0.0
    loop_share: float = 1.0

    def total_ms(self, tasks: float) -> float:
        """Return the cost of a plan with this many tasks, without wake-ups."""
        return self.plan_ms + tasks * self.task_ms


@dataclass(frozen=True, slots=True)
class MeasuredLoad:
    """One measurement: the answers in an interval, and the processor time that each process used for them."""

    in_flight: int
    seconds: float
    plans: int
    tasks: int
    items: int
    used: dict[str, ProcessTime]
    rest_s: float
    idle_share: float = 0.0
    """Cores that were busy before the first call."""

    latency_ms: Mapping[str, float] | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MeasuredLoad:
        """Restore a measurement from `to_json`."""
        used = {process: ProcessTime(**one) for process, one in values["used"].items()}
        return cls(**{**values, "used": used})

    def to_json(self) -> dict[str, Any]:
        """Return the measurement as plain values."""
        values = asdict(self)
        values["used"] = {process: {k: round(v, 4) for k, v in one.items()} for process, one in values["used"].items()}
        return values

    @property
    def plans_per_second(self) -> float:
        """Plans per second."""
        return self.plans / self.seconds


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of every process, and the number of items of a plan that is computed alone."""

    processes: dict[str, ProcessCost]
    items_per_plan: float
    background_cores: float = 0.0

    def slowed(self, factor: float) -> Costs:
        """Return the costs on cores that need `factor` times as long, as when more processes share their caches."""
        times = ("plan_ms", "task_ms", "wake_ms")
        slower = {
            process: replace(cost, **{name: factor * getattr(cost, name) for name in times})
            for process, cost in self.processes.items()
        }
        return replace(self, processes=slower)

    def to_json(self) -> dict[str, Any]:
        """Return the costs as plain values, to a tenth of a microsecond."""
        processes = {
            process: {name: round(x, 4) for name, x in asdict(one).items()} for process, one in self.processes.items()
        }
        return {
            "processes": processes,
            "items_per_plan": round(self.items_per_plan, 4),
            "background_cores": round(self.background_cores, 4),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Costs:
        """Restore costs from `to_json`."""
        processes = {process: ProcessCost(**one) for process, one in values["processes"].items()}
        return cls(processes, values["items_per_plan"], values["background_cores"])


def estimate(loads: Iterable[MeasuredLoad]) -> Costs:
    """Fit costs to measurements of one mesh that differ in the number of calls in progress.

    That with the fewest tells how many items a plan alone has.
    """
    ordered = sorted(loads, key=lambda load: load.in_flight)
    if len({load.in_flight for load in ordered}) < 2:
        raise ValueError("expected measurements with different numbers of calls in progress, which the split needs")
    processes = {process: _of_tasks(process, ordered) for process in TASK_PROCESSES}
    processes |= {process: _of_calls(process, ordered) for process in CALL_PROCESSES if process in ordered[0].used}
    processes |= {process: ProcessCost() for process in CALL_PROCESSES if process not in ordered[0].used}
    most = ordered[-1]
    processes[REST] = ProcessCost(plan_ms=1e3 * most.rest_s / most.plans, loop_share=0.0)
    fewest = ordered[0]
    return Costs(processes, fewest.items / fewest.plans, most.idle_share)


def _of_tasks(process: str, loads: Sequence[MeasuredLoad]) -> ProcessCost:
    """Fit by least squares without negative costs, with equal weights."""
    table = np.array([[1.0, load.tasks / load.plans] for load in loads])
    per_plan_ms = np.array([1e3 * load.used[process].all_s / load.plans for load in loads])
    plan_ms, task_ms = nnls(table, per_plan_ms)[0].tolist()
    return ProcessCost(plan_ms=plan_ms, task_ms=task_ms, loop_share=_loop_share(process, loads))


def _of_calls(process: str, loads: Sequence[MeasuredLoad]) -> ProcessCost:
    few_ms, many_ms = (1e3 * load.used[process].all_s / load.plans for load in (loads[0], loads[-1]))
    wake_ms = max(0.0, few_ms - many_ms) / WAKES[process]
    share = 0.0 if process == "envoy" else _loop_share(process, loads)  # Envoy has a thread for each core
    return ProcessCost(plan_ms=many_ms, wake_ms=wake_ms, loop_share=share)


def _loop_share(process: str, loads: Sequence[MeasuredLoad]) -> float:
    """Return the loop's share in the measurement with the most calls in progress, where it matters."""
    used = loads[-1].used[process]
    return min(1.0, used.loop_s / used.all_s) if used.all_s > 0 else 1.0
