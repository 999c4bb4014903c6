from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from planmesh.rpc.plan_encoding import TextTables, encode_plans, plan_sizes
from planmesh.rpc.step_encoding import text_table
from planmesh.search.read_only import read_only
from planmesh.v1 import plan_pb2

TEXTS = st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=8)
COSTS = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


@given(TEXTS, TEXTS, st.data())
def test_protobuf_decodes_encoded_plans(ids: list[str], names: list[str], data: st.DataObject) -> None:
    paths = data.draw(st.lists(st.lists(st.integers(0, len(ids) - 1), min_size=1, max_size=40), max_size=5))
    partition_of = data.draw(st.lists(st.integers(0, len(names) - 1), min_size=len(ids), max_size=len(ids)))
    costs = [data.draw(st.lists(COSTS, min_size=len(path) - 1, max_size=len(path) - 1)) for path in paths]
    totals = data.draw(st.lists(COSTS, min_size=len(paths), max_size=len(paths)))
    tables = (*text_table(ids), *text_table(names))
    texts = TextTables(*(read_only(table, table.dtype.type) for table in tables))
    first = read_only(np.cumsum([0, *(len(path) for path in paths)]), np.int64)
    nodes = read_only(np.array([node for path in paths for node in path], np.int32), np.int32)
    partitions = read_only(np.array([partition_of[node] for node in nodes], np.int32), np.int32)
    prefix = plan_pb2.Plan(graph="g", version=3).SerializeToString()
    sizes = plan_sizes(len(prefix), first, nodes, partitions, texts)
    flat_costs = np.array([cost for some in costs for cost in some], np.float64)
    plans = encode_plans(prefix, sizes, first, nodes, partitions, flat_costs, np.array(totals, np.float64), texts)
    assert np.array_equal(np.diff(plans.first), sizes)
    for plan, path in enumerate(paths):
        visited = list(dict.fromkeys(names[partition_of[node]] for node in path))
        distinct = list(dict.fromkeys(partition_of[node] for node in path))
        expected = plan_pb2.Plan(
            graph="g", version=3, start=ids[path[0]], goal=ids[path[-1]], cost=totals[plan],
            partitions=[names[partition] for partition in distinct],
        )  # fmt: skip
        assert set(expected.partitions) == set(visited)
        for step, cost in enumerate(costs[plan]):
            expected.steps.add(
                source=ids[path[step]],
                target=ids[path[step + 1]],
                cost=cost,
                source_partition=names[partition_of[path[step]]],
                target_partition=names[partition_of[path[step + 1]]],
            )
        begin, end = plans.first[plan], plans.first[plan + 1]
        assert plan_pb2.Plan.FromString(plans.blob[begin:end].tobytes()) == expected
        assert plans.partition_count[plan] == len(distinct)
