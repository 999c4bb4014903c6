"""The loads in progress, each in a separate task. After its rows are sealed, a load no longer needs its caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from planmesh.errors import Conflict, InvalidRequest, Overloaded, PlanmeshError, ServiceUnavailable
from planmesh.telemetry.logs import get_logger
from planmesh.v1 import graph_pb2
from planmesh.versions.protocol import VersionWriter
from services.partition.blocking import BlockingWork, finish
from services.partition.build.journal import UnfinishedBuild
from services.partition.build.load import Load
from services.partition.build.resources import BuildResources
from services.partition.ingest.content_digest import ContentDigest
from services.partition.ingest.messages import Requests, next_message, take_message
from services.partition.ingest.options import LoadOptions, read_header
from services.partition.ingest.progress import LoadProgress
from services.partition.ingest.spool import GraphSpool

CALLERS_MAX: Final = 16
"""Callers that may wait for one build. Each of them sent the same rows again; more than a few indicate a defect."""

ROWS_SETTLE_S: Final = 1.0
"""gRPC reports the end of a caller's rows and a broken connection in the same way, and cancels the call a moment later
in the second case. A caller that leaves within this time after its last row counts as one that had not sent all
rows."""

LEAVING_NOTICED_S: Final = 1.0
"""A caller that cancels a load and at once begins another is right to expect that the first one is over. Its
cancellation travels through the gateway and may arrive after the second call, so that one waits this long before it
is refused as a conflict."""

RESULTS_KEPT_MAX: Final = 64
"""Kept reports of builds that ended without a waiting caller: the newest for each graph."""

log = get_logger(__name__)


class AlreadyLoadedError(Exception):
    """The rows of a load equal those of the served version, whose report no caller has received."""

    def __init__(self, report: graph_pb2.LoadReport) -> None:
        super().__init__("the same rows were already loaded, after their caller had left")
        self.report = report


@dataclass(slots=True, eq=False)
class LoadUnderWay:
    """One load. `content` is the digest of its rows; it is empty until all are received, or if it is unknown.

    `leaving` means that its last caller has left before all rows were received, so that it is being cancelled.
    """

    options: LoadOptions
    content: str = ""
    rows_ended_at_s: float = 0.0
    sealed: bool = False
    callers: int = 0
    leaving: bool = False
    task: asyncio.Task[graph_pb2.LoadReport] | None = None

    @property
    def outlives_callers(self) -> bool:
        """Whether the load continues when its callers leave."""
        return self.sealed and time.monotonic() - self.rows_ended_at_s >= ROWS_SETTLE_S


async def _no_merge(graph: str) -> None:
    """End nothing: nothing is merged."""


class Loads:
    """Starts loads, lets callers with the same rows wait for one build, and resumes builds of an earlier process."""

    def __init__(self, resources: BuildResources, abandon_merge: Callable[[str], Awaitable[None]] = _no_merge) -> None:
        """Take what ends the merge of a graph: a load replaces the graph, so it does not wait for one."""
        self._resources = resources
        self._abandon_merge = abandon_merge
        self._under_way: dict[str, LoadUnderWay] = {}
        self._results: dict[str, tuple[LoadUnderWay, graph_pb2.LoadReport]] = {}

    async def load(self, requests: Requests) -> graph_pb2.LoadReport:
        """Do the load in the caller's stream and return its report. A failed load changes nothing.

        A caller that sends the same rows as a build in progress gets the report of that build. Raises Conflict when a
        load of other rows of the graph is in progress, and the errors of Load.
        """
        requests = aiter(requests)
        first = await next_message(requests)
        if first is None or first.WhichOneof("content") != "header":
            raise InvalidRequest("expected a header as the first message of a load")
        options = read_header(first.header)
        await self._until_left(options.graph)
        await self._abandon_merge(options.graph)
        other = self._under_way.get(options.graph)
        if other is not None and other.sealed and other.content and other.options == options:
            return await self._join(other, requests)
        return await self._wait(self._begin(options, requests))

    def resume(self, builds: Sequence[UnfinishedBuild]) -> None:
        """Resume builds that an earlier process began, at most one per graph, concurrently and without a caller."""
        for build in builds:
            options = build.journal.options
            one = LoadUnderWay(options, build.journal.content, sealed=True)
            load = Load(self._resources, options, build, is_awaited=lambda: False)
            load.begin()
            self._start(one, load.resume())

    def outlives_callers(self, graph: str) -> bool:
        """Whether a load of the graph is in progress that continues when its callers leave."""
        one = self._under_way.get(graph)
        return one is not None and one.outlives_callers

    async def abandon(self, graph: str) -> bool:
        """Cancel a sealed build without waiting callers, and delete its data. Return False when there is none."""
        self._results.pop(graph, None)
        one = self._under_way.get(graph)
        if one is None or one.task is None or one.callers or not one.sealed:
            return False
        one.task.cancel()
        await asyncio.wait([one.task])
        return True

    async def close(self) -> None:
        """Cancel all loads. During a shutdown, sealed builds keep their data for the next process; see Shutdown."""
        tasks = [one.task for one in self._under_way.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_left(self, graph: str) -> None:
        """Wait until a load of the graph whose caller is leaving has ended and removed its files."""
        other = self._under_way.get(graph)
        if other is None or other.task is None or other.sealed:
            return
        await asyncio.wait([other.task], timeout=LEAVING_NOTICED_S)
        if other.leaving:
            await asyncio.wait([other.task])

    def _begin(self, options: LoadOptions, requests: Requests) -> LoadUnderWay:
        one = LoadUnderWay(options)
        digest = ContentDigest()

        async def feed(spool: GraphSpool, writer: VersionWriter, work: BlockingWork, progress: LoadProgress) -> None:
            while (request := await next_message(requests)) is not None:
                await work.run(lambda taken=request: digest.add(taken))  # type: ignore[misc]
                await take_message(request, spool, writer, work)
                progress.advance(spool.rows)
            one.rows_ended_at_s = time.monotonic()
            one.content = digest.text()
            self._raise_if_loaded(one)

        def note_sealed(progress: LoadProgress) -> None:
            one.sealed = progress.sealed = True

        load = Load(
            self._resources,
            options,
            content=lambda: one.content,
            on_sealed=note_sealed,
            is_awaited=lambda: one.callers > 0,
        )
        load.begin()
        self._start(one, load.run(feed))
        return one

    def _start(self, one: LoadUnderWay, work: Coroutine[Any, Any, graph_pb2.LoadReport]) -> None:
        graph = one.options.graph
        self._under_way[graph] = one
        one.task = asyncio.create_task(work, name=f"load-{graph}")
        one.task.add_done_callback(lambda task: self._end(one, task))

    def _end(self, one: LoadUnderWay, task: asyncio.Task[graph_pb2.LoadReport]) -> None:
        graph = one.options.graph
        if self._under_way.get(graph) is one:
            del self._under_way[graph]
        if task.cancelled():
            return
        error = task.exception()  # marks it as retrieved: there may be no caller
        if one.callers:
            return
        if error is None:
            self._results.pop(graph, None)
            self._results[graph] = one, task.result()
            while len(self._results) > RESULTS_KEPT_MAX:
                del self._results[next(iter(self._results))]
        elif isinstance(error, ServiceUnavailable):
            log.info("build left for the next process", graph=graph, reason=error.message)
        elif isinstance(error, (PlanmeshError, OSError)):
            # No caller gets this error. GetGraph shows no load, and the previous version is served.
            log.error("build failed; load the graph again", graph=graph, error=str(error))
        elif not isinstance(error, AlreadyLoadedError):
            log.error("build failed unexpectedly; load the graph again", graph=graph, exc_info=error)

    async def _wait(self, one: LoadUnderWay) -> graph_pb2.LoadReport:
        """Wait for a load as one of its callers, and return its report."""
        task = one.task
        assert task is not None, "it was started"
        if one.callers >= CALLERS_MAX:
            raise Overloaded(f"expected at most {CALLERS_MAX} callers to wait for one build", bound="CALLERS_MAX")
        one.callers += 1
        try:
            report = await asyncio.shield(task)
        except AlreadyLoadedError as loaded:
            self._results.pop(one.options.graph, None)
            return loaded.report
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and caller is not None and not caller.cancelling():
                if self._resources.shutdown.begun:
                    raise ServiceUnavailable(
                        "the partition service is being stopped; it will resume the load when it runs again"
                    ) from None
                raise Conflict(
                    f"the load of graph {one.options.graph!r} was cancelled by its first caller; load it again"
                ) from None
            if one.callers == 1 and not one.outlives_callers:
                one.leaving = True
                task.cancel()
                await finish(task)
            elif not task.done():
                log.warning("caller left; the build continues", graph=one.options.graph, callers=one.callers - 1)
            raise
        else:
            if self._results.get(one.options.graph, (None,))[0] is one:
                del self._results[one.options.graph]  # the build ended while this caller was sending its rows
            return report
        finally:
            one.callers -= 1

    async def _join(self, one: LoadUnderWay, requests: Requests) -> graph_pb2.LoadReport:
        """Read a caller's rows, and if they equal those of the build in progress, wait for it."""
        digest = ContentDigest()
        while (request := await next_message(requests)) is not None:
            await asyncio.to_thread(digest.add, request)
        if digest.text() != one.content:
            raise Conflict(
                f"a load of other rows of graph {one.options.graph!r} is in progress; wait until it is served, or drop "
                "it by unloading the graph after its caller has left",
                graph=one.options.graph,
            )
        log.info("caller joins a build", graph=one.options.graph, rows=digest.rows)
        return await self._wait(one)

    def _raise_if_loaded(self, one: LoadUnderWay) -> None:
        """Raise AlreadyLoadedError if these rows equal those of the served version, whose report no caller has got."""
        graph = one.options.graph
        loaded, report = self._results.get(graph, (None, None))
        if loaded is None or report is None or (loaded.options, loaded.content) != (one.options, one.content):
            return
        served = self._resources.graphs.get(graph).served
        # A damaged or suspect version is not good enough: loading it again repairs that.
        whole = served is not None and not served.damaged and served.suspicion is None
        if whole and served is not None and served.number == report.version:
            raise AlreadyLoadedError(report)
