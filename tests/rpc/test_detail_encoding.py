from __future__ import annotations

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from planmesh.rpc.detail_encoding import encode_costs, encode_nodes, node_sizes
from planmesh.rpc.plan_encoding import EncodedPlans, TextTables
from planmesh.rpc.step_encoding import text_table
from planmesh.search.read_only import read_only
from planmesh.v1 import plan_pb2

IDS = st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=8)
NAMES = st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=8, unique=True)
COSTS = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


def tables(ids: list[str], names: list[str]) -> TextTables:
    return TextTables(*(read_only(table, table.dtype.type) for table in (*text_table(ids), *text_table(names))))


def decoded(plans: EncodedPlans, plan: int) -> plan_pb2.Plan:
    return plan_pb2.Plan.FromString(plans.blob[plans.first[plan] : plans.first[plan + 1]].tobytes())


@given(IDS, NAMES, st.data())
def test_protobuf_decodes_plans_with_nodes(ids: list[str], names: list[str], data: st.DataObject) -> None:
    number = st.integers(0, len(ids) - 1)
    paths = data.draw(st.lists(st.lists(number, min_size=1, max_size=300), max_size=4))
    partition_of = data.draw(st.lists(st.integers(0, len(names) - 1), min_size=len(ids), max_size=len(ids)))
    costs = [[float(step) / 3 for step in range(len(path) - 1)] for path in paths]
    totals = data.draw(st.lists(COSTS, min_size=len(paths), max_size=len(paths)))
    texts = tables(ids, names)
    first = read_only(np.cumsum([0, *(len(path) for path in paths)]), np.int64)
    nodes = read_only(np.array([node for path in paths for node in path], np.int32), np.int32)
    partitions = read_only(np.array([partition_of[node] for node in nodes], np.int32), np.int32)
    prefix = plan_pb2.Plan(graph="g", version=3, detail=plan_pb2.DETAIL_NODES).SerializeToString()
    sizes = node_sizes(len(prefix), first, nodes, partitions, texts)
    flat_costs = np.array([cost for some in costs for cost in some], np.float64)
    plans = encode_nodes(prefix, sizes, first, nodes, partitions, flat_costs, np.array(totals, np.float64), texts)
    assert np.array_equal(np.diff(plans.first), sizes)
    for plan, path in enumerate(paths):
        visited = list(dict.fromkeys(names[partition_of[node]] for node in path))
        runs = [(name, len(list(some))) for name, some in groupby(names[partition_of[node]] for node in path)]
        assert decoded(plans, plan) == plan_pb2.Plan(
            graph="g",
            version=3,
            start=ids[path[0]],
            goal=ids[path[-1]],
            cost=totals[plan],
            partitions=visited,
            detail=plan_pb2.DETAIL_NODES,
            nodes=[ids[node] for node in path],
            step_costs=costs[plan],
            run_partitions=[visited.index(name) for name, _ in runs],
            run_lengths=[length for _, length in runs],
        )
        assert plans.partition_count[plan] == len(visited)


@given(IDS, NAMES, st.data())
def test_protobuf_decodes_plans_with_costs(ids: list[str], names: list[str], data: st.DataObject) -> None:
    node, partition = st.integers(0, len(ids) - 1), st.integers(0, len(names) - 1)
    asked = data.draw(st.lists(st.tuples(node, node, COSTS, st.lists(partition, min_size=1, max_size=9)), max_size=5))
    prefix = plan_pb2.Plan(graph="g", version=3, detail=plan_pb2.DETAIL_COST).SerializeToString()
    plans = encode_costs(
        prefix,
        np.array([start for start, _, _, _ in asked], np.int32),
        np.array([goal for _, goal, _, _ in asked], np.int32),
        np.array([cost for _, _, cost, _ in asked], np.float64),
        np.cumsum([0, *(len(visits) for _, _, _, visits in asked)]),
        np.array([visit for _, _, _, visits in asked for visit in visits], np.int32),
        tables(ids, names),
    )
    for plan, (start, goal, cost, visits) in enumerate(asked):
        assert decoded(plans, plan) == plan_pb2.Plan(
            graph="g",
            version=3,
            start=ids[start],
            goal=ids[goal],
            cost=cost,
            partitions=[names[visit] for visit in dict.fromkeys(visits)],
            detail=plan_pb2.DETAIL_COST,
        )
        assert plans.partition_count[plan] == len(set(visits))
