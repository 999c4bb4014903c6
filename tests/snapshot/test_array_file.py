from __future__ import annotations

import gc
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from planmesh.errors import SnapshotDamaged
from planmesh.snapshot.array_file import (
    ASIDE_PREFIX,
    Array,
    checksum_file,
    open_array_file,
    verify_file,
    write_array_file,
    written_aside,
)
from tests.snapshot.damage import DAMAGES

ARRAYS: dict[str, Array] = {
    "costs": np.linspace(0, 1, 7),
    "empty": np.zeros(0, np.int32),
    "flags": np.array([True, False, True]),
    "bytes": np.arange(5, dtype=np.uint8),
    "heads": np.arange(3, dtype=np.int32),
    "matrix": np.arange(6, dtype=np.int64).reshape(2, 3),
}


def write_raw(path: Path, header: object, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


def test_arrays_and_texts_are_read_as_read_only_aligned_views(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_array_file(path, ARRAYS, {"b": "2", "a": "1"})
    opened = open_array_file(path)
    assert opened.texts == {"a": "1", "b": "2"}
    assert set(opened.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        found = opened.array(name)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        assert found.flags.aligned
        assert not found.flags.writeable
    with pytest.raises(SnapshotDamaged, match="'nothing'"):
        opened.array("nothing")


def test_arrays_outlive_the_file_object_and_its_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_array_file(path, ARRAYS)
    costs = open_array_file(path).array("costs")
    path.unlink()
    gc.collect()
    np.testing.assert_array_equal(costs, ARRAYS["costs"])


def test_equal_inputs_in_any_order_give_equal_bytes(tmp_path: Path) -> None:
    first = write_array_file(tmp_path / "first", ARRAYS, {"b": "2", "a": "1"})
    second = write_array_file(tmp_path / "second", dict(reversed(ARRAYS.items())), {"a": "1", "b": "2"})
    assert first == second == checksum_file(tmp_path / "first")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_safetensors_library_can_read_a_file(tmp_path: Path) -> None:
    write_array_file(tmp_path / "file", ARRAYS)
    loaded = load_file(tmp_path / "file")
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)


def test_prefixed_returns_the_rest_of_the_names(tmp_path: Path) -> None:
    write_array_file(tmp_path / "file", {"a.x": np.zeros(1), "a.y": np.ones(1), "b.x": np.zeros(1)})
    assert set(open_array_file(tmp_path / "file").prefixed("a.")) == {"x", "y"}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_array_file(path, ARRAYS)
    before = path.read_bytes()

    def fail_midway() -> None:
        with written_aside(path) as aside:
            assert aside.name.startswith(ASIDE_PREFIX)
            aside.write_bytes(b"half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_file_fails_its_checksum_by_name(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "file"
    facts = write_array_file(path, ARRAYS)
    verify_file(path, facts)
    damage(path)
    with pytest.raises(SnapshotDamaged, match=r"^shown: ") as caught:
        verify_file(path, facts, "shown")
    assert caught.value.file == "shown"


@pytest.mark.parametrize("keep", range(0, 200, 7))
def test_a_truncated_file_is_refused_on_open_even_without_a_checksum(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "file"
    write_array_file(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SnapshotDamaged, match=r"^file: "):
        open_array_file(path)


I32 = {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"not json", b""),
        (b"[" * 5_000, b""),
        ([], b""),
        ({"a": 1}, b""),
        ({"a": {**I32, "dtype": "F16"}}, bytes(8)),
        ({"a": {**I32, "dtype": ["I32"]}}, bytes(8)),
        ({"a": {**I32, "shape": [3]}}, bytes(8)),
        ({"a": {**I32, "shape": [-2]}}, bytes(8)),
        ({"a": {**I32, "shape": [True, 2]}}, bytes(8)),
        ({"a": {**I32, "shape": [2.0]}}, bytes(8)),
        ({"a": {**I32, "shape": [2**40, 2**40]}}, bytes(8)),
        ({"a": {**I32, "shape": 2}}, bytes(8)),
        ({"a": {**I32, "data_offsets": [8, 0]}}, bytes(8)),
        ({"a": {**I32, "data_offsets": [-8, 0]}}, bytes(8)),
        ({"a": {**I32, "data_offsets": [0, 8, 16]}}, bytes(8)),
        ({"a": {**I32, "data_offsets": [2**63, 2**63 + 8]}}, bytes(8)),
        ({"a": {**I32, "data_offsets": [2, 10]}}, bytes(10)),
        ({"a": I32}, bytes(7)),
        ({"a": I32}, bytes(9)),
        ({"a": I32, "b": I32}, bytes(8)),
        ({"a": I32, "b": {**I32, "data_offsets": [4, 12]}}, bytes(12)),
        ({"a": I32, "b": {**I32, "data_offsets": [12, 20]}}, bytes(20)),
        ({"__metadata__": {"other": "x"}, "a": I32}, bytes(8)),
        ({"__metadata__": {"planmesh": "{"}, "a": I32}, bytes(8)),
        ({"__metadata__": {"planmesh": '{"a": 1}'}, "a": I32}, bytes(8)),
        ({"__metadata__": 5, "a": I32}, bytes(8)),
    ],
)
def test_a_header_that_does_not_describe_the_data_is_refused(tmp_path: Path, header: object, data: bytes) -> None:
    with pytest.raises(SnapshotDamaged, match=r"^file: "):
        open_array_file(write_raw(tmp_path / "file", header, data))


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 1 << 21, 100])
def test_a_header_length_beyond_the_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(SnapshotDamaged, match=r"^file: "):
        open_array_file(path)


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_header_is_read_in_bounds_or_refused(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "file"
    write_array_file(path, ARRAYS, {"a": "1"})
    raw = bytearray(path.read_bytes())
    header_bytes = int.from_bytes(raw[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, 8 + header_bytes - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    with suppress(SnapshotDamaged):
        for array in open_array_file(path).arrays.values():
            array.tobytes()
