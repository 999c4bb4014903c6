"""Advice: rows match their sources, more never costs less, and a budget is kept or reported as missed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.advise_figures import TABLE, measured_value, refreshed
from planmesh.advise import Demand, advise, read_figures, size
from planmesh.advise.advice import NODES_MAX, QPS_MAX, Question
from planmesh.advise.figures import Row, RowKind
from planmesh.advise.sizing import LARGE_NODES, STORES, WITH_PATTERNS
from planmesh.errors import InvalidRequest
from tests.conftest import ROOT, run_planmesh

FIGURES = read_figures()
PRICES = ("mesh_machines", "monthly_cost", "store_machines")
ADVICE_FIELDS = [
    *("nodes", "qps", "patterns", "cloud", "budget_usd", "within_budget", "qps_within_budget", "store", "monthly_usd"),
    *("numbers", "options", "assumptions", "rows"),
]
NUMBER_FIELDS = ["name", "value", "unit", "kind", "rows", "how"]
OPTION_FIELDS = [
    *("store", "fits", "store_memory_gib", "store_disk_gib", "mesh_machines", "store_machines", "monthly_usd"),
]

questions = st.builds(
    Question,
    nodes=st.integers(1, 200_000_000),
    qps=st.floats(0.001, 1_000_000),
    patterns=st.booleans(),
    cloud=st.sampled_from(sorted(FIGURES.clouds)),
)


@pytest.mark.parametrize("name", [name for name, row in FIGURES.rows.items() if row.kind is RowKind.MEASURED])
def test_a_measured_row_is_what_its_source_has(name: str) -> None:
    row = FIGURES.rows[name]
    text = (ROOT / row.source).read_text("utf-8")
    if "text" in row.where:
        assert row.where["text"] in text
        assert f"{row.value:g}" in row.where["text"]
    else:
        assert measured_value(json.loads(text), row.where) == row.value, "run `python -m bench.advise_figures`"


def test_the_table_is_refreshed_from_its_sources() -> None:
    text = TABLE.read_text("utf-8")
    assert refreshed(text) == text
    (value,) = [line for line in text.split('[rows."mesh.p50_ms.100k"]\n')[1].splitlines()[:1] if "value" in line]
    assert refreshed(text.replace(value, "value = 1.5")) == text


@pytest.mark.parametrize(("name", "row"), FIGURES.rows.items())
def test_every_row_says_where_it_is_from(name: str, row: Row) -> None:
    assert row.unit
    if row.kind is RowKind.PRICE:
        assert row.source.startswith("https://")
        assert row.date[:2] == "20"
    if row.kind is RowKind.ASSUMED:
        assert row.note


def test_every_row_is_used_and_every_name_is_a_row() -> None:
    named = {cloud.disk_usd_per_gib_month for cloud in FIGURES.clouds.values()}
    named |= {instance.usd_per_hour for cloud in FIGURES.clouds.values() for instance in cloud.instances}
    assert named == {name for name, row in FIGURES.rows.items() if row.kind is RowKind.PRICE}
    used: set[str] = set()
    for patterns in (False, True):
        advice = advise(FIGURES, Question(1_000_000, 50_000, patterns))
        for option in advice.options:
            used |= {*option.store_memory.rows, *option.store_disk.rows}
        used |= set(advice.rows)
    used |= set(size(FIGURES, Demand(1_000_000, 50_000)).rows)
    assert used | named == set(FIGURES.rows)


@given(questions, st.floats(1, 1_000), st.floats(1, 1_000))
def test_more_nodes_or_plans_never_need_less(question: Question, more_nodes: float, more_qps: float) -> None:
    larger = Question(
        int(question.nodes * more_nodes), question.qps * more_qps, question.patterns, question.cloud
    )  # fmt: skip
    try:
        advice = advise(FIGURES, question)
        other = advise(FIGURES, larger)
    except InvalidRequest as error:
        assert "expected a machine" in error.message or "at most" in error.message  # noqa: PT017
        return
    assert other.best.monthly_usd >= advice.best.monthly_usd * (1 - 1e-12)
    for number, greater in zip(advice.numbers, other.numbers, strict=True):
        if number.name not in PRICES and not number.name.startswith("store_"):
            assert greater.value >= number.value, number.name
    by_store = {option.store: option for option in advice.options}
    for option in other.options:
        assert option.monthly_usd >= by_store[option.store].monthly_usd * (1 - 1e-12)
        assert option.store_memory.value >= by_store[option.store].store_memory.value


@given(questions, st.floats(1, 1_000_000))
def test_a_budget_is_kept_or_plainly_missed(question: Question, budget_usd: float) -> None:
    asked = Question(question.nodes, question.qps, question.patterns, question.cloud, budget_usd)
    try:
        advice = advise(FIGURES, asked)
    except InvalidRequest:
        return
    if advice.within_budget:
        assert advice.best.monthly_usd <= budget_usd
        assert advice.qps_within_budget is None
        return
    assert advice.best.monthly_usd > budget_usd
    assert advice.qps_within_budget is not None
    assert advice.qps_within_budget < question.qps
    if advice.qps_within_budget:
        less = Question(question.nodes, advice.qps_within_budget, question.patterns, question.cloud, budget_usd)
        assert advise(FIGURES, less).within_budget


@given(questions)
def test_the_advised_store_is_the_cheapest_that_does_it(question: Question) -> None:
    try:
        advice = advise(FIGURES, question)
    except InvalidRequest:
        return
    assert {option.store for option in advice.options} == set(WITH_PATTERNS if question.patterns else STORES)
    assert advice.best.monthly_usd == min(option.monthly_usd for option in advice.options)
    machines, cores = advice.best.mesh_machines, next(one for one in advice.numbers if one.name == "cores")
    assert machines.count * machines.instance.vcpus >= cores.value
    for number in advice.numbers:
        assert all(row in advice.rows for row in number.rows)
        assert number.how
        if question.nodes > LARGE_NODES and number.name in ("cores", "graph_memory", "latency_p50", "monthly_cost"):
            assert number.kind == "extrapolated"


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        (Question(0, 1), "expected nodes above 0"),
        (Question(NODES_MAX + 1, 1), "expected nodes above 0 and at most"),
        (Question(1, 0), "expected qps above 0"),
        (Question(1, float("nan")), "expected qps above 0"),
        (Question(1, QPS_MAX * 2), "expected qps above 0 and at most"),
        (Question(1, 1, budget_usd=0), "expected a budget above 0"),
        (Question(1, 1, cloud="mars"), "expected a cloud with prices in the table, aws, gcp; got 'mars'"),
        (Question(NODES_MAX, 1, patterns=True), "expected a machine of aws in the table that holds a store"),
    ],
)
def test_what_cannot_be_advised_is_refused(question: Question, complaint: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        advise(FIGURES, question)
    assert complaint in refused.value.message


def test_the_command_and_its_json() -> None:
    value = json.loads(run_planmesh("advise", "--nodes", "10000000", "--qps", "50000", "--json").stdout)
    assert list(value) == ADVICE_FIELDS
    assert (value["nodes"], value["qps"], value["cloud"], value["within_budget"]) == (10_000_000, 50_000, "aws", None)
    for number in value["numbers"]:
        assert list(number) == NUMBER_FIELDS
        assert all(row in value["rows"] for row in number["rows"])
    assert all(list(option) == OPTION_FIELDS for option in value["options"])
    assert value["monthly_usd"] > 0
    printed = run_planmesh("advise", "--nodes", "10000000", "--qps", "50000").stdout
    assert printed.startswith(f"advised: the store {value['store']}, ")
    assert all(name in printed for name in value["rows"])
    assert all(text in printed for text in value["assumptions"])


def test_the_command_beyond_a_budget_and_with_an_unknown_cloud() -> None:
    asked = ("advise", "--nodes", "10000000", "--qps", "50000")
    result = run_planmesh(*asked, "--patterns", "--budget", "2000", code=1)
    assert "not within the budget of 2,000 USD per month: it pays for " in result.stdout
    value = json.loads(run_planmesh(*asked, "--budget", "1", "--json", code=1).stdout)
    assert (value["within_budget"], value["qps_within_budget"]) == (False, 0.0)
    refused = run_planmesh(*asked, "--cloud", "mars", "--json", code=1)
    assert "aws, gcp" in json.loads(refused.stdout)["error"]["message"]
    assert run_planmesh("advise", "--nodes", "0", "--qps", "1", code=2).stdout == ""


def test_the_page_names_every_field() -> None:
    page = (ROOT / "docs" / "reference" / "cli-json.md").read_text()
    for field in (*ADVICE_FIELDS, *NUMBER_FIELDS, *OPTION_FIELDS):
        assert f"`{field}`" in page, field
