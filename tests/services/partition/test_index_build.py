from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.partition.index_build import CHUNK_NODES, CHUNK_PARTITIONS_MAX, plan_chunks


@given(st.dictionaries(st.integers(0, 1_000), st.integers(1, 3 * CHUNK_NODES), max_size=200))
def test_chunks_hold_every_partition_once_within_their_bounds(nodes: dict[int, int]) -> None:
    chunks = plan_chunks(nodes)
    assert sorted(partition for chunk in chunks for partition in chunk) == sorted(nodes)
    for chunk in chunks:
        assert 1 <= len(chunk) <= CHUNK_PARTITIONS_MAX
        assert len(chunk) == 1 or sum(nodes[partition] for partition in chunk) <= CHUNK_NODES
    first_sizes = [nodes[chunk[0]] for chunk in chunks]
    assert first_sizes == sorted(first_sizes, reverse=True)
