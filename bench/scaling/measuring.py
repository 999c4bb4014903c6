"""Loads on a mesh of local processes: what was answered, and the processor time of each part meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psutil

from bench.caller import Called, Caller, Load
from bench.graphs import ROOT
from bench.local_stack import LocalStack, Scale, local_stack
from bench.processor_time import ProcessTime, Sample, sample
from bench.scaling.costs import MeasuredLoad
from planmesh.client import Client
from planmesh.snapshot.manifest import DIRECTORY_NAME, MANIFEST_NAME, OVERLAY_NAME, PARTITION_FOLDER

WORK: Final = ROOT / "build" / "bench" / "scaling"
IN_FLIGHT: Final = (1, 8, 64)
"""Of a calibration: tasks of one item, of some, and of many."""

VALIDATED: Final = (
    *(Scale(1, 1, 1), Scale(2, 1, 1), Scale(1, 2, 1), Scale(1, 1, 2)),
    *(Scale(2, 2, 2), Scale(4, 4, 2)),
)
IDLE_S: Final = 2.0
WARM_UP_S: Final = 2.0
MEBIBYTE: Final = 2**20


class MeasurementFailed(Exception):  # noqa: N818 - it is told as it is called
    """Calls failed, so that the figures would mean nothing."""


def parts_of(pids: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """The processes of a stack by the names that costs have: workers of all shards are one part."""
    parts: dict[str, list[int]] = {}
    for name, of_part in pids.items():
        part = "worker" if name.startswith("worker-") else name
        if part in ("envoy", "gateway", "coordinator", "redis", "worker"):
            parts.setdefault(part, []).extend(of_part)
    return parts


def measured_load(
    address: str, parts: Mapping[str, Sequence[int]], load: Load, idle: Sample | None = None, idle_s: float = IDLE_S
) -> MeasuredLoad:
    """Ask for `load.seconds`; tasks are right where there is one coordinator.

    Of `idle`, used within `idle_s` before anything was asked, the like is taken off what the load used. Raises
    MeasurementFailed when a call in a hundred failed.
    """
    caller = Caller(address, load)
    try:
        with Client(address) as client:
            counted = client.status().counters
            before, began_s = sample(parts), time.monotonic()
            called = caller.run()
            used, seconds = sample(parts).since(before), time.monotonic() - began_s
            counters = client.status().counters
    finally:
        caller.close()
    if sum(called.errors.values()) * 100 > called.plans:
        raise MeasurementFailed(f"{called.plans} plans, and errors {called.errors}")
    rest_s = used.rest_s - called.processor_s
    parts_used, idle_share = used.parts, 0.0
    if idle is not None:
        share = seconds / idle_s
        parts_used = {part: one - idle.parts[part].times(share) for part, one in parts_used.items()}
        rest_s -= idle.rest_s * share
        idle_share = idle.machine_s / idle_s
    return MeasuredLoad(
        in_flight=load.in_flight,
        seconds=called.seconds,
        plans=called.plans,
        tasks=counters.tasks - counted.tasks,
        items=counters.task_items - counted.task_items,
        used={**parts_used, "client": ProcessTime(called.loop_s, called.processor_s)},
        rest_s=max(0.0, rest_s),
        idle_share=idle_share,
        latency_ms=called.latency_ms,
    )


def idle_sample(parts: Mapping[str, Sequence[int]], seconds: float = IDLE_S) -> Sample:
    """What a mesh uses while nobody asks: heartbeats, health checks."""
    before = sample(parts)
    time.sleep(seconds)
    return sample(parts).since(before)


def calibrate(stack: LocalStack, seconds: float, in_flight: Sequence[int] = IN_FLIGHT) -> list[MeasuredLoad]:
    """Loads of a stack, one for each number of calls under way."""
    parts = parts_of(stack.pids)
    idle = idle_sample(parts)
    return [measured_load(stack.address, parts, Load(number, seconds), idle) for number in in_flight]


def measure_size(nodes: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """One size of a service-like graph on one process of each part: memory, files, and loads."""
    folder = WORK / f"service-{nodes}"
    edges = service_edges(folder, nodes, say)
    with local_stack(folder / "mesh", Scale()) as stack:
        empty = memory_mib(stack.pids)
        loaded = load_once(stack, edges)
        say(f"loaded {nodes:,} nodes")
        loads = calibrate(stack, seconds)
        for load in loads:
            say(f"{nodes:,} nodes, {load.in_flight} under way: {load.plans_per_second:,.0f} plans/s")
        return {
            "nodes": loaded["nodes"],
            "edges": loaded["edges"],
            "partitions": loaded["partitions"],
            "files_mib": snapshot_mib(stack.data),
            "memory_empty_mib": empty,
            "memory_mib": memory_mib(stack.pids),
            "loads": [load.to_json() for load in loads],
        }


def service_edges(folder: Path, nodes: int, say: Callable[[str], None]) -> Path:
    """The file of a service-like graph, its nodes beside it, made in a folder unless it is there."""
    edges = folder / "edges.tsv"
    if not edges.exists():
        folder.mkdir(parents=True, exist_ok=True)
        say(f"generate {nodes:,} nodes")
        command = (sys.executable, "-m", "planmesh.cli", "generate", "service", "--nodes", str(nodes))
        subprocess.run([*command, "--out", str(edges)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return edges


def load_once(stack: LocalStack, edges: Path) -> dict[str, Any]:
    """Load the graph, unless the stack's folder has it from an earlier run; what `planmesh load` said."""
    said = stack.data / "loaded.json"
    if said.exists():
        value: dict[str, Any] = json.loads(said.read_text("utf-8"))
        return value
    value = stack.planmesh("load", str(edges), "--nodes", str(edges.with_name("edges.nodes.tsv")))
    said.write_text(json.dumps(value), "utf-8")
    return value


