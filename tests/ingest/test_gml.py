"""GML: attributes, labels as ids, and refusals with their line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

Read = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]
Refusal = Callable[..., dict[str, str]]

TEXT = """# comment
Creator "me"
graph [
  label "net"
  node [ id 0 label "K&#246;ln" region "eu" graphics [ x 1.5 y -2. ] ]
  node [
    id 1
    label "Bonn"
  ]
  edge [ source 0 target 1 cost 2.5 ]
  edge [ source 0 target 1 cost 3e0 ]
]
"""


def test_attributes_and_parallel_edges(read: Read, write: Write) -> None:
    for name in ("g.gml", "g.gml.gz"):
        graph = read(write(name, TEXT))
        assert (graph.ids, graph.regions) == (["0", "1"], ["eu", ""])
        assert graph.edges == [("0", "1", 2.5), ("0", "1", 3.0)]
        assert graph.undirected is True


def test_labels_as_ids(read: Read, write: Write) -> None:
    graph = read(write("g.gml", TEXT), id="label")
    assert (graph.ids, graph.edges[0]) == (["Köln", "Bonn"], ("Köln", "Bonn", 2.5))


def test_labels_that_are_not_unique(refusal: Refusal, write: Write) -> None:
    got = refusal(write("g.gml", TEXT.replace("K&#246;ln", "Bonn")), id="label")
    assert (got["record"], got["field"]) == ("line 6", "label")
    assert "'Bonn' again" in got["message"]


def test_output_of_networkx_is_read(read: Read, tmp_path: Path) -> None:
    made = nx.MultiDiGraph()
    made.add_edge('a "q" ü', "b", cost=2.5)
    made.add_edge("b", 'a "q" ü', cost=1)
    path = tmp_path / "g.gml"
    nx.write_gml(made, path)
    graph = read(path, id="label")
    assert graph.undirected is False
    assert graph.ids == ['a "q" ü', "b"]
    assert graph.edges == [('a "q" ü', "b", 2.5), ("b", 'a "q" ü', 1.0)]


@pytest.mark.parametrize(
    ("old", "new", "record", "field", "says"),
    [
        ("2.5", '"2.5"', "line 10", "cost", "got '2.5'"),
        ("2.5", "-2.5", "line 10", "cost", "-2.5"),
        ("2.5", "+INF", "line 10", "cost", "inf"),
        ("2.5", "+NAN", "line 10", "cost", "nan"),
        ("target 1", "target 2", "line 10", "target", "no node has the id '2'"),
        ("source 0 ", "", "line 10", "source", "'source'"),
        ("id 1", "id 0", "line 6", "id", "'0' again"),
        ("id 1", "", "line 6", "id", "'id'"),
        ("id 1", "id [ ]", "line 6", "id", "as an id"),
        ("cost 3e0 ]\n]", "cost 3e0 ]\n", "line 11", "", "truncated"),
        ("cost 3e0 ]\n]", "cost 3e0 ]\n]\n]", "line 13", "", "unexpected closing bracket"),
        ("id 1", "id $", "line 7", "", "a key, a number"),
        ("id 1", "id " + "9" * 5_000, "line 7", "", "a key, a number"),
        ("id 1", "id id", "line 7", "id", "a value, got 'id'"),
        ("id 1", "1 1", "line 7", "", "a key, got '1'"),
        ("graph [", "tree [", "line 1", "graph", "got 0"),
        ('label "net"', "directed 2", "line 3", "directed", "0 or 1"),
        ('label "net"', "node 5", "line 3", "node", "`node [ ... ]`"),
        ('label "net"', "a [ " * 40, "line 4", "", "lists nested at most"),
    ],
)
def test_errors_are_refused_with_their_line(
    refusal: Refusal, write: Write, old: str, new: str, record: str, field: str, says: str
) -> None:
    got = refusal(write("g.gml", TEXT.replace(old, new, 1)))
    assert (got["source"], got["record"], got["field"]) == ("g.gml", record, field)
    assert says in got["message"]


def test_invalid_utf_8_is_refused(refusal: Refusal, write: Write) -> None:
    got = refusal(write("g.gml", TEXT.replace("Bonn", "K\xf6ln").encode("latin-1")))
    assert got["record"] == "line 8"
