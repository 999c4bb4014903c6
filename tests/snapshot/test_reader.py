from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from planmesh.errors import SnapshotDamaged, VersionGone
from planmesh.snapshot import open_files
from planmesh.snapshot.array_file import FileFacts, verify_file
from planmesh.snapshot.manifest import MANIFEST_NAME, FileEntry, Manifest, partition_file_name, write_manifest
from planmesh.snapshot.reader import SnapshotReader
from tests.snapshot.damage import DAMAGES
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> SmallSnapshot:
    return make_snapshot(tmp_path_factory.mktemp("build"))


@pytest.fixture
def snapshot(pristine: SmallSnapshot, tmp_path: Path) -> SmallSnapshot:
    """A copy of the snapshot that a test may damage."""
    folder = Path(shutil.copytree(pristine.folder, tmp_path / "snapshot"))
    return SmallSnapshot(folder, pristine.graph, pristine.partition_first, pristine.manifest)


def read_all(reader: SnapshotReader) -> None:
    reader.directory()
    reader.overlay()
    reader.report()
    for number in range(len(reader.manifest.partitions)):
        reader.partition(number)


def test_the_directory_knows_every_node(pristine: SmallSnapshot) -> None:
    directory = SnapshotReader.open(str(pristine.folder)).directory()
    assert directory.node_count == pristine.graph.node_count
    assert directory.find("node-7") == 7
    assert directory.find("unknown") == -1
    assert directory.locate("unknown") is None
    assert directory.locate("node-31") == (1, 1)
    assert directory.names(np.array([5, 3], np.int32)) == ["node-5", "node-3"]
    nodes = np.arange(pristine.graph.node_count, dtype=np.int32)
    expected = np.repeat(np.arange(4), np.diff(pristine.partition_first))
    np.testing.assert_array_equal(directory.partition_of_many(nodes), expected)
    assert [directory.partition_of(int(node)) for node in nodes] == expected.tolist()
    assert directory.domains.label(31) == "d-1"
    assert directory.domains.name_list() == ["d-0", "d-1", "d-2", "d-3"]
    assert directory.regions.label(31) == ""


def test_the_overlay_has_the_cross_edges_and_marks_original_edges(pristine: SmallSnapshot) -> None:
    reader = SnapshotReader.open(str(pristine.folder))
    opened = reader.overlay()
    overlay, graph = opened.overlay, pristine.graph
    of_node = {int(node): number for number, node in enumerate(opened.overlay_global)}
    level_one = {
        (tail, int(overlay.head[edge])): (float(overlay.weight[edge]), bool(opened.is_original[edge]))
        for tail in range(overlay.node_count)
        for edge in range(int(overlay.first_out[tail]), int(overlay.first_out[tail + 1]))
    }
    partition_of = reader.directory().partition_of
    crossing = 0
    for tail in range(graph.node_count):
        for edge in range(int(graph.first_out[tail]), int(graph.first_out[tail + 1])):
            head = int(graph.head[edge])
            if partition_of(tail) != partition_of(head):
                crossing += 1
                assert level_one[of_node[tail], of_node[head]] == (float(graph.weight[edge]), True)
    assert crossing > 10
    original = {(tail, head): cost for (tail, head), (cost, is_original) in level_one.items() if is_original}
    for (tail, head), cost in original.items():
        one, other = int(opened.overlay_global[tail]), int(opened.overlay_global[head])
        edges = slice(int(graph.first_out[one]), int(graph.first_out[one + 1]))
        assert (other, cost) in zip(graph.head[edges].tolist(), graph.weight[edges].tolist(), strict=True)


def test_a_missing_folder_is_a_version_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(VersionGone):
        SnapshotReader.open(str(tmp_path / "nowhere"))


def test_a_snapshot_removed_while_it_is_read_is_a_version_that_is_gone(snapshot: SmallSnapshot) -> None:
    reader = SnapshotReader.open(str(snapshot.folder))
    kept = reader.partition(0)
    shutil.rmtree(snapshot.folder)
    with pytest.raises(VersionGone):
        reader.partition(1)
    assert reader.partition(0) is kept


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["directory", "overlay", "report", "partitions/00002"])
def test_a_damaged_file_is_found_by_name_and_the_others_stay_readable(
    snapshot: SmallSnapshot, name: str, damage: Callable[[Path], None]
) -> None:
    whole = (snapshot.folder / name).read_bytes()
    damage(snapshot.folder / name)
    reader = SnapshotReader.open(str(snapshot.folder))
    with pytest.raises(SnapshotDamaged, match=f"^{name}: ") as caught:
        read_all(reader)
    assert caught.value.file == name
    reader.partition(1)
    if (snapshot.folder / name).is_dir():
        (snapshot.folder / name).rmdir()
    (snapshot.folder / name).write_bytes(whole)
    read_all(reader)  # the reader uses the rebuilt file without being opened again


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_manifest_is_found_on_open(snapshot: SmallSnapshot, damage: Callable[[Path], None]) -> None:
    path = snapshot.folder / MANIFEST_NAME
    path.write_bytes(path.read_bytes().rstrip())
    damage(path)
    with pytest.raises(SnapshotDamaged, match=f"^{MANIFEST_NAME}: "):
        SnapshotReader.open(str(snapshot.folder))


