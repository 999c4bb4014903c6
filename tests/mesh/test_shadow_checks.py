"""A shortcut that is wrong although every checksum is right: the mesh notices, reports and remembers it."""

from __future__ import annotations

import itertools
import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planmesh.client import Client, Detail, Strategy
from planmesh.errors import NoPath
from planmesh.snapshot.array_file import open_array_file, write_array_file
from planmesh.snapshot.manifest import MANIFEST_NAME, encode_manifest, read_manifest, write_manifest
from planmesh.snapshot.partition_file import INDEX_PREFIX
from planmesh.telemetry import names
from planmesh.versions.embedded import CATALOG_NAME
from tests.conftest import run_planmesh
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.mesh.polling import eventually
from tests.mesh.small_graph import COST_TOLERANCE, cheapest_costs, random_pairs, service_graph
from tests.mesh.test_metrics import BUILDER, PARTITION, MetricReceiver, metric_receiver

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

GRAPH = service_graph(seed=71, domains=6, nodes_per_domain=40)
PAIRS = random_pairs(GRAPH, 60, seed=72, starts=12)
COSTS = cheapest_costs(GRAPH, PAIRS)
ALL_ANSWERS = {"PLANMESH_SHADOW_SHARE": "1", "PLANMESH_SHADOW_NO_PATH_SHARE": "1"}


def plant_wrong_shortcuts(store: Path, version: int) -> None:
    """Make no shortcut of contracted nodes usable, as if contraction had left them out, with right checksums.

    Rewrites the manifest and the store's copy of it. The mesh must not run.
    """
    snapshot = store / "snapshots" / "default" / str(version)
    manifest = read_manifest(snapshot / MANIFEST_NAME)
    entries, planted = [], 0
    for entry in manifest.partitions:
        file = snapshot / entry.file
        arrays = {name: np.array(array) for name, array in open_array_file(file).arrays.items()}
        for direction in ("up", "down"):
            is_shortcut = arrays[f"{INDEX_PREFIX}{direction}_middle"] >= 0
            arrays[f"{INDEX_PREFIX}{direction}_weight"][is_shortcut] = np.inf
            planted += int(is_shortcut.sum())
        facts = write_array_file(file, arrays)
        entries.append(entry.model_copy(update={"bytes": facts.bytes, "checksum": facts.checksum}))
    assert planted, "the graph has shortcuts"
    changed = manifest.model_copy(update={"partitions": entries})
    write_manifest(snapshot, changed)
    with closing(sqlite3.connect(store / "store" / CATALOG_NAME)) as catalog, catalog:
        where = "WHERE graph = 'default' AND version = ?"
        (text,) = catalog.execute(f"SELECT description FROM version {where}", (version,)).fetchone()
        description = {**json.loads(text), "manifest": encode_manifest(changed).decode()}
        catalog.execute(f"UPDATE version SET description = ? {where}", (json.dumps(description), version))


def ask_for_all(mesh: OwnMesh) -> dict[tuple[str, str], tuple[float, str]]:
    """Request every pair, in all details by turns.

    Return cost and trace id of each wrong answer ("" for a wrong "no path").
    """
    wrong = {}
    with Client(mesh.address, timeout_s=60) as client:
        for pair, expected, detail in zip(PAIRS, COSTS, itertools.cycle(Detail), strict=False):
            try:
                plan = client.plan(*pair, detail=detail, bypass_cache=True)
            except NoPath:
                cost, trace_id = math.inf, ""
            else:
                cost, trace_id = plan.cost, plan.trace_id
            if not (cost == expected or math.isclose(cost, expected, rel_tol=COST_TOLERANCE)):
                wrong[pair] = cost, trace_id
    return wrong


def suspicion(mesh: OwnMesh) -> dict[str, Any] | None:
    """Return the suspicion of the graph in `planmesh status --json`."""
    printed = run_planmesh("status", "--address", mesh.address, "--timeout", "60", "--json", code=None).stdout
    (graph,) = json.loads(printed)["graphs"]
    found: dict[str, Any] | None = graph["suspicion"]
    return found


