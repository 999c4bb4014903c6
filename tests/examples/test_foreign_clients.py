"""The clients of examples/clients run against a mesh, each built by the commands in its comments.

The lines of docs/guides/clients.md for Go and Node are run too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from planmesh.client import Client
from tests.conftest import COMMAND_S_MAX, ROOT, RunningMesh
from tests.mesh.small_graph import SmallGraph

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(2 * COMMAND_S_MAX)]

GUIDE = ROOT / "docs" / "guides" / "clients.md"

GRAPH = "foreign-clients"
SERVED = SmallGraph(
    {"Lisbon": "south", "Madrid": "south", "Paris": "north", "Oslo": "north", "Reykjavik": "north"},
    [("Lisbon", "Madrid", 2.5), ("Madrid", "Paris", 5.0), ("Paris", "Oslo", 6.25), ("Lisbon", "Oslo", 99.0)],
)
PLAN = "cost 13.750\nLisbon -> Madrid 2.500\nMadrid -> Paris 5.000\nParis -> Oslo 6.250\n"

LANGUAGES = [
    pytest.param("go", marks=pytest.mark.tools),
    pytest.param("node", marks=pytest.mark.tools),
    "python",
]


@dataclass(frozen=True)
class Checkout:
    """A copy of protos/ and examples/clients in their places, for clients to be built in."""

    root: Path
    search_path: str
    """PATH for the builds: protoc, and the plugins that a test installs."""

    @property
    def go(self) -> Path:
        return self.root / "examples" / "clients" / "go"

    @property
    def node(self) -> Path:
        return self.root / "examples" / "clients" / "node"

    def run(self, *command: str, cwd: Path) -> str:
        return run(*command, cwd=cwd, environment={**os.environ, "PATH": self.search_path})


def run(*command: str, cwd: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=COMMAND_S_MAX, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "protos", root / "protos")
    shutil.copytree(
        ROOT / "examples" / "clients",
        root / "examples" / "clients",
        ignore=shutil.ignore_patterns("node_modules", "*.pb.go"),
    )
    programs = root / "bin"
    programs.mkdir()
    protoc = programs / "protoc"
    protoc.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m grpc_tools.protoc "$@"\n')
    protoc.chmod(0o755)
    return Checkout(root, os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)]))


@pytest.fixture(scope="module")
def go_client(checkout: Checkout) -> list[str]:
    """The Go client: plugins, code and program made by the commands of its comments."""
    go = shutil.which("go", path=checkout.search_path)
    if go is None:
        pytest.skip("needs go on PATH")
    installs = re.findall(r"^//\tgo install (\S+)$", (checkout.go / "main.go").read_text(), re.MULTILINE)
    assert [install.split("@")[0].rsplit("/", 1)[1] for install in installs] == ["protoc-gen-go", "protoc-gen-go-grpc"]
    environment = {**os.environ, "PATH": checkout.search_path, "GOBIN": str(checkout.root / "bin")}
    for install in installs:
        run(go, "install", install, cwd=checkout.root, environment=environment)
    checkout.run(go, "generate", cwd=checkout.go)
    checkout.run(go, "vet", "./...", cwd=checkout.go)
    checkout.run(go, "build", "-o", "client", ".", cwd=checkout.go)
    return [str(checkout.go / "client")]


@pytest.fixture(scope="module")
def node_modules(checkout: Checkout) -> str:
    """The path of node, after `npm ci` for the Node client."""
    node, npm = (shutil.which(program, path=checkout.search_path) for program in ("node", "npm"))
    if node is None or npm is None:
        pytest.skip("needs node and npm on PATH")
    checkout.run(npm, "ci", "--no-audit", "--no-fund", cwd=checkout.node)
    return node


@pytest.fixture
def command(request: pytest.FixtureRequest, checkout: Checkout, language: str) -> list[str]:
    """What starts the client of a language."""
    match language:
        case "go":
            started: list[str] = request.getfixturevalue("go_client")
            return started
        case "node":
            return [request.getfixturevalue("node_modules"), str(checkout.node / "client.mjs")]
    return [sys.executable, str(checkout.root / "examples" / "clients" / "python" / "client.py")]


@pytest.fixture(scope="module")
def served(mesh: RunningMesh) -> RunningMesh:
    with Client(mesh.address, timeout_s=30) as client:
        SERVED.load(client, GRAPH)
    return mesh


def start(command: list[str], mesh: RunningMesh, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and error output of a client."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [*command, "--address", mesh.address, "--graph", GRAPH, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_prints_the_plan(command: list[str], served: RunningMesh) -> None:
    assert start(command, served, "Lisbon", "Oslo") == (0, PLAN, "")
    assert start(command, served, "Oslo", "Oslo") == (0, "cost 0.000\n", "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_branches_on_the_reason_of_an_error(command: list[str], served: RunningMesh) -> None:
    code, printed, explained = start(command, served, "Lisbom", "Oslo")
    assert (code, printed) == (1, "")
    assert explained.startswith("unknown node Lisbom; similar: Lisbon")
    assert start(command, served, "Lisbon", "Reykjavik") == (1, "", "no path leads from Lisbon to Reykjavik\n")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_ends_at_its_deadline(command: list[str], served: RunningMesh, language: str) -> None:
    passed = {"go": "0s"}.get(language, "0")
    code, printed, explained = start(command, served, "--timeout", passed, "Lisbon", "Oslo")
    assert (code, printed) == (1, "")
    assert "deadline" in explained.lower()


def guide_block(language: str, containing: str) -> str:
    """The block of code of the guide that contains a text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


@pytest.mark.tools
@pytest.mark.usefixtures("go_client")
def test_the_lines_for_go_of_the_guide_write_the_code_that_the_client_uses(checkout: Checkout) -> None:
    checkout.run("/bin/sh", "-euc", guide_block("sh", "protoc "), cwd=checkout.root)
    written = {file.name: file.read_bytes() for file in (checkout.root / "gen" / "planmesh" / "v1").iterdir()}
    compiled = {file.name: file.read_bytes() for file in (checkout.go / "planmesh" / "v1").iterdir()}
    assert set(compiled) == {"plan.pb.go", "plan_grpc.pb.go"}
    assert set(written) == set(compiled) | {f"{name}{end}.pb.go" for name in ("graph", "mesh") for end in ("", "_grpc")}
    assert written.items() >= compiled.items()


@pytest.mark.tools
def test_the_lines_for_node_of_the_guide_make_a_plan(
    checkout: Checkout, node_modules: str, served: RunningMesh
) -> None:
    lines = guide_block("js", "loadSync")
    for shown, used in [("127.0.0.1:50051", served.address), ("{ start:", f'{{ graph: "{GRAPH}", start:')]:
        assert shown in lines
        lines = lines.replace(shown, used)
    script = checkout.node / "guide.mjs"  # beside node_modules
    script.write_text(lines)
    assert checkout.run(node_modules, str(script), cwd=checkout.root) == "13.75 Lisbon Madrid Paris Oslo\n"
