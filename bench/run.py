"""One run: graph after graph. Subjects take turns with a few queries each, so that all see the same machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import psutil

from bench.graph_making import CheckedPairs, checked_pairs, make_graph
from bench.graphs import BenchGraph
from bench.results import NotRun, Results, Row
from bench.statistics import queries_for, same_cost, shares
from bench.subject import SUBJECTS, SubjectKind
from bench.supervised import MEBIBYTE, SubjectFailed, SupervisedSubject
from planmesh.measure.statistics import Percentiles

ROUNDS: Final = 10
"""Turns into which every subject's queries are divided."""

WARM_UP_QUERIES: Final = 20
"""Queries on other pairs before each measured turn. They restore what the others evicted from memory and caches. A slow
subject gets as many as are measured, and no more than fit into WARM_UP_S_MAX.
"""

WARM_UP_S_MAX: Final = 1.0

PROBE_QUERIES: Final = 3
"""Warm-up queries before the first turn, to estimate how many queries fit into the time."""

QUERIES_MIN: Final = 5
"""Queries of a slow subject; fewer would say too little."""

WAVE_MEMORY_SHARE: Final = 0.4
"""Below this share of available memory, the loaded subjects are measured before more are loaded."""

SLOWEST_QUERY_S_MAX: Final = 300.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How much is measured. The bounds apply to each subject on each graph."""

    pairs: int
    query_budget_s: float
    prepare_s_max: float
    load_s_max: float
    memory_max_mb: float
    throughput_queries: int
    agents: int
    agent_plans: int = 1
    throughput_clients: int = 64
    whole_mesh_graphs: tuple[str, ...] = ()
    """Graphs on which throughput, agents and a restart are measured."""


@dataclass(slots=True)
class _Measured:
    """A loaded subject, and its answers so far."""

    kind: SubjectKind
    process: SupervisedSubject
    load_s: float
    stages_s: dict[str, float]
    queries: int = 0
    cached: bool = False
    took_ms: list[float] = field(default_factory=list)
    wrong: int = 0
    failure: str = ""

    @property
    def name(self) -> str:
        return self.kind.cached_name if self.cached else self.kind.name


class GraphRun:
    """Runs all subjects on one graph."""

    def __init__(
        self, name: str, options: RunOptions, results: Results, save: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self._name = name
        self._options = options
        self._results = results
        self._save = save
        self._say = say

    def run(self, subjects: Sequence[str]) -> None:
        """Run the subjects that have no row yet."""
        waiting = [kind for kind in SUBJECTS if kind.name in subjects and not self._results.done(self._name, kind.name)]
        if not waiting:
            return
        self._say(f"{self._name}: graph and reference")
        graph = make_graph(self._name)
        pairs = checked_pairs(graph, self._options.pairs + WARM_UP_QUERIES)
        self._results.unreachable[self._name] = pairs.unreachable
        while waiting:
            loaded: list[_Measured] = []
            try:
                self._load_wave(waiting, graph, loaded)
                self._query_wave(loaded, pairs)
                self._note_rows(loaded, graph)
                self._save()
                self._measure_mesh(loaded, pairs)
            finally:
                for measured in loaded:
                    measured.process.close()
            self._save()

    def _load_wave(self, waiting: list[SubjectKind], graph: BenchGraph, loaded: list[_Measured]) -> None:
        """Load subjects until memory is short. Moves them from `waiting` to `loaded`."""
        while waiting:
            memory = psutil.virtual_memory()
            if loaded and memory.available < WAVE_MEMORY_SHARE * memory.total:
                break
            kind = waiting.pop(0)
            if graph.graph.node_count > kind.nodes_max * 1.1:
                self._skip(kind.name, f"not above {kind.nodes_max:,} nodes: {kind.above}")
                continue
            measured = self._load(kind)
            if measured is not None:
                loaded.append(measured)
                if kind.cached_name:
                    loaded.append(_Measured(kind, measured.process, measured.load_s, {}, cached=True))

    def _load(self, kind: SubjectKind) -> _Measured | None:
        self._say(f"{self._name}: load {kind.name}")
        process = SupervisedSubject(kind.name, self._name, self._options.memory_max_mb)
        try:
            process.ask("prepare", self._options.prepare_s_max)
            answer = process.ask("load", self._options.load_s_max)
        except SubjectFailed as failure:
            self._skip(kind.name, str(failure))
            return None
        except BaseException:
            process.end("the benchmark was stopped")
            raise
        return _Measured(kind, process, answer["load_s"], answer["stages_s"])

    def _skip(self, subject: str, reason: str) -> None:
        self._say(f"{self._name}: {subject} not run: {reason}")
        self._results.not_run.append(NotRun(self._name, subject, reason))
        self._save()

    def _query_wave(self, loaded: list[_Measured], pairs: CheckedPairs) -> None:
        if not loaded:
            return
        for measured in loaded:
            took_ms = self._ask(measured, pairs, 0, PROBE_QUERIES, counted=False)
            typical_s = min(took_ms or [0.0]) / 1e3  # the least, because other queries wait for files to be read
            measured.queries = queries_for(typical_s, self._options.query_budget_s, QUERIES_MIN, self._options.pairs)
        together = [(measured, shares(measured.queries, min(ROUNDS, measured.queries))) for measured in loaded]
        busy = _BusyOthers([measured.process for measured in loaded if not measured.cached])
        for number in range(ROUNDS):
            self._say(f"{self._name}: queries, round {number + 1} of {ROUNDS}")
            turn = number % len(loaded)
            for measured, own in together[turn:] + together[:turn]:
                # Spread the few queries of a slow subject over the rounds.
                if number * len(own) // ROUNDS == (number + 1) * len(own) // ROUNDS:
                    continue
                begin, end = own[number * len(own) // ROUNDS]
                self._ask(measured, pairs, 0, min(WARM_UP_QUERIES, end - begin), counted=False)
                self._ask(measured, pairs, WARM_UP_QUERIES + begin, WARM_UP_QUERIES + end, counted=True)
        self._results.others_share[self._name] = round(busy.share(), 3)

    def _ask(self, measured: _Measured, pairs: CheckedPairs, begin: int, end: int, *, counted: bool) -> list[float]:
        """Query some pairs, and compare the costs."""
        if measured.failure:
            return []
        asked = pairs.pairs[begin:end].tolist()
        try:
            answer = measured.process.ask(
                "query",
                SLOWEST_QUERY_S_MAX + 2 * self._options.query_budget_s,
                pairs=asked,
                cached=measured.cached,
                stop_after_s=max(self._options.query_budget_s, 30.0) if counted else WARM_UP_S_MAX,
            )
        except SubjectFailed as failure:
            measured.failure = str(failure)
            return []
        took_ms: list[float] = answer["ms"]
        expected = pairs.costs[begin : begin + len(took_ms)].tolist()
        found = [float("inf") if cost is None else float(cost) for cost in answer["costs"]]
        measured.wrong += sum(not same_cost(one, other) for one, other in zip(found, expected, strict=True))
        if counted:
            measured.took_ms += took_ms
        return took_ms

    def _note_rows(self, loaded: list[_Measured], graph: BenchGraph) -> None:
        for measured in loaded:
            if measured.failure or not measured.took_ms:
                self._skip(measured.name, measured.failure or "it answered no query within the time")
                continue
            percentiles = Percentiles.of(measured.took_ms)
            row = Row(
                graph=self._name,
                nodes=graph.graph.node_count,
                edges=graph.graph.edge_count,
                subject=measured.name,
                load_s=round(measured.load_s, 3),
                memory_mb=round(measured.process.memory_mb, 1),
                p50_ms=round(percentiles.p50, 4),
                p95_ms=round(percentiles.p95, 4),
                exact=measured.wrong == 0,
                checked=len(measured.took_ms),
                wrong=measured.wrong,
                stages_s={name: round(took_s, 3) for name, took_s in measured.stages_s.items()},
            )
            self._results.rows.append(row)
            exact = "exact" if row.exact else f"{row.wrong} WRONG"
            self._say(
                f"{self._name}: {row.subject:22} load {row.load_s:9.2f} s  {row.memory_mb:8,.0f} MiB  "
                f"p50 {row.p50_ms:10.3f} ms  p95 {row.p95_ms:10.3f} ms  {exact} of {row.checked}"
            )

    def _measure_mesh(self, loaded: list[_Measured], pairs: CheckedPairs) -> None:
        """Measure throughput, agents and a restart, while no other subject is queried."""
        mesh = next((one for one in loaded if one.kind.cached_name and not one.cached and not one.failure), None)
        if mesh is None or self._name not in self._options.whole_mesh_graphs:
            return
        options = self._options
        many = np.resize(pairs.pairs, (options.throughput_queries, 2)).tolist()
        wanted: dict[str, dict[str, Any]] = {
            "throughput": {"pairs": many, "clients": options.throughput_clients},
            "agents": {
                "pairs": pairs.pairs.tolist(),
                "costs": pairs.costs.tolist(),
                "count": options.agents,
                "plans": options.agent_plans,
            },
            "restart": {"pair": pairs.pairs[0].tolist()},
        }
        for what, how in wanted.items():
            self._say(f"{self._name}: {what}")
            began_s = time.monotonic()
            try:
                measure = mesh.process.ask("measure", self._options.load_s_max, what=what, options=how)
            except SubjectFailed as failure:
                mesh.failure = str(failure)
                self._results.measures.setdefault(self._name, {})[what] = {"failed": str(failure)}
                return
            self._results.measures.setdefault(self._name, {})[what] = measure
            self._say(f"{self._name}: {what} took {time.monotonic() - began_s:.0f} s: {measure}")


class _BusyOthers:
    """Measures the share of processor time that other programs take, because it blurs every figure."""

    def __init__(self, processes: Sequence[SupervisedSubject]) -> None:
        self._processes = processes
        self._begun = self._now()

    def _now(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        own = psutil.Process().cpu_times()
        ours_s = own.user + own.system + sum(process.processor_s() for process in self._processes)
        return time.monotonic(), idle_s, ours_s

    def share(self) -> float:
        """Return the share of all processors' time since construction, 0 to 1."""
        wall_s, idle_s, ours_s = (after - before for before, after in zip(self._begun, self._now(), strict=True))
        all_s = wall_s * (os.cpu_count() or 1)
        return min(max((all_s - idle_s - ours_s) / all_s, 0.0), 1.0) if all_s > 0 else 0.0


def memory_bound_mb() -> float:
    """Return three quarters of the machine's memory."""
    return psutil.virtual_memory().total / MEBIBYTE * 0.75
