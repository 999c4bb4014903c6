"""Measures the answers of a local mesh under load, and the processor time of each process."""

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
"""Calls in progress in the calibration, so that tasks have one item, some, and many."""

VALIDATED: Final = (
    *(Scale(1, 1, 1), Scale(2, 1, 1), Scale(1, 2, 1), Scale(1, 1, 2)),
    *(Scale(2, 2, 2), Scale(4, 4, 2)),
)
IDLE_S: Final = 2.0
WARM_UP_S: Final = 2.0
MEBIBYTE: Final = 2**20


class MeasurementFailed(Exception):  # noqa: N818 - reports print the name
    """Calls failed, which makes the figures meaningless."""


def pids_by_process(pids: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Return the pids of a stack by the names that costs use: workers of all shards count as one kind."""
    processes: dict[str, list[int]] = {}
    for name, pids_of_process in pids.items():
        process = "worker" if name.startswith("worker-") else name
        if process in ("envoy", "gateway", "coordinator", "redis", "worker"):
            processes.setdefault(process, []).extend(pids_of_process)
    return processes


def measured_load(
    address: str, processes: Mapping[str, Sequence[int]], load: Load, idle: Sample | None = None, idle_s: float = IDLE_S
) -> MeasuredLoad:
    """Run `load` and measure. The number of tasks is correct only with one coordinator.

    Subtracts the time of `idle`, which was used within `idle_s` before the first call, in proportion. Raises
    MeasurementFailed if one call in a hundred failed.
    """
    caller = Caller(address, load)
    try:
        with Client(address) as client:
            counted = client.status().counters
            before, began_s = sample(processes), time.monotonic()
            called = caller.run()
            used, seconds = sample(processes).since(before), time.monotonic() - began_s
            counters = client.status().counters
    finally:
        caller.close()
    if sum(called.errors.values()) * 100 > called.plans:
        raise MeasurementFailed(f"expected at most 1 % failed calls, got {called.errors} beside {called.plans} plans")
    rest_s = used.rest_s - called.processor_s
    used_by_process, idle_share = used.processes, 0.0
    if idle is not None:
        share = seconds / idle_s
        used_by_process = {
            process: one - idle.processes[process].times(share) for process, one in used_by_process.items()
        }
        rest_s -= idle.rest_s * share
        idle_share = idle.machine_s / idle_s
    return MeasuredLoad(
        in_flight=load.in_flight,
        seconds=called.seconds,
        plans=called.plans,
        tasks=counters.tasks - counted.tasks,
        items=counters.task_items - counted.task_items,
        used={**used_by_process, "client": ProcessTime(called.loop_s, called.processor_s)},
        rest_s=max(0.0, rest_s),
        idle_share=idle_share,
        latency_ms=called.latency_ms,
    )


def idle_sample(processes: Mapping[str, Sequence[int]], seconds: float = IDLE_S) -> Sample:
    """Measure what a mesh uses without calls: heartbeats and health checks."""
    before = sample(processes)
    time.sleep(seconds)
    return sample(processes).since(before)


def calibrate(stack: LocalStack, seconds: float, in_flight: Sequence[int] = IN_FLIGHT) -> list[MeasuredLoad]:
    """Measure a stack once for each number of calls in progress."""
    processes = pids_by_process(stack.pids)
    idle = idle_sample(processes)
    return [measured_load(stack.address, processes, Load(number, seconds), idle) for number in in_flight]


def measure_size(nodes: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure one size of a service-like graph, with one process of each kind: memory, files, and loads."""
    folder = WORK / f"service-{nodes}"
    edges = service_edges(folder, nodes, say)
    with local_stack(folder / "mesh", Scale()) as stack:
        empty = memory_mib(stack.pids)
        loaded = load_once(stack, edges)
        say(f"loaded {nodes:,} nodes")
        loads = calibrate(stack, seconds)
        for load in loads:
            say(f"{nodes:,} nodes, {load.in_flight} in progress: {load.plans_per_second:,.0f} plans/s")
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
    """Return the file of a service-like graph, with its nodes beside it; make it if it does not exist."""
    edges = folder / "edges.tsv"
    if not edges.exists():
        folder.mkdir(parents=True, exist_ok=True)
        say(f"generate {nodes:,} nodes")
        command = (sys.executable, "-m", "planmesh.cli", "generate", "service", "--nodes", str(nodes))
        subprocess.run([*command, "--out", str(edges)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return edges


def load_once(stack: LocalStack, edges: Path) -> dict[str, Any]:
    """Load the graph unless the stack's folder has it, and return the report of `planmesh load`."""
    said = stack.data / "loaded.json"
    if said.exists():
        value: dict[str, Any] = json.loads(said.read_text("utf-8"))
        return value
    value = stack.planmesh("load", str(edges), "--nodes", str(edges.with_name("edges.nodes.tsv")))
    said.write_text(json.dumps(value), "utf-8")
    return value


def memory_mib(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return the private memory per process of each kind, as a mean. It excludes shared mapped files."""
    memory: dict[str, float] = {}
    for process, pids_of_process in pids_by_process(pids).items():
        own = [psutil.Process(pid).memory_full_info().uss / MEBIBYTE for pid in pids_of_process]
        memory[process] = round(sum(own) / len(own), 1)
    return memory


def snapshot_mib(data: Path) -> dict[str, float]:
    """Return the sizes of the newest snapshot's files below a folder: what coordinators map, and what workers map."""
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
    """Run a load in a new calling process."""
    caller = Caller(address, load)
    try:
        return caller.run()
    finally:
        caller.close()


def called_warm(address: str, load: Load) -> Called:
    """Run a load after a warm-up, in which processes map their files and compile their code."""
    called_once(address, replace(load, seconds=WARM_UP_S))
    return called_once(address, load)


def measure_scale(scale: Scale, nodes: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure the throughput of a scale with 64 calls in progress, on the graph of `measure_size`."""
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
