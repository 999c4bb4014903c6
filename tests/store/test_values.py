"""Values that databases return, as rows and as JSON, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from neo4j.spatial import CartesianPoint
from neo4j.time import Date, Duration

from planmesh.errors import InvalidGraph
from planmesh.store.gremlin.reading import edge_rows, node_rows
from planmesh.store.neo4j.patterns import json_value


def test_cypher_values_as_json() -> None:
    value = {
        "list": [1, 2.5, None, True, ("a", b"\x01\xff")],
        "date": Date(2026, 11, 26),
        "duration": Duration(days=1),
        "point": CartesianPoint((1.0, 2.0)),
        "other": frozenset([3]),
    }
    shown = json_value(value)
    assert shown["list"] == [1, 2.5, None, True, ["a", "01ff"]]
    assert (shown["date"], shown["duration"]) == ("2026-11-26", "P1D")
    assert shown["point"] == {"srid": 7203, "coordinates": [1.0, 2.0]}
    assert shown["other"] == "frozenset({3})"
    json.dumps(shown)


def test_vertices_as_rows() -> None:
    rows = node_rows([{"i": "a", "d": "", "r": "eu"}, {"i": "b", "d": "x", "r": ""}], "domain", "region", "id", "s", 1)
    assert (rows.ids, rows.domains, rows.regions) == (["a", "b"], ["", "x"], ["eu", ""])


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"i": "", "d": "", "r": ""}, "expected a text as id, got none"),
        ({"i": 7, "d": "", "r": ""}, "expected a text as id, got int 7"),
        ({"i": "b", "d": 1.5, "r": ""}, "expected a text as domain, got float 1.5"),
        ({"i": "b", "d": "", "r": None}, "expected a text as region, got none"),
    ],
)
def test_a_bad_vertex_is_named_by_its_row(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidGraph, match=says) as raised:
        node_rows([{"i": "a", "d": "", "r": ""}, bad], "domain", "region", "id", "gremlin://host", 101)
    assert raised.value.metadata["record"] == "row 102"


@pytest.mark.parametrize("bad", [None, True, "1.0"])
def test_a_bad_cost_is_named_by_its_edge(bad: object) -> None:
    good = {"s": "a", "t": "b", "c": 2}
    assert edge_rows([good], "cost", "id", "s", 1).costs.tolist() == [2.0]
    with pytest.raises(InvalidGraph, match="the edge from 'b' to 'c': expected a number as property cost") as raised:
        edge_rows([good, {"s": "b", "t": "c", "c": bad}], "cost", "id", "gremlin://host", 1)
    assert raised.value.metadata["record"] == "row 2"
