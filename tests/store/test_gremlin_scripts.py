"""Traversals as scripts: the text depends only on the shape and never contains a value."""

from __future__ import annotations

import pytest

from planmesh.errors import InternalError
from planmesh.store.gremlin.dialects import DIALECTS
from planmesh.store.gremlin.options import DialectName, GremlinOptions
from planmesh.store.gremlin.packing import cut
from planmesh.store.gremlin.scripts import to_script
from planmesh.store.gremlin.traversals import Traversals
from planmesh.store.protocol import Direction

EVIL = "'); g.V().drop(); //"


@pytest.fixture
def traversals() -> Traversals:
    return Traversals(GremlinOptions(dialect=DialectName.COSMOSDB), DIALECTS[DialectName.COSMOSDB])


def test_values_are_bindings(traversals: Traversals) -> None:
    plain = to_script(traversals.put_node("a", "d", "r"))
    evil = to_script(traversals.put_node(EVIL, EVIL, EVIL))
    assert plain.text == evil.text
    assert "drop" not in evil.text
    assert EVIL in evil.bindings.values()
    assert plain.text == (
        "g.V().has(b0,b1,b2).fold().coalesce(__.unfold(),__.addV(b3).property(b4,b5).property(b6,b7))"
        ".property(single,b8,b9).property(single,b10,b11).count()"
    )


def test_every_traversal_of_a_server_without_merge_steps_is_a_constant_script(traversals: Traversals) -> None:
    for one, other in (
        (
            traversals.put_edge("a", "b", 1.0, cheaper_only=True),
            traversals.put_edge(EVIL, EVIL, 2.5, cheaper_only=True),
        ),
        (traversals.ring(["a", "b"], Direction.BOTH), traversals.ring([EVIL, EVIL], Direction.BOTH)),
        (traversals.delete_edges([("a", "b")], "1"), traversals.delete_edges([(EVIL, EVIL)], EVIL)),
        (traversals.lock("t", 1.0, 2.0), traversals.lock(EVIL, 3.0, 4.0)),
        (traversals.make_meta("r"), traversals.make_meta(EVIL)),
    ):
        assert to_script(one).text == to_script(other).text


def test_an_argument_without_a_form_as_a_script_is_a_defect(traversals: Traversals) -> None:
    with pytest.raises(InternalError, match="list"):
        to_script(traversals.merge_nodes([("a", "", "")], "r"))


def test_rows_are_cut_by_number_and_by_size() -> None:
    rows = [("x" * 100, "", "")] * 10
    assert [len(batch) for batch in cut(rows, 100, 4, 1_000_000)] == [4, 4, 2]
    assert [len(batch) for batch in cut(rows, 100, 100, 1_500 + 650)] == [3, 3, 3, 1]
    assert [len(batch) for batch in cut(rows, 100, 100, 1_500)] == [1] * 10
    assert list(cut([], 100, 4, 1_000)) == []
