from __future__ import annotations

import os
from pathlib import Path

import pytest

from planmesh.kernel_sources import kernel_folder
from planmesh.local.kernel_stamp import STAMP, kernels_are_compiled, note_kernels_compiled, remove_old_kernels


def test_it_is_remembered_for_these_sources_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "not" / "there"))
    assert not kernels_are_compiled()
    note_kernels_compiled()
    assert kernels_are_compiled()
    monkeypatch.setattr("planmesh.local.kernel_stamp.sources_checksum", lambda: "others")
    assert not kernels_are_compiled()
    assert (tmp_path / "not" / "there" / STAMP).is_file()


def test_code_of_earlier_sources_is_removed_but_for_the_newest(tmp_path: Path) -> None:
    cache = tmp_path / "search" / "__pycache__"
    for age, name in enumerate(("kernels-new", "kernels-old", "kernels-older", kernel_folder())):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (1_000 - age, 1_000 - age))
    (cache / "other").mkdir()
    remove_old_kernels(tmp_path)
    assert {folder.name for folder in cache.iterdir()} == {"kernels-new", kernel_folder(), "other"}
