from __future__ import annotations

import pytest

from planmesh.errors import InvalidRequest, LimitExceeded, SnapshotError
from planmesh.graph.model import PARTITIONS_MAX
from planmesh.partition.strategies import Strategy
from planmesh.v1 import graph_pb2
from planmesh.versions.protocol import StoredVersion
from services.partition.ingest.options import (
    STRATEGIES,
    LoadOptions,
    VersionDescription,
    check_graph_name,
    read_description,
    read_header,
)


@pytest.mark.parametrize("name", ["a", "prod", "eu-west_1.v2", "0", "_", "-", "a" * 64])
def test_names_that_are_good(name: str) -> None:
    assert check_graph_name(name) == name


def test_no_name_is_the_default_graph() -> None:
    assert check_graph_name("") == "default"


@pytest.mark.parametrize(
    "name", [".", "..", ".hidden", "a/b", "../x", "A", "ä", "a b", "a\n", "a\0", "a" * 65, "/", "a\\b"]
)
def test_names_that_are_no_folder_of_ours(name: str) -> None:
    with pytest.raises(InvalidRequest, match="graph name"):
        check_graph_name(name)


def test_every_strategy_of_the_contract_is_known() -> None:
    assert set(STRATEGIES) == set(graph_pb2.Strategy.values()) - {graph_pb2.STRATEGY_UNSPECIFIED}
    assert set(STRATEGIES.values()) == set(Strategy)


def test_a_header_is_read() -> None:
    header = graph_pb2.LoadGraphHeader(graph="g", strategy=graph_pb2.STRATEGY_HASH, partitions=7, undirected=True)
    assert read_header(header) == LoadOptions(graph="g", strategy=Strategy.HASH, partitions=7, undirected=True)
    assert read_header(graph_pb2.LoadGraphHeader()).strategy is None


def test_a_header_out_of_bounds_is_refused() -> None:
    with pytest.raises(LimitExceeded, match=str(PARTITIONS_MAX)):
        read_header(graph_pb2.LoadGraphHeader(partitions=PARTITIONS_MAX + 1))
    header = graph_pb2.LoadGraphHeader()
    header.strategy = 99  # type: ignore[assignment]
    with pytest.raises(InvalidRequest, match="99"):
        read_header(header)


def test_a_description_comes_back_and_a_strange_one_is_refused() -> None:
    description = VersionDescription(options=LoadOptions(graph="g", strategy=Strategy.MINCUT), manifest="{}")
    stored = StoredVersion("g", 1, 0.0, 0, 0, description.model_dump_json())
    assert read_description(stored) == description
    with pytest.raises(SnapshotError, match="'g' version 1"):
        read_description(StoredVersion("g", 1, 0.0, 0, 0, '{"format": 2, "more": 1}'))


def test_the_stores_of_parts_are_kept_without_their_passwords() -> None:
    stores = {"eu": "neo4j://ann:tops3cret@h:7687/db?label=N", "us": "sqlite:///us.db"}
    options = read_header(graph_pb2.LoadGraphHeader(region_stores=stores, domain_stores={"d": "redis://:tops3cret@r"}))
    assert options.region_stores["eu"] == "neo4j://h:7687/db?label=N"
    assert options.domain_stores == {"d": "redis://r"}
    assert "tops3cret" not in options.model_dump_json()


def test_what_is_no_url_is_not_kept_and_not_repeated() -> None:
    with pytest.raises(InvalidRequest, match="region_stores: expected the URL of a store for 'x'") as told:
        read_header(graph_pb2.LoadGraphHeader(region_stores={"x": "ann:tops3cret@host"}))
    assert "tops3cret" not in told.value.message + str(told.value.metadata)


@pytest.mark.parametrize("stores", [{f"r{number}": "x" for number in range(1_001)}, {"r": "x" * 65_536}])
def test_stores_beyond_their_bounds(stores: dict[str, str]) -> None:
    with pytest.raises(LimitExceeded, match="region_stores"):
        read_header(graph_pb2.LoadGraphHeader(region_stores=stores))
