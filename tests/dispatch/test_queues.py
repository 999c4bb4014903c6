from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from planmesh.dispatch.queues import shard_of


@given(st.integers(1, 500), st.integers(1, 40))
def test_shards_are_contiguous_ranges_of_even_size(partitions: int, shards: int) -> None:
    assigned = [shard_of(partition, partitions, shards) for partition in range(partitions)]
    assert assigned == sorted(assigned)
    assert assigned[0] >= 0
    assert assigned[-1] < shards
    sizes = Counter(assigned).values()
    assert max(sizes) - min(sizes) <= 1
