"""Items of query tasks, on snapshots that change while the worker reads them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from planmesh.dispatch.broker_clock import BrokerClock
from planmesh.internal.v1 import task_pb2
from planmesh.search import local_search
from planmesh.search.hierarchy import SearchSpace, make_search_space
from planmesh.snapshot.manifest import partition_file_name, write_manifest
from planmesh.snapshot.reader import SnapshotReader
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot
from workers.query_items import OpenSnapshots, QueryItems

PARTITION = 1


@pytest.fixture
def items(tmp_path: Path) -> QueryItems:
    return QueryItems(OpenSnapshots(16), BrokerClock())


@pytest.fixture
def one(tmp_path: Path) -> SmallSnapshot:
    return make_snapshot(tmp_path / "one")


@pytest.fixture
def two(tmp_path: Path) -> SmallSnapshot:
    """A snapshot of another graph with the same name, version and counts of nodes and partitions as `one`."""
    return make_snapshot(tmp_path / "two", seed=2)


@pytest.fixture
def place(items: QueryItems, one: SmallSnapshot, tmp_path: Path) -> Path:
    """A folder with a copy of snapshot `one`, from which `items` has already read."""
    folder = tmp_path / "1"
    put_in_place(one, folder)
    check_edges(items.answer(expand(folder, one.manifest.identity)), one)
    return folder


def put_in_place(snapshot: SmallSnapshot, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(snapshot.folder, place)


def damage(snapshot: SmallSnapshot, partition: int) -> None:
    (snapshot.folder / partition_file_name(partition)).write_bytes(b"broken")


def expand(place: Path, identity: str, partition: int = PARTITION) -> task_pb2.QueryItem:
    """Return an item for the edges that leave the first ten nodes of a partition."""
    nodes = np.arange(10, dtype=np.int32).tobytes()
    operation = task_pb2.Operation(expand=task_pb2.ExpandOperation(partition=partition, nodes=nodes, outgoing=True))
    return task_pb2.QueryItem(
        key=1,
        graph="g",
        version=1,
        snapshot_url=str(place),
        snapshot_identity=identity,
        deadline_unix_s=time.time() + 3_600,
        operations=[operation],
    )


def check_edges(reply: task_pb2.ItemReply, snapshot: SmallSnapshot, partition: int = PARTITION) -> None:
    """Assert that the edges in a reply are those of the snapshot's graph."""
    assert not reply.HasField("error"), reply.error
    found = reply.results[0].expand
    first = int(snapshot.partition_first[partition])
    begin, end = (int(snapshot.graph.first_out[node]) for node in (first, first + 10))
    np.testing.assert_array_equal(np.frombuffer(found.ends, np.int32), snapshot.graph.head[begin:end])
    np.testing.assert_array_equal(np.frombuffer(found.costs, np.float64), snapshot.graph.weight[begin:end])


def test_another_graph_at_the_same_place_is_opened_and_the_previous_one_is_gone(
    items: QueryItems, one: SmallSnapshot, two: SmallSnapshot, place: Path
) -> None:
    put_in_place(two, place)
    check_edges(items.answer(expand(place, two.manifest.identity)), two)
    late = items.answer(expand(place, one.manifest.identity))
    assert late.error.kind == task_pb2.ITEM_ERROR_KIND_VERSION_GONE
    assert not late.results
    check_edges(items.answer(expand(place, two.manifest.identity)), two)


def test_a_plan_on_the_previous_graph_reads_no_file_of_the_new_one(
    items: QueryItems, one: SmallSnapshot, two: SmallSnapshot, place: Path
) -> None:
    """A file of the new graph must not count as damaged either, because it would be reported and rebuilt."""
    put_in_place(two, place)
    check_edges(items.answer(expand(place, one.manifest.identity)), one)  # its files are still mapped
    other = items.answer(expand(place, one.manifest.identity, partition=2))
    assert other.error.kind == task_pb2.ITEM_ERROR_KIND_VERSION_GONE, other.error


def test_a_repaired_file_replaces_the_damaged_one_that_is_mapped(
    items: QueryItems, one: SmallSnapshot, place: Path
) -> None:
    file = place / partition_file_name(PARTITION)
    whole = file.read_bytes()
    damaged = bytearray(whole)
    cost = one.graph.weight[int(one.graph.first_out[int(one.partition_first[PARTITION])])].tobytes()
    for begin in range(0, len(damaged) - 8, 8):
        if damaged[begin : begin + 8] == cost:
            damaged[begin : begin + 8] = np.float64(0.125).tobytes()
    with file.open("r+b") as opened:  # in place, as a faulty disk does it, so the mapping shows it
        opened.write(damaged)
    with pytest.raises(AssertionError):
        check_edges(items.answer(expand(place, one.manifest.identity)), one)
    repaired = one.manifest.model_copy(update={"repair": "1"})
    write_manifest(place, repaired)
    aside = place / "aside"
    aside.write_bytes(whole)
    aside.replace(file)
    check_edges(items.answer(expand(place, repaired.identity)), one)


def test_damage_is_named_and_a_task_without_identity_is_refused(items: QueryItems, one: SmallSnapshot) -> None:
    damage(one, 2)
    damaged = items.answer(expand(one.folder, one.manifest.identity, partition=2)).error
    assert (damaged.kind, damaged.file) == (task_pb2.ITEM_ERROR_KIND_DAMAGED, "partitions/00002")
    refused = items.answer(expand(one.folder, "")).error
    assert refused.kind == task_pb2.ITEM_ERROR_KIND_INTERNAL
    assert "older than this worker" in refused.message


@pytest.mark.parametrize("trouble", [OSError(24, "Too many open files"), MemoryError()], ids=["files", "memory"])
def test_an_error_while_damage_is_examined_fails_only_its_item(
    items: QueryItems, one: SmallSnapshot, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    check_edges(items.answer(expand(one.folder, one.manifest.identity)), one)  # the snapshot is open
    damage(one, 2)

    def broken(*_: object, **__: object) -> None:
        raise trouble

    monkeypatch.setattr(SnapshotReader, "open", broken)
    damaged = items.answer(expand(one.folder, one.manifest.identity, partition=2)).error
    assert (damaged.kind, damaged.file) == (task_pb2.ITEM_ERROR_KIND_DAMAGED, "partitions/00002")


def test_a_search_without_memory_leaves_nothing_behind_for_the_next(
    items: QueryItems, one: SmallSnapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = expand(one.folder, one.manifest.identity)
    item.operations[0].search.CopyFrom(task_pb2.SearchOperation(partition=PARTITION, node=3))
    expected = QueryItems(OpenSnapshots(16), BrokerClock()).answer(item).results
    assert expected

    def no_memory(node_count: int) -> SearchSpace:
        if node_count:
            raise MemoryError
        return make_search_space(node_count)

    with monkeypatch.context() as patched:
        patched.setattr(local_search, "make_search_space", no_memory)
        assert items.answer(item).error.kind == task_pb2.ITEM_ERROR_KIND_OUT_OF_MEMORY
    assert items.answer(item).results == expected
