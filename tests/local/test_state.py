from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from planmesh.errors import Conflict
from planmesh.local.folders import DataFolder
from planmesh.local.state import MeshState, ProcessRecord, mesh_lock, read_state, write_state
from planmesh.local.stop import clear_stale_state, stop_mesh


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    return folder


def state_of(*records: ProcessRecord, supervisor: ProcessRecord | None = None) -> MeshState:
    return MeshState(
        supervisor=supervisor or ProcessRecord("supervisor", 2**22 + 1, 1.0),
        processes=records,
        address="127.0.0.1:50051",
        coordinator_address="unix:/c",
        partition_address="unix:/p",
        redis="redis://127.0.0.1:6379/0",
        runtime_folder="/nowhere/planmesh-x",
        workers=1,
        shards=1,
        ready=True,
    )


@pytest.fixture
def sleepers() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Yield a function that starts processes in groups of their own; they live until the test ends."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        program = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        started.append(subprocess.Popen(program, stdin=subprocess.PIPE, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.communicate()


Sleepers = Callable[[], subprocess.Popen[bytes]]


def test_a_state_comes_back_as_it_was_and_only_its_owner_may_read_it(folder: DataFolder) -> None:
    state = state_of(ProcessRecord.of("gateway", os.getpid()))
    write_state(folder, state)
    assert read_state(folder) == state
    assert stat.S_IMODE(folder.state_file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 999}'])
def test_an_unreadable_state_file_counts_as_none(folder: DataFolder, content: str) -> None:
    folder.state_file.write_text(content)
    assert read_state(folder) is None


def test_a_process_with_the_same_pid_but_another_birth_is_another_process() -> None:
    record = ProcessRecord.of("self", os.getpid())
    assert record.process() is not None
    assert replace(record, created_unix_s=record.created_unix_s - 60).process() is None


def test_a_process_that_has_already_ended_is_recorded_as_gone() -> None:
    """It may end, and be waited for, before its time of creation is read."""
    with subprocess.Popen(["true"]) as ended:
        pass
    record = ProcessRecord.of("coordinator", ended.pid)
    assert record.pid == ended.pid
    assert record.process() is None


def test_down_ends_only_processes_of_the_mesh(folder: DataFolder, sleepers: Sleepers) -> None:
    ours, foreign = sleepers(), sleepers()
    record = ProcessRecord.of("gateway", ours.pid)
    reused = replace(ProcessRecord.of("worker-0", foreign.pid), created_unix_s=1.0)
    write_state(folder, state_of(record, reused))
    assert stop_mesh(folder) == ["gateway"]
    ours.wait(10)
    assert foreign.poll() is None
    assert not folder.state_file.exists()


def test_down_without_a_mesh_stops_nothing(folder: DataFolder) -> None:
    assert stop_mesh(folder) == []


def test_stale_state_is_reported_and_cleared(folder: DataFolder, sleepers: Sleepers) -> None:
    leftover = sleepers()
    write_state(folder, state_of(ProcessRecord.of("redis", leftover.pid)))
    announced: list[str] = []
    clear_stale_state(folder, announced.append)
    leftover.wait(10)
    assert "ended without stopping; ending redis" in announced[0]
    assert not folder.state_file.exists()


def test_two_meshes_cannot_hold_one_folder(folder: DataFolder) -> None:
    with mesh_lock(folder), pytest.raises(Conflict, match="a mesh already runs on"), mesh_lock(folder):
        raise AssertionError("the second lock was given")
    with mesh_lock(folder):
        pass
