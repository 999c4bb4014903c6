from __future__ import annotations

from pathlib import Path

import pytest

from planmesh.draw.comparison_chart import Panel, draw_comparison
from planmesh.errors import InvalidRequest

pytest.importorskip("matplotlib")

PANELS = [Panel("cut", [0.1, 0.9], ["10%", "90%"]), Panel("settled", [None, 0.0], ["not known", "0"])]


@pytest.mark.parametrize("name", ["a.png", "below/b.svg"])
def test_figures_are_drawn(tmp_path: Path, name: str) -> None:
    draw_comparison(["mincut", "hash"], PANELS, tmp_path / name, "Partitions", "of a graph")
    content = (tmp_path / name).read_bytes()
    assert content.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"\*\.png"):
        draw_comparison(["mincut", "hash"], PANELS, tmp_path / "a.txt", "", "")
