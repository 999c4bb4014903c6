from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from planmesh.errors import InvalidRequest, SnapshotDamaged
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.snapshot.manifest import MANIFEST_NAME, decode_manifest, encode_manifest
from planmesh.snapshot.reader import SnapshotReader
from planmesh.v1 import graph_pb2
from services.partition.build.repair import Repairs
from tests.services.partition.conftest import Builder, OpenService, Service, random_rows, until
from tests.snapshot.damage import DAMAGES, delete, flip_a_bit

pytestmark = pytest.mark.mesh

FILES = ["directory", "overlay", "report", "partitions/00001", MANIFEST_NAME]


def read_files(folder: Path) -> dict[str, bytes]:
    """Every file's bytes; the manifest's without what says that there was a repair."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    manifest = decode_manifest(files[MANIFEST_NAME]).model_copy(update={"repair": ""})
    return files | {MANIFEST_NAME: encode_manifest(manifest)}


async def report(service: Service, file: str) -> bool:
    response: pb.ReportDamageResponse = await service.call(
        "ReportDamage", pb.ReportDamageRequest, graph="g", version=1, file=file
    )
    return response.rebuilding


async def is_serving(service: Service) -> bool:
    return (await service.describe()).state == graph_pb2.GRAPH_STATE_SERVING


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_whatever_is_damaged_is_rebuilt_to_the_same_bytes(
    service: Service, damage: Callable[[Path], None]
) -> None:
    await service.load(random_rows().messages())
    folder = service.snapshot(1)
    whole = read_files(folder)
    identities = [SnapshotReader.open(str(folder)).identity]
    for file in FILES:
        damage(folder / file)
        if damage.__name__ == "truncate" and file == MANIFEST_NAME:
            damage(folder / file)  # the line break at its end is not part of it
        assert await report(service, file)
        assert (await service.describe()).state == graph_pb2.GRAPH_STATE_REBUILDING
        await until(lambda: is_serving(service))
        assert read_files(folder) == whole, file
        assert not await report(service, file)
        identities.append(SnapshotReader.open(str(folder)).identity)
    assert (await service.describe()).version == 1
    assert len(set(identities)) == 1 + len(FILES), "who has mapped what was replaced sees that it was"


async def test_who_finds_another_identity_while_files_are_rebuilt_hears_that_they_are(
    open_service: OpenService, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repair begins with another identity, so readers of the one before it ask what became of the manifest."""
    async with open_service() as service:
        await service.load(random_rows().messages())
        flip_a_bit(service.snapshot(1) / "partitions" / "00001")
        before = SnapshotReader.open(str(service.snapshot(1))).identity
        begun, go_on = asyncio.Event(), asyncio.Event()
        rebuild = Repairs._rebuild

        async def slow(*arguments: Any) -> None:
            begun.set()
            await go_on.wait()
            await rebuild(*arguments)

        async def no_requests() -> AsyncIterator[pb.WatchGraphsRequest]:
            await asyncio.Event().wait()
            yield pb.WatchGraphsRequest()

        monkeypatch.setattr(Repairs, "_rebuild", slow)
        watch = service.stub.WatchGraphs(no_requests())
        assert (await watch.read()).served.version == 1
        assert (await watch.read()).HasField("initial_state_sent")
        assert await report(service, "partitions/00001")
        await asyncio.wait_for(begun.wait(), 60)
        again = await asyncio.wait_for(watch.read(), 60)
        assert again.served.version == 1, "plans on other files go on under the new identity"
        assert SnapshotReader.open(str(service.snapshot(1))).identity != before
        assert await report(service, MANIFEST_NAME)
        assert not await report(service, "overlay"), "what is whole is whole"
        go_on.set()
        await until(lambda: is_serving(service))
        assert not await report(service, MANIFEST_NAME)
        assert (await asyncio.wait_for(watch.read(), 60)).served.version == 1
        watch.cancel()


