"""Compares stores with the mesh on one graph: `make bench-stores`, or `python -m bench.stores --help`.

Every store holds the graph that the mesh serves. `planmesh measure --store` queries both for the same pairs in turn and
checks every answer of both. The results are its output, the time of each load, and the resources of each store.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bench.graphs import ROOT
from bench.machine import describe_machine
from bench.results import write_aside
from bench.store_places import PLACES, Place
from bench.store_report import render
from tests.servers.jars import ServerNotToBeHad

WORK: Final = ROOT / "build" / "bench" / "stores"
PUBLISHED: Final = ROOT / "docs" / "benchmarks"
GRAPH: Final = "default"
COMMAND_S_MAX: Final = 600
"""Longest time for one command: a load, or all queries to one store."""


@dataclass(frozen=True, slots=True)
class StoreRow:
    """One store: the cost of loading, and the output of `planmesh measure --store`."""

    store: str
    nodes: int
    edges: int
    load_s: float
    memory_empty_mb: float
    memory_mb: float
    disk_mb: float
    measured: dict[str, Any]


@dataclass(slots=True)
class StoreResults:
    """All results of a run; `mesh` has the mesh's load and resources."""

    began: str
    machine: dict[str, str]
    graph: str
    nodes: int = 0
    edges: int = 0
    mesh: dict[str, float] = field(default_factory=dict)
    rows: list[StoreRow] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)
    load_average: list[float] = field(default_factory=list)
    """The load average of the last minute before each store was measured."""


class CommandFailed(Exception):  # noqa: N818 - reports print the name
    """A planmesh command ended with an error."""


def main() -> None:
    """Run the comparison and write the report."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that mesh and servers are ended
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    results = StoreResults(time.strftime("%Y-%m-%d"), describe_machine(), f"service, {options.nodes:,} nodes, seed 1")
    edges = WORK / "edges.tsv"
    _planmesh("generate", "service", "--nodes", str(options.nodes), "--out", str(edges))
    source = [str(edges), "--nodes", str(WORK / "edges.nodes.tsv")]
    with _mesh() as address:
        loaded = _planmesh("load", *source, "--graph", GRAPH, "--address", address)
        results.nodes, results.edges = loaded["nodes"], loaded["edges"]
        results.mesh = {"load_s": round(sum(loaded["seconds"].values()), 3), "disk_mb": _mesh_disk_mb()}
        for name in options.stores.split(","):
            _say(name)
            folder = WORK / name
            folder.mkdir()
            try:
                with PLACES[name](folder) as place:
                    rows = _measure_place(results, place, source, address, options)
                disk_mb = round(place.disk_mb(), 3)  # the server has ended, so its files are complete
                results.rows += [replace(row, disk_mb=disk_mb) for row in rows]
            except (ServerNotToBeHad, CommandFailed) as error:
                results.not_run[name] = str(error)
                _say(f"{name}: {error}")
            _write(results, WORK)  # keep the results so far in case the run is stopped
    if options.publish:
        _write(results, PUBLISHED)
    _say(f"written: {(PUBLISHED if options.publish else WORK) / 'stores.md'}")


def _write(results: StoreResults, folder: Path) -> None:
    write_aside(folder / "stores.json", json.dumps(asdict(results), indent=1) + "\n")
    write_aside(folder / "stores.md", render(asdict(results)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.stores", description=__doc__)
    parser.add_argument("--nodes", type=int, default=100_000, help="size of the graph (default 100000)")
    parser.add_argument("--stores", default=",".join(PLACES), help=f"which servers (default {','.join(PLACES)})")
    parser.add_argument("--queries", type=int, default=200, help="pairs for each store (default 200)")
    parser.add_argument("--question-s", type=float, default=10.0, help="bound of one query (default 10)")
    parser.add_argument("--total-s", type=float, default=30.0, help="bound of all queries to a store (default 30)")
    parser.add_argument(
        "--publish", action="store_true", help="write into docs/benchmarks instead of build/bench/stores"
    )
    options = parser.parse_args()
    unknown = set(options.stores.split(",")) - set(PLACES)
    if unknown:
        parser.error(f"expected stores among {', '.join(PLACES)}; got {', '.join(sorted(unknown))}")
    return options


def _measure_place(
    results: StoreResults, place: Place, source: list[str], address: str, options: argparse.Namespace
) -> list[StoreRow]:
    """Load the graph by the first URL, and measure each URL. The rows still lack the size on disk."""
    rows: list[StoreRow] = []
    empty_mb = place.memory_mb()
    loaded: dict[str, Any] = {}
    for name, url in place.urls.items():
        if not loaded:
            loaded = _planmesh("load", *source, "--store", url)
        results.load_average.append(round(os.getloadavg()[0], 2))
        bounds = ["--store-timeout", str(options.question_s), "--store-total", str(options.total_s)]
        asked = ["--queries", str(options.queries), "--no-cache", "--address", address]
        try:
            measured = _planmesh("measure", "--store", url, *bounds, *asked, also=1)
        except CommandFailed as error:
            results.not_run[name] = str(error)
            _say(f"{name}: {error}")
            continue
        measured = {key: value for key, value in measured.items() if key != "store"}  # its port differs in each run
        row = StoreRow(
            name,
            loaded["nodes"],
            loaded["edges"],
            load_s=round(loaded["seconds"], 3),
            memory_empty_mb=round(empty_mb, 3),
            memory_mb=round(place.memory_mb(), 3),
            disk_mb=0.0,
            measured=measured,
        )
        rows.append(row)
        store, mesh = (measured["sides"][side]["latency_ms"]["p50"] for side in ("store", "mesh"))
        _say(f"{name}: {measured['asked']} queried, p50 {store:.1f} ms, the mesh {mesh:.1f} ms")
    return rows


@contextmanager
def _mesh() -> Iterator[str]:
    """Run a private mesh, and yield its address."""
    data = ("--data", str(WORK / "mesh"))
    ready = _planmesh("up", *data, "--port", "0", "--detach")
    try:
        yield ready["address"]
    finally:
        _planmesh("down", *data)


def _mesh_disk_mb() -> float:
    graphs = [path for path in (WORK / "mesh").rglob("*") if path.is_file() and path.suffix != ".log"]
    return round(sum(path.stat().st_size for path in graphs) / 2**20, 3)


def _planmesh(*arguments: str, also: int = 0) -> dict[str, Any]:
    """Run a command, and return its JSON output; `also` is a further exit code that does not mean failure."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "planmesh.cli", *arguments, "--json"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            timeout=COMMAND_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"planmesh {arguments[0]} took more than {COMMAND_S_MAX:g} s") from None
    value: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    if done.returncode not in (0, also) or not value or "error" in value:
        reason = value.get("error", {}).get("message", "see its output above")
        raise CommandFailed(f"planmesh {arguments[0]} ended with exit code {done.returncode}: {reason}")
    return value


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
