"""The page of figures behind docs/operations/scaling.md, and its plots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from bench.graphs import ROOT
from bench.local_stack import Scale
from bench.plots import OUR_COLOR, PEER_COLOR, save, styled
from bench.results import write_aside
from bench.scaling.costs import PROCESSES, REST, Costs
from bench.scaling.growth import Grown, read_grown
from bench.scaling.mesh_model import Mesh
from bench.scaling.record import Record
from bench.scaling.simulation import Simulated, simulate
from bench.statistics import shown
from planmesh.advise import Demand, read_figures, size

FOLDER: Final = ROOT / "docs" / "benchmarks"
BASE_NODES: Final = 100_000
LADDER: Final = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
LADDER_QPS: Final = 1_000
SIMULATE_S: Final = 1.0


def write_report(record: Record) -> None:
    """Simulate the measured meshes, compare, and write the page with its plots. Larger meshes come from `grow`."""
    costs = record.costs(BASE_NODES)
    grown = dict(zip(("one Redis server", "a Redis server for each shard"), read_grown(), strict=True))
    compared = list(_compared(record))
    lines = [
        "# How a mesh scales: the figures",
        "",
        f"Measured {record.began} by `make bench-scaling` on {record.machine['cores']} cores "
        f"({record.machine['processor']}), simulated by `python -m bench.scaling grow` and `report`. "
        "[The paper](../operations/scaling.md) explains the figures, the assumptions and their limits.",
        "",
        *_costs_section(record),
        *_loads_section(record, costs),
        *_scales_section(compared),
        *_growth_section(grown),
        *_ladder_section(),
        *_memory_section(record),
    ]
    write_aside(FOLDER / "scaling.md", "\n".join(lines).rstrip() + "\n")
    with styled() as pyplot:
        _draw_growth(pyplot, grown, FOLDER)
        _draw_scales(pyplot, compared, FOLDER)
        _draw_ladder(pyplot, FOLDER)


def mesh_like(scale: Scale, cores: int, callers: int) -> Mesh:
    """Return the mesh that simulates a measured one on one machine."""
    return Mesh(
        gateways=scale.gateways, coordinators=scale.coordinators, workers=scale.workers, cores=cores, callers=callers
    )  # fmt: skip


def _costs_section(record: Record) -> list[str]:
    lines = [
        "## What a plan costs each process",
        "",
        "Milliseconds of processor time. *Wake* is the extra cost of a call that comes while nothing waits; *loop* is "
        "the share that the process's one loop spends, while the rest runs in other threads.",
        "",
        "| nodes | process | a plan | a task | wake | loop |",
        "| --: | --- | --: | --: | --: | --: |",
    ]
    for nodes in record.sizes:
        costs = record.costs(int(nodes))
        for process in (*PROCESSES, REST):
            cost = costs.processes[process]
            figures = (cost.plan_ms, cost.task_ms, cost.wake_ms)
            cells = " | ".join(shown(figure) for figure in figures)
            lines.append(f"| {int(nodes):,} | {process} | {cells} | {cost.loop_share:.0%} |")
    return [*lines, ""]


def _loads_section(record: Record, costs: Costs) -> list[str]:
    lines = [
        "## One process of each kind, by the number of calls in progress",
        "",
        "The simulation uses the processor time that was measured in these loads, not their throughput. "
        f"{BASE_NODES:,} nodes.",
        "",
        "| in progress | plans/s measured | simulated | apart | p50 ms measured | simulated | items per task measured "
        "| simulated |",
        "| --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    cores = int(record.machine["cores"])
    for load in record.loads(BASE_NODES):
        found = simulate(mesh_like(Scale(), cores, load.in_flight), costs, seconds=SIMULATE_S)
        assert load.latency_ms is not None
        apart = found.plans_per_second / load.plans_per_second - 1
        lines.append(
            f"| {load.in_flight} | {shown(load.plans_per_second)} | {shown(found.plans_per_second)} | {apart:+.0%} | "
            f"{shown(load.latency_ms['p50'])} | {shown(found.p50_ms)} | {shown(load.items / load.tasks)} | "
            f"{shown(found.items_per_task)} |"
        )
    return [*lines, ""]


def _compared(record: Record) -> Iterable[tuple[Scale, dict[str, Any], Simulated]]:
    for measured in record.scales:
        scale = Record.scale_of(measured)
        mesh = mesh_like(scale, int(record.machine["cores"]), measured["in_flight"])
        yield scale, measured, simulate(mesh, record.costs_at(BASE_NODES, measured), seconds=SIMULATE_S)


def _scales_section(compared: Sequence[tuple[Scale, dict[str, Any], Simulated]]) -> list[str]:
    lines = [
        "## More processes of each kind, on the same cores",
        "",
        "Gateways/coordinators/workers of each of two shards, 64 calls in progress. *Times 1/1/1* is the effect of "
        "replicas. *A call* is the caller's own processor time for one, in milliseconds. The caller does the same at "
        "every scale, so this shows how much slower a core is when more processes share it; we scale every simulated "
        "cost by that slowdown.",
        "",
        "| scale | a call | plans/s measured | simulated | apart | times 1/1/1 measured | simulated | apart |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    (base,) = [(one["plans_per_second"], found.plans_per_second) for scale, one, found in compared if scale == Scale()]
    for scale, one, found in compared:
        measured, simulated = one["plans_per_second"], found.plans_per_second
        ratios = measured / base[0], simulated / base[1]
        lines.append(
            f"| {scale} | {shown(one['call_ms'])} | {shown(measured)} | {shown(simulated)} | "
            f"{simulated / measured - 1:+.0%} | {ratios[0]:.2f} | {ratios[1]:.2f} | {ratios[1] / ratios[0] - 1:+.0%} |"
        )
    return [*lines, "", "![scales](scaling-scales.svg)", ""]


def _growth_section(grown: dict[str, list[Grown]]) -> list[str]:
    lines = [
        "## 4 to 400 workers, simulated",
        "",
        "Every process has a core of its own, callers have machines of their own, and the network takes 0.1 ms one "
        "way. There are enough gateways and coordinators that their loops are not the limit. *Busiest* is the process "
        "with the busiest loop at the greatest throughput; latency is that at 60 % of it.",
        "",
    ]
    for name, sizes in grown.items():
        lines += [
            f"### {name[0].upper()}{name[1:]}",
            "",
            "| workers | shards | Redis servers | gateways | coordinators | plans/s | each | busiest | tasks a plan "
            "| p50 ms | p95 ms |",
            "| --: | --: | --: | --: | --: | --: | --: | --- | --: | --: | --: |",
        ]
        for one in sizes:
            lines.append(
                f"| {one.workers} | {one.shards} | {one.redis_servers} | {one.gateways} | {one.coordinators} | "
                f"{one.plans_per_second:,.0f} | {shown(one.plans_per_second / one.workers)} | "
                f"{one.busiest}, {one.busy:.0%} | {shown(one.tasks_per_plan)} | "
                f"{shown(one.p50_ms)} | {shown(one.p95_ms)} |"
            )
        lines.append("")
    return [*lines, "![workers](scaling-workers.svg)", ""]


def _ladder_section() -> list[str]:
    names = ("gateways", "coordinators", "workers", "shards", "coordinator_memory", "worker_memory", "partition_memory")
    lines = [
        f"## Ten thousand to a billion nodes, {LADDER_QPS:,} plans/s",
        "",
        f"As `planmesh size --nodes N --qps {LADDER_QPS}` says; memory in GiB, of each process, and of the partition "
        "service while it loads.",
        "",
        f"| nodes | {' | '.join(name.replace('_', ' ') for name in names)} | disk GiB | load min | p50 ms | beyond |",
        f"| --: | {' | '.join(['--:'] * len(names))} | --: | --: | --: | --- |",
    ]
    figures = read_figures()
    for nodes in LADDER:
        found = size(figures, Demand(nodes, LADDER_QPS))
        cells = " | ".join(
            shown(found.value(name)) if name.endswith("memory") else f"{found.value(name):g}" for name in names
        )
        limits = "; ".join(found.limits) or "-"
        rest = (shown(found.value("disk")), shown(found.value("load_time")), shown(found.value("latency_p50")))
        lines.append(f"| {nodes:,} | {cells} | {' | '.join(rest)} | {limits} |")
    return [*lines, "", "![nodes](scaling-nodes.svg)", ""]


def _memory_section(record: Record) -> list[str]:
    lines = [
        "## Files and memory, measured",
        "",
        "| nodes | edges | partitions | directory MiB | overlay MiB | indexes MiB | gateway MiB | coordinator MiB | "
        "worker MiB | redis MiB |",
        "| --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for measured in record.sizes.values():
        files = " | ".join(shown(measured["files_mib"][name]) for name in ("directory", "overlay", "partitions"))
        own = " | ".join(
            shown(measured["memory_mib"][process]) for process in ("gateway", "coordinator", "worker", "redis")
        )
        lines.append(
            f"| {measured['nodes']:,} | {measured['edges']:,} | {measured['partitions']:,} | {files} | {own} |"
        )
    return [*lines, "", "Memory is the private memory of a process, without the files that it maps."]


def _draw_growth(pyplot: Any, grown: dict[str, list[Grown]], folder: Path) -> None:
    figure, axis = pyplot.subplots(figsize=(8, 4.5))
    first = next(iter(grown.values()))[0]
    workers = [one.workers for one in next(iter(grown.values()))]
    each = first.plans_per_second / first.workers
    axis.plot(workers, [each * count for count in workers], ":", color=PEER_COLOR, label="in proportion")
    for (name, sizes), style in zip(grown.items(), ("-", "--"), strict=True):
        rates = [one.plans_per_second for one in sizes]
        axis.plot(workers, rates, style, marker="o", color=OUR_COLOR, label=name)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(workers, [str(count) for count in workers])
    axis.set_xlabel("workers")
    axis.set_ylabel("plans a second, simulated")
    axis.legend(frameon=False)
    save(pyplot, figure, folder, "scaling-workers.svg")


def _draw_scales(pyplot: Any, compared: Sequence[tuple[Scale, dict[str, Any], Simulated]], folder: Path) -> None:
    figure, axis = pyplot.subplots(figsize=(8, 3.5))
    names = [str(scale) for scale, _, _ in compared]
    places = range(len(names))
    for offset, color, label, rates in (
        (-0.2, OUR_COLOR, "measured", [measured["plans_per_second"] for _, measured, _ in compared]),
        (0.2, PEER_COLOR, "simulated", [found.plans_per_second for _, _, found in compared]),
    ):
        axis.bar([place + offset for place in places], rates, 0.38, color=color, label=label)
    axis.set_xticks(list(places), names)
    axis.set_xlabel("gateways/coordinators/workers of a shard, all on the same cores")
    axis.set_ylabel("plans a second")
    axis.legend(frameon=False)
    save(pyplot, figure, folder, "scaling-scales.svg")


def _draw_ladder(pyplot: Any, folder: Path) -> None:
    figures = read_figures()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 4))
    sizes = [size(figures, Demand(nodes, LADDER_QPS)) for nodes in LADDER]
    for name, style in (("coordinator_memory", "-"), ("worker_memory", "--"), ("partition_memory", ":")):
        label = name.removesuffix("_memory")
        left.plot(LADDER, [one.value(name) for one in sizes], style, color=OUR_COLOR, label=label)
    right.plot(LADDER, [one.value("load_time") for one in sizes], "-", color=OUR_COLOR, label="by the power law")
    rows = json.loads((FOLDER / "results.json").read_text("utf-8"))
    points = [(row["nodes"], row) for row in rows if row["subject"] == "planmesh-mesh" and "service" in row["graph"]]
    left.plot(
        [n for n, _ in points], [row["memory_mb"] / 1_024 for _, row in points], "k+", label="whole mesh, measured"
    )
    right.plot([n for n, _ in points], [row["load_s"] / 60 for _, row in points], "k+", label="measured")
    for axis, unit in ((left, "GiB"), (right, "minutes from a file to the first plan")):
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("nodes")
        axis.set_ylabel(unit)
        axis.legend(frameon=False)
    save(pyplot, figure, folder, "scaling-nodes.svg")
