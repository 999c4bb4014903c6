"""The index phase: partitions are sent to the builders in small chunks, and sent again when nothing comes back."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from planmesh.dispatch.reply_channel import ReplyChannel
from planmesh.dispatch.task_publisher import TaskPublisher
from planmesh.errors import BrokerUnavailable, SnapshotError, WorkerUnavailable
from planmesh.internal.v1 import task_pb2
from planmesh.snapshot.build_folder import BuildFolder, BuiltPartition
from planmesh.snapshot.manifest import FORMAT
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.trace_context import current_traceparent

CHUNK_NODES: Final = 20_000
"""Nodes of a chunk: about a second of indexing, against some milliseconds of dispatch."""

CHUNK_PARTITIONS_MAX: Final = 64
"""Partitions of a chunk: what a killed builder takes with it stays small."""

CHUNKS_IN_FLIGHT: Final = 16
"""Chunks in the queue or being built, for all builders together: enough for several machines with a few each."""

CHECK_INTERVAL_S: Final = 0.5
"""How often it is looked whether builders live while nothing comes back."""

RESEND_AFTER_S: Final = 5.0
"""Silence, with no builder at work on anything of the chunks, after which they are sent again. Doubles each time, since
a queue may also be long."""

RESEND_AFTER_S_MAX: Final = 60.0

log = get_logger(__name__)


@dataclass(slots=True)
class _Chunk:
    """Partitions sent together; `left` are those that have not come back."""

    left: set[int]
    sent_s: float = 0.0
    resend_after_s: float = RESEND_AFTER_S


class IndexBuilds:
    """All builds of this process share one reply channel; replies go to the build whose folder they name."""

    def __init__(self, publisher: TaskPublisher, channel: ReplyChannel, stall_s: float) -> None:
        self._publisher = publisher
        self._channel = channel
        self._stall_s = stall_s
        self._builds: dict[str, asyncio.Queue[task_pb2.BuildReply]] = {}
        self.heard_s = time.monotonic()
        """When a builder was last heard of, by any build."""

    async def start(self) -> None:
        """Begin to listen."""
        await self._channel.start(self._receive)

    async def close(self) -> None:
        """Stop listening."""
        await self._channel.close()

    async def build(
        self, folder: BuildFolder, nodes: Mapping[int, int], take: Callable[[BuiltPartition], None]
    ) -> dict[int, BuiltPartition]:
        """Have partitions of a build indexed, p of `nodes[p]` nodes, and return the facts by partition.

        `take` is given each as it is done.

        Raises WorkerUnavailable when no builder is heard of for the stall bound, BrokerUnavailable when Redis is away
        for as long, SnapshotError when a builder could not build a partition.
        """
        path = str(folder.path)
        replies: asyncio.Queue[task_pb2.BuildReply] = asyncio.Queue()
        self._builds[path] = replies
        try:
            return await _IndexBuild(self, folder, nodes, replies, take).run()
        finally:
            del self._builds[path]

    @property
    def stall_s(self) -> float:
        """How long a build waits for any sign of a builder."""
        return self._stall_s

    async def send(self, folder: BuildFolder, partitions: Sequence[int]) -> None:
        """Send one chunk to the builders."""
        task = task_pb2.BuildTask(
            reply_channel=self._channel.key,
            build_path=str(folder.path),
            partitions=partitions,
            traceparent=current_traceparent(),
        )
        await self._publisher.publish_build(task.SerializeToString())

    def _receive(self, raw: bytes) -> None:
        self.heard_s = time.monotonic()
        try:
            reply = task_pb2.BuildReply.FromString(raw)
        except DecodeError as error:
            log.error("reply dropped: expected a BuildReply", error=str(error), bytes=len(raw))
            return
        build = self._builds.get(reply.build_path)
        if build is None:
            log.info("reply dropped: its build has ended", partition=reply.partition)
            return
        build.put_nowait(reply)


class _IndexBuild:
    """One build's index phase."""

    def __init__(
        self,
        builds: IndexBuilds,
        folder: BuildFolder,
        nodes: Mapping[int, int],
        replies: asyncio.Queue[task_pb2.BuildReply],
        take: Callable[[BuiltPartition], None],
    ) -> None:
        self._builds = builds
        self._folder = folder
        self._replies = replies
        self._give = take
        self._waiting = deque(_Chunk(set(chunk)) for chunk in plan_chunks(nodes))
        self._sent: list[_Chunk] = []
        self._built: dict[int, BuiltPartition] = {}
        self._count = len(nodes)
        self._heard_s = time.monotonic()

    async def run(self) -> dict[int, BuiltPartition]:
        """Send, listen and send again until every partition is built."""
        while len(self._built) < self._count:
            await self._send_more()
            try:
                reply = await asyncio.wait_for(self._replies.get(), CHECK_INTERVAL_S)
            except TimeoutError:
                await self._look_after_silence()
                continue
            self._take(reply)
        return self._built

    async def _send_more(self) -> None:
        while self._waiting and len(self._sent) < CHUNKS_IN_FLIGHT:
            chunk = self._waiting[0]
            if not await self._send(chunk):
                return
            self._sent.append(self._waiting.popleft())

    async def _send(self, chunk: _Chunk) -> bool:
        """Send a chunk; False when Redis is away, which is borne up to the stall bound."""
        try:
            await self._builds.send(self._folder, sorted(chunk.left))
        except BrokerUnavailable as error:
            if time.monotonic() - self._heard_s > self._builds.stall_s:
                raise
            log.warning("build task not sent, Redis is away", error=str(error))
            await asyncio.sleep(CHECK_INTERVAL_S)
            return False
        chunk.sent_s = time.monotonic()
        return True

    def _take(self, reply: task_pb2.BuildReply) -> None:
        self._heard_s = time.monotonic()
        if reply.failure:
            raise SnapshotError(
                f"partition {reply.partition} could not be indexed: {reply.failure}; the log of the builder tells more"
            )
        if reply.format != FORMAT:
            raise SnapshotError(
                f"partition {reply.partition} was indexed in format {reply.format}, expected {FORMAT}: a build worker "
                "is of another planmesh; replace it and load again"
            )
        if reply.partition in self._built:
            return  # it was sent twice
        built = self._built[reply.partition] = BuiltPartition(
            partition=reply.partition,
            file=reply.file,
            bytes=reply.bytes,
            checksum=reply.checksum,
            overlay_nodes=reply.overlay_nodes,
            core_nodes=reply.core_nodes,
            overlay_edges=reply.overlay_edges,
            seconds=reply.seconds,
            format=reply.format,
        )
        for chunk in self._sent:
            chunk.left.discard(reply.partition)
        self._sent = [chunk for chunk in self._sent if chunk.left]
        self._give(built)

    async def _look_after_silence(self) -> None:
        now_s = time.monotonic()
        if self._a_builder_is_at_work():
            self._heard_s = self._builds.heard_s = now_s
            return
        heard_s = max(self._heard_s, self._builds.heard_s)
        if now_s - heard_s > self._builds.stall_s:
            raise WorkerUnavailable(
                f"no build worker was heard of for {self._builds.stall_s:g} s: {len(self._built)} of {self._count} "
                "partitions are indexed; start one (`python -m workers`, role build) and load again"
            )
        for chunk in self._sent:
            if now_s - max(chunk.sent_s, self._heard_s) > chunk.resend_after_s:
                log.warning("sent again: nothing came back", partitions=len(chunk.left), after_s=chunk.resend_after_s)
                chunk.resend_after_s = min(2 * chunk.resend_after_s, RESEND_AFTER_S_MAX)
                await self._send(chunk)

    def _a_builder_is_at_work(self) -> bool:
        return any(self._folder.being_built(partition) for chunk in self._sent for partition in chunk.left)


def plan_chunks(nodes: Mapping[int, int]) -> list[list[int]]:
    """Return the partitions in chunks, the chunks with large partitions first, so that none is left for the end."""
    chunks: list[list[int]] = []
    size = 0
    for partition in sorted(nodes, key=lambda number: (-nodes[number], number)):
        if not chunks or size + nodes[partition] > CHUNK_NODES or len(chunks[-1]) >= CHUNK_PARTITIONS_MAX:
            chunks.append([])
            size = 0
        chunks[-1].append(partition)
        size += nodes[partition]
    return chunks