def memory_mib(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Memory that a process of each part has for itself, the mean of the part's; mapped files are shared, not in it."""
    memory: dict[str, float] = {}
    for part, of_part in parts_of(pids).items():
        own = [psutil.Process(pid).memory_full_info().uss / MEBIBYTE for pid in of_part]
        memory[part] = round(sum(own) / len(own), 1)
    return memory


def snapshot_mib(data: Path) -> dict[str, float]:
    """Sizes of the files of the newest snapshot below a folder: what each coordinator maps, and what the workers do."""
    manifests = sorted(data.rglob(MANIFEST_NAME), key=lambda path: path.stat().st_mtime)
    folder = manifests[-1].parent
    names = {"directory": DIRECTORY_NAME, "overlay": OVERLAY_NAME, "partitions": PARTITION_FOLDER}
    sizes = dict.fromkeys(names, 0)
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).parts[0]
            for key, begins in names.items():
                if name.startswith(begins):
                    sizes[key] += path.stat().st_size
    return {name: round(size / MEBIBYTE, 3) for name, size in sizes.items()}


def called_once(address: str, load: Load) -> Called:
    """What a load of its own brings back."""
    caller = Caller(address, load)
    try:
        return caller.run()
    finally:
        caller.close()


def called_warm(address: str, load: Load) -> Called:
    """The same, once every process has its files mapped and code compiled."""
    called_once(address, replace(load, seconds=WARM_UP_S))
    return called_once(address, load)


def measure_scale(scale: Scale, nodes: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Throughput of a scale, with 64 calls under way, on the graph of `measure_size`."""
    folder = WORK / f"service-{nodes}"
    edges = service_edges(folder, nodes, say)
    with local_stack(folder / "mesh", scale) as stack:
        load_once(stack, edges)
        called = called_warm(stack.address, Load(IN_FLIGHT[-1], seconds))
    return {
        "gateways": scale.gateways,
        "coordinators": scale.coordinators,
        "workers": scale.workers,
        "in_flight": IN_FLIGHT[-1],
        "plans_per_second": round(called.plans_per_second, 1),
        "call_ms": round(called.call_ms, 4),
        "latency_ms": called.latency_ms,
        "errors": called.errors,
    }
