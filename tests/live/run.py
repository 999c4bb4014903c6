"""One run: a mesh of processes, clients that change a graph and plan on it, and faults meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from planmesh.client import AsyncClient, Client
from tests.live.clients import PLAN_S_MAX, RandomClient, Shared
from tests.live.history import EXCUSED, Asked, Ended, Fault, Loaded, write_history
from tests.live.model import Model
from tests.live.second_pair import MODULES, SecondPair, second_pair
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.mesh.small_graph import SmallGraph, random_pairs, service_graph

CLIENTS: Final = 10
DOMAINS: Final = 8
NODES_PER_DOMAIN: Final = 50
SHARDS: Final = 2

STOPPED_S_MAX: Final = 2.5
STOPPED_CALLS_MAX: Final = 150
"""A stopped process goes on after so long, or so many calls, whichever is first."""

LAST_PAIRS: Final = 200
"""Pairs that are planned on the last version."""

KINDS: Final = ("gateway", "coordinator", "partition", "worker", "workers", "redis")


@dataclass(frozen=True, slots=True)
class Size:
    """How much a run does."""

    calls: int
    faults: int
    workers: int
    coordinators: int
    """1, or 2, each with its gateway."""


LONG: Final = Size(calls=10_000, faults=20, workers=4, coordinators=2)
SHORT: Final = Size(calls=1_000, faults=5, workers=2, coordinators=1)


def run(seed: int, size: Size, data: Path, history: Path) -> None:
    """Run a mesh in the folder `data`, and write the history, also when the run fails."""
    graph = service_graph(seed, DOMAINS, NODES_PER_DOMAIN)
    with ExitStack() as running:
        mesh = running.enter_context(own_mesh(data, "--workers", str(size.workers), "--shards", str(SHARDS)))
        with Client(mesh.address) as client:
            loaded = graph.load(client, "default")
        shared = Shared(Model(graph.nodes, graph.edges), loaded.version, size.calls)
        shared.records.append(Loaded(loaded.version, graph.nodes, graph.edges))
        second = running.enter_context(second_pair(mesh, data)) if size.coordinators > 1 else None
        try:
            asyncio.run(_call(Processes(mesh, second), graph, shared, seed, size))
        finally:
            write_history(history, shared.records)


@dataclass(frozen=True, slots=True)
class Processes:
    """All processes of a run, by name."""

    mesh: OwnMesh
    second: SecondPair | None

    @property
    def addresses(self) -> list[str]:
        return [self.mesh.address, *([] if self.second is None else [self.second.address])]

    def names(self, kind: str, chance: random.Random) -> list[str]:
        """Draw the process of a kind to which a fault happens; it happens to all "workers"."""
        if kind == "workers":
            return self.mesh.names("worker")
        seconds = [] if self.second is None else [name for name in MODULES if name.endswith(kind)]
        return [chance.choice(self.mesh.names(kind) + seconds)]

    def kill(self, names: list[str]) -> None:
        """SIGKILL processes, and return when there are others."""
        if self.second is not None and names[0] in MODULES:
            self.second.kill(names[0])
        else:
            self.mesh.kill(*names)

    def signal(self, number: signal.Signals, names: list[str]) -> None:
        """Send a signal to processes."""
        if self.second is not None and names[0] in MODULES:
            self.second.signal(number, names[0])
        else:
            self.mesh.signal(number, *names)

    def wait_until_whole(self) -> None:
        """Return when everything answers."""
        self.mesh.wait_until_whole()
        if self.second is not None:
            self.second.wait_until_ready()


async def _call(processes: Processes, graph: SmallGraph, shared: Shared, seed: int, size: Size) -> None:
    clients = [RandomClient(shared, processes.addresses, number, seed, len(graph.nodes)) for number in range(CLIENTS)]
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.run())
        tasks.create_task(_inject_faults(processes, shared, random.Random(seed), size))
    await asyncio.to_thread(processes.wait_until_whole)
    await _read_last(processes, graph, shared, seed)


async def _read_last(processes: Processes, graph: SmallGraph, shared: Shared, seed: int) -> None:
    """Plan on the last version, past all caches, and ask for its number."""
    before = len(shared.records)
    for address in processes.addresses:
        last = RandomClient(shared, [address], CLIENTS, seed, len(graph.nodes))
        await last.plan_last(random_pairs(graph, LAST_PAIRS, seed))
        async with AsyncClient(address, timeout_s=PLAN_S_MAX) as client:
            ended = await client.graph()
    failed = [one for one in shared.records[before:] if isinstance(one, Asked) and one.outcome in EXCUSED]
    assert not failed, f"expected answers of a mesh that is whole again, got {failed[0]}"
    shared.records.append(Ended(ended.version, ended.base_version))


async def _inject_faults(processes: Processes, shared: Shared, chance: random.Random, size: Size) -> None:
    """Kill or stop processes at random points of the run, one fault after another."""
    moments = sorted(chance.randrange(size.calls // 20, size.calls) for _ in range(size.faults))
    every = [(kind, number) for kind in KINDS for number in (signal.SIGKILL, signal.SIGSTOP)]
    plan = chance.sample(every, min(len(every), size.faults))
    plan += chance.choices(every, k=size.faults - len(plan))
    for moment, (kind, number) in zip(moments, plan, strict=True):
        while shared.done < moment:
            await _call_ended(shared)
        names = processes.names(kind, chance)
        begin_s = time.monotonic()
        if number == signal.SIGKILL:
            await asyncio.to_thread(processes.kill, names)
        else:
            await _stop_for_a_while(processes, shared, names, chance)
        shared.records.append(Fault(begin_s, time.monotonic(), f"{number.name} {' '.join(names)}"))
    shared.faulty = False


async def _stop_for_a_while(processes: Processes, shared: Shared, names: list[str], chance: random.Random) -> None:
    processes.signal(signal.SIGSTOP, names)
    try:
        # It may be that no call ends while the process is stopped.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0.1, STOPPED_S_MAX)):
                for _ in range(chance.randint(1, STOPPED_CALLS_MAX)):
                    await _call_ended(shared)
    finally:
        processes.signal(signal.SIGCONT, names)


async def _call_ended(shared: Shared) -> None:
    shared.ended.clear()
    await shared.ended.wait()
