from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planmesh.errors import InvalidGraph, InvalidRequest, LimitExceeded
from planmesh.graph.rules import Origin
from services.partition.ingest import spool as spool_module
from services.partition.ingest.spool import BATCH_ROWS_MAX, GraphSpool, SpooledGraph

NODES = ["ä", "b", "c", "d", "e", "f"]
Edge = tuple[str, str, float]

MakeSpool = Callable[..., GraphSpool]


@pytest.fixture
def make_spool(tmp_path: Path) -> Iterator[MakeSpool]:
    """Makes spools, each in a folder of its own, and closes them in the end."""
    made: list[GraphSpool] = []

    def make(*, undirected: bool = False, implicit_nodes: bool = False) -> GraphSpool:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(GraphSpool(folder, undirected=undirected, implicit_nodes=implicit_nodes))
        return made[-1]

    yield make
    for spool in made:
        spool.close()


def add_nodes(spool: GraphSpool, ids: list[str], first: int = 2) -> None:
    spool.add_nodes(Origin("nodes.tsv", "line", first), ids, [f"d{one}" for one in ids], [])


def add_edges(spool: GraphSpool, edges: list[Edge], first: int = 2) -> None:
    spool.add_edges(
        Origin("edges.tsv", "line", first),
        [source for source, _, _ in edges],
        [target for _, target, _ in edges],
        np.array([cost for _, _, cost in edges]),
    )


def rows_of(spooled: SpooledGraph) -> tuple[list[str], list[str], list[Edge]]:
    """Ids and their domains in the order of the numbers, and the edges by id."""
    ids = spooled.ids.names(np.arange(spooled.node_count, dtype=np.int32))
    codes, names = spooled.domains
    domains = [names[code] if code >= 0 else "" for code in codes.tolist()]
    edges = zip(spooled.tails.tolist(), spooled.heads.tolist(), spooled.costs.tolist(), strict=True)
    return ids, domains, [(ids[tail], ids[head], cost) for tail, head, cost in edges]


edges_of_nodes = st.lists(
    st.tuples(st.sampled_from(NODES), st.sampled_from(NODES), st.integers(0, 9).map(float)), max_size=12
)