def test_a_file_of_another_kind_with_the_right_checksum_is_refused(snapshot: SmallSnapshot) -> None:
    """Only a defect writes such a manifest, but the reader must not return garbage for it."""
    manifest = snapshot.manifest
    swapped = manifest.model_copy(
        update={
            "directory": _renamed(manifest.overlay, "overlay"),
            "overlay": _renamed(manifest.directory, "directory"),
        }
    )
    write_manifest(snapshot.folder, swapped)
    reader = SnapshotReader.open(str(snapshot.folder))
    with pytest.raises(SnapshotDamaged):
        reader.directory()
    with pytest.raises(SnapshotDamaged):
        reader.overlay()


def _renamed(entry: FileEntry, name: str) -> FileEntry:
    return entry.model_copy(update={"file": name})


def test_a_directory_of_other_counts_than_the_manifest_is_refused(snapshot: SmallSnapshot) -> None:
    counts = snapshot.manifest.counts.model_copy(update={"nodes": 119})
    write_manifest(snapshot.folder, snapshot.manifest.model_copy(update={"counts": counts}))
    with pytest.raises(SnapshotDamaged, match=r"^directory: expected 119 nodes"):
        SnapshotReader.open(str(snapshot.folder)).directory()


def test_the_number_of_mapped_partitions_is_bounded(pristine: SmallSnapshot) -> None:
    reader = SnapshotReader.open(str(pristine.folder), open_partitions_max=2)
    first, second = reader.partition(0), reader.partition(1)
    assert reader.partition(0) is first
    reader.partition(2)
    assert reader.partition(0) is first
    assert reader.partition(1) is not second
    np.testing.assert_array_equal(reader.partition(1).out_head, second.out_head)


def test_a_replaced_file_is_checked_when_it_is_mapped_again(
    snapshot: SmallSnapshot,
) -> None:
    reader = SnapshotReader.open(str(snapshot.folder), open_partitions_max=1)
    reader.partition(1)
    reader.partition(0)
    file = snapshot.folder / partition_file_name(1)
    whole = file.read_bytes()
    # An intact file of another snapshot, as after the data folder was wiped and filled again.
    shutil.copyfile(snapshot.folder / partition_file_name(2), file)
    with pytest.raises(SnapshotDamaged, match=r"^partitions/00001: "):
        reader.partition(1)
    file.write_bytes(whole)
    reader.partition(1)


def test_an_unchanged_file_is_not_checked_again(pristine: SmallSnapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SnapshotReader.open(str(pristine.folder), open_partitions_max=1)
    checked: list[str] = []

    def recorded(path: Path, expected: FileFacts, name: str) -> None:
        checked.append(name)
        verify_file(path, expected, name)

    monkeypatch.setattr("planmesh.snapshot.reader.verify_file", recorded)
    for number in (0, 1, 0, 1):
        reader.partition(number)
    assert checked == [partition_file_name(0), partition_file_name(1)]


def test_a_snapshot_that_replaces_another_is_noticed(snapshot: SmallSnapshot) -> None:
    reader = SnapshotReader.open(str(snapshot.folder))
    assert reader.identity == snapshot.manifest.identity
    assert not reader.may_be_replaced()
    write_manifest(snapshot.folder, snapshot.manifest.model_copy(update={"repair": "1"}))
    assert reader.may_be_replaced()
    assert SnapshotReader.open(str(snapshot.folder)).identity != reader.identity
    shutil.rmtree(snapshot.folder)
    assert reader.may_be_replaced()


def test_a_reader_says_how_many_files_it_may_map(pristine: SmallSnapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SnapshotReader.open(str(pristine.folder), open_partitions_max=2).mapped_max == 2
    monkeypatch.setattr("planmesh.snapshot.reader.raise_open_files_limit", lambda: 3)
    assert SnapshotReader.open(str(pristine.folder), open_partitions_max=9).mapped_max == 3


def test_the_limit_of_open_files_is_raised() -> None:
    assert 16 <= open_files.raise_open_files_limit() <= open_files.MAPPED_FILES_MAX


def test_threads_share_a_reader(pristine: SmallSnapshot) -> None:
    reader = SnapshotReader.open(str(pristine.folder), open_partitions_max=2)
    begin = threading.Barrier(8)

    def read(thread: int) -> int:
        begin.wait()
        total = 0
        for turn in range(200):
            total += len(reader.partition((thread + turn) % 4).out_head)
            reader.directory()
            reader.overlay()
        return total

    with ThreadPoolExecutor(8) as pool:
        totals = list(pool.map(read, range(8)))
    assert set(totals) == {50 * pristine.graph.edge_count}


def test_the_manifest_of_a_reader_is_the_one_written(pristine: SmallSnapshot) -> None:
    manifest: Manifest = SnapshotReader.open(str(pristine.folder)).manifest
    assert manifest == pristine.manifest
