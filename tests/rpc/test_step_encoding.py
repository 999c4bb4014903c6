from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from planmesh.rpc.step_encoding import encode_steps, little_endian_bytes, text_table
from planmesh.v1 import plan_pb2

TEXTS = st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=8)
COSTS = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


@given(TEXTS, TEXTS, st.data())
def test_protobuf_decodes_encoded_steps(ids: list[str], names: list[str], data: st.DataObject) -> None:
    nodes = data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=1, max_size=40))
    partitions = data.draw(st.lists(st.integers(0, len(names) - 1), min_size=len(nodes), max_size=len(nodes)))
    costs = data.draw(st.lists(COSTS, min_size=len(nodes) - 1, max_size=len(nodes) - 1))
    encoded = encode_steps(
        np.array(nodes, np.int32),
        np.array(partitions, np.int32),
        little_endian_bytes(np.array(costs, np.float64)),
        *text_table(ids),
        *text_table(names),
    )
    expected = plan_pb2.Plan()
    for step, cost in enumerate(costs):
        expected.steps.add(
            source=ids[nodes[step]],
            target=ids[nodes[step + 1]],
            cost=cost,
            source_partition=names[partitions[step]],
            target_partition=names[partitions[step + 1]],
        )
    assert plan_pb2.Plan.FromString(encoded.tobytes()) == expected
