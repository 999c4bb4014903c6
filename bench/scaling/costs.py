"""What a plan costs each part of a mesh, in processor time, and how that follows from what was measured.

Of the parts that see tasks the cost is split by least squares into what a plan, a task and an item cost: loads with
few and with many calls under way have tasks of one item and of many. Of the parts that see calls only it is split into
what a call costs when one follows the other, and what it costs more to wake up for it.
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
PARTS: Final = (*CALL_PROCESSES, *TASK_PROCESSES)
REST: Final = "rest"
"""What the machine does for a plan and none of the parts is charged for."""

WAKES: Final = {"client": 1, "envoy": 2, "gateway": 2}
"""How often a part is woken for one call when calls come one by one: by its request, and by the answer to it."""


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """Milliseconds of processor time. `loop_share` is the share on the thread that does one thing at a time."""

    plan_ms: float = 0.0
    task_ms: float = 0.0
    item_ms: float = 0.0
    wake_ms: float = 0.0
    loop_share: float = 1.0

    def total_ms(self, tasks: float, items: float) -> float:
        """Of a plan with so many tasks and items, nobody having to be woken."""
        return self.plan_ms + tasks * self.task_ms + items * self.item_ms


@dataclass(frozen=True, slots=True)
class MeasuredLoad:
    """A stretch of a load: what was answered, and the processor time that each part used for it."""

    in_flight: int
    seconds: float
    plans: int
    tasks: int
    items: int
    used: dict[str, ProcessTime]
    rest_s: float
    idle_share: float = 0.0
    """Cores that were busy before anything was asked."""

    latency_ms: Mapping[str, float] | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MeasuredLoad:
        """The inverse of `to_json`."""
        used = {part: ProcessTime(**one) for part, one in values["used"].items()}
        return cls(**{**values, "used": used})

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        values = asdict(self)
        values["used"] = {part: {k: round(v, 4) for k, v in one.items()} for part, one in values["used"].items()}
        return values

    @property
    def plans_per_second(self) -> float:
        """Rate."""
        return self.plans / self.seconds


@dataclass(frozen=True, slots=True)
class Costs:
    """Of every part, and how many items a plan has."""

    parts: dict[str, ProcessCost]
    items_per_plan: float
    background_cores: float = 0.0

    def slowed(self, factor: float) -> Costs:
        """The same on cores that do the same in `factor` times as long, as where more processes share their caches."""
        times = ("plan_ms", "task_ms", "item_ms", "wake_ms")
        slower = {
            part: replace(cost, **{name: factor * getattr(cost, name) for name in times})
            for part, cost in self.parts.items()
        }
        return replace(self, parts=slower)

    def to_json(self) -> dict[str, Any]:
        """As plain values, to a tenth of a microsecond."""
        parts = {part: {name: round(x, 4) for name, x in asdict(one).items()} for part, one in self.parts.items()}
        return {
            "parts": parts,
            "items_per_plan": round(self.items_per_plan, 4),
            "background_cores": round(self.background_cores, 4),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Costs:
        """The inverse of `to_json`."""
        parts = {part: ProcessCost(**one) for part, one in values["parts"].items()}
        return cls(parts, values["items_per_plan"], values["background_cores"])


def estimate(loads: Iterable[MeasuredLoad]) -> Costs:
    """The costs that fit some loads of one mesh best; they differ in how many calls are under way."""
    ordered = sorted(loads, key=lambda load: load.in_flight)
    if len({load.in_flight for load in ordered}) < 2:
        raise ValueError("expected loads with different numbers of calls under way: one number tells no split")
    parts = {part: _of_tasks(part, ordered) for part in TASK_PROCESSES}
    parts |= {part: _of_calls(part, ordered) for part in CALL_PROCESSES if part in ordered[0].used}
    parts |= {part: ProcessCost() for part in CALL_PROCESSES if part not in ordered[0].used}
    most = ordered[-1]
    parts[REST] = ProcessCost(plan_ms=1e3 * most.rest_s / most.plans, loop_share=0.0)
    items = sum(load.items for load in ordered) / sum(load.plans for load in ordered)
    return Costs(parts, items, most.idle_share)


def _of_tasks(part: str, loads: Sequence[MeasuredLoad]) -> ProcessCost:
    """Least squares without negative costs, every load with the same weight. A worker sees no plans."""
    columns = ("tasks", "items") if part == "worker" else ("plans", "tasks")
    table = np.array([[getattr(load, column) / load.plans for column in columns] for load in loads])
    per_plan_ms = np.array([1e3 * load.used[part].all_s / load.plans for load in loads])
    first, second = nnls(table, per_plan_ms)[0].tolist()
    share = _loop_share(part, loads)
    if part == "worker":
        return ProcessCost(task_ms=first, item_ms=second, loop_share=share)
    return ProcessCost(plan_ms=first, task_ms=second, loop_share=share)


def _of_calls(part: str, loads: Sequence[MeasuredLoad]) -> ProcessCost:
    few_ms, many_ms = (1e3 * load.used[part].all_s / load.plans for load in (loads[0], loads[-1]))
    wake_ms = max(0.0, few_ms - many_ms) / WAKES[part]
    share = 0.0 if part == "envoy" else _loop_share(part, loads)  # its threads are as many as there are cores
    return ProcessCost(plan_ms=many_ms, wake_ms=wake_ms, loop_share=share)


def _loop_share(part: str, loads: Sequence[MeasuredLoad]) -> float:
    """Of the load with most calls under way: that is where it counts."""
    used = loads[-1].used[part]
    return min(1.0, used.loop_s / used.all_s) if used.all_s > 0 else 1.0
