"""Computes matrices: locate, local searches, the overlay by buckets. A matrix is exact on one version, or an error.

All work of workers is done before the first row is sent, so a matrix restarts on a newer version only before that. The
searches of the overlay run in threads of their own, in blocks; the deadline and cancellation are checked between them.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from planmesh.errors import LimitExceeded
from planmesh.graph.model import Float64Array, Int32Array, Int64Array
from planmesh.internal.v1 import coordinator_pb2, task_pb2
from planmesh.rpc.deadline import Deadline
from planmesh.search.matrix import Buckets, Labels, OverlayMatrix, join_labels, overlay_buckets
from planmesh.telemetry import names
from planmesh.telemetry.tracing import Telemetry
from services.coordinator.change_feed import wanted_by
from services.coordinator.changed_plans import ChangedPlans
from services.coordinator.counters import Counters
from services.coordinator.phases import Phase, PhaseLog
from services.coordinator.shard_queries import Place, ShardQueries
from services.coordinator.versioned_graph import VersionedGraph

SEARCHES_PER_ITEM_MAX: Final = 64
"""Local searches of one item: some milliseconds of a worker."""

MEETINGS_PER_SIDE_MAX: Final = 256
"""Sources, and targets, between which one item computes the costs inside a partition: some tens of milliseconds."""

ITEMS_PER_SHARD_MAX: Final = 4
"""Items of all matrices together that one shard has at once. Between them, its workers take the items of plans."""

LABELS_MAX: Final = 16_000_000
"""Labels of all sources, and of all targets, of a matrix: 12 bytes each while they are collected, 24 bytes as buckets.
On our benchmark graphs, a target has 100 to 1,000."""

TARGETS_PER_BLOCK: Final = 64
BLOCKS_AHEAD_MAX: Final = 2
"""Blocks of rows that wait for a caller who reads slowly. Then the matrix waits."""

ROWS_PER_BLOCK: Final = 16
"""Searches of the overlay between two checks of the deadline; a block of rows is one message."""

THREADS: Final = max(1, (os.cpu_count() or 1) // 2)
"""Blocks that a coordinator computes at once. They leave processors for the searches of plans."""

T = TypeVar("T")
AnyPositions = TypeVar("AnyPositions", Int32Array, Int64Array)


@dataclass(frozen=True, slots=True)
class _Side:
    """The distinct places of the sources or of the targets, and the position of each requested id among them."""

    places: list[Place]
    position: Int32Array


@dataclass(frozen=True, slots=True)
class _Findings:
    """What workers found for one version: seeds of the overlay searches, and costs float64[s, t] inside partitions."""

    graph: VersionedGraph
    sources: _Side
    targets: _Side
    seeds: tuple[Labels, Labels]
    """Of the distinct sources, and of the distinct targets."""
    inner: Float64Array


class Matrices:
    """Computes the matrices of one coordinator."""

    def __init__(
        self,
        queries: ShardQueries,
        telemetry: Telemetry,
        counters: Counters,
        changed: ChangedPlans,
        labels_max: int = LABELS_MAX,
    ) -> None:
        self._queries = queries
        self._changed = changed
        self._telemetry = telemetry
        self._counters = counters
        self._labels_max = labels_max
        self._executor = ThreadPoolExecutor(THREADS, "matrix")
        self._memory = threading.local()
        self._places: dict[int, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(ITEMS_PER_SHARD_MAX))

    async def close(self) -> None:
        """End the threads, each after its current block."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def rows(
        self, request: coordinator_pb2.ComputeMatrixRequest, deadline: Deadline, trace_id: str
    ) -> AsyncIterator[coordinator_pb2.ComputeMatrixResponse]:
        """Yield the rows of a matrix, in order, ROWS_PER_BLOCK in a message.

        Raises NodeUnknown, GraphUnknown, DeadlineExceeded, Unavailable, and LimitExceeded for a matrix of more than
        LABELS_MAX labels.
        """
        log = PhaseLog(self._telemetry)

        def note_retry() -> None:
            self._counters.retries += 1
            self._telemetry.instruments.retries.add(1)

        found = await self._queries.on_one_version(
            request.graph,
            lambda graph: self._find(graph, request, deadline, log),
            deadline,
            note_retry,
            wanted_by(request),
        )
        ready: asyncio.Queue[Float64Array | Exception] = asyncio.Queue(BLOCKS_AHEAD_MAX)
        compute = self._compute_rows if found.graph.changes is None else self._compute_changed
        computing = asyncio.create_task(compute(found, deadline, log, ready))
        try:
            for begin in range(0, len(request.sources), ROWS_PER_BLOCK):
                costs = await ready.get()
                if isinstance(costs, Exception):
                    raise costs
                yield coordinator_pb2.ComputeMatrixResponse(
                    graph=found.graph.name,
                    version=found.graph.version,
                    first_row=begin,
                    costs=costs.ravel(),
                    trace_id=trace_id,
                )
        finally:
            computing.cancel()
            await asyncio.gather(computing, return_exceptions=True)

    async def _compute_rows(
        self, found: _Findings, deadline: Deadline, log: PhaseLog, ready: asyncio.Queue[Float64Array | Exception]
    ) -> None:
        """Put the blocks of rows of the requested matrix, float64[r, t], into `ready`, or the error that ended it."""
        overlay = found.graph.overlay.overlay
        try:
            with log.phase(names.SPAN_OVERLAY) as phase:
                buckets = await self._fill_buckets(found, deadline, phase)

                def lower(searcher: OverlayMatrix, searches: Int32Array) -> Float64Array:
                    costs: Float64Array = found.inner[searches]
                    phase.settled_nodes += searcher.lower(overlay, found.seeds[0], searches, buckets, costs)
                    return costs[:, found.targets.position]

                for searches in _slices(found.sources.position, ROWS_PER_BLOCK):
                    await ready.put(await self._block(deadline, functools.partial(lower, searches=searches)))
        except Exception as error:
            await ready.put(error)

    async def _compute_changed(
        self, found: _Findings, deadline: Deadline, log: PhaseLog, ready: asyncio.Queue[Float64Array | Exception]
    ) -> None:
        """As _compute_rows, on a graph that has changed since its base: one search from each source."""
        targets = np.array([place.node for place in found.targets.places], np.int32)
        try:
            with log.phase(names.SPAN_OVERLAY):
                for searches in _slices(found.sources.position, ROWS_PER_BLOCK):
                    starts = [found.sources.places[position].node for position in searches.tolist()]
                    costs = await self._changed.distances(found.graph, starts, targets, deadline)
                    await ready.put(costs[:, found.targets.position])
        except Exception as error:
            await ready.put(error)

    async def _find(
        self, graph: VersionedGraph, request: coordinator_pb2.ComputeMatrixRequest, deadline: Deadline, log: PhaseLog
    ) -> _Findings:
        """Locate all nodes, and have workers search from the sources and to the targets inside their partitions."""
        with log.phase(names.SPAN_LOCATE):
            sources, targets = await self._locate(graph, request.sources), await self._locate(graph, request.targets)
        if graph.changes is not None:
            return _Findings(graph, sources, targets, (_NO_LABELS, _NO_LABELS), np.empty((0, 0)))
        inner = np.full((len(sources.places), len(targets.places)), np.inf)
        with log.phase(names.SPAN_LOCAL_SEARCH) as phase:
            found: tuple[list[Labels], list[Labels]] = ([_NO_LABELS] * len(sources.places), [])
            found[1].extend([_NO_LABELS] * len(targets.places))
            counts = [0, 0]

            async def search(partition: int, positions: Int64Array, *, backward: bool) -> None:
                places = (targets if backward else sources).places
                nodes = np.array([places[position].local for position in positions], np.int32)
                operation = task_pb2.SearchManyOperation(partition=partition, nodes=nodes.tobytes(), backward=backward)
                result = await self._ask(graph, partition, task_pb2.Operation(search_many=operation), deadline, phase)
                phase.settled_nodes += result.search_many.settled_nodes
                for position, labels in zip(
                    positions.tolist(), _labels_of_each(graph, partition, result.search_many), strict=True
                ):
                    found[backward][position] = labels
                    counts[backward] += len(labels.nodes)
                self._check_count(counts[backward])

            async def meet(partition: int, rows: Int64Array, columns: Int64Array) -> None:
                starts = np.array([sources.places[row].local for row in rows], np.int32)
                goals = np.array([targets.places[column].local for column in columns], np.int32)
                operation = task_pb2.MeetManyOperation(
                    partition=partition, starts=starts.tobytes(), goals=goals.tobytes()
                )
                result = await self._ask(graph, partition, task_pb2.Operation(meet_many=operation), deadline, phase)
                phase.settled_nodes += result.meet_many.settled_nodes
                costs: Float64Array = np.frombuffer(result.meet_many.costs, np.float64)
                inner[np.ix_(rows, columns)] = costs.reshape(len(rows), len(columns))

            by_source, by_target = _by_partition(sources.places), _by_partition(targets.places)
            work = [
                search(partition, some, backward=backward)
                for backward, groups in ((False, by_source), (True, by_target))
                for partition, positions in groups.items()
                for some in _slices(positions, SEARCHES_PER_ITEM_MAX)
            ]
            work += [
                meet(partition, rows, columns)
                for partition in by_source.keys() & by_target.keys()
                for rows in _slices(by_source[partition], MEETINGS_PER_SIDE_MAX)
                for columns in _slices(by_target[partition], MEETINGS_PER_SIDE_MAX)
            ]
            await _all_of([asyncio.ensure_future(one) for one in work])
        return _Findings(graph, sources, targets, (join_labels(found[0]), join_labels(found[1])), inner)

    async def _locate(self, graph: VersionedGraph, ids: Sequence[str]) -> _Side:
        """Locate each id once. Raises NodeUnknown for the first one that the graph does not have."""
        numbers: dict[str, int] = {}
        places: list[Place] = []
        for node_id in ids:
            if node_id not in numbers:
                numbers[node_id] = len(places)
                places.append(await self._queries.locate(graph, node_id))
        return _Side(places, np.array([numbers[node_id] for node_id in ids], np.int32))

    async def _ask(
        self, graph: VersionedGraph, partition: int, operation: task_pb2.Operation, deadline: Deadline, phase: Phase
    ) -> task_pb2.OperationResult:
        """Send one item, after those that the shard has already, and return its result."""
        shard = graph.shard_of(partition)
        async with self._places[shard]:
            answer = (await self._queries.ask(graph, {shard: [operation]}, deadline))[shard]
        phase.note(answer)
        return answer.results[0]

    async def _fill_buckets(self, found: _Findings, deadline: Deadline, phase: Phase) -> Buckets:
        overlay = found.graph.overlay.overlay
        blocks: list[Labels] = []
        count = 0

        def climb(searcher: OverlayMatrix, begin: int, end: int) -> tuple[Labels, int]:
            return searcher.climb(overlay, found.seeds[1], begin, end)

        for begin in range(0, len(found.targets.places), TARGETS_PER_BLOCK):
            end = min(begin + TARGETS_PER_BLOCK, len(found.targets.places))
            labels, settled = await self._block(deadline, functools.partial(climb, begin=begin, end=end))
            phase.settled_nodes += settled
            blocks.append(labels)
            count += len(labels.nodes)
            self._check_count(count)
        return await self._block(deadline, lambda _: overlay_buckets(overlay, join_labels(blocks)))

    async def _block(self, deadline: Deadline, compute: Callable[[OverlayMatrix], T]) -> T:
        """Run one block in a thread, with the thread's searches."""
        deadline.raise_if_passed("the matrix")
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._search, compute)

    def _search(self, compute: Callable[[OverlayMatrix], T]) -> T:
        searcher = getattr(self._memory, "searcher", None)
        # An interrupted search leaves labels behind, so a failed one is not kept.
        self._memory.searcher = None
        searcher = searcher or OverlayMatrix()
        result = compute(searcher)
        self._memory.searcher = searcher
        return result

    def _check_count(self, count: int) -> None:
        if count > self._labels_max:
            raise LimitExceeded(
                f"the searches of this matrix reach more than {self._labels_max:,} overlay nodes; ask for fewer sources"
                " and targets at once",
                bound="LABELS_MAX",
            )


