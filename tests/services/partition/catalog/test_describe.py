"""Descriptions of nodes and partitions, read from a real snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from planmesh.errors import InvalidRequest, LimitExceeded, NodeUnknown
from services.partition.catalog import describe
from services.partition.catalog.served import KnownVersion
from tests.services.partition.small_build import IDS, OPTIONS, known_version


@pytest.fixture
async def known(tmp_path: Path) -> KnownVersion:
    return await known_version(tmp_path)


@pytest.mark.parametrize(
    ("node", "region", "partition", "boundary", "degrees"),
    [
        ("a", "eu", "x", True, (1, 1)),
        ("b", "us", "x", True, (1, 1)),
        ("c", "us", "y", True, (2, 1)),
        ("d", "", "y", False, (1, 2)),
        ("e", "", "y", False, (1, 1)),
    ],
)
def test_a_node_has_its_labels_degrees_and_place(
    known: KnownVersion, node: str, region: str, partition: str, boundary: bool, degrees: tuple[int, int]
) -> None:
    found = describe.describe_node(known, node)
    assert (found.id, found.version, found.domain, found.region, found.partition) == (
        node,
        1,
        partition,
        region,
        partition,
    )
    assert (found.boundary, (found.out_degree, found.in_degree)) == (boundary, degrees)


def test_an_unknown_node_has_suggestions(known: KnownVersion) -> None:
    with pytest.raises(NodeUnknown) as raised:
        describe.describe_node(known, "A")
    assert "a" in raised.value.near


def test_a_sample_depends_on_its_seed_only(known: KnownVersion) -> None:
    drawn = describe.draw_nodes(known, 200, 7)
    assert drawn == describe.draw_nodes(known, 200, 7)
    assert drawn != describe.draw_nodes(known, 200, 8)
    assert set(drawn) == set(IDS)
    with pytest.raises(LimitExceeded):
        describe.draw_nodes(known, describe.DRAWN_NODES_MAX + 1, 7)


def test_pages_have_each_partition_once_with_its_neighbours(known: KnownVersion) -> None:
    first = describe.describe_partitions(known, 1, "", 2)
    second = describe.describe_partitions(known, 1, first.next_page_token, 2)
    assert (first.total_size, first.version, second.next_page_token) == (2, 1, "")
    listed = [*first.partitions, *second.partitions]
    assert [(one.number, one.name, one.shard, one.nodes) for one in listed] == [(0, "x", 0, 2), (1, "y", 1, 3)]
    (neighbor,) = listed[0].neighbors
    assert (neighbor.name, neighbor.cross_edges_out, neighbor.cross_edges_in) == ("y", 1, 1)
    assert list(describe.describe_partitions(known, 0, "", 2).partitions) == listed


@pytest.mark.parametrize("token", ["x", "1:", "1:3", "2:0", ":", "1:1:1", "1:-1"])
def test_a_token_of_another_version_or_form_is_refused(known: KnownVersion, token: str) -> None:
    with pytest.raises(InvalidRequest, match="page token"):
        describe.describe_partitions(known, 1, token, 2)


def test_a_page_beyond_the_bound_is_refused(known: KnownVersion) -> None:
    with pytest.raises(LimitExceeded, match=str(describe.PAGE_SIZE_MAX)):
        describe.describe_partitions(known, describe.PAGE_SIZE_MAX + 1, "", 2)


async def test_partitions_name_the_stores_of_their_labels(tmp_path: Path) -> None:
    stores = {"region_stores": {"eu": "sqlite:///eu.db", "us": "redis://us"}, "domain_stores": {"y": "neo4j://y"}}
    known = await known_version(tmp_path, OPTIONS.model_copy(update=stores))
    found = describe.describe_partitions(known, 0, "", 1).partitions
    assert [(one.name, list(one.stores)) for one in found] == [
        ("x", ["redis://us", "sqlite:///eu.db"]),
        ("y", ["neo4j://y", "redis://us"]),
    ]
