"""Suspicions that workers left in Redis: they are read, survive a restart, and end with their version."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import redis.asyncio

from planmesh.dispatch.connections import connect_async
from planmesh.dispatch.queues import suspect_key
from planmesh.snapshot.manifest import FORMAT, MANIFEST_NAME, manifest_format, read_manifest
from planmesh.telemetry import names
from planmesh.v1 import graph_pb2
from services.partition.catalog.served import KnownGraphs, KnownVersion
from services.partition.catalog.suspects import Suspects
from tests.conftest import RedisServer
from tests.services.partition.conftest import Builder, OpenService, Service, random_rows, until

FOUND = graph_pb2.Suspicion(version=1, start="a", goal="b", plain_cost=2.0, trace_id="t" * 32)


async def leave(broker: RedisServer, identity: str, raw: bytes) -> None:
    connection: redis.asyncio.Redis = connect_async(broker.url)
    try:
        await connection.set(suspect_key(identity), raw)
    finally:
        await connection.aclose()


async def forget(broker: RedisServer, identity: str) -> None:
    connection = connect_async(broker.url)
    try:
        await connection.delete(suspect_key(identity))
    finally:
        await connection.aclose()


def identity_of(service: Service, version: int) -> str:
    return read_manifest(service.snapshot(version) / MANIFEST_NAME).identity


async def test_a_suspicion_survives_a_restart_and_ends_with_the_version(
    open_service: OpenService, builder: Builder, broker: RedisServer
) -> None:
    rows = random_rows()
    async with open_service() as service:
        await service.load(rows.messages())
        assert not (await service.describe()).HasField("suspicion")
        identity = identity_of(service, 1)
        await leave(broker, "00" * 16, FOUND.SerializeToString())  # by another mesh on the same Redis
        await leave(broker, identity, b"\xff")  # it is not a Suspicion, so the next look reads the key again
        await leave(broker, identity, FOUND.SerializeToString())

        async def is_suspect() -> bool:
            return (await service.describe()).HasField("suspicion")

        await until(is_suspect)
        assert (await service.describe()).suspicion == FOUND
    await forget(broker, identity)
    async with open_service() as service:
        assert (await service.describe()).suspicion == FOUND, "it comes from the file, before the first look in Redis"
        await service.load(rows.messages())
        assert not (await service.describe()).HasField("suspicion")


async def test_an_unreadable_file_does_not_prevent_serving(open_service: OpenService, builder: Builder) -> None:
    async with open_service() as service:
        await service.load(random_rows().messages())
        file = service.data / "suspects.json"
    file.write_text("{broken")
    async with open_service() as service:
        described = await service.describe()
        assert described.state == graph_pb2.GRAPH_STATE_SERVING
        assert not described.HasField("suspicion")


async def test_a_snapshot_with_an_earlier_format_than_in_the_store_is_repaired(
    open_service: OpenService, builder: Builder
) -> None:
    async with open_service() as service:
        await service.load(random_rows().messages())
        manifest = service.snapshot(1) / MANIFEST_NAME
    earlier = manifest.read_text().replace(f'{{"format":{FORMAT},', f'{{"format":{FORMAT - 1},', 1)
    manifest.write_text(earlier)
    async with open_service() as service:

        async def is_repaired() -> bool:
            return (await service.describe()).state == graph_pb2.GRAPH_STATE_SERVING and manifest.read_text() != earlier

        await until(is_repaired)
        read_manifest(manifest)


async def test_a_removed_suspect_graph_is_no_longer_measured_as_suspect(tmp_path: Path) -> None:
    values: dict[str, int] = {}
    instruments: Any = SimpleNamespace(
        graph_suspect=SimpleNamespace(set=lambda value, labels: values.update({labels[names.GRAPH]: value}))
    )
    graphs = KnownGraphs(8)
    version = KnownVersion(cast("Any", SimpleNamespace(graph="g", version=1)), cast("Any", None), cast("Any", None), "")
    version.reader = cast("Any", SimpleNamespace(identity="1" * 32))
    graphs.add_version(version)
    suspects = Suspects(tmp_path / "suspects.json", graphs, cast("Any", None), instruments)
    suspects._kept = {"1" * 32: FOUND}
    await suspects._apply()
    assert values == {"g": 1}
    graphs.remove("g")
    await suspects._apply()
    assert values == {"g": 0}


async def test_a_manifest_with_a_newer_format_than_in_the_store_is_repaired(
    open_service: OpenService, builder: Builder
) -> None:
    """The store's copy has the right format, so the snapshot is served, and its manifest is repaired."""
    async with open_service() as service:
        await service.load(random_rows().messages())
        manifest = service.snapshot(1) / MANIFEST_NAME
    raw = manifest.read_bytes()
    manifest.write_bytes(raw.replace(b'{"format":%d' % FORMAT, b'{"format":%d' % (FORMAT + 1), 1))
    async with open_service() as service:

        async def is_right() -> bool:
            return manifest_format(manifest.read_bytes()) == FORMAT

        await until(is_right)