def measured(receiver: MetricReceiver, service: str, name: str, **attributes: str) -> int:
    """Return the last value of a metric, 0 before the first."""
    wanted = tuple(sorted((f"planmesh.{key}", value) for key, value in attributes.items()))
    point = receiver.values(service, name).get(wanted)
    return point.as_int if point is not None else 0


def test_a_planted_wrong_shortcut_makes_the_graph_suspect_until_it_is_loaded_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with own_mesh(data, "--workers", "1", "--shards", "1") as mesh, Client(mesh.address) as client:
        version = GRAPH.load(client, "default", Strategy.DOMAIN).version
    plant_wrong_shortcuts(data / "store", version)

    with (
        metric_receiver() as (receiver, environment),
        own_mesh(data, "--workers", "1", "--shards", "1", environment={**environment, **ALL_ANSWERS}) as mesh,
    ):
        wrong = ask_for_all(mesh)
        assert wrong, "without its shortcuts the index gives wrong answers"
        found = eventually(lambda: suspicion(mesh) or {}, "a suspect graph")
        pair = found["start"], found["goal"]
        assert pair in wrong
        cost, trace_id = wrong[pair]
        assert found["version"] == version
        assert found["answered_cost"] == (None if math.isinf(cost) else cost)
        assert math.isclose(found["plain_cost"], COSTS[PAIRS.index(pair)], rel_tol=COST_TOLERANCE)
        assert trace_id in {"", found["trace_id"]}
        assert found["remedy"] == "planmesh verify --graph default"
        shown = run_planmesh("status", "--address", mesh.address, "--timeout", "60", code=None).stdout
        assert "serving, SUSPECT" in shown
        assert "run `planmesh verify --graph default`" in shown
        lines = [json.loads(line) for line in mesh.log("build").splitlines() if "wrong answer" in line]
        (line,) = [line for line in lines if line["trace_id"] == found["trace_id"]]
        facts = ("version", "start", "goal", "answered_cost", "plain_cost")
        assert {name: line[name] for name in facts} == {name: found[name] for name in facts}
        assert (line["level"], line["graph"]) == ("error", "default")
        eventually(
            lambda: measured(receiver, BUILDER, names.METRIC_SHADOW_CHECKS, result=names.SHADOW_MISMATCH),
            "a mismatch in the metrics",
        )
        eventually(
            lambda: measured(receiver, PARTITION, names.METRIC_GRAPH_SUSPECT, graph="default"),
            "a suspect graph in the metrics",
        )

    # The mesh's Redis has lost everything. No plan is requested, so nothing is found a second time.
    with own_mesh(data, "--workers", "1", "--shards", "1") as mesh, Client(mesh.address) as client:
        assert suspicion(mesh) == found
        assert GRAPH.load(client, "default", Strategy.DOMAIN).version > version
        assert suspicion(mesh) is None


def test_right_answers_make_nothing_suspect(tmp_path: Path) -> None:
    """Computed answers, cached ones, and "no path" are checked."""
    no_path = PAIRS[COSTS.index(math.inf)]
    with (
        metric_receiver() as (receiver, environment),
        own_mesh(
            tmp_path / "data", "--workers", "1", "--shards", "1", environment={**environment, **ALL_ANSWERS}
        ) as mesh,
        Client(mesh.address, timeout_s=60) as client,
    ):

        def matches() -> int:
            return measured(receiver, BUILDER, names.METRIC_SHADOW_CHECKS, result=names.SHADOW_MATCH)

        GRAPH.load(client, "default", Strategy.DOMAIN)
        pair = next(pair for pair, cost in zip(PAIRS, COSTS, strict=True) if 0 < cost < math.inf)
        assert not client.plan(*pair).cached
        eventually(lambda: matches() == 1, "a check of the computed answer")
        assert client.plan(*pair).cached
        eventually(lambda: matches() == 2, "a check of the cached answer")
        with pytest.raises(NoPath):
            client.plan(*no_path)
        eventually(lambda: matches() == 3, "a check of the answer 'no path'")
        assert ask_for_all(mesh) == {}
        eventually(lambda: matches() > 3, "checks of others")
        for result in (names.SHADOW_MISMATCH, names.SHADOW_ERROR):
            assert not measured(receiver, BUILDER, names.METRIC_SHADOW_CHECKS, result=result)
        assert suspicion(mesh) is None