async def test_a_report_of_what_is_whole_or_no_file_does_nothing(service: Service) -> None:
    await service.load(random_rows().messages())
    for file in FILES:
        assert not await report(service, file)
    assert await is_serving(service)
    for file in ("", "nothing", "../../store/catalog.sqlite", "partitions/99999", "/etc/passwd"):
        with pytest.raises(InvalidRequest, match="name of a file"):
            await report(service, file)


async def test_a_question_that_meets_damage_starts_the_rebuild(service: Service) -> None:
    await service.load(random_rows().messages())
    flip_a_bit(service.snapshot(1) / "partitions" / "00000")
    first_of_it = SnapshotReader.open(str(service.snapshot(1))).directory().ids.name(0)
    with pytest.raises(SnapshotDamaged, match="partitions/00000"):
        await service.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node=first_of_it)
    await until(lambda: is_serving(service))
    answer = await service.call("DescribeNode", pb.DescribeNodeRequest, graph="g", node=first_of_it)
    assert answer.node.version == 1


async def test_all_damage_at_once_found_at_the_start_and_watchers_told_again(
    open_service: OpenService, builder: Builder
) -> None:
    async with open_service() as service:
        await service.load(random_rows().messages())
        whole = read_files(service.snapshot(1))
    shutil.rmtree(service.snapshot(1))
    async with open_service() as service:

        async def no_requests() -> AsyncIterator[pb.WatchGraphsRequest]:
            await asyncio.Event().wait()
            yield pb.WatchGraphsRequest()

        watch = service.stub.WatchGraphs(no_requests())
        assert (await watch.read()).served.version == 1
        assert (await watch.read()).HasField("initial_state_sent")
        for _ in ("begun", "done"):
            again = (await watch.read()).served
            assert (again.graph, again.version) == ("g", 1)
        watch.cancel()
        assert read_files(service.snapshot(1)) == whole
        assert await is_serving(service)


async def test_what_cannot_be_rebuilt_to_the_same_bytes_becomes_a_new_version(
    open_service: OpenService, builder: Builder
) -> None:
    async with open_service() as service:
        await service.load(random_rows().messages())
    # As if another release, whose indexes are other bytes, had built the version.
    with sqlite3.connect(service.data / "store" / "catalog.sqlite") as catalog:
        (text,) = catalog.execute("SELECT description FROM version").fetchone()
        description = json.loads(text)
        manifest = decode_manifest(description["manifest"].encode())
        partitions = list(manifest.partitions)
        partitions[2] = partitions[2].model_copy(update={"checksum": "0" * 32})
        other = manifest.model_copy(update={"partitions": partitions})
        description["manifest"] = encode_manifest(other).decode()
        catalog.execute("UPDATE version SET description = ?", (json.dumps(description),))
    catalog.close()
    async with open_service() as service:

        async def has_a_new_version() -> bool:
            return (await service.describe()).version == 2

        await until(has_a_new_version)
        await until(lambda: is_serving(service))
        graph = await service.describe()
        assert (graph.nodes, graph.state) == (200, graph_pb2.GRAPH_STATE_SERVING)
        drawn = await service.call("DrawNodes", pb.DrawNodesRequest, graph="g", count=3, seed=1)
        assert drawn.version == 2


async def test_damage_that_the_store_cannot_mend_is_told_and_tried_again(
    open_service: OpenService, builder: Builder
) -> None:
    async with open_service() as service:
        await service.load(random_rows().messages())
        rows = service.data / "store" / "rows" / "g" / "1" / "edges.parquet"
        whole = rows.read_bytes()
        flip_a_bit(rows)
        delete(service.snapshot(1) / "partitions" / "00001")
        assert await report(service, "partitions/00001")
        await until(lambda: not list((service.data / "builds").iterdir()))
        assert (await service.describe()).state == graph_pb2.GRAPH_STATE_REBUILDING
        rows.write_bytes(whole)
        assert await report(service, "partitions/00001")
        await until(lambda: is_serving(service))
        SnapshotReader.open(str(service.snapshot(1))).partition(1)
