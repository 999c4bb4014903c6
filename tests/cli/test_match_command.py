"""`planmesh match`: from the command line through a mesh to a real database, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from planmesh.client import Client
from planmesh.errors import PatternRefused
from tests.conftest import ROOT, RunningMesh, run_planmesh
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.servers.neo4j_server import Neo4jServer

MATCH_FIELDS = ["graph", "store", "columns", "rows", "trace_id"]

NEIGHBORS = "MATCH (n:Node {id: $id})-[e:EDGE]->(m) RETURN m.id AS node, e.cost AS cost ORDER BY node"


@pytest.mark.parametrize(
    "arguments",
    [
        ("RETURN $x", "--arg", "x"),
        ("RETURN $x", "--argjson", "x=not json"),
        ("RETURN $x", "--arg", "x=1", "--argjson", "x=1"),
        ("RETURN 1", "--max", "10001"),
    ],
)
def test_usage_errors(arguments: tuple[str, ...]) -> None:
    result = run_planmesh("match", *arguments, code=2)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_the_page_documents_every_field() -> None:
    section = (ROOT / "docs" / "reference" / "cli-json.md").read_text().split("\n## match\n")[1].split("\n## ")[0]
    assert all(f"`{name}`" in section for name in MATCH_FIELDS)


@pytest.mark.mesh
def test_a_graph_without_a_store(mesh: RunningMesh, tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("source,target,cost\na,b,1\n")
    mesh.json("load", str(tmp_path / "edges.csv"), "--graph", "match-none")
    error = mesh.json("match", "RETURN 1", "--graph", "match-none", code=1)["error"]
    assert (error["code"], error["reason"]) == ("UNIMPLEMENTED", "PATTERNS_UNSUPPORTED")
    assert "neo4j" in error["message"]
    assert mesh.json("match", "RETURN 1", "--graph", "no-such", code=1)["error"]["reason"] == "GRAPH_UNKNOWN"


@pytest.fixture(scope="module")
def own(neo4j_server: Neo4jServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnMesh]:
    """Run a mesh of one worker whose graph `prod` lives in Neo4j and is loaded from there."""
    folder = tmp_path_factory.mktemp("match")
    neo4j_server.empty()
    (folder / "edges.csv").write_text("source,target,cost\na,b,1.5\na,c,2\nb,c,7\n")
    run_planmesh("load", str(folder / "edges.csv"), "--store", neo4j_server.url)
    stores = {"PLANMESH_STORES": json.dumps({"prod": neo4j_server.url})}
    with own_mesh(folder / "data", "--workers", "1", "--shards", "1", environment=stores) as mesh:
        mesh.running.json("load", neo4j_server.url, "--graph", "prod")
        yield mesh


@pytest.mark.stores
def test_a_pattern(own: OwnMesh) -> None:
    found: dict[str, Any] = own.running.json("match", NEIGHBORS, "--graph", "prod", "--arg", "id=a")
    assert list(found) == MATCH_FIELDS
    assert (found["graph"], found["store"], found["columns"]) == ("prod", "neo4j", ["node", "cost"])
    assert found["rows"] == [["b", 1.5], ["c", 2.0]]
    assert own.running.json("plan", "a", "b", "--graph", "prod")["cost"] == found["rows"][0][1]
    shown = own.running.cli("match", "-", "--graph", "prod", "--arg", "id=a", stdin=NEIGHBORS).stdout
    assert shown == "node\tcost\nb\t1.5\nc\t2.0\n"
    counted = own.running.json("match", "RETURN $n + 1 AS n", "--graph", "prod", "--argjson", "n=4611686018427387904")
    assert counted["rows"] == [[4611686018427387905]]


@pytest.mark.stores
@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("CREATE (n:Node {id: 'evil'})", "INVALID_ARGUMENT", "PATTERN_REFUSED"),
        ("MATCH (n) SET n.id = 'evil'", "INVALID_ARGUMENT", "PATTERN_REFUSED"),
        ("MATCH (n RETURN n", "INVALID_ARGUMENT", "PATTERN_REFUSED"),
        ("UNWIND range(1, 2000) AS n RETURN n", "RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED"),
        (
            "UNWIND range(1, 1000000000) AS m UNWIND range(1, 1000000) AS n RETURN sum(m + n)",
            "DEADLINE_EXCEEDED",
            "DEADLINE_EXCEEDED",
        ),
    ],
)
def test_invalid_patterns_are_refused(own: OwnMesh, query: str, code: str, reason: str) -> None:
    result = own.running.cli("match", query, "--graph", "prod", "--timeout", "3", "--json", code=1)
    error = json.loads(result.stdout)["error"]
    assert (error["code"], error["reason"]) == (code, reason)
    assert "Traceback" not in result.stderr
    if reason == "PATTERN_REFUSED":
        assert "(Neo.ClientError.Statement." in error["message"]
    assert own.running.json("match", "MATCH (n:Node) RETURN count(n)", "--graph", "prod")["rows"] == [[3]]


@pytest.mark.stores
def test_the_clients_get_the_error_of_ours(own: OwnMesh) -> None:
    with Client(own.address, graph="prod", timeout_s=20) as client:
        with pytest.raises(PatternRefused, match=r"AccessMode"):
            client.match_pattern("MATCH (n) DETACH DELETE n")
        assert client.match_pattern("RETURN $x", {"x": [1, None, "a"]}).rows == (([1, None, "a"],),)


@pytest.mark.stores
def test_the_password_is_in_no_log_and_no_output(own: OwnMesh, neo4j_server: Neo4jServer) -> None:
    own.running.cli("match", "CREATE (n)", "--graph", "prod", code=1)
    said = own.running.cli("status", "--json").stdout + json.dumps(own.running.ready)
    files = [path.read_text(errors="replace") for path in own.folder.logs.glob("*.log")]
    assert len(files) >= 4
    assert neo4j_server.password not in said + "".join(files)
