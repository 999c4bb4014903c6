"""Suspect versions, which gave a wrong answer. Build workers report them in Redis; this process keeps them on disk.

A suspicion belongs to the identity of a snapshot, so it ends with the version: another load has another identity. The
file is needed because the Redis of a local mesh loses its data when it stops.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import orjson
import redis.asyncio
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError
from redis.exceptions import RedisError

from planmesh.dispatch.queues import suspect_key
from planmesh.errors import SnapshotError
from planmesh.snapshot.array_file import written_aside
from planmesh.supervision import SupervisedTask
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.metrics import Instruments
from planmesh.v1 import graph_pb2
from services.partition.catalog.served import KnownGraphs, KnownVersion

LOOK_INTERVAL_S: Final = 1.0
"""Interval between two looks in Redis. Wrong answers are rare, and an operator takes longer to react."""

LOOK_S_MAX: Final = 5.0
"""A Redis that takes longer counts as down."""

log = get_logger(__name__)


class Suspects:
    """Reads suspicions against known versions from Redis, and stores them in `file`."""

    def __init__(
        self, file: Path, graphs: KnownGraphs, connection: redis.asyncio.Redis, instruments: Instruments
    ) -> None:
        self._file = file
        self._graphs = graphs
        self._connection = connection
        self._instruments = instruments
        self._kept: dict[str, graph_pb2.Suspicion] = {}
        """The content of the file: suspicions by identity."""
        self._measured: set[str] = set()
        """Graphs for which the gauge has been set."""
        self._reachable = True
        self._looking = SupervisedTask("suspects", self._look_forever)

    async def start(self) -> None:
        """Read the file, apply its suspicions, and start looking in Redis."""
        self._kept = await asyncio.to_thread(_read, self._file)
        await self._apply()
        self._looking.start()

    async def close(self) -> None:
        """Stop looking in Redis."""
        await self._looking.close()

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                async with asyncio.timeout(LOOK_S_MAX):
                    await self._look()
                self._reachable = True
                self._looking.note_progress()
            except (RedisError, OSError) as error:  # OSError also for a full disk
                if self._reachable:
                    log.warning("suspicions cannot be read from Redis or stored", error=str(error))
                self._reachable = False

    async def _look(self) -> None:
        """Add the suspicions that workers reported, and forget those against versions that are gone."""
        known = await self._known()
        # Other meshes on the same Redis have other identities, hence other keys.
        found = await self._connection.mget([suspect_key(identity) for identity in known]) if known else []
        kept = {identity: suspicion for identity, suspicion in self._kept.items() if identity in known}
        for (identity, version), raw in zip(known.items(), found, strict=True):
            if not isinstance(raw, bytes) or identity in kept:
                continue
            try:
                kept[identity] = graph_pb2.Suspicion.FromString(raw)
            except DecodeError as error:
                log.error("suspicion dropped: it is not a Suspicion", graph=version.stored.graph, error=str(error))
                continue
            log.error(
                "version is suspect: it gave a wrong answer",
                graph=version.stored.graph,
                version=version.number,
                start=kept[identity].start,
                goal=kept[identity].goal,
                answer_trace_id=kept[identity].trace_id,
                remedy=f"planmesh verify --graph {version.stored.graph}",
            )
        if kept != self._kept:
            await asyncio.to_thread(_write, self._file, kept)
            self._kept = kept
        await self._apply()

    async def _apply(self) -> None:
        for identity, version in (await self._known()).items():
            version.suspicion = self._kept.get(identity)
        served = {graph.name: graph.served for graph in self._graphs.all() if graph.served is not None}
        for name, version in served.items():
            self._instruments.graph_suspect.set(int(version.suspicion is not None), {names.GRAPH: name})
        for name in self._measured - served.keys():
            self._instruments.graph_suspect.set(0, {names.GRAPH: name})  # otherwise the gauge would keep its last value
        self._measured = set(served)

    async def _known(self) -> dict[str, KnownVersion]:
        """Return the versions of all graphs by the identity of their snapshots, which coordinators and workers see."""
        found: dict[str, KnownVersion] = {}
        for version in [version for graph in self._graphs.all() for version in graph.versions]:
            try:
                reader = await asyncio.to_thread(version.open)
            except SnapshotError:  # damaged, gone, or a manifest of another format
                continue  # its repair gives it another identity
            found[reader.identity] = version
        return found


def _read(file: Path) -> dict[str, graph_pb2.Suspicion]:
    """Return the suspicions in the file; none when it is missing. A file that cannot be read is logged as an error."""
    try:
        content: Any = orjson.loads(file.read_bytes())
        return {identity: ParseDict(fields, graph_pb2.Suspicion()) for identity, fields in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, ParseError) as error:
        log.error("the file of suspicions cannot be read: run planmesh verify", file=str(file), error=str(error))
        return {}


def _write(file: Path, kept: dict[str, graph_pb2.Suspicion]) -> None:
    content = {identity: MessageToDict(suspicion) for identity, suspicion in kept.items()}
    with written_aside(file) as aside:
        aside.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
