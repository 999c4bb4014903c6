"""The counters, as GetStatus reports them."""

from __future__ import annotations

import dataclasses

from planmesh.v1 import mesh_pb2
from services.coordinator.counters import Counters


def test_every_counter_of_the_contract_is_counted_under_its_own_name() -> None:
    names = [field.name for field in dataclasses.fields(Counters)]
    assert sorted(names) == sorted(field.name for field in mesh_pb2.Counters.DESCRIPTOR.fields)
    counters = Counters(**{name: number for number, name in enumerate(names, 1)})
    message = counters.to_proto()
    assert {name: getattr(message, name) for name in names} == {name: number for number, name in enumerate(names, 1)}
