"""The cores that a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from planmesh.cores import usable_cores


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return control groups without a quota, for a process that may use eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "own").write_text("0::/outer/inner\n")
    (tmp_path / "root" / "outer" / "inner").mkdir(parents=True)
    return tmp_path / "root"


def cores(cgroups: Path) -> int:
    return usable_cores(cgroups, cgroups.parent / "own")


def test_without_a_quota_the_affinity_decides(cgroups: Path) -> None:
    assert cores(cgroups) == 8
    (cgroups / "outer" / "inner" / "cpu.max").write_text("max 100000\n")
    assert cores(cgroups) == 8


@pytest.mark.parametrize(("quota", "expected"), [("200000", 2), ("250000", 3), ("10000", 1), ("1600000", 8), ("?", 8)])
@pytest.mark.parametrize("folder", ["", "outer", "outer/inner"])
def test_a_quota_of_its_own_group_or_of_one_above_bounds_it(
    cgroups: Path, quota: str, expected: int, folder: str
) -> None:
    (cgroups / folder / "cpu.max").write_text(f"{quota} 100000\n")
    assert cores(cgroups) == expected


def test_where_groups_are_not_known_the_affinity_decides(cgroups: Path) -> None:
    (cgroups.parent / "own").unlink()
    assert cores(cgroups) == 8
    (cgroups.parent / "own").write_text("0::/../elsewhere\n")
    assert cores(cgroups) == 8
    (cgroups.parent / "own").write_text("12:cpu,cpuacct:/\n")
    assert cores(cgroups.parent / "missing" / "root") >= 1
