"""Draws figures of several candidates side by side: one panel of bars for each figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from planmesh.draw.plan_map import BACKGROUND, FORMATS, GRATICULE, PALETTE, QUIET_TEXT, TEXT
from planmesh.errors import InvalidRequest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS: Final = 3
"""Panels in one row."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure of every candidate: its value (None when there is none), and the text at the bar's end."""

    title: str
    values: Sequence[float | None]
    texts: Sequence[str]


def draw_comparison(candidates: Sequence[str], panels: Sequence[Panel], out: Path, title: str, subtitle: str) -> None:
    """Draw one bar for each candidate in each panel into `out` (.png, .svg or .pdf). Shorter is better in every panel.

    Raises InvalidRequest for another format.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import

    if out.suffix not in FORMATS:
        raise InvalidRequest(f"expected a picture called {' or '.join('*' + suffix for suffix in FORMATS)}, got {out}")
    rows = -(-len(panels) // COLUMNS)
    height = 1.5 + rows * (1.0 + 0.42 * len(candidates))
    figure = Figure(figsize=(15, height), dpi=130, facecolor=BACKGROUND)
    grid = figure.add_gridspec(
        rows, COLUMNS, left=0.085, right=0.975, top=1 - 1.45 / height, bottom=0.35 / height, wspace=0.3, hspace=0.38
    )
    for number, panel in enumerate(panels):
        _draw_panel(figure.add_subplot(grid[divmod(number, COLUMNS)]), candidates, panel)
    figure.text(0.02, 1 - 0.5 / height, title, color=TEXT, fontsize=17, fontweight="bold")
    figure.text(0.02, 1 - 0.85 / height, subtitle, color=QUIET_TEXT, fontsize=11)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, facecolor=BACKGROUND)


def _draw_panel(axes: Axes, candidates: Sequence[str], panel: Panel) -> None:
    places = list(range(len(candidates)))
    widths = [value or 0.0 for value in panel.values]
    colours = [PALETTE[place % len(PALETTE)] for place in places]
    axes.set_facecolor(BACKGROUND)
    bars = axes.barh(places, widths, color=colours, height=0.62, zorder=2)
    axes.bar_label(bars, labels=list(panel.texts), padding=5, color=TEXT, fontsize=10)
    axes.set_title(panel.title, color=TEXT, fontsize=12, loc="left")
    axes.set_yticks(places, list(candidates), color=TEXT, fontsize=10)
    axes.invert_yaxis()
    axes.set_xlim(0, max(widths, default=0.0) * 1.28 or 1.0)  # room for the texts at the bars' ends
    axes.grid(axis="x", color=GRATICULE, linewidth=0.8, zorder=0)
    axes.tick_params(length=0, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