@given(nodes=st.permutations(NODES), edges=edges_of_nodes, data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_arrays_do_not_depend_on_how_nodes_and_edges_are_mixed(
    make_spool: MakeSpool, nodes: list[str], edges: list[Edge], data: st.DataObject
) -> None:
    spool = make_spool()
    nodes_left, edges_left = list(nodes), list(edges)
    while nodes_left or edges_left:
        size = data.draw(st.integers(1, 4))
        if nodes_left and (not edges_left or data.draw(st.booleans())):
            add_nodes(spool, nodes_left[:size])
            del nodes_left[:size]
        else:
            add_edges(spool, edges_left[:size])
            del edges_left[:size]
    assert rows_of(spool.finish()) == (nodes, [f"d{one}" for one in nodes], edges)


def test_implied_nodes_follow_the_declared_ones_in_the_order_of_the_edges(make_spool: MakeSpool) -> None:
    spool = make_spool(implicit_nodes=True)
    add_edges(spool, [("z", "b", 1.0), ("b", "y", 2.0)])
    add_nodes(spool, ["c", "b"])
    add_edges(spool, [("x", "z", 3.0)])
    spooled = spool.finish()
    assert rows_of(spooled) == (
        ["c", "b", "z", "y", "x"],
        ["dc", "db", "", "", ""],
        [("z", "b", 1.0), ("b", "y", 2.0), ("x", "z", 3.0)],
    )
    assert [one for rows in spooled.implied_rows() for one in rows.ids] == ["z", "y", "x"]


def test_undirected_edges_are_doubled(make_spool: MakeSpool) -> None:
    spool = make_spool(undirected=True)
    add_nodes(spool, ["a", "b", "c"])
    add_edges(spool, [("a", "b", 1.0), ("b", "c", 2.0)])
    assert rows_of(spool.finish())[2] == [("a", "b", 1.0), ("b", "c", 2.0), ("b", "a", 1.0), ("c", "b", 2.0)]


def test_no_costs_are_ones(make_spool: MakeSpool) -> None:
    spool = make_spool(implicit_nodes=True)
    kept = spool.add_edges(Origin(), ["a"], ["b"], None)
    assert kept.costs.tolist() == [1.0]
    assert rows_of(spool.finish())[2] == [("a", "b", 1.0)]


@pytest.mark.parametrize("undirected", [False, True])
def test_the_first_edge_to_an_unknown_node_is_named_by_its_place(make_spool: MakeSpool, undirected: bool) -> None:
    spool = make_spool(undirected=undirected)
    add_edges(spool, [("a", "b", 1.0), ("b", "late", 1.0)], first=2)
    add_edges(spool, [("a", "b", 1.0), ("b", "a", 1.0), ("a", "nobody", 1.0), ("nothing", "a", 1.0)], first=4)
    add_nodes(spool, ["a", "late", "b"])
    with pytest.raises(InvalidGraph, match="'nobody'") as caught:
        spool.finish()
    assert {"source": "edges.tsv", "record": "line 6", "field": "target"}.items() <= caught.value.metadata.items()


@pytest.mark.parametrize(
    ("batches", "record"),
    [([["a", "b"], ["c", "a"]], "line 21"), ([["a", "b", "a"]], "line 12"), ([["a", "b"], ["c", "d", "d"]], "line 22")],
)
def test_a_node_that_comes_twice_is_named_by_its_place(
    make_spool: MakeSpool, batches: list[list[str]], record: str
) -> None:
    spool = make_spool()
    first = 10
    with pytest.raises(InvalidGraph, match="once") as caught:  # noqa: PT012
        for batch in batches:
            add_nodes(spool, batch, first)
            first += 10
    assert {"source": "nodes.tsv", "record": record, "field": "id"}.items() <= caught.value.metadata.items()


def test_an_edge_may_name_a_node_before_it_is_declared_without_declaring_it(make_spool: MakeSpool) -> None:
    spool = make_spool()
    add_edges(spool, [("a", "b", 1.0)])
    add_nodes(spool, ["a", "b"])
    assert spool.finish().node_count == 2


def test_no_nodes_at_all_is_refused(make_spool: MakeSpool) -> None:
    with pytest.raises(InvalidGraph, match="at least one node"):
        make_spool(implicit_nodes=True).finish()


def test_batches_are_bounded(make_spool: MakeSpool) -> None:
    spool = make_spool()
    ids = [str(number) for number in range(BATCH_ROWS_MAX + 1)]
    with pytest.raises(InvalidRequest, match=f"at most {BATCH_ROWS_MAX}"):
        spool.add_nodes(Origin(), ids, [], [])
    with pytest.raises(InvalidRequest, match=f"at most {BATCH_ROWS_MAX}"):
        spool.add_edges(Origin(), ids, ids, None)
    spool.add_nodes(Origin(), ids[:-1], [], [])


@pytest.mark.parametrize("undirected", [False, True])
def test_edges_are_bounded(make_spool: MakeSpool, monkeypatch: pytest.MonkeyPatch, undirected: bool) -> None:
    """Both directions count; what was taken before stays as it is."""
    monkeypatch.setattr(spool_module, "EDGES_MAX", 4)
    spool = make_spool(undirected=undirected)
    add_nodes(spool, NODES)
    edges = [("b", "c", 1.0), ("c", "d", 1.0), ("d", "e", 1.0), ("e", "f", 1.0)][: 2 if undirected else 4]
    add_edges(spool, edges)
    with pytest.raises(LimitExceeded, match="at most 4 directed edges") as refused:
        add_edges(spool, [("b", "d", 1.0)])
    assert refused.value.metadata["bound"] == "EDGES_MAX"
    assert len(spool.finish().tails) == 4


def test_columns_of_other_lengths_are_refused(make_spool: MakeSpool) -> None:
    spool = make_spool()
    with pytest.raises(InvalidRequest):
        spool.add_nodes(Origin(), ["a", "b"], ["d"], [])
    with pytest.raises(InvalidRequest):
        spool.add_nodes(Origin(), ["a"], [], ["r", "r"])
    with pytest.raises(InvalidRequest):
        spool.add_edges(Origin(), ["a"], ["a", "a"], None)
    with pytest.raises(InvalidRequest):
        spool.add_edges(Origin(), ["a"], ["a"], np.ones(2))
