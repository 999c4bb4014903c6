"""DIMACS files: nodes, edges, and refusals with their line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Read = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]
Refusal = Callable[..., dict[str, str]]

ARCS = "c a comment\np sp 4 3\nc\na 1 2 803\na 2 1 803\n\nc between\na 3 4 0\n"
VERTICES = "c x\np aux sp co 4\nv 1 -73530767 41085396\nv 2 -1 2\nv 3 0 0\nv 4 1 1\n"


@pytest.mark.parametrize(
    "text", [ARCS, ARCS.replace("\n", "\r\n"), ARCS.removesuffix("\n"), ARCS.replace("a 1 ", "a  1 ")]
)
def test_edges_and_stated_nodes(read: Read, write: Write, text: str) -> None:
    for name in ("x.gr", "x.gr.gz"):
        graph = read(write(name, text))
        assert graph.ids == ["1", "2", "3", "4"]
        assert graph.edges == [("1", "2", 803.0), ("2", "1", 803.0), ("3", "4", 0.0)]
        assert graph.edge_places == ["line 4", "line 5", "line 8"]
        assert (graph.undirected, graph.implicit_nodes) == (False, False)


def test_nodes_from_coordinates(read: Read, write: Write) -> None:
    graph = read(write("x.gr", ARCS), write("x.co.gz", VERTICES))
    assert graph.ids == ["1", "2", "3", "4"]
    assert graph.node_places == ["line 3", "line 4", "line 5", "line 6"]


def test_a_cost_with_a_fraction(read: Read, write: Write) -> None:
    assert read(write("x.gr", "p sp 2 2\na 1 2 0.5\na 2 1 1e3\n")).edges == [("1", "2", 0.5), ("2", "1", 1000.0)]


@pytest.mark.parametrize(
    ("text", "record", "field", "says"),
    [
        ("", "line 1", "", "`p sp NODES ARCS`"),
        ("c only\n", "line 1", "", "`p sp NODES ARCS`"),
        ("a 1 2 3\n", "line 1", "", "before the first arc"),
        ("p sp 2\n", "line 1", "", "2 counts"),
        ("p tw 2 1\n", "line 1", "", "`p sp`"),
        ("p sp 2 1\np sp 2 1\n", "line 2", "", "another"),
        ("p sp 2 1\na 1 3 5\n", "line 2", "target", "from 1 to 2"),
        ("p sp 2 1\na 0 1 5\n", "line 2", "source", "got 0"),
        ("p sp 2 1\na 1 2 -5\n", "line 2", "cost", "-5.0"),
        ("p sp 2 1\na 1 2 nan\n", "line 2", "cost", "nan"),
        ("p sp 2 1\na 1 2\n", "line 2", "", "`a TAIL HEAD COST`"),
        ("p sp 2 1\na 1 2 3 4\n", "line 2", "", "`a TAIL HEAD COST`"),
        ("p sp 2 1\na 1 b 3\n", "line 2", "", "`a TAIL HEAD COST`"),
        ("p sp 2 1\na 1 99999999999999999999 3\n", "line 2", "", "`a TAIL HEAD COST`"),
        ("p sp 2 1\nb 1 2 3\n", "line 2", "", "`a TAIL HEAD COST`"),
        ("p sp 2 2\na 1 2 3\n", "", "", "expected 2 arcs"),
        ("p sp 99999999999 1\na 1 2 3\n", "line 1", "", "at most"),
        ("p sp 2 1\n" + "a" * 3_000_000, "line 2", "", "lines of at most"),
    ],
)
def test_bad_edges_are_refused(refusal: Refusal, write: Write, text: str, record: str, field: str, says: str) -> None:
    got = refusal(write("x.gr", text))
    assert (got["source"], got["record"], got["field"]) == ("x.gr", record, field)
    assert says in got["message"]


@pytest.mark.parametrize(
    ("text", "record", "says"),
    [
        ("v 1 2 3\n", "line 1", "before the first node"),
        ("p aux sp co 1\nv 2 0 0\n", "line 2", "from 1 to 1"),
        ("p aux sp co 1\nx\n", "line 2", "`v NODE X Y`"),
        ("p aux sp co 2\nv 1 0 0\n", "", "expected 2 nodes"),
        ("", "line 1", "`p aux sp co NODES`"),
    ],
)
def test_bad_nodes_are_refused(refusal: Refusal, write: Write, text: str, record: str, says: str) -> None:
    got = refusal(write("x.gr", ARCS), write("x.co", text))
    assert (got["source"], got["record"]) == ("x.co", record)
    assert says in got["message"]


def test_named_columns_are_refused(refusal: Refusal, write: Write) -> None:
    assert "format prescribes it" in refusal(write("x.gr", ARCS), cost="length")["message"]
