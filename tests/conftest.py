"""What tests of several packages share: the larger graphs, and one mesh in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from planmesh.local.ports import free_port
from planmesh.local.redis_server import prepare_private_redis

# No test asserts a wall-clock time, and a first example may compile a kernel.
hypothesis.settings.register_profile("planmesh", deadline=None)
hypothesis.settings.load_profile("planmesh")

pytest_plugins = ["tests.servers.fixtures"]

ROOT = Path(__file__).resolve().parent.parent

MESH_START_S_MAX = 300
"""From `planmesh up` to its ready line, the compilation of all kernels included."""

COMMAND_S_MAX = 600


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data-required", action="store_true", help="a skipped test marked `data` is an error (where the data is)"
    )
    parser.addoption("--tools-required", action="store_true", help="a skipped test marked `tools` is an error (in CI)")
    parser.addoption(
        "--rewrite-scenarios", action="store_true", help="write what the mesh answers into tests/scenarios/*.txt"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    for marker in ("data", "tools"):
        if report.skipped and item.config.getoption(f"--{marker}-required") and item.get_closest_marker(marker):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped though --{marker}-required was given: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def large_graphs() -> Path:
    """Folder of the larger graphs; the test is skipped where there is none."""
    folder = Path(os.environ.get("PLANMESH_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs the larger graphs: {folder} is not there (PLANMESH_TEST_DATA names another folder)")
    return folder


@dataclass(frozen=True)
class RunningMesh:
    """A mesh started with `planmesh up --detach --json`; `ready` is what that printed."""

    ready: dict[str, Any]

    @property
    def address(self) -> str:
        return str(self.ready["address"])

    def pid(self, name: str) -> int:
        """Pid of the process called `name` when the mesh became ready."""
        return next(int(process["pid"]) for process in self.ready["processes"] if process["name"] == name)

    def cli(self, *arguments: str, stdin: str = "", code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `planmesh` against this mesh; `code` is the exit code expected, None any."""
        return run_planmesh(*arguments, stdin=stdin, code=code, environment={"PLANMESH_ADDRESS": self.address})

    def json(self, *arguments: str, stdin: str = "", code: int | None = 0) -> Any:
        """What `planmesh ... --json` prints."""
        return json.loads(self.cli(*arguments, "--json", stdin=stdin, code=code).stdout)


def run_planmesh(
    *arguments: str,
    stdin: str = "",
    code: int | None = 0,
    environment: dict[str, str] | None = None,
    timeout_s: float = COMMAND_S_MAX,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-m", "planmesh.cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        timeout=timeout_s,
        check=False,
    )
    if code is not None:
        shown = f"planmesh {' '.join(arguments)}\n{result.stdout}\n{result.stderr}"
        assert result.returncode == code, f"exit code {result.returncode}, expected {code}: {shown}"
    return result


def start_mesh(data: Path, *options: str, environment: dict[str, str] | None = None) -> RunningMesh:
    """Start a mesh on any free port; whoever calls this stops it with `planmesh down`."""
    result = run_planmesh(
        *("up", "--data", str(data), "--port", "0", "--detach", "--json", *options),
        environment=environment,
        timeout_s=MESH_START_S_MAX,
    )
    return RunningMesh(json.loads(result.stdout))


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """One mesh for all tests that do not break it; graphs are told apart by their names."""
    data = tmp_path_factory.mktemp("mesh")
    running = start_mesh(data)
    yield running
    run_planmesh("down", "--data", str(data))


@pytest.fixture(scope="session")
def backbone() -> Path:
    """The example that the project ships."""
    return ROOT / "examples" / "backbone" / "backbone.json.gz"


class RedisServer:
    """A real redis-server of one test's own, which can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.prepared = prepare_private_redis(folder, free_port())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.prepared.url

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._process = subprocess.Popen(self.prepared.command, stdout=subprocess.DEVNULL)
        client = redis.Redis.from_url(self.url, retry=Retry(ConstantBackoff(0.05), 200))
        client.ping()
        client.close()

    def signal(self, number: signal.Signals) -> None:
        """Stop it, or let it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server that is up."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()
