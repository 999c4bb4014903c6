"""Synthetic graphs have their documented properties at every size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planmesh.errors import InvalidRequest
from planmesh.graph.generate import EdgeBlock, GeneratedGraph, grid, service

SIZES = [1, 2, 9, 11, 999, 1_000, 1_001, 2_500, 33_001, 70_000]


def names(packed: np.ndarray) -> list[str]:
    return [row.tobytes().decode("ascii") for row in packed]


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("make", [service, grid])
def test_edges_are_within_the_graph(make: Callable[..., GeneratedGraph], nodes: int) -> None:
    graph = make(nodes)
    edges = graph.edges()
    assert len(edges.tails) == len(edges.heads) == len(edges.costs)
    assert ((edges.tails >= 0) & (edges.tails < nodes) & (edges.heads >= 0) & (edges.heads < nodes)).all()
    assert (edges.tails != edges.heads).all()
    ids = names(graph.ids.packed(np.arange(nodes)))
    assert len(set(ids)) == nodes
    assert sorted(ids) == ids


def same(one: EdgeBlock, other: EdgeBlock) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("tails", "heads", "costs"))


@pytest.mark.parametrize("make", [service, grid])
def test_a_seed_gives_one_graph(make: Callable[..., GeneratedGraph]) -> None:
    assert same(make(5_000, 1).edges(), make(5_000, 1).edges())
    assert not same(make(5_000, 1).edges(), make(5_000, 2).edges())


def test_a_service_graph_has_its_shares() -> None:
    nodes = 128_000
    edges = service(nodes, 4, stray=0.0).edges()
    tails, heads = edges.tails.astype(np.int64), edges.heads.astype(np.int64)
    cross = tails // 1000 != heads // 1000
    assert np.count_nonzero(cross) == 128 * 20
    assert np.bincount(tails[cross] // 1000).tolist() == [20] * 128
    assert np.bincount(tails[~cross]).tolist() == [4] * nodes
    within_region = tails[cross] // 32_000 == heads[cross] // 32_000
    assert 0.66 < within_region.mean() < 0.74
    for domain in range(128):
        ends = np.concatenate([tails[cross], heads[cross]])
        assert len(np.unique(ends[ends // 1000 == domain])) <= 10
    index = heads[~cross] % 1000
    assert 0.45 < np.mean(index < 100) < 0.48  # u^3 < 0.1 for 46 % of u
    assert set(np.unique(edges.costs).tolist()) == set(range(1, 100))


def test_stray_edges_go_anywhere() -> None:
    edges = service(100_000, 4, stray=0.2).edges()
    cross = np.mean(edges.tails // 1000 != edges.heads // 1000)
    assert 0.19 < cross < 0.21
    everywhere = service(10_000, 4, stray=1.0).edges()
    assert np.mean(everywhere.tails // 1000 != everywhere.heads // 1000) > 0.85


def test_a_grid_has_its_lines_and_gaps() -> None:
    edges = grid(90_000, 4).edges()
    tails, heads = edges.tails.astype(np.int64), edges.heads.astype(np.int64)
    links = 2 * 300 * 299
    assert 0.89 < len(tails) / 2 / links < 0.91
    low, high = np.minimum(tails, heads), np.maximum(tails, heads)
    assert set(np.unique(high - low).tolist()) == {1, 300}
    line = np.where(high - low == 1, low // 300, low % 300)
    factor = np.where(line % 128 == 0, 16, np.where(line % 16 == 0, 4, 1))
    whole = edges.costs * factor
    assert np.array_equal(whole, np.rint(whole))
    assert (whole.min(), whole.max()) == (1, 99)
    pair = low * 90_000 + high
    by_pair = np.argsort(pair, kind="stable")
    assert np.array_equal(pair[by_pair][::2], pair[by_pair][1::2])  # both directions of every link
    assert np.abs(whole[by_pair][::2] - whole[by_pair][1::2]).max() == 3


def test_a_service_graph_has_domains_and_regions() -> None:
    graph = service(64_500)
    nodes = np.array([0, 999, 1_000, 31_999, 32_000, 64_499])
    assert names(graph.domain_names(nodes)) == ["d00", "d00", "d01", "d31", "d32", "d64"]
    assert names(graph.region_names(nodes)) == ["region0"] * 4 + ["region1", "region2"]
    assert names(graph.ids.packed(nodes[-1:])) == ["d64n499"]


@pytest.mark.parametrize("nodes", [0, -1, 2**31])
def test_a_number_of_nodes_out_of_range_is_refused(nodes: int) -> None:
    with pytest.raises(InvalidRequest, match="nodes"):
        service(nodes)
    with pytest.raises(InvalidRequest, match="nodes"):
        grid(nodes)


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="stray"):
        service(10, stray=1.5)
