"""`planmesh update`, and plans at a version and around what they avoid, against a gateway of the test's choice."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from planmesh import errors
from planmesh.cli import update_command
from planmesh.cli.options import edges_of
from planmesh.cli.update_lines import ChangeFile
from planmesh.client.update_requests import CHANGES_PER_BATCH_MAX
from tests.conftest import ROOT, run_planmesh

UPDATE_FIELDS = ["graph", "version", "applied", "batches"]

LINES = "".join(json.dumps({"op": "delete_node", "id": str(number)}) + "\n" for number in range(5))


async def run(stage: Any, *arguments: str, stdin: str = "", code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own against the stage's gateway."""
    environment = {"PLANMESH_ADDRESS": stage.address}
    return await asyncio.to_thread(run_planmesh, *arguments, stdin=stdin, code=code, environment=environment)


def test_the_bound_is_the_clients() -> None:
    assert update_command.CHANGES_PER_BATCH_MAX == CHANGES_PER_BATCH_MAX


def test_the_page_documents_every_field() -> None:
    section = (ROOT / "docs" / "reference" / "cli-json.md").read_text().split("\n## update\n")[1].split("\n## ")[0]
    assert all(f"`{name}`" in section for name in UPDATE_FIELDS)


async def test_one_batch(stage: Any, tmp_path: Path) -> None:
    file = tmp_path / "changes.jsonl"
    file.write_text(LINES)
    options = ("--graph", "g", "--if-version", "4", "--key", "k", "--ignore-missing")
    printed = (await run(stage, "update", str(file), *options, "--json")).stdout
    assert printed.count("\n") == 1
    found = json.loads(printed)
    assert list(found) == UPDATE_FIELDS
    assert found == {"graph": "g", "version": 5, "applied": 5, "batches": 1}
    (request,) = stage.gateway.requests
    assert [change.delete_node.id for change in request.changes] == list("01234")
    assert (request.graph, request.if_version, request.idempotency_key) == ("g", 4, "k")
    assert request.ignore_missing


async def test_several_batches_from_standard_input(stage: Any) -> None:
    result = await run(stage, "update", "-", "--batch", "2", "--if-version", "4", "--key", "k", stdin=LINES)
    assert result.stdout == "applied 5 changes to default in 3 batches: version 5\n"
    assert result.stderr == ""
    requests = stage.gateway.requests
    assert [len(request.changes) for request in requests] == [2, 2, 1]
    assert [request.HasField("if_version") for request in requests] == [True, False, False]
    assert [request.idempotency_key for request in requests] == ["k-1", "k-2", "k-3"]


async def test_a_bad_line_is_refused_before_anything_of_its_batch_is_sent(stage: Any) -> None:
    result = await run(stage, "update", "-", stdin=LINES + '{"op": "delete_node"}\n', code=1)
    assert result.stdout == ""
    assert result.stderr == (
        "error: standard input, line 6, field id: expected a text, got none; delete_node needs id\n"
    )
    assert stage.gateway.requests == []
    result = await run(stage, "update", "-", "--batch", "2", "--json", stdin=LINES + "{}\n", code=1)
    error = json.loads(result.stdout)["error"]
    assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "INVALID_CHANGE")
    assert error["message"].endswith("; 2 earlier batches stayed applied, up to version 5")
    assert error["metadata"] == {
        **{"source": "standard input", "record": "line 6", "field": "op"},
        **{"batches": "2", "version": "5"},
    }
    assert len(stage.gateway.requests) == 2


async def test_a_refusal_of_the_server_names_the_line(stage: Any) -> None:
    def refuse_third(request: Any) -> None:
        if request.changes[0].delete_node.id == "2":
            raise errors.ChangeTargetUnknown(
                "expected a node, got '3', which is none", change=1, field="delete_node.id"
            )

    stage.gateway.before = refuse_third
    result = await run(stage, "update", "-", "--batch", "2", "--json", stdin="\n" + LINES, code=1)
    error = json.loads(result.stdout)["error"]
    assert (error["code"], error["reason"]) == ("NOT_FOUND", "CHANGE_TARGET_UNKNOWN")
    assert error["message"] == (
        "standard input, line 5, field id: expected a node, got '3', which is none; "
        "1 earlier batch stayed applied, up to version 5"
    )
    assert (error["metadata"]["record"], error["metadata"]["change"]) == ("line 5", "1")


