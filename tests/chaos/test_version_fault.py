"""Which commit counts as the earlier version."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from planmesh.chaos import version_fault
from planmesh.chaos.version_fault import WIRE, EarlierVersion, earlier_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, file: str, text: str) -> str:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", text)
    return git(folder, "rev-parse", "HEAD")


def test_it_is_the_parent_of_the_last_change_of_the_protos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    monkeypatch.setattr(version_fault, "SOURCE", tmp_path)
    commit(tmp_path, f"{WIRE}/v1/task.proto", "first")
    parent = commit(tmp_path, "README.md", "before the change")
    commit(tmp_path, f"{WIRE}/v1/task.proto", "second")
    commit(tmp_path, "README.md", "after the change")
    assert earlier_commit() == parent


def test_without_a_history_the_fault_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_fault, "SOURCE", tmp_path)
    assert earlier_commit() == ""
    assert EarlierVersion(lambda _: []).unfit() == f"needs the repository's git history, which {tmp_path} lacks"
