"""Rebuilds and loads of old rows, where newer rows may have come meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from planmesh.snapshot.manifest import MANIFEST_NAME
from planmesh.v1 import graph_pb2
from planmesh.versions.protocol import StoredVersion
from services.partition.build import rebuilds, repair
from services.partition.build.rebuilds import Rebuilds
from services.partition.build.repair import Repairs
from services.partition.catalog.served import KnownGraphs, KnownVersion, UnservedVersion
from services.partition.ingest.options import LoadOptions
from services.partition.shutdown import Shutdown


def stored(graph: str, version: int) -> StoredVersion:
    return cast("StoredVersion", SimpleNamespace(graph=graph, version=version))


def unserved(graph: str) -> UnservedVersion:
    return UnservedVersion(stored(graph, 1), "", "of an earlier format", LoadOptions(graph=graph), 1)


def known(graph: str, version: int) -> KnownVersion:
    described: Any = SimpleNamespace(options=LoadOptions(graph=graph))
    return KnownVersion(stored(graph, version), described, cast("Any", None), "")


async def test_rows_that_are_loaded_while_a_rebuild_waits_for_its_turn_stay_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs = KnownGraphs(8)
    begun: list[str] = []
    may_end = asyncio.Event()

    async def load_again(_: Any, version: StoredVersion, __: LoadOptions) -> graph_pb2.LoadReport:
        begun.append(version.graph)
        await may_end.wait()
        graphs.add_version(known(version.graph, 2))
        return graph_pb2.LoadReport()

    monkeypatch.setattr(rebuilds, "load_from_store", load_again)
    waiting = [unserved("a"), unserved("b"), unserved("c")]
    for version in waiting:
        graphs.add_unserved(version)
    running = Rebuilds(cast("Any", SimpleNamespace(graphs=graphs, shutdown=Shutdown())))
    running.begin(waiting)
    while not begun:
        await asyncio.sleep(0)
    graphs.add_version(known("b", 2))  # a caller's load
    may_end.set()
    await asyncio.gather(*running._tasks.values())
    assert begun == ["a", "c"]


async def test_a_newer_version_that_is_damaged_while_an_older_one_is_repaired_is_repaired_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs = KnownGraphs(8)
    repaired: list[int] = []
    may_end = asyncio.Event()

    async def repair_it(_: Repairs, version: KnownVersion) -> None:
        repaired.append(version.number)
        await may_end.wait()
        version.damaged.clear()

    monkeypatch.setattr(Repairs, "_repair", repair_it)
    monkeypatch.setattr(repair, "_is_intact", lambda *_: False)
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    repairs = Repairs(cast("Any", SimpleNamespace(graphs=graphs, shutdown=Shutdown())))
    for number in (1, 2):
        graphs.add_version(known("g", number))
        assert await repairs.report("g", number, MANIFEST_NAME)
    may_end.set()
    while repairs._repairs:
        await asyncio.sleep(0)
    assert repaired == [1, 2]


async def test_a_version_that_is_not_served_any_more_is_not_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    async def load_again(_: Any, version: StoredVersion, __: LoadOptions) -> graph_pb2.LoadReport:
        begun.append(version.version)
        return graph_pb2.LoadReport()

    monkeypatch.setattr(repair, "load_from_store", load_again)
    graphs = KnownGraphs(8)
    first, second = known("g", 1), known("g", 2)
    graphs.add_version(first)
    graphs.add_version(second)  # loaded while the first was repaired, and found not to be reproduced
    repairs = Repairs(cast("Any", SimpleNamespace(graphs=graphs)))
    await repairs._load_again(first)
    assert not begun, "its rows would be served in the place of newer ones"
    await repairs._load_again(second)
    assert begun == [2]
