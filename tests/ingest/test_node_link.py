"""Node-link JSON: attributes, flags, and refusals with their line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planmesh.ingest import node_link

Read = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]
Refusal = Callable[..., dict[str, str]]


def document(**changes: Any) -> dict[str, Any]:
    return {
        "directed": True,
        "multigraph": False,
        "graph": {},
        "nodes": [{"id": "a", "domain": "x"}, {"id": 7, "region": "eu", "domain": None}],
        "edges": [{"source": "a", "target": 7, "cost": 3}, {"source": 7, "target": "a"}],
        **changes,
    }


def test_nodes_edges_and_labels(read: Read, write: Write) -> None:
    for name in ("g.json", "g.json.gz"):
        graph = read(write(name, json.dumps(document())))
        assert (graph.ids, graph.domains, graph.regions) == (["a", "7"], ["x", ""], ["", "eu"])
        assert graph.edges == [("a", "7", 3.0), ("7", "a", 1.0)]
        assert (graph.undirected, graph.implicit_nodes) == (False, False)


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
@pytest.mark.parametrize("key", ["edges", "links"])
def test_output_of_networkx_is_read(read: Read, write: Write, kind: Callable[[], Any], key: str) -> None:
    made = kind()
    made.add_edge("a", 1, cost=2.5)
    made.add_edge(1, "ü", cost=1)
    made.add_edge(1, "ü", cost=4)
    made.add_node("alone", domain="d")
    graph = read(write("g.json", json.dumps(nx.node_link_data(made, edges=key), indent=1)))
    assert graph.undirected is not made.is_directed()
    assert graph.ids == ["a", "1", "ü", "alone"]
    assert graph.domains == ["", "", "", "d"]
    assert sorted(graph.edges) == sorted((str(u), str(v), float(c)) for u, v, c in made.edges(data="cost"))


def test_other_names(read: Read, write: Write) -> None:
    content = document(nodes=[{"name": "a", "zone": 3}], edges=[{"from": "a", "to": "a", "ms": 0.5}])
    path = write("g.json", json.dumps(content))
    graph = read(path, id="name", source="from", target="to", cost="ms", region="zone")
    assert (graph.ids, graph.regions, graph.edges) == (["a"], ["3"], [("a", "a", 0.5)])


def test_without_flags_it_is_undirected_as_in_networkx(read: Read, write: Write) -> None:
    assert read(write("g.json", '{"nodes": [], "links": []}')).undirected is True


@pytest.mark.parametrize(
    ("changes", "record", "field", "says"),
    [
        ({"nodes": [{"id": "a"}, {"name": "b"}]}, "nodes[1]", "id", "'name'"),
        ({"nodes": [{"id": "a"}, {"id": "a"}]}, "nodes[1]", "id", "'a' again"),
        ({"nodes": [{"id": "1"}, {"id": 1}]}, "nodes[1]", "id", "'1' again"),
        ({"nodes": [{"id": True}]}, "nodes[0]", "id", "got True"),
        ({"nodes": [{"id": None}]}, "nodes[0]", "id", "got None"),
        ({"nodes": [{"id": ["a", 1]}]}, "nodes[0]", "id", "got ['a', 1]"),
        ({"nodes": [{"id": ""}]}, "nodes[0]", "id", "not empty"),
        ({"nodes": [{"id": "a", "domain": {}}]}, "nodes[0]", "domain", "got {}"),
        ({"nodes": ["a"]}, "nodes[0]", "nodes", "expected an object, got 'a'"),
        ({"nodes": {}}, "", "nodes", "expected a list"),
        ({"edges": [{"source": "a", "target": "b"}]}, "edges[0]", "target", "no node has the id 'b'"),
        ({"edges": [{"source": "a"}]}, "edges[0]", "target", "'source'"),
        ({"edges": [{"source": "a", "target": 7, "cost": "1"}]}, "edges[0]", "cost", "got '1'"),
        ({"edges": [{"source": "a", "target": 7, "cost": True}]}, "edges[0]", "cost", "got True"),
        ({"edges": [{"source": "a", "target": 7, "cost": None}]}, "edges[0]", "cost", "got None"),
        ({"edges": [{"source": "a", "target": 7, "cost": -2}]}, "edges[0]", "cost", "-2.0"),
        ({"links": []}, "", "edges", "edges and links"),
        ({"directed": "yes"}, "", "directed", "true or false"),
    ],
)
def test_a_bad_record_is_refused_with_its_line(
    refusal: Refusal, write: Write, changes: dict[str, Any], record: str, field: str, says: str
) -> None:
    base = document(nodes=[{"id": "a"}, {"id": 7}])
    got = refusal(write("g.json", json.dumps({**base, **changes}, indent=1)))
    assert got["record"].startswith("line ") == bool(record)
    got["record"] = got["record"].rpartition(", ")[2]
    assert (got["source"], got["record"], got["field"]) == ("g.json", record, field)
    assert says in got["message"]


@pytest.mark.parametrize(
    ("text", "record", "field"),
    [
        ("", "line 1", ""),
        ("[]", "line 1", "nodes"),
        ('{"nodes": [\n{"id": "a"},\n{"id": b}]}', "line 3", "id"),
        ('{"nodes": [],\n"edges": [{"source": "a", "target": "b",\n"cost": NaN}]}', "line 3", "cost"),
        ('{"nodes": [],\n"edges": [{"source": "a", "target": "b",\n"cost": Infinity}]}', "line 3", "cost"),
        ('{"nodes": [\n{"id": "a"', "line 2", ""),
    ],
)
def test_broken_json_is_refused_with_its_line(
    refusal: Refusal, write: Write, text: str, record: str, field: str
) -> None:
    got = refusal(write("g.json", text))
    assert (got["source"], got["record"], got["field"]) == ("g.json", record, field)


def test_json_with_invalid_utf_8_is_refused(refusal: Refusal, write: Write) -> None:
    got = refusal(write("g.json", b'{"nodes": [{"id": "\xe4"}], "edges": []}'))
    assert "invalid JSON" in got["message"]


def test_a_named_attribute_that_is_missing(refusal: Refusal, write: Write) -> None:
    path = write("g.json", json.dumps(document()))
    got = refusal(path, cost="latency_ms")
    assert got["field"] == "latency_ms"
    assert "'cost', 'source', 'target'" in got["message"]
    assert refusal(path, domain="section")["field"] == "section"
    got = refusal(path, cost="cost")  # the second edge has none
    assert got["record"] == "line 1, edges[1]"


def test_a_file_over_the_bound(refusal: Refusal, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_link, "JSON_BYTES_MAX", 100)
    assert "at most 100 bytes" in refusal(write("g.json", json.dumps(document())))["message"]


JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(max_size=3), JSON_VALUE, max_size=3), min_size=1, max_size=6), st.booleans())
def test_the_line_of_a_record_is_exact(records: list[dict[str, Any]], indented: bool) -> None:
    content = {"graph": {"nodes": [1, 2]}, "list": [[{"nodes": []}]], "nodes": records, "edges": []}
    text = json.dumps(content, indent=1 if indented else None).encode()
    lines = text.decode().split("\n")
    begins = (
        [number for number, line in enumerate(lines, 1) if line.startswith("  {")] if indented else [1] * len(records)
    )
    for index in range(len(records)):
        assert node_link.line_of_record(text, "nodes", index) == begins[index]
