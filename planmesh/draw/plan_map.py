"""Draws a plan on a map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from planmesh.draw.places import Places, Position, path_lines, split_at_date_line
from planmesh.errors import InvalidRequest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BACKGROUND: Final = "#0b1220"
GRATICULE: Final = "#17223a"
TEXT: Final = "#e6ecf5"
QUIET_TEXT: Final = "#8a98b3"
PATH: Final = "#ffd166"
PALETTE: Final = ("#4cc9f0", "#80ed99", "#f78fb3", "#b794f6", "#ff9f6e", "#5eead4", "#93a8ff", "#e9c46a")
"""Colours of the regions in alphabetical order; they repeat when there are more regions."""

LATITUDES: Final = (-58.0, 80.0)
"""Latitudes shown; few people live beyond them."""

LABELS_MAX: Final = 12
"""Most names along the path; more would cover the map."""

LABEL_DISTANCE_MIN: Final = 9.0
"""Least distance between two labelled points, in degrees."""

FORMATS: Final = (".png", ".svg", ".pdf")


def draw_plan(places: Places, path: Sequence[str], out: Path, title: str, subtitle: str = "") -> None:
    """Draw all links, and the plan through the nodes of `path`, into `out` (.png, .svg or .pdf).

    Raises InvalidRequest when a node of the path has no position, or for another format.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import

    if out.suffix not in FORMATS:
        raise InvalidRequest(f"expected a picture called {' or '.join('*' + suffix for suffix in FORMATS)}, got {out}")
    unplaced = [node for node in path if node not in places.positions]
    if unplaced:
        raise InvalidRequest(f"node {unplaced[0]!r} has no position on the map")
    figure = Figure(figsize=(16, 8.2), dpi=150, facecolor=BACKGROUND)
    axes = figure.add_axes((0.015, 0.03, 0.97, 0.86))
    _prepare(axes)
    colours = region_colours(places)
    _draw_links(axes, places, colours)
    _draw_path(axes, places, path)
    _draw_labels(axes, places, path)
    _draw_legend(figure, colours)
    figure.text(0.02, 0.945, title, color=TEXT, fontsize=19, fontweight="bold")
    figure.text(0.02, 0.908, subtitle, color=QUIET_TEXT, fontsize=12)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, facecolor=BACKGROUND)


def region_colours(places: Places) -> dict[str, str]:
    """Return a colour for each region."""
    names = sorted(set(places.regions.values()))
    return {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(names)}


def label_positions(places: Places, path: Sequence[str]) -> list[str]:
    """Return the nodes of the path to label: both ends, and cities between them that lie well apart."""
    chosen = [path[0], path[-1]] if len(path) > 1 else list(path[:1])
    candidates = [node for node in path[1:-1] if places.kinds.get(node) in ("city", "")]
    # From coarse to fine, so that the labels spread over the whole path before they fill its gaps.
    step = len(candidates)
    while step >= 1 and len(chosen) < LABELS_MAX:
        for node in candidates[step // 2 :: step]:
            if len(chosen) < LABELS_MAX and _apart(places, node, chosen):
                chosen.append(node)
        step //= 2
    return [node for node in path if node in set(chosen)]


def _apart(places: Places, node: str, others: Sequence[str]) -> bool:
    lon, lat = places.positions[node]
    # A label is wide and low: points on one latitude must lie further apart than points on one meridian.
    return all(
        abs(lon - places.positions[other][0]) / 2 + abs(lat - places.positions[other][1]) >= LABEL_DISTANCE_MIN
        for other in others
    )


def _prepare(axes: Axes) -> None:
    axes.set_facecolor(BACKGROUND)
    axes.set_xlim(-180, 180)
    axes.set_ylim(*LATITUDES)
    axes.set_aspect(1.2, adjustable="box")
    axes.set_xticks(range(-180, 181, 30))
    axes.set_yticks(range(-60, 81, 20))
    axes.grid(color=GRATICULE, linewidth=0.6)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_links(axes: Axes, places: Places, colours: dict[str, str]) -> None:
    from matplotlib.collections import LineCollection  # noqa: PLC0415 - as above

    lines_by_region: dict[str, list[list[Position]]] = {}
    for source, target in places.links:
        if source in places.positions and target in places.positions:
            lines = split_at_date_line(places.positions[source], places.positions[target])
            lines_by_region.setdefault(places.regions[source], []).extend(lines)
    for region, lines in lines_by_region.items():
        axes.add_collection(LineCollection(lines, colors=colours[region], linewidths=0.55, alpha=0.55, zorder=2))
    for region, colour in colours.items():
        dots = [
            position
            for node, position in places.positions.items()
            if places.regions[node] == region and places.kinds[node] != "cable-waypoint"
        ]
        if dots:
            lons, lats = zip(*dots, strict=True)
            axes.scatter(lons, lats, s=2.2, color=colour, alpha=0.85, linewidths=0, zorder=3)


def _draw_path(axes: Axes, places: Places, path: Sequence[str]) -> None:
    glow: list[tuple[float, str, float]] = [(9, PATH, 0.10), (6, PATH, 0.16), (3.6, BACKGROUND, 0.9), (2.4, PATH, 1.0)]
    for line in path_lines([places.positions[node] for node in path]):
        lons, lats = zip(*line, strict=True)
        for width, colour, alpha in glow:
            axes.plot(
                lons, lats, color=colour, linewidth=width, alpha=alpha, zorder=5, solid_capstyle="round",
                solid_joinstyle="round",
            )  # fmt: skip
    for node in {path[0], path[-1]}:
        lon, lat = places.positions[node]
        axes.scatter([lon], [lat], s=95, color=PATH, edgecolors=BACKGROUND, linewidths=2, zorder=7)


def _draw_labels(axes: Axes, places: Places, path: Sequence[str]) -> None:
    from matplotlib import patheffects  # noqa: PLC0415 - as above

    halo: list[Any] = [patheffects.withStroke(linewidth=3, foreground=BACKGROUND, alpha=0.9)]
    for node in label_positions(places, path):
        end = node in (path[0], path[-1])
        lon, lat = places.positions[node]
        if not end:
            axes.scatter([lon], [lat], s=18, color=TEXT, edgecolors=BACKGROUND, linewidths=0.8, zorder=6)
        leftward = lon > 150  # a name to the right would leave the map
        axes.annotate(
            node.split(" #")[0],
            (lon, lat),
            xytext=(-9 if leftward else 9, 8),
            textcoords="offset points",
            ha="right" if leftward else "left",
            color=PATH if end else TEXT,
            fontsize=13 if end else 9,
            fontweight="bold" if end else "normal",
            path_effects=halo,
            zorder=8,
        )


def _draw_legend(figure: Figure, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - as above

    handles = [Line2D([], [], color=colour, linewidth=3, label=name or "no region") for name, colour in colours.items()]
    handles = [*handles, Line2D([], [], color=PATH, linewidth=3, label="the plan")]
    legend = figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(0.985, 0.985),
        ncols=len(handles),
        frameon=False,
        fontsize=11,
    )
    for text in legend.get_texts():
        text.set_color(TEXT)
        text.set_text(text.get_text().replace("_", " "))
