"""Versions that gave a wrong answer: build workers leave what they found in Redis, this process keeps it on disk.

A suspicion is kept under the identity of the snapshot, so it ends with the version: another load has another one. The
Redis of a local mesh forgets everything when it stops, hence the file.
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
"""How long a suspicion may stay unseen: checks are rare, and whoever is woken takes longer."""

LOOK_S_MAX: Final = 5.0
"""A Redis that takes longer is away."""

log = get_logger(__name__)


class Suspects:
    """Looks in Redis for suspicions of the versions that are known, and keeps them in `file`."""

    def __init__(
        self, file: Path, graphs: KnownGraphs, connection: redis.asyncio.Redis, instruments: Instruments
    ) -> None:
        self._file = file
        self._graphs = graphs
        self._connection = connection
        self._instruments = instruments
        self._kept: dict[str, graph_pb2.Suspicion] = {}
        """By identity; what is in the file."""
        self._measured: set[str] = set()
        """Graphs of which the gauge says something."""
        self._reachable = True
        self._looking = SupervisedTask("suspects", self._look_forever)

    async def start(self) -> None:
        """Take up what was kept, and look from now on."""
        self._kept = await asyncio.to_thread(_read, self._file)
        await self._apply()
        self._looking.start()

    async def close(self) -> None:
        """Stop looking."""
        await self._looking.close()

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                async with asyncio.timeout(LOOK_S_MAX):
                    await self._look()
                self._reachable = True
                self._looking.note_progress()
            except (RedisError, OSError) as error:  # a disk that is full among them
                if self._reachable:
                    log.warning("suspicions cannot be looked for or kept", error=str(error))
                self._reachable = False

    async def _look(self) -> None:
        """Take up what workers found, and forget what is about versions that are gone."""
        known = await self._known()
        # Suspicions of other meshes on the same Redis have keys that are not asked for.
        found = await self._connection.mget([suspect_key(identity) for identity in known]) if known else []
        kept = {identity: suspicion for identity, suspicion in self._kept.items() if identity in known}
        for (identity, version), raw in zip(known.items(), found, strict=True):
            if not isinstance(raw, bytes) or identity in kept:
                continue
            try:
                kept[identity] = graph_pb2.Suspicion.FromString(raw)
            except DecodeError as error:
                log.error("suspicion dropped: expected a Suspicion", graph=version.stored.graph, error=str(error))
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
            self._instruments.graph_suspect.set(0, {names.GRAPH: name})  # a gauge keeps its last value for ever
        self._measured = set(served)

    async def _known(self) -> dict[str, KnownVersion]:
        """Return the versions of all graphs by the identity of their snapshot, as coordinators and workers see it."""
        found: dict[str, KnownVersion] = {}
        for version in [version for graph in self._graphs.all() for version in graph.versions]:
            try:
                reader = await asyncio.to_thread(version.open)
            except SnapshotError:  # damaged, gone, or a manifest of another format
                continue  # it is rebuilt, and will have another identity
            found[reader.identity] = version
        return found


def _read(file: Path) -> dict[str, graph_pb2.Suspicion]:
    """Return what was kept; nothing when the file is missing or, which is logged, cannot be read."""
    try:
        content: Any = orjson.loads(file.read_bytes())
        return {identity: ParseDict(fields, graph_pb2.Suspicion()) for identity, fields in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, ParseError) as error:
        log.error("suspicions that were kept cannot be read: run planmesh verify", file=str(file), error=str(error))
        return {}


def _write(file: Path, kept: dict[str, graph_pb2.Suspicion]) -> None:
    content = {identity: MessageToDict(suspicion) for identity, suspicion in kept.items()}
    with written_aside(file) as aside:
        aside.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