_NO_LABELS: Final = Labels(np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float64))


def _labels_of_each(graph: VersionedGraph, partition: int, result: task_pb2.SearchManyResult) -> Iterator[Labels]:
    """Yield the labels of each search of a result, with the overlay's node numbers."""
    nodes: Int32Array = np.frombuffer(result.overlay_nodes, np.int32) + graph.overlay.overlay_first[partition]
    distances: Float64Array = np.frombuffer(result.distances, np.float64)
    begin = 0
    for count in np.frombuffer(result.counts, np.int32).tolist():
        end = begin + count
        yield Labels(np.array([0, count], np.int64), nodes[begin:end], distances[begin:end])
        begin = end


def _by_partition(places: list[Place]) -> dict[int, Int64Array]:
    """Return the positions in `places` (int64[k], ascending) of each partition."""
    groups: dict[int, list[int]] = defaultdict(list)
    for position, place in enumerate(places):
        groups[place.partition].append(position)
    return {partition: np.array(positions, np.int64) for partition, positions in groups.items()}


def _slices(positions: AnyPositions, size: int) -> list[AnyPositions]:
    return [positions[begin : begin + size] for begin in range(0, len(positions), size)]


async def _all_of(tasks: list[asyncio.Future[None]]) -> None:
    """Wait for all tasks. When one fails, or the caller leaves, the others are cancelled and waited for."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
