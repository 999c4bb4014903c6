"""The local mesh as users run it: real processes, started and stopped by the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from planmesh.local.child import DEATHS_MAX
from planmesh.local.folders import DataFolder
from planmesh.local.state import read_state
from tests.conftest import ROOT, run_planmesh, start_mesh

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

END_S_MAX = 30


class Foreground:
    """`planmesh up` in the foreground."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "planmesh.cli",
                "up",
                "--data",
                str(data),
                "--port",
                "0",
                "--workers",
                "1",
                "--json",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "NO_COLOR": "1", **environment},
        )

    def ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the mesh did not become ready: {self.process.communicate()[1]}"
        value: dict[str, Any] = json.loads(line)
        return value

    def said(self, pattern: str) -> re.Match[str]:
        """Return the next match of the pattern on standard error."""
        assert self.process.stderr is not None
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"expected a line with {pattern!r}, got: {''.join(seen)}")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=60)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "mesh"
    run_planmesh("down", "--data", str(tmp_path / "mesh"))


def pids(ready: dict[str, Any]) -> dict[str, int]:
    return {process["name"]: process["pid"] for process in ready["processes"]}


def assert_ended(numbers: list[int]) -> None:
    """Check that every process ends within END_S_MAX; a zombie that init has not reaped counts as ended."""
    processes = [psutil.Process(number) for number in numbers if psutil.pid_exists(number)]
    _, alive = psutil.wait_procs(processes, timeout=END_S_MAX)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_killed_process_restarts_and_ctrl_c_ends_all(data: Path) -> None:
    mesh = Foreground(data)
    try:
        ready = mesh.ready()
        assert {"redis", "partition", "coordinator", "worker-0", "build", "gateway"} < set(pids(ready))
        os.kill(pids(ready)["worker-0"], signal.SIGKILL)
        mesh.said(r"worker-0 ended \(killed by SIGKILL\)")
        again = int(mesh.said(r"worker-0 restarted \(pid (\d+)\)")[1])
        state = read_state(DataFolder(data))
        assert state is not None
        assert again in [record.pid for record in state.processes]
        mesh.process.send_signal(signal.SIGINT)
        assert mesh.process.wait(60) == 0
        assert_ended([*pids(ready).values(), again])
        assert not Path(state.runtime_folder).exists()
        assert read_state(DataFolder(data)) is None
    finally:
        mesh.end()


def test_no_orphans_after_the_supervisor_was_killed_and_the_next_mesh_takes_over(data: Path) -> None:
    ready = start_mesh(data, "--workers", "1").ready
    taken = run_planmesh("up", "--data", str(data), "--port", "0", code=1)
    assert "a mesh already runs on" in taken.stderr
    os.kill(pids(ready)["supervisor"], signal.SIGKILL)
    assert_ended(list(pids(ready).values()))

    mesh = Foreground(data)
    try:
        mesh.said("ended without stopping")
        worker = pids(mesh.ready())["worker-0"]
        for _ in range(DEATHS_MAX - 1):
            os.kill(worker, signal.SIGKILL)
            worker = int(mesh.said(r"worker-0 restarted \(pid (\d+)\)")[1])
        os.kill(worker, signal.SIGKILL)
        assert mesh.process.stdout is not None
        error = json.loads(mesh.process.stdout.read())["error"]
        assert error["reason"] == "SERVICE_UNAVAILABLE"
        assert "worker-0 died 5 times within 30 s (killed by SIGKILL)" in error["message"]
        assert mesh.process.wait(60) == 1
    finally:
        mesh.end()


def test_down_stops_a_detached_mesh_and_is_no_error_without_one(data: Path) -> None:
    mesh = start_mesh(data, "--workers", "1")
    stopped = json.loads(run_planmesh("down", "--data", str(data), "--json").stdout)
    assert set(stopped["stopped"]) == {process["name"] for process in mesh.ready["processes"]}
    assert_ended([process["pid"] for process in mesh.ready["processes"]])
    assert json.loads(run_planmesh("down", "--data", str(data), "--json").stdout)["stopped"] == []


def test_a_taken_port_is_reported_before_anything_starts(data: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        for further in ([], ["--detach"]):
            result = run_planmesh("up", "--data", str(data), "--port", port, *further, code=1)
            assert f"port {port} is taken" in result.stderr
    assert list(DataFolder(data).logs.glob("redis.log")) == []


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("PLANMESH_LOG_LEVEL", "loud", "partition ended before it was ready"),
        ("PLANMESH_WORKER_OPEN_PARTITIONS_MAX", "0", "ended while the mesh started (exit code 2)"),
    ],
)
def test_a_process_that_does_not_start_is_reported_with_the_end_of_its_log(
    data: Path, variable: str, value: str, expected: str
) -> None:
    mesh = Foreground(data, **{variable: value})
    try:
        output, _ = mesh.process.communicate(timeout=100)
        message = json.loads(output)["error"]["message"]
        assert mesh.process.returncode == 1
        assert expected in message
        assert variable in message
    finally:
        mesh.end()


def test_a_redis_that_does_not_answer_is_reported_without_its_password(data: Path) -> None:
    url = "redis://:secret@127.0.0.1:1/0"
    result = run_planmesh("up", "--data", str(data), "--port", "0", "--redis", url, code=1)
    assert "Redis does not answer at redis://127.0.0.1:1/0" in result.stderr
    assert "secret" not in result.stderr
