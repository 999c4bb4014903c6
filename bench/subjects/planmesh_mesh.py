"""The whole mesh: `planmesh up` on a free port with a folder of its own, `planmesh load`, plans over gRPC."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.graphs import BenchGraph
from bench.mesh_measures import agents, throughput
from planmesh.client import Client
from planmesh.errors import NoPath

GRAPH: Final = "default"
QUERY_S_MAX: Final = 60.0
STOP_S_MAX: Final = 60.0


class PlanmeshMesh:
    """One client, one call at a time. Asked past every cache, or for what was asked just before."""

    def prepare(self, graph: BenchGraph, folder: Path) -> None:
        """Start the mesh."""
        self.graph = graph
        self.data = folder / "mesh"
        self.parts_s: dict[str, float] = {}
        self._up()

    def _up(self) -> None:
        command = [sys.executable, "-m", "planmesh.cli", "up", "--data", str(self.data), "--port", "0", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        ready = json.loads(line) if line else {}
        if "address" not in ready:
            raise RuntimeError(f"planmesh up ended with exit code {self.process.wait()}: {line.decode()}")
        self.address: str = ready["address"]
        self.client = Client(self.address, timeout_s=QUERY_S_MAX)

    def load(self) -> None:
        """Load the file, as a user does."""
        nodes = ["--nodes", str(self.graph.nodes_file)] if self.graph.nodes_file is not None else []
        command = ["load", str(self.graph.source), *nodes, "--address", self.address, "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "planmesh.cli", *command], stdout=subprocess.PIPE, check=False, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"planmesh load ended with exit code {done.returncode}; the log has more")
        self.parts_s = {name: float(took_s) for name, took_s in json.loads(done.stdout)["seconds"].items()}

    def query(self, start: int, goal: int) -> float:
        """Cost of the plan, past the caches."""
        return self._plan(start, goal, bypass_cache=True)

    def fill_cache(self, start: int, goal: int) -> None:
        """Ask once."""
        self._plan(start, goal, bypass_cache=False)

    def query_cached(self, start: int, goal: int) -> float:
        """Ask again."""
        return self._plan(start, goal, bypass_cache=False)

    def _plan(self, start: int, goal: int, *, bypass_cache: bool) -> float:
        name = self.graph.node_id
        try:
            return self.client.plan(name(start), name(goal), bypass_cache=bypass_cache).cost
        except NoPath:
            return float("inf")

    def measure_mesh(self, what: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Throughput beside the floor, many agents at once, or the time of a restart."""
        if what == "restart":
            return self._restart(*options["pair"])
        if what == "throughput":
            return throughput(self.address, self.graph, **options)
        return agents(self.address, self.graph, **options)

    def _restart(self, start: int, goal: int) -> dict[str, Any]:
        """From `planmesh up` on the same folder to the first plan answered."""
        self._down()
        begun_s = time.perf_counter()
        self._up()
        up_s = time.perf_counter() - begun_s
        self.query(start, goal)
        return {"up_s": up_s, "ready_s": time.perf_counter() - begun_s}

    def _down(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_S_MAX)

    def close(self) -> None:
        """Stop the mesh."""
        self._down()
