from __future__ import annotations

from pathlib import Path

import pytest

from planmesh.draw.places import Places, read_places
from planmesh.draw.plan_map import LABELS_MAX, draw_plan, label_positions, region_colours
from planmesh.errors import InvalidRequest

pytest.importorskip("matplotlib")

PATH = ["Reykjavík", "Landeyjasandur", "Piti", "Sydney #33", "Auckland", "Wellington"]


@pytest.fixture(scope="module")
def places(backbone: Path) -> Places:
    return read_places(backbone)


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_a_map_is_drawn_in_every_format(places: Places, tmp_path: Path, suffix: str, magic: bytes) -> None:
    out = tmp_path / "new" / f"map{suffix}"
    draw_plan(places, PATH, out, "a title", "a subtitle")
    assert out.read_bytes().startswith(magic)
    assert out.stat().st_size > 50_000


def test_another_format_is_refused_by_name(places: Places, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"\*\.png or \*\.svg or \*\.pdf, got .*map\.bmp"):
        draw_plan(places, PATH, tmp_path / "map.bmp", "")


def test_a_node_that_is_not_on_the_map_is_named(places: Places, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="'Atlantis' has no position"):
        draw_plan(places, ["Lisbon", "Atlantis"], tmp_path / "map.png", "")


def test_each_region_has_its_own_colour(places: Places) -> None:
    colours = region_colours(places)
    assert len(set(colours.values())) == len(colours) == 6


def test_both_ends_and_a_few_nodes_of_the_path_have_labels(places: Places) -> None:
    path = list(places.positions)[:400]
    labels = label_positions(places, path)
    assert {path[0], path[-1]} <= set(labels)
    assert len(labels) <= LABELS_MAX
    assert set(labels) <= set(path)


def test_a_path_of_one_node_has_one_label(places: Places) -> None:
    assert label_positions(places, ["Lisbon"]) == ["Lisbon"]
