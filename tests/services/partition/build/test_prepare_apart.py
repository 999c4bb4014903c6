from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from planmesh.errors import InvalidRequest, SnapshotError
from planmesh.graph.rules import Origin
from planmesh.partition.strategies import Strategy
from planmesh.snapshot.build_folder import BuildFolder
from services.partition.blocking import BlockingWork
from services.partition.build.prepare_apart import prepare_graph
from services.partition.build.prepared import PreparedGraph
from services.partition.ingest.options import LoadOptions
from services.partition.ingest.spool import GraphSpool, SpooledGraph
from tests.services.partition.conftest import random_rows, until

MINCUT = LoadOptions(graph="g", strategy=Strategy.MINCUT, partitions=4)


def spool(folder: Path, nodes: int = 400) -> tuple[BuildFolder, SpooledGraph]:
    build = BuildFolder(folder)
    build.create()
    rows = random_rows(nodes)
    spooled = GraphSpool(folder, undirected=False, implicit_nodes=False)
    spooled.add_nodes(Origin(), rows.ids, rows.domains, [])
    sources, targets, costs = zip(*rows.edges, strict=True)
    spooled.add_edges(Origin(), list(sources), list(targets), np.array(costs))
    return build, spooled.finish()


async def prepare(folder: Path, options: LoadOptions, apart_edges_min: int) -> PreparedGraph:
    build, spooled = spool(folder)
    work = BlockingWork("test")
    try:
        return await prepare_graph(spooled, options, build, work, apart_edges_min=apart_edges_min)
    finally:
        work.close()


@pytest.mark.parametrize("options", [MINCUT, LoadOptions(graph="g"), LoadOptions(graph="g", strategy=Strategy.HASH)])
async def test_apart_or_not_the_files_are_the_same(tmp_path: Path, options: LoadOptions) -> None:
    here = await prepare(tmp_path / "here", options, 1 << 30)
    apart = await prepare(tmp_path / "apart", options, 0)
    assert apart == here


async def test_what_the_caller_got_wrong_is_told_the_same_way(tmp_path: Path) -> None:
    options = LoadOptions(graph="g", strategy=Strategy.REGION)
    messages = []
    for name, bound in (("here", 1 << 30), ("apart", 0)):
        with pytest.raises(InvalidRequest) as caught:
            await prepare(tmp_path / name, options, bound)
        messages.append((type(caught.value), caught.value.message, caught.value.metadata))
    assert messages[0] == messages[1]


async def test_a_cancelled_partitioning_is_killed(tmp_path: Path) -> None:
    build, spooled = spool(tmp_path)
    work = BlockingWork("test")
    preparing = asyncio.create_task(prepare_graph(spooled, MINCUT, build, work, apart_edges_min=0))
    before = {child.pid for child in psutil.Process().children()}
    await until(lambda: bool(children(before)))
    (child,) = children(before)
    preparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await preparing
    assert not child.is_running()
    work.close()


async def test_a_partitioning_that_is_killed_is_an_error_that_says_so(tmp_path: Path) -> None:
    build, spooled = spool(tmp_path)
    work = BlockingWork("test")
    before = {child.pid for child in psutil.Process().children()}
    preparing = asyncio.create_task(prepare_graph(spooled, MINCUT, build, work, apart_edges_min=0))
    await until(lambda: bool(children(before)))
    children(before)[0].kill()
    with pytest.raises(SnapshotError, match="signal 9"):
        await preparing
    work.close()


def children(others: set[int]) -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.pid not in others]


PARENT = """
import asyncio, sys
from pathlib import Path
from tests.services.partition.build.test_prepare_apart import MINCUT, spool
from services.partition.blocking import BlockingWork
from services.partition.build.prepare_apart import prepare_graph

async def main():
    build, spooled = spool(Path(sys.argv[1]), 16_000)
    await prepare_graph(spooled, MINCUT, build, BlockingWork("test"), apart_edges_min=0)

asyncio.run(main())
"""


async def test_a_partitioning_does_not_outlive_the_service(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], env=environment) as parent:
        found: list[psutil.Process] = []

        def has_child() -> bool:
            found[:] = psutil.Process(parent.pid).children()
            return bool(found)

        await until(has_child)
        parent.kill()
        parent.wait()
        await until(lambda: not found[0].is_running() or found[0].status() == psutil.STATUS_ZOMBIE)
