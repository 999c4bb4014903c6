"""Batches as the coordinator computes them, with the workers' operations, in one process and under small bounds."""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import Any, Final, cast
from unittest.mock import patch

import numpy as np

from planmesh.client.decoding import plan_of
from planmesh.client.results import Plan
from planmesh.errors import NoPath
from planmesh.graph.model import Float64Array
from planmesh.graph.node_ids import NodeIds
from planmesh.internal.v1 import task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.search.batch_paths import LOOPS, AssembledPaths, assemble
from planmesh.search.batch_segments import OverlayMap
from planmesh.search.index_list import IndexList
from planmesh.search.overlay_search import OverlaySearch
from planmesh.search.partition_index import PartitionIndex
from planmesh.snapshot.directory import NodeDirectory, NodeLabels
from planmesh.snapshot.overlay_file import OpenOverlay
from planmesh.snapshot.partition_file import OpenPartition
from planmesh.snapshot.short_segments import ShortSegments
from planmesh.telemetry.tracing import make_telemetry
from planmesh.v1 import plan_pb2
from services.coordinator import batch_planner, batch_writing
from services.coordinator.batch_planner import BatchAnswer, BatchPlanner, Outcome
from services.coordinator.changed_plans import ChangedPlans
from services.coordinator.dispatcher import Answer
from services.coordinator.phases import PhaseLog
from services.coordinator.reply_checks import reply_problem
from services.coordinator.segment_expansion import SegmentExpander
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import MappedPartitions, VersionedGraph
from tests.exactness.answers import TOLERANCE, WrongAnswerError, check_answer
from tests.search.in_process_mesh import InProcessMesh
from workers.batch_operations import search_batch, unpack_batch

SIZE_MAX: Final = 1_000
SIZES_ALWAYS: Final = (1, 2, 63, 64, 65, SIZE_MAX)
"""Sizes of batches that a run must have: the least, those around a full group of the mesh, and the most."""

SHARDS: Final = 3
VERSION: Final = 7
TURNS_MAX: Final = 4
"""Turns of the event loop that a late shard takes."""

UNKNOWN: Final = "nowhere"
TELEMETRY: Final = make_telemetry("exactness")

KINDS: Final = ("duplicates", "equal ends", "unknown nodes", "unreachable", "reachable")
BATCH_NAMES: Final = (
    *(f"batch of {size}" for size in SIZES_ALWAYS),
    "batch of another size",
    *(f"batch pairs: {kind}" for kind in KINDS),
    "batch ANSWERS_BYTES_MAX",
    "batch CONTENT_BYTES_MAX",
    "batch PATIENCE_S",
    "batch segments expanded by the coordinator",
    "batch segments expanded by workers",
    "batch PATH_NODES_EXPECTED",
)
"""What `PlannedBatch.check` counts. It also counts paths with loops, which short runs need not have."""


def draw_size(random: Random) -> int:
    """Draw the size of a batch: one of SIZES_ALWAYS, or any up to SIZE_MAX, of which small ones are as frequent."""
    if random.random() < 0.5:
        return random.choice(SIZES_ALWAYS)
    return round(math.exp(random.uniform(0.0, math.log(SIZE_MAX))))


class _Mapped:
    """The partitions' files, as a coordinator maps them."""

    def __init__(self, mesh: InProcessMesh) -> None:
        self.failed = False
        self.expanded = 0
        self._mesh = mesh
        self._indexes = IndexList(2)

    def are_open(self, partitions: Iterable[int]) -> bool:
        return all(number < len(self._mesh.indexes) for number in partitions)

    def index(self, partition: int) -> PartitionIndex:
        return self._mesh.indexes[partition]

    def indexes(self) -> IndexList:
        self.expanded += 1
        return self._indexes


