"""A directory file gives back ids, partitions and labels, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planmesh.errors import SnapshotDamaged
from planmesh.graph.node_ids import NodeIds
from planmesh.snapshot.array_file import open_array_file, write_array_file
from planmesh.snapshot.directory import NodeDirectory, read_directory, write_directory

IDS = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8), unique=True, max_size=9)


def written(path: Path, ids: list[str], sizes: list[int], domains: list[int], names: list[str]) -> NodeDirectory:
    first = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(sizes, out=first[1:])
    write_directory(
        path,
        ids=NodeIds.from_ids(ids),
        partition_first=first,
        partition_names=[f"partition {number}" for number in range(len(sizes))],
        domains=(np.array(domains, np.int32), names),
        regions=(np.full(len(ids), -1, np.int32), []),
    )
    return read_directory(open_array_file(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ids=IDS, data=st.data())
def test_nodes_are_located_by_id_and_named_by_number(tmp_path: Path, ids: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=3)))
    sizes = np.diff([0, *cuts, len(ids)]).tolist()
    names = ["north", "söuth"]
    domains = data.draw(st.lists(st.integers(-1, 1), min_size=len(ids), max_size=len(ids)))
    directory = written(tmp_path / "directory", ids, sizes, domains, names)
    assert (directory.node_count, directory.partition_count) == (len(ids), len(sizes))
    assert directory.partition_names == [f"partition {number}" for number in range(len(sizes))]
    expected = [(number, local) for number, size in enumerate(sizes) for local in range(size)]
    assert [directory.locate(one) for one in ids] == expected
    everyone = np.arange(len(ids), dtype=np.int32)
    assert directory.names(everyone) == ids
    assert directory.partition_of_many(everyone).tolist() == [number for number, _ in expected]
    assert [directory.partition_of(node) for node in everyone.tolist()] == [number for number, _ in expected]
    assert [directory.domains.label(node) for node in range(len(ids))] == [
        "" if code < 0 else names[code] for code in domains
    ]
    assert directory.domains.name_list() == names
    assert directory.locate("an id that no node has") is None


def test_a_file_without_a_directory_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "directory", ["a"], [1], [-1], [])
    arrays = dict(open_array_file(tmp_path / "directory").arrays)
    for name in ("partition_first", "domains", "ids.order", "partition_names.offsets"):
        write_array_file(tmp_path / "other", {key: array for key, array in arrays.items() if key != name})
        with pytest.raises(SnapshotDamaged, match=r"^other: "):
            read_directory(open_array_file(tmp_path / "other"))
