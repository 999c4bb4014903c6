"""Advice: the cheapest store that meets the requirements, the machines of the mesh, and the costs of both."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from planmesh.advise import processes, sizing
from planmesh.advise.figures import Cloud, Figures, Row
from planmesh.advise.sizing import STORES, WITH_PATTERNS, Machines, Number
from planmesh.errors import InvalidRequest

NODES_MAX: Final = 10_000_000_000
QPS_MAX: Final = 10_000_000.0
BISECTIONS: Final = 40
"""Bisections for the greatest rate within a budget: enough for every digit that is shown."""

QPS_MIN: Final = 0.001
"""Least rate reported for a budget; a smaller one counts as 0."""

ALWAYS_ASSUMED: Final = (
    "utilisation",
    "versions",
    "memory_share",
    "hours_per_month",
    "system_disk_gib",
)
STATEMENTS: Final = (
    "Four edges per node, as in the measured graphs.",
    "Every plan is computed: no answer comes from a cache. Repeated plans cost less.",
    "Spare machines for failures are not included; nor are traffic, backups and staff.",
    "SQLite is a file beside the service that loads the graph. If other programs write to the graph too, choose a "
    "store with a server.",
    "The store itself answers pattern queries; they are not among the plans per second.",
    "A graph that already lives in a store stays there. The advice does not cover Gremlin, because the requirements of "
    "its servers differ.",
)


@dataclass(frozen=True, slots=True)
class Question:
    """The requirements. `budget_usd` is per month, None without a budget."""

    nodes: int
    qps: float
    patterns: bool = False
    cloud: str = "aws"
    budget_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One store with a mesh. `store_machines` is None when no listed machine can hold the store's server."""

    store: str
    mesh_machines: Machines
    store_machines: Machines | None
    store_memory: Number
    store_disk: Number
    monthly_usd: float
    """Infinite when no listed machine can hold the store."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer. `options` are all considered stores, the advised one first."""

    question: Question
    options: list[Option]
    numbers: list[Number]
    rows: dict[str, Row]
    qps_within_budget: float | None

    @property
    def best(self) -> Option:
        """The advised option, which is the cheapest."""
        return self.options[0]

    @property
    def within_budget(self) -> bool | None:
        """Whether the advised option costs at most the budget; None without a budget."""
        budget = self.question.budget_usd
        return None if budget is None else self.best.monthly_usd <= budget

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of docs/reference/cli-json.md."""
        return {
            **asdict(self.question),
            "within_budget": self.within_budget,
            "qps_within_budget": self.qps_within_budget,
            "store": self.best.store,
            "monthly_usd": round(self.best.monthly_usd, 2),
            "numbers": [{**asdict(number), "value": rounded(number.value)} for number in self.numbers],
            "options": [_option_json(option) for option in self.options],
            "assumptions": list(STATEMENTS),
            "rows": {name: row.model_dump(mode="json", exclude_defaults=True) for name, row in self.rows.items()},
        }


def advise(figures: Figures, question: Question) -> Advice:
    """Compute the advice.

    Raises InvalidRequest for numbers out of bounds, an unknown cloud, or a graph that no listed machine of the cloud
    can
    hold.
    """
    _check(question)
    cloud = figures.cloud(question.cloud)
    options = _options(figures, cloud, question)
    if math.isinf(options[0].monthly_usd):
        raise InvalidRequest(
            f"expected a machine of {question.cloud} in the table that holds a store with {question.nodes:,} nodes"
            + (" and patterns" if question.patterns else "")
            + ", found none; use fewer nodes or another cloud",
            field="nodes",
        )
    best = options[0]
    numbers = _numbers(figures, cloud, question, best)
    used = dict.fromkeys([*(row for number in numbers for row in number.rows), *ALWAYS_ASSUMED])
    within = None
    if question.budget_usd is not None and best.monthly_usd > question.budget_usd:
        within = _qps_within(figures, cloud, question)
    return Advice(question, options, numbers, {name: figures.rows[name] for name in used}, within)


def check_bounds(nodes: int, qps: float) -> None:
    """Raise InvalidRequest if one of the numbers is out of bounds."""
    for field, value, bound in (("nodes", nodes, NODES_MAX), ("qps", qps, QPS_MAX)):
        if not 0 < value <= bound:
            raise InvalidRequest(f"expected {field} above 0 and at most {bound:,.0f}, got {value:g}", field=field)


def _check(question: Question) -> None:
    check_bounds(question.nodes, question.qps)
    if question.budget_usd is not None and not question.budget_usd > 0:
        raise InvalidRequest(f"expected a budget above 0 USD per month, got {question.budget_usd:g}", field="budget")


def _options(figures: Figures, cloud: Cloud, question: Question) -> list[Option]:
    """Return every store that meets the requirements, the cheapest first."""
    machines, mesh_usd = _mesh(figures, cloud, question)
    options = []
    for store in WITH_PATTERNS if question.patterns else STORES:
        memory = sizing.store_memory(figures, store, question.nodes)
        disk = sizing.store_disk(figures, store, question.nodes)
        own = sizing.store_machine(figures, cloud, memory)
        usd = math.inf
        if own is not None:
            usd = mesh_usd + own.monthly_usd(figures) + _disk_usd(figures, cloud, disk.value, own.count)
        options.append(Option(store, machines, own, memory, disk, usd))
    return sorted(options, key=lambda option: option.monthly_usd)


def _mesh(figures: Figures, cloud: Cloud, question: Question) -> tuple[Machines, float]:
    """Return the cheapest machines that can run the mesh, and their cost per month with disks."""
    needed = processes.cores(figures, question.nodes, question.qps), sizing.graph_memory(figures, question.nodes)
    disk = sizing.mesh_disk(figures, question.nodes)
    found = []
    for instance in cloud.instances:
        machines = sizing.mesh_machines(figures, instance, *needed)
        if machines is not None:
            usd = machines.monthly_usd(figures) + _disk_usd(figures, cloud, disk.value, machines.count)
            found.append((usd, machines.count, instance.name, machines))
    if not found:
        raise InvalidRequest("expected a machine in the table that holds a mesh's processes, found none", field="cloud")
    usd, _, _, machines = min(found, key=lambda one: one[:3])
    return machines, usd


def _disk_usd(figures: Figures, cloud: Cloud, data_gib: float, machines: int) -> float:
    gib = data_gib + machines * figures.value("system_disk_gib")
    return gib * figures.value(cloud.disk_usd_per_gib_month)


def _qps_within(figures: Figures, cloud: Cloud, question: Question) -> float:
    """Return the greatest rate within the budget, 0 if the budget does not cover even an idle graph.

    Searches by bisection, because costs never fall as the rate grows.
    """
    assert question.budget_usd is not None
    low, high = 0.0, question.qps
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        asked = Question(question.nodes, middle, question.patterns, question.cloud)
        if middle > 0 and _options(figures, cloud, asked)[0].monthly_usd <= question.budget_usd:
            low = middle
        else:
            high = middle
    return _rounded_down(low) if low >= QPS_MIN else 0.0


def _rounded_down(value: float) -> float:
    """Round down to four significant digits."""
    digit = 10.0 ** (math.floor(math.log10(value)) - 3)
    rounded = float(f"{math.floor(value / digit) * digit:.4g}")
    return rounded if rounded <= value else float(f"{rounded - digit:.4g}")


def _numbers(figures: Figures, cloud: Cloud, question: Question, best: Option) -> list[Number]:
    """Return all numbers about the advised option."""
    nodes = question.nodes
    of_cores = processes.cores(figures, nodes, question.qps)
    memory, disk = sizing.graph_memory(figures, nodes), sizing.mesh_disk(figures, nodes)
    mesh, own = best.mesh_machines, best.store_machines
    assert own is not None
    numbers = [
        of_cores,
        processes.count_of(figures, "worker", nodes, question.qps),
        memory,
        Number(
            "mesh_machines",
            mesh.count,
            mesh.instance.name,
            of_cores.kind,
            (*dict.fromkeys([*of_cores.rows, *memory.rows, "memory_share", mesh.instance.usd_per_hour]),),
            f"{mesh.instance.vcpus} vCPUs and {mesh.instance.memory_gib:g} GiB each; the cheapest kind with enough "
            "cores and memory",
        ),
        disk,
        best.store_memory,
        best.store_disk,
        Number(
            "store_machines",
            own.count,
            own.instance.name if own.count else "machines",
            best.store_memory.kind,
            (*best.store_memory.rows, "memory_share", own.instance.usd_per_hour) if own.count else (),
            "the cheapest kind that holds its server" if own.count else "it has no server",
        ),
        *(sizing.latency(figures, nodes, point) for point in ("p50", "p95")),
    ]
    prices = {mesh.instance.usd_per_hour, cloud.disk_usd_per_gib_month, *([own.instance.usd_per_hour] * own.count)}
    rows = (*sorted(prices), "hours_per_month", "system_disk_gib")
    how = f"machines and disks in {cloud.region}, list prices without discounts"
    numbers.append(Number("monthly_cost", best.monthly_usd, "USD", of_cores.kind, rows, how))
    return numbers


def _option_json(option: Option) -> dict[str, Any]:
    fits = option.store_machines is not None
    return {
        "store": option.store,
        "fits": fits,
        "store_memory_gib": rounded(option.store_memory.value),
        "store_disk_gib": rounded(option.store_disk.value),
        "mesh_machines": {"instance": option.mesh_machines.instance.name, "count": option.mesh_machines.count},
        "store_machines": _machines_json(option.store_machines),
        "monthly_usd": round(option.monthly_usd, 2) if fits else None,
    }


def _machines_json(machines: Machines | None) -> dict[str, Any] | None:
    if machines is None or machines.count == 0:
        return None
    return {"instance": machines.instance.name, "count": machines.count}


def rounded(value: float) -> float:
    """Round to four significant digits, which is as precise as the figures are; keep whole numbers."""
    return float(value) if value == int(value) else float(f"{value:.4g}")
