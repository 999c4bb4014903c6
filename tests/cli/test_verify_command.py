"""`planmesh verify` on a data folder without a running mesh; test_json_contract.py covers a running one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from planmesh.partition.strategies import Strategy
from planmesh.snapshot.array_file import Array
from tests.cli.test_json_contract import FINDING_FIELDS, VERIFY_CHECKS, VERIFY_FIELDS
from tests.conftest import run_planmesh
from tests.snapshot.damage import flip_a_bit
from tests.verify.stored_graph import StoredGraph, domains_of, random_edges, store_graph


@pytest.fixture
async def stored(tmp_path: Path) -> StoredGraph:
    edges = random_edges()
    return await store_graph(tmp_path / "data", edges, domains_of(edges), strategy=Strategy.DOMAIN)


def halve_a_shortcut(arrays: dict[str, Array]) -> None:
    arrays["index.up_weight"][np.flatnonzero(arrays["index.up_middle"] >= 0)[0]] *= 0.5


def test_a_whole_graph_with_json(stored: StoredGraph) -> None:
    value = json.loads(run_planmesh("verify", "--data", str(stored.data), "--graph", "g", "--json").stdout)
    assert list(value) == VERIFY_FIELDS
    assert (value["ok"], value["findings"], value["pairs"], value["seed"]) == (True, [], 200, 1)
    assert [check["name"] for check in value["checks"]] == VERIFY_CHECKS
    assert all(list(check) == ["name", "unit", "checked", "findings", "seconds"] for check in value["checks"])


def test_a_whole_graph(stored: StoredGraph) -> None:
    result = run_planmesh("verify", "--data", str(stored.data), "--graph", "g", "--pairs", "20")
    assert result.stdout.endswith("nothing is wrong\n")
    assert "distances" in result.stdout
    assert result.stderr == ""


def test_a_wrong_shortcut_exits_with_1_and_names_file_partition_and_what_to_do(stored: StoredGraph) -> None:
    stored.change("partitions/00002", halve_a_shortcut)
    result = run_planmesh("verify", "--data", str(stored.data), "--graph", "g", code=1)
    assert "wrong: partitions/00002, partition d2: sum" in result.stdout
    assert "load the graph again" in result.stdout
    assert "Traceback" not in result.stderr
    arguments = ("verify", "--data", str(stored.data), "--graph", "g", "--partition")
    for partition in ("2", "d2"):
        assert json.loads(run_planmesh(*arguments, partition, "--json", code=1).stdout)["partition"] == "d2"
    assert run_planmesh(*arguments, "d1").returncode == 0


def test_damage_is_named_with_json_too(stored: StoredGraph) -> None:
    flip_a_bit(stored.snapshot / "partitions" / "00001")
    value = json.loads(run_planmesh("verify", "--data", str(stored.data), "--graph", "g", "--json", code=1).stdout)
    assert value["ok"] is False
    assert list(value) == VERIFY_FIELDS
    assert [list(one) for one in value["findings"]] == [FINDING_FIELDS]
    assert [(one["file"], one["partition"], one["check"]) for one in value["findings"]] == [
        ("partitions/00001", "d1", "checksum")
    ]
    assert any("d1" in what for what in value["skipped"])


def test_an_unknown_partition_is_a_usage_error(stored: StoredGraph) -> None:
    for wanted in ("3", "d9", "-1"):
        result = run_planmesh("verify", "--data", str(stored.data), "--graph", "g", "--partition", wanted, code=2)
        assert result.stdout == ""


def test_an_unknown_graph_or_folder_is_an_error(stored: StoredGraph, tmp_path: Path) -> None:
    result = run_planmesh("verify", "--data", str(stored.data), "--graph", "h", "--json", code=1)
    assert json.loads(result.stdout)["error"]["reason"] == "GRAPH_UNKNOWN"
    result = run_planmesh("verify", "--data", str(tmp_path / "none"), code=1)
    assert "--data" in result.stderr
