"""`.ci/buf` refuses changes of the protos that other versions do not understand, and accepts others."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.tools, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
PLAN = "planmesh/v1/plan.proto"
TASK = "planmesh/internal/v1/task.proto"


@pytest.fixture(scope="module")
def installed() -> Path:
    """Return the folder in which `.ci/buf` installs buf."""
    if shutil.which("npm") is None or shutil.which("bash") is None:
        pytest.skip("needs npm and bash on PATH")
    subprocess.run([str(ROOT / ".ci" / "buf"), "--version"], check=True, capture_output=True, timeout=300)
    return ROOT / "build" / "buf"


@pytest.fixture
def checkout(tmp_path: Path, installed: Path) -> Path:
    """Copy the files that `.ci/buf` reads, and return the copy."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "buf").symlink_to(installed)
    shutil.copy2(ROOT / ".ci" / "buf", tmp_path / ".ci" / "buf")
    shutil.copy2(ROOT / "buf.yaml", tmp_path)
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    return tmp_path


def check(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(checkout / ".ci" / "buf")], capture_output=True, text=True, timeout=300, check=False)


def change(checkout: Path, proto: str, old: str, new: str) -> None:
    path = checkout / "protos" / proto
    text = path.read_text()
    assert old in text, f"{proto} has no {old!r}"
    path.write_text(text.replace(old, new, 1))


def test_the_protos_pass(checkout: Path) -> None:
    done = check(checkout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("proto", "old", "new", "named"),
    [
        (PLAN, "double cost = 5;", "double cost = 99;", r'"5" .* was deleted'),
        (PLAN, "double cost = 5;", "double price = 5;", r"changed name from .cost. to .price."),
        (PLAN, "double cost = 5;", "string cost = 5;", r"changed type from .double. to .string."),
        (PLAN, "  rpc GetNeighbors(GetNeighborsRequest) returns (GetNeighborsResponse);\n", "", r"RPC .GetNeighbors."),
        (TASK, "uint64 key = 1;", "uint64 key = 21;", r'"1" .* was deleted'),
        (TASK, "uint64 key = 1;", "string key = 1;", r"changed type from .uint64. to .string."),
        (PLAN, "bool cached = 8;", "bool cached = 8;\n  bool notCached = 88;", r"lower_snake_case"),
        (PLAN, "double cost = 5;", "double   cost = 5;", r"-  double   cost = 5;"),
    ],
    ids=["number", "name", "type", "rpc", "internal number", "internal type", "lint", "format"],
)
def test_a_bad_change_is_refused(checkout: Path, proto: str, old: str, new: str, named: str) -> None:
    change(checkout, proto, old, new)
    done = check(checkout)
    assert done.returncode != 0, done.stdout
    assert re.search(named, done.stdout + done.stderr), done.stdout + done.stderr


def test_a_field_may_be_added_and_an_internal_one_renamed(checkout: Path) -> None:
    change(checkout, PLAN, "  double cost = 5;\n", "  double cost = 5;\n  string note = 90;\n")
    change(checkout, TASK, "uint64 key = 1;", "uint64 item = 1;")
    done = check(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
