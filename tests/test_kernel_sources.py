"""The checksum of the kernels' sources covers every file that can hold a kernel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from planmesh import kernel_sources
from planmesh.kernel_sources import FOLDER_PREFIX, PACKAGE, SOURCES, kernel_folder, sources_checksum


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small package in place of planmesh."""
    (tmp_path / "kernels.py").write_text("decorator")
    for name in SOURCES:
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "one.py").write_text(name)
        (tmp_path / name / "inner" / "two.py").write_text(name)
    monkeypatch.setattr(kernel_sources, "PACKAGE", tmp_path)
    sources_checksum.cache_clear()
    yield tmp_path
    sources_checksum.cache_clear()


def checksum() -> str:
    sources_checksum.cache_clear()
    return sources_checksum()


def test_any_change_of_a_source_changes_the_checksum(package: Path) -> None:
    seen = {checksum()}
    for path in (package / "kernels.py", *(package / name / "inner" / "two.py" for name in SOURCES)):
        path.write_text(path.read_text() + "#")
        seen.add(checksum())
    (package / "graph" / "one.py").rename(package / "graph" / "three.py")
    seen.add(checksum())
    (package / "search" / "new.py").touch()
    seen.add(checksum())
    assert len(seen) == 1 + 1 + len(SOURCES) + 2


def test_other_files_do_not_change_it(package: Path) -> None:
    before = checksum()
    (package / "settings.py").write_text("x")
    (package / "search" / "notes.txt").write_text("x")
    assert checksum() == before


def test_the_folder_is_named_after_the_checksum(package: Path) -> None:
    assert package.is_dir()
    assert kernel_folder() == FOLDER_PREFIX + checksum()[:16]


def test_every_kernel_is_in_a_package_of_the_sources() -> None:
    using = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if "from planmesh.kernels import kernel" in path.read_text()
    }
    assert using <= set(SOURCES)
    assert {"search", "graph", "partition"} <= using


def test_it_imports_no_compiler() -> None:
    program = "import sys, planmesh.kernel_sources; print('numba' in sys.modules, 'numpy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]