async def test_another_version_is_a_conflict_that_names_it(stage: Any) -> None:
    def refuse(request: Any) -> None:
        raise errors.VersionConflict("expected version 4, got 7", version="7")

    stage.gateway.before = refuse
    error = json.loads((await run(stage, "update", "-", "--json", stdin=LINES, code=1)).stdout)["error"]
    assert (error["code"], error["reason"], error["metadata"]["version"]) == ("ABORTED", "VERSION_CONFLICT", "7")


@pytest.mark.parametrize("arguments", [("--batch", "0"), ("--batch", "10001"), ("--if-version", "-1"), ("--cost", "1")])
def test_usage_errors(arguments: tuple[str, ...]) -> None:
    result = run_planmesh("update", "-", *arguments, code=2)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_terminal_shows_the_progress(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(update_command, "error_console", lambda: Console(file=shown, force_terminal=True))
    file = tmp_path / "changes.jsonl"
    file.write_text(LINES)
    with ChangeFile(str(file)) as opened, update_command._progress(opened) as show:
        for batch in opened.batches(10_000, several=False):
            show(1_000 * len(batch.changes))
    assert "5,000 changes" in shown.getvalue()


async def test_plans_take_versions_and_what_they_avoid(stage: Any) -> None:
    options = (
        *("--min-version", "3", "--at-version", "4", "--avoid-node", "x", "--avoid-node", "y"),
        *("--avoid-edge", "a:b", "--avoid-edge", '["c:1", "d"]'),
    )
    await run(stage, "plan", "a", "c", *options)
    await run(stage, "plan", "--pairs", "-", *options, stdin="a\tc\n")
    for request in stage.gateway.requests:
        assert (request.min_version, request.at_version) == (3, 4)
        assert list(request.avoid.nodes) == ["x", "y"]
        assert [(edge.start, edge.goal) for edge in request.avoid.edges] == [("a", "b"), ("c:1", "d")]
    assert len(stage.gateway.requests) == 2
    shown = (await run(stage, "plan", "a", "c", "--explain")).stdout
    assert "unmerged changes 12; opened partitions 2" in shown


async def test_all_questions_take_versions(stage: Any) -> None:
    options = ("--min-version", "3", "--at-version", "4")
    for command in (("matrix", "a", "c"), ("neighbors", "a"), ("reach", "a"), ("blast", "x")):
        await run(stage, *command, *options)
    asked = stage.gateway.requests
    assert [(request.min_version, request.at_version) for request in asked] == [(3, 4)] * 4


async def test_options_of_paths_reach_the_server(stage: Any) -> None:
    await run(stage, "plan", "a", "c", "--via", "v", "--via", "w", "--max-cost", "9.5", "--avoid-partition", "p")
    await run(stage, "plan", "a", "c", "--alternatives", "3", "--max-overlap", "0.5")
    via, ranked = stage.gateway.requests
    assert (list(via.waypoints), via.max_cost, list(via.avoid.partitions)) == (["v", "w"], 9.5, ["p"])
    assert (ranked.alternatives, ranked.max_overlap) == (3, 0.5)
    assert not ranked.HasField("max_cost")
    assert not via.HasField("max_overlap")


@pytest.mark.parametrize(
    ("text", "edge"),
    [("a:b", ("a", "b")), ('["a:1","b"]', ("a:1", "b")), ("[a:b]", ("[a", "b]")), (" a: b", (" a", " b"))],
)
def test_an_avoided_edge_is_two_ids(text: str, edge: tuple[str, str]) -> None:
    assert edges_of([text]) == [edge]


@pytest.mark.parametrize(
    "text", ["a", "a:", ":b", "a:b:c", "a::b", "", '["a"]', '["a","b","c"]', '["a",1]', '["a",""]']
)
def test_a_text_that_names_no_edge_is_a_usage_error(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected A:B, or"):
        edges_of([text])


def test_an_edge_that_is_none_is_refused_before_anything_is_sent() -> None:
    result = run_planmesh("plan", "a", "b", "--avoid-edge", "a:b:c", code=2)
    assert result.stdout == ""
    assert "--avoid-edge" in result.stderr


async def test_the_status_shows_what_is_not_merged_yet(stage: Any) -> None:
    graph = json.loads((await run(stage, "status", "--json")).stdout)["graphs"][0]
    assert (graph["version"], graph["base_version"], graph["unmerged_changes"]) == (5, 3, 1_200)
    shown = (await run(stage, "status")).stdout
    assert "graph\tversion\tbase version\tunmerged changes\tstate" in shown
    assert "default\t5\t3\t1,200\t" in shown
