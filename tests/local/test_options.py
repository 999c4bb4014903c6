from __future__ import annotations

from pathlib import Path

import pytest

from planmesh.errors import InvalidRequest
from planmesh.local.options import MeshOptions, mesh_options


def test_every_shard_has_two_workers_where_workers_are_even() -> None:
    options = mesh_options(workers=4)
    assert (options.workers, options.shards, options.replicas) == (4, 2, 2)


def test_one_worker_is_one_shard() -> None:
    assert mesh_options(workers=1).shards == 1


def test_workers_by_default_are_at_least_two_and_at_most_four() -> None:
    assert 2 <= mesh_options().workers <= 4


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ({"workers": 0}, "--workers"),
        ({"workers": 257}, "--workers"),
        ({"workers": 2, "shards": 3}, "--shards"),
        ({"port": 65536}, "--port"),
        ({"redis_url": "localhost:6379"}, "--redis"),
        ({"gateway_processes": -1}, "--gateway-processes"),
        ({"gateway_processes": 65}, "--gateway-processes"),
    ],
)
def test_an_option_out_of_bounds_is_refused_by_name(arguments: dict[str, object], option: str) -> None:
    with pytest.raises(InvalidRequest, match=option):
        mesh_options(**arguments)  # type: ignore[arg-type]


def test_options_travel_as_json() -> None:
    options = mesh_options(Path("data"), workers=3, port=0, gateway_processes=2)
    assert MeshOptions.from_json(options.to_json()) == options
    assert options.data.is_absolute()
