"""The measurements in docs/benchmarks/scaling.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.graphs import ROOT
from bench.local_stack import Scale
from bench.results import write_aside
from bench.scaling.costs import PROCESSES, WAKES, Costs, MeasuredLoad, estimate
from planmesh.advise.processes import BUSY_PLANS

FILE: Final = ROOT / "docs" / "benchmarks" / "scaling.json"


@dataclass(slots=True)
class Record:
    """A machine, and the measurements on it: by the number of nodes, and by scale."""

    began: str
    machine: dict[str, str]
    sizes: dict[str, dict[str, Any]] = field(default_factory=dict)
    scales: list[dict[str, Any]] = field(default_factory=list)

    def loads(self, nodes: int) -> list[MeasuredLoad]:
        """Return the measurements of a size."""
        return [MeasuredLoad.from_json(load) for load in self.sizes[str(nodes)]["loads"]]

    def costs(self, nodes: int) -> Costs:
        """Return the costs of a plan on a graph of this size."""
        return estimate(self.loads(nodes))

    def costs_at(self, nodes: int, measured: dict[str, Any]) -> Costs:
        """Return the costs slowed down as the caller's calls were in `measured`, one of `scales`."""
        (base,) = [one for one in self.scales if self.scale_of(one) == Scale()]
        return self.costs(nodes).slowed(measured["call_ms"] / base["call_ms"])

    @staticmethod
    def scale_of(measured: dict[str, Any]) -> Scale:
        """Return the scale of one of `scales`."""
        return Scale(measured["gateways"], measured["coordinators"], measured["workers"])


def read_record(path: Path = FILE) -> Record:
    """Read the published record."""
    values = json.loads(path.read_text("utf-8"))
    for derived in ("costs", "per_plan"):
        values.pop(derived, None)
    return Record(**values)


def write_record(record: Record, path: Path = FILE) -> None:
    """Publish the record, with the derived costs for readers of the file."""
    costs = {nodes: record.costs(int(nodes)) for nodes in record.sizes}
    derived = {
        "costs": {nodes: one.to_json() for nodes, one in costs.items()},
        "per_plan": {nodes: unbatched_ms(one) | busy_ms(record.loads(int(nodes))) for nodes, one in costs.items()},
    }
    write_aside(path, json.dumps({**asdict(record), **derived}, indent=1) + "\n")


def busy_ms(loads: list[MeasuredLoad]) -> dict[str, float]:
    """Return each process's cost of a plan, in total and on its loop, measured with BUSY_PLANS in progress."""
    (load,) = [one for one in loads if one.in_flight == BUSY_PLANS]
    found = {"busy_qps": round(load.plans_per_second, 1)}
    for process in PROCESSES:
        used = load.used[process]
        found[f"{process}_busy_ms"] = round(1e3 * used.all_s / load.plans, 4)
        found[f"{process}_busy_loop_ms"] = round(1e3 * used.loop_s / load.plans, 4)
    return found


def unbatched_ms(costs: Costs) -> dict[str, float]:
    """Return each process's cost of a plan, in total and on its loop, if plans are alone and each call wakes it.

    That is the case in a large mesh that is not always busy. It is an upper bound for sizing.
    """
    items = costs.items_per_plan
    found: dict[str, float] = {}
    for process in PROCESSES:
        cost = costs.processes[process]
        total, wakes = cost.total_ms(items), WAKES.get(process, 0) * cost.wake_ms
        loop = total * cost.loop_share + (wakes if cost.loop_share else 0.0)
        found |= {f"{process}_ms": round(total + wakes, 4), f"{process}_loop_ms": round(loop, 4)}
    return found
