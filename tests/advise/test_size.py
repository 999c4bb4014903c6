"""Sizing: rows exist, more never needs less, a latency is kept or refused, and exceeded bounds are reported."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planmesh.advise import Demand, read_figures, size
from planmesh.advise.advice import NODES_MAX, QPS_MAX
from planmesh.advise.capacity import EDGES_MAX, SHARDS_MAX, UTILISATION_MIN
from planmesh.advise.processes import PROCESSES, used_cores
from planmesh.errors import InvalidRequest
from planmesh.settings import CoordinatorSettings
from services.partition.ingest import spool
from tests.advise.test_advice import NUMBER_FIELDS
from tests.conftest import ROOT, run_planmesh

FIGURES = read_figures()
SIZE_FIELDS = ["nodes", "qps", "latency_ms", "numbers", "limits", "assumptions", "rows"]
NAMES = [
    *(
        "utilisation",
        "latency_p50",
        "latency_p95",
        "redis_servers",
        "gateways",
        "coordinators",
        "shards",
        "workers",
        "cores",
    ),
    *("gateway_memory", "coordinator_memory", "worker_memory", "partition_memory", "memory", "disk", "load_time"),
]
NEVER_LESS = ("redis_servers", "gateways", "coordinators", "shards", "workers", "cores", "memory", "disk", "load_time")

demands = st.builds(Demand, nodes=st.integers(1, 1_000_000_000), qps=st.floats(0.001, 100_000))


@given(demands, st.floats(1, 1_000), st.floats(1, 1_000))
def test_more_nodes_or_plans_never_need_less(demand: Demand, more_nodes: float, more_qps: float) -> None:
    larger = Demand(int(demand.nodes * more_nodes), demand.qps * more_qps)
    if larger.nodes > NODES_MAX or larger.qps > QPS_MAX:
        return
    found, other = size(FIGURES, demand), size(FIGURES, larger)
    assert [number.name for number in found.numbers] == NAMES
    for name in NEVER_LESS:
        assert other.value(name) >= found.value(name) * (1 - 1e-12), name


@given(demands)
def test_no_loop_is_busier_than_it_may_be(demand: Demand) -> None:
    found = size(FIGURES, demand)
    busy = found.value("utilisation")
    least = {"workers": found.value("shards")}
    counts = {"redis": "redis_servers", "gateway": "gateways", "coordinator": "coordinators", "worker": "workers"}
    for process, name in counts.items():
        used_s = used_cores(FIGURES, process, demand.nodes, demand.qps, busy, loop=True)
        count = found.value(name)
        assert used_s <= count * busy * (1 + 1e-9), process
        fewer = count - 1 if count > least.get(name, 1) else 0
        assert used_s >= fewer * busy * (1 - 1e-9), process
    assert found.value("workers") >= found.value("shards") >= found.value("redis_servers")
    in_all_s = sum(used_cores(FIGURES, process, demand.nodes, demand.qps, busy) for process in PROCESSES)
    assert found.value("cores") * busy == pytest.approx(in_all_s)


@given(demands)
def test_memory_is_that_of_all_processes(demand: Demand) -> None:
    found = size(FIGURES, demand)
    pairs = (("gateway_memory", "gateways"), ("coordinator_memory", "coordinators"), ("worker_memory", "workers"))
    gib = sum(found.value(each) * found.value(count) for each, count in pairs)
    assert found.value("memory") == pytest.approx(gib + found.value("partition_memory"))
    least_gib = FIGURES.value("process.worker_memory_mib") / 1_024
    assert least_gib <= found.value("worker_memory") <= least_gib + FIGURES.value("worker_memory_gib")
    for number in found.numbers:
        assert number.rows
        assert number.how
        assert all(row in found.rows for row in number.rows)


def resting_p95_ms(nodes: int) -> float:
    """Return the 95th percentile of one plan at a time."""
    found = size(FIGURES, Demand(nodes, 1))
    return found.value("latency_p95") * (1 - found.value("utilisation"))


@given(demands, st.floats(1, 100))
def test_a_latency_is_kept_by_more_processes_or_refused(demand: Demand, latency_ms: float) -> None:
    asked = replace(demand, latency_ms=latency_ms)
    if latency_ms * (1 - UTILISATION_MIN) < resting_p95_ms(demand.nodes):
        with pytest.raises(InvalidRequest, match="more processes do not change it") as refused:
            size(FIGURES, asked)
        assert refused.value.metadata["field"] == "latency_ms"
        return
    found = size(FIGURES, asked)
    assert found.value("latency_p95") <= latency_ms * (1 + 1e-9)
    assert found.value("latency_p50") <= found.value("latency_p95")
    without = size(FIGURES, demand)
    for name in ("gateways", "coordinators", "workers", "cores"):
        assert found.value(name) >= without.value(name) * (1 - 1e-12), name


@pytest.mark.parametrize(
    ("demand", "complaint"),
    [
        (Demand(0, 1), "expected nodes above 0"),
        (Demand(NODES_MAX + 1, 1), "expected nodes above 0 and at most"),
        (Demand(1, 0), "expected qps above 0"),
        (Demand(1, float("nan")), "expected qps above 0"),
        (Demand(1, QPS_MAX * 2), "expected qps above 0 and at most"),
        (Demand(1_000_000, 1, latency_ms=0.5), "expected a 95th percentile of at least"),
        (Demand(1_000_000, 1, latency_ms=0), "expected a 95th percentile of at least"),
        (Demand(1_000_000, 1, latency_ms=float("nan")), "expected a 95th percentile of at least"),
    ],
)
def test_what_cannot_be_sized_is_refused(demand: Demand, complaint: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        size(FIGURES, demand)
    assert complaint in refused.value.message


def test_bounds_of_a_mesh_that_a_graph_exceeds_are_reported() -> None:
    assert EDGES_MAX == spool.EDGES_MAX
    bounds = CoordinatorSettings.model_fields["shards"].metadata
    assert SHARDS_MAX in [getattr(bound, "le", None) for bound in bounds]
    assert size(FIGURES, Demand(500_000_000, 1)).limits == []
    (edges,) = size(FIGURES, Demand(1_000_000_000, 1)).limits
    assert "2,000,000,000 directed edges" in edges
    assert any("int32" in limit for limit in size(FIGURES, Demand(NODES_MAX, 1)).limits)


def test_the_command_and_its_json() -> None:
    asked = ("size", "--nodes", "1000000000", "--qps", "1000")
    value = json.loads(run_planmesh(*asked, "--json").stdout)
    assert list(value) == SIZE_FIELDS
    assert (value["nodes"], value["qps"], value["latency_ms"]) == (1_000_000_000, 1_000, None)
    assert [number["name"] for number in value["numbers"]] == NAMES
    assert all(list(number) == NUMBER_FIELDS for number in value["numbers"])
    printed = run_planmesh(*asked).stdout
    assert printed.startswith("needed for 1,000,000,000 nodes and 1,000 plans/s: ")
    assert all(f"beyond a bound: {limit}" in " ".join(printed.split()) for limit in value["limits"])
    assert all(name in printed for name in (*NAMES, *value["rows"]))
    assert all(text in printed for text in value["assumptions"])


def test_the_command_with_a_latency_and_with_one_that_cannot_be() -> None:
    asked = ("size", "--nodes", "1000000", "--qps", "500", "--json")
    kept = json.loads(run_planmesh(*asked, "--latency-ms", "40").stdout)
    (latency,) = [number["value"] for number in kept["numbers"] if number["name"] == "latency_p95"]
    assert latency <= 40
    refused = run_planmesh(*asked, "--latency-ms", "0.5", code=1)
    assert "at least" in json.loads(refused.stdout)["error"]["message"]
    assert run_planmesh("size", "--nodes", "0", "--qps", "1", code=2).stdout == ""
    assert "planmesh size --nodes 1000000 --qps 500" in run_planmesh("size", "--help").stdout


def test_the_page_names_every_field() -> None:
    page = (ROOT / "docs" / "reference" / "cli-json.md").read_text()
    section = page.split("\n## size\n")[1].split("\n## ")[0]
    for field in (*SIZE_FIELDS, *NAMES):
        assert f"`{field}`" in section, field
