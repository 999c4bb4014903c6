"""The adoption of one graph's versions, with an opener that the test controls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

import pytest

from planmesh.errors import SnapshotDamaged, SnapshotError, VersionGone
from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.snapshot.manifest import MANIFEST_NAME
from services.coordinator import adoption
from services.coordinator.adoption import AdoptedGraph
from services.coordinator.versioned_graph import VersionedGraph


def served(version: int) -> pb.ServedGraph:
    return pb.ServedGraph(graph="g", version=version, snapshot_url=f"/g/{version}")


class Adopting:
    """A graph under test, its reports, and the outcome of its next openings."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.reports: asyncio.Queue[pb.GraphAdoption] = asyncio.Queue()
        self.damage: list[tuple[str, int, str]] = []
        self.errors: list[Exception] = []
        self.opened: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.graph = AdoptedGraph(
            "g", self._open, executor, self.reports.put_nowait, lambda *what: self.damage.append(what)
        )

    def _open(self, wanted: pb.ServedGraph) -> VersionedGraph:
        assert self.go_on.wait(60)
        self.opened.append(wanted.version)
        if self.errors:
            raise self.errors.pop(0)
        found = SimpleNamespace(
            name="g",
            version=wanted.version,
            base_version=wanted.version,
            directory=SimpleNamespace(node_count=1),
        )
        found.base = found
        return cast("VersionedGraph", found)

    async def report(self) -> tuple[int, str]:
        report = await asyncio.wait_for(self.reports.get(), 60)
        return report.version, report.failure


@pytest.fixture
async def adopting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Adopting]:
    monkeypatch.setattr(adoption, "OPEN_AGAIN_S_FIRST", 0.001)
    with ThreadPoolExecutor(2) as executor:
        made = Adopting(executor)
        yield made
        made.go_on.set()
        made.graph.cancel()


async def test_a_version_is_served_and_the_previous_one_stays_while_the_next_fails(adopting: Adopting) -> None:
    adopting.graph.want(served(1))
    assert await adopting.report() == (1, "")
    assert adopting.graph.current is not None
    adopting.errors = [OSError("no room")]
    adopting.graph.want(served(2))
    assert await adopting.report() == (2, "OSError: no room")
    assert adopting.graph.current.version == 1
    assert await adopting.report() == (2, ""), "the attempt is repeated"
    assert adopting.graph.current.version == 2
    assert adopting.graph.failure is None
    assert adopting.opened == [1, 2, 2]


@pytest.mark.parametrize(
    ("error", "file"),
    [
        (lambda: SnapshotDamaged("overlay", "checksum"), "overlay"),
        (lambda: VersionGone("removed"), MANIFEST_NAME),
        (lambda: SnapshotError("another format"), MANIFEST_NAME),
        (MemoryError, None),
    ],
    ids=["damaged", "gone", "other format", "memory"],
)
async def test_a_failed_opening_reports_the_file_to_repair(
    adopting: Adopting, error: Callable[[], Exception], file: str | None
) -> None:
    adopting.errors = [error()]
    adopting.graph.want(served(1))
    assert (await adopting.report())[1]
    assert adopting.damage == ([] if file is None else [("g", 1, file)])
    assert await adopting.report() == (1, "")


async def test_a_version_that_is_announced_again_while_it_is_opened_is_opened_once_more(adopting: Adopting) -> None:
    adopting.go_on.clear()
    adopting.graph.want(served(1))
    await asyncio.sleep(0)
    adopting.graph.want(served(1))  # its files were repaired
    assert adopting.graph.is_opening
    adopting.go_on.set()
    assert [await adopting.report(), await adopting.report()] == [(1, ""), (1, "")]
    assert adopting.opened == [1, 1]


async def test_changes_are_noticed_and_their_absence_ends_by_time(adopting: Adopting) -> None:
    assert not await adopting.graph.change(0.001)
    waiting = asyncio.create_task(adopting.graph.change(60))
    await asyncio.sleep(0)
    adopting.graph.want(served(1))
    assert await waiting
    await adopting.report()