class _AtOnce(Executor):
    """Runs what it is given, in the same thread."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*arguments, **options))
        return done


class _Workers:
    """The workers of a mesh: they answer after some turns of the event loop, each shard after others."""

    def __init__(self, mesh: InProcessMesh, random: Random, turns_max: int) -> None:
        self._mesh = mesh
        self._random = random
        self._turns_max = turns_max
        self._indexes = IndexList(random.randint(1, 4))
        self.expanded = 0

    def begin(
        self, graph: VersionedGraph, operations: dict[int, list[task_pb2.Operation]], deadline: Deadline
    ) -> dict[int, asyncio.Task[Answer]]:
        """See ShardQueries.begin."""
        return {
            shard: asyncio.create_task(self._answer(graph, some, self._random.randint(0, self._turns_max)))
            for shard, some in operations.items()
        }

    async def _answer(self, graph: VersionedGraph, operations: list[task_pb2.Operation], turns: int) -> Answer:
        for _ in range(turns):
            await asyncio.sleep(0)
        results = [self._result(operation) for operation in operations]
        reply = task_pb2.ItemReply(results=results)
        problem = reply_problem(task_pb2.QueryItem(operations=operations), reply, graph, Deadline.after(60))
        if problem:
            raise WrongAnswerError(f"a reply is refused: {problem}")
        return Answer(results, 1, [1], 0)

    def _result(self, operation: task_pb2.Operation) -> task_pb2.OperationResult:
        if operation.HasField("search_batch"):
            found = search_batch(self._partition, self._indexes, self._mesh.local, operation.search_batch)
            return task_pb2.OperationResult(search_batch=found)
        self.expanded += 1
        segments = unpack_batch(self._partition, self._indexes, self._mesh.local, operation.unpack_batch)
        return task_pb2.OperationResult(unpack_batch=segments)

    def _partition(self, number: int) -> OpenPartition:
        return cast("OpenPartition", SimpleNamespace(index=self._mesh.indexes[number]))


@dataclass
class _Found:
    """The outcomes of a batch by position, the positions of paths with loops, and how often plans were delivered.

    `expanded_here` and `expanded_by_workers` count the calls that expanded segments.
    """

    outcomes: dict[int, Outcome]
    loops: set[int]
    deliveries: int
    expanded_here: int = 0
    expanded_by_workers: int = 0


@dataclass
class PlannedBatch:
    """A mesh whose plans are checked in batches. `origin` determines the pairs.

    `expected` float64[n, n] are the distances, and `weights` the costs of the edges.
    """

    origin: str
    mesh: InProcessMesh
    overlay: OverlayMap
    expected: Float64Array
    weights: dict[tuple[int, int], float]
    path_room: int

    def check(self, size: int, counts: Counter[str]) -> None:
        """Plan `size` pairs in each detail and under small bounds. Raises WrongAnswerError."""
        random = Random(f"{self.origin}, {size} pairs")
        pairs = self._draw_pairs(random, size, counts)
        counts[f"batch of {size}" if size in SIZES_ALWAYS else "batch of another size"] += 1
        found = {}
        for detail in (plan_pb2.DETAIL_COST, plan_pb2.DETAIL_NODES, plan_pb2.DETAIL_STEPS):
            late = random.random() < 0.5
            with patch.object(batch_planner, "PATIENCE_S", 0.0 if late else 60.0):
                found[detail] = self._plan(pairs, detail, random, TURNS_MAX if late else 0)
            counts["batch PATIENCE_S"] += found[detail].deliveries > 1
            counts["batch segments expanded by the coordinator"] += found[detail].expanded_here
            counts["batch segments expanded by workers"] += found[detail].expanded_by_workers
        plans = {detail: self._plans(pairs, some) for detail, some in found.items()}
        for position, pair in enumerate(pairs):
            self._check_details(pair, [plans[detail].get(position) for detail in found], counts)
        loops = found[plan_pb2.DETAIL_STEPS].loops
        counts["batch paths with loops, left to be computed alone"] += len(loops)
        if found[plan_pb2.DETAIL_NODES].loops != loops:
            raise WrongAnswerError(f"{self.origin}: nodes and steps of the same batch have other paths")
        detail = random.choice([plan_pb2.DETAIL_NODES, plan_pb2.DETAIL_STEPS])
        self._check_bounds(pairs, detail, found[detail].outcomes, random, counts)

    def _draw_pairs(self, random: Random, size: int, counts: Counter[str]) -> list[tuple[int, int]]:
        """Draw pairs of global numbers, of which -1 is that of an unknown node."""
        nodes = range(self.mesh.graph.node_count)
        pairs: list[tuple[int, int]] = []
        for _ in range(size):
            start, goal = random.choice(nodes), random.choice(nodes)
            kind = random.random()
            if kind < 0.05:
                pairs.append(random.choice([(start, -1), (-1, goal), (-1, -1)]))
            elif kind < 0.1:
                pairs.append((start, start))
            elif kind < 0.2 and pairs:
                pairs.append(random.choice(pairs))
            else:
                pairs.append((start, goal))
        counts["batch pairs: duplicates"] += len(pairs) - len(set(pairs))
        for start, goal in pairs:
            unknown = min(start, goal) < 0
            reachable = not unknown and np.isfinite(self.expected[start, goal])
            counts["batch pairs: equal ends"] += start == goal
            kind_of_pair = "unknown nodes" if unknown else "reachable" if reachable else "unreachable"
            counts[f"batch pairs: {kind_of_pair}"] += 1
        return pairs

    def _plan(
        self, pairs: list[tuple[int, int]], detail: plan_pb2.Detail.ValueType, random: Random, turns_max: int
    ) -> _Found:
        """Compute a batch. Raises WrongAnswerError unless each pair gets one outcome."""
        found = _Found({}, set(), 0)
        known = [position for position, pair in enumerate(pairs) if min(pair) >= 0]

        def deliver(answer: BatchAnswer) -> None:
            found.deliveries += bool(len(answer.positions)) and known != [] and answer.positions[0] in known
            for position, outcome in zip(answer.positions.tolist(), answer.outcomes, strict=True):
                if position in found.outcomes:
                    raise WrongAnswerError(f"{self.origin}: pair {position} is answered twice")
                found.outcomes[position] = outcome

        async def compute() -> None:
            workers, mapped = _Workers(self.mesh, random, turns_max), _Mapped(self.mesh)
            self._served.mapped = cast("MappedPartitions", mapped) if random.random() < 0.5 else None
            queries = cast("ShardQueries", workers)
            expander = SegmentExpander(queries, _AtOnce())
            planner = BatchPlanner(queries, expander, _AtOnce(), ChangedPlans(queries, expander, _AtOnce()))
            planner._searches.search = OverlaySearch(self.path_room)
            names = [(_name(start), _name(goal)) for start, goal in pairs]
            await planner.compute(self._served, names, Deadline.after(600), PhaseLog(TELEMETRY), deliver, detail)
            found.expanded_here, found.expanded_by_workers = mapped.expanded, workers.expanded

        with self._assembling(known, found.loops):
            asyncio.run(compute())
        if sorted(found.outcomes) != list(range(len(pairs))):
            raise WrongAnswerError(f"{self.origin}: {len(pairs) - len(found.outcomes)} pairs have no outcome")
        return found

    @contextmanager
    def _assembling(self, known: list[int], loops: set[int]) -> Iterator[None]:
        """Note the positions of paths with loops, and give paths little room."""
        narrow = functools.partial(assemble, room=self.path_room)

        def assemble_and_note(*arguments: Any) -> AssembledPaths:
            paths = narrow(*arguments)
            loops.update(itertools.compress(known, paths.state == LOOPS))
            return paths

        with patch.object(batch_writing, "assemble", assemble_and_note):
            yield

    @functools.cached_property
    def _served(self) -> VersionedGraph:
        mesh, overlay = self.mesh, self.overlay
        nodes = np.full(mesh.graph.node_count, -1, np.int32)
        directory = NodeDirectory(
            NodeIds.from_ids([_name(node) for node in range(mesh.graph.node_count)]),
            mesh.partition_first,
            [f"p-{number}" for number in range(len(mesh.indexes))],
            NodeLabels(nodes, {}),
            NodeLabels(nodes, {}),
        )
        segments = ShortSegments(overlay.stored_first, overlay.stored_node, overlay.stored_cost)
        opened = OpenOverlay(mesh.overlay, mesh.overlay_first, overlay.number, overlay.is_original, segments)
        return VersionedGraph("g", VERSION, "", directory, opened, SHARDS, "identity")

    def _plans(self, pairs: list[tuple[int, int]], found: _Found) -> dict[int, Plan]:
        """Return the plans by position. Raises WrongAnswerError for an outcome that its pair cannot have."""
        plans = {}
        for position, (start, goal) in enumerate(pairs):
            where, outcome = f"batch, from {start} to {goal}", found.outcomes[position]
            if min(start, goal) < 0:
                if outcome is not None:
                    raise WrongAnswerError(f"{where}: expected no outcome for an unknown node, got {outcome!r}")
            elif np.isinf(self.expected[start, goal]):
                if not isinstance(outcome, NoPath):
                    raise WrongAnswerError(f"{where}: expected no path, got {outcome!r}")
            elif isinstance(outcome, bytes):
                plans[position] = plan_of(plan_pb2.Plan.FromString(outcome))
            elif position not in found.loops:
                raise WrongAnswerError(f"{where}: expected a plan, got {outcome!r}")
        return plans

    def _check_details(self, pair: tuple[int, int], plans: list[Plan | None], counts: Counter[str]) -> None:
        """Check the plans of details COST, NODES and STEPS; those that were not computed are None."""
        where = f"batch, from {pair[0]} to {pair[1]}"
        for plan in filter(None, plans):
            expected = float(self.expected[pair])
            about = (plan.start, plan.goal, plan.graph, plan.version)
            if about != (_name(pair[0]), _name(pair[1]), "g", VERSION):
                raise WrongAnswerError(f"{where}: the plan is about {about}")
            if abs(plan.cost - expected) > TOLERANCE * expected:
                raise WrongAnswerError(f"{where}: expected {expected}, got {plan.cost}")
        cost, nodes, steps = plans
        for plan in filter(None, (nodes, steps)):
            numbers = [int(name.removeprefix("node-")) for name in plan.nodes]
            check_answer(
                where, float(self.expected[pair]), plan.cost, numbers, list(plan.step_costs), self.weights, pair
            )
            counts["batch PATH_NODES_EXPECTED"] += len(numbers) > self.path_room
            partitions = [f"p-{self.mesh.partition_of(node)}" for node in numbers]
            if list(plan.partitions) != list(dict.fromkeys(partitions)):
                raise WrongAnswerError(f"{where}: expected partitions {partitions}, got {plan.partitions}")
        if nodes is not None and steps is not None:
            if (nodes.nodes, nodes.steps, nodes.partition_runs) != (steps.nodes, steps.steps, steps.partition_runs):
                raise WrongAnswerError(f"{where}: the nodes {nodes.nodes} are not those of the steps {steps.nodes}")
            if cost is None or not set(cost.partitions) >= set(steps.partitions):
                raise WrongAnswerError(f"{where}: the cost's partitions are not those of the steps: {cost}")

    def _check_bounds(
        self,
        pairs: list[tuple[int, int]],
        detail: plan_pb2.Detail.ValueType,
        unbounded: dict[int, Outcome],
        random: Random,
        counts: Counter[str],
    ) -> None:
        """Check that a plan, or a batch, beyond a bound is left to be computed alone, and that the rest is the same."""
        sizes = {position: len(plan) for position, plan in unbounded.items() if isinstance(plan, bytes)}
        if not sizes:
            return
        plan_bytes_max = random.choice(sorted(sizes.values()))
        with patch.object(batch_writing, "CONTENT_BYTES_MAX", plan_bytes_max):
            bounded = self._plan(pairs, detail, random, 0).outcomes
        for position, plan in unbounded.items():
            is_left = sizes.get(position, 0) > plan_bytes_max
            counts["batch CONTENT_BYTES_MAX"] += is_left
            self._check_same(position, bounded[position], None if is_left else plan)
        with patch.object(batch_writing, "ANSWERS_BYTES_MAX", sum(sizes.values()) - 1):
            bounded = self._plan(pairs, detail, random, 0).outcomes
        counts["batch ANSWERS_BYTES_MAX"] += 1
        for position, plan in unbounded.items():
            self._check_same(position, bounded[position], None if position in sizes else plan)

    def _check_same(self, position: int, outcome: Outcome, expected: Outcome) -> None:
        same = isinstance(outcome, NoPath) if isinstance(expected, NoPath) else outcome == expected
        if not same:
            raise WrongAnswerError(f"{self.origin}: pair {position}: expected {expected!r} under a bound: {outcome!r}")


def _name(node: int) -> str:
    return f"node-{node}" if node >= 0 else UNKNOWN
