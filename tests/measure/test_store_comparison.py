"""`planmesh measure --store`: a store and the mesh asked for the same pairs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from planmesh.chaos.cutting_proxy import cutting_proxy
from planmesh.client import AsyncClient
from planmesh.measure.check import Claim
from planmesh.measure.hot_answers import ANSWERS_PER_PAIR, HotAnswers
from planmesh.measure.store_comparison import Side, StoreMeasurement, StoreMeasureOptions, measure_store, same_cost
from planmesh.store.urls import open_store
from tests.conftest import ROOT, RedisServer, RunningMesh, run_planmesh

FIELDS = [
    *("graph", "version", "store", "server", "queries", "asked", "concurrency", "seed", "store_timeout_s", "sides"),
    *("ratio", "disagreements", "store_changed", "hot", "seconds"),
]
SIDE_FIELDS = ["answered", "no_path", "time_outs", "errors", "mismatches", "latency_ms"]
HOT_FIELDS = ["pairs", "answers", "failed", "mismatches", "latency_ms", "mesh_latency_ms"]


@dataclass(frozen=True)
class Loaded:
    """One graph in a mesh, in a SQLite file and in a Redis of its own."""

    mesh: RunningMesh
    graph: str
    sqlite: str
    redis: str


@pytest.fixture(scope="module")
def loaded(mesh: RunningMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("stores")
    edges = folder / "edges.tsv"
    run_planmesh("generate", "service", "--nodes", "2000", "--out", str(edges))
    source = (str(edges), "--nodes", str(folder / "edges.nodes.tsv"))
    server = RedisServer(folder)
    server.start()
    mesh.json("load", *source, "--graph", "beside-store")
    made = Loaded(mesh, "beside-store", f"sqlite:///{folder}/graph.db", server.url)
    for url in (made.sqlite, made.redis):
        run_planmesh("load", *source, "--store", url)
    yield made
    server.kill()


@pytest.mark.mesh
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_both_sides_give_the_reference_cost(loaded: Loaded, kind: str) -> None:
    url = getattr(loaded, kind)
    value = loaded.mesh.json("measure", "--graph", loaded.graph, "--store", url, "--queries", "40", "--seed", "5")
    assert list(value) == FIELDS
    assert (value["queries"], value["asked"], value["concurrency"], value["seed"]) == (40, 40, 1, 5)
    assert (value["disagreements"], value["store_changed"], value["hot"]) == (0, False, None)
    assert value["store"] == value["store"].replace(urlsplit(url).password or "-no-password-", "")
    store, mesh = value["sides"]["store"], value["sides"]["mesh"]
    for side in (store, mesh):
        assert list(side) == SIDE_FIELDS
        assert (side["time_outs"], side["errors"], side["mismatches"]) == (0, {}, 0)
        assert side["answered"] + side["no_path"] == 40
        assert 0 < side["latency_ms"]["p50"] <= side["latency_ms"]["p99"] <= side["latency_ms"]["max"]
    assert (store["answered"], store["no_path"]) == (mesh["answered"], mesh["no_path"])
    ratio = store["latency_ms"]["p50"] / mesh["latency_ms"]["p50"]
    assert value["ratio"]["p50"] == pytest.approx(ratio, rel=0.01, abs=0.001)


@pytest.mark.mesh
def test_hot_answers_are_measured_apart(loaded: Loaded) -> None:
    front = quote(f"{loaded.redis}?graph={secrets.token_hex(4)}", safe="")
    url = f"hybrid://?front={front}&back={quote(loaded.sqlite, safe='')}&hot_threshold=3"
    value = loaded.mesh.json("measure", "--graph", loaded.graph, "--store", url, "--queries", "5")
    hot = value["hot"]
    assert list(hot) == HOT_FIELDS
    assert (hot["pairs"], hot["answers"], hot["failed"], hot["mismatches"]) == (5, 5 * ANSWERS_PER_PAIR, 0, 0)
    assert hot["latency_ms"]["p95"] > 0
    assert hot["mesh_latency_ms"]["p95"] > 0
    shown = loaded.mesh.cli("measure", "--graph", loaded.graph, "--store", url, "--queries", "5").stdout
    assert "store, hot" in shown
    assert "5 of 5 pairs asked of Redis before SQLite" in shown


@pytest.mark.mesh
def test_a_store_with_another_graph_is_contradicted(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("source,target,cost\na,b,1\nb,c,1\na,c,5\n")
    loaded.mesh.json("load", str(tmp_path / "edges.csv"), "--graph", "of-the-mesh")
    (tmp_path / "edges.csv").write_text("source,target,cost\na,b,1\nb,c,1\na,c,1.5\n")
    url = f"sqlite:///{tmp_path}/other.db"
    run_planmesh("load", str(tmp_path / "edges.csv"), "--store", url)
    (tmp_path / "pairs.tsv").write_text("a\tc\na\tb\nc\ta\nd\ta\n")
    arguments = ("measure", "--graph", "of-the-mesh", "--store", url, "--pairs", str(tmp_path / "pairs.tsv"))
    value = loaded.mesh.json(*arguments, code=1)
    store, mesh = value["sides"]["store"], value["sides"]["mesh"]
    assert (store["mismatches"], mesh["mismatches"], value["disagreements"]) == (1, 0, 1)
    assert (store["answered"], store["no_path"], store["errors"]) == (2, 1, {"NODE_UNKNOWN": 1})
    assert mesh["errors"] == {"NODE_UNKNOWN": 1}
    assert "store, mismatch: a → c: cost 1.5, the reference says 2.0" in loaded.mesh.cli(*arguments, code=1).stderr


@pytest.mark.mesh
async def test_a_slow_store_ends_with_its_time_outs_counted(loaded: Loaded) -> None:
    parts = urlsplit(loaded.redis)
    assert parts.hostname is not None
    assert parts.port is not None
    async with cutting_proxy(parts.hostname, parts.port) as proxy, AsyncClient(loaded.mesh.address) as client:
        store = await open_store(loaded.redis.replace(f":{parts.port}", f":{proxy.port}"))
        told: list[str] = []

        def tell(what: str, _: float) -> None:
            told.append(what)
            if what == "measure":
                proxy.delay_s = 0.5  # every answer of the store from now on

        try:
            options = StoreMeasureOptions(loaded.graph, 50, store_timeout_s=0.05, store_total_s=0.4)
            measurement = await measure_store(client, store, options, tell)
        finally:
            proxy.restore()
            await store.close()
    value = measurement.to_json()
    store_side, mesh_side = value["sides"]["store"], value["sides"]["mesh"]
    assert 5 <= value["asked"] < 20
    assert store_side["time_outs"] >= value["asked"] - 1
    assert store_side["latency_ms"]["max"] < 500
    assert mesh_side["answered"] + mesh_side["no_path"] == value["asked"]
    assert measurement.is_good


@pytest.mark.mesh
def test_what_cannot_be_measured_is_said_without_a_password(loaded: Loaded) -> None:
    value = loaded.mesh.json("measure", "--store", "redis://:tops3cret@127.0.0.1:1/0", "--queries", "5", code=1)
    assert value["error"]["reason"] == "STORE_UNAVAILABLE"
    assert "tops3cret" not in str(value)


def measurement_of(store: dict[tuple[str, str], float], mesh: dict[tuple[str, str], float]) -> StoreMeasurement:
    def side(costs: dict[tuple[str, str], float]) -> Side:
        return Side(latencies_ms=[1.0] * len(costs), claims=[Claim(*pair, cost, ()) for pair, cost in costs.items()])

    made = StoreMeasurement(StoreMeasureOptions("g", 1), "sqlite:///", "SQLite", 1, 1)
    made.store, made.mesh = side(store), side(mesh)
    return made


def test_disagreements_are_pairs_that_both_answered_differently() -> None:
    infinite = float("inf")
    same = {("a", "b"): 1.0, ("a", "c"): infinite}
    assert measurement_of(same, same).disagreements == 0
    assert measurement_of({("a", "b"): 0.1 + 0.2}, {("a", "b"): 0.3}).disagreements == 0
    assert measurement_of({("a", "b"): infinite}, {("a", "b"): 1.0}).disagreements == 1
    assert measurement_of({}, {("a", "b"): 1.0}).is_good


def test_hot_answers_are_compared_with_what_their_pairs_cost() -> None:
    hot = HotAnswers(costs=[(("a", "b"), 1.0), (("a", "b"), 2.0), (("b", "a"), float("inf"))])
    hot.compare({("a", "b"): 1.0, ("b", "a"): float("inf")})
    assert hot.wrong == 1
    assert same_cost(float("inf"), float("inf"))


def test_nothing_measured_has_no_ratio() -> None:
    values: dict[str, Any] = measurement_of({}, {}).to_json()
    assert values["ratio"] == {"p50": None, "p95": None, "p99": None}


def test_the_page_names_every_field() -> None:
    page = (ROOT / "docs" / "cli-json.md").read_text()
    for field in (*FIELDS, *SIDE_FIELDS, *HOT_FIELDS):
        assert f"`{field}`" in page, field
