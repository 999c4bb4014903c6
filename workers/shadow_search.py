"""Computes an answer a second time, by a plain search on the original edges of the same version.

It uses no index and no overlay. The partitions' files contain the edges beside the index, so it builds and stores
nothing; query workers on the same machine share the mapped pages.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np

from planmesh.errors import PlanmeshError, VersionGone
from planmesh.graph.model import Int32Array
from planmesh.internal.v1 import task_pb2
from planmesh.search.plain_search import PlainSearch, Progress
from planmesh.snapshot.partition_file import OpenPartition
from planmesh.snapshot.reader import SnapshotReader
from workers.processor_budget import ProcessorBudget

RELATIVE_TOLERANCE: Final = 1e-9
"""Difference up to which two costs count as equal, because float64 sums depend on their order. The coordinator uses the
same bound."""

SETTLED_AT_ONCE: Final = 2_048
"""Nodes settled in one unit of a search: about a millisecond."""

PROCESSOR_S_MAX: Final = 6.0
"""Processor time of one search: twice what a plain search of 10 million nodes takes, and ten minutes at a hundredth of
a core."""

OPEN_VERSIONS_MAX: Final = 2
"""Versions kept open between searches. The mapped files of a removed version occupy the disk until it is closed."""

T = TypeVar("T")


class OutOfBudgetError(Exception):
    """A search ended without a result: it took too long, would label too many nodes, or the worker stops."""


class ShadowSearch:
    """Searches one pair after another, in small units that the budget pays for. For use by one thread."""

    def __init__(
        self,
        open_partitions_max: int,
        budget: ProcessorBudget,
        stopped: threading.Event,
        processor_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._open_partitions_max = open_partitions_max
        self._budget = budget
        self._stopped = stopped
        self._processor_clock = processor_clock
        self._opened: OrderedDict[str, tuple[SnapshotReader, Int32Array]] = OrderedDict()
        """Open snapshots by identity, the most recently used last: the reader, and the first nodes of the partitions
        (int32[P + 1])."""

    def cost(self, check: task_pb2.ShadowCheck) -> float:
        """Return the cost of the cheapest path, infinite when there is none. Blocks while the budget is used up.

        Raises OutOfBudgetError, VersionGone and SnapshotDamaged.
        """
        left_s = PROCESSOR_S_MAX

        def paid(work: Callable[[], T]) -> T:
            nonlocal left_s
            if left_s <= 0:
                raise OutOfBudgetError(f"the search took more than {PROCESSOR_S_MAX:g} s of processor time")
            while (wait_s := self._budget.wait_s()) > 0:
                if self._stopped.wait(wait_s):
                    raise OutOfBudgetError("the worker stops")
            begun_s = self._processor_clock()
            try:
                return work()
            finally:
                spent_s = self._processor_clock() - begun_s
                self._budget.spend(spent_s)
                left_s -= spent_s

        try:
            reader, partition_first = paid(lambda: self._open(check))
            search = paid(lambda: self._begin(partition_first, check))
            while True:
                progress = paid(lambda: search.advance(SETTLED_AT_ONCE))
                if progress is Progress.FOUND:
                    return search.cost
                if progress is Progress.FULL:
                    raise OutOfBudgetError(f"the search would label more than {search.labelled} nodes")
                if progress is Progress.PARTITION:
                    number = search.wanted_partition
                    opened = paid(lambda number=number: reader.partition(number))  # type: ignore[misc]
                    paid(lambda number=number, opened=opened: _hand_over(search, number, opened))  # type: ignore[misc]
        except (PlanmeshError, OSError, ValueError):
            # The files may be damaged or replaced, so the next search opens them again.
            self._opened.pop(check.identity, None)
            raise

    def _open(self, check: task_pb2.ShadowCheck) -> tuple[SnapshotReader, Int32Array]:
        opened = self._opened.get(check.identity)
        if opened is None:
            reader = SnapshotReader.open(check.snapshot_url, open_partitions_max=self._open_partitions_max)
            found = reader.identity
            if found != check.identity:
                raise VersionGone(
                    f"expected snapshot {check.identity} at {check.snapshot_url}, found {found}: it was replaced"
                )
            first = np.zeros(len(reader.manifest.partitions) + 1, np.int32)
            np.cumsum([entry.nodes for entry in reader.manifest.partitions], out=first[1:])
            opened = self._opened[check.identity] = (reader, first)
            while len(self._opened) > OPEN_VERSIONS_MAX:
                self._opened.popitem(last=False)
        self._opened.move_to_end(check.identity)
        return opened

    def _begin(self, partition_first: Int32Array, check: task_pb2.ShadowCheck) -> PlainSearch:
        return PlainSearch(partition_first, check.start_node, check.goal_node, partitions_max=self._open_partitions_max)


def _hand_over(search: PlainSearch, number: int, opened: OpenPartition) -> None:
    search.hand_over(
        number,
        (opened.out_first, opened.out_head, opened.out_cost),
        (opened.in_first, opened.in_tail, opened.in_cost),
    )


def agree(answered: float, found: float) -> bool:
    """Whether two costs are equal within RELATIVE_TOLERANCE. Infinite means that there is no path."""
    if math.isinf(answered) or math.isinf(found):
        return answered == found
    return abs(answered - found) <= RELATIVE_TOLERANCE * max(abs(answered), abs(found))
