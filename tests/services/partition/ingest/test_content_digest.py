from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from planmesh.internal.v1 import partition_pb2 as pb
from planmesh.v1 import graph_pb2
from services.partition.ingest.content_digest import ContentDigest

TEXT = st.text("ab", max_size=2)
NODES = st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=8)
EDGES = st.lists(st.tuples(TEXT, TEXT, st.sampled_from([1.0, 0.5, 0.0])), max_size=8)

Nodes = list[tuple[str, str, str]]
Edges = list[tuple[str, str, float]]


def digest(nodes: Nodes, edges: Edges, batch: int = 100, *, edges_first: bool = False) -> str:
    cut_nodes = [
        pb.IngestGraphRequest(nodes=graph_pb2.NodeBatch(ids=ids, domains=domains, regions=regions))
        for start in range(0, len(nodes), batch)
        for ids, domains, regions in [zip(*nodes[start : start + batch], strict=True)]
    ]
    cut_edges = [
        pb.IngestGraphRequest(edges=graph_pb2.EdgeBatch(sources=sources, targets=targets, costs=costs))
        for start in range(0, len(edges), batch)
        for sources, targets, costs in [zip(*edges[start : start + batch], strict=True)]
    ]
    found = ContentDigest()
    for message in [*cut_edges, *cut_nodes] if edges_first else [*cut_nodes, *cut_edges]:
        found.add(message)
    assert found.rows == len(nodes) + len(edges)
    return found.text()


@given(NODES, EDGES, st.integers(1, 9), st.booleans())
def test_how_rows_are_cut_and_mixed_does_not_matter(nodes: Nodes, edges: Edges, batch: int, mixed: bool) -> None:
    assert digest(nodes, edges, batch, edges_first=mixed) == digest(nodes, edges)


@given(NODES, EDGES, NODES, EDGES)
def test_other_rows_have_another_digest(nodes: Nodes, edges: Edges, others: Nodes, other_edges: Edges) -> None:
    same = (nodes, edges) == (others, other_edges)
    assert (digest(nodes, edges) == digest(others, other_edges)) is same


def test_a_column_that_is_left_out_is_one_of_defaults() -> None:
    bare, full = ContentDigest(), ContentDigest()
    bare.add(pb.IngestGraphRequest(nodes=graph_pb2.NodeBatch(ids=["a", "b"])))
    bare.add(pb.IngestGraphRequest(edges=graph_pb2.EdgeBatch(sources=["a"], targets=["b"])))
    full.add(pb.IngestGraphRequest(nodes=graph_pb2.NodeBatch(ids=["a", "b"], domains=["", ""], regions=["", ""])))
    full.add(pb.IngestGraphRequest(edges=graph_pb2.EdgeBatch(sources=["a"], targets=["b"], costs=[1.0])))
    assert bare.text() == full.text()
