"""Records with attributes, without a file format around them."""

from __future__ import annotations

from typing import Any

import pytest

from planmesh.errors import InvalidGraph
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.ingest import Columns
from planmesh.ingest import records as records_module
from planmesh.ingest.records import ATTRIBUTES_NAMED_MAX, RecordReader


def reader(**columns: str) -> RecordReader:
    return RecordReader("g.json", Columns.named(**columns), lambda kind, index: f"{kind}[{index}]")


def nodes_of(records: list[dict[str, Any]], **columns: str) -> list[NodeRows]:
    return list(reader(**columns).node_batches(records))


def edges_of(records: list[dict[str, Any]], **columns: str) -> list[EdgeRows]:
    source = reader(**columns)
    source.known |= {"a", "b"}
    return list(source.edge_batches(records))


def test_batches_continue_the_numbers_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "ROWS_PER_BATCH_MAX", 2)
    first, second = nodes_of([{"id": "a"}, {"id": 7}, {"id": 2.5, "region": "eu"}])
    assert (first.ids, first.regions, second.ids, second.regions) == (["a", "7"], ["", ""], ["2.5"], ["eu"])
    assert (first.origin.record(1), second.origin.record(0)) == ("record 2", "record 3")


def test_a_node_comes_once_even_across_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "ROWS_PER_BATCH_MAX", 1)
    with pytest.raises(InvalidGraph, match="got 'a' again") as raised:
        nodes_of([{"id": "a"}, {"id": "b"}, {"id": "a"}])
    assert raised.value.metadata["record"] == "nodes[2]"


@pytest.mark.parametrize("bad", [True, None, [1], {"x": 1}])
def test_an_id_is_a_text_or_a_number(bad: object) -> None:
    with pytest.raises(InvalidGraph, match="expected a text or a number as an id"):
        nodes_of([{"id": bad}])


def test_costs_default_to_one_unless_named() -> None:
    records: list[dict[str, Any]] = [{"source": "a", "target": "b", "cost": 3}, {"source": "b", "target": "a"}]
    (rows,) = edges_of(records)
    assert rows.costs.tolist() == [3.0, 1.0]
    with pytest.raises(InvalidGraph, match="expected an attribute 'cost'; the record has 'source', 'target'"):
        edges_of(records, cost="cost")


def test_a_number_beyond_float64_is_no_cost() -> None:
    with pytest.raises(InvalidGraph, match="expected a finite cost"):
        edges_of([{"source": "a", "target": "b", "cost": 10**400}])


def test_an_end_must_be_a_node() -> None:
    with pytest.raises(InvalidGraph, match="no node has the id 'c'") as raised:
        edges_of([{"source": "a", "target": "b"}, {"source": "a", "target": "c"}])
    assert (raised.value.metadata["record"], raised.value.metadata["field"]) == ("edges[1]", "target")


def test_a_message_lists_a_bounded_number_of_attributes() -> None:
    record: dict[str, Any] = {f"k{number:02}": 1 for number in range(ATTRIBUTES_NAMED_MAX + 5)}
    with pytest.raises(InvalidGraph, match="and 5 more") as raised:
        nodes_of([record])
    assert raised.value.message.count("'k") == ATTRIBUTES_NAMED_MAX
