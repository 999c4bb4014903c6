"""Draws a random share of the answers, and sends them to build workers, which compute them again by a plain search.

The caller of a plan waits only for the random draw. A background task does the rest after the answer was returned.
Checks never delay plans: one that cannot be sent at once is counted as skipped.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from planmesh.dispatch.checksum import seal
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.errors import BrokerUnavailable
from planmesh.internal.v1 import task_pb2
from planmesh.settings import CoordinatorSettings
from planmesh.supervision import SupervisedTask
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.trace_context import current_trace_id
from planmesh.telemetry.tracing import Telemetry
from planmesh.v1 import plan_pb2
from services.coordinator.versioned_graph import VersionedGraph

UNSENT_MAX: Final = 64
"""Drawn answers that wait to be sent; each keeps its plan and its version in memory."""

QUEUED_MAX: Final = 64
"""Checks in the queue, of all coordinators together. With a hundredth of a core, workers could not do more before they
expire."""

EXPIRES_S: Final = 60.0
"""A check that no worker began in this time is skipped, because its version may have been removed."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A drawn answer. `plan` is a serialised v1.Plan, or None if the answer was NoPath."""

    graph: VersionedGraph
    start: str
    goal: str
    plan: bytes | None
    trace_id: str


class ShadowChecks:
    """Sends a share of the answers to be checked. `draw` returns uniform random numbers in [0, 1)."""

    def __init__(
        self,
        publisher: TaskPublisher,
        settings: CoordinatorSettings,
        telemetry: Telemetry,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._publisher = publisher
        self._share = settings.shadow_share
        self._no_path_share = settings.shadow_no_path_share
        self._telemetry = telemetry
        self._draw = draw
        self._unsent: asyncio.Queue[_Drawn] = asyncio.Queue(UNSENT_MAX)
        self._sending = SupervisedTask("shadow-checks", self._send_forever)

    async def start(self) -> None:
        """Start the task that sends the drawn answers."""
        for result in (names.SHADOW_SKIPPED, names.SHADOW_ERROR):
            self._count(result, 0)
        self._sending.start()

    async def close(self) -> None:
        """End the task. Drawn answers that were not sent are dropped."""
        await self._sending.close()

    def consider(self, graph: VersionedGraph, start: str, goal: str, plan: bytes | None) -> None:
        """Decide at random whether to check an answer. `plan` is a serialised v1.Plan, or None for NoPath."""
        if graph.changes is not None:
            return  # build workers search the base, which no longer is the graph
        if self._draw() >= (self._share if plan is not None else self._no_path_share):
            return
        try:
            self._unsent.put_nowait(_Drawn(graph, start, goal, plan, current_trace_id()))
        except asyncio.QueueFull:
            self._count(names.SHADOW_SKIPPED)

    async def _send_forever(self) -> None:
        while True:
            drawn = await self._unsent.get()
            try:
                sent = await self._publisher.publish_shadow(seal(_check(drawn)), EXPIRES_S, QUEUED_MAX)
            except BrokerUnavailable as error:
                log.info("answer not checked", graph=drawn.graph.name, error=error.message)
                sent = False
            except Exception:
                # A defect with one answer must not delay the other checks by the restart of this task.
                log.exception("answer not checked", graph=drawn.graph.name, start=drawn.start, goal=drawn.goal)
                self._count(names.SHADOW_ERROR)
                continue
            self._sending.note_progress()
            if not sent:
                self._count(names.SHADOW_SKIPPED)

    def _count(self, result: str, checks: int = 1) -> None:
        self._telemetry.instruments.shadow_checks.add(checks, {names.RESULT: result})


def _check(drawn: _Drawn) -> task_pb2.ShadowCheck:
    graph = drawn.graph
    check = task_pb2.ShadowCheck(
        graph=graph.name,
        version=graph.version,
        snapshot_url=graph.snapshot_url,
        identity=graph.identity,
        start=drawn.start,
        goal=drawn.goal,
        start_node=graph.directory.find(drawn.start),
        goal_node=graph.directory.find(drawn.goal),
        trace_id=drawn.trace_id,
    )
    if drawn.plan is not None:
        check.cost = plan_pb2.Plan.FromString(drawn.plan).cost
    return check
