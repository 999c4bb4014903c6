from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from planmesh.draw.places import path_lines, read_places, split_at_date_line
from planmesh.errors import InvalidGraph


def test_the_backbone_has_a_place_for_every_node(backbone: Path) -> None:
    places = read_places(backbone)
    assert len(places.positions) == 3815
    assert len(places.links) == 5189
    assert set(places.regions.values()) == {"africa", "asia", "europe", "north_america", "oceania", "south_america"}
    assert all(-180 <= lon <= 180 and -90 <= lat <= 90 for lon, lat in places.positions.values())


def test_plain_json_with_links_or_edges_is_read(tmp_path: Path) -> None:
    nodes = [{"id": "a", "lon": 1, "lat": 2}, {"id": "b", "lon": 3.5, "lat": 4, "region": "r"}]
    for key in ("links", "edges"):
        file = tmp_path / f"{key}.json"
        file.write_text(json.dumps({"nodes": nodes, key: [{"source": "a", "target": "b"}]}))
        places = read_places(file)
        assert places.positions == {"a": (1.0, 2.0), "b": (3.5, 4.0)}
        assert places.links == [("a", "b")]


def test_a_node_without_a_place_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"nodes": [{"id": "a", "lon": 1}], "links": []}).encode()))
    with pytest.raises(InvalidGraph, match=r"x\.json\.gz, node 0, field lat: expected degrees, got None"):
        read_places(file)


def test_a_short_link_is_one_line() -> None:
    assert split_at_date_line((10, 0), (20, 5)) == [[(10, 0), (20, 5)]]


@pytest.mark.parametrize("eastward", [True, False])
def test_a_link_across_the_date_line_is_split_at_the_edges_of_the_map(eastward: bool) -> None:
    start, end = ((170.0, 10.0), (-170.0, 30.0)) if eastward else ((-170.0, 30.0), (170.0, 10.0))
    edge = 180.0 if eastward else -180.0
    assert split_at_date_line(start, end) == [[start, (edge, 20.0)], [(-edge, 20.0), end]]


def test_no_line_crosses_the_whole_map(backbone: Path) -> None:
    places = read_places(backbone)
    for source, target in places.links:
        for line in split_at_date_line(places.positions[source], places.positions[target]):
            assert abs(line[0][0] - line[1][0]) <= 180


def test_a_path_is_one_line_until_it_crosses_the_date_line() -> None:
    lines = path_lines([(160, 0), (170, 0), (-170, 0), (-160, 0)])
    assert lines == [[(160, 0), (170, 0), (180.0, 0.0)], [(-180.0, 0.0), (-170, 0), (-160, 0)]]
