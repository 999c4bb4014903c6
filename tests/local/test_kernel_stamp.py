from __future__ import annotations

from pathlib import Path

import pytest

from planmesh.local.kernel_stamp import STAMP, kernels_are_compiled, note_kernels_compiled


def test_it_is_remembered_for_these_sources_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "not" / "there"))
    assert not kernels_are_compiled()
    note_kernels_compiled()
    assert kernels_are_compiled()
    monkeypatch.setattr("planmesh.local.kernel_stamp.sources_checksum", lambda: "others")
    assert not kernels_are_compiled()
    assert (tmp_path / "not" / "there" / STAMP).is_file()
