"""GraphML: attributes, defaults, entities, and refusals with their line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

Read = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]
Refusal = Callable[..., dict[str, str]]

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="d0" for="node" attr.name="region" attr.type="string"><default>eu</default></key>
<key id="d1" for="edge" attr.name="cost" attr.type="double"/>
<key id="d2" for="node" attr.name="label" attr.type="string"/>
"""
GRAPH = """<graph id="G" edgedefault="directed">
<node id="n0"><data key="d2">Köln</data></node>
<node id="n1"><data key="d0">asia</data><data key="d2">東京</data></node>
<edge source="n0" target="n1"><data key="d1">2.5</data></edge>
</graph>
</graphml>
"""


def test_attributes_defaults_and_names(read: Read, write: Write) -> None:
    for name in ("g.graphml", "g.graphml.gz"):
        graph = read(write(name, HEAD + GRAPH))
        assert (graph.ids, graph.regions, graph.edges) == (["n0", "n1"], ["eu", "asia"], [("n0", "n1", 2.5)])
        assert graph.undirected is False
    graph = read(write("g.graphml", HEAD + GRAPH), id="label")
    assert (graph.ids, graph.edges) == (["Köln", "東京"], [("Köln", "東京", 2.5)])


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph])
def test_output_of_networkx_is_read(read: Read, tmp_path: Path, kind: Callable[[], Any]) -> None:
    made = kind()
    made.add_edge("a & b", "<c>", cost=2.5)
    made.add_edge("<c>", 7, cost=1)
    made.add_edge("<c>", 7, cost=1)
    made.nodes["<c>"]["domain"] = "d"
    path = tmp_path / "g.graphml"
    nx.write_graphml(made, path)
    graph = read(path)
    assert graph.undirected is not made.is_directed()
    assert (graph.ids, graph.domains) == (["a & b", "<c>", "7"], ["", "d", ""])
    assert sorted(graph.edges) == sorted((str(u), str(v), float(c)) for u, v, c in made.edges(data="cost"))


def test_edges_may_come_before_nodes(read: Read, write: Write) -> None:
    text = (
        HEAD
        + '<graph edgedefault="undirected"><edge source="b" target="a"/><node id="a"/><node id="b"/></graph></graphml>'
    )
    graph = read(write("g.graphml", text))
    assert (graph.ids, graph.edges, graph.undirected) == (["a", "b"], [("b", "a", 1.0)], True)


@pytest.mark.parametrize(
    ("old", "new", "record", "field", "says"),
    [
        ("</graphml>", "", "line 12", "", "invalid XML"),
        ("2.5", "x", "line 9", "cost", "expected a number (double), got 'x'"),
        ("2.5", "-1", "line 9", "cost", "-1.0"),
        ("2.5", "nan", "line 9", "cost", "nan"),
        ('key="d1"', 'key="d9"', "line 9", "d9", "<key>"),
        ('id="n1"', 'id="n0"', "line 8", "id", "'n0' again"),
        ('id="n1"', 'name="n1"', "line 8", "id", "'id'"),
        ('target="n1"', 'target="n2"', "line 9", "target", "no node has the id 'n2'"),
        ('target="n1"', "", "line 9", "target", "'target'"),
        ('target="n1"', 'target="n1" directed="false"', "line 9", "directed", "edgedefault"),
        ('edgedefault="directed"', 'edgedefault="both"', "line 6", "edgedefault", "'both'"),
        ("</graph>", '</graph><graph edgedefault="directed"/>', "line 10", "graph", "one graph"),
        ('<node id="n0">', '<node id="n0"><graph edgedefault="directed"/>', "line 7", "graph", "one graph"),
        ('<node id="n0">', '<hyperedge/><node id="n0">', "line 7", "hyperedge", "not supported"),
        ("<graphml ", "<!DOCTYPE graphml [<!ENTITY a 'b'>]><graphml ", "line 2", "", "no document type"),
    ],
)
def test_errors_are_refused_with_their_line(
    refusal: Refusal, write: Write, old: str, new: str, record: str, field: str, says: str
) -> None:
    got = refusal(write("g.graphml", (HEAD + GRAPH).replace(old, new, 1)))
    assert (got["source"], got["record"], got["field"]) == ("g.graphml", record, field)
    assert says in got["message"]


def test_a_default_for_nodes_does_not_apply_to_edges(read: Read, write: Write) -> None:
    key = '<key id="d5" for="node" attr.name="cost" attr.type="int"><default>9</default></key>'
    graph = read(write("g.graphml", (HEAD + key + GRAPH).replace('<data key="d1">2.5</data>', "")))
    assert graph.edges == [("n0", "n1", 1.0)]


def test_a_line_far_down_is_exact(refusal: Refusal, write: Write) -> None:
    nodes = "".join(f'<node id="x{number}"/>\n' for number in range(100_000))
    got = refusal(write("g.graphml", (HEAD + GRAPH).replace('<node id="n0">', nodes + '<node id="x7">')))
    assert got["record"] == "line 100007"


@pytest.mark.parametrize("text", ["", "<svg/>", "<graphml/>", "not xml", "<:graphml></graphml>", "<:graphml/>"])
def test_other_documents_are_refused(refusal: Refusal, write: Write, text: str) -> None:
    assert refusal(write("g.graphml", text))["record"] == "line 1"


def test_external_entities_are_not_read(refusal: Refusal, write: Write, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret", "utf-8")
    text = f'<!DOCTYPE graphml [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>\n' + HEAD.split("\n", 1)[1] + GRAPH
    got = refusal(write("g.graphml", text.replace("Köln", "&x;")))
    assert "secret" not in got["message"]
    assert "document type" in got["message"]


def test_entities_are_not_expanded(refusal: Refusal, write: Write) -> None:
    entities = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    text = f"<!DOCTYPE graphml [{entities}]>\n<graphml>&a9;</graphml>"
    assert refusal(write("g.graphml", text))["source"] == "g.graphml"
