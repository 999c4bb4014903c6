"""The wheel, installed into environments of its own: by itself, and with the extra `cli`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

LARGE = (
    "aiohttp",
    "celery",
    "kombu",
    "lxml",
    "matplotlib",
    "networkx",
    "numba",
    "numpy",
    "opentelemetry.sdk",
    "psutil",
    "pyarrow",
    "pydantic",
    "redis",
    "rich",
    "scipy",
    "structlog",
    "typer",
    "uvloop",
)

NOBODY = "127.0.0.1:1"
"""An address where nothing listens."""


def uv_environment() -> dict[str, str]:
    """Variables for uv, which does not read pip's configuration: the index that made .venv."""
    environment = dict(os.environ)
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    index = environment.get("PIP_INDEX_URL") or asked.stdout.strip()
    if index:
        environment.setdefault("UV_DEFAULT_INDEX", index)
    return environment


def uv(*arguments: str | Path) -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("uv"), *arguments],
        env=uv_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder], cwd=ROOT, check=True
    )
    (built,) = folder.glob("*.whl")
    return built


class Environment:
    """A virtual environment with the wheel, at the versions of requirements.lock."""

    def __init__(self, folder: Path, wheel: Path, extra: str = "") -> None:
        self.bin = folder / "bin"
        uv("venv", "--quiet", "--python", sys.executable, folder)
        lock = ROOT / "requirements.lock"
        wanted = f"planmesh{extra} @ {wheel.as_uri()}"
        uv("pip", "install", "--quiet", "--python", self.bin / "python", "--constraint", lock, wanted)

    def run(self, program: str, *arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment away from the sources; `code` is the exit code expected."""
        found = subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.bin.parent,
            env={"PATH": os.defpath, "HOME": str(self.bin.parent), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == code, found.stderr
        return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    return Environment(tmp_path_factory.mktemp("base") / "venv", wheel)


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    return Environment(tmp_path_factory.mktemp("cli") / "venv", wheel, "[cli]")


def test_the_wheel_has_every_module_and_says_that_it_is_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {
        str(file.relative_to(ROOT))
        for package in ("planmesh", "services", "workers")
        for file in (ROOT / package).rglob("*.py*")
        if file.suffix in {".py", ".pyi"}
    }
    assert sources <= names
    assert "planmesh/py.typed" in names


def test_the_base_is_the_client_and_imports_nothing_large(base: Environment) -> None:
    code = """
import json, sys
import planmesh, planmesh.testing
names = [getattr(planmesh, name) for name in planmesh.__all__]
print(json.dumps([planmesh.__file__, sorted(sys.modules)]))
"""
    place, modules = json.loads(base.run("python", "-c", code).stdout)
    assert Path(place).is_relative_to(base.bin.parent)
    assert "grpc" in modules
    assert not set(modules) & set(LARGE)


def test_nothing_large_is_installed_with_the_base(base: Environment) -> None:
    code = """
import json, sys
from importlib.util import find_spec
def there(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
print(json.dumps([name for name in sys.argv[1:] if there(name)]))
"""
    assert json.loads(base.run("python", "-c", code, *LARGE).stdout) == []


def test_a_client_of_the_base_meets_our_errors(base: Environment) -> None:
    code = f"""
import planmesh
try:
    with planmesh.Client("{NOBODY}") as client:
        client.plan("a", "b")
except planmesh.ServiceUnavailable as error:
    print(error.message)
"""
    assert f"planmesh at {NOBODY} cannot be reached" in base.run("python", "-c", code).stdout


def test_commands_name_the_extra_that_they_need(base: Environment) -> None:
    up = base.run("planmesh", "up", code=1)
    assert "planmesh up needs planmesh[server]: pip install 'planmesh[server]'" in up.stderr
    assert "Traceback" not in up.stderr
    plan = base.run("planmesh", "plan", "a", "b", "--json", code=1)
    error = json.loads(plan.stdout)["error"]
    assert error["reason"] == "EXTRA_MISSING"
    assert "planmesh plan needs planmesh[cli]: pip install 'planmesh[cli]'" in error["message"]


def test_local_mesh_names_the_extra_that_it_needs(base: Environment) -> None:
    code = """
from planmesh.testing import local_mesh
try:
    with local_mesh():
        pass
except ImportError as error:
    print(error)
"""
    assert "planmesh.testing.local_mesh() needs planmesh[server]" in base.run("python", "-c", code).stdout


@pytest.mark.parametrize(
    "command",
    [
        ("plan", "a", "b"),
        ("plan", "--pairs", "pairs.tsv"),
        ("neighbors", "a"),
        ("match", "MATCH (n) RETURN n"),
        ("partitions",),
        ("status",),
        ("unload", "--graph", "g"),
        ("update", "changes.jsonl"),
    ],
)
def test_commands_of_the_client_need_the_extra_cli_only(cli: Environment, command: tuple[str, ...]) -> None:
    (cli.bin.parent / "pairs.tsv").write_text("a\tb\n")
    (cli.bin.parent / "changes.jsonl").write_text('{"op": "delete_node", "id": "a"}\n')
    found = cli.run("planmesh", *command, code=1, PLANMESH_ADDRESS=NOBODY)
    assert f"planmesh at {NOBODY} cannot be reached" in found.stdout + found.stderr
    assert "Traceback" not in found.stderr


def test_with_the_extra_cli_the_others_say_what_they_need(cli: Environment) -> None:
    assert "planmesh" in cli.run("planmesh", "version").stdout
    for command in ("up", "load", "measure", "verify", "partition", "store"):
        assert "Example" in cli.run("planmesh", command, "--help").stdout or command in {"partition", "store"}
        missing = cli.run("planmesh", command, "x", code=1).stderr
        assert f"planmesh {command} needs planmesh[server]" in missing
    traced = cli.run("planmesh", "status", code=1, OTEL_TRACES_EXPORTER="otlp")
    assert "tracing (OTEL_* is set) needs planmesh[server]" in traced.stderr
